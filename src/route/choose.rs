//! Which replica answers a read.

use std::cmp::Ordering;
use std::fmt;

use super::fleet::{Fleet, Load, Replica, State};
use super::position::Position;

/// Which replica, by its place in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one has what is needed.
    Replica(usize),
    /// None is known to have it. This one is in service and is likely to have it first.
    Wait(usize),
    /// None will do.
    None(NoReplica),
}

/// Why no replica will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReplica {
    /// The database has none.
    NotConfigured,
    /// None of them serves; this is what is known of the one that is nearest to it.
    OutOfService(State),
}

/// A clause that goes on after "runs at the primary: ".
impl fmt::Display for NoReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => f.write_str("the database has no replicas"),
            Self::OutOfService(State::Down) => f.write_str("no replica answers"),
            Self::OutOfService(State::NotReplica) => {
                f.write_str("none of the servers that answer is a read-only replica")
            }
            Self::OutOfService(State::Lagging) => {
                f.write_str("every replica is too far behind the primary")
            }
            Self::OutOfService(State::Unknown | State::Serving) => {
                f.write_str("the replicas have not been asked yet")
            }
        }
    }
}

/// A session stays with the replica that it is connected to while that has no more to do than so many times the
/// least, and so many units more: a login costs more than waiting behind a few others.
const STAY_TIMES: u64 = 2;
const STAY_UNITS: u64 = 4;

/// Chooses a replica that covers the bound. Of several, the one with the least to do for its weight; `prefer`, where
/// the session has a connection, wins unless it has notably more to do. Of those that have as much to do, the one
/// that had the least to do so far.
pub fn choose(fleet: &Fleet, bound: Option<&Position>, prefer: Option<usize>) -> Choice {
    let serving =
        || fleet.replicas.iter().enumerate().filter(|(_, replica)| replica.state == State::Serving);
    let covers = |replica: &Replica| {
        bound.is_none_or(|bound| replica.position.as_ref().is_some_and(|own| own.covers(bound)))
    };
    let covering = || serving().filter(|(_, replica)| covers(replica));
    if let Some((at, best)) = covering().min_by(|(_, one), (_, other)| busier(one, other)) {
        let preferred = prefer.and_then(|prefer| covering().find(|(at, _)| *at == prefer));
        return Choice::Replica(match preferred {
            Some((at, preferred)) if is_as_good(preferred, best) => at,
            _ => at,
        });
    }
    let first = serving().min_by(|(at, one), (other_at, other)| {
        let preferred = (prefer == Some(*other_at)).cmp(&(prefer == Some(*at)));
        further_behind(one, other).then(preferred).then_with(|| busier(one, other))
    });
    match first {
        Some((at, _)) => Choice::Wait(at),
        None => Choice::None(why_none(fleet)),
    }
}

fn why_none(fleet: &Fleet) -> NoReplica {
    // What is most likely to pass first.
    let nearest = [State::Unknown, State::Lagging, State::NotReplica, State::Down]
        .into_iter()
        .find(|state| fleet.replicas.iter().any(|replica| replica.state == *state));
    nearest.map_or(NoReplica::NotConfigured, NoReplica::OutOfService)
}

/// Compares what they have to do for their weights, then what they had to do.
fn busier(one: &Replica, other: &Replica) -> Ordering {
    let by = |units: fn(&Load) -> u64| {
        let per = |replica: &Replica, weight: u32| {
            u128::from(units(&replica.load)) * u128::from(weight.max(1))
        };
        per(one, other.weight).cmp(&per(other, one.weight))
    };
    by(|load| u64::from(load.outstanding())).then_with(|| by(Load::total))
}

fn is_as_good(preferred: &Replica, best: &Replica) -> bool {
    let weight = |replica: &Replica| u64::from(replica.weight.max(1));
    let units = |replica: &Replica| u64::from(replica.load.outstanding());
    let limit = u128::from(units(best) * STAY_TIMES) * u128::from(weight(preferred))
        + u128::from(STAY_UNITS) * u128::from(weight(preferred)) * u128::from(weight(best));
    u128::from(units(preferred)) * u128::from(weight(best)) <= limit
}

