//! Commands, prepared statements, and what a session's state makes of texts.

use super::{
    Answer, Capabilities, Expect, House, WITH_EOF, Wish, at, granted, status_in_transaction,
};
use crate::session::machine::Renewal;
use crate::wire::mysql::capability::Status;

fn reads() -> House {
    House::new(&[granted("g_1", "SELECT ON shop.t1", 1000)])
}

fn id(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

fn execute(n: u32, cursor: u8, rest: &[u8]) -> Vec<u8> {
    [&id(n)[..], &[cursor, 1, 0, 0, 0], rest].concat()
}

fn prepare(house: &mut House, text: &str, answer: Answer) -> String {
    house.server.answers.push_back(answer);
    house.command(0x16, text.as_bytes(), Expect::Prepared)
}

#[test]
fn a_prepared_statement_is_decided_when_prepared_and_at_each_execution() {
    let mut house = reads();
    let denied = house.command(0x16, b"SELECT d FROM secret", Expect::Prepared);
    assert!(denied.starts_with("1143"), "{denied}");
    let told = prepare(&mut house, "SELECT a FROM t1 WHERE b = ?", Answer::Prepared(1, 1));
    assert_eq!(told, "prepared 1 1");
    house.server.answers.push_back(Answer::Rows(1));
    let bound = execute(1, 0, b"\0\x01\x03\0\x2a\0\0\0");
    assert_eq!(house.command(0x17, &bound, Expect::Results), "1 rows");
    let values: Vec<_> = house.audit.iter().flat_map(|record| record.parameters.iter()).collect();
    assert_eq!(format!("{values:?}"), "[Value(\"42\")]");
    house.now = at(1000);
    assert!(house.command(0x17, &bound, Expect::Results).starts_with("1143"));
    assert_eq!(house.server.got, ["Prepare", "Execute"]);
    house.assert_trail();
}

#[test]
fn an_execution_of_what_was_prepared_last_is_of_nothing_when_that_failed() {
    let mut house = reads();
    prepare(&mut house, "SELECT a FROM t1", Answer::Prepared(1, 0));
    house.server.answers.push_back(Answer::Rows(1));
    assert_eq!(house.command(0x17, &execute(u32::MAX, 0, b""), Expect::Results), "1 rows");
    assert!(house.command(0x16, b"SELECT d FROM secret", Expect::Prepared).starts_with("1143"));
    let told = house.command(0x17, &execute(u32::MAX, 0, b""), Expect::Results);
    assert!(told.starts_with("1243"), "{told}");
    assert_eq!(house.server.got, ["Prepare", "Execute"]);
}

#[test]
fn a_prepared_statement_that_the_server_does_not_know_is_unknown() {
    let mut house = reads();
    assert_eq!(
        prepare(&mut house, "SELECT a FROM t1", Answer::Error(1146, "42S02")),
        "1146 42S02 no"
    );
    assert!(house.command(0x17, &execute(1, 0, b""), Expect::Results).starts_with("1243"));
    prepare(&mut house, "SELECT a FROM t1", Answer::Prepared(1, 0));
    house.sends(0x19, &id(1));
    assert!(house.command(0x17, &execute(1, 0, b""), Expect::Results).starts_with("1243"));
    assert!(house.command(0x1a, &id(1), Expect::Okay).starts_with("1243"));
    assert_eq!(house.server.got, ["Prepare", "Prepare", "Close"]);
}

#[test]
fn a_fetch_is_decided_by_the_grants_of_its_moment() {
    let mut house = reads();
    prepare(&mut house, "SELECT a FROM t1", Answer::Prepared(1, 0));
    let fetch = [id(1), id(10)].concat();
    assert!(house.command(0x1c, &fetch, Expect::Okay).starts_with("1421"));
    house.server.answers.push_back(Answer::Cursor);
    assert_eq!(house.command(0x17, &execute(1, 1, b""), Expect::Results), "cursor");
    house.server.answers.push_back(Answer::Fetched(3));
    assert_eq!(house.command(0x1c, &fetch, Expect::Fetched), "3 rows");
    house.assert_trail();
    assert_eq!(house.records(), ["deny ? HY000", "allow SELECT", "Ok 0", "allow SELECT", "Ok 3"]);
    house.revokes();
    assert!(house.command(0x1c, &fetch, Expect::Okay).starts_with("1143"));
    assert_eq!(house.server.got, ["Prepare", "Execute", "Fetch"]);
}

#[test]
fn an_ok_of_our_own_tells_nothing_of_the_reply_before() {
    let mut house = reads();
    prepare(&mut house, "SELECT a FROM t1", Answer::Prepared(1, 0));
    house.server.answers.push_back(Answer::Cursor);
    assert_eq!(house.command(0x17, &execute(1, 1, b""), Expect::Results), "cursor");
    house.query("KILL QUERY 8");
    let autocommit = super::Status::AUTOCOMMIT.0.to_le_bytes();
    assert_eq!(house.client_out[4..], [0, 0, 0, autocommit[0], autocommit[1], 0, 0]);
}

#[test]
fn pieces_of_a_parameter_pass_for_a_statement_that_there_is() {
    let mut house = reads();
    prepare(&mut house, "SELECT a FROM t1 WHERE b = ?", Answer::Prepared(1, 1));
    let piece = |n: u32, parameter: u8| [&id(n)[..], &[parameter, 0], b"xyz"].concat();
    house.sends(0x18, &piece(2, 0));
    house.sends(0x18, &piece(1, 5));
    house.sends(0x18, &piece(1, 0));
    house.server.answers.push_back(Answer::Rows(1));
    let bound = execute(1, 0, b"\0\x01\xfc\0");
    assert_eq!(house.command(0x17, &bound, Expect::Results), "1 rows");
    assert_eq!(house.server.got, ["Prepare", "SendLongData", "Execute"]);
}

#[test]
fn types_of_an_execution_that_was_refused_have_to_be_told_again() {
    let mut house = reads();
    prepare(&mut house, "SELECT a FROM t1 WHERE b = ?", Answer::Prepared(1, 1));
    house.audit_accepts = false;
    house.command(0x17, &execute(1, 0, b"\0\x01\x03\0\x2a\0\0\0"), Expect::Results);
    house.audit_accepts = true;
    let again = execute(1, 0, b"\0\0\x2a\0\0\0");
    assert!(house.command(0x17, &again, Expect::Results).starts_with("1243"));
    assert_eq!(house.server.got, ["Prepare"]);
}

#[test]
fn sqls_prepare_is_decided_again_at_execute() {
    let mut house = reads();
    assert!(house.ask("PREPARE s FROM 'SELECT d FROM secret'").starts_with("1143"));
    assert!(house.ask("EXECUTE s").starts_with("1243"));
    assert_eq!(house.ask("PREPARE s FROM 'SELECT a FROM t1'"), "ok 0");
    house.server.answers.push_back(Answer::Rows(1));
    assert_eq!(house.ask("EXECUTE S"), "1 rows");
    house.ask("DEALLOCATE PREPARE s");
    assert!(house.ask("EXECUTE s").starts_with("1243"));
    house.ask("PREPARE s FROM 'SELECT a FROM t1'");
    house.revokes();
    assert!(house.ask("EXECUTE s").starts_with("1143"));
}

#[test]
fn names_follow_the_default_database() {
    let mut house = reads();
    prepare(&mut house, "SELECT a FROM t1", Answer::Prepared(1, 0));
    house.holds(&[granted("g_1", "SELECT ON shop.t1; SELECT ON crm.t1", 1000)]);
    assert_eq!(house.command(0x02, b"crm", Expect::Okay), "ok 0");
    assert_eq!(house.ask("SELECT z FROM t1"), "2 rows");
    // What was prepared means what it meant then.
    house.holds(&[granted("g_1", "SELECT ON crm.t1", 1000)]);
    assert!(house.command(0x17, &execute(1, 0, b""), Expect::Results).starts_with("1143"));
    assert_eq!(house.ask("SELECT z FROM t1"), "2 rows");
    house.server.answers.push_back(Answer::Error(1049, "42000"));
    house.ask("USE crm");
    assert!(house.command(0x02, b"shop", Expect::Okay).starts_with("1227"));
    assert_eq!(house.server.asked, ["how", "how"], "a USE that failed leaves it in doubt");
}

#[test]
fn quotes_are_read_as_the_server_reads_them() {
    let mut house = reads();
    house.server.answers.push_back(Answer::Okay(0));
    house.ask("SET sql_mode = 'ANSI_QUOTES'");
    let told = house.ask("SELECT \"d\" FROM secret");
    assert!(told.starts_with("1143"), "a name, not a string: {told}");
    house.server.sql_mode = "NO_BACKSLASH_ESCAPES".into();
    house.ask("SET sql_mode = @old");
    // The backslash ends no escape, so the string ends and what follows is read.
    let told = house.ask(r"SELECT '\', d, '' FROM secret");
    assert!(told.starts_with("1143"), "{told}");
    house.server.sql_mode = "ORACLE".into();
    house.ask("SET sql_mode = @old");
    assert!(house.ask("SELECT a FROM t1").starts_with("1235"));
}

#[test]
fn a_flag_that_does_not_fit_makes_us_ask() {
    let mut house = reads();
    house.ask("SELECT a FROM t1");
    house.server.sql_mode = "NO_BACKSLASH_ESCAPES".into();
    house.server.status = super::Status(super::Status::AUTOCOMMIT.0 | 0x0200);
    house.ask("SELECT a FROM t1");
    let told = house.ask(r"SELECT '\', d, '' FROM secret");
    assert!(told.starts_with("1143"), "{told}");
    assert_eq!(house.server.asked, ["how", "how"]);
}

#[test]
fn of_a_character_set_that_hides_quotes_only_ascii_is_read() {
    let mut house = reads();
    house.server.character_set = "gbk".into();
    house.sends(0x1f, b"");
    assert_eq!(house.told(Expect::Okay), ["ok 0"]);
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    house.sends(0x03, b"SELECT '\xbf\\' FROM t1");
    assert!(house.told(Expect::Results)[0].starts_with("1300"));
    house.server.character_set = "swe7".into();
    house.sends(0x1f, b"");
    house.told(Expect::Okay);
    assert!(house.ask("SELECT a FROM t1").starts_with("1235"));
}

#[test]
fn a_temporary_table_is_the_sessions_own_until_it_may_be_gone() {
    let grants =
        [granted("g_1", "CREATE TEMPORARY TABLES ON SCHEMA shop; SELECT ON shop.t1", 1000)];
    let mut house = House::new(&grants);
    assert_eq!(house.ask("CREATE TEMPORARY TABLE secret (x INT)"), "ok 0");
    assert_eq!(house.ask("SELECT x FROM secret"), "2 rows");
    // Whether it is gone or not, the table behind it is not open.
    house.server.answers.push_back(Answer::Error(1205, "HY000"));
    house.ask("DROP TABLE secret");
    assert!(house.ask("SELECT d FROM secret").starts_with("1143"));
    house.server.answers.push_back(Answer::Error(1050, "42S01"));
    house.ask("CREATE TEMPORARY TABLE secret (x INT)");
    assert!(house.ask("SELECT d FROM secret").starts_with("1143"), "it was never made");
    house.ask("CREATE TEMPORARY TABLE secret (x INT)");
    house.command(0x1f, b"", Expect::Okay);
    assert!(house.ask("SELECT d FROM secret").starts_with("1143"), "it went with the reset");
}

#[test]
fn a_file_passes_only_when_the_statement_names_it() {
    let grants = [granted("g_1", "WRITE ON shop.t1; FILE ON DATABASE", 1000)];
    let mut house = House::new(&grants);
    house.server.answers.push_back(Answer::File("/tmp/a.csv"));
    house.query("LOAD DATA LOCAL INFILE '/tmp/a.csv' INTO TABLE t1");
    assert_eq!(house.told(Expect::Results), ["file /tmp/a.csv"]);
    house.client_in.extend_from_slice(b"\x03\0\0\x02abc\x02\0\0\x03de\0\0\0\x04");
    house.take_client_bytes();
    house.settle();
    assert_eq!(house.server.file_bytes, b"abcde");
    assert_eq!(house.client_out[3..6], [5, 0, 1], "OK, in its turn");
    house.client_out.clear();
    house.assert_trail();
    house.server.answers.push_back(Answer::File("/etc/passwd"));
    house.query("LOAD DATA LOCAL INFILE '/tmp/a.csv' INTO TABLE t1");
    assert!(house.told(Expect::Results)[0].starts_with("1148"));
    assert!(house.closed);
}

#[test]
fn kill_reaches_ones_own_sessions_alone() {
    let mut house = reads();
    assert_eq!(house.ask("KILL QUERY 8"), "ok 0");
    assert!(house.ask("KILL 9").starts_with("1094"));
    assert_eq!(house.command(0x0c, &id(8), Expect::Okay), "ok 0");
    assert!(house.ask("SELECT a FROM t1; KILL 8").starts_with("1235"));
    assert!(house.command(0x16, b"KILL 8", Expect::Prepared).starts_with("1235"));
    assert!(house.ask("KILL QUERY 7").starts_with("1317 70100"));
    assert!(house.server.got.is_empty());
    house.assert_trail();
    assert!(house.ask("KILL 7").starts_with("1317"));
    assert!(house.closed);
}

#[test]
fn what_has_no_rule_is_refused_by_its_name() {
    let mut house = reads();
    for (code, body) in
        [(0x12_u8, &b"x"[..]), (0x08, b""), (0x05, b"db"), (0x0d, b""), (0x20, b""), (0x77, b"")]
    {
        let told = house.command(code, body, Expect::Okay);
        assert!(told.starts_with("1047 08S01 "), "{code}: {told}");
    }
    assert!(house.server.got.is_empty());
}

#[test]
fn a_client_that_logs_in_anew_leaves_its_session_with_what_it_sent_behind() {
    let mut house = reads();
    house.sends(0x11, b"bob\0\0\0");
    house.sends(0x0e, b"");
    house.take_client_bytes();
    house.settle();
    assert_eq!(house.departs, Some(1));
    assert!(house.server.got.is_empty() && house.client_out.is_empty());
    assert_eq!(&house.client_in[..], [1, 0, 0, 0, 0x0e], "the next login's");
}

#[test]
fn commands_without_a_text_are_decided_as_the_statement_that_does_the_same() {
    let mut house = reads();
    house.server.answers.push_back(Answer::Fetched(2));
    assert_eq!(house.command(0x04, b"t1\0", Expect::Fields), "2 rows");
    assert!(house.command(0x04, b"secret\0", Expect::Okay).starts_with("1142"));
    assert!(house.command(0x02, b"crm", Expect::Okay).starts_with("1227"));
    assert!(house.command(0x0a, b"", Expect::Okay).starts_with("1227"));
    assert!(house.command(0x04, b"t1` LIKE 'x\0", Expect::Okay).starts_with("1146"));
}

#[test]
fn a_definition_that_changed_is_read_anew_before_the_next_statement() {
    let mut house = House::new(&[granted("g_1", "ADMIN ON DATABASE", 1000)]);
    house.ask("CREATE TABLE t9 (a INT)");
    let before = house.version;
    house.ask("SELECT a FROM t1");
    assert_eq!(house.version, before + 1);
    house.ask("SELECT a FROM t1");
    assert_eq!(house.version, before + 1);
}

#[test]
fn replies_end_in_either_form_and_in_whatever_pieces_they_come() {
    for capabilities in
        [WITH_EOF, WITH_EOF | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK]
    {
        let mut house = House::speaking(&[granted("g_1", "SELECT ON shop.t1", 1000)], capabilities);
        house.server.answers.push_back(Answer::Never);
        house.query("SELECT a FROM t1");
        house.server.finish(&Answer::Several(vec![Answer::Rows(2), Answer::Okay(1)]));
        house.server_delivers(1);
        assert_eq!(house.told(Expect::Results), ["2 rows", "ok 1"]);
        house.assert_trail();
    }
}

#[test]
fn commands_that_are_sent_ahead_wait_for_their_turn() {
    let mut house = reads();
    house.server.answers.extend([Answer::Never, Answer::Prepared(4, 0), Answer::Rows(1)]);
    let packets = [
        (0x03_u8, b"SELECT a FROM t1".to_vec()),
        (0x16, b"SELECT b FROM t1".to_vec()),
        (0x17, execute(u32::MAX, 0, b"")),
        (0x01, Vec::new()),
    ];
    for (code, body) in packets {
        let mut bytes = Vec::new();
        crate::wire::mysql::command::write(&mut bytes, code, &body);
        house.client_in.extend_from_slice(&bytes);
    }
    house.take_client_bytes();
    house.settle();
    assert_eq!(house.server.got, ["SELECT a FROM t1"]);
    house.server.finish(&Answer::Rows(1));
    house.settle();
    assert_eq!(house.server.got, ["SELECT a FROM t1", "Prepare", "Execute"]);
    assert!(house.closed && house.pending.iter().all(|wish| *wish != Wish::Close));
    house.assert_trail();
}

#[test]
fn rights_on_the_default_database_are_taken_up_before_the_next_command_that_needs_one() {
    let mut house = reads();
    house.ask("SELECT a FROM t1");
    house.renews(Renewal::Use);
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    assert_eq!(house.server.got[1..], ["InitDb", "SELECT a FROM t1", "SELECT a FROM t1"]);
    // Nobody is let in without a grant, and nothing needs a right: the session waits for the next one.
    house.revokes();
    house.renews(Renewal::Use);
    assert!(house.ask("SELECT a FROM t1").starts_with("1143"));
    assert_eq!(house.server.got.len(), 4);
    house.holds(&[granted("g_2", "SELECT ON shop.t1", 1000)]);
    assert_eq!(house.ask("SELECT a FROM t1"), "2 rows");
    assert_eq!(house.server.got[4..], ["InitDb", "SELECT a FROM t1"]);
    house.assert_trail();
}

#[test]
fn a_session_that_is_not_let_into_its_default_database_again_ends() {
    let mut house = reads();
    house.ask("SELECT a FROM t1");
    house.renews(Renewal::Use);
    house.server.answers.push_back(Answer::Error(1044, "42000"));
    let told = house.ask("SELECT a FROM t1");
    assert!(told.starts_with("1044 42000 your grants allow nothing any more"), "{told}");
    assert!(house.closed);
    assert_eq!(house.server.got, ["SELECT a FROM t1", "InitDb"]);
}

#[test]
fn rights_on_the_whole_server_end_the_session_after_its_transaction() {
    let mut house = reads();
    house.server.status = status_in_transaction();
    house.ask("SELECT a FROM t1");
    house.renews(Renewal::LogIn);
    assert!(!house.closed);
    house.server.status = Status::AUTOCOMMIT;
    house.query("COMMIT");
    house.settle();
    assert!(house.closed);
    let said = String::from_utf8_lossy(&house.client_out).into_owned();
    assert!(said.contains("connect again"), "behind the reply: {said:?}");
}
