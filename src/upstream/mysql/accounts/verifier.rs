//! What a server keeps of an account's password: enough to check it, not enough to log in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::upstream::roles::names::hex;
use crate::wire::mysql::auth;

/// How accounts prove their password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plugin {
    /// `caching_sha2_password`, MySQL's own.
    #[default]
    CachingSha2,
    /// `ed25519`, on a MariaDB that has it loaded.
    Ed25519,
    /// `mysql_native_password`, which every MariaDB has.
    Native,
}

impl Plugin {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => auth::CACHING_SHA2,
            // Clients have another name for it.
            Self::Ed25519 => "ed25519",
            Self::Native => auth::NATIVE,
        }
    }

    /// What of the password it has the server keep: letters, digits and `$./+*`. With
    /// `caching_sha2_password` that takes milliseconds. `salt` is anything; whoever gives the same gets the same.
    pub fn verifier(self, password: &Secret, salt: &[u8]) -> String {
        match self {
            Self::CachingSha2 => {
                // Thousands of rounds, and the salt's 20 letters.
                let salt: Vec<u8> = salt.iter().map(|byte| letter(u32::from(*byte))).collect();
                let salt = salt.get(..SALT_BYTES).unwrap_or(&salt);
                let digest = sha256_crypt(password.expose(), salt, ROUNDS);
                format!("$A$005${}{digest}", String::from_utf8_lossy(salt))
            }
            Self::Ed25519 => {
                let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(password.expose())));
                let key = ExpandedSecretKey::from_bytes(&hash);
                STANDARD_NO_PAD.encode(VerifyingKey::from(&key).as_bytes())
            }
            Self::Native => {
                let once = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(password.expose())));
                let twice = <[u8; 20]>::from(Sha1::digest(*once));
                format!("*{}", hex(&twice, 2 * twice.len()).to_uppercase())
            }
        }
    }
}

const SALT_BYTES: usize = 20;
const ROUNDS: usize = 5_000;

/// In the order of crypt(3).
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn letter(bits: u32) -> u8 {
    let index = usize::try_from(bits & 63).unwrap_or_default();
    LETTERS.get(index).copied().unwrap_or(b'.')
}

/// U. Drepper's "Unix crypt using SHA-256 and SHA-512", but that the salt may be as long as MySQL's.
fn sha256_crypt(password: &[u8], salt: &[u8], rounds: usize) -> String {
    let length = password.len();
    let alternate = digest(&[password, salt, password]);
    let mut first = Sha256::new();
    first.update(password);
    first.update(salt);
    for chunk in stretched(&alternate, length).chunks(alternate.len()) {
        first.update(chunk);
    }
    let mut bits = length;
    while bits > 0 {
        first.update(if bits & 1 == 1 { &alternate[..] } else { password });
        bits >>= 1;
    }
    let mut hash: [u8; 32] = first.finalize().into();
    let repeated = |what: &[u8], times: usize| {
        let mut digest = Sha256::new();
        (0..times).for_each(|_| digest.update(what));
        <[u8; 32]>::from(digest.finalize())
    };
    let of_password = Zeroizing::new(stretched(&repeated(password, length), length));
    let of_salt = stretched(&repeated(salt, 16 + usize::from(hash[0])), salt.len());
    for round in 0..rounds {
        let odd = round & 1 == 1;
        let mut next = Sha256::new();
        next.update(if odd { &of_password[..] } else { &hash });
        if !round.is_multiple_of(3) {
            next.update(&of_salt);
        }
        if !round.is_multiple_of(7) {
            next.update(&*of_password);
        }
        next.update(if odd { &hash } else { &of_password[..] });
        hash = next.finalize().into();
    }
    written(&hash)
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

/// The bytes over and over, up to that length.
fn stretched(bytes: &[u8; 32], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

/// Three bytes as four letters, in an order of their own; the last two as three.
fn written(hash: &[u8; 32]) -> String {
    let byte = |index: usize| u32::from(hash.get(index).copied().unwrap_or_default());
    let mut text = String::with_capacity(43);
    let mut put = |mut bits: u32, letters: usize| {
        for _ in 0..letters {
            text.push(char::from(letter(bits)));
            bits >>= 6;
        }
    };
    let mut at = [0, 10, 20];
    for _ in 0..10 {
        let [high, middle, low] = at;
        put(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
        at = [low + 1, high + 1, middle + 1];
    }
    put(byte(31) << 8 | byte(30), 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_description() {
        // From `openssl passwd -5`, as the next.
        assert_eq!(
            sha256_crypt(b"Hello world!", b"saltstring", 5_000),
            "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
        );

        let long = b"a password that is longer than the digest, which is thirty-two bytes long";
        assert_eq!(
            sha256_crypt(long, b"abcdefghijklmnop", 5_000),
            "/gPAi3o53m8E7.PnIlaqpMRuAaN9pVPnfcJ3o5SeDW4"
        );
    }

    #[test]
    fn what_is_kept_has_nothing_of_the_password_and_is_safe_between_quotes() {
        let password = Secret::new("correct horse");
        for (plugin, length) in
            [(Plugin::CachingSha2, 70), (Plugin::Ed25519, 43), (Plugin::Native, 41)]
        {
            let kept = plugin.verifier(&password, &[7; 32]);
            assert_eq!(kept.len(), length, "{kept}");
            assert!(!kept.contains("horse"));
            assert!(kept.bytes().all(|it| it.is_ascii_alphanumeric() || b"$./+*".contains(&it)));
            assert_ne!(kept, plugin.verifier(&Secret::new("another"), &[7; 32]));
        }
        // SELECT PASSWORD('a') on MariaDB.
        assert_eq!(
            Plugin::Native.verifier(&Secret::new("a"), &[]),
            "*667F407DE7C6AD07358FA38DAED7828A72014B4E"
        );
    }
}
