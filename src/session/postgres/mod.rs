//! A logged-in PostgreSQL session as a machine without I/O: events in, [`Output`] out.
//!
//! At most one simple query, or one segment up to Sync, is at the server at a time; the next message
//! is left in the caller's buffer until ReadyForQuery has come. So a cancel, an expiry or a denial can
//! only meet the statement that it is for. What has been sent and not yet answered stands in `slots`,
//! in order; a reply always belongs to the first.
//!
//! ```text
//!            Query                          ReadyForQuery
//!   Rest ────────────────────────▶ Closed ────────────────▶ Rest
//!     │                              ▲
//!     │ Parse, Bind, …   Sync, Query │
//!     └──────────────────▶ Open ─────┘     Open{skipping}: an error was told, up to Sync
//!                                          everything is dropped, as the server does
//! ```

mod again;
mod apart;
mod call;
mod carried;
mod ending;
mod extended;
mod links;
mod machine;
mod names;
mod overlay;
mod owner;
mod placed;
mod replies;
mod report;
mod simple;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::grant::snapshot::HeldGrants;
use crate::session::call::CallError;
use crate::session::gate::Gate;
use crate::session::machine as shell;
use crate::session::output::{Command, Output};
use crate::session::refusal::{Ended, Refusal};
use crate::session::routing::Routing;
use crate::session::scope::{Meaning, PostgresNames};
use crate::session::site::Site;
use crate::session::trail::{Running, Trail};
use crate::sql::catalog::Catalog;
use crate::sql::statement::Effect;
use crate::time::Timestamp;
use crate::wire::postgres::frame::{self, HEADER_BYTES, Violation};
use crate::wire::postgres::message::{Frontend, TransactionStatus};
use crate::wire::postgres::reply::{self, Report};

use apart::Journal;
use carried::Carried;
use names::Names;
use overlay::Overlay;
use owner::{Owner, ownership};
use simple::Turn;
use slots::Slot;

/// What the machine may look at while it handles one event.
pub type Env<'a> = shell::Env<'a, PostgresNames>;

/// What a session starts with.
pub struct Start {
    /// Its audit records.
    pub trail: Trail,
    /// What the principal holds.
    pub held: HeldGrants,
    /// The catalog, when it could be read.
    pub catalog: Option<Arc<Catalog>>,
    /// Settings that the service account's own connection reports, for a session without a server.
    pub parameters: Vec<(String, String)>,
    /// Search path to assume for a session without a server: only what denials say depends on it.
    pub assumed_path: Box<[Box<str>]>,
    /// Settings that the client gave at start-up.
    pub startup: Vec<(String, String)>,
    /// Process id and secret key that the client may cancel with.
    pub cancel_key: (u32, Box<[u8]>),
    /// A name that no portal has: random.
    pub poison: Box<str>,
    /// Where its statements may run.
    pub routing: Routing,
}

