//! What is done to keep the accounts of a server as live grants have them, over a connection of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::check::lacking;
use super::names::Names;
use super::observe::{self, Service};
use super::plan::{self, Account, Action, Identity, Scope, Wanted};
use super::rights::{self, Ground, Held, Right};
use super::stamps::{Seen, Stamps};
use super::verifier::Plugin;
use crate::grant::{Grant, GrantId};
use crate::route::Position;
use crate::secret::Secret;
use crate::sql::mysql::catalog::Catalog;
use crate::time::Timestamp;
use crate::upstream::error::UpstreamError;
use crate::upstream::lock::{Finding, Goal, Kind, Outcome, Progress};
use crate::upstream::mysql::connect::{Connection, connect};
use crate::upstream::mysql::login::Startup;
use crate::upstream::mysql::target::Target;
use crate::upstream::mysql::{client, place};
use crate::wire::mysql::command;

/// One proxy at a time, whatever databases it keeps: accounts are the server's.
const ONE: &str = "SELECT GET_LOCK('daypass second lock', 20)";
const NEXT: &str = "SELECT RELEASE_LOCK('daypass second lock')";

/// Of stamps. Given out once a process, so that a reload does not begin anew.
static TURNS: AtomicU64 = AtomicU64::new(1);

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
    /// From where the server sees our sessions come: the host part of every account.
    pub host: Arc<str>,
}

/// From where accounts of the same names log in, for the keepers of this process: a reload may leave one with another
/// host part at work while sessions use its accounts.
static HOSTS: Mutex<BTreeMap<(String, Arc<str>), u32>> = Mutex::new(BTreeMap::new());

/// An entry of [`HOSTS`], while there is a keeper.
struct Registered(String, Arc<str>);

impl Registered {
    fn new(whose: String, host: &Arc<str>) -> Self {
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        *hosts.entry((whose.clone(), Arc::clone(host))).or_default() += 1;
        Self(whose, Arc::clone(host))
    }

    /// Those of others.
    fn others(&self) -> HashSet<Arc<str>> {
        let hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        let of_others = |(whose, host): &&(String, Arc<str>)| *whose == self.0 && *host != self.1;
        hosts.keys().filter(of_others).map(|(_, host)| Arc::clone(host)).collect()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (std::mem::take(&mut self.0), Arc::clone(&self.1));
        if let Some(count) = hosts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&key);
            }
        }
    }
}

/// Accounts of MySQL or MariaDB.
pub struct Accounts {
    registered: Registered,
    settings: Arc<Settings>,
    names: Arc<Names>,
    connection: Option<Connection>,
    /// Accounts whose password is to be set anew.
    reset: HashSet<String>,
    /// What the server keeps of passwords, by account, for that plugin.
    verifiers: (Plugin, Arc<HashMap<String, String>>),
    stamps: Stamps,
    /// What the log has already been told.
    said: HashSet<String>,
}

/// What an attempt has brought about.
pub struct Done {
    connection: Connection,
    service: Service,
    wanted: Rights,
    brought: Brought,
    took: Duration,
}

/// What has become of the accounts.
struct Brought {
    /// As they stand at the end.
    accounts: Observed,
    failures: Vec<(Action, UpstreamError)>,
    /// Something was tried.
    changed: bool,
}

type Rights = BTreeMap<String, BTreeSet<Right>>;
type Observed = BTreeMap<Identity, Account>;

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("entry", &self.settings.entry).finish_non_exhaustive()
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").field("failures", &self.brought.failures).finish_non_exhaustive()
    }
}

impl Kind for Accounts {
    type Target = Target;
    type Settings = Settings;
    type Names = Names;
    type Startup = Startup;
    type Connection = Connection;
    type Wanted = Wanted;
    type Done = Done;

    const WORK: &'static str = "bringing accounts in line";
    /// `ON DATABASE` means every database that there is.
    const NEEDS_CATALOG: bool = true;

    fn new(settings: &Arc<Settings>, names: &Arc<Names>) -> Self {
        Self {
            registered: Registered::new(Self::whose(settings, names), &settings.host),
            settings: Arc::clone(settings),
            names: Arc::clone(names),
            connection: None,
            reset: HashSet::new(),
            verifiers: (Plugin::default(), Arc::default()),
            stamps: Stamps::default(),
            said: HashSet::new(),
        }
    }

    fn entry(settings: &Settings) -> &Arc<str> {
        &settings.entry
    }

    fn interval(settings: &Settings) -> Duration {
        settings.interval
    }

    fn names(settings: &Settings) -> Names {
        Names::new(&settings.key, &settings.entry)
    }

    fn whose(settings: &Settings, names: &Names) -> String {
        format!("{} {}", settings.target.host, names.scope())
    }

