//! What every connection needs.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::audit::redact;
use crate::session::news::Phase;
use crate::session::registry::Registry;
use crate::session::relay::{Entry, Shared};
use crate::store::Store;
use crate::wire::Limits;

/// What every connection needs. Immutable: a reload of the configuration makes another, and who connects
/// then gets that one.
pub(super) struct House {
    pub(super) store: Store,
    pub(super) registry: Arc<Registry>,
    pub(super) databases: Vec<Entry>,
    pub(super) shared: Arc<Shared>,
    pub(super) text_settings: redact::TextSettings,
    pub(super) parameter_settings: redact::ParameterSettings,
    pub(super) limits: Limits,
    pub(super) login_deadline: Duration,
    pub(super) sessions_max: usize,
    pub(super) sessions_per_principal_max: usize,
    pub(super) drain_deadline: Duration,
    pub(super) phase: watch::Receiver<Phase>,
}

/// The house as it stands.
pub(super) type Current = ArcSwap<House>;

impl House {
    /// The database of that name.
    pub(super) fn database(&self, name: &str) -> Option<&Entry> {
        self.databases.iter().find(|known| **known.name() == *name)
    }

    /// Whether statements could be served now.
    ///
    /// # Errors
    /// What is missing, a sentence.
    pub(super) fn readiness(&self) -> Result<(), String> {
        if *self.phase.borrow() != Phase::Serving {
            return Err("the proxy is shutting down".into());
        }
        if !self.shared.recorder.accepts() {
            return Err("the audit stream takes no records".into());
        }
        self.store.known()?;
        self.databases.iter().try_for_each(Entry::readiness)
    }
}
