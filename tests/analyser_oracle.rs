//! The server as oracle for the analyser: what the analysis says a statement needs is granted to an
//! otherwise powerless role, and the server must not find a privilege missing; then one element at a time
//! is taken away, which shows where more is asked for than the server wants.
//!
//! Starts a PostgreSQL of its own in a temporary folder; `DAYPASS_PG_BIN` names another's binaries.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "oracle/generator.rs"]
mod generator;
#[path = "oracle/mod.rs"]
mod oracle;

use std::collections::BTreeSet;

use daypass::sql::access::{Access, Columns};
use daypass::sql::postgres::{ParseLimits, Scope, analyse};
use daypass::sql::statement::NotUnderstood;
use generator::Generator;
use oracle::{Server, ask, catalogs, grant, load, stricter};
use tokio_postgres::{Client, NoTls};

/// The statement runs, and is rolled back.
const RUN: &str = "explain (analyze, costs off)";

const SCHEMA: &str = include_str!("analyser_schema.sql");

/// Security-invoker views, from PostgreSQL 15 on.
const INVOKERS: &str = "
    create view invoker with (security_invoker) as select t1.a, t2.e from t1 join t2 using (c);
    create view invoker_below with (security_invoker = on) as select e from invoker;
    create view simple with (security_invoker = 1) as select id, a from t4;
    create view owner_below as select e from invoker;
";

/// For definitions: relations of every kind, and what hangs on them.
const DEFINED: &str = "
    create table keyed (id int primary key, one int, two int, unique (one, two));
    alter table keyed add constraint keyed_self foreign key (one) references keyed (id);
    create unique index keyed_pkey_not on keyed (two);
    create table numbered (id serial);
    create table app.lone (id int, total int, status int);
    create table app.parts (k int, v int) partition by list (k);
    create table app.part_one partition of app.parts for values in (1);
    create table closed.part_two partition of app.parts for values in (2);
    create table loose (k int, v int);
    create view app.shown as select 1 as a;
    create materialized view app.kept as select 1 as a;
    create sequence app.counted;
    create type app.point as (x int, y int);
    create type app.state as enum ('first', 'second');
    create domain app.small as int;
    create statistics app.spread on a, b from t1;
    create table ruled (a int);
    create policy first on ruled using (a > 0);
    create rule second as on delete to ruled do instead nothing;
    create function fires() returns trigger language plpgsql as 'begin return new; end';
    create trigger third before insert on ruled for each row execute function fires();
";
const DEFINITIONS: &str = include_str!("analyser_definitions.sql");

/// By hand: what a generator would hardly make.
const METADATA: &str = include_str!("analyser_metadata.sql");
const STATEMENTS: &str = include_str!("analyser_oracle.sql");

#[derive(Default)]
struct Tally {
    asked: usize,
    skipped: usize,
    invalid: usize,
    elements: usize,
    unneeded: BTreeSet<String>,
    /// By rule: see [`stricter`].
    stricter: BTreeSet<String>,
    failures: Vec<String>,
}

/// Asks about a statement as it is, or below EXPLAIN (`how`).
async fn check(client: &Client, scope: &Scope<'_>, how: &str, text: &str, tally: &mut Tally) {
    let statement = match analyse(text, scope, &ParseLimits::default()) {
        Ok(analysis) => analysis.statements.into_iter().next().expect("a statement"),
        Err(NotUnderstood::Undefined { sqlstate, message, .. }) => {
            let (code, said) = ask(client, how, "", text, None).await;
            if code.is_empty() {
                tally.failures.push(format!(
                    "not resolved, but the server does ({sqlstate} {message}): {text}"
                ));
            } else if code != sqlstate && code != "42803" {
                // (A statement with two mistakes may be told of the other one first.)
                tally
                    .failures
                    .push(format!("{sqlstate} {message}, the server {code} {said}: {text}"));
            }
            tally.invalid += 1;
            return;
        }
        Err(error) => {
            tally.failures.push(format!("not understood ({error}): {text}"));
            return;
        }
    };
    let accesses = &statement.accesses;
    let grants = |skip: Option<(usize, Option<&str>)>| -> Option<String> {
        let kept = accesses.iter().enumerate().filter_map(|(at, access)| match skip {
            Some((skipped, None)) if skipped == at => None,
            Some((skipped, column)) if skipped == at => Some(grant(access, column, scope.catalog)),
            _ => Some(grant(access, None, scope.catalog)),
        });
        kept.collect()
    };
    let Some(granted) = grants(None) else {
        tally.skipped += 1;
        return;
    };
    let (code, message) = ask(client, how, &granted, text, Some("probe")).await;
    if code == "42501" {
        tally.failures.push(format!("UNDER-ASKED {message}: {text}\n    {accesses:?}"));
        return;
    }
    if !code.is_empty() {
        tally.invalid += 1;
        if std::env::var_os("ORACLE_VERBOSE").is_some() {
            println!("invalid {code} {message}: {text}");
        }
        return;
    }
    tally.asked += 1;
    for (at, access) in accesses.iter().enumerate() {
        if *access == Access::Metadata {
            continue;
        }
        if stricter(access, scope.catalog) {
            tally.stricter.insert(access.to_string());
            continue;
        }
        let without: Vec<Option<&str>> = match access {
            Access::Privilege { columns: Columns::Named(names), .. } => {
                names.iter().map(|name| Some(&**name)).collect()
            }
            _ => vec![None],
        };
        for column in without {
            tally.elements += 1;
            let (code, _) =
                ask(client, how, &grants(Some((at, column))).unwrap(), text, Some("probe")).await;
            if code != "42501" {
                tally.unneeded.insert(format!("{access} without {column:?}: {text}"));
            }
        }
    }
}

