//! What the server allows a principal's role.

use crate::House;
use crate::support::{Output, eventually, versions_available};

#[test]
fn the_server_allows_what_the_grant_says_and_refuses_the_rest_itself() {
    let house = House::new();
    let privileges = ["SELECT (id, status), UPDATE (status) ON public.orders"];
    house.daypass.grant("ada", "shop", &privileges);
    let token = house.daypass.token("ada");
    let sql = |text: &str| house.daypass.psql("ada", &token, "shop", text);
    assert_eq!(sql("SELECT count(id) FROM orders").expect_success(), "100");
    sql("UPDATE orders SET status = 'sent' WHERE id = 7").expect_success();

    let role = house.role("ada");
    assert_eq!(sql("SELECT current_user").expect_success(), role);
    assert!(role.starts_with("daypass_ada_"), "{role}");
    let past = |text: &str| house.past_the_proxy("ada", text);
    assert_eq!(past("SELECT status FROM orders WHERE id = 7").expect_success(), "sent");
    for refused in [
        "SELECT total FROM orders",
        "SELECT count(*) FROM customers",
        "SELECT count(*) FROM sales.leads",
        "DELETE FROM orders",
        "UPDATE orders SET total = 0",
        "SELECT nextval('orders_id_seq')",
        "SELECT rolpassword FROM pg_authid",
        "CREATE TABLE public.mine (id int)",
        "ALTER TABLE orders ADD COLUMN more int",
        "CREATE ROLE other",
        "SET ROLE svc",
        "SELECT pg_read_file('/etc/passwd')",
    ] {
        past(refused).expect_sqlstate("42501");
    }
    let record = house.daypass.wait_audit("the update", |it| it["class"] == "WRITE");
    assert_eq!(record["second-lock"], "role");
}

#[test]
fn grants_that_say_the_same_share_one_role_and_a_person_has_the_union() {
    let house = House::new();
    for user in ["bea", "cem"] {
        house.daypass.grant(user, "shop", &["READ ON SCHEMA sales", "SELECT ON public.orders"]);
    }
    house.daypass.grant("cem", "shop", &["SELECT ON public.customers"]);
    for user in ["bea", "cem"] {
        let token = house.daypass.token(user);
        let output = house.daypass.psql(user, &token, "shop", "SELECT count(*) FROM sales.leads");
        assert_eq!(output.expect_success(), "0");
    }
    let roles = house.our_roles();
    assert_eq!(roles.iter().filter(|role| role.ends_with("_set")).count(), 2, "{roles:?}");
    assert_eq!(house.past_the_proxy("cem", "SELECT id FROM customers").expect_success(), "1");
    house.past_the_proxy("bea", "SELECT id FROM customers").expect_sqlstate("42501");
}

#[test]
fn levels_reach_relations_that_are_made_later() {
    let house = House::new();
    house.daypass.grant("dan", "shop", &["READ ON SCHEMA sales"]);
    let token = house.daypass.token("dan");
    let mut session = house.daypass.open_psql("dan", &token, "shop");
    assert_eq!(session.run("SELECT count(*) FROM sales.leads;").stdout, "0");
    house.server.sql_in("shop", "SET ROLE svc; CREATE TABLE sales.won AS SELECT 1 AS id");
    // The proxy may not know the name yet; once it does, the server's own refusal must not be met.
    eventually("the new relation to be known", || {
        let output = session.run("SELECT count(*) FROM sales.won;");
        if output.stdout == "1" {
            return Some(());
        }
        assert!(!output.stderr.contains("permission denied for"), "{output:?}");
        None
    });
    // One of the same name and columns is another relation with no rights yet.
    house
        .server
        .sql_in("shop", "DROP TABLE sales.won; SET ROLE svc; CREATE TABLE sales.won (id int)");
    eventually("the relation that took its place to be readable", || {
        (session.run("SELECT count(*) FROM sales.won;").stdout == "0").then_some(())
    });
    house.past_the_proxy("dan", "SELECT count(*) FROM orders").expect_sqlstate("42501");
}

