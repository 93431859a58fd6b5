//! The tables of statements: text, then what it needs, indented.

use super::{outcome, read, read_own};
use crate::sql::statement::{Analysis, NotUnderstood};

type Reader = fn(&str) -> Result<Analysis, NotUnderstood>;

fn check(table: &str, name: &str, read: Reader) {
    let mut failures = Vec::new();
    let mut cases = 0;
    for case in table.split("\n\n") {
        let lines = case.lines().filter(|line| !line.starts_with("## "));
        let (expected, text): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with("    "));
        if text.iter().all(|line| line.is_empty()) {
            continue;
        }
        cases += 1;
        let text = text.join("\n");
        let mut expected: Vec<String> =
            expected.iter().map(|line| line.trim().to_string()).collect();
        expected.retain(|line| line != "nothing");
        expected.sort();
        let result = read(&text);
        let found = outcome(&result);
        if expected != found {
            failures.push(format!(
                "{text}\n  expected {expected:#?}\n  found {found:#?} {:?}",
                result.err()
            ));
        }
    }
    let number = failures.len();
    assert!(failures.is_empty(), "{name}: {number} of {cases}\n{}", failures.join("\n\n"));
    assert!(cases > 20, "{name} has only {cases} cases");
}

#[test]
fn queries() {
    check(include_str!("queries.txt"), "queries.txt", read);
}

#[test]
fn changes() {
    check(include_str!("changes.txt"), "changes.txt", read);
}

#[test]
fn utilities() {
    check(include_str!("utilities.txt"), "utilities.txt", read);
}

#[test]
fn traps() {
    check(include_str!("traps.txt"), "traps.txt", read);
}

#[test]
fn own_accounts() {
    check(include_str!("own.txt"), "own.txt", read_own);
}
