//! One record, one line, each line holding the hash of the line before it.
//!
//! A line is `{"version":1,"sequence":N,` …the record… `,"previous":"H"}` and a newline. `H` is the
//! SHA-256 of the exact bytes of the line before, its newline left out, so that a check needs no
//! canonical form; 64 zeros before the first line. Whoever changes, removes or inserts a line has
//! to write all later lines again.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The version that every line states.
pub const VERSION: u32 = 1;

/// A SHA-256 as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexDigest([u8; 64]);

impl HexDigest {
    /// What the first line of a stream has for `previous`.
    pub const ZERO: Self = Self([b'0'; 64]);

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hex = [b'0'; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha256::digest(bytes)) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        Self(hex)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // They are ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The digit of a number below 16, without a branch or a table.
const fn hex_digit(n: u8) -> u8 {
    // 39 is what lies between '9' and 'a'; the shift is 1 from 10 on.
    b'0' + n + ((n + 6) >> 4) * 39
}

impl fmt::Display for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a stream has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    sequence: u64,
    previous: HexDigest,
}

impl Chain {
    /// Before the first line.
    pub const START: Self = Self { sequence: 0, previous: HexDigest::ZERO };

    /// After a line that is known by its bytes, newline left out.
    pub fn after(sequence: u64, line: &[u8]) -> Self {
        Self { sequence, previous: HexDigest::of(line) }
    }

    /// Number of the last line; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Hash of the last line.
    pub fn previous(&self) -> &HexDigest {
        &self.previous
    }

    /// Appends the next line, newline included, to `out`; `body` is what an
    /// [`Encoder`](super::encode::Encoder) made of a record.
    pub fn append(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let sequence = self.sequence + 1;
        out.extend_from_slice(b"{\"version\":1,\"sequence\":");
        out.extend_from_slice(sequence.to_string().as_bytes());
        // The record came as an object of its own: its braces give way to the line's.
        out.push(b',');
        let inside = body.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        out.extend_from_slice(inside.unwrap_or_default());
        out.extend_from_slice(b",\"previous\":\"");
        out.extend_from_slice(&self.previous.0);
        out.extend_from_slice(b"\"}");
        *self = Self::after(sequence, out.get(start..).unwrap_or_default());
        out.push(b'\n');
    }
}

/// Records as an [`Encoder`](super::encode::Encoder) wrote them, one behind the other.
#[derive(Debug, Default)]
pub struct Bodies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bodies {
    /// One more.
    pub fn push(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them, counted from 0.
    pub fn get(&self, n: usize) -> Option<&[u8]> {
        let start = n.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(n)?)
    }

    /// Forgets them, keeping memory for about so many bytes.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes);
        self.ends.clear();
        self.ends.shrink_to(keep_bytes / 64);
    }
}

/// What the chain needs of a line.
#[derive(Deserialize)]
struct Link {
    version: u64,
    sequence: u64,
    previous: String,
}

/// The sequence that a line states; `None` when the line is no record of this version.
pub fn sequence_of(line: &[u8]) -> Option<u64> {
    let link: Link = serde_json::from_slice(line).ok()?;
    (link.version == u64::from(VERSION)).then_some(link.sequence)
}

/// The first place where lines do not follow from each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Break {
    /// Line, counted from 1 where the check began.
    pub line: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No JSON object with version, sequence and previous.
    #[error("this is not an audit record")]
    NotARecord,
    /// Written by a version that this one does not know.
    #[error("version {0} of the record is unknown")]
    Version(u64),
    /// A record is missing, doubled or out of its place.
    #[error("sequence {found} stands where {expected} must")]
    Sequence {
        /// What must stand there.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// The line before was changed after this one was written.
    #[error("the line before it was changed")]
    Previous,
}

/// Checks a stream line by line.
#[derive(Clone, Debug)]
pub struct Verifier {
    at: Option<Chain>,
    line: u64,
}

impl Verifier {
    /// Starts after `at`; with `None` the first line is taken at its word (a rotated file starts in
    /// the middle of its chain).
    pub fn new(at: Option<Chain>) -> Self {
        Self { at, line: 0 }
    }

