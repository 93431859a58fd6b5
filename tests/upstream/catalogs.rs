//! Loading a server's names, and keeping them.

use std::time::Duration;

use daypass::sql::catalog::{
    Catalog, Origin, RelationKind, Routine, SequenceDefault, TypeKind, Volatility,
};
use daypass::sql::name::QualifiedName;
use daypass::upstream::{Catalogs, Connection, Target, query};
use tokio::time::timeout;

use crate::server::server;

const NEVER: Duration = Duration::from_secs(3_600);

async fn load(target: Target) -> std::sync::Arc<Catalog> {
    Catalogs::spawn(target, NEVER).refresh().await.unwrap()
}

async fn run(connection: &mut Connection, sql: &str) {
    query(connection, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn columns<'a>(catalog: &'a Catalog, schema: &str, name: &str) -> Vec<&'a str> {
    catalog.relation(schema, name).unwrap().columns.iter().map(|column| &**column).collect()
}

#[tokio::test]
async fn everything_that_has_a_name_is_there() {
    let mut connection = server().database("names").await;
    run(
        &mut connection,
        r#"CREATE SCHEMA "Sales"; CREATE SCHEMA empty;
        CREATE TABLE "Sales".orders (id serial PRIMARY KEY, gone int, "É" text,
            n int GENERATED ALWAYS AS IDENTITY);
        ALTER TABLE "Sales".orders DROP COLUMN gone; ALTER TABLE "Sales".orders ADD last int;
        CREATE TABLE parted (a int) PARTITION BY RANGE (a);
        CREATE TABLE part PARTITION OF parted DEFAULT;
        CREATE VIEW v AS SELECT 1 AS one; CREATE MATERIALIZED VIEW m AS SELECT 2 AS two;
        CREATE SEQUENCE alone; CREATE INDEX by_a ON parted (a); CREATE TABLE bare ();
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE f (x int) SERVER s;
        CREATE TYPE pair AS (l int, r int); CREATE TYPE mood AS ENUM ('a');
        CREATE DOMAIN short AS text; CREATE TYPE span AS RANGE (subtype = int);
        CREATE FUNCTION f(int, t text DEFAULT 'x', OUT o int) LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION f("Sales".orders, mood[], VARIADIC int[]) RETURNS int LANGUAGE sql
            AS 'SELECT 1';
        CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
        CREATE OPERATOR "Sales".=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
        CREATE TEMP TABLE temporary (a int);"#,
    )
    .await;
    let catalog = load(server().socket("postgres", "names")).await;
    assert_eq!(catalog.server_version, connection.server_version);
    assert_eq!(columns(&catalog, "Sales", "orders"), ["id", "É", "n", "last"]);
    for (schema, name, kind) in [
        ("Sales", "orders", RelationKind::Table),
        ("public", "parted", RelationKind::Table),
        ("public", "part", RelationKind::Table),
        ("public", "v", RelationKind::View),
        ("public", "m", RelationKind::MaterializedView),
        ("public", "f", RelationKind::ForeignTable),
        ("public", "alone", RelationKind::Sequence),
        ("public", "by_a", RelationKind::Index),
        ("public", "pair", RelationKind::Composite),
        ("pg_catalog", "pg_class", RelationKind::Table),
        ("information_schema", "tables", RelationKind::View),
    ] {
        assert_eq!(catalog.relation(schema, name).unwrap().kind, kind, "{name}");
    }
    assert!(columns(&catalog, "public", "bare").is_empty());
    assert_eq!(columns(&catalog, "public", "alone"), ["last_value", "log_cnt", "is_called"]);
    assert_eq!(columns(&catalog, "pg_catalog", "pg_class")[..2], ["oid", "relname"]);
    for (sequence, column) in [("orders_id_seq", "id"), ("orders_n_seq", "n")] {
        let owner = catalog.relation("Sales", sequence).unwrap().owned_by.clone().unwrap();
        assert_eq!((owner.0.to_string(), &*owner.1), ("\"Sales\".orders".to_owned(), column));
    }
    assert_eq!(catalog.relation("public", "alone").unwrap().owned_by, None);
    let of = |name: &str| catalog.relation("public", name).unwrap();
    assert_eq!(of("by_a").table, Some(QualifiedName::new("public", "parted")));
    assert_eq!(of("parted").children, [QualifiedName::new("public", "part")]);
    assert_eq!((&of("part").table, &of("part").children[..]), (&None, &[][..]));

    let public = &catalog.schemas["public"];
    let arguments: Vec<_> = public.functions["f"].iter().map(|f| &*f.arguments).collect();
    assert_eq!(arguments, ["integer, text", "\"Sales\".orders, public.mood[], integer[]"]);
    assert_eq!(&*public.functions["p"][0].arguments, "");
    assert_eq!(catalog.schemas["Sales"].operators["==="].len(), 1);
    assert!(!public.restricted && catalog.schemas["Sales"].restricted);
    for (name, kind) in [
        ("pair", TypeKind::Composite),
        ("mood", TypeKind::Enum),
        ("short", TypeKind::Domain),
        ("span", TypeKind::Base),
    ] {
        assert_eq!(public.types.get(name), Some(&kind), "{name}");
    }
    for absent in ["_mood", "parted", "v", "_pair"] {
        assert!(!public.types.contains_key(absent), "{absent}");
    }
    let system = &catalog.schemas["pg_catalog"];
    assert_eq!(system.types["int4"], TypeKind::Base);
    assert_eq!(system.types["anyelement"], TypeKind::Pseudo);
    assert!(system.types.contains_key("oidvector") && !system.types.contains_key("_int4"));
    assert!(system.functions.len() > 2_000 && system.operators.is_empty());
    assert!(catalog.knows_functions() && !system.restricted);
    assert!(catalog.schemas["empty"].relations.is_empty());
    assert!(!catalog.schemas.keys().any(|name| name.starts_with("pg_temp")));
}

