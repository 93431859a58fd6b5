//! What a session is told from outside: seldom, and never on the path of a statement. Each source is waited
//! for by a future of its own that is looked at only once something has come, so a session that has nothing
//! to hear pays for none of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::session::call::{CallError, CallReply};
use crate::session::machine::KillOutcome;
use crate::session::registry::Command;
use crate::session::site::Site;
use crate::session::wire::{Catalog, Wire};
use crate::store::Snapshot;
use crate::upstream::UpstreamError;
use crate::upstream::lock::{Progress, Stamp};

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It is to end: no new sessions, open ones finish their transaction.
    Draining,
    /// It ends now.
    Ending,
}

/// Something that was asked for has come.
pub(super) enum Arrival<W: Wire> {
    /// Of the attempt of that number to connect there.
    Upstream(Site, u64, Result<(W::Connection, Stamp), UpstreamError>),
    Catalog(Option<Arc<Catalog<W>>>),
    CancelDone,
    Call(Result<CallReply, CallError>),
    Killed(KillOutcome),
}

/// Something that has come.
pub(super) enum Event<W: Wire> {
    /// An operator or the client's cancel request.
    Command(Command),
    /// Grants and tokens have changed.
    Snapshot(Arc<Snapshot>),
    /// Names have changed.
    Catalog(Option<Arc<Catalog<W>>>),
    /// The process stands elsewhere.
    Phase(Phase),
    /// The roles of the second lock are further on.
    Progress,
    /// What the session asked for.
    Arrival(Arrival<W>),
}

/// Where news come from.
enum Source<W: Wire> {
    Commands(mpsc::UnboundedReceiver<Command>),
    Snapshots(watch::Receiver<Arc<Snapshot>>),
    Catalogs(watch::Receiver<Option<Arc<Catalog<W>>>>),
    Phase(watch::Receiver<Phase>),
    Progress(watch::Receiver<Arc<Progress>>),
    /// Came once.
    Spent,
}

impl<W: Wire> Source<W> {
    /// Its next news, and the source again; no news when nobody is left to send any.
    async fn next(self) -> (Option<Event<W>>, Self) {
        match self {
            Self::Commands(mut commands) => {
                let command = commands.recv().await;
                (command.map(Event::Command), Self::Commands(commands))
            }
            Self::Snapshots(mut snapshots) => {
                let changed = snapshots.changed().await.ok();
                let news = changed.map(|()| Arc::clone(&snapshots.borrow_and_update()));
                (news.map(Event::Snapshot), Self::Snapshots(snapshots))
            }
            Self::Catalogs(mut catalogs) => {
                let changed = catalogs.changed().await.ok();
                let news = changed.map(|()| catalogs.borrow_and_update().clone());
                (news.map(Event::Catalog), Self::Catalogs(catalogs))
            }
            Self::Phase(mut phase) => {
                let changed = phase.changed().await.ok();
                let news = changed.map(|()| *phase.borrow_and_update());
                (news.map(Event::Phase), Self::Phase(phase))
            }
            Self::Progress(mut progress) => {
                let changed = progress.changed().await.ok();
                (changed.map(|()| Event::Progress), Self::Progress(progress))
            }
            Self::Spent => (None, Self::Spent),
        }
    }
}

type Waiting<W> = Pin<Box<dyn Future<Output = (Option<Event<W>>, Source<W>)>>>;

/// All that a session waits for but its sockets and its timer.
pub(super) struct News<W: Wire>(FuturesUnordered<Waiting<W>>);

impl<W: Wire> News<W> {
    pub(super) fn new(
        commands: mpsc::UnboundedReceiver<Command>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        catalogs: watch::Receiver<Option<Arc<Catalog<W>>>>,
        phase: watch::Receiver<Phase>,
        progress: Option<watch::Receiver<Arc<Progress>>>,
    ) -> Self {
        let sources = [
            Source::Commands(commands),
            Source::Snapshots(snapshots),
            Source::Catalogs(catalogs),
            Source::Phase(phase),
            progress.map_or(Source::Spent, Source::Progress),
        ];
        let waiting = sources.into_iter().map(|source| Box::pin(source.next()) as Waiting<W>);
        Self(waiting.collect())
    }

    /// Does something on a task of its own, which goes on when the session ends, and tells of its end.
    pub(super) fn spawn(&self, work: impl Future<Output = Arrival<W>> + 'static) {
        let task = tokio::task::spawn_local(work);
        self.0.push(Box::pin(async {
            // One that panicked has nothing to tell; the log has it.
            (task.await.ok().map(Event::Arrival), Source::Spent)
        }));
    }

    /// What has come next. Cancel-safe.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event<W>> {
        loop {
            match Pin::new(&mut self.0).poll_next(cx) {
                Poll::Ready(Some((Some(event), source))) => {
                    if !matches!(source, Source::Spent) {
                        self.0.push(Box::pin(source.next()));
                    }
                    return Poll::Ready(event);
                }
                Poll::Ready(Some((None, _))) => (),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}
