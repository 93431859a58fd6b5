//! The embedded store: one SQLite file, which no other process opens meanwhile.

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql, Transaction, TransactionBehavior};

use super::error::StoreError;
use super::file;
use super::sql::{Cell, Row, Sql, Value};

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(None) | Self::Text(None) => ValueRef::Null,
            Self::Integer(Some(value)) => ValueRef::Integer(*value),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// SQLite counts `$1` and its like in the order in which they come, so they are bound by name.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for (number, value) in (1..).zip(values) {
        if let Some(index) = statement.parameter_index(&format!("${number}"))? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}

impl Sql for Transaction<'_> {
    fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        let columns: Arc<[Box<str>]> = statement.column_names().map(Box::from).collect();
        bind(&mut statement, values)?;
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let cells = (0..columns.len()).map(|index| match row.get_ref(index)? {
                ValueRef::Null => Ok(Cell::Null),
                ValueRef::Integer(value) => Ok(Cell::Integer(value)),
                ValueRef::Real(_) => Err(StoreError::Column("a number")),
                ValueRef::Text(text) => match String::from_utf8(text.to_vec()) {
                    Ok(text) => Ok(Cell::Text(text)),
                    Err(error) => Err(StoreError::Row(error.utf8_error().into())),
                },
                ValueRef::Blob(bytes) => Ok(Cell::Bytes(bytes.to_vec())),
            });
            let cells = cells.collect::<Result<_, StoreError>>()?;
            found.push(Row { columns: Arc::clone(&columns), cells });
        }
        Ok(found)
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(u64::try_from(statement.raw_execute()?).unwrap_or(u64::MAX))
    }
}

/// The open file.
pub struct Embedded(Connection);

impl Embedded {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::open(path).map(Self)
    }

    /// Reads at one moment.
    pub fn read<T>(
        &mut self,
        work: impl FnOnce(&dyn Sql) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(&self.0.transaction()?)
    }

    /// Does all or nothing.
    pub fn change<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&dyn Sql) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)?;
        let done = work(&transaction)?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(done)
    }
}

/// Says what an error on opening means.
pub fn blame(path: &Path, error: StoreError) -> StoreError {
    match error {
        // Rows that were written whole and cannot be read back.
        StoreError::Row(_) | StoreError::Column(_) => {
            StoreError::Corrupt { path: path.into(), why: error.to_string().into() }
        }
        StoreError::Sqlite(error) => match file::blame(path, error) {
            StoreError::Sqlite(error) => {
                StoreError::Corrupt { path: path.into(), why: error.to_string().into() }
            }
            other => other,
        },
        other => other,
    }
}
