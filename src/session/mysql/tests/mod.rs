//! The conversation against a scripted server, on a virtual clock.

mod scenarios;
mod server;
mod sessions;
mod simulator;
mod world;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::BytesMut;

use crate::audit::record::{AuditRecord, Client, Kind, Verdict};
use crate::audit::redact;
use crate::grant::fixture::{at, grant};
use crate::grant::privilege::parse_list;
use crate::grant::snapshot::HeldGrants;
use crate::grant::{Grant, Revocation};
use crate::session::call::CallReply;
use crate::session::output::{Command as Wish, Output, Piece};
use crate::session::routing::Routing;
use crate::session::scope::{Meanings, MysqlNames};
use crate::session::site::Site;
use crate::session::trail::{Facts, SecondLock, Trail};
use crate::sql::Engine;
use crate::sql::mysql::catalog::{Catalog, Column, Database, Routine, Table};
use crate::sql::mysql::{CharacterSet, Flavour, ParseSettings, ServerVersion, SqlMode};
use crate::time::Timestamp;
use crate::wire::mysql::capability::{Capabilities, Status};
use crate::wire::mysql::command;
use crate::wire::mysql::reply::{Event, Expect, Reply, Step};
use crate::wire::mysql::report;
use crate::wire::mysql::response::Failure;

use super::{Conversation, Env, Start};
use crate::session::machine::{KillOutcome, Renewal, SessionLimits};
use server::{Answer, FakeServer};

const WITH_EOF: Capabilities = Capabilities::PROTOCOL_41;

/// Tables `t1`, `t2` and `secret` in `shop`, `t1` in `crm`, and a procedure.
fn catalog(version: u64) -> Arc<Catalog> {
    let mut catalog = Catalog { version, ..Catalog::default() };
    for (database, table, columns) in
        [("shop", "t1", "a b"), ("shop", "t2", "c"), ("shop", "secret", "d"), ("crm", "t1", "z")]
    {
        let column = |name: &str| Column { name: name.into(), invisible: false };
        let columns = columns.split(' ').map(column).collect();
        let schema: &mut Arc<Database> = catalog.databases.entry(database.into()).or_default();
        let table = (table.into(), Table { columns, ..Table::default() });
        Arc::make_mut(schema).tables.extend([table]);
    }
    let shop = Arc::make_mut(catalog.databases.get_mut("shop").unwrap());
    shop.procedures.insert("p".into(), Routine::default());
    Arc::new(catalog)
}

/// A grant of alice in MySQL's words, between seconds 0 and `until`.
fn granted(id: &str, text: &str, until: u64) -> Grant {
    let privileges = parse_list(text, Engine::Mysql, "shop").unwrap();
    Grant { privileges, ..grant(id, "SELECT ON a.b", 0, until) }
}

/// A session, its server, and the world between them.
struct House {
    now: Timestamp,
    machine: Conversation,
    meanings: Meanings<MysqlNames>,
    limits: SessionLimits,
    out: Output,
    server: FakeServer,
    server_open: bool,
    client_in: BytesMut,
    client_out: Vec<u8>,
    server_in: BytesMut,
    grants: Vec<Arc<Grant>>,
    audit: Vec<AuditRecord>,
    pending: Vec<Wish>,
    audit_accepts: bool,
    version: u64,
    closed: bool,
    /// Number of the answer to a client that logs in anew.
    departs: Option<u8>,
    /// Cancels stay in `pending`.
    cancels_wait: bool,
}

impl House {
    fn new(grants: &[Grant]) -> Self {
        Self::speaking(grants, WITH_EOF | Capabilities::DEPRECATE_EOF)
    }

