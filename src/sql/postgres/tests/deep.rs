//! Hostile depth and length: a clean result on the stack that callers promise.

use std::time::{Duration, Instant};

use super::super::{ParseLimits, Scope, analyse};
use super::{catalog, path};
use crate::sql::statement::{Analysis, NotUnderstood};

/// Analyses on a thread of 8 MiB, with limits that let everything through to the parser and the walk.
fn survive(text: String) -> Result<Analysis, NotUnderstood> {
    let work = move || {
        let catalog = catalog();
        let path = path(&["pg_catalog", "public"]);
        let scope = Scope { catalog: &catalog, path: &path };
        let open = ParseLimits { bytes_max: 1 << 30, tokens_max: 1 << 30, nesting_max: 1 << 30 };
        // The default limits must survive, too, of course.
        let started = Instant::now();
        drop(analyse(&text, &scope, &ParseLimits::default()));
        let result = analyse(&text, &scope, &open);
        assert!(started.elapsed() < Duration::from_secs(60));
        result
    };
    std::thread::Builder::new().stack_size(8 << 20).spawn(work).unwrap().join().unwrap()
}

fn chain(start: &str, link: &str, times: usize) -> String {
    format!("{start}{}", link.repeat(times))
}

fn nest(open: &str, inside: &str, close: &str, times: usize) -> String {
    format!("select {}{inside}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn chains_are_read_whole() {
    for text in [
        chain("select a from t1 where a = 1", " or b = 1", 100_000),
        chain("select a from t1 where a = 1", " and b = 1", 100_000),
        chain("select a || b", " || b", 100_000) + " from t1",
        chain("select a + b", " - b", 100_000) + " from t1",
        chain("select a from t1", " union select b from t1", 20_000),
        chain("select a from t1 where b in (1", ", 1", 100_000) + ")",
        chain("insert into t1 values (1, 2)", ", (1, 2)", 50_000),
        chain("select a, b", "::text", 20_000) + " from t1",
        chain("select a from t1 where b is null", " is null", 4_000),
    ] {
        let head: String = text.chars().take(60).collect();
        let result = survive(text).unwrap_or_else(|error| panic!("{head}: {error:?}"));
        let needs = super::outcome(&Ok(result)).join(" ");
        assert!(needs.contains("(a, b)"), "{head}: {needs}");
    }
}

#[test]
fn nests_are_refused_cleanly() {
    for times in [300, 3_000, 50_000] {
        for text in [
            nest("(", "1", ")", times),
            nest("not ", "true", "", times),
            nest("- ", "1", "", times),
            nest("(select ", "1", ")", times),
            nest("(select * from (select ", "1", ") q)", times),
            nest("case when true then ", "1", " end", times),
            nest("array[", "1", "]", times),
            nest("row(", "1", ")", times),
            nest("coalesce(1, ", "1", ")", times),
            nest("lower(", "'a'", ")", times),
            nest("a[", "1", "]", times),
            format!("select {}1{}", "((".repeat(times), ")+1)".repeat(times)),
            format!("select 1 from {}t1{}", "(".repeat(times), " join t4 on true)".repeat(times)),
            chain("select 1 from t1", " cross join t4", times),
            format!("{}select 1{}", "with q as (".repeat(times), ") select 1".repeat(times)),
            format!("{}select 1{}", "(".repeat(times), " union select 1)".repeat(times)),
            format!("select /*{}{}*/ 1", " /* ".repeat(times), " */ ".repeat(times)),
            format!("explain {}select 1", "explain ".repeat(times)),
            nest("1 = any (array[", "1", "])", times),
            nest("exists (select 1 where ", "true", ")", times),
        ] {
            // Understood, or refused with a reason: either is fine, as long as the thread lives.
            drop(survive(text));
        }
    }
}

#[test]
fn nothing_stalls() {
    let stars = chain("select t1.*", ", t1.*", 100_000) + " from t1";
    assert!(matches!(survive(stars), Err(NotUnderstood::TooComplex { .. })));
    let items = chain("select a from t1", ", t1 as t", 3_000).replace(", t1 as t", ", b");
    drop(survive(items));
    let many: String = (0..3_000).map(|n| format!(", t1 as t{n}")).collect();
    let references: String = (0..50_000).map(|n| format!(", t{}.b", n % 3_000)).collect();
    drop(survive(format!("select 1{references} from colt{many}")));
    let bare = chain("select id", ", id", 100_000);
    drop(survive(format!("{bare} from colt{many}")));
    let ctes: String = (0..40_000).map(|n| format!(", c{n} as (select 1 from c0)")).collect();
    drop(survive(format!("with c0 as (select 1){ctes} select 1")));
    let wide = ", t1.a".repeat(1_600);
    let copies = ", q as x (y)".repeat(50_000);
    drop(survive(format!("with q as (select 1{wide} from t1) select 1 from q{copies}")));
    let rows = ", q.a".repeat(50_000);
    let sources = ", t1 as x".repeat(20_000);
    drop(survive(format!("select 1{rows} from (select colt.id as a from colt{sources}) q")));
    let statements = "select 'a';".repeat(50_000);
    assert!(survive(statements).is_ok());
}

#[test]
fn a_point_select_is_quick() {
    let catalog = catalog();
    let path = path(&["pg_catalog", "public"]);
    let scope = Scope { catalog: &catalog, path: &path };
    let limits = ParseLimits::default();
    let text = "SELECT name, salary FROM colt WHERE id = $1";
    let started = Instant::now();
    for _ in 0..2_000 {
        analyse(text, &scope, &limits).unwrap();
    }
    let each = started.elapsed() / 2_000;
    println!("a point select: {each:?}");
    // Unoptimised, and on a busy machine; the benches measure properly.
    assert!(each < Duration::from_millis(1), "{each:?}");
}
