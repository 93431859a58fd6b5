use proptest::prelude::*;

use super::*;
use crate::wire::mysql::capability::Status;
use crate::wire::mysql::handshake::Answer;
use crate::wire::mysql::packet::{header, payload};
use crate::wire::mysql::report::{Report, auth_more, auth_switch, okay};

const PASSWORD: &str = "correct horse";
const NONCE: &auth::Nonce = b"abcdefghijklmnopqrst";

fn greeting(plugin: &str, tls: bool) -> Vec<u8> {
    let mut capabilities = Capabilities::PASSED;
    if tls {
        capabilities = capabilities | Capabilities::SSL;
    }
    let greeting = Greeting {
        version: "9.7.4".into(),
        connection: 7,
        nonce: *NONCE,
        capabilities,
        collation: 255,
        status: Status::AUTOCOMMIT,
        plugin: plugin.into(),
    };
    let mut out = Vec::new();
    greeting.write(&mut out, &mut 0);
    out
}

struct Server {
    login: Login,
    sequence: u8,
}

impl Server {
    fn new(channel: Channel) -> Self {
        let password = Secret::new(PASSWORD);
        let account = Account { user: "app", schema: Some("shop"), password: Some(&password) };
        let login = Login::new(&account, channel, Startup::default(), [9; 20]);
        Self { login, sequence: 0 }
    }

    /// Says something, and returns what the login answers.
    fn say(&mut self, bytes: &[u8]) -> Result<(Progress, Vec<u8>), UpstreamError> {
        let (mut input, mut out) = (BytesMut::from(bytes), Vec::new());
        let progress = self.login.receive(&mut input, &mut out)?;
        Ok((progress, self.answered(&out)))
    }

    fn answered(&mut self, out: &[u8]) -> Vec<u8> {
        if let Some(header) = header(out) {
            self.sequence = header.sequence + 1;
        }
        payload(out).into_owned()
    }

    fn greet(&mut self, plugin: &str) -> (Progress, Vec<u8>) {
        let tls = self.login.channel == Channel::Tls;
        self.say(&greeting(plugin, tls)).unwrap()
    }

    fn switch(&mut self, plugin: &str, nonce: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        let mut bytes = Vec::new();
        auth_switch(&mut bytes, &mut self.sequence.clone(), plugin, nonce);
        Ok(self.say(&bytes)?.1)
    }

    fn more(&mut self, data: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        let mut bytes = Vec::new();
        auth_more(&mut bytes, &mut self.sequence.clone(), data);
        let answered = self.say(&bytes)?.1;
        if answered.is_empty() {
            self.sequence += 1;
        }
        Ok(answered)
    }

    fn accept(mut self) -> LoggedIn {
        let mut bytes = Vec::new();
        let capabilities = Capabilities::SESSION_TRACK;
        okay(&mut bytes, &mut self.sequence.clone(), 0, Status::AUTOCOMMIT, "", capabilities);
        assert_eq!(self.say(&bytes).unwrap().0, Progress::Ready);
        self.login.finish().unwrap()
    }
}

fn proof_of(request: &[u8]) -> (Vec<u8>, String) {
    match Answer::read(request).unwrap() {
        Answer::Login(request) => (request.proof.to_vec(), request.plugin.unwrap().to_owned()),
        Answer::Tls(_) => panic!("a wish for TLS"),
    }
}

fn password() -> Secret {
    Secret::new(PASSWORD)
}

#[test]
fn the_fast_way_takes_one_proof() {
    for channel in [Channel::Unix, Channel::Loopback, Channel::Network] {
        let mut server = Server::new(channel);
        let (_, request) = server.greet(CACHING_SHA2);
        let (proof, plugin) = proof_of(&request);
        assert_eq!(
            (proof, plugin.as_str()),
            (auth::caching_sha2(&password(), NONCE).into(), CACHING_SHA2)
        );
        assert!(server.more(&[3]).unwrap().is_empty());
        let logged_in = server.accept();
        assert!(logged_in.capabilities.has(Capabilities::CONNECT_WITH_DB));
        assert!(!logged_in.capabilities.has(Capabilities::LOCAL_FILES), "not asked for");
    }
}

#[test]
fn the_password_itself_is_sent_where_nobody_listens() {
    let mut server = Server::new(Channel::Unix);
    server.greet(CACHING_SHA2);
    assert_eq!(server.more(&[4]).unwrap(), [PASSWORD.as_bytes(), b"\0"].concat());

    let mut server = Server::new(Channel::Tls);
    let (progress, wish) = server.greet(CACHING_SHA2);
    assert_eq!(progress, Progress::StartTls);
    assert!(matches!(Answer::read(&wish), Ok(Answer::Tls(_))));
    let mut out = Vec::new();
    server.login.tls_established(&mut out).unwrap();
    assert_eq!(proof_of(&server.answered(&out)).1, CACHING_SHA2);
    assert_eq!(server.more(&[4]).unwrap(), [PASSWORD.as_bytes(), b"\0"].concat());
    server.accept();
}

