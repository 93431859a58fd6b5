//! Where each unit of a session runs: one simple query, or one segment, at one server. What has to be known, opened or
//! told first is done by queries of our own while the client's message is held.

use bytes::BytesMut;

use crate::grant::Route;
use crate::grant::decide::Permit;
use crate::grant::denial::{BoundGrants, NeedsPrimary};
use crate::session::output::{Command, Output};
use crate::session::refusal::Refusal;
use crate::session::routing::{Placed, Question, Step, Unit, Why};
use crate::session::scope::Analysed;
use crate::session::site::Site;
use crate::sql::access::Access;
use crate::sql::placement::{Placement, Rule};
use crate::sql::statement::{Effect, Statement};
use crate::time::Timestamp;
use crate::wire::postgres::frame::{self, HEADER_BYTES};
use crate::wire::postgres::message::{Frontend, Target, TransactionStatus};
use crate::wire::postgres::reply::{self, Report};

use super::carried::{Answer, question};
use super::names::declared;
use super::slots::{Internal, Slot};
use super::{Conversation, Env, Link, Segment, Taken};

/// What of a segment has to be there before it is looked at as a whole, bytes; a longer one runs at home.
const SEGMENT_BYTES_MAX: usize = 32 * 1024;

/// What statements are, one after another in one unit.
pub(super) fn unit_of<'s>(mut statements: impl Iterator<Item = &'s Statement>) -> Unit {
    let Some(first) = statements.next() else { return Unit::Bound(Why::Session) };
    let reads = |statement: &Statement| statement.placement == Placement::Anywhere;
    let bound = |statement: &Statement| match &statement.placement {
        Placement::Anywhere => Why::Mixed,
        Placement::Session => Why::Session,
        Placement::Home(rule) | Placement::Primary(rule) => Why::Statement(rule.clone()),
    };
    if reads(first) {
        return match statements.find(|statement| !reads(statement)) {
            None => Unit::Reads(Why::Read),
            Some(other) if other.placement == Placement::Session => Unit::Bound(Why::Mixed),
            Some(other) => Unit::Bound(bound(other)),
        };
    }
    if let Effect::Begin(mode) = &first.effect
        && mode.read_only
        && !mode.serializable
    {
        let belongs = |statement: &Statement| {
            let ends = matches!(statement.effect, Effect::Commit | Effect::Rollback);
            reads(statement) || ends
        };
        return match statements.find(|statement| !belongs(statement)) {
            None => Unit::Reads(Why::ReadOnly),
            Some(other) => Unit::Bound(bound(other)),
        };
    }
    Unit::Bound(bound(first))
}

impl Conversation {
    /// What is sent and heard from now on is that server's.
    pub(super) fn turn_to(&mut self, site: Site, out: &mut Output) {
        self.at = site;
        out.turn_to(site);
    }

