//! Dialling, logging in and asking, against a real MariaDB and a real MySQL.

use crate::support::{Mysql, Product, products_available};
use daypass::secret::Secret;
use daypass::upstream::UpstreamError;
use daypass::upstream::mysql::{Connection, Host, Startup, Target, connect, query};
use daypass::upstream::target::{Roots, TlsMode};
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::command::{self, LAST_PREPARED};
use daypass::wire::mysql::reply::{Event, Expect, Reply, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tcp(server: &Mysql, user: &str) -> Target {
    let host = Host::Tcp { name: "127.0.0.1".into(), port: server.port() };
    Target::new(host, user, Some("shop".into())).with_password(Some(Secret::new(Mysql::PASSWORD)))
}

fn tls(server: &Mysql, user: &str) -> Target {
    let host = Host::Tcp { name: "localhost".into(), port: server.port() };
    let roots = Roots::File(server.certificates().ca.clone());
    let mut target = tcp(server, user);
    (target.host, target.tls) = (host, TlsMode::VerifyFull { roots });
    target
}

fn unix(server: &Mysql, user: &str) -> Target {
    let mut target = tcp(server, user);
    target.host = Host::Unix(server.socket());
    target
}

async fn log_in(target: &Target) -> Result<Connection, UpstreamError> {
    connect(target, &Startup::default()).await
}

async fn value(connection: &mut Connection, sql: &str) -> String {
    let rows = query(connection, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0][0].clone().unwrap()
}

fn users(server: &Mysql) -> &'static [&'static str] {
    match server.product() {
        Product::MariaDb => &["native", "ed"],
        Product::Mysql => &["sha2"],
    }
}

#[tokio::test]
async fn every_plugin_leads_in_over_every_channel() {
    for server in products_available().into_iter().map(Mysql::start) {
        // Over TCP in clear first: MySQL knows no proof yet, so its public key is asked for.
        let mut targets = Vec::new();
        for user in users(&server) {
            targets.extend([tcp(&server, user), unix(&server, user), tls(&server, user)]);
            // What a first login taught the server makes the second one short.
            targets.push(tcp(&server, user));
        }
        targets.push(tls(&server, "over_tls"));
        for target in targets {
            let mut connection =
                log_in(&target).await.unwrap_or_else(|error| panic!("{target:?}: {error}"));
            let user = value(&mut connection, "SELECT CURRENT_USER()").await;
            assert_eq!(user, format!("{}@%", target.user));
            assert_eq!(value(&mut connection, "SELECT DATABASE()").await, "shop");
            let id = value(&mut connection, "SELECT CONNECTION_ID()").await;
            assert_eq!(id, connection.greeting.connection.to_string());
            let cipher = query(&mut connection, "SHOW STATUS LIKE 'Ssl_cipher'").await.unwrap();
            let encrypted = cipher[0][1].as_deref().is_some_and(|cipher| !cipher.is_empty());
            assert_eq!(encrypted, connection.stream.is_tls());
            let version = value(&mut connection, "SELECT VERSION()").await;
            let told = connection.greeting.version.trim_start_matches("5.5.5-").to_owned();
            assert_eq!(told, version);
            let mariadb = server.product() == Product::MariaDb;
            assert_eq!(connection.greeting.is_mariadb(), mariadb);
            assert!(connection.greeting.version_number() >= 90_000);
        }
    }
}

