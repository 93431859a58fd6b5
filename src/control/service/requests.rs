//! Requests: made by who needs something, answered by somebody else.

use crate::audit::record::{AuditRecord, Kind, Who};
use crate::control::error::ControlError;
use crate::control::model::{CreateRequest, GrantInfo, RequestInfo, RequestState as Shown};
use crate::grant::request::{Request, RequestError, RequestState, Wish};
use crate::grant::{Actor, Grant, RequestId};
use crate::store::{RequestFilter, UpdateError, ids};
use crate::time::duration;

use super::grants::new_grant_id;
use super::{Service, from_store, principal_name};

impl Service {
    /// Asks for a grant: a principal for itself, an operator for somebody.
    ///
    /// # Errors
    /// When something of it makes no sense, or would not be held to.
    pub async fn create_request(
        &self,
        actor: &Actor,
        wish: CreateRequest,
    ) -> Result<RequestInfo, ControlError> {
        if wish.limits.is_some_and(|limits| limits != Default::default())
            || wish.row_filter.is_some()
        {
            let sentence = "not enforced by this version: limits and row filters";
            return Err(ControlError::invalid(sentence));
        }
        let principal = match (actor, &wish.principal) {
            (Actor::Principal(name), None) => name.clone(),
            (_, Some(name)) => principal_name(name)?,
            (Actor::Operator(_), None) => {
                return Err(ControlError::invalid("an operator has to say for whom: --user"));
            }
        };
        let privileges = self.privileges(&wish.privileges, &wish.database)?;
        let duration = self.duration(&wish.duration)?;
        let route = wish.route;
        let placed = self.rules().check_route(route, &wish.database);
        placed.map_err(|error| refused(error.into()))?;
        let id = ids::new_id("r_");
        let id = id.map_err(|_| ControlError::unavailable("the system gives no randomness"))?;
        let now = self.now();
        let wish = Wish {
            principal,
            requested_by: actor.clone(),
            database: wish.database.into(),
            privileges,
            duration,
            reason: wish.reason.into(),
            ticket: wish.ticket.map(Into::into),
            route,
        };
        let mut request = Request::new(wish, RequestId(id.into()), now).map_err(refused)?;
        request.expires = request.expires.min(now + self.rules.load().waiting_max);
        let request = self.store().create_request(request).await.map_err(from_store)?;
        self.record_request("created", actor, &request);
        self.flushed().await;
        Ok(self.request_info(&request))
    }

