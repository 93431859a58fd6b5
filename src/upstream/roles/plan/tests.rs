//! A model of a server that does what a plan says: one plan always brings it where it is to be.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::super::acl::tests::{known, privileges};
use super::*;
use crate::secret::Secret;
use crate::sql::access::Object;
use crate::sql::name::QualifiedName;

const SETS: [&[&str]; 4] = [
    &["SELECT ON public.a"],
    &["WRITE ON public.b"],
    &["READ ON SCHEMA public"],
    &["ADMIN ON SCHEMA public"],
];

/// Which of them lets its holders do an owner's work.
const ADMIN: usize = 3;
const OWNER: &str = "app_owner";

fn names() -> Names {
    Names::new(&Secret::new("a key of at least thirty-two bytes"), "shop", "shop")
}

/// What the server does with a step.
fn apply(observed: &mut Observed, opened: &mut HashSet<String>, action: &Action) {
    let service = observed.service.name.to_string();
    let made = |role: &str, member: &str| Membership {
        role: role.into(),
        member: member.into(),
        inherit: true,
        set: false,
        admin: false,
    };
    match action {
        Action::CreateSet { role } | Action::CreateLogin { role } => {
            let is_new =
                observed.roles.insert(role.clone(), Role { inherits: true, ..Role::default() });
            assert!(is_new.is_none(), "{role} exists");
        }
        Action::CreateDdl { role } => {
            let is_new = observed.roles.insert(role.clone(), Role::default());
            assert!(is_new.is_none(), "{role} exists");
        }
        Action::Bare { role } => observed.roles.get_mut(role).unwrap().inherits = false,
        Action::Lead { role, member } => {
            assert!(role == OWNER || observed.roles.contains_key(role));
            let bare = Membership { inherit: false, set: true, ..made(role, member) };
            observed.members.push(bare);
        }
        Action::Serve { role } => observed.members.push(made(role, &service)),
        Action::Open { role, valid_until } => {
            let role_now = observed.roles.get_mut(role).expect("it exists");
            assert!(!role_now.too_strong);
            (role_now.can_login, role_now.inherits) = (true, true);
            role_now.valid_until = Some(*valid_until);
            opened.insert(role.clone());
        }
        Action::Close { role } => observed.roles.get_mut(role).unwrap().can_login = false,
        Action::Disarm { role } => observed.roles.get_mut(role).unwrap().too_strong = false,
        Action::ResetSettings { role } => observed.roles.get_mut(role).unwrap().settings.clear(),
        Action::Set { role, in_database, name, value } => {
            let settings = &mut observed.roles.get_mut(role).unwrap().settings;
            settings.insert((*in_database, name.clone()), value.clone());
        }
        Action::Join { set, member } => {
            assert!(observed.roles.contains_key(set) && observed.roles.contains_key(member));
            observed.members.push(made(set, member));
        }
        Action::Leave { role, member } => {
            observed.members.retain(|it| it.role != *role || it.member != *member);
        }
        Action::Grant(rights) => {
            let held = &mut observed.objects.as_mut().unwrap().held;
            held.entry(rights.role.clone()).or_default().extend(rights.each.iter().cloned());
        }
        Action::Revoke(rights) => {
            let held = &mut observed.objects.as_mut().unwrap().held;
            held.entry(rights.role.clone()).or_default().retain(|it| !rights.each.contains(it));
        }
        Action::Drop { role } => {
            let held = &observed.objects.as_ref().unwrap().held;
            assert!(held.get(role).is_none_or(BTreeSet::is_empty), "{role} still holds something");
            observed.members.retain(|it| it.role != *role && it.member != *role);
            observed.roles.remove(role).expect("it exists");
        }
    }
}

fn objects() -> Vec<Known> {
    let relation = |name: &str| known(Object::Relation(QualifiedName::new("public", name)));
    let schema = known(Object::Schema("public".into()));
    vec![known(Object::Database), schema, relation("a"), relation("b"), relation("new")]
}

fn wanted_by(holders: &BTreeMap<usize, BTreeSet<usize>>) -> Wanted {
    let names = names();
    let mut wanted = Wanted::default();
    for (person, sets) in holders {
        let login = names.login(&format!("p{person}"));
        if sets.contains(&ADMIN) {
            let (role, owner) = (names.ddl(), OWNER.into());
            let ddl = || WantedDdl { role, owner, members: BTreeSet::new() };
            wanted.ddl.get_or_insert_with(ddl).members.insert(login.clone());
        }
        let sets: BTreeSet<_> = sets
            .iter()
            .map(|set| {
                let privileges = privileges(SETS[*set]);
                let name = names.set(&privileges);
                wanted.sets.insert(name.clone(), privileges);
                name
            })
            .collect();
        let valid_until = Timestamp::from_micros(*person as u64 + 7);
        wanted.logins.insert(login, WantedLogin { valid_until, sets, grants: Vec::new() });
    }
    wanted
}

fn holders() -> impl Strategy<Value = BTreeMap<usize, BTreeSet<usize>>> {
    btree_map(0_usize..4, btree_set(0_usize..SETS.len(), 1..3), 0..4)
}

