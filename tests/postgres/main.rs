//! The proxy before a real PostgreSQL, with real clients.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../support/mod.rs"]
mod support;

mod bound;
mod drivers;
mod dump;
mod explain;
mod introspection;
mod large;
mod life;
mod names;
mod outage;
mod protocol;
mod rust_driver;
mod statements;
mod tls;
mod tools;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use support::{Config, Daypass, Options, Postgres, Version};

/// A server with the tables of the stories, and a proxy before it. Shared: tests name principals of
/// their own.
pub(crate) struct House {
    pub(crate) server: Postgres,
    pub(crate) daypass: Daypass,
    /// One each: nobody may have more than sixteen.
    tokens: Mutex<HashMap<String, String>>,
}

const TABLES: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text, email text, card text);
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int, status text, total numeric);
    INSERT INTO customers SELECT n, 'name ' || n, n || '@example.org', '4111' || n
        FROM generate_series(1, 10) n;
    INSERT INTO orders SELECT n, n % 10 + 1, 'new', n * 10 FROM generate_series(1, 100) n;
    CREATE TABLE notes (id serial PRIMARY KEY, text text);
";

impl House {
    pub(crate) fn new(config: Config) -> Self {
        Self::on(None, config)
    }

    /// One with a server of that version.
    pub(crate) fn on(version: Option<Version>, config: Config) -> Self {
        let server = Postgres::start(Options {
            version,
            settings: vec!["log_statement = 'all'".to_owned()],
            ..Options::default()
        });
        server.sql("CREATE DATABASE shop");
        server.sql_in("shop", TABLES);
        let daypass = Daypass::start(config.postgres("shop", &server, &[]));
        Self { server, daypass, tokens: Mutex::default() }
    }

    /// A token of somebody who holds these privileges.
    pub(crate) fn principal(&self, user: &str, privileges: &[&str]) -> String {
        if !privileges.is_empty() {
            self.daypass.grant(user, "shop", privileges);
        }
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.entry(user.to_owned()).or_insert_with(|| self.daypass.token(user)).clone()
    }
}

/// One house for all tests that run at the moment and do not stop it; it ends with the last of them.
pub(crate) fn house() -> Arc<House> {
    static HOUSE: Mutex<Weak<House>> = Mutex::new(Weak::new());
    let mut shared = HOUSE.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let house = Arc::new(House::new(Config::new()));
        *shared = Arc::downgrade(&house);
        house
    })
}

/// Runs a test in the shared house.
pub(crate) fn with_house<T>(test: impl FnOnce(&House) -> T) -> T {
    test(&house())
}
