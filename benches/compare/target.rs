//! What is compared: the server itself, and each proxy before it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    Config, Daypass, Options, Postgres, as_postgres, client, eventually, free_port,
    give_to_postgres, run, server_folder,
};
use crate::{Scale, login, machine, relay};

/// Everything that takes part.
pub(crate) struct House {
    pub(crate) server: Postgres,
    pub(crate) targets: Vec<Target>,
    // What runs ends when these are dropped.
    _relay: Child,
    _pgbouncer: Pgbouncer,
    _daypass: [Daypass; 2],
}

/// One address to put load on.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) user: &'static str,
    pub(crate) password: String,
    /// The proxy's process.
    pub(crate) pid: Option<u32>,
}

const DATABASE: &str = "bench";
const PASSWORD: &str = "bench";

impl House {
    pub(crate) fn build(scale: &Scale) -> Self {
        eprintln!("making the database");
        let server = server(scale);
        let (relay, relay_port) = relay_to(server.port());
        let (pgbouncer, pgbouncer_port) = pgbouncer(&server);
        let daypass = ["none", "role"].map(|second_lock| daypass(&server, second_lock));
        let [none, role] = &daypass;
        let tokens = [none, role].map(|daypass| daypass.token("bench"));
        let target = |name, port, password: &str, pid| Target {
            name,
            port,
            user: "bench",
            password: password.to_owned(),
            pid,
        };
        let targets = vec![
            target("direct", server.port(), "", None),
            target("relay", relay_port, "", Some(relay.id())),
            target("pgbouncer", pgbouncer_port, PASSWORD, Some(pgbouncer.pid)),
            target("daypass", none.port(), &tokens[0], Some(none.id())),
            target("daypass, second lock", role.port(), &tokens[1], Some(role.id())),
        ];
        Self { server, targets, _relay: relay, _pgbouncer: pgbouncer, _daypass: daypass }
    }

    /// Puts the server and all proxies on these processors; what they start from now on, too.
    pub(crate) fn pin(&self, processors: &str) {
        machine::pin(self.server.id(), processors);
        for pid in self.targets.iter().filter_map(|target| target.pid) {
            machine::pin(pid, processors);
        }
    }
}

impl Target {
    /// What libpq needs to log in here.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.to_owned()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", DATABASE.to_owned()),
            ("PGSSLMODE", "disable".to_owned()),
        ]
    }

    /// A logged-in connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        login::connect(self.port, self.user, &self.password, DATABASE).await
    }

    /// Processor time of the proxy so far.
    pub(crate) fn cpu(&self) -> Option<std::time::Duration> {
        self.pid.map(machine::cpu)
    }
}

fn server(scale: &Scale) -> Postgres {
    let sessions = scale.idle_sessions * 5 + 200;
    let server = Postgres::start(Options {
        settings: vec![
            format!("max_connections = {sessions}"),
            "shared_buffers = '1GB'".to_owned(),
            "fsync = off".to_owned(),
            "autovacuum = off".to_owned(),
            "log_statement = none".to_owned(),
        ],
        ..Options::default()
    });
    server.sql("CREATE DATABASE bench");
    server.sql("CREATE ROLE bench LOGIN SUPERUSER PASSWORD 'bench'");
    let mut init = Command::new(client("pgbench"));
    init.args(["--initialize", "--quiet", "--scale", &scale.accounts.to_string()])
        .envs(server.env("bench", DATABASE));
    assert_eq!(run(&mut init, "").status, 0, "pgbench --initialize");
    server.sql_in(
        DATABASE,
        &format!(
            "CREATE UNLOGGED TABLE wide AS SELECT n AS id, repeat('x', 1024) AS filler
                 FROM generate_series(1, {}) n",
            scale.wide_rows
        ),
    );
    server.sql_in(DATABASE, "VACUUM ANALYZE");
    server
}

/// A child that is killed when dropped.
pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a relay to that port.
pub(crate) fn relay_to(port: u16) -> (Child, u16) {
    let this = std::env::current_exe().expect("our own path");
    let mut child = Command::new(this)
        .args([relay::MODE, &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ourselves as a relay");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("its port");
    (Child(child), line.trim().parse().expect("a port"))
}

/// Debian's, in session mode: one server connection a client, as Daypass has it.
fn pgbouncer(server: &Postgres) -> (Pgbouncer, u16) {
    let folder = server_folder();
    let port = free_port();
    let file = |name: &str| folder.path().join(name);
    let ini = format!(
        "[databases]\n{DATABASE} = host=127.0.0.1 port={} user=bench\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {}\npool_mode = session\n\
         default_pool_size = 2000\nmax_client_conn = 5000\nserver_reset_query = DISCARD ALL\n\
         logfile = {}\npidfile = {}\nlog_connections = 0\nlog_disconnections = 0\n",
        server.port(),
        file("users").display(),
        file("log").display(),
        file("pid").display(),
    );
    let users = format!("\"bench\" \"{PASSWORD}\"\n");
    for (name, text) in [("ini", &ini), ("users", &users)] {
        std::fs::write(file(name), text).expect("our folder");
        give_to_postgres(&file(name));
    }
    // Another user's limit of open files may be lower than ours.
    let mut command = as_postgres(Path::new("/bin/sh"));
    let mut child = Child(
        command
            .args(["-c", "ulimit -n $(ulimit -H -n); exec /usr/sbin/pgbouncer --quiet \"$0\""])
            .arg(file("ini"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer: run scripts/install bench"),
    );
    let pid = eventually("pgbouncer to listen", || {
        let ended = child.0.try_wait().expect("the child is ours");
        assert!(ended.is_none(), "pgbouncer ended: {ended:?}");
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        std::fs::read_to_string(file("pid")).ok()?.trim().parse().ok()
    });
    (Pgbouncer { pid, _child: child, _folder: folder }, port)
}

/// A running PgBouncer.
struct Pgbouncer {
    /// Its own process: what was started may only have started it.
    pid: u32,
    _child: Child,
    _folder: TempDir,
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.pid.to_string()).status());
    }
}

fn daypass(server: &Postgres, second_lock: &str) -> Daypass {
    let config = Config::new()
        .database(&format!(
            "name = \"{DATABASE}\"\nengine = \"postgres\"\nprimary = \"{}\"\n\
             second-lock = \"{second_lock}\"\n",
            server.url("bench", DATABASE)
        ))
        .section("[limits]\nsessions-per-principal-max = 2000\n");
    let daypass = Daypass::start(config);
    daypass.grant("bench", DATABASE, &["READ ON DATABASE"]);
    daypass
}
