//! What holds of every store, whatever keeps it. Run for each kind by `main.rs`.

use std::sync::Arc;
use std::time::Duration;

use daypass::grant::privilege::{Privilege, parse_list};
use daypass::grant::request::{ApprovalRule, Request, RequestError, RequestState, Wish};
use daypass::grant::{Actor, Grant, GrantId, GrantLimits, RequestId, Revocation, Route};
use daypass::identity::token::TokenVerifier;
use daypass::identity::{PrincipalName, TokenId};
use daypass::secret::Secret;
use daypass::sql::Engine;
use daypass::store::{
    GrantFilter, Purged, REQUESTS_WAITING_MAX, RequestFilter, Snapshot, Store, StoreError,
    TOKENS_LIVE_MAX, UpdateError,
};
use daypass::time::Timestamp;

use crate::Place;

const DAY: u64 = 86_400;

/// That many seconds after the epoch.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn privileges(text: &str) -> Vec<Privilege> {
    parse_list(text, Engine::Postgres, "shop").unwrap()
}

/// A grant of alice on the database `shop`, between two seconds.
pub(crate) fn grant(id: &str, text: &str, not_before: u64, expires: u64) -> Grant {
    Grant {
        id: GrantId(id.into()),
        principal: principal("alice"),
        database: "shop".into(),
        privileges: privileges(text),
        not_before: at(not_before),
        expires: at(expires),
        reason: "INC-42".into(),
        ticket: None,
        approvers: vec!["local:root".into()],
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: at(not_before),
        revoked: None,
    }
}

pub(crate) fn principal(name: &str) -> PrincipalName {
    PrincipalName::new(name).unwrap()
}

pub(crate) fn root() -> Actor {
    Actor::Operator("root".into())
}

pub(crate) fn token(id: &str, of: &str, issued: u64, expires: u64) -> TokenVerifier {
    TokenVerifier {
        id: TokenId(id.into()),
        principal: principal(of),
        issued_by: "local:root".into(),
        issued: at(issued),
        expires: at(expires),
        revoked: None,
        scram_stored_key: Secret::new([1; 32]),
        scram_server_key: Secret::new([2; 32]),
        caching_sha2: Secret::new([3; 32]),
        native: Secret::new([4; 20]),
    }
}

pub(crate) fn request(id: &str) -> Request {
    let wish = Wish {
        principal: principal("alice"),
        requested_by: Actor::Principal(principal("alice")),
        database: "shop".into(),
        privileges: privileges("SELECT (id, \"E Mail\") ON s.t; EXECUTE ON FUNCTION s.f(integer)"),
        duration: Duration::from_mins(30),
        reason: "why".into(),
        ticket: Some("INC-42".into()),
        route: Route::Any,
    };
    Request::new(wish, RequestId(id.into()), at(0)).unwrap()
}

pub(crate) fn revocation(seconds: u64) -> Revocation {
    Revocation { at: at(seconds), by: "local:root".into(), reason: Some("enough".into()) }
}

pub(crate) async fn approve(
    store: &Store,
    id: &str,
    grant: &str,
) -> Result<(Request, Option<Arc<Grant>>), UpdateError<RequestError>> {
    let made = GrantId(grant.into());
    store
        .update_request(&RequestId(id.into()), move |request| {
            let rule = ApprovalRule::default();
            request.approve(&root(), at(1), &rule, made).map(|(next, grant)| (next, Some(grant)))
        })
        .await
}

pub(crate) async fn all_that_it_keeps_is_there_after_reopening(place: Place) {
    let store = place.open(at(0));
    let key = store.snapshot().tokens.store_key.clone();
    assert_eq!(key.expose().len(), 32);
    store.add_token(token("t_1", "alice", 0, 60)).await.unwrap();
    store.add_token(token("t_2", "alice", 1, 60)).await.unwrap();
    store.revoke_token(&TokenId("t_1".into()), &root(), at(2)).await.unwrap();
    store.create_request(request("r_1")).await.unwrap();
    let (approved, made) = approve(&store, "r_1", "g_1").await.unwrap();
    store.create_grant(grant("g_2", "READ ON DATABASE", 0, 60)).await.unwrap();
    let revoked = store.revoke_grant(&GrantId("g_2".into()), revocation(5)).await.unwrap();
    let before = store.snapshot();
    drop(store);

    let store = place.open(at(10));
    let after = store.snapshot();
    assert_eq!(after.tokens.store_key, key);
    let ids = |snapshot: &Snapshot| -> Vec<_> {
        snapshot.tokens.by_principal[&principal("alice")].iter().map(|t| t.id.clone()).collect()
    };
    assert_eq!(ids(&before), ["t_2", "t_1"].map(|id| TokenId(id.into())));
    assert_eq!(ids(&after), ids(&before));
    let kept = &after.tokens.by_principal[&principal("alice")][1];
    assert_eq!(kept.revoked, Some(at(2)));
    assert_eq!(kept.scram_server_key, Secret::new([2; 32]));
    assert_eq!(kept.native, Secret::new([4; 20]));
    assert_eq!(store.request(&approved.id).await.unwrap(), approved);
    assert_eq!(store.grant(&GrantId("g_1".into())).await.unwrap(), made.unwrap());
    assert_eq!(store.grant(&revoked.id).await.unwrap(), revoked);
    let held: Vec<_> = after.grants.held(&principal("alice"), "shop").iter().cloned().collect();
    assert_eq!(held.len(), 2);
    assert!(held.contains(&revoked));
    // Long after, neither is of use to a denial.
    drop(store);
    let store = place.open(at(3 * DAY));
    assert_eq!(store.snapshot().grants.iter().count(), 0);
    assert_eq!(store.grants(GrantFilter::default()).await.unwrap().len(), 2);
}

