//! The second lock: sessions are an account of their principal's own at the server, which holds what live grants allow.

use crate::house::{Engine, Failure, each};
use crate::support::eventually;

#[test]
fn a_session_is_its_principals_own_account_and_that_ends_with_the_grant() {
    each(|house| {
        let token = house.daypass.token("ada");
        let grant = house.may_read("ada", "orders");
        let mut session = house.open("ada", &token);
        let who = match house.engine {
            Engine::Postgres => "SELECT session_user;",
            Engine::Mysql(_) => "SELECT SUBSTRING_INDEX(USER(), '@', 1);",
        };
        let account = house.run(&mut session, who, None);
        assert!(account.starts_with("daypass_ada"), "{account}");
        house.run(&mut session, "SELECT count(*) FROM orders;", None);
        // What it holds is the grant's, by the server's own word.
        assert!(house.server_lets(&account, "orders"));
        assert!(!house.server_lets(&account, "cards"));
        house.may_read("ada", "cards");
        assert_eq!(house.run(&mut session, "SELECT count(*) FROM cards;", None), "0");
        house.daypass.revoke(&grant);
        house.run(&mut session, "SELECT count(*) FROM orders;", Some(Failure::Denied));
        eventually("the server to take it back", || {
            (!house.server_lets(&account, "orders")).then_some(())
        });
        assert_eq!(house.run(&mut session, "SELECT count(*) FROM cards;", None), "0");
    });
}

/// A level on the schema that the session is in counts on MySQL at its next USE, which the proxy does itself.
#[test]
fn a_level_on_the_schema_reaches_open_sessions_and_leaves_them() {
    each(|house| {
        let token = house.daypass.token("bea");
        house.may_read("bea", "orders");
        let mut session = house.open("bea", &token);
        assert_eq!(house.run(&mut session, "SELECT count(*) FROM orders;", None), "3");
        for _ in 0..2 {
            let level = house.level_on_schema("bea");
            assert_eq!(house.run(&mut session, "SELECT count(*) FROM cards;", None), "0");
            house.daypass.revoke(&level);
            house.run(&mut session, "SELECT count(*) FROM cards;", Some(Failure::Denied));
            assert_eq!(house.run(&mut session, "SELECT count(*) FROM orders;", None), "3");
        }
    });
}

#[test]
fn what_the_service_account_lacks_is_told_to_operators() {
    each(|house| {
        let said = house.daypass.cli(&["database", "check", "shop"]);
        assert!(!said.stderr.contains("daypass:"), "{said:?}");
        assert!(!said.stdout.contains("only lock"), "{said:?}");
    });
}
