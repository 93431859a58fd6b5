//! The compiled `daypass`, serving from a temporary folder.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::mysql::{Mysql, Product, mysql_client};
use super::postgres::Postgres;
use super::process::{Output, Process, free_port, run};
use super::psql::{Shell, psql};
use super::tls::write_private;
use super::{PATIENCE, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_daypass");

/// A configuration in the making. It already has one PostgreSQL listener on a free port, the store,
/// the API socket and the audit file.
#[derive(Default)]
pub struct Config {
    listener: String,
    databases: String,
    audit: String,
    store: Option<String>,
    rest: String,
    files: Vec<(String, String)>,
    env: Vec<(String, String)>,
    mysql_port: Option<u16>,
}

impl Config {
    /// Nothing but what every configuration has.
    pub fn new() -> Self {
        Self::default()
    }

    /// A database entry of that name on its namesake of the servers, the superuser for service account
    /// (the servers trust it), without second lock.
    pub fn postgres(self, name: &str, primary: &Postgres, replicas: &[&Postgres]) -> Self {
        let replicas: Vec<_> = replicas.iter().map(|server| server.url("postgres", name)).collect();
        self.database(&format!(
            "name = \"{name}\"\nengine = \"postgres\"\nprimary = \"{}\"\nreplicas = {replicas:?}\n\
             second-lock = \"none\"\n",
            primary.url("postgres", name)
        ))
    }

    /// A database entry of that name on that server, root for service account, without second lock, and a
    /// listener for it.
    pub fn mysql(self, name: &str, primary: &Mysql) -> Self {
        self.mysql_with(name, primary, "")
    }

    /// [`Self::mysql`], with more lines for its listener.
    pub fn mysql_with(self, name: &str, primary: &Mysql, listener: &str) -> Self {
        self.mysql_listener(name, listener).database(&format!(
            "name = \"{name}\"\nengine = \"mysql\"\nprimary = \"{}\"\nsecond-lock = \"none\"\n",
            primary.url("root")
        ))
    }

    /// A listener for that MySQL database, on a port of its own, with more lines.
    pub fn mysql_listener(mut self, database: &str, lines: &str) -> Self {
        let port = free_port();
        self.mysql_port = Some(port);
        self.section(&format!(
            "[[listener]]\nengine = \"mysql\"\naddress = \"127.0.0.1:{port}\"\n\
             database = \"{database}\"\n{lines}"
        ))
    }

    /// A database entry, as lines of TOML.
    pub fn database(mut self, lines: &str) -> Self {
        writeln!(self.databases, "\n[[database]]\n{lines}").expect("a String takes it");
        self
    }

    /// More lines for the listener: `tls = { … }`.
    pub fn listener(mut self, lines: &str) -> Self {
        writeln!(self.listener, "{lines}").expect("a String takes it");
        self
    }

    /// More lines for `[audit]`.
    pub fn audit(mut self, lines: &str) -> Self {
        writeln!(self.audit, "{lines}").expect("a String takes it");
        self
    }

    /// The lines of `[store]`, instead of a file's.
    pub fn store(mut self, lines: &str) -> Self {
        self.store = Some(lines.to_owned());
        self
    }

    /// Whole sections.
    pub fn section(mut self, text: &str) -> Self {
        writeln!(self.rest, "\n{text}").expect("a String takes it");
        self
    }

    /// A file beside the configuration, readable by its owner alone: a password.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A variable of the proxy's environment, when it is started with this.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write(&self, folder: &Path, port: u16) {
        let text = format!(
            "[[listener]]\nengine = \"postgres\"\naddress = \"127.0.0.1:{port}\"\n{}{}\n\
             [store]\n{}\n\n[api]\nsocket = \"daypass.sock\"\n\n\
             [audit]\nfile = \"audit.jsonl\"\nstdout = false\n{}{}",
            self.listener,
            self.databases,
            self.store.as_deref().unwrap_or("url = \"sqlite:daypass.db\""),
            self.audit,
            self.rest
        );
        write_private(&folder.join("daypass.toml"), &text);
        for (name, text) in &self.files {
            write_private(&folder.join(name), text);
        }
    }
}

/// A proxy that serves.
pub struct Daypass {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    mysql_port: Option<u16>,
    env: Vec<(String, String)>,
    /// Which test has which principals.
    principals: Mutex<HashMap<String, String>>,
}

impl Daypass {
    /// Starts one and waits until its API and its listener answer.
    pub fn start(config: Config) -> Self {
        // The API's socket stands in it, so nobody else may enter.
        let folder = tempfile::Builder::new()
            .prefix("daypass-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("a temporary folder");
        let port = free_port();
        config.write(folder.path(), port);
        let Config { mysql_port, env, .. } = config;
        let principals = Mutex::default();
        let mut daypass = Self { process: None, folder, port, mysql_port, env, principals };
        daypass.start_again();
        daypass
    }

    /// Starts it again after [`stop`](Self::stop): same folder, same port.
    pub fn start_again(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("daypass.log"))
            .expect("the folder is ours");
        let mut command = Command::new(BINARY);
        command
            .args(["serve", "--config", "daypass.toml"])
            .current_dir(self.folder.path())
            .env_remove("DAYPASS_URL")
            .env_remove("DAYPASS_TOKEN")
            .env_remove("NOTIFY_SOCKET")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let mut process = Process::start(&mut command, "TERM");
        eventually("daypass to serve", || {
            let ended = process.ended();
            assert!(ended.is_none(), "daypass serve ended with {ended:?}:\n{}", self.log());
            UnixStream::connect(self.socket()).ok()?;
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.process = Some(process);
    }

    /// Asks it to end (SIGTERM) and waits: its exit code, or none when it had to be killed.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.take().expect("it runs").stop()
    }

    /// Sends a signal, `HUP` or `KILL` or `TERM`, and does not wait.
    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Its exit code, once it has ended of itself or by a signal.
    pub fn wait_end(&mut self) -> Option<i32> {
        self.process.take().expect("it runs").wait(PATIENCE)
    }

    /// Process id: for memory and CPU from /proc.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// The listener's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the listener for MySQL's clients on 127.0.0.1.
    pub fn mysql_port(&self) -> u16 {
        self.mysql_port.expect("a configuration with such a listener")
    }

    /// The folder with configuration, store, socket, audit file and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("daypass.sock")
    }

