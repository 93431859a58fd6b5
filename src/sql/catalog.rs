//! A snapshot of the names that a server knows. Loaded by `upstream`, read by the analysers.

use std::collections::HashMap;
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
    /// By number: all but the row types of tables and views.
    pub types: HashMap<TypeId, Type>,
    /// Casts by source and target, and whether each is applied without being asked for.
    pub casts: HashMap<(TypeId, TypeId), bool>,
    /// Those whose function may need something: all that users made.
    pub called_casts: Vec<CalledCast>,
    /// Sequences by their number, which a parameter may carry instead of a name.
    pub sequences: HashMap<u32, QualifiedName>,
    /// Whether the server lets everybody make temporary objects (TEMPORARY on the database, to PUBLIC).
    pub public_temporary: bool,
    /// With whose rights statements run, and what functions do inside.
    pub runs_as: RunsAs,
    /// Where the server stood, for whoever reads again only what has changed; `None` for what one session sees.
    pub mark: Option<Arc<Mark>>,
}

/// With whose rights statements run at the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunsAs {
    /// Somebody else's: the service account's without a second lock, or a `ddl-owner`'s. The server lets a
    /// function's body do what that one may, and hides nothing from it.
    #[default]
    Other,
    /// Those of a role of the principal's own, an account on MySQL, which the server holds to its grants.
    OwnRole,
}

/// Where a server stood when a catalog was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The oldest transaction that was under way (`pg_snapshot_xmin`). What older ones wrote was seen.
    pub horizon: u64,
    /// When the server was started, microseconds: another server, or the same after a restart, has another.
    pub started: i64,
    /// `pg_database.oid`.
    pub database: u32,
    /// Names of schemas by number.
    pub schemas: HashMap<u32, Box<str>>,
    /// Relations by number: schema and name.
    pub relations: HashMap<u32, (u32, Box<str>)>,
    /// The relations that indexes are on, by number.
    pub tables: HashMap<u32, u32>,
    /// Functions that PUBLIC may not execute, by number.
    pub closed: Vec<u32>,
    /// Rows of the server's catalogs with an expression that calls one of those, by number.
    pub calling: Vec<u32>,
    /// Rows of the server's catalogs with an expression that uses something of the server's own that is not known
    /// to be the same at a replica, by number.
    pub doubted: Vec<u32>,
}

/// `pg_type.oid`; 0 stands for none.
pub type TypeId = u32;

/// One schema's objects, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// PUBLIC has no USAGE, so that naming what is in it takes a privilege.
    pub restricted: bool,
    /// Tables, views, sequences … (`pg_class`).
    pub relations: HashMap<Box<str>, Relation>,
    /// Functions, aggregates, procedures (`pg_proc`), every overload. Those of `pg_catalog` are there
    /// too, unless `pg_proc` could not be read.
    pub functions: HashMap<Box<str>, Vec<Function>>,
    /// Operators (`pg_operator`) whose function may need something: all that users made.
    pub operators: HashMap<Box<str>, Vec<Operator>>,
    /// Types (`pg_type`) other than row types and arrays.
    pub types: HashMap<Box<str>, TypeKind>,
    /// The numbers of those, and of their arrays.
    pub type_ids: HashMap<Box<str>, TypeId>,
}

/// One relation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// What it is.
    pub kind: RelationKind,
    /// Its live user columns, in order.
    pub columns: Vec<Box<str>>,
    /// Their types.
    pub column_types: Vec<TypeId>,
    /// Column that owns a sequence: relation and column.
    pub owned_by: Option<(QualifiedName, Box<str>)>,
    /// Of an index, the relation that it is on.
    pub table: Option<QualifiedName>,
    /// What inherits from it: its partitions, or its children.
    pub children: Vec<QualifiedName>,
    /// Row-level security is on, and the service account would bypass it.
    pub bypassed_row_security: bool,
    /// What its definition does as whoever uses it; most relations have nothing of the kind.
    pub definition: Option<Box<Definition>>,
    /// Code that somebody made may run when it is read or written: triggers, rules, defaults, checks, policies,
    /// the functions of a view.
    pub runs_code: bool,
    /// What reading it is at a replica.
    pub at_replica: AtReplica,
}

/// What reading a relation is at a replica that has replayed all of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtReplica {
    /// The same, as far as its definition goes.
    #[default]
    Same,
    /// Its rows, or those of something that is read through it, are not in the log.
    Unlogged,
    /// Its rows, or those of something that is read through it, are at another server.
    Foreign,
    /// It calls, reads or checks something of which nobody knows that it is the same.
    Unsure,
}

