//! What ends: a grant, a statement, the session.

use std::time::Duration;

use crate::audit::record::Outcome;
use crate::grant::snapshot::HeldGrants;
use crate::session::output::{Command, Output};
use crate::session::routing::Sight;
use crate::session::site::Site;
use crate::session::trail::Running;
use crate::time::Timestamp;
use crate::wire::mysql::report::Report;

use super::{Conversation, Current, Link, Work};

/// How long a server has to answer a KILL QUERY before the connection is ended.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// How long until it is killed once more: a KILL QUERY that comes before its statement has begun hits nothing.
const CANCEL_AGAIN: Duration = Duration::from_millis(500);

impl Conversation {
    /// The principal's grants have changed: what runs without one any more is cancelled.
    pub fn on_grants(&mut self, held: HeldGrants, now: Timestamp, out: &mut Output) {
        self.gate.replace(held);
        self.cancel_what_ended(now, out);
    }

    /// A deadline has passed.
    pub fn on_timer(&mut self, now: Timestamp, out: &mut Output) {
        self.looked = now;
        self.wake = self.wake.filter(|wake| *wake > now);
        self.cancel_what_ended(now, out);
        let Some((_, since)) = &self.doomed else { return };
        if self.terminated {
            return;
        }
        if *since + CANCEL_PATIENCE <= now {
            self.terminated = true;
            out.command(Command::TerminateUpstream(self.at));
        } else if self.canceled + CANCEL_AGAIN <= now {
            self.canceled = now;
            self.cancel(out);
        }
    }

    /// When [`Self::on_timer`] is due next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.wake.into_iter().chain(self.next_ending()).min()
    }

    fn next_ending(&self) -> Option<Timestamp> {
        if let Some((_, since)) = &self.doomed {
            let next = (self.canceled + CANCEL_AGAIN).min(*since + CANCEL_PATIENCE);
            return (!self.terminated).then_some(next);
        }
        if !self.is_busy() {
            return None;
        }
        // One that a COMMIT outlives would else be due again and again.
        self.gate.next_expiry().filter(|expiry| *expiry > self.looked)
    }

    /// Statements at the server.
    fn runs(&self) -> impl Iterator<Item = &Running> {
        let runs = match &self.current {
            Current::Server { work: Work::Statements(statements), .. } => Some(&statements.runs),
            _ => None,
        };
        runs.into_iter().flatten()
    }

    fn cancel_what_ended(&mut self, now: Timestamp, out: &mut Output) {
        if self.doomed.is_some() {
            return;
        }
        let Some(ended) = self.gate.ended_under(self.runs(), now) else { return };
        self.doomed = Some((ended, now));
        self.canceled = now;
        self.cancel(out);
    }

    /// Another session of the principal asks for a cancel.
    pub fn on_cancel(&mut self, out: &mut Output) {
        if self.runs().next().is_some() {
            self.cancel(out);
        }
    }

    fn cancel(&mut self, out: &mut Output) {
        if self.canceling.is_none() && self.link == Link::Open {
            self.canceling = Some(self.at);
            out.command(Command::CancelUpstream(self.at));
        }
    }

    /// The KILL QUERY has been done. It may have come after its statement had ended, and would then hit the next
    /// one: that will be ours.
    pub fn on_cancel_done(&mut self) {
        self.absorbs = self.canceling.take().or(self.absorbs);
    }

    /// The session is to end: an idle client is told why at once, others after their transaction.
    pub fn on_drain(&mut self, why: &'static str, out: &mut Output) {
        self.draining = Some(why);
        self.close_if_drained(out);
    }

    pub(super) fn close_if_drained(&mut self, out: &mut Output) {
        if let Some(why) = self.draining
            && !self.in_transaction()
            && self.at_rest()
        {
            self.close(Some((Report::new(1053, "08S01", why), 0)), out);
        }
    }

    /// Ends the session, with a last word to the client: an error, and its number where no reply is under way.
    pub fn close(&mut self, report: Option<(Report, u8)>, out: &mut Output) {
        if self.closing {
            return;
        }
        self.closing = true;
        let sequence = match &self.current {
            // Inside a row of the server's a last word would be part of it.
            Current::Server { between: false, .. } => None,
            Current::Server { reply, .. } if !self.is_own() => Some(reply.sequence()),
            Current::Call(call) => Some(call.sequence),
            Current::Kill { sequence, .. } => Some(*sequence),
            Current::Rest | Current::Server { .. } => report.as_ref().map(|(_, number)| *number),
        };
        if let (Some((report, _)), Some(sequence)) = (report, sequence) {
            Self::refuse_with(&report, sequence, out);
        }
        out.command(Command::Close);
    }

    /// Whether something of the client's is still under way.
    pub fn is_busy(&self) -> bool {
        !matches!(self.current, Current::Rest) || !self.again.is_empty()
    }

    /// The server whose words are due.
    pub fn hears(&self) -> Option<Site> {
        (!matches!(self.current, Current::Rest)).then_some(self.at)
    }

    /// Whether a read that a replica could not do waits to be taken again.
    pub fn takes_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The servers of the database are seen otherwise now.
    pub fn on_sight(&mut self, sight: Sight, now: Timestamp, out: &mut Output) {
        if self.routing.on_sight(sight) {
            out.command(Command::CloseReplica);
            self.lose_replica(now, out);
        }
    }

    /// The connection to the server is gone. The client is told, unless the server did so itself.
    pub fn on_server_gone(&mut self, site: Site, now: Timestamp, out: &mut Output) {
        if site == Site::Replica {
            return self.lose_replica(now, out);
        }
        self.settle(now, out);
        let report = (!self.server_said_why).then(|| {
            let told = Report::new(1105, "08S01", "the connection to the database server is lost")
                .hint("Connect again. A statement that was under way may or may not have run.");
            (told, 0)
        });
        self.close(report, out);
    }

    /// The session is over: every statement that was under way gets its result record.
    pub fn end(&mut self, now: Timestamp, reason: &str, out: &mut Output) {
        self.settle(now, out);
        out.audit.push(self.trail.end(now, reason));
    }

    pub(super) fn settle(&mut self, now: Timestamp, out: &mut Output) {
        let mut unknown = |run: &Running| {
            out.audit.push(self.trail.result(now, run, Outcome::Unknown, None));
        };
        match &mut self.current {
            Current::Server { reply, work: Work::Statements(statements), .. } => {
                if let Some(run) = statements.runs.front_mut() {
                    run.rows += reply.rows();
                    run.bytes += reply.bytes();
                }
                std::mem::take(&mut statements.runs).iter().for_each(&mut unknown);
            }
            Current::Call(call) => {
                unknown(&call.run);
                self.current = Current::Rest;
            }
            Current::Kill { run, .. } => {
                unknown(run);
                self.current = Current::Rest;
            }
            Current::Rest | Current::Server { .. } => (),
        }
    }
}
