//! Every grant that matters at one moment, by caller. Immutable: a change makes the next snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Grant, Route};
use crate::identity::PrincipalName;
use crate::time::Timestamp;

/// How long an ended grant is kept for denials to name: 24 hours.
pub const ENDED_KEPT: Duration = Duration::from_hours(24);

/// The grants of one caller on one database: live ones, ones that begin later, and ones that ended in
/// the last [`ENDED_KEPT`]. The one that expires last comes first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HeldGrants(Held);

#[derive(Clone, Debug, Default)]
enum Held {
    #[default]
    None,
    Some(Arc<[Arc<Grant>]>),
    /// The store could not be read for too long.
    Unknown,
}

impl HeldGrants {
    /// Puts grants of one caller on one database in order.
    pub fn new(grants: impl IntoIterator<Item = Arc<Grant>>) -> Self {
        let mut grants: Vec<_> = grants.into_iter().collect();
        grants.sort_by(|a, b| (b.expires, &a.id).cmp(&(a.expires, &b.id)));
        Self(if grants.is_empty() { Held::None } else { Held::Some(grants.into()) })
    }

    /// Nobody knows which there are: as good as none, but for what a denial says.
    pub const fn unknown() -> Self {
        Self(Held::Unknown)
    }

    /// Whether it is known which there are.
    pub const fn is_known(&self) -> bool {
        !matches!(self.0, Held::Unknown)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Grant>> {
        match &self.0 {
            Held::Some(grants) => grants.iter(),
            Held::None | Held::Unknown => [].iter(),
        }
    }

    /// Those that count at that moment; the one that expires last comes first.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Grant>> + Clone {
        self.iter().filter(move |grant| grant.is_live(now))
    }

    /// Whether any counts at that moment.
    pub fn any_live(&self, now: Timestamp) -> bool {
        self.live(now).next().is_some()
    }

    /// Whether some count at that moment, and all of those are bound to replicas.
    pub fn only_replicas(&self, now: Timestamp) -> bool {
        self.any_live(now) && self.live(now).all(|grant| grant.route == Route::ReplicaOnly)
    }

