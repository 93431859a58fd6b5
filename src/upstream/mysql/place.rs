//! How far a MySQL or MariaDB server is, and whether it is a replica.

use std::time::Duration;

use super::client;
use super::connect::{Connection, connect};
use super::login::Startup;
use super::target::Target;
use crate::route::{Position, Role, Said};
use crate::upstream::error::UpstreamError;
use crate::upstream::replicas::Member;

const MARIADB: &str = "SELECT @@GLOBAL.read_only, @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos, @@GLOBAL.log_bin";

const MYSQL: &str =
    "SELECT @@GLOBAL.read_only, @@GLOBAL.gtid_executed, @@GLOBAL.gtid_executed, @@GLOBAL.gtid_mode";

const MARIADB_REPLICA: &str = "SHOW ALL SLAVES STATUS";
const MYSQL_REPLICA: &str = "SHOW REPLICA STATUS";
/// Before MySQL 8.0.22.
const MYSQL_SLAVE: &str = "SHOW SLAVE STATUS";
const MYSQL_REPLICA_MIN: u32 = 80_022;

/// What the server may have set for every session.
const SESSION: &str = "SET SESSION wait_timeout = 28800";

impl Member for Target {
    type Watch = Connection;

    async fn join(&self) -> Result<Connection, UpstreamError> {
        // It needs none, and may not have been replicated yet.
        let target = self.clone().with_schema(None);
        let mut connection = connect(&target, &Startup::default()).await?;
        client::query(&mut connection, SESSION).await?;
        Ok(connection)
    }

    async fn look(watch: &mut Connection) -> Result<Said, UpstreamError> {
        let Place { writable, replayed, written } = place(watch).await?;
        if writable {
            return Ok(said(Role::Leads, written, None));
        }
        Ok(match replication(watch).await? {
            Replication::None => said(Role::Rests, written, None),
            Replication::Untold => said(Role::Follows, replayed, None),
            Replication::Some { behind } => said(Role::Follows, replayed, behind),
        })
    }
}

fn said(role: Role, position: Option<Position>, behind: Option<Duration>) -> Said {
    Said { role, position, behind, cluster: None, timeline: None }
}

/// How far the server is by now; `None` when it takes no writes, or keeps no count.
pub(super) async fn position(
    connection: &mut Connection,
) -> Result<Option<Position>, UpstreamError> {
    let Place { writable, written, .. } = place(connection).await?;
    Ok(written.filter(|_| writable))
}

struct Place {
    writable: bool,
    replayed: Option<Position>,
    written: Option<Position>,
}

async fn place(connection: &mut Connection) -> Result<Place, UpstreamError> {
    let is_mariadb = connection.greeting.is_mariadb();
    let sql = if is_mariadb { MARIADB } else { MYSQL };
    let rows = client::query(connection, sql).await?;
    let [row] = <[_; 1]>::try_from(rows).map_err(|_| unknown("no place in the log"))?;
    let row: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
    let [read_only, replayed, written, counts] =
        <[_; 4]>::try_from(row).map_err(|_| unknown("half a place in the log"))?;
    let read = if is_mariadb { Position::mariadb } else { Position::mysql };
    // MariaDB's replicas count what they replay whether they write a log or not; MySQL's do not without GTIDs.
    let (replays, writes) = (is_mariadb || counts == "ON", matches!(&*counts, "1" | "ON"));
    let read = |counts: bool, text: &str| counts.then(|| read(text).map_err(unknown)).transpose();
    Ok(Place {
        writable: matches!(&*read_only, "0" | "OFF"),
        replayed: read(replays, &replayed)?,
        written: read(writes, &written)?,
    })
}

fn unknown(error: impl ToString) -> UpstreamError {
    UpstreamError::Catalog(error.to_string())
}

/// What a server says of where it replicates from.
enum Replication {
    /// From nowhere.
    None,
    /// The account may not ask (REPLICATION CLIENT, on MariaDB REPLICA MONITOR).
    Untold,
    /// From somewhere; the furthest behind of several.
    Some { behind: Option<Duration> },
}

async fn replication(connection: &mut Connection) -> Result<Replication, UpstreamError> {
    const DENIED: u16 = 1227;
    let sql = match connection.greeting.is_mariadb() {
        true => MARIADB_REPLICA,
        false if connection.greeting.version_number() < MYSQL_REPLICA_MIN => MYSQL_SLAVE,
        false => MYSQL_REPLICA,
    };
    let rows = match client::named(connection, sql).await {
        Ok(rows) => rows,
        Err(UpstreamError::MysqlFailed { code: DENIED, .. }) => return Ok(Replication::Untold),
        Err(error) => return Err(error),
    };
    let seconds = |row: &Vec<(String, Option<String>)>| {
        let is_it = |name: &str| matches!(name, "Seconds_Behind_Master" | "Seconds_Behind_Source");
        let found = row.iter().find(|(name, _)| is_it(name));
        found.and_then(|(_, value)| value.as_ref()?.parse().ok()).map(Duration::from_secs)
    };
    let behind: Option<Vec<Duration>> = rows.iter().map(seconds).collect();
    Ok(match rows.len() {
        0 => Replication::None,
        // One that stands still does not say how far behind it is.
        _ => Replication::Some { behind: behind.and_then(|all| all.into_iter().max()) },
    })
}
