//! TLS towards clients: certificate and key of a listener. A reload of the configuration makes a new one.

pub mod end_point;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::wire::postgres::login::TlsInfo;

/// The protocol's name in ALPN (manual 54.2.11, "SSL Session Encryption").
pub const ALPN_POSTGRES: &[u8] = b"postgresql";

/// Files larger than this hold something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a certificate cannot be used. Names the file, and nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is not what it should be.
    #[error("{} {what}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Certificate and key do not go together, or have a form that is not supported.
    #[error("cannot use the certificate {} with the key {}: {what}", certificate.display(), key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong with them.
        what: &'static str,
    },
    /// No random bytes for the key of the session tickets.
    #[error("cannot make a key for TLS session tickets")]
    Tickets,
}

/// What works and should not stay so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsWarning {
    /// Others than owner and group may read the key, or others than the owner write it.
    #[error("{} is open to other users (mode {mode:04o}); use chmod 600", path.display())]
    KeyOpenToOthers {
        /// File of the key.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// How a client came to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Its first byte was a handshake's.
    Direct,
    /// It asked by SSLRequest.
    Asked,
}

/// One certificate, ready for handshakes, and its channel binding: a pair, so that a reload between the
/// handshake and the proof does not part them.
pub struct ServerTls {
    tls: TlsAcceptor,
    channel_binding: Option<Vec<u8>>,
}

impl ServerTls {
    /// Reads certificate chain and private key, both PEM.
    ///
    /// # Errors
    /// When either cannot be read or they cannot be used together.
    pub fn load(certificate: &Path, key: &Path) -> Result<(Self, Vec<TlsWarning>), TlsError> {
        let chain = chain(certificate)?;
        let (private_key, warnings) = private_key(key)?;
        let channel_binding = chain.first().and_then(|leaf| end_point::tls_server_end_point(leaf));
        let pair = |error: &rustls::Error| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            what: match error {
                rustls::Error::InconsistentKeys(_) => "they do not belong together",
                rustls::Error::InvalidCertificate(_) => "the certificate is malformed",
                _ => "the key is malformed or of a kind that is not supported",
            },
        };
        // The provider is named, so that what other crates switch on in rustls changes nothing here.
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| pair(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, private_key)
            .map_err(|error| pair(&error))?;
        config.alpn_protocols = vec![ALPN_POSTGRES.to_vec()];
        // A new ticket key with each certificate: a session resumed from before a reload would be bound
        // to the old certificate at the client's end and to the new one at ours.
        config.ticketer = ring::Ticketer::new().map_err(|_| TlsError::Tickets)?;
        Ok((Self { tls: TlsAcceptor::from(Arc::new(config)), channel_binding }, warnings))
    }

    /// Does the handshake of a PostgreSQL client. Who names other protocols only is refused; who comes
    /// directly must name ours, so that no other protocol's client can be made to speak to us
    /// (manual 54.2.11). The deadline is the caller's.
    ///
    /// # Errors
    /// When the handshake fails, or ALPN was due and not there.
    pub async fn accept_postgres<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        opening: Opening,
    ) -> io::Result<(TlsStream<S>, TlsInfo)> {
        let stream = self.accept(stream).await?;
        let direct = opening == Opening::Direct;
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN_POSTGRES) {
            let what = "direct TLS without ALPN protocol \"postgresql\"";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let channel_binding = self.channel_binding.clone();
        Ok((stream, TlsInfo { direct, channel_binding }))
    }

    /// Does the handshake with a client that has asked for it. The deadline is the caller's.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        self.tls.accept(stream).await
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (bytes, _) = read(path)?;
    let content = |what| TlsError::Content { path: path.to_owned(), what };
    // rustls' own text would quote lines of the file.
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|_| content("is not a well-formed PEM file"))?;
    if chain.is_empty() { Err(content("holds no certificate in PEM")) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<(PrivateKeyDer<'static>, Vec<TlsWarning>), TlsError> {
    const OPEN_TO_OTHERS: u32 = 0o027;
    let (bytes, mode) = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::Content {
        path: path.to_owned(),
        what: match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                "holds no private key in PEM (an encrypted one is not supported)"
            }
            _ => "is not a well-formed PEM file",
        },
    })?;
    let mode = mode & 0o777;
    let open = mode & OPEN_TO_OTHERS != 0;
    let warning = TlsWarning::KeyOpenToOthers { path: path.to_owned(), mode };
    Ok((key, open.then_some(warning).into_iter().collect()))
}

/// Content and permissions of one and the same file, wiped after use: it may hold a key.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let unreadable = |error| TlsError::Read { path: path.to_owned(), error };
    let file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let too_long = metadata.len() > FILE_BYTES_MAX;
    if too_long {
        let what = "is too long to be a certificate or a key";
        return Err(TlsError::Content { path: path.to_owned(), what });
    }
    // Room for all of it at once: a vector that grows leaves copies behind that nobody wipes.
    let room = usize::try_from(metadata.len()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, metadata.permissions().mode()))
}

#[cfg(test)]
mod interop;
#[cfg(test)]
mod tests;
