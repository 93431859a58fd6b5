//! Between values and rows.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, named_params};
use serde::de::DeserializeOwned;

use super::{GrantFilter, LIST_MAX, RequestFilter};
use crate::grant::privilege::{Privilege, parse_stored};
use crate::grant::request::Request;
use crate::grant::{Grant, GrantId, RequestId, Revocation};
use crate::identity::token::TokenVerifier;
use crate::identity::{PrincipalName, TokenId};
use crate::secret::Secret;
use crate::time::Timestamp;

type Reason = Box<dyn std::error::Error + Send + Sync>;

fn unreadable(why: impl Into<Reason>) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, why.into())
}

fn unwritable(why: impl Into<Reason>) -> Error {
    Error::ToSqlConversionFailure(why.into())
}

/// SQLite's integers are signed; what lies past them is as good as for ever.
pub fn micros(time: Timestamp) -> i64 {
    i64::try_from(time.micros()).unwrap_or(i64::MAX)
}

fn time_of(value: i64) -> Result<Timestamp> {
    u64::try_from(value).map(Timestamp::from_micros).map_err(unreadable)
}

fn time(row: &Row<'_>, column: &str) -> Result<Timestamp> {
    time_of(row.get(column)?)
}

fn time_or_none(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(time_of).transpose()
}

fn text(row: &Row<'_>, column: &str) -> Result<Box<str>> {
    row.get(column)
}

