//! What the simulated server has.

use std::collections::BTreeSet;
use std::sync::Arc;

use daypass::sql::mysql::catalog::{Catalog, Column, Database, Routine, Table};

/// Tables that are there at the beginning.
pub fn tables() -> BTreeSet<(String, String)> {
    [("shop", "t1"), ("shop", "t2"), ("shop", "secret"), ("crm", "t1")]
        .map(|(database, table)| (database.to_owned(), table.to_owned()))
        .into()
}

/// The catalog of those tables; `shop` has a procedure `p`. Columns follow from names.
pub fn of(tables: &BTreeSet<(String, String)>, version: u64) -> Catalog {
    let mut catalog = Catalog { version, ..Catalog::default() };
    for (database, table) in tables {
        let columns = match (&**database, &**table) {
            ("crm", "t1") => "z",
            (_, "t2") => "c",
            (_, "secret") => "d",
            _ => "a b",
        };
        let column = |name: &str| Column { name: name.into(), invisible: false };
        let columns = columns.split(' ').map(column).collect();
        let schema: &mut Arc<Database> = catalog.databases.entry((&**database).into()).or_default();
        let table = ((&**table).into(), Table { columns, ..Table::default() });
        Arc::make_mut(schema).tables.extend([table]);
    }
    if let Some(shop) = catalog.databases.get_mut("shop") {
        Arc::make_mut(shop).procedures.insert("p".into(), Routine::default());
    }
    catalog
}
