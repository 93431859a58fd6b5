//! Other words for the same statement need the same; what holds a statement needs no less than it. Over the
//! tables and over made statements.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::lexer::{Kind, Lexer};
use super::super::{ParseLimits, Scope, analyse};
use super::generator::Generator;
use super::{catalog, outcome, overloads, path, properties};
use crate::sql::catalog::{Catalog, Operator, Relation, Routine, TypeKind};
use crate::sql::name::QualifiedName;
use crate::sql::statement::Class;

/// What the generator's statements name and the fixture does not have.
const RELATIONS: &str = "
    v: id salary
    wide: id x y z salary data tags
    calls: one a
    secured: a b
    serials: id x
    writes: id x
    checked: id k l
    indexed: id k
    made: id k
";

fn widened() -> Catalog {
    let mut catalog = catalog();
    let public = Arc::make_mut(catalog.schemas.get_mut("public").unwrap());
    for line in RELATIONS.lines().filter(|line| !line.trim().is_empty()) {
        let (name, columns) = line.trim().split_once(':').unwrap();
        let columns = columns.split_whitespace().map(Box::from).collect();
        public.relations.insert(name.into(), Relation { columns, ..Relation::default() });
    }
    for name in ["open", "closed_one", "mixed", "volatile", "total"] {
        public.functions.insert(name.into(), overloads(&["integer", "text", ""]));
    }
    public.functions.insert("closed_text".into(), overloads(&["text"]));
    public.types.insert("guarded".into(), TypeKind::Domain);
    public.types.insert("plain".into(), TypeKind::Domain);
    let function =
        Routine { name: QualifiedName::new("public", "eq"), arguments: "integer, integer".into() };
    public.operators.insert("===".into(), vec![Operator { left: 23, right: 23, function }]);
    let function =
        Routine { name: QualifiedName::new("public", "at"), arguments: "integer".into() };
    public.operators.insert("@@@".into(), vec![Operator { left: 0, right: 23, function }]);
    let app = Arc::make_mut(catalog.schemas.get_mut("app").unwrap());
    app.functions.insert("f".into(), overloads(&["integer"]));
    let mut closed = crate::sql::catalog::Schema::default();
    closed.functions.insert("f".into(), overloads(&["integer"]));
    closed.functions.insert("g".into(), overloads(&["integer"]));
    catalog.schemas.insert("closed".into(), Arc::new(closed));
    catalog
}

/// The command, whether anything is written, whether anything is left for later, and what is needed.
struct Read {
    command: &'static str,
    writes: bool,
    defers: bool,
    needs: BTreeSet<String>,
}

fn read(text: &str) -> Option<Read> {
    thread_local!(static CATALOG: Catalog = widened());
    let path = path(&["pg_catalog", "public"]);
    let result = CATALOG.with(|catalog| {
        analyse(text, &Scope { catalog, path: &path, parameters: &[] }, &ParseLimits::default())
    });
    let needs = outcome(&result).into_iter().collect();
    let [statement] = &*result.ok()?.statements else { return None };
    Some(Read {
        command: statement.command,
        writes: statement.class == Class::Write,
        defers: !statement.deferred.is_empty(),
        needs,
    })
}

/// Statements of the tables and made ones.
fn corpus() -> Vec<String> {
    let mut generator = Generator::new(20_261_124);
    let made = (0..3_000).map(|_| generator.statement());
    properties::corpus().into_iter().chain(made).collect()
}

/// Writes each token as `change` has it, with what stands between as it is.
fn rewritten(text: &str, change: impl Fn(usize, Kind, &str) -> String) -> String {
    let (mut changed, mut end) = (String::new(), 0);
    for (n, token) in Lexer::new(text).enumerate() {
        changed.push_str(&text[end..token.start]);
        changed.push_str(&change(n, token.kind, token.text(text)));
        end = token.end;
    }
    changed.push_str(&text[end..]);
    changed
}

/// Names that are no key word anywhere, nor looked at by their spelling.
const NAMES: &[&str] = &[
    "t1",
    "t2",
    "t4",
    "secret",
    "colt",
    "tenk",
    "onek",
    "orders",
    "app",
    "wide",
    "calls",
    "serials",
    "checked",
    "indexed",
    "made",
    "salary",
    "token",
    "total",
    "s0",
    "s1",
    "s3",
    "s4",
    "s6",
    "s7",
    "closed_one",
    "mixed",
    "w",
];

/// Other words for the same.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Upper,
    Mixed,
    Quoted,
    Unicode,
    Spread,
    Commented,
}