#[test]
fn what_owners_do_is_refused_and_a_role_does_not_alter_itself() {
    let house = House::new();
    house.daypass.grant("eva", "shop", &["ADMIN ON DATABASE"]);
    let token = house.daypass.token("eva");
    let role = house.role("eva");
    for refused in [
        "CREATE TABLE mine (id int)".to_owned(),
        "ALTER TABLE orders ADD COLUMN more int".into(),
        "DROP TABLE orders".into(),
        format!("ALTER ROLE \"{role}\" SET search_path TO sales"),
        format!("ALTER ROLE \"{role}\" VALID UNTIL 'infinity'"),
        "GRANT SELECT ON orders TO PUBLIC".into(),
    ] {
        let output = house.daypass.psql("eva", &token, "shop", &refused);
        output.expect_sqlstate("0A000");
        assert!(output.stderr.contains("ddl-owner"), "{output:?}");
    }
    let count = house.daypass.psql("eva", &token, "shop", "SELECT count(*) FROM sales.leads");
    assert_eq!(count.expect_success(), "0");
    house.daypass.psql("eva", &token, "shop", "TRUNCATE orders").expect_success();
    // Passwords are refused before anything else.
    let password = format!("ALTER ROLE \"{role}\" PASSWORD 'mine'");
    house.daypass.psql("eva", &token, "shop", &password).expect_sqlstate("0A000");
    let log = house.server.log();
    assert!(!log.contains("'mine'") && !log.contains("TO sales"), "no ALTER ROLE has reached it");
}

/// The ways past a reader of statements that are known: each ends at the server as long as it is this role
/// that asks. The first lock has no part in it.
#[test]
fn no_way_past_the_first_lock_is_one_past_the_second() {
    for version in versions_available().into_iter().filter(|it| matches!(it.major, 15 | 18)) {
        let house = House::on(Some(version));
        house.daypass.grant("rea", "shop", &["SELECT (id, status) ON public.orders"]);
        let token = house.daypass.token("rea");
        house.daypass.psql("rea", &token, "shop", "SELECT 1").expect_success();
        let refused = |output: &Output| {
            output.stderr.contains("42501") && !output.stdout.contains("example.org")
        };
        let got = TRAPS.iter().map(|trap| (trap, house.past_the_proxy("rea", trap)));
        let past: Vec<_> = got.filter(|(_, output)| !refused(output)).collect();
        assert!(past.is_empty(), "{}: {past:#?}", house.server.major());
    }
}

const TRAPS: &[&str] = &[
    "SELECT id, status FROM orders UNION TABLE customers",
    "TABLE customers",
    "SELECT * FROM ONLY customers",
    "UPDATE ONLY orders SET (status) = (SELECT email FROM customers)",
    "SELECT * INTO copied FROM customers",
    "CREATE TABLE public.x AS TABLE customers",
    "WITH customers AS (SELECT * FROM customers LIMIT 1) SELECT * FROM customers",
    "WITH a AS (SELECT * FROM customers), customers AS (SELECT 1) SELECT * FROM a",
    "WITH orders AS (SELECT 1) DELETE FROM orders",
    "WITH gone AS (DELETE FROM customers RETURNING *) SELECT * FROM gone",
    "MERGE INTO orders o USING customers c ON o.id = c.id WHEN MATCHED THEN DELETE",
    "SELECT sum(id) FILTER (WHERE id IN (SELECT id FROM customers)) FROM orders",
    "SELECT id FROM orders ORDER BY (SELECT email FROM customers)",
    "SELECT * FROM customers TABLESAMPLE system (100)",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "BEGIN; DECLARE c CURSOR FOR SELECT * FROM customers; FETCH c",
    "PREPARE p AS SELECT * FROM customers; EXECUTE p",
    "DO 'BEGIN DELETE FROM customers; END'",
    "DO 'BEGIN EXECUTE ''SELECT * FROM customers''; END'",
    "COPY customers TO STDOUT",
    "COPY (SELECT * FROM customers) TO STDOUT",
    "COPY orders TO PROGRAM 'cat'",
    "COPY orders FROM '/etc/passwd'",
    "SELECT * FROM orders",
    "SELECT o FROM orders o",
    "SELECT row_to_json(o) FROM orders o",
    "SELECT count(o) FROM orders o",
    "SELECT id FROM orders FOR UPDATE",
    "SELECT id FROM orders NATURAL JOIN customers",
    "SELECT query_to_xml('SELECT * FROM customers', true, false, '')",
    "SELECT table_to_xml('customers', true, false, '')",
    "SELECT * FROM U&\"\\0063ustomers\"",
    "SELECT setval('orders_id_seq', 1)",
    "BEGIN; LOCK TABLE customers IN ACCESS SHARE MODE",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'svc'",
    "SET SESSION AUTHORIZATION svc",
    "SET ROLE postgres",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "CREATE POLICY p ON orders USING (true)",
    "CREATE RULE r AS ON SELECT TO orders DO INSTEAD SELECT * FROM customers",
    "CREATE VIEW public.v AS SELECT * FROM customers",
    "GRANT SELECT ON customers TO CURRENT_USER",
    "REINDEX TABLE customers",
    "DROP TABLE orders",
    "TRUNCATE orders",
];
