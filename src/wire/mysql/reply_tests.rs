use proptest::prelude::*;

use super::*;
use crate::wire::mysql::packet::{self, PAYLOAD_MAX};
use crate::wire::mysql::report::{self, Form, Report};

const NONE: Capabilities = Capabilities::NONE;
const DEPRECATE: Capabilities = Capabilities::DEPRECATE_EOF;

/// Everything that a reply consists of, the bytes that pass as their sum, in pieces of `piece` bytes.
fn follow(reply: &mut Reply, bytes: &[u8], piece: usize) -> Result<Vec<String>, Violation> {
    let (mut said, mut buffer, mut passed) = (Vec::new(), Vec::new(), 0);
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let taken = match reply.advance(&buffer)? {
                Step::Read => break,
                Step::Pass(bytes) => {
                    passed += bytes;
                    bytes
                }
                Step::Packet { bytes, event } => {
                    if passed > 0 {
                        said.push(format!("{passed} bytes"));
                        passed = 0;
                    }
                    said.push(match event {
                        Event::Okay(okay) => format!("ok {}", okay.affected),
                        Event::Failure(failure) => format!("error {}", failure.code),
                        Event::ColumnsEnd { cursor, .. } => format!("columns end, {cursor}"),
                        Event::RowsEnd { rows, bytes, cursor, .. } => {
                            format!("{rows} rows of {bytes} bytes, {cursor}")
                        }
                        other => format!("{other:?}"),
                    });
                    bytes
                }
            };
            buffer.drain(..taken);
        }
    }
    if passed > 0 {
        said.push(format!("{passed} bytes"));
    }
    if !buffer.is_empty() {
        said.push(format!("{} left", buffer.len()));
    }
    Ok(said)
}

fn reply(expect: Expect, capabilities: Capabilities) -> Reply {
    Reply::new(expect, capabilities, 1)
}

/// A reply that must end, followed in pieces of several sizes.
#[track_caller]
fn whole(expect: Expect, capabilities: Capabilities, bytes: &[u8]) -> Vec<String> {
    let mut machine = reply(expect, capabilities);
    let said = follow(&mut machine, bytes, usize::MAX).unwrap();
    assert!(machine.is_over(), "{said:?}");
    for piece in [1, 3, 7] {
        assert_eq!(follow(&mut reply(expect, capabilities), bytes, piece).unwrap(), said);
    }
    said
}

fn rows(capabilities: Capabilities, status: Status, sequence: &mut u8) -> Vec<u8> {
    let mut out = Vec::new();
    let values = vec![vec![Some("one".into())], vec![None]];
    report::result(&mut out, sequence, &["a"], &values, Form::Text, status, capabilities);
    out
}

fn messages(bodies: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), 1);
    for body in bodies {
        packet::write(&mut out, &mut sequence, |out| out.extend_from_slice(body));
    }
    out
}

#[test]
fn a_result_has_columns_and_rows_in_either_form() {
    let bytes = rows(NONE, Status::AUTOCOMMIT, &mut 1);
    assert_eq!(
        whole(Expect::Results, NONE, &bytes),
        ["Columns(1)", "27 bytes", "columns end, false", "13 bytes", "2 rows of 5 bytes, false"]
    );
    let bytes = rows(DEPRECATE, Status::AUTOCOMMIT, &mut 1);
    assert_eq!(
        whole(Expect::Results, DEPRECATE, &bytes),
        ["Columns(1)", "40 bytes", "2 rows of 5 bytes, false"]
    );
}

#[test]
fn results_follow_each_other_while_the_status_says_so() {
    for capabilities in [NONE, DEPRECATE, DEPRECATE | Capabilities::SESSION_TRACK] {
        let mut sequence = 1;
        let mut bytes = rows(capabilities, Status::MORE_RESULTS, &mut sequence);
        report::okay(&mut bytes, &mut sequence, 7, Status::MORE_RESULTS, "", capabilities);
        Report::new(1064, "42000", "no").write(&mut bytes, &mut sequence);
        let said = whole(Expect::Results, capabilities, &bytes);
        assert_eq!(said[said.len() - 2..], ["ok 7", "error 1064"]);
    }
}

