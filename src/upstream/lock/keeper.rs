//! The task that keeps a database's roles as live grants have them: when it tries, again, and what it tells.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::progress::Progress;
use super::{CatalogOf, Kind, Outcome};
use crate::grant::GrantId;
use crate::route::Position;
use crate::store::{Follower, Snapshot};
use crate::time::Timestamp;
use crate::upstream::catalogs::{CHECK_MAX, Kept};
use crate::upstream::connect::within;
use crate::upstream::error::UpstreamError;

/// One attempt; a connection whose network has gone silent is given up after it.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// For the first catalog, while whoever asks for a role waits.
const NAMES_MAX: Duration = Duration::from_secs(5);
/// Attempts, when others change the same roles or objects at the same time.
const ATTEMPTS: u32 = 8;
/// Looking at everything takes at most this share of the time.
const SHARE: u32 = 50;
const RETRY_AFTER: Duration = Duration::from_millis(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The catalog, once there is one.
type Known<K> = Option<Arc<CatalogOf<K>>>;

/// Asks for the roles to be brought in line, the password of one of them set anew.
pub(super) struct Request {
    pub(super) reset: Option<String>,
    pub(super) answer: oneshot::Sender<Arc<Progress>>,
}

/// The task.
pub(super) struct Keeper<K: Kind> {
    kind: K,
    following: Following<K>,
    catalogs: watch::Receiver<Known<K>>,
    progress: watch::Sender<Arc<Progress>>,
    catalogs_on: watch::Sender<Known<K>>,
    swept: Option<Instant>,
    /// How often everything is looked at; longer where that takes long.
    every: Duration,
    /// No entry of the configuration has this lock any more.
    retired: Arc<AtomicBool>,
    /// What there is to be could not be asked when it was last tried.
    store_silent: bool,
}

/// Whose grants are followed.
struct Following<K: Kind> {
    settings: Arc<K::Settings>,
    names: Arc<K::Names>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    store: Follower,
}

/// What an attempt is to bring about.
pub struct Goal<'k, K: Kind> {
    /// What live grants want.
    pub wanted: K::Wanted,
    /// Everything is looked at, and roles that nobody needs are dropped, too.
    pub sweep: bool,
    /// The grants that it follows from; `None` when it follows from none.
    snapshot: Option<Arc<Snapshot>>,
    following: &'k mut Following<K>,
}

impl<K: Kind> fmt::Debug for Goal<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Goal").field("sweep", &self.sweep).finish_non_exhaustive()
    }
}

impl<K: Kind> Following<K> {
    /// What the grants of this moment want.
    fn wanted(&mut self) -> (K::Wanted, Arc<Snapshot>) {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let entry = K::entry(&self.settings);
        let grants = snapshot.grants.iter().filter(|grant| *grant.database == **entry);
        let now = SystemTime::now().into();
        let wanted = K::wanted(&self.settings, &self.names, grants, now);
        (wanted, snapshot)
    }

    fn whose(&self) -> String {
        K::whose(&self.settings, &self.names)
    }
}

impl<K: Kind> Goal<'_, K> {
    /// Has the goal follow from all grants that any proxy has made by now. Another proxy that had the
    /// lock before may have acted on some that this one has not heard of yet, and must not be undone.
    ///
    /// # Errors
    /// When they cannot be asked.
    pub async fn catch_up(&mut self) -> Result<(), UpstreamError> {
        // Others wait for the lock meanwhile.
        const PATIENCE: Duration = Duration::from_millis(500);
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        if !timeout(PATIENCE, self.following.store.catch_up()).await.unwrap_or(false) {
            return Err(UpstreamError::StoreSilent);
        }
        if self.following.snapshots.borrow().grants.epoch() != snapshot.grants.epoch() {
            let (wanted, snapshot) = self.following.wanted();
            (self.wanted, self.snapshot) = (wanted, Some(snapshot));
        }
        Ok(())
    }
}