    fn same_roles(one: &Settings, other: &Settings) -> bool {
        one.key == other.key && one.entry == other.entry && one.target.host == other.target.host
    }

    fn role(names: &Names, principal: &str) -> String {
        names.account(principal)
    }

    fn as_role(target: &Target, names: &Names, _: &Progress, role: String) -> Target {
        let password = names.password(&role);
        Target { user: role, password: Some(password), ..target.clone() }
    }

    async fn connect(
        settings: &Settings,
        login: &Target,
        startup: &Startup,
    ) -> Result<Connection, UpstreamError> {
        let mut connection = connect(login, startup).await?;
        // An account that comes before ours for whoever logs in from here would have other rights.
        let ours = format!("{}@{}", login.user, settings.host);
        let rows = client::query(&mut connection, "SELECT CURRENT_USER()").await?;
        let found = rows.into_iter().flatten().flatten().next().unwrap_or_default();
        if found == ours {
            return Ok(connection);
        }
        let why = format!(
            "the server takes {ours} for {found}, which comes before it: drop that account, or set account-host"
        );
        Err(UpstreamError::Roles(why.into()))
    }

    fn is_refused(error: &UpstreamError) -> bool {
        match error {
            // Access denied, the account is locked (MySQL, MariaDB), its password has expired, its plugin has gone.
            UpstreamError::MysqlRefused { code, .. } => {
                matches!(code, 1045 | 3118 | 4151 | 1820 | 1862 | 1524)
            }
            // It got in, and may do nothing before it has another password.
            UpstreamError::MysqlFailed { code, .. } => *code == 1820,
            _ => false,
        }
    }

    fn wanted<'g>(
        _: &Settings,
        names: &Names,
        grants: impl Iterator<Item = &'g Arc<Grant>>,
        now: Timestamp,
    ) -> Wanted {
        plan::wanted(grants, names, now)
    }

    fn grants(wanted: &Wanted) -> HashSet<GrantId> {
        wanted.accounts.values().flat_map(|account| account.grants.iter().cloned()).collect()
    }

    fn shown(catalog: Arc<Catalog>) -> Arc<Catalog> {
        Arc::new(catalog.for_own_accounts())
    }

    fn reset(&mut self, role: &str) {
        self.reset.insert(role.to_owned());
    }

    fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    async fn attempt(
        &mut self,
        goal: &mut Goal<'_, Self>,
        catalog: Option<&Arc<Catalog>>,
    ) -> Result<Done, UpstreamError> {
        // Taken out, so that a connection that failed or was given up half-way is dropped, and with it the lock.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial().await?,
        };
        let service = observe::service(&mut connection).await?;
        if !service.powers.has("CREATE USER") {
            let name = service.identity.quoted();
            let why = format!(
                "the service account {name} may not make accounts: GRANT CREATE USER ON *.* TO {name}, or write \
                 second-lock = \"none\""
            );
            return Err(UpstreamError::Roles(why.into()));
        }
        // Asked twice, so that nobody waits for the lock while this proxy waits for its store.
        goal.catch_up().await?;
        one_at_a_time(&mut connection).await?;
        goal.catch_up().await?;
        let start = Instant::now();
        let wanted = self.rights(goal, &service, catalog);
        let accounts = self.observe(&mut connection, &service, goal.sweep, &wanted).await?;
        let took = start.elapsed();
        let brought = self.bring(&mut connection, &service, accounts, &wanted, goal.sweep).await?;
        client::query(&mut connection, NEXT).await?;
        Ok(Done { connection, service, wanted, brought, took })
    }

    fn is_passing(error: &UpstreamError) -> bool {
        // A lock waited for too long, a deadlock, an account that has just come or gone.
        matches!(error, UpstreamError::MysqlFailed { code: 1205 | 1213 | 1396 | 1133, .. })
    }

    async fn finish(&mut self, wanted: &Wanted, _: Option<u64>, done: Done) -> Outcome {
        let Done { connection, service, wanted: rights, brought, took } = done;
        let Brought { accounts, failures, changed } = brought;
        // Rights on everything that it is given meanwhile count for a new login only.
        let denied = failures.iter().any(|(_, error)| is_denied(error));
        self.connection = (!denied).then_some(connection);
        let mut progress = Progress { served: true, ..Progress::default() };
        for (user, rights) in &rights {
            let identity = self.identity(user);
            let why = match accounts.get(&identity) {
                None => Some("it could not be made"),
                Some(account) if exceeds(&account.held, rights) || account.strange => {
                    Some("it holds more than its live grants allow, which could not be taken")
                }
                Some(account) if account.locked || !account.fits => Some("it could not be opened"),
                Some(_) => None,
            };
            let failed = failures.iter().find(|(action, error)| {
                *action.account() == identity && !(is_grant(action) && is_denied(error))
            });
            match why {
                None => drop(progress.open.insert(user.clone())),
                Some(why) => {
                    let why = match failed {
                        Some((_, error)) => format!("{user}: {why}: {error}"),
                        None => format!("{user}: {why}"),
                    };
                    progress.failed.insert(user.clone(), why.into());
                }
            }
        }
        self.reset.clear();
        progress.lacking = self.note_failures(&failures, &service);
        let seen = accounts.iter().filter(|(it, _)| *it.host == *self.settings.host);
        let seen = seen.map(|(identity, account)| {
            let grants = wanted.wide.get(&identity.user).cloned().unwrap_or_default();
            (identity.user.clone(), Seen::new(&account.held.rights, &grants))
        });
        self.stamps.note(seen.collect(), TURNS.fetch_add(1, Ordering::Relaxed));
        progress.stamps = self.stamps.by_account().clone();
        let again = !progress.failed.is_empty();
        Outcome { progress, again, took, changed, left: accounts.len() }
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
            command::quit(&mut goodbye);
            // The server finds out from the closed socket otherwise.
            let _ = connection.stream.write_all(&goodbye).await;
        }
    }
}

