//! The servers' own access control as the judge of the analyser: an account that holds exactly what a
//! statement is said to need is let through, and with any part of that taken away it is refused.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Mysql, Output, Product, mysql_client, products_available, run};
use daypass::sql::access::{Access, Columns, Object, Operation, Reach};
use daypass::sql::mysql::catalog::Catalog;
use daypass::sql::mysql::{CharacterSet, ParseLimits, ParseSettings, Scope, analyse};
use daypass::sql::statement::{Class, Effect};
use daypass::upstream::Catalogs;
use daypass::upstream::mysql::{Host, Target};

pub const SCHEMA: &str = "
DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS crm;
CREATE DATABASE shop; CREATE DATABASE crm; USE shop;
CREATE USER IF NOT EXISTS owner@localhost; GRANT ALL ON shop.* TO owner@localhost;
CREATE TABLE marker (a int);
CREATE TABLE t1 (a int, b int, c int, d int, FULLTEXT ft (a1, b1), a1 text, b1 text) ENGINE=InnoDB;
CREATE TABLE t2 (c int, d int, e int);
CREATE TABLE t3 (c int, x int);
CREATE TABLE allowed (a int, b varchar(50));
CREATE TABLE secret (d int primary key, token varchar(50));
CREATE TABLE one (a int);
CREATE TABLE crm.t1 (z int);
CREATE TABLE crm.orders (id int, total int, status int);
CREATE DEFINER=owner@localhost VIEW v_secret AS SELECT d FROM secret;
CREATE DEFINER=owner@localhost SQL SECURITY INVOKER VIEW v_invoker AS SELECT d FROM secret WHERE token = 'x';
CREATE FUNCTION f(x int) RETURNS int DETERMINISTIC RETURN x;
CREATE PROCEDURE p(x int, y int) SELECT 1;
";

/// What the server says when it refuses for want of a right.
const REFUSALS: [&str; 8] = ["1044", "1045", "1142", "1143", "1227", "1345", "1370", "1698"];

/// Where more is asked for than the server does, on purpose: what stands in the statement, and why.
const STRICTER: [(&str, &str); 16] = [
    ("returning *", "MariaDB asks for INSERT of what is shown when it prepares the statement"),
    ("insert into v_secret (d) values (1) on duplicate", "likewise, of what a view's rows become"),
    ("lock tables v_invoker", "the columns that a view reads are asked for, not any"),
    ("analyze partition", "ALTER TABLE takes ALTER whatever it does"),
    ("on duplicate key update b =", "MariaDB asks for SELECT instead of UPDATE of what it changes"),
    ("natural join", "the columns of both sides are read, and the servers do not ask for all"),
    ("using (", "likewise"),
    ("update t1, t2", "a table that a multi-table UPDATE only writes is asked for as read"),
    ("join t2 using (c) set", "likewise"),
    ("show triggers", "the server hides rows that the service account would see"),
    ("show processlist", "likewise"),
    ("show user_statistics", "likewise"),
    ("explain for connection", "the server finds no such statement; with one it is refused"),
    ("load_file", "the server returns NULL instead of an error"),
    ("check table", "the server answers with a row instead of an error"),
    (
        "from (select d, token from secret) q",
        "MySQL does not ask for a column that is then not used",
    ),
];

struct Case {
    text: String,
    accesses: Vec<Access>,
    /// Definitions change, so it runs alone.
    alone: bool,
}

/// As the proxy loads it, and what the server reads text by.
pub(super) fn load(server: &Mysql) -> (Arc<Catalog>, ParseSettings) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let target = Target::new(Host::Unix(server.socket()), "root", None);
        let catalogs = Catalogs::spawn(target, Duration::from_hours(1));
        let catalog = catalogs.refresh().await.unwrap();
        let facts = catalogs.facts().unwrap();
        let settings = ParseSettings {
            server: facts.server,
            sql_mode: facts.sql_mode.unwrap(),
            character_set: CharacterSet::Utf8mb4,
            default_database: Some("shop".into()),
            lower_case_table_names: facts.lower_case_table_names,
        };
        (catalog, settings)
    })
}

/// The statements of the analyser's own tables.
pub fn written() -> Vec<String> {
    let files = [
        include_str!("../../src/sql/mysql/tests/queries.txt"),
        include_str!("../../src/sql/mysql/tests/changes.txt"),
        include_str!("../../src/sql/mysql/tests/utilities.txt"),
        include_str!("../../src/sql/mysql/tests/traps.txt"),
    ];
    let mut list = Vec::new();
    for case in files.into_iter().flat_map(|file| file.split("\n\n")) {
        let lines =
            case.lines().filter(|line| !line.starts_with("## ") && !line.starts_with("    "));
        let text: Vec<_> = lines.collect();
        if !text.concat().trim().is_empty() {
            list.push(text.join("\n"));
        }
    }
    list
}

