//! The analyser on any text: no panic, and what it says of a text stays inside that text.

#![no_main]

use daypass::grant::privilege::{Privilege, parse};
use daypass::sql::Engine;
use daypass::sql::postgres::{ParseLimits, Scope, analyse};
use daypass::sql::statement::{Analysis, Effect, NotUnderstood, Statement};
use daypass_fuzz::{CATALOG, path};
use libfuzzer_sys::fuzz_target;

fn read(text: &str) -> Result<Analysis, NotUnderstood> {
    let path = path();
    analyse(
        text,
        &Scope { catalog: &CATALOG, path: &path, parameters: &[] },
        &ParseLimits::default(),
    )
}

fn check_understood(text: &str, analysis: &Analysis) {
    let tree = pg_raw_parse::parse(text).expect("what is understood was parsed");
    assert_eq!(tree.len(), analysis.statements.len());
    let mut end = 0;
    for statement in &analysis.statements {
        assert!(end <= statement.span.start && statement.span.start < statement.span.end);
        end = statement.span.end;
        check_statement(text, statement);
    }
}

fn check_statement(text: &str, statement: &Statement) {
    let own = text.get(statement.span.clone()).expect("a span of the text");
    assert_eq!(own, own.trim(), "white space around a statement");
    let mut at = statement.span.start;
    for literal in &statement.literals {
        assert!(text.get(literal.clone()).is_some() && at <= literal.start);
        at = literal.end;
    }
    assert!(at <= statement.span.end);
    for credential in &statement.credentials {
        assert!(statement.literals.contains(credential), "a credential that is no literal");
    }
    assert!(!statement.command.is_empty());
    let needs_nothing = matches!(
        statement.effect,
        Effect::Begin(_)
            | Effect::Commit
            | Effect::Rollback
            | Effect::Savepoint(_)
            | Effect::Release(_)
            | Effect::RollbackTo(_)
            | Effect::Set { .. }
            | Effect::Show { .. }
            | Effect::Execute(_)
            | Effect::Deallocate(_)
            | Effect::Fetch(_)
            | Effect::CloseCursor(_)
            | Effect::DiscardAll
            | Effect::Call(_)
    );
    let needs_nothing = needs_nothing || statement.command.starts_with("DISCARD");
    assert!(needs_nothing || !statement.accesses.is_empty(), "nothing is needed for {own}");
    for access in &statement.accesses {
        if let Some(privilege) = Privilege::for_access(access) {
            let shown = privilege.to_string();
            // DDL may name what is not there, and nobody is granted a name with control characters.
            if shown.contains(char::is_control) {
                continue;
            }
            assert_eq!(parse(&shown, Engine::Postgres, "shop").as_ref(), Ok(&privilege), "{shown}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match read(text) {
        Ok(analysis) => {
            check_understood(text, &analysis);
            // A line end, so that a comment does not swallow what stands behind it.
            let ended = format!("{text}\n;");
            assert_eq!(read(&ended).as_ref(), Ok(&analysis), "{ended:?}");
        }
        Err(why) => {
            assert!(!why.to_string().is_empty());
            if let NotUnderstood::Syntax { position: Some(at), .. } = why {
                assert!(at >= 1 && at as usize <= text.chars().count() + 1);
            }
        }
    }
});
