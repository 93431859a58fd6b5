//! Threads that serve sessions. One thread owns a session and both its sockets: what a statement costs
//! is not paid twice for waking another.

use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::session::wire::Worker;
use crate::sql::postgres::STACK_BYTES;

use super::accept::{self, Listener};
use super::house::Current;

/// A connection on its way to a thread.
struct Arrival {
    current: Arc<Current>,
    listener: Arc<Listener>,
    stream: TcpStream,
}

struct Thread {
    arrivals: mpsc::UnboundedSender<Arrival>,
    sessions: Arc<AtomicUsize>,
}

/// The session threads.
pub(super) struct Workers(Vec<Thread>);

impl Workers {
    /// Starts so many.
    pub(super) fn start(count: usize) -> std::io::Result<Self> {
        let timers = keep_timers()?;
        let start = |number| Thread::start(number, timers.clone());
        (0..count.max(1)).map(start).collect::<Result<_, _>>().map(Self)
    }

    /// Gives a connection to the thread that has the fewest.
    pub(super) fn serve(
        &self,
        current: &Arc<Current>,
        listener: Arc<Listener>,
        stream: tokio::net::TcpStream,
    ) {
        let fewest = self.0.iter().min_by_key(|thread| thread.sessions.load(Ordering::Relaxed));
        let (Some(thread), Ok(stream)) = (fewest, stream.into_std()) else { return };
        thread.sessions.fetch_add(1, Ordering::Relaxed);
        let current = Arc::clone(current);
        // A thread that is gone was told to end: the connection ends with it.
        drop(thread.arrivals.send(Arrival { current, listener, stream }));
    }
}

impl Thread {
    fn start(number: usize, timers: Handle) -> std::io::Result<Self> {
        let (arrivals, receiver) = mpsc::unbounded_channel();
        let sessions = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sessions);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name(format!("session-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let tasks = LocalSet::new();
                tasks.block_on(&runtime, serve_arrivals(receiver, counter, timers));
                runtime.block_on(tasks);
            })?;
        Ok(Self { arrivals, sessions })
    }
}

/// Starts the thread that keeps the timers of all sessions, as long as the process lives.
fn keep_timers() -> std::io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let timers = runtime.handle().clone();
    std::thread::Builder::new()
        .name("timers".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(timers)
}

async fn serve_arrivals(
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    sessions: Arc<AtomicUsize>,
    timers: Handle,
) {
    let worker = Rc::new(Worker::new(timers));
    while let Some(Arrival { current, listener, stream }) = arrivals.recv().await {
        let (worker, sessions) = (Rc::clone(&worker), Count(Arc::clone(&sessions)));
        tokio::task::spawn_local(async move {
            let _counted = sessions;
            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                accept::serve(current, worker, listener, stream).await;
            }
        });
    }
}

/// One session less when dropped, whatever ended it.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
