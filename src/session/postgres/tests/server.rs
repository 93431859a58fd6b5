//! A server that follows the protocol's rules and understands a handful of statements.

use std::collections::{HashMap, VecDeque};

use crate::wire::postgres::frame::{self, HEADER_BYTES, frame as write_frame};
use crate::wire::postgres::message::{Frontend, Target, TransactionStatus};
use crate::wire::postgres::reply::{self, Report};

use super::names::{Names, Resolved};

/// What ran, on what, and what was granted when it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) text: String,
    pub(super) readable: Vec<String>,
    /// The schema and relation that it read, wrote or defined, as the server found them.
    pub(super) on: Option<(String, String)>,
    pub(super) as_owner: bool,
}

struct Received {
    tag: u8,
    body: Vec<u8>,
    readable: Vec<String>,
    /// ReadyForQuery is due for it.
    counted: bool,
}

/// A portal, and how far it has been read.
#[derive(Clone)]
struct Portal {
    text: String,
    on: Option<Resolved>,
    /// Rows that are left; none before it has run.
    left: Option<usize>,
}

/// Rows of every SELECT.
const ROWS: usize = 2;

pub(super) struct FakeServer {
    /// The beginning of a piece of COPY data; everything else comes whole.
    partial: Vec<u8>,
    /// Received and not yet worked on.
    waiting: VecDeque<Received>,
    pub(super) out: Vec<u8>,
    /// Tags of what it has said without being asked.
    pub(super) volunteered: Vec<u8>,
    pub(super) status: TransactionStatus,
    skipping: bool,
    prepared: HashMap<String, (String, Option<Resolved>)>,
    portals: HashMap<String, Portal>,
    pub(super) names: Names,
    /// What queries and INSERTs that came to their end were on, in order.
    pub(super) done: Vec<Option<String>>,
    pub(super) ran: Vec<Ran>,
    /// A statement that ends only when told to; whether it came in a simple query.
    running: Option<bool>,
    /// Taking COPY data; whether for a simple query.
    copying: Option<bool>,
    /// It lets nobody take the role of the `ddl-owner`.
    pub(super) refuses_owner: bool,
    /// Queries and Syncs that are to be answered with ReadyForQuery.
    unanswered: usize,
    /// Of a replica, how far it has replayed; the primary is as far as statements have run.
    pub(super) replayed: Option<usize>,
    /// The value of the one setting that sessions change here.
    pub(super) setting: Option<String>,
    /// A replica refuses the next read with that.
    pub(super) refuses: Option<&'static str>,
}

impl Default for FakeServer {
    fn default() -> Self {
        Self {
            partial: Vec::new(),
            waiting: VecDeque::new(),
            out: Vec::new(),
            volunteered: Vec::new(),
            status: TransactionStatus::Idle,
            skipping: false,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            names: Names::new(),
            done: Vec::new(),
            ran: Vec::new(),
            running: None,
            copying: None,
            refuses_owner: false,
            unanswered: 0,
            replayed: None,
            setting: None,
            refuses: None,
        }
    }
}

