//! Logging in to a server: bytes in, bytes out (manual 54.2.1, "Start-up", and 54.3, "SASL").

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};

use super::error::{LoginError, UpstreamError};
use crate::secret::Secret;
use crate::wire::postgres::frame::{self, HEADER_BYTES, Reader, Violation, frame};
use crate::wire::postgres::message::{self, error_field, sqlstate};

/// PostgreSQL's own limit for a start-up packet, bytes.
const STARTUP_BYTES_MAX: usize = 10_000;
/// Authentication request, bytes; libpq has the same limit.
const AUTHENTICATION_BYTES_MAX: usize = 2_000;
/// Any other message of a login, bytes; libpq takes 30 000 for an error.
const MESSAGE_BYTES_MAX: usize = 65_536;
/// All of a login, bytes.
const LOGIN_BYTES_MAX: usize = 1 << 20;
/// PBKDF2 rounds; `postgres-protocol` computes no more, nor does pgjdbc. PostgreSQL's default is 4 096.
const ITERATIONS_MAX: u64 = 100_000;
/// Longest cancel key, bytes (manual 54.7, BackendKeyData).
const KEY_BYTES_MAX: usize = 256;

/// What a login asks for besides user and database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// `application_name`.
    pub application_name: String,
    /// Further start-up parameters, in order; not `user`, `database`, `replication` or protocol
    /// options. `client_encoding` is UTF8 unless it stands here, and `standard_conforming_strings` is
    /// on whatever stands here.
    pub parameters: Vec<(String, String)>,
    /// Minor version of the protocol: 0, or 2 for cancel keys of more than 4 bytes.
    pub minor: u16,
}

/// What the login knows of the connection that carries it.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// Nobody else can listen in: TLS, a Unix socket, or this machine.
    pub private: bool,
    /// TLS.
    pub tls: bool,
    /// `tls-server-end-point` of the server's certificate, where it has one.
    pub binding: Option<Vec<u8>>,
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// Role.
    pub user: &'a str,
    /// Database.
    pub database: &'a str,
    /// Password.
    pub password: Option<&'a Secret>,
}

/// What a login is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes of the server.
    Receive,
    /// [`Login::compute`]: milliseconds of hashing, better not done where others wait.
    Compute,
    /// Nothing: logged in.
    Ready,
}

/// What the server told on the way.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct LoggedIn {
    /// The backend's number, for cancelling.
    pub process_id: u32,
    /// The backend's key, for cancelling.
    pub secret_key: Box<[u8]>,
    /// ParameterStatus, the last of each name, in order of first appearance.
    pub parameters: Vec<(String, String)>,
}

/// One login, from the start-up packet to the first ReadyForQuery.
pub struct Login {
    user: String,
    password: Option<Secret>,
    channel: Channel,
    minor: u16,
    state: State,
    received: usize,
    result: LoggedIn,
}

enum State {
    /// The server chooses a method.
    Asked,
    /// SCRAM: our nonce is sent.
    Nonce { scram: Box<ScramSha256>, client_nonce: String },
    /// SCRAM: the server's challenge, to be computed.
    Challenge { scram: Box<ScramSha256>, challenge: Vec<u8> },
    /// SCRAM: our proof is sent, the server's is due.
    Proof { scram: Box<ScramSha256> },
    /// The server may now say that we are in.
    Answered,
    /// In; parameters and cancel key follow.
    Authenticated,
    /// ReadyForQuery came.
    Ready,
    /// Failed. Stays so.
    Failed,
}

impl Login {
    /// Starts a login: appends the start-up packet to `out`.
    ///
    /// # Errors
    /// When a parameter cannot be sent.
    pub fn start(
        account: &Account<'_>,
        channel: Channel,
        startup: &Startup,
        out: &mut Vec<u8>,
    ) -> Result<Self, LoginError> {
        write_startup(account, startup, out)?;
        Ok(Self {
            user: account.user.to_owned(),
            password: account.password.cloned(),
            channel,
            minor: startup.minor,
            state: State::Asked,
            received: 0,
            result: LoggedIn::default(),
        })
    }

