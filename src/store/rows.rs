//! Between values and rows, whatever keeps them.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::sql::{Row, Sql, Value};
use super::{GrantFilter, LIST_MAX, RequestFilter};
use crate::grant::privilege::{Privilege, parse_stored};
use crate::grant::request::Request;
use crate::grant::{Grant, GrantId, RequestId, Revocation, Route};
use crate::identity::token::TokenVerifier;
use crate::identity::{PrincipalName, TokenId};
use crate::secret::Secret;
use crate::time::Timestamp;

type Result<T> = std::result::Result<T, StoreError>;

fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Row(why.into())
}

/// The store's integers are signed; what lies past them is as good as for ever.
fn micros(time: Timestamp) -> i64 {
    i64::try_from(time.micros()).unwrap_or(i64::MAX)
}

fn time_of(value: i64) -> Result<Timestamp> {
    u64::try_from(value).map(Timestamp::from_micros).map_err(unreadable)
}

fn time(row: &Row, column: &'static str) -> Result<Timestamp> {
    time_of(row.integer(column)?)
}

fn time_or_none(row: &Row, column: &'static str) -> Result<Option<Timestamp>> {
    row.integer_or_none(column)?.map(time_of).transpose()
}

fn text<T: for<'a> From<&'a str>>(row: &Row, column: &'static str) -> Result<T> {
    row.text(column).map(T::from)
}

fn text_or_none<T: for<'a> From<&'a str>>(row: &Row, column: &'static str) -> Result<Option<T>> {
    Ok(row.text_or_none(column)?.map(T::from))
}

fn principal(row: &Row) -> Result<PrincipalName> {
    PrincipalName::new(row.text("principal")?).map_err(unreadable)
}

fn json<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T> {
    serde_json::from_str(row.text(column)?).map_err(unreadable)
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(unreadable)
}

fn privileges(row: &Row) -> Result<Vec<Privilege>> {
    let texts: Vec<String> = json(row, "privileges")?;
    texts.iter().map(|text| parse_stored(text).map_err(unreadable)).collect()
}

fn to_texts(privileges: &[Privilege]) -> Result<String> {
    to_json(&privileges.iter().map(Privilege::stored).collect::<Vec<_>>())
}

/// NULL, as in rows from before there were routes, is anywhere.
fn route(row: &Row) -> Result<Route> {
    row.text_or_none("route")?.map_or(Ok(Route::Any), |text| text.parse().map_err(unreadable))
}

fn secret(row: &Row, column: &'static str) -> Result<Secret> {
    row.bytes(column).map(|bytes| Secret::new(bytes.to_vec()))
}

fn token_of(row: &Row) -> Result<TokenVerifier> {
    Ok(TokenVerifier {
        id: TokenId(text(row, "id")?),
        principal: principal(row)?,
        issued_by: text(row, "issued_by")?,
        issued: time(row, "issued")?,
        expires: time(row, "expires")?,
        revoked: time_or_none(row, "revoked")?,
        scram_stored_key: secret(row, "scram_stored_key")?,
        scram_server_key: secret(row, "scram_server_key")?,
        caching_sha2: secret(row, "caching_sha2")?,
        native: secret(row, "native")?,
    })
}

fn grant_of(row: &Row) -> Result<Grant> {
    let revoked = match time_or_none(row, "revoked_at")? {
        Some(at) => Some(Revocation {
            at,
            by: text(row, "revoked_by")?,
            reason: text_or_none(row, "revoked_reason")?,
        }),
        None => None,
    };
    Ok(Grant {
        id: GrantId(text(row, "id")?),
        principal: principal(row)?,
        database: text(row, "database")?,
        privileges: privileges(row)?,
        not_before: time(row, "not_before")?,
        expires: time(row, "expires")?,
        reason: text(row, "reason")?,
        ticket: text_or_none(row, "ticket")?,
        approvers: json(row, "approvers")?,
        request: text_or_none(row, "request")?.map(RequestId),
        limits: json(row, "limits")?,
        row_filter: text_or_none(row, "row_filter")?,
        route: route(row)?,
        created: time(row, "created")?,
        revoked,
    })
}

