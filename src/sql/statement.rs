//! A statement as analysed: what it is, what it needs, and what it does to the session.

use std::ops::Range;

use super::access::{Accesses, Operation};
use super::name::QualifiedName;
use super::placement::{Placement, TransactionMode};

/// Statement classes, as pgaudit has them (pgaudit README, `pgaudit.log`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// SELECT and COPY from a relation or query.
    Read,
    /// INSERT, UPDATE, DELETE, MERGE, TRUNCATE, and COPY to a relation.
    Write,
    /// Everything that changes definitions.
    Ddl,
    /// Statements about roles and privileges.
    Role,
    /// Function calls and DO.
    Function,
    /// The rest: transactions, settings, cursors …
    Misc,
}

impl Class {
    /// As pgaudit writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Ddl => "DDL",
            Self::Role => "ROLE",
            Self::Function => "FUNCTION",
            Self::Misc => "MISC",
        }
    }
}

/// What one message said, statement by statement, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Empty for an empty message.
    pub statements: Vec<Statement>,
}

/// One analysed statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Where it stands in the message: byte range.
    pub span: Range<usize>,
    /// `SELECT`, `CREATE TABLE` …: the command tag's words without counts.
    pub command: &'static str,
    /// How the audit stream classes it.
    pub class: Class,
    /// Everything it needs, each once. Empty for transaction control and harmless settings.
    pub accesses: Accesses,
    /// What it needs beyond that, which hangs on the values of its parameters.
    pub deferred: Box<[Deferred]>,
    /// Where it may run, as far as it says so itself.
    pub placement: Placement,
    /// What it does to the session beyond its result.
    pub effect: Effect,
    /// Byte ranges of the message that hold credentials: never recorded, whatever the setting.
    pub credentials: Vec<Range<usize>>,
    /// Byte ranges of the message that are literals: recorded unless the setting says otherwise.
    pub literals: Vec<Range<usize>>,
    /// Whether it may have changed the catalog, so that it must be read again.
    pub changes_catalog: bool,
    /// Whether it may change what unqualified names mean (search_path, roles, a new schema).
    pub changes_path: bool,
}

/// What a statement does to the state of its session.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// BEGIN, START TRANSACTION.
    Begin(TransactionMode),
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// SAVEPOINT.
    Savepoint(Box<str>),
    /// RELEASE SAVEPOINT.
    Release(Box<str>),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(Box<str>),
    /// SET, SET LOCAL, RESET of one harmless setting.
    Set {
        /// The setting, lower-case.
        name: Box<str>,
    },
    /// SHOW of one setting, lower-case; `all` for every one.
    Show {
        /// The setting.
        name: Box<str>,
    },
    /// PREPARE: the statement's accesses are those of its body.
    Prepare(Box<str>),
    /// EXECUTE (also below EXPLAIN or CREATE TABLE AS): needs what the prepared statement needs, too.
    Execute(Box<str>),
    /// DEALLOCATE; `None` for ALL.
    Deallocate(Option<Box<str>>),
    /// DECLARE CURSOR: the statement's accesses are those of its query.
    Declare {
        /// Name of the cursor.
        cursor: Box<str>,
        /// WITH HOLD: outlives its transaction.
        hold: bool,
    },
    /// FETCH or MOVE: needs what the cursor's query needs, again.
    Fetch(Box<str>),
    /// CLOSE; `None` for ALL.
    CloseCursor(Option<Box<str>>),
    /// DISCARD ALL.
    DiscardAll,
    /// COPY … FROM STDIN.
    CopyIn,
    /// COPY … TO STDOUT.
    CopyOut,
    /// A call on the virtual schema `daypass`; the server never sees it.
    Call(Call),
    /// MySQL: USE.
    UseDatabase(Box<str>),
    /// MySQL: SET of what changes how the session's next texts are read.
    Reading {
        /// `sql_mode`.
        sql_mode: Change,
        /// `character_set_client`.
        character_set: Change,
    },
    /// MySQL: a table that only the session has is made.
    CreateTemporary(QualifiedName),
    /// MySQL: tables go, temporary ones among them.
    DropTables(Box<[QualifiedName]>),
    /// MySQL: LOAD DATA LOCAL, for which the client is asked for this file and no other.
    LoadLocal(Box<str>),
    /// MySQL: KILL, whose number is one that the proxy gave out.
    Kill {
        /// Of the connection.
        connection: u64,
        /// Only its statement.
        query: bool,
    },
}

/// What becomes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays.
    Stays,
    /// It is this from now on.
    To(Box<str>),
    /// The server is to be asked.
    Unknown,
}

/// Something that is named by a parameter: known when the value comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// What the values name.
    pub kind: DeferredKind,
    /// The values: at least one of them is a parameter.
    pub arguments: Box<[Argument]>,
}

/// What a value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeferredKind {
    /// A sequence: `nextval($1)`.
    Sequence(Operation),
    /// An object whose name is looked up, nothing more: `$1::regclass`.
    Name,
    /// A setting that is read: `current_setting($1)`.
    ShowSetting,
    /// A setting that is set, and its value: `set_config($1, $2, …)`.
    SetSetting,
}

/// `CALL daypass.name(arguments)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Name inside the schema, lower-case.
    pub name: Box<str>,
    /// In order; named arguments are refused before this.
    pub arguments: Vec<Argument>,
}

/// An argument of a [`Call`], or a value of a [`Deferred`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// NULL.
    Null,
    /// A string or number, as text.
    Literal(Box<str>),
    /// `$n`, from 1: its value comes with Bind.
    Parameter(u16),
}

/// Why a message was not understood. It never reaches a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// The engine's own grammar refuses it.
    #[error("{message}")]
    Syntax {
        /// The parser's words.
        message: String,
        /// Where, in characters from 1, when the parser says.
        position: Option<u32>,
    },
    /// Read, but refused for what it is: a kind of statement or a construct without a rule.
    #[error("{what}")]
    Unsupported {
        /// What is refused, a sentence.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A name that the catalog does not have; the server would say the same.
    #[error("{message}")]
    Undefined {
        /// The server's SQLSTATE for it: 42P01, 42703, 3F000 …
        sqlstate: &'static str,
        /// The server's words for it.
        message: String,
        /// Where, in characters from 1, where the server would say.
        position: Option<u32>,
    },
    /// Larger or deeper than the limits allow.
    #[error("{what}")]
    TooComplex {
        /// Which limit, a sentence.
        what: String,
    },
}
