//! Whether a server's names have changed, for less than loading them costs.
//!
//! Two questions, the second asked only when the first does not settle it. Nothing has changed while
//! `pg_current_snapshot()` is the same: whatever changes a catalog has a transaction number, and its
//! end moves the snapshot. Otherwise sums over the rows that the loader reads are compared. A row that
//! is written anew has a new `xmin`, and with it a new share of the sum. `pg_class` goes by what the
//! loader reads of it instead, because TRUNCATE and its like write it anew without changing a name.

use super::client;
use super::connect::Connection;
use super::error::UpstreamError;

/// Where a server's catalogs stood. Means nothing to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    snapshot: String,
    sums: String,
}

const SNAPSHOT: &str = "SELECT pg_current_snapshot()";

/// One statement, so one moment. Sums are of 64-bit hashes, in `numeric`: they cannot overflow.
const SUMS: &str = "WITH \
    me AS (SELECT oid, rolsuper OR rolbypassrls AS bypass FROM pg_roles \
        WHERE rolname = current_user), \
    temporary AS (SELECT oid FROM pg_class WHERE relpersistence = 't') \
    SELECT concat_ws(' ', \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_[0-9]'), \
    (SELECT concat(count(*), ':', sum(hashtextextended(concat(relkind, relpersistence, \
        relnamespace, \
        CASE WHEN relrowsecurity THEN me.bypass OR (NOT relforcerowsecurity \
            AND pg_has_role(me.oid, relowner, 'USAGE')) END, \
        CASE relkind WHEN 'v' THEN reloptions END, relname), c.oid::bigint))) \
        FROM pg_class c, me \
        WHERE relpersistence <> 't' AND relnamespace <> 'pg_toast'::regnamespace), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, attrelid::bigint))) \
        FROM pg_attribute WHERE attnum > 0 AND attrelid NOT IN (SELECT oid FROM temporary)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(d.xmin::text, d.objid::bigint))) \
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
        AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') AND s.relpersistence <> 't'), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_proc), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_operator), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) FROM pg_cast), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_rewrite WHERE ev_class >= 16384 AND ev_class NOT IN (SELECT oid FROM temporary)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_attrdef WHERE adrelid NOT IN (SELECT oid FROM temporary)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_constraint \
        WHERE conbin IS NOT NULL AND conrelid NOT IN (SELECT oid FROM temporary)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, indexrelid::bigint))) \
        FROM pg_index WHERE (indexprs IS NOT NULL OR indpred IS NOT NULL) \
        AND indrelid NOT IN (SELECT oid FROM temporary)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_trigger WHERE tgqual IS NOT NULL AND tgrelid NOT IN (SELECT oid FROM temporary)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) FROM pg_policy), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_type WHERE typtype <> 'c' AND typcategory <> 'A'), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, objid::bigint))) FROM pg_depend \
        WHERE classid IN ('pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_attrdef'::regclass, \
            'pg_constraint'::regclass, 'pg_policy'::regclass, 'pg_class'::regclass) \
        AND refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, inhrelid::bigint))) \
        FROM pg_inherits), \
    (SELECT concat(count(*), ':', sum(hashtextextended(xmin::text, oid::bigint))) \
        FROM pg_constraint WHERE contype = 'f'), \
    has_database_privilege('public', current_database(), 'TEMPORARY'))";

/// Where the catalogs stand now, or in the transaction that is open.
///
/// # Errors
/// When a statement fails.
pub async fn take(connection: &mut Connection) -> Result<Fingerprint, UpstreamError> {
    // In this order: what changes in between is in the sums and not in the snapshot, so that the next
    // look does not miss it.
    let snapshot = value(connection, SNAPSHOT).await?;
    let sums = value(connection, SUMS).await?;
    Ok(Fingerprint { snapshot, sums })
}

/// Where the catalogs stand now, if that is elsewhere than `known`; `known` is moved on when they
/// stand where they stood.
///
/// # Errors
/// When a statement fails.
pub async fn changed(
    connection: &mut Connection,
    known: &mut Fingerprint,
) -> Result<bool, UpstreamError> {
    let snapshot = value(connection, SNAPSHOT).await?;
    if snapshot == known.snapshot {
        return Ok(false);
    }
    if value(connection, SUMS).await? != known.sums {
        return Ok(true);
    }
    known.snapshot = snapshot;
    Ok(false)
}

async fn value(connection: &mut Connection, sql: &str) -> Result<String, UpstreamError> {
    let rows = client::query(connection, sql).await?;
    rows.into_iter()
        .flatten()
        .next()
        .flatten()
        .ok_or_else(|| UpstreamError::Catalog("no fingerprint".into()))
}
