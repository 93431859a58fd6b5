//! From a TCP connection to a logged-in session: what both wires share.

mod mysql;
mod postgres;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::audit::record::{AuditRecord, Client, Kind, Who};
use crate::grant::snapshot::HeldGrants;
use crate::identity::{PrincipalName, TokenId};
use crate::net::Stream;
use crate::session::call::InBandCaller;
use crate::session::registry::{Handle, SessionInfo};
use crate::session::relay::{Database, Departed, Relay};
use crate::session::trail::{Facts, Trail};
use crate::session::wire::{Catalog, Wire, Worker};
use crate::sql::Engine;
use crate::store;
use crate::time::Timestamp;
use crate::tls::ServerTls;

use super::house::{Current, House};

/// One address that clients connect to.
pub(super) struct Listener {
    /// Certificate and key, where it has them.
    pub(super) tls: Option<Arc<ServerTls>>,
    /// Whose clients.
    pub(super) speaks: Speaks,
}

/// What is spoken at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// PostgreSQL's protocol; clients name their database.
    Postgres,
    /// MySQL's.
    Mysql {
        /// The entry of the configuration that its greeting speaks for.
        database: Arc<str>,
        /// `mysql_native_password` is taken.
        native_allowed: bool,
    },
}

impl Speaks {
    /// In words.
    pub(super) const fn clients(&self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql { .. } => "MySQL",
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    current: Arc<Current>,
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    tcp: TcpStream,
) {
    match &listener.speaks {
        Speaks::Postgres => postgres::serve(current, worker, &listener, tcp).await,
        Speaks::Mysql { database, native_allowed } => {
            mysql::serve(current, worker, &listener, (database, *native_allowed), tcp).await;
        }
    }
}

/// A client that has proved who it is.
#[derive(Clone)]
struct Newcomer {
    principal: PrincipalName,
    token: TokenId,
    application: Option<String>,
    address: SocketAddr,
    /// Entry of the configuration.
    database: Arc<str>,
    engine: Engine,
}

/// Why a client is turned away that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TurnedAway {
    /// There is no such database, or no longer.
    NoDatabase,
    /// Nobody knows who may do what.
    StoreUnknown(String),
    /// The proxy has its most sessions.
    Full { max: usize },
    /// The principal has its most sessions.
    PrincipalFull { principal: PrincipalName, max: usize },
}

impl TurnedAway {
    /// In a sentence, but for what there is to say of databases.
    fn sentence(&self) -> String {
        match self {
            Self::NoDatabase => "there is no such database".into(),
            Self::StoreUnknown(why) => why.clone(),
            Self::Full { max } => format!("the proxy has its {max} sessions"),
            Self::PrincipalFull { principal, max } => {
                format!("{principal} has {max} sessions, which is the limit")
            }
        }
    }
}

impl Newcomer {
    /// Whether there is room for its session.
    fn find_room(&self, house: &House) -> Result<(), TurnedAway> {
        house.store.known().map_err(|why| TurnedAway::StoreUnknown(why.into()))?;
        if house.registry.count() >= house.sessions_max {
            return Err(TurnedAway::Full { max: house.sessions_max });
        }
        let sessions = house.registry.list();
        let own = sessions.iter().filter(|known| *known.principal == *self.principal.as_str());
        let max = house.sessions_per_principal_max;
        if own.count() >= max {
            return Err(TurnedAway::PrincipalFull { principal: self.principal.clone(), max });
        }
        Ok(())
    }

    /// What its session is called.
    fn introduce(&self) -> Result<SessionInfo, io::Error> {
        Ok(SessionInfo {
            id: store::ids::new_id("s_").map_err(io::Error::other)?.into(),
            principal: self.principal.as_str().into(),
            token: self.token.clone(),
            database: Arc::clone(&self.database),
            engine: self.engine,
            client: self.address.to_string().into(),
            application: self.application.as_deref().map(Box::from),
            started: now(),
        })
    }

    /// For the record that it was turned away.
    fn refused(&self, sqlstate: &'static str, reason: String) -> Refusal {
        Refusal {
            principal: Some(self.principal.to_string()),
            database: Some(self.database.to_string()),
            token: Some(self.token.clone()),
            sqlstate,
            reason,
        }
    }
}

/// A login that came to nothing, for its record.
struct Refusal {
    principal: Option<String>,
    database: Option<String>,
    token: Option<TokenId>,
    sqlstate: &'static str,
    reason: String,
}