    /// Has the unit at hand run where it should. `must`: nobody but a replica may do it.
    pub(super) fn place(
        &mut self,
        unit: &Unit,
        must: bool,
        env: &Env<'_>,
        out: &mut Output,
    ) -> Placed {
        self.wake = None;
        self.drop_changed(env.now, out);
        loop {
            match self.routing.next(unit, must, env.now) {
                Step::Go(site, why) => {
                    self.turn_to(site, out);
                    self.kept.clear();
                    self.keeps = site == Site::Replica && matches!(unit, Unit::Reads(_));
                    self.trail.set_route(site, &why);
                    self.routing.sent(site);
                    return Placed::Here;
                }
                Step::Refuse(why) => {
                    self.routing.dropped();
                    return Placed::Nowhere(Refusal::NoneServes(why.clause().into()));
                }
                Step::Ask(site, asked) => {
                    self.turn_to(site, out);
                    let text = question(site, asked);
                    out.control(|server| reply::query(server, &text));
                    let asked =
                        Internal::Asked { site, question: asked, answer: Answer::default() };
                    self.slots.push_back(Slot::Internal(asked));
                    return Placed::Later;
                }
                Step::Bring(site) => match self.carried.lesson(site) {
                    None => self.routing.on_brought(site),
                    Some(text) => {
                        self.turn_to(site, out);
                        out.control(|server| reply::query(server, &text));
                        let told = Internal::Told { site, failed: false };
                        self.slots.push_back(Slot::Internal(told));
                        return Placed::Later;
                    }
                },
                Step::Open(number) => {
                    out.command(Command::OpenReplica(number));
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

    /// Has a simple query run where it should.
    pub(super) fn place_query(
        &mut self,
        (analysis, more): (&Analysed, &[Vec<Access>]),
        permit: &Permit,
        env: &Env<'_>,
        out: &mut Output,
    ) -> Placed {
        let statements = &analysis.statements;
        let accesses = || {
            let own = statements.iter().flat_map(|statement| &statement.accesses);
            own.chain(more.iter().flatten())
        };
        if self.transaction != TransactionStatus::Idle || self.segment != Segment::Rest {
            let refusals = |it| self.refusal_of_place(it, accesses(), permit, env.now);
            return match statements.iter().find_map(refusals) {
                Some(refusal) => Placed::Nowhere(refusal),
                None => {
                    self.stays();
                    Placed::Here
                }
            };
        }
        if self.move_home(env.now, out) {
            return Placed::Later;
        }
        let must = permit.route() == Route::ReplicaOnly;
        if (must || self.routing.home() == Site::Replica)
            && let Some(rule) = statements.iter().find_map(|it| it.placement.primary_rule())
        {
            return Placed::Nowhere(self.needs_primary(accesses(), permit, rule, env.now));
        }
        let is_routed = self.routing.is_on() || self.routing.home() == Site::Replica || must;
        let placed = if is_routed {
            self.place(&unit_of(statements.iter()), must, env, out)
        } else {
            Placed::Here
        };
        match placed {
            Placed::Here if !statements.iter().all(|it| self.teach_name(it, out)) => Placed::Later,
            Placed::Nowhere(Refusal::NoneServes(why)) if must => {
                Placed::Nowhere(Refusal::NoReplica {
                    grants: BoundGrants::of(permit, self.gate.held(), env.now),
                    why: why.into(),
                })
            }
            placed => placed,
        }
    }

    /// Where the transaction is, or the rest of the segment.
    pub(super) fn stays(&mut self) {
        if self.routing.is_on() && self.transaction != TransactionStatus::Idle {
            self.trail.set_route(self.at, &Why::Transaction);
        }
    }

    /// Why a statement that is allowed must not be sent to the server that has the transaction, or the segment.
    pub(super) fn refusal_of_place<'a>(
        &self,
        statement: &Statement,
        accesses: impl Iterator<Item = &'a Access> + Clone,
        permit: &Permit,
        now: Timestamp,
    ) -> Option<Refusal> {
        if !matches!(self.link, Link::Open) {
            return None;
        }
        let must = permit.route() == Route::ReplicaOnly;
        if self.at == Site::Primary {
            return must.then(|| match &statement.placement {
                Placement::Primary(rule) => self.needs_primary(accesses, permit, rule, now),
                _ => Refusal::NoReplica {
                    grants: BoundGrants::of(permit, self.gate.held(), now),
                    why: "its transaction, or the rest of its message, runs at the primary".into(),
                },
            });
        }
        let away = self.routing.home() == Site::Primary;
        match &statement.placement {
            Placement::Primary(rule) if must => {
                Some(self.needs_primary(accesses, permit, rule, now))
            }
            Placement::Primary(rule) => Some(Refusal::AtReplica(rule.clone())),
            Placement::Home(rule) if away && self.transaction != TransactionStatus::Idle => {
                Some(Refusal::AtReplica(rule.clone()))
            }
            Placement::Anywhere | Placement::Session | Placement::Home(_) => None,
        }
    }

    fn needs_primary<'a>(
        &self,
        accesses: impl Iterator<Item = &'a Access> + Clone,
        permit: &Permit,
        rule: &Rule,
        now: Timestamp,
    ) -> Refusal {
        let held = self.gate.held();
        let needs = NeedsPrimary::new((accesses, permit), held, now, rule.clone());
        Refusal::NeedsPrimary(Box::new(needs))
    }

    /// A server has answered a question of ours.
    pub(super) fn on_asked(
        &mut self,
        (site, question, answer): (Site, Question, Answer),
        env: &Env<'_>,
    ) {
        self.routing.on_position(site, answer.position(), env.now);
        if question == Question::State {
            if answer.is_sound() {
                let pin = answer.pin();
                let differs = self.carried.learn(site, answer);
                self.routing.on_state(differs, pin);
            } else {
                self.routing.on_state_unknown();
            }
        }
    }

    /// A server has been told the session's state, or has refused it.
    pub(super) fn on_told(&mut self, site: Site, failed: bool, out: &mut Output) {
        if !failed {
            self.carried.taught(site);
            self.routing.on_brought(site);
            return;
        }
        if site == Site::Replica {
            self.let_go_of_replica(out);
        }
        self.routing.on_state_unknown();
    }

    /// A replica that has said that it is none any more, or that it goes, is left.
    fn drop_changed(&mut self, now: Timestamp, out: &mut Output) {
        if !std::mem::take(&mut self.replica_has_changed) {
            return;
        }
        if self.routing.home() == Site::Replica {
            let report =
                Report::fatal("57P01", "the replica that this session was at is none any more")
                    .hint("Connect again.");
            return self.close(Some(report), out);
        }
        out.command(Command::CloseReplica);
        self.routing.on_closed(now);
        self.forget_replica(out);
    }

    /// The session uses its connection to the replica no more. Nothing runs there.
    pub(super) fn let_go_of_replica(&mut self, out: &mut Output) {
        out.command(Command::CloseReplica);
        self.routing.on_let_go();
        self.forget_replica(out);
    }

    pub(super) fn forget_replica(&mut self, out: &mut Output) {
        self.names.forget(Site::Replica);
        self.carried.forget(Site::Replica);
        self.replica_has_changed = false;
        self.turn_to(self.routing.home(), out);
    }

    /// Finds out where the segment at the head of what the client has sent is to run. All of it has to be there.
    pub(super) fn place_segment(
        &mut self,
        input: &BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let idle = self.segment == Segment::Rest
            && self.transaction == TransactionStatus::Idle
            && matches!(self.link, Link::Open);
        if !idle || !self.routing.is_on() || self.placed {
            return Taken::Yes;
        }
        if !self.at_rest() || self.move_home(env.now, out) {
            return Taken::Held;
        }
        if self.ready_to_analyse(env, out).is_none() {
            return Taken::Held;
        }
        let Some(unit) = self.unit_of_segment(input, env) else { return Taken::Held };
        let must = self.gate.only_replicas(env.now);
        match self.place(&unit, must, env, out) {
            Placed::Here => {
                self.placed = true;
                Taken::Yes
            }
            Placed::Later => Taken::Held,
            Placed::Nowhere(refusal) => {
                self.placed = true;
                self.turn_to(self.routing.home(), out);
                self.refuse_in_segment(&[], &refusal, env, out);
                Taken::Yes
            }
        }
    }

    /// What a segment is, as a whole; `None` while more of it has to come.
    fn unit_of_segment(&self, input: &BytesMut, env: &Env<'_>) -> Option<Unit> {
        let bound = || Some(Unit::Bound(Why::Mixed));
        let mut rest = &input[..];
        let (mut parsed, mut portals) = (Vec::new(), Vec::new());
        let mut executed = Vec::new();
        loop {
            let header = match frame::header(rest) {
                Ok(Some(header)) if header.total <= SEGMENT_BYTES_MAX => header,
                Ok(None) if input.len() < SEGMENT_BYTES_MAX => return None,
                _ => return bound(),
            };
            let Some(body) = rest.get(HEADER_BYTES..header.total) else {
                return if input.len() < SEGMENT_BYTES_MAX { None } else { bound() };
            };
            rest = rest.get(header.total..)?;
            let Ok(message) = Frontend::read(header.tag, body) else { return bound() };
            match message {
                // A name that SQL may use, too, is to be known at home.
                Frontend::Parse { name: "", text, types } => {
                    let meaning = self.meaning.as_ref()?;
                    let Ok(text) = self.text(text) else { return bound() };
                    let analysed = meaning.analyse(text, &declared(types), &env.limits.parse);
                    let Ok(analysed) = analysed else { return bound() };
                    parsed.push(analysed);
                }
                Frontend::Bind(bind) => {
                    let analysed = match (bind.statement, parsed.last()) {
                        ("", Some(parsed)) => std::sync::Arc::clone(parsed),
                        (name, _) => {
                            let Some(prepared) = self.names.prepared.get(name) else {
                                return bound();
                            };
                            if prepared.by_sql {
                                return bound();
                            }
                            let meaning = self.meaning.as_ref()?;
                            let analysed = prepared.analysis(meaning, &env.limits.parse);
                            let Ok(analysed) = analysed else { return bound() };
                            analysed
                        }
                    };
                    portals.push((bind.portal, analysed));
                }
                Frontend::Execute { portal, .. } => {
                    let known = portals.iter().rfind(|(name, _)| *name == portal);
                    let Some((_, analysed)) = known else { return bound() };
                    executed.push(std::sync::Arc::clone(analysed));
                }
                Frontend::Describe(Target::Statement(_) | Target::Portal(_)) => (),
                Frontend::Sync => break,
                _ => return bound(),
            }
        }
        Some(unit_of(executed.iter().flat_map(|analysed| &analysed.statements)))
    }

    /// A statement was sent: what it may have changed of what is carried along, or not.
    pub(super) fn note_run(&mut self, statement: &Statement) {
        if self.routing.is_on() {
            self.routing.ran(statement, self.at);
        }
    }

    /// Has the server know a name that a statement of SQL uses; false when it did not, so that it comes again.
    pub(super) fn teach_name(&mut self, statement: &Statement, out: &mut Output) -> bool {
        let (Effect::Execute(name) | Effect::Deallocate(Some(name))) = &statement.effect else {
            return true;
        };
        let Some(prepared) = self.names.prepared.get(name) else { return true };
        if prepared.at[self.at] || prepared.by_sql || !self.at_rest() {
            return true;
        }
        let prepared = std::rc::Rc::clone(prepared);
        self.teach_server(name, &prepared, out);
        out.control(reply::sync);
        self.slots.push_back(Slot::Internal(Internal::Taught));
        false
    }
}
