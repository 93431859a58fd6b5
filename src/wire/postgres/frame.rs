//! Frames: a tag, a length that counts itself, a body (manual 54.1, "Messaging Overview").

/// A peer broke the protocol. The connection ends with SQLSTATE 08P01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A length below the four bytes that hold it.
    #[error("a message's length is less than 4")]
    Length,
    /// Longer than the limit for its kind.
    #[error("a message is longer than the limit of {max} bytes")]
    TooLong {
        /// The limit, bytes.
        max: usize,
    },
    /// A string without its end, bytes after the last field, a count that does not fit.
    #[error("a message of type {0:?} is malformed")]
    Malformed(char),
    /// Text that is not valid UTF-8.
    #[error("a message of type {0:?} holds text that is not UTF-8")]
    Encoding(char),
    /// A tag that this direction does not have, or not now.
    #[error("a message of type {0:?} is not expected")]
    Unexpected(char),
}

/// Bytes of a header: tag and length.
pub const HEADER_BYTES: usize = 5;

/// Where one frame stands at the head of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub tag: u8,
    /// Header and body together, bytes.
    pub total: usize,
}

/// Reads the header at the head of `buffer`; `None` when it is not all there.
///
/// # Errors
/// When the length is below 4.
pub fn header(buffer: &[u8]) -> Result<Option<Header>, Violation> {
    let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length < 4 {
        return Err(Violation::Length);
    }
    Ok(Some(Header { tag, total: length + 1 }))
}

/// Writes one frame; `body` appends what follows the length.
pub fn frame(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Reads fields off a body; every read is bounded by it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    tag: char,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over the body of a frame with that tag.
    pub fn new(tag: u8, body: &'a [u8]) -> Self {
        Self { tag: char::from(tag), rest: body }
    }

    /// What makes this body malformed.
    pub fn malformed(&self) -> Violation {
        Violation::Malformed(self.tag)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// When fewer are left; likewise below.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Violation> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn byte(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A 16-bit count or code, unsigned as PostgreSQL reads counts.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 32-bit number.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn i32(&mut self) -> Result<i32, Violation> {
        self.array().map(i32::from_be_bytes)
    }

    /// Bytes up to a NUL, which is consumed.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn c_bytes(&mut self) -> Result<&'a [u8], Violation> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(self.malformed())?;
        let text = self.bytes(end)?;
        self.byte()?;
        Ok(text)
    }

    /// UTF-8 text up to a NUL, which is consumed.
    ///
    /// # Errors
    /// As for `bytes`, and when it is not UTF-8.
    pub fn c_str(&mut self) -> Result<&'a str, Violation> {
        std::str::from_utf8(self.c_bytes()?).map_err(|_| Violation::Encoding(self.tag))
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_needs_five_bytes_and_a_length_of_four() {
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
        assert_eq!(header(b"Q\0\0\0\x04"), Ok(Some(Header { tag: b'Q', total: 5 })));
        assert_eq!(header(b"Q\0\0\0\x03"), Err(Violation::Length));
    }

    #[test]
    fn a_string_must_end_inside_its_frame() {
        let mut reader = Reader::new(b'Q', b"SELECT 1");
        assert_eq!(reader.c_bytes(), Err(Violation::Malformed('Q')));
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_back(tag: u8, body: Vec<u8>, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            frame(&mut bytes, tag, |out| out.extend_from_slice(&body));
            let total = bytes.len();
            bytes.extend_from_slice(&tail);
            let header = header(&bytes).unwrap().unwrap();
            prop_assert_eq!(header, Header { tag, total });
            prop_assert_eq!(&bytes[HEADER_BYTES..header.total], body.as_slice());
        }

        #[test]
        fn no_bytes_make_a_reader_panic(tag: u8, body: Vec<u8>) {
            let mut reader = Reader::new(tag, &body);
            let _ = (reader.u16(), reader.c_str(), reader.i32(), reader.bytes(3), reader.end());
        }
    }
}
