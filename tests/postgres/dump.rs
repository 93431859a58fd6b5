//! pg_dump by somebody who may read: it locks, it asks the catalogs for everything, it copies.

use std::process::Command;

use crate::House;
use crate::support::{Config, Output, client, run};

/// Something of most kinds that a dump holds, beside the tables of the house.
const OBJECTS: &str = r#"
    CREATE SCHEMA sales;
    COMMENT ON SCHEMA sales IS 'what is sold';
    CREATE TYPE sales.mood AS ENUM ('sad', 'ok');
    CREATE TYPE sales.pair AS (one int, two text);
    CREATE DOMAIN sales.positive AS int CHECK (VALUE > 0);
    CREATE TYPE sales.span AS RANGE (subtype = int);
    CREATE SEQUENCE sales.numbers START 7 INCREMENT 3;
    SELECT nextval('sales.numbers');
    CREATE TABLE sales.items (
        id bigserial PRIMARY KEY, "Name" text NOT NULL DEFAULT 'x''y', amount sales.positive DEFAULT 1,
        mood sales.mood, tags text[], n int GENERATED ALWAYS AS IDENTITY,
        twice int GENERATED ALWAYS AS (amount * 2) STORED, customer int REFERENCES public.customers,
        CHECK (amount < 100), UNIQUE ("Name", mood, n)
    );
    INSERT INTO sales.items (amount, mood, tags, customer)
        SELECT n, 'ok', ARRAY['a', E'b\n\\'], n FROM generate_series(1, 10) n;
    COMMENT ON TABLE sales.items IS 'what there is';
    COMMENT ON COLUMN sales.items.mood IS 'how it looked';
    CREATE INDEX ON sales.items (lower("Name")) WHERE amount > 1;
    CREATE STATISTICS sales.both ON amount, customer FROM sales.items;
    CREATE TABLE sales.parts (id int, kind text) PARTITION BY LIST (kind);
    CREATE TABLE sales.parts_a PARTITION OF sales.parts FOR VALUES IN ('a');
    INSERT INTO sales.parts VALUES (1, 'a');
    CREATE TABLE sales.child (extra int) INHERITS (public.notes);
    CREATE FUNCTION sales.doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
    COMMENT ON FUNCTION sales.doubled(int) IS 'twice';
    CREATE FUNCTION sales.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touched BEFORE INSERT ON sales.items FOR EACH ROW EXECUTE FUNCTION sales.touch();
    CREATE PROCEDURE sales.nothing(INOUT n int) LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE sales.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE OPERATOR sales.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
    CREATE CAST (sales.mood AS int) WITH INOUT AS ASSIGNMENT;
    CREATE VIEW sales.totals AS SELECT mood, sum(amount) AS total FROM sales.items GROUP BY mood;
    CREATE MATERIALIZED VIEW sales.kept AS SELECT * FROM sales.totals;
    CREATE RULE silent AS ON DELETE TO sales.totals DO INSTEAD NOTHING;
    CREATE PUBLICATION news FOR TABLE sales.items;
    CREATE SUBSCRIPTION feed CONNECTION 'host=there password=secret' PUBLICATION all_of_it
        WITH (connect = false);
    CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;
"#;

fn pg_dump(env: &[(&'static str, String)], args: &[&str]) -> Output {
    let mut command = Command::new(client("pg_dump"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
    {
        command.env_remove(name);
    }
    let mut output =
        run(command.args(args).envs(env.iter().map(|(name, value)| (*name, value))), "");
    // A key of its own for each dump.
    let lines = output.stdout.lines();
    let same =
        lines.filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    output.stdout = same.collect::<Vec<_>>().join("\n");
    output
}

#[test]
fn pg_dump_writes_through_the_proxy_what_it_writes_directly() {
    let house = House::new(Config::new());
    house.server.sql_in("shop", OBJECTS);
    let token = house.principal("dumper", &["READ ON DATABASE"]);
    let through = house.daypass.env("dumper", &token, "shop");
    let direct = house.server.env("reader", "shop");
    for args in [
        &[][..],
        &["--schema-only"],
        &["--data-only", "--inserts"],
        &["--clean", "--if-exists", "--create", "--no-owner"],
        &["--schema=sales", "--column-inserts", "--rows-per-insert=3"],
        &["--table=public.orders", "--no-privileges"],
        &["--serializable-deferrable"],
    ] {
        let (expected, found) = (pg_dump(&direct, args), pg_dump(&through, args));
        assert_eq!(found.status, 0, "{args:?}: {found:?}");
        assert_eq!(found.stderr, expected.stderr, "{args:?}");
        assert_eq!(found.stdout, expected.stdout, "{args:?}");
        assert!(found.stdout.len() > 1_000, "{args:?}: {found:?}");
    }
    // Somebody who may read one table may dump that one, and nothing else.
    let token = house.principal("narrow", &["READ ON TABLE public.orders"]);
    let narrow = house.daypass.env("narrow", &token, "shop");
    let expected = pg_dump(&direct, &["--table=public.orders"]).expect_success();
    assert_eq!(pg_dump(&narrow, &["--table=public.orders"]).expect_success(), expected);
    let refused = pg_dump(&narrow, &["--table=public.customers"]);
    assert!(refused.status != 0 && refused.stderr.contains("public.customers"), "{refused:?}");
}
