//! The extended protocol: a segment of Parse, Bind, Describe, Execute, Close up to Sync. Each message is
//! decided when it is taken; a denied one is replaced by one that must fail, so that the server itself
//! skips what follows and no later Sync commits what the client believes undone.

use std::rc::Rc;
use std::sync::Arc;

use crate::audit::record::Parameter;
use crate::session::call::{BoundCall, Procedure};
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::scope::{Analysed, Meaning};
use crate::session::site::Sites;
use crate::session::trail::Recorded;
use crate::sql::access::Access;
use crate::sql::postgres::{Bound, Scope, resolve};
use crate::sql::statement::{Analysis, Effect, NotUnderstood, Statement};
use crate::wire::postgres::frame::Violation;
use crate::wire::postgres::message::{Bind, Frontend, Target, TransactionStatus, Value};
use crate::wire::postgres::reply::{self, Report};

use super::names::{Portal, Prepared, declared, only};
use super::overlay::in_doubt;
use super::owner::Step;
use super::slots::{Slot, Then};
use super::{Conversation, Env, Link, Segment, Taken};

impl Conversation {
    pub(super) fn on_extended(
        &mut self,
        message: &Frontend<'_>,
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Taken, Violation> {
        if let (Segment::Open { skipping: true }, false) =
            (self.segment, matches!(message, Frontend::Sync))
        {
            return Ok(Taken::Yes);
        }
        if !self.may_start_or_continue() {
            return Ok(Taken::Held);
        }
        if self.segment == Segment::Rest && !matches!(message, Frontend::Sync | Frontend::Flush) {
            if let Some(refusal) = self.refuse_unreachable() {
                self.refuse_in_segment(&[], &refusal, env, out);
                return Ok(Taken::Yes);
            }
            if matches!(self.link, Link::Apart(_)) && self.gate.has_live_grant(env.now) {
                self.open_upstream(env.now, out);
                return Ok(Taken::Held);
            }
            // Inside the segment nothing can be asked, so what names mean is asked before it.
            if self.ready_to_analyse(env, out).is_none() {
                return Ok(Taken::Held);
            }
        }
        let taken = match message {
            Frontend::Parse { name, text, types } => {
                self.on_parse(name, (text, types), frame, env, out)
            }
            Frontend::Bind(bind) => self.on_bind(bind, frame, env, out),
            Frontend::Describe(target) => self.on_describe(*target, frame, env, out),
            Frontend::Execute { portal, .. } => self.on_execute(portal, frame, env, out),
            Frontend::Close(target) => self.on_close(*target, frame, out),
            Frontend::Sync => self.on_sync(frame, env, out),
            Frontend::Flush => {
                if let Link::Open = self.link {
                    out.control(|server| server.extend_from_slice(frame));
                }
                return Ok(Taken::Yes);
            }
            _ => {
                let tag = frame.first().map_or('?', |&tag| char::from(tag));
                return Err(Violation::Unexpected(tag));
            }
        };
        let ends = matches!(message, Frontend::Sync);
        if taken == Taken::Yes && !ends {
            if self.segment == Segment::Rest {
                self.segment = Segment::Open { skipping: false };
            }
            self.pump(env, out);
        }
        Ok(taken)
    }

    fn on_parse(
        &mut self,
        name: &str,
        (bytes, types): (&[u8], &[u8]),
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let text = match self.text(bytes) {
            Ok(text) => text,
            Err(refusal) => return self.refuse_in_segment(bytes, &refusal, env, out),
        };
        let Some((meaning, doubtful)) = self.meaning_in_segment(env, out) else {
            return Taken::Held;
        };
        let analysis = match self.analyse(text, &declared(types), &meaning, env, out) {
            Ok(Some(analysis)) => analysis,
            Ok(None) => return Taken::Held,
            Err(refusal) => {
                let refusal = if doubtful { refusal.or_in_doubt() } else { refusal };
                return self.refuse_in_segment(bytes, &refusal, env, out);
            }
        };
        if let Err(refusal) = self.check_parse(name, &analysis, &meaning, doubtful, env) {
            return self.refuse_statement(text, &analysis, &Arc::default(), &refusal, env, out);
        }
        let own = analysis.statements.iter().flat_map(|statement| &statement.accesses);
        match self.as_owner(own, out) {
            Step::Go => (),
            Step::Wait => return Taken::Held,
            Step::Refuse(refusal) => {
                let none = Arc::default();
                return self.refuse_statement(text, &analysis, &none, &refusal, env, out);
            }
        }
        let at_server = matches!(self.link, Link::Open) && !is_call(&analysis);
        let at = if at_server { only(self.at) } else { Sites::default() };
        let prepared = Rc::new(Prepared::new((text, types), false, at, &meaning, &analysis));
        if at_server {
            self.make_room(name, out);
            out.control(|server| server.extend_from_slice(frame));
            self.slots.push_back(Slot::Parse { name: name.into(), prepared });
        } else {
            let mut reply = Vec::new();
            reply::parse_complete(&mut reply);
            let then = Then::Prepare(name.into(), prepared);
            self.slots.push_back(Slot::Own { reply, then });
        }
        Taken::Yes
    }

    fn check_parse(
        &self,
        name: &str,
        analysis: &Arc<Analysed>,
        meaning: &Rc<Meaning>,
        doubtful: bool,
        env: &Env<'_>,
    ) -> Result<(), Refusal> {
        if self.transaction == TransactionStatus::Failed && self.slots.is_empty() {
            let ends = analysis.statements.iter().all(|statement| {
                matches!(
                    statement.effect,
                    Effect::Commit | Effect::Rollback | Effect::RollbackTo(_)
                )
            });
            if !ends {
                return Err(Refusal::FailedTransaction);
            }
        }
        let max = env.limits.wire.prepared_statements_max;
        if !self.names.prepared.contains_key(name) && self.names.prepared.len() >= max {
            return Err(Refusal::TooMany {
                what: format!("the session has {max} prepared statements"),
            });
        }
        let statement = match analysis.statements.as_slice() {
            [] => return Ok(()),
            [statement] => statement,
            _ => {
                return Err(Refusal::NotUnderstood(NotUnderstood::Syntax {
                    message: "cannot insert multiple commands into a prepared statement".into(),
                    position: None,
                }));
            }
        };
        if doubtful && !statement.accesses.is_empty() {
            return Err(in_doubt());
        }
        if let Effect::Call(call) = &statement.effect {
            Self::check_call(call)?;
        }
        if let Some(refusal) = self.refusal_of_state(&analysis.statements, env) {
            return Err(refusal);
        }
        if matches!(self.link, Link::Open) || matches!(statement.effect, Effect::Call(_)) {
            let more = self.more_accesses(statement, &[], meaning, env)?;
            return self.gate.decide_statement(&statement.accesses, &more, env.now).map(drop);
        }
        self.check_apart(statement, env)
    }

    fn on_bind(
        &mut self,
        bind: &Bind<'_>,
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let Some(prepared) = self.find_prepared(bind.statement) else {
            let refusal = Refusal::NoStatement(bind.statement.into());
            return self.refuse_in_segment(&[], &refusal, env, out);
        };
        let Some((meaning, doubtful)) = self.meaning_in_segment(env, out) else {
            return Taken::Held;
        };
        let analysis = match prepared.analysis(&meaning, &env.limits.parse) {
            Ok(analysis) => analysis,
            Err(why) => {
                let refusal = Refusal::NotUnderstood(why);
                let refusal = if doubtful { refusal.or_in_doubt() } else { refusal };
                return self.refuse_in_segment(prepared.text.as_bytes(), &refusal, env, out);
            }
        };
        let values = bind.values().map(|value| match value {
            Value::Null => (None, false),
            Value::Text(bytes) => (Some(bytes), false),
            Value::Binary(bytes) => (Some(bytes), true),
        });
        let parameters = self.trail.parameters(values);
        let checked = self.check_bind(bind, &prepared, &analysis, &meaning, doubtful, env);
        let own = analysis.statements.iter().flat_map(|statement| &statement.accesses);
        let checked = checked.map(|more| (more, self.as_owner(own, out)));
        let more = match checked {
            Ok((more, Step::Go)) => more,
            Ok((_, Step::Wait)) => return Taken::Held,
            // A value names what is newer than the catalog.
            Err(Refusal::NotUnderstood(NotUnderstood::Undefined { .. }))
                if self.asks_again(env, out) =>
            {
                return Taken::Held;
            }
            Ok((_, Step::Refuse(refusal))) | Err(refusal) => {
                let text = Rc::clone(&prepared.text);
                return self.refuse_statement(&text, &analysis, &parameters, &refusal, env, out);
            }
        };
        let call_values = if is_call(&analysis) { texts(bind) } else { Rc::default() };
        let to_server = matches!(self.link, Link::Open) && !is_call(&analysis);
        let portal = Rc::new(Portal {
            text: Rc::clone(&prepared.text),
            analysis,
            more,
            parameters,
            call_values,
            hold: false,
            at_server: to_server,
        });
        let name: Box<str> = bind.portal.into();
        if to_server {
            self.teach_server(bind.statement, &prepared, out);
            out.control(|server| server.extend_from_slice(frame));
            self.slots.push_back(Slot::Bind { name, portal });
        } else {
            let mut reply = Vec::new();
            reply::bind_complete(&mut reply);
            self.slots.push_back(Slot::Own { reply, then: Then::Bind(name, portal) });
        }
        Taken::Yes
    }

    /// Prepares at the server what was prepared before there was one.
    pub(super) fn teach_server(&mut self, name: &str, prepared: &Rc<Prepared>, out: &mut Output) {
        if prepared.at[self.at] {
            return;
        }
        if self.names.stale[self.at].remove(name) {
            self.close_stale(name, out);
        }
        out.control(|server| reply::parse(server, name, &prepared.text, &prepared.types));
        let prepared = Rc::new(prepared.known(self.at, true));
        self.slots.push_back(Slot::InternalParse { name: name.into(), prepared });
    }

    /// Before a Parse of the client's: the server is to know the name if the client has it, and not if it has not.
    fn make_room(&mut self, name: &str, out: &mut Output) {
        if name.is_empty() {
            return;
        }
        if let Some(known) = self.find_prepared(name) {
            // So that it says itself that there is one.
            self.teach_server(name, &known, out);
        } else if self.names.stale[self.at].remove(name) {
            self.close_stale(name, out);
        }
    }

    fn close_stale(&mut self, name: &str, out: &mut Output) {
        out.control(|server| reply::close_statement(server, name));
        self.slots.push_back(Slot::InternalClose);
    }

    fn check_bind(
        &self,
        bind: &Bind<'_>,
        prepared: &Prepared,
        analysis: &Arc<Analysed>,
        meaning: &Rc<Meaning>,
        doubtful: bool,
        env: &Env<'_>,
    ) -> Result<Rc<[Access]>, Refusal> {
        let max = env.limits.wire.portals_max;
        if !self.names.portals.contains_key(bind.portal) && self.names.portals.len() >= max {
            return Err(Refusal::TooMany {
                what: format!("the session has {max} portals and cursors"),
            });
        }
        let Some(statement) = analysis.statements.first() else { return Ok(Rc::default()) };
        if doubtful && !statement.accesses.is_empty() {
            return Err(in_doubt());
        }
        if let Some(refusal) = self.refusal_of_state(&analysis.statements, env) {
            return Err(refusal);
        }
        if let (Link::Apart(_), false) = (&self.link, is_call(analysis)) {
            self.check_apart(statement, env)?;
            return Ok(Rc::default());
        }
        // SQL's PREPARE has the accesses of its body; bound, the body itself is what runs.
        let mut more = prepared.earlier();
        if !prepared.by_sql {
            more.extend(self.more_accesses(statement, &[], meaning, env)?);
        }
        more.extend(bound_accesses(statement, bind, prepared, meaning)?);
        self.gate.decide_statement(&statement.accesses, &more, env.now)?;
        Ok(more.into())
    }

    fn on_describe(
        &mut self,
        target: Target<'_>,
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let (procedure, at_server, parameters) = match target {
            Target::Statement(name) => {
                let Some(prepared) = self.find_prepared(name) else {
                    let refusal = Refusal::NoStatement(name.into());
                    return self.refuse_in_segment(&[], &refusal, env, out);
                };
                let procedure = prepared.call().map(|call| call.name);
                if procedure.is_none() && matches!(self.link, Link::Open) {
                    self.teach_server(name, &prepared, out);
                }
                let at_server = procedure.is_none() && matches!(self.link, Link::Open);
                (procedure, at_server, Some(prepared.types.len() / 4))
            }
            Target::Portal(name) => {
                let Some(portal) = self.find_portal(name) else {
                    let refusal = Refusal::NoPortal(name.into());
                    return self.refuse_in_segment(&[], &refusal, env, out);
                };
                (portal.procedure().map(Box::from), portal.at_server, None)
            }
        };
        if at_server {
            out.control(|server| server.extend_from_slice(frame));
            self.slots.push_back(Slot::Describe);
            return Taken::Yes;
        }
        let mut reply = Vec::new();
        if let Some(count) = parameters {
            let count = match (&procedure, target) {
                (Some(_), Target::Statement(name)) => self.count_call_parameters(name).max(count),
                _ => count,
            };
            reply::parameter_description(&mut reply, u16::try_from(count).unwrap_or(u16::MAX));
        }
        match procedure.and_then(|procedure| Procedure::find(&procedure).ok()) {
            Some(procedure) => reply::row_description(&mut reply, procedure.columns),
            None => reply::no_data(&mut reply),
        }
        self.slots.push_back(Slot::Own { reply, then: Then::Nothing });
        Taken::Yes
    }

    fn on_execute(
        &mut self,
        name: &str,
        frame: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let Some(portal) = self.find_portal(name) else {
            let refusal = Refusal::NoPortal(name.into());
            return self.refuse_in_segment(&[], &refusal, env, out);
        };
        let Some(statement) = portal.statement() else {
            return self.execute_empty(&portal, frame, out);
        };
        let refusal = self.refusal_of_state(std::slice::from_ref(statement), env);
        let decision = match refusal {
            Some(refusal) => Err(refusal),
            None => self.gate.decide_statement(&statement.accesses, &portal.more, env.now),
        };
        let decision = decision.and_then(|permit| {
            let accesses = statement.accesses.iter().chain(&*portal.more);
            match self.refusal_of_place(statement, accesses, &permit, env.now) {
                Some(refusal) => Err(refusal),
                None => Ok(permit),
            }
        });
        let own = statement.accesses.iter();
        let decision = decision.map(|permit| (permit, self.as_owner(own, out)));
        let permit = match decision {
            Ok((permit, Step::Go)) => permit,
            Ok((_, Step::Wait)) => return Taken::Held,
            Ok((_, Step::Refuse(refusal))) | Err(refusal) => {
                let parameters = Arc::clone(&portal.parameters);
                return self.refuse_statement(
                    &portal.text,
                    &portal.analysis,
                    &parameters,
                    &refusal,
                    env,
                    out,
                );
            }
        };
        if !portal.at_server && !is_call(&portal.analysis) {
            self.execute_apart(&portal, &permit, env, out);
            return Taken::Yes;
        }
        let recorded = Recorded {
            message: &portal.text,
            analysis: &portal.analysis,
            index: 0,
            more: &portal.more,
            parameters: Arc::clone(&portal.parameters),
        };
        let (record, run) = self.trail.allow(env.now, &recorded, &permit);
        if let Effect::Call(call) = &statement.effect {
            let value = |n: u16| portal.call_values.get(usize::from(n).checked_sub(1)?).cloned();
            match BoundCall::bind(call, value) {
                Ok(call) => {
                    out.audit.push(record);
                    self.call_extended(call, run);
                }
                Err(error) => {
                    return self.refuse_in_segment(&[], &Refusal::Call(error), env, out);
                }
            }
            return Taken::Yes;
        }
        out.audit.push(record);
        self.gate.note_use(&permit);
        self.note_run(statement);
        self.note_changes(statement, &portal.more);
        out.forward(&permit, frame);
        self.slots.push_back(Slot::Execute { portal: name.into(), run });
        Taken::Yes
    }

    fn execute_empty(&mut self, portal: &Rc<Portal>, frame: &[u8], out: &mut Output) -> Taken {
        if portal.at_server {
            // The server answers EmptyQueryResponse; nothing in it could need a permit.
            out.control(|server| server.extend_from_slice(frame));
            self.slots.push_back(Slot::Empty);
        } else {
            let mut reply = Vec::new();
            reply::empty_query(&mut reply);
            self.slots.push_back(Slot::Own { reply, then: Then::Nothing });
        }
        Taken::Yes
    }

    fn on_close(&mut self, target: Target<'_>, frame: &[u8], out: &mut Output) -> Taken {
        let known_here = match target {
            Target::Statement(name) => {
                self.find_prepared(name).is_some_and(|known| !known.at[self.at])
            }
            Target::Portal(name) => self.find_portal(name).is_some_and(|known| !known.at_server),
        };
        if known_here || !matches!(self.link, Link::Open) {
            let mut reply = Vec::new();
            reply::close_complete(&mut reply);
            let then = match target {
                Target::Statement(name) => Then::CloseStatement(name.into()),
                Target::Portal(name) => Then::ClosePortal(name.into()),
            };
            self.slots.push_back(Slot::Own { reply, then });
            return Taken::Yes;
        }
        out.control(|server| server.extend_from_slice(frame));
        self.slots.push_back(match target {
            Target::Statement(name) => Slot::CloseStatement(name.into()),
            Target::Portal(name) => Slot::ClosePortal(name.into()),
        });
        Taken::Yes
    }

    fn on_sync(&mut self, frame: &[u8], env: &mut Env<'_>, out: &mut Output) -> Taken {
        if !matches!(self.link, Link::Open) {
            self.slots.push_back(Slot::OwnSync);
            self.segment = Segment::Closed;
            self.pump(env, out);
            return Taken::Yes;
        }
        let skipping = self.segment == Segment::Open { skipping: true };
        if self.transaction == TransactionStatus::Idle && !skipping {
            // Sync would commit what ran under a grant that has ended since.
            if let Some(ended) = self.gate.ended_in_transaction(env.now) {
                self.poison_segment(&self.told(&Refusal::TransactionEnded(ended)), out);
            }
        }
        out.control(|server| server.extend_from_slice(frame));
        self.slots.push_back(Slot::Sync);
        self.segment = Segment::Closed;
        Taken::Yes
    }

    /// Refuses a message of a segment that was not understood, or never became a statement.
    pub(super) fn refuse_in_segment(
        &mut self,
        text: &[u8],
        refusal: &Refusal,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let told = self.told(refusal);
        let record = self.trail.deny_opaque(env.now, text, refusal, told.sqlstate, &told.message);
        out.audit.push(record);
        self.poison_segment(&told, out);
        self.pump(env, out);
        Taken::Yes
    }

    /// Refuses a message of a segment whose statement was understood.
    fn refuse_statement(
        &mut self,
        text: &str,
        analysis: &Arc<Analysed>,
        parameters: &Arc<[Parameter]>,
        refusal: &Refusal,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let told = self.told(refusal);
        let recorded = Recorded {
            message: text,
            analysis,
            index: 0,
            more: &[],
            parameters: Arc::clone(parameters),
        };
        let record = self.trail.deny(env.now, &recorded, refusal, told.sqlstate, &told.message);
        out.audit.push(record);
        self.poison_segment(&told, out);
        self.pump(env, out);
        Taken::Yes
    }

    /// Has the segment fail here: the server is sent what must fail and harms nothing, and its error is
    /// replaced by ours. Whether it gets that far is its business: after an earlier error it skips this, too.
    pub(super) fn poison_segment(&mut self, told: &Report, out: &mut Output) {
        let mut error = Vec::new();
        told.write(&mut error);
        if let Link::Open = self.link {
            out.control(|server| reply::execute(server, &self.poison));
            self.slots.push_back(Slot::Poison { error });
        } else {
            self.slots.push_back(Slot::Own { reply: error, then: Then::Skip });
        }
        self.segment = Segment::Open { skipping: true };
    }

    /// The statement that a name will stand for when the server comes to the next message. A statement of
    /// SQL that is still on its way and may change the names makes every name unknown.
    fn find_prepared(&self, name: &str) -> Option<Rc<Prepared>> {
        for slot in self.slots.iter().rev() {
            match slot {
                Slot::Parse { name: known, prepared }
                | Slot::InternalParse { name: known, prepared }
                | Slot::Own { then: Then::Prepare(known, prepared), .. }
                    if **known == *name =>
                {
                    return Some(Rc::clone(prepared));
                }
                Slot::CloseStatement(known)
                | Slot::Own { then: Then::CloseStatement(known), .. }
                    if **known == *name =>
                {
                    return None;
                }
                Slot::Execute { run, .. }
                    if run.statement().is_some_and(|statement| {
                        matches!(
                            statement.effect,
                            Effect::Prepare(_) | Effect::Deallocate(_) | Effect::DiscardAll
                        )
                    }) =>
                {
                    return None;
                }
                _ => (),
            }
        }
        self.names.prepared.get(name).cloned()
    }

    /// The portal that a name will stand for when the server comes to the next message.
    fn find_portal(&self, name: &str) -> Option<Rc<Portal>> {
        for slot in self.slots.iter().rev() {
            match slot {
                Slot::Bind { name: known, portal }
                | Slot::Own { then: Then::Bind(known, portal), .. }
                    if **known == *name =>
                {
                    return Some(Rc::clone(portal));
                }
                Slot::ClosePortal(known) | Slot::Own { then: Then::ClosePortal(known), .. }
                    if **known == *name =>
                {
                    return None;
                }
                Slot::Execute { run, .. }
                    if run.statement().is_some_and(|statement| {
                        matches!(
                            statement.effect,
                            Effect::Declare { .. }
                                | Effect::CloseCursor(_)
                                | Effect::DiscardAll
                                | Effect::Commit
                                | Effect::Rollback
                                | Effect::RollbackTo(_)
                        )
                    }) =>
                {
                    return None;
                }
                _ => (),
            }
        }
        self.names.portals.get(name).cloned()
    }

    fn count_call_parameters(&self, name: &str) -> usize {
        use crate::sql::statement::Argument;
        let Some(prepared) = self.find_prepared(name) else { return 0 };
        prepared
            .call()
            .into_iter()
            .flat_map(|call| call.arguments)
            .filter_map(|argument| match argument {
                Argument::Parameter(number) => Some(usize::from(number)),
                Argument::Null | Argument::Literal(_) => None,
            })
            .max()
            .unwrap_or(0)
    }
}

fn is_call(analysis: &Analysis) -> bool {
    matches!(analysis.statements.as_slice(), [only] if matches!(only.effect, Effect::Call(_)))
}

/// What the bound values of a statement name, where that is for its parameters to say.
fn bound_accesses(
    statement: &Statement,
    bind: &Bind<'_>,
    prepared: &Prepared,
    meaning: &Meaning,
) -> Result<Vec<Access>, Refusal> {
    if statement.deferred.is_empty() {
        return Ok(Vec::new());
    }
    let mut types = declared(&prepared.types).into_iter();
    let values = bind.values().map(|value| {
        let declared = types.next().unwrap_or(0);
        match value {
            Value::Null => Bound { bytes: None, binary: false, declared },
            Value::Text(bytes) => Bound { bytes: Some(bytes), binary: false, declared },
            Value::Binary(bytes) => Bound { bytes: Some(bytes), binary: true, declared },
        }
    });
    let values: Vec<Bound<'_>> = values.collect();
    let scope = Scope { catalog: &meaning.catalog, path: &meaning.path, parameters: &[] };
    let mut more = Vec::new();
    for deferred in &statement.deferred {
        more.extend(resolve(deferred, &values, &scope).map_err(Refusal::NotUnderstood)?);
    }
    Ok(more)
}

/// Bound values as text. The types of a call's parameters are text, whose binary form is the same bytes.
fn texts(bind: &Bind<'_>) -> Rc<[Option<Box<str>>]> {
    bind.values()
        .map(|value| match value {
            Value::Null => None,
            Value::Text(bytes) | Value::Binary(bytes) => {
                Some(String::from_utf8_lossy(bytes).into())
            }
        })
        .collect()
}
