//! What a reply to one command consists of, followed from packet to packet ("Command Phase"). Rows and
//! columns pass as they come, whatever their size: only the packets that say how a result goes on or
//! ends are held whole, and read.

use super::capability::{Capabilities, Status};
use super::command::{Command, StatementId};
use super::packet::{HEADER_BYTES, Reader, Violation, header};
use super::response::{Failure, Kind, Okay};

/// Longest packet that is held whole: an OK with all that changed of a session, bytes.
pub const CONTROL_BYTES_MAX: usize = 1 << 20;

/// What a command is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// OK or ERR.
    Okay,
    /// Results, each with rows or without.
    Results,
    /// Columns without a count before them.
    Fields,
    /// Rows of a cursor.
    Fetched,
    /// What a prepared statement is.
    Prepared,
    /// A sentence.
    Sentence,
}

impl Expect {
    /// By the command; `None` where there is no reply, or it belongs to a login.
    pub const fn of(command: &Command<'_>) -> Option<Self> {
        Some(match command {
            Command::Query { .. }
            | Command::ProcessInfo
            | Command::Execute { .. }
            | Command::BulkExecute { .. } => Self::Results,
            Command::InitDb { .. }
            | Command::ProcessKill { .. }
            | Command::Ping
            | Command::Reset { .. }
            | Command::SetOption { .. }
            | Command::ResetConnection => Self::Okay,
            Command::FieldList { .. } => Self::Fields,
            Command::Fetch { .. } => Self::Fetched,
            Command::Prepare { .. } => Self::Prepared,
            Command::Statistics => Self::Sentence,
            Command::Quit
            | Command::ChangeUser { .. }
            | Command::SendLongData { .. }
            | Command::Close { .. }
            | Command::Refused { .. } => return None,
        })
    }
}

/// What stands at the head of a server's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing yet: more bytes are needed.
    Read,
    /// So many bytes that pass as they are.
    Pass(usize),
    /// A whole packet that says something.
    Packet {
        /// Header and payload, bytes.
        bytes: usize,
        /// What it says.
        event: Event<'a>,
    },
}

