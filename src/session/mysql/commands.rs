//! The commands, one by one. What carries no text of its own is decided as the statement that does the same.

use crate::secret::Secret;
use crate::session::output::{ChangeUser, Command as Wish, Output};
use crate::session::refusal::Refusal;
use crate::wire::mysql::command::{Command, StatementId};
use crate::wire::mysql::reply::{Expect, Reply};
use crate::wire::mysql::report::{Report, end};

use super::{Conversation, Current, Env, Link, Said, Taken, Work};

impl Conversation {
    pub(super) fn on_command(
        &mut self,
        command: &Command<'_>,
        frame: &[u8],
        sequence: u8,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Taken {
        let expect = Expect::of(command).unwrap_or(Expect::Okay);
        let said = |text| Said { text, frame, sequence, expect };
        match command {
            Command::Quit => self.close(None, out),
            Command::Query { text, .. } => return self.on_text(said(text), env, out),
            Command::InitDb { schema } => {
                return self.on_text(said(&with_name(b"USE ", schema)), env, out);
            }
            Command::FieldList { table, .. } => {
                let text = with_name(b"SHOW COLUMNS FROM ", table);
                return self.on_text(said(&text), env, out);
            }
            Command::ProcessInfo => return self.on_text(said(b"SHOW PROCESSLIST"), env, out),
            Command::Statistics => return self.on_text(said(b"SHOW STATUS"), env, out),
            Command::ProcessKill { connection } => {
                return self.on_text(said(format!("KILL {connection}").as_bytes()), env, out);
            }
            Command::Ping => self.pass_plain(said(b""), Work::Plain, out),
            Command::SetOption { .. } => self.set_option(said(b""), env, out),
            Command::ResetConnection => self.reset(said(b""), out),
            Command::ChangeUser { body } => self.depart(body, sequence, out),
            Command::Prepare { text } => return self.on_prepare(said(text), env, out),
            Command::Execute { statement, .. } | Command::BulkExecute { statement, .. } => {
                return self.on_execute(*statement, command, said(b""), env, out);
            }
            Command::Fetch { statement, .. } => {
                return self.on_fetch(*statement, said(b""), env, out);
            }
            Command::SendLongData { statement, parameter, .. } => {
                self.on_long_data(*statement, *parameter, frame, env, out);
            }
            Command::Close { statement } => {
                if self.names.close(*statement).is_some_and(|it| it.at_server) {
                    out.control(|server| server.extend_from_slice(frame));
                }
            }
            Command::Reset { statement } => self.on_reset(*statement, said(b""), out),
            Command::Refused { name } => self.refuse_command(name, said(b""), env, out),
        }
        Taken::Yes
    }

    /// Passes a command that carries no statement; without a server it is answered here.
    pub(super) fn pass_plain(&mut self, said: Said<'_>, work: Work, out: &mut Output) {
        if self.link != Link::Open {
            self.say_okay(said.sequence, out);
            return;
        }
        out.control(|server| server.extend_from_slice(said.frame));
        self.send(said, work);
    }

    /// A command is at the server from now on.
    pub(super) fn send(&mut self, said: Said<'_>, work: Work) {
        let reply = Reply::new(said.expect, self.capabilities, said.sequence);
        self.current = Current::Server { reply, work, between: true };
    }

    fn set_option(&mut self, said: Said<'_>, env: &mut Env<'_>, out: &mut Output) {
        self.routing.pin_for_good("an option of its connection that was changed");
        if self.link == Link::Open {
            self.pass_plain(said, Work::Plain, out);
            return;
        }
        if let Err(refusal) = self.note_journal(said.frame) {
            self.refuse_opaque(said, &refusal, env, out);
            return;
        }
        let (mut sequence, status, capabilities) = (said.sequence, self.status, self.capabilities);
        out.say(|own| end(own, &mut sequence, status, capabilities));
    }

    fn reset(&mut self, said: Said<'_>, out: &mut Output) {
        self.names.clear();
        self.journal.clear();
        if self.link == Link::Open {
            self.pass_plain(said, Work::Reset, out);
            return;
        }
        self.state = super::State::new(self.assumed.clone());
        self.meaning = None;
        self.say_okay(said.sequence, out);
    }

    fn on_reset(&mut self, id: StatementId, said: Said<'_>, out: &mut Output) {
        let Some(prepared) = self.names.get_mut(id) else {
            let name = id.to_string().into();
            let told = self.told(&Refusal::NoStatement(name));
            Self::refuse_with(&told, said.sequence, out);
            return;
        };
        prepared.begins_anew();
        if prepared.at_server {
            self.pass_plain(said, Work::Plain, out);
        } else {
            self.say_okay(said.sequence, out);
        }
    }

    fn on_long_data(
        &mut self,
        id: StatementId,
        parameter: u16,
        frame: &[u8],
        env: &Env<'_>,
        out: &mut Output,
    ) {
        // Nothing answers it: what is wrong shows when the statement is executed.
        let Some(prepared) = self.names.get_mut(id) else { return };
        if !prepared.at_server || !env.audit_accepts || parameter >= prepared.parameters {
            return;
        }
        if !prepared.long.contains(&parameter) {
            prepared.long.push(parameter);
        }
        out.control(|server| server.extend_from_slice(frame));
    }

    /// The session ends, whoever the client is next.
    fn depart(&mut self, body: &[u8], sequence: u8, out: &mut Output) {
        self.closing = true;
        self.departed = true;
        out.command(Wish::Depart(ChangeUser { body: Secret::new(body), sequence }));
    }

    /// Refuses a command by its name, as a server that does not know it.
    fn refuse_command(
        &mut self,
        name: &'static str,
        said: Said<'_>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let what = format!("{name} is not taken here");
        let told = Report::new(1047, "08S01", what.clone());
        let refusal = Refusal::Unsupported { what, hint: None };
        let record = self.trail.deny_opaque(env.now, b"", &refusal, told.sqlstate, &told.message);
        out.audit.push(record);
        Self::refuse_with(&told, said.sequence, out);
    }
}

/// A statement that ends with a name which is sent bare in a command.
fn with_name(start: &[u8], name: &[u8]) -> Vec<u8> {
    let mut text = start.to_vec();
    text.push(b'`');
    for &byte in name {
        text.push(byte);
        if byte == b'`' {
            text.push(b'`');
        }
    }
    text.push(b'`');
    text
}
