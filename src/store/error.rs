//! What can go wrong with the store. No secret is ever part of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::ids::NoRandomness;
use crate::grant::{GrantError, GrantId, RequestId};
use crate::identity::{PrincipalName, TokenId};
use crate::time::Timestamp;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A store that this version has no code for.
    #[error("store {0} is not supported by this version: write sqlite:PATH or postgres://…")]
    Unsupported(PathBuf),
    /// The file cannot be made or read.
    #[error("store {path}: {source}")]
    Io {
        /// The database file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can read or write the file.
    #[error("store {path} has mode {mode:04o}, so others can use its secrets: chmod 600 it")]
    Exposed {
        /// The database file or one beside it.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Another process, or another store in this one, has it open.
    #[error("store {0} is in use by another daypass: each needs a store of its own")]
    InUse(PathBuf),
    /// It is no database, is of something else, or is damaged.
    #[error("store {path} cannot be used: {why}")]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// A later version has written it.
    #[error("store {path} has version {found}, this daypass knows up to {known}")]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Version of its schema.
        found: u32,
        /// Latest version that this code knows.
        known: u32,
    },
    /// SQLite failed: disk full, input or output error …
    #[error("store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The server of a shared store cannot be reached, or does not answer.
    #[error("the store at {address} cannot be reached: {why}")]
    Unreachable {
        /// Where it is.
        address: Arc<str>,
        /// Why not.
        why: Box<str>,
    },
    /// The server of a shared store refused.
    #[error("the store at {address} refused: {why} ({sqlstate})")]
    Server {
        /// Where it is.
        address: Arc<str>,
        /// Five characters.
        sqlstate: Box<str>,
        /// In its words.
        why: Box<str>,
    },
    /// A shared store has forgotten changes that this proxy has seen: it was restored from a copy, or is
    /// another.
    #[error(
        "the store has gone back from revision {known} to {found}: it was restored or replaced, so \
         restart every proxy, and look at what was revoked since"
    )]
    WentBack {
        /// Its revision now.
        found: i64,
        /// What this proxy has seen.
        known: i64,
    },
    /// A value cannot be read back, or not be written.
    #[error("a row of the store cannot be read: {0}")]
    Row(Box<dyn std::error::Error + Send + Sync>),
    /// A column is not what it should be.
    #[error("a row of the store cannot be read: no {0}")]
    Column(&'static str),
    /// No key or name could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The store's thread has ended, or what it was to do failed half-way (and was rolled back).
    #[error("the store has stopped")]
    Stopped,
    /// Something of that name is there already.
    #[error("{0:?} exists already")]
    Duplicate(Box<str>),
    /// Nothing of that name.
    #[error("there is no grant {0}")]
    NoGrant(GrantId),
    /// Nothing of that name.
    #[error("there is no request {0}")]
    NoRequest(RequestId),
    /// Nothing of that name.
    #[error("there is no token {0}")]
    NoToken(TokenId),
    /// It counts no more, so there is nothing to revoke.
    #[error("grant {id} ended at {at} already")]
    GrantEnded {
        /// Which.
        id: GrantId,
        /// When it expired or was revoked.
        at: Timestamp,
    },
    /// It was revoked before.
    #[error("token {id} was revoked at {at} already")]
    TokenRevoked {
        /// Which.
        id: TokenId,
        /// When.
        at: Timestamp,
    },
    /// The grant cannot be.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The principal has as many live tokens as may be.
    #[error(
        "{0} has {max} live tokens already: revoke one, or wait until one expires",
        max = super::TOKENS_LIVE_MAX
    )]
    TooManyTokens(PrincipalName),
    /// The principal has as many waiting requests as may be.
    #[error(
        "{0} has {max} requests waiting already: cancel one, or wait for an answer",
        max = super::REQUESTS_WAITING_MAX
    )]
    TooManyRequests(PrincipalName),
}

/// Why [`super::Store::update_request`] changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError<E> {
    /// The transition refused.
    #[error(transparent)]
    Refused(E),
    /// The store failed, or knows no such request.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E> From<GrantError> for UpdateError<E> {
    fn from(error: GrantError) -> Self {
        Self::Store(error.into())
    }
}
