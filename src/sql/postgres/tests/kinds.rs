//! Class, command, effect, spans, literals, credentials.

use super::{one, read};
use crate::sql::placement::TransactionMode;
use crate::sql::statement::{Argument, Call, Class, Effect, NotUnderstood};

#[test]
fn classes_and_effects() {
    let checks: [(&str, &str, Class, Effect); 29] = [
        ("select a from t1", "SELECT", Class::Read, Effect::None),
        ("select a from t1 for update", "SELECT", Class::Write, Effect::None),
        ("with q as (delete from t1) select 1", "SELECT", Class::Write, Effect::None),
        ("select nextval('t4_id_seq')", "SELECT", Class::Write, Effect::None),
        ("select add(1, 2)", "SELECT", Class::Function, Effect::None),
        ("explain analyze delete from t1", "EXPLAIN", Class::Write, Effect::None),
        ("insert into t4 values (1)", "INSERT", Class::Write, Effect::None),
        ("copy t4 to stdout", "COPY", Class::Read, Effect::CopyOut),
        ("copy t4 from stdin", "COPY", Class::Write, Effect::CopyIn),
        ("truncate t1", "TRUNCATE TABLE", Class::Write, Effect::None),
        ("create table x (a int)", "CREATE TABLE", Class::Ddl, Effect::None),
        ("grant all on t1 to x", "GRANT", Class::Role, Effect::None),
        ("do $$ $$", "DO", Class::Function, Effect::None),
        ("begin", "BEGIN", Class::Misc, Effect::Begin(TransactionMode::default())),
        ("end", "COMMIT", Class::Misc, Effect::Commit),
        ("abort", "ROLLBACK", Class::Misc, Effect::Rollback),
        ("savepoint s", "SAVEPOINT", Class::Misc, Effect::Savepoint("s".into())),
        ("release s", "RELEASE", Class::Misc, Effect::Release("s".into())),
        ("rollback to s", "ROLLBACK", Class::Misc, Effect::RollbackTo("s".into())),
        ("set work_mem = 1", "SET", Class::Misc, Effect::Set { name: "work_mem".into() }),
        ("show TimeZone", "SHOW", Class::Misc, Effect::Show { name: "timezone".into() }),
        ("prepare p as table t1", "PREPARE", Class::Read, Effect::Prepare("p".into())),
        ("explain declare c cursor for table t1", "EXPLAIN", Class::Read, Effect::None),
        ("explain execute p", "EXPLAIN", Class::Misc, Effect::Execute("p".into())),
        ("create table x as execute p", "CREATE TABLE AS", Class::Ddl, Effect::Execute("p".into())),
        ("deallocate all", "DEALLOCATE", Class::Misc, Effect::Deallocate(None)),
        ("fetch c", "FETCH", Class::Misc, Effect::Fetch("c".into())),
        ("close all", "CLOSE CURSOR", Class::Misc, Effect::CloseCursor(None)),
        ("discard all", "DISCARD ALL", Class::Misc, Effect::DiscardAll),
    ];
    for (text, command, class, effect) in checks {
        let statement = one(text);
        assert_eq!((statement.command, statement.class), (command, class), "{text}");
        assert_eq!(statement.effect, effect, "{text}");
    }
    let hold = one("declare c cursor with hold for select 1").effect;
    assert_eq!(hold, Effect::Declare { cursor: "c".into(), hold: true });
    let plain = one("declare c cursor for select 1").effect;
    assert_eq!(plain, Effect::Declare { cursor: "c".into(), hold: false });
}

