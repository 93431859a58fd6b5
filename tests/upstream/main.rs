//! Dialling, logging in, cancelling and the kept catalog, against a real PostgreSQL.

mod catalogs;
mod connect;
mod server;