fn request_of(row: &Row) -> Result<Request> {
    let duration = u64::try_from(row.integer("duration")?).map_err(unreadable)?;
    Ok(Request {
        id: RequestId(text(row, "id")?),
        principal: principal(row)?,
        requested_by: row.text("requested_by")?.parse().map_err(unreadable)?,
        database: text(row, "database")?,
        privileges: privileges(row)?,
        duration: Duration::from_micros(duration),
        reason: text(row, "reason")?,
        ticket: text_or_none(row, "ticket")?,
        route: route(row)?,
        created: time(row, "created")?,
        expires: time(row, "expires")?,
        state: json(row, "outcome")?,
    })
}

fn shared<T>(rows: &[Row], read: fn(&Row) -> Result<T>) -> Result<Vec<Arc<T>>> {
    rows.iter().map(|row| read(row).map(Arc::new)).collect()
}

fn count(sql: &dyn Sql, query: &str, values: &[Value<'_>]) -> Result<usize> {
    let rows = sql.query(query, values)?;
    let count = rows.first().ok_or(StoreError::Column("count"))?.integer("count")?;
    usize::try_from(count).map_err(unreadable)
}

fn limit(limit: Option<u32>) -> Value<'static> {
    i64::from(limit.unwrap_or(LIST_MAX).min(LIST_MAX)).into()
}

/// Makes the store's key where there is none yet.
pub fn keep_store_key(sql: &dyn Sql, key: &[u8]) -> Result<u64> {
    sql.execute(
        "INSERT INTO meta (name, value) VALUES ('store-key', $1) ON CONFLICT (name) DO NOTHING",
        &[Value::Bytes(key)],
    )
}

pub fn store_key(sql: &dyn Sql) -> Result<Secret> {
    let rows = sql.query("SELECT value FROM meta WHERE name = 'store-key'", &[])?;
    secret(rows.first().ok_or(StoreError::Column("store-key"))?, "value")
}

/// Every token, the newest of each principal first.
pub fn tokens(sql: &dyn Sql) -> Result<Vec<Arc<TokenVerifier>>> {
    shared(&sql.query("SELECT * FROM tokens ORDER BY issued DESC, id", &[])?, token_of)
}

pub fn token(sql: &dyn Sql, id: &TokenId) -> Result<Option<TokenVerifier>> {
    let rows = sql.query("SELECT * FROM tokens WHERE id = $1", &[(*id.0).into()])?;
    rows.first().map(token_of).transpose()
}

pub fn live_tokens(sql: &dyn Sql, of: &PrincipalName, now: Timestamp) -> Result<usize> {
    count(
        sql,
        "SELECT count(*) AS count FROM tokens \
         WHERE principal = $1 AND revoked IS NULL AND expires > $2",
        &[of.as_str().into(), micros(now).into()],
    )
}

pub fn insert_token(sql: &dyn Sql, token: &TokenVerifier) -> Result<u64> {
    sql.execute(
        "INSERT INTO tokens (id, principal, issued_by, issued, expires, revoked, scram_stored_key, \
         scram_server_key, caching_sha2, native) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        &[
            (*token.id.0).into(),
            token.principal.as_str().into(),
            (*token.issued_by).into(),
            micros(token.issued).into(),
            micros(token.expires).into(),
            token.revoked.map(micros).into(),
            Value::Bytes(token.scram_stored_key.expose()),
            Value::Bytes(token.scram_server_key.expose()),
            Value::Bytes(token.caching_sha2.expose()),
            Value::Bytes(token.native.expose()),
        ],
    )
}

pub fn revoke_token(sql: &dyn Sql, id: &TokenId, by: &str, now: Timestamp) -> Result<u64> {
    sql.execute(
        "UPDATE tokens SET revoked = $2, revoked_by = $3 WHERE id = $1",
        &[(*id.0).into(), micros(now).into(), by.into()],
    )
}

