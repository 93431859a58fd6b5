//! What can be done to tokens, grants, requests and sessions, and by whom. Every step of their lives is an
//! audit record.

mod databases;
mod explain;
mod grants;
mod requests;
mod sessions;
mod statements;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::audit::record::{AuditRecord, Kind, Who};
use crate::audit::recorder::Recorder;
use crate::control::error::ControlError;
use crate::grant::privilege::{Item, Privilege, parse_list};
use crate::grant::request::ApprovalRule;
use crate::grant::{Actor, Grant, GrantError, Route};
use crate::identity::PrincipalName;
use crate::session::registry::Registry;
use crate::sql::Engine;
use crate::sql::ParseLimits;
use crate::sql::access::Operation;
use crate::sql::catalog::RunsAs;
use crate::sql::postgres::STACK_BYTES;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::upstream::catalogs::{Catalogs, Source};

/// What a [`Service`] is made of.
pub struct Settings {
    /// Where grants, requests and tokens are kept.
    pub store: Store,
    /// The audit stream.
    pub recorder: Recorder,
    /// The sessions that are open.
    pub registry: Arc<Registry>,
    /// The time.
    pub clock: fn() -> Timestamp,
}

/// What the configuration says about tokens, grants and requests; replaced as a whole when it is read
/// again.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Entries of the configuration.
    pub databases: Vec<Served>,
    /// How long a token lives when the issuer does not say.
    pub ttl_default: Duration,
    /// How long a token may live.
    pub ttl_max: Duration,
    /// How long a grant may last.
    pub duration_max: Duration,
    /// How long a request may wait.
    pub waiting_max: Duration,
    /// Who may approve what others ask for.
    pub approval: ApprovalRule,
    /// Limits on statements that are explained.
    pub parse_limits: ParseLimits,
}

/// A database, as grants see it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Name of the entry.
    pub name: Arc<str>,
    /// What it speaks.
    pub engine: Engine,
    /// With whose rights statements run.
    pub runs_as: RunsAs,
    /// How many replicas its reads may go to: none can be bound to them where there are none.
    pub replicas: usize,
}

impl Rules {
    /// Whether a grant on a database can have that route.
    fn check_route(&self, route: Route, database: &str) -> Result<(), GrantError> {
        let known = self.databases.iter().find(|known| *known.name == *database);
        let replicas = known.map_or(0, |known| known.replicas);
        match route {
            Route::ReplicaOnly if replicas == 0 => {
                Err(GrantError::NoReplicas { database: database.into() })
            }
            Route::ReplicaOnly | Route::Any => Ok(()),
        }
    }
}

/// The operations.
pub struct Service {
    settings: Settings,
    rules: ArcSwap<Rules>,
}

impl Service {
    /// A service over these, under these rules.
    pub fn new(settings: Settings, rules: Rules) -> Arc<Self> {
        Arc::new(Self { settings, rules: ArcSwap::from_pointee(rules) })
    }

