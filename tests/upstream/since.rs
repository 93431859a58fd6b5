//! Reading only what has changed comes to the same as reading everything, whatever is changed and by whom.

use std::time::Duration;

use daypass::sql::catalog::Catalog;
use daypass::upstream::{Catalogs, Connection, Extent, Reading, Startup, catalog, connect, query};
use daypass::wire::postgres::{frame, reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::server;

const NEVER: Duration = Duration::from_secs(3_600);

/// Numbers that look random and are the same each time (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What may happen in the schema `{s}`, to its tables, views and functions 0 to 3. Much of it fails, as a rule
/// because there is no such thing, or there is one already.
const CHANGES: &[&str] = &[
    "CREATE TABLE {s}.t{n} (id serial PRIMARY KEY, a int DEFAULT 1, b text DEFAULT lower('X') CHECK (b <> ''))",
    "CREATE TABLE {s}.t{n} (a int, b text, c bigint GENERATED ALWAYS AS IDENTITY)",
    "CREATE TABLE {s}.t{n} ()",
    "CREATE TABLE {s}.t{n} (a int CHECK ({s}.f{m}(1)), b text)",
    "DROP TABLE {s}.t{n}",
    "DROP TABLE {s}.t{n} CASCADE",
    "ALTER TABLE {s}.t{n} ADD c{m} int",
    "ALTER TABLE {s}.t{n} ADD d{m} int DEFAULT nextval('{s}.q{m}')",
    "ALTER TABLE {s}.t{n} DROP a",
    "ALTER TABLE {s}.t{n} DROP b CASCADE, DROP COLUMN IF EXISTS id CASCADE, DROP COLUMN IF EXISTS a CASCADE",
    "ALTER TABLE {s}.t{n} RENAME a TO b{m}",
    "ALTER TABLE {s}.t{n} RENAME b TO a",
    "ALTER TABLE {s}.t{n} ALTER a TYPE bigint",
    "ALTER TABLE {s}.t{n} RENAME TO t{m}",
    "ALTER TABLE {s}.t{n} SET SCHEMA {s}2",
    "ALTER TABLE {s}2.t{n} SET SCHEMA {s}",
    "ALTER SCHEMA {s}2 RENAME TO {s}3",
    "ALTER SCHEMA {s}3 RENAME TO {s}2",
    "CREATE SCHEMA {s}2",
    "DROP SCHEMA {s}2 CASCADE",
    "ALTER TABLE {s}.t{n} ALTER a SET DEFAULT nextval('{s}.q{m}')",
    "ALTER TABLE {s}.t{n} ALTER a DROP DEFAULT",
    "ALTER TABLE {s}.t{n} ADD CONSTRAINT k{m} CHECK ({s}.f{m}(1))",
    "ALTER TABLE {s}.t{n} DROP CONSTRAINT k{m}",
    "ALTER TABLE {s}.t{n} ADD FOREIGN KEY (a) REFERENCES {s}.t{m} ON DELETE CASCADE",
    "ALTER TABLE {s}.t{n} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {s}.t{n} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {s}.t{n} OWNER TO owner",
    "CREATE POLICY p{m} ON {s}.t{n} USING ({s}.f{m}(1))",
    "DROP POLICY p{m} ON {s}.t{n}",
    "CREATE TRIGGER g{m} BEFORE INSERT ON {s}.t{n} FOR EACH ROW WHEN ({s}.f{m}(1)) EXECUTE FUNCTION tf()",
    "DROP TRIGGER g{m} ON {s}.t{n}",
    "CREATE RULE r{m} AS ON UPDATE TO {s}.t{n} WHERE {s}.f{m}(1) DO INSTEAD NOTHING",
    "DROP RULE r{m} ON {s}.t{n}",
    "CREATE INDEX i{m} ON {s}.t{n} (({s}.f{m}(1)))",
    "DROP INDEX {s}.i{m}",
    "CREATE TABLE {s}.t{n} (z int) INHERITS ({s}.t{m})",
    "ALTER TABLE {s}.t{n} NO INHERIT {s}.t{m}",
    "ALTER TABLE {s}.t{n} INHERIT {s}.t{m}",
    "CREATE TABLE {s}.t{n} (a int) PARTITION BY RANGE (abs(a))",
    "CREATE TABLE {s}.t{n} PARTITION OF {s}.t{m} DEFAULT",
    "ALTER TABLE {s}.t{m} DETACH PARTITION {s}.t{n}",
    "CREATE OR REPLACE VIEW {s}.v{n} AS SELECT a FROM {s}.t{m}",
    "CREATE OR REPLACE VIEW {s}.v{n} AS SELECT a FROM {s}.t{m} WHERE {s}.f{m}(1)",
    "CREATE VIEW {s}.v{n} AS SELECT * FROM {s}.v{m}",
    "CREATE VIEW {s}.v{n} AS SELECT pg_read_file('x') AS a",
    "ALTER VIEW {s}.v{n} RENAME a TO x{m}",
    "ALTER VIEW {s}.v{n} SET (security_invoker = on)",
    "ALTER VIEW {s}.v{n} RESET (security_invoker)",
    "DROP VIEW {s}.v{n} CASCADE",
    "CREATE MATERIALIZED VIEW {s}.m{n} AS SELECT a FROM {s}.t{m}",
    "DROP MATERIALIZED VIEW {s}.m{n}",
    "CREATE OR REPLACE FUNCTION {s}.f{n}(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END'",
    "CREATE OR REPLACE FUNCTION {s}.f{n}(int) RETURNS bool LANGUAGE plpgsql STABLE SECURITY DEFINER AS 'BEGIN RETURN true; END'",
    "DROP FUNCTION {s}.f{n} CASCADE",
    "ALTER FUNCTION {s}.f{n} RENAME TO f{m}",
    "REVOKE EXECUTE ON FUNCTION {s}.f{n} FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION {s}.f{n} TO PUBLIC",
    "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {s} FROM PUBLIC",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {s} TO PUBLIC",
    "CREATE SEQUENCE {s}.q{n}",
    "ALTER SEQUENCE {s}.q{n} OWNED BY {s}.t{m}.a",
    "ALTER SEQUENCE {s}.q{n} OWNED BY NONE",
    "ALTER SEQUENCE {s}.q{n} RENAME TO q{m}",
    "DROP SEQUENCE {s}.q{n} CASCADE",
    "CREATE DOMAIN {s}.d{n} AS int CHECK ({s}.f{m}(VALUE))",
    "DROP DOMAIN {s}.d{n} CASCADE",
    "ALTER TABLE {s}.t{n} ADD e{m} {s}.d{m}",
    "CREATE TYPE {s}.y{n} AS (l int, r text)",
    "ALTER TYPE {s}.y{n} ADD ATTRIBUTE o{m} int",
    "ALTER TYPE {s}.y{n} RENAME TO y{m}",
    "DROP TYPE {s}.y{n} CASCADE",
    "GRANT USAGE ON SCHEMA {s} TO PUBLIC",
    "REVOKE USAGE ON SCHEMA {s} FROM PUBLIC",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {s} TO trusty",
    "COMMENT ON TABLE {s}.t{n} IS 'x'",
    "CREATE UNLOGGED TABLE {s}.t{n} (a int, b text)",
    "ALTER TABLE {s}.t{n} SET UNLOGGED",
    "ALTER TABLE {s}.t{n} SET LOGGED",
    "CREATE OR REPLACE VIEW {s}.v{n} AS SELECT a FROM {s}.t{m} WHERE a = pg_backend_pid()",
    "CREATE OR REPLACE VIEW {s}.v{n} AS SELECT pid AS a FROM pg_stat_activity",
    "CREATE OR REPLACE FUNCTION {s}.f{n}(int) RETURNS bool LANGUAGE plpgsql STABLE AS 'BEGIN RETURN a FROM v{m}; END'",
    "CREATE OR REPLACE FUNCTION {s}.f{n}(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT {s}.f{m}($1)'",
    "CREATE OR REPLACE FUNCTION {s}.f{n}(int) RETURNS bool LANGUAGE sql STABLE BEGIN ATOMIC SELECT {s}.f{m}(1); END",
    "CREATE OR REPLACE FUNCTION {s}.f{n}(int DEFAULT pg_backend_pid()) RETURNS bool LANGUAGE sql STABLE AS 'SELECT true'",
    "ALTER FUNCTION {s}.f{n} VOLATILE",
    "ALTER FUNCTION {s}.f{n} IMMUTABLE",
    "CREATE POLICY p{m} ON {s}.t{n} USING (a = pg_backend_pid())",
    "ALTER POLICY p{m} ON {s}.t{n} USING (a > 0)",
    "CREATE DOMAIN {s}.d{n} AS int CHECK (VALUE <> pg_backend_pid())",
    "CREATE OPERATOR {s}.## (LEFTARG = int, FUNCTION = {s}.f{n})",
    "CREATE OPERATOR {s}.## (RIGHTARG = int, FUNCTION = {s}.f{n})",
    "DROP OPERATOR {s}.## (NONE, int) CASCADE",
    "CREATE VIEW {s}.v{n} AS SELECT OPERATOR({s}.##) 1 AS a",
    "TRUNCATE {s}.t{n} CASCADE",
    "CREATE TEMP TABLE t{n} (a int, b text)",
    "DROP TABLE pg_temp.t{n}",
];

/// A session with a schema of its own, mostly inside a transaction.
struct Migrator {
    connection: Connection,
    schema: &'static str,
    open: bool,
}

impl Migrator {
    async fn new(schema: &'static str) -> Self {
        let target = server().socket("postgres", "since");
        let mut connection = connect(&target, &Startup::default()).await.unwrap();
        query(&mut connection, &format!("CREATE SCHEMA {schema}")).await.unwrap();
        Self { connection, schema, open: false }
    }

    /// False when the server does not take it.
    async fn try_run(&mut self, sql: &str) -> bool {
        query(&mut self.connection, sql).await.is_ok()
    }

    async fn step(&mut self, dice: &mut Dice) -> String {
        let step = match dice.roll(12) {
            0 if self.open => "COMMIT".to_owned(),
            1 if self.open => "ROLLBACK".to_owned(),
            2 if self.open => "SAVEPOINT one".to_owned(),
            3 if self.open => "ROLLBACK TO one".to_owned(),
            0..3 => "BEGIN".to_owned(),
            _ => {
                let change = CHANGES[usize::try_from(dice.roll(CHANGES.len() as u64)).unwrap()];
                let (n, m) = (dice.roll(4).to_string(), dice.roll(4).to_string());
                change.replace("{s}", self.schema).replace("{n}", &n).replace("{m}", &m)
            }
        };
        if matches!(&*step, "COMMIT" | "ROLLBACK" | "BEGIN") {
            assert!(self.try_run(&step).await);
            self.open = step == "BEGIN";
        } else if self.open && step != "ROLLBACK TO one" && step != "SAVEPOINT one" {
            assert!(self.try_run("SAVEPOINT step").await);
            let end = if self.try_run(&step).await { "RELEASE step" } else { "ROLLBACK TO step" };
            assert!(self.try_run(end).await);
        } else if !self.try_run(&step).await && self.open {
            // There was no such savepoint.
            assert!(self.try_run("ROLLBACK").await);
            self.open = false;
        }
        step
    }

    /// What this session sees, knowing `shared`.
    async fn sees(&mut self, shared: &Catalog) -> Catalog {
        let mut reading = Reading::new(Extent::Everything, shared);
        let mut out = Vec::new();
        reply::query(&mut out, &reading.query(self.open));
        self.connection.stream.write_all(&out).await.unwrap();
        self.connection.stream.flush().await.unwrap();
        loop {
            let buffer = &mut self.connection.buffer;
            let header =
                frame::header(buffer).unwrap().filter(|header| header.total <= buffer.len());
            let Some(header) = header else {
                assert_ne!(self.connection.stream.read_buf(buffer).await.unwrap(), 0);
                continue;
            };
            let whole = buffer.split_to(header.total);
            match header.tag {
                b'D' => reading.on_row(&whole[frame::HEADER_BYTES..]).unwrap(),
                b'C' => reading.on_complete(),
                b'E' => panic!("{}", String::from_utf8_lossy(&whole)),
                b'Z' => break,
                _ => {}
            }
        }
        let (catalog, complete) = reading.finish(shared);
        assert!(complete);
        catalog
    }
}

/// Where two catalogs differ.
fn difference(one: &Catalog, other: &Catalog) -> String {
    let mut found = String::new();
    for (name, schema) in &one.schemas {
        let Some(same) = other.schemas.get(name) else {
            found += &format!("schema {name} in one; ");
            continue;
        };
        for (relation, is) in &schema.relations {
            if same.relations.get(relation) != Some(is) {
                found +=
                    &format!("{name}.{relation}: {is:?} / {:?}; ", same.relations.get(relation));
            }
        }
        for relation in same.relations.keys().filter(|it| !schema.relations.contains_key(*it)) {
            found += &format!("{name}.{relation} in the other; ");
        }
        if schema.functions != same.functions || schema.restricted != same.restricted {
            found += &format!("functions or rights of {name}; ");
        }
    }
    format!("{found}types {}", one.types == other.types)
}

/// The order of what definitions call is that in which the server found it.
fn sorted(catalog: &Catalog) -> Catalog {
    let mut sorted = catalog.clone();
    for schema in sorted.schemas.values_mut() {
        for relation in std::sync::Arc::make_mut(schema).relations.values_mut() {
            let Some(definition) = &mut relation.definition else { continue };
            definition.on_read.sort_by_key(|routine| format!("{routine:?}"));
            definition.on_write.sort_by_key(|routine| format!("{routine:?}"));
            definition.defaults.sort_by_key(|default| format!("{default:?}"));
            definition.policies.sort_by_key(|policy| format!("{policy:?}"));
            definition.invokers_below.sort_by_key(|name| format!("{name:?}"));
        }
    }
    for found in sorted.types.values_mut() {
        found.checks.sort_by_key(|routine| format!("{routine:?}"));
    }
    sorted
}

/// Leaves out definitions that the full load could not write out, because a migrator has locked what they are of:
/// what is known from before stands for them where anything is.
fn without_unread(catalog: &Catalog, full: &Catalog) -> Catalog {
    let mut left = catalog.clone();
    for (name, schema) in &mut left.schemas {
        for (name_of, relation) in &mut std::sync::Arc::make_mut(schema).relations {
            let of_full = full.relation(name, name_of).and_then(|it| it.definition.as_deref());
            let (Some(definition), Some(full)) = (&mut relation.definition, of_full) else {
                continue;
            };
            if full.policies.iter().any(|policy| &*policy.condition == ")") {
                definition.policies.clear();
            }
            if full.invoker_query.as_deref() == Some(")") {
                definition.invoker_query = None;
            }
        }
    }
    left
}

fn assert_same(one: &Catalog, full: &Catalog, what: &str) {
    let (one, full) = (without_unread(one, full), without_unread(full, full));
    let (one, full) = (sorted(&one), sorted(&full));
    assert!(one.same_content(&full), "{what}: {}", difference(&one, &full));
}

#[tokio::test]
async fn what_has_changed_since_makes_up_the_whole() {
    let mut housekeeper = server().database("since").await;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let steps = std::env::var("STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(400);
    let mut dice = Dice(seed);
    query(
        &mut housekeeper,
        "CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         SET lock_timeout = '100ms'",
    )
    .await
    .unwrap();
    let target = server().socket("postgres", "since");
    let catalogs = Catalogs::spawn(target.clone(), NEVER);
    let mut whole = connect(&target, &Startup::default()).await.unwrap();
    let mut migrators =
        [Migrator::new("a").await, Migrator::new("b").await, Migrator::new("c").await];
    let mut shared = catalogs.refresh().await.unwrap();
    let mut log = Vec::new();
    for number in 0..steps {
        let migrator = &mut migrators[usize::try_from(dice.roll(3)).unwrap()];
        let step = migrator.step(&mut dice).await;
        log.push(format!("{}: {step}", migrator.schema));
        if log.len() > 40 {
            log.remove(0);
        }
        if dice.roll(60) == 0 {
            let sql = ["VACUUM FREEZE pg_class", "VACUUM FREEZE pg_attribute", "ANALYZE"];
            let sql = sql[usize::try_from(dice.roll(3)).unwrap()];
            // What a migrator has locked would be waited for without an end: then it is left.
            drop(query(&mut housekeeper, sql).await);
        }
        let what = |of: &str| format!("step {number} of seed {seed}, {of}, after {log:#?}");
        // What one session sees, against a shared catalog that may be old.
        if dice.roll(3) == 0 {
            let since = migrator.sees(&shared).await;
            let without = Catalog { mark: None, ..Catalog::clone(&shared) };
            let full = migrator.sees(&without).await;
            assert_same(&since, &full, &what("one session"));
        }
        if dice.roll(4) == 0 {
            shared = catalogs.refresh().await.unwrap();
            let (full, _) = catalog::load(&mut whole, None).await.unwrap();
            assert_same(&shared, &full, &what("everyone"));
        }
    }
}
