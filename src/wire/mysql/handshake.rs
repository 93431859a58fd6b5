//! The messages of a login ("Connection Phase"): what the server greets with, what the client answers,
//! in both directions.

use super::auth::{NONCE_BYTES, Nonce};
use super::capability::{Capabilities, Status};
use super::packet::{Reader, Violation, put_c_str, put_lenenc_bytes, write};

/// What a server greets with (HandshakeV10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// `10.11.19-MariaDB-…`, `9.7.4`.
    pub version: String,
    /// Number of the connection, which KILL takes.
    pub connection: u32,
    /// What proofs are about. MariaDB and MySQL send 20 bytes.
    pub nonce: Nonce,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// Number of the server's collation, its low byte.
    pub collation: u8,
    /// Where the session stands.
    pub status: Status,
    /// The plugin that a client may assume.
    pub plugin: String,
}

/// Before a version that a client of MySQL 5 might take for too new, MariaDB sends this.
const MARIADB_PREFIX: &str = "5.5.5-";

const GREETING: &str = "greeting";
const PROTOCOL_10: u8 = 10;

impl Greeting {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed, or of a protocol before MySQL 4.1.
    pub fn read(payload: &[u8]) -> Result<Self, Violation> {
        let mut body = Reader::new(GREETING, payload);
        if body.byte()? != PROTOCOL_10 {
            return Err(Violation::Unexpected("greeting of another protocol"));
        }
        let version = body.c_str()?.to_owned();
        let connection = body.u32()?;
        let first = body.array::<8>()?;
        body.byte()?;
        let lower = body.u16()?;
        let collation = body.byte()?;
        let status = Status(body.u16()?);
        let upper = body.u16()?;
        let nonce_bytes = body.byte()?;
        body.bytes(6)?;
        let extended = body.u32()?;
        let basic = u32::from(lower) | u32::from(upper) << 16;
        let mysql = Capabilities::new(basic, 0).has(Capabilities::MYSQL);
        let capabilities = Capabilities::new(basic, if mysql { 0 } else { extended });
        if !capabilities.has(Capabilities::NEEDED) {
            return Err(Violation::Unexpected("greeting of a server before 4.1"));
        }
        // 13 bytes at least, the last of which is a NUL.
        let second = body.bytes(usize::from(nonce_bytes).saturating_sub(8).max(13))?;
        let mut nonce = [0; NONCE_BYTES];
        let (head, tail) = nonce.split_at_mut(8);
        head.copy_from_slice(&first);
        for (place, byte) in tail.iter_mut().zip(second) {
            *place = *byte;
        }
        let plugin = if capabilities.has(Capabilities::PLUGIN_AUTH) && !body.is_empty() {
            // A server of old left out the NUL at its end.
            let name = body.remainder();
            let name = name.strip_suffix(b"\0").unwrap_or(name);
            std::str::from_utf8(name).map_err(|_| Violation::Encoding(GREETING))?.to_owned()
        } else {
            String::new()
        };
        Ok(Self { version, connection, nonce, capabilities, collation, status, plugin })
    }

    /// Writes the message, which is a connection's first.
    pub fn write(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        let [a, b, c, d] = self.capabilities.basic().to_le_bytes();
        let (first, second) = self.nonce.split_at(8);
        write(out, sequence, |out| {
            out.push(PROTOCOL_10);
            put_c_str(out, &self.version);
            out.extend_from_slice(&self.connection.to_le_bytes());
            out.extend_from_slice(first);
            out.push(0);
            out.extend_from_slice(&[a, b]);
            out.push(self.collation);
            out.extend_from_slice(&self.status.0.to_le_bytes());
            out.extend_from_slice(&[c, d]);
            out.push(21); // bytes of the nonce with its NUL
            out.extend_from_slice(&[0; 6]);
            let extended = if self.capabilities.has(Capabilities::MYSQL) {
                0
            } else {
                self.capabilities.extended()
            };
            out.extend_from_slice(&extended.to_le_bytes());
            out.extend_from_slice(second);
            out.push(0);
            put_c_str(out, &self.plugin);
        });
    }

