//! How passwords are proved: the arithmetic of the authentication plugins, on both sides.

use sha1::{Digest, Sha1};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Bytes of a server's nonce.
pub const NONCE_BYTES: usize = 20;

/// A server's nonce, without the bytes that end or split it where it is written.
pub type Nonce = [u8; NONCE_BYTES];

/// SHA-256 challenge and response, MySQL's default since 8.0.
pub const CACHING_SHA2: &str = "caching_sha2_password";
/// SHA-1 challenge and response, MariaDB's default.
pub const NATIVE: &str = "mysql_native_password";
/// MySQL's SHA-256 without a fast way.
pub const SHA256: &str = "sha256_password";
/// The password as it is.
pub const CLEAR: &str = "mysql_clear_password";
/// MariaDB's Ed25519.
pub const ED25519: &str = "client_ed25519";

/// A nonce from as many random bytes. Clients read it up to a NUL; 7 bits of each byte are enough, and
/// MySQL's own have no more.
pub fn nonce(random: &Nonce) -> Nonce {
    random.map(|byte| match byte & 0x7f {
        0 => 1,
        b'$' => b'%',
        other => other,
    })
}

fn xor<const N: usize>(a: [u8; N], b: &[u8; N]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new(a);
    for (place, other) in out.iter_mut().zip(b) {
        *place ^= other;
    }
    out
}

/// A client's proof for `caching_sha2_password`: SHA-256(p) XOR SHA-256(SHA-256(SHA-256(p)), nonce).
pub fn caching_sha2(password: &Secret, nonce: &[u8]) -> [u8; 32] {
    let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password.expose())));
    let twice = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(once.as_slice())));
    *xor(sha256(&[twice.as_slice(), nonce]), &once)
}

/// Whether such a proof is of the password whose SHA-256 of SHA-256 is kept. In constant time.
pub fn proves_caching_sha2(kept: &Secret, nonce: &Nonce, proof: &[u8; 32]) -> Choice {
    let once = xor(sha256(&[kept.expose(), nonce]), proof);
    sha256(&[once.as_slice()]).ct_eq(kept.expose())
}

/// Whether a password in clear is the one of which that is kept. In constant time.
pub fn is_password(kept: &Secret, password: &[u8]) -> Choice {
    let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password)));
    sha256(&[once.as_slice()]).ct_eq(kept.expose())
}

/// A client's proof for `mysql_native_password`: SHA-1(p) XOR SHA-1(nonce, SHA-1(SHA-1(p))).
pub fn native(password: &Secret, nonce: &[u8]) -> [u8; 20] {
    let once = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(password.expose())));
    let twice = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(once.as_slice())));
    *xor(sha1(&[nonce, twice.as_slice()]), &once)
}

/// Whether such a proof is of the password whose SHA-1 of SHA-1 is kept. In constant time.
pub fn proves_native(kept: &Secret, nonce: &Nonce, proof: &[u8; 20]) -> Choice {
    let once = xor(sha1(&[nonce, kept.expose()]), proof);
    sha1(&[once.as_slice()]).ct_eq(kept.expose())
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept_sha2(password: &[u8]) -> Secret {
        Secret::new(Sha256::digest(Sha256::digest(password)).to_vec())
    }

    fn kept_native(password: &[u8]) -> Secret {
        Secret::new(Sha1::digest(Sha1::digest(password)).to_vec())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn proofs_are_those_of_the_engines() {
        // Computed with Python's hashlib.
        let (password, nonce) = (Secret::new("s3cret"), *b"abcdefghijklmnopqrst");
        assert_eq!(
            hex(&caching_sha2(&password, &nonce)),
            "5661ac17cec0e6001d3747b3aaa0d0c1927fdc43c56deeab05d4c42d73b2b642"
        );
        assert_eq!(hex(&native(&password, &nonce)), "8510605a5ec0d3d958058636e0a2ebdfcf34be4c");
    }

    #[test]
    fn a_nonce_has_no_end_inside() {
        let random = std::array::from_fn(|n| [0, 0x80, b'$', 0xa4, 7][n % 5]);
        assert_eq!(&nonce(&random)[..5], [1, 1, b'%', b'%', 7]);
    }

    proptest! {
        #[test]
        fn a_proof_is_of_its_password_and_nonce_alone(
            password: Vec<u8>, other: Vec<u8>, nonce: Nonce, later: Nonce,
        ) {
            let same = password == other;
            let secret = Secret::new(password.clone());
            let proof = caching_sha2(&secret, &nonce);
            prop_assert!(bool::from(proves_caching_sha2(&kept_sha2(&password), &nonce, &proof)));
            prop_assert_eq!(bool::from(proves_caching_sha2(&kept_sha2(&other), &nonce, &proof)), same);
            prop_assert_eq!(
                bool::from(proves_caching_sha2(&kept_sha2(&password), &later, &proof)),
                nonce == later
            );
            prop_assert_eq!(bool::from(is_password(&kept_sha2(&password), &other)), same);
            let proof = native(&secret, &nonce);
            prop_assert!(bool::from(proves_native(&kept_native(&password), &nonce, &proof)));
            prop_assert_eq!(bool::from(proves_native(&kept_native(&other), &nonce, &proof)), same);
        }
    }
}
