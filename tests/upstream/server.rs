//! A real PostgreSQL for this test binary: one server, started on first use, gone with the process.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use daypass::secret::Secret;
use daypass::upstream::{Connection, Startup, Target, connect, query};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Where the server's programs are; another version by `PG_BIN`.
fn bin() -> PathBuf {
    std::env::var_os("PG_BIN").map_or("/usr/lib/postgresql/15/bin".into(), PathBuf::from)
}

/// A password that must not be seen anywhere.
pub const PASSWORD: &str = "hunter2";

pub struct Server {
    pub directory: PathBuf,
    pub port: u16,
}

/// The server that all tests share.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.starts_with(b"0\n")
}

/// PostgreSQL does not run as root.
fn unprivileged(program: impl AsRef<Path>) -> Command {
    if !is_root() {
        return Command::new(program.as_ref());
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program.as_ref());
    command
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("daypass-up-").tempdir().unwrap().keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        write_certificates(&directory);
        if is_root() {
            let chown = Command::new("chown").args(["-R", "postgres"]).arg(&directory).status();
            assert!(chown.unwrap().success());
        }
        let data = directory.join("data");
        let made = unprivileged(bin().join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-N", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{0}'\n\
             ssl = on\nssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\n\
             fsync = off\nmax_connections = 60\n",
            directory.display()
        );
        fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
        spawn(&directory, &data);
        let server = Self { directory, port };
        server.make_roles();
        server
    }

    fn make_roles(&self) {
        let script = format!(
            "CREATE ROLE trusty LOGIN;
             SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD '{PASSWORD}';
             SET password_encryption = 'scram-sha-256';
             CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}';
             CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}';
             CREATE ROLE over_tls LOGIN PASSWORD '{PASSWORD}';
             CREATE ROLE owner; CREATE ROLE member LOGIN IN ROLE owner; CREATE ROLE other LOGIN;"
        );
        let start = Instant::now();
        // A thread of its own: the caller may already be inside a runtime.
        let make = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let target = self.socket("postgres", "postgres");
                loop {
                    match connect(&target, &Startup::default()).await {
                        Ok(mut connection) => break query(&mut connection, &script).await.unwrap(),
                        Err(error) => {
                            assert!(start.elapsed() < Duration::from_secs(30), "{error}");
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            })
        };
        std::thread::scope(|scope| scope.spawn(make).join().unwrap());
    }

    /// Over the Unix socket, where everybody is trusted.
    pub fn socket(&self, user: &str, database: &str) -> Target {
        let directory = self.directory.display();
        let url = format!("postgres://{user}@/{database}?host={directory}&port={}", self.port);
        Target::parse(&url, Path::new("/")).unwrap()
    }

    /// Over TCP, with the right password.
    pub fn tcp(&self, user: &str, host: &str, query: &str) -> Target {
        let url = format!("postgres://{user}@{host}:{}/postgres{query}", self.port);
        let target = Target::parse(&url, &self.directory).unwrap();
        target.with_password(Some(Secret::new(PASSWORD)))
    }

    /// An empty database, and a connection of the superuser to it.
    pub async fn database(&self, name: &str) -> Connection {
        let mut connection = self.superuser("postgres").await;
        query(&mut connection, &format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .unwrap();
        self.superuser(name).await
    }

    pub async fn superuser(&self, database: &str) -> Connection {
        connect(&self.socket("postgres", database), &Startup::default()).await.unwrap()
    }
}

const HBA: &str = "local all all trust
host all trusty 127.0.0.1/32 trust
host all clear 127.0.0.1/32 password
host all hashed 127.0.0.1/32 md5
host all scram 127.0.0.1/32 scram-sha-256
hostssl all over_tls 127.0.0.1/32 scram-sha-256
";

/// Runs the server until this process is gone: its end of the pipe closes then, however it ends.
fn spawn(directory: &Path, data: &Path) {
    const SCRIPT: &str = "\"$1\" -D \"$2\" >\"$3/log\" 2>&1 & server=$!
        cat >/dev/null; kill -INT $server; wait $server; rm -rf \"$3\"";
    let child = unprivileged("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(bin().join("postgres"))
        .args([data, directory])
        .current_dir("/")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Never dropped, so never closed before the process ends.
    std::mem::forget(child);
}

/// `ca.pem` signs `server.pem`, which is for `localhost` alone; `other.pem` signs nothing.
fn write_certificates(directory: &Path) {
    let authority = |name: &str| {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(parameters, key))
    };
    let (pem, issuer) = authority("ca");
    fs::write(directory.join("ca.pem"), pem).unwrap();
    fs::write(directory.join("other.pem"), authority("other").0).unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    let key_file = directory.join("server.key");
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
}
