//! Login machine and TLS together, against a client that we did not write: tokio-postgres.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio_postgres::config::{ChannelBinding as Binding, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_postgres::{Config, NoTls};
use tokio_rustls::{TlsConnector, client};

use super::tests::{connector, files};
use super::*;
use crate::identity::token::{Token, TokenSnapshot, TokenVerifier};
use crate::identity::{PrincipalName, TokenId};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::wire::Limits;
use crate::wire::postgres::frame::frame;
use crate::wire::postgres::login::{Login, LoginConfig, LoginEnv, Step, TlsPolicy};
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn token(n: u8) -> String {
    String::from_utf8(Token::generate(&[n; 20]).expose().to_vec()).unwrap()
}

/// Alice has tokens 1 (live) and 2 (expired).
fn tokens() -> TokenSnapshot {
    let (key, alice) = (Secret::new("store key"), PrincipalName::new("alice").unwrap());
    let verifier = |n: u8, expires: Timestamp| {
        let token = Token::parse(&token(n)).unwrap();
        let id = TokenId(format!("t_{n}").into());
        let issued = Timestamp::from_micros(0);
        TokenVerifier::issue(&token, id, alice.clone(), "local:root", issued, expires, &key)
    };
    let verifiers =
        vec![verifier(1, NOW + Duration::from_hours(1)).into(), verifier(2, NOW).into()];
    TokenSnapshot { store_key: key, by_principal: HashMap::from([(alice, verifiers)]) }
}

/// A shell as small as can be: logs one client in and says that it is ready. A stream that `tls` is
/// given with and that does not begin with SSLRequest is for [`Opening::Direct`].
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tls: Option<&ServerTls>,
    direct: bool,
) -> io::Result<Step> {
    let policy = if tls.is_some() { TlsPolicy::Offered } else { TlsPolicy::None };
    let limits = Limits::default();
    let mut login =
        Login::new(LoginConfig { tls: policy, plaintext_allowed: tls.is_none(), limits });
    let mut input = BytesMut::new();
    let Some(tls) = tls else { return converse(&mut stream, &mut login, &mut input).await };
    let opening = if direct { Opening::Direct } else { Opening::Asked };
    if !direct {
        let step = converse(&mut stream, &mut login, &mut input).await?;
        if !matches!(step, Step::StartTls) {
            return Ok(step);
        }
    }
    let (mut stream, info) = tls.accept_postgres(stream, opening).await?;
    login.tls_established(info, &input).map_err(|refused| io::Error::other(refused.reason))?;
    converse(&mut stream, &mut login, &mut input).await
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    login: &mut Login,
    input: &mut BytesMut,
) -> io::Result<Step> {
    let tokens = tokens();
    let random = b"eighteen bytes are";
    loop {
        let mut out = Vec::new();
        let env = LoginEnv { tokens: &tokens, now: NOW, random };
        let step = login.advance(input, &mut out, &env);
        if matches!(step, Step::LoggedIn(_)) {
            frame(&mut out, b'R', |out| out.extend_from_slice(&[0; 4]));
            reply::ready(&mut out, TransactionStatus::Idle);
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        if !matches!(step, Step::Read) {
            return Ok(step);
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(Step::Closed);
        }
    }
}

/// Connects to [`serve`]; what the server came to, and what the client heard.
async fn connect<T: TlsConnect<tokio::io::DuplexStream>>(
    config: &Config,
    tls: Option<&ServerTls>,
    connector: T,
) -> (Step, Result<(), tokio_postgres::Error>) {
    let (near, far) = tokio::io::duplex(16_384);
    let direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    let server = serve(near, tls, direct);
    let (step, client) = tokio::join!(server, config.connect_raw(far, connector));
    (step.unwrap(), client.map(drop))
}

fn config(password: &str) -> Config {
    let mut config = Config::new();
    config.user("alice").dbname("shop").password(password).application_name("interop");
    config
}

#[tokio::test]
async fn a_client_logs_in_in_clear() {
    let (step, client) = connect(&config(&token(1)), None, NoTls).await;
    client.unwrap();
    let Step::LoggedIn(logged_in) = step else { panic!("{step:?}") };
    assert_eq!(logged_in.token.to_string(), "t_1");
    assert_eq!(logged_in.application_name.as_deref(), Some("interop"));
}

#[tokio::test]
async fn a_client_hears_why_not() {
    for (password, sentence) in [
        (token(2), "token t_2 expired at 2023-11-14T22:13:20.000000Z"),
        (token(3), "password authentication failed for user \"alice\""),
    ] {
        let (_, client) = connect(&config(&password), None, NoTls).await;
        let error = client.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), ("28P01", sentence));
        assert!(error.hint().unwrap().ends_with("daypass token issue --user alice"));
    }
}

#[tokio::test]
async fn a_client_binds_its_proof_to_our_certificate() {
    let (files, trusted) = files();
    let (tls, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    let binding = Sha256::digest(&trusted).to_vec();
    for negotiation in [SslNegotiation::Postgres, SslNegotiation::Direct] {
        let mut config = config(&token(1));
        config.ssl_mode(SslMode::Require).channel_binding(Binding::Require);
        config.ssl_negotiation(negotiation);
        let connector = Connector(connector(&trusted, &[ALPN_POSTGRES]), binding.clone());
        let (step, client) = connect(&config, Some(&tls), connector).await;
        client.unwrap();
        let Step::LoggedIn(logged_in) = step else { panic!("{step:?}") };
        assert!(logged_in.channel_bound);
    }
}

#[tokio::test]
async fn a_client_bound_to_another_certificate_is_refused() {
    let (files, trusted) = files();
    let (tls, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    let mut config = config(&token(1));
    config.ssl_mode(SslMode::Require).channel_binding(Binding::Require);
    let connector = Connector(connector(&trusted, &[ALPN_POSTGRES]), vec![7; 32]);
    let (step, client) = connect(&config, Some(&tls), connector).await;
    assert!(matches!(step, Step::Refused(_)), "{step:?}");
    assert_eq!(client.unwrap_err().code().map(|code| code.code()), Some("28000"));
}

#[tokio::test]
async fn a_client_in_clear_is_told_to_use_tls_before_it_proves_anything() {
    let (files, _) = files();
    let (tls, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    let mut config = config(&token(1));
    config.ssl_mode(SslMode::Disable);
    let (step, client) = connect(&config, Some(&tls), NoTls).await;
    assert!(matches!(step, Step::Refused(_)), "{step:?}");
    let error = client.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.message(), "connection is insecure (try sslmode=require)");
}

/// How tokio-postgres is given rustls; the second is the binding that it claims.
struct Connector(TlsConnector, Vec<u8>);

struct Bound<S>(client::TlsStream<S>, Vec<u8>);

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> TlsConnect<S> for Connector {
    type Stream = Bound<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Bound<S>>>>>;

    fn connect(self, stream: S) -> Self::Future {
        let name = ServerName::try_from("localhost").unwrap();
        Box::pin(async move { Ok(Bound(self.0.connect(name, stream).await?, self.1)) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Bound<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::tls_server_end_point(self.1.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Bound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
