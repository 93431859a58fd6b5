//! The store, embedded and shared, through its API alone: the same rules for both.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod rules;
mod several;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daypass::store::{Account, Store, StoreError};
use daypass::time::Timestamp;
use daypass::upstream::{Target, dial};
use support::{Options, Postgres};
use tempfile::TempDir;

/// Where a store is kept.
pub(crate) enum Place {
    Embedded(TempDir),
    Shared(Postgres),
}

impl Place {
    pub(crate) fn embedded() -> Self {
        Self::Embedded(TempDir::new().unwrap())
    }

    /// An empty database, and an account that owns it and is nothing else.
    pub(crate) fn shared() -> Self {
        let server = Postgres::start(Options::default());
        server.sql("CREATE ROLE keeper LOGIN");
        server.sql("CREATE DATABASE store OWNER keeper");
        Self::Shared(server)
    }

    pub(crate) fn server(&mut self) -> &mut Postgres {
        match self {
            Self::Shared(server) => server,
            Self::Embedded(_) => panic!("a file has no server"),
        }
    }

    pub(crate) fn account(&self, stale_after: Duration) -> Account {
        let Self::Shared(server) = self else { panic!("a file has no account") };
        let target = Target::parse(&server.url("keeper", "store"), &PathBuf::new()).unwrap();
        Account {
            dial: Arc::new(move || {
                let target = target.clone();
                Box::pin(async move { dial(&target).await.map_err(|error| error.to_string()) })
            }),
            address: "the test's".into(),
            user: "keeper".into(),
            database: "store".into(),
            password: None,
            stale_after,
        }
    }

    pub(crate) fn try_open(&self, now: Timestamp) -> Result<Store, StoreError> {
        match self {
            Self::Embedded(folder) => Store::open_at(&folder.path().join("daypass.db"), now),
            Self::Shared(_) => Store::open_shared_at(self.account(Duration::from_secs(60)), now),
        }
    }

    pub(crate) fn open(&self, now: Timestamp) -> Store {
        self.try_open(now).unwrap()
    }

    /// Another proxy's, where there can be one.
    pub(crate) fn peer(&self, store: &Store) -> Store {
        match self {
            Self::Embedded(_) => store.clone(),
            Self::Shared(_) => self.open(rules::at(0)),
        }
    }
}

macro_rules! of_every_store {
    ($($rule:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $rule() {
                super::rules::$rule(super::Place::embedded()).await;
            })+
        }

        mod shared {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $rule() {
                super::rules::$rule(super::Place::shared()).await;
            })+
        }
    };
}

of_every_store!(
    all_that_it_keeps_is_there_after_reopening,
    of_many_approvals_at_once_exactly_one_wins,
    a_change_is_published_before_the_call_returns_and_heard_of,
    a_transition_that_refuses_or_fails_changes_nothing,
    what_cannot_be_is_refused,
    a_principal_has_so_many_live_tokens_and_waiting_requests,
    purging_expires_requests_and_forgets_old_tokens,
    lists_are_filtered_newest_first,
    no_debug_output_or_error_has_a_secret,
);