enum Done {
    Tag(&'static str, usize),
    Running,
    CopyIn,
    Error(&'static str),
}

impl FakeServer {
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Takes bytes; `readable` are the relations that may be read at this moment.
    pub(super) fn receive(&mut self, bytes: &[u8], readable: &[String]) {
        let received = [&std::mem::take(&mut self.partial), bytes].concat();
        let mut bytes = &received[..];
        while let Some(header) = frame::header(bytes).unwrap() {
            let Some(body) = bytes.get(HEADER_BYTES..header.total) else { break };
            let body = body.to_vec();
            bytes = &bytes[header.total..];
            // A Sync inside COPY data is swallowed.
            let ends_copy = |received: &Received| matches!(received.tag, b'c' | b'f');
            let copying = self.copying.is_some() && !self.waiting.iter().any(ends_copy);
            let counted = header.tag == b'Q' || header.tag == b'S' && !copying;
            if counted {
                assert_eq!(self.unanswered, 0, "a second segment is at the server");
                self.unanswered += 1;
            }
            let readable = readable.to_vec();
            self.waiting.push_back(Received { tag: header.tag, body, readable, counted });
        }
        assert!(matches!(bytes, [] | [b'd', ..]), "half a message for the server");
        self.partial = bytes.to_vec();
        self.work();
    }

    /// Ends what is running, as a cancel does; none running, it is lost.
    pub(super) fn cancel(&mut self) {
        if let Some(simple) = self.running.take() {
            self.fail("57014");
            self.after(simple);
        }
    }

    /// What is running comes to its end.
    pub(super) fn finish(&mut self) {
        if let Some(simple) = self.running.take() {
            self.note_done();
            reply::command_complete(&mut self.out, "SELECT 1");
            self.after(simple);
        }
    }

    /// Says something that nobody asked for: `kind` is the message's tag. A server does so between any
    /// two messages.
    pub(super) fn volunteer(&mut self, kind: u8, length: usize) {
        let out = &mut self.out;
        match kind {
            b'S' => reply::parameter_status(out, "TimeZone", &"x".repeat(length)),
            b'A' => write_frame(out, b'A', |out| {
                out.extend_from_slice(b"\0\0\0\x07channel\0");
                out.resize(out.len() + length, b'x');
                out.push(0);
            }),
            _ => Report::warning("x".repeat(length)).write(out),
        }
        self.volunteered.push(kind);
    }

    fn after(&mut self, simple: bool) {
        if simple {
            self.ready();
        }
        self.work();
    }

    fn work(&mut self) {
        while self.running.is_none() {
            let Some(Received { tag, body, readable, counted }) = self.waiting.pop_front() else {
                return;
            };
            let message = Frontend::read(tag, &body).unwrap();
            if let Some(simple) = self.copying {
                self.on_copy(&message, simple, counted);
                continue;
            }
            match message {
                Frontend::Query(text) => self.query(text, &readable),
                Frontend::Sync => {
                    self.skipping = false;
                    self.ready();
                }
                Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail | Frontend::Flush => {}
                _ if self.skipping => (),
                extended => self.extended(&extended, &readable),
            }
        }
    }

    fn on_copy(&mut self, message: &Frontend<'_>, simple: bool, counted: bool) {
        match message {
            Frontend::CopyData | Frontend::Flush => (),
            // Swallowed: it may have been counted when it came, but no ReadyForQuery answers it.
            Frontend::Sync => self.unanswered -= usize::from(counted),
            Frontend::CopyDone => {
                self.copying = None;
                reply::command_complete(&mut self.out, "COPY 1");
                self.after_copy(simple);
            }
            Frontend::CopyFail => {
                self.copying = None;
                self.fail("57014");
                self.after_copy(simple);
            }
            other => panic!("{other:?} while copying"),
        }
    }

    fn after_copy(&mut self, simple: bool) {
        if simple {
            self.ready();
        }
    }

    fn ready(&mut self) {
        self.skipping = false;
        self.unanswered -= 1;
        if self.status == TransactionStatus::Idle {
            self.portals.clear();
            self.names.commit();
        }
        reply::ready(&mut self.out, self.status);
    }

    fn fail(&mut self, sqlstate: &'static str) {
        if self.status == TransactionStatus::Active {
            self.status = TransactionStatus::Failed;
        } else if self.status == TransactionStatus::Idle {
            self.names.rollback();
        }
        self.skipping = true;
        Report::error(sqlstate, "no").write(&mut self.out);
    }

    fn query(&mut self, text: &[u8], readable: &[String]) {
        let text = std::str::from_utf8(text).unwrap().to_owned();
        self.skipping = false;
        if text.starts_with("SELECT 'position'") {
            self.tell_state(&text);
            return self.ready();
        }
        if text.starts_with("RESET \"extra") || text.starts_with("SELECT pg_catalog.set_config") {
            self.learn(&text);
            return self.ready();
        }
        if text.contains("current_schemas") || text.contains("pg_my_temp_schema") {
            assert_ne!(self.status, TransactionStatus::Failed, "names are asked in vain");
            for statement in text.split("; ") {
                self.names.answer(statement, &mut self.out);
                reply::command_complete(&mut self.out, "SELECT");
            }
            self.ready();
            return;
        }
        if text.contains("SET ROLE") || text.contains("daypass_role") {
            self.role(&text);
            return self.ready();
        }
        for statement in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let resolved = self.resolve(statement);
            match resolved.map_or_else(Done::Error, |on| self.run(statement, on, readable)) {
                Done::Tag(tag, rows) => {
                    if rows > 0 {
                        reply::row_description(&mut self.out, &["a"]);
                    }
                    self.rows(tag, rows);
                }
                Done::Running => {
                    self.running = Some(true);
                    return;
                }
                Done::CopyIn => {
                    self.copying = Some(true);
                    write_frame(&mut self.out, b'G', |out| out.extend_from_slice(&[0, 0, 0]));
                    return;
                }
                Done::Error(sqlstate) => {
                    self.fail(sqlstate);
                    break;
                }
            }
        }
        self.skipping = false;
        self.ready();
    }

    /// A query of the proxy's own about the role, in a savepoint inside a transaction.
    fn role(&mut self, text: &str) {
        let inside = self.status != TransactionStatus::Idle;
        if text.starts_with("ROLLBACK TO SAVEPOINT") {
            self.status = TransactionStatus::Active;
        } else if text == "RESET ROLE" {
            assert_ne!(self.status, TransactionStatus::Failed, "the role is reset in vain");
            self.names.set_owner(false);
        } else {
            assert_eq!(text.starts_with("SAVEPOINT daypass_role; SET ROLE"), inside);
            if self.refuses_owner {
                self.fail("42501");
                self.skipping = false;
                return;
            }
            self.names.set_owner(true);
        }
        reply::command_complete(&mut self.out, "SET");
    }

    fn tell_state(&mut self, text: &str) {
        assert_eq!(self.status, TransactionStatus::Idle, "the state is asked in a transaction");
        let position = self.replayed.unwrap_or(self.ran.len() + 1);
        let row = |kind: &str, name: Option<&str>, value: Option<String>| {
            [Some(kind.to_owned()), name.map(str::to_owned), value]
        };
        let mut rows = vec![row("position", None, Some(format!("0/{position:X}")))];
        if text.contains("pg_settings") {
            let pin =
                self.names.has_temporary().then(|| row("pin", Some("temporary objects"), None));
            rows.extend(pin);
            let setting = self.setting.clone();
            rows.extend(setting.map(|it| row("set", Some("extra_float_digits"), Some(it))));
        }
        for row in &rows {
            reply::data_row(&mut self.out, row);
        }
        reply::command_complete(&mut self.out, "SELECT");
    }

    fn learn(&mut self, text: &str) {
        let value = text.split_once("set_config('extra_float_digits', '");
        self.setting = value.map(|(_, rest)| rest.split('\'').next().unwrap().to_owned());
        reply::command_complete(&mut self.out, "SELECT 1");
    }

    fn rows(&mut self, tag: &str, rows: usize) {
        for n in 0..rows {
            reply::data_row(&mut self.out, &[Some(n.to_string())]);
        }
        reply::command_complete(&mut self.out, tag);
    }

    /// What a query or INSERT is on. Definitions look their names up when they run.
    fn resolve(&self, text: &str) -> Result<Option<Resolved>, &'static str> {
        let names = ["SELECT", "INSERT", "COPY"].iter().any(|word| text.starts_with(word));
        let failed = self.status == TransactionStatus::Failed;
        if names && !failed { self.names.resolve(text) } else { Ok(None) }
    }

