//! What has to be done: the roles that live grants need against those that a server has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::acl::{self, Known, Right};
use super::action::{self, Action};
use super::names::Names;
use super::service::Service;
use crate::grant::privilege::{Item, Level, Privilege};
use crate::grant::{Grant, GrantId};
use crate::sql::access::Operation;
use crate::time::Timestamp;

/// The roles that there are to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// One for each principal with a live grant.
    pub logins: BTreeMap<String, WantedLogin>,
    /// One for each distinct set of privileges among live grants.
    pub sets: BTreeMap<String, Vec<Privilege>>,
    /// What leads to the `ddl-owner`, where one is named and a live grant has a use for it.
    pub ddl: Option<WantedDdl>,
}

/// The way from login roles to the `ddl-owner`: a role between them that inherits nothing, so that who is a
/// member of it may become the owner and has none of its rights before. (Until 16 that is a matter of the
/// role between, not of the membership.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedDdl {
    /// The role between.
    pub role: String,
    /// The `ddl-owner`.
    pub owner: Arc<str>,
    /// Login roles that may become it.
    pub members: BTreeSet<String>,
}

/// Whether privileges allow what only the `ddl-owner` does at the server.
fn uses_owner(privileges: &[Privilege]) -> bool {
    let items = privileges.iter().flat_map(|privilege| &privilege.items);
    items.into_iter().any(|item| {
        matches!(item, Item::Level(Level::Admin) | Item::Operation(Operation::Create, None))
    })
}

/// A role that sessions log in as.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedLogin {
    /// When the last of its grants expires.
    pub valid_until: Timestamp,
    /// The sets that it is to be a member of.
    pub sets: BTreeSet<String>,
    /// The grants that it is there for.
    pub grants: Vec<GrantId>,
}

/// What grants that are live at a moment need. Those that are bound to replicas count as the others do: replicas have
/// the primary's roles, so only the proxy keeps their statements away from it.
pub fn wanted<'a>(
    grants: impl Iterator<Item = &'a Arc<Grant>>,
    names: &Names,
    ddl_owner: Option<&Arc<str>>,
    now: Timestamp,
) -> Wanted {
    let mut wanted = Wanted::default();
    for grant in grants.filter(|grant| grant.is_live(now)) {
        let set = names.set(&grant.privileges);
        let name = names.login(grant.principal.as_str());
        if let Some(owner) = ddl_owner.filter(|_| uses_owner(&grant.privileges)) {
            let ddl = wanted.ddl.get_or_insert_with(|| WantedDdl {
                role: names.ddl(),
                owner: Arc::clone(owner),
                members: BTreeSet::new(),
            });
            ddl.members.insert(name.clone());
        }
        let login = wanted.logins.entry(name);
        let login = login.or_insert_with(|| WantedLogin {
            valid_until: grant.expires,
            sets: BTreeSet::new(),
            grants: Vec::new(),
        });
        login.valid_until = login.valid_until.max(grant.expires);
        login.sets.insert(set.clone());
        login.grants.push(grant.id.clone());
        wanted.sets.entry(set).or_insert_with(|| grant.privileges.clone());
    }
    wanted
}

/// Settings of a role, by whether they count in this database only, and name.
pub type Settings = BTreeMap<(bool, Box<str>), Box<str>>;

/// A role of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// LOGIN.
    pub can_login: bool,
    /// It has an attribute that none of ours may have: SUPERUSER, CREATEROLE, BYPASSRLS …
    pub too_strong: bool,
    /// INHERIT.
    pub inherits: bool,
    /// VALID UNTIL; `None` is for ever.
    pub valid_until: Option<Timestamp>,
    /// Its settings.
    pub settings: Settings,
    /// A session of it is open, on whichever proxy.
    pub busy: bool,
}

/// That a role is a member of another, when one of them is ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// Of which.
    pub role: String,
    /// Who.
    pub member: String,
    /// The member has the role's privileges. Before 16 that is the member's own attribute.
    pub inherit: bool,
    /// The member may become the role. Before 16 always.
    pub set: bool,
    /// The member may make others members.
    pub admin: bool,
}

/// The database's objects, and what our roles hold on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// The objects.
    pub known: Vec<Known>,
    /// By role.
    pub held: BTreeMap<String, BTreeSet<Right>>,
}

