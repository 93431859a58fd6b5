//! The messages that we write ourselves, to a client in the server's place.

use super::capability::{Capabilities, Status};
use super::packet::{put_c_str, put_lenenc, put_lenenc_bytes, write};

/// An error in the making. What PostgreSQL has fields for stands in its one sentence here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// MySQL's number: 1045, 1142 …
    pub code: u16,
    /// Five characters.
    pub sqlstate: &'static str,
    /// The sentence.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// MySQL's longest sentence (MYSQL_ERRMSG_SIZE less its end), bytes; clients keep no more.
pub const MESSAGE_BYTES_MAX: usize = 511;

impl Report {
    /// An error.
    pub fn new(code: u16, sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { code, sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// With more about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// All of it in one line, no longer than a client keeps.
    pub fn sentence(&self) -> String {
        let mut text = self.message.clone();
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            let stop = if text.ends_with(['.', '!', '?', ':']) { " " } else { ". " };
            text.push_str(stop);
            text.push_str(more);
        }
        if text.len() > MESSAGE_BYTES_MAX {
            let mut end = MESSAGE_BYTES_MAX - "…".len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        text
    }

    /// Appends the message. `sequence` is its number, and then the next.
    pub fn write(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        write(out, sequence, |out| {
            out.push(0xff);
            out.extend_from_slice(&self.code.to_le_bytes());
            out.push(b'#');
            out.extend_from_slice(self.sqlstate.as_bytes());
            out.extend_from_slice(self.sentence().as_bytes());
        });
    }
}

/// OK without changes of the session.
pub fn okay(
    out: &mut Vec<u8>,
    sequence: &mut u8,
    affected: u64,
    status: Status,
    info: &str,
    capabilities: Capabilities,
) {
    write(out, sequence, |out| okay_body(out, 0x00, affected, status, info, capabilities));
}

fn okay_body(
    out: &mut Vec<u8>,
    mark: u8,
    affected: u64,
    status: Status,
    info: &str,
    capabilities: Capabilities,
) {
    out.push(mark);
    put_lenenc(out, affected);
    put_lenenc(out, 0);
    out.extend_from_slice(&status.0.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    if capabilities.has(Capabilities::SESSION_TRACK) {
        if !info.is_empty() {
            put_lenenc_bytes(out, info.as_bytes());
        }
    } else {
        out.extend_from_slice(info.as_bytes());
    }
}

/// The end of rows, in the form that the capabilities demand.
pub fn end(out: &mut Vec<u8>, sequence: &mut u8, status: Status, capabilities: Capabilities) {
    write(out, sequence, |out| {
        if capabilities.has(Capabilities::DEPRECATE_EOF) {
            okay_body(out, 0xfe, 0, status, "", capabilities);
        } else {
            out.push(0xfe);
            out.extend_from_slice(&0_u16.to_le_bytes());
            out.extend_from_slice(&status.0.to_le_bytes());
        }
    });
}

/// In which form rows are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Of COM_QUERY.
    Text,
    /// Of COM_STMT_EXECUTE.
    Binary,
}

/// A whole result of text columns; `None` is NULL.
pub fn result(
    out: &mut Vec<u8>,
    sequence: &mut u8,
    columns: &[&str],
    rows: &[Vec<Option<String>>],
    form: Form,
    status: Status,
    capabilities: Capabilities,
) {
    write(out, sequence, |out| {
        put_lenenc(out, columns.len() as u64);
        if capabilities.has(Capabilities::CACHE_METADATA) {
            out.push(1);
        }
    });
    for name in columns {
        column(out, sequence, name, capabilities);
    }
    if !capabilities.has(Capabilities::DEPRECATE_EOF) {
        end(out, sequence, status, capabilities);
    }
    for values in rows {
        row(out, sequence, values, form);
    }
    end(out, sequence, status, capabilities);
}

/// What a prepared statement of our own is: text parameters, text columns.
pub fn prepared(
    out: &mut Vec<u8>,
    sequence: &mut u8,
    statement: u32,
    parameters: u16,
    columns: &[&str],
    status: Status,
    capabilities: Capabilities,
) {
    write(out, sequence, |out| {
        out.push(0);
        out.extend_from_slice(&statement.to_le_bytes());
        let count = u16::try_from(columns.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&parameters.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&0_u16.to_le_bytes());
    });
    let deprecated = capabilities.has(Capabilities::DEPRECATE_EOF);
    for _ in 0..parameters {
        column(out, sequence, "?", capabilities);
    }
    if parameters > 0 && !deprecated {
        end(out, sequence, status, capabilities);
    }
    for name in columns {
        column(out, sequence, name, capabilities);
    }
    if !columns.is_empty() && !deprecated {
        end(out, sequence, status, capabilities);
    }
}

/// `utf8mb4_general_ci`, which every MySQL and MariaDB has.
const COLLATION: u16 = 45;
const VAR_STRING: u8 = 253;

fn column(out: &mut Vec<u8>, sequence: &mut u8, name: &str, capabilities: Capabilities) {
    write(out, sequence, |out| {
        put_lenenc_bytes(out, b"def");
        put_lenenc_bytes(out, b""); // no schema
        put_lenenc_bytes(out, b""); // no table
        put_lenenc_bytes(out, b"");
        put_lenenc_bytes(out, name.as_bytes());
        put_lenenc_bytes(out, b"");
        if capabilities.has(Capabilities::EXTENDED_METADATA) {
            put_lenenc(out, 0);
        }
        put_lenenc(out, 12); // bytes of what follows
        out.extend_from_slice(&COLLATION.to_le_bytes());
        out.extend_from_slice(&65_535_u32.to_le_bytes()); // longest value
        out.push(VAR_STRING);
        out.extend_from_slice(&0_u16.to_le_bytes()); // no flags
        out.push(31); // decimals are not fixed
        out.extend_from_slice(&[0; 2]);
    });
}

fn row(out: &mut Vec<u8>, sequence: &mut u8, values: &[Option<String>], form: Form) {
    write(out, sequence, |out| {
        if form == Form::Binary {
            out.push(0);
            // The first two bits of the bitmap are no columns'.
            let mut bitmap = vec![0_u8; (values.len() + 2).div_ceil(8)];
            for (n, _) in values.iter().enumerate().filter(|(_, value)| value.is_none()) {
                if let Some(byte) = bitmap.get_mut((n + 2) / 8) {
                    *byte |= 1 << ((n + 2) % 8);
                }
            }
            out.extend_from_slice(&bitmap);
        }
        for value in values {
            match value {
                Some(text) => put_lenenc_bytes(out, text.as_bytes()),
                None if form == Form::Text => out.push(0xfb),
                None => {}
            }
        }
    });
}

/// AuthSwitchRequest: prove it by another plugin.
pub fn auth_switch(out: &mut Vec<u8>, sequence: &mut u8, plugin: &str, nonce: &[u8]) {
    write(out, sequence, |out| {
        out.push(0xfe);
        put_c_str(out, plugin);
        out.extend_from_slice(nonce);
        out.push(0);
    });
}

/// AuthMoreData.
pub fn auth_more(out: &mut Vec<u8>, sequence: &mut u8, data: &[u8]) {
    write(out, sequence, |out| {
        out.push(0x01);
        out.extend_from_slice(data);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mysql::packet::payload;
    use crate::wire::mysql::response::{Failure, Okay};

    #[test]
    fn an_error_says_all_in_one_sentence() {
        let report = Report::new(1142, "42000", "SELECT denied").detail("No grant.").hint("Ask");
        let (mut out, mut sequence) = (Vec::new(), 1);
        report.write(&mut out, &mut sequence);
        let bytes = payload(&out);
        let read = Failure::read(&bytes).unwrap();
        assert_eq!((read.code, read.sqlstate, sequence), (1142, "42000", 2));
        assert_eq!(read.message, b"SELECT denied. No grant. Ask");
    }

    #[test]
    fn a_sentence_is_cut_between_characters() {
        let report = Report::new(1, "HY000", "é".repeat(400));
        assert!(report.sentence().len() <= MESSAGE_BYTES_MAX);
        assert!(report.sentence().ends_with("é…"));
    }

    #[test]
    fn an_ok_is_read_back_with_and_without_tracking() {
        for capabilities in [Capabilities::NONE, Capabilities::SESSION_TRACK] {
            for info in ["", "done"] {
                let (mut out, mut sequence) = (Vec::new(), 1);
                okay(&mut out, &mut sequence, 3, Status::AUTOCOMMIT, info, capabilities);
                let bytes = payload(&out);
                let read = Okay::read(&bytes, capabilities).unwrap();
                assert_eq!((read.affected, read.info), (3, info.as_bytes()));
            }
        }
    }
}
