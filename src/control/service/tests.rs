//! The rules, under a clock that stands still until a test moves it.

use std::cell::Cell;

use super::*;
use crate::audit::recorder;
use crate::control::error::Blame;
use crate::control::model::{
    CreateGrant, CreateRequest, GrantState, IssueToken, RequestState, TokenState,
};
use crate::grant::{GrantLimits, Route};
use crate::session::call::{BoundCall, CallError, CallReply, Calls, InBandCaller};

const HOUR: Duration = Duration::from_hours(1);

thread_local! {
    static NOW: Cell<Timestamp> = const { Cell::new(Timestamp::from_micros(1_700_000_000_000_000)) };
}

fn later(by: Duration) {
    NOW.set(NOW.get() + by);
}

struct House {
    folder: tempfile::TempDir,
    service: Arc<Service>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = open(folder.path());
        Self { folder, service }
    }

    /// The audit records of a kind: event, actor where that is not the principal, reason.
    async fn trail(&self, kind: &str) -> Vec<(String, String, String)> {
        self.service.flushed().await;
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let records = records.filter(|record: &serde_json::Value| record["kind"] == kind);
        let word = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
        records.map(|r| (word(&r["event"]), word(&r["actor"]), word(&r["reason"]))).collect()
    }
}

fn open(folder: &std::path::Path) -> Arc<Service> {
    let recorder = Recorder::open(&recorder::Settings {
        file: Some(folder.join("audit.jsonl")),
        ..recorder::Settings::default()
    });
    let settings = Settings {
        store: Store::open_at(&folder.join("daypass.db"), NOW.get()).unwrap(),
        recorder: recorder.unwrap(),
        registry: Arc::default(),
        clock: || NOW.get(),
    };
    Service::new(settings, rules())
}

fn rules() -> Rules {
    Rules {
        databases: ["shop", "crm"]
            .map(|name| Served {
                name: name.into(),
                engine: Engine::Postgres,
                runs_as: match name {
                    "crm" => RunsAs::OwnRole,
                    _ => RunsAs::Other,
                },
                replicas: usize::from(name == "crm"),
            })
            .into(),
        ttl_default: HOUR / 4,
        ttl_max: HOUR * 12,
        duration_max: HOUR * 8,
        waiting_max: HOUR * 2,
        approval: ApprovalRule { approvers: vec![name("carol"), name("alice")] },
        parse_limits: crate::sql::ParseLimits::default(),
    }
}

fn name(text: &str) -> PrincipalName {
    PrincipalName::new(text).unwrap()
}

fn root() -> Actor {
    Actor::Operator("root".into())
}

fn principal(text: &str) -> Actor {
    Actor::Principal(name(text))
}

fn grant_wish() -> CreateGrant {
    CreateGrant {
        principal: "bob".into(),
        database: "shop".into(),
        privileges: vec!["SELECT ON public.orders".into()],
        duration: "1h".into(),
        reason: "INC-42".into(),
        ..CreateGrant::default()
    }
}

fn bypass_wish() -> CreateGrant {
    CreateGrant { privileges: vec!["READ, BYPASS ROW SECURITY ON DATABASE".into()], ..grant_wish() }
}

fn bound_wish(database: &str, privilege: &str) -> CreateGrant {
    CreateGrant {
        database: database.into(),
        privileges: vec![privilege.into()],
        route: Route::ReplicaOnly,
        ..grant_wish()
    }
}

fn request_wish() -> CreateRequest {
    CreateRequest {
        database: "shop".into(),
        privileges: vec!["SELECT ON public.orders; UPDATE (status) ON public.orders".into()],
        duration: "30 min".into(),
        reason: "INC-42".into(),
        ..CreateRequest::default()
    }
}

fn blame<T: std::fmt::Debug>(result: Result<T, ControlError>) -> Blame {
    result.unwrap_err().blame
}