    /// Its own log.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("daypass.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes another configuration and tells the proxy to read it (SIGHUP). Does not wait.
    pub fn reload(&self, config: Config) {
        config.write(self.folder.path(), self.port);
        self.signal("HUP");
    }

    /// Runs a verb as the operator.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_with(args, &[])
    }

    /// Runs a verb as a token's principal.
    pub fn cli_as(&self, token: &str, args: &[&str]) -> Output {
        self.cli_with(args, &[("DAYPASS_TOKEN", token)])
    }

    fn cli_with(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("DAYPASS_TOKEN")
            .env_remove("COLUMNS")
            .env("DAYPASS_URL", format!("unix:{}", self.socket().display()))
            .envs(env.iter().copied());
        run(&mut command, "")
    }

    /// Two tests that share a proxy and a principal would see each other's grants and records, now and then.
    /// A test's thread has its name; other threads are taken to be of the right one.
    #[track_caller]
    fn is_of_this_test(&self, user: &str) {
        let thread = std::thread::current();
        let Some(test) = thread.name().filter(|name| name.contains("::")) else { return };
        let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let first = principals.entry(user.to_owned()).or_insert_with(|| test.to_owned());
        assert_eq!(first, test, "both have a principal called {user}, of the same proxy");
    }

    /// Issues a token that lives an hour.
    #[track_caller]
    pub fn token(&self, user: &str) -> String {
        self.is_of_this_test(user);
        self.cli(&["token", "issue", "--user", user, "--ttl", "1h"]).expect_success()
    }

    /// Creates a grant for an hour: its id.
    #[track_caller]
    pub fn grant(&self, user: &str, database: &str, privileges: &[&str]) -> String {
        self.grant_for(user, database, privileges, "1h")
    }

    /// Creates a grant: its id.
    #[track_caller]
    pub fn grant_for(
        &self,
        user: &str,
        database: &str,
        privileges: &[&str],
        duration: &str,
    ) -> String {
        self.is_of_this_test(user);
        let mut args = vec!["grant", "create", "--user", user, "--database", database];
        args.extend(["--for", duration, "--reason", "a test", "--output", "json"]);
        for privilege in privileges {
            args.extend(["--privilege", privilege]);
        }
        id_in(&self.cli(&args).expect_success(), "g_")
    }

    /// Revokes a grant.
    #[track_caller]
    pub fn revoke(&self, grant: &str) {
        self.cli(&["grant", "revoke", grant]).expect_success();
    }

    /// What libpq needs to log in.
    pub fn env<'a>(
        &self,
        user: &'a str,
        token: &'a str,
        database: &'a str,
    ) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", user.to_owned()),
            ("PGPASSWORD", token.to_owned()),
            ("PGDATABASE", database.to_owned()),
        ]
    }

    /// Runs one command through psql: SQL or a backslash command.
    pub fn psql(&self, user: &str, token: &str, database: &str, text: &str) -> Output {
        let env = self.env(user, token, database);
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        psql(&["-c", text], &env)
    }

    /// Opens a psql session.
    pub fn open_psql(&self, user: &str, token: &str, database: &str) -> Shell {
        let env = self.env(user, token, database);
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Shell::open(&env)
    }

    /// Opens a session of MariaDB's command line.
    pub fn open_mariadb(&self, user: &str, token: &str, schema: &str) -> Shell {
        let mut command = mysql_client(Product::MariaDb);
        command.args(["-h", "127.0.0.1", "-u", user, "--skip-ssl", schema]);
        command.args([format!("-P{}", self.mysql_port()), format!("-p{token}")]);
        Shell::open_mariadb(&mut command)
    }

    /// The audit file so far.
    pub fn audit(&self) -> Vec<Value> {
        let path = self.folder.path().join("audit.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may still be in the writing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
            .collect()
    }

    /// Waits for an audit record.
    #[track_caller]
    pub fn wait_audit(&self, what: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let records = self.audit();
            if let Some(found) = records.iter().find(|record| predicate(record)) {
                return found.clone();
            }
            let last = &records[records.len().saturating_sub(5)..];
            assert!(
                std::time::Instant::now() < deadline,
                "no audit record of {what}; the last were {last:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daypass {
    fn drop(&mut self) {
        let code = self.process.take().map(|mut process| process.stop());
        let log = self.log();
        if std::thread::panicking() {
            let from = log.len().saturating_sub(6_000);
            eprintln!(
                "--- log of daypass on port {}\n{}",
                self.port,
                log.get(from..).unwrap_or(&log)
            );
            return;
        }
        assert!(!log.contains("panicked at"), "daypass panicked:\n{log}");
        if let Some(code) = code {
            assert_eq!(code, Some(0), "daypass did not end in order on SIGTERM:\n{log}");
        }
    }
}

/// The first word that looks like an id with that prefix.
#[track_caller]
pub fn id_in(text: &str, prefix: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut found =
        words.filter(|word| word.starts_with(prefix) && word.len() == prefix.len() + 12);
    found.next().unwrap_or_else(|| panic!("no {prefix}… in {text:?}")).to_owned()
}
