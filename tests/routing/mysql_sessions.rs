//! MariaDB's and MySQL's sessions with replicas: what runs where, and what a session sees.

use serde_json::Value;

use crate::support::{Config, Daypass, Mysql, Product, Shell, eventually, products_available};

/// A primary with two replicas, and the proxy before them. The database is called `shop`.
struct House {
    product: Product,
    primary: Mysql,
    replicas: [Mysql; 2],
    daypass: Daypass,
}

/// What a session was answered, and where that ran, and why.
struct Ran {
    answer: String,
    route: String,
    rule: String,
}

const READS: &str = "it only reads";
const COUNT: &str = "SELECT COUNT(*) FROM orders";

impl House {
    fn start(product: Product) -> Self {
        let primary = Mysql::primary(product);
        primary.sql(
            "CREATE TABLE shop.orders (id INT PRIMARY KEY, status TEXT);
             INSERT INTO shop.orders VALUES (1, 'new'), (2, 'new'), (3, 'paid')",
        );
        let replicas = [primary.replica(2), primary.replica(3)];
        let urls: Vec<_> = replicas.iter().map(|replica| replica.url("root")).collect();
        let entry = format!(
            "name = \"shop\"\nengine = \"mysql\"\nprimary = \"{}\"\nsecond-lock = \"none\"\nreplicas = {urls:?}\n",
            primary.url("root"),
        );
        let config = Config::new().mysql_listener("shop", "").database(&entry);
        let daypass = Daypass::start(config);
        daypass.grant("ann", "shop", &["ADMIN ON DATABASE"]);
        Self { product, primary, replicas, daypass }
    }

    fn open(&self) -> Shell {
        let token = self.daypass.token("ann");
        let mut session = self.daypass.open_mariadb("ann", &token, "shop");
        eventually("a replica to answer", || {
            let ran = self.run(&mut session, "SELECT 1 AS ask");
            (ran.route == "replica").then_some(())
        });
        session
    }

    fn decisions_of(&self, text: &str) -> Vec<Value> {
        let of_it =
            |record: &Value| record["kind"] == "decision" && record["text"].as_str() == Some(text);
        self.daypass.audit().into_iter().filter(of_it).collect()
    }

    fn route_after(&self, text: &str, before: usize) -> (String, String) {
        let record = eventually("the record", || {
            let decisions = self.decisions_of(text);
            (decisions.len() > before).then(|| decisions.last().cloned()).flatten()
        });
        let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (word("route"), word("rule"))
    }

    fn run(&self, session: &mut Shell, text: &str) -> Ran {
        let before = self.decisions_of(text).len();
        let answer = session.run(&format!("{text};")).expect_success().trim().to_owned();
        let (route, rule) = self.route_after(text, before);
        Ran { answer, route, rule }
    }

    fn say(&self, mariadb: &str, mysql: &str) {
        let text = if self.product == Product::MariaDb { mariadb } else { mysql };
        self.replicas.iter().for_each(|it| drop(it.sql(text)));
    }

    /// Which servers have seen a statement with that in it.
    fn seen_by(&self, part: &str) -> [bool; 2] {
        let at_replica = self.replicas.iter().any(|it| it.statements().contains(part));
        [self.primary.statements().contains(part), at_replica]
    }
}

impl Ran {
    #[track_caller]
    fn was(&self, answer: &str, route: &str, rule: &str) {
        assert_eq!((&*self.answer, &*self.route, &*self.rule), (answer, route, rule));
    }
}

#[test]
fn reads_run_at_a_replica_and_see_what_the_session_has_written() {
    for product in products_available() {
        let house = House::start(product);
        let mut session = house.open();
        house.run(&mut session, COUNT).was("3", "replica", READS);
        let marked = "SELECT COUNT(*) AS marked FROM orders";
        house.run(&mut session, marked).was("3", "replica", READS);
        assert_eq!(house.seen_by("AS marked"), [false, true], "{product:?}");
        let insert = |id: u32| format!("INSERT INTO orders VALUES ({id}, 'new')");
        house.run(&mut session, &insert(4)).was("", "primary", "it writes");
        // Now or when a replica has it: it is seen at once.
        assert_eq!(house.run(&mut session, COUNT).answer, "4");
        house.say("STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD");
        house.run(&mut session, &insert(5)).was("", "primary", "it writes");
        let behind = "no replica was far enough in time";
        house.run(&mut session, COUNT).was("5", "primary", behind);
        house.say("START SLAVE", "START REPLICA");
        eventually("the replicas to have it", || {
            (house.run(&mut session, COUNT).route == "replica").then_some(())
        });
        // Texts with several statements, and what a transaction or the lack of autocommit keeps at the primary.
        session.run("START TRANSACTION;").expect_success();
        house.run(&mut session, COUNT).was("5", "primary", "its transaction is there");
        session.run("COMMIT;").expect_success();
        house.run(&mut session, COUNT).was("5", "replica", READS);
        session.run("SET autocommit = 0;").expect_success();
        house.run(&mut session, COUNT).was("5", "primary", "its transaction is there");
        session.run("COMMIT; SET autocommit = 1;").expect_success();
        house.run(&mut session, COUNT).was("5", "replica", READS);
        house.run(&mut session, &format!("{COUNT} FOR UPDATE")).was("5", "primary", "it locks");
        let told =
            session.run("CALL daypass.route('SELECT COUNT(*) FROM orders');").expect_success();
        assert!(told.contains("SELECT\treplica\t") && told.contains(READS), "{told}");
        let told = session.run("CALL daypass.route('DELETE FROM orders');").expect_success();
        assert!(told.contains("DELETE\tprimary\t") && told.contains("it writes"), "{told}");
        let own = "SELECT LAST_INSERT_ID()";
        assert_eq!(house.run(&mut session, own).route, "primary");
        house.run(&mut session, COUNT).was("5", "replica", READS);
    }
}

