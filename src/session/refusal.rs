//! Why a session refuses a statement, whatever the wire.

use std::sync::Arc;

use crate::grant::decide::Denial;
use crate::grant::denial::{BoundGrants, NeedsPrimary};
use crate::session::call::CallError;
use crate::sql::access::Access;
use crate::sql::placement::Rule;
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
    /// It has to run at the primary, and the grants that cover it are bound to replicas.
    NeedsPrimary(Box<NeedsPrimary>),
    /// The grants that cover it are bound to replicas, and none can serve it.
    NoReplica {
        /// Those grants.
        grants: BoundGrants,
        /// Why: a clause that the client may read.
        why: String,
    },
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
    /// It has to run at the primary, and its transaction is at a replica: why it has to.
    AtReplica(Rule),
    /// No replica can serve it, and the operator keeps reads off the primary: why none can, a clause.
    NoneServes(Box<str>),
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

impl Refusal {
    /// What would have to be granted, as audit records say it.
    pub fn missing(&self) -> &[Access] {
        match self {
            Self::Denied(denial) => &denial.missing,
            Self::NeedsPrimary(needs) => needs.missing(),
            _ => &[],
        }
    }
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

#[cfg(test)]
pub(crate) mod fixture {
    //! Refusals of somebody who holds `READ ON SCHEMA s` at replicas only, and whom they are told.

    use super::*;
    use crate::audit::record::Client;
    use crate::grant::decide::{Decision, decide};
    use crate::grant::fixture::{at, grant};
    use crate::grant::snapshot::HeldGrants;
    use crate::grant::{Grant, Route};
    use crate::session::trail::{Facts, SecondLock};
    use crate::sql::Engine;
    use crate::sql::access::{Columns, Object, Operation};
    use crate::sql::name::QualifiedName;
    use crate::sql::placement::Rule;

    pub(crate) fn facts(engine: Engine) -> Facts {
        let client = Client { address: "127.0.0.1:1".into(), application: None };
        Facts {
            session: "s_1".into(),
            principal: "alice".into(),
            token: "t_1".into(),
            database: "shop".into(),
            engine,
            client: Arc::new(client),
            second_lock: SecondLock::None,
            ddl_owner: None,
        }
    }

    /// A read of columns of `s.t`, whole where none are named, that has to run at the primary.
    pub(crate) fn needs_primary(columns: Columns) -> Refusal {
        let (operation, object) =
            (Operation::Select, Object::Relation(QualifiedName::new("s", "t")));
        let accesses = [Access::Privilege { operation, object, columns }];
        let (held, permit) = bound(&accesses);
        let rule = Rule::Function("s.f()".into());
        let needs = NeedsPrimary::new((accesses.iter(), &permit), &held, at(1), rule);
        Refusal::NeedsPrimary(Box::new(needs))
    }

    pub(crate) fn no_replica() -> Refusal {
        let (held, permit) = bound(&[Access::Metadata]);
        let grants = BoundGrants::of(&permit, &held, at(1));
        Refusal::NoReplica { grants, why: "both lag too far behind".into() }
    }

    fn bound(accesses: &[Access]) -> (HeldGrants, crate::grant::decide::Permit) {
        let grant = grant("g_1", "READ ON SCHEMA s", 0, 60);
        let held = HeldGrants::new([Arc::new(Grant { route: Route::ReplicaOnly, ..grant })]);
        match decide(accesses.iter(), &held, at(1)) {
            Decision::Allow(permit) => (held, permit),
            Decision::Deny(denial) => panic!("{denial:?}"),
        }
    }
}
