//! Tests of the analyser as a whole, on a small fixture catalog.

mod deep;
mod definitions;
#[path = "../../../../tests/oracle/generator.rs"]
mod generator;
mod kinds;
mod messages;
mod metamorphic;
mod parameters;
mod placement;
mod properties;
mod table;
mod temporary;

use std::sync::Arc;

use super::{ParseLimits, Scope, analyse};
use crate::sql::access::{Access, Columns};
use crate::sql::catalog::{
    Catalog, Function, Operator, Relation, RelationKind, Routine, Schema, TypeKind,
};
use crate::sql::name::QualifiedName;
use crate::sql::statement::{Analysis, Argument, Deferred, NotUnderstood, Statement};

/// `schema.name: columns`, with a kind other than table in front.
const RELATIONS: &str = "
    public.t1: a b c d
    public.t2: c d e
    public.t3: c x
    public.t4: id a
    public.secret: d token
    public.f: x y
    public.b: k v
    public.colt: id name salary
    public.tenk: x y
    public.onek: x z
    public.zero:
    public.events: id at doc
    view public.v_allowed: id name
    sequence public.t4_id_seq: last_value log_cnt is_called
    index public.t1_a_idx: a
    composite public.pair: one two
    app.t1: z
    app.orders: id total status
    sequence app.orders_id_seq: last_value log_cnt is_called
    pg_catalog.pg_class: oid relname relnamespace relkind
    pg_catalog.pg_attribute: attrelid attname attnum
    pg_catalog.pg_namespace: oid nspname
    pg_catalog.pg_authid: oid rolname rolpassword
    pg_catalog.pg_roles: oid rolname
    pg_catalog.pg_stat_activity: pid query
    pg_catalog.pg_settings: name setting
    pg_toast.pg_toast_1: chunk_id chunk_data
    information_schema.columns: table_name column_name
";

pub(super) fn catalog() -> Catalog {
    let mut catalog = Catalog {
        version: 1,
        server_version: 150_018,
        public_temporary: true,
        ..Catalog::default()
    };
    for name in ["public", "app", "pg_catalog", "information_schema", "pg_toast"] {
        catalog.schemas.insert(name.into(), Arc::default());
    }
    let schema = |catalog: &mut Catalog, name: &str, change: &dyn Fn(&mut Schema)| {
        change(Arc::make_mut(catalog.schemas.get_mut(name).unwrap()));
    };
    for line in RELATIONS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, columns) = line.split_once(':').unwrap();
        let (kind, name) = head.split_once(' ').unwrap_or(("table", head));
        let (in_schema, name) = name.split_once('.').unwrap();
        let relation = Relation {
            kind: match kind {
                "view" => RelationKind::View,
                "sequence" => RelationKind::Sequence,
                "index" => RelationKind::Index,
                "composite" => RelationKind::Composite,
                _ => RelationKind::Table,
            },
            columns: columns.split_whitespace().map(Box::from).collect(),
            ..Relation::default()
        };
        schema(&mut catalog, in_schema, &|schema| {
            schema.relations.insert(name.into(), relation.clone());
        });
    }
    let guarded =
        Relation { columns: vec!["id".into()], bypassed_row_security: true, ..Relation::default() };
    schema(&mut catalog, "public", &|schema| {
        schema.relations.insert("rls".into(), guarded.clone());
        schema.types.insert("mood".into(), TypeKind::Enum);
        schema.types.insert("dom".into(), TypeKind::Domain);
        schema.functions.insert("add".into(), overloads(&["integer, integer", "text, text"]));
        schema.functions.insert("upper".into(), overloads(&["mood"]));
        schema.functions.insert("pg_read_file".into(), overloads(&["mood"]));
    });
    schema(&mut catalog, "app", &|schema| {
        let function = Routine { name: QualifiedName::new("app", "same"), arguments: "".into() };
        schema.operators.insert("===".into(), vec![Operator { left: 23, right: 23, function }]);
        schema.functions.insert("definer_f".into(), overloads(&[""]));
    });
    schema(&mut catalog, "pg_catalog", &|schema| {
        for name in
            "int2 int4 int8 text varchar bpchar name bool numeric float8 date time timestamp \
            timestamptz interval json jsonb xml regclass oid record uuid bytea"
                .split_whitespace()
        {
            schema.types.insert(name.into(), TypeKind::Base);
        }
    });
    catalog
}

/// Functions of users, volatile, by the types of their arguments.
pub(super) fn overloads(list: &[&str]) -> Vec<Function> {
    let number = |name: &str| match name {
        "integer" => 23,
        "text" => 25,
        _ => 20_000,
    };
    let function = |arguments: &&str| Function {
        arguments: (*arguments).into(),
        inputs: arguments.split(", ").filter(|name| !name.is_empty()).map(number).collect(),
        public: true,
        ..Function::default()
    };
    list.iter().map(function).collect()
}

pub(super) fn path(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| Box::from(*name)).collect()
}

/// Analyses with the default path and limits.
pub(super) fn read(text: &str) -> Result<Analysis, NotUnderstood> {
    read_with(text, &["pg_catalog", "public"])
}

pub(super) fn read_with(text: &str, names: &[&str]) -> Result<Analysis, NotUnderstood> {
    let catalog = catalog();
    let path = path(names);
    analyse(
        text,
        &Scope { catalog: &catalog, path: &path, parameters: &[] },
        &ParseLimits::default(),
    )
}

/// The only statement of a message.
pub(super) fn one(text: &str) -> Statement {
    let mut analysis = read(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!(analysis.statements.len(), 1, "{text}");
    analysis.statements.remove(0)
}

/// An access, with what its own `Display` leaves out: `(*)` for any column.
pub(super) fn show(access: &Access) -> String {
    match access {
        Access::Metadata => "METADATA".into(),
        Access::Privilege { operation, object, columns: Columns::Any } => {
            format!("{} (*) ON {object}", operation.keyword())
        }
        other => other.to_string(),
    }
}

/// Everything that a message needs, or why it was refused.
pub(super) fn outcome(result: &Result<Analysis, NotUnderstood>) -> Vec<String> {
    match result {
        Ok(analysis) => {
            let deferred = |deferred: &Deferred| {
                let arguments = deferred.arguments.iter().map(|argument| match argument {
                    Argument::Null => " NULL".to_string(),
                    Argument::Literal(text) => format!(" '{text}'"),
                    Argument::Parameter(number) => format!(" ${number}"),
                });
                format!("DEFERRED {:?}{}", deferred.kind, arguments.collect::<String>())
            };
            let accesses = analysis.statements.iter().flat_map(|s| s.accesses.iter().map(show));
            let deferred = analysis.statements.iter().flat_map(|s| s.deferred.iter().map(deferred));
            accesses.chain(deferred).collect()
        }
        Err(NotUnderstood::Syntax { .. }) => vec!["syntax".into()],
        Err(NotUnderstood::Unsupported { .. }) => vec!["unsupported".into()],
        Err(NotUnderstood::Undefined { sqlstate, .. }) => vec![format!("undefined {sqlstate}")],
        Err(NotUnderstood::TooComplex { .. }) => vec!["complex".into()],
    }
}
