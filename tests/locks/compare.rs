//! A statement in a session, and how two sessions differ over it.

use std::collections::BTreeMap;

use postgres_protocol::message::frontend;

use crate::support::{Message, Wire, bind};

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

    /// Whether the server refuses for want of a privilege.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Server { code, .. } if code == "42501")
    }

    /// Whether the server has got past analysis and checks: it is done, or failed over data or state.
    fn got_past(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Server { code, .. } => !["42", "0A", "25", "26", "34", "3F", "2F"]
                .iter()
                .any(|class| code.starts_with(class)),
            Self::Proxy { .. } => false,
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

/// A rule by which more is refused than the server refuses.
pub struct Rule {
    pattern: regex::Regex,
    reason: &'static str,
}

/// The committed table.
pub fn rules() -> Vec<Rule> {
    let lines = include_str!("stricter.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (pattern, reason) = line.split_once(" => ").expect("`pattern => reason`");
            Rule {
                pattern: regex::Regex::new(&format!("(?s){}", pattern.trim())).unwrap(),
                reason: reason.trim(),
            }
        })
        .collect()
}

/// What a run has found.
#[derive(Default)]
pub struct Tally {
    pub compared: usize,
    /// Refused by both.
    pub refused: usize,
    /// Allowed by both.
    pub allowed: usize,
    /// Let pass though the server refuses the same rights: none may be.
    pub false_allows: Vec<String>,
    /// Refused though the server does not, by no rule.
    pub false_denials: Vec<String>,
    /// The same by rule: how often.
    pub by_rule: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Takes in what one statement came to at the server itself, and at what is tested.
    pub fn add(
        &mut self,
        rules: &[Rule],
        who: &str,
        text: &str,
        server: &Outcome,
        tested: &Outcome,
    ) {
        self.compared += 1;
        let differ =
            || format!("{who}: {text}\n    the server: {server:?}\n    tested: {tested:?}");
        if server.is_refusal() {
            // An error of another kind from the server behind the proxy means that it was asked.
            let refused = tested.is_refusal() || matches!(tested, Outcome::Proxy { .. });
            if refused {
                self.refused += 1;
            } else {
                self.false_allows.push(differ());
            }
            return;
        }
        if *tested == Outcome::Done && *server != Outcome::Done {
            self.false_allows.push(differ());
            return;
        }
        let denied = matches!(tested, Outcome::Proxy { .. }) || tested.is_refusal();
        if !(server.got_past() && denied) {
            self.allowed += usize::from(server.got_past());
            return;
        }
        let (Outcome::Proxy { message, .. } | Outcome::Server { message, .. }) = tested else {
            return;
        };
        let said = format!("{text} || {message}");
        match rules.iter().find(|rule| rule.pattern.is_match(&said)) {
            Some(rule) => *self.by_rule.entry(rule.reason).or_default() += 1,
            None => self.false_denials.push(differ()),
        }
    }

    /// Prints it, and fails if anything was let pass, or more than one in a hundred refused without a rule.
    pub fn judge(&self, name: &str) {
        println!(
            "{name}: {} compared; {} refused by both, {} allowed by both; {} false allows, {} false denials, \
             {} stricter by rule",
            self.compared,
            self.refused,
            self.allowed,
            self.false_allows.len(),
            self.false_denials.len(),
            self.by_rule.values().sum::<usize>(),
        );
        for (reason, count) in &self.by_rule {
            println!("  by rule {count}: {reason}");
        }
        for line in &self.false_denials {
            println!("  false denial {line}");
        }
        assert!(self.false_allows.is_empty(), "{name}:\n{}", self.false_allows.join("\n"));
        assert!(
            self.false_denials.len() * 100 < self.compared,
            "{name}: {} false denials",
            self.false_denials.len()
        );
        assert!(self.refused > 100 && self.allowed > 100, "{name}: too few were compared");
    }
}
