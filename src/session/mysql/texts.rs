//! Texts: every statement of a message is decided before any of it is sent.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::grant::decide::Permit;
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::routing::Placed;
use crate::session::scope::{Analysed, Meaning, MysqlNames};
use crate::session::trail::{Recorded, Running};
use crate::sql::access::{Access, Operation};
use crate::sql::statement::{Effect, NotUnderstood, Statement};
use crate::wire::mysql::report::Report;

use super::names::Prepared;
use super::{Conversation, Env, Link, Said, Statements, Taken, Work};

/// A text as it is recorded. One in another character set than UTF-8 keeps its length, so that the places
/// of its literals stay right.
pub(super) fn shown(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => text.iter().map(|&b| if b.is_ascii() { char::from(b) } else { '?' }).collect(),
    }
}

impl Conversation {
    pub(super) fn on_text(&mut self, said: Said<'_>, env: &mut Env<'_>, out: &mut Output) -> Taken {
        let meaning = match self.meaning_for(said, env, out) {
            Ok(Some(meaning)) => meaning,
            Ok(None) => return Taken::Held,
            Err(told) => {
                self.refuse_opaque_with(said.text, &told, said.sequence, env, out);
                return Taken::Yes;
            }
        };
        match self.analyse(said.text, &meaning, env, out) {
            Ok(Some(analysis)) => return self.decide_text(said, &analysis, &meaning, env, out),
            Ok(None) => return Taken::Held,
            Err(refusal) => self.refuse_opaque(said, &refusal, env, out),
        }
        Taken::Yes
    }

    /// What names mean for a text; `None` when something has to happen first.
    pub(super) fn meaning_for(
        &mut self,
        said: Said<'_>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Option<Rc<Meaning<MysqlNames>>>, Report> {
        if let Some(report) = self.unreachable.take() {
            return Err(report);
        }
        if self.link == Link::Apart && self.gate.has_live_grant(env.now) {
            self.open_upstream(out);
            return Ok(None);
        }
        self.state.readable(said.text).map_err(|refusal| self.told(&refusal))?;
        Ok(self.ready_to_analyse(env, out))
    }

    /// What a text means; `None` when a fresh catalog was asked for, since the one at hand lacks a name.
    pub(super) fn analyse(
        &mut self,
        text: &[u8],
        meaning: &Rc<Meaning<MysqlNames>>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<Option<Arc<Analysed>>, Refusal> {
        match meaning.analyse(text, &[], &env.limits.parse) {
            Ok(analysis) => Ok(Some(analysis)),
            Err(NotUnderstood::Undefined { .. }) if self.asks_again(env, out) => Ok(None),
            Err(why) => Err(Refusal::NotUnderstood(why)),
        }
    }

    fn decide_text(
        &mut self,
        said: Said<'_>,
        analysis: &Arc<Analysed>,
        meaning: &Rc<Meaning<MysqlNames>>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let statements = &analysis.statements;
        let [first, ..] = statements.as_slice() else {
            self.answer_empty(said, out);
            return Taken::Yes;
        };
        let mut more = Vec::with_capacity(statements.len());
        let mut refusal = self.refusal_of_state(statements, env).or_else(|| alone(statements));
        for statement in statements {
            match self.more_accesses(statement, meaning, env) {
                Ok(accesses) => more.push(accesses),
                Err(why) => {
                    refusal = refusal.or(Some(why));
                    more.push(Vec::new());
                }
            }
        }
        if let (None, Effect::Call(call)) = (&refusal, &first.effect) {
            self.call_text(said, analysis, call, env, out);
            return Taken::Yes;
        }
        let decision = match (refusal, statements.as_slice(), more.as_slice()) {
            (Some(refusal), ..) => Err(refusal),
            (None, [only], [more]) => self.gate.decide_statement(&only.accesses, more, env.now),
            _ => {
                let own = statements.iter().flat_map(|statement| &statement.accesses);
                self.gate.decide(own.chain(more.iter().flatten()), env.now)
            }
        };
        let permit = decision.and_then(|permit| {
            if self.link == Link::Apart {
                self.take_apart(said, statements)?;
            }
            Ok(permit)
        });
        let permit = match permit {
            Ok(permit) => permit,
            Err(refusal) => {
                self.refuse_statements(said, analysis, &more, &refusal, env, out);
                return Taken::Yes;
            }
        };
        match self.place_text(statements, said, &permit, env, out) {
            Placed::Here => (),
            Placed::Later => return Taken::Held,
            Placed::Nowhere(refusal) => {
                self.refuse_statements(said, analysis, &more, &refusal, env, out);
                return Taken::Yes;
            }
        }
        let runs = self.allow(said.text, analysis, &more, &permit, env, out);
        if self.link == Link::Apart {
            self.done_apart(runs, env, out);
            self.say_okay(said.sequence, out);
            return Taken::Yes;
        }
        if let Effect::Kill { connection, query } = first.effect {
            self.kill(connection, query, runs, said.sequence, env, out);
            return Taken::Yes;
        }
        self.forward_statements(said, analysis, meaning, (&permit, runs), out);
        Taken::Yes
    }

    /// A text without a statement. Comments are done, and of them those that another server would have read.
    fn answer_empty(&self, said: Said<'_>, out: &mut Output) {
        if said.text.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';') {
            let told = Report::new(1065, "42000", "Query was empty");
            Self::refuse_with(&told, said.sequence, out);
        } else {
            self.say_okay(said.sequence, out);
        }
    }

