//! The accesses of one statement, gathered while it is walked: each operation on each object once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::guarded::{is_guarded, is_open_column, is_system_schema, is_temporary_schema};
use crate::sql::access::{Access, Columns, Object, Operation};
use crate::sql::catalog::{Relation, RelationKind, Routine};
use crate::sql::name::QualifiedName;

/// A relation that a name has been resolved to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'t> {
    /// Its schema.
    pub schema: &'t str,
    /// Its name.
    pub name: &'t str,
    /// What the catalog says of it.
    pub relation: &'t Relation,
}

impl<'t> Target<'t> {
    /// Whether it has the column, system columns included.
    pub(super) fn column(&self, name: &str) -> Option<&'t str> {
        let known = self.relation.columns.iter().map(|column| &**column);
        let system = SYSTEM_COLUMNS.iter().copied().filter(|_| self.has_system_columns());
        known.chain(system).find(|column| *column == name)
    }

    fn has_system_columns(&self) -> bool {
        !matches!(self.relation.kind, RelationKind::View | RelationKind::Composite)
    }

    pub(super) fn is_system(&self) -> bool {
        is_system_schema(self.schema)
    }

    /// Whether it is a temporary relation. None but the session's own can be found.
    pub(super) fn is_temporary(&self) -> bool {
        is_temporary_schema(self.schema)
    }
}

const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "ctid", "xmin", "cmin", "xmax", "cmax"];

/// Whether row security has a say in an operation; in TRUNCATE, for one, it has none.
const fn has_policies(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Select | Operation::Insert | Operation::Update | Operation::Delete
    )
}

/// Which columns, while gathering.
#[derive(Debug)]
enum Gathered<'t> {
    Whole,
    Any,
    Named(BTreeSet<&'t str>),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Relation,
    Sequence,
}

/// The accesses of one statement.
#[derive(Debug, Default)]
pub(super) struct Needs<'t> {
    metadata: bool,
    writes_temporary: bool,
    code: bool,
    relations: BTreeMap<(&'t str, &'t str, Kind, Operation), Gathered<'t>>,
    /// Relations whose columns own sequences that are needed, by sequence.
    owners: BTreeMap<(&'t str, &'t str), &'t QualifiedName>,
    functions: BTreeSet<(&'t str, &'t str, &'t str)>,
    schemas: BTreeSet<&'t str>,
    admin: BTreeSet<Object>,
    /// Schemas that objects are made in, or the database where schemas are.
    creates: BTreeSet<Object>,
    /// What definitions do as their user.
    defined: Vec<Access>,
    user_code: bool,
}

impl<'t> Needs<'t> {
    /// Any live grant.
    pub(super) fn metadata(&mut self) {
        self.metadata = true;
    }

    /// The level ADMIN on an object.
    pub(super) fn admin(&mut self, object: Object) {
        self.admin.insert(object);
    }

    /// CREATE on a schema, or on the database.
    pub(super) fn create(&mut self, object: Object) {
        self.creates.insert(object);
    }

    /// The call of one overload of a function.
    pub(super) fn execute(&mut self, schema: &'t str, name: &'t str, arguments: &'t str) {
        self.functions.insert((schema, name, arguments));
    }

    /// USAGE of a schema.
    pub(super) fn usage(&mut self, schema: &'t str) {
        self.schemas.insert(schema);
    }

    /// Code of the database's users runs, whether or not that needs anything.
    pub(super) fn user_code(&mut self) {
        self.user_code = true;
    }

    /// What a definition does as whoever uses it.
    pub(super) fn defined(&mut self, accesses: Vec<Access>) {
        self.defined.extend(accesses);
    }

    /// Whether code of the database's users may run.
    pub(super) fn runs_user_code(&self) -> bool {
        self.user_code || self.calls() || self.admin.contains(&Object::Database)
    }

