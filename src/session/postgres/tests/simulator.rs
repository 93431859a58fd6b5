//! Many seeds: a random client, a random world. After each step the invariants of ARCHITECTURE.md are
//! checked; a failure prints its seed.

use std::time::Duration;

use crate::audit::record::{AuditRecord, Kind, Outcome, Verdict};
use crate::session::simulation::{Random, check_records, for_every_seed};

use super::client::{Sent, check, is_volunteered};
use super::names::TEMPORARY;
use super::{House, grant};
use crate::wire::postgres::message::TransactionStatus;

const NAMES: [&str; 3] = ["", "p", "q"];

fn text(random: &mut Random) -> String {
    let relation = format!("t{}", random.below(4));
    match random.below(22) {
        0..6 => format!("SELECT a FROM {relation}"),
        6 => format!("INSERT INTO {relation} (a) VALUES (1)"),
        7 => "SELECT 1/0".to_owned(),
        8 => "BEGIN".to_owned(),
        9 => "COMMIT".to_owned(),
        10 => "ROLLBACK".to_owned(),
        11 => format!("SELECT a, pg_sleep(9) FROM {relation}"),
        12 => "SELEC 1".to_owned(),
        13 => "SET extra_float_digits = 3".to_owned(),
        14 => "SELECT a FROM missing".to_owned(),
        15 => format!("CREATE TEMP TABLE {relation} (a int, b int)"),
        16 if random.one_in(2) => {
            format!("CREATE TEMP TABLE {relation} (a int, b int) ON COMMIT DROP")
        }
        16 => "DISCARD TEMP".to_owned(),
        17 => format!("CREATE TABLE app.{relation} (a int, b int)"),
        18 => format!("DROP TABLE {relation}"),
        19 => "SAVEPOINT s".to_owned(),
        20 => "ROLLBACK TO s".to_owned(),
        _ if random.one_in(2) => format!("CALL daypass.explain('SELECT a FROM {relation}')"),
        _ => "CALL daypass.whoami()".to_owned(),
    }
}

fn query(random: &mut Random) -> Sent {
    match random.below(8) {
        0 => Sent::Query(format!("SELECT a FROM t{}; SELECT b FROM t1", random.below(4))),
        1 => Sent::Query("  ".to_owned()),
        2 => Sent::Query("CALL daypass.deny('r_1', 'no')".to_owned()),
        _ => Sent::Query(text(random)),
    }
}

fn segment(random: &mut Random) -> Vec<Sent> {
    let mut segment: Vec<_> = (0..random.below(7))
        .map(|_| {
            let (name, other) = (random.pick(&NAMES), random.pick(&NAMES));
            match random.below(12) {
                0..3 => Sent::Parse(name, text(random)),
                3..6 => Sent::Bind(name, other),
                6 | 7 => Sent::Execute(name),
                8 => Sent::Fetch(name, 1 + u8::try_from(random.below(3)).unwrap()),
                9 if random.one_in(2) => Sent::DescribeStatement(name),
                9 => Sent::DescribePortal(name),
                10 if random.one_in(2) => Sent::CloseStatement(name),
                10 => Sent::ClosePortal(name),
                _ => Sent::Flush,
            }
        })
        .collect();
    // Some clients end a segment with a simple query and send Sync behind what follows, or never.
    if random.one_in(4) {
        segment.push(query(random));
    }
    segment.push(Sent::Sync);
    segment
}

/// Fetches from one portal, a segment each, so that a grant may end between them.
fn fetches(random: &mut Random) -> Vec<Sent> {
    let relation = random.below(3);
    let mut sent = vec![Sent::Query("BEGIN".to_owned())];
    sent.push(Sent::Parse("p", format!("SELECT a FROM t{relation}")));
    sent.push(Sent::Bind("q", "p"));
    for _ in 0..1 + random.below(4) {
        sent.push(Sent::Fetch("q", 1 + u8::try_from(random.below(2)).unwrap()));
        sent.extend(random.one_in(2).then_some(Sent::Sync));
    }
    sent.push(if random.one_in(2) { Sent::Execute("q") } else { Sent::ClosePortal("q") });
    sent.extend([Sent::CloseStatement("p"), Sent::Sync]);
    sent.push(Sent::Query("COMMIT".to_owned()));
    sent
}

/// COPY in pieces, which may be cut anywhere.
fn copy(random: &mut Random) -> Vec<Sent> {
    let text = format!("COPY t{} (a) FROM STDIN", random.below(3));
    let simple = random.one_in(2);
    let mut sent = if simple {
        vec![Sent::Query(text)]
    } else {
        // Under a name of its own: executed without its data it would swallow a Sync.
        vec![Sent::Parse("c", text), Sent::Bind("c", "c"), Sent::Execute("c")]
    };
    sent.extend((0..random.below(4)).map(|_| Sent::CopyData));
    sent.push(Sent::CopyDone);
    if !simple {
        sent.extend([Sent::CloseStatement("c"), Sent::Sync]);
    }
    sent
}

