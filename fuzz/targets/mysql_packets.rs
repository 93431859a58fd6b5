//! What a client of MySQL or MariaDB sends, while it logs in and after: any split of the bytes means the
//! same, nothing is read beyond its message, and what is read off one is inside it.

#![no_main]

use bytes::BytesMut;
use daypass::wire::Limits;
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::command::Command;
use daypass::wire::mysql::handshake::ChangeUser;
use daypass::wire::mysql::login::{Channel, Login, LoginConfig, LoginEnv, Mirror, Step, TlsPolicy};
use daypass::wire::mysql::packet::{message, payload, write};
use daypass::wire::mysql::value::{Known, Type, bulk, parameters};
use daypass_fuzz::input::Input;
use daypass_fuzz::{NOW, TOKENS, token};
use libfuzzer_sys::fuzz_target;

const PAYLOAD_BYTES_MAX: usize = 2_048;

fn capabilities(choice: u8) -> Capabilities {
    let some = |bit: u8, one| if choice & bit == 0 { Capabilities::NONE } else { one };
    some(1, Capabilities::QUERY_ATTRIBUTES)
        | some(2, Capabilities::BULK)
        | some(4, Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_ATTRS)
}

/// Commands as they come, each beginning at 0; then what ended it and how much was left.
fn scan(pieces: &[&[u8]], choice: u8) -> (Vec<String>, usize) {
    let (mut seen, mut buffer) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match message(&buffer, 0, PAYLOAD_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some(found)) => {
                    assert!(found.length <= PAYLOAD_BYTES_MAX && found.total <= buffer.len());
                    let bytes = buffer.split_to(found.total);
                    let body = payload(&bytes);
                    assert_eq!(body.len(), found.length);
                    let mut again = Vec::new();
                    write(&mut again, &mut 0, |out| out.extend_from_slice(&body));
                    assert_eq!(again, bytes, "short messages have one form");
                    seen.push(read(&body, choice));
                }
                Err(violation) => {
                    seen.push(violation.to_string());
                    return (seen, 0);
                }
            }
        }
    }
    let left = buffer.len();
    (seen, left)
}

fn read(body: &[u8], choice: u8) -> String {
    let capabilities = capabilities(choice);
    let inside = |part: &[u8]| body.as_ptr_range().contains(&part.as_ptr()) || part.is_empty();
    let command = match Command::read(body, capabilities) {
        Ok(command) => command,
        Err(violation) => return violation.to_string(),
    };
    let types = [Type { number: 3, unsigned: false }, Type { number: 254, unsigned: false }];
    let known = Known { parameters: u16::from(choice >> 4) % 4, types: &types, long: &[1] };
    match &command {
        Command::Query { text, attributes } => {
            assert!(inside(text) && body.ends_with(text));
            assert!(attributes.is_empty() || capabilities.has(Capabilities::QUERY_ATTRIBUTES));
        }
        Command::Execute { flags, rest, .. } => {
            if let Ok(values) = parameters(rest, *flags, capabilities, &known) {
                assert!(values.len() >= usize::from(known.parameters));
                assert!(values.len() <= body.len() * 8);
            }
        }
        Command::BulkExecute { flags, rest, .. } => {
            if let Ok((types, rows)) = bulk(rest, *flags, &known) {
                assert!(rows.iter().all(|row| row.len() == types.len()));
                assert!(rows.len() <= body.len());
            }
        }
        Command::ChangeUser { body } => drop(ChangeUser::read(body, capabilities)),
        _ => {}
    }
    format!("{command:?}")
}

/// How a login ends, and what was written.
fn log_in(pieces: &[&[u8]], choice: u8) -> (String, Vec<u8>) {
    let channel = [Channel::Unix, Channel::Loopback, Channel::Network][usize::from(choice & 3) % 3];
    let tls = if choice & 4 == 0 { TlsPolicy::None } else { TlsPolicy::Offered };
    let native_allowed = choice & 8 != 0;
    let limits = Limits::default();
    let config = LoginConfig { tls, channel, native_allowed, limits };
    let capabilities = Capabilities::new(u32::MAX, 0x1f);
    let mirror = Mirror { version: "9.7.4".into(), capabilities, collation: 45 };
    let mut out = Vec::new();
    let mut login = Login::start(config, &mirror, 7, b"twenty bytes are due", &mut out);
    let env = LoginEnv { tokens: &TOKENS, now: NOW };
    let (mut end, mut input) = ("waits".to_owned(), BytesMut::new());
    let mut socket = BytesMut::new();
    for piece in pieces {
        socket.extend_from_slice(piece);
        // As the shell does: no further than the login wants.
        loop {
            let now = login.read_max(&input).min(socket.len());
            if now == 0 {
                break;
            }
            let read = socket.split_to(now);
            input.extend_from_slice(&read);
            match login.advance(&mut input, &mut out, &env) {
                Step::Read => {}
                Step::StartTls => {
                    assert!(input.is_empty() && tls == TlsPolicy::Offered);
                    login.tls_established(&input).expect("it was asked for");
                }
                step @ (Step::LoggedIn(_) | Step::Refused(_)) => {
                    end = format!("{step:?}");
                }
                Step::Closed => break,
            }
        }
    }
    let secret = token();
    let shown = out.windows(secret.expose().len()).any(|window| window == secret.expose());
    assert!(!shown, "the token is sent back");
    (end, out)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (body, pieces) = input.pieces();
    if choice & 128 == 0 {
        assert_eq!(scan(&[body], choice), scan(&pieces, choice), "cut at {pieces:?}");
    } else {
        assert_eq!(log_in(&[body], choice), log_in(&pieces, choice), "cut at {pieces:?}");
    }
});
