//! Where each command of a session runs: a text that only reads at a replica, everything else at the primary. What has
//! to be known, opened or told first is done by questions of our own while the client's command is held.
//!
//! Prepared statements run at the primary, and so do transactions, also those that are READ ONLY.

use std::sync::Arc;

use crate::grant::Route;
use crate::grant::decide::Permit;
use crate::session::output::{Command as Wish, Output};
use crate::session::refusal::Refusal;
use crate::session::routing::{KEPT_BYTES_MAX, Placed, Question, Step, Unit, Why};
use crate::session::site::Site;
use crate::sql::mysql::placed::{PREVIOUS, TEMPORARY, leaves};
use crate::sql::placement::{Placement, Rule};
use crate::sql::statement::{Effect, Statement};
use crate::time::Timestamp;
use crate::wire::mysql::capability::Status;
use crate::wire::mysql::command;
use crate::wire::mysql::reply::Expect;

use super::carried::{Answer, question};
use super::{Conversation, Env, Link, Said, Work};

/// What statements are, one after another in one text.
fn unit_of(statements: &[Statement]) -> Unit {
    let other = statements.iter().find(|it| it.placement != Placement::Anywhere);
    match other.map(|it| &it.placement) {
        None => Unit::Reads(Why::Read),
        Some(Placement::Anywhere | Placement::Session) => Unit::Bound(Why::Session),
        Some(Placement::Home(rule) | Placement::Primary(rule)) => {
            Unit::Bound(Why::Statement(rule.clone()))
        }
    }
}

/// Whether a text asks for nothing but what the one before it has left.
fn asks_for_previous(statements: &[Statement]) -> bool {
    let previous = |it: &Statement| it.placement == Placement::Home(Rule::State(PREVIOUS));
    !statements.is_empty() && statements.iter().all(previous)
}

/// What a statement leaves in the session that is not carried along, and of which nobody can tell when it is gone.
fn pin_of(statement: &Statement) -> Option<&'static str> {
    if let Effect::CreateTemporary(_) = statement.effect {
        return Some(TEMPORARY);
    }
    if let Placement::Home(rule) | Placement::Primary(rule) = &statement.placement
        && leaves(rule)
    {
        return Some(match rule {
            Rule::State(what) => what,
            _ => "what functions that it called have left",
        });
    }
    match (statement.command, &statement.effect) {
        (_, Effect::Call(_)) => None,
        ("CALL", _) => Some("what procedures that it called have left"),
        ("PREPARE" | "EXECUTE" | "EXECUTE IMMEDIATE", _) => Some("statements prepared by SQL"),
        ("LOCK TABLES" | "FLUSH", _) => Some("locked tables"),
        ("HANDLER", _) => Some("open handlers"),
        ("XA", _) => Some("XA transactions"),
        ("SET ROLE", _) => Some("another role"),
        _ => None,
    }
}

impl Conversation {
    /// What is sent and heard from now on is that server's.
    pub(super) fn turn_to(&mut self, site: Site, out: &mut Output) {
        self.at = site;
        out.turn_to(site);
    }

    /// A command is for the primary, whatever it says.
    pub(super) fn at_primary(&mut self, why: &Why, out: &mut Output) {
        self.turn_to(Site::Primary, out);
        self.previous = Site::Primary;
        self.routing.dropped();
        if self.routing.is_on() {
            self.trail.set_route(Site::Primary, why);
        }
    }

    /// Why a permit does not do here.
    pub(super) fn refusal_of_route(permit: &Permit) -> Option<Refusal> {
        (permit.route() == Route::ReplicaOnly).then(|| Refusal::Unsupported {
            what: "the grant for this is bound to replicas, and MySQL's sessions are not".into(),
            hint: Some("Ask for one that is not: CALL daypass.help() tells how.".into()),
        })
    }

    /// Has a text run where it should.
    pub(super) fn place_text(
        &mut self,
        statements: &[Statement],
        said: Said<'_>,
        permit: &Permit,
        env: &Env<'_>,
        out: &mut Output,
    ) -> Placed {
        if let Some(refusal) = Self::refusal_of_route(permit) {
            return Placed::Nowhere(refusal);
        }
        if self.link != Link::Open || !self.routing.is_on() {
            return Placed::Here;
        }
        self.drop_changed(out);
        if self.in_transaction() || !self.status.has(Status::AUTOCOMMIT) {
            self.at_primary(&Why::Transaction, out);
            return Placed::Here;
        }
        if asks_for_previous(statements)
            && self.previous == Site::Replica
            && self.routing.replica().is_some()
        {
            self.turn_to(Site::Replica, out);
            self.keeps = false;
            self.trail.set_route(Site::Replica, &Why::Statement(Rule::State(PREVIOUS)));
            return Placed::Here;
        }
        let placed = self.place(&unit_of(statements), env, out);
        if matches!(placed, Placed::Here) {
            self.keeps = self.at == Site::Replica && said.frame.len() <= KEPT_BYTES_MAX;
            self.kept.clear();
            if self.keeps {
                self.kept.extend_from_slice(said.frame);
            }
            self.previous = self.at;
        }
        placed
    }

