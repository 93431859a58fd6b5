//! Statements of our own on MySQL and MariaDB: one at a time, rows as text.

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Connection;
use crate::upstream::client::Bounds;
use crate::upstream::connect::broken;
use crate::upstream::error::UpstreamError;
use crate::wire::mysql::command;
use crate::wire::mysql::packet::{HEADER_BYTES, Reader, Violation, header, payload};
use crate::wire::mysql::reply::{Event, Expect, Reply, Step};
use crate::wire::mysql::response::Failure;

/// One row of a result in text, its values not yet taken apart.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    values: Reader<'a>,
    left: u64,
}

impl<'a> Row<'a> {
    /// Reads the payload of a row of that many values.
    pub fn new(payload: &'a [u8], width: u64) -> Self {
        Self { values: Reader::new("row", payload), left: width }
    }

    /// The next value; `None` inside is NULL.
    ///
    /// # Errors
    /// When there is none, it does not end, or it is not UTF-8.
    pub fn value(&mut self) -> Result<Option<&'a str>, Violation> {
        self.left = self.left.checked_sub(1).ok_or(self.values.malformed())?;
        let mut ahead = self.values.clone();
        if ahead.byte()? == NULL {
            self.values = ahead;
            return Ok(None);
        }
        self.values.lenenc_str().map(Some)
    }

    /// The next value, which is not NULL.
    ///
    /// # Errors
    /// As for [`Row::value`], and when it is NULL.
    pub fn text(&mut self) -> Result<&'a str, Violation> {
        self.value()?.ok_or(self.values.malformed())
    }

    /// All that are left.
    ///
    /// # Errors
    /// As for [`Row::value`], and when bytes are left over.
    pub fn rest(mut self) -> Result<Vec<Option<String>>, Violation> {
        let values = (0..self.left).map(|_| Ok(self.value()?.map(str::to_owned))).collect();
        self.values.end()?;
        values
    }
}

/// What stands in place of a value that is NULL.
const NULL: u8 = 0xfb;

/// Runs a statement and returns the rows of its results as text, one after the other; `None` is NULL.
///
/// # Errors
/// When the statement fails, the result is larger than [`Bounds::default`], a value is not UTF-8, or the
/// connection breaks. After anything but [`UpstreamError::MysqlFailed`] the connection is of no more use.
pub async fn query(
    connection: &mut Connection,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
    let mut rows = Vec::new();
    each_row(connection, sql, Bounds::default(), |row| {
        rows.push(row.rest()?);
        Ok(())
    })
    .await?;
    Ok(rows)
}

/// [`query`], each value with the name of its column.
///
/// # Errors
/// As for [`query`].
pub(super) async fn named(
    connection: &mut Connection,
    sql: &str,
) -> Result<Vec<Vec<(String, Option<String>)>>, UpstreamError> {
    let mut rows = Vec::new();
    let take = |row: Row<'_>| {
        rows.push(row.rest()?);
        Ok(())
    };
    let names = run(connection, sql, Bounds::default(), take).await?;
    Ok(rows.into_iter().map(|row| names.iter().cloned().zip(row).collect()).collect())
}

