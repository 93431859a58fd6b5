//! The audit record, version 1. Fields may be added, never renamed.

use std::sync::Arc;

use serde::Serialize;

use super::rendered::Rendered;
use crate::sql::Engine;
use crate::sql::access::{Access, Columns, Object};
use crate::sql::statement::Class;
use crate::time::Timestamp;

/// One event, before the recorder gives it its `version`, `sequence` and `previous`.
///
/// What many records of a session share is [`Rendered`] once. In JSON, where [`super::encode`] writes it,
/// absent values are left out, and the members of `who` and `needs` stand beside the others.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// Whom it concerns.
    pub who: Option<Arc<Rendered<Who>>>,
    /// Number of the statement in its session, from 1; decision and result share it.
    pub statement: Option<u64>,
    /// Who acted, where that is not the principal: `local:root`, an approver.
    pub actor: Option<Box<str>>,
    /// The grants that allowed it, or that it is about.
    pub grants: Arc<[Arc<str>]>,
    /// The request that it is about.
    pub request: Option<Box<str>>,
    /// The grant's reason, or why the actor did it, or why a login or statement was refused.
    pub reason: Option<Arc<str>>,
    /// The statement, redacted as the settings say; for text that was not understood, its hash and length.
    pub text: Option<Text>,
    /// Bind parameters, as the setting says.
    pub parameters: Arc<[Parameter]>,
    /// Class of the statement.
    pub class: Option<Class>,
    /// Command, `SELECT`.
    pub command: Option<&'static str>,
    /// What the statement needs.
    pub needs: Option<Arc<Rendered<Needs>>>,
    /// Whether it was allowed.
    pub decision: Option<Verdict>,
    /// What a refused statement lacked, in the privilege grammar.
    pub missing: Vec<Box<str>>,
    /// Address of the server that ran it.
    pub backend: Option<Arc<str>>,
    /// `primary`, or which replica; of a grant or request, where it is bound to replicas, `replica-only`.
    pub route: Option<&'static str>,
    /// Why it ran there: a clause.
    pub rule: Option<Arc<str>>,
    /// Rows returned or changed.
    pub rows: Option<u64>,
    /// Bytes of its result, frame headers included.
    pub bytes: Option<u64>,
    /// Microseconds from forwarding to the end of its reply.
    pub duration_us: Option<u64>,
    /// SQLSTATE of its error, the server's or ours.
    pub sqlstate: Option<Box<str>>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Privileges of the grant or request that it is about, in the privilege grammar.
    pub privileges: Vec<Box<str>>,
    /// Until when the grant, token or request that it is about counts.
    pub expires: Option<Timestamp>,
    /// What was done to the grant, request or token: `created`, `revoked`, `approved` …; of the
    /// configuration: `applied`, `refused`; of the recorder: `opened`, `reopened`, `closed`.
    pub event: Option<&'static str>,
    /// Whether the database enforces the grant, too.
    pub second_lock: Option<&'static str>,
    /// For a gap: how many records are missing.
    pub lost: Option<u64>,
}

/// Whom a record concerns: all that stays the same while a session lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Who {
    /// `s_` and 12 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<str>>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// Public name of the token that logged the session in, or that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Arc<str>>,
    /// Which entry of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Arc<str>>,
    /// Its engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Where the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<Client>>,
}

/// What a statement needs: what stays the same while its analysis does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Relations that it touches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<RelationUse>,
    /// All that it needs, in the privilege grammar.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accesses: Vec<Box<str>>,
}

/// One relation in one mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelationUse {
    /// Schema and name.
    pub name: Box<str>,
    /// `select`, `insert` …
    pub mode: Box<str>,
    /// Columns, when single ones are named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Box<str>>,
}

impl Needs {
    /// What these accesses look like.
    pub fn of<'a>(accesses: impl Iterator<Item = &'a Access> + Clone) -> Self {
        Self {
            relations: accesses.clone().filter_map(RelationUse::of).collect(),
            accesses: accesses.map(|access| access.to_string().into()).collect(),
        }
    }
}

impl RelationUse {
    fn of(access: &Access) -> Option<Self> {
        if let Access::OwnedSequence { operation, sequence, .. } = access {
            return Some(Self {
                name: sequence.to_string().into(),
                mode: operation.keyword().to_ascii_lowercase().into(),
                columns: Vec::new(),
            });
        }
        if let Access::OneOf { first, object: Object::Relation(name), .. } = access {
            return Some(Self {
                name: name.to_string().into(),
                mode: first.keyword().to_ascii_lowercase().into(),
                columns: Vec::new(),
            });
        }
        let Access::Privilege { operation, object, columns } = access else { return None };
        let (Object::Relation(name) | Object::Sequence(name)) = object else { return None };
        let columns = match columns {
            Columns::Named(names) => names.iter().cloned().collect(),
            Columns::Whole | Columns::Any => Vec::new(),
        };
        Some(Self {
            name: name.to_string().into(),
            mode: operation.keyword().to_ascii_lowercase().into(),
            columns,
        })
    }
}

/// What an [`AuditRecord`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Somebody asked what a statement would need.
    Explain,
    /// The configuration was read again: applied, and what has changed; or refused.
    Configuration,
    /// The recorder opened its stream, went on in another file, or closed it.
    Recorder,
    /// Records are missing here.
    Gap,
}

impl Kind {
    /// As records have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SessionStart => "session-start",
            Self::SessionEnd => "session-end",
            Self::LoginRefused => "login-refused",
            Self::Decision => "decision",
            Self::Result => "result",
            Self::Grant => "grant",
            Self::Request => "request",
            Self::Token => "token",
            Self::Explain => "explain",
            Self::Configuration => "configuration",
            Self::Recorder => "recorder",
            Self::Gap => "gap",
        }
    }
}

/// A decision, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent to the server.
    Allow,
    /// Refused.
    Deny,
}

impl Verdict {
    /// As records have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Outcome {
    /// As records have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
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
            who: None,
            statement: None,
            actor: None,
            grants: Arc::default(),
            request: None,
            reason: None,
            text: None,
            parameters: Arc::default(),
            class: None,
            command: None,
            needs: None,
            decision: None,
            missing: Vec::new(),
            backend: None,
            route: None,
            rule: None,
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

    /// Says whom it concerns.
    pub fn concern(&mut self, who: Who) {
        self.who = Some(Arc::new(Rendered::new(who)));
    }
}
