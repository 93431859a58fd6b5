//! The statements.

use crate::generator::Generator;

/// Made ones, from a fixed seed; `LOCKS_SEED` is another's.
pub fn made(count: usize) -> Vec<String> {
    let seed = std::env::var("LOCKS_SEED").ok().and_then(|n| n.parse().ok());
    let mut generator = Generator::new(seed.unwrap_or(20_261_124));
    (0..count).map(|_| generator.statement()).collect()
}

/// Those by hand over the same objects.
pub fn by_hand() -> Vec<&'static str> {
    let lines = include_str!("../analyser_oracle.sql").lines();
    // `NN| ` in front: only from that major version on. The others refuse it whoever asks.
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
        .map(|line| {
            line.split_once("| ").filter(|(head, _)| head.len() == 2).map_or(line, |it| it.1)
        })
        .collect()
}

/// Those of the tables beside the analyser, over the objects of `traps.sql`.
pub fn traps() -> Vec<String> {
    let tables = [
        include_str!("../../src/sql/postgres/tests/traps.txt"),
        include_str!("../../src/sql/postgres/tests/differential.txt"),
        include_str!("../../src/sql/postgres/tests/queries.txt"),
        include_str!("../../src/sql/postgres/tests/changes.txt"),
        include_str!("../../src/sql/postgres/tests/functions.txt"),
        include_str!("../../src/sql/postgres/tests/utilities.txt"),
    ];
    let cases = tables.into_iter().flat_map(|table| table.split("\n\n"));
    let texts = cases.map(|case| {
        let lines = case.lines().filter(|line| !line.starts_with('#') && !line.starts_with("    "));
        lines.collect::<Vec<_>>().join("\n")
    });
    // What is called on the schema `daypass` the proxy answers itself.
    texts.filter(|text| !text.is_empty() && !text.starts_with("call daypass.")).collect()
}

/// Whether what a statement does may outlast the end of its transaction.
pub fn lingers(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let queries = ["select", "insert", "update", "delete", "merge", "with", "values", "table"];
    !queries.contains(&word) || text.contains(';')
}
