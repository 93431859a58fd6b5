//! A session of MySQL with the world around it: its server, its client, grants, the audit stream. Simulator and fuzz
//! target drive it by choices; what must always hold is checked after each event.

pub mod catalog;
pub mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use daypass::audit::record::{AuditRecord, Client, Kind, Verdict};
use daypass::audit::redact;
use daypass::grant::snapshot::HeldGrants;
use daypass::grant::{Grant, Revocation};
use daypass::session::call::{CallReply, Procedure};
use daypass::session::machine::{KillOutcome, SessionLimits};
use daypass::session::mysql::{Conversation, Env, Start};
use daypass::session::output::{Command, Output, Piece};
use daypass::session::routing::Routing;
use daypass::session::scope::{Meanings, MysqlNames};
use daypass::session::site::Site;
use daypass::session::trail::{Facts, SecondLock, Trail};
use daypass::sql::Engine;
use daypass::sql::mysql::catalog::Catalog;
use daypass::sql::mysql::{CharacterSet, Flavour, ParseSettings, ServerVersion, SqlMode};
use daypass::time::Timestamp;
use daypass::wire::mysql::capability::{Capabilities, Status};
use daypass::wire::mysql::packet::{HEADER_BYTES, header};
use daypass::wire::mysql::report::{self, Report};

use server::{Moment, Ran, Server};

/// How a world begins.
pub struct Setup<'a> {
    /// What is held.
    pub grants: Vec<Arc<Grant>>,
    /// What client and server agree upon.
    pub capabilities: Capabilities,
    /// Whose server it is.
    pub flavour: Flavour,
    /// What the server does, each in its turn.
    pub choices: &'a [u8],
    /// Limits on what the client sends.
    pub limits: SessionLimits,
    /// The time.
    pub now: Timestamp,
}

/// A session, its server, and the world between them.
pub struct World {
    /// The time.
    pub now: Timestamp,
    machine: Conversation,
    meanings: Meanings<MysqlNames>,
    limits: SessionLimits,
    out: Output,
    /// The server.
    pub server: Server,
    /// Whether the connection to it is open.
    pub server_open: bool,
    /// What the client has sent and nobody has taken.
    pub client_in: BytesMut,
    /// What the client was told and has not read.
    pub client_out: Vec<u8>,
    server_in: BytesMut,
    /// All grants there ever were.
    pub grants: Vec<Arc<Grant>>,
    /// Its records.
    pub audit: Vec<AuditRecord>,
    /// What the machine has asked for.
    pub pending: Vec<Command>,
    /// Whether the audit stream takes records.
    pub audit_accepts: bool,
    version: u64,
    published: Arc<Catalog>,
    /// Whether the session is over.
    pub closed: bool,
    /// Whether a peer broke the protocol.
    pub violated: bool,
    /// Who speaks as the server is somebody else, so that nothing of its session can be checked.
    pub hostile: bool,
    /// Whether something has happened that may end the session: the server is gone, or does not do what was said
    /// before it was there.
    pub may_end: bool,
}

