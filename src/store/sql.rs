//! What rows are read and written with: a transaction of either kind of store. The statements are the
//! same for both, with `$1` for the first value.

use std::sync::Arc;

use super::error::StoreError;

/// A transaction. What fails in it fails the whole.
pub trait Sql {
    /// The rows that a statement gives.
    ///
    /// # Errors
    /// When the store fails.
    fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError>;

    /// How many rows a statement changed.
    ///
    /// # Errors
    /// When the store fails.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError>;
}

/// A value on its way to the store. May be secret, so it cannot be printed.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Integer(Option<i64>),
    Text(Option<&'a str>),
    Bytes(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value)
    }
}

/// A value that a row has. May be secret, so it cannot be printed.
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row.
pub struct Row {
    pub columns: Arc<[Box<str>]>,
    pub cells: Vec<Cell>,
}

impl Row {
    fn cell(&self, column: &'static str) -> Result<&Cell, StoreError> {
        let place = self.columns.iter().position(|name| **name == *column);
        place.and_then(|place| self.cells.get(place)).ok_or(StoreError::Column(column))
    }

    /// A number that is always there.
    pub fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        self.integer_or_none(column)?.ok_or(StoreError::Column(column))
    }

    /// A number.
    pub fn integer_or_none(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Integer(value) => Ok(Some(*value)),
            Cell::Text(_) | Cell::Bytes(_) => Err(StoreError::Column(column)),
        }
    }

    /// A text that is always there.
    pub fn text(&self, column: &'static str) -> Result<&str, StoreError> {
        self.text_or_none(column)?.ok_or(StoreError::Column(column))
    }

    /// A text.
    pub fn text_or_none(&self, column: &'static str) -> Result<Option<&str>, StoreError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            Cell::Integer(_) | Cell::Bytes(_) => Err(StoreError::Column(column)),
        }
    }

    /// Bytes that are always there.
    pub fn bytes(&self, column: &'static str) -> Result<&[u8], StoreError> {
        match self.cell(column)? {
            Cell::Bytes(bytes) => Ok(bytes),
            Cell::Null | Cell::Integer(_) | Cell::Text(_) => Err(StoreError::Column(column)),
        }
    }
}