fn record_refusal(house: &House, engine: Engine, address: SocketAddr, refused: &Refusal) {
    let mut record = AuditRecord::new(Kind::LoginRefused, now());
    record.concern(Who {
        session: None,
        principal: refused.principal.as_deref().map(Arc::from),
        token: refused.token.as_ref().map(|token| Arc::from(&*token.0)),
        database: refused.database.as_deref().map(Arc::from),
        engine: Some(engine),
        client: Some(Arc::new(Client { address: address.to_string().into(), application: None })),
    });
    record.sqlstate = Some(refused.sqlstate.into());
    record.reason = Some(refused.reason.as_str().into());
    house.shared.recorder.record(&record);
}

/// Sends what is left, and a client that still talks gets to read it before the connection is reset.
async fn close(mut stream: Stream) {
    const PATIENCE: Duration = Duration::from_millis(500);
    drop(stream.shutdown().await);
    let mut rest = [0; 512];
    drop(timeout(PATIENCE, async { while let Ok(1..) = stream.read(&mut rest).await {} }).await);
}

/// Says why and closes.
async fn close_with(mut stream: Stream, last_words: &[u8]) {
    if stream.write_all(last_words).await.is_ok() {
        close(stream).await;
    }
}

/// What a machine begins with, whichever wire it speaks.
struct Beginning<W: Wire> {
    trail: Trail,
    held: HeldGrants,
    catalog: Option<Arc<Catalog<W>>>,
}

/// A session to be.
struct Session<W: Wire> {
    newcomer: Newcomer,
    database: Arc<Database<W>>,
    handle: Handle,
    target: W::Target,
    replicas: Vec<W::Target>,
    startup: W::Startup,
}

/// Runs a session to its end; comes back with a client that is to log in anew. `begin` makes its machine; `None`
/// when what that needs cannot be had.
///
/// # Errors
/// Gives the connection back when its database was removed meanwhile.
async fn run<W: Wire>(
    (current, house): (Arc<Current>, Arc<House>),
    worker: Rc<Worker>,
    session: Session<W>,
    begin: impl FnOnce(Beginning<W>) -> Option<W::Machine>,
    (stream, read): (Stream, BytesMut),
) -> Result<Option<Departed>, (Stream, TurnedAway)> {
    let Session { newcomer, database, handle, target, replicas, startup } = session;
    let Ok(info) = newcomer.introduce() else { return Ok(None) };
    let (commands_to, commands) = mpsc::unbounded_channel();
    let _registration = house.registry.enter(info.clone(), handle, commands_to);
    // Whoever removes a database first takes it out and then tells the sessions that are registered.
    if current.load().database(&database.name).is_none() {
        return Err((stream, TurnedAway::NoDatabase));
    }
    let client = Client { address: info.client.clone(), application: info.application.clone() };
    let facts = Facts {
        session: Arc::clone(&info.id),
        principal: Arc::clone(&info.principal),
        token: Arc::from(&*info.token.0),
        database: Arc::clone(&database.name),
        engine: newcomer.engine,
        client: Arc::new(client),
        second_lock: database.second_lock(),
        ddl_owner: database.ddl_owner.clone(),
    };
    let caller = InBandCaller {
        principal: newcomer.principal.clone(),
        token: newcomer.token,
        database: Arc::clone(&database.name),
        engine: newcomer.engine,
        session: info.id,
    };
    let mut snapshots = house.store.snapshots();
    let snapshot = Arc::clone(&snapshots.borrow_and_update());
    let mut catalogs = database.watch_catalog();
    let catalog = catalogs.borrow_and_update().clone();
    let machine = begin(Beginning {
        trail: Trail::new(facts, house.text_settings.clone(), house.parameter_settings.clone()),
        held: snapshot.grants.held(&newcomer.principal, &database.name),
        catalog,
    });
    let Some(machine) = machine else { return Ok(None) };
    let relay = Relay::<W> {
        worker,
        shared: Arc::clone(&house.shared),
        database,
        machine,
        caller,
        target,
        replicas,
        startup,
        commands,
        snapshots,
        catalogs,
        phase: house.phase.clone(),
    };
    // A session keeps what it began with, and not the databases of others that have been removed since.
    drop((house, current));
    Ok(relay.run(stream, read).await)
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
