//! A snapshot of the names that a server knows. Loaded by `upstream`, read by the analysers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::name::QualifiedName;

/// Everything the analyser may resolve a name to, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Grows with each load whose content differs; part of every cache key.
    pub version: u64,
    /// `server_version_num`, 150018 for 15.18.
    pub server_version: u32,
    /// By schema name, system schemas included. A session's own catalog shares those that it has not changed.
    pub schemas: HashMap<Box<str>, Arc<Schema>>,
    /// Whether the server lets everybody make temporary objects (TEMPORARY on the database, to PUBLIC).
    pub public_temporary: bool,
}

/// One schema's objects, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Tables, views, sequences … (`pg_class`).
    pub relations: HashMap<Box<str>, Relation>,
    /// Functions, aggregates, procedures (`pg_proc`), every overload. System schemas: left out.
    pub functions: HashMap<Box<str>, Vec<Function>>,
    /// Operator names (`pg_operator`). System schemas: left out.
    pub operators: HashSet<Box<str>>,
    /// Types (`pg_type`) other than row types and arrays.
    pub types: HashMap<Box<str>, TypeKind>,
}

/// One relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// What it is.
    pub kind: RelationKind,
    /// Its live user columns, in order.
    pub columns: Vec<Box<str>>,
    /// Column that owns a sequence: relation and column.
    pub owned_by: Option<(QualifiedName, Box<str>)>,
    /// Row-level security is on, and the service account would bypass it.
    pub bypassed_row_security: bool,
    /// Rules or triggers that somebody made run with it. Only known of temporary relations.
    pub runs_code: bool,
}

/// `pg_class.relkind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// `r` and `p`.
    Table,
    /// `v`.
    View,
    /// `m`.
    MaterializedView,
    /// `f`.
    ForeignTable,
    /// `S`.
    Sequence,
    /// `i` and `I`.
    Index,
    /// `c`.
    Composite,
    /// `t`.
    Toast,
}

/// One overload of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Types of its input arguments as `format_type` writes them, `integer, text`.
    pub arguments: Box<str>,
}

/// `pg_type.typtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `b`, `r`, `m`: base, range, multirange.
    Base,
    /// `e`.
    Enum,
    /// `d`.
    Domain,
    /// `c`.
    Composite,
    /// `p`.
    Pseudo,
}

impl Catalog {
    /// Whether both know the same, whatever their versions.
    pub fn same_content(&self, other: &Self) -> bool {
        self.server_version == other.server_version
            && self.public_temporary == other.public_temporary
            && self.schemas == other.schemas
    }

    /// The relation of that qualified name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.schemas.get(schema)?.relations.get(name)
    }

    /// The first schema of `path` that holds a relation of that name, as the server searches it.
    pub fn find_relation<'a>(
        &'a self,
        path: &'a [Box<str>],
        name: &str,
    ) -> Option<(&'a str, &'a Relation)> {
        path.iter().find_map(|schema| Some((&**schema, self.relation(schema, name)?)))
    }
}
