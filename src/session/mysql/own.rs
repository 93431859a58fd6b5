//! What is done at the server on our own account, and what is said before there is one.

use std::collections::VecDeque;

use crate::audit::record::Outcome;
use crate::session::machine::Renewal;
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::site::Site;
use crate::session::trail::Running;
use crate::sql::statement::{Change, Effect, Statement};
use crate::wire::mysql::command::{self, Command};
use crate::wire::mysql::packet::{self, HEADER_BYTES, Reader, header};
use crate::wire::mysql::reply::Expect;
use crate::wire::mysql::report::Report;

use super::{Conversation, Current, Env, Link, Said, Statements, Work, state};

/// Most messages that are kept for a server to come.
const JOURNAL_MAX: usize = 100;

impl Conversation {
    /// Does at the server what has to be done before the client's next command; true when nothing is left.
    pub(super) fn server_is_ready(&mut self, env: &mut Env<'_>, out: &mut Output) -> bool {
        if self.link != Link::Open {
            return true;
        }
        if let Some(site) = self.absorbs.take() {
            self.ask(site, b"DO 0", Work::Absorber, out);
            return false;
        }
        self.turn_to(Site::Primary, out);
        if self.state.in_doubt {
            self.ask(Site::Primary, state::QUESTION, Work::Question(Vec::new()), out);
            return false;
        }
        // Without a grant nothing is sent that needs a right; with the next one the account may be let in again.
        if self.uses_again && self.gate.has_live_grant(env.now) {
            self.uses_again = false;
            if let Some(name) = self.state.settings().default_database.clone() {
                out.control(|server| command::init_db(server, name.as_bytes()));
                let said = Said { text: b"", frame: b"", sequence: 1, expect: Expect::Okay };
                self.send(said, Work::UseAgain { refused: None });
                return false;
            }
        }
        if self.journal.is_empty() {
            return true;
        }
        self.replay(env, out);
        false
    }

    /// Rights of the account have changed so that the server holds the session to them only after that ("When Privilege
    /// Changes Take Effect"): those on its default database at the next USE, those on everything at the next login,
    /// which is the client's to do.
    pub fn on_rights(&mut self, renewal: Renewal, out: &mut Output) {
        // The replica holds the session to them with the next connection.
        self.replica_has_changed = self.routing.replica().is_some();
        match renewal {
            Renewal::Use => self.uses_again = true,
            Renewal::LogIn if self.link == Link::Open => {
                self.on_drain(
                    "what your grants allow has changed on the whole server: connect again",
                    out,
                );
            }
            Renewal::LogIn => (),
        }
    }

    /// The server has answered. Where it did not let the session in, it would go on holding it to the rights that it had
    /// there before.
    pub(super) fn on_used_again(&mut self, refused: Option<String>, out: &mut Output) {
        if let Some(why) = refused {
            let message =
                format!("your grants allow nothing any more in the default database: {why}");
            let report = Report::new(1044, "42000", message).hint("Connect again.");
            self.close(Some((report, 1)), out);
        }
    }

    pub(super) fn ask(&mut self, site: Site, text: &[u8], work: Work, out: &mut Output) {
        self.turn_to(site, out);
        let capabilities = self.capabilities;
        out.control(|server| command::query(server, text, capabilities));
        self.send(Said { text: b"", frame: b"", sequence: 1, expect: Expect::Results }, work);
    }

    /// Says to the server what was said before there was one. It is read and decided as if it came now: how the
    /// server reads texts was only assumed then.
    fn replay(&mut self, env: &mut Env<'_>, out: &mut Output) {
        let Some(frame) = self.journal.front().cloned() else { return };
        let payload = packet::payload(&frame);
        let command = Command::read(&payload, self.capabilities);
        let Ok(Command::Query { text, .. }) = command else {
            self.journal.pop_front();
            if let Ok(Command::SetOption { .. }) = command {
                out.control(|server| server.extend_from_slice(&frame));
                let expect = Expect::Okay;
                let said = Said { text: b"", frame: &frame, sequence: 1, expect };
                // The client has had its answer.
                self.send(said, Work::Absorber);
            }
            return;
        };
        let Some(meaning) = self.ready_to_analyse(env, out) else { return };
        self.journal.pop_front();
        let read = self.state.readable(text).and_then(|()| {
            meaning.analyse(text, &[], &env.limits.parse).map_err(Refusal::NotUnderstood)
        });
        let decided = read.and_then(|analysis| match analysis.statements.as_slice() {
            [only] if keeps(only).is_ok() => {
                let permit = self.gate.decide_statement(&only.accesses, &[], env.now)?;
                Ok((analysis, permit))
            }
            _ => {
                Err(Refusal::Unsupported { what: "it is read otherwise there".into(), hint: None })
            }
        });
        match decided {
            Ok((analysis, permit)) => {
                let more = [Vec::new()];
                let runs = self.allow(text, &analysis, &more, &permit, env, out);
                self.gate.note_use(&permit);
                out.forward(&permit, &frame);
                let statements = Statements {
                    runs,
                    prepared: None,
                    more: Box::default(),
                    named: None,
                    replayed: true,
                };
                let said = Said { text, frame: &frame, sequence: 1, expect: Expect::Results };
                self.send(said, Work::Statements(statements));
            }
            Err(refusal) => {
                let why = self.told(&refusal).message;
                self.cannot_replay(&why, out);
            }
        }
    }

