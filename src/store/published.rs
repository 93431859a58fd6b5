//! The snapshot that everybody goes by, and how it follows the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::error::StoreError;
use super::sql::Sql;
use super::{Snapshot, rows};
use crate::grant::Grant;
use crate::grant::snapshot::{ENDED_KEPT, GrantSnapshot};
use crate::identity::PrincipalName;
use crate::identity::token::{TokenSnapshot, TokenVerifier};
use crate::time::Timestamp;

/// What transactions changed, so that the snapshot can follow.
#[derive(Default)]
pub struct Changes {
    pub grants: Vec<Arc<Grant>>,
    pub tokens: Vec<Arc<TokenVerifier>>,
    /// Tokens were deleted.
    pub tokens_deleted: bool,
    /// Grants that ended long before this moment may go.
    pub prune: Option<Timestamp>,
}

/// What the snapshot is to take over.
#[derive(Default)]
pub struct News {
    pub grants: Vec<Arc<Grant>>,
    pub tokens: Vec<Arc<TokenVerifier>>,
    /// All there are, where some are gone.
    pub all_tokens: Option<Vec<Arc<TokenVerifier>>>,
    pub prune: Option<Timestamp>,
}

impl Changes {
    /// Whether other proxies have to hear of it.
    pub fn is_news(&self) -> bool {
        !self.grants.is_empty() || !self.tokens.is_empty() || self.tokens_deleted
    }

    /// What a store of ours alone takes over. Read before the commit: after it, nothing may fail.
    pub fn into_news(self, sql: &dyn Sql) -> Result<News, StoreError> {
        let Self { grants, tokens, tokens_deleted, prune } = self;
        let all_tokens = tokens_deleted.then(|| rows::tokens(sql)).transpose()?;
        Ok(News { grants, tokens, all_tokens, prune })
    }
}

/// Everything that the first snapshot needs.
pub fn load(sql: &dyn Sql, now: Timestamp, revision: i64) -> Result<Snapshot, StoreError> {
    let grants = GrantSnapshot::new(rows::grants_since(sql, kept_since(now))?, now);
    let tokens = TokenSnapshot {
        store_key: rows::store_key(sql)?,
        by_principal: by_principal(rows::tokens(sql)?),
    };
    Ok(Snapshot { grants: Arc::new(grants), tokens: Arc::new(tokens), revision })
}

/// Grants that ended before it are of no use to a denial.
pub fn kept_since(now: Timestamp) -> Timestamp {
    let kept = u64::try_from(ENDED_KEPT.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(kept))
}

/// The snapshot, and who may replace it: one at a time.
#[derive(Clone)]
pub struct Published {
    sender: watch::Sender<Arc<Snapshot>>,
    turn: Arc<Mutex<()>>,
}

impl Published {
    pub fn new(first: Snapshot) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let (sender, receiver) = watch::channel(Arc::new(first));
        (Self { sender, turn: Arc::default() }, receiver)
    }

    pub fn revision(&self) -> i64 {
        self.sender.borrow().revision
    }

    /// Takes over what was read at that revision. What was read after an earlier one stays, so it
    /// never goes back.
    pub fn publish(&self, news: News, revision: i64) {
        self.replace(|next| {
            let News { grants, tokens, all_tokens, prune } = news;
            let newer = revision > next.revision || next.revision == 0;
            let mut changed = false;
            if newer {
                changed = !grants.is_empty() || !tokens.is_empty() || all_tokens.is_some();
                next.revision = revision;
                take_over(next, &grants, tokens, all_tokens);
            }
            if let Some(pruned) = prune.and_then(|now| next.grants.pruned(now)) {
                next.grants = Arc::new(pruned);
                changed = true;
            }
            changed || (newer && revision > 0)
        });
    }

    /// From now on nobody knows what holds, or does again. Whether that is news.
    pub fn set_known(&self, known: bool) -> bool {
        self.replace(|next| {
            let differs = next.grants.is_known() != known;
            if differs {
                next.grants = Arc::new(next.grants.known(known));
            }
            differs
        })
    }

    fn replace(&self, step: impl FnOnce(&mut Snapshot) -> bool) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&self.sender.borrow());
        let replaced = step(&mut next);
        if replaced {
            self.sender.send_replace(Arc::new(next));
        }
        replaced
    }
}

fn take_over(
    next: &mut Snapshot,
    grants: &[Arc<Grant>],
    changed: Vec<Arc<TokenVerifier>>,
    all_tokens: Option<Vec<Arc<TokenVerifier>>>,
) {
    if !grants.is_empty() {
        next.grants = Arc::new(next.grants.with(grants));
    }
    if !changed.is_empty() {
        let mut tokens = TokenSnapshot::clone(&next.tokens);
        for token in changed {
            let own = tokens.by_principal.entry(token.principal.clone()).or_default();
            own.retain(|other| other.id != token.id);
            own.push(token);
            own.sort_by(|a, b| (b.issued, &a.id).cmp(&(a.issued, &b.id)));
        }
        next.tokens = Arc::new(tokens);
    }
    if let Some(tokens) = all_tokens {
        let store_key = next.tokens.store_key.clone();
        next.tokens = Arc::new(TokenSnapshot { store_key, by_principal: by_principal(tokens) });
    }
}

fn by_principal(
    tokens: Vec<Arc<TokenVerifier>>,
) -> HashMap<PrincipalName, Vec<Arc<TokenVerifier>>> {
    let mut lists: HashMap<_, Vec<_>> = HashMap::new();
    for token in tokens {
        lists.entry(token.principal.clone()).or_default().push(token);
    }
    lists
}
