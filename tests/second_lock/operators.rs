//! What operators are told of a database.

use serde_json::Value;

use crate::support::{Output, eventually, psql, versions_available};
use crate::{House, server_with};

fn json(output: &Output) -> Vec<Value> {
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn what_is_missing_is_said_with_sql_that_mends_it() {
    for version in versions_available().into_iter().filter(|it| matches!(it.major, 13 | 15 | 18)) {
        let house = House::on(Some(version));
        house.server.sql_in(
            "shop",
            "CREATE ROLE app; CREATE SCHEMA private AUTHORIZATION app; SET ROLE app; \
             CREATE TABLE private.things (id int); GRANT SELECT ON private.things TO PUBLIC; \
             CREATE FUNCTION private.all_of() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
             RESET ROLE; CREATE ROLE daypass_old_0123456789abcdef0123 LOGIN; CREATE ROLE daypass_store LOGIN; \
             ALTER ROLE svc NOCREATEROLE",
        );
        let check = || house.daypass.cli(&["database", "check", "shop"]);
        let output = check();
        assert_eq!(output.status, 1, "{output:?}");
        for said in [
            "error: the service account svc may not make roles",
            "error: the service account svc may give nobody privileges on 1 relations of app, \
             private.things among them",
            "error: the service account svc may let nobody into schema private",
            "warning: everybody has TEMPORARY on database shop",
            "warning: everybody has SELECT on table private.things",
            "warning: everybody has EXECUTE on routine private.all_of(), which runs with its",
            "note: role daypass_old_0123456789abcdef0123 is not of this entry and key, and can log in",
        ] {
            assert!(output.stderr.contains(said), "{said} in {}", output.stderr);
        }
        // What it prints is what mends it.
        house.server.sql_in("shop", &output.stdout);
        let output = check();
        assert_eq!(output.status, 0, "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.contains("warning"), "{output:?}");
        let findings = json(&house.daypass.cli(&["database", "check", "shop", "--output", "json"]));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0]["weight"], "note");
    }
}

#[test]
fn what_a_live_grant_allows_and_nobody_could_give_is_said_until_it_is_mended() {
    let house = House::new();
    house.server.sql_in(
        "shop",
        "CREATE TABLE sales.shared (id int); GRANT SELECT ON sales.shared TO svc WITH GRANT OPTION",
    );
    house.daypass.grant("sam", "shop", &["WRITE ON sales.shared"]);
    let token = house.daypass.token("sam");
    let sql = |text: &str| house.daypass.psql("sam", &token, "shop", text);
    assert_eq!(sql("SELECT count(*) FROM sales.shared").expect_success(), "0");
    sql("DELETE FROM sales.shared").expect_sqlstate("42501");
    let check = || house.daypass.cli(&["database", "check", "shop"]);
    let output = check();
    assert_eq!(output.status, 1, "{output:?}");
    let mend =
        "GRANT DELETE, INSERT, UPDATE ON TABLE \"sales\".\"shared\" TO \"svc\" WITH GRANT OPTION;";
    assert!(output.stdout.contains(mend), "{output:?}");
    house.server.sql_in("shop", mend);
    eventually("the grant to reach the table", || (check().status == 0).then_some(()));
    sql("DELETE FROM sales.shared").expect_success();
}

