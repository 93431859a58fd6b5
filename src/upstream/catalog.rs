//! Loading a server's names, PostgreSQL 13 to 18.
//!
//! Every statement here runs under a search path of `pg_catalog` alone, so that unqualified names,
//! operators among them, can mean nothing of a user's making.

use tokio::io::AsyncWriteExt;

use super::catalogs::{CHECK_MAX, Kept, Source};
use super::client::{self, Bounds, Row};
use super::connect::{Connection, connect, within};
use super::error::UpstreamError;
use super::fingerprint::{self, Fingerprint};
use super::loading::{Loading, Take};
use super::login::Startup;
use super::target::Target;
use super::{APPLICATION_NAME, definitions, doubts, place};
use crate::route::Position;
use crate::sql::catalog::{Catalog, Mark};
use crate::wire::postgres::reply;

/// Oldest server whose catalogs and functions are as the statements expect.
const VERSION_MIN: u32 = 130_000;

/// Proxies of one database tell each other when its definitions have changed. A channel belongs to one database.
/// Nothing is sent but the notification itself, and nothing in it is believed: whoever hears it, looks.
const LISTEN: &str = "LISTEN daypass_catalog";
const NOTIFY: &str = "NOTIFY daypass_catalog";

/// What the account may have set for its sessions must not change what our statements mean, nor end
/// them. JIT would compile for longer than they run. Where the server has no statistics of its own catalogs yet
/// (right after many tables were made) it takes them for small, and nested loops for cheap.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET quote_all_identifiers = off; \
    SET jit = off; SET enable_nestloop = off; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0";

/// One moment for all statements. Catalogs have no row-level security and no user code to run.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SELECT set_config('search_path', 'pg_catalog, pg_temp', true)";

/// Temporary schemas are a session's own affair, and come and go with sessions.
const SCHEMAS: &str = "SELECT oid, nspname, NOT EXISTS (SELECT FROM aclexplode(nspacl) \
        WHERE grantee = 0 AND privilege_type = 'USAGE') \
    FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_[0-9]'";

/// Where the server stands. The first transaction that was not over: whatever older ones wrote is seen.
const MARK: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot()), \
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, oid \
    FROM pg_database WHERE datname = current_database()";

/// What of them still exists, in handfuls. Only needed where the rest is known from before.
const EXISTING: &str = "SELECT string_agg(oid::text, ' ') FROM pg_class \
    WHERE $known AND relpersistence <> 't' AND relnamespace <> 'pg_toast'::regnamespace \
    GROUP BY oid::bigint / 1024";

/// What stands in pg_toast only its owner may read, and nobody does by name.
const RELATIONS: &str = "SELECT c.oid, relnamespace, relname, relkind, coalesce(indrelid, 0) \
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE age(c.xmin) <= $since \
    AND relpersistence <> 't' AND relnamespace <> 'pg_toast'::regnamespace";

/// Partitions and children.
const CHILDREN: &str = "SELECT inhparent, inhrelid FROM pg_inherits ORDER BY inhparent, inhrelid";

/// Row security that whoever asks would bypass.
const BYPASSED: &str = "SELECT c.oid FROM pg_class c CROSS JOIN pg_roles r \
    WHERE r.rolname = current_user AND c.relrowsecurity AND (r.rolsuper OR r.rolbypassrls \
        OR (NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE')))";

/// Those whose rows are not in the log.
const UNLOGGED: &str = "SELECT oid FROM pg_class WHERE relpersistence = 'u' AND relkind <> 'i'";

/// A trigger, rule, default, check, policy, index or view of it calls a function or operator that
/// somebody made (the server's own have no rows in pg_depend), or one of a relation that is read or
/// written through it does: a partition or child, one whose foreign key acts, a view's.
const CODED: &str = "WITH RECURSIVE through (upper, lower) AS ( \
        SELECT inhparent, inhrelid FROM pg_inherits \
        UNION ALL SELECT confrelid, conrelid FROM pg_constraint WHERE contype = 'f' \
            AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) \
        UNION ALL SELECT w.ev_class, d.refobjid FROM pg_depend d \
            JOIN pg_rewrite w ON w.oid = d.objid AND w.ev_class <> d.refobjid \
            WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass), \
    code (oid) AS ( \
        SELECT r.refobjid FROM pg_depend f \
            JOIN pg_depend r ON r.classid = f.classid AND r.objid = f.objid \
                AND r.deptype IN ('a', 'i') \
            WHERE f.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) \
            AND f.classid IN ('pg_trigger'::regclass, 'pg_rewrite'::regclass, \
                'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_policy'::regclass, \
                'pg_class'::regclass) AND r.refclassid = 'pg_class'::regclass \
        UNION SELECT t.upper FROM code JOIN through t ON t.lower = code.oid) \
    SELECT oid FROM code";