#[test]
fn a_transaction_says_how_it_begins() {
    let begin = |text: &str| match one(text).effect {
        Effect::Begin(TransactionMode { read_only, serializable }) => (read_only, serializable),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(begin("begin"), (false, false));
    assert_eq!(begin("start transaction read only"), (true, false));
    assert_eq!(begin("begin isolation level serializable, read only"), (true, true));
    assert_eq!(begin("begin isolation level repeatable read read only"), (true, false));
    assert_eq!(begin("begin read only, read write"), (false, false));
}

#[test]
fn calls_carry_their_arguments() {
    let statement =
        one("CALL daypass.Request('SELECT ON x', '30 min'::interval, $2, NULL, -1.5, 7)");
    let literal = |text: &str| Argument::Literal(text.into());
    assert_eq!(
        statement.effect,
        Effect::Call(Call {
            name: "request".into(),
            arguments: vec![
                literal("SELECT ON x"),
                literal("30 min"),
                Argument::Parameter(2),
                Argument::Null,
                literal("-1.5"),
                literal("7"),
            ],
        })
    );
    assert!(statement.accesses.is_empty());
}

#[test]
fn what_changes_is_said() {
    let flags = |text: &str| {
        let statement = one(text);
        (statement.changes_catalog, statement.changes_path)
    };
    assert_eq!(flags("select 1"), (false, false));
    assert_eq!(flags("set search_path = app"), (false, true));
    assert_eq!(flags("set schema 'app'"), (false, true));
    assert_eq!(flags("reset search_path"), (false, true));
    assert_eq!(flags("reset all"), (false, true));
    assert_eq!(flags("discard all"), (false, true));
    assert_eq!(flags("select set_config('search_path', 'app', false)"), (false, true));
    assert_eq!(flags("select set_config('work_mem', '1MB', false)"), (false, false));
    assert_eq!(flags("create table x (a int)"), (true, false));
    assert_eq!(flags("create schema x"), (true, true));
    assert_eq!(flags("select 1 into x"), (true, false));
    assert_eq!(flags("do ''"), (true, true));
    assert_eq!(flags("select add(1, 2)"), (false, true));
}

#[test]
fn spans_and_literals() {
    let text = "  select 'a', E'\\'', 1.5 -- ' \n from t1 ; ; select $t$x$t$, \"q'\" from b as b (\"q'\") ";
    let analysis = read(text).unwrap();
    let spans: Vec<&str> = analysis.statements.iter().map(|s| &text[s.span.clone()]).collect();
    assert_eq!(
        spans,
        ["select 'a', E'\\'', 1.5 -- ' \n from t1", "select $t$x$t$, \"q'\" from b as b (\"q'\")",]
    );
    let literals: Vec<Vec<&str>> = analysis
        .statements
        .iter()
        .map(|s| s.literals.iter().map(|range| &text[range.clone()]).collect())
        .collect();
    assert_eq!(literals, [vec!["'a'", "E'\\''", "1.5"], vec!["$t$x$t$"]]);
    assert!(read("").unwrap().statements.is_empty());
    assert!(read(" ; -- nothing\n ;").unwrap().statements.is_empty());
}

#[test]
fn credentials_are_found() {
    for text in [
        "create role x login password 'hidden-1'",
        "create user mapping for x server s options (user 'hidden-1', password 'hidden-2')",
        "create server s foreign data wrapper f options (password 'hidden-1')",
        "do $$ begin execute 'alter role x password ''hidden-1'''; end $$",
        "do 'alter role x password ''hidden-1'''",
        "create function f() returns void language sql as 'alter role someone password $$hidden-1$$'",
    ] {
        let statement = one(text);
        let kept: String = {
            let mut kept = text.to_string();
            for range in statement.credentials.iter().rev() {
                kept.replace_range(range.clone(), "");
            }
            kept
        };
        assert!(!kept.contains("hidden"), "{text}: {kept}");
    }
    assert!(one("select 'x' from t1").credentials.is_empty());
}

#[test]
fn syntax_errors_are_the_servers() {
    let syntax = |text: &str| match read(text) {
        Err(NotUnderstood::Syntax { message, position }) => (message, position),
        other => panic!("{text}: {other:?}"),
    };
    let near = |token: &str| format!("syntax error at or near \"{token}\"");
    assert_eq!(syntax("selec 1"), (near("selec"), Some(1)));
    assert_eq!(syntax("select 'é', from from t"), (near("from"), Some(13)));
    assert_eq!(syntax("select from, from t"), (near(","), Some(12)));
    assert_eq!(syntax("select 1 from"), ("syntax error at end of input".into(), Some(14)));
    assert_eq!(syntax("select 'abc").0, "unterminated quoted string at or near \"'abc\"");
    assert_eq!(syntax("select E'\\xff'").0, "invalid byte sequence for encoding \"UTF8\": 0xff");
    assert!(matches!(read("select 1\0"), Err(NotUnderstood::Syntax { .. })));
}
