//! Writes the first inputs of every target below a folder: statements of the analyser's tests, a whole
//! login on either side, sessions. `fuzz/corpus` is these and what was found from them, minimised.

mod mysql_seeds;

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use daypass::wire::Limits;
use daypass::wire::postgres::frame::{HEADER_BYTES, frame, header};
use daypass::wire::postgres::login::{Login, LoginConfig, LoginEnv, TlsInfo, TlsPolicy};
use daypass::wire::postgres::message::TransactionStatus;
use daypass::wire::postgres::reply::{self, Report};
use daypass_fuzz::input::write;
use daypass_fuzz::{NOW, RANDOM, TOKENS, token};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

const V3_0: u32 = 0x0003_0000;
const V3_2: u32 = 0x0003_0002;

/// Tables of the analyser's tests: cases between empty lines, what they need below them.
const TABLES: [&str; 4] = [
    include_str!("../src/sql/postgres/tests/queries.txt"),
    include_str!("../src/sql/postgres/tests/changes.txt"),
    include_str!("../src/sql/postgres/tests/functions.txt"),
    include_str!("../src/sql/postgres/tests/utilities.txt"),
];

/// The same of MySQL's.
const MYSQL_TABLES: [&str; 4] = [
    include_str!("../src/sql/mysql/tests/queries.txt"),
    include_str!("../src/sql/mysql/tests/changes.txt"),
    include_str!("../src/sql/mysql/tests/utilities.txt"),
    include_str!("../src/sql/mysql/tests/traps.txt"),
];

/// Statements by file, each with a semicolon at a line's end.
const STATEMENTS: [&str; 3] = [
    include_str!("../tests/analyser_oracle.sql"),
    include_str!("../tests/analyser_functions.sql"),
    include_str!("../tests/analyser_metadata.sql"),
];

struct Folder(PathBuf, usize);

impl Folder {
    fn of(root: &Path, target: &str) -> Self {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        Self(folder, 0)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.1 += 1;
        let path = self.0.join(format!("seed-{:04}", self.1));
        std::fs::write(path, bytes).expect("the input can be written");
    }
}

fn main() {
    let root = std::env::args_os().nth(1).map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from("target/fuzz/seeds"));
    frames(&mut Folder::of(&root, "frames"));
    startup(&mut Folder::of(&root, "startup"));
    replies(&mut Folder::of(&root, "replies"));
    conversation(&mut Folder::of(&root, "conversation"));
    privilege(&mut Folder::of(&root, "privilege"));
    mysql_seeds::packets(&mut Folder::of(&root, "mysql_packets"));
    mysql_seeds::replies(&mut Folder::of(&root, "mysql_replies"));
    mysql_seeds::conversation(&mut Folder::of(&root, "mysql_conversation"));
    let mut analyser = Folder::of(&root, "analyser");
    for text in statements() {
        analyser.add(text.as_bytes());
    }
    let mut mysql_analyser = Folder::of(&root, "mysql_analyser");
    for text in cases(&MYSQL_TABLES) {
        mysql_analyser.add(&[&[0], text.as_bytes()].concat());
    }
}

/// The texts of tables.
fn cases(tables: &'static [&'static str]) -> impl Iterator<Item = String> {
    tables.iter().flat_map(|table| table.split("\n\n")).map(|case| {
        let own = case.lines().filter(|line| !line.starts_with('#') && !line.starts_with("    "));
        own.collect::<Vec<_>>().join("\n")
    })
}

fn statements() -> Vec<String> {
    let files = STATEMENTS.into_iter().flat_map(|file| file.split(";\n")).map(|statement| {
        let own = statement.lines().filter(|line| !line.starts_with("--"));
        own.collect::<Vec<_>>().join("\n")
    });
    cases(&TABLES).chain(files).filter(|text| !text.trim().is_empty()).collect()
}

fn c_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::parse(&mut out, name, text, &25_u32.to_be_bytes());
    out
}

