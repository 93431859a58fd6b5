//! Privileges of grants as rights of the server, and the GRANT and REVOKE of them.

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

/// Rights of one account. What comes to it by roles is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Those that a grant can ask for.
    pub rights: BTreeSet<Right>,
    /// What none of ours may hold, as text: with GRANT OPTION, on a pattern of databases, of another kind.
    pub foreign: Vec<String>,
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

/// What a server has of databases.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'c> {
    /// Its names.
    pub catalog: &'c Catalog,
    /// Names of databases and tables are kept in lower case.
    pub folds: bool,
}

/// Databases of the server's own: `ON DATABASE` does not reach into them.
pub const SYSTEM: [&str; 4] = ["mysql", "sys", "performance_schema", "information_schema"];

/// What the server needs to let an account do that privileges allow, at places that there are: on others it takes no
/// GRANT. What it has no right for (LOCK TABLES on one table) is left out: it refuses more then.
///
/// What is for the whole server is granted on each database but the server's own: `*.*` would reach those, too.
pub fn wanted<'p>(
    privileges: impl IntoIterator<Item = &'p Privilege>,
    ground: Ground<'_>,
) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let users = || ground.catalog.databases.keys().filter(|it| !SYSTEM.contains(&&***it));
    for privilege in privileges {
        for right in of(privilege, ground.folds) {
            match right.place {
                Place::Global if !GLOBAL.contains(&right.operation) => {
                    let operation = right.operation;
                    let places = users().map(|name| Place::Schema(name.clone()));
                    rights.extend(places.map(|place| Right { place, operation }));
                }
                _ => drop(rights.insert(right)),
            }
        }
    }
    possible(rights, ground.catalog)
}

/// Whether something of a privilege is a right on everything.
pub fn is_global(privilege: &Privilege) -> bool {
    of(privilege, false)
        .iter()
        .any(|it| it.place == Place::Global && GLOBAL.contains(&it.operation))
}

fn of(privilege: &Privilege, folds: bool) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let fold =
        |name: &str| -> Box<str> { if folds { name.to_lowercase().into() } else { name.into() } };
    // Names of routines and columns have no case.
    let routine =
        |name: &QualifiedName| QualifiedName::new(fold(&name.schema), name.name.to_lowercase());
    let place = match &privilege.object {
        Object::Database => Place::Global,
        Object::Schema(name) => Place::Schema(fold(name)),
        Object::Relation(name) | Object::Sequence(name) => {
            Place::Table(QualifiedName::new(fold(&name.schema), fold(&name.name)))
        }
        Object::Function { name, .. } => Place::Function(routine(name)),
        Object::Procedure(name) => Place::Procedure(routine(name)),
    };
    for item in &privilege.items {
        match item {
            Item::Level(level) => {
                let operations = TABLE.iter().chain(&SCHEMA).chain(&GLOBAL);
                let given = operations.filter(|it| gives(*level, **it) && fits(&place, **it));
                rights.extend(given.map(|&operation| Right { place: place.clone(), operation }));
            }
            Item::Operation(operation, None) if fits(&place, *operation) => {
                rights.insert(Right { place: place.clone(), operation: *operation });
            }
            Item::Operation(operation, Some(columns)) => {
                let Place::Table(table) = &place else { continue };
                let places =
                    columns.iter().map(|it| Place::Column(table.clone(), it.to_lowercase().into()));
                let places = places.filter(|it| fits(it, *operation));
                rights.extend(places.map(|place| Right { place, operation: *operation }));
            }
            Item::Operation(..) => {}
        }
    }
    rights
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

