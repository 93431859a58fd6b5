//! The thread that owns the sinks.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::{AuditDown, Health, Queue, Shared};
use crate::audit::chain::{Bodies, Chain};
use crate::audit::encode::Encoder;
use crate::audit::record::{AuditRecord, Kind};
use crate::audit::redact;
use crate::audit::sink::{Place, Resumed, Sink};
use crate::time::Timestamp;

/// How long records may wait for company.
const TURN: Duration = Duration::from_millis(20);
/// How long a failed sink is left alone, and how often a file is asked whether it was moved.
const RETRY: Duration = Duration::from_secs(1);
/// What a power failure can take in buffered mode: a dirty file is synced this often.
const SYNC: Duration = Duration::from_secs(1);
/// Turns without a record before the writer sleeps until it is called.
const IDLE_TURNS_MAX: u32 = 50;
/// Bytes that are encoded before they are written.
const CHUNK: usize = 256 << 10;
/// How often, and how many times in a row, a sink that has no room right now is asked again.
const STALL: Duration = Duration::from_millis(5);
const STALLS_MAX: u32 = 200;
/// Memory for records that is kept, bytes.
const SPARE_KEPT: usize = 1 << 20;

type Waiter = oneshot::Sender<Result<(), AuditDown>>;

struct Delivery {
    sink: Box<dyn Sink>,
    /// How much of `Writer::pending` it has.
    written: usize,
}

