//! The configuration as what it means: addresses of servers read, certificates loaded, keys made. What
//! is wrong is said all at once, with its place in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::redact::{HashKey, ParameterSettings};
use crate::config::{self, Config, ConfigErrors, Located, Parameters, StorePlace};
use crate::identity::PrincipalName;
use crate::secret::Secret;
use crate::sql::{Engine, ParseLimits};
use crate::store::{self, Account, Dial, Store, StoreError};
use crate::tls::{ServerTls, TlsWarning};
use crate::upstream::{Target, dial};

use super::accept::Speaks;
use super::databases::{Database, databases};

/// What the process is to do.
pub(super) struct Plan {
    pub(super) listeners: Vec<Listener>,
    pub(super) databases: Vec<Database>,
    /// The store; `None` when the configuration is wrong about it.
    pub(super) store: Option<Place>,
    pub(super) approvers: Vec<PrincipalName>,
    pub(super) parameter_settings: ParameterSettings,
    pub(super) parse_limits: ParseLimits,
    pub(super) threads: usize,
    /// What is not wrong enough to stop.
    pub(super) warnings: Vec<TlsWarning>,
}

/// Where grants, requests and tokens are kept.
#[derive(Clone)]
pub(super) enum Place {
    File(PathBuf),
    Shared(Account),
}

impl Place {
    /// Opens it. Blocks.
    pub(super) fn open(self) -> Result<Store, StoreError> {
        match self {
            Self::File(path) => Store::open(&path),
            Self::Shared(account) => Store::open_shared(account),
        }
    }
}

/// One address for clients.
pub(super) struct Listener {
    pub(super) address: Located<SocketAddr>,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) speaks: Speaks,
}

/// The key of hashed parameters where the configuration names none. It lives as long as the process, so
/// that equal values can be told within one run of it.
pub(super) struct RunKey(Option<HashKey>);

impl RunKey {
    /// A random one.
    pub(super) fn new() -> Self {
        let random = store::ids::random::<32>().ok();
        Self(random.and_then(|random| HashKey::new(&Secret::new(random))))
    }
}

impl Plan {
    pub(super) fn new(config: &Config, run_key: &RunKey) -> Result<Self, ConfigErrors> {
        let mut errors = config.errors();
        let mut warnings = Vec::new();
        let listeners = listeners(config, &mut warnings, &mut errors);
        let databases = databases(config, &mut errors);
        let store = place(config, &mut errors);
        let mut approvers = Vec::new();
        for approver in &config.approval.approvers {
            match PrincipalName::new(&approver.value) {
                Ok(name) => approvers.push(name),
                Err(error) => errors.add(Some(approver.position), error.to_string()),
            }
        }
        let parameter_settings = parameters(&config.audit.parameters, run_key, &mut errors);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let parse_limits = ParseLimits {
            bytes_max: config.limits.wire.statement_bytes_max,
            tokens_max: config.limits.statement_tokens_max,
            nesting_max: config.limits.statement_nesting_max,
        };
        let threads = if config.server.threads == 0 { cores() } else { config.server.threads };
        errors.or_else(Self {
            listeners,
            databases,
            store,
            approvers,
            parameter_settings,
            parse_limits,
            threads,
            warnings,
        })
    }
}

fn listeners(
    config: &Config,
    warnings: &mut Vec<TlsWarning>,
    errors: &mut ConfigErrors,
) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let speaks = speaks(config, &listener.speaks, errors);
        let mut tls = None;
        if let Some(files) = &listener.tls {
            match ServerTls::load(&files.certificate_file.value, &files.key_file.value) {
                Ok((loaded, found)) => {
                    warnings.extend(found);
                    tls = Some(Arc::new(loaded));
                }
                Err(error) => errors.add(Some(files.certificate_file.position), error.to_string()),
            }
        }
        listeners.push(Listener { address: listener.address.clone(), tls, speaks });
    }
    listeners
}

fn speaks(config: &Config, setting: &config::Speaks, errors: &mut ConfigErrors) -> Speaks {
    let config::Speaks::Mysql { database, native_password } = setting else {
        return Speaks::Postgres;
    };
    let mut entries = config.databases.iter();
    match entries.find(|entry| entry.name.value == database.value).map(|entry| entry.engine) {
        Some(Engine::Mysql) => (),
        Some(Engine::Postgres) => {
            let sentence = "this database is PostgreSQL's, which is not spoken here";
            errors.add(Some(database.position), sentence);
        }
        None => errors.add(Some(database.position), "there is no [[database]] of this name"),
    }
    Speaks::Mysql { database: database.value.as_str().into(), native_allowed: *native_password }
}

fn place(config: &Config, errors: &mut ConfigErrors) -> Option<Place> {
    let (url, password) = match &config.store.place {
        StorePlace::File(path) => return Some(Place::File(path.value.clone())),
        StorePlace::Shared { url, password } => (url, password),
    };
    let base = config.file.parent().unwrap_or(Path::new("."));
    let target = match Target::parse(&url.value, base) {
        Ok(target) => target,
        Err(error) => {
            errors.add(Some(url.position), error.to_string());
            return None;
        }
    };
    for database in &config.databases {
        let servers = std::iter::once(&database.primary).chain(&database.replicas);
        let mut targets = servers.filter_map(|url| Target::parse(&url.value, base).ok());
        // Whoever may write to all of it could grant himself anything.
        if targets.any(|it| it.host == target.host && it.database == target.database) {
            let sentence = format!(
                "clients reach this database as {:?}: the store needs one that they cannot reach",
                database.name.value
            );
            errors.add(Some(url.position), sentence);
        }
    }
    let address = format!("{}/{}", target.host, target.database).into();
    let (user, database) = (target.user.clone(), target.database.clone());
    let dial: Dial = Arc::new(move || {
        let target = target.clone();
        Box::pin(async move {
            // Its authorities may have been replaced since the last time.
            target.forget_authorities();
            dial(&target).await.map_err(|error| error.to_string())
        })
    });
    let (password, stale_after) = (password.clone(), config.store.stale_after);
    Some(Place::Shared(Account { dial, address, user, database, password, stale_after }))
}

fn parameters(
    setting: &Parameters,
    run_key: &RunKey,
    errors: &mut ConfigErrors,
) -> ParameterSettings {
    match setting {
        Parameters::Full { bytes_max } => ParameterSettings::Full { bytes_max: *bytes_max },
        Parameters::Omitted => ParameterSettings::Omitted,
        Parameters::Hashed { key } => {
            let key = match key {
                Some(key) => HashKey::new(key),
                None => run_key.0.clone(),
            };
            match key {
                Some(key) => ParameterSettings::Hashed(key),
                None => {
                    errors
                        .add(None, "no key for hashed parameters: the system gives no randomness");
                    ParameterSettings::Omitted
                }
            }
        }
    }
}

/// Says what is not wrong enough to stop.
pub(super) fn warn(warnings: &[TlsWarning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
