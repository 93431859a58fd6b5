//! Reading the configuration again while the proxy runs (SIGHUP): all of it is applied, or nothing is.
//!
//! Sessions keep the [`House`] that they began in. What a reload cannot change is named in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::audit::record::{AuditRecord, Kind};
use crate::audit::recorder::{Mode, Recorder};
use crate::config::{Config, ConfigErrors};
use crate::control::service::{Rules, Served, Service};
use crate::grant::request::ApprovalRule;
use crate::route::Freshness;
use crate::session::machine::SessionLimits;
use crate::session::news::Phase;
use crate::session::registry::{Command, Registry};
use crate::session::relay::Shared;
use crate::sql::Engine;
use crate::sql::catalog::RunsAs;
use crate::store::Store;
use crate::telemetry::LogLevel;

use super::house::{Current, House};
use super::listen::Listening;
use super::observe::Metrics;
use super::plan::{self, Plan, RunKey};

/// What sessions of a database are told that is no longer there.
const REMOVED: &str = "this database was removed from the configuration of the proxy";

/// What lasts from the start of the process to its end.
pub(super) struct Fixed {
    pub(super) store: Store,
    pub(super) registry: Arc<Registry>,
    pub(super) recorder: Recorder,
    pub(super) mode: Mode,
    pub(super) service: Arc<Service>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Fixed {
    /// The house as a configuration describes it. Databases that are as before go on.
    pub(super) fn house(&self, config: &Config, plan: &mut Plan, before: Option<&House>) -> House {
        let databases = std::mem::take(&mut plan.databases).into_iter();
        let databases = databases.map(|database| {
            let before = before.and_then(|house| house.database(&database.name));
            database.open(before, &self.store)
        });
        House {
            store: self.store.clone(),
            registry: Arc::clone(&self.registry),
            databases: databases.collect(),
            shared: Arc::new(Shared {
                recorder: self.recorder.clone(),
                registry: Arc::clone(&self.registry),
                strict: self.mode == Mode::Strict,
                calls: Arc::clone(&self.service) as _,
                limits: SessionLimits { wire: config.limits.wire, parse: plan.parse_limits },
                decisions: self.metrics.decisions.clone(),
            }),
            text_settings: config.audit.text.clone(),
            parameter_settings: plan.parameter_settings.clone(),
            limits: config.limits.wire,
            login_deadline: config.limits.login_deadline,
            sessions_max: config.limits.sessions_max,
            sessions_per_principal_max: config.limits.sessions_per_principal_max,
            drain_deadline: config.server.drain_deadline,
            phase: self.phase.clone(),
        }
    }
}

/// What the configuration says about tokens, grants and requests.
pub(super) fn rules(config: &Config, plan: &Plan) -> Rules {
    let databases = plan.databases.iter();
    Rules {
        databases: databases
            .map(|known| Served {
                name: Arc::clone(&known.name),
                engine: known.engine(),
                runs_as: if known.has_second_lock() { RunsAs::OwnRole } else { RunsAs::Other },
                replicas: replicas(config, &known.name),
            })
            .collect(),
        ttl_default: config.token.ttl_default,
        ttl_max: config.token.ttl_max,
        duration_max: config.grant.duration_max,
        waiting_max: config.request.waiting_max,
        approval: ApprovalRule { approvers: plan.approvers.clone() },
        parse_limits: plan.parse_limits,
    }
}

/// How many replicas the statements of a database can be bound to: PostgreSQL's, where anything is routed at all.
fn replicas(config: &Config, name: &str) -> usize {
    let entry = config.databases.iter().find(|entry| entry.name.value == name);
    let bound = entry.filter(|entry| {
        entry.engine == Engine::Postgres && entry.reads.policy.freshness != Freshness::Off
    });
    bound.map_or(0, |entry| entry.replicas.len())
}

/// Reads the configuration again, whenever it is told to.
pub(super) struct Reloader {
    pub(super) fixed: Fixed,
    pub(super) current: Arc<Current>,
    pub(super) listening: Listening,
    pub(super) log: LogLevel,
    pub(super) run_key: Arc<RunKey>,
    /// As the process started: what a reload cannot change is as it stands here.
    pub(super) started: Config,
    /// As last applied.
    pub(super) applied: Config,
}

impl Reloader {
    /// Reads certificates, passwords and the configuration again, and goes on in a new audit file where
    /// the one before was renamed. May be dropped while it waits: then nothing has changed.
    pub(super) async fn reload(&mut self) {
        self.fixed.recorder.reopen();
        let (file, run_key) = (self.started.file.clone(), Arc::clone(&self.run_key));
        let read = tokio::task::spawn_blocking(move || {
            let mut config = Config::load(&file)?;
            config.make_role_keys()?;
            let plan = Plan::new(&config, &run_key)?;
            Ok((config, plan))
        });
        let read = read.await.unwrap_or_else(|error| {
            let mut errors = self.started.errors();
            errors.add(None, format!("the configuration could not be read: {error}"));
            Err(errors)
        });
        let result = read.and_then(|(config, plan)| self.apply(config, plan));
        self.fixed.metrics.reload_refused.store(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(changes) => self.record("applied", changes),
            Err(errors) => {
                let count = errors.iter().count();
                for error in errors.to_string().lines() {
                    tracing::error!("{error}");
                }
                tracing::error!(
                    errors = count,
                    "the configuration has mistakes: nothing has changed"
                );
                self.record("refused", format!("errors in the configuration: {count}"));
            }
        }
    }

