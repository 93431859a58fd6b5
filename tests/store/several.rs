//! Several proxies on one shared store.

use std::sync::Arc;
use std::time::Duration;

use daypass::grant::{GrantId, RequestId, Route};
use daypass::identity::TokenId;
use daypass::store::{Follower, Snapshot, Store, StoreError, TOKENS_LIVE_MAX};
use daypass::time::Timestamp;
use tokio::task::JoinSet;

use crate::Place;
use crate::rules::{approve, at, grant, principal, request, revocation, root, token};

const DAY: u64 = 86_400;

/// Waits for a snapshot, however it comes about.
async fn until(store: &Store, holds: impl Fn(&Snapshot) -> bool) {
    let mut snapshots = store.snapshots();
    let found = snapshots.wait_for(|snapshot| holds(snapshot));
    let found = tokio::time::timeout(Duration::from_secs(30), found).await;
    drop(found.expect("in time").expect("the store is open"));
}

fn is_live(snapshot: &Snapshot, at_second: u64) -> bool {
    snapshot.grants.held(&principal("alice"), "shop").any_live(at(at_second))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_changes_the_others_hear() {
    let place = Place::shared();
    let (here, there) = (place.open(at(0)), place.open(at(0)));
    assert_eq!(here.snapshot().tokens.store_key, there.snapshot().tokens.store_key);
    here.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    until(&there, |snapshot| is_live(snapshot, 1)).await;
    there.revoke_grant(&GrantId("g_1".into()), revocation(2)).await.unwrap();
    assert!(!is_live(&there.snapshot(), 3));
    until(&here, |snapshot| !is_live(snapshot, 3)).await;
    here.add_token(token("t_1", "alice", 0, 60)).await.unwrap();
    let tokens = |snapshot: &Snapshot| {
        snapshot.tokens.by_principal.get(&principal("alice")).map_or(0, Vec::len)
    };
    until(&there, |snapshot| tokens(snapshot) == 1).await;
    there.revoke_token(&TokenId("t_1".into()), &root(), at(3)).await.unwrap();
    let revoked = |snapshot: &Snapshot| {
        let own = snapshot.tokens.by_principal.get(&principal("alice"));
        own.is_some_and(|own| own.iter().any(|token| token.revoked == Some(at(3))))
    };
    until(&here, revoked).await;
    // Deleted by one, gone at the other.
    assert_eq!(here.purge(at(31 * DAY)).await.unwrap().tokens, 1);
    until(&there, |snapshot| tokens(snapshot) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_catches_up_has_all_that_was_committed_before() {
    let place = Place::shared();
    let (here, there) = (place.open(at(0)), place.open(at(0)));
    let follower: Follower = there.follower();
    for n in 0..50 {
        let id = format!("g_{n}");
        here.create_grant(grant(&id, "SELECT ON s.t", 0, 60)).await.unwrap();
        assert!(follower.catch_up().await);
        let known = follower.snapshots.borrow().grants.iter().any(|it| *it.id.0 == *id);
        assert!(known, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_notification_is_made_up_for() {
    let mut place = Place::shared();
    let (here, there) = (place.open(at(0)), place.open(at(0)));
    // What hears of changes is cut off; it comes again by itself.
    place.server().sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'daypass store'",
    );
    here.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    until(&there, |snapshot| is_live(snapshot, 1)).await;
    // Written past every proxy, and nobody is told.
    place.server().sql_in(
        "store",
        "UPDATE daypass.grants SET revoked_at = 1000000, revoked_by = 'x'; \
         INSERT INTO daypass.changes SELECT revision + 1, 'grant', 'g_1' FROM daypass.state; \
         UPDATE daypass.state SET revision = revision + 1",
    );
    until(&there, |snapshot| !is_live(snapshot, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_start_at_once_on_an_empty_store() {
    let place = Arc::new(Place::shared());
    let mut opening = JoinSet::new();
    for _ in 0..6 {
        let place = Arc::clone(&place);
        opening.spawn_blocking(move || place.open(at(0)));
    }
    let stores = opening.join_all().await;
    let key = stores[0].snapshot().tokens.store_key.clone();
    assert!(stores.iter().all(|store| store.snapshot().tokens.store_key == key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_and_what_happens_once_hold_however_many_ask() {
    let place = Place::shared();
    let stores = [place.open(at(0)), place.open(at(0)), place.open(at(0))];
    let mut adding = JoinSet::new();
    for n in 0..30 {
        let store = stores[n % 3].clone();
        adding
            .spawn(async move { store.add_token(token(&format!("t_{n}"), "alice", 0, 60)).await });
    }
    let added = adding.join_all().await;
    assert_eq!(added.iter().filter(|result| result.is_ok()).count(), TOKENS_LIVE_MAX);
    let refused = added.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|error| matches!(error, StoreError::TooManyTokens(_))));
    for n in 0..10 {
        let id = format!("g_{n}");
        stores[n % 3].create_grant(grant(&id, "SELECT ON s.t", 0, 60)).await.unwrap();
    }
    stores[0].create_request(request("r_1")).await.unwrap();
    let mut purging = JoinSet::new();
    for n in 0..12 {
        let store = stores[n % 3].clone();
        purging.spawn(async move { store.purge(at(2 * DAY)).await.unwrap() });
    }
    let purged = purging.join_all().await;
    let grants: usize = purged.iter().map(|purged| purged.grants.len()).sum();
    let requests: usize = purged.iter().map(|purged| purged.requests.len()).sum();
    assert_eq!((grants, requests), (10, 1));
    // Asked for at one, answered at another.
    stores[0].create_request(request("r_2")).await.unwrap();
    approve(&stores[1], "r_2", "g_r").await.unwrap();
    let error = approve(&stores[2], "r_2", "g_s").await.unwrap_err();
    assert_eq!(error.to_string(), "request r_2 is approved already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn past_its_bound_nothing_is_known_until_the_store_is_back() {
    let mut place = Place::shared();
    let store = Store::open_shared_at(place.account(Duration::from_secs(2)), at(0)).unwrap();
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    place.server().crash();
    let error = store.create_grant(grant("g_2", "SELECT ON s.t", 0, 60)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(!store.follower().catch_up().await);
    until(&store, |snapshot| !snapshot.grants.is_known()).await;
    assert!(store.known().is_err() && !is_live(&store.snapshot(), 1));
    place.server().start_again();
    until(&store, |snapshot| is_live(snapshot, 1)).await;
    assert!(store.known().is_ok());
    store.create_grant(grant("g_2", "SELECT ON s.t", 0, 60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_stops_in_the_middle_of_a_change_does_not_stop_the_others_for_ever() {
    let mut place = Place::shared();
    let store = place.open(at(0));
    let env = place.server().env("keeper", "store");
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, &**value)).collect();
    let mut sitter = crate::support::Shell::open(&env);
    sitter.run(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1s'; \
         SELECT revision FROM daypass.state FOR UPDATE;",
    );
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    assert!(is_live(&store.snapshot(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schema_that_is_not_ours_or_open_to_others_is_refused() {
    let mut place = Place::shared();
    let refused = |place: &Place| place.try_open(at(0)).unwrap_err().to_string();
    place.server().sql_in(
        "store",
        "CREATE SCHEMA daypass; ALTER SCHEMA daypass OWNER TO keeper; \
        CREATE TABLE daypass.t (id int)",
    );
    assert!(refused(&place).contains("its schema daypass is of something else"));
    place.server().sql_in("store", "DROP SCHEMA daypass CASCADE");
    drop(place.open(at(0)));
    place.server().sql_in("store", "GRANT SELECT ON daypass.tokens TO PUBLIC");
    assert!(refused(&place).contains("other roles have privileges"));
    place.server().sql_in(
        "store",
        "REVOKE SELECT ON daypass.tokens FROM PUBLIC; \
        INSERT INTO daypass.migrations VALUES (99)",
    );
    assert!(refused(&place).contains("has version 99, this daypass knows up to 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_from_before_there_were_routes_is_brought_up_to_date() {
    let mut place = Place::shared();
    let store = place.open(at(0));
    let asked = store.create_request(request("r_1")).await.unwrap();
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    drop(store);
    place.server().sql_in(
        "store",
        "ALTER TABLE daypass.requests DROP COLUMN route; \
         DELETE FROM daypass.migrations WHERE version = 2",
    );
    let store = place.open(at(0));
    assert_eq!(store.request(&asked.id).await.unwrap(), asked);
    place.server().sql_in(
        "store",
        "UPDATE daypass.grants SET route = 'replica-only'; \
         UPDATE daypass.requests SET route = 'replica-only'",
    );
    let grant = store.grant(&GrantId("g_1".into())).await.unwrap();
    let asked = store.request(&RequestId("r_1".into())).await.unwrap();
    assert_eq!((grant.route, asked.route), (Route::ReplicaOnly, Route::ReplicaOnly));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_went_back_in_time_is_not_believed() {
    let mut place = Place::shared();
    let store = Store::open_shared_at(place.account(Duration::from_secs(2)), at(0)).unwrap();
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    place.server().sql_in("store", "UPDATE daypass.state SET revision = 1");
    until(&store, |snapshot| !snapshot.grants.is_known()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_too_far_behind_reads_everything_again() {
    let mut place = Place::shared();
    let (here, there) = (place.open(at(0)), place.open(at(0)));
    // What ended a day ago is not read again, so it has to be of today.
    let now: Timestamp = std::time::SystemTime::now().into();
    let mut lasting = grant("g_1", "SELECT ON s.t", 0, 60);
    (lasting.created, lasting.not_before) = (now, now);
    lasting.expires = now + Duration::from_secs(3600);
    here.create_grant(lasting).await.unwrap();
    until(&there, |snapshot| snapshot.grants.iter().count() == 1).await;
    place.server().sql_in(
        "store",
        "BEGIN; UPDATE daypass.grants SET revoked_at = created, revoked_by = 'x'; \
         UPDATE daypass.state SET revision = revision + 5; \
         DELETE FROM daypass.changes; \
         INSERT INTO daypass.changes SELECT revision, 'tokens', '' FROM daypass.state; COMMIT",
    );
    let revoked = |snapshot: &Snapshot| snapshot.grants.iter().all(|it| it.revoked.is_some());
    until(&there, revoked).await;
}
