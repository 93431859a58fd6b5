//! Every transition, who may make it, and what it says otherwise.

use super::*;
use crate::grant::fixture::{at, privileges};

const DAY: u64 = 86_400;

fn principal(name: &str) -> PrincipalName {
    PrincipalName::new(name).unwrap()
}

fn caller(name: &str) -> Actor {
    Actor::Principal(principal(name))
}

fn operator(name: &str) -> Actor {
    Actor::Operator(name.into())
}

fn wish(requested_by: Actor) -> Wish {
    Wish {
        principal: principal("alice"),
        requested_by,
        database: "shop".into(),
        privileges: privileges("SELECT ON s.t"),
        duration: Duration::from_mins(30),
        reason: "INC-42".into(),
        ticket: None,
        route: Route::Any,
    }
}

fn request(requested_by: Actor) -> Request {
    Request::new(wish(requested_by), RequestId("r_1".into()), at(0)).unwrap()
}

fn id() -> GrantId {
    GrantId("g_1".into())
}

fn rule() -> ApprovalRule {
    ApprovalRule { approvers: vec![principal("alice"), principal("carol")] }
}

#[test]
fn an_approved_request_becomes_a_grant_from_that_moment() {
    let (request, grant) =
        request(caller("alice")).approve(&operator("root"), at(60), &rule(), id()).unwrap();
    assert_eq!(request.state.word(), "approved");
    assert_eq!((grant.not_before, grant.expires), (at(60), at(60 + 1800)));
    assert_eq!(grant.approvers, ["local:root".into()]);
    assert_eq!(grant.request, Some(request.id.clone()));
    assert_eq!(grant.privileges, request.privileges);
    assert_eq!((grant.check(), grant.route), (Ok(()), Route::Any));
}

#[test]
fn the_grant_is_bound_as_its_request_is() {
    let asked = Request { route: Route::ReplicaOnly, ..request(caller("alice")) };
    let (_, grant) = asked.approve(&operator("root"), at(60), &rule(), id()).unwrap();
    assert_eq!(grant.route, Route::ReplicaOnly);
    let writes = Wish { privileges: privileges("WRITE ON s.t"), ..wish(caller("alice")) };
    let writes = Wish { route: Route::ReplicaOnly, ..writes };
    let refused = Request::new(writes, RequestId("r_1".into()), at(0)).unwrap_err();
    assert_eq!(refused, RequestError::Invalid(GrantError::MoreThanReads("WRITE")));
}

#[test]
fn who_may_approve_and_deny() {
    for (asked_by, actor, sentence) in [
        (caller("alice"), operator("root"), None),
        (caller("alice"), caller("carol"), None),
        (operator("root"), operator("other"), None),
        (
            caller("alice"),
            caller("alice"),
            Some("alice asked for this: somebody else must approve or deny it"),
        ),
        (
            operator("root"),
            operator("root"),
            Some("local:root asked for this: somebody else must approve or deny it"),
        ),
        // Asked for by an operator, but it is hers all the same.
        (
            operator("root"),
            caller("alice"),
            Some("alice asked for this: somebody else must approve or deny it"),
        ),
        (
            caller("alice"),
            caller("bob"),
            Some(
                "bob may not approve or deny requests: only operators and the configured approvers may",
            ),
        ),
    ] {
        let approved = request(asked_by.clone()).approve(&actor, at(1), &rule(), id());
        assert_eq!(approved.err().map(|e| e.to_string()).as_deref(), sentence);
        let denied = request(asked_by).deny(&actor, at(1), &rule(), "not now");
        assert_eq!(denied.err().map(|e| e.to_string()).as_deref(), sentence);
    }
    let nobody = ApprovalRule::default();
    assert!(request(caller("alice")).approve(&caller("carol"), at(1), &nobody, id()).is_err());
    assert!(request(caller("alice")).approve(&operator("root"), at(1), &nobody, id()).is_ok());
}

#[test]
fn only_the_requester_or_an_operator_cancels() {
    assert!(request(caller("alice")).cancel(&caller("alice"), at(1)).is_ok());
    assert!(request(caller("alice")).cancel(&operator("root"), at(1)).is_ok());
    let error = request(caller("alice")).cancel(&caller("carol"), at(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "carol may not cancel request r_1: only alice or an operator may"
    );
}

#[test]
fn what_has_ended_does_not_change_any_more() {
    let root = operator("root");
    let ended = [
        request(caller("alice")).approve(&root, at(1), &rule(), id()).unwrap().0,
        request(caller("alice")).deny(&root, at(1), &rule(), "no").unwrap(),
        request(caller("alice")).cancel(&root, at(1)).unwrap(),
    ];
    for request in ended {
        let sentence = format!("request r_1 is {} already", request.state.word());
        let errors = [
            request.clone().approve(&root, at(2), &rule(), id()).unwrap_err(),
            request.clone().deny(&root, at(2), &rule(), "no").unwrap_err(),
            request.clone().cancel(&root, at(2)).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.to_string() == sentence), "{errors:?}");
        assert_eq!(request.expire(at(2 * DAY)), None);
    }
}

#[test]
fn a_request_waits_for_a_day() {
    let waiting = request(caller("alice"));
    assert!(waiting.is_pending(at(DAY - 1)));
    assert_eq!(waiting.clone().expire(at(DAY - 1)), None);
    assert_eq!(waiting.state_at(at(DAY)), RequestState::Expired);
    let error = waiting.clone().approve(&operator("root"), at(DAY), &rule(), id()).unwrap_err();
    assert_eq!(error.to_string(), "request r_1 expired at 1970-01-02T00:00:00.000000Z: ask again");
    assert_eq!(waiting.expire(at(DAY)).unwrap().state, RequestState::Expired);
}

#[test]
fn a_request_of_which_no_grant_could_come_is_not_made() {
    let make = |change: fn(&mut Wish)| {
        let mut wish = wish(caller("alice"));
        change(&mut wish);
        Request::new(wish, RequestId("r_1".into()), at(0)).unwrap_err().to_string()
    };
    assert_eq!(make(|wish| wish.duration = Duration::ZERO), "a grant lasts at least 1 s");
    assert_eq!(make(|wish| wish.duration *= 1000), "a grant lasts at most 7 days");
    assert_eq!(make(|wish| wish.reason = " ".into()), "a reason is needed");
    assert_eq!(make(|wish| wish.privileges.clear()), "at least one privilege is needed");
    assert_eq!(
        make(|wish| wish.requested_by = caller("bob")),
        "bob can ask for itself only; an operator can ask for others"
    );
}

#[test]
fn states_are_stored_and_read_back() {
    for state in [
        RequestState::Pending,
        RequestState::Approved { by: operator("root"), at: at(1), grant: id() },
        RequestState::Denied { by: caller("carol"), at: at(1), reason: "no".into() },
        RequestState::Cancelled { by: caller("alice"), at: at(1) },
        RequestState::Expired,
    ] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<RequestState>(&text).unwrap(), state);
    }
}
