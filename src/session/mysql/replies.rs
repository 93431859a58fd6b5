//! What the server says: passed on, counted, and noted where it changes what is known of the session.

use std::ops::Range;
use std::sync::Arc;

use crate::audit::record::Outcome;
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::site::Site;
use crate::session::trail::Running;
use crate::sql::statement::{Effect, Statement};
use crate::wire::mysql::packet::Violation;
use crate::wire::mysql::reply::{Event, Step, parting};
use crate::wire::mysql::report::Report;
use crate::wire::mysql::response::{Failure, Okay};

use super::{Conversation, Current, Env, Statements, Work};

/// ER_QUERY_INTERRUPTED.
const INTERRUPTED: u16 = 1317;

impl Conversation {
    /// Takes what the server has sent, as far as it is whole: how many bytes. Ranges in `out` are of `input`.
    ///
    /// # Errors
    /// When the server broke the protocol.
    pub fn on_server(
        &mut self,
        site: Site,
        input: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<usize, Violation> {
        if site != self.at {
            return Ok(self.on_idle(site, input));
        }
        let Some(mut taken) = self.before_it_passes(input, env.now, out)? else { return Ok(0) };
        while !self.closing {
            let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) else { break };
            let Current::Server { reply, between, .. } = &mut self.current else {
                return self.on_parting(input, taken, out);
            };
            match reply.advance(rest)? {
                Step::Read => break,
                Step::Pass(bytes) => {
                    *between = false;
                    self.on_pass(rest.get(..bytes).unwrap_or_default(), taken, out);
                    taken += bytes;
                }
                Step::Packet { bytes, event } => {
                    *between = true;
                    self.on_event(&event, taken..taken + bytes, env, out);
                    taken += bytes;
                }
            }
            if matches!(&self.current, Current::Server { reply, .. } if reply.is_over()) {
                self.on_reply_end(env, out);
            }
        }
        Ok(taken)
    }

    /// A server speaks of which nothing is expected: a replica that goes. The primary is heard later.
    fn on_idle(&mut self, site: Site, input: &[u8]) -> usize {
        if site == Site::Primary {
            return 0;
        }
        self.replica_has_changed = true;
        input.len()
    }

    /// Nothing is under way: the server says why it goes.
    fn on_parting(
        &mut self,
        input: &[u8],
        taken: usize,
        out: &mut Output,
    ) -> Result<usize, Violation> {
        let rest = input.get(taken..).unwrap_or_default();
        let Some((bytes, _)) = parting(rest)? else { return Ok(taken) };
        if !matches!(self.current, Current::Rest) {
            return Ok(taken);
        }
        out.pass(taken..taken + bytes);
        self.server_said_why = true;
        Ok(taken + bytes)
    }

    fn on_pass(&mut self, bytes: &[u8], at: usize, out: &mut Output) {
        // The answer is short, whatever the server thinks of it.
        const ANSWER_BYTES_MAX: usize = 64 << 10;
        if !self.is_own() {
            out.pass(at..at + bytes.len());
        } else if let Current::Server {
            work: Work::Question(passed) | Work::Asked { passed, .. },
            ..
        } = &mut self.current
            && passed.len() + bytes.len() <= ANSWER_BYTES_MAX
        {
            passed.extend_from_slice(bytes);
        }
    }

    fn on_event(
        &mut self,
        event: &Event<'_>,
        range: Range<usize>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        if let Event::LocalInfile(file) = event {
            self.on_file(file, range, out);
            return;
        }
        let mut ours = None;
        match event {
            Event::Okay(okay) => {
                self.note(okay);
                self.on_statement_end((okay.affected, 0), true, env, out);
            }
            Event::RowsEnd { end, rows, bytes, cursor } => {
                self.note(end);
                if *cursor {
                    self.open_cursor();
                }
                self.on_statement_end((*rows, *bytes), false, env, out);
            }
            Event::ColumnsEnd { end, cursor } => {
                self.note(end);
                if *cursor {
                    self.open_cursor();
                }
                // The rows of a cursor are fetched.
                if matches!(&self.current, Current::Server { reply, .. } if reply.is_over()) {
                    self.on_statement_end((0, 0), false, env, out);
                }
            }
            Event::Sentence(_) => self.on_statement_end((0, 0), false, env, out),
            Event::Failure(failure) => ours = self.on_failure(failure, env, out),
            Event::Prepared { statement, parameters, .. } => {
                if let Current::Server { work, .. } = &mut self.current {
                    match std::mem::replace(work, Work::Plain) {
                        Work::Prepare(mut prepared) => {
                            prepared.parameters = *parameters;
                            self.names.prepared(*statement, *prepared);
                        }
                        other => *work = other,
                    }
                }
            }
            Event::Progress | Event::Columns(_) | Event::LocalInfile(_) | Event::ListEnd => (),
        }
        if self.is_own() {
            return;
        }
        match (ours, &self.current) {
            (Some(report), Current::Server { reply, .. }) => {
                let sequence = reply.sequence().wrapping_sub(1);
                Self::refuse_with(&report, sequence, out);
            }
            _ => out.pass(range),
        }
    }

    fn note(&mut self, okay: &Okay<'_>) {
        if self.at == Site::Replica {
            // The session's state is the primary's.
            return;
        }
        self.status = okay.status.of_session();
        if self.state.note(okay) {
            self.meaning = None;
        }
    }

