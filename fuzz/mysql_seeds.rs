//! First inputs of the targets for MySQL: commands, logins and replies as they are, each with choices.

use daypass::secret::Secret;
use daypass::wire::mysql::auth::{self, CACHING_SHA2, NATIVE};
use daypass::wire::mysql::capability::{Capabilities, Status};
use daypass::wire::mysql::command;
use daypass::wire::mysql::handshake::{Greeting, LoginRequest, ssl_request};
use daypass::wire::mysql::packet::write as packet;
use daypass::wire::mysql::report::{self, Form, Report};
use daypass_fuzz::input::write;
use daypass_fuzz::token;

use super::Folder;

fn messages(first: u8, bodies: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), first);
    for body in bodies {
        packet(&mut out, &mut sequence, |out| out.extend_from_slice(body));
    }
    out
}

pub(super) fn packets(folder: &mut Folder) {
    let commands: [&[u8]; 18] = [
        b"\x01",
        b"\x02shop",
        b"\x03SELECT 1; SELECT 2",
        b"\x03\0\x01SELECT 1",
        b"\x03\x01\x01\0\x01\xfe\0\x05trace\x02idSELECT 1",
        b"\x04orders\0%",
        b"\x09",
        b"\x0a",
        b"\x0c\x07\0\0\0",
        b"\x0e",
        b"\x11bob\0\x03abcshop\0\x2d\0plugin\0\x05\x01a\x02bc",
        b"\x16SELECT ?",
        b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x03\0\x2a\0\0\0",
        b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\0\x01\x08\x80\0\xfe\0\x02id\x01\0\0\0\0\0\0\0\x01x",
        b"\x18\x01\0\0\0\0\0piece",
        b"\x1b\0\0",
        b"\x1c\x01\0\0\0\x0a\0\0\0",
        b"\xfa\xff\xff\xff\xff\x80\0\x03\0\0\x01\0\0\0\x01",
    ];
    for body in commands {
        for choice in [0x10, 0x13, 0x27] {
            folder.add(&write(&messages(0, &[body]), &[3], &[choice]));
        }
    }
    let mut all = Vec::new();
    for body in commands {
        command::write(&mut all, body[0], &body[1..]);
    }
    folder.add(&write(&all, &[9, 40, 100], &[0x17]));
    for (plugin, choice) in
        [(CACHING_SHA2, 0), (CACHING_SHA2, 4), (NATIVE, 8 | 1), ("x", 2), ("x", 1)]
    {
        for (body, tls) in [(login(plugin, 1), false), (login(plugin, 2), true)] {
            let body = if tls { [wish(), body].concat() } else { body };
            folder.add(&write(&body, &[4, 36, 70], &[128 | choice]));
            folder.add(&write(&body, &[], &[128 | 6]));
        }
    }
}

fn query(text: &str) -> (u8, Vec<u8>) {
    (0x03, text.as_bytes().to_vec())
}

/// What clients send, a session each.
fn sessions() -> Vec<Vec<(u8, Vec<u8>)>> {
    let id = |rest: &[u8]| [&[1, 0, 0, 0][..], rest].concat();
    let execute = |cursor: u8, rest: &[u8]| (0x17, id(&[&[cursor, 1, 0, 0, 0][..], rest].concat()));
    let mut file = vec![query("LOAD DATA LOCAL INFILE '/tmp/a' INTO TABLE t1")];
    file.push(query("SELECT a FROM t1"));
    let prepared = vec![
        (0x16, b"SELECT a FROM t1 WHERE b = ?".to_vec()),
        (0x18, id(b"\0\0piece")),
        execute(0, b"\0\x01\xfc\0"),
        execute(1, b"\0\x01\x03\0\x2a\0\0\0"),
        (0x1c, id(&[2, 0, 0, 0])),
        (0x1a, id(b"")),
        (0x19, id(b"")),
        (0x01, Vec::new()),
    ];
    let others = vec![
        (0x02, b"crm".to_vec()),
        query("SELECT z FROM t1"),
        (0x04, b"t1\0".to_vec()),
        (0x0e, Vec::new()),
        (0x1b, vec![0, 0]),
        (0x0c, vec![8, 0, 0, 0]),
        (0x1f, Vec::new()),
        query("SELECT d FROM shop.secret"),
    ];
    let texts = [
        "SELECT a FROM t1; SELECT b FROM t1; INSERT INTO t1 (a) VALUES (1)",
        "CALL p(); SELECT a FROM t1",
        "CALL daypass.grants()",
        "CALL daypass.explain('SELECT d FROM secret')",
        "KILL QUERY 8",
        "CREATE TABLE t9 (a int)",
        "SELECT a FROM t9",
        "DROP DATABASE crm",
    ];
    let stories: [&[&str]; 4] = [
        &["BEGIN", "SELECT a FROM t1", "SELECT d FROM secret", "ROLLBACK"],
        &["SET sql_mode = 'ANSI_QUOTES'", "SELECT \"a\" FROM t1", "SET sql_mode = @x", "SELECT 1"],
        &["USE crm; SELECT z FROM t1", "USE shop", "SET NAMES latin1", "SELECT a FROM t1"],
        &[
            "PREPARE s FROM 'SELECT a FROM t1'",
            "EXECUTE s",
            "CREATE TEMPORARY TABLE t2 (x int)",
            "DROP TABLE t2",
        ],
    ];
    let mut list = vec![file, prepared, others];
    list.push(texts.map(query).into());
    list.extend(stories.map(|story| story.iter().map(|text| query(text)).collect()));
    list
}

