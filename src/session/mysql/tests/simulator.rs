//! Many seeds: a random client, a random world. What must hold is checked after each step; a failure prints its
//! seed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;

use crate::grant::Grant;
use crate::session::simulation::{Random, check_records, for_every_seed};
use crate::sql::mysql::Flavour;
use crate::time::Timestamp;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::command::{self, Command, LAST_PREPARED};
use crate::wire::mysql::packet;
use crate::wire::mysql::reply::{Event, Expect, Reply, Step, parting};

use super::world::{Setup, World};
use super::{WITH_EOF, at, granted};

/// Where a client stands: what it has asked and not been told.
struct Client {
    capabilities: Capabilities,
    /// To be sent, one after the other.
    wishes: VecDeque<Wish>,
    /// Bytes that have left it and have not arrived.
    sent: Vec<u8>,
    /// What is asked and not answered.
    asked: VecDeque<Expect>,
    reply: Option<Reply>,
    /// Anything may have come after this.
    told_goodbye: bool,
    /// What it sent last may ask for a file.
    loads: bool,
    /// It has asked for the end itself.
    quits: bool,
}

/// Something that a client wants.
#[derive(Clone, Debug)]
struct Wish {
    code: u8,
    body: Vec<u8>,
}

impl Client {
    /// Sends what it wants next. Nothing waits for an answer, but for a file, which is sent when it is asked for.
    fn sends(&mut self, random: &mut Random) {
        let Some(wish) = self.wishes.front() else { return };
        let loads = wish.body.starts_with(b"LOAD");
        let waits = loads || self.loads || self.asked.iter().len() > 3 || random.one_in(2);
        if waits && !(self.asked.is_empty() && self.reply.is_none()) {
            return;
        }
        self.loads = loads;
        let Some(wish) = self.wishes.pop_front() else { return };
        if wish.code == 0x03 {
            command::query(&mut self.sent, &wish.body, self.capabilities);
        } else {
            command::write(&mut self.sent, wish.code, &wish.body);
        }
        let payload = [&[wish.code][..], &wish.body].concat();
        let simple = self.capabilities.without(Capabilities::QUERY_ATTRIBUTES);
        let command = Command::read(&payload, simple).expect("a command");
        self.quits |= matches!(command, Command::Quit | Command::ProcessKill { connection: 7 });
        if command.has_reply() {
            self.asked.push_back(Expect::of(&command).unwrap_or(Expect::Okay));
        }
    }

    /// Reads what it is told: replies in order, as the protocol has them, with the right numbers.
    fn reads(&mut self, told: &mut Vec<u8>, world_closed: bool, random: &mut Random) {
        let mut rest = &told[..];
        loop {
            if self.reply.is_none() {
                if rest.is_empty() || self.told_goodbye {
                    break;
                }
                // What ends a session may come unasked.
                let goodbye =
                    parting(rest).ok().flatten().filter(|_| rest[3] == 0 || self.asked.is_empty());
                if let Some((bytes, _)) = goodbye {
                    self.told_goodbye = true;
                    rest.advance(bytes);
                    continue;
                }
                let expect = self.asked.pop_front();
                let expect =
                    expect.unwrap_or_else(|| panic!("told unasked: {rest:?} {world_closed}"));
                self.reply = Some(Reply::new(expect, self.capabilities, 1));
            }
            let Some(reply) = &mut self.reply else { break };
            let before = format!("{reply:?}");
            let step = reply.advance(rest);
            match step.unwrap_or_else(|why| panic!("{why}: {before} is told {rest:?}")) {
                Step::Read => break,
                Step::Pass(bytes) => rest.advance(bytes),
                Step::Packet { bytes, event } => {
                    let file = matches!(event, Event::LocalInfile(_));
                    rest.advance(bytes);
                    if file {
                        self.sends_file(random);
                        continue;
                    }
                }
            }
            if self.reply.as_ref().is_some_and(Reply::is_over) {
                self.reply = None;
            }
        }
        let left = rest.len();
        told.drain(..told.len() - left);
    }