    /// Requests that the actor may see: its own, and for who may approve, all. Answered ones only when
    /// asked for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn requests(
        &self,
        actor: &Actor,
        all: bool,
    ) -> Result<Vec<RequestInfo>, ControlError> {
        let filter = RequestFilter {
            principal: match actor {
                Actor::Principal(name) if !self.is_approver(actor) => Some(name.clone()),
                _ => None,
            },
            pending_at: (!all).then(|| self.now()),
            ..RequestFilter::default()
        };
        let requests = self.store().requests(filter).await.map_err(from_store)?;
        Ok(requests.iter().map(|request| self.request_info(request)).collect())
    }

    /// One request.
    ///
    /// # Errors
    /// When there is none, or it is not the actor's to see.
    pub async fn request(&self, actor: &Actor, id: &str) -> Result<RequestInfo, ControlError> {
        let request = self.store().request(&RequestId(id.into())).await.map_err(from_store)?;
        match actor {
            Actor::Principal(name) if request.principal != *name && !self.is_approver(actor) => {
                Err(ControlError::not_found(format!("there is no request {}", request.id)))
            }
            _ => Ok(self.request_info(&request)),
        }
    }

    /// Approves a request: its grant counts at once.
    ///
    /// # Errors
    /// When the actor may not, or the request waits no more.
    pub async fn approve(&self, actor: &Actor, id: &str) -> Result<GrantInfo, ControlError> {
        self.recordable()?;
        let (who, rules, now) = (actor.clone(), self.rules(), self.now());
        let grant = new_grant_id()?;
        let (request, made) = self
            .update(id, move |request| {
                // There may have been replicas when it was asked for.
                rules.check_route(request.route, &request.database)?;
                request
                    .approve(&who, now, &rules.approval, grant)
                    .map(|(request, made)| (request, Some(made)))
            })
            .await?;
        self.record_request("approved", actor, &request);
        let Some(made) = made else {
            return Err(ControlError::unavailable("the approval made no grant"));
        };
        self.record_grant("created", actor, &made);
        self.flushed().await;
        Ok(self.grant_info(&made))
    }

    /// Refuses a request.
    ///
    /// # Errors
    /// As for [`Self::approve`].
    pub async fn deny(
        &self,
        actor: &Actor,
        id: &str,
        reason: String,
    ) -> Result<RequestInfo, ControlError> {
        let (who, rules, now) = (actor.clone(), self.rules(), self.now());
        let (request, _) = self
            .update(id, move |request| {
                request.deny(&who, now, &rules.approval, &reason).map(|request| (request, None))
            })
            .await?;
        self.record_request("denied", actor, &request);
        self.flushed().await;
        Ok(self.request_info(&request))
    }

    /// Withdraws a request.
    ///
    /// # Errors
    /// When it is not the actor's, or waits no more.
    pub async fn cancel_request(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<RequestInfo, ControlError> {
        // Who may not see it is told that there is none.
        self.request(actor, id).await?;
        let (who, now) = (actor.clone(), self.now());
        let (request, _) = self
            .update(id, move |request| request.cancel(&who, now).map(|request| (request, None)))
            .await?;
        self.record_request("cancelled", actor, &request);
        self.flushed().await;
        Ok(self.request_info(&request))
    }

    async fn update(
        &self,
        id: &str,
        transition: impl FnOnce(Request) -> Result<(Request, Option<Grant>), RequestError>
        + Send
        + 'static,
    ) -> Result<(Request, Option<std::sync::Arc<Grant>>), ControlError> {
        let updated = self.store().update_request(&RequestId(id.into()), transition).await;
        updated.map_err(|error| match error {
            UpdateError::Refused(error) => refused(error),
            UpdateError::Store(error) => from_store(error),
        })
    }

    fn record_request(&self, event: &'static str, actor: &Actor, request: &Request) {
        self.record(Kind::Request, event, Some(actor), |record| {
            self.describe_request(record, request);
        });
    }

    pub(super) fn describe_request(&self, record: &mut AuditRecord, request: &Request) {
        record.request = Some(request.id.0.clone());
        record.concern(Who {
            principal: Some(request.principal.as_str().into()),
            database: Some((*request.database).into()),
            ..Who::default()
        });
        record.privileges =
            self.texts(&request.privileges, &request.database).into_iter().map(Box::from).collect();
        record.route = request.route.bound();
        record.reason = Some(request.reason.as_ref().into());
        record.expires = Some(request.expires);
        match &request.state {
            RequestState::Approved { grant, .. } => {
                record.grants = [std::sync::Arc::clone(&grant.0)].into();
            }
            RequestState::Denied { reason, .. } => record.reason = Some(reason.as_ref().into()),
            RequestState::Pending | RequestState::Cancelled { .. } | RequestState::Expired => (),
        }
    }

    fn request_info(&self, request: &Request) -> RequestInfo {
        let state = request.state_at(self.now());
        let (by, at, denial, grant) = match &state {
            RequestState::Pending | RequestState::Expired => (None, None, None, None),
            RequestState::Approved { by, at, grant } => (Some(by), Some(*at), None, Some(grant)),
            RequestState::Denied { by, at, reason } => (Some(by), Some(*at), Some(reason), None),
            RequestState::Cancelled { by, at } => (Some(by), Some(*at), None, None),
        };
        RequestInfo {
            id: request.id.to_string(),
            principal: request.principal.to_string(),
            requester: request.requested_by.to_string(),
            database: request.database.to_string(),
            state: match &state {
                RequestState::Pending => Shown::Pending,
                RequestState::Approved { .. } => Shown::Approved,
                RequestState::Denied { .. } => Shown::Denied,
                RequestState::Cancelled { .. } => Shown::Cancelled,
                RequestState::Expired => Shown::Expired,
            },
            privileges: self.texts(&request.privileges, &request.database),
            route: request.route,
            duration: duration::short(request.duration),
            reason: request.reason.to_string(),
            ticket: request.ticket.as_deref().map(str::to_owned),
            created: request.created,
            waits_until: request.expires,
            decided_by: by.map(ToString::to_string),
            decided: at,
            denial: denial.map(ToString::to_string),
            grant: grant.map(ToString::to_string),
        }
    }
}

/// The rules' refusals, by blame.
fn refused(error: RequestError) -> ControlError {
    let message = error.to_string();
    match error {
        RequestError::Invalid(_) | RequestError::Duration(_) => ControlError::invalid(message),
        RequestError::NotPending { .. } | RequestError::Expired { .. } => {
            ControlError::conflict(message)
        }
        RequestError::ForAnother(_)
        | RequestError::OwnRequest(_)
        | RequestError::NotAnApprover(_)
        | RequestError::NotTheRequester { .. } => ControlError::not_allowed(message),
    }
}