/// Sessions under each grant: settled, amid what else happens, and with a server that says anything.
pub(super) fn conversation(folder: &mut Folder) {
    for session in sessions() {
        let mut body = Vec::new();
        for (code, rest) in &session {
            command::write(&mut body, *code, rest);
        }
        for choice in [1, 2 | 4, 3 | 4 | 8, 3 | 64] {
            folder.add(&write(&body, &[9, 40], &[0, 0, 2, 0, 8, 0, 1, 0, 4, choice]));
            let happening = [1, 2 << 3 | 2, 5, 4, 3, 6, 2 << 3 | 2, 0];
            let choices = [&happening[..], &[0, 0, 8, 0, 1, 0, 0, 0, 6, choice]].concat();
            folder.add(&write(&body, &[9, 40, 60], &choices));
        }
        let mut told = messages(1, &[b"\0\0\0\x02\0\0\0"]);
        told.extend(messages(1, &[b"\xff\x51\x04#42000no"]));
        let cut = u16::try_from(body.len()).expect("short");
        let both = [&body[..], &told].concat();
        folder.add(&write(&both, &[cut], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1 | 4]));
    }
}

fn all() -> Capabilities {
    Capabilities::PASSED.without(Capabilities::BULK)
}

fn wish() -> Vec<u8> {
    let mut out = Vec::new();
    ssl_request(&mut out, &mut 1, all(), 1 << 24, 45);
    out
}

/// A login request with a proof that is right, and answers to what may be asked after it.
fn login(plugin: &str, mut sequence: u8) -> Vec<u8> {
    let nonce = auth::nonce(b"twenty bytes are due");
    let secret = Secret::new(token().expose());
    let (fast, native) = (auth::caching_sha2(&secret, &nonce), auth::native(&secret, &nonce));
    let request = LoginRequest {
        capabilities: all(),
        packet_max: 1 << 24,
        collation: 45,
        user: "alice",
        proof: if plugin == NATIVE { &native } else { &fast },
        schema: Some("shop"),
        plugin: Some(plugin),
        attributes: vec![("program_name", "mysql")],
    };
    let mut out = Vec::new();
    request.write(&mut out, &mut sequence);
    sequence += 1;
    packet(&mut out, &mut sequence, |out| out.extend_from_slice(&fast));
    sequence += 1;
    packet(&mut out, &mut sequence, |out| {
        out.extend_from_slice(token().expose());
        out.push(0);
    });
    out
}

pub(super) fn replies(folder: &mut Folder) {
    let rows = [vec![Some("one".to_owned()), None], vec![None, Some(String::new())]];
    let forms = [
        (0, Capabilities::NONE),
        (1, Capabilities::DEPRECATE_EOF),
        (3, Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK),
        (5, Capabilities::DEPRECATE_EOF | Capabilities::CACHE_METADATA),
    ];
    for (choice, capabilities) in forms {
        let (mut out, mut sequence) = (Vec::new(), 1);
        let (more, last) = (Status::MORE_RESULTS, Status::AUTOCOMMIT);
        let columns = ["a", "b"];
        report::result(&mut out, &mut sequence, &columns, &rows, Form::Text, more, capabilities);
        report::okay(&mut out, &mut sequence, 1, more, "done", capabilities);
        Report::new(1064, "42000", "no").write(&mut out, &mut sequence);
        folder.add(&write(&out, &[6, 60], &[choice]));
        let mut out = Vec::new();
        report::prepared(&mut out, &mut 1, 9, 2, &columns, last, capabilities);
        folder.add(&write(&out, &[20], &[choice | 2 << 3]));
    }
    let eof: &[u8] = b"\xfe\0\0\x42\0";
    let changed: &[u8] = b"\0\0\0\x02\x40\0\0\0\x0b\x01\x03\x02db\x02\x02\x011\x06\0";
    let okay: &[u8] = b"\0\0\0\x02\0\0\0";
    let progress: &[u8] = b"\xff\xff\xff\x01\x01\x01\x10\0\0\x04copy";
    for (choice, bodies) in [
        (0, &[&b"\x01"[..], b"\x03def", eof][..]),
        (4, &[progress, b"\x01\0", eof, b"\x01x", eof]),
        (0, &[b"\xfb/tmp/x", okay]),
        (2, &[changed]),
        (3 << 3, &[b"\0\0\x01", eof]),
        (4 << 3, &[b"\x03def", eof]),
        (5 << 3, &[b"Uptime: 1"]),
    ] {
        folder.add(&write(&messages(1, bodies), &[5], &[choice]));
    }
    let greeting = Greeting {
        version: "9.7.4".into(),
        connection: 7,
        nonce: *b"abcdefghijklmnopqrst",
        capabilities: Capabilities::PASSED | Capabilities::SSL,
        collation: 255,
        status: Status::AUTOCOMMIT,
        plugin: CACHING_SHA2.into(),
    };
    let mut greeted = Vec::new();
    greeting.write(&mut greeted, &mut 0);
    let switch: &[u8] = b"\xfeclient_ed25519\x000123456789abcdef0123456789abcdef\0";
    let clear: &[u8] = b"\xfemysql_clear_password\0";
    for bodies in [&[&b"\x01\x03"[..], okay][..], &[b"\x01\x04", okay], &[switch, okay], &[clear]] {
        let mut said = greeted.clone();
        let mut sequence = 2;
        for body in bodies {
            packet(&mut said, &mut sequence, |out| out.extend_from_slice(body));
            // Between two messages of the server the client answers, but for what only tells.
            sequence += u8::from(*body != b"\x01\x03");
        }
        for choice in 0..4 {
            folder.add(&write(&said, &[9, 80], &[128 | choice]));
        }
    }
}
