//! Properties: never a panic, and noise never shrinks what a statement needs.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::lexer::{Kind, Lexer};
use super::{outcome, read};
use crate::sql::statement::Class;

/// Statements of the tables.
pub(super) fn corpus() -> Vec<String> {
    let tables = [
        include_str!("queries.txt"),
        include_str!("changes.txt"),
        include_str!("functions.txt"),
        include_str!("utilities.txt"),
    ];
    let cases = tables.into_iter().flat_map(|table| table.split("\n\n"));
    cases
        .map(|case| {
            let lines =
                case.lines().filter(|line| !line.starts_with('#') && !line.starts_with("    "));
            lines.collect::<Vec<_>>().join("\n")
        })
        .filter(|text| !text.is_empty())
        .collect()
}

fn needs(text: &str) -> Option<BTreeSet<String>> {
    let result = read(text);
    result.is_ok().then(|| outcome(&result).into_iter().collect())
}

/// What a text is cut and mixed from.
fn piece() -> impl Strategy<Value = String> {
    let words = "select from where t1 a b ( ) , ; ' \" $$ $1 1 * . :: [ ] + - / E'\\' U&'\\ /* */ -- = \
        insert into values update set delete with as recursive union join using lateral case when end \
        not null row array copy stdin begin call daypass. set search_path é \u{a0} \u{0}"
        .split_whitespace()
        .map(String::from)
        .collect::<Vec<_>>();
    prop_oneof![prop::sample::select(words), "\\PC{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,80}") {
        drop(read(&text));
    }

    #[test]
    fn any_mixture_is_answered(pieces in prop::collection::vec(piece(), 0..25)) {
        drop(read(&pieces.join(" ")));
        drop(read(&pieces.concat()));
    }

    #[test]
    fn mutations_are_answered(
        text in prop::sample::select(corpus()),
        cuts in prop::collection::vec((0_usize..300, piece(), 0_usize..4), 1..4),
    ) {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, with, drop) in cuts {
            let at = at.min(characters.len());
            let end = (at + drop).min(characters.len());
            characters.splice(at..end, with.chars());
        }
        let text: String = characters.into_iter().collect();
        drop(read(&text));
    }

    /// Comments and white space between tokens change nothing.
    #[test]
    fn noise_changes_nothing(
        text in prop::sample::select(corpus()),
        noise in prop::sample::select(vec![" ", "\n", "\t", " /* x /* ' */ ; */ ", " -- ' ; \n", " --\r "]),
        every in 1_usize..4,
    ) {
        // A line end between two strings makes one of them: leave such statements alone.
        // libpg_query looks past NOT, WITH, NULLS and UESCAPE one token ahead and meets a comment there:
        // it calls that a syntax error where the server does not. A refusal too many, not one too few.
        let ahead = ["not ", "with ", "nulls ", "uescape"].iter().any(|word| text.contains(word));
        let noise = if ahead { " " } else { noise };
        if let Some(before) = needs(&text).filter(|_| !text.contains("'\n'")) {
            let mut noisy = String::new();
            let mut end = 0;
            for (n, token) in Lexer::new(&text).enumerate() {
                noisy.push_str(&text[end..token.start]);
                // Not between a prefix operator and its neighbours of the same token class.
                if n % every == 0 && token.kind != Kind::Other && token.kind != Kind::Operator && token.start > end {
                    noisy.push_str(noise);
                }
                noisy.push_str(&text[token.range()]);
                end = token.end;
            }
            noisy.push_str(noise);
            prop_assert_eq!(needs(&noisy), Some(before), "{}", noisy);
        }
    }

    /// Wrapping a query keeps all that it needs.
    #[test]
    fn wrapping_never_shrinks(text in prop::sample::select(corpus())) {
        let Some(before) = needs(&text) else { return Ok(()) };
        let Ok(analysis) = read(&text) else { return Ok(()) };
        let command = analysis.statements.first().map_or("", |statement| statement.command);
        let query = command == "SELECT";
        let writes = analysis.statements.iter().any(|s| s.class == Class::Write);
        let defers = analysis.statements.iter().any(|s| !s.deferred.is_empty());
        if !(query || ["INSERT", "UPDATE", "DELETE", "MERGE"].contains(&command)) {
            return Ok(());
        }
        let mut wrapped = vec![
            format!("explain {text}"),
            format!("explain (analyze) {text}"),
        ];
        // What names an object by a parameter cannot be kept for later.
        if !defers {
            wrapped.push(format!("prepare p as {text}"));
        }
        if query {
            wrapped.push(format!("({text})"));
            if !defers {
                wrapped.push(format!("declare c cursor for {text}"));
            }
            wrapped.push(format!("copy ({text}) to stdout"));
            wrapped.push(format!("create table made as {text}"));
            if !writes {
                wrapped.push(format!("with w as ({text}) select * from w"));
                wrapped.push(format!("select * from ({text}) w"));
                wrapped.push(format!("select exists ({text})"));
                wrapped.push(format!("select 1 union all select 2 where exists ({text})"));
            }
        } else {
            wrapped.push(format!("with w as ({text}) select 1"));
        }
        for text in wrapped {
            let after = needs(&text);
            let mut expected = before.clone();
            let mut found = after.clone().unwrap_or_default();
            // A wrapper that needs something makes the mere knowledge of a live grant moot.
            expected.remove("METADATA");
            found.remove("METADATA");
            prop_assert!(after.is_some() && expected.is_subset(&found), "{}: {:?} {:?}", text, expected, found);
        }
    }
}
