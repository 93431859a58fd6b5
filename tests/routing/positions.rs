//! What names and roles say of where the primary was: a replica that has replayed so far has them, too.

use std::time::{Duration, SystemTime};

use daypass::grant::privilege::parse_stored;
use daypass::grant::{Grant, GrantId, GrantLimits, Route};
use daypass::identity::PrincipalName;
use daypass::route::Position;
use daypass::secret::Secret;
use daypass::store::Store;
use daypass::upstream::catalogs::Catalogs;
use daypass::upstream::lock::{Kind, Lock, Progress};
use daypass::upstream::mysql::{self, accounts};
use daypass::upstream::replicas::Member;
use daypass::upstream::{Host, Target, roles};
use tempfile::TempDir;

use crate::support::{Mysql, Options, PATIENCE, Postgres, Product, products_available};

const NEVER: Duration = Duration::from_hours(1);

/// A primary and its replica, whose replay the test stops.
struct Pair<'s, M> {
    primary: M,
    replica: M,
    /// Runs SQL at the primary, and at the replica.
    write: &'s dyn Fn(&str),
    read: &'s dyn Fn(&str) -> String,
    pause: &'s dyn Fn(),
    resume: &'s dyn Fn(),
}

impl<M: Member> Pair<'_, M> {
    async fn replayed(&self) -> Position {
        let mut watch = self.replica.join().await.unwrap();
        M::look(&mut watch).await.unwrap().position.unwrap()
    }

    /// What `change` brings about is not at the replica before that has replayed to where `change` says.
    async fn comes_with(&self, asked: &str, change: impl AsyncFnOnce() -> Position) {
        self.until_replayed(&self.here().await).await;
        (self.pause)();
        let position = change().await;
        let replayed = self.replayed().await;
        assert!(!replayed.covers(&position), "{replayed} covers {position}");
        assert_eq!((self.read)(asked), "0", "{asked}");
        (self.resume)();
        self.until_replayed(&position).await;
        assert_eq!((self.read)(asked), "1", "{asked}");
    }

    /// Where the primary is.
    async fn here(&self) -> Position {
        let mut watch = self.primary.join().await.unwrap();
        M::look(&mut watch).await.unwrap().position.unwrap()
    }

    async fn until_replayed(&self, position: &Position) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.replayed().await.covers(position) {
            assert!(tokio::time::Instant::now() < deadline, "{position} is not replayed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn names_come_with_their_position(&self, asked: &str) {
        let catalogs = Catalogs::spawn(self.primary.clone(), NEVER);
        catalogs.refresh().await.unwrap();
        assert!(self.here().await.covers(&catalogs.position().unwrap()));
        self.comes_with(asked, async || {
            (self.write)("CREATE TABLE fresh (a INT)");
            catalogs.refresh().await.unwrap();
            Position::clone(&catalogs.position().unwrap())
        })
        .await;
        // What is no change of names is none of where they came from, nor does another way there begin anew.
        let known = catalogs.position();
        (self.write)("INSERT INTO fresh VALUES (1)");
        catalogs.refresh().await.unwrap();
        assert_eq!(catalogs.position(), known);
        assert_eq!(catalogs.succeed(self.primary.clone(), NEVER).position(), known);
    }

    async fn roles_come_with_their_position<K: Kind<Target = M>>(
        &self,
        settings: K::Settings,
        privilege: &str,
        asked: impl Fn(&str) -> String,
    ) {
        let folder = TempDir::with_prefix("daypass-store-").unwrap();
        let store = Store::open(&folder.path().join("daypass.db")).unwrap();
        let catalogs = Catalogs::spawn(self.primary.clone(), NEVER);
        catalogs.refresh().await.unwrap();
        let lock = Lock::<K>::spawn(settings, store.follower(), catalogs.watch());
        let amy = PrincipalName::new("amy").unwrap();
        let known = async |is_it: &dyn Fn(&Progress) -> bool| {
            let mut progress = lock.progress();
            let found = progress.wait_for(|it| is_it(it)).await.unwrap();
            (found.epoch, found.position.clone())
        };
        let (_, first) = known(&|it| it.served).await;
        assert!(self.here().await.covers(&first.unwrap()));
        self.comes_with(&asked(&lock.role(&amy)), async || {
            store.create_grant(grant("g_000000000001", &amy, privilege)).await.unwrap();
            let epoch = store.snapshot().grants.epoch();
            known(&|it| it.epoch >= epoch && !it.open.is_empty()).await.1.unwrap()
        })
        .await;
        // A grant of another database changes nothing at this one, whatever else is written.
        let before = known(&|it| it.served).await.1;
        (self.write)("INSERT INTO fresh VALUES (2)");
        let mut other = grant("g_000000000002", &amy, privilege);
        other.database = "crm".into();
        store.create_grant(other).await.unwrap();
        let epoch = store.snapshot().grants.epoch();
        assert_eq!(known(&|it| it.epoch >= epoch).await.1, before);
    }
}

