//! A logged-in session of MySQL or MariaDB as a machine without I/O: events in, [`Output`] out.
//!
//! One command is at the server at a time; the next stays in the caller's buffer until its reply has ended. So
//! a cancel, an expiry or a denial can only meet the statement that it is for. Before a command is read, what
//! we have to do there ourselves is done: take up what a cancel may have left, ask how texts are read, repeat what
//! was said before there was a server.

mod again;
mod bound;
mod call;
mod carried;
mod commands;
mod ending;
mod machine;
mod names;
mod own;
mod placed;
mod prepared;
mod replies;
mod report;
mod state;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::grant::snapshot::HeldGrants;
use crate::session::call::BoundCall;
use crate::session::gate::Gate;
use crate::session::machine as shell;
use crate::session::output::{Command as Wish, Output};
use crate::session::refusal::{Ended, Refusal};
use crate::session::routing::{Question, Routing};
use crate::session::scope::{Meaning, MysqlNames};
use crate::session::site::Site;
use crate::session::trail::{Running, Trail};
use crate::sql::access::Access;
use crate::sql::mysql::ParseSettings;
use crate::sql::mysql::catalog::Catalog;
use crate::sql::name::QualifiedName;
use crate::time::Timestamp;
use crate::wire::mysql::capability::{Capabilities, Status};
use crate::wire::mysql::command::{Command, StatementId};
use crate::wire::mysql::packet::{self, HEADER_BYTES, Violation};
use crate::wire::mysql::reply::{Expect, Reply};
use crate::wire::mysql::report::{Form, Report, okay};
use crate::wire::mysql::response::Okay;

use carried::Carried;
use names::{Names, Prepared};
use state::State;

/// What the machine may look at while it handles one event.
pub type Env<'a> = shell::Env<'a, MysqlNames>;

/// What a session starts with.
pub struct Start {
    /// Its audit records.
    pub trail: Trail,
    /// What the principal holds.
    pub held: HeldGrants,
    /// The catalog, when it could be read.
    pub catalog: Option<Arc<Catalog>>,
    /// What client and server agree upon.
    pub capabilities: Capabilities,
    /// Number of the message that ends the login.
    pub sequence: u8,
    /// How a new session's texts are read: assumed, until the server can be asked.
    pub settings: ParseSettings,
    /// The number that the client's connection was given.
    pub connection: u64,
    /// Where its commands run.
    pub routing: Routing,
}

/// The machine.
pub struct Conversation {
    trail: Trail,
    gate: Gate,
    capabilities: Capabilities,
    connection: u64,
    routing: Routing,
    carried: Carried,
    /// The server that is spoken to now.
    at: Site,
    /// Where the last statement ran.
    previous: Site,
    /// When a command that waits for a replica is looked at again.
    wake: Option<Timestamp>,
    /// What runs at the replica may be done again, and is this.
    keeps: bool,
    kept: Vec<u8>,
    /// What is to be taken again before what the client has sent since.
    again: BytesMut,
    replica_has_changed: bool,
    catalog: Option<Arc<Catalog>>,
    /// The catalog lacks what a statement of this session has changed.
    catalog_is_old: bool,
    state: State,
    /// As the login left it, for COM_RESET_CONNECTION before there is a server.
    assumed: ParseSettings,
    temporary: HashSet<QualifiedName>,
    /// What names mean; `None` when something of that has changed.
    meaning: Option<Rc<Meaning<MysqlNames>>>,
    link: Link,
    /// The server is to be told the default database again, before anything else that needs a right.
    uses_again: bool,
    /// What was said before there was a server, to be said there.
    journal: VecDeque<Box<[u8]>>,
    /// Why the server could not be reached: the next statement is told.
    unreachable: Option<Report>,
    /// The message that ends the login is due, and has this number.
    greeting: Option<u8>,
    status: Status,
    names: Names,
    current: Current,
    waiting_for_catalog: bool,
    /// The command at hand has had its fresh catalog.
    refreshed: bool,
    last_refresh: Timestamp,
    /// A KILL QUERY is under way there: nothing new is sent.
    canceling: Option<Site>,
    /// One has come there, and may hit whatever is sent next: that is to be ours.
    absorbs: Option<Site>,
    /// What runs is being cancelled because its grant ended, and since when.
    doomed: Option<(Ended, Timestamp)>,
    /// When it was last killed.
    canceled: Timestamp,
    terminated: bool,
    /// When the timer was last heard: what had expired by then has been dealt with.
    looked: Timestamp,
    file: FileUnderWay,
    closing: bool,
    /// What the client sends from now on belongs to its next login.
    departed: bool,
    draining: Option<&'static str>,
    /// The server has told the client why it ends the session.
    server_said_why: bool,
}

