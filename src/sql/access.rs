//! One thing that a statement needs, in the words of SQL `GRANT`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Engine;
use super::name::{QualifiedName, Quoted};

/// An operation that can be granted (PostgreSQL 18, "Privileges"; MySQL, "Privileges Provided by MySQL").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Read rows, or a sequence's value.
    Select,
    /// Add rows.
    Insert,
    /// Change rows; also row locks, and `setval` on a sequence.
    Update,
    /// Remove rows.
    Delete,
    /// Empty a relation.
    Truncate,
    /// Refer to a relation by a foreign key.
    References,
    /// Put a trigger on a relation.
    Trigger,
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH, LOCK (PostgreSQL 17).
    Maintain,
    /// Advance a sequence; look inside a schema.
    Usage,
    /// Call a function.
    Execute,
    /// Make objects in a schema; on MySQL, tables and databases.
    Create,
    /// Read and write the rows of a relation beyond what its row security shows, as a service account
    /// does that is a superuser, has BYPASSRLS or owns the relation.
    BypassRowSecurity,
    /// Remove tables, views and databases, and empty tables (MySQL, as all that follow).
    Drop,
    /// Change a table's definition.
    Alter,
    /// Make and remove indexes.
    Index,
    /// Make a view.
    CreateView,
    /// See a view's definition.
    ShowView,
    /// Make a function or procedure.
    CreateRoutine,
    /// Change or remove a function or procedure.
    AlterRoutine,
    /// Make a table that only the session has.
    CreateTemporaryTables,
    /// LOCK TABLES on what may be read.
    LockTables,
    /// Make, change and remove events.
    Event,
    /// Read and write files of the server's machine.
    File,
    /// See what every session does.
    Process,
    /// FLUSH.
    Reload,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

impl Operation {
    /// Every operation of an engine, in the order in which they are shown.
    pub const fn of(engine: Engine) -> &'static [Self] {
        match engine {
            Engine::Postgres => &Self::POSTGRES,
            Engine::Mysql => &Self::MYSQL,
        }
    }

    const MYSQL: [Self; 21] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::References,
        Self::Trigger,
        Self::Execute,
        Self::Create,
        Self::Drop,
        Self::Alter,
        Self::Index,
        Self::CreateView,
        Self::ShowView,
        Self::CreateRoutine,
        Self::AlterRoutine,
        Self::CreateTemporaryTables,
        Self::LockTables,
        Self::Event,
        Self::File,
        Self::Process,
        Self::Reload,
    ];

    const POSTGRES: [Self; 12] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::References,
        Self::Trigger,
        Self::Maintain,
        Self::Usage,
        Self::Execute,
        Self::Create,
        Self::BypassRowSecurity,
    ];

    /// The key word, as `GRANT` writes it; the last one is a role's attribute there.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::References => "REFERENCES",
            Self::Trigger => "TRIGGER",
            Self::Maintain => "MAINTAIN",
            Self::Usage => "USAGE",
            Self::Execute => "EXECUTE",
            Self::Create => "CREATE",
            Self::BypassRowSecurity => "BYPASS ROW SECURITY",
            Self::Drop => "DROP",
            Self::Alter => "ALTER",
            Self::Index => "INDEX",
            Self::CreateView => "CREATE VIEW",
            Self::ShowView => "SHOW VIEW",
            Self::CreateRoutine => "CREATE ROUTINE",
            Self::AlterRoutine => "ALTER ROUTINE",
            Self::CreateTemporaryTables => "CREATE TEMPORARY TABLES",
            Self::LockTables => "LOCK TABLES",
            Self::Event => "EVENT",
            Self::File => "FILE",
            Self::Process => "PROCESS",
            Self::Reload => "RELOAD",
        }
    }

    /// Whether the operation can be granted on single columns.
    pub const fn takes_columns(self) -> bool {
        matches!(self, Self::Select | Self::Insert | Self::Update | Self::References)
    }
}

/// What an access or a privilege is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// The configured database as a whole.
    Database,
    /// A schema and everything in it, later objects too.
    Schema(Box<str>),
    /// A table, view, materialized view or foreign table.
    Relation(QualifiedName),
    /// A sequence.
    Sequence(QualifiedName),
    /// One overload of a function; arguments as `pg_get_function_identity_arguments` types, comma-separated.
    Function {
        /// Schema and name.
        name: QualifiedName,
        /// Argument types, `integer, text`.
        arguments: Box<str>,
    },
    /// A procedure of MySQL, which may share its name with a function.
    Procedure(QualifiedName),
}