#[tokio::test]
async fn the_other_way_round_a_cold_server_gets_the_password_where_nobody_listens() {
    for server in products_available().into_iter().map(Mysql::start) {
        let user = users(&server)[0];
        for target in [unix(&server, user), tls(&server, user)] {
            server.sql("FLUSH PRIVILEGES");
            log_in(&target).await.unwrap_or_else(|error| panic!("{target:?}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_refusal_tells_the_servers_reason() {
    for server in products_available().into_iter().map(Mysql::start) {
        for user in users(&server).iter().copied().chain(["nobody"]) {
            for password in [None, Some(Secret::new("wrong"))] {
                for target in [tcp(&server, user), tls(&server, user), unix(&server, user)] {
                    let target = target.with_password(password.clone());
                    match log_in(&target).await {
                        Err(UpstreamError::MysqlRefused { code: 1045, sqlstate, .. }) => {
                            assert_eq!(&*sqlstate, "28000");
                        }
                        other => panic!("{target:?}: {other:?}"),
                    }
                }
            }
        }
        let mut nowhere = tcp(&server, users(&server)[0]);
        nowhere.schema = Some("nowhere".into());
        match log_in(&nowhere).await {
            Err(UpstreamError::MysqlRefused { code: 1044 | 1049, .. }) => {}
            other => panic!("{other:?}"),
        }
        let clear = log_in(&tcp(&server, "over_tls")).await;
        assert!(matches!(clear, Err(UpstreamError::MysqlRefused { .. })), "{clear:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_believed() {
    for server in products_available().into_iter().map(Mysql::start) {
        let other = tempfile::tempdir().unwrap();
        let stranger = crate::support::Certificates::make(other.path());
        let roots = Roots::File(stranger.ca);
        let user = users(&server)[0];
        let mut target = tls(&server, user);
        target.tls = TlsMode::VerifyFull { roots };
        let refused = log_in(&target).await;
        assert!(matches!(refused, Err(UpstreamError::Tls(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn results_come_whole_whatever_the_capabilities() {
    let startups = [
        Capabilities::NONE,
        Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK,
        Capabilities::QUERY_ATTRIBUTES
            | Capabilities::MULTI_STATEMENTS
            | Capabilities::MULTI_RESULTS,
        Capabilities::PASSED,
    ];
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql(
            "CREATE TABLE shop.t (a INT, b TEXT); INSERT INTO shop.t VALUES (1, 'é'), (2, NULL)",
        );
        for capabilities in startups {
            let startup = Startup { capabilities, ..Startup::default() };
            let target = unix(&server, users(&server)[0]);
            let mut connection = connect(&target, &startup).await.unwrap();
            let rows = query(&mut connection, "SELECT a, b FROM t ORDER BY a").await.unwrap();
            let text = |text: &str| Some(text.to_owned());
            assert_eq!(rows, [vec![text("1"), text("é")], vec![text("2"), None]]);
            assert!(
                query(&mut connection, "SELECT * FROM t WHERE a > 5").await.unwrap().is_empty()
            );
            assert!(query(&mut connection, "DO 1").await.unwrap().is_empty());
            match query(&mut connection, "SELECT nothing FROM t").await {
                Err(UpstreamError::MysqlFailed { code: 1054, .. }) => {}
                other => panic!("{other:?}"),
            }
            if connection.capabilities.has(Capabilities::MULTI_STATEMENTS) {
                let both = "SELECT 1; DO 2; SELECT 3";
                let rows = query(&mut connection, both).await.unwrap();
                assert_eq!(rows, [vec![text("1")], vec![text("3")]]);
            }
            // A value that is longer than a packet, and more of them than a read.
            let long = format!("SELECT REPEAT('x', {})", 17 << 20);
            assert_eq!(value(&mut connection, &long).await.len(), 17 << 20);
        }
    }
}

/// Sends a command, and tells what the reply consists of; what passes is left out.
async fn command(
    connection: &mut Connection,
    code: u8,
    body: &[u8],
    expect: Expect,
) -> Vec<String> {
    let mut out = Vec::new();
    command::write(&mut out, code, body);
    connection.stream.write_all(&out).await.unwrap();
    follow(connection, expect).await
}

async fn follow(connection: &mut Connection, expect: Expect) -> Vec<String> {
    let mut reply = Reply::new(expect, connection.capabilities, 1);
    let mut said = Vec::new();
    while !reply.is_over() {
        let buffer = connection.buffer.clone();
        let step = reply.advance(&buffer);
        let taken = match step.unwrap_or_else(|error| {
            panic!(
                "{error}: {said:?} {reply:?} {:?} {}",
                connection.buffer, connection.greeting.version
            )
        }) {
            Step::Read => {
                assert!(connection.stream.read_buf(&mut connection.buffer).await.unwrap() > 0);
                continue;
            }
            Step::Pass(bytes) => bytes,
            Step::Packet { bytes, event } => {
                said.push(match event {
                    Event::Okay(okay) => format!("ok {}", okay.affected),
                    Event::ColumnsEnd { cursor, .. } => format!("columns, cursor {cursor}"),
                    Event::RowsEnd { rows, cursor, .. } => format!("{rows} rows, cursor {cursor}"),
                    Event::Prepared { statement, columns, parameters } => {
                        format!("{statement}: {parameters} parameters, {columns} columns")
                    }
                    Event::Failure(failure) => format!("error {}", failure.code),
                    Event::Sentence(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                });
                bytes
            }
        };
        drop(connection.buffer.split_to(taken));
    }
    said
}

/// COM_STMT_EXECUTE of a statement without parameters.
fn execution(statement: u32, flags: u8) -> Vec<u8> {
    [&statement.to_le_bytes()[..], &[flags], &1_u32.to_le_bytes()].concat()
}

#[tokio::test]
async fn replies_to_every_command_end_where_the_server_ends_them() {
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql("CREATE TABLE shop.t (a INT, b TEXT); INSERT INTO shop.t VALUES (1, 'x'), (2, 'y'), (3, 'z')");
        let tracked = Capabilities::SESSION_TRACK | Capabilities::MYSQL;
        for capabilities in [Capabilities::NONE, Capabilities::DEPRECATE_EOF | tracked] {
            let startup = Startup { capabilities, ..Startup::default() };
            let target = unix(&server, users(&server)[0]);
            let mut connection = connect(&target, &startup).await.unwrap();
            let c = &mut connection;
            let deprecated = c.capabilities.has(Capabilities::DEPRECATE_EOF);
            let prepared = command(c, 0x16, b"SELECT a, b FROM t", Expect::Prepared).await;
            let (id, counts) = prepared[0].split_once(": ").unwrap();
            assert_eq!(counts, "0 parameters, 2 columns");
            let id: u32 = id.parse().unwrap();
            // With a cursor the execution has no rows; each fetch has its own.
            let opened = command(c, 0x17, &execution(id, 1), Expect::Results).await;
            let end = if deprecated { "0 rows, cursor true" } else { "columns, cursor true" };
            assert_eq!(opened, ["Columns(2)", end], "{:?}", server.product());
            let fetch = [id.to_le_bytes(), 2_u32.to_le_bytes()].concat();
            for rows in ["2 rows, cursor false", "1 rows, cursor false"] {
                assert_eq!(command(c, 0x1c, &fetch, Expect::Fetched).await, [rows]);
            }
            assert_eq!(command(c, 0x1a, &id.to_le_bytes(), Expect::Okay).await, ["ok 0"]);
            let anew = command(c, 0x16, b"SELECT a, b FROM t", Expect::Prepared).await;
            let id: u32 = anew[0].split_once(": ").unwrap().0.parse().unwrap();
            let whole = command(c, 0x17, &execution(id, 0), Expect::Results).await;
            assert_eq!(whole.last().unwrap(), "3 rows, cursor false");
            assert_eq!(command(c, 0x0e, b"", Expect::Okay).await, ["ok 0"]);
            assert_eq!(command(c, 0x02, b"shop", Expect::Okay).await, ["ok 0"]);
            assert_eq!(command(c, 0x02, b"nowhere", Expect::Okay).await.len(), 1);
            assert_eq!(command(c, 0x1b, &[0, 0], Expect::Okay).await, ["ok 0"]);
            assert_eq!(command(c, 0x1f, b"", Expect::Okay).await, ["ok 0"]);
            assert!(command(c, 0x09, b"", Expect::Sentence).await[0].starts_with("Uptime"));
            assert_eq!(command(c, 0x02, b"shop", Expect::Okay).await, ["ok 0"]);
            // MySQL 9 has no COM_FIELD_LIST any more, and says so.
            let fields = command(c, 0x04, b"t\0", Expect::Fields).await;
            assert!(["2 rows, cursor false", "error 1047"].contains(&&*fields[0]), "{fields:?}");
            assert!(c.buffer.is_empty());
        }
    }
}

#[tokio::test]
async fn mariadb_takes_rows_in_bulk_and_executions_before_it_has_answered() {
    let server = Mysql::start(Product::MariaDb);
    server.sql("CREATE TABLE shop.t (a INT)");
    for known in [Capabilities::NONE, Capabilities::CACHE_METADATA] {
        let capabilities = Capabilities::DEPRECATE_EOF | Capabilities::BULK | known;
        let startup = Startup { capabilities, needed: capabilities, ..Startup::default() };
        let mut connection = connect(&unix(&server, "native"), &startup).await.unwrap();
        let c = &mut connection;
        let said = command(c, 0x16, b"INSERT INTO t VALUES (?)", Expect::Prepared).await;
        assert!(said[0].ends_with(": 1 parameters, 0 columns"), "{said:?}");
        let rows = b"\x80\0\x03\0\0\x01\0\0\0\0\x02\0\0\0\x01";
        let body = [&LAST_PREPARED.to_le_bytes()[..], rows].concat();
        assert_eq!(command(c, 0xfa, &body, Expect::Results).await, ["ok 3"]);
        // Both at once; the replies follow in order.
        let mut out = Vec::new();
        command::write(&mut out, 0x16, b"SELECT a FROM t WHERE a IS NOT NULL LIMIT 2");
        command::write(&mut out, 0x17, &execution(LAST_PREPARED, 0));
        command::write(&mut out, 0x17, &execution(LAST_PREPARED, 0));
        c.stream.write_all(&out).await.unwrap();
        let said = follow(c, Expect::Prepared).await;
        assert!(said[0].ends_with(": 0 parameters, 1 columns"), "{said:?}");
        for _ in 0..2 {
            assert_eq!(follow(c, Expect::Results).await, ["Columns(1)", "2 rows, cursor false"]);
        }
        assert!(c.buffer.is_empty());
    }
}
