use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

pub(super) struct Files {
    folder: tempfile::TempDir,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Certificate and key of a new pair, on disk, and the certificate as a client trusts it.
pub(super) fn files() -> (Files, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let files = Files { folder, certificate, key };
    let trusted = write_pair(&files, &rcgen::PKCS_ECDSA_P256_SHA256);
    (files, trusted)
}

fn write_pair(
    files: &Files,
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(&files.certificate, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    certificate.der().clone()
}

pub(super) fn connector(trusted: &CertificateDer<'static>, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// One handshake, and one byte each way through what it made.
async fn handshake(
    tls: &ServerTls,
    client: &TlsConnector,
    opening: Opening,
) -> io::Result<TlsInfo> {
    let (near, far) = tokio::io::duplex(16_384);
    let name = ServerName::try_from("localhost").unwrap();
    let client = async {
        let mut stream = client.connect(name, far).await?;
        stream.write_all(b"?").await?;
        stream.read_u8().await
    };
    let server = async {
        let (mut stream, info) = tls.accept_postgres(near, opening).await?;
        assert_eq!(stream.read_u8().await?, b'?');
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(info)
    };
    let (heard, info) = tokio::join!(client, server);
    let info: io::Result<TlsInfo> = info;
    if info.is_ok() {
        assert_eq!(heard?, b'!');
    }
    info
}

#[tokio::test]
async fn a_handshake_tells_the_binding_of_the_certificate() {
    let (files, trusted) = files();
    let (tls, warnings) = ServerTls::load(&files.certificate, &files.key).unwrap();
    assert_eq!(warnings, []);
    let binding = Some(Sha256::digest(&trusted).to_vec());
    for (opening, direct) in [(Opening::Direct, true), (Opening::Asked, false)] {
        let info = handshake(&tls, &connector(&trusted, &[b"postgresql"]), opening).await.unwrap();
        assert_eq!(info, TlsInfo { direct, channel_binding: binding.clone() });
    }
}

#[tokio::test]
async fn alpn_is_due_where_tls_comes_first_and_never_another_protocol() {
    let (files, trusted) = files();
    let (tls, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    let web = connector(&trusted, &[b"http/1.1"]);
    let silent = connector(&trusted, &[]);
    assert!(handshake(&tls, &web, Opening::Direct).await.is_err());
    assert!(handshake(&tls, &web, Opening::Asked).await.is_err());
    assert!(handshake(&tls, &silent, Opening::Direct).await.is_err());
    assert!(handshake(&tls, &silent, Opening::Asked).await.is_ok());
}

#[tokio::test]
async fn a_certificate_of_ed25519_has_no_binding() {
    let (files, _) = files();
    let trusted = write_pair(&files, &rcgen::PKCS_ED25519);
    let (tls, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    let info = handshake(&tls, &connector(&trusted, &[]), Opening::Asked).await.unwrap();
    assert_eq!(info.channel_binding, None);
}

#[tokio::test]
async fn a_session_is_not_resumed_under_another_certificate() {
    let (files, old) = files();
    let (before, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    // One client, so that the later handshake could resume the session of the first.
    let old_client = connector(&old, &[b"postgresql"]);
    assert!(handshake(&before, &old_client, Opening::Direct).await.is_ok());

    let new = write_pair(&files, &rcgen::PKCS_ECDSA_P384_SHA384);
    let (after, _) = ServerTls::load(&files.certificate, &files.key).unwrap();
    assert!(handshake(&after, &old_client, Opening::Direct).await.is_err());
    let new_client = connector(&new, &[b"postgresql"]);
    let info = handshake(&after, &new_client, Opening::Direct).await.unwrap();
    assert_ne!(info.channel_binding, before.channel_binding);
}

#[test]
fn errors_name_the_file_and_show_nothing_of_it() {
    let (files, _) = files();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let pem = "-----BEGIN PRIVATE KEY-----\ns3cret!\n-----END PRIVATE KEY-----\n";
    for (content, expected) in [
        ("s3cret", "tls.key holds no private key in PEM"),
        ("-----BEGIN s3cret", "tls.key is not a well-formed PEM file"),
        (pem, "tls.key is not a well-formed PEM file"),
        (&other, "tls.key: they do not belong together"),
        (&"s3cret".repeat(200_000), "tls.key is too long"),
    ] {
        fs::write(&files.key, content).unwrap();
        let Err(error) = ServerTls::load(&files.certificate, &files.key) else { panic!("loaded") };
        let texts = [error.to_string(), format!("{error:?}")];
        assert!(texts[0].contains(expected), "{}", texts[0]);
        assert!(texts.iter().all(|text| !text.contains("s3cret")), "{texts:?}");
    }
    fs::write(&files.certificate, "").unwrap();
    let Err(error) = ServerTls::load(&files.certificate, &files.key) else { panic!("loaded") };
    assert!(error.to_string().ends_with("tls.crt holds no certificate in PEM"), "{error}");
    let missing = files.folder.path().join("missing");
    let Err(error) = ServerTls::load(&missing, &files.key) else { panic!("loaded") };
    assert!(error.to_string().contains("missing: No such file"), "{error}");
}

#[test]
fn a_key_that_others_may_read_is_warned_of() {
    let (files, _) = files();
    for (mode, open) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true)] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let (_, warnings) = ServerTls::load(&files.certificate, &files.key).unwrap();
        let warning = TlsWarning::KeyOpenToOthers { path: files.key.clone(), mode };
        assert_eq!(warnings, open.then_some(warning).into_iter().collect::<Vec<_>>());
    }
}
