//! What a statement needs, gathered.

use std::collections::{BTreeMap, BTreeSet};

use crate::sql::access::{Access, Accesses, Columns, Object, Operation, Reach};

#[derive(Default)]
struct OnObject {
    whole: bool,
    columns: BTreeSet<Box<str>>,
}

/// To see how a table is made, any of these on the table is enough to both servers (`TABLE_OP_ACLS` of MySQL,
/// `SHOW_CREATE_TABLE_ACLS` of MariaDB); on a column of it, none.
pub(super) const ON_TABLE: (Operation, &[Operation]) = (
    Operation::Select,
    &[
        Operation::Insert,
        Operation::Update,
        Operation::Delete,
        Operation::Create,
        Operation::Drop,
        Operation::References,
        Operation::Index,
        Operation::Alter,
        Operation::Trigger,
        Operation::CreateView,
        Operation::ShowView,
    ],
);

/// Everything that a statement needs, each once.
#[derive(Default)]
pub(super) struct Needs {
    metadata: bool,
    privileges: BTreeMap<(Object, Operation), OnObject>,
    one_of: BTreeSet<(Object, Operation, &'static [Operation], Reach)>,
    anything: BTreeSet<Object>,
    admin: BTreeSet<Object>,
}

impl Needs {
    /// Harmless knowledge.
    pub(super) fn metadata(&mut self) {
        self.metadata = true;
    }

    /// An operation on a whole object.
    pub(super) fn whole(&mut self, operation: Operation, object: Object) {
        self.privileges.entry((object, operation)).or_default().whole = true;
    }

    /// An operation on any column.
    pub(super) fn any(&mut self, operation: Operation, object: Object) {
        self.privileges.entry((object, operation)).or_default();
    }

    /// An operation on a column.
    pub(super) fn column(&mut self, operation: Operation, object: Object, column: &str) {
        let on = self.privileges.entry((object, operation)).or_default();
        if !on.columns.contains(column) {
            on.columns.insert(column.into());
        }
    }

    /// Any one of several operations on an object, the first of which is asked for.
    pub(super) fn one_of(
        &mut self,
        (first, others): (Operation, &'static [Operation]),
        object: Object,
        reach: Reach,
    ) {
        self.one_of.insert((object, first, others, reach));
    }

    /// Whatever is held on an object.
    pub(super) fn anything(&mut self, object: Object) {
        self.anything.insert(object);
    }

    /// ADMIN on an object.
    pub(super) fn admin(&mut self, object: Object) {
        self.admin.insert(object);
    }

    /// As a list.
    pub(super) fn finish(mut self) -> Accesses {
        // What is needed anyway need not be asked for as one of several.
        let privileges = &self.privileges;
        self.one_of.retain(|(object, first, others, reach)| {
            !std::iter::once(first).chain(*others).any(|operation| {
                let known = privileges.get(&(object.clone(), *operation));
                known.is_some_and(|on| on.whole || *reach == Reach::Any)
            })
        });
        let one_of = self.one_of.into_iter().map(|(object, first, others, reach)| Access::OneOf {
            first,
            others,
            object,
            reach,
        });
        let metadata = self.metadata.then_some(Access::Metadata);
        let privileges = self.privileges.into_iter().map(|((object, operation), on)| {
            let columns = match (on.whole, on.columns.is_empty()) {
                (true, _) => Columns::Whole,
                (false, true) => Columns::Any,
                (false, false) => Columns::Named(on.columns),
            };
            Access::Privilege { operation, object, columns }
        });
        let list: Vec<_> = metadata
            .into_iter()
            .chain(privileges)
            .chain(one_of)
            .chain(self.anything.into_iter().map(Access::Anything))
            .chain(self.admin.into_iter().map(Access::Admin))
            .collect();
        list.into()
    }
}
