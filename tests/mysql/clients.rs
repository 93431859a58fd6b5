//! Real clients log in with a token, without any option of their own, and talk to a real server through
//! the machines of the wire: the login, the reader of commands, the follower of replies.

use std::collections::HashMap;
use std::process::Command as Process;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use crate::support::{Mysql, Output, Product, mysql_client, node, products_available, python, run};
use bytes::{Buf, BytesMut};
use daypass::identity::token::{Token, TokenSnapshot, TokenVerifier};
use daypass::identity::{PrincipalName, TokenId};
use daypass::net::{Keepalive, Stream};
use daypass::secret::Secret;
use daypass::time::Timestamp;
use daypass::upstream::mysql::{Host, Startup, Target, connect};
use daypass::wire::Limits;
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::command::Command;
use daypass::wire::mysql::handshake::ChangeUser;
use daypass::wire::mysql::login::{
    Channel, LoggedIn, Login, LoginConfig, LoginEnv, Mirror, Step, TlsPolicy,
};
use daypass::wire::mysql::packet::{message, payload, write};
use daypass::wire::mysql::reply::{Event, Expect, Reply, Step as ReplyStep};
use daypass::wire::mysql::report::Report;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn token(n: u8) -> String {
    String::from_utf8(Token::generate(&[n; 20]).expose().to_vec()).unwrap()
}

/// Alice's tokens: 1 and 2 live, 3 expired.
static TOKENS: LazyLock<TokenSnapshot> = LazyLock::new(|| {
    let alice = PrincipalName::new("alice").unwrap();
    let key = Secret::new("key");
    let issue = |n: u8, expires: Timestamp| {
        let token = Token::parse(&token(n)).unwrap();
        let id = TokenId(format!("t_{n}").into());
        let kept =
            TokenVerifier::issue(&token, id, alice.clone(), "local:root", NOW, expires, &key);
        Arc::new(kept)
    };
    let later = NOW + Duration::from_hours(1);
    let all = vec![issue(1, later), issue(2, later), issue(3, NOW)];
    TokenSnapshot { store_key: key, by_principal: HashMap::from([(alice, all)]) }
});