/// What one turn takes from the queue. It ends when all of it is written.
struct Batch {
    records: Bodies,
    /// How many of them are lines by now.
    encoded: usize,
    /// Some are missing: says so, and before which record.
    gap: Option<(usize, AuditRecord)>,
    /// What leaves the queue's account when it is done.
    count: usize,
    weight: usize,
    waiters: Vec<Waiter>,
    reopen: bool,
    closing: bool,
    /// The last record, when it is to be the last.
    closed: Option<AuditRecord>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    chain: Chain,
    deliveries: Vec<Delivery>,
    /// Lines on their way: the bytes that not every sink has taken.
    pending: Vec<u8>,
    /// Records of the recorder's own, before anything else.
    notices: Vec<AuditRecord>,
    /// Emptied memory, for the queue to fill.
    spare: Bodies,
    down: bool,
    /// Written since the last sync.
    dirty: bool,
    /// A sync failed, so nobody knows which pages the kernel dropped.
    sync_failed: bool,
    synced_sequence: u64,
    synced_at: Instant,
    looked_at: Instant,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        sinks: Vec<Box<dyn Sink>>,
        resumed: Option<Resumed>,
    ) -> Self {
        let chain = resumed.as_ref().map_or(Chain::START, |resumed| resumed.chain);
        let now = Instant::now();
        Self {
            shared,
            chain,
            deliveries: sinks.into_iter().map(|sink| Delivery { sink, written: 0 }).collect(),
            pending: Vec::new(),
            notices: opening(resumed),
            spare: Bodies::default(),
            down: false,
            dirty: false,
            sync_failed: false,
            synced_sequence: chain.sequence(),
            synced_at: now,
            looked_at: now,
        }
    }

    /// Until the recorder is closed.
    pub(super) fn run(mut self) {
        // Also when this thread panics: nobody may believe that records are still taken.
        let _ended = Ended(Arc::clone(&self.shared));
        loop {
            let mut batch = self.next_batch();
            while let Err(why) = self.deliver(&mut batch) {
                self.fail(&mut batch, why);
                batch.reopen = self.pause();
            }
            self.done(&mut batch);
            if batch.closing {
                return;
            }
        }
    }

    /// Waits for the next turn and takes what there is.
    fn next_batch(&mut self) -> Batch {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        let mut idle = 0;
        loop {
            if !queue.hurry {
                queue = wait(&shared, queue, TURN);
            }
            let called = std::mem::take(&mut queue.hurry);
            let empty = queue.records.is_empty() && queue.lost == 0;
            let sync_due = self.dirty && self.synced_at.elapsed() >= SYNC;
            if called || !empty || sync_due {
                return self.take(&mut queue);
            }
            idle += 1;
            if idle > IDLE_TURNS_MAX && !self.dirty {
                queue.asleep = true;
                while queue.asleep && !queue.hurry {
                    queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                queue.asleep = false;
                idle = 0;
            }
        }
    }

    fn take(&mut self, queue: &mut MutexGuard<'_, Queue>) -> Batch {
        let records = std::mem::replace(&mut queue.records, std::mem::take(&mut self.spare));
        // The batch before this one is done, so what waits is what is taken.
        let (count, weight) = (records.len(), queue.statistics.waiting_bytes);
        let lost = std::mem::take(&mut queue.lost);
        let gap = (lost > 0).then(|| {
            let mut gap = gap("the queue was full while a sink failed or was slow".into());
            gap.lost = Some(lost);
            (queue.lost_at.min(count), gap)
        });
        Batch {
            records,
            encoded: 0,
            gap,
            closed: queue.closing.then(|| own("closed")),
            count,
            weight,
            waiters: std::mem::take(&mut queue.waiters),
            reopen: std::mem::take(&mut queue.reopen),
            closing: queue.closing,
        }
    }

    /// Writes all of a batch, and syncs it when somebody waits for that.
    fn deliver(&mut self, batch: &mut Batch) -> Result<(), String> {
        if std::mem::take(&mut batch.reopen) {
            self.reopen();
        }
        self.look();
        loop {
            self.write_pending()?;
            if !self.encode(batch) {
                break;
            }
        }
        let awaited = !batch.waiters.is_empty() || batch.closing || self.sync_failed;
        if self.dirty && (awaited || self.synced_at.elapsed() >= SYNC) {
            self.sync()?;
            if !self.notices.is_empty() {
                return self.deliver(batch);
            }
        }
        Ok(())
    }

    /// Turns records into lines, about a chunk; false when there were none left.
    fn encode(&mut self, batch: &mut Batch) -> bool {
        for notice in std::mem::take(&mut self.notices) {
            self.append(&notice);
        }
        while self.pending.len() < CHUNK {
            if let Some((_, gap)) = batch.gap.take_if(|(before, _)| *before == batch.encoded) {
                self.append(&gap);
            }
            let Some(body) = batch.records.get(batch.encoded) else {
                if let Some(closed) = batch.closed.take() {
                    self.append(&closed);
                }
                break;
            };
            self.chain.append(body, &mut self.pending);
            batch.encoded += 1;
        }
        !self.pending.is_empty()
    }

    /// A record of the recorder's own.
    fn append(&mut self, record: &AuditRecord) {
        match Encoder::default().encode(record) {
            Ok(body) => self.chain.append(body, &mut self.pending),
            Err(error) => tracing::error!(%error, "an audit record could not be written as JSON"),
        }
    }

    fn write_pending(&mut self) -> Result<(), String> {
        for delivery in &mut self.deliveries {
            let mut stalled = 0;
            while let Some(rest) = self.pending.get(delivery.written..)
                && !rest.is_empty()
            {
                match delivery.sink.write(rest) {
                    Ok(count) if count > 0 => {
                        (delivery.written, stalled) = (delivery.written + count, 0);
                        self.dirty = true;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Standard output is whatever it was made by others, also non-blocking.
                    Err(error) if error.kind() == ErrorKind::WouldBlock && stalled < STALLS_MAX => {
                        stalled += 1;
                        std::thread::sleep(STALL);
                    }
                    Ok(_) => return Err(format!("{}: it takes no bytes", delivery.sink.name())),
                    Err(error) => return Err(format!("{}: {error}", delivery.sink.name())),
                }
            }
        }
        self.pending.clear();
        self.pending.shrink_to(2 * CHUNK);
        for delivery in &mut self.deliveries {
            delivery.written = 0;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        for delivery in &mut self.deliveries {
            if let Err(error) = delivery.sink.sync() {
                self.sync_failed = true;
                return Err(format!("{}: fdatasync: {error}", delivery.sink.name()));
            }
        }
        if std::mem::take(&mut self.sync_failed) {
            // The kernel reports a failed write-back once and may then forget the pages
            // (fsync(2), "EIO"), so a sync that works now does not speak for what was before.
            self.notices.push(gap(format!(
                "fdatasync failed: records {} to {} may be lost after a power failure",
                self.synced_sequence + 1,
                self.chain.sequence()
            )));
        }
        self.dirty = false;
        self.synced_sequence = self.chain.sequence();
        self.synced_at = Instant::now();
        Ok(())
    }

    /// Notices a file that was renamed or removed.
    fn look(&mut self) {
        if !self.down && self.looked_at.elapsed() < RETRY {
            return;
        }
        self.looked_at = Instant::now();
        let place = |delivery: &Delivery| delivery.sink.place();
        let places: Vec<Place> = self.deliveries.iter().map(place).collect();
        if places.contains(&Place::Removed) {
            tracing::error!("the audit file was removed while it was written to");
            self.notices.push(gap("the audit file was removed while it was written to".into()));
        }
        if places.iter().any(|place| *place != Place::Same) {
            self.reopen();
        }
    }

    /// Goes on in new files, which begin with a whole line that carries the chain on.
    fn reopen(&mut self) {
        for delivery in &mut self.deliveries {
            let taken_back = delivery.sink.reopen();
            delivery.written = delivery.written.saturating_sub(taken_back);
        }
        self.notices.push(own("reopened"));
    }

    /// Says that the stream is down and whose wait is over.
    fn fail(&mut self, batch: &mut Batch, why: String) {
        let why: Arc<str> = why.into();
        self.shared.accepts.store(false, Ordering::Release);
        if !self.down {
            tracing::error!(%why, "the audit stream cannot be written; statements are refused");
        }
        self.down = true;
        let mut queue = self.shared.lock();
        let since = match queue.health {
            Health::Down { since, .. } => since,
            Health::Ok => now(),
        };
        queue.health = Health::Down { since, why: Arc::clone(&why) };
        // Whoever closes goes on waiting: the sink may work again before the deadline.
        if !queue.closing {
            batch.waiters.append(&mut queue.waiters);
        }
        drop(queue);
        if !batch.closing {
            for waiter in batch.waiters.drain(..) {
                drop(waiter.send(Err(AuditDown { why: Arc::clone(&why) })));
            }
        }
    }

    /// Leaves a failed sink alone for a while, unless somebody calls. Says whether that was for
    /// the files to be opened anew.
    fn pause(&self) -> bool {
        let until = Instant::now() + RETRY;
        let mut queue = self.shared.lock();
        loop {
            let closing = queue.closing && std::mem::take(&mut queue.hurry);
            let left = until.saturating_duration_since(Instant::now());
            if queue.reopen || closing || left.is_zero() {
                return std::mem::take(&mut queue.reopen);
            }
            queue = wait(&self.shared, queue, left);
        }
    }

    /// Everything of the batch is where it should be.
    fn done(&mut self, batch: &mut Batch) {
        if std::mem::take(&mut self.down) {
            tracing::info!("the audit stream is written again");
        }
        if batch.closing {
            // Who closed may open the file again at once.
            self.deliveries.clear();
        }
        self.spare = std::mem::take(&mut batch.records);
        self.spare.clear(SPARE_KEPT);
        let mut queue = self.shared.lock();
        queue.health = Health::Ok;
        let statistics = &mut queue.statistics;
        statistics.waiting = statistics.waiting.saturating_sub(batch.count);
        statistics.waiting_bytes = statistics.waiting_bytes.saturating_sub(batch.weight);
        let room = self.shared.has_room(statistics);
        let ends = batch.closing && queue.records.is_empty();
        // Whoever hears that it is closed finds it so.
        self.shared.accepts.store(room && !ends, Ordering::Release);
        if ends {
            batch.waiters.append(&mut queue.waiters);
        }
        drop(queue);
        for waiter in batch.waiters.drain(..) {
            // Who no longer listens does not mind.
            drop(waiter.send(Ok(())));
        }
    }
}

/// Closes the door behind the writer.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.accepts.store(false, Ordering::Release);
        let mut queue = self.0.lock();
        queue.health = Health::Down { since: now(), why: "the recorder has ended".into() };
        let lost = queue.records.len() as u64 + queue.lost;
        if lost > 0 {
            queue.statistics.lost += lost - queue.lost;
            tracing::error!(lost, "audit records came after the stream was closed");
        }
        // Dropping their senders tells those who wait.
        queue.waiters.clear();
    }
}

