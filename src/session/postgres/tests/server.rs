//! A server that follows the protocol's rules and understands a handful of statements.

use std::collections::{HashMap, VecDeque};

use crate::wire::postgres::frame::{self, HEADER_BYTES, frame as write_frame};
use crate::wire::postgres::message::{Frontend, Target, TransactionStatus};
use crate::wire::postgres::reply::{self, Report};

/// What ran, and which relations could be read when it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) text: String,
    pub(super) readable: Vec<String>,
}

struct Received {
    tag: u8,
    body: Vec<u8>,
    readable: Vec<String>,
}

pub(super) struct FakeServer {
    /// Received and not yet worked on.
    waiting: VecDeque<Received>,
    pub(super) out: Vec<u8>,
    pub(super) status: TransactionStatus,
    skipping: bool,
    prepared: HashMap<String, String>,
    portals: HashMap<String, String>,
    pub(super) ran: Vec<Ran>,
    /// A statement that ends only when told to; whether it came in a simple query.
    running: Option<bool>,
    /// Taking COPY data; whether for a simple query.
    copying: Option<bool>,
    /// The beginning of COPY data, which may come in pieces.
    partial: Vec<u8>,
    /// Queries and Syncs that are to be answered with ReadyForQuery.
    unanswered: usize,
}

impl Default for FakeServer {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            out: Vec::new(),
            status: TransactionStatus::Idle,
            skipping: false,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            ran: Vec::new(),
            running: None,
            copying: None,
            partial: Vec::new(),
            unanswered: 0,
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
        let mut input = std::mem::take(&mut self.partial);
        input.extend_from_slice(bytes);
        let mut bytes = &input[..];
        while let Some(header) = frame::header(bytes).unwrap() {
            if header.tag == b'd' && bytes.len() < header.total {
                self.partial = bytes.to_vec();
                bytes = &[];
                break;
            }
            let body = bytes[HEADER_BYTES..header.total].to_vec();
            bytes = &bytes[header.total..];
            if header.tag == b'Q' || header.tag == b'S' && self.copying.is_none() {
                assert_eq!(self.unanswered, 0, "a second segment is at the server");
                self.unanswered += 1;
            }
            let readable = readable.to_vec();
            self.waiting.push_back(Received { tag: header.tag, body, readable });
        }
        assert!(bytes.is_empty(), "half a message for the server");
        self.work();
    }

    /// Ends what is running, as a cancel does; none running, it is lost.
    pub(super) fn cancel(&mut self) {
        if let Some(simple) = self.running.take() {
            self.fail("57014");
            self.after(simple);
        }
    }

    /// Says something that nobody has asked for.
    pub(super) fn notify(&mut self) {
        write_frame(&mut self.out, b'A', |out| out.extend_from_slice(b"\0\0\0\x07news\0hello\0"));
    }

    /// What is running comes to its end.
    pub(super) fn finish(&mut self) {
        if let Some(simple) = self.running.take() {
            reply::command_complete(&mut self.out, "SELECT 1");
            self.after(simple);
        }
    }

    fn after(&mut self, simple: bool) {
        if simple {
            self.ready();
        }
        self.work();
    }

    fn work(&mut self) {
        while self.running.is_none() {
            let Some(Received { tag, body, readable }) = self.waiting.pop_front() else { return };
            let message = Frontend::read(tag, &body).unwrap();
            if let Some(simple) = self.copying {
                self.on_copy(&message, simple);
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

    fn on_copy(&mut self, message: &Frontend<'_>, simple: bool) {
        match message {
            Frontend::CopyData | Frontend::Flush => (),
            // Swallowed: it was counted when it came, but no ReadyForQuery answers it.
            Frontend::Sync => self.unanswered -= 1,
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
        }
        reply::ready(&mut self.out, self.status);
    }

    fn fail(&mut self, sqlstate: &'static str) {
        if self.status == TransactionStatus::Active {
            self.status = TransactionStatus::Failed;
        }
        self.skipping = true;
        Report::error(sqlstate, "no").write(&mut self.out);
    }

    fn query(&mut self, text: &[u8], readable: &[String]) {
        let text = std::str::from_utf8(text).unwrap().to_owned();
        self.skipping = false;
        if text.contains("current_schemas") {
            reply::row_description(&mut self.out, &["s"]);
            for schema in ["pg_catalog", "public"] {
                reply::data_row(&mut self.out, &[Some(schema.to_owned())]);
            }
            reply::command_complete(&mut self.out, "SELECT 2");
            self.ready();
            return;
        }
        for statement in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            match self.run(statement, readable) {
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

    fn rows(&mut self, tag: &str, rows: usize) {
        for n in 0..rows {
            reply::data_row(&mut self.out, &[Some(n.to_string())]);
        }
        reply::command_complete(&mut self.out, tag);
    }

    fn run(&mut self, text: &str, readable: &[String]) -> Done {
        use TransactionStatus::{Active, Failed, Idle};
        if text == "refused by daypass" {
            return Done::Error("42601");
        }
        let ends = text.starts_with("ROLLBACK") || text.starts_with("COMMIT");
        if self.status == Failed && !ends {
            return Done::Error("25P02");
        }
        self.ran.push(Ran { text: text.to_owned(), readable: readable.to_vec() });
        if text.starts_with("BEGIN") {
            self.status = Active;
            return Done::Tag("BEGIN", 0);
        }
        if ends {
            let failed = std::mem::replace(&mut self.status, Idle) == Failed;
            let commit = text.starts_with("COMMIT") && !failed;
            return Done::Tag(if commit { "COMMIT" } else { "ROLLBACK" }, 0);
        }
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
            return Done::Tag("SET", 0);
        }
        if text.starts_with("INSERT") {
            return Done::Tag("INSERT 0 1", 0);
        }
        Done::Tag("SELECT 2", 2)
    }

    fn extended(&mut self, message: &Frontend<'_>, readable: &[String]) {
        match message {
            Frontend::Parse { name, text, .. } => {
                let text = std::str::from_utf8(text).unwrap();
                let ends = text.starts_with("ROLLBACK") || text.starts_with("COMMIT");
                if !name.is_empty() && self.prepared.contains_key(*name) {
                    self.fail("42P05");
                } else if self.status == TransactionStatus::Failed && !ends {
                    self.fail("25P02");
                } else {
                    self.prepared.insert((*name).to_owned(), text.to_owned());
                    reply::parse_complete(&mut self.out);
                }
            }
            Frontend::Bind(bind) => match self.prepared.get(bind.statement).cloned() {
                Some(text) => {
                    self.portals.insert(bind.portal.to_owned(), text);
                    reply::bind_complete(&mut self.out);
                }
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
            Frontend::Execute { portal, .. } => match self.portals.get(*portal).cloned() {
                None => self.fail("34000"),
                Some(text) => match self.run(&text, readable) {
                    Done::Tag(tag, rows) => self.rows(tag, rows),
                    Done::Running => self.running = Some(false),
                    Done::CopyIn => {
                        self.copying = Some(false);
                        write_frame(&mut self.out, b'G', |out| out.extend_from_slice(&[0, 0, 0]));
                    }
                    Done::Error(sqlstate) => self.fail(sqlstate),
                },
            },
            Frontend::Close(target) => {
                match target {
                    Target::Statement(name) => self.prepared.remove(*name),
                    Target::Portal(name) => self.portals.remove(*name),
                };
                reply::close_complete(&mut self.out);
            }
            other => panic!("{other:?} in a segment"),
        }
    }
}
