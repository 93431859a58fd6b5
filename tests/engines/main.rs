//! What the proxy promises whichever server stands behind it: each test runs on PostgreSQL, on MariaDB and on MySQL.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod house;
mod life;
mod locks;
mod outage;
mod records;
