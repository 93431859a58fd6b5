//! Where `daypass explain` looks for names: where a session of that principal would.

use serde_json::Value;

use crate::support::{Config, Daypass, Postgres, eventually};
use crate::{House, server};

/// What the command line says that the statement needs, or why it says nothing.
fn needs(daypass: &Daypass, user: &str, more: &[&str], sql: &str) -> Result<Vec<String>, String> {
    let arguments = ["explain", "--user", user, "--database", "shop", "--output", "json", sql];
    let output = daypass.cli(&[&arguments[..], more].concat());
    let lines: Vec<Value> =
        serde_json::from_str(&output.stdout).map_err(|_| output.stderr.clone())?;
    let needed = lines.iter().map(|line| line["access"].as_str().unwrap_or_default().to_owned());
    Ok(needed.collect())
}

/// What a new session says of it.
fn in_session(daypass: &Daypass, user: &str, token: &str, sql: &str) -> String {
    let call = format!("CALL daypass.explain('{sql}')");
    let told = daypass.psql(user, token, "shop", &call).expect_success();
    told.split('|').nth(2).unwrap().to_owned()
}

#[test]
fn names_are_looked_for_where_the_principals_own_role_would() {
    let house = House::new();
    let (daypass, sql) = (&house.daypass, |text: &str| house.server.sql_in("shop", text));
    sql("SET ROLE svc; CREATE TABLE sales.orders (amount int)");
    daypass.grant("pat", "shop", &["SELECT ON sales.orders"]);
    daypass.grant("quinn", "shop", &["SELECT ON public.orders"]);
    let tokens = [daypass.token("pat"), daypass.token("quinn")];
    let ask = |user: &str, text: &str| needs(daypass, user, &[], text);
    let both = |user: &str, token: &str, text: &str, what: &str| {
        eventually(&format!("{what} for {user}'s command line"), || {
            (ask(user, text).ok()? == [what]).then_some(())
        });
        eventually(&format!("{what} for {user}'s session"), || {
            (in_session(daypass, user, token, text) == what).then_some(())
        });
    };
    let public = "SELECT (total) ON public.orders";
    both("pat", &tokens[0], "SELECT total FROM orders", public);
    // Of the database, and only for who may use the schema.
    sql("ALTER DATABASE shop SET search_path = sales, \"no such\", public");
    both("pat", &tokens[0], "SELECT amount FROM orders", "SELECT (amount) ON sales.orders");
    both("quinn", &tokens[1], "SELECT total FROM orders", public);
    let refused = ask("quinn", "SELECT amount FROM orders").unwrap_err();
    assert!(refused.contains("column \"amount\" does not exist"), "{refused}");
    assert!(refused.ends_with("were looked for in: pg_catalog, public"), "{refused}");
    // Nobody's role: it may what everybody may.
    assert_eq!(ask("nobody", "SELECT total FROM orders").unwrap(), [public]);

    // Of the service account, in which the user is the one that logs in.
    let own = house.role("pat");
    sql(&format!(
        "CREATE SCHEMA \"{own}\"; CREATE TABLE \"{own}\".orders (mine int); \
         GRANT USAGE ON SCHEMA \"{own}\" TO PUBLIC; CREATE SCHEMA svc; \
         CREATE TABLE svc.orders (its int); GRANT USAGE ON SCHEMA svc TO PUBLIC; \
         ALTER ROLE svc SET search_path = \"$user\", public"
    ));
    let mine = format!("SELECT (mine) ON {own}.orders");
    both("pat", &tokens[0], "SELECT mine FROM orders", &mine);
    both("quinn", &tokens[1], "SELECT total FROM orders", public);
    // Of the service account in the database.
    sql("ALTER ROLE svc IN DATABASE shop SET search_path = svc");
    both("quinn", &tokens[1], "SELECT its FROM orders", "SELECT (its) ON svc.orders");

    // As asked for.
    let with = |path: &str, text: &str| needs(daypass, "pat", &["--search-path", path], text);
    let (amount, total) = ("SELECT amount FROM orders", "SELECT total FROM orders");
    assert_eq!(with("Sales,public", amount).unwrap(), ["SELECT (amount) ON sales.orders"]);
    assert_eq!(with("\"Sales\",public", total).unwrap(), [public]);
    assert_eq!(with("public, sales", total).unwrap(), [public]);
    assert_eq!(with("\"$user\"", "SELECT mine FROM orders").unwrap(), [mine]);
    let refused = with("sales,,public", total).unwrap_err();
    assert!(refused.contains("not a list of schemas: \"sales,,public\""), "{refused}");
    let refused = with("", total).unwrap_err();
    assert!(refused.ends_with("were looked for in: pg_catalog"), "{refused}");
}

/// A proxy whose sessions are the service account.
fn one_lock(server: &Postgres) -> Daypass {
    Daypass::start(Config::new().database(&format!(
        "name = \"shop\"\nengine = \"postgres\"\nprimary = \"{}\"\nsecond-lock = \"none\"\n",
        server.url("svc", "shop")
    )))
}

#[test]
fn without_a_second_lock_they_are_looked_for_where_the_service_account_would() {
    let server = server(None);
    server.sql_in(
        "shop",
        "CREATE SCHEMA svc AUTHORIZATION svc; CREATE SCHEMA closed; SET ROLE svc; \
         CREATE TABLE svc.orders (its int); RESET ROLE; CREATE TABLE closed.orders (no int)",
    );
    let daypass = one_lock(&server);
    let token = {
        daypass.grant("pat", "shop", &["SELECT ON svc.orders"]);
        daypass.token("pat")
    };
    let its = "SELECT (its) ON svc.orders";
    let text = "SELECT its FROM orders";
    // As it comes: "$user", public.
    assert_eq!(needs(&daypass, "pat", &[], text).unwrap(), [its]);
    assert_eq!(in_session(&daypass, "pat", &token, text), its);
    server.sql("ALTER DATABASE shop SET search_path = closed, sales, public");
    let public = "SELECT (total) ON public.orders";
    let text = "SELECT total FROM orders";
    assert_eq!(needs(&daypass, "pat", &[], text).unwrap(), [public]);
    assert_eq!(in_session(&daypass, "pat", &token, text), public);
}