fn wait<'a>(
    shared: &Shared,
    queue: MutexGuard<'a, Queue>,
    at_most: Duration,
) -> MutexGuard<'a, Queue> {
    shared.wake.wait_timeout(queue, at_most).unwrap_or_else(PoisonError::into_inner).0
}

/// What is said when a stream begins or goes on.
fn opening(resumed: Option<Resumed>) -> Vec<AuditRecord> {
    let mut notices = Vec::new();
    if let Some(resumed) = resumed {
        if let Some(torn) = resumed.torn {
            let mut gap = gap("the last line of the audit file was torn, and is cut off".into());
            gap.lost = Some(1);
            gap.text = Some(redact::opaque(&torn));
            notices.push(gap);
        }
        if resumed.damaged > 0 {
            let lines = resumed.damaged;
            notices.push(gap(format!("the last {lines} lines of the audit file are no records")));
        }
        if !resumed.closed {
            notices.push(gap(
                "the audit stream was not closed: records of its last moments may be missing"
                    .into(),
            ));
        }
    }
    notices.push(own("opened"));
    notices
}

/// A record about the recorder itself.
fn own(event: &'static str) -> AuditRecord {
    let mut record = AuditRecord::new(Kind::Recorder, now());
    record.event = Some(event);
    record
}

fn gap(reason: String) -> AuditRecord {
    let mut record = AuditRecord::new(Kind::Gap, now());
    record.reason = Some(reason.into());
    record
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
