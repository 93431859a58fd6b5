//! Hostile depth and length: a clean answer on the stack that callers promise.
//!
//! A stack that overflows ends its process by a signal, so each shape is read in a process of its own:
//! this test binary once more, which runs [`in_a_process`] alone.

mod shapes;

use std::process::Command;
use std::time::{Duration, Instant};

use super::super::lexer::Lexer;
use super::super::{ParseLimits, STACK_BYTES, Scope, analyse};
use super::{catalog, path};
use crate::sql::statement::{Analysis, NotUnderstood};
use shapes::{CHAINS, NESTS, SURVIVORS, Shape};

/// Which shape the process is for.
const SHAPE: &str = "DAYPASS_TEST_SHAPE";

/// Limits that let everything through to the grammar and the walk.
const OPEN: ParseLimits =
    ParseLimits { bytes_max: 1 << 30, tokens_max: 1 << 30, nesting_max: 1 << 30 };

/// The one shape of that name.
fn named(name: &str) -> &'static Shape {
    let mut all = CHAINS.iter().chain(NESTS).chain(SURVIVORS).filter(|shape| shape.name == name);
    let found = all.next().unwrap();
    assert!(all.next().is_none(), "two shapes are called {name}");
    found
}

/// Parses, walks and drops.
fn read_with(text: &str, limits: &ParseLimits) -> Result<Analysis, NotUnderstood> {
    let catalog = catalog();
    let path = path(&["pg_catalog", "public"]);
    analyse(text, &Scope { catalog: &catalog, path: &path, parameters: &[] }, limits)
}

/// Does something on the stack that sessions have.
fn on_their_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

/// Reads each shape in a process of its own, which has to come to its end.
fn in_processes(shapes: &[Shape]) {
    for shape in shapes {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "--nocapture",
                "sql::postgres::tests::deep::in_a_process",
            ])
            .env(SHAPE, shape.name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{}: {}\n{said}{}",
            shape.name,
            child.status,
            String::from_utf8_lossy(&child.stderr)
        );
        let found = said.lines().filter(|line| line.contains("accepted"));
        found.for_each(|line| println!("{line}"));
    }
}

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn in_a_process() {
    let name = std::env::var(SHAPE).unwrap();
    let shape = named(&name);
    on_their_stack(move || {
        if let Some(at_least) = shape.at_least {
            let deepest = deepest(shape);
            println!("{name}: {deepest} accepted");
            assert!(deepest >= at_least, "{deepest}");
            check_refused(&shape.text(deepest + 1));
        }
        // The grammar and the walk survive without the limits, too.
        for times in [300, 3_000, 50_000] {
            drop(read_with(&shape.text(times), &ParseLimits::default()));
            drop(read_with(&shape.text(times), &OPEN));
        }
    });
}

/// The most links that are accepted under the limits that sessions have by default.
fn deepest(shape: &Shape) -> usize {
    let accepted = |times: usize| match read_with(&shape.text(times), &ParseLimits::default()) {
        Ok(_) => true,
        Err(NotUnderstood::TooComplex { .. }) => false,
        Err(other) => panic!("{times}: {other:?}"),
    };
    // A chain ends at the number of tokens, which grows by the same number with each link.
    let tokens = |times| Lexer::new(&shape.text(times)).count();
    let most = (ParseLimits::default().tokens_max - tokens(1)) / (tokens(2) - tokens(1)) + 1;
    if accepted(most) {
        return most;
    }
    let (mut good, mut bad) = (1, most.min(1_024));
    while accepted(bad) {
        bad = (bad * 2).min(most);
    }
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if accepted(middle) { good = middle } else { bad = middle }
    }
    good
}

fn check_refused(text: &str) {
    let Err(NotUnderstood::TooComplex { what }) = read_with(text, &ParseLimits::default()) else {
        panic!("it is not refused as too complex");
    };
    assert!(what.starts_with("The statement") && what.ends_with('.'), "{what}");
    println!("one more: {what}");
}

#[test]
fn the_longest_chain_of_each_shape_is_read_and_dropped() {
    in_processes(CHAINS);
}

#[test]
fn the_deepest_nest_of_each_shape_is_read_and_dropped() {
    in_processes(NESTS);
}

#[test]
fn what_has_no_deepest_is_answered_too() {
    in_processes(SURVIVORS);
}

#[test]
fn chains_keep_what_they_need() {
    for name in ["or", "concatenation", "union", "cast", "is null", "in list", "rows"] {
        let shape = named(name);
        let result = on_their_stack(|| read_with(&shape.text(3_000), &ParseLimits::default()));
        let needs = super::outcome(&result).join(" ");
        assert!(needs.contains("(a, b)"), "{name}: {needs}");
    }
}

fn chain(start: &str, link: &str, times: usize) -> String {
    format!("{start}{}", link.repeat(times))
}

fn survive(text: String) -> Result<Analysis, NotUnderstood> {
    on_their_stack(move || {
        let started = Instant::now();
        let result = read_with(&text, &OPEN);
        assert!(started.elapsed() < Duration::from_secs(60));
        result
    })
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
    let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
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
