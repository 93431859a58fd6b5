//! The first lock alone: an all-powerful service account and no second lock, so that only the proxy's decision
//! stands between a party and everything.

use crate::compare::{Form, rules, run};
use crate::ground::Ground;
use crate::support::Version;
use crate::tally::Tally;
use crate::{OBJECTS, TRAP_OBJECTS, corpus, everything, versions};

#[test]
fn made_statements_are_refused_as_the_server_refuses_them() {
    for version in versions() {
        made(version);
    }
}

fn made(version: Option<Version>) {
    // With how many parties' rights each is tried.
    let tries = if everything() { 12 } else { 2 };
    let ground = Ground::new(version, OBJECTS, 12, 1, false);
    let rules = rules();
    let mut sessions: Vec<_> =
        ground.parties.iter().map(|it| (ground.direct(it), ground.proxied(it, "open"))).collect();
    let mut statements = corpus::made(2_000);
    statements.extend(corpus::by_hand().into_iter().map(str::to_owned));
    let mut tally = Tally::default();
    for (n, text) in statements.iter().enumerate() {
        for attempt in 0..tries {
            let at = (n * 5 + attempt * 7) % sessions.len();
            let form = if (n + attempt) % 2 == 0 { Form::Simple } else { Form::Extended };
            let (direct, proxied) = &mut sessions[at];
            let server = run(direct, form, text);
            let tested = run(proxied, form, text);
            let who = format!("{} {form:?}", ground.parties[at].name);
            tally.add(&rules, &who, text, &server, &tested);
        }
    }
    tally.judge("made");
}

#[test]
fn traps_are_refused_as_the_server_refuses_them() {
    for version in versions() {
        traps(version);
    }
}

fn traps(version: Option<Version>) {
    let ground = Ground::new(version, TRAP_OBJECTS, 6, 2, false);
    let rules = rules();
    let mut tally = Tally::default();
    for (at, party) in ground.parties.iter().enumerate() {
        let open = || (ground.direct(party), ground.proxied(party, "open"));
        let mut sessions = open();
        for (n, text) in corpus::traps().iter().enumerate() {
            for (turn, form) in [Form::Simple, Form::Extended].into_iter().enumerate() {
                if !everything() && (n + turn + at) % 4 != 0 {
                    continue;
                }
                let (direct, proxied) = &mut sessions;
                let server = run(direct, form, text);
                let tested = run(proxied, form, text);
                let who = format!("{} {form:?}", party.name);
                tally.add(&rules, &who, text, &server, &tested);
                if corpus::lingers(text) {
                    sessions = open();
                }
            }
        }
    }
    tally.judge("traps");
}
