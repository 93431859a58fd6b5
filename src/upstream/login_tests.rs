//! A scripted server for the login machine.

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const PRIVATE: Channel = Channel { private: true, tls: false, binding: None };

fn tls(binding: Option<&[u8]>) -> Channel {
    Channel { private: true, tls: true, binding: binding.map(<[u8]>::to_vec) }
}

fn start(password: Option<&Secret>, channel: Channel, minor: u16) -> (Login, Vec<u8>) {
    let account = Account { user: "app", database: "shop", password };
    let startup = Startup { minor, ..Startup::default() };
    let mut out = Vec::new();
    let login = Login::start(&account, channel, &startup, &mut out).unwrap();
    (login, out)
}

fn server(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn authentication(method: i32, rest: &[u8]) -> Vec<u8> {
    server(b'R', &[&method.to_be_bytes(), rest].concat())
}

fn ending() -> Vec<u8> {
    [
        authentication(0, b""),
        server(b'S', b"server_version\x0015.18\0"),
        server(b'N', b"SNOTICE\0C00000\0Mhello\0\0"),
        server(b'S', b"TimeZone\0UTC\0"),
        server(b'S', b"TimeZone\0Europe/Paris\0"),
        server(b'K', b"\0\0\0\x07\x01\x02\x03\x04"),
        server(b'Z', b"I"),
    ]
    .concat()
}

/// Feeds everything, computing where asked; gives back what the machine wrote.
fn feed(login: &mut Login, bytes: &[u8]) -> Result<(Progress, Vec<u8>), UpstreamError> {
    let mut input = BytesMut::from(bytes);
    let mut out = Vec::new();
    loop {
        match login.receive(&mut input, &mut out)? {
            Progress::Compute => login.compute(&mut out)?,
            progress => return Ok((progress, out)),
        }
    }
}

fn login_error(result: Result<(Progress, Vec<u8>), UpstreamError>) -> LoginError {
    match result {
        Err(UpstreamError::Login(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A server's half of SCRAM-SHA-256 (RFC 5802, section 3).
struct Scram {
    salt: [u8; 16],
    iterations: u32,
    password: &'static [u8],
}

const SCRAM: Scram = Scram { salt: [7; 16], iterations: 4, password: b"hunter2" };
const SALT: &str = "BwcHBwcHBwcHBwcHBwcHBw==";

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    hmac.update(message);
    hmac.finalize().into_bytes().to_vec()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0, 0]).take(3).fold(0, |w, &b| w << 8 | usize::from(b));
        for place in 0..4 {
            let digit = char::from(DIGITS[word >> (18 - 6 * place) & 63]);
            text.push(if place > chunk.len() { '=' } else { digit });
        }
    }
    text
}

impl Scram {
    /// Our first message, as the machine sent it: mechanism, header, bare part.
    fn first(sent: &[u8]) -> (String, String, String) {
        let mut body = Reader::new(b'p', &sent[HEADER_BYTES..]);
        let mechanism = body.c_str().unwrap().to_owned();
        let length = usize::try_from(body.i32().unwrap()).unwrap();
        assert_eq!(length, body.clone().remainder().len());
        let text = std::str::from_utf8(body.remainder()).unwrap();
        let bare = text.find("n=,r=").unwrap();
        (mechanism, text[..bare].to_owned(), text[bare..].to_owned())
    }

    fn challenge(&self, bare: &str) -> String {
        let nonce = bare.strip_prefix("n=,r=").unwrap();
        format!("r={nonce}SERVER,s={SALT},i={}", self.iterations)
    }

    /// Checks the client's proof and answers with the server's.
    fn verdict(&self, bare: &str, challenge: &str, sent: &[u8]) -> String {
        let last = std::str::from_utf8(&sent[HEADER_BYTES..]).unwrap();
        let (without_proof, proof) = last.rsplit_once(",p=").unwrap();
        let message = format!("{bare},{challenge},{without_proof}");
        let mut round = hmac(self.password, &[&self.salt[..], &[0, 0, 0, 1]].concat());
        let mut salted = round.clone();
        for _ in 1..self.iterations {
            round = hmac(self.password, &round);
            salted.iter_mut().zip(&round).for_each(|(s, r)| *s ^= r);
        }
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(&client_key), message.as_bytes());
        let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(k, s)| k ^ s).collect();
        assert_eq!(proof, base64(&expected), "the client's proof");
        let server_key = hmac(&salted, b"Server Key");
        format!("v={}", base64(&hmac(&server_key, message.as_bytes())))
    }
}

