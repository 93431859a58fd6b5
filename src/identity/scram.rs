//! SCRAM-SHA-256 arithmetic (RFC 5802 chapter 3, RFC 7677): what is kept of a token, and how a proof of
//! it is checked. The exchange itself is `wire::postgres::scram`.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Bytes of every key, signature and proof.
pub const KEY_BYTES: usize = 32;

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;

/// Rounds of the salted password. RFC 7677 asks for at least 4096, meant to slow down guesses at what
/// people choose; a token has 160 random bits, so more would only cost each login time.
pub const ITERATIONS: u32 = 4096;

/// HMAC-SHA-256 over the parts one after the other.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A key of any length, brought to a block as RFC 2104 chapter 2 says, which cannot fail.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0_u8; 64]);
    if let Some(head) = block.get_mut(..key.len()) {
        head.copy_from_slice(key);
    } else if let Some(head) = block.first_chunk_mut::<KEY_BYTES>() {
        *head = Sha256::digest(key).into();
    }
    Hmac::new(&(*block).into())
}

/// The salt of a principal, known or not. One for all its tokens: SCRAM sends the salt before the
/// proof, when nobody can tell yet which token the client holds. An HMAC under the store's key, so that
/// a name without tokens answers as one with some does.
pub fn salt(store_key: &Secret, principal: &str) -> [u8; SALT_BYTES] {
    let long = hmac(store_key.expose(), &[b"scram-salt:", principal.as_bytes()]);
    std::array::from_fn(|n| long.get(n).copied().unwrap_or_default())
}

/// `Hi(password, salt, iterations)`: PBKDF2 with HMAC-SHA-256 and one block of output.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; KEY_BYTES]> {
    let key = keyed(password);
    let mut mac = key.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut round = Zeroizing::new(<[u8; KEY_BYTES]>::from(mac.finalize().into_bytes()));
    let mut sum = round.clone();
    for _ in 1..iterations {
        let mut mac = key.clone();
        mac.update(&*round);
        *round = mac.finalize().into_bytes().into();
        xor(&mut sum, &round);
    }
    sum
}

fn xor(into: &mut [u8; KEY_BYTES], other: &[u8; KEY_BYTES]) {
    for (byte, other) in into.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// What a server keeps of a password: enough to check a proof, not enough to make one.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Hash of the key that a client proves to have.
    pub stored: Secret,
    /// With which the server proves that it knows the client.
    pub server: Secret,
}

/// Derives both keys. SASLprep (RFC 4013) of the password is the caller's; of a token it is the
/// identity, since that is ASCII without control characters.
pub fn keys(password: &[u8], salt: &[u8], iterations: u32) -> Keys {
    let salted = salted_password(password, salt, iterations);
    let client_key = Zeroizing::new(hmac(&*salted, &[b"Client Key"]));
    Keys {
        stored: Secret::new(Sha256::digest(client_key.as_slice()).to_vec()),
        server: Secret::new(hmac(&*salted, &[b"Server Key"])),
    }
}

/// Whether `proof` was made, over that conversation, with the password that `stored_key` is of.
/// Takes the same time for each answer.
pub fn proves(stored_key: &Secret, proof: &[u8; KEY_BYTES], conversation: &[u8]) -> subtle::Choice {
    let mut client_key = Zeroizing::new(hmac(stored_key.expose(), &[conversation]));
    xor(&mut client_key, proof);
    Sha256::digest(client_key.as_slice()).as_slice().ct_eq(stored_key.expose())
}

/// What the server answers to a good proof.
pub fn server_signature(server_key: &Secret, conversation: &[u8]) -> [u8; KEY_BYTES] {
    hmac(server_key.expose(), &[conversation])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The client's side: a proof that it has the password.
    pub(crate) fn client_proof(
        password: &[u8],
        salt: &[u8],
        iterations: u32,
        conversation: &[u8],
    ) -> [u8; KEY_BYTES] {
        let salted = salted_password(password, salt, iterations);
        let mut proof = hmac(&*salted, &[b"Client Key"]);
        let signature = hmac(&Sha256::digest(proof), &[conversation]);
        xor(&mut proof, &signature);
        proof
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        // Cases 2 and 6: a short key, and one longer than a block.
        assert_eq!(
            hex(&hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn salted_passwords_agree_with_rfc_7914() {
        // Chapter 11, first 32 bytes.
        assert_eq!(
            hex(&*salted_password(b"passwd", b"salt", 1)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
        assert_eq!(
            hex(&*salted_password(b"Password", b"NaCl", 80_000)),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        );
    }

    #[test]
    fn a_salt_is_one_a_principal_and_store() {
        let (one, two) = (Secret::new("one"), Secret::new("two"));
        assert_eq!(salt(&one, "alice"), salt(&one, "alice"));
        assert_ne!(salt(&one, "alice"), salt(&one, "bob"));
        assert_ne!(salt(&one, "alice"), salt(&two, "alice"));
        assert_eq!(salt(&one, "alice"), hmac(b"one", &[b"scram-salt:alice"])[..16]);
    }

    #[test]
    fn only_the_password_proves() {
        let keys = keys(b"token", b"salt", 8);
        let proof = client_proof(b"token", b"salt", 8, b"a,b,c");
        assert!(bool::from(proves(&keys.stored, &proof, b"a,b,c")));
        assert!(!bool::from(proves(&keys.stored, &proof, b"a,b,d")));
        let wrong = client_proof(b"nekot", b"salt", 8, b"a,b,c");
        assert!(!bool::from(proves(&keys.stored, &wrong, b"a,b,c")));
    }
}
