//! The store that several proxies share: a PostgreSQL database, everything in its schema `daypass`.
//!
//! Whoever changes something locks the one row of `state` first, so that changes come one after the other,
//! as they do in a file: limits and what happens once hold whoever asks. Each change has a number, its
//! revision, under which `changes` names what it was. A proxy follows by reading what came after the
//! revision that it has, in the order of revisions.

mod follow;
mod link;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use super::published::{Changes, News, Published, kept_since, load};
use super::sql::{Sql, Value};
use super::{Snapshot, ids, rows};
use crate::net::Stream;
use crate::secret::Secret;
use crate::time::Timestamp;

pub use follow::{Asked, Follow};
use link::{Link, Mode, Session};

/// One step a version; a step that was released is never changed.
const MIGRATIONS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// Two proxies that start at once make the tables one after the other: "dayp" in ASCII.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(1684109680, 2)";

/// Whoever follows from further back reads everything again.
const REVISIONS_KEPT: i64 = 10_000;

/// Opens a byte stream to the server, protected as its address demands.
pub type Dial =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Stream, String>> + Send>> + Send + Sync>;

/// Where the server is, who we are there, and for how long what is known of it counts.
#[derive(Clone)]
pub struct Account {
    /// How to get there.
    pub dial: Dial,
    /// What it is called in errors.
    pub address: Arc<str>,
    /// Our role.
    pub user: String,
    /// The server's database.
    pub database: String,
    /// Our password, if we have one.
    pub password: Option<Secret>,
    /// For so long what was last read counts while nothing can be read.
    pub stale_after: Duration,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("stale_after", &self.stale_after)
            .finish_non_exhaustive()
    }
}

impl Account {
    fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.user(&self.user).dbname(&self.database).application_name("daypass store");
        // The stream that it is given is protected already, or needs no protection.
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config
    }

    fn unreachable(&self, why: &dyn fmt::Display) -> StoreError {
        StoreError::Unreachable { address: Arc::clone(&self.address), why: why.to_string().into() }
    }

    /// What the server says of itself, without values: its detail may have some.
    fn failed(&self, error: &tokio_postgres::Error) -> StoreError {
        let address = Arc::clone(&self.address);
        match error.as_db_error() {
            Some(error) => StoreError::Server {
                address,
                sqlstate: error.code().code().into(),
                why: error.message().into(),
            },
            None => StoreError::Unreachable { address, why: error.to_string().into() },
        }
    }
}

/// The connection that changes and lists.
pub struct Shared(Link);

impl Shared {
    /// Connects, brings the tables up to date, and reads everything that the first snapshot needs.
    pub fn open(account: &Arc<Account>, now: Timestamp) -> Result<(Self, Snapshot), StoreError> {
        let mut link = Link::new(Arc::clone(account))?;
        link.transact(Mode::Change, |session| migrate(session, account))?;
        let first = link.transact(Mode::Read, |sql| load(sql, now, revision(sql)?))?;
        Ok((Self(link), first))
    }

    /// Reads at one moment.
    pub fn read<T>(
        &mut self,
        work: impl FnOnce(&dyn Sql) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.0.transact(Mode::Read, |session| work(session))
    }

    /// Does all or nothing, and says what is new since that revision, others' changes and its own.
    pub fn change<T, E: From<StoreError>>(
        &mut self,
        after: i64,
        work: impl FnOnce(&dyn Sql, &mut Changes) -> Result<T, E>,
    ) -> Result<(T, News, i64), E> {
        self.0.transact(Mode::Change, |session| {
            let before = locked_revision(session)?;
            let mut changes = Changes::default();
            let result = work(session, &mut changes)?;
            let now = if changes.is_news() { before + 1 } else { before };
            if now > before {
                note(session, &changes, now)?;
            }
            // Read before the commit: after it, nothing may fail any more.
            let mut news = news_after(session, after, now)?;
            news.prune = changes.prune;
            Ok((result, news, now))
        })
    }
}

fn number(sql: &dyn Sql, query: &str) -> Result<i64, StoreError> {
    let rows = sql.query(query, &[])?;
    rows.first().ok_or(StoreError::Column("revision"))?.integer("revision")
}

fn revision(sql: &dyn Sql) -> Result<i64, StoreError> {
    number(sql, "SELECT revision FROM state")
}

/// Nobody else changes anything until the transaction ends.
fn locked_revision(sql: &dyn Sql) -> Result<i64, StoreError> {
    number(sql, "SELECT revision FROM state FOR UPDATE")
}