    /// What the client holds to be done is not: it must not go on.
    pub(super) fn cannot_replay(&mut self, why: &str, out: &mut Output) {
        let message = format!("what was set before there was a server cannot be done there: {why}");
        self.close(Some((Report::new(1105, "08S01", message).hint("Connect anew."), 1)), out);
    }

    /// Keeps a statement that was taken without a server.
    pub(super) fn take_apart(
        &mut self,
        said: Said<'_>,
        statements: &[Statement],
    ) -> Result<(), Refusal> {
        for statement in statements {
            keeps(statement)?;
        }
        match statements {
            [only] if matches!(only.effect, Effect::Commit | Effect::Rollback) => {
                // Nothing was done in between.
                self.journal.retain(|frame| !begins(frame));
                Ok(())
            }
            [_] if said.expect == Expect::Results => self.note_journal(said.frame),
            _ => Err(no_server()),
        }
    }

    pub(super) fn note_journal(&mut self, frame: &[u8]) -> Result<(), Refusal> {
        if self.journal.len() >= JOURNAL_MAX {
            let what = format!("more than {JOURNAL_MAX} settings before there is a live grant");
            return Err(Refusal::TooMany { what });
        }
        self.journal.push_back(frame.into());
        Ok(())
    }

    /// Statements that were taken without a server are done, as far as the client is concerned.
    pub(super) fn done_apart(&mut self, runs: VecDeque<Running>, env: &Env<'_>, out: &mut Output) {
        for run in runs {
            if let Some(statement) = run.statement() {
                self.state.done(statement);
                self.meaning = None;
            }
            out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
        }
    }

    /// Reads the answer to the question how texts are read.
    pub(super) fn learn(&mut self, passed: &[u8]) {
        self.meaning = None;
        let mut rest = passed;
        // Columns first, then the row.
        for _ in 0..3 {
            let Some(column) = header(rest) else { return self.state.learn_nothing() };
            rest = rest.get(column.total()..).unwrap_or_default();
        }
        let mut body = Reader::new("row", rest.get(HEADER_BYTES..).unwrap_or_default());
        let mut value = || {
            let mut ahead = body.clone();
            if ahead.byte().ok()? == 0xfb {
                body = ahead;
                return Some(None);
            }
            body.lenenc_str().ok().map(Some)
        };
        match (value(), value(), value()) {
            (Some(Some(mode)), Some(Some(set)), Some(database)) => {
                self.state.learn(mode, set, database);
            }
            _ => self.state.learn_nothing(),
        }
    }

    /// Whether what is under way is nothing that the client has asked for.
    pub(super) fn is_own(&self) -> bool {
        match &self.current {
            Current::Server { work, .. } => match work {
                Work::Question(_)
                | Work::Absorber
                | Work::UseAgain { .. }
                | Work::Asked { .. }
                | Work::Told { .. } => true,
                Work::Statements(statements) => statements.replayed,
                Work::Plain | Work::Reset | Work::Prepare(_) => false,
            },
            Current::Rest | Current::Call(_) | Current::Kill { .. } => false,
        }
    }
}

/// Whether a statement can be taken before there is a server.
fn keeps(statement: &Statement) -> Result<(), Refusal> {
    let known = |change: &Change| *change != Change::Unknown;
    let kept = match &statement.effect {
        Effect::Set { .. } | Effect::Begin(_) | Effect::Commit | Effect::Rollback => true,
        Effect::Reading { sql_mode, character_set } => known(sql_mode) && known(character_set),
        _ => false,
    };
    if kept && statement.accesses.is_empty() { Ok(()) } else { Err(no_server()) }
}

fn no_server() -> Refusal {
    Refusal::Unsupported {
        what: "there is no live grant on this database, so there is no server yet for this".into(),
        hint: Some("CALL daypass.help() tells how to ask for one.".into()),
    }
}

/// Whether a message begins a transaction.
fn begins(frame: &[u8]) -> bool {
    let payload = packet::payload(frame);
    let text = String::from_utf8_lossy(&payload).to_ascii_uppercase();
    text.contains("BEGIN") || text.contains("START TRANSACTION")
}
