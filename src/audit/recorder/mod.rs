//! Takes records from every session and sees to it that they reach the sinks, in order, chained.
//!
//! A session hands its record over and goes on: it becomes JSON on the session's own thread, then a copy
//! under a lock, no system call. A thread of
//! its own drains the queue every 20 ms, or at once when somebody waits for the disk. What cannot be
//! written stays queued and is tried again every second; what no longer fits is counted, and a
//! `gap` record says how many when writing works again. [`Recorder::accepts`] is false long before
//! that, so that sessions refuse statements which nobody could record.

mod writer;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain::Bodies;
use super::encode::Encoder;
use super::record::AuditRecord;
pub use super::sink::OpenError;
use super::sink::{FileSink, Resumed, Sink, StdoutSink};
use crate::time::Timestamp;
use writer::Writer;

/// When a statement may be forwarded. The recorder does the same in both: the session asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Once its decision record is in the queue.
    #[default]
    Buffered,
    /// Once its decision record is on stable storage: [`Recorder::durable`].
    Strict,
}

/// Where the stream goes and how much of it may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A file, appended to. Without this and `stdout`, records go nowhere, as some tests want it;
    /// the configuration always has one of them.
    pub file: Option<PathBuf>,
    /// Standard output.
    pub stdout: bool,
    /// Records that may wait.
    pub queue_records_max: usize,
    /// Their size as JSON, bytes.
    pub queue_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { file: None, stdout: false, queue_records_max: 64 << 10, queue_bytes_max: 64 << 20 }
    }
}

/// Whether the stream is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is.
    Ok,
    /// It is not.
    Down {
        /// Since when.
        since: Timestamp,
        /// Which sink, and the operating system's words.
        why: Arc<str>,
    },
}

/// The stream cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit stream cannot be written: {why}")]
pub struct AuditDown {
    /// Which sink, and the operating system's words.
    pub why: Arc<str>,
}

/// What the recorder has done, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Records taken.
    pub recorded: u64,
    /// Records that waited when the queue was full, and are gone.
    pub lost: u64,
    /// Records taken and not yet written.
    pub waiting: usize,
    /// Their size as JSON, bytes.
    pub waiting_bytes: usize,
}

/// The way into the audit stream. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Recorder {
    handle: Arc<Handle>,
}

struct Handle(Arc<Shared>);

/// What callers and the writer share.
struct Shared {
    accepts: AtomicBool,
    queue: Mutex<Queue>,
    wake: Condvar,
    records_max: usize,
    bytes_max: usize,
}

struct Queue {
    records: Bodies,
    /// Records that did not fit since the last drain, and after how many of `records` that began.
    lost: u64,
    lost_at: usize,
    waiters: Vec<oneshot::Sender<Result<(), AuditDown>>>,
    statistics: Statistics,
    health: Health,
    /// Not to wait for the next turn.
    hurry: bool,
    /// The writer waits without a time limit.
    asleep: bool,
    reopen: bool,
    closing: bool,
    /// When the log was last told that it is nearly full.
    warned: Option<Instant>,
}

/// A queue that fills and empties again and again is worth a line of the log no more often than this.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

thread_local! {
    /// Writes the record at hand outside the lock, in memory that every record of a thread shares.
    static ENCODER: RefCell<Encoder> = RefCell::default();
}

impl Shared {
    /// The queue stays whole whatever thread panicked: no operation leaves it half-way.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more statements may begin. The last eighth of the queue is for the results of those
    /// that already run.
    fn has_room(&self, statistics: &Statistics) -> bool {
        statistics.waiting < self.records_max / 8 * 7
            && statistics.waiting_bytes < self.bytes_max / 8 * 7
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.hurry = true;
        drop(queue);
        self.wake.notify_one();
    }
}

