//! The same statement with the same rights, at the server itself and at what is tested: how the two differ,
//! counted.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// How a statement ended.
pub trait Outcome: Debug {
    /// Without an error.
    fn is_done(&self) -> bool;
    /// The server refuses for want of a privilege.
    fn is_refusal(&self) -> bool;
    /// The server has got past analysis and checks: it is done, or failed over data or state.
    fn got_past(&self) -> bool;
    /// The proxy refuses, and the server was not asked.
    fn is_proxys(&self) -> bool;
    /// The sentence of the error; empty without one.
    fn message(&self) -> &str;
}

/// A rule by which more is refused than the server refuses.
pub struct Rule {
    pattern: regex::Regex,
    reason: &'static str,
}

/// A committed table: a line is `expression for "statement || message" => why`.
pub fn rules(table: &'static str) -> Vec<Rule> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
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
    /// The same by rule: what was denied, and what was said.
    pub by_rule: BTreeMap<&'static str, Vec<String>>,
}

impl Tally {
    /// Takes in what one statement came to at the server itself, and at what is tested.
    pub fn add(
        &mut self,
        rules: &[Rule],
        who: &str,
        text: &str,
        server: &dyn Outcome,
        tested: &dyn Outcome,
    ) {
        self.compared += 1;
        let differ =
            || format!("{who}: {text}\n    the server: {server:?}\n    tested: {tested:?}");
        let denied = tested.is_refusal() || tested.is_proxys();
        if server.is_refusal() {
            // An error of another kind from the server behind the proxy means that it was asked.
            if denied {
                self.refused += 1;
            } else {
                self.false_allows.push(differ());
            }
            return;
        }
        if tested.is_done() && !server.is_done() {
            self.false_allows.push(differ());
            return;
        }
        if !(server.got_past() && denied) {
            self.allowed += usize::from(server.got_past());
            return;
        }
        let said = format!("{text} || {}", tested.message());
        match rules.iter().find(|rule| rule.pattern.is_match(&said)) {
            Some(rule) => self.by_rule.entry(rule.reason).or_default().push(said),
            None => self.false_denials.push(differ()),
        }
    }

    /// How often more is refused than the server refuses, by a rule or without one.
    pub fn stricter(&self) -> usize {
        self.false_denials.len() + self.by_rule.values().map(Vec::len).sum::<usize>()
    }

    /// Prints it, each statement of a rule where `LOCKS_LIST` is set, and fails if anything was let pass, or more than one in a hundred refused without a rule.
    pub fn judge(&self, name: &str) {
        println!(
            "{name}: {} compared; {} refused by both, {} allowed by both; {} false allows, {} false denials, \
             {} stricter by rule",
            self.compared,
            self.refused,
            self.allowed,
            self.false_allows.len(),
            self.false_denials.len(),
            self.stricter() - self.false_denials.len(),
        );
        let lists = std::env::var_os("LOCKS_LIST").is_some();
        for (reason, found) in &self.by_rule {
            println!("  by rule {}: {reason}", found.len());
            found.iter().filter(|_| lists).for_each(|said| println!("    {said}"));
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
