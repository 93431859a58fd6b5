//! Types that Parse or PREPARE declares of parameters.

use std::sync::Arc;

use super::{ParseLimits, Scope, analyse, catalog, outcome, path};
use crate::sql::catalog::{Function, TypeId, TypeKind};

const INT4: TypeId = 23;
const TEXT: TypeId = 25;
const UNKNOWN: TypeId = 705;
const VOID: TypeId = 2278;

/// What a text needs with these types, where the server has a function `wait()` that returns nothing.
fn needs(text: &str, parameters: &[TypeId]) -> Vec<String> {
    let mut catalog = catalog();
    let own = Arc::make_mut(catalog.schemas.get_mut("public").unwrap());
    let wait = Function { result: VOID, public: true, ..Function::default() };
    own.functions.insert("wait".into(), vec![wait]);
    let one = Function {
        arguments: "integer".into(),
        inputs: [INT4].into(),
        public: true,
        ..Function::default()
    };
    own.functions.get_mut("add").unwrap().push(one);
    let system = Arc::make_mut(catalog.schemas.get_mut("pg_catalog").unwrap());
    system.types.insert("void".into(), TypeKind::Pseudo);
    let path = path(&["pg_catalog", "public"]);
    let scope = Scope { catalog: &catalog, path: &path, parameters };
    outcome(&analyse(text, &scope, &ParseLimits::default()))
}

const ONE: &str = "EXECUTE ON FUNCTION public.add(integer)";
const INTEGERS: &str = "EXECUTE ON FUNCTION public.add(integer, integer)";
const TEXTS: &str = "EXECUTE ON FUNCTION public.add(text, text)";

#[test]
fn declared_types_tell_overloads_apart() {
    for (text, parameters, expected) in [
        ("select add($1, $2)", &[INT4, INT4][..], &[INTEGERS][..]),
        ("select add($1, $2)", &[TEXT, TEXT], &[TEXTS]),
        ("select add($2, $2)", &[TEXT, INT4], &[INTEGERS]),
        ("select add($1, $2)", &[], &[INTEGERS, TEXTS]),
        ("select add($1, $2)", &[INT4], &[INTEGERS, TEXTS]),
        ("select add($1, $2)", &[0, INT4], &[INTEGERS, TEXTS]),
        ("select add($1, $2)", &[UNKNOWN, UNKNOWN], &[INTEGERS, TEXTS]),
        // PREPARE has its own.
        ("prepare p as select add($1, $2)", &[INT4, INT4], &[INTEGERS, TEXTS]),
    ] {
        assert_eq!(needs(text, parameters), expected, "{text} {parameters:?}");
    }
}

#[test]
fn a_call_leaves_out_parameters_that_are_void() {
    for (text, parameters, expected) in [
        ("select add($1, $2)", &[VOID, INT4][..], &[ONE][..]),
        ("select add($1, $2)", &[INT4, VOID], &[ONE]),
        ("prepare p (void, int4) as select add($1, $2)", &[], &[ONE]),
        ("prepare p (pg_catalog.void, int4) as select add($1, $2)", &[], &[ONE]),
        ("select add($1, $2)", &[VOID, VOID], &["undefined 42883"]),
        // The sequence is the one that the server sees first.
        ("select pg_catalog.setval($1, 'app.orders_id_seq', 5)", &[VOID], SEQUENCE),
        ("select pg_catalog.current_setting($1, 'app.secret')", &[VOID], &["unsupported"]),
    ] {
        assert_eq!(needs(text, parameters), expected, "{text} {parameters:?}");
    }
}

const SEQUENCE: &[&str] = &["UPDATE ON SEQUENCE app.orders_id_seq"];

#[test]
fn what_may_become_void_is_refused() {
    let refused = ["unsupported"];
    for text in [
        "select add($1::void, $2)",
        "select add(cast(($1 collate \"C\") as pg_catalog.void), $2)",
        "select coalesce($1, wait()), add($1, $2)",
        "select add($1, $2), case when true then $1 else wait() end",
        "select $1 union all select wait() where add($1, $2) is null",
    ] {
        assert_eq!(needs(text, &[]), refused, "{text}");
    }
    for text in [
        "select wait(), add($1, $2)",
        "select coalesce($1, 1), add($1, $2)",
        "select coalesce($1, wait()), add($1::text, $2)",
        "select coalesce($3, wait()), add($1, $2)",
    ] {
        assert_ne!(needs(text, &[]), refused, "{text}");
    }
    // Declared, it does not become anything else.
    assert_ne!(needs("select coalesce($1, wait()), add($1, $2)", &[TEXT, TEXT]), refused);
}
