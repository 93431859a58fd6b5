//! Names that only one session sees: temporary objects, and definitions that are not committed.

use crate::support::{Config, Daypass, Postgres, Shell, eventually, python};
use crate::{House, house, with_house};

fn open(house: &House, user: &str, privileges: &[&str]) -> Shell {
    let token = house.principal(user, privileges);
    house.daypass.open_psql(user, &token, "shop")
}

fn script(house: &House, user: &str, privileges: &[&str], text: &str) {
    let token = house.principal(user, privileges);
    let env = house.daypass.env(user, &token, "shop");
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(python(text, &env).expect_success(), "done");
}

/// The owner of a schema of its own, with read access to one table elsewhere.
fn migrator(house: &House, user: &str) -> Shell {
    house.server.sql_in("shop", &format!("CREATE SCHEMA {user}"));
    let admin = format!("ADMIN ON SCHEMA {user}");
    open(house, user, &[&admin, "READ ON TABLE public.orders"])
}

#[test]
fn a_migration_in_one_transaction_needs_no_more_than_its_schema() {
    with_house(|house| {
        let mut psql = migrator(house, "mig");
        let lines =
            "SET search_path = mig, public; BEGIN; CREATE TABLE t (id serial PRIMARY KEY, a int);
            ALTER TABLE t ADD COLUMN b text; INSERT INTO t (a, b) VALUES (1, 'x');
            CREATE INDEX ON t (b); UPDATE t SET b = 'y' WHERE a = 1; SELECT b FROM t;
            CREATE VIEW v AS SELECT a FROM t; SELECT count(*) FROM v; COMMIT; SELECT a, b FROM t;";
        assert_eq!(psql.run(lines).expect_success(), "y\n1\n1|y");
        // What its own definition hid is what it was before.
        psql.run("BEGIN; CREATE TABLE customers (a int); SELECT a FROM customers;")
            .expect_success();
        psql.run("SELECT email FROM customers;").expect_sqlstate("42703");
        psql.run("ROLLBACK; SELECT email FROM customers;").expect_sqlstate("42501");
    });
}

#[test]
fn what_a_definition_uncovers_is_decided_by_its_own_name() {
    with_house(|house| {
        let mut psql = migrator(house, "uncover");
        let lines = "SET search_path = uncover, public; CREATE TABLE customers (email text);
            CREATE TABLE orders (id int); INSERT INTO customers VALUES ('own');
            SELECT email FROM customers;";
        assert_eq!(psql.run(lines).expect_success(), "own");
        for gone in ["DROP TABLE customers", "ALTER TABLE customers RENAME TO other"] {
            psql.run(&format!("BEGIN; {gone};")).expect_success();
            psql.run("SELECT email FROM customers;").expect_sqlstate("42501");
            psql.run("ROLLBACK;").expect_success();
            assert_eq!(psql.run("SELECT email FROM customers;").expect_success(), "own");
        }
        // Another may be read in its own right.
        let lines = "BEGIN; DROP TABLE orders; SELECT count(*) FROM orders; ROLLBACK;
            SELECT count(*) FROM orders;";
        assert_eq!(psql.run(lines).expect_success(), "100\n0");
    });
}

#[test]
fn savepoints_take_names_back() {
    with_house(|house| {
        let mut psql = migrator(house, "saver");
        let lines = "SET search_path = saver, public; BEGIN; CREATE TABLE a (x int); SAVEPOINT s;
            DROP TABLE a; CREATE TABLE customers (x int); SELECT x FROM customers; ROLLBACK TO s;
            INSERT INTO a VALUES (1); SELECT x FROM a;";
        assert_eq!(psql.run(lines).expect_success(), "1");
        psql.run("SELECT name FROM customers;").expect_sqlstate("42501");
        // A failed transaction comes back to its savepoint, and with it the names of that moment.
        let lines =
            "ROLLBACK TO s; SELECT count(x) FROM a; SAVEPOINT t; ALTER TABLE a RENAME x TO y;";
        assert_eq!(psql.run(lines).expect_success(), "0");
        psql.run("SELECT 1 / 0;").expect_sqlstate("22012");
        psql.run("ROLLBACK TO t; SELECT x FROM a; RELEASE t; COMMIT; DROP TABLE a;")
            .expect_success();
    });
}

