//! What a privilege covers: the expansion of levels and objects.
//!
//! Levels and whole-database privileges reach what is made later, but not the system schemas: these
//! take a privilege on the schema or relation itself, or ADMIN ON DATABASE.
//!
//! A level on a schema or database covers USAGE of every sequence there, not only of those that
//! columns own: `ALTER DEFAULT PRIVILEGES`, by which the second lock expands it, knows no owners.
//! On a relation, WRITE covers USAGE of the sequences that its columns own, ADMIN all of them.
//!
//! No level covers BYPASS ROW SECURITY: what a policy hides is for who was told so in so many words.

use std::collections::BTreeSet;

use super::Grant;
use super::privilege::{Item, Level, Privilege};
use crate::sql::access::{Access, Columns, Object, Operation, Reach as Of};
use crate::sql::name::QualifiedName;

/// Of one operation on one object.
#[derive(Clone, Copy)]
enum Reach<'a> {
    None,
    Whole,
    Columns(&'a BTreeSet<Box<str>>),
}

/// Whether a schema is the server's own. Both engines' names: nothing tells them apart here, and to
/// be asked for by name is no loss to a schema that is called like one.
fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "mysql" | "performance_schema" | "sys")
        || schema.starts_with("pg_toast")
}

/// Whether ADMIN on `outer` is ADMIN on `inner`.
pub(super) fn contains(outer: &Object, inner: &Object) -> bool {
    match outer {
        Object::Database => true,
        Object::Schema(schema) => inner.schema() == Some(schema),
        _ => outer == inner,
    }
}

/// As [`contains`], but a database does not contain its system schemas.
fn contains_users(outer: &Object, inner: &Object) -> bool {
    let system = matches!(outer, Object::Database) && inner.schema().is_some_and(is_system);
    !system && contains(outer, inner)
}

fn reach<'a>(
    privilege: &Privilege,
    item: &'a Item,
    operation: Operation,
    object: &Object,
) -> Reach<'a> {
    let outer = &privilege.object;
    let covered = match item {
        Item::Level(Level::Admin) => {
            operation != Operation::BypassRowSecurity && contains(outer, object)
        }
        Item::Level(level) => {
            contains_users(outer, object)
                && (level_allows(*level, operation, object)
                    || locks_inside(outer, operation, object))
        }
        Item::Operation(held, Some(columns)) => {
            if *held == operation && outer == object {
                return Reach::Columns(columns);
            }
            false
        }
        Item::Operation(held, None) => {
            let same = outer == object;
            *held == operation
                && (same
                    || (operation_descends(operation, object) && contains_users(outer, object)))
        }
    };
    if covered || implies_usage(outer, operation, object) { Reach::Whole } else { Reach::None }
}

/// READ and WRITE, on an object that they contain.
const fn level_allows(level: Level, operation: Operation, object: &Object) -> bool {
    match (object, operation) {
        (Object::Relation(_) | Object::Sequence(_), Operation::Select)
        | (Object::Relation(_), Operation::ShowView)
        | (Object::Schema(_), Operation::LockTables | Operation::ShowView) => true,
        (Object::Relation(_), Operation::Insert | Operation::Update | Operation::Delete)
        | (Object::Sequence(_), Operation::Usage) => matches!(level, Level::Write | Level::Admin),
        _ => false,
    }
}

/// Every level on a schema or database has LOCK TABLES there, which counts on each table in it.
const fn locks_inside(outer: &Object, operation: Operation, object: &Object) -> bool {
    matches!(
        (outer, operation, object),
        (Object::Schema(_) | Object::Database, Operation::LockTables, Object::Relation(_))
    )
}

/// Whether an operation on a schema or database means: on every such object in it.
const fn operation_descends(operation: Operation, object: &Object) -> bool {
    match object {
        Object::Relation(_) => {
            // CREATE on a relation is asked for by MySQL alone, where a schema's reaches its tables.
            !matches!(operation, Operation::Usage | Operation::Execute)
        }
        Object::Function { .. } | Object::Procedure(_) => {
            matches!(operation, Operation::Execute | Operation::AlterRoutine)
        }
        // Of MySQL: DATABASE is the server there, a schema one of its databases.
        Object::Schema(_) => matches!(
            operation,
            Operation::Drop
                | Operation::Alter
                | Operation::CreateView
                | Operation::ShowView
                | Operation::CreateRoutine
                | Operation::CreateTemporaryTables
                | Operation::LockTables
                | Operation::Event
        ),
        Object::Database | Object::Sequence(_) => false,
    }
}

/// Whether an item is about what is in the object, and not about the server as a whole.
const fn is_of_contents(item: &Item) -> bool {
    !matches!(item, Item::Operation(Operation::File | Operation::Process | Operation::Reload, _))
}

/// Any privilege on something in a schema implies USAGE of the schema.
fn implies_usage(outer: &Object, operation: Operation, object: &Object) -> bool {
    match object {
        Object::Schema(schema) if operation == Operation::Usage => match outer {
            Object::Database => !is_system(schema),
            _ => outer.schema() == Some(schema),
        },
        _ => false,
    }
}