    fn open_cursor(&mut self) {
        let Current::Server { work: Work::Statements(statements), .. } = &self.current else {
            return;
        };
        let Statements { prepared: Some(id), runs, more, .. } = statements else { return };
        let Some(run) = runs.front() else { return };
        let cursor = (Arc::clone(&run.analysis), more.clone());
        if let Some(prepared) = self.names.get_mut(*id) {
            prepared.cursor = Some(cursor);
        }
    }

    /// A result has ended, and with it its statement, unless more of its results follow.
    fn on_statement_end(
        &mut self,
        (rows, bytes): (u64, u64),
        without_rows: bool,
        env: &Env<'_>,
        out: &mut Output,
    ) {
        let Current::Server { reply, work: Work::Statements(statements), .. } = &mut self.current
        else {
            return;
        };
        let Some(run) = statements.runs.front_mut() else { return };
        run.rows += rows;
        run.bytes += bytes;
        let over = reply.is_over();
        // A call has results of its own, and then an OK.
        let is_call = run.statement().is_some_and(|it| it.command == "CALL");
        let ends = over || statements.runs.len() > 1 && (without_rows || !is_call);
        if !ends {
            return;
        }
        let Some(run) = statements.runs.pop_front() else { return };
        let named = statements.named.take();
        out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
        if let Some((name, prepared)) = named {
            self.names.name(&name, *prepared);
        }
        if let Some(statement) = run.statement() {
            self.done(statement);
        }
    }

    /// A statement has been done: what that changes of the session.
    fn done(&mut self, statement: &Statement) {
        match &statement.effect {
            Effect::CreateTemporary(name) => {
                self.temporary.insert(name.clone());
                self.meaning = None;
            }
            Effect::UseDatabase(_) | Effect::Reading { .. } => {
                self.state.done(statement);
                self.meaning = None;
            }
            _ => (),
        }
    }

    /// A command has failed: what the client is told instead, if anything.
    fn on_failure(
        &mut self,
        failure: &Failure<'_>,
        env: &Env<'_>,
        out: &mut Output,
    ) -> Option<Report> {
        match &mut self.current {
            Current::Server { work: Work::UseAgain { refused }, .. } => {
                *refused = Some(failure.sentence());
            }
            Current::Server { work: Work::Told { refused, .. }, .. } => *refused = true,
            _ => (),
        }
        let Current::Server { work: Work::Statements(statements), reply, .. } = &mut self.current
        else {
            return None;
        };
        let (rows, bytes) = (reply.rows(), reply.bytes());
        let replayed = statements.replayed;
        let mut runs = std::mem::take(&mut statements.runs);
        let interrupted = failure.code == INTERRUPTED;
        if let Some(mut run) = runs.pop_front() {
            run.rows += rows;
            run.bytes += bytes;
            self.not_done(&run);
            let outcome = if interrupted { Outcome::Cancelled } else { Outcome::Error };
            let state = Some(failure.sqlstate);
            out.audit.push(self.trail.result(env.now, &run, outcome, state));
        }
        for run in &runs {
            out.audit.push(self.trail.result(env.now, run, Outcome::Cancelled, None));
        }
        if replayed {
            self.cannot_replay(&failure.sentence(), out);
        }
        let (ended, _) = self.doomed.as_ref().filter(|_| interrupted)?;
        Some(self.told(&Refusal::Cancelled(ended.clone())))
    }

    /// A statement that failed may have done a part of what it was to do.
    fn not_done(&mut self, run: &Running) {
        let Some(statement) = run.statement() else { return };
        if matches!(statement.effect, Effect::Reading { .. } | Effect::UseDatabase(_)) {
            self.state.in_doubt = true;
        }
    }

    /// The server asks for a file: it gets the one that the statement names, and no other.
    fn on_file(&mut self, file: &[u8], range: Range<usize>, out: &mut Output) {
        let Current::Server { work, reply, .. } = &self.current else { return };
        let named = match work {
            Work::Statements(statements) => statements.runs.front().and_then(Running::statement),
            _ => None,
        };
        let named = named.is_some_and(|statement| {
            matches!(&statement.effect, Effect::LoadLocal(name) if name.as_bytes() == file)
        });
        if named {
            out.pass(range);
            return;
        }
        let message = "the server asked for a file that the statement does not name";
        let sequence = reply.sequence().wrapping_sub(1);
        Self::refuse_with(&Report::new(1148, "42000", message), sequence, out);
        self.close(None, out);
    }

    /// All of a reply has come.
    fn on_reply_end(&mut self, env: &mut Env<'_>, out: &mut Output) {
        let current = std::mem::replace(&mut self.current, Current::Rest);
        if let Current::Server { work, .. } = current {
            match work {
                Work::Question(passed) => self.learn(&passed),
                Work::Asked { question, passed } => self.on_asked(question, &passed, env.now),
                Work::Told { refused, schema } => self.on_told(refused, schema, out),
                Work::Reset => {
                    self.routing.begins_anew();
                    self.let_go_of_replica(out);
                    self.temporary.clear();
                    self.meaning = None;
                    self.state.in_doubt = true;
                }
                Work::Statements(statements) => {
                    for run in &statements.runs {
                        out.audit.push(self.trail.result(env.now, run, Outcome::Unknown, None));
                    }
                }
                Work::UseAgain { refused } => self.on_used_again(refused, out),
                Work::Plain | Work::Prepare(_) | Work::Absorber => (),
            }
        }
        self.turn_to(Site::Primary, out);
        self.doomed = None;
        self.routing.answered();
        if !self.in_transaction() {
            self.gate.end_transaction();
        }
        self.close_if_drained(out);
    }
}