#[test]
fn definitions_that_fail_or_never_happen_leave_names_as_they_were() {
    with_house(|house| {
        let mut psql = migrator(house, "failer");
        psql.run("SET search_path = failer, public; CREATE TABLE a (x int);").expect_success();
        psql.run("BEGIN; CREATE TABLE a (y int);").expect_sqlstate("42P07");
        psql.run("SELECT x FROM a;").expect_sqlstate("25P02");
        psql.run("COMMIT; SELECT x FROM a; DROP TABLE a;").expect_success();
    });
}

#[test]
fn repeatable_read_shows_no_definitions_of_others_so_it_takes_more() {
    with_house(|house| {
        let mut psql = migrator(house, "repeat");
        let lines = "SET search_path = repeat, public; BEGIN ISOLATION LEVEL REPEATABLE READ;
            CREATE TEMP TABLE x AS SELECT id FROM orders; SELECT count(*) FROM x;";
        assert_eq!(psql.run(lines).expect_success(), "100");
        let output = psql.run("CREATE TABLE a (x int); SELECT count(*) FROM orders;");
        output.expect_sqlstate("42501");
        assert!(output.stderr.contains("ADMIN ON DATABASE"), "{output:?}");
        psql.run("ROLLBACK; SELECT count(*) FROM orders;").expect_success();
    });
}

#[test]
fn a_temporary_table_is_its_sessions_own() {
    with_house(|house| {
        let privileges = ["READ ON TABLE public.orders"];
        let mut psql = open(house, "tim", &privileges);
        let lines = "CREATE TEMP TABLE t (id int PRIMARY KEY, note text);
            INSERT INTO t SELECT id, status FROM orders WHERE id < 4; SELECT count(*) FROM t;
            CREATE TEMP TABLE u AS SELECT * FROM t; ALTER TABLE u ADD more int; UPDATE u SET more = 7;
            SELECT sum(more) FROM pg_temp.u JOIN t USING (id); SELECT id INTO TEMP w FROM orders;
            SELECT count(*) FROM w;";
        assert_eq!(psql.run(lines).expect_success(), "3\n21\n100");
        psql.run("CREATE TEMP TABLE x AS SELECT email FROM customers;").expect_sqlstate("42501");
        psql.run("CREATE TEMP VIEW x AS SELECT 1;").expect_sqlstate("0A000");
        // Another session of the same principal sees none of it.
        let mut other = open(house, "tim", &[]);
        other.run("SELECT * FROM t;").expect_sqlstate("42P01");
        let lines = "CREATE TEMP TABLE t (other int); SELECT other FROM t;";
        other.run(lines).expect_success();
        let schema = house
            .server
            .sql_in("shop", "SELECT relnamespace::regnamespace FROM pg_class WHERE relname = 'u'");
        assert!(schema.starts_with("pg_temp_"), "{schema}");
        other.run(&format!("DROP TABLE {schema}.u;")).expect_sqlstate("0A000");
        assert_eq!(psql.run("SELECT count(*) FROM t;").expect_success(), "3");
    });
}

#[test]
fn a_temporary_table_hides_another_as_long_as_it_lives() {
    let _kept = house();
    with_house(|house| {
        let mut psql = open(house, "una", &["READ ON TABLE public.orders"]);
        let hidden =
            "CREATE TEMP TABLE customers (email text); SELECT count(email) FROM customers;";
        for gone in ["DROP TABLE customers", "DISCARD TEMP", "DISCARD ALL"] {
            assert_eq!(psql.run(hidden).expect_success(), "0", "{gone}");
            psql.run("SELECT name FROM customers;").expect_sqlstate("42703");
            psql.run("SELECT email FROM public.customers;").expect_sqlstate("42501");
            psql.run(&format!("{gone};")).expect_success();
            psql.run("SELECT email FROM customers;").expect_sqlstate("42501");
        }
        for (begin, end) in [
            ("BEGIN; CREATE TEMP TABLE customers (email text) ON COMMIT DROP;", "COMMIT;"),
            ("BEGIN; CREATE TEMP TABLE customers (email text);", "ROLLBACK;"),
            ("BEGIN; SAVEPOINT s; CREATE TEMP TABLE customers (email text);", "ROLLBACK TO s;"),
        ] {
            psql.run(&format!("{begin} SELECT email FROM customers;")).expect_success();
            psql.run(end).expect_success();
            psql.run("SELECT email FROM customers;").expect_sqlstate("42501");
            psql.run("ROLLBACK;");
        }
    });
}

