//! Privileges and their grammar: `item {, item} ON object`.
//!
//! Text comes in through [`parse`] and goes out through [`Privilege::display`]; each engine quotes and
//! folds names its own way. [`Privilege::new`] is the one normal form, so that equal privileges are
//! equal values.

mod error;
mod parse;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::sql::Engine;
use crate::sql::access::{Access, Columns, Object, Operation};
use crate::sql::name::QualifiedName;

pub use error::{BYTES_MAX, ParseError, ParseErrorKind};
pub use parse::{parse, parse_list, parse_stored};
pub use types::normalise_arguments;

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
    /// SELECT on relations and sequences, metadata; on MySQL also SHOW VIEW and LOCK TABLES, so that a
    /// dump can be taken.
    Read,
    /// Read, and INSERT, UPDATE, DELETE, MERGE, and USAGE of the sequences that its columns own; not TRUNCATE.
    Write,
    /// All that the service account may do there, but for bypassing row security; on a database also DDL,
    /// roles and settings.
    Admin,
}

impl Level {
    /// Every level, narrowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The key word.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Admin => "ADMIN",
        }
    }

    /// Whether the level can be given on such an object. READ and WRITE say nothing about a function,
    /// and WRITE on a sequence would leave open whether `setval` is meant.
    pub const fn fits(self, object: &Object) -> bool {
        match object {
            Object::Database | Object::Schema(_) | Object::Relation(_) => true,
            Object::Sequence(_) => matches!(self, Self::Read | Self::Admin),
            Object::Function { .. } | Object::Procedure(_) => matches!(self, Self::Admin),
        }
    }

    /// Whether giving the operation beside the level, on the same object, adds nothing.
    const fn implies(self, operation: Operation) -> bool {
        match self {
            Self::Read => {
                matches!(operation, Operation::Select | Operation::ShowView | Operation::LockTables)
            }
            Self::Write => matches!(
                operation,
                Operation::Select
                    | Operation::ShowView
                    | Operation::LockTables
                    | Operation::Insert
                    | Operation::Update
                    | Operation::Delete
            ),
            Self::Admin => !matches!(operation, Operation::BypassRowSecurity),
        }
    }
}

/// Whether an engine lets an operation be granted on such an object; `None` asks for either engine. On a schema or database it means: on every
/// relation there (EXECUTE: every function), but for CREATE and USAGE, which mean the schema or
/// database itself.
pub fn operation_fits(engine: Option<Engine>, operation: Operation, object: &Object) -> bool {
    let postgres = engine != Some(Engine::Mysql) && fits_postgres(operation, object);
    postgres || (engine != Some(Engine::Postgres) && fits_mysql(operation, object))
}

/// MySQL, "Privileges Provided by MySQL": on a database, what can be granted on `db.*`; on DATABASE, which
/// is the whole server, also what is global.
const fn fits_mysql(operation: Operation, object: &Object) -> bool {
    use Operation as Op;
    let global = matches!(operation, Op::File | Op::Process | Op::Reload);
    let known =
        !matches!(operation, Op::Truncate | Op::Maintain | Op::Usage | Op::BypassRowSecurity);
    match object {
        Object::Database => known,
        Object::Schema(_) => known && !global,
        Object::Relation(_) => {
            known
                && !global
                && !matches!(
                    operation,
                    Op::Execute
                        | Op::CreateRoutine
                        | Op::AlterRoutine
                        | Op::CreateTemporaryTables
                        | Op::LockTables
                        | Op::Event
                )
        }
        Object::Sequence(_) => false,
        Object::Function { .. } | Object::Procedure(_) => {
            matches!(operation, Op::Execute | Op::AlterRoutine)
        }
    }
}

fn fits_postgres(operation: Operation, object: &Object) -> bool {
    use Operation as Op;
    if !Op::of(Engine::Postgres).contains(&operation) {
        return false;
    }
    match object {
        Object::Database => !matches!(operation, Op::Usage),
        Object::Schema(_) => true,
        Object::Relation(_) => !matches!(operation, Op::Usage | Op::Execute | Op::Create),
        Object::Sequence(_) => matches!(operation, Op::Select | Op::Update | Op::Usage),
        Object::Function { .. } => matches!(operation, Op::Execute),
        Object::Procedure(_) => false,
    }
}

impl Privilege {
    /// A privilege in normal form: the widest level alone, then operations in a fixed order, each
    /// once; a whole operation absorbs its columns, and what the level implies is left out.
    pub fn new(items: impl IntoIterator<Item = Item>, object: Object) -> Self {
        let mut level = None;
        let mut operations: BTreeMap<Operation, Option<BTreeSet<Box<str>>>> = BTreeMap::new();
        for item in items {
            match item {
                Item::Level(found) => level = level.max(Some(found)),
                Item::Operation(operation, columns) => {
                    operations
                        .entry(operation)
                        .and_modify(|held| match (held.as_mut(), &columns) {
                            (Some(names), Some(more)) => names.extend(more.iter().cloned()),
                            _ => *held = None,
                        })
                        .or_insert(columns);
                }
            }
        }
        if let Some(level) = level {
            operations.retain(|operation, _| !level.implies(*operation));
        }
        let items = level
            .map(Item::Level)
            .into_iter()
            .chain(operations.into_iter().map(|(operation, on)| Item::Operation(operation, on)))
            .collect();
        Self { items, object }
    }

