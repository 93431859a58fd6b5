//! Real clients, without any option of their own, work through the proxy with a token as their password.

use crate::house::{House, borrow, both};
use crate::support::{
    Product, eventually, id_in, mysql_async, node, products_available, python, run,
};

/// What the scripts below do.
const GRANTS: &[&str] =
    &["READ ON SCHEMA shop", "INSERT ON SCHEMA shop", "CREATE TEMPORARY TABLES ON SCHEMA shop"];

/// A token of alice's, who may do what the scripts do.
fn alice(house: &House) -> String {
    house.principal("alice", GRANTS)
}

/// Sessions were recorded, and have ended.
#[track_caller]
fn assert_trail(house: &House) {
    eventually("every session's end", || {
        let records = house.daypass.audit();
        let of = |kind: &str| records.iter().filter(|it| it["kind"] == kind).count();
        (of("session-start") > 0 && of("session-start") == of("session-end")).then_some(())
    });
}

#[test]
fn the_command_lines_log_in_with_a_token() {
    both(|house| {
        let token = alice(house);
        for client in products_available() {
            for tls in [false, true] {
                let sql = "SELECT DATABASE(); SELECT 'é'; SHOW VARIABLES LIKE 'sql_mod_'";
                let said = house.cli(client, ("alice", &token), sql, tls).expect_success();
                assert!(said.starts_with("shop\né\nsql_mode"), "{client:?} {tls}: {said}");
            }
        }
    });
}

#[test]
fn the_command_lines_say_why_they_are_refused() {
    let house = House::start(Product::MariaDb, "");
    let revoked = house.daypass.token("alice");
    let listed = house.daypass.cli(&["token", "list", "--output", "json"]).expect_success();
    let id = id_in(&listed, "t_");
    house.daypass.cli(&["token", "revoke", &id]).expect_success();
    for client in products_available() {
        for tls in [false, true] {
            let said = house.cli(client, ("alice", &revoked), "SELECT 1", tls).stderr;
            assert!(said.contains(&format!("1045 (28000): token {id} was revoked")), "{said}");
            let unknown = house.cli(client, ("alice", "hunter2"), "SELECT 1", tls);
            assert!(unknown.stderr.contains("Access denied for user 'alice'"), "{unknown:?}");
            assert!(unknown.stderr.contains("daypass token issue --user alice"), "{unknown:?}");
        }
    }
}

const PYMYSQL: &str = r#"
import os, tempfile, pymysql, pymysql.cursors
def open(**more):
    return pymysql.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="alice",
        password=os.environ["TOKEN"], database="shop", **more)
tls = {"ssl_ca": os.environ["CA"], "ssl_verify_cert": True, "ssl_verify_identity": False}
for more in ({"ssl_disabled": True}, tls):
    c = open(local_infile=True, client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS, **more)
    k = c.cursor()
    k.execute("CREATE TEMPORARY TABLE t (a INT, b TEXT)")
    k.executemany("INSERT INTO t VALUES (%s, %s)", [(n, "x" * n) for n in range(300)])
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        f.write("1000\tfile\n1001\tfile\n"); f.flush()
        k.execute(f"LOAD DATA LOCAL INFILE '{f.name}' INTO TABLE t")
        assert k.rowcount == 2, k.rowcount
    k.execute("SELECT COUNT(*), SUM(LENGTH(b)) FROM t")
    assert k.fetchall() == ((302, sum(range(300)) + 8),)
    k.execute("SELECT 1; SELECT 2; DO 3")
    assert k.fetchall() == ((1,),)
    assert k.nextset() and k.fetchall() == ((2,),)
    u = c.cursor(pymysql.cursors.SSCursor)
    u.execute("SELECT a FROM t ORDER BY a")
    assert sum(1 for _ in u) == 302
    k.execute("SELECT %s", ("y" * (15 << 20),))
    assert len(k.fetchone()[0]) == 15 << 20
    try:
        k.execute("SELECT nothing")
    except pymysql.err.OperationalError as e:
        assert e.args[0] == 1054, e
    c.ping(); c.select_db("shop"); c.close()
print("done")
"#;

