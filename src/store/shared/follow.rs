//! Following what other proxies change: told by the server, and asked again and again in case it was not.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::link::Link;
use super::{Account, catch_up};
use crate::store::error::StoreError;
use crate::store::published::Published;

/// How often the revision is asked for: a revocation counts everywhere within a second even when a
/// notification is lost, or something between swallows them all.
const POLL: Duration = Duration::from_millis(400);

/// Between attempts while the server cannot be reached.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Somebody wants to be told once everything is read that was committed before it asked; whether that
/// came about.
pub type Asked = oneshot::Sender<bool>;

/// The thread that follows. It ends when this is dropped.
pub struct Follow {
    asked: Option<mpsc::UnboundedSender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

struct Follower {
    account: Arc<Account>,
    link: Link,
    published: Published,
    inbox: mpsc::UnboundedReceiver<Asked>,
    waiting: Vec<Asked>,
    /// Until when the last attempt that went well had nothing left to read.
    fresh: Arc<Mutex<Instant>>,
    /// What the log has already been told.
    said: Option<String>,
}

impl Follow {
    /// Follows from now on; what is published was read just now.
    pub fn start(account: &Arc<Account>, published: Published) -> Result<Self, StoreError> {
        let link = Link::new(Arc::clone(account))?;
        let (asked, inbox) = mpsc::unbounded_channel();
        let fresh = Arc::new(Mutex::new(Instant::now()));
        watch_staleness(&link, account, &published, &fresh);
        let account = Arc::clone(account);
        let error = account.unreachable(&"no thread");
        let follower =
            Follower { account, link, published, inbox, waiting: Vec::new(), fresh, said: None };
        let thread = thread::Builder::new().name("store-follow".into());
        let thread = thread.spawn(|| follower.run()).map_err(|_| error)?;
        Ok(Self { asked: Some(asked), thread: Some(thread) })
    }

    /// Where to ask.
    pub fn asked(&self) -> Option<mpsc::WeakUnboundedSender<Asked>> {
        self.asked.as_ref().map(mpsc::UnboundedSender::downgrade)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the thread shows in the log, and as a store that grows stale.
            drop(thread.join());
        }
    }
}

/// Past its bound, what is known counts no more: also while an attempt hangs.
fn watch_staleness(
    link: &Link,
    account: &Account,
    published: &Published,
    fresh: &Arc<Mutex<Instant>>,
) {
    let (published, fresh) = (published.clone(), Arc::clone(fresh));
    let (address, bound) = (Arc::clone(&account.address), account.stale_after);
    link.runtime().spawn(async move {
        loop {
            let due = *fresh.lock().unwrap_or_else(PoisonError::into_inner) + bound;
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
                continue;
            }
            if published.set_known(false) {
                let seconds = bound.as_secs_f32();
                tracing::error!(%address, seconds, "the store could not be read for too long: all is denied");
            }
            tokio::time::sleep(BACKOFF_MIN).await;
        }
    });
}

impl Follower {
    fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let start = Instant::now();
            while let Ok(asked) = self.inbox.try_recv() {
                self.waiting.push(asked);
            }
            let result = self.catch_up();
            let pause = match &result {
                Ok(()) => {
                    backoff = BACKOFF_MIN;
                    POLL
                }
                Err(_) => {
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    backoff
                }
            };
            self.tell(start, result.err());
            if !self.wait(pause) {
                return;
            }
        }
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        if !self.link.is_connected() {
            self.link.listen()?;
        }
        catch_up(&mut self.link, &self.published)
    }

    /// Notes how an attempt went that began then, and tells whoever waits for it.
    fn tell(&mut self, start: Instant, error: Option<StoreError>) {
        let ok = error.is_none();
        let address = &self.account.address;
        match error {
            None => {
                *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = start;
                self.published.set_known(true);
                if self.said.take().is_some() {
                    tracing::info!(%address, "the store can be read again");
                }
            }
            Some(error) => {
                let text = error.to_string();
                if self.said.as_deref() != Some(&*text) {
                    tracing::error!(%error, "the store cannot be read");
                    self.said = Some(text);
                }
            }
        }
        for asked in self.waiting.drain(..) {
            // Whoever has gone away needs no answer.
            let _ = asked.send(ok);
        }
    }

    /// Until something happens, at most so long. Whether anybody still wants to follow.
    fn wait(&mut self, pause: Duration) -> bool {
        let woken = self.link.woken();
        let (inbox, waiting) = (&mut self.inbox, &mut self.waiting);
        self.link.runtime().block_on(async {
            tokio::select! {
                () = woken.notified() => true,
                () = tokio::time::sleep(pause) => true,
                asked = inbox.recv() => asked.map(|asked| waiting.push(asked)).is_some(),
            }
        })
    }
}
