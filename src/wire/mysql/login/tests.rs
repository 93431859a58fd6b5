use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::identity::token::{Token, TokenVerifier};
use crate::secret::Secret;
use crate::wire::mysql::auth::{CACHING_SHA2, NATIVE, caching_sha2, native};
use crate::wire::mysql::handshake::{LoginRequest, ssl_request};
use crate::wire::mysql::packet::{HEADER_BYTES, header, payload, write};
use crate::wire::mysql::response::Failure;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const RANDOM: Nonce = [0x35; 20];
const HOUR: Duration = Duration::from_hours(1);

fn token(n: u8) -> Token {
    Token::generate(&[n; 20])
}

fn password(n: u8) -> Secret {
    Secret::new(token(n).expose())
}

/// Alice's tokens: 1 and 2 live, 3 expired, 4 revoked.
static TOKENS: LazyLock<TokenSnapshot> = LazyLock::new(|| {
    let alice = PrincipalName::new("alice").unwrap();
    let key = Secret::new("key");
    let issue = |n: u8, lifetime: Duration| {
        let id = TokenId(format!("t_{n}").into());
        let issuer = "local:root";
        TokenVerifier::issue(&token(n), id, alice.clone(), issuer, NOW, NOW + lifetime, &key)
    };
    let mut revoked = issue(4, HOUR);
    revoked.revoked = Some(NOW);
    let all = [issue(1, HOUR), issue(2, HOUR), issue(3, Duration::ZERO), revoked];
    let by_principal = HashMap::from([(alice, all.into_iter().map(Arc::new).collect())]);
    TokenSnapshot { store_key: key, by_principal }
});

fn config(channel: Channel) -> LoginConfig {
    let tls = if channel == Channel::Unix { TlsPolicy::None } else { TlsPolicy::Offered };
    LoginConfig { tls, channel, native_allowed: false, limits: Limits::default() }
}

fn mirror() -> Mirror {
    let capabilities = Capabilities::new(0xffff_ffff, 0x1f);
    Mirror { version: "9.7.4".into(), capabilities, collation: 255 }
}

struct Client {
    login: Login,
    greeting: Greeting,
    out: Vec<u8>,
    sequence: u8,
}

/// What every client can do.
fn ordinary() -> Capabilities {
    Capabilities::NEEDED
        | Capabilities::PLUGIN_AUTH
        | Capabilities::PLUGIN_AUTH_LENENC
        | Capabilities::CONNECT_WITH_DB
        | Capabilities::CONNECT_ATTRS
        | Capabilities::DEPRECATE_EOF
        | Capabilities::MYSQL
}

impl Client {
    fn new(config: LoginConfig) -> Self {
        let mut out = Vec::new();
        let login = Login::start(config, &mirror(), 7, &RANDOM, &mut out);
        let greeting = Greeting::read(&payload(&out)).unwrap();
        Self { login, greeting, out: Vec::new(), sequence: 1 }
    }

    fn nonce(&self) -> &Nonce {
        &self.greeting.nonce
    }

    /// Hands bytes over, and all that was answered with the step.
    fn send(&mut self, bytes: &[u8]) -> Step {
        let env = LoginEnv { tokens: &TOKENS, now: NOW };
        let mut input = BytesMut::from(bytes);
        self.out.clear();
        let step = self.login.advance(&mut input, &mut self.out, &env);
        let mut rest = &self.out[..];
        while let Some(header) = header(rest) {
            assert_eq!(header.sequence, self.sequence, "answers are numbered on");
            self.sequence += 1;
            rest = &rest[header.total()..];
        }
        step
    }