impl World {
    /// A session that has logged in, before anything else has happened.
    pub fn new(setup: Setup<'_>) -> Self {
        let facts = Facts {
            session: "s_1".into(),
            principal: "alice".into(),
            token: "t_1".into(),
            database: "shop".into(),
            engine: Engine::Mysql,
            client: Arc::new(Client { address: "127.0.0.1:1".into(), application: None }),
            second_lock: SecondLock::None,
            ddl_owner: None,
        };
        let number = if setup.flavour == Flavour::MariaDb { 101_119 } else { 90_704 };
        let settings = ParseSettings {
            server: ServerVersion { flavour: setup.flavour, number },
            sql_mode: SqlMode::default(),
            character_set: CharacterSet::Utf8mb4,
            default_database: Some("shop".into()),
            lower_case_table_names: false,
        };
        let published = Arc::new(catalog::of(&catalog::tables(), 1));
        let parameters = redact::ParameterSettings::Full { bytes_max: 64 };
        let start = Start {
            trail: Trail::new(facts, redact::TextSettings::default(), parameters),
            held: HeldGrants::new(setup.grants.iter().cloned()),
            catalog: Some(Arc::clone(&published)),
            capabilities: setup.capabilities,
            sequence: 2,
            settings: settings.clone(),
            connection: 7,
            routing: Routing::default(),
        };
        let mut world = Self {
            now: setup.now,
            machine: Conversation::new(start),
            meanings: Meanings::default(),
            limits: setup.limits,
            out: Output::default(),
            server: Server::new(setup.capabilities, settings, setup.choices),
            server_open: false,
            client_in: BytesMut::new(),
            client_out: Vec::new(),
            server_in: BytesMut::new(),
            grants: setup.grants,
            audit: Vec::new(),
            pending: Vec::new(),
            audit_accepts: true,
            version: 1,
            published,
            closed: false,
            violated: false,
            hostile: false,
            may_end: false,
        };
        world.with_machine(|machine, env, out| machine.start(env, out));
        world.apply();
        world
    }

