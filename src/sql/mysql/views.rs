//! Views, routines and whose rights they have; whose rights statements run with.

use super::catalog::{Security, TableKind};
use super::parser::{Parsed, unsupported};
use super::resolve::Resolver;
use super::tree::Name;
use crate::sql::access::{Object, Operation};
use crate::sql::catalog::RunsAs;
use crate::sql::name::QualifiedName;
use crate::sql::statement::NotUnderstood;

/// Deepest chain of views that run with their caller's rights.
const VIEWS_MAX: usize = 16;

impl Resolver<'_> {
    /// Whether the session is an account of the principal's own, from which the server hides what it may not see.
    pub(super) fn is_own_account(&self) -> bool {
        self.scope.catalog.runs_as == RunsAs::OwnRole
    }

    /// A routine's body runs. With its caller's rights, that is the service account's where the session has no account
    /// of its own.
    pub(super) fn invokes(&mut self, security: Security) {
        if security == Security::Invoker && !self.is_own_account() {
            self.needs.admin(Object::Database);
        }
    }

    /// The table of a trigger.
    pub(super) fn trigger(&mut self, name: &Name) -> Parsed<QualifiedName> {
        let found = self.qualify(name)?;
        self.resolved = true;
        let database = self.scope.catalog.databases.get(&*found.schema);
        match database.and_then(|it| it.triggers.get(&*found.name)) {
            Some(table) => Ok(QualifiedName::new(found.schema, table.clone())),
            None => Err(NotUnderstood::Undefined {
                sqlstate: "HY000",
                message: format!("Trigger {found} does not exist"),
                position: None,
            }),
        }
    }

    /// The triggers of a database are shown: those on tables of which the caller holds TRIGGER, by the server to an
    /// account of the principal's own. Another sees them all. The body of a trigger is a definition as a view's is,
    /// and a dump of what may be read asks for it.
    pub(super) fn triggers(&mut self, database: Box<str>) {
        if self.is_own_account() {
            self.enter(&database);
        } else {
            self.needs.whole(Operation::ShowView, Object::Schema(database));
        }
    }

    /// Whether a view is not to be changed: what it stands on would be, with the service account's rights. To an
    /// account of the principal's own the server says what it may.
    pub(super) fn is_read_only(&self, view: &QualifiedName) -> bool {
        self.view(view) == Some(Security::Invoker) && !self.is_own_account()
    }

    /// Whether a relation is a view, and whose rights it has.
    pub(super) fn view(&self, name: &QualifiedName) -> Option<Security> {
        let database = self.scope.catalog.databases.get(&*name.schema)?;
        match &database.tables.get(&*name.name)?.kind {
            TableKind::View(view) => Some(view.security),
            TableKind::Base => None,
        }
    }

    /// What a view needs beyond the privilege on itself.
    pub(super) fn through(&mut self, name: &QualifiedName) -> Parsed<()> {
        let Some(security) = self.view(name) else { return Ok(()) };
        if self.explains {
            self.needs.whole(Operation::ShowView, Object::Relation(name.clone()));
        } else if security == Security::Definer {
            return Ok(());
        }
        let database = self.scope.catalog.databases.get(&*name.schema);
        let table = database.and_then(|it| it.tables.get(&*name.name));
        let query = match table.map(|it| &it.kind) {
            Some(TableKind::View(view)) => view.query.as_deref(),
            _ => None,
        };
        let Some(query) = query else {
            return unsupported(format!(
                "The view {name} has the rights of whoever uses it, and its definition is not known."
            ));
        };
        if self.views >= VIEWS_MAX {
            return unsupported("Views stand on views deeper than is read here.");
        }
        let levels = std::mem::take(&mut self.levels);
        let ctes = std::mem::take(&mut self.ctes);
        self.views += 1;
        let scope = self.scope;
        let read = super::with_view(query, scope, |query, _| self.query(query).map(drop));
        self.views -= 1;
        self.levels = levels;
        self.ctes = ctes;
        read
    }
}
