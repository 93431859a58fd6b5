//! A flat tokeniser of PostgreSQL text: it never recurses and never fails.
//!
//! The grammar decides what a statement means; this only measures text before the grammar sees it
//! and finds the literals for redaction. It follows scan.l of PostgreSQL 18 under
//! `standard_conforming_strings = on`. Where text ends inside a token, the rest is that token.

use std::ops::Range;

/// What a token is, as coarsely as the callers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Key word or identifier without quotes.
    Word,
    /// `"identifier"`, also `U&"…"`.
    Quoted,
    /// Any string constant: `'…'`, `E'…'`, `U&'…'`, `B'…'`, `X'…'`, `$tag$…$tag$`.
    Text,
    /// A numeric constant.
    Number,
    /// `$1`.
    Parameter,
    /// `(` or `[`.
    Open,
    /// `)` or `]`.
    Close,
    /// `;`.
    Semicolon,
    /// A run of operator characters.
    Operator,
    /// Any other single character.
    Other,
}

/// A token and where it stands, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Token {
    /// The bytes of the token.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The text of the token.
    pub(super) fn text<'t>(&self, source: &'t str) -> &'t str {
        source.get(self.range()).unwrap_or_default()
    }
}

/// Iterates over the tokens of a text; comments and white space are skipped.
pub(super) struct Lexer<'t> {
    bytes: &'t [u8],
    at: usize,
}

