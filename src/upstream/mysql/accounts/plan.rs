//! What has to be done: the accounts that live grants need against those that a server has.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::names::Names;
use super::rights::{
    Held, Right, SchemaNames, Verb, by_statement, given, is_global, quoted, statement,
};
use super::verifier::Plugin;
use crate::grant::privilege::Privilege;
use crate::grant::{Grant, GrantId};
use crate::sql::access::Object;
use crate::time::Timestamp;

/// What grants of a moment need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// An account for each principal with a live grant.
    pub accounts: BTreeMap<String, WantedAccount>,
    /// Of each account, the grants that are about more than single tables, ended ones included.
    pub wide: HashMap<String, BTreeMap<GrantId, Wide>>,
}

/// A grant of more than single tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    /// It counts now.
    pub live: bool,
    /// Something of it is a right on everything at the server.
    pub global: bool,
}

/// An account that there is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WantedAccount {
    /// What its grants allow.
    pub privileges: Vec<Privilege>,
    /// The grants that it is there for.
    pub grants: Vec<GrantId>,
}

/// What grants need, of which those count that are live. Those that are bound to replicas count as the others do:
/// replicas have the primary's accounts, so only the proxy keeps their statements away from it.
pub fn wanted<'a>(
    grants: impl Iterator<Item = &'a Arc<Grant>>,
    names: &Names,
    now: Timestamp,
) -> Wanted {
    let mut wanted = Wanted::default();
    for grant in grants {
        let name = names.account(grant.principal.as_str());
        let is_wide = |it: &Privilege| matches!(it.object, Object::Database | Object::Schema(_));
        let live = grant.is_live(now);
        if grant.privileges.iter().any(is_wide) {
            let wide = Wide { live, global: grant.privileges.iter().any(is_global) };
            wanted.wide.entry(name.clone()).or_default().insert(grant.id.clone(), wide);
        }
        if live {
            let account = wanted.accounts.entry(name).or_default();
            account.privileges.extend(grant.privileges.iter().cloned());
            account.grants.push(grant.id.clone());
        }
    }
    wanted
}

/// An account as the server names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its name.
    pub user: String,
    /// From where it logs in.
    pub host: String,
}

impl Identity {
    /// As statements name it.
    pub fn quoted(&self) -> String {
        format!("{}@{}", quoted(&self.user), quoted(&self.host))
    }
}

/// An account with a name of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Nobody logs in as it.
    pub locked: bool,
    /// It proves its password as it is to, and has no other conditions or limits.
    pub fits: bool,
    /// It has what none of ours may have and no statement of ours takes from it: roles, a second password.
    pub strange: bool,
    /// What it may do.
    pub held: Held,
    /// A session of it is open, on whichever proxy, or that is not known.
    pub busy: bool,
    /// A view, routine, trigger or event runs with its rights.
    pub defines: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nobody logs in as it any more.
    Lock(Identity),
    /// It loses all rights.
    Strip(Identity),
    /// It goes.
    Drop(Identity),
    /// It comes, locked.
    Create(Identity),
    /// It loses rights, those of one statement.
    Revoke(Identity, BTreeSet<Right>),
    /// It gets rights, those of one statement.
    Grant(Identity, BTreeSet<Right>),
    /// It can be logged in as, with its password and without any condition or limit.
    Open(Identity),
}

/// No condition but the password, and no limit.
const PLAIN: &str = "REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 \
    MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0";

impl Action {
    /// Whose account.
    pub fn account(&self) -> &Identity {
        match self {
            Self::Lock(account)
            | Self::Strip(account)
            | Self::Drop(account)
            | Self::Create(account)
            | Self::Revoke(account, _)
            | Self::Grant(account, _)
            | Self::Open(account) => account,
        }
    }

    /// The same right by right, where there are several.
    pub fn apart(&self) -> Vec<Self> {
        let (account, rights, verb) = match self {
            Self::Grant(account, rights) => (account, rights, Verb::Grant),
            Self::Revoke(account, rights) => (account, rights, Verb::Revoke),
            _ => return Vec::new(),
        };
        if rights.len() < 2 {
            return Vec::new();
        }
        let alone = |right: &Right| {
            let rights = [right.clone()].into();
            match verb {
                Verb::Grant => Self::Grant(account.clone(), rights),
                Verb::Revoke => Self::Revoke(account.clone(), rights),
            }
        };
        rights.iter().map(alone).collect()
    }