/// Of a relation one of whose columns has changed, all; those that were dropped without a name.
const COLUMNS: &str = "WITH readable AS MATERIALIZED (SELECT oid, age(xmin) <= $since AS new \
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND relpersistence <> 't'), \
    changed AS MATERIALIZED (SELECT oid FROM readable WHERE new \
        UNION SELECT attrelid FROM pg_attribute WHERE $known AND attnum > 0 AND age(xmin) <= $since) \
    SELECT attrelid, CASE WHEN NOT attisdropped THEN attname END, atttypid FROM pg_attribute \
    WHERE attnum > 0 AND attrelid IN (SELECT oid FROM changed) \
    AND attrelid IN (SELECT oid FROM readable) ORDER BY attrelid, attnum";

/// `serial` depends automatically on its column, an identity column's sequence internally.
const SEQUENCES: &str = "SELECT d.objid, d.refobjid, a.attname FROM pg_class s \
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.objsubid = 0 \
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
    WHERE s.relkind = 'S'";

/// An aggregate says nothing of volatility itself: its parts count. (Whether they run as their owner
/// does, too.) Whether PUBLIC may execute goes by the ACL, and without one it may.
const FUNCTIONS: &str = "SELECT p.oid, p.pronamespace, p.proname, oidvectortypes(p.proargtypes), \
    p.proargtypes, p.pronargdefaults, p.provariadic, p.prorettype, \
    coalesce(a.volatility, p.provolatile::text), l.lanname IN ('internal', 'c'), \
    CASE WHEN p.oid < 16384 THEN 's' WHEN p.oid IN (SELECT objid FROM pg_depend \
        WHERE classid = 'pg_proc'::regclass AND deptype = 'e') THEN 'e' ELSE 'u' END, \
    coalesce(a.definer, p.prosecdef), \
    p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) \
        WHERE grantee = 0 AND privilege_type = 'EXECUTE'), \
    CASE WHEN p.oid >= 16384 AND p.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql') \
        AND p.provolatile <> 'v' AND NOT p.prosecdef AND p.prosrc !~* 'u&\"' \
        THEN coalesce((SELECT string_agg(DISTINCT lower(w[1] COLLATE \"C\"), ' ') \
            FROM regexp_matches(p.prosrc, '[[:alnum:]_$]+', 'g') w), '') END \
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang \
    LEFT JOIN (SELECT aggfnoid, bool_or(f.prosecdef) AS definer, \
            CASE WHEN bool_or(f.provolatile = 'v') THEN 'v' \
                WHEN bool_or(f.provolatile = 's') THEN 's' ELSE 'i' END AS volatility \
        FROM pg_aggregate JOIN pg_proc f ON f.oid IN (aggtransfn, aggfinalfn, aggcombinefn, \
            aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn) \
        WHERE aggfnoid >= 16384 GROUP BY aggfnoid) a ON a.aggfnoid = p.oid ORDER BY p.oid";

/// Those of the server call functions that PUBLIC may execute, as long as nobody has changed that.
const OPERATORS: &str = "SELECT o.oprnamespace, o.oprname, o.oprleft, o.oprright, \
    p.pronamespace, p.proname, oidvectortypes(p.proargtypes) \
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode \
    WHERE o.oid >= 16384 OR (p.proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) \
        WHERE grantee = 0 AND privilege_type = 'EXECUTE'))";

const CASTS: &str = "SELECT c.castsource, c.casttarget, c.castcontext, \
    p.pronamespace, p.proname, oidvectortypes(p.proargtypes) \
    FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc AND (p.oid >= 16384 OR \
        (p.proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) \
            WHERE grantee = 0 AND privilege_type = 'EXECUTE'))) ORDER BY 1, 2";

/// A row type belongs to a relation of another kind than `c`; an array is some type's `typarray`.
const TYPES: &str = "SELECT t.oid, t.typnamespace, t.typname, t.typtype, t.typcategory, \
    t.typispreferred, e.oid, t.typbasetype \
    FROM pg_type t LEFT JOIN pg_type e ON e.typarray = t.oid \
    LEFT JOIN pg_class c ON c.oid = coalesce(e.typrelid, t.typrelid) \
    WHERE c.oid IS NULL OR c.relkind = 'c'";