/// What a server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The service account.
    pub service: Service,
    /// Its settings, which sessions would have with it.
    pub settings: Settings,
    /// Roles of this database's names.
    pub roles: BTreeMap<String, Role>,
    /// Memberships in them and of them.
    pub members: Vec<Membership>,
    /// Objects, when they were looked at.
    pub objects: Option<Objects>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub actions: Vec<Action>,
    /// What sets should hold, and the service account may not give.
    pub lacking: BTreeSet<Right>,
}

/// How far a plan goes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Names of this database's roles.
    pub names: &'a Names,
    /// Login roles whose password this process has set.
    pub opened: &'a HashSet<String>,
    /// Roles that nobody needs are dropped, too, not only closed.
    pub sweep: bool,
}

/// From what a server has to what there is to be. What takes a privilege away comes first; a role may
/// log in once it has all that it needs.
pub fn plan(wanted: &Wanted, observed: &Observed, scope: Scope<'_>) -> Plan {
    let mut plan = Plan::default();
    plan.leave(wanted, observed);
    plan.close(wanted, observed);
    plan.make(wanted, observed);
    plan.give(wanted, observed);
    plan.join(wanted, observed);
    plan.lead(wanted, observed);
    plan.open(wanted, observed, scope.opened);
    if scope.sweep {
        plan.drop(wanted, observed);
    }
    plan
}

impl Plan {
    /// Memberships that nobody is to have, or not like that.
    fn leave(&mut self, wanted: &Wanted, observed: &Observed) {
        for membership in &observed.members {
            let Membership { role, member, .. } = membership;
            let of_service = **member == *observed.service.name;
            let right = of_service
                || is_wanted(wanted, role, member) && is_plain(membership, &observed.service)
                || leads_to_owner(wanted, role, member) && is_bare(membership, &observed.service);
            if !right {
                self.actions.push(Action::Leave { role: role.clone(), member: member.clone() });
            }
        }
    }

    fn close(&mut self, wanted: &Wanted, observed: &Observed) {
        for (name, role) in &observed.roles {
            if role.too_strong {
                self.actions.push(Action::Disarm { role: name.clone() });
            }
            if role.can_login && !wanted.logins.contains_key(name) {
                self.actions.push(Action::Close { role: name.clone() });
            }
        }
    }

    fn make(&mut self, wanted: &Wanted, observed: &Observed) {
        for set in wanted.sets.keys().filter(|set| !observed.roles.contains_key(*set)) {
            self.actions.push(Action::CreateSet { role: set.clone() });
        }
        if let Some(ddl) = &wanted.ddl {
            match observed.roles.get(&ddl.role) {
                None => self.actions.push(Action::CreateDdl { role: ddl.role.clone() }),
                Some(role) if role.inherits => {
                    self.actions.push(Action::Bare { role: ddl.role.clone() });
                }
                Some(_) => (),
            }
        }
        for login in wanted.logins.keys() {
            if !observed.roles.contains_key(login) {
                self.actions.push(Action::CreateLogin { role: login.clone() });
            }
            let served = observed
                .members
                .iter()
                .any(|it| it.role == *login && *it.member == *observed.service.name && it.inherit);
            if !served && !observed.service.superuser {
                self.actions.push(Action::Serve { role: login.clone() });
            }
        }
    }

    /// Brings the rights of all sets in line, and takes those of login roles away.
    fn give(&mut self, wanted: &Wanted, observed: &Observed) {
        let Some(objects) = &observed.objects else { return };
        let none = BTreeSet::new();
        let version = observed.service.server_version;
        let mut grants = Vec::new();
        for (set, privileges) in &wanted.sets {
            let rights = acl::rights(privileges, &objects.known, version);
            let held = objects.held.get(set).unwrap_or(&none);
            grants.extend(action::grants(set, rights.held.difference(held)));
            let spare = held
                .iter()
                .filter(|it| !rights.held.contains(*it) && !rights.lacking.contains(*it));
            self.actions.extend(action::revokes(set, spare));
            let lacking = rights.lacking.difference(held).cloned();
            self.lacking.extend(lacking);
        }
        let spare = objects.held.iter().filter(|(role, _)| !wanted.sets.contains_key(*role));
        for (role, held) in spare {
            self.actions.extend(action::revokes(role, held.iter()));
        }
        self.actions.append(&mut grants);
    }

