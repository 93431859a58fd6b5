//! The tables of statements: text, then what it needs, indented.

use super::{outcome, read};

fn check(table: &str, name: &str) {
    let mut failures = Vec::new();
    let mut cases = 0;
    for case in table.split("\n\n") {
        let lines = case.lines().filter(|line| !line.starts_with('#'));
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
        let result = read(&text);
        let mut found = outcome(&result);
        expected.sort();
        found.sort();
        if expected != found {
            failures.push(format!(
                "{text}\n  expected {expected:#?}\n  found {found:#?} {:?}",
                result.err()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{name}: {} of {cases}\n{}",
        failures.len(),
        failures.join("\n\n")
    );
    assert!(cases > 20, "{name} has only {cases} cases");
}

#[test]
fn queries() {
    check(include_str!("queries.txt"), "queries.txt");
}

#[test]
fn changes() {
    check(include_str!("changes.txt"), "changes.txt");
}

#[test]
fn functions() {
    check(include_str!("functions.txt"), "functions.txt");
}

#[test]
fn utilities() {
    check(include_str!("utilities.txt"), "utilities.txt");
}

#[test]
fn differential() {
    check(include_str!("differential.txt"), "differential.txt");
}

#[test]
fn traps() {
    check(include_str!("traps.txt"), "traps.txt");
}
