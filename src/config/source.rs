//! A configuration file as it was written: values with their places, and every error at once.
//!
//! `serde` stops at the first error, so the tree that the `toml` crate reads is walked here by
//! accessors that note what is wrong and go on.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::time::duration::{self, Bounds, DurationError, SHORTEST};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// A value and where it was written. Equality is that of the value.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// What.
    pub value: T,
    /// Where.
    pub position: Position,
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, when that is a place in the file.
    pub position: Option<Position>,
    /// What, and what to write instead.
    pub sentence: String,
}

/// Everything that is wrong with a configuration. Shown a line each, `file:line:column: sentence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: PathBuf,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Nothing wrong so far.
    pub fn none(file: &Path) -> Self {
        Self { file: file.into(), errors: Vec::new() }
    }

    /// Adds what is wrong with the value at a place.
    pub fn add(&mut self, position: Option<Position>, sentence: impl Into<String>) {
        self.errors.push(ConfigError { position, sentence: sentence.into() });
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    /// The value, when nothing is wrong.
    ///
    /// # Errors
    /// When something is.
    pub fn or_else<T>(mut self, value: T) -> Result<T, Self> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        self.sort();
        Err(self)
    }

    /// Into the order of the file; errors without a place come first.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_key(|error| error.position);
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(Position { line, column }) = error.position {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", error.sentence)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Looks up a variable of the environment.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What all sections of one file share.
pub(super) struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
    pub environment: Environment<'a>,
    errors: RefCell<ConfigErrors>,
    /// Every key that was asked for, `section.key`.
    #[cfg(test)]
    pub asked: RefCell<std::collections::BTreeSet<String>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, environment: Environment<'a>) -> Self {
        Self {
            file,
            text,
            environment,
            errors: RefCell::new(ConfigErrors::none(file)),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    pub(super) fn position(&self, byte: usize) -> Position {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.get(line_start..).unwrap_or_default();
        Position { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }

    pub(super) fn error(&self, position: Option<Position>, sentence: impl Into<String>) {
        self.errors.borrow_mut().add(position, sentence);
    }

    pub(super) fn into_errors(self) -> ConfigErrors {
        self.errors.into_inner()
    }

    /// A path of the file, relative to its folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A table of the file, or one that is not there and has its defaults.
pub(super) struct Section<'s> {
    pub source: &'s Source<'s>,
    table: Option<&'s DeTable<'s>>,
    /// As errors call it, `[audit]`.
    pub name: String,
    pub position: Option<Position>,
    known: RefCell<Vec<&'static str>>,
}

impl<'s> Section<'s> {
    /// The file as a whole.
    pub(super) fn root(source: &'s Source<'s>, table: &'s DeTable<'s>) -> Self {
        Self::new(source, Some(table), "the file".into(), None)
    }

    fn new(
        source: &'s Source<'s>,
        table: Option<&'s DeTable<'s>>,
        name: String,
        position: Option<Position>,
    ) -> Self {
        Self { source, table, name, position, known: RefCell::default() }
    }

    fn get(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'s>>> {
        self.known.borrow_mut().push(key);
        #[cfg(test)]
        self.source.asked.borrow_mut().insert(format!("{}.{key}", self.name));
        let (_, value) = self.table?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(value)
    }

    fn at(&self, value: &Spanned<DeValue<'_>>) -> Position {
        self.source.position(value.span().start)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.source
            .error(Some(self.at(value)), format!("`{key}` must be {wanted}, not of type {found}"));
    }

    /// Notes an error at the section's head.
    pub(super) fn error(&self, sentence: impl Into<String>) {
        self.source.error(self.position, sentence);
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Located<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                Some(Located { value: text.to_string(), position: self.at(value) })
            }
            _ => {
                self.wrong_type(key, value, "a string in quotes");
                None
            }
        }
    }

    pub(super) fn required(&self, key: &'static str) -> Option<Located<String>> {
        if !self.has(key) {
            self.error(format!("{} lacks `{key}`", self.name));
        }
        self.string(key)
    }

    /// A string that `parse` understands or says what is wrong with.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        self.string(key).and_then(|text| self.parse(text, parse))
    }

    pub(super) fn parse<T>(
        &self,
        text: Located<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        match parse(&text.value) {
            Ok(value) => Some(Located { value, position: text.position }),
            Err(sentence) => {
                self.source.error(Some(text.position), sentence);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Located<T>> {
        self.parsed(key, |text| one_of(key, text, choices))
    }

    /// A whole number of things.
    pub(super) fn count(
        &self,
        key: &'static str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let Some(value) = self.get(key) else { return default };
        let Some(number) = integer(value.get_ref()) else {
            self.wrong_type(key, value, "a whole number");
            return default;
        };
        self.in_range(key, self.at(value), number, range).unwrap_or(default)
    }

    /// A number of bytes: a whole number, or a string with a unit, `"64 KiB"`.
    pub(super) fn bytes(
        &self,
        key: &'static str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let Some(value) = self.get(key) else { return default };
        let number = match value.get_ref() {
            DeValue::String(text) => size(text),
            other => integer(other),
        };
        let Some(number) = number else {
            self.wrong_type(key, value, "a number of bytes or a size like \"64 KiB\" or \"1 MiB\"");
            return default;
        };
        self.in_range(key, self.at(value), number, range).unwrap_or(default)
    }

    fn in_range(
        &self,
        key: &str,
        position: Position,
        number: i128,
        range: RangeInclusive<usize>,
    ) -> Option<usize> {
        let number = usize::try_from(number).ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.source.error(Some(position), format!("`{key}` must lie between {low} and {high}"));
        }
        number
    }

    /// Whole numbers of things, in a list.
    pub(super) fn counts(
        &self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Option<Located<Vec<usize>>> {
        let value = self.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of whole numbers");
            return None;
        };
        let number = |item| {
            let number = integer(Spanned::get_ref(item));
            if number.is_none() {
                self.wrong_type(key, item, "a list of whole numbers");
            }
            self.in_range(key, self.at(item), number?, range.clone())
        };
        // All of them, so that everything that is wrong is said.
        let numbers: Vec<Option<usize>> = items.iter().map(number).collect();
        let numbers: Option<Vec<usize>> = numbers.into_iter().collect();
        Some(Located { value: numbers?, position: self.at(value) })
    }

    /// A short time, to the millisecond: `"50ms"`, `"1s 500ms"`.
    pub(super) fn brief(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let parse = |text: &str| {
            let time = humantime::parse_duration(text.trim())
                .map_err(|_| format!("`{key}`: {text:?} is not a time: write 50ms, 2s or 1m"))?;
            if range.contains(&time) {
                return Ok(time);
            }
            let [low, high] =
                [range.start(), range.end()].map(|it| humantime::format_duration(*it));
            Err(format!("`{key}` must lie between {low} and {high}"))
        };
        self.parsed(key, parse).map_or(default, |time| time.value)
    }

    /// A time like `"15m"`, `"30 min"`, `"1h"`, not longer than that.
    pub(super) fn duration(&self, key: &'static str, max: Duration, default: Duration) -> Duration {
        let what = format!("`{key}` is");
        let bounds = Bounds { what: &what, min: SHORTEST, max };
        let parse = |text: &str| {
            duration::parse(text, &bounds).map_err(|error| match error {
                DurationError::Unreadable(_) => format!("`{key}`: {error}"),
                DurationError::TooShort { .. } | DurationError::TooLong { .. } => error.to_string(),
            })
        };
        self.parsed(key, parse).map_or(default, |duration| duration.value)
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        self.wrong_type(key, value, "true or false");
        default
    }

    pub(super) fn strings(&self, key: &'static str) -> Vec<Located<String>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of strings, [\"…\", \"…\"]");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    strings.push(Located { value: text.to_string(), position: self.at(item) });
                }
                _ => self.wrong_type(key, item, "a list of strings"),
            }
        }
        strings
    }

    /// A table that may be absent; its keys then have their defaults.
    pub(super) fn table(&self, key: &'static str) -> Section<'s> {
        let name = format!("[{key}]");
        let Some(value) = self.get(key) else { return Self::new(self.source, None, name, None) };
        if let DeValue::Table(table) = value.get_ref() {
            return Self::new(self.source, Some(table), name, Some(self.at(value)));
        }
        self.wrong_type(key, value, &format!("a table, [{key}]"));
        Self::new(self.source, None, name, Some(self.at(value)))
    }

    /// Tables of the same name, `[[listener]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'s>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, &format!("written with two brackets, [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => tables.push(Self::new(
                    self.source,
                    Some(table),
                    format!("[[{key}]]"),
                    Some(self.at(item)),
                )),
                _ => self.wrong_type(key, item, &format!("written as [[{key}]]")),
            }
        }
        tables
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for (name, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            let key = name.get_ref();
            if known.iter().any(|known| known == key) {
                continue;
            }
            let near = known.iter().min_by_key(|known| distance(known, key));
            let hint = near
                .filter(|near| distance(near, key) <= 1 + near.len() / 4)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let position = self.source.position(name.span().start);
            self.source
                .error(Some(position), format!("{} has no setting `{key}`{hint}", self.name));
        }
    }
}

/// One of a few words, or a sentence that lists them.
pub(super) fn one_of<T: Copy>(key: &str, text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("`{key}` must be {}, not {text:?}", words.join(" or "))
    })
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    let number = value.as_integer()?;
    i128::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

/// `"64 KiB"` in bytes.
fn size(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u32>().ok().map(|number| i128::from(number) * factor)
}

/// How many letters have to be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let changed = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("512"), Some(512));
        assert_eq!(size("64 KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1 << 20));
        assert_eq!(size("1 MB"), None);
        assert_eq!(size("-1"), None);
        assert_eq!(size("KiB"), None);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("socket", "socket"), 0);
        assert_eq!(distance("socket", "sokcet"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("adress", "address"), 1);
    }
}