/// Definitions and uses of one relation, in an order in which they matter to each other.
fn story(random: &mut Random) -> Vec<Sent> {
    let relation = format!("t{}", random.below(2));
    let select = format!("SELECT a FROM {relation}");
    let define = |random: &mut Random| match random.below(4) {
        0 => format!("DROP TABLE {relation}"),
        1 => format!("CREATE TABLE app.{relation} (a int, b int)"),
        _ => format!("CREATE TEMP TABLE {relation} (a int, b int)"),
    };
    let mut sent = vec![Sent::Query("CREATE TEMP TABLE t4 (a int, b int)".to_owned())];
    if random.one_in(2) {
        sent.extend([Sent::Parse("p", select.clone()), Sent::Sync]);
    }
    if random.one_in(2) {
        sent.push(Sent::Query("BEGIN".to_owned()));
    }
    if random.one_in(3) {
        let define = define(random);
        let taken_back = ["SAVEPOINT s", &define, &select, "ROLLBACK TO s", &select];
        sent.extend(taken_back.map(|text| Sent::Query(text.to_owned())));
    }
    for _ in 0..2 + random.below(5) {
        match random.below(7) {
            0 => sent.push(Sent::Query("SAVEPOINT s".to_owned())),
            1 => sent.push(Sent::Query("ROLLBACK TO s".to_owned())),
            2 | 3 => sent.push(Sent::Query(define(random))),
            4 => sent.push(Sent::Query(select.clone())),
            5 => sent.extend([Sent::Bind("", "p"), Sent::Execute(""), Sent::Sync]),
            _ => {
                let define = define(random);
                sent.extend([Sent::Parse("", define), Sent::Bind("", ""), Sent::Execute("")]);
                sent.extend([Sent::Bind("", "p"), Sent::Execute(""), Sent::Sync]);
            }
        }
    }
    let end = random.pick(&["COMMIT", "ROLLBACK"]).to_owned();
    sent.extend([Sent::Query(end), Sent::Query(select)]);
    sent
}

/// An owner's work, in and out of transactions that take some of it back.
fn ownership(random: &mut Random) -> Vec<Sent> {
    let relation = format!("t{}", random.below(2));
    let create = format!("CREATE TABLE app.{relation} (a int, b int)");
    let (drop, select) =
        (format!("DROP TABLE app.{relation}"), format!("SELECT a FROM {relation}"));
    let query = |text: &str| Sent::Query(text.to_owned());
    let run =
        |text: &str| [Sent::Parse("", text.to_owned()), Sent::Bind("", ""), Sent::Execute("")];
    let mut sent = Vec::new();
    match random.below(5) {
        0 => {
            sent.push(query(&format!("BEGIN; {create}")));
            if random.one_in(2) {
                // The role was taken before BEGIN, so that the end of all of it brings it back.
                let ends = ["SAVEPOINT s", "ROLLBACK TO s", "ROLLBACK", &select].map(query);
                sent.extend(ends);
                return sent;
            }
        }
        1 => {
            sent.extend(run("BEGIN").into_iter().chain(run(&create)));
            sent.push(Sent::Sync);
        }
        2 => {
            sent.extend(run(&select).into_iter().chain(run(&create)));
            sent.push(Sent::Sync);
        }
        3 => sent.extend(["BEGIN", "SAVEPOINT s", &create].map(query)),
        _ => sent.push(query(&create)),
    }
    for _ in 0..1 + random.below(5) {
        match random.below(8) {
            0 => sent.push(query("SAVEPOINT s")),
            1 => sent.push(query("ROLLBACK TO s")),
            2 => sent.push(query(&select)),
            3 => sent.push(query(&drop)),
            4 => sent.push(query(&create)),
            5 => {
                sent.extend(run(&create));
                sent.extend(run(&select));
                sent.push(Sent::Sync);
            }
            6 => sent.push(query("SELECT 1/0")),
            _ => {
                sent.extend(run("ROLLBACK"));
                sent.extend(run(&select));
                sent.push(Sent::Sync);
            }
        }
    }
    sent.push(query(random.pick(&["COMMIT", "ROLLBACK"])));
    sent.push(query(&select));
    sent
}