impl Accounts {
    async fn dial(&self) -> Result<Connection, UpstreamError> {
        let mut connection = connect(&self.settings.target, &Startup::default()).await?;
        let flavour = observe::flavour(&connection);
        client::query(&mut connection, observe::session(flavour)).await?;
        Ok(connection)
    }

    fn identity(&self, user: &str) -> Identity {
        Identity { user: user.to_owned(), host: self.settings.host.to_string() }
    }

    /// What each account is to hold.
    fn rights(
        &self,
        goal: &Goal<'_, Self>,
        service: &Service,
        catalog: Option<&Arc<Catalog>>,
    ) -> Rights {
        let Some(catalog) = catalog else { return Rights::new() };
        let ground = Ground { catalog, folds: service.folds };
        let accounts = goal.wanted.accounts.iter();
        accounts
            .map(|(user, account)| (user.clone(), rights::wanted(&account.privileges, ground)))
            .collect()
    }

    async fn observe(
        &mut self,
        connection: &mut Connection,
        service: &Service,
        sweep: bool,
        wanted: &Rights,
    ) -> Result<Observed, UpstreamError> {
        let found = observe::accounts(connection, service, &self.names)
            .await
            .map_err(|error| if is_denied(&error) { observe::unseen(service) } else { error })?;
        let users = found.keys().map(|it| &it.user).chain(wanted.keys());
        let verifiers = self.verifiers(service.plugin, users.cloned().collect()).await?;
        let others = self.registered.others();
        let mut accounts = Observed::new();
        for (identity, (mut account, proof)) in found {
            if others.contains(&*identity.host) {
                continue;
            }
            let due = verifiers.get(&identity.user);
            account.fits &= proof.plugin == service.plugin.name() && due == Some(&proof.verifier);
            accounts.insert(identity, account);
        }
        let may_go = |(identity, account): (&Identity, &Account)| {
            account.locked && !account.busy && !wanted.contains_key(&identity.user)
        };
        // Seldom: MariaDB opens every table to tell its triggers.
        if sweep && accounts.iter().any(may_go) {
            for identity in observe::definers(connection).await? {
                if let Some(account) = accounts.get_mut(&identity) {
                    account.defines = true;
                }
            }
        }
        Ok(accounts)
    }

    /// What the server is to keep of the passwords of these accounts; each hashed once, where nobody waits for it.
    async fn verifiers(
        &mut self,
        plugin: Plugin,
        users: BTreeSet<String>,
    ) -> Result<Arc<HashMap<String, String>>, UpstreamError> {
        if self.verifiers.0 != plugin {
            self.verifiers = (plugin, Arc::default());
        }
        let known = Arc::clone(&self.verifiers.1);
        if users.len() == known.len() && users.iter().all(|user| known.contains_key(user)) {
            return Ok(known);
        }
        let names = Arc::clone(&self.names);
        let work = move || {
            let verifier = |user: &String| match known.get(user) {
                Some(verifier) => verifier.clone(),
                None => names.verifier(plugin, user),
            };
            users.into_iter().map(|user| (user.clone(), verifier(&user))).collect()
        };
        let all: HashMap<_, _> = spawn_blocking(work).await.map_err(|_| UpstreamError::Stopped)?;
        self.verifiers.1 = Arc::new(all);
        Ok(Arc::clone(&self.verifiers.1))
    }

