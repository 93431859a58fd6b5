//! Where a server is and who we are there, as the configuration says it in a URL.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::sync::OnceCell;

use super::error::TargetError;
use crate::secret::Secret;

const PORT: u16 = 5432;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One server, and our account there.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub host: Host,
    /// The service account, or whoever logs in.
    pub user: String,
    /// The server's database.
    pub database: String,
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// What protects the connection.
    pub tls: TlsMode,
    /// For all of resolving, connecting, TLS and login together.
    pub connect_timeout: Duration,
    /// Made from `tls` at the first connection and kept: reading the system's authorities takes
    /// milliseconds. [`Target::forget_authorities`] has them read again.
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
    /// `.s.PGSQL.<port>` in a directory.
    Unix {
        /// The directory.
        directory: PathBuf,
        /// Port, part of the file's name.
        port: u16,
    },
}

/// What protects a connection. There is nothing in between: a mode that encrypts without checking
/// whom it talks to protects from nobody who could listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Nothing.
    Disable,
    /// TLS, the certificate checked against the host's name and these authorities.
    VerifyFull {
        /// Whom to believe.
        roots: Roots,
    },
}

/// Authorities for servers' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

impl Host {
    /// Whether the name can only mean this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Tcp { name, .. } => {
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// The socket's file.
    pub(super) fn unix_path(directory: &Path, port: u16) -> PathBuf {
        directory.join(format!(".s.PGSQL.{port}"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "{name}:{port}"),
            Self::Unix { directory, port } => Self::unix_path(directory, *port).display().fmt(f),
        }
    }
}

/// The same place, account and protection; what was read of authorities' files is no part of it.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.has_names_of(other)
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
            .field("database", &self.database)
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// A server by its parts.
    pub fn new(host: Host, user: impl Into<String>, database: impl Into<String>) -> Self {
        let tls = if host.is_local() {
            TlsMode::Disable
        } else {
            TlsMode::VerifyFull { roots: Roots::System }
        };
        Self {
            host,
            user: user.into(),
            database: database.into(),
            password: None,
            tls,
            connect_timeout: CONNECT_TIMEOUT,
            client_config: Arc::default(),
        }
    }

    /// Whether both are the same account on the same database of the same server, which so has the same
    /// names: they may differ in how one gets there.
    pub fn has_names_of(&self, other: &Self) -> bool {
        self.host == other.host && self.user == other.user && self.database == other.database
    }

    /// Has the files of authorities read again at the next connection, by every clone of this.
    pub fn forget_authorities(&self) {
        self.client_config.store(Arc::default());
    }

    /// Reads `postgres://user@host:port/database?sslmode=…&sslrootcert=…`, or for a Unix socket
    /// `postgres://user@%2Fdirectory/database` or `postgres://user@/database?host=/directory`
    /// (libpq, "Connection URIs"). `base` is the folder that a relative sslrootcert starts from.
    ///
    /// # Errors
    /// When it is not such an address, or says something that would not be honoured.
    pub fn parse(url: &str, base: &Path) -> Result<Self, TargetError> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or(TargetError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').ok_or(TargetError::NoUser)?;
        if user.contains(':') {
            return Err(TargetError::Password);
        }
        let (user, database) = (decode(user)?, decode(database)?);
        if user.is_empty() {
            return Err(TargetError::NoUser);
        }
        if database.is_empty() {
            return Err(TargetError::NoDatabase);
        }
        let options = Options::parse(query)?;
        let target = Self::new(read_host(host, &options)?, user, database);
        let on_socket = matches!(target.host, Host::Unix { .. });
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

    /// With a password.
    #[must_use]
    pub fn with_password(self, password: Option<Secret>) -> Self {
        Self { password, ..self }
    }
}

/// What stands after the question mark.
#[derive(Default)]
struct Options {
    host: Option<String>,
    port: Option<String>,
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
                "host" => ("host", &mut options.host),
                "port" => ("port", &mut options.port),
                "sslmode" => ("sslmode", &mut options.sslmode),
                "sslrootcert" => ("sslrootcert", &mut options.sslrootcert),
                "connect_timeout" => ("connect_timeout", &mut options.connect_timeout),
                "password" | "sslpassword" => return Err(TargetError::Password),
                other => return Err(TargetError::UnknownKey(other.to_owned())),
            };
            if place.replace(decode(value)?).is_some() {
                return Err(TargetError::Twice(name));
            }
        }
        Ok(options)
    }
}

