//! The tokens of a text, exactly as the server cuts them, or a refusal.
//!
//! Written after `sql_lex.cc` of both servers. Where they leave a corner (a number that runs into a name, a
//! comment in an executable comment), the text is refused: no client writes that. It never recurses.

use std::borrow::Cow;
use std::ops::Range;

use super::ParseLimits;
use super::settings::{CharacterSet, Flavour, ParseSettings};
use crate::sql::statement::NotUnderstood;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Key word or name without quotes.
    Word,
    /// A name without quotes right behind a dot: never a key word.
    Dotted,
    /// A name in quotes.
    Quoted,
    /// A string; `national` and introducers make no difference to what is needed.
    Text,
    /// A number, in decimals, hexadecimals or bits, also `x'1f'` and `b'01'`.
    Number,
    /// `?`
    Parameter,
    /// `@name`, with the sign.
    UserVariable,
    /// `@@`
    SystemVariable,
    /// `:=`
    Assign,
    /// An operator of more than one character.
    Operator,
    /// Any other single character.
    Sign(u8),
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
    /// White space or a comment stands before it.
    pub spaced: bool,
}

impl Token {
    /// Where it stands.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A text and its tokens.
pub(super) struct Tokens<'t> {
    /// The bytes that were read.
    pub source: &'t [u8],
    /// In order.
    pub list: Vec<Token>,
    /// Whether a backslash escapes in strings.
    pub backslash: bool,
}

impl<'t> Tokens<'t> {
    /// The bytes of a token.
    pub(super) fn bytes(&self, token: &Token) -> &'t [u8] {
        self.source.get(token.range()).unwrap_or_default()
    }

    /// A name, or the name of a user variable, without quotes.
    pub(super) fn name(&self, token: &Token) -> Cow<'t, str> {
        let mut bytes = self.bytes(token);
        if token.kind == Kind::UserVariable {
            bytes = bytes.get(1..).unwrap_or_default();
        }
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let Some(mark @ ('`' | '"' | '\'')) = text.chars().next() else {
            return Cow::Borrowed(text);
        };
        let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
        let twice: String = [mark, mark].iter().collect();
        if inner.contains(mark) {
            Cow::Owned(inner.replace(&twice, mark.encode_utf8(&mut [0; 4])))
        } else {
            Cow::Borrowed(inner)
        }
    }

    /// A string's value; `None` when it is not plain text.
    pub(super) fn value(&self, token: &Token) -> Option<String> {
        let text = std::str::from_utf8(self.bytes(token)).ok()?;
        let text = text.strip_prefix(['n', 'N']).unwrap_or(text);
        let mark = text.chars().next()?;
        let mut chars = text.get(1..text.len().checked_sub(1)?)?.chars();
        let mut value = String::new();
        while let Some(c) = chars.next() {
            if c == mark {
                chars.next();
                value.push(mark);
            } else if c == '\\' && self.backslash {
                match chars.next()? {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    'b' => value.push('\u{8}'),
                    'Z' => value.push('\u{1a}'),
                    '0' => return None,
                    // These keep their backslash.
                    kept @ ('%' | '_') => value.extend(['\\', kept]),
                    other => value.push(other),
                }
            } else {
                value.push(c);
            }
        }
        Some(value)
    }
}

/// Cuts a text into tokens.
pub(super) fn tokens<'t>(
    source: &'t [u8],
    settings: &ParseSettings,
    limits: &ParseLimits,
) -> Result<Tokens<'t>, NotUnderstood> {
    if source.len() > limits.bytes_max {
        return complex(format!("The statement is longer than {} bytes.", limits.bytes_max));
    }
    if source.contains(&0) {
        return unsupported("A null byte stands in the statement.");
    }
    let mut lexer = Lexer { source, at: 0, settings, executable: false };
    let mut list: Vec<Token> = Vec::new();
    let mut nesting = 0_usize;
    loop {
        let before = lexer.at;
        lexer.blank()?;
        let start = lexer.at;
        let Some(first) = lexer.peek(0) else { break };
        let last = list.last();
        let glued = last.is_some_and(|it| it.end == start);
        let after_dot = glued && last.is_some_and(|it| it.kind == Kind::Sign(b'.'));
        let after_name =
            glued && last.is_some_and(|it| matches!(it.kind, Kind::Word | Kind::Dotted));
        let kind = lexer.token(first, after_dot, after_name)?;
        let binary = last.is_some_and(|it| {
            source.get(it.range()).is_some_and(|it| it.eq_ignore_ascii_case(b"_binary"))
        });
        lexer.check(start, kind, binary)?;
        match kind {
            Kind::Sign(b'(') => nesting += 1,
            Kind::Sign(b')') => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        if nesting > limits.nesting_max {
            return complex(format!("The statement nests deeper than {}.", limits.nesting_max));
        }
        if list.len() >= limits.tokens_max {
            return complex(format!("The statement has more than {} tokens.", limits.tokens_max));
        }
        list.push(Token { kind, start, end: lexer.at, spaced: start > before });
    }
    if lexer.executable {
        return unsupported("An executable comment has no end.");
    }
    Ok(Tokens { source, list, backslash: !settings.sql_mode.no_backslash_escapes })
}

