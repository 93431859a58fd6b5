//! Whether a replica can be asked, from what it says of itself and where the primary was.

use std::time::Duration;

use super::fleet::{Seen, State};
use super::lag::History;
use super::position::Position;
use crate::time::Timestamp;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it does.
    pub role: Role,
    /// How far it is: where it writes, or how far it has replayed. `None` when it keeps no count.
    pub position: Option<Position>,
    /// Of a replica: how long ago the last transaction was committed that it has replayed, by the servers' clocks.
    pub behind: Option<Duration>,
    /// Whose data it has, where the engine tells.
    pub cluster: Option<Box<str>>,
    /// How often the log has forked off before what it has: after each promotion it counts on. Of a replica, at least.
    pub timeline: Option<u32>,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Leads,
    /// It takes none, and replays those of another.
    Follows,
    /// It takes none, and replays nothing.
    Rests,
}

/// How far behind a replica may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// In time.
    pub lag: Duration,
    /// In bytes of log, where the engine tells.
    pub bytes: Option<u64>,
}

/// What is known of a replica at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it can be asked.
    pub state: State,
    /// How far it is behind in time.
    pub lag: Option<Duration>,
    /// And in bytes.
    pub lag_bytes: Option<u64>,
}

/// What the primary was last heard to say, and all that it said before of where it is.
#[derive(Clone, Copy, Debug)]
pub struct Leader<'a> {
    /// How it was last seen.
    pub seen: &'a Seen,
    /// What it said when it last answered.
    pub said: Option<&'a Said>,
    /// Where it was.
    pub history: &'a History,
}

/// Judges what a replica says at `now`.
pub fn judge(said: &Said, leader: Leader<'_>, ceilings: Ceilings, now: Timestamp) -> Judged {
    let Leader { seen, said: of_leader, history } = leader;
    let out = |state| Judged { state, lag: None, lag_bytes: None };
    if said.role != Role::Follows || is_foreign(said, of_leader) {
        return out(State::NotReplica);
    }
    // Places in the log of one that has not followed a promotion mean something else.
    let followed = of_leader.is_none_or(|leader| match (leader.timeline, said.timeline) {
        (Some(leader), Some(own)) => own >= leader,
        _ => true,
    });
    let Some(position) = said.position.as_ref().filter(|_| followed) else {
        return out(State::Lagging);
    };
    let lag = history.lag(position, said.behind, now);
    let newest = of_leader.and_then(|leader| leader.position.as_ref());
    let lag_bytes = newest.and_then(|newest| newest.bytes_since(position));
    let state = match lag {
        None if *seen == Seen::Unknown => State::Unknown,
        Some(lag)
            if lag <= ceilings.lag
                && lag_bytes.unwrap_or(0) <= ceilings.bytes.unwrap_or(u64::MAX) =>
        {
            State::Serving
        }
        _ => State::Lagging,
    };
    Judged { state, lag, lag_bytes }
}

fn is_foreign(said: &Said, leader: Option<&Said>) -> bool {
    let theirs = leader.and_then(|leader| leader.cluster.as_ref());
    said.cluster.as_ref().zip(theirs).is_some_and(|(own, theirs)| own != theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CEILINGS: Ceilings = Ceilings { lag: Duration::from_secs(10), bytes: Some(50) };

    fn said(role: Role, lsn: u64) -> Said {
        Said {
            role,
            position: Some(Position::Lsn(lsn)),
            behind: None,
            cluster: Some("7".into()),
            timeline: Some(3),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// The primary wrote a byte a second, from 100 at second 0.
    fn judged(replica: &Said, now: u64) -> Judged {
        let mut history = History::new(3 * SECOND);
        (0..=now).for_each(|second| history.add(at(second), &Position::Lsn(100 + second)));
        let leader = said(Role::Leads, 100 + now);
        let seen = Seen::Leading(leader.position.clone());
        let leader = Leader { seen: &seen, said: Some(&leader), history: &history };
        judge(replica, leader, CEILINGS, at(now))
    }

    fn state(replica: &Said, now: u64) -> State {
        judged(replica, now).state
    }

    #[test]
    fn a_replica_serves_while_it_is_within_both_ceilings() {
        let replica = said(Role::Follows, 100);
        let expected =
            Judged { state: State::Serving, lag: Some(10 * SECOND), lag_bytes: Some(10) };
        assert_eq!(judged(&replica, 10), expected);
        assert_eq!(state(&replica, 11), State::Lagging);
        // One byte more than there may be, and no time at all.
        let seen = Seen::Leading(None);
        let mut history = History::new(SECOND);
        history.add(at(1), &Position::Lsn(1));
        for (ahead, expected) in [(50, State::Serving), (51, State::Lagging)] {
            let leading = said(Role::Leads, 100 + ahead);
            let leader = Leader { seen: &seen, said: Some(&leading), history: &history };
            assert_eq!(judge(&replica, leader, CEILINGS, at(1)).state, expected);
        }
    }

    #[test]
    fn what_does_not_follow_the_primary_is_no_replica() {
        assert_eq!(state(&said(Role::Leads, 200), 5), State::NotReplica);
        assert_eq!(state(&said(Role::Rests, 200), 5), State::NotReplica);
        let foreign = Said { cluster: Some("8".into()), ..said(Role::Follows, 200) };
        assert_eq!(state(&foreign, 5), State::NotReplica);
        let untold = Said { cluster: None, ..said(Role::Follows, 200) };
        assert_eq!(state(&untold, 5), State::Serving);
    }

    #[test]
    fn one_that_has_not_followed_a_promotion_is_never_far_enough() {
        let left = Said { timeline: Some(2), ..said(Role::Follows, u64::MAX) };
        assert_eq!(judged(&left, 5), Judged { state: State::Lagging, lag: None, lag_bytes: None });
        let ahead = Said { timeline: Some(4), ..said(Role::Follows, u64::MAX) };
        assert_eq!(state(&ahead, 5), State::Serving);
    }

    #[test]
    fn one_of_which_nobody_knows_how_far_it_is_does_not_serve() {
        let uncounted = Said { position: None, ..said(Role::Follows, 1) };
        assert_eq!(state(&uncounted, 5), State::Lagging);
        // It was behind before anybody looked, and does not say by how much.
        assert_eq!(state(&said(Role::Follows, 99), 0), State::Lagging);
        let slow = Said { behind: Some(3 * SECOND), ..said(Role::Follows, 99) };
        assert_eq!(state(&slow, 0), State::Serving);
        // Before the primary has been asked, nothing can be said at all.
        let history = History::new(SECOND);
        let nobody = |seen| {
            let leader = Leader { seen: &seen, said: None, history: &history };
            judge(&said(Role::Follows, 99), leader, CEILINGS, at(0)).state
        };
        assert_eq!(nobody(Seen::Unknown), State::Unknown);
        assert_eq!(nobody(Seen::Down), State::Lagging);
    }
}
