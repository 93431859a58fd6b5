use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::identity::scram::tests::client_proof;
use crate::identity::token::{Token, TokenVerifier};
use crate::secret::Secret;
use crate::wire::postgres::frame::{HEADER_BYTES, Reader, frame, header};
use crate::wire::postgres::message::error_field;
use crate::wire::postgres::startup::tests::{packet, startup_packet};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const RANDOM: [u8; scram::NONCE_BYTES] = *b"eighteen bytes are";
const V3_0: u32 = 0x0003_0000;
const V3_2: u32 = 0x0003_0002;
const HOUR: Duration = Duration::from_hours(1);

fn token(n: u8) -> Token {
    Token::generate(&[n; 20])
}

/// Alice's: 1 and 2 are live, 3 has expired, 4 is revoked.
fn snapshot() -> TokenSnapshot {
    let (key, alice) = (Secret::new("store key"), PrincipalName::new("alice").unwrap());
    let verifier = |n: u8, lifetime: Duration, revoked: Option<Timestamp>| {
        let id = TokenId(format!("t_{n}").into());
        let expires = NOW + lifetime;
        let issued = Timestamp::from_micros(0);
        let mut verifier =
            TokenVerifier::issue(&token(n), id, alice.clone(), "local:root", issued, expires, &key);
        verifier.revoked = revoked;
        Arc::new(verifier)
    };
    let verifiers = vec![
        verifier(1, HOUR, None),
        verifier(2, HOUR, None),
        verifier(3, Duration::ZERO, None),
        verifier(4, HOUR, Some(NOW)),
    ];
    TokenSnapshot { store_key: key, by_principal: HashMap::from([(alice.clone(), verifiers)]) }
}

fn config(tls: TlsPolicy, plaintext_allowed: bool) -> LoginConfig {
    LoginConfig { tls, plaintext_allowed, limits: Limits::default() }
}

fn in_clear() -> LoginConfig {
    config(TlsPolicy::None, true)
}

/// A login under test: what was sent to it, what it wrote.
struct Peer {
    login: Login,
    tokens: TokenSnapshot,
    input: BytesMut,
    out: Vec<u8>,
}

impl Peer {
    fn new(config: LoginConfig) -> Self {
        let login = Login::new(config);
        Self { login, tokens: snapshot(), input: BytesMut::new(), out: Vec::new() }
    }

    /// One whose TLS handshake is done.
    fn within_tls(channel_binding: Option<&[u8]>) -> Self {
        let mut peer = Self::new(config(TlsPolicy::Offered, false));
        let channel_binding = channel_binding.map(<[u8]>::to_vec);
        peer.login.tls_established(TlsInfo { direct: true, channel_binding }, b"").unwrap();
        peer
    }

    fn send(&mut self, bytes: &[u8]) -> Step {
        self.input.extend_from_slice(bytes);
        let env = LoginEnv { tokens: &self.tokens, now: NOW, random: &RANDOM };
        self.login.advance(&mut self.input, &mut self.out, &env)
    }

    fn refused(&mut self, bytes: &[u8]) -> Refused {
        match self.send(bytes) {
            Step::Refused(refused) => *refused,
            other => panic!("{other:?} on {bytes:?}"),
        }
    }

    /// What the client was told: code, sentence, hint.
    fn error(&self) -> (String, String, String) {
        let (_, body) = self.messages().into_iter().rev().find(|(tag, _)| *tag == 'E').unwrap();
        assert_eq!(error_field(&body, b'S'), Some("FATAL"));
        let field = |code| error_field(&body, code).unwrap_or_default().to_owned();
        (field(b'C'), field(b'M'), field(b'H'))
    }

    fn messages(&self) -> Vec<(char, Vec<u8>)> {
        messages(&self.out)
    }

    /// What the last Authentication message carries.
    fn challenge(&self, kind: u32) -> String {
        let (tag, body) = self.messages().pop().unwrap();
        assert_eq!(tag, 'R');
        let data = body.strip_prefix(&kind.to_be_bytes()).unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }
}

fn messages(mut out: &[u8]) -> Vec<(char, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some(header) = header(out).unwrap() {
        messages.push((char::from(header.tag), out[HEADER_BYTES..header.total].to_vec()));
        out = &out[header.total..];
    }
    assert!(out.is_empty());
    messages
}