fn grant(id: &str, principal: &PrincipalName, privilege: &str) -> Grant {
    Grant {
        id: GrantId(id.into()),
        principal: principal.clone(),
        database: "shop".into(),
        privileges: [parse_stored(privilege).unwrap()].into_iter().collect(),
        not_before: SystemTime::now().into(),
        expires: (SystemTime::now() + NEVER).into(),
        reason: "a test".into(),
        ticket: None,
        approvers: vec!["local:root".into()],
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: SystemTime::now().into(),
        revoked: None,
    }
}

fn key() -> Secret {
    Secret::new("0123456789abcdef0123456789abcdef")
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_roles_of_postgresql_come_with_their_position() {
    let primary = Postgres::start(Options::default());
    let replica = primary.standby();
    let target = |server: &Postgres| {
        let host = Host::Tcp { name: "127.0.0.1".into(), port: server.port() };
        Target::new(host, "postgres", "postgres")
    };
    let pair = Pair {
        primary: target(&primary),
        replica: target(&replica),
        write: &|sql| drop(primary.sql(sql)),
        read: &|sql| replica.sql(sql),
        pause: &|| drop(replica.sql("SELECT pg_wal_replay_pause()")),
        resume: &|| drop(replica.sql("SELECT pg_wal_replay_resume()")),
    };
    let table = "SELECT count(*) FROM pg_class WHERE relname = 'fresh'";
    pair.names_come_with_their_position(table).await;
    let settings = roles::Settings {
        entry: "shop".into(),
        target: pair.primary.clone(),
        key: key(),
        interval: NEVER,
        ddl_owner: None,
    };
    let privilege = "SELECT ON public.fresh";
    let asked = |role: &str| format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'");
    pair.roles_come_with_their_position::<roles::Roles>(settings, privilege, asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_accounts_of_mysql_come_with_their_position() {
    for product in products_available() {
        let primary = Mysql::primary(product);
        let replica = primary.replica(2);
        let target =
            |server: &Mysql| mysql::Target::new(mysql::Host::Unix(server.socket()), "root", None);
        let say = |mariadb: &str, mysql: &str| {
            replica.sql(if product == Product::MariaDb { mariadb } else { mysql });
        };
        let pair = Pair {
            primary: target(&primary),
            replica: target(&replica),
            write: &|sql| drop(primary.sql(&format!("USE shop; {sql}"))),
            read: &|sql| replica.sql(sql),
            pause: &|| say("STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD"),
            resume: &|| say("START SLAVE", "START REPLICA"),
        };
        let table = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'fresh'";
        pair.names_come_with_their_position(table).await;
        let settings = accounts::Settings {
            entry: "shop".into(),
            target: pair.primary.clone(),
            key: key(),
            interval: NEVER,
            host: "%".into(),
        };
        let privilege = "SELECT ON shop.fresh";
        let asked = |role: &str| format!("SELECT COUNT(*) FROM mysql.user WHERE User = '{role}'");
        pair.roles_come_with_their_position::<accounts::Accounts>(settings, privilege, asked).await;
    }
}