    /// Whether it is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB") || !self.capabilities.has(Capabilities::MYSQL)
    }

    /// The version as a number, 101119 for 10.11.19, 90704 for 9.7.4; 0 when it is none.
    pub fn version_number(&self) -> u32 {
        let text = self.version.strip_prefix(MARIADB_PREFIX).unwrap_or(&self.version);
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>());
        let mut part = || parts.next().and_then(Result::ok).filter(|&part| part < 100);
        match (part(), part(), part()) {
            (Some(major), Some(minor), Some(patch)) => major * 10_000 + minor * 100 + patch,
            _ => 0,
        }
    }
}

/// What a client answers: first of all that it wants TLS, or at once who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// SSLRequest.
    Tls(Capabilities),
    /// HandshakeResponse41.
    Login(Box<LoginRequest<'a>>),
}

/// Who a client is, and how it wants its session (HandshakeResponse41).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest<'a> {
    /// What the client says that it can do.
    pub capabilities: Capabilities,
    /// Longest message that it takes, bytes.
    pub packet_max: u32,
    /// Number of its collation, its low byte.
    pub collation: u8,
    /// Who.
    pub user: &'a str,
    /// Its first proof, for `plugin`.
    pub proof: &'a [u8],
    /// The default schema.
    pub schema: Option<&'a str>,
    /// The plugin that it assumes.
    pub plugin: Option<&'a str>,
    /// What it says of itself, in its order.
    pub attributes: Vec<(&'a str, &'a str)>,
}

const LOGIN: &str = "login request";

/// Bytes of SSLRequest, which is the head of a HandshakeResponse41.
const HEAD_BYTES: usize = 32;

/// Longest attributes together, bytes (MySQL's own limit).
const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;

impl<'a> Answer<'a> {
    /// Reads the payload of a client's first message, or of its first inside TLS.
    ///
    /// # Errors
    /// When it is malformed, or of a client before MySQL 4.1.
    pub fn read(payload: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Reader::new(LOGIN, payload);
        let basic = body.u32()?;
        if !Capabilities::new(basic, 0).has(Capabilities::PROTOCOL_41) {
            return Err(Violation::Unexpected("login request of a client before 4.1"));
        }
        let packet_max = body.u32()?;
        let collation = body.byte()?;
        body.bytes(19)?;
        let extended = body.u32()?;
        let mysql = Capabilities::new(basic, 0).has(Capabilities::MYSQL);
        let capabilities = Capabilities::new(basic, if mysql { 0 } else { extended });
        if payload.len() == HEAD_BYTES {
            let tls = capabilities.has(Capabilities::SSL);
            return if tls { Ok(Self::Tls(capabilities)) } else { Err(body.malformed()) };
        }
        let user = body.c_str()?;
        let proof = if capabilities.has(Capabilities::PLUGIN_AUTH_LENENC) {
            body.lenenc_bytes()?
        } else if capabilities.has(Capabilities::SECURE_CONNECTION) {
            let length = body.byte()?;
            body.bytes(usize::from(length))?
        } else {
            body.c_bytes()?
        };
        let named = capabilities.has(Capabilities::CONNECT_WITH_DB) && !body.is_empty();
        let schema = if named { Some(body.c_str()?) } else { None };
        let plugin = if capabilities.has(Capabilities::PLUGIN_AUTH) && !body.is_empty() {
            Some(body.c_str()?)
        } else {
            None
        };
        let attributes = if capabilities.has(Capabilities::CONNECT_ATTRS) && !body.is_empty() {
            attributes(&mut body)?
        } else {
            Vec::new()
        };
        // Which level of compression it would like, should there be any.
        if capabilities.has(Capabilities::ZSTD) && body.left() == 1 {
            body.byte()?;
        }
        body.end()?;
        let schema = schema.filter(|name| !name.is_empty());
        Ok(Self::Login(Box::new(LoginRequest {
            capabilities,
            packet_max,
            collation,
            user,
            proof,
            schema,
            plugin,
            attributes,
        })))
    }
}

fn attributes<'a>(body: &mut Reader<'a>) -> Result<Vec<(&'a str, &'a str)>, Violation> {
    let all = body.lenenc_bytes()?;
    if all.len() > ATTRIBUTES_BYTES_MAX {
        return Err(Violation::TooLong { max: ATTRIBUTES_BYTES_MAX });
    }
    let mut all = Reader::new(LOGIN, all);
    let mut attributes = Vec::new();
    while !all.is_empty() {
        attributes.push((all.lenenc_str()?, all.lenenc_str()?));
    }
    Ok(attributes)
}