    fn packet(&mut self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &mut self.sequence, |out| out.extend_from_slice(body));
        out
    }

    fn request(&mut self, user: &str, plugin: &str, proof: &[u8]) -> Vec<u8> {
        let request = LoginRequest {
            capabilities: ordinary(),
            packet_max: 1 << 24,
            collation: 255,
            user,
            proof,
            schema: Some("shop"),
            plugin: Some(plugin),
            attributes: vec![("_client_name", "libmysql"), ("program_name", "mysql")],
        };
        let mut out = Vec::new();
        request.write(&mut out, &mut self.sequence);
        out
    }

    fn log_in(&mut self, user: &str, plugin: &str, proof: &[u8]) -> Step {
        let request = self.request(user, plugin, proof);
        self.send(&request)
    }

    fn start_tls(&mut self) {
        let mut out = Vec::new();
        ssl_request(&mut out, &mut self.sequence, ordinary(), 1 << 24, 255);
        assert!(matches!(self.send(&out), Step::StartTls));
        assert!(self.out.is_empty(), "the client does not wait for an answer");
        self.login.tls_established(b"").unwrap();
    }

    fn answered(&self) -> Vec<u8> {
        payload(&self.out).into_owned()
    }

    #[track_caller]
    fn failure(&self) -> (u16, String) {
        let answered = self.answered();
        let failure = Failure::read(&answered).unwrap();
        (failure.code, failure.sentence())
    }
}

fn unix() -> Client {
    Client::new(config(Channel::Unix))
}

fn loopback() -> Client {
    Client::new(config(Channel::Loopback))
}

#[track_caller]
fn logged_in(step: Step) -> LoggedIn {
    match step {
        Step::LoggedIn(logged_in) => *logged_in,
        other => panic!("expected a login: {other:?}"),
    }
}

