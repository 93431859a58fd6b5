//! What somebody is told whose grants are bound to replicas.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Capped, MESSAGE_BYTES_MAX, RequestLines, request_lines, smallest};
use crate::grant::decide::{Permit, lacking};
use crate::grant::privilege::Privilege;
use crate::grant::snapshot::HeldGrants;
use crate::grant::{Grant, Route};
use crate::sql::Engine;
use crate::sql::access::Access;
use crate::sql::placement::Rule;
use crate::time::Timestamp;

/// Longest list of grants in a sentence, bytes.
const LIST_BYTES_MAX: usize = 80;

/// The grants that bind a statement to replicas. As text, a clause: `grant g_7kq2m9x4c1ab is bound to replicas`.
#[derive(Clone, Debug)]
pub struct BoundGrants(Box<[Arc<Grant>]>);

impl BoundGrants {
    /// Those of the permit that are bound; of one that needs no grant, those that the caller holds.
    pub fn of(permit: &Permit, held: &HeldGrants, now: Timestamp) -> Self {
        let bound = |grant: &&Arc<Grant>| grant.route == Route::ReplicaOnly;
        let mut grants: Vec<_> = permit.grants().iter().filter(bound).cloned().collect();
        if grants.is_empty() {
            grants.extend(held.live(now).filter(bound).cloned());
        }
        Self(grants.into())
    }

    /// What they allow.
    fn privileges(&self) -> Vec<Privilege> {
        let mut privileges: Vec<Privilege> = Vec::new();
        for privilege in self.0.iter().flat_map(|grant| &grant.privileges) {
            if !privileges.contains(privilege) {
                privileges.push(privilege.clone());
            }
        }
        privileges
    }
}

impl fmt::Display for BoundGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = Capped::new("", LIST_BYTES_MAX);
        list.list(self.0.iter().map(|grant| grant.id.to_string()), ", ");
        let list = list.finish();
        match &*self.0 {
            [] => f.write_str("your grants are bound to replicas"),
            [_] => write!(f, "grant {list} is bound to replicas"),
            [_, ..] => write!(f, "grants {list} are bound to replicas"),
        }
    }
}

/// Why a statement that is allowed at replicas only does not run: it has to run at the primary.
#[derive(Clone, Debug)]
pub struct NeedsPrimary {
    grants: BoundGrants,
    rule: Rule,
    missing: Vec<Access>,
}

impl NeedsPrimary {
    /// For a statement that needs these accesses, has that permit, and runs at the primary by that rule.
    pub fn new<'a>(
        (accesses, permit): (impl Iterator<Item = &'a Access>, &Permit),
        held: &HeldGrants,
        now: Timestamp,
        rule: Rule,
    ) -> Self {
        let unbound = held.live(now).filter(|grant| grant.route == Route::Any);
        let missing = lacking(accesses, unbound.map(|grant| &**grant));
        Self { grants: BoundGrants::of(permit, held, now), rule, missing }
    }

    /// What no live grant covers that is not bound.
    pub fn missing(&self) -> &[Access] {
        &self.missing
    }

    /// One line: `grant g_7kq2m9x4c1ab is bound to replicas, and this statement has to run at the primary: it writes`.
    /// At most [`MESSAGE_BYTES_MAX`].
    pub fn message(&self) -> String {
        self.message_within(MESSAGE_BYTES_MAX)
    }

    /// The same in at most so many bytes.
    pub fn message_within(&self, bytes_max: usize) -> String {
        let (grants, rule) = (&self.grants, &self.rule);
        let mut text = Capped::new("", bytes_max);
        let sentence = format!("{grants}, and this statement has to run at the primary: {rule}");
        text.list(std::iter::once(sentence), "");
        text.finish()
    }

