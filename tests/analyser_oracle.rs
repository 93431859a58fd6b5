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

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use daypass::sql::access::{Access, Columns, Object, Operation};
use daypass::sql::catalog::{Catalog, Function, Relation, RelationKind, Schema, TypeKind};
use daypass::sql::name::Quoted;
use daypass::sql::postgres::{ParseLimits, Scope, analyse};
use daypass::sql::statement::NotUnderstood;
use tokio_postgres::{Client, NoTls};

const SCHEMA: &str = "
    create role probe;
    create schema app;
    create table t1 (a int, b int, c int, d int);
    create table t2 (c int, d int, e int);
    create table t4 (id int primary key, a int);
    create table wide (id int, x int, y int, z int, salary int, data jsonb, tags int[]);
    create table app.orders (id int, total int, status int);
    create table app.t1 (z int);
    create type pair as (one int, two int);
    create table boxes (id int, p pair);
    create view v as select id, salary from wide;
    create table child (extra int) inherits (t2);
    create sequence seq;
    create function add(int, int) returns int language sql immutable as 'select 1';
    create function add(text, text) returns text language plpgsql as 'begin return 1; end';
    create function app.rows() returns setof t2 language sql as 'select 1, 2, 3';
    revoke execute on all functions in schema public, app from public;
    insert into t1 values (1, 2, 3, 4); insert into t2 values (1, 2, 3); insert into t4 values (1, 2);
    insert into wide values (1, 2, 3, 4, 5, '[{\"n\": 1}]', '{1,2}');
    insert into boxes values (1, (1, 2));
    grant usage on schema public, app to probe;
";

/// By hand: what a generator would hardly make.
const METADATA: &str = include_str!("analyser_metadata.sql");
const STATEMENTS: &str = include_str!("analyser_oracle.sql");

struct Server {
    folder: tempfile::TempDir,
    binaries: PathBuf,
}

/// A command that runs as an ordinary user, which the server insists on.
fn ordinary(program: &Path) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

