//! The thread that owns the connection, and the snapshot that it publishes after each commit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::StoreError;
use super::{Snapshot, rows};
use crate::grant::Grant;
use crate::grant::snapshot::{ENDED_KEPT, GrantSnapshot};
use crate::identity::PrincipalName;
use crate::identity::token::{TokenSnapshot, TokenVerifier};
use crate::time::Timestamp;

/// Jobs that may wait; callers wait beyond that.
const JOBS_WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// What the thread owns.
pub struct State {
    connection: Connection,
    published: watch::Sender<Arc<Snapshot>>,
}

/// What a transaction changed, so that the snapshot can follow.
#[derive(Default)]
pub struct Changes {
    pub grant: Option<(Arc<Grant>, Timestamp)>,
    pub token: Option<Arc<TokenVerifier>>,
    /// Tokens were deleted.
    pub tokens_deleted: bool,
    /// Grants that ended long before this moment may go.
    pub prune: Option<Timestamp>,
}

impl State {
    /// Reads everything that the first snapshot needs.
    pub fn load(
        connection: Connection,
        now: Timestamp,
    ) -> Result<(Self, watch::Receiver<Arc<Snapshot>>), StoreError> {
        let ended = Timestamp::from_micros(
            now.micros().saturating_sub(u64::try_from(ENDED_KEPT.as_micros()).unwrap_or(u64::MAX)),
        );
        let grants = GrantSnapshot::new(rows::grants_since(&connection, ended)?, now);
        let tokens = TokenSnapshot {
            store_key: rows::store_key(&connection)?,
            by_principal: by_principal(rows::tokens(&connection)?),
        };
        let snapshot = Snapshot { grants: Arc::new(grants), tokens: Arc::new(tokens) };
        let (published, snapshots) = watch::channel(Arc::new(snapshot));
        Ok((Self { connection, published }, snapshots))
    }

    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does all or nothing, then publishes what has changed.
    pub fn change<T, E: From<rusqlite::Error>>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Changes) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut changes = Changes::default();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction, &mut changes)?;
        // Read before the commit: after it, nothing may fail any more.
        let reread = if changes.tokens_deleted { Some(rows::tokens(&transaction)?) } else { None };
        transaction.commit()?;
        self.publish(changes, reread);
        Ok(result)
    }

    fn publish(&self, changes: Changes, reread: Option<Vec<Arc<TokenVerifier>>>) {
        let mut next = Snapshot::clone(&self.published.borrow());
        let mut changed = false;
        if let Some((grant, now)) = changes.grant {
            next.grants = Arc::new(next.grants.with(&grant, now));
            changed = true;
        }
        if let Some(pruned) = changes.prune.and_then(|now| next.grants.pruned(now)) {
            next.grants = Arc::new(pruned);
            changed = true;
        }
        if let Some(token) = changes.token {
            let mut tokens = TokenSnapshot::clone(&next.tokens);
            let own = tokens.by_principal.entry(token.principal.clone()).or_default();
            own.retain(|other| other.id != token.id);
            own.push(token);
            own.sort_by(|a, b| (b.issued, &a.id).cmp(&(a.issued, &b.id)));
            next.tokens = Arc::new(tokens);
            changed = true;
        }
        if let Some(tokens) = reread {
            let store_key = next.tokens.store_key.clone();
            next.tokens = Arc::new(TokenSnapshot { store_key, by_principal: by_principal(tokens) });
            changed = true;
        }
        if changed {
            self.published.send_replace(Arc::new(next));
        }
    }
}

fn by_principal(
    tokens: Vec<Arc<TokenVerifier>>,
) -> HashMap<PrincipalName, Vec<Arc<TokenVerifier>>> {
    let mut lists: HashMap<_, Vec<_>> = HashMap::new();
    for token in tokens {
        lists.entry(token.principal.clone()).or_default().push(token);
    }
    lists
}

/// The thread's handle: when the last one goes, so does the thread, and the file is closed.
pub struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub fn start(mut state: State) -> std::io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_WAITING_MAX);
        let thread = thread::Builder::new().name("store".into()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                // A job that panics has dropped its transaction, which rolls it back; its caller hears
                // that through the answer that never comes. The others go on.
                drop(catch_unwind(AssertUnwindSafe(|| job(&mut state))));
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job on the thread. It is run to its end even when the caller waits no more.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |state| drop(answer.send(job(state))));
        jobs.send(job).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the thread was told to whoever waited for it.
            drop(thread.join());
        }
    }
}
