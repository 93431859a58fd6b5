//! Single stories, each a rule of ARCHITECTURE.md.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::record::{Outcome, Verdict};
use crate::audit::redact;
use crate::session::output::Command;
use crate::session::site::Site;
use crate::sql::catalog::Catalog;
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply::Report;

use super::client::Sent;
use super::{House, catalog, grant};

fn send(house: &mut House, messages: &[Sent]) {
    for message in messages {
        house.client_sends(&message.bytes());
    }
    house.settle();
}

fn query(house: &mut House, text: &str) -> Vec<String> {
    send(house, &[Sent::Query(text.to_owned())]);
    house.told()
}

fn with_grant(privileges: &str) -> House {
    let mut house = House::new(&[grant("g_1", privileges, 0, 1_000)]);
    house.settle();
    house.told();
    house
}

fn ran(house: &House) -> Vec<&str> {
    house.server.ran.iter().map(|ran| &*ran.text).collect()
}

#[test]
fn a_denied_query_outside_a_transaction_reaches_nobody() {
    let mut house = with_grant("SELECT ON public.t0");
    assert_eq!(query(&mut house, "SELECT a FROM t1"), ["E42501", "ZI"]);
    assert_eq!(ran(&house), Vec::<&str>::new());
    assert_eq!(house.decisions(Verdict::Deny), 1);
}

#[test]
fn a_denied_query_fails_its_transaction() {
    let mut house = with_grant("SELECT ON public.t0");
    assert_eq!(query(&mut house, "BEGIN"), ["C", "ZT"]);
    assert_eq!(query(&mut house, "SELECT a FROM t1"), ["E42501", "ZE"]);
    assert_eq!(query(&mut house, "SELECT a FROM t0"), ["E25P02", "ZE"]);
    assert_eq!(query(&mut house, "COMMIT"), ["C", "ZI"]);
    assert_eq!(ran(&house), ["BEGIN", "COMMIT"]);
}

#[test]
fn a_message_of_several_statements_is_refused_whole() {
    let mut house = with_grant("SELECT ON public.t0");
    assert_eq!(query(&mut house, "SELECT a FROM t0; SELECT a FROM t1"), ["E42501", "ZI"]);
    assert_eq!(ran(&house), Vec::<&str>::new());
    assert_eq!(house.decisions(Verdict::Deny), 2);
}

