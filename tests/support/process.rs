//! Child processes: run to their end, or kept until dropped.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a process said before it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Standard output, without its last line break.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Exit code; -1 when a signal ended it.
    pub status: i32,
}

impl Output {
    /// Standard output of a process that must have succeeded.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert_eq!(self.status, 0, "expected success: {self:#?}");
        self.stdout
    }

    /// Asserts that a psql in `VERBOSITY=verbose` met this SQLSTATE.
    #[track_caller]
    pub fn expect_sqlstate(&self, sqlstate: &str) {
        assert!(
            self.sqlstates().iter().any(|one| one == sqlstate),
            "expected SQLSTATE {sqlstate}: {self:#?}"
        );
    }

    /// Every SQLSTATE that a psql in `VERBOSITY=verbose` wrote, in order.
    pub fn sqlstates(&self) -> Vec<String> {
        let severities = ["ERROR:  ", "FATAL:  ", "PANIC:  "];
        self.stderr
            .lines()
            .filter_map(|line| {
                let at = severities.iter().find_map(|s| line.find(s).map(|at| at + s.len()))?;
                let state = line.get(at..at + 5)?;
                line[at + 5..].starts_with(':').then(|| state.to_owned())
            })
            .collect()
    }
}

impl Output {
    /// Every error number that a command line of MySQL's wrote, in order.
    pub fn errnos(&self) -> Vec<String> {
        let number = |line: &str| {
            let rest = line.get(line.find("ERROR ")? + "ERROR ".len()..)?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (!digits.is_empty()).then_some(digits)
        };
        self.stderr.lines().filter_map(number).collect()
    }
}

/// Runs to the end, feeding `stdin`.
pub fn run(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut input = child.stdin.take().expect("standard input is piped");
    let text = stdin.to_owned();
    // A process that ends without reading all is no failure of the writer.
    let writer = std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
    let output = child.wait_with_output().expect("the child is ours to wait for");
    writer.join().expect("the writer does not panic");
    Output {
        stdout: text_of(&output.stdout),
        stderr: text_of(&output.stderr),
        status: output.status.code().unwrap_or(-1),
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned()
}

/// A port of the loopback address that nobody listens on. Below the range from which the kernel takes
/// ports for outgoing connections, and never the same twice in one process.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes that run side by side begin in different places.
    let start = std::process::id().wrapping_mul(7919);
    for step in 0..12_000_u32 {
        let port = 20_000 + u16::try_from(start.wrapping_add(step) % 12_000).expect("below 12 000");
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
}

/// A process in a group of its own, ended when dropped.
pub struct Process {
    child: Child,
    /// How it is asked to end: `TERM`, `INT`, `QUIT`.
    signal: &'static str,
}

impl Process {
    /// Starts it; `signal` is how it will be asked to end.
    pub fn start(command: &mut Command, signal: &'static str) -> Self {
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self { child, signal }
    }

    /// The process's id, which is its group's, too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, when it has ended (-1 for a signal).
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("the child is ours to wait for")?;
        Some(status.code().unwrap_or(-1))
    }

    /// Sends a signal to its group.
    pub fn signal(&self, signal: &str) {
        // It may have ended by itself.
        drop(
            Command::new("kill")
                .arg(format!("-{signal}"))
                .arg("--")
                .arg(format!("-{}", self.id()))
                .stderr(Stdio::null())
                .status(),
        );
    }

    /// Waits for its end: its exit code, or none when `patience` ends first.
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, then makes it. Its exit code, or none when it had to be killed.
    pub fn stop(&mut self) -> Option<i32> {
        if let Some(code) = self.ended() {
            return Some(code);
        }
        self.signal(self.signal);
        let code = self.wait(Duration::from_secs(20));
        if code.is_none() {
            self.signal("KILL");
            drop(self.child.wait());
        }
        code
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
