//! The HTTP API over a Unix socket. Who may use the socket is an operator; who also brings a token is its
//! principal.

mod caller;
mod routes;
mod socket;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::control::service::Service;
use crate::session::relay::Entry;

pub use socket::{ApiSocket, SocketError};

/// What the API tells that the service does not know.
#[derive(Clone)]
pub struct ApiExtra {
    /// Where the audit stream is written, when to a file.
    pub audit_file: Option<PathBuf>,
    /// Whether statements could be served now, or what is missing.
    pub ready: Ready,
    /// The databases, by name.
    pub database: Find,
}

/// A database, by its name in the configuration.
pub type Find = Arc<dyn Fn(&str) -> Option<Entry> + Send + Sync>;

/// Whether statements could be served now, or what is missing.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How long answers that are under way may take once the proxy stops: a client that has sent half a
/// request would keep it for ever.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Serves until `shutdown` is done, and what is under way then to its end.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    socket: ApiSocket,
    service: Arc<Service>,
    extra: ApiExtra,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let pages = routes::routes(service, extra);
    let pages = pages.into_make_service_with_connect_info::<caller::Peer>();
    let ApiSocket { listener, place } = socket;
    let (stopping_to, stopping) = oneshot::channel();
    let serving = axum::serve(listener, pages).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody hears it once the server has ended by itself.
        let _ = stopping_to.send(());
    });
    let too_long = async {
        // The sender goes without a word only when the server has ended.
        if stopping.await.is_ok() {
            tokio::time::sleep(LAST_ANSWERS).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let served = tokio::select! {
        served = serving.into_future() => served,
        () = too_long => Ok(()),
    };
    drop(place);
    served
}
