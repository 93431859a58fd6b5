//! Several statements in one message.

use super::{outcome, read, read_with};

#[test]
fn names_that_may_have_changed_meaning_are_refused() {
    for text in [
        "set search_path = app; select z from t1",
        "create table x (a int); select a from x",
        "create table x (a int); select a from t1",
        "drop table t1; select a from t1",
        "select 1 into x; select * from x",
        "rollback; select a from t1",
        "select set_config('search_path', 'app', true); select a from t1",
        "do ''; select a from t1",
        "create schema x; create table x.t (a int)",
        "select add(1, 2); table t1",
        "set search_path = app; execute p",
        "rollback; fetch c",
        "create table x (a int); explain execute p",
    ] {
        assert_eq!(outcome(&read(text)), ["unsupported"], "{text}");
    }
    for text in [
        "begin; set local search_path = app; commit",
        "set search_path = app; set timezone = 'UTC'; select 1",
        "begin; create table x (a int); commit",
        "select a from t1; select b from t1",
        "begin; select a from t1; commit",
    ] {
        assert!(read(text).is_ok(), "{text}: {:?}", read(text));
    }
}

#[test]
fn the_path_decides() {
    let first = |path: &[&str]| outcome(&read_with("select * from t1", path));
    assert_eq!(first(&["pg_catalog", "app", "public"]), ["SELECT (z) ON app.t1"]);
    assert_eq!(first(&["pg_catalog", "public", "app"]), ["SELECT (a, b, c, d) ON public.t1"]);
    assert_eq!(first(&["pg_catalog"]), ["undefined 42P01"]);
    assert_eq!(first(&["pg_catalog", "newer", "public"]), ["unsupported"]);
    assert_eq!(outcome(&read_with("select 1", &["newer"])), ["METADATA"]);
    let created = |path: &[&str]| outcome(&read_with("create table x (a int)", path));
    assert_eq!(created(&["pg_catalog", "app", "public"]), ["CREATE ON SCHEMA app"]);
    assert_eq!(created(&["pg_catalog"]), ["undefined 3F000"]);
    let operator = |path: &[&str]| outcome(&read_with("select 1 === 2", path));
    assert_eq!(operator(&["pg_catalog", "public"]), ["METADATA"]);
    assert_eq!(operator(&["pg_catalog", "app"]), ["EXECUTE ON FUNCTION app.same()"]);
}
