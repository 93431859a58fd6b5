//! The messages of a logged-in client ("Command Phase"). Borrowed from the message that is forwarded,
//! so that what was read is what is sent.

use super::capability::Capabilities;
use super::packet::{Reader, Violation};
use super::value::{Named, attributes};

/// Number of a prepared statement.
pub type StatementId = u32;

/// MariaDB: the statement that was prepared last on the connection.
pub const LAST_PREPARED: StatementId = u32::MAX;

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    /// COM_QUIT: goodbye.
    Quit,
    /// COM_INIT_DB: another default schema.
    InitDb {
        /// Its name, in the client's character set.
        schema: &'a [u8],
    },
    /// COM_QUERY: one or several statements.
    Query {
        /// Text in the client's character set: what the server parses.
        text: &'a [u8],
        /// What the client says about it.
        attributes: Vec<Named<'a>>,
    },
    /// COM_FIELD_LIST: columns of a table.
    FieldList {
        /// The table, of the default schema.
        table: &'a [u8],
        /// Which columns: a pattern of LIKE; empty for all.
        pattern: &'a [u8],
    },
    /// COM_STATISTICS: a sentence about the server.
    Statistics,
    /// COM_PROCESS_INFO: SHOW PROCESSLIST.
    ProcessInfo,
    /// COM_PROCESS_KILL: KILL.
    ProcessKill {
        /// The connection.
        connection: u32,
    },
    /// COM_PING.
    Ping,
    /// COM_CHANGE_USER: logs in anew. Read by
    /// [`ChangeUser::read`](super::handshake::ChangeUser::read).
    ChangeUser {
        /// What follows the command's byte.
        body: &'a [u8],
    },
    /// COM_STMT_PREPARE.
    Prepare {
        /// Text in the client's character set.
        text: &'a [u8],
    },
    /// COM_STMT_EXECUTE. What is bound is read with what is known of the statement
    /// ([`parameters`](super::value::parameters)).
    Execute {
        /// Which.
        statement: StatementId,
        /// Cursor kind, and whether a count stands in `rest`.
        flags: u8,
        /// Parameters and attributes.
        rest: &'a [u8],
    },
    /// COM_STMT_BULK_EXECUTE (MariaDB), read on by [`bulk`](super::value::bulk).
    BulkExecute {
        /// Which.
        statement: StatementId,
        /// Whether types stand in `rest`, and ids of new rows are wanted.
        flags: u16,
        /// Types and rows.
        rest: &'a [u8],
    },
    /// COM_STMT_SEND_LONG_DATA: a piece of a parameter. Has no reply.
    SendLongData {
        /// Which.
        statement: StatementId,
        /// Its parameter, from 0.
        parameter: u16,
        /// The piece.
        data: &'a [u8],
    },
    /// COM_STMT_CLOSE. Has no reply.
    Close {
        /// Which.
        statement: StatementId,
    },
    /// COM_STMT_RESET: forgets what came in pieces, and closes its cursor.
    Reset {
        /// Which.
        statement: StatementId,
    },
    /// COM_STMT_FETCH: rows of its cursor.
    Fetch {
        /// Which.
        statement: StatementId,
        /// At most so many.
        rows_max: u32,
    },
    /// COM_SET_OPTION: several statements in one query, from now on.
    SetOption {
        /// Whether they are taken.
        multi_statements: bool,
    },
    /// COM_RESET_CONNECTION: as after a login.
    ResetConnection,
    /// Whatever else: refused by name.
    Refused {
        /// `COM_BINLOG_DUMP`.
        name: &'static str,
    },
}

