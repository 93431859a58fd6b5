//! pgbench's point selects.

use std::path::Path;
use std::process::Command;

use crate::support::{client, run};
use crate::table::{self, Figures};
use crate::target::{House, Target};
use crate::{Scale, machine, seconds};

/// How pgbench is called.
struct Load {
    mode: &'static str,
    clients: u32,
    /// A connection a transaction.
    reconnect: bool,
    /// On which processors pgbench itself runs.
    processors: String,
}

const MODES: [&str; 3] = ["simple", "extended", "prepared"];

pub(crate) fn pinned(house: &House, scale: &Scale) {
    house.pin("0");
    for clients in [1, 8] {
        for mode in MODES {
            let load = Load { mode, clients, reconnect: false, processors: "0".to_owned() };
            let title = format!("point select, {mode}, {clients} at once, all on one processor");
            measure(house, scale, &load, &title);
        }
    }
    house.pin(&machine::all_processors());
}

pub(crate) fn spread(house: &House, scale: &Scale) {
    for clients in [8, 32] {
        for mode in MODES {
            let processors = machine::all_processors();
            let load = Load { mode, clients, reconnect: false, processors };
            let title = format!("point select, {mode}, {clients} at once, all processors");
            measure(house, scale, &load, &title);
        }
    }
}

pub(crate) fn connect(house: &House, scale: &Scale) {
    let processors = machine::all_processors();
    let load = Load { mode: "simple", clients: 8, reconnect: true, processors };
    measure(
        house,
        scale,
        &load,
        "a connection a statement, 8 at once, SCRAM but for direct and relay",
    );
}

fn measure(house: &House, scale: &Scale, load: &Load, title: &str) {
    let mut rows: Vec<(&str, Vec<Figures>)> =
        house.targets.iter().map(|target| (target.name, Vec::new())).collect();
    for round in 0..scale.rounds {
        eprintln!("{title}: round {} of {}", round + 1, scale.rounds);
        for (target, (_, rounds)) in house.targets.iter().zip(&mut rows) {
            rounds.push(pgbench(target, load, scale));
        }
    }
    table::print(title, "statements/s", "CPU µs a statement", &rows);
}

fn pgbench(target: &Target, load: &Load, scale: &Scale) -> Figures {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &load.processors])
        .arg(client("pgbench"))
        .args(["--select-only", "--no-vacuum", "--protocol", load.mode])
        .args(["--client", &load.clients.to_string(), "--time", &scale.seconds.to_string()])
        .args(["--log", "--log-prefix"])
        .arg(&log)
        .args(["--sampling-rate", if load.reconnect { "1" } else { "0.1" }])
        .envs(target.env());
    if load.reconnect {
        command.arg("--connect");
    }
    let before = target.cpu();
    let output = run(&mut command, "");
    assert_eq!(output.status, 0, "pgbench at {}: {}", target.name, output.stderr);
    let spent = target.cpu().zip(before).map(|(after, before)| after - before);
    let statements = figure(&output.stdout, "number of transactions actually processed: ");
    // The last line that starts so: with --connect there are two, and this one includes connecting.
    let rate = figure(&output.stdout, "tps = ");
    Figures {
        rate,
        latency: latencies(folder.path()),
        cpu: spent.map(|spent| seconds(spent) * 1e6 / statements),
    }
}

/// The number behind a label.
fn figure(text: &str, label: &str) -> f64 {
    let found = text.lines().rev().find_map(|line| line.strip_prefix(label));
    let number = found.and_then(|rest| rest.split([' ', '/']).next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {label:?} in {text}"))
}

/// Median and 99th percentile of pgbench's log, milliseconds: its third field is microseconds.
fn latencies(folder: &Path) -> Option<(f64, f64)> {
    let files = std::fs::read_dir(folder).expect("our folder").flatten();
    let mut all: Vec<u32> = files
        .map(|file| std::fs::read_to_string(file.path()).expect("pgbench wrote it"))
        .flat_map(|text| {
            let field = |line: &str| line.split(' ').nth(2)?.parse().ok();
            text.lines().filter_map(field).collect::<Vec<u32>>()
        })
        .collect();
    all.sort_unstable();
    let at = |percent: usize| {
        let index = (all.len() * percent / 100).min(all.len().checked_sub(1)?);
        all.get(index).map(|&us| f64::from(us) / 1e3)
    };
    at(50).zip(at(99))
}
