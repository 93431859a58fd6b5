//! The proxy as a process: listeners, threads, reload, drain. Everything is put together here.

mod accept;
mod databases;
mod house;
mod listen;
mod notify;
mod observe;
mod plan;
mod reload;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::audit::recorder::Recorder;
use crate::config::{Config, ConfigErrors};
use crate::control::api;
use crate::control::service::{Service, Settings};
use crate::session::news::Phase;
use crate::session::registry::Registry;
use crate::telemetry::{self, LogLevel};
use crate::time::Timestamp;
use crate::tls::TlsWarning;

use house::Current;
use listen::Listening;
use observe::Metrics;
use plan::{Plan, RunKey};
use reload::{Fixed, Reloader};
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

/// Checks a configuration without opening anything. Says what works and should not stay so.
///
/// # Errors
/// All that is wrong, each with its line and column.
pub fn check(file: &Path) -> Result<Vec<TlsWarning>, ConfigErrors> {
    let config = Config::load(file)?;
    Plan::new(&config, &RunKey::new()).map(|plan| plan.warnings)
}

/// Runs the proxy until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// When it does not start.
pub fn serve(file: &Path) -> Result<(), ServeError> {
    let mut config = Config::load(file)?;
    config.make_role_keys()?;
    let run_key = Arc::new(RunKey::new());
    let plan = Plan::new(&config, &run_key)?;
    config.prepare()?;
    let log = telemetry::start(&config.log).map_err(|error| ServeError::start("the log", error))?;
    plan::warn(&plan.warnings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| ServeError::start("the runtime", error))?;
    let result = runtime.block_on(run(config, plan, run_key, log));
    // A task that is stuck must not keep the process: the sessions have ended, the audit stream is closed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn run(
    config: Config,
    mut plan: Plan,
    run_key: Arc<RunKey>,
    log: LogLevel,
) -> Result<(), ServeError> {
    let signals = Signals::new()?;
    let store = match plan.store.take() {
        Some(place) => place.open().map_err(|error| ServeError::start("the store", error))?,
        None => return Err(ServeError::start("the store", "the configuration names none")),
    };
    let recorder = Recorder::open(&config.audit.recorder)
        .map_err(|error| ServeError::start("the audit stream", error))?;
    let registry = Arc::new(Registry::default());
    let settings = Settings {
        store: store.clone(),
        recorder: recorder.clone(),
        registry: Arc::clone(&registry),
        clock: || Timestamp::from(SystemTime::now()),
    };
    let service = Service::new(settings, reload::rules(&config, &plan));
    let (phase_to, phase) = watch::channel(Phase::Serving);
    let metrics = Arc::new(Metrics::default());
    let fixed = Fixed {
        store,
        registry: Arc::clone(&registry),
        recorder: recorder.clone(),
        mode: config.audit.mode,
        service: Arc::clone(&service),
        metrics: Arc::clone(&metrics),
        phase: phase.clone(),
    };
    let house = fixed.house(&config, &mut plan, None);
    let current = Arc::new(ArcSwap::from_pointee(house));
    let workers = Arc::new(
        Workers::start(plan.threads)
            .map_err(|error| ServeError::start("the session threads", error))?,
    );
    let mut listening = Listening::new(Arc::clone(&current), workers, phase.clone());
    let mut errors = config.errors();
    let bound = listening.bind(&plan.listeners, &mut errors);
    listening.apply(errors.or_else(bound)?, plan.listeners);
    serve_api(&config, &current, &service, phase.clone())?;
    if let Some(address) = &config.metrics {
        observe::listen(address.value, &current, &metrics, phase.clone())
            .await
            .map_err(|error| ServeError::start(format!("listening on {}", address.value), error))?;
    }
    let expiry = tokio::spawn(Arc::clone(&service).watch_expiry());
    let (started, applied) = (config.clone(), config);
    let current_again = Arc::clone(&current);
    let reloader =
        Reloader { fixed, current: current_again, listening, log, run_key, started, applied };
    tracing::info!("ready");
    notify::tell(notify::READY);
    signals.follow(reloader).await;
    notify::tell(notify::STOPPING);
    expiry.abort();
    drain(&phase_to, &registry, current.load().drain_deadline).await;
    if let Err(error) = recorder.close(Duration::from_secs(5)).await {
        tracing::error!(%error, "the audit stream could not be closed");
    }
    Ok(())
}

fn serve_api(
    config: &Config,
    current: &Arc<Current>,
    service: &Arc<Service>,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), ServeError> {
    let path = &config.api.socket.value;
    let socket = api::ApiSocket::bind(path).map_err(|error| ServeError::start("the API", error))?;
    let (house, houses) = (Arc::clone(current), Arc::clone(current));
    let extra = api::ApiExtra {
        audit_file: config.audit.recorder.file.clone(),
        ready: Arc::new(move || house.load().readiness()),
        database: Arc::new(move |name| houses.load().database(name).cloned()),
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

/// What the process is told by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens for them. Before that, any would end the process.
    fn new() -> Result<Self, ServeError> {
        let handler =
            |kind| signal(kind).map_err(|error| ServeError::start("a signal handler", error));
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hangup: handler(SignalKind::hangup())?,
        })
    }

    /// Reloads on SIGHUP; comes back at SIGTERM or SIGINT, even while a file that is to be read hangs.
    async fn follow(self, mut reloader: Reloader) {
        let Self { mut terminate, mut interrupt, mut hangup } = self;
        let reloads = async {
            while hangup.recv().await.is_some() {
                notify::tell(notify::RELOADING);
                reloader.reload().await;
                notify::tell(notify::READY);
            }
        };
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            () = reloads => (),
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