impl<'a> Command<'a> {
    /// Reads the payload of a message. `capabilities` are those of the session.
    ///
    /// # Errors
    /// When a field does not end, bytes are left over, or there is no command at all.
    pub fn read(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Violation> {
        let (&code, rest) = payload.split_first().ok_or(Violation::Malformed("command"))?;
        let mut body = Reader::new(name(code), rest);
        let command = match code {
            0x01 => Self::Quit,
            0x02 => Self::InitDb { schema: body.remainder() },
            0x03 => {
                let attributes = if capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
                    attributes(&mut body)?
                } else {
                    Vec::new()
                };
                Self::Query { text: body.remainder(), attributes }
            }
            0x04 => Self::FieldList { table: body.c_bytes()?, pattern: body.remainder() },
            0x09 => Self::Statistics,
            0x0a => Self::ProcessInfo,
            0x0c => Self::ProcessKill { connection: body.u32()? },
            0x0e => Self::Ping,
            0x11 => Self::ChangeUser { body: body.remainder() },
            0x16 => Self::Prepare { text: body.remainder() },
            0x17 => {
                let (statement, flags) = (body.u32()?, body.byte()?);
                // Always 1, "for future use" since 4.1.
                if body.u32()? != 1 {
                    return Err(body.malformed());
                }
                Self::Execute { statement, flags, rest: body.remainder() }
            }
            0x18 => Self::SendLongData {
                statement: body.u32()?,
                parameter: body.u16()?,
                data: body.remainder(),
            },
            0x19 => Self::Close { statement: body.u32()? },
            0x1a => Self::Reset { statement: body.u32()? },
            0x1b => Self::SetOption {
                multi_statements: match body.u16()? {
                    0 => true,
                    1 => false,
                    _ => return Err(body.malformed()),
                },
            },
            0x1c => Self::Fetch { statement: body.u32()?, rows_max: body.u32()? },
            0x1f => Self::ResetConnection,
            0xfa if capabilities.has(Capabilities::BULK) => Self::BulkExecute {
                statement: body.u32()?,
                flags: body.u16()?,
                rest: body.remainder(),
            },
            other => {
                body.remainder();
                Self::Refused { name: name(other) }
            }
        };
        body.end()?;
        Ok(command)
    }

    /// Whether a server answers it.
    pub const fn has_reply(&self) -> bool {
        !matches!(self, Self::Quit | Self::SendLongData { .. } | Self::Close { .. })
    }
}

/// A command's name by its number (`enum_server_command`; MariaDB's beside them).
pub const fn name(code: u8) -> &'static str {
    match code {
        0x00 => "COM_SLEEP",
        0x01 => "COM_QUIT",
        0x02 => "COM_INIT_DB",
        0x03 => "COM_QUERY",
        0x04 => "COM_FIELD_LIST",
        0x05 => "COM_CREATE_DB",
        0x06 => "COM_DROP_DB",
        0x07 => "COM_REFRESH",
        0x08 => "COM_SHUTDOWN",
        0x09 => "COM_STATISTICS",
        0x0a => "COM_PROCESS_INFO",
        0x0b => "COM_CONNECT",
        0x0c => "COM_PROCESS_KILL",
        0x0d => "COM_DEBUG",
        0x0e => "COM_PING",
        0x0f => "COM_TIME",
        0x10 => "COM_DELAYED_INSERT",
        0x11 => "COM_CHANGE_USER",
        0x12 => "COM_BINLOG_DUMP",
        0x13 => "COM_TABLE_DUMP",
        0x14 => "COM_CONNECT_OUT",
        0x15 => "COM_REGISTER_SLAVE",
        0x16 => "COM_STMT_PREPARE",
        0x17 => "COM_STMT_EXECUTE",
        0x18 => "COM_STMT_SEND_LONG_DATA",
        0x19 => "COM_STMT_CLOSE",
        0x1a => "COM_STMT_RESET",
        0x1b => "COM_SET_OPTION",
        0x1c => "COM_STMT_FETCH",
        0x1d => "COM_DAEMON",
        0x1e => "COM_BINLOG_DUMP_GTID",
        0x1f => "COM_RESET_CONNECTION",
        0x20 => "COM_CLONE",
        0x21 => "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM",
        0xfa => "COM_STMT_BULK_EXECUTE",
        0xfe => "COM_MULTI",
        _ => "command of unknown number",
    }
}