fn read_host(authority: &str, options: &Options) -> Result<Host, TargetError> {
    if authority.contains(',') || options.host.as_ref().is_some_and(|host| host.contains(',')) {
        return Err(TargetError::SeveralHosts);
    }
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let bracket = || TargetError::Bracket(authority.to_owned());
            let (address, rest) = rest.split_once(']').ok_or_else(bracket)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bracket())?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err(bracket()),
            };
            (address.to_owned(), port)
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (decode(name)?, Some(port)),
            None => (decode(authority)?, None),
        },
    };
    let name = match (name.is_empty(), &options.host) {
        (false, None) => name,
        (true, Some(host)) if !host.is_empty() => host.clone(),
        (false, Some(_)) => return Err(TargetError::Twice("host")),
        (true, _) => return Err(TargetError::NoHost),
    };
    let port = match (port, &options.port) {
        (Some(_), Some(_)) => return Err(TargetError::Twice("port")),
        (None, None) => PORT,
        (Some(port), None) => read_port(port)?,
        (None, Some(port)) => read_port(port)?,
    };
    if name.starts_with('/') {
        Ok(Host::Unix { directory: name.into(), port })
    } else if name.contains('/') || name.starts_with('@') {
        Err(TargetError::SocketDirectory(name.into()))
    } else {
        Ok(Host::Tcp { name, port })
    }
}

pub(super) fn read_port(text: &str) -> Result<u16, TargetError> {
    match text.parse() {
        Ok(port @ 1..) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(TargetError::Port(text.to_owned())),
    }
}

/// What `sslmode` and `sslrootcert` come to, for either engine: `default` is what holds without them, and a
/// Unix socket takes neither.
pub(super) fn read_tls(
    (mode, roots): (&Option<String>, &Option<String>),
    on_socket: bool,
    default: &TlsMode,
    base: &Path,
) -> Result<TlsMode, TargetError> {
    let (mode, roots) = (mode.as_deref(), roots.as_deref());
    if on_socket {
        return match (mode, roots) {
            (None | Some("disable"), None) => Ok(TlsMode::Disable),
            _ => Err(TargetError::TlsOnUnixSocket),
        };
    }
    let disable = match mode {
        // Who names authorities wants TLS, on this machine as well.
        None => roots.is_none() && *default == TlsMode::Disable,
        Some("disable") => true,
        Some("verify-full") => false,
        Some(other) => return Err(TargetError::SslMode(other.to_owned())),
    };
    match (disable, roots) {
        (true, Some(_)) => Err(TargetError::UnusedRoots),
        (true, None) => Ok(TlsMode::Disable),
        (false, None | Some("system")) => Ok(TlsMode::VerifyFull { roots: Roots::System }),
        (false, Some(file)) => Ok(TlsMode::VerifyFull { roots: Roots::File(base.join(file)) }),
    }
}

