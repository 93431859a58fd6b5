//! Grants, requests and tokens, kept in one SQLite file, or in a PostgreSQL database that several
//! proxies share.
//!
//! Blocking work happens on threads of the store's own. After each commit, and before the call
//! that made it returns, the next immutable [`Snapshot`] is published; whoever decides or lets in reads
//! only that. A call whose caller stops waiting is run to its end all the same.

mod error;
mod file;
pub mod ids;
mod published;
mod rows;
mod shared;
mod sql;
mod sqlite;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use crate::grant::request::Request;
use crate::grant::snapshot::GrantSnapshot;
use crate::grant::{Actor, Grant, GrantId, RequestId, Revocation};
use crate::identity::token::{TokenSnapshot, TokenVerifier};
use crate::identity::{PrincipalName, TokenId};
use crate::time::Timestamp;
pub use error::{StoreError, UpdateError};
use published::{Changes, Published, load};
pub use shared::{Account, Dial};
use shared::{Asked, Follow, Shared};
use sql::Sql;
use sqlite::{Embedded, blame};
use worker::{Backend, State, Worker, aside};

/// Most live tokens of one principal: a login tries each.
pub const TOKENS_LIVE_MAX: usize = 16;

/// How long a token's verifiers are kept after its end, so that only a correct proof learns of it: 30
/// days.
pub const TOKENS_KEPT: Duration = Duration::from_hours(30 * 24);

/// Most waiting requests of one principal.
pub const REQUESTS_WAITING_MAX: usize = 50;

/// What is said while a shared store could not be read for too long.
const UNKNOWN: &str =
    "the proxy could not reach its store for too long, so it does not know who may do what";

/// Most entries of a list.
pub const LIST_MAX: u32 = 10_000;

/// What the proxy goes by, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grants, by caller.
    pub grants: Arc<GrantSnapshot>,
    /// Verifiers, by principal.
    pub tokens: Arc<TokenSnapshot>,
    /// Which change of a shared store it includes, and all before; 0 where nobody else makes any.
    revision: i64,
}

/// Which grants to list; all that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of this principal.
    pub principal: Option<PrincipalName>,
    /// On this database.
    pub database: Option<Box<str>>,
    /// That count at this moment.
    pub live_at: Option<Timestamp>,
    /// At most so many, the newest; [`LIST_MAX`] when not set.
    pub limit: Option<u32>,
}

/// Which requests to list; all that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// For this principal.
    pub principal: Option<PrincipalName>,
    /// On this database.
    pub database: Option<Box<str>>,
    /// That wait at this moment.
    pub pending_at: Option<Timestamp>,
    /// At most so many, the newest; [`LIST_MAX`] when not set.
    pub limit: Option<u32>,
}

/// What [`Store::purge`] did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Purged {
    /// Requests that nobody answered in time; now recorded as expired.
    pub requests: Vec<Request>,
    /// Grants that ran out since the last time; each is in it once, whatever was restarted in between.
    pub grants: Vec<Arc<Grant>>,
    /// How many tokens were forgotten.
    pub tokens: usize,
}

/// The store. Clones share their connections, which are closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    worker: Arc<Worker>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    follow: Option<Arc<Follow>>,
}

/// Follows what holds, for those who act on it long after they asked.
#[derive(Clone)]
pub struct Follower {
    /// Tells of every change.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    asked: Option<mpsc::WeakUnboundedSender<Asked>>,
}

impl Follower {
    /// Waits until the snapshot includes whatever any proxy committed before this was called. Whether
    /// that came about: not while the store cannot be read.
    pub async fn catch_up(&self) -> bool {
        let Some(asked) = &self.asked else { return true };
        let Some(asked) = asked.upgrade() else { return false };
        let (answer, answered) = oneshot::channel();
        let sent = asked.send(answer).is_ok();
        drop(asked);
        sent && answered.await.unwrap_or(false)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store that a path or `sqlite:PATH` names, and makes it, readable by its owner only,
    /// when there is none. Blocks.
    ///
    /// # Errors
    /// When others can read the file, another process has it open, it is damaged or of a later
    /// version, or the disk fails.
    pub fn open(url_or_path: &Path) -> Result<Self, StoreError> {
        Self::open_at(url_or_path, SystemTime::now().into())
    }

    /// As [`Store::open`], at a moment of the caller's choice: only grants that had not ended a day
    /// before it are in the first snapshot.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_at(url_or_path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let path = file::path_of(url_or_path)?;
        let mut file = Embedded::open(&path)?;
        let first = file.read(|sql| load(sql, now, 0)).map_err(|error| blame(&path, error))?;
        let (published, snapshots) = Published::new(first);
        let state = State { backend: Backend::Embedded(file), published };
        let worker = Worker::start(state).map_err(|source| StoreError::Io { path, source })?;
        Ok(Self { worker: Arc::new(worker), snapshots, follow: None })
    }