fn step(house: &mut House, random: &mut Random, to_send: &mut Vec<u8>) {
    match random.below(15) {
        0..4 if !to_send.is_empty() => {
            let count = 1 + random.below(to_send.len().min(60));
            let chunk: Vec<_> = to_send.drain(..count).collect();
            house.client_sends(&chunk);
        }
        4..7 if !house.server.out.is_empty() => {
            let count = 1 + random.below(40);
            house.server_delivers(count);
        }
        7 | 8 if !house.pending.is_empty() => {
            let index = random.below(house.pending.len());
            house.fulfil(index);
        }
        9 => house.server.finish(),
        10 if random.one_in(3) => house.pass_time(Duration::from_secs(random.bits() % 20)),
        11 if random.one_in(3) => {
            let id = format!("g_{}", house.grants.len());
            let relation = random.below(4);
            let seconds = 5 + random.bits() % 60;
            let privileges = match random.below(3) {
                0 => "ADMIN ON SCHEMA app".to_owned(),
                _ => format!("SELECT, INSERT ON public.t{relation}"),
            };
            house.add(&id, &privileges, seconds);
        }
        12 if random.one_in(4) && !house.grants.is_empty() => {
            let index = random.below(house.grants.len());
            let id = house.grants[index].id.to_string();
            house.revoke(&id);
        }
        13 if random.one_in(6) => house.machine.on_cancel(&mut house.out),
        14 if house.server_open => {
            let kind = [b'N', b'A', b'S'][random.below(3)];
            house.server.volunteer(kind, random.below(90));
        }
        // Somebody else has changed something that nobody here asks for.
        13 if random.one_in(4) => {
            let catalog = house.published();
            house.machine.set_catalog(catalog);
        }
        _ => (),
    }
    house.apply();
}

/// What a session comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Everything that was sent is answered.
    Rest,
    /// The client has closed its sending side when all is sent.
    HalfClose,
    /// The client is gone in the middle.
    Vanish,
    /// The server is gone in the middle, perhaps of a message.
    ServerDies,
}

/// The client hears whole messages: where one is cut, the server's own is still on its way.
fn check_client(house: &House) {
    let (_, rest) = house.told_so_far();
    assert!(rest == 0 || house.machine.server_rest > 0, "half a message for the client");
}

fn check_server(house: &House) {
    let allowed = house.decisions(Verdict::Allow);
    assert!(house.server.ran.len() <= allowed, "a statement ran before its record");
    for ran in &house.server.ran {
        // Giving up what is one's own needs nothing.
        if let Some((schema, name)) = ran.on.as_ref().filter(|_| ran.text != "DISCARD TEMP") {
            let wanted = match &**schema {
                "public" if name.is_empty() => "DATABASE",
                "public" => name,
                TEMPORARY => "any",
                other => other,
            };
            let allowed = ran.readable.iter().any(|on| on == wanted || on == "DATABASE");
            assert!(allowed, "{} ran on {schema}.{name} without a grant", ran.text);
        }
        let defines =
            ran.on.as_ref().is_some_and(|(schema, name)| name.is_empty() && schema != TEMPORARY);
        if house.has_owner() {
            assert!(!defines || ran.as_owner, "{} ran as nobody who owns anything", ran.text);
        } else {
            assert!(!ran.as_owner);
        }
        assert!(!ran.text.contains("daypass."), "a call reached the server");
        assert!(!ran.text.contains("DROP TABLE t4"), "data was read as a message");
    }
}

/// Of what ran as the `ddl-owner`, and of that alone, the records say so.
fn check_second_lock(house: &House) {
    let ran = |as_owner| house.server.ran.iter().filter(|ran| ran.as_owner == as_owner).count();
    let said = |kind, word| {
        let of_kind = house.audit.iter().filter(|record| record.kind == kind);
        of_kind.filter(|record| record.second_lock == Some(word)).count()
    };
    let allowed = house.decisions(Verdict::Allow);
    let partial = said(Kind::Result, "partial");
    assert!(ran(true) <= partial && ran(false) <= allowed - partial, "records of another role");
    assert_eq!(said(Kind::Decision, "partial"), partial);
}

fn check_audit(house: &House) {
    check_records(&house.audit);
    check_names(house);
}

