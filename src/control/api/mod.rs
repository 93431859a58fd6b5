//! The HTTP API over a Unix socket. Who may use the socket is an operator; who also brings a token is its
//! principal.

mod caller;
mod routes;
mod socket;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::control::service::Service;

pub use socket::bind;

/// What the API tells that the service does not know.
#[derive(Clone)]
pub struct ApiExtra {
    /// Where the audit stream is written, when to a file.
    pub audit_file: Option<PathBuf>,
    /// Whether statements could be served now, or what is missing.
    pub ready: Ready,
}

/// Whether statements could be served now, or what is missing.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Serves until `shutdown` is done, and what is under way then to its end.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: UnixListener,
    service: Arc<Service>,
    extra: ApiExtra,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let pages = routes::routes(service, extra);
    let pages = pages.into_make_service_with_connect_info::<caller::Peer>();
    axum::serve(listener, pages).with_graceful_shutdown(shutdown).await
}
