//! A database's replicas, watched by a task with a connection to each of its servers.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::catalogs::Source;
use super::connect::within;
use super::error::UpstreamError;
use crate::route::{
    Ceilings, Fleet, History, Judged, Leader, Load, Replica, Role, Said, Seen, State, judge,
};
use crate::time::Timestamp;

/// After so many looks that found nobody, they are no further apart.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A server whose place among its fellows can be asked.
pub trait Member: Source + Clone {
    /// What looks are made over.
    type Watch: Send;

    /// Connects. Whoever asks sets the limit.
    fn join(&self) -> impl Future<Output = Result<Self::Watch, UpstreamError>> + Send;

    /// Asks what the server does, and how far it is.
    fn look(watch: &mut Self::Watch) -> impl Future<Output = Result<Said, UpstreamError>> + Send;
}

/// How a database's servers are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The entry of the configuration.
    pub entry: Arc<str>,
    /// One a replica.
    pub weights: Vec<u32>,
    /// How often each server is asked.
    pub check: Duration,
    /// A server that has not answered after so long is down.
    pub timeout: Duration,
    /// How far behind a replica may be.
    pub ceilings: Ceilings,
}

/// Begins to watch. The task ends once nobody follows the fleet any more; without replicas there is none, and the
/// fleet stays empty. Needs a Tokio runtime.
pub fn spawn<M: Member>(
    primary: &M,
    replicas: &[M],
    settings: Settings,
) -> watch::Receiver<Arc<Fleet>> {
    let fleet = Fleet {
        replicas: replicas.iter().enumerate().map(|(at, it)| unknown(at, it, &settings)).collect(),
        primary: Seen::Unknown,
    };
    let is_empty = fleet.replicas.is_empty();
    let (publish, followed) = watch::channel(Arc::new(fleet));
    if !is_empty {
        let members = std::iter::once(primary).chain(replicas).cloned().collect();
        // Until two looks in a row have failed, the primary is where it was last seen.
        let history = History::new(settings.check * 2 + settings.timeout);
        let watcher = Watcher { settings, history, leader: None, publish };
        tokio::spawn(watcher.run(members));
    }
    followed
}

fn unknown(at: usize, server: &impl Member, settings: &Settings) -> Replica {
    Replica {
        address: server.place().into(),
        weight: settings.weights.get(at).copied().unwrap_or(1),
        state: State::Unknown,
        position: None,
        lag: None,
        lag_bytes: None,
        load: Arc::new(Load::default()),
    }
}

/// What one look found.
struct Report {
    /// The server, the primary as 0.
    member: usize,
    /// When it began: the server was there later, if anything.
    at: Timestamp,
    said: Result<Said, UpstreamError>,
}

/// The task.
struct Watcher {
    settings: Settings,
    history: History,
    /// What the primary said when it last answered as one.
    leader: Option<Said>,
    publish: watch::Sender<Arc<Fleet>>,
}

impl Watcher {
    async fn run<M: Member>(mut self, members: Vec<M>) {
        let (reports, mut inbox) = mpsc::channel(members.len());
        // They end with the set.
        let mut looking = JoinSet::new();
        for (member, server) in members.into_iter().enumerate() {
            let Settings { check, timeout, .. } = self.settings;
            looking.spawn(ask(server, member, (check, timeout), reports.clone()));
        }
        loop {
            tokio::select! {
                () = self.publish.closed() => break,
                report = inbox.recv() => match report {
                    Some(report) => self.note(report),
                    None => break,
                },
            }
        }
    }

    fn note(&mut self, report: Report) {
        let mut fleet = Fleet::clone(&self.publish.borrow());
        match report.member.checked_sub(1) {
            None => fleet.primary = self.note_primary(report, &fleet.primary),
            Some(at) => {
                let Some(replica) = fleet.replicas.get(at) else { return };
                let replica = self.note_replica(report, replica, &fleet.primary);
                if let Some(place) = fleet.replicas.get_mut(at) {
                    *place = replica;
                }
            }
        }
        self.publish.send_if_modified(|known| {
            let is_news = !same(known, &fleet);
            if is_news {
                *known = Arc::new(fleet);
            }
            is_news
        });
    }