/// The client's file, on its way to the server.
#[derive(Default)]
struct FileUnderWay {
    /// Bytes of its packet that still pass.
    rest: usize,
    /// Its message goes on in the next packet.
    continues: bool,
    /// Number of the next packet, once there has been one.
    sequence: Option<u8>,
}

/// The connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// None was needed yet.
    Apart,
    /// Being opened.
    Opening,
    /// Open.
    Open,
}

/// What is under way.
enum Current {
    /// Nothing.
    Rest,
    /// A command at the server.
    Server {
        /// Its reply, as far as it has come.
        reply: Reply,
        /// What it is.
        work: Work,
        /// Nothing has been told of a row yet, or all of it.
        between: bool,
    },
    /// A call on `daypass`.
    Call(Call),
    /// KILL of another session.
    Kill {
        /// Its records' part.
        run: Running,
        /// Number of the answer.
        sequence: u8,
    },
}

/// What a command at the server is.
enum Work {
    /// Statements of the client's: the first is the one whose result comes.
    Statements(Statements),
    /// One that changes nothing that we know of.
    Plain,
    /// COM_RESET_CONNECTION.
    Reset,
    /// COM_STMT_PREPARE.
    Prepare(Box<Prepared>),
    /// Ours: how texts are read.
    Question(Vec<u8>),
    /// Ours: how far a server is, and the session's state.
    Asked {
        /// Which of that.
        question: Question,
        /// What has passed of the answer.
        passed: Vec<u8>,
    },
    /// Ours: a replica is told a part of the session's state.
    Told {
        /// It has not taken it.
        refused: bool,
        /// The default database, when it is that.
        schema: Option<Box<str>>,
    },
    /// Ours: takes up a KILL QUERY that came too late.
    Absorber,
    /// Ours: goes to the default database again, and whether the server did not let us.
    UseAgain {
        /// What it said.
        refused: Option<String>,
    },
}

/// Statements that a command has sent.
struct Statements {
    runs: VecDeque<Running>,
    /// The prepared statement that is executed or fetched from.
    prepared: Option<StatementId>,
    /// What that needs beyond what its text says.
    more: Box<[Access]>,
    /// SQL's PREPARE: under which name what is kept once it is done.
    named: Option<(Box<str>, Box<Prepared>)>,
    /// It was said before there was a server, and the client has had its answer.
    replayed: bool,
}

/// A call on `daypass`.
struct Call {
    call: BoundCall,
    run: Running,
    form: Form,
    /// Number of the first packet of the answer.
    sequence: u8,
}

/// A command at hand: what it says, as text, and what is forwarded for it.
#[derive(Clone, Copy)]
struct Said<'a> {
    /// What is analysed.
    text: &'a [u8],
    /// The message.
    frame: &'a [u8],
    /// Number of the first packet of its answer.
    sequence: u8,
    /// What the server answers it with.
    expect: Expect,
}

/// Whether a message was taken, or stays in the buffer until something has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    Held,
}

/// A catalog that was read less than this ago is not read again for a name that it lacks.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

impl Conversation {
    /// A session whose proof was right. The client waits for the message that ends its login.
    pub fn new(start: Start) -> Self {
        Self {
            gate: Gate::new(start.held),
            trail: start.trail,
            capabilities: start.capabilities,
            connection: start.connection,
            routing: start.routing,
            carried: Carried::default(),
            at: Site::Primary,
            previous: Site::Primary,
            wake: None,
            keeps: false,
            kept: Vec::new(),
            again: BytesMut::new(),
            replica_has_changed: false,
            catalog: start.catalog,
            catalog_is_old: false,
            state: State::new(start.settings.clone()),
            assumed: start.settings,
            temporary: HashSet::new(),
            meaning: None,
            link: Link::Apart,
            uses_again: false,
            journal: VecDeque::new(),
            unreachable: None,
            greeting: Some(start.sequence),
            status: Status::AUTOCOMMIT,
            names: Names::default(),
            current: Current::Rest,
            waiting_for_catalog: false,
            refreshed: false,
            last_refresh: Timestamp::from_micros(0),
            canceling: None,
            absorbs: None,
            doomed: None,
            canceled: Timestamp::from_micros(0),
            terminated: false,
            looked: Timestamp::from_micros(0),
            file: FileUnderWay::default(),
            closing: false,
            departed: false,
            draining: None,
            server_said_why: false,
        }
    }

