//! Golden texts.

use std::sync::Arc;

use super::*;
use crate::grant::decide::{Decision, decide};
use crate::grant::fixture::{at, grant};
use crate::grant::privilege::parse_list;
use crate::grant::snapshot::HeldGrants;
use crate::grant::{Grant, Revocation, Route};
use crate::sql::access::{Access, Columns, Object, Operation};
use crate::sql::name::QualifiedName;

const HALF_AN_HOUR: Duration = Duration::from_mins(30);

fn select(relation: &str, columns: &[&str]) -> Access {
    let (schema, name) = relation.split_once('.').unwrap();
    Access::Privilege {
        operation: Operation::Select,
        object: Object::Relation(QualifiedName::new(schema, name)),
        columns: Columns::Named(columns.iter().map(|column| (*column).into()).collect()),
    }
}

fn denied(accesses: &[Access], grants: impl IntoIterator<Item = Grant>) -> Denial {
    let held = HeldGrants::new(grants.into_iter().map(Arc::new));
    match decide(accesses.iter(), &held, at(30)) {
        Decision::Deny(denial) => denial,
        Decision::Allow(permit) => panic!("{permit:?}"),
    }
}

fn lines(denial: &Denial, engine: Engine) -> RequestLines {
    denial.request_lines("shop", engine, HALF_AN_HOUR)
}

#[test]
fn a_refusal_says_what_is_missing_what_is_held_and_how_to_ask() {
    let held = grant("g_7kq2m9x4c1ab", "SELECT (id, name) ON public.customers", 0, 3600);
    let denial = denied(&[select("public.customers", &["id", "email"])], [held]);
    assert_eq!(
        denial.message(Engine::Postgres),
        "no live grant allows SELECT (email) ON public.customers"
    );
    assert_eq!(
        denial.detail(Engine::Postgres),
        "Your live grants allow: SELECT (id, name) ON public.customers \
         (grant g_7kq2m9x4c1ab, until 1970-01-01T01:00:00.000000Z)"
    );
    let lines = lines(&denial, Engine::Postgres);
    assert_eq!(
        lines.shell,
        "daypass request create --database shop --privilege 'SELECT (email) ON public.customers' \
         --for 30m --reason '…'"
    );
    assert_eq!(
        lines.sql,
        "CALL daypass.request('SELECT (email) ON public.customers', '30 min', 'why')"
    );
}

#[test]
fn several_things_are_asked_for_together_one_privilege_an_object() {
    let update = |columns: Columns| Access::Privilege {
        operation: Operation::Update,
        object: Object::Relation(QualifiedName::new("s", "t")),
        columns,
    };
    let wanted = [
        select("s.t", &["b"]),
        update(Columns::Any),
        select("s.t", &["a"]),
        select("s.u", &["x"]),
        Access::Metadata,
    ];
    let denial = denied(&wanted, []);
    assert_eq!(
        denial.message(Engine::Postgres),
        "no live grant allows SELECT (a, b), UPDATE ON s.t; SELECT (x) ON s.u"
    );
    assert_eq!(denial.detail(Engine::Postgres), "You hold no live grant on this database.");
    let lines = lines(&denial, Engine::Postgres);
    assert_eq!(
        lines.shell,
        "daypass request create --database shop --privilege 'SELECT (a, b), UPDATE ON s.t' \
         --privilege 'SELECT (x) ON s.u' --for 30m --reason '…'"
    );
    assert_eq!(
        lines.sql,
        "CALL daypass.request('SELECT (a, b), UPDATE ON s.t; SELECT (x) ON s.u', '30 min', 'why')"
    );
    // What an ADMIN covers is not asked for as well.
    let admin = Access::Admin(Object::Schema("s".into()));
    let denial = denied(&[select("s.t", &["a"]), admin, select("r.t", &["a"])], []);
    assert_eq!(
        denial.message(Engine::Postgres),
        "no live grant allows ADMIN ON SCHEMA s; SELECT (a) ON r.t"
    );
}

#[test]
fn bypassing_row_security_is_asked_for_beside_what_it_is_bypassed_for() {
    let bypass = |object: &str| {
        let text = format!("BYPASS ROW SECURITY ON {object}");
        let read = crate::grant::privilege::parse(&text, Engine::Postgres, "shop").unwrap();
        let (operation, columns) = (Operation::BypassRowSecurity, Columns::Whole);
        Access::Privilege { operation, object: read.object, columns }
    };
    let denial = denied(&[select("s.t", &["a"]), bypass("s.t")], []);
    assert_eq!(
        denial.message(Engine::Postgres),
        "no live grant allows SELECT (a), BYPASS ROW SECURITY ON s.t"
    );
    // ADMIN does not bring it along.
    let wanted = [Access::Admin(Object::Database), select("s.t", &["a"]), bypass("s.t")];
    assert_eq!(
        denied(&wanted, []).message(Engine::Postgres),
        "no live grant allows ADMIN ON DATABASE; BYPASS ROW SECURITY ON s.t"
    );
}

