//! Dialling, logging in, cancelling and the kept catalog, against a real PostgreSQL.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod catalogs;
mod connect;
mod server;
mod since;
