//! From a TCP connection to a logged-in session.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::audit::record::{AuditRecord, Client, Kind, Who};
use crate::audit::redact;
use crate::identity::PrincipalName;
use crate::net::{Keepalive, Stream};
use crate::session::call::InBandCaller;
use crate::session::news::Phase;
use crate::session::postgres::{Conversation, Start};
use crate::session::registry::{Registry, SessionInfo};
use crate::session::relay::{Database, Relay, Shared, Worker};
use crate::session::trail::{Facts, Trail};
use crate::sql::Engine;
use crate::store::{self, Store};
use crate::time::Timestamp;
use crate::tls::{Opening, ServerTls};
use crate::upstream::Startup;
use crate::wire::Limits;
use crate::wire::postgres::login::{
    LoggedIn, Login, LoginConfig, LoginEnv, Refused, Step, TlsPolicy,
};
use crate::wire::postgres::reply::Report;

/// One address that clients connect to.
pub(super) struct Listener {
    /// Certificate and key, where it has them.
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// What every connection needs. Immutable: a reload of the configuration makes another, and who connects
/// then gets that one.
pub(super) struct House {
    pub(super) store: Store,
    pub(super) registry: Arc<Registry>,
    pub(super) databases: Vec<Arc<Database>>,
    pub(super) shared: Arc<Shared>,
    pub(super) text_settings: redact::TextSettings,
    pub(super) parameter_settings: redact::ParameterSettings,
    pub(super) limits: Limits,
    pub(super) login_deadline: Duration,
    pub(super) sessions_max: usize,
    pub(super) sessions_per_principal_max: usize,
    pub(super) drain_deadline: Duration,
    pub(super) phase: watch::Receiver<Phase>,
}

/// The house as it stands.
pub(super) type Current = ArcSwap<House>;

impl House {
    /// The database of that name.
    pub(super) fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.iter().find(|known| *known.name == *name)
    }

    /// Whether statements could be served now.
    ///
    /// # Errors
    /// What is missing, a sentence.
    pub(super) fn readiness(&self) -> Result<(), String> {
        if *self.phase.borrow() != Phase::Serving {
            return Err("the proxy is shutting down".into());
        }
        if !self.shared.recorder.accepts() {
            return Err("the audit stream takes no records".into());
        }
        self.store.known()?;
        for database in &self.databases {
            if database.catalogs.current().is_none() {
                return Err(format!("the names of database {} are not known yet", database.name));
            }
            let progress = database.lock.as_ref().map(|lock| lock.progress());
            let progress = progress.map(|progress| Arc::clone(&progress.borrow()));
            if let Some(progress) = progress.filter(|progress| !progress.served) {
                let why = progress.error.as_deref().unwrap_or("its roles are not in line yet");
                return Err(format!("the second lock of database {}: {why}", database.name));
            }
        }
        Ok(())
    }
}

/// A first byte that begins a TLS handshake (RFC 8446, 5.1: ContentType handshake).
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves one connection to its end.
pub(super) async fn serve(
    current: Arc<Current>,
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    tcp: TcpStream,
) {
    let Ok(address) = tcp.peer_addr() else { return };
    let house = current.load_full();
    let entered = timeout(house.login_deadline, log_in(&house, &listener, tcp, address)).await;
    let Ok(Some((stream, read, login))) = entered else { return };
    drop(house);
    Box::pin(run(current, worker, stream, read, *login, address)).await;
}

async fn log_in(
    house: &House,
    listener: &Listener,
    tcp: TcpStream,
    address: SocketAddr,
) -> Option<(Stream, BytesMut, Box<LoggedIn>)> {
    let config = LoginConfig {
        tls: if listener.tls.is_some() { TlsPolicy::Offered } else { TlsPolicy::None },
        plaintext_allowed: address.ip().to_canonical().is_loopback(),
        limits: house.limits,
    };
    let mut login = Login::new(config);
    let mut first = [0];
    tcp.peek(&mut first).await.ok()?;
    let mut stream = Stream::tcp(tcp, Keepalive::default()).ok()?;
    if first == [TLS_HANDSHAKE] {
        stream = upgrade(listener, &mut login, stream, &[], Opening::Direct).await?;
    }
    let mut input = BytesMut::new();
    let mut random = [0; crate::wire::postgres::scram::NONCE_BYTES];
    getrandom::fill(&mut random).ok()?;
    loop {
        let mut out = Vec::new();
        let snapshot = house.store.snapshot();
        let env = LoginEnv { tokens: &snapshot.tokens, now: now(), random: &random };
        let step = login.advance(&mut input, &mut out, &env);
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
        match step {
            Step::Read => {
                if stream.read_buf(&mut input).await.ok()? == 0 {
                    return None;
                }
            }
            Step::StartTls => {
                stream = upgrade(listener, &mut login, stream, &input, Opening::Asked).await?;
            }
            Step::Cancel(key) => {
                house.registry.cancel(key.expose());
                return None;
            }
            Step::LoggedIn(login) => return Some((stream, input, login)),
            Step::Refused(refused) => {
                record_refusal(house, address, &refused);
                close(stream).await;
                return None;
            }
            Step::Closed => return None,
        }
    }
}

