//! Packets: three bytes of length, a sequence number, a payload ("MySQL Packets"). A payload of
//! 16 777 215 bytes goes on in the next packet, which may be empty; all that belongs together is a
//! message here.

use std::borrow::Cow;

/// A peer broke the protocol. The connection ends with error 1835 (08S01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A packet out of its turn.
    #[error("packet {found} came where packet {expected} was due")]
    Sequence {
        /// The number that was due.
        expected: u8,
        /// The number that it has.
        found: u8,
    },
    /// Longer than the limit for its kind.
    #[error("a message is longer than the limit of {max} bytes")]
    TooLong {
        /// The limit, bytes of payload.
        max: usize,
    },
    /// A string without its end, bytes after the last field, a count that does not fit.
    #[error("a {0} is malformed")]
    Malformed(&'static str),
    /// Text that is not valid UTF-8 where only that is taken.
    #[error("a {0} holds text that is not UTF-8")]
    Encoding(&'static str),
    /// A message that this direction does not have, or not now.
    #[error("a {0} is not expected")]
    Unexpected(&'static str),
}

/// Bytes of a header.
pub const HEADER_BYTES: usize = 4;
/// Longest payload of one packet; one that long goes on in the next.
pub const PAYLOAD_MAX: usize = 0xff_ffff;

/// The head of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload, bytes.
    pub length: usize,
    /// Sequence number.
    pub sequence: u8,
}

impl Header {
    /// Whether the message goes on in the next packet.
    pub const fn continues(self) -> bool {
        self.length == PAYLOAD_MAX
    }

    /// Header and payload together, bytes.
    pub const fn total(self) -> usize {
        HEADER_BYTES + self.length
    }
}

/// Reads the header at the head of `buffer`; `None` when it is not all there.
pub fn header(buffer: &[u8]) -> Option<Header> {
    let (&[a, b, c, sequence], _) = buffer.split_first_chunk::<HEADER_BYTES>()?;
    Some(Header { length: u32::from_le_bytes([a, b, c, 0]) as usize, sequence })
}

/// A whole message at the head of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its packets, headers and all, bytes.
    pub total: usize,
    /// Its payload, bytes.
    pub length: usize,
    /// The sequence number that follows its last.
    pub next: u8,
}

/// Finds the message at the head of `buffer`, whose first packet has to have the number `sequence`;
/// `None` when it is not all there. Its length is judged as soon as its headers tell it.
///
/// # Errors
/// When a packet is out of turn, or the payload exceeds `max`.
pub fn message(buffer: &[u8], sequence: u8, max: usize) -> Result<Option<Message>, Violation> {
    let (mut total, mut length, mut next) = (0_usize, 0_usize, sequence);
    loop {
        let Some(header) = buffer.get(total..).and_then(header) else { return Ok(None) };
        if header.sequence != next {
            return Err(Violation::Sequence { expected: next, found: header.sequence });
        }
        length += header.length;
        if length > max {
            return Err(Violation::TooLong { max });
        }
        total += header.total();
        next = next.wrapping_add(1);
        if buffer.len() < total {
            return Ok(None);
        }
        if !header.continues() {
            return Ok(Some(Message { total, length, next }));
        }
    }
}

/// The number that follows that of the last packet of which `buffer` has the header: an answer to a message that
/// is given up half-way has it.
pub fn sequence_after(buffer: &[u8]) -> u8 {
    let (mut at, mut next) = (0_usize, 0);
    while let Some(header) = buffer.get(at..).and_then(header) {
        next = header.sequence.wrapping_add(1);
        at += header.total();
    }
    next
}

/// The payload of a whole message: as it stands when it is one packet, joined when it is several.
pub fn payload(message: &[u8]) -> Cow<'_, [u8]> {
    let mut joined = Vec::new();
    let mut rest = message;
    while let Some(header) = header(rest) {
        let body = rest.get(HEADER_BYTES..).unwrap_or_default();
        let body = body.get(..header.length).unwrap_or(body);
        if joined.is_empty() && !header.continues() {
            return Cow::Borrowed(body);
        }
        joined.extend_from_slice(body);
        if !header.continues() {
            break;
        }
        rest = rest.get(header.total()..).unwrap_or_default();
    }
    Cow::Owned(joined)
}

/// Writes a message; `body` appends its payload. `sequence` is its first packet's number, and
/// afterwards the number that follows.
pub fn write(out: &mut Vec<u8>, sequence: &mut u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    body(out);
    let length = out.len() - start - HEADER_BYTES;
    if length < PAYLOAD_MAX {
        put_header(out, start, length, sequence);
        return;
    }
    let long = out.split_off(start + HEADER_BYTES);
    out.truncate(start);
    let mut chunks = long.chunks_exact(PAYLOAD_MAX);
    for chunk in chunks.by_ref() {
        append(out, chunk, sequence);
    }
    append(out, chunks.remainder(), sequence);
}

fn append(out: &mut Vec<u8>, chunk: &[u8], sequence: &mut u8) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(chunk);
    put_header(out, start, chunk.len(), sequence);
}

fn put_header(out: &mut [u8], at: usize, length: usize, sequence: &mut u8) {
    let [a, b, c, ..] = length.to_le_bytes();
    if let Some(place) = out.get_mut(at..at + HEADER_BYTES) {
        place.copy_from_slice(&[a, b, c, *sequence]);
    }
    *sequence = sequence.wrapping_add(1);
}

