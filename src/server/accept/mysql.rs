//! MySQL's and MariaDB's clients.

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
use crate::net::{Keepalive, Stream};
use crate::server::house::{Current, House};
use crate::session::mysql::{Conversation, Start};
use crate::session::output::ChangeUser;
use crate::session::registry::Handle;
use crate::session::relay::mysql::Mysql;
use crate::session::relay::{Database, Departed, Entry};
use crate::session::routing::Routing;
use crate::session::wire::Worker;
use crate::sql::Engine;
use crate::upstream::mysql::{Facts, Startup};
use crate::wire::mysql::auth::Nonce;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake;
use crate::wire::mysql::login::{Channel, LoggedIn, Login, LoginConfig, LoginEnv, Step, TlsPolicy};
use crate::wire::mysql::report::Report;

/// A client on its way to a session, and what it comes in by.
struct Door<'a> {
    listener: &'a Listener,
    /// Entry of the configuration that the listener speaks for.
    database: &'a Arc<str>,
    native_allowed: bool,
    address: SocketAddr,
    /// The number that the client's connection is greeted with.
    connection: u32,
}

/// A client that has logged in: what carries it, what it has sent beyond, and who it is.
type Entered = (Stream, BytesMut, Box<LoggedIn>);

/// Serves one connection to its end.
pub(super) async fn serve(
    current: Arc<Current>,
    worker: Rc<Worker>,
    listener: &Listener,
    (database, native_allowed): (&Arc<str>, bool),
    tcp: TcpStream,
) {
    let Ok(address) = tcp.peer_addr() else { return };
    let Some(connection) = number() else { return };
    let door = Door { listener, database, native_allowed, address, connection };
    let house = current.load_full();
    let entered = timeout(house.login_deadline, door.log_in(&house, tcp)).await;
    drop(house);
    let mut next = entered.ok().flatten();
    while let Some((stream, read, login)) = next.take() {
        let (current, worker) = (Arc::clone(&current), Rc::clone(&worker));
        let at = Arc::clone(&current);
        let departed = Box::pin(door.begin(current, worker, (stream, read), login.clone())).await;
        // Whoever wants to be somebody else logs in anew over the same connection.
        if let Some(departed) = departed {
            let house = at.load_full();
            let again = door.log_in_again(&house, departed, &login);
            next = timeout(house.login_deadline, again).await.ok().flatten();
        }
    }
}

/// A number for a connection. Clients kill what they run by it, and several proxies may stand behind one address:
/// so it is random, and another proxy does not take it for one of its own.
fn number() -> Option<u32> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).ok()?;
    // Some clients keep it in a signed integer; zero is no connection.
    Some(u32::from_ne_bytes(random) & 0x7fff_ffff | 1)
}

fn nonce() -> Option<Nonce> {
    let mut random = Nonce::default();
    getrandom::fill(&mut random).ok()?;
    Some(random)
}

