//! Logging in to a server of MySQL or MariaDB: bytes in, bytes out ("Connection Phase").

use bytes::BytesMut;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::rsa;
use crate::secret::Secret;
use crate::upstream::error::{LoginError, UpstreamError};
use crate::wire::mysql::auth::{self, CACHING_SHA2, CLEAR, ED25519, NATIVE, SHA256};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake::{Greeting, LoginRequest, ssl_request};
use crate::wire::mysql::packet::{self, HEADER_BYTES, Reader, Violation, write};
use crate::wire::mysql::response::{Failure, Okay};

/// Any message of a login, bytes.
const MESSAGE_BYTES_MAX: usize = 65_536;
/// Messages of a login: a server with several plugins for an account asks by one after the other.
const MESSAGES_MAX: u32 = 16;

/// What a login asks for besides user and schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// What the session wants of what the server can do.
    pub capabilities: Capabilities,
    /// What the session cannot do without.
    pub needed: Capabilities,
    /// Number of the collation, its low byte.
    pub collation: u8,
    /// Longest message that we take, bytes.
    pub packet_max: u32,
    /// What we say of ourselves.
    pub attributes: Vec<(String, String)>,
}

/// `utf8mb4_general_ci`.
const COLLATION: u8 = 45;

impl Default for Startup {
    /// For statements of our own.
    fn default() -> Self {
        Self {
            capabilities: Capabilities::MYSQL
                | Capabilities::LONG_FLAG
                | Capabilities::TRANSACTIONS
                | Capabilities::DEPRECATE_EOF
                | Capabilities::SESSION_TRACK,
            needed: Capabilities::NONE,
            collation: COLLATION,
            packet_max: 1 << 24,
            attributes: vec![("program_name".into(), crate::upstream::APPLICATION_NAME.into())],
        }
    }
}

/// What carries the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// TLS is to be, with the server's certificate checked.
    Tls,
    /// A Unix socket.
    Unix,
    /// This machine's own address, in clear.
    Loopback,
    /// A network, in clear.
    Network,
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// User.
    pub user: &'a str,
    /// Default schema.
    pub schema: Option<&'a str>,
    /// Password.
    pub password: Option<&'a Secret>,
}

/// What a login is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes of the server.
    Receive,
    /// A TLS handshake, then [`Login::tls_established`].
    StartTls,
    /// Nothing: logged in.
    Ready,
}

/// What the server told on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// What it greeted with.
    pub greeting: Greeting,
    /// What both ends can do.
    pub capabilities: Capabilities,
    /// Payload of the OK that ended the login: status, and what changed of the session.
    pub okay: Box<[u8]>,
}

/// One login, from the greeting to OK.
pub struct Login {
    user: String,
    schema: Option<String>,
    password: Secret,
    channel: Channel,
    startup: Startup,
    seed: rsa::Seed,
    sequence: u8,
    messages: u32,
    state: State,
}

enum State {
    /// The server greets.
    Greeting,
    /// The shell does a handshake.
    Handshake(Box<Agreed>),
    /// The server judges, or asks for another proof.
    Proof(Box<Agreed>, Exchange),
    /// OK came.
    Ready(LoggedIn),
    /// Failed. Stays so.
    Failed,
}

struct Agreed {
    greeting: Greeting,
    capabilities: Capabilities,
}

/// What a plugin expects of the server.
enum Exchange {
    /// Nothing but its judgement.
    Judgement,
    /// `caching_sha2_password`: whether it knows the password, about that nonce.
    Cached(Vec<u8>),
    /// Its public key, about that nonce.
    Key(Vec<u8>),
}

impl Login {
    /// A login that waits for the greeting. `seed` comes from the system's generator.
    pub fn new(account: &Account<'_>, channel: Channel, startup: Startup, seed: rsa::Seed) -> Self {
        Self {
            user: account.user.to_owned(),
            schema: account.schema.map(str::to_owned),
            password: account.password.cloned().unwrap_or_else(|| Secret::new([])),
            channel,
            startup,
            seed,
            sequence: 0,
            messages: 0,
            state: State::Greeting,
        }
    }

