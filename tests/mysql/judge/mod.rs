//! The locks against the server's own access control, end to end: the same statement with the same rights,
//! once as an account at the server and once as a principal at the proxy, whose service account may do
//! everything. The first lock alone, and both, as is the default. Texts are compared, and prepared statements.
//!
//! CI runs a part; `LOCKS_ALL=1` runs everything, as `make oracle` does.

mod compare;
mod corpus;
mod generator;
mod ground;
#[path = "../../oracle/random.rs"]
mod random;
mod shown;
mod wire;

use std::collections::HashSet;

use self::compare::Outcome;
use self::ground::{Ground, Party, Sessions};
use self::wire::{Failed, Session};
use crate::support::{Product, products_available};
use crate::tally::{Tally, rules};

/// How many ask.
const PARTIES: usize = 12;

/// Of ten thousand statements, how many may be denied that the server allows, whatever the rule. Where sessions are
/// the service account's, the server hides nothing, and what is made is not theirs: so more is denied. In CI's part
/// those by hand weigh more.
fn stricter_max(sessions: Sessions) -> usize {
    match (sessions, everything()) {
        (Sessions::Own, true) => 100,
        (Sessions::Own, false) => 120,
        (Sessions::Service, true) => 200,
        (Sessions::Service, false) => 260,
    }
}

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// COM_QUERY.
    Text,
    /// COM_STMT_PREPARE and COM_STMT_EXECUTE.
    Prepared,
}

/// What one statement came to on either way.
struct Compared {
    who: String,
    text: String,
    direct: Result<(), Failed>,
    proxied: Result<(), Failed>,
}

/// Whether all is to be run, and not CI's part of it.
fn everything() -> bool {
    std::env::var_os("LOCKS_ALL").is_some()
}

fn start(mut session: Session) -> Session {
    session.query("SET autocommit = 0").unwrap();
    session
}

fn run(session: &mut Session, form: Form, text: &str) -> Result<(), Failed> {
    if corpus::answers_in_rows(text) {
        return session.upkeep(text, form == Form::Prepared);
    }
    match form {
        Form::Text => session.query(text),
        Form::Prepared => session.prepared(text),
    }
}

/// A party's two sessions.
struct Pair {
    direct: Session,
    proxied: Session,
}

impl Pair {
    fn open(ground: &Ground, party: &Party) -> Self {
        Self { direct: start(ground.direct(party)), proxied: start(ground.proxied(party)) }
    }
}

/// Runs one statement both ways.
fn both(
    ground: &mut Ground,
    (at, pair): (usize, &mut Pair),
    (n, form, text): (usize, Form, &str),
) -> Compared {
    let lingers = corpus::lingers(text);
    let restored = |ground: &mut Ground, result: &Result<(), Failed>| {
        if corpus::defines(text) && (result.is_ok() || corpus::may_stop_midway(text)) {
            ground.restore_after(text);
        }
    };
    let mut direct = run(&mut pair.direct, form, text);
    if form == Form::Prepared && matches!(&direct, Err(failed) if compare::is_of_preparing(failed))
    {
        direct = run(&mut pair.direct, Form::Text, text);
    }
    if lingers || pair.direct.is_over() {
        pair.direct.reset();
        restored(ground, &direct);
        pair.direct = start(ground.direct(&ground.parties[at]));
    } else {
        pair.direct.query("ROLLBACK").unwrap();
    }
    // It tells the audit records of this statement from those of others.
    pair.proxied.query(&format!("DO {n}")).unwrap();
    let mut proxied = run(&mut pair.proxied, form, text);
    if form == Form::Prepared && matches!(&proxied, Err(failed) if compare::is_of_preparing(failed))
    {
        proxied = run(&mut pair.proxied, Form::Text, text);
    }
    if lingers || pair.proxied.is_over() {
        pair.proxied.reset();
        restored(ground, &proxied);
        pair.proxied = start(ground.proxied(&ground.parties[at]));
    } else {
        pair.proxied.query("ROLLBACK").unwrap();
    }
    let who = format!("{} {form:?}", ground.parties[at].name);
    Compared { who, text: text.to_owned(), direct, proxied }
}

/// Numbers of the statements that the proxy has refused, by its audit stream.
fn refused(ground: &Ground) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut now: Option<usize> = None;
    for record in ground.daypass.audit() {
        let text = record["text"].as_str().unwrap_or_default();
        if record["kind"] != "decision" {
            continue;
        }
        if let Some(n) = text.strip_prefix("DO ").and_then(|n| n.parse().ok()) {
            assert_eq!(record["decision"], "allow", "{record}");
            now = Some(n);
        } else if record["decision"] == "deny" {
            found.extend(now);
        }
    }
    found
}

fn judge(product: Product, sessions: Sessions, statements: &[String], tries: usize) {
    let rules = rules(include_str!("stricter.txt"));
    let mut ground = Ground::new(product, sessions, PARTIES, 1);
    let mut pairs: Vec<_> = ground.parties.iter().map(|it| Pair::open(&ground, it)).collect();
    let folder = ground.server.socket().parent().unwrap().display().to_string();
    let mut compared = Vec::new();
    for (n, text) in statements.iter().enumerate() {
        let text = text.replace("/tmp/", &format!("{folder}/")).replace("sleep(1)", "sleep(0)");
        // What is dear is tried once in CI.
        let tries = if !everything() && corpus::defines(&text) { 1 } else { tries };
        for attempt in 0..tries {
            let at = (n * 5 + attempt * 7) % pairs.len();
            // Whoever has had it in one form has it in the other next time.
            let turn = n + attempt + attempt / pairs.len();
            let form = if turn % 2 == 0 { Form::Text } else { Form::Prepared };
            let number = compared.len();
            let pair = (at, &mut pairs[at]);
            compared.push(both(&mut ground, pair, (number, form, &text)));
        }
    }
    drop(pairs);
    ground.daypass.stop();
    let refused = refused(&ground);
    let mut tally = Tally::default();
    for (n, it) in compared.iter().enumerate() {
        let direct = Outcome::direct(&it.direct);
        let proxied = Outcome::proxied(&it.proxied, refused.contains(&n));
        let text = format!("{product:?}: {}", it.text);
        tally.add(&rules, &it.who, &text, &direct, &proxied);
    }
    let name = format!("{product:?}, {sessions:?}");
    tally.judge(&name);
    let (stricter, compared) = (tally.stricter(), tally.compared);
    assert!(
        stricter * 10_000 < compared * stricter_max(sessions),
        "{name}: {stricter} of {compared} are denied where the server allows them"
    );
}

fn compare(product: Product, sessions: Sessions) {
    let mut statements = corpus::made(product, if everything() { 2_400 } else { 1_000 });
    statements.extend(corpus::by_hand());
    let tries = if everything() { 12 } else { 2 };
    judge(product, sessions, &statements, tries);
}

#[test]
fn mariadb_is_the_judge_of_the_first_lock() {
    compare(Product::MariaDb, Sessions::Service);
}

#[test]
fn mariadb_is_the_judge_of_both_locks() {
    compare(Product::MariaDb, Sessions::Own);
}

#[test]
fn mysql_is_the_judge_of_the_first_lock() {
    if products_available().contains(&Product::Mysql) {
        compare(Product::Mysql, Sessions::Service);
    }
}

#[test]
fn mysql_is_the_judge_of_both_locks() {
    if products_available().contains(&Product::Mysql) {
        compare(Product::Mysql, Sessions::Own);
    }
}
