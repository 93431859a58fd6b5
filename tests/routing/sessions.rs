//! PostgreSQL sessions with replicas: what runs where, and what a session sees.

use serde_json::Value;

use crate::support::{Config, Daypass, Options, Postgres, Shell, eventually};

/// A primary with two replicas, and the proxy before them. The database is called `shop`.
struct House {
    primary: Postgres,
    replicas: [Postgres; 2],
    daypass: Daypass,
}

impl House {
    fn start(lines: &str) -> Self {
        let primary = Postgres::start(Options::default());
        primary.sql("CREATE DATABASE shop");
        primary.sql_in(
            "shop",
            "CREATE TABLE orders (id int PRIMARY KEY, status text);
             INSERT INTO orders VALUES (1, 'new'), (2, 'new'), (3, 'paid');
             CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        );
        let replicas = [primary.standby(), primary.standby()];
        let urls: Vec<_> = replicas.iter().map(|replica| replica.url("postgres", "shop")).collect();
        let entry = format!(
            "name = \"shop\"\nengine = \"postgres\"\nprimary = \"{}\"\nreplicas = {urls:?}\n{lines}\n",
            primary.url("postgres", "shop"),
        );
        let daypass = Daypass::start(Config::new().database(&entry));
        Self { primary, replicas, daypass }
    }

    fn open(&self, user: &str) -> Shell {
        let token = self.daypass.token(user);
        self.daypass.open_psql(user, &token, "shop")
    }

    /// Runs a read until a replica answers it: those are not known at once.
    fn until_routed(&self, session: &mut Shell) {
        eventually("a replica to answer", || {
            (self.run(session, "SELECT 1 AS ask").route == "replica").then_some(())
        });
    }

    /// Decisions on statements of that text, in order.
    fn decisions_of(&self, text: &str) -> Vec<Value> {
        let of_it =
            |record: &Value| record["kind"] == "decision" && record["text"].as_str() == Some(text);
        self.daypass.audit().into_iter().filter(of_it).collect()
    }

    /// Where the last statement of that text ran, and why.
    fn route_of(&self, text: &str) -> (String, String) {
        self.route_after(text, 0)
    }

    /// Likewise, when there have been so many before.
    fn route_after(&self, text: &str, before: usize) -> (String, String) {
        let record = eventually("the record", || {
            let decisions = self.decisions_of(text);
            (decisions.len() > before).then(|| decisions.last().cloned()).flatten()
        });
        let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (word("route"), word("rule"))
    }
}

/// What a session was answered, and where that ran, and why.
struct Ran {
    answer: String,
    route: String,
    rule: String,
}

impl House {
    fn run(&self, session: &mut Shell, text: &str) -> Ran {
        let before = self.decisions_of(text).len();
        let answer = session.run(&format!("{text};")).expect_success().trim().to_owned();
        let (route, rule) = self.route_after(text, before);
        Ran { answer, route, rule }
    }

    fn pause(&self) {
        self.replicas.iter().for_each(|it| drop(it.sql("SELECT pg_wal_replay_pause()")));
    }

    fn resume(&self) {
        self.replicas.iter().for_each(|it| drop(it.sql("SELECT pg_wal_replay_resume()")));
    }
}

impl Ran {
    #[track_caller]
    fn was(&self, answer: &str, route: &str, rule: &str) {
        assert_eq!((&*self.answer, &*self.route, &*self.rule), (answer, route, rule));
    }
}

#[test]
fn reads_run_at_a_replica_and_writes_at_the_primary() {
    let house = House::start("");
    house.daypass.grant("ann", "shop", &["WRITE ON SCHEMA public"]);
    let mut session = house.open("ann");
    house.until_routed(&mut session);
    let read = "SELECT count(*) FROM orders";
    house.run(&mut session, read).was("3", "replica", "it only reads");
    house.run(&mut session, "INSERT INTO orders VALUES (4, 'new')").was("", "primary", "it writes");
    // Now or when a replica has it: it is seen at once.
    assert_eq!(house.run(&mut session, read).answer, "4");
    house.pause();
    house.run(&mut session, "INSERT INTO orders VALUES (5, 'new')").was("", "primary", "it writes");
    let behind = "no replica was far enough in time";
    house.run(&mut session, read).was("5", "primary", behind);
    // Somebody else has not written that.
    house.daypass.grant("bob", "shop", &["READ ON SCHEMA public"]);
    house.resume();
    eventually("the replicas to have it", || {
        (house.run(&mut session, read).route == "replica").then_some(())
    });
}