    /// Its SQL. `verifier` says what the server keeps of an account's password.
    pub fn sql(
        &self,
        plugin: Plugin,
        names: SchemaNames,
        verifier: impl FnOnce(&str) -> String,
    ) -> String {
        let whose = self.account().quoted();
        let identified = |verifier: String| {
            let (by, name) = (plugin.name(), verifier);
            match plugin {
                Plugin::CachingSha2 => {
                    let (limits, attempts) =
                        (PLAIN, "FAILED_LOGIN_ATTEMPTS 0 PASSWORD_LOCK_TIME 0");
                    format!(
                        "IDENTIFIED WITH {by} AS '{name}' {limits} PASSWORD EXPIRE NEVER \
                         /*!80019 {attempts} */"
                    )
                }
                Plugin::Ed25519 | Plugin::Native => format!(
                    "IDENTIFIED VIA {by} USING '{name}' {PLAIN} MAX_STATEMENT_TIME 0 \
                     PASSWORD EXPIRE NEVER"
                ),
            }
        };
        match self {
            Self::Lock(_) => format!("ALTER USER {whose} ACCOUNT LOCK"),
            Self::Strip(_) => format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {whose}"),
            Self::Drop(_) => format!("DROP USER {whose}"),
            Self::Create(account) => {
                format!("CREATE USER {whose} {} ACCOUNT LOCK", identified(verifier(&account.user)))
            }
            Self::Revoke(_, rights) => statement(Verb::Revoke, &whose, rights, names),
            Self::Grant(_, rights) => statement(Verb::Grant, &whose, rights, names),
            Self::Open(account) => {
                format!("ALTER USER {whose} {} ACCOUNT UNLOCK", identified(verifier(&account.user)))
            }
        }
    }
}

/// How far a plan goes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// From where our accounts log in.
    pub host: &'a str,
    /// Accounts that nobody needs are dropped, too, not only closed.
    pub sweep: bool,
    /// Accounts whose password is set anew.
    pub reset: &'a HashSet<String>,
    /// Accounts that lose all rights first: some could not be taken one by one.
    pub strip: &'a HashSet<String>,
}

/// From the accounts that a server has to those that there are to be, each with its rights. What takes rights away
/// comes first; an account may be logged in as once it has all that it needs and nothing else.
pub fn plan(
    wanted: &BTreeMap<String, BTreeSet<Right>>,
    observed: &BTreeMap<Identity, Account>,
    scope: Scope<'_>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let (no_rights, none) = (BTreeSet::new(), Account::default());
    for (identity, account) in observed {
        // From elsewhere it would come before ours for whoever logs in from there.
        if identity.host != scope.host || account.strange {
            actions.push(Action::Drop(identity.clone()));
        } else if !wanted.contains_key(&identity.user) {
            close(identity, account, scope.sweep, &mut actions);
        }
    }
    let mut give = Vec::new();
    for (user, rights) in wanted {
        let identity = Identity { user: user.clone(), host: scope.host.to_owned() };
        let found = observed.get(&identity).filter(|account| !account.strange);
        let mut held = &found.unwrap_or(&none).held.rights;
        match found {
            None => give.push(Action::Create(identity.clone())),
            Some(account) => {
                if !account.held.foreign.is_empty() || scope.strip.contains(user) {
                    actions.push(Action::Strip(identity.clone()));
                    held = &no_rights;
                }
                let taken = by_statement(held.difference(rights));
                actions.extend(taken.into_iter().map(|it| Action::Revoke(identity.clone(), it)));
            }
        }
        let given = given(rights.difference(held), rights);
        give.extend(given.into_iter().map(|it| Action::Grant(identity.clone(), it)));
        let is_open = found.is_some_and(|account| !account.locked && account.fits);
        if !is_open || scope.reset.contains(user) {
            give.push(Action::Open(identity));
        }
    }
    actions.append(&mut give);
    actions
}

/// Of an account that nobody needs. It goes only once it has been closed for a while: a session that was about to log
/// in would have been seen by now.
fn close(identity: &Identity, account: &Account, sweep: bool, actions: &mut Vec<Action>) {
    if !account.locked {
        actions.push(Action::Lock(identity.clone()));
    } else if sweep && !account.busy && !account.defines {
        actions.push(Action::Drop(identity.clone()));
        return;
    }
    if account.held != Held::default() {
        actions.push(Action::Strip(identity.clone()));
    }
}

#[cfg(test)]
mod tests;
