//! The server goes away under sessions in every state, and comes back.

use crate::house::{Failure, each};

#[test]
fn a_server_that_crashes_leaves_its_clients_an_error_and_the_outcome_unknown() {
    each(|house| {
        let token = house.daypass.token("olaf");
        let privilege = format!("WRITE ON {}", house.relation("orders"));
        house.daypass.grant("olaf", "shop", &[&privilege]);
        let mut sessions = [(); 3].map(|()| house.open("olaf", &token));
        let [idle, open, busy] = &mut sessions;
        assert_eq!(house.run(idle, "SELECT 1;", None), "1");
        house.run(open, "BEGIN; INSERT INTO orders VALUES (4, 'lost');", None);
        busy.send(&house.slow("outage"));
        house.until_it_runs("outage");
        house.crash();
        let said = busy.finish();
        assert!(!said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
        for session in [idle, open] {
            let said = session.run("SELECT 1;");
            assert!(!said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
        }
        assert_eq!(house.outcome("outage"), "unknown");
        drop(sessions);
        house.until_sessions(0);

        // While it is down, a login says so and nothing of where the server is.
        let refused = house.open("olaf", &token).run("SELECT 1;");
        assert!(refused.stderr.contains("the database server cannot be reached"), "{refused:?}");
        house.start_again();
        let mut session = house.open("olaf", &token);
        assert_eq!(house.run(&mut session, "SELECT count(*) FROM orders;", None), "3");
    });
}

#[test]
fn a_connection_that_the_server_ends_takes_one_session_and_no_other() {
    each(|house| {
        let token = house.daypass.token("oleg");
        house.may_read("oleg", "orders");
        let mut victim = house.open("oleg", &token);
        let mut other = house.open("oleg", &token);
        assert_eq!(house.run(&mut other, "SELECT 1;", None), "1");
        victim.send(&house.slow("victim"));
        house.until_it_runs("victim");
        house.end_connections("victim");
        let said = victim.finish();
        assert!(!said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
        assert_eq!(house.run(&mut other, "SELECT count(*) FROM orders;", None), "3");
        house.run(&mut other, "SELECT number FROM cards;", Some(Failure::Denied));
    });
}
