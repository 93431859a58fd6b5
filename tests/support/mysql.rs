//! Servers of MariaDB and MySQL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tempfile::TempDir;

use super::postgres::{copy, folders, id};
use super::process::{Output, Process, free_port, run};
use super::tls::{Certificates, write_private};
use super::{PATIENCE, installed};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The distribution's MariaDB.
    MariaDb,
    /// The MySQL that `scripts/install servers` put under `target/servers`.
    Mysql,
}

/// Those that are here: both, but on a machine on which `scripts/install` could not fetch MySQL. There it
/// is said.
pub fn products_available() -> Vec<Product> {
    if installed("servers/mysql/unavailable").exists() {
        eprintln!("SKIPPED MySQL: scripts/install servers could not fetch it here");
        return vec![Product::MariaDb];
    }
    vec![Product::MariaDb, Product::Mysql]
}

/// A program of MySQL, run with the C library that came with it.
fn mysql_program(program: &str) -> Command {
    let folder = installed("servers/mysql");
    let root = folder.join("root");
    assert!(folder.join("complete").exists(), "no MySQL here: run scripts/install servers");
    let libraries = folders(&root.join("usr/lib"))
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .expect("libraries came with it");
    let loader = folders(&libraries)
        .into_iter()
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ld-linux")))
        .expect("a C library came with it");
    let mut command = Command::new(loader);
    let private = libraries.join("mysql");
    command.arg("--library-path").arg(format!("{}:{}", libraries.display(), private.display()));
    command.arg(root.join(program));
    command
}

/// The command-line client of that product.
pub fn mysql_client(product: Product) -> Command {
    let mut command = match product {
        Product::MariaDb => Command::new("mariadb"),
        Product::Mysql => mysql_program("usr/bin/mysql"),
    };
    command.arg("--no-defaults");
    for name in ["MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "MYSQL_PWD", "USER"] {
        command.env_remove(name);
    }
    command
}

/// Another program of that product's clients: `dump`, `admin`, `show`, `check`; the command line without a name.
pub fn mysql_tool(product: Product, name: &str) -> Command {
    if name.is_empty() {
        return mysql_client(product);
    }
    let mut command = match product {
        Product::MariaDb => Command::new(format!("mariadb-{name}")),
        Product::Mysql => mysql_program(&format!("usr/bin/mysql{name}")),
    };
    command.arg("--no-defaults");
    command
}

/// A running server. `root` has no password over its socket; every statement is in its log.
pub struct Mysql {
    process: Option<Process>,
    product: Product,
    folder: TempDir,
    port: u16,
    certificates: Certificates,
    /// Beside those that every server is started with.
    options: Vec<String>,
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.process = None;
        if std::thread::panicking() {
            let log = self.read("server.log");
            let from = log.len().saturating_sub(8_000);
            eprintln!("--- log of {:?}\n{}", self.product, log.get(from..).unwrap_or(&log));
        }
    }
}

impl Mysql {
    /// Password of the accounts below.
    pub const PASSWORD: &str = "correct horse battery";

    /// Starts one that has a certificate and, beside root, an account for each plugin: `native` and `ed`
    /// on MariaDB, `sha2` on MySQL, all with [`Mysql::PASSWORD`], and `over_tls`, which has to use that.
    /// All may do everything in the schema `shop`.
    pub fn start(product: Product) -> Self {
        Self::start_with(product, Vec::new(), None)
    }

    /// Starts one that replicas can follow: see [`Mysql::replica`].
    pub fn primary(product: Product) -> Self {
        let server = Self::start_with(product, replication(product, 1), None);
        let password = Self::PASSWORD;
        server.sql(&format!(
            "CREATE USER repl@'%' IDENTIFIED BY '{password}'; GRANT REPLICATION SLAVE ON *.* TO repl@'%'"
        ));
        server
    }

