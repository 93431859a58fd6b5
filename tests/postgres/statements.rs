//! What runs, what does not, and what is said of it.

use crate::support::Output;
use crate::{house, with_house};

/// What psql says when it is given these lines, statement by statement.
fn ask(user: &str, privileges: &[&str], text: &str) -> Output {
    with_house(|house| {
        let token = house.principal(user, privileges);
        let end = if text.starts_with('\\') { "" } else { ";" };
        house.daypass.open_psql(user, &token, "shop").run(&format!("{text}{end}"))
    })
}

#[test]
fn what_is_granted_runs_and_what_is_not_says_what_to_ask_for() {
    let _kept = house();
    let output = ask(
        "ann",
        &["SELECT ON public.orders"],
        "SELECT count(*) FROM orders; SELECT email FROM customers",
    );
    output.expect_sqlstate("42501");
    assert_eq!(output.stdout, "100");
    let stderr = &output.stderr;
    assert!(stderr.contains("SELECT (email) ON public.customers"), "{stderr}");
    assert!(
        stderr.contains("CALL daypass.request('SELECT (email) ON public.customers'"),
        "{stderr}"
    );
    assert!(stderr.contains("daypass request create --database shop"), "{stderr}");
    assert!(stderr.contains("SELECT ON public.orders"), "{stderr}");
}

#[test]
fn columns_are_granted_one_by_one() {
    let _kept = house();
    let privileges = ["SELECT (id, name) ON public.customers"];
    assert_eq!(ask("bea", &privileges, "SELECT name FROM customers WHERE id = 1").stdout, "name 1");
    ask("bea", &[], "SELECT * FROM customers").expect_sqlstate("42501");
    ask("bea", &[], "SELECT name FROM customers ORDER BY email").expect_sqlstate("42501");
    assert_eq!(ask("bea", &[], "SELECT count(*) FROM customers").stdout, "10");
}

#[test]
fn row_security_that_the_account_bypasses_takes_a_word_of_its_own() {
    let kept = house();
    kept.server.sql_in(
        "shop",
        "CREATE TABLE leads (id int); INSERT INTO leads VALUES (1), (2); \
         ALTER TABLE leads ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY few ON leads USING (id = 1); CREATE VIEW all_leads AS SELECT * FROM leads",
    );
    // Not even who may do everything else.
    let refused = ask("rex", &["ADMIN ON DATABASE"], "BEGIN; ROLLBACK; SELECT id FROM leads");
    refused.expect_sqlstate("42501");
    assert!(
        refused.stderr.contains("no live grant allows BYPASS ROW SECURITY ON public.leads"),
        "{}",
        refused.stderr
    );
    assert_eq!(ask("rex", &["BYPASS ROW SECURITY ON public.leads"], "TABLE leads").stdout, "1\n2");
    // A view reads as its owner, for anybody.
    let view = ["SELECT ON public.all_leads"];
    assert_eq!(ask("roy", &view, "SELECT count(*) FROM all_leads").stdout, "2");
    ask("roy", &["READ ON SCHEMA public"], "SELECT id FROM leads").expect_sqlstate("42501");
}

#[test]
fn a_function_that_lies_about_itself_has_to_be_granted() {
    let kept = house();
    kept.server.sql_in(
        "shop",
        "CREATE FUNCTION peek(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS \
         'BEGIN RETURN (SELECT card FROM customers WHERE id = $1); END'",
    );
    let refused = ask("lynn", &["SELECT ON public.orders"], "SELECT peek(1)");
    refused.expect_sqlstate("42501");
    assert!(refused.stderr.contains("EXECUTE ON FUNCTION public.peek(integer)"), "{refused:?}");
    let granted = ["EXECUTE ON FUNCTION public.peek(int)"];
    assert_eq!(ask("lynn", &granted, "SELECT peek(1)").stdout, "41111");
}

#[test]
fn a_view_of_everything_that_reads() {
    let _kept = house();
    for (text, expected) in [
        ("SELECT 1", "1"),
        ("TABLE orders LIMIT 1", "1|2|new|10"),
        ("WITH o AS (SELECT * FROM orders) SELECT count(*) FROM o", "100"),
        ("SELECT count(*) FROM ONLY orders", "100"),
        ("VALUES (1), (2)", "1\n2"),
        (
            "BEGIN; DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY id; FETCH 2 FROM c; COMMIT",
            "1\n2",
        ),
        ("PREPARE p AS SELECT id FROM orders WHERE id = $1; EXECUTE p(7)", "7"),
        ("COPY (SELECT id FROM orders WHERE id < 3 ORDER BY id) TO STDOUT", "1\n2"),
        ("SHOW server_encoding", "UTF8"),
        ("SELECT current_user = session_user, version() LIKE 'PostgreSQL%'", "t|t"),
    ] {
        let output = ask("cat", &["READ ON TABLE public.orders"], text);
        assert_eq!(output.clone().expect_success(), expected, "{text}: {output:?}");
    }
}

