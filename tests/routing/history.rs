//! Many sessions write and read back what they wrote, in every way that a client may ask, while replicas stop
//! replaying, fall behind, are killed, hang, come back and one is promoted. `DAYPASS_SEED` repeats the choices.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

use crate::generator::Random;
use crate::shop::{Shop, hang, wake};
use crate::support::{Postgres, eventually};

const SESSIONS: usize = 8;
const RUNS_FOR: Duration = Duration::from_secs(14);

const TABLES: &str = "
    CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO counters SELECT n, 0 FROM generate_series(0, 31) n;
    CREATE TABLE marks (session int, mark text);
    CREATE FUNCTION bump(which int, mark text) RETURNS int LANGUAGE sql AS
        'UPDATE counters SET n = n + 1 WHERE id = which RETURNING n'";

/// What a client may see of a read that could not be done: that the connection or its server went, that what it
/// read is gone, or that its transaction was at a replica that was lost.
const HONEST: [&str; 5] = ["08006", "40001", "57P01", "57P02", "57P03"];

/// How a statement is sent.
#[derive(Clone, Copy, Debug)]
enum Way {
    Simple,
    Unnamed,
    Named,
    Prepared,
}

const WAYS: [Way; 4] = [Way::Simple, Way::Unnamed, Way::Named, Way::Prepared];

/// What a session sets `work_mem` to, the server's own first.
const SETTINGS: [&str; 3] = ["4MB", "5MB", "70kB"];

struct Link {
    client: Client,
    count: Statement,
    add: Statement,
}

/// One session, and what it knows it has written.
struct Writer {
    number: i32,
    random: Random,
    config: Config,
    link: Link,
    /// Committed additions.
    written: i32,
    /// Committed marks.
    marked: i64,
    /// Whether the session at hand has written: a new one may see an older state.
    own: bool,
    /// What its `work_mem` is.
    setting: &'static str,
    /// Marks in the texts of what writes: each is to be in the primary's log once.
    marks: Vec<String>,
    failed_reads: usize,
    reads: usize,
}

async fn connect(config: &Config) -> Link {
    // A server may be on its way down while the session moves in.
    let (client, connection) = config.connect(NoTls).await.expect("the primary is there");
    tokio::spawn(connection);
    let count = client.prepare("SELECT n FROM counters WHERE id = $1").await.unwrap();
    let add = "UPDATE counters SET n = n + 1 WHERE id = $1 AND $2 <> '' RETURNING n";
    let add = client.prepare_typed(add, &[Type::INT4, Type::TEXT]).await.unwrap();
    Link { client, count, add }
}

fn only_value(rows: &[SimpleQueryMessage]) -> Option<i32> {
    rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    })
}

type Answer<T> = Result<T, tokio_postgres::Error>;

impl Writer {
    fn mark(&mut self) -> String {
        let mark = format!("w-{}-{}-w", self.number, self.marks.len());
        self.marks.push(mark.clone());
        mark
    }

    fn way(&mut self) -> Way {
        WAYS[self.random.below(WAYS.len())]
    }

    /// Adds one: what the counter is then.
    async fn add(&mut self, way: Way) -> Answer<i32> {
        let (number, mark) = (self.number, self.mark());
        let client = &self.link.client;
        let text = match self.random.below(3) {
            0 => format!(
                "UPDATE counters SET n = n + 1 WHERE id = {number} AND '{mark}' <> '' RETURNING n"
            ),
            1 => format!("SELECT bump({number}, '{mark}')"),
            _ => format!(
                "WITH it AS (UPDATE counters SET n = n + 1 WHERE id = {number} AND '{mark}' <> '' \
                 RETURNING n) SELECT n FROM it"
            ),
        };
        Ok(match way {
            Way::Simple => only_value(&client.simple_query(&text).await?).unwrap(),
            Way::Unnamed => client.query_typed(&text, &[]).await?[0].get(0),
            Way::Named => client.query_one(&text, &[]).await?.get(0),
            Way::Prepared => client.query_one(&self.link.add, &[&number, &mark]).await?.get(0),
        })
    }

