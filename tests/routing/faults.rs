//! What befalls a replica, one thing at a time, and what a session sees of it.

use crate::shop::{Shop, hang, wake};
use crate::support::{Output, Postgres, Shell, eventually, python};

const COUNT: &str = "SELECT count(*) FROM orders";
const READS: [&str; 1] = ["READ ON SCHEMA public"];
const WRITES: [&str; 1] = ["WRITE ON SCHEMA public"];
/// Queries are not waited for: what they need goes at once.
const NO_DELAY: &str = "max_standby_streaming_delay = 0";
const AGAIN: &str = "daypass_reads_done_again_total";

fn route(route: &str, rule: &str) -> (String, String) {
    (route.into(), rule.into())
}

/// Sends a read, and waits until a replica does it.
fn send_there(shop: &Shop, session: &mut Shell, text: &str) -> usize {
    session.send(&format!("{text};"));
    shop.running_at("pg_sleep").0
}

/// A replica has sent the first row of this, and sleeps before the next.
const ROWS: &str =
    "SELECT repeat('x', 20000), pg_sleep(CASE id WHEN 1 THEN 0 ELSE 30 END) FROM orders";

fn send_rows(shop: &Shop, session: &mut Shell) -> usize {
    let number = send_there(shop, session, ROWS);
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually("the second row", || (shop.replicas[number].sql(sleeps) == "1").then_some(()));
    number
}

#[test]
fn a_read_that_replay_cancels_is_done_by_the_primary() {
    let shop = Shop::start(2, "", &[NO_DELAY]);
    shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open_at_replica("ann");
    let before = shop.metric(AGAIN);
    let slow = "SELECT count(*), pg_sleep(2) IS NULL FROM orders WHERE id = 1";
    send_there(&shop, &mut session, slow);
    shop.primary.sql_in("shop", "ALTER TABLE orders ADD COLUMN total int");
    assert_eq!(session.finish().expect_success().trim(), "1|f");
    assert_eq!(shop.ran(slow, 1), route("primary", "a replica had refused it with 40001"));
    assert_eq!(shop.metric(AGAIN), before + 1);
    shop.until_routed(&mut session);
}

#[test]
fn after_the_first_row_the_error_is_told_and_the_session_goes_on() {
    let mut shop = Shop::start(1, "", &[NO_DELAY]);
    shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open_at_replica("ann");
    send_rows(&shop, &mut session);
    shop.primary.sql_in("shop", "ALTER TABLE orders ADD COLUMN total int");
    session.finish().expect_sqlstate("40001");
    assert_eq!(shop.run(&mut session, COUNT).0, "3");

    shop.until_routed(&mut session);
    send_rows(&shop, &mut session);
    shop.replicas[0].crash();
    let said: Output = session.finish();
    said.expect_sqlstate("08006");
    assert!(said.stderr.contains("its result is incomplete"), "{said:?}");
    assert_eq!(shop.run(&mut session, COUNT).0, "3");
    assert_eq!(shop.decisions_of(ROWS).len(), 2, "neither was sent twice");
    assert_eq!(shop.metric(AGAIN), 0);
}

#[test]
fn a_replica_that_hangs_with_a_read_costs_nothing_but_time() {
    let shop = Shop::start(2, "", &[]);
    shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open_at_replica("ann");
    let slow = "SELECT count(*), pg_sleep(1) IS NULL FROM orders WHERE id = 1";
    let number = send_there(&shop, &mut session, slow);
    hang(&shop.replicas[number]);
    assert_eq!(session.finish().expect_success().trim(), "1|f");
    assert_eq!(shop.ran(slow, 1), route("primary", "the replica that had it was lost"));
    // The other one goes on.
    shop.until_routed(&mut session);
    wake(&shop.replicas[number]);
}

#[test]
fn replicas_that_hang_or_are_gone_when_a_session_begins_are_done_without() {
    let mut shop = Shop::start(2, "", &[]);
    shop.daypass.grant("ann", "shop", &READS);
    drop(shop.open_at_replica("ann"));
    shop.replicas.iter().for_each(hang);
    let mut session = shop.open("ann");
    let (count, (site, rule)) = shop.run(&mut session, COUNT);
    assert_eq!((&*count, &*site), ("3", "primary"), "{rule}");
    shop.replicas.iter().for_each(wake);
    shop.until_routed(&mut session);
    shop.replicas.iter_mut().for_each(Postgres::crash);
    let mut session = shop.open("ann");
    let (count, (site, rule)) = shop.run(&mut session, COUNT);
    assert_eq!((&*count, &*site), ("3", "primary"), "{rule}");
}

