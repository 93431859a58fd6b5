//! Each lock against the server as oracle, end to end: the same statement with the same rights, once past the
//! proxy and once through it. Neither lock lets anything pass that the server itself would refuse.
//!
//! CI runs a part; `LOCKS_ALL=1` runs everything, as `make oracle` does.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../oracle/generator.rs"]
mod generator;
#[path = "../support/mod.rs"]
mod support;
#[path = "../oracle/tally.rs"]
mod tally;

mod compare;
mod corpus;
mod first;
mod ground;
mod second;

use support::{Version, versions_available};

/// What a superuser makes.
const OBJECTS: &str = include_str!("../analyser_schema.sql");
const TRAP_OBJECTS: &str = include_str!("traps.sql");

/// Whether all is to be run, and not CI's part of it.
fn everything() -> bool {
    std::env::var_os("LOCKS_ALL").is_some()
}

/// The servers to ask: the distribution's; with all, 15 and 18.
fn versions() -> Vec<Option<Version>> {
    if everything() {
        let asked = versions_available().into_iter().filter(|it| matches!(it.major, 15 | 18));
        return asked.map(Some).collect();
    }
    vec![None]
}