/// What a relation's definition does with the rights of whoever uses it, not with its owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// The query of a view with `security_invoker`.
    pub invoker_query: Option<Box<str>>,
    /// Views of that kind below this one: their queries are checked as the caller however they are reached.
    pub invokers_below: Vec<QualifiedName>,
    /// Functions that PUBLIC may not execute, and that run when rows are read.
    pub on_read: Vec<Routine>,
    /// Those that run when rows are added or changed: checks, defaults, index expressions.
    pub on_write: Vec<Routine>,
    /// Defaults that advance a sequence as the caller (`serial`; identity columns do not).
    pub defaults: Vec<SequenceDefault>,
    /// Conditions of row security.
    pub policies: Vec<Policy>,
}

/// A default that advances a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceDefault {
    /// The column; `None` for one of a table below a view.
    pub column: Option<Box<str>>,
    /// The sequence; `None` when the expression does not say which.
    pub sequence: Option<QualifiedName>,
}

/// A policy of row security.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The commands that it is a condition of: `r` select, `a` insert, `w` update, `d` delete.
    pub commands: &'static str,
    /// USING or WITH CHECK, as `pg_get_expr` writes it.
    pub condition: Box<str>,
}

/// One overload of a function, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Routine {
    /// Schema and name.
    pub name: QualifiedName,
    /// Types of its input arguments, as in [`Function::arguments`].
    pub arguments: Box<str>,
}

/// `pg_class.relkind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelationKind {
    /// `r` and `p`.
    #[default]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Types of its input arguments as `format_type` writes them, `integer, text`.
    pub arguments: Box<str>,
    /// The same by number.
    pub inputs: Box<[TypeId]>,
    /// How many of the last inputs have defaults.
    pub defaults: u16,
    /// Type of the elements that its last input gathers (VARIADIC); 0 for none.
    pub variadic: TypeId,
    /// What it returns.
    pub result: TypeId,
    /// `pg_proc.provolatile`; of an aggregate, the worst of its parts.
    pub volatility: Volatility,
    /// What its body is.
    pub language: Language,
    /// Who made it.
    pub origin: Origin,
    /// Runs as its owner (SECURITY DEFINER).
    pub definer: bool,
    /// PUBLIC may execute it.
    pub public: bool,
    /// It is known to change nothing, and to mean the same at a replica.
    pub at_replica: bool,
}

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volatility {
    /// Says that it reads nothing but its arguments.
    Immutable,
    /// Says that it changes nothing.
    Stable,
    /// Says nothing.
    #[default]
    Volatile,
}

/// What a function's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Compiled (`internal`, `c`): only a superuser makes these.
    Compiled,
    /// `sql`, `plpgsql` and the rest.
    #[default]
    Interpreted,
}

/// Who made a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The server's own.
    Server,
    /// An extension.
    Extension,
    /// Somebody.
    #[default]
    User,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Type of the left operand; 0 for a prefix operator.
    pub left: TypeId,
    /// Type of the right operand.
    pub right: TypeId,
    /// What it calls.
    pub function: Routine,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// `typtype`.
    pub kind: TypeKind,
    /// `typcategory`.
    pub category: char,
    /// `typispreferred`.
    pub preferred: bool,
    /// Of an array, the type of its elements; else 0.
    pub element: TypeId,
    /// Of a domain, what it restricts; else 0.
    pub base: TypeId,
    /// Functions that PUBLIC may not execute, and that a domain's checks call.
    pub checks: Vec<Routine>,
    /// What makes a value of it (its input, a domain's checks) is known to be the same at a replica.
    pub at_replica: bool,
}

/// A cast by a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledCast {
    /// From.
    pub source: TypeId,
    /// To.
    pub target: TypeId,
    /// Whether it is applied without being asked for, at least when a value is assigned to a column.
    pub automatic: bool,
    /// What it calls.
    pub function: Routine,
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
    /// The same names as roles of principals' own meet them: row security holds for them, whatever the
    /// service account would bypass.
    #[must_use]
    pub fn for_own_roles(&self) -> Self {
        let mut seen = Self { runs_as: RunsAs::OwnRole, ..self.clone() };
        for schema in seen.schemas.values_mut() {
            if schema.relations.values().any(|relation| relation.bypassed_row_security) {
                for relation in Arc::make_mut(schema).relations.values_mut() {
                    relation.bypassed_row_security = false;
                }
            }
        }
        seen
    }

    /// Whether both know the same, whatever their versions.
    pub fn same_content(&self, other: &Self) -> bool {
        self.server_version == other.server_version
            && self.public_temporary == other.public_temporary
            && self.runs_as == other.runs_as
            && self.schemas == other.schemas
            && self.types == other.types
            && self.casts == other.casts
            && self.called_casts == other.called_casts
            && self.sequences == other.sequences
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

    /// Whether the server's own functions are known.
    pub fn knows_functions(&self) -> bool {
        self.schemas.get("pg_catalog").is_some_and(|schema| !schema.functions.is_empty())
    }

    /// The function of that name and those arguments.
    pub fn routine(&self, routine: &Routine) -> Option<&Function> {
        let overloads =
            self.schemas.get(&routine.name.schema)?.functions.get(&routine.name.name)?;
        overloads.iter().find(|function| function.arguments == routine.arguments)
    }
}
