//! Grants, denials, endings.

use super::{Answer, Expect, House, Wish, at, granted, status_in_transaction};
use crate::session::site::Site;

fn reads() -> House {
    House::new(&[granted("g_1", "SELECT ON shop.t1", 1000)])
}

#[test]
fn what_is_granted_reaches_the_server_as_it_is_and_leaves_its_records() {
    let mut house = reads();
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    assert_eq!(house.server.got, ["SELECT a FROM t1"]);
    house.assert_trail();
    assert_eq!(house.records(), ["allow SELECT", "Ok 2"]);
}

#[test]
fn a_denial_is_the_servers_own_error_with_a_way_to_ask() {
    let mut house = reads();
    for (text, code) in [
        ("SELECT d FROM secret", "1143 42000"),
        ("DELETE FROM t1", "1142 42000"),
        ("SELECT * FROM information_schema.processlist", "1142 42000"),
        ("SHOW PROCESSLIST", "1227 42000"),
    ] {
        let told = house.ask(text);
        assert!(told.starts_with(code), "{text}: {told}");
    }
    let told = house.ask("DELETE FROM t1");
    assert!(told.contains("CALL daypass.request('DELETE ON shop.t1'"), "{told}");
    assert!(house.server.got.is_empty());
    house.assert_trail();
}

#[test]
fn of_several_statements_all_run_or_none() {
    let mut house = reads();
    let told = house.ask("SELECT a FROM t1; DELETE FROM t1");
    assert!(told.starts_with("1142"), "{told}");
    assert!(house.server.got.is_empty());
    assert_eq!(house.records(), ["deny SELECT 42000", "deny DELETE 42000"]);
    house.server.answers.push_back(Answer::Several(vec![Answer::Rows(1), Answer::Rows(3)]));
    assert_eq!(house.ask("SELECT a FROM t1; SELECT b FROM t1"), "1 rows, 3 rows");
    assert_eq!(house.records(), ["allow SELECT", "allow SELECT", "Ok 1", "Ok 3"]);
}

#[test]
fn what_follows_an_error_of_several_statements_did_not_run() {
    let mut house = reads();
    house.server.answers.push_back(Answer::Error(1054, "42S22"));
    assert_eq!(house.ask("SELECT a FROM t1; SELECT b FROM t1"), "1054 42S22 no");
    let records = house.records();
    assert_eq!(records, ["allow SELECT", "allow SELECT", "Error 0 42S22", "Cancelled 0"]);
}

#[test]
fn a_call_has_results_of_its_own() {
    let mut house =
        House::new(&[granted("g_1", "EXECUTE ON PROCEDURE shop.p; SELECT ON shop.t1", 1000)]);
    let results = vec![Answer::Rows(2), Answer::Rows(1), Answer::Okay(0), Answer::Rows(5)];
    house.server.answers.push_back(Answer::Several(results));
    assert_eq!(house.ask("CALL p(); SELECT a FROM t1"), "2 rows, 1 rows, ok 0, 5 rows");
    assert_eq!(house.records(), ["allow CALL", "allow SELECT", "Ok 3", "Ok 5"]);
}

#[test]
fn a_denied_statement_leaves_the_transaction() {
    let mut house = reads();
    house.server.status = status_in_transaction();
    house.ask("BEGIN");
    assert!(house.ask("DELETE FROM t1").starts_with("1142"));
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    assert_eq!(house.ask("COMMIT"), "ok 0");
    assert_eq!(house.server.got, ["BEGIN", "SELECT a FROM t1", "COMMIT"]);
}

#[test]
fn a_transaction_that_used_a_grant_which_has_ended_can_only_be_rolled_back() {
    let mut house = reads();
    house.server.status = status_in_transaction();
    house.ask("BEGIN");
    house.ask("SELECT a FROM t1");
    house.now = at(1000);
    house.holds(&[
        granted("g_1", "SELECT ON shop.t1", 1000),
        granted("g_2", "SELECT ON shop.t1", 5000),
    ]);
    for text in ["SELECT a FROM t1", "COMMIT", "BEGIN", "SET @x = 1", "ROLLBACK; SELECT a FROM t1"]
    {
        let told = house.ask(text);
        assert!(told.starts_with("1227 42000 this transaction can only be rolled back"), "{told}");
    }
    house.server.status = super::Status::AUTOCOMMIT;
    assert_eq!(house.ask("ROLLBACK"), "ok 0");
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    house.assert_trail();
}

#[test]
fn a_statement_whose_grant_ends_is_killed_and_told_why() {
    for by_revocation in [false, true] {
        let mut house = reads();
        house.server.answers.push_back(Answer::Never);
        house.query("SELECT a FROM t1");
        assert_eq!(house.machine.next_deadline(), Some(at(1000)));
        if by_revocation {
            house.revokes();
        } else {
            house.now = at(1000);
            house.machine.on_timer(house.now, &mut house.out);
            house.apply();
            house.settle();
        }
        let told = house.told(Expect::Results).join(", ");
        let why = if by_revocation { "grant g_1 was revoked" } else { "grant g_1 expired" };
        assert!(told.starts_with("1317 70100") && told.contains(why), "{told}");
        house.assert_trail();
        assert_eq!(house.records(), ["allow SELECT", "Cancelled 0 70100"]);
        assert!(house.ask("SELECT a FROM t1").starts_with("1143"), "the next is refused");
    }
}

