//! A server that answers by the protocol's rules, and decides a second time, by itself, whatever it is
//! sent: nothing but what the grants of that moment allow may reach it.

use std::collections::{HashMap, VecDeque};

use daypass::grant::decide::{Decision, decide};
use daypass::grant::snapshot::HeldGrants;
use daypass::sql::access::Access;
use daypass::sql::postgres::{ParseLimits, Scope, analyse};
use daypass::sql::statement::{Effect, Statement};
use daypass::time::Timestamp;
use daypass::upstream::{EFFECTIVE_PATH_QUERY, Extent, Reading};
use daypass::wire::postgres::frame::{HEADER_BYTES, frame, header};
use daypass::wire::postgres::message::{Frontend, Target, TransactionStatus};
use daypass::wire::postgres::reply::{self, Report};

use crate::{CATALOG, path};

/// The name that no portal has, whose Execute stands for a message that was denied.
pub const POISON: &str = "daypass_refused_1";

/// The text that is no SQL, which stands for a query that was denied inside a transaction.
const POISON_QUERY: &str = "refused by daypass";

/// The server.
pub struct Server {
    /// The beginning of a piece of COPY data.
    partial: Vec<u8>,
    waiting: VecDeque<(u8, Vec<u8>)>,
    /// What it has said and nobody has read.
    pub out: Vec<u8>,
    /// Statements that ran, or were refused by the server itself: each was decided.
    pub ran: usize,
    status: TransactionStatus,
    skipping: bool,
    copying: Option<bool>,
    /// Texts by Parse, and accesses of what SQL's PREPARE made.
    prepared: HashMap<String, Known>,
    portals: HashMap<String, Known>,
    /// One a statement: whether it fails.
    choices: Vec<u8>,
}

#[derive(Clone)]
enum Known {
    /// With the types that Parse declared.
    Text(String, Vec<u32>),
    Accesses(Vec<Access>),
}

impl Known {
    fn parse(text: &[u8], types: &[u8]) -> Self {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        let types = types.chunks_exact(4).map(number).collect();
        Self::Text(String::from_utf8_lossy(text).into_owned(), types)
    }
}

/// Whether it is the proxy's own question after a session's own names.
fn asks_for_names(text: &str) -> bool {
    [Extent::Temporary, Extent::Everything].into_iter().any(|extent| {
        let reading = Reading::new(extent, &CATALOG);
        [true, false].into_iter().any(|inside| text == reading.query(inside))
    })
}

impl Server {
    /// A server whose statements fail where a choice is odd, each in its turn.
    pub fn new(choices: &[u8]) -> Self {
        Self {
            partial: Vec::new(),
            waiting: VecDeque::new(),
            out: Vec::new(),
            ran: 0,
            status: TransactionStatus::Idle,
            skipping: false,
            copying: None,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            choices: choices.to_vec(),
        }
    }

    /// Takes bytes, sent while these grants are held: whole messages, but for COPY data.
    pub fn receive(&mut self, bytes: &[u8], held: &HeldGrants, now: Timestamp) {
        let received = [&std::mem::take(&mut self.partial), bytes].concat();
        let mut bytes = &received[..];
        while let Some(header) = header(bytes).expect("a frame") {
            let Some(body) = bytes.get(HEADER_BYTES..header.total) else { break };
            self.decided(header.tag, body, held, now);
            self.waiting.push_back((header.tag, body.to_vec()));
            bytes = &bytes[header.total..];
        }
        assert!(matches!(bytes, [] | [b'd', ..]), "half a message reaches the server");
        self.partial = bytes.to_vec();
    }

    /// What is known of names at this moment counts what is still waiting: the last of a name.
    fn find(&self, statement: bool, name: &str) -> Option<Known> {
        for (tag, body) in self.waiting.iter().rev() {
            match Frontend::read(*tag, body) {
                Ok(Frontend::Parse { name: known, text, types }) if statement && known == name => {
                    return Some(Known::parse(text, types));
                }
                Ok(Frontend::Bind(bind)) if !statement && bind.portal == name => {
                    return self.find(true, bind.statement);
                }
                _ => (),
            }
        }
        let known = if statement { &self.prepared } else { &self.portals };
        known.get(name).cloned()
    }