    fn with_machine<T>(
        &mut self,
        event: impl FnOnce(&mut Conversation, &mut Env<'_>, &mut Output) -> T,
    ) -> T {
        let mut env = Env {
            now: self.now,
            meanings: &mut self.meanings,
            audit_accepts: self.audit_accepts,
            limits: &self.limits,
        };
        event(&mut self.machine, &mut env, &mut self.out)
    }

    fn held(&self) -> HeldGrants {
        HeldGrants::new(self.grants.iter().cloned())
    }

    /// Does what the machine asked for; what takes time waits.
    fn apply(&mut self) {
        let recorded = self.audit.len();
        self.audit.append(&mut self.out.audit);
        if self.hostile {
            assert!(self.server_open || self.out.to_server(Site::Primary).is_empty());
        } else if self.server_open {
            let held = self.held();
            let moment = Moment { held: &held, grants: &self.grants, now: self.now };
            let ran = self.server.receive(self.out.to_server(Site::Primary), &moment);
            self.check_decided(recorded, ran);
        } else {
            assert!(
                self.out.to_server(Site::Primary).is_empty(),
                "bytes for a server that is not there"
            );
            self.may_end |=
                self.audit[recorded..].iter().any(|it| it.decision == Some(Verdict::Allow));
        }
        for piece in &self.out.client {
            let bytes = match piece {
                Piece::Server(range) => &self.server_in[range.clone()],
                Piece::Own(range) => &self.out.own[range.clone()],
            };
            self.client_out.extend_from_slice(bytes);
        }
        for command in std::mem::take(&mut self.out.commands) {
            match command {
                Command::Close => self.closed = true,
                Command::Depart(_) => {
                    self.closed = true;
                    self.may_end = true;
                }
                other => self.pending.push(other),
            }
        }
        self.out.clear();
    }

    /// Every statement that has just reached the server has been decided, as that which it is there.
    fn check_decided(&self, recorded: usize, mut ran: Vec<Ran>) {
        let decided: Vec<_> = self.audit[recorded..]
            .iter()
            .filter(|it| it.kind == Kind::Decision && it.decision == Some(Verdict::Allow))
            .filter(|it| !is_answered_here(it))
            .collect();
        if ran.len() != decided.len() {
            ran.retain(|ran| !ran.own);
        }
        // Of a text in which a name is missing the server does not see how many statements it holds.
        let unread = ran.iter().any(|ran| ran.perhaps_less && ran.relations.is_empty());
        assert!(ran.is_empty() || !decided.is_empty(), "{ran:?} reaches the server undecided");
        assert!(unread || ran.len() == decided.len(), "{ran:?} for {decided:?}");
        for (ran, decided) in ran.iter().zip(decided) {
            let needs = decided.needs.iter().flat_map(|needs| &needs.relations);
            let needs: BTreeSet<_> = needs.map(|it| it.name.to_string()).collect();
            let right = if ran.perhaps_less {
                ran.relations.is_subset(&needs)
            } else {
                ran.relations == needs
            };
            assert!(
                right,
                "{} touches {:?}, and was decided for {needs:?}",
                ran.text, ran.relations
            );
        }
    }

    /// Whether nothing more can happen.
    pub fn over(&self) -> bool {
        self.closed || self.violated
    }

    /// The client sends.
    pub fn client_sends(&mut self, bytes: &[u8]) {
        self.client_in.extend_from_slice(bytes);
        self.take_client_bytes();
    }

    /// The machine takes what it can of what the client has sent.
    pub fn take_client_bytes(&mut self) {
        if self.over() {
            return;
        }
        let mut input = std::mem::take(&mut self.client_in);
        let taken = self.with_machine(|machine, env, out| machine.on_client(&mut input, env, out));
        self.client_in = input;
        self.violated = taken.is_err();
        self.apply();
    }

    /// Bytes come from the server, or from whoever speaks as it.
    pub fn server_says(&mut self, bytes: &[u8]) {
        if self.over() || !self.server_open {
            return;
        }
        self.server_in.extend_from_slice(bytes);
        let input = self.server_in.split();
        let taken = self
            .with_machine(|machine, env, out| machine.on_server(Site::Primary, &input, env, out));
        self.server_in = input;
        self.apply();
        match taken {
            Ok(taken) => drop(self.server_in.split_to(taken)),
            Err(_) => self.violated = true,
        }
        self.take_client_bytes();
    }

    /// So many bytes of what the server has said arrive; false when there are none.
    pub fn server_delivers(&mut self, count: usize) -> bool {
        let count = count.min(self.server.out.len());
        let said: Vec<_> = self.server.out.drain(..count).collect();
        self.server_says(&said);
        count > 0
    }

    /// Something that was asked for comes about; false when nothing was.
    pub fn fulfil(&mut self, index: usize) -> bool {
        if self.over() || self.pending.is_empty() {
            return false;
        }
        match self.pending.remove(index % self.pending.len()) {
            Command::OpenPrimary => self.open(),
            Command::RefreshCatalog => {
                let catalog = self.published();
                self.machine.on_catalog(Some(catalog));
            }
            Command::CancelUpstream(_) => {
                self.server.cancel();
                self.machine.on_cancel_done();
            }
            Command::TerminateUpstream(_) => self.server_goes(),
            Command::Call(call) => {
                let columns = Procedure::find(&call.name).map_or(&[][..], |it| it.columns);
                let row = columns.iter().map(|column| Some((*column).to_owned())).collect();
                let answer = Ok(CallReply { columns, rows: vec![row] });
                self.with_machine(|machine, env, out| machine.on_call_result(answer, env, out));
            }
            Command::Kill { connection, .. } => {
                let known = connection % 2 == 0;
                let outcome = if known { KillOutcome::Done } else { KillOutcome::Unknown };
                self.with_machine(|machine, env, out| machine.on_kill_result(outcome, env, out));
            }
            Command::OpenReplica(_)
            | Command::CloseReplica
            | Command::CountRerun
            | Command::Depart(_)
            | Command::Close => {}
        }
        self.apply();
        self.take_client_bytes();
        true
    }

    fn open(&mut self) {
        self.server_open = true;
        let (mut bytes, capabilities) = (Vec::new(), self.server.capabilities());
        report::okay(&mut bytes, &mut 0, 0, Status::AUTOCOMMIT, "", capabilities);
        let okay = &bytes[HEADER_BYTES..];
        let opened = self.machine.on_upstream_open("server:1".into(), okay, &mut self.out);
        opened.expect("an OK");
    }

    /// The server cannot be reached when it is asked for next.
    pub fn refuse_upstream(&mut self) -> bool {
        let Some(at) = self.pending.iter().position(|wish| *wish == Command::OpenPrimary) else {
            return false;
        };
        self.pending.remove(at);
        let report = Report::new(1105, "08S01", "the database server cannot be reached");
        self.machine.on_upstream_failed(Site::Primary, report, self.now, &mut self.out);
        self.apply();
        self.take_client_bytes();
        true
    }

    /// The catalog as it is now.
    fn published(&mut self) -> Arc<Catalog> {
        let fresh = catalog::of(&self.server.tables, self.version + 1);
        if !fresh.same_content(&self.published) {
            self.version += 1;
            self.published = Arc::new(fresh);
        }
        Arc::clone(&self.published)
    }

    /// The session hears of the catalog without having asked.
    pub fn publish_catalog(&mut self) {
        if !self.over() {
            let catalog = self.published();
            self.machine.set_catalog(catalog);
        }
    }

    /// The connection to the server is gone, after so many more bytes of what it has said.
    pub fn server_dies(&mut self, after: usize) {
        self.server_delivers(after);
        self.server_goes();
        self.apply();
    }

    fn server_goes(&mut self) {
        if !self.over() && self.server_open {
            self.server.out.clear();
            self.may_end = true;
            self.machine.on_server_gone(Site::Primary, self.now, &mut self.out);
        }
    }

    /// Time passes, and with it what has a deadline.
    pub fn pass_time(&mut self, duration: Duration) {
        let end = self.now + duration;
        while !self.over() {
            let Some(due) = self.machine.next_deadline().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.machine.on_timer(self.now, &mut self.out);
            self.apply();
        }
        self.now = end;
    }

    /// Another grant is held from now on.
    pub fn add(&mut self, grant: Arc<Grant>) {
        self.grants.push(grant);
        self.publish();
    }

    /// A grant is revoked.
    pub fn revoke(&mut self, index: usize) {
        let Some(grant) = self.grants.get_mut(index) else { return };
        let revocation = Revocation { at: self.now, by: "local:root".into(), reason: None };
        Arc::make_mut(grant).revoked.get_or_insert(revocation);
        self.publish();
    }

    fn publish(&mut self) {
        if !self.over() {
            let held = self.held();
            self.machine.on_grants(held, self.now, &mut self.out);
            self.apply();
            self.take_client_bytes();
        }
    }

    /// Another session of the principal asks for a cancel.
    pub fn cancel(&mut self) {
        if !self.over() {
            self.machine.on_cancel(&mut self.out);
            self.apply();
        }
    }

    /// The session is to end.
    pub fn drain(&mut self) {
        if !self.over() {
            self.machine.on_drain("the proxy stops", &mut self.out);
            self.apply();
        }
    }

    /// Everything that can happen by itself happens, the server's words in pieces of at most so many bytes.
    pub fn settle(&mut self, piece: usize) {
        for _ in 0..100_000 {
            self.take_client_bytes();
            let asked = self.fulfil(0);
            let said = self.server_delivers(piece.max(1));
            if !asked && !said {
                if self.over() || !self.server_open || !self.server.is_busy() {
                    return;
                }
                self.server.work();
            }
        }
        panic!("the session never comes to rest");
    }

    /// The session ends: its records.
    pub fn end(mut self) -> Vec<AuditRecord> {
        self.machine.end(self.now, "the client went", &mut self.out);
        self.audit.append(&mut self.out.audit);
        self.audit
    }

    /// Whether what the client was told and has not read is whole packets.
    pub fn told_whole_packets(&self) -> bool {
        let mut rest = &self.client_out[..];
        while let Some(header) = header(rest) {
            let Some(after) = rest.get(header.total()..) else { return false };
            rest = after;
        }
        rest.is_empty()
    }
}

/// Whether a record is of what no server sees: KILL, and calls on `daypass`, which need nothing.
fn is_answered_here(record: &AuditRecord) -> bool {
    let needs = record.needs.iter().any(|needs| !needs.accesses.is_empty());
    record.command == Some("KILL") || record.command == Some("CALL") && !needs
}