#[track_caller]
fn refused(step: Step) -> Refused {
    match step {
        Step::Refused(refused) => *refused,
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[test]
fn the_greeting_is_the_servers_less_what_cannot_be_passed_on() {
    let greeting = loopback().greeting;
    assert_eq!((greeting.version.as_str(), greeting.connection), ("9.7.4", 7));
    assert_eq!(greeting.plugin, CACHING_SHA2);
    let can = greeting.capabilities;
    assert!(can.has(Capabilities::SSL | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK));
    for refused in [Capabilities::COMPRESS, Capabilities::ZSTD, Capabilities::REMEMBER_OPTIONS] {
        assert!(!can.has(refused));
    }
    assert!(!unix().greeting.capabilities.has(Capabilities::SSL));
}

#[test]
fn each_live_token_logs_in_at_once() {
    for n in [1, 2] {
        let mut client = loopback();
        let proof = caching_sha2(&password(n), client.nonce());
        let found = logged_in(client.log_in("alice", CACHING_SHA2, &proof));
        assert_eq!(client.answered(), [1, 3]);
        assert_eq!((&*found.token.0, found.sequence), (&*format!("t_{n}"), 3));
        assert_eq!(found.schema.as_deref(), Some("shop"));
        assert_eq!(found.application_name.as_deref(), Some("mysql"));
        assert!(found.capabilities.has(Capabilities::DEPRECATE_EOF));
    }
}

#[test]
fn another_plugin_is_asked_to_prove_anew() {
    let mut client = loopback();
    let proof = native(&password(1), client.nonce());
    assert!(matches!(client.log_in("alice", NATIVE, &proof), Step::Read));
    let asked = [b"\xfe", CACHING_SHA2.as_bytes(), b"\0", client.nonce(), b"\0"].concat();
    assert_eq!(client.answered(), asked);
    let proof = caching_sha2(&password(1), client.nonce());
    let packet = client.packet(&proof);
    assert_eq!(logged_in(client.send(&packet)).sequence, 5);
}

#[test]
fn native_passwords_are_taken_where_the_listener_says_so() {
    let mut client = Client::new(LoginConfig { native_allowed: true, ..config(Channel::Loopback) });
    let proof = native(&password(2), client.nonce());
    let found = logged_in(client.log_in("alice", NATIVE, &proof));
    assert_eq!((found.plugin, found.sequence), (Plugin::Native, 2));
    assert!(client.out.is_empty());
}

#[test]
fn a_proof_of_nothing_known_is_refused_alike() {
    let refusal = |user: &str, proof: Option<Secret>| {
        let mut client = loopback();
        let proof = proof.map_or(vec![], |secret| caching_sha2(&secret, client.nonce()).to_vec());
        let refused = refused(client.log_in(user, CACHING_SHA2, &proof));
        assert_eq!((refused.code, refused.sqlstate), (1045, "28000"));
        assert_eq!(refused.principal.as_deref(), Some(user));
        client.failure().1.replace(user, "X")
    };
    let wrong = refusal("alice", Some(Secret::new("hunter2")));
    assert!(wrong.starts_with("Access denied for user 'X' (using password: YES)"), "{wrong}");
    assert_eq!(wrong, refusal("bob", Some(password(1))));
    assert!(refusal("alice", None).contains("using password: NO"));
}

#[test]
fn only_who_had_a_token_hears_that_it_has_ended() {
    for (n, why) in [(3, "expired at"), (4, "was revoked at")] {
        for (plugin, native_allowed) in [(CACHING_SHA2, false), (NATIVE, true)] {
            let mut client =
                Client::new(LoginConfig { native_allowed, ..config(Channel::Loopback) });
            let proof = if native_allowed {
                native(&password(n), client.nonce()).to_vec()
            } else {
                caching_sha2(&password(n), client.nonce()).to_vec()
            };
            let refused = refused(client.log_in("alice", plugin, &proof));
            assert_eq!(refused.token.map(|id| id.to_string()), Some(format!("t_{n}")));
            let (code, sentence) = client.failure();
            assert_eq!(code, 1045);
            assert!(sentence.contains(&format!("token t_{n} {why}")), "{sentence}");
        }
    }
}

#[test]
fn the_token_itself_is_asked_for_where_nobody_listens() {
    let clear = |mut client: Client, secret: &[u8]| {
        let proof = caching_sha2(&Secret::new("wrong"), client.nonce());
        assert!(matches!(client.log_in("alice", CACHING_SHA2, &proof), Step::Read));
        assert_eq!(client.answered(), [1, 4]);
        let packet = client.packet(secret);
        (client.send(&packet), client)
    };
    let tls = || {
        let mut client = Client::new(config(Channel::Network));
        client.start_tls();
        client
    };
    for client in [unix(), tls()] {
        let (step, _) = clear(client, &[token(1).expose(), b"\0"].concat());
        assert_eq!(&*logged_in(step).token.0, "t_1");
    }
    let (step, client) = clear(tls(), &[token(3).expose(), b"\0"].concat());
    assert!(client.failure().1.contains("expired"), "{step:?}");
    let mut mistyped = token(1).expose().to_vec();
    mistyped[10] ^= 1;
    let (step, client) = clear(tls(), &[&mistyped[..], b"\0"].concat());
    refused(step);
    assert!(
        client.failure().1.contains("checksum") || client.failure().1.contains("46 characters")
    );
    // No key is given, and a password has an end.
    for wrong in [&b"\x02"[..], b"", b"abc"] {
        let (step, _) = clear(tls(), wrong);
        assert_eq!(refused(step).code, 1043);
    }
}

#[test]
fn nobody_logs_in_over_a_network_in_clear() {
    let mut client = Client::new(config(Channel::Network));
    let proof = caching_sha2(&password(1), client.nonce());
    let refused = refused(client.log_in("alice", CACHING_SHA2, &proof));
    assert_eq!((refused.code, client.failure().0), (3159, 3159));
}

#[test]
fn nothing_is_carried_across_tls() {
    let mut client = Client::new(config(Channel::Network));
    assert_eq!(client.login.read_max(b""), HEADER_BYTES);
    let mut wish = Vec::new();
    ssl_request(&mut wish, &mut client.sequence, ordinary(), 1 << 24, 255);
    assert_eq!(client.login.read_max(&wish[..4]), 32);
    assert_eq!(client.login.read_max(&wish), 0, "what follows is the TLS engine's");
    let early = [&wish[..], b"\x16\x03\x01"].concat();
    assert!(refused(client.send(&early)).reason.contains("unencrypted"));

    let mut client = Client::new(config(Channel::Network));
    client.sequence += 1;
    assert!(matches!(client.send(&wish), Step::StartTls));
    assert!(client.login.tls_established(b"x").is_err());
    assert!(matches!(client.send(b""), Step::Closed));

    let mut client = Client::new(config(Channel::Network));
    client.start_tls();
    let mut again = Vec::new();
    ssl_request(&mut again, &mut client.sequence, ordinary(), 1 << 24, 255);
    assert_eq!(refused(client.send(&again)).code, 1043);
    assert!(loopback().login.tls_established(b"").is_err(), "nobody asked");
}

#[test]
fn a_token_in_the_wrong_field_is_told_and_not_kept() {
    let mut client = loopback();
    let text = String::from_utf8(token(1).expose().to_vec()).unwrap();
    let refused = refused(client.log_in(&text, CACHING_SHA2, &[0; 32]));
    assert!(!format!("{refused:?}").contains(&text));
    assert!(client.failure().1.contains("where a name should"));
}

#[test]
fn a_session_may_log_in_anew() {
    let mut client = loopback();
    let proof = caching_sha2(&password(1), client.nonce());
    let before = logged_in(client.log_in("alice", CACHING_SHA2, &proof));
    let wish = ChangeUser::read(b"alice\0\0other\0", before.capabilities).unwrap();
    let mut out = Vec::new();
    let random = [0x66; 20];
    let config = config(Channel::Loopback);
    let (login, step) = Login::again(config, false, &before, &wish, &random, 1, &mut out);
    assert!(step.is_none());
    assert!(payload(&out).ends_with(&[&random[..], b"\0"].concat()));
    let mut client = Client { login, sequence: 2, ..client };
    let old = client.packet(&proof);
    assert_eq!(refused(client.send(&old)).code, 1045, "the old proof is about another nonce");

    let config = self::config(Channel::Loopback);
    let (login, _) = Login::again(config, false, &before, &wish, &random, 1, &mut Vec::new());
    let mut client = Client { login, sequence: 2, ..client };
    let packet = client.packet(&caching_sha2(&password(2), &random));
    let found = logged_in(client.send(&packet));
    assert_eq!((found.schema.as_deref(), found.sequence), (Some("other"), 4));
    assert_eq!(found.attributes, before.attributes);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(cut in 0..120_usize, network: bool, damage in 0..120_usize, bit in 0..8_u8) {
        let run = |pieces: &dyn Fn(&[u8]) -> Vec<Vec<u8>>| {
            let channel = if network { Channel::Network } else { Channel::Loopback };
            let mut client = Client::new(config(channel));
            let proof = caching_sha2(&password(1), client.nonce());
            let mut bytes = client.request("alice", CACHING_SHA2, &proof);
            if let Some(byte) = bytes.get_mut(damage) {
                *byte ^= 1 << bit;
            }
            let mut input = BytesMut::new();
            let env = LoginEnv { tokens: &TOKENS, now: NOW };
            let mut end = String::new();
            for piece in pieces(&bytes) {
                input.extend_from_slice(&piece);
                let step = client.login.advance(&mut input, &mut client.out, &env);
                if end.is_empty() && !matches!(step, Step::Read) {
                    end = format!("{step:?}");
                }
            }
            (end, client.out)
        };
        let whole = run(&|bytes| vec![bytes.to_vec()]);
        let cut = run(&|bytes| {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            vec![a.to_vec(), b.to_vec()]
        });
        // A wish for TLS with more behind it is refused when both are there, and is a wish before.
        if !cut.0.starts_with("StartTls") {
            prop_assert_eq!(whole, cut);
        }
    }
}
