//! A server's names, kept current by a task with a connection of its own.

use std::future::{Future, pending};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until};

use super::connect::within;
use super::error::UpstreamError;
use super::target::Target;
use crate::route::Position;

/// How often to look when nobody says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Asking whether anything changed; a connection whose network has gone silent is given up after it.
pub(super) const CHECK_MAX: Duration = Duration::from_secs(15);
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

/// What of a catalog the task needs to know.
pub trait Kept: Send + Sync + 'static {
    /// What it was given.
    fn version(&self) -> u64;
    /// Gives it one.
    fn set_version(&mut self, version: u64);
    /// Whether both say the same, whatever their versions.
    fn same_content(&self, other: &Self) -> bool;
}

/// Where a catalog comes from: a server, and how that is asked.
pub trait Source: PartialEq + Send + Sync + Sized + 'static {
    /// What is kept.
    type Catalog: Kept;
    /// What looks are made over, and what it knows from the last one: that means nothing to another server, and a
    /// connection made anew may lead to one.
    type Connection: Send + Sync;
    /// What a login tells beside.
    type Facts: Send + Sync + 'static;

    /// Where it is, for the log.
    fn place(&self) -> String;

    /// Whether both have the same names: they may differ in how one gets there.
    fn has_names_of(&self, other: &Self) -> bool;

    /// Has what was read of authorities' files read again at the next connection, by every clone of this.
    fn forget_authorities(&self);

    /// Connects, within the time that the target gives.
    fn open(
        &self,
    ) -> impl Future<Output = Result<(Self::Connection, Self::Facts), UpstreamError>> + Send;

    /// Whether anything may have changed since the last load over this connection; `true` where that is not
    /// known for less than a load.
    fn changed(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<bool, UpstreamError>> + Send;

    /// Loads. `known` was loaded over this connection.
    fn load(
        connection: &mut Self::Connection,
        known: Option<&Self::Catalog>,
    ) -> impl Future<Output = Result<Self::Catalog, UpstreamError>> + Send;

    /// How far the server is in the log that replicas replay; `None` when it is no primary, or keeps no count.
    fn position(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Option<Position>, UpstreamError>> + Send;

    /// Tells the other proxies that something may have changed, where the server passes that on.
    fn tell(
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), UpstreamError>> + Send {
        async { Ok(()) }
    }

    /// Returns once another proxy has told this one, or the connection has broken.
    fn told(_connection: &mut Self::Connection) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Says goodbye. The server finds out from the closed socket otherwise.
    fn leave(connection: Self::Connection) -> impl Future<Output = ()> + Send;
}

/// The names of one server. Cheap to clone; the task ends with the last clone.
pub struct Catalogs<S: Source = Target> {
    shared: Arc<Shared<S::Facts>>,
    current: watch::Receiver<Option<Arc<S::Catalog>>>,
    requests: mpsc::Sender<Request<S::Catalog>>,
}

impl<S: Source> Clone for Catalogs<S> {
    fn clone(&self) -> Self {
        let (shared, current) = (Arc::clone(&self.shared), self.current.clone());
        Self { shared, current, requests: self.requests.clone() }
    }
}

struct Shared<F> {
    status: Mutex<Status>,
    facts: ArcSwapOption<F>,
    position: ArcSwapOption<Position>,
}

type Request<C> = oneshot::Sender<Result<Arc<C>, UpstreamError>>;

impl<S: Source> Catalogs<S> {
    /// Starts looking at once, and then every `interval`. Needs a Tokio runtime.
    pub fn spawn(source: S, interval: Duration) -> Self {
        Self::begin(source, interval, None, (None, None))
    }

    /// Starts where another stands that looks at the same names by another way: with a new password, say.
    /// So nobody has to wait for the first load. Needs a Tokio runtime.
    pub fn succeed(&self, source: S, interval: Duration) -> Self {
        let known = (self.facts(), self.position());
        Self::begin(source, interval, self.current(), known)
    }

    fn begin(
        source: S,
        interval: Duration,
        known: Option<Arc<S::Catalog>>,
        (facts, position): (Option<Arc<S::Facts>>, Option<Arc<Position>>),
    ) -> Self {
        let (facts, position) = (ArcSwapOption::new(facts), ArcSwapOption::new(position));
        let shared = Arc::new(Shared { status: Mutex::default(), facts, position });
        let (publish, current) = watch::channel(known);
        let (requests, inbox) = mpsc::channel(64);
        let keeper = Keeper { source, interval, shared: Arc::clone(&shared), publish, known: None };
        tokio::spawn(keeper.run(inbox));
        Self { shared, current, requests }
    }

    /// The catalog as last seen; `None` before the first load.
    pub fn current(&self) -> Option<Arc<S::Catalog>> {
        self.current.borrow().clone()
    }

    /// Follows the catalog. A value is sent only when its content differs from the one before.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<S::Catalog>>> {
        self.current.clone()
    }

    /// The catalog as it stands on the server at some moment after this call. Those who ask at the
    /// same time are answered together.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn refresh(&self) -> Result<Arc<S::Catalog>, UpstreamError> {
        let (request, answer) = oneshot::channel();
        self.requests.send(request).await.map_err(|_| UpstreamError::Stopped)?;
        answer.await.unwrap_or(Err(UpstreamError::Stopped))
    }

    /// Where the server was once it had what the current catalog says: a replica that has replayed so far has all of
    /// it, and of every catalog that was current before. `None` when nobody knows; then no replica is known to have it.
    pub fn position(&self) -> Option<Arc<Position>> {
        self.shared.position.load_full()
    }

    /// How the task fares.
    pub fn status(&self) -> Status {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the service account's login was last told; `None` before the first one.
    pub fn facts(&self) -> Option<Arc<S::Facts>> {
        self.shared.facts.load_full()
    }
}

