//! The decision: a table of the privilege model, and what must hold of any grants.

use proptest::prelude::*;

use super::*;
use crate::grant::Revocation;
use crate::grant::fixture::{at, grant};
use crate::grant::privilege::{Item, Level, Privilege, parse, parse_list};
use crate::sql::Engine;
use crate::sql::access::{Columns, Object, Operation, Reach};
use crate::sql::name::QualifiedName;

/// An access, written as the privilege that it needs. `SELECT (*)` is any column; `OWNED s.t` after a
/// sequence names its owner.
fn access(text: &str) -> Access {
    if text == "METADATA" {
        return Access::Metadata;
    }
    let (text, owner) = text.split_once(" OWNED ").map_or((text, None), |(a, b)| (a, Some(b)));
    let any = text.contains("(*)");
    let read = parse(&text.replace(" (*)", ""), Engine::Postgres, "shop").unwrap();
    let object = read.object;
    match (&read.items[0], owner, object) {
        (Item::Level(Level::Admin), _, object) => Access::Admin(object),
        (Item::Operation(operation, _), Some(owner), Object::Sequence(sequence)) => {
            let (schema, name) = owner.split_once('.').unwrap();
            let owner = QualifiedName::new(schema, name);
            Access::OwnedSequence { operation: *operation, sequence, owner }
        }
        (Item::Operation(operation, columns), _, object) => {
            let columns = match columns {
                _ if any => Columns::Any,
                Some(names) => Columns::Named(names.clone()),
                None => Columns::Whole,
            };
            Access::Privilege { operation: *operation, object, columns }
        }
        other => panic!("{other:?}"),
    }
}

/// What MySQL's privileges come to.
fn decide_mysql(privileges: &str, access: &Access) -> Decision {
    let privileges = parse_list(privileges, Engine::Mysql, "shop").unwrap();
    let held = held([Grant { privileges, ..grant("g_1", "SELECT ON s.t", 0, 60) }]);
    decide([access].into_iter(), &held, at(1))
}

/// Whether MySQL's privileges let one see that something is there.
fn sees(privileges: &str, object: Object) -> bool {
    matches!(decide_mysql(privileges, &Access::Anything(object)), Decision::Allow(_))
}

#[test]
fn one_of_several_operations_is_enough_and_the_first_is_asked_for() {
    let needed = |reach| Access::OneOf {
        first: Operation::Update,
        others: &[Operation::Delete, Operation::LockTables],
        object: Object::Relation(QualifiedName::new("crm", "orders")),
        reach,
    };
    for (privileges, whole, any) in [
        ("UPDATE ON crm.orders", true, true),
        ("DELETE ON crm.orders", true, true),
        ("UPDATE (id) ON crm.orders", false, true),
        ("LOCK TABLES ON SCHEMA crm", true, true),
        ("READ ON SCHEMA crm", true, true),
        ("READ ON crm.orders", false, false),
        ("WRITE ON crm.orders", true, true),
        ("SELECT, INSERT ON crm.orders", false, false),
        ("UPDATE, DELETE ON crm.items", false, false),
    ] {
        for (reach, expected) in [(Reach::Whole, whole), (Reach::Any, any)] {
            let decision = decide_mysql(privileges, &needed(reach));
            assert_eq!(matches!(decision, Decision::Allow(_)), expected, "{privileges} {reach:?}");
        }
    }
    let Decision::Deny(denial) = decide_mysql("READ ON crm.orders", &needed(Reach::Any)) else {
        panic!("it is denied")
    };
    assert_eq!(denial.message(Engine::Mysql), "no live grant allows UPDATE ON crm.orders");
}

