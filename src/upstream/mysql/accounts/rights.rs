//! Privileges of grants as rights of the server, and the GRANT and REVOKE between two sets of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::grant::privilege::{Item, Level, Privilege};
use crate::sql::access::{Object, Operation};
use crate::sql::mysql::catalog::Catalog;
use crate::sql::name::QualifiedName;

/// Where a right holds, as the server's own tables of rights tell places apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `*.*`.
    Global,
    /// One database.
    Schema(Box<str>),
    /// One table or view.
    Table(QualifiedName),
    /// A column of one.
    Column(QualifiedName, Box<str>),
    /// A stored function.
    Function(QualifiedName),
    /// A stored procedure.
    Procedure(QualifiedName),
}

/// One right at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where.
    pub place: Place,
    /// What.
    pub operation: Operation,
}

/// What can be granted on a table.
const TABLE: [Operation; 12] = [
    Operation::Select,
    Operation::Insert,
    Operation::Update,
    Operation::Delete,
    Operation::References,
    Operation::Trigger,
    Operation::Create,
    Operation::Drop,
    Operation::Alter,
    Operation::Index,
    Operation::CreateView,
    Operation::ShowView,
];

/// What can be granted on a database beside.
const SCHEMA: [Operation; 6] = [
    Operation::Execute,
    Operation::CreateRoutine,
    Operation::AlterRoutine,
    Operation::CreateTemporaryTables,
    Operation::LockTables,
    Operation::Event,
];

/// What can be granted on everything only.
const GLOBAL: [Operation; 3] = [Operation::File, Operation::Process, Operation::Reload];

const ROUTINE: [Operation; 2] = [Operation::Execute, Operation::AlterRoutine];

/// Whether the server has such a right there.
fn fits(place: &Place, operation: Operation) -> bool {
    match place {
        Place::Global => {
            TABLE.contains(&operation) || SCHEMA.contains(&operation) || GLOBAL.contains(&operation)
        }
        Place::Schema(_) => TABLE.contains(&operation) || SCHEMA.contains(&operation),
        Place::Table(_) => TABLE.contains(&operation),
        Place::Column(..) => matches!(
            operation,
            Operation::Select | Operation::Insert | Operation::Update | Operation::References
        ),
        Place::Function(_) | Place::Procedure(_) => ROUTINE.contains(&operation),
    }
}

/// What the server needs to let an account do that privileges allow. What it has no right for (LOCK TABLES on one
/// table) is left out: it refuses more then.
pub fn wanted<'p>(privileges: impl IntoIterator<Item = &'p Privilege>) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for privilege in privileges {
        let place = match &privilege.object {
            Object::Database => Place::Global,
            Object::Schema(name) => Place::Schema(name.clone()),
            Object::Relation(name) | Object::Sequence(name) => Place::Table(name.clone()),
            // Names of routines and columns have no case.
            Object::Function { name, .. } => Place::Function(lowered(name)),
            Object::Procedure(name) => Place::Procedure(lowered(name)),
        };
        for item in &privilege.items {
            match item {
                Item::Level(level) => {
                    let operations = TABLE.iter().chain(&SCHEMA).chain(&GLOBAL);
                    let given = operations.filter(|it| gives(*level, **it) && fits(&place, **it));
                    rights
                        .extend(given.map(|&operation| Right { place: place.clone(), operation }));
                }
                Item::Operation(operation, None) if fits(&place, *operation) => {
                    rights.insert(Right { place: place.clone(), operation: *operation });
                }
                Item::Operation(operation, Some(columns)) => {
                    let Place::Table(table) = &place else { continue };
                    let places = columns
                        .iter()
                        .map(|it| Place::Column(table.clone(), it.to_lowercase().into()));
                    let places = places.filter(|it| fits(it, *operation));
                    rights.extend(places.map(|place| Right { place, operation: *operation }));
                }
                Item::Operation(..) => {}
            }
        }
    }
    rights
}

fn lowered(name: &QualifiedName) -> QualifiedName {
    QualifiedName::new(name.schema.clone(), name.name.to_lowercase())
}

const fn gives(level: Level, operation: Operation) -> bool {
    let reads =
        matches!(operation, Operation::Select | Operation::ShowView | Operation::LockTables);
    match level {
        Level::Read => reads,
        Level::Write => {
            reads || matches!(operation, Operation::Insert | Operation::Update | Operation::Delete)
        }
        Level::Admin => true,
    }
}

/// Those at places that there are: on others the server takes no GRANT, but for tables that may be made.
pub fn possible(mut rights: BTreeSet<Right>, catalog: &Catalog) -> BTreeSet<Right> {
    rights.retain(|right| {
        let database = |name: &QualifiedName| catalog.databases.get(&name.schema);
        match &right.place {
            Place::Global | Place::Schema(_) => true,
            Place::Table(name) => {
                database(name).is_some_and(|it| it.tables.contains_key(&name.name))
            }
            Place::Column(name, column) => database(name)
                .and_then(|it| it.tables.get(&name.name))
                .is_some_and(|it| it.columns.iter().any(|it| it.name == *column)),
            Place::Function(name) => {
                database(name).is_some_and(|it| it.functions.contains_key(&name.name))
            }
            Place::Procedure(name) => {
                database(name).is_some_and(|it| it.procedures.contains_key(&name.name))
            }
        }
    });
    rights
}

/// How the server reads the name of a database in a GRANT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaNames {
    /// As a pattern, in which `_` and `%` stand for others.
    Patterns,
    /// As it stands (MySQL with `partial_revokes`).
    Literal,
}

