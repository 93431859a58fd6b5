//! A session without a server: nobody has granted it anything yet. Transaction commands and harmless
//! settings are taken and noted, and done at the server, in order, when there is one.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::audit::record::Outcome;
use crate::grant::decide::Permit;
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::scope::Analysed;
use crate::session::trail::Recorded;
use crate::sql::access::Access;
use crate::sql::statement::{Effect, Statement};
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply::{self, Report};

use super::names::Portal;
use super::slots::{Internal, Slot, Then};
use super::{Conversation, Env};

/// What was taken without a server.
#[derive(Default)]
pub(super) struct Journal {
    /// Settings of the session, the last of each name.
    session: Vec<Entry>,
    /// Commands of the open transaction.
    transaction: Vec<Entry>,
}

struct Entry {
    text: Box<str>,
    effect: Effect,
}

/// More than any client sends before it asks for a grant.
const ENTRIES_MAX: usize = 1_000;

impl Journal {
    /// Takes a harmless statement; returns its command tag and where the transaction stands then.
    fn take(
        &mut self,
        statement: &Statement,
        text: &str,
        status: TransactionStatus,
    ) -> Result<(&'static str, TransactionStatus), Report> {
        use TransactionStatus::{Active, Failed, Idle};
        if self.session.len() + self.transaction.len() >= ENTRIES_MAX {
            return Err(Report::error("54000", "too many statements before the first grant"));
        }
        let entry = || Entry { text: text.into(), effect: statement.effect.clone() };
        let ends =
            matches!(statement.effect, Effect::Commit | Effect::Rollback | Effect::RollbackTo(_));
        if status == Failed && !ends {
            return Err(failed());
        }
        match &statement.effect {
            Effect::Begin(_) => {
                if status == Idle {
                    self.transaction.push(entry());
                }
                Ok(("BEGIN", Active))
            }
            Effect::Commit if status == Failed => {
                self.transaction.clear();
                Ok(("ROLLBACK", Idle))
            }
            Effect::Commit => {
                for done in std::mem::take(&mut self.transaction) {
                    self.keep(done);
                }
                Ok(("COMMIT", Idle))
            }
            Effect::Rollback => {
                self.transaction.clear();
                Ok(("ROLLBACK", Idle))
            }
            Effect::Savepoint(_) | Effect::Release(_) | Effect::RollbackTo(_) if status == Idle => {
                let command = statement.command;
                let message = format!("{command} can only be used in transaction blocks");
                Err(Report::error("25P01", message))
            }
            Effect::Savepoint(_) => {
                self.transaction.push(entry());
                Ok(("SAVEPOINT", status))
            }
            Effect::Release(name) => {
                self.savepoint(name)?;
                self.transaction.push(entry());
                Ok(("RELEASE", status))
            }
            Effect::RollbackTo(name) => {
                let at = self.savepoint(name)?;
                self.transaction.truncate(at + 1);
                Ok(("ROLLBACK", Active))
            }
            Effect::Set { .. } if status == Idle => {
                self.keep(entry());
                Ok(("SET", status))
            }
            Effect::Set { .. } => {
                self.transaction.push(entry());
                Ok(("SET", status))
            }
            Effect::DiscardAll => {
                self.session.clear();
                Ok(("DISCARD ALL", status))
            }
            Effect::Deallocate(_) => Ok(("DEALLOCATE ALL", status)),
            _ => Ok(("CLOSE CURSOR ALL", status)),
        }
    }

    /// Keeps a setting for the session; anything else ended with its transaction.
    fn keep(&mut self, entry: Entry) {
        let Effect::Set { name } = &entry.effect else { return };
        if **name == *"all" {
            self.session.clear();
        }
        self.session.retain(|known| known.effect != entry.effect);
        self.session.push(entry);
    }

    fn savepoint(&self, name: &str) -> Result<usize, Report> {
        let same =
            |entry: &Entry| matches!(&entry.effect, Effect::Savepoint(known) if **known == *name);
        self.transaction
            .iter()
            .rposition(same)
            .ok_or_else(|| Report::error("3B001", format!("savepoint \"{name}\" does not exist")))
    }
}