/// Goes through SCRAM with what `offer` names; gives back mechanism, GS2 header and channel binding.
fn scram(channel: Channel, offer: &[u8]) -> (String, String, String) {
    let password = Secret::new("hunter2");
    let (mut login, _) = start(Some(&password), channel, 0);
    let (_, sent) = feed(&mut login, &authentication(10, offer)).unwrap();
    let (mechanism, header, bare) = Scram::first(&sent);
    let challenge = SCRAM.challenge(&bare);
    let (_, sent) = feed(&mut login, &authentication(11, challenge.as_bytes())).unwrap();
    let verdict = SCRAM.verdict(&bare, &challenge, &sent);
    let last = std::str::from_utf8(&sent[HEADER_BYTES..]).unwrap();
    let binding = last.split(',').next().unwrap().to_owned();
    feed(&mut login, &authentication(12, verdict.as_bytes())).unwrap();
    assert_eq!(feed(&mut login, &ending()).unwrap().0, Progress::Ready);
    (mechanism, header, binding)
}

#[test]
fn the_start_up_packet_says_who_and_ends_with_what_must_hold() {
    let account = Account { user: "app", database: "shop", password: None };
    let startup = Startup {
        application_name: "psql".into(),
        parameters: vec![("options".into(), "-c standard_conforming_strings=off".into())],
        minor: 2,
    };
    let mut out = Vec::new();
    Login::start(&account, PRIVATE, &startup, &mut out).unwrap();
    let text = b"user\0app\0database\0shop\0application_name\0psql\0client_encoding\0UTF8\0\
        options\0-c standard_conforming_strings=off\0standard_conforming_strings\0on\0\0";
    assert_eq!(out[..8], [0, 0, 0, u8::try_from(text.len() + 8).unwrap(), 0, 3, 0, 2]);
    assert_eq!(&out[8..], text);
}

#[test]
fn parameters_that_would_say_more_than_one_thing_are_refused() {
    let account = Account { user: "app", database: "shop", password: None };
    for (name, value) in
        [("user", "x"), ("USER", "x"), ("replication", "1"), ("_pq_.x", "1"), ("", ""), ("a", "\0")]
    {
        let parameters = vec![(name.to_owned(), value.to_owned())];
        let startup = Startup { parameters, ..Startup::default() };
        let error = Login::start(&account, PRIVATE, &startup, &mut Vec::new()).err();
        assert_eq!(error, Some(LoginError::Parameter(name.to_owned())));
    }
    let long = Startup { application_name: "x".repeat(10_000), ..Startup::default() };
    let error = Login::start(&account, PRIVATE, &long, &mut Vec::new()).err();
    assert_eq!(error, Some(LoginError::PacketTooLong(10_000)));
}