impl Door<'_> {
    fn config(&self, house: &House) -> LoginConfig {
        let tls = &self.listener.tls;
        let local = self.address.ip().to_canonical().is_loopback();
        LoginConfig {
            tls: if tls.is_some() { TlsPolicy::Offered } else { TlsPolicy::None },
            channel: if local { Channel::Loopback } else { Channel::Network },
            native_allowed: self.native_allowed,
            limits: house.limits,
        }
    }

    async fn log_in(&self, house: &House, tcp: TcpStream) -> Option<Entered> {
        let mut stream = Stream::tcp(tcp, Keepalive::default()).ok()?;
        let Some((_, facts)) = find(house, self.database) else {
            // Nobody can be greeted in the name of a server that nobody has seen.
            let what = format!("the database server of {} is not known yet", self.database);
            let report = Report::new(1105, "08S01", what).hint("Try again later.");
            let mut out = Vec::new();
            report.write(&mut out, &mut 0);
            close_with(stream, &out).await;
            return None;
        };
        let mut out = Vec::new();
        let (config, random) = (self.config(house), nonce()?);
        let login = Login::start(config, &facts.mirror, self.connection, &random, &mut out);
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
        self.advance(house, login, stream, BytesMut::new()).await
    }

    async fn log_in_again(
        &self,
        house: &House,
        departed: Departed,
        before: &LoggedIn,
    ) -> Option<Entered> {
        let Departed { mut stream, read, wish: ChangeUser { body, sequence } } = departed;
        let mut out = Vec::new();
        let Ok(wish) = handshake::ChangeUser::read(body.expose(), before.capabilities) else {
            let report = Report::new(1835, "HY000", "COM_CHANGE_USER is malformed");
            report.write(&mut out, &mut sequence.clone());
            close_with(stream, &out).await;
            return None;
        };
        let (config, random, tls) = (self.config(house), nonce()?, stream.is_tls());
        let (login, step) = Login::again(config, tls, before, &wish, &random, sequence, &mut out);
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
        match step {
            None => self.advance(house, login, stream, read).await,
            Some(step) => {
                self.refuse(house, stream, step).await;
                None
            }
        }
    }

    async fn advance(
        &self,
        house: &House,
        mut login: Login,
        mut stream: Stream,
        mut input: BytesMut,
    ) -> Option<Entered> {
        loop {
            let mut out = Vec::new();
            let snapshot = house.store.snapshot();
            let env = LoginEnv { tokens: &snapshot.tokens, now: now() };
            let step = login.advance(&mut input, &mut out, &env);
            stream.write_all(&out).await.ok()?;
            stream.flush().await.ok()?;
            match step {
                Step::Read => {
                    // What follows a wish for TLS is the TLS engine's.
                    let max = login.read_max(&input) as u64;
                    if (&mut stream).take(max).read_buf(&mut input).await.ok()? == 0 {
                        return None;
                    }
                }
                Step::StartTls => {
                    let (Some(tls), Stream::Tcp(tcp)) = (&self.listener.tls, stream) else {
                        return None;
                    };
                    let secured = tls.accept(tcp).await.ok()?;
                    login.tls_established(&input).ok()?;
                    stream = Stream::TlsServer(Box::new(secured));
                }
                Step::LoggedIn(logged_in) => return Some((stream, input, logged_in)),
                step @ (Step::Refused(_) | Step::Closed) => {
                    self.refuse(house, stream, step).await;
                    return None;
                }
            }
        }
    }

    /// Records that a login was refused, if it was, and closes.
    async fn refuse(&self, house: &House, stream: Stream, step: Step) {
        let Step::Refused(refused) = step else { return };
        let refusal = Refusal {
            principal: refused.principal,
            database: Some(self.database.to_string()),
            token: refused.token,
            sqlstate: refused.sqlstate,
            reason: refused.reason,
        };
        record_refusal(house, Engine::Mysql, self.address, &refusal);
        close(stream).await;
    }

    /// Turns a client away that has proved who it is. `sequence` is the number of the answer to its proof.
    async fn turn_away(
        &self,
        house: &House,
        stream: Stream,
        (newcomer, sequence): (&Newcomer, u8),
        why: &TurnedAway,
    ) {
        let report = match why {
            TurnedAway::NoDatabase => Report::new(1049, "42000", why.sentence()),
            TurnedAway::StoreUnknown(_) => Report::new(1105, "08S01", why.sentence())
                .hint("Try again later, or at another proxy."),
            // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS.
            TurnedAway::Full { .. } => Report::new(1040, "08004", why.sentence()),
            TurnedAway::PrincipalFull { .. } => Report::new(1203, "42000", why.sentence()),
        };
        let refusal = newcomer.refused(report.sqlstate, report.message.clone());
        record_refusal(house, newcomer.engine, newcomer.address, &refusal);
        let mut out = Vec::new();
        report.write(&mut out, &mut sequence.clone());
        close_with(stream, &out).await;
    }

    /// Runs the session of a client that has logged in; comes back with it when it wants to be somebody else.
    async fn begin(
        &self,
        current: Arc<Current>,
        worker: Rc<Worker>,
        (stream, read): (Stream, BytesMut),
        login: Box<LoggedIn>,
    ) -> Option<Departed> {
        // As it stands now: what was removed while the client logged in is not there for it.
        let house = current.load_full();
        let newcomer = Newcomer {
            principal: login.principal.clone(),
            token: login.token.clone(),
            application: login.application_name.clone(),
            address: self.address,
            database: Arc::clone(self.database),
            engine: Engine::Mysql,
        };
        let answer = (&newcomer, login.sequence);
        let found = find(&house, self.database).ok_or(TurnedAway::NoDatabase);
        let found = found.and_then(|found| newcomer.find_room(&house).map(|()| found));
        let (database, facts) = match found {
            Ok(found) => found,
            Err(why) => {
                self.turn_away(&house, stream, answer, &why).await;
                return None;
            }
        };
        let schema = login.schema.clone().or_else(|| database.primary.schema.clone());
        let settings = facts.settings(schema.as_deref());
        let target = database.primary.clone().with_schema(schema.clone());
        let replicas = database.replicas.iter();
        let replicas = replicas.map(|it| it.clone().with_schema(schema.clone())).collect();
        let fleet = Arc::clone(&database.fleet.borrow());
        let routing = Routing::new(database.policy, database.sight(fleet));
        let session = Session {
            newcomer: newcomer.clone(),
            database,
            handle: Handle::Connection(self.connection),
            target,
            replicas,
            startup: startup(&login),
        };
        let machine = |Beginning { trail, held, catalog }: Beginning<Mysql>| {
            Some(Conversation::new(Start {
                trail,
                held,
                catalog,
                capabilities: login.capabilities,
                sequence: login.sequence,
                settings,
                connection: self.connection.into(),
                routing,
            }))
        };
        let at = (Arc::clone(&current), house);
        match run(at, worker, session, machine, (stream, read)).await {
            Ok(departed) => departed,
            Err((stream, why)) => {
                self.turn_away(&current.load(), stream, answer, &why).await;
                None
            }
        }
    }
}

/// The database of that name, and what its server has said of itself.
fn find(house: &House, name: &str) -> Option<(Arc<Database<Mysql>>, Arc<Facts>)> {
    let Some(Entry::Mysql(database)) = house.database(name) else { return None };
    Some((Arc::clone(database), database.catalogs.facts()?))
}

/// What the connection to the server is to be like, so that the client's is as it would be there.
fn startup(login: &LoggedIn) -> Startup {
    Startup {
        capabilities: login.capabilities,
        needed: (login.capabilities & Capabilities::PASSED).without(Capabilities::OF_LOGIN),
        collation: login.collation.to_le_bytes()[0],
        packet_max: login.packet_max,
        ..Startup::default()
    }
}
