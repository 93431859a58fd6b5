//! A scripted client, and the logins that succeed.

/// Bytes in pieces, wrong bytes.
mod bytes;
/// What is turned away.
mod refusals;
/// What comes before the start-up message.
mod requests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

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

/// Alice's: 1 and 2 are live, 3 has expired, 4 is revoked. Made once: each costs thousands of hashes.
static TOKENS: LazyLock<TokenSnapshot> = LazyLock::new(snapshot);

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
    input: BytesMut,
    out: Vec<u8>,
}

impl Peer {
    fn new(config: LoginConfig) -> Self {
        let login = Login::new(config);
        Self { login, input: BytesMut::new(), out: Vec::new() }
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
        let env = LoginEnv { tokens: &TOKENS, now: NOW, random: &RANDOM };
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