pub(crate) async fn of_many_approvals_at_once_exactly_one_wins(place: Place) {
    let store = place.open(at(0));
    store.create_request(request("r_1")).await.unwrap();
    let peer = place.peer(&store);
    let attempts: Vec<_> = (0..20)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { peer.clone() };
            tokio::spawn(async move { approve(&store, "r_1", &format!("g_{n}")).await })
        })
        .collect();
    let mut won = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok((_, made)) => won.push(made.unwrap()),
            Err(error) => assert_eq!(error.to_string(), "request r_1 is approved already"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.grants(GrantFilter::default()).await.unwrap(), won);
    assert!(store.follower().catch_up().await);
    assert_eq!(store.snapshot().grants.iter().count(), 1);
}

pub(crate) async fn a_change_is_published_before_the_call_returns_and_heard_of(place: Place) {
    let store = place.open(at(0));
    let mut snapshots = store.snapshots();
    snapshots.mark_unchanged();
    let held = |store: &Store| store.snapshot().grants.held(&principal("alice"), "shop");
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    assert!(held(&store).any_live(at(1)));
    assert!(snapshots.has_changed().unwrap());
    snapshots.mark_unchanged();
    store.revoke_grant(&GrantId("g_1".into()), revocation(1)).await.unwrap();
    assert!(!held(&store).any_live(at(1)));
    assert_eq!(snapshots.borrow_and_update().grants.epoch(), 3);
    store.add_token(token("t_1", "alice", 0, 60)).await.unwrap();
    assert_eq!(store.snapshot().tokens.by_principal.len(), 1);
    snapshots.mark_unchanged();
    store.create_request(request("r_1")).await.unwrap();
    store.purge(at(10)).await.unwrap();
    assert!(!snapshots.has_changed().unwrap());
}

pub(crate) async fn a_transition_that_refuses_or_fails_changes_nothing(place: Place) {
    let store = place.open(at(0));
    store.create_request(request("r_1")).await.unwrap();
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    let id = RequestId("r_1".into());
    // Its grant's name is taken.
    let error = approve(&store, "r_1", "g_1").await.unwrap_err();
    assert_eq!(error.to_string(), "\"g_1\" exists already");
    // Its grant could not be held to.
    let made = store.update_request(&id, |request| {
        let rule = ApprovalRule::default();
        let (next, mut grant) = request.approve(&root(), at(1), &rule, GrantId("g_2".into()))?;
        grant.limits.rows = Some(1);
        Ok::<_, RequestError>((next, Some(grant)))
    });
    let error = made.await.unwrap_err();
    assert_eq!(error.to_string(), "not enforced by this version: rows limit");
    // It panics.
    let error = store
        .update_request(&id, |_| -> Result<_, RequestError> { panic!("a bug") })
        .await
        .unwrap_err();
    assert!(matches!(error, UpdateError::Store(StoreError::Stopped)), "{error}");
    assert_eq!(store.request(&id).await.unwrap().state, RequestState::Pending);
    assert_eq!(store.snapshot().grants.iter().count(), 1);
    let error = approve(&store, "r_2", "g_2").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no request r_2");
    assert!(approve(&store, "r_1", "g_2").await.is_ok());
}

pub(crate) async fn what_cannot_be_is_refused(place: Place) {
    let store = place.open(at(0));
    let mut limited = grant("g_1", "SELECT ON s.t", 0, 60);
    limited.limits.rows = Some(1);
    let error = store.create_grant(limited).await.unwrap_err();
    assert_eq!(error.to_string(), "not enforced by this version: rows limit");
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    let error = store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap_err();
    assert_eq!(error.to_string(), "\"g_1\" exists already");
    let (g_1, g_2) = (GrantId("g_1".into()), GrantId("g_2".into()));
    let error = store.revoke_grant(&g_1, revocation(60)).await.unwrap_err();
    assert_eq!(error.to_string(), "grant g_1 ended at 1970-01-01T00:01:00.000000Z already");
    store.revoke_grant(&g_1, revocation(5)).await.unwrap();
    assert!(store.revoke_grant(&g_1, revocation(6)).await.is_err());
    let error = store.revoke_grant(&g_2, revocation(5)).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no grant g_2");
    assert!(store.grant(&g_2).await.is_err());
    let t_1 = TokenId("t_1".into());
    assert!(store.revoke_token(&t_1, &root(), at(1)).await.is_err());
    store.add_token(token("t_1", "alice", 0, 60)).await.unwrap();
    store.revoke_token(&t_1, &root(), at(1)).await.unwrap();
    let error = store.revoke_token(&t_1, &root(), at(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::TokenRevoked { .. }), "{error}");
}