    fn decided(&self, tag: u8, body: &[u8], held: &HeldGrants, now: Timestamp) {
        match Frontend::read(tag, body).expect("what the proxy sends can be read") {
            Frontend::Query(text) => {
                let text = std::str::from_utf8(text).expect("UTF-8");
                if text != EFFECTIVE_PATH_QUERY && text != POISON_QUERY && !asks_for_names(text) {
                    self.allowed(text, &[], held, now);
                }
            }
            Frontend::Parse { text, types, .. } => match Known::parse(text, types) {
                Known::Text(text, types) => self.allowed(&text, &types, held, now),
                Known::Accesses(_) => (),
            },
            Frontend::Execute { portal, .. } if portal != POISON => {
                match self.find(false, portal) {
                    Some(Known::Text(text, types)) => self.allowed(&text, &types, held, now),
                    Some(Known::Accesses(accesses)) => permitted(&accesses, held, now, portal),
                    // It may have been made by a statement that is still on its way, and failed.
                    None => (),
                }
            }
            Frontend::FunctionCall => panic!("a function call reaches the server"),
            _ => (),
        }
    }

    fn allowed(&self, text: &str, parameters: &[u32], held: &HeldGrants, now: Timestamp) {
        let path = path();
        let scope = Scope { catalog: &CATALOG, path: &path, parameters };
        let analysis = analyse(text, &scope, &ParseLimits::default());
        let analysis = analysis.unwrap_or_else(|why| panic!("{why:?} reaches the server: {text}"));
        for (n, statement) in analysis.statements.iter().enumerate() {
            permitted(&statement.accesses, held, now, text);
            assert!(!matches!(statement.effect, Effect::Call(_)), "a call reaches the server");
            let earlier = &analysis.statements[..n];
            if let Some(more) = self.stands_for(statement, earlier) {
                permitted(&more, held, now, text);
            }
        }
    }

    /// What a statement needs that runs another by its name.
    fn stands_for(&self, statement: &Statement, earlier: &[Statement]) -> Option<Vec<Access>> {
        let (name, prepared) = match &statement.effect {
            Effect::Execute(name) => (name, true),
            Effect::Fetch(name) => (name, false),
            _ => return None,
        };
        let same = |earlier: &&Statement| match &earlier.effect {
            Effect::Prepare(known) => prepared && known == name,
            Effect::Declare { cursor, .. } => !prepared && cursor == name,
            _ => false,
        };
        if let Some(known) = earlier.iter().rev().find(same) {
            return Some(known.accesses.to_vec());
        }
        match self.find(prepared, name)? {
            Known::Accesses(accesses) => Some(accesses),
            Known::Text(text, types) => {
                let path = path();
                let scope = Scope { catalog: &CATALOG, path: &path, parameters: &types };
                let analysis = analyse(&text, &scope, &ParseLimits::default()).ok()?;
                Some(analysis.statements.first()?.accesses.to_vec())
            }
        }
    }

    /// Answers everything that waits.
    pub fn work(&mut self) {
        while let Some((tag, body)) = self.waiting.pop_front() {
            let Ok(message) = Frontend::read(tag, &body) else { continue };
            if let Some(simple) = self.copying {
                self.on_copy(&message, simple);
                continue;
            }
            match message {
                Frontend::Query(text) => self.query(&String::from_utf8_lossy(text)),
                Frontend::Sync => self.ready(),
                Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail => (),
                Frontend::Flush | Frontend::Terminate => (),
                _ if self.skipping => (),
                extended => self.extended(&extended),
            }
        }
    }

    fn on_copy(&mut self, message: &Frontend<'_>, simple: bool) {
        match message {
            Frontend::CopyDone => reply::command_complete(&mut self.out, "COPY 1"),
            Frontend::CopyFail => self.fail("57014"),
            _ => return,
        }
        self.copying = None;
        if simple {
            self.ready();
        }
    }

