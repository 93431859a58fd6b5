//! How far a replica is behind in time: how long ago the primary was where the replica is.
//!
//! What a replica says of itself is not enough. One whose connection to the primary is cut has replayed all that it
//! has received, and nothing is written on an idle primary: both look the same from there.

use std::collections::VecDeque;
use std::time::Duration;

use super::position::Position;
use crate::time::Timestamp;

/// Where the primary was, and when.
#[derive(Clone, Debug)]
pub struct History {
    /// Oldest first, each further than the one before.
    samples: VecDeque<Sample>,
    /// After so long without a sample the primary is somewhere that nobody knows.
    stale_after: Duration,
}

#[derive(Clone, Debug)]
struct Sample {
    /// When it was last seen to be there.
    at: Timestamp,
    position: Position,
}

/// Samples that are kept.
const SAMPLES_MAX: usize = 512;
/// Those that keep their distance; of the older, every second one goes when there are too many.
const RECENT: usize = 256;

impl History {
    /// Nothing is known yet.
    pub const fn new(stale_after: Duration) -> Self {
        Self { samples: VecDeque::new(), stale_after }
    }

    /// The primary was asked at `at`, and said this.
    pub fn add(&mut self, at: Timestamp, position: &Position) {
        if let Some(last) = self.samples.back_mut() {
            if last.position == *position {
                last.at = at;
                return;
            }
            // Another server answers there, or it has lost something: what was known before means nothing now.
            if !position.covers(&last.position) {
                self.samples.clear();
            }
        }
        self.samples.push_back(Sample { at, position: position.clone() });
        if self.samples.len() > SAMPLES_MAX {
            let old = self.samples.len() - RECENT;
            let mut place = 0;
            self.samples.retain(|_| {
                place += 1;
                place > old || place % 2 == 1
            });
        }
    }

