//! Tools that ask the catalogs before they show anything: pgjdbc, DBeaver, psql's backslash commands.

use std::path::Path;

use crate::House;
use crate::support::{
    Config, Shell, Version, java, newer_psql, packaged_psql, root, run, versions_available,
};

/// Something of every kind that a tool describes, beside the tables of the house.
pub(crate) const OBJECTS: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE pair AS (one int, two text);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE items (
        order_id int REFERENCES orders, n int, amount positive DEFAULT 1, mood mood, tags text[],
        at timestamptz, whole int GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (order_id, n)
    );
    CREATE INDEX items_by_mood ON items (mood, lower(tags[1])) WHERE n > 0;
    CREATE STATISTICS items_statistics ON n, amount FROM items;
    INSERT INTO items VALUES (1, 1, 3, 'ok', '{red,blue}', '2026-01-02 03:04:05Z');
    COMMENT ON TABLE orders IS 'what was ordered';
    COMMENT ON COLUMN items.mood IS 'how it looked';
    CREATE VIEW totals AS SELECT status, sum(total) AS total FROM orders GROUP BY status;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM totals;
    CREATE FUNCTION doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
    CREATE PROCEDURE nothing(INOUT n int) LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touched BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE RULE silent AS ON DELETE TO totals DO INSTEAD NOTHING;
    CREATE TABLE parts (id int, kind text) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
    CREATE TABLE parents (id int); CREATE TABLE children (extra int) INHERITS (parents);
    ALTER TABLE parents ENABLE ROW LEVEL SECURITY;
    CREATE POLICY visible ON parents FOR SELECT USING (id > 1);
    CREATE SCHEMA other; CREATE TABLE other.secrets (secret text);
    GRANT SELECT ON orders TO pg_read_all_data;
";

fn house() -> House {
    house_on(None)
}

fn house_on(version: Option<Version>) -> House {
    let house = House::on(version, Config::new());
    // Nothing but the tests is to change what the catalogs say.
    house.server.configure(&["autovacuum = off"]);
    house.server.sql_in("shop", OBJECTS);
    house
}

fn jdbc_url(port: u16) -> String {
    format!("jdbc:postgresql://127.0.0.1:{port}/shop")
}

#[test]
fn pgjdbc_does_what_it_does() {
    const CHECKS: [&str; 16] = [
        "simple",
        "prepared",
        "types",
        "fetch",
        "batch",
        "rewritten batch",
        "generated keys",
        "copy",
        "metadata",
        "session",
        "denial",
        "transaction",
        "autosave",
        "cancel",
        "timeout",
        "notification",
    ];
    let house = house();
    let privileges =
        ["READ ON TABLE public.orders", "READ ON TABLE public.items", "WRITE ON public.notes"];
    let token = house.principal("jim", &privileges);
    let url = jdbc_url(house.daypass.port());
    let output = java("Driver.java", &[&url, "jim", &token]);
    let expected: Vec<_> = CHECKS.iter().map(|name| format!("ok {name}")).collect();
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), expected, "{}", output.stderr);

    // Each execution has left its records, with what was bound.
    let records = house.daypass.audit();
    let bound = records.iter().filter(|record| {
        record["kind"] == "decision"
            && record["text"] == "SELECT total FROM orders WHERE id = $1"
            && record["decision"] == "allow"
            && !record["parameters"][0].is_null()
    });
    assert_eq!(bound.count(), 8);
    assert!(!house.server.log().contains("FROM customers"), "the server saw what was refused");
}

