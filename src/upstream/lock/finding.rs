//! What an operator should know of a server.

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Grants cannot be held to, or not given.
    Error,
    /// Something is wider open than it need be.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// A sentence without a full stop.
    pub says: String,
    /// The SQL that mends it, for a superuser to run in this database.
    pub mend: Option<String>,
}