    fn speaking(grants: &[Grant], capabilities: Capabilities) -> Self {
        let grants: Vec<_> = grants.iter().cloned().map(Arc::new).collect();
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
        let parameters = redact::ParameterSettings::Full { bytes_max: 64 };
        let start = Start {
            trail: Trail::new(facts, redact::TextSettings::default(), parameters),
            held: HeldGrants::new(grants.iter().cloned()),
            catalog: Some(catalog(1)),
            capabilities,
            sequence: 2,
            settings: ParseSettings {
                server: ServerVersion { flavour: Flavour::MariaDb, number: 101_119 },
                sql_mode: SqlMode::default(),
                character_set: CharacterSet::Utf8mb4,
                default_database: Some("shop".into()),
                lower_case_table_names: false,
            },
            connection: 7,
            routing: Routing::default(),
        };
        let mut house = Self {
            now: at(100),
            machine: Conversation::new(start),
            meanings: Meanings::default(),
            limits: SessionLimits::default(),
            out: Output::default(),
            server: FakeServer::new(capabilities),
            server_open: false,
            client_in: BytesMut::new(),
            client_out: Vec::new(),
            server_in: BytesMut::new(),
            grants,
            audit: Vec::new(),
            pending: Vec::new(),
            audit_accepts: true,
            version: 1,
            closed: false,
            departs: None,
            cancels_wait: false,
        };
        house.with_machine(|machine, env, out| machine.start(env, out));
        house.apply();
        house.settle();
        let greeting = std::mem::take(&mut house.client_out);
        assert_eq!(greeting[3..5], [2, 0], "the OK of the login");
        house
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

    fn apply(&mut self) {
        self.audit.append(&mut self.out.audit);
        if self.server_open {
            self.server.receive(self.out.to_server(Site::Primary));
        } else {
            assert!(
                self.out.to_server(Site::Primary).is_empty(),
                "bytes for a server that is not there"
            );
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
                Wish::Close => self.closed = true,
                other => self.pending.push(other),
            }
        }
        self.out.clear();
    }

    fn take_client_bytes(&mut self) {
        let mut input = std::mem::take(&mut self.client_in);
        self.with_machine(|machine, env, out| machine.on_client(&mut input, env, out)).unwrap();
        self.client_in = input;
        self.apply();
    }