async fn upgrade(
    listener: &Listener,
    login: &mut Login,
    stream: Stream,
    plaintext: &[u8],
    opening: Opening,
) -> Option<Stream> {
    let (Some(tls), Stream::Tcp(tcp)) = (&listener.tls, stream) else { return None };
    let (secured, info) = tls.accept_postgres(tcp, opening).await.ok()?;
    login.tls_established(info, plaintext).ok()?;
    Some(Stream::TlsServer(Box::new(secured)))
}

fn record_refusal(house: &House, address: SocketAddr, refused: &Refused) {
    let mut record = AuditRecord::new(Kind::LoginRefused, now());
    record.concern(Who {
        session: None,
        principal: refused.principal.as_deref().map(Arc::from),
        token: refused.token.as_ref().map(|token| Arc::from(&*token.0)),
        database: refused.database.as_deref().map(Arc::from),
        engine: Some(Engine::Postgres),
        client: Some(Arc::new(Client { address: address.to_string().into(), application: None })),
    });
    record.sqlstate = Some(refused.sqlstate.into());
    record.reason = Some(refused.reason.as_str().into());
    house.shared.recorder.record(&record);
}

/// Turns a client away that has proved who it is.
async fn turn_away(
    house: &House,
    mut stream: Stream,
    address: SocketAddr,
    login: LoggedIn,
    report: Report,
) {
    let refused = Refused {
        principal: Some(login.principal.to_string()),
        database: Some(login.database),
        sqlstate: report.sqlstate,
        reason: report.message.clone(),
        token: Some(login.token),
    };
    record_refusal(house, address, &refused);
    let mut out = Vec::new();
    report.write(&mut out);
    if stream.write_all(&out).await.is_ok() {
        close(stream).await;
    }
}

/// Sends what is left, and a client that still talks gets to read it before the connection is reset.
async fn close(mut stream: Stream) {
    const PATIENCE: Duration = Duration::from_millis(500);
    drop(stream.shutdown().await);
    let mut rest = [0; 512];
    drop(timeout(PATIENCE, async { while let Ok(1..) = stream.read(&mut rest).await {} }).await);
}

/// The database that a client logged in for, when there is room for its session.
fn admit<'h>(house: &'h House, login: &LoggedIn) -> Result<&'h Arc<Database>, Report> {
    let Some(database) = house.database(&login.database) else {
        return Err(unknown_database(house, &login.principal, &login.database));
    };
    if let Err(why) = house.store.known() {
        return Err(Report::fatal("57P03", why).hint("Try again later, or at another proxy."));
    }
    if house.registry.count() >= house.sessions_max {
        let max = house.sessions_max;
        return Err(Report::fatal("53300", format!("the proxy has its {max} sessions")));
    }
    let own = house.registry.list();
    let own = own.iter().filter(|known| *known.principal == *login.principal.as_str()).count();
    if own >= house.sessions_per_principal_max {
        let message = format!("{} has {own} sessions, which is the limit", login.principal);
        return Err(Report::fatal("53300", message));
    }
    Ok(database)
}

