//! What a machine asks for beside bytes: done here, mostly on tasks of their own.

use std::sync::Arc;

use tokio::time::Instant;

use super::{FAREWELL, Running};
use crate::session::call::{BoundCall, InBandCaller};
use crate::session::machine::KillOutcome;
use crate::session::news::Arrival;
use crate::session::output::Command as Wish;
use crate::session::registry::Command;
use crate::session::wire::Wire;

impl<W: Wire> Running<W> {
    pub(super) fn grant_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Close => {
                self.closing = Some(Instant::now() + FAREWELL);
            }
            Wish::Depart(wish) => {
                self.departs = Some(wish);
                self.reason = "the client logs in anew";
                self.closing = Some(Instant::now() + FAREWELL);
            }
            Wish::OpenUpstream => {
                let database = Arc::clone(&self.relay.database);
                let (target, startup) = (self.relay.target.clone(), self.relay.startup.clone());
                let principal = self.relay.caller.principal.clone();
                self.news.spawn(async move {
                    Arrival::Upstream(database.connect(&target, &principal, &startup).await)
                });
            }
            Wish::RefreshCatalog => {
                let database = Arc::clone(&self.relay.database);
                self.news
                    .spawn(async move { Arrival::Catalog(database.refresh_catalog().await.ok()) });
            }
            Wish::CancelUpstream => {
                let (database, backend) = (Arc::clone(&self.relay.database), self.backend.clone());
                self.news.spawn(async move {
                    if let Some(backend) = backend
                        && let Err(error) = W::cancel(&database.primary, &backend).await
                    {
                        tracing::warn!(%error, "a cancel did not reach the server");
                    }
                    Arrival::CancelDone
                });
            }
            Wish::Kill { connection, query } => {
                let outcome = self.kill(connection, query);
                self.news.spawn(async move { Arrival::Killed(outcome) });
            }
            Wish::TerminateUpstream => {
                let (database, backend) = (Arc::clone(&self.relay.database), self.backend.clone());
                let principal = self.relay.caller.principal.clone();
                tokio::task::spawn_local(async move {
                    let Some(backend) = backend else { return };
                    let account = (database.lock.as_ref(), &principal);
                    if let Err(error) = W::terminate(&database.primary, account, &backend).await {
                        tracing::warn!(%error, "a backend that ignored a cancel could not be ended");
                    }
                });
            }
            Wish::Call(call) => self.call(call),
        }
    }

    fn kill(&self, connection: u64, query: bool) -> KillOutcome {
        let InBandCaller { principal, database, .. } = &self.relay.caller;
        let command =
            if query { Command::Cancel } else { Command::Kill { by: principal.as_str().into() } };
        let registry = &self.relay.shared.registry;
        if registry.tell_numbered((principal.as_str(), database), connection, command) {
            KillOutcome::Done
        } else {
            KillOutcome::Unknown
        }
    }

    fn call(&self, call: BoundCall) {
        let calls = Arc::clone(&self.relay.shared.calls);
        let caller = self.relay.caller.clone();
        self.news.spawn(async move { Arrival::Call(calls.call(&caller, &call).await) });
    }
}
