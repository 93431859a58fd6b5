//! Where a server of MySQL or MariaDB is and who we are there, as the configuration says it in a URL.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::sync::OnceCell;

use super::login::Channel;
use crate::secret::Secret;
use crate::upstream::error::TargetError;
use crate::upstream::target::{CONNECT_TIMEOUT, Roots, TlsMode, decode, read_port, read_tls};

const PORT: u16 = 3306;

/// One server, and our account there.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub host: Host,
    /// The service account, or whoever logs in.
    pub user: String,
    /// The default schema, if any.
    pub schema: Option<String>,
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// What protects the connection.
    pub tls: TlsMode,
    /// For all of resolving, connecting, TLS and login together.
    pub connect_timeout: Duration,
    /// Made from `tls` at the first connection and kept. [`Target::forget_authorities`] has it made
    /// anew.
    pub(super) client_config: Arc<ArcSwap<OnceCell<Arc<ClientConfig>>>>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Name or address, and port.
    Tcp {
        /// As certificates name it; an IPv6 address without brackets.
        name: String,
        /// Port.
        port: u16,
    },
    /// The socket's file.
    Unix(PathBuf),
}

impl Host {
    /// Whether the name can only mean this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { name, .. } => {
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The same place, account and protection; what was read of authorities' files is no part of it.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.has_names_of(other)
            && self.schema == other.schema
            && self.password == other.password
            && self.tls == other.tls
            && self.connect_timeout == other.connect_timeout
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All but the TLS configuration, which is pages long and says nothing more.
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("user", &self.user)
            .field("schema", &self.schema)
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// A server by its parts.
    pub fn new(host: Host, user: impl Into<String>, schema: Option<String>) -> Self {
        let tls = if host.is_local() {
            TlsMode::Disable
        } else {
            TlsMode::VerifyFull { roots: Roots::System }
        };
        Self {
            host,
            user: user.into(),
            schema,
            password: None,
            tls,
            connect_timeout: CONNECT_TIMEOUT,
            client_config: Arc::default(),
        }
    }

    /// With a password.
    #[must_use]
    pub fn with_password(self, password: Option<Secret>) -> Self {
        Self { password, ..self }
    }

    /// With another default schema.
    #[must_use]
    pub fn with_schema(self, schema: Option<String>) -> Self {
        Self { schema, ..self }
    }

    /// Whether both are the same account of the same server, which so has the same names: they may differ in how one
    /// gets there.
    pub fn has_names_of(&self, other: &Self) -> bool {
        self.host == other.host && self.user == other.user
    }

    /// Has the files of authorities read again at the next connection, by every clone of this.
    pub fn forget_authorities(&self) {
        self.client_config.store(Arc::default());
    }

    /// What carries a connection to it, TLS included.
    pub(super) fn channel(&self, loopback: bool) -> Channel {
        match (&self.host, &self.tls) {
            (Host::Unix(_), _) => Channel::Unix,
            (Host::Tcp { .. }, TlsMode::VerifyFull { .. }) => Channel::Tls,
            (Host::Tcp { .. }, TlsMode::Disable) if loopback => Channel::Loopback,
            (Host::Tcp { .. }, TlsMode::Disable) => Channel::Network,
        }
    }

    /// Reads `mysql://user@host:port/schema?sslmode=…&sslrootcert=…`, or for a Unix socket
    /// `mysql://user@/schema?socket=/run/mysqld/mysqld.sock`; `mariadb://` says the same. The schema may
    /// be left out. `base` is the folder that a relative sslrootcert starts from.
    ///
    /// # Errors
    /// When it is not such an address, or says something that would not be honoured.
    pub fn parse(url: &str, base: &Path) -> Result<Self, TargetError> {
        let rest = url
            .strip_prefix("mysql://")
            .or_else(|| url.strip_prefix("mariadb://"))
            .ok_or(TargetError::MysqlScheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, schema) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').ok_or(TargetError::NoUser)?;
        if user.contains(':') {
            return Err(TargetError::Password);
        }
        let (user, schema) = (decode(user)?, decode(schema)?);
        if user.is_empty() {
            return Err(TargetError::NoUser);
        }
        let options = Options::parse(query)?;
        let host = read_host(host, &options)?;
        let schema = Some(schema).filter(|name| !name.is_empty());
        let target = Self::new(host, user, schema);
        let on_socket = matches!(target.host, Host::Unix(_));
        let tls = read_tls((&options.sslmode, &options.sslrootcert), on_socket, &target.tls, base)?;
        let connect_timeout = match options.connect_timeout {
            None => CONNECT_TIMEOUT,
            Some(text) => match text.parse() {
                Ok(seconds @ 1..=300) => Duration::from_secs(seconds),
                _ => return Err(TargetError::ConnectTimeout(text)),
            },
        };
        Ok(Self { tls, connect_timeout, ..target })
    }
}

/// What stands after the question mark.
#[derive(Default)]
struct Options {
    socket: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    connect_timeout: Option<String>,
}