#[test]
fn who_holds_something_inside_sees_it_and_who_holds_something_of_the_server_does_not() {
    let schema = || Object::Schema("crm".into());
    let table = || Object::Relation(QualifiedName::new("crm", "orders"));
    assert!(
        sees("SELECT (id) ON crm.orders", schema()) && sees("LOCK TABLES ON SCHEMA crm", schema())
    );
    assert!(sees("SELECT ON DATABASE", schema()) && sees("READ ON DATABASE", table()));
    for server in ["FILE ON DATABASE", "PROCESS, RELOAD ON DATABASE", "SELECT ON shop.t1"] {
        assert!(!sees(server, schema()) && !sees(server, table()), "{server}");
    }
    assert!(sees("FILE, SELECT ON DATABASE", schema()));
}

fn held(grants: impl IntoIterator<Item = Grant>) -> HeldGrants {
    HeldGrants::new(grants.into_iter().map(Arc::new))
}

fn allows(privileges: &str, wanted: &str) -> bool {
    let held = held([grant("g_1", privileges, 0, 60)]);
    matches!(decide([access(wanted)].iter(), &held, at(1)), Decision::Allow(_))
}

fn permit(accesses: &[Access], held: &HeldGrants) -> Permit {
    match decide(accesses.iter(), held, at(1)) {
        Decision::Allow(permit) => permit,
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}

fn denial(accesses: &[Access], held: &HeldGrants, now: u64) -> Denial {
    match decide(accesses.iter(), held, at(now)) {
        Decision::Deny(denial) => denial,
        Decision::Allow(permit) => panic!("{permit:?}"),
    }
}

fn ids(permit: &Permit) -> Vec<&str> {
    permit.grants().iter().map(|grant| &*grant.id.0).collect()
}

#[test]
fn relations_and_columns() {
    for (privileges, wanted, allowed) in [
        ("SELECT ON s.t", "SELECT (a, b) ON s.t", true),
        ("SELECT ON s.t", "SELECT (*) ON s.t", true),
        ("SELECT ON s.t", "SELECT ON s.t", true),
        ("SELECT ON s.t", "SELECT (a) ON s.u", false),
        ("SELECT ON s.t", "SELECT (a) ON r.t", false),
        ("SELECT ON s.t", "UPDATE (a) ON s.t", false),
        ("SELECT (a, b) ON s.t", "SELECT (a) ON s.t", true),
        ("SELECT (a, b) ON s.t", "SELECT (*) ON s.t", true),
        ("SELECT (a, b) ON s.t", "SELECT (a, c) ON s.t", false),
        ("SELECT (a, b) ON s.t", "SELECT ON s.t", false),
        ("SELECT (a) ON s.t; SELECT (b) ON s.t", "SELECT (a, b) ON s.t", true),
        ("SELECT (a) ON s.t", "UPDATE (*) ON s.t", false),
        ("SELECT (a), UPDATE (b) ON s.t", "UPDATE (*) ON s.t", true),
        ("SELECT (a), UPDATE (b) ON s.t", "UPDATE (a) ON s.t", false),
        ("DELETE ON s.t", "DELETE ON s.t", true),
        ("TRUNCATE ON s.t", "TRUNCATE ON s.t", true),
        ("DELETE ON s.t", "TRUNCATE ON s.t", false),
        ("REFERENCES (a) ON s.t", "REFERENCES (a) ON s.t", true),
        ("MAINTAIN ON s.t", "MAINTAIN ON s.t", true),
        ("TRIGGER ON s.t", "TRIGGER ON s.t", true),
        ("SELECT ON s.\"T\"", "SELECT (a) ON s.t", false),
    ] {
        assert_eq!(allows(privileges, wanted), allowed, "{privileges} | {wanted}");
    }
}

#[test]
fn levels() {
    for (privileges, wanted, allowed) in [
        ("READ ON s.t", "SELECT (a) ON s.t", true),
        ("READ ON s.t", "SELECT ON s.t", true),
        ("READ ON s.t", "UPDATE (a) ON s.t", false),
        ("READ ON SEQUENCE s.q", "SELECT ON SEQUENCE s.q", true),
        ("READ ON SEQUENCE s.q", "USAGE ON SEQUENCE s.q", false),
        ("READ ON SCHEMA s", "SELECT (a) ON s.t", true),
        ("READ ON SCHEMA s", "SELECT ON SEQUENCE s.q", true),
        ("READ ON SCHEMA s", "USAGE ON SEQUENCE s.q", false),
        ("READ ON SCHEMA s", "SELECT (a) ON r.t", false),
        ("READ ON SCHEMA s", "EXECUTE ON FUNCTION s.f()", false),
        ("WRITE ON s.t", "SELECT (a) ON s.t", true),
        ("WRITE ON s.t", "INSERT (a) ON s.t", true),
        ("WRITE ON s.t", "UPDATE (*) ON s.t", true),
        ("WRITE ON s.t", "DELETE ON s.t", true),
        ("WRITE ON s.t", "TRUNCATE ON s.t", false),
        ("WRITE ON s.t", "REFERENCES (a) ON s.t", false),
        ("WRITE ON s.t", "TRIGGER ON s.t", false),
        ("WRITE ON s.t", "MAINTAIN ON s.t", false),
        ("WRITE ON s.t", "ADMIN ON s.t", false),
        ("WRITE ON SCHEMA s", "CREATE ON SCHEMA s", false),
        ("WRITE ON SCHEMA s", "EXECUTE ON FUNCTION s.f()", false),
        ("ADMIN ON s.t", "TRUNCATE ON s.t", true),
        ("ADMIN ON s.t", "ADMIN ON s.t", true),
        ("ADMIN ON s.t", "ADMIN ON SCHEMA s", false),
        ("ADMIN ON s.t", "CREATE ON SCHEMA s", false),
        ("ADMIN ON SCHEMA s", "ADMIN ON s.t", true),
        ("ADMIN ON SCHEMA s", "ADMIN ON SCHEMA s", true),
        ("ADMIN ON SCHEMA s", "CREATE ON SCHEMA s", true),
        ("ADMIN ON SCHEMA s", "EXECUTE ON FUNCTION s.f()", true),
        ("ADMIN ON SCHEMA s", "UPDATE ON SEQUENCE s.q", true),
        ("ADMIN ON SCHEMA s", "ADMIN ON SCHEMA r", false),
        ("ADMIN ON SCHEMA s", "ADMIN ON DATABASE", false),
        ("ADMIN ON DATABASE", "ADMIN ON DATABASE", true),
        ("ADMIN ON DATABASE", "ADMIN ON SCHEMA s", true),
        ("ADMIN ON DATABASE", "SELECT (a) ON s.t", true),
        ("ADMIN ON FUNCTION s.f()", "EXECUTE ON FUNCTION s.f()", true),
        ("READ ON DATABASE", "ADMIN ON DATABASE", false),
    ] {
        assert_eq!(allows(privileges, wanted), allowed, "{privileges} | {wanted}");
    }
}

#[test]
fn sequences_and_their_owners() {
    for (privileges, wanted, allowed) in [
        ("USAGE ON SEQUENCE s.q", "USAGE ON SEQUENCE s.q", true),
        ("USAGE ON SEQUENCE s.q", "USAGE ON SEQUENCE s.q OWNED s.t", true),
        ("USAGE ON SEQUENCE s.q", "UPDATE ON SEQUENCE s.q", false),
        ("WRITE ON s.t", "USAGE ON SEQUENCE s.q OWNED s.t", true),
        ("WRITE ON s.t", "USAGE ON SEQUENCE s.q OWNED s.u", false),
        ("WRITE ON s.t", "USAGE ON SEQUENCE s.q", false),
        ("WRITE ON s.t", "SELECT ON SEQUENCE s.q OWNED s.t", false),
        ("WRITE ON s.t", "UPDATE ON SEQUENCE s.q OWNED s.t", false),
        ("INSERT ON s.t", "USAGE ON SEQUENCE s.q OWNED s.t", false),
        ("READ ON s.t", "USAGE ON SEQUENCE s.q OWNED s.t", false),
        ("ADMIN ON s.t", "UPDATE ON SEQUENCE s.q OWNED s.t", true),
        ("WRITE ON SCHEMA s", "USAGE ON SEQUENCE s.q", true),
        ("WRITE ON SCHEMA s", "SELECT ON SEQUENCE s.q", true),
        ("WRITE ON SCHEMA s", "UPDATE ON SEQUENCE s.q", false),
        ("WRITE ON SCHEMA s", "USAGE ON SEQUENCE r.q OWNED s.t", true),
        ("WRITE ON SCHEMA s", "USAGE ON SEQUENCE r.q OWNED r.t", false),
        ("WRITE ON DATABASE", "USAGE ON SEQUENCE s.q OWNED s.t", true),
        ("WRITE ON DATABASE", "USAGE ON SEQUENCE s.q", true),
        // As GRANT … ON ALL TABLES IN SCHEMA.
        ("SELECT ON SCHEMA s", "SELECT ON SEQUENCE s.q", false),
        ("USAGE ON SCHEMA s", "USAGE ON SEQUENCE s.q", false),
        ("SELECT ON s.q", "SELECT ON SEQUENCE s.q", false),
    ] {
        assert_eq!(allows(privileges, wanted), allowed, "{privileges} | {wanted}");
    }
}

#[test]
fn schemas_databases_and_functions() {
    for (privileges, wanted, allowed) in [
        ("SELECT ON SCHEMA s", "SELECT (a) ON s.t", true),
        ("SELECT ON SCHEMA s", "SELECT (a) ON r.t", false),
        ("TRUNCATE ON SCHEMA s", "TRUNCATE ON s.t", true),
        ("SELECT ON DATABASE", "SELECT (a) ON s.t", true),
        ("EXECUTE ON SCHEMA s", "EXECUTE ON FUNCTION s.f(integer)", true),
        ("EXECUTE ON DATABASE", "EXECUTE ON FUNCTION s.f(integer)", true),
        ("EXECUTE ON FUNCTION s.f(int4)", "EXECUTE ON FUNCTION s.f(integer)", true),
        ("EXECUTE ON FUNCTION s.f(int4)", "EXECUTE ON FUNCTION s.f(bigint)", false),
        ("EXECUTE ON SCHEMA s", "SELECT (a) ON s.t", false),
        ("CREATE ON SCHEMA s", "CREATE ON SCHEMA s", true),
        ("CREATE ON DATABASE", "CREATE ON DATABASE", true),
        ("CREATE ON DATABASE", "CREATE ON SCHEMA s", false),
        // A privilege in a schema implies looking into it.
        ("USAGE ON SCHEMA s", "USAGE ON SCHEMA s", true),
        ("SELECT (a) ON s.t", "USAGE ON SCHEMA s", true),
        ("EXECUTE ON FUNCTION s.f()", "USAGE ON SCHEMA s", true),
        ("SELECT (a) ON s.t", "USAGE ON SCHEMA r", false),
        ("READ ON DATABASE", "USAGE ON SCHEMA s", true),
        ("READ ON DATABASE", "USAGE ON SCHEMA pg_toast", false),
        // Metadata: any live grant.
        ("SELECT (a) ON s.t", "METADATA", true),
    ] {
        assert_eq!(allows(privileges, wanted), allowed, "{privileges} | {wanted}");
    }
}

#[test]
fn system_schemas_are_asked_for_by_name() {
    for schema in [
        "pg_catalog",
        "information_schema",
        "pg_toast",
        "pg_toast_temp_3",
        "mysql",
        "performance_schema",
        "sys",
    ] {
        let wanted = format!("SELECT (a) ON {schema}.t");
        for privileges in ["READ ON DATABASE", "WRITE ON DATABASE", "SELECT ON DATABASE"] {
            assert!(!allows(privileges, &wanted), "{privileges} | {wanted}");
        }
        let call = format!("EXECUTE ON FUNCTION {schema}.f()");
        assert!(!allows("EXECUTE ON DATABASE", &call));
        assert!(!allows("WRITE ON DATABASE", &format!("USAGE ON SEQUENCE {schema}.q")));
        assert!(allows("ADMIN ON DATABASE", &wanted));
        assert!(allows("ADMIN ON DATABASE", &format!("ADMIN ON SCHEMA {schema}")));
        assert!(allows(&format!("READ ON SCHEMA {schema}"), &wanted));
        assert!(allows(&format!("SELECT ON {schema}.t"), &wanted));
    }
}

#[test]
fn no_level_bypasses_row_security() {
    let wanted = "BYPASS ROW SECURITY ON s.t";
    for privileges in [
        "ADMIN ON DATABASE",
        "ADMIN ON SCHEMA s",
        "ADMIN ON s.t",
        "WRITE ON s.t",
        "SELECT ON s.t",
        "BYPASS ROW SECURITY ON s.u",
        "BYPASS ROW SECURITY ON SCHEMA r",
    ] {
        assert!(!allows(privileges, wanted), "{privileges}");
    }
    for privileges in [
        "BYPASS ROW SECURITY ON s.t",
        "BYPASS ROW SECURITY ON SCHEMA s",
        "BYPASS ROW SECURITY ON DATABASE",
        "ADMIN, BYPASS ROW SECURITY ON DATABASE",
    ] {
        assert!(allows(privileges, wanted), "{privileges}");
    }
    // It is about which rows are seen, and allows nothing to be done with them.
    assert!(!allows("BYPASS ROW SECURITY ON DATABASE", "SELECT (a) ON s.t"));
    assert!(!allows("BYPASS ROW SECURITY ON s.t", "SELECT (*) ON s.t"));
}

#[test]
fn a_statement_that_needs_nothing_needs_no_grant() {
    let permit = permit(&[], &HeldGrants::default());
    assert!(permit.is_unconditional());
    assert_eq!(permit.expires().micros(), u64::MAX);
    let denial = denial(&[Access::Metadata], &HeldGrants::default(), 1);
    assert_eq!(denial.missing, [Access::Metadata]);
}

#[test]
fn the_permit_rests_on_the_fewest_that_last_longest() {
    let select_a = access("SELECT (a) ON s.t");
    let select_ab = access("SELECT (a, b) ON s.t");
    let grants = || {
        [
            grant("g_soon", "SELECT ON s.t", 0, 10),
            grant("g_a", "SELECT (a) ON s.t", 0, 40),
            grant("g_other", "SELECT ON s.u", 0, 50),
            grant("g_b", "SELECT (b) ON s.t", 0, 30),
        ]
    };
    let held = held(grants());
    let one = permit(std::slice::from_ref(&select_a), &held);
    assert_eq!((ids(&one), one.expires()), (vec!["g_a"], at(40)));
    // Two that last to 30 rather than the one that lasts to 10.
    let two = permit(std::slice::from_ref(&select_ab), &held);
    assert_eq!((ids(&two), two.expires()), (vec!["g_a", "g_b"], at(30)));
    let metadata = permit(&[Access::Metadata], &held);
    assert_eq!(ids(&metadata), ["g_other"]);
    let all = [select_ab, access("SELECT (x, y) ON s.u")];
    assert_eq!(ids(&permit(&all, &held)), ["g_other", "g_a", "g_b"]);
}

#[test]
fn a_grant_that_is_bound_to_replicas_counts_where_the_others_are_not_enough() {
    let bound = |id: &str, text: &str, from: u64, until: u64| {
        let grant = grant(id, text, from, until);
        Grant { route: Route::ReplicaOnly, ..grant }
    };
    let held = held([
        bound("g_wide", "READ ON SCHEMA s", 0, 60),
        grant("g_t", "SELECT ON s.t", 0, 20),
        grant("g_u", "SELECT ON s.u", 15, 50),
    ]);
    let rests = |wanted: &str, now: u64| match decide([access(wanted)].iter(), &held, at(now)) {
        Decision::Allow(permit) => {
            (ids(&permit).join(" "), permit.route(), permit.expires(), permit.holds_until())
        }
        Decision::Deny(denial) => panic!("{denial:?}"),
    };
    let (any, only) = (Route::Any, Route::ReplicaOnly);
    // Though the other would last longer.
    assert_eq!(rests("SELECT (a) ON s.t", 1), ("g_t".into(), any, at(20), at(20)));
    assert_eq!(rests("SELECT (a) ON s.t", 20), ("g_wide".into(), only, at(60), at(60)));
    // Until the one begins that is not bound.
    assert_eq!(rests("SELECT (a) ON s.u", 1), ("g_wide".into(), only, at(60), at(15)));
    assert_eq!(rests("SELECT (a) ON s.u", 15), ("g_u".into(), any, at(50), at(50)));
    // What rests on both is bound as well.
    let both = [access("SELECT (a) ON s.t"), access("SELECT (a) ON s.v")];
    let both = permit(&both, &held);
    assert_eq!((ids(&both).join(" "), both.route()), ("g_wide".into(), only));
    assert_eq!(permit(&[], &held).route(), any);
}

#[test]
fn a_denial_names_the_missing_columns_only_each_once() {
    let held =
        held([grant("g_1", "SELECT (id) ON s.t", 0, 60), grant("g_2", "READ ON s.u", 0, 90)]);
    let wanted = [
        access("SELECT (email, id) ON s.t"),
        access("SELECT (a) ON s.u"),
        access("DELETE ON s.t"),
        access("SELECT (email) ON s.t"),
    ];
    let denial = denial(&wanted, &held, 1);
    assert_eq!(denial.missing, [access("SELECT (email) ON s.t"), access("DELETE ON s.t")]);
    let held: Vec<_> = denial.held.iter().map(|grant| &*grant.id.0).collect();
    assert_eq!(held, ["g_2", "g_1"]);
    assert!(denial.ended.is_none());
}

#[test]
fn a_denial_names_the_grant_that_would_have_made_the_difference() {
    let mut revoked = grant("g_2", "SELECT (b) ON s.t", 0, 90);
    revoked.revoked = Some(Revocation { at: at(20), by: "local:root".into(), reason: None });
    let held = held([
        grant("g_1", "SELECT (a) ON s.t", 0, 60),
        revoked,
        grant("g_3", "SELECT ON s.t", 0, 10),
        grant("g_4", "SELECT ON s.u", 0, 25),
    ]);
    let wanted = [access("SELECT (a, b) ON s.t")];
    let ended = denial(&wanted, &held, 30).ended.unwrap();
    assert_eq!(ended.grant.id.to_string(), "g_2");
    assert_eq!(ended.how, Ending::Revoked { at: at(20), by: "local:root".into() });
    // Without g_1, g_2 would not have been enough.
    let ended = denial(&wanted, &held, 70).ended.unwrap();
    assert_eq!(ended.grant.id.to_string(), "g_3");
    assert_eq!(ended.how, Ending::Expired { at: at(10) });
}

#[test]
fn what_does_not_count_now_does_not_count() {
    let wanted = [access("SELECT (a) ON s.t")];
    let mut revoked = grant("g_3", "SELECT ON s.t", 0, 60);
    revoked.revoked = Some(Revocation { at: at(5), by: "local:root".into(), reason: None });
    let held = held([
        grant("g_1", "SELECT ON s.t", 0, 10),
        grant("g_2", "SELECT ON s.t", 30, 40),
        revoked,
    ]);
    let allowed = |now| matches!(decide(wanted.iter(), &held, at(now)), Decision::Allow(_));
    assert_eq!(
        [0, 9, 10, 29, 30, 39, 40].map(allowed),
        [true, true, false, false, true, true, false]
    );
}

fn objects() -> impl Strategy<Value = Object> {
    let name = || {
        (
            proptest::sample::select(vec!["s", "r", "pg_catalog"]),
            proptest::sample::select(vec!["t", "u"]),
        )
            .prop_map(|(schema, name)| QualifiedName::new(schema, name))
    };
    prop_oneof![
        1 => Just(Object::Database),
        1 => proptest::sample::select(vec!["s", "r"]).prop_map(|s| Object::Schema(s.into())),
        4 => name().prop_map(Object::Relation),
        1 => name().prop_map(Object::Sequence),
    ]
}

fn names() -> impl Strategy<Value = std::collections::BTreeSet<Box<str>>> {
    proptest::collection::btree_set(
        proptest::sample::select(vec!["a", "b", "c"]).prop_map(Into::into),
        1..3,
    )
}

fn accesses() -> impl Strategy<Value = Vec<Access>> {
    let columns =
        prop_oneof![Just(Columns::Whole), Just(Columns::Any), names().prop_map(Columns::Named)];
    let operation =
        proptest::sample::select(vec![Operation::Select, Operation::Update, Operation::Usage]);
    let one = prop_oneof![
        1 => Just(Access::Metadata),
        1 => objects().prop_map(Access::Admin),
        6 => (operation, objects(), columns)
            .prop_map(|(operation, object, columns)| Access::Privilege { operation, object, columns }),
    ];
    proptest::collection::vec(one, 0..4)
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let item = prop_oneof![
        proptest::sample::select(Level::ALL.to_vec()).prop_map(Item::Level),
        (
            proptest::sample::select(vec![Operation::Select, Operation::Update]),
            proptest::option::of(names())
        )
            .prop_map(|(operation, columns)| Item::Operation(operation, columns)),
    ];
    let privilege = (proptest::collection::vec(item, 1..3), objects())
        .prop_map(|(items, object)| Privilege::new(items, object));
    let marks = (any::<bool>(), any::<bool>());
    let one = (proptest::collection::vec(privilege, 1..3), 0_u64..4, 0_u64..8, marks);
    proptest::collection::vec(one, 0..6).prop_map(|list| {
        let made = list.into_iter().enumerate().map(|(n, (privileges, from, until, marks))| {
            let (revoked, bound) = marks;
            let mut grant = grant(&format!("g_{n}"), "SELECT ON s.t", from, until);
            grant.privileges = privileges;
            grant.route = if bound { Route::ReplicaOnly } else { Route::Any };
            grant.revoked = (revoked && n % 3 == 0).then(|| Revocation {
                at: at(1),
                by: "local:root".into(),
                reason: None,
            });
            grant
        });
        made.collect()
    })
}

fn unbound(grants: &[Grant]) -> Vec<Grant> {
    grants.iter().filter(|grant| grant.route == Route::Any).cloned().collect()
}

fn is_allowed(accesses: &[Access], grants: &[Grant], now: u64) -> bool {
    matches!(decide(accesses.iter(), &held(grants.to_vec()), at(now)), Decision::Allow(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn one_more_grant_never_turns_allow_into_deny(
        accesses in accesses(), grants in grants(), more in grants(), now in 0_u64..8
    ) {
        if is_allowed(&accesses, &grants, now) {
            let all: Vec<_> = grants.into_iter().chain(more).collect();
            prop_assert!(is_allowed(&accesses, &all, now));
        }
    }

    #[test]
    fn a_permit_is_live_minimal_and_as_lasting_as_can_be(
        accesses in accesses(), grants in grants(), now in 0_u64..8
    ) {
        let Decision::Allow(permit) = decide(accesses.iter(), &held(grants.clone()), at(now)) else {
            return Ok(());
        };
        let used: Vec<Grant> = permit.grants().iter().map(|grant| Grant::clone(grant)).collect();
        prop_assert!(used.iter().all(|grant| grant.is_live(at(now))));
        prop_assert!(is_allowed(&accesses, &used, now));
        for n in 0..used.len() {
            let mut fewer = used.clone();
            fewer.remove(n);
            prop_assert!(!is_allowed(&accesses, &fewer, now), "{} is too many", used[n].id);
        }
        let earliest = used.iter().map(|grant| grant.expires).min();
        prop_assert_eq!(permit.is_unconditional(), earliest.is_none());
        if let Some(earliest) = earliest {
            prop_assert_eq!(permit.expires(), earliest);
            // Of those that count, those that outlast it are not enough.
            let counted = match permit.route() {
                Route::Any => unbound(&grants),
                Route::ReplicaOnly => grants,
            };
            let longer: Vec<_> = counted.into_iter().filter(|g| g.expires > earliest).collect();
            prop_assert!(!is_allowed(&accesses, &longer, now));
        }
    }

    #[test]
    fn a_permit_is_bound_to_replicas_only_when_it_could_not_be_otherwise(
        accesses in accesses(), grants in grants(), now in 0_u64..8
    ) {
        let free: Vec<_> =
            grants.iter().cloned().map(|grant| Grant { route: Route::Any, ..grant }).collect();
        let Decision::Allow(permit) = decide(accesses.iter(), &held(grants.clone()), at(now)) else {
            // Nor would it be allowed if nothing were bound.
            prop_assert!(!is_allowed(&accesses, &free, now));
            return Ok(());
        };
        let bound = permit.grants().iter().any(|grant| grant.route == Route::ReplicaOnly);
        prop_assert_eq!(permit.route() == Route::ReplicaOnly, bound);
        prop_assert_eq!(bound, !is_allowed(&accesses, &unbound(&grants), now));
    }

    #[test]
    fn while_a_permit_holds_the_decision_is_the_same(
        accesses in accesses(), grants in grants(), now in 0_u64..8
    ) {
        let held = held(grants);
        let Decision::Allow(permit) = decide(accesses.iter(), &held, at(now)) else {
            return Ok(());
        };
        prop_assert!(permit.holds_until() <= permit.expires());
        for later in (now..9).take_while(|later| at(*later) < permit.holds_until()) {
            let Decision::Allow(again) = decide(accesses.iter(), &held, at(later)) else {
                return Err(TestCaseError::fail(format!("denied at {later}")));
            };
            prop_assert_eq!(again.route(), permit.route(), "at {}", later);
        }
    }

    #[test]
    fn grants_that_do_not_count_change_nothing(
        accesses in accesses(), grants in grants(), now in 0_u64..8
    ) {
        let live: Vec<_> = grants.iter().filter(|grant| grant.is_live(at(now))).cloned().collect();
        prop_assert_eq!(is_allowed(&accesses, &grants, now), is_allowed(&accesses, &live, now));
    }

    #[test]
    fn a_list_of_columns_split_among_grants_is_the_whole_list(
        accesses in accesses(), columns in names(), now in 0_u64..8
    ) {
        let one = |id: String, columns: std::collections::BTreeSet<Box<str>>| {
            let mut grant = grant(&id, "SELECT ON s.t", 0, 8);
            let item = Item::Operation(Operation::Select, Some(columns));
            let object = Object::Relation(QualifiedName::new("s", "t"));
            grant.privileges = vec![Privilege::new([item], object)];
            grant
        };
        let split: Vec<_> = columns
            .iter()
            .map(|column| one(format!("g_{column}"), [column.clone()].into()))
            .collect();
        let whole = [one("g_1".into(), columns)];
        prop_assert_eq!(is_allowed(&accesses, &split, now), is_allowed(&accesses, &whole, now));
    }

    #[test]
    fn a_grant_of_what_was_missing_is_enough(
        accesses in accesses(), grants in grants(), now in 0_u64..8
    ) {
        let Decision::Deny(denial) = decide(accesses.iter(), &held(grants.clone()), at(now)) else {
            return Ok(());
        };
        prop_assert!(!denial.missing.is_empty());
        let mut asked = grant("g_asked", "SELECT ON x.y", 0, 9);
        asked.privileges.extend(denial.privileges());
        let all: Vec<_> = grants.into_iter().chain([asked]).collect();
        prop_assert!(is_allowed(&accesses, &all, now), "{:?}", denial.privileges());
    }
}
