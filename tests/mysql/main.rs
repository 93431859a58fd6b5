//! MySQL and MariaDB on real servers, floor by floor: dialling, names, accounts, the second lock, the analyser, the
//! conversation of a session; and all of it together: real clients, through the proxy.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../oracle/tally.rs"]
mod tally;

mod accounts;
mod catalog;
mod clients;
mod held;
mod house;
mod judge;
mod lock;
mod oracle;
mod served;
mod session;
mod tools;
mod upstream;