    /// Brings the accounts in line. Those whose rights cannot be taken one by one lose all of them first; what holds
    /// more than it is to hold even then is closed. How they stand at the end, and what could not be done.
    async fn bring(
        &mut self,
        connection: &mut Connection,
        service: &Service,
        mut accounts: Observed,
        wanted: &Rights,
        sweep: bool,
    ) -> Result<Brought, UpstreamError> {
        let (mut failures, mut changed) = (Vec::new(), false);
        let mut strip = HashSet::new();
        for _ in 0..2 {
            let (host, reset) = (&*self.settings.host, &self.reset);
            let scope = Scope { host, sweep, reset, strip: &strip };
            let actions = plan::plan(wanted, &accounts, scope);
            if actions.is_empty() {
                break;
            }
            changed = true;
            failures = self.act(connection, service, &actions).await?;
            accounts = self.observe(connection, service, sweep, wanted).await?;
            strip = failures
                .iter()
                .filter(|(action, _)| matches!(action, Action::Revoke(..)))
                .map(|(action, _)| action.account().user.clone())
                .collect();
            if strip.is_empty() {
                break;
            }
        }
        let none = BTreeSet::new();
        let too_strong = accounts.iter().filter(|(identity, account)| {
            let due = wanted.get(&identity.user).unwrap_or(&none);
            !account.locked && (account.strange || exceeds(&account.held, due))
        });
        let closing: Vec<_> = too_strong.map(|(it, _)| Action::Lock(it.clone())).collect();
        if !closing.is_empty() {
            changed = true;
            failures.extend(self.act(connection, service, &closing).await?);
            accounts = self.observe(connection, service, sweep, wanted).await?;
        }
        Ok(Brought { accounts, failures, changed })
    }

    /// Runs the steps one after the other. One that fails stops no other, but of an account that was not made.
    async fn act(
        &self,
        connection: &mut Connection,
        service: &Service,
        actions: &[Action],
    ) -> Result<Vec<(Action, UpstreamError)>, UpstreamError> {
        let mut failures: Vec<(Action, UpstreamError)> = Vec::new();
        for action in actions {
            let unmade = |(it, _): &(Action, UpstreamError)| {
                matches!(it, Action::Create(_)) && it.account() == action.account()
            };
            if failures.iter().any(unmade) {
                continue;
            }
            let Some(error) = self.run(connection, service, action).await? else { continue };
            let apart = action.apart();
            if apart.is_empty() {
                failures.push((action.clone(), error));
            }
            for alone in apart {
                if let Some(error) = self.run(connection, service, &alone).await? {
                    failures.push((alone, error));
                }
            }
        }
        // What is not there any more will not be in the next catalog either.
        failures.retain(|(action, error)| !(is_grant(action) && is_gone(error)));
        Ok(failures)
    }

    async fn run(
        &self,
        connection: &mut Connection,
        service: &Service,
        action: &Action,
    ) -> Result<Option<UpstreamError>, UpstreamError> {
        let verifier = |user: &str| self.verifiers.1.get(user).cloned().unwrap_or_default();
        let sql = action.sql(service.plugin, service.schema_names, verifier);
        match client::query(connection, &sql).await {
            Ok(_) => Ok(None),
            Err(error @ UpstreamError::MysqlFailed { .. }) if !Self::is_passing(&error) => {
                Ok(Some(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the log what it has not been told, and operators what grants allow and the service account may not give.
    fn note_failures(
        &mut self,
        failures: &[(Action, UpstreamError)],
        service: &Service,
    ) -> Arc<[Finding]> {
        let mut not_given = BTreeSet::new();
        for (action, error) in failures {
            if let (Action::Grant(_, rights), true) = (action, is_denied(error)) {
                not_given.extend(rights.iter().cloned());
            }
            let statement = action.sql(service.plugin, service.schema_names, |_| "…".into());
            if self.said.insert(statement.clone()) {
                let database = &self.settings.entry;
                tracing::warn!(%error, %database, statement, "a step of the second lock failed");
            }
        }
        lacking(&not_given, service).into()
    }
}

/// Whether an account holds what it is not to.
fn exceeds(held: &Held, wanted: &BTreeSet<Right>) -> bool {
    !held.foreign.is_empty() || !held.rights.is_subset(wanted)
}

const fn is_grant(action: &Action) -> bool {
    matches!(action, Action::Grant(..))
}

/// Whether the service account may not do it.
fn is_denied(error: &UpstreamError) -> bool {
    let UpstreamError::MysqlFailed { code, .. } = error else { return false };
    matches!(code, 1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1410)
}

/// Whether what it is about is not there: a database, table, column, routine.
fn is_gone(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::MysqlFailed { code: 1049 | 1054 | 1146 | 1305, .. })
}

/// Waits until no other proxy is at it.
async fn one_at_a_time(connection: &mut Connection) -> Result<(), UpstreamError> {
    let rows = client::query(connection, ONE).await?;
    let got = rows.into_iter().flatten().flatten().next();
    if got.as_deref() == Some("1") {
        return Ok(());
    }
    let why = "another session has held GET_LOCK('daypass second lock') for 20 s";
    Err(UpstreamError::Roles(why.into()))
}
