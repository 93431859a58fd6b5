//! Privileges and their grammar: `item {, item} ON object`.

use std::collections::BTreeSet;

use crate::sql::access::{Object, Operation};

/// What a grant allows on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// At least one.
    pub items: Vec<Item>,
    /// On what.
    pub object: Object,
}

/// One item of a privilege.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A named bundle of operations.
    Level(Level),
    /// One operation, on these columns or (`None`) on the whole object.
    Operation(Operation, Option<BTreeSet<Box<str>>>),
}

/// Bundles of operations, each wider than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// SELECT on relations and sequences, metadata.
    Read,
    /// Read, and INSERT, UPDATE, DELETE, MERGE, and USAGE of the sequences that its columns own; not TRUNCATE.
    Write,
    /// All that the service account may do there; on a database also DDL, roles and settings.
    Admin,
}
