//! The databases of the configuration: their addresses read, and their tasks begun or carried on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, ConfigErrors, Reads, SecondLock};
use crate::secret::Secret;
use crate::session::relay::{self, Entry};
use crate::session::wire::Wire;
use crate::sql::Engine;
use crate::store::Store;
use crate::upstream::catalogs::{Catalogs, Source};
use crate::upstream::lock::{Kind, Lock};
use crate::upstream::mysql::accounts;
use crate::upstream::{Target, TargetError, mysql, replicas, roles};

/// One entry.
pub(super) struct Database {
    pub(super) name: Arc<str>,
    catalog_refresh: Duration,
    reads: Reads,
    server: Server,
}

/// Where it is, and what is kept there.
enum Server {
    Postgres {
        primary: Target,
        replicas: Vec<Target>,
        /// With it there is a second lock.
        role_key: Option<Secret>,
        ddl_owner: Option<Arc<str>>,
    },
    Mysql {
        primary: mysql::Target,
        replicas: Vec<mysql::Target>,
        /// With it there is a second lock.
        role_key: Option<Secret>,
        account_host: Arc<str>,
    },
}

/// Reads all of them. What is wrong is added to the errors.
pub(super) fn databases(config: &Config, errors: &mut ConfigErrors) -> Vec<Database> {
    let base = config.file.parent().unwrap_or(Path::new("."));
    let mut databases = Vec::new();
    for database in &config.databases {
        if let Some(server) = server(database, base, errors) {
            databases.push(Database {
                name: database.name.value.as_str().into(),
                catalog_refresh: database.catalog_refresh,
                reads: database.reads.clone(),
                server,
            });
        }
    }
    databases
}

/// Reads the addresses.
fn server(database: &config::Database, base: &Path, errors: &mut ConfigErrors) -> Option<Server> {
    let password = || database.password.clone();
    let role_key = match &database.second_lock {
        SecondLock::Role { key, .. } => key.clone(),
        SecondLock::None => None,
    };
    match database.engine {
        Engine::Postgres => {
            let read = |url: &str| Ok(Target::parse(url, base)?.with_password(password()));
            let (primary, replicas) = addresses(database, read, errors)?;
            for (replica, url) in replicas.iter().zip(&database.replicas) {
                if replica.database != primary.database {
                    let sentence = format!(
                        "a replica has the primary's databases: this one has to be {:?}",
                        primary.database
                    );
                    errors.add(Some(url.position), sentence);
                }
            }
            let ddl_owner = database.ddl_owner.as_deref().map(Arc::from);
            Some(Server::Postgres { primary, replicas, role_key, ddl_owner })
        }
        Engine::Mysql => {
            let read = |url: &str| Ok(mysql::Target::parse(url, base)?.with_password(password()));
            let (primary, replicas) = addresses(database, read, errors)?;
            let account_host = database.account_host.as_str().into();
            Some(Server::Mysql { primary, replicas, role_key, account_host })
        }
    }
}

/// The primary and its replicas, each at a place of its own; nothing when one cannot be read.
fn addresses<T: Source>(
    database: &config::Database,
    read: impl Fn(&str) -> Result<T, TargetError>,
    errors: &mut ConfigErrors,
) -> Option<(T, Vec<T>)> {
    let servers = std::iter::once(&database.primary).chain(&database.replicas);
    let mut places = HashMap::new();
    let mut targets = Vec::new();
    let mut complete = true;
    for url in servers {
        match read(&url.value) {
            Ok(target) => {
                if let Some(line) = places.insert(target.place(), url.position.line) {
                    let sentence = format!("the same server stands in line {line} already");
                    errors.add(Some(url.position), sentence);
                }
                targets.push(target);
            }
            Err(error) => {
                complete = false;
                errors.add(Some(url.position), error.to_string());
            }
        }
    }
    let replicas = targets.split_off(targets.len().min(1));
    targets.pop().filter(|_| complete).map(|primary| (primary, replicas))
}

