//! What differs between the wires on the shell's side: how servers are reached, and what a connection to one
//! is.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use crate::identity::PrincipalName;
use crate::net::Stream;
use crate::session::machine::{CatalogOf, Machine};
use crate::session::scope::{Meanings, MysqlNames, PostgresNames};
use crate::upstream::UpstreamError;
use crate::upstream::catalogs::Source;
use crate::upstream::lock::{self, Lock};
use crate::upstream::replicas::Member;

/// One read at most, bytes.
const SCRATCH_BYTES: usize = 64 * 1024;

/// What the sessions of one thread share.
pub struct Worker {
    pub(super) postgres: RefCell<Meanings<PostgresNames>>,
    pub(super) mysql: RefCell<Meanings<MysqlNames>>,
    pub(super) scratch: RefCell<Box<[u8]>>,
    timers: Handle,
}

impl Worker {
    /// For one thread, whose sessions' timers are kept by that runtime, which never ends.
    pub fn new(timers: Handle) -> Self {
        let scratch = RefCell::new(vec![0; SCRATCH_BYTES].into());
        Self { postgres: RefCell::default(), mysql: RefCell::default(), scratch, timers }
    }

    /// A timer of a session. Were it this thread's own, the thread would wait for its sockets with a time limit,
    /// which costs the kernel half a microsecond each time.
    pub(super) fn timer(&self) -> Sleep {
        let _kept_there = self.timers.enter();
        sleep(Duration::ZERO)
    }
}

/// What stands at the head of what a client has sent ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// A whole message.
    Whole,
    /// Part of one that has to be there as a whole, and may be that long.
    Part,
    /// Nothing that tells, or part of what is never held whole: data of a COPY, what is over the limit.
    Open,
}

/// One of the two wires.
pub trait Wire: Sized + 'static {
    /// The machine that speaks it.
    type Machine: Machine;
    /// A server, and our account there.
    type Target: Source<Catalog = Catalog<Self>> + Member;
    /// What is asked of a connection for a session.
    type Startup: Clone + 'static;
    /// A connection to a server, logged in.
    type Connection: 'static;
    /// What is known of a connection, to stop what runs over it.
    type Backend: Clone + 'static;
    /// The second lock.
    type Kind: lock::Kind<Target = Self::Target, Startup = Self::Startup, Connection = Self::Connection>;

    /// Meanings of names that sessions of a thread share.
    fn meanings(worker: &Worker) -> &RefCell<Meanings<Names<Self>>>;

    /// Looks at what a client has sent ahead.
    fn look_ahead(input: &[u8], message_bytes_max: usize) -> Ahead;

    /// Connects, as the target's account.
    fn connect(
        target: &Self::Target,
        startup: &Self::Startup,
    ) -> impl Future<Output = Result<Self::Connection, UpstreamError>>;

    /// Takes a new connection apart.
    fn opened(connection: Self::Connection) -> Opened<Self>;

    /// Asks the server to cancel what runs over a connection, and waits until whatever is sent over it afterwards
    /// is not hit, or as [`Machine::on_cancel_done`] says.
    fn cancel(
        target: &Self::Target,
        backend: &Self::Backend,
    ) -> impl Future<Output = Result<(), UpstreamError>>;

    /// Ends a connection that did not answer a cancel, from the server's side.
    fn terminate(
        target: &Self::Target,
        account: (Option<&Lock<Self::Kind>>, &PrincipalName),
        backend: &Self::Backend,
    ) -> impl Future<Output = Result<(), UpstreamError>>;

    /// The number of the connection at the server, where clients may name it to stop what runs there.
    fn number(backend: &Self::Backend) -> Option<u64>;

    /// The last words to a server.
    fn goodbye(out: &mut Vec<u8>);
}

/// A connection, taken apart.
pub struct Opened<W: Wire> {
    /// What carries it.
    pub stream: Stream,
    /// What came after the login.
    pub buffer: BytesMut,
    /// What is known of it, to stop what runs.
    pub backend: W::Backend,
    /// What it has told the machine.
    pub told: <W::Machine as Machine>::Opened,
}

/// How names are looked up on a wire.
pub type Names<W> = <<W as Wire>::Machine as Machine>::Names;

/// A server's objects, on a wire.
pub type Catalog<W> = CatalogOf<<W as Wire>::Machine>;
