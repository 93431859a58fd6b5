//! The server's half of a SCRAM-SHA-256 exchange (RFC 5802 chapters 5 to 7, RFC 7677), as PostgreSQL
//! speaks it (manual 54.3, "SASL Authentication"). Text in, text out; the keys are `identity::scram`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::identity::scram::{ITERATIONS, KEY_BYTES, SALT_BYTES};

/// Random bytes in the server's part of the nonce, as many as PostgreSQL takes.
pub const NONCE_BYTES: usize = 18;

/// How a client logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Without channel binding.
    Plain,
    /// `-PLUS`: bound to the TLS connection by `tls-server-end-point` (RFC 5929).
    Plus,
}

impl Mechanism {
    /// Its name as SASL has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "SCRAM-SHA-256",
            Self::Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

/// Why an exchange cannot go on. The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not what the grammar of RFC 5802 chapter 7 asks for.
    #[error("malformed SCRAM message ({0})")]
    Malformed(&'static str),
    /// An authorization identity, or an extension that must be understood (`m=`).
    #[error("the client asks for {0}, which is not supported")]
    Unsupported(&'static str),
    /// `y` although channel binding was offered: somebody may have taken the offer away.
    #[error(
        "the client supports channel binding and thinks that this proxy does not, but it offered it"
    )]
    Downgrade,
    /// The client is bound to another TLS connection than this one.
    #[error("SCRAM channel binding check failed")]
    ChannelBinding,
}

impl ScramError {
    /// SQLSTATE to end the connection with, as PostgreSQL has it (`auth-scram.c`).
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::Malformed(_) => "08P01",
            Self::Unsupported(_) => "0A000",
            Self::Downgrade | Self::ChannelBinding => "28000",
        }
    }
}

/// What client-first said.
#[derive(Clone, PartialEq, Eq)]
struct ClientFirst {
    /// `n,,`, `y,,` or `p=…,,`: comes back in client-final.
    gs2_header: String,
    /// The message without that header: part of what is proved.
    bare: String,
    nonce: String,
}

/// An exchange that waits for client-final.
#[derive(Clone)]
pub struct Exchange {
    /// What `c=` must hold: the GS2 header, then the hash of our certificate when bound to it.
    binding: Vec<u8>,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

/// A client-final whose form, nonce and channel binding are right. Whether the proof is remains to be
/// seen.
pub struct Proof {
    /// `ClientProof`.
    pub proof: [u8; KEY_BYTES],
    /// `AuthMessage`: what was said, over which the proof is made.
    pub conversation: String,
}

impl Exchange {
    /// Reads client-first. `channel_binding` is the hash of our certificate where it was offered;
    /// `server_nonce` must be new each time and printable.
    ///
    /// # Errors
    /// When the message is malformed, or does not fit the mechanism that was chosen.
    pub fn begin(
        mechanism: Mechanism,
        channel_binding: Option<&[u8]>,
        client_first: &str,
        server_nonce: &str,
        salt: &[u8; SALT_BYTES],
    ) -> Result<Self, ScramError> {
        let first = ClientFirst::read(client_first, mechanism, channel_binding.is_some())?;
        let mut binding = first.gs2_header.into_bytes();
        if mechanism == Mechanism::Plus {
            binding.extend_from_slice(channel_binding.unwrap_or_default());
        }
        let nonce = format!("{}{server_nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(salt));
        Ok(Self { binding, client_first_bare: first.bare, server_first, nonce })
    }

    /// The message to answer with.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Reads client-final.
    ///
    /// # Errors
    /// When it is malformed, has another nonce, or is bound to another TLS connection.
    pub fn finish(self, client_final: &str) -> Result<Proof, ScramError> {
        let malformed = ScramError::Malformed;
        // The proof is last, and what it proves is everything before it.
        let (without_proof, proof) =
            client_final.rsplit_once(",p=").ok_or(malformed("client-final has no proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = value(attributes.next(), 'c')?;
        let nonce = value(attributes.next(), 'r')?;
        extensions(attributes)?;
        let binding =
            STANDARD.decode(binding).map_err(|_| malformed("channel binding is not base64"))?;
        if !bool::from(binding.ct_eq(&self.binding)) {
            return Err(ScramError::ChannelBinding);
        }
        if nonce != self.nonce {
            return Err(malformed("nonce does not match"));
        }
        let proof = STANDARD.decode(proof).ok().and_then(|bytes| bytes.try_into().ok());
        let proof = proof.ok_or(malformed("proof is not 32 bytes of base64"))?;
        let conversation =
            format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        Ok(Proof { proof, conversation })
    }
}

impl ClientFirst {
    fn read(text: &str, mechanism: Mechanism, plus_offered: bool) -> Result<Self, ScramError> {
        let malformed = ScramError::Malformed;
        let (flag, rest) = text.split_once(',').ok_or(malformed("no channel binding flag"))?;
        match (flag, mechanism) {
            ("n", Mechanism::Plain) => {}
            ("y", Mechanism::Plain) if plus_offered => return Err(ScramError::Downgrade),
            ("y", Mechanism::Plain) => {}
            ("p=tls-server-end-point", Mechanism::Plus) => {}
            (other, Mechanism::Plus) if other.starts_with("p=") => {
                return Err(malformed("unsupported channel binding type"));
            }
            ("n" | "y", Mechanism::Plus) => {
                return Err(malformed("SCRAM-SHA-256-PLUS without channel binding"));
            }
            (other, Mechanism::Plain) if other.starts_with("p=") => {
                return Err(malformed("channel binding without SCRAM-SHA-256-PLUS"));
            }
            _ => return Err(malformed("unknown channel binding flag")),
        }
        let (authzid, bare) = rest.split_once(',').ok_or(malformed("no user name"))?;
        if !authzid.is_empty() {
            return Err(ScramError::Unsupported("an authorization identity"));
        }
        let mut attributes = bare.split(',');
        let name = attributes.next();
        if name.is_some_and(|attribute| attribute.starts_with("m=")) {
            return Err(ScramError::Unsupported("a mandatory SCRAM extension"));
        }
        // Whose name it is was said in the start-up packet; libpq leaves this one empty, and
        // PostgreSQL reads it no more than we do.
        value(name, 'n')?;
        let nonce = value(attributes.next(), 'r')?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed("nonce is not printable"));
        }
        extensions(attributes)?;
        Ok(Self { gs2_header: format!("{flag},,"), bare: bare.into(), nonce: nonce.into() })
    }
}

/// Value of the attribute that must come next.
fn value(attribute: Option<&str>, name: char) -> Result<&str, ScramError> {
    attribute
        .and_then(|attribute| attribute.strip_prefix(name)?.strip_prefix('='))
        .ok_or(ScramError::Malformed("an attribute is missing or out of order"))
}

/// What may follow: attributes of one letter with a value. They are ignored (RFC 5802, 5.1, "optional
/// extensions"), but not those that must be understood, and not a second one of a known name, which two
/// readers could take for different ones.
fn extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), ScramError> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'm', b'=', ..] => {
                return Err(ScramError::Unsupported("a mandatory SCRAM extension"));
            }
            [b'a' | b'c' | b'e' | b'i' | b'n' | b'p' | b'r' | b's' | b'v', b'=', ..] => {
                return Err(ScramError::Malformed("an attribute is there twice or out of place"));
            }
            [name, b'=', _, ..] if name.is_ascii_alphabetic() => {}
            _ => return Err(ScramError::Malformed("an extension is no attribute")),
        }
    }
    Ok(())
}