    /// A file in some packets, in which stands what would be a command elsewhere.
    fn sends_file(&mut self, random: &mut Random) {
        let Some(reply) = &mut self.reply else { return };
        let mut number = reply.sequence();
        for _ in 0..random.below(3) {
            let content = b"\x03DROP TABLE shop.secret";
            packet::write(&mut self.sent, &mut number, |out| out.extend_from_slice(content));
        }
        packet::write(&mut self.sent, &mut number, |_| ());
        reply.file_sent(number);
    }

    fn is_answered(&self) -> bool {
        self.asked.is_empty() && self.reply.is_none() && self.wishes.is_empty()
    }
}

const TEXTS: [&str; 56] = [
    "SELECT a FROM t1",
    "SELECT a FROM t1",
    "SELECT b FROM t1 WHERE a = 1",
    "SELECT c FROM t2",
    "SELECT z FROM t1",
    "SELECT d FROM secret",
    "SELECT a FROM shop.t1",
    "SELECT z FROM crm.t1",
    "SELECT \"d\" FROM secret",
    "SELECT \"a\" FROM t1",
    "SELECT '\\', d, '' FROM secret",
    "SELECT '\\'', a FROM t1",
    "INSERT INTO t1 (a) VALUES (1)",
    "INSERT INTO t1 (a) SELECT d FROM secret",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "SET sql_mode = ''",
    "SET sql_mode = @kept",
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET character_set_client = @kept",
    "/*!40101 SET NAMES utf8mb4 */",
    "USE crm",
    "USE shop",
    "USE missing",
    "USE crm; SELECT z FROM t1",
    "CREATE TEMPORARY TABLE t2 (x INT)",
    "CREATE TEMPORARY TABLE secret (x INT)",
    "SELECT x FROM secret",
    "DROP TABLE secret",
    "DROP TEMPORARY TABLE secret",
    "CREATE TABLE t9 (a INT, b INT)",
    "SELECT a FROM t9",
    "DROP TABLE t9",
    "RENAME TABLE t9 TO t8",
    "DROP DATABASE crm",
    "CALL p()",
    "CALL p(); SELECT a FROM t1",
    "SELECT a FROM t1; SELECT b FROM t1; INSERT INTO t1 (a) VALUES (1)",
    "BEGIN; SELECT a FROM t1; COMMIT",
    "PREPARE s FROM 'SELECT a FROM t1'",
    "PREPARE s FROM 'SELECT d FROM secret'",
    "EXECUTE s",
    "DEALLOCATE PREPARE s",
    "CALL daypass.grants()",
    "LOAD DATA LOCAL INFILE '/tmp/a' INTO TABLE t1",
    "SELEC 1",
    "",
];

