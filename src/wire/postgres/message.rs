//! The messages that are read: a client's after login, and the few of a server's that matter
//! (manual 54.7, "Message Formats"). Everything else passes as the bytes it came in.

use super::frame::{Reader, Violation};

/// A message of a logged-in client. Borrowed from the frame that is forwarded, so that what was read
/// is what is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Frontend<'a> {
    /// Simple query. Text in the client's encoding, without its terminator.
    Query(&'a [u8]),
    /// Extended: prepare.
    Parse {
        /// Name of the statement; empty for the unnamed one.
        name: &'a str,
        /// Text in the client's encoding.
        text: &'a [u8],
        /// OIDs of parameter types, big-endian, four bytes each; 0 is unspecified.
        types: &'a [u8],
    },
    /// Extended: bind.
    Bind(Bind<'a>),
    /// Extended: describe a statement or a portal.
    Describe(Target<'a>),
    /// Extended: run.
    Execute {
        /// Name of the portal.
        portal: &'a str,
        /// Stop after that many rows; 0 for all.
        rows_max: i32,
    },
    /// Extended: forget a statement or a portal.
    Close(Target<'a>),
    /// Extended: end of a segment.
    Sync,
    /// Extended: send what is there.
    Flush,
    /// COPY: a piece of data.
    CopyData,
    /// COPY: end of the data.
    CopyDone,
    /// COPY: give up.
    CopyFail,
    /// Fast-path call of a function by OID.
    FunctionCall,
    /// Goodbye.
    Terminate,
}

/// A prepared statement or a portal, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Prepared statement.
    Statement(&'a str),
    /// Portal.
    Portal(&'a str),
}

/// A Bind message, its counts checked against its length.
#[derive(Clone, Debug, PartialEq)]
pub struct Bind<'a> {
    /// Portal to make.
    pub portal: &'a str,
    /// Statement to bind.
    pub statement: &'a str,
    formats: &'a [u8],
    values: &'a [u8],
    count: u16,
}

/// One bound value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// In the type's text form, in the client's encoding.
    Text(&'a [u8]),
    /// In the type's binary form.
    Binary(&'a [u8]),
}

impl<'a> Bind<'a> {
    fn read(mut body: Reader<'a>) -> Result<Self, Violation> {
        let portal = body.c_str()?;
        let statement = body.c_str()?;
        let format_count = body.u16()?;
        let formats = body.bytes(usize::from(format_count) * 2)?;
        let count = body.u16()?;
        if format_count > 1 && format_count != count {
            return Err(body.malformed());
        }
        let start = body.clone();
        let mut length = 0;
        for _ in 0..count {
            let size = body.i32()?;
            length += 4;
            if size >= 0 {
                body.bytes(size.unsigned_abs() as usize)?;
                length += size.unsigned_abs() as usize;
            } else if size != -1 {
                return Err(body.malformed());
            }
        }
        let values = start.clone().bytes(length)?;
        let results = body.u16()?;
        body.bytes(usize::from(results) * 2)?;
        body.end()?;
        Ok(Self { portal, statement, formats, values, count })
    }

    /// The values, in order.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut values = Reader::new(b'B', self.values);
        let formats = self.formats;
        (0..usize::from(self.count)).map_while(move |n| {
            let size = values.i32().ok()?;
            let Ok(size) = usize::try_from(size) else { return Some(Value::Null) };
            let bytes = values.bytes(size).ok()?;
            // One format stands for all; none means text.
            let at = if formats.len() == 2 { 0 } else { n * 2 };
            Some(match formats.get(at + 1) {
                None | Some(0) => Value::Text(bytes),
                Some(_) => Value::Binary(bytes),
            })
        })
    }
}

impl<'a> Frontend<'a> {
    /// Reads the body of one frame.
    ///
    /// # Errors
    /// When the tag is not a client's, a field does not end, or bytes are left over.
    pub fn read(tag: u8, body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Reader::new(tag, body);
        let message = match tag {
            b'Q' => Self::Query(body.c_bytes()?),
            b'P' => {
                let name = body.c_str()?;
                let text = body.c_bytes()?;
                let count = body.u16()?;
                Self::Parse { name, text, types: body.bytes(usize::from(count) * 4)? }
            }
            b'B' => return Bind::read(body).map(Self::Bind),
            b'D' => Self::Describe(Target::read(&mut body)?),
            b'E' => Self::Execute { portal: body.c_str()?, rows_max: body.i32()? },
            b'C' => Self::Close(Target::read(&mut body)?),
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'd' => {
                body.remainder();
                Self::CopyData
            }
            b'c' => Self::CopyDone,
            b'f' => {
                body.c_bytes()?;
                Self::CopyFail
            }
            b'F' => {
                body.remainder();
                Self::FunctionCall
            }
            b'X' => Self::Terminate,
            other => return Err(Violation::Unexpected(char::from(other))),
        };
        body.end()?;
        Ok(message)
    }
}

impl<'a> Target<'a> {
    fn read(body: &mut Reader<'a>) -> Result<Self, Violation> {
        match body.byte()? {
            b'S' => Ok(Self::Statement(body.c_str()?)),
            b'P' => Ok(Self::Portal(body.c_str()?)),
            _ => Err(body.malformed()),
        }
    }
}

/// Where a session stands in its transaction, as ReadyForQuery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: outside.
    Idle,
    /// `T`: inside.
    Active,
    /// `E`: inside a failed one; only its end is taken.
    Failed,
}

impl TransactionStatus {
    /// Reads the byte of ReadyForQuery.
    ///
    /// # Errors
    /// When it is none of the three.
    pub fn read(body: &[u8]) -> Result<Self, Violation> {
        match body.first() {
            Some(b'I') => Ok(Self::Idle),
            Some(b'T') => Ok(Self::Active),
            Some(b'E') => Ok(Self::Failed),
            _ => Err(Violation::Malformed('Z')),
        }
    }

    /// The byte of ReadyForQuery.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Active => b'T',
            Self::Failed => b'E',
        }
    }
}

