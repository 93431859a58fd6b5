//! The messages of a server that are read: OK, ERR, EOF, and what an OK tells of the session. Everything
//! else passes as the bytes it came in.

use super::capability::{Capabilities, Status};
use super::packet::{Reader, Violation};

/// OK ("OK_Packet"), or the end of rows in its form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Okay<'a> {
    /// Rows that the statement changed, or matched.
    pub affected: u64,
    /// The first number that AUTO_INCREMENT gave.
    pub last_insert_id: u64,
    /// Where the session stands.
    pub status: Status,
    /// Warnings.
    pub warnings: u16,
    /// A sentence, if any.
    pub info: &'a [u8],
    /// What changed of the session, not yet taken apart.
    changes: &'a [u8],
}

/// ERR ("ERR_Packet").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The error's number.
    pub code: u16,
    /// Five characters; `HY000` when the server gave none.
    pub sqlstate: &'a str,
    /// Its sentence.
    pub message: &'a [u8],
}

/// Something that changed of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A variable of those that `session_track_system_variables` names.
    Variable {
        /// Its name.
        name: &'a [u8],
        /// What it is now; bare when it is NULL.
        value: &'a [u8],
    },
    /// The default schema; empty when there is none.
    Schema(&'a [u8]),
    /// Anything at all of the session.
    State,
    /// Transactions that were committed.
    Gtids(&'a [u8]),
    /// Statements that would start such a transaction again.
    Characteristics(&'a [u8]),
    /// Eight letters about the transaction.
    Transaction(&'a [u8]),
}

const OK: u8 = 0x00;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;

const WHAT: &str = "OK packet";
const CHANGES: &str = "session state of an OK packet";

impl<'a> Okay<'a> {
    /// Reads the payload of an OK, whose first byte is 0 or, where it ends rows, that of EOF.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Violation> {
        let mut body = Reader::new(WHAT, payload);
        if !matches!(body.byte()?, OK | EOF) {
            return Err(Violation::Unexpected("packet that is no OK"));
        }
        let mut okay = Self {
            affected: body.lenenc()?,
            last_insert_id: body.lenenc()?,
            status: Status(body.u16()?),
            warnings: body.u16()?,
            ..Self::default()
        };
        if !capabilities.has(Capabilities::SESSION_TRACK) {
            okay.info = body.remainder();
            return Ok(okay);
        }
        if !body.is_empty() {
            okay.info = body.lenenc_bytes()?;
        }
        if okay.status.has(Status::SESSION_CHANGED) {
            okay.changes = body.lenenc_bytes()?;
        }
        body.end()?;
        // Once here, so that whoever iterates meets no errors.
        let mut changes = Changes(Reader::new(CHANGES, okay.changes));
        while changes.next_entry()?.is_some() {}
        Ok(okay)
    }

    /// Reads the payload of an EOF, in either form.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read_end(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Violation> {
        if capabilities.has(Capabilities::DEPRECATE_EOF) {
            return Self::read(payload, capabilities);
        }
        let mut body = Reader::new("EOF packet", payload);
        if body.byte()? != EOF {
            return Err(Violation::Unexpected("packet that is no EOF"));
        }
        let (warnings, status) = (body.u16()?, Status(body.u16()?));
        body.end()?;
        Ok(Self { status, warnings, ..Self::default() })
    }

    /// What changed of the session, in the server's order. Kinds that are not known here are left out.
    pub fn changes(&self) -> impl Iterator<Item = Change<'a>> + use<'a> {
        let mut changes = Changes(Reader::new(CHANGES, self.changes));
        std::iter::from_fn(move || changes.next_entry().ok().flatten()).flatten()
    }
}

/// The entries of a session state ("Session State Information").
struct Changes<'a>(Reader<'a>);

impl<'a> Changes<'a> {
    /// The next entry: `Some(None)` is one of a kind that is not known.
    fn next_entry(&mut self) -> Result<Option<Option<Change<'a>>>, Violation> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let kind = self.0.byte()?;
        let mut body = Reader::new(CHANGES, self.0.lenenc_bytes()?);
        let change = match kind {
            0 => Change::Variable { name: body.lenenc_bytes()?, value: body.lenenc_bytes()? },
            1 => Change::Schema(body.lenenc_bytes()?),
            2 => {
                body.lenenc_bytes()?;
                Change::State
            }
            3 => {
                // How what follows is written: only as text, 0.
                body.byte()?;
                Change::Gtids(body.lenenc_bytes()?)
            }
            4 => Change::Characteristics(body.lenenc_bytes()?),
            5 => Change::Transaction(body.lenenc_bytes()?),
            _ => return Ok(Some(None)),
        };
        body.end()?;
        Ok(Some(Some(change)))
    }
}

impl<'a> Failure<'a> {
    /// MariaDB's number for what is no error but tells of progress.
    pub const PROGRESS: u16 = 0xffff;