    /// Takes whole messages off `input`, and appends answers to `out`, until it needs something.
    /// What follows ReadyForQuery stays in `input`.
    ///
    /// # Errors
    /// When the server refuses, asks for what we do not give, or breaks the protocol. The login is
    /// over then.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<Progress, UpstreamError> {
        let progress = self.messages(input, out);
        if progress.is_err() {
            self.state = State::Failed;
        }
        progress
    }

    fn messages(
        &mut self,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<Progress, UpstreamError> {
        loop {
            match self.state {
                State::Challenge { .. } => return Ok(Progress::Compute),
                State::Ready => return Ok(Progress::Ready),
                State::Failed => return Err(UpstreamError::Closed),
                _ => {}
            }
            let Some(header) = frame::header(input)? else { return Ok(Progress::Receive) };
            let max = if header.tag == b'R' { AUTHENTICATION_BYTES_MAX } else { MESSAGE_BYTES_MAX };
            if header.total > max {
                return Err(Violation::TooLong { max }.into());
            }
            if self.received + header.total > LOGIN_BYTES_MAX {
                return Err(Violation::TooLong { max: LOGIN_BYTES_MAX }.into());
            }
            if input.len() < header.total {
                return Ok(Progress::Receive);
            }
            self.received += header.total;
            let mut body = input.split_to(header.total);
            body.advance(HEADER_BYTES);
            self.message(header.tag, &body, out)?;
        }
    }

    fn message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        let authenticated = matches!(self.state, State::Authenticated);
        match tag {
            b'E' => {
                let (sqlstate, message) = refusal(body);
                return Err(UpstreamError::Refused { sqlstate, message });
            }
            b'N' => {}
            b'R' if !authenticated => self.authentication(body, out)?,
            b'v' if matches!(self.state, State::Asked) => self.negotiate(body)?,
            b'S' if authenticated => {
                let (name, value) = message::parameter_status(body)?;
                remember(&mut self.result.parameters, name, value);
            }
            b'K' if authenticated => self.key(body)?,
            b'Z' if authenticated => {
                message::TransactionStatus::read(body)?;
                if self.result.secret_key.is_empty() {
                    return Err(LoginError::NoCancelKey.into());
                }
                self.state = State::Ready;
            }
            other => return Err(Violation::Unexpected(char::from(other)).into()),
        }
        Ok(())
    }

    fn authentication(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        let mut body = Reader::new(b'R', body);
        let method = body.i32()?;
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (method, state) {
            // Without a password asked for this is trust. In the middle of SCRAM it would be a server
            // that has not shown that it knows the password.
            (0, State::Asked | State::Answered) => {
                body.end()?;
                State::Authenticated
            }
            (3, State::Asked) => {
                body.end()?;
                let password = self.exposed_password("cleartext password")?;
                write_password(out, password.expose());
                State::Answered
            }
            (5, State::Asked) => {
                let salt = body.bytes(4)?.try_into().map_err(|_| body.malformed())?;
                body.end()?;
                let password = self.exposed_password("MD5")?;
                let hash = md5_hash(self.user.as_bytes(), password.expose(), salt);
                write_password(out, hash.as_bytes());
                State::Answered
            }
            (10, State::Asked) => self.sasl(body, out)?,
            (11, State::Nonce { scram, client_nonce }) => {
                let challenge = body.remainder();
                check_challenge(challenge, &client_nonce)?;
                State::Challenge { scram, challenge: challenge.to_vec() }
            }
            (12, State::Proof { mut scram }) => {
                scram.finish(body.remainder()).map_err(|error| scram_error(&error))?;
                State::Answered
            }
            (2, State::Asked) => return Err(LoginError::Method("Kerberos 5").into()),
            (7 | 8, State::Asked) => return Err(LoginError::Method("GSSAPI").into()),
            (9, State::Asked) => return Err(LoginError::Method("SSPI").into()),
            _ => return Err(Violation::Unexpected('R').into()),
        };
        Ok(())
    }

    /// Chooses among the mechanisms that the server offers, and begins.
    fn sasl(&self, mut body: Reader<'_>, out: &mut Vec<u8>) -> Result<State, UpstreamError> {
        let (mut plain, mut plus) = (false, false);
        loop {
            match body.c_str()? {
                "" => break,
                SCRAM_SHA_256 => plain = true,
                SCRAM_SHA_256_PLUS => plus = true,
                _ => {}
            }
        }
        body.end()?;
        if plus && !self.channel.tls {
            return Err(LoginError::BindingWithoutTls.into());
        }
        let (mechanism, binding) = match &self.channel.binding {
            Some(hash) if plus => {
                (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash.clone()))
            }
            // "We could, but you do not seem to": a server that could after all takes this for
            // somebody in between (RFC 5802, section 6).
            Some(_) if plain => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if plain => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            _ => return Err(LoginError::Method("an unknown SASL").into()),
        };
        let password = self.password.as_ref().ok_or(LoginError::NoPassword)?;
        let scram = Box::new(ScramSha256::new(password.expose(), binding));
        let first = scram.message();
        let client_nonce = std::str::from_utf8(first)
            .ok()
            .and_then(|text| text.rsplit_once(",r="))
            .map(|(_, nonce)| nonce.to_owned())
            .ok_or_else(|| LoginError::Scram("no nonce".into()))?;
        frame(out, b'p', |out| {
            out.extend_from_slice(mechanism.as_bytes());
            out.push(0);
            out.extend_from_slice(&u32::try_from(first.len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(first);
        });
        Ok(State::Nonce { scram, client_nonce })
    }

    /// Does what [`Progress::Compute`] asks for, and appends the proof to `out`. Otherwise does
    /// nothing.
    ///
    /// # Errors
    /// When the server's challenge is malformed.
    pub fn compute(&mut self, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        if !matches!(self.state, State::Challenge { .. }) {
            return Ok(());
        }
        let state = std::mem::replace(&mut self.state, State::Failed);
        if let State::Challenge { mut scram, challenge } = state {
            scram.update(&challenge).map_err(|error| scram_error(&error))?;
            frame(out, b'p', |out| out.extend_from_slice(scram.message()));
            self.state = State::Proof { scram };
        }
        Ok(())
    }

    /// NegotiateProtocolVersion: the server has less than we asked for.
    fn negotiate(&mut self, body: &[u8]) -> Result<(), Violation> {
        let mut body = Reader::new(b'v', body);
        let version = body.i32()?;
        let options = body.i32()?;
        body.end()?;
        // PostgreSQL 18 sends the whole version, those before only its minor part.
        let minor = match version >> 16 {
            0 | 3 => version & 0xffff,
            _ => return Err(body.malformed()),
        };
        // We name no protocol options, and 3.1 was never given out.
        if options != 0 || minor != 0 || self.minor == 0 {
            return Err(body.malformed());
        }
        self.minor = 0;
        Ok(())
    }

    fn key(&mut self, body: &[u8]) -> Result<(), Violation> {
        let mut body = Reader::new(b'K', body);
        let process_id = body.i32()?.cast_unsigned();
        let key = body.remainder();
        let fits =
            if self.minor == 0 { key.len() == 4 } else { (4..=KEY_BYTES_MAX).contains(&key.len()) };
        if !fits || !self.result.secret_key.is_empty() {
            return Err(body.malformed());
        }
        self.result.process_id = process_id;
        self.result.secret_key = key.into();
        Ok(())
    }

    fn exposed_password(&self, method: &'static str) -> Result<&Secret, LoginError> {
        if !self.channel.private {
            return Err(LoginError::Exposed(method));
        }
        self.password.as_ref().ok_or(LoginError::NoPassword)
    }

    /// What the server told; of use once [`Progress::Ready`] came.
    pub fn finish(self) -> LoggedIn {
        self.result
    }
}

