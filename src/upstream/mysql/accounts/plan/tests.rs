use proptest::prelude::*;

use super::super::rights::Place;
use super::*;
use crate::sql::access::Operation;
use crate::sql::name::QualifiedName;

const HOST: &str = "%";

fn right(table: u8, operation: Operation) -> Right {
    let place = match table {
        0 => Place::Global,
        1 | 2 => Place::Schema(format!("s{table}").into()),
        _ => Place::Table(QualifiedName::new("s1", format!("t{table}"))),
    };
    Right { place, operation }
}

fn ours(user: &str) -> Identity {
    Identity { user: user.into(), host: HOST.into() }
}

fn held(rights: &[Right]) -> Held {
    Held { rights: rights.iter().cloned().collect(), foreign: Vec::new() }
}

type Accounts = BTreeMap<Identity, Account>;
type Rights = BTreeMap<String, BTreeSet<Right>>;

fn planned(wanted: &Rights, observed: &Accounts, sweep: bool) -> Vec<Action> {
    let none = HashSet::new();
    plan(wanted, observed, Scope { host: HOST, sweep, reset: &none, strip: &none })
}

/// What a server does with a step.
fn run(accounts: &mut Accounts, action: &Action) {
    let identity = action.account();
    if let Action::Create(_) = action {
        let account = Account { locked: true, fits: true, ..Account::default() };
        assert!(accounts.insert(identity.clone(), account).is_none(), "{identity:?} is there");
        return;
    }
    if let Action::Drop(_) = action {
        assert!(accounts.remove(identity).is_some(), "{identity:?} is not there");
        return;
    }
    let account = accounts.get_mut(identity).expect("an account that is there");
    match action {
        Action::Lock(_) => account.locked = true,
        Action::Strip(_) => account.held = Held::default(),
        Action::Revoke(_, rights) => {
            assert!(rights.iter().all(|right| account.held.rights.remove(right)));
        }
        Action::Grant(_, rights) => account.held.rights.extend(rights.iter().cloned()),
        Action::Open(_) => (account.locked, account.fits) = (false, true),
        Action::Create(_) | Action::Drop(_) => {}
    }
}

fn rights_strategy() -> impl Strategy<Value = BTreeSet<Right>> {
    let operation = prop::sample::select(vec![Operation::Select, Operation::Insert]);
    prop::collection::btree_set((0..5_u8, operation).prop_map(|(at, it)| right(at, it)), 0..5)
}

fn account_strategy() -> impl Strategy<Value = Account> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flags, rights_strategy(), any::<bool>()).prop_map(|(flags, rights, foreign)| {
        let (locked, fits, strange, busy, defines) = flags;
        let foreign = if foreign { vec!["SUPER".to_owned()] } else { Vec::new() };
        Account { locked, fits, strange, busy, defines, held: Held { rights, foreign } }
    })
}

fn observed_strategy() -> impl Strategy<Value = Accounts> {
    let identity = (0..4_u8, prop::sample::select(vec![HOST, "localhost"]));
    let identity =
        identity.prop_map(|(n, host)| Identity { user: format!("u{n}"), host: host.to_owned() });
    prop::collection::btree_map(identity, account_strategy(), 0..6)
}

fn wanted_strategy() -> impl Strategy<Value = Rights> {
    prop::collection::btree_map((0..4_u8).prop_map(|n| format!("u{n}")), rights_strategy(), 0..4)
}

proptest! {
    #[test]
    fn whatever_was_left_is_brought_in_line_step_by_safe_step(
        wanted in wanted_strategy(), observed in observed_strategy(),
    ) {
        let mut accounts = observed.clone();
        for action in planned(&wanted, &observed, true) {
            run(&mut accounts, &action);
            let identity = action.account();
            // Nobody gets what no live grant allows, and what is opened is right by then.
            if let Action::Grant(_, rights) = &action {
                prop_assert!(rights.is_subset(&wanted[&identity.user]));
            }
            if let Action::Open(_) = &action {
                let held = &accounts[identity].held;
                prop_assert_eq!(&held.rights, &wanted[&identity.user]);
                prop_assert!(held.foreign.is_empty() && !accounts[identity].strange);
            }
        }
        for (user, rights) in &wanted {
            let account = &accounts[&ours(user)];
            prop_assert_eq!(&account.held, &Held { rights: rights.clone(), foreign: Vec::new() });
            prop_assert!(!account.locked && account.fits && !account.strange);
        }
        for (identity, account) in &accounts {
            prop_assert_eq!(&identity.host, HOST);
            if !wanted.contains_key(&identity.user) {
                prop_assert!(account.locked && account.held == Held::default());
            }
        }
        // Once more: only what had to be closed first is left to go.
        let again = planned(&wanted, &accounts, true);
        prop_assert!(again.iter().all(|it| matches!(it, Action::Drop(_))), "{:?}", again);
        prop_assert!(planned(&wanted, &accounts, false).is_empty());
    }
}

