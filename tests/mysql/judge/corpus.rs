//! The statements.

use super::generator::Generator;
use crate::oracle;
use crate::support::Product;

/// Made ones, from a fixed seed; `LOCKS_SEED` is another's.
pub fn made(product: Product, count: usize) -> Vec<String> {
    let seed = std::env::var("LOCKS_SEED").ok().and_then(|n| n.parse().ok());
    let mut generator = Generator::new(seed.unwrap_or(20_261_124), product);
    (0..count).map(|_| generator.statement()).collect()
}

/// Those of the analyser's tables, of the oracle, and those by hand for what a reader of MySQL's text may get
/// wrong.
pub fn by_hand() -> Vec<String> {
    let mut list = oracle::written();
    list.extend(oracle::generated());
    let lines = include_str!("traps.sql").lines();
    list.extend(
        lines.filter(|line| !line.is_empty() && !line.starts_with("-- ")).map(str::to_owned),
    );
    // What is called on the schema `daypass` the proxy answers itself.
    list.retain(|text| !text.starts_with("call daypass."));
    list
}

fn first_word(text: &str) -> String {
    let text = text.trim_start_matches(['(', ' ', '\n']);
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    word.to_ascii_lowercase()
}

/// Whether the servers answer it with rows, in which they say too what is refused.
pub fn answers_in_rows(text: &str) -> bool {
    ["check", "checksum", "analyze", "optimize", "repair"].contains(&&*first_word(text))
        || text.starts_with("alter table") && text.contains(" partition ")
}

/// Whether what a statement does may outlast a ROLLBACK.
pub fn lingers(text: &str) -> bool {
    let harmless = [
        "select", "insert", "update", "delete", "replace", "with", "values", "table", "do",
        "explain", "describe", "desc", "show", "analyze",
    ];
    !harmless.contains(&&*first_word(text))
        || text.contains(';')
        || text.starts_with("set password")
}

/// Whether definitions may be others after it, or rows that no ROLLBACK brings back.
pub fn defines(text: &str) -> bool {
    let session = [
        "set",
        "use",
        "prepare",
        "deallocate",
        "handler",
        "lock",
        "unlock",
        "start",
        "begin",
        "commit",
        "rollback",
        "savepoint",
        "release",
        "kill",
        "check",
        "checksum",
        "help",
        "call",
    ];
    lingers(text) && !session.contains(&&*first_word(text))
        || text.contains(';')
        || text.starts_with("set password")
}

/// Whether a part of it may be done although it fails.
pub fn may_stop_midway(text: &str) -> bool {
    matches!(&*first_word(text), "drop" | "rename") || text.contains(';')
}
