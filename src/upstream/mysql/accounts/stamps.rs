//! When open sessions of an account have to do something to see the rights of now ("When Privilege Changes Take
//! Effect"): rights on a table count at the next statement, those on the default database at the next USE of it, those
//! on everything at the next login.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::Wide;
use super::rights::{Place, Right};
use crate::grant::GrantId;
use crate::upstream::lock::Stamp;

/// What a session may have seen of rights that it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    schemas: BTreeSet<Right>,
    global: BTreeSet<Right>,
    /// Grants of such rights. Another proxy may have given and taken between two looks of ours, and a session have
    /// done its USE or login just then.
    grants: BTreeMap<GrantId, Wide>,
}

impl Seen {
    /// Of an account with those rights, by those grants.
    pub fn new(rights: &BTreeSet<Right>, grants: &BTreeMap<GrantId, Wide>) -> Self {
        let of = |wanted: fn(&Place) -> bool| {
            rights.iter().filter(|right| wanted(&right.place)).cloned().collect()
        };
        Self {
            schemas: of(|place| matches!(place, Place::Schema(_))),
            global: of(|place| matches!(place, Place::Global)),
            grants: grants.clone(),
        }
    }

    /// Grants that have come, begun or ended since. That old ones are forgotten is nothing new.
    fn news<'l>(&self, later: &'l Self) -> impl Iterator<Item = &'l Wide> {
        let known = |(id, wide): &(&GrantId, &Wide)| self.grants.get(*id) == Some(*wide);
        later.grants.iter().filter(move |it| !known(it)).map(|(_, wide)| wide)
    }
}

/// Stamps of all accounts.
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    seen: HashMap<String, Seen>,
    stamps: HashMap<String, Stamp>,
}

impl Stamps {
    /// Takes note of how accounts stand; those that are not named are gone. `turn` is greater than any before.
    pub fn note(&mut self, accounts: HashMap<String, Seen>, turn: u64) {
        for (account, now) in &accounts {
            // Nobody has a session of one that was not there.
            let Some(before) = self.seen.get(account) else { continue };
            let stamp = self.stamps.entry(account.clone()).or_default();
            if before.schemas != now.schemas || before.news(now).next().is_some() {
                stamp.schemas = turn;
            }
            if before.global != now.global || before.news(now).any(|wide| wide.global) {
                stamp.global = turn;
            }
        }
        self.stamps.retain(|account, _| accounts.contains_key(account));
        self.seen = accounts;
    }

    /// By account.
    pub fn by_account(&self) -> &HashMap<String, Stamp> {
        &self.stamps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::access::Operation;

    fn seen(schemas: &[&str], global: bool, grants: &[(&str, bool, bool)]) -> Seen {
        let right = |place| Right { place, operation: Operation::Process };
        let mut rights: BTreeSet<_> =
            schemas.iter().map(|name| right(Place::Schema((*name).into()))).collect();
        rights.extend(global.then(|| right(Place::Global)));
        let grants = grants.iter().map(|(id, live, global)| {
            (GrantId((*id).into()), Wide { live: *live, global: *global })
        });
        Seen::new(&rights, &grants.collect())
    }

    #[test]
    fn what_open_sessions_do_not_see_has_a_stamp() {
        let mut stamps = Stamps::default();
        let mut turn = 0;
        let mut note = |seen: Seen| {
            turn += 1;
            stamps.note([("a".to_owned(), seen)].into(), turn);
            let stamp = stamps.by_account().get("a").copied().unwrap_or_default();
            (stamp.schemas, stamp.global)
        };
        assert_eq!(note(seen(&["s"], false, &[("g_1", true, false)])), (0, 0));
        assert_eq!(note(seen(&["s"], false, &[("g_1", true, false)])), (0, 0));
        // A database comes, and everything.
        assert_eq!(note(seen(&["s", "t"], false, &[("g_1", true, false)])), (3, 0));
        assert_eq!(note(seen(&["s", "t"], true, &[("g_1", true, false)])), (3, 4));
        // Given and taken by another between two looks, and forgotten much later.
        let ended = [("g_1", true, false), ("g_2", false, false)];
        assert_eq!(note(seen(&["s", "t"], true, &ended)), (5, 4));
        let ended = [("g_1", true, false), ("g_3", false, true)];
        assert_eq!(note(seen(&["s", "t"], true, &ended)), (6, 6));
        assert_eq!(note(seen(&["s", "t"], true, &[("g_1", true, false)])), (6, 6));
        // One that is gone has none, and nobody had a session of it when it comes back.
        stamps.note(HashMap::new(), 8);
        stamps.note([("a".to_owned(), seen(&["s"], true, &[]))].into(), 9);
        assert_eq!(stamps.by_account().get("a"), None);
    }
}