fn spelt(text: &str, spelling: Spelling) -> String {
    // The grammar looks one token past these, and takes no comment there that the server would.
    let ahead = ["not", "with", "nulls", "uescape"]
        .iter()
        .any(|word| Lexer::new(text).any(|token| token.text(text).eq_ignore_ascii_case(word)));
    rewritten(text, |n, kind, word| match (spelling, kind) {
        (Spelling::Upper, Kind::Word) => word.to_ascii_uppercase(),
        (Spelling::Mixed, Kind::Word) => word
            .chars()
            .enumerate()
            .map(|(at, c)| if (at + n) % 2 == 0 { c.to_ascii_uppercase() } else { c })
            .collect(),
        (Spelling::Quoted, Kind::Word) if NAMES.contains(&word) => format!("\"{word}\""),
        (Spelling::Unicode, Kind::Word) if NAMES.contains(&word) => {
            let escaped = word.chars().map(|c| format!("\\{:04x}", u32::from(c)));
            format!(" U&\"{}\"", escaped.collect::<String>())
        }
        (Spelling::Spread, Kind::Open | Kind::Close) => format!("\n\t{word}\n\t"),
        (Spelling::Commented, Kind::Open | Kind::Close) if !ahead => {
            format!("/* ' /* ( */ \" */{word}-- ' ;\n")
        }
        _ => word.to_owned(),
    })
}

/// What holds a statement; `true` where that means just the same.
fn holders(text: &str, read: &Read) -> Vec<(String, bool)> {
    let query = read.command == "SELECT";
    let mut holders = Vec::new();
    if !(query || ["INSERT", "UPDATE", "DELETE", "MERGE"].contains(&read.command)) {
        return holders;
    }
    for explain in ["explain", "explain analyze", "explain (analyze, verbose, format json)"] {
        holders.push((format!("{explain} {text}"), false));
    }
    if !read.defers {
        holders.push((format!("prepare p as {text}"), true));
        holders.push((format!("explain analyze {text}"), true));
    }
    if !query {
        if !text.starts_with("with") {
            holders.push((format!("with unused as (select 1) {text}"), true));
        }
        holders.push((format!("with w as ({text}) select 1"), true));
        return holders;
    }
    holders.push((format!("({text})"), true));
    holders.push((format!("((({text})))"), true));
    if !read.writes {
        holders.push((format!("select 1 from ({text}) w"), false));
        holders.push((format!("select 1 from t3, lateral ({text}) w"), false));
        holders.push((format!("select exists (select from ({text}) w)"), false));
        holders.push((format!("select array(select 1 from ({text}) w)"), false));
        holders.push((format!("with w as ({text}) select 1 from w"), false));
        holders.push((format!("with a as (with b as ({text}) select 1 from b) select 1"), false));
        holders.push((format!("insert into t3 (c) select 1 from ({text}) w"), false));
        holders.push((format!("select 1 union all (select 1 from ({text}) w)"), false));
        holders.push((format!("update t3 set c = (select count(*) from ({text}) w)"), false));
        holders.push((format!("delete from t3 using ({text}) w"), false));
        holders.push((format!("merge into t3 using (select 1 as k from ({text}) w) q on k = c when matched then delete"), false));
    }
    holders
}

fn config() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(20_261_124), ..ProptestConfig::with_cases(1_500) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn other_spellings_need_the_same(
        text in prop::sample::select(corpus()),
        spellings in prop::collection::vec(prop::sample::select(vec![
            Spelling::Upper, Spelling::Mixed, Spelling::Quoted, Spelling::Unicode, Spelling::Spread,
            Spelling::Commented,
        ]), 1..4),
    ) {
        let Some(before) = read(&text) else { return Ok(()) };
        let spelt = spellings.iter().fold(text, |text, spelling| spelt(&text, *spelling));
        let after = read(&spelt);
        prop_assert_eq!(after.map(|read| read.needs), Some(before.needs), "{}", spelt);
    }

    #[test]
    fn what_holds_a_statement_needs_no_less(text in prop::sample::select(corpus()), which in 0_usize..100) {
        let Some(before) = read(&text) else { return Ok(()) };
        let holders = holders(&text, &before);
        prop_assume!(!holders.is_empty());
        let (holder, same) = &holders[which % holders.len()];
        let Some(after) = read(holder) else {
            prop_assert!(false, "not read: {}", holder);
            return Ok(());
        };
        let mut lost = before.needs.clone();
        lost.retain(|access| !after.needs.contains(access));
        // Where more is needed, the mere knowledge of a live grant is moot.
        lost.remove("METADATA");
        prop_assert!(lost.is_empty(), "{}: {:?}", holder, lost);
        if *same {
            prop_assert_eq!(after.needs, before.needs, "{}", holder);
        }
    }
}

#[test]
fn most_of_the_corpus_is_read() {
    let corpus = corpus();
    let read = corpus.iter().filter(|text| read(text).is_some()).count();
    assert!(read * 10 > corpus.len() * 8, "{read} of {}", corpus.len());
}
