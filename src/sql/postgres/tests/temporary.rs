//! Temporary objects of the session's own.

use std::sync::Arc;

use super::super::{ParseLimits, Scope, analyse};
use super::{catalog, outcome, path};
use crate::sql::catalog::{Catalog, Relation, RelationKind, Schema};
use crate::sql::statement::{Analysis, NotUnderstood};

const PATH: [&str; 3] = ["pg_temp_3", "pg_catalog", "public"];

/// The fixture, with `pg_temp_3`: a table that hides `public.t1`, one that hides nothing, a view, and a
/// table that a trigger is on.
fn with_temporary() -> Catalog {
    let mut catalog = catalog();
    let mut own = Schema::default();
    let relation = |kind, runs_code| Relation {
        kind,
        columns: vec!["a".into(), "own".into()],
        runs_code,
        ..Relation::default()
    };
    for (name, kind, runs_code) in [
        ("t1", RelationKind::Table, false),
        ("mine", RelationKind::Table, false),
        ("s", RelationKind::Sequence, false),
        ("upper", RelationKind::Table, false),
        ("v", RelationKind::View, false),
        ("armed", RelationKind::Table, true),
    ] {
        own.relations.insert(name.into(), relation(kind, runs_code));
    }
    catalog.schemas.insert("pg_temp_3".into(), Arc::new(own));
    catalog
}

fn read_in(catalog: &Catalog, names: &[&str], text: &str) -> Result<Analysis, NotUnderstood> {
    analyse(text, &Scope { catalog, path: &path(names), parameters: &[] }, &ParseLimits::default())
}

fn read(text: &str) -> Vec<String> {
    outcome(&read_in(&with_temporary(), &PATH, text))
}

#[test]
fn what_the_session_made_needs_nothing_but_a_grant() {
    for text in [
        "SELECT own FROM t1",
        "SELECT * FROM pg_temp.t1",
        "SELECT * FROM pg_temp_3.mine FOR UPDATE",
        "INSERT INTO mine VALUES (1, 2) RETURNING a",
        "UPDATE t1 SET own = 1 WHERE a = 2",
        "DELETE FROM mine",
        "TRUNCATE t1",
        "COPY mine FROM STDIN",
        "LOCK TABLE mine",
        "SELECT nextval('s'), setval('pg_temp.s', 1)",
        "DROP TABLE t1, mine",
        "DROP TABLE IF EXISTS pg_temp.none",
        "ALTER TABLE mine ADD COLUMN b int DEFAULT 1 + 1",
        "ALTER TABLE mine RENAME a TO b",
        "CREATE INDEX ON mine (a)",
        "CREATE INDEX ON t1 (lower(own::text))",
        "ANALYZE mine",
        "CREATE TEMP TABLE x (a serial, b text DEFAULT now()::text, CHECK (a > 0))",
        "CREATE TEMP TABLE x (LIKE mine)",
        "CREATE TEMP TABLE x ON COMMIT DROP AS SELECT * FROM mine",
        "CREATE TEMP SEQUENCE x",
        "SELECT 1 AS a INTO TEMP x",
        "TABLE mine",
        "SELECT NULL::mine",
    ] {
        assert_eq!(read(text), ["METADATA"], "{text}");
    }
}

#[test]
fn what_it_reads_elsewhere_is_asked_for() {
    let t2 = "SELECT (c, d, e) ON public.t2";
    assert_eq!(read("CREATE TEMP TABLE x AS TABLE t2"), ["METADATA", t2]);
    assert_eq!(read("SELECT * INTO pg_temp.x FROM t2"), ["METADATA", t2]);
    assert_eq!(read("INSERT INTO mine SELECT c FROM t2"), ["METADATA", "SELECT (c) ON public.t2"]);
    // The name is hidden, the relation is not.
    assert_eq!(read("SELECT a FROM public.t1"), ["SELECT (a) ON public.t1"]);
    // Only the temporary one has that column.
    assert_eq!(read("SELECT b FROM t1"), ["undefined 42703"]);
    assert_eq!(read("ALTER TABLE t2 ADD x int"), ["ADMIN ON public.t2"]);
    assert_eq!(read("DROP TABLE mine, t2"), ["METADATA", "ADMIN ON public.t2"]);
    assert_eq!(read("DROP FUNCTION add"), ["ADMIN ON SCHEMA public"]);
    // Functions are not looked for there, whatever their names.
    assert_eq!(read("SELECT add(1, 2)"), ["EXECUTE ON FUNCTION public.add(integer, integer)"]);
}

#[test]
fn what_would_outlive_its_grant_is_refused() {
    for text in [
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE VIEW pg_temp.x AS SELECT 1",
        "CREATE VIEW public.x AS SELECT * FROM mine",
        "CREATE VIEW public.x AS SELECT (SELECT count(*) FROM t1)",
        "SELECT * FROM v",
        "INSERT INTO armed VALUES (1)",
        "CREATE TEMP TABLE x (a int DEFAULT add(1, 2))",
        "CREATE TEMP TABLE x (a int DEFAULT nextval('app.orders_id_seq'))",
        "CREATE TEMP TABLE x (a int CHECK (add(a, 1) > 0))",
        "ALTER TABLE mine ALTER a SET DEFAULT add(1, 2)",
        "CREATE INDEX ON mine (add(a, 1))",
        "CREATE POLICY p ON mine USING (EXISTS (SELECT FROM public.secret))",
        "CREATE TYPE pg_temp.x AS (a int)",
        "CREATE TYPE pg_temp.x AS ENUM ('a')",
        "SELECT pg_temp.f()",
    ] {
        assert_eq!(read(text), ["unsupported"], "{text}");
    }
}

#[test]
fn other_sessions_temporary_objects_are_nobody_elses() {
    for text in [
        "SELECT * FROM pg_temp_4.t1",
        "DROP TABLE pg_temp_4.t1",
        "DROP TABLE IF EXISTS pg_temp_4.t1",
        "CREATE TABLE pg_temp_4.x (a int)",
        "ALTER TABLE t2 SET SCHEMA pg_temp_4",
        "ALTER TABLE mine SET SCHEMA pg_temp_3",
    ] {
        assert_eq!(read(text), ["unsupported"], "{text}");
    }
}

#[test]
fn making_one_takes_what_the_server_gives_to_everybody() {
    let mut catalog = catalog();
    let text = "CREATE TEMP TABLE x (a int)";
    let needs = |catalog: &Catalog| outcome(&read_in(catalog, &PATH[1..], text));
    assert_eq!(needs(&catalog), ["METADATA"]);
    catalog.public_temporary = false;
    assert_eq!(needs(&catalog), ["METADATA", "ADMIN ON DATABASE"]);
}

#[test]
fn names_are_asked_again_after_it_and_the_catalog_is_not() {
    let statement = |text: &str| {
        let mut analysis = read_in(&with_temporary(), &PATH, text).unwrap();
        analysis.statements.remove(0)
    };
    for text in ["CREATE TEMP TABLE x (a int)", "DROP TABLE mine", "ALTER TABLE mine ADD z int"] {
        let statement = statement(text);
        assert!(statement.changes_path && !statement.changes_catalog, "{text}");
    }
    let both = statement("DROP TABLE mine, t2");
    assert!(both.changes_path && both.changes_catalog);
    assert!(statement("DISCARD TEMP").changes_path);
    assert!(!statement("INSERT INTO mine VALUES (1)").changes_path);
}