    /// Records that the statements of a message may run.
    pub(super) fn allow(
        &mut self,
        text: &[u8],
        analysis: &Arc<Analysed>,
        more: &[Vec<Access>],
        permit: &Permit,
        env: &Env<'_>,
        out: &mut Output,
    ) -> VecDeque<Running> {
        let message = &*shown(text);
        let mut runs = VecDeque::with_capacity(more.len());
        for (index, more) in more.iter().enumerate() {
            let recorded = Recorded { message, analysis, index, more, parameters: Arc::default() };
            let (record, run) = self.trail.allow(env.now, &recorded, permit);
            out.audit.push(record);
            runs.push_back(run);
        }
        runs
    }

    /// Sends statements that have their permit.
    pub(super) fn forward_statements(
        &mut self,
        said: Said<'_>,
        analysis: &Arc<Analysed>,
        meaning: &Rc<Meaning<MysqlNames>>,
        (permit, runs): (&Permit, VecDeque<Running>),
        out: &mut Output,
    ) {
        self.gate.note_use(permit);
        let mut named = None;
        for statement in &analysis.statements {
            self.note_sent(statement);
            if let Effect::Prepare(name) = &statement.effect {
                let text = said.text.get(statement.span.clone()).unwrap_or_default();
                // On its own, since it is the message's last.
                let alone = analysis.statements.len() == 1;
                let prepared = Prepared::new(text, meaning, analysis, true);
                named = alone.then(|| (name.clone(), Box::new(prepared)));
            }
        }
        out.forward(permit, said.frame);
        let statements =
            Statements { runs, prepared: None, more: Box::default(), named, replayed: false };
        self.send(said, Work::Statements(statements));
    }

    /// What is no longer certain once a statement has been sent, whatever becomes of it.
    pub(super) fn note_sent(&mut self, statement: &Statement) {
        self.note_run(statement);
        match &statement.effect {
            Effect::Prepare(name) | Effect::Deallocate(Some(name)) => self.names.unname(name),
            Effect::DropTables(names) => {
                for name in names {
                    self.temporary.remove(name);
                }
                self.meaning = None;
            }
            Effect::Execute(name) => {
                let changes = |it: &Prepared| may_change_tables(&it.text);
                if self.names.named(name).is_none_or(changes) {
                    self.catalog_is_old = true;
                    self.forget_temporary();
                }
            }
            _ => (),
        }
        if statement.command == "CALL" {
            self.names.unname_all();
        }
        let renames =
            matches!(statement.command, "ALTER TABLE" | "RENAME TABLE" | "EXECUTE IMMEDIATE");
        if renames || statement.accesses.iter().any(runs_a_routine) {
            self.forget_temporary();
        }
        if statement.changes_catalog && !matches!(statement.effect, Effect::CreateTemporary(_)) {
            self.catalog_is_old = true;
        }
    }

