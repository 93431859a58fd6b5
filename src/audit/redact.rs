//! What of a statement and its parameters may be recorded.
//!
//! Credentials never are, whatever the settings say. Text that no grammar has read is not either:
//! nothing says where its secrets are.

use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::chain::HexDigest;
use super::record::{Parameter, Text};
use crate::secret::Secret;
use crate::sql::statement::Statement;

/// What stands for a credential.
const CREDENTIAL: &str = "'***'";
/// What stands for a literal.
const LITERAL: &str = "?";
/// What ends a text that was cut.
const CUT: char = '…';
/// How much of a keyed hash is kept, bytes: enough to tell values apart, too little to be a key.
const HASH_BYTES: usize = 16;

/// What is kept of statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSettings {
    /// Whether literals are replaced, too.
    pub literals: Literals,
    /// Longest text, bytes; longer ones are cut.
    pub bytes_max: usize,
}

impl Default for TextSettings {
    fn default() -> Self {
        Self { literals: Literals::Full, bytes_max: 64 << 10 }
    }
}

/// What is kept of the literals in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literals {
    /// Everything.
    Full,
    /// Nothing: each becomes `?`.
    Redacted,
}

/// What is kept of bind parameters.
#[derive(Clone, Debug, Default)]
pub enum ParameterSettings {
    /// The value, up to so many bytes.
    Full {
        /// Longest value, bytes.
        bytes_max: usize,
    },
    /// A keyed hash: equal values can be found, nothing can be read.
    Hashed(HashKey),
    /// The length.
    #[default]
    Omitted,
}

/// The key of [`ParameterSettings::Hashed`], set up once.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl HashKey {
    /// A key of any length; 32 random bytes are right.
    pub fn new(key: &Secret) -> Option<Self> {
        // HMAC takes keys of every length (RFC 2104), the trait's other users do not.
        Hmac::new_from_slice(key.expose()).ok().map(Self)
    }

    fn hash(&self, value: &[u8]) -> Box<str> {
        let mac = self.0.clone().chain_update(value).finalize().into_bytes();
        hex(mac.get(..HASH_BYTES).unwrap_or_default())
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// The text of one statement of `message`, fit to be recorded.
///
/// Ranges that lie outside the message, overlap, or split a character are no reason to show more:
/// they are clipped, joined and widened.
pub fn text(message: &str, statement: &Statement, settings: &TextSettings) -> Text {
    let (start, end) = within(message, &statement.span);
    let redacted = match settings.literals {
        Literals::Full => &[],
        Literals::Redacted => statement.literals.as_slice(),
    };
    let mut holes: Vec<Hole> = Vec::new();
    for (ranges, with) in [(statement.credentials.as_slice(), CREDENTIAL), (redacted, LITERAL)] {
        for range in ranges {
            let (from, to) = within(message, range);
            let (from, to) = (from.max(start), to.min(end));
            if from < to {
                holes.push(Hole { from, to, with });
            }
        }
    }
    let mut out = Cut { text: String::new(), bytes_max: settings.bytes_max, full: false };
    let mut at = start;
    for hole in joined(holes) {
        out.push(message.get(at..hole.from).unwrap_or_default());
        out.push(hole.with);
        at = hole.to;
    }
    out.push(message.get(at..end).unwrap_or_default());
    Text::Sql(out.text.into())
}

/// What is recorded of a text that was not understood: enough to recognise it, nothing to read.
pub fn opaque(bytes: &[u8]) -> Text {
    Text::Opaque { sha256: HexDigest::of(bytes).as_str().into(), length: bytes.len() }
}

/// What is recorded of one bind parameter. `value` is `None` for NULL.
pub fn parameter(value: Option<&[u8]>, binary: bool, settings: &ParameterSettings) -> Parameter {
    let Some(value) = value else { return Parameter::Null };
    let length = value.len();
    match settings {
        ParameterSettings::Full { bytes_max } => match std::str::from_utf8(value) {
            Ok(text) if !binary => {
                let mut out = Cut { text: String::new(), bytes_max: *bytes_max, full: false };
                out.push(text);
                Parameter::Value(out.text.into())
            }
            _ => {
                // Two digits a byte: as much room as text has.
                let shown = value.get(..bytes_max / 2).unwrap_or(value);
                Parameter::Described { form: "binary", length, value: Some(hex(shown)) }
            }
        },
        ParameterSettings::Hashed(key) => {
            Parameter::Described { form: "hashed", length, value: Some(key.hash(value)) }
        }
        ParameterSettings::Omitted => Parameter::Described { form: "omitted", length, value: None },
    }
}

/// What is recorded of all parameters of one execution: each as [`parameter`] has it, and once
/// their values come to `bytes_max` together, only the lengths of the others.
pub fn parameters<V: AsRef<[u8]>>(
    values: impl IntoIterator<Item = (Option<V>, bool)>,
    settings: &ParameterSettings,
    bytes_max: usize,
) -> Vec<Parameter> {
    let mut shown = 0_usize;
    let mut one = |(value, binary): (Option<V>, bool)| {
        let value = value.as_ref().map(AsRef::as_ref);
        if shown >= bytes_max {
            let length = value.map(<[u8]>::len);
            return length.map_or(Parameter::Null, |length| Parameter::Described {
                form: "cut",
                length,
                value: None,
            });
        }
        let parameter = parameter(value, binary, settings);
        shown += match &parameter {
            Parameter::Value(text) => text.len(),
            Parameter::Described { value: Some(value), .. } => value.len(),
            Parameter::Null | Parameter::Described { value: None, .. } => 0,
        };
        parameter
    };
    values.into_iter().map(&mut one).collect()
}

/// A part of the message that is not shown.
#[derive(Clone, Copy)]
struct Hole {
    from: usize,
    to: usize,
    with: &'static str,
}

/// The holes in order, those that overlap made one. A credential's mark wins over a literal's.
fn joined(mut holes: Vec<Hole>) -> Vec<Hole> {
    holes.sort_unstable_by_key(|hole| hole.from);
    holes.dedup_by(|next, before| {
        let overlap = next.from < before.to;
        if overlap {
            before.to = before.to.max(next.to);
            if next.with == CREDENTIAL {
                before.with = CREDENTIAL;
            }
        }
        overlap
    });
    holes
}

/// The range clipped to the message and widened to whole characters; whichever end comes first.
fn within(message: &str, range: &Range<usize>) -> (usize, usize) {
    let (from, to) = (range.start.min(range.end), range.start.max(range.end));
    (message.floor_char_boundary(from), message.ceil_char_boundary(to))
}

/// A text that stops growing at its limit.
struct Cut {
    text: String,
    bytes_max: usize,
    full: bool,
}

impl Cut {
    fn push(&mut self, piece: &str) {
        if self.full {
            return;
        }
        let room = self.bytes_max.saturating_sub(self.text.len());
        if piece.len() <= room {
            self.text.push_str(piece);
            return;
        }
        self.full = true;
        let room = room.saturating_sub(CUT.len_utf8());
        self.text.push_str(piece.get(..piece.floor_char_boundary(room)).unwrap_or_default());
        // What came before may have left less room than the mark needs.
        let end = self.bytes_max.saturating_sub(CUT.len_utf8());
        self.text.truncate(self.text.floor_char_boundary(end));
        if self.bytes_max >= CUT.len_utf8() {
            self.text.push(CUT);
        }
    }
}

fn hex(bytes: &[u8]) -> Box<str> {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let hex: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    hex.into()
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