impl Catalogs {
    /// ParameterStatus as the service account's login was last told; empty before the first one.
    /// `application_name` is that of Daypass and left out.
    pub fn parameters(&self) -> Arc<Vec<(String, String)>> {
        self.facts().unwrap_or_default()
    }
}

/// The task.
struct Keeper<S: Source> {
    source: S,
    interval: Duration,
    shared: Arc<Shared<S::Facts>>,
    publish: watch::Sender<Option<Arc<S::Catalog>>>,
    known: Option<Known<S>>,
}

/// Why the task looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A session has asked, or it is time.
    Own,
    /// Another proxy has said that something has changed, or somebody says so in its place.
    Heard,
}

/// What was loaded, and the connection that it came over.
struct Known<S: Source> {
    connection: S::Connection,
    catalog: Arc<S::Catalog>,
}

impl<S: Source> Keeper<S> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request<S::Catalog>>) {
        let mut backoff = BACKOFF_MIN;
        let mut waiting: Vec<Request<S::Catalog>> = Vec::new();
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
        if let Some(Known { connection, .. }) = self.known {
            S::leave(connection).await;
        }
    }

    /// A connection that has died since the last look is no failure yet.
    async fn look_or_look_again(&mut self, cause: Cause) -> Result<Arc<S::Catalog>, UpstreamError> {
        let had_connection = self.known.is_some();
        match self.look(cause).await {
            Err(_) if had_connection => self.look(cause).await,
            result => result,
        }
    }

    async fn look(&mut self, cause: Cause) -> Result<Arc<S::Catalog>, UpstreamError> {
        // Taken out, so that a connection that failed or was given up half-way is dropped.
        let known = match self.known.take() {
            None => {
                let (connection, facts) = self.source.open().await?;
                self.shared.facts.store(Some(Arc::new(facts)));
                self.load(connection, None, cause).await?
            }
            Some(mut known) => {
                let check = S::changed(&mut known.connection);
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

    /// `since` was read over this connection.
    async fn load(
        &self,
        mut connection: S::Connection,
        since: Option<Arc<S::Catalog>>,
        cause: Cause,
    ) -> Result<Known<S>, UpstreamError> {
        // The others are told first, so that they look while this one loads. What was heard is not passed on:
        // whoever listens has heard it, too.
        if cause == Cause::Own && self.publish.borrow().is_some() {
            within(CHECK_MAX, "telling other proxies", S::tell(&mut connection)).await?;
        }
        let load = S::load(&mut connection, since.as_deref());
        let mut fresh = within(LOAD_MAX, "loading the catalog", load).await?;
        let before = self.publish.borrow().clone();
        let catalog = match before {
            Some(before) if before.same_content(&fresh) => before,
            _ => {
                // Known before the catalog is, so that nobody takes an older one for it.
                let position =
                    within(CHECK_MAX, "asking for its position", S::position(&mut connection));
                self.shared.position.store(self.known_or_not(position.await)?.map(Arc::new));
                fresh.set_version(VERSIONS.fetch_add(1, Ordering::Relaxed));
                let fresh = Arc::new(fresh);
                self.publish.send_replace(Some(Arc::clone(&fresh)));
                fresh
            }
        };
        Ok(Known { connection, catalog })
    }

    /// A server that will not tell how far it is has its names read all the same.
    fn known_or_not(
        &self,
        position: Result<Option<Position>, UpstreamError>,
    ) -> Result<Option<Position>, UpstreamError> {
        match position {
            Err(
                error @ (UpstreamError::Failed { .. }
                | UpstreamError::MysqlFailed { .. }
                | UpstreamError::Catalog(_)),
            ) => {
                let server = self.source.place();
                tracing::warn!(%server, %error, "the server does not tell how far it is");
                Ok(None)
            }
            result => result,
        }
    }

    fn report(&self, result: &Result<Arc<S::Catalog>, UpstreamError>) {
        let mut status = self.shared.status.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(catalog) => {
                *status = Status {
                    version: Some(catalog.version()),
                    confirmed: Some(Instant::now()),
                    error: None,
                };
            }
            Err(error) => {
                let error = error.to_string();
                // It is tried again and again, and said once.
                if status.error.as_ref() != Some(&error) {
                    let server = self.source.place();
                    tracing::warn!(%server, %error, "the catalog cannot be read");
                }
                status.error = Some(error);
            }
        }
    }
}

/// Returns once another proxy has told this one, and not before `from`. A connection that breaks meanwhile is
/// worth a look, too.
async fn hear<S: Source>(known: Option<&mut Known<S>>, from: Instant) {
    match known {
        None => pending().await,
        Some(known) => {
            S::told(&mut known.connection).await;
            sleep_until(from.into()).await;
        }
    }
}