#[test]
fn a_replica_that_was_promoted_answers_no_more() {
    let shop = Shop::start(1, "", &[]);
    shop.daypass.grant("ann", "shop", &WRITES);
    let mut session = shop.open_at_replica("ann");
    shop.replicas[0].sql("SELECT pg_promote()");
    // It is a server of its own from now on, and further in its own log than the primary is.
    shop.replicas[0].sql_in("shop", "CREATE TABLE own AS SELECT generate_series(1, 10000)");
    for id in 10..20 {
        session.run(&format!("INSERT INTO orders VALUES ({id}, 'new');")).expect_success();
        assert_eq!(shop.run(&mut session, COUNT).0, (id - 6).to_string());
    }
    let none = "none of the servers that answer is a read-only replica";
    eventually("it to be known", || {
        (shop.run(&mut session, COUNT).1 == route("primary", none)).then_some(())
    });
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'daypass\\_ann%'";
    eventually("the session to leave it", || (shop.replicas[0].sql(idle) == "0").then_some(()));
    assert_eq!(shop.run(&mut session, COUNT).1.0, "primary");
}

#[test]
fn a_promoted_replica_is_known_from_its_own_words() {
    // Nobody else is likely to look at it again in time.
    let shop = Shop::start(1, "replica-check = \"10s\"", &[]);
    shop.daypass.grant("ann", "shop", &WRITES);
    let mut session = shop.open_at_replica("ann");
    shop.replicas[0].sql("SELECT pg_promote()");
    shop.replicas[0].sql_in("shop", "CREATE TABLE own AS SELECT generate_series(1, 10000)");
    session.run("INSERT INTO orders VALUES (4, 'new');").expect_success();
    let (count, (site, rule)) = shop.run(&mut session, COUNT);
    assert_eq!((&*count, &*site), ("4", "primary"), "{rule}");
}

#[test]
fn the_operator_may_keep_reads_off_the_primary() {
    let mut shop = Shop::start(1, "replica-floor = \"error\"", &[]);
    shop.daypass.grant("ann", "shop", &WRITES);
    let mut session = shop.open("ann");
    eventually("a replica to answer", || {
        (session.run(&format!("{COUNT};")).stdout == "3").then_some(())
    });
    shop.replicas[0].crash();
    eventually("it to be known", || {
        let said = session.run(&format!("{COUNT};"));
        said.expect_sqlstate("57P03");
        said.stderr.contains("no replica can serve the statement: no replica answers").then_some(())
    });
    session.run("INSERT INTO orders VALUES (4, 'new');").expect_success();
    // What has written is at the primary whole.
    assert_eq!(session.run(&format!("BEGIN; {COUNT}; COMMIT;")).expect_success().trim(), "4");
    shop.replicas[0].start_again();
    eventually("it to be back", || (session.run(&format!("{COUNT};")).stdout == "4").then_some(()));
    let reads = shop.decisions_of(COUNT).into_iter().filter(|it| it["decision"] == "allow");
    assert!(
        reads
            .filter(|it| it["rule"] != "its transaction is there")
            .all(|it| it["route"] == "replica")
    );
}

#[test]
fn a_session_may_wait_for_what_it_wrote() {
    let shop = Shop::start(1, "freshness = \"wait\"\nfreshness-wait = \"20s\"", &[]);
    shop.daypass.grant("ann", "shop", &WRITES);
    let mut session = shop.open_at_replica("ann");
    shop.replicas[0].sql("SELECT pg_wal_replay_pause()");
    session.run("INSERT INTO orders VALUES (4, 'new');").expect_success();
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT ''position''%' \
                 AND usename LIKE 'daypass\\_ann%'";
    session.send(&format!("{COUNT};"));
    // It has been asked how far it is.
    eventually("the session to wait", || (shop.replicas[0].sql(asked) == "1").then_some(()));
    assert!(session.is_busy(std::time::Duration::from_millis(100)));
    shop.replicas[0].sql("SELECT pg_wal_replay_resume()");
    assert_eq!(session.finish().expect_success().trim(), "4");
    assert_eq!(shop.ran(COUNT, 0), route("replica", "it only reads"));
}

#[test]
fn a_session_may_do_without_what_it_wrote() {
    let shop = Shop::start(1, "freshness = \"eventual\"", &[]);
    shop.daypass.grant("ann", "shop", &WRITES);
    let mut session = shop.open_at_replica("ann");
    shop.replicas[0].sql("SELECT pg_wal_replay_pause()");
    session.run("INSERT INTO orders VALUES (4, 'new');").expect_success();
    let older = ("3".to_owned(), route("replica", "it only reads"));
    assert_eq!(shop.run(&mut session, COUNT), older);
}

