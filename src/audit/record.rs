//! The audit record, version 1. Fields may be added, never renamed.

use std::sync::Arc;

use serde::Serialize;

use crate::sql::Engine;
use crate::sql::access::RelationUse;
use crate::sql::statement::Class;
use crate::time::Timestamp;

/// One event, before the recorder gives it its `version`, `sequence` and `previous`.
///
/// Absent values are left out of the JSON. Field order here is field order there.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditRecord {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// `s_` and 12 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<str>>,
    /// Number of the statement in its session, from 1; decision and result share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<u64>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// Who acted, where that is not the principal: `local:root`, an approver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Box<str>>,
    /// Public name of the token that logged the session in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Arc<str>>,
    /// The grants that allowed it, or that it is about.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub grants: Arc<[Arc<str>]>,
    /// The request that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<str>>,
    /// The grant's reason, or why the actor did it, or why a login or statement was refused, or what has
    /// changed in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Which entry of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Arc<str>>,
    /// Its engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Where the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<Client>>,
    /// The statement, redacted as the settings say; for text that was not understood, its hash and length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Bind parameters, as the setting says.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub parameters: Arc<[Parameter]>,
    /// Class of the statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Command, `SELECT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'static str>,
    /// Relations that it touches.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub relations: Arc<[RelationUse]>,
    /// All that it needs, in the privilege grammar.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub accesses: Arc<[Box<str>]>,
    /// Whether it was allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Verdict>,
    /// What a refused statement lacked, in the privilege grammar.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Box<str>>,
    /// Address of the server that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Arc<str>>,
    /// `primary`, or which replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'static str>,
    /// Rows returned or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of its result, frame headers included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Microseconds from forwarding to the end of its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// SQLSTATE of its error, the server's or ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<Box<str>>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Privileges of the grant or request that it is about, in the privilege grammar.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub privileges: Vec<Box<str>>,
    /// Until when the grant, token or request that it is about counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What was done to the grant, request or token: `created`, `revoked`, `approved` …; of the
    /// configuration: `applied`, `refused`; of the recorder: `opened`, `reopened`, `closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    /// Whether the database enforces the grant, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_lock: Option<&'static str>,
    /// For a gap: how many records are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// What an [`AuditRecord`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A client logged in.
    SessionStart,
    /// A session ended.
    SessionEnd,
    /// A login was refused.
    LoginRefused,
    /// A statement was decided.
    Decision,
    /// A statement that was allowed has ended.
    Result,
    /// A grant was made, revoked, or ran out.
    Grant,
    /// A request was made, approved, denied, cancelled, or ran out.
    Request,
    /// A token was issued or revoked.
    Token,
    /// The configuration was read again: applied, and what has changed; or refused.
    Configuration,
    /// The recorder opened its stream, went on in another file, or closed it.
    Recorder,
    /// Records are missing here.
    Gap,
}

/// A decision, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Sent to the server.
    Allow,
    /// Refused.
    Deny,
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Ok,
    /// The server refused it.
    Error,
    /// It was cancelled.
    Cancelled,
    /// The connection broke before its reply was whole.
    Unknown,
}

/// Where a client is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Address and port, or `unix`.
    pub address: Box<str>,
    /// `application_name`, as the client says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Box<str>>,
}

/// The text of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Text {
    /// As sent, credentials (and, when asked for, literals) replaced.
    Sql(Box<str>),
    /// Not understood, so nothing says where its secrets are.
    Opaque {
        /// SHA-256, hexadecimal.
        sha256: Box<str>,
        /// Length in bytes.
        length: usize,
    },
}

/// A bind parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Parameter {
    /// NULL: serialises as `null`.
    Null,
    /// A text value, possibly cut at the cap.
    Value(Box<str>),
    /// Anything that is not shown as text.
    Described {
        /// `binary`, `hashed`, `omitted` or `cut`.
        form: &'static str,
        /// Length in bytes.
        length: usize,
        /// Keyed hash or leading bytes, hexadecimal, where the form has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Box<str>>,
    },
}

impl AuditRecord {
    /// A record with nothing but its time and kind.
    pub fn new(kind: Kind, time: Timestamp) -> Self {
        Self {
            time,
            kind,
            session: None,
            statement: None,
            principal: None,
            actor: None,
            token: None,
            grants: Arc::default(),
            request: None,
            reason: None,
            database: None,
            engine: None,
            client: None,
            text: None,
            parameters: Arc::default(),
            class: None,
            command: None,
            relations: Arc::default(),
            accesses: Arc::default(),
            decision: None,
            missing: Vec::new(),
            backend: None,
            route: None,
            rows: None,
            bytes: None,
            duration_us: None,
            sqlstate: None,
            outcome: None,
            privileges: Vec::new(),
            expires: None,
            event: None,
            second_lock: None,
            lost: None,
        }
    }
}
