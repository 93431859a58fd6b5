//! The proxy as a process: listeners, threads, reload, drain. Everything is put together here.

mod accept;
mod observe;
mod plan;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::audit::recorder::Recorder;
use crate::config::{Config, ConfigErrors};
use crate::control::api;
use crate::control::service::{Service, Settings};
use crate::session::news::Phase;
use crate::session::postgres::SessionLimits;
use crate::session::registry::Registry;
use crate::session::relay::Shared;
use crate::sql::Engine;
use crate::store::Store;
use crate::telemetry;
use crate::time::Timestamp;

use accept::{House, Listener};
use observe::Metrics;
use plan::Plan;
use worker::Workers;

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Something that it needs cannot be had.
    #[error("{what}: {why}")]
    Start {
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
}

impl ServeError {
    fn start(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Start { what: what.into(), why: why.to_string() }
    }
}

/// Checks a configuration without opening anything.
///
/// # Errors
/// All that is wrong, each with its line and column.
pub fn check(file: &Path) -> Result<(), ConfigErrors> {
    let config = Config::load(file)?;
    Plan::new(&config).map(drop)
}

/// Runs the proxy until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// When it does not start.
pub fn serve(file: &Path) -> Result<(), ServeError> {
    let config = Config::load(file)?;
    let plan = Plan::new(&config)?;
    config.prepare()?;
    telemetry::start(&config.log).map_err(|error| ServeError::start("the log", error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| ServeError::start("the runtime", error))?;
    let result = runtime.block_on(run(&config, plan));
    // A task that is stuck must not keep the process: the sessions have ended, the audit stream is closed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn run(config: &Config, plan: Plan) -> Result<(), ServeError> {
    let store = Store::open(&config.store.file.value)
        .map_err(|error| ServeError::start("the store", error))?;
    let recorder = Recorder::open(&config.audit.recorder)
        .map_err(|error| ServeError::start("the audit stream", error))?;
    let registry = Arc::new(Registry::default());
    let databases = plan.databases.iter();
    let service = Service::new(Settings {
        store: store.clone(),
        recorder: recorder.clone(),
        registry: Arc::clone(&registry),
        databases: databases.map(|known| (Arc::clone(&known.name), Engine::Postgres)).collect(),
        ttl_default: config.token.ttl_default,
        ttl_max: config.token.ttl_max,
        duration_max: config.grant.duration_max,
        waiting_max: config.request.waiting_max,
        approvers: plan.approvers,
        clock: || Timestamp::from(SystemTime::now()),
    });
    let (phase_to, phase) = watch::channel(Phase::Serving);
    let metrics = Arc::new(Metrics::default());
    let opened = plan.databases.into_iter().map(plan::Database::open).map(Arc::new);
    let house = Arc::new(House {
        store,
        registry: Arc::clone(&registry),
        databases: opened.collect(),
        shared: Arc::new(Shared {
            recorder: recorder.clone(),
            strict: config.audit.mode == crate::audit::recorder::Mode::Strict,
            calls: Arc::clone(&service) as _,
            limits: SessionLimits { wire: config.limits.wire, parse: plan.parse_limits },
            decisions: metrics.decisions.clone(),
        }),
        text_settings: config.audit.text.clone(),
        parameter_settings: plan.parameter_settings,
        limits: config.limits.wire,
        login_deadline: config.limits.login_deadline,
        sessions_max: config.limits.sessions_max,
        sessions_per_principal_max: config.limits.sessions_per_principal_max,
        phase: phase.clone(),
    });
    let workers = Arc::new(
        Workers::start(plan.threads)
            .map_err(|error| ServeError::start("the session threads", error))?,
    );
    for listener in &plan.listeners {
        listen(listener, &house, &workers, phase.clone()).await?;
    }
    serve_api(config, &house, &service, phase.clone())?;
    if let Some(address) = &config.metrics {
        observe::listen(address.value, &house, &metrics, phase.clone())
            .await
            .map_err(|error| ServeError::start(format!("listening on {}", address.value), error))?;
    }
    let expiry = tokio::spawn(Arc::clone(&service).watch_expiry());
    tracing::info!("ready");
    wait_for_signals(&plan.listeners, &recorder).await?;
    expiry.abort();
    drain(&phase_to, &registry, config.server.drain_deadline).await;
    if let Err(error) = recorder.close(Duration::from_secs(5)).await {
        tracing::error!(%error, "the audit stream could not be closed");
    }
    Ok(())
}

async fn listen(
    plan: &plan::Listener,
    house: &Arc<House>,
    workers: &Arc<Workers>,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), ServeError> {
    let at = |error| ServeError::start(format!("listening on {}", plan.address), error);
    let socket = TcpListener::bind(plan.address).await.map_err(at)?;
    let address = socket.local_addr().map_err(at)?;
    tracing::info!(%address, tls = plan.tls.is_some(), "listening for PostgreSQL clients");
    let listener = Arc::new(Listener { tls: plan.tls.clone() });
    let (house, workers) = (Arc::clone(house), Arc::clone(workers));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = phase.changed() => return,
            };
            match accepted {
                Ok((stream, _)) => workers.serve(&house, &listener, stream),
                Err(error) => {
                    // Out of file descriptors, as a rule: sessions that end give some back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

fn serve_api(
    config: &Config,
    house: &Arc<House>,
    service: &Arc<Service>,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), ServeError> {
    let path = &config.api.socket.value;
    let socket = api::ApiSocket::bind(path).map_err(|error| ServeError::start("the API", error))?;
    let house = Arc::clone(house);
    let extra = api::ApiExtra {
        audit_file: config.audit.recorder.file.clone(),
        ready: Arc::new(move || house.readiness()),
    };
    let shutdown =
        async move { while *phase.borrow() != Phase::Ending && phase.changed().await.is_ok() {} };
    let service = Arc::clone(service);
    tokio::spawn(async move {
        if let Err(error) = api::serve(socket, service, extra, shutdown).await {
            tracing::error!(%error, "the API has ended");
        }
    });
    Ok(())
}

/// Waits for SIGTERM or SIGINT; SIGHUP reads certificates and opens the audit file again.
async fn wait_for_signals(
    listeners: &[plan::Listener],
    recorder: &Recorder,
) -> Result<(), ServeError> {
    let handler = |kind| signal(kind).map_err(|error| ServeError::start("a signal handler", error));
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut hangup = handler(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                recorder.reopen();
                for tls in listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
                    match tls.reload() {
                        Ok(warnings) => plan::warn(&warnings),
                        Err(error) => tracing::error!(%error, "the old certificate stays in use"),
                    }
                }
                tracing::info!("reloaded certificates and reopened the audit file");
            }
        }
    }
}

/// Idle clients are told to go, others may finish their transaction until the deadline.
async fn drain(phase: &watch::Sender<Phase>, registry: &Registry, within: Duration) {
    const LAST_WORDS: Duration = Duration::from_secs(2);
    tracing::info!(sessions = registry.count(), "draining");
    phase.send_replace(Phase::Draining);
    until_empty(registry, within).await;
    phase.send_replace(Phase::Ending);
    until_empty(registry, LAST_WORDS).await;
}

async fn until_empty(registry: &Registry, within: Duration) {
    let deadline = Instant::now() + within;
    while registry.count() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
}
