//! What the machine says: processor time and memory of a process, and who else was busy.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// Clock ticks of /proc a second: 100 on every Linux that has ever run this.
const TICKS: u64 = 100;

/// User and system time of a process so far, all its threads. Finer than /proc/PID/stat's ticks: the sum of
/// `schedstat` (nanoseconds) of the threads that live.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Resident memory, KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// Puts a process, all its threads and what they start from now on, on these processors.
pub(crate) fn pin(pid: u32, processors: &str) {
    let output = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", processors, &pid.to_string()])
        .output()
        .expect("taskset (util-linux)");
    assert!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
}

/// All processors, as taskset names them.
pub(crate) fn all_processors() -> String {
    format!("0-{}", std::thread::available_parallelism().map_or(1, usize::from) - 1)
}

/// How busy others were while something was measured.
pub(crate) struct Noise {
    begin: Vec<u64>,
    load: String,
}

impl Noise {
    /// From now on.
    pub(crate) fn begin() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        Self { begin: ticks(), load }
    }

    /// Until now, in a sentence.
    pub(crate) fn end(&self) -> String {
        let spent: Vec<u64> = ticks().iter().zip(&self.begin).map(|(a, b)| a - b).collect();
        let all: u64 = spent.iter().take(8).sum::<u64>().max(1);
        let share = |n: usize| 100.0 * spent[n] as f64 / all as f64;
        format!(
            "noise: steal {:.1} %, niced {:.1} % of {} s of processor time, load before {}",
            share(7),
            share(1),
            all / TICKS,
            self.load
        )
    }
}

/// First line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
fn ticks() -> Vec<u64> {
    let stat = fs::read_to_string("/proc/stat").expect("/proc");
    let first = stat.lines().next().unwrap_or_default();
    first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect()
}
