//! Stopping what a server does: a cancel request, and the end of a backend.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client;
use super::connect::{Peer, broken, connect, open, within};
use super::error::UpstreamError;
use super::login::Startup;
use super::roles::action::literal;
use super::target::Target;
use super::{APPLICATION_NAME, Connection};

const DEADLINE: Duration = Duration::from_secs(5);

/// Cancels what a backend runs, and waits until the server has passed it on: whatever the backend is
/// sent afterwards is not hit (manual 54.2.9, "Canceling Requests in Progress").
///
/// The name is resolved again; where it may stand for several servers use [`cancel_at`].
///
/// # Errors
/// When the server cannot be reached within 5 s. Whether there was anything to cancel is not told.
pub async fn cancel(
    target: &Target,
    process_id: u32,
    secret_key: &[u8],
) -> Result<(), UpstreamError> {
    within(DEADLINE, "cancelling", request(target, None, process_id, secret_key)).await
}

/// [`cancel`] at the very server that a connection leads to.
///
/// # Errors
/// As for [`cancel`].
pub async fn cancel_at(
    target: &Target,
    peer: &Peer,
    process_id: u32,
    secret_key: &[u8],
) -> Result<(), UpstreamError> {
    within(DEADLINE, "cancelling", request(target, Some(peer), process_id, secret_key)).await
}

async fn request(
    target: &Target,
    peer: Option<&Peer>,
    process_id: u32,
    secret_key: &[u8],
) -> Result<(), UpstreamError> {
    const CODE: u32 = 80_877_102;
    let (mut stream, _) = open(target, peer).await?;
    let length = u32::try_from(12 + secret_key.len()).unwrap_or(u32::MAX);
    let mut packet = Vec::with_capacity(12 + secret_key.len());
    for field in [length, CODE, process_id] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet.extend_from_slice(secret_key);
    stream.write_all(&packet).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    // The server says nothing and closes once the signal is sent; a TLS one without its goodbye,
    // which reads as an error.
    let mut nothing = [0; 64];
    while matches!(stream.read(&mut nothing).await, Ok(1..)) {}
    Ok(())
}

/// Ends a backend of a role in the target's database, over a new connection of the target's account.
/// Tells whether there was one.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn terminate(
    target: &Target,
    process_id: u32,
    role: &str,
) -> Result<bool, UpstreamError> {
    let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
    let mut connection = connect(target, &startup).await?;
    within(DEADLINE, "ending a backend", terminate_over(&mut connection, process_id, role)).await
}

async fn terminate_over(
    connection: &mut Connection,
    process_id: u32,
    role: &str,
) -> Result<bool, UpstreamError> {
    // The number may have passed to another backend meanwhile: at least it must be one of ours.
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE pid OPERATOR(pg_catalog.=) {process_id} \
         AND usename OPERATOR(pg_catalog.=) {} \
         AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
        literal(role)
    );
    let rows = client::query(connection, &sql).await?;
    Ok(rows.iter().flatten().any(|value| value.as_deref() == Some("t")))
}
