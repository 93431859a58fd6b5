//! A statement in a session, and how two sessions differ over it.

use postgres_protocol::message::frontend;

use crate::support::{Message, Wire, bind};
use crate::tally::{self, Rule};

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One Query message.
    Simple,
    /// Parse, Bind, Execute, Sync.
    Extended,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The server's error: it says where in its source it was raised.
    Server {
        code: String,
        message: String,
    },
    /// The proxy's own.
    Proxy {
        code: String,
        message: String,
    },
}

impl Outcome {
    fn of(messages: &[Message]) -> Self {
        let Some(error) = messages.iter().find(|message| message.tag == b'E') else {
            return Self::Done;
        };
        let (code, message) = (error.field(b'C').into(), error.field(b'M').into());
        let routine = error.body.split(|&byte| byte == 0).any(|field| field.first() == Some(&b'R'));
        if routine { Self::Server { code, message } } else { Self::Proxy { code, message } }
    }
}

impl tally::Outcome for Outcome {
    fn is_done(&self) -> bool {
        *self == Self::Done
    }

    fn is_refusal(&self) -> bool {
        matches!(self, Self::Server { code, .. } if code == "42501")
    }

    fn got_past(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Server { code, .. } => !["42", "0A", "25", "26", "34", "3F", "2F"]
                .iter()
                .any(|class| code.starts_with(class)),
            Self::Proxy { .. } => false,
        }
    }

    fn is_proxys(&self) -> bool {
        matches!(self, Self::Proxy { .. })
    }

    fn message(&self) -> &str {
        match self {
            Self::Done => "",
            Self::Server { message, .. } | Self::Proxy { message, .. } => message,
        }
    }
}

/// Runs a statement in a transaction, which is rolled back.
pub fn run(wire: &mut Wire, form: Form, text: &str) -> Outcome {
    wire.send(|buffer| {
        frontend::query("BEGIN", buffer).unwrap();
        match form {
            Form::Simple => frontend::query(text, buffer).unwrap(),
            Form::Extended => {
                bind(buffer, "", text, &[]);
                frontend::execute("", 0, buffer).unwrap();
                frontend::sync(buffer);
            }
        }
    });
    wire.until_ready();
    let mut messages = Vec::new();
    loop {
        let message = wire.read();
        let last = message.tag == b'Z';
        if message.tag == b'G' {
            wire.send(|buffer| {
                frontend::copy_fail("no data", buffer).unwrap();
                // The server has skipped the Sync that came while it waited for data.
                if form == Form::Extended {
                    frontend::sync(buffer);
                }
            });
        }
        messages.push(message);
        if last {
            break;
        }
    }
    let ended = wire.run("ROLLBACK");
    assert_eq!(ended.last().map(|ready| &*ready.body), Some(&b"I"[..]), "after {text}");
    Outcome::of(&messages)
}

/// The committed table of rules.
pub fn rules() -> Vec<Rule> {
    tally::rules(include_str!("stricter.txt"))
}
