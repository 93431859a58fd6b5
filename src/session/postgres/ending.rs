//! What ends: a grant, a statement, the session.

use std::time::Duration;

use crate::audit::record::Outcome;
use crate::grant::snapshot::HeldGrants;
use crate::session::output::{Command, Output};
use crate::session::site::Site;
use crate::time::Timestamp;
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply::Report;

use super::slots::Slot;
use super::{ClientRest, Conversation, Link, fail_copy};

/// How long a backend has to answer a cancel before it is terminated.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client has to go on with the message of COPY data that its grant ended inside of: nothing
/// else can end that COPY, and it is to be over within a second.
const COPY_PATIENCE: Duration = Duration::from_millis(900);

impl Conversation {
    /// The principal's grants have changed: what runs without one any more is cancelled.
    pub fn on_grants(&mut self, held: HeldGrants, now: Timestamp, out: &mut Output) {
        self.gate.replace(held);
        self.cancel_what_ended(now, out);
    }

    /// A deadline has passed.
    pub fn on_timer(&mut self, now: Timestamp, out: &mut Output) {
        self.looked = now;
        self.cancel_what_ended(now, out);
        if let Some((_, since)) = &self.doomed
            && *since + self.patience() <= now
            && !self.terminated
        {
            self.terminated = true;
            out.command(Command::TerminateUpstream(self.at));
        }
    }

    /// When [`Self::on_timer`] is due next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let ours = self.next_ending();
        self.wake.filter(|wake| *wake > self.looked).into_iter().chain(ours).min()
    }

    fn next_ending(&self) -> Option<Timestamp> {
        if let Some((_, since)) = &self.doomed {
            return (!self.terminated).then(|| *since + self.patience());
        }
        if self.slots.is_empty() {
            return None;
        }
        // One that a COMMIT outlives would else be due again and again.
        self.gate.next_expiry().filter(|expiry| *expiry > self.looked)
    }

    fn patience(&self) -> Duration {
        if self.copy_fails { COPY_PATIENCE } else { CANCEL_PATIENCE }
    }

    fn cancel_what_ended(&mut self, now: Timestamp, out: &mut Output) {
        if self.doomed.is_some() {
            return;
        }
        let Some(ended) = self.gate.ended_under(self.slots.iter().flat_map(Slot::runs), now) else {
            return;
        };
        self.doomed = Some((ended, now));
        if self.copy_in {
            self.copy_in = false;
            match self.client_rest {
                // A client that never sends the rest loses its backend when patience ends.
                ClientRest::Pass(_) => self.copy_fails = true,
                ClientRest::None | ClientRest::Discard(_) => out.control(fail_copy),
            }
        } else {
            self.cancel(out);
        }
    }

    /// The client asked for a cancel, by the session's own key.
    pub fn on_cancel(&mut self, out: &mut Output) {
        if self.slots.iter().any(|slot| slot.runs().next().is_some()) {
            self.cancel(out);
        }
    }

    fn cancel(&mut self, out: &mut Output) {
        if !self.canceling && matches!(self.link, Link::Open) {
            self.canceling = true;
            out.command(Command::CancelUpstream(self.at));
        }
    }

    /// The cancel connection has ended: what comes next cannot be hit by it.
    pub fn on_cancel_done(&mut self, out: &mut Output) {
        self.canceling = false;
        self.resign_when_done(out);
    }

    /// The session is to end: an idle client is told why at once, others after their transaction.
    pub fn on_drain(&mut self, why: &'static str, out: &mut Output) {
        self.draining = Some(why);
        self.close_if_drained(out);
    }

    pub(super) fn close_if_drained(&mut self, out: &mut Output) {
        if let Some(why) = self.draining
            && self.transaction == TransactionStatus::Idle
            && self.at_rest()
        {
            self.close(Some(Report::fatal("57P01", why)), out);
        }
    }

    /// Ends the session, with a last word to the client.
    pub fn close(&mut self, report: Option<Report>, out: &mut Output) {
        if self.closing {
            return;
        }
        self.closing = true;
        // Inside a row of the server's a last word would be part of it.
        if let Some(report) = report.filter(|_| self.server_rest == 0) {
            out.say(|own| report.write(own));
        }
        out.command(Command::Close);
    }

    /// Whether something of the client's is still at the server.
    pub fn is_busy(&self) -> bool {
        !self.slots.is_empty() || !self.again.is_empty()
    }

    /// The server whose words are due; either's are while nothing runs.
    pub fn hears(&self) -> Option<Site> {
        (!self.slots.is_empty()).then_some(self.at)
    }

    /// Whether a unit that a replica could not do waits to be taken again.
    pub fn takes_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The connection to a server is gone.
    pub fn on_server_gone(&mut self, site: Site, now: Timestamp, out: &mut Output) {
        if site == Site::Primary || self.routing.home() == Site::Replica {
            self.lose_session(now, out);
        } else {
            self.lose_replica(now, out);
        }
    }

    /// The client is told that its server is gone, unless that did so itself.
    pub(super) fn lose_session(&mut self, now: Timestamp, out: &mut Output) {
        self.settle(now, Outcome::Unknown, out);
        let report = (!self.server_said_why).then(|| {
            Report::fatal("08006", "the connection to the database server is lost")
                .hint("Connect again. A statement that was under way may or may not have run.")
        });
        self.close(report, out);
    }

    /// The session is over: every statement that was under way gets its result record.
    pub fn end(&mut self, now: Timestamp, reason: &str, out: &mut Output) {
        self.settle(now, Outcome::Unknown, out);
        out.audit.push(self.trail.end(now, reason));
    }

    pub(super) fn settle(&mut self, now: Timestamp, outcome: Outcome, out: &mut Output) {
        for slot in std::mem::take(&mut self.slots) {
            for run in slot.runs() {
                out.audit.push(self.trail.result(now, run, outcome, None));
            }
        }
    }
}
