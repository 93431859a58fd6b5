//! From the start-up message to the proof: two SASL messages of the client, each in one state.

use bytes::BytesMut;

use super::{LoggedIn, LoginEnv, Refused, State, Step, Turn, Who};
use crate::identity::PrincipalName;
use crate::identity::scram as keys;
use crate::identity::token::{TokenVerifier, Verdict};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::wire::Limits;
use crate::wire::postgres::frame::{Reader, Violation, frame, header};
use crate::wire::postgres::reply::Report;
use crate::wire::postgres::scram::{
    Exchange, Mechanism, Proof, ScramError, server_final, server_nonce,
};
use crate::wire::postgres::startup::parameters::Wanted;

/// Kinds of Authentication message (manual 54.7).
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Tag of every message that a client sends during login.
const ANSWER: u8 = b'p';

/// Who wants what.
struct Wish {
    principal: PrincipalName,
    wanted: Wanted,
    minor: u16,
}

impl Wish {
    fn who(&self) -> Who {
        Who {
            principal: Some(self.principal.to_string()),
            database: Some(self.wanted.database.clone()),
        }
    }
}

/// SASLInitialResponse is due.
pub(super) struct First {
    wish: Wish,
    channel_binding: Option<Vec<u8>>,
}

/// SASLResponse with the proof is due.
pub(super) struct Final {
    wish: Wish,
    exchange: Exchange,
    mechanism: Mechanism,
}

impl First {
    /// Asks for a proof.
    pub(super) fn ask(
        principal: PrincipalName,
        wanted: Wanted,
        minor: u16,
        channel_binding: Option<Vec<u8>>,
        out: &mut Vec<u8>,
    ) -> Self {
        authentication(out, SASL, |out| {
            let plus = channel_binding.is_some().then_some(Mechanism::Plus);
            for mechanism in plus.into_iter().chain([Mechanism::Plain]) {
                out.extend_from_slice(mechanism.name().as_bytes());
                out.push(0);
            }
            out.push(0);
        });
        Self { wish: Wish { principal, wanted, minor }, channel_binding }
    }

    pub(super) fn advance(
        self,
        limits: &Limits,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        env: &LoginEnv<'_>,
    ) -> Turn {
        let message = match answer(input, limits) {
            Answer::Whole(message) => message,
            Answer::Partial => return Turn::Wait(State::First(self)),
            Answer::Goodbye => return Turn::End(Step::Closed),
            Answer::Wrong(violation) => return violated(&self.wish, out, violation),
        };
        let offered = self.channel_binding.is_some();
        let (mechanism, text) = match initial(body(&message), offered) {
            Ok(read) => read,
            Err(report) => return self.wish.who().refuse(out, &report),
        };
        let salt = keys::salt(&env.tokens.store_key, self.wish.principal.as_str());
        let nonce = server_nonce(env.random);
        match Exchange::begin(mechanism, self.channel_binding.as_deref(), text, &nonce, &salt) {
            Ok(exchange) => {
                authentication(out, SASL_CONTINUE, |out| {
                    out.extend_from_slice(exchange.server_first().as_bytes());
                });
                Turn::Next(State::Final(Final { wish: self.wish, exchange, mechanism }))
            }
            Err(error) => failed(&self.wish, out, error),
        }
    }
}

impl Final {
    pub(super) fn advance(
        self,
        limits: &Limits,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        env: &LoginEnv<'_>,
    ) -> Turn {
        let message = match answer(input, limits) {
            Answer::Whole(message) => message,
            Answer::Partial => return Turn::Wait(State::Final(self)),
            Answer::Goodbye => return Turn::End(Step::Closed),
            Answer::Wrong(violation) => return violated(&self.wish, out, violation),
        };
        let Self { wish, exchange, mechanism } = self;
        let Ok(text) = std::str::from_utf8(body(&message)) else {
            return failed(&wish, out, ScramError::Malformed("not UTF-8"));
        };
        let proof = match exchange.finish(text) {
            Ok(proof) => proof,
            Err(error) => return failed(&wish, out, error),
        };
        // Verifiers of this moment, not of the beginning: a token may have been revoked meanwhile.
        let candidates = env.tokens.candidates(&wish.principal, env.now);
        let verdict = candidates.judge(|verifier| proves(verifier, &proof));
        match verdict {
            Verdict::Live(verifier) => {
                let conversation = proof.conversation.as_bytes();
                let signature = keys::server_signature(&verifier.scram_server_key, conversation);
                authentication(out, SASL_FINAL, |out| {
                    out.extend_from_slice(server_final(&signature).as_bytes());
                });
                let logged_in = wish.granted(verifier, mechanism == Mechanism::Plus);
                Turn::End(Step::LoggedIn(Box::new(logged_in)))
            }
            Verdict::Ended(verifier) => wish.refuse_ended(verifier, env.now, out),
            Verdict::Unknown => wish.refuse_unknown(candidates.live.len(), out),
        }
    }
}

/// Does the same work when there is no verifier: nothing hashes to zeros.
fn proves(verifier: Option<&TokenVerifier>, proof: &Proof) -> subtle::Choice {
    let nobody = Secret::new([0; keys::KEY_BYTES]);
    let stored_key = verifier.map_or(&nobody, |verifier| &verifier.scram_stored_key);
    keys::proves(stored_key, &proof.proof, proof.conversation.as_bytes())
}

