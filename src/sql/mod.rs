//! What a statement is and what it needs, in words that both engines share.
//!
//! [`postgres`] and [`mysql`] turn text into these values. Nothing here knows a socket or a clock.

pub mod access;
pub mod catalog;
mod limits;
pub mod mysql;
pub mod name;
pub mod placement;
pub mod postgres;
pub mod statement;

pub use limits::ParseLimits;

use serde::{Deserialize, Serialize};

/// The kind of server behind a database entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// PostgreSQL, 13 and later.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        })
    }
}