/// The machine.
pub struct Conversation {
    trail: Trail,
    gate: Gate,
    catalog: Option<Arc<Catalog>>,
    /// What names mean; `None` when that has to be asked again.
    meaning: Option<Rc<Meaning>>,
    /// What they meant last: for a failed transaction, in which nothing can be asked.
    last_meaning: Option<Rc<Meaning>>,
    /// The connection to the server that the session is at home at.
    link: Link,
    /// A session that was bound to replicas moves to the primary.
    moves: bool,
    /// Where what is under way runs, or what comes next.
    at: Site,
    routing: Routing,
    carried: Carried,
    /// The segment at hand has its server.
    placed: bool,
    /// A message waits until then for its server.
    wake: Option<Timestamp>,
    /// The unit at hand is kept while the client has seen nothing of its reply …
    keeps: bool,
    kept: Vec<u8>,
    /// … and is taken again when a replica could not do it.
    again: Vec<u8>,
    /// The replica has said that it is none any more, or that it goes.
    replica_has_changed: bool,
    /// Why the server could not be reached: the next statement is told.
    unreachable: Option<Report>,
    greeting: Option<Greeting>,
    transaction: TransactionStatus,
    names: Names,
    slots: VecDeque<Slot>,
    segment: Segment,
    /// The server has been asked for its replies ahead of Sync.
    flushed: bool,
    /// The server takes COPY data.
    copy_in: bool,
    /// It is to be told that the COPY has failed, once the client's message at hand has passed: inside
    /// one our words would be data, and its rest would be read as messages that nobody has decided.
    copy_fails: bool,
    utf8: bool,
    overlay: Overlay,
    owner: Owner,
    waiting_for_catalog: bool,
    /// The message at hand has had its fresh catalog.
    refreshed: bool,
    last_refresh: Timestamp,
    /// A cancel connection is under way: nothing new is sent.
    canceling: bool,
    /// What runs is being cancelled because its grant ended, and since when.
    doomed: Option<(Ended, Timestamp)>,
    /// Statements that were taken before there was a server, to be done there.
    replaying: VecDeque<Box<str>>,
    terminated: bool,
    /// When the timer was last heard: what had expired by then has been dealt with.
    looked: Timestamp,
    /// Bytes of a server's frame that still pass.
    server_rest: usize,
    client_rest: ClientRest,
    poison: Box<str>,
    assumed_path: Box<[Box<str>]>,
    closing: bool,
    draining: Option<&'static str>,
    /// The server has told the client why it ends the session.
    server_said_why: bool,
}

/// The connection to the server that a session is at home at.
enum Link {
    /// None was needed yet.
    Apart(Journal),
    /// Being opened.
    Opening(Journal),
    /// Open.
    Open,
}

/// What AuthenticationOk is still to be followed by.
struct Greeting {
    parameters: Vec<(String, String)>,
    cancel_key: (u32, Box<[u8]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Rest,
    Open { skipping: bool },
    Closed,
}

/// The rest of a client's frame that is not held whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientRest {
    None,
    /// COPY data that passes.
    Pass(usize),
    /// A message over the limit, or COPY data that nobody wants.
    Discard(usize),
}

/// Whether a message was taken, or stays in the buffer until something has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    Held,
}

/// A parameter's value as a client is told it. Whatever the service account is, its users are no
/// superusers: pg_dump asks for the secrets of subscriptions when it is told so.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if name == "is_superuser" { "off" } else { value }
}

/// A catalog that was read less than this ago is not read again for a name that it lacks.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