fn put_head(out: &mut Vec<u8>, capabilities: Capabilities, packet_max: u32, collation: u8) {
    out.extend_from_slice(&capabilities.basic().to_le_bytes());
    out.extend_from_slice(&packet_max.to_le_bytes());
    out.push(collation);
    out.extend_from_slice(&[0; 19]);
    let mysql = capabilities.has(Capabilities::MYSQL);
    out.extend_from_slice(&(if mysql { 0 } else { capabilities.extended() }).to_le_bytes());
}

/// SSLRequest.
pub fn ssl_request(
    out: &mut Vec<u8>,
    sequence: &mut u8,
    capabilities: Capabilities,
    packet_max: u32,
    collation: u8,
) {
    write(out, sequence, |out| {
        put_head(out, capabilities | Capabilities::SSL, packet_max, collation);
    });
}

impl LoginRequest<'_> {
    /// Writes the message. What it holds is sent as far as its capabilities have a place for it.
    pub fn write(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        let has = |one| self.capabilities.has(one);
        write(out, sequence, |out| {
            put_head(out, self.capabilities, self.packet_max, self.collation);
            put_c_str(out, self.user);
            if has(Capabilities::PLUGIN_AUTH_LENENC) {
                put_lenenc_bytes(out, self.proof);
            } else {
                let length = u8::try_from(self.proof.len()).unwrap_or(u8::MAX);
                out.push(length);
                out.extend(self.proof.iter().take(usize::from(length)));
            }
            if has(Capabilities::CONNECT_WITH_DB) {
                put_c_str(out, self.schema.unwrap_or_default());
            }
            if has(Capabilities::PLUGIN_AUTH) {
                put_c_str(out, self.plugin.unwrap_or_default());
            }
            if has(Capabilities::CONNECT_ATTRS) {
                let mut all = Vec::new();
                for (name, value) in &self.attributes {
                    put_lenenc_bytes(&mut all, name.as_bytes());
                    put_lenenc_bytes(&mut all, value.as_bytes());
                }
                put_lenenc_bytes(out, &all);
            }
        });
    }
}

