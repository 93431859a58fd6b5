//! What a hostile server says: while we log in to it, while a session runs on it, in rows of our own.

#![no_main]

use bytes::BytesMut;
use daypass::secret::Secret;
use daypass::upstream::login::{Account, Channel, Login, Progress};
use daypass::upstream::{Startup, read_path};
use daypass::wire::postgres::frame::frame;
use daypass::wire::postgres::message::{
    TransactionStatus, error_field, parameter_status, rows_of_tag, sqlstate, text_row,
};
use daypass::wire::postgres::reply;
use daypass_fuzz::house::House;
use daypass_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct horse battery";

/// How a login ended, and what was written to the server.
fn log_in(pieces: &[&[u8]], choice: u8) -> (String, Vec<u8>) {
    let password = Secret::new(PASSWORD);
    let account =
        Account { user: "app", database: "shop", password: (choice & 1 == 0).then_some(&password) };
    let tls = choice & 2 != 0;
    let channel = Channel {
        private: tls || choice & 4 != 0,
        tls,
        binding: (tls && choice & 8 != 0).then(|| b"HASH".to_vec()),
    };
    let private = channel.private;
    let minor = if choice & 16 == 0 { 0 } else { 2 };
    let startup = Startup { minor, ..Startup::default() };
    let (mut out, mut input) = (Vec::new(), BytesMut::new());
    let mut login = Login::start(&account, channel, &startup, &mut out).expect("a good packet");
    out.clear();
    let mut end = "waits".to_owned();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match login.receive(&mut input, &mut out) {
                Ok(Progress::Compute) => {
                    if login.compute(&mut out).is_err() {
                        end = "computes in vain".to_owned();
                    }
                }
                Ok(Progress::Receive) => break,
                Ok(Progress::Ready) => {
                    end = "ready".to_owned();
                    break;
                }
                Err(error) => {
                    if !end.starts_with("refused") {
                        end = format!("refused: {error}");
                    }
                    break;
                }
            }
        }
    }
    if end == "ready" {
        let logged_in = login.finish();
        assert!(!logged_in.secret_key.is_empty());
    }
    let shown = out.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
    assert!(private || !shown, "the password crosses the wire in clear");
    (end, out)
}

/// What a client has under way when the server speaks.
fn under_way(choice: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let parse = |out: &mut Vec<u8>, name: &str, text: &str| reply::parse(out, name, text, &[]);
    let bind = |out: &mut Vec<u8>, portal: &str, statement: &str| {
        frame(out, b'B', |out| {
            for name in [portal, statement] {
                out.extend_from_slice(name.as_bytes());
                out.push(0);
            }
            out.extend_from_slice(&[0; 6]);
        });
    };
    match choice % 6 {
        0 => reply::query(&mut out, "SELECT a FROM t1"),
        1 => reply::query(&mut out, "SELECT a FROM t1; INSERT INTO t1 (a) VALUES (1)"),
        2 => reply::query(&mut out, "COPY t1 (a) FROM STDIN"),
        3 => {
            parse(&mut out, "p", "SELECT a FROM t1");
            bind(&mut out, "", "p");
            frame(&mut out, b'D', |out| out.extend_from_slice(b"P\0"));
            reply::execute(&mut out, "");
            reply::execute(&mut out, "nothing");
            frame(&mut out, b'C', |out| out.extend_from_slice(b"Sp\0"));
            reply::sync(&mut out);
            reply::query(&mut out, "BEGIN");
        }
        4 => {
            parse(&mut out, "", "SELECT token FROM secret");
            bind(&mut out, "", "");
            reply::sync(&mut out);
            reply::query(&mut out, "SELECT b FROM t1");
        }
        _ => {
            parse(&mut out, "", "COPY t1 (a) FROM STDIN");
            bind(&mut out, "", "");
            reply::execute(&mut out, "");
            reply::sync(&mut out);
        }
    }
    out
}

fn converse(pieces: &[&[u8]], choice: u8) -> (Vec<u8>, bool, bool) {
    let mut house = House::new(1, &[]);
    house.settle(usize::MAX);
    house.client_sends(&under_way(choice));
    if choice & 64 == 0 {
        // The path is told truly, and all that follows is not.
        house.fulfil();
        house.server_delivers(usize::MAX);
        house.take_client_bytes();
    }
    for piece in pieces {
        house.server_says(piece);
    }
    let said = (house.client_out.clone(), house.closed, house.violated);
    house.take_client_bytes();
    for happens in [4, 3, 6] {
        house.happens(happens);
    }
    said
}

fn read_values(body: &[u8]) {
    let _ = (sqlstate(body), error_field(body, b'M'), rows_of_tag(body));
    let _ = (parameter_status(body), TransactionStatus::read(body));
    if let Ok(row) = text_row(body) {
        assert!(row.len() * 4 <= body.len());
        drop(read_path(&[row]));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (body, pieces) = input.pieces();
    read_values(body);
    if choice & 128 == 0 {
        // Our nonce differs each time, so what we write is compared by its length.
        let (whole, cut) = (log_in(&[body], choice), log_in(&pieces, choice));
        assert_eq!((&whole.0, whole.1.len()), (&cut.0, cut.1.len()), "cut at {pieces:?}");
    } else {
        assert_eq!(converse(&[body], choice), converse(&pieces, choice), "cut at {pieces:?}");
    }
});