    /// Begins: with a live grant the server is asked first, so that its own words end the login.
    pub fn start(&mut self, env: &mut Env<'_>, out: &mut Output) {
        out.audit.push(self.trail.start(env.now));
        if self.gate.has_live_grant(env.now) {
            self.open_upstream(out);
        } else if let Some(mut sequence) = self.greeting.take() {
            let (status, capabilities) = (self.status, self.capabilities);
            out.say(|own| okay(own, &mut sequence, 0, status, "", capabilities));
        }
    }

    fn open_upstream(&mut self, out: &mut Output) {
        if self.link == Link::Apart {
            self.link = Link::Opening;
            out.command(Wish::OpenPrimary);
        }
    }

    /// The connection to the server is open; `okay` is the payload with which it ended our login.
    ///
    /// # Errors
    /// When that is malformed.
    pub fn on_upstream_open(
        &mut self,
        address: Arc<str>,
        okay: &[u8],
        out: &mut Output,
    ) -> Result<(), Violation> {
        if self.link != Link::Opening {
            return Ok(());
        }
        self.status = Okay::read(okay, self.capabilities)?.status.of_session();
        self.link = Link::Open;
        self.uses_again = false;
        self.meaning = None;
        self.state.in_doubt = true;
        self.trail.set_backend(Site::Primary, Some(address));
        if let Some(mut sequence) = self.greeting.take() {
            out.say(|own| packet::write(own, &mut sequence, |own| own.extend_from_slice(okay)));
        }
        Ok(())
    }

    /// The connection to a replica is open.
    pub fn on_replica_open(&mut self, address: Arc<str>) {
        self.trail.set_backend(Site::Replica, Some(address));
        self.routing.on_open();
        self.carried.forget();
        if let Some(schema) = &self.assumed.default_database {
            self.carried.enters(schema.clone());
        }
    }

    /// The connection to a server could not be opened.
    pub fn on_upstream_failed(
        &mut self,
        site: Site,
        report: Report,
        now: Timestamp,
        out: &mut Output,
    ) {
        if site == Site::Replica {
            return self.routing.on_closed(now);
        }
        if self.link != Link::Opening {
            return;
        }
        self.link = Link::Apart;
        match self.greeting.take() {
            Some(mut sequence) => {
                out.say(|own| report.write(own, &mut sequence));
                self.close(None, out);
            }
            None => self.unreachable = Some(report),
        }
    }

    /// Takes whole messages off `input`, as many as may be taken now; the rest stays for the next call,
    /// which is due after every other event, too.
    ///
    /// # Errors
    /// When the client broke the protocol; the session is to be closed with 1835.
    pub fn on_client(
        &mut self,
        input: &mut BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        if let Some(mut again) = self.own_input() {
            self.take_commands(&mut again, env, out)?;
            self.again.extend_from_slice(&again);
            if !self.again.is_empty() {
                return Ok(());
            }
        }
        self.take_commands(input, env, out)
    }

    fn take_commands(
        &mut self,
        input: &mut BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        while !self.closing && self.greeting.is_none() && !input.is_empty() {
            if self.awaits_file() {
                if self.pass_file(input, out)? {
                    continue;
                }
                break;
            }
            if !self.at_rest() {
                break;
            }
            let max = env.limits.wire.message_bytes_max;
            let found = match packet::message(input, 0, max) {
                Err(Violation::TooLong { .. }) => {
                    let message = "Got a packet bigger than 'max_allowed_packet' bytes";
                    let answer = packet::sequence_after(input);
                    self.close(Some((Report::new(1153, "08S01", message), answer)), out);
                    continue;
                }
                found => found?,
            };
            let Some(found) = found else { break };
            let frame = input.get(..found.total).unwrap_or_default();
            let payload = packet::payload(frame);
            let command = Command::read(&payload, self.capabilities)?;
            if command != Command::Quit && !self.server_is_ready(env, out) {
                continue;
            }
            if self.on_command(&command, frame, found.next, env, out) == Taken::Held {
                break;
            }
            self.refreshed = false;
            drop(payload);
            input.advance(found.total);
        }
        if self.closing && !self.departed {
            input.clear();
        }
        Ok(())
    }

    fn awaits_file(&self) -> bool {
        matches!(&self.current, Current::Server { reply, .. } if reply.awaits_file())
    }