#[test]
fn a_denial_in_a_pipeline_undoes_what_stood_before_it() {
    let mut house = with_grant("SELECT, INSERT ON public.t0");
    let messages = [
        Sent::Parse("", "INSERT INTO t0 (a) VALUES (1)".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
        Sent::Parse("", "SELECT a FROM t1".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
        Sent::Sync,
    ];
    send(&mut house, &messages);
    assert_eq!(house.told(), ["1", "2", "C", "E42501", "ZI"]);
    // The server itself failed the implicit transaction: it was sent what must fail, then Sync.
    assert_eq!(ran(&house), ["INSERT INTO t0 (a) VALUES (1)"]);
}

#[test]
fn a_simple_query_behind_an_unfinished_segment_ends_it() {
    let mut house = with_grant("SELECT ON public.t0");
    let begin = [Sent::Parse("", "BEGIN".into()), Sent::Bind("", ""), Sent::Execute("")];
    send(&mut house, &begin);
    send(&mut house, &[Sent::Query("SELECT a FROM t0".into())]);
    assert_eq!(house.told(), ["1", "2", "C", "T", "D", "D", "C", "ZT"]);
    // One that is denied fails the transaction that only the server knows of.
    assert_eq!(query(&mut house, "COMMIT"), ["C", "ZI"]);
    send(&mut house, &begin);
    send(&mut house, &[Sent::Query("SELECT a FROM t1".into()), Sent::Sync]);
    assert_eq!(house.told(), ["1", "2", "C", "E42501", "ZE", "ZE"]);
    assert_eq!(query(&mut house, "ROLLBACK"), ["C", "ZI"]);
    // Nor does it commit what was done under a grant that has ended since.
    house.add("g_2", "INSERT ON public.t1", 1_000);
    let insert = [
        Sent::Parse("", "INSERT INTO t1 (a) VALUES (1)".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
    ];
    send(&mut house, &insert);
    house.revoke("g_2");
    send(&mut house, &[Sent::Query("SELECT a FROM t0".into())]);
    assert_eq!(house.told(), ["1", "2", "C", "E42501", "ZI"]);
    // After an error it is skipped as all else is.
    send(&mut house, &[Sent::Parse("", "SELECT a FROM t1".into())]);
    send(&mut house, &[Sent::Query("ROLLBACK".into()), Sent::Sync]);
    assert_eq!(house.told(), ["E42501", "ZI"]);
    let inserted = "INSERT INTO t1 (a) VALUES (1)";
    let expected = ["BEGIN", "SELECT a FROM t0", "COMMIT", "BEGIN", "ROLLBACK", inserted];
    assert_eq!(ran(&house), expected);
}

#[test]
fn a_session_that_is_ended_inside_a_row_ends_without_a_word() {
    let mut house = with_grant("SELECT ON public.t0");
    query(&mut house, "SELECT a FROM t0");
    house.client_sends(&Sent::Query("SELECT a FROM t0".into()).bytes());
    let row = house.server.out.iter().position(|&byte| byte == b'D').unwrap();
    house.server_delivers(row + 7);
    let told = house.client_out.len();
    assert_eq!(told, row + 7);
    let report = Report::fatal("57P01", "the token of this session was revoked");
    house.machine.close(Some(report), &mut house.out);
    house.apply();
    assert!(house.closed);
    assert_eq!(house.client_out.len(), told);
}

#[test]
fn a_catalog_that_changes_inside_a_segment_holds_nobody_up() {
    let mut house = with_grant("SELECT ON public.t0");
    let read = [Sent::Parse("", "SELECT a FROM t0".into()), Sent::Bind("", ""), Sent::Execute("")];
    send(&mut house, &read);
    let changed = Catalog { version: 2, ..Catalog::clone(&catalog()) };
    house.machine.set_catalog(Arc::new(changed));
    send(&mut house, &read);
    send(&mut house, &[Sent::Sync]);
    let answers = ["1", "2", "D", "D", "C"];
    assert_eq!(house.told(), [&answers[..], &answers, &["ZI"]].concat());
}

#[test]
fn an_earlier_error_of_the_servers_hides_a_later_denial() {
    let mut house = with_grant("SELECT ON public.t0");
    let messages = [
        Sent::Parse("", "SELECT 1/0".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
        Sent::Parse("", "SELECT a FROM t1".into()),
        Sent::Sync,
    ];
    send(&mut house, &messages);
    assert_eq!(house.told(), ["1", "2", "E22012", "ZI"]);
}

#[test]
fn a_grant_that_ends_between_parse_and_execute_stops_it() {
    let mut house = with_grant("SELECT ON public.t0");
    send(&mut house, &[Sent::Parse("s", "SELECT a FROM t0".into()), Sent::Sync]);
    assert_eq!(house.told(), ["1", "ZI"]);
    house.revoke("g_1");
    send(&mut house, &[Sent::Bind("", "s"), Sent::Execute(""), Sent::Sync]);
    assert_eq!(house.told(), ["E42501", "ZI"]);
    assert_eq!(ran(&house), Vec::<&str>::new());
}

#[test]
fn a_revocation_cancels_what_runs_and_says_why() {
    let mut house = with_grant("SELECT ON public.t0");
    send(&mut house, &[Sent::Query("SELECT a, pg_sleep(9) FROM t0".into())]);
    assert!(house.server.is_running());
    house.revoke("g_1");
    house.settle();
    assert_eq!(house.told(), ["E57014", "ZI"]);
    let last = house.audit.last().unwrap();
    assert_eq!(last.outcome, Some(Outcome::Cancelled));
    assert_eq!(query(&mut house, "SELECT a FROM t0"), ["E42501", "ZI"]);
}

#[test]
fn an_expiry_cancels_what_runs() {
    let mut house = House::new(&[grant("g_1", "SELECT ON public.t0", 0, 110)]);
    house.settle();
    house.told();
    house.client_sends(&Sent::Query("SELECT a, pg_sleep(9) FROM t0".into()).bytes());
    house.pass_time(Duration::from_secs(9));
    house.settle();
    assert!(house.server.is_running());
    house.pass_time(Duration::from_secs(1));
    house.settle();
    assert_eq!(house.told(), ["E57014", "ZI"]);
}

#[test]
fn a_commit_that_was_sent_is_left_alone_and_the_timer_rests() {
    let mut house = House::new(&[grant("g_1", "SELECT, INSERT ON public.t0", 0, 110)]);
    house.settle();
    house.told();
    query(&mut house, "BEGIN");
    query(&mut house, "INSERT INTO t0 (a) VALUES (1)");
    // The server has it, and its answer is on the way.
    house.client_sends(&Sent::Query("COMMIT".into()).bytes());
    house.pass_time(Duration::from_secs(20));
    assert_eq!(house.machine.next_deadline(), None);
    house.settle();
    assert_eq!(house.told(), ["C", "ZI"]);
}

#[test]
fn a_transaction_that_used_an_ended_grant_can_only_roll_back() {
    let mut house = with_grant("SELECT ON public.t0");
    house.add("g_2", "SELECT ON public.t1", 1_000);
    assert_eq!(query(&mut house, "BEGIN"), ["C", "ZT"]);
    assert_eq!(query(&mut house, "SELECT a FROM t0"), ["T", "D", "D", "C", "ZT"]);
    house.revoke("g_1");
    assert_eq!(query(&mut house, "SELECT a FROM t1"), ["E42501", "ZE"]);
    assert_eq!(query(&mut house, "ROLLBACK"), ["C", "ZI"]);
    assert_eq!(query(&mut house, "SELECT a FROM t1"), ["T", "D", "D", "C", "ZI"]);
}

#[test]
fn a_commit_under_an_ended_grant_does_not_commit() {
    let mut house = with_grant("SELECT, INSERT ON public.t0");
    query(&mut house, "BEGIN");
    query(&mut house, "INSERT INTO t0 (a) VALUES (1)");
    house.revoke("g_1");
    assert_eq!(query(&mut house, "COMMIT"), ["E42501", "ZE"]);
    assert_eq!(house.server.status, TransactionStatus::Failed);
    assert!(!ran(&house).contains(&"COMMIT"));
}

#[test]
fn sync_does_not_commit_what_ran_under_a_grant_that_has_ended() {
    let mut house = with_grant("SELECT, INSERT ON public.t0");
    let messages = [
        Sent::Parse("", "INSERT INTO t0 (a) VALUES (1)".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
        Sent::Flush,
    ];
    send(&mut house, &messages);
    assert_eq!(house.told(), ["1", "2", "C"]);
    house.revoke("g_1");
    send(&mut house, &[Sent::Sync]);
    assert_eq!(house.told(), ["E42501", "ZI"]);
}

#[test]
fn a_copy_in_progress_is_ended_when_its_grant_ends() {
    let mut house = with_grant("INSERT ON public.t0");
    house.client_sends(&Sent::Query("COPY t0 (a) FROM STDIN".into()).bytes());
    house.settle();
    house.client_sends(&Sent::CopyData.bytes());
    assert_eq!(house.told(), ["G"]);
    house.revoke("g_1");
    house.client_sends(&Sent::CopyData.bytes());
    house.client_sends(&Sent::CopyDone.bytes());
    house.settle();
    assert_eq!(house.told(), ["E57014", "ZI"]);
}

#[test]
fn a_copy_is_ended_between_its_messages_and_never_inside_one() {
    let data = Sent::CopyData.bytes();
    let (head, tail) = data.split_at(6);
    let begun = || {
        let mut house = with_grant("INSERT ON public.t0");
        send(&mut house, &[Sent::Query("COPY t0 (a) FROM STDIN".into())]);
        house.client_sends(head);
        house.revoke("g_1");
        house.settle();
        assert_eq!(house.told(), ["G"]);
        house
    };
    let mut house = begun();
    house.client_sends(tail);
    house.settle();
    assert_eq!(house.told(), ["E57014", "ZI"]);
    assert_eq!(query(&mut house, "SELECT 1"), ["E42501", "ZI"]);

    // One that never sends the rest does not keep its locks.
    let mut house = begun();
    house.pass_time(Duration::from_secs(1));
    assert!(
        house.pending.contains(&Command::TerminateUpstream(Site::Primary)),
        "{}",
        house.describe()
    );
}

#[test]
fn a_sync_behind_a_copy_is_swallowed_as_the_server_does() {
    let mut house = with_grant("INSERT ON public.t0");
    let messages = [
        Sent::Parse("", "COPY t0 (a) FROM STDIN".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
        Sent::Sync,
    ];
    send(&mut house, &messages);
    assert_eq!(house.told(), ["1", "2", "G"]);
    send(&mut house, &[Sent::CopyData, Sent::CopyDone, Sent::Sync]);
    assert_eq!(house.told(), ["C", "ZI"]);
    assert_eq!(query(&mut house, "COMMIT"), ["C", "ZI"]);
}

#[test]
fn without_a_grant_a_session_takes_transactions_and_settings_and_replays_them() {
    let mut house = House::new(&[]);
    house.settle();
    house.told();
    assert_eq!(query(&mut house, "SET extra_float_digits = 3"), ["C", "ZI"]);
    assert_eq!(query(&mut house, "SELECT 1"), ["E42501", "ZI"]);
    assert_eq!(query(&mut house, "BEGIN"), ["C", "ZT"]);
    assert_eq!(query(&mut house, "CALL daypass.whoami()"), ["T", "D", "C", "ZT"]);
    assert!(!house.server_open);
    house.add("g_1", "SELECT ON public.t0", 1_000);
    let told = query(&mut house, "SELECT a FROM t0");
    assert_eq!(told, ["S", "T", "D", "D", "C", "ZT"]);
    assert_eq!(ran(&house), ["SET extra_float_digits = 3", "BEGIN", "SELECT a FROM t0"]);
}

#[test]
fn a_statement_prepared_without_a_server_is_taught_to_it() {
    let mut house = House::new(&[]);
    house.settle();
    house.told();
    let parse = Sent::Parse("s", "SET extra_float_digits = 3".into());
    send(&mut house, &[parse, Sent::Bind("", "s"), Sent::Execute(""), Sent::Sync]);
    assert_eq!(house.told(), ["1", "2", "C", "ZI"]);
    house.add("g_1", "SELECT ON public.t0", 1_000);
    send(&mut house, &[Sent::Bind("", "s"), Sent::Execute(""), Sent::Sync]);
    assert_eq!(house.told(), ["S", "2", "C", "ZI"]);
}

#[test]
fn a_call_in_a_pipeline_is_answered_in_order() {
    let mut house = with_grant("SELECT ON public.t0");
    let messages = [
        Sent::Parse("", "SELECT a FROM t0".into()),
        Sent::Bind("", ""),
        Sent::Execute(""),
        Sent::Parse("", "CALL daypass.whoami()".into()),
        Sent::Bind("", ""),
        Sent::DescribePortal(""),
        Sent::Execute(""),
        Sent::Sync,
    ];
    send(&mut house, &messages);
    assert_eq!(house.told(), ["1", "2", "D", "D", "C", "1", "2", "T", "D", "C", "ZI"]);
}

#[test]
fn when_the_audit_stream_is_down_nothing_runs() {
    let mut house = with_grant("SELECT ON public.t0");
    house.audit_accepts = false;
    assert_eq!(query(&mut house, "SELECT a FROM t0"), ["E58030", "ZI"]);
    assert_eq!(ran(&house), Vec::<&str>::new());
}

#[test]
fn a_cancel_of_the_clients_holds_what_comes_next_until_it_has_ended() {
    let mut house = with_grant("SELECT ON public.t0");
    send(&mut house, &[Sent::Query("SELECT a, pg_sleep(9) FROM t0".into())]);
    house.machine.on_cancel(&mut house.out);
    house.apply();
    house.server.finish();
    house.server_delivers(usize::MAX);
    assert_eq!(house.told(), ["C", "ZI"]);
    // The statement was over before the cancel got there; the next must not be hit by it.
    house.client_sends(&Sent::Query("SELECT a FROM t0".into()).bytes());
    assert_eq!(ran(&house).len(), 1);
    house.settle();
    assert_eq!(house.told(), ["T", "D", "D", "C", "ZI"]);
}

#[test]
fn a_statement_prepared_by_sql_keeps_what_is_to_be_redacted() {
    let text = redact::TextSettings { literals: redact::Literals::Redacted, ..Default::default() };
    let mut house = House::recording(&[grant("g_1", "SELECT ON public.t0", 0, 1_000)], text);
    house.settle();
    query(&mut house, "SELECT a FROM t0; PREPARE s AS SELECT a FROM t0 WHERE b = 'hidden'");
    // The simulated server keeps no statement of SQL's, so only what was recorded counts here.
    send(&mut house, &[Sent::Bind("", "s"), Sent::Execute(""), Sent::Sync]);
    let texts: Vec<_> = house.audit.iter().filter_map(|record| record.text.as_ref()).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| !format!("{text:?}").contains("hidden")), "{texts:?}");
}

#[test]
fn prepared_by_sql_is_decided_again_at_each_execute() {
    let mut house = with_grant("SELECT ON public.t0");
    assert_eq!(query(&mut house, "PREPARE s AS SELECT a FROM t0").last().unwrap(), "ZI");
    assert_eq!(query(&mut house, "EXECUTE s").last().unwrap(), "ZI");
    house.revoke("g_1");
    house.add("g_2", "SELECT ON public.t1", 1_000);
    assert_eq!(query(&mut house, "EXECUTE s"), ["E42501", "ZI"]);
}

#[test]
fn a_server_that_says_why_it_goes_has_the_last_word() {
    let mut house = with_grant("SELECT ON public.t0");
    send(&mut house, &[Sent::Query("SELECT a, pg_sleep(9) FROM t0".into())]);
    let mut goodbye = Vec::new();
    Report::fatal("57P01", "terminating connection").write(&mut goodbye);
    house.server.out.extend_from_slice(&goodbye);
    house.settle();
    house.server_goes();
    assert_eq!(house.told(), ["E57P01"]);
    assert!(house.closed);
    assert_eq!(house.results(), 1);

    // One that says nothing, or of whose words the client hears nothing.
    let mut house = with_grant("SELECT ON public.t0");
    send(&mut house, &[Sent::Query("SELECT a, pg_sleep(9) FROM t0".into())]);
    house.server_goes();
    assert_eq!(house.told(), ["E08006"]);
    let mut house = with_grant("SELECT ON public.t0");
    query(&mut house, "SELECT a FROM t0");
    let mut error = Vec::new();
    Report::error("57014", "cancelled").write(&mut error);
    house.server.out.extend_from_slice(&error);
    house.settle();
    house.server_goes();
    assert_eq!(house.told(), ["E57014", "E08006"]);
}