#[tokio::test]
async fn what_functions_and_definitions_do_is_there() {
    let mut connection = server().database("routines").await;
    run(
        &mut connection,
        "CREATE FUNCTION closed(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
        REVOKE EXECUTE ON FUNCTION closed FROM PUBLIC;
        CREATE FUNCTION gathers(text DEFAULT 'x', VARIADIC int[] DEFAULT '{}') RETURNS date STABLE
            SECURITY DEFINER LANGUAGE sql AS 'SELECT current_date';
        CREATE FUNCTION changing(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE AGGREGATE total (int) (sfunc = changing, stype = int);
        CREATE DOMAIN positive AS int CHECK (closed(VALUE));
        CREATE TYPE mood AS ENUM ('a');
        CREATE FUNCTION number(mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
        CREATE CAST (mood AS int) WITH FUNCTION number(mood) AS ASSIGNMENT;
        CREATE TABLE t (id serial, a int CHECK (closed(a)), m mood, n int GENERATED ALWAYS AS IDENTITY);
        CREATE VIEW v AS SELECT id, closed(a) AS b FROM t; CREATE VIEW w AS SELECT b FROM v;
        CREATE TABLE p (a int); ALTER TABLE p ENABLE ROW LEVEL SECURITY;
        CREATE POLICY one ON p USING (a = 1); CREATE POLICY two ON p FOR UPDATE USING (a = 2) WITH CHECK (a = 3);
        REVOKE EXECUTE ON FUNCTION pg_catalog.lower(text) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC;",
    )
    .await;
    let catalog = load(server().socket("postgres", "routines")).await;
    let public = &catalog.schemas["public"];
    let closed = &public.functions["closed"][0];
    assert!(!closed.public && closed.volatility == Volatility::Immutable);
    let gathers = &public.functions["gathers"][0];
    assert!(gathers.public && gathers.definer && gathers.origin == Origin::User);
    assert_eq!((&*gathers.inputs, gathers.defaults), ([25, 1007].as_slice(), 2));
    assert_eq!((gathers.variadic, gathers.result), (23, 1082));
    // Its transition function is volatile.
    assert_eq!(public.functions["total"][0].volatility, Volatility::Volatile);
    let system = &catalog.schemas["pg_catalog"].functions;
    let public_of = |name: &str, arguments: &str| {
        system[name].iter().find(|function| &*function.arguments == arguments).unwrap().public
    };
    assert!(public_of("upper", "text") && !public_of("lower", "text"));
    assert!(public_of("pg_read_file", "text") && !public_of("pg_ls_dir", "text"));

    let routine = |name: &str, arguments: &str| Routine {
        name: QualifiedName::new("public", name),
        arguments: arguments.into(),
    };
    let closed = vec![routine("closed", "integer")];
    assert_eq!(catalog.types[&public.type_ids["positive"]].checks, closed);
    assert_eq!(catalog.types[&public.type_ids["_positive"]].element, public.type_ids["positive"]);
    let cast = &catalog.called_casts[..];
    assert!(
        matches!(cast, [only] if only.automatic && only.function == routine("number", "public.mood"))
    );
    assert!(catalog.casts[&(23, 20)]);
    assert!(!catalog.casts[&(20, 23)]);
    let definition = |name: &str| catalog.relation("public", name).unwrap().definition.clone();
    let table = definition("t").unwrap();
    assert!(table.on_read.is_empty() && table.on_write == closed);
    let sequence = Some(QualifiedName::new("public", "t_id_seq"));
    assert_eq!(
        table.defaults,
        [SequenceDefault { column: Some("id".into()), sequence: sequence.clone() }]
    );
    for view in ["v", "w"] {
        let view = definition(view).unwrap();
        assert!(view.on_read == closed && view.on_write == closed);
        assert_eq!(view.defaults, [SequenceDefault { column: None, sequence: sequence.clone() }]);
    }
    let policies = definition("p").unwrap().policies;
    let policies: Vec<_> = policies.iter().map(|p| (p.commands, &*p.condition)).collect();
    assert_eq!(policies, [("rawd", "(a = 1)"), ("w", "(a = 2)"), ("w", "(a = 3)")]);
    let number = catalog.sequences.iter().find(|(_, name)| &*name.name == "t_id_seq").unwrap().0;
    let found = query(&mut connection, "SELECT 't_id_seq'::regclass::oid").await.unwrap();
    assert_eq!(found[0][0], Some(number.to_string()));
}

#[tokio::test]
async fn row_security_that_the_account_would_bypass_is_marked() {
    let mut connection = server().database("secured").await;
    run(
        &mut connection,
        "CREATE TABLE plain (a int); CREATE TABLE secured (a int); CREATE TABLE forced (a int);
         ALTER TABLE secured OWNER TO owner; ALTER TABLE forced OWNER TO owner;
         ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
         ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
         ALTER TABLE forced FORCE ROW LEVEL SECURITY;",
    )
    .await;
    for (user, secured, forced) in
        [("postgres", true, true), ("member", true, false), ("other", false, false)]
    {
        let catalog = load(server().socket(user, "secured")).await;
        let bypassed = |name: &str| catalog.relation("public", name).unwrap().bypassed_row_security;
        let found = (bypassed("plain"), bypassed("secured"), bypassed("forced"));
        assert_eq!(found, (false, secured, forced), "{user}");
    }
}

#[tokio::test]
async fn every_change_of_a_name_is_noticed_and_nothing_else() {
    let mut connection = server().database("changing").await;
    let catalogs = Catalogs::spawn(server().socket("postgres", "changing"), NEVER);
    let mut version = catalogs.refresh().await.unwrap().version;
    for sql in [
        "CREATE SCHEMA s",
        "CREATE TABLE t (a int, b int)",
        "ALTER TABLE t ADD c int",
        "ALTER TABLE t RENAME b TO d",
        "ALTER TABLE t DROP d",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u SET SCHEMA s",
        "CREATE SEQUENCE q",
        "ALTER SEQUENCE q SET SCHEMA s",
        "ALTER SEQUENCE s.q OWNED BY s.u.a",
        "ALTER SEQUENCE s.q OWNED BY s.u.c",
        "ALTER SEQUENCE s.q OWNED BY NONE",
        "ALTER TABLE s.u ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE s.u DISABLE ROW LEVEL SECURITY",
        "CREATE VIEW v AS SELECT 1 AS x",
        "ALTER VIEW v RENAME x TO y",
        "DROP VIEW v",
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION f(int) RENAME TO g",
        "DROP FUNCTION g(int)",
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        "DROP OPERATOR === (int, int)",
        "CREATE DOMAIN d AS int",
        "ALTER DOMAIN d RENAME TO e",
        "DROP DOMAIN e",
        "CREATE TYPE mood AS ENUM ()",
        "ALTER SCHEMA s RENAME TO r",
        "CREATE INDEX i ON r.u (a)",
        "DROP TABLE r.u",
        "GRANT USAGE ON SCHEMA r TO PUBLIC",
        "CREATE FUNCTION c(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END'",
        "REVOKE EXECUTE ON FUNCTION c(int) FROM PUBLIC",
        "CREATE TABLE k (a int)",
        "ALTER TABLE k ADD CHECK (c(a))",
        "CREATE SEQUENCE z",
        "ALTER TABLE k ALTER a SET DEFAULT nextval('z')",
        "CREATE POLICY p ON k USING (true)",
        "CREATE VIEW l AS SELECT a FROM k",
        "CREATE OR REPLACE VIEW l AS SELECT a FROM k WHERE c(a)",
        "ALTER POLICY p ON k USING (c(a))",
        "ALTER VIEW l SET (security_invoker = on)",
        "CREATE CAST (text AS point) WITH INOUT",
        "DROP CAST (text AS point)",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.lower(text) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION pg_catalog.lower(text) TO PUBLIC",
        "CREATE TABLE upper (a int PRIMARY KEY); CREATE TABLE lower (a int); CREATE FUNCTION tf() \
            RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER t BEFORE INSERT ON lower FOR EACH ROW EXECUTE FUNCTION tf()",
        "ALTER TABLE lower ADD FOREIGN KEY (a) REFERENCES upper ON DELETE CASCADE",
        "DROP TRIGGER t ON lower",
        "BEGIN; CREATE TABLE twice (a int); CREATE TABLE thrice (a int); COMMIT",
    ] {
        run(&mut connection, sql).await;
        let fresh = catalogs.refresh().await.unwrap();
        assert!(fresh.version > version, "{sql}");
        assert_eq!(catalogs.current().unwrap().version, fresh.version);
        version = fresh.version;
    }
    for sql in [
        "SELECT 1",
        "INSERT INTO twice VALUES (1)",
        "TRUNCATE twice",
        "ANALYZE",
        "VACUUM FULL twice",
        "BEGIN; CREATE TABLE undone (a int); ROLLBACK",
        "CREATE TEMP TABLE temporary (id serial, a text)",
        "CREATE OR REPLACE VIEW pg_temp.v AS SELECT 1",
        "COMMENT ON TABLE twice IS 'x'",
        "GRANT SELECT ON twice TO trusty",
        "DROP TABLE temporary",
    ] {
        run(&mut connection, sql).await;
        assert_eq!(catalogs.refresh().await.unwrap().version, version, "{sql}");
    }
}

#[tokio::test]
async fn changes_of_others_are_noticed_by_and_by() {
    let mut connection = server().database("watched").await;
    let target = server().socket("postgres", "watched");
    let catalogs = Catalogs::spawn(target, Duration::from_millis(50));
    catalogs.refresh().await.unwrap();
    let mut watch = catalogs.watch();
    watch.mark_unchanged();
    run(&mut connection, "CREATE TABLE later (a int)").await;
    timeout(Duration::from_secs(10), watch.changed()).await.unwrap().unwrap();
    assert!(watch.borrow().as_ref().unwrap().relation("public", "later").is_some());
    run(&mut connection, "INSERT INTO later VALUES (1)").await;
    assert!(timeout(Duration::from_millis(500), watch.changed()).await.is_err());
    drop(catalogs);
    // The task ends with its last handle, and says so to those who still watch.
    assert!(timeout(Duration::from_secs(10), watch.changed()).await.unwrap().is_err());
}

#[tokio::test]
async fn what_one_has_noticed_others_know_at_once() {
    let mut connection = server().database("shared").await;
    let target = || server().socket("postgres", "shared");
    let (one, other) = (Catalogs::spawn(target(), NEVER), Catalogs::spawn(target(), NEVER));
    let mut known = other.refresh().await.unwrap().version;
    one.refresh().await.unwrap();
    let mut watch = other.watch();
    for number in 0..5 {
        watch.mark_unchanged();
        run(&mut connection, &format!("CREATE TABLE t{number} (a int)")).await;
        let fresh = one.refresh().await.unwrap();
        timeout(Duration::from_secs(10), watch.changed()).await.unwrap().unwrap();
        let heard = watch.borrow().clone().unwrap();
        assert!(heard.same_content(&fresh) && heard.version > known);
        known = heard.version;
    }
}

#[tokio::test]
async fn whoever_notifies_makes_it_look_and_no_more() {
    let mut connection = server().database("noisy").await;
    let catalogs = Catalogs::spawn(server().socket("postgres", "noisy"), NEVER);
    let version = catalogs.refresh().await.unwrap().version;
    let before = catalogs.status().confirmed;
    let mut watch = catalogs.watch();
    watch.mark_unchanged();
    let noise = "SELECT pg_notify('daypass_catalog', repeat('x', 7999)), \
        pg_notify('daypass_catalog', n::text) FROM generate_series(1, 5000) n";
    run(&mut connection, noise).await;
    while catalogs.status().confirmed == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(catalogs.refresh().await.unwrap().version, version);
    assert!(!watch.has_changed().unwrap());
    // What it hears while it looks is not lost.
    run(&mut connection, &format!("{noise}; CREATE TABLE made (a int); {noise}")).await;
    timeout(Duration::from_secs(10), watch.changed()).await.unwrap().unwrap();
    assert!(catalogs.current().unwrap().relation("public", "made").is_some());
    assert_eq!(catalogs.status().error, None);
}

#[tokio::test]
async fn a_lost_connection_is_made_anew() {
    let mut connection = server().database("lost").await;
    let catalogs = Catalogs::spawn(server().socket("postgres", "lost"), NEVER);
    let version = catalogs.refresh().await.unwrap().version;
    let before = catalogs.status();
    assert_eq!((before.version, before.error), (Some(version), None));
    assert!(catalogs.parameters().iter().any(|(name, _)| name == "server_version"));
    run(
        &mut connection,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = 'lost' AND application_name = 'daypass'",
    )
    .await;
    assert_eq!(catalogs.refresh().await.unwrap().version, version);

    let (a, b, c) = tokio::join!(catalogs.refresh(), catalogs.refresh(), catalogs.refresh());
    assert!([a, b, c].into_iter().all(|catalog| catalog.unwrap().version == version));
}

#[tokio::test]
async fn a_server_that_is_away_is_reported_and_waited_for() {
    let catalogs = Catalogs::spawn(server().socket("postgres", "not_yet"), NEVER);
    let error = catalogs.refresh().await.unwrap_err();
    assert!(error.to_string().contains("3D000"), "{error}");
    assert!(catalogs.current().is_none());
    assert!(catalogs.status().error.unwrap().contains("3D000"));
    let _connection = server().database("not_yet").await;
    let mut watch = catalogs.watch();
    timeout(Duration::from_secs(20), watch.changed()).await.unwrap().unwrap();
    assert_eq!(catalogs.status().error, None);
}

#[tokio::test]
async fn a_successor_knows_at_once_what_was_known() {
    let mut connection = server().database("succeeded").await;
    let before = Catalogs::spawn(server().socket("postgres", "succeeded"), NEVER);
    let known = before.refresh().await.unwrap();
    let after = before.succeed(server().socket("postgres", "succeeded"), NEVER);
    drop(before);
    assert_eq!(after.current().unwrap().version, known.version);
    assert!(!after.parameters().is_empty());
    // The same names are the same catalog: what was analysed under it still counts.
    assert_eq!(after.refresh().await.unwrap().version, known.version);
    run(&mut connection, "CREATE TABLE fresh (id int)").await;
    let changed = after.refresh().await.unwrap();
    assert_ne!(changed.version, known.version);
    assert_eq!(columns(&changed, "public", "fresh"), ["id"]);
}

#[tokio::test]
async fn relations_that_run_somebodys_code_are_marked() {
    let mut connection = server().database("coded").await;
    run(
        &mut connection,
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
        CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TABLE plain (a int DEFAULT abs(-1) CHECK (a > 0), b int PRIMARY KEY);
        CREATE INDEX ON plain (abs(a));
        CREATE TABLE plainer (a int REFERENCES plain ON DELETE CASCADE);
        CREATE VIEW plain_view AS SELECT abs(a) FROM plain;
        CREATE TABLE triggered (a int PRIMARY KEY);
        CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION tf();
        CREATE TABLE defaulted (a int DEFAULT f(1)); CREATE TABLE checked (a int CHECK (f(a) > 0));
        CREATE TABLE indexed (a int); CREATE INDEX ON indexed (f(a));
        CREATE TABLE guarded (a int); CREATE POLICY p ON guarded USING (f(a) > 0);
        CREATE VIEW seen AS SELECT f(a) FROM plainer; CREATE VIEW over AS SELECT * FROM seen;
        CREATE TABLE parent (a int); CREATE TABLE child (b int DEFAULT f(2)) INHERITS (parent);
        CREATE TABLE acted (a int PRIMARY KEY);
        CREATE TABLE acting (a int REFERENCES acted ON DELETE CASCADE, b int CHECK (f(b) > 0));",
    )
    .await;
    let catalog = load(server().socket("postgres", "coded")).await;
    let marked = |name: &str| catalog.relation("public", name).unwrap().runs_code;
    for name in [
        "triggered",
        "defaulted",
        "checked",
        "indexed",
        "guarded",
        "seen",
        "over",
        "parent",
        "child",
        "acted",
        "acting",
    ] {
        assert!(marked(name), "{name}");
    }
    for name in ["plain", "plain_view"] {
        assert!(!marked(name), "{name}");
    }
}

/// The server writes out no definition of a table that somebody else is changing before he is done.
#[tokio::test]
async fn a_migration_that_takes_its_time_holds_up_nobody() {
    let mut connection = server().database("slow").await;
    run(
        &mut connection,
        "CREATE TABLE rows (id int); CREATE POLICY few ON rows USING (id < 3);
        CREATE VIEW seen WITH (security_invoker = on) AS SELECT id FROM rows",
    )
    .await;
    let target = server().socket("postgres", "slow");
    let catalogs = Catalogs::spawn(target.clone(), NEVER);
    let first = catalogs.refresh().await.unwrap();
    let told = |catalog: &Catalog| {
        let of = |name| catalog.relation("public", name).unwrap().definition.clone().unwrap();
        (of("rows").policies[0].condition.clone(), of("seen").invoker_query.clone().unwrap())
    };
    let before = told(&first);
    assert!(before.0.contains("id < 3") && before.1.contains("rows.id"), "{before:?}");
    let mut migration = server().superuser("slow").await;
    run(&mut migration, "BEGIN; ALTER TABLE rows RENAME id TO number").await;
    run(&mut connection, "CREATE TABLE made_meanwhile ()").await;
    let patience = Duration::from_secs(30);
    let meanwhile = timeout(patience, catalogs.refresh()).await.unwrap().unwrap();
    assert!(meanwhile.relation("public", "made_meanwhile").is_some());
    assert_eq!(told(&meanwhile), before);
    // Whoever has never read them does not take them for nothing: they are refused as not understood.
    let late = Catalogs::spawn(target, NEVER);
    let unread = timeout(patience, late.refresh()).await.unwrap().unwrap();
    assert_eq!(told(&unread), (")".into(), ")".into()));
    run(&mut migration, "ROLLBACK").await;
    // Nothing has changed, and yet there is something to read.
    assert_eq!(told(&late.refresh().await.unwrap()), before);
    run(&mut migration, "ALTER TABLE rows RENAME id TO number").await;
    let after = told(&catalogs.refresh().await.unwrap());
    assert!(after.0.contains("number < 3") && after.1.contains("rows.number"), "{after:?}");
}
