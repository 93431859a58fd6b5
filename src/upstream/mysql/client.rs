//! Statements of our own on MySQL and MariaDB: one at a time, rows as text.

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Connection;
use crate::upstream::client::Bounds;
use crate::upstream::connect::broken;
use crate::upstream::error::UpstreamError;
use crate::wire::mysql::command;
use crate::wire::mysql::packet::{HEADER_BYTES, PAYLOAD_MAX, Reader, Violation, header};
use crate::wire::mysql::reply::{Event, Expect, Reply, Step};
use crate::wire::mysql::response::Failure;

/// Values of a row; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Runs a statement and returns the rows of its results as text, one after the other.
///
/// # Errors
/// When the statement fails, the result is larger than [`Bounds::default`], a value is not UTF-8, or the
/// connection breaks. After anything but [`UpstreamError::MysqlFailed`] the connection is of no more use.
pub async fn query(connection: &mut Connection, sql: &str) -> Result<Vec<Row>, UpstreamError> {
    if std::mem::replace(&mut connection.busy, true) {
        return Err(UpstreamError::Interrupted);
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + sql.len() + 1);
    command::query(&mut out, sql.as_bytes(), connection.capabilities);
    connection.stream.write_all(&out).await.map_err(broken)?;
    connection.stream.flush().await.map_err(broken)?;
    let mut answer = Answer::new(Reply::new(Expect::Results, connection.capabilities, 1));
    loop {
        while let Some(taken) = answer.take(&connection.buffer)? {
            connection.buffer.advance(taken);
        }
        if answer.reply.is_over() {
            connection.busy = false;
            return answer.failure.map_or(Ok(answer.rows), Err);
        }
        connection.buffer.reserve(32 << 10);
        if connection.stream.read_buf(&mut connection.buffer).await.map_err(broken)? == 0 {
            return Err(UpstreamError::Closed);
        }
    }
}

/// A reply as it comes, its rows read.
struct Answer {
    reply: Reply,
    /// What has passed of columns and rows, up to the next packet that says something.
    passed: Vec<u8>,
    /// Columns that still pass before rows do.
    columns: u64,
    /// Of the result that is under way.
    width: u64,
    rows: Vec<Row>,
    failure: Option<UpstreamError>,
    bytes: u64,
}

impl Answer {
    fn new(reply: Reply) -> Self {
        let (passed, rows) = (Vec::new(), Vec::new());
        Self { reply, passed, columns: 0, width: 0, rows, failure: None, bytes: 0 }
    }

    /// Takes what stands at the head of `input`: how many bytes; `None` when more are needed.
    fn take(&mut self, input: &[u8]) -> Result<Option<usize>, UpstreamError> {
        let bounds = Bounds::default();
        let (taken, event) = match self.reply.advance(input)? {
            Step::Read => return Ok(None),
            Step::Pass(bytes) => (bytes, None),
            Step::Packet { bytes, event } => (bytes, Some(event)),
        };
        self.bytes += taken as u64;
        if self.bytes > bounds.bytes_max {
            return Err(UpstreamError::TooLarge { max: bounds.bytes_max, unit: "bytes" });
        }
        match event {
            None => self.passed.extend_from_slice(input.get(..taken).unwrap_or_default()),
            Some(event) => self.event(&event)?,
        }
        Ok(Some(taken))
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), UpstreamError> {
        match event {
            Event::Columns(count) => (self.columns, self.width) = (*count, *count),
            Event::RowsEnd { .. } => self.read_rows()?,
            Event::Failure(failure) => self.failure = Some(failed(failure)),
            // A server asks for a file only when the client said that it gives such.
            Event::LocalInfile(_) => {
                return Err(Violation::Unexpected("request for a local file").into());
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads what has passed: first the columns, then rows.
    fn read_rows(&mut self) -> Result<(), UpstreamError> {
        let passed = std::mem::take(&mut self.passed);
        let mut rest = &passed[..];
        while !rest.is_empty() {
            let mut body = Vec::new();
            while let Some(header) = header(rest) {
                body.extend_from_slice(rest.get(HEADER_BYTES..header.total()).unwrap_or_default());
                rest = rest.get(header.total()..).unwrap_or_default();
                if header.length < PAYLOAD_MAX {
                    break;
                }
            }
            if self.columns > 0 {
                self.columns -= 1;
                continue;
            }
            let max = Bounds::default().rows_max;
            if self.rows.len() as u64 >= max {
                return Err(UpstreamError::TooLarge { max, unit: "rows" });
            }
            self.rows.push(row(&body, self.width)?);
        }
        Ok(())
    }
}

/// Reads a row in the text protocol.
fn row(payload: &[u8], width: u64) -> Result<Row, Violation> {
    let mut body = Reader::new("row", payload);
    let mut row = Row::new();
    for _ in 0..width {
        let mut ahead = body.clone();
        row.push(if ahead.byte()? == 0xfb {
            body = ahead;
            None
        } else {
            Some(body.lenenc_str()?.to_owned())
        });
    }
    body.end()?;
    Ok(row)
}

fn failed(failure: &Failure<'_>) -> UpstreamError {
    UpstreamError::MysqlFailed {
        code: failure.code,
        sqlstate: failure.sqlstate.into(),
        message: failure.sentence().into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::mysql::capability::{Capabilities, Status};
    use crate::wire::mysql::report::{self, Form};

    #[test]
    fn rows_have_text_and_nulls_however_they_come() {
        let rows =
            vec![vec![Some("a".to_owned()), None], vec![Some(String::new()), Some("é".into())]];
        for capabilities in [Capabilities::NONE, Capabilities::DEPRECATE_EOF] {
            let mut bytes = Vec::new();
            let (columns, status) = (["x", "y"], Status::AUTOCOMMIT);
            report::result(&mut bytes, &mut 1, &columns, &rows, Form::Text, status, capabilities);
            for piece in [1, 5, bytes.len()] {
                let mut answer = Answer::new(Reply::new(Expect::Results, capabilities, 1));
                let mut buffer = Vec::new();
                for piece in bytes.chunks(piece) {
                    buffer.extend_from_slice(piece);
                    while let Some(taken) = answer.take(&buffer).unwrap() {
                        buffer.drain(..taken);
                    }
                }
                assert!(answer.reply.is_over());
                assert_eq!(answer.rows, rows);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_row_panic(payload: Vec<u8>, width in 0..5_u64) {
            let _ = row(&payload, width);
        }
    }
}
