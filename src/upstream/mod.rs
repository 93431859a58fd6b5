//! Servers: dialling and logging in, stopping what they do, and what they know of their objects.
//!
//! - [`target`]: where a server is, read from the configuration's URLs
//! - [`connect()`]: resolve, connect, TLS and login under one deadline; [`login`] is its machine
//! - [`cancel()`], [`terminate`]: stopping a backend
//! - [`client`]: statements of our own
//! - [`catalogs`]: a server's names, kept current; [`catalog`] loads them once, [`fingerprint`]
//!   tells cheaply whether they changed; `definitions` loads what definitions do as their user
//! - [`mysql`]: likewise for MySQL and MariaDB, as far as it differs
//! - [`lock`]: the second lock, as far as it is the same for both engines; [`roles`]: that of PostgreSQL, roles in
//!   the database itself
//! - [`replicas`]: where each of a database's servers stands, kept current; `place` asks one
//! - [`path`], [`overlay`]: asking a session's own connection for its search path, and for names that it
//!   alone sees; [`path`] also for the path that a session would begin with

pub mod cancel;
pub mod catalog;
pub mod catalogs;
pub mod client;
pub mod connect;
mod definitions;
mod doubts;
pub mod error;
pub mod fingerprint;
mod loading;
pub mod lock;
pub mod login;
pub mod mysql;
pub mod overlay;
pub mod path;
mod place;
pub mod replicas;
pub mod roles;
pub mod target;
mod tls;

pub use cancel::{cancel, cancel_at, terminate};
pub use catalogs::Catalogs;
pub use client::query;
pub use connect::{Connection, Peer, connect, dial};
pub use error::{LoginError, TargetError, UpstreamError};
pub use login::Startup;
pub use overlay::{Extent, Reading};
pub use path::{EFFECTIVE_PATH_QUERY, Searcher, path_at_login, read_path, split_path};
pub use roles::Lock;
pub use target::{Host, Roots, Target, TlsMode};

/// What servers see as `application_name` of our own connections.
pub const APPLICATION_NAME: &str = "daypass";
