//! Statements of our own: simple queries, text results, within bounds.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{Connection, broken};
use super::error::UpstreamError;
use super::login::{refusal, remember};
use crate::wire::postgres::frame::{self, HEADER_BYTES, Reader, Violation};
use crate::wire::postgres::{message, reply};

/// What one result may make us hold or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Rows.
    pub rows_max: u64,
    /// Messages of the reply together, bytes.
    pub bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { rows_max: 10_000_000, bytes_max: 256 << 20 }
    }
}

/// The largest message on an idle connection: a notice, or a notification of up to 8 000 bytes.
const IDLE_BYTES_MAX: u64 = 64 << 10;

/// One row, its fields not yet taken apart.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    fields: Reader<'a>,
    left: u16,
}

impl<'a> Row<'a> {
    /// Reads the body of a DataRow message.
    ///
    /// # Errors
    /// When it has no count.
    pub fn read(body: &'a [u8]) -> Result<Self, Violation> {
        let mut fields = Reader::new(b'D', body);
        let left = fields.u16()?;
        Ok(Self { fields, left })
    }

    /// The next field; `None` inside is NULL.
    ///
    /// # Errors
    /// When there is none, it does not end, or it is not UTF-8.
    pub fn field(&mut self) -> Result<Option<&'a str>, Violation> {
        self.left = self.left.checked_sub(1).ok_or(self.fields.malformed())?;
        let Ok(length) = usize::try_from(self.fields.i32()?) else { return Ok(None) };
        let text = std::str::from_utf8(self.fields.bytes(length)?);
        text.map(Some).map_err(|_| Violation::Encoding('D'))
    }

    /// The next field, which is not NULL.
    ///
    /// # Errors
    /// As for [`Row::field`], and when it is NULL.
    pub fn text(&mut self) -> Result<&'a str, Violation> {
        self.field()?.ok_or(self.fields.malformed())
    }

    /// All that are left.
    ///
    /// # Errors
    /// As for [`Row::field`], and when bytes are left over.
    pub fn rest(mut self) -> Result<Vec<Option<String>>, Violation> {
        let values = (0..self.left).map(|_| Ok(self.field()?.map(str::to_owned))).collect();
        self.fields.end()?;
        values
    }
}

/// Runs a statement and returns its rows as text.
///
/// # Errors
/// When the statement fails, the result is larger than [`Bounds::default`], or the connection breaks.
/// After anything but [`UpstreamError::Failed`] the connection is of no more use.
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

/// Runs a statement and hands over its rows one by one, holding only one.
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
    mut take: impl FnMut(Row<'_>) -> Result<(), UpstreamError>,
) -> Result<(), UpstreamError> {
    if std::mem::replace(&mut connection.busy, true) {
        return Err(UpstreamError::Interrupted);
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + sql.len() + 1);
    reply::query(&mut out, sql);
    connection.stream.write_all(&out).await.map_err(broken)?;
    connection.stream.flush().await.map_err(broken)?;

    let (mut rows, mut bytes) = (0, 0);
    let mut failure = None;
    loop {
        // A server that ends the session says why before it closes; that is the better reason.
        let header = match next(connection, bounds.bytes_max).await {
            Ok(header) => header,
            Err(error) => return Err(failure.unwrap_or(error)),
        };
        bytes += header.total as u64;
        if bytes > bounds.bytes_max {
            return Err(UpstreamError::TooLarge { max: bounds.bytes_max, unit: "bytes" });
        }
        let whole = connection.buffer.split_to(header.total);
        let body = whole.get(HEADER_BYTES..).unwrap_or_default();
        match header.tag {
            b'D' => {
                rows += 1;
                if rows > bounds.rows_max {
                    return Err(UpstreamError::TooLarge { max: bounds.rows_max, unit: "rows" });
                }
                take(Row::read(body)?)?;
            }
            b'E' => {
                let (sqlstate, message) = refusal(body);
                failure = Some(UpstreamError::Failed { sqlstate, message });
            }
            b'S' => {
                let (name, value) = message::parameter_status(body)?;
                remember(&mut connection.parameters, name, value);
            }
            b'A' => note_notification(&mut connection.notified, connection.process_id, body)?,
            // Description, completion, empty query, notice.
            b'T' | b'C' | b'I' | b'N' => {}
            b'Z' => {
                message::TransactionStatus::read(body)?;
                connection.busy = false;
                return failure.map_or(Ok(()), Err);
            }
            other => return Err(Violation::Unexpected(char::from(other)).into()),
        }
    }
}

/// Waits on an idle connection until another session has notified it (LISTEN, NOTIFY). May be given up at any
/// moment: what has come is kept, and the connection stays of use.
///
/// # Errors
/// When the connection breaks, or the server says something that it may not say now.
pub async fn notified(connection: &mut Connection) -> Result<(), UpstreamError> {
    if connection.busy {
        return Err(UpstreamError::Interrupted);
    }
    while !connection.notified {
        let header = next(connection, IDLE_BYTES_MAX).await?;
        let whole = connection.buffer.split_to(header.total);
        let body = whole.get(HEADER_BYTES..).unwrap_or_default();
        match header.tag {
            b'A' => note_notification(&mut connection.notified, connection.process_id, body)?,
            b'S' => {
                let (name, value) = message::parameter_status(body)?;
                remember(&mut connection.parameters, name, value);
            }
            b'E' => {
                let (sqlstate, message) = refusal(body);
                return Err(UpstreamError::Failed { sqlstate, message });
            }
            b'N' => {}
            other => return Err(Violation::Unexpected(char::from(other)).into()),
        }
    }
    Ok(())
}

/// Only that somebody else has sent one counts. Anybody may send anything on any channel, so what is in it does not.
fn note_notification(notified: &mut bool, own: u32, body: &[u8]) -> Result<(), UpstreamError> {
    let sender = Reader::new(b'A', body).i32()?;
    *notified |= sender.cast_unsigned() != own;
    Ok(())
}

/// Waits until a whole message stands at the head of the buffer.
async fn next(connection: &mut Connection, max: u64) -> Result<frame::Header, UpstreamError> {
    loop {
        if let Some(header) = frame::header(&connection.buffer)? {
            if header.total as u64 > max {
                return Err(UpstreamError::TooLarge { max, unit: "bytes" });
            }
            if connection.buffer.len() >= header.total {
                return Ok(header);
            }
        }
        // In pieces: a length that is a lie must not make us reserve it.
        connection.buffer.reserve(32 << 10);
        if connection.stream.read_buf(&mut connection.buffer).await.map_err(broken)? == 0 {
            return Err(UpstreamError::Closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_has_text_and_nulls() {
        let mut out = Vec::new();
        let values = [Some("a".to_owned()), None, Some(String::new())];
        reply::data_row(&mut out, &values);
        let row = Row::read(&out[HEADER_BYTES..]).unwrap();
        assert_eq!(row.clone().rest().unwrap(), values);
        let mut row = row;
        assert_eq!((row.text(), row.field()), (Ok("a"), Ok(None)));
        assert_eq!((row.text(), row.field()), (Ok(""), Err(Violation::Malformed('D'))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_row_panic(body: Vec<u8>) {
            let _ = Row::read(&body).and_then(Row::rest);
        }
    }
}