    /// Whether a function is called that the grant has to name.
    pub(super) fn calls(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Whether the operation is needed on that relation.
    pub(super) fn has(&self, operation: Operation, target: Target<'t>) -> bool {
        self.relations.contains_key(&(target.schema, target.name, Kind::Relation, operation))
    }

    /// Whether code of the database's users may run with a relation that is read or written.
    pub(super) fn uses_code(&self) -> bool {
        self.code
    }

    /// Whether rows or sequences change.
    pub(super) fn writes(&self) -> bool {
        let reads =
            |operation| matches!(operation, Operation::Select | Operation::BypassRowSecurity);
        self.writes_temporary || self.relations.keys().any(|(.., operation)| !reads(*operation))
    }

    /// Whether a definition needs what is used again whenever the defined object is.
    pub(super) fn defers(&self) -> bool {
        let sequences = self.relations.keys().any(|(_, _, kind, _)| *kind == Kind::Sequence);
        sequences || self.runs_user_code()
    }

    /// Whether anything is made or changed that others see.
    pub(super) fn defines(&self) -> bool {
        !self.admin.is_empty() || !self.creates.is_empty()
    }

    /// Whether nothing is needed yet.
    pub(super) fn is_empty(&self) -> bool {
        !self.metadata
            && self.relations.is_empty()
            && self.functions.is_empty()
            && self.schemas.is_empty()
            && self.defined.is_empty()
            && self.admin.is_empty()
            && self.creates.is_empty()
    }

    /// An operation on one column.
    pub(super) fn column(&mut self, operation: Operation, target: Target<'t>, column: &'t str) {
        if self.is_open(operation, target, Some(column)) {
            return;
        }
        if let Some(gathered) = self.entry(operation, target) {
            match gathered {
                Gathered::Whole => {}
                Gathered::Any => *gathered = Gathered::Named(BTreeSet::from([column])),
                Gathered::Named(names) => {
                    names.insert(column);
                }
            }
        }
    }

    /// An operation on every column, or on any when the relation has none.
    pub(super) fn all_columns(&mut self, operation: Operation, target: Target<'t>) {
        self.any_column(operation, target);
        for column in &target.relation.columns {
            self.column(operation, target, column);
        }
    }

    /// An operation on at least one column.
    pub(super) fn any_column(&mut self, operation: Operation, target: Target<'t>) {
        if !self.is_open(operation, target, None) {
            self.entry(operation, target);
        }
    }

    /// Whether it is to read a column of a guarded system relation that is no secret.
    fn is_open(&mut self, operation: Operation, target: Target<'t>, column: Option<&str>) -> bool {
        let open = target.schema == "pg_catalog"
            && operation == Operation::Select
            && is_open_column(target.name, column);
        if open {
            self.metadata();
        }
        open
    }

    /// An operation on the relation as a whole.
    pub(super) fn whole(&mut self, operation: Operation, target: Target<'t>) {
        if let Some(gathered) = self.entry(operation, target) {
            *gathered = Gathered::Whole;
        }
    }

    /// Where an operation on a relation is gathered; nowhere when it is a system relation.
    fn entry(&mut self, operation: Operation, target: Target<'t>) -> Option<&mut Gathered<'t>> {
        if target.is_temporary() {
            // Who made it may do all with it.
            self.writes_temporary |= operation != Operation::Select;
            self.metadata();
            return None;
        }
        if target.is_system() {
            if operation != Operation::Select {
                // Rows of the catalogs are definitions: changing or locking them is DDL by other means.
                self.admin(Object::Database);
                return None;
            }
            if !is_guarded(target.schema, target.name) {
                self.metadata();
                return None;
            }
        }
        if let Some(definition) = &target.relation.definition {
            let routines: &[Routine] = match operation {
                Operation::Insert | Operation::Update => &definition.on_write,
                // What runs then does so as the relation's owner.
                Operation::Maintain => &[],
                _ => &definition.on_read,
            };
            for Routine { name, arguments } in routines {
                self.execute(&name.schema, &name.name, arguments);
            }
        }
        self.code |= target.relation.runs_code && !target.is_system();
        if target.relation.bypassed_row_security && has_policies(operation) {
            let key = (target.schema, target.name, Kind::Relation, Operation::BypassRowSecurity);
            self.relations.insert(key, Gathered::Whole);
        }
        // A sequence is read as a relation of one row, but its privileges have no columns.
        let (kind, start) = if target.relation.kind == RelationKind::Sequence {
            if let Some((owner, _)) = &target.relation.owned_by {
                self.owners.insert((target.schema, target.name), owner);
            }
            (Kind::Sequence, Gathered::Whole)
        } else {
            (Kind::Relation, Gathered::Any)
        };
        let key = (target.schema, target.name, kind, operation);
        Some(self.relations.entry(key).or_insert(start))
    }

    /// The accesses, in a fixed order.
    pub(super) fn into_accesses(self) -> Vec<Access> {
        let mut accesses = Vec::new();
        if self.metadata {
            accesses.push(Access::Metadata);
        }
        for schema in self.schemas {
            let object = Object::Schema(schema.into());
            let (operation, columns) = (Operation::Usage, Columns::Whole);
            accesses.push(Access::Privilege { operation, object, columns });
        }
        for ((schema, name, kind, operation), gathered) in self.relations {
            if let (Kind::Sequence, Some(owner)) = (&kind, self.owners.get(&(schema, name))) {
                let (sequence, owner) = (QualifiedName::new(schema, name), (*owner).clone());
                accesses.push(Access::OwnedSequence { operation, sequence, owner });
                continue;
            }
            let name = QualifiedName::new(schema, name);
            if operation == Operation::References
                && self.admin.contains(&Object::Relation(name.clone()))
            {
                // A table that refers to itself: its owner may.
                continue;
            }
            let object = match kind {
                Kind::Relation => Object::Relation(name),
                Kind::Sequence => Object::Sequence(name),
            };
            let columns = match gathered {
                Gathered::Whole => Columns::Whole,
                Gathered::Any => Columns::Any,
                Gathered::Named(names) => {
                    Columns::Named(names.into_iter().map(Box::from).collect())
                }
            };
            accesses.push(Access::Privilege { operation, object, columns });
        }
        for (schema, name, arguments) in self.functions {
            accesses.push(Access::Privilege {
                operation: Operation::Execute,
                object: Object::Function {
                    name: QualifiedName::new(schema, name),
                    arguments: arguments.into(),
                },
                columns: Columns::Whole,
            });
        }
        accesses.extend(self.creates.into_iter().map(|object| Access::Privilege {
            operation: Operation::Create,
            object,
            columns: Columns::Whole,
        }));
        accesses.extend(self.admin.into_iter().map(Access::Admin));
        if !self.defined.is_empty() {
            let mut seen: HashSet<Access> = accesses.iter().cloned().collect();
            accesses.extend(self.defined.into_iter().filter(|access| seen.insert(access.clone())));
        }
        accesses
    }
}