/// What COM_CHANGE_USER says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUser<'a> {
    /// Who.
    pub user: &'a str,
    /// The default schema.
    pub schema: Option<&'a str>,
    /// Number of the collation; the session's stays when it is left out.
    pub collation: Option<u16>,
    /// What the client says of itself.
    pub attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> ChangeUser<'a> {
    /// Reads what follows the command's byte. The proof in it is about the nonce of the last login and
    /// is not looked at: a new one is asked for.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(body: &'a [u8], capabilities: Capabilities) -> Result<Self, Violation> {
        let mut body = Reader::new("COM_CHANGE_USER", body);
        let user = body.c_str()?;
        let length = body.byte()?;
        body.bytes(usize::from(length))?;
        let schema = Some(body.c_str()?).filter(|name| !name.is_empty());
        let mut read = Self { user, schema, collation: None, attributes: Vec::new() };
        if !body.is_empty() {
            read.collation = Some(body.u16()?);
        }
        if capabilities.has(Capabilities::PLUGIN_AUTH) && !body.is_empty() {
            body.c_str()?;
        }
        if capabilities.has(Capabilities::CONNECT_ATTRS) && !body.is_empty() {
            read.attributes = attributes(&mut body)?;
        } else if body.left() == 1 {
            // mysql_async tells of no attributes even where nobody would read any.
            body.byte()?;
        }
        body.end()?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::mysql::packet::payload;

    fn greeting(capabilities: Capabilities) -> Greeting {
        Greeting {
            version: "5.5.5-10.11.19-MariaDB-0+deb12u1".into(),
            connection: 7,
            nonce: *b"abcdefghijklmnopqrst",
            capabilities: capabilities | Capabilities::NEEDED | Capabilities::PLUGIN_AUTH,
            collation: 45,
            status: Status::AUTOCOMMIT,
            plugin: "mysql_native_password".into(),
        }
    }

    #[test]
    fn a_greeting_is_read_back() {
        for capabilities in [Capabilities::MYSQL, Capabilities::BULK | Capabilities::PROGRESS] {
            let greeting = greeting(capabilities);
            let (mut out, mut sequence) = (Vec::new(), 0);
            greeting.write(&mut out, &mut sequence);
            assert_eq!(Greeting::read(&payload(&out)), Ok(greeting));
            assert_eq!(sequence, 1);
        }
    }

    #[test]
    fn versions_are_counted_as_the_servers_do() {
        let version = |text: &str| {
            let greeting = Greeting { version: text.into(), ..greeting(Capabilities::MYSQL) };
            (greeting.version_number(), greeting.is_mariadb())
        };
        assert_eq!(version("5.5.5-10.11.19-MariaDB-0+deb12u1"), (101_119, true));
        assert_eq!(version("11.4.2-MariaDB"), (110_402, true));
        assert_eq!(version("9.7.4-2"), (90_704, false));
        assert_eq!(version("8.0.36"), (80_036, false));
        assert_eq!(version("x"), (0, false));
    }

    fn request(capabilities: Capabilities) -> LoginRequest<'static> {
        LoginRequest {
            capabilities: capabilities | Capabilities::NEEDED,
            packet_max: 1 << 24,
            collation: 255,
            user: "alice",
            proof: b"proof",
            schema: Some("shop").filter(|_| capabilities.has(Capabilities::CONNECT_WITH_DB)),
            plugin: Some("p").filter(|_| capabilities.has(Capabilities::PLUGIN_AUTH)),
            attributes: if capabilities.has(Capabilities::CONNECT_ATTRS) {
                vec![("program_name", "mysql")]
            } else {
                vec![]
            },
        }
    }

    #[test]
    fn a_login_request_is_read_back() {
        let all = Capabilities::CONNECT_WITH_DB
            | Capabilities::PLUGIN_AUTH
            | Capabilities::PLUGIN_AUTH_LENENC
            | Capabilities::CONNECT_ATTRS;
        for capabilities in
            [Capabilities::NONE, Capabilities::PLUGIN_AUTH, all, all | Capabilities::BULK]
        {
            let request = request(capabilities);
            let mut out = Vec::new();
            request.write(&mut out, &mut 1);
            let bytes = payload(&out);
            assert_eq!(Answer::read(&bytes), Ok(Answer::Login(Box::new(request))));
            // Whatever is cut off or added is not taken for less or more of it.
            let more = [&bytes[..], b"\0\0"].concat();
            assert!(Answer::read(&more).is_err(), "{capabilities:?}");
        }
    }

    #[test]
    fn a_request_for_tls_is_the_head_of_a_login() {
        let mut out = Vec::new();
        ssl_request(&mut out, &mut 1, Capabilities::NEEDED, 1 << 24, 45);
        let bytes = payload(&out);
        let capabilities = Capabilities::NEEDED | Capabilities::SSL;
        assert_eq!(Answer::read(&bytes), Ok(Answer::Tls(capabilities)));
        assert!(Answer::read(&bytes[..31]).is_err());
    }

    #[test]
    fn a_change_of_user_is_read_to_its_end() {
        let body = b"bob\0\x03abcshop\0\x2d\0plugin\0\x05\x01a\x02bc";
        let all = Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_ATTRS;
        let read = ChangeUser::read(body, all).unwrap();
        assert_eq!((read.user, read.schema, read.collation), ("bob", Some("shop"), Some(45)));
        assert_eq!(read.attributes, [("a", "bc")]);
        assert!(ChangeUser::read(body, Capabilities::NONE).is_err());
        let body = b"bob\0\0shop\0\x2d\0mysql_native_password\0\0";
        let read = ChangeUser::read(body, Capabilities::PLUGIN_AUTH).unwrap();
        assert_eq!((read.schema, read.attributes.len()), (Some("shop"), 0));
        assert!(ChangeUser::read(b"bob\0\0\0", all).unwrap().schema.is_none());
    }

    proptest! {
        #[test]
        fn no_payload_makes_a_reader_panic(payload: Vec<u8>, bits: u32) {
            let _ = (Greeting::read(&payload), Answer::read(&payload));
            let _ = ChangeUser::read(&payload, Capabilities::new(bits, 0));
            let headed = [&(bits | 0x200).to_le_bytes()[..], &[0; 28], &payload].concat();
            let _ = Answer::read(&headed);
        }
    }
}
