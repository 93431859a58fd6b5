//! Who may do what, until when, and why: privileges, grants, requests, and the decision.

pub mod privilege;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::PrincipalName;
use crate::time::Timestamp;
use privilege::Privilege;

/// `g_` and 12 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub Arc<str>);

/// `r_` and 12 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Box<str>);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Somebody who acts on grants, requests and tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Over the Unix socket without a token: the operating system's user (SO_PEERCRED).
    Operator(Box<str>),
    /// Proved by a token.
    Principal(PrincipalName),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(user) => write!(f, "local:{user}"),
            Self::Principal(name) => name.fmt(f),
        }
    }
}

/// Privileges of one principal on one database, for a time and a reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Who holds it.
    pub principal: PrincipalName,
    /// Which entry of the configuration it is for.
    pub database: Box<str>,
    /// What it allows; the union counts.
    pub privileges: Vec<Privilege>,
    /// From when.
    pub not_before: Timestamp,
    /// Until when; at that moment it no longer counts.
    pub expires: Timestamp,
    /// Why.
    pub reason: Box<str>,
    /// A ticket's number, when there is one.
    pub ticket: Option<Box<str>>,
    /// Who made it: an operator, or the approvers of its request.
    pub approvers: Vec<Box<str>>,
    /// The request that it came from.
    pub request: Option<RequestId>,
    /// How much may be done with it.
    pub limits: GrantLimits,
    /// A condition on the rows of a relation. Nothing enforces one yet, so creating one is refused.
    pub row_filter: Option<Box<str>>,
    /// Where its statements may run. Nothing enforces one yet, so creating one is refused.
    pub route: Option<Box<str>>,
    /// When it was made.
    pub created: Timestamp,
    /// Set once it was taken back.
    pub revoked: Option<Revocation>,
}

/// How much may be done with a grant. `None` is without limit. Nothing enforces them yet, so
/// creating a grant with one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GrantLimits {
    /// Statements in all.
    pub statements: Option<u64>,
    /// Rows in all.
    pub rows: Option<u64>,
    /// Bytes of result in all.
    pub bytes: Option<u64>,
}

/// When, by whom and why a grant was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Box<str>,
    /// Why.
    pub reason: Option<Box<str>>,
}

impl Grant {
    /// Whether it counts at that moment.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.not_before <= now && now < self.expires
    }
}