    /// Delivers the server's bytes one by one or together: it must not matter.
    fn server_delivers(&mut self, piece: usize) {
        let bytes = std::mem::take(&mut self.server.out);
        for chunk in bytes.chunks(piece) {
            self.server_in.extend_from_slice(chunk);
            let input = self.server_in.split();
            let taken = self
                .with_machine(|machine, env, out| {
                    machine.on_server(Site::Primary, &input, env, out)
                })
                .unwrap();
            self.server_in = input;
            self.apply();
            drop(self.server_in.split_to(taken));
        }
        self.take_client_bytes();
    }

    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::OpenPrimary => {
                self.server_open = true;
                let (mut okay, capabilities) = (Vec::new(), self.server.capabilities);
                report::okay(&mut okay, &mut 0, 0, self.server.status, "", capabilities);
                let opened = |machine: &mut Conversation, _: &mut Env<'_>, out: &mut Output| {
                    machine.on_upstream_open("server:1".into(), &okay[4..], out)
                };
                self.with_machine(opened).unwrap();
            }
            Wish::RefreshCatalog => {
                self.version += 1;
                self.machine.on_catalog(Some(catalog(self.version)));
            }
            Wish::CancelUpstream(_) => {
                self.server.cancel();
                self.machine.on_cancel_done();
            }
            Wish::Call(call) => {
                let columns = crate::session::call::Procedure::find(&call.name).unwrap().columns;
                let rows = vec![vec![Some(call.name.to_string()); columns.len()]];
                let answer = Ok(CallReply { columns, rows });
                self.with_machine(|machine, env, out| machine.on_call_result(answer, env, out));
            }
            Wish::Kill { connection, .. } => {
                let outcome =
                    if connection == 8 { KillOutcome::Done } else { KillOutcome::Unknown };
                self.with_machine(|machine, env, out| machine.on_kill_result(outcome, env, out));
            }
            Wish::TerminateUpstream(_) => {
                self.machine.on_server_gone(Site::Primary, self.now, &mut self.out);
            }
            Wish::Depart(wish) => self.departs = Some(wish.sequence),
            Wish::OpenReplica(_) | Wish::CloseReplica | Wish::CountRerun | Wish::Close => (),
        }
        self.apply();
        self.take_client_bytes();
    }

    /// Rights of the account have changed at the server.
    fn renews(&mut self, renewal: Renewal) {
        self.machine.on_rights(renewal, &mut self.out);
        self.apply();
    }

    /// Everything that can happen by itself happens.
    fn settle(&mut self) {
        loop {
            let waits =
                |wish: &Wish| self.cancels_wait && *wish == Wish::CancelUpstream(Site::Primary);
            if let Some(at) = self.pending.iter().position(|wish| !waits(wish)) {
                let wish = self.pending.remove(at);
                self.fulfil(wish);
            } else if !self.server.out.is_empty() {
                self.server_delivers(usize::MAX);
            } else {
                return;
            }
        }
    }

    fn sends(&mut self, code: u8, body: &[u8]) {
        let mut bytes = Vec::new();
        command::write(&mut bytes, code, body);
        self.client_in.extend_from_slice(&bytes);
        self.take_client_bytes();
        self.settle();
    }

    fn query(&mut self, text: &str) {
        self.sends(0x03, text.as_bytes());
    }

    /// What the client got, one line a result.
    fn told(&mut self, expect: Expect) -> Vec<String> {
        let bytes = std::mem::take(&mut self.client_out);
        let mut reply = Reply::new(expect, self.server.capabilities, 1);
        let (mut at, mut told) = (0, Vec::new());
        while !reply.is_over() {
            match reply.advance(&bytes[at..]).expect("a reply as the protocol has it") {
                Step::Read => break,
                Step::Pass(taken) => at += taken,
                Step::Packet { bytes: taken, event } => {
                    at += taken;
                    told.extend(line(&event));
                }
            }
        }
        assert_eq!(at, bytes.len(), "nothing follows a reply: {told:?}");
        told
    }

    /// Sends a query and says what came of it.
    fn ask(&mut self, text: &str) -> String {
        self.query(text);
        self.told(Expect::Results).join(", ")
    }

    fn command(&mut self, code: u8, body: &[u8], expect: Expect) -> String {
        self.sends(code, body);
        self.told(expect).join(", ")
    }

    /// Other grants hold from now on.
    fn holds(&mut self, grants: &[Grant]) {
        self.grants = grants.iter().cloned().map(Arc::new).collect();
        let held = HeldGrants::new(self.grants.iter().cloned());
        self.machine.on_grants(held, self.now, &mut self.out);
        self.apply();
        self.settle();
    }

    fn revokes(&mut self) {
        let revoke = |grant: &Arc<Grant>| {
            let revoked = Some(Revocation { at: self.now, by: "local:root".into(), reason: None });
            Grant { revoked, ..Grant::clone(grant) }
        };
        let grants: Vec<_> = self.grants.iter().map(revoke).collect();
        self.holds(&grants);
    }

    /// Decisions and results, one line each, without those of the session itself.
    fn records(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.audit);
        let lines = all.iter().filter_map(|record| match record.kind {
            Kind::Decision => {
                let allowed = record.decision == Some(Verdict::Allow);
                let word = if allowed { "allow" } else { "deny" };
                let state = record.sqlstate.as_deref().unwrap_or_default();
                let command = record.command.unwrap_or("?");
                Some(format!("{word} {command} {state}").trim_end().to_owned())
            }
            Kind::Result => {
                let state = record.sqlstate.as_deref().unwrap_or_default();
                let rows = record.rows.unwrap_or_default();
                Some(format!("{:?} {rows} {state}", record.outcome.unwrap()).trim_end().to_owned())
            }
            _ => None,
        });
        lines.collect()
    }

    /// Every statement that was allowed has one result, and every text at the server its decision.
    fn assert_trail(&self) {
        let numbers = |wanted: &dyn Fn(&AuditRecord) -> bool| -> HashSet<u64> {
            self.audit.iter().filter(|it| wanted(it)).filter_map(|it| it.statement).collect()
        };
        let allowed = numbers(&|it: &AuditRecord| {
            it.kind == Kind::Decision && it.decision == Some(Verdict::Allow)
        });
        let results = numbers(&|it: &AuditRecord| it.kind == Kind::Result);
        assert_eq!(allowed, results);
    }
}

fn line(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Okay(okay) => format!("ok {}", okay.affected),
        Event::Failure(Failure { code, sqlstate, message }) => {
            format!("{code} {sqlstate} {}", String::from_utf8_lossy(message))
        }
        Event::RowsEnd { rows, cursor: false, .. } => format!("{rows} rows"),
        Event::RowsEnd { .. } | Event::ColumnsEnd { cursor: true, .. } => "cursor".into(),
        Event::Prepared { statement, parameters, .. } => {
            format!("prepared {statement} {parameters}")
        }
        Event::LocalInfile(name) => format!("file {}", String::from_utf8_lossy(name)),
        Event::Sentence(_) => "sentence".into(),
        _ => return None,
    })
}

/// Whether a server was ever told something.
fn status_in_transaction() -> Status {
    Status::AUTOCOMMIT.with(Status::IN_TRANSACTION)
}
