//! Where statements may run: the table, and what its catalog has not.

use std::fmt::Write;
use std::sync::Arc;

use super::{catalog, outcome, path, read};
use crate::sql::catalog::{AtReplica, Catalog, Function, Relation, Schema, Type, TypeKind};
use crate::sql::placement::Placement;
use crate::sql::postgres::{ParseLimits, Scope, analyse};

fn show(placement: &Placement) -> String {
    match placement {
        Placement::Anywhere => "anywhere".into(),
        Placement::Session => "session".into(),
        Placement::Home(rule) => format!("home: {rule}"),
        Placement::Primary(rule) => format!("primary: {rule}"),
    }
}

#[test]
fn statements_run_where_the_table_says() {
    let (mut failures, mut cases) = (String::new(), 0);
    for case in include_str!("placement.txt").split("\n\n") {
        let lines = case.lines().filter(|line| !line.starts_with('#'));
        let (expected, text): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with("    "));
        let text = text.join("\n");
        if text.is_empty() {
            continue;
        }
        cases += 1;
        let expected: Vec<&str> = expected.iter().map(|line| line.trim()).collect();
        let result = read(&text);
        let found = match &result {
            Ok(analysis) => analysis.statements.iter().map(|s| show(&s.placement)).collect(),
            Err(_) => outcome(&result),
        };
        if expected != found {
            writeln!(failures, "{text}\n  expected {expected:#?}\n  found {found:#?}").unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(cases > 100, "{cases}");
}

/// A domain whose checks are not known, an array of it, a composite with it; numbers are of users.
const DOUBTED: u32 = 20_001;
const DOUBTED_ARRAY: u32 = 20_002;

fn with_doubts() -> Catalog {
    let mut catalog = catalog();
    let type_of = |kind, element, base, at_replica| Type {
        kind,
        category: 'U',
        preferred: false,
        element,
        base,
        checks: Vec::new(),
        at_replica,
    };
    catalog.types.insert(DOUBTED, type_of(TypeKind::Domain, 0, 23, false));
    catalog.types.insert(DOUBTED_ARRAY, type_of(TypeKind::Base, DOUBTED, 0, true));
    let public = Arc::make_mut(catalog.schemas.get_mut("public").unwrap());
    let mut relation = |name: &str, at_replica, types: &[u32]| {
        let relation = Relation {
            columns: vec!["a".into()],
            column_types: types.to_vec(),
            at_replica,
            ..Relation::default()
        };
        public.relations.insert(name.into(), relation);
    };
    relation("unlogged", AtReplica::Unlogged, &[23]);
    relation("foreign_one", AtReplica::Foreign, &[23]);
    relation("unsure", AtReplica::Unsure, &[23]);
    relation("checked", AtReplica::Same, &[DOUBTED]);
    add_functions(public);
    catalog.schemas.insert("pg_temp_3".into(), Arc::new(temporary()));
    catalog
}

fn add_functions(public: &mut Schema) {
    for (name, id) in [("doubted", DOUBTED), ("_doubted", DOUBTED_ARRAY)] {
        public.types.insert(name.into(), TypeKind::Domain);
        public.type_ids.insert(name.into(), id);
    }
    let function = |inputs: &[u32], at_replica| Function {
        inputs: inputs.into(),
        public: true,
        at_replica,
        ..Function::default()
    };
    public.functions.insert("sure".into(), vec![function(&[], true), function(&[23], true)]);
    public.functions.insert("mixed".into(), vec![function(&[23], true), function(&[25], false)]);
    public.functions.insert("takes".into(), vec![function(&[DOUBTED], true)]);
    public.functions.insert("takes_row".into(), vec![function(&[20_777], true)]);
}

fn temporary() -> Schema {
    let mut schema = Schema::default();
    let own = Relation { columns: vec!["a".into()], ..Relation::default() };
    schema.relations.insert("own".into(), own);
    schema
}

#[test]
fn what_the_catalog_doubts_runs_at_the_primary() {
    let catalog = with_doubts();
    let path = path(&["pg_temp_3", "pg_catalog", "public"]);
    let place = |text: &str, parameters: &[u32]| {
        let scope = Scope { catalog: &catalog, path: &path, parameters };
        let analysis = analyse(text, &scope, &ParseLimits::default());
        show(&analysis.unwrap_or_else(|why| panic!("{text}: {why:?}")).statements[0].placement)
    };
    let called = |name: &str| {
        format!("primary: it calls {name}, which is not known to mean the same at a replica")
    };
    let doubted = called("public.doubted");
    let row = called("what a row type's columns check");
    let is = |name: &str, what: &str| format!("primary: public.{name} is {what}");
    let unlogged = is("unlogged", "not in the log, or a part of it is not");
    let foreign = is("foreign_one", "at another server, or a part of it is");
    let unsure =
        is("unsure", "defined by something that is not known to mean the same at a replica");
    let temporary = "primary: only one session at one server has temporary tables";
    for (text, expected) in [
        ("select * from unlogged", &*unlogged),
        ("select 1 where exists (select from t1, unlogged)", &unlogged),
        ("copy unlogged to stdout", &unlogged),
        ("select * from foreign_one", &foreign),
        ("select * from unsure", &unsure),
        ("explain table unsure", &unsure),
        ("table own", temporary),
        ("table pg_temp.own", temporary),
        // Reading a column checks nothing.
        ("select a from checked", "anywhere"),
        ("select 1::doubted", &doubted),
        ("select array[1]::doubted[]", &doubted),
        ("select array[1]::_doubted", &doubted),
        ("select doubted(1)", &doubted),
        ("select public.doubted '1'", &doubted),
        ("select row(1)::checked", &doubted),
        ("select * from json_to_record('{}') as (x doubted)", &doubted),
        ("select json_populate_record(null::checked, '{}')", &doubted),
        ("select sure(), sure(1)", "anywhere"),
        ("select * from sure() s", "anywhere"),
        ("select mixed(1)", "anywhere"),
        ("select mixed('a'::text)", &called("public.mixed")),
        ("select mixed($1)", &called("public.mixed")),
        ("select takes(1)", &doubted),
        ("select takes_row(row(1))", &row),
    ] {
        assert_eq!(place(text, &[]), expected, "{text}");
    }
    assert_eq!(place("select $1 is null", &[DOUBTED]), doubted);
    assert_eq!(place("select $1 is null", &[23]), "anywhere");
}