/// The server's part of a nonce.
pub fn server_nonce(random: &[u8; NONCE_BYTES]) -> String {
    STANDARD.encode(random)
}

/// The last message: the server's own proof.
pub fn server_final(signature: &[u8; KEY_BYTES]) -> String {
    format!("v={}", STANDARD.encode(signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::scram::{keys, proves, server_signature};

    const SALT: [u8; 16] = *b"0123456789abcdef";

    fn begin(mechanism: Mechanism, offered: bool, first: &str) -> Result<Exchange, ScramError> {
        Exchange::begin(mechanism, offered.then_some(&b"HASH"[..]), first, "server", &SALT)
    }

    #[test]
    fn the_conversation_of_rfc_7677() {
        // Chapter 3.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let exchange = Exchange::begin(
            Mechanism::Plain,
            None,
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            &salt,
        );
        let exchange = exchange.unwrap();
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let proof = exchange
            .finish(
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            )
            .unwrap();
        let keys = keys(b"pencil", &salt, 4096);
        let conversation = proof.conversation.as_bytes();
        assert!(bool::from(proves(&keys.stored, &proof.proof, conversation)));
        assert_eq!(
            server_final(&server_signature(&keys.server, conversation)),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn the_channel_binding_flag_must_fit_what_was_offered_and_chosen() {
        use Mechanism::{Plain, Plus};
        use ScramError::{Downgrade, Malformed};
        let plus = "p=tls-server-end-point";
        for (flag, mechanism, offered, error) in [
            ("n", Plain, false, None),
            ("n", Plain, true, None),
            ("y", Plain, false, None),
            ("y", Plain, true, Some(Downgrade)),
            (plus, Plus, true, None),
            (plus, Plain, true, Some(Malformed("channel binding without SCRAM-SHA-256-PLUS"))),
            ("p=tls-unique", Plus, true, Some(Malformed("unsupported channel binding type"))),
            ("p=tls-exporter", Plus, true, Some(Malformed("unsupported channel binding type"))),
            ("n", Plus, true, Some(Malformed("SCRAM-SHA-256-PLUS without channel binding"))),
            ("y", Plus, true, Some(Malformed("SCRAM-SHA-256-PLUS without channel binding"))),
            ("x", Plain, true, Some(Malformed("unknown channel binding flag"))),
            ("", Plain, true, Some(Malformed("unknown channel binding flag"))),
        ] {
            let answer = begin(mechanism, offered, &format!("{flag},,n=,r=abc")).err();
            assert_eq!(answer, error, "{flag} {mechanism:?} {offered}");
        }
    }

    #[test]
    fn client_first_is_read_strictly() {
        for first in ["n,,n=,r=abc", "n,,n=alice=2Cbob,r=a", "n,,n=,r=abc,x=1,t=long value"] {
            assert!(begin(Mechanism::Plain, false, first).is_ok(), "{first}");
        }
        for first in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=",
            "n,,r=abc",
            "n,,r=abc,n=",
            "n,,n=,r=",
            "n,,n=,r=a b",
            "n,,n=,r=a\u{7f}",
            "n,,n=,r=é",
            "n,,n=,r=abc,",
            "n,,n=,r=abc,r=def",
            "n,,n=,r=abc,x",
            "n,,n=,r=abc,x=",
            "n,,n=,r=abc,1=2",
        ] {
            let error = begin(Mechanism::Plain, false, first).err();
            assert!(matches!(error, Some(ScramError::Malformed(_))), "{first}: {error:?}");
        }
        for first in ["n,a=root,n=,r=abc", "n,,m=x,n=,r=abc", "n,,n=,r=abc,m=x"] {
            let error = begin(Mechanism::Plain, false, first).err();
            assert!(matches!(error, Some(ScramError::Unsupported(_))), "{first}: {error:?}");
        }
    }

    #[test]
    fn client_final_is_read_strictly() {
        let proof = STANDARD.encode([7; 32]);
        let finish = |text: &str| {
            let exchange = begin(Mechanism::Plain, false, "n,,n=,r=abc").unwrap();
            exchange.finish(&text.replace("PROOF", &proof)).map(|proof| proof.conversation)
        };
        let head = "n=,r=abc,r=abcserver,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096";
        let said = |text: &str| Ok(format!("{head},{text}"));
        assert_eq!(finish("c=biws,r=abcserver,p=PROOF"), said("c=biws,r=abcserver"));
        assert_eq!(finish("c=biws,r=abcserver,x=1,p=PROOF"), said("c=biws,r=abcserver,x=1"));
        for wrong in [
            "",
            "c=biws,r=abcserver",
            "c=biws,r=abcserver,p=",
            "c=biws,r=abcserver,p=AAAA",
            "c=biws,r=abcserver,p=PROOF,",
            "c=biws,r=abcserver,p=PROOF,x=1",
            "c=biws,r=abcserver,p=PROOF,p=PROOF",
            "c=biws,r=abcserver,c=biws,p=PROOF",
            "c=biws,r=abc,p=PROOF",
            "c=biws,r=server,p=PROOF",
            "c=biws,r=,p=PROOF",
            "r=abcserver,c=biws,p=PROOF",
            "c=!,r=abcserver,p=PROOF",
            "c=biw,r=abcserver,p=PROOF",
            "c=biws,p=PROOF",
            "p=PROOF",
        ] {
            let error = finish(wrong);
            assert!(matches!(error, Err(ScramError::Malformed(_))), "{wrong}: {error:?}");
        }
        let mandatory = ScramError::Unsupported("a mandatory SCRAM extension");
        assert_eq!(finish("c=biws,r=abcserver,m=1,p=PROOF"), Err(mandatory));
        // eSws is y,, and cD10… a binding that this client never announced.
        for other in ["eSws", "", "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsSEFTSA=="] {
            let text = format!("c={other},r=abcserver,p=PROOF");
            assert_eq!(finish(&text), Err(ScramError::ChannelBinding), "{other}");
        }
    }

    #[test]
    fn a_bound_client_must_be_bound_to_our_certificate() {
        for (hash, good) in [("HASH", true), ("HASh", false), ("", false), ("HASHHASH", false)] {
            let first = "p=tls-server-end-point,,n=,r=abc";
            let exchange = begin(Mechanism::Plus, true, first).unwrap();
            let binding = STANDARD.encode(format!("p=tls-server-end-point,,{hash}"));
            let proof = STANDARD.encode([7; 32]);
            let answer = exchange.finish(&format!("c={binding},r=abcserver,p={proof}"));
            assert_eq!(answer.is_ok(), good, "{hash}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(first: String, tail: String) {
            let _ = begin(Mechanism::Plain, true, &first);
            let _ = begin(Mechanism::Plain, false, &format!("n,,n=,r=a{tail}"))
                .map(|exchange| exchange.finish(&tail).is_ok());
        }
    }
}