    /// Where statements would run now, and why.
    pub(super) fn forecast(&self, statements: &[Statement]) -> (Site, Option<Arc<str>>, Why) {
        if self.in_transaction() || !self.status.has(Status::AUTOCOMMIT) {
            return (Site::Primary, None, Why::Transaction);
        }
        self.routing.forecast(&unit_of(statements))
    }

    fn place(&mut self, unit: &Unit, env: &Env<'_>, out: &mut Output) -> Placed {
        self.wake = None;
        loop {
            match self.routing.next(unit, false, env.now) {
                Step::Go(site, why) => {
                    self.turn_to(site, out);
                    self.trail.set_route(site, &why);
                    self.routing.sent(site);
                    return Placed::Here;
                }
                Step::Refuse(why) => {
                    self.routing.dropped();
                    return Placed::Nowhere(Refusal::NoneServes(why.clause().into()));
                }
                Step::Ask(site, asked) => {
                    let text = question(asked, site, self.state.settings().server.flavour);
                    let passed = Vec::new();
                    self.ask(site, text.as_bytes(), Work::Asked { question: asked, passed }, out);
                    return Placed::Later;
                }
                Step::Bring(site) => {
                    if self.bring(site, out) {
                        return Placed::Later;
                    }
                }
                Step::Open(number) => {
                    out.command(Wish::OpenReplica(number));
                    self.routing.on_opening(number, env.now);
                }
                Step::Close => self.let_go_of_replica(out),
                Step::Wait(until) => {
                    self.wake = Some(until);
                    return Placed::Later;
                }
            }
        }
    }

    /// Tells a server what it lacks of the session's state; false when that is nothing.
    fn bring(&mut self, site: Site, out: &mut Output) -> bool {
        let flavour = self.state.settings().server.flavour;
        if let Some(text) = self.carried.lesson(flavour) {
            self.ask(site, text.as_bytes(), Work::Told { refused: false, schema: None }, out);
            return true;
        }
        let schema = self.state.settings().default_database.clone();
        if self.carried.is_in(schema.as_deref()) {
            self.routing.on_brought(site);
            return false;
        }
        let Some(schema) = schema else {
            // No connection leaves its default database.
            self.let_go_of_replica(out);
            self.routing.pin_for_good("lost its default database");
            return false;
        };
        self.turn_to(site, out);
        out.control(|server| command::init_db(server, schema.as_bytes()));
        let said = Said { text: b"", frame: b"", sequence: 1, expect: Expect::Okay };
        self.send(said, Work::Told { refused: false, schema: Some(schema) });
        true
    }

    /// A server has answered a question of ours.
    pub(super) fn on_asked(&mut self, question: Question, passed: &[u8], now: Timestamp) {
        let flavour = self.state.settings().server.flavour;
        let answer = Answer::read(passed, question, flavour);
        self.routing.on_position(self.at, answer.position, now);
        if question == Question::State {
            let schema = self.state.settings().default_database.as_deref();
            match answer.settings {
                Some(settings) => {
                    let (differs, pin) = self.carried.learn(settings, schema, flavour);
                    self.routing.on_state(differs, pin);
                }
                None => self.routing.on_state_unknown(),
            }
        }
    }

    /// A replica has been told a part of the session's state, or has refused it.
    pub(super) fn on_told(&mut self, refused: bool, schema: Option<Box<str>>, out: &mut Output) {
        match (refused, schema) {
            (false, None) => self.carried.taught(),
            (false, Some(schema)) => self.carried.enters(schema),
            (true, _) => {
                self.let_go_of_replica(out);
                self.routing.on_state_unknown();
            }
        }
    }

    /// A statement was sent: what it may have changed of what is carried along, or not.
    pub(super) fn note_run(&mut self, statement: &Statement) {
        if self.at == Site::Replica {
            return;
        }
        self.routing.ran(statement, Site::Primary);
        if let Some(pin) = pin_of(statement) {
            self.routing.pin_for_good(pin);
        }
    }

    /// A replica that has something to say while nothing runs there goes, or is none any more.
    fn drop_changed(&mut self, out: &mut Output) {
        if std::mem::take(&mut self.replica_has_changed) {
            self.let_go_of_replica(out);
        }
    }

    /// The session uses its connection to the replica no more. Nothing runs there.
    pub(super) fn let_go_of_replica(&mut self, out: &mut Output) {
        if self.routing.replica().is_none() {
            return;
        }
        out.command(Wish::CloseReplica);
        self.routing.on_let_go();
        self.forget_replica(out);
    }

    pub(super) fn forget_replica(&mut self, out: &mut Output) {
        self.carried.forget();
        self.replica_has_changed = false;
        self.previous = Site::Primary;
        self.canceling = self.canceling.filter(|site| *site == Site::Primary);
        if self.absorbs == Some(Site::Replica) {
            self.absorbs = None;
        }
        self.turn_to(Site::Primary, out);
    }
}
