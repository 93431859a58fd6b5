//! A session with a replica: a random client, a replica that lags, refuses, dies and comes back, and what must hold
//! whatever happens: nobody reads less than it wrote, nothing that writes runs at a replica or twice, every message is
//! answered once.

use std::time::Duration;

use super::client::Sent;
use super::{House, Replica, grant};
use crate::audit::redact;
use crate::route::{Fleet, Freshness, Policy, Position, Seen, State};
use crate::session::output::Command;
use crate::session::routing::{Routing, Sight};
use crate::session::simulation::{Random, check_records, for_every_seed};
use crate::session::site::Site;
use crate::session::trail::SecondLock;

/// What the watcher has seen of the replica.
fn sight(state: State, replayed: usize) -> Sight {
    let replica = crate::route::Replica {
        address: "replica:1".into(),
        weight: 1,
        state,
        position: Some(Position::Lsn(replayed as u64)),
        lag: None,
        lag_bytes: None,
        load: std::sync::Arc::default(),
    };
    let fleet = Fleet { replicas: [replica].into(), primary: Seen::default() };
    Sight { fleet: fleet.into(), required: Some(Position::Lsn(0)) }
}

fn house() -> House {
    let grants = [grant("g_0", "SELECT, INSERT ON public.t0; ADMIN ON SCHEMA app", 0, 100_000)];
    let policy = Policy { freshness: Freshness::Session, ..Policy::default() };
    let routing = Routing::new(policy, sight(State::Serving, 0));
    let mut house =
        House::routed(&grants, redact::TextSettings::default(), (SecondLock::None, None), routing);
    house.replica.server.replayed = Some(0);
    house
}

fn text(random: &mut Random) -> String {
    match random.below(10) {
        0..5 => "SELECT a FROM t0".to_owned(),
        5 | 6 => "INSERT INTO t0 (a) VALUES (1)".to_owned(),
        7 => format!("SET extra_float_digits = {}", random.below(3)),
        8 => "SELECT a, pg_sleep(9) FROM t0".to_owned(),
        _ if random.one_in(3) => "CREATE TEMP TABLE t1 (a int, b int)".to_owned(),
        _ => "DISCARD TEMP".to_owned(),
    }
}

fn messages(random: &mut Random) -> Vec<Sent> {
    let query = |text: &str| Sent::Query(text.to_owned());
    let run = |text: String| [Sent::Parse("", text), Sent::Bind("", ""), Sent::Execute("")];
    match random.below(8) {
        0..3 => vec![Sent::Query(text(random))],
        3 => run(text(random)).into_iter().chain([Sent::Sync]).collect(),
        4 => {
            let pair = run(text(random)).into_iter().chain(run(text(random)));
            pair.chain([Sent::Sync]).collect()
        }
        5 => {
            let mut sent =
                vec![Sent::CloseStatement("p"), Sent::Parse("p", text(random)), Sent::Sync];
            for _ in 0..random.below(3) {
                sent.extend([Sent::Bind("", "p"), Sent::Execute(""), Sent::Sync]);
            }
            sent
        }
        6 => {
            let mut sent = vec![query("BEGIN READ ONLY")];
            sent.extend((0..random.below(3)).map(|_| query("SELECT a FROM t0")));
            sent.push(query(random.pick(&["COMMIT", "ROLLBACK"])));
            sent
        }
        _ => {
            let mut sent = vec![query("BEGIN")];
            sent.extend((0..random.below(3)).map(|_| Sent::Query(text(random))));
            sent.push(query(random.pick(&["COMMIT", "ROLLBACK"])));
            sent
        }
    }
}

/// Delivers so many bytes of the replica's.
fn replica_delivers(house: &mut House, count: usize) {
    let count = count.min(house.replica.server.out.len());
    let bytes: Vec<_> = house.replica.server.out.drain(..count).collect();
    house.replica.input.extend_from_slice(&bytes);
    house.heard = Site::Replica;
    let input = house.replica.input.split();
    let event =
        house.with_machine(|machine, env, out| machine.on_server(Site::Replica, &input, env, out));
    let taken = event.unwrap();
    house.replica.input = input;
    house.apply();
    let taken = taken.min(house.replica.input.len());
    drop(house.replica.input.split_to(taken));
    house.take_client_bytes();
}

/// Lets one thing that was asked for come about.
fn fulfil(house: &mut House, random: &mut Random) {
    let index = random.below(house.pending.len());
    let reaches = !random.one_in(5);
    match house.pending[index].clone() {
        Command::OpenReplica(_) => {
            house.pending.remove(index);
            if reaches {
                let replayed = house.replica.server.replayed;
                house.replica = Replica { open: true, ..Replica::default() };
                house.replica.server.replayed = replayed;
                let parameters = vec![("in_hot_standby".into(), "on".into())];
                house.machine.on_upstream_open(
                    Site::Replica,
                    "replica:1".into(),
                    parameters,
                    &mut house.out,
                );
            } else {
                let report = crate::wire::postgres::reply::Report::error("08006", "no");
                house.machine.on_upstream_failed(Site::Replica, report, house.now, &mut house.out);
            }
            house.apply();
            house.take_client_bytes();
        }
        Command::CancelUpstream(Site::Replica) => {
            house.pending.remove(index);
            house.replica.server.cancel();
            house.with_machine(|machine, _, out| machine.on_cancel_done(out));
            house.apply();
            house.take_client_bytes();
        }
        _ => house.fulfil(index),
    }
}