fn principal(row: &Row<'_>) -> Result<PrincipalName> {
    PrincipalName::new(&text(row, "principal")?).map_err(unreadable)
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T> {
    serde_json::from_str(&text(row, column)?).map_err(unreadable)
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(unwritable)
}

fn privileges(row: &Row<'_>) -> Result<Vec<Privilege>> {
    let texts: Vec<String> = json(row, "privileges")?;
    texts.iter().map(|text| parse_stored(text).map_err(unreadable)).collect()
}

fn to_texts(privileges: &[Privilege]) -> Result<String> {
    to_json(&privileges.iter().map(Privilege::stored).collect::<Vec<_>>())
}

fn secret(row: &Row<'_>, column: &str) -> Result<Secret> {
    row.get::<_, Vec<u8>>(column).map(Secret::new)
}

fn token_of(row: &Row<'_>) -> Result<TokenVerifier> {
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

fn grant_of(row: &Row<'_>) -> Result<Grant> {
    let revoked = match time_or_none(row, "revoked_at")? {
        Some(at) => Some(Revocation {
            at,
            by: text(row, "revoked_by")?,
            reason: row.get("revoked_reason")?,
        }),
        None => None,
    };
    Ok(Grant {
        id: GrantId(row.get("id")?),
        principal: principal(row)?,
        database: text(row, "database")?,
        privileges: privileges(row)?,
        not_before: time(row, "not_before")?,
        expires: time(row, "expires")?,
        reason: text(row, "reason")?.into(),
        ticket: row.get("ticket")?,
        approvers: json(row, "approvers")?,
        request: row.get::<_, Option<Box<str>>>("request")?.map(RequestId),
        limits: json(row, "limits")?,
        row_filter: row.get("row_filter")?,
        route: row.get("route")?,
        created: time(row, "created")?,
        revoked,
    })
}

fn request_of(row: &Row<'_>) -> Result<Request> {
    let duration = u64::try_from(row.get::<_, i64>("duration")?).map_err(unreadable)?;
    Ok(Request {
        id: RequestId(text(row, "id")?),
        principal: principal(row)?,
        requested_by: text(row, "requested_by")?.parse().map_err(unreadable)?,
        database: text(row, "database")?,
        privileges: privileges(row)?,
        duration: Duration::from_micros(duration),
        reason: text(row, "reason")?,
        ticket: row.get("ticket")?,
        created: time(row, "created")?,
        expires: time(row, "expires")?,
        state: json(row, "outcome")?,
    })
}

pub fn store_key(connection: &Connection) -> Result<Secret> {
    connection.query_row("SELECT value FROM meta WHERE name = 'store-key'", [], |row| {
        secret(row, "value")
    })
}

/// Every token, the newest of each principal first.
pub fn tokens(connection: &Connection) -> Result<Vec<Arc<TokenVerifier>>> {
    let mut statement = connection.prepare("SELECT * FROM tokens ORDER BY issued DESC, id")?;
    statement.query_map([], |row| token_of(row).map(Arc::new))?.collect()
}

pub fn token(connection: &Connection, id: &TokenId) -> Result<Option<TokenVerifier>> {
    connection.query_row("SELECT * FROM tokens WHERE id = ?1", [&id.0], token_of).optional()
}

pub fn live_tokens(connection: &Connection, of: &PrincipalName, now: Timestamp) -> Result<usize> {
    connection.query_row(
        "SELECT count(*) FROM tokens WHERE principal = ?1 AND revoked IS NULL AND expires > ?2",
        (of.as_str(), micros(now)),
        |row| row.get::<_, u32>(0).map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
    )
}

pub fn insert_token(connection: &Connection, token: &TokenVerifier) -> Result<usize> {
    connection.execute(
        "INSERT INTO tokens (id, principal, issued_by, issued, expires, revoked, scram_stored_key, \
         scram_server_key, caching_sha2, native) VALUES (:id, :principal, :issued_by, :issued, \
         :expires, :revoked, :scram_stored_key, :scram_server_key, :caching_sha2, :native)",
        named_params! {
            ":id": token.id.0,
            ":principal": token.principal.as_str(),
            ":issued_by": token.issued_by,
            ":issued": micros(token.issued),
            ":expires": micros(token.expires),
            ":revoked": token.revoked.map(micros),
            ":scram_stored_key": token.scram_stored_key.expose(),
            ":scram_server_key": token.scram_server_key.expose(),
            ":caching_sha2": token.caching_sha2.expose(),
            ":native": token.native.expose(),
        },
    )
}

pub fn revoke_token(
    connection: &Connection,
    id: &TokenId,
    by: &str,
    now: Timestamp,
) -> Result<usize> {
    connection.execute(
        "UPDATE tokens SET revoked = ?2, revoked_by = ?3 WHERE id = ?1",
        (&id.0, micros(now), by),
    )
}

/// Forgets tokens that ended at that moment or before.
pub fn delete_tokens(connection: &Connection, ended: Timestamp) -> Result<usize> {
    connection.execute(
        "DELETE FROM tokens WHERE coalesce(min(revoked, expires), expires) <= ?1",
        [micros(ended)],
    )
}

/// Every grant that had not ended at that moment.
pub fn grants_since(connection: &Connection, ended: Timestamp) -> Result<Vec<Arc<Grant>>> {
    let mut statement = connection
        .prepare("SELECT * FROM grants WHERE coalesce(min(revoked_at, expires), expires) > ?1")?;
    statement.query_map([micros(ended)], |row| grant_of(row).map(Arc::new))?.collect()
}

pub fn grants(connection: &Connection, filter: &GrantFilter) -> Result<Vec<Arc<Grant>>> {
    let mut statement = connection.prepare(
        "SELECT * FROM grants WHERE (:principal IS NULL OR principal = :principal) \
         AND (:database IS NULL OR database = :database) \
         AND (:live IS NULL OR (revoked_at IS NULL AND not_before <= :live AND expires > :live)) \
         ORDER BY created DESC, id LIMIT :limit",
    )?;
    statement
        .query_map(
            named_params! {
                ":principal": filter.principal.as_ref().map(PrincipalName::as_str),
                ":database": filter.database,
                ":live": filter.live_at.map(micros),
                ":limit": filter.limit.unwrap_or(LIST_MAX).min(LIST_MAX),
            },
            |row| grant_of(row).map(Arc::new),
        )?
        .collect()
}

pub fn grant(connection: &Connection, id: &GrantId) -> Result<Option<Grant>> {
    connection.query_row("SELECT * FROM grants WHERE id = ?1", [&id.0], grant_of).optional()
}

pub fn insert_grant(connection: &Connection, grant: &Grant) -> Result<usize> {
    let revoked = grant.revoked.as_ref();
    connection.execute(
        "INSERT INTO grants VALUES (:id, :principal, :database, :privileges, :not_before, :expires, \
         :reason, :ticket, :approvers, :request, :limits, :row_filter, :route, :created, \
         :revoked_at, :revoked_by, :revoked_reason)",
        named_params! {
            ":id": grant.id.0,
            ":principal": grant.principal.as_str(),
            ":database": grant.database,
            ":privileges": to_texts(&grant.privileges)?,
            ":not_before": micros(grant.not_before),
            ":expires": micros(grant.expires),
            ":reason": grant.reason,
            ":ticket": grant.ticket,
            ":approvers": to_json(&grant.approvers)?,
            ":request": grant.request.as_ref().map(|id| &id.0),
            ":limits": to_json(&grant.limits)?,
            ":row_filter": grant.row_filter,
            ":route": grant.route,
            ":created": micros(grant.created),
            ":revoked_at": revoked.map(|revoked| micros(revoked.at)),
            ":revoked_by": revoked.map(|revoked| &revoked.by),
            ":revoked_reason": revoked.and_then(|revoked| revoked.reason.as_ref()),
        },
    )
}

pub fn revoke_grant(
    connection: &Connection,
    id: &GrantId,
    revocation: &Revocation,
) -> Result<usize> {
    connection.execute(
        "UPDATE grants SET revoked_at = ?2, revoked_by = ?3, revoked_reason = ?4 WHERE id = ?1",
        (&id.0, micros(revocation.at), &revocation.by, &revocation.reason),
    )
}

pub fn requests(connection: &Connection, filter: &RequestFilter) -> Result<Vec<Request>> {
    let mut statement = connection.prepare(
        "SELECT * FROM requests WHERE (:principal IS NULL OR principal = :principal) \
         AND (:database IS NULL OR database = :database) \
         AND (:pending IS NULL OR (state = 'pending' AND expires > :pending)) \
         ORDER BY created DESC, id LIMIT :limit",
    )?;
    statement
        .query_map(
            named_params! {
                ":principal": filter.principal.as_ref().map(PrincipalName::as_str),
                ":database": filter.database,
                ":pending": filter.pending_at.map(micros),
                ":limit": filter.limit.unwrap_or(LIST_MAX).min(LIST_MAX),
            },
            request_of,
        )?
        .collect()
}

pub fn request(connection: &Connection, id: &RequestId) -> Result<Option<Request>> {
    connection.query_row("SELECT * FROM requests WHERE id = ?1", [&id.0], request_of).optional()
}

pub fn waiting_requests(
    connection: &Connection,
    of: &PrincipalName,
    now: Timestamp,
) -> Result<usize> {
    connection.query_row(
        "SELECT count(*) FROM requests WHERE principal = ?1 AND state = 'pending' AND expires > ?2",
        (of.as_str(), micros(now)),
        |row| row.get::<_, u32>(0).map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
    )
}

/// Requests that still count as waiting although their time has passed.
pub fn overdue_requests(connection: &Connection, now: Timestamp) -> Result<Vec<Request>> {
    let mut statement = connection.prepare(
        "SELECT * FROM requests WHERE state = 'pending' AND expires <= ?1 ORDER BY created",
    )?;
    statement.query_map([micros(now)], request_of)?.collect()
}

/// Grants that ran out since this was last asked and up to `now`, not the revoked ones. What was told
/// once is remembered in the same transaction, so that a restart neither repeats nor forgets one.
pub fn newly_expired_grants(connection: &Connection, now: Timestamp) -> Result<Vec<Arc<Grant>>> {
    let told = "SELECT value FROM meta WHERE name = 'grants-expired-until'";
    let told: Option<Vec<u8>> = connection.query_row(told, [], |row| row.get(0)).optional()?;
    let told = told.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
    let mut statement = connection.prepare_cached(
        "SELECT * FROM grants WHERE expires > ?1 AND expires <= ?2 AND revoked_at IS NULL \
         ORDER BY expires",
    )?;
    let expired: Vec<_> = statement
        .query_map([told, micros(now)], |row| grant_of(row).map(Arc::new))?
        .collect::<Result<_>>()?;
    if !expired.is_empty() {
        connection.execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES ('grants-expired-until', ?1)",
            [&micros(now).to_be_bytes()[..]],
        )?;
    }
    Ok(expired)
}

pub fn insert_request(connection: &Connection, request: &Request) -> Result<usize> {
    connection.execute(
        "INSERT INTO requests VALUES (:id, :principal, :requested_by, :database, :privileges, \
         :duration, :reason, :ticket, :created, :expires, :state, :outcome)",
        named_params! {
            ":id": request.id.0,
            ":principal": request.principal.as_str(),
            ":requested_by": request.requested_by.to_string(),
            ":database": request.database,
            ":privileges": to_texts(&request.privileges)?,
            ":duration": i64::try_from(request.duration.as_micros()).map_err(unwritable)?,
            ":reason": request.reason,
            ":ticket": request.ticket,
            ":created": micros(request.created),
            ":expires": micros(request.expires),
            ":state": request.state.word(),
            ":outcome": to_json(&request.state)?,
        },
    )
}

/// Only the state of a request ever changes.
pub fn update_request(connection: &Connection, request: &Request) -> Result<usize> {
    connection.execute(
        "UPDATE requests SET state = ?2, outcome = ?3 WHERE id = ?1",
        (&request.id.0, request.state.word(), to_json(&request.state)?),
    )
}
