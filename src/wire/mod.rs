//! Bytes of a client or server cut into frames, within stated limits.

pub mod mysql;
pub mod postgres;

/// How much one peer may make us hold. Every size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A start-up packet (PostgreSQL takes 10 000).
    pub startup_bytes_max: usize,
    /// A message before login has ended.
    pub login_bytes_max: usize,
    /// A statement's text.
    pub statement_bytes_max: usize,
    /// A message of a logged-in client that is held whole: Parse, Bind, Query …
    pub message_bytes_max: usize,
    /// Prepared statements that one session may hold.
    pub prepared_statements_max: usize,
    /// Portals and cursors that one session may hold.
    pub portals_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            startup_bytes_max: 10_000,
            login_bytes_max: 2_048,
            statement_bytes_max: 16 << 20,
            message_bytes_max: 64 << 20,
            prepared_statements_max: 10_000,
            portals_max: 1_000,
        }
    }
}