#[test]
fn replicas_may_be_left_alone() {
    let shop = Shop::start(1, "freshness = \"off\"", &[]);
    shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open("ann");
    let serves = || {
        shop.daypass.log().contains("no replica")
            || shop.replicas[0].log().contains("pg_is_in_recovery")
    };
    eventually("the replica to be watched", || serves().then_some(()));
    for _ in 0..20 {
        assert_eq!(session.run(&format!("{COUNT};")).expect_success().trim(), "3");
    }
    session.run("BEGIN READ ONLY; SELECT count(*) FROM orders; COMMIT;").expect_success();
    assert!(!shop.replicas[0].log().contains(COUNT));
    assert_eq!(shop.metric("daypass_statements_at_replicas_total"), 0);
}

#[test]
fn a_replica_that_is_too_many_bytes_behind_answers_nothing() {
    let lines = "freshness = \"eventual\"\nreplica-lag-bytes-max = \"64 KiB\"";
    let shop = Shop::start(1, lines, &[]);
    shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open_at_replica("ann");
    shop.replicas[0].sql("SELECT pg_wal_replay_pause()");
    shop.primary.sql_in("shop", "INSERT INTO orders SELECT generate_series(10, 10000)");
    let behind = route("primary", "every replica is too far behind the primary");
    eventually("it to be known", || (shop.run(&mut session, COUNT).1 == behind).then_some(()));
    shop.replicas[0].sql("SELECT pg_wal_replay_resume()");
    shop.until_routed(&mut session);
}

#[test]
fn the_clients_cancel_reaches_the_replica() {
    let shop = Shop::start(2, "", &[]);
    shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open_at_replica("ann");
    let number = send_there(&shop, &mut session, "SELECT pg_sleep(60) IS NULL FROM orders");
    session.interrupt();
    session.finish().expect_sqlstate("57014");
    assert!(!Shop::is_running(&shop.replicas[number], "pg_sleep"));
    // A psql that reads from a pipe ends there; a driver goes on.
    let script = r#"
import psycopg, threading
c = psycopg.connect("", autocommit=True)
for _ in range(3):
    threading.Timer(0.3, c.cancel).start()
    try:
        c.execute("SELECT pg_sleep(60) IS NULL FROM orders")
        raise SystemExit("not cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    assert c.execute("SELECT count(*) AS alive FROM orders").fetchone()[0] == 3
print("alive")
"#;
    let token = shop.daypass.token("ann");
    let env = shop.daypass.env("ann", &token, "shop");
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(python(script, &env).expect_success(), "alive");
    assert_eq!(
        shop.ran("SELECT count(*) AS alive FROM orders", 2),
        route("replica", "it only reads")
    );
}

#[test]
fn a_role_and_its_rights_reach_the_replica_before_they_are_used_there() {
    let shop = Shop::start(1, "", &[]);
    shop.daypass.grant("bob", "shop", &READS);
    drop(shop.open_at_replica("bob"));
    shop.replicas[0].sql("SELECT pg_wal_replay_pause()");
    let grant = shop.daypass.grant("ann", "shop", &READS);
    let mut session = shop.open("ann");
    let (count, (site, rule)) = shop.run(&mut session, COUNT);
    assert_eq!((&*count, &*site), ("3", "primary"), "{rule}");
    shop.replicas[0].sql("SELECT pg_wal_replay_resume()");
    shop.until_routed(&mut session);

    // A grant in the open session.
    shop.primary.sql_in("shop", "CREATE SCHEMA sales; CREATE TABLE sales.leads (id int)");
    let leads = "SELECT count(*) FROM sales.leads";
    eventually("the table to be known", || {
        session.run(&format!("{leads};")).stderr.contains("permission denied").then_some(())
    });
    shop.replicas[0].wait_replayed(&shop.primary);
    shop.replicas[0].sql("SELECT pg_wal_replay_pause()");
    shop.daypass.grant("ann", "shop", &["READ ON SCHEMA sales"]);
    let behind = route("primary", "no replica was far enough in time");
    assert_eq!(shop.run(&mut session, leads), ("0".to_owned(), behind));
    shop.replicas[0].sql("SELECT pg_wal_replay_resume()");
    shop.until_routed(&mut session);
    assert_eq!(shop.run(&mut session, leads).1, route("replica", "it only reads"));

    // What runs there ends with its grant, and the next statement is refused.
    let slow = "SELECT count(*), pg_sleep(60) IS NULL FROM public.orders GROUP BY id";
    send_there(&shop, &mut session, slow);
    shop.daypass.revoke(&grant);
    session.finish().expect_sqlstate("57014");
    assert!(!Shop::is_running(&shop.replicas[0], "pg_sleep"));
    session.run(&format!("{COUNT};")).expect_sqlstate("42501");
}
