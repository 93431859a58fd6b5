//! Where a statement may run, as far as it says so itself: what an analyser finds, whatever becomes of it in its
//! session.

use std::fmt;

use super::name::QualifiedName;

/// Where a statement may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At any server that is far enough: it is confirmed to be read-only, and to mean the same everywhere.
    Anywhere,
    /// Where its transaction is: it is about the session, and any server can do it.
    Session,
    /// Where the session is at home: what it leaves there, or needs of what was left, is not carried along.
    Home(Rule),
    /// At the primary.
    Primary(Rule),
}

impl Placement {
    /// Why nobody but the primary may run it, where that is so.
    pub const fn primary_rule(&self) -> Option<&Rule> {
        match self {
            Self::Primary(rule) => Some(rule),
            Self::Anywhere | Self::Session | Self::Home(_) => None,
        }
    }
}

/// Why a statement is bound to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It writes rows, or changes definitions.
    Writes,
    /// It locks rows or tables.
    Locks,
    /// It calls a function of which nobody knows that it only reads and means the same at a replica.
    Function(Box<str>),
    /// It uses a relation that replicas do not have, or have otherwise: what that is.
    Relation(QualifiedName, &'static str),
    /// It reads or makes something that only one session at one server has: what that is, a noun.
    State(&'static str),
    /// It is of a kind that is not known to mean the same at a replica: its command.
    Command(&'static str),
}

/// A clause that goes on after "runs at the primary: ".
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writes => f.write_str("it writes"),
            Self::Locks => f.write_str("it locks"),
            Self::Function(name) => {
                write!(f, "it calls {name}, which is not known to mean the same at a replica")
            }
            Self::Relation(name, what) => write!(f, "{name} is {what}"),
            Self::State(what) => write!(f, "only one session at one server has {what}"),
            Self::Command(command) => {
                write!(f, "{command} is not known to mean the same at a replica")
            }
        }
    }
}

/// What BEGIN or START TRANSACTION says of the transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionMode {
    /// READ ONLY stands there, and READ WRITE does not.
    pub read_only: bool,
    /// SERIALIZABLE stands there, which no replica can do.
    pub serializable: bool,
}