    /// What the counter is.
    async fn count(&self, way: Way) -> Answer<i32> {
        let (number, client) = (self.number, &self.link.client);
        let text = format!("SELECT n FROM counters WHERE id = {number}");
        Ok(match way {
            Way::Simple => only_value(&client.simple_query(&text).await?).unwrap(),
            Way::Unnamed => {
                let text = "SELECT n FROM counters WHERE id = $1";
                client.query_typed(text, &[(&number, Type::INT4)]).await?[0].get(0)
            }
            Way::Named => client.query_one(&text, &[]).await?.get(0),
            Way::Prepared => client.query_one(&self.link.count, &[&number]).await?.get(0),
        })
    }

    async fn marks_there(&self) -> Answer<i64> {
        let text = "SELECT count(*) FROM marks WHERE session = $1";
        Ok(self.link.client.query_typed(text, &[(&self.number, Type::INT4)]).await?[0].get(0))
    }

    #[track_caller]
    fn saw(&self, what: &str, seen: i64, written: i64) {
        let number = self.number;
        let stale = if self.own { seen < written } else { seen < 0 };
        assert!(!stale, "session {number}: {what} is {seen}, and it had written {written}");
        assert!(seen <= written, "session {number}: {what} is {seen}, more than {written}");
    }

    /// A read has failed: honestly, and only the session with it.
    async fn failed(&mut self, error: &tokio_postgres::Error) {
        let honest = error.code().map_or(error.is_closed(), |code| HONEST.contains(&code.code()))
            // The connection ended between two words.
            || error.code().is_none() && self.link.client.is_closed();
        assert!(honest, "session {}: {error:?}", self.number);
        self.failed_reads += 1;
        // A FATAL error comes before the end that it announces.
        let fatal = error.as_db_error().is_some_and(|said| said.severity() == "FATAL");
        if fatal || self.link.client.is_closed() {
            self.reconnect().await;
        } else {
            self.link.client.batch_execute("ROLLBACK").await.unwrap();
        }
    }

    async fn reconnect(&mut self) {
        self.link = connect(&self.config).await;
        (self.own, self.setting) = (false, SETTINGS[0]);
    }

    async fn write(&mut self) {
        let way = self.way();
        match self.random.below(5) {
            0 => {
                let mark = self.mark();
                let text = format!("INSERT INTO marks VALUES ({}, '{mark}')", self.number);
                self.write_in(&text).await;
                self.marked += 1;
            }
            1 => {
                // In a transaction that does or does not come to be.
                self.link_do("BEGIN").await;
                let added = self.add(way).await.unwrap();
                self.saw_exactly(added, self.written + 1);
                let seen = self.count(way).await.unwrap();
                self.saw_exactly(seen, self.written + 1);
                if self.random.below(2) == 0 {
                    self.link_do("COMMIT").await;
                    self.written += 1;
                } else {
                    self.link_do("ROLLBACK").await;
                }
            }
            _ => {
                let added = self.add(way).await.unwrap();
                self.written += 1;
                self.saw_exactly(added, self.written);
            }
        }
        self.own = true;
    }

    /// Writes by a text, alone or in one message with a read.
    async fn write_in(&mut self, text: &str) {
        if self.random.below(2) == 0 {
            self.link_do(text).await;
            return;
        }
        let both =
            format!("{text}; SELECT count(*)::int FROM marks WHERE session = {}", self.number);
        let seen = only_value(&self.link.client.simple_query(&both).await.unwrap()).unwrap();
        assert_eq!(i64::from(seen), self.marked + 1, "session {}", self.number);
    }

    async fn link_do(&self, text: &str) {
        self.link.client.batch_execute(text).await.unwrap();
    }

    #[track_caller]
    fn saw_exactly(&self, seen: i32, written: i32) {
        assert_eq!(seen, written, "session {}", self.number);
    }

    async fn read(&mut self) {
        self.reads += 1;
        let way = self.way();
        let read = match self.random.below(8) {
            0 => self.marks_there().await.map(|seen| self.saw("its marks", seen, self.marked)),
            1 => self.read_twice(way).await,
            2 => self.read_setting().await,
            3 => {
                let both = (self.count(way), self.count(Way::Prepared));
                let both = futures_util::future::try_join(both.0, both.1).await;
                both.map(|(one, other)| {
                    for seen in [one, other] {
                        self.saw("its counter", seen.into(), self.written.into());
                    }
                })
            }
            _ => {
                let seen = self.count(way).await;
                seen.map(|seen| self.saw("its counter", seen.into(), self.written.into()))
            }
        };
        if let Err(error) = read {
            self.failed(&error).await;
        }
    }