#[tokio::test]
async fn a_token_lives_as_long_as_said_and_no_longer() {
    let house = House::new();
    let wish = |ttl: Option<&str>| IssueToken { principal: "bob".into(), ttl: ttl.map(Into::into) };
    let (_, info) = house.service.issue_token(&root(), wish(None)).await.unwrap();
    assert_eq!(NOW.get().until(info.expires), HOUR / 4);
    let (_, info) = house.service.issue_token(&root(), wish(Some("12h"))).await.unwrap();
    assert_eq!(info.state, TokenState::Live);
    for wrong in ["13h", "0s", "soon"] {
        assert_eq!(
            blame(house.service.issue_token(&root(), wish(Some(wrong))).await),
            Blame::Invalid
        );
    }
    later(HOUR);
    assert_eq!(house.service.tokens(&root(), false).await.unwrap().len(), 1);
    assert_eq!(house.service.tokens(&root(), true).await.unwrap().len(), 2);
}

#[tokio::test]
async fn only_operators_issue_and_a_holder_may_take_back() {
    let house = House::new();
    let wish = || IssueToken { principal: "bob".into(), ttl: None };
    assert_eq!(
        blame(house.service.issue_token(&principal("bob"), wish()).await),
        Blame::NotAllowed
    );
    let (_, info) = house.service.issue_token(&root(), wish()).await.unwrap();
    let foreign = house.service.revoke_token(&principal("eve"), &info.id).await;
    assert_eq!(blame(foreign), Blame::NotFound);
    let revoked = house.service.revoke_token(&principal("bob"), &info.id).await.unwrap();
    assert_eq!(revoked.state, TokenState::Revoked);
    assert_eq!(blame(house.service.revoke_token(&root(), &info.id).await), Blame::Conflict);
    let events: Vec<_> = house.trail("token").await.into_iter().map(|(e, a, _)| (e, a)).collect();
    assert_eq!(events, [("issued".into(), "local:root".into()), ("revoked".into(), String::new())]);
}

#[tokio::test]
async fn only_operators_make_grants_and_only_ones_that_are_held_to() {
    let house = House::new();
    let made = house.service.create_grant(&principal("bob"), grant_wish()).await;
    assert_eq!(blame(made), Blame::NotAllowed);
    let grant = house.service.create_grant(&root(), grant_wish()).await.unwrap();
    assert_eq!(
        (grant.state, grant.approvers.as_slice()),
        (GrantState::Live, &["local:root".into()][..])
    );
    let limits = GrantLimits { rows: Some(1), ..GrantLimits::default() };
    let past = Timestamp::from_micros(1);
    for (wrong, word) in [
        (CreateGrant { limits: Some(limits), ..grant_wish() }, "rows limit"),
        (CreateGrant { row_filter: Some("true".into()), ..grant_wish() }, "row filter"),
        (bound_wish("shop", "READ ON DATABASE"), "on shop can be bound to replicas: it has none"),
        (bound_wish("crm", "SELECT, UPDATE ON public.orders"), "not UPDATE"),
        (CreateGrant { duration: "9h".into(), ..grant_wish() }, "at most 8 h"),
        (CreateGrant { not_before: Some(past), ..grant_wish() }, "ended already"),
        (CreateGrant { reason: " ".into(), ..grant_wish() }, "reason"),
        (CreateGrant { reason: "a\u{1b}[2J".into(), ..grant_wish() }, "control characters"),
        (CreateGrant { principal: "local:root".into(), ..grant_wish() }, "principal"),
        (CreateGrant { privileges: vec![], ..grant_wish() }, "privilege"),
        (CreateGrant { database: "crm".into(), ..bypass_wish() }, "its second lock is on"),
        (CreateGrant { privileges: vec!["SELECT ON orders".into()], ..grant_wish() }, "schema"),
    ] {
        let error = house.service.create_grant(&root(), wrong).await.unwrap_err();
        assert_eq!(error.blame, Blame::Invalid, "{error}");
        assert!(error.message.contains(word), "{error}");
    }
    let elsewhere = CreateGrant { database: "shopp".into(), ..grant_wish() };
    let error = house.service.create_grant(&root(), elsewhere).await.unwrap_err();
    assert_eq!(error.blame, Blame::NotFound);
    assert_eq!(error.hint.unwrap(), "This proxy has: shop, crm");
    // Where there is no second lock, it can be held to.
    assert!(house.service.create_grant(&root(), bypass_wish()).await.is_ok());
    assert_eq!(house.trail("grant").await.len(), 2);
}