#[test]
fn on_this_machine_it_is_encrypted_with_the_servers_key_and_over_a_network_refused() {
    let mut server = Server::new(Channel::Loopback);
    server.greet(CACHING_SHA2);
    assert_eq!(server.more(&[4]).unwrap(), [2], "the key is asked for");
    assert!(matches!(
        server.more(b"no key").unwrap_err(),
        UpstreamError::Login(LoginError::PublicKey(_))
    ));

    let mut server = Server::new(Channel::Network);
    server.greet(CACHING_SHA2);
    let error = server.more(&[4]).unwrap_err();
    assert!(matches!(error, UpstreamError::Login(LoginError::ExposedPlugin(CACHING_SHA2))));
}

#[test]
fn other_plugins_prove_it_their_way() {
    let mut server = Server::new(Channel::Loopback);
    let (proof, plugin) = proof_of(&server.greet(NATIVE).1);
    assert_eq!((proof, plugin.as_str()), (auth::native(&password(), NONCE).into(), NATIVE));
    let other = b"tsrqponmlkjihgfedcba";
    assert_eq!(server.switch(CACHING_SHA2, other).unwrap(), auth::caching_sha2(&password(), other));
    assert_eq!(server.switch(NATIVE, other).unwrap(), auth::native(&password(), other));
    assert_eq!(server.switch(ED25519, &[5; 32]).unwrap().len(), 64);
    server.accept();

    let mut server = Server::new(Channel::Unix);
    server.greet(CACHING_SHA2);
    let clear = [PASSWORD.as_bytes(), b"\0"].concat();
    assert_eq!(server.switch(CLEAR, b"").unwrap(), clear);
    assert_eq!(server.switch(SHA256, NONCE).unwrap(), clear);
}

#[test]
fn no_server_talks_us_into_showing_the_password() {
    for channel in [Channel::Loopback, Channel::Network] {
        let mut server = Server::new(channel);
        server.greet(CACHING_SHA2);
        let error = server.switch(CLEAR, b"").unwrap_err();
        assert!(matches!(error, UpstreamError::Login(LoginError::ExposedPlugin(CLEAR))));
    }
    for plugin in [NATIVE, SHA256] {
        let mut server = Server::new(Channel::Network);
        assert_eq!(proof_of(&server.greet(plugin).1).1, CACHING_SHA2);
        assert!(server.switch(plugin, NONCE).is_err());
    }
    for plugin in ["dialog", "mysql_old_password"] {
        let mut server = Server::new(Channel::Unix);
        server.greet(CACHING_SHA2);
        let error = server.switch(plugin, b"x").unwrap_err();
        assert!(matches!(error, UpstreamError::Login(LoginError::Plugin(_))), "{error}");
    }
}

#[test]
fn nothing_in_clear_is_taken_for_said_inside_tls() {
    let mut server = Server::new(Channel::Tls);
    assert!(matches!(server.say(&greeting(CACHING_SHA2, false)), Err(UpstreamError::TlsRefused)));
    let mut server = Server::new(Channel::Tls);
    let early = [&greeting(CACHING_SHA2, true)[..], b"\x07\0\0\x02\0\0\0\x02\0\0\0"].concat();
    assert!(matches!(server.say(&early), Err(UpstreamError::MysqlViolation(_))));
    assert!(server.login.tls_established(&mut Vec::new()).is_err());
}

#[test]
fn a_refusal_tells_its_reason() {
    let mut bytes = Vec::new();
    Report::new(1040, "08004", "Too many connections").write(&mut bytes, &mut 0);
    match Server::new(Channel::Unix).say(&bytes) {
        Err(UpstreamError::MysqlRefused { code: 1040, message, .. }) => {
            assert_eq!(&*message, "Too many connections");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_without_what_is_needed_is_refused() {
    let startup = Startup { needed: Capabilities::COMPRESS, ..Startup::default() };
    let account = Account { user: "app", schema: None, password: None };
    let login = Login::new(&account, Channel::Unix, startup, [0; 20]);
    let mut server = Server { login, sequence: 0 };
    let error = server.say(&greeting(CACHING_SHA2, false)).unwrap_err();
    assert!(matches!(error, UpstreamError::Login(LoginError::Capability(_))));
}

#[test]
fn mariadbs_signature_is_that_of_ed25519_with_a_password_for_its_seed() {
    // With 32 bytes it is RFC 8032's own: the first test of 7.1, its key the password, its message empty.
    let seed = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];
    let signature = ed25519(&Secret::new(seed), b"");
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
         5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    );
}

proptest! {
    #[test]
    fn no_server_makes_a_login_panic(bodies: Vec<Vec<u8>>, channel in 0..4_usize) {
        let channel = [Channel::Tls, Channel::Unix, Channel::Loopback, Channel::Network][channel];
        let mut server = Server::new(channel);
        let mut bytes = greeting(CACHING_SHA2, true);
        let mut sequence = 2;
        for body in &bodies {
            write(&mut bytes, &mut sequence, |out| out.extend_from_slice(body));
            sequence = sequence.wrapping_add(1);
        }
        let (mut input, mut out) = (BytesMut::from(&bytes[..]), Vec::new());
        let _ = server.login.receive(&mut input, &mut out);
        let shown = out.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        prop_assert!(channel == Channel::Unix || !shown, "the password crosses the wire in clear");
    }
}