#[test]
fn a_server_that_does_not_heed_a_kill_loses_its_connection() {
    let mut house = reads();
    house.cancels_wait = true;
    house.server.answers.push_back(Answer::Never);
    house.query("SELECT a FROM t1");
    house.revokes();
    while !house.pending.contains(&Wish::TerminateUpstream(Site::Primary)) {
        let due = house.machine.next_deadline().unwrap();
        assert!(due > house.now && due <= at(105));
        house.now = due;
        house.machine.on_timer(due, &mut house.out);
        house.apply();
    }
    assert_eq!(house.machine.next_deadline(), None);
    assert!(house.pending.contains(&Wish::TerminateUpstream(Site::Primary)));
    house.settle();
    assert!(house.closed);
    assert!(
        house
            .told(Expect::Results)
            .join(", ")
            .contains("connection to the database server is lost")
    );
    house.assert_trail();
    assert_eq!(house.records(), ["allow SELECT", "Unknown 0"]);
}

#[test]
fn a_kill_that_comes_too_early_is_repeated() {
    let mut house = reads();
    house.cancels_wait = true;
    house.server.answers.push_back(Answer::Never);
    house.query("SELECT a FROM t1");
    house.revokes();
    house.pending.clear();
    house.machine.on_cancel_done();
    house.cancels_wait = false;
    house.now = house.machine.next_deadline().unwrap();
    house.machine.on_timer(house.now, &mut house.out);
    house.apply();
    house.settle();
    assert!(house.told(Expect::Results)[0].starts_with("1317 70100"));
}

#[test]
fn a_kill_that_comes_too_late_hits_nothing_of_the_clients() {
    let mut house = reads();
    house.cancels_wait = true;
    house.server.answers.push_back(Answer::Never);
    house.query("SELECT a FROM t1");
    house.machine.on_cancel(&mut house.out);
    house.apply();
    house.server.finish(&Answer::Rows(1));
    house.settle();
    // Sent ahead: nothing of it goes out while the KILL is under way.
    house.query("SELECT b FROM t1");
    assert_eq!(house.server.got, ["SELECT a FROM t1"]);
    assert_eq!(house.told(Expect::Results), ["1 rows"]);
    house.cancels_wait = false;
    house.settle();
    assert_eq!(house.server.asked, ["how", "DO 0"]);
    assert_eq!(house.told(Expect::Results), ["2 rows"]);
    assert_eq!(house.server.got, ["SELECT a FROM t1", "SELECT b FROM t1"]);
}

#[test]
fn nothing_runs_while_the_audit_stream_takes_no_records() {
    let mut house = reads();
    house.audit_accepts = false;
    for text in ["SELECT a FROM t1", "BEGIN", "SET NAMES latin1"] {
        assert!(house.ask(text).starts_with("1105 HY000 the audit stream"));
    }
    assert!(house.server.got.is_empty());
}

#[test]
fn without_a_grant_there_is_no_server_but_calls_and_settings_are_taken() {
    let mut house = House::new(&[]);
    assert_eq!(house.ask("SET NAMES latin1"), "ok 0");
    assert_eq!(house.ask("SET autocommit = 0"), "ok 0");
    assert_eq!(house.command(0x0e, b"", Expect::Okay), "ok 0");
    assert_eq!(house.ask("CALL daypass.grants()"), "1 rows");
    assert!(house.ask("SELECT a FROM t1").starts_with("1143 42000 permission denied"));
    assert!(house.ask("SELECT VERSION()").starts_with("1227 42000 permission denied"));
    assert!(house.ask("SET sql_mode = @x").starts_with("1235"));
    assert!(!house.server_open);
    house.holds(&[granted("g_1", "SELECT ON shop.t1", 1000)]);
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    let said = ["SET NAMES latin1", "SET autocommit = 0", "SELECT a FROM t1"];
    assert_eq!(house.server.got, said);
    house.assert_trail();
}

#[test]
fn what_the_server_does_not_take_later_ends_the_session() {
    let mut house = House::new(&[]);
    house.ask("SET autocommit = 0");
    house.holds(&[granted("g_1", "SELECT ON shop.t1", 1000)]);
    house.server.answers.push_back(Answer::Error(1231, "42000"));
    let told = house.ask("SELECT a FROM t1");
    assert!(told.starts_with("1105 08S01 what was set before there was a server"), "{told}");
    assert!(house.closed);
    assert_eq!(house.server.got, ["SET autocommit = 0"]);
}

#[test]
fn a_session_that_is_to_end_ends_after_its_transaction() {
    let mut house = reads();
    house.server.status = status_in_transaction();
    house.ask("BEGIN");
    house.machine.on_drain("the proxy stops", &mut house.out);
    house.apply();
    assert!(!house.closed);
    house.server.status = super::Status::AUTOCOMMIT;
    house.query("COMMIT");
    assert!(house.closed);
}

#[test]
fn what_a_statement_would_need_is_explained_without_running_it() {
    let mut house = reads();
    house.ask("SELECT a FROM t1");
    assert_eq!(house.ask("CALL daypass.explain('SELECT a FROM t1; DELETE FROM t2')"), "3 rows");
    assert_eq!(house.server.got, ["SELECT a FROM t1"]);
    assert!(house.ask("CALL daypass.nothing()").starts_with("1305 42000"));
    let records = ["allow SELECT", "Ok 2", "allow CALL", "Ok 3", "deny CALL 42000"];
    assert_eq!(house.records(), records);
}

#[test]
fn a_text_of_comments_alone_is_done_and_an_empty_one_is_not() {
    let mut house = reads();
    for text in ["/*!80000 SET SESSION x = 0 */", "-- nothing", "/* ; */;"] {
        assert_eq!(house.ask(text), "ok 0", "{text}");
    }
    for text in ["", "  ", " ; "] {
        assert!(house.ask(text).starts_with("1065 42000"), "{text}");
    }
    assert!(house.server.got.is_empty());
    assert_eq!(house.records(), [""; 0]);
}