    fn run(&mut self, text: &str, on: Option<Resolved>, readable: &[String]) -> Done {
        if self.replayed.is_some()
            && let Some(sqlstate) = self.refuses.take()
        {
            return Done::Error(sqlstate);
        }
        if text == "refused by daypass" {
            return Done::Error("42601");
        }
        if self.status == TransactionStatus::Failed && !ends(text) {
            return Done::Error("25P02");
        }
        let on = on.map(|on| (on.schema, on.name));
        let (text_run, readable) = (text.to_owned(), readable.to_vec());
        let as_owner = self.names.is_owner();
        self.ran.push(Ran { text: text_run, readable, on, as_owner });
        if let Some(done) = self.transaction(text) {
            return done;
        }
        self.names.begin();
        if text.contains("pg_sleep") {
            return Done::Running;
        }
        if text.contains("1/0") {
            return Done::Error("22012");
        }
        if text.starts_with("COPY") {
            return Done::CopyIn;
        }
        if text.starts_with("SET") {
            self.setting = text.rsplit(' ').next().map(str::to_owned);
            return Done::Tag("SET", 0);
        }
        if ["CREATE", "DROP", "DISCARD"].iter().any(|word| text.starts_with(word)) {
            return match self.names.define(text) {
                Ok(schema) => {
                    self.ran.last_mut().unwrap().on = Some((schema, String::new()));
                    Done::Tag("CREATE TABLE", 0)
                }
                Err(sqlstate) => Done::Error(sqlstate),
            };
        }
        self.note_done();
        if text.starts_with("INSERT") {
            return Done::Tag("INSERT 0 1", 0);
        }
        Done::Tag("SELECT 2", ROWS)
    }