fn replica_dies(house: &mut House) {
    if !house.replica.open {
        return;
    }
    house.replica.open = false;
    house.replica.server.out.clear();
    house.replica.input.clear();
    house.machine.on_server_gone(Site::Replica, house.now, &mut house.out);
    house.apply();
    house.take_client_bytes();
}

fn is_write(text: &str) -> bool {
    text.starts_with("INSERT") || text.starts_with("CREATE")
}

/// What the replica was sent since it was looked at last.
pub(super) fn check(house: &mut House) {
    let ran = &house.replica.server.ran;
    let wrote = house.server.ran.iter().rposition(|ran| is_write(&ran.text)).map_or(0, |at| at + 1);
    for ran in &ran[house.replica.checked..] {
        let reads = ran.text.starts_with("SELECT") || ran.text == "refused by daypass";
        let ends = matches!(&*ran.text, "BEGIN READ ONLY" | "COMMIT" | "ROLLBACK");
        assert!(reads || ends, "{} ran at a replica", ran.text);
        let replayed = house.replica.server.replayed.unwrap();
        assert!(replayed >= wrote, "{} missed a write: {replayed} of {wrote}", ran.text);
        assert_eq!(house.replica.server.setting, house.server.setting, "another setting");
        assert!(!house.server.names.has_temporary(), "it may mean something temporary");
    }
    house.replica.checked = ran.len();
}

fn step(house: &mut House, random: &mut Random, to_send: &mut Vec<u8>) {
    match random.below(16) {
        0..3 if !to_send.is_empty() => {
            let count = 1 + random.below(to_send.len().min(60));
            let chunk: Vec<_> = to_send.drain(..count).collect();
            house.client_sends(&chunk);
        }
        3..5 if !house.server.out.is_empty() => house.server_delivers(1 + random.below(40)),
        5..8 if !house.replica.server.out.is_empty() && house.replica.open => {
            replica_delivers(house, 1 + random.below(40));
        }
        8 | 9 if !house.pending.is_empty() => fulfil(house, random),
        10 => {
            house.server.finish();
            house.replica.server.finish();
        }
        11 => house.pass_time(Duration::from_millis(random.bits() % 3_000)),
        12 => house.replica.server.replayed = Some(house.server.ran.len() + 1),
        13 if random.one_in(3) => {
            let state =
                [State::Serving, State::Serving, State::Lagging, State::Down][random.below(4)];
            let replayed = house.replica.server.replayed.unwrap_or(0);
            let now = house.now;
            house.machine.on_sight(sight(state, replayed), now, &mut house.out);
        }
        14 if random.one_in(8) => replica_dies(house),
        15 if random.one_in(4) => {
            house.replica.server.refuses = Some(random.pick(&["25006", "40001"]))
                .map(|state| if state == "25006" { "25006" } else { "40001" });
        }
        _ => (),
    }
    house.apply();
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let mut house = house();
    let mut sent = Vec::new();
    for _ in 0..2 + random.below(10) {
        sent.extend(messages(&mut random));
    }
    let mut to_send: Vec<u8> = sent.iter().flat_map(Sent::bytes).collect();
    for _ in 0..600 {
        step(&mut house, &mut random, &mut to_send);
        if house.closed {
            break;
        }
    }
    if !house.closed {
        house.client_sends(&to_send);
        for _ in 0..400 {
            house.replica.server.refuses = None;
            house.settle_all(&mut random);
        }
        assert!(house.client_in.is_empty(), "messages were left: {}", house.describe());
        let (told, rest) = house.told_so_far();
        assert_eq!(rest, 0);
        // The greeting has one, too.
        let answered = told.iter().filter(|told| told.starts_with('Z')).count() - 1;
        let asked = sent.iter().filter(|sent| matches!(sent, Sent::Query(_) | Sent::Sync)).count();
        assert_eq!(answered, asked, "answers");
    } else {
        house.end("closed");
    }
    let inserts = |sent: &&Sent| match sent {
        Sent::Query(text) | Sent::Parse("", text) => text.starts_with("INSERT"),
        _ => false,
    };
    let named = sent
        .iter()
        .any(|sent| matches!(sent, Sent::Parse("p", text) if text.starts_with("INSERT")));
    let ran = house.server.ran.iter().filter(|ran| ran.text.starts_with("INSERT")).count();
    assert!(named || ran <= sent.iter().filter(inserts).count(), "a write ran twice");
    check_records(&house.audit);
}

impl House {
    fn settle_all(&mut self, random: &mut Random) {
        self.server.finish();
        self.replica.server.finish();
        if !self.pending.is_empty() {
            fulfil(self, random);
        }
        if !self.server.out.is_empty() {
            self.server_delivers(usize::MAX);
        }
        if self.replica.open && !self.replica.server.out.is_empty() {
            replica_delivers(self, usize::MAX);
        }
        self.pass_time(Duration::from_millis(20));
    }
}

#[test]
fn nobody_reads_less_than_it_wrote_and_nothing_runs_twice() {
    for_every_seed(run);
}
