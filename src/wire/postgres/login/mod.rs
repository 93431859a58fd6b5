//! Logging a client in (manual 54.2.1 "Start-up", 54.3 "SASL Authentication"): bytes in, bytes and
//! steps out. The shell owns the socket, the TLS handshake, the deadline and the random bytes.
//!
//! One type a state: `opening` until the start-up message, `sasl` until the proof. On success the
//! last message written is AuthenticationSASLFinal: what can still go wrong then (an unknown database, a
//! server that does not answer) is told by the session before it sends AuthenticationOk.

mod opening;
mod sasl;
#[cfg(test)]
mod tests;

use bytes::BytesMut;

use super::reply::Report;
use super::scram;
use crate::identity::token::TokenSnapshot;
use crate::identity::{PrincipalName, TokenId};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::wire::Limits;

/// What a listener offers.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// Whether a client may ask for TLS.
    pub tls: TlsPolicy,
    /// Whether a client may do without: on loopback and Unix sockets.
    pub plaintext_allowed: bool,
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

/// What a TLS handshake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// It came first, without SSLRequest. The shell has seen ALPN `postgresql` in it.
    pub direct: bool,
    /// `tls-server-end-point` of the certificate that this handshake showed; `None` where RFC 5929
    /// defines none.
    pub channel_binding: Option<Vec<u8>>,
}

/// What the machine cannot know by itself.
#[derive(Clone, Copy)]
pub struct LoginEnv<'a> {
    /// Verifiers of this moment.
    pub tokens: &'a TokenSnapshot,
    /// This moment.
    pub now: Timestamp,
    /// New from the system's generator for each connection.
    pub random: &'a [u8; scram::NONCE_BYTES],
}

/// What the shell does next; before that, it sends what was written.
#[derive(Debug)]
pub enum Step {
    /// Read more.
    Read,
    /// Do a TLS handshake, then call [`Login::tls_established`].
    StartTls,
    /// Pass the cancel on (process id and key) and close, without a word to the client.
    Cancel(Secret),
    /// The client is who it says.
    LoggedIn(Box<LoggedIn>),
    /// Record it and close.
    Refused(Box<Refused>),
    /// Close; there is nothing to record.
    Closed,
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
    /// The database that it wants; nobody has looked yet whether there is one.
    pub database: String,
    /// Minor protocol version: 0 or 2.
    pub minor: u16,
    /// Settings for the session, each once, under the server's names.
    pub parameters: Vec<(String, String)>,
    /// `application_name` among them.
    pub application_name: Option<String>,
    /// Whether the proof was bound to our certificate.
    pub channel_bound: bool,
}

/// A client that was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who it said it was.
    pub principal: Option<String>,
    /// The database that it wanted.
    pub database: Option<String>,
    /// The code that it was told.
    pub sqlstate: &'static str,
    /// Why, for the audit: may say more than the client hears.
    pub reason: String,
    /// The token that it proved to have, when that has ended.
    pub token: Option<TokenId>,
}

/// The login of one client.
pub struct Login {
    config: LoginConfig,
    state: State,
}

enum State {
    Opening(opening::Opening),
    Handshake,
    First(sasl::First),
    Final(sasl::Final),
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
    /// A client that has said nothing yet.
    pub fn new(config: LoginConfig) -> Self {
        Self { config, state: State::Opening(opening::Opening::default()) }
    }

    /// Reads what has come, writes what there is to answer, and says what is next. It does not matter
    /// in what pieces the bytes come. After [`Step::LoggedIn`], `input` holds what the client sent
    /// beyond its login.
    pub fn advance(&mut self, input: &mut BytesMut, out: &mut Vec<u8>, env: &LoginEnv<'_>) -> Step {
        loop {
            // Whatever leaves this function by another way than below leaves the login over.
            let turn = match std::mem::replace(&mut self.state, State::Over) {
                State::Opening(state) => state.advance(&self.config, input, out),
                State::Handshake => Turn::Handshake,
                State::First(state) => state.advance(&self.config.limits, input, out, env),
                State::Final(state) => state.advance(&self.config.limits, input, out, env),
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

    /// A handshake has succeeded: the one that [`Step::StartTls`] asked for, or one that came first.
    /// `plaintext` is what was read in clear and not yet used; there must be none, or somebody on the
    /// way could speak as the client (CVE-2021-23214).
    ///
    /// # Errors
    /// When there is, or no handshake is due. The login is over then; nothing was written.
    pub fn tls_established(&mut self, tls: TlsInfo, plaintext: &[u8]) -> Result<(), Box<Refused>> {
        let due = match std::mem::replace(&mut self.state, State::Over) {
            State::Handshake => !tls.direct,
            State::Opening(opening) => {
                tls.direct && opening.is_untouched() && self.config.tls == TlsPolicy::Offered
            }
            State::First(_) | State::Final(_) | State::Over => false,
        };
        if !due || !plaintext.is_empty() {
            let reason = if due { opening::UNENCRYPTED } else { "unexpected TLS handshake" };
            return Err(Box::new(Who::default().refused("08P01", reason)));
        }
        self.state = State::Opening(opening::Opening::within(tls));
        Ok(())
    }
}

/// Who a client says it is, for its refusal.
#[derive(Clone, Debug, Default)]
struct Who {
    principal: Option<String>,
    database: Option<String>,
}

impl Who {
    fn refused(&self, sqlstate: &'static str, reason: impl Into<String>) -> Refused {
        Refused {
            principal: self.principal.clone(),
            database: self.database.clone(),
            sqlstate,
            reason: reason.into(),
            token: None,
        }
    }

    /// Tells the client and ends the login; the audit hears the same.
    fn refuse(&self, out: &mut Vec<u8>, report: &Report) -> Turn {
        report.write(out);
        let refused = self.refused(report.sqlstate, report.message.as_str());
        Turn::End(Step::Refused(Box::new(refused)))
    }
}
