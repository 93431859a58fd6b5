//! Why a text is no privilege.

/// Longest text of privileges, bytes.
pub const BYTES_MAX: usize = 16 * 1024;

/// Text that is no privilege.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at character {position})")]
pub struct ParseError {
    /// Character of the text where it went wrong, from 1.
    pub position: usize,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What is wrong with the text of a privilege.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Longer than [`BYTES_MAX`].
    #[error("privileges are longer than {BYTES_MAX} bytes")]
    TooLong,
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should stand here.
        expected: &'static str,
        /// What does.
        found: Box<str>,
    },
    /// A word that is neither level nor operation.
    #[error(
        "{0} is neither a level (READ, WRITE, ADMIN) nor an operation (SELECT, INSERT, UPDATE, DELETE, \
         TRUNCATE, REFERENCES, TRIGGER, MAINTAIN, USAGE, EXECUTE, CREATE, BYPASS ROW SECURITY)"
    )]
    UnknownItem(Box<str>),
    /// MERGE is a statement, not an operation.
    #[error("MERGE is granted as the operations it performs: SELECT with INSERT, UPDATE or DELETE")]
    Merge,
    /// ALL is not a word of the grammar.
    #[error("ALL is not a level: write ADMIN, or the operations that are needed")]
    All,
    /// A word where a kind of object should stand.
    #[error(
        "{0} is no kind of object: write DATABASE, SCHEMA s, [TABLE] s.r, SEQUENCE s.q or FUNCTION s.f(types)"
    )]
    UnknownObject(Box<str>),
    /// A relation, sequence or function without its schema.
    #[error("{name} needs its {container}: write {example}.{name}")]
    Unqualified {
        /// As written.
        name: Box<str>,
        /// `schema` or `database`.
        container: &'static str,
        /// A likely one.
        example: Box<str>,
    },
    /// More than schema and name.
    #[error("a name has a schema and a name; the configured database is never part of it")]
    TooManyParts,
    /// `ON DATABASE x` in a grant for another database.
    #[error("DATABASE {named} is not the database of this grant ({own}): write ON DATABASE")]
    OtherDatabase {
        /// As written.
        named: Box<str>,
        /// Of the grant.
        own: Box<str>,
    },
    /// An operation or level that means nothing on such an object.
    #[error("{item} does not apply to {object}; it applies to {instead}")]
    DoesNotFit {
        /// Level or operation.
        item: &'static str,
        /// Kind of object.
        object: &'static str,
        /// Where it does apply, or what to write.
        instead: &'static str,
    },
    /// Columns after something that takes none.
    #[error("{0} takes no columns: only SELECT, INSERT, UPDATE and REFERENCES on a relation do")]
    NoColumns(&'static str),
    /// Columns on something that is not a relation.
    #[error("columns belong to a relation, not to {0}")]
    ColumnsOf(&'static str),
    /// A name longer than the engine's.
    #[error("a name has at most {0}")]
    NameTooLong(&'static str),
    /// A quoted name without its end.
    #[error("a quoted name has no end")]
    Unterminated,
    /// A quoted name of nothing, or with a control character.
    #[error("a quoted name is empty or has a control character")]
    BadName,
    /// The other engine's quotation marks.
    #[error("names are quoted with {0} on this engine")]
    WrongQuote(char),
    /// Argument types that are not understood.
    #[error("{0}")]
    Arguments(&'static str),
}
