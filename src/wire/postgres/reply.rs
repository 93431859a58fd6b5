//! The messages that we write ourselves, to a client in the server's place or to a server.

use super::frame::frame;
use super::message::TransactionStatus;

/// How bad an error is (manual 54.8, field `S`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// Nothing failed.
    Notice,
    /// Nothing failed, but somebody should look.
    Warning,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
        }
    }
}

/// An ErrorResponse or NoticeResponse in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How bad.
    pub severity: Severity,
    /// Five characters.
    pub sqlstate: &'static str,
    /// The sentence.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the statement, characters from 1.
    pub position: Option<u32>,
}

impl Report {
    /// An error with nothing but its code and sentence.
    pub fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// An error that ends the session.
    pub fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(sqlstate, message) }
    }

    /// A notice.
    pub fn notice(message: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, ..Self::error("00000", message) }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error("01000", message) }
    }

    /// With DETAIL.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With HINT.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let tag = match self.severity {
            Severity::Error | Severity::Fatal => b'E',
            Severity::Notice | Severity::Warning => b'N',
        };
        frame(out, tag, |out| {
            let mut field = |code: u8, value: &str| {
                out.push(code);
                // A NUL would end the field early.
                out.extend(value.bytes().filter(|&byte| byte != 0));
                out.push(0);
            };
            field(b'S', self.severity.word());
            field(b'V', self.severity.word());
            field(b'C', self.sqlstate);
            field(b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint);
            }
            if let Some(position) = self.position {
                field(b'P', &position.to_string());
            }
            out.push(0);
        });
    }
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    frame(out, b'R', |out| out.extend_from_slice(&0_u32.to_be_bytes()));
}

/// BackendKeyData: what a CancelRequest names the session by.
pub fn backend_key_data(out: &mut Vec<u8>, process_id: u32, key: &[u8]) {
    frame(out, b'K', |out| {
        out.extend_from_slice(&process_id.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// ReadyForQuery.
pub fn ready(out: &mut Vec<u8>, status: TransactionStatus) {
    frame(out, b'Z', |out| out.push(status.byte()));
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    frame(out, b'C', |out| c_str(out, tag));
}

/// ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    frame(out, b'1', |_| ());
}

/// BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    frame(out, b'2', |_| ());
}

/// CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    frame(out, b'3', |_| ());
}

/// NoData.
pub fn no_data(out: &mut Vec<u8>) {
    frame(out, b'n', |_| ());
}

/// EmptyQueryResponse.
pub fn empty_query(out: &mut Vec<u8>) {
    frame(out, b'I', |_| ());
}

/// ParameterDescription of that many parameters of type text.
pub fn parameter_description(out: &mut Vec<u8>, count: u16) {
    frame(out, b't', |out| {
        out.extend_from_slice(&count.to_be_bytes());
        for _ in 0..count {
            out.extend_from_slice(&TEXT_OID.to_be_bytes());
        }
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    frame(out, b'S', |out| {
        c_str(out, name);
        c_str(out, value);
    });
}

/// RowDescription of text columns.
pub fn row_description(out: &mut Vec<u8>, columns: &[&str]) {
    frame(out, b'T', |out| {
        out.extend_from_slice(&count(columns.len()).to_be_bytes());
        for column in columns {
            c_str(out, column);
            out.extend_from_slice(&0_u32.to_be_bytes()); // no table
            out.extend_from_slice(&0_u16.to_be_bytes()); // no column of one
            out.extend_from_slice(&TEXT_OID.to_be_bytes());
            out.extend_from_slice(&(-1_i16).to_be_bytes()); // size varies
            out.extend_from_slice(&(-1_i32).to_be_bytes()); // no modifier
            out.extend_from_slice(&0_u16.to_be_bytes()); // text format
        }
    });
}

/// DataRow of text values; `None` is NULL. Text has the same bytes in either format.
pub fn data_row(out: &mut Vec<u8>, values: &[Option<String>]) {
    frame(out, b'D', |out| {
        out.extend_from_slice(&count(values.len()).to_be_bytes());
        for value in values {
            match value {
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(text) => {
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    });
}

/// To a server: simple query.
pub fn query(out: &mut Vec<u8>, text: &str) {
    frame(out, b'Q', |out| c_str(out, text));
}

/// To a server: prepare. `types` is as in [`Frontend::Parse`](super::message::Frontend::Parse).
pub fn parse(out: &mut Vec<u8>, name: &str, text: &str, types: &[u8]) {
    frame(out, b'P', |out| {
        c_str(out, name);
        c_str(out, text);
        out.extend_from_slice(&count(types.len() / 4).to_be_bytes());
        out.extend_from_slice(types);
    });
}

/// To a server: run all of a portal.
pub fn execute(out: &mut Vec<u8>, portal: &str) {
    frame(out, b'E', |out| {
        c_str(out, portal);
        out.extend_from_slice(&0_u32.to_be_bytes());
    });
}

/// To a server: forget a prepared statement.
pub fn close_statement(out: &mut Vec<u8>, name: &str) {
    frame(out, b'C', |out| {
        out.push(b'S');
        c_str(out, name);
    });
}

/// To a server: give up a COPY.
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) {
    frame(out, b'f', |out| c_str(out, reason));
}

/// To a server: end of a segment.
pub fn sync(out: &mut Vec<u8>) {
    frame(out, b'S', |_| ());
}

/// To a server: replies so far are wanted now.
pub fn flush(out: &mut Vec<u8>) {
    frame(out, b'H', |_| ());
}

/// To a server: goodbye.
pub fn terminate(out: &mut Vec<u8>) {
    frame(out, b'X', |_| ());
}

const TEXT_OID: u32 = 25;

fn count(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn c_str(out: &mut Vec<u8>, text: &str) {
    // A NUL would end the string early and leave the rest to be read as the next field.
    out.extend(text.bytes().filter(|&byte| byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres::frame::HEADER_BYTES;
    use crate::wire::postgres::message::error_field;

    #[test]
    fn a_report_carries_its_fields() {
        let mut out = Vec::new();
        Report::error("42501", "permission denied").detail("d").hint("h").write(&mut out);
        let body = &out[HEADER_BYTES..];
        let fields = [b'S', b'V', b'C', b'M', b'D', b'H'].map(|code| error_field(body, code));
        let expected = ["ERROR", "ERROR", "42501", "permission denied", "d", "h"].map(Some);
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_nul_cannot_end_a_field_early() {
        let mut out = Vec::new();
        Report::error("42501", "a\0b").write(&mut out);
        assert_eq!(error_field(&out[HEADER_BYTES..], b'M'), Some("ab"));
    }
}
