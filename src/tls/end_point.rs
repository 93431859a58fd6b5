//! The channel binding `tls-server-end-point` (RFC 5929, chapter 4): a hash of the certificate, by the
//! hash function that the certificate is signed with.

use sha2::{Digest, Sha256, Sha384, Sha512};

/// The binding of a certificate in DER; `None` where its signature uses no single hash function of the
/// SHA-2 family or older (Ed25519, for one), for which RFC 5929 defines none.
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// MD5 and SHA-1 stand for SHA-256 (RFC 5929, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

pub(crate) const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const CONTEXT_0: u8 = 0xa0;

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }` (RFC 5280, 4.1).
fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    let mut certificate = Der(certificate).value(SEQUENCE)?;
    certificate.value(SEQUENCE)?;
    let mut algorithm = certificate.value(SEQUENCE)?;
    let oid = algorithm.value(OBJECT_IDENTIFIER)?.0;
    match oid {
        // RSASSA-PSS (RFC 4055, 3.1): the hash is in the parameters, SHA-1 when it is not there.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] => {
            let mut parameters = algorithm.value(SEQUENCE)?;
            let Some(mut hash) = parameters.value(CONTEXT_0) else { return Some(Hash::Sha256) };
            named(hash.value(SEQUENCE)?.value(OBJECT_IDENTIFIER)?.0)
        }
        // PKCS #1 (RFC 8017, A.2.4), whose last arc says with which hash.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, with] => match with {
            4 | 5 | 11 => Some(Hash::Sha256),
            12 => Some(Hash::Sha384),
            13 => Some(Hash::Sha512),
            _ => None,
        },
        // ECDSA (RFC 5758, 3.2; with SHA-1 RFC 3279, 2.2.3).
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => Some(Hash::Sha256),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, with] => match with {
            2 => Some(Hash::Sha256),
            3 => Some(Hash::Sha384),
            4 => Some(Hash::Sha512),
            _ => None,
        },
        _ => None,
    }
}

/// Hash functions by their own identifiers (RFC 4055, 2.1).
fn named(oid: &[u8]) -> Option<Hash> {
    match oid {
        [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Some(Hash::Sha256),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, which] => match which {
            1 => Some(Hash::Sha256),
            2 => Some(Hash::Sha384),
            3 => Some(Hash::Sha512),
            _ => None,
        },
        _ => None,
    }
}

/// Elements of DER (X.690, 8.1 and 10.1) one after the other; as much of it as a certificate's frame
/// has: tags of one byte, lengths of up to four.
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

impl<'a> Der<'a> {
    /// What the next element holds, when it has that tag.
    pub(crate) fn value(&mut self, tag: u8) -> Option<Der<'a>> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        if found != tag {
            return None;
        }
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
            }
            _ => return None,
        };
        let (value, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some(Der(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn element(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, value].concat()
    }

    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        let signed = element(SEQUENCE, &[0x5a; 300]);
        element(SEQUENCE, &[&signed, algorithm, &element(0x03, &[0; 64])].concat())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        // AlgorithmIdentifiers as OpenSSL 3 writes them.
        for (name, algorithm, hash) in ALGORITHMS {
            assert_eq!(signature_hash(&certificate(&hex(algorithm))), hash, "{name}");
        }
    }

    const ALGORITHMS: [(&str, &str, Option<Hash>); 9] = [
        ("md5WithRSAEncryption", "300D06092A864886F70D0101040500", Some(Hash::Sha256)),
        ("sha1WithRSAEncryption", "300D06092A864886F70D0101050500", Some(Hash::Sha256)),
        ("sha256WithRSAEncryption", "300D06092A864886F70D01010B0500", Some(Hash::Sha256)),
        ("sha512WithRSAEncryption", "300D06092A864886F70D01010D0500", Some(Hash::Sha512)),
        (
            "rsassaPss with sha384",
            "304206092A864886F70D01010A3035A00F300D06096086480165030402020500A11C301A06092A864886F70D010108300D06096086480165030402020500A204020200CE",
            Some(Hash::Sha384),
        ),
        ("rsassaPss with nothing said", "300D06092A864886F70D01010A3000", Some(Hash::Sha256)),
        ("ecdsa-with-SHA256", "300A06082A8648CE3D040302", Some(Hash::Sha256)),
        ("ecdsa-with-SHA384", "300A06082A8648CE3D040303", Some(Hash::Sha384)),
        ("ED25519", "300506032B6570", None),
    ];

    #[test]
    fn the_binding_is_that_hash_over_the_whole_certificate() {
        let certificate = certificate(&hex("300A06082A8648CE3D040303"));
        let binding = tls_server_end_point(&certificate).unwrap();
        assert_eq!(binding, Sha384::digest(&certificate).to_vec());
    }

    #[test]
    fn what_is_cut_has_no_binding() {
        let whole = certificate(&hex("300A06082A8648CE3D040302"));
        assert!(tls_server_end_point(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(tls_server_end_point(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, algorithm: Vec<u8>) {
            let _ = tls_server_end_point(&bytes);
            let _ = tls_server_end_point(&certificate(&element(SEQUENCE, &algorithm)));
        }
    }
}