fn unsupported<T>(what: &str) -> Result<T, NotUnderstood> {
    Err(NotUnderstood::Unsupported { what: what.into(), hint: None })
}

fn complex<T>(what: String) -> Result<T, NotUnderstood> {
    Err(NotUnderstood::TooComplex { what })
}

struct Lexer<'t, 's> {
    source: &'t [u8],
    at: usize,
    settings: &'s ParseSettings,
    /// Inside an executable comment that this server reads.
    executable: bool,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

const fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

const OPERATORS: [&[u8]; 13] =
    [b"<=>", b"->>", b"<<", b">>", b"<=", b">=", b"<>", b"!=", b"&&", b"||", b"->", b":=", b"*/"];

impl Lexer<'_, '_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at.saturating_add(ahead)).copied()
    }

    fn rest(&self) -> &[u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// Skips white space and comments, and enters and leaves executable ones.
    fn blank(&mut self) -> Result<(), NotUnderstood> {
        loop {
            self.skip_while(is_space);
            match (self.peek(0), self.peek(1)) {
                (Some(b'#'), _) => self.line_comment(),
                // The end of the text counts as a control character.
                (Some(b'-'), Some(b'-'))
                    if self.peek(2).is_none_or(|it| is_space(it) || it.is_ascii_control()) =>
                {
                    self.line_comment();
                }
                (Some(b'/'), Some(b'*')) => self.comment()?,
                (Some(b'*'), Some(b'/')) if self.executable => {
                    self.executable = false;
                    self.at += 2;
                }
                _ => return Ok(()),
            }
            if self.at > self.source.len() {
                self.at = self.source.len();
            }
        }
    }

    fn line_comment(&mut self) {
        self.skip_while(|byte| byte != b'\n' && byte != 0);
    }

    fn comment(&mut self) -> Result<(), NotUnderstood> {
        let start = self.at;
        let (marker, of_mariadb) = match (self.peek(2), self.peek(3)) {
            (Some(b'!'), _) => (3, false),
            (Some(b'M'), Some(b'!')) => (4, true),
            _ => (0, false),
        };
        let here = self.settings.server;
        if marker == 0 || (of_mariadb && here.flavour == Flavour::MySql) {
            self.skip_comment(start + 2)?;
            let text = self.source.get(start..self.at).unwrap_or_default();
            let hint = text.get(2) == Some(&b'+');
            let quoted = text.iter().any(|byte| matches!(byte, b'`' | b'"' | b'\''));
            let sets = text.to_ascii_uppercase().windows(7).any(|it| it == b"SET_VAR");
            if hint && (quoted || sets) {
                return unsupported("An optimizer hint with a quoted name or SET_VAR is not read.");
            }
            return Ok(());
        }
        if self.executable {
            return unsupported("An executable comment stands in another.");
        }
        let digits = self.rest().iter().skip(marker).take_while(|it| it.is_ascii_digit()).count();
        let after = self.peek(marker + digits);
        let read = match digits {
            0 => true,
            5 | 6 => {
                let digits = self.rest().get(marker..marker + digits).unwrap_or_default();
                let number = digits.iter().fold(0, |sum, it| sum * 10 + u32::from(it - b'0'));
                let mysqls = here.flavour == Flavour::MariaDb
                    && !of_mariadb
                    && (50_700..=99_999).contains(&number);
                number <= here.number && !mysqls
            }
            _ => return unsupported("An executable comment has a version of 5 or 6 digits."),
        };
        if !read {
            self.skip_comment(start + marker)?;
            let inside = self.source.get(start + 2..self.at).unwrap_or_default();
            if inside.windows(2).any(|pair| pair == b"/*") {
                return unsupported("A comment stands in an executable comment.");
            }
            return Ok(());
        }
        if digits > 0 && !after.is_some_and(|it| is_space(it) || it == b'*') {
            return unsupported("White space follows the version of an executable comment.");
        }
        self.executable = true;
        self.at += marker + digits;
        Ok(())
    }

    /// To behind the next `*/`, searched from there.
    fn skip_comment(&mut self, from: usize) -> Result<(), NotUnderstood> {
        self.at = from;
        match self.rest().windows(2).position(|pair| pair == b"*/") {
            Some(length) => {
                self.at += length + 2;
                Ok(())
            }
            None => unsupported("A comment has no end."),
        }
    }

    fn token(
        &mut self,
        first: u8,
        after_dot: bool,
        after_name: bool,
    ) -> Result<Kind, NotUnderstood> {
        let second = self.peek(1);
        match first {
            b'\'' => self.text(b'\''),
            b'"' if self.settings.sql_mode.ansi_quotes => self.quoted(b'"'),
            b'"' => self.text(b'"'),
            b'`' => self.quoted(b'`'),
            b'n' | b'N' if second == Some(b'\'') && !after_dot => {
                self.at += 1;
                self.text(b'\'')
            }
            b'x' | b'X' | b'b' | b'B' if second == Some(b'\'') && !after_dot => {
                self.at += 2;
                self.skip_while(|byte| byte.is_ascii_hexdigit());
                if self.peek(0) != Some(b'\'') {
                    return unsupported("A literal of bits or hexadecimals is not well formed.");
                }
                self.at += 1;
                Ok(Kind::Number)
            }
            b'$' => unsupported("A name that begins with $ stands in quotes."),
            byte if in_name(byte) && after_dot => {
                self.skip_while(in_name);
                Ok(Kind::Dotted)
            }
            byte if byte.is_ascii_digit() => self.number(),
            b'.' if second.is_some_and(|it| it.is_ascii_digit()) && !after_name => self.number(),
            byte if in_name(byte) => {
                self.skip_while(in_name);
                Ok(Kind::Word)
            }
            b'@' => self.variable(),
            b'?' => {
                self.at += 1;
                Ok(Kind::Parameter)
            }
            b'\\' => unsupported("A backslash stands outside of a string."),
            byte if byte.is_ascii_control() => {
                unsupported("A control character stands outside of a string.")
            }
            byte => Ok(self.operator(byte)),
        }
    }

    fn operator(&mut self, first: u8) -> Kind {
        match OPERATORS.into_iter().find(|it| self.rest().starts_with(it)) {
            Some(found) => {
                self.at += found.len();
                if found == b":=" { Kind::Assign } else { Kind::Operator }
            }
            None => {
                self.at += 1;
                Kind::Sign(first)
            }
        }
    }

    /// `@` and what it names: a bare name, which may have dots, or a quoted one.
    fn variable(&mut self) -> Result<Kind, NotUnderstood> {
        self.at += 1;
        match self.peek(0) {
            Some(b'@') => {
                self.at += 1;
                Ok(Kind::SystemVariable)
            }
            Some(mark @ (b'`' | b'"' | b'\'')) => {
                let start = self.at;
                self.quoted(mark)?;
                let inside = self.source.get(start..self.at).unwrap_or_default();
                if inside.contains(&b'\\') {
                    return unsupported("The name of a variable has a backslash.");
                }
                Ok(Kind::UserVariable)
            }
            Some(byte) if in_name(byte) || byte == b'.' => {
                self.skip_while(|it| in_name(it) || it == b'.');
                Ok(Kind::UserVariable)
            }
            Some(b'%') => unsupported("A % stands behind @ without quotes."),
            _ => unsupported("A variable has no name."),
        }
    }

    /// A name in quotes, which are doubled inside; a backslash means nothing there.
    fn quoted(&mut self, mark: u8) -> Result<Kind, NotUnderstood> {
        self.at += 1;
        let start = self.at;
        loop {
            self.skip_while(|byte| byte != mark);
            if self.peek(0).is_none() {
                return unsupported("A quoted name has no end.");
            }
            self.at += 1;
            if self.peek(0) != Some(mark) {
                break;
            }
            self.at += 1;
        }
        if self.at == start + 1 {
            return unsupported("A quoted name is empty.");
        }
        Ok(Kind::Quoted)
    }

    fn text(&mut self, mark: u8) -> Result<Kind, NotUnderstood> {
        let backslash = !self.settings.sql_mode.no_backslash_escapes;
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return unsupported("A string has no end."),
                Some(b'\\') if backslash => self.at += 2,
                Some(byte) if byte == mark => {
                    self.at += 1;
                    if self.peek(0) != Some(mark) {
                        return Ok(Kind::Text);
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// What begins with a digit: a number, or a name that does.
    fn number(&mut self) -> Result<Kind, NotUnderstood> {
        let start = self.at;
        self.skip_while(in_name);
        let word = self.source.get(start..self.at).unwrap_or_default();
        let all = |digits: &[u8], wanted: fn(&u8) -> bool| {
            !digits.is_empty() && digits.iter().all(wanted)
        };
        let digits = word.iter().take_while(|it| it.is_ascii_digit()).count();
        let rest = word.get(digits..).unwrap_or_default();
        match word {
            [b'0', b'x', hex @ ..] if all(hex, u8::is_ascii_hexdigit) => return Ok(Kind::Number),
            [b'0', b'b', bits @ ..] if all(bits, |it| matches!(it, b'0' | b'1')) => {
                return Ok(Kind::Number);
            }
            [b'0', b'x' | b'b' | b'X' | b'B', ..] => {
                return unsupported("A name that begins like a number stands in quotes.");
            }
            _ => {}
        }
        match rest {
            // `1`, `1.5`, `1.5e3`, `.5`
            [] => {}
            // `1e5`; with a sign, the digits are still to come.
            [b'e' | b'E', exponent @ ..] if all(exponent, u8::is_ascii_digit) => {
                return self.number_ends();
            }
            [b'e' | b'E'] if matches!(self.peek(0), Some(b'+' | b'-')) => {
                self.at += 1;
                return self.exponent();
            }
            [b'e' | b'E', byte, ..] if byte.is_ascii_digit() => {
                return unsupported("A name that begins like a number stands in quotes.");
            }
            _ => return Ok(Kind::Word),
        }
        if self.peek(0) == Some(b'.') {
            self.at += 1;
            self.skip_while(|byte| byte.is_ascii_digit());
            if matches!(self.peek(0), Some(b'e' | b'E')) {
                self.at += 1;
                if matches!(self.peek(0), Some(b'+' | b'-')) {
                    self.at += 1;
                }
                return self.exponent();
            }
        }
        self.number_ends()
    }

    fn exponent(&mut self) -> Result<Kind, NotUnderstood> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_digit());
        if self.at == start {
            return unsupported("A number's exponent has no digits.");
        }
        self.number_ends()
    }

    fn number_ends(&self) -> Result<Kind, NotUnderstood> {
        if self.peek(0).is_some_and(|byte| in_name(byte) || byte == b'.') {
            return unsupported("A number runs into a name.");
        }
        Ok(Kind::Number)
    }

    /// Whether the bytes since there are characters of the client's set.
    fn check(&mut self, start: usize, kind: Kind, binary: bool) -> Result<(), NotUnderstood> {
        if self.at > self.source.len() {
            return unsupported("A string has no end.");
        }
        let bytes = self.source.get(start..self.at).unwrap_or_default();
        if bytes.is_ascii() {
            return Ok(());
        }
        if kind == Kind::UserVariable {
            return unsupported("The name of a variable is not plain ASCII.");
        }
        let text = kind == Kind::Text;
        match self.settings.character_set {
            CharacterSet::Latin1 | CharacterSet::Binary if text => return Ok(()),
            CharacterSet::Utf8mb4 | CharacterSet::Utf8mb3 if text && binary => return Ok(()),
            CharacterSet::Utf8mb4 | CharacterSet::Utf8mb3 => {}
            _ => {
                return unsupported(
                    "Beyond ASCII, names are read only from a client whose character set is utf8mb4.",
                );
            }
        }
        let wide = matches!(self.settings.character_set, CharacterSet::Utf8mb4) && text;
        match std::str::from_utf8(bytes) {
            // Names have characters of up to three bytes.
            Ok(text) if wide || text.chars().all(|c| c.len_utf8() < 4) => Ok(()),
            _ => unsupported("The statement is not valid in the client's character set."),
        }
    }
}
