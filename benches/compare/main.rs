//! What Daypass costs beside a relay that reads nothing, PgBouncer (for PostgreSQL), and no proxy at all: one run, the
//! targets taking turns in every round, so that a ratio compares what the machine did at the same time.
//!
//! `make bench`, or `cargo bench --bench compare -- [part …]` with the parts of [`Part`]. `DAYPASS_BENCH`
//! is `full` (the default), or `smoke`: every part once, short, to show that it works.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot run should say so loudly"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod bulk;
mod idle;
mod load;
mod login;
mod machine;
mod mysql;
mod relay;
mod table;
mod target;

use std::cell::LazyCell;
use std::time::Duration;

use target::House;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Point selects, all on one processor: the figures that repeat.
    Pinned,
    /// Point selects of 8 and 32 clients over all processors.
    Spread,
    /// COPY out and many small rows.
    Bulk,
    /// A connection a statement.
    Connect,
    /// Memory of idle sessions.
    Idle,
    /// sysbench on MariaDB, all on one processor.
    Mysql,
    /// Nothing: says where everything is and waits for a line, for a profiler. Only when named.
    Hold,
}

const PARTS: [(&str, Part); 7] = [
    ("pinned", Part::Pinned),
    ("spread", Part::Spread),
    ("bulk", Part::Bulk),
    ("connect", Part::Connect),
    ("idle", Part::Idle),
    ("mysql", Part::Mysql),
    ("hold", Part::Hold),
];

/// How much of it.
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    /// pgbench's scale factor: 100 000 rows each; a tenth of them for sysbench.
    pub(crate) accounts: u32,
    /// Rows of 1 KiB that COPY reads.
    pub(crate) wide_rows: u32,
    pub(crate) small_rows: u32,
    pub(crate) idle_sessions: usize,
    /// How many of sysbench's threads at once, one measurement each.
    pub(crate) threads: &'static [u32],
}

const FULL: Scale = Scale {
    rounds: 5,
    seconds: 2,
    accounts: 10,
    wide_rows: 500_000,
    small_rows: 3_000_000,
    idle_sessions: 1_000,
    threads: &[1, 8],
};

const SMOKE: Scale = Scale {
    rounds: 1,
    seconds: 1,
    accounts: 1,
    wide_rows: 2_000,
    small_rows: 20_000,
    idle_sessions: 20,
    threads: &[8],
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, to] = args.as_slice()
        && mode == relay::MODE
    {
        relay::run(to);
        return;
    }
    let scale = match std::env::var("DAYPASS_BENCH").as_deref() {
        Ok("smoke") => SMOKE,
        Ok("full") | Err(_) => FULL,
        Ok(other) => panic!("DAYPASS_BENCH is {other}: full or smoke"),
    };
    let named: Vec<&str> =
        args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
    for name in &named {
        assert!(PARTS.iter().any(|(known, _)| known == name), "no part {name}: {PARTS:?}");
    }
    let house = LazyCell::new(|| House::build(&scale));
    for (name, part) in PARTS {
        let wanted = if named.is_empty() { part != Part::Hold } else { named.contains(&name) };
        if !wanted {
            continue;
        }
        let noise = machine::Noise::begin();
        match part {
            Part::Pinned => load::pinned(&house, &scale),
            Part::Spread => load::spread(&house, &scale),
            Part::Bulk => bulk::run(&house, &scale),
            Part::Connect => load::connect(&house, &scale),
            Part::Idle => idle::run(&house, &scale),
            Part::Mysql => mysql::pinned(&scale),
            Part::Hold => hold(&house),
        }
        println!("{}\n", noise.end());
    }
}

fn hold(house: &House) {
    for target in &house.targets {
        println!("{} (process {:?}): {:?}", target.name, target.pid, target.env());
    }
    // Whatever ends the wait ends it.
    drop(std::io::stdin().read_line(&mut String::new()));
}

/// Seconds as a figure.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