/// WRITE on the relation that owns a sequence gives USAGE of it, ADMIN everything.
fn reaches_owned(
    privilege: &Privilege,
    item: &Item,
    operation: Operation,
    owner: &QualifiedName,
) -> bool {
    let Object::Relation(name) = &privilege.object else {
        let Object::Schema(schema) = &privilege.object else {
            // A database contains the sequence as well.
            return false;
        };
        return *schema == owner.schema && owned_by_level(item, operation);
    };
    name == owner && owned_by_level(item, operation)
}

const fn owned_by_level(item: &Item, operation: Operation) -> bool {
    match item {
        Item::Level(Level::Admin) => true,
        Item::Level(Level::Write) => matches!(operation, Operation::Usage),
        Item::Level(Level::Read) | Item::Operation(..) => false,
    }
}

fn items<'g>(
    privileges: impl Iterator<Item = &'g Privilege>,
) -> impl Iterator<Item = (&'g Privilege, &'g Item)> {
    privileges.flat_map(|privilege| privilege.items.iter().map(move |item| (privilege, item)))
}

fn privileges_of<'g>(
    grants: impl Iterator<Item = &'g Grant> + Clone,
) -> impl Iterator<Item = &'g Privilege> + Clone {
    grants.flat_map(|grant| &grant.privileges)
}

/// Whether grants, which all count now, together cover an access.
pub(super) fn covers<'g>(grants: impl Iterator<Item = &'g Grant> + Clone, access: &Access) -> bool {
    privileges_cover(privileges_of(grants), access)
}

/// Whether privileges together cover an access.
pub(super) fn privileges_cover<'g>(
    privileges: impl Iterator<Item = &'g Privilege> + Clone,
    access: &Access,
) -> bool {
    match access {
        Access::Metadata => privileges.clone().next().is_some(),
        Access::Anything(object) => privileges.clone().any(|privilege| {
            let inside = matches!(object, Object::Schema(schema) if privilege.object.schema() == Some(schema));
            let contained = contains_users(&privilege.object, object)
                && privilege.items.iter().any(is_of_contents);
            inside || privilege.object == *object || contained
        }),
        Access::Admin(object) => items(privileges).any(|(privilege, item)| {
            *item == Item::Level(Level::Admin) && contains(&privilege.object, object)
        }),
        Access::OwnedSequence { operation, sequence, owner } => {
            let object = Object::Sequence(sequence.clone());
            items(privileges).any(|(privilege, item)| {
                matches!(reach(privilege, item, *operation, &object), Reach::Whole)
                    || reaches_owned(privilege, item, *operation, owner)
            })
        }
        Access::Privilege { operation, object, columns } => match columns {
            Columns::Named(names) if !names.is_empty() => {
                lacking(privileges, *operation, object, names).is_none()
            }
            Columns::Named(_) | Columns::Any => some_cover(privileges, *operation, object, Of::Any),
            Columns::Whole => some_cover(privileges, *operation, object, Of::Whole),
        },
        Access::OneOf { first, others, object, reach } => {
            let mut operations = std::iter::once(first).chain(*others);
            operations.any(|it| some_cover(privileges.clone(), *it, object, *reach))
        }
    }
}

/// Whether a privilege covers an operation on an object, or on some column of it where any is enough.
fn some_cover<'g>(
    privileges: impl Iterator<Item = &'g Privilege>,
    operation: Operation,
    object: &Object,
    of: Of,
) -> bool {
    items(privileges).any(|(privilege, item)| {
        let reached = reach(privilege, item, operation, object);
        match of {
            Of::Any => !matches!(reached, Reach::None),
            Of::Whole => matches!(reached, Reach::Whole),
        }
    })
}

/// The part of an access that grants together do not cover; `None` when they cover it.
pub(super) fn missing<'g>(
    grants: impl Iterator<Item = &'g Grant> + Clone,
    access: &Access,
) -> Option<Access> {
    if let Access::Privilege { operation, object, columns: Columns::Named(names) } = access
        && !names.is_empty()
    {
        let lacking = lacking(privileges_of(grants), *operation, object, names)?;
        let columns = Columns::Named(lacking.into_iter().map(Into::into).collect());
        return Some(Access::Privilege { operation: *operation, object: object.clone(), columns });
    }
    (!covers(grants, access)).then(|| access.clone())
}

/// Which of the columns no grant covers; `None` when there are none such.
fn lacking<'g, 'n>(
    privileges: impl Iterator<Item = &'g Privilege>,
    operation: Operation,
    object: &Object,
    names: &'n BTreeSet<Box<str>>,
) -> Option<Vec<&'n str>> {
    // Nothing is allocated where a whole relation is granted, which is what most grants do.
    let mut lists: Vec<&BTreeSet<Box<str>>> = Vec::new();
    for (privilege, item) in items(privileges) {
        match reach(privilege, item, operation, object) {
            Reach::None => {}
            Reach::Whole => return None,
            Reach::Columns(columns) => lists.push(columns),
        }
    }
    let lacking: Vec<_> = names
        .iter()
        .filter(|name| !lists.iter().any(|list| list.contains(*name)))
        .map(|name| &**name)
        .collect();
    (!lacking.is_empty()).then_some(lacking)
}