/// What was decided about is what the server found.
fn check_names(house: &House) {
    let decision = |result: &AuditRecord| {
        let same = |record: &&AuditRecord| {
            record.kind == Kind::Decision && record.statement == result.statement
        };
        house.audit.iter().find(same).unwrap()
    };
    let ended = house.audit.iter().filter(|record| record.outcome == Some(Outcome::Ok));
    let ended = ended.map(decision).filter(|record| {
        // Calls, and queries that the server never saw, are not the server's.
        matches!(record.command, Some("SELECT" | "INSERT"))
    });
    let decided: Vec<_> = ended
        .map(|record| {
            let used = record.needs.iter().flat_map(|needs| &needs.relations);
            used.map(|used| used.name.to_string()).collect::<Vec<_>>()
        })
        .collect();
    let found = &house.server.done;
    // A server that dies has not been heard to the end.
    assert!(decided.len() <= found.len(), "more queries ended than ran");
    for (decided, found) in decided.iter().zip(found) {
        let temporary = format!("{TEMPORARY}.");
        match found {
            Some(found) if !found.starts_with(&temporary) => {
                assert!(decided.contains(found), "{found} was read, decided was {decided:?}");
            }
            _ => assert!(decided.len() < 2, "nothing was read, decided was {decided:?}"),
        }
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let privileges = match random.below(3) {
        0 => "SELECT, INSERT ON public.t0; SELECT ON public.t1",
        1 => "SELECT, INSERT ON public.t0; SELECT ON public.t1; ADMIN ON SCHEMA app",
        _ => "SELECT, INSERT ON public.t0; ADMIN ON SCHEMA app",
    };
    let first = grant("g_0", privileges, 0, 1_000);
    let held = if random.one_in(3) { Vec::new() } else { vec![first] };
    let mut house = if random.one_in(2) { House::with_owner(&held) } else { House::new(&held) };
    house.server.refuses_owner = random.one_in(8);
    let mut sent = Vec::new();
    for _ in 0..1 + random.below(12) {
        match random.below(11) {
            10 => sent.extend(ownership(&mut random)),
            0..4 => sent.push(query(&mut random)),
            4..7 => sent.extend(segment(&mut random)),
            7 => sent.extend(copy(&mut random)),
            8 => sent.extend(story(&mut random)),
            _ => sent.extend(fetches(&mut random)),
        }
    }
    let mut to_send: Vec<u8> = sent.iter().flat_map(Sent::bytes).collect();
    let end = [End::Rest, End::Rest, End::HalfClose, End::Vanish, End::ServerDies][random.below(5)];
    let steps = match end {
        End::Rest | End::HalfClose => 400,
        End::Vanish | End::ServerDies => random.below(400),
    };
    for _ in 0..steps {
        step(&mut house, &mut random, &mut to_send);
        check_server(&house);
        check_client(&house);
    }
    match end {
        End::Rest => comes_to_rest(&mut house, &sent, &to_send),
        End::HalfClose => {
            house.client_sends(&to_send);
            house.client_half_closes();
            check_answers(&mut house, &sent);
        }
        End::Vanish => house.client_vanishes(),
        End::ServerDies if house.server_open => {
            house.server_dies(random.below(200));
            assert!(house.closed, "the session goes on without its server");
            let (told, rest) = house.told_so_far();
            // Nothing of ours is put behind half a message of the server's.
            assert_eq!(rest == 0, told.last().is_some_and(|told| told == "E08006"), "{told:?}");
            check_client(&house);
        }
        End::ServerDies => house.client_vanishes(),
    }
    check_server(&house);
    check_audit(&house);
    check_second_lock(&house);
}

fn comes_to_rest(house: &mut House, sent: &[Sent], to_send: &[u8]) {
    house.client_sends(to_send);
    for _ in 0..200 {
        house.settle();
        house.server.finish();
    }
    let status = house.server.status.byte();
    let told = check_answers(house, sent);
    if house.server_open {
        let last = told.iter().rev().find(|told| told.starts_with('Z')).unwrap().as_bytes()[1];
        assert_eq!(last, status, "where the transaction stands");
        if house.server.status == TransactionStatus::Idle {
            assert!(!house.server.names.is_owner(), "the role is kept between transactions");
        }
    }
}

/// Every message was answered, and what the server said by itself was passed on.
fn check_answers(house: &mut House, sent: &[Sent]) -> Vec<String> {
    assert!(!house.closed, "the session ended");
    assert!(
        house.client_in.is_empty(),
        "messages were left: {:?} {:?} {}",
        house.client_in,
        house.machine.segment,
        house.describe()
    );
    let told = house.told();
    let unread = house.audit.iter().filter(|record| {
        record.reason.as_deref().is_some_and(|why| why.contains("could not be read"))
    });
    assert_eq!(unread.count(), 0, "the server's answers to our own questions were not understood");
    // AuthenticationOk, parameters, key and ReadyForQuery come before anything is asked.
    let greeting = told.iter().position(|told| told.starts_with('Z')).unwrap() + 1;
    check(sent, &told[greeting..]);
    let count = |wanted: &str| told.iter().filter(|told| **told == *wanted).count();
    let said = house.server.volunteered.iter().filter(|kind| **kind == b'A').count();
    // One that was said last may still be on its way.
    let on_its_way = usize::from(!house.server.out.is_empty()) * said;
    assert!((said - on_its_way..=said).contains(&count("A")), "a notification was lost or made up");
    let volunteered = told[greeting..].iter().filter(|told| is_volunteered(told)).count();
    assert!(volunteered <= house.server.volunteered.len() + 1, "more than the server said");
    told
}

#[test]
fn every_interleaving_keeps_the_invariants() {
    for_every_seed(run);
}
