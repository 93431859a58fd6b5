//! Calls on the virtual schema `daypass`: answered by `control`, in order with everything else.

use std::rc::Rc;
use std::sync::Arc;

use crate::audit::record::Outcome;
use crate::session::call::{BoundCall, CallError, CallReply, Procedure};
use crate::session::explain::{Explained, explain, routed, unrouted};
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::routing::Why;
use crate::session::scope::{Analysed, Meaning};
use crate::session::site::Site;
use crate::session::trail::{Recorded, Running};
use crate::sql::statement::Call;
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply;

use super::overlay::Doubt;
use super::placed::unit_of;
use super::report::report;
use super::slots::{Slot, Then};
use super::{Conversation, Env, Link, Segment};

impl Conversation {
    /// Whether there is such a procedure, with so many arguments.
    pub(super) fn check_call(call: &Call) -> Result<&'static Procedure, Refusal> {
        Procedure::of(call).map_err(Refusal::Call)
    }

    pub(super) fn call_simple(
        &mut self,
        text: &str,
        analysis: &Arc<Analysed>,
        call: &Call,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let failed = self.transaction == TransactionStatus::Failed;
        let refusal = if failed { Some(Refusal::FailedTransaction) } else { None };
        let bound = BoundCall::bind(call, |_| None).map_err(Refusal::Call);
        let bound = match (refusal, Self::check_call(call), bound) {
            (None, Ok(_), Ok(bound)) => bound,
            (Some(refusal), ..) | (_, Err(refusal), _) | (.., Err(refusal)) => {
                self.refuse_statements(text, analysis, &[], &refusal, env, out);
                return;
            }
        };
        // A call needs no grant: it is how one comes by the first.
        let Ok(permit) = self.gate.decide([].iter(), env.now) else { return };
        let recorded =
            Recorded { message: text, analysis, index: 0, more: &[], parameters: Arc::default() };
        let (record, run) = self.trail.allow(env.now, &recorded, &permit);
        out.audit.push(record);
        self.slots.push_back(Slot::Call { call: bound, run, simple: true, asked: false });
        self.segment = Segment::Closed;
        self.pump(env, out);
    }

    pub(super) fn call_extended(&mut self, call: BoundCall, run: Running) {
        self.slots.push_back(Slot::Call { call, run, simple: false, asked: false });
    }

    /// The text that a call is about, and what names mean in it.
    fn asked<'c>(
        &self,
        call: &'c BoundCall,
    ) -> Result<(&'static Procedure, &'c str, &Rc<Meaning>), CallError> {
        let procedure = Procedure::find(&call.name)?;
        let error = |sqlstate, message: &str| CallError {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: Some(format!("CALL {}", procedure.signature())),
        };
        let [Some(text)] = call.arguments.as_slice() else {
            return Err(error("22023", "statement is missing"));
        };
        let Some(meaning) = self.meaning.as_ref().or(self.last_meaning.as_ref()) else {
            return Err(error("57P03", "what names mean here is not known now"));
        };
        if self.overlay.doubt != Doubt::None {
            return Err(error("0A000", "what names mean is in doubt up to the pipeline's end"));
        }
        Ok((procedure, text, meaning))
    }

    /// Says where a text would run at this moment, and why. Nothing of it runs.
    pub(super) fn route(&self, call: &BoundCall, env: &Env<'_>) -> Result<CallReply, CallError> {
        let (procedure, text, meaning) = self.asked(call)?;
        let row = match meaning.analyse(text, &[], &env.limits.parse) {
            Err(why) => unrouted(why.to_string()),
            Ok(analysis) => routed(&analysis.statements, self.forecast(&analysis)),
        };
        Ok(CallReply { columns: procedure.columns, rows: vec![row] })
    }

    fn forecast(&self, analysis: &Analysed) -> (Site, Option<Arc<str>>, Why) {
        let (site, server, why) = if self.transaction == TransactionStatus::Idle {
            self.routing.forecast(&unit_of(analysis.statements.iter()))
        } else {
            (self.at, None, Why::Transaction)
        };
        (site, server.or_else(|| self.trail.backend(site).cloned()), why)
    }

    /// Says what a text needs, with the names of this moment. Nothing of it runs.
    pub(super) fn explain(&self, call: &BoundCall, env: &Env<'_>) -> Result<CallReply, CallError> {
        let (procedure, text, meaning) = self.asked(call)?;
        let mut rows = Vec::new();
        match meaning.analyse(text, &[], &env.limits.parse) {
            Err(why) => rows.push(Explained::refused(why.to_string())),
            Ok(analysis) => {
                for (index, statement) in analysis.statements.iter().enumerate() {
                    let earlier = analysis.statements.get(..index).unwrap_or_default();
                    match self.more_accesses(statement, earlier, meaning, env) {
                        Ok(more) => {
                            let explained =
                                explain((index + 1, statement), &more, self.gate.held(), env.now);
                            rows.extend(explained.into_iter().map(Explained::row));
                        }
                        Err(why) => {
                            rows.push(Explained::refused(report(&why, self.trail.facts()).message));
                        }
                    }
                }
            }
        }
        Ok(CallReply { columns: procedure.columns, rows })
    }

    /// A call has been answered.
    pub fn on_call_result(
        &mut self,
        result: Result<CallReply, CallError>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some(Slot::Call { mut run, simple, .. }) = self.slots.pop_front() else { return };
        match result {
            Ok(mut answer) => {
                self.routing.complete(&mut answer);
                run.rows = answer.rows.len() as u64;
                out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
                let status = self.transaction;
                out.say(|own| {
                    if simple {
                        reply::row_description(own, answer.columns);
                    }
                    for row in &answer.rows {
                        reply::data_row(own, row);
                    }
                    reply::command_complete(own, "CALL");
                    if simple {
                        reply::ready(own, status);
                    }
                });
                if simple {
                    self.segment = Segment::Rest;
                    self.close_if_drained(out);
                }
            }
            Err(error) => {
                let state = Some(error.sqlstate);
                out.audit.push(self.trail.result(env.now, &run, Outcome::Error, state));
                self.fail_call(error, simple, out);
            }
        }
        self.pump(env, out);
    }

    fn fail_call(&mut self, error: CallError, simple: bool, out: &mut Output) {
        let told = self.told(&Refusal::Call(error));
        if simple {
            self.segment = Segment::Rest;
            self.answer_query_with(&told, out);
            return;
        }
        // Nothing of the segment was taken after the call, so the slots behind it are none.
        if let Link::Open = self.link {
            self.poison_segment(&told, out);
            return;
        }
        let mut error = Vec::new();
        told.write(&mut error);
        self.slots.push_back(Slot::Own { reply: error, then: Then::Skip });
        self.segment = Segment::Open { skipping: true };
    }
}