    /// Puts a configuration in force: what can fail is done first. Says what has changed.
    fn apply(&mut self, config: Config, mut plan: Plan) -> Result<String, ConfigErrors> {
        let mut errors = config.errors();
        let bound = self.listening.bind(&plan.listeners, &mut errors);
        let bound = errors.or_else(bound)?;

        plan::warn(&plan.warnings);
        if let Err(error) = self.log.set(&config.log.level) {
            tracing::error!(%error, "the level of the log stays as it was");
        }
        self.fixed.service.set_rules(rules(&config, &plan));
        let before = self.current.load_full();
        let house = Arc::new(self.fixed.house(&config, &mut plan, Some(&before)));
        self.current.store(Arc::clone(&house));
        self.listening.apply(bound, plan.listeners);
        for database in &before.databases {
            let name = database.name();
            // An entry that speaks another protocol now is another one.
            let kept = house.database(name).filter(|it| it.engine() == database.engine());
            database.retire_before(kept);
            if kept.is_none() {
                self.clear(name, house.drain_deadline);
            }
        }
        let mut changes = self.applied.differences(&config);
        let fixed = self.started.fixed_settings_changed(&config);
        self.applied = config;
        for setting in &fixed {
            tracing::warn!(setting, "needs a restart: what it was at the start stays in force");
        }
        changes.extend(fixed.iter().map(|setting| format!("{setting} needs a restart")));
        if changes.is_empty() {
            changes.push("no setting has changed".into());
        }
        let changes = changes.join("; ");
        tracing::info!(changes, "the configuration was read again and applied");
        Ok(changes)
    }

    /// Sessions of a database that was removed end after their transaction, at the latest after a while.
    fn clear(&self, database: &str, within: Duration) {
        let registry = Arc::clone(&self.fixed.registry);
        let sessions = registry.tell_database(database, &Command::Leave { why: REMOVED });
        tracing::info!(database, sessions = sessions.len(), "removed, its sessions are drained");
        tokio::spawn(async move {
            sleep(within).await;
            for session in sessions {
                registry.tell(&session, Command::End { why: REMOVED });
            }
        });
    }

    fn record(&self, event: &'static str, reason: String) {
        let mut record = AuditRecord::new(Kind::Configuration, SystemTime::now().into());
        record.event = Some(event);
        record.reason = Some(reason.into());
        self.fixed.recorder.record(&record);
    }
}