impl<K: Kind> Keeper<K> {
    pub(super) fn new(
        (settings, names, retired): (Arc<K::Settings>, Arc<K::Names>, Arc<AtomicBool>),
        (store, catalogs): (Follower, watch::Receiver<Known<K>>),
        (progress, catalogs_on): (watch::Sender<Arc<Progress>>, watch::Sender<Known<K>>),
    ) -> Self {
        Self {
            kind: K::new(&settings, &names),
            every: K::interval(&settings),
            following: Following { settings, names, snapshots: store.snapshots.clone(), store },
            catalogs,
            progress,
            catalogs_on,
            swept: None,
            retired,
            store_silent: false,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut backoff = BACKOFF_MIN;
        let mut waiting: Vec<Request> = Vec::new();
        count(&self.following.whose(), 1);
        loop {
            for role in waiting.iter().filter_map(|request| request.reset.as_ref()) {
                self.kind.reset(role);
            }
            let (ok, next_change) = self.keep().await;
            let progress = self.answer();
            for request in waiting.drain(..) {
                // Whoever has gone away needs no answer.
                let _ = request.answer.send(Arc::clone(&progress));
            }
            let pause = if ok {
                backoff = BACKOFF_MIN;
                let sweep =
                    self.swept.map_or(Duration::ZERO, |at| self.every.saturating_sub(at.elapsed()));
                next_change.map_or(sweep, |change| sweep.min(change))
            } else {
                let pause = backoff;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                pause
            };
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = self.following.snapshots.changed() => {}
                Ok(()) = self.catalogs.changed() => {}
                request = inbox.recv() => match request {
                    Some(request) => waiting.push(request),
                    None => break,
                },
            }
            while let Ok(request) = inbox.try_recv() {
                waiting.push(request);
            }
        }
        // An entry that has come back meanwhile has a keeper of its own by now.
        if count(&self.following.whose(), -1) == 0 && self.retired.load(Ordering::Relaxed) {
            self.remove_all().await;
        }
        self.kind.leave().await;
    }

    fn entry(&self) -> Arc<str> {
        Arc::clone(K::entry(&self.following.settings))
    }

    /// Leaves nothing behind of a lock that nobody has any more.
    async fn remove_all(&mut self) {
        const TRIES: u32 = 60;
        for _ in 0..TRIES {
            self.swept = None;
            let (_, _, result) = self.bring(K::Wanted::default(), None, None).await;
            match result {
                Ok(outcome) if outcome.left == 0 => return,
                // The backend of the last session may take a moment to end.
                Ok(_) => sleep(BACKOFF_MAX / 5).await,
                Err(error) => {
                    let database = self.entry();
                    tracing::error!(%error, %database, "a removed second lock leaves roles behind");
                    return;
                }
            }
            if count(&self.following.whose(), 0) > 0 {
                return;
            }
        }
    }

    /// Brings the server in line once. Whether that went well, and how long until a grant begins or
    /// expires by itself.
    async fn keep(&mut self) -> (bool, Option<Duration>) {
        let now: Timestamp = SystemTime::now().into();
        if K::NEEDS_CATALOG {
            let known = self.catalogs.wait_for(Option::is_some);
            // It comes as soon as the server can be asked at all.
            drop(timeout(NAMES_MAX, known).await);
        }
        let catalog = self.catalogs.borrow_and_update().clone();
        if K::NEEDS_CATALOG && catalog.is_none() {
            let error = Some("the server's names are not known yet".into());
            self.progress.send_replace(Arc::new(Progress { error, ..Progress::default() }));
            return (false, None);
        }
        let (wanted, snapshot) = self.following.wanted();
        let (wanted, snapshot, result) = self.bring(wanted, Some(snapshot), catalog.as_ref()).await;
        let entry = self.entry();
        let grants = snapshot.iter().flat_map(|snapshot| snapshot.grants.iter());
        let grants = grants.filter(|grant| *grant.database == *entry);
        let next = grants.filter_map(|grant| grant.next_change_after(now)).min();
        self.store_silent = matches!(result, Err(UpstreamError::StoreSilent));
        if self.store_silent {
            // Roles that are open stay so: whoever has one gets in.
            self.pass_on(catalog);
            return (false, None);
        }
        let settled = K::grants(&wanted);
        let (ok, progress) = match result {
            Ok(outcome) => {
                let position = self.position(&outcome, &settled).await;
                (!outcome.again, Progress { settled, position, ..outcome.progress })
            }
            Err(error) => (false, self.note_error(settled, &error)),
        };
        let epoch = snapshot.map_or(0, |snapshot| snapshot.grants.epoch());
        let progress = Progress { epoch, ..progress };
        // Every session of the database wakes for it, so it is told only when it is news.
        self.progress.send_if_modified(|known| {
            let is_news = progress.error.is_some() || **known != progress;
            if is_news {
                *known = Arc::new(progress);
            }
            is_news
        });
        self.pass_on(catalog);
        (ok, next.map(|next| Timestamp::from(SystemTime::now()).until(next)))
    }

