//! A client that logs in: start-up packets, TLS requests, SASL, in any pieces.

#![no_main]

use bytes::BytesMut;
use daypass::wire::Limits;
use daypass::wire::postgres::frame::{HEADER_BYTES, header};
use daypass::wire::postgres::login::{Login, LoginConfig, LoginEnv, Step, TlsInfo, TlsPolicy};
use daypass::wire::postgres::startup;
use daypass_fuzz::input::Input;
use daypass_fuzz::{NOW, RANDOM, TOKENS};
use libfuzzer_sys::fuzz_target;

struct Run {
    /// How it ended; none while it waits for more.
    end: Option<String>,
    out: Vec<u8>,
    secure: bool,
    in_order: bool,
}

fn config(choice: u8) -> LoginConfig {
    let tls = if choice & 1 == 0 { TlsPolicy::None } else { TlsPolicy::Offered };
    LoginConfig { tls, plaintext_allowed: choice & 2 == 0, limits: Limits::default() }
}

fn run(pieces: &[&[u8]], choice: u8) -> Run {
    let binding = (choice & 8 != 0).then(|| b"HASH".to_vec());
    let info = |direct| TlsInfo { direct, channel_binding: binding.clone() };
    let mut login = Login::new(config(choice));
    let mut run = Run { end: None, out: Vec::new(), secure: false, in_order: true };
    if choice & 5 == 5 {
        login.tls_established(info(true), b"").expect("a handshake that came first");
        run.secure = true;
    }
    let env = LoginEnv { tokens: &TOKENS, now: NOW, random: &RANDOM };
    let mut input = BytesMut::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let step = login.advance(&mut input, &mut run.out, &env);
            if run.end.is_some() {
                assert!(matches!(step, Step::Closed), "{step:?} after the end");
                break;
            }
            match step {
                Step::Read => break,
                Step::StartTls => {
                    assert!(input.is_empty(), "bytes in clear are carried into TLS");
                    login.tls_established(info(false), &input).expect("it was asked for");
                    run.secure = true;
                }
                end => {
                    if let Step::LoggedIn(logged_in) = &end {
                        assert!(run.secure || config(choice).plaintext_allowed);
                        assert_eq!(logged_in.principal.as_str(), "alice");
                        assert_eq!(logged_in.token.to_string(), "t_1");
                        assert!(!logged_in.channel_bound || binding.is_some() && run.secure);
                    }
                    run.end = Some(format!("{end:?}"));
                    break;
                }
            }
        }
    }
    run
}

/// Whatever was written is whole messages, but for the one byte that answers a request.
fn check_written(run: &mut Run) {
    let answers = run.out.iter().take_while(|&&byte| byte == b'N' || byte == b'S').count();
    run.in_order = answers == 0;
    let mut rest = &run.out[answers..];
    while let Some(header) = header(rest).expect("our own frame") {
        assert!(b"ERv".contains(&header.tag));
        assert!(header.total >= HEADER_BYTES);
        rest = rest.get(header.total..).expect("a whole message");
    }
    assert!(rest.is_empty());
    assert!(run.out.len() < 1 << 16, "much is written before anything is proved");
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (body, pieces) = input.pieces();
    let (mut whole, mut cut) = (run(&[body], choice), run(&pieces, choice));
    check_written(&mut whole);
    check_written(&mut cut);
    // What comes behind a request for encryption is the one thing that depends on how bytes arrive.
    let asked = !whole.in_order || !cut.in_order || {
        let said = |run: &Run| run.end.as_ref().is_some_and(|end| end.contains("unencrypted data"));
        said(&whole) || said(&cut)
    };
    if !asked && !pieces.is_empty() {
        assert_eq!((&whole.end, &whole.out), (&cut.end, &cut.out), "cut at {pieces:?}");
    }
    let read = startup::read(body, 10_000);
    for end in [body.len() / 2, body.len().saturating_sub(1)] {
        if let Ok(Some(early)) = startup::read(&body[..end], 10_000) {
            assert_eq!(Ok(Some(early)), read, "more bytes change an answer");
        }
    }
});
