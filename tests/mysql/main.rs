//! MySQL and MariaDB on real servers, floor by floor: dialling, names, accounts, the analyser, logins of real
//! clients, the conversation of a session.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod catalog;
mod clients;
mod oracle;
mod session;
mod tools;
mod upstream;