/// Whether everybody may make temporary objects.
const TEMPORARY: &str = "SELECT has_database_privilege('public', current_database(), 'TEMPORARY')";

/// The schema with the temporary objects of the session that asks, once it has one.
const OWN_SCHEMA: &str =
    "SELECT oid, nspname, false FROM pg_namespace WHERE oid = pg_my_temp_schema()";

/// Its relations. A policy on one would be of its own making.
const OWN_RELATIONS: &str = "SELECT c.oid, relnamespace, relname, relkind, coalesce(indrelid, 0) \
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE relnamespace = pg_my_temp_schema()";

const OWN_CODED: &str = "SELECT oid FROM pg_class c WHERE relnamespace = pg_my_temp_schema() \
    AND ((relhasrules AND relkind <> 'v') OR EXISTS (SELECT FROM pg_trigger t \
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal))";

const OWN_COLUMNS: &str = "SELECT attrelid, attname, atttypid FROM pg_attribute \
    WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class \
        WHERE relkind <> 'i' AND relnamespace = pg_my_temp_schema()) \
    ORDER BY attrelid, attnum";

const OWN_TYPES: &str = "SELECT oid, typnamespace, typname, typtype, typcategory, typispreferred, \
    NULL, typbasetype FROM pg_type \
    WHERE typnamespace = pg_my_temp_schema() AND typrelid = 0 AND typcategory <> 'A'";

/// What is read, in this order: each statement, and who takes its rows.
pub(super) const PARTS: &[(&str, Take)] = &[
    (SCHEMAS, Loading::schema),
    (EXISTING, Loading::existing),
    (RELATIONS, Loading::relation),
    (CHILDREN, Loading::child),
    (BYPASSED, Loading::bypassed),
    (CODED, Loading::coded),
    (UNLOGGED, Loading::unlogged),
    (COLUMNS, Loading::column),
    (SEQUENCES, Loading::sequence),
    (FUNCTIONS, Loading::function),
    (OPERATORS, Loading::operator),
    (TYPES, Loading::type_),
    (CASTS, Loading::cast),
    (TEMPORARY, Loading::temporary),
    (definitions::CLOSED, definitions::closed),
    (definitions::DEFAULTS, definitions::default),
    (definitions::INVOKERS, definitions::invoker),
    (definitions::POLICIES, definitions::policy),
    (definitions::BELOW, definitions::below),
    (doubts::TREES, doubts::tree),
    (doubts::USES, doubts::uses),
];

/// What a session's own connection adds: its temporary objects.
pub(super) const OWN_PARTS: &[(&str, Take)] = &[
    (OWN_SCHEMA, Loading::schema),
    (OWN_RELATIONS, Loading::relation),
    (OWN_CODED, Loading::coded),
    (OWN_COLUMNS, Loading::column),
    (OWN_TYPES, Loading::type_),
];

/// The text of a part: all of it, or what has changed since `mark` and what tells what has gone.
///
/// A row that was written by a transaction older than the mark's horizon was seen by it. `xmin` keeps its number when
/// it is frozen, and so may seem newer than it is, but never older, as long as fewer than 2^31 transactions lie
/// between; beyond half of that, and at another server, all is read.
pub(super) fn text(sql: &str, mark: Option<&Mark>) -> String {
    let Some(mark) = mark else {
        return sql
            .replace("$since", "2147483647")
            .replace("$known", "false")
            .replace("$unsure", "true")
            .replace("$calling", "'{}'::oid[]")
            .replace("$doubted", "'{}'::oid[]")
            .replace("$many", "true");
    };
    let Mark { horizon, started, database, closed, calling, doubted, .. } = mark;
    let since = format!(
        "(SELECT CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint - {horizon} \
            BETWEEN 0 AND 1000000000 \
            AND (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint = {started} \
            AND EXISTS (SELECT FROM pg_database WHERE datname = current_database() \
                AND oid = {database}) THEN age('{}'::xid) ELSE 2147483647 END)",
        horizon & 0xffff_ffff
    );
    let unsure = if calling.len() > CALLING_MAX {
        "true".to_owned()
    } else {
        let closed = list(closed);
        format!("(SELECT array_agg(oid ORDER BY oid) IS DISTINCT FROM {closed} FROM closed)")
    };
    sql.replace("$since", &since)
        .replace("$known", "true")
        .replace("$unsure", &unsure)
        .replace("$calling", &list(calling))
        .replace("$many", if doubted.len() > CALLING_MAX { "true" } else { "false" })
        .replace("$doubted", &list(if doubted.len() > CALLING_MAX { &[] } else { doubted }))
}