#[test]
fn columns_that_are_known_may_be_left_out() {
    let cache = Capabilities::CACHE_METADATA;
    let eof: &[u8] = b"\xfe\0\0\x02\0";
    let said = whole(Expect::Results, cache, &messages(&[b"\x01\0", eof, b"\x01x", eof]));
    let expected = ["Columns(1)", "columns end, false", "6 bytes", "1 rows of 2 bytes, false"];
    assert_eq!(said, expected);
    let okay: &[u8] = b"\xfe\0\0\x02\0\0\0";
    let said = whole(Expect::Results, cache | DEPRECATE, &messages(&[b"\x01\0", b"\x01x", okay]));
    assert_eq!(said, ["Columns(1)", "6 bytes", "1 rows of 2 bytes, false"]);
}

#[test]
fn a_cursor_has_columns_and_its_rows_are_fetched() {
    let open = messages(&[b"\x01", b"\x03def", b"\xfe\0\0\x42\0"]);
    let said = whole(Expect::Results, NONE, &open);
    assert_eq!(said, ["Columns(1)", "8 bytes", "columns end, true"]);
    let again = messages(&[b"\x01", b"\x03def", b"\0\0\0\x22\0\0\0"]);
    let said = whole(Expect::Results, NONE, &again);
    assert_eq!(said, ["Columns(1)", "8 bytes", "columns end, false"]);
    let open = messages(&[b"\x01", b"\x03def", b"\xfe\0\0\x42\0\0\0"]);
    let said = whole(Expect::Results, DEPRECATE, &open);
    assert_eq!(said, ["Columns(1)", "8 bytes", "0 rows of 0 bytes, true"]);
    let fetched = messages(&[b"\0\0\x01", b"\0\0\x02", b"\xfe\0\0\x82\0"]);
    let said = whole(Expect::Fetched, NONE, &fetched);
    assert_eq!(said, ["14 bytes", "2 rows of 6 bytes, false"]);
}

#[test]
fn a_prepared_statement_tells_its_parameters_and_columns() {
    for (parameters, columns) in [(0, &[][..]), (2, &["a", "b"]), (1, &[]), (0, &["a"])] {
        for capabilities in [NONE, DEPRECATE] {
            let mut out = Vec::new();
            let status = Status::AUTOCOMMIT;
            report::prepared(&mut out, &mut 1, 9, parameters, columns, status, capabilities);
            let said = whole(Expect::Prepared, capabilities, &out);
            let count = columns.len();
            let first =
                format!("Prepared {{ statement: 9, columns: {count}, parameters: {parameters} }}");
            assert_eq!(said[0], first);
            assert!(!said.iter().any(|one| one.ends_with("left")), "{said:?}");
        }
    }
}

#[test]
fn a_plain_ok_in_place_of_a_prepared_statement_ends_the_reply() {
    let mut out = Vec::new();
    report::okay(&mut out, &mut 1, 0, Status::AUTOCOMMIT, "", NONE);
    assert_eq!(whole(Expect::Prepared, NONE, &out), ["ok 0"]);
}

#[test]
fn a_row_of_sixteen_megabytes_is_one_row_and_never_held() {
    // Begins with the byte of an end, as a text of that length does.
    let mut row = vec![0xfe];
    row.extend_from_slice(&(PAYLOAD_MAX as u64).to_le_bytes());
    row.resize(PAYLOAD_MAX + 9, b'x');
    let eof: &[u8] = b"\xfe\0\0\x02\0\0\0";
    let bytes = messages(&[b"\x01", b"\x03def", &row, b"\x01y", eof]);
    let mut machine = reply(Expect::Results, DEPRECATE);
    let said = follow(&mut machine, &bytes, usize::MAX).unwrap();
    assert!(machine.is_over());
    let expected = format!("2 rows of {} bytes, false", row.len() + 2);
    assert_eq!(said.last(), Some(&expected));
    let mut machine = reply(Expect::Results, DEPRECATE);
    assert_eq!(
        machine.advance(&bytes[..5]).unwrap(),
        Step::Packet { bytes: 5, event: Event::Columns(1) }
    );
    // Of a row that has only begun, what is there passes at once.
    assert_eq!(machine.advance(&bytes[5..1_000]).unwrap(), Step::Pass(995));
}

#[test]
fn a_row_that_fills_its_packets_ends_with_an_empty_one() {
    let row = vec![b'x'; PAYLOAD_MAX];
    let bytes = messages(&[b"\x01", b"\x03def", &row, b"\xfe\0\0\x02\0\0\0"]);
    let mut machine = reply(Expect::Results, DEPRECATE);
    let said = follow(&mut machine, &bytes, 1 << 20).unwrap();
    assert_eq!(said.last().unwrap(), &format!("1 rows of {PAYLOAD_MAX} bytes, false"));
    assert!(machine.is_over());
}

