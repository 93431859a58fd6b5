//! What goes wrong with a server. None of it carries a secret; what of it a client may see is decided
//! where clients are answered.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::wire::mysql::packet::Violation as MysqlViolation;
use crate::wire::postgres::frame::Violation;

/// A server cannot be reached, does not take us, or breaks the protocol.
///
/// Cloned to all who wait for the same load of a catalog.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The name does not resolve, nobody listens there, or the network does not carry it.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: Arc<str>,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Not done in time.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What was done.
        what: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// What grants there are cannot be asked, so roles stay as they are.
    #[error("the store of grants cannot be read now, so roles stay as they are")]
    StoreSilent,
    /// The connection broke.
    #[error("the connection to the server broke: {0}")]
    Io(Arc<io::Error>),
    /// The server closed the connection in the middle.
    #[error("the server closed the connection unexpectedly")]
    Closed,
    /// The certificates to trust cannot be had.
    #[error("cannot load trusted certificates from {from}: {reason}")]
    Roots {
        /// File, or the system's store.
        from: String,
        /// Why not.
        reason: String,
    },
    /// The server has no TLS, and its address demands it.
    #[error("the server does not offer TLS, which its address demands (sslmode=verify-full)")]
    TlsRefused,
    /// The TLS handshake failed: unknown authority, wrong name, expired …
    #[error("TLS with the server failed: {0}")]
    Tls(Arc<io::Error>),
    /// Host names that no certificate can be checked against.
    #[error("{0:?} is not a host name that a certificate can be checked against")]
    TlsName(String),
    /// The login does not come about for a reason of ours.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The server refused the login.
    #[error("the server refused the login: {message} ({sqlstate})")]
    Refused {
        /// Five characters; `XX000` when the server gave none.
        sqlstate: Box<str>,
        /// Its sentence.
        message: Box<str>,
    },
    /// A statement of ours failed.
    #[error("a statement of Daypass's own failed: {message} ({sqlstate})")]
    Failed {
        /// Five characters; `XX000` when the server gave none.
        sqlstate: Box<str>,
        /// Its sentence.
        message: Box<str>,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A MySQL or MariaDB server refused the login.
    #[error("the server refused the login: error {code} ({sqlstate}): {message}")]
    MysqlRefused {
        /// Its number.
        code: u16,
        /// Five characters.
        sqlstate: Box<str>,
        /// Its sentence.
        message: Box<str>,
    },
    /// A statement of ours failed on MySQL or MariaDB.
    #[error("a statement of Daypass's own failed: error {code} ({sqlstate}): {message}")]
    MysqlFailed {
        /// Its number.
        code: u16,
        /// Five characters.
        sqlstate: Box<str>,
        /// Its sentence.
        message: Box<str>,
    },
    /// A MySQL or MariaDB server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    MysqlViolation(#[from] MysqlViolation),
    /// A result is bigger than what we hold.
    #[error("a result is larger than {max} {unit}")]
    TooLarge {
        /// The limit.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
    /// An earlier statement was given up half-way; what comes next would be its rest.
    #[error("an earlier statement on this connection was given up half-way")]
    Interrupted,
    /// A server before PostgreSQL 13, or one that does not tell its version.
    #[error("server_version_num {0} is too old; PostgreSQL 13 or later is needed")]
    TooOld(u32),
    /// A server before MariaDB 10.6 or MySQL 8.0.
    #[error("version {0:?} is too old; MariaDB 10.6 or MySQL 8.0 or later is needed")]
    MysqlTooOld(Box<str>),
    /// The catalog has something that its reader does not know.
    #[error("the server's catalog holds something unknown: {0}")]
    Catalog(String),
    /// The roles of the second lock cannot be had.
    #[error("second lock: {0}")]
    Roles(Arc<str>),
    /// Whoever was asked has ended.
    #[error("shutting down")]
    Stopped,
}

/// Why a login was given up, when the server did not refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// A start-up parameter that the packet cannot carry or that is set elsewhere.
    #[error("start-up parameter {0:?} cannot be sent")]
    Parameter(String),
    /// A start-up packet longer than PostgreSQL takes.
    #[error("the start-up packet would be longer than {0} bytes")]
    PacketTooLong(usize),
    /// The server wants a password, and the configuration has none.
    #[error("the server asks for a password; give one with password-file")]
    NoPassword,
    /// Cleartext or MD5 on a connection that others may read.
    #[error(
        "the server asks for a password by {0}, which is refused without TLS off this machine; \
         use sslmode=verify-full, or scram-sha-256 in its pg_hba.conf"
    )]
    Exposed(&'static str),
    /// A method that we do not have.
    #[error("the server asks for {0} authentication, which is not supported")]
    Method(&'static str),
    /// A proof by a MySQL or MariaDB plugin that others may read or break.
    #[error(
        "the server asks for a password by {0}, which is refused here; use sslmode=verify-full"
    )]
    ExposedPlugin(&'static str),
    /// A plugin of MySQL or MariaDB that we do not have.
    #[error("the server asks for authentication by {0:?}, which is not supported")]
    Plugin(String),
    /// A public key that is none.
    #[error("the server's public key cannot be used: {0}")]
    PublicKey(&'static str),
    /// A server without what the session was promised.
    #[error("the server cannot do what the session needs: {0}")]
    Capability(String),
    /// A server that offers channel binding without a channel: somebody stands between.
    #[error("the server offers SCRAM-SHA-256-PLUS on a connection without TLS")]
    BindingWithoutTls,
    /// PBKDF2 rounds beyond reason (RUSTSEC-2026-0179).
    #[error("the server asks for {asked} SCRAM iterations; at most {max} are computed")]
    Iterations {
        /// What the server wants.
        asked: u64,
        /// What we do.
        max: u64,
    },
    /// A malformed message, a wrong nonce, or a proof that shows that the server does not know the
    /// password.
    #[error("SCRAM with the server failed: {0}")]
    Scram(String),
    /// Login ended without the key that cancels.
    #[error("the server sent no cancel key")]
    NoCancelKey,
}

/// Why an address in the configuration is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither `postgres://` nor `postgresql://`.
    #[error("a server's address starts with postgres://")]
    Scheme,
    /// Neither `mysql://` nor `mariadb://`.
    #[error("a MySQL or MariaDB server's address starts with mysql://")]
    MysqlScheme,
    /// A key that means nothing in an address of MySQL.
    #[error(
        "{0:?} is not understood in an address; \
         known are sslmode, sslrootcert, socket and connect_timeout"
    )]
    MysqlUnknownKey(String),
    /// A path that is not absolute.
    #[error("socket={0:?} is not the absolute path of a file")]
    SocketFile(PathBuf),
    /// No user.
    #[error("the address names no user: postgres://USER@HOST/DATABASE")]
    NoUser,
    /// A password in the address.
    #[error("the address holds a password; put it into a file and name that with password-file")]
    Password,
    /// No host.
    #[error("the address names no host: postgres://USER@HOST/DATABASE")]
    NoHost,
    /// No database.
    #[error("the address names no database: postgres://USER@HOST/DATABASE")]
    NoDatabase,
    /// Several hosts.
    #[error("the address names several hosts; give one as primary and the others as replicas")]
    SeveralHosts,
    /// Both before the path and in the query.
    #[error("the address names its {0} twice")]
    Twice(&'static str),
    /// Not 1 to 65535.
    #[error("{0:?} is not a port")]
    Port(String),
    /// `%` without two hexadecimal digits, a NUL, or bytes that are not UTF-8.
    #[error("{0:?} has a percent escape that is not one")]
    Escape(String),
    /// A square bracket without its pair, or no IPv6 address between them.
    #[error("{0:?} is not an IPv6 address in brackets")]
    Bracket(String),
    /// A key that means nothing here.
    #[error(
        "{0:?} is not understood in an address; \
         known are sslmode, sslrootcert, host, port and connect_timeout"
    )]
    UnknownKey(String),
    /// A mode that checks less than its name says.
    #[error(
        "sslmode={0:?} is refused: only verify-full checks whom it talks to, \
         and disable says plainly that there is no TLS"
    )]
    SslMode(String),
    /// TLS where there is none.
    #[error("a Unix socket has no TLS; leave sslmode and sslrootcert out")]
    TlsOnUnixSocket,
    /// Authorities, and no TLS to check with them.
    #[error("sslrootcert has no effect with sslmode=disable; leave one of them out")]
    UnusedRoots,
    /// Not 1 to 300 seconds.
    #[error("connect_timeout={0:?} is not a number of seconds between 1 and 300")]
    ConnectTimeout(String),
    /// A directory that is not absolute.
    #[error("host={0:?} is not the absolute path of a directory, nor a host name")]
    SocketDirectory(PathBuf),
}
