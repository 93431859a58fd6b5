//! PostgreSQL's own regression suite as a corpus for the analyser, with the server as oracle: each SELECT,
//! INSERT, UPDATE, DELETE and MERGE is analysed, what that says is granted to a powerless role, and the
//! server is asked. `make oracle` runs it; `DAYPASS_REGRESS` is the suite's folder, which is not ours to
//! keep here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "oracle/mod.rs"]
mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use daypass::sql::access::Access;
use daypass::sql::postgres::{ParseLimits, Scope, analyse};
use daypass::sql::statement::NotUnderstood;
use oracle::{Server, ask, catalogs, grant, load, stricter};
use tokio_postgres::{Client, NoTls};

/// Of statements that the server takes from a superuser, how many went how.
#[derive(Default)]
struct Tally {
    asked: usize,
    /// Those that nothing can be granted for: they need ADMIN.
    admin: usize,
    /// Names that the superuser's session alone has: temporary, or not yet committed.
    unseen: usize,
    /// With a rule on purpose, by the rule.
    stricter: BTreeMap<String, usize>,
    under: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// Kinds that are refused, among all other statements, by what is said.
    others: BTreeMap<String, usize>,
    unread: usize,
}

impl Tally {
    fn line(&self) -> String {
        format!(
            "asked {}, under-asked {}, syntax {}, need ADMIN {}, of the session alone {}",
            self.asked,
            self.under.len(),
            self.unread,
            self.admin,
            self.unseen
        )
    }
}

/// The statements of a file: what psql would send, without its own commands and COPY data. Of its variables
/// only the suite's data files are known.
fn statements(text: &str, folder: &Path) -> Vec<String> {
    let (mut plain, mut data, mut file) = (String::new(), false, String::new());
    for line in text.lines() {
        if data {
            data = line != "\\.";
        } else if let Some(set) = line.strip_prefix("\\set filename :abs_srcdir '") {
            file = format!("'{}{}'", folder.display(), set.trim_end_matches('\''));
        } else if !line.starts_with('\\') {
            let (sql, command) = line.split_once(" \\g").unwrap_or((line, ""));
            plain.push_str(&sql.replace(":'filename'", &file));
            plain.push_str(if command.is_empty() { "\n" } else { ";\n" });
            let lower = line.to_ascii_lowercase();
            data = lower.starts_with("copy ") && lower.contains("from stdin");
        }
    }
    split(&plain)
}

