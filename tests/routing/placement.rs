//! What is confirmed to be read-only runs on a standby, and leaves no trace on a primary whose functions leave one.

use std::time::Duration;

use daypass::sql::catalog::Catalog;
use daypass::sql::placement::Placement;
use daypass::sql::postgres::{ParseLimits, STACK_BYTES, Scope, analyse};
use daypass::upstream::{Catalogs, Target};
use futures_util::TryStreamExt;
use tokio_postgres::{Client, NoTls};

use crate::generator::Generator;
use crate::support::{Options, Postgres};

const SCHEMA: &str = include_str!("../analyser_schema.sql");
/// What is called there leaves a trace, where it can.
const TRACES: &str = include_str!("traces.sql");
const OPERATORS: &str = include_str!("operators.sql");
const STATEMENTS: &str = include_str!("statements.sql");

/// Whatever has written since.
const TRACE: &str = "select (select count(*) from trace) + (select count(*) from traced), \
    (select last_value from steps), pg_current_xact_id_if_assigned()";

/// A primary, its standby, and a session on each as the role that statements run as.
struct House {
    primary: Client,
    standby: Client,
    catalog: Catalog,
    path: Vec<Box<str>>,
    catalogs: Catalogs,
    servers: (Postgres, Postgres),
}

async fn session(server: &Postgres) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&server.url("probe", "postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl House {
    async fn start() -> Self {
        let server = Postgres::start(Options::default());
        server.sql(SCHEMA);
        server.sql(TRACES);
        let replica = server.standby();
        replica.wait_replayed(&server);
        let folder = server.socket_folder();
        let url =
            format!("postgres://loader@/postgres?host={}&port={}", folder.display(), server.port());
        let target = Target::parse(&url, &folder).unwrap();
        let catalogs = Catalogs::spawn(target, Duration::from_hours(1));
        let catalog = catalogs.refresh().await.unwrap().for_own_roles();
        let (primary, standby) = (session(&server).await, session(&replica).await);
        let row = primary.query_one("select current_schemas(true)::text[]", &[]).await.unwrap();
        let path = row.get::<_, Vec<String>>(0).into_iter().map(Box::from).collect();
        Self { primary, standby, catalog, path, catalogs, servers: (server, replica) }
    }

    /// Makes more, everywhere.
    async fn make(&mut self, sql: &str) {
        let (server, replica) = &self.servers;
        server.sql(sql);
        replica.wait_replayed(server);
        self.catalog = self.catalogs.refresh().await.unwrap().for_own_roles();
    }

    /// Where each statement of a text may run; `None` when it is refused.
    fn placements(&self, text: &str) -> Option<Vec<Placement>> {
        let scope = Scope { catalog: &self.catalog, path: &self.path, parameters: &[] };
        let analysis = analyse(text, &scope, &ParseLimits::default()).ok()?;
        Some(analysis.statements.into_iter().map(|statement| statement.placement).collect())
    }

    fn is_confirmed(&self, text: &str) -> Option<bool> {
        let placements = self.placements(text)?;
        Some(placements.iter().all(|placement| *placement == Placement::Anywhere))
    }

    /// Statements by hand that are not what they are marked to be.
    async fn check(&self, statements: &'static str) -> Vec<String> {
        let mut failures = Vec::new();
        for (mark, text) in by_hand(statements) {
            let confirmed = self.is_confirmed(text);
            let (error, left) = self.at_primary(text).await;
            let refused = run(&self.standby, text).await;
            let ok = match mark {
                '=' => confirmed == Some(true) && error.is_none() && refused.is_none() && !left,
                '!' => confirmed == Some(false) && error.is_none() && (refused.is_some() || left),
                '?' => confirmed == Some(false) && error.is_none(),
                other => panic!("{other} {text}"),
            };
            if !ok {
                failures.push(format!(
                    "{mark} {text}\n    {:?}, primary {error:?}, trace {left}, standby {refused:?}",
                    self.placements(text)
                ));
            }
        }
        failures
    }

    /// The error of a statement, or none, and what it left at the primary; all is taken back.
    async fn at_primary(&self, text: &str) -> (Option<String>, bool) {
        let client = &self.primary;
        let trace = || async {
            let rows = client.simple_query(TRACE).await.unwrap();
            format!("{rows:?}")
        };
        client.batch_execute("begin").await.unwrap();
        let before = trace().await;
        let error = run(client, text).await;
        if error.is_some() {
            client.batch_execute("rollback").await.unwrap();
            return (error, false);
        }
        let left = before != trace().await;
        client.batch_execute("rollback").await.unwrap();
        (None, left)
    }
}

/// The SQLSTATE that a statement ends with, if any.
async fn run(client: &Client, text: &str) -> Option<String> {
    let error = if text.starts_with("copy") {
        match client.copy_out(text).await {
            Ok(rows) => rows.try_collect::<Vec<_>>().await.err()?,
            Err(error) => error,
        }
    } else {
        client.simple_query(text).await.err()?
    };
    Some(error.code().unwrap_or_else(|| panic!("{text}: {error}")).code().to_owned())
}

/// Statements by hand: `=` is confirmed; `!` is not, and would be refused or leave a trace; `?` is not, for
/// what it says at a standby is something else.
fn by_hand(text: &'static str) -> impl Iterator<Item = (char, &'static str)> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("--")).map(|line| {
        let (mark, text) = line.split_once(' ').unwrap();
        (mark.chars().next().unwrap(), text)
    })
}

/// The analysis recurses.
fn with_stack(test: impl Future<Output = ()> + Send + 'static) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_is_confirmed_runs_on_a_standby_and_leaves_no_trace() {
    with_stack(async {
        let mut house = House::start().await;
        let (traces, operators) = STATEMENTS.split_once("-- with operators.sql").unwrap();
        let mut failures = house.check(traces).await;
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let (mut confirmed, mut bound, mut traced) = (0, 0, 0);
        let seed = std::env::var("ORACLE_SEED").ok().and_then(|n| n.parse().ok());
        let rounds = std::env::var("ORACLE_ROUNDS").ok().and_then(|n| n.parse().ok());
        let mut generator = Generator::new(seed.unwrap_or(20_261_124));
        for _ in 0..rounds.unwrap_or(1_000) {
            let text = generator.statement();
            let Some(is_confirmed) = house.is_confirmed(&text) else { continue };
            let (error, left) = house.at_primary(&text).await;
            if !is_confirmed {
                bound += usize::from(error.is_none());
                traced += usize::from(left);
                continue;
            }
            let refused = run(&house.standby, &text).await;
            if error != refused || left {
                failures.push(format!("{text}\n    {error:?}, trace {left}, standby {refused:?}"));
            }
            confirmed += usize::from(error.is_none());
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        println!("{confirmed} confirmed, {bound} bound, {traced} of them left a trace");
        house.make(OPERATORS).await;
        let failures = house.check(operators).await;
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        assert!(confirmed > 50 && bound > 50 && traced > 20, "{confirmed} {bound} {traced}");
    });
}