/// Expressions in places in statements.
pub fn generated() -> Vec<String> {
    let expressions = [
        "a",
        "t1.a + 1",
        "shop.t1.`b`",
        "(select max(token) from secret)",
        "(select q.d from (select d from secret limit 1) q)",
        "exists (select 1 from t2 where t2.e = t1.a)",
        "(select count(*) from crm.orders o where o.id = t1.c)",
        "(with w as (select token from secret) select count(*) from w)",
        "case when a > 1 then b else (select x from t3 limit 1) end",
        "a in (select c from t2 union select d from secret)",
        "(a, b) in (select c, x from t3)",
        "f(a)",
        "coalesce(c, @v, @@session.autocommit)",
        "if(d between 1 and 2, 'x''y', \"z\")",
        "(select d from v_secret limit 1)",
        "(select d from v_invoker limit 1)",
        "concat(b, (select status from crm.orders limit 1))",
        "not exists (select * from t3 natural join t2)",
        "(select s.token from secret s join t3 on s.d = t3.x limit 1)",
    ];
    let places = [
        "select {} from t1",
        "select 1 from t1 where {}",
        "select c from t1 order by {}",
        "select c from t1 group by c having max({}) > 1",
        "select count({}) from t1",
        "select t1.c from t1 join t2 on {} = t2.c",
        "select * from t2 where c in (select {} from t1)",
        "insert into one (a) select {} from t1",
        "update t1 set d = {}",
        "update t1 set d = 1 where {}",
        "update t1, t2 set t2.e = {}",
        "delete from t1 where {}",
        "delete t1 from t1 join one where {}",
        "explain select {} from t1",
        "do (select {} from t1 limit 1)",
        "set @x = (select {} from t1 limit 1)",
        "prepare s from \"select d from t1 where {}\"",
    ];
    let mut list = Vec::new();
    for place in places {
        for expression in expressions {
            if place.starts_with("prepare") && expression.contains('"') {
                continue;
            }
            list.push(place.replace("{}", expression));
        }
    }
    list
}

fn cases(settings: &ParseSettings, catalog: &Catalog, texts: &[String]) -> (Vec<Case>, usize) {
    let temporary = HashSet::new();
    let scope = Scope { catalog, settings, temporary: &temporary };
    let mut cases = Vec::new();
    let mut refused = 0;
    for text in texts {
        let Ok(analysis) = analyse(text.as_bytes(), &scope, &ParseLimits::default()) else {
            refused += 1;
            continue;
        };
        let [statement] = &*analysis.statements else { continue };
        // What only an administrator may do is stricter than the server on purpose; the other effects are
        // the proxy's to take.
        let skipped = matches!(
            statement.effect,
            Effect::Kill { .. } | Effect::Call(_) | Effect::Execute(_) | Effect::Deallocate(_)
        );
        let admin = statement.accesses.iter().any(|it| matches!(it, Access::Admin(_)));
        // The servers let nobody grant in these, or not as is needed here.
        let system = statement.accesses.iter().any(|it| match it {
            Access::Privilege { object, .. }
            | Access::OneOf { object, .. }
            | Access::Anything(object) => {
                let system = ["information_schema", "performance_schema", "mysql", "sys"];
                object.schema().is_some_and(|it| system.contains(&it))
            }
            _ => false,
        });
        if skipped || admin || system {
            continue;
        }
        cases.extend(choices(&statement.accesses).into_iter().map(|accesses| Case {
            text: text.trim_end_matches(';').to_owned(),
            accesses,
            alone: statement.changes_catalog
                || statement.class == Class::Ddl
                || matches!(statement.command, "TRUNCATE TABLE" | "LOCK TABLES" | "XA"),
        }));
    }
    (cases, refused)
}

