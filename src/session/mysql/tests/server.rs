//! A server of which every reply is scripted, and which holds the machine to one command at a time.

use std::collections::VecDeque;

use crate::wire::mysql::capability::{Capabilities, Status};
use crate::wire::mysql::command::Command;
use crate::wire::mysql::packet::{self, message, payload, write};
use crate::wire::mysql::report::{self, Form, Report};

use super::super::state::QUESTION;

/// What a command is answered with.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// OK, with so many rows changed.
    Okay(u64),
    /// So many rows.
    Rows(usize),
    /// Several results, one after the other.
    Several(Vec<Answer>),
    /// An error.
    Error(u16, &'static str),
    /// A prepared statement of that number, with so many parameters.
    Prepared(u32, u16),
    /// A cursor: columns, and no rows.
    Cursor,
    /// Rows of a cursor.
    Fetched(usize),
    /// It asks for a file, and then says OK.
    File(&'static str),
    /// Nothing yet.
    Never,
}

/// The server.
pub(super) struct FakeServer {
    pub(super) capabilities: Capabilities,
    pub(super) sql_mode: String,
    pub(super) character_set: String,
    pub(super) database: Option<String>,
    pub(super) status: Status,
    /// What it got, one command a line, but for our own questions.
    pub(super) got: Vec<String>,
    /// Our own.
    pub(super) asked: Vec<String>,
    /// Answers to come; without one it says OK, or two rows to a SELECT.
    pub(super) answers: VecDeque<Answer>,
    pub(super) out: Vec<u8>,
    input: Vec<u8>,
    /// A command has no answer yet.
    pub(super) busy: bool,
    /// The number of the file's next packet.
    file: Option<u8>,
    pub(super) file_bytes: Vec<u8>,
}

impl FakeServer {
    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            sql_mode: String::new(),
            character_set: "utf8mb4".into(),
            database: Some("shop".into()),
            status: Status::AUTOCOMMIT,
            got: Vec::new(),
            asked: Vec::new(),
            answers: VecDeque::new(),
            out: Vec::new(),
            input: Vec::new(),
            busy: false,
            file: None,
            file_bytes: Vec::new(),
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.input.is_empty() {
            let first = self.file.unwrap_or(0);
            let found = message(&self.input, first, usize::MAX).expect("packets in their turn");
            let found = found.expect("whole messages");
            let bytes: Vec<u8> = self.input.drain(..found.total).collect();
            let body = payload(&bytes).into_owned();
            if self.file.is_some() {
                self.file = Some(found.next);
                if body.is_empty() {
                    self.file = None;
                    self.answer(&Answer::Okay(1), found.next);
                }
                self.file_bytes.extend_from_slice(&body);
                continue;
            }
            assert!(!self.busy, "a second command while one is under way");
            self.command(&body);
        }
    }

    fn command(&mut self, body: &[u8]) {
        let command = Command::read(body, self.capabilities).expect("a command");
        if let Command::Query { text, .. } = &command {
            let text = String::from_utf8_lossy(text).into_owned();
            if text.as_bytes() == QUESTION {
                self.asked.push("how".into());
                return self.tell();
            }
            if text == "DO 0" {
                self.asked.push(text);
                return self.answer(&Answer::Okay(0), 1);
            }
            let rows = text.starts_with("SELECT");
            self.got.push(text);
            let usual = if rows { Answer::Rows(2) } else { Answer::Okay(0) };
            let answer = self.answers.pop_front().unwrap_or(usual);
            return self.answer(&answer, 1);
        }
        let shown = format!("{command:?}");
        self.got.push(shown.split([' ', '{']).next().unwrap_or_default().to_owned());
        if !command.has_reply() {
            return;
        }
        let answer = self.answers.pop_front().unwrap_or(Answer::Okay(0));
        self.answer(&answer, 1);
    }

    /// How it reads texts.
    fn tell(&mut self) {
        let row = vec![
            Some(self.sql_mode.clone()),
            Some(self.character_set.clone()),
            self.database.clone(),
        ];
        let (columns, form) = (["a", "b", "c"], Form::Text);
        let (status, capabilities) = (self.status, self.capabilities);
        report::result(&mut self.out, &mut 1, &columns, &[row], form, status, capabilities);
    }

    fn answer(&mut self, answer: &Answer, sequence: u8) {
        self.busy = false;
        let mut number = sequence;
        let all =
            if let Answer::Several(all) = answer { all } else { std::slice::from_ref(answer) };
        for (n, one) in all.iter().enumerate() {
            let more = n + 1 < all.len();
            let status = if more { self.status.with(Status::MORE_RESULTS) } else { self.status };
            self.one(one, &mut number, status);
        }
    }

    fn one(&mut self, answer: &Answer, number: &mut u8, status: Status) {
        let (out, capabilities) = (&mut self.out, self.capabilities);
        let row = vec![Some("x".to_owned())];
        match answer {
            Answer::Okay(rows) => report::okay(out, number, *rows, status, "", capabilities),
            Answer::Rows(count) => {
                let rows = vec![row; *count];
                report::result(out, number, &["a"], &rows, Form::Text, status, capabilities);
            }
            Answer::Error(code, state) => Report::new(*code, state, "no").write(out, number),
            Answer::Prepared(id, parameters) => {
                report::prepared(out, number, *id, *parameters, &["a"], status, capabilities);
            }
            Answer::Cursor => {
                let status = status.with(Status::CURSOR_EXISTS);
                report::result(out, number, &["a"], &[], Form::Binary, status, capabilities);
            }
            Answer::Fetched(count) => {
                for _ in 0..*count {
                    write(out, number, |out| out.extend_from_slice(b"\0\0\x01x"));
                }
                report::end(out, number, status, capabilities);
            }
            Answer::File(name) => {
                packet::write(out, number, |out| {
                    out.push(0xfb);
                    out.extend_from_slice(name.as_bytes());
                });
                self.file = Some(*number);
            }
            Answer::Several(_) => panic!("taken apart before"),
            Answer::Never => self.busy = true,
        }
    }

    /// What it runs is killed.
    pub(super) fn cancel(&mut self) {
        if self.busy {
            self.answer(&Answer::Error(1317, "70100"), 1);
        }
    }

    /// What it runs ends by itself.
    pub(super) fn finish(&mut self, answer: &Answer) {
        assert!(self.busy, "nothing runs");
        self.answer(answer, 1);
    }
}