/// Reads fields off a payload; every read is bounded by it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over the payload of a message of that name, which its errors give.
    pub fn new(what: &'static str, payload: &'a [u8]) -> Self {
        Self { what, rest: payload }
    }

    /// What makes this payload malformed.
    pub fn malformed(&self) -> Violation {
        Violation::Malformed(self.what)
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

    /// The next `N` bytes.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn byte(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    #[expect(clippy::missing_errors_doc, reason = "as for `bytes`")]
    pub fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length-encoded integer ("Protocol::LengthEncodedInteger").
    ///
    /// # Errors
    /// When it does not end, or its first byte is that of NULL or of an error.
    pub fn lenenc(&mut self) -> Result<u64, Violation> {
        Ok(match self.byte()? {
            small @ 0..=0xfa => u64::from(small),
            0xfc => u64::from(self.u16()?),
            0xfd => {
                let [a, b, c] = self.array()?;
                u64::from(u32::from_le_bytes([a, b, c, 0]))
            }
            0xfe => u64::from_le_bytes(self.array()?),
            0xfb | 0xff => return Err(self.malformed()),
        })
    }

    /// A string that its length precedes, length-encoded.
    #[expect(clippy::missing_errors_doc, reason = "as for `lenenc`")]
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Violation> {
        let length = usize::try_from(self.lenenc()?).map_err(|_| self.malformed())?;
        self.bytes(length)
    }

    /// A string that its length precedes, which is UTF-8.
    ///
    /// # Errors
    /// As for `lenenc`, and when it is not UTF-8.
    pub fn lenenc_str(&mut self) -> Result<&'a str, Violation> {
        std::str::from_utf8(self.lenenc_bytes()?).map_err(|_| Violation::Encoding(self.what))
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
        std::str::from_utf8(self.c_bytes()?).map_err(|_| Violation::Encoding(self.what))
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.rest.len()
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

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    let (mark, used) = match value {
        0..=0xfa => (None, 1),
        0xfb..=0xffff => (Some(0xfc), 2),
        0x1_0000..=0xff_ffff => (Some(0xfd), 3),
        _ => (Some(0xfe), 8),
    };
    out.extend(mark);
    out.extend(bytes.iter().take(used));
}

/// Appends bytes with their length before them.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends text that ends with a NUL. A NUL inside would end it early and leave the rest to be read as
/// the next field.
pub fn put_c_str(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|&byte| byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(body: &[u8], mut sequence: u8) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &mut sequence, |out| out.extend_from_slice(body));
        out
    }

    #[test]
    fn a_message_of_sixteen_megabytes_is_two_packets() {
        for extra in [0, 1, PAYLOAD_MAX] {
            let body = vec![7; PAYLOAD_MAX + extra];
            let bytes = written(&body, 255);
            let packets = 2 + extra / PAYLOAD_MAX;
            assert_eq!(bytes.len(), body.len() + HEADER_BYTES * packets);
            let next = 255_u8.wrapping_add(u8::try_from(packets).unwrap());
            let found = message(&bytes, 255, usize::MAX).unwrap().unwrap();
            assert_eq!(found, Message { total: bytes.len(), length: body.len(), next });
            assert_eq!(payload(&bytes), body);
            assert_eq!(message(&bytes[..bytes.len() - 1], 255, usize::MAX), Ok(None));
            let max = PAYLOAD_MAX - 1;
            let early = message(&bytes[..HEADER_BYTES], 255, max);
            assert_eq!(early, Err(Violation::TooLong { max }));
        }
    }

    #[test]
    fn a_packet_out_of_turn_is_a_violation() {
        let bytes = written(b"\x03SELECT 1", 1);
        let error = Violation::Sequence { expected: 0, found: 1 };
        assert_eq!(message(&bytes, 0, 100), Err(error));
    }

    #[test]
    fn lengths_have_the_shortest_form() {
        for (value, bytes) in [
            (0, &[0][..]),
            (250, &[250]),
            (251, &[0xfc, 251, 0]),
            (65_536, &[0xfd, 0, 0, 1]),
            (1 << 24, &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            assert_eq!(out, bytes);
        }
        assert!(Reader::new("x", &[0xfb]).lenenc().is_err());
        assert!(Reader::new("x", &[0xff; 9]).lenenc().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(sequence: u8, body: Vec<u8>, tail: Vec<u8>) {
            let mut bytes = written(&body, sequence);
            let total = bytes.len();
            bytes.extend_from_slice(&tail);
            let found = message(&bytes, sequence, body.len()).unwrap().unwrap();
            prop_assert_eq!(found.total, total);
            prop_assert_eq!(payload(&bytes[..total]), body.as_slice());
        }

        #[test]
        fn every_length_is_read_back(value: u64) {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            let mut reader = Reader::new("x", &out);
            prop_assert_eq!(reader.lenenc(), Ok(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn no_bytes_make_a_reader_panic(body: Vec<u8>) {
            let _ = (message(&body, 0, 100), payload(&body).len());
            let mut reader = Reader::new("x", &body);
            let _ = (reader.u16(), reader.lenenc_str(), reader.c_str(), reader.bytes(3), reader.end());
        }
    }
}