#[test]
fn trust_leads_straight_in() {
    let (mut login, _) = start(None, Channel::default(), 0);
    let (progress, sent) = feed(&mut login, &ending()).unwrap();
    assert_eq!((progress, sent), (Progress::Ready, vec![]));
    let LoggedIn { process_id, secret_key, parameters } = login.finish();
    assert_eq!((process_id, &*secret_key), (7, &[1, 2, 3, 4][..]));
    let pairs = [("server_version", "15.18"), ("TimeZone", "Europe/Paris")];
    assert_eq!(parameters, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn what_follows_the_login_is_left_in_the_buffer() {
    let (mut login, _) = start(None, PRIVATE, 0);
    let mut input = BytesMut::from(&[ending(), b"rest".to_vec()].concat()[..]);
    assert_eq!(login.receive(&mut input, &mut Vec::new()).unwrap(), Progress::Ready);
    assert_eq!(&input[..], b"rest");
}

#[test]
fn passwords_in_clear_or_md5_only_where_nobody_listens() {
    let password = Secret::new("hunter2");
    for (request, answer) in [
        (authentication(3, b""), &b"hunter2\0"[..]),
        (authentication(5, b"salt"), b"md500000000000000000000000000000000\0"),
    ] {
        let (mut login, _) = start(Some(&password), Channel::default(), 0);
        let error = login_error(feed(&mut login, &request));
        assert!(matches!(error, LoginError::Exposed(_)), "{error:?}");
        let (mut login, _) = start(None, PRIVATE, 0);
        assert_eq!(login_error(feed(&mut login, &request)), LoginError::NoPassword);

        let (mut login, _) = start(Some(&password), PRIVATE, 0);
        let (_, sent) = feed(&mut login, &request).unwrap();
        assert_eq!(sent.len(), HEADER_BYTES + answer.len());
        if request[8] == 3 {
            assert_eq!(&sent[HEADER_BYTES..], answer);
        } else {
            let expected = md5_hash(b"app", b"hunter2", *b"salt");
            assert_eq!(sent[HEADER_BYTES..sent.len() - 1], *expected.as_bytes());
        }
        assert_eq!(feed(&mut login, &ending()).unwrap().0, Progress::Ready);
    }
}

#[test]
fn scram_chooses_the_strongest_that_both_have() {
    const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    const PLAIN: &[u8] = b"SCRAM-SHA-256\0\0";
    let parts = |(mechanism, header, binding): (String, String, String)| {
        assert!(binding.starts_with("c="));
        (mechanism, header)
    };
    let chosen = |mechanism: &str, header: &str| (mechanism.to_owned(), header.to_owned());
    assert_eq!(parts(scram(PRIVATE, PLAIN)), chosen("SCRAM-SHA-256", "n,,"));
    assert_eq!(parts(scram(Channel::default(), PLAIN)), chosen("SCRAM-SHA-256", "n,,"));
    assert_eq!(parts(scram(tls(Some(b"hash")), PLAIN)), chosen("SCRAM-SHA-256", "y,,"));
    assert_eq!(parts(scram(tls(None), BOTH)), chosen("SCRAM-SHA-256", "n,,"));
    let (mechanism, header, binding) = scram(tls(Some(b"hash")), BOTH);
    assert_eq!(
        parts((mechanism, header, binding.clone())),
        chosen("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,")
    );
    assert_eq!(binding, format!("c={}", base64(b"p=tls-server-end-point,,hash")));
}

#[test]
fn channel_binding_without_a_channel_means_somebody_in_between() {
    let password = Secret::new("hunter2");
    let (mut login, _) = start(Some(&password), PRIVATE, 0);
    let offer = authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    assert_eq!(login_error(feed(&mut login, &offer)), LoginError::BindingWithoutTls);
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let password = Secret::new("hunter2");
    let begin = || {
        let (mut login, _) = start(Some(&password), PRIVATE, 0);
        let (_, sent) = feed(&mut login, &authentication(10, b"SCRAM-SHA-256\0\0")).unwrap();
        let (_, _, bare) = Scram::first(&sent);
        let challenge = SCRAM.challenge(&bare);
        feed(&mut login, &authentication(11, challenge.as_bytes())).unwrap();
        login
    };
    for verdict in [format!("v={}", base64(&[0; 32])), "v=".into(), "e=other".into(), "x".into()] {
        let error = login_error(feed(&mut begin(), &authentication(12, verdict.as_bytes())));
        assert!(matches!(error, LoginError::Scram(_)), "{error:?}");
    }
    // "You are in", without having proved anything.
    let result = feed(&mut begin(), &ending());
    assert!(matches!(result, Err(UpstreamError::Violation(Violation::Unexpected('R')))));
}

#[test]
fn challenges_are_bounded() {
    let password = Secret::new("hunter2");
    let answer = |make: &dyn Fn(&str) -> String| {
        let (mut login, _) = start(Some(&password), PRIVATE, 0);
        let (_, sent) = feed(&mut login, &authentication(10, b"SCRAM-SHA-256\0\0")).unwrap();
        let (_, _, bare) = Scram::first(&sent);
        let challenge = make(bare.strip_prefix("n=,r=").unwrap());
        feed(&mut login, &authentication(11, challenge.as_bytes()))
    };
    for count in [0, 100_001, u64::from(u32::MAX), u64::MAX] {
        let error = login_error(answer(&|nonce| format!("r={nonce}x,s={SALT},i={count}")));
        assert_eq!(error, LoginError::Iterations { asked: count, max: 100_000 });
    }
    for wrong in ["", "r=x", "r=,s=,i=", "r=abc,s=Bw==,i=4", "m=x,r=y,s=z,i=1", "r=\u{e9},s=a,i=1"]
    {
        let error = login_error(answer(&|_| wrong.to_owned()));
        assert!(matches!(error, LoginError::Scram(_)), "{wrong:?}: {error:?}");
    }
    let same = login_error(answer(&|nonce| format!("r={nonce},s={SALT},i=4")));
    assert!(matches!(same, LoginError::Scram(_)));
    // CVE-2026-6665: a nonce longer than anybody's buffer.
    let long = answer(&|nonce| format!("r={nonce}{},s={SALT},i=4", "x".repeat(4_000)));
    assert!(matches!(long, Err(UpstreamError::Violation(Violation::TooLong { max: 2_000 }))));
}

#[test]
fn unknown_methods_have_names() {
    let password = Secret::new("hunter2");
    for (request, name) in [
        (authentication(2, b""), "Kerberos 5"),
        (authentication(7, b""), "GSSAPI"),
        (authentication(9, b""), "SSPI"),
        (authentication(10, b"OAUTHBEARER\0\0"), "an unknown SASL"),
    ] {
        let (mut login, _) = start(Some(&password), PRIVATE, 0);
        assert_eq!(login_error(feed(&mut login, &request)), LoginError::Method(name));
    }
}

#[test]
fn a_refusal_has_code_and_sentence_even_when_the_server_forgot_them() {
    let refusal = |body: &[u8]| {
        let (mut login, _) = start(None, PRIVATE, 0);
        match feed(&mut login, &server(b'E', body)) {
            Err(UpstreamError::Refused { sqlstate, message }) => (sqlstate, message),
            other => panic!("{other:?}"),
        }
    };
    let said = refusal(b"SFATAL\0C3D000\0Mno \"x\"\nhere\0\0");
    assert_eq!((&*said.0, &*said.1), ("3D000", "no \"x\" here"));
    // CVE-2026-6666.
    for body in [&b"SFATAL\0\0"[..], b"", b"C", b"C\0", b"\0", b"Cabc\0M\xff\0\0"] {
        let said = refusal(body);
        assert_eq!((&*said.0, &*said.1), ("XX000", "no message that can be read"));
    }
    let after_authentication =
        [authentication(0, b""), server(b'E', b"C53300\0Mfull\0\0")].concat();
    let (mut login, _) = start(None, PRIVATE, 0);
    let result = feed(&mut login, &after_authentication);
    assert!(
        matches!(result, Err(UpstreamError::Refused { sqlstate, .. }) if &*sqlstate == "53300")
    );
    // Over is over.
    assert!(feed(&mut login, &ending()).is_err());
}

#[test]
fn an_older_server_may_have_3_0_only() {
    let key = |length: usize| server(b'K', &[&[0, 0, 0, 7][..], &vec![9; length]].concat());
    let run = |minor: u16, negotiation: &[u8], length: usize| {
        let (mut login, _) = start(None, PRIVATE, minor);
        let script =
            [negotiation.to_vec(), authentication(0, b""), key(length), server(b'Z', b"I")];
        feed(&mut login, &script.concat()).map(|(progress, _)| progress)
    };
    let whole = server(b'v', &[0, 3, 0, 0, 0, 0, 0, 0]);
    let minor_only = server(b'v', &[0, 0, 0, 0, 0, 0, 0, 0]);
    for length in [4, 32, 256] {
        assert_eq!(run(2, b"", length).unwrap(), Progress::Ready);
    }
    assert_eq!(run(2, &whole, 4).unwrap(), Progress::Ready);
    assert_eq!(run(2, &minor_only, 4).unwrap(), Progress::Ready);
    for (minor, negotiation, length) in [
        (2, &whole[..], 32),
        (2, b"", 257),
        (2, b"", 3),
        (0, b"", 32),
        (0, b"", 0),
        (0, &whole, 4),
        (2, &server(b'v', &[0, 3, 0, 1, 0, 0, 0, 0]), 4),
        (2, &server(b'v', &[0, 3, 0, 2, 0, 0, 0, 0]), 4),
        (2, &server(b'v', &[0, 3, 0, 0, 0, 0, 0, 1, b'x', 0]), 4),
        (2, &[whole.clone(), whole.clone()].concat(), 4),
    ] {
        assert!(run(minor, negotiation, length).is_err(), "{minor} {negotiation:?} {length}");
    }
}

#[test]
fn the_order_of_messages_is_kept_to() {
    let ready = server(b'Z', b"I");
    for script in [
        ready.clone(),
        server(b'S', b"a\0b\0"),
        server(b'K', b"\0\0\0\x07\x01\x02\x03\x04"),
        [authentication(0, b""), authentication(0, b"")].concat(),
        [authentication(0, b""), ready].concat(),
        authentication(11, b"r=x,s=,i=1"),
        authentication(12, b"v="),
        authentication(0, b"x"),
        server(b'D', b""),
    ] {
        let (mut login, _) = start(None, PRIVATE, 0);
        assert!(feed(&mut login, &script).is_err(), "{script:?}");
    }
}

#[test]
fn a_login_without_end_is_ended() {
    let (mut login, _) = start(None, PRIVATE, 0);
    let notice = server(b'N', &[0; 60_000]);
    let error = (0..100).find_map(|_| feed(&mut login, &notice).err());
    let too_long = Violation::TooLong { max: LOGIN_BYTES_MAX };
    assert!(matches!(error, Some(UpstreamError::Violation(v)) if v == too_long));
}

proptest! {
    #[test]
    fn no_bytes_make_the_machine_panic(bytes: Vec<u8>, minor in 0_u16..3) {
        let password = Secret::new("hunter2");
        let (mut login, _) = start(Some(&password), tls(Some(b"hash")), minor);
        let _ = feed(&mut login, &bytes);
    }

    #[test]
    fn no_messages_make_the_machine_panic(
        messages in proptest::collection::vec((
            proptest::sample::select(&b"RRRRSKZENvD"[..]),
            proptest::sample::select(&[0, 3, 5, 10, 11, 12][..]),
            proptest::collection::vec(any::<u8>(), 0..40),
        ), 0..8),
    ) {
        let password = Secret::new("hunter2");
        let (mut login, _) = start(Some(&password), tls(Some(b"hash")), 2);
        for (tag, method, rest) in messages {
            let message = match tag {
                b'R' if method == 10 => authentication(10, &[b"SCRAM-SHA-256\0\0", &rest[..]].concat()),
                b'R' => authentication(method, &rest),
                tag => server(tag, &rest),
            };
            if feed(&mut login, &message).is_err() {
                break;
            }
        }
    }

    #[test]
    fn however_the_bytes_are_cut_the_result_is_the_same(
        cuts in proptest::collection::vec(1_usize..30, 1..40), tail: Vec<u8>,
    ) {
        let password = Secret::new("hunter2");
        let script = [authentication(3, b""), ending(), tail.clone()].concat();
        let (mut login, _) = start(Some(&password), PRIVATE, 0);
        let (mut input, mut out) = (BytesMut::new(), Vec::new());
        let mut rest = &script[..];
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            rest = left;
            input.extend_from_slice(piece);
            if login.receive(&mut input, &mut out).unwrap() == Progress::Ready {
                break;
            }
        }
        input.extend_from_slice(rest);
        prop_assert_eq!(&input[..], &tail[..]);
        let (mut whole, _) = start(Some(&password), PRIVATE, 0);
        let (_, expected) = feed(&mut whole, &script).unwrap();
        prop_assert_eq!(out, expected);
        prop_assert!(login.finish() == whole.finish());
    }
}
