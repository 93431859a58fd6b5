//! Hostile depth and length, in a process of its own: a stack that overflows would end it by a signal.

use std::process::Command;

use super::{outcome, read};
use crate::sql::mysql::STACK_BYTES;

const SHAPE: &str = "DAYPASS_TEST_SHAPE";

/// A name, what the text begins with, is repeated, holds and ends with, and whether it is understood at length.
const SHAPES: &[(&str, [&str; 4], bool)] = &[
    ("or", ["select a from t1 where a=1", " or a=1", "", ""], true),
    ("plus", ["select a", "+1", " from t1", ""], true),
    ("not", ["select ", "not ", "a from t1", ""], true),
    ("minus", ["select ", "- ", "a from t1", ""], true),
    ("union", ["select a from t1", " union select c from t2", "", ""], true),
    ("join", ["select 1 from t1", " join t2", "", ""], true),
    ("comma", ["select 1 from one", ", (select 1) x", "", ""], true),
    ("in", ["select a from t1 where a in (1", ",1", ")", ""], true),
    ("values", ["insert into t1 (a) values (1)", ",(1)", "", ""], true),
    ("strings", ["select 'a'", " 'a'", "", ""], true),
    ("statements", ["select 1", "; select 1", "", ""], true),
    ("set", ["set @a = 1", ", @a = 1", "", ""], true),
    ("parentheses", ["select ", "(", "1", ")"], false),
    ("subselects", ["select ", "(select ", "1", ")"], false),
    ("derived", ["select * from ", "(select * from ", "t1", ") x"], false),
    ("joins", ["select 1 from ", "(", "t1", ")"], false),
    ("case", ["select ", "case when 1 then ", "1", " end"], false),
    ("functions", ["select ", "abs(", "1", ")"], false),
    ("ctes", ["", "with x as (", "select 1", ") select 1"], false),
    ("queries", ["", "(", "select 1", ")"], false),
    ("explain", ["", "explain ", "select 1", ""], false),
    ("statement", ["", "set statement max_statement_time=1 for ", "select 1", ""], false),
    ("executable", ["select 1 ", "/*! ", "+ 1", " */"], false),
    ("exists", ["select ", "exists (select ", "1", ")"], false),
    ("windows", ["select ", "sum(1) over (order by ", "1", ")"], false),
];

fn text(parts: &[&str; 4], times: usize) -> String {
    let [start, open, middle, close] = parts;
    format!("{start}{}{middle}{}", open.repeat(times), close.repeat(times))
}

#[test]
#[ignore = "the other test runs it in a process of its own"]
fn in_a_process() {
    let name = std::env::var(SHAPE).unwrap();
    let (_, parts, flat) = SHAPES.iter().find(|(known, ..)| *known == name).unwrap();
    let work = move || {
        for times in 1..130 {
            // Whatever it is, it ends well.
            let _ = outcome(&read(&text(parts, times)));
        }
        // As many as the longest of them may have within the default limit of tokens.
        let long = read(&text(parts, 75_000));
        assert_eq!(long.is_ok(), *flat, "{:?}", long.map(|it| it.statements.len()));
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap();
}

#[test]
fn neither_length_nor_depth_ends_the_process() {
    for (name, ..) in SHAPES {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "sql::mysql::tests::deep::in_a_process"])
            .env(SHAPE, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        let passed = child.status.success() && said.contains("1 passed");
        assert!(passed, "{name}: {}\n{said}{errors}", child.status);
    }
}