#[test]
fn what_dbeaver_asks_is_answered_as_by_the_server() {
    let file = root().join("tests/clients/dbeaver.sql");
    let statements = std::fs::read_to_string(&file).unwrap();
    let refused = statements.matches("\n-- refused ").count();
    // The distribution's server, and the newest there is.
    for version in [None, versions_available().pop()] {
        let house = house_on(version);
        let token = house.principal("dora", &["READ ON SCHEMA public"]);
        let (proxy, server) = (jdbc_url(house.daypass.port()), jdbc_url(house.server.port()));
        let arguments = [&proxy, "dora", &token, &server, "postgres", file.to_str().unwrap()];
        let output = java("Replay.java", &arguments);
        let said: Vec<_> = output.stdout.lines().collect();
        let [last] = said.as_slice() else { panic!("{} {output:#?}", house.server.major()) };
        assert!(last.ends_with(&format!(", refused {refused}")), "{last}");
        let ran: usize = last.split([' ', ',']).nth(1).unwrap().parse().unwrap();
        assert!(ran > 70, "{last}");
    }
}

/// What shows what there is.
const SHOWN: &str = r"
    \d  \d+  \dS+  \d items  \d+ items  \d totals  \d+ totals  \d+ kept  \d+ parts  \d+ parts_low
    \d+ parents  \d+ children  \d notes_id_seq  \d+ items_by_mood  \d+ pair  \d+ pg_class
    \da+  \dA+  \dAc+  \dAf+  \dAo+  \dAp+  \db+  \dc+  \dC+  \dd  \dD+  \ddp  \dE+  \des+  \det+
    \dew+  \df  \df+  \dfS+  \dF+  \dFd+  \dFp+  \dFt+  \dg+  \di+  \dl+  \dL+  \dm+  \dn+  \do+
    \dO+  \dp  \dP+  \drds  \dRp+  \ds+  \dt  \dt+  \dtS+  \dT+  \du  \du+  \dv+  \dx+  \dX+  \dy+
    \l  \l+  \z  \sf doubled  \sf+ doubled  \sv totals  \sv+ totals  \encoding
";

/// What is refused, and why.
const REFUSED: [(&str, &str); 3] = [
    (r"\deu+", "42501"),     // options of user mappings hold passwords
    (r"\dRs+", "42501"),     // connection strings of subscriptions do, too
    (r"\dconfig+", "0A000"), // pg_catalog.current_setting() of whatever setting
];

fn check_backslash_commands(program: &Path, major: u32, more: &[&str]) {
    let version = versions_available().into_iter().find(|version| version.major == major);
    assert!(version.is_some(), "PostgreSQL {major} is missing: run scripts/install servers");
    let house = house_on(version);
    let token = house.principal("gus", &["READ ON SCHEMA public"]);
    let through = house.daypass.env("gus", &token, "shop");
    let direct = house.server.env("postgres", "shop");
    let open = |env: &[(&'static str, String)]| {
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut psql = Shell::open_with(program, &env);
        // With headings and footers.
        psql.run(r"\t off").expect_success();
        psql
    };
    let (mut through, mut direct) = (open(&through), open(&direct));
    let shown = SHOWN.split("  ").map(str::trim).filter(|command| !command.is_empty());
    for command in shown.chain(more.iter().copied()) {
        let (expected, found) = (direct.run(command), through.run(command));
        assert!(found.stderr.is_empty(), "{command}: {found:?}");
        assert_eq!(found.stdout, expected.stdout, "{command}");
    }
    for (command, sqlstate) in REFUSED {
        assert!(direct.run(command).stderr.is_empty(), "{command}");
        assert_eq!(through.run(command).sqlstates(), [sqlstate], "{command}");
    }
}

#[test]
fn psql_shows_through_the_proxy_what_it_shows_directly() {
    check_backslash_commands(&packaged_psql(), 15, &[r"SELECT id, total FROM orders \gdesc"]);
}

#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    ignore = "PyPI has a newer psql for x86-64 Linux"
)]
fn a_newer_psql_shows_through_the_proxy_what_it_shows_directly() {
    let newer = newer_psql();
    let version = run(std::process::Command::new(&newer).arg("--version"), "").stdout;
    assert!(version.contains(" 17."), "{version}");
    let more = [r"\drg", r"SELECT id, total FROM orders \gdesc", r"SELECT $1::int + 1 \bind 41 \g"];
    check_backslash_commands(&newer, 17, &more);
}
