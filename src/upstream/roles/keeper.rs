//! What is done to keep a database's roles as live grants have them, over a connection of its own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::acl::Right;
use super::action::Action;
use super::check;
use super::names::Names;
use super::observe::{self, DdlOwner};
use super::plan::{self, Observed, Plan, Scope, Wanted};
use super::removal;
use super::service::Service;
use crate::grant::{Grant, GrantId};
use crate::route::Position;
use crate::secret::Secret;
use crate::sql::catalog::Catalog;
use crate::time::Timestamp;
use crate::upstream::connect::{Connection, connect, within};
use crate::upstream::error::UpstreamError;
use crate::upstream::lock::{Finding, Goal, Kind, Outcome, Progress};
use crate::upstream::login::Startup;
use crate::upstream::target::Target;
use crate::upstream::{APPLICATION_NAME, client, place};
use crate::wire::postgres::reply;

/// Taking things from a role that is to go.
const REMOVAL_MAX: Duration = Duration::from_secs(60);

/// Names mean the server's own. A lock that somebody holds on a catalog must not stop us for ever.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET jit = off; \
    SET statement_timeout = '30s'; SET lock_timeout = '1s'; SET role = none; \
    SET idle_in_transaction_session_timeout = 0";

/// One proxy at a time: the number is "dayp" in ASCII.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(1684109680, 1)";

/// What a lock is for.
#[derive(Clone, Debug, PartialEq)]
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

/// Roles of PostgreSQL.
pub struct Roles {
    settings: Arc<Settings>,
    names: Arc<Names>,
    connection: Option<Connection>,
    service: Service,
    /// Login roles whose password was set by this process and that have been open since.
    opened: HashSet<String>,
    /// Sets whose rights were in line with the catalog of that version.
    verified: (Option<u64>, HashSet<String>),
    /// What the log has already been told.
    said: HashSet<String>,
    lacking: BTreeSet<Right>,
    lacking_findings: Arc<[Finding]>,
}