#[tokio::test]
async fn a_grant_is_for_its_holder_and_operators_to_see_and_revoke() {
    let house = House::new();
    let (bob, eve) = (principal("bob"), principal("eve"));
    let id = house.service.create_grant(&root(), grant_wish()).await.unwrap().id;
    assert_eq!(house.service.grants(&bob, false).await.unwrap().len(), 1);
    assert!(house.service.grants(&eve, true).await.unwrap().is_empty());
    assert_eq!(blame(house.service.grant(&eve, &id).await), Blame::NotFound);
    assert_eq!(blame(house.service.revoke_grant(&eve, &id, None).await), Blame::NotFound);
    let long = Some("x".repeat(2000));
    assert_eq!(blame(house.service.revoke_grant(&bob, &id, long).await), Blame::Invalid);
    let revoked = house.service.revoke_grant(&bob, &id, Some("done".into())).await.unwrap();
    assert_eq!(revoked.state, GrantState::Revoked);
    assert_eq!(blame(house.service.revoke_grant(&root(), &id, None).await), Blame::Conflict);
    assert_eq!(
        house.trail("grant").await,
        [
            ("created".into(), "local:root".into(), "INC-42".into()),
            ("revoked".into(), String::new(), "done".into())
        ]
    );
}

#[tokio::test]
async fn a_request_becomes_a_grant_by_somebody_elses_word() {
    let house = House::new();
    let service = &house.service;
    let request = service.create_request(&principal("alice"), request_wish()).await.unwrap();
    assert_eq!((request.state, request.privileges.len()), (RequestState::Pending, 2));
    assert_eq!(NOW.get().until(request.waits_until), HOUR * 2);
    // Alice is an approver, but not of her own wishes; bob is none.
    for (actor, word) in [("alice", "somebody else"), ("bob", "may not approve")] {
        let error = service.approve(&principal(actor), &request.id).await.unwrap_err();
        assert_eq!(error.blame, Blame::NotAllowed);
        assert!(error.message.contains(word), "{error}");
    }
    later(HOUR);
    let grant = service.approve(&principal("carol"), &request.id).await.unwrap();
    assert_eq!(NOW.get().until(grant.expires), HOUR / 2);
    assert_eq!(grant.approvers, ["carol"]);
    assert_eq!(blame(service.approve(&root(), &request.id).await), Blame::Conflict);
    let shown = service.request(&principal("alice"), &request.id).await.unwrap();
    assert_eq!((shown.state, shown.grant), (RequestState::Approved, Some(grant.id)));
    let events: Vec<_> = house.trail("request").await.into_iter().map(|(e, a, _)| (e, a)).collect();
    assert_eq!(events, [("created".into(), String::new()), ("approved".into(), "carol".into())]);
}

#[tokio::test]
async fn what_is_bound_to_replicas_says_so_wherever_it_is_shown() {
    let House { folder, service } = House::new();
    let grant = service.create_grant(&root(), grant_wish()).await.unwrap();
    assert_eq!(grant.route, Route::Any);
    let asked = service.create_request(&principal("bob"), request_wish()).await.unwrap();
    let bound = CreateRequest { route: Route::ReplicaOnly, ..request_wish() };
    let error = service.create_request(&principal("bob"), bound).await.unwrap_err();
    assert!(error.message.contains("on shop can be bound to replicas"), "{error}");
    service.settings.recorder.close(HOUR).await.unwrap();
    drop(service);
    let store = rusqlite::Connection::open(folder.path().join("daypass.db")).unwrap();
    let bind =
        "UPDATE grants SET route = 'replica-only'; UPDATE requests SET route = 'replica-only'";
    store.execute_batch(bind).unwrap();
    drop(store);

    let house = House { service: open(folder.path()), folder };
    let service = &house.service;
    let shown = service.grant(&root(), &grant.id).await.unwrap();
    assert_eq!(serde_json::to_value(&shown).unwrap()["route"], "replica-only");
    let shown = service.request(&root(), &asked.id).await.unwrap();
    assert_eq!(serde_json::to_value(&shown).unwrap()["route"], "replica-only");
    for list in ["grants", "requests"] {
        let reply = call(&house, "bob", list, &[]).await.unwrap();
        let column = reply.columns.iter().position(|name| *name == "route").unwrap();
        assert_eq!(reply.rows[0][column].as_deref(), Some("replica-only"), "{list}");
    }
    // Its database had replicas when it was asked for.
    let error = service.approve(&root(), &asked.id).await.unwrap_err();
    assert!(error.message.contains("on shop can be bound to replicas"), "{error}");
    service.deny(&root(), &asked.id, "later".into()).await.unwrap();
    service.revoke_grant(&root(), &grant.id, None).await.unwrap();
    service.flushed().await;
    let text = std::fs::read_to_string(house.folder.path().join("audit.jsonl")).unwrap();
    let route = |event: &str| {
        let mut records =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.find(|record| record["event"] == event).unwrap()["route"].clone()
    };
    let events = ["created", "denied", "revoked"].map(route);
    assert_eq!(events, [serde_json::Value::Null, "replica-only".into(), "replica-only".into()]);
}