#[test]
fn a_prepared_statement_keeps_what_it_meant_when_a_temporary_table_comes() {
    // Of its own: much DDL beside it would make the server read the statement again.
    let house = House::new(Config::new());
    house.server.sql_in("shop", "CREATE TABLE pinned AS SELECT 1 AS a");
    let grant = house.daypass.grant("pia", "shop", &["SELECT ON public.pinned"]);
    let mut psql = open(&house, "pia", &["SELECT ON public.orders"]);
    let lines = "CREATE TEMP TABLE other (a int); PREPARE p AS SELECT a FROM pinned; EXECUTE p;
        CREATE TEMP TABLE pinned (a int); SELECT count(*) FROM pinned; EXECUTE p;";
    // The server still reads the table that it was prepared for.
    let output = psql.run(lines);
    assert_eq!(output.stdout, "1\n0\n1", "{output:?}");
    house.daypass.revoke(&grant);
    let output = psql.run("EXECUTE p;");
    output.expect_sqlstate("42501");
    assert!(output.stderr.contains("SELECT (a) ON public.pinned"), "{output:?}");
}

#[test]
fn a_trigger_or_a_view_that_changes_the_search_path_is_noticed() {
    with_house(|house| {
        house.server.sql_in(
            "shop",
            "CREATE SCHEMA hidden; CREATE TABLE hidden.doors (a int); CREATE TABLE doors (a int);
            CREATE TABLE wired (a int);
            CREATE FUNCTION move() RETURNS int LANGUAGE plpgsql AS
                $$ BEGIN PERFORM set_config('search_path', 'hidden', false); RETURN 1; END $$;
            CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM public.move(); RETURN NEW; END $$;
            CREATE TRIGGER t BEFORE INSERT ON wired FOR EACH ROW EXECUTE FUNCTION moved();
            CREATE VIEW mover AS SELECT move() AS a",
        );
        let privileges = [
            "SELECT ON public.doors",
            "INSERT, SELECT ON public.wired",
            "READ ON TABLE public.mover",
        ];
        for moves in ["INSERT INTO wired VALUES (1)", "SELECT a FROM mover"] {
            let mut psql = open(house, "moe", &privileges);
            psql.run("SELECT a FROM doors;").expect_success();
            psql.run(&format!("{moves};")).expect_success();
            let output = psql.run("SELECT a FROM doors;");
            output.expect_sqlstate("42501");
            assert!(output.stderr.contains("SELECT (a) ON hidden.doors"), "{output:?}");
        }
    });
}

#[test]
fn without_a_grant_or_the_servers_leave_there_are_none() {
    let house = House::new(Config::new());
    let mut psql = open(&house, "zoe", &[]);
    psql.run("CREATE TEMP TABLE t (a int);").expect_sqlstate("42501");
    house.server.sql("REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC");
    let mut psql = open(&house, "zac", &["READ ON TABLE public.orders"]);
    let output = psql.run("SELECT * FROM gone;");
    output.expect_sqlstate("42P01");
    let output = psql.run("CREATE TEMP TABLE t (a int);");
    output.expect_sqlstate("42501");
    assert!(output.stderr.contains("ADMIN ON DATABASE"), "{output:?}");
}

