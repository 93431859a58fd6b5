//! What sessions hold of the second lock: the role to log in as, and when it can be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::{Keeper, Request};
use super::progress::{Progress, Stamp};
use super::{CatalogOf, Kind};
use crate::grant::snapshot::HeldGrants;
use crate::identity::PrincipalName;
use crate::store::{Follower, Snapshot};
use crate::time::Timestamp;
use crate::upstream::catalogs::{Catalogs, Kept};
use crate::upstream::error::UpstreamError;

/// The second lock of one database. Cheap to clone; its task ends with the last clone.
pub struct Lock<K: Kind> {
    settings: Arc<K::Settings>,
    names: Arc<K::Names>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    progress: watch::Receiver<Arc<Progress>>,
    catalogs: watch::Receiver<Option<Arc<CatalogOf<K>>>>,
    requests: mpsc::Sender<Request>,
    retired: Arc<AtomicBool>,
}

impl<K: Kind> Clone for Lock<K> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            names: Arc::clone(&self.names),
            snapshots: self.snapshots.clone(),
            progress: self.progress.clone(),
            catalogs: self.catalogs.clone(),
            requests: self.requests.clone(),
            retired: Arc::clone(&self.retired),
        }
    }
}

impl<K: Kind> Lock<K> {
    /// Begins at once. Needs a Tokio runtime.
    pub fn spawn(
        settings: K::Settings,
        store: Follower,
        catalogs: watch::Receiver<Option<Arc<CatalogOf<K>>>>,
    ) -> Self {
        let names = K::names(&settings);
        let (settings, names) = (Arc::new(settings), Arc::new(names));
        let (progress_to, progress) = watch::channel(Arc::default());
        let (catalogs_to, catalogs_on) = watch::channel(None);
        let (requests, inbox) = mpsc::channel(256);
        let retired = Arc::<AtomicBool>::default();
        let keeper = Keeper::<K>::new(
            (Arc::clone(&settings), Arc::clone(&names), Arc::clone(&retired)),
            (store.clone(), catalogs),
            (progress_to, catalogs_to),
        );
        tokio::spawn(keeper.run(inbox));
        let snapshots = store.snapshots;
        Self { settings, names, snapshots, progress, catalogs: catalogs_on, requests, retired }
    }

    /// Has the roles removed once the last session has let go of the lock: nobody keeps them after that.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// What it was made of.
    pub fn settings(&self) -> &K::Settings {
        &self.settings
    }

    /// Whether both keep the same roles of the same server.
    pub fn has_roles_of(&self, other: &Self) -> bool {
        K::same_roles(&self.settings, &other.settings)
    }

    /// The role that a principal's sessions log in as.
    pub fn role(&self, principal: &PrincipalName) -> String {
        K::role(&self.names, principal.as_str())
    }

    /// Names of all roles of this database.
    pub fn names(&self) -> &K::Names {
        &self.names
    }

    /// Follows how far the roles are.
    pub fn progress(&self) -> watch::Receiver<Arc<Progress>> {
        self.progress.clone()
    }

