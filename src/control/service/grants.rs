//! Grants: made by operators without a request, or by the approval of one.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::record::Kind;
use crate::control::error::ControlError;
use crate::control::model::{CreateGrant, GrantInfo, GrantState};
use crate::grant::{Actor, Grant, GrantError, GrantId, LIFE, Revocation, check_line};
use crate::store::{GrantFilter, ids};
use crate::time::Timestamp;
use crate::time::duration::{self, Bounds};

use super::{Service, from_store, operators_only, principal_name};

impl Service {
    /// Makes a grant. It counts in every session at once.
    ///
    /// # Errors
    /// When the actor may not, or something of it makes no sense or would not be held to.
    pub async fn create_grant(
        &self,
        actor: &Actor,
        wish: CreateGrant,
    ) -> Result<GrantInfo, ControlError> {
        operators_only(actor, "make grants")?;
        self.recordable()?;
        let privileges = self.privileges(&wish.privileges, &wish.database)?;
        let duration = self.duration(&wish.duration)?;
        let now = self.now();
        let not_before = wish.not_before.unwrap_or(now);
        self.rules().check_route(wish.route, &wish.database).map_err(invalid)?;
        let grant = Grant {
            id: new_grant_id()?,
            principal: principal_name(&wish.principal)?,
            database: wish.database.into(),
            privileges,
            not_before,
            expires: not_before + duration,
            reason: wish.reason.into(),
            ticket: wish.ticket.map(Into::into),
            approvers: vec![actor.to_string().into()],
            request: None,
            limits: wish.limits.unwrap_or_default(),
            row_filter: wish.row_filter.map(Into::into),
            route: wish.route,
            created: now,
            revoked: None,
        };
        if grant.expires <= now {
            return Err(ControlError::invalid("the grant would have ended already"));
        }
        let grant = self.store().create_grant(grant).await.map_err(from_store)?;
        self.record_grant("created", actor, &grant);
        self.flushed().await;
        Ok(self.grant_info(&grant))
    }

    /// Grants: an operator sees all, a principal its own. Ended ones only when asked for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn grants(&self, actor: &Actor, all: bool) -> Result<Vec<GrantInfo>, ControlError> {
        let filter = GrantFilter {
            principal: match actor {
                Actor::Operator(_) => None,
                Actor::Principal(name) => Some(name.clone()),
            },
            live_at: (!all).then(|| self.now()),
            ..GrantFilter::default()
        };
        let grants = self.store().grants(filter).await.map_err(from_store)?;
        Ok(grants.iter().map(|grant| self.grant_info(grant)).collect())
    }

    /// One grant.
    ///
    /// # Errors
    /// When there is none, or it is not the actor's to see.
    pub async fn grant(&self, actor: &Actor, id: &str) -> Result<GrantInfo, ControlError> {
        self.own_grant(actor, id).await.map(|grant| self.grant_info(&grant))
    }

    async fn own_grant(&self, actor: &Actor, id: &str) -> Result<Arc<Grant>, ControlError> {
        let grant = self.store().grant(&GrantId(id.into())).await.map_err(from_store)?;
        match actor {
            Actor::Principal(name) if grant.principal != *name => {
                Err(ControlError::not_found(format!("there is no grant {}", grant.id)))
            }
            _ => Ok(grant),
        }
    }

    /// Takes a grant back: its next statement is refused, a running one is cancelled.
    ///
    /// # Errors
    /// When there is none, it has ended, or it is not the actor's.
    pub async fn revoke_grant(
        &self,
        actor: &Actor,
        id: &str,
        reason: Option<String>,
    ) -> Result<GrantInfo, ControlError> {
        if let Some(reason) = &reason {
            check_line(reason).map_err(invalid)?;
        }
        let grant = self.own_grant(actor, id).await?;
        let revocation = Revocation {
            at: self.now(),
            by: actor.to_string().into(),
            reason: reason.map(Into::into),
        };
        let grant = self.store().revoke_grant(&grant.id, revocation).await.map_err(from_store)?;
        self.record_grant("revoked", actor, &grant);
        self.flushed().await;
        Ok(self.grant_info(&grant))
    }

    pub(super) fn record_grant(&self, event: &'static str, actor: &Actor, grant: &Grant) {
        self.record(Kind::Grant, event, Some(actor), |record| {
            self.describe_grant(record, grant);
            // What the actor says about this step, where it says something.
            if let Some(Revocation { reason: Some(reason), .. }) = &grant.revoked {
                record.reason = Some(reason.as_ref().into());
            }
        });
    }

    pub(super) fn duration(&self, text: &str) -> Result<Duration, ControlError> {
        let bounds = Bounds { max: self.rules.load().duration_max.min(LIFE.max), ..LIFE };
        duration::parse(text, &bounds).map_err(|error| ControlError::invalid(error.to_string()))
    }

    pub(super) fn grant_info(&self, grant: &Grant) -> GrantInfo {
        GrantInfo {
            id: grant.id.to_string(),
            principal: grant.principal.to_string(),
            database: grant.database.to_string(),
            state: state(grant, self.now()),
            privileges: self.texts(&grant.privileges, &grant.database),
            route: grant.route,
            not_before: grant.not_before,
            expires: grant.expires,
            reason: grant.reason.to_string(),
            ticket: grant.ticket.as_deref().map(str::to_owned),
            approvers: grant.approvers.iter().map(ToString::to_string).collect(),
            request: grant.request.as_ref().map(ToString::to_string),
            created: grant.created,
            revoked: grant.revoked.clone(),
        }
    }
}

fn invalid(error: GrantError) -> ControlError {
    ControlError::invalid(error.to_string())
}

pub(super) fn new_grant_id() -> Result<GrantId, ControlError> {
    let id = ids::new_id("g_");
    let id = id.map_err(|_| ControlError::unavailable("the system gives no randomness"))?;
    Ok(GrantId(id.into()))
}

fn state(grant: &Grant, now: Timestamp) -> GrantState {
    if grant.revoked.is_some() {
        GrantState::Revoked
    } else if grant.is_live(now) {
        GrantState::Live
    } else if now < grant.not_before {
        GrantState::Future
    } else {
        GrantState::Expired
    }
}