fn hello(user: &str) -> Vec<u8> {
    startup_packet(V3_0, &[("user", user), ("database", "shop")])
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, b'p', |out| out.extend_from_slice(body));
    out
}

fn initial(mechanism: &str, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    answer(&[mechanism.as_bytes(), b"\0", &length, text.as_bytes()].concat())
}

fn first() -> Vec<u8> {
    initial("SCRAM-SHA-256", "n,,n=,r=client")
}

/// client-final to that challenge; `binding` is what `c=` holds, before base64.
fn proof(token: &Token, bare: &str, challenge: &str, binding: &[u8]) -> Vec<u8> {
    let mut attributes = challenge.split(',').map(|attribute| &attribute[2..]);
    let (nonce, salt, iterations) = (
        attributes.next().unwrap(),
        STANDARD.decode(attributes.next().unwrap()).unwrap(),
        attributes.next().unwrap().parse().unwrap(),
    );
    let without_proof = format!("c={},r={nonce}", STANDARD.encode(binding));
    let said = format!("{bare},{challenge},{without_proof}");
    let proof = client_proof(token.expose(), &salt, iterations, said.as_bytes());
    answer(format!("{without_proof},p={}", STANDARD.encode(proof)).as_bytes())
}

/// Everything up to the proof, which is returned.
fn up_to_proof(peer: &mut Peer, user: &str, token: &Token) -> Vec<u8> {
    assert!(matches!(peer.send(&hello(user)), Step::Read));
    assert!(matches!(peer.send(&first()), Step::Read));
    proof(token, "n=,r=client", &peer.challenge(11), b"n,,")
}

fn log_in(peer: &mut Peer, user: &str, token: &Token) -> Step {
    let proof = up_to_proof(peer, user, token);
    peer.send(&proof)
}

#[test]
fn every_live_token_logs_in() {
    for n in [1, 2] {
        let mut peer = Peer::new(in_clear());
        let Step::LoggedIn(logged_in) = log_in(&mut peer, "alice", &token(n)) else {
            panic!("refused: {:?}", peer.error())
        };
        assert_eq!(logged_in.token.to_string(), format!("t_{n}"));
        assert_eq!(logged_in.token_expires, NOW + HOUR);
        assert_eq!((logged_in.principal.as_str(), &*logged_in.database), ("alice", "shop"));
        assert!(!logged_in.channel_bound);
        let tags: String = peer.messages().iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags, "RRR");
        assert!(peer.challenge(12).starts_with("v="));
        assert!(matches!(peer.send(b""), Step::Closed));
    }
}

