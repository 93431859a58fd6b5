//! Dialling a server of MySQL or MariaDB: resolve, connect, TLS, login, all under one deadline.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::login::{Account, LoggedIn, Login, Progress, Startup};
use super::rsa;
use super::target::{Host, Target};
use crate::net::{Keepalive, Stream};
use crate::upstream::connect::{broken, dial_name, within};
use crate::upstream::error::UpstreamError;
use crate::upstream::target::TlsMode;
use crate::upstream::{Peer, tls};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake::Greeting;

/// A logged-in connection to a server, idle.
pub struct Connection {
    /// What carries it.
    pub stream: Stream,
    /// What came after the login; as a rule nothing.
    pub buffer: BytesMut,
    /// What the server greeted with: version, number of the connection, what it can do.
    pub greeting: Greeting,
    /// What both ends can do.
    pub capabilities: Capabilities,
    /// Payload of the OK that ended the login.
    pub okay: Box<[u8]>,
    /// Where it leads, as logs and the audit stream show it.
    pub address: Arc<str>,
    /// The very server among those that a name may stand for.
    pub peer: Peer,
    /// A statement of ours is under way, or was given up half-way.
    pub(super) busy: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("connection", &self.greeting.connection)
            .field("version", &self.greeting.version)
            .finish_non_exhaustive()
    }
}

/// Connects and logs in, within `target.connect_timeout`.
///
/// # Errors
/// When the server cannot be reached, cannot prove who it is, does not take us, or is too slow.
pub async fn connect(target: &Target, startup: &Startup) -> Result<Connection, UpstreamError> {
    connect_at(target, None, startup).await
}

/// [`connect`] to `peer` itself when given, else to whatever the name stands for.
///
/// # Errors
/// As for [`connect`].
pub(super) async fn connect_at(
    target: &Target,
    peer: Option<&Peer>,
    startup: &Startup,
) -> Result<Connection, UpstreamError> {
    let limit = target.connect_timeout;
    within(limit, "connecting and logging in", connect_and_log_in(target, peer, startup)).await
}

async fn connect_and_log_in(
    target: &Target,
    peer: Option<&Peer>,
    startup: &Startup,
) -> Result<Connection, UpstreamError> {
    let (stream, peer) = open(target, peer).await?;
    let account = Account {
        user: &target.user,
        schema: target.schema.as_deref(),
        password: target.password.as_ref(),
    };
    let mut seed = rsa::Seed::default();
    getrandom::fill(&mut seed).map_err(|error| broken(error.into()))?;
    let channel = target.channel(stream.is_private());
    let login = Login::new(&account, channel, startup.clone(), seed);
    let mut buffer = BytesMut::new();
    let (stream, logged_in) = log_in(login, stream, &mut buffer, target).await?;
    let LoggedIn { greeting, capabilities, okay } = logged_in;
    Ok(Connection {
        stream,
        buffer,
        greeting,
        capabilities,
        okay,
        address: target.host.to_string().into(),
        peer,
        busy: false,
    })
}

async fn log_in(
    mut login: Login,
    mut stream: Stream,
    buffer: &mut BytesMut,
    target: &Target,
) -> Result<(Stream, LoggedIn), UpstreamError> {
    let mut out = Zeroizing::new(Vec::new());
    loop {
        let progress = login.receive(buffer, &mut out)?;
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
            // Wiped, not only emptied: it may have held a password.
            out = Zeroizing::default();
        }
        match progress {
            Progress::Ready => {
                return Ok((stream, login.finish().ok_or(UpstreamError::Closed)?));
            }
            Progress::StartTls => {
                stream = secure(stream, target).await?;
                login.tls_established(&mut out)?;
            }
            Progress::Receive => {
                if stream.read_buf(buffer).await.map_err(broken)? == 0 {
                    return Err(UpstreamError::Closed);
                }
            }
        }
    }
}

async fn open(target: &Target, peer: Option<&Peer>) -> Result<(Stream, Peer), UpstreamError> {
    let failed = |source| UpstreamError::Connect {
        address: target.host.to_string().into(),
        source: Arc::new(source),
    };
    match &target.host {
        Host::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            Ok((Stream::Unix(stream), Peer::Unix(path.clone())))
        }
        Host::Tcp { name, port } => {
            let stream = match peer {
                Some(Peer::Tcp(address)) => TcpStream::connect(address).await,
                _ => dial_name(name, *port, target.connect_timeout).await,
            };
            let stream = stream.map_err(failed)?;
            let peer = Peer::Tcp(stream.peer_addr().map_err(failed)?);
            Ok((Stream::tcp(stream, Keepalive::default()).map_err(failed)?, peer))
        }
    }
}

/// TLS, once the server was told that it comes.
async fn secure(stream: Stream, target: &Target) -> Result<Stream, UpstreamError> {
    let (TlsMode::VerifyFull { roots }, Host::Tcp { name, .. }) = (&target.tls, &target.host)
    else {
        return Err(UpstreamError::TlsRefused);
    };
    let Stream::Tcp(stream) = stream else { return Err(UpstreamError::TlsRefused) };
    let roots = roots.clone();
    let load = || async {
        let loaded = spawn_blocking(move || tls::configure(&roots, None)).await;
        loaded.unwrap_or(Err(UpstreamError::Stopped)).map(Arc::new)
    };
    let kept = target.client_config.load_full();
    let config = Arc::clone(kept.get_or_try_init(load).await?);
    Ok(Stream::TlsClient(Box::new(tls::handshake(stream, name, config).await?)))
}