#[test]
fn a_grant_that_ended_is_named() {
    let wanted = [select("s.t", &["a"])];
    let denial = denied(&wanted, [grant("g_1", "READ ON s.t", 0, 10)]);
    assert_eq!(
        denial.detail(Engine::Postgres),
        "Grant g_1, which allowed this, expired at 1970-01-01T00:00:10.000000Z. \
         You hold no live grant on this database."
    );
    let mut revoked = grant("g_2", "READ ON s.t", 0, 60);
    revoked.revoked = Some(Revocation { at: at(20), by: "local:root".into(), reason: None });
    let denial = denied(&wanted, [revoked, grant("g_3", "READ ON s.u", 0, 60)]);
    assert_eq!(
        denial.detail(Engine::Postgres),
        "Grant g_2, which allowed this, was revoked at 1970-01-01T00:00:20.000000Z by local:root. \
         Your live grants allow: READ ON s.u (grant g_3, until 1970-01-01T00:01:00.000000Z)"
    );
}

#[test]
fn a_grant_that_is_bound_to_replicas_is_shown_as_such() {
    let bound = grant("g_1", "READ ON s.u", 0, 60);
    let bound = Grant { route: Route::ReplicaOnly, ..bound };
    assert_eq!(
        denied(&[select("s.t", &["a"])], [bound]).detail(Engine::Postgres),
        "Your live grants allow: READ ON s.u (grant g_1, at replicas only, until 1970-01-01T00:01:00.000000Z)"
    );
}

#[test]
fn where_any_grant_would_do_the_last_one_is_asked_for_again() {
    let denial = denied(&[Access::Metadata], [grant("g_1", "READ ON s.t", 0, 10)]);
    assert_eq!(denial.message(Engine::Postgres), "there is no live grant on this database");
    assert_eq!(
        lines(&denial, Engine::Postgres).sql,
        "CALL daypass.request('READ ON s.t', '30 min', 'why')"
    );
    let denial = denied(&[Access::Metadata], []);
    assert_eq!(
        lines(&denial, Engine::Postgres).sql,
        "CALL daypass.request('SELECT ON schema.relation', '30 min', 'why')"
    );
}

#[test]
fn odd_names_are_quoted_for_sql_for_strings_and_for_the_shell() {
    let denial = denied(&[select("s.it's", &["a\\b", "\"q\""])], []);
    let text = "SELECT (\"\"\"q\"\"\", \"a\\b\") ON s.\"it's\"";
    assert_eq!(denial.privileges()[0].to_string(), text);
    let said = denial.request_lines("my shop", Engine::Postgres, HALF_AN_HOUR);
    assert_eq!(
        said.shell,
        "daypass request create --database 'my shop' --privilege \
         'SELECT (\"\"\"q\"\"\", \"a\\b\") ON s.\"it'\\''s\"' --for 30m --reason '…'"
    );
    assert_eq!(
        said.sql,
        "CALL daypass.request(E'SELECT (\"\"\"q\"\"\", \"a\\\\b\") ON s.\"it''s\"', '30 min', 'why')"
    );
    let mysql = lines(&denial, Engine::Mysql);
    assert_eq!(
        mysql.sql,
        "CALL daypass.request('SELECT (`\"q\"`, `a\\\\b`) ON s.`it''s`', '30 min', 'why')"
    );
    // A terminal is given no orders.
    let denial = denied(&[select("s.\u{1b}[2J", &["a'"])], []);
    let shell = lines(&denial, Engine::Postgres).shell;
    assert!(shell.contains("--privilege $'SELECT (\"a\\'\") ON s.\"\\033[2J\"' --for"), "{shell}");
}

#[test]
fn a_shell_reads_back_what_was_quoted() {
    for text in ["plain", "it's", "a b", "$(x)`y`\\", "\"", "", "-x", "ä☃", "a\n\u{1b}1'\\"] {
        for quoted in [shell_quoted(text), always_shell_quoted(text)] {
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {quoted}")])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{quoted}");
        }
    }
}

#[test]
fn texts_have_a_length() {
    let columns: Vec<String> = (0..400).map(|n| format!("column_{n}")).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let wide = denied(&[select("s.t", &columns)], []);
    let message = wide.message(Engine::Postgres);
    assert!(message.len() <= MESSAGE_BYTES_MAX && message.ends_with('…'), "{message}");
    assert_eq!(
        lines(&wide, Engine::Postgres).sql,
        "CALL daypass.request('SELECT ON s.t', '30 min', 'why')"
    );
    let relations: Vec<_> = (0..400).map(|n| select(&format!("s.relation_{n}"), &["a"])).collect();
    let held = (0..50).map(|n| grant(&format!("g_{n}"), "READ ON s.q", 0, 60));
    let many = denied(&relations, held);
    let message = many.message(Engine::Postgres);
    assert!(message.len() <= MESSAGE_BYTES_MAX && message.ends_with(" more"), "{message}");
    let detail = many.detail(Engine::Postgres);
    assert!(detail.len() <= DETAIL_BYTES_MAX && detail.ends_with(" more"), "{detail}");
    let sql = lines(&many, Engine::Postgres).sql;
    assert!(sql.len() < REQUEST_BYTES_MAX + 500, "{}", sql.len());
    let text = sql.split('\'').nth(1).unwrap();
    assert!(parse_list(text, Engine::Postgres, "shop").unwrap().len() > 50);
}