/// What brings an account from the rights that it holds to those that it is to hold: first what is taken.
/// `account` is quoted, with its host.
pub fn statements(
    account: &str,
    held: &BTreeSet<Right>,
    wanted: &BTreeSet<Right>,
    names: SchemaNames,
) -> Vec<String> {
    let mut list = grouped(held.difference(wanted), "REVOKE", "FROM", account, names);
    list.extend(grouped(wanted.difference(held), "GRANT", "TO", account, names));
    list
}

fn grouped<'r>(
    rights: impl Iterator<Item = &'r Right>,
    verb: &str,
    preposition: &str,
    account: &str,
    names: SchemaNames,
) -> Vec<String> {
    let mut places: BTreeMap<String, BTreeMap<Operation, Vec<String>>> = BTreeMap::new();
    for right in rights {
        let place = match &right.place {
            Place::Global => "*.*".to_owned(),
            Place::Schema(name) => format!("{}.*", quoted(&escaped(name, names))),
            Place::Table(name) | Place::Column(name, _) => qualified(name),
            Place::Function(name) => format!("FUNCTION {}", qualified(name)),
            Place::Procedure(name) => format!("PROCEDURE {}", qualified(name)),
        };
        // A right on the whole table is one beside those on its columns.
        let (place, column) = match &right.place {
            Place::Column(_, column) => (format!("{place} "), Some(quoted(column))),
            _ => (place, None),
        };
        let columns = places.entry(place).or_default().entry(right.operation).or_default();
        columns.extend(column);
    }
    let statement = |(place, rights): (String, BTreeMap<Operation, Vec<String>>)| {
        let listed: Vec<_> = rights
            .into_iter()
            .map(|(operation, columns)| match &*columns {
                [] => operation.to_string(),
                columns => format!("{operation} ({})", columns.join(", ")),
            })
            .collect();
        format!("{verb} {} ON {} {preposition} {account}", listed.join(", "), place.trim_end())
    };
    places.into_iter().map(statement).collect()
}

fn escaped(name: &str, names: SchemaNames) -> String {
    match names {
        SchemaNames::Patterns => name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"),
        SchemaNames::Literal => name.to_owned(),
    }
}

/// The database that a name in the server's tables of rights means; `None` when it is a pattern that stands for
/// several.
pub fn unescaped(name: &str, names: SchemaNames) -> Option<Box<str>> {
    if names == SchemaNames::Literal {
        return Some(name.into());
    }
    let mut plain = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.push(letters.next().unwrap_or('\\')),
            '_' | '%' => return None,
            other => plain.push(other),
        }
    }
    Some(plain.into())
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn qualified(name: &QualifiedName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::privilege::parse_stored;

    fn rights(texts: &[&str]) -> BTreeSet<Right> {
        let privileges: Vec<_> = texts.iter().map(|text| parse_stored(text).unwrap()).collect();
        wanted(&privileges)
    }

    fn granted(texts: &[&str]) -> Vec<String> {
        statements("a@b", &BTreeSet::new(), &rights(texts), SchemaNames::Patterns)
    }

    #[test]
    fn each_privilege_is_granted_where_the_server_has_it() {
        for (text, expected) in [
            ("READ ON shop.t", "GRANT SELECT, SHOW VIEW ON `shop`.`t` TO a@b"),
            (
                "READ ON SCHEMA my_shop",
                "GRANT SELECT, SHOW VIEW, LOCK TABLES ON `my\\_shop`.* TO a@b",
            ),
            (
                "WRITE ON shop.t",
                "GRANT SELECT, INSERT, UPDATE, DELETE, SHOW VIEW ON `shop`.`t` TO a@b",
            ),
            (
                "SELECT (a, b), INSERT (c) ON shop.t",
                "GRANT SELECT (`a`, `b`), INSERT (`c`) ON `shop`.`t` TO a@b",
            ),
            ("PROCESS ON DATABASE", "GRANT PROCESS ON *.* TO a@b"),
            ("EXECUTE ON PROCEDURE shop.p", "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO a@b"),
        ] {
            assert_eq!(granted(&[text]), [expected], "{text}");
        }
    }

    #[test]
    fn what_is_no_longer_wanted_is_taken_first() {
        let (before, after) = (["SELECT ON shop.t"], ["SELECT (a) ON shop.t"]);
        assert_eq!(
            statements("a@b", &rights(&before), &rights(&after), SchemaNames::Patterns),
            ["REVOKE SELECT ON `shop`.`t` FROM a@b", "GRANT SELECT (`a`) ON `shop`.`t` TO a@b"]
        );
        let same = rights(&before);
        assert!(statements("a@b", &same, &same, SchemaNames::Patterns).is_empty());
    }

    #[test]
    fn the_name_of_a_database_is_read_back_as_it_was_written() {
        for name in ["shop", "my_shop", "100%", "a\\_b"] {
            for names in [SchemaNames::Patterns, SchemaNames::Literal] {
                assert_eq!(unescaped(&escaped(name, names), names).as_deref(), Some(name));
            }
        }
        assert_eq!(unescaped("my_shop", SchemaNames::Patterns), None);
    }

    #[test]
    fn a_name_does_not_get_out_of_its_quotes() {
        let place = Place::Schema("a`_%\\".into());
        let rights = [Right { place, operation: Operation::Select }].into();
        let with = |names| statements("a@b", &BTreeSet::new(), &rights, names);
        assert_eq!(with(SchemaNames::Patterns), ["GRANT SELECT ON `a``\\_\\%\\\\`.* TO a@b"]);
        assert_eq!(with(SchemaNames::Literal), ["GRANT SELECT ON `a``_%\\`.* TO a@b"]);
    }
}