/// Commands with texts, or of other kinds.
fn wish(random: &mut Random) -> Wish {
    let statement = |random: &mut Random| {
        let id = match random.below(8) {
            0 => LAST_PREPARED,
            1 => 0xc000_0001,
            n => u32::try_from(n).unwrap() / 2,
        };
        id.to_le_bytes().to_vec()
    };
    let text = random.pick(&TEXTS).as_bytes().to_vec();
    let (code, body) = match random.below(30) {
        0..12 => (0x03, text),
        12 | 13 => (0x02, random.pick(&["shop", "crm", "missing", "a`b"]).as_bytes().to_vec()),
        14 => (0x04, random.pick(&["t1\0", "secret\0", "t9\0%"]).as_bytes().to_vec()),
        15 if random.one_in(2) => (0x0e, Vec::new()),
        15 => (0x09, Vec::new()),
        16 if random.one_in(4) => (0x1f, Vec::new()),
        16 => (0x1b, vec![u8::from(random.one_in(2)), 0]),
        17..21 => (0x16, prepared_text(random)),
        21..25 => {
            let cursor = u8::from(random.one_in(3));
            let mut body = statement(random);
            body.extend_from_slice(&[cursor, 1, 0, 0, 0]);
            if random.one_in(3) {
                body.extend_from_slice(b"\0\x01\x03\0\x2a\0\0\0");
            }
            (0x17, body)
        }
        25 => {
            let mut body = statement(random);
            body.extend_from_slice(&[u8::try_from(1 + random.below(4)).unwrap(), 0, 0, 0]);
            (0x1c, body)
        }
        26 => {
            let mut body = statement(random);
            body.extend_from_slice(b"\0\0piece");
            (0x18, body)
        }
        27 if random.one_in(2) => (0x19, statement(random)),
        27 => (0x1a, statement(random)),
        28 => (0x0c, vec![u8::try_from(6 + random.below(4)).unwrap(), 0, 0, 0]),
        _ => match random.below(6) {
            0 => (0x12, b"x".to_vec()),
            1 if random.one_in(4) => (0x11, b"alice\0".to_vec()),
            2 if random.one_in(4) => (0x01, Vec::new()),
            _ => (0x03, b"KILL QUERY 8".to_vec()),
        },
    };
    Wish { code, body }
}

fn prepared_text(random: &mut Random) -> Vec<u8> {
    let texts = [
        "SELECT a FROM t1",
        "SELECT a FROM t1 WHERE b = ?",
        "INSERT INTO t1 (a) VALUES (?)",
        "SELECT \"a\" FROM t1",
        "SET sql_mode = 'ANSI_QUOTES'",
        "CALL daypass.whoami()",
        "COMMIT",
    ];
    let text = if random.one_in(3) { random.pick(&TEXTS) } else { random.pick(&texts) };
    text.as_bytes().to_vec()
}

fn query(text: &str) -> Wish {
    Wish { code: 0x03, body: text.as_bytes().to_vec() }
}

/// Commands that matter to each other: prepared, executed and fetched, with something in between.
fn cursors(random: &mut Random, first: u32) -> Vec<Wish> {
    let id = first.to_le_bytes();
    let text = random.pick(&["SELECT a FROM t1", "SELECT \"a\" FROM t1", "SELECT c FROM t2"]);
    let mut list = vec![Wish { code: 0x16, body: text.as_bytes().to_vec() }];
    for _ in 0..1 + random.below(5) {
        list.push(match random.below(7) {
            0 => query(random.pick(&["BEGIN", "SET autocommit = 0", "COMMIT"])),
            1 => query(random.pick(&["USE crm", "USE shop", "SET sql_mode = 'ANSI_QUOTES'"])),
            2 => query(random.pick(&["CREATE TEMPORARY TABLE t2 (x INT)", "DROP TABLE t2"])),
            3 | 4 => Wish { code: 0x17, body: [&id[..], &[1, 1, 0, 0, 0]].concat() },
            _ => Wish { code: 0x1c, body: [&id[..], &[2, 0, 0, 0]].concat() },
        });
    }
    list
}

/// A temporary table before another that hides behind it, and what may have taken it away.
fn temporary(random: &mut Random) -> Vec<Wish> {
    let mut list =
        vec![query("CREATE TEMPORARY TABLE secret (x INT)"), query("SELECT x FROM secret")];
    for _ in 0..1 + random.below(3) {
        list.push(match random.below(5) {
            0 => Wish { code: 0x1f, body: Vec::new() },
            1 => query("CALL p()"),
            2 => query("DROP TEMPORARY TABLE secret"),
            _ => query("DROP TABLE secret"),
        });
        list.push(query("SELECT d FROM secret"));
    }
    list
}