/// Beyond that many, looking for them costs more than reading all.
const CALLING_MAX: usize = 200;

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    format!("'{{{}}}'::oid[]", numbers.join(","))
}

/// Catalog and fingerprint of one moment. The version is 0, for whoever keeps the catalog to set. Where `known` is
/// of the same server, only what has changed since is read. There is no fingerprint where something could not be
/// read because somebody is changing it: that he gives it up would not show.
///
/// # Errors
/// When a statement fails or its result cannot be understood. The connection is of no more use then.
pub async fn load(
    connection: &mut Connection,
    known: Option<&Catalog>,
) -> Result<(Catalog, Option<Fingerprint>), UpstreamError> {
    client::query(connection, BEGIN).await?;
    let fingerprint = fingerprint::take(connection).await?;
    let mut loading = Loading::since(known);
    for (sql, take) in [(MARK, Loading::mark as Take)].iter().chain(PARTS) {
        let sql = text(sql, known.and_then(|known| known.mark.as_deref()));
        let take = |row: Row<'_>| take(&mut loading, row);
        client::each_row(connection, &sql, Bounds::default(), take).await?;
    }
    client::query(connection, "COMMIT").await?;
    let fingerprint = (!loading.busy).then_some(fingerprint);
    Ok((finish(loading, connection.server_version), fingerprint))
}

/// The catalog of all parts.
pub(super) fn finish(mut loading: Loading, server_version: u32) -> Catalog {
    loading.settle_doubts();
    definitions::propagate(&mut loading);
    loading.finish(server_version)
}

impl Kept for Catalog {
    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn same_content(&self, other: &Self) -> bool {
        Self::same_content(self, other)
    }
}

/// A connection that looks, and where the server stood at the last load.
#[derive(Debug)]
pub struct Watching {
    connection: Connection,
    fingerprint: Option<Fingerprint>,
}

impl Source for Target {
    type Catalog = Catalog;
    type Connection = Watching;
    type Facts = Vec<(String, String)>;

    fn place(&self) -> String {
        self.host.to_string()
    }

    fn has_names_of(&self, other: &Self) -> bool {
        self.has_names_of(other)
    }

    fn forget_authorities(&self) {
        self.forget_authorities();
    }

    async fn open(&self) -> Result<(Watching, Self::Facts), UpstreamError> {
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut connection = connect(self, &startup).await?;
        if connection.server_version < VERSION_MIN {
            return Err(UpstreamError::TooOld(connection.server_version));
        }
        let mut parameters = connection.parameters.clone();
        parameters.retain(|(name, _)| name != "application_name");
        let settings = client::query(&mut connection, SESSION);
        within(CHECK_MAX, "setting up the service connection", settings).await?;
        // A server that cannot (a replica) leaves it at the interval.
        let listening = accepted(&mut connection, LISTEN);
        within(CHECK_MAX, "listening for other proxies", listening).await?;
        Ok((Watching { connection, fingerprint: None }, parameters))
    }

    async fn changed(watching: &mut Watching) -> Result<bool, UpstreamError> {
        // Whatever was said before this look begins is seen by it.
        watching.connection.notified = false;
        match &mut watching.fingerprint {
            Some(known) => fingerprint::changed(&mut watching.connection, known).await,
            None => Ok(true),
        }
    }

    async fn load(
        watching: &mut Watching,
        known: Option<&Catalog>,
    ) -> Result<Catalog, UpstreamError> {
        let (catalog, fingerprint) = load(&mut watching.connection, known).await?;
        watching.fingerprint = fingerprint;
        Ok(catalog)
    }

    async fn position(watching: &mut Watching) -> Result<Option<Position>, UpstreamError> {
        place::position(&mut watching.connection).await
    }

    async fn tell(watching: &mut Watching) -> Result<(), UpstreamError> {
        accepted(&mut watching.connection, NOTIFY).await
    }

    async fn told(watching: &mut Watching) {
        // That it breaks is found by the look that follows.
        let _ = client::notified(&mut watching.connection).await;
    }

    async fn leave(mut watching: Watching) {
        let mut goodbye = Vec::new();
        reply::terminate(&mut goodbye);
        let _ = watching.connection.stream.write_all(&goodbye).await;
    }
}

/// Runs a statement that may be refused.
async fn accepted(connection: &mut Connection, sql: &str) -> Result<(), UpstreamError> {
    match client::query(connection, sql).await {
        Ok(_) => Ok(()),
        Err(UpstreamError::Failed { sqlstate, message }) => {
            tracing::debug!(%sqlstate, %message, sql, "the server refuses");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