    /// A READ ONLY transaction sees one state, if it is REPEATABLE READ.
    async fn read_twice(&self, way: Way) -> Answer<()> {
        let client = &self.link.client;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let seen = (self.count(way).await?, self.count(way).await?);
        assert_eq!(seen.0, seen.1, "session {}", self.number);
        self.saw("its counter", seen.0.into(), self.written.into());
        client.batch_execute("COMMIT").await
    }

    /// A setting is wherever the session reads it.
    async fn read_setting(&mut self) -> Answer<()> {
        if self.random.below(3) == 0 {
            let value = SETTINGS[self.random.below(SETTINGS.len())];
            self.link.client.batch_execute(&format!("SET work_mem = '{value}'")).await?;
            self.setting = value;
        }
        let text = "SELECT current_setting('work_mem')";
        let seen: String = self.link.client.query_typed(text, &[]).await?[0].get(0);
        assert_eq!(seen, self.setting, "session {}", self.number);
        Ok(())
    }

    async fn run(mut self, until: Instant) -> Self {
        while Instant::now() < until {
            match self.random.below(10) {
                0..3 => self.write().await,
                3..6 => {
                    self.write().await;
                    self.read().await;
                }
                6..9 => self.read().await,
                _ => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
        self
    }
}

/// What befalls the replicas.
fn trouble(replicas: &mut [Postgres], mut random: Random, ends: &AtomicBool) -> Vec<String> {
    let mut done = Vec::new();
    let mut promoted = false;
    while !ends.load(Ordering::Relaxed) {
        let one = random.below(replicas.len());
        let last = replicas.len() - 1;
        let began = Instant::now();
        let what = match random.below(8) {
            _ if promoted && one == last => continue,
            0 | 1 => {
                replicas[one].sql("SELECT pg_wal_replay_pause()");
                std::thread::sleep(Duration::from_millis(300));
                replicas[one].sql("SELECT pg_wal_replay_resume()");
                "pause".to_owned()
            }
            2 | 3 => {
                let delay = ["0", "0", "20ms", "500ms"][random.below(4)];
                replicas[one].configure(&[&format!("recovery_min_apply_delay = '{delay}'")]);
                format!("delay {delay}")
            }
            4 => {
                replicas[one].crash();
                std::thread::sleep(Duration::from_millis(50));
                replicas[one].start_again();
                "crash".to_owned()
            }
            5 => {
                hang(&replicas[one]);
                std::thread::sleep(Duration::from_millis(300));
                wake(&replicas[one]);
                "hang".to_owned()
            }
            _ if done.len() > 25 && one == last => {
                replicas[one].sql("SELECT pg_wal_replay_resume()");
                replicas[one].sql("SELECT pg_promote()");
                promoted = true;
                "promote".to_owned()
            }
            _ => continue,
        };
        done.push(format!("{one}: {what} {:?}", began.elapsed()));
        std::thread::sleep(Duration::from_millis(20 + random.below(150) as u64));
    }
    done
}

fn seed() -> u64 {
    let given = std::env::var("DAYPASS_SEED").ok();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    given.map_or(now.into(), |seed| seed.parse().expect("DAYPASS_SEED is a number"))
}

#[test]
fn no_session_ever_misses_what_it_wrote_and_no_write_runs_elsewhere_or_twice() {
    let seed = seed();
    println!("DAYPASS_SEED={seed}");
    let mut shop = Shop::start(2, "", &[]);
    shop.primary.sql_in("shop", TABLES);
    shop.replicas.iter().for_each(|replica| replica.wait_replayed(&shop.primary));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut writers = runtime.block_on(prepare(&shop, seed));
    eventually("a replica to answer", || {
        runtime.block_on(writers[0].count(Way::Simple)).unwrap();
        (shop.metric("daypass_statements_at_replicas_total") > 0).then_some(())
    });
    let ends = Arc::new(AtomicBool::new(false));
    let mut replicas = std::mem::take(&mut shop.replicas);
    let troubles = {
        let ends = Arc::clone(&ends);
        std::thread::spawn(move || {
            let done = trouble(&mut replicas, Random::new(seed ^ 0xdead), &ends);
            (replicas, done)
        })
    };
    let until = Instant::now() + RUNS_FOR;
    let tasks: Vec<_> = writers.drain(..).map(|it| runtime.spawn(it.run(until))).collect();
    let writers = runtime.block_on(futures_util::future::join_all(tasks));
    ends.store(true, Ordering::Relaxed);
    let (replicas, done) = troubles.join().unwrap();
    shop.replicas = replicas;
    let writers: Vec<Writer> = writers.into_iter().map(Result::unwrap).collect();
    judge(&shop, &writers, &done);
}

async fn prepare(shop: &Shop, seed: u64) -> Vec<Writer> {
    let mut writers = Vec::new();
    for number in 0..SESSIONS {
        let user = format!("writer{number}");
        shop.daypass.grant(&user, "shop", &["WRITE ON SCHEMA public", "EXECUTE ON SCHEMA public"]);
        let token = shop.daypass.token(&user);
        let mut config = Config::new();
        config.host("127.0.0.1").port(shop.daypass.port()).user(&user).password(&token);
        config.dbname("shop");
        writers.push(Writer {
            number: i32::try_from(number).unwrap(),
            random: Random::new(seed.wrapping_add(number as u64 * 7919)),
            link: connect(&config).await,
            config,
            written: 0,
            marked: 0,
            own: false,
            setting: SETTINGS[0],
            marks: Vec::new(),
            failed_reads: 0,
            reads: 0,
        });
    }
    writers
}

fn judge(shop: &Shop, writers: &[Writer], done: &[String]) {
    let statements = |server: &Postgres| -> Vec<String> {
        // A prepared statement has its parameters in the line behind.
        let told = |line: &&str| {
            ["statement: ", "execute ", "arameters: "].iter().any(|word| line.contains(word))
        };
        server.log().lines().filter(told).map(str::to_owned).collect()
    };
    let mark = regex::Regex::new("w-[0-9]+-[0-9]+-w").unwrap();
    let mut ran: HashMap<String, usize> = HashMap::new();
    for line in statements(&shop.primary) {
        mark.find_iter(&line).for_each(|it| *ran.entry(it.as_str().to_owned()).or_default() += 1);
    }
    for replica in &shop.replicas {
        let seen = statements(replica);
        let wrote = |line: &&String| {
            ["UPDATE counters", "INSERT INTO", "bump("].iter().any(|word| line.contains(word))
        };
        assert_eq!(seen.iter().find(wrote), None, "a write was sent to a replica");
    }
    for writer in writers {
        for mark in &writer.marks {
            assert_eq!(ran.get(mark), Some(&1), "{mark} is to run once");
        }
        let number = writer.number;
        let n = shop.primary.sql_in("shop", &format!("SELECT n FROM counters WHERE id = {number}"));
        assert_eq!(n, writer.written.to_string(), "session {number}");
        let marks = format!("SELECT count(*) FROM marks WHERE session = {number}");
        assert_eq!(shop.primary.sql_in("shop", &marks), writer.marked.to_string());
    }
    let mut routes: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in shop.daypass.audit() {
        let read = record["text"].as_str().is_some_and(|text| text.starts_with("SELECT n "));
        if record["kind"] == "decision" && read {
            let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            *routes.entry((word("route"), word("rule"))).or_default() += 1;
        }
    }
    let at = |site: &str| -> usize {
        routes.iter().filter(|((route, _), _)| route == site).map(|(_, count)| count).sum()
    };
    let (reads, failed): (usize, usize) =
        writers.iter().fold((0, 0), |sum, it| (sum.0 + it.reads, sum.1 + it.failed_reads));
    let writes: usize = writers.iter().map(|it| it.marks.len()).sum();
    let (there, here) = (at("replica"), at("primary"));
    let again = shop.metric("daypass_reads_done_again_total");
    println!(
        "{writes} writes, {reads} reads ({failed} failed): {there} at replicas, {here} at the primary, \
         {again} done again; {done:?}; {routes:#?}"
    );
    assert!(there > 20 && here > 20, "{there} reads at replicas, {here} at the primary");
    assert!(done.len() > 5, "{done:?}");
}