const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|`?";

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl<'t> Lexer<'t> {
    /// Starts at the beginning of a text.
    pub(super) fn new(text: &'t str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at.saturating_add(ahead)).copied()
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            self.skip_while(is_space);
            if self.peek(0) == Some(b'-') && self.peek(1) == Some(b'-') {
                self.skip_while(|byte| byte != b'\n' && byte != b'\r');
            } else if self.peek(0) == Some(b'/') && self.peek(1) == Some(b'*') {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    /// Skips a `/* … */` comment; they nest.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth = depth.saturating_sub(1);
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Reads up to the closing quote, which is doubled inside; the opening one has been read.
    fn quoted(&mut self, quote: u8, backslash: bool) {
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            if byte == quote {
                if self.peek(0) != Some(quote) {
                    return;
                }
                self.at += 1;
            } else if backslash && byte == b'\\' {
                self.at += 1;
            }
        }
    }

    /// Reads a string and its continuations: another quote after white space with a line end
    /// carries the same literal on, in the same mode.
    fn text(&mut self, backslash: bool) {
        self.quoted(b'\'', backslash);
        loop {
            let end = self.at;
            let mut new_line = false;
            loop {
                match self.peek(0) {
                    Some(byte) if is_space(byte) => {
                        new_line |= matches!(byte, b'\n' | b'\r');
                        self.at += 1;
                    }
                    Some(b'-') if self.peek(1) == Some(b'-') => {
                        self.skip_while(|byte| byte != b'\n' && byte != b'\r');
                    }
                    _ => break,
                }
            }
            if new_line && self.peek(0) == Some(b'\'') {
                self.at += 1;
                self.quoted(b'\'', backslash);
            } else {
                self.at = end;
                return;
            }
        }
    }

    /// Reads `$tag$ … $tag$`, when that is what stands here.
    fn dollar(&mut self) -> bool {
        let mut length = 1;
        match self.peek(1) {
            Some(b'$') => {}
            Some(byte) if starts_word(byte) => {
                while self.peek(length).is_some_and(|byte| byte != b'$' && continues_word(byte)) {
                    length += 1;
                }
            }
            _ => return false,
        }
        if self.peek(length) != Some(b'$') {
            return false;
        }
        let start = self.at;
        self.at += length + 1;
        let Some(tag) = self.bytes.get(start..self.at) else { return false };
        while let Some(byte) = self.peek(0) {
            if byte == b'$' && self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(tag)) {
                self.at += tag.len();
                return true;
            }
            self.at += 1;
        }
        true
    }

    /// Reads a number: digits in any base, a fraction, an exponent.
    fn number(&mut self) {
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
        let after_exponent = self.at.checked_sub(1).and_then(|last| self.bytes.get(last));
        if matches!(after_exponent, Some(b'e' | b'E')) && matches!(self.peek(0), Some(b'+' | b'-'))
        {
            self.at += 1;
            self.skip_while(|byte| byte.is_ascii_digit() || byte == b'_');
        }
    }

    /// Reads a string whose quote stands behind a prefix of one or two letters, if one does.
    fn prefixed(&mut self, first: u8) -> Option<Kind> {
        match first.to_ascii_lowercase() {
            b'e' if self.peek(1) == Some(b'\'') => {
                self.at += 2;
                self.text(true);
                Some(Kind::Text)
            }
            b'b' | b'x' | b'n' if self.peek(1) == Some(b'\'') => {
                self.at += 2;
                self.text(false);
                Some(Kind::Text)
            }
            b'u' if self.peek(1) == Some(b'&') && self.peek(2) == Some(b'\'') => {
                self.at += 3;
                self.text(false);
                Some(Kind::Text)
            }
            b'u' if self.peek(1) == Some(b'&') && self.peek(2) == Some(b'"') => {
                self.at += 3;
                self.quoted(b'"', false);
                Some(Kind::Quoted)
            }
            _ => None,
        }
    }

    fn operator(&mut self) {
        while let Some(byte) = self.peek(0) {
            let comment = matches!((byte, self.peek(1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if comment || !OPERATORS.contains(&byte) {
                return;
            }
            self.at += 1;
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let start = self.at;
        let first = self.peek(0)?;
        let kind = match first {
            b'\'' => {
                self.at += 1;
                self.text(false);
                Kind::Text
            }
            b'"' => {
                self.at += 1;
                self.quoted(b'"', false);
                Kind::Quoted
            }
            b'$' if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) => {
                self.at += 1;
                self.skip_while(|byte| byte.is_ascii_digit());
                Kind::Parameter
            }
            b'$' if self.dollar() => Kind::Text,
            b'.' if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) => {
                self.number();
                Kind::Number
            }
            byte if byte.is_ascii_digit() => {
                self.number();
                Kind::Number
            }
            byte if starts_word(byte) => match self.prefixed(byte) {
                Some(kind) => kind,
                None => {
                    self.skip_while(continues_word);
                    Kind::Word
                }
            },
            byte if OPERATORS.contains(&byte) => {
                self.operator();
                Kind::Operator
            }
            byte => {
                self.at += 1;
                match byte {
                    b'(' | b'[' => Kind::Open,
                    b')' | b']' => Kind::Close,
                    b';' => Kind::Semicolon,
                    _ => Kind::Other,
                }
            }
        };
        self.at = self.at.min(self.bytes.len());
        Some(Token { kind, start, end: self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Lexer};

    fn words(text: &str) -> Vec<(Kind, &str)> {
        Lexer::new(text).map(|token| (token.kind, token.text(text))).collect()
    }

    #[test]
    fn literals_are_found_in_every_spelling() {
        for literal in [
            "'a''b'",
            "E'a\\'b'",
            "e'\\\\'",
            "U&'d\\0061'",
            "b'01'",
            "X'1f'",
            "$$a'b$$",
            "$t$ $$ $t$",
            "'a'\n'b'",
            "'a' -- c\n 'b'",
            "E'a'\n'\\'b'",
            "$é$x$é$",
        ] {
            let text = format!("select {literal} from t");
            let tokens = words(&text);
            assert_eq!(tokens.get(1), Some(&(Kind::Text, literal)), "{text}");
            assert_eq!(tokens.len(), 4, "{text}: {tokens:?}");
        }
        for literal in ["1", "1.5", ".5", "1e10", "1.5e-7", "0x1F", "1_000"] {
            let text = format!("select {literal} + t");
            assert_eq!(words(&text).get(1), Some(&(Kind::Number, literal)), "{text}");
        }
        assert_eq!(words("select $1, a$b").get(1), Some(&(Kind::Parameter, "$1")));
        assert_eq!(words("select a$b$c$d").len(), 2);
    }

    #[test]
    fn comments_nest_and_quotes_do_not_leak() {
        assert_eq!(words("select /* a /* ' */ b */ 1 -- '\n + 2").len(), 4);
        assert_eq!(words("select 1 -- x\r, 2").len(), 4);
        assert_eq!(words("a+--b\nc").len(), 3);
        assert_eq!(words("select \"a\"\"b'\" , U&\"x'\"").len(), 4);
        assert_eq!(words("select 'open").last(), Some(&(Kind::Text, "'open")));
        assert_eq!(words("/* open").len(), 0);
    }
}