pub(crate) async fn a_principal_has_so_many_live_tokens_and_waiting_requests(place: Place) {
    let store = place.open(at(0));
    for n in 0..TOKENS_LIVE_MAX {
        store.add_token(token(&format!("t_{n}"), "alice", 0, 60)).await.unwrap();
    }
    let error = store.add_token(token("t_x", "alice", 0, 60)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "alice has 16 live tokens already: revoke one, or wait until one expires"
    );
    store.add_token(token("t_b", "bob", 0, 60)).await.unwrap();
    store.add_token(token("t_later", "alice", 60, 90)).await.unwrap();
    for n in 0..REQUESTS_WAITING_MAX {
        store.create_request(request(&format!("r_{n}"))).await.unwrap();
    }
    let error = store.create_request(request("r_x")).await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyRequests(_)), "{error}");
}

pub(crate) async fn purging_expires_requests_and_forgets_old_tokens(place: Place) {
    let store = place.open(at(0));
    store.create_request(request("r_1")).await.unwrap();
    store.add_token(token("t_1", "alice", 0, 60)).await.unwrap();
    store.add_token(token("t_2", "alice", 0, 2 * DAY)).await.unwrap();
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    let purged = store.purge(at(DAY)).await.unwrap();
    assert_eq!(purged.requests.len(), 1);
    assert_eq!(purged.tokens, 0);
    assert_eq!(store.request(&RequestId("r_1".into())).await.unwrap().state, RequestState::Expired);
    assert_eq!(store.snapshot().grants.iter().count(), 1);
    let purged = store.purge(at(31 * DAY)).await.unwrap();
    assert_eq!(purged, Purged { tokens: 1, ..Purged::default() });
    assert_eq!(store.tokens().await.unwrap().len(), 1);
    assert_eq!(store.snapshot().tokens.by_principal[&principal("alice")].len(), 1);
    assert_eq!(store.snapshot().grants.iter().count(), 0);
    assert_eq!(store.purge(at(31 * DAY)).await.unwrap(), Purged::default());
}

pub(crate) async fn lists_are_filtered_newest_first(place: Place) {
    let store = place.open(at(0));
    let mut bobs = grant("g_3", "SELECT ON s.t", 0, 60);
    bobs.principal = principal("bob");
    let mut crm = grant("g_4", "SELECT ON s.t", 0, 60);
    crm.database = "crm".into();
    let others = [grant("g_1", "SELECT ON s.t", 0, 60), grant("g_2", "SELECT ON s.t", 5, 90)];
    for grant in others.into_iter().chain([bobs, crm]) {
        store.create_grant(grant).await.unwrap();
    }
    store.revoke_grant(&GrantId("g_1".into()), revocation(10)).await.unwrap();
    let ids = async |filter| -> Vec<String> {
        let list = store.grants(filter).await.unwrap();
        list.iter().map(|grant| grant.id.to_string()).collect()
    };
    let all = GrantFilter::default();
    let alice = GrantFilter { principal: Some(principal("alice")), ..all.clone() };
    assert_eq!(ids(all.clone()).await, ["g_2", "g_1", "g_3", "g_4"]);
    assert_eq!(ids(alice.clone()).await, ["g_2", "g_1", "g_4"]);
    let live = GrantFilter { live_at: Some(at(20)), database: Some("shop".into()), ..alice };
    assert_eq!(ids(live).await, ["g_2"]);
    assert_eq!(ids(GrantFilter { limit: Some(1), ..all }).await, ["g_2"]);

    store.create_request(request("r_1")).await.unwrap();
    store.create_request(request("r_2")).await.unwrap();
    approve(&store, "r_1", "g_5").await.unwrap();
    let pending = RequestFilter { pending_at: Some(at(2)), ..RequestFilter::default() };
    let list = store.requests(pending.clone()).await.unwrap();
    assert_eq!(list.iter().map(|request| &*request.id.0).collect::<Vec<_>>(), ["r_2"]);
    let late = RequestFilter { pending_at: Some(at(DAY)), ..pending };
    assert!(store.requests(late).await.unwrap().is_empty());
    assert_eq!(store.requests(RequestFilter::default()).await.unwrap().len(), 2);
}

pub(crate) async fn no_debug_output_or_error_has_a_secret(place: Place) {
    let store = place.open(at(0));
    let verifier = token("t_1", "alice", 0, 60);
    let secret = "1, 1, 1, 1";
    assert!(format!("{:?}", verifier.scram_stored_key.expose()).contains(secret));
    store.add_token(verifier.clone()).await.unwrap();
    let error = store.add_token(verifier).await.unwrap_err();
    let shown = format!("{store:?} {:?} {error:?} {error}", store.snapshot());
    assert!(!shown.contains(secret), "{shown}");
}
