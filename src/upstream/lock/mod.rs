//! The second lock, as far as it is the same for every engine: what sessions hold of it, how far it is, and the
//! task that keeps it. What differs is a [`Kind`]: roles on PostgreSQL, accounts on MySQL and MariaDB.
//!
//! `progress` and `finding` are pure.

mod finding;
mod handle;
mod keeper;
mod progress;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use finding::{Finding, Weight};
pub use handle::Lock;
pub use keeper::Goal;
pub use progress::{Due, Progress, Stamp};

use super::catalogs::Source;
use super::error::UpstreamError;
use crate::grant::{Grant, GrantId};
use crate::route::Position;
use crate::time::Timestamp;

/// One engine's second lock. A value of it is what its keeper knows from one attempt to the next, its connection
/// included. "Role" means whatever a principal's sessions log in as.
pub trait Kind: Send + Sized + 'static {
    /// A server, and who logs in.
    type Target: Source + Clone;
    /// What a lock is for.
    type Settings: PartialEq + Send + Sync + 'static;
    /// What roles are called.
    type Names: Send + Sync + 'static;
    /// What a session asks for at its login.
    type Startup: Sync;
    /// A session's connection.
    type Connection: Send;
    /// What live grants want.
    type Wanted: Default + Send + Sync;
    /// What an attempt has brought about.
    type Done: Send;

    /// What an attempt does, for errors.
    const WORK: &'static str;
    /// Nothing can be brought in line before the server's names are known.
    const NEEDS_CATALOG: bool;

    /// A keeper's beginning.
    fn new(settings: &Arc<Self::Settings>, names: &Arc<Self::Names>) -> Self;

    /// The entry of the configuration.
    fn entry(settings: &Self::Settings) -> &Arc<str>;

    /// How often everything is looked at again.
    fn interval(settings: &Self::Settings) -> Duration;

    /// What roles are called.
    fn names(settings: &Self::Settings) -> Self::Names;

    /// What two keepers of the same roles have in common, and no others.
    fn whose(settings: &Self::Settings, names: &Self::Names) -> String;

    /// Whether both keep the same roles of the same server.
    fn same_roles(one: &Self::Settings, other: &Self::Settings) -> bool;

    /// The role that a principal's sessions log in as.
    fn role(names: &Self::Names, principal: &str) -> String;

    /// The server, logged in to as a role.
    fn as_role(
        target: &Self::Target,
        names: &Self::Names,
        progress: &Progress,
        role: String,
    ) -> Self::Target;

    /// Connects as a role.
    fn connect(
        settings: &Self::Settings,
        login: &Self::Target,
        startup: &Self::Startup,
    ) -> impl Future<Output = Result<Self::Connection, UpstreamError>> + Send;

    /// Whether the server did not take the role, so that somebody may have changed it.
    fn is_refused(error: &UpstreamError) -> bool;

    /// What grants of the entry want, of which some may not be live.
    fn wanted<'g>(
        settings: &Self::Settings,
        names: &Self::Names,
        grants: impl Iterator<Item = &'g Arc<Grant>>,
        now: Timestamp,
    ) -> Self::Wanted;

    /// The grants that something is wanted for.
    fn grants(wanted: &Self::Wanted) -> HashSet<GrantId>;

    /// The catalog as sessions see it.
    fn shown(catalog: Arc<CatalogOf<Self>>) -> Arc<CatalogOf<Self>>;

    /// Has the role's password set anew by the next attempt.
    fn reset(&mut self, role: &str);

    /// Whether there is a connection from an earlier attempt, which may have broken since.
    fn is_connected(&self) -> bool;

    /// Brings the server in line once. A connection that fails or is given up half-way must not stay.
    fn attempt(
        &mut self,
        goal: &mut Goal<'_, Self>,
        catalog: Option<&Arc<CatalogOf<Self>>>,
    ) -> impl Future<Output = Result<Self::Done, UpstreamError>> + Send;

    /// Whether another attempt may go well soon: somebody else was at the same things.
    fn is_passing(error: &UpstreamError) -> bool;

    /// Takes note of what an attempt has brought about, and says how far the roles are.
    fn finish(
        &mut self,
        wanted: &Self::Wanted,
        version: Option<u64>,
        done: Self::Done,
    ) -> impl Future<Output = Outcome> + Send;

    /// How far the primary is by now; `None` when it keeps no count.
    fn position(&mut self) -> impl Future<Output = Result<Option<Position>, UpstreamError>> + Send;

    /// Says goodbye.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

/// The names that an engine's servers have.
pub type CatalogOf<K> = <<K as Kind>::Target as Source>::Catalog;

/// How an attempt went that came to its end.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How far the roles are. The grants and their epoch are filled in by whoever asked.
    pub progress: Progress,
    /// Something was left that another attempt would mend, soon and not only with the next sweep.
    pub again: bool,
    /// How long it took to look at everything.
    pub took: Duration,
    /// Something was changed on the server.
    pub changed: bool,
    /// Roles that were there and are not dropped.
    pub left: usize,
}