/// The server's GRANT for one access; `None` where it has none.
fn grant(access: &Access, catalog: &Catalog, role: &str) -> Option<String> {
    let table = |object: &Object| match object {
        Object::Relation(name) => Some(format!("`{}`.`{}`", name.schema, name.name)),
        Object::Schema(schema) => Some(format!("`{schema}`.*")),
        Object::Database => Some("*.*".to_owned()),
        Object::Function { name, .. } => {
            Some(format!("FUNCTION `{}`.`{}`", name.schema, name.name))
        }
        Object::Procedure(name) => Some(format!("PROCEDURE `{}`.`{}`", name.schema, name.name)),
        Object::Sequence(_) => None,
    };
    match access {
        Access::Anything(object) => Some(format!("GRANT INSERT ON {} TO {role}", table(object)?)),
        Access::Privilege { operation: Operation::LockTables, object, .. } => {
            Some(format!("GRANT LOCK TABLES ON `{}`.* TO {role}", object.schema()?))
        }
        Access::Privilege { operation, object, columns } => {
            let list = match (columns, object) {
                (Columns::Named(names), _) => {
                    let names: Vec<_> = names.iter().map(|it| format!("`{it}`")).collect();
                    format!("({})", names.join(", "))
                }
                // Any column does: the last is as good as the first.
                (Columns::Any, Object::Relation(name)) => {
                    let table = catalog.databases.get(&*name.schema)?.tables.get(&*name.name)?;
                    format!("(`{}`)", table.columns.last()?.name)
                }
                _ => String::new(),
            };
            Some(format!("GRANT {operation} {list} ON {} TO {role}", table(object)?))
        }
        Access::Metadata
        | Access::OwnedSequence { .. }
        | Access::OneOf { .. }
        | Access::Admin(_) => None,
    }
}

/// The same with one of the operations of which one is enough, each in its turn.
fn choices(accesses: &[Access]) -> Vec<Vec<Access>> {
    let count = accesses.iter().map(|access| match access {
        Access::OneOf { others, .. } => others.len() + 1,
        _ => 1,
    });
    let chosen = |turn: usize, access: &Access| {
        let Access::OneOf { first, others, object, reach } = access else { return access.clone() };
        let operations = [std::slice::from_ref(first), others].concat();
        let operation = operations[turn % operations.len()];
        let columns = match reach {
            Reach::Any if operation.takes_columns() => Columns::Any,
            Reach::Any | Reach::Whole => Columns::Whole,
        };
        Access::Privilege { operation, object: object.clone(), columns }
    };
    let turns = 0..count.max().unwrap_or(1);
    turns.map(|turn| accesses.iter().map(|access| chosen(turn, access)).collect()).collect()
}

/// All of it, and all but one part: each access, each column.
fn variants(accesses: &[Access]) -> Vec<(Option<String>, Vec<Access>)> {
    let mut list = vec![(None, accesses.to_vec())];
    for (n, access) in accesses.iter().enumerate() {
        let mut less = accesses.to_vec();
        if let Access::Privilege { operation, object, columns: Columns::Named(names) } = access
            && names.len() > 1
        {
            for name in names {
                let kept: BTreeSet<_> = names.iter().filter(|it| *it != name).cloned().collect();
                less[n] = Access::Privilege {
                    operation: *operation,
                    object: object.clone(),
                    columns: Columns::Named(kept),
                };
                list.push((Some(format!("{operation} ({name}) ON {object}")), less.clone()));
            }
            continue;
        }
        // The marker lets it into `shop` always.
        let marked = |it: &Object| *it == Object::Schema("shop".into());
        if matches!(access, Access::Metadata)
            || matches!(access, Access::Anything(it) if marked(it))
        {
            continue;
        }
        less.remove(n);
        list.push((Some(format!("{access:?}")), less));
    }
    list
}

struct Run {
    case: usize,
    without: Option<String>,
    role: String,
}

/// The command line as the account whose rights are a case's.
fn probe(server: &Mysql) -> Command {
    let mut command = mysql_client(server.product());
    command.args(["-u", "probe", "--socket"]).arg(server.socket());
    command
}

/// Errors by line of a script that a command line runs.
pub(super) fn errors(mut client: Command, script: &str) -> BTreeMap<usize, String> {
    client.args(["--batch", "--force", "--comments"]);
    let Output { stderr, .. } = run(&mut client, script);
    let mut found = BTreeMap::new();
    for line in stderr.lines() {
        // ERROR 1142 (42000) at line 7: …
        let words: Vec<_> = line.split_whitespace().collect();
        if words.first() == Some(&"ERROR")
            && let Some(at) = words.iter().position(|it| *it == "line")
        {
            let number = words[at + 1].trim_end_matches(':').parse().unwrap();
            found.insert(number, line.to_owned());
        }
    }
    found
}

/// Whether the server says that a right is missing.
pub(super) fn is_refusal(error: Option<&String>) -> bool {
    let number = error.and_then(|it| it.split_whitespace().nth(1));
    number.is_some_and(|it| REFUSALS.contains(&it))
}

