//! The server goes away, in order and not, under sessions in every state, and comes back.

use crate::House;
use crate::support::{Config, Message, Wire, eventually, tags};

/// Sessions that idle, hold a transaction open, and run something.
struct Sessions {
    idle: Wire,
    open: Wire,
    busy: Wire,
}

impl Sessions {
    fn start(house: &House) -> Self {
        let token =
            house.principal("olaf", &["READ ON TABLE public.orders", "WRITE ON public.notes"]);
        let login = || Wire::login(house.daypass.port(), "olaf", &token, "shop");
        let (mut idle, mut open, mut busy) = (login(), login(), login());
        assert_eq!(tags(&idle.run("SELECT 1")), "TDCZ");
        let lines = open.run("BEGIN; INSERT INTO notes (text) VALUES ('lost')");
        assert_eq!(tags(&lines), "CCZ");
        busy.query("SELECT pg_sleep(600), 'outage'");
        eventually("the statement to run", || {
            let text = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                        AND query LIKE '%outage%' AND pid <> pg_backend_pid()";
            (house.server.sql(text) == "1").then_some(())
        });
        Self { idle, open, busy }
    }

    /// Each hears an error and the end of its connection.
    fn hear_the_end(mut self) -> Vec<(&'static str, Vec<Message>)> {
        let ends = vec![
            ("idle", self.idle.until_end()),
            ("open", self.open.until_end()),
            ("busy", self.busy.until_end()),
        ];
        for (name, messages) in &ends {
            let last = messages.last().unwrap_or_else(|| panic!("{name} heard nothing"));
            assert_eq!(last.tag, b'E', "{name}: {messages:?}");
            assert_eq!(last.field(b'S'), "FATAL", "{name}: {messages:?}");
        }
        ends
    }
}

/// What stands in the audit stream of the statement that ran.
fn outcome_of_the_sleeper(house: &House) -> String {
    let decision = house.daypass.wait_audit("the decision", |record| {
        record["kind"] == "decision" && record["text"].to_string().contains("outage")
    });
    let result = house.daypass.wait_audit("the result", |record| {
        record["kind"] == "result"
            && record["session"] == decision["session"]
            && record["statement"] == decision["statement"]
    });
    result["outcome"].as_str().unwrap().to_owned()
}

/// Nothing of before is left, and new sessions are served.
fn check_afterwards(house: &House) {
    eventually("the sessions to be over", || {
        let listed = house.daypass.cli(&["session", "list", "--output", "json"]).stdout;
        (!listed.contains("\"s_")).then_some(())
    });
    let ends =
        house.daypass.audit().iter().filter(|record| record["kind"] == "session-end").count();
    assert_eq!(ends, 3);
    let token = house.principal("olaf", &[]);
    let output = house.daypass.psql("olaf", &token, "shop", "SELECT count(*) FROM orders");
    assert_eq!(output.expect_success(), "100");
    assert_eq!(house.server.sql_in("shop", "SELECT count(*) FROM notes"), "0");
}

#[test]
fn a_server_that_restarts_in_order_tells_its_sessions_through_the_proxy() {
    let mut house = House::new(Config::new());
    let sessions = Sessions::start(&house);
    house.server.restart();
    for (name, messages) in sessions.hear_the_end() {
        // What the server said, and nothing of ours behind it.
        let errors = messages.iter().filter(|m| m.tag == b'E').map(|m| m.field(b'C'));
        assert!(errors.eq(["57P01"]), "{name}: {messages:?}");
    }
    assert_eq!(outcome_of_the_sleeper(&house), "error");
    check_afterwards(&house);
}

#[test]
fn a_server_that_crashes_leaves_its_clients_an_error_and_the_outcome_unknown() {
    let mut house = House::new(Config::new());
    let sessions = Sessions::start(&house);
    house.server.crash();
    sessions.hear_the_end();
    assert_eq!(outcome_of_the_sleeper(&house), "unknown");

    // While it is down, a login says so and nothing of where the server is.
    let token = house.principal("olaf", &[]);
    let refused = house.daypass.psql("olaf", &token, "shop", "SELECT 1");
    let port = house.server.port().to_string();
    assert!(!refused.stderr.is_empty() && !refused.stderr.contains(&port), "{refused:?}");
    house.server.start_again();
    house.daypass.wait_audit("the end of the session that met no server", |record| {
        record["kind"] == "session-end" && record["session"].as_str().is_some()
    });
    let ends =
        || house.daypass.audit().iter().filter(|record| record["kind"] == "session-end").count();
    eventually("four sessions to have ended", || (ends() >= 4).then_some(()));
    assert_eq!(house.daypass.psql("olaf", &token, "shop", "SELECT 1").expect_success(), "1");
    assert_eq!(house.server.sql_in("shop", "SELECT count(*) FROM notes"), "0");
}

#[test]
fn a_backend_that_is_terminated_ends_one_session_and_no_other() {
    let house = House::new(Config::new());
    let token = house.principal("olga", &["READ ON TABLE public.orders"]);
    let login = || Wire::login(house.daypass.port(), "olga", &token, "shop");
    let (mut one, mut other) = (login(), login());
    one.query("SELECT pg_sleep(600), 'victim'");
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE state = 'active' \
               AND query LIKE '%victim%' AND pid <> pg_backend_pid()";
    eventually("the victim to be found", || (house.server.sql(end) == "1").then_some(()));
    let messages = one.until_end();
    assert!(messages.iter().any(|m| m.tag == b'E' && m.field(b'C') == "57P01"), "{messages:?}");
    assert_eq!(tags(&other.run("SELECT id FROM orders WHERE id = 1")), "TDCZ");
}
