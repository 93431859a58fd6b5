//! Dialling a server: resolve, connect, TLS, login, all under one deadline.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::UpstreamError;
use super::login::{Account, Channel, LoggedIn, Login, Progress, Startup};
use super::target::{Host, Target, TlsMode};
use super::tls;
use crate::net::{Keepalive, Stream};
use crate::tls::end_point::tls_server_end_point;

/// A logged-in connection to a server, idle.
pub struct Connection {
    /// What carries it.
    pub stream: Stream,
    /// What came after ReadyForQuery; as a rule nothing.
    pub buffer: BytesMut,
    /// The backend's number.
    pub process_id: u32,
    /// The backend's key for cancelling: 4 bytes, or up to 256 with protocol 3.2.
    pub secret_key: Box<[u8]>,
    /// ParameterStatus, the last of each name.
    pub parameters: Vec<(String, String)>,
    /// `server_version_num`, 150018 for 15.18; 0 when the server told no version that we know.
    pub server_version: u32,
    /// Where it leads, as logs and the audit stream show it.
    pub address: Arc<str>,
    /// The very server among those that a name may stand for.
    pub peer: Peer,
    /// A statement of ours is under way, or was given up half-way.
    pub(super) busy: bool,
    /// Another session has notified this one (NOTIFY) since somebody last looked.
    pub(super) notified: bool,
}

/// One server, not a name for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Address and port.
    Tcp(SocketAddr),
    /// File of the socket.
    Unix(PathBuf),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("process_id", &self.process_id)
            .field("server_version", &self.server_version)
            .finish_non_exhaustive()
    }
}

/// Connects and logs in, within `target.connect_timeout`.
///
/// # Errors
/// When the server cannot be reached, cannot prove who it is, does not take us, or is too slow.
pub async fn connect(target: &Target, startup: &Startup) -> Result<Connection, UpstreamError> {
    let limit = target.connect_timeout;
    within(limit, "connecting and logging in", connect_and_log_in(target, startup)).await
}

/// Gives up on `work` after `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(UpstreamError::Timeout { what, seconds: limit.as_secs() }),
    }
}

async fn connect_and_log_in(
    target: &Target,
    startup: &Startup,
) -> Result<Connection, UpstreamError> {
    let (mut stream, peer) = open(target, None).await?;
    let account = Account {
        user: &target.user,
        database: &target.database,
        password: target.password.as_ref(),
    };
    let channel = Channel {
        private: stream.is_private(),
        tls: stream.is_tls(),
        binding: channel_binding(&stream),
    };
    let mut out = Zeroizing::new(Vec::new());
    let login = Login::start(&account, channel, startup, &mut out)?;
    let mut buffer = BytesMut::new();
    let LoggedIn { process_id, secret_key, parameters } =
        log_in(login, &mut stream, &mut buffer, out).await?;
    Ok(Connection {
        stream,
        buffer,
        process_id,
        secret_key,
        server_version: version_of(&parameters),
        parameters,
        address: target.host.to_string().into(),
        peer,
        busy: false,
        notified: false,
    })
}

async fn log_in(
    mut login: Login,
    stream: &mut Stream,
    buffer: &mut BytesMut,
    mut out: Zeroizing<Vec<u8>>,
) -> Result<LoggedIn, UpstreamError> {
    loop {
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
            // Wiped, not only emptied: it may have held a password.
            out = Zeroizing::default();
        }
        match login.receive(buffer, &mut out)? {
            Progress::Ready => return Ok(login.finish()),
            Progress::Compute => (login, out) = compute(login, out).await?,
            Progress::Receive if out.is_empty() => {
                if stream.read_buf(buffer).await.map_err(broken)? == 0 {
                    return Err(UpstreamError::Closed);
                }
            }
            Progress::Receive => {}
        }
    }
}

/// PBKDF2 where no session waits for it.
async fn compute(
    mut login: Login,
    mut out: Zeroizing<Vec<u8>>,
) -> Result<(Login, Zeroizing<Vec<u8>>), UpstreamError> {
    let work = spawn_blocking(move || login.compute(&mut out).map(|()| (login, out)));
    work.await.unwrap_or(Err(UpstreamError::Stopped))
}

/// Connects, without a login, within `target.connect_timeout`: for whoever logs in by other means.
///
/// # Errors
/// When the server cannot be reached, or cannot prove who it is.
pub async fn dial(target: &Target) -> Result<Stream, UpstreamError> {
    let opened = within(target.connect_timeout, "connecting", open(target, None)).await;
    opened.map(|(stream, _)| stream)
}