#[test]
fn the_server_may_ask_for_a_file() {
    let mut machine = reply(Expect::Results, NONE);
    let asked = messages(&[b"\xfb/tmp/x"]);
    let said = follow(&mut machine, &asked, usize::MAX).unwrap();
    assert_eq!(said, [format!("LocalInfile({:?})", b"/tmp/x")]);
    assert!(machine.awaits_file() && !machine.is_over());
    machine.file_sent(4);
    let mut out = Vec::new();
    report::okay(&mut out, &mut 4, 2, Status::AUTOCOMMIT, "", NONE);
    assert_eq!(follow(&mut machine, &out, usize::MAX).unwrap(), ["ok 2"]);
    assert!(machine.is_over());
}

#[test]
fn a_server_does_not_speak_while_the_file_is_due() {
    let mut machine = reply(Expect::Results, NONE);
    let asked = messages(&[b"\xfbx", b"\0\0\0\x02\0\0\0"]);
    assert!(follow(&mut machine, &asked, usize::MAX).is_err());
}

#[test]
fn progress_is_no_end() {
    let progress: &[u8] = b"\xff\xff\xff\x01\x01\x01\x10\0\0\x04copy";
    let okay: &[u8] = b"\0\0\0\x02\0\0\0";
    let bytes = messages(&[progress, progress, okay]);
    let said = whole(Expect::Results, Capabilities::PROGRESS, &bytes);
    assert_eq!(said, ["Progress", "Progress", "ok 0"]);
}

#[test]
fn columns_of_a_table_have_no_count() {
    let fields = messages(&[b"\x03def.", b"\x03def,", b"\xfe\0\0\x02\0"]);
    let said = whole(Expect::Fields, NONE, &fields);
    assert_eq!(said, ["18 bytes", "2 rows of 10 bytes, false"]);
    let sentence = messages(&[b"Uptime: 1"]);
    assert_eq!(whole(Expect::Sentence, NONE, &sentence), [format!("Sentence({:?})", b"Uptime: 1")]);
}

#[test]
fn what_breaks_the_protocol_is_told() {
    let broken = |expect, bytes: &[u8]| {
        follow(&mut reply(expect, NONE), bytes, usize::MAX).expect_err("a violation")
    };
    let okay: &[u8] = b"\0\0\0\x02\0\0\0";
    let late = [&[7, 0, 0, 2][..], okay].concat();
    assert_eq!(broken(Expect::Okay, &late), Violation::Sequence { expected: 1, found: 2 });
    assert!(matches!(broken(Expect::Okay, &messages(&[b"\x01"])), Violation::Unexpected(_)));
    assert!(matches!(broken(Expect::Results, &messages(&[b""])), Violation::Malformed(_)));
    assert!(matches!(broken(Expect::Prepared, &messages(&[b"\0"])), Violation::Malformed(_)));
    let long = [&[0xff, 0xff, 0x7f, 1][..], b"\xff"].concat();
    assert!(matches!(broken(Expect::Okay, &long), Violation::TooLong { .. }));
}

#[test]
fn a_server_says_why_it_closes() {
    let mut out = Vec::new();
    Report::new(1927, "70100", "Connection was killed").write(&mut out, &mut 0);
    let (bytes, failure) = parting(&out).unwrap().unwrap();
    assert_eq!((bytes, failure.code), (out.len(), 1927));
    assert_eq!(parting(&out[..9]), Ok(None));
    assert!(parting(&messages(&[b"\0\0\0\x02\0\0\0"])).is_err());
}

proptest! {
    #[test]
    fn no_split_changes_what_is_said(
        bytes: Vec<u8>, expect in 0..6_usize, bits: u32, extended in 0..64_u32, piece in 1..20_usize,
    ) {
        let expect = [
            Expect::Okay,
            Expect::Results,
            Expect::Fields,
            Expect::Fetched,
            Expect::Prepared,
            Expect::Sentence,
        ][expect];
        // Headers that fit, so that something is reached.
        let bodies: Vec<&[u8]> = bytes.split(|&byte| byte == 7).collect();
        let bytes = messages(&bodies);
        let capabilities = Capabilities::new(bits, extended);
        let at_once = follow(&mut reply(expect, capabilities), &bytes, usize::MAX);
        let in_pieces = follow(&mut reply(expect, capabilities), &bytes, piece);
        prop_assert_eq!(at_once, in_pieces);
    }
}
