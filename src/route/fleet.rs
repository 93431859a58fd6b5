//! A database's servers, as they were last seen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::position::Position;

/// What is known of a database's servers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// In the order of the configuration.
    pub replicas: Box<[Replica]>,
    /// The server that writes go to.
    pub primary: Seen,
}

/// A replica as it was last seen.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Where it is: hosts and ports, no secrets.
    pub address: Arc<str>,
    /// Its share of the reads, against the other replicas'. At least 1.
    pub weight: u32,
    /// Whether it can be asked.
    pub state: State,
    /// How far it has replayed; further by now, never less far while it is the same server.
    pub position: Option<Position>,
    /// How long ago the primary was there. Zero when it has all that the primary was last seen to have.
    pub lag: Option<Duration>,
    /// Bytes of log that it had not replayed, where the engine tells.
    pub lag_bytes: Option<u64>,
    /// What it has to do for us.
    pub load: Arc<Load>,
}

/// Whether a replica can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// It answers, replicates, and is not too far behind.
    Serving,
    /// Nobody has asked it yet.
    #[default]
    Unknown,
    /// It is behind the primary by more than the operator wants, or nobody knows by how much.
    Lagging,
    /// It replicates nothing, or takes writes: it has been promoted, say.
    NotReplica,
    /// It does not answer.
    Down,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Serving, Self::Unknown, Self::Lagging, Self::NotReplica, Self::Down];

    /// One word, for metrics and machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Unknown => "unknown",
            Self::Lagging => "lagging",
            Self::NotReplica => "not_replica",
            Self::Down => "down",
        }
    }
}

/// A clause about the replica.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "it serves",
            Self::Unknown => "it has not been asked yet",
            Self::Lagging => "it is too far behind the primary",
            Self::NotReplica => "it is not a read-only replica",
            Self::Down => "it does not answer",
        })
    }
}

/// The server that writes go to, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has asked it yet.
    #[default]
    Unknown,
    /// It takes writes, and was that far; `None` when it does not say how far it is.
    Leading(Option<Position>),
    /// It takes no writes: it has been demoted, say.
    Following,
    /// It does not answer.
    Down,
}

impl Seen {
    /// How far it was.
    pub const fn position(&self) -> Option<&Position> {
        match self {
            Self::Leading(position) => position.as_ref(),
            Self::Unknown | Self::Following | Self::Down => None,
        }
    }
}

/// A clause about the primary.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it has not been asked yet",
            Self::Leading(_) => "it takes writes",
            Self::Following => "it takes no writes",
            Self::Down => "it does not answer",
        })
    }
}

/// What a server has to do for us: units that it has been sent and not yet answered. Shared by all snapshots.
#[derive(Debug, Default)]
pub struct Load {
    outstanding: AtomicU32,
    total: AtomicU64,
}

impl Load {
    /// One more was sent.
    pub fn add(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// One was answered, or given up. To be called once for each [`Load::add`].
    pub fn done(&self) {
        let less = |units: u32| Some(units.saturating_sub(1));
        // The closure always gives a value.
        let _ = self.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Units that are not answered yet.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Units that were ever sent.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_counts_what_is_not_answered() {
        let load = Load::default();
        load.add();
        load.add();
        load.done();
        assert_eq!((load.outstanding(), load.total()), (1, 2));
        load.done();
        load.done();
        assert_eq!((load.outstanding(), load.total()), (0, 2));
    }

    #[test]
    fn every_state_has_a_word_and_a_clause_of_its_own() {
        for (at, state) in State::ALL.iter().enumerate() {
            for other in &State::ALL[at + 1..] {
                assert_ne!(state.word(), other.word());
                assert_ne!(state.to_string(), other.to_string());
            }
        }
    }
}
