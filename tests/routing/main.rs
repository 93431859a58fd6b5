//! Where statements run, on real servers with replicas, whose replication is paused, delayed and cut, and which are
//! promoted and end.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../oracle/generator.rs"]
mod generator;
#[path = "../support/mod.rs"]
mod support;

mod bound;
mod drivers;
mod faults;
mod fleet;
mod history;
mod lists;
mod mysql;
mod mysql_sessions;
mod placement;
mod positions;
mod postgres;
mod sessions;
mod shop;