    /// Passes what there is of a packet of the client's file; false when more has to come first.
    fn pass_file(&mut self, input: &mut BytesMut, out: &mut Output) -> Result<bool, Violation> {
        let Current::Server { reply, .. } = &mut self.current else { return Ok(false) };
        if self.file.rest > 0 {
            let chunk = input.split_to(self.file.rest.min(input.len()));
            self.file.rest -= chunk.len();
            out.control(|server| server.extend_from_slice(&chunk));
            return Ok(!chunk.is_empty());
        }
        let Some(header) = packet::header(input) else { return Ok(false) };
        let expected = self.file.sequence.unwrap_or(reply.sequence());
        if header.sequence != expected {
            return Err(Violation::Sequence { expected, found: header.sequence });
        }
        let head = input.split_to(HEADER_BYTES);
        out.control(|server| server.extend_from_slice(&head));
        let next = expected.wrapping_add(1);
        // An empty packet ends the file, unless it ends a message of the greatest length.
        if header.length == 0 && !self.file.continues {
            self.file = FileUnderWay::default();
            reply.file_sent(next);
        } else {
            let (rest, continues) = (header.length, header.continues());
            self.file = FileUnderWay { rest, continues, sequence: Some(next) };
        }
        Ok(true)
    }

    /// Whether nothing is under way that a new command must wait for.
    fn at_rest(&self) -> bool {
        matches!(self.current, Current::Rest)
            && self.canceling.is_none()
            && !self.waiting_for_catalog
            && self.link != Link::Opening
    }

    /// Whether the server's session is inside a transaction.
    fn in_transaction(&self) -> bool {
        self.status.has(Status::IN_TRANSACTION)
    }

    /// The meaning of names, when it is known; otherwise what must happen first has been asked for.
    fn ready_to_analyse(
        &mut self,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Option<Rc<Meaning<MysqlNames>>> {
        if self.catalog_is_old {
            self.ask_for_catalog(env.now, out);
            return None;
        }
        if let Some(meaning) = &self.meaning {
            return Some(Rc::clone(meaning));
        }
        let Some(catalog) = &self.catalog else {
            self.ask_for_catalog(env.now, out);
            return None;
        };
        let settings = self.state.settings().clone();
        let meaning = if self.temporary.is_empty() {
            env.meanings.get(&self.trail.facts().database, catalog, settings)
        } else {
            let (catalog, temporary) = (Arc::clone(catalog), self.temporary.clone());
            Meaning::with_temporary(MysqlNames { catalog, settings, temporary })
        };
        self.meaning = Some(Rc::clone(&meaning));
        Some(meaning)
    }

    fn ask_for_catalog(&mut self, now: Timestamp, out: &mut Output) {
        if !self.waiting_for_catalog {
            self.waiting_for_catalog = true;
            self.last_refresh = now;
            out.command(Wish::RefreshCatalog);
        }
    }

    /// Whether a fresh catalog was asked for, since a name is missing in the one at hand.
    fn asks_again(&mut self, env: &Env<'_>, out: &mut Output) -> bool {
        let asks = !self.refreshed && self.last_refresh + REFRESH_PAUSE <= env.now;
        if asks {
            self.refreshed = true;
            self.ask_for_catalog(env.now, out);
        }
        asks
    }

    /// The catalog that was asked for has come, or (`None`) could not be read.
    pub fn on_catalog(&mut self, catalog: Option<Arc<Catalog>>) {
        self.waiting_for_catalog = false;
        match catalog {
            Some(catalog) => {
                self.catalog_is_old = false;
                self.set_catalog(catalog);
            }
            None if self.catalog_is_old || self.catalog.is_none() => {
                let message = "the database's catalog cannot be read now";
                self.unreachable = Some(Report::new(1105, "HY000", message));
            }
            None => (),
        }
    }

    /// Another version of the catalog is current.
    pub fn set_catalog(&mut self, catalog: Arc<Catalog>) {
        if self.catalog.as_ref().is_none_or(|known| known.version != catalog.version) {
            self.meaning = None;
        }
        self.catalog = Some(catalog);
    }

    fn refuse_with(report: &Report, mut sequence: u8, out: &mut Output) {
        out.say(|own| report.write(own, &mut sequence));
    }

    fn told(&self, refusal: &Refusal) -> Report {
        report::report(refusal, self.trail.facts())
    }

    /// Answers a command itself, as a server does that has nothing to tell.
    fn say_okay(&self, mut sequence: u8, out: &mut Output) {
        let (status, capabilities) = (self.status, self.capabilities);
        out.say(|own| okay(own, &mut sequence, 0, status, "", capabilities));
    }
}
