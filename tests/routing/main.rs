//! Where statements run, on real servers with replicas.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../oracle/generator.rs"]
mod generator;
#[path = "../support/mod.rs"]
mod support;

mod lists;
mod placement;
