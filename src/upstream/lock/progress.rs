//! How far a second lock is, and what open sessions have to do about it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::finding::Finding;
use crate::grant::GrantId;
use crate::grant::snapshot::HeldGrants;
use crate::route::Position;
use crate::time::Timestamp;

/// How far the roles are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The grants' epoch that was last tried: whoever waits for a newer one hears of it.
    pub epoch: u64,
    /// Live grants that were brought to the server, or could not be: nobody need wait for them.
    pub settled: HashSet<GrantId>,
    /// Roles that can be logged in as.
    pub open: HashSet<String>,
    /// Roles that cannot, and why.
    pub failed: HashMap<String, Arc<str>>,
    /// What live grants allow, and the service account may not give.
    pub lacking: Arc<[Finding]>,
    /// The roles have been in line once.
    pub served: bool,
    /// Why nothing can be brought to the server now.
    pub error: Option<Arc<str>>,
    /// What tells the cluster from others, once it is known.
    pub cluster: Box<str>,
    /// Where the primary was once it had all of this: a replica that has replayed so far has the roles, too. `None`
    /// when nobody knows.
    pub position: Option<Position>,
    /// When rights of a role last changed so that open sessions of it do not see it by themselves.
    pub stamps: HashMap<String, Stamp>,
}

/// When rights of a role last changed in ways that its open sessions do not see by themselves. Whatever is newer
/// has a greater number, which none before it had; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// On a whole database: a session whose default database it is sees it at its next USE.
    pub schemas: u64,
    /// On everything: a session sees it when it logs in anew.
    pub global: u64,
}

/// What an open session has to do before its next statement, for the server to hold it to the rights of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// USE of its default database, if it has one.
    Use,
    /// A new login.
    LogIn,
}

impl Progress {
    /// From when a session would have to wait before its next statement; `None` when nothing of what
    /// it holds is still to be brought to the server.
    pub fn wait_from(&self, held: &HeldGrants, now: Timestamp) -> Option<Timestamp> {
        let unsettled = held.iter().filter(|grant| {
            grant.revoked.is_none() && now < grant.expires && !self.settled.contains(&grant.id)
        });
        unsettled.map(|grant| grant.not_before).min()
    }

    /// When a role's rights last changed.
    pub fn stamp(&self, role: &str) -> Stamp {
        self.stamps.get(role).copied().unwrap_or_default()
    }

    /// What a session of that role has to do that has seen its rights as of `seen`.
    pub fn due(&self, role: &str, seen: Stamp) -> Due {
        let now = self.stamp(role);
        if now.global > seen.global {
            Due::LogIn
        } else if now.schemas > seen.schemas {
            Due::Use
        } else {
            Due::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_has_to_do_follows_from_what_it_has_seen() {
        let stamp = Stamp { schemas: 4, global: 2 };
        let progress = Progress { stamps: [("r".to_owned(), stamp)].into(), ..Progress::default() };
        let due = |schemas, global| progress.due("r", Stamp { schemas, global });
        assert_eq!(due(4, 2), Due::Nothing);
        assert_eq!(due(3, 2), Due::Use);
        assert_eq!(due(4, 1), Due::LogIn);
        assert_eq!(due(0, 0), Due::LogIn);
        // The role has gone meanwhile.
        assert_eq!(progress.due("other", stamp), Due::Nothing);
    }
}
