//! The decision: what a statement needs against what its caller holds.

use std::sync::Arc;

use super::cover::{covers, missing};
use super::snapshot::HeldGrants;
use super::{Grant, Route};
use crate::sql::access::Access;
use crate::time::Timestamp;

/// Leave to forward one statement. Only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    grants: Arc<[Arc<Grant>]>,
    ids: Arc<[Arc<str>]>,
    route: Route,
    expires: Timestamp,
    holds_until: Timestamp,
}

impl Permit {
    /// The grants that it rests on: none too many, those that expire last.
    pub fn grants(&self) -> &[Arc<Grant>] {
        &self.grants
    }

    /// Their names.
    pub const fn grant_ids(&self) -> &Arc<[Arc<str>]> {
        &self.ids
    }

    /// Until when it counts, if nothing is revoked: the earliest expiry of its grants. For ever when
    /// it needs none.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Where the statement may run: bound to replicas when any of its grants is, which is so only when those
    /// that are not do not cover it.
    pub const fn route(&self) -> Route {
        self.route
    }

    /// Until when [`decide`] would say the same, if no grant changes: until it expires or, where it is bound to
    /// replicas, a grant begins that is not.
    pub const fn holds_until(&self) -> Timestamp {
        self.holds_until
    }

    /// Whether it needs no grant at all: transaction commands and harmless settings.
    pub fn is_unconditional(&self) -> bool {
        self.grants.is_empty()
    }
}

/// Why a statement may not be forwarded.
#[derive(Clone, Debug)]
pub struct Denial {
    /// What no live grant covers; of columns, only those that are missing. Never empty.
    pub missing: Vec<Access>,
    /// The caller's live grants on this database, the one that expires last first.
    pub held: Vec<Arc<Grant>>,
    /// The grant that ended last of those that would have made the difference.
    pub ended: Option<EndedGrant>,
    /// Nobody knows what the caller holds.
    pub unknown: bool,
}

/// A grant that counts no more.
#[derive(Clone, Debug)]
pub struct EndedGrant {
    /// Which.
    pub grant: Arc<Grant>,
    /// How.
    pub how: Ending,
}

/// How a grant ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its time ran out.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// It was taken back.
    Revoked {
        /// When.
        at: Timestamp,
        /// By whom.
        by: Box<str>,
    },
}

/// Allow or deny.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The statement may be forwarded.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
}

/// Decides whether a caller's grants cover everything that a statement needs.
///
/// A statement that needs nothing is allowed without a grant. Grants that are bound to replicas count only where
/// the others do not cover it, so that nobody is confined by a grant that comes on top. Of those that count, the
/// order of `held` makes the permit last as long as it can.
pub fn decide<'a>(
    accesses: impl Iterator<Item = &'a Access> + Clone,
    held: &HeldGrants,
    now: Timestamp,
) -> Decision {
    let unbound = held.live(now).filter(|grant| grant.route == Route::Any);
    let used = cover(accesses.clone(), unbound);
    match used.or_else(|| cover(accesses.clone(), held.live(now))) {
        Some(used) => Decision::Allow(permit(used, held, now)),
        None => Decision::Deny(deny(accesses, held, now)),
    }
}

/// Of grants of which the last to expire comes first, as few as cover everything, and that last longest.
fn cover<'a, 'h>(
    accesses: impl Iterator<Item = &'a Access> + Clone,
    mut live: impl Iterator<Item = &'h Arc<Grant>>,
) -> Option<Vec<&'h Arc<Grant>>> {
    // The shortest beginning of the list that covers everything: so its last grant is needed, and no other
    // choice would expire later.
    let mut used: Vec<&Arc<Grant>> = Vec::new();
    for access in accesses.clone() {
        while !covers(used.iter().map(|grant| &***grant), access) {
            used.push(live.next()?);
        }
    }
    // Of the others, those that expire first are left out first.
    for candidate in (0..used.len().saturating_sub(1)).rev() {
        let rest = used.iter().enumerate().filter(|(n, _)| *n != candidate);
        let rest = rest.map(|(_, grant)| &***grant);
        if accesses.clone().all(|access| covers(rest.clone(), access)) {
            used.remove(candidate);
        }
    }
    Some(used)
}

/// The permit that rests on these, of which the first to expire is the last.
fn permit(used: Vec<&Arc<Grant>>, held: &HeldGrants, now: Timestamp) -> Permit {
    let expires = used.last().map_or(Timestamp::from_micros(u64::MAX), |last| last.expires);
    let bound = used.iter().any(|grant| grant.route == Route::ReplicaOnly);
    let (route, holds_until) = if bound {
        let unbound = held.iter().filter(|grant| grant.route == Route::Any);
        let later = unbound.filter(|grant| grant.revoked.is_none() && now < grant.not_before);
        (Route::ReplicaOnly, later.map(|grant| grant.not_before).fold(expires, Timestamp::min))
    } else {
        (Route::Any, expires)
    };
    let ids = used.iter().map(|grant| Arc::clone(&grant.id.0)).collect();
    let grants = used.into_iter().cloned().collect();
    Permit { grants, ids, route, expires, holds_until }
}

/// What none of these grants cover, each once; of columns, only those that are missing.
pub(super) fn lacking<'a, 'h>(
    accesses: impl Iterator<Item = &'a Access>,
    grants: impl Iterator<Item = &'h Grant> + Clone,
) -> Vec<Access> {
    let mut lacking: Vec<Access> = Vec::new();
    for access in accesses {
        if let Some(access) = missing(grants.clone(), access)
            && !lacking.contains(&access)
        {
            lacking.push(access);
        }
    }
    lacking
}

fn deny<'a>(
    accesses: impl Iterator<Item = &'a Access> + Clone,
    held: &HeldGrants,
    now: Timestamp,
) -> Denial {
    let live = held.live(now).map(|grant| &**grant);
    let lacking = lacking(accesses, live.clone());
    let ended = held
        .iter()
        .filter(|grant| grant.ends() <= now)
        .filter(|grant| {
            let with = live.clone().chain([&***grant]);
            lacking.iter().all(|access| covers(with.clone(), access))
        })
        .max_by_key(|grant| grant.ends());
    let ended = ended.map(|grant| EndedGrant { grant: Arc::clone(grant), how: ending(grant) });
    let unknown = !held.is_known();
    Denial { missing: lacking, held: held.live(now).cloned().collect(), ended, unknown }
}

fn ending(grant: &Grant) -> Ending {
    match &grant.revoked {
        Some(revoked) if revoked.at <= grant.expires => {
            Ending::Revoked { at: revoked.at, by: revoked.by.clone() }
        }
        _ => Ending::Expired { at: grant.expires },
    }
}

#[cfg(test)]
mod tests;
