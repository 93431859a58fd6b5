//! A connection's byte stream, whatever carries it: TCP, TLS over TCP, a Unix socket.
//!
//! Adds no buffer of its own: what is read here came off the socket or the TLS engine just now.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// One connection. The TLS variants are boxed: their state is some kilobytes, and most sessions of a
/// sidecar have none.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS, we are the server: a client's connection.
    TlsServer(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS, we are the client: a connection to a server.
    TlsClient(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// Unix socket.
    Unix(UnixStream),
}

/// How a silent peer is found out. Idle connections only: while data is on its way, the kernel's own
/// retransmission limit applies.
///
/// TCP_USER_TIMEOUT is left alone on purpose. It also ends a connection whose peer is alive but keeps
/// its window shut (tcp(7)): a client that reads slowly, a COPY whose backend waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Unanswered probes that end the connection.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 6 }
    }
}

impl Stream {
    /// Takes a TCP connection: no delay for small writes, keepalive on.
    ///
    /// # Errors
    /// When the socket refuses an option.
    pub fn tcp(stream: TcpStream, keepalive: Keepalive) -> io::Result<Self> {
        let stream = Self::Tcp(stream);
        stream.set_nodelay()?;
        stream.set_keepalive(keepalive)?;
        Ok(stream)
    }

    /// Turns keepalive on; does nothing on a Unix socket.
    ///
    /// # Errors
    /// When the socket refuses an option.
    pub fn set_keepalive(&self, keepalive: Keepalive) -> io::Result<()> {
        let Some(socket) = self.tcp_socket() else { return Ok(()) };
        let options = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        SockRef::from(socket).set_tcp_keepalive(&options)
    }

    /// Sends small writes at once; does nothing on a Unix socket.
    ///
    /// # Errors
    /// When the socket refuses.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.tcp_socket().map_or(Ok(()), |socket| socket.set_nodelay(true))
    }

    /// Whether TLS carries it.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::TlsServer(_) | Self::TlsClient(_))
    }

    /// The other end's address; `None` on a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.tcp_socket()?.peer_addr().ok()
    }

    /// Whether nobody else can listen in: TLS, a Unix socket, or a peer on this machine.
    pub fn is_private(&self) -> bool {
        match self {
            Self::TlsServer(_) | Self::TlsClient(_) | Self::Unix(_) => true,
            Self::Tcp(_) => {
                self.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
            }
        }
    }

    /// The TCP socket below, if there is one.
    fn tcp_socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::TlsServer(stream) => Some(stream.get_ref().0),
            Self::TlsClient(stream) => Some(stream.get_ref().0),
            Self::Unix(_) => None,
        }
    }
}

/// Calls a method of whichever stream it is.
macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            Stream::TlsServer($inner) => $call,
            Stream::TlsClient($inner) => $call,
            Stream::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, inner => inner.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn keepalive_and_nodelay_reach_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::tcp(stream, Keepalive::default()).unwrap();
        let socket = SockRef::from(stream.tcp_socket().unwrap());
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
        assert!(stream.is_private() && !stream.is_tls());
    }

    #[tokio::test]
    async fn vectored_writes_go_through() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Stream::Unix(left), Stream::Unix(right));
        assert!(left.is_write_vectored() && left.peer_addr().is_none());
        let slices = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"c")];
        assert_eq!(left.write_vectored(&slices).await.unwrap(), 3);
        left.shutdown().await.unwrap();
        let mut read = Vec::new();
        right.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"abc");
    }
}
