//! Logging a client in ("Connection Phase"): bytes in, bytes and steps out. The shell owns the socket,
//! the TLS handshake, the deadline and the random bytes.
//!
//! One type a state: `opening` until the login request, `proof` until the proof. On success the last
//! message written is the one that says that the proof is right, if the plugin has such: what can still
//! go wrong then (a server that does not answer) is told by the session before it sends OK.
//!
//! The nonce goes out before anybody has said who it is, and one nonce serves a login: a proof by
//! another plugin tells nothing about the first.

mod opening;
mod proof;
#[cfg(test)]
mod tests;

use bytes::BytesMut;

use super::auth::{self, Nonce};
use super::capability::{Capabilities, Status};
use super::handshake::{ChangeUser, Greeting};
use super::packet::{self, Violation};
use super::report::Report;
use crate::identity::token::TokenSnapshot;
use crate::identity::{PrincipalName, TokenId};
use crate::time::Timestamp;
use crate::wire::Limits;

/// What a listener offers.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// Whether a client may ask for TLS.
    pub tls: TlsPolicy,
    /// What carries the connection.
    pub channel: Channel,
    /// Whether `mysql_native_password` is taken: SHA-1, for clients that have nothing else.
    pub native_allowed: bool,
    /// How much a client may make us hold.
    pub limits: Limits,
}

/// Whether a listener speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// It has a certificate.
    Offered,
    /// It has none, or is a Unix socket.
    None,
}

/// What carries a connection before TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A Unix socket: clients hold it to be as safe as TLS.
    Unix,
    /// This machine's own address: a client may do without TLS.
    Loopback,
    /// A network: nobody logs in without TLS.
    Network,
}

/// What a client is to see of the server behind us, so that it behaves as it would with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The server's version as it tells it.
    pub version: String,
    /// What it can do; what cannot be passed on is left out here.
    pub capabilities: Capabilities,
    /// Its collation.
    pub collation: u8,
}

impl Mirror {
    /// As a server greeted us.
    pub fn of(greeting: &Greeting) -> Self {
        Self {
            version: greeting.version.clone(),
            capabilities: greeting.capabilities,
            collation: greeting.collation,
        }
    }

    /// What is offered to clients.
    fn offered(&self, tls: TlsPolicy) -> Capabilities {
        let passed = self.capabilities & Capabilities::PASSED;
        let login = Capabilities::NEEDED
            | Capabilities::PLUGIN_AUTH
            | Capabilities::PLUGIN_AUTH_LENENC
            | Capabilities::CONNECT_ATTRS
            | Capabilities::CONNECT_WITH_DB;
        match tls {
            TlsPolicy::Offered => passed | login | Capabilities::SSL,
            TlsPolicy::None => passed | login,
        }
    }
}

/// What the machine cannot know by itself.
#[derive(Clone, Copy)]
pub struct LoginEnv<'a> {
    /// Verifiers of this moment.
    pub tokens: &'a TokenSnapshot,
    /// This moment.
    pub now: Timestamp,
}

/// What the shell does next; before that, it sends what was written.
#[derive(Debug)]
pub enum Step {
    /// Read more, at most [`Login::read_max`] bytes.
    Read,
    /// Do a TLS handshake, then call [`Login::tls_established`].
    StartTls,
    /// The client is who it says.
    LoggedIn(Box<LoggedIn>),
    /// Record it and close.
    Refused(Box<Refused>),
    /// Close; there is nothing to record.
    Closed,
}

/// How a client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `caching_sha2_password`.
    CachingSha2,
    /// `mysql_native_password`.
    Native,
}

impl Plugin {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => auth::CACHING_SHA2,
            Self::Native => auth::NATIVE,
        }
    }
}