/// Forgets tokens that ended at that moment or before.
pub fn delete_tokens(sql: &dyn Sql, ended: Timestamp) -> Result<u64> {
    sql.execute("DELETE FROM tokens WHERE expires <= $1 OR revoked <= $1", &[micros(ended).into()])
}

/// Every grant that had not ended at that moment.
pub fn grants_since(sql: &dyn Sql, ended: Timestamp) -> Result<Vec<Arc<Grant>>> {
    let rows = sql.query(
        "SELECT * FROM grants WHERE expires > $1 AND (revoked_at IS NULL OR revoked_at > $1)",
        &[micros(ended).into()],
    )?;
    shared(&rows, grant_of)
}

pub fn grants(sql: &dyn Sql, filter: &GrantFilter) -> Result<Vec<Arc<Grant>>> {
    let rows = sql.query(
        "SELECT * FROM grants WHERE ($1 IS NULL OR principal = $1) \
         AND ($2 IS NULL OR database = $2) \
         AND ($3 IS NULL OR (revoked_at IS NULL AND not_before <= $3 AND expires > $3)) \
         ORDER BY created DESC, id LIMIT $4",
        &[
            filter.principal.as_ref().map(PrincipalName::as_str).into(),
            filter.database.as_deref().into(),
            filter.live_at.map(micros).into(),
            limit(filter.limit),
        ],
    )?;
    shared(&rows, grant_of)
}

pub fn grant(sql: &dyn Sql, id: &GrantId) -> Result<Option<Grant>> {
    let rows = sql.query("SELECT * FROM grants WHERE id = $1", &[(*id.0).into()])?;
    rows.first().map(grant_of).transpose()
}

pub fn insert_grant(sql: &dyn Sql, grant: &Grant) -> Result<u64> {
    let revoked = grant.revoked.as_ref();
    sql.execute(
        "INSERT INTO grants (id, principal, database, privileges, not_before, expires, reason, \
         ticket, approvers, request, limits, row_filter, route, created, revoked_at, revoked_by, \
         revoked_reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
         $16, $17)",
        &[
            (*grant.id.0).into(),
            grant.principal.as_str().into(),
            (*grant.database).into(),
            to_texts(&grant.privileges)?.as_str().into(),
            micros(grant.not_before).into(),
            micros(grant.expires).into(),
            (*grant.reason).into(),
            grant.ticket.as_deref().into(),
            to_json(&grant.approvers)?.as_str().into(),
            grant.request.as_ref().map(|id| &*id.0).into(),
            to_json(&grant.limits)?.as_str().into(),
            grant.row_filter.as_deref().into(),
            grant.route.bound().into(),
            micros(grant.created).into(),
            revoked.map(|revoked| micros(revoked.at)).into(),
            revoked.map(|revoked| &*revoked.by).into(),
            revoked.and_then(|revoked| revoked.reason.as_deref()).into(),
        ],
    )
}

pub fn revoke_grant(sql: &dyn Sql, id: &GrantId, revocation: &Revocation) -> Result<u64> {
    sql.execute(
        "UPDATE grants SET revoked_at = $2, revoked_by = $3, revoked_reason = $4 WHERE id = $1",
        &[
            (*id.0).into(),
            micros(revocation.at).into(),
            (*revocation.by).into(),
            revocation.reason.as_deref().into(),
        ],
    )
}

pub fn requests(sql: &dyn Sql, filter: &RequestFilter) -> Result<Vec<Request>> {
    let rows = sql.query(
        "SELECT * FROM requests WHERE ($1 IS NULL OR principal = $1) \
         AND ($2 IS NULL OR database = $2) \
         AND ($3 IS NULL OR (state = 'pending' AND expires > $3)) \
         ORDER BY created DESC, id LIMIT $4",
        &[
            filter.principal.as_ref().map(PrincipalName::as_str).into(),
            filter.database.as_deref().into(),
            filter.pending_at.map(micros).into(),
            limit(filter.limit),
        ],
    )?;
    rows.iter().map(request_of).collect()
}