/// Who is further in the log is less behind; where neither is, by what is known of the lag.
fn further_behind(one: &Replica, other: &Replica) -> Ordering {
    let ahead = match (&one.position, &other.position) {
        (Some(one), Some(other)) => (one.covers(other), other.covers(one)),
        (one, other) => (one.is_some(), other.is_some()),
    };
    match ahead {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::fleet::Seen;

    fn replica(state: State, lsn: u64, weight: u32, outstanding: u32) -> Replica {
        let load = Load::default();
        (0..outstanding).for_each(|_| load.add());
        Replica {
            address: "replica:5432".into(),
            weight,
            state,
            position: (lsn > 0).then_some(Position::Lsn(lsn)),
            lag: None,
            lag_bytes: None,
            load: load.into(),
        }
    }

    fn fleet(replicas: impl IntoIterator<Item = Replica>) -> Fleet {
        Fleet { replicas: replicas.into_iter().collect(), primary: Seen::default() }
    }

    const BOUND: Position = Position::Lsn(100);

    #[test]
    fn only_who_serves_and_covers_the_bound_is_chosen() {
        use State::{Down, Lagging, NotReplica, Serving, Unknown};
        let states = [Unknown, Lagging, NotReplica, Down];
        let mut replicas: Vec<_> =
            states.into_iter().map(|state| replica(state, 200, 1, 0)).collect();
        let out = Choice::None(NoReplica::OutOfService(Unknown));
        assert_eq!(choose(&fleet(replicas.clone()), None, Some(1)), out);
        replicas.push(replica(Serving, 99, 1, 0));
        assert_eq!(choose(&fleet(replicas.clone()), Some(&BOUND), Some(1)), Choice::Wait(4));
        assert_eq!(choose(&fleet(replicas.clone()), None, None), Choice::Replica(4));
        replicas.push(replica(Serving, 100, 1, 50));
        assert_eq!(choose(&fleet(replicas), Some(&BOUND), Some(4)), Choice::Replica(5));
        let none = Choice::None(NoReplica::NotConfigured);
        assert_eq!(choose(&Fleet::default(), None, None), none);
    }

    #[test]
    fn a_replica_of_which_no_position_is_known_covers_nothing() {
        let fleet = fleet([replica(State::Serving, 0, 1, 0), replica(State::Serving, 50, 1, 9)]);
        assert_eq!(choose(&fleet, Some(&BOUND), Some(0)), Choice::Wait(1));
        assert_eq!(choose(&fleet, None, None), Choice::Replica(0));
    }

    #[test]
    fn reads_go_where_the_least_is_outstanding_for_its_weight() {
        let of = |first, second| {
            let busy = |(weight, outstanding)| replica(State::Serving, 100, weight, outstanding);
            choose(&fleet([busy(first), busy(second)]), Some(&BOUND), None)
        };
        assert_eq!(of((1, 2), (1, 1)), Choice::Replica(1));
        assert_eq!(of((3, 2), (1, 1)), Choice::Replica(0));
        assert_eq!(of((u32::MAX, 2), (1, 1)), Choice::Replica(0));
    }

    #[test]
    fn of_idle_replicas_the_one_that_did_less_for_its_weight_is_next() {
        let fleet = fleet([replica(State::Serving, 1, 2, 0), replica(State::Serving, 1, 1, 0)]);
        let mut chosen = [0, 0];
        for _ in 0..30 {
            let Choice::Replica(at) = choose(&fleet, None, None) else { panic!("both serve") };
            fleet.replicas[at].load.add();
            fleet.replicas[at].load.done();
            chosen[at] += 1;
        }
        assert_eq!(chosen, [20, 10]);
    }

    #[test]
    fn a_session_stays_where_it_is_connected_until_that_has_far_more_to_do() {
        let of = |own, other| {
            let busy = |outstanding| replica(State::Serving, 100, 1, outstanding);
            choose(&fleet([busy(other), busy(own)]), Some(&BOUND), Some(1))
        };
        assert_eq!(of(4, 0), Choice::Replica(1));
        assert_eq!(of(5, 0), Choice::Replica(0));
        assert_eq!(of(24, 10), Choice::Replica(1));
        assert_eq!(of(25, 10), Choice::Replica(0));
    }

    #[test]
    fn who_is_furthest_is_waited_for() {
        let busy = |lsn, outstanding| replica(State::Serving, lsn, 1, outstanding);
        let of =
            |prefer| choose(&fleet([busy(80, 0), busy(90, 7), busy(90, 3)]), Some(&BOUND), prefer);
        assert_eq!(of(None), Choice::Wait(2));
        assert_eq!(of(Some(1)), Choice::Wait(1));
        assert_eq!(of(Some(0)), Choice::Wait(2));
    }

    proptest! {
        #[test]
        fn no_choice_breaks_the_bound(
            replicas in proptest::collection::vec((0_usize..5, 0_u64..9, 0_u32..4, 0_u32..9), 0..5),
            bound in proptest::option::of(1_u64..9),
            prefer in proptest::option::of(0_usize..6),
        ) {
            let fleet = fleet(replicas.into_iter().map(|(state, lsn, weight, outstanding)| {
                replica(State::ALL[state], lsn, weight, outstanding)
            }));
            let bound = bound.map(Position::Lsn);
            let serves = |replica: &Replica| replica.state == State::Serving;
            let covers = |replica: &Replica| {
                bound.as_ref().is_none_or(|bound| {
                    replica.position.as_ref().is_some_and(|own| own.covers(bound))
                })
            };
            match choose(&fleet, bound.as_ref(), prefer) {
                Choice::Replica(at) => {
                    prop_assert!(serves(&fleet.replicas[at]) && covers(&fleet.replicas[at]));
                }
                Choice::Wait(at) => {
                    prop_assert!(serves(&fleet.replicas[at]));
                    prop_assert!(!fleet.replicas.iter().any(|one| serves(one) && covers(one)));
                }
                Choice::None(_) => prop_assert!(!fleet.replicas.iter().any(serves)),
            }
        }
    }
}