/// A client that proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Who.
    pub principal: PrincipalName,
    /// The token that it proved to have.
    pub token: TokenId,
    /// When that expires.
    pub token_expires: Timestamp,
    /// The default schema that it wants; nobody has looked yet whether there is one.
    pub schema: Option<String>,
    /// What both ends can do: the login upstream asks for the same.
    pub capabilities: Capabilities,
    /// Longest message that it takes, bytes.
    pub packet_max: u32,
    /// Number of its collation, its low byte.
    pub collation: u16,
    /// What it says of itself.
    pub attributes: Vec<(String, String)>,
    /// `program_name` among them, or the name of its library.
    pub application_name: Option<String>,
    /// How it proved itself.
    pub plugin: Plugin,
    /// Number of the message that ends the login: OK, or an error.
    pub sequence: u8,
}

/// A client that was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who it said it was.
    pub principal: Option<String>,
    /// The default schema that it wanted.
    pub schema: Option<String>,
    /// The number that it was told.
    pub code: u16,
    /// The SQLSTATE with it.
    pub sqlstate: &'static str,
    /// Why, for the audit: may say more than the client hears.
    pub reason: String,
    /// The token that it proved to have, when that has ended.
    pub token: Option<TokenId>,
}

/// The login of one client.
pub struct Login {
    shared: Shared,
    state: State,
}

/// What all states need.
struct Shared {
    config: LoginConfig,
    offered: Capabilities,
    nonce: Nonce,
    /// Inside TLS.
    tls: bool,
    /// Number of the next message, whoever's it is.
    sequence: u8,
}

enum State {
    Opening,
    Handshake,
    Proof(proof::Asked),
    Clear(proof::Clear),
    /// Nothing is read any more: logged in, refused or closed.
    Over,
}

/// What a state came to.
enum Turn {
    /// It needs more bytes.
    Wait(State),
    /// Another takes over, with the bytes that are there.
    Next(State),
    /// The shell has to do something first.
    Handshake,
    /// The login is over.
    End(Step),
}

impl Login {
    /// Greets a client. `connection` is the number that it will name the session by in KILL; `random`
    /// comes from the system's generator, anew for each connection.
    pub fn start(
        config: LoginConfig,
        mirror: &Mirror,
        connection: u32,
        random: &Nonce,
        out: &mut Vec<u8>,
    ) -> Self {
        let offered = mirror.offered(config.tls);
        let nonce = auth::nonce(random);
        let mut shared = Shared { config, offered, nonce, tls: false, sequence: 0 };
        let greeting = Greeting {
            version: mirror.version.clone(),
            connection,
            nonce,
            capabilities: offered,
            collation: mirror.collation,
            status: Status::AUTOCOMMIT,
            plugin: Plugin::CachingSha2.name().to_owned(),
        };
        greeting.write(out, &mut shared.sequence);
        Self { shared, state: State::Opening }
    }

    /// Logs in anew within a session (COM_CHANGE_USER, of which `sequence` is the number that follows):
    /// asks for a proof about a new nonce. `before` is how the session has logged in.
    pub fn again(
        config: LoginConfig,
        tls: bool,
        before: &LoggedIn,
        wish: &ChangeUser<'_>,
        random: &Nonce,
        sequence: u8,
        out: &mut Vec<u8>,
    ) -> (Self, Option<Step>) {
        let nonce = auth::nonce(random);
        let mut shared = Shared { config, offered: before.capabilities, nonce, tls, sequence };
        let turn = opening::change(&mut shared, before, wish, out);
        match turn {
            Turn::Wait(state) | Turn::Next(state) => (Self { shared, state }, None),
            Turn::Handshake => (Self { shared, state: State::Over }, Some(Step::Closed)),
            Turn::End(step) => (Self { shared, state: State::Over }, Some(step)),
        }
    }

