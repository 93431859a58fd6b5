//! The sockets of a session and what waits to be written to them. Reads stop while the other side is
//! slow: nothing queues without bound.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Stream;

use super::output::{Output, Piece};
use super::site::{Site, Sites};
use super::wire::Ahead;

/// What a client may send ahead of what is taken, bytes, unless one message is longer.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// What an idle session keeps of a buffer, bytes.
const IDLE_BYTES_MAX: usize = 1_024;

/// What has happened on the sockets.
#[derive(Debug)]
pub(super) enum Happened {
    /// The client sent something, or something could be written.
    Progress,
    /// A server sent something.
    ServerSent(Site),
    /// The client has closed its sending side; it may still read.
    ClientClosed,
    /// The connection to the client is broken.
    ClientGone,
    /// A server has closed, or broken.
    ServerGone(Site),
}

/// Looks at that, given how long a message may be that has to be there as a whole.
pub(super) type LookAhead = fn(&[u8], usize) -> Ahead;

/// The sockets.
pub(super) struct Io {
    client: Option<Stream>,
    servers: Sites<Server>,
    /// From the client, not yet taken.
    pub(super) client_in: BytesMut,
    client_out: BytesMut,
    client_closed: bool,
    look_ahead: LookAhead,
    message_bytes_max: usize,
}

/// One server's.
#[derive(Default)]
struct Server {
    stream: Option<Stream>,
    /// From it, not yet taken.
    input: BytesMut,
    out: BytesMut,
}

