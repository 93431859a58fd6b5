//! An entry of the configuration, as sessions use it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::mysql::Mysql;
use super::postgres::Postgres;
use crate::identity::PrincipalName;
use crate::route::{Fleet, Policy, Position};
use crate::session::routing::Sight;
use crate::session::site::Site;
use crate::session::trail;
use crate::session::wire::{Catalog, Wire};
use crate::sql::Engine;
use crate::upstream::UpstreamError;
use crate::upstream::catalogs::Catalogs;
use crate::upstream::lock::{Lock, Stamp};
use crate::upstream::replicas;

/// One entry, on one wire.
pub struct Database<W: Wire> {
    /// Its name there.
    pub name: Arc<str>,
    /// The primary, as the service account.
    pub primary: W::Target,
    /// Its replicas, likewise.
    pub replicas: Vec<W::Target>,
    /// Where all of them stand, in the same order; empty and never changed without replicas.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// How that is watched.
    pub watching: replicas::Settings,
    /// What a read has to see, and who answers when no replica can.
    pub policy: Policy,
    /// Its names.
    pub catalogs: Catalogs<W::Target>,
    /// Accounts in the database itself, where it has a second lock.
    pub lock: Option<Lock<W::Kind>>,
    /// How often they are read again.
    pub catalog_refresh: Duration,
    /// The role as which sessions do what only owners may: PostgreSQL's.
    pub ddl_owner: Option<Arc<str>>,
}

impl<W: Wire> Database<W> {
    /// What `second-lock` says.
    pub fn second_lock(&self) -> trail::SecondLock {
        if self.lock.is_some() { trail::SecondLock::Role } else { trail::SecondLock::None }
    }

    /// Follows the names as sessions may use them: with a second lock, once its accounts reach them.
    pub fn watch_catalog(&self) -> watch::Receiver<Option<Arc<Catalog<W>>>> {
        self.lock.as_ref().map_or_else(|| self.catalogs.watch(), Lock::watch)
    }

    /// What a session sees of its servers.
    pub fn sight(&self, fleet: Arc<Fleet>) -> Sight {
        let mut required = self.catalogs.position().map(|position| Position::clone(&position));
        if let Some(lock) = &self.lock {
            let progress = lock.progress();
            let progress = progress.borrow();
            required = required.zip(progress.position.as_ref()).map(|(mut required, rights)| {
                required.merge(rights);
                required
            });
        }
        Sight { fleet, required }
    }

    fn readiness(&self) -> Result<(), String> {
        let name = &self.name;
        if self.catalogs.current().is_none() {
            return Err(format!("the names of database {name} are not known yet"));
        }
        let progress = self.lock.as_ref().map(Lock::progress);
        let progress = progress.map(|progress| Arc::clone(&progress.borrow()));
        if let Some(progress) = progress.filter(|progress| !progress.served) {
            let why = progress.error.as_deref().unwrap_or("its roles are not in line yet");
            return Err(format!("the second lock of database {name}: {why}"));
        }
        Ok(())
    }

    fn retire_before(&self, successor: Option<&Self>) {
        let Some(lock) = &self.lock else { return };
        let kept = successor.and_then(|it| it.lock.as_ref());
        if !kept.is_some_and(|now| lock.has_roles_of(now)) {
            lock.retire();
        }
    }

    pub(super) async fn refresh_catalog(&self) -> Result<Arc<Catalog<W>>, UpstreamError> {
        match &self.lock {
            Some(lock) => lock.refresh(&self.catalogs).await,
            None => self.catalogs.refresh().await,
        }
    }

    /// Connects to a server, as a session wants to see it, as whoever a principal's sessions are there. Tells also as
    /// of when the session sees its rights.
    pub(super) async fn connect(
        &self,
        (site, target): (Site, &W::Target),
        principal: &PrincipalName,
        startup: &W::Startup,
    ) -> Result<(W::Connection, Stamp), UpstreamError> {
        match &self.lock {
            Some(lock) if site == Site::Replica => {
                lock.connect_at_replica(target, principal, startup).await
            }
            Some(lock) => lock.connect_seeing(target, principal, startup).await,
            None => Ok((W::connect(target, startup).await?, Stamp::default())),
        }
    }
}

/// One entry, whichever wire it speaks.
#[derive(Clone)]
pub enum Entry {
    /// PostgreSQL.
    Postgres(Arc<Database<Postgres>>),
    /// MySQL or MariaDB.
    Mysql(Arc<Database<Mysql>>),
}

impl Entry {
    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Postgres(database) => &database.name,
            Self::Mysql(database) => &database.name,
        }
    }

    /// Where its servers stand.
    pub fn fleet(&self) -> Arc<Fleet> {
        match self {
            Self::Postgres(database) => Arc::clone(&database.fleet.borrow()),
            Self::Mysql(database) => Arc::clone(&database.fleet.borrow()),
        }
    }

    /// What it speaks.
    pub const fn engine(&self) -> Engine {
        match self {
            Self::Postgres(_) => Engine::Postgres,
            Self::Mysql(_) => Engine::Mysql,
        }
    }

    /// Whether statements could be served now.
    ///
    /// # Errors
    /// What is missing, a sentence.
    pub fn readiness(&self) -> Result<(), String> {
        match self {
            Self::Postgres(database) => database.readiness(),
            Self::Mysql(database) => database.readiness(),
        }
    }

    /// Has the accounts of its second lock removed, once no session uses them, unless its successor keeps them.
    pub fn retire_before(&self, successor: Option<&Self>) {
        match (self, successor) {
            (Self::Postgres(before), Some(Self::Postgres(after))) => {
                before.retire_before(Some(after));
            }
            (Self::Postgres(before), _) => before.retire_before(None),
            (Self::Mysql(before), Some(Self::Mysql(after))) => before.retire_before(Some(after)),
            (Self::Mysql(before), _) => before.retire_before(None),
        }
    }
}
