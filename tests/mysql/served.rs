//! Through the proxy: grants that come and go while sessions last, what stops a statement, what ends a session.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::house::{House, borrow, both};
use crate::support::{eventually, mysql_client, products_available, python};

/// What scripts begin with: sessions through the proxy, root at the server, the operator's command line.
const PRELUDE: &str = r#"
import os, re, subprocess, threading, pymysql
from pymysql.constants import CLIENT
def session(token=None, user="alice", **more):
    more.setdefault("database", "shop")
    return pymysql.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user=user, autocommit=True,
        password=token or os.environ["TOKEN"], ssl_disabled=True, **more)
root = pymysql.connect(unix_socket=os.environ["SOCKET"], user="root", autocommit=True)
def ask(c, text, values=None):
    k = c.cursor()
    k.execute(text, values)
    return k.fetchall()
def fails(c, text):
    try:
        ask(c, text)
    except pymysql.MySQLError as e:
        return e.args
    raise AssertionError(text + " was taken")
def operator(*args):
    return subprocess.run([os.environ["DAYPASS"], *args], check=True, capture_output=True, text=True).stdout.strip()
def grant(privilege, user="alice"):
    said = operator("grant", "create", "--user", user, "--database", "crm", "--for", "1h", "--reason", "a test",
        "--privilege", privilege, "--output", "json")
    return re.search(r"g_[0-9a-z]{12}", said).group()
def running(text):
    "Waits until the server runs it."
    while not ask(root, "SELECT 1 FROM information_schema.processlist WHERE info LIKE %s AND command IN ('Query', 'Execute')"
            " AND id <> CONNECTION_ID()", (text + "%",)):
        pass
class Background(threading.Thread):
    "Asks on a thread of its own; what came of it is told by result()."
    def __init__(self, c, text):
        super().__init__()
        self.c, self.text = c, text
        self.start()
    def run(self):
        try:
            self.got = ask(self.c, self.text)
        except pymysql.MySQLError as e:
            self.got = e.args
    def result(self):
        self.join()
        return self.got
"#;

/// Runs a script after the prelude; what it prints.
#[track_caller]
fn script(house: &House, token: &str, text: &str) -> String {
    let url = format!("unix:{}", house.daypass.socket().display());
    let socket = house.server.socket().display().to_string();
    let more = [
        ("DAYPASS", env!("CARGO_BIN_EXE_daypass")),
        ("DAYPASS_URL", url.as_str()),
        ("SOCKET", socket.as_str()),
    ];
    let env = house.environment(token, &more);
    python(&format!("{PRELUDE}{text}"), &borrow(&env)).expect_success()
}

#[test]
fn a_request_is_made_and_approved_while_the_session_stays_open() {
    both(|house| {
        let token = house.daypass.token("alice");
        let said = script(
            house,
            &token,
            r#"
c = session()
ask(c, "SET @@session.sql_mode = 'ANSI_QUOTES'")
code, sentence = fails(c, 'SELECT status FROM "orders"')
assert code == 1143 and "no live grant allows SELECT (status) ON shop.orders" in sentence, (code, sentence)
call = re.search(r"CALL daypass.request\('.*', '30 min', 'why'\)", sentence).group()
asked = ask(c, call)
operator("approve", re.search(r"r_[0-9a-z]{12}", str(asked)).group())
assert sorted(ask(c, 'SELECT status FROM "orders"')) == [("open",), ("open",), ("paid",)]
assert ask(c, "SELECT @@session.sql_mode") == (("ANSI_QUOTES",),), "what was set before there was a server"
assert "SELECT (status) ON shop.orders" in str(ask(c, "CALL daypass.grants()"))
rows = ask(c, "CALL daypass.explain('DELETE FROM orders')")
assert "not granted" in str(rows), rows
print("done")
"#,
        );
        assert_eq!(said, "done");
        let record = house.daypass.wait_audit("the denial", |it| it["decision"] == "deny");
        assert_eq!((&record["engine"], &record["sqlstate"]), (&"mysql".into(), &"42000".into()));
        let missing = record["missing"].as_array().unwrap();
        assert!(missing.contains(&"SELECT (status) ON shop.orders".into()), "{record}");
    });
}

#[test]
fn kill_reaches_the_principals_own_sessions_and_no_others() {
    both(|house| {
        let token = house.principal("alice", &["READ ON SCHEMA shop"]);
        let bob = house.principal("bob", &["READ ON SCHEMA shop"]);
        let env = format!("bob = {bob:?}\n");
        let text = r#"
a, b, other = session(), session(), session(bob, user="bob")
slow = "SELECT id, SLEEP(600) FROM orders"
# By the number that the client was greeted with, and by the one that it finds at the server.
for number in (a.thread_id(), ask(a, "SELECT CONNECTION_ID()")[0][0]):
    running_one = Background(a, slow)
    running(slow)
    assert fails(other, f"KILL QUERY {number}")[0] == 1094
    ask(b, f"KILL QUERY {number}")
    assert running_one.result()[0] == 1317, running_one.got
assert len(ask(a, "SELECT id FROM orders")) == 3
assert fails(b, "KILL 999999999")[0] == 1094
ask(b, f"KILL {a.thread_id()}")
assert fails(a, "SELECT 1")[0] in (0, 1927, 2006, 2013)
code = fails(b, f"KILL QUERY {b.thread_id()}")[0]
assert code == 1317, code
print("done")
"#;
        assert_eq!(script(house, &token, &format!("{env}{text}")), "done");
    });
}

