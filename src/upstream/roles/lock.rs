//! What sessions hold of the second lock: the role to log in as, and when it can be used.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use super::acl::Right;
use super::keeper::Keeper;
use super::names::Names;
use crate::grant::GrantId;
use crate::grant::snapshot::HeldGrants;
use crate::identity::PrincipalName;
use crate::secret::Secret;
use crate::sql::catalog::Catalog;
use crate::store::{Follower, Snapshot};
use crate::time::Timestamp;
use crate::upstream::catalogs::Catalogs;
use crate::upstream::connect::{Connection, connect};
use crate::upstream::error::UpstreamError;
use crate::upstream::login::Startup;
use crate::upstream::target::Target;

/// What a lock is for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The entry of the configuration.
    pub entry: Arc<str>,
    /// The primary, as the service account.
    pub target: Target,
    /// What names and passwords follow from.
    pub key: Secret,
    /// How often everything is looked at again.
    pub interval: Duration,
    /// The role as which sessions do what only owners may.
    pub ddl_owner: Option<Arc<str>>,
}

/// How far the roles are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The grants' epoch that was last tried: whoever waits for a newer one hears of it.
    pub epoch: u64,
    /// Live grants that were brought to the server, or could not be: nobody need wait for them.
    pub settled: HashSet<GrantId>,
    /// Roles that can be logged in as.
    pub open: HashSet<String>,
    /// Roles that cannot, and why.
    pub failed: HashMap<String, Arc<str>>,
    /// What live grants allow, and the service account may not give.
    pub lacking: Arc<BTreeSet<Right>>,
    /// The roles have been in line once.
    pub served: bool,
    /// Why nothing can be brought to the server now.
    pub error: Option<Arc<str>>,
    /// What tells the cluster from others, once it is known.
    pub cluster: Box<str>,
}

impl Progress {
    /// From when a session would have to wait before its next statement; `None` when nothing of what
    /// it holds is still to be brought to the server.
    pub fn wait_from(&self, held: &HeldGrants, now: Timestamp) -> Option<Timestamp> {
        let unsettled = held.iter().filter(|grant| {
            grant.revoked.is_none() && now < grant.expires && !self.settled.contains(&grant.id)
        });
        unsettled.map(|grant| grant.not_before).min()
    }
}

/// Asks for the roles to be brought in line, the password of one of them set anew.
pub(super) struct Request {
    pub(super) reset: Option<String>,
    pub(super) answer: oneshot::Sender<Arc<Progress>>,
}

/// The second lock of one database. Cheap to clone; its task ends with the last clone.
#[derive(Clone)]
pub struct Lock {
    settings: Arc<Settings>,
    names: Arc<Names>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    progress: watch::Receiver<Arc<Progress>>,
    catalogs: watch::Receiver<Option<Arc<Catalog>>>,
    requests: mpsc::Sender<Request>,
    retired: Arc<AtomicBool>,
}

impl Lock {
    /// Begins at once. Needs a Tokio runtime.
    pub fn spawn(
        settings: Settings,
        store: Follower,
        catalogs: watch::Receiver<Option<Arc<Catalog>>>,
    ) -> Self {
        let names = Names::new(&settings.key, &settings.entry, &settings.target.database);
        let (settings, names) = (Arc::new(settings), Arc::new(names));
        let (progress_to, progress) = watch::channel(Arc::default());
        let (catalogs_to, catalogs_on) = watch::channel(None);
        let (requests, inbox) = mpsc::channel(256);
        let retired = Arc::<AtomicBool>::default();
        let keeper = Keeper::new(
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
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether both keep the same roles of the same server.
    pub fn has_roles_of(&self, other: &Self) -> bool {
        let (one, other) = (&self.settings, &other.settings);
        one.key == other.key && one.entry == other.entry && one.target.has_names_of(&other.target)
    }

    /// The role that a principal's sessions log in as.
    pub fn role(&self, principal: &PrincipalName) -> String {
        self.names.login(principal.as_str())
    }

    /// Names of all roles of this database.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Follows how far the roles are.
    pub fn progress(&self) -> watch::Receiver<Arc<Progress>> {
        self.progress.clone()
    }

    /// Follows the catalog; each version comes once levels on schemas and the database reach what is
    /// new in it.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.catalogs.clone()
    }

    /// As [`Catalogs::refresh`], and waits until levels reach what is new.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn refresh(&self, catalogs: &Catalogs) -> Result<Arc<Catalog>, UpstreamError> {
        let fresh = catalogs.refresh().await?;
        let reached = |known: &Option<Arc<Catalog>>| {
            known.as_ref().is_some_and(|known| known.version >= fresh.version)
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
    /// When the role cannot be had, or as for [`connect`].
    pub async fn connect(
        &self,
        target: &Target,
        principal: &PrincipalName,
        startup: &Startup,
    ) -> Result<Connection, UpstreamError> {
        let login = self.open(target, principal, false).await?;
        match connect(&login, startup).await {
            // Somebody else has changed the role meanwhile.
            Err(UpstreamError::Refused { sqlstate, .. })
                if matches!(&*sqlstate, "28P01" | "28000") =>
            {
                connect(&self.open(target, principal, true).await?, startup).await
            }
            result => result,
        }
    }

    async fn open(
        &self,
        target: &Target,
        principal: &PrincipalName,
        reset: bool,
    ) -> Result<Target, UpstreamError> {
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
        let password = self.names.password(&progress.cluster, &role);
        Ok(Target { user: role, password: Some(password), ..target.clone() })
    }

    /// How far the roles are, when that is far enough for a login.
    fn ready(&self, principal: &PrincipalName, role: &str) -> Option<Arc<Progress>> {
        let now = SystemTime::now().into();
        let held = self.snapshots.borrow().grants.held(principal, &self.settings.entry);
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