fn bind(portal: &str, statement: &str, value: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, b'B', |out| {
        c_string(out, portal);
        c_string(out, statement);
        out.extend_from_slice(&[0, 0, 0]);
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            out.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&[0, 0]);
    });
    out
}

fn named(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, tag, |out| {
        out.push(kind);
        c_string(out, name);
    });
    out
}

fn query(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::query(&mut out, text);
    out
}

fn execute(portal: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::execute(&mut out, portal);
    out
}

fn bare(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

/// What clients send, a session each.
fn sessions() -> Vec<Vec<u8>> {
    let sync = bare(b'S', b"");
    let select = "SELECT a FROM t1 WHERE b = $1";
    let extended = [
        parse("p", select),
        bind("", "p", Some("1")),
        named(b'D', b'P', ""),
        execute(""),
        sync.clone(),
    ];
    let again = [bind("c", "p", Some("2")), execute("c"), named(b'C', b'S', "p"), sync.clone()];
    let denied =
        [parse("", "SELECT token FROM secret"), bind("", "", None), execute(""), sync.clone()];
    let copy = [
        query("COPY t1 (a) FROM STDIN"),
        bare(b'd', b"1\n"),
        bare(b'd', b"2\n"),
        bare(b'c', b""),
        query("SELECT 1"),
    ];
    let copy_extended = [
        parse("", "COPY t1 (a) FROM STDIN"),
        bind("", "", None),
        execute(""),
        sync.clone(),
        bare(b'd', b"1\n"),
        bare(b'f', b"no\0"),
        sync.clone(),
    ];
    let prepared = [
        query("PREPARE q AS SELECT id FROM orders"),
        query("EXECUTE q"),
        bind("", "q", None),
        execute(""),
        sync.clone(),
        query("DEALLOCATE q; EXECUTE q"),
    ];
    let cursor = [
        query("BEGIN; DECLARE c CURSOR FOR SELECT a FROM t1"),
        query("FETCH c"),
        execute("c"),
        sync.clone(),
        query("SELECT token FROM secret"),
        query("ROLLBACK"),
    ];
    let mut simple: Vec<Vec<u8>> = [
        "SELECT a, b FROM t1; INSERT INTO t1 (a) VALUES (1)",
        "SET search_path = app",
        "SELECT z FROM app.t1",
        "CREATE TABLE t9 (a int)",
        "SELECT a FROM t9",
        "CALL daypass.whoami()",
        "SELEC 1",
        "  ",
        "DISCARD ALL",
    ]
    .map(query)
    .into();
    simple.push(bare(b'F', b"\0\0\0\x01\0\0\0\0\0\0"));
    let call = [parse("", "CALL daypass.request($1, '1h', 'why')"), bind("", "", Some("x"))];
    let call = [call.concat(), named(b'D', b'S', ""), execute(""), sync.clone()];
    let large = [query(&"x".repeat(5_000)), query("SELECT 1"), bare(b'X', b"")];
    vec![
        [extended.concat(), again.concat()].concat(),
        [extended[..3].concat(), bare(b'H', b""), extended[3..].concat()].concat(),
        [denied.concat(), extended.concat()].concat(),
        copy.concat(),
        copy_extended.concat(),
        prepared.concat(),
        cursor.concat(),
        simple.concat(),
        call.concat(),
        large.concat(),
    ]
}

fn frames(folder: &mut Folder) {
    for session in sessions() {
        folder.add(&write(&session, &[], &[]));
        folder.add(&write(&session, &[3, 9, 40], &[]));
    }
}

fn conversation(folder: &mut Folder) {
    for session in sessions() {
        for grants in 0..4 {
            // Behind the body: its cuts, which statements fail, how it goes, what is granted.
            folder.add(&write(&session, &[11, 70], &[0, 0, 0, 0, 6, grants]));
            folder.add(&write(&session, &[], &[0, 1, 0, 0, 0, grants]));
            let happens = [2, 0, 13, 35, 0, 4, 0, 5, 0, 0, 0, 0];
            folder.add(&write(
                &session,
                &[30, 60, 90, 120],
                &[&happens[..], &[7, grants]].concat(),
            ));
        }
    }
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("short");
    [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

fn hello(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parameters {
        c_string(&mut body, name);
        c_string(&mut body, value);
    }
    body.push(0);
    packet(version, &body)
}

/// The SASL messages that follow that start-up packet, with a proof that is right.
fn proof(hello: &[u8], bound: bool) -> Vec<u8> {
    let tls = if bound { TlsPolicy::Offered } else { TlsPolicy::None };
    let mut login =
        Login::new(LoginConfig { tls, plaintext_allowed: true, limits: Limits::default() });
    let binding = if bound {
        let info = TlsInfo { direct: true, channel_binding: Some(b"HASH".to_vec()) };
        login.tls_established(info, b"").expect("a handshake that came first");
        ChannelBinding::tls_server_end_point(b"HASH".to_vec())
    } else {
        ChannelBinding::unsupported()
    };
    let env = LoginEnv { tokens: &TOKENS, now: NOW, random: &RANDOM };
    let mechanism = if bound { "SCRAM-SHA-256-PLUS" } else { "SCRAM-SHA-256" };
    let mut scram = ScramSha256::new(token().expose(), binding);
    let first = bare(b'p', &{
        let mut body = Vec::new();
        c_string(&mut body, mechanism);
        let length = u32::try_from(scram.message().len()).expect("short");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(scram.message());
        body
    });
    let (mut input, mut out) = (BytesMut::from(&[hello, &first].concat()[..]), Vec::new());
    login.advance(&mut input, &mut out, &env);
    let mut rest = &out[..];
    let mut challenge = &rest[..0];
    while let Ok(Some(header)) = header(rest) {
        challenge = &rest[HEADER_BYTES + 4..header.total];
        rest = &rest[header.total..];
    }
    scram.update(challenge).expect("our own challenge");
    [first, bare(b'p', scram.message())].concat()
}

fn startup(folder: &mut Folder) {
    let alice = hello(V3_0, &[("user", "alice"), ("database", "shop")]);
    let full = hello(
        V3_2,
        &[
            ("user", "alice"),
            ("database", "shop"),
            ("application_name", "psql"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("TimeZone", "Europe/Paris"),
            ("extra_float_digits", "2"),
            ("search_path", "app, public"),
            ("options", "-c search_path=app -cDateStyle=ISO --timezone=UTC"),
            ("_pq_.x", "1"),
        ],
    );
    let mallory = hello(V3_0, &[("user", "mallory"), ("replication", "database")]);
    let requests = [packet(80_877_104, b""), packet(80_877_103, b"")].concat();
    let (plain, bound) = (proof(&alice, false), proof(&full, true));
    let inputs = [
        (0, [&alice[..], &plain].concat()),
        (0, [&full[..], &proof(&full, false), &query("SELECT 1")].concat()),
        (5 | 8, [&full[..], &bound].concat()),
        (3, alice.clone()),
        (0, mallory),
        (1, [&requests[..], &alice].concat()),
        (1 | 8, requests.clone()),
        (0, packet(80_877_102, b"\0\0\0\x07keys")),
        (1, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()),
        (0, packet(0x0002_0000, b"")),
        (0, hello(0x0003_270f, &[("user", "alice"), ("foo", "bar")])),
        (0, [&alice[..], &bare(b'p', b"SCRAM-SHA-256\0\0\0\0\x05y,,n=")].concat()),
    ];
    for (choice, body) in inputs {
        folder.add(&write(&body, &[], &[choice]));
        folder.add(&write(&body, &[8, 16, 50, 120], &[choice]));
    }
}

fn authentication(method: u32, rest: &[u8]) -> Vec<u8> {
    bare(b'R', &[&method.to_be_bytes(), rest].concat())
}

/// What servers say, with the choices that fit.
fn replies(folder: &mut Folder) {
    let welcome = [
        authentication(0, b""),
        bare(b'S', b"server_version\x0015.18\0"),
        bare(b'S', b"TimeZone\0UTC\0"),
        bare(b'K', b"\0\0\0\x07\x01\x02\x03\x04"),
        bare(b'Z', b"I"),
    ]
    .concat();
    let mut refusal = Vec::new();
    Report::fatal("28P01", "password authentication failed").detail("d").write(&mut refusal);
    let logins = [
        (0, welcome.clone()),
        (16, [bare(b'v', b"\0\x03\0\0\0\0\0\0"), welcome.clone()].concat()),
        (4, [authentication(3, b""), welcome.clone()].concat()),
        (4, [authentication(5, b"salt"), welcome.clone()].concat()),
        (0, authentication(10, b"SCRAM-SHA-256\0\0")),
        (2 | 8, authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")),
        (0, refusal.clone()),
        (0, bare(b'N', b"SNOTICE\0C00000\0Mhello\0\0")),
    ];
    for (choice, body) in logins {
        folder.add(&write(&body, &[7, 30], &[choice]));
    }
    let (mut row, mut error, mut description) = (Vec::new(), Vec::new(), Vec::new());
    reply::data_row(&mut row, &[Some("1".into()), None]);
    Report::error("57014", "canceled").write(&mut error);
    reply::row_description(&mut description, &["a"]);
    let complete = bare(b'C', b"SELECT 1\0");
    let idle = bare(b'Z', &[TransactionStatus::Idle.byte()]);
    let notices = [
        bare(b'N', b"SNOTICE\0Mhello\0\0"),
        bare(b'A', b"\0\0\0\x01c\0p\0"),
        bare(b'S', b"client_encoding\0LATIN1\0"),
    ]
    .concat();
    let simple = [&notices[..], &description, &row, &row, &complete, &idle].concat();
    let failed = [&error[..], &bare(b'Z', b"E")].concat();
    let copy = [bare(b'G', b"\0\0\0"), complete.clone(), idle.clone()].concat();
    let extended = [
        bare(b'1', b""),
        bare(b'2', b""),
        bare(b'T', b"\0\0"),
        row.clone(),
        bare(b's', b""),
        error.clone(),
        idle.clone(),
    ]
    .concat();
    let mut path = Vec::new();
    for schema in ["pg_catalog", "public"] {
        reply::data_row(&mut path, &[Some(schema.into())]);
    }
    let path = [&path[..], &complete, &idle].concat();
    let two = [&description[..], &row, &complete, &complete, &idle].concat();
    for choice in 0..6 {
        for body in [&simple, &failed, &copy, &extended, &two] {
            folder.add(&write(body, &[5, 9], &[128 | choice]));
            folder.add(&write(&[&path[..], body].concat(), &[], &[128 | 64 | choice]));
        }
    }
}

fn privilege(folder: &mut Folder) {
    for text in [
        "SELECT ON public.orders",
        "select(id,email),UPDATE ( status )ON table Public.Orders; READ ON DATABASE shop",
        "WRITE ON SCHEMA s; ADMIN ON DATABASE",
        "USAGE ON SEQUENCE s.q",
        "EXECUTE ON FUNCTION s.f(int, varchar(3), \"a)b\", numeric(10,2)[], timestamp with time zone)",
        "SELECT (\"Mixed\"\"Case\"), INSERT, DELETE, TRUNCATE ON \"Sales\".\"Q 1\"",
        "SELECT (`a``b`) ON `s`.t",
        "REFERENCES (a), TRIGGER, MAINTAIN ON s.straße",
        "USAGE, CREATE ON SCHEMA \"\u{e9} \"",
        "SELECT ON orders",
        "ALL ON s.t",
    ] {
        folder.add(text.as_bytes());
    }
}