#[tokio::test]
async fn an_operator_asks_for_somebody_and_may_not_approve_it() {
    let house = House::new();
    let service = &house.service;
    assert_eq!(blame(service.create_request(&root(), request_wish()).await), Blame::Invalid);
    let wish = || CreateRequest { principal: Some("bob".into()), ..request_wish() };
    let request = service.create_request(&root(), wish()).await.unwrap();
    assert_eq!((&*request.principal, &*request.requester), ("bob", "local:root"));
    assert_eq!(blame(service.approve(&root(), &request.id).await), Blame::NotAllowed);
    let other = Actor::Operator("other".into());
    assert!(service.approve(&other, &request.id).await.is_ok());
    let for_another = service.create_request(&principal("eve"), wish()).await;
    assert_eq!(blame(for_another), Blame::NotAllowed);
}

#[tokio::test]
async fn a_request_is_denied_with_a_reason_or_withdrawn_by_its_own() {
    let house = House::new();
    let service = &house.service;
    let bob = principal("bob");
    let one = service.create_request(&bob, request_wish()).await.unwrap().id;
    let two = service.create_request(&bob, request_wish()).await.unwrap().id;
    assert_eq!(blame(service.deny(&root(), &one, String::new()).await), Blame::Invalid);
    let denied = service.deny(&root(), &one, "not today".into()).await.unwrap();
    assert_eq!(denied.denial.as_deref(), Some("not today"));
    assert_eq!(blame(service.cancel_request(&principal("eve"), &two).await), Blame::NotFound);
    let gone = service.cancel_request(&bob, &two).await.unwrap();
    assert_eq!(gone.state, RequestState::Cancelled);
    assert!(service.requests(&bob, false).await.unwrap().is_empty());
    assert_eq!(service.requests(&bob, true).await.unwrap().len(), 2);
    assert!(service.requests(&principal("eve"), true).await.unwrap().is_empty());
    assert_eq!(service.requests(&principal("carol"), true).await.unwrap().len(), 2);
}

