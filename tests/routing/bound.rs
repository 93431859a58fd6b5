//! Grants that are bound to replicas: what is done under them never comes near the primary.

use crate::shop::Shop;
use crate::support::{Postgres, Shell, eventually};

const COUNT: &str = "SELECT count(*) FROM orders";

fn bind(shop: &Shop, user: &str, privileges: &[&str]) {
    let mut args = vec!["grant", "create", "--user", user, "--database", "shop", "--for", "1h"];
    args.extend(["--reason", "a test", "--route", "replica-only"]);
    privileges.iter().for_each(|privilege| args.extend(["--privilege", privilege]));
    shop.daypass.cli(&args).expect_success();
}

/// A session of somebody whose grants are all bound, once a replica takes it.
fn open_bound(shop: &Shop, user: &str, privileges: &[&str]) -> Shell {
    bind(shop, user, privileges);
    let token = shop.daypass.token(user);
    eventually("a replica to take the session", || {
        let mut session = shop.daypass.open_psql(user, &token, "shop");
        (session.run(&format!("{COUNT};")).stdout == "3").then_some(session)
    })
}

/// Whether somebody's role has ever connected there: every statement is in the log.
fn was_at(server: &Postgres, user: &str) -> bool {
    server.log().contains(&format!(" daypass_{user}_"))
}

#[test]
fn a_bound_session_is_at_replicas_alone_and_refused_what_they_cannot_do() {
    let mut shop = Shop::start(2, "", &[]);
    let mut session =
        open_bound(&shop, "ann", &["READ ON SCHEMA public", "EXECUTE ON SCHEMA public"]);
    session.run("SET work_mem = '5MB';").expect_success();
    assert_eq!(session.run("SHOW work_mem;").expect_success(), "5MB");
    session.run("PREPARE p AS SELECT count(*) FROM orders;").expect_success();
    assert_eq!(session.run("EXECUTE p;").expect_success(), "3");
    assert_eq!(session.run(&format!("BEGIN; {COUNT}; COMMIT;")).expect_success().trim(), "3");
    for (text, why) in [
        (
            "SELECT touch()",
            "it calls public.touch, which is not known to mean the same at a replica",
        ),
        ("BEGIN; SELECT touch()", "it calls public.touch"),
        ("LISTEN news", "only one session at one server has notifications"),
    ] {
        let said = session.run(&format!("{text};"));
        said.expect_sqlstate("42501");
        let words =
            format!("is bound to replicas, and this statement has to run at the primary: {why}");
        assert!(said.stderr.contains(&words), "{text}: {said:?}");
        session.run("ROLLBACK;").expect_success();
    }
    // Of what it does not allow at all, the grant says so.
    session.run("INSERT INTO orders VALUES (4, 'new');").expect_sqlstate("42501");
    assert!(!was_at(&shop.primary, "ann"), "the session was at the primary");
    assert!(shop.replicas.iter().any(|replica| was_at(replica, "ann")));

    shop.replicas.iter_mut().for_each(Postgres::crash);
    let token = shop.daypass.token("ann");
    eventually("the replicas to be known to be gone", || {
        let said = shop.daypass.psql("ann", &token, "shop", COUNT);
        assert!(said.stdout.is_empty(), "{said:?}");
        let words = "FATAL:  no replica can serve the statement: no replica answers";
        said.stderr.contains(words).then_some(())
    });
    shop.replicas.iter_mut().for_each(Postgres::start_again);
    eventually("a replica to be back", || {
        let said = shop.daypass.psql("ann", &token, "shop", COUNT);
        (said.stdout == "3").then_some(())
    });
    assert!(!was_at(&shop.primary, "ann"), "the session was at the primary");
}

#[test]
fn a_bound_session_moves_to_the_primary_with_a_grant_that_is_not_bound() {
    let shop = Shop::start(1, "", &[]);
    let mut session = open_bound(&shop, "bea", &["READ ON SCHEMA public"]);
    session.run("SET work_mem = '5MB';").expect_success();
    assert!(!was_at(&shop.primary, "bea"), "the session was at the primary");
    let grant = shop.daypass.grant("bea", "shop", &["WRITE ON SCHEMA public"]);
    session.run("INSERT INTO orders VALUES (4, 'new');").expect_success();
    assert!(was_at(&shop.primary, "bea"));
    assert_eq!(session.run(&format!("{COUNT};")).expect_success(), "4");
    assert_eq!(session.run("SHOW work_mem;").expect_success(), "5MB");
    shop.daypass.revoke(&grant);
    session.run("INSERT INTO orders VALUES (5, 'new');").expect_sqlstate("42501");
    assert_eq!(session.run(&format!("{COUNT};")).expect_success(), "4");
    let (site, _) = shop.ran(COUNT, 2);
    assert_eq!(site, "replica");
}

#[test]
fn a_bound_read_ends_with_its_grant() {
    let shop = Shop::start(1, "", &[]);
    let mut session = open_bound(&shop, "cyd", &["READ ON SCHEMA public"]);
    session.send("SELECT pg_sleep(60) IS NULL FROM orders;");
    shop.running_at("pg_sleep");
    let list = shop.daypass.cli(&["grant", "list", "--output", "json"]).expect_success();
    shop.daypass.revoke(&crate::support::id_in(&list, "g_"));
    session.finish().expect_sqlstate("57014");
    assert!(!Shop::is_running(&shop.replicas[0], "pg_sleep"));
    session.run(&format!("{COUNT};")).expect_sqlstate("42501");
    assert!(!was_at(&shop.primary, "cyd"), "the session was at the primary");
}