    /// What is asked from now on is judged by these.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.settings.clock)()
    }

    pub(super) fn store(&self) -> &Store {
        &self.settings.store
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.settings.registry
    }

    /// Whether somebody may approve what others ask for.
    pub(super) fn is_approver(&self, actor: &Actor) -> bool {
        self.rules.load().approval.admits(actor)
    }

    fn engine(&self, database: &str) -> Result<Engine, ControlError> {
        self.served(database).map(|served| served.engine)
    }

    fn served(&self, database: &str) -> Result<Served, ControlError> {
        let rules = self.rules.load();
        let known = rules.databases.iter().find(|known| *known.name == *database);
        known.cloned().ok_or_else(|| {
            let names: Vec<_> = rules.databases.iter().map(|known| &*known.name).collect();
            ControlError::not_found(format!("there is no database \"{}\"", database.escape_debug()))
                .hint(format!("This proxy has: {}", names.join(", ")))
        })
    }

    fn privileges(&self, texts: &[String], database: &str) -> Result<Vec<Privilege>, ControlError> {
        let served = self.served(database)?;
        let mut privileges: Vec<Privilege> = Vec::new();
        for text in texts {
            let read = parse_list(text, served.engine, database)
                .map_err(|error| ControlError::invalid(error.to_string()).hint(EXAMPLES))?;
            privileges.extend(read);
        }
        let bypass = Item::Operation(Operation::BypassRowSecurity, None);
        if served.runs_as == RunsAs::OwnRole
            && privileges.iter().any(|privilege| privilege.items.contains(&bypass))
        {
            // The server has it as an attribute of a role, which holds for every relation of the cluster.
            let sentence = format!(
                "BYPASS ROW SECURITY cannot be granted on {database}: its second lock is on, and row \
                 security holds for every principal's role"
            );
            return Err(ControlError::invalid(sentence)
                .hint("A policy of the database's may admit members of a role"));
        }
        Ok(privileges)
    }

    fn texts(&self, privileges: &[Privilege], database: &str) -> Vec<String> {
        let engine = self.engine(database).unwrap_or(Engine::Postgres);
        privileges.iter().map(|privilege| privilege.display(engine).to_string()).collect()
    }

    /// Nothing that widens what somebody may do happens while nobody could record it.
    fn recordable(&self) -> Result<(), ControlError> {
        if self.settings.recorder.accepts() {
            Ok(())
        } else {
            Err(ControlError::unavailable(
                "the audit stream takes no records now, so nothing can be granted",
            ))
        }
    }

    /// Waits until what was recorded is on stable storage, so that who asked can read it; but not for
    /// a disk that hangs, since what was done is done.
    async fn flushed(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        drop(tokio::time::timeout(PATIENCE, self.settings.recorder.durable()).await);
    }

    /// Records a step in the life of something; `None` is nobody's doing.
    fn record(
        &self,
        kind: Kind,
        event: &'static str,
        actor: Option<&Actor>,
        more: impl FnOnce(&mut AuditRecord),
    ) {
        let mut record = AuditRecord::new(kind, self.now());
        record.event = Some(event);
        record.actor = actor.map(|actor| actor.to_string().into());
        more(&mut record);
        // Told only where it is somebody else.
        let principal = record.who.as_ref().and_then(|who| who.principal.as_deref());
        record.actor.take_if(|actor| principal == Some(&**actor));
        self.settings.recorder.record(&record);
    }

    fn describe_grant(&self, record: &mut AuditRecord, grant: &Grant) {
        record.grants = [Arc::clone(&grant.id.0)].into();
        record.concern(Who {
            principal: Some(grant.principal.as_str().into()),
            database: Some(Arc::from(&*grant.database)),
            ..Who::default()
        });
        record.privileges =
            self.texts(&grant.privileges, &grant.database).into_iter().map(Box::from).collect();
        record.route = grant.route.bound();
        record.expires = Some(grant.expires);
        record.reason = Some(grant.reason.clone());
        record.request = grant.request.as_ref().map(|request| request.0.clone());
    }

    /// Says once of each grant that runs out and of each request that nobody answered that it did, and
    /// forgets tokens that ended long ago. Never returns.
    pub async fn watch_expiry(self: Arc<Self>) {
        const LOOK: Duration = Duration::from_secs(1);
        let mut said = None;
        loop {
            let failed = self.record_expired().await.err().map(|error| error.to_string());
            if failed != said {
                if let Some(error) = &failed {
                    tracing::error!(error, "what has expired could not be recorded");
                }
                said = failed;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn record_expired(&self) -> Result<(), StoreError> {
        if !self.settings.recorder.accepts() {
            // The store tells each but once: ask when the answer can be recorded.
            return Ok(());
        }
        let purged = self.store().purge(self.now()).await?;
        for grant in purged.grants {
            self.record(Kind::Grant, "expired", None, |record| self.describe_grant(record, &grant));
        }
        for request in purged.requests {
            self.record(Kind::Request, "expired", None, |record| {
                self.describe_request(record, &request);
            });
        }
        Ok(())
    }
}

/// How privileges are written.
const EXAMPLES: &str = "For example: SELECT (id, email) ON public.customers; READ ON SCHEMA public";

/// Only operators may.
fn operators_only(actor: &Actor, what: &str) -> Result<(), ControlError> {
    match actor {
        Actor::Operator(_) => Ok(()),
        Actor::Principal(_) => {
            Err(ControlError::not_allowed(format!("only an operator may {what}"))
                .hint("An operator uses the proxy's socket without DAYPASS_TOKEN"))
        }
    }
}

fn principal_name(name: &str) -> Result<PrincipalName, ControlError> {
    PrincipalName::new(name).map_err(|error| ControlError::invalid(error.to_string()))
}

/// The names of a database, as a service that reads statements needs them.
async fn catalog<S: Source>(known: &Catalogs<S>) -> Result<Arc<S::Catalog>, ControlError> {
    match known.current() {
        Some(catalog) => Ok(catalog),
        // Shortly after the start it is being read for the first time.
        None => known
            .refresh()
            .await
            .map_err(|_| ControlError::unavailable("the database's catalog cannot be read now")),
    }
}

/// Analyses on a thread of its own: the analyser wants a deeper stack than the threads of the API have.
async fn with_deep_stack<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ControlError> {
    let (answer, read) = tokio::sync::oneshot::channel();
    // Whoever asked may have gone away.
    let work = move || drop(answer.send(work()));
    let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES);
    let failed = || ControlError::unavailable("statements could not be read now");
    thread.spawn(work).map_err(|_| failed())?;
    read.await.map_err(|_| failed())
}

/// The store's refusals, by blame.
fn from_store(error: StoreError) -> ControlError {
    let message = error.to_string();
    match error {
        StoreError::NoGrant(_) | StoreError::NoRequest(_) | StoreError::NoToken(_) => {
            ControlError::not_found(message)
        }
        StoreError::GrantEnded { .. }
        | StoreError::TokenRevoked { .. }
        | StoreError::Duplicate(_)
        | StoreError::TooManyTokens(_)
        | StoreError::TooManyRequests(_) => ControlError::conflict(message),
        StoreError::Grant(_) => ControlError::invalid(message),
        StoreError::Unreachable { .. } => {
            tracing::error!(error = message, "the store failed");
            ControlError::unavailable(
                "the store cannot be reached now; nothing is known to have changed",
            )
        }
        other => {
            // The words of the disk are the operator's.
            tracing::error!(error = %other, "the store failed");
            ControlError::unavailable(
                "the store failed; the operator of the proxy has the reason in its log",
            )
        }
    }
}

#[cfg(test)]
mod tests;
