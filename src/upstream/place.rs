//! How far a PostgreSQL server is, and whether it is a standby.

use std::time::Duration;

use super::APPLICATION_NAME;
use super::client;
use super::connect::{Connection, connect};
use super::error::UpstreamError;
use super::login::Startup;
use super::replicas::Member;
use super::target::Target;
use crate::route::{Position, Role, Said};

/// Names mean the server's own, and what the account has set for its sessions must not end this one.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = 0; \
    SET idle_session_timeout = 0";

/// PostgreSQL 13 has no idle_session_timeout.
const SESSION_13: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = 0";

/// Each function works in one of both states only. The timeline of a standby is that of the newest of what it has
/// received (which only members of pg_read_all_stats see), flushed, and begun to replay from.
const PLACE: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
        ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN (1000 * extract(epoch FROM \
        pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()))::bigint END, \
    (SELECT system_identifier FROM pg_catalog.pg_control_system()), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN greatest( \
        (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver), \
        (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()), \
        (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()))::text \
        ELSE left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END, \
    pg_catalog.current_setting('wal_block_size')";

/// Whose pages [`Position::end_of_record`] knows.
const BLOCK: &str = "8192";

impl Member for Target {
    type Watch = Connection;

    async fn join(&self) -> Result<Connection, UpstreamError> {
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut connection = connect(self, &startup).await?;
        let session = if connection.server_version < 140_000 { SESSION_13 } else { SESSION };
        client::query(&mut connection, session).await?;
        Ok(connection)
    }

    async fn look(watch: &mut Connection) -> Result<Said, UpstreamError> {
        place(watch).await
    }
}

/// How far the server is by now; `None` when it is a standby.
pub(super) async fn position(
    connection: &mut Connection,
) -> Result<Option<Position>, UpstreamError> {
    let said = place(connection).await?;
    Ok(said.position.filter(|_| said.role == Role::Leads))
}

async fn place(connection: &mut Connection) -> Result<Said, UpstreamError> {
    let rows = client::query(connection, PLACE).await?;
    let [row] = <[_; 1]>::try_from(rows).map_err(|_| unknown("no place in the log"))?;
    let [follows, lsn, behind, cluster, timeline, block] =
        <[_; 6]>::try_from(row).map_err(|_| unknown("half a place in the log"))?;
    let follows = follows.as_deref() == Some("t");
    let lsn = lsn.filter(|_| block.as_deref() == Some(BLOCK));
    let position = lsn.map(|lsn| Position::lsn(&lsn).map_err(unknown)).transpose()?;
    let behind = behind.map(|ms| ms.parse::<i64>().map_err(unknown)).transpose()?;
    // The primary's is the head of a file's name.
    let radix = if follows { 10 } else { 16 };
    let timeline = timeline.map(|digits| u32::from_str_radix(&digits, radix).map_err(unknown));
    Ok(Said {
        role: if follows { Role::Follows } else { Role::Leads },
        position: if follows { position } else { position.map(Position::end_of_record) },
        // Of clocks that differ, one may be ahead.
        behind: behind.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        cluster: cluster.map(Into::into),
        timeline: timeline.transpose()?,
    })
}

fn unknown(error: impl ToString) -> UpstreamError {
    UpstreamError::Catalog(error.to_string())
}
