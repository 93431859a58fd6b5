//! PostgreSQL's clients.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{
    Beginning, Listener, Newcomer, Refusal, Session, TurnedAway, close, close_with, now,
    record_refusal, run,
};
use crate::identity::PrincipalName;
use crate::net::{Keepalive, Stream};
use crate::server::house::{Current, House};
use crate::session::postgres::{Conversation, Start};
use crate::session::registry::Handle;
use crate::session::relay::postgres::Postgres;
use crate::session::relay::{Database, Entry};
use crate::session::routing::Routing;
use crate::session::wire::Worker;
use crate::sql::Engine;
use crate::store;
use crate::tls::Opening;
use crate::upstream::Startup;
use crate::wire::postgres::login::{LoggedIn, Login, LoginConfig, LoginEnv, Step, TlsPolicy};
use crate::wire::postgres::reply::Report;

/// A first byte that begins a TLS handshake (RFC 8446, 5.1: ContentType handshake).
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves one connection to its end.
pub(super) async fn serve(
    current: Arc<Current>,
    worker: Rc<Worker>,
    listener: &Listener,
    tcp: TcpStream,
) {
    let Ok(address) = tcp.peer_addr() else { return };
    let house = current.load_full();
    let entered = timeout(house.login_deadline, log_in(&house, listener, tcp, address)).await;
    let Ok(Some((stream, read, login))) = entered else { return };
    drop(house);
    Box::pin(begin(current, worker, (stream, read), *login, address)).await;
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
                let refusal = Refusal {
                    principal: refused.principal,
                    database: refused.database,
                    token: refused.token,
                    sqlstate: refused.sqlstate,
                    reason: refused.reason,
                };
                record_refusal(house, Engine::Postgres, address, &refusal);
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

/// Turns a client away that has proved who it is.
async fn turn_away(house: &House, stream: Stream, newcomer: &Newcomer, why: &TurnedAway) {
    let report = match why {
        TurnedAway::NoDatabase => unknown_database(house, &newcomer.principal, &newcomer.database),
        TurnedAway::StoreUnknown(why) => {
            Report::fatal("57P03", why.as_str()).hint("Try again later, or at another proxy.")
        }
        TurnedAway::Full { .. } | TurnedAway::PrincipalFull { .. } => {
            Report::fatal("53300", why.sentence())
        }
    };
    let refusal = newcomer.refused(report.sqlstate, report.message.clone());
    record_refusal(house, newcomer.engine, newcomer.address, &refusal);
    let mut out = Vec::new();
    report.write(&mut out);
    close_with(stream, &out).await;
}

/// The database that a client logged in for, when there is room for its session.
fn admit(house: &House, newcomer: &Newcomer) -> Result<Arc<Database<Postgres>>, TurnedAway> {
    let Some(Entry::Postgres(database)) = house.database(&newcomer.database) else {
        return Err(TurnedAway::NoDatabase);
    };
    newcomer.find_room(house)?;
    Ok(Arc::clone(database))
}

async fn begin(
    current: Arc<Current>,
    worker: Rc<Worker>,
    (stream, read): (Stream, BytesMut),
    login: LoggedIn,
    address: SocketAddr,
) {
    // As it stands now: what was removed while the client logged in is not there for it.
    let house = current.load_full();
    let newcomer = Newcomer {
        principal: login.principal.clone(),
        token: login.token.clone(),
        application: login.application_name.clone(),
        address,
        database: login.database.as_str().into(),
        engine: Engine::Postgres,
    };
    let database = match admit(&house, &newcomer) {
        Ok(database) => database,
        Err(why) => return turn_away(&house, stream, &newcomer, &why).await,
    };
    let Some(cancel_key) = cancel_key(login.minor) else { return };
    let mut key = cancel_key.0.to_be_bytes().to_vec();
    key.extend_from_slice(&cancel_key.1);
    let parameters = login.parameters.iter();
    let startup = Startup {
        application_name: login.application_name.clone().unwrap_or_default(),
        parameters: parameters.filter(|(name, _)| name != "application_name").cloned().collect(),
        minor: 0,
    };
    let reported = database.catalogs.parameters().to_vec();
    let (handle, target) = (Handle::CancelKey(key.into()), database.primary.clone());
    let replicas = database.replicas.clone();
    let fleet = Arc::clone(&database.fleet.borrow());
    let routing = Routing::new(database.policy, database.sight(fleet));
    let session =
        Session { newcomer: newcomer.clone(), database, handle, target, replicas, startup };
    let machine = |Beginning { trail, held, catalog }: Beginning<Postgres>| {
        let poison = store::ids::new_id("daypass_refused_").ok()?;
        Some(Conversation::new(Start {
            trail,
            held,
            catalog,
            parameters: reported,
            assumed_path: ["pg_catalog", "public"].map(Box::from).into(),
            startup: login.parameters.clone(),
            cancel_key,
            poison: poison.into(),
            routing,
        }))
    };
    let at = (Arc::clone(&current), house);
    if let Err((stream, why)) = run(at, worker, session, machine, (stream, read)).await {
        turn_away(&current.load(), stream, &newcomer, &why).await;
    }
}

/// What the session may be cancelled with: process id and secret key.
fn cancel_key(minor: u16) -> Option<(u32, Box<[u8]>)> {
    // Protocol 3.2 takes keys of any length up to 256 bytes; before, it is four (manual 54.7).
    let mut key = vec![0; if minor >= 2 { 32 } else { 4 }];
    let mut process_id = [0; 4];
    getrandom::fill(&mut key).ok()?;
    getrandom::fill(&mut process_id).ok()?;
    // Some clients keep the number in a signed integer and show it; zero is no process.
    let process_id = u32::from_be_bytes(process_id) & 0x7fff_ffff | 1;
    Some((process_id, key.into()))
}

/// The database does not exist: those that the caller may name are those of its grants and requests.
fn unknown_database(house: &House, principal: &PrincipalName, name: &str) -> Report {
    let snapshot = house.store.snapshot();
    let served = || house.databases.iter().filter(|entry| entry.engine() == Engine::Postgres);
    let held =
        |entry: &&Entry| snapshot.grants.held(principal, entry.name()).iter().next().is_some();
    let mut names: Vec<_> = served().filter(held).map(|entry| &**entry.name()).collect();
    if names.is_empty() {
        // Nobody has granted anything yet: to ask for a grant one has to be on the database.
        names = served().map(|entry| &**entry.name()).collect();
    }
    Report::fatal("3D000", format!("database \"{name}\" does not exist"))
        .hint(format!("This proxy has: {}.", names.join(", ")))
}
