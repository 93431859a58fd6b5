//! Requests: a wish for a grant, from its making to its end.
//!
//! One rule: one approver, who is not the one who asked. Every transition is a function from
//! one value to the next; `store` runs it inside a transaction.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::privilege::Privilege;
use super::{Actor, Grant, GrantError, GrantId, GrantLimits, LIFE, RequestId, Route, check_text};
use crate::identity::PrincipalName;
use crate::time::Timestamp;
use crate::time::duration::DurationError;

/// How long a request waits for an answer: 24 hours.
pub const WAITING_MAX: Duration = Duration::from_hours(24);

/// A wish for a grant.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Who would hold the grant.
    pub principal: PrincipalName,
    /// Who asked: that principal, or an operator for it.
    pub requested_by: Actor,
    /// Which entry of the configuration it is for.
    pub database: Box<str>,
    /// What it asks for.
    pub privileges: Vec<Privilege>,
    /// How long the grant would last, from its approval.
    pub duration: Duration,
    /// Why.
    pub reason: Box<str>,
    /// A ticket's number, when there is one.
    pub ticket: Option<Box<str>>,
    /// Where the grant's statements may run.
    pub route: Route,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it waits.
    pub expires: Timestamp,
    /// What became of it, as last recorded; [`Request::state_at`] knows that time has passed.
    pub state: RequestState,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RequestState {
    /// It waits for an answer.
    Pending,
    /// It has become a grant.
    Approved {
        /// By whom.
        by: Actor,
        /// When.
        at: Timestamp,
        /// Which grant.
        grant: GrantId,
    },
    /// It was refused.
    Denied {
        /// By whom.
        by: Actor,
        /// When.
        at: Timestamp,
        /// Why.
        reason: Box<str>,
    },
    /// It was taken back.
    Cancelled {
        /// By whom.
        by: Actor,
        /// When.
        at: Timestamp,
    },
    /// Nobody answered in time.
    Expired,
}

impl RequestState {
    /// One word: `pending`, `approved`, `denied`, `cancelled` or `expired`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Cancelled { .. } => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Who would hold the grant.
    pub principal: PrincipalName,
    /// Who asks.
    pub requested_by: Actor,
    /// Which entry of the configuration it is for.
    pub database: Box<str>,
    /// What it asks for.
    pub privileges: Vec<Privilege>,
    /// How long the grant would last.
    pub duration: Duration,
    /// Why.
    pub reason: Box<str>,
    /// A ticket's number, when there is one.
    pub ticket: Option<Box<str>>,
    /// Where the grant's statements may run.
    pub route: Route,
}

/// Who may approve or deny requests, besides operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalRule {
    /// These principals.
    pub approvers: Vec<PrincipalName>,
}

impl ApprovalRule {
    /// Whether somebody may decide on requests at all.
    pub fn admits(&self, actor: &Actor) -> bool {
        match actor {
            Actor::Operator(_) => true,
            Actor::Principal(name) => self.approvers.contains(name),
        }
    }
}

/// Why a request cannot be made or changed so; each is a sentence for the one who tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The grant that it asks for could not exist.
    #[error(transparent)]
    Invalid(#[from] GrantError),
    /// It asks for too little or too much time.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A principal asked for another.
    #[error("{0} can ask for itself only; an operator can ask for others")]
    ForAnother(PrincipalName),
    /// It was answered already.
    #[error("request {id} is {state} already")]
    NotPending {
        /// Which.
        id: RequestId,
        /// [`RequestState::word`].
        state: &'static str,
    },
    /// Nobody answered in time.
    #[error("request {id} expired at {at}: ask again")]
    Expired {
        /// Which.
        id: RequestId,
        /// When.
        at: Timestamp,
    },
    /// The one who asked would answer.
    #[error("{0} asked for this: somebody else must approve or deny it")]
    OwnRequest(Actor),
    /// Neither an operator nor an approver.
    #[error(
        "{0} may not approve or deny requests: only operators and the configured approvers may"
    )]
    NotAnApprover(Actor),
    /// Neither an operator nor the one who asked.
    #[error("{actor} may not cancel request {id}: only {requester} or an operator may")]
    NotTheRequester {
        /// Who tried.
        actor: Actor,
        /// Which.
        id: RequestId,
        /// Who asked.
        requester: Actor,
    },
}

