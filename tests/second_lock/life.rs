//! Grants that come and go while sessions are open.

use crate::support::{Config, eventually};
use crate::{House, entry};

#[test]
fn a_grant_opens_and_ends_in_an_open_session() {
    let house = House::new();
    let token = house.daypass.token("fay");
    let mut session = house.daypass.open_psql("fay", &token, "shop");
    session.run("SELECT count(*) FROM orders;").expect_sqlstate("42501");
    assert!(house.our_roles().is_empty(), "nobody has a grant");
    let grant = house.daypass.grant("fay", "shop", &["SELECT ON public.orders"]);
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
    for round in 0..5 {
        // Another grant in the open session: the statement waits until the server has it.
        let more = house.daypass.grant("fay", "shop", &["SELECT ON public.customers"]);
        assert_eq!(session.run("SELECT count(*) FROM customers;").stdout, "1", "{round}");
        house.daypass.revoke(&more);
        session.run("SELECT count(*) FROM customers;").expect_sqlstate("42501");
        eventually("the membership to go", || (house.memberships("fay") == "1").then_some(()));
        house.past_the_proxy("fay", "SELECT count(*) FROM customers").expect_sqlstate("42501");
    }
    house.daypass.revoke(&grant);
    eventually("the last membership to go", || (house.memberships("fay") == "0").then_some(()));
    let role = house.role("fay");
    let can_login = format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'");
    assert_eq!(house.server.sql(&can_login), "f", "the role stays while its session is open");
    let output = house.past_the_proxy("fay", "SELECT 1");
    assert!(output.stderr.contains("not permitted to log in"), "{output:?}");
    // And opens again, the session none the wiser.
    house.daypass.grant("fay", "shop", &["SELECT ON public.orders"]);
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
}

#[test]
fn expiry_takes_the_membership_and_an_unused_role_is_dropped() {
    let house = House::new();
    let token = house.daypass.token("gus");
    house.daypass.grant_for("gus", "shop", &["SELECT ON public.orders"], "2s");
    let mut session = house.daypass.open_psql("gus", &token, "shop");
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
    assert_eq!(house.memberships("gus"), "1");
    let valid = format!(
        "SELECT rolvaliduntil BETWEEN now() AND now() + interval '2s' FROM pg_roles \
         WHERE rolname = '{}'",
        house.role("gus")
    );
    assert_eq!(house.server.sql(&valid), "t");
    eventually("the membership to go", || (house.memberships("gus") == "0").then_some(()));
    session.run("SELECT count(*) FROM orders;").expect_sqlstate("42501");
    assert_eq!(house.our_roles().iter().filter(|role| !role.ends_with("_set")).count(), 1);
    drop(session);
    eventually("the roles to go", || house.our_roles().is_empty().then_some(()));
}

#[test]
fn the_roles_of_a_database_that_is_removed_go_and_come_back_with_it() {
    let house = House::new();
    house.server.sql("CREATE DATABASE crm OWNER svc");
    let crm = || entry(Config::new(), "crm", &house.server, "svc", "crm");
    let both = || entry(crm(), "shop", &house.server, "svc", "shop");
    house.daypass.grant("ira", "shop", &["SELECT ON public.orders"]);
    let token = house.daypass.token("ira");
    let mut session = house.daypass.open_psql("ira", &token, "shop");
    session.run("BEGIN;");
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
    house.daypass.reload(crm());
    house.daypass.wait_audit("the removal", |it| {
        it["reason"].as_str().is_some_and(|why| why.contains("database shop removed"))
    });
    // It may finish its transaction, with what its grant allows.
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
    session.run("COMMIT;");
    eventually("the roles to go", || house.our_roles().is_empty().then_some(()));
    house.daypass.reload(both());
    eventually("the grant to be back", || {
        let output = house.daypass.psql("ira", &token, "shop", "SELECT count(*) FROM orders");
        (output.stdout == "100").then_some(())
    });
}

#[test]
fn sessions_have_the_settings_of_the_service_account() {
    let house = House::new();
    house.server.sql(
        "ALTER ROLE svc SET statement_timeout TO '7min'; \
         ALTER ROLE svc IN DATABASE shop SET search_path TO \"$user\", sales, public; \
         ALTER ROLE svc SET log_min_messages TO 'error'",
    );
    house.daypass.grant("jo", "shop", &["READ ON DATABASE"]);
    let token = house.daypass.token("jo");
    let mut session = house.daypass.open_psql("jo", &token, "shop");
    assert_eq!(session.run("SHOW statement_timeout;").stdout, "7min");
    assert_eq!(session.run("SELECT count(*) FROM leads;").stdout, "0");
    // Only a superuser could give the role this one; that stops nothing else.
    assert!(house.daypass.log().contains("log_min_messages"), "{}", house.daypass.log());
    house.server.sql("ALTER ROLE svc RESET ALL");
    let again = || house.daypass.psql("jo", &token, "shop", "SHOW statement_timeout").stdout;
    eventually("the setting to go", || (again() == "0").then_some(()));
}

#[test]
fn row_security_holds_for_a_role_where_the_service_account_would_bypass_it() {
    let house = House::new();
    house.server.sql_in(
        "shop",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY few ON orders FOR SELECT USING (id <= 3)",
    );
    house.daypass.grant("kit", "shop", &["READ ON DATABASE"]);
    let token = house.daypass.token("kit");
    let output = house.daypass.psql("kit", &token, "shop", "SELECT count(*) FROM orders");
    assert_eq!(output.expect_success(), "3");
    // What the role could not be held to is not granted.
    let wish = ["grant", "create", "--user", "kit", "--database", "shop", "--for", "1h"];
    let wish = [&wish[..], &["--reason", "x", "--privilege", "BYPASS ROW SECURITY ON DATABASE"]];
    let refused = house.daypass.cli(&wish.concat());
    assert!(refused.stderr.contains("its second lock is on"), "{}", refused.stderr);
}

#[test]
fn a_statement_that_ignores_its_cancel_is_ended_as_its_own_role() {
    let house = House::new();
    let token = house.daypass.token("hal");
    let grant = house.daypass.grant("hal", "shop", &["SELECT ON public.orders"]);
    let mut session = house.daypass.open_psql("hal", &token, "shop");
    session.send("SELECT pg_sleep(600), id FROM orders;");
    assert!(session.is_busy(std::time::Duration::from_millis(500)));
    house.daypass.revoke(&grant);
    session.finish().expect_sqlstate("57014");
    // What ends a backend for good: the service account may, without being a superuser.
    let pid = house
        .server
        .sql(&format!("SELECT pid FROM pg_stat_activity WHERE usename = '{}'", house.role("hal")));
    let end = format!("SET ROLE svc; SELECT pg_terminate_backend({pid})");
    assert_eq!(house.server.sql(&end), "t");
}
