//! What a MySQL or MariaDB server has, at one moment. Loaded by `upstream`, read by the analyser.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::sql::catalog::RunsAs;

/// Everything that the analyser may resolve a name to.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Grows with each load whose content differs; part of every cache key.
    pub version: u64,
    /// By name; in lower case where `lower_case_table_names` is not 0.
    pub databases: HashMap<Box<str>, Arc<Database>>,
    /// Loadable functions (`mysql.func`), in lower case. They stand before stored ones.
    pub loadable: HashSet<Box<str>>,
    /// With whose rights statements run, and from whom the server hides what it shows to others.
    pub runs_as: RunsAs,
}

impl Catalog {
    /// Whether both say the same, whatever their versions.
    pub fn same_content(&self, other: &Self) -> bool {
        self.databases == other.databases
            && self.loadable == other.loadable
            && self.runs_as == other.runs_as
    }

    /// The same names as sessions meet them that are accounts of their principals' own.
    #[must_use]
    pub fn for_own_accounts(&self) -> Self {
        Self { runs_as: RunsAs::OwnRole, ..self.clone() }
    }
}

/// One database's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Tables, views and sequences; in lower case where `lower_case_table_names` is not 0.
    pub tables: HashMap<Box<str>, Table>,
    /// Stored functions, in lower case.
    pub functions: HashMap<Box<str>, Routine>,
    /// Stored procedures, in lower case.
    pub procedures: HashMap<Box<str>, Routine>,
    /// Triggers, and the table of each.
    pub triggers: HashMap<Box<str>, Box<str>>,
}

/// One table or view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it is.
    pub kind: TableKind,
    /// In order.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// In lower case, as names of columns are compared.
    pub name: Box<str>,
    /// `*` and an INSERT without a list leave it out.
    pub invisible: bool,
}

/// What a table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TableKind {
    /// A table, or a sequence of MariaDB.
    #[default]
    Base,
    /// A view.
    View(View),
}

/// Whose rights a view or routine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Those of whoever made it.
    #[default]
    Definer,
    /// Those of whoever uses it.
    Invoker,
}

/// A view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whose rights it has.
    pub security: Security,
    /// `information_schema.views.view_definition`, with every name in full; `None` where the service account
    /// may not see it.
    pub query: Option<Box<str>>,
}

/// A stored function or procedure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routine {
    /// Whose rights it has.
    pub security: Security,
}
