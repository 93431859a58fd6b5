//! Who may do what, until when, and why: privileges, grants, requests, and the decision.

mod cover;
pub mod decide;
pub mod denial;
pub mod privilege;
pub mod request;
mod route;
pub mod snapshot;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{InvalidPrincipalName, PrincipalName};
use crate::sql::access::Access;
use crate::time::Timestamp;
use crate::time::duration::{Bounds, DurationError, SHORTEST};
use privilege::Privilege;

pub use route::{Route, UnknownRoute};

/// How long a grant may last.
pub const LIFE: Bounds<'static> =
    Bounds { what: "a grant lasts", min: SHORTEST, max: Duration::from_hours(7 * 24) };

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

/// Somebody who acts on grants, requests and tokens. Written `local:root` or as the principal's name;
/// no principal's name begins with `local:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl FromStr for Actor {
    type Err = InvalidPrincipalName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("local:") {
            Some(user) => Ok(Self::Operator(user.into())),
            None => PrincipalName::new(text).map(Self::Principal),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = InvalidPrincipalName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
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
    pub reason: Arc<str>,
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
    /// Where its statements may run.
    pub route: Route,
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

/// Most privileges of one grant.
pub const PRIVILEGES_MAX: usize = 200;

/// Longest reason or ticket, bytes.
pub const REASON_BYTES_MAX: usize = 1000;

/// Why a grant cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It has something that this version would not hold to.
    #[error("not enforced by this version: {0}")]
    NotEnforced(&'static str),
    /// It is bound to replicas, and could do more than read.
    #[error(
        "a grant that is bound to replicas only reads: it may hold READ, SELECT, SHOW VIEW, EXECUTE, USAGE of \
         schemas and BYPASS ROW SECURITY, not {0}"
    )]
    MoreThanReads(&'static str),
    /// It is bound to replicas, and the database has none.
    #[error("no grant on {database} can be bound to replicas: it has none that reads go to")]
    NoReplicas {
        /// Entry of the configuration.
        database: Box<str>,
    },
    /// It allows nothing.
    #[error("at least one privilege is needed")]
    NoPrivilege,
    /// More than [`PRIVILEGES_MAX`].
    #[error("a grant has at most {PRIVILEGES_MAX} privileges")]
    TooManyPrivileges,
    /// It says not why.
    #[error("a reason is needed")]
    NoReason,
    /// Its reason or ticket is long, or would confuse a terminal.
    #[error("a reason or ticket has at most {REASON_BYTES_MAX} bytes and no control characters")]
    BadText,
    /// It lasts too long, or not at all.
    #[error(transparent)]
    Duration(#[from] DurationError),
}

impl Grant {
    /// When it ended or will end: by revocation or expiry, whichever is first.
    pub fn ends(&self) -> Timestamp {
        self.revoked.as_ref().map_or(self.expires, |revoked| revoked.at.min(self.expires))
    }

    /// The next moment at which it begins or expires by itself; a revoked one does neither.
    pub fn next_change_after(&self, now: Timestamp) -> Option<Timestamp> {
        if self.revoked.is_some() {
            return None;
        }
        [self.not_before, self.expires].into_iter().find(|moment| now < *moment)
    }

    /// Refuses what this version would not hold to.
    ///
    /// # Errors
    /// Names the first limit or row filter that is set.
    pub fn check_enforceable(&self) -> Result<(), GrantError> {
        let GrantLimits { statements, rows, bytes } = self.limits;
        let unenforced = [
            (statements.is_some(), "statements limit"),
            (rows.is_some(), "rows limit"),
            (bytes.is_some(), "bytes limit"),
            (self.row_filter.is_some(), "row filter"),
        ];
        match unenforced.into_iter().find(|(set, _)| *set) {
            Some((_, what)) => Err(GrantError::NotEnforced(what)),
            None => Ok(()),
        }
    }

    /// Everything that a grant must be before it is kept.
    ///
    /// # Errors
    /// The first thing that is wrong, in a sentence for whoever makes it.
    pub fn check(&self) -> Result<(), GrantError> {
        self.check_enforceable()?;
        self.route.check(&self.privileges)?;
        check_text(&self.privileges, &self.reason, self.ticket.as_deref())?;
        LIFE.check(self.not_before.until(self.expires))?;
        Ok(())
    }
}

/// Whether privileges that count together cover an access: what [`decide::decide`] goes by, for those
/// who have to bring a server's own privileges in line with it.
pub fn covers(privileges: &[Privilege], access: &Access) -> bool {
    cover::privileges_cover(privileges.iter(), access)
}

/// What grants and requests have in common.
fn check_text(
    privileges: &[Privilege],
    reason: &str,
    ticket: Option<&str>,
) -> Result<(), GrantError> {
    if privileges.is_empty() || privileges.iter().any(|privilege| privilege.items.is_empty()) {
        return Err(GrantError::NoPrivilege);
    }
    if privileges.len() > PRIVILEGES_MAX {
        return Err(GrantError::TooManyPrivileges);
    }
    check_reason(reason)?;
    ticket.map_or(Ok(()), check_line)
}

fn check_reason(reason: &str) -> Result<(), GrantError> {
    if reason.trim().is_empty() { Err(GrantError::NoReason) } else { check_line(reason) }
}

/// Whether a reason or ticket can be kept and shown: short, on one line.
///
/// # Errors
/// [`GrantError::BadText`] when it cannot.
pub fn check_line(text: &str) -> Result<(), GrantError> {
    let bad = text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control);
    if bad { Err(GrantError::BadText) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::fixture::{at, grant};
    use super::*;

    #[test]
    fn what_is_not_enforced_is_refused_not_ignored() {
        let plain = grant("g_1", "SELECT ON s.t", 0, 60);
        assert_eq!(plain.check(), Ok(()));
        let mut limited = plain.clone();
        limited.limits.rows = Some(10);
        assert_eq!(
            limited.check().unwrap_err().to_string(),
            "not enforced by this version: rows limit"
        );
        let mut filtered = plain;
        filtered.row_filter = Some("true".into());
        assert_eq!(filtered.check(), Err(GrantError::NotEnforced("row filter")));
        let bound = Grant { route: Route::ReplicaOnly, row_filter: None, ..filtered };
        assert_eq!(bound.check(), Ok(()));
    }

    #[test]
    fn a_grant_counts_from_its_beginning_until_before_its_expiry() {
        let grant = grant("g_1", "SELECT ON s.t", 10, 20);
        let live = [9, 10, 19, 20].map(|second| grant.is_live(at(second)));
        assert_eq!(live, [false, true, true, false]);
    }

    #[test]
    fn actors_are_written_and_read_back() {
        for text in ["local:root", "alice"] {
            assert_eq!(text.parse::<Actor>().map(|actor| actor.to_string()), Ok(text.to_owned()));
        }
        assert!("".parse::<Actor>().is_err());
    }
}