    /// The next moment at which one begins or expires by itself.
    pub fn next_change_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.iter().filter_map(|grant| grant.next_change_after(now)).min()
    }

    /// Whether both are the same list of the same snapshot or of snapshots between which nothing of
    /// this caller changed: what was decided with one and has not expired holds with the other.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Held::None, Held::None) | (Held::Unknown, Held::Unknown) => true,
            (Held::Some(a), Held::Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl<'a> IntoIterator for &'a HeldGrants {
    type Item = &'a Arc<Grant>;
    type IntoIter = std::slice::Iter<'a, Arc<Grant>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Every caller's grants at one moment.
#[derive(Clone, Debug)]
pub struct GrantSnapshot {
    epoch: u64,
    known: bool,
    callers: HashMap<PrincipalName, HashMap<Box<str>, HeldGrants>>,
}

impl GrantSnapshot {
    /// The first snapshot, from grants in any order.
    pub fn new(grants: impl IntoIterator<Item = Arc<Grant>>, now: Timestamp) -> Self {
        let mut lists: HashMap<PrincipalName, HashMap<Box<str>, Vec<Arc<Grant>>>> = HashMap::new();
        for grant in grants {
            if kept(&grant, now) {
                let databases = lists.entry(grant.principal.clone()).or_default();
                databases.entry(grant.database.clone()).or_default().push(grant);
            }
        }
        let callers = lists
            .into_iter()
            .map(|(principal, databases)| {
                let held = databases.into_iter().map(|(name, list)| (name, HeldGrants::new(list)));
                (principal, held.collect())
            })
            .collect();
        Self { epoch: 1, known: true, callers }
    }

    /// Grows with each change.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is known what holds now; without that, nobody holds anything.
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// The next snapshot, with the same grants, when it becomes known or unknown whether they still
    /// hold.
    #[must_use]
    pub fn known(&self, known: bool) -> Self {
        Self { epoch: self.epoch + 1, known, callers: self.callers.clone() }
    }

    /// The grants of a caller on a database.
    pub fn held(&self, principal: &PrincipalName, database: &str) -> HeldGrants {
        if !self.known {
            return HeldGrants::unknown();
        }
        self.callers
            .get(principal)
            .and_then(|databases| databases.get(database))
            .cloned()
            .unwrap_or_default()
    }

    /// Every grant that the snapshot holds, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.callers.values().flat_map(HashMap::values).flatten()
    }

    /// The next moment at which any grant begins or expires by itself.
    pub fn next_change_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.iter().filter_map(|grant| grant.next_change_after(now)).min()
    }

    /// The next snapshot, in which these grants are new or replace their former state. The other
    /// callers' lists stay the same values.
    #[must_use]
    pub fn with(&self, changed: &[Arc<Grant>]) -> Self {
        let mut callers = self.callers.clone();
        for grant in changed {
            let now = grant.revoked.as_ref().map_or(grant.created, |revoked| revoked.at);
            let databases = callers.entry(grant.principal.clone()).or_default();
            let held = databases.entry(grant.database.clone()).or_default();
            let others = held.iter().filter(|other| other.id != grant.id && kept(other, now));
            *held = HeldGrants::new(others.chain([grant]).cloned());
        }
        Self { epoch: self.epoch + 1, known: self.known, callers }
    }

    /// The next snapshot, without the grants that ended long ago; `None` when there are none.
    #[must_use]
    pub fn pruned(&self, now: Timestamp) -> Option<Self> {
        if self.iter().all(|grant| kept(grant, now)) {
            return None;
        }
        let mut callers = self.callers.clone();
        for databases in callers.values_mut() {
            for held in databases.values_mut() {
                if held.iter().any(|grant| !kept(grant, now)) {
                    *held = HeldGrants::new(held.iter().filter(|grant| kept(grant, now)).cloned());
                }
            }
            databases.retain(|_, held| held.iter().next().is_some());
        }
        callers.retain(|_, databases| !databases.is_empty());
        Some(Self { epoch: self.epoch + 1, known: self.known, callers })
    }
}