    /// Runs a portal, or goes on with one that was suspended.
    fn execute(&mut self, name: &str, rows_max: usize, readable: &[String]) {
        let Some(portal) = self.portals.get(name).cloned() else {
            return self.fail("34000");
        };
        let left = match portal.left {
            None => match self.run(&portal.text, portal.on.clone(), readable) {
                Done::Tag(_, rows) if rows > 0 => rows,
                Done::Tag(tag, _) => return self.rows(tag, 0),
                Done::Running => {
                    self.running = Some(false);
                    return;
                }
                Done::CopyIn => {
                    self.copying = Some(false);
                    write_frame(&mut self.out, b'G', |out| out.extend_from_slice(&[0, 0, 0]));
                    return;
                }
                Done::Error(sqlstate) => return self.fail(sqlstate),
            },
            Some(_) if self.status == TransactionStatus::Failed => return self.fail("25P02"),
            Some(left) => {
                let on = portal.on.clone().map(|on| (on.schema, on.name));
                let (text, readable) = (portal.text.clone(), readable.to_vec());
                let as_owner = self.names.is_owner();
                self.ran.push(Ran { text, readable, on, as_owner });
                self.note_done();
                left
            }
        };
        let rows = if rows_max == 0 { left } else { left.min(rows_max) };
        for n in 0..rows {
            reply::data_row(&mut self.out, &[Some(n.to_string())]);
        }
        // A portal that is read to its last row is suspended, too: it does not know that there are no more.
        if rows_max > 0 && rows == rows_max {
            write_frame(&mut self.out, b's', |_| ());
        } else {
            reply::command_complete(&mut self.out, &format!("SELECT {rows}"));
        }
        self.portals.insert(name.to_owned(), Portal { left: Some(left - rows), ..portal });
    }

    fn note_done(&mut self) {
        let on = self.ran.last().and_then(|ran| ran.on.as_ref());
        self.done.push(on.map(|(schema, name)| format!("{schema}.{name}")));
    }

    fn transaction(&mut self, text: &str) -> Option<Done> {
        use TransactionStatus::{Active, Failed, Idle};
        let tag = match text {
            "BEGIN" | "BEGIN READ ONLY" => {
                self.names.begin();
                self.status = Active;
                "BEGIN"
            }
            "COMMIT" | "ROLLBACK" => {
                let failed = std::mem::replace(&mut self.status, Idle) == Failed;
                if text == "COMMIT" && !failed {
                    self.names.commit();
                    "COMMIT"
                } else {
                    self.names.rollback();
                    "ROLLBACK"
                }
            }
            "SAVEPOINT s" | "ROLLBACK TO s" if self.status == Idle => {
                return Some(Done::Error("25P01"));
            }
            "SAVEPOINT s" => {
                self.names.savepoint();
                "SAVEPOINT"
            }
            "ROLLBACK TO s" => {
                if !self.names.rollback_to() {
                    return Some(Done::Error("3B001"));
                }
                self.status = Active;
                "ROLLBACK"
            }
            _ => return None,
        };
        Some(Done::Tag(tag, 0))
    }

    fn extended(&mut self, message: &Frontend<'_>, readable: &[String]) {
        match message {
            Frontend::Parse { name, text, .. } => {
                let text = std::str::from_utf8(text).unwrap();
                if !name.is_empty() && self.prepared.contains_key(*name) {
                    self.fail("42P05");
                } else if self.status == TransactionStatus::Failed && !ends(text) {
                    self.fail("25P02");
                } else {
                    match self.resolve(text) {
                        Ok(on) => {
                            self.prepared.insert((*name).to_owned(), (text.to_owned(), on));
                            reply::parse_complete(&mut self.out);
                        }
                        Err(sqlstate) => self.fail(sqlstate),
                    }
                }
            }
            Frontend::Bind(bind) => match self.prepared.get(bind.statement).cloned() {
                Some((text, on)) => match self.names.revalidate(&text, on) {
                    Ok(on) => {
                        let known = (text.clone(), on.clone());
                        self.prepared.insert(bind.statement.to_owned(), known);
                        self.portals
                            .insert(bind.portal.to_owned(), Portal { text, on, left: None });
                        reply::bind_complete(&mut self.out);
                    }
                    Err(sqlstate) => self.fail(sqlstate),
                },
                None => self.fail("26000"),
            },
            Frontend::Describe(Target::Statement(name)) if self.prepared.contains_key(*name) => {
                reply::parameter_description(&mut self.out, 0);
                reply::no_data(&mut self.out);
            }
            Frontend::Describe(Target::Portal(name)) if self.portals.contains_key(*name) => {
                reply::no_data(&mut self.out);
            }
            Frontend::Describe(_) => self.fail("26000"),
            Frontend::Execute { portal, rows_max } => {
                self.execute(portal, usize::try_from(*rows_max).unwrap_or(0), readable);
            }
            Frontend::Close(target) => {
                match target {
                    Target::Statement(name) => drop(self.prepared.remove(*name)),
                    Target::Portal(name) => drop(self.portals.remove(*name)),
                }
                reply::close_complete(&mut self.out);
            }
            other => panic!("{other:?} in a segment"),
        }
    }
}

/// Whether a failed transaction takes it.
fn ends(text: &str) -> bool {
    text.starts_with("ROLLBACK") || text.starts_with("COMMIT")
}