/// Undoes percent escapes. A plus sign is one, as in libpq.
pub(super) fn decode(text: &str) -> Result<String, TargetError> {
    let wrong = || TargetError::Escape(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|d| char::from(d).to_digit(16)).ok_or_else(wrong);
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).map_err(|_| wrong())?
            }
            other => other,
        });
    }
    if bytes.contains(&0) {
        return Err(wrong());
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, Path::new("/etc/daypass"))
    }

    fn tls(url: &str) -> TlsMode {
        parse(url).unwrap().tls
    }

    const SYSTEM: TlsMode = TlsMode::VerifyFull { roots: Roots::System };

    #[test]
    fn an_address_has_its_parts() {
        let target = parse("postgres://day%40pass@db.example:5433/sh%2Fop").unwrap();
        assert_eq!(target.host, Host::Tcp { name: "db.example".into(), port: 5433 });
        assert_eq!((target.user.as_str(), target.database.as_str()), ("day@pass", "sh/op"));
        assert!(target.password.is_none());
        assert_eq!(target.connect_timeout, Duration::from_secs(10));
        assert_eq!(
            parse("postgresql://u@h/d?connect_timeout=3").unwrap().connect_timeout.as_secs(),
            3
        );
    }

    #[test]
    fn tls_is_the_default_off_this_machine() {
        assert_eq!(tls("postgres://u@db.example/d"), SYSTEM);
        assert_eq!(tls("postgres://u@10.0.0.1/d"), SYSTEM);
        for local in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "%2Frun"] {
            assert_eq!(tls(&format!("postgres://u@{local}/d")), TlsMode::Disable, "{local}");
        }
        assert_eq!(tls("postgres://u@localhost/d?sslmode=verify-full"), SYSTEM);
        assert_eq!(tls("postgres://u@db.example/d?sslmode=disable"), TlsMode::Disable);
        assert_eq!(tls("postgres://u@db.example/d?sslrootcert=system"), SYSTEM);
        let file = |path: &str| TlsMode::VerifyFull { roots: Roots::File(path.into()) };
        assert_eq!(tls("postgres://u@localhost/d?sslrootcert=ca.pem"), file("/etc/daypass/ca.pem"));
        assert_eq!(tls("postgres://u@h/d?sslrootcert=/ca.pem"), file("/ca.pem"));
    }

    #[test]
    fn unix_sockets_are_named_in_two_ways() {
        let directory = PathBuf::from("/var/run/postgresql");
        for (url, port) in [
            ("postgres://u@%2Fvar%2Frun%2Fpostgresql/d", 5432),
            ("postgres://u@%2fvar%2frun%2fpostgresql:5433/d", 5433),
            ("postgres://u@/d?host=/var/run/postgresql", 5432),
            ("postgres://u@/d?host=%2Fvar%2Frun%2Fpostgresql&port=5433", 5433),
        ] {
            let target = parse(url).unwrap();
            assert_eq!(target.host, Host::Unix { directory: directory.clone(), port }, "{url}");
            assert!(target.host.to_string().ends_with(&format!("/.s.PGSQL.{port}")));
        }
    }

    #[test]
    fn what_would_not_be_honoured_is_refused() {
        let refused = |url: &str| parse(url).unwrap_err();
        assert_eq!(refused("mysql://u@h/d"), TargetError::Scheme);
        assert_eq!(refused("postgres://h/d"), TargetError::NoUser);
        assert_eq!(refused("postgres://@h/d"), TargetError::NoUser);
        assert_eq!(refused("postgres://u@/d"), TargetError::NoHost);
        assert_eq!(refused("postgres://u@h"), TargetError::NoDatabase);
        assert_eq!(refused("postgres://u@h/"), TargetError::NoDatabase);
        assert_eq!(refused("postgres://u:hunter2@h/d"), TargetError::Password);
        assert_eq!(refused("postgres://u@h/d?password=hunter2"), TargetError::Password);
        assert_eq!(refused("postgres://u@a,b/d"), TargetError::SeveralHosts);
        assert_eq!(refused("postgres://u@a:1,b:2/d"), TargetError::SeveralHosts);
        assert_eq!(refused("postgres://u@h/d?host=/x"), TargetError::Twice("host"));
        assert_eq!(refused("postgres://u@h:1/d?port=2"), TargetError::Twice("port"));
        assert_eq!(
            refused("postgres://u@h/d?sslmode=disable&sslmode=verify-full"),
            TargetError::Twice("sslmode")
        );
        for port in ["0", "65536", "+1", "x", ""] {
            let error = refused(&format!("postgres://u@h:{port}/d"));
            assert_eq!(error, TargetError::Port(port.into()));
        }
        for mode in ["allow", "prefer", "require", "verify-ca", ""] {
            let error = refused(&format!("postgres://u@h/d?sslmode={mode}"));
            assert_eq!(error, TargetError::SslMode(mode.into()));
        }
        assert_eq!(
            refused("postgres://u@%2Frun/d?sslmode=verify-full"),
            TargetError::TlsOnUnixSocket
        );
        assert_eq!(
            refused("postgres://u@h/d?sslmode=disable&sslrootcert=x"),
            TargetError::UnusedRoots
        );
        assert_eq!(
            refused("postgres://u@h/d?target_session_attrs=any"),
            TargetError::UnknownKey("target_session_attrs".into())
        );
        assert!(matches!(refused("postgres://u@h/d%0"), TargetError::Escape(_)));
        assert!(matches!(refused("postgres://u@h/d%00"), TargetError::Escape(_)));
        assert!(matches!(refused("postgres://u@h/d%ff"), TargetError::Escape(_)));
        assert!(matches!(refused("postgres://u@[::1/d"), TargetError::Bracket(_)));
        assert!(matches!(refused("postgres://u@[h]/d"), TargetError::Bracket(_)));
        assert!(matches!(
            refused("postgres://u@/d?connect_timeout=0&host=h"),
            TargetError::ConnectTimeout(_)
        ));
    }

    #[test]
    fn no_error_repeats_a_password() {
        for url in ["postgres://u:hunter2@h/d", "postgres://u@h/d?password=hunter2"] {
            assert!(!format!("{0} {0:?}", parse(url).unwrap_err()).contains("hunter2"));
        }
        let target = parse("postgres://u@h/d").unwrap();
        let target = target.with_password(Some(Secret::new("hunter2")));
        assert!(!format!("{target:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(postgres://)?[a@:/?=&%\\[\\],.0-9é]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn escaped_names_come_back(user in "[^\0]{1,20}", database in "[^\0]{1,20}") {
            let escape = |text: &str| {
                text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>()
            };
            let url = format!("postgres://{}@h/{}", escape(&user), escape(&database));
            let target = parse(&url).unwrap();
            prop_assert_eq!((target.user, target.database), (user, database));
        }
    }
}