    /// A read-only replica of this server, from its first transaction on. `id` is no other's, and not 1.
    pub fn replica(&self, id: u32) -> Self {
        let mut options = replication(self.product, id);
        options.push("--read-only=ON".to_owned());
        let replica = Self::start_with(self.product, options, Some(""));
        let (port, password) = (self.port, Self::PASSWORD);
        replica.sql(&match self.product {
            Product::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'repl', \
                 MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1; \
                 START SLAVE"
            ),
            Product::Mysql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                 SOURCE_USER = 'repl', SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, \
                 GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1; START REPLICA"
            ),
        });
        replica
    }

    fn start_with(product: Product, options: Vec<String>, setup: Option<&str>) -> Self {
        let folder = TempDir::with_prefix("daypass-my-").expect("a temporary folder");
        let certificates = Certificates::make(folder.path());
        let data = folder.path().join("data");
        copy(&template(product), &data);
        // What tells it from others is made anew.
        drop(std::fs::remove_file(data.join("auto.cnf")));
        let port = free_port();
        let mut server = Self { process: None, product, folder, port, certificates, options };
        let accounts = setup.map_or_else(|| server.accounts(), str::to_owned);
        server.start_process(&accounts);
        server
    }

    /// Which of the two.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Process id of the server.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL over the Unix socket, for an account without password.
    pub fn url(&self, user: &str) -> String {
        format!("mysql://{user}@/?socket={}", self.socket().display())
    }

    /// The file of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }

    /// Its certificate files.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Runs SQL as root; it must succeed. Rows bare, columns by tabs.
    #[track_caller]
    pub fn sql(&self, text: &str) -> String {
        self.try_sql(text).expect_success()
    }

    fn try_sql(&self, text: &str) -> Output {
        let mut command = mysql_client(self.product);
        command.args(["-u", "root", "--batch", "--skip-column-names", "--socket"]);
        run(command.arg(self.socket()).arg("-e").arg(text), "")
    }

    /// Every statement that reached it.
    pub fn statements(&self) -> String {
        self.read("general.log")
    }

    fn read(&self, file: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn accounts(&self) -> String {
        let password = Self::PASSWORD;
        let own = match self.product {
            Product::MariaDb => format!(
                "DELETE FROM mysql.global_priv WHERE User = '';\nFLUSH PRIVILEGES;\n\
                 CREATE USER native@'%' IDENTIFIED BY '{password}';\n\
                 CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{password}');\n\
                 GRANT ALL ON shop.* TO native@'%', ed@'%';\n"
            ),
            Product::Mysql => format!(
                "CREATE USER sha2@'%' IDENTIFIED WITH caching_sha2_password BY '{password}';\n\
                 GRANT ALL ON shop.* TO sha2@'%';\n"
            ),
        };
        format!(
            "CREATE DATABASE shop;\n{own}\
             CREATE USER over_tls@'%' IDENTIFIED BY '{password}' REQUIRE SSL;\n\
             GRANT ALL ON shop.* TO over_tls@'%';\n"
        )
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.process.take().expect("it runs").stop();
    }

    /// Ends it without a word to anybody.
    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("KILL");
            process.wait(PATIENCE);
        }
    }

    /// Starts it again after [`stop`](Self::stop): same data, same port.
    pub fn start_again(&mut self) {
        self.start_process("");
    }

    fn start_process(&mut self, accounts: &str) {
        let folder = self.folder.path();
        let setup = folder.join("setup.sql");
        write_private(&setup, accounts);
        let path = |option: &str, file: &str| format!("--{option}={}", folder.join(file).display());
        let mut command = server_program(self.product);
        command.args([path("datadir", "data"), path("socket", "s.sock"), path("pid-file", "pid")]);
        command.arg(path("tmpdir", "data"));
        command.args([path("general-log-file", "general.log"), path("init-file", "setup.sql")]);
        command.args([path("ssl-ca", "ca.pem"), path("ssl-cert", "server.pem")]);
        command.args([path("ssl-key", "server.key"), "--general-log=ON".to_owned()]);
        command.arg(format!("--port={}", self.port));
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--local-infile=ON"]);
        command.args(["--max-allowed-packet=64M", "--innodb-flush-log-at-trx-commit=0"]);
        match self.product {
            Product::MariaDb => command.arg("--plugin-load-add=auth_ed25519"),
            Product::Mysql => command.args(["--mysqlx=OFF", "--secure-file-priv=NULL"]),
        };
        command.args(&self.options);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("server.log"))
            .expect("the folder is ours");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut process = Process::start(&mut command, "TERM");
        let started = Instant::now();
        while self.try_sql("SELECT 1").status != 0 {
            let ended = process.ended();
            let log = self.read("server.log");
            assert!(ended.is_none(), "{:?} ended with {ended:?}: {log}", self.product);
            assert!(started.elapsed() < PATIENCE, "{:?} does not start: {log}", self.product);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.process = Some(process);
    }
}