/// Those at places that there are, or that CREATE is to make. Everybody may read `information_schema`, and nobody may more.
fn possible(mut rights: BTreeSet<Right>, catalog: &Catalog) -> BTreeSet<Right> {
    let to_come: BTreeSet<_> = rights
        .iter()
        .filter(|right| right.operation == Operation::Create)
        .map(|right| right.place.clone())
        .collect();
    rights.retain(|right| {
        let database = |name: &QualifiedName| catalog.databases.get(&name.schema);
        match &right.place {
            Place::Global => true,
            Place::Schema(name) => **name != *"information_schema",
            Place::Table(name) => database(name).is_some_and(|it| {
                it.tables.contains_key(&name.name) || to_come.contains(&right.place)
            }),
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

/// GRANT or REVOKE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Gives.
    Grant,
    /// Takes.
    Revoke,
}

/// Rights in groups that one statement gives or takes.
pub fn by_statement<'r>(rights: impl Iterator<Item = &'r Right>) -> Vec<BTreeSet<Right>> {
    let mut groups: BTreeMap<(Place, bool), BTreeSet<Right>> = BTreeMap::new();
    for right in rights {
        // A right on the whole table is one beside those on its columns.
        let key = match &right.place {
            Place::Column(table, _) => (Place::Table(table.clone()), true),
            other => (other.clone(), false),
        };
        groups.entry(key).or_default().insert(right.clone());
    }
    groups.into_values().collect()
}

/// Rights in groups that one statement gives, of those that an account is to have. On a table that is to come the
/// servers take a GRANT only with CREATE among it, which may be held already.
pub fn given<'r>(
    rights: impl Iterator<Item = &'r Right>,
    wanted: &BTreeSet<Right>,
) -> Vec<BTreeSet<Right>> {
    let mut groups = by_statement(rights);
    for group in &mut groups {
        let Some(Right { place: place @ Place::Table(_), .. }) = group.first() else { continue };
        let create = Right { place: place.clone(), operation: Operation::Create };
        if wanted.contains(&create) {
            group.insert(create);
        }
    }
    groups
}

/// The statement that gives or takes rights of one group. `account` is quoted, with its host.
pub fn statement(
    verb: Verb,
    account: &str,
    rights: &BTreeSet<Right>,
    names: SchemaNames,
) -> String {
    let mut place = String::new();
    let mut listed: BTreeMap<Operation, Vec<String>> = BTreeMap::new();
    for right in rights {
        place = written(&right.place, names);
        let columns = listed.entry(right.operation).or_default();
        if let Place::Column(_, column) = &right.place {
            columns.push(quoted(column));
        }
    }
    let listed: Vec<_> = listed
        .into_iter()
        .map(|(operation, columns)| match &*columns {
            [] => operation.to_string(),
            columns => format!("{operation} ({})", columns.join(", ")),
        })
        .collect();
    let (verb, preposition) = match verb {
        Verb::Grant => ("GRANT", "TO"),
        Verb::Revoke => ("REVOKE", "FROM"),
    };
    format!("{verb} {} ON {place} {preposition} {account}", listed.join(", "))
}

/// A place as statements name it; of a column, its table.
fn written(place: &Place, names: SchemaNames) -> String {
    match place {
        Place::Global => "*.*".to_owned(),
        Place::Schema(name) => format!("{}.*", quoted(&escaped(name, names))),
        Place::Table(name) | Place::Column(name, _) => qualified(name),
        Place::Function(name) => format!("FUNCTION {}", qualified(name)),
        Place::Procedure(name) => format!("PROCEDURE {}", qualified(name)),
    }
}

/// The name of a database as a GRANT has it.
pub fn escaped(name: &str, names: SchemaNames) -> String {
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

/// An identifier in quotes.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn qualified(name: &QualifiedName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::grant::privilege::parse_stored;
    use crate::sql::mysql::catalog::{Column, Database, Table};

    /// `shop` with a table `t` and a procedure `p`, `my_shop`, and the server's own.
    fn catalog() -> Catalog {
        let column = |name: &str| Column { name: name.into(), invisible: false };
        let table = Table { columns: ["a", "b", "c"].map(column).into(), ..Table::default() };
        let shop = Database {
            tables: [("t".into(), table)].into(),
            procedures: [("p".into(), crate::sql::mysql::catalog::Routine::default())].into(),
            ..Database::default()
        };
        let mut databases = std::collections::HashMap::from([("shop".into(), Arc::new(shop))]);
        for name in ["my_shop", "mysql", "sys", "performance_schema", "information_schema"] {
            databases.insert(name.into(), Arc::default());
        }
        Catalog { databases, ..Catalog::default() }
    }

    fn rights(texts: &[&str]) -> BTreeSet<Right> {
        let privileges: Vec<_> = texts.iter().map(|text| parse_stored(text).unwrap()).collect();
        wanted(&privileges, Ground { catalog: &catalog(), folds: false })
    }

    fn granted(texts: &[&str]) -> Vec<String> {
        let groups = by_statement(rights(texts).iter());
        let names = SchemaNames::Patterns;
        groups.iter().map(|group| statement(Verb::Grant, "a@b", group, names)).collect()
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
            ("EXECUTE ON PROCEDURE shop.P", "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO a@b"),
        ] {
            assert_eq!(granted(&[text]), [expected], "{text}");
        }
    }

    #[test]
    fn what_is_for_the_whole_server_does_not_reach_the_servers_own_databases() {
        assert_eq!(
            granted(&["READ ON DATABASE"]),
            [
                "GRANT SELECT, SHOW VIEW, LOCK TABLES ON `my\\_shop`.* TO a@b",
                "GRANT SELECT, SHOW VIEW, LOCK TABLES ON `shop`.* TO a@b",
            ]
        );
        let all = granted(&["ADMIN ON DATABASE"]).join("\n");
        assert!(all.contains("GRANT FILE, PROCESS, RELOAD ON *.* TO a@b"), "{all}");
        for own in SYSTEM {
            assert!(!all.contains(&format!("`{own}`")), "{all}");
        }
        // Who names one is taken at his word, but where nobody may.
        assert_eq!(granted(&["SELECT ON SCHEMA sys"]), ["GRANT SELECT ON `sys`.* TO a@b"]);
        assert!(granted(&["SELECT ON SCHEMA information_schema"]).is_empty());
    }

    #[test]
    fn what_is_not_there_is_not_granted() {
        for text in
            ["SELECT ON shop.gone", "SELECT (gone) ON shop.t", "EXECUTE ON FUNCTION shop.p()"]
        {
            assert!(granted(&[text]).is_empty(), "{text}");
        }
        // A table that is to be made, whatever of it is held already; and a database.
        let new = ["SELECT, CREATE ON shop.new"];
        assert_eq!(granted(&new), ["GRANT SELECT, CREATE ON `shop`.`new` TO a@b"]);
        let (wanted, held) = (rights(&new), rights(&["CREATE ON shop.new"]));
        assert_eq!(given(wanted.difference(&held), &wanted), std::slice::from_ref(&wanted));
        assert!(granted(&["CREATE, SELECT (a) ON gone.new"]).is_empty());
        assert_eq!(granted(&["CREATE ON SCHEMA new"]), ["GRANT CREATE ON `new`.* TO a@b"]);
    }

    #[test]
    fn names_are_folded_where_the_server_folds_them() {
        let privilege = parse_stored("SELECT ON \"SHOP\".\"T\"").unwrap();
        let catalog = catalog();
        let with = |folds| wanted([&privilege], Ground { catalog: &catalog, folds });
        assert!(with(false).is_empty());
        assert_eq!(with(true), rights(&["SELECT ON shop.t"]));
    }

    #[test]
    fn rights_on_columns_have_a_statement_of_their_own() {
        let both = rights(&["SELECT ON shop.t", "SELECT (a) ON shop.t"]);
        let groups = by_statement(both.iter());
        let taken = |group| statement(Verb::Revoke, "a@b", group, SchemaNames::Patterns);
        assert_eq!(
            groups.iter().map(taken).collect::<Vec<_>>(),
            ["REVOKE SELECT ON `shop`.`t` FROM a@b", "REVOKE SELECT (`a`) ON `shop`.`t` FROM a@b"]
        );
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
        let with = |names| statement(Verb::Grant, "a@b", &rights, names);
        assert_eq!(with(SchemaNames::Patterns), "GRANT SELECT ON `a``\\_\\%\\\\`.* TO a@b");
        assert_eq!(with(SchemaNames::Literal), "GRANT SELECT ON `a``_%\\`.* TO a@b");
    }
}
