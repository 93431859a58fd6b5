//! Reads the stream back: the last lines of its file, lines as they come, one record, one session.
//!
//! [`render_line`] and [`render_record`] show them on a terminal, where nothing that a client put
//! into a statement may act.

mod render;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::lines::LinesBackwards;
use crate::time::Timestamp;

pub use render::{render_header, render_line, render_record};

/// How often a followed file is asked for more.
const POLL: Duration = Duration::from_millis(200);
/// Read at a time, bytes.
const BLOCK: usize = 64 << 10;

/// One line of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// As it stands in the file, without its newline.
    pub raw: String,
    /// What it says; `Null` when it is no record.
    pub record: Value,
}

impl Line {
    fn read(bytes: &[u8]) -> Self {
        Self {
            raw: String::from_utf8_lossy(bytes).into_owned(),
            record: serde_json::from_slice(bytes).unwrap_or(Value::Null),
        }
    }
}

/// Which records are wanted: those that have every value that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `decision`, `result` …
    pub kind: Option<String>,
    /// Who.
    pub principal: Option<String>,
    /// Which entry of the configuration.
    pub database: Option<String>,
    /// `s_…`
    pub session: Option<String>,
}

impl Filter {
    /// Whether a record is wanted. A gap always is: it may stand for any record.
    pub fn matches(&self, record: &Value) -> bool {
        let has = |key: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| record.get(key).is_some_and(|it| it == wanted))
        };
        record.get("kind").is_some_and(|kind| kind == "gap")
            || has("kind", &self.kind)
                && has("principal", &self.principal)
                && has("database", &self.database)
                && has("session", &self.session)
    }
}

/// The last `count` lines of a file that are wanted, in its order.
///
/// # Errors
/// When the file cannot be read.
pub fn last(path: &Path, count: usize, filter: &Filter) -> io::Result<Vec<Line>> {
    let file = File::open(path)?;
    let end = whole_lines(&file)?;
    last_before(&file, end, count, filter)
}

fn last_before(file: &File, end: u64, count: usize, filter: &Filter) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut backwards = LinesBackwards::new(file, end)?;
    while lines.len() < count
        && let Some(bytes) = backwards.next().transpose()?
    {
        let line = Line::read(&bytes);
        if filter.matches(&line.record) {
            lines.push(line);
        }
    }
    lines.reverse();
    Ok(lines)
}

/// The wanted lines from a point of time on, the latest first, given to `take`; the time of the file's first
/// record when that is later than `since`, so that what came before is not known.
///
/// # Errors
/// When the file cannot be read.
pub fn since(
    path: &Path,
    since: Timestamp,
    filter: &Filter,
    mut take: impl FnMut(&Value),
) -> io::Result<Option<Timestamp>> {
    let file = File::open(path)?;
    let mut first = None;
    for bytes in LinesBackwards::new(&file, whole_lines(&file)?)? {
        let line = Line::read(&bytes?);
        let time = line.record.get("time").and_then(Value::as_str);
        if let Some(time) = time.and_then(|time| time.parse().ok()) {
            if time < since {
                return Ok(None);
            }
            first = Some(time);
        }
        if filter.matches(&line.record) {
            take(&line.record);
        }
    }
    Ok(first)
}

/// Where the last whole line of a file ends: what follows is being written.
fn whole_lines(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last == [b'\n'] {
        return Ok(length);
    }
    let torn = LinesBackwards::new(file, length)?.next().transpose()?.unwrap_or_default();
    Ok(length - torn.len() as u64)
}

/// The record of that sequence, or all records that name that session, grant, request or token, in the
/// file's order; none when the file has none.
///
/// # Errors
/// When the file cannot be read.
pub fn find(path: &Path, id: &str) -> io::Result<Vec<Line>> {
    let file = File::open(path)?;
    let end = whole_lines(&file)?;
    let sequence: Option<u64> = id.parse().ok();
    let mut found = Vec::new();
    for bytes in LinesBackwards::new(&file, end)? {
        let line = Line::read(&bytes?);
        if let Some(sequence) = sequence {
            let at = line.record.get("sequence").and_then(Value::as_u64);
            if at == Some(sequence) {
                found.push(line);
            }
            if at.is_some_and(|at| at <= sequence) {
                break;
            }
        } else if is_about(&line.record, id) {
            // A session's first record is the earliest that can name it.
            let first = line.record.get("session").is_some_and(|session| session == id)
                && line.record.get("kind").is_some_and(|kind| kind == "session-start");
            found.push(line);
            if first {
                break;
            }
        }
    }
    found.reverse();
    Ok(found)
}

/// Whether a record names a session, token, request or grant.
fn is_about(record: &Value, id: &str) -> bool {
    let named = |field| record.get(field).is_some_and(|value| value == id);
    let grants = record.get("grants").and_then(Value::as_array);
    ["session", "token", "request"].into_iter().any(named)
        || grants.is_some_and(|grants| grants.iter().any(|grant| grant == id))
}

/// Lines of a file as they come, also when it is rotated. As an iterator it waits for the next one
/// and never ends but with an error.
pub struct Follow {
    path: PathBuf,
    filter: Filter,
    file: File,
    /// Behind the last whole line that was read. An unfinished line is read again, since a restart
    /// of the proxy may have put another in its place.
    offset: u64,
    ready: std::collections::VecDeque<Line>,
}

impl Follow {
    /// Begins with the last `count` lines that are wanted.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path, count: usize, filter: Filter) -> io::Result<Self> {
        let file = File::open(path)?;
        let offset = whole_lines(&file)?;
        let ready = last_before(&file, offset, count, &filter)?.into();
        Ok(Self { path: path.into(), filter, file, offset, ready })
    }

    /// The lines that have come since the last call; does not wait.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<Line>> {
        self.read()?;
        // The writer is done with a file before it writes to the next one. So whatever the old
        // one still has is there once the new one has something.
        let moved = match std::fs::metadata(&self.path) {
            Ok(named) => named.ino() != self.file.metadata()?.ino() && named.len() > 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if moved {
            self.read()?;
            self.file = File::open(&self.path)?;
            self.offset = 0;
            self.read()?;
        }
        Ok(self.ready.drain(..).collect())
    }

    /// Reads whole lines up to the end of the file.
    fn read(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.offset {
            // It was emptied in place.
            self.offset = 0;
        }
        let mut held = Vec::new();
        loop {
            let start = held.len();
            held.resize(start + BLOCK, 0);
            let room = held.get_mut(start..).unwrap_or_default();
            let count = self.file.read_at(room, self.offset + start as u64)?;
            held.truncate(start + count);
            if let Some(end) = held.iter().rposition(|byte| *byte == b'\n') {
                let whole = held.get(..end).unwrap_or_default();
                for bytes in whole.split(|byte| *byte == b'\n') {
                    let line = Line::read(bytes);
                    if self.filter.matches(&line.record) {
                        self.ready.push_back(line);
                    }
                }
                self.offset += end as u64 + 1;
                held.clear();
            } else if count == 0 {
                return Ok(());
            }
        }
    }
}

impl Iterator for Follow {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            match self.poll() {
                Ok(lines) if lines.is_empty() => std::thread::sleep(POLL),
                Ok(lines) => self.ready.extend(lines),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
