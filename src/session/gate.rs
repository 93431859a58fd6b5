//! The gate: a principal's grants on a database, and what its transaction has used of them.

use std::sync::Arc;

use crate::grant::Grant;
use crate::grant::decide::{Decision, Permit, decide};
use crate::grant::snapshot::HeldGrants;
use crate::sql::access::{Access, Accesses, Operation};
use crate::sql::statement::Effect;
use crate::time::Timestamp;

use super::decided::Decided;
use super::refusal::{Ended, Refusal, ended, unconfirmed};
use super::trail::Running;

/// Decides a session's statements.
pub struct Gate {
    held: HeldGrants,
    ownership: Ownership,
    /// Grants that the open transaction has used, each once.
    used: Vec<Arc<Grant>>,
    /// What was decided under these grants.
    decided: Decided,
}

impl Gate {
    /// A gate over these grants.
    pub fn new(held: HeldGrants) -> Self {
        let ownership = Ownership::Session;
        Self { held, ownership, used: Vec::new(), decided: Decided::default() }
    }

    /// The same for a session whose owners' work is done like that.
    #[must_use]
    pub fn with(self, ownership: Ownership) -> Self {
        Self { ownership, ..self }
    }

    /// The grants that it decides by.
    pub const fn held(&self) -> &HeldGrants {
        &self.held
    }

    /// Other grants hold from now on.
    pub fn replace(&mut self, held: HeldGrants) {
        if !self.held.same(&held) {
            self.decided.forget();
        }
        self.held = held;
    }

    /// Whether any grant counts at that moment.
    pub fn has_live_grant(&self, now: Timestamp) -> bool {
        self.held.any_live(now)
    }

    /// Whether some do, and all of those are bound to replicas.
    pub fn only_replicas(&self, now: Timestamp) -> bool {
        self.held.only_replicas(now)
    }

    /// Decides what a statement needs: its own accesses, and more that only the session knows.
    ///
    /// # Errors
    /// The refusal, when it may not run.
    pub fn decide_statement(
        &self,
        accesses: &Accesses,
        more: &[Access],
        now: Timestamp,
    ) -> Result<Permit, Refusal> {
        if !more.is_empty() {
            return self.decide(accesses.iter().chain(more), now);
        }
        if let Some(permit) = self.decided.get(accesses, now) {
            return Ok(permit);
        }
        let permit = self.decide(accesses.iter(), now)?;
        self.decided.put(accesses, &permit);
        Ok(permit)
    }

    /// Decides what the statements of a message need together.
    ///
    /// # Errors
    /// The refusal, when it may not run.
    pub fn decide<'a>(
        &self,
        accesses: impl Iterator<Item = &'a Access> + Clone,
        now: Timestamp,
    ) -> Result<Permit, Refusal> {
        if self.ownership == Ownership::Nobody
            && let Some(access) = accesses.clone().find(|it| is_for_owners(it))
        {
            return Err(needs_owner(access));
        }
        match decide(accesses, &self.held, now) {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(denial) => Err(Refusal::Denied(Box::new(denial))),
        }
    }

    /// Notes that the open transaction uses a permit's grants.
    pub fn note_use(&mut self, permit: &Permit) {
        for grant in permit.grants() {
            let same = |used: &Arc<Grant>| Arc::ptr_eq(used, grant) || used.id == grant.id;
            if !self.used.iter().any(same) {
                self.used.push(Arc::clone(grant));
            }
        }
    }

    /// The transaction is over.
    pub fn end_transaction(&mut self) {
        self.used.clear();
    }

    /// The first grant that the open transaction used and that has ended since.
    pub fn ended_in_transaction(&self, now: Timestamp) -> Option<Ended> {
        self.used.iter().find_map(|used| self.ended(used, now))
    }

    /// Whether, and how, a grant that was used has ended by now.
    pub fn ended(&self, used: &Grant, now: Timestamp) -> Option<Ended> {
        if !self.held.is_known() {
            // It may have been revoked meanwhile.
            return Some(unconfirmed(used));
        }
        // What was used is the grant as it was then; a revocation shows in the one that is held now.
        let current = self.held.iter().find(|grant| grant.id == used.id);
        ended(current.map_or(used, |grant| &**grant), now)
    }

    /// How a grant has ended that one of these still runs under.
    pub fn ended_under<'r>(
        &self,
        runs: impl Iterator<Item = &'r Running>,
        now: Timestamp,
    ) -> Option<Ended> {
        // A COMMIT that was sent is left alone: nobody could tell whether it counted.
        let commits = |run: &&Running| {
            run.statement().is_some_and(|statement| statement.effect == Effect::Commit)
        };
        let mut grants = runs.filter(|run| !commits(run)).flat_map(|run| run.permit.grants());
        grants.find_map(|grant| self.ended(grant, now))
    }

    /// When the first grant that the transaction used runs out.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.used.iter().map(|grant| grant.expires).min()
    }
}

/// As whom the server does what only owners and administrators may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As the session is logged in: as the service account.
    Session,
    /// As the database's `ddl-owner`.
    DdlOwner,
    /// As nobody: the session's role is its principal's own, which owns nothing.
    Nobody,
}

/// Whether it is work for an owner, so that no role of a person's can be given it.
pub const fn is_for_owners(access: &Access) -> bool {
    matches!(access, Access::Admin(_) | Access::Privilege { operation: Operation::Create, .. })
}

/// What only an owner or administrator may do cannot be granted to a person's role, and nobody else's is
/// there to do it as.
fn needs_owner(access: &Access) -> Refusal {
    Refusal::Unsupported {
        what: format!(
            "the statement needs {access}: what owners and administrators do cannot be granted to \
             the role that this session has in the database (second-lock = \"role\")"
        ),
        hint: Some(
            "Ask the operator to name the role that Daypass is to do such work as: ddl-owner = \"…\" in \
             this database's entry of the configuration."
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::fixture::{at, grant};
    use crate::sql::access::Object;

    #[test]
    fn what_was_used_counts_no_more_while_nobody_knows_what_is_held() {
        let used = grant("g_1", "READ ON DATABASE", 0, 9);
        let mut gate = Gate::new(HeldGrants::new([Arc::new(used.clone())]));
        assert_eq!(gate.ended(&used, at(1)), None);
        gate.replace(HeldGrants::unknown());
        let ended = gate.ended(&used, at(1)).unwrap();
        assert_eq!(&*ended.grant, "g_1");
        assert!(ended.how.contains("could not reach its store"), "{}", ended.how);
    }

    #[test]
    fn under_a_second_lock_nobody_is_an_owner() {
        let held = || HeldGrants::new([Arc::new(grant("g_1", "ADMIN ON DATABASE", 0, 9))]);
        let accesses = [Access::Admin(Object::Database)];
        let decide = |gate: Gate| gate.decide(accesses.iter(), at(1));
        assert!(decide(Gate::new(held())).is_ok());
        assert!(decide(Gate::new(held()).with(Ownership::DdlOwner)).is_ok());
        let refusal = decide(Gate::new(held()).with(Ownership::Nobody)).unwrap_err();
        let Refusal::Unsupported { what, .. } = refusal else { panic!("{refusal:?}") };
        assert!(what.starts_with("the statement needs ADMIN ON DATABASE"), "{what}");
    }
}