impl Conversation {
    /// A session that has just logged in. The client has heard nothing since its proof.
    pub fn new(start: Start) -> Self {
        let client_encoding = start.startup.iter().find(|(name, _)| name == "client_encoding");
        let mut parameters = start.parameters;
        for (name, value) in &start.startup {
            match parameters.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some(known) => known.1.clone_from(value),
                None if name == "application_name" => {
                    parameters.push((name.clone(), value.clone()));
                }
                None => (),
            }
        }
        Self {
            utf8: client_encoding.is_none_or(|(_, value)| is_utf8(value)),
            gate: Gate::new(start.held).with(ownership(start.trail.facts())),
            trail: start.trail,
            catalog: start.catalog,
            meaning: None,
            last_meaning: None,
            link: Link::Apart(Journal::default()),
            moves: false,
            at: Site::Primary,
            routing: start.routing,
            carried: Carried::default(),
            placed: false,
            wake: None,
            keeps: false,
            kept: Vec::new(),
            again: Vec::new(),
            replica_has_changed: false,
            unreachable: None,
            greeting: Some(Greeting { parameters, cancel_key: start.cancel_key }),
            transaction: TransactionStatus::Idle,
            names: Names::default(),
            slots: VecDeque::new(),
            segment: Segment::Rest,
            flushed: false,
            copy_in: false,
            copy_fails: false,
            overlay: Overlay::default(),
            owner: Owner::default(),
            waiting_for_catalog: false,
            refreshed: false,
            last_refresh: Timestamp::from_micros(0),
            canceling: false,
            doomed: None,
            replaying: VecDeque::new(),
            terminated: false,
            looked: Timestamp::from_micros(0),
            server_rest: 0,
            client_rest: ClientRest::None,
            poison: start.poison,
            assumed_path: start.assumed_path,
            closing: false,
            draining: None,
            server_said_why: false,
        }
    }

    /// Begins: with a live grant the server is asked first, so that the client greets the real one.
    pub fn start(&mut self, env: &mut Env<'_>, out: &mut Output) {
        out.audit.push(self.trail.start(env.now));
        if self.gate.has_live_grant(env.now) {
            self.open_upstream(env.now, out);
        } else {
            self.greet(out);
        }
    }

    fn greet(&mut self, out: &mut Output) {
        let Some(greeting) = self.greeting.take() else { return };
        out.say(|own| {
            reply::authentication_ok(own);
            for (name, value) in &greeting.parameters {
                reply::parameter_status(own, name, shown(name, value));
            }
            let (process_id, key) = &greeting.cancel_key;
            reply::backend_key_data(own, *process_id, key);
            reply::ready(own, TransactionStatus::Idle);
        });
    }

    /// Takes whole messages off `input`, as many as may be taken now; the rest stays for the next call,
    /// which is due after every other event, too.
    ///
    /// # Errors
    /// When the client broke the protocol; the session is to be closed with 08P01.
    pub fn on_client(
        &mut self,
        input: &mut BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        out.turn_to(self.at);
        if let Some(mut again) = self.own_input() {
            self.take_messages(&mut again, env, out)?;
            self.again.extend_from_slice(&again);
            if !self.again.is_empty() {
                return Ok(());
            }
        }
        self.take_messages(input, env, out)
    }

    fn take_messages(
        &mut self,
        input: &mut BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        while !self.closing && self.greeting.is_none() && !input.is_empty() {
            if self.client_rest != ClientRest::None {
                self.pass_rest(input, out);
                continue;
            }
            let Some(header) = frame::header(input)? else { break };
            if header.total > env.limits.wire.message_bytes_max || header.tag == b'd' {
                match self.on_large(header, input, env, out)? {
                    Taken::Yes => continue,
                    Taken::Held => break,
                }
            }
            let Some((message, body)) = input
                .get(..header.total)
                .and_then(|whole| Some((whole, whole.get(HEADER_BYTES..)?)))
            else {
                break;
            };
            let read = Frontend::read(header.tag, body)?;
            if matches!(header.tag, b'P' | b'B' | b'D' | b'E' | b'C')
                && self.place_segment(input, env, out) == Taken::Held
            {
                break;
            }
            if self.on_message(&read, message, env, out)? == Taken::Held {
                break;
            }
            self.keep(message);
            self.refreshed = false;
            input.advance(header.total);
            self.owner_after_message(out);
        }
        if self.closing {
            input.clear();
        }
        Ok(())
    }

    fn pass_rest(&mut self, input: &mut BytesMut, out: &mut Output) {
        let (ClientRest::Pass(rest) | ClientRest::Discard(rest)) = self.client_rest else { return };
        let now = rest.min(input.len());
        let chunk = input.split_to(now);
        let left = rest - now;
        self.client_rest = if let ClientRest::Pass(_) = self.client_rest {
            out.control(|server| server.extend_from_slice(&chunk));
            if left == 0 && std::mem::take(&mut self.copy_fails) {
                out.control(fail_copy);
            }
            if left == 0 { ClientRest::None } else { ClientRest::Pass(left) }
        } else if left == 0 {
            ClientRest::None
        } else {
            ClientRest::Discard(left)
        };
    }

    /// COPY data passes in pieces; any other message over the limit is refused, and its bytes dropped.
    fn on_large(
        &mut self,
        header: frame::Header,
        input: &mut BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Taken, Violation> {
        if header.tag == b'd' {
            if self.copy_in {
                self.client_rest = ClientRest::Pass(header.total);
                return Ok(Taken::Yes);
            }
            if self.copy_in_expected() {
                return Ok(Taken::Held);
            }
            self.client_rest = ClientRest::Discard(header.total);
            return Ok(Taken::Yes);
        }
        let max = env.limits.wire.message_bytes_max;
        let refusal =
            Refusal::TooMany { what: format!("a message is over the limit of {max} bytes") };
        let taken = match header.tag {
            b'Q' | b'F' => {
                match self.turn_of_query(out) {
                    Turn::Now | Turn::InSegment => {
                        let head = input.get(..HEADER_BYTES).unwrap_or_default();
                        self.refuse_query(head, &refusal, env, out);
                    }
                    Turn::Skipped => (),
                    Turn::Later => return Ok(Taken::Held),
                }
                Taken::Yes
            }
            b'P' | b'B' | b'D' | b'E' | b'C' => {
                if !self.may_start_or_continue() {
                    return Ok(Taken::Held);
                }
                self.refuse_in_segment(&[], &refusal, env, out);
                Taken::Yes
            }
            _ => return Err(Violation::TooLong { max }),
        };
        self.client_rest = ClientRest::Discard(header.total);
        Ok(taken)
    }

    fn on_message(
        &mut self,
        message: &Frontend<'_>,
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Taken, Violation> {
        if let Frontend::Terminate = message {
            self.close(None, out);
            return Ok(Taken::Yes);
        }
        if self.copy_in {
            return self.on_copy_message(message, frame, out);
        }
        if self.slots.iter().any(|slot| matches!(slot, Slot::Call { .. })) {
            return Ok(Taken::Held);
        }
        match message {
            // A client goes on with its data when the COPY has failed; the server drops it, too.
            Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail => {
                Ok(if self.copy_in_expected() { Taken::Held } else { Taken::Yes })
            }
            Frontend::Query(text) => self.on_query(text, frame, env, out),
            Frontend::FunctionCall => {
                match self.turn_of_query(out) {
                    Turn::Now | Turn::InSegment => (),
                    Turn::Skipped => return Ok(Taken::Yes),
                    Turn::Later => return Ok(Taken::Held),
                }
                let refusal = Refusal::Unsupported {
                    what: "the function-call message is not supported".into(),
                    hint: Some("Call the function with SELECT.".into()),
                };
                self.refuse_query(&[], &refusal, env, out);
                Ok(Taken::Yes)
            }
            extended => self.on_extended(extended, frame, env, out),
        }
    }

    fn on_copy_message(
        &mut self,
        message: &Frontend<'_>,
        frame: &[u8],
        out: &mut Output,
    ) -> Result<Taken, Violation> {
        match message {
            Frontend::CopyData => out.control(|server| server.extend_from_slice(frame)),
            Frontend::CopyDone | Frontend::CopyFail => {
                self.copy_in = false;
                out.control(|server| server.extend_from_slice(frame));
            }
            // The server ignores both while it takes data (manual 54.2.6).
            Frontend::Sync | Frontend::Flush => (),
            _ => {
                return Err(Violation::Unexpected(
                    frame.first().map_or('?', |&tag| char::from(tag)),
                ));
            }
        }
        Ok(Taken::Yes)
    }

    /// Whether nothing is under way that a new query or segment must wait for.
    fn at_rest(&self) -> bool {
        self.segment == Segment::Rest
            && self.slots.is_empty()
            && !self.canceling
            && !self.waiting_for_catalog
            && !matches!(self.link, Link::Opening(_))
    }

    fn may_start_or_continue(&self) -> bool {
        matches!(self.segment, Segment::Open { .. }) && !self.waiting_for_catalog || self.at_rest()
    }

    fn copy_in_expected(&self) -> bool {
        let copies = |run: &Running| {
            run.statement().is_some_and(|statement| statement.effect == Effect::CopyIn)
        };
        self.slots.iter().any(|slot| match slot {
            Slot::Execute { run, .. } => copies(run),
            Slot::Query { runs, .. } => runs.iter().any(copies),
            _ => false,
        })
    }

    /// The meaning of names, when it is known; otherwise what must happen first has been asked for.
    fn ready_to_analyse(&mut self, env: &mut Env<'_>, out: &mut Output) -> Option<Rc<Meaning>> {
        if let Some(meaning) = &self.meaning {
            return Some(Rc::clone(meaning));
        }
        let Some(catalog) = &self.catalog else {
            self.ask_for_catalog(env.now, out);
            return None;
        };
        if let Link::Open = self.link {
            if self.transaction != TransactionStatus::Failed {
                if self.at_rest() {
                    self.turn_to(self.routing.home(), out);
                    self.ask_for_path(out);
                }
                return None;
            }
            // Nothing can be asked now, and nothing but the transaction's end will run.
            if let Some(last) = &self.last_meaning {
                return Some(Rc::clone(last));
            }
        }
        let meaning =
            env.meanings.get(&self.trail.facts().database, catalog, self.assumed_path.clone());
        if !matches!(self.link, Link::Open) {
            self.meaning = Some(Rc::clone(&meaning));
        }
        Some(meaning)
    }

    fn ask_for_catalog(&mut self, now: Timestamp, out: &mut Output) {
        if !self.waiting_for_catalog {
            self.waiting_for_catalog = true;
            self.last_refresh = now;
            out.command(Command::RefreshCatalog);
        }
    }

    /// The catalog that was asked for has come, or (`None`) could not be read.
    pub fn on_catalog(&mut self, catalog: Option<Arc<Catalog>>) {
        self.waiting_for_catalog = false;
        let Some(catalog) = catalog else {
            if self.catalog.is_none() {
                let report = Report::error("57P03", "the database's catalog cannot be read now");
                self.unreachable = Some(report);
            }
            return;
        };
        if self.transaction == TransactionStatus::Idle
            && self.slots.is_empty()
            && std::mem::take(&mut self.overlay.catalog_changed)
        {
            self.forget_meaning();
        }
        self.set_catalog(catalog);
    }

    /// Another version of the catalog is current.
    pub fn set_catalog(&mut self, catalog: Arc<Catalog>) {
        if self.catalog.as_ref().is_none_or(|known| known.version != catalog.version) {
            self.meaning = None;
        }
        self.catalog = Some(catalog);
    }

    fn note_parameter(&mut self, name: &str, value: &str) {
        if name == "client_encoding" {
            self.utf8 = is_utf8(value);
        }
    }

    /// The text of a message, when the analyser can read what the server will read. Every encoding
    /// that PostgreSQL takes from clients has ASCII's bytes mean ASCII when no other byte is near.
    fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, Refusal> {
        match std::str::from_utf8(bytes) {
            Ok(text) if self.utf8 || bytes.is_ascii() => Ok(text),
            _ => Err(Refusal::Encoding),
        }
    }

    fn journal(&mut self) -> Option<&mut Journal> {
        match &mut self.link {
            Link::Apart(journal) | Link::Opening(journal) => Some(journal),
            Link::Open => None,
        }
    }

    fn refuse_unreachable(&mut self) -> Option<Refusal> {
        let report = self.unreachable.take()?;
        Some(Refusal::Call(CallError {
            sqlstate: report.sqlstate,
            message: report.message,
            detail: report.detail,
            hint: report.hint,
        }))
    }
}

/// Tells the server that a COPY has failed because its grant has ended.
fn fail_copy(server: &mut Vec<u8>) {
    reply::copy_fail(server, "the grant has ended");
}

fn is_utf8(encoding: &str) -> bool {
    let name: String =
        encoding.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    name == "utf8" || name == "unicode"
}