impl Request {
    /// A request that waits from now on.
    ///
    /// # Errors
    /// When no grant could come of it, or a principal asks for another.
    pub fn new(wish: Wish, id: RequestId, now: Timestamp) -> Result<Self, RequestError> {
        let Wish { principal, requested_by, database, privileges, duration, reason, ticket, route } =
            wish;
        if let Actor::Principal(name) = &requested_by
            && *name != principal
        {
            return Err(RequestError::ForAnother(name.clone()));
        }
        let duration = LIFE.check(duration)?;
        check_text(&privileges, &reason, ticket.as_deref())?;
        route.check(&privileges)?;
        Ok(Self {
            id,
            principal,
            requested_by,
            database,
            privileges,
            duration,
            reason,
            ticket,
            route,
            created: now,
            expires: now + WAITING_MAX,
            state: RequestState::Pending,
        })
    }

    /// What became of it, as of that moment.
    pub fn state_at(&self, now: Timestamp) -> RequestState {
        if self.state == RequestState::Pending && self.expires <= now {
            RequestState::Expired
        } else {
            self.state.clone()
        }
    }

    /// Whether it waits at that moment.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.state == RequestState::Pending && now < self.expires
    }

    /// Approves it: the grant lasts from now for the duration asked for.
    ///
    /// # Errors
    /// When it does not wait any more, or the actor may not.
    pub fn approve(
        mut self,
        actor: &Actor,
        now: Timestamp,
        rule: &ApprovalRule,
        grant: GrantId,
    ) -> Result<(Self, Grant), RequestError> {
        self.check_waiting(now)?;
        self.check_decider(actor, rule)?;
        let made = Grant {
            id: grant.clone(),
            principal: self.principal.clone(),
            database: self.database.clone(),
            privileges: self.privileges.clone(),
            not_before: now,
            expires: now + self.duration,
            reason: self.reason.as_ref().into(),
            ticket: self.ticket.clone(),
            approvers: vec![actor.to_string().into()],
            request: Some(self.id.clone()),
            limits: GrantLimits::default(),
            row_filter: None,
            route: self.route,
            created: now,
            revoked: None,
        };
        self.state = RequestState::Approved { by: actor.clone(), at: now, grant };
        Ok((self, made))
    }

    /// Refuses it.
    ///
    /// # Errors
    /// As [`Request::approve`], and when the reason is empty or too long.
    pub fn deny(
        mut self,
        actor: &Actor,
        now: Timestamp,
        rule: &ApprovalRule,
        reason: &str,
    ) -> Result<Self, RequestError> {
        self.check_waiting(now)?;
        self.check_decider(actor, rule)?;
        super::check_reason(reason)?;
        self.state = RequestState::Denied { by: actor.clone(), at: now, reason: reason.into() };
        Ok(self)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// When it does not wait any more, or the actor is neither an operator nor the one who asked (or
    /// was asked for).
    pub fn cancel(mut self, actor: &Actor, now: Timestamp) -> Result<Self, RequestError> {
        self.check_waiting(now)?;
        let allowed = match actor {
            Actor::Operator(_) => true,
            Actor::Principal(name) => *name == self.principal,
        };
        if !allowed {
            return Err(RequestError::NotTheRequester {
                actor: actor.clone(),
                id: self.id,
                requester: self.requested_by,
            });
        }
        self.state = RequestState::Cancelled { by: actor.clone(), at: now };
        Ok(self)
    }

    /// Records that nobody answered in time; `None` when that is not so.
    pub fn expire(mut self, now: Timestamp) -> Option<Self> {
        if self.state != RequestState::Pending || now < self.expires {
            return None;
        }
        self.state = RequestState::Expired;
        Some(self)
    }

    fn check_waiting(&self, now: Timestamp) -> Result<(), RequestError> {
        match self.state_at(now) {
            RequestState::Pending => Ok(()),
            RequestState::Expired => {
                Err(RequestError::Expired { id: self.id.clone(), at: self.expires })
            }
            state => Err(RequestError::NotPending { id: self.id.clone(), state: state.word() }),
        }
    }

    fn check_decider(&self, actor: &Actor, rule: &ApprovalRule) -> Result<(), RequestError> {
        let own = *actor == self.requested_by
            || matches!(actor, Actor::Principal(name) if *name == self.principal);
        if !rule.admits(actor) {
            Err(RequestError::NotAnApprover(actor.clone()))
        } else if own {
            Err(RequestError::OwnRequest(actor.clone()))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