#[test]
fn the_session_is_given_what_the_client_wants() {
    let mut peer = Peer::new(in_clear());
    let hello = startup_packet(
        V3_2,
        &[("user", "alice"), ("application_name", "a"), ("timezone", "UTC"), ("_pq_.x", "1")],
    );
    peer.send(&hello);
    let (tag, body) = peer.messages().remove(0);
    assert_eq!((tag, &*body), ('v', &b"\0\x03\0\x02\0\0\0\x01_pq_.x\0"[..]));
    peer.send(&first());
    let proof = proof(&token(1), "n=,r=client", &peer.challenge(11), b"n,,");
    let Step::LoggedIn(logged_in) = peer.send(&[&proof, &b"Q"[..]].concat()) else {
        panic!("refused")
    };
    assert_eq!((logged_in.minor, &*logged_in.database), (2, "alice"));
    assert_eq!(logged_in.application_name.as_deref(), Some("a"));
    let parameters = [("application_name", "a"), ("TimeZone", "UTC")];
    assert_eq!(logged_in.parameters, parameters.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(&peer.input[..], b"Q");
}

#[test]
fn other_minor_versions_are_negotiated() {
    for (asked, told) in [
        (V3_0, None),
        (V3_2, None),
        (0x0003_0001, Some(V3_0)),
        (0x0003_0003, Some(V3_2)),
        (0x0003_270f, Some(V3_2)),
    ] {
        let mut peer = Peer::new(in_clear());
        peer.send(&startup_packet(asked, &[("user", "alice")]));
        let negotiated = peer.messages().into_iter().find(|(tag, _)| *tag == 'v');
        let expected = told.map(|version: u32| [&version.to_be_bytes()[..], &[0; 4]].concat());
        assert_eq!(negotiated.map(|(_, body)| body), expected, "{asked:x}");
    }
}

#[test]
fn mechanisms_are_offered_by_what_the_connection_can_bind() {
    for (mut peer, offer) in [
        (Peer::new(in_clear()), "SCRAM-SHA-256\0\0"),
        (Peer::within_tls(None), "SCRAM-SHA-256\0\0"),
        (Peer::within_tls(Some(b"HASH")), "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
    ] {
        peer.send(&hello("alice"));
        assert_eq!(peer.challenge(10), offer);
    }
}

#[test]
fn a_bound_proof_logs_in_and_one_bound_elsewhere_does_not() {
    let bare = "n=,r=client";
    for (hash, good) in [(&b"HASH"[..], true), (b"OTHER", false)] {
        let mut peer = Peer::within_tls(Some(b"HASH"));
        peer.send(&hello("alice"));
        peer.send(&initial("SCRAM-SHA-256-PLUS", &format!("p=tls-server-end-point,,{bare}")));
        let binding = [b"p=tls-server-end-point,,", hash].concat();
        let proof = proof(&token(1), bare, &peer.challenge(11), &binding);
        match peer.send(&proof) {
            Step::LoggedIn(logged_in) => assert!(good && logged_in.channel_bound),
            Step::Refused(refused) => {
                assert!(!good);
                assert_eq!(refused.sqlstate, "28000");
                assert_eq!(peer.error().1, "SCRAM channel binding check failed");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_a_proof_of_it_learns_that_a_token_has_ended() {
    for (n, code, sentence, ended) in [
        (3, "28P01", "token t_3 expired at 2023-11-14T22:13:20.000000Z", true),
        (4, "28P01", "token t_4 was revoked at 2023-11-14T22:13:20.000000Z", true),
        (5, "28P01", "password authentication failed for user \"alice\"", false),
    ] {
        let mut peer = Peer::new(in_clear());
        let proof = up_to_proof(&mut peer, "alice", &token(n));
        let refused = peer.refused(&proof);
        let (sqlstate, message, hint) = peer.error();
        assert_eq!((&*sqlstate, &*message), (code, sentence));
        assert!(hint.ends_with("daypass token issue --user alice"), "{hint}");
        assert_eq!(refused.token.map(|id| id.to_string()), ended.then(|| format!("t_{n}")));
        assert_eq!(refused.principal.as_deref(), Some("alice"));
        assert_eq!(refused.database.as_deref(), Some("shop"));
    }
}

#[test]
fn the_hint_can_be_pasted_into_a_shell() {
    for (user, shown) in [("o'hara; id", r"'o'\''hara; id'"), ("-x", "'-x'"), ("a.b@c", "a.b@c")] {
        let mut peer = Peer::new(in_clear());
        log_in(&mut peer, user, &token(5));
        assert!(peer.error().2.ends_with(&format!("--user {shown}")), "{:?}", peer.error());
    }
}

#[test]
fn a_user_without_tokens_answers_as_one_with_some() {
    let [known, unknown, again] = ["alice", "mallory", "mallory"].map(|user| {
        let mut peer = Peer::new(in_clear());
        let proof = up_to_proof(&mut peer, user, &token(5));
        let challenge = peer.challenge(11);
        let refused = peer.refused(&proof);
        let (sqlstate, message, hint) = peer.error();
        (challenge, refused.sqlstate, sqlstate, (message + &hint).replace(user, "U"))
    });
    assert_ne!(known.0, unknown.0);
    assert_eq!(known.0.len(), unknown.0.len());
    assert_eq!((known.1, &known.2, &known.3), (unknown.1, &unknown.2, &unknown.3));
    assert_eq!(unknown, again);
}

#[test]
fn a_token_of_somebody_else_does_not_log_in() {
    let mut peer = Peer::new(in_clear());
    let proof = up_to_proof(&mut peer, "bob", &token(1));
    assert_eq!(peer.refused(&proof).sqlstate, "28P01");
}

#[test]
fn tls_and_gss_may_each_be_asked_for_once_in_any_order() {
    let (tls, gss) = (packet(80_877_103, b""), packet(80_877_104, b""));
    for order in [[&tls, &gss], [&gss, &tls]] {
        let mut peer = Peer::new(in_clear());
        for request in order {
            assert!(matches!(peer.send(request), Step::Read));
        }
        assert_eq!(std::mem::take(&mut peer.out), b"NN");
        assert!(matches!(log_in(&mut peer, "alice", &token(1)), Step::LoggedIn(_)));
    }
    for twice in [&tls, &gss] {
        let mut peer = Peer::new(in_clear());
        peer.send(twice);
        peer.out.clear();
        assert_eq!(peer.refused(twice).sqlstate, "08P01");
    }
    for inside in [&tls, &gss] {
        assert_eq!(Peer::within_tls(None).refused(inside).sqlstate, "08P01");
    }
}

#[test]
fn tls_that_was_asked_for_is_waited_for() {
    let mut peer = Peer::new(config(TlsPolicy::Offered, false));
    assert!(matches!(peer.send(&packet(80_877_104, b"")), Step::Read));
    assert!(matches!(peer.send(&packet(80_877_103, b"")), Step::StartTls));
    assert_eq!(std::mem::take(&mut peer.out), b"NS");
    assert!(matches!(peer.send(b""), Step::StartTls));
    let tls = TlsInfo { direct: false, channel_binding: None };
    peer.login.tls_established(tls, b"").unwrap();
    assert!(matches!(log_in(&mut peer, "alice", &token(1)), Step::LoggedIn(_)));
}

#[test]
fn nothing_said_in_clear_is_carried_into_tls() {
    for request in [80_877_103, 80_877_104] {
        for more in [&b"x"[..], &hello("alice")] {
            let mut peer = Peer::new(config(TlsPolicy::Offered, true));
            let refused = peer.refused(&[&packet(request, b""), more].concat());
            assert_eq!(refused.sqlstate, "08P01");
            assert!(peer.error().1.contains("unencrypted data"));
        }
    }
    for direct in [true, false] {
        let mut peer = Peer::new(config(TlsPolicy::Offered, true));
        if !direct {
            peer.send(&packet(80_877_103, b""));
        }
        let tls = TlsInfo { direct, channel_binding: None };
        let refused = peer.login.tls_established(tls, b"x").unwrap_err();
        assert!(refused.reason.contains("unencrypted data"), "{}", refused.reason);
        assert!(matches!(peer.send(&hello("alice")), Step::Closed));
    }
}

#[test]
fn a_handshake_that_is_not_due_ends_the_login() {
    let gss = packet(80_877_104, b"");
    let request = packet(80_877_103, b"");
    let none: &[u8] = b"";
    for (policy, before, direct) in [
        (TlsPolicy::None, none, true),
        (TlsPolicy::Offered, none, false),
        (TlsPolicy::Offered, &gss, true),
        (TlsPolicy::Offered, &request, true),
        (TlsPolicy::Offered, &hello("alice"), false),
    ] {
        let mut peer = Peer::new(config(policy, true));
        peer.send(before);
        let tls = TlsInfo { direct, channel_binding: None };
        assert!(peer.login.tls_established(tls, b"").is_err(), "{policy:?} {direct}");
    }
}

#[test]
fn a_cancel_is_passed_on_without_a_word() {
    for tls in [TlsPolicy::None, TlsPolicy::Offered] {
        let mut peer = Peer::new(config(tls, false));
        let Step::Cancel(key) = peer.send(&packet(80_877_102, b"\0\0\0\x07keys")) else {
            panic!("no cancel")
        };
        assert_eq!(&*key, b"\0\0\0\x07keys");
        assert!(peer.out.is_empty());
        assert!(matches!(peer.send(b""), Step::Closed));
    }
}

#[test]
fn start_up_is_refused_before_a_proof_is_asked_for() {
    let with = |version, more: &[(&str, &str)]| {
        startup_packet(version, &[&[("user", "alice"), ("database", "shop")], more].concat())
    };
    let (open, closed) = (in_clear(), config(TlsPolicy::Offered, false));
    for (config, bytes, sqlstate, sentence) in [
        (&closed, with(V3_0, &[]), "28000", "connection is insecure (try sslmode=require)"),
        (&closed, with(V3_0, &[("role", "x")]), "28000", "connection is insecure"),
        (&open, with(0x0002_0000, &[]), "0A000", "unsupported frontend protocol 2.0"),
        (&open, with(0x0004_0000, &[]), "0A000", "unsupported frontend protocol 4.0"),
        (&open, with(V3_0, &[("replication", "true")]), "0A000", "replication connections"),
        (&open, with(V3_0, &[("role", "x")]), "42501", "parameter \"role\" cannot be set"),
        (&open, with(V3_0, &[("options", "-c role=x")]), "42501", "parameter \"role\""),
        (&open, with(V3_0, &[("options", "-E")]), "42601", "parameter \"options\""),
        (&open, with(V3_0, &[("client_encoding", "SJIS")]), "22023", "\"SJIS\" is not supported"),
        (&open, with(V3_0, &[("user", "")]), "28000", "no user name"),
        (&open, with(V3_0, &[("user", "local:root")]), "28000", "invalid user name"),
        (&open, with(V3_0, &[("user", &"a".repeat(64))]), "28000", "invalid user name"),
        (&open, packet(V3_0, b"user\0alice\0"), "08P01", "invalid start-up packet layout"),
        (&open, packet(V3_0, b"user\0\xff\0\0"), "08P01", "not UTF-8"),
        (&open, b"\0\0\0\x07".to_vec(), "08P01", "invalid length of start-up packet"),
        (&open, b"GET / HTTP/1.1\r\n".to_vec(), "08P01", "invalid length of start-up packet"),
    ] {
        let mut peer = Peer::new(config.clone());
        let refused = peer.refused(&bytes);
        let (told, message, _) = peer.error();
        assert_eq!((refused.sqlstate, &*told), (sqlstate, sqlstate), "{message}");
        assert!(message.contains(sentence), "{message}");
        assert_eq!(refused.reason, message);
        assert!(peer.messages().iter().all(|(tag, _)| *tag == 'E'), "{message}");
        assert!(matches!(peer.send(&hello("alice")), Step::Closed));
    }
}

#[test]
fn a_tls_handshake_where_none_is_expected_gets_no_answer() {
    let mut peer = Peer::new(in_clear());
    let refused = peer.refused(b"\x16\x03\x01\x02\0");
    assert!(refused.reason.contains("TLS handshake"));
    assert!(peer.out.is_empty());
}

#[test]
fn what_is_no_sasl_initial_response_is_refused() {
    let scram = "SCRAM-SHA-256";
    for (bytes, sqlstate, sentence) in [
        (answer(b"daypass_s3cret\0"), "08P01", "malformed SASL response"),
        (answer(b""), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\xff\xff\xff\xff"), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x02n"), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x01nn"), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x01\xff"), "08P01", "malformed SASL response"),
        (initial("s3cret", "n,,n=,r=a"), "08P01", "SASL mechanism was not offered"),
        (initial("SCRAM-SHA-256-PLUS", "p="), "08P01", "SASL mechanism was not offered"),
        (initial(scram, "n,,n=,r="), "08P01", "malformed SCRAM message"),
        (initial(scram, "n,,m=x,n=,r=a"), "0A000", "mandatory SCRAM extension"),
        (initial(scram, "n,a=root,n=,r=a"), "0A000", "authorization identity"),
        (b"Q".to_vec(), "08P01", "type 'Q' is not expected"),
        (b"p\0\0\0\x03".to_vec(), "08P01", "length is less than 4"),
        (b"p\0\0\x08\0".to_vec(), "08P01", "longer than the limit of 2048 bytes"),
        (b"p\xff\xff\xff\xff".to_vec(), "08P01", "longer than the limit of 2048 bytes"),
    ] {
        let mut peer = Peer::new(in_clear());
        peer.send(&hello("alice"));
        let refused = peer.refused(&bytes);
        let (told, message, hint) = peer.error();
        assert_eq!((refused.sqlstate, &*told), (sqlstate, sqlstate), "{message}");
        assert!(message.contains(sentence), "{message}");
        assert!(!format!("{refused:?}{message}{hint}").contains("s3cret"));
        assert_eq!(refused.principal.as_deref(), Some("alice"));
    }
}

#[test]
fn a_client_that_was_offered_channel_binding_may_not_say_it_was_not() {
    let mut peer = Peer::within_tls(Some(b"HASH"));
    peer.send(&hello("alice"));
    assert_eq!(peer.refused(&initial("SCRAM-SHA-256", "y,,n=,r=a")).sqlstate, "28000");
    let mut peer = Peer::within_tls(None);
    peer.send(&hello("alice"));
    assert!(matches!(peer.send(&initial("SCRAM-SHA-256", "y,,n=,r=a")), Step::Read));
}

#[test]
fn what_is_no_proof_is_refused() {
    for (bytes, sqlstate) in [
        (answer(b"c=biws,r=client"), "08P01"),
        (answer(b"\xff"), "08P01"),
        (first(), "08P01"),
        (b"d".to_vec(), "08P01"),
        (b"p\0\0\x08\0".to_vec(), "08P01"),
    ] {
        let mut peer = Peer::new(in_clear());
        peer.send(&hello("alice"));
        peer.send(&first());
        assert_eq!(peer.refused(&bytes).sqlstate, sqlstate);
    }
    // A good proof, but with another's nonce.
    let mut peer = Peer::new(in_clear());
    let proof = up_to_proof(&mut peer, "alice", &token(1));
    let text = String::from_utf8(proof).unwrap().replace("r=client", "r=clienx");
    assert_eq!(peer.refused(text.as_bytes()).sqlstate, "08P01");
}

#[test]
fn a_client_that_says_goodbye_is_let_go() {
    // psql without a password leaves so, to ask for one and come back.
    for before in [hello("alice"), [hello("alice"), first()].concat()] {
        let mut peer = Peer::new(in_clear());
        peer.send(&before);
        assert!(matches!(peer.send(b"X\0\0\0\x04"), Step::Closed));
    }
}

#[test]
fn a_client_without_a_word_is_waited_for() {
    let mut peer = Peer::new(in_clear());
    assert!(matches!(peer.send(b""), Step::Read));
    assert!(peer.out.is_empty());
}

/// What a login came to, comparable.
fn outcome(step: &Step, out: &[u8]) -> (String, Vec<u8>) {
    (format!("{step:?}"), out.to_vec())
}

/// Sends `stream` in pieces that end at `cuts`.
fn in_pieces(stream: &[u8], cuts: &[usize]) -> (String, Vec<u8>) {
    let mut peer = Peer::new(in_clear());
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        match peer.send(&stream[start..end]) {
            Step::Read => start = end,
            step => return outcome(&step, &peer.out),
        }
    }
    outcome(&Step::Read, &peer.out)
}

/// A whole login as one stream. It can be one because the tests' server nonce is always the same.
fn stream(token: &Token) -> Vec<u8> {
    let mut peer = Peer::new(in_clear());
    let proof = up_to_proof(&mut peer, "alice", token);
    [hello("alice"), first(), proof].concat()
}

#[test]
fn it_does_not_matter_where_the_bytes_are_cut() {
    let stream = stream(&token(2));
    let whole = in_pieces(&stream, &[]);
    assert!(whole.0.starts_with("LoggedIn"), "{}", whole.0);
    let every: Vec<_> = (1..stream.len()).collect();
    assert_eq!(in_pieces(&stream, &every), whole);
    for cut in every {
        assert_eq!(in_pieces(&stream, &[cut]), whole, "{cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nor_when_they_are_wrong(
        mut cuts in prop::collection::vec(0_usize..300, 0..6),
        changed in prop::collection::vec((0_usize..300, any::<u8>()), 0..3),
    ) {
        let mut stream = stream(&token(2));
        for (at, byte) in changed {
            if let Some(place) = stream.get_mut(at) {
                *place = byte;
            }
        }
        cuts.retain(|&cut| cut < stream.len());
        cuts.sort_unstable();
        // An SSLRequest with more behind it is the one thing that depends on how bytes arrive.
        prop_assert_eq!(in_pieces(&stream, &cuts), in_pieces(&stream, &[]));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        begun in 0_usize..3,
        pieces in prop::collection::vec(any::<Vec<u8>>(), 0..4),
        tag in prop_oneof![Just(b'p'), any::<u8>()],
    ) {
        let mut peer = Peer::new(config(TlsPolicy::Offered, true));
        for bytes in [hello("alice"), first()].iter().take(begun) {
            peer.send(bytes);
        }
        let mut over = false;
        for piece in pieces {
            let mut framed = Vec::new();
            frame(&mut framed, tag, |out| out.extend_from_slice(&piece));
            for bytes in [framed, piece] {
                let step = peer.send(&bytes);
                prop_assert!(!over || matches!(step, Step::Closed));
                over |= !matches!(step, Step::Read | Step::StartTls);
            }
        }
        // Whatever was written is whole messages, but for the one byte that answers a request.
        let answers = peer.out.iter().take_while(|&&byte| byte == b'N' || byte == b'S').count();
        for (tag, body) in messages(&peer.out[answers..]) {
            prop_assert!("ERv".contains(tag));
            let _ = Reader::new(b'R', &body).i32();
        }
    }
}
