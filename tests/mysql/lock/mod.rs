//! The second lock on a real MariaDB and a real MySQL: sessions are an account of their principal's own there.

mod check;
mod drift;
mod life;
mod open;
mod several;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use daypass::grant::privilege::parse_stored;
use daypass::grant::{Grant, GrantId, GrantLimits, Revocation, Route};
use daypass::identity::PrincipalName;
use daypass::secret::Secret;
use daypass::store::Store;
use daypass::time::Timestamp;
use daypass::upstream::mysql::accounts::names::Names;
use daypass::upstream::mysql::accounts::{Lock, Settings};
use daypass::upstream::mysql::{Connection, Host, Startup, Target, query};
use daypass::upstream::{Catalogs, UpstreamError};
use tempfile::TempDir;

use crate::support::{Mysql, PATIENCE, Product};

pub(crate) const HOUR: Duration = Duration::from_hours(1);
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What there is to work on; `svc` may give what it is about, and is no administrator.
const GROUND: &str = "
    CREATE TABLE shop.t (id int, b int); INSERT INTO shop.t VALUES (1, 1);
    CREATE TABLE shop.u (id int); INSERT INTO shop.u VALUES (1);
    CREATE DATABASE my_shop; CREATE TABLE my_shop.t (id int);
    CREATE DATABASE myxshop; CREATE TABLE myxshop.t (id int);
";

/// A server, a store, and whoever keeps the accounts of `shop`.
pub(crate) struct House {
    pub(crate) server: Mysql,
    pub(crate) store: Store,
    pub(crate) catalogs: Catalogs<Target>,
    pub(crate) lock: Lock,
    _folder: TempDir,
}

pub(crate) fn server(product: Product) -> Mysql {
    let server = Mysql::start(product);
    let administrator = match product {
        Product::MariaDb => "CONNECTION ADMIN",
        Product::Mysql => "CONNECTION_ADMIN",
    };
    server.sql(&format!(
        "{GROUND} CREATE USER svc@'%' IDENTIFIED BY '{}';
        GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, EXECUTE, TRIGGER, REFERENCES,
            CREATE VIEW, SHOW VIEW, LOCK TABLES, PROCESS, CREATE USER, {administrator}
            ON *.* TO svc@'%' WITH GRANT OPTION",
        Mysql::PASSWORD
    ));
    server
}

pub(crate) fn target(server: &Mysql) -> Target {
    Target::new(Host::Unix(server.socket()), "svc", None)
        .with_password(Some(Secret::new(Mysql::PASSWORD)))
}

pub(crate) fn settings(server: &Mysql) -> Settings {
    let (target, key) = (target(server), Secret::new(KEY));
    Settings { entry: "shop".into(), target, key, interval: HOUR, host: "%".into() }
}

pub(crate) fn names() -> Names {
    Names::new(&Secret::new(KEY), "shop")
}

pub(crate) fn principal(name: &str) -> PrincipalName {
    PrincipalName::new(name).unwrap()
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

pub(crate) fn open_store() -> (TempDir, Store) {
    let folder = TempDir::with_prefix("daypass-store-").unwrap();
    let store = Store::open(&folder.path().join("daypass.db")).unwrap();
    (folder, store)
}

/// Makes a grant, as an operator would.
pub(crate) async fn grant_in(
    store: &Store,
    user: &str,
    privileges: &[&str],
    life: Duration,
) -> GrantId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = GrantId(format!("g_{:012}", NEXT.fetch_add(1, Ordering::Relaxed)).into());
    let grant = Grant {
        id: id.clone(),
        principal: principal(user),
        database: "shop".into(),
        privileges: privileges.iter().map(|text| parse_stored(text).unwrap()).collect(),
        not_before: now(),
        expires: (SystemTime::now() + life).into(),
        reason: "a test".into(),
        ticket: None,
        approvers: vec!["local:root".into()],
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: now(),
        revoked: None,
    };
    store.create_grant(grant).await.unwrap();
    id
}

impl House {
    pub(crate) fn new(product: Product) -> Self {
        let server = server(product);
        let (folder, store) = open_store();
        let catalogs = Catalogs::spawn(target(&server), HOUR);
        let lock = Lock::spawn(settings(&server), store.follower(), catalogs.watch());
        Self { server, store, catalogs, lock, _folder: folder }
    }

    /// Has everything looked at as at the start of a proxy, which drops accounts that nobody needs.
    pub(crate) async fn sweep(&self) {
        let another =
            Lock::spawn(settings(&self.server), self.store.follower(), self.catalogs.watch());
        another.progress().wait_for(|progress| progress.served).await.unwrap();
    }