#[test]
fn psycopg_migrates_and_uses_temporary_tables() {
    let text = r#"
import psycopg
with psycopg.connect("") as c:
    c.execute("SET search_path = psy, public")
    c.execute("CREATE TABLE account (id bigint NOT NULL PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, name varchar(80) NOT NULL)")
    c.execute("CREATE TABLE login (id serial PRIMARY KEY, account_id bigint NOT NULL)")
    c.execute("ALTER TABLE login ADD CONSTRAINT login_account_fk FOREIGN KEY (account_id) REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED")
    c.execute("CREATE INDEX login_account ON login (account_id)")
    c.execute("INSERT INTO account (name) VALUES (%s)", ("x",))
    c.execute("INSERT INTO login (account_id) SELECT id FROM account")
    c.execute("ALTER TABLE account ADD COLUMN email varchar(10) DEFAULT 'e' NOT NULL")
    c.execute("ALTER TABLE account ALTER COLUMN email DROP DEFAULT")
    with c.transaction():
        c.execute("ALTER TABLE account RENAME COLUMN name TO title")
    assert c.execute("SELECT title, email FROM account").fetchone() == ("x", "e")
    c.commit()
    for n in range(7):
        assert c.execute("SELECT count(*) FROM login WHERE id > %s", (0,), prepare=True).fetchone()[0] == 1
    c.execute("CREATE TEMP TABLE login (id int) ON COMMIT DROP")
    assert c.execute("SELECT count(*) FROM login").fetchone()[0] == 0
    with c.cursor().copy("COPY login (id) FROM STDIN") as copy:
        copy.write_row((5,))
    assert c.execute("SELECT id FROM login").fetchone()[0] == 5
    c.commit()
    assert c.execute("SELECT account_id FROM login").fetchone()[0] == 1
    c.commit()
with psycopg.connect("", autocommit=True) as c:
    c.execute("SET search_path = psy, public")
    with c.pipeline() as p:
        c.execute("BEGIN")
        c.execute("CREATE TABLE piped (a int)")
        p.sync()
        c.execute("INSERT INTO piped VALUES (1)")
        c.execute("ALTER TABLE piped ADD b int")
        p.sync()
        c.execute("UPDATE piped SET b = 2")
        c.execute("COMMIT")
    assert c.execute("SELECT a, b FROM piped").fetchone() == (1, 2)
    try:
        with c.pipeline() as p:
            c.execute("CREATE TABLE doubtful (a int)")
            c.execute("INSERT INTO doubtful VALUES (1)")
        raise SystemExit("not refused")
    except psycopg.errors.FeatureNotSupported as e:
        assert "pipeline" in str(e), e
    c.execute("DROP TABLE piped, login, account")
print("done")
"#;
    with_house(|house| {
        house.server.sql_in("shop", "CREATE SCHEMA psy");
        script(house, "psy", &["ADMIN ON SCHEMA psy"], text);
    });
}

#[test]
fn asyncpg_uses_temporary_tables() {
    let text = r#"
import asyncio, asyncpg
async def main():
    c = await asyncpg.connect()
    await c.execute("CREATE TEMPORARY TABLE batch (id int PRIMARY KEY, status text)")
    rows = [(n, "s%d" % n) for n in range(50)]
    await c.copy_records_to_table("batch", records=rows)
    await c.executemany("INSERT INTO batch VALUES ($1, $2)", [(100 + n, "x") for n in range(10)])
    assert await c.fetchval("SELECT count(*) FROM batch JOIN orders USING (id)") == 50
    async with c.transaction():
        await c.execute("CREATE TEMP TABLE orders (only_here int) ON COMMIT DROP")
        assert await c.fetch("SELECT only_here FROM orders") == []
    assert await c.fetchval("SELECT count(*) FROM orders") == 100
    await c.execute("DISCARD TEMP")
    try:
        await c.fetch("SELECT * FROM batch")
        print("still there")
    except asyncpg.UndefinedTableError:
        pass
    await c.close()
asyncio.run(main())
print("done")
"#;
    with_house(|house| script(house, "asy", &["READ ON TABLE public.orders"], text));
}

