//! Daypass: just-in-time access to databases, statement by statement.
//!
//! The modules stand in the order in which they may import each other: one may use any that stands
//! before it, never one after. `tests/tidy.rs` holds them to it. ARCHITECTURE.md is the map in prose.

// Some test modules are shared with the fuzz targets, for which this crate has its name.
#[cfg(test)]
extern crate self as daypass;

pub mod secret;
pub mod time;

pub mod identity;
pub mod sql;
pub mod wire;

pub mod grant;

pub mod audit;

pub mod route;

pub mod net;

pub mod store;

pub mod tls;
pub mod upstream;

pub mod session;

pub mod control;

pub mod telemetry;

pub mod config;

pub mod server;

pub mod cli;
