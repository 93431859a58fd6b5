//! Logins, grants that come and go, cancels, and the proxy's own end.

use crate::support::{Config, Daypass, Options, Postgres, eventually, python, versions_available};
use crate::{House, with_house};

/// Waits until the server runs a statement with that in it.
fn wait_until_runs(house: &House, part: &str) {
    eventually("the statement to run", || (running(house, part) == 1).then_some(()));
}

fn running(house: &House, part: &str) -> usize {
    let text = "SELECT query FROM pg_stat_activity WHERE state = 'active'";
    house.server.sql(text).lines().filter(|line| line.contains(part)).count()
}

#[test]
fn a_request_is_made_and_approved_while_the_session_stays_open() {
    with_house(|house| {
        let token = house.daypass.token("kim");
        let mut session = house.daypass.open_psql("kim", &token, "shop");
        assert!(session.run("SET extra_float_digits = 1;").sqlstates().is_empty());
        session.run("SELECT count(*) FROM orders;").expect_sqlstate("42501");
        let asked =
            session.run("CALL daypass.request('SELECT ON public.orders', '30 min', 'INC-42');");
        let id = crate::support::id_in(&asked.stdout, "r_");
        house.daypass.cli(&["approve", &id]).expect_success();
        assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
        assert_eq!(session.run("SHOW extra_float_digits;").stdout, "1");
        assert!(session.run("CALL daypass.grants();").stdout.contains("INC-42"));
    });
}

/// What stands at the end of the piece would be read as messages, were the CopyFail of a grant's end put
/// inside it: the service account would drop a table.
#[test]
fn a_revocation_inside_a_piece_of_copy_data_ends_the_copy_and_smuggles_nothing() {
    with_house(|house| {
        house.server.sql_in("shop", "CREATE TABLE gon ()");
        let token = house.daypass.token("rob");
        let privileges = ["INSERT ON public.notes", "USAGE ON SEQUENCE public.notes_id_seq"];
        let grant = house.daypass.grant("rob", "shop", &privileges);
        let script = r#"
import os, psycopg, socket, subprocess
c = psycopg.connect("", autocommit=True)
c.pgconn.exec_(b"COPY notes (text) FROM STDIN")
raw = socket.socket(fileno=os.dup(c.pgconn.socket))
raw.setblocking(True)
drop = b"Q\0\0\0\x13DROP TABLE gon\0"
body = b"smuggled\n" + b"c\0\0\0\x04" + drop
piece = b"d" + (4 + len(body)).to_bytes(4, "big") + body
raw.sendall(piece[:10])
subprocess.run([os.environ["DAYPASS"], "grant", "revoke", os.environ["GRANT"]], check=True, stdout=subprocess.DEVNULL)
try:
    raw.sendall(piece[10:])
    c.pgconn.put_copy_end()
    failed = c.pgconn.get_result()
    print(failed.error_field(psycopg.pq.DiagnosticField.SQLSTATE).decode())
    assert c.pgconn.get_result() is None
    c.execute("SELECT text FROM notes")
except psycopg.errors.InsufficientPrivilege:
    print("alive")
except (OSError, AttributeError, psycopg.OperationalError):
    print("ended")
"#;
        let mut env = house.daypass.env("rob", &token, "shop");
        env.push(("DAYPASS", env!("CARGO_BIN_EXE_daypass").to_owned()));
        env.push(("DAYPASS_URL", format!("unix:{}", house.daypass.socket().display())));
        env.push(("GRANT", grant));
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let output = python(script, &env);
        assert_eq!(house.server.sql_in("shop", "SELECT to_regclass('gon')"), "gon");
        // The server may come upon the data's zero bytes before the end of the COPY.
        let said = output.expect_success();
        let said: Vec<_> = said.lines().collect();
        // A client that was too slow with the rest, on a busy machine, has lost its backend.
        assert!(matches!(said[..], ["57014" | "22021", "alive"] | [.., "ended"]), "{said:?}");
        let smuggled = "SELECT count(*) FROM notes WHERE text = 'smuggled'";
        assert_eq!(house.server.sql_in("shop", smuggled), "0");
    });
}

#[test]
fn a_wrong_password_and_an_unknown_database_are_refused() {
    with_house(|house| {
        let wrong = house.daypass.psql("olga", "daypass_wrong", "shop", "SELECT 1");
        assert!(wrong.stderr.contains("password authentication failed"), "{wrong:?}");
        let token = house.daypass.token("olga");
        let unknown = house.daypass.psql("olga", &token, "missing", "SELECT 1");
        assert!(
            unknown.stderr.contains("does not exist") && unknown.stderr.contains("shop"),
            "{unknown:?}"
        );
        house.daypass.wait_audit("the refused login", |record| {
            record["kind"] == "login-refused" && record["principal"] == "olga"
        });
    });
}

#[test]
fn ctrl_c_stops_the_statement_and_not_the_session() {
    with_house(|house| {
        let token = house.principal("pam", &["SELECT ON public.orders"]);
        let mut session = house.daypass.open_psql("pam", &token, "shop");
        session.send("SELECT pg_sleep(600), 'interrupted';");
        wait_until_runs(house, "'interrupted'");
        session.interrupt();
        session.finish().expect_sqlstate("57014");
        // A psql that reads from a pipe ends there; a driver goes on.
        let script = r#"
import psycopg, threading
c = psycopg.connect("", autocommit=True)
threading.Timer(0.5, c.cancel).start()
try:
    c.execute("SELECT pg_sleep(600)")
    raise SystemExit("not cancelled")
except psycopg.errors.QueryCanceled:
    pass
print(c.execute("SELECT 'alive'").fetchone()[0])
"#;
        let env = house.daypass.env("pam", &token, "shop");
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(python(script, &env).expect_success(), "alive");
    });
}

#[test]
fn notifications_reach_a_session_that_listens() {
    let script = r#"
import psycopg
a = psycopg.connect("", autocommit=True)
b = psycopg.connect("", autocommit=True)
a.execute("LISTEN news")
b.execute("NOTIFY news, 'hello'")
print(next(a.notifies(timeout=20, stop_after=1)).payload)
"#;
    with_house(|house| {
        let token = house.principal("sue", &["SELECT ON public.orders"]);
        let env = house.daypass.env("sue", &token, "shop");
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(python(script, &env).expect_success(), "hello");
    });
}

#[test]
fn every_version_that_is_installed_is_logged_in_to_and_asked() {
    let versions = versions_available();
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        let majors: Vec<_> = versions.iter().map(|version| version.major).collect();
        assert!((13..=18).all(|major| majors.contains(&major)), "run scripts/install: {majors:?}");
    }
    for version in versions {
        let server = Postgres::start(Options { version: Some(version), ..Options::default() });
        server.sql("CREATE TABLE numbers AS SELECT generate_series(1, 5) AS n");
        let daypass = Daypass::start(Config::new().postgres("postgres", &server, &[]));
        daypass.grant("una", "postgres", &["SELECT ON public.numbers"]);
        let token = daypass.token("una");
        let output = daypass.psql("una", &token, "postgres", "SELECT sum(n) FROM numbers");
        assert_eq!(output.expect_success(), "15", "PostgreSQL {}", server.major());
        daypass.psql("una", &token, "postgres", "DELETE FROM numbers").expect_sqlstate("42501");
    }
}
