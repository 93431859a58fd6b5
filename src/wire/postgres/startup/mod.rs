//! The packets before login: start-up, TLS and GSS requests, cancel requests (manual 54.2.1 "Start-up",
//! 54.7 "Message Formats"). They have a length and no tag.

pub mod parameters;

use super::frame::frame;
use super::reply::Report;
use crate::secret::Secret;

/// A packet that a client may begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// SSLRequest: may we speak TLS?
    Tls,
    /// GSSENCRequest: may we speak GSSAPI encryption?
    Gss,
    /// CancelRequest: process id and secret key, as they were given out in BackendKeyData.
    Cancel(Secret),
    /// StartupMessage.
    Startup(Startup),
}

/// A StartupMessage, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// Protocol version.
    pub version: Version,
    /// Names and values in the order of the packet, with what is there twice.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// Value of a parameter: the last one, as in PostgreSQL.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter().rev();
        all.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A protocol version: major in the upper half, minor in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// 3.0, which every client speaks.
    pub const V3_0: Self = Self(0x0003_0000);
    /// 3.2 (PostgreSQL 18): cancel keys of up to 256 bytes.
    pub const V3_2: Self = Self(0x0003_0002);

    /// The number before the point.
    pub const fn major(self) -> u16 {
        let [a, b, _, _] = self.0.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// The number after it.
    pub const fn minor(self) -> u16 {
        let [_, _, a, b] = self.0.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// The newest version that we speak and the client does; `None` for another major version. 3.1
    /// was never given out, so who asks for it gets 3.0.
    pub const fn spoken(self) -> Option<Self> {
        match (self.major(), self.minor()) {
            (3, 0 | 1) => Some(Self::V3_0),
            (3, _) => Some(Self::V3_2),
            _ => None,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

/// Bytes that are no packet. The connection ends with SQLSTATE 08P01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head of a TLS ClientHello where none is expected.
    #[error("a TLS handshake where a start-up packet is expected")]
    TlsHandshake,
    /// Below 8 or above the limit.
    #[error("invalid length of start-up packet")]
    Length,
    /// Not the length that this request has.
    #[error("invalid length of {0}")]
    RequestLength(&'static str),
    /// A name or value without its end, no empty name at the end, bytes after it.
    #[error("invalid start-up packet layout")]
    Layout,
    /// Text that is not UTF-8.
    #[error("start-up packet holds text that is not UTF-8")]
    Encoding,
}

const TLS_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Bytes of length and code.
const HEAD_BYTES: usize = 8;
const CANCEL_KEY_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// Reads the packet at the head of `buffer` and says how many bytes it takes; `None` while it is not
/// all there. More bytes never change an answer, so it does not matter how they arrive.
///
/// # Errors
/// When they cannot become a packet of at most `bytes_max` bytes.
pub fn read(buffer: &[u8], bytes_max: usize) -> Result<Option<(Packet, usize)>, Malformed> {
    const TLS_RECORD_HANDSHAKE: u8 = 0x16;
    let Some((length, _)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let total = u32::from_be_bytes(*length) as usize;
    if !(HEAD_BYTES..=bytes_max).contains(&total) {
        let tls = buffer.first() == Some(&TLS_RECORD_HANDSHAKE);
        return Err(if tls { Malformed::TlsHandshake } else { Malformed::Length });
    }
    let Some(packet) = buffer.get(4..total) else { return Ok(None) };
    let Some((code, body)) = packet.split_first_chunk::<4>() else { return Ok(None) };
    let packet = match u32::from_be_bytes(*code) {
        TLS_REQUEST if body.is_empty() => Packet::Tls,
        TLS_REQUEST => return Err(Malformed::RequestLength("SSLRequest")),
        GSS_REQUEST if body.is_empty() => Packet::Gss,
        GSS_REQUEST => return Err(Malformed::RequestLength("GSSENCRequest")),
        CANCEL_REQUEST => {
            // Process id, then the key: 4 bytes up to protocol 3.0, up to 256 from 3.2 on.
            let key = body.len().checked_sub(4).filter(|n| CANCEL_KEY_BYTES.contains(n));
            key.ok_or(Malformed::RequestLength("CancelRequest"))?;
            Packet::Cancel(Secret::new(body))
        }
        version => Packet::Startup(startup(Version(version), body)?),
    };
    Ok(Some((packet, total)))
}

fn startup(version: Version, body: &[u8]) -> Result<Startup, Malformed> {
    let mut parameters = Vec::new();
    // Another major version may lay its packet out in another way; nothing of it will be used.
    if version.major() != 3 {
        return Ok(Startup { version, parameters });
    }
    let mut rest = body;
    loop {
        let name = text(&mut rest)?;
        if name.is_empty() {
            break;
        }
        let value = text(&mut rest)?;
        parameters.push((name.to_owned(), value.to_owned()));
    }
    if rest.is_empty() { Ok(Startup { version, parameters }) } else { Err(Malformed::Layout) }
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let mut parts = rest.splitn(2, |&byte| byte == 0);
    let (Some(text), Some(after)) = (parts.next(), parts.next()) else {
        return Err(Malformed::Layout);
    };
    *rest = after;
    std::str::from_utf8(text).map_err(|_| Malformed::Encoding)
}

/// NegotiateProtocolVersion: the version we go on with (all 32 bits of it, as PostgreSQL 18 sends it)
/// and the options that we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, version: Version, unknown: &[String]) {
    frame(out, b'v', |out| {
        out.extend_from_slice(&version.0.to_be_bytes());
        out.extend_from_slice(&u32::try_from(unknown.len()).unwrap_or(u32::MAX).to_be_bytes());
        for option in unknown {
            out.extend_from_slice(option.as_bytes());
            out.push(0);
        }
    });
}

/// What to tell a client of another major version.
pub fn unsupported(version: Version) -> Report {
    let supported = "this proxy supports 3.0 and 3.2";
    Report::fatal("0A000", format!("unsupported frontend protocol {version}: {supported}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
    }

    pub(crate) fn startup_packet(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in parameters {
            body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        body.push(0);
        packet(version, &body)
    }

    #[test]
    fn requests_are_told_by_their_code() {
        assert_eq!(read(&packet(TLS_REQUEST, b""), 10_000), Ok(Some((Packet::Tls, 8))));
        assert_eq!(read(&packet(GSS_REQUEST, b""), 10_000), Ok(Some((Packet::Gss, 8))));
        let cancel = packet(CANCEL_REQUEST, b"\0\0\0\x07keys");
        let key = Packet::Cancel(Secret::new(b"\0\0\0\x07keys"));
        assert_eq!(read(&cancel, 10_000), Ok(Some((key, 16))));
        for wrong in [packet(TLS_REQUEST, b"x"), packet(GSS_REQUEST, b"x")] {
            assert!(matches!(read(&wrong, 10_000), Err(Malformed::RequestLength(_))));
        }
    }

    #[test]
    fn cancel_keys_have_4_to_256_bytes() {
        for (key, good) in [(3, false), (4, true), (32, true), (256, true), (257, false)] {
            let read = read(&packet(CANCEL_REQUEST, &vec![1; 4 + key]), 10_000);
            assert_eq!(read.is_ok(), good, "{key}");
        }
        assert!(read(&packet(CANCEL_REQUEST, b""), 10_000).is_err());
    }

    #[test]
    fn parameters_keep_their_order_and_duplicates() {
        let sent = [("user", "alice"), ("b", "1"), ("a", ""), ("b", "2")];
        let bytes = startup_packet(0x0003_0000, &sent);
        let Ok(Some((Packet::Startup(startup), taken))) = read(&bytes, 10_000) else {
            panic!("not read")
        };
        let parameters = sent.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(startup.parameters, parameters);
        assert_eq!(taken, bytes.len());
        assert_eq!((startup.version.major(), startup.version.minor()), (3, 0));
    }

    #[test]
    fn lengths_are_8_to_the_limit_and_known_from_the_first_four_bytes() {
        assert_eq!(read(&[0, 0, 0], 10_000), Ok(None));
        for (length, answer) in [
            (0, Err(Malformed::Length)),
            (7, Err(Malformed::Length)),
            (8, Ok(None)),
            (10_000, Ok(None)),
            (10_001, Err(Malformed::Length)),
            (u32::MAX, Err(Malformed::Length)),
            (0x1603_0100, Err(Malformed::TlsHandshake)),
        ] {
            assert_eq!(read(&length.to_be_bytes(), 10_000), answer, "{length}");
        }
    }

    #[test]
    fn a_layout_that_does_not_end_where_the_packet_ends_is_refused() {
        for body in [&b""[..], b"user\0alice\0", b"user\0alice", b"user\0\0", b"\0x", b"\0\0"] {
            assert_eq!(
                read(&packet(0x0003_0000, body), 10_000),
                Err(Malformed::Layout),
                "{body:?}"
            );
        }
        let latin1 = packet(0x0003_0000, b"user\0\xe9\0\0");
        assert_eq!(read(&latin1, 10_000), Err(Malformed::Encoding));
    }

    #[test]
    fn the_version_we_go_on_with_is_none_that_the_client_did_not_ask_for() {
        for (asked, spoken) in [
            (0x0003_0000, Some(Version::V3_0)),
            (0x0003_0001, Some(Version::V3_0)),
            (0x0003_0002, Some(Version::V3_2)),
            (0x0003_270f, Some(Version::V3_2)),
            (0x0002_0000, None),
            (0x0004_0000, None),
        ] {
            assert_eq!(Version(asked).spoken(), spoken, "{asked:x}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read(&bytes, 10_000);
        }

        #[test]
        fn more_bytes_never_change_an_answer(
            code in prop_oneof![
                Just(TLS_REQUEST), Just(GSS_REQUEST), Just(CANCEL_REQUEST), Just(0x0003_0000), any::<u32>()
            ],
            body in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..40),
            more: Vec<u8>,
        ) {
            let mut bytes = packet(code, &body);
            let whole = read(&bytes, 10_000);
            for end in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..end], 10_000), Ok(None));
            }
            bytes.extend_from_slice(&more);
            prop_assert_eq!(read(&bytes, 10_000), whole);
        }
    }
}
