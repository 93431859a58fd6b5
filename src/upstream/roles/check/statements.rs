//! The statements of people's own roles, from the extension `pg_stat_statements`: what they did past the
//! proxy. Constants in them are replaced by parameters; when each ran last is not kept.

use std::collections::BTreeMap;

use super::{DEADLINE, open, people};
use crate::time::Timestamp;
use crate::upstream::client::{self, Bounds};
use crate::upstream::connect::{Connection, within};
use crate::upstream::error::UpstreamError;
use crate::upstream::path::{split_path, usable};
use crate::upstream::roles::service::Service;
use crate::upstream::target::Target;

/// The extension's own views: somebody else's of that name would run as the service account.
const VIEWS: &str = "SELECT c.relname, format('%I.%I', n.nspname, c.relname) FROM pg_extension e \
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid \
        AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass \
    JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE e.extname = 'pg_stat_statements'";

/// Where nothing is set for anybody.
const DEFAULT_PATH: &str = "\"$user\", public";

/// The statements of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub role: String,
    /// The schemas that it searches right after its login.
    pub path: Vec<Box<str>>,
    /// Texts that can be read.
    pub texts: Vec<String>,
    /// How many others there are.
    pub unreadable: usize,
}

/// What the extension says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statements {
    /// Nothing, and why: it is not there, not loaded, or not for the service account.
    Lacking(String),
    /// What it has of this database.
    Read {
        /// From when on it counts, where it says so (PostgreSQL 14).
        since: Option<Timestamp>,
        /// By role. Superusers are left out: what they may do is everything.
        roles: Vec<Seen>,
    },
}

/// Reads the statements of roles that can log in, other than our own, the service account and superusers.
///
/// # Errors
/// When the server cannot be asked.
pub async fn statements(target: &Target) -> Result<Statements, UpstreamError> {
    let look = async {
        let (mut connection, service) = open(target).await?;
        let mut views = BTreeMap::new();
        client::each_row(&mut connection, VIEWS, Bounds::default(), |mut row| {
            views.insert(row.text()?.to_owned(), row.text()?.to_owned());
            Ok(())
        })
        .await?;
        let Some(view) = views.get("pg_stat_statements") else {
            let why = format!("the extension is not in the database {}", service.database);
            return Ok(Statements::Lacking(why));
        };
        let mut by_role = match texts(&mut connection, &service, view).await {
            Err(UpstreamError::Failed { message, .. }) => {
                return Ok(Statements::Lacking(message.into()));
            }
            result => result?,
        };
        let since = match views.get("pg_stat_statements_info") {
            Some(view) => reset(&mut connection, view).await?,
            None => None,
        };
        for (role, set) in paths(&mut connection, &service).await? {
            if let Some(seen) = by_role.get_mut(&role) {
                let names = split_path(&set).unwrap_or_default();
                seen.path = usable(&mut connection, &role, &names).await?;
            }
        }
        Ok(Statements::Read { since, roles: by_role.into_values().collect() })
    };
    within(DEADLINE, "looking at statements", look).await
}

async fn texts(
    connection: &mut Connection,
    service: &Service,
    view: &str,
) -> Result<BTreeMap<String, Seen>, UpstreamError> {
    // What may not be read has no number either.
    let sql = format!(
        "SELECT p.rolname, CASE WHEN s.queryid IS NOT NULL THEN s.query END FROM {view} s \
         JOIN ({}) p ON p.oid = s.userid WHERE NOT p.rolsuper \
         AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        people(service)
    );
    let mut by_role: BTreeMap<String, Seen> = BTreeMap::new();
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let role = row.text()?.to_owned();
        let seen = by_role.entry(role.clone()).or_default();
        seen.role = role;
        match row.field()? {
            Some(text) => seen.texts.push(text.to_owned()),
            None => seen.unreadable += 1,
        }
        Ok(())
    })
    .await?;
    Ok(by_role)
}

async fn reset(
    connection: &mut Connection,
    view: &str,
) -> Result<Option<Timestamp>, UpstreamError> {
    let sql = format!("SELECT (extract(epoch FROM stats_reset) * 1000000)::bigint FROM {view}");
    let mut since = None;
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        since = row.field()?.and_then(|micros| micros.parse().ok()).map(Timestamp::from_micros);
        Ok(())
    })
    .await?;
    Ok(since)
}

/// What `search_path` is set to for each role: in this database, itself, for the database, for all. What the
/// server's file says only shows where nothing is set for the service account.
async fn paths(
    connection: &mut Connection,
    service: &Service,
) -> Result<Vec<(String, String)>, UpstreamError> {
    let sql = format!(
        "WITH here AS (SELECT oid FROM pg_database WHERE datname = current_database()), \
         settings AS (SELECT s.setrole, s.setdatabase, substr(c.setting, 13) AS path \
             FROM pg_db_role_setting s, unnest(s.setconfig) AS c (setting) \
             WHERE c.setting ^@ 'search_path=' \
             AND (s.setdatabase = 0 OR s.setdatabase = (SELECT oid FROM here))), \
         file AS (SELECT reset_val AS path FROM pg_settings WHERE name = 'search_path' \
             AND NOT EXISTS (SELECT FROM settings t JOIN pg_roles r ON r.oid = t.setrole \
                 WHERE r.rolname = current_user)) \
         SELECT p.rolname, coalesce((SELECT path FROM settings WHERE setrole IN (p.oid, 0) \
             ORDER BY setrole = 0, setdatabase = 0 LIMIT 1), (SELECT path FROM file)) FROM ({}) p",
        people(service)
    );
    let mut paths = Vec::new();
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let role = row.text()?.to_owned();
        paths.push((role, row.field()?.unwrap_or(DEFAULT_PATH).to_owned()));
        Ok(())
    })
    .await?;
    Ok(paths)
}