    /// Opens the store that several proxies share, and makes its tables where there are none. Blocks.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses us, or its schema is of something else or of a
    /// later version.
    pub fn open_shared(account: Account) -> Result<Self, StoreError> {
        Self::open_shared_at(account, SystemTime::now().into())
    }

    /// As [`Store::open_shared`], at a moment of the caller's choice.
    ///
    /// # Errors
    /// As [`Store::open_shared`].
    pub fn open_shared_at(account: Account, now: Timestamp) -> Result<Self, StoreError> {
        let account = Arc::new(account);
        aside(|| {
            let (shared, first) = Shared::open(&account, now)?;
            let (published, snapshots) = Published::new(first);
            let follow = Follow::start(&account, published.clone())?;
            let state = State { backend: Backend::Shared(Box::new(shared)), published };
            let path = (*account.address).into();
            let worker = Worker::start(state).map_err(|source| StoreError::Io { path, source })?;
            Ok(Self { worker: Arc::new(worker), snapshots, follow: Some(Arc::new(follow)) })
        })
    }

    /// Follows what holds.
    pub fn follower(&self) -> Follower {
        let asked = self.follow.as_ref().and_then(|follow| follow.asked());
        Follower { snapshots: self.snapshots.clone(), asked }
    }

    /// Whether it is known what holds: not when a shared store could not be read for too long.
    ///
    /// # Errors
    /// A sentence.
    pub fn known(&self) -> Result<(), &'static str> {
        if self.snapshots.borrow().grants.is_known() { Ok(()) } else { Err(UNKNOWN) }
    }

    /// What holds now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Tells of every change.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Keeps a new token's verifiers.
    ///
    /// # Errors
    /// When its principal has [`TOKENS_LIVE_MAX`] live ones already, or its id is taken.
    pub async fn add_token(&self, token: TokenVerifier) -> Result<Arc<TokenVerifier>, StoreError> {
        self.change(move |sql, changes| {
            let live = rows::live_tokens(sql, &token.principal, token.issued)?;
            if live >= TOKENS_LIVE_MAX {
                return Err(StoreError::TooManyTokens(token.principal.clone()));
            }
            rows::insert_token(sql, &token).map_err(|error| taken(&token.id.0, error))?;
            let token = Arc::new(token);
            changes.tokens.push(Arc::clone(&token));
            Ok(token)
        })
        .await
    }

    /// Every token that is kept, live or not, newest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn tokens(&self) -> Result<Vec<Arc<TokenVerifier>>, StoreError> {
        self.worker.run(|state| state.read(rows::tokens)).await?
    }

    /// Takes a token back. An expired one can be, too: that ends its sessions.
    ///
    /// # Errors
    /// When there is none of that name, or it was revoked before.
    pub async fn revoke_token(
        &self,
        id: &TokenId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Arc<TokenVerifier>, StoreError> {
        let (id, by) = (id.clone(), by.to_string());
        self.change(move |sql, changes| {
            let Some(mut token) = rows::token(sql, &id)? else {
                return Err(StoreError::NoToken(id));
            };
            if let Some(at) = token.revoked {
                return Err(StoreError::TokenRevoked { id, at });
            }
            rows::revoke_token(sql, &id, &by, now)?;
            token.revoked = Some(now);
            let token = Arc::new(token);
            changes.tokens.push(Arc::clone(&token));
            Ok(token)
        })
        .await
    }

    /// Keeps a new grant.
    ///
    /// # Errors
    /// When [`Grant::check`] refuses it, or its id is taken.
    pub async fn create_grant(&self, grant: Grant) -> Result<Arc<Grant>, StoreError> {
        grant.check()?;
        self.change(move |sql, changes| {
            rows::insert_grant(sql, &grant).map_err(|error| taken(&grant.id.0, error))?;
            let grant = Arc::new(grant);
            changes.grants.push(Arc::clone(&grant));
            Ok(grant)
        })
        .await
    }

    /// Grants, ended ones too, newest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn grants(&self, filter: GrantFilter) -> Result<Vec<Arc<Grant>>, StoreError> {
        let list = self.worker.run(move |state| state.read(|sql| rows::grants(sql, &filter)));
        list.await?
    }

    /// One grant.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn grant(&self, id: &GrantId) -> Result<Arc<Grant>, StoreError> {
        let wanted = id.clone();
        let found = self.worker.run(move |state| state.read(|sql| rows::grant(sql, &wanted)));
        found.await??.map(Arc::new).ok_or_else(|| StoreError::NoGrant(id.clone()))
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// When there is none of that name, or it has ended.
    pub async fn revoke_grant(
        &self,
        id: &GrantId,
        revocation: Revocation,
    ) -> Result<Arc<Grant>, StoreError> {
        let id = id.clone();
        self.change(move |sql, changes| {
            let Some(mut grant) = rows::grant(sql, &id)? else {
                return Err(StoreError::NoGrant(id));
            };
            let now = revocation.at;
            if grant.revoked.is_some() || grant.expires <= now {
                return Err(StoreError::GrantEnded { id, at: grant.ends() });
            }
            rows::revoke_grant(sql, &id, &revocation)?;
            grant.revoked = Some(revocation);
            let grant = Arc::new(grant);
            changes.grants.push(Arc::clone(&grant));
            Ok(grant)
        })
        .await
    }

    /// Keeps a new request.
    ///
    /// # Errors
    /// When its principal has [`REQUESTS_WAITING_MAX`] waiting ones already, or its id is taken.
    pub async fn create_request(&self, request: Request) -> Result<Request, StoreError> {
        self.change(move |sql, _| {
            let (principal, now) = (&request.principal, request.created);
            if rows::waiting_requests(sql, principal, now)? >= REQUESTS_WAITING_MAX {
                return Err(StoreError::TooManyRequests(principal.clone()));
            }
            rows::insert_request(sql, &request).map_err(|error| taken(&request.id.0, error))?;
            Ok(request)
        })
        .await
    }

    /// Requests, answered ones too, newest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn requests(&self, filter: RequestFilter) -> Result<Vec<Request>, StoreError> {
        let list = self.worker.run(move |state| state.read(|sql| rows::requests(sql, &filter)));
        list.await?
    }

    /// One request.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn request(&self, id: &RequestId) -> Result<Request, StoreError> {
        let wanted = id.clone();
        let found = self.worker.run(move |state| state.read(|sql| rows::request(sql, &wanted)));
        found.await??.ok_or_else(|| StoreError::NoRequest(id.clone()))
    }

    /// Changes the state of a request, and keeps the grant that comes of it, in one transaction: of
    /// two that try, the second sees what the first has done. Only the state is kept of the request that
    /// `transition` returns.
    ///
    /// # Errors
    /// What `transition` refuses, and when there is no such request or the grant cannot be kept.
    pub async fn update_request<E, F>(
        &self,
        id: &RequestId,
        transition: F,
    ) -> Result<(Request, Option<Arc<Grant>>), UpdateError<E>>
    where
        F: FnOnce(Request) -> Result<(Request, Option<Grant>), E> + Send + 'static,
        E: Send + 'static,
    {
        let id = id.clone();
        self.change(move |sql, changes| {
            let Some(request) = rows::request(sql, &id)? else {
                return Err(StoreError::NoRequest(id).into());
            };
            let (request, grant) = transition(request).map_err(UpdateError::Refused)?;
            rows::update_request(sql, &Request { id, ..request.clone() })?;
            let Some(grant) = grant else { return Ok((request, None)) };
            grant.check()?;
            rows::insert_grant(sql, &grant).map_err(|error| taken(&grant.id.0, error))?;
            let grant = Arc::new(grant);
            changes.grants.push(Arc::clone(&grant));
            Ok((request, Some(grant)))
        })
        .await
    }

    /// Records which requests have expired, tells which grants have, forgets tokens that ended [`TOKENS_KEPT`] ago, and takes
    /// grants that ended long ago out of the snapshot. To be called now and then.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn purge(&self, now: Timestamp) -> Result<Purged, StoreError> {
        self.change(move |sql, changes| {
            let mut purged = Purged::default();
            for request in rows::overdue_requests(sql, now)? {
                if let Some(request) = request.expire(now) {
                    rows::update_request(sql, &request)?;
                    purged.requests.push(request);
                }
            }
            purged.grants = rows::newly_expired_grants(sql, now)?;
            let kept = u64::try_from(TOKENS_KEPT.as_micros()).unwrap_or(u64::MAX);
            let ended = Timestamp::from_micros(now.micros().saturating_sub(kept));
            let deleted = rows::delete_tokens(sql, ended)?;
            purged.tokens = usize::try_from(deleted).unwrap_or(usize::MAX);
            changes.tokens_deleted = purged.tokens > 0;
            changes.prune = Some(now);
            Ok(purged)
        })
        .await
    }

    async fn change<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&dyn Sql, &mut Changes) -> Result<T, E> + Send + 'static,
    {
        self.worker.run(move |state| state.change(work)).await?
    }
}

/// Says so when the failure is that the name is taken.
fn taken(id: &str, error: StoreError) -> StoreError {
    const UNIQUE_VIOLATION: &str = "23505";
    let is_taken = match &error {
        StoreError::Sqlite(error) => {
            let primary_key = rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY;
            error.sqlite_error().is_some_and(|error| error.extended_code == primary_key)
        }
        StoreError::Server { sqlstate, .. } => **sqlstate == *UNIQUE_VIOLATION,
        _ => false,
    };
    if is_taken { StoreError::Duplicate(id.into()) } else { error }
}

#[cfg(test)]
mod tests;