    /// How many bytes may be read now, given those that are there. A client does not wait between its
    /// wish for TLS and the handshake, so the socket must not be read beyond the wish: what follows it
    /// is the TLS engine's, and only its.
    pub fn read_max(&self, input: &[u8]) -> usize {
        match self.state {
            State::Opening if !self.shared.tls => match packet::header(input) {
                Some(header) => header.total().saturating_sub(input.len()),
                None => packet::HEADER_BYTES - input.len().min(packet::HEADER_BYTES),
            },
            State::Handshake => 0,
            _ => usize::MAX,
        }
    }

    /// Reads what has come, writes what there is to answer, and says what is next. It does not matter
    /// in what pieces the bytes come. After [`Step::LoggedIn`], `input` holds what the client sent
    /// beyond its login.
    pub fn advance(&mut self, input: &mut BytesMut, out: &mut Vec<u8>, env: &LoginEnv<'_>) -> Step {
        loop {
            let shared = &mut self.shared;
            // Whatever leaves this function by another way than below leaves the login over.
            let turn = match std::mem::replace(&mut self.state, State::Over) {
                State::Opening => opening::advance(shared, input, out, env),
                State::Handshake => Turn::Handshake,
                State::Proof(state) => state.advance(shared, input, out, env),
                State::Clear(state) => state.advance(shared, input, out, env),
                State::Over => Turn::End(Step::Closed),
            };
            match turn {
                Turn::Next(state) => self.state = state,
                Turn::Wait(state) => {
                    self.state = state;
                    return Step::Read;
                }
                Turn::Handshake => {
                    self.state = State::Handshake;
                    return Step::StartTls;
                }
                Turn::End(step) => return step,
            }
        }
    }

    /// The handshake that [`Step::StartTls`] asked for has succeeded. `plaintext` is what was read in
    /// clear and not yet used; there must be none, or somebody on the way could speak as the client.
    ///
    /// # Errors
    /// When there is, or no handshake is due. The login is over then; nothing was written.
    pub fn tls_established(&mut self, plaintext: &[u8]) -> Result<(), Box<Refused>> {
        let due = matches!(std::mem::replace(&mut self.state, State::Over), State::Handshake);
        if !due || !plaintext.is_empty() {
            let reason = if due { opening::UNENCRYPTED } else { "unexpected TLS handshake" };
            let report = bad_handshake(reason);
            return Err(Box::new(Who::default().refused(&report, reason)));
        }
        self.shared.tls = true;
        self.state = State::Opening;
        Ok(())
    }
}

impl Shared {
    /// Whether a password in clear is safe here.
    fn private(&self) -> bool {
        self.tls || self.config.channel == Channel::Unix
    }
}

/// Who a client says it is, for its refusal.
#[derive(Clone, Debug, Default)]
struct Who {
    principal: Option<String>,
    schema: Option<String>,
}

impl Who {
    fn refused(&self, report: &Report, reason: impl Into<String>) -> Refused {
        Refused {
            principal: self.principal.clone(),
            schema: self.schema.clone(),
            code: report.code,
            sqlstate: report.sqlstate,
            reason: reason.into(),
            token: None,
        }
    }

    /// Tells the client and ends the login; the audit hears the same.
    fn refuse(&self, shared: &mut Shared, out: &mut Vec<u8>, report: &Report) -> Turn {
        report.write(out, &mut shared.sequence);
        let refused = self.refused(report, report.message.as_str());
        Turn::End(Step::Refused(Box::new(refused)))
    }
}

/// A login that breaks the protocol (ER_HANDSHAKE_ERROR).
fn bad_handshake(what: impl std::fmt::Display) -> Report {
    Report::new(1043, "08S01", format!("Bad handshake: {what}"))
}

/// Takes the next message of a client off `input`, when it is all there.
fn take(
    shared: &mut Shared,
    input: &mut BytesMut,
    max: usize,
) -> Result<Option<BytesMut>, Violation> {
    let Some(message) = packet::message(input, shared.sequence, max)? else { return Ok(None) };
    shared.sequence = message.next;
    Ok(Some(input.split_to(message.total)))
}
