//! Encrypting a password with a server's public key, as `caching_sha2_password` and `sha256_password`
//! want it without TLS: RSAES-OAEP with SHA-1 (RFC 8017, 7.1). Only ever done with a public key: what is
//! secret here is the message alone, and the arithmetic takes the same time whatever that is.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::tls::end_point::{Der, SEQUENCE};
use crate::upstream::error::LoginError;

const HASH_BYTES: usize = 20;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// Longest modulus; MySQL makes keys of 2048 bits.
const MODULUS_BYTES_MAX: usize = 1_024;
/// Shortest that is still taken.
const MODULUS_BYTES_MIN: usize = 128;
/// Longest exponent; 65537 has 3.
const EXPONENT_BYTES_MAX: usize = 8;

/// Random bytes that one encryption needs.
pub type Seed = [u8; HASH_BYTES];

/// Encrypts a message with a public key in PEM.
///
/// # Errors
/// When the key is none, or too small for the message.
pub fn encrypt(pem: &[u8], message: &[u8], seed: &Seed) -> Result<Vec<u8>, LoginError> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .map_err(|_| LoginError::PublicKey("it is no public key in PEM"))?;
    let (modulus, exponent) =
        numbers(&key).ok_or(LoginError::PublicKey("it is no RSA key of 1024 to 8192 bits"))?;
    let padded = pad(message, modulus.len(), seed)
        .ok_or(LoginError::PublicKey("it is too short for the password"))?;
    power(&padded, modulus, exponent).ok_or(LoginError::PublicKey("its modulus is even"))
}

/// Modulus and exponent of a key (RFC 5280, 4.1; RFC 8017, A.1.1), without leading zeros.
fn numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut info = Der(key).value(SEQUENCE)?;
    info.value(SEQUENCE)?;
    let bits = info.value(BIT_STRING)?.0.strip_prefix(&[0])?;
    let mut key = Der(bits).value(SEQUENCE)?;
    let mut number = || {
        let bytes = key.value(INTEGER)?.0;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        bytes.get(zeros..)
    };
    let (modulus, exponent) = (number()?, number()?);
    let fits = (MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&modulus.len())
        && (1..=EXPONENT_BYTES_MAX).contains(&exponent.len());
    fits.then_some((modulus, exponent))
}

/// EME-OAEP with an empty label.
fn pad(message: &[u8], bytes: usize, seed: &Seed) -> Option<Zeroizing<Vec<u8>>> {
    let zeros = bytes.checked_sub(message.len() + 2 * HASH_BYTES + 2)?;
    let mut block = Zeroizing::new(Vec::with_capacity(bytes));
    block.extend_from_slice(&Sha1::digest(b""));
    block.resize(HASH_BYTES + zeros, 0);
    block.push(1);
    block.extend_from_slice(message);
    mask(&mut block, seed);
    let mut masked_seed = *seed;
    mask(&mut masked_seed, &block);
    let mut padded = Zeroizing::new(Vec::with_capacity(bytes));
    padded.push(0);
    padded.extend_from_slice(&masked_seed);
    padded.extend_from_slice(&block);
    Some(padded)
}

/// XORs with MGF1 of a seed (RFC 8017, B.2.1).
fn mask(bytes: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(bytes.chunks_mut(HASH_BYTES)) {
        let hash = Sha1::new_with_prefix(seed).chain_update(counter.to_be_bytes()).finalize();
        for (place, byte) in chunk.iter_mut().zip(hash) {
            *place ^= byte;
        }
    }
}

/// The padded message to the power of the exponent. `None` for a modulus that no key has.
fn power(padded: &[u8], modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let bits = u32::try_from(modulus.len() * 8).ok()?;
    let modulus = BoxedUint::from_be_slice(modulus, bits).ok()?;
    let parameters = BoxedMontyParams::new(Odd::new(modulus).into_option()?);
    let exponent = BoxedUint::from_be_slice_vartime(exponent);
    let message = BoxedUint::from_be_slice(padded, bits).ok()?;
    let power = BoxedMontyForm::new(message, &parameters).pow(&exponent).retrieve().to_be_bytes();
    // As long as the modulus: limbs may have added zeros before it.
    let zeros = power.len().checked_sub(padded.len())?;
    power.get(zeros..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    // openssl genrsa 1024; openssl rsa -pubout. `openssl pkeyutl -decrypt -pkeyopt rsa_padding_mode:oaep`
    // read the ciphertext below.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDBrGQhoiQmLFz5ZTYAhGi5MH9/\n\
        KDvPNkisxvV1CR7CBbdR+2NqI044aoMh4Po1y9zsRMQchMmjgSYhoIVhndIeyRZW\n\
        Do8Il2Zc9ojziGEaltZYVmUiLPrh7zZ2uIH6gHS+3ZnxUkz6RbE1imROLAF2gT+f\n\
        kWoDW6kRc+oS1aCdmwIDAQAB\n\
        -----END PUBLIC KEY-----";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_encrypted_is_what_openssl_decrypts() {
        let encrypted = encrypt(KEY.as_bytes(), b"correct horse\0", &[7; 20]).unwrap();
        assert_eq!(
            hex(&encrypted),
            "810d3ab1a0f52036842142a903c36321a126633866086eedc97feae0327b49ea33fbfb9030de7631\
             026b88a4c9aaa60cd1cb2be546acb979e1c6386c55a0a98fd9bb1dfa2eac917fef208ddefe24901b\
             736993d7be5e74b8f32a02ac4d5e7a046d033f62c26b44276246b17901ac4f26a504cc9e2a40e423\
             8a71ccaa8375e4b4"
        );
    }

    #[test]
    fn what_is_no_key_or_too_short_is_refused() {
        let error =
            |pem: &str, message: &[u8]| encrypt(pem.as_bytes(), message, &[0; 20]).unwrap_err();
        assert!(matches!(error("no key", b"x"), LoginError::PublicKey(_)));
        assert!(matches!(error(&KEY.replace("MIG", "MIH"), b"x"), LoginError::PublicKey(_)));
        assert_eq!(
            encrypt(KEY.as_bytes(), &[b'x'; 86], &[0; 20]).map(|bytes| bytes.len()),
            Ok(128)
        );
        let long = error(KEY, &[b'x'; 87]);
        assert_eq!(long, LoginError::PublicKey("it is too short for the password"));
    }
}
