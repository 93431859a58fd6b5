//! The simple query: every statement of the message is decided before any of it is sent.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::routing::Placed;
use crate::session::scope::{Analysed, Meaning};
use crate::session::site::Site;
use crate::session::trail::Recorded;
use crate::sql::access::{Access, Object};
use crate::sql::catalog::TypeId;
use crate::sql::statement::{Effect, NotUnderstood, Statement};
use crate::wire::postgres::frame::Violation;
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply::{self, Report};

use super::overlay::{ends_transaction, in_doubt};
use super::owner::Step;
use super::report::report;
use super::slots::Slot;
use super::{Conversation, Env, Link, Segment, Taken};

/// When a simple query may be taken.
pub(super) enum Turn {
    /// Now: nothing is under way.
    Now,
    /// Now, and it ends a segment of which everything has been done.
    InSegment,
    /// Never: an error was told, and up to Sync everything is dropped.
    Skipped,
    /// When something else has been answered.
    Later,
}

impl Conversation {
    pub(super) fn on_query(
        &mut self,
        bytes: &[u8],
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Taken, Violation> {
        match self.turn_of_query(out) {
            Turn::Now => (),
            Turn::InSegment => return Ok(self.on_query_in_segment(bytes, frame, env, out)),
            Turn::Skipped => return Ok(Taken::Yes),
            Turn::Later => return Ok(Taken::Held),
        }
        if let Some(refusal) = self.refuse_unreachable() {
            self.refuse_query(bytes, &refusal, env, out);
            return Ok(Taken::Yes);
        }
        if matches!(self.link, Link::Apart(_)) && self.gate.has_live_grant(env.now) {
            self.open_upstream(env.now, out);
            return Ok(Taken::Held);
        }
        let text = match self.text(bytes) {
            Ok(text) => text,
            Err(refusal) => {
                self.refuse_query(bytes, &refusal, env, out);
                return Ok(Taken::Yes);
            }
        };
        let Some(meaning) = self.ready_to_analyse(env, out) else { return Ok(Taken::Held) };
        match self.analyse(text, &[], &meaning, env, out) {
            Ok(Some(analysis)) => {
                return Ok(self.decide_query(text, frame, &analysis, &meaning, env, out));
            }
            Ok(None) => return Ok(Taken::Held),
            Err(refusal) => self.refuse_query(bytes, &refusal, env, out),
        }
        Ok(Taken::Yes)
    }

    /// Whether a simple query may be taken now. Inside a segment, where pgjdbc sends a SAVEPOINT behind its
    /// BEGIN, all that stands before it has to be answered first: after an error the server would skip it.
    pub(super) fn turn_of_query(&mut self, out: &mut Output) -> Turn {
        match self.segment {
            Segment::Open { skipping: true } => Turn::Skipped,
            Segment::Open { skipping: false } if !self.slots.is_empty() => {
                self.flush_once(out);
                Turn::Later
            }
            Segment::Open { skipping: false } if self.canceling || self.waiting_for_catalog => {
                Turn::Later
            }
            Segment::Open { skipping: false } => {
                self.flushed = false;
                if let Link::Open = self.link {
                    return Turn::InSegment;
                }
                // Without a server nothing is left of the segment.
                self.segment = Segment::Rest;
                Turn::Now
            }
            Segment::Rest if self.at_rest() => Turn::Now,
            Segment::Rest | Segment::Closed => Turn::Later,
        }
    }

    /// Asks the server for its replies ahead of Sync.
    pub(super) fn flush_once(&mut self, out: &mut Output) {
        if !std::mem::replace(&mut self.flushed, true) {
            out.control(reply::flush);
        }
    }

    /// A simple query behind the messages of a segment, all of which have been done: it ends the segment.
    fn on_query_in_segment(
        &mut self,
        bytes: &[u8],
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let text = match self.text(bytes) {
            Ok(text) => text,
            Err(refusal) => {
                self.refuse_query(bytes, &refusal, env, out);
                return Taken::Yes;
            }
        };
        let Some((meaning, doubtful)) = self.meaning_in_segment(env, out) else {
            return Taken::Held;
        };
        let analysis = match self.analyse(text, &[], &meaning, env, out) {
            Ok(Some(analysis)) => analysis,
            Ok(None) => return Taken::Held,
            Err(refusal) => {
                let refusal = if doubtful { refusal.or_in_doubt() } else { refusal };
                self.refuse_query(bytes, &refusal, env, out);
                return Taken::Yes;
            }
        };
        let statements = &analysis.statements;
        // Its end would commit what the segment did under a grant that has ended since.
        let ended = self.gate.ended_in_transaction(env.now);
        let rolls_back = matches!(&**statements, [only] if only.effect == Effect::Rollback);
        if let (Some(ended), false) = (ended, rolls_back) {
            let refusal = Refusal::TransactionEnded(ended);
            if statements.is_empty() {
                self.refuse_query(bytes, &refusal, env, out);
            } else {
                self.refuse_statements(text, &analysis, &[], &refusal, env, out);
            }
        } else if doubtful && statements.iter().any(|statement| !statement.accesses.is_empty()) {
            self.refuse_statements(text, &analysis, &[], &in_doubt(), env, out);
        } else if statements.iter().any(|s| matches!(s.effect, Effect::Call(_))) {
            let refusal = Refusal::Unsupported {
                what: "a call on the schema daypass has to stand behind a Sync".into(),
                hint: None,
            };
            self.refuse_statements(text, &analysis, &[], &refusal, env, out);
        } else if statements.is_empty() {
            // Nothing in it could need a permit, and the server ends the segment with it.
            out.control(|server| server.extend_from_slice(frame));
            self.slots.push_back(Slot::Query { runs: VecDeque::new(), text: None });
            self.segment = Segment::Closed;
        } else {
            return self.decide_query(text, frame, &analysis, &meaning, env, out);
        }
        Taken::Yes
    }

    /// What a text means; `None` when a fresh catalog was asked for, since the one at hand lacks a name.
    pub(super) fn analyse(
        &mut self,
        text: &str,
        parameters: &[TypeId],
        meaning: &Rc<Meaning>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Option<Arc<Analysed>>, Refusal> {
        match meaning.analyse(text, parameters, &env.limits.parse) {
            Ok(analysis) => Ok(Some(analysis)),
            Err(NotUnderstood::Undefined { .. }) if self.asks_again(env, out) => Ok(None),
            Err(why) => Err(Refusal::NotUnderstood(why)),
        }
    }

    /// Whether a fresh catalog was asked for, since a name is missing in the one at hand.
    pub(super) fn asks_again(&mut self, env: &Env<'_>, out: &mut Output) -> bool {
        let asks = !self.refreshed
            && self.last_refresh + super::REFRESH_PAUSE <= env.now
            && self.transaction != TransactionStatus::Failed;
        if asks {
            self.refreshed = true;
            self.ask_for_catalog(env.now, out);
        }
        asks
    }

    fn decide_query(
        &mut self,
        text: &str,
        frame: &[u8],
        analysis: &Arc<Analysed>,
        meaning: &Rc<Meaning>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let statements = &analysis.statements;
        let [first, ..] = statements.as_slice() else {
            // Nothing in it needs a server: an empty query is answered as one would.
            out.say(|own| {
                reply::empty_query(own);
                reply::ready(own, self.transaction);
            });
            return Taken::Yes;
        };
        let mut more = Vec::with_capacity(statements.len());
        let mut refusal = self.refusal_of_state(statements, env);
        for (index, statement) in statements.iter().enumerate() {
            let earlier = statements.get(..index).unwrap_or_default();
            match self.more_accesses(statement, earlier, meaning, env) {
                Ok(accesses) => more.push(accesses),
                Err(why) => {
                    refusal = refusal.or(Some(why));
                    more.push(Vec::new());
                }
            }
        }
        if let Some(refusal) = refusal {
            self.refuse_statements(text, analysis, &more, &refusal, env, out);
            return Taken::Yes;
        }
        if let Effect::Call(call) = &first.effect {
            self.call_simple(text, analysis, call, env, out);
            return Taken::Yes;
        }
        if matches!(self.link, Link::Apart(_)) {
            self.query_apart(text, analysis, env, out);
            return Taken::Yes;
        }
        let decision = match (statements.as_slice(), more.as_slice()) {
            ([only], [more]) => self.gate.decide_statement(&only.accesses, more, env.now),
            _ => {
                let own = statements.iter().flat_map(|statement| &statement.accesses);
                self.gate.decide(own.chain(more.iter().flatten()), env.now)
            }
        };
        let decision = match decision {
            Ok(permit) => match self.place_query((analysis, &more), &permit, env, out) {
                Placed::Here => Ok(permit),
                Placed::Later => return Taken::Held,
                Placed::Nowhere(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        let own = statements.iter().flat_map(|statement| &statement.accesses);
        let permit = decision.map(|permit| (permit, self.as_owner(own, out)));
        let permit = match permit {
            Ok((permit, Step::Go)) => permit,
            Ok((_, Step::Wait)) => return Taken::Held,
            Ok((_, Step::Refuse(refusal))) | Err(refusal) => {
                self.refuse_statements(text, analysis, &more, &refusal, env, out);
                return Taken::Yes;
            }
        };
        let mut runs = VecDeque::with_capacity(statements.len());
        for (index, more) in more.iter().enumerate() {
            let recorded =
                Recorded { message: text, analysis, index, more, parameters: Arc::default() };
            let (record, run) = self.trail.allow(env.now, &recorded, &permit);
            out.audit.push(record);
            runs.push_back(run);
        }
        self.gate.note_use(&permit);
        for (statement, more) in statements.iter().zip(&more) {
            self.note_changes(statement, more);
            self.note_run(statement);
        }
        let keeps_text = |statement: &Statement| matches!(statement.effect, Effect::Prepare(_));
        let text = statements.iter().any(keeps_text).then(|| text.into());
        out.forward(&permit, frame);
        self.slots.push_back(Slot::Query { runs, text });
        self.segment = Segment::Closed;
        Taken::Yes
    }

    /// Why nothing runs now, whatever the grants say.
    pub(super) fn refusal_of_state(
        &self,
        statements: &[Statement],
        env: &Env<'_>,
    ) -> Option<Refusal> {
        if !env.audit_accepts {
            return Some(Refusal::AuditDown);
        }
        let ends = matches!(statements, [only] if only.effect == Effect::Rollback);
        if self.transaction == TransactionStatus::Active && !ends {
            let ended = self.gate.ended_in_transaction(env.now);
            if let Some(ended) = ended {
                return Some(Refusal::TransactionEnded(ended));
            }
        }
        // The end of a transaction takes back what it changed of the path, and what stands behind the end
        // in the same message would be read under a path that nobody has asked for.
        let in_doubt = self.overlay.touched || self.transaction == TransactionStatus::Failed;
        let end = statements.iter().position(ends_transaction);
        if let (true, Some(end)) = (in_doubt, end)
            && statements.iter().skip(end).any(|statement| !statement.accesses.is_empty())
        {
            return Some(Refusal::Unsupported {
                what: "what follows the end of this transaction has to be a message of its own"
                    .into(),
                hint: None,
            });
        }
        None
    }

    /// What a statement needs beyond its own accesses: those of the prepared statement that it runs, or
    /// of the cursor that it reads, and, where names cannot be told apart for sure, the privilege that covers
    /// whatever they may mean.
    pub(super) fn more_accesses(
        &self,
        statement: &Statement,
        earlier: &[Statement],
        meaning: &Rc<Meaning>,
        env: &Env<'_>,
    ) -> Result<Vec<Access>, Refusal> {
        let mut more = match &statement.effect {
            Effect::Execute(name) => self.accesses_of_prepared(name, earlier, meaning, env)?,
            Effect::Fetch(name) => self.accesses_of_cursor(name, earlier)?,
            _ => Vec::new(),
        };
        let names =
            statement.accesses.iter().chain(&more).any(|access| *access != Access::Metadata);
        if self.overlay.is_blind(self.is_owner()) && names {
            more.push(Access::Admin(Object::Database));
        }
        Ok(more)
    }

    fn accesses_of_prepared(
        &self,
        name: &str,
        earlier: &[Statement],
        meaning: &Rc<Meaning>,
        env: &Env<'_>,
    ) -> Result<Vec<Access>, Refusal> {
        let same = |earlier: &&Statement| matches!(&earlier.effect, Effect::Prepare(known) if **known == *name);
        if let Some(prepare) = earlier.iter().rev().find(same) {
            return Ok(prepare.accesses.to_vec());
        }
        let Some(prepared) = self.names.prepared.get(name) else {
            return Err(Refusal::NoStatement(name.into()));
        };
        let analysis =
            prepared.analysis(meaning, &env.limits.parse).map_err(Refusal::NotUnderstood)?;
        let Some(statement) = analysis.statements.first() else { return Ok(Vec::new()) };
        // Which object a parameter names is read from Bind alone.
        let plain =
            prepared.by_sql || (statement.effect == Effect::None && statement.deferred.is_empty());
        if !plain || !Site::ALL.iter().any(|site| prepared.at[*site]) {
            return Err(Refusal::Unsupported {
                what: format!("EXECUTE of \"{name}\" is not supported: it is not a plain query"),
                hint: Some("Run it through the driver's own prepared statement.".into()),
            });
        }
        let mut accesses = statement.accesses.to_vec();
        accesses.extend(prepared.earlier());
        Ok(accesses)
    }

    fn accesses_of_cursor(
        &self,
        name: &str,
        earlier: &[Statement],
    ) -> Result<Vec<Access>, Refusal> {
        let same = |earlier: &&Statement| matches!(&earlier.effect, Effect::Declare { cursor, .. } if **cursor == *name);
        if let Some(declare) = earlier.iter().rev().find(same) {
            return Ok(declare.accesses.to_vec());
        }
        match self.names.portals.get(name) {
            Some(portal) => Ok(portal.accesses().cloned().collect()),
            None => Err(Refusal::NoPortal(name.into())),
        }
    }

    /// Refuses a whole message that was not understood, or never became a statement.
    pub(super) fn refuse_query(
        &mut self,
        text: &[u8],
        refusal: &Refusal,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let told = self.told(refusal);
        let record = self.trail.deny_opaque(env.now, text, refusal, told.sqlstate, &told.message);
        out.audit.push(record);
        self.answer_query_with(&told, out);
    }

    /// Refuses a whole message that was understood: each of its statements is recorded.
    pub(super) fn refuse_statements(
        &mut self,
        text: &str,
        analysis: &Arc<Analysed>,
        more: &[Vec<Access>],
        refusal: &Refusal,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let told = self.told(refusal);
        for index in 0..analysis.statements.len() {
            let more = more.get(index).map_or(&[][..], Vec::as_slice);
            let recorded =
                Recorded { message: text, analysis, index, more, parameters: Arc::default() };
            let record = self.trail.deny(env.now, &recorded, refusal, told.sqlstate, &told.message);
            out.audit.push(record);
        }
        self.answer_query_with(&told, out);
    }

    /// What the client is told: in a failed transaction the server would look no further.
    pub(super) fn told(&self, refusal: &Refusal) -> Report {
        let syntax = matches!(refusal, Refusal::NotUnderstood(NotUnderstood::Syntax { .. }));
        if self.transaction == TransactionStatus::Failed && !syntax {
            return report(&Refusal::FailedTransaction, self.trail.facts());
        }
        report(refusal, self.trail.facts())
    }

    /// The error of a simple query, which leaves the transaction as if the server had raised it.
    pub(super) fn answer_query_with(&mut self, told: &Report, out: &mut Output) {
        // Where a segment has left the transaction, only the server knows.
        let open = self.transaction == TransactionStatus::Active || self.segment != Segment::Rest;
        if matches!(self.link, Link::Open) && open {
            let mut error = Vec::new();
            told.write(&mut error);
            // Not SQL, so it must fail, and it does nothing else.
            out.control(|server| reply::query(server, "refused by daypass"));
            self.slots.push_back(Slot::PoisonQuery { error });
            self.segment = Segment::Closed;
            return;
        }
        if self.transaction == TransactionStatus::Active {
            self.transaction = TransactionStatus::Failed;
        }
        out.say(|own| {
            told.write(own);
            reply::ready(own, self.transaction);
        });
    }
}
