//! What the server says: passed on as it came, but for what answers a message of our own.

use crate::audit::record::Outcome;
use crate::session::call::{EXPLAIN, ROUTE};
use crate::session::output::{Command, Output};
use crate::session::refusal::Refusal;
use crate::session::scope::Analysed;
use crate::session::site::Site;
use crate::session::trail::Running;
use crate::sql::statement::{Analysis, Effect, Statement};
use crate::upstream::read_path;
use crate::wire::postgres::frame::{self, HEADER_BYTES, Violation};
use crate::wire::postgres::message::{self, TransactionStatus};
use crate::wire::postgres::reply::{self, Report};

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::names::{Portal, Prepared};
use super::overlay::Doubt;
use super::report::report;
use super::slots::{Internal, Slot, Then};
use super::{Conversation, Env, Segment, fail_copy};

/// The longest message of a server that is held whole: those that we read. Rows and COPY data pass.
const CONTROL_BYTES_MAX: usize = 16 << 20;

impl Conversation {
    /// Takes the server's bytes; returns how many. What is left is the beginning of a message that has
    /// to be whole: it comes again with more behind it.
    ///
    /// # Errors
    /// When the server broke the protocol; the session is to be closed.
    pub fn on_server(
        &mut self,
        site: Site,
        input: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<usize, Violation> {
        out.turn_to(self.at);
        self.looked = self.looked.max(env.now);
        if site != self.at || self.slots.is_empty() && site != self.routing.home() {
            return self.on_idle(site, input, out);
        }
        if !self.may_pass(input, env.now, out)? {
            return Ok(0);
        }
        let mut at = 0;
        let mut rows = 0_u64;
        let mut passed = 0;
        loop {
            if self.server_rest > 0 {
                let now = self.server_rest.min(input.len() - at);
                out.pass(at..at + now);
                self.server_rest -= now;
                passed += now;
                at += now;
            }
            let Some(rest) = input.get(at..) else { break };
            let Some(header) = frame::header(rest)? else { break };
            if self.passes_in_pieces(header.tag) {
                rows += u64::from(header.tag == b'D');
                self.server_rest = header.total;
                continue;
            }
            self.count(std::mem::take(&mut rows), std::mem::take(&mut passed));
            if header.total > CONTROL_BYTES_MAX {
                return Err(Violation::TooLong { max: CONTROL_BYTES_MAX });
            }
            let Some(body) = rest.get(HEADER_BYTES..header.total) else { break };
            let range = at..at + header.total;
            at = range.end;
            if !self.on_internal(header.tag, body, env, out)? {
                self.on_reply(header.tag, body, range, env, out)?;
            }
            self.pump(env, out);
        }
        self.count(rows, passed);
        Ok(at)
    }

    fn count(&mut self, rows: u64, bytes: usize) {
        let run = match self.slots.front_mut() {
            Some(Slot::Execute { run, .. }) => Some(run),
            Some(Slot::Query { runs, .. }) => runs.front_mut(),
            _ => None,
        };
        if let Some(run) = run {
            run.rows += rows;
            run.bytes += bytes as u64;
        }
    }

    /// Whether a message need not be there as a whole: rows and COPY data, and notices of what runs. While
    /// something runs we have nothing to say of our own, so that no word of ours gets inside. What may
    /// come at any time, a notification, is whole.
    fn passes_in_pieces(&self, tag: u8) -> bool {
        matches!(tag, b'D' | b'd' | b'N')
            && matches!(self.slots.front(), Some(Slot::Query { .. } | Slot::Execute { .. }))
    }

    fn on_reply(
        &mut self,
        tag: u8,
        body: &[u8],
        range: Range<usize>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        let unexpected = Violation::Unexpected(char::from(tag));
        match tag {
            b'E' => {
                self.on_error(body, range, env, out);
                return Ok(());
            }
            b'Z' => return self.on_ready(TransactionStatus::read(body)?, range, env, out),
            b'1' => match self.slots.pop_front() {
                Some(Slot::Parse { name, prepared }) => {
                    self.names.prepared.insert(name, prepared);
                }
                Some(Slot::InternalParse { name, prepared }) => {
                    self.names.prepared.insert(name, prepared);
                    return Ok(());
                }
                _ => return Err(unexpected),
            },
            b'2' => match self.slots.pop_front() {
                Some(Slot::Bind { name, portal }) => {
                    self.names.portals.insert(name, portal);
                }
                _ => return Err(unexpected),
            },
            b'3' => match self.slots.pop_front() {
                Some(Slot::CloseStatement(name)) => self.names.free(&name, self.at),
                Some(Slot::InternalClose) => return Ok(()),
                Some(Slot::ClosePortal(name)) => {
                    self.names.portals.remove(&name);
                }
                _ => return Err(unexpected),
            },
            b'T' | b'n' if matches!(self.slots.front(), Some(Slot::Describe)) => {
                self.slots.pop_front();
            }
            b'I' if matches!(self.slots.front(), Some(Slot::Empty)) => {
                self.slots.pop_front();
            }
            b'C' => self.on_complete(message::rows_of_tag(body), env, out)?,
            b's' => match self.slots.pop_front() {
                Some(Slot::Execute { run, .. }) => {
                    out.audit.push(self.trail.result(env.now, &run, Outcome::Ok, None));
                }
                _ => return Err(unexpected),
            },
            b'G' => self.on_copy_in(out),
            b'S' => {
                let (name, value) = message::parameter_status(body)?;
                self.note_standby(self.at, name, value);
                if self.at == Site::Replica && self.routing.home() == Site::Primary {
                    return Ok(());
                }
                self.note_parameter(name, value);
                // Follows the roles that we take; the client was told once.
                if name == "is_superuser" {
                    return Ok(());
                }
                if name == "standard_conforming_strings" && value != "on" {
                    let report = Report::fatal("0A000", "standard_conforming_strings must stay on");
                    self.close(Some(report), out);
                }
            }
            // Replication, and login messages after login.
            b'W' | b'R' | b'K' | b'v' => return Err(unexpected),
            _ => (),
        }
        out.pass(range);
        Ok(())
    }

    fn on_complete(
        &mut self,
        rows: Option<u64>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        let (mut run, text) = match self.slots.front_mut() {
            Some(Slot::Query { runs, text }) => (runs.pop_front(), text.clone()),
            Some(Slot::Execute { .. }) => match self.slots.pop_front() {
                Some(Slot::Execute { run, portal }) => {
                    let text =
                        self.names.portals.get(&portal).map(|portal| Rc::clone(&portal.text));
                    (Some(run), text)
                }
                _ => (None, None),
            },
            _ => (None, None),
        };
        let Some(run) = &mut run else { return Err(Violation::Unexpected('C')) };
        if let Some(rows) = rows {
            run.rows = rows;
        }
        self.copy_in = false;
        out.audit.push(self.trail.result(env.now, run, Outcome::Ok, None));
        self.take_effect(run, text.as_deref());
        Ok(())
    }

    /// A statement has been done: the names that it made or freed.
    fn take_effect(&mut self, run: &Running, text: Option<&str>) {
        let Some(statement) = run.statement() else { return };
        match &statement.effect {
            Effect::Begin(_) => self.note_block(true),
            Effect::Commit | Effect::Rollback => self.note_block(false),
            Effect::Prepare(name) => {
                let meaning = self.meaning.as_ref().or(self.last_meaning.as_ref());
                let text = text.and_then(|text| text.get(statement.span.clone()));
                let (Some(meaning), Some(text)) = (meaning, text) else { return };
                // Its text alone is kept, so its ranges are counted from where that begins.
                let start = statement.span.start;
                let shifted = |ranges: &[Range<usize>]| {
                    let shift = |at: usize| at.saturating_sub(start);
                    ranges.iter().map(|range| shift(range.start)..shift(range.end)).collect()
                };
                let alone = Statement {
                    span: 0..text.len(),
                    credentials: shifted(&statement.credentials),
                    literals: shifted(&statement.literals),
                    ..statement.clone()
                };
                let analysis = Arc::new(Analysed::new(Analysis { statements: vec![alone] }));
                let prepared = Prepared::by_sql(text, self.at, meaning, &analysis);
                self.names.prepared.insert(name.clone(), Rc::new(prepared));
            }
            Effect::Deallocate(Some(name)) => self.names.free(name, self.at),
            Effect::Deallocate(None) => self.names.free_all(self.at),
            Effect::Declare { cursor, hold } => {
                let portal = Portal {
                    text: Rc::from(""),
                    analysis: Arc::new(Analysed::new(Analysis {
                        statements: vec![statement.clone()],
                    })),
                    more: Rc::default(),
                    parameters: Arc::default(),
                    call_values: Rc::default(),
                    hold: *hold,
                    at_server: true,
                };
                self.names.portals.insert(cursor.clone(), Rc::new(portal));
            }
            Effect::CloseCursor(Some(name)) => {
                self.names.portals.remove(name);
            }
            Effect::CloseCursor(None) => self.names.portals.clear(),
            Effect::DiscardAll => self.names.clear(self.at),
            Effect::None
            | Effect::Savepoint(_)
            | Effect::Release(_)
            | Effect::RollbackTo(_)
            | Effect::Set { .. }
            | Effect::Show { .. }
            | Effect::Execute(_)
            | Effect::Fetch(_)
            | Effect::CopyIn
            | Effect::CopyOut
            | Effect::Call(_)
            // These are MySQL's.
            | Effect::UseDatabase(_)
            | Effect::Reading { .. }
            | Effect::CreateTemporary(_)
            | Effect::DropTables(_)
            | Effect::LoadLocal(_)
            | Effect::Kill { .. } => (),
        }
    }

    fn on_copy_in(&mut self, out: &mut Output) {
        self.copy_in = true;
        if let Some(Slot::Execute { .. }) = self.slots.front() {
            // The server swallows a Sync that was sent behind this Execute: it reads it as part of the data
            // (manual 54.2.6). The client sends another when the data has ended.
            if let Some(Slot::Sync) = self.slots.back() {
                self.slots.pop_back();
                self.segment = Segment::Open { skipping: false };
            }
        }
        if self.doomed.is_some() {
            self.copy_in = false;
            out.control(fail_copy);
        }
    }

    fn on_error(&mut self, body: &[u8], range: Range<usize>, env: &mut Env<'_>, out: &mut Output) {
        let sqlstate = message::sqlstate(body).unwrap_or("XX000").to_owned();
        let outcome = if sqlstate == "57014" { Outcome::Cancelled } else { Outcome::Error };
        self.copy_in = false;
        let mut ours = None;
        match self.slots.pop_front() {
            Some(Slot::Poison { error }) => ours = Some(error),
            Some(Slot::PoisonQuery { error }) => {
                ours = Some(error);
                self.slots.push_front(Slot::Query { runs: Default::default(), text: None });
            }
            Some(Slot::Query { mut runs, .. }) => {
                if let Some(run) = runs.pop_front() {
                    ours = self.error_of_ended(&sqlstate);
                    out.audit.push(self.trail.result(env.now, &run, outcome, Some(&sqlstate)));
                }
                for run in runs {
                    let record = self.trail.result(env.now, &run, Outcome::Cancelled, None);
                    out.audit.push(record);
                }
                self.slots.push_front(Slot::Query { runs: Default::default(), text: None });
            }
            Some(Slot::Execute { run, .. }) => {
                ours = self.error_of_ended(&sqlstate);
                out.audit.push(self.trail.result(env.now, &run, outcome, Some(&sqlstate)));
            }
            Some(Slot::Sync) => self.slots.push_front(Slot::Sync),
            Some(Slot::InternalParse { name, prepared })
                if matches!(self.slots.front(), Some(Slot::Internal(Internal::Taught))) =>
            {
                // It means nothing any more. What uses the name hears so.
                self.names.prepared.insert(name, prepared);
                return;
            }
            Some(_) | None => (),
        }
        match ours {
            Some(error) => out.say(|own| own.extend_from_slice(&error)),
            None => {
                self.server_said_why |= message::ends_session(body);
                out.pass(range);
            }
        }
        self.skip_to_sync(env, out);
    }

    /// The error of a statement that was cancelled because its grant ended.
    fn error_of_ended(&self, sqlstate: &str) -> Option<Vec<u8>> {
        let (ended, _) = self.doomed.as_ref()?;
        if sqlstate != "57014" {
            return None;
        }
        let mut error = Vec::new();
        report(&Refusal::Cancelled(ended.clone()), self.trail.facts()).write(&mut error);
        Some(error)
    }

    /// After an error the server drops what it gets up to Sync: no reply comes for what was sent.
    fn skip_to_sync(&mut self, env: &Env<'_>, out: &mut Output) {
        if let Some(Slot::Query { .. }) = self.slots.front() {
            return;
        }
        while let Some(slot) = self.slots.pop_front() {
            if matches!(slot, Slot::Sync | Slot::OwnSync) {
                self.slots.push_front(slot);
                break;
            }
            for run in slot.runs() {
                out.audit.push(self.trail.result(env.now, run, Outcome::Cancelled, None));
            }
        }
        if let Segment::Open { .. } = self.segment {
            self.segment = Segment::Open { skipping: true };
        }
    }

    fn on_ready(
        &mut self,
        status: TransactionStatus,
        range: Range<usize>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        match self.slots.pop_front() {
            Some(Slot::Query { runs, .. }) => {
                for run in runs {
                    out.audit.push(self.trail.result(env.now, &run, Outcome::Unknown, None));
                }
            }
            Some(Slot::Sync) => (),
            _ => return Err(Violation::Unexpected('Z')),
        }
        out.pass(range);
        self.segment = Segment::Rest;
        self.flushed = false;
        self.at_boundary(status, env, out);
        Ok(())
    }

    /// Between segments: what was in doubt is asked again, and what ended with the transaction goes.
    fn at_boundary(&mut self, status: TransactionStatus, env: &Env<'_>, out: &mut Output) {
        let failed = self.transaction == TransactionStatus::Failed;
        let in_doubt = failed || self.overlay.doubt == Doubt::Path;
        self.transaction = status;
        self.doomed = None;
        self.terminated = false;
        self.copy_in = false;
        self.placed = false;
        self.keeps = false;
        if status == TransactionStatus::Idle {
            self.routing.answered();
        }
        self.overlay.doubt = Doubt::None;
        if status == TransactionStatus::Idle {
            self.names.end_transaction();
            self.gate.end_transaction();
            if std::mem::take(&mut self.overlay.touched) {
                self.forget_meaning();
            }
            if self.overlay.catalog_changed {
                self.ask_for_catalog(env.now, out);
            }
        }
        self.owner_at_boundary(in_doubt, out);
        self.close_if_drained(out);
    }

    /// A reply to a query of our own. False when it is none.
    fn on_internal(
        &mut self,
        tag: u8,
        body: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<bool, Violation> {
        if self.at == Site::Primary && matches!(tag, b'S' | b'A') {
            return Ok(false);
        }
        if !matches!(self.slots.front(), Some(Slot::Internal(_))) {
            return Ok(false);
        }
        if tag == b'S' {
            let (name, value) = message::parameter_status(body)?;
            self.note_standby(self.at, name, value);
            return Ok(true);
        }
        let Some(Slot::Internal(internal)) = self.slots.front_mut() else { return Ok(false) };
        match (tag, internal) {
            (b'D', Internal::Path { rows }) => rows.push(message::text_row(body)?),
            (b'D', Internal::Names { reading, failed, .. }) => {
                *failed |= reading.on_row(body).is_err();
            }
            (b'C', Internal::Names { reading, .. }) => reading.on_complete(),
            (b'E', Internal::Names { failed, .. }) => *failed = true,
            (b'E', Internal::Replay { failed, .. }) => {
                let why = message::error_field(body, b'M').unwrap_or("unknown error");
                *failed = Some(why.to_owned());
            }
            (b'E', Internal::Path { rows }) => rows.clear(),
            (b'E', Internal::Become { failed }) => {
                let why = message::error_field(body, b'M').unwrap_or("unknown error");
                *failed = Some(why.to_owned());
            }
            (b'E', Internal::Resign { failed } | Internal::Told { failed, .. }) => *failed = true,
            (b'D', Internal::Asked { answer, .. }) => match message::text_row(body) {
                Ok(row) => answer.row(&row),
                Err(_) => answer.fail(),
            },
            (b'E', Internal::Asked { answer, .. }) => answer.fail(),
            (b'Z', _) => {
                let status = TransactionStatus::read(body)?;
                let Some(Slot::Internal(done)) = self.slots.pop_front() else {
                    return Ok(true);
                };
                self.on_internal_done(done, status, env, out);
            }
            _ => (),
        }
        Ok(true)
    }

    fn on_internal_done(
        &mut self,
        done: Internal,
        status: TransactionStatus,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        self.transaction = status;
        match done {
            Internal::Replay { text, failed } => {
                if let Some(why) = failed {
                    let notice = Report::warning(format!("{text}: {why}"));
                    out.say(|own| notice.write(own));
                }
                self.replay_next(out);
            }
            Internal::Path { rows } => self.on_path(read_path(&rows).into(), env, out),
            Internal::Become { failed } => self.on_become(failed, out),
            Internal::Resign { failed } => self.on_resign(failed, out),
            Internal::Asked { site, question, answer } => {
                self.on_asked((site, question, answer), env);
            }
            Internal::Told { site, failed } => self.on_told(site, failed, out),
            Internal::Taught | Internal::Undo => (),
            Internal::Abandoned => self.turn_to(self.routing.home(), out),
            Internal::Cut => {
                self.segment = Segment::Rest;
                self.flushed = false;
                self.at_boundary(status, env, out);
            }
            Internal::Names { path, reading, failed } => {
                self.on_names(path, (!failed).then_some(*reading));
            }
        }
    }

    /// Says what is ours to say and due: a reply of our own comes when all before it have been given.
    pub(super) fn pump(&mut self, env: &mut Env<'_>, out: &mut Output) {
        loop {
            match self.slots.front_mut() {
                Some(Slot::Own { .. }) => {
                    let Some(Slot::Own { reply, then }) = self.slots.pop_front() else { return };
                    out.say(|own| own.extend_from_slice(&reply));
                    match then {
                        Then::Nothing => (),
                        Then::Prepare(name, prepared) => {
                            self.names.prepared.insert(name, prepared);
                        }
                        Then::Bind(name, portal) => {
                            self.names.portals.insert(name, portal);
                        }
                        Then::CloseStatement(name) => self.names.free(&name, self.at),
                        Then::ClosePortal(name) => {
                            self.names.portals.remove(&name);
                        }
                        Then::Skip => {
                            if self.transaction == TransactionStatus::Active {
                                self.transaction = TransactionStatus::Failed;
                            }
                            self.skip_to_sync(env, out);
                        }
                    }
                }
                Some(Slot::OwnSync) => {
                    self.slots.pop_front();
                    let status = self.transaction;
                    out.say(|own| reply::ready(own, status));
                    self.segment = Segment::Rest;
                    self.at_boundary(status, env, out);
                }
                Some(Slot::Call { call, asked, .. }) => {
                    if std::mem::replace(asked, true) {
                        return;
                    }
                    let call = call.clone();
                    let answer = match &*call.name {
                        EXPLAIN => self.explain(&call, env),
                        ROUTE => self.route(&call, env),
                        _ => {
                            out.command(Command::Call(call));
                            return;
                        }
                    };
                    self.on_call_result(answer, env, out);
                    return;
                }
                _ => return,
            }
        }
    }
}