impl Options {
    fn parse(query: &str) -> Result<Self, TargetError> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, place) = match decode(key)?.as_str() {
                "socket" => ("socket", &mut options.socket),
                "sslmode" => ("sslmode", &mut options.sslmode),
                "sslrootcert" => ("sslrootcert", &mut options.sslrootcert),
                "connect_timeout" => ("connect_timeout", &mut options.connect_timeout),
                "password" => return Err(TargetError::Password),
                other => return Err(TargetError::MysqlUnknownKey(other.to_owned())),
            };
            if place.replace(decode(value)?).is_some() {
                return Err(TargetError::Twice(name));
            }
        }
        Ok(options)
    }
}

fn read_host(authority: &str, options: &Options) -> Result<Host, TargetError> {
    if authority.contains(',') {
        return Err(TargetError::SeveralHosts);
    }
    match (&options.socket, authority) {
        (Some(path), "") if path.starts_with('/') => return Ok(Host::Unix(path.into())),
        (Some(path), "") => return Err(TargetError::SocketFile(path.into())),
        (Some(_), _) => return Err(TargetError::Twice("host")),
        (None, "") => return Err(TargetError::NoHost),
        (None, _) => {}
    }
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let bracket = || TargetError::Bracket(authority.to_owned());
            let (address, rest) = rest.split_once(']').ok_or_else(bracket)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bracket())?;
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => return Err(bracket()),
                port => (address.to_owned(), port),
            }
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (decode(name)?, Some(port)),
            None => (decode(authority)?, None),
        },
    };
    if name.is_empty() {
        return Err(TargetError::NoHost);
    }
    let port = port.map_or(Ok(PORT), read_port)?;
    if name.starts_with('/') {
        return Ok(Host::Unix(name.into()));
    }
    Ok(Host::Tcp { name, port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, Path::new("/etc/daypass"))
    }

    #[test]
    fn an_address_names_user_host_and_perhaps_a_schema() {
        let target = parse("mysql://app%40x@db.internal/shop").unwrap();
        let host = Host::Tcp { name: "db.internal".into(), port: 3306 };
        assert_eq!((target.host, target.user.as_str()), (host, "app@x"));
        assert_eq!(target.schema.as_deref(), Some("shop"));
        assert_eq!(target.tls, TlsMode::VerifyFull { roots: Roots::System });
        let target = parse("mariadb://app@[::1]:3307").unwrap();
        assert_eq!(target.host.to_string(), "[::1]:3307");
        assert_eq!((target.schema, target.tls), (None, TlsMode::Disable));
    }

    #[test]
    fn authorities_make_for_tls_and_files_are_beside_the_configuration() {
        let target = parse("mysql://u@localhost/?sslrootcert=ca.pem").unwrap();
        let roots = Roots::File("/etc/daypass/ca.pem".into());
        assert_eq!(target.tls, TlsMode::VerifyFull { roots });
        let target = parse("mysql://u@db/?sslmode=disable&connect_timeout=3").unwrap();
        assert_eq!(target.tls, TlsMode::Disable);
        assert_eq!(target.connect_timeout, Duration::from_secs(3));
    }

    #[test]
    fn a_socket_is_a_file() {
        for url in ["mysql://u@/s?socket=/run/m.sock", "mysql://u@%2Frun%2Fm.sock/s"] {
            let target = parse(url).unwrap();
            assert_eq!(target.host, Host::Unix("/run/m.sock".into()));
            assert_eq!(target.channel(false), Channel::Unix);
        }
    }

    #[test]
    fn what_would_not_be_honoured_is_refused() {
        let refused = |url: &str| parse(url).unwrap_err();
        assert_eq!(refused("postgres://u@h/d"), TargetError::MysqlScheme);
        assert_eq!(refused("mysql://h/d"), TargetError::NoUser);
        assert_eq!(refused("mysql://u@/d"), TargetError::NoHost);
        assert_eq!(refused("mysql://u:hunter2@h/d"), TargetError::Password);
        assert_eq!(refused("mysql://u@h/d?password=x"), TargetError::Password);
        assert_eq!(refused("mysql://u@a,b/d"), TargetError::SeveralHosts);
        assert_eq!(refused("mysql://u@h/d?socket=/x"), TargetError::Twice("host"));
        assert_eq!(refused("mysql://u@/d?socket=x"), TargetError::SocketFile("x".into()));
        assert_eq!(refused("mysql://u@h:0/d"), TargetError::Port("0".into()));
        assert_eq!(
            refused("mysql://u@h/d?sslmode=require"),
            TargetError::SslMode("require".into())
        );
        assert_eq!(
            refused("mysql://u@/d?socket=/x&sslmode=verify-full"),
            TargetError::TlsOnUnixSocket
        );
        let unused = refused("mysql://u@h/d?sslmode=disable&sslrootcert=x");
        assert_eq!(unused, TargetError::UnusedRoots);
        assert_eq!(refused("mysql://u@h/d?x=1"), TargetError::MysqlUnknownKey("x".into()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(mysql://)?[a@:/?=&%\\[\\],.0-9é]{0,40}") {
            let _ = parse(&text);
        }
    }
}