#[test]
fn what_another_proxy_has_changed_is_known_at_once() {
    let house = House::new(Config::new());
    let proxy = |server: &Postgres| {
        let lines = format!(
            "name = \"shop\"\nengine = \"postgres\"\nprimary = \"{}\"\nsecond-lock = \"none\"\n\
             catalog-refresh = \"24h\"\n",
            server.url("postgres", "shop")
        );
        Daypass::start(Config::new().database(&lines))
    };
    let (one, other) = (proxy(&house.server), proxy(&house.server));
    let session = |proxy: &Daypass, user: &str, privilege: &str| {
        proxy.grant(user, "shop", &[privilege]);
        proxy.open_psql(user, &proxy.token(user), "shop")
    };
    house.server.sql_in("shop", "CREATE TABLE shared (a int); CREATE VIEW seen AS SELECT 1 AS a");
    let mut owner = session(&one, "owner", "ADMIN ON DATABASE");
    let mut reader = session(&other, "reader", "SELECT (a) ON public.shared");
    owner.run("SELECT * FROM shared;").expect_success();
    reader.run("SELECT * FROM shared;").expect_success();
    for (change, refused) in [
        ("ALTER TABLE shared ADD b int;", true),
        ("ALTER TABLE shared DROP b;", false),
        // Not before the commit, and not because of one that is taken back.
        ("BEGIN; ALTER TABLE shared ADD c int; ROLLBACK; ALTER TABLE shared ADD d int;", true),
    ] {
        owner.run(change).expect_success();
        eventually(change, || {
            let output = reader.run("SELECT * FROM shared;");
            (output.sqlstates().contains(&"42501".to_owned()) == refused).then_some(())
        });
    }
    // Anybody may send the notification, with anything in it: it makes the proxies look, and no more.
    reader
        .run("NOTIFY daypass_catalog, 'DROP TABLE shared'; LISTEN daypass_catalog;")
        .expect_success();
    reader.run("SELECT a FROM shared;").expect_success();
}

/// What is not there never reaches the server, and the client hears what the server would have said.
#[test]
fn a_name_that_is_not_there_is_told_as_the_server_tells_it() {
    let text = r#"
import os, psycopg
direct = psycopg.connect("host=127.0.0.1 user=postgres dbname=shop port=" + os.environ["DIRECT"], autocommit=True)
proxied = psycopg.connect("", autocommit=True)
def told(session, text):
    try:
        session.execute(text)
    except psycopg.Error as e:
        return e.sqlstate, e.diag.message_primary, e.diag.statement_position
    raise SystemExit("it is there: " + text)
for text in """select * from nowhere
select * from public.nowhere
select * from nosch.t
select 'é', nocol from orders
select o.nocol from orders o
select x.id from orders o
select nosch.f(1)
select coalesce(nocol, 1), nosch.f(1) from orders
select 1::notype
select null::public.notype
insert into nowhere values (1)
insert into orders (nocol) values (1)
update orders set nocol = 1
update nowhere set a = 1
delete from nowhere
delete from orders where nocol = 1
merge into nowhere using orders on true when matched then do nothing
select (select nocol from orders) from customers
select count(*) from orders order by nocol
with a as (select 1) select * from b
explain select * from nowhere
prepare p as select * from nowhere
create view v as select * from nowhere
create table x (a notype)
drop table nowhere
drop table public.nowhere
drop view nowhere
drop sequence nowhere
drop materialized view nowhere
drop index nowhere
drop table nosch.t
alter table nowhere add x int
alter table public.nowhere add x int
create index on nowhere (id)
comment on table public.nowhere is 'x'
truncate nowhere
copy nowhere to stdout
vacuum nowhere""".splitlines():
    expected, said = told(direct, text), told(proxied, text)
    assert expected == said, (text, expected, said)
print("done")
"#;
    with_house(|house| {
        let token = house.principal("nora", &["ADMIN ON DATABASE"]);
        let mut env = house.daypass.env("nora", &token, "shop");
        env.push(("DIRECT", house.server.port().to_string()));
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(python(text, &env).expect_success(), "done");
    });
}
