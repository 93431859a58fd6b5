//! Definitions of what belongs to something else, or is inherited from.

use std::sync::Arc;

use super::super::{ParseLimits, Scope, analyse};
use super::{catalog, outcome, path};
use crate::sql::catalog::{Catalog, Relation};
use crate::sql::name::QualifiedName;

/// The fixture, where `t1` has an index and the children `t2` and, through that, `app.t1`; `t4.id` owns
/// its sequence.
fn related(server_version: u32) -> Catalog {
    let mut catalog = Catalog { server_version, ..catalog() };
    let mut change = |schema: &str, name: &str, change: &dyn Fn(&mut Relation)| {
        let schema = Arc::make_mut(catalog.schemas.get_mut(schema).unwrap());
        change(schema.relations.get_mut(name).unwrap());
    };
    let name = QualifiedName::new;
    change("public", "t1_a_idx", &|it| it.table = Some(name("public", "t1")));
    change("public", "t1", &|it| it.children = vec![name("public", "t2")]);
    change("public", "t2", &|it| it.children = vec![name("app", "t1"), name("app", "gone")]);
    change("public", "t4_id_seq", &|it| it.owned_by = Some((name("public", "t4"), "id".into())));
    catalog
}

fn needs(server_version: u32, text: &str) -> Vec<String> {
    let catalog = related(server_version);
    let path = path(&["pg_catalog", "public"]);
    let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
    let mut needs = outcome(&analyse(text, &scope, &ParseLimits::default()));
    needs.sort();
    needs
}

#[test]
fn what_belongs_to_a_table_is_its_owners() {
    for (text, expected) in [
        ("drop index t1_a_idx", &["ADMIN ON public.t1"][..]),
        ("alter index t1_a_idx set (fillfactor = 50)", &["ADMIN ON public.t1"]),
        ("alter index t1_a_idx rename to x", &["ADMIN ON public.t1", "CREATE ON SCHEMA public"]),
        ("comment on index t1_a_idx is 'x'", &["ADMIN ON public.t1"]),
        ("reindex index t1_a_idx", &["ADMIN ON public.t1"]),
        ("alter sequence t4_id_seq restart", &["ADMIN ON public.t4"]),
        ("drop sequence t4_id_seq", &["ADMIN ON public.t4"]),
        ("drop sequence app.orders_id_seq", &["ADMIN ON SEQUENCE app.orders_id_seq"]),
        ("truncate t4 restart identity", &["ADMIN ON public.t4", "TRUNCATE ON public.t4"]),
        ("drop policy p on t4", &["ADMIN ON public.t4"]),
        ("alter table t4 add foreign key (a) references t4 (id)", &["ADMIN ON public.t4"]),
    ] {
        assert_eq!(needs(150_018, text), expected, "{text}");
    }
}

#[test]
fn what_inherits_is_altered_with_its_parent() {
    let all = ["ADMIN ON app.t1", "ADMIN ON public.t1", "ADMIN ON public.t2"];
    for text in [
        "alter table t1 add x int",
        "alter table t1 drop a, enable row level security",
        "alter table t1 rename a to x",
        "analyze t1",
    ] {
        assert_eq!(needs(150_018, text), all, "{text}");
    }
    for text in [
        "alter table only t1 add x int",
        "alter table t1 enable row level security",
        "alter table t1 set (fillfactor = 50)",
        "drop table t1",
        "alter table only t1 rename a to x",
    ] {
        assert_eq!(needs(150_018, text), ["ADMIN ON public.t1"], "{text}");
    }
    assert_eq!(
        needs(150_018, "create index on t1 (a)"),
        ["ADMIN ON public.t1", "CREATE ON SCHEMA app", "CREATE ON SCHEMA public"]
    );
}

#[test]
fn what_is_made_beside_a_table_takes_create_on_its_schema() {
    let both = ["ADMIN ON app.orders", "CREATE ON SCHEMA app"];
    for text in [
        "alter table app.orders add primary key (id)",
        "alter table app.orders add x serial",
        "alter table app.orders add x int unique",
        "alter table app.orders add x int generated always as identity",
        "alter table app.orders alter id add generated always as identity",
        "alter table app.orders rename to x",
        "create index on app.orders (id)",
        "create statistics on id, total from app.orders",
        "create statistics app.x on id, total from app.orders",
        "create or replace view app.orders as select 1",
        "create table app.x () inherits (app.orders)",
        "create sequence app.x owned by app.orders.id",
    ] {
        let mut found = needs(150_018, text);
        found.retain(|it| it != "METADATA");
        assert_eq!(found, both, "{text}");
    }
    for text in [
        "alter table app.orders add primary key using index x",
        "alter table app.orders add check (id > 0)",
        "alter table app.orders add x int default 1",
        "alter table app.orders rename id to x",
        "comment on column app.orders.id is 'x'",
    ] {
        let mut found = needs(150_018, text);
        found.retain(|it| it != "METADATA");
        assert_eq!(found, both[..1], "{text}");
    }
    assert_eq!(needs(150_018, "create view app.x as select 1"), ["CREATE ON SCHEMA app"]);
    assert_eq!(needs(150_018, "create schema x"), ["CREATE ON DATABASE"]);
    assert_eq!(needs(150_018, "create schema x authorization y"), ["ADMIN ON DATABASE"]);
    let placed = ["ADMIN ON DATABASE", "CREATE ON SCHEMA app"];
    assert_eq!(needs(150_018, "create table app.x (a int) tablespace y"), placed);
}

#[test]
fn upkeep_is_a_privilege_from_17_on() {
    for text in [
        "vacuum (analyze) t4",
        "analyze t4 (id)",
        "cluster t4",
        "reindex table t4",
        "refresh materialized view t4",
    ] {
        assert_eq!(needs(160_010, text), ["ADMIN ON public.t4"], "{text}");
        assert_eq!(needs(170_000, text), ["MAINTAIN ON public.t4"], "{text}");
    }
    assert_eq!(needs(170_000, "reindex index t1_a_idx"), ["MAINTAIN ON public.t1"]);
    assert_eq!(needs(170_000, "vacuum only t1"), ["MAINTAIN ON public.t1"]);
    assert_eq!(needs(170_000, "vacuum"), ["ADMIN ON DATABASE"]);
}

#[test]
fn where_no_owner_is_known_the_schemas_is_asked_for() {
    let public = ["ADMIN ON SCHEMA public"];
    assert_eq!(needs(150_018, "alter type mood add value 'x'"), public);
    assert_eq!(needs(150_018, "alter statistics public.x set statistics 10"), public);
    // A table of that name is no statistics object.
    let catalog = related(150_018);
    let path = path(&["pg_catalog", "app", "public"]);
    let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
    let read = analyse("drop statistics orders", &scope, &ParseLimits::default());
    assert_eq!(outcome(&read), ["ADMIN ON SCHEMA app", "ADMIN ON SCHEMA public"]);
}