    /// Without its mark a temporary table needs what the table needs that it hides: what may have lost it, renamed
    /// it or put another in its place is not believed to have left it.
    fn forget_temporary(&mut self) {
        if !self.temporary.is_empty() {
            self.temporary.clear();
            self.meaning = None;
        }
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
        if self.in_transaction() && !ends {
            return self.gate.ended_in_transaction(env.now).map(Refusal::TransactionEnded);
        }
        None
    }

    /// What a statement needs beyond its own accesses: those of the prepared statement that it runs.
    pub(super) fn more_accesses(
        &self,
        statement: &Statement,
        meaning: &Rc<Meaning<MysqlNames>>,
        env: &Env<'_>,
    ) -> Result<Vec<Access>, Refusal> {
        let Effect::Execute(name) = &statement.effect else { return Ok(Vec::new()) };
        let Some(prepared) = self.names.named(name) else {
            return Err(Refusal::NoStatement(name.clone()));
        };
        let (analysis, mut more) = prepared.means(meaning, &env.limits.parse)?;
        more.extend(analysis.statements.iter().flat_map(|it| it.accesses.iter().cloned()));
        Ok(more)
    }

    pub(super) fn refuse_statements(
        &mut self,
        said: Said<'_>,
        analysis: &Arc<Analysed>,
        more: &[Vec<Access>],
        refusal: &Refusal,
        env: &Env<'_>,
        out: &mut Output,
    ) {
        self.routing.dropped();
        let told = self.told(refusal);
        let message = &*shown(said.text);
        for index in 0..analysis.statements.len() {
            let more = more.get(index).map_or(&[][..], Vec::as_slice);
            let recorded = Recorded { message, analysis, index, more, parameters: Arc::default() };
            let record = self.trail.deny(env.now, &recorded, refusal, told.sqlstate, &told.message);
            out.audit.push(record);
        }
        Self::refuse_with(&told, said.sequence, out);
    }

    /// Refuses what was not understood.
    pub(super) fn refuse_opaque(
        &mut self,
        said: Said<'_>,
        refusal: &Refusal,
        env: &Env<'_>,
        out: &mut Output,
    ) {
        let told = self.told(refusal);
        let record =
            self.trail.deny_opaque(env.now, said.text, refusal, told.sqlstate, &told.message);
        out.audit.push(record);
        Self::refuse_with(&told, said.sequence, out);
    }

    pub(super) fn refuse_opaque_with(
        &mut self,
        text: &[u8],
        told: &Report,
        sequence: u8,
        env: &Env<'_>,
        out: &mut Output,
    ) {
        let refusal = Refusal::Unsupported { what: told.message.clone(), hint: None };
        let record = self.trail.deny_opaque(env.now, text, &refusal, told.sqlstate, &told.message);
        out.audit.push(record);
        Self::refuse_with(told, sequence, out);
    }
}

/// Whether the text of SQL's PREPARE may hold a statement that drops or renames tables: by its words, unless
/// one of them may be written otherwise.
fn may_change_tables(text: &[u8]) -> bool {
    let text = text.to_ascii_uppercase();
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    has(b"RENAME") || has(b"DROP") || has(b"TRUNCATE") || has(b"\\")
}

/// A routine may make and drop temporary tables of the session.
fn runs_a_routine(access: &Access) -> bool {
    matches!(access, Access::Privilege { operation: Operation::Execute, .. })
}

/// Whether something among several statements has to stand alone.
fn alone(statements: &[Statement]) -> Option<Refusal> {
    let what = |statement: &Statement| match &statement.effect {
        Effect::Kill { .. } => Some("KILL"),
        // The number of its results is known to nobody.
        _ if statement.command == "EXECUTE IMMEDIATE" => Some("EXECUTE IMMEDIATE"),
        Effect::Prepare(_) => Some("PREPARE"),
        _ => None,
    };
    if statements.len() < 2 {
        return None;
    }
    let what = format!("{} has to be a message of its own", statements.iter().find_map(what)?);
    Some(Refusal::Unsupported { what, hint: None })
}