    /// Reads the payload of an ERR. Before capabilities are agreed upon it may have no SQLSTATE.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(payload: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Reader::new("ERR packet", payload);
        if body.byte()? != ERR {
            return Err(Violation::Unexpected("packet that is no ERR"));
        }
        let code = body.u16()?;
        let rest = body.remainder();
        let state = rest.strip_prefix(b"#").and_then(|rest| rest.split_first_chunk::<5>());
        let state = state.and_then(|(state, message)| {
            let fits = state.iter().all(u8::is_ascii_alphanumeric);
            fits.then_some((std::str::from_utf8(state).ok()?, message))
        });
        let (sqlstate, message) = state.unwrap_or(("HY000", rest));
        Ok(Self { code, sqlstate, message })
    }

    /// Its sentence, fit for a log line.
    pub fn sentence(&self) -> String {
        const CHARACTERS_MAX: usize = 1_000;
        let text = String::from_utf8_lossy(self.message);
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        text.take(CHARACTERS_MAX).collect()
    }
}

/// What a packet is by its first byte, where an OK, an ERR or an end may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OK.
    Okay,
    /// ERR.
    Failure,
    /// EOF, or an OK in its place.
    End,
    /// Something else.
    Other,
}

impl Kind {
    /// By the first byte of the payload and the length of all of it. A row may begin with the byte of
    /// EOF, but then it is longer than an EOF can be.
    pub const fn of(first: u8, length: usize, capabilities: Capabilities) -> Self {
        let end_max = if capabilities.has(Capabilities::DEPRECATE_EOF) {
            super::packet::PAYLOAD_MAX - 1
        } else {
            8
        };
        match first {
            OK => Self::Okay,
            ERR => Self::Failure,
            EOF if length <= end_max => Self::End,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACK: Capabilities = Capabilities::SESSION_TRACK;

    #[test]
    fn an_ok_tells_what_changed() {
        let payload = b"\0\x02\x05\x02\x40\x01\0\x02hi\x2e\
            \0\x0f\x0acharacter1\x03utf\
            \x01\x03\x02db\
            \x02\x02\x011\
            \x03\x04\0\x021-\
            \x07\x01x\
            \x05\x09\x08T_______";
        let okay = Okay::read(payload, TRACK).unwrap();
        assert_eq!((okay.affected, okay.last_insert_id, okay.warnings), (2, 5, 1));
        assert_eq!(okay.info, b"hi");
        assert!(okay.status.has(Status::AUTOCOMMIT) && okay.status.has(Status::SESSION_CHANGED));
        let changes: Vec<_> = okay.changes().collect();
        assert_eq!(
            changes,
            [
                Change::Variable { name: b"character1", value: b"utf" },
                Change::Schema(b"db"),
                Change::State,
                Change::Gtids(b"1-"),
                Change::Transaction(b"T_______"),
            ]
        );
    }

    #[test]
    fn an_ok_without_tracking_has_its_sentence_to_the_end() {
        let okay = Okay::read(b"\0\0\0\x02\0\0\0Rows matched: 1", Capabilities::NONE).unwrap();
        assert_eq!(okay.info, b"Rows matched: 1");
        assert!(Okay::read(b"\0\0\0\x02\0\0\0", TRACK).unwrap().info.is_empty());
        assert!(Okay::read(b"\0\0\0\x02\0\0\0\0\0", TRACK).is_err(), "bytes are left over");
        assert!(Okay::read(b"\0\0\0\x02\x40\0\0\0\x02\x01\x05", TRACK).is_err(), "an entry is cut");
    }

    #[test]
    fn an_end_has_two_forms() {
        let plain = Okay::read_end(b"\xfe\x01\0\x22\0", Capabilities::NONE).unwrap();
        assert_eq!((plain.warnings, plain.status), (1, Status(0x22)));
        let deprecate = Capabilities::DEPRECATE_EOF;
        let okay = Okay::read_end(b"\xfe\0\0\x22\0\x01\0", deprecate).unwrap();
        assert_eq!((okay.warnings, okay.status), (1, Status(0x22)));
        assert_eq!(Kind::of(0xfe, 9, Capabilities::NONE), Kind::Other);
        assert_eq!(Kind::of(0xfe, 9, deprecate), Kind::End);
        assert_eq!(Kind::of(0xfe, super::super::packet::PAYLOAD_MAX, deprecate), Kind::Other);
    }

    #[test]
    fn an_error_may_lack_its_sqlstate() {
        let with = Failure::read(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!((with.code, with.sqlstate), (1045, "28000"));
        assert_eq!(with.sentence(), "Access denied");
        let without = Failure::read(b"\xff\x10\x04Too many\nconnections").unwrap();
        assert_eq!((without.code, without.sqlstate), (1040, "HY000"));
        assert_eq!(without.sentence(), "Too many connections");
    }

    proptest! {
        #[test]
        fn no_payload_makes_a_reader_panic(payload: Vec<u8>, bits: u32) {
            let capabilities = Capabilities::new(bits, 0);
            if let Ok(okay) = Okay::read(&payload, capabilities) {
                okay.changes().for_each(drop);
            }
            let _ = Okay::read_end(&payload, capabilities);
            let _ = Failure::read(&payload).map(|failure| failure.sentence());
        }
    }
}
