//! The configuration file: typed settings, and every error at once with its place.
//!
//! Others are handed values from here, never these types' file. `config/daypass.toml` shows every
//! setting with its default; a test holds the two together.

mod change;
mod files;
mod read;
mod reads;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::recorder;
use crate::audit::redact::TextSettings;
use crate::route::{Ceilings, Policy};
use crate::secret::Secret;
use crate::sql::Engine;
use crate::telemetry::Log;
use crate::wire;

pub use source::{ConfigError, ConfigErrors, Located, Position};

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that they come from.
    pub file: PathBuf,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// What they can reach; at least one, each name once.
    pub databases: Vec<Database>,
    /// Where grants, requests and tokens are kept.
    pub store: Store,
    /// The HTTP API.
    pub api: Api,
    /// The audit stream.
    pub audit: Audit,
    /// How much one client may ask for.
    pub limits: Limits,
    /// How long tokens count.
    pub token: Token,
    /// How long grants count.
    pub grant: Grant,
    /// How long requests wait.
    pub request: Request,
    /// Who approves requests.
    pub approval: Approval,
    /// Where `/metrics`, `/livez` and `/readyz` are served, over plain HTTP.
    pub metrics: Option<Located<SocketAddr>>,
    /// The proxy's own log, on standard error.
    pub log: Log,
    /// The process.
    pub server: Server,
}

/// What a `[[database]]` says of its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Each replica's share of the reads, against the others'.
    pub weights: Vec<u32>,
    /// What a read has to see, and who answers when no replica can.
    pub policy: Policy,
    /// How far behind a replica may be.
    pub ceilings: Ceilings,
    /// How often each server is asked how far it is.
    pub check: Duration,
    /// A server that has not answered after so long is down.
    pub timeout: Duration,
}

/// `[[listener]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: Located<SocketAddr>,
    /// Certificate and key; always there off loopback.
    pub tls: Option<Tls>,
    /// What is spoken there.
    pub speaks: Speaks,
}

/// What is spoken at an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Speaks {
    /// PostgreSQL's protocol.
    Postgres,
    /// MySQL's.
    Mysql {
        /// The entry that its greeting speaks for.
        database: Located<String>,
        /// Whether `mysql_native_password` is taken.
        native_password: bool,
    },
}

/// `tls = { … }` of a listener. Files are read by whoever uses them, again on SIGHUP.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM: the certificate and those between it and its root.
    pub certificate_file: Located<PathBuf>,
    /// PEM: its private key.
    pub key_file: Located<PathBuf>,
}

/// `[[database]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// What a client gives as database name.
    pub name: Located<String>,
    /// The kind of server.
    pub engine: Engine,
    /// URL of the primary, with the service account and no password: `postgres://user@host/name`.
    pub primary: Located<String>,
    /// URLs of its replicas.
    pub replicas: Vec<Located<String>>,
    /// How those are used.
    pub reads: Reads,
    /// Password of the service account, when it needs one.
    pub password: Option<Secret>,
    /// Whether the database enforces grants, too.
    pub second_lock: SecondLock,
    /// The role as which sessions do what only owners may, and to which new objects belong.
    pub ddl_owner: Option<String>,
    /// From where a MySQL server sees sessions come: the host part of every account of the second lock.
    pub account_host: String,
    /// How often the catalog is read again, for changes made past the proxy.
    pub catalog_refresh: Duration,
}

/// Whether the database enforces grants, too.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondLock {
    /// By roles of its own.
    Role {
        /// What names and passwords of roles follow from.
        key_file: Located<PathBuf>,
        /// What is in it; `None` where there is no such file: [`Config::make_role_keys`].
        key: Option<Secret>,
    },
    /// The proxy's decision is the only lock.
    None,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Where.
    pub place: StorePlace,
    /// For so long what was last read of a shared store counts while it cannot be read.
    pub stale_after: Duration,
}