#[test]
fn what_writes_needs_the_privilege_to_write() {
    let _kept = house();
    for text in [
        "INSERT INTO orders VALUES (1000, 1, 'x', 1)",
        "UPDATE orders SET status = 'x'",
        "DELETE FROM orders",
        "WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d",
        "TRUNCATE orders",
        "SELECT * INTO copied FROM orders",
        "CREATE TABLE copied AS TABLE orders",
        "MERGE INTO orders o USING orders p ON o.id = p.id WHEN MATCHED THEN DELETE",
        "SELECT * FROM orders FOR UPDATE",
        "COPY orders FROM STDIN",
        "DROP TABLE orders",
        "ALTER TABLE orders ADD COLUMN x int",
        "CREATE INDEX ON orders (status)",
        "GRANT ALL ON orders TO public",
        "EXPLAIN ANALYZE DELETE FROM orders",
        "PREPARE p AS DELETE FROM orders",
        "DO $$ BEGIN DELETE FROM orders; END $$",
    ] {
        let output = ask("dan", &["READ ON TABLE public.orders"], text);
        output.expect_sqlstate("42501");
    }
    with_house(|house| {
        assert_eq!(house.server.sql_in("shop", "SELECT count(*) FROM orders"), "100");
    });
}

#[test]
fn write_covers_rows_and_the_sequences_of_their_columns() {
    let _kept = house();
    let privileges = ["WRITE ON public.notes"];
    let text = "INSERT INTO notes (text) VALUES ('eve 1') RETURNING text; \
                UPDATE notes SET text = 'eve 2' WHERE text = 'eve 1'; \
                SELECT text FROM notes WHERE text LIKE 'eve%'; DELETE FROM notes WHERE text LIKE 'eve%'";
    assert_eq!(ask("eve", &privileges, text).expect_success(), "eve 1\neve 2");
    ask("eve", &[], "TRUNCATE notes").expect_sqlstate("42501");
}

#[test]
fn what_is_not_understood_never_reaches_the_server() {
    let _kept = house();
    for (text, sqlstate) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM missing", "42P01"),
        ("SELECT missing FROM orders", "42703"),
        ("SET ROLE postgres", "0A000"),
        ("COPY orders TO PROGRAM 'id'", "0A000"),
        ("CREATE TEMP VIEW orders AS SELECT 1", "0A000"),
        ("ALTER USER postgres PASSWORD 'x'", "0A000"),
        ("SELECT * FROM pg_authid", "42501"),
        ("SELECT pg_read_file('/etc/passwd')", "42501"),
        ("SELECT * FROM pg_stat_activity", "42501"),
    ] {
        let output = ask("fay", &["READ ON DATABASE"], text);
        assert_eq!(output.sqlstates(), [sqlstate], "{text}: {output:?}");
    }
    with_house(|house| {
        let log = house.server.log();
        assert!(!log.contains("pg_read_file") && !log.contains("TO PROGRAM"), "the server saw it");
    });
}

#[test]
fn a_denial_leaves_the_transaction_as_the_server_would() {
    let _kept = house();
    let output = ask(
        "hal",
        &["READ ON TABLE public.orders"],
        "BEGIN; SELECT count(*) FROM orders; SELECT * FROM customers; SELECT 1; COMMIT; SELECT 2",
    );
    assert_eq!(output.sqlstates(), ["42501", "25P02"]);
    assert!(output.stdout.ends_with('2'), "{output:?}");
}

#[test]
fn data_is_copied_in_and_out() {
    let _kept = house();
    with_house(|house| {
        let token = house.principal("inez", &["WRITE ON public.notes"]);
        let mut psql = house.daypass.open_psql("inez", &token, "shop");
        let copied = psql.run("COPY notes (id, text) FROM STDIN;\n9001\tone\n9002\ttwo\n\\.\n");
        assert!(copied.sqlstates().is_empty(), "{copied:?}");
        let out = psql
            .run("COPY (SELECT text FROM notes WHERE id IN (9001, 9002) ORDER BY id) TO STDOUT;");
        assert_eq!(out.stdout, "one\ntwo");
        psql.run("DELETE FROM notes WHERE id IN (9001, 9002);");
        let result = house.daypass.wait_audit("the copy's result", |record| {
            record["kind"] == "result" && record["command"] == "COPY" && record["rows"] == 2
        });
        assert_eq!(result["outcome"], "ok");
    });
}