    fn ready(&mut self) {
        self.skipping = false;
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

    fn query(&mut self, text: &str) {
        if text == EFFECTIVE_PATH_QUERY {
            for schema in path() {
                reply::data_row(&mut self.out, &[Some(schema.into())]);
            }
            reply::command_complete(&mut self.out, "SELECT 2");
        } else {
            let path = path();
            let scope = Scope { catalog: &CATALOG, path: &path, parameters: &[] };
            let analysis = analyse(text, &scope, &ParseLimits::default());
            for statement in analysis.map(|analysis| analysis.statements).unwrap_or_default() {
                if !self.run(&statement, true) {
                    break;
                }
                if self.copying.is_some() {
                    return;
                }
            }
            if text == POISON_QUERY {
                self.fail("42601");
            }
        }
        self.ready();
    }

    /// Runs one statement; false when it failed.
    fn run(&mut self, statement: &Statement, simple: bool) -> bool {
        use TransactionStatus::{Active, Failed, Idle};
        self.ran += 1;
        let ends =
            matches!(statement.effect, Effect::Commit | Effect::Rollback | Effect::RollbackTo(_));
        if self.status == Failed && !ends {
            self.fail("25P02");
            return false;
        }
        if !ends && self.choices.pop().is_some_and(|choice| choice & 1 == 1) {
            self.fail("22012");
            return false;
        }
        let known = || Known::Accesses(statement.accesses.to_vec());
        match &statement.effect {
            Effect::Begin(_) => self.status = Active,
            Effect::Commit | Effect::Rollback => self.status = Idle,
            Effect::RollbackTo(_) if self.status == Failed => self.status = Active,
            Effect::Prepare(name) => {
                self.prepared.insert(name.to_string(), known());
            }
            Effect::Declare { cursor, .. } => {
                self.portals.insert(cursor.to_string(), known());
            }
            Effect::Deallocate(Some(name)) => {
                self.prepared.remove(&**name);
            }
            Effect::CloseCursor(Some(name)) => {
                self.portals.remove(&**name);
            }
            Effect::Deallocate(None) => self.prepared.clear(),
            Effect::CloseCursor(None) => self.portals.clear(),
            Effect::DiscardAll => {
                self.prepared.clear();
                self.portals.clear();
            }
            Effect::CopyIn => {
                self.copying = Some(simple);
                frame(&mut self.out, b'G', |out| out.extend_from_slice(&[0, 0, 0]));
                return true;
            }
            Effect::CopyOut => {
                frame(&mut self.out, b'H', |out| out.extend_from_slice(&[0, 0, 0]));
                frame(&mut self.out, b'd', |out| out.extend_from_slice(b"1\n"));
                frame(&mut self.out, b'c', |_| ());
            }
            _ => reply::data_row(&mut self.out, &[Some("1".into())]),
        }
        reply::command_complete(&mut self.out, "SELECT 1");
        true
    }

    fn extended(&mut self, message: &Frontend<'_>) {
        match message {
            Frontend::Parse { name, text, types } => {
                if !name.is_empty() && self.prepared.contains_key(*name) {
                    return self.fail("42P05");
                }
                self.prepared.insert((*name).to_owned(), Known::parse(text, types));
                reply::parse_complete(&mut self.out);
            }
            Frontend::Bind(bind) => match self.prepared.get(bind.statement).cloned() {
                Some(known) => {
                    self.portals.insert(bind.portal.to_owned(), known);
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
            Frontend::Describe(_) => self.fail("34000"),
            Frontend::Execute { portal, .. } => match self.portals.get(*portal).cloned() {
                None => self.fail("34000"),
                Some(Known::Accesses(_)) => reply::command_complete(&mut self.out, "SELECT 0"),
                Some(Known::Text(text, types)) => self.execute(&text, &types),
            },
            Frontend::Close(target) => {
                match target {
                    Target::Statement(name) => self.prepared.remove(*name),
                    Target::Portal(name) => self.portals.remove(*name),
                };
                reply::close_complete(&mut self.out);
            }
            _ => (),
        }
    }

    fn execute(&mut self, text: &str, parameters: &[u32]) {
        let path = path();
        let scope = Scope { catalog: &CATALOG, path: &path, parameters };
        match analyse(text, &scope, &ParseLimits::default()) {
            Ok(analysis) => match analysis.statements.first() {
                Some(statement) => {
                    self.run(statement, false);
                }
                None => reply::empty_query(&mut self.out),
            },
            Err(_) => self.fail("42601"),
        }
    }
}

fn permitted(accesses: &[Access], held: &HeldGrants, now: Timestamp, text: &str) {
    if let Decision::Deny(denial) = decide(accesses.iter(), held, now) {
        panic!("{text:?} reaches the server without {:?}", denial.missing);
    }
}