    /// Where the primary was once the roles were as they are. They may have become so by another proxy, for a grant
    /// that this one has only heard of now.
    async fn position(
        &mut self,
        outcome: &Outcome,
        settled: &HashSet<GrantId>,
    ) -> Option<Position> {
        let before = Arc::clone(&self.progress.borrow());
        if !outcome.changed && before.position.is_some() && before.settled == *settled {
            return before.position.clone();
        }
        let work = self.kind.position();
        match within(CHECK_MAX, "asking for the position of roles", work).await {
            Ok(position) => position,
            Err(error) => {
                // No replica is known to have the roles then.
                tracing::debug!(%error, database = %self.entry(), "the position of roles is not known");
                None
            }
        }
    }

    /// After a failure, too: the server refuses what its roles do not reach yet.
    fn pass_on(&self, catalog: Known<K>) {
        let version = |known: &Known<K>| known.as_ref().map(|it| it.version());
        if version(&self.catalogs_on.borrow()) != version(&catalog) {
            self.catalogs_on.send_replace(catalog.map(K::shown));
        }
    }

    /// What whoever waits for an attempt is told.
    fn answer(&self) -> Arc<Progress> {
        let progress = Arc::clone(&self.progress.borrow());
        if !self.store_silent {
            return progress;
        }
        let error = Some(UpstreamError::StoreSilent.to_string().into());
        Arc::new(Progress { error, ..Progress::clone(&progress) })
    }

    /// Attempts until it is done, or fails for a reason that another attempt would not mend. What was wanted in
    /// the end, the grants that it followed from, and how it went.
    async fn bring(
        &mut self,
        wanted: K::Wanted,
        snapshot: Option<Arc<Snapshot>>,
        catalog: Option<&Arc<CatalogOf<K>>>,
    ) -> (K::Wanted, Option<Arc<Snapshot>>, Result<Outcome, UpstreamError>) {
        let mut goal = Goal { wanted, sweep: false, snapshot, following: &mut self.following };
        let mut attempt = 0;
        let result = loop {
            goal.sweep = self.swept.is_none_or(|at| at.elapsed() >= self.every);
            let had_connection = self.kind.is_connected();
            let work = self.kind.attempt(&mut goal, catalog);
            match within(ATTEMPT_MAX, K::WORK, work).await {
                Ok(done) => {
                    let version = catalog.map(|catalog| catalog.version());
                    let outcome = self.kind.finish(&goal.wanted, version, done).await;
                    if goal.sweep {
                        self.swept = Some(Instant::now());
                        let interval = K::interval(&goal.following.settings);
                        self.every = interval.max(outcome.took * SHARE);
                    }
                    break Ok(outcome);
                }
                Err(error) => {
                    attempt += 1;
                    let again = K::is_passing(&error) || (had_connection && is_broken(&error));
                    if !again || attempt >= ATTEMPTS {
                        break Err(error);
                    }
                    sleep(RETRY_AFTER * (1 << attempt)).await;
                }
            }
        };
        (goal.wanted, goal.snapshot, result)
    }

    fn note_error(&self, settled: HashSet<GrantId>, error: &UpstreamError) -> Progress {
        let text = match error {
            UpstreamError::Roles(why) => why.to_string(),
            other => other.to_string(),
        };
        let before = Progress::clone(&self.progress.borrow());
        if before.error.as_deref() != Some(&*text) {
            let database = self.entry();
            tracing::error!(%error, %database, "the second lock cannot be brought in line");
        }
        Progress {
            settled,
            error: Some(text.into()),
            served: before.served,
            lacking: before.lacking,
            cluster: before.cluster,
            stamps: before.stamps,
            position: before.position,
            ..Progress::default()
        }
    }
}

/// Counts this process's keepers of the same roles, which a reload may make two for a while.
fn count(whose: &str, change: i32) -> i32 {
    static KEEPERS: Mutex<BTreeMap<String, i32>> = Mutex::new(BTreeMap::new());
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    let now = keepers.get(whose).copied().unwrap_or_default() + change;
    keepers.insert(whose.to_owned(), now);
    now
}

fn is_broken(error: &UpstreamError) -> bool {
    !matches!(
        error,
        UpstreamError::Failed { .. }
            | UpstreamError::MysqlFailed { .. }
            | UpstreamError::Roles(_)
            | UpstreamError::StoreSilent
    )
}