#[test]
fn control_c_in_the_command_line_stops_the_statement() {
    both(|house| {
        let token = house.principal("alice", &["READ ON SCHEMA shop"]);
        for client in products_available() {
            let mut command = mysql_client(client);
            command.args(["-h", "127.0.0.1", "-u", "alice", "--batch", "shop"]);
            command.args([format!("-P{}", house.daypass.mysql_port()), format!("-p{token}")]);
            let text = format!("SELECT id, SLEEP(600), '{client:?}' FROM orders");
            let child = command.args(["-e", &text]).stdout(Stdio::null()).stderr(Stdio::piped());
            let child = child.spawn().unwrap();
            let running = format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE info = \"{text}\" \
                 AND command = 'Query'"
            );
            eventually("the statement to run", || {
                (house.server.sql(&running) == "1").then_some(())
            });
            interrupt(child.id());
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.signal().is_none(), "{said}");
            house.daypass.wait_audit("the statement's end", |it| it["outcome"] == "cancelled");
            eventually("it to end", || (house.server.sql(&running) == "0").then_some(()));
        }
    });
}

/// What Control-C does.
fn interrupt(process: u32) {
    let done = Command::new("kill").args(["-INT", &process.to_string()]).status();
    assert!(done.unwrap().success());
}

#[test]
fn files_of_clients_pass_only_as_they_are_named_and_granted() {
    both(|house| {
        let token = house.principal("alice", &["SELECT ON shop.orders"]);
        let said = script(
            house,
            &token,
            r#"
import tempfile
f = tempfile.NamedTemporaryFile("w", suffix=".tsv")
f.write("10\tnew\n11\tnew\n"); f.flush()
c = session(local_infile=True)
text = f"LOAD DATA LOCAL INFILE '{f.name}' INTO TABLE orders"
code, sentence = fails(c, text)
assert code in (1142, 1143) and "INSERT" in sentence, (code, sentence)
grant("INSERT ON shop.orders")
k = c.cursor(); k.execute(text)
assert k.rowcount == 2, k.rowcount
assert ask(c, "SELECT COUNT(*) FROM orders WHERE status = 'new'") == ((2,),)
print("done")
"#,
        );
        assert_eq!(said, "done");
    });
}

#[test]
fn large_values_pass_both_ways_and_what_is_too_large_is_refused() {
    both(|house| {
        house.server.sql("CREATE TABLE shop.blobs (id INT, data LONGBLOB)");
        let token = house.principal("alice", &["SELECT, INSERT ON shop.blobs"]);
        let said = script(
            house,
            &token,
            r#"
import mysql.connector
c = mysql.connector.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="alice", database="shop",
    password=os.environ["TOKEN"], use_pure=True, ssl_disabled=True, autocommit=True)
for length in ((1 << 24) - 40, (1 << 24) - 1, 1 << 24, 33 << 20):
    k = c.cursor(prepared=True)
    k.execute("INSERT INTO blobs VALUES (%s, %s)", (length, b"x" * length))
    k.close()
    k = c.cursor()
    k.execute(f"SELECT LENGTH(data), data FROM blobs WHERE id = {length}")
    (n, data), = k.fetchall()
    assert n == len(data) == length, (n, len(data), length)
p = session(max_allowed_packet=256 << 20)
code = fails(p, "SELECT '" + "y" * (17 << 20) + "'")[0]
assert code == 1436, code
assert ask(p, "SELECT 1") == ((1,),)
try:
    ask(p, "SELECT '" + "y" * (65 << 20) + "'")
    raise SystemExit("it was taken")
except (pymysql.MySQLError, AssertionError, OSError) as e:
    # It is still sending when it is told: what it makes of that differs.
    pass
print("done")
"#,
        );
        assert_eq!(said, "done");
    });
}

#[test]
fn a_session_that_logs_in_anew_is_another_ones() {
    both(|house| {
        let token = house.principal("alice", &["SELECT ON shop.orders"]);
        let bob = house.principal("bob", &["SELECT ON shop.customers"]);
        let text = r#"
import mysql.connector
c = mysql.connector.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="alice", database="shop",
    password=os.environ["TOKEN"], use_pure=True, ssl_disabled=True, autocommit=True)
def of(text):
    k = c.cursor()
    try:
        k.execute(text)
        return len(k.fetchall())
    except mysql.connector.Error as e:
        return e.errno
    finally:
        k.close()
k = c.cursor(); k.execute("SET @mine = 7"); k.close()
assert (of("SELECT id FROM orders"), of("SELECT id FROM customers")) == (3, 1143)
c.cmd_change_user(username="bob", password=bob, database="shop")
assert (of("SELECT id FROM orders"), of("SELECT id FROM customers")) == (1143, 0)
k = c.cursor(); k.execute("SELECT @mine"); assert k.fetchall() == [(None,)]; k.close()
try:
    c.cmd_change_user(username="bob", password=os.environ["TOKEN"], database="shop")
    raise AssertionError("alice's token is not bob's")
except mysql.connector.Error as e:
    assert e.errno in (1045, 2013), e
print("done")
"#;
        assert_eq!(script(house, &token, &format!("bob = {bob:?}\n{text}")), "done");
        let refused = house.daypass.wait_audit("bob's refused login", |it| {
            it["kind"] == "login-refused" && it["principal"] == "bob"
        });
        assert_eq!(refused["database"], "crm");
    });
}