#[test]
fn an_account_is_opened_last_and_goes_when_nobody_uses_it() {
    let select = right(3, Operation::Select);
    let wanted = Rights::from([("a".to_owned(), [select.clone()].into())]);
    let id = ours("a");
    assert_eq!(
        planned(&wanted, &Accounts::new(), false),
        [
            Action::Create(id.clone()),
            Action::Grant(id.clone(), [select.clone()].into()),
            Action::Open(id.clone()),
        ]
    );
    let none = Rights::new();
    let mut account = Account { fits: true, held: held(&[select]), ..Account::default() };
    let with = |account: &Account| Accounts::from([(id.clone(), account.clone())]);
    let closing = [Action::Lock(id.clone()), Action::Strip(id.clone())];
    assert_eq!(planned(&none, &with(&account), true), closing);
    (account.locked, account.held, account.busy) = (true, Held::default(), true);
    assert!(planned(&none, &with(&account), true).is_empty());
    account.busy = false;
    assert!(planned(&none, &with(&account), false).is_empty());
    assert_eq!(planned(&none, &with(&account), true), [Action::Drop(id.clone())]);
    // What it made runs with its rights, and would not run at all without it.
    account.defines = true;
    assert!(planned(&none, &with(&account), true).is_empty());
    // With a role, say, that a session of it would go on having.
    (account.strange, account.busy) = (true, true);
    assert_eq!(planned(&none, &with(&account), false), [Action::Drop(id.clone())]);
}

#[test]
fn what_cannot_be_taken_by_itself_goes_with_everything() {
    let (select, insert) = (right(3, Operation::Select), right(4, Operation::Insert));
    let wanted = Rights::from([("a".to_owned(), [select.clone()].into())]);
    let account =
        Account { fits: true, held: held(&[select.clone(), insert]), ..Account::default() };
    let (none, strip) = (HashSet::new(), HashSet::from(["a".to_owned()]));
    let scope = Scope { host: HOST, sweep: false, reset: &none, strip: &strip };
    assert_eq!(
        plan(&wanted, &[(ours("a"), account)].into(), scope),
        [Action::Strip(ours("a")), Action::Grant(ours("a"), [select].into())]
    );
}

#[test]
fn statements_are_written_for_either_server() {
    let id = Identity { user: "daypass_a_1".into(), host: "10.0.0.%".into() };
    let sql = |action: &Action, plugin| {
        action.sql(plugin, SchemaNames::Patterns, |user| format!("of {user}"))
    };
    assert_eq!(
        sql(&Action::Open(id.clone()), Plugin::CachingSha2),
        "ALTER USER `daypass_a_1`@`10.0.0.%` IDENTIFIED WITH caching_sha2_password \
         AS 'of daypass_a_1' REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 \
         MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0 PASSWORD EXPIRE NEVER \
         /*!80019 FAILED_LOGIN_ATTEMPTS 0 PASSWORD_LOCK_TIME 0 */ ACCOUNT UNLOCK"
    );
    assert_eq!(
        sql(&Action::Create(id.clone()), Plugin::Ed25519),
        "CREATE USER `daypass_a_1`@`10.0.0.%` IDENTIFIED VIA ed25519 USING 'of daypass_a_1' \
         REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 \
         MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0 MAX_STATEMENT_TIME 0 \
         PASSWORD EXPIRE NEVER ACCOUNT LOCK"
    );
    let rights = [right(3, Operation::Select), right(3, Operation::Insert)].into();
    let grant = Action::Grant(id, rights);
    assert_eq!(
        sql(&grant, Plugin::Native),
        "GRANT SELECT, INSERT ON `s1`.`t3` TO `daypass_a_1`@`10.0.0.%`"
    );
    assert_eq!(grant.apart().len(), 2);
    assert!(grant.apart().iter().all(|it| it.apart().is_empty()));
}
