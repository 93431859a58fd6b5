//! What the simulators of both engines' conversations share, and the fuzz targets with them: a source of choices, the
//! seeds of a run, and what must hold of a session's records.

use daypass::audit::record::{AuditRecord, Kind, Verdict};

/// xorshift64*: the same numbers for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    /// A source of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() >> 33).unwrap() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Runs every seed: 2 000, `DAYPASS_SEEDS` of them, or `DAYPASS_SEED` alone. One that fails is named.
pub fn for_every_seed(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let seeds = std::env::var("DAYPASS_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let only = std::env::var("DAYPASS_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = only.map_or(0..seeds.unwrap_or(2_000), |seed: u64| seed..seed + 1);
    for seed in range {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}: again with DAYPASS_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Every statement that was allowed has one result, and no other has any: how many were allowed.
pub fn check_records(audit: &[AuditRecord]) -> usize {
    let allowed = audit.iter().filter(|record| record.decision == Some(Verdict::Allow));
    let mut count = 0;
    for decision in allowed {
        let of_it = |other: &&AuditRecord| {
            other.kind == Kind::Result && other.statement == decision.statement
        };
        let results = audit.iter().filter(of_it).count();
        assert_eq!(results, 1, "results of statement {:?}", decision.statement);
        count += 1;
    }
    let results = audit.iter().filter(|record| record.kind == Kind::Result).count();
    assert_eq!(results, count, "a result without its decision");
    count
}
