//! The cursor over tokens that every part of the grammar shares.

use super::lexer::{Kind, Token, Tokens};
use super::settings::{Flavour, ParseSettings};
use super::tree::Name;
use super::words::is_reserved;
use crate::sql::statement::NotUnderstood;

/// A part of the grammar that was read, or why not.
pub(super) type Parsed<T> = Result<T, NotUnderstood>;

/// Deepest nesting of what is read by calls: each level takes a few hundred bytes of the stack.
pub(super) const DEPTH_MAX: usize = 100;

/// Refuses with a sentence.
pub(super) fn unsupported<T>(what: impl Into<String>) -> Parsed<T> {
    Err(NotUnderstood::Unsupported { what: what.into(), hint: None })
}

/// A place among the tokens.
pub(super) struct Parser<'t> {
    /// All of them.
    pub tokens: &'t Tokens<'t>,
    /// The next.
    pub at: usize,
    /// One past the last of this statement.
    pub end: usize,
    /// How they are read.
    pub settings: &'t ParseSettings,
    /// How deep the grammar is in itself.
    pub depth: usize,
}

impl<'t> Parser<'t> {
    /// The token so far ahead.
    pub(super) fn token(&self, ahead: usize) -> Option<&'t Token> {
        let at = self.at.checked_add(ahead).filter(|at| *at < self.end)?;
        self.tokens.list.get(at)
    }

    /// The kind of the next token.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.token(0).map(|token| token.kind)
    }

    /// Whether the token so far ahead is that key word.
    pub(super) fn is_at(&self, ahead: usize, word: &str) -> bool {
        self.token(ahead).is_some_and(|token| {
            token.kind == Kind::Word
                && self.tokens.bytes(token).eq_ignore_ascii_case(word.as_bytes())
        })
    }

    /// Whether the next token is that key word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    /// Whether the next tokens are those key words.
    pub(super) fn are(&self, words: &str) -> bool {
        self.count(words).is_some()
    }

    /// How many tokens those key words are, if they stand here. Most often another one does, which the first
    /// comparison shows.
    fn count(&self, words: &str) -> Option<usize> {
        let mut rest = words.as_bytes();
        let mut count = 0;
        loop {
            let token = self.token(count).filter(|token| token.kind == Kind::Word)?;
            // No token has a space in it, so a shorter one leaves something else than a space behind it.
            let found = self.tokens.bytes(token);
            let (word, behind) = rest.split_at_checked(found.len())?;
            if !word.eq_ignore_ascii_case(found) {
                return None;
            }
            count += 1;
            match behind.split_first() {
                None => return Some(count),
                Some((b' ', more)) => rest = more,
                Some(_) => return None,
            }
        }
    }

    /// Whether the next token is one of those key words.
    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        self.kind() == Some(Kind::Word) && words.iter().any(|word| self.is(word))
    }

    /// Takes those key words if they stand here.
    pub(super) fn eat(&mut self, words: &str) -> bool {
        let count = self.count(words);
        self.at += count.unwrap_or_default();
        count.is_some()
    }

    /// Takes one of those key words.
    pub(super) fn eat_any(&mut self, words: &[&str]) -> bool {
        self.kind() == Some(Kind::Word) && words.iter().any(|word| self.eat(word))
    }

    /// Takes every one of those key words that stands here, in any order.
    pub(super) fn skip_words(&mut self, words: &[&str]) {
        while self.eat_any(words) {}
    }

    /// Takes those key words, which must stand here.
    pub(super) fn require(&mut self, words: &str) -> Parsed<()> {
        if self.eat(words) { Ok(()) } else { self.wrong() }
    }

    /// Whether the token so far ahead is that sign.
    pub(super) fn sign_at(&self, ahead: usize, sign: u8) -> bool {
        self.token(ahead).is_some_and(|token| token.kind == Kind::Sign(sign))
    }

    /// Takes that sign if it stands here.
    pub(super) fn eat_sign(&mut self, sign: u8) -> bool {
        let found = self.sign_at(0, sign);
        self.at += usize::from(found);
        found
    }

    /// Takes that sign, which must stand here.
    pub(super) fn expect_sign(&mut self, sign: u8) -> Parsed<()> {
        if self.eat_sign(sign) { Ok(()) } else { self.wrong() }
    }

    /// Takes a token of that kind if it stands here.
    pub(super) fn eat_kind(&mut self, kind: Kind) -> Option<&'t Token> {
        let token = self.token(0).filter(|token| token.kind == kind)?;
        self.at += 1;
        Some(token)
    }

    /// Whether nothing follows.
    pub(super) fn done(&self) -> bool {
        self.token(0).is_none()
    }

    /// Nothing may follow.
    pub(super) fn finish(&self) -> Parsed<()> {
        if self.done() { Ok(()) } else { self.wrong() }
    }

    /// What stands here does not belong here.
    pub(super) fn wrong<T>(&self) -> Parsed<T> {
        let (near, start) = match self.token(0) {
            Some(token) => {
                let text = self.tokens.source.get(token.start..).unwrap_or_default();
                let text = String::from_utf8_lossy(text.get(..80).unwrap_or(text)).into_owned();
                (text, token.start)
            }
            None => (String::new(), self.tokens.source.len()),
        };
        let before = self.tokens.source.get(..start).unwrap_or_default();
        let characters = String::from_utf8_lossy(before).chars().count();
        Err(NotUnderstood::Syntax {
            message: format!("this is not read here: the statement near '{near}'"),
            position: u32::try_from(characters).ok().and_then(|it| it.checked_add(1)),
        })
    }

    /// Goes one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(NotUnderstood::TooComplex {
                what: format!("The statement nests deeper than {DEPTH_MAX}."),
            });
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Whether a name stands so far ahead: in quotes, behind a dot, or a word that is not reserved.
    pub(super) fn name_at(&self, ahead: usize) -> bool {
        self.token(ahead).is_some_and(|token| match token.kind {
            Kind::Quoted | Kind::Dotted => true,
            Kind::Word => !is_reserved(&self.tokens.name(token), self.settings.server.flavour),
            _ => false,
        })
    }

    /// A name.
    pub(super) fn name(&mut self) -> Parsed<Box<str>> {
        match self.token(0) {
            Some(token) if self.name_at(0) => {
                self.at += 1;
                Ok(self.tokens.name(token).into())
            }
            _ => self.wrong(),
        }
    }

    /// A name of a column, or an alias of one: in lower case.
    pub(super) fn column(&mut self) -> Parsed<Box<str>> {
        Ok(self.name()?.to_lowercase().into())
    }

    /// A database's or table's name, as it is compared.
    pub(super) fn folded(&self, name: Box<str>) -> Parsed<Box<str>> {
        if !self.settings.lower_case_table_names {
            return Ok(name);
        }
        if !name.is_ascii() {
            return unsupported(
                "Where names of tables are compared in lower case, only plain ASCII ones are read.",
            );
        }
        Ok(name.to_ascii_lowercase().into())
    }

    /// `[database.]name`, as compared.
    pub(super) fn table(&mut self) -> Parsed<Name> {
        // `.name` is in the default database.
        if self.eat_sign(b'.') {
            let name = self.name()?;
            return Ok(Name { database: None, name: self.folded(name)? });
        }
        let first = self.name()?;
        let first = self.folded(first)?;
        if !self.eat_sign(b'.') {
            return Ok(Name { database: None, name: first });
        }
        let second = self.name()?;
        Ok(Name { database: Some(first), name: self.folded(second)? })
    }

    /// `[database.]name` of a routine, whose own name has no case.
    pub(super) fn routine(&mut self) -> Parsed<Name> {
        let first = self.name()?;
        if !self.eat_sign(b'.') {
            return Ok(Name { database: None, name: first.to_lowercase().into() });
        }
        let second = self.name()?;
        Ok(Name { database: Some(self.folded(first)?), name: second.to_lowercase().into() })
    }

    /// Elements with commas between.
    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut list = vec![element(self)?];
        while self.eat_sign(b',') {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// `(element, …)`.
    pub(super) fn in_parentheses<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect_sign(b'(')?;
        let list = self.list(element)?;
        self.expect_sign(b')')?;
        Ok(list)
    }

    /// A string, whose value is returned.
    pub(super) fn string(&mut self) -> Parsed<String> {
        let Some(token) = self.eat_kind(Kind::Text) else { return self.wrong() };
        if self.kind() == Some(Kind::Text) {
            return unsupported("A string in pieces is not read here.");
        }
        match self.tokens.value(token) {
            Some(value) => Ok(value),
            None => unsupported("A string is not plain text."),
        }
    }

    /// Whether the server is MariaDB.
    pub(super) fn mariadb(&self) -> bool {
        self.settings.server.flavour == Flavour::MariaDb
    }
}
