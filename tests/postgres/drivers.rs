//! Drivers, in every protocol mode that they have.

use crate::support::{client, node, python, run};
use crate::with_house;

fn env(house: &crate::House, user: &str, token: &str) -> Vec<(&'static str, String)> {
    house.daypass.env(user, token, "shop").into_iter().collect()
}

fn borrow<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn psycopg_prepares_pipelines_and_copies() {
    let script = r#"
import psycopg
with psycopg.connect("") as c:
    for n in range(7):
        row = c.execute("SELECT total FROM orders WHERE id = %s", (n + 1,), prepare=True).fetchone()
        assert row[0] == (n + 1) * 10, row
    try:
        c.execute("SELECT email FROM customers WHERE id = %s", (1,))
        raise SystemExit("not refused")
    except psycopg.errors.InsufficientPrivilege as e:
        assert "SELECT (email" in str(e), e
    c.rollback()
    with c.pipeline():
        a = c.execute("SELECT count(*) FROM orders")
        b = c.execute("SELECT 2")
    assert a.fetchone()[0] == 100 and b.fetchone()[0] == 2
    with c.cursor(name="named") as cur:
        cur.execute("SELECT id FROM orders ORDER BY id")
        assert len(cur.fetchmany(10)) == 10
    c.rollback()
    with c.cursor().copy("COPY notes (id, text) FROM STDIN") as copy:
        for n in range(100):
            copy.write_row((50000 + n, "copied"))
    with c.cursor().copy("COPY (SELECT id FROM orders) TO STDOUT") as copy:
        assert len(list(copy.rows())) == 100
    c.execute("DELETE FROM notes WHERE id >= 50000")
    c.commit()
with psycopg.connect("", autocommit=True) as c:
    try:
        with c.pipeline():
            c.execute("INSERT INTO notes (id, text) VALUES (60000, 'undone')")
            c.execute("SELECT card FROM customers")
        raise SystemExit("not refused")
    except psycopg.errors.InsufficientPrivilege:
        pass
    assert c.execute("SELECT count(*) FROM notes WHERE id = 60000").fetchone()[0] == 0
print("done")
"#;
    with_house(|house| {
        let token =
            house.principal("tess", &["READ ON TABLE public.orders", "WRITE ON public.notes"]);
        let env = env(house, "tess", &token);
        assert_eq!(python(script, &borrow(&env)).expect_success(), "done");
    });
}

#[test]
fn asyncpg_connects_prepares_and_is_refused() {
    let script = r#"
import asyncio, asyncpg
async def main():
    c = await asyncpg.connect(statement_cache_size=10)
    for n in range(3):
        assert await c.fetchval("SELECT total FROM orders WHERE id = $1", n + 1) == (n + 1) * 10
    try:
        await c.fetch("SELECT * FROM customers")
        raise SystemExit("not refused")
    except asyncpg.InsufficientPrivilegeError:
        pass
    async with c.transaction():
        rows = [r async for r in c.cursor("SELECT id FROM orders ORDER BY id", prefetch=7)]
        assert len(rows) == 100
    await c.executemany("INSERT INTO notes (id, text) VALUES ($1, $2)", [(70000 + n, "x") for n in range(20)])
    assert await c.fetchval("SELECT count(*) FROM notes WHERE id >= 70000") == 20
    await c.execute("DELETE FROM notes WHERE id >= 70000")
    await c.close()
    # A pool gives its sessions back: SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL
    async with asyncpg.create_pool(min_size=1, max_size=1) as pool:
        for n in range(3):
            async with pool.acquire() as p:
                assert await p.fetchval("SELECT count(*) FROM orders") == 100
asyncio.run(main())
print("done")
"#;
    with_house(|house| {
        let token =
            house.principal("uma", &["READ ON TABLE public.orders", "WRITE ON public.notes"]);
        let env = env(house, "uma", &token);
        assert_eq!(python(script, &borrow(&env)).expect_success(), "done");
    });
}

#[test]
fn node_postgres_runs_simple_and_prepared_queries() {
    let script = r#"
const { Client } = require('pg');
(async () => {
  const c = new Client();
  await c.connect();
  const a = await c.query('SELECT count(*)::int AS n FROM orders');
  const b = await c.query({ name: 'one', text: 'SELECT total FROM orders WHERE id = $1', values: [3] });
  let refused = null;
  try { await c.query('SELECT card FROM customers'); } catch (e) { refused = e; }
  if (a.rows[0].n !== 100 || b.rows[0].total !== '30') throw new Error('wrong rows');
  if (!refused || refused.code !== '42501' || !refused.hint.includes('daypass')) throw refused;
  await c.end();
  console.log('done');
})().catch((e) => { console.error(e); process.exit(1); });
"#;
    with_house(|house| {
        let token = house.principal("vic", &["READ ON TABLE public.orders"]);
        let env = env(house, "vic", &token);
        assert_eq!(node(script, &borrow(&env)).expect_success(), "done");
    });
}

#[test]
fn pgbench_runs_in_every_protocol_mode() {
    with_house(|house| {
        house.server.sql_in(
            "shop",
            "CREATE TABLE IF NOT EXISTS numbers AS SELECT n FROM generate_series(1, 1000) n",
        );
        let token = house.principal("wes", &["READ ON TABLE public.numbers"]);
        let script = house.daypass.folder().join("bench.sql");
        std::fs::write(&script, "\\set n random(1, 1000)\nSELECT n FROM numbers WHERE n = :n;\n")
            .unwrap();
        let pipelined = house.daypass.folder().join("pipeline.sql");
        let text = "\\startpipeline\nSELECT 1;\nSELECT count(*) FROM numbers;\n\\endpipeline\n";
        std::fs::write(&pipelined, text).unwrap();
        let env = env(house, "wes", &token);
        for (mode, file) in [
            ("simple", &script),
            ("extended", &script),
            ("prepared", &script),
            ("extended", &pipelined),
        ] {
            let mut command = std::process::Command::new(client("pgbench"));
            command.args(["-n", "-M", mode, "-c", "4", "-t", "50", "-f"]).arg(file);
            let output = run(command.envs(env.iter().map(|(name, value)| (name, value))), "");
            assert_eq!(output.status, 0, "{mode}: {output:?}");
            assert!(output.stdout.contains("200/200"), "{mode}: {output:?}");
        }
    });
}