    /// The lines with which the caller asks for what is missing without that bound; for what the grants allow
    /// where any grant would do.
    pub fn request_lines(
        &self,
        database: &str,
        engine: Engine,
        suggested: Duration,
    ) -> RequestLines {
        let mut privileges = smallest(&self.missing);
        if privileges.is_empty() {
            privileges = self.grants.privileges();
        }
        request_lines(privileges, database, engine, suggested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::decide::{Decision, decide};
    use crate::grant::fixture::{at, grant};
    use crate::sql::access::{Columns, Object, Operation};
    use crate::sql::name::QualifiedName;

    const HALF_AN_HOUR: Duration = Duration::from_mins(30);

    fn select(name: &str, column: &str) -> Access {
        Access::Privilege {
            operation: Operation::Select,
            object: Object::Relation(QualifiedName::new("s", name)),
            columns: Columns::Named([column.into()].into()),
        }
    }

    fn bound(id: &str, text: &str) -> Grant {
        Grant { route: Route::ReplicaOnly, ..grant(id, text, 0, 60) }
    }

    fn needs(accesses: &[Access], grants: impl IntoIterator<Item = Grant>) -> NeedsPrimary {
        let held = HeldGrants::new(grants.into_iter().map(Arc::new));
        let permit = match decide(accesses.iter(), &held, at(1)) {
            Decision::Allow(permit) => permit,
            Decision::Deny(denial) => panic!("{denial:?}"),
        };
        NeedsPrimary::new((accesses.iter(), &permit), &held, at(1), Rule::Locks)
    }

    fn asks(needs: &NeedsPrimary) -> String {
        needs.request_lines("shop", Engine::Postgres, HALF_AN_HOUR).sql
    }

    #[test]
    fn it_names_the_grant_and_the_rule_and_asks_for_what_the_others_lack() {
        let accesses = [select("t", "a"), select("u", "b")];
        let grants =
            [bound("g_7kq2m9x4c1ab", "READ ON SCHEMA s"), grant("g_2", "SELECT (b) ON s.u", 0, 60)];
        let needs = needs(&accesses, grants);
        assert_eq!(
            needs.message(),
            "grant g_7kq2m9x4c1ab is bound to replicas, and this statement has to run at the primary: it locks"
        );
        assert_eq!(needs.missing(), [select("t", "a")]);
        let lines = needs.request_lines("shop", Engine::Postgres, HALF_AN_HOUR);
        assert_eq!(lines.sql, "CALL daypass.request('SELECT (a) ON s.t', '30 min', 'why')");
        assert_eq!(
            lines.shell,
            "daypass request create --database shop --privilege 'SELECT (a) ON s.t' --for 30m --reason '…'"
        );
    }

    #[test]
    fn where_any_grant_would_do_it_asks_for_the_same_without_the_bound() {
        let grants = || [bound("g_1", "READ ON s.t; SELECT ON s.u"), bound("g_2", "READ ON s.t")];
        let metadata = needs(&[Access::Metadata], grants());
        assert!(metadata.message().starts_with("grant g_1 is bound"), "{}", metadata.message());
        assert_eq!(
            asks(&metadata),
            "CALL daypass.request('READ ON s.t; SELECT ON s.u', '30 min', 'why')"
        );
        // Who needs no grant, as LISTEN, is at the replica by the grants that he holds.
        let nothing = needs(&[], grants());
        assert!(
            nothing.message().starts_with("grants g_1, g_2 are bound"),
            "{}",
            nothing.message()
        );
        assert_eq!((asks(&nothing), nothing.missing().len()), (asks(&metadata), 0));
    }

    #[test]
    fn it_has_a_length() {
        let grants = (0..50).map(|n| bound(&format!("g_{n:012}"), &format!("READ ON s.t{n}")));
        let mut needs = needs(&[], grants);
        let message = needs.message();
        assert!(
            message.contains(" more are bound to replicas") && message.len() < 200,
            "{message}"
        );
        needs.rule = Rule::Function("☃".repeat(400).into());
        for most in [120, MESSAGE_BYTES_MAX] {
            let message = needs.message_within(most);
            assert!(message.len() <= most && message.ends_with('…'), "{message}");
        }
        assert!(asks(&needs).len() < super::super::REQUEST_BYTES_MAX + 500);
    }
}
