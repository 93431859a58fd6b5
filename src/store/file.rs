//! The database file: who may read it, who has it open, and which version its tables have.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::StoreError;
use super::{ids, rows};

/// Marks the file as ours: `Dayp`.
const APPLICATION_ID: i32 = 0x4461_7970;

/// How long to wait for another process to let go of the file: a restart overlaps a little.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// One step a version; a step that was released is never changed.
const MIGRATIONS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// The file that a configuration's `url` names: `sqlite:PATH`, or a path.
///
/// # Errors
/// When it names something else.
pub fn path_of(url: &Path) -> Result<PathBuf, StoreError> {
    let Some(text) = url.to_str() else { return Ok(url.into()) };
    let path = text.strip_prefix("sqlite:").unwrap_or(text);
    let other = path.contains("://") || path.is_empty() || path == ":memory:";
    if other { Err(StoreError::Unsupported(url.into())) } else { Ok(path.into()) }
}

/// Opens the file for this process alone, makes it when there is none, and brings its tables up to
/// date.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    create(path).map_err(|source| StoreError::Io { path: path.into(), source })?;
    check_modes(path)?;
    let blame = |error| blame(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(blame)?;
    configure(&connection).map_err(blame)?;
    migrate(&mut connection, path)?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(blame)?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt { path: path.into(), why: verdict.into() });
    }
    Ok(connection)
}

/// Makes an empty file that only its owner can read, before anything is in it. SQLite gives the files
/// beside it the same mode.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // Whatever the umask took away.
        Ok(file) => file.set_permissions(fs::Permissions::from_mode(0o600)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn check_modes(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        if !metadata.is_file() {
            return Err(StoreError::Corrupt { path, why: "it is not a file".into() });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Exposed { path, mode });
        }
    }
    Ok(())
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(LOCK_WAIT)?;
    // Before the first read, so that no other process ever shares the file.
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; \
         PRAGMA trusted_schema = OFF;",
    )
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let blame = |error| blame(path, error);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(blame)?;
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: u32 = transaction
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(blame)?;
    if tables > 0 && number("application_id").map_err(blame)? != APPLICATION_ID {
        let why = "it is a database of something else".into();
        return Err(StoreError::Corrupt { path: path.into(), why });
    }
    let found = u32::try_from(number("user_version").map_err(blame)?).unwrap_or(u32::MAX);
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::TooNew { path: path.into(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step).map_err(blame)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(blame)?;
        transaction.pragma_update(None, "user_version", known).map_err(blame)?;
    }
    let key: [u8; 32] = ids::random()?;
    rows::keep_store_key(&transaction, &key)?;
    transaction.commit().map_err(blame)
}

/// Says what an error on opening means.
pub fn blame(path: &Path, error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => StoreError::InUse(path.into()),
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => {
            StoreError::Corrupt { path: path.into(), why: error.to_string().into() }
        }
        _ => StoreError::Sqlite(error),
    }
}