impl Server {
    fn start() -> Option<Self> {
        let binaries = std::env::var_os("DAYPASS_PG_BIN").map(PathBuf::from).or_else(|| {
            let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
            versions.filter_map(Result::ok).map(|entry| entry.path().join("bin")).max()
        })?;
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let server = Self { folder, binaries };
        let data = server.folder.path().join("data");
        let made = ordinary(&server.binaries.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let options =
            format!("-c listen_addresses= -c fsync=off -k {}", server.folder.path().display());
        let started = ordinary(&server.binaries.join("pg_ctl"))
            .args(["-w", "-o", &options, "-l"])
            .arg(server.folder.path().join("log"))
            .arg("-D")
            .arg(&data)
            .arg("start")
            .stdout(Stdio::null())
            .status();
        started.is_ok_and(|status| status.success()).then_some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = ordinary(&self.binaries.join("pg_ctl"))
            .args(["-m", "immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .arg("stop")
            .stdout(Stdio::null())
            .status();
        assert!(stopped.is_ok(), "the server was not stopped");
    }
}

async fn load(client: &Client) -> (Catalog, Vec<Box<str>>) {
    let mut schemas: HashMap<Box<str>, Schema> = HashMap::new();
    let text = |row: &tokio_postgres::Row, at: usize| Box::<str>::from(row.get::<_, String>(at));
    for row in client.query("select nspname::text from pg_namespace", &[]).await.unwrap() {
        schemas.insert(text(&row, 0), Schema::default());
    }
    let relations = "select n.nspname::text, c.relname::text, c.relkind::text,
        coalesce((select array_agg(a.attname::text order by a.attnum) from pg_attribute a
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '{}')
        from pg_class c join pg_namespace n on n.oid = c.relnamespace";
    for row in client.query(relations, &[]).await.unwrap() {
        let relation = Relation {
            kind: match &*row.get::<_, String>(2) {
                "v" => RelationKind::View,
                "m" => RelationKind::MaterializedView,
                "f" => RelationKind::ForeignTable,
                "S" => RelationKind::Sequence,
                "i" | "I" => RelationKind::Index,
                "c" => RelationKind::Composite,
                "t" => RelationKind::Toast,
                _ => RelationKind::Table,
            },
            columns: row.get::<_, Vec<String>>(3).into_iter().map(Box::from).collect(),
            owned_by: None,
            bypassed_row_security: false,
            runs_code: false,
        };
        schemas.get_mut(&text(&row, 0)).unwrap().relations.insert(text(&row, 1), relation);
    }
    let functions = "select n.nspname::text, p.proname::text, oidvectortypes(p.proargtypes)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname not in ('pg_catalog', 'information_schema')";
    for row in client.query(functions, &[]).await.unwrap() {
        let schema = schemas.get_mut(&text(&row, 0)).unwrap();
        let overloads = schema.functions.entry(text(&row, 1)).or_default();
        overloads.push(Function { arguments: text(&row, 2) });
    }
    let types = "select n.nspname::text, t.typname::text from pg_type t
        join pg_namespace n on n.oid = t.typnamespace where t.typtype <> 'c' and t.typcategory <> 'A'";
    for row in client.query(types, &[]).await.unwrap() {
        schemas.get_mut(&text(&row, 0)).unwrap().types.insert(text(&row, 1), TypeKind::Base);
    }
    let row = client.query_one("select current_schemas(true)::text[]", &[]).await.unwrap();
    let path = row.get::<_, Vec<String>>(0).into_iter().map(Box::from).collect();
    let schemas = schemas.into_iter().map(|(name, schema)| (name, Arc::new(schema))).collect();
    (Catalog { version: 1, server_version: 0, schemas, public_temporary: true }, path)
}

/// Grants that cover an access as narrowly as the server allows, without the column `except`.
fn grant(access: &Access, except: Option<&str>, catalog: &Catalog) -> Option<String> {
    let Access::Privilege { operation, object, columns } = access else {
        return Some(String::new());
    };
    let word = operation.keyword();
    Some(match (object, columns) {
        (Object::Relation(name), Columns::Named(columns)) => {
            let kept = columns.iter().filter(|column| Some(&***column) != except);
            let list: Vec<String> = kept.map(|column| Quoted(column).to_string()).collect();
            if list.is_empty() {
                return Some(String::new());
            }
            format!("grant {word} ({}) on {name} to probe;", list.join(", "))
        }
        (Object::Relation(name), Columns::Any) => {
            match catalog.relation(&name.schema, &name.name)?.columns.last() {
                Some(column) => format!("grant {word} ({}) on {name} to probe;", Quoted(column)),
                None => format!("grant {word} on {name} to probe;"),
            }
        }
        (Object::Relation(name), Columns::Whole) => format!("grant {word} on {name} to probe;"),
        (Object::Sequence(name), _) => format!("grant {word} on sequence {name} to probe;"),
        (Object::Function { name, arguments }, _) => {
            format!("grant execute on function {name}({arguments}) to probe;")
        }
        (Object::Database | Object::Schema(_), _) => return None,
    })
}

/// Asks the server as the probe; answers with the SQLSTATE, empty when all went well.
async fn ask(client: &Client, grants: &str, text: &str, probe: bool) -> (String, String) {
    let role = if probe { "set local role probe;" } else { "" };
    client.batch_execute(&format!("begin; {grants} {role}")).await.unwrap();
    let result = client.simple_query(&format!("explain (analyze, costs off) {text}")).await;
    client.batch_execute("rollback").await.unwrap();
    match result {
        Ok(_) => Default::default(),
        Err(error) => {
            let message = error.as_db_error().map_or_else(String::new, |e| e.message().into());
            (error.code().map_or("?", |code| code.code()).into(), message)
        }
    }
}

/// Random statements over the schema, from a fixed seed.
struct Generator(u64);

impl Generator {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A source, its alias and its columns.
    fn source(&mut self, depth: usize, n: usize) -> (String, String, Vec<&'static str>) {
        let alias = format!("s{n}");
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => (format!("t1 as {alias}"), alias, vec!["a", "b", "c", "d"]),
            1 => (format!("only t2 {alias}"), alias, vec!["c", "d", "e"]),
            2 => (format!("t4 as {alias} (id, k)"), alias, vec!["id", "k"]),
            3 => (format!("v {alias}"), alias, vec!["id", "salary"]),
            4 => (format!("app.orders {alias}"), alias, vec!["id", "total", "status"]),
            5 => (format!("({}) {alias}", self.query(depth - 1, &[])), alias, vec!["p", "q"]),
            6 => (format!("(table t4) as {alias} (p)"), alias, vec!["p", "a"]),
            _ => {
                let sub = self.query(depth - 1, &[]);
                (format!("(with w as ({sub}) select q, p from w) {alias}"), alias, vec!["q", "p"])
            }
        }
    }

    fn value(&mut self, depth: usize, scope: &[(String, Vec<&'static str>)]) -> String {
        let column = |this: &mut Self| {
            if scope.is_empty() {
                return "7".to_string();
            }
            let (alias, columns) = &scope[this.below(scope.len())];
            let column = columns[this.below(columns.len())];
            if this.below(5) == 0 { column.to_string() } else { format!("{alias}.{column}") }
        };
        match self.below(if depth == 0 { 5 } else { 10 }) {
            0 => "1".into(),
            1..=3 => column(self),
            4 => format!("coalesce({}, 1)", column(self)),
            5 => format!("({} + {})", self.value(depth - 1, scope), self.value(depth - 1, scope)),
            6 => {
                let (first, rest) = (self.value(depth - 1, scope), self.value(depth - 1, scope));
                format!("case when {first} > 1 then {rest} else 0 end")
            }
            7 => format!("(select max(p) from ({}) z)", self.query(depth - 1, scope)),
            8 => format!("add({}, 1)", self.value(depth - 1, scope)),
            _ => match scope.get(self.below(scope.len().max(1))) {
                Some((alias, _)) => format!("length({alias}::text)"),
                None => "2".into(),
            },
        }
    }

    /// A query of two columns, p and q, that may refer to the scopes around it.
    fn query(&mut self, depth: usize, outer: &[(String, Vec<&'static str>)]) -> String {
        let base = outer.len() * 10 + depth * 3;
        let (first, alias, columns) = self.source(depth, base);
        let mut scope = vec![(alias.clone(), columns)];
        let mut from = first;
        if self.below(2) == 0 {
            let (second, other, columns) = self.source(depth, base + 1);
            let join =
                self.pick(&["join", "left join", "full join", "cross join", "natural join", ","]);
            from = match join {
                "natural join" | "cross join" | "," => format!("{from} {join} {second}"),
                join => format!(
                    "{from} {join} {second} on {alias}.{} = {other}.{}",
                    scope[0].1[0], columns[0]
                ),
            };
            scope.push((other, columns));
        }
        scope.extend(outer.iter().cloned());
        let depth = depth.saturating_sub(1);
        let (p, q) = (self.value(depth, &scope), self.value(depth, &scope));
        let filter = match self.below(3) {
            0 => format!(" where {} > {}", self.value(depth, &scope), self.value(depth, &scope)),
            1 => format!(" where exists (select from t2 where t2.e = {})", self.value(0, &scope)),
            _ => String::new(),
        };
        let tail =
            self.pick(&["", "", " order by p", " order by q, p + 1", " limit 3", " group by p, q"]);
        let union = if self.below(6) == 0 {
            format!("(select {p} as p, {q} as q from {from}{filter}) union ")
        } else {
            String::new()
        };
        if !union.is_empty() {
            return format!("{union}select 1, 2");
        }
        format!("select {p} as p, {q} as q from {from}{filter}{tail}")
    }

    fn statement(&mut self) -> String {
        let target = [("t1".to_string(), vec!["a", "b", "c", "d"])];
        match self.below(8) {
            0 => format!(
                "update t1 set {} = {} where {} > 1",
                self.pick(&["a", "b", "(c, d)"]).replace("(c, d)", "c"),
                self.value(2, &target),
                self.value(1, &target)
            ),
            1 => format!(
                "delete from t1 where {} = {}{}",
                self.value(1, &target),
                self.value(2, &target),
                self.pick(&["", " returning b", " returning t1"])
            ),
            2 => format!(
                "insert into t2 (d, c) {}{}",
                self.query(1, &[]),
                self.pick(&["", " returning *", " returning e"])
            ),
            3 => format!(
                "with n as (update t1 set a = {} returning b as p, c as q) select p from n",
                self.value(1, &target)
            ),
            _ => self.query(2, &[]),
        }
    }
}

#[derive(Default)]
struct Tally {
    asked: usize,
    skipped: usize,
    invalid: usize,
    elements: usize,
    unneeded: BTreeSet<String>,
    failures: Vec<String>,
}

async fn check(client: &Client, scope: &Scope<'_>, text: &str, tally: &mut Tally) {
    let statement = match analyse(text, scope, &ParseLimits::default()) {
        Ok(analysis) => analysis.statements.into_iter().next().expect("a statement"),
        Err(NotUnderstood::Undefined { sqlstate, message }) => {
            let (code, said) = ask(client, "", text, false).await;
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
    if accesses.iter().any(|access| matches!(access, Access::Admin(_))) {
        tally.skipped += 1;
        return;
    }
    let (code, message) = ask(client, &grants(None).unwrap(), text, true).await;
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
        let Access::Privilege { columns, object, operation } = access else { continue };
        if matches!(object, Object::Function { .. }) || *operation == Operation::Usage {
            continue;
        }
        let without: Vec<Option<&str>> = match columns {
            Columns::Named(names) => names.iter().map(|name| Some(&**name)).collect(),
            Columns::Any | Columns::Whole => vec![None],
        };
        for column in without {
            tally.elements += 1;
            let (code, _) = ask(client, &grants(Some((at, column))).unwrap(), text, true).await;
            if code != "42501" {
                tally.unneeded.insert(format!("{access} without {column:?}: {text}"));
            }
        }
    }
}

#[tokio::test]
async fn the_server_wants_no_more_than_the_analysis() {
    let Some(server) = Server::start() else {
        println!("SKIPPED: no PostgreSQL that could be started; set DAYPASS_PG_BIN.");
        return;
    };
    let config = format!("host={} user=postgres dbname=postgres", server.folder.path().display());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(SCHEMA).await.unwrap();
    let (catalog, path) = load(&client).await;
    let scope = Scope { catalog: &catalog, path: &path };
    let version: i32 = {
        let row = client.query_one("select current_setting('server_version_num')::int", &[]).await;
        row.unwrap().get(0)
    };

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
    let lines = STATEMENTS.lines().filter(|line| !line.is_empty() && !line.starts_with("--"));
    for line in lines {
        // `18| statement`: only from that version on.
        let (since, text) =
            line.split_once("| ").filter(|(head, _)| head.len() == 2).unwrap_or(("13", line));
        if version / 10_000 >= since.parse::<i32>().unwrap() {
            check(&client, &scope, text, &mut by_hand).await;
        }
    }
    let mut made = Tally::default();
    let mut generator = Generator(20_261_124);
    let rounds = std::env::var("ORACLE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    for _ in 0..rounds {
        let text = generator.statement();
        check(&client, &scope, &text, &mut made).await;
    }
    drop(client);
    drop(driver.await);

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
        assert!(tally.failures.is_empty(), "{name}:\n{}", tally.failures.join("\n"));
    }
    assert!(by_hand.asked > 100 && made.asked > rounds / 3, "too few were asked");
    // What more is asked for on purpose is in the statements by hand; elsewhere it is an exception.
    assert!(made.unneeded.len() * 50 <= made.elements, "too much is asked for");
}
