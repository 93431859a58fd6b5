//! What a statement would need, asked in a session and on the command line. Nothing of it runs.

use serde_json::{Value, json};

use crate::with_house;

#[test]
fn a_session_is_told_what_each_statement_needs_under_its_own_names() {
    with_house(|house| {
        let token = house.principal("exa", &["SELECT (id, name) ON public.customers"]);
        let mut psql = house.daypass.open_psql("exa", &token, "shop");
        let ask = |text: &str| format!("CALL daypass.explain('{text}');");
        let output = psql.run(&ask("SELECT name, email FROM customers; DELETE FROM orders"));
        let told = output.expect_success();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(
            lines,
            [
                "1: SELECT|READ|SELECT (email, name) ON public.customers|not granted|\
                 SELECT (email) ON public.customers",
                "2: DELETE|WRITE|DELETE ON public.orders|not granted|DELETE ON public.orders",
            ]
        );
        let told = psql.run(&ask("SELECT name FROM customers")).expect_success();
        assert!(told.contains("|allowed by g_") && told.ends_with('|'), "{told}");
        assert_eq!(psql.run(&ask("BEGIN")).expect_success(), "1: BEGIN|MISC||needs no grant|");
        let told = psql.run(&ask("SELECT * FROM nowhere")).expect_success();
        assert_eq!(told, "|||refused|relation \"nowhere\" does not exist");
        // Its temporary table, its prepared statement; and a transaction goes on after what is refused.
        psql.run("CREATE TEMP TABLE orders (mine int); PREPARE p AS SELECT id FROM customers;")
            .expect_success();
        let told = psql.run(&format!("BEGIN; {} {}", ask("SELECT mine FROM orders"), ask("SELEC")));
        let told = told.expect_success();
        assert!(told.contains("1: SELECT|READ|any privilege|allowed by g_"), "{told}");
        assert!(told.contains("|||refused|syntax error"), "{told}");
        let told = psql.run(&ask("EXECUTE p")).expect_success();
        assert!(told.contains("1: EXECUTE|MISC|SELECT (id) ON public.customers|allowed"), "{told}");
        psql.run("COMMIT; CALL daypass.explain();").expect_sqlstate("42883");
        let helped = psql.run("CALL daypass.help();").expect_success();
        assert!(helped.contains("daypass.explain(statement)|"), "{helped}");
        assert!(!house.server.log().contains("DELETE FROM orders"), "it ran");
    });
}

#[test]
fn what_is_asked_is_recorded_without_the_passwords_in_it() {
    with_house(|house| {
        let token = house.principal("exo", &["READ ON TABLE public.orders"]);
        let mut psql = house.daypass.open_psql("exo", &token, "shop");
        let text = "CALL daypass.explain('CREATE ROLE x PASSWORD ''hunter2''');";
        let told = psql.run(text).expect_success();
        assert!(told.contains("|ADMIN ON DATABASE|not granted|ADMIN ON DATABASE"), "{told}");
        let record = house.daypass.wait_audit("the call", |record| {
            record["principal"] == "exo" && record["command"] == "CALL"
        });
        assert!(!record.to_string().contains("hunter2"), "{record}");
    });
}

#[test]
fn the_command_line_says_it_for_anybody() {
    with_house(|house| {
        let token = house.principal("exi", &["SELECT ON public.orders"]);
        let daypass = &house.daypass;
        let arguments = ["explain", "--user", "exi", "--database", "shop", "--output", "json"];
        let ask = |sql: &str| daypass.cli(&[&arguments[..], &[sql]].concat());
        let read = |output: &crate::support::Output| -> Vec<Value> {
            serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
        };
        let output = ask("SELECT id FROM orders");
        let lines = read(&output);
        assert_eq!((output.status, lines.len()), (0, 1), "{output:?}");
        assert_eq!(lines[0]["access"], "SELECT (id) ON public.orders");
        assert!(lines[0]["grants"][0].as_str().unwrap().starts_with("g_"), "{lines:?}");
        let output = ask("UPDATE orders SET status = 'x' WHERE id = 1");
        let lines = read(&output);
        assert_eq!(output.status, 2, "{output:?}");
        let missing: Vec<_> = lines.iter().map(|line| line["missing"].clone()).collect();
        assert_eq!(missing, [json!(null), json!("UPDATE (status) ON public.orders")]);
        let record = daypass.wait_audit("the question", |record| {
            record["kind"] == "explain" && record["decision"] == "deny"
        });
        assert_eq!(record["principal"], "exi");
        assert_eq!(record["missing"], json!(["UPDATE (status) ON public.orders"]));
        assert_eq!(house.server.sql_in("shop", "SELECT status FROM orders WHERE id = 1"), "new");

        let output = ask("SELECT * FROM nowhere");
        assert_eq!(output.status, 1);
        assert!(output.stderr.contains("relation \"nowhere\" does not exist"), "{output:?}");
        let table =
            daypass.cli(&["explain", "--user", "exi", "--database", "shop", "TABLE orders"]);
        assert!(table.stdout.starts_with("STATEMENT"), "{table:?}");
        // A principal asks for itself alone.
        let own = daypass.cli_as(&token, &[&arguments[..], &["TABLE orders"]].concat());
        assert_eq!(own.status, 0, "{own:?}");
        let others = ["explain", "--user", "ann", "--database", "shop", "TABLE orders"];
        assert_eq!(daypass.cli_as(&token, &others).status, 2);
        let nowhere = daypass.cli(&["explain", "--user", "exi", "--database", "no", "SELECT 1"]);
        assert!(nowhere.stderr.contains("there is no database \"no\""), "{nowhere:?}");
    });
}