prop_compose! {
    /// A server on which anything may be wrong that can be put right.
    fn server()(
        before in holders(),
        superuser in any::<bool>(),
        version in prop_oneof![Just(150_000), Just(180_000)],
        meddled in vec((0_usize..8, 0_usize..8, any::<[bool; 4]>()), 0..6),
        stray in vec((0_usize..8, 0_usize..5), 0..5),
        with_setting in any::<bool>(),
    ) -> Observed {
        let service = Service {
            name: "svc".into(),
            superuser,
            creates_roles: true,
            server_version: version,
            ..Service::default()
        };
        let objects = Some(Objects { known: objects(), held: BTreeMap::new() });
        let mut observed = Observed { service, objects, ..Observed::default() };
        let scope = Scope { names: &names(), opened: &HashSet::new(), sweep: true };
        for action in plan(&wanted_by(&before), &observed.clone(), scope).actions {
            apply(&mut observed, &mut HashSet::new(), &action);
        }
        if with_setting {
            observed.settings.insert((true, "work_mem".into()), "1MB".into());
        }
        let roles: Vec<_> = observed.roles.keys().cloned().collect();
        for (one, other, [login, strong, set, admin]) in meddled {
            let (Some(one), other) = (roles.get(one), roles.get(other)) else { continue };
            let role = observed.roles.get_mut(one).unwrap();
            (role.can_login, role.too_strong, role.inherits) = (login, strong, !login);
            role.settings.insert((login, "role".into()), "postgres".into());
            let member = other.map_or("somebody", String::as_str).to_owned();
            let inherit = set;
            observed.members.push(Membership { role: one.clone(), member, inherit, set, admin });
        }
        for (role, object) in stray {
            let Some(role) = roles.get(role) else { continue };
            let objects = observed.objects.as_mut().unwrap();
            let object = objects.known[object].object.clone();
            let right = Right { object, keyword: "TRIGGER", column: None };
            objects.held.entry(role.clone()).or_default().insert(right);
        }
        observed
    }
}

proptest! {
    #[test]
    fn one_plan_brings_any_server_where_it_is_to_be(
        mut observed in server(),
        holders in holders(),
        mut opened in Just(HashSet::new()),
    ) {
        let (names, wanted) = (names(), wanted_by(&holders));
        let first = plan(&wanted, &observed, Scope { names: &names, opened: &opened, sweep: true });
        for action in &first.actions {
            apply(&mut observed, &mut opened, action);
        }
        let scope = Scope { names: &names, opened: &opened, sweep: true };
        prop_assert_eq!(plan(&wanted, &observed, scope).actions, []);

        // Exactly the roles, memberships and rights that the grants need.
        let ddl = wanted.ddl.as_ref();
        let between = ddl.map(|ddl| &ddl.role);
        let needed: BTreeSet<_> =
            wanted.logins.keys().chain(wanted.sets.keys()).chain(between).collect();
        prop_assert_eq!(observed.roles.keys().collect::<BTreeSet<_>>(), needed);
        for (name, role) in &observed.roles {
            prop_assert_eq!(role.can_login, wanted.logins.contains_key(name));
            prop_assert!(!role.too_strong);
            prop_assert!(between != Some(name) || !role.inherits);
        }
        let leads = |it: &Membership| {
            ddl.is_some_and(|ddl| {
                (it.role == ddl.role && ddl.members.contains(&it.member))
                    || (it.role == OWNER && it.member == ddl.role)
            })
        };
        let led = observed.members.iter().filter(|it| leads(it));
        let led: BTreeSet<_> = led.map(|it| (&it.role, &it.member)).collect();
        prop_assert_eq!(led.len(), ddl.map_or(0, |ddl| ddl.members.len() + 1));
        for it in observed.members.iter().filter(|it| *it.member != *observed.service.name) {
            let is_set = |login: &WantedLogin| login.sets.contains(&it.role);
            prop_assert!(leads(it) || wanted.logins.get(&it.member).is_some_and(is_set));
            prop_assert!(!it.admin && (!leads(it) || it.set));
        }
        for (role, held) in &observed.objects.as_ref().unwrap().held {
            let privileges = wanted.sets.get(role).cloned().unwrap_or_default();
            let version = observed.service.server_version;
            prop_assert_eq!(held, &acl::rights(&privileges, &objects(), version).held);
        }
    }

    #[test]
    fn a_role_in_use_is_closed_and_stays_and_no_sweep_drops_nothing(
        mut observed in server(),
        sweep in any::<bool>(),
    ) {
        observed.roles.values_mut().for_each(|role| role.busy = true);
        let count = observed.roles.len();
        let (names, mut opened) = (names(), HashSet::new());
        let scope = Scope { names: &names, opened: &opened, sweep };
        for action in plan(&Wanted::default(), &observed, scope).actions {
            apply(&mut observed, &mut opened, &action);
        }
        prop_assert_eq!(observed.roles.len(), count);
        prop_assert!(observed.roles.values().all(|role| !role.can_login));
        prop_assert!(observed.members.iter().all(|it| *it.member == *observed.service.name));
    }
}
