//! Grants that come and go, and sessions that end.

use crate::house::{A_WHILE, Failure, each};
use crate::support::id_in;

#[test]
fn a_request_is_made_and_approved_while_the_session_stays_open() {
    each(|house| {
        let token = house.daypass.token("kim");
        let mut session = house.open("kim", &token);
        house.run(&mut session, "SELECT count(*) FROM orders;", Some(Failure::Denied));
        let ask = format!(
            "CALL daypass.request('SELECT ON {}', '30 min', 'INC-42');",
            house.relation("orders")
        );
        let id = id_in(&house.run(&mut session, &ask, None), "r_");
        house.daypass.cli(&["approve", &id]).expect_success();
        assert_eq!(house.run(&mut session, "SELECT count(*) FROM orders;", None), "3");
        assert!(house.run(&mut session, "CALL daypass.grants();", None).contains("INC-42"));
    });
}

#[test]
fn a_revocation_cancels_what_runs_and_the_session_stays() {
    each(|house| {
        let token = house.daypass.token("lea");
        let grant = house.may_read("lea", "orders");
        let mut session = house.open("lea", &token);
        session.send(&house.slow("revoked"));
        house.until_it_runs("revoked");
        assert!(session.is_busy(A_WHILE));
        house.daypass.revoke(&grant);
        let said = house.finish(&mut session, Some(Failure::Cancelled));
        assert!(said.contains(&grant) && said.contains("was revoked"), "{said}");
        house.run(&mut session, "SELECT id FROM orders;", Some(Failure::Denied));
        house.may_read("lea", "orders");
        assert_eq!(house.run(&mut session, "SELECT count(*) FROM orders;", None), "3");
        assert_eq!(house.outcome("revoked"), "cancelled");
    });
}

#[test]
fn an_expiry_cancels_what_runs() {
    each(|house| {
        let token = house.daypass.token("max");
        let privilege = format!("READ ON TABLE {}", house.relation("orders"));
        house.daypass.grant_for("max", "shop", &[&privilege], "2s");
        let mut session = house.open("max", &token);
        session.send(&house.slow("expired"));
        let said = house.finish(&mut session, Some(Failure::Cancelled));
        assert!(said.contains("expired at"), "{said}");
        assert_eq!(house.outcome("'expired'"), "cancelled");
    });
}

#[test]
fn a_transaction_that_used_a_revoked_grant_can_only_roll_back() {
    each(|house| {
        let token = house.daypass.token("nina");
        let privilege = format!("WRITE ON {}", house.relation("orders"));
        let grant = house.daypass.grant("nina", "shop", &[&privilege]);
        let mut session = house.open("nina", &token);
        house.run(&mut session, "BEGIN; UPDATE orders SET status = 'gone';", None);
        house.daypass.revoke(&grant);
        house.run(&mut session, "COMMIT;", Some(Failure::TransactionEnded));
        house.run(&mut session, "ROLLBACK;", None);
        assert_eq!(house.sql("SELECT count(*) FROM orders WHERE status = 'gone'"), "0");
    });
}

#[test]
fn a_token_that_is_revoked_ends_its_sessions_and_refuses_logins() {
    each(|house| {
        let token = house.daypass.token("ned");
        house.may_read("ned", "orders");
        let mut session = house.open("ned", &token);
        assert_eq!(house.run(&mut session, "SELECT 1;", None), "1");
        let listed = house.daypass.cli(&["token", "list", "--output", "json"]).expect_success();
        house.daypass.cli(&["token", "revoke", &id_in(&listed, "t_")]).expect_success();
        house.until_sessions(0);
        let said = session.run("SELECT 1;");
        assert!(said.stdout.is_empty(), "{said:?}");
        let again = house.open("ned", &token).run("SELECT 1;");
        assert!(again.stderr.contains("was revoked"), "{again:?}");
        house.daypass.wait_audit("the refused login", |record| {
            record["kind"] == "login-refused" && record["principal"] == "ned"
        });
    });
}

#[test]
fn an_operator_ends_a_session_and_what_it_runs() {
    each(|house| {
        let token = house.daypass.token("olga");
        house.may_read("olga", "orders");
        let mut session = house.open("olga", &token);
        session.send(&house.slow("killed"));
        house.until_it_runs("killed");
        let listed = house.daypass.cli(&["session", "list", "--output", "json"]).expect_success();
        house.daypass.cli(&["session", "kill", &id_in(&listed, "s_")]).expect_success();
        let said = session.finish();
        assert!(house.failures(&said).contains(&Failure::SessionEnded), "{said:?}");
        house.until_it_ends("killed");
        house.until_sessions(0);
    });
}

#[test]
fn the_statement_of_a_client_that_vanishes_is_cancelled() {
    each(|house| {
        let token = house.daypass.token("vito");
        house.may_read("vito", "orders");
        let mut session = house.open("vito", &token);
        session.send(&house.slow("vanished"));
        house.until_it_runs("vanished");
        drop(session);
        house.until_it_ends("vanished");
        assert_eq!(house.outcome("vanished"), "cancelled");
    });
}

#[test]
fn on_sigterm_idle_clients_are_told_and_transactions_finish() {
    each(|house| {
        let token = house.daypass.token("quin");
        let privilege = format!("WRITE ON {}", house.relation("orders"));
        house.daypass.grant("quin", "shop", &[&privilege]);
        let mut idle = house.open("quin", &token);
        let mut busy = house.open("quin", &token);
        assert_eq!(house.run(&mut idle, "SELECT 1;", None), "1");
        house.run(&mut busy, "BEGIN;", None);
        house.daypass.signal("TERM");
        house.until_sessions(1);
        let said = idle.run("SELECT 1;");
        assert!(said.stdout.is_empty(), "{said:?}");
        // The end of the transaction is the session's, too.
        let said = busy.run("INSERT INTO orders VALUES (9, 'last'); COMMIT;");
        let failures = house.failures(&said);
        assert!(failures.iter().all(|it| *it == Failure::SessionEnded), "{said:?}");
        assert_eq!(house.daypass.wait_end(), Some(0));
        assert_eq!(house.sql("SELECT status FROM orders WHERE id = 9"), "last");
    });
}