/// SQLSTATE of an ErrorResponse or NoticeResponse body, when it has one.
pub fn sqlstate(body: &[u8]) -> Option<&str> {
    error_field(body, b'C')
}

/// Whether an ErrorResponse body says that the session is over (manual 54.8: field V, the severity that is
/// never translated).
pub fn ends_session(body: &[u8]) -> bool {
    matches!(error_field(body, b'V'), Some("FATAL" | "PANIC"))
}

/// One field of an ErrorResponse or NoticeResponse body (manual 54.8).
pub fn error_field(body: &[u8], code: u8) -> Option<&str> {
    let mut body = Reader::new(b'E', body);
    loop {
        let field = body.byte().ok()?;
        if field == 0 {
            return None;
        }
        let value = body.c_bytes().ok()?;
        if field == code {
            return std::str::from_utf8(value).ok();
        }
    }
}

/// Name and value of a ParameterStatus body.
///
/// # Errors
/// When either does not end or is not UTF-8.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), Violation> {
    let mut body = Reader::new(b'S', body);
    Ok((body.c_str()?, body.c_str()?))
}

/// The values of a DataRow in text format; `None` is NULL.
///
/// # Errors
/// When a length does not fit or a value is not UTF-8.
pub fn text_row(body: &[u8]) -> Result<Vec<Option<String>>, Violation> {
    let mut body = Reader::new(b'D', body);
    let count = body.u16()?;
    let mut row = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let value = match usize::try_from(body.i32()?) {
            Err(_) => None,
            Ok(length) => {
                let text = std::str::from_utf8(body.bytes(length)?);
                Some(text.map_err(|_| Violation::Encoding('D'))?.to_owned())
            }
        };
        row.push(value);
    }
    body.end()?;
    Ok(row)
}

/// Rows that a CommandComplete body tells of: the last word, when it is a number.
pub fn rows_of_tag(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body.strip_suffix(b"\0").unwrap_or(body)).ok()?;
    text.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_ends_with_its_frame() {
        assert_eq!(Frontend::read(b'Q', b"SELECT 1\0"), Ok(Frontend::Query(b"SELECT 1")));
        for wrong in [&b"SELECT 1"[..], b"SELECT 1\0Q\0", b""] {
            assert_eq!(Frontend::read(b'Q', wrong), Err(Violation::Malformed('Q')));
        }
    }

    #[test]
    fn bind_values_follow_their_formats() {
        let body = b"p\0s\0\0\x02\0\0\0\x01\0\x02\0\0\0\x01a\0\0\0\x01b\0\0";
        let Ok(Frontend::Bind(bind)) = Frontend::read(b'B', body) else { panic!("not read") };
        assert_eq!((bind.portal, bind.statement), ("p", "s"));
        let values: Vec<_> = bind.values().collect();
        assert_eq!(values, [Value::Text(b"a"), Value::Binary(b"b")]);
    }

    #[test]
    fn one_format_stands_for_all_values_and_null_is_null() {
        let body = b"\0\0\0\x01\0\x01\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\0";
        let Ok(Frontend::Bind(bind)) = Frontend::read(b'B', body) else { panic!("not read") };
        assert_eq!(bind.values().collect::<Vec<_>>(), [Value::Binary(b"a"), Value::Null]);
    }

    #[test]
    fn bind_counts_must_agree() {
        let body = b"\0\0\0\x02\0\0\0\0\0\x01\0\0\0\x01a\0\0";
        assert_eq!(Frontend::read(b'B', body), Err(Violation::Malformed('B')));
    }

    #[test]
    fn rows_are_the_last_word_of_a_tag() {
        assert_eq!(rows_of_tag(b"INSERT 0 5\0"), Some(5));
        assert_eq!(rows_of_tag(b"BEGIN\0"), None);
    }

    #[test]
    fn error_fields_are_found_by_code() {
        let body = b"SERROR\0C42501\0Mno\0\0";
        assert_eq!(sqlstate(body), Some("42501"));
        assert_eq!(error_field(body, b'H'), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_a_reader_panic(tag: u8, body: Vec<u8>) {
            if let Ok(Frontend::Bind(bind)) = Frontend::read(tag, &body) {
                bind.values().for_each(drop);
            }
            let _ = (sqlstate(&body), parameter_status(&body), rows_of_tag(&body));
        }
    }
}