/// Where grants, requests and tokens are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum StorePlace {
    /// In a SQLite file of this proxy alone.
    File(Located<PathBuf>),
    /// In a PostgreSQL database that several proxies share.
    Shared {
        /// Its URL, without password.
        url: Located<String>,
        /// Our password there, when one is needed.
        password: Option<Secret>,
    },
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// The Unix socket, in a folder that nobody else can enter: [`Config::prepare`].
    pub socket: Located<PathBuf>,
}

/// `[audit]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Sinks and queue.
    pub recorder: recorder::Settings,
    /// When a statement may be forwarded.
    pub mode: recorder::Mode,
    /// What is kept of statements.
    pub text: TextSettings,
    /// What is kept of bind parameters.
    pub parameters: Parameters,
}

/// What is kept of bind parameters; [`crate::audit::redact::ParameterSettings`] has the key, too.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    /// Values up to so many bytes each.
    Full {
        /// Longest value, bytes.
        bytes_max: usize,
    },
    /// A keyed hash of each.
    Hashed {
        /// The key; without one, equal values can be told within one run of the process.
        key: Option<Secret>,
    },
    /// Lengths.
    Omitted,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Sizes and counts of the protocol.
    pub wire: wire::Limits,
    /// Tokens of a statement.
    pub statement_tokens_max: usize,
    /// Depth of its parentheses, prefixes and the like.
    pub statement_nesting_max: usize,
    /// Sessions in all.
    pub sessions_max: usize,
    /// Sessions of one principal.
    pub sessions_per_principal_max: usize,
    /// From connecting to the end of login.
    pub login_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wire: wire::Limits::default(),
            statement_tokens_max: 600_000,
            statement_nesting_max: 256,
            sessions_max: 5_000,
            sessions_per_principal_max: 100,
            login_deadline: Duration::from_secs(15),
        }
    }
}

/// `[token]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When the issuer does not say.
    pub ttl_default: Duration,
    /// At most.
    pub ttl_max: Duration,
}

/// `[grant]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// At most.
    pub duration_max: Duration,
}

/// `[request]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Without an answer, until it expires.
    pub waiting_max: Duration,
}

/// `[approval]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// Principals who may approve what others ask for.
    pub approvers: Vec<Located<String>>,
}

/// `[server]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Threads that serve sessions; 0 is one for each processor.
    pub threads: usize,
    /// On SIGTERM: how long transactions have to finish.
    pub drain_deadline: Duration,
}

impl Config {
    /// Reads a file and everything that it names for its values. Opens, makes and connects to
    /// nothing.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        match std::fs::read_to_string(file) {
            Ok(text) => read::config(file, &text, &|name| std::env::var(name).ok()),
            Err(error) => {
                let mut errors = ConfigErrors::none(file);
                errors.add(None, format!("the configuration cannot be read: {error}"));
                Err(errors)
            }
        }
    }

    /// Makes the key files of second locks that are not there yet.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn make_role_keys(&mut self) -> Result<(), ConfigErrors> {
        let mut errors = self.errors();
        for database in &mut self.databases {
            let SecondLock::Role { key_file, key } = &mut database.second_lock else { continue };
            if key.is_none() {
                match files::make_key(&key_file.value) {
                    Ok(made) => *key = Some(made),
                    Err(sentence) => errors.add(Some(key_file.position), sentence),
                }
            }
        }
        errors.or_else(())
    }

    /// For what is wrong with a value that others read: database URLs, certificates.
    pub fn errors(&self) -> ConfigErrors {
        ConfigErrors::none(&self.file)
    }

    /// Makes the folder of the API's socket, mode 0700, or checks the one that is there.
    ///
    /// # Errors
    /// When it cannot be made, or others can enter it.
    pub fn prepare(&self) -> Result<(), ConfigErrors> {
        let mut errors = self.errors();
        if let Err(sentence) = files::make_private_folder(&self.api.socket.value) {
            errors.add(Some(self.api.socket.position), sentence);
        }
        errors.or_else(())
    }
}

#[cfg(test)]
mod tests;