/// A server with the objects of SCHEMA, a superuser's connection, and its version.
async fn start() -> Option<(Server, Client, i32)> {
    let Some(server) = Server::start() else {
        println!("SKIPPED: no PostgreSQL that could be started; set DAYPASS_PG_BIN.");
        return None;
    };
    let config = format!("host={} user=postgres dbname=postgres", server.folder.path().display());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("select current_setting('server_version_num')::int", &[]).await;
    let version = row.unwrap().get(0);
    client.batch_execute(SCHEMA).await.unwrap();
    Some((server, client, version))
}

/// Lines of statements, without those that only later versions understand.
fn lines(text: &'static str, version: i32) -> impl Iterator<Item = &'static str> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("--"));
    lines.filter_map(move |line| {
        // `18| statement`: only from that version on.
        let (since, text) =
            line.split_once("| ").filter(|(head, _)| head.len() == 2).unwrap_or(("13", line));
        (version / 10_000 >= since.parse::<i32>().unwrap()).then_some(text)
    })
}

#[tokio::test]
async fn definitions_take_what_the_server_asks_of_who_makes_them() {
    let Some((server, client, version)) = start().await else { return };
    client.batch_execute(DEFINED).await.unwrap();
    let (catalog, path) = load(&catalogs(&server, "postgres"), &client).await;
    let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
    let (mut exact, mut stricter) = (Tally::default(), Tally::default());
    for line in lines(DEFINITIONS, version) {
        match line.strip_prefix("> ") {
            Some(text) => {
                check(&client, &scope, "", text, &mut stricter).await;
                let more = stricter.unneeded.iter().any(|line| line.ends_with(text));
                assert!(more, "no stricter than the server: {text}");
            }
            None => check(&client, &scope, "", line, &mut exact).await,
        }
    }
    for tally in [&exact, &stricter] {
        println!(
            "server {version}: {} asked, {} elements, {} invalid, {} skipped, {} not needed",
            tally.asked,
            tally.elements,
            tally.invalid,
            tally.skipped,
            tally.unneeded.len()
        );
        assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
        assert_eq!((tally.invalid, tally.skipped), (0, 0));
    }
    let more: Vec<&str> = exact.unneeded.iter().map(String::as_str).collect();
    assert!(more.is_empty(), "more than the server wants:\n{}", more.join("\n"));
}

#[tokio::test]
async fn the_server_wants_no_more_than_the_analysis() {
    let Some((server, client, version)) = start().await else { return };
    if version >= 150_000 {
        client.batch_execute(INVOKERS).await.unwrap();
    }
    let (catalog, path) = load(&catalogs(&server, "postgres"), &client).await;
    let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
    let queries = METADATA.split("\n\n").filter(|query| !query.starts_with("--"));
    let refused: Vec<String> = queries
        .filter_map(|query| match analyse(query, &scope, &ParseLimits::default()) {
            Ok(analysis) => {
                let mut accesses = analysis.statements.iter().flat_map(|s| &s.accesses);
                let more = accesses.find(|access| **access != Access::Metadata)?;
                Some(format!("{more}: {query}"))
            }
            // Catalogs of other versions lack columns that psql 15 asks this one for.
            Err(NotUnderstood::Undefined { .. }) if version / 10_000 != 15 => None,
            Err(error) => Some(format!("{error:?}: {query}")),
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n\n"));

    let mut by_hand = Tally::default();
    for text in lines(STATEMENTS, version) {
        check(&client, &scope, RUN, text, &mut by_hand).await;
    }
    let mut made = Tally::default();
    let seed = std::env::var("ORACLE_SEED").ok().and_then(|n| n.parse().ok());
    let mut generator = Generator::new(seed.unwrap_or(20_261_124));
    let rounds = std::env::var("ORACLE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    for _ in 0..rounds {
        let text = generator.statement();
        check(&client, &scope, RUN, &text, &mut made).await;
    }
    for (name, tally) in [("by hand", &by_hand), ("made", &made)] {
        println!(
            "{name}, server {version}: {} asked, {} invalid, {} skipped; {} of {} elements not needed",
            tally.asked,
            tally.invalid,
            tally.skipped,
            tally.unneeded.len(),
            tally.elements
        );
        for line in &tally.unneeded {
            println!("  over-asked {line}");
        }
        for line in &tally.stricter {
            println!("  stricter by rule: {line}");
        }
        assert!(tally.failures.is_empty(), "{name}:\n{}", tally.failures.join("\n"));
    }
    assert!(by_hand.asked > 100 && made.asked > rounds / 3, "too few were asked");
    // What more is asked for on purpose is in the statements by hand; elsewhere it is an exception. Of
    // functions that is more: whether a check runs hangs on the rows, and what type an expression has is
    // not always known.
    let functions = made.unneeded.iter().filter(|line| line.starts_with("EXECUTE")).count();
    let others = made.unneeded.len() - functions;
    assert!(
        others * 40 <= made.elements && functions * 10 <= made.elements,
        "too much is asked for"
    );
}