/// Runs a statement and hands over the rows of its results one by one, holding only one.
///
/// Not to be given up half-way and then used again: the connection refuses that, as
/// [`UpstreamError::Interrupted`].
///
/// # Errors
/// As for [`query`], and what `take` fails with.
pub async fn each_row(
    connection: &mut Connection,
    sql: &str,
    bounds: Bounds,
    take: impl FnMut(Row<'_>) -> Result<(), UpstreamError>,
) -> Result<(), UpstreamError> {
    run(connection, sql, bounds, take).await.map(drop)
}

/// [`each_row`]; gives the names of the columns of the last result.
async fn run(
    connection: &mut Connection,
    sql: &str,
    bounds: Bounds,
    mut take: impl FnMut(Row<'_>) -> Result<(), UpstreamError>,
) -> Result<Vec<String>, UpstreamError> {
    if std::mem::replace(&mut connection.busy, true) {
        return Err(UpstreamError::Interrupted);
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + sql.len() + 1);
    command::query(&mut out, sql.as_bytes(), connection.capabilities);
    connection.stream.write_all(&out).await.map_err(broken)?;
    connection.stream.flush().await.map_err(broken)?;
    let reply = Reply::new(Expect::Results, connection.capabilities, 1);
    let mut answer = Answer::new(reply, bounds);
    loop {
        while let Some(taken) = answer.advance(&connection.buffer, &mut take)? {
            connection.buffer.advance(taken);
        }
        if answer.reply.is_over() {
            connection.busy = false;
            return answer.failure.map_or(Ok(answer.names), Err);
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
    bounds: Bounds,
    /// What has passed of columns and rows and is not a whole one yet.
    passed: Vec<u8>,
    /// Columns that still pass before rows do.
    columns: u64,
    /// Of the result that is under way.
    width: u64,
    names: Vec<String>,
    failure: Option<UpstreamError>,
    rows: u64,
    bytes: u64,
}

impl Answer {
    fn new(reply: Reply, bounds: Bounds) -> Self {
        let (passed, names) = (Vec::new(), Vec::new());
        Self {
            reply,
            bounds,
            passed,
            columns: 0,
            width: 0,
            names,
            failure: None,
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes what stands at the head of `input`: how many bytes; `None` when more are needed.
    fn advance(
        &mut self,
        input: &[u8],
        take: &mut impl FnMut(Row<'_>) -> Result<(), UpstreamError>,
    ) -> Result<Option<usize>, UpstreamError> {
        let (taken, event) = match self.reply.advance(input)? {
            Step::Read => return Ok(None),
            Step::Pass(bytes) => (bytes, None),
            Step::Packet { bytes, event } => (bytes, Some(event)),
        };
        self.bytes += taken as u64;
        if self.bytes > self.bounds.bytes_max {
            return Err(UpstreamError::TooLarge { max: self.bounds.bytes_max, unit: "bytes" });
        }
        match event {
            None => {
                self.passed.extend_from_slice(input.get(..taken).unwrap_or_default());
                self.read_rows(take)?;
            }
            Some(Event::Columns(count)) => {
                (self.columns, self.width) = (count, count);
                self.names.clear();
            }
            Some(Event::Failure(failure)) => self.failure = Some(failed(&failure)),
            // A server asks for a file only when the client said that it gives such.
            Some(Event::LocalInfile(_)) => {
                return Err(Violation::Unexpected("request for a local file").into());
            }
            Some(_) => {}
        }
        Ok(Some(taken))
    }

    /// Reads the whole packets of what has passed: first the columns, then rows.
    fn read_rows(
        &mut self,
        take: &mut impl FnMut(Row<'_>) -> Result<(), UpstreamError>,
    ) -> Result<(), UpstreamError> {
        let mut passed = std::mem::take(&mut self.passed);
        let mut rest = &passed[..];
        while let Some(packet) = whole(rest) {
            let (message, after) = rest.split_at(packet);
            rest = after;
            if self.columns > 0 {
                self.columns -= 1;
                self.names.push(column_name(&payload(message))?);
                continue;
            }
            self.rows += 1;
            if self.rows > self.bounds.rows_max {
                return Err(UpstreamError::TooLarge { max: self.bounds.rows_max, unit: "rows" });
            }
            take(Row::new(&payload(message), self.width))?;
        }
        let read = passed.len() - rest.len();
        passed.drain(..read);
        self.passed = passed;
        Ok(())
    }
}

/// What a column is called, behind its catalog, schema, table, and that table's own name.
fn column_name(definition: &[u8]) -> Result<String, Violation> {
    let mut reader = Reader::new("column", definition);
    for _ in 0..4 {
        reader.lenenc_bytes()?;
    }
    reader.lenenc_bytes().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// How long the message at the head is, its continuations with it; `None` when it is not all there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        let header = header(bytes.get(end..)?)?;
        end += header.total();
        if end > bytes.len() {
            return None;
        }
        if !header.continues() {
            return Some(end);
        }
    }
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
                let reply = Reply::new(Expect::Results, capabilities, 1);
                let mut answer = Answer::new(reply, Bounds::default());
                let (mut buffer, mut found) = (Vec::new(), Vec::new());
                let mut take = |row: Row<'_>| {
                    found.push(row.rest()?);
                    Ok(())
                };
                for piece in bytes.chunks(piece) {
                    buffer.extend_from_slice(piece);
                    while let Some(taken) = answer.advance(&buffer, &mut take).unwrap() {
                        buffer.drain(..taken);
                    }
                }
                assert!(answer.reply.is_over());
                assert_eq!(found, rows);
                assert_eq!(answer.names, columns);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_row_panic(payload: Vec<u8>, width in 0..5_u64) {
            let _ = Row::new(&payload, width).rest();
        }
    }
}