#[test]
fn standing_privileges_are_listed_as_requests_take_them() {
    let house = House::new();
    house.daypass.grant("alice", "shop", &["SELECT ON public.orders"]);
    let token = house.daypass.token("alice");
    house.daypass.psql("alice", &token, "shop", "SELECT 1").expect_success();
    house.server.sql_in(
        "shop",
        "CREATE ROLE readers; GRANT SELECT ON orders, customers TO readers; \
         CREATE ROLE daypass_tom LOGIN CREATEDB; CREATE ROLE tom LOGIN CREATEDB; GRANT readers TO tom; \
         GRANT UPDATE (email), INSERT ON customers TO tom; GRANT USAGE ON orders_id_seq TO tom; \
         CREATE ROLE idle LOGIN",
    );
    let listed = json(&house.daypass.cli(&["database", "audit", "shop", "--output", "json"]));
    let shown: Vec<_> = listed
        .iter()
        .map(|it| {
            let through = it["through"].as_str().unwrap_or("itself");
            format!(
                "{}: {} by {through}",
                it["role"].as_str().unwrap(),
                it["privilege"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "daypass_tom: CREATEDB by itself",
            "postgres: SUPERUSER by itself",
            "tom: CREATEDB by itself",
            "tom: INSERT, UPDATE (email) ON public.customers by itself",
            "tom: SELECT ON public.customers by readers",
            "tom: SELECT ON public.orders by readers",
            "tom: USAGE ON SEQUENCE public.orders_id_seq by itself",
        ]
    );
    let table = house.daypass.cli(&["database", "audit", "shop"]).expect_success();
    assert!(table.starts_with("ROLE") && table.contains("readers"), "{table}");
    let refused = house.daypass.cli_as(&token, &["database", "audit", "shop"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    let unknown = house.daypass.cli(&["database", "check", "a/b"]);
    assert!(unknown.stderr.contains("there is no database \"a/b\""), "{unknown:?}");
}

#[test]
fn standing_privileges_are_listed_beside_what_was_used_of_them() {
    let house = House::new();
    house.server.sql_in(
        "shop",
        "CREATE ROLE tom LOGIN CREATEDB; GRANT SELECT, DELETE ON orders TO tom; \
         GRANT SELECT ON customers TO tom",
    );
    house.daypass.grant("tom", "shop", &["READ ON DATABASE"]);
    let token = house.daypass.token("tom");
    house.daypass.psql("tom", &token, "shop", "SELECT id FROM orders").expect_success();
    house.daypass.psql("tom", &token, "shop", "SELECT status FROM orders").expect_success();
    // What is refused was not used.
    house.daypass.psql("tom", &token, "shop", "DELETE FROM orders").expect_sqlstate("42501");
    let last = house.daypass.wait_audit("the second query", |it| {
        it["kind"] == "decision" && it["text"] == "SELECT status FROM orders"
    });
    house.daypass.wait_audit("the refusal", |it| it["decision"] == "deny");
    let args = ["database", "audit", "shop", "--since", "1d"];
    let mut listed = json(&house.daypass.cli(&[&args[..], &["--output", "json"]].concat()));
    listed.retain(|it| it["role"] == "tom");
    let [attribute, unused, used] = &listed[..] else { panic!("{listed:#?}") };
    assert_eq!(attribute["privilege"], "CREATEDB");
    assert_eq!((&attribute["used"], &attribute["request"]), (&Value::Null, &Value::Null));
    assert_eq!(unused["privilege"], "SELECT ON public.customers");
    assert_eq!((&unused["used"], &unused["last-used"]), (&Value::Null, &Value::Null));
    assert_eq!(used["privilege"], "SELECT, DELETE ON public.orders");
    assert_eq!(used["used"], "SELECT (id, status) ON public.orders");
    assert_eq!(used["last-used"], last["time"]);
    // The line is one that can be run as it is.
    let line = used["request"].as_str().unwrap();
    let expected = "daypass request create --database shop --privilege \
                    'SELECT (id, status) ON public.orders' --for 8h --reason '…'";
    assert_eq!(line, expected);
    let output = house.daypass.cli(&args);
    assert!(output.stderr.contains("audit.jsonl goes back to 2"), "{output:?}");
    let said = "nothing of what was used directly: the extension is not in the database shop";
    assert!(output.stderr.contains(said), "{output:?}");
    assert!(output.stdout.contains("not seen") && output.stdout.contains(expected), "{output:?}");
}

#[test]
fn what_a_role_did_past_the_proxy_is_listed_where_the_server_keeps_its_statements() {
    let server = server_with(None, &["shared_preload_libraries = 'pg_stat_statements'"]);
    server.sql_in(
        "shop",
        "CREATE EXTENSION pg_stat_statements; CREATE ROLE tom LOGIN PASSWORD 'tom'; \
         ALTER ROLE tom SET search_path = sales, public; GRANT USAGE ON SCHEMA sales TO tom; \
         GRANT SELECT, DELETE ON orders, sales.leads TO tom; GRANT SELECT ON customers TO tom; \
         GRANT USAGE ON orders_id_seq TO tom",
    );
    let house = House::before(server);
    house.daypass.grant("tom", "shop", &["SELECT ON public.orders"]);
    let token = house.daypass.token("tom");
    house.daypass.psql("tom", &token, "shop", "SELECT status FROM orders").expect_success();
    house.daypass.wait_audit("the query", |it| it["text"] == "SELECT status FROM orders");
    let port = house.server.port().to_string();
    let itself = |text: &str| {
        let env = [("PGHOST", "127.0.0.1"), ("PGPORT", port.as_str())];
        let who = [("PGUSER", "tom"), ("PGPASSWORD", "tom"), ("PGDATABASE", "shop")];
        psql(&["-c", text], &[&env[..], &who].concat())
    };
    itself("SELECT id FROM orders WHERE total > 5 AND status = 'new'").expect_success();
    itself("DELETE FROM leads WHERE id = 7").expect_success();
    itself("SELECT nextval('orders_id_seq')").expect_success();
    // What fails was not used, and is not kept.
    itself("DELETE FROM customers").expect_sqlstate("42501");

    let args = ["database", "audit", "shop", "--since", "1d", "--output", "json"];
    let ask = || {
        let output = house.daypass.cli(&args);
        let mut listed = json(&output);
        listed.retain(|it| it["role"] == "tom");
        let direct: Vec<_> = listed
            .iter()
            .map(|it| {
                let used = it["used-directly"].as_str().unwrap_or("nothing");
                format!("{}: {used}", it["privilege"].as_str().unwrap())
            })
            .collect();
        (listed, direct, output.stderr)
    };
    let (_, direct, said) = ask();
    assert!(direct.iter().all(|line| line.ends_with(": nothing")), "{direct:?}");
    let unreadable = "3 of tom's 3 statements cannot be read: the service account needs";
    assert!(said.contains(unreadable), "{said}");

    house.server.sql("GRANT pg_read_all_stats TO svc");
    let (listed, direct, said) = ask();
    assert_eq!(
        direct,
        [
            "SELECT ON public.customers: nothing",
            "SELECT, DELETE ON public.orders: SELECT (id, status, total) ON public.orders",
            "SELECT, DELETE ON sales.leads: SELECT (id), DELETE ON sales.leads",
            "USAGE ON SEQUENCE public.orders_id_seq: nothing",
        ]
    );
    assert_eq!(listed[1]["used"], "SELECT (status) ON public.orders");
    let line = listed[1]["request"].as_str().unwrap();
    assert!(line.contains("'SELECT (id, status, total) ON public.orders'"), "{line}");
    assert!(said.contains("pg_stat_statements goes back to 2"), "{said}");
    assert!(said.contains("1 of tom's 3 statements are not understood in full"), "{said}");
    assert!(!said.contains("cannot be read"), "{said}");
    let refused = house.daypass.cli_as(&token, &args);
    assert_eq!(refused.status, 2, "{refused:?}");
}
