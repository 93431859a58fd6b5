//! Replicas, on real servers whose replication is paused, delayed and cut, and which are promoted and end.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod fleet;
mod mysql;
mod positions;
mod postgres;