/// Writes down what a revision changed, and tells the other proxies once it is committed.
fn note(sql: &dyn Sql, changes: &Changes, revision: i64) -> Result<(), StoreError> {
    let grants = changes.grants.iter().map(|grant| ("grant", &*grant.id.0));
    let tokens = changes.tokens.iter().map(|token| ("token", &*token.id.0));
    let deleted = changes.tokens_deleted.then_some(("tokens", ""));
    for (kind, id) in grants.chain(tokens).chain(deleted) {
        sql.execute(
            "INSERT INTO changes (revision, kind, id) VALUES ($1, $2, $3)",
            &[revision.into(), kind.into(), id.into()],
        )?;
    }
    let forgotten = revision.saturating_sub(REVISIONS_KEPT);
    sql.execute("DELETE FROM changes WHERE revision <= $1", &[forgotten.into()])?;
    sql.execute("UPDATE state SET revision = $1", &[revision.into()])?;
    let payload = revision.to_string();
    sql.execute("SELECT pg_notify('daypass', $1)", &[payload.as_str().into()]).map(drop)
}

/// What came after one revision, up to the other, at which the transaction reads.
fn news_after(sql: &dyn Sql, after: i64, now: i64) -> Result<News, StoreError> {
    if now <= after {
        return Ok(News::default());
    }
    let first = number(sql, "SELECT coalesce(min(revision), 0) AS revision FROM changes")?;
    if first > after + 1 {
        let grants = rows::grants_since(sql, kept_since(std::time::SystemTime::now().into()))?;
        return Ok(News { grants, all_tokens: Some(rows::tokens(sql)?), ..News::default() });
    }
    let grants = rows::changed_grants(sql, after)?;
    let tokens = rows::changed_tokens(sql, after)?;
    let deleted = sql.query(
        "SELECT revision FROM changes WHERE kind = 'tokens' AND revision > $1 LIMIT 1",
        &[after.into()],
    )?;
    let all_tokens = if deleted.is_empty() { None } else { Some(rows::tokens(sql)?) };
    Ok(News { grants, tokens, all_tokens, prune: None })
}

/// Makes the schema where there is none, and brings its tables up to date.
fn migrate(session: &Session<'_>, account: &Account) -> Result<(), StoreError> {
    session.execute(MIGRATION_LOCK, &[])?;
    let exists =
        |what: &str| -> Result<bool, StoreError> { Ok(!session.query(what, &[])?.is_empty()) };
    let corrupt =
        |why: &str| StoreError::Corrupt { path: (*account.address).into(), why: why.into() };
    if !exists("SELECT nspname::text FROM pg_namespace WHERE nspname = 'daypass'")? {
        session.run("CREATE SCHEMA daypass; REVOKE ALL ON SCHEMA daypass FROM PUBLIC")?;
    }
    let ours = "SELECT relname::text FROM pg_class \
        WHERE relnamespace = 'daypass'::regnamespace AND relname = 'migrations'";
    if !exists(ours)? {
        let others = "SELECT relname::text FROM pg_class \
            WHERE relnamespace = 'daypass'::regnamespace LIMIT 1";
        if exists(others)? {
            return Err(corrupt("its schema daypass is of something else"));
        }
        session.run("CREATE TABLE migrations (version bigint PRIMARY KEY)")?;
    }
    let others = "SELECT DISTINCT a.grantee::bigint AS grantee FROM pg_class c, aclexplode(c.relacl) a \
        WHERE c.relnamespace = 'daypass'::regnamespace AND a.grantee <> c.relowner";
    let found = number(session, "SELECT coalesce(max(version), 0) AS revision FROM migrations")?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        let (found, known) = (u32::try_from(found), u32::try_from(known));
        let path = (*account.address).into();
        let newest = u32::MAX;
        let (found, known) = (found.unwrap_or(newest), known.unwrap_or(newest));
        return Err(StoreError::TooNew { path, found, known });
    }
    for (version, step) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            session.run(step)?;
            let note = "INSERT INTO migrations (version) VALUES ($1)";
            session.execute(note, &[Value::from(version)])?;
        }
    }
    if exists(others)? {
        return Err(corrupt(
            "other roles have privileges on tables of its schema daypass, so they can use its secrets: \
             REVOKE them",
        ));
    }
    let key: [u8; 32] = ids::random()?;
    rows::keep_store_key(session, &key).map(drop)
}

/// Whether a connection of its own reads, once, what is new.
fn catch_up(link: &mut Link, published: &Published) -> Result<(), StoreError> {
    let after = published.revision();
    let (news, now) = link.transact(Mode::Read, |sql| {
        let now = revision(sql)?;
        if now < after {
            return Err(StoreError::WentBack { found: now, known: after });
        }
        Ok((news_after(sql, after, now)?, now))
    })?;
    published.publish(news, now);
    Ok(())
}
