//! Channel binding `tls-server-end-point`: the hash of the server's certificate that SCRAM-SHA-256-PLUS
//! mixes into its proofs (RFC 5929, section 4).

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// The binding for a certificate in DER: its hash, by the function of its signature, or SHA-256 where
/// that is MD5 or SHA-1. `None` where the RFC leaves it undefined (Ed25519, RSA-PSS) or the
/// certificate cannot be read.
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // The last arc of the algorithm's identifier, after a prefix (RFC 8017, RFC 5758).
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

    let algorithm = signature_algorithm(certificate)?;
    if algorithm == ECDSA_SHA1 {
        return Some(Sha256::digest(certificate).to_vec());
    }
    let (&last, prefix) = algorithm.split_last()?;
    Some(match (prefix, last) {
        // md5WithRSAEncryption 4, sha1 5, sha256 11; ecdsa-with-SHA256 2.
        (RSA, 4 | 5 | 11) | (ECDSA, 2) => Sha256::digest(certificate).to_vec(),
        (RSA, 12) | (ECDSA, 3) => Sha384::digest(certificate).to_vec(),
        (RSA, 13) | (ECDSA, 4) => Sha512::digest(certificate).to_vec(),
        (RSA, 14) | (ECDSA, 1) => Sha224::digest(certificate).to_vec(),
        _ => return None,
    })
}

/// The identifier in `Certificate.signatureAlgorithm` (RFC 5280, section 4.1).
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (body, _) = element(certificate, SEQUENCE)?;
    let (_to_be_signed, rest) = element(body, SEQUENCE)?;
    let (algorithm, _signature) = element(rest, SEQUENCE)?;
    Some(element(algorithm, OBJECT_IDENTIFIER)?.0)
}

/// Content of the DER element at the head, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let parameters = CertificateParams::new(["db.example".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(tls_server_end_point(&p256).unwrap(), Sha256::digest(&p256).to_vec());
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(tls_server_end_point(&p384).unwrap(), Sha384::digest(&p384).to_vec());
    }

    #[test]
    fn md5_and_sha1_give_way_to_sha256() {
        for last in [4, 5] {
            let algorithm = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last];
            let mut der = vec![0x30, 15, 0x30, 0, 0x30, 11, 0x06, 9];
            der.extend(algorithm);
            assert_eq!(tls_server_end_point(&der).unwrap(), Sha256::digest(&der).to_vec());
        }
    }

    #[test]
    fn ed25519_has_none() {
        assert_eq!(tls_server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = tls_server_end_point(&bytes);
        }

        #[test]
        fn no_cut_makes_it_panic(cut in 0_usize..200) {
            let whole = [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..], &[0x30; 200]].concat();
            let _ = tls_server_end_point(&whole[..cut]);
        }
    }
}
