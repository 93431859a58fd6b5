//! Owners' work as the `ddl-owner`, step by step.

use super::client::Sent;
use super::{House, grant};

fn house() -> House {
    let privileges = "SELECT ON public.t0; ADMIN ON SCHEMA app";
    let mut house = House::with_owner(&[grant("g_1", privileges, 0, 1_000)]);
    house.settle();
    house.told();
    house
}

fn send(house: &mut House, messages: &[Sent]) -> Vec<String> {
    for message in messages {
        house.client_sends(&message.bytes());
    }
    house.settle();
    house.told()
}

fn query(house: &mut House, text: &str) -> Vec<String> {
    send(house, &[Sent::Query(text.to_owned())])
}

/// What has run, `+` in front of what ran as the owner.
fn ran(house: &House) -> Vec<String> {
    let shown = house.server.ran.iter().map(|ran| {
        let sign = if ran.as_owner { "+" } else { "" };
        format!("{sign}{}", ran.text)
    });
    shown.collect()
}

const CREATE: &str = "CREATE TABLE app.t1 (a int, b int)";
const SELECT: &str = "SELECT a FROM t0";

#[test]
fn the_role_is_taken_for_one_statement_and_let_go() {
    let mut house = house();
    assert_eq!(query(&mut house, SELECT).last().unwrap(), "ZI");
    assert_eq!(query(&mut house, CREATE), ["C", "ZI"]);
    assert_eq!(query(&mut house, CREATE), ["E42P07", "ZI"]);
    assert_eq!(query(&mut house, SELECT).last().unwrap(), "ZI");
    let owned = format!("+{CREATE}");
    assert_eq!(ran(&house), [SELECT, &owned, &owned, SELECT]);
}

#[test]
fn a_transaction_goes_on_as_the_owner_and_its_end_does_not_bring_the_role_back() {
    let mut house = house();
    query(&mut house, &format!("BEGIN; {CREATE}"));
    query(&mut house, SELECT);
    query(&mut house, "SAVEPOINT s");
    query(&mut house, "ROLLBACK TO s");
    query(&mut house, "ROLLBACK");
    query(&mut house, SELECT);
    let expected = [
        "+BEGIN",
        &format!("+{CREATE}"),
        &format!("+{SELECT}"),
        "+SAVEPOINT s",
        "+ROLLBACK TO s",
        "ROLLBACK",
        SELECT,
    ];
    assert_eq!(ran(&house), expected);
    assert!(!house.server.names.is_owner());
}

#[test]
fn what_a_savepoint_takes_back_is_taken_again() {
    let mut house = house();
    for text in ["BEGIN", "SAVEPOINT s", CREATE, "ROLLBACK TO s", SELECT, CREATE, "COMMIT", SELECT]
    {
        query(&mut house, text);
    }
    let expected = [
        "BEGIN",
        "SAVEPOINT s",
        &format!("+{CREATE}"),
        "+ROLLBACK TO s",
        &format!("+{SELECT}"),
        &format!("+{CREATE}"),
        "+COMMIT",
        SELECT,
    ];
    assert_eq!(ran(&house), expected);
}

#[test]
fn a_failed_transaction_lets_go_of_it_at_its_end() {
    let mut house = house();
    for text in ["BEGIN", CREATE, "SELECT 1/0", "ROLLBACK", SELECT] {
        query(&mut house, text);
    }
    assert_eq!(ran(&house).last().unwrap(), SELECT);
    assert!(!house.server.names.is_owner());
}

#[test]
fn a_segment_is_cut_behind_begin_and_nowhere_else() {
    let mut house = house();
    let run = |text: &str| {
        [Sent::Parse("", text.to_owned()), Sent::Bind("", ""), Sent::Execute("")].into_iter()
    };
    let segment: Vec<_> = run("BEGIN").chain(run(CREATE)).chain([Sent::Sync]).collect();
    assert_eq!(send(&mut house, &segment), ["1", "2", "C", "1", "2", "C", "ZT"]);
    assert_eq!(query(&mut house, "ROLLBACK"), ["C", "ZI"]);
    let segment: Vec<_> = run(SELECT).chain(run(CREATE)).chain([Sent::Sync]).collect();
    let told = send(&mut house, &segment);
    assert_eq!(told, ["1", "2", "D", "D", "C", "E0A000", "ZI"]);
    assert_eq!(ran(&house), ["BEGIN", &format!("+{CREATE}"), "+ROLLBACK", SELECT]);
}

#[test]
fn a_server_that_does_not_give_the_role_is_quoted_and_the_transaction_fails_as_by_any_error() {
    let mut house = house();
    house.server.refuses_owner = true;
    assert_eq!(query(&mut house, CREATE), ["E42501", "ZI"]);
    assert_eq!(query(&mut house, "BEGIN"), ["C", "ZT"]);
    assert_eq!(query(&mut house, CREATE), ["E42501", "ZE"]);
    assert_eq!(query(&mut house, SELECT), ["E25P02", "ZE"]);
    assert_eq!(query(&mut house, "ROLLBACK"), ["C", "ZI"]);
    house.server.refuses_owner = false;
    assert_eq!(query(&mut house, CREATE), ["C", "ZI"]);
    assert_eq!(ran(&house), ["BEGIN", "ROLLBACK", &format!("+{CREATE}")]);
}

#[test]
fn a_grant_that_ends_meanwhile_lets_nothing_run_as_the_owner() {
    let mut house = house();
    house.client_sends(&Sent::Query(CREATE.to_owned()).bytes());
    // The role is being taken, or names are asked for: the statement has not been sent.
    assert_eq!(ran(&house), Vec::<String>::new());
    house.revoke("g_1");
    house.settle();
    assert_eq!(house.told(), ["E42501", "ZI"]);
    assert_eq!(ran(&house), Vec::<String>::new());
    assert!(!house.server.names.is_owner());
}