    /// How far a replica is behind at `now` that has replayed to `position`. `own` is what it says itself: how long
    /// ago the last transaction was committed that it has replayed. `None` when nobody knows.
    ///
    /// A replica has all that the primary had when it was last seen at a place that the replica covers, and all that
    /// was committed before what it replayed last. So each is a bound by itself; the second depends on both
    /// servers' clocks, and is used only where the first says too little.
    pub fn lag(
        &self,
        position: &Position,
        own: Option<Duration>,
        now: Timestamp,
    ) -> Option<Duration> {
        let covered = self.samples.partition_point(|sample| position.covers(&sample.position));
        let newest = self.samples.back().map(|sample| sample.at.until(now));
        let is_fresh = newest.is_some_and(|age| age <= self.stale_after);
        let since = covered.checked_sub(1).and_then(|at| self.samples.get(at));
        match since.map(|sample| sample.at.until(now)) {
            Some(_) if is_fresh && covered == self.samples.len() => Some(Duration::ZERO),
            Some(age) if is_fresh => Some(age),
            // The primary cannot be asked; the replica may still be connected to it.
            Some(age) => Some(own.map_or(age, |own| own.min(age))),
            // It was behind before anybody looked.
            None => {
                let known =
                    self.samples.front().map_or(Duration::ZERO, |first| first.at.until(now));
                own.map(|own| own.max(known))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn history(samples: &[(u64, u64)]) -> History {
        let mut history = History::new(3 * SECOND);
        for &(seconds, lsn) in samples {
            history.add(at(seconds), &Position::Lsn(lsn));
        }
        history
    }

    fn lag(history: &History, lsn: u64, own: Option<u64>, now: u64) -> Option<u64> {
        let lag = history.lag(&Position::Lsn(lsn), own.map(Duration::from_secs), at(now));
        lag.map(|lag| lag.as_secs())
    }

    #[test]
    fn a_replica_is_as_far_behind_as_the_last_sample_that_it_covers_is_old() {
        let history = history(&[(10, 100), (11, 110), (12, 120)]);
        assert_eq!(lag(&history, 120, None, 12), Some(0));
        assert_eq!(lag(&history, 130, Some(99), 13), Some(0));
        assert_eq!(lag(&history, 119, Some(0), 13), Some(2));
        assert_eq!(lag(&history, 100, None, 13), Some(3));
    }

    #[test]
    fn one_that_stands_still_falls_behind_while_the_primary_goes_on() {
        let mut history = history(&[(10, 100)]);
        for second in 11..100 {
            history.add(at(second), &Position::Lsn(90 + second));
            // It received no more, so it says that it has replayed everything.
            assert_eq!(lag(&history, 100, Some(0), second), Some(second - 10));
        }
    }

    #[test]
    fn an_idle_primary_leaves_nobody_behind() {
        let mut history = history(&[(10, 100)]);
        for second in 11..1000 {
            history.add(at(second), &Position::Lsn(100));
            assert_eq!(lag(&history, 100, Some(second), second), Some(0));
        }
        // The first thing that it writes after that is not as old as its silence.
        history.add(at(1000), &Position::Lsn(101));
        assert_eq!(lag(&history, 100, Some(1000), 1000), Some(1));
    }

    #[test]
    fn once_the_primary_is_silent_replicas_age_unless_they_go_on_replaying() {
        let history = history(&[(10, 100), (11, 110)]);
        assert_eq!(lag(&history, 110, None, 14), Some(0));
        assert_eq!(lag(&history, 110, None, 30), Some(19));
        assert_eq!(lag(&history, 110, Some(40), 30), Some(19));
        assert_eq!(lag(&history, 150, Some(2), 30), Some(2));
    }

    #[test]
    fn what_happened_before_anybody_looked_is_told_by_the_replica_alone() {
        let history = history(&[(10, 100)]);
        assert_eq!(lag(&history, 99, Some(3600), 10), Some(3600));
        assert_eq!(lag(&history, 99, Some(0), 12), Some(2));
        assert_eq!(lag(&history, 99, None, 12), None);
        assert_eq!(lag(&self::history(&[]), 99, Some(7), 12), Some(7));
        assert_eq!(lag(&self::history(&[]), 99, None, 12), None);
    }

    #[test]
    fn a_primary_that_goes_back_is_another_one() {
        let history = history(&[(10, 100), (11, 110), (12, 50)]);
        assert_eq!(lag(&history, 50, None, 12), Some(0));
        assert_eq!(lag(&history, 49, None, 12), None);
    }

    #[test]
    fn memory_is_bounded_and_reaches_far_back() {
        let mut history = History::new(3 * SECOND);
        for second in 0..100_000 {
            history.add(at(second), &Position::Lsn(second));
            assert!(history.samples.len() <= SAMPLES_MAX);
        }
        assert_eq!(lag(&history, 0, None, 99_999), Some(99_999));
        assert_eq!(lag(&history, 99_900, None, 99_999), Some(99));
    }

    proptest! {
        #[test]
        fn lag_is_never_understated(
            steps in proptest::collection::vec((1_u64..3, 0_u64..3), 1..1500), behind in 0_usize..1500,
        ) {
            // Where the primary truly was; the replica is where it was some samples ago.
            let mut history = History::new(3 * SECOND);
            let (mut now, mut lsn) = (0, 0);
            let mut truth = Vec::new();
            for (pause, written) in steps {
                (now, lsn) = (now + pause, lsn + written);
                history.add(at(now), &Position::Lsn(lsn));
                truth.push((now, lsn));
            }
            let replica = truth[truth.len().saturating_sub(behind + 1)].1;
            let last_there = truth.iter().rev().find(|(_, lsn)| *lsn <= replica).unwrap();
            let lag = lag(&history, replica, None, now).unwrap();
            prop_assert!(lag >= now - last_there.0, "{} < {}", lag, now - last_there.0);
            prop_assert_eq!(lag == 0, replica >= lsn);
        }
    }
}