fn failed() -> Report {
    Report::error(
        "25P02",
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// Whether a statement is taken without a server.
fn is_harmless(statement: &Statement) -> bool {
    let harmless = matches!(
        statement.effect,
        Effect::Begin(_)
            | Effect::Commit
            | Effect::Rollback
            | Effect::Savepoint(_)
            | Effect::Release(_)
            | Effect::RollbackTo(_)
            | Effect::Set { .. }
            | Effect::DiscardAll
            | Effect::Deallocate(None)
            | Effect::CloseCursor(None)
    );
    harmless && statement.accesses.is_empty()
}

impl Conversation {
    /// Decides a statement for which there is no server.
    pub(super) fn check_apart(&self, statement: &Statement, env: &Env<'_>) -> Result<(), Refusal> {
        if is_harmless(statement) {
            return Ok(());
        }
        // Without a live grant this refuses, and says what to ask for.
        let any = [Access::Metadata];
        let accesses = if statement.accesses.is_empty() { &any[..] } else { &statement.accesses };
        self.gate.decide(accesses.iter(), env.now)?;
        Err(Refusal::Unsupported {
            what: "the statement cannot run before the server is reached".into(),
            hint: Some("Send it again.".into()),
        })
    }

    /// Answers a simple query of harmless statements.
    pub(super) fn query_apart(
        &mut self,
        text: &str,
        analysis: &Arc<Analysed>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let refusal =
            analysis.statements.iter().find_map(|statement| self.check_apart(statement, env).err());
        if let Some(refusal) = refusal {
            self.refuse_statements(text, analysis, &[], &refusal, env, out);
            return;
        }
        for (index, statement) in analysis.statements.iter().enumerate() {
            let Ok(permit) = self.gate.decide(statement.accesses.iter(), env.now) else { continue };
            let recorded =
                Recorded { message: text, analysis, index, more: &[], parameters: Arc::default() };
            let (record, run) = self.trail.allow(env.now, &recorded, &permit);
            out.audit.push(record);
            match self.take_apart(statement, text) {
                Ok(tag) => {
                    out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
                    out.say(|own| reply::command_complete(own, tag));
                }
                Err(told) => {
                    let state = Some(told.sqlstate);
                    out.audit.push(self.trail.result(env.now, &run, Outcome::Error, state));
                    self.answer_query_with(&told, out);
                    return;
                }
            }
        }
        let status = self.transaction;
        out.say(|own| reply::ready(own, status));
    }

    /// Answers Execute of a harmless statement.
    pub(super) fn execute_apart(
        &mut self,
        portal: &Rc<Portal>,
        permit: &Permit,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some(statement) = portal.statement() else { return };
        let recorded = Recorded {
            message: &portal.text,
            analysis: &portal.analysis,
            index: 0,
            more: &[],
            parameters: Arc::clone(&portal.parameters),
        };
        let (record, run) = self.trail.allow(env.now, &recorded, permit);
        out.audit.push(record);
        let mut reply = Vec::new();
        match self.take_apart(statement, &portal.text) {
            Ok(tag) => {
                out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
                reply::command_complete(&mut reply, tag);
                self.slots.push_back(Slot::Own { reply, then: Then::Nothing });
            }
            Err(told) => {
                let state = Some(told.sqlstate);
                out.audit.push(self.trail.result(env.now, &run, Outcome::Error, state));
                self.poison_segment(&told, out);
            }
        }
    }

    fn take_apart(&mut self, statement: &Statement, text: &str) -> Result<&'static str, Report> {
        let status = self.transaction;
        let Some(journal) = self.journal() else {
            // Bound before there was a server, run after: the server does not know the portal.
            return Err(Report::error(
                "34000",
                "the portal was bound before the server was reached",
            ));
        };
        let own = text.get(statement.span.clone()).unwrap_or(text);
        let (tag, status) = journal.take(statement, own, status)?;
        self.transaction = status;
        match statement.effect {
            Effect::DiscardAll => self.names.clear(self.at),
            Effect::Deallocate(_) => self.names.free_all(self.at),
            Effect::CloseCursor(_) => self.names.portals.clear(),
            _ => (),
        }
        Ok(tag)
    }

    /// Has the server do what was taken without it.
    pub(super) fn replay(&mut self, journal: Journal, out: &mut Output) {
        let entries = journal.session.into_iter().chain(journal.transaction);
        self.replaying = entries.map(|entry| entry.text).collect::<VecDeque<_>>();
        self.replay_next(out);
    }

    pub(super) fn replay_next(&mut self, out: &mut Output) {
        if let Some(text) = self.replaying.pop_front() {
            out.control(|server| reply::query(server, &text));
            self.slots.push_back(Slot::Internal(Internal::Replay { text, failed: None }));
        }
    }
}