pub fn request(sql: &dyn Sql, id: &RequestId) -> Result<Option<Request>> {
    let rows = sql.query("SELECT * FROM requests WHERE id = $1", &[(*id.0).into()])?;
    rows.first().map(request_of).transpose()
}

pub fn waiting_requests(sql: &dyn Sql, of: &PrincipalName, now: Timestamp) -> Result<usize> {
    count(
        sql,
        "SELECT count(*) AS count FROM requests \
         WHERE principal = $1 AND state = 'pending' AND expires > $2",
        &[of.as_str().into(), micros(now).into()],
    )
}

/// Requests that still count as waiting although their time has passed.
pub fn overdue_requests(sql: &dyn Sql, now: Timestamp) -> Result<Vec<Request>> {
    let rows = sql.query(
        "SELECT * FROM requests WHERE state = 'pending' AND expires <= $1 ORDER BY created",
        &[micros(now).into()],
    )?;
    rows.iter().map(request_of).collect()
}

/// Grants that ran out since this was last asked and up to `now`, not the revoked ones. What was told
/// once is remembered in the same transaction, so that neither a restart nor another proxy repeats or
/// forgets one.
pub fn newly_expired_grants(sql: &dyn Sql, now: Timestamp) -> Result<Vec<Arc<Grant>>> {
    let told = sql.query("SELECT value FROM meta WHERE name = 'grants-expired-until'", &[])?;
    let told = told.first().map(|row| row.bytes("value")).transpose()?;
    let told = told.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
    let rows = sql.query(
        "SELECT * FROM grants WHERE expires > $1 AND expires <= $2 AND revoked_at IS NULL \
         ORDER BY expires",
        &[told.into(), micros(now).into()],
    )?;
    if !rows.is_empty() {
        sql.execute(
            "INSERT INTO meta (name, value) VALUES ('grants-expired-until', $1) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            &[Value::Bytes(&micros(now).to_be_bytes())],
        )?;
    }
    shared(&rows, grant_of)
}

pub fn insert_request(sql: &dyn Sql, request: &Request) -> Result<u64> {
    let duration = i64::try_from(request.duration.as_micros()).map_err(unreadable)?;
    sql.execute(
        "INSERT INTO requests (id, principal, requested_by, database, privileges, duration, reason, \
         ticket, route, created, expires, state, outcome) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        &[
            (*request.id.0).into(),
            request.principal.as_str().into(),
            request.requested_by.to_string().as_str().into(),
            (*request.database).into(),
            to_texts(&request.privileges)?.as_str().into(),
            duration.into(),
            (*request.reason).into(),
            request.ticket.as_deref().into(),
            request.route.bound().into(),
            micros(request.created).into(),
            micros(request.expires).into(),
            request.state.word().into(),
            to_json(&request.state)?.as_str().into(),
        ],
    )
}

/// Only the state of a request ever changes.
pub fn update_request(sql: &dyn Sql, request: &Request) -> Result<u64> {
    sql.execute(
        "UPDATE requests SET state = $2, outcome = $3 WHERE id = $1",
        &[
            (*request.id.0).into(),
            request.state.word().into(),
            to_json(&request.state)?.as_str().into(),
        ],
    )
}

/// What others changed after that revision, of a store that counts them.
pub fn changed_grants(sql: &dyn Sql, after: i64) -> Result<Vec<Arc<Grant>>> {
    let rows = sql.query(
        "SELECT * FROM grants WHERE id IN \
         (SELECT id FROM changes WHERE kind = 'grant' AND revision > $1)",
        &[after.into()],
    )?;
    shared(&rows, grant_of)
}

/// As [`changed_grants`].
pub fn changed_tokens(sql: &dyn Sql, after: i64) -> Result<Vec<Arc<TokenVerifier>>> {
    let rows = sql.query(
        "SELECT * FROM tokens WHERE id IN \
         (SELECT id FROM changes WHERE kind = 'token' AND revision > $1)",
        &[after.into()],
    )?;
    shared(&rows, token_of)
}