impl Database {
    /// What it speaks.
    pub(super) const fn engine(&self) -> Engine {
        match self.server {
            Server::Postgres { .. } => Engine::Postgres,
            Server::Mysql { .. } => Engine::Mysql,
        }
    }

    /// Whether sessions have accounts of their principals' own there.
    pub(super) const fn has_second_lock(&self) -> bool {
        match &self.server {
            Server::Postgres { role_key, .. } | Server::Mysql { role_key, .. } => {
                role_key.is_some()
            }
        }
    }

    /// Begins to read the server's names and to keep its roles, or goes on where the entry of that name
    /// stands now.
    pub(super) fn open(self, before: Option<&Entry>, store: &Store) -> Entry {
        let Self { name, catalog_refresh, reads, server } = self;
        let (entry, interval) = (Arc::clone(&name), catalog_refresh);
        let fresh = Fresh { name, catalog_refresh, reads };
        match server {
            Server::Postgres { primary, replicas, role_key, ddl_owner } => {
                let before = match before {
                    Some(Entry::Postgres(before)) => Some(before),
                    _ => None,
                };
                let (target, owner) = (primary.clone(), ddl_owner.clone());
                let lock = role_key.map(|key| roles::Settings {
                    entry,
                    target,
                    key,
                    interval,
                    ddl_owner: owner,
                });
                Entry::Postgres(fresh.open((primary, replicas), lock, ddl_owner, before, store))
            }
            Server::Mysql { primary, replicas, role_key, account_host: host } => {
                let before = match before {
                    Some(Entry::Mysql(before)) => Some(before),
                    _ => None,
                };
                let target = primary.clone();
                let lock =
                    role_key.map(|key| accounts::Settings { entry, target, key, interval, host });
                Entry::Mysql(fresh.open((primary, replicas), lock, None, before, store))
            }
        }
    }
}

/// What is the same for both engines.
struct Fresh {
    name: Arc<str>,
    catalog_refresh: Duration,
    reads: Reads,
}

impl Fresh {
    fn open<W: Wire>(
        self,
        (primary, replicas): (W::Target, Vec<W::Target>),
        lock: Option<<W::Kind as Kind>::Settings>,
        ddl_owner: Option<Arc<str>>,
        before: Option<&Arc<relay::Database<W>>>,
        store: &Store,
    ) -> Arc<relay::Database<W>> {
        let Self { name, catalog_refresh, reads } = self;
        let Reads { weights, policy, ceilings, check, timeout } = reads;
        let watching =
            replicas::Settings { entry: Arc::clone(&name), weights, check, timeout, ceilings };
        let same_servers = |before: &relay::Database<W>| {
            before.primary == primary && before.replicas == replicas && before.watching == watching
        };
        let catalogs = match before {
            Some(before)
                if same_servers(before)
                    && before.policy == policy
                    && before.catalog_refresh == catalog_refresh
                    && before.ddl_owner == ddl_owner
                    && before.lock.as_ref().map(Lock::settings) == lock.as_ref() =>
            {
                before.primary.forget_authorities();
                before.replicas.iter().for_each(Source::forget_authorities);
                return Arc::clone(before);
            }
            Some(before) if before.primary.has_names_of(&primary) => {
                before.catalogs.succeed(primary.clone(), catalog_refresh)
            }
            _ => Catalogs::spawn(primary.clone(), catalog_refresh),
        };
        let fleet = match before {
            Some(before) if same_servers(before) => {
                before.replicas.iter().for_each(Source::forget_authorities);
                before.fleet.clone()
            }
            _ => replicas::spawn(&primary, &replicas, watching.clone()),
        };
        let lock = lock.map(|settings| Lock::spawn(settings, store.follower(), catalogs.watch()));
        Arc::new(relay::Database {
            name,
            primary,
            replicas,
            fleet,
            watching,
            policy,
            catalogs,
            lock,
            catalog_refresh,
            ddl_owner,
        })
    }
}