/// What an attempt has brought about.
pub struct Done {
    connection: Connection,
    plan: Plan,
    failures: Vec<(Action, UpstreamError)>,
    looked: bool,
    took: Duration,
    /// Roles that were there and are not dropped.
    left: usize,
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roles").field("entry", &self.settings.entry).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Done").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Kind for Roles {
    type Target = Target;
    type Settings = Settings;
    type Names = Names;
    type Startup = Startup;
    type Connection = Connection;
    type Wanted = Wanted;
    type Done = Done;

    const WORK: &'static str = "bringing roles in line";
    const NEEDS_CATALOG: bool = false;

    fn new(settings: &Arc<Settings>, names: &Arc<Names>) -> Self {
        Self {
            settings: Arc::clone(settings),
            names: Arc::clone(names),
            connection: None,
            service: Service::default(),
            opened: HashSet::new(),
            verified: (None, HashSet::new()),
            said: HashSet::new(),
            lacking: BTreeSet::new(),
            lacking_findings: Arc::default(),
        }
    }

    fn entry(settings: &Settings) -> &Arc<str> {
        &settings.entry
    }

    fn interval(settings: &Settings) -> Duration {
        settings.interval
    }

    fn names(settings: &Settings) -> Names {
        Names::new(&settings.key, &settings.entry, &settings.target.database)
    }

    fn whose(settings: &Settings, names: &Names) -> String {
        format!("{} {}", settings.target.host, names.pattern())
    }

    fn same_roles(one: &Settings, other: &Settings) -> bool {
        one.key == other.key && one.entry == other.entry && one.target.has_names_of(&other.target)
    }

    fn role(names: &Names, principal: &str) -> String {
        names.login(principal)
    }

    fn as_role(target: &Target, names: &Names, progress: &Progress, role: String) -> Target {
        let password = names.password(&progress.cluster, &role);
        Target { user: role, password: Some(password), ..target.clone() }
    }

    async fn connect(
        _: &Settings,
        login: &Target,
        startup: &Startup,
    ) -> Result<Connection, UpstreamError> {
        connect(login, startup).await
    }

    fn is_refused(error: &UpstreamError) -> bool {
        let UpstreamError::Refused { sqlstate, .. } = error else { return false };
        matches!(&**sqlstate, "28P01" | "28000")
    }

    fn wanted<'g>(
        settings: &Settings,
        names: &Names,
        grants: impl Iterator<Item = &'g Arc<Grant>>,
        now: Timestamp,
    ) -> Wanted {
        plan::wanted(grants, names, settings.ddl_owner.as_ref(), now)
    }

    fn grants(wanted: &Wanted) -> HashSet<GrantId> {
        wanted.logins.values().flat_map(|login| login.grants.iter().cloned()).collect()
    }

    fn shown(catalog: Arc<Catalog>) -> Arc<Catalog> {
        Arc::new(catalog.for_own_roles())
    }

    fn reset(&mut self, role: &str) {
        self.opened.remove(role);
    }

    fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    async fn attempt(
        &mut self,
        goal: &mut Goal<'_, Self>,
        catalog: Option<&Arc<Catalog>>,
    ) -> Result<Done, UpstreamError> {
        let version = catalog.map(|catalog| catalog.version);
        // Taken out, so that a connection that failed or was given up half-way is dropped.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial().await?,
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
        goal.catch_up().await?;
        client::query(&mut connection, BEGIN).await?;
        goal.catch_up().await?;
        let wanted = &goal.wanted;
        let mut observed = observe::roles(&mut connection, &service, &self.names).await?;
        let start = Instant::now();
        let sweep = goal.sweep;
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
        let took = start.elapsed();
        let dropped = plan.actions.iter().filter(|it| matches!(it, Action::Drop { .. })).count();
        let left = there.saturating_sub(dropped);
        Ok(Done { connection, plan, failures, looked, took, left })
    }

    fn is_passing(error: &UpstreamError) -> bool {
        is_passing(error)
    }

    async fn finish(&mut self, wanted: &Wanted, version: Option<u64>, done: Done) -> Outcome {
        self.remember(wanted, version, &done);
        let Done { connection, plan, failures, looked, took, left } = done;
        self.connection = self.dispossess(connection, &failures).await;
        // What would help to attempt again is, soon, and not only with the next sweep.
        let lasts = |action: &Action, error| action.needed_by().is_none() && !is_locked(error);
        let again = !failures.iter().all(|(action, error)| lasts(action, error));
        if looked && plan.lacking != self.lacking {
            self.note_lacking(plan.lacking);
        }
        let changed = !plan.actions.is_empty();
        Outcome { progress: self.note(wanted, &failures), again, took, changed, left }
    }

    async fn position(&mut self) -> Result<Option<Position>, UpstreamError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial().await?,
        };
        let position = place::position(&mut connection).await?;
        self.connection = Some(connection);
        Ok(position)
    }

    async fn leave(self) {
        if let Some(mut connection) = self.connection {
            let mut goodbye = Vec::new();
            reply::terminate(&mut goodbye);
            // The server finds out from the closed socket otherwise.
            let _ = connection.stream.write_all(&goodbye).await;
        }
    }
}

impl Roles {
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
    async fn dispossess(
        &mut self,
        mut connection: Connection,
        failures: &[(Action, UpstreamError)],
    ) -> Option<Connection> {
        for (action, error) in failures {
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
            match within(REMOVAL_MAX, "removing a role", work).await {
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

    async fn dial(&self) -> Result<Connection, UpstreamError> {
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut connection = connect(&self.settings.target, &startup).await?;
        client::query(&mut connection, SESSION).await?;
        Ok(connection)
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

    fn note(&mut self, wanted: &Wanted, failures: &[(Action, UpstreamError)]) -> Progress {
        let mut failed: HashMap<String, Arc<str>> = HashMap::new();
        for (action, error) in failures {
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
        let mut progress = Progress {
            lacking: Arc::clone(&self.lacking_findings),
            served: true,
            cluster: self.service.cluster.clone(),
            ..Progress::default()
        };
        for (name, login) in &wanted.logins {
            let why = login.sets.iter().chain([name]).find_map(|role| failed.get(role));
            match why {
                Some(why) => drop(progress.failed.insert(name.clone(), Arc::clone(why))),
                None => drop(progress.open.insert(name.clone())),
            }
        }
        progress
    }

    fn note_lacking(&mut self, lacking: BTreeSet<Right>) {
        self.lacking_findings = check::lacking(&lacking, &self.settings.target).into();
        self.lacking = lacking;
        if let Some(first) = self.lacking.first() {
            let (database, count) = (&self.settings.entry, self.lacking.len());
            let first = format!("{} ON {}", first.keyword, first.object);
            tracing::warn!(
                %database, count, first,
                "the service account may not give what grants allow: daypass database check says more"
            );
        }
    }
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
