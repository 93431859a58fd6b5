//! Prepared statements: decided when they are prepared, and again at each execution and fetch.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::audit::record::Parameter;
use crate::session::call::Procedure;
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::routing::Why;
use crate::session::scope::Analysed;
use crate::session::trail::Recorded;
use crate::sql::access::Access;
use crate::sql::statement::{Effect, NotUnderstood, Statement};
use crate::wire::mysql::command::{Command, LAST_PREPARED, StatementId};
use crate::wire::mysql::packet::Violation;
use crate::wire::mysql::report::{Form, Report, prepared};
use crate::wire::mysql::value::{Known, Type, Value, bulk, parameters};

use super::bound::recorded;
use super::names::Prepared;
use super::texts::shown;
use super::{Conversation, Env, Link, Said, Statements, Taken, Work};

/// Their numbers and types are the primary's.
const PREPARED: Why = Why::Kind("prepared statements");

/// What an execution binds: types to be kept, values in order.
type Bound<'a> = (Vec<Type>, Vec<Value<'a>>);

impl Conversation {
    pub(super) fn on_prepare(
        &mut self,
        said: Said<'_>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let meaning = match self.meaning_for(said, env, out) {
            Ok(Some(meaning)) => meaning,
            Ok(None) => return Taken::Held,
            Err(told) => {
                self.names.forget_last();
                self.refuse_opaque_with(said.text, &told, said.sequence, env, out);
                return Taken::Yes;
            }
        };
        let analysis = match self.analyse(said.text, &meaning, env, out) {
            Ok(Some(analysis)) => analysis,
            Ok(None) => return Taken::Held,
            Err(refusal) => {
                self.names.forget_last();
                self.refuse_opaque(said, &refusal, env, out);
                return Taken::Yes;
            }
        };
        // Whatever comes of it: an execution of what was prepared last is of this one, or of none.
        self.names.forget_last();
        if analysis.statements.is_empty() {
            Self::refuse_with(&Report::new(1065, "42000", "Query was empty"), said.sequence, out);
            return Taken::Yes;
        }
        let max = env.limits.wire.prepared_statements_max;
        let allowed = preparable(&analysis.statements).and_then(|only| {
            if self.names.count() >= max {
                let what = format!("the session holds {max} prepared statements already");
                return Err(Refusal::TooMany { what });
            }
            if let Some(refusal) = self.refusal_of_state(&analysis.statements, env) {
                return Err(refusal);
            }
            if let Effect::Call(call) = &only.effect {
                return Procedure::of(call).map(Some).map_err(Refusal::Call).map(|it| (it, None));
            }
            let permit = self.gate.decide_statement(&only.accesses, &[], env.now)?;
            if let Some(refusal) = Self::refusal_of_route(&permit) {
                return Err(refusal);
            }
            if self.link != Link::Open {
                return Err(Refusal::Unsupported {
                    what: "there is no live grant on this database, so there is no server yet"
                        .into(),
                    hint: None,
                });
            }
            Ok((None, Some(permit)))
        });
        match allowed {
            Ok((None, Some(permit))) => {
                out.forward(&permit, said.frame);
                let statement = Prepared::new(said.text, &meaning, &analysis, true);
                self.send(said, Work::Prepare(Box::new(statement)));
            }
            Ok((procedure, _)) => {
                let statement = Prepared::new(said.text, &meaning, &analysis, false);
                self.prepare_call(statement, procedure, said.sequence, out);
            }
            Err(refusal) => self.refuse_statements(said, &analysis, &[], &refusal, env, out),
        }
        Taken::Yes
    }

    fn prepare_call(
        &mut self,
        statement: Prepared,
        procedure: Option<&'static Procedure>,
        mut sequence: u8,
        out: &mut Output,
    ) {
        let id = self.names.own_id();
        self.names.prepared(id, statement);
        let columns = procedure.map_or(&[][..], |procedure| procedure.columns);
        let (status, capabilities) = (self.status, self.capabilities);
        out.say(|own| prepared(own, &mut sequence, id, 0, columns, status, capabilities));
    }

    pub(super) fn on_execute(
        &mut self,
        id: StatementId,
        command: &Command<'_>,
        said: Said<'_>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let Some((id, text, at_server)) = self.known(id) else {
            let refusal = Refusal::NoStatement(shown_id(id));
            self.refuse_opaque(said, &refusal, env, out);
            return Taken::Yes;
        };
        let said = Said { text: &text, ..said };
        let meaning = match self.meaning_for(said, env, out) {
            Ok(Some(meaning)) => meaning,
            Ok(None) => return Taken::Held,
            Err(told) => {
                self.refuse_opaque_with(&text, &told, said.sequence, env, out);
                return Taken::Yes;
            }
        };
        let Some(statement) = self.names.get(id) else { return Taken::Yes };
        let (analysis, more) = match statement.means(&meaning, &env.limits.parse) {
            Ok(found) => found,
            Err(Refusal::NotUnderstood(NotUnderstood::Undefined { .. }))
                if self.asks_again(env, out) =>
            {
                return Taken::Held;
            }
            Err(refusal) => {
                self.refuse_opaque(said, &refusal, env, out);
                return Taken::Yes;
            }
        };
        if let (false, Some(Effect::Call(call))) =
            (at_server, analysis.statements.first().map(|only| &only.effect))
        {
            self.begin_call(said, &analysis, call, Form::Binary, env, out);
            return Taken::Yes;
        }
        let (types, values) = match bound(statement, command, self.capabilities) {
            Ok((types, values)) => (types, self.trail_of(&values)),
            // A client does not tell types again that it has told with an execution which was refused.
            Err(_) if statement.types.is_empty() && statement.parameters > 0 => {
                let refusal = Refusal::NoStatement(shown_id(id));
                self.refuse_opaque(said, &refusal, env, out);
                return Taken::Yes;
            }
            Err(violation) => {
                let told = Report::new(1835, "HY000", violation.to_string());
                self.refuse_opaque_with(&text, &told, said.sequence, env, out);
                return Taken::Yes;
            }
        };
        let sent = self.decide_prepared(id, said, (&analysis, &more), values, env, out);
        if let Some(statement) = self.names.get_mut(id) {
            statement.types = if sent { types } else { Vec::new() };
            statement.begins_anew();
        }
        Taken::Yes
    }

    /// A fetch shows more of what the execution has selected: its accesses are those of that moment, the grants
    /// those of this.
    pub(super) fn on_fetch(
        &mut self,
        id: StatementId,
        said: Said<'_>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let Some((id, text, _)) = self.known(id) else {
            let refusal = Refusal::NoStatement(shown_id(id));
            self.refuse_opaque(said, &refusal, env, out);
            return Taken::Yes;
        };
        let said = Said { text: &text, ..said };
        let cursor = self.names.get(id).and_then(|statement| statement.cursor.clone());
        let Some((analysis, more)) = cursor else {
            self.refuse_opaque(said, &Refusal::NoPortal(shown_id(id)), env, out);
            return Taken::Yes;
        };
        self.decide_prepared(id, said, (&analysis, &more), Arc::default(), env, out);
        Taken::Yes
    }

    /// Decides an execution or a fetch, and sends it; whether it was sent.
    fn decide_prepared(
        &mut self,
        id: StatementId,
        said: Said<'_>,
        (analysis, more): (&Arc<Analysed>, &[Access]),
        parameters: Arc<[Parameter]>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> bool {
        let statements = &analysis.statements;
        let Some(only) = statements.first() else { return false };
        let message = &*shown(said.text);
        let recorded = Recorded { message, analysis, index: 0, more, parameters };
        let decision = match self.refusal_of_state(statements, env) {
            Some(refusal) => Err(refusal),
            None => self.gate.decide_statement(&only.accesses, more, env.now),
        };
        let decision = decision.and_then(|permit| match Self::refusal_of_route(&permit) {
            Some(refusal) => Err(refusal),
            None => Ok(permit),
        });
        let permit = match decision {
            Ok(permit) => permit,
            Err(refusal) => {
                let told = self.told(&refusal);
                let (state, sentence) = (told.sqlstate, &told.message);
                out.audit.push(self.trail.deny(env.now, &recorded, &refusal, state, sentence));
                Self::refuse_with(&told, said.sequence, out);
                return false;
            }
        };
        self.at_primary(&PREPARED, out);
        let (record, run) = self.trail.allow(env.now, &recorded, &permit);
        out.audit.push(record);
        self.gate.note_use(&permit);
        self.note_sent(only);
        out.forward(&permit, said.frame);
        let (runs, prepared) = (VecDeque::from([run]), Some(id));
        let more = more.into();
        let statements = Statements { runs, prepared, more, named: None, replayed: false };
        self.send(said, Work::Statements(statements));
        true
    }

    /// The prepared statement that a number stands for: its own number, its text, whether the server knows it.
    fn known(&self, id: StatementId) -> Option<(StatementId, Rc<[u8]>, bool)> {
        let (id, statement) = self.names.find(id)?;
        Some((id, Rc::clone(&statement.text), statement.at_server))
    }

    fn trail_of(&self, values: &[Value<'_>]) -> Arc<[Parameter]> {
        self.trail.parameters(values.iter().map(recorded))
    }
}

/// What a command binds to a statement.
fn bound<'a>(
    statement: &Prepared,
    command: &Command<'a>,
    capabilities: crate::wire::mysql::capability::Capabilities,
) -> Result<Bound<'a>, Violation> {
    let known =
        Known { parameters: statement.parameters, types: &statement.types, long: &statement.long };
    match command {
        Command::Execute { flags, rest, .. } => {
            let named = parameters(rest, *flags, capabilities, &known)?;
            // Attributes stand behind the statement's own parameters, and may be others each time.
            let values = named.iter().map(|one| one.value).collect();
            Ok((named.iter().map(|one| one.r#type).collect(), values))
        }
        Command::BulkExecute { flags, rest, .. } => {
            let (types, rows) = bulk(rest, *flags, &known)?;
            Ok((types, rows.into_iter().flatten().collect()))
        }
        _ => Err(Violation::Unexpected("command")),
    }
}

fn shown_id(id: StatementId) -> Box<str> {
    if id == LAST_PREPARED { "last".into() } else { id.to_string().into() }
}

/// The one statement of a text that can be prepared. Where the server takes more than what is listed here, it
/// would do what nobody reads again at its execution.
fn preparable(statements: &[Statement]) -> Result<&Statement, Refusal> {
    let unsupported = |what: String| Refusal::Unsupported { what, hint: None };
    let [only] = statements else {
        return Err(unsupported("several statements cannot be prepared as one".into()));
    };
    match &only.effect {
        Effect::None
        | Effect::Begin(_)
        | Effect::Commit
        | Effect::Rollback
        | Effect::Savepoint(_)
        | Effect::Release(_)
        | Effect::RollbackTo(_)
        | Effect::Set { .. }
        | Effect::Show { .. }
        | Effect::Reading { .. }
        | Effect::CreateTemporary(_)
        | Effect::DropTables(_)
        | Effect::UseDatabase(_)
        | Effect::LoadLocal(_)
        | Effect::Call(_) => Ok(only),
        _ => Err(unsupported(format!("{} cannot be prepared", only.command))),
    }
}
