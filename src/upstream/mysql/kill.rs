//! Stopping what a connection runs, or ending it, over another one ("KILL Statement").

use std::time::Duration;

use super::client;
use super::connect::connect_at;
use super::login::Startup;
use super::target::Target;
use crate::upstream::Peer;
use crate::upstream::connect::within;
use crate::upstream::error::UpstreamError;

const DEADLINE: Duration = Duration::from_secs(5);

/// ER_NO_SUCH_THREAD.
const NO_SUCH_THREAD: u16 = 1094;

/// What to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// What it runs.
    Query,
    /// The connection.
    Connection,
}

/// Ends what a connection runs, or the connection itself, at the very server that it leads to. One that is gone
/// already is no error. A statement that has ended meanwhile leaves its KILL QUERY to the next one: MySQL and MariaDB
/// say nothing of when it is heeded.
///
/// The target's account may end its own connections, and those of others with `CONNECTION_ADMIN` (MySQL) or
/// `CONNECTION ADMIN` (MariaDB).
///
/// # Errors
/// When the server cannot be reached within 5 s, or refuses.
pub async fn kill(
    target: &Target,
    peer: &Peer,
    connection: u32,
    what: Kill,
) -> Result<(), UpstreamError> {
    let words = match what {
        Kill::Query => "KILL QUERY",
        Kill::Connection => "KILL CONNECTION",
    };
    let target = Target { schema: None, ..target.clone() };
    let work = async {
        let mut side = connect_at(&target, Some(peer), &Startup::default()).await?;
        match client::query(&mut side, &format!("{words} {connection}")).await {
            Err(UpstreamError::MysqlFailed { code: NO_SUCH_THREAD, .. }) => Ok(()),
            result => result.map(drop),
        }
    };
    within(DEADLINE, "cancelling", work).await
}
