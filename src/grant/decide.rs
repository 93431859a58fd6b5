//! The decision: what a statement needs against what its caller holds.

use std::sync::Arc;

use super::Grant;
use super::cover::{covers, missing};
use super::snapshot::HeldGrants;
use crate::sql::access::Access;
use crate::time::Timestamp;

/// Leave to forward one statement. Only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    grants: Arc<[Arc<Grant>]>,
    ids: Arc<[Arc<str>]>,
    expires: Timestamp,
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
/// A statement that needs nothing is allowed without a grant. The order of `held` makes the permit last
/// as long as it can.
pub fn decide<'a>(
    accesses: impl Iterator<Item = &'a Access> + Clone,
    held: &HeldGrants,
    now: Timestamp,
) -> Decision {
    // The shortest beginning of the list, the last to expire first, that covers everything: so its
    // last grant is needed, and no other choice would expire later.
    let mut live = held.live(now);
    let mut used: Vec<&Arc<Grant>> = Vec::new();
    for access in accesses.clone() {
        while !covers(used.iter().map(|grant| &***grant), access) {
            match live.next() {
                Some(grant) => used.push(grant),
                None => return Decision::Deny(deny(accesses, held, now)),
            }
        }
    }
    let Some(last) = used.last() else {
        let expires = Timestamp::from_micros(u64::MAX);
        return Decision::Allow(Permit { grants: Arc::default(), ids: Arc::default(), expires });
    };
    let expires = last.expires;
    // Of the others, those that expire first are left out first.
    for candidate in (0..used.len().saturating_sub(1)).rev() {
        let rest = used.iter().enumerate().filter(|(n, _)| *n != candidate);
        let rest = rest.map(|(_, grant)| &***grant);
        if accesses.clone().all(|access| covers(rest.clone(), access)) {
            used.remove(candidate);
        }
    }
    let ids = used.iter().map(|grant| Arc::clone(&grant.id.0)).collect();
    Decision::Allow(Permit { grants: used.into_iter().cloned().collect(), ids, expires })
}

fn deny<'a>(
    accesses: impl Iterator<Item = &'a Access> + Clone,
    held: &HeldGrants,
    now: Timestamp,
) -> Denial {
    let live = held.live(now).map(|grant| &**grant);
    let mut lacking: Vec<Access> = Vec::new();
    for access in accesses {
        if let Some(access) = missing(live.clone(), access)
            && !lacking.contains(&access)
        {
            lacking.push(access);
        }
    }
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