/// Executions of what was prepared last, which may have failed.
fn last(random: &mut Random) -> Vec<Wish> {
    let mut list = Vec::new();
    for _ in 0..2 + random.below(3) {
        let text = random.pick(&["SELECT a FROM t1", "SELECT a FROM t9", "SELECT d FROM secret"]);
        list.push(Wish { code: 0x16, body: text.as_bytes().to_vec() });
        list.push(Wish { code: 0x17, body: b"\xff\xff\xff\xff\0\x01\0\0\0".to_vec() });
    }
    list
}

/// How texts are read, changed or perhaps not, and a text that is read in either way.
fn reading(random: &mut Random) -> Vec<Wish> {
    let mut list = Vec::new();
    for _ in 0..1 + random.below(4) {
        let changes = [
            "USE crm",
            "USE shop",
            "USE missing",
            "SET sql_mode = 'ANSI_QUOTES'",
            "SET sql_mode = @kept",
            "SET NAMES latin1",
        ];
        list.push(query(random.pick(&changes)));
        let texts = ["SELECT COUNT(*) FROM t1", "SELECT a FROM t1", "SELECT \"d\" FROM secret"];
        list.push(query(random.pick(&texts)));
    }
    list
}

fn story(random: &mut Random, first: u32) -> Vec<Wish> {
    match random.below(4) {
        0 => cursors(random, first),
        1 => temporary(random),
        2 => last(random),
        _ => reading(random),
    }
}

const PRIVILEGES: [&str; 6] = [
    "SELECT, INSERT ON shop.t1",
    "READ ON SCHEMA shop",
    "WRITE ON shop.t1; SELECT ON crm.t1; FILE ON DATABASE",
    "SELECT ON shop.t1; EXECUTE ON PROCEDURE shop.p; CREATE TEMPORARY TABLES ON SCHEMA shop",
    "CREATE, DROP, ALTER, SELECT, INSERT ON SCHEMA shop; SELECT ON crm.t1",
    "ADMIN ON DATABASE",
];

fn grant(world: &World, random: &mut Random, until: u64) -> Arc<Grant> {
    let id = format!("g_{}", world.grants.len());
    Arc::new(granted(&id, random.pick(&PRIVILEGES), until))
}

fn seconds(time: Timestamp) -> u64 {
    time.micros() / 1_000_000
}

/// One thing happens. True when it may end the session.
fn step(world: &mut World, client: &mut Client, random: &mut Random) -> bool {
    match random.below(24) {
        0..4 => client.sends(random),
        4..9 if !client.sent.is_empty() => {
            let count = 1 + random.below(client.sent.len().min(60));
            let chunk: Vec<_> = client.sent.drain(..count).collect();
            world.client_sends(&chunk);
        }
        9..13 => drop(world.server_delivers(1 + random.below(40))),
        13 | 14 => drop(world.fulfil(random.below(4))),
        15 | 16 => world.server.work(),
        17 if random.one_in(3) => {
            world.pass_time(Duration::from_millis(random.bits() % 20_000));
        }
        18 if random.one_in(2) => {
            let until = seconds(world.now) + 5 + random.bits() % 60;
            let grant = grant(world, random, until);
            world.add(grant);
        }
        19 if random.one_in(3) => {
            let index = random.below(world.grants.len().max(1));
            world.revoke(index);
        }
        20 if random.one_in(4) => world.cancel(),
        21 if random.one_in(3) => world.publish_catalog(),
        // Somebody else makes a table, or drops it.
        21 => {
            let table = ("shop".to_owned(), random.pick(&["t2", "t9"]).to_owned());
            if !world.server.tables.remove(&table) {
                world.server.tables.insert(table);
            }
        }
        22 if random.one_in(8) => world.audit_accepts = !world.audit_accepts,
        23 if random.one_in(40) => return world.refuse_upstream(),
        23 if random.one_in(60) => {
            world.drain();
            return true;
        }
        _ => {}
    }
    client.reads(&mut world.client_out, world.closed, random);
    false
}

