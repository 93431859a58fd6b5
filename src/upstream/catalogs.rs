//! A server's names, kept current by a task with a connection of its own.

use std::future::{Future, pending};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until};

use super::connect::{Connection, connect, within};
use super::error::UpstreamError;
use super::fingerprint::{self, Fingerprint};
use super::login::Startup;
use super::target::Target;
use super::{APPLICATION_NAME, catalog, client};
use crate::sql::catalog::Catalog;
use crate::wire::postgres::reply;

/// How often to look when nobody says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Asking whether anything changed; a connection whose network has gone silent is given up after it.
const CHECK_MAX: Duration = Duration::from_secs(15);
/// Loading.
const LOAD_MAX: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A look may take up to this share of the service connection's time; with very many tables the
/// interval is stretched.
const SHARE: u32 = 50;
/// A notification is heeded at once, the next one no sooner than this after the look that it caused, and than that
/// look's time times [`HEARD_SHARE`]: everybody on the server may notify.
const HEARD_PAUSE: Duration = Duration::from_millis(100);
const HEARD_SHARE: u32 = 4;
/// Proxies of one database tell each other when its definitions have changed. A channel belongs to one database.
/// Nothing is sent but the notification itself, and nothing in it is believed: whoever hears it, looks.
const LISTEN: &str = "LISTEN daypass_catalog";
const NOTIFY: &str = "NOTIFY daypass_catalog";
/// Oldest server whose catalogs and functions are as the statements expect.
const VERSION_MIN: u32 = 130_000;

/// What the account may have set for its sessions must not change what our statements mean, nor end
/// them. JIT would compile for longer than they run. Where the server has no statistics of its own catalogs yet
/// (right after many tables were made) it takes them for small, and nested loops for cheap.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET quote_all_identifiers = off; \
    SET jit = off; SET enable_nestloop = off; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0";

/// Versions are given out once a process, so that no two catalogs share one, whatever server they are
/// of and however often the configuration is reloaded.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

/// How the task fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Version of the catalog, once there is one.
    pub version: Option<u64>,
    /// When the catalog was last known to be the server's.
    pub confirmed: Option<Instant>,
    /// Why it is not now; `None` when the last look went well.
    pub error: Option<String>,
}

/// The names of one server. Cheap to clone; the task ends with the last clone.
#[derive(Clone)]
pub struct Catalogs {
    shared: Arc<Shared>,
    current: watch::Receiver<Option<Arc<Catalog>>>,
    requests: mpsc::Sender<Request>,
}

struct Shared {
    status: Mutex<Status>,
    parameters: ArcSwap<Vec<(String, String)>>,
}

type Request = oneshot::Sender<Result<Arc<Catalog>, UpstreamError>>;

impl Catalogs {
    /// Starts looking at once, and then every `interval`. Needs a Tokio runtime.
    pub fn spawn(target: Target, interval: Duration) -> Self {
        Self::begin(target, interval, None, Arc::default())
    }

    /// Starts where another stands that looks at the same names by another way: with a new password, say.
    /// So nobody has to wait for the first load. Needs a Tokio runtime.
    pub fn succeed(&self, target: Target, interval: Duration) -> Self {
        Self::begin(target, interval, self.current(), self.parameters())
    }

    fn begin(
        target: Target,
        interval: Duration,
        known: Option<Arc<Catalog>>,
        parameters: Arc<Vec<(String, String)>>,
    ) -> Self {
        let shared =
            Arc::new(Shared { status: Mutex::default(), parameters: ArcSwap::new(parameters) });
        let (publish, current) = watch::channel(known);
        let (requests, inbox) = mpsc::channel(64);
        let keeper = Keeper { target, interval, shared: Arc::clone(&shared), publish, known: None };
        tokio::spawn(keeper.run(inbox));
        Self { shared, current, requests }
    }

    /// The catalog as last seen; `None` before the first load.
    pub fn current(&self) -> Option<Arc<Catalog>> {
        self.current.borrow().clone()
    }

    /// Follows the catalog. A value is sent only when its content differs from the one before.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.current.clone()
    }

    /// The catalog as it stands on the server at some moment after this call. Those who ask at the
    /// same time are answered together.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn refresh(&self) -> Result<Arc<Catalog>, UpstreamError> {
        let (request, answer) = oneshot::channel();
        self.requests.send(request).await.map_err(|_| UpstreamError::Stopped)?;
        answer.await.unwrap_or(Err(UpstreamError::Stopped))
    }

    /// How the task fares.
    pub fn status(&self) -> Status {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// ParameterStatus as the service account's login was last told; empty before the first one.
    /// `application_name` is that of Daypass and left out.
    pub fn parameters(&self) -> Arc<Vec<(String, String)>> {
        self.shared.parameters.load_full()
    }
}

/// The task.
struct Keeper {
    target: Target,
    interval: Duration,
    shared: Arc<Shared>,
    publish: watch::Sender<Option<Arc<Catalog>>>,
    known: Option<Known>,
}

/// Why the task looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A session has asked, or it is time.
    Own,
    /// Another proxy has said that something has changed, or somebody says so in its place.
    Heard,
}