impl Object {
    /// The schema that holds the object, or that it is.
    pub fn schema(&self) -> Option<&str> {
        match self {
            Self::Database => None,
            Self::Schema(schema) => Some(schema),
            Self::Relation(name)
            | Self::Sequence(name)
            | Self::Procedure(name)
            | Self::Function { name, .. } => Some(&name.schema),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("DATABASE"),
            Self::Schema(schema) => write!(f, "SCHEMA {}", Quoted(schema)),
            Self::Relation(name) => name.fmt(f),
            Self::Sequence(name) => write!(f, "SEQUENCE {name}"),
            Self::Function { name, arguments } => write!(f, "FUNCTION {name}({arguments})"),
            Self::Procedure(name) => write!(f, "PROCEDURE {name}"),
        }
    }
}

/// Which columns of a relation an access needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Columns {
    /// The operation on the relation as a whole (DELETE, TRUNCATE, sequences, functions …).
    Whole,
    /// At least one column, whichever: `SELECT count(*) FROM t`.
    Any,
    /// Each of these.
    Named(BTreeSet<Box<str>>),
}

/// How much of an object one of several operations has to be held on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// The object, or any column of it.
    Any,
    /// The object as a whole.
    Whole,
}

/// One thing that a statement needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Harmless knowledge (catalogs, `SELECT 1`, `version()`): any live grant.
    Metadata,
    /// An operation on an object.
    Privilege {
        /// What is done.
        operation: Operation,
        /// To what.
        object: Object,
        /// To which columns.
        columns: Columns,
    },
    /// An operation on a sequence that a column of a relation owns (`serial`, identity): as
    /// [`Access::Privilege`] on the sequence, but USAGE also comes with WRITE on the owner, and any
    /// operation with ADMIN on it.
    OwnedSequence {
        /// What is done.
        operation: Operation,
        /// To which sequence.
        sequence: QualifiedName,
        /// The relation whose column owns it.
        owner: QualifiedName,
    },
    /// Any one of several operations on an object, or on any column of it (MySQL).
    OneOf {
        /// What is asked for where none is held.
        first: Operation,
        /// What does as well.
        others: &'static [Operation],
        /// On what.
        object: Object,
        /// Whether the operation on some column is enough.
        reach: Reach,
    },
    /// Whatever is granted on this object, on something in it or on some of its columns: to see how it is
    /// made, or to enter it (MySQL).
    Anything(Object),
    /// Something that only the level ADMIN on this object (or above it) covers: DDL, roles, settings.
    Admin(Object),
}

impl fmt::Display for Access {
    /// The smallest privilege that would cover the access, in the grammar of `--privilege`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata => f.write_str("any privilege"),
            Self::OwnedSequence { operation, sequence, .. } => {
                write!(f, "{} ON SEQUENCE {sequence}", operation.keyword())
            }
            Self::OneOf { first, object, .. } => write!(f, "{} ON {object}", first.keyword()),
            Self::Anything(object) => write!(f, "SELECT ON {object}"),
            Self::Admin(object) => write!(f, "ADMIN ON {object}"),
            Self::Privilege { operation, object, columns } => {
                f.write_str(operation.keyword())?;
                if let Columns::Named(names) = columns {
                    f.write_str(" (")?;
                    for (n, name) in names.iter().enumerate() {
                        if n > 0 {
                            f.write_str(", ")?;
                        }
                        write!(f, "{}", Quoted(name))?;
                    }
                    f.write_str(")")?;
                }
                write!(f, " ON {object}")
            }
        }
    }
}

/// Everything that one statement needs, each once. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Accesses(Arc<[Access]>);

impl Accesses {
    /// What tells this very list from all others that there are at the moment.
    pub fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Whether both are the very same list, not only an equal one.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Vec<Access>> for Accesses {
    fn from(list: Vec<Access>) -> Self {
        Self(list.into())
    }
}

impl Deref for Accesses {
    type Target = [Access];

    fn deref(&self) -> &[Access] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Accesses {
    type Item = &'a Access;
    type IntoIter = std::slice::Iter<'a, Access>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Debug for Accesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
