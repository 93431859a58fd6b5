//! The task that keeps a database's roles as live grants have them, over a connection of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::acl::Right;
use super::action::Action;
use super::lock::{Progress, Request, Settings};
use super::names::Names;
use super::observe::{self, DdlOwner};
use super::plan::{self, Observed, Plan, Scope, Service, Wanted};
use super::removal;
use crate::sql::catalog::Catalog;
use crate::store::{Follower, Snapshot};
use crate::time::Timestamp;
use crate::upstream::connect::{Connection, connect, within};
use crate::upstream::error::UpstreamError;
use crate::upstream::login::Startup;
use crate::upstream::{APPLICATION_NAME, client};
use crate::wire::postgres::reply;

/// One attempt; a connection whose network has gone silent is given up after it.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// Attempts, when others change the same roles or objects at the same time.
const ATTEMPTS: u32 = 8;
/// Looking at everything takes at most this share of the time.
const SHARE: u32 = 50;
const RETRY_AFTER: Duration = Duration::from_millis(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Names mean the server's own. A lock that somebody holds on a catalog must not stop us for ever.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET jit = off; \
    SET statement_timeout = '30s'; SET lock_timeout = '1s'; SET role = none; \
    SET idle_in_transaction_session_timeout = 0";

/// One proxy at a time: the number is "dayp" in ASCII.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(1684109680, 1)";

/// The task.
pub(super) struct Keeper {
    settings: Arc<Settings>,
    names: Arc<Names>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    store: Follower,
    catalogs: watch::Receiver<Option<Arc<Catalog>>>,
    progress: watch::Sender<Arc<Progress>>,
    catalogs_on: watch::Sender<Option<Arc<Catalog>>>,
    connection: Option<Connection>,
    service: Service,
    /// Login roles whose password was set by this process and that have been open since.
    opened: HashSet<String>,
    /// Sets whose rights were in line with the catalog of that version.
    verified: (Option<u64>, HashSet<String>),
    swept: Option<Instant>,
    /// How often everything is looked at; longer where that takes long.
    every: Duration,
    /// What the log has already been told.
    said: HashSet<String>,
    lacking: Arc<BTreeSet<Right>>,
    /// No entry of the configuration has this lock any more.
    retired: Arc<AtomicBool>,
    /// What there is to be could not be asked when it was last tried.
    store_silent: bool,
}

/// What an attempt is to bring about.
struct Goal {
    wanted: Wanted,
    /// The grants that it follows from; `None` when it follows from none.
    snapshot: Option<Arc<Snapshot>>,
}

/// What an attempt came to.
struct Done {
    plan: Plan,
    /// What could not be done, and why.
    failures: Vec<(Action, UpstreamError)>,
    looked: bool,
    /// Roles that were there and are not dropped.
    left: usize,
}

impl Keeper {
    pub(super) fn new(
        (settings, names, retired): (Arc<Settings>, Arc<Names>, Arc<AtomicBool>),
        (store, catalogs): (Follower, watch::Receiver<Option<Arc<Catalog>>>),
        (progress, catalogs_on): (
            watch::Sender<Arc<Progress>>,
            watch::Sender<Option<Arc<Catalog>>>,
        ),
    ) -> Self {
        Self {
            every: settings.interval,
            settings,
            names,
            snapshots: store.snapshots.clone(),
            store,
            catalogs,
            progress,
            catalogs_on,
            connection: None,
            service: Service::default(),
            opened: HashSet::new(),
            verified: (None, HashSet::new()),
            swept: None,
            said: HashSet::new(),
            lacking: Arc::default(),
            retired,
            store_silent: false,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut backoff = BACKOFF_MIN;
        let mut waiting: Vec<Request> = Vec::new();
        count(&self.whose(), 1);
        loop {
            for request in &waiting {
                if let Some(role) = &request.reset {
                    self.opened.remove(role);
                }
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
                Ok(()) = self.snapshots.changed() => {}
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
        if count(&self.whose(), -1) == 0 && self.retired.load(Ordering::Relaxed) {
            self.remove_all().await;
        }
        if let Some(mut connection) = self.connection {
            let mut goodbye = Vec::new();
            reply::terminate(&mut goodbye);
            // The server finds out from the closed socket otherwise.
            let _ = connection.stream.write_all(&goodbye).await;
        }
    }

    /// What two keepers of the same roles have in common.
    fn whose(&self) -> String {
        format!("{} {}", self.settings.target.host, self.names.pattern())
    }

    /// Leaves nothing behind of a lock that nobody has any more.
    async fn remove_all(&mut self) {
        const TRIES: u32 = 60;
        for _ in 0..TRIES {
            self.swept = None;
            let mut goal = Goal { wanted: Wanted::default(), snapshot: None };
            match self.bring(&mut goal, None).await {
                Ok(done) if done.left == 0 => return,
                // The backend of the last session may take a moment to end.
                Ok(_) => sleep(BACKOFF_MAX / 5).await,
                Err(error) => {
                    let database = &self.settings.entry;
                    tracing::error!(%error, %database, "a removed second lock leaves roles behind");
                    return;
                }
            }
            if count(&self.whose(), 0) > 0 {
                return;
            }
        }
    }

    /// Brings the server in line once. Whether that went well, and how long until a grant begins or
    /// expires by itself.
    async fn keep(&mut self) -> (bool, Option<Duration>) {
        let now: Timestamp = SystemTime::now().into();
        let mut goal = self.goal();
        let catalog = self.catalogs.borrow_and_update().clone();
        let result = self.bring(&mut goal, catalog.as_deref().map(|it| it.version)).await;
        let Goal { wanted, snapshot } = goal;
        let grants = snapshot.iter().flat_map(|snapshot| snapshot.grants.iter());
        let grants = grants.filter(|grant| *grant.database == *self.settings.entry);
        let next = grants.filter_map(|grant| grant.next_change_after(now)).min();
        self.store_silent = matches!(result, Err(UpstreamError::StoreSilent));
        if self.store_silent {
            // Roles that are open stay so: whoever has one gets in.
            self.pass_on(catalog);
            return (false, None);
        }
        // What would help to attempt again is, soon, and not only with the next sweep.
        let ok = result.as_ref().is_ok_and(|done| {
            let lasts = |action: &Action, error| action.needed_by().is_none() && !is_locked(error);
            done.failures.iter().all(|(action, error)| lasts(action, error))
        });
        let progress = match result {
            Ok(done) => self.note(&wanted, done),
            Err(error) => self.note_error(&wanted, &error),
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

    /// After a failure, too: the server refuses what its roles do not reach yet.
    fn pass_on(&self, catalog: Option<Arc<Catalog>>) {
        let is_new = self.catalogs_on.borrow().as_ref().map(|it| it.version)
            != catalog.as_ref().map(|it| it.version);
        if is_new {
            self.catalogs_on.send_replace(catalog.map(|it| Arc::new(it.for_own_roles())));
        }
    }

    /// What the grants of this moment want.
    fn goal(&mut self) -> Goal {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let grants = snapshot.grants.iter();
        let grants = grants.filter(|grant| *grant.database == *self.settings.entry);
        let (owner, now) = (self.settings.ddl_owner.as_ref(), SystemTime::now().into());
        let wanted = plan::wanted(grants, &self.names, owner, now);
        Goal { wanted, snapshot: Some(snapshot) }
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

    /// Has the goal follow from all grants that any proxy has made by now. Another proxy that had the
    /// lock before may have acted on some that this one has not heard of yet, and must not be undone.
    async fn catch_up(&mut self, goal: &mut Goal) -> Result<(), UpstreamError> {
        // Others wait for the lock meanwhile.
        const PATIENCE: Duration = Duration::from_millis(500);
        let Some(snapshot) = &goal.snapshot else { return Ok(()) };
        if !timeout(PATIENCE, self.store.catch_up()).await.unwrap_or(false) {
            return Err(UpstreamError::StoreSilent);
        }
        if self.snapshots.borrow().grants.epoch() != snapshot.grants.epoch() {
            *goal = self.goal();
        }
        Ok(())
    }

    /// Attempts until it is done, or fails for a reason that another attempt would not mend.
    async fn bring(
        &mut self,
        goal: &mut Goal,
        version: Option<u64>,
    ) -> Result<Done, UpstreamError> {
        let mut attempt = 0;
        loop {
            // Taken out, so that a connection that failed or was given up half-way is dropped.
            let connection = self.connection.take();
            let had_connection = connection.is_some();
            let work = self.attempt(connection, goal, version);
            match within(ATTEMPT_MAX, "bringing roles in line", work).await {
                Ok((connection, done)) => {
                    self.remember(&goal.wanted, version, &done);
                    self.connection = self.dispossess(connection, &done).await;
                    return Ok(done);
                }
                Err(error) => {
                    attempt += 1;
                    let again = is_passing(&error) || (had_connection && is_broken(&error));
                    if !again || attempt >= ATTEMPTS {
                        return Err(error);
                    }
                    sleep(RETRY_AFTER * (1 << attempt)).await;
                }
            }
        }
    }

    fn remember(&mut self, wanted: &Wanted, version: Option<u64>, done: &Done) {
        let failed = |action: &Action| done.failures.iter().any(|(it, _)| it == action);
        for action in done.plan.actions.iter().filter(|action| !failed(action)) {
            if let Action::Open { role, .. } = action {
                self.opened.insert(role.clone());
            }
        }
        self.opened.retain(|role| wanted.logins.contains_key(role));
        if done.looked {
            self.verified = (version, wanted.sets.keys().cloned().collect());
            for (action, error) in &done.failures {
                if let Action::Grant(rights) = action
                    && is_locked(error)
                {
                    self.verified.1.remove(&rights.role);
                }
            }
        }
    }

    /// Takes from roles that could not be dropped what keeps them; the next sweep drops them.
    async fn dispossess(&mut self, mut connection: Connection, done: &Done) -> Option<Connection> {
        for (action, error) in &done.failures {
            let (Action::Drop { role }, true) = (action, is_in_use(error)) else { continue };
            // Once: what only a superuser can take from it stays, and the role with it, closed.
            if !self.said.insert(format!("dispossess {role}")) {
                continue;
            }
            let (target, database) = (&self.settings.target, &self.settings.entry);
            tracing::warn!(
                %database, role, %error,
                "a role that is to go holds or owns something, which is taken from it; if this service \
                 account may not, let a superuser run REASSIGN OWNED and DROP OWNED where it does"
            );
            let work = removal::dispossess(&mut connection, target, &self.service, role);
            match within(ATTEMPT_MAX, "removing a role", work).await {
                Ok(()) => {}
                Err(error @ UpstreamError::Failed { .. }) => {
                    tracing::warn!(%database, role, %error, "and could not be relieved of it");
                }
                // The connection may be broken, or half-way.
                Err(_) => return None,
            }
        }
        Some(connection)
    }

    async fn connect(&mut self) -> Result<Connection, UpstreamError> {
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut connection = connect(&self.settings.target, &startup).await?;
        client::query(&mut connection, SESSION).await?;
        Ok(connection)
    }

    async fn attempt(
        &mut self,
        connection: Option<Connection>,
        goal: &mut Goal,
        version: Option<u64>,
    ) -> Result<(Connection, Done), UpstreamError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        self.service = observe::service(&mut connection).await?;
        let service = self.service.clone();
        if !service.creates_roles && !service.superuser {
            let name = &service.name;
            let why = format!(
                "the service account {name} may not make roles: let a superuser run ALTER ROLE \
                 {} CREATEROLE, or write second-lock = \"none\"",
                super::action::name(name)
            );
            return Err(UpstreamError::Roles(why.into()));
        }
        // Asked twice, so that nobody waits for the lock while this proxy waits for its store.
        self.catch_up(goal).await?;
        client::query(&mut connection, BEGIN).await?;
        self.catch_up(goal).await?;
        let wanted = &goal.wanted;
        let mut observed = observe::roles(&mut connection, &service, &self.names).await?;
        let start = Instant::now();
        let sweep = self.swept.is_none_or(|at| at.elapsed() >= self.every);
        let (verified_version, verified) = &self.verified;
        let known = |set: &String| verified.contains(set) && observed.roles.contains_key(set);
        let looked = sweep || *verified_version != version || !wanted.sets.keys().all(known);
        if looked {
            let sets: Vec<_> = wanted.sets.values().map(Vec::as_slice).collect();
            let objects = observe::objects(&mut connection, &self.names, &sets).await?;
            observed.objects = Some(objects);
        }
        let there = observed.roles.len();
        let mut wanted = wanted.clone();
        if let Some(ddl) = &wanted.ddl
            && !self.leads_to(&ddl.owner, observe::ddl_owner(&mut connection, &ddl.owner).await?)
        {
            wanted.ddl = None;
        }
        let plan = self.plan(wanted, observed, sweep).await?;
        let failures = self.act(&mut connection, &service, &plan.actions).await?;
        client::query(&mut connection, "COMMIT").await?;
        if sweep {
            self.swept = Some(Instant::now());
            self.every = self.settings.interval.max(start.elapsed() * SHARE);
        }
        let dropped = plan.actions.iter().filter(|it| matches!(it, Action::Drop { .. })).count();
        let left = there.saturating_sub(dropped);
        Ok((connection, Done { plan, failures, looked, left }))
    }

    /// Whether principals can be led to that `ddl-owner`; the log is told why not.
    fn leads_to(&mut self, owner: &str, found: DdlOwner) -> bool {
        let why = match found {
            DdlOwner::Plain => return true,
            DdlOwner::Missing => "the server has no such role",
            DdlOwner::Superuser => "it is a superuser, whom nobody may be led to",
        };
        let database = &self.settings.entry;
        if self.said.insert(format!("ddl-owner {why}")) {
            tracing::warn!(%database, owner, "the ddl-owner cannot be used: {why}");
        }
        false
    }

    /// Where there are many sets and objects that takes a while, for which nobody else waits.
    async fn plan(
        &self,
        wanted: Wanted,
        observed: Observed,
        sweep: bool,
    ) -> Result<Plan, UpstreamError> {
        let (names, opened) = (Arc::clone(&self.names), self.opened.clone());
        let work = move || {
            let scope = Scope { names: &names, opened: &opened, sweep };
            plan::plan(&wanted, &observed, scope)
        };
        spawn_blocking(work).await.map_err(|_| UpstreamError::Stopped)
    }

    /// All at once, and when that fails one by one, so that what cannot be done stops nothing else.
    async fn act(
        &self,
        connection: &mut Connection,
        service: &Service,
        actions: &[Action],
    ) -> Result<Vec<(Action, UpstreamError)>, UpstreamError> {
        let mut failures = Vec::new();
        if actions.is_empty() {
            return Ok(failures);
        }
        let statements = self.statements(service, actions).await?;
        client::query(connection, "SAVEPOINT daypass").await?;
        if try_one(connection, &statements.join("; ")).await?.is_none() {
            return Ok(failures);
        }
        for (action, sql) in actions.iter().zip(&statements) {
            let Some(error) = try_one(connection, sql).await? else { continue };
            let (Action::Grant(rights) | Action::Revoke(rights)) = action else {
                failures.push((action.clone(), error));
                continue;
            };
            let apart = rights.apart();
            if apart.is_empty() {
                failures.push((action.clone(), error));
            }
            for rights in apart {
                let alone = match action {
                    Action::Grant(_) => Action::Grant(rights),
                    _ => Action::Revoke(rights),
                };
                let sql = alone.sql(service, |_| String::new());
                if let Some(error) = try_one(connection, &sql).await? {
                    failures.push((alone, error));
                }
            }
        }
        Ok(failures)
    }

    /// The statements, the hashing of passwords done where nobody waits for it.
    async fn statements(
        &self,
        service: &Service,
        actions: &[Action],
    ) -> Result<Vec<String>, UpstreamError> {
        let (names, service) = (Arc::clone(&self.names), service.clone());
        let actions = actions.to_vec();
        let work = move || {
            let verifier = |role: &str| names.verifier(&service.cluster, role);
            actions.iter().map(|action| action.sql(&service, verifier)).collect()
        };
        spawn_blocking(work).await.map_err(|_| UpstreamError::Stopped)
    }

    fn note(&mut self, wanted: &Wanted, done: Done) -> Progress {
        let mut failed: HashMap<String, Arc<str>> = HashMap::new();
        for (action, error) in &done.failures {
            let what = format!("{action:?}");
            if self.said.insert(what) {
                let (database, service) = (&self.settings.entry, &self.service);
                let statement = action.sql(service, |_| "…".into());
                tracing::warn!(%error, %database, statement, "a step of the second lock failed");
            }
            if let Some(role) = action.needed_by() {
                failed.insert(role.to_owned(), error.to_string().into());
            }
        }
        if done.looked && done.plan.lacking != *self.lacking {
            self.lacking = Arc::new(done.plan.lacking);
            if let Some(first) = self.lacking.first() {
                let (database, count) = (&self.settings.entry, self.lacking.len());
                let first = format!("{} ON {}", first.keyword, first.object);
                tracing::warn!(
                    %database, count, first,
                    "the service account may not give what grants allow: daypass database check says more"
                );
            }
        }
        let mut progress = Progress { served: true, ..self.settled(wanted) };
        for (name, login) in &wanted.logins {
            let why = login.sets.iter().chain([name]).find_map(|role| failed.get(role));
            match why {
                Some(why) => drop(progress.failed.insert(name.clone(), Arc::clone(why))),
                None => drop(progress.open.insert(name.clone())),
            }
        }
        progress
    }

    fn note_error(&mut self, wanted: &Wanted, error: &UpstreamError) -> Progress {
        let text = match error {
            UpstreamError::Roles(why) => why.to_string(),
            other => other.to_string(),
        };
        if self.progress.borrow().error.as_deref() != Some(&*text) {
            let database = &self.settings.entry;
            tracing::error!(%error, %database, "the second lock cannot be brought in line");
        }
        let served = self.progress.borrow().served;
        Progress { served, error: Some(text.into()), ..self.settled(wanted) }
    }

    fn settled(&self, wanted: &Wanted) -> Progress {
        let settled = wanted.logins.values().flat_map(|login| login.grants.iter().cloned());
        Progress {
            lacking: Arc::clone(&self.lacking),
            settled: settled.collect(),
            cluster: self.service.cluster.clone(),
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

/// Runs a statement after the savepoint. The error when it failed and the transaction goes on without
/// it.
async fn try_one(
    connection: &mut Connection,
    sql: &str,
) -> Result<Option<UpstreamError>, UpstreamError> {
    match client::query(connection, sql).await {
        Ok(_) => {
            client::query(connection, "RELEASE daypass; SAVEPOINT daypass").await?;
            Ok(None)
        }
        // Somebody may sit on an object for long: nobody else's grant waits for that.
        Err(error @ UpstreamError::Failed { .. }) if !is_passing(&error) || is_locked(&error) => {
            client::query(connection, "ROLLBACK TO daypass").await?;
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

/// Whether somebody else was at the same roles or objects, so that another attempt may go well.
fn is_passing(error: &UpstreamError) -> bool {
    let UpstreamError::Failed { sqlstate, message } = error else { return false };
    match &**sqlstate {
        // Serialization, deadlock, lock not available, unique violation, exists, is gone.
        "40001" | "40P01" | "55P03" | "23505" | "42710" => true,
        "XX000" => message.contains("concurrently"),
        _ => false,
    }
}

/// Whether somebody else held something for too long.
fn is_locked(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Failed { sqlstate, .. } if &**sqlstate == "55P03")
}

/// Whether a role cannot be dropped because it holds or owns something.
fn is_in_use(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Failed { sqlstate, .. } if &**sqlstate == "2BP01")
}

fn is_broken(error: &UpstreamError) -> bool {
    !matches!(
        error,
        UpstreamError::Failed { .. } | UpstreamError::Roles(_) | UpstreamError::StoreSilent
    )
}