/// What belongs to one connection: a fingerprint means nothing to another server, and a connection
/// made anew may lead to one.
struct Known {
    connection: Connection,
    fingerprint: Fingerprint,
    catalog: Arc<Catalog>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut backoff = BACKOFF_MIN;
        let mut waiting: Vec<Request> = Vec::new();
        let mut cause = Cause::Own;
        loop {
            let start = Instant::now();
            // Who comes while this runs waits for the next: theirs must start after they asked.
            let result = self.look_or_look_again(cause).await;
            self.report(&result);
            let pause = if result.is_ok() {
                backoff = BACKOFF_MIN;
                self.interval.max(start.elapsed() * SHARE)
            } else {
                let pause = backoff;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                pause
            };
            for request in waiting.drain(..) {
                // Whoever has gone away needs no answer.
                let _ = request.send(result.clone());
            }
            let heed_from = Instant::now() + HEARD_PAUSE.max(start.elapsed() * HEARD_SHARE);
            cause = Cause::Own;
            tokio::select! {
                () = sleep(pause) => {}
                () = hear(self.known.as_mut(), heed_from) => cause = Cause::Heard,
                request = inbox.recv() => match request {
                    Some(request) => waiting.push(request),
                    None => break,
                },
            }
            while let Ok(request) = inbox.try_recv() {
                cause = Cause::Own;
                waiting.push(request);
            }
        }
        if let Some(Known { mut connection, .. }) = self.known {
            let mut goodbye = Vec::new();
            reply::terminate(&mut goodbye);
            // The server finds out from the closed socket otherwise.
            let _ = connection.stream.write_all(&goodbye).await;
        }
    }

    /// A connection that has died since the last look is no failure yet.
    async fn look_or_look_again(&mut self, cause: Cause) -> Result<Arc<Catalog>, UpstreamError> {
        let had_connection = self.known.is_some();
        match self.look(cause).await {
            Err(_) if had_connection => self.look(cause).await,
            result => result,
        }
    }

    async fn look(&mut self, cause: Cause) -> Result<Arc<Catalog>, UpstreamError> {
        // Taken out, so that a connection that failed or was given up half-way is dropped.
        let known = match self.known.take() {
            None => self.load(self.connect().await?, None, cause).await?,
            Some(mut known) => {
                // Whatever was said before this look begins is seen by it.
                known.connection.notified = false;
                let check = fingerprint::changed(&mut known.connection, &mut known.fingerprint);
                if within(CHECK_MAX, "asking for changes of the catalog", check).await? {
                    self.load(known.connection, Some(known.catalog), cause).await?
                } else {
                    known
                }
            }
        };
        let catalog = Arc::clone(&known.catalog);
        self.known = Some(known);
        Ok(catalog)
    }

    async fn connect(&self) -> Result<Connection, UpstreamError> {
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut connection = connect(&self.target, &startup).await?;
        if connection.server_version < VERSION_MIN {
            return Err(UpstreamError::TooOld(connection.server_version));
        }
        let mut parameters = connection.parameters.clone();
        parameters.retain(|(name, _)| name != "application_name");
        self.shared.parameters.store(Arc::new(parameters));
        let settings = client::query(&mut connection, SESSION);
        within(CHECK_MAX, "setting up the service connection", settings).await?;
        // A server that cannot (a replica) leaves it at the interval.
        accepted(client::query(&mut connection, LISTEN), "listening for other proxies").await?;
        Ok(connection)
    }

    /// `since` was read over this connection.
    async fn load(
        &self,
        mut connection: Connection,
        since: Option<Arc<Catalog>>,
        cause: Cause,
    ) -> Result<Known, UpstreamError> {
        // The others are told first, so that they look while this one loads. What was heard is not passed on:
        // whoever listens has heard it, too.
        if cause == Cause::Own && self.publish.borrow().is_some() {
            accepted(client::query(&mut connection, NOTIFY), "telling other proxies").await?;
        }
        let load = catalog::load(&mut connection, since.as_deref());
        let (mut fresh, fingerprint) = within(LOAD_MAX, "loading the catalog", load).await?;
        let before = self.publish.borrow().clone();
        let catalog = match before {
            Some(before) if before.same_content(&fresh) => before,
            _ => {
                fresh.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
                let fresh = Arc::new(fresh);
                self.publish.send_replace(Some(Arc::clone(&fresh)));
                fresh
            }
        };
        Ok(Known { connection, fingerprint, catalog })
    }

    fn report(&self, result: &Result<Arc<Catalog>, UpstreamError>) {
        let mut status = self.shared.status.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(catalog) => {
                *status = Status {
                    version: Some(catalog.version),
                    confirmed: Some(Instant::now()),
                    error: None,
                };
            }
            Err(error) => status.error = Some(error.to_string()),
        }
    }
}

/// Returns once another session has notified this connection, and not before `from`. A connection that breaks
/// meanwhile is worth a look, too.
async fn hear(known: Option<&mut Known>, from: Instant) {
    match known {
        None => pending().await,
        Some(known) => {
            let _ = client::notified(&mut known.connection).await;
            sleep_until(from.into()).await;
        }
    }
}

/// A statement that may be refused.
async fn accepted(
    statement: impl Future<Output = Result<Vec<Vec<Option<String>>>, UpstreamError>>,
    what: &'static str,
) -> Result<(), UpstreamError> {
    match within(CHECK_MAX, what, statement).await {
        Ok(_) => Ok(()),
        Err(UpstreamError::Failed { sqlstate, message }) => {
            tracing::debug!(%sqlstate, %message, what, "the server refuses");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
