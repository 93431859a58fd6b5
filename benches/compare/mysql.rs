//! sysbench's point selects and read-only transactions on MariaDB, all on one processor.

use std::process::Command;

use crate::support::{Config, Daypass, Mysql, Product, run};
use crate::table::{self, Figures};
use crate::target::relay_to;
use crate::{Scale, machine, seconds};

/// What sysbench calls its load, and its statements' form: text, or prepared.
const LOADS: [(&str, &str); 2] =
    [("oltp_point_select", "point select"), ("oltp_read_only", "read-only transactions")];
const FORMS: [(&str, &str); 2] = [("disable", "text"), ("auto", "prepared")];

const DATABASE: &str = "sbtest";
const PASSWORD: &str = "bench";

/// One address to put load on.
struct Target {
    name: &'static str,
    port: u16,
    password: String,
    /// The proxy's process.
    pid: Option<u32>,
}

pub(crate) fn pinned(scale: &Scale) {
    let server = server(scale);
    let (relay, relay_port) = relay_to(server.port());
    let daypass = daypass(&server);
    let token = daypass.token("bench");
    let target =
        |name, port, password: &str, pid| Target { name, port, password: password.to_owned(), pid };
    let targets = [
        target("direct", server.port(), PASSWORD, None),
        target("relay", relay_port, PASSWORD, Some(relay.id())),
        target("daypass", daypass.mysql_port(), &token, Some(daypass.id())),
    ];
    for pid in [server.id(), relay.id(), daypass.id()] {
        machine::pin(pid, "0");
    }
    for &threads in scale.threads {
        for (load, what) in LOADS {
            for (form, called) in FORMS {
                let title = format!("MariaDB: {what}, {called}, {threads} at once, one processor");
                let mut rows: Vec<(&str, Vec<Figures>)> =
                    targets.iter().map(|target| (target.name, Vec::new())).collect();
                for round in 0..scale.rounds {
                    eprintln!("{title}: round {} of {}", round + 1, scale.rounds);
                    for (target, (_, rounds)) in targets.iter().zip(&mut rows) {
                        rounds.push(sysbench(target, (load, form), threads, scale));
                    }
                }
                table::print(&title, "statements/s", "CPU µs a statement", &rows);
            }
        }
    }
}

fn server(scale: &Scale) -> Mysql {
    eprintln!("making the tables");
    let server = Mysql::start(Product::MariaDb);
    server.sql(&format!(
        "SET GLOBAL general_log = OFF; CREATE DATABASE {DATABASE};
         CREATE USER bench@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO bench@'%';
         GRANT SELECT ON mysql.func TO bench@'%'"
    ));
    let mut prepare = Command::new("sysbench");
    prepare.args(["--mysql-host=127.0.0.1", "--mysql-user=bench"]);
    prepare.args([format!("--mysql-port={}", server.port()), tables(scale)]);
    prepare.arg(format!("--mysql-password={PASSWORD}"));
    let output = run(prepare.args(["oltp_read_only", "prepare"]), "");
    assert_eq!(output.status, 0, "sysbench prepare: {}{}", output.stdout, output.stderr);
    server
}

/// Few enough rows for the memory that the server takes by itself.
fn tables(scale: &Scale) -> String {
    format!("--table-size={}", scale.accounts * 10_000)
}

fn daypass(server: &Mysql) -> Daypass {
    let config = Config::new()
        .mysql_listener(DATABASE, "")
        .file("bench.password", PASSWORD)
        .database(&format!(
            "name = \"{DATABASE}\"\nengine = \"mysql\"\npassword-file = \"bench.password\"\n\
             primary = \"mysql://bench@127.0.0.1:{}/{DATABASE}\"\nsecond-lock = \"none\"\n",
            server.port()
        ));
    let daypass = Daypass::start(config);
    daypass.grant("bench", DATABASE, &[&format!("READ ON SCHEMA {DATABASE}")]);
    daypass
}

fn sysbench(target: &Target, (load, form): (&str, &str), threads: u32, scale: &Scale) -> Figures {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", "0", "sysbench", "--mysql-host=127.0.0.1", "--mysql-user=bench"])
        .args([format!("--mysql-port={}", target.port), tables(scale)])
        .arg(format!("--mysql-password={}", target.password))
        .args([format!("--threads={threads}"), format!("--time={}", scale.seconds)])
        .args([&format!("--db-ps-mode={form}"), "--histogram=on", load, "run"]);
    let before = target.pid.map(machine::cpu);
    let output = run(&mut command, "");
    assert_eq!(output.status, 0, "sysbench at {}: {}{}", target.name, output.stdout, output.stderr);
    let spent = target.pid.map(machine::cpu).zip(before).map(|(after, before)| after - before);
    // `queries:   94105  (47009.22 per sec.)`, whatever it says of transactions.
    let (_, queries) = output.stdout.split_once("queries: ").expect("what sysbench says");
    let mut numbers = queries.split_whitespace().map(|word| word.trim_start_matches('(').parse());
    let (Some(Ok(statements)), Some(Ok(rate))) = (numbers.next(), numbers.next()) else {
        panic!("no numbers in {queries}")
    };
    Figures {
        rate,
        latency: latencies(&output.stdout),
        cpu: spent.map(|spent| seconds(spent) * 1e6 / statements),
    }
}

/// Median and 99th percentile of sysbench's histogram, milliseconds: lines of `value |*** count`.
fn latencies(text: &str) -> Option<(f64, f64)> {
    let bucket = |line: &str| {
        let (value, count) = line.split_once('|')?;
        Some((value.trim().parse().ok()?, count.split(' ').next_back()?.parse().ok()?))
    };
    let buckets: Vec<(f64, u64)> = text.lines().filter_map(bucket).collect();
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let at = |percent: u64| {
        let mut below = 0;
        let mut reached = buckets.iter().skip_while(|(_, count)| {
            below += count;
            below * 100 < all * percent
        });
        reached.next().map(|(value, _)| *value)
    };
    at(50).zip(at(99))
}