/// SQLSTATE and sentence of an ErrorResponse body, fit for a log line. Both always there: a server
/// that leaves them out broke PgBouncer once (CVE-2026-6666).
pub(super) fn refusal(body: &[u8]) -> (Box<str>, Box<str>) {
    const CHARACTERS_MAX: usize = 1_000;
    let sqlstate = sqlstate(body)
        .filter(|code| code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .unwrap_or("XX000");
    let sentence = error_field(body, b'M').unwrap_or("no message that can be read");
    let sentence = sentence.chars().map(|c| if c.is_control() { ' ' } else { c });
    (sqlstate.into(), sentence.take(CHARACTERS_MAX).collect::<String>().into())
}

/// Keeps the last value of each name.
pub(super) fn remember(parameters: &mut Vec<(String, String)>, name: &str, value: &str) {
    match parameters.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => parameters.push((name.to_owned(), value.to_owned())),
    }
}

fn write_startup(
    account: &Account<'_>,
    startup: &Startup,
    out: &mut Vec<u8>,
) -> Result<(), LoginError> {
    let given = |name: &str| startup.parameters.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut pairs = vec![("user", account.user), ("database", account.database)];
    if !given("application_name") {
        pairs.push(("application_name", &startup.application_name));
    }
    if !given("client_encoding") {
        pairs.push(("client_encoding", "UTF8"));
    }
    for (name, value) in &startup.parameters {
        let ours = ["user", "database", "replication"];
        if ours.iter().any(|taken| name.eq_ignore_ascii_case(taken)) || name.starts_with("_pq_.") {
            return Err(LoginError::Parameter(name.clone()));
        }
        pairs.push((name, value));
    }
    // Last, because the last one counts; and a parameter of its own, because those are applied after
    // `options` (postinit.c, process_startup_options).
    pairs.push(("standard_conforming_strings", "on"));

    let mut packet = (3_u32 << 16 | u32::from(startup.minor)).to_be_bytes().to_vec();
    for (name, value) in pairs {
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(LoginError::Parameter(name.to_owned()));
        }
        for text in [name, value] {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
    }
    packet.push(0);
    match u32::try_from(packet.len() + 4) {
        Ok(length) if packet.len() + 4 <= STARTUP_BYTES_MAX => {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&packet);
            Ok(())
        }
        _ => Err(LoginError::PacketTooLong(STARTUP_BYTES_MAX)),
    }
}