impl Recorder {
    /// Opens the sinks, goes on with the chain of an existing file, and starts the writer.
    ///
    /// A file that was not closed, or whose last line is torn, gets a `gap` record that says so.
    ///
    /// # Errors
    /// When a sink cannot be opened, holds something else, or is in use.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let mut resumed = None;
        if let Some(path) = &settings.file {
            let (file, found) = FileSink::open(path)?;
            sinks.push(Box::new(file));
            resumed = Some(found);
        }
        if settings.stdout {
            let error = |error| OpenError::Io { path: "/dev/stdout".into(), error };
            sinks.push(Box::new(StdoutSink::open().map_err(error)?));
        }
        Self::start(sinks, resumed, settings)
    }

    fn start(
        sinks: Vec<Box<dyn Sink>>,
        resumed: Option<Resumed>,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            accepts: AtomicBool::new(true),
            queue: Mutex::new(Queue {
                records: Bodies::default(),
                lost: 0,
                lost_at: 0,
                waiters: Vec::new(),
                statistics: Statistics::default(),
                health: Health::Ok,
                hurry: true,
                asleep: false,
                reopen: false,
                closing: false,
                warned: None,
            }),
            wake: Condvar::new(),
            records_max: settings.queue_records_max.max(8),
            bytes_max: settings.queue_bytes_max.max(8),
        });
        let writer = Writer::new(Arc::clone(&shared), sinks, resumed);
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Self { handle: Arc::new(Handle(shared)) })
    }

    /// Hands a record over. Never waits for a sink. False when it did not fit: it is counted for a
    /// `gap`, and a statement whose decision it is must not run.
    pub fn record(&self, record: &AuditRecord) -> bool {
        ENCODER.with_borrow_mut(|encoder| match encoder.encode(record) {
            Ok(body) => self.queue(body),
            Err(error) => {
                // Taken for a record that did not fit: there will be a gap, and no statement without.
                tracing::error!(%error, "an audit record could not be written as JSON");
                self.queue(&[])
            }
        })
    }

    fn queue(&self, body: &[u8]) -> bool {
        let shared = &self.handle.0;
        let weight = body.len();
        let mut queue = shared.lock();
        let statistics = &mut queue.statistics;
        if body.is_empty()
            || statistics.waiting >= shared.records_max
            || statistics.waiting_bytes.saturating_add(weight) > shared.bytes_max
        {
            statistics.lost += 1;
            if queue.lost == 0 {
                queue.lost_at = queue.records.len();
            }
            queue.lost += 1;
            shared.accepts.store(false, Ordering::Release);
            return false;
        }
        statistics.recorded += 1;
        statistics.waiting += 1;
        statistics.waiting_bytes += weight;
        let crowded = statistics.waiting > shared.records_max / 2
            || statistics.waiting_bytes > shared.bytes_max / 2;
        let room = shared.has_room(statistics);
        queue.records.push(body);
        let mut warning = None;
        if !room && shared.accepts.swap(false, Ordering::AcqRel) {
            let now = Instant::now();
            if queue.warned.is_none_or(|last| now.duration_since(last) >= WARNING_PAUSE) {
                queue.warned = Some(now);
                warning = Some(queue.statistics.waiting);
            }
        }
        if queue.asleep {
            // It takes its usual turn, so that what follows shortly goes into the same write.
            queue.asleep = false;
            drop(queue);
            shared.wake.notify_one();
        } else if crowded && !queue.hurry {
            shared.wake(queue);
        } else {
            drop(queue);
        }
        // Whoever writes the log may be slow, and every session waits for the lock.
        if let Some(records) = warning {
            tracing::warn!(
                records,
                "the audit stream is written too slowly: statements are refused while its queue is nearly full"
            );
        }
        true
    }

    /// Whether new statements can be recorded: false while a sink fails or the queue is nearly
    /// full. One atomic load.
    pub fn accepts(&self) -> bool {
        self.handle.0.accepts.load(Ordering::Acquire)
    }

    /// Comes back once everything recorded before the call is on stable storage. Calls that overlap
    /// share one fdatasync.
    ///
    /// # Errors
    /// When a sink fails; the records stay queued and are written when it works again.
    pub async fn durable(&self) -> Result<(), AuditDown> {
        let gone = || AuditDown { why: "the recorder has ended".into() };
        let receiver = {
            let mut queue = self.handle.0.lock();
            if let Health::Down { why, .. } = &queue.health {
                return Err(AuditDown { why: Arc::clone(why) });
            }
            let (sender, receiver) = oneshot::channel();
            queue.waiters.push(sender);
            self.handle.0.wake(queue);
            receiver
        };
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Whether the stream is being written.
    pub fn health(&self) -> Health {
        self.handle.0.lock().health.clone()
    }

    /// What it has done so far.
    pub fn statistics(&self) -> Statistics {
        self.handle.0.lock().statistics
    }

    /// Goes on in a file of the same name: the one before was renamed (SIGHUP). The writer notices
    /// that by itself, too, within a second of its next record.
    pub fn reopen(&self) {
        let mut queue = self.handle.0.lock();
        queue.reopen = true;
        self.handle.0.wake(queue);
    }

    /// Writes and syncs what is queued, ends the stream with a record that says so, and stops the
    /// writer. Records handed over later are lost.
    ///
    /// # Errors
    /// When that did not succeed within the time.
    pub async fn close(&self, within: Duration) -> Result<(), AuditDown> {
        let receiver = {
            let mut queue = self.handle.0.lock();
            let (sender, receiver) = oneshot::channel();
            queue.waiters.push(sender);
            queue.closing = true;
            self.handle.0.wake(queue);
            receiver
        };
        match tokio::time::timeout(within, receiver).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(AuditDown { why: "the recorder has ended".into() }),
            Err(_) => match self.health() {
                Health::Down { why, .. } => Err(AuditDown { why }),
                Health::Ok => Err(AuditDown { why: "it took too long".into() }),
            },
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closing = true;
        self.0.wake(queue);
    }
}

#[cfg(test)]
mod tests;