impl Server {
    fn send(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        match &mut self.stream {
            Some(stream) => write_or_queue(stream, &mut self.out, &[bytes], cx),
            None => Ok(()),
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => poll_queue(stream, &mut self.out, cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Io {
    /// `message_bytes_max`: how long a client's message may be that has to be there as a whole.
    pub(super) fn new(
        client: Stream,
        client_in: BytesMut,
        look_ahead: LookAhead,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            client: Some(client),
            servers: Sites::default(),
            client_in,
            client_out: BytesMut::new(),
            client_closed: false,
            look_ahead,
            message_bytes_max,
        }
    }

    pub(super) fn set_server(&mut self, site: Site, server: Stream, read: BytesMut) {
        self.servers[site] = Server { stream: Some(server), input: read, out: BytesMut::default() };
    }

    pub(super) fn take_server(&mut self, site: Site) -> Option<Stream> {
        std::mem::take(&mut self.servers[site]).stream
    }

    /// From a server, not yet taken.
    pub(super) fn server_in(&mut self, site: Site) -> &mut BytesMut {
        &mut self.servers[site].input
    }

    pub(super) fn drop_client(&mut self) -> Option<Stream> {
        self.client_in.clear();
        self.client_out.clear();
        self.client.take()
    }

    /// Whether everything for the client has been written.
    pub(super) fn is_client_flushed(&self) -> bool {
        self.client_out.is_empty()
    }

    /// Writes at once what the sockets take, and queues the rest, which is written by [`Self::poll`]. Pieces of a
    /// server's are of what `heard` has sent.
    pub(super) async fn send(&mut self, out: &Output, heard: Site) -> Result<(), Happened> {
        std::future::poll_fn(|cx| {
            for site in Site::ALL {
                if self.servers[site].send(out.to_server(site), cx).is_err() {
                    return Poll::Ready(Err(Happened::ServerGone(site)));
                }
            }
            Poll::Ready(self.send_to_client(out, heard, cx).map_err(|_| Happened::ClientGone))
        })
        .await
    }

    fn send_to_client(
        &mut self,
        out: &Output,
        heard: Site,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let input = &self.servers[heard].input;
        let bytes = |piece| bytes_of(piece, input, &out.own);
        match out.client.as_slice() {
            // Most often it is all that the server has said.
            [piece] => write_or_queue(client, &mut self.client_out, &[bytes(piece)], cx),
            pieces => {
                let pieces: Vec<_> = pieces.iter().map(bytes).collect();
                write_or_queue(client, &mut self.client_out, &pieces, cx)
            }
        }
    }

    fn poll_client_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.client {
            Some(stream) => poll_queue(stream, &mut self.client_out, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Waits until something happens. Cancel-safe: what was read stands in the buffers. `hears`: the only server
    /// that is listened to, or none where both are.
    pub(super) fn poll(
        &mut self,
        hears: Option<Site>,
        scratch: &RefCell<Box<[u8]>>,
        cx: &mut Context<'_>,
    ) -> Poll<Happened> {
        for site in Site::ALL {
            let server = &mut self.servers[site];
            let waiting = !server.out.is_empty();
            match server.poll_out(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Happened::ServerGone(site)),
                Poll::Ready(Ok(())) if waiting => return Poll::Ready(Happened::Progress),
                _ => (),
            }
        }
        let waiting = !self.client_out.is_empty();
        match self.poll_client_out(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Happened::ClientGone),
            Poll::Ready(Ok(())) if waiting => return Poll::Ready(Happened::Progress),
            _ => (),
        }
        for site in Site::ALL {
            let server = &mut self.servers[site];
            if self.client_out.is_empty()
                && hears.is_none_or(|heard| heard == site)
                && let Some(stream) = &mut server.stream
                && let Poll::Ready(read) = poll_read(stream, &mut server.input, scratch, cx)
            {
                return Poll::Ready(match read {
                    Ok(1..) => Happened::ServerSent(site),
                    Ok(0) | Err(_) => Happened::ServerGone(site),
                });
            }
        }
        if Site::ALL.iter().all(|site| self.servers[*site].out.is_empty())
            && !self.client_closed
            && self.wants_more()
            && let Some(client) = &mut self.client
            && let Poll::Ready(read) = poll_read(client, &mut self.client_in, scratch, cx)
        {
            return Poll::Ready(match read {
                Ok(1..) => Happened::Progress,
                Ok(0) => {
                    self.client_closed = true;
                    Happened::ClientClosed
                }
                Err(_) => Happened::ClientGone,
            });
        }
        Poll::Pending
    }

    /// Whether to read on from the client: until one whole message is there, or some ahead of it.
    fn wants_more(&self) -> bool {
        self.client_in.len() < AHEAD_BYTES_MAX || self.ahead() == Ahead::Part
    }

    fn ahead(&self) -> Ahead {
        (self.look_ahead)(&self.client_in, self.message_bytes_max)
    }

    /// Whether the client is still there to be told something.
    pub(super) fn has_client(&self) -> bool {
        self.client.is_some()
    }

    /// Whether a whole message of the client's waits for its turn.
    pub(super) fn has_message(&self) -> bool {
        self.ahead() == Ahead::Whole
    }

    /// Gives back the memory of buffers that are empty.
    pub(super) fn shrink(&mut self) {
        let Sites { primary, replica } = &mut self.servers;
        for buffer in [
            &mut self.client_in,
            &mut self.client_out,
            &mut primary.input,
            &mut primary.out,
            &mut replica.input,
            &mut replica.out,
        ] {
            if buffer.is_empty() && buffer.capacity() > IDLE_BYTES_MAX {
                *buffer = BytesMut::new();
            }
        }
    }
}

fn bytes_of<'a>(piece: &Piece, server: &'a [u8], own: &'a [u8]) -> &'a [u8] {
    match piece {
        Piece::Server(range) => server.get(range.clone()).unwrap_or_default(),
        Piece::Own(range) => own.get(range.clone()).unwrap_or_default(),
    }
}

/// Writes what the socket takes at once behind what is queued, and queues the rest.
fn write_or_queue(
    stream: &mut Stream,
    queue: &mut BytesMut,
    pieces: &[&[u8]],
    cx: &mut Context<'_>,
) -> io::Result<()> {
    let mut written = 0;
    if queue.is_empty() {
        let write = match pieces {
            [] | [[]] => Poll::Pending,
            [piece] => Pin::new(&mut *stream).poll_write(cx, piece),
            pieces => {
                let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                Pin::new(&mut *stream).poll_write_vectored(cx, &slices)
            }
        };
        if let Poll::Ready(count) = write {
            written = count?;
        }
    }
    for piece in pieces {
        let skipped = written.min(piece.len());
        written -= skipped;
        queue.extend_from_slice(piece.get(skipped..).unwrap_or_default());
    }
    match poll_queue(stream, queue, cx) {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(()),
    }
}

fn poll_queue(
    stream: &mut Stream,
    queue: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if queue.is_empty() && !stream.is_tls() {
        return Poll::Ready(Ok(()));
    }
    while !queue.is_empty() {
        let n = ready!(Pin::new(&mut *stream).poll_write(cx, queue))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        queue.advance(n);
    }
    Pin::new(stream).poll_flush(cx)
}

fn poll_read(
    stream: &mut Stream,
    into: &mut BytesMut,
    scratch: &RefCell<Box<[u8]>>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // One buffer a thread: a session that waits holds none.
    let mut scratch = scratch.borrow_mut();
    let mut buffer = ReadBuf::new(&mut scratch);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    into.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}
