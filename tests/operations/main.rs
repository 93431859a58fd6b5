//! What an operator does to a proxy that runs, and what the repository gives them for it.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop"
)]

#[path = "../support/mod.rs"]
mod support;

mod examples;
mod hashes;
mod reload;
mod service;
mod terminal;

use serde_json::Value;
use support::{Config, Daypass, Options, Postgres};

/// A server with two databases, each with a table of the other's name.
pub(crate) fn server() -> Postgres {
    let server = Postgres::start(Options::default());
    for database in ["shop", "crm"] {
        server.sql(&format!("CREATE DATABASE {database}"));
        server.sql_in(database, "CREATE TABLE notes AS SELECT generate_series(1, 5) AS n");
    }
    server
}

/// Reloads, and waits for the record of it.
#[track_caller]
pub(crate) fn reload(daypass: &Daypass, config: Config) -> Value {
    let before = configurations(daypass).len();
    daypass.reload(config);
    support::eventually("the record of a reload", || configurations(daypass).get(before).cloned())
}

fn configurations(daypass: &Daypass) -> Vec<Value> {
    let mut records = daypass.audit();
    records.retain(|record| record["kind"] == "configuration");
    records
}
