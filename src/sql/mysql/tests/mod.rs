//! Tests of the analyser as a whole, on a small fixture catalog.

mod deep;
mod placement;
mod properties;
mod reading;
mod table;

use std::collections::HashSet;
use std::sync::Arc;

use super::catalog::{Catalog, Column, Database, Routine, Security, Table, TableKind, View};
use super::{
    CharacterSet, Flavour, ParseLimits, ParseSettings, Scope, ServerVersion, SqlMode, analyse,
};
use crate::sql::access::{Access, Columns, Reach};
use crate::sql::name::QualifiedName;
use crate::sql::statement::{Analysis, NotUnderstood};

/// `database.table: columns`; a view has its query behind `=`, of an invoker behind `~`.
const TABLES: &str = "
    shop.t1: a b c d
    shop.t2: c d e
    shop.t3: c x
    shop.allowed: a b
    shop.secret: d token
    shop.one: a
    crm.t1: z
    crm.orders: id total status
    shop.v_secret: d = select `shop`.`secret`.`d` AS `d` from `shop`.`secret`
    shop.v_invoker: d ~ select `shop`.`secret`.`d` AS `d` from `shop`.`secret` where `shop`.`secret`.`token` = 'x'
    information_schema.tables: table_schema table_name
    information_schema.processlist: id info
    information_schema.files: file_name
    information_schema.routines: routine_schema routine_name definer routine_definition
    mysql.user: host user
";

pub(super) fn catalog() -> Catalog {
    let mut catalog = Catalog { version: 1, ..Catalog::default() };
    for line in TABLES.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(':').unwrap();
        let (database, name) = name.split_once('.').unwrap();
        let view = |security, query: &str| {
            TableKind::View(View { security, query: Some(query.trim().into()) })
        };
        let (columns, kind) = match (rest.split_once('~'), rest.split_once('=')) {
            (Some((columns, query)), _) => (columns, view(Security::Invoker, query)),
            (None, Some((columns, query))) => (columns, view(Security::Definer, query)),
            (None, None) => (rest, TableKind::Base),
        };
        let column = |name: &str| Column { name: name.into(), invisible: false };
        let columns = columns.split_whitespace().map(column).collect();
        let schema = Arc::make_mut(catalog.databases.entry(database.into()).or_default());
        schema.tables.insert(name.into(), Table { kind, columns });
    }
    let shop: &mut Database = Arc::make_mut(catalog.databases.get_mut("shop").unwrap());
    let invoker = Routine { security: Security::Invoker };
    shop.functions.insert("f".into(), Routine::default());
    shop.functions.insert("count".into(), Routine::default());
    shop.functions.insert("f_invoker".into(), invoker.clone());
    shop.triggers.insert("stamp".into(), "t1".into());
    shop.procedures.insert("p".into(), Routine::default());
    shop.procedures.insert("p_invoker".into(), invoker);
    catalog
}

pub(super) fn settings() -> ParseSettings {
    ParseSettings {
        server: ServerVersion { flavour: Flavour::MariaDb, number: 101_119 },
        sql_mode: SqlMode::default(),
        character_set: CharacterSet::Utf8mb4,
        default_database: Some("shop".into()),
        lower_case_table_names: false,
    }
}

pub(super) fn read_as(text: &[u8], settings: &ParseSettings) -> Result<Analysis, NotUnderstood> {
    read_in(&catalog(), text, settings)
}

/// As by a session that is an account of its principal's own.
pub(super) fn read_own(text: &str) -> Result<Analysis, NotUnderstood> {
    read_in(&catalog().for_own_accounts(), text.as_bytes(), &settings())
}

fn read_in(
    catalog: &Catalog,
    text: &[u8],
    settings: &ParseSettings,
) -> Result<Analysis, NotUnderstood> {
    let temporary = HashSet::from([QualifiedName::new("shop", "temp")]);
    let scope = Scope { catalog, settings, temporary: &temporary };
    analyse(text, &scope, &ParseLimits::default())
}

pub(super) fn read(text: &str) -> Result<Analysis, NotUnderstood> {
    read_as(text.as_bytes(), &settings())
}

/// An access, with what its own `Display` leaves out.
fn show(access: &Access) -> String {
    match access {
        Access::Metadata => "METADATA".into(),
        Access::Anything(object) => format!("ANYTHING ON {object}"),
        Access::OneOf { others, reach, .. } => {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            let any = if *reach == Reach::Any { " of any column" } else { "" };
            format!("{access} or {}{any}", others.join(", "))
        }
        Access::Privilege { operation, object, columns: Columns::Any } => {
            format!("{operation} (*) ON {object}")
        }
        other => other.to_string(),
    }
}

/// Everything that a message needs, or why it was refused. METADATA beside something else is left out.
pub(super) fn outcome(result: &Result<Analysis, NotUnderstood>) -> Vec<String> {
    match result {
        Ok(analysis) => {
            let mut list: Vec<_> =
                analysis.statements.iter().flat_map(|it| it.accesses.iter().map(show)).collect();
            list.sort();
            list.dedup();
            if list.len() > 1 {
                list.retain(|it| it != "METADATA");
            }
            list
        }
        Err(NotUnderstood::Syntax { .. }) => vec!["syntax".into()],
        Err(NotUnderstood::Unsupported { .. }) => vec!["unsupported".into()],
        Err(NotUnderstood::Undefined { sqlstate, .. }) => vec![format!("undefined {sqlstate}")],
        Err(NotUnderstood::TooComplex { .. }) => vec!["complex".into()],
    }
}