/// What a session comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Everything that was sent is answered.
    Rest,
    /// The client is gone in the middle.
    Vanish,
    /// The server is gone in the middle, perhaps of a message.
    ServerDies,
    /// The server says why it goes.
    ServerParts,
}

fn capabilities(random: &mut Random) -> Capabilities {
    let mut all = WITH_EOF;
    for one in
        [Capabilities::DEPRECATE_EOF, Capabilities::SESSION_TRACK, Capabilities::QUERY_ATTRIBUTES]
    {
        if random.one_in(2) {
            all = all | one;
        }
    }
    all
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let first = Arc::new(granted("g_0", random.pick(&PRIVILEGES), 100 + random.bits() % 200));
    let choices: Vec<u8> = (0..400).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    let without = random.one_in(3);
    let setup = Setup {
        grants: if without { Vec::new() } else { vec![first] },
        capabilities: capabilities(&mut random),
        flavour: if random.one_in(2) { Flavour::MariaDb } else { Flavour::MySql },
        choices: if random.one_in(6) { &[] } else { &choices },
        limits: super::SessionLimits::default(),
        now: at(100),
    };
    let mut client = Client {
        capabilities: setup.capabilities,
        wishes: VecDeque::new(),
        sent: Vec::new(),
        asked: VecDeque::new(),
        reply: None,
        told_goodbye: false,
        loads: false,
        quits: false,
    };
    let mut world = World::new(setup);
    let mut prepared = 1;
    for _ in 0..1 + random.below(14) {
        if random.one_in(4) {
            client.wishes.extend(story(&mut random, prepared));
            prepared += 1;
        } else {
            client.wishes.push_back(wish(&mut random));
        }
    }
    // The login ends before anything is asked.
    client.asked.push_back(Expect::Okay);
    client.reply = client.asked.pop_front().map(|it| Reply::new(it, client.capabilities, 2));
    let end = [End::Rest, End::Rest, End::Vanish, End::ServerDies, End::ServerParts];
    let end = end[random.below(5)];
    let steps = if end == End::Rest { 600 } else { random.below(500) };
    let mut may_end = without;
    for _ in 0..steps {
        may_end |= step(&mut world, &mut client, &mut random);
    }
    match end {
        End::Rest => comes_to_rest(&mut world, &mut client, &mut random, may_end),
        End::Vanish => {}
        End::ServerDies => {
            world.server_dies(random.below(60));
            client.reads(&mut world.client_out, world.closed, &mut random);
            assert!(world.over() || !world.server_open, "it goes on without its server");
        }
        End::ServerParts if world.server_open && world.server.is_idle() => {
            world.server.parts();
            world.server_dies(usize::MAX);
            client.reads(&mut world.client_out, world.closed, &mut random);
        }
        End::ServerParts => {}
    }
    assert!(!world.violated, "a peer broke the protocol");
    check_records(&world.end());
}

fn comes_to_rest(world: &mut World, client: &mut Client, random: &mut Random, may_end: bool) {
    world.audit_accepts = true;
    for _ in 0..400 {
        if world.closed || client.is_answered() && client.sent.is_empty() {
            break;
        }
        client.sends(random);
        let sent = std::mem::take(&mut client.sent);
        world.client_sends(&sent);
        world.settle(1 + random.below(100));
        client.reads(&mut world.client_out, world.closed, random);
    }
    if world.closed {
        let reason = may_end || client.quits || world.may_end || world.server.asked_otherwise;
        assert!(reason, "the session ended without a reason");
        return;
    }
    assert!(world.client_in.is_empty(), "commands were left: {:?}", world.client_in);
    assert!(client.is_answered(), "{:?} was never answered", client.asked);
    assert!(world.told_whole_packets(), "half a packet for the client");
    assert!(world.client_out.is_empty(), "more was told than was asked");
}

#[test]
fn every_interleaving_keeps_the_invariants() {
    for_every_seed(run);
}