    fn join(&mut self, wanted: &Wanted, observed: &Observed) {
        for (login, role) in &wanted.logins {
            for set in &role.sets {
                // Two grantors may have made it one: where one of them made it wrong, both were left.
                let mut ways = observed
                    .members
                    .iter()
                    .filter(|it| it.role == *set && it.member == *login)
                    .peekable();
                let is_member =
                    ways.peek().is_some() && ways.all(|it| is_plain(it, &observed.service));
                if !is_member {
                    self.actions.push(Action::Join { set: set.clone(), member: login.clone() });
                }
            }
        }
    }

    /// The ways to the `ddl-owner`: into the role between, and from there.
    fn lead(&mut self, wanted: &Wanted, observed: &Observed) {
        let Some(ddl) = &wanted.ddl else { return };
        let into = ddl.members.iter().map(|member| (ddl.role.as_str(), member.as_str()));
        for (role, member) in [(&*ddl.owner, ddl.role.as_str())].into_iter().chain(into) {
            let mut ways = observed
                .members
                .iter()
                .filter(|it| *it.role == *role && *it.member == *member)
                .peekable();
            let leads = ways.peek().is_some() && ways.all(|it| is_bare(it, &observed.service));
            if !leads {
                self.actions
                    .push(Action::Lead { role: role.to_owned(), member: member.to_owned() });
            }
        }
    }

    fn open(&mut self, wanted: &Wanted, observed: &Observed, opened: &HashSet<String>) {
        let none = Settings::new();
        for (name, login) in &wanted.logins {
            let role = observed.roles.get(name);
            let settings = role.map_or(&none, |role| &role.settings);
            if *settings != observed.settings {
                if !settings.is_empty() {
                    self.actions.push(Action::ResetSettings { role: name.clone() });
                }
                self.actions.extend(observed.settings.iter().map(
                    |((in_database, setting), value)| Action::Set {
                        role: name.clone(),
                        in_database: *in_database,
                        name: setting.clone(),
                        value: value.clone(),
                    },
                ));
            }
            let is_open = role.is_some_and(|role| {
                role.can_login && role.inherits && role.valid_until == Some(login.valid_until)
            });
            if !is_open || !opened.contains(name) {
                let valid_until = login.valid_until;
                self.actions.push(Action::Open { role: name.clone(), valid_until });
            }
        }
    }

    /// Roles that nobody needs. One that a session still uses stays until it does not.
    fn drop(&mut self, wanted: &Wanted, observed: &Observed) {
        if observed.objects.is_none() {
            return;
        }
        for (name, role) in &observed.roles {
            let needed = wanted.logins.contains_key(name)
                || wanted.sets.contains_key(name)
                || wanted.ddl.as_ref().is_some_and(|ddl| ddl.role == *name);
            if !needed && !role.busy {
                self.actions.push(Action::Drop { role: name.clone() });
            }
        }
    }
}

fn is_wanted(wanted: &Wanted, role: &str, member: &str) -> bool {
    wanted.logins.get(member).is_some_and(|login| login.sets.contains(role))
}

/// Whether a membership is one of the ways to the `ddl-owner`.
fn leads_to_owner(wanted: &Wanted, role: &str, member: &str) -> bool {
    wanted.ddl.as_ref().is_some_and(|ddl| {
        ddl.role == role && ddl.members.contains(member)
            || ddl.role == member && *ddl.owner == *role
    })
}

/// Whether a membership lets its member become the role and gives nothing before.
fn is_bare(membership: &Membership, service: &Service) -> bool {
    let inherits = service.server_version >= action::OPTIONS_SINCE && membership.inherit;
    !inherits && membership.set && !membership.admin
}

/// Whether a membership gives a set's privileges and nothing else.
fn is_plain(membership: &Membership, service: &Service) -> bool {
    let may_become = service.server_version >= action::OPTIONS_SINCE && membership.set;
    membership.inherit && !may_become && !membership.admin
}

#[cfg(test)]
mod tests;