    /// Waits until the server has noticed that sessions of ours have ended.
    pub(crate) async fn wait_until_nobody_is_there(&self) {
        let count =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user LIKE 'daypass%'";
        until("sessions to end", || async { self.server.sql(count) == "0" }).await;
    }

    pub(crate) async fn grant(&self, user: &str, privileges: &[&str]) -> GrantId {
        self.grant_for(user, privileges, HOUR).await
    }

    /// Makes one and waits until it has been brought to the server.
    pub(crate) async fn grant_for(
        &self,
        user: &str,
        privileges: &[&str],
        life: Duration,
    ) -> GrantId {
        let id = grant_in(&self.store, user, privileges, life).await;
        let held = self.store.snapshot().grants.held(&principal(user), "shop");
        self.lock.settled(&held, now()).await;
        id
    }

    /// Takes one back and waits until that has been tried.
    pub(crate) async fn revoke(&self, id: &GrantId) {
        let revocation = Revocation { at: now(), by: "local:root".into(), reason: None };
        self.store.revoke_grant(id, revocation).await.unwrap();
        let epoch = self.store.snapshot().grants.epoch();
        let mut progress = self.lock.progress();
        progress.wait_for(|progress| progress.epoch >= epoch).await.unwrap();
    }

    /// Has everything looked at, by asking for an account that there is not.
    pub(crate) async fn look(&self) {
        let refused = self.connect("nobody").await.unwrap_err();
        assert!(refused.to_string().contains("nobody has no live grant"), "{refused}");
    }

    /// Has the service account log in anew: rights on everything that it has lost stay with its sessions.
    pub(crate) fn end_service_sessions(&self) {
        let ids = "SELECT id FROM information_schema.processlist WHERE user = 'svc'";
        let kill: String = self.server.sql(ids).lines().map(|id| format!("KILL {id};")).collect();
        self.server.sql(&kill);
    }

    pub(crate) fn account(&self, user: &str) -> String {
        self.lock.role(&principal(user))
    }

    pub(crate) async fn connect(&self, user: &str) -> Result<Connection, UpstreamError> {
        let target = target(&self.server);
        self.lock.connect(&target, &principal(user), &Startup::default()).await
    }

    /// Those of one principal.
    pub(crate) fn accounts_of(&self, user: &str) -> Vec<(String, bool)> {
        let account = self.account(user);
        let mut all = self.accounts();
        all.retain(|(name, _)| name.starts_with(&account));
        all
    }

    /// Accounts with a name of ours, and whether they are locked.
    pub(crate) fn accounts(&self) -> Vec<(String, bool)> {
        accounts(&self.server)
    }
}

pub(crate) fn accounts(server: &Mysql) -> Vec<(String, bool)> {
    let sql = match server.product() {
        Product::MariaDb => {
            "SELECT CONCAT(user, '@', host), JSON_VALUE(priv, '$.account_locked') = 1 \
             FROM mysql.global_priv WHERE user LIKE 'daypass%' ORDER BY 1"
        }
        Product::Mysql => {
            "SELECT CONCAT(user, '@', host), account_locked = 'Y' \
             FROM mysql.user WHERE user LIKE 'daypass%' ORDER BY 1"
        }
    };
    let found = server.sql(sql);
    let row = |line: &str| {
        let (account, locked) = line.split_once('\t').unwrap();
        (account.to_owned(), locked == "1")
    };
    found.lines().map(row).collect()
}

/// What root sees that an account may do, sorted.
pub(crate) fn grants(server: &Mysql, account: &str) -> Vec<String> {
    let found = server.sql(&format!("SHOW GRANTS FOR `{account}`@`%`"));
    let mut lines: Vec<_> = found
        .lines()
        .filter(|line| !line.starts_with("GRANT USAGE"))
        .map(|line| line.split(" TO ").next().unwrap().to_owned())
        .collect();
    lines.sort();
    lines
}

/// Runs a statement; the number of its error when it fails.
pub(crate) async fn try_run(session: &mut Connection, sql: &str) -> Result<String, u16> {
    match query(session, sql).await {
        Ok(rows) => Ok(rows.into_iter().flatten().flatten().collect::<Vec<_>>().join(" ")),
        Err(UpstreamError::MysqlFailed { code, .. }) => Err(code),
        Err(other) => panic!("{sql}: {other}"),
    }
}

/// Asks until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    assert!(waited.is_ok(), "waited {PATIENCE:?} in vain for {what}");
}