async fn run(
    current: Arc<Current>,
    worker: Rc<Worker>,
    stream: Stream,
    read: BytesMut,
    login: LoggedIn,
    address: SocketAddr,
) {
    // As it stands now: what was removed while the client logged in is not there for it.
    let house = current.load_full();
    let database = match admit(&house, &login) {
        Ok(database) => database,
        Err(report) => return turn_away(&house, stream, address, login, report).await,
    };
    let Ok((info, cancel_key)) = introduce(&login, database, address) else { return };
    let (commands_to, commands) = mpsc::unbounded_channel();
    let mut key = cancel_key.0.to_be_bytes().to_vec();
    key.extend_from_slice(&cancel_key.1);
    let _registration = house.registry.enter(info.clone(), &key, commands_to);
    // Whoever removes a database first takes it out and then tells the sessions that are registered.
    if current.load().database(&database.name).is_none() {
        let report = unknown_database(&current.load(), &login.principal, &login.database);
        return turn_away(&house, stream, address, login, report).await;
    }

    let client = Client { address: info.client.clone(), application: info.application.clone() };
    let facts = Facts {
        session: Arc::clone(&info.id),
        principal: Arc::clone(&info.principal),
        token: Arc::from(&*info.token.0),
        database: Arc::clone(&database.name),
        engine: Engine::Postgres,
        client: Arc::new(client),
        second_lock: database.second_lock(),
        ddl_owner: database.ddl_owner.clone(),
    };
    let caller = InBandCaller {
        principal: login.principal.clone(),
        token: login.token.clone(),
        database: Arc::clone(&database.name),
        engine: Engine::Postgres,
        session: Arc::clone(&info.id),
    };
    let mut snapshots = house.store.snapshots();
    let snapshot = Arc::clone(&snapshots.borrow_and_update());
    let mut catalogs = database.watch_catalog();
    let catalog = catalogs.borrow_and_update().clone();
    let trail = Trail::new(facts, house.text_settings.clone(), house.parameter_settings.clone());
    let Ok(poison) = store::ids::new_id("daypass_refused_") else { return };
    let conversation = Conversation::new(Start {
        trail,
        held: snapshot.grants.held(&login.principal, &database.name),
        catalog,
        parameters: database.catalogs.parameters().to_vec(),
        assumed_path: ["pg_catalog", "public"].map(Box::from).into(),
        startup: login.parameters.clone(),
        cancel_key,
        poison: poison.into(),
    });
    let startup = Startup {
        application_name: login.application_name.clone().unwrap_or_default(),
        parameters: login
            .parameters
            .iter()
            .filter(|(name, _)| name != "application_name")
            .cloned()
            .collect(),
        minor: 0,
    };
    let relay = Relay {
        worker,
        shared: Arc::clone(&house.shared),
        database: Arc::clone(database),
        conversation,
        caller,
        startup,
        commands,
        snapshots,
        catalogs,
        phase: house.phase.clone(),
    };
    // A session keeps what it began with, and not the databases of others that have been removed since.
    drop((house, current));
    relay.run(stream, read).await;
}

type CancelKey = (u32, Box<[u8]>);

/// What the session is called, and what it may be cancelled with.
fn introduce(
    login: &LoggedIn,
    database: &Database,
    address: SocketAddr,
) -> Result<(SessionInfo, CancelKey), io::Error> {
    // Protocol 3.2 takes keys of any length up to 256 bytes; before, it is four (manual 54.7).
    let mut key = vec![0; if login.minor >= 2 { 32 } else { 4 }];
    let mut process_id = [0; 4];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    getrandom::fill(&mut process_id).map_err(io::Error::other)?;
    let info = SessionInfo {
        id: store::ids::new_id("s_").map_err(io::Error::other)?.into(),
        principal: login.principal.as_str().into(),
        token: login.token.clone(),
        database: Arc::clone(&database.name),
        engine: Engine::Postgres,
        client: address.to_string().into(),
        application: login.application_name.as_deref().map(Box::from),
        started: now(),
    };
    // Some clients keep the number in a signed integer and show it; zero is no process.
    let process_id = u32::from_be_bytes(process_id) & 0x7fff_ffff | 1;
    Ok((info, (process_id, key.into())))
}

/// The database does not exist: those that the caller may name are those of its grants and requests.
fn unknown_database(house: &House, principal: &PrincipalName, name: &str) -> Report {
    let snapshot = house.store.snapshot();
    let held = |database: &&Arc<Database>| {
        snapshot.grants.held(principal, &database.name).iter().next().is_some()
    };
    let mut names: Vec<_> =
        house.databases.iter().filter(held).map(|database| &*database.name).collect();
    if names.is_empty() {
        // Nobody has granted anything yet: to ask for a grant one has to be on the database.
        names = house.databases.iter().map(|database| &*database.name).collect();
    }
    Report::fatal("3D000", format!("database \"{name}\" does not exist"))
        .hint(format!("This proxy has: {}.", names.join(", ")))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