#[tokio::test]
async fn of_two_approvals_at_once_one_counts() {
    let house = House::new();
    let id = house.service.create_request(&principal("bob"), request_wish()).await.unwrap().id;
    let (one, two) = (root(), principal("carol"));
    let (one, two) =
        tokio::join!(house.service.approve(&one, &id), house.service.approve(&two, &id));
    assert_eq!([&one, &two].into_iter().filter(|result| result.is_ok()).count(), 1);
    let lost = one.err().or(two.err()).unwrap();
    assert_eq!(lost.blame, Blame::Conflict);
    assert_eq!(house.service.grants(&root(), true).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_runs_out_is_recorded_once_even_across_a_restart() {
    let House { folder, service } = House::new();
    let first = service.create_grant(&root(), grant_wish()).await.unwrap();
    let longer = CreateGrant { duration: "3h".into(), ..grant_wish() };
    service.create_grant(&root(), longer).await.unwrap();
    let revoked = service.create_grant(&root(), grant_wish()).await.unwrap();
    service.revoke_grant(&root(), &revoked.id, None).await.unwrap();
    service.create_request(&principal("bob"), request_wish()).await.unwrap();
    later(HOUR);
    service.record_expired().await.unwrap();
    service.record_expired().await.unwrap();
    assert_eq!(service.grant(&root(), &first.id).await.unwrap().state, GrantState::Expired);
    service.settings.recorder.close(HOUR).await.unwrap();
    drop(service);
    // The second grant and the request run out while no proxy runs.
    later(HOUR * 30);
    let house = House { service: open(folder.path()), folder };
    house.service.record_expired().await.unwrap();
    house.service.record_expired().await.unwrap();
    for (kind, times) in [("grant", 2), ("request", 1)] {
        let trail = house.trail(kind).await;
        let expired: Vec<_> = trail.iter().filter(|(event, _, _)| event == "expired").collect();
        assert_eq!(expired.len(), times, "{kind}: {trail:?}");
        assert!(expired.iter().all(|(_, actor, _)| actor.is_empty()));
    }
}

async fn call(
    house: &House,
    who: &str,
    name_of: &str,
    arguments: &[&str],
) -> Result<CallReply, CallError> {
    let caller = InBandCaller {
        principal: name(who),
        token: crate::identity::TokenId("t_1".into()),
        database: "shop".into(),
        engine: Engine::Postgres,
        session: "s_1".into(),
    };
    let arguments = arguments.iter().map(|text| Some((*text).into())).collect();
    let call = BoundCall { name: name_of.into(), arguments };
    let reply = house.service.call(&caller, &call).await?;
    assert!(reply.rows.iter().all(|row| row.len() == reply.columns.len()), "{reply:?}");
    Ok(reply)
}

#[tokio::test]
async fn the_story_is_told_inside_a_session_too() {
    let house = House::new();
    let text = "SELECT (id) ON public.orders; READ ON SCHEMA sales";
    let made = call(&house, "bob", "request", &[text, "30 min", "why", "INC-7"]).await.unwrap();
    let id = made.rows[0][0].clone().unwrap();
    let waiting = call(&house, "carol", "requests", &[]).await.unwrap();
    assert_eq!(
        waiting.rows[0][5].as_deref(),
        Some("SELECT (id) ON public.orders; READ ON SCHEMA sales")
    );
    let own = call(&house, "bob", "approve", &[&id]).await.unwrap_err();
    assert_eq!(own.sqlstate, "42501");
    let grant = call(&house, "carol", "approve", &[&id]).await.unwrap();
    let held = call(&house, "bob", "grants", &[]).await.unwrap();
    assert_eq!(held.rows[0][0], grant.rows[0][0]);
    let again = call(&house, "carol", "deny", &[&id, "late"]).await.unwrap_err();
    assert_eq!(again.sqlstate, "55000");
    let other = call(&house, "bob", "request", &["READ ON DATABASE", "1h", "why"]).await.unwrap();
    let other = other.rows[0][0].clone().unwrap();
    let gone = call(&house, "bob", "cancel", &[&other]).await.unwrap();
    assert_eq!(gone.rows[0][1].as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn a_call_that_makes_no_sense_says_how_it_goes() {
    let house = House::new();
    for (name_of, arguments, sqlstate, hint) in [
        ("frobnicate", &["SELECT 1"][..], "42883", "daypass.help()"),
        (
            "request",
            &["SELECT ON s.t"][..],
            "42883",
            "daypass.request(privileges, duration, reason",
        ),
        ("request", &["nonsense", "1h", "why"][..], "22023", "For example"),
        ("request", &["SELECT ON s.t", "", "why"][..], "22023", "daypass.request("),
        ("request", &["SELECT ON s.t", "1h", "why", "", "primary"][..], "22023", ""),
        ("approve", &["r_none"][..], "42704", ""),
    ] {
        let error = call(&house, "carol", name_of, arguments).await.unwrap_err();
        assert_eq!(error.sqlstate, sqlstate, "{error:?}");
        assert!(error.hint.unwrap_or_default().contains(hint), "{name_of} {arguments:?}");
    }
    let help = call(&house, "carol", "help", &[]).await.unwrap();
    for procedure in crate::session::call::PROCEDURES {
        let named = |row: &Vec<Option<String>>| row[0] == Some(procedure.signature());
        assert!(help.rows.iter().any(named), "{}", procedure.name);
        let arguments: Vec<_> = procedure.required.iter().map(|_| "1h").collect();
        // Every one is answered in its own columns, or refused for its arguments.
        if let Ok(reply) = call(&house, "carol", procedure.name, &arguments).await {
            assert_eq!(reply.columns, procedure.columns);
        }
    }
}
