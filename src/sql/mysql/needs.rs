//! What a statement needs, gathered.

use std::collections::{BTreeMap, BTreeSet};

use crate::sql::access::{Access, Accesses, Columns, Object, Operation};

#[derive(Default)]
struct OnObject {
    whole: bool,
    columns: BTreeSet<Box<str>>,
}

/// Everything that a statement needs, each once.
#[derive(Default)]
pub(super) struct Needs {
    metadata: bool,
    privileges: BTreeMap<(Object, Operation), OnObject>,
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

    /// Whatever is held on an object.
    pub(super) fn anything(&mut self, object: Object) {
        self.anything.insert(object);
    }

    /// ADMIN on an object.
    pub(super) fn admin(&mut self, object: Object) {
        self.admin.insert(object);
    }

    /// As a list.
    pub(super) fn finish(self) -> Accesses {
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
            .chain(self.anything.into_iter().map(Access::Anything))
            .chain(self.admin.into_iter().map(Access::Admin))
            .collect();
        list.into()
    }
}
