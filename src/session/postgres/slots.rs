//! What is still to come for the messages that were sent, in the order in which it comes.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::session::call::BoundCall;
use crate::session::routing::Question;
use crate::session::site::Site;
use crate::session::trail::Running;
use crate::upstream::Reading;

use super::carried::Answer;

use super::names::{Portal, Prepared};

/// One message whose reply is not yet whole.
pub(super) enum Slot {
    /// Parse: ParseComplete makes the name stand for it.
    Parse { name: Box<str>, prepared: Rc<Prepared> },
    /// Bind: BindComplete makes the name stand for it.
    Bind { name: Box<str>, portal: Rc<Portal> },
    /// Close of a statement: CloseComplete.
    CloseStatement(Box<str>),
    /// Close of a portal: CloseComplete.
    ClosePortal(Box<str>),
    /// Describe: RowDescription or NoData is the last of its reply.
    Describe,
    /// Execute.
    Execute { portal: Box<str>, run: Running },
    /// Simple query, a run a statement; ReadyForQuery is the last of its reply.
    Query { runs: VecDeque<Running>, text: Option<Rc<str>> },
    /// Sync: ReadyForQuery.
    Sync,
    /// Sent in place of a denied message of a segment: its error is replaced by this one.
    Poison { error: Vec<u8> },
    /// Sent in place of a denied simple query inside a transaction: likewise.
    PoisonQuery { error: Vec<u8> },
    /// A simple query of our own: the client hears nothing of it.
    Internal(Internal),
    /// A Parse of our own, for a statement that was prepared before there was a server.
    InternalParse { name: Box<str>, prepared: Rc<Prepared> },
    /// A Close of our own, of a name that the server has and that stands for nothing any more.
    InternalClose,
    /// Execute of an empty text: EmptyQueryResponse.
    Empty,
    /// A message that the server never sees: our reply, due when all before it have been answered.
    Own { reply: Vec<u8>, then: Then },
    /// Sync of a session without a server.
    OwnSync,
    /// A call on the schema `daypass`.
    Call { call: BoundCall, run: Running, simple: bool, asked: bool },
}

impl Slot {
    /// The statements in it that run, or wait to.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Running> {
        let (one, many) = match self {
            Self::Execute { run, .. } | Self::Call { run, .. } => (Some(run), None),
            Self::Query { runs, .. } => (None, Some(runs.iter())),
            _ => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// A query of our own.
pub(super) enum Internal {
    /// A statement that was taken before there was a server.
    Replay { text: Box<str>, failed: Option<String> },
    /// `SET ROLE` of the `ddl-owner`.
    Become { failed: Option<String> },
    /// `RESET ROLE`.
    Resign { failed: bool },
    /// Takes a `SET ROLE` that failed out of the client's transaction.
    Undo,
    /// A Sync of our own inside the client's segment.
    Cut,
    /// How far a server is, and the session's state.
    Asked { site: Site, question: Question, answer: Answer },
    /// A server is told the session's state.
    Told { site: Site, failed: bool },
    /// A statement is prepared where it was not.
    Taught,
    /// What is left of a unit that a replica has refused.
    Abandoned,
    /// The effective search path.
    Path { rows: Vec<Vec<Option<String>>> },
    /// Names that this session alone sees, for that path.
    Names { path: Box<[Box<str>]>, reading: Box<Reading>, failed: bool },
}

/// What a message of our own does once it is answered.
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// A name stands for a statement.
    Prepare(Box<str>, Rc<Prepared>),
    /// A name stands for a portal.
    Bind(Box<str>, Rc<Portal>),
    /// A name of a statement is free again.
    CloseStatement(Box<str>),
    /// A name of a portal is free again.
    ClosePortal(Box<str>),
    /// The reply is an error: everything up to Sync is skipped.
    Skip,
}