/// A log that replicas follow, and counts what is in it.
fn replication(product: Product, id: u32) -> Vec<String> {
    let own: &[&str] = match product {
        Product::MariaDb => {
            &["--log-slave-updates", "--gtid-strict-mode=ON", "--slave-parallel-threads=4"]
        }
        Product::Mysql => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
    };
    let server =
        [format!("--server-id={id}"), "--log-bin=log".to_owned(), "--sync-binlog=0".to_owned()];
    server.into_iter().chain(own.iter().map(|option| (*option).to_owned())).collect()
}

/// The server's program with what every run of it needs.
fn server_program(product: Product) -> Command {
    let mut command = match product {
        Product::MariaDb => {
            let program = Path::new("/usr/sbin/mariadbd");
            assert!(program.exists(), "no MariaDB here: run scripts/install servers");
            let mut command = Command::new(program);
            command.arg("--no-defaults");
            command
        }
        Product::Mysql => {
            let root = installed("servers/mysql/root/usr");
            let mut command = mysql_program("usr/sbin/mysqld");
            command.arg("--no-defaults");
            command.arg(format!("--basedir={}", root.display()));
            command.arg(format!("--lc-messages-dir={}", root.join("share/mysql").display()));
            let sets = root.join("share/mysql/charsets");
            command.arg(format!("--character-sets-dir={}", sets.display()));
            command.arg(format!("--plugin-dir={}", root.join("lib/mysql/plugin").display()));
            command
        }
    };
    // Both refuse to be root unless it is said.
    if id(&["-u"]) == Some(0) {
        command.arg("--user=root");
    }
    command
}

/// Fresh data of that product to copy from, made once and kept under `target`.
fn template(product: Product) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let version = run(server_program(product).arg("--version"), "").stdout;
    let name: String =
        version.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(24).collect();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{product:?}-{name}"));
    if kept.exists() {
        return kept;
    }
    let folder = TempDir::with_prefix("daypass-my-").expect("a temporary folder");
    let made = folder.path().join("data");
    let mut command = match product {
        Product::MariaDb => {
            let mut command = Command::new("mariadb-install-db");
            command.args(["--no-defaults", "--skip-test-db"]);
            command.arg("--auth-root-authentication-method=normal");
            if id(&["-u"]) == Some(0) {
                command.arg("--user=root");
            }
            command
        }
        Product::Mysql => {
            let mut command = server_program(product);
            command.arg("--initialize-insecure");
            command
        }
    };
    let output = run(command.arg(format!("--datadir={}", made.display())), "");
    assert_eq!(output.status, 0, "{product:?}: {}{}", output.stdout, output.stderr);
    let beside = kept.with_extension(std::process::id().to_string());
    copy(&made, &beside);
    if std::fs::rename(&beside, &kept).is_err() {
        drop(std::fs::remove_dir_all(&beside));
    }
    kept
}