/// A listener before a server.
struct Door {
    server: Mysql,
    port: u16,
    /// What clients did, and what became of it.
    seen: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Shared {
    target: Target,
    mirror: Mirror,
    acceptor: TlsAcceptor,
    channel: Channel,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Shared {
    fn note(&self, text: impl Into<String>) {
        self.seen.lock().unwrap().push(text.into());
    }

    fn config(&self) -> LoginConfig {
        LoginConfig {
            tls: TlsPolicy::Offered,
            channel: self.channel,
            native_allowed: false,
            limits: Limits::default(),
        }
    }
}

impl Door {
    fn open(product: Product, channel: Channel) -> Self {
        let server = Mysql::start(product);
        let host = Host::Unix(server.socket());
        let user = if product == Product::MariaDb { "native" } else { "sha2" };
        let target = Target::new(host, user, None);
        let target = target.with_password(Some(Secret::new(Mysql::PASSWORD)));
        let made = server.certificates();
        let chain = CertificateDer::pem_file_iter(&made.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&made.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let seen = Arc::default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (listener, mirror) = runtime.block_on(async {
            let asked = connect(&target, &Startup::default()).await.unwrap();
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), Mirror::of(&asked.greeting))
        });
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Shared { target, mirror, acceptor, channel, seen: Arc::clone(&seen) };
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let stream = Stream::tcp(stream, Keepalive::default()).unwrap();
                    if let Err(error) = serve(stream, &shared).await {
                        shared.note(format!("broke: {error}"));
                    }
                });
            }
        });
        Self { server, port, seen, _runtime: runtime }
    }

    fn saw(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn environment(&self, token: &str) -> [(&'static str, String); 3] {
        let ca = self.server.certificates().ca.display().to_string();
        [("PORT", self.port.to_string()), ("TOKEN", token.to_owned()), ("CA", ca)]
    }

    fn cli(&self, product: Product, token: &str, sql: &str, tls: bool) -> Output {
        let mut command: Process = mysql_client(product);
        command.args(["-h", "127.0.0.1", "-u", "alice", "--batch", "--skip-column-names"]);
        command.args([format!("-P{}", self.port), format!("-p{token}")]);
        if tls {
            let ca = self.server.certificates().ca.display();
            command.arg(format!("--ssl-ca={ca}"));
            command.arg(match product {
                Product::MariaDb => "--ssl-verify-server-cert",
                Product::Mysql => "--ssl-mode=VERIFY_IDENTITY",
            });
        } else {
            command.arg(match product {
                Product::MariaDb => "--skip-ssl",
                Product::Mysql => "--ssl-mode=DISABLED",
            });
        }
        run(command.args(["shop", "-e", sql]), "")
    }
}

/// Runs a login machine to its end.
async fn log_in(
    mut login: Login,
    mut stream: Stream,
    input: &mut BytesMut,
    mut out: Vec<u8>,
    shared: &Shared,
) -> std::io::Result<Option<(Stream, Box<LoggedIn>)>> {
    let env = LoginEnv { tokens: &TOKENS, now: NOW };
    loop {
        let step = login.advance(input, &mut out, &env);
        stream.write_all(&std::mem::take(&mut out)).await?;
        stream.flush().await?;
        match step {
            Step::Read => {
                let max = login.read_max(input) as u64;
                if (&mut stream).take(max).read_buf(input).await? == 0 {
                    return Ok(None);
                }
            }
            Step::StartTls => {
                let Stream::Tcp(tcp) = stream else { panic!("TLS twice") };
                stream = Stream::TlsServer(Box::new(shared.acceptor.accept(tcp).await?));
                login.tls_established(input).unwrap();
            }
            Step::LoggedIn(logged_in) => {
                let tls = if stream.is_tls() { "TLS" } else { "clear" };
                let LoggedIn { principal, token, plugin, .. } = &*logged_in;
                shared.note(format!("login {principal} {token} {} {tls}", plugin.name()));
                return Ok(Some((stream, logged_in)));
            }
            Step::Refused(refused) => {
                shared.note(format!("refused {} {}", refused.code, refused.reason));
                return Ok(None);
            }
            Step::Closed => return Ok(None),
        }
    }
}

async fn serve(stream: Stream, shared: &Shared) -> std::io::Result<()> {
    let (mut out, mut input) = (Vec::new(), BytesMut::new());
    let login = Login::start(shared.config(), &shared.mirror, 77, &[0x31; 20], &mut out);
    let Some((mut client, mut logged_in)) = log_in(login, stream, &mut input, out, shared).await?
    else {
        return Ok(());
    };
    loop {
        let again = converse(&mut client, &mut input, &logged_in, shared).await?;
        let Some((body, sequence)) = again else { return Ok(()) };
        let wish = ChangeUser::read(&body, logged_in.capabilities).unwrap();
        let (config, tls, mut out) = (shared.config(), client.is_tls(), Vec::new());
        let (login, step) =
            Login::again(config, tls, &logged_in, &wish, &[0x32; 20], sequence, &mut out);
        assert!(step.is_none(), "{step:?}");
        match log_in(login, client, &mut input, out, shared).await? {
            Some(both) => (client, logged_in) = both,
            None => return Ok(()),
        }
    }
}

/// What has to be the same on both sides.
fn session(capabilities: Capabilities) -> Capabilities {
    (capabilities & Capabilities::PASSED).without(Capabilities::OF_LOGIN)
}

/// Passes commands and replies, until the client goes, or wants to be somebody else.
async fn converse(
    client: &mut Stream,
    input: &mut BytesMut,
    logged_in: &LoggedIn,
    shared: &Shared,
) -> std::io::Result<Option<(Vec<u8>, u8)>> {
    let capabilities = logged_in.capabilities;
    let startup = Startup {
        capabilities,
        needed: session(capabilities),
        packet_max: logged_in.packet_max,
        ..Startup::default()
    };
    let mut target = shared.target.clone();
    target.schema.clone_from(&logged_in.schema);
    let mut server = connect(&target, &startup).await.expect("the server takes us");
    assert_eq!(session(server.capabilities), session(capabilities));
    let mut okay = Vec::new();
    write(&mut okay, &mut logged_in.sequence.clone(), |out| out.extend_from_slice(&server.okay));
    client.write_all(&okay).await?;
    client.flush().await?;
    loop {
        let Some((bytes, next)) = whole(client, input, 0).await? else { return Ok(None) };
        let body = payload(&bytes);
        let command = Command::read(&body, capabilities).expect("a command");
        let shown = format!("{command:?}");
        shared.note(shown.split([' ', '{']).next().unwrap_or_default().to_owned());
        match &command {
            Command::Quit => return Ok(None),
            Command::ChangeUser { body } => return Ok(Some((body.to_vec(), next))),
            Command::Refused { name } => {
                let mut out = Vec::new();
                Report::new(1047, "08S01", *name).write(&mut out, &mut next.clone());
                client.write_all(&out).await?;
                client.flush().await?;
                continue;
            }
            _ => {}
        }
        server.stream.write_all(&bytes).await?;
        server.stream.flush().await?;
        let Some(expect) = Expect::of(&command) else { continue };
        let mut reply = Reply::new(expect, capabilities, next);
        while !reply.is_over() {
            let (taken, file) = match reply.advance(&server.buffer).expect("a reply") {
                ReplyStep::Read => {
                    client.flush().await?;
                    assert!(server.stream.read_buf(&mut server.buffer).await? > 0);
                    continue;
                }
                ReplyStep::Pass(bytes) => (bytes, false),
                ReplyStep::Packet { bytes, event } => {
                    if let Event::RowsEnd { rows, cursor, .. } = &event {
                        shared
                            .note(format!("{rows} rows{}", if *cursor { " to fetch" } else { "" }));
                    }
                    if let Event::ColumnsEnd { cursor: true, .. } = &event {
                        shared.note("0 rows to fetch");
                    }
                    (bytes, matches!(event, Event::LocalInfile(_)))
                }
            };
            client.write_all(&server.buffer[..taken]).await?;
            server.buffer.advance(taken);
            if file {
                client.flush().await?;
                let mut sequence = reply.sequence();
                loop {
                    let (bytes, next) = whole(client, input, sequence).await?.expect("the file");
                    server.stream.write_all(&bytes).await?;
                    sequence = next;
                    if payload(&bytes).is_empty() {
                        break;
                    }
                }
                server.stream.flush().await?;
                reply.file_sent(sequence);
            }
        }
        assert!(server.buffer.is_empty(), "a reply ends where the server ends it");
        client.flush().await?;
    }
}

/// The client's next message, and the number that follows it.
async fn whole(
    client: &mut Stream,
    input: &mut BytesMut,
    sequence: u8,
) -> std::io::Result<Option<(BytesMut, u8)>> {
    loop {
        if let Some(found) = message(input, sequence, 64 << 20).expect("a message") {
            return Ok(Some((input.split_to(found.total), found.next)));
        }
        if client.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

fn both() -> impl Iterator<Item = Door> {
    products_available().into_iter().map(|product| Door::open(product, Channel::Loopback))
}

fn borrow<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[track_caller]
fn assert_login(door: &Door, tls: bool) {
    let seen = door.saw();
    let expected =
        format!("login alice t_1 caching_sha2_password {}", if tls { "TLS" } else { "clear" });
    assert!(seen.contains(&expected), "{seen:?}");
    assert!(!seen.iter().any(|one| one.starts_with("broke")), "{seen:?}");
}

#[test]
fn the_command_lines_log_in_with_a_token() {
    for door in both() {
        let user = door.server.sql("SELECT 1");
        assert_eq!(user, "1");
        for client in products_available() {
            for tls in [false, true] {
                let sql = "SELECT DATABASE(); SELECT 'é'; SHOW VARIABLES LIKE 'sql_mod_'";
                let output = door.cli(client, &token(1), sql, tls);
                let said = output.expect_success();
                assert!(said.starts_with("shop\né\nsql_mode"), "{client:?} {tls}: {said}");
                assert_login(&door, tls);
            }
        }
    }
}

#[test]
fn the_command_lines_say_why_they_are_refused() {
    let door = Door::open(Product::MariaDb, Channel::Loopback);
    for client in products_available() {
        for tls in [false, true] {
            let expired = door.cli(client, &token(3), "SELECT 1", tls);
            assert!(expired.stderr.contains("1045 (28000): token t_3 expired"), "{expired:?}");
            let unknown = door.cli(client, "hunter2", "SELECT 1", tls);
            assert!(unknown.stderr.contains("Access denied for user 'alice'"), "{unknown:?}");
            assert!(unknown.stderr.contains("daypass token issue --user alice"), "{unknown:?}");
        }
    }
    let network = Door::open(Product::MariaDb, Channel::Network);
    for client in products_available() {
        let clear = network.cli(client, &token(1), "SELECT 1", false);
        assert!(clear.stderr.contains("3159"), "{clear:?}");
        network.cli(client, &token(1), "SELECT 1", true).expect_success();
    }
}

const PYMYSQL: &str = r#"
import os, tempfile, pymysql, pymysql.cursors
def open(**more):
    return pymysql.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="alice",
        password=os.environ["TOKEN"], database="shop", **more)
tls = {"ssl_ca": os.environ["CA"], "ssl_verify_cert": True, "ssl_verify_identity": False}
for more in ({"ssl_disabled": True}, tls):
    c = open(local_infile=True, client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS, **more)
    k = c.cursor()
    k.execute("CREATE TEMPORARY TABLE t (a INT, b TEXT)")
    k.executemany("INSERT INTO t VALUES (%s, %s)", [(n, "x" * n) for n in range(300)])
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        f.write("1000\tfile\n1001\tfile\n"); f.flush()
        k.execute(f"LOAD DATA LOCAL INFILE '{f.name}' INTO TABLE t")
        assert k.rowcount == 2, k.rowcount
    k.execute("SELECT COUNT(*), SUM(LENGTH(b)) FROM t")
    assert k.fetchall() == ((302, sum(range(300)) + 8),)
    k.execute("SELECT 1; SELECT 2; DO 3")
    assert k.fetchall() == ((1,),)
    assert k.nextset() and k.fetchall() == ((2,),)
    u = c.cursor(pymysql.cursors.SSCursor)
    u.execute("SELECT a FROM t ORDER BY a")
    assert sum(1 for _ in u) == 302
    k.execute("SELECT %s", ("y" * (17 << 20),))
    assert len(k.fetchone()[0]) == 17 << 20
    try:
        k.execute("SELECT nothing")
    except pymysql.err.OperationalError as e:
        assert e.args[0] == 1054, e
    c.ping(); c.select_db("shop"); c.close()
print("done")
"#;

#[test]
fn pymysql_logs_in_and_has_its_way() {
    for door in both() {
        let env = door.environment(&token(1));
        assert_eq!(python(PYMYSQL, &borrow(&env)).expect_success(), "done");
        let seen = door.seen.lock().unwrap().clone();
        for wanted in ["login alice t_1 caching_sha2_password TLS", "302 rows", "Ping", "InitDb"] {
            assert!(seen.iter().any(|one| one == wanted), "{wanted}: {seen:?}");
        }
        assert_login(&door, false);
    }
}

const CONNECTOR: &str = r#"
import os, mysql.connector
for more in ({"ssl_disabled": True}, {"ssl_ca": os.environ["CA"], "ssl_verify_cert": True}):
    c = mysql.connector.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="alice",
        password=os.environ["TOKEN"], database="shop", use_pure=True, **more)
    k = c.cursor(prepared=True)
    for n in (1, 2):
        k.execute("SELECT %s + 1, %s", (n, "é"))
        (a, b), = k.fetchall()
        assert int(a) == n + 1 and b == "é", (a, b)
    k.close()
    k = c.cursor()
    k.execute("CREATE TEMPORARY TABLE t (a INT PRIMARY KEY AUTO_INCREMENT, b DATETIME(6))")
    k.execute("INSERT INTO t (b) VALUES (%s), (NULL)", ("2026-11-24 10:00:00.5",))
    assert k.lastrowid == 1, k.lastrowid
    k.execute("SELECT a FROM t")
    assert k.fetchall() == [(1,), (2,)]
    c.reset_session()
    c.cmd_change_user(username="alice", password=os.environ["OTHER"], database="shop")
    k = c.cursor(); k.execute("SELECT DATABASE()"); assert k.fetchall() == [("shop",)]
    c.ping(); c.close()
print("done")
"#;

#[test]
fn mysql_connector_logs_in_prepares_and_changes_its_user() {
    for door in both() {
        let mut env = door.environment(&token(1)).to_vec();
        env.push(("OTHER", token(2)));
        assert_eq!(python(CONNECTOR, &borrow(&env)).expect_success(), "done");
        let seen = door.seen.lock().unwrap().clone();
        for wanted in ["Prepare", "Execute", "login alice t_2 caching_sha2_password TLS"] {
            assert!(seen.iter().any(|one| one == wanted), "{wanted}: {seen:?}");
        }
        assert_login(&door, false);
    }
}

const MYSQL2: &str = r#"
const mysql = require("mysql2/promise"), fs = require("fs");
(async () => {
  for (const ssl of [undefined, { ca: fs.readFileSync(process.env.CA) }]) {
    const c = await mysql.createConnection({ host: "localhost", port: +process.env.PORT,
      user: "alice", password: process.env.TOKEN, database: "shop", ssl });
    const [rows] = await c.execute("SELECT ? + 1 AS a, ? AS b, CAST(? AS DATETIME) AS c", [1, "é", "2026-11-24"]);
    if (Number(rows[0].a) !== 2 || rows[0].b !== "é") throw new Error(JSON.stringify(rows));
    const [again] = await c.execute("SELECT ? + 1 AS a, ? AS b, CAST(? AS DATETIME) AS c", [2, null, null]);
    if (Number(again[0].a) !== 3 || again[0].b !== null) throw new Error(JSON.stringify(again));
    const [text] = await c.query("SELECT DATABASE() AS d");
    if (text[0].d !== "shop") throw new Error(JSON.stringify(text));
    await c.ping();
    await c.changeUser({ user: "alice", password: process.env.OTHER, database: "shop" });
    await c.query("SELECT 1");
    await c.end();
  }
  console.log("done");
})().catch(e => { console.error(e); process.exit(1); });
"#;

#[test]
fn mysql2_logs_in_prepares_and_changes_its_user() {
    for door in both() {
        let mut env = door.environment(&token(1)).to_vec();
        env.push(("OTHER", token(2)));
        assert_eq!(node(MYSQL2, &borrow(&env)).expect_success(), "done");
        let seen = door.seen.lock().unwrap().clone();
        for wanted in ["Prepare", "Execute", "login alice t_2 caching_sha2_password TLS"] {
            assert!(seen.iter().any(|one| one == wanted), "{wanted}: {seen:?}");
        }
        assert_login(&door, false);
    }
}