    /// Follows the catalog; each version comes once levels on schemas and the database reach what is
    /// new in it.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<CatalogOf<K>>>> {
        self.catalogs.clone()
    }

    /// As [`Catalogs::refresh`], and waits until levels reach what is new.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn refresh(
        &self,
        catalogs: &Catalogs<K::Target>,
    ) -> Result<Arc<CatalogOf<K>>, UpstreamError> {
        let fresh = catalogs.refresh().await?;
        let reached = |known: &Option<Arc<CatalogOf<K>>>| {
            known.as_ref().is_some_and(|known| known.version() >= fresh.version())
        };
        let mut catalogs = self.catalogs.clone();
        let known = catalogs.wait_for(reached).await.map_err(|_| UpstreamError::Stopped)?;
        known.clone().ok_or(UpstreamError::Stopped)
    }

    /// Waits until what these grants allow at `now` has been brought to the server, or could not be.
    pub async fn settled(&self, held: &HeldGrants, now: Timestamp) {
        let mut progress = self.progress();
        let there =
            |known: &Arc<Progress>| known.wait_from(held, now).is_none_or(|from| now < from);
        // Whoever keeps the roles may have ended.
        drop(progress.wait_for(there).await);
    }

    /// Connects to a server of the cluster as the principal's role, once that has what its live grants
    /// allow.
    ///
    /// # Errors
    /// When the role cannot be had, or the server cannot be reached or does not take it.
    pub async fn connect(
        &self,
        target: &K::Target,
        principal: &PrincipalName,
        startup: &K::Startup,
    ) -> Result<K::Connection, UpstreamError> {
        Ok(self.connect_seeing(target, principal, startup).await?.0)
    }

    /// [`Lock::connect`], and as of when the session sees its rights ([`Progress::due`]).
    ///
    /// # Errors
    /// As for [`Lock::connect`].
    pub async fn connect_seeing(
        &self,
        target: &K::Target,
        principal: &PrincipalName,
        startup: &K::Startup,
    ) -> Result<(K::Connection, Stamp), UpstreamError> {
        match self.attempt(target, principal, startup, false).await {
            // Somebody else has changed the role meanwhile.
            Err(error) if K::is_refused(&error) => {
                self.attempt(target, principal, startup, true).await
            }
            result => result,
        }
    }

    /// [`Lock::connect_seeing`] at a replica. One that refuses the login may not have replayed the account yet, which
    /// is no reason to change it.
    ///
    /// # Errors
    /// As for [`Lock::connect`].
    pub async fn connect_at_replica(
        &self,
        target: &K::Target,
        principal: &PrincipalName,
        startup: &K::Startup,
    ) -> Result<(K::Connection, Stamp), UpstreamError> {
        self.attempt(target, principal, startup, false).await
    }

    async fn attempt(
        &self,
        target: &K::Target,
        principal: &PrincipalName,
        startup: &K::Startup,
        reset: bool,
    ) -> Result<(K::Connection, Stamp), UpstreamError> {
        let (login, seen) = self.open(target, principal, reset).await?;
        Ok((K::connect(&self.settings, &login, startup).await?, seen))
    }

    async fn open(
        &self,
        target: &K::Target,
        principal: &PrincipalName,
        reset: bool,
    ) -> Result<(K::Target, Stamp), UpstreamError> {
        let role = self.role(principal);
        let ready = if reset { None } else { self.ready(principal, &role) };
        let progress = match ready {
            Some(progress) => progress,
            None => self.ask(reset.then(|| role.clone())).await?,
        };
        if let Some(why) = progress.failed.get(&role).or(progress.error.as_ref()) {
            return Err(UpstreamError::Roles(Arc::clone(why)));
        }
        if !progress.open.contains(&role) {
            return Err(UpstreamError::Roles(format!("{principal} has no live grant").into()));
        }
        let seen = progress.stamp(&role);
        Ok((K::as_role(target, &self.names, &progress, role), seen))
    }

    /// How far the roles are, when that is far enough for a login.
    fn ready(&self, principal: &PrincipalName, role: &str) -> Option<Arc<Progress>> {
        let now = SystemTime::now().into();
        let held = self.snapshots.borrow().grants.held(principal, K::entry(&self.settings));
        let progress = Arc::clone(&self.progress.borrow());
        let waits = progress.wait_from(&held, now).is_some_and(|from| from <= now);
        (!waits && progress.error.is_none() && progress.open.contains(role)).then_some(progress)
    }

    async fn ask(&self, reset: Option<String>) -> Result<Arc<Progress>, UpstreamError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request { reset, answer }).await;
        sent.map_err(|_| UpstreamError::Stopped)?;
        answered.await.map_err(|_| UpstreamError::Stopped)
    }
}
