//! The session's connections to its servers: the one that it is at home at, and where that is.

use std::sync::Arc;

use crate::session::output::{Command, Output};
use crate::session::refusal::Refusal;
use crate::session::routing::Sight;
use crate::session::site::Site;
use crate::time::Timestamp;
use crate::wire::postgres::reply::{self, Report};

use super::apart::Journal;
use super::{Conversation, Link, report, shown};

impl Conversation {
    pub(super) fn open_upstream(&mut self, now: Timestamp, out: &mut Output) {
        let Link::Apart(journal) = &mut self.link else { return };
        let journal = std::mem::take(journal);
        if !self.gate.only_replicas(now) {
            self.link = Link::Opening(journal);
            self.routing.begin_at(Site::Primary);
            out.command(Command::OpenPrimary);
            return;
        }
        match self.routing.home_replica() {
            Ok(number) => {
                self.link = Link::Opening(journal);
                self.routing.begin_at(Site::Replica);
                self.routing.on_opening(number, now);
                out.command(Command::OpenReplica(number));
            }
            Err(why) => {
                self.link = Link::Apart(journal);
                let none = Refusal::NoneServes(why.clause().into());
                self.on_home_failed(report::report(&none, self.trail.facts()), out);
            }
        }
    }

    /// A connection to a server is open; `parameters` is what the server reported.
    pub fn on_upstream_open(
        &mut self,
        site: Site,
        address: Arc<str>,
        parameters: Vec<(String, String)>,
        out: &mut Output,
    ) {
        self.trail.set_backend(site, Some(address));
        if site == Site::Replica {
            let standby =
                |(name, value): &(String, String)| name != "in_hot_standby" || value == "on";
            self.routing.on_open();
            if !parameters.iter().all(standby) {
                self.replica_has_changed = true;
            }
        }
        if !self.opens(site) {
            return;
        }
        let Link::Opening(journal) = &mut self.link else { return };
        let journal = std::mem::take(journal);
        self.link = Link::Open;
        self.moves = false;
        self.routing.move_home(site);
        self.turn_to(site, out);
        self.meaning = None;
        for (name, value) in &parameters {
            self.note_parameter(name, value);
        }
        match &mut self.greeting {
            Some(greeting) => {
                greeting.parameters = parameters;
                self.greet(out);
            }
            None => out.say(|own| {
                for (name, value) in &parameters {
                    reply::parameter_status(own, name, shown(name, value));
                }
            }),
        }
        self.replay(journal, out);
    }

    /// Whether the server that the session is to be at home at is that one.
    fn opens(&self, site: Site) -> bool {
        let home = if self.moves { Site::Primary } else { self.routing.home() };
        site == home
    }

    /// Moves a session that was bound to replicas to the primary, since it holds more now. True while it does.
    pub(super) fn move_home(&mut self, now: Timestamp, out: &mut Output) -> bool {
        let bound = self.routing.home() == Site::Primary
            || !self.gate.has_live_grant(now)
            || self.gate.only_replicas(now);
        if bound || self.moves {
            return self.moves;
        }
        self.moves = true;
        self.link = Link::Opening(Journal::default());
        out.command(Command::OpenPrimary);
        true
    }

    /// The servers of the database are seen otherwise now.
    pub fn on_sight(&mut self, sight: Sight, now: Timestamp, out: &mut Output) {
        if self.routing.on_sight(sight) {
            out.command(Command::CloseReplica);
            self.lose_replica(now, out);
        }
    }

    /// A connection to a server could not be opened.
    pub fn on_upstream_failed(
        &mut self,
        site: Site,
        report: Report,
        now: Timestamp,
        out: &mut Output,
    ) {
        if site == Site::Replica {
            self.routing.on_closed(now);
        }
        if matches!(self.link, Link::Opening(_)) && self.opens(site) {
            self.on_home_failed(report, out);
        }
    }

    fn on_home_failed(&mut self, report: Report, out: &mut Output) {
        if std::mem::take(&mut self.moves) {
            self.link = Link::Open;
        }
        if let Link::Opening(journal) = &mut self.link {
            self.link = Link::Apart(std::mem::take(journal));
        }
        if self.greeting.is_some() {
            self.close(Some(Report { severity: reply::Severity::Fatal, ..report }), out);
        } else {
            self.unreachable = Some(report);
        }
    }
}