/// Splits at semicolons outside of strings, comments, parentheses and BEGIN ATOMIC bodies.
fn split(text: &str) -> Vec<String> {
    let (mut list, mut from, mut at) = (Vec::new(), 0, 0);
    let (mut parentheses, mut bodies) = (0_i32, 0_i32);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let skip_to = |end: &str, after: usize| {
            rest.get(after..)
                .and_then(|rest| rest.find(end))
                .map_or(rest.len(), |n| after + n + end.len())
        };
        let dollar = rest.strip_prefix('$').and_then(|tag| {
            let tag = tag.split_once('$')?.0;
            tag.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| format!("${tag}$"))
        });
        at += match rest.as_bytes() {
            [b'-', b'-', ..] => skip_to("\n", 0),
            [b'/', b'*', ..] => skip_to("*/", 2),
            [quote @ (b'\'' | b'"'), ..] => {
                let escapes =
                    text.get(..at).is_some_and(|t| t.ends_with(['E', 'e'])) && *quote == b'\'';
                let mut end = 1;
                while let Some(byte) = rest.as_bytes().get(end) {
                    end += if escapes && *byte == b'\\' { 2 } else { 1 };
                    if byte == quote {
                        break;
                    }
                }
                end
            }
            [b'$', ..] if dollar.is_some() => {
                let tag = dollar.unwrap();
                skip_to(&tag, tag.len())
            }
            [b'(', ..] => {
                parentheses += 1;
                1
            }
            [b')', ..] => {
                parentheses -= 1;
                1
            }
            [b';', ..] if parentheses <= 0 && bodies <= 0 => {
                list.push(text.get(from..at).unwrap_or_default().trim().to_owned());
                (from, parentheses) = (at + 1, 0);
                1
            }
            [first, ..] if first.is_ascii_alphabetic() => {
                let word: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let lower = rest.get(..rest.len().min(14)).unwrap_or(&word).to_ascii_lowercase();
                let opens = lower.starts_with("begin atomic")
                    || (bodies > 0 && word.eq_ignore_ascii_case("case"));
                if opens {
                    bodies += 1;
                } else if bodies > 0 && word.eq_ignore_ascii_case("end") {
                    bodies -= 1;
                }
                word.len()
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    list
}

fn first_word(text: &str) -> String {
    let code = text.lines().find(|line| !line.trim_start().starts_with("--")).unwrap_or_default();
    let word = code.trim_start().trim_start_matches('(');
    word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("").to_ascii_uppercase()
}

/// Whether the session is still the superuser's own: as somebody else it could grant nothing, and without
/// row security the server refuses instead of filtering.
async fn is_itself(client: &Client) -> bool {
    let asked = "select current_user = 'postgres' and current_setting('row_security') = 'on'";
    client.query_one(asked, &[]).await.is_ok_and(|row| row.get(0))
}

/// Whether what the server names in its refusal is no temporary table, which would have been refused before.
async fn hides_nothing(client: &Client, message: &str) -> bool {
    let Some(name) = message.strip_prefix("permission denied for table ") else { return true };
    let asked = "select to_regclass('pg_temp.' || quote_ident($1)) is null";
    client.query_one(asked, &[&name]).await.is_ok_and(|row| row.get(0))
}

async fn check(client: &Client, scope: &Scope<'_>, text: &str, tally: &mut Tally) {
    let analysis = analyse(text, scope, &ParseLimits::default());
    if !ask(client, "explain", "", text, None).await.0.is_empty() {
        // The server refuses it from anybody.
        return;
    }
    let accesses = match analysis {
        Ok(analysis) => match analysis.statements.into_iter().next() {
            Some(statement) => statement.accesses,
            None => return,
        },
        Err(NotUnderstood::Undefined { .. }) => {
            tally.unseen += 1;
            return;
        }
        Err(NotUnderstood::Syntax { message, .. }) => {
            tally.unread += 1;
            tally.refused.insert(format!("{message}: {text}"));
            return;
        }
        Err(error) => {
            *tally.stricter.entry(error.to_string()).or_default() += 1;
            return;
        }
    };
    if accesses.iter().any(|access| matches!(access, Access::Admin(_))) {
        tally.admin += 1;
        return;
    }
    let grants: Option<String> =
        accesses.iter().map(|access| grant(access, None, scope.catalog)).collect();
    tally.asked += 1;
    let (code, message) = ask(client, "explain", &grants.unwrap(), text, Some("probe")).await;
    if code == "42501" && hides_nothing(client, &message).await {
        tally.under.insert(format!("{message}: {text}\n    {accesses:?}"));
    }
    for access in accesses.iter().filter(|access| stricter(access, scope.catalog)) {
        *tally.stricter.entry(access.to_string()).or_default() += 1;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL's sources: make oracle"]
async fn the_regression_suite_finds_nothing_under_asked() {
    let folder = PathBuf::from(std::env::var_os("DAYPASS_REGRESS").expect("the suite's folder"));
    let server = Server::start().expect("a server");
    let config = |database: &str| {
        format!("host={} user=postgres dbname={database}", server.folder.path().display())
    };
    let (client, connection) = tokio_postgres::connect(&config("postgres"), NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute("create role probe").await.unwrap();
    client.batch_execute("create role loader login").await.unwrap();
    client.batch_execute("create database regression").await.unwrap();
    drop(client);
    drop(driver.await);
    let catalogs = catalogs(&server, "regression");
    let schedule = std::fs::read_to_string(folder.join("parallel_schedule")).unwrap();
    let files = schedule.lines().filter_map(|line| line.strip_prefix("test: "));
    let mut tally = Tally::default();
    for file in files.flat_map(str::split_whitespace) {
        let Ok(text) = std::fs::read_to_string(folder.join("sql").join(format!("{file}.sql")))
        else {
            continue;
        };
        let (client, connection) =
            tokio_postgres::connect(&config("regression"), NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute("set statement_timeout = '5s'; set jit = off").await.unwrap();
        let mut open = false;
        for text in statements(&text, &folder) {
            let word = first_word(&text);
            let dml = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE"];
            if !open && dml.contains(&&*word) && is_itself(&client).await {
                let (catalog, mut path) = load(&catalogs, &client).await;
                // Temporary objects are refused; what hides nothing of theirs is asked all the same.
                path.retain(|schema| !schema.starts_with("pg_temp"));
                let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
                check(&client, &scope, &text, &mut tally).await;
            } else if let Err(NotUnderstood::Unsupported { what, .. }) = analyse(
                &text,
                &Scope {
                    catalog: &catalogs.current().unwrap_or_default(),
                    path: &[],
                    parameters: &[],
                },
                &ParseLimits::default(),
            ) {
                *tally.others.entry(format!("{word}: {what}")).or_default() += 1;
            }
            match word.as_str() {
                "BEGIN" | "START" => open = true,
                "COMMIT" | "ROLLBACK" | "END" | "ABORT" if !text.contains(" TO ") => open = false,
                _ => {}
            }
            // COPY with a client that sends no data would end the session; data that a file has is enough.
            let lower = text.to_ascii_lowercase();
            if !(word == "COPY" && (lower.contains("stdin") || lower.contains("stdout"))) {
                drop(client.simple_query(&text).await);
            }
            if client.is_closed() {
                println!("{file}: the session ended with {text}");
                break;
            }
        }
        drop(client);
        drop(driver.await);
        println!("{file}: {}", tally.line());
    }
    for (what, count) in &tally.stricter {
        println!("  stricter {count}: {what}");
    }
    for (what, count) in &tally.others {
        println!("  refused {count}: {what}");
    }
    for text in tally.refused.iter().chain(&tally.under) {
        println!("  {text}");
    }
    assert!(tally.asked > 5_000, "too few were asked");
    // Functions in SQL that the server inlines: it checks their body as the caller, and EXECUTE in a grant
    // means what the function does.
    let inlined = ["functest_sri1()", "functest_sri2()"];
    tally.under.retain(|text| !inlined.iter().any(|name| text.contains(name)));
    assert!(tally.under.is_empty(), "{} under-asked", tally.under.len());
}
