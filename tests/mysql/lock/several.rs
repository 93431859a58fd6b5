//! Several proxies on one store, one key and one server; and one that is killed at it.

use daypass::upstream::Catalogs;
use daypass::upstream::lock::Due;
use daypass::upstream::mysql::accounts::{Lock, Settings};
use daypass::upstream::mysql::{Startup, Target};

use super::{HOUR, House, accounts, grant_in, principal, settings, target, try_run, until};
use crate::support::products_available;

/// What another proxy of the same store has.
struct Other {
    _catalogs: Catalogs<Target>,
    lock: Lock,
}

impl Other {
    fn of(house: &House) -> Self {
        let catalogs = Catalogs::spawn(target(&house.server), HOUR);
        let settings = settings(&house.server);
        let lock = Lock::spawn(settings, house.store.follower(), catalogs.watch());
        Self { _catalogs: catalogs, lock }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_do_the_same_at_once_agree() {
    for product in products_available() {
        let house = House::new(product);
        let other = Other::of(&house);
        let mut grants = Vec::new();
        for n in 0..6 {
            let user = format!("p{n}");
            let texts = ["SELECT ON shop.t", "READ ON SCHEMA my_shop"];
            grants.push(grant_in(&house.store, &user, &texts, HOUR).await);
        }
        for n in 0..6 {
            let user = principal(&format!("p{n}"));
            for lock in [&house.lock, &other.lock] {
                let target = target(&house.server);
                let mut session = lock.connect(&target, &user, &Startup::default()).await.unwrap();
                assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
            }
        }
        for grant in &grants {
            house.revoke(grant).await;
        }
        house.wait_until_nobody_is_there().await;
        house.sweep().await;
        assert_eq!(house.accounts(), []);
        for lock in [&house.lock, &other.lock] {
            let progress = lock.progress().borrow().clone();
            assert!(progress.failed.is_empty() && progress.error.is_none(), "{progress:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_changes_the_sessions_of_the_other_hear_of() {
    for product in products_available() {
        let house = House::new(product);
        let other = Other::of(&house);
        house.grant("alice", &["SELECT ON shop.t"]).await;
        let (target, alice) = (target(&house.server), principal("alice"));
        let startup = Startup::default();
        let connecting = other.lock.connect_seeing(&target, &alice, &startup);
        let (mut session, seen) = connecting.await.unwrap();
        try_run(&mut session, "USE shop").await.unwrap();
        house.grant("alice", &["READ ON SCHEMA shop"]).await;
        // Whoever of the two was first: both say it.
        let account = house.account("alice");
        for lock in [&house.lock, &other.lock] {
            let mut progress = lock.progress();
            progress.wait_for(|it| it.due(&account, seen) == Due::Use).await.unwrap();
        }
        try_run(&mut session, "USE shop").await.unwrap();
        assert_eq!(try_run(&mut session, "SELECT id FROM u").await, Ok("1".into()));
    }
}

#[test]
fn of_one_that_is_killed_at_it_nothing_stays() {
    for product in products_available() {
        let runtime = || tokio::runtime::Runtime::new().unwrap();
        let (first, second) = (runtime(), runtime());
        let house = first.block_on(async { House::new(product) });
        let store = house.store.clone();
        first.block_on(async {
            for n in 0..12 {
                let texts = ["READ ON DATABASE", "SELECT (id) ON shop.t"];
                grant_in(&store, &format!("p{n}"), &texts, HOUR).await;
            }
            until("accounts to be made", || async { !house.accounts().is_empty() }).await;
        });
        // In the middle of it: its connection breaks off, and with it goes the lock that it has.
        first.shutdown_background();
        second.block_on(async {
            let House { server, store, catalogs: _, lock: _, _folder } = house;
            let catalogs = Catalogs::spawn(target(&server), HOUR);
            let settings = settings(&server);
            let lock = Lock::spawn(settings, store.follower(), catalogs.watch());
            let house = House { server, store, catalogs, lock, _folder };
            for n in 0..12 {
                let mut session = house.connect(&format!("p{n}")).await.unwrap();
                assert_eq!(try_run(&mut session, "SELECT id FROM shop.u").await, Ok("1".into()));
            }
            let filter = daypass::store::GrantFilter::default();
            for grant in house.store.grants(filter).await.unwrap() {
                house.revoke(&grant.id).await;
            }
            house.wait_until_nobody_is_there().await;
            house.sweep().await;
            assert_eq!(house.accounts(), []);
        });
    }
}

#[tokio::test]
async fn another_host_part_waits_for_the_sessions_of_the_one_before() {
    for product in products_available() {
        let house = House::new(product);
        house.grant("alice", &["SELECT ON shop.t"]).await;
        let account = house.account("alice");
        let mut session = house.connect("alice").await.unwrap();
        let settings = Settings { host: "localhost".into(), ..settings(&house.server) };
        let next = Lock::spawn(settings, house.store.follower(), house.catalogs.watch());
        let (target, alice) = (target(&house.server), principal("alice"));
        let mut later = next.connect(&target, &alice, &Startup::default()).await.unwrap();
        let whose = try_run(&mut later, "SELECT CURRENT_USER()").await;
        assert_eq!(whose, Ok(format!("{account}@localhost")));
        house.grant("alice", &["SELECT ON shop.u"]).await;
        for session in [&mut session, &mut later] {
            assert_eq!(try_run(session, "SELECT id FROM shop.t").await, Ok("1".into()));
        }
        let both = [(format!("{account}@%"), false), (format!("{account}@localhost"), false)];
        assert_eq!(house.accounts(), both);
        let House { server, store, catalogs, lock, _folder } = house;
        drop((session, lock));
        let left = [(format!("{account}@localhost"), false)];
        until("the other to go", || async {
            let nobody = principal("nobody");
            let refused = next.connect(&target, &nobody, &Startup::default()).await;
            assert!(refused.is_err());
            accounts(&server) == left
        })
        .await;
        drop((store, catalogs, _folder));
    }
}