/// Connects, without a login: to `peer` itself when given, else to whatever the name stands for.
pub(super) async fn open(
    target: &Target,
    peer: Option<&Peer>,
) -> Result<(Stream, Peer), UpstreamError> {
    let failed = |source| UpstreamError::Connect {
        address: target.host.to_string().into(),
        source: Arc::new(source),
    };
    match (&target.host, peer) {
        (_, Some(Peer::Unix(path))) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            Ok((Stream::Unix(stream), Peer::Unix(path.clone())))
        }
        (Host::Unix { directory, port }, _) => {
            let path = Host::unix_path(directory, *port);
            let stream = UnixStream::connect(&path).await.map_err(failed)?;
            Ok((Stream::Unix(stream), Peer::Unix(path)))
        }
        (Host::Tcp { name, port }, peer) => {
            let stream = match peer {
                Some(Peer::Tcp(address)) => TcpStream::connect(address).await,
                _ => dial_name(name, *port, target.connect_timeout).await,
            };
            let stream = stream.map_err(failed)?;
            let peer = Peer::Tcp(stream.peer_addr().map_err(failed)?);
            let stream = Stream::tcp(stream, Keepalive::default()).map_err(failed)?;
            Ok((secure(stream, target, name).await?, peer))
        }
    }
}

/// Tries the addresses of a name in turn; an address that does not answer leaves time for the others.
pub(super) async fn dial_name(name: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((name, port)).await?.collect();
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// TLS, where the target demands it (manual 54.2.11, "SSL Session Encryption").
async fn secure(stream: Stream, target: &Target, name: &str) -> Result<Stream, UpstreamError> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let TlsMode::VerifyFull { roots } = &target.tls else { return Ok(stream) };
    let Stream::Tcp(mut stream) = stream else { return Err(UpstreamError::TlsRefused) };
    let roots = roots.clone();
    let load = || async {
        let loaded = spawn_blocking(move || tls::configure(&roots, Some("postgresql"))).await;
        loaded.unwrap_or(Err(UpstreamError::Stopped)).map(Arc::new)
    };
    let kept = target.client_config.load_full();
    let config = Arc::clone(kept.get_or_try_init(load).await?);
    stream.write_all(&SSL_REQUEST).await.map_err(broken)?;
    // Exactly one byte is taken: whatever somebody sent after it in clear goes to the TLS engine,
    // which refuses it (CVE-2021-23222).
    let mut answer = [0];
    stream.read_exact(&mut answer).await.map_err(closed)?;
    match answer {
        [b'S'] => {
            let stream = tls::handshake(stream, name, config).await?;
            Ok(Stream::TlsClient(Box::new(stream)))
        }
        // An error in clear may be anybody's; its text is not worth repeating (CVE-2024-10977).
        _ => Err(UpstreamError::TlsRefused),
    }
}

fn channel_binding(stream: &Stream) -> Option<Vec<u8>> {
    let Stream::TlsClient(stream) = stream else { return None };
    tls_server_end_point(stream.get_ref().1.peer_certificates()?.first()?)
}

pub(super) fn broken(error: io::Error) -> UpstreamError {
    UpstreamError::Io(Arc::new(error))
}

fn closed(error: io::Error) -> UpstreamError {
    if error.kind() == io::ErrorKind::UnexpectedEof { UpstreamError::Closed } else { broken(error) }
}

/// `server_version` as a number, as PostgreSQL counts: 150018 for `15.18 (Debian 15.18-0)`, 90624 for
/// `9.6.24`, 190000 for `19devel`.
fn version_of(parameters: &[(String, String)]) -> u32 {
    let text = parameters.iter().find(|(name, _)| name == "server_version");
    let text = text.map_or("", |(_, value)| value.as_str());
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>());
    let mut part = || parts.next().and_then(Result::ok).filter(|&part| part < 10_000).unwrap_or(0);
    match part() {
        0 => 0,
        major @ 1..10 => major * 10_000 + part().min(99) * 100 + part().min(99),
        major => major * 10_000 + if text.contains('.') { part() } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted_as_the_server_does() {
        let version = |text: &str| version_of(&[("server_version".into(), text.into())]);
        assert_eq!(version("15.18 (Debian 15.18-0+deb12u1)"), 150_018);
        assert_eq!(version("9.6.24"), 90_624);
        assert_eq!(version("19devel"), 190_000);
        assert_eq!(version("17beta2"), 170_000);
        assert_eq!(version("99999999999.1"), 0);
        assert_eq!(version(""), 0);
        assert_eq!(version_of(&[]), 0);
    }
}