#[test]
fn pymysql_logs_in_and_has_its_way() {
    both(|house| {
        let token = alice(house);
        let env = house.environment(&token, &[]);
        assert_eq!(python(PYMYSQL, &borrow(&env)).expect_success(), "done");
        assert_trail(house);
    });
}

const CONNECTOR: &str = r#"
# Its C part first: it needs the OpenSSL that came with it, which a system's older one would stand in for.
import _mysql_connector, itertools, os, mysql.connector
assert mysql.connector.HAVE_CEXT
tls = {"ssl_ca": os.environ["CA"], "ssl_verify_cert": True}
for pure, more in itertools.product((True, False), ({"ssl_disabled": True}, tls)):
    c = mysql.connector.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="alice",
        password=os.environ["TOKEN"], database="shop", use_pure=pure, **more)
    assert ("CMySQL" in type(c).__name__) != pure, type(c)
    k = c.cursor(prepared=True)
    for n in (1, 2):
        k.execute("SELECT %s + 1, %s", (n, "é"))
        (a, b), = k.fetchall()
        assert int(a) == n + 1 and b == "é", (a, b)
    k.close()
    k = c.cursor()
    k.execute("CREATE TEMPORARY TABLE t (a INT PRIMARY KEY AUTO_INCREMENT, b DATETIME(6))")
    k.execute("INSERT INTO t (b) VALUES (%s), (NULL)", ("2026-11-24 10:00:00.5",))
    assert k.lastrowid == 1, k.lastrowid
    k.execute("SELECT a FROM t")
    assert k.fetchall() == [(1,), (2,)]
    c.reset_session()
    c.cmd_change_user(username="alice", password=os.environ["OTHER"], database="shop")
    k = c.cursor(); k.execute("SELECT DATABASE()"); assert k.fetchall() == [("shop",)]
    c.ping(); c.close()
print("done")
"#;

#[test]
fn mysql_connector_logs_in_prepares_and_changes_its_user() {
    both(|house| {
        let (token, other) = (alice(house), house.daypass.token("alice"));
        let env = house.environment(&token, &[("OTHER", &other)]);
        assert_eq!(python(CONNECTOR, &borrow(&env)).expect_success(), "done");
        assert_trail(house);
    });
}

const MYSQL2: &str = r#"
const mysql = require("mysql2/promise"), fs = require("fs");
(async () => {
  for (const ssl of [undefined, { ca: fs.readFileSync(process.env.CA) }]) {
    const c = await mysql.createConnection({ host: "localhost", port: +process.env.PORT,
      user: "alice", password: process.env.TOKEN, database: "shop", ssl });
    const [rows] = await c.execute("SELECT ? + 1 AS a, ? AS b, CAST(? AS DATETIME) AS c", [1, "é", "2026-11-24"]);
    if (Number(rows[0].a) !== 2 || rows[0].b !== "é") throw new Error(JSON.stringify(rows));
    const [again] = await c.execute("SELECT ? + 1 AS a, ? AS b, CAST(? AS DATETIME) AS c", [2, null, null]);
    if (Number(again[0].a) !== 3 || again[0].b !== null) throw new Error(JSON.stringify(again));
    const [text] = await c.query("SELECT DATABASE() AS d");
    if (text[0].d !== "shop") throw new Error(JSON.stringify(text));
    await c.ping();
    await c.changeUser({ user: "alice", password: process.env.OTHER, database: "shop" });
    await c.query("SELECT 1");
    await c.end();
  }
  console.log("done");
})().catch(e => { console.error(e); process.exit(1); });
"#;

#[test]
fn mysql2_logs_in_prepares_and_changes_its_user() {
    both(|house| {
        let (token, other) = (alice(house), house.daypass.token("alice"));
        let env = house.environment(&token, &[("OTHER", &other)]);
        assert_eq!(node(MYSQL2, &borrow(&env)).expect_success(), "done");
        assert_trail(house);
    });
}

#[test]
fn mysql_async_logs_in_and_has_its_way() {
    both(|house| {
        let token = alice(house);
        let mut client = mysql_async();
        client.envs(house.environment(&token, &[]));
        assert_eq!(run(&mut client, "").expect_success(), "done");
        assert_trail(house);
    });
}
