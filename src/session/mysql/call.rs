//! Calls on the virtual schema `daypass`, and KILL: answered by others than the server, in order with
//! everything else.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::audit::record::Outcome;
use crate::session::call::{BoundCall, CallError, CallReply, EXPLAIN, Procedure, ROUTE};
use crate::session::explain::{Explained, explain, routed, unrouted};
use crate::session::machine::KillOutcome;
use crate::session::output::{Command, Output};
use crate::session::refusal::Refusal;
use crate::session::scope::{Analysed, Meaning, MysqlNames};
use crate::session::trail::{Recorded, Running};
use crate::sql::statement::Call as Named;
use crate::wire::mysql::report::{Form, Report, result};

use super::texts::shown;
use super::{Call, Conversation, Current, Env, Said};

impl Conversation {
    pub(super) fn call_text(
        &mut self,
        said: Said<'_>,
        analysis: &Arc<Analysed>,
        call: &Named,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        self.begin_call(said, analysis, call, Form::Text, env, out);
    }

    /// Records a call and asks for its answer.
    pub(super) fn begin_call(
        &mut self,
        said: Said<'_>,
        analysis: &Arc<Analysed>,
        call: &Named,
        form: Form,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let bound = Procedure::of(call).and_then(|_| BoundCall::bind(call, |_| None));
        let bound = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let refusal = Refusal::Call(error);
                return self.refuse_statements(said, analysis, &[], &refusal, env, out);
            }
        };
        // A call needs no grant: it is how one comes by the first.
        let Ok(permit) = self.gate.decide([].iter(), env.now) else { return };
        let message = &*shown(said.text);
        let parameters = Arc::default();
        let recorded = Recorded { message, analysis, index: 0, more: &[], parameters };
        let (record, run) = self.trail.allow(env.now, &recorded, &permit);
        out.audit.push(record);
        let explained = match &*bound.name {
            EXPLAIN => Some(self.explain(&bound, env)),
            ROUTE => Some(self.route(&bound, env)),
            _ => None,
        };
        let call = Call { call: bound, run, form, sequence: said.sequence };
        if explained.is_none() {
            out.command(Command::Call(call.call.clone()));
        }
        self.current = Current::Call(call);
        if let Some(answer) = explained {
            self.on_call_result(answer, env, out);
        }
    }

    /// A call has been answered.
    pub fn on_call_result(
        &mut self,
        answer: Result<CallReply, CallError>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Current::Call(call) = &mut self.current else { return };
        let (mut sequence, form) = (call.sequence, call.form);
        match answer {
            Ok(mut answer) => {
                self.routing.complete(&mut answer);
                call.run.rows = answer.rows.len() as u64;
                out.audit.push(self.trail.result(env.now, &call.run, Outcome::Ok, None));
                let (status, capabilities) = (self.status, self.capabilities);
                out.say(|own| {
                    let CallReply { columns, rows } = &answer;
                    result(own, &mut sequence, columns, rows, form, status, capabilities);
                });
            }
            Err(error) => {
                let state = Some(error.sqlstate);
                out.audit.push(self.trail.result(env.now, &call.run, Outcome::Error, state));
                let told = self.told(&Refusal::Call(error));
                Self::refuse_with(&told, sequence, out);
            }
        }
        self.current = Current::Rest;
        self.close_if_drained(out);
    }

    /// The text that a call is about, and what names mean in it.
    fn asked<'c>(
        &self,
        call: &'c BoundCall,
    ) -> Result<(&'static Procedure, &'c str, &Rc<Meaning<MysqlNames>>), CallError> {
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
        let Some(meaning) = &self.meaning else {
            return Err(error("HY000", "what names mean here is not known now"));
        };
        Ok((procedure, text, meaning))
    }

    /// Says where a text would run at this moment, and why. Nothing of it runs.
    fn route(&self, call: &BoundCall, env: &Env<'_>) -> Result<CallReply, CallError> {
        let (procedure, text, meaning) = self.asked(call)?;
        let row = match meaning.analyse(text.as_bytes(), &[], &env.limits.parse) {
            Err(why) => unrouted(why.to_string()),
            Ok(analysis) => {
                let (site, server, why) = self.forecast(&analysis.statements);
                let server = server.or_else(|| self.trail.backend(site).cloned());
                routed(&analysis.statements, (site, server, why))
            }
        };
        Ok(CallReply { columns: procedure.columns, rows: vec![row] })
    }

    /// Says what a text needs, with the names of this moment. Nothing of it runs.
    fn explain(&self, call: &BoundCall, env: &Env<'_>) -> Result<CallReply, CallError> {
        let (procedure, text, meaning) = self.asked(call)?;
        let rows = self.explained(text, meaning, env);
        Ok(CallReply { columns: procedure.columns, rows })
    }

    fn explained(
        &self,
        text: &str,
        meaning: &Rc<Meaning<MysqlNames>>,
        env: &Env<'_>,
    ) -> Vec<Vec<Option<String>>> {
        let analysis = match meaning.analyse(text.as_bytes(), &[], &env.limits.parse) {
            Ok(analysis) => analysis,
            Err(why) => return vec![Explained::refused(why.to_string())],
        };
        let mut rows = Vec::new();
        for (index, statement) in analysis.statements.iter().enumerate() {
            match self.more_accesses(statement, meaning, env) {
                Ok(more) => {
                    let held = self.gate.held();
                    let lines = explain((index + 1, statement), &more, held, env.now);
                    rows.extend(lines.into_iter().map(Explained::row));
                }
                Err(why) => rows.push(Explained::refused(self.told(&why).message)),
            }
        }
        rows
    }

    /// KILL: of this session itself, or of another that somebody else has to find.
    pub(super) fn kill(
        &mut self,
        connection: u64,
        query: bool,
        mut runs: VecDeque<Running>,
        sequence: u8,
        env: &Env<'_>,
        out: &mut Output,
    ) {
        let Some(run) = runs.pop_front() else { return };
        if connection != self.connection {
            out.command(Command::Kill { connection, query });
            self.current = Current::Kill { run, sequence };
            return;
        }
        out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
        let told = Report::new(1317, "70100", "Query execution was interrupted");
        Self::refuse_with(&told, sequence, out);
        if !query {
            self.close(None, out);
        }
    }

    /// The KILL of another session has been done, or not.
    pub fn on_kill_result(&mut self, outcome: KillOutcome, env: &Env<'_>, out: &mut Output) {
        let (run, sequence) = match std::mem::replace(&mut self.current, Current::Rest) {
            Current::Kill { run, sequence } => (run, sequence),
            other => {
                self.current = other;
                return;
            }
        };
        match outcome {
            KillOutcome::Done => {
                out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
                self.say_okay(sequence, out);
            }
            KillOutcome::Unknown => {
                let told = Report::new(1094, "HY000", "Unknown thread id among your sessions here");
                let state = Some(told.sqlstate);
                out.audit.push(self.trail.result(env.now, &run, Outcome::Error, state));
                Self::refuse_with(&told, sequence, out);
            }
        }
        self.close_if_drained(out);
    }
}