fn kept(grant: &Grant, now: Timestamp) -> bool {
    now < grant.ends() + ENDED_KEPT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Revocation;
    use crate::grant::fixture::{at, grant};

    const HOUR: u64 = 3600;

    fn name(text: &str) -> PrincipalName {
        PrincipalName::new(text).unwrap()
    }

    #[test]
    fn a_caller_sees_only_its_own_grants_on_that_database_latest_expiry_first() {
        let mut other = grant("g_3", "SELECT ON s.t", 0, 9);
        other.database = "crm".into();
        let grants =
            [grant("g_1", "SELECT ON s.t", 0, 5), grant("g_2", "SELECT ON s.t", 0, 7), other];
        let snapshot = GrantSnapshot::new(grants.map(Arc::new), at(0));
        let held = snapshot.held(&name("alice"), "shop");
        let ids: Vec<_> = held.iter().map(|grant| grant.id.to_string()).collect();
        assert_eq!(ids, ["g_2", "g_1"]);
        assert_eq!(snapshot.held(&name("bob"), "shop").iter().count(), 0);
        assert_eq!(snapshot.held(&name("alice"), "other").iter().count(), 0);
    }

    #[test]
    fn ended_grants_stay_for_a_day() {
        let mut revoked = grant("g_2", "SELECT ON s.t", 0, 9 * HOUR);
        revoked.revoked = Some(Revocation { at: at(HOUR), by: "local:root".into(), reason: None });
        let grants = [grant("g_1", "SELECT ON s.t", 0, 2 * HOUR), revoked];
        let snapshot = GrantSnapshot::new(grants.map(Arc::new), at(3 * HOUR));
        assert_eq!(snapshot.iter().count(), 2);
        assert!(snapshot.pruned(at(24 * HOUR)).is_none());
        let pruned = snapshot.pruned(at(25 * HOUR)).unwrap();
        assert_eq!(pruned.iter().count(), 1);
        assert_eq!(pruned.epoch(), 2);
        assert_eq!(pruned.pruned(at(26 * HOUR)).unwrap().iter().count(), 0);
    }

    #[test]
    fn a_change_replaces_the_grant_and_leaves_other_callers_as_they_are() {
        let mut bobs = grant("g_2", "SELECT ON s.t", 0, 9);
        bobs.principal = name("bob");
        let first = GrantSnapshot::new([Arc::new(bobs)], at(0));
        let one = Arc::new(grant("g_1", "SELECT ON s.t", 0, 9));
        let second = first.with(&[one]);
        let mut revoked = grant("g_1", "SELECT ON s.t", 0, 9);
        revoked.revoked = Some(Revocation { at: at(1), by: "local:root".into(), reason: None });
        let third = second.with(&[Arc::new(revoked)]);
        assert_eq!((second.epoch(), third.epoch()), (2, 3));
        let [one, two, three] =
            [&first, &second, &third].map(|snapshot| snapshot.held(&name("bob"), "shop"));
        assert!(one.same(&two) && two.same(&three));
        let held = third.held(&name("alice"), "shop");
        assert_eq!(held.iter().count(), 1);
        assert!(!held.same(&second.held(&name("alice"), "shop")));
        assert!(second.held(&name("alice"), "shop").any_live(at(1)));
        assert!(!held.any_live(at(1)));
    }

    #[test]
    fn nobody_holds_anything_while_nobody_knows() {
        let snapshot = GrantSnapshot::new([Arc::new(grant("g_1", "SELECT ON s.t", 0, 9))], at(0));
        let held = snapshot.held(&name("alice"), "shop");
        let unknown = snapshot.known(false);
        assert!(!unknown.held(&name("alice"), "shop").any_live(at(1)));
        assert!(!unknown.held(&name("alice"), "shop").same(&held));
        assert!(!unknown.held(&name("bob"), "shop").is_known());
        assert_eq!(unknown.iter().count(), 1);
        let again = unknown.known(true);
        assert!(again.held(&name("alice"), "shop").same(&held));
        assert_eq!(again.epoch(), 3);
    }

    #[test]
    fn replicas_alone_serve_who_holds_nothing_that_is_not_bound_to_them() {
        let bound = |from, until| {
            let grant = grant("g_1", "SELECT ON s.t", from, until);
            Grant { route: Route::ReplicaOnly, ..grant }
        };
        let held = |grants: Vec<Grant>| HeldGrants::new(grants.into_iter().map(Arc::new));
        assert!(!HeldGrants::default().only_replicas(at(1)));
        assert!(!HeldGrants::unknown().only_replicas(at(1)));
        assert!(!held(vec![bound(5, 9)]).only_replicas(at(1)));
        assert!(held(vec![bound(0, 9)]).only_replicas(at(1)));
        let both = held(vec![bound(0, 9), grant("g_2", "SELECT ON s.u", 3, 6)]);
        let only = [2, 3, 5, 6, 9].map(|second| both.only_replicas(at(second)));
        assert_eq!(only, [true, false, false, true, false]);
    }

    #[test]
    fn the_next_change_is_a_beginning_or_an_expiry_not_a_revoked_grants() {
        let mut revoked = grant("g_3", "SELECT ON s.t", 0, 4);
        revoked.revoked = Some(Revocation { at: at(1), by: "local:root".into(), reason: None });
        let grants =
            [grant("g_1", "SELECT ON s.t", 5, 9), grant("g_2", "SELECT ON s.t", 0, 7), revoked];
        let snapshot = GrantSnapshot::new(grants.map(Arc::new), at(0));
        assert_eq!(snapshot.next_change_after(at(0)), Some(at(5)));
        assert_eq!(snapshot.next_change_after(at(5)), Some(at(7)));
        assert_eq!(snapshot.next_change_after(at(7)), Some(at(9)));
        assert_eq!(snapshot.next_change_after(at(9)), None);
    }
}
