//! What a machine asks for beside bytes: done here, mostly on tasks of their own.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::{FAREWELL, Running, say_goodbye};
use crate::session::call::{BoundCall, InBandCaller};
use crate::session::machine::KillOutcome;
use crate::session::news::Arrival;
use crate::session::output::Command as Wish;
use crate::session::registry::Command;
use crate::session::site::Site;
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
            Wish::OpenPrimary => self.open(Site::Primary, self.relay.target.clone()),
            Wish::OpenReplica(number) => {
                if let Some(target) = self.relay.replicas.get(number) {
                    self.replica = Some(number);
                    self.open(Site::Replica, target.clone());
                }
            }
            Wish::CloseReplica => {
                self.attempts[Site::Replica] += 1;
                self.backends[Site::Replica] = None;
                if let Some(server) = self.io.take_server(Site::Replica) {
                    tokio::task::spawn_local(timeout(FAREWELL, say_goodbye::<W>(server)));
                }
            }
            Wish::RefreshCatalog => {
                let database = Arc::clone(&self.relay.database);
                self.news
                    .spawn(async move { Arrival::Catalog(database.refresh_catalog().await.ok()) });
            }
            Wish::CancelUpstream(site) => {
                let (target, backend) = (self.service(site), self.backends[site].clone());
                self.news.spawn(async move {
                    if let (Some(target), Some(backend)) = (target, backend)
                        && let Err(error) = W::cancel(&target, &backend).await
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
            Wish::TerminateUpstream(site) => {
                let database = Arc::clone(&self.relay.database);
                let (target, backend) = (self.service(site), self.backends[site].clone());
                let principal = self.relay.caller.principal.clone();
                tokio::task::spawn_local(async move {
                    let (Some(target), Some(backend)) = (target, backend) else { return };
                    let account = (database.lock.as_ref(), &principal);
                    if let Err(error) = W::terminate(&target, account, &backend).await {
                        tracing::warn!(%error, "a backend that ignored a cancel could not be ended");
                    }
                });
            }
            Wish::Call(call) => self.call(call),
            Wish::CountRerun => {
                self.relay.shared.decisions.reruns.inc();
            }
        }
    }

    fn open(&mut self, site: Site, target: W::Target) {
        self.attempts[site] += 1;
        let attempt = self.attempts[site];
        let database = Arc::clone(&self.relay.database);
        let (principal, startup) =
            (self.relay.caller.principal.clone(), self.relay.startup.clone());
        self.news.spawn(async move {
            Arrival::Upstream(
                site,
                attempt,
                database.connect((site, &target), &principal, &startup).await,
            )
        });
    }

    /// A server, as the service account.
    fn service(&self, site: Site) -> Option<W::Target> {
        match site {
            Site::Primary => Some(self.relay.database.primary.clone()),
            Site::Replica => self.relay.database.replicas.get(self.replica?).cloned(),
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