    /// The part of it that another uses: the same operation on the same object, and of columns those that both
    /// have. `None` when there is none, and for levels.
    pub fn used_by(&self, other: &Self) -> Option<Self> {
        if self.object != other.object {
            return None;
        }
        let uses = |item: &Item| {
            let Item::Operation(operation, held) = item else { return None };
            other.items.iter().find_map(|item| match (item, held) {
                (Item::Operation(used, columns), None) if used == operation => {
                    Some(Item::Operation(*used, columns.clone()))
                }
                (Item::Operation(used, None), Some(_)) if used == operation => {
                    Some(Item::Operation(*used, held.clone()))
                }
                (Item::Operation(used, Some(columns)), Some(held)) if used == operation => {
                    let both: BTreeSet<_> = columns.intersection(held).cloned().collect();
                    (!both.is_empty()).then_some(Item::Operation(*used, Some(both)))
                }
                _ => None,
            })
        };
        let items: Vec<_> = self.items.iter().filter_map(uses).collect();
        (!items.is_empty()).then(|| Self::new(items, self.object.clone()))
    }

    /// The smallest privilege that covers an access; `None` for metadata, which any privilege covers.
    pub fn for_access(access: &Access) -> Option<Self> {
        let (item, object) = match access {
            Access::Metadata => return None,
            Access::Admin(object) => (Item::Level(Level::Admin), object.clone()),
            Access::Anything(object) => (Item::Operation(Operation::Select, None), object.clone()),
            Access::OneOf { first, object, .. } => (Item::Operation(*first, None), object.clone()),
            Access::OwnedSequence { operation, sequence, .. } => {
                (Item::Operation(*operation, None), Object::Sequence(sequence.clone()))
            }
            Access::Privilege { operation, object, columns } => {
                let columns = match columns {
                    Columns::Named(names) if !names.is_empty() => Some(names.clone()),
                    Columns::Named(_) | Columns::Any | Columns::Whole => None,
                };
                (Item::Operation(*operation, columns), object.clone())
            }
        };
        Some(Self { items: vec![item], object })
    }

    /// The privilege in the grammar of `--privilege`, quoted as the engine quotes: [`parse`] reads it
    /// back.
    pub fn display(&self, engine: Engine) -> impl fmt::Display {
        Shown { privilege: self, quote: Quote::of(engine) }
    }

    /// The privilege as it is stored, whatever the engine: [`parse_stored`] reads it back.
    pub fn stored(&self) -> String {
        Shown { privilege: self, quote: Quote::Double }.to_string()
    }
}

impl fmt::Display for Privilege {
    /// As PostgreSQL quotes. Where the engine is known, [`Privilege::display`] says it as that does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(Engine::Postgres).fmt(f)
    }
}

/// How names are quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Double,
    Backtick,
}

impl Quote {
    const fn of(engine: Engine) -> Self {
        match engine {
            Engine::Postgres => Self::Double,
            Engine::Mysql => Self::Backtick,
        }
    }

    const fn mark(self) -> char {
        match self {
            Self::Double => '"',
            Self::Backtick => '`',
        }
    }
}

struct Shown<'a> {
    privilege: &'a Privilege,
    quote: Quote,
}

impl Shown<'_> {
    /// Bare where both engines read it back unchanged, quoted otherwise.
    fn name(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain {
            return f.write_str(name);
        }
        let mark = self.quote.mark();
        write!(f, "{mark}")?;
        for c in name.chars() {
            if c == mark {
                write!(f, "{mark}")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "{mark}")
    }

    fn qualified(&self, f: &mut fmt::Formatter<'_>, name: &QualifiedName) -> fmt::Result {
        self.name(f, &name.schema)?;
        f.write_str(".")?;
        self.name(f, &name.name)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.privilege.items.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            match item {
                Item::Level(level) => f.write_str(level.keyword())?,
                Item::Operation(operation, columns) => {
                    f.write_str(operation.keyword())?;
                    let Some(columns) = columns else { continue };
                    f.write_str(" (")?;
                    for (n, column) in columns.iter().enumerate() {
                        if n > 0 {
                            f.write_str(", ")?;
                        }
                        self.name(f, column)?;
                    }
                    f.write_str(")")?;
                }
            }
        }
        f.write_str(" ON ")?;
        match &self.privilege.object {
            Object::Database => f.write_str("DATABASE"),
            Object::Schema(schema) => {
                f.write_str("SCHEMA ")?;
                self.name(f, schema)
            }
            Object::Relation(name) => self.qualified(f, name),
            Object::Sequence(name) => {
                f.write_str("SEQUENCE ")?;
                self.qualified(f, name)
            }
            Object::Function { name, arguments } => {
                f.write_str("FUNCTION ")?;
                self.qualified(f, name)?;
                write!(f, "({arguments})")
            }
            Object::Procedure(name) => {
                f.write_str("PROCEDURE ")?;
                self.qualified(f, name)
            }
        }
    }
}

#[cfg(test)]
mod tests;
