//! What a session's machine asks of the world. It only asks here; the relay does it.

use std::ops::Range;

use crate::audit::record::AuditRecord;
use crate::grant::decide::Permit;
use crate::secret::Secret;
use crate::session::call::BoundCall;
use crate::session::site::{Site, Sites};

/// Something other than bytes to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open the connection to the primary.
    OpenPrimary,
    /// Open a connection to the replica of that number, in the order of the configuration.
    OpenReplica(usize),
    /// The connection to the replica is used no more.
    CloseReplica,
    /// Read the catalog again, a read that starts after this.
    RefreshCatalog,
    /// Ask the server to cancel what this session runs there.
    CancelUpstream(Site),
    /// The server did not answer a cancel: end its backend.
    TerminateUpstream(Site),
    /// Count a read that a replica could not do, and that is done again.
    CountRerun,
    /// Do a call on the schema `daypass`.
    Call(BoundCall),
    /// End another session of the same principal, or what it runs: MySQL's KILL.
    Kill {
        /// The number that the proxy gave that session's connection.
        connection: u64,
        /// Only its statement.
        query: bool,
    },
    /// The client wants to be somebody else: end the session and leave the client to whoever logs it in anew.
    Depart(ChangeUser),
    /// Write what there is to the client, then end the session.
    Close,
}

/// MySQL's COM_CHANGE_USER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUser {
    /// What follows the command's byte. Some clients put a password in it.
    pub body: Secret,
    /// Number of the answer.
    pub sequence: u8,
}

/// A piece of what goes to the client, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This range of the bytes that the server sent, unchanged.
    Server(Range<usize>),
    /// This range of [`Output::own`].
    Own(Range<usize>),
}

/// Everything one event led to. The caller owns it, does what it says, and clears it.
#[derive(Debug, Default)]
pub struct Output {
    /// To be recorded first.
    pub audit: Vec<AuditRecord>,
    /// To the servers.
    server: Sites<Vec<u8>>,
    /// Which of them is meant now.
    site: Site,
    /// To the client.
    pub client: Vec<Piece>,
    /// Bytes that are ours.
    pub own: Vec<u8>,
    /// The rest, in order.
    pub commands: Vec<Command>,
}

impl Output {
    /// Sends a client's statement on. Asks for the permit so that no path without one compiles.
    pub fn forward(&mut self, _permit: &Permit, frame: &[u8]) {
        self.server[self.site].extend_from_slice(frame);
    }

    /// Sends on what carries no statement: Sync, Flush, Close, COPY data, or our own words.
    pub fn control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.server[self.site]);
    }

    /// What is sent from now on goes there, until something else is said.
    pub const fn turn_to(&mut self, site: Site) {
        self.site = site;
    }

    /// Bytes for a server.
    pub fn to_server(&self, site: Site) -> &[u8] {
        &self.server[site]
    }

    /// Whether there are bytes for any server.
    pub fn sends(&self) -> bool {
        Site::ALL.iter().any(|site| !self.server[*site].is_empty())
    }

    /// Passes a range of the server's bytes.
    pub fn pass(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.client.last_mut() {
            Some(Piece::Server(last)) if last.end == range.start => last.end = range.end,
            _ => self.client.push(Piece::Server(range)),
        }
    }

    /// Says something to the client in our own words.
    pub fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.own.len();
        write(&mut self.own);
        let range = start..self.own.len();
        match self.client.last_mut() {
            Some(Piece::Own(last)) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => (),
            _ => self.client.push(Piece::Own(range)),
        }
    }

    /// Asks for something.
    pub fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Forgets everything, keeping the memory unless there is much of it.
    pub fn clear(&mut self) {
        const KEEP_BYTES_MAX: usize = 64 * 1024;
        self.audit.clear();
        self.client.clear();
        self.commands.clear();
        let Sites { primary, replica } = &mut self.server;
        for bytes in [primary, replica, &mut self.own] {
            bytes.clear();
            bytes.shrink_to(KEEP_BYTES_MAX);
        }
    }
}
