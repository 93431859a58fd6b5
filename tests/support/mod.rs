//! Real servers, the real binary and real clients for tests, in temporary folders and on free ports;
//! all of it ends when its value is dropped, a panic included.
//!
//! ```ignore
//! #[path = "../support/mod.rs"]
//! mod support;
//! use support::{Config, Daypass, Options, Postgres};
//!
//! let primary = Postgres::start(Options::default());
//! primary.sql("CREATE TABLE t (id int)");
//! let replica = primary.standby();
//! let daypass = Daypass::start(Config::new().postgres("postgres", &primary, &[&replica]));
//! let token = daypass.token("alice");
//! daypass.grant("alice", "postgres", &["SELECT ON public.t"]);
//! let output = daypass.psql("alice", &token, "postgres", "SELECT count(*) FROM t");
//! assert_eq!(output.expect_success(), "0");
//! daypass.wait_audit("the result", |record| record["kind"] == "result");
//! ```
//!
//! What is not installed ends the test with the `scripts/install` line that helps; nothing is skipped
//! in silence.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "a test's support may stop it, and no binary uses all of it"
)]

mod clients;
mod daypass;
mod mysql;
mod postgres;
mod process;
mod psql;
mod tls;
mod wire;

pub use clients::{
    introspect, java, mysql_async, node, python, tool_of_java, tool_of_node, tool_of_python,
};
pub use daypass::{Config, Daypass, id_in};
pub use mysql::{Mysql, Product, mysql_client, mysql_tool, products_available};
pub use postgres::{
    Options, Postgres, Version, as_postgres, client, give_to_postgres, server_folder,
    versions_available,
};
pub use process::{Output, free_port, run};
pub use psql::{Shell, newer_psql, packaged_psql, psql};
pub use tls::Certificates;
pub use wire::{Message, Wire, bind, tags};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a test waits for anything at all. Generous: slow machines are no failures.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `scripts/install` put under `target`.
pub fn installed(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// Asks again and again until the answer is there; panics with `what` when patience ends.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
