//! What the API says and hears, as values. The command line reads the same types back.

use serde::{Deserialize, Serialize};

use crate::grant::{GrantLimits, Revocation, Route};
use crate::session::explain::Explained;
use crate::session::registry::SessionInfo;
use crate::sql::Engine;
use crate::time::Timestamp;

/// Body of `POST /v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IssueToken {
    /// For whom.
    pub principal: String,
    /// For how long, `15m`; the configuration's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// Reply to `POST /v1/tokens`: the only place where a token itself is ever shown. Not `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenInfo {
    /// Public name, `t_` and 12 characters.
    pub id: String,
    /// Whose.
    pub principal: String,
    /// Whether it logs in now.
    pub state: TokenState,
    /// Who issued it.
    pub issued_by: String,
    /// When.
    pub issued: Timestamp,
    /// From then on it refuses new logins.
    pub expires: Timestamp,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

/// What a token is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenState {
    /// It logs in.
    Live,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// Body of `POST /v1/grants`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CreateGrant {
    /// Who is to hold it.
    pub principal: String,
    /// Which entry of the configuration it is for.
    pub database: String,
    /// Each in the privilege grammar; the union counts.
    pub privileges: Vec<String>,
    /// For how long, `1h`.
    pub duration: String,
    /// Why.
    pub reason: String,
    /// A ticket's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// From when; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How much may be done with it. Refused when set: nothing enforces it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<GrantLimits>,
    /// A condition on rows. Refused when set: nothing enforces it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
    /// Where its statements may run.
    #[serde(default)]
    pub route: Route,
}

/// Body of `POST /v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Explain {
    /// Whose grants are looked at.
    pub principal: String,
    /// Which entry of the configuration it is for.
    pub database: String,
    /// The statements. None of them runs.
    pub sql: String,
    /// The `search_path` that names are looked for in, as SET takes it: `sales, public`. When absent, that
    /// of a session that the principal would open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_path: Option<String>,
}

/// One thing that a statement needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExplainedAccess {
    /// Which statement of the text, from 1.
    pub statement: usize,
    /// `SELECT`, `CREATE TABLE` …
    pub command: String,
    /// `READ`, `WRITE`, `DDL`, `ROLE`, `FUNCTION`, `MISC`.
    pub class: String,
    /// What is needed, in the privilege grammar; nothing when the statement needs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// Whether it is granted.
    pub allowed: bool,
    /// The grants that allow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// The smallest privilege that is missing for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl From<Explained> for ExplainedAccess {
    fn from(line: Explained) -> Self {
        Self {
            statement: line.statement,
            command: line.command.to_owned(),
            class: line.class.word().to_owned(),
            allowed: line.is_allowed(),
            access: line.access,
            grants: line.grants,
            missing: line.missing,
        }
    }
}

/// A grant as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GrantInfo {
    /// `g_` and 12 characters.
    pub id: String,
    /// Who holds it.
    pub principal: String,
    /// Which entry of the configuration it is for.
    pub database: String,
    /// Whether it counts now.
    pub state: GrantState,
    /// What it allows, in the privilege grammar.
    pub privileges: Vec<String>,
    /// Where its statements may run.
    #[serde(default)]
    pub route: Route,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// Why.
    pub reason: String,
    /// A ticket's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Who made it, or approved its request.
    pub approvers: Vec<String>,
    /// The request that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Set once it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// What a grant is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantState {
    /// Its time has not come.
    Future,
    /// It counts.
    Live,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// Body of `POST /v1/requests`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CreateRequest {
    /// Who is to hold the grant: an operator has to say, a principal asks for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Which entry of the configuration it is for.
    pub database: String,
    /// Each in the privilege grammar; the union counts.
    pub privileges: Vec<String>,
    /// For how long, from the approval, `30m`.
    pub duration: String,
    /// Why.
    pub reason: String,
    /// A ticket's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How much may be done with the grant. Refused when set: nothing enforces it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<GrantLimits>,
    /// A condition on rows. Refused when set: nothing enforces it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
    /// Where its statements may run.
    #[serde(default)]
    pub route: Route,
}