    /// Checks the next line, given without its newline.
    ///
    /// # Errors
    /// The place and kind of the break.
    pub fn check(&mut self, line: &[u8]) -> Result<(), Break> {
        self.line += 1;
        let broken = |fault| Break { line: self.line, fault };
        let link: Link = serde_json::from_slice(line).map_err(|_| broken(Fault::NotARecord))?;
        if link.version != u64::from(VERSION) {
            return Err(broken(Fault::Version(link.version)));
        }
        if let Some(at) = &self.at {
            let expected = at.sequence + 1;
            if link.sequence != expected {
                return Err(broken(Fault::Sequence { expected, found: link.sequence }));
            }
            if link.previous != at.previous.as_str() {
                return Err(broken(Fault::Previous));
            }
        }
        self.at = Some(Chain::after(link.sequence, line));
        Ok(())
    }

    /// Where the stream has got to; `None` before the first line.
    pub fn at(&self) -> Option<Chain> {
        self.at
    }
}

/// Checks lines (each without its newline) that follow `start`; see [`Verifier::new`].
///
/// # Errors
/// The first break.
pub fn verify<'a>(
    start: Option<Chain>,
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Chain>, Break> {
    let mut verifier = Verifier::new(start);
    for line in lines {
        verifier.check(line)?;
    }
    Ok(verifier.at())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::encode::Encoder;
    use crate::audit::record::{AuditRecord, Kind, Text};
    use crate::time::Timestamp;

    fn stream(records: u64) -> Vec<Vec<u8>> {
        let mut chain = Chain::START;
        (0..records)
            .map(|n| {
                let mut record = AuditRecord::new(Kind::Decision, Timestamp::from_micros(n));
                record.text = Some(Text::Sql("select \"é\"\n".into()));
                let mut line = Vec::new();
                chain.append(Encoder::default().encode(&record).unwrap(), &mut line);
                assert_eq!(line.pop(), Some(b'\n'));
                line
            })
            .collect()
    }

    fn check(lines: &[Vec<u8>]) -> Result<Option<Chain>, Break> {
        verify(Some(Chain::START), lines.iter().map(Vec::as_slice))
    }

    #[test]
    fn a_line_is_written_as_the_schema_says() {
        let lines = stream(2);
        assert_eq!(
            String::from_utf8(lines[0].clone()).unwrap(),
            "{\"version\":1,\"sequence\":1,\"time\":\"1970-01-01T00:00:00.000000Z\",\
             \"kind\":\"decision\",\"text\":\"select \\\"é\\\"\\n\",\"previous\":\"\
             0000000000000000000000000000000000000000000000000000000000000000\"}"
        );
        let second: serde_json::Value = serde_json::from_slice(&lines[1]).unwrap();
        assert_eq!(second["previous"], HexDigest::of(&lines[0]).as_str());
    }

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(
            HexDigest::of(b"abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn an_untouched_stream_verifies_from_its_start_and_from_its_middle() {
        let lines = stream(5);
        assert_eq!(check(&lines).unwrap().unwrap().sequence(), 5);
        assert!(verify(None, lines[2..].iter().map(Vec::as_slice)).is_ok());
    }

    #[test]
    fn a_changed_byte_breaks_the_next_line_and_a_missing_line_its_place() {
        let lines = stream(5);
        for at in 0..lines[1].len() {
            let mut changed = lines.clone();
            changed[1][at] ^= 1;
            assert!(check(&changed).is_err(), "byte {at}");
        }
        let mut missing = lines.clone();
        missing.remove(2);
        assert_eq!(
            check(&missing),
            Err(Break { line: 3, fault: Fault::Sequence { expected: 3, found: 4 } })
        );
        let mut edited = lines;
        let text = String::from_utf8(edited[1].clone()).unwrap().replace("select", "delete");
        edited[1] = text.into_bytes();
        assert_eq!(check(&edited), Err(Break { line: 3, fault: Fault::Previous }));
    }
}