impl Wish {
    fn granted(self, verifier: &TokenVerifier, channel_bound: bool) -> LoggedIn {
        LoggedIn {
            principal: self.principal,
            token: verifier.id.clone(),
            token_expires: verifier.expires,
            application_name: self.wanted.setting("application_name").map(str::to_owned),
            database: self.wanted.database,
            minor: self.minor,
            parameters: self.wanted.settings,
            channel_bound,
        }
    }

    /// Only who had the token hears that it has ended.
    fn refuse_ended(&self, verifier: &TokenVerifier, now: Timestamp, out: &mut Vec<u8>) -> Turn {
        let TokenVerifier { id, expires, .. } = verifier;
        let message = match verifier.revoked {
            Some(revoked) => format!("token {id} was revoked at {revoked}"),
            None if *expires <= now => format!("token {id} expired at {expires}"),
            None => format!("token {id} is not among the newest of its principal"),
        };
        let hint = format!("Issue a new one: daypass token issue --user {}", self.shell_name());
        Report::fatal("28P01", message.as_str()).hint(hint).write(out);
        let token = Some(id.clone());
        let refused = Refused { token, ..self.who().refused("28P01", message) };
        Turn::End(Step::Refused(Box::new(refused)))
    }

    fn refuse_unknown(&self, live: usize, out: &mut Vec<u8>) -> Turn {
        let message = format!("password authentication failed for user \"{}\"", self.principal);
        let hint = format!(
            "Passwords here are short-lived tokens: daypass token issue --user {}",
            self.shell_name()
        );
        Report::fatal("28P01", message).hint(hint).write(out);
        let reason = format!("no token of the principal has that proof; {live} live");
        Turn::End(Step::Refused(Box::new(self.who().refused("28P01", reason))))
    }

    /// The name as a shell takes it.
    fn shell_name(&self) -> String {
        let name = self.principal.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@-+".contains(c);
        if name.chars().all(plain) && !name.starts_with('-') {
            name.to_owned()
        } else {
            format!("'{}'", name.replace('\'', r"'\''"))
        }
    }
}

/// Mechanism and client-first of a SASLInitialResponse. Its errors quote nothing of it: a client that
/// sends its password in clear puts that where the mechanism's name is.
fn initial(body: &[u8], plus_offered: bool) -> Result<(Mechanism, &str), Report> {
    let malformed = |_| {
        Report::fatal("08P01", "malformed SASL response")
            .hint("This proxy takes no password in clear, only SCRAM-SHA-256.")
    };
    let mut body = Reader::new(ANSWER, body);
    let name = body.c_bytes().map_err(malformed)?;
    let length = body.i32().map_err(malformed)?;
    // -1 stands for no response. SCRAM's client speaks first, so there is always one.
    let length = usize::try_from(length).map_err(|_| malformed(body.malformed()))?;
    let text = body.bytes(length).map_err(malformed)?;
    body.end().map_err(malformed)?;
    let mechanism = [Mechanism::Plain, Mechanism::Plus]
        .into_iter()
        .find(|mechanism| mechanism.name().as_bytes() == name)
        .filter(|&mechanism| plus_offered || mechanism == Mechanism::Plain)
        .ok_or_else(|| Report::fatal("08P01", "SASL mechanism was not offered"))?;
    let text = std::str::from_utf8(text).map_err(|_| malformed(Violation::Encoding('p')))?;
    Ok((mechanism, text))
}

enum Answer {
    Whole(BytesMut),
    Partial,
    /// Terminate: psql without a password leaves so, and comes back with one.
    Goodbye,
    Wrong(Violation),
}

/// Takes the next message off `input`. Each byte is judged as soon as it is there, so that nothing
/// depends on how they arrive.
fn answer(input: &mut BytesMut, limits: &Limits) -> Answer {
    match input.first() {
        None => return Answer::Partial,
        Some(b'X') => return Answer::Goodbye,
        Some(&ANSWER) => {}
        Some(&other) => return Answer::Wrong(Violation::Unexpected(char::from(other))),
    }
    match header(input) {
        Ok(None) => Answer::Partial,
        Ok(Some(header)) if header.total > limits.login_bytes_max => {
            Answer::Wrong(Violation::TooLong { max: limits.login_bytes_max })
        }
        Ok(Some(header)) if input.len() < header.total => Answer::Partial,
        Ok(Some(header)) => Answer::Whole(input.split_to(header.total)),
        Err(violation) => Answer::Wrong(violation),
    }
}

fn body(message: &[u8]) -> &[u8] {
    message.get(crate::wire::postgres::frame::HEADER_BYTES..).unwrap_or_default()
}

fn violated(wish: &Wish, out: &mut Vec<u8>, violation: Violation) -> Turn {
    wish.who().refuse(out, &Report::fatal("08P01", violation.to_string()))
}

fn failed(wish: &Wish, out: &mut Vec<u8>, error: ScramError) -> Turn {
    wish.who().refuse(out, &Report::fatal(error.sqlstate(), error.to_string()))
}

fn authentication(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    frame(out, b'R', |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        body(out);
    });
}