/// What a server says about a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A result without rows has ended.
    Okay(Okay<'a>),
    /// The command failed, and with it the reply ends.
    Failure(Failure<'a>),
    /// MariaDB tells how far it is.
    Progress,
    /// A result begins that has so many columns.
    Columns(u64),
    /// The columns are told; rows follow, but for a cursor's, which are fetched.
    ColumnsEnd {
        /// As the server says; its sentence and changes are empty.
        end: Okay<'a>,
        /// The execution opened a cursor, and its result ends here.
        cursor: bool,
    },
    /// Rows have ended.
    RowsEnd {
        /// As the server says.
        end: Okay<'a>,
        /// How many there were.
        rows: u64,
        /// Their payload, bytes.
        bytes: u64,
        /// The execution opened a cursor: rows are fetched.
        cursor: bool,
    },
    /// The server asks for a file of the client's; [`Reply::file_sent`] is to follow.
    LocalInfile(&'a [u8]),
    /// A statement is prepared; what its parameters and columns are follows.
    Prepared {
        /// The server's number for it.
        statement: StatementId,
        /// Columns of its result; 0 when it has none.
        columns: u16,
        /// Parameters.
        parameters: u16,
    },
    /// The end of a list of parameters or columns.
    ListEnd,
    /// A sentence.
    Sentence(&'a [u8]),
}

/// One reply.
#[derive(Clone, Debug)]
pub struct Reply {
    expect: Expect,
    capabilities: Capabilities,
    /// Number of the next packet.
    sequence: u8,
    state: State,
    /// Bytes of the present packet that still pass.
    rest: usize,
    /// The next packet belongs to the message that passes.
    continued: bool,
    rows: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A result begins, or the reply.
    First,
    /// Columns of a result.
    Columns { left: u64 },
    /// Their EOF.
    ColumnsEnd,
    /// Rows.
    Rows,
    /// Parameters or columns of a prepared statement, and how many columns follow them.
    List { left: u16, then: u16 },
    /// Their EOF.
    ListEnd { then: u16 },
    /// The client sends its file.
    File,
    /// The reply has ended.
    Over,
}

impl Reply {
    /// The reply to a command whose last packet came before `sequence`.
    pub fn new(expect: Expect, capabilities: Capabilities, sequence: u8) -> Self {
        let state = match expect {
            Expect::Fields | Expect::Fetched => State::Rows,
            Expect::Okay | Expect::Results | Expect::Prepared | Expect::Sentence => State::First,
        };
        Self { expect, capabilities, sequence, state, rest: 0, continued: false, rows: 0, bytes: 0 }
    }

    /// Whether it has ended: what comes now belongs to the next.
    pub fn is_over(&self) -> bool {
        self.state == State::Over && self.rest == 0 && !self.continued
    }

    /// Whether the client's file is due.
    pub fn awaits_file(&self) -> bool {
        self.state == State::File
    }

    /// Number of the packet that comes next: what a message of our own in its place has to have.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Rows so far of the result that is under way.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Payload of those rows, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The client has sent its file, up to the empty packet that ends it, whose number precedes
    /// `sequence`.
    pub fn file_sent(&mut self, sequence: u8) {
        if self.state == State::File {
            self.sequence = sequence;
            self.state = State::First;
        }
    }

    /// Reads on. `input` is what the server sent and nobody has taken yet; what [`Step`] names is to be
    /// taken off it before the next call. It does not matter in what pieces the bytes come.
    ///
    /// # Errors
    /// When the server breaks the protocol.
    pub fn advance<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        let mut passed = 0;
        loop {
            let at = input.get(passed..).unwrap_or_default();
            if self.rest > 0 {
                let now = self.rest.min(at.len());
                self.rest -= now;
                passed += now;
                if self.rest > 0 {
                    return Ok(waiting(passed));
                }
                continue;
            }
            if self.is_over() {
                return Ok(waiting(passed));
            }
            let Some(header) = header(at) else { return Ok(waiting(passed)) };
            // What stands before a mistake has passed.
            let wrong = header.sequence != self.sequence || !self.continued && header.length == 0;
            if wrong && passed > 0 {
                return Ok(Step::Pass(passed));
            }
            if header.sequence != self.sequence {
                let (expected, found) = (self.sequence, header.sequence);
                return Err(Violation::Sequence { expected, found });
            }
            let first = at.get(HEADER_BYTES).copied();
            if !self.continued {
                if header.length == 0 {
                    return Err(Violation::Malformed("reply"));
                }
                let Some(first) = first else { return Ok(waiting(passed)) };
                if !self.passes(first, header.length) {
                    if passed > 0 {
                        return Ok(Step::Pass(passed));
                    }
                    return self.control(at, header.length);
                }
                self.count();
            }
            if matches!(self.state, State::Rows) {
                self.bytes += header.length as u64;
            }
            self.continued = header.continues();
            self.rest = header.length;
            self.sequence = self.sequence.wrapping_add(1);
            passed += HEADER_BYTES;
            // A message that ends in an empty packet ends here.
            self.settle();
        }
    }

    /// Whether a message passes unread, by its first byte and the length of its first packet.
    fn passes(&self, first: u8, length: usize) -> bool {
        let kind = Kind::of(first, length, self.capabilities);
        match self.state {
            State::First | State::ColumnsEnd | State::ListEnd { .. } => false,
            State::File | State::Over => false,
            State::Columns { .. } | State::List { .. } => kind != Kind::Failure,
            State::Rows => matches!(kind, Kind::Okay | Kind::Other),
        }
    }

    /// Counts a message that passes.
    fn count(&mut self) {
        match &mut self.state {
            State::Rows => self.rows += 1,
            State::Columns { left } => *left = left.saturating_sub(1),
            State::List { left, .. } => *left = left.saturating_sub(1),
            _ => {}
        }
    }

    /// Goes on once all of a list has passed.
    fn settle(&mut self) {
        let deprecated = self.capabilities.has(Capabilities::DEPRECATE_EOF);
        if self.continued {
            return;
        }
        self.state = match self.state {
            State::Columns { left: 0 } if deprecated => State::Rows,
            State::Columns { left: 0 } => State::ColumnsEnd,
            State::List { left: 0, then } if deprecated => list(then),
            State::List { left: 0, then } => State::ListEnd { then },
            other => other,
        };
    }

    /// Reads a packet that says something.
    fn control<'a>(&mut self, at: &'a [u8], length: usize) -> Result<Step<'a>, Violation> {
        if length > CONTROL_BYTES_MAX {
            return Err(Violation::TooLong { max: CONTROL_BYTES_MAX });
        }
        let bytes = HEADER_BYTES + length;
        let Some(payload) = at.get(HEADER_BYTES..bytes) else { return Ok(Step::Read) };
        let event = self.event(payload)?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(Step::Packet { bytes, event })
    }

    fn event<'a>(&mut self, payload: &'a [u8]) -> Result<Event<'a>, Violation> {
        let first = payload.first().copied().unwrap_or_default();
        let kind = Kind::of(first, payload.len(), self.capabilities);
        if kind == Kind::Failure && self.state != State::File {
            let failure = Failure::read(payload)?;
            if failure.code == Failure::PROGRESS && self.capabilities.has(Capabilities::PROGRESS) {
                return Ok(Event::Progress);
            }
            self.state = State::Over;
            return Ok(Event::Failure(failure));
        }
        match self.state {
            State::First => self.first(kind, payload),
            State::ColumnsEnd => {
                // So MySQL 9.7 answers when a statement that had a cursor is executed again without: an OK
                // where the EOF is due, and no rows.
                let okay = kind == Kind::Okay;
                let end = if okay {
                    Okay::read(payload, self.capabilities)?
                } else {
                    Okay::read_end(payload, self.capabilities)?
                };
                let cursor = end.status.has(Status::CURSOR_EXISTS);
                self.state = if cursor || okay { self.after(&end) } else { State::Rows };
                Ok(Event::ColumnsEnd { end, cursor })
            }
            State::Rows => {
                let end = Okay::read_end(payload, self.capabilities)?;
                let fetched = self.expect == Expect::Fetched;
                let cursor = !fetched && self.rows == 0 && end.status.has(Status::CURSOR_EXISTS);
                self.state = self.after(&end);
                let (rows, bytes) =
                    (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
                Ok(Event::RowsEnd { end, rows, bytes, cursor })
            }
            State::ListEnd { then } => {
                Okay::read_end(payload, self.capabilities)?;
                self.state = list(then);
                Ok(Event::ListEnd)
            }
            State::Columns { .. } | State::List { .. } | State::File | State::Over => {
                Err(Violation::Unexpected("packet of the server"))
            }
        }
    }

    fn first<'a>(&mut self, kind: Kind, payload: &'a [u8]) -> Result<Event<'a>, Violation> {
        match (self.expect, kind) {
            (Expect::Sentence, _) => {
                self.state = State::Over;
                Ok(Event::Sentence(payload))
            }
            (Expect::Prepared, Kind::Okay) => self.prepared(payload),
            (Expect::Okay | Expect::Results, Kind::Okay) => {
                let okay = Okay::read(payload, self.capabilities)?;
                self.state = self.after(&okay);
                Ok(Event::Okay(okay))
            }
            // What some commands end with that have neither rows nor a count to tell.
            (Expect::Okay | Expect::Results, Kind::End) => {
                let okay = Okay::read_end(payload, self.capabilities)?;
                self.state = self.after(&okay);
                Ok(Event::Okay(okay))
            }
            (Expect::Results, Kind::Other) if payload.first() == Some(&0xfb) => {
                self.state = State::File;
                Ok(Event::LocalInfile(payload.get(1..).unwrap_or_default()))
            }
            (Expect::Results, Kind::Other) => self.columns(payload),
            _ => Err(Violation::Unexpected("packet of the server")),
        }
    }

    fn columns<'a>(&mut self, payload: &'a [u8]) -> Result<Event<'a>, Violation> {
        let mut body = Reader::new("count of columns", payload);
        let count = body.lenenc()?;
        let told = if self.capabilities.has(Capabilities::CACHE_METADATA) {
            match body.byte()? {
                0 => 0,
                1 => count,
                _ => return Err(body.malformed()),
            }
        } else {
            count
        };
        body.end()?;
        if count == 0 {
            return Err(body.malformed());
        }
        self.state = State::Columns { left: told };
        self.settle();
        Ok(Event::Columns(count))
    }

    fn prepared<'a>(&mut self, payload: &'a [u8]) -> Result<Event<'a>, Violation> {
        if payload.len() < PREPARED_BYTES {
            // MySQL 9.7 says OK, and nothing of a statement, to SET GLOBAL that the account may not do.
            let okay = Okay::read(payload, self.capabilities)?;
            self.state = State::Over;
            return Ok(Event::Okay(okay));
        }
        let mut body = Reader::new("reply to COM_STMT_PREPARE", payload);
        body.byte()?;
        let statement = body.u32()?;
        let (columns, parameters) = (body.u16()?, body.u16()?);
        // A filler, and warnings.
        body.bytes(3)?;
        body.end()?;
        self.state = if parameters > 0 {
            State::List { left: parameters, then: columns }
        } else {
            list(columns)
        };
        Ok(Event::Prepared { statement, columns, parameters })
    }

    /// Where an OK or an end leaves the reply.
    fn after(&self, end: &Okay<'_>) -> State {
        let more = self.expect == Expect::Results && end.status.has(Status::MORE_RESULTS);
        if more { State::First } else { State::Over }
    }
}

/// What tells of a prepared statement, at least ("COM_STMT_PREPARE_OK").
const PREPARED_BYTES: usize = 12;

/// The columns of a prepared statement, if it has any.
const fn list(columns: u16) -> State {
    if columns > 0 { State::List { left: columns, then: 0 } } else { State::Over }
}

const fn waiting<'a>(passed: usize) -> Step<'a> {
    if passed > 0 { Step::Pass(passed) } else { Step::Read }
}

/// What a server says before it closes a connection on which nothing is under way: why. `None` when it
/// is not all there.
///
/// # Errors
/// When it is anything but one ERR packet.
pub fn parting(input: &[u8]) -> Result<Option<(usize, Failure<'_>)>, Violation> {
    let Some(header) = header(input) else { return Ok(None) };
    if header.length > CONTROL_BYTES_MAX {
        return Err(Violation::TooLong { max: CONTROL_BYTES_MAX });
    }
    let Some(payload) = input.get(HEADER_BYTES..header.total()) else { return Ok(None) };
    Ok(Some((header.total(), Failure::read(payload)?)))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