/// A request as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestInfo {
    /// `r_` and 12 characters.
    pub id: String,
    /// Who is to hold the grant.
    pub principal: String,
    /// Who asked.
    pub requester: String,
    /// Which entry of the configuration it is for.
    pub database: String,
    /// How far it has come.
    pub state: RequestState,
    /// What is asked for, in the privilege grammar.
    pub privileges: Vec<String>,
    /// Where the grant's statements may run.
    #[serde(default)]
    pub route: Route,
    /// For how long, from the approval.
    pub duration: String,
    /// Why.
    pub reason: String,
    /// A ticket's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it waits for a decision.
    pub waits_until: Timestamp,
    /// Who approved, denied or cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// Why it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<String>,
    /// The grant that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestState {
    /// Waits for approvers.
    Pending,
    /// Became a grant.
    Approved,
    /// Refused by an approver.
    Denied,
    /// Withdrawn.
    Cancelled,
    /// Nobody decided in time.
    Expired,
}

/// Body of `POST /v1/requests/{id}/deny`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DenyRequest {
    /// Why.
    pub reason: String,
}

/// Body of `POST /v1/grants/{id}/revoke`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RevokeGrant {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An open session, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OpenSession {
    /// `s_` and 12 characters.
    pub id: String,
    /// Who.
    pub principal: String,
    /// Public name of the token that logged it in.
    pub token: String,
    /// Which entry of the configuration.
    pub database: String,
    /// Its engine.
    pub engine: Engine,
    /// Where the client is.
    pub client: String,
    /// `application_name` at login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Since when.
    pub started: Timestamp,
}

impl From<SessionInfo> for OpenSession {
    fn from(info: SessionInfo) -> Self {
        Self {
            id: info.id.to_string(),
            principal: info.principal.to_string(),
            token: info.token.to_string(),
            database: info.database.to_string(),
            engine: info.engine,
            client: info.client.into(),
            application: info.application.map(Into::into),
            started: info.started,
        }
    }
}

/// Reply to `GET /v1/audit`: where the audit stream is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditPlace {
    /// The file, absolute; absent when the stream goes to standard output only.
    pub file: Option<String>,
}

/// Every list: `{"items": […]}`, so that fields can be added beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The things, in the order of the list.
    pub items: Vec<T>,
}

/// What a list is to hold: `?all=true` shows what is over, too.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListQuery {
    /// Whether to show what is expired, revoked or decided.
    #[serde(default)]
    pub all: bool,
}

/// Every error: `{"error": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// `invalid`, `unauthenticated`, `not-allowed`, `not-found`, `conflict`, `unavailable`.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Something that an operator should know of a database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// A sentence without a full stop.
    pub says: String,
    /// The SQL that mends it.
    pub mend: Option<String>,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Grants cannot be held to, or not given.
    Error,
    /// Something is wider open than it need be.
    Warning,
    /// Worth knowing.
    Note,
}

/// Reply to `GET /v1/databases/{name}/statements`: what `pg_stat_statements` has of people's own roles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatementsSeen {
    /// Why nothing of it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<String>,
    /// From when on it counts, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Those of which it has statements.
    pub roles: Vec<RoleSeen>,
}

/// What `pg_stat_statements` has of a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RoleSeen {
    /// The role.
    pub role: String,
    /// How many statements that differ by more than constants.
    pub statements: usize,
    /// Of them, those whose text the service account may not read.
    pub unreadable: usize,
    /// Of them, those that were not understood, or in which a constant named something.
    pub not_understood: usize,
    /// What the others need, in the privilege grammar.
    pub accesses: Vec<String>,
}

/// What a role may do in a database without any grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Standing {
    /// The role.
    pub role: String,
    /// An attribute, or a privilege in the grammar of grants.
    pub privilege: String,
    /// The role that it has it through.
    pub through: Option<String>,
}
