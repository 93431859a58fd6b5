//! The conversation of a MySQL session against real servers: what the machine sends is taken, and what they
//! answer is understood.

use std::sync::Arc;
use std::time::Duration;

use crate::held::{NOW, granted};
use crate::support::{Mysql, Product, products_available};
use bytes::{Buf, BytesMut};
use daypass::audit::record::{AuditRecord, Client, Kind, Verdict};
use daypass::audit::redact;
use daypass::secret::Secret;
use daypass::session::machine::SessionLimits;
use daypass::session::mysql::{Conversation, Env, Start};
use daypass::session::output::{Command as Wish, Output, Piece};
use daypass::session::routing::Routing;
use daypass::session::scope::{Meanings, MysqlNames};
use daypass::session::site::Site;
use daypass::session::trail::{Facts, SecondLock, Trail};
use daypass::sql::Engine;
use daypass::sql::mysql::catalog::{Catalog, Column, Database, Table};
use daypass::sql::mysql::{CharacterSet, Flavour, ParseSettings, ServerVersion, SqlMode};
use daypass::time::Timestamp;
use daypass::upstream::mysql::{Connection, Host, Startup, Target, connect, query};
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::command;
use daypass::wire::mysql::reply::{Event, Expect, Reply, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SCHEMA: &str = "CREATE TABLE shop.t1 (a INT, b TEXT); CREATE TABLE shop.secret (d INT); \
    INSERT INTO shop.t1 VALUES (1, 'x'), (2, 'y'), (3, 'z'); INSERT INTO shop.secret VALUES (7)";

fn catalog() -> Arc<Catalog> {
    let table = |names: &[&str]| {
        let column = |name: &&str| Column { name: (*name).into(), invisible: false };
        Table { columns: names.iter().map(column).collect(), ..Table::default() }
    };
    let tables = [("t1", table(&["a", "b"])), ("secret", table(&["d"]))];
    let tables = tables.map(|(name, table)| (name.into(), table)).into();
    let shop = Database { tables, ..Database::default() };
    let databases = [("shop".into(), Arc::new(shop))].into();
    Arc::new(Catalog { version: 1, databases, ..Catalog::default() })
}

/// A session whose client is the test.
struct Session {
    runtime: tokio::runtime::Runtime,
    machine: Conversation,
    server: Connection,
    target: Target,
    meanings: Meanings<MysqlNames>,
    limits: SessionLimits,
    now: Timestamp,
    out: Output,
    input: BytesMut,
    client: Vec<u8>,
    audit: Vec<AuditRecord>,
    wishes: Vec<Wish>,
    closed: bool,
}

impl Session {
    fn open(server: &Mysql, grants: &str, capabilities: Capabilities) -> Self {
        let mariadb = server.product() == Product::MariaDb;
        let user = if mariadb { "native" } else { "sha2" };
        let target = Target::new(Host::Unix(server.socket()), user, Some("shop".into()));
        let target = target.with_password(Some(Secret::new(Mysql::PASSWORD)));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let wanted = Startup::default().capabilities | capabilities;
        let startup = Startup { capabilities: wanted, ..Startup::default() };
        let connection = runtime.block_on(connect(&target, &startup)).unwrap();
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
        let (flavour, number) =
            if mariadb { (Flavour::MariaDb, 101_100) } else { (Flavour::MySql, 90_700) };
        let machine = Conversation::new(Start {
            trail: Trail::new(facts, redact::TextSettings::default(), parameters),
            held: granted(grants),
            catalog: Some(catalog()),
            capabilities: connection.capabilities,
            sequence: 2,
            settings: ParseSettings {
                server: ServerVersion { flavour, number },
                sql_mode: SqlMode::default(),
                character_set: CharacterSet::Utf8mb4,
                default_database: Some("shop".into()),
                lower_case_table_names: false,
            },
            connection: 7,
            routing: Routing::default(),
        });
        let mut session = Self {
            runtime,
            machine,
            server: connection,
            target,
            meanings: Meanings::default(),
            limits: SessionLimits::default(),
            now: NOW,
            out: Output::default(),
            input: BytesMut::new(),
            client: Vec::new(),
            audit: Vec::new(),
            wishes: Vec::new(),
            closed: false,
        };
        session.event(|machine, env, out| machine.start(env, out));
        session.apply(&[]);
        session.settle();
        session.client.clear();
        session
    }

    fn event<T>(
        &mut self,
        event: impl FnOnce(&mut Conversation, &mut Env<'_>, &mut Output) -> T,
    ) -> T {
        let mut env = Env {
            now: self.now,
            meanings: &mut self.meanings,
            audit_accepts: true,
            limits: &self.limits,
        };
        event(&mut self.machine, &mut env, &mut self.out)
    }

    /// Does what an event has led to; `input` is what the server's ranges are of.
    fn apply(&mut self, input: &[u8]) {
        self.audit.append(&mut self.out.audit);
        for piece in &self.out.client {
            self.client.extend_from_slice(match piece {
                Piece::Server(range) => &input[range.clone()],
                Piece::Own(range) => &self.out.own[range.clone()],
            });
        }
        let stream = &mut self.server.stream;
        self.runtime.block_on(async {
            stream.write_all(self.out.to_server(Site::Primary)).await.unwrap();
            stream.flush().await.unwrap();
        });
        self.wishes.append(&mut self.out.commands);
        self.out.clear();
    }

    fn wish(&mut self, wish: &Wish) {
        match wish {
            Wish::OpenPrimary => {
                let okay = self.server.okay.clone();
                self.event(|machine, _, out| {
                    machine.on_upstream_open("server:1".into(), &okay, out).unwrap();
                });
            }
            Wish::RefreshCatalog => self.machine.on_catalog(Some(catalog())),
            Wish::CancelUpstream(_) => {
                let kill = format!("KILL QUERY {}", self.server.greeting.connection);
                self.runtime.block_on(async {
                    let mut side = connect(&self.target, &Startup::default()).await.unwrap();
                    query(&mut side, &kill).await.unwrap();
                });
                self.machine.on_cancel_done();
            }
            Wish::Close => self.closed = true,
            other => panic!("{other:?}"),
        }
        self.apply(&[]);
        self.take_client();
    }

    fn take_client(&mut self) {
        let mut input = std::mem::take(&mut self.input);
        self.event(|machine, env, out| machine.on_client(&mut input, env, out)).unwrap();
        self.input = input;
        self.apply(&[]);
    }

    /// Until nothing is under way, or the server waits for the client's file.
    fn settle(&mut self) {
        loop {
            if !self.wishes.is_empty() {
                let wish = self.wishes.remove(0);
                self.wish(&wish);
                continue;
            }
            if !self.machine.is_busy() && self.input.is_empty() || self.closed {
                return;
            }
            self.hear();
        }
    }

    /// Takes more of the server's bytes.
    fn hear(&mut self) {
        let server = &mut self.server;
        let read = self.runtime.block_on(server.stream.read_buf(&mut server.buffer)).unwrap();
        assert!(read > 0, "the server has gone");
        let bytes = self.server.buffer.split();
        let taken = self
            .event(|machine, env, out| machine.on_server(Site::Primary, &bytes, env, out))
            .unwrap();
        self.apply(&bytes);
        self.server.buffer = bytes;
        self.server.buffer.advance(taken);
        self.take_client();
    }

    fn put(&mut self, code: u8, body: &[u8]) {
        let mut bytes = Vec::new();
        if code == 0x03 {
            command::query(&mut bytes, body, self.server.capabilities);
        } else {
            command::write(&mut bytes, code, body);
        }
        self.input.extend_from_slice(&bytes);
    }

    fn command(&mut self, code: u8, body: &[u8], expect: Expect) -> String {
        self.put(code, body);
        self.take_client();
        self.settle();
        self.told(&[expect]).join(", ")
    }

    fn ask(&mut self, text: &str) -> String {
        self.command(0x03, text.as_bytes(), Expect::Results)
    }

    /// What the client got, one line a result, of as many replies as are expected.
    fn told(&mut self, expect: &[Expect]) -> Vec<String> {
        let bytes = std::mem::take(&mut self.client);
        let (mut at, mut told) = (0, Vec::new());
        for expect in expect {
            let mut reply = Reply::new(*expect, self.server.capabilities, 1);
            while !reply.is_over() {
                match reply.advance(&bytes[at..]).expect("a reply as the protocol has it") {
                    Step::Read => panic!("a reply without its end: {told:?}"),
                    Step::Pass(taken) => at += taken,
                    Step::Packet { bytes, event } => {
                        at += bytes;
                        told.extend(match event {
                            Event::Okay(okay) => Some(format!("ok {}", okay.affected)),
                            Event::Failure(it) => {
                                Some(format!("{} {} {}", it.code, it.sqlstate, it.sentence()))
                            }
                            Event::ColumnsEnd { cursor: true, .. } => Some("cursor".into()),
                            Event::RowsEnd { cursor: true, .. } => Some("cursor".into()),
                            Event::RowsEnd { rows, .. } => Some(format!("{rows} rows")),
                            Event::Prepared { statement, .. } => {
                                Some(format!("prepared {statement}"))
                            }
                            _ => None,
                        });
                    }
                }
            }
        }
        assert_eq!(at, bytes.len(), "nothing follows: {told:?}");
        told
    }

    /// Waits until the server runs a statement that begins like that.
    fn await_running(&self, start: &str) {
        let running = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '{start}%'"
        );
        self.runtime.block_on(async {
            let mut side = connect(&self.target, &Startup::default()).await.unwrap();
            while query(&mut side, &running).await.unwrap()[0][0].as_deref() == Some("0") {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Every statement that was allowed has one result.
    fn assert_trail(&self) {
        let of = |wanted: &dyn Fn(&AuditRecord) -> bool| -> Vec<_> {
            self.audit.iter().filter(|it| wanted(it)).map(|it| it.statement).collect()
        };
        let mut allowed = of(&|it: &AuditRecord| it.decision == Some(Verdict::Allow));
        let mut results = of(&|it: &AuditRecord| it.kind == Kind::Result);
        allowed.sort_unstable();
        results.sort_unstable();
        assert_eq!(allowed, results);
    }
}

fn both(test: impl Fn(&Mysql, Capabilities)) {
    for product in products_available() {
        let server = Mysql::start(product);
        server.sql(SCHEMA);
        let more = Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF;
        let usual = Capabilities::MULTI_STATEMENTS | Capabilities::MULTI_RESULTS;
        for capabilities in [usual, usual | more] {
            test(&server, capabilities);
        }
    }
}

fn id(told: &str) -> [u8; 4] {
    let number: u32 = told.strip_prefix("prepared ").expect(told).parse().unwrap();
    number.to_le_bytes()
}

#[test]
fn statements_denials_and_transactions() {
    both(|server, capabilities| {
        let mut session = Session::open(server, "WRITE ON shop.t1", capabilities);
        assert_eq!(session.ask("SELECT a FROM t1; SELECT b FROM t1 WHERE a > 1"), "3 rows, 2 rows");
        assert!(session.ask("SELECT d FROM secret").starts_with("1143 42000"));
        assert_eq!(session.ask("BEGIN"), "ok 0");
        assert_eq!(session.ask("UPDATE t1 SET b = 'q' WHERE a < 3"), "ok 2");
        assert!(session.ask("DELETE FROM secret").starts_with("1142 42000"));
        assert_eq!(session.ask("ROLLBACK"), "ok 0");
        assert_eq!(session.ask("SELECT a FROM t1 WHERE b = 'q'"), "0 rows");
        assert!(session.ask("SELECT a FROM t1 WHERE").starts_with("1064 42000"));
        session.assert_trail();
        assert!(!server.statements().contains("secret WHERE"), "nothing denied was sent");
    });
}

#[test]
fn a_grant_that_ends_in_a_transaction_leaves_its_rollback() {
    both(|server, capabilities| {
        let mut session = Session::open(server, "WRITE ON shop.t1", capabilities);
        session.ask("BEGIN");
        assert_eq!(session.ask("UPDATE t1 SET b = 'gone' WHERE a = 1"), "ok 1");
        session.now = NOW + Duration::from_hours(2);
        for text in ["COMMIT", "SELECT a FROM t1", "SET NAMES utf8mb4"] {
            assert!(session.ask(text).contains("can only be rolled back"), "{text}");
        }
        assert_eq!(session.ask("ROLLBACK"), "ok 0");
        assert!(session.ask("SELECT a FROM t1").starts_with("1143 42000"));
        session.assert_trail();
    });
}

#[test]
fn how_texts_are_read_is_what_the_server_says() {
    both(|server, capabilities| {
        let mut session = Session::open(server, "SELECT ON shop.t1", capabilities);
        assert_eq!(session.ask("SET @old = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"), "ok 0");
        assert_eq!(session.ask("SET sql_mode = @old"), "ok 0");
        assert_eq!(session.ask("SELECT \"a\" FROM t1 WHERE b <> '\\'"), "3 rows");
        assert!(session.ask("SELECT \"d\" FROM secret").starts_with("1143"));
        assert_eq!(session.command(0x1f, b"", Expect::Okay), "ok 0");
        assert_eq!(session.ask("SELECT 'it''s \\' one' FROM t1"), "3 rows");
        assert_eq!(session.ask("SET character_set_results = utf16"), "ok 0");
        assert_eq!(session.ask("SET sql_mode = DEFAULT"), "ok 0");
        assert_eq!(session.ask("SELECT a FROM t1"), "3 rows");
        assert_eq!(session.ask("SET NAMES latin1"), "ok 0");
        session.put(0x03, b"SELECT a FROM t1 WHERE b = '\xe9'");
        session.take_client();
        session.settle();
        assert_eq!(session.told(&[Expect::Results]), ["0 rows"]);
        session.assert_trail();
    });
}

#[test]
fn prepared_statements_and_cursors() {
    both(|server, capabilities| {
        let mut session = Session::open(server, "SELECT ON shop.t1", capabilities);
        let denied = session.command(0x16, b"SELECT d FROM secret", Expect::Prepared);
        assert!(denied.starts_with("1143"), "{denied}");
        let text = b"SELECT a FROM t1 WHERE a > ?";
        let number = id(&session.command(0x16, text, Expect::Prepared));
        let run =
            |cursor: u8| [&number[..], &[cursor, 1, 0, 0, 0, 0, 1, 3, 0, 1, 0, 0, 0]].concat();
        assert_eq!(session.command(0x17, &run(0), Expect::Results), "2 rows");
        assert_eq!(session.command(0x17, &run(1), Expect::Results), "cursor");
        let fetch = [&number[..], &1_u32.to_le_bytes()].concat();
        assert_eq!(session.command(0x1c, &fetch, Expect::Fetched), "1 rows");
        assert_eq!(session.command(0x1a, &number, Expect::Okay), "ok 0");
        session.put(0x19, &number);
        assert!(session.command(0x17, &run(0), Expect::Results).starts_with("1243"));
        assert_eq!(session.ask("PREPARE s FROM 'SELECT a FROM t1'"), "ok 0");
        assert_eq!(session.ask("EXECUTE s"), "3 rows");
        session.now = NOW + Duration::from_hours(2);
        assert!(session.ask("EXECUTE s").starts_with("1143"));
        session.assert_trail();
    });
}

#[test]
fn a_running_statement_is_killed_when_its_grant_ends_and_the_next_is_not() {
    both(|server, capabilities| {
        let mut session = Session::open(server, "SELECT ON shop.t1", capabilities);
        assert_eq!(session.ask("SELECT a FROM t1"), "3 rows");
        // A sleep that is interrupted among rows fails; alone it would say 1.
        session.put(0x03, b"SELECT a, SLEEP(60) FROM t1 WHERE a = 1 OR SLEEP(60)");
        session.take_client();
        session.await_running("SELECT a, SLEEP");
        let now = NOW + Duration::from_hours(2);
        session.event(|machine, _, out| machine.on_timer(now, out));
        session.apply(&[]);
        session.settle();
        let told = session.told(&[Expect::Results]).join(", ");
        assert!(told.starts_with("1317 70100") && told.contains("grant g_1 expired"), "{told}");
        session.assert_trail();
        let held = granted("SELECT ON shop.t1");
        session.event(|machine, env, out| machine.on_grants(held, env.now, out));
        session.apply(&[]);
        assert_eq!(session.ask("SELECT a FROM t1"), "3 rows");
    });
}

#[test]
fn other_commands() {
    both(|server, capabilities| {
        let grants = "READ ON SCHEMA shop; CREATE TEMPORARY TABLES ON SCHEMA shop";
        let mut session = Session::open(server, grants, capabilities);
        assert_eq!(session.command(0x0e, b"", Expect::Okay), "ok 0");
        assert_eq!(session.command(0x02, b"shop", Expect::Okay), "ok 0");
        assert_eq!(session.command(0x04, b"t1\0", Expect::Fields), "2 rows");
        session.command(0x09, b"", Expect::Sentence);
        assert_eq!(session.ask("CREATE TEMPORARY TABLE mine (x INT)"), "ok 0");
        assert_eq!(session.ask("SELECT x FROM mine"), "0 rows");
        assert_eq!(session.ask("DROP TEMPORARY TABLE mine"), "ok 0");
        assert!(session.ask("SELECT x FROM mine").starts_with("1146 42S02"));
        assert!(session.command(0x08, b"", Expect::Okay).starts_with("1047 08S01"));
        // Sent ahead: each waits for its turn.
        session.put(0x03, b"SELECT a FROM t1");
        session.put(0x03, b"DELETE FROM t1");
        session.put(0x03, b"SELECT d FROM secret");
        session.take_client();
        session.settle();
        let told = session.told(&[Expect::Results; 3]);
        assert!(
            told[0] == "3 rows" && told[1].starts_with("1142") && told[2] == "1 rows",
            "{told:?}"
        );
        session.assert_trail();
    });
}
