//! Shows that the support itself works: what the other tests stand on.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::{Options, Postgres, Shell, java, node, psql, python, versions_available};

fn env(server: &Postgres, user: &str) -> [(&'static str, String); 4] {
    server.env(user, "postgres")
}

fn borrow<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn a_row_reaches_the_replica_and_outlives_a_crash() {
    let mut primary = Postgres::start(Options::default());
    let replica = primary.standby();
    primary.sql("CREATE TABLE t (id int); INSERT INTO t VALUES (7)");
    replica.wait_replayed(&primary);
    assert_eq!(replica.sql("SELECT id, pg_is_in_recovery() FROM t"), "7|t");
    assert!(primary.log().contains("INSERT INTO t VALUES (7)"));
    primary.crash();
    primary.start_again();
    assert_eq!(primary.sql("SELECT id FROM t"), "7");
}

#[test]
fn a_server_asks_for_the_password_that_its_hba_lines_say() {
    for method in ["scram-sha-256", "md5", "password"] {
        let server = Postgres::start(Options {
            hba: vec![format!("host all app 127.0.0.1/32 {method}")],
            settings: vec![
                if method == "md5" { "password_encryption = md5" } else { "" }.to_owned(),
            ],
            ..Options::default()
        });
        server.sql("CREATE ROLE app LOGIN PASSWORD 'right'");
        let mut env = env(&server, "app").to_vec();
        env.push(("PGPASSWORD", "wrong".to_owned()));
        let refused = psql(&["-c", "SELECT 1"], &borrow(&env));
        assert!(refused.stderr.contains("password authentication failed"), "{method}: {refused:?}");
        env.push(("PGPASSWORD", "right".to_owned()));
        assert_eq!(psql(&["-c", "SELECT 1"], &borrow(&env)).expect_success(), "1", "{method}");
    }
}

#[test]
fn a_server_with_a_certificate_is_verified_in_full() {
    let server = Postgres::start(Options { ssl: true, ..Options::default() });
    let mut env = env(&server, "postgres").to_vec();
    env.push(("PGSSLMODE", "verify-full".to_owned()));
    env.push(("PGSSLROOTCERT", server.certificates().ca.display().to_string()));
    let asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(psql(&["-c", asked], &borrow(&env)).expect_success(), "t");
}

#[test]
fn every_version_that_is_installed_starts() {
    let versions = versions_available();
    assert!(!versions.is_empty(), "no PostgreSQL here: run scripts/install servers");
    for version in versions {
        let major = version.major;
        let server = Postgres::start(Options { version: Some(version), ..Options::default() });
        let said = server.sql("SHOW server_version_num");
        assert!(said.starts_with(&major.to_string()), "{major}: {said}");
    }
}

#[test]
fn a_psql_session_stays_open_over_errors_and_says_what_it_is_busy_with() {
    let server = Postgres::start(Options::default());
    let mut session = Shell::open(&borrow(&env(&server, "postgres")));
    assert_eq!(session.run("SELECT 1;").expect_success(), "1");
    session.run("SELECT 1/0;").expect_sqlstate("22012");
    session.send("SELECT pg_sleep(0.4), 'woke';");
    assert!(session.is_busy(Duration::from_millis(100)));
    assert_eq!(session.finish().stdout, "|woke");
    let ended = session.run("\\q");
    assert_eq!(ended.status, 0);
}

#[test]
fn every_client_runs_a_statement() {
    let server = Postgres::start(Options::default());
    let env = env(&server, "postgres");
    let psycopg =
        "import psycopg\nprint(psycopg.connect('').execute('SELECT 6 * 7').fetchone()[0])";
    assert_eq!(python(psycopg, &borrow(&env)).expect_success(), "42");
    let asyncpg = "import asyncio, asyncpg\nasync def main():\n  c = await asyncpg.connect()\n  \
                   print(await c.fetchval('SELECT 6 * $1::int', 7))\nasyncio.run(main())";
    assert_eq!(python(asyncpg, &borrow(&env)).expect_success(), "42");
    let pg = "const c = new (require('pg').Client)(); c.connect().then(() => c.query('SELECT 6 * $1::int AS n', \
              [7])).then(r => { console.log(r.rows[0].n); return c.end(); });";
    assert_eq!(node(pg, &borrow(&env)).expect_success(), "42");
    let url = format!("jdbc:postgresql://127.0.0.1:{}/postgres", server.port());
    let said = java("Select.java", &[&url, "postgres", "", "SELECT 6 * 7", "SELECT 1/0"]);
    assert_eq!(said.clone().expect_success().lines().next(), Some("42"), "{said:?}");
    assert!(said.stdout.contains("22012"), "{said:?}");
}

#[test]
fn two_servers_never_share_a_port() {
    let ports: std::collections::HashSet<_> = (0..50).map(|_| support::free_port()).collect();
    assert_eq!(ports.len(), 50);
}
