//! A server of either engine with the same tables, the proxy before it, and a command line's session through it.

use std::time::Duration;

use crate::support::{
    Config, Daypass, Mysql, Options, Output, Postgres, Product, Shell, eventually,
    products_available,
};

/// What stands behind the proxy.
enum Server {
    Postgres(Postgres),
    Mysql(Mysql),
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL, the distribution's.
    Postgres,
    /// The two that speak MySQL's protocol.
    Mysql(Product),
}

/// Why a statement did not come to its end, whatever the wire calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its grant is missing.
    Denied,
    /// It was stopped.
    Cancelled,
    /// Its transaction used a grant that has ended.
    TransactionEnded,
    /// Nothing could be recorded.
    AuditDown,
    /// The session was ended.
    SessionEnded,
    /// Something else: its SQLSTATE or number.
    Other,
}

/// Server and proxy, with both locks. The database is called `shop`, and so is MySQL's schema.
pub struct House {
    server: Server,
    pub engine: Engine,
    pub daypass: Daypass,
}

const ROWS: &str = "INSERT INTO orders VALUES (1, 'new'), (2, 'new'), (3, 'paid')";

/// With the second lock, as it is by default.
fn entry(engine: &str, url: &str) -> String {
    format!("name = \"shop\"\nengine = \"{engine}\"\nprimary = \"{url}\"\n")
}

/// Runs a test on each engine.
pub fn each(test: impl Fn(&mut House)) {
    each_with(Config::new, test);
}

/// Likewise, with more configuration.
pub fn each_with(config: impl Fn() -> Config, test: impl Fn(&mut House)) {
    let mysql = products_available().into_iter().map(Engine::Mysql);
    for engine in std::iter::once(Engine::Postgres).chain(mysql) {
        eprintln!("on {engine:?}");
        test(&mut House::start(engine, config()));
    }
}

impl House {
    fn start(engine: Engine, config: Config) -> Self {
        let (server, daypass) = match engine {
            Engine::Postgres => {
                let server = Postgres::start(Options::default());
                server.sql("CREATE DATABASE shop");
                server.sql_in(
                    "shop",
                    &format!(
                        "CREATE TABLE orders (id int PRIMARY KEY, status text);
                         CREATE TABLE cards (id int, number text); {ROWS}"
                    ),
                );
                let url = server.url("postgres", "shop");
                let daypass = Daypass::start(config.database(&entry("postgres", &url)));
                (Server::Postgres(server), daypass)
            }
            Engine::Mysql(product) => {
                let server = Mysql::start(product);
                server.sql(&format!(
                    "SET GLOBAL innodb_flush_log_at_trx_commit = 1; USE shop;
                     CREATE TABLE orders (id INT PRIMARY KEY, status TEXT);
                     CREATE TABLE cards (id INT, number TEXT); {ROWS}"
                ));
                let config = config.mysql_listener("shop", "");
                let daypass = Daypass::start(config.database(&entry("mysql", &server.url("root"))));
                (Server::Mysql(server), daypass)
            }
        };
        Self { server, engine, daypass }
    }

    /// A relation as grants name it.
    pub fn relation(&self, name: &str) -> String {
        match self.engine {
            Engine::Postgres => format!("public.{name}"),
            Engine::Mysql(_) => format!("shop.{name}"),
        }
    }

    /// Grants somebody for an hour to read a table: the grant's id.
    pub fn may_read(&self, user: &str, table: &str) -> String {
        let privilege = format!("READ ON TABLE {}", self.relation(table));
        self.daypass.grant(user, "shop", &[&privilege])
    }

    /// Grants somebody for an hour to read the whole schema: the grant's id.
    pub fn level_on_schema(&self, user: &str) -> String {
        let schema = match self.engine {
            Engine::Postgres => "public",
            Engine::Mysql(_) => "shop",
        };
        self.daypass.grant(user, "shop", &[&format!("READ ON SCHEMA {schema}")])
    }

    /// Whether the server itself would let that account read a table.
    pub fn server_lets(&self, account: &str, table: &str) -> bool {
        let text = match self.engine {
            Engine::Postgres => {
                format!("SELECT has_table_privilege('{account}', '{table}', 'SELECT')::int")
            }
            Engine::Mysql(_) => format!(
                "SELECT COUNT(*) FROM mysql.tables_priv WHERE User = '{account}' \
                 AND Table_name = '{table}' AND FIND_IN_SET('Select', Table_priv)"
            ),
        };
        self.sql(&text) == "1"
    }

    /// A session of that user, whose token it is.
    pub fn open(&self, user: &str, token: &str) -> Shell {
        match self.engine {
            Engine::Postgres => self.daypass.open_psql(user, token, "shop"),
            Engine::Mysql(_) => self.daypass.open_mariadb(user, token, "shop"),
        }
    }

    /// A statement that reads the orders for ten minutes, with a mark by which it is found.
    pub fn slow(&self, mark: &str) -> String {
        let sleep = match self.engine {
            Engine::Postgres => "pg_sleep",
            Engine::Mysql(_) => "SLEEP",
        };
        format!("SELECT {sleep}(600), '{mark}' FROM orders WHERE id > 0;")
    }

