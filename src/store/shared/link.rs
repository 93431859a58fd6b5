//! One connection to the server, driven by the thread that uses it: made when it is needed, dropped when
//! it fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::Account;
use crate::store::error::StoreError;
use crate::store::sql::{Cell, Row, Sql, Value};

/// One statement, or connecting. The server gives up on its side a little earlier.
const PATIENCE: Duration = Duration::from_secs(6);

/// Begins a transaction. Names mean our tables; a proxy that was stopped in the middle of one does not
/// keep the others waiting for ever. Set in each, since a pooler may stand between.
const SETTINGS: &str = "SET LOCAL search_path = daypass, pg_temp; SET LOCAL statement_timeout = '5s'; \
    SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// How a transaction sees others.
#[derive(Clone, Copy)]
pub enum Mode {
    /// One moment, and nothing is changed.
    Read,
    /// Each statement what was committed before it.
    Change,
}

/// The connection.
pub struct Link {
    account: Arc<Account>,
    client: Option<Client>,
    woken: Arc<Notify>,
    // Last, so that the client goes first.
    runtime: Runtime,
}

/// A transaction. Dropped without an end, its connection is closed, and the server rolls it back.
pub struct Session<'l> {
    account: &'l Account,
    runtime: &'l Runtime,
    client: Client,
}

impl Link {
    pub fn new(account: Arc<Account>) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| account.unreachable(&error))?;
        Ok(Self { account, client: None, woken: Arc::default(), runtime })
    }

    /// Told of each notification and when the connection ends.
    pub fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }

    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn is_connected(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.is_closed())
    }

    /// Does all or nothing.
    pub fn transact<T, E: From<StoreError>>(
        &mut self,
        mode: Mode,
        work: impl FnOnce(&Session<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let session = self.begin(mode)?;
        let result = work(&session);
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = session.run(end);
        let Session { client, .. } = session;
        if ended.is_ok() {
            self.client = Some(client);
        }
        let done = result?;
        ended?;
        Ok(done)
    }

    /// Says that it wants to hear of changes. For a connection of its own.
    pub fn listen(&mut self) -> Result<(), StoreError> {
        let session = self.connect()?;
        session.run("LISTEN daypass")?;
        let Session { client, .. } = session;
        self.client = Some(client);
        Ok(())
    }

    fn begin(&mut self, mode: Mode) -> Result<Session<'_>, StoreError> {
        let begin = match mode {
            Mode::Read => format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {SETTINGS}"),
            Mode::Change => format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SETTINGS}"),
        };
        // The server may have ended the one that we have: nothing was begun, so another try is harmless.
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            let session = Session { account: &self.account, runtime: &self.runtime, client };
            if session.run(&begin).is_ok() {
                return Ok(session);
            }
        }
        let session = self.connect()?;
        session.run(&begin)?;
        Ok(session)
    }

    fn connect(&self) -> Result<Session<'_>, StoreError> {
        let account = &*self.account;
        let woken = Arc::clone(&self.woken);
        let connecting = async {
            let stream = (account.dial)().await.map_err(|why| account.unreachable(&why))?;
            let connected = account.config().connect_raw(stream, NoTls).await;
            let (client, mut connection) = connected.map_err(|error| account.failed(&error))?;
            tokio::spawn(async move {
                let next = |context: &mut std::task::Context<'_>| connection.poll_message(context);
                let mut messages = futures_util::stream::poll_fn(next);
                while let Some(Ok(message)) = messages.next().await {
                    if matches!(message, AsyncMessage::Notification(_)) {
                        woken.notify_one();
                    }
                }
                woken.notify_one();
            });
            Ok(client)
        };
        let client = self.runtime.block_on(async { timeout(PATIENCE, connecting).await });
        let client = client.unwrap_or_else(|_| Err(account.unreachable(&SILENT)))?;
        Ok(Session { account, runtime: &self.runtime, client })
    }
}

const SILENT: &str = "it does not answer";

impl Session<'_> {
    /// Runs statements that give nothing.
    pub fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.client.batch_execute(sql))
    }

    fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match self.runtime.block_on(async { timeout(PATIENCE, work).await }) {
            Ok(result) => result.map_err(|error| self.account.failed(&error)),
            Err(_) => Err(self.account.unreachable(&SILENT)),
        }
    }
}

/// Values with their types: so a statement takes one round trip and nothing is kept at the server.
fn typed<'v>(values: &'v [Value<'v>]) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    let typed = values.iter().map(|value| match value {
        Value::Integer(value) => (value as &(dyn ToSql + Sync), Type::INT8),
        Value::Text(value) => (value as &(dyn ToSql + Sync), Type::TEXT),
        Value::Bytes(value) => (value as &(dyn ToSql + Sync), Type::BYTEA),
    });
    typed.collect()
}

fn cell(row: &tokio_postgres::Row, index: usize, kind: &Type) -> Option<Cell> {
    let cell = match *kind {
        Type::INT8 => row.try_get::<_, Option<i64>>(index).ok()?.map(Cell::Integer),
        Type::TEXT => row.try_get::<_, Option<String>>(index).ok()?.map(Cell::Text),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index).ok()?.map(Cell::Bytes),
        _ => return None,
    };
    Some(cell.unwrap_or(Cell::Null))
}

impl Sql for Session<'_> {
    fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let typed = typed(values);
        let found = self.wait(self.client.query_typed(sql, &typed))?;
        let Some(first) = found.first() else { return Ok(Vec::new()) };
        let columns: Arc<[Box<str>]> =
            first.columns().iter().map(|column| column.name().into()).collect();
        let rows = found.iter().map(|row| {
            let cells = row.columns().iter().enumerate();
            let cells = cells.map(|(index, column)| cell(row, index, column.type_()));
            let cells = cells.collect::<Option<_>>().ok_or(StoreError::Column("of that type"))?;
            Ok(Row { columns: Arc::clone(&columns), cells })
        });
        rows.collect()
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let typed = typed(values);
        self.wait(self.client.execute_typed(sql, &typed))
    }
}
