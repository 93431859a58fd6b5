//! Tokens: issued by operators, revoked by them or by their holders.

use crate::audit::record::{Kind, Who};
use crate::control::error::ControlError;
use crate::control::model::{IssueToken, TokenInfo, TokenState};
use crate::grant::Actor;
use crate::identity::TokenId;
use crate::identity::token::{Token, TokenVerifier};
use crate::store::ids;
use crate::time::Timestamp;
use crate::time::duration::{self, Bounds};

use super::{Service, from_store, operators_only, principal_name};

impl Service {
    /// Issues a token. The token itself is shown this once, and kept nowhere.
    ///
    /// # Errors
    /// When the actor may not, or the name or the duration makes no sense.
    pub async fn issue_token(
        &self,
        actor: &Actor,
        wish: IssueToken,
    ) -> Result<(Token, TokenInfo), ControlError> {
        operators_only(actor, "issue tokens")?;
        self.recordable()?;
        let principal = principal_name(&wish.principal)?;
        let rules = self.rules();
        let ttl = match &wish.ttl {
            Some(text) => {
                let bounds =
                    Bounds { what: "a token lives", min: duration::SHORTEST, max: rules.ttl_max };
                duration::parse(text, &bounds)
                    .map_err(|error| ControlError::invalid(error.to_string()))?
            }
            None => rules.ttl_default,
        };
        let unlucky = |_| ControlError::unavailable("the system gives no randomness");
        let random = ids::random::<{ Token::RANDOM_BYTES }>().map_err(unlucky)?;
        let id = TokenId(ids::new_id("t_").map_err(unlucky)?.into());
        let (now, issuer) = (self.now(), actor.to_string());
        let store_key = self.store().snapshot().tokens.store_key.clone();
        // PBKDF2 takes milliseconds, which the sessions of a thread should not wait for.
        let made = tokio::task::spawn_blocking(move || {
            let token = Token::generate(&random);
            let verifier =
                TokenVerifier::issue(&token, id, principal, &issuer, now, now + ttl, &store_key);
            (token, verifier)
        });
        let (token, verifier) =
            made.await.map_err(|_| ControlError::unavailable("the proxy is shutting down"))?;
        let verifier = self.store().add_token(verifier).await.map_err(from_store)?;
        self.record_token("issued", actor, &verifier);
        self.flushed().await;
        Ok((token, self.token_info(&verifier)))
    }

    /// Tokens: an operator sees all, a principal its own. Ended ones only when asked for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tokens(&self, actor: &Actor, all: bool) -> Result<Vec<TokenInfo>, ControlError> {
        let now = self.now();
        let tokens = self.store().tokens().await.map_err(from_store)?;
        let own = |token: &TokenVerifier| match actor {
            Actor::Operator(_) => true,
            Actor::Principal(name) => token.principal == *name,
        };
        let wanted = tokens.iter().filter(|token| own(token) && (all || token.is_live(now)));
        Ok(wanted.map(|token| self.token_info(token)).collect())
    }

    /// Takes a token back, and ends its sessions.
    ///
    /// # Errors
    /// When there is no such token, or the actor may not.
    pub async fn revoke_token(&self, actor: &Actor, id: &str) -> Result<TokenInfo, ControlError> {
        let id = TokenId(id.into());
        if let Actor::Principal(name) = actor {
            let tokens = self.store().tokens().await.map_err(from_store)?;
            if !tokens.iter().any(|token| token.id == id && token.principal == *name) {
                return Err(ControlError::not_found(format!("there is no token {id}")));
            }
        }
        let verifier =
            self.store().revoke_token(&id, actor, self.now()).await.map_err(from_store)?;
        self.record_token("revoked", actor, &verifier);
        self.flushed().await;
        Ok(self.token_info(&verifier))
    }

    fn record_token(&self, event: &'static str, actor: &Actor, verifier: &TokenVerifier) {
        self.record(Kind::Token, event, Some(actor), |record| {
            record.concern(Who {
                principal: Some(verifier.principal.as_str().into()),
                token: Some((*verifier.id.0).into()),
                ..Who::default()
            });
            record.expires = Some(verifier.expires);
        });
    }

    fn token_info(&self, verifier: &TokenVerifier) -> TokenInfo {
        TokenInfo {
            id: verifier.id.to_string(),
            principal: verifier.principal.to_string(),
            state: state(verifier, self.now()),
            issued_by: verifier.issued_by.to_string(),
            issued: verifier.issued,
            expires: verifier.expires,
            revoked: verifier.revoked,
        }
    }
}

fn state(verifier: &TokenVerifier, now: Timestamp) -> TokenState {
    if verifier.revoked.is_some() {
        TokenState::Revoked
    } else if verifier.is_live(now) {
        TokenState::Live
    } else {
        TokenState::Expired
    }
}
