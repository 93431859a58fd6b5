//! TLS to a server: whom to believe, and the handshake.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::UpstreamError;
use super::target::Roots;

/// A configuration that checks certificates against those authorities, and names that protocol (ALPN).
/// Blocks on files.
///
/// # Errors
/// When no authority can be had.
pub(super) fn configure(
    roots: &Roots,
    protocol: Option<&str>,
) -> Result<ClientConfig, UpstreamError> {
    let store = match roots {
        Roots::File(path) => read_file(path)?,
        Roots::System => read_system()?,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| UpstreamError::Tls(Arc::new(std::io::Error::other(error))))?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = protocol.into_iter().map(|name| name.as_bytes().to_vec()).collect();
    // PostgreSQL gives no tickets, and logins are few; what is not kept cannot be mixed up between servers.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn read_file(path: &Path) -> Result<RootCertStore, UpstreamError> {
    let failed = |reason: String| UpstreamError::Roots { from: path.display().to_string(), reason };
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(failed("it holds no certificate".into()));
    }
    Ok(store)
}

fn read_system() -> Result<RootCertStore, UpstreamError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // A store may hold odd certificates that no server uses; the rest is good.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
        return Err(UpstreamError::Roots { from: "the system's store".into(), reason });
    }
    Ok(store)
}

/// The handshake, and the check of certificate and name that belongs to it.
///
/// # Errors
/// When it fails, or `name` cannot stand in a certificate.
pub(super) async fn handshake(
    stream: TcpStream,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, UpstreamError> {
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| UpstreamError::TlsName(name.to_owned()))?;
    TlsConnector::from(config)
        .connect(server, stream)
        .await
        .map_err(|error| UpstreamError::Tls(Arc::new(error)))
}
