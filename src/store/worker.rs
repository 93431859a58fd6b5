//! The thread that owns the connection, and publishes the next snapshot after each commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::published::{Changes, Published};
use super::shared::Shared;
use super::sql::Sql;
use super::sqlite::Embedded;

/// Jobs that may wait; callers wait beyond that.
const JOBS_WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// What keeps the rows.
pub enum Backend {
    /// A file of ours alone.
    Embedded(Embedded),
    /// A server that other proxies use, too.
    Shared(Box<Shared>),
}

/// What the thread owns.
pub struct State {
    pub backend: Backend,
    pub published: Published,
}

impl State {
    /// Reads at one moment.
    pub fn read<T>(
        &mut self,
        work: impl FnOnce(&dyn Sql) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &mut self.backend {
            Backend::Embedded(file) => file.read(work),
            Backend::Shared(shared) => shared.read(work),
        }
    }

    /// Does all or nothing, then publishes what has changed.
    pub fn change<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&dyn Sql, &mut Changes) -> Result<T, E>,
    ) -> Result<T, E> {
        let published = &self.published;
        let (result, news, revision) = match &mut self.backend {
            Backend::Embedded(file) => file.change(|sql| {
                let mut changes = Changes::default();
                let result = work(sql, &mut changes)?;
                Ok::<_, E>((result, changes.into_news(sql)?, 0))
            })?,
            Backend::Shared(shared) => shared.change(published.revision(), work)?,
        };
        published.publish(news, revision);
        Ok(result)
    }
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

/// Runs what blocks on a thread of its own and waits for it: the caller may be inside a runtime, in which
/// no other can be driven.
pub fn aside<T: Send>(
    work: impl FnOnce() -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    thread::scope(|scope| scope.spawn(work).join().unwrap_or(Err(StoreError::Stopped)))
}
