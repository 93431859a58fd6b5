//! What the simulators of both engines' conversations share: a source of choices, and the seeds of a run.

/// xorshift64*: the same numbers for the same seed, everywhere.
pub(super) struct Random(u64);

impl Random {
    /// A source of its own for each seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % n
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Runs every seed: 2 000, `DAYPASS_SEEDS` of them, or `DAYPASS_SEED` alone. One that fails is named.
pub(super) fn for_every_seed(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
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