#[test]
fn settings_follow_and_what_cannot_keeps_the_session_at_the_primary() {
    for product in products_available() {
        let house = House::start(product);
        let mut session = house.open();
        let read = "SELECT @@time_zone, @@group_concat_max_len, \"a\"";
        session.run("SET time_zone = '+03:00', group_concat_max_len = 77;").expect_success();
        house.run(&mut session, read).was("+03:00\t77\ta", "replica", READS);
        // Texts are read as the primary reads them.
        session.run("SET sql_mode = 'ANSI_QUOTES';").expect_success();
        let quoted = "SELECT \"id\" FROM \"orders\" WHERE \"id\" = 2";
        house.run(&mut session, quoted).was("2", "replica", READS);
        session.run("SET sql_mode = '', time_zone = '+00:00';").expect_success();
        house.run(&mut session, read).was("+00:00\t77\ta", "replica", READS);
        session.run("CREATE DATABASE other; CREATE TABLE other.orders (id INT);").expect_success();
        session.run("USE other;").expect_success();
        house.run(&mut session, COUNT).was("0", "replica", READS);
        session.run("USE shop;").expect_success();
        house.run(&mut session, COUNT).was("3", "replica", READS);
        // What a read has left is asked for where it ran.
        let warns = "SELECT 1 + 'x' AS warns";
        house.run(&mut session, warns).was("1", "replica", READS);
        let shown = house.run(&mut session, "SHOW WARNINGS");
        assert!(shown.answer.contains("x"), "{product:?}: {}", shown.answer);
        assert_eq!(shown.route, "replica");
        house.run(&mut session, COUNT).was("3", "replica", READS);
        // Variables of the client's own do not follow, and nothing that hangs on them leaves.
        session.run("SET @a = 5;").expect_success();
        house.run(&mut session, "SELECT @a").was(
            "5",
            "primary",
            "only one session at one server has user variables",
        );
        house.run(&mut session, COUNT).was("3", "replica", READS);
        for (text, what) in [
            (
                "SET SESSION transaction_isolation = 'SERIALIZABLE'",
                "SERIALIZABLE as its isolation level",
            ),
            ("SET SESSION timestamp = 1", "settings that are not carried along"),
            ("CREATE TEMPORARY TABLE scratch (id INT)", "temporary tables"),
            ("SELECT GET_LOCK('a', 1)", "locks by name"),
            ("LOCK TABLES orders READ", "locked tables"),
            ("PREPARE s FROM 'SELECT 1'", "statements prepared by SQL"),
        ] {
            let mut session = house.open();
            if product == Product::MariaDb && text.contains("transaction_isolation") {
                session.run("SET SESSION tx_isolation = 'SERIALIZABLE';").expect_success();
            } else {
                session.run(&format!("{text};")).expect_success();
            }
            let pinned = format!("the session has {what}");
            house.run(&mut session, COUNT).was("3", "primary", &pinned);
        }
    }
}

#[test]
fn a_replica_that_dies_costs_nothing_but_time() {
    for product in products_available() {
        let mut house = House::start(product);
        let mut session = house.open();
        let slow = "SELECT COUNT(*), SLEEP(2) FROM orders WHERE id = 1";
        session.send(&format!("{slow};"));
        eventually("it to run", || (house.route_after(slow, 0).0 == "replica").then_some(()));
        house.replicas.iter_mut().for_each(Mysql::crash);
        assert_eq!(session.finish().expect_success().trim(), "1\t0");
        let route = house.route_after(slow, 1);
        assert_eq!(route, ("primary".into(), "the replica that had it was lost".into()));
        assert_eq!(house.run(&mut session, "SELECT 2 AS two").route, "primary");
    }
}

#[test]
fn a_read_whose_connection_is_killed_at_the_replica_is_done_at_the_primary() {
    for product in products_available() {
        let house = House::start(product);
        let mut session = house.open();
        // Somebody ends the connection there: the client has seen nothing of it.
        let killed = "SELECT COUNT(*) AS killed, SLEEP(3) FROM orders WHERE id = 1";
        session.send(&format!("{killed};"));
        let find = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT COUNT(*) AS killed%'";
        eventually("it to run", || {
            house.replicas.iter().find_map(|replica| {
                let id = replica.sql(find).trim().to_owned();
                (!id.is_empty()).then(|| replica.sql(&format!("KILL {id}")))
            })
        });
        assert_eq!(session.finish().expect_success().trim(), "1\t0");
        let (route, rule) = house.route_after(killed, 1);
        assert_eq!(route, "primary");
        assert!(
            rule.starts_with("a replica had refused it") || rule.contains("was lost"),
            "{rule}"
        );
        eventually("a replica to answer", || {
            (house.run(&mut session, COUNT).route == "replica").then_some(())
        });
    }
}
