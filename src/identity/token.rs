//! Tokens as the proxy keeps them: verifiers, never the token.

use std::collections::HashMap;
use std::sync::Arc;

use super::{PrincipalName, TokenId};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What is kept of a token that was issued: enough to check a proof of it on either engine's wire,
/// not enough to make one.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    /// Its public name.
    pub id: TokenId,
    /// Whose it is.
    pub principal: PrincipalName,
    /// Who issued it: `local:root`.
    pub issued_by: Box<str>,
    /// When.
    pub issued: Timestamp,
    /// From then on it refuses new logins.
    pub expires: Timestamp,
    /// When it was taken back.
    pub revoked: Option<Timestamp>,
    /// SCRAM-SHA-256 StoredKey (RFC 5802, 3), 32 bytes.
    pub scram_stored_key: Secret,
    /// SCRAM-SHA-256 ServerKey, 32 bytes.
    pub scram_server_key: Secret,
    /// SHA-256 of SHA-256 of the token: MySQL's `caching_sha2_password`, 32 bytes.
    pub caching_sha2: Secret,
    /// SHA-1 of SHA-1 of the token: MySQL's `mysql_native_password`, 20 bytes.
    pub native: Secret,
}

impl TokenVerifier {
    /// Whether it logs in at that moment.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

/// Every verifier, live or not, at one moment. Replaced as a whole when one changes.
#[derive(Clone, Debug)]
pub struct TokenSnapshot {
    /// Key of the store, from which each principal's salt is derived.
    pub store_key: Secret,
    /// By principal, newest first.
    pub by_principal: HashMap<PrincipalName, Vec<Arc<TokenVerifier>>>,
}