    /// Runs SQL at the server itself: rows bare.
    pub fn sql(&self, text: &str) -> String {
        match &self.server {
            Server::Postgres(server) => server.sql_in("shop", text),
            Server::Mysql(server) => server.sql(&format!("USE shop; {text}")),
        }
    }

    /// Whether the server runs the statement with that mark.
    pub fn runs(&self, mark: &str) -> bool {
        let text = match self.engine {
            Engine::Postgres => format!(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                 AND query LIKE '%''{mark}''%' AND pid <> pg_backend_pid()"
            ),
            Engine::Mysql(_) => format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Query' \
                 AND info LIKE '%''{mark}''%' AND id <> CONNECTION_ID()"
            ),
        };
        self.sql(&text) != "0"
    }

    /// Waits until it does.
    pub fn until_it_runs(&self, mark: &str) {
        eventually("the statement to run", || self.runs(mark).then_some(()));
    }

    /// Waits until it does not.
    pub fn until_it_ends(&self, mark: &str) {
        eventually("the statement to end", || (!self.runs(mark)).then_some(()));
    }

    /// Ends every connection that a client of the proxy's has there.
    pub fn end_connections(&self, mark: &str) {
        let text = match self.engine {
            Engine::Postgres => format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE query LIKE '%''{mark}''%' AND pid <> pg_backend_pid()"
            ),
            Engine::Mysql(_) => {
                let id = self.sql(&format!(
                    "SELECT id FROM information_schema.processlist \
                     WHERE info LIKE '%''{mark}''%' AND id <> CONNECTION_ID()"
                ));
                format!("KILL CONNECTION {id}")
            }
        };
        self.sql(&text);
    }

    /// The server goes without a word.
    pub fn crash(&mut self) {
        match &mut self.server {
            Server::Postgres(server) => server.crash(),
            Server::Mysql(server) => server.crash(),
        }
    }

    /// And comes back.
    pub fn start_again(&mut self) {
        match &mut self.server {
            Server::Postgres(server) => server.start_again(),
            Server::Mysql(server) => server.start_again(),
        }
    }

    /// What statements came to that failed, in order.
    pub fn failures(&self, output: &Output) -> Vec<Failure> {
        let read = |code: &String| match (self.engine, code.as_str()) {
            (Engine::Postgres, "42501") if output.stderr.contains("can only be rolled back") => {
                Failure::TransactionEnded
            }
            (Engine::Postgres, "42501") => Failure::Denied,
            (Engine::Postgres, "57014") => Failure::Cancelled,
            (Engine::Postgres, "58030") => Failure::AuditDown,
            (Engine::Postgres, "57P01") => Failure::SessionEnded,
            (Engine::Mysql(_), "1227") if output.stderr.contains("can only be rolled back") => {
                Failure::TransactionEnded
            }
            (Engine::Mysql(_), "1142" | "1143" | "1227") => Failure::Denied,
            (Engine::Mysql(_), "1317") => Failure::Cancelled,
            (Engine::Mysql(_), "1927" | "1053" | "2006" | "2013" | "4031") => Failure::SessionEnded,
            (Engine::Mysql(_), "1105") if output.stderr.contains("audit stream") => {
                Failure::AuditDown
            }
            _ => Failure::Other,
        };
        let codes = match self.engine {
            Engine::Postgres => output.sqlstates(),
            Engine::Mysql(_) => output.errnos(),
        };
        codes.iter().map(read).collect()
    }

    /// Runs lines in a session: they fail so, once, or not at all.
    #[track_caller]
    pub fn run(&self, session: &mut Shell, text: &str, fails: Option<Failure>) -> String {
        let output = session.run(text);
        self.judge(&output, fails)
    }

    /// Waits for what was last sent in a session.
    #[track_caller]
    pub fn finish(&self, session: &mut Shell, fails: Option<Failure>) -> String {
        let output = session.finish();
        self.judge(&output, fails)
    }

    #[track_caller]
    fn judge(&self, output: &Output, fails: Option<Failure>) -> String {
        let found = self.failures(output);
        assert_eq!(found, fails.into_iter().collect::<Vec<_>>(), "{:?}: {output:#?}", self.engine);
        format!("{}{}", output.stdout, output.stderr)
    }

    /// How a statement with that mark ended, by its records; waits for them.
    pub fn outcome(&self, mark: &str) -> String {
        let decision = self.daypass.wait_audit("the decision", |record| {
            record["kind"] == "decision" && record["text"].to_string().contains(mark)
        });
        let result = self.daypass.wait_audit("the result", |record| {
            record["kind"] == "result"
                && record["session"] == decision["session"]
                && record["statement"] == decision["statement"]
        });
        result["outcome"].as_str().unwrap().to_owned()
    }

    /// Waits until so many sessions are open.
    pub fn until_sessions(&self, count: usize) {
        eventually("sessions to come or go", || {
            let listed = self.daypass.cli(&["session", "list", "--output", "json"]).stdout;
            (listed.matches("\"s_").count() == count).then_some(())
        });
    }
}

/// How long a statement is watched for not ending.
pub const A_WHILE: Duration = Duration::from_millis(300);
