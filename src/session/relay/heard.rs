//! What a session hears from elsewhere: operators, grants, names, rights, and what it has asked for.

use std::sync::Arc;

use super::{Running, now};
use crate::identity::{PrincipalName, TokenId};
use crate::session::machine::{Farewell, Machine, Renewal};
use crate::session::news::{self, Arrival, Phase};
use crate::session::registry::Command;
use crate::session::site::Site;
use crate::session::wire::{Opened, Wire};
use crate::store::Snapshot;
use crate::time::Timestamp;
use crate::upstream::lock::{Due, Stamp};

impl<W: Wire> Running<W> {
    pub(super) fn on_news(&mut self, news: news::Event<W>) {
        match news {
            news::Event::Command(Command::Cancel) => {
                self.relay.machine.on_cancel(&mut self.out);
            }
            news::Event::Command(Command::Kill { by }) => {
                self.reason = "ended by an operator";
                self.end_with(&Farewell::Killed { by });
            }
            news::Event::Command(Command::Leave { why }) => {
                self.reason = why;
                self.relay.machine.on_drain(why, &mut self.out);
            }
            news::Event::Command(Command::End { why }) => {
                self.reason = why;
                self.end_with(&Farewell::Ended(why));
            }
            news::Event::Snapshot(snapshot) => self.on_snapshot(&snapshot),
            news::Event::Progress => {
                self.sees_anew = true;
                self.set_wait();
                self.renew_rights();
            }
            news::Event::Catalog(Some(catalog)) => {
                self.sees_anew = true;
                self.relay.machine.set_catalog(catalog);
            }
            news::Event::Catalog(None) => (),
            news::Event::Phase(phase) => self.on_phase(phase),
            news::Event::Arrival(arrival) => self.on_arrival(arrival),
        }
    }

    fn on_phase(&mut self, phase: Phase) {
        const ENDING: &str = "the proxy is shutting down";
        match phase {
            Phase::Serving => (),
            Phase::Draining => {
                self.reason = ENDING;
                self.relay.machine.on_drain(ENDING, &mut self.out);
            }
            Phase::Ending => {
                self.reason = ENDING;
                self.end_with(&Farewell::Ended(ENDING));
            }
        }
    }

    pub(super) fn on_snapshot(&mut self, snapshot: &Snapshot) {
        let caller = &self.relay.caller;
        if is_revoked(snapshot, &caller.principal, &caller.token) {
            self.reason = "its token was revoked";
            self.end_with(&Farewell::TokenRevoked);
            return;
        }
        self.held = snapshot.grants.held(&caller.principal, &caller.database);
        self.set_wait();
        self.relay.machine.on_grants(self.held.clone(), now(), &mut self.out);
    }

    /// Tells the machine where the servers stand, if that has changed: only when it matters, since each look of the
    /// watcher's would wake every session.
    pub(super) fn look_at_replicas(&mut self) {
        let relay = &mut self.relay;
        if !relay.fleet.has_changed().unwrap_or(false) && !self.sees_anew {
            return;
        }
        self.sees_anew = false;
        let fleet = Arc::clone(&relay.fleet.borrow_and_update());
        let sight = relay.database.sight(fleet);
        relay.machine.on_sight(sight, now(), &mut self.out);
    }

    pub(super) fn waits(&mut self) -> bool {
        let due = |from: Option<Timestamp>| from.is_some_and(|from| from <= now());
        if due(self.wait_from) {
            // It may have expired while it waited.
            self.set_wait();
        }
        due(self.wait_from)
    }

    fn set_wait(&mut self) {
        let progress = self.progress.as_ref();
        self.wait_from =
            progress.and_then(|progress| progress.borrow().wait_from(&self.held, now()));
    }

    /// Has the machine do what the server wants before it holds the session to the rights of now.
    fn renew_rights(&mut self) {
        let (Some(progress), Some(lock)) = (&self.progress, &self.relay.database.lock) else {
            return;
        };
        let site = Site::Primary;
        if self.backends[site].is_none() {
            return;
        }
        let role = lock.role(&self.relay.caller.principal);
        let progress = progress.borrow();
        let renewal = match progress.due(&role, self.seen[site]) {
            Due::Nothing => return,
            Due::Use => Renewal::Use,
            Due::LogIn => Renewal::LogIn,
        };
        self.seen[site] = progress.stamp(&role);
        self.relay.machine.on_rights(renewal, &mut self.out);
    }

    pub(super) fn on_arrival(&mut self, arrival: Arrival<W>) {
        match arrival {
            // Nobody waits for it any more.
            Arrival::Upstream(site, attempt, _) if attempt != self.attempts[site] => {}
            Arrival::Upstream(site, _, Ok((connection, seen))) => {
                self.on_connected(site, connection, seen);
            }
            Arrival::Upstream(site, _, Err(error)) => {
                tracing::warn!(%error, database = %self.relay.database.name, "no connection to the server");
                if site == Site::Primary {
                    self.reason = "the database server could not be reached";
                }
                self.relay.machine.on_upstream_failed(site, &error, now(), &mut self.out);
            }
            Arrival::Catalog(catalog) => {
                self.sees_anew = true;
                self.relay.machine.on_catalog(catalog);
            }
            Arrival::CancelDone => {
                self.with_machine(|machine, _, out| machine.on_cancel_done(out));
            }
            Arrival::Call(result) => {
                self.with_machine(|machine, env, out| machine.on_call_result(result, env, out));
            }
            Arrival::Killed(outcome) => {
                self.with_machine(|machine, env, out| machine.on_kill_result(outcome, env, out));
            }
        }
    }

    fn on_connected(&mut self, site: Site, connection: W::Connection, seen: Stamp) {
        let Opened { stream, buffer, backend, told } = W::opened(connection);
        self.io.set_server(site, stream, buffer);
        if let (Site::Primary, Some(number)) = (site, W::number(&backend)) {
            self.relay.shared.registry.set_at_server(&self.relay.caller.session, number);
        }
        self.backends[site] = Some(backend);
        self.seen[site] = seen;
        if let Err(violation) = self.relay.machine.on_upstream_open(site, told, &mut self.out) {
            self.server_violated(&violation);
            return;
        }
        // They may have changed while it connected.
        self.renew_rights();
        if !self.io.server_in(site).is_empty() {
            self.take_server_bytes(site);
        }
    }
}

fn is_revoked(snapshot: &Snapshot, principal: &PrincipalName, token: &TokenId) -> bool {
    let tokens = snapshot.tokens.by_principal.get(principal);
    let known = tokens.and_then(|tokens| tokens.iter().find(|known| known.id == *token));
    // A verifier that is gone was purged long after its expiry, which leaves open sessions alone.
    known.is_some_and(|token| token.revoked.is_some())
}