fn write_password(out: &mut Vec<u8>, password: &[u8]) {
    frame(out, b'p', |out| {
        // A NUL would end it early; the server would then refuse what is left over.
        out.extend(password.iter().filter(|&&byte| byte != 0));
        out.push(0);
    });
}

/// Looks at `r=…,s=…,i=…` before anything is computed from it.
fn check_challenge(challenge: &[u8], client_nonce: &str) -> Result<(), LoginError> {
    let malformed = || LoginError::Scram("its challenge is malformed".into());
    let text = std::str::from_utf8(challenge).map_err(|_| malformed())?;
    let mut fields = text.split(',');
    let mut field = |prefix| fields.next().and_then(|field: &str| field.strip_prefix(prefix));
    let nonce = field("r=").ok_or_else(malformed)?;
    field("s=").ok_or_else(malformed)?;
    let asked = field("i=").and_then(|count| count.parse::<u64>().ok()).ok_or_else(malformed)?;
    if !nonce.starts_with(client_nonce) || nonce.len() == client_nonce.len() {
        return Err(LoginError::Scram("its nonce does not continue ours".into()));
    }
    if asked == 0 || asked > ITERATIONS_MAX {
        return Err(LoginError::Iterations { asked, max: ITERATIONS_MAX });
    }
    Ok(())
}

fn scram_error(error: &std::io::Error) -> LoginError {
    LoginError::Scram(error.to_string())
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
