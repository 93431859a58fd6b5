//! What only the embedded store has: its file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::grant::Route;
use crate::grant::fixture::{at, grant};

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("daypass.db");
    (folder, path)
}

fn open(path: &Path) -> Store {
    Store::open_at(path, at(0)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn its_files_are_its_owners_alone() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    assert!(path.with_file_name("daypass.db-wal").exists());
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Exposed { mode: 0o640, .. }), "{error}");
    assert!(error.to_string().contains("has mode 0640"), "{error}");
}

#[tokio::test]
async fn two_stores_never_share_a_file() {
    let (_folder, path) = folder();
    let store = open(&path);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(
        error.to_string().ends_with("is in use by another daypass: each needs a store of its own")
    );
    let clone = store.clone();
    drop(store);
    assert!(Store::open(&path).is_err());
    drop(clone);
    assert!(Store::open(&path).is_ok());
}

#[test]
fn what_is_no_store_is_refused() {
    let (_folder, path) = folder();
    fs::write(&path, "this is no database, but long enough to be taken for one".repeat(20))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let other = path.with_file_name("other.db");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(connection);
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let error = Store::open(&other).unwrap_err();
    assert!(error.to_string().ends_with("it is a database of something else"), "{error}");
    for url in ["postgres://host/db", "sqlite:", ":memory:"] {
        let error = Store::open(Path::new(url)).unwrap_err();
        assert!(matches!(error, StoreError::Unsupported(_)), "{error}");
    }
    let error = Store::open(&path.with_file_name("none").join("daypass.db")).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    let error = Store::open(path.parent().unwrap()).unwrap_err();
    assert!(error.to_string().ends_with("it is not a file"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_refused() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).for_each(|byte| *byte = 0xa5);
    fs::write(&path, bytes).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn migrations_run_once_and_a_later_version_is_left_alone() {
    let (_folder, path) = folder();
    let store = open(&path);
    let key = store.snapshot().tokens.store_key.clone();
    drop(store);
    assert_eq!(open(&path).snapshot().tokens.store_key, key);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, known: 2, .. }), "{error}");
}

#[tokio::test]
async fn rows_from_before_there_were_routes_are_bound_to_nothing() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let first = "ALTER TABLE requests DROP COLUMN route; PRAGMA user_version = 1; \
        INSERT INTO requests VALUES ('r_1', 'alice', 'alice', 'shop', '[\"SELECT ON s.t\"]', 60000000, 'why', NULL, \
        0, 60000000, 'pending', '{\"state\":\"pending\"}')";
    connection.execute_batch(first).unwrap();
    drop(connection);
    let store = Store::open_at(&path, at(0)).unwrap();
    let route = |text: &'static str| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute("UPDATE grants SET route = $1", [text]).unwrap();
    };
    assert_eq!(store.grant(&GrantId("g_1".into())).await.unwrap().route, Route::Any);
    let asked = store.request(&RequestId("r_1".into())).await.unwrap();
    assert_eq!((asked.route, asked.duration), (Route::Any, std::time::Duration::from_mins(1)));
    drop(store);
    route("replica-only");
    let store = Store::open_at(&path, at(0)).unwrap();
    assert_eq!(store.grant(&GrantId("g_1".into())).await.unwrap().route, Route::ReplicaOnly);
    drop(store);
    // What nobody here knows how to hold to is not read as something else.
    route("elsewhere");
    let error = Store::open_at(&path, at(0)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_back_names_the_file() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.create_grant(grant("g_1", "SELECT ON s.t", 0, 60)).await.unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE grants SET privileges = '[\"SELECT ON t\"]'", []).unwrap();
    drop(connection);
    let error = Store::open_at(&path, at(0)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
