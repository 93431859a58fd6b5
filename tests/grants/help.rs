//! The help texts, word for word: `DAYPASS_BLESS=1 cargo test --test grants help` writes them anew.

use std::fmt::Write;

use super::daypass;
use super::support::{root, run};

const VERBS: [&[&str]; 29] = [
    &[],
    &["serve"],
    &["check"],
    &["token"],
    &["token", "issue"],
    &["token", "list"],
    &["token", "revoke"],
    &["grant"],
    &["grant", "create"],
    &["grant", "list"],
    &["grant", "show"],
    &["grant", "revoke"],
    &["request"],
    &["request", "create"],
    &["request", "list"],
    &["request", "show"],
    &["request", "cancel"],
    &["approve"],
    &["deny"],
    &["explain"],
    &["session"],
    &["session", "list"],
    &["session", "kill"],
    &["audit"],
    &["audit", "tail"],
    &["audit", "show"],
    &["database"],
    &["database", "check"],
    &["database", "audit"],
];

#[test]
fn help_is_as_it_was_agreed() {
    let mut text = String::new();
    for verb in VERBS {
        let help = run(daypass().args(verb).arg("--help"), "").expect_success();
        writeln!(
            text,
            "$ daypass {}--help\n{help}\n",
            verb.iter().fold(String::new(), |all, word| all + word + " ")
        )
        .unwrap();
    }
    let path = root().join("tests/grants/help.txt");
    if std::env::var_os("DAYPASS_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == agreed, "the help texts differ from {}; now they are\n{text}", path.display());
}

#[test]
fn the_version_is_data() {
    let version = run(daypass().arg("--version"), "").expect_success();
    assert_eq!(version, concat!("daypass ", env!("CARGO_PKG_VERSION")));
}
