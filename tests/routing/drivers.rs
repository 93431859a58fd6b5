//! Drivers whose reads go to replicas: statements that they prepare, reuse, close and pipeline.

use crate::shop::Shop;
use crate::support::{eventually, java, node, python};

/// A shop whose replicas have answered, and somebody who may write.
fn shop() -> Shop {
    let shop = Shop::start(2, "freshness = \"wait\"\nfreshness-wait = \"20s\"", &[]);
    shop.daypass.grant("dan", "shop", &["WRITE ON SCHEMA public"]);
    drop(shop.open_at_replica("dan"));
    shop
}

type Script = fn(&str, &[(&str, &str)]) -> crate::support::Output;

/// Runs a script against a shop, which is to say `done`.
fn run(shop: &Shop, script: &str, by: Script) {
    let token = shop.daypass.token("dan");
    let env = shop.daypass.env("dan", &token, "shop");
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(by(script, &env).expect_success(), "done");
}

/// How many statements with these words were sent where.
fn sent(shop: &Shop, site: &str, words: &str) -> usize {
    let of_it = |record: &serde_json::Value| {
        record["kind"] == "decision"
            && record["route"] == site
            && record["text"].as_str().is_some_and(|text| text.contains(words))
    };
    shop.daypass.audit().iter().filter(|record| of_it(record)).count()
}

#[track_caller]
fn read_at_replicas(shop: &Shop, words: &str, least: usize) {
    eventually("reads at replicas", || (sent(shop, "replica", words) >= least).then_some(()));
}

#[test]
fn psycopg_prepares_and_pipelines() {
    let shop = shop();
    let script = r#"
import psycopg
for threshold in (0, 1, None):
    with psycopg.connect("", autocommit=True, prepare_threshold=threshold) as c:
        for n in range(20):
            text = "SELECT status, %s::int AS psycopg FROM orders WHERE id = %s"
            row = c.execute(text, (n, 3)).fetchone()
            assert row == ("paid", n), row
        # Names are given up and given anew.
        c.prepared_max = 2
        for n in range(12):
            row = c.execute(f"SELECT {n} + id FROM orders WHERE id = %s", (1,), prepare=True).fetchone()
            assert row == (n + 1,), row
        c.execute("DEALLOCATE ALL")
with psycopg.connect("", autocommit=True, prepare_threshold=0) as c:
    count = 3
    for n in range(10):
        with c.pipeline():
            before = c.execute("SELECT count(*) FROM orders")
            c.execute("INSERT INTO orders VALUES (%s, 'piped')", (100 + n,))
            after = c.execute("SELECT count(*) FROM orders")
        assert before.fetchone() == (count,) and after.fetchone() == (count + 1,)
        count += 1
        assert c.execute("SELECT count(*) AS alone FROM orders").fetchone() == (count,)
        with c.pipeline():
            reads = [c.execute("SELECT id FROM orders WHERE id = %s", (1 + k % 3,)) for k in range(6)]
        assert [r.fetchone()[0] for r in reads] == [1, 2, 3, 1, 2, 3]
    c.execute("DELETE FROM orders WHERE id >= 100")
print("done")
"#;
    run(&shop, script, python);
    read_at_replicas(&shop, "AS psycopg", 50);
    read_at_replicas(&shop, "AS alone", 8);
    assert_eq!(sent(&shop, "replica", "INSERT"), 0);
}

#[test]
fn asyncpg_prepares_and_reuses() {
    let shop = shop();
    let script = r#"
import asyncio, asyncpg, os
async def main():
    c = await asyncpg.connect(host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]),
        user=os.environ["PGUSER"], password=os.environ["PGPASSWORD"], database="shop",
        statement_cache_size=3)
    s = await c.prepare("SELECT status, $1::int AS asyncpg FROM orders WHERE id = 3")
    for n in range(20):
        assert tuple(await s.fetchrow(n)) == ("paid", n)
        # More than its cache holds: names are closed.
        assert await c.fetchval(f"SELECT {n % 7} + id FROM orders WHERE id = $1", 1) == n % 7 + 1
    for n in range(5):
        await c.execute("INSERT INTO orders VALUES ($1, 'new')", 100 + n)
        assert await c.fetchval("SELECT count(*) FROM orders") == 4 + n
    async with c.transaction(readonly=True):
        assert [r["id"] async for r in c.cursor("SELECT id FROM orders WHERE id < 4 ORDER BY id")] == [1, 2, 3]
    await c.execute("DELETE FROM orders WHERE id >= 100")
    await c.close()
asyncio.run(main())
print("done")
"#;
    run(&shop, script, python);
    read_at_replicas(&shop, "AS asyncpg", 18);
    read_at_replicas(&shop, "id < 4 ORDER BY id", 1);
}

#[test]
fn node_postgres_names_its_statements() {
    let shop = shop();
    let script = r#"
const { Client } = require('pg');
(async () => {
  const c = new Client({ database: 'shop' });
  await c.connect();
  for (let n = 0; n < 20; n++) {
    const named = { name: 'n', text: 'SELECT status, $1::int AS nodepg FROM orders WHERE id = 3', values: [n] };
    const row = (await c.query(named)).rows[0];
    if (row.status !== 'paid' || row.nodepg !== n) throw new Error(JSON.stringify(row));
    const count = (await c.query('SELECT count(*)::int AS n FROM orders')).rows[0].n;
    if (count !== 3 + n) throw new Error(`${count} of ${3 + n}`);
    await c.query('INSERT INTO orders VALUES ($1, $2)', [100 + n, 'new']);
  }
  await c.query('DELETE FROM orders WHERE id >= 100');
  await c.end();
  console.log('done');
})().catch((error) => { console.error(error); process.exit(1); });
"#;
    run(&shop, script, node);
    read_at_replicas(&shop, "AS nodepg", 18);
}

#[test]
fn pgjdbc_prepares_on_the_server_and_batches() {
    let shop = shop();
    let token = shop.daypass.token("dan");
    let url = format!("jdbc:postgresql://127.0.0.1:{}/shop", shop.daypass.port());
    for more in [
        "?prepareThreshold=1",
        "?prepareThreshold=1&preparedStatementCacheQueries=2",
        "?preferQueryMode=simple",
    ] {
        let output = java("Routed.java", &[&format!("{url}{more}"), "dan", &token]);
        assert_eq!(output.expect_success(), "done", "{more}");
    }
    // A message that also gives up or makes a name is done at home: all of them with a cache of two.
    read_at_replicas(&shop, "AS pgjdbc", 38);
    assert_eq!(sent(&shop, "replica", "INSERT"), 0);
}