fn judge(product: Product) {
    let server = Mysql::start(product);
    server.sql(SCHEMA);
    server.sql("CREATE USER probe@localhost; GRANT SELECT ON shop.marker TO probe@localhost");
    let (catalog, settings) = load(&server);
    let mut texts = written();
    texts.extend(generated());
    let (cases, refused) = cases(&settings, &catalog, &texts);
    let mut roles = String::new();
    let mut runs = Vec::new();
    for (case, found) in cases.iter().enumerate() {
        for (without, accesses) in variants(&found.accesses) {
            let role = format!("r{}", runs.len());
            writeln!(roles, "CREATE ROLE {role};").unwrap();
            let creates =
                |it: &&Access| matches!(it, Access::Privilege { operation: Operation::Create, .. });
            // What is granted on a table that is not there yet takes CREATE first.
            let first = accesses.iter().filter(creates);
            for access in first.chain(accesses.iter().filter(|it| !creates(it))) {
                if let Some(grant) = grant(access, &catalog, &role) {
                    writeln!(roles, "{grant};").unwrap();
                }
            }
            writeln!(roles, "GRANT {role} TO probe@localhost;").unwrap();
            runs.push(Run { case, without, role });
        }
    }
    let mut command = mysql_client(product);
    command.args(["-u", "root", "--batch", "--force", "--socket"]);
    let output = run(command.arg(server.socket()), &roles);
    // A right on a table that is not there, without CREATE, is none that can be given.
    let mut impossible = HashSet::new();
    for error in output.stderr.lines().filter(|it| it.starts_with("ERROR")) {
        assert!(error.starts_with("ERROR 1146"), "{error}\n{}", output.stderr);
        let number = error.split("at line ").nth(1).and_then(|it| it.split(':').next());
        let line = roles.lines().nth(number.unwrap().parse::<usize>().unwrap() - 1).unwrap();
        impossible.insert(line.rsplit(' ').next().unwrap().trim_end_matches(';').to_owned());
    }
    runs.retain(|run| !impossible.contains(&run.role));

    let mut script = String::new();
    let mut at_line = BTreeMap::new();
    let mut line = 1;
    for (n, run) in runs.iter().enumerate().filter(|(_, run)| !cases[run.case].alone) {
        let text = &cases[run.case].text;
        writeln!(script, "SET ROLE {}; USE shop; START TRANSACTION;", run.role).unwrap();
        writeln!(script, "{text}\n;\nROLLBACK; HANDLER secret CLOSE;").unwrap();
        let long = text.lines().count();
        at_line.insert(n, line + 1..=line + 1 + long);
        line += 3 + long;
    }
    let found = errors(probe(&server), &script);
    let mut outcomes: BTreeMap<usize, Option<String>> = BTreeMap::new();
    for (n, lines) in at_line {
        outcomes.insert(n, found.range(lines).map(|(_, error)| error.clone()).next());
    }
    for (n, run) in runs.iter().enumerate().filter(|(_, run)| cases[run.case].alone) {
        server.sql(SCHEMA);
        let text = &cases[run.case].text;
        let script = format!("SET ROLE {}; USE shop;\n{text};\n", run.role);
        outcomes.insert(n, errors(probe(&server), &script).into_values().next());
    }

    let mut allowed_too_much = Vec::new();
    let mut asked_too_much = Vec::new();
    let mut judged = 0;
    for (n, run) in runs.iter().enumerate() {
        let case = &cases[run.case];
        let error = outcomes[&n].as_ref();
        match &run.without {
            None => {
                judged += 1;
                if is_refusal(error) {
                    allowed_too_much.push(format!(
                        "{}\n    {:?}\n    {}",
                        case.text,
                        case.accesses,
                        error.unwrap()
                    ));
                }
            }
            Some(without) => {
                if error.is_none() {
                    asked_too_much.push(format!("{}\n    {without}", case.text));
                }
            }
        }
    }
    println!(
        "{product:?}: {} statements, {refused} not read, {judged} judged by {} runs, {} asked for more than the server",
        texts.len(),
        runs.len(),
        asked_too_much.len()
    );
    let known = |text: &String| STRICTER.iter().any(|(part, _)| text.contains(part));
    let unknown: Vec<_> = asked_too_much.iter().filter(|text| !known(text)).cloned().collect();
    assert!(unknown.is_empty(), "asked for more: {}", unknown.join("\n\n"));
    assert!(
        allowed_too_much.is_empty(),
        "{}: {}",
        allowed_too_much.len(),
        allowed_too_much.join("\n\n")
    );
}

#[test]
fn what_is_asked_for_is_what_mariadb_wants() {
    judge(Product::MariaDb);
}

#[test]
fn what_is_asked_for_is_what_mysql_wants() {
    if products_available().contains(&Product::Mysql) {
        judge(Product::Mysql);
    }
}