/// To a server: a command of one byte and what follows it.
pub fn write(out: &mut Vec<u8>, code: u8, body: &[u8]) {
    super::packet::write(out, &mut 0, |out| {
        out.push(code);
        out.extend_from_slice(body);
    });
}

/// To a server: COM_INIT_DB.
pub fn init_db(out: &mut Vec<u8>, schema: &[u8]) {
    write(out, 0x02, schema);
}

/// To a server: COM_QUERY.
pub fn query(out: &mut Vec<u8>, text: &[u8], capabilities: Capabilities) {
    super::packet::write(out, &mut 0, |out| {
        out.push(0x03);
        if capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            out.extend_from_slice(&[0, 1]);
        }
        out.extend_from_slice(text);
    });
}

/// To a server: COM_QUIT.
pub fn quit(out: &mut Vec<u8>) {
    write(out, 0x01, b"");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(payload: &[u8]) -> Result<Command<'_>, Violation> {
        Command::read(payload, Capabilities::NONE)
    }

    #[test]
    fn the_text_of_a_query_stands_after_its_attributes() {
        let bytes = b"\x03\0\x01SELECT 1";
        let plain = Command::Query { text: b"\0\x01SELECT 1", attributes: vec![] };
        assert_eq!(read(bytes), Ok(plain));
        let found = Command::Query { text: b"SELECT 1", attributes: vec![] };
        assert_eq!(Command::read(bytes, Capabilities::QUERY_ATTRIBUTES), Ok(found));
        let none = b"\x03SELECT 1";
        assert!(Command::read(none, Capabilities::QUERY_ATTRIBUTES).is_err());
    }

    #[test]
    fn bytes_after_the_last_field_are_malformed() {
        for whole in [
            &b"\x01"[..],
            b"\x0c\x07\0\0\0",
            b"\x0e",
            b"\x19\x01\0\0\0",
            b"\x1a\x01\0\0\0",
            b"\x1b\0\0",
            b"\x1c\x01\0\0\0\x0a\0\0\0",
            b"\x1f",
        ] {
            assert!(read(whole).is_ok(), "{whole:?}");
            assert!(read(&[whole, b"\0"].concat()).is_err(), "{whole:?}");
            assert!(read(&whole[..whole.len() - 1]).is_err(), "{whole:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (code, name) in [
            (0x05, "COM_CREATE_DB"),
            (0x08, "COM_SHUTDOWN"),
            (0x0d, "COM_DEBUG"),
            (0x12, "COM_BINLOG_DUMP"),
            (0x20, "COM_CLONE"),
            (0xfa, "COM_STMT_BULK_EXECUTE"),
            (0x77, "command of unknown number"),
        ] {
            assert_eq!(read(&[code, 1, 2]), Ok(Command::Refused { name }));
        }
        assert_eq!(read(b""), Err(Violation::Malformed("command")));
    }

    #[test]
    fn mariadbs_bulk_execution_needs_its_capability() {
        let bytes = b"\xfa\xff\xff\xff\xff\x80\0rows";
        let found = Command::read(bytes, Capabilities::BULK);
        let bulk = Command::BulkExecute { statement: LAST_PREPARED, flags: 128, rest: b"rows" };
        assert_eq!(found, Ok(bulk));
    }

    #[test]
    fn three_commands_have_no_reply() {
        let without: Vec<u8> = (0..=255)
            .filter(|&code| {
                let payload = [&[code][..], &1_u32.to_le_bytes(), &[0; 2]].concat();
                [5, 1, 7].iter().any(|&n| read(&payload[..n]).is_ok_and(|read| !read.has_reply()))
            })
            .collect();
        assert_eq!(without, [0x01, 0x18, 0x19]);
    }

    proptest! {
        #[test]
        fn no_payload_makes_a_reader_panic(payload: Vec<u8>) {
            let _ = read(&payload);
            let _ = Command::read(&payload, Capabilities::QUERY_ATTRIBUTES | Capabilities::BULK);
        }
    }
}
