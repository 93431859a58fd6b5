//! The databases of the configuration: their addresses read, and their tasks begun or carried on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, ConfigErrors, SecondLock};
use crate::secret::Secret;
use crate::session::relay::{self, Entry};
use crate::session::wire::Wire;
use crate::sql::Engine;
use crate::store::Store;
use crate::upstream::catalogs::{Catalogs, Source};
use crate::upstream::lock::{Kind, Lock};
use crate::upstream::mysql::accounts;
use crate::upstream::{Target, TargetError, mysql, roles};

/// One entry.
pub(super) struct Database {
    pub(super) name: Arc<str>,
    catalog_refresh: Duration,
    server: Server,
}

/// Where it is, and what is kept there.
enum Server {
    Postgres {
        primary: Target,
        /// With it there is a second lock.
        role_key: Option<Secret>,
        ddl_owner: Option<Arc<str>>,
    },
    Mysql {
        primary: mysql::Target,
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
        for replica in &database.replicas {
            let read = match database.engine {
                Engine::Postgres => Target::parse(&replica.value, base).map(drop),
                Engine::Mysql => mysql::Target::parse(&replica.value, base).map(drop),
            };
            if let Err(error) = read {
                errors.add(Some(replica.position), error.to_string());
            }
        }
        match server(database, base) {
            Ok(server) => databases.push(Database {
                name: database.name.value.as_str().into(),
                catalog_refresh: database.catalog_refresh,
                server,
            }),
            Err(error) => errors.add(Some(database.primary.position), error.to_string()),
        }
    }
    databases
}

fn server(database: &config::Database, base: &Path) -> Result<Server, TargetError> {
    let (url, password) = (&database.primary.value, database.password.clone());
    let role_key = match &database.second_lock {
        SecondLock::Role { key, .. } => key.clone(),
        SecondLock::None => None,
    };
    Ok(match database.engine {
        Engine::Postgres => Server::Postgres {
            primary: Target::parse(url, base)?.with_password(password),
            role_key,
            ddl_owner: database.ddl_owner.as_deref().map(Arc::from),
        },
        Engine::Mysql => Server::Mysql {
            primary: mysql::Target::parse(url, base)?.with_password(password),
            role_key,
            account_host: database.account_host.as_str().into(),
        },
    })
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
        let Self { name, catalog_refresh, server } = self;
        let (entry, interval) = (Arc::clone(&name), catalog_refresh);
        let fresh = Fresh { name, catalog_refresh };
        match server {
            Server::Postgres { primary, role_key, ddl_owner } => {
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
                Entry::Postgres(fresh.open(primary, lock, ddl_owner, before, store))
            }
            Server::Mysql { primary, role_key, account_host: host } => {
                let before = match before {
                    Some(Entry::Mysql(before)) => Some(before),
                    _ => None,
                };
                let target = primary.clone();
                let lock =
                    role_key.map(|key| accounts::Settings { entry, target, key, interval, host });
                Entry::Mysql(fresh.open(primary, lock, None, before, store))
            }
        }
    }
}

/// What is the same for both engines.
struct Fresh {
    name: Arc<str>,
    catalog_refresh: Duration,
}

impl Fresh {
    fn open<W: Wire>(
        self,
        primary: W::Target,
        lock: Option<<W::Kind as Kind>::Settings>,
        ddl_owner: Option<Arc<str>>,
        before: Option<&Arc<relay::Database<W>>>,
        store: &Store,
    ) -> Arc<relay::Database<W>> {
        let Self { name, catalog_refresh } = self;
        let catalogs = match before {
            Some(before)
                if before.primary == primary
                    && before.catalog_refresh == catalog_refresh
                    && before.ddl_owner == ddl_owner
                    && before.lock.as_ref().map(Lock::settings) == lock.as_ref() =>
            {
                before.primary.forget_authorities();
                return Arc::clone(before);
            }
            Some(before) if before.primary.has_names_of(&primary) => {
                before.catalogs.succeed(primary.clone(), catalog_refresh)
            }
            _ => Catalogs::spawn(primary.clone(), catalog_refresh),
        };
        let lock = lock.map(|settings| Lock::spawn(settings, store.follower(), catalogs.watch()));
        Arc::new(relay::Database { name, primary, catalogs, lock, catalog_refresh, ddl_owner })
    }
}
