//! Why a session refuses a statement, whatever the wire.

use std::sync::Arc;

use crate::grant::decide::Denial;
use crate::session::call::CallError;
use crate::sql::statement::NotUnderstood;
use crate::time::Timestamp;

/// How a grant ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which grant.
    pub grant: Box<str>,
    /// How: `expired at …`, `was revoked by … at …`.
    pub how: String,
}

/// Why a statement does not reach the server. One function a protocol turns it into what the client
/// may see.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The caller's grants do not cover it.
    Denied(Box<Denial>),
    /// It was not understood.
    NotUnderstood(NotUnderstood),
    /// The grant that it ran under has ended, and it was cancelled.
    Cancelled(Ended),
    /// The transaction used a grant that has ended: only its end is taken.
    TransactionEnded(Ended),
    /// The audit stream takes no records, so nothing runs.
    AuditDown,
    /// A name of a prepared statement that does not stand for one.
    NoStatement(Box<str>),
    /// A name of a portal or cursor that does not stand for one.
    NoPortal(Box<str>),
    /// A limit of the session.
    TooMany {
        /// Of what, and how many.
        what: String,
    },
    /// The database's `ddl-owner`, as which the statement would run, cannot be used.
    Owner {
        /// The role.
        owner: Arc<str>,
        /// What the server says.
        why: String,
    },
    /// Only the end of the transaction is taken.
    FailedTransaction,
    /// Something the protocol has and this proxy does not take.
    Unsupported {
        /// A sentence.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The text is not in the client's encoding.
    Encoding,
    /// A call on the schema `daypass` failed.
    Call(CallError),
}

/// A grant of which nobody knows whether it still counts.
pub fn unconfirmed(grant: &crate::grant::Grant) -> Ended {
    let how = "cannot be confirmed: the proxy could not reach its store for too long".to_owned();
    Ended { grant: grant.id.to_string().into(), how }
}

/// How a grant ended, in words, if it has.
pub fn ended(grant: &crate::grant::Grant, now: Timestamp) -> Option<Ended> {
    let how = match &grant.revoked {
        Some(revocation) => {
            let why =
                revocation.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("was revoked by {} at {}{why}", revocation.by, revocation.at)
        }
        None if grant.expires <= now => format!("expired at {}", grant.expires),
        None => return None,
    };
    Some(Ended { grant: grant.id.to_string().into(), how })
}