#[test]
fn settings_follow_and_what_cannot_keeps_the_session_at_the_primary() {
    let house = House::start("freshness-wait = \"20s\"");
    house.daypass.grant("ann", "shop", &["ADMIN ON DATABASE"]);
    let mut session = house.open("ann");
    house.until_routed(&mut session);
    let read = "SELECT current_setting('work_mem'), current_setting('search_path')";
    house.run(&mut session, read).was("4MB|\"$user\", public", "replica", "it only reads");
    session.run("SET work_mem = '5MB'; SET search_path = public, pg_catalog;").expect_success();
    house.run(&mut session, read).was("5MB|public, pg_catalog", "replica", "it only reads");
    session.run("BEGIN; SET work_mem = '6MB'; ROLLBACK;").expect_success();
    house.run(&mut session, read).was("5MB|public, pg_catalog", "replica", "it only reads");
    session.run("RESET work_mem; RESET search_path;").expect_success();
    house.run(&mut session, read).was("4MB|\"$user\", public", "replica", "it only reads");
    let count = "SELECT count(*) FROM orders";
    let pinned = |what: &str| format!("the session has {what}");
    session.run("CREATE TEMP TABLE t (a int);").expect_success();
    house.run(&mut session, count).was("3", "primary", &pinned("temporary objects"));
    session.run("DROP TABLE t; SELECT pg_advisory_lock(1);").expect_success();
    house.run(&mut session, count).was("3", "primary", &pinned("advisory locks"));
    session.run("SELECT pg_advisory_unlock(1); LISTEN x;").expect_success();
    house.run(&mut session, count).was("3", "primary", &pinned("channels that it listens to"));
    session.run("UNLISTEN *; PREPARE p AS SELECT 1;").expect_success();
    house.run(&mut session, count).was("3", "primary", &pinned("statements prepared by SQL"));
    session.run("DEALLOCATE p;").expect_success();
    session.run("DECLARE c CURSOR WITH HOLD FOR SELECT 1;").expect_success();
    house.run(&mut session, count).was("3", "primary", &pinned("cursors WITH HOLD"));
    session.run("CLOSE c;").expect_success();
    house.run(&mut session, count).was("3", "replica", "it only reads");
    session
        .run("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE;")
        .expect_success();
    house.run(&mut session, count).was(
        "3",
        "primary",
        &pinned("SERIALIZABLE as its isolation level"),
    );
}

#[test]
fn a_read_only_transaction_is_at_one_replica_whole() {
    let house = House::start("freshness-wait = \"20s\"");
    house.daypass.grant("ann", "shop", &["WRITE ON SCHEMA public", "EXECUTE ON SCHEMA public"]);
    let mut session = house.open("ann");
    house.until_routed(&mut session);
    session.run("BEGIN READ ONLY;").expect_success();
    let count = "SELECT count(*) FROM orders";
    house.run(&mut session, count).was("3", "replica", "its transaction is there");
    session.run("SELECT touch();").expect_sqlstate("25006");
    session.run("ROLLBACK;").expect_success();
    session.run("BEGIN;").expect_success();
    house.run(&mut session, count).was("3", "primary", "its transaction is there");
    session.run("COMMIT;").expect_success();
    house.run(&mut session, count).was("3", "replica", "it only reads");
    let serializable = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY";
    assert_eq!(house.run(&mut session, serializable).route, "primary");
    session.run("COMMIT;").expect_success();
}

#[test]
fn a_replica_that_dies_costs_nothing_but_time() {
    let mut house = House::start("");
    house.daypass.grant("ann", "shop", &["READ ON SCHEMA public"]);
    let mut session = house.open("ann");
    house.until_routed(&mut session);
    let slow = "SELECT count(*), pg_sleep(2) IS NULL FROM orders WHERE id = 1";
    session.send(&format!("{slow};"));
    eventually("it to run", || (house.route_of(slow).0 == "replica").then_some(()));
    house.replicas.iter_mut().for_each(Postgres::crash);
    assert_eq!(session.finish().expect_success().trim(), "1|f");
    assert_eq!(house.route_of(slow), ("primary".into(), "the replica that had it was lost".into()));
    assert_eq!(house.run(&mut session, "SELECT 2 AS two").route, "primary");
}

#[test]
fn a_session_tells_where_it_reads_and_why_not() {
    let house = House::start("");
    house.daypass.grant("ann", "shop", &["ADMIN ON DATABASE"]);
    let mut session = house.open("ann");
    house.until_routed(&mut session);
    let mut ask = |text: &str| session.run(&format!("{text};")).expect_success();
    let replicas = house.replicas.each_ref().map(|it| format!("127.0.0.1:{}", it.port()));
    let primary = format!("127.0.0.1:{}", house.primary.port());
    let read = ask("CALL daypass.route('SELECT count(*) FROM orders')");
    assert!(replicas.iter().any(|at| read.trim() == format!("SELECT|replica|{at}|it only reads")));
    let write = ask("CALL daypass.route('DELETE FROM orders')");
    assert_eq!(write.trim(), format!("DELETE|primary|{primary}|it writes"));
    let call = ask("CALL daypass.route('SELECT touch()')");
    assert!(call.contains("primary") && call.contains("public.touch"), "{call}");
    let told = ask("CALL daypass.session()");
    assert!(replicas.iter().any(|at| told.trim().ends_with(&format!("{at}|"))), "{told}");
    ask("LISTEN x");
    ask("SELECT count(*) FROM orders");
    let told = ask("CALL daypass.session()");
    assert!(told.trim().ends_with("|channels that it listens to"), "{told}");
    ask("BEGIN");
    let read = ask("CALL daypass.route('SELECT count(*) FROM orders')");
    assert_eq!(read.trim(), format!("SELECT|primary|{primary}|its transaction is there"));
}