    fn note_primary(&mut self, report: Report, before: &Seen) -> Seen {
        let database = &self.settings.entry;
        match report.said {
            Ok(said) if said.role == Role::Leads => {
                if let Some(position) = &said.position {
                    self.history.add(report.at, position);
                } else if !matches!(before, Seen::Leading(None)) {
                    tracing::warn!(
                        %database,
                        "the primary does not tell how far it is, so replicas cannot be held to what sessions \
                         wrote: MariaDB needs log_bin, MySQL gtid_mode = ON"
                    );
                }
                if matches!(before, Seen::Following | Seen::Down) {
                    tracing::info!(%database, "the primary takes writes");
                }
                let seen = Seen::Leading(said.position.clone());
                self.leader = Some(said);
                seen
            }
            Ok(_) => {
                if *before != Seen::Following {
                    tracing::warn!(%database, "the primary takes no writes: it has been demoted, or is a replica");
                }
                Seen::Following
            }
            Err(error) => {
                if *before != Seen::Down {
                    tracing::warn!(%database, %error, "the primary does not answer");
                }
                Seen::Down
            }
        }
    }

    fn note_replica(&self, report: Report, before: &Replica, primary: &Seen) -> Replica {
        let down = Judged { state: State::Down, lag: None, lag_bytes: None };
        let (judged, position, error) = match report.said {
            Ok(said) => {
                let leader =
                    Leader { seen: primary, said: self.leader.as_ref(), history: &self.history };
                let judged = judge(&said, leader, self.settings.ceilings, now());
                (judged, said.position, None)
            }
            Err(error) => (down, None, Some(error)),
        };
        let Judged { state, lag, lag_bytes } = judged;
        if state != before.state {
            let (database, replica) = (&self.settings.entry, &before.address);
            match (state, error) {
                (State::Serving, _) => tracing::info!(%database, %replica, "the replica serves"),
                (_, Some(error)) => {
                    tracing::warn!(%database, %replica, %error, "the replica is out of service: {state}");
                }
                (_, None) => {
                    let lag = lag.map(|lag| lag.as_secs_f64());
                    tracing::warn!(%database, %replica, lag, lag_bytes, "the replica is out of service: {state}");
                }
            }
        }
        // Where one is that cannot be asked, or is no replica, means nothing.
        let position = position.filter(|_| matches!(state, State::Serving | State::Lagging));
        Replica { state, position, lag, lag_bytes, ..before.clone() }
    }
}

/// Asks one server again and again.
async fn ask<M: Member>(
    server: M,
    member: usize,
    (check, limit): (Duration, Duration),
    reports: mpsc::Sender<Report>,
) {
    const WORK: &str = "asking a server how far it is";
    let mut watch = None;
    let mut backoff = check;
    loop {
        let (start, at) = (Instant::now(), now());
        // Taken out, so that a connection that failed or was given up half-way is dropped.
        let kept = watch.take();
        let had_connection = kept.is_some();
        let mut result = within(limit, WORK, look(&server, kept)).await;
        // One that was closed since the last look is no failure yet; one that is silent is.
        if had_connection
            && result.as_ref().is_err_and(|it| !matches!(it, UpstreamError::Timeout { .. }))
        {
            result = within(limit, WORK, look(&server, None)).await;
        }
        let said = result.map(|(kept, said)| {
            watch = Some(kept);
            said
        });
        let pause = if said.is_ok() {
            backoff = check;
            check
        } else {
            let pause = backoff;
            backoff = (backoff * 2).min(BACKOFF_MAX.max(check));
            pause
        };
        if reports.send(Report { member, at, said }).await.is_err() {
            return;
        }
        sleep_until(start + pause).await;
    }
}

async fn look<M: Member>(
    server: &M,
    kept: Option<M::Watch>,
) -> Result<(M::Watch, Said), UpstreamError> {
    let mut watch = match kept {
        Some(watch) => watch,
        None => server.join().await?,
    };
    let said = M::look(&mut watch).await?;
    Ok((watch, said))
}

/// Whether nobody has to be told of the other.
fn same(one: &Fleet, other: &Fleet) -> bool {
    let told = |it: &Replica| (it.state, it.position.clone(), it.lag, it.lag_bytes);
    one.primary == other.primary
        && one.replicas.iter().map(told).eq(other.replicas.iter().map(told))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
