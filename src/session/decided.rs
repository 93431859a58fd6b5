//! Permits that were given, by the very list of accesses that they were given for. Analyses that are kept share
//! their lists (`scope::Meaning`), so that a list stands for text, parameter types, search path and catalog
//! at once; the gate forgets all of it when the grants change.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::grant::decide::Permit;
use crate::sql::access::Accesses;
use crate::time::Timestamp;

/// Most permits that one session keeps.
const PERMITS_MAX: usize = 64;
/// Slots for lists that were seen once.
const SEEN: usize = 16;

/// The permits.
#[derive(Default)]
pub struct Decided {
    /// What was decided last.
    last: RefCell<Option<(Accesses, Permit)>>,
    /// What was decided twice. A load of statements that all differ must not push it out.
    kept: RefCell<HashMap<usize, (Accesses, Permit)>>,
    seen_once: [Cell<usize>; SEEN],
}

impl Decided {
    /// The permit for a list, while it holds.
    pub fn get(&self, accesses: &Accesses, now: Timestamp) -> Option<Permit> {
        let holds = |(known, permit): &(Accesses, Permit)| {
            (known.same(accesses) && now < permit.holds_until()).then(|| permit.clone())
        };
        if let Some(permit) = self.last.borrow().as_ref().and_then(holds) {
            return Some(permit);
        }
        self.kept.borrow().get(&accesses.address()).and_then(holds)
    }

    /// Keeps a permit as the last one, and for longer when its list is seen for the second time.
    pub fn put(&self, accesses: &Accesses, permit: &Permit) {
        let address = accesses.address();
        self.last.replace(Some((accesses.clone(), permit.clone())));
        // Lists lie at multiples of their alignment.
        let Some(slot) = self.seen_once.get((address >> 4) % SEEN) else { return };
        if slot.replace(address) != address {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= PERMITS_MAX {
            // Rare, and whatever is still in use comes back.
            kept.clear();
        }
        kept.insert(address, (accesses.clone(), permit.clone()));
    }

    /// None of it holds any more.
    pub fn forget(&self) {
        self.last.take();
        self.kept.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::grant::decide::{Decision, decide};
    use crate::grant::fixture::{at, grant};
    use crate::grant::snapshot::HeldGrants;
    use crate::grant::{Grant, Route};
    use crate::sql::access::Access;

    fn permit() -> Permit {
        permit_of([grant("g_1", "READ ON DATABASE", 0, 9)])
    }

    fn permit_of(grants: impl IntoIterator<Item = Grant>) -> Permit {
        let held = HeldGrants::new(grants.into_iter().map(Arc::new));
        let Decision::Allow(permit) = decide([Access::Metadata].iter(), &held, at(1)) else {
            panic!("it is allowed")
        };
        permit
    }

    #[test]
    fn a_list_is_known_from_its_second_sight_until_the_permit_expires_or_grants_change() {
        let decided = Decided::default();
        let lists: Vec<_> = (0..3).map(|_| Accesses::from(vec![Access::Metadata])).collect();
        let permit = permit();
        let known = |now| lists.iter().map(|it| decided.get(it, now).is_some()).collect::<Vec<_>>();
        decided.put(&lists[0], &permit);
        assert_eq!(known(at(1)), [true, false, false], "an equal list is another list");
        decided.put(&lists[1], &permit);
        assert_eq!(known(at(1)), [false, true, false], "seen once, not the last");
        for _ in 0..2 {
            decided.put(&lists[0], &permit);
        }
        decided.put(&lists[2], &permit);
        assert_eq!(known(at(1)), [true, false, true]);
        assert_eq!(known(at(9)), [false, false, false], "expired");
        decided.forget();
        assert_eq!(known(at(1)), [false, false, false]);
    }

    #[test]
    fn a_permit_that_is_bound_to_replicas_is_known_until_a_grant_begins_that_is_not() {
        let bound = grant("g_1", "READ ON DATABASE", 0, 9);
        let bound = Grant { route: Route::ReplicaOnly, ..bound };
        let permit = permit_of([bound, grant("g_2", "READ ON DATABASE", 5, 7)]);
        let decided = Decided::default();
        let list = Accesses::from(vec![Access::Metadata]);
        decided.put(&list, &permit);
        assert!(decided.get(&list, at(4)).is_some());
        assert!(decided.get(&list, at(5)).is_none());
    }

    #[test]
    fn it_stays_within_its_bound() {
        let decided = Decided::default();
        let lists: Vec<_> = (0..500).map(|_| Accesses::from(vec![Access::Metadata])).collect();
        for list in &lists {
            decided.put(list, &permit());
            decided.put(list, &permit());
        }
        assert!(decided.kept.borrow().len() <= PERMITS_MAX);
    }
}