    /// Takes whole messages off `input`, and appends answers to `out`, until it needs something.
    /// What follows OK stays in `input`.
    ///
    /// # Errors
    /// When the server refuses, asks for what we do not give, or breaks the protocol. The login is
    /// over then.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<Progress, UpstreamError> {
        loop {
            match &self.state {
                State::Ready(_) => return Ok(Progress::Ready),
                State::Failed => return Err(UpstreamError::Closed),
                // Whatever came after the greeting in clear may be anybody's.
                State::Handshake(_) if !input.is_empty() => {
                    self.state = State::Failed;
                    return Err(Violation::Unexpected("message in clear before TLS").into());
                }
                State::Handshake(_) => return Ok(Progress::StartTls),
                State::Greeting | State::Proof(..) => {}
            }
            let state = std::mem::replace(&mut self.state, State::Failed);
            let due = self.due(&state, input);
            let Some(message) = packet::message(input, due, MESSAGE_BYTES_MAX)? else {
                self.state = state;
                return Ok(Progress::Receive);
            };
            self.messages += 1;
            if self.messages > MESSAGES_MAX {
                return Err(Violation::Unexpected("further message of a login").into());
            }
            self.sequence = message.next;
            let bytes = input.split_to(message.total);
            let payload = packet::payload(&bytes);
            self.state = self.message(state, &payload, out)?;
        }
    }

    /// Number of the next message. A server that refuses instead of greeting may do so with another.
    fn due(&self, state: &State, input: &[u8]) -> u8 {
        let refusal = matches!(state, State::Greeting) && input.get(HEADER_BYTES) == Some(&0xff);
        match packet::header(input) {
            Some(header) if refusal => header.sequence,
            _ => self.sequence,
        }
    }

    fn message(
        &mut self,
        state: State,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<State, UpstreamError> {
        if payload.first() == Some(&0xff) {
            let failure = Failure::read(payload)?;
            return Err(UpstreamError::MysqlRefused {
                code: failure.code,
                sqlstate: failure.sqlstate.into(),
                message: failure.sentence().into(),
            });
        }
        match state {
            State::Greeting => self.greeted(Greeting::read(payload)?, out),
            State::Proof(agreed, exchange) => self.judged(agreed, exchange, payload, out),
            State::Handshake(_) | State::Ready(_) | State::Failed => {
                Err(Violation::Unexpected("message of a login").into())
            }
        }
    }

    fn greeted(&mut self, greeting: Greeting, out: &mut Vec<u8>) -> Result<State, UpstreamError> {
        let can = greeting.capabilities;
        let lacking = self.startup.needed.without(can);
        if lacking != Capabilities::NONE {
            return Err(LoginError::Capability(format!("{lacking:?}")).into());
        }
        let login = Capabilities::NEEDED
            | Capabilities::PLUGIN_AUTH
            | Capabilities::PLUGIN_AUTH_LENENC
            | Capabilities::CONNECT_ATTRS;
        let passed = self.startup.capabilities & Capabilities::PASSED;
        let schema = match self.schema {
            Some(_) => Capabilities::CONNECT_WITH_DB,
            None => Capabilities::NONE,
        };
        let wanted = passed.without(Capabilities::CONNECT_WITH_DB) | login | schema;
        let mut capabilities = wanted & can;
        if self.channel == Channel::Tls {
            if !can.has(Capabilities::SSL) {
                return Err(UpstreamError::TlsRefused);
            }
            capabilities = capabilities | Capabilities::SSL;
            let Startup { packet_max, collation, .. } = self.startup;
            ssl_request(out, &mut self.sequence, capabilities, packet_max, collation);
            return Ok(State::Handshake(Box::new(Agreed { greeting, capabilities })));
        }
        self.introduce(Box::new(Agreed { greeting, capabilities }), out)
    }

    /// The handshake that [`Progress::StartTls`] asked for has succeeded: says who we are.
    ///
    /// # Errors
    /// When none was asked for, or the server's plugin is refused.
    pub fn tls_established(&mut self, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Handshake(agreed) => {
                self.state = self.introduce(agreed, out)?;
                Ok(())
            }
            _ => Err(UpstreamError::Closed),
        }
    }

    /// Sends the login request, with a first proof where the server's plugin is one that we take;
    /// else it will ask by another.
    fn introduce(
        &mut self,
        agreed: Box<Agreed>,
        out: &mut Vec<u8>,
    ) -> Result<State, UpstreamError> {
        let nonce = agreed.greeting.nonce;
        let plugin = match agreed.greeting.plugin.as_str() {
            NATIVE | "" if self.channel != Channel::Network => NATIVE,
            _ => CACHING_SHA2,
        };
        let mut proof = Zeroizing::new(Vec::new());
        let exchange = self.prove(plugin, &nonce, &mut proof)?;
        let attributes = &self.startup.attributes;
        let request = LoginRequest {
            capabilities: agreed.capabilities,
            packet_max: self.startup.packet_max,
            collation: self.startup.collation,
            user: &self.user,
            proof: &proof,
            schema: self.schema.as_deref(),
            plugin: Some(plugin),
            attributes: attributes.iter().map(|(name, value)| (&**name, &**value)).collect(),
        };
        request.write(out, &mut self.sequence);
        Ok(State::Proof(agreed, exchange))
    }

    /// Appends a first proof by that plugin, about that nonce.
    fn prove(
        &self,
        plugin: &str,
        nonce: &[u8],
        proof: &mut Vec<u8>,
    ) -> Result<Exchange, LoginError> {
        let password = &self.password;
        let none = password.expose().is_empty();
        Ok(match plugin {
            CACHING_SHA2 if none => Exchange::Judgement,
            CACHING_SHA2 => {
                proof.extend_from_slice(&auth::caching_sha2(password, nonce));
                Exchange::Cached(nonce.to_vec())
            }
            NATIVE if none => Exchange::Judgement,
            NATIVE if self.channel == Channel::Network => {
                return Err(LoginError::ExposedPlugin(NATIVE));
            }
            NATIVE => {
                proof.extend_from_slice(&auth::native(password, nonce));
                Exchange::Judgement
            }
            ED25519 => {
                proof.extend_from_slice(&ed25519(password, nonce));
                Exchange::Judgement
            }
            SHA256 if none || self.is_private() => {
                self.clear(proof);
                Exchange::Judgement
            }
            SHA256 => {
                self.may_ask_key(SHA256)?;
                proof.push(1);
                Exchange::Key(nonce.to_vec())
            }
            CLEAR if self.is_private() => {
                self.clear(proof);
                Exchange::Judgement
            }
            CLEAR => return Err(LoginError::ExposedPlugin(CLEAR)),
            other => return Err(LoginError::Plugin(other.to_owned())),
        })
    }

    fn judged(
        &mut self,
        agreed: Box<Agreed>,
        exchange: Exchange,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<State, UpstreamError> {
        let mut body = Reader::new("message of a login", payload);
        match (body.byte()?, exchange) {
            (0x00, _) => {
                Okay::read(payload, agreed.capabilities)?;
                let Agreed { greeting, capabilities } = *agreed;
                Ok(State::Ready(LoggedIn { greeting, capabilities, okay: payload.into() }))
            }
            // Without a name it is the scramble of MySQL 3.
            (0xfe, _) if body.is_empty() => {
                Err(LoginError::Plugin("mysql_old_password".into()).into())
            }
            (0xfe, _) => {
                let plugin = body.c_str()?;
                let nonce = body.remainder();
                let nonce = nonce.strip_suffix(&[0]).unwrap_or(nonce);
                let mut proof = Zeroizing::new(Vec::new());
                let exchange = self.prove(plugin, nonce, &mut proof)?;
                self.send(out, &proof);
                Ok(State::Proof(agreed, exchange))
            }
            (0x01, Exchange::Cached(nonce)) => match body.remainder() {
                [3] => Ok(State::Proof(agreed, Exchange::Judgement)),
                [4] if self.is_private() => {
                    let mut proof = Zeroizing::new(Vec::new());
                    self.clear(&mut proof);
                    self.send(out, &proof);
                    Ok(State::Proof(agreed, Exchange::Judgement))
                }
                [4] => {
                    self.may_ask_key(CACHING_SHA2)?;
                    self.send(out, &[2]);
                    Ok(State::Proof(agreed, Exchange::Key(nonce)))
                }
                _ => Err(body.malformed().into()),
            },
            (0x01, Exchange::Key(nonce)) => {
                let encrypted = self.encrypt(body.remainder(), &nonce)?;
                self.send(out, &encrypted);
                Ok(State::Proof(agreed, Exchange::Judgement))
            }
            _ => Err(Violation::Unexpected("message of a login").into()),
        }
    }

    fn send(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        write(out, &mut self.sequence, |out| out.extend_from_slice(payload));
    }

    /// The password and the NUL at its end.
    fn clear(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.password.expose());
        out.push(0);
    }

    fn encrypt(&self, pem: &[u8], nonce: &[u8]) -> Result<Vec<u8>, LoginError> {
        let mut message = Zeroizing::new(Vec::new());
        self.clear(&mut message);
        for (place, byte) in message.iter_mut().zip(nonce.iter().cycle()) {
            *place ^= byte;
        }
        rsa::encrypt(pem, &message, &self.seed)
    }

    /// Whether the password may go in clear. Servers hold loopback to be a network, and want it
    /// encrypted there.
    fn is_private(&self) -> bool {
        matches!(self.channel, Channel::Tls | Channel::Unix)
    }

    /// Over a network the key may be that of whoever stands between.
    fn may_ask_key(&self, plugin: &'static str) -> Result<(), LoginError> {
        match self.channel {
            Channel::Network => Err(LoginError::ExposedPlugin(plugin)),
            Channel::Tls | Channel::Unix | Channel::Loopback => Ok(()),
        }
    }

    /// What the server told; `None` before [`Progress::Ready`].
    pub fn finish(self) -> Option<LoggedIn> {
        match self.state {
            State::Ready(logged_in) => Some(logged_in),
            _ => None,
        }
    }
}

/// MariaDB's Ed25519: as in RFC 8032, but that the seed is the password, of whatever length.
fn ed25519(password: &Secret, nonce: &[u8]) -> [u8; 64] {
    let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(password.expose())));
    let key = ExpandedSecretKey::from_bytes(&hash);
    raw_sign::<Sha512>(&key, nonce, &VerifyingKey::from(&key)).to_bytes()
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
