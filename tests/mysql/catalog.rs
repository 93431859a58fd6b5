//! Loading the names of a real MariaDB and a real MySQL, and keeping them.

use std::time::Duration;

use crate::support::{Config, Daypass, Mysql, Product, eventually, products_available};
use daypass::sql::mysql::catalog::{Catalog, Security, Table, TableKind, View};
use daypass::sql::mysql::{CharacterSet, Flavour, SqlMode};
use daypass::upstream::client::Bounds;
use daypass::upstream::mysql::{Host, Startup, Target, client, connect};
use daypass::upstream::{Catalogs, UpstreamError};

const NEVER: Duration = Duration::from_secs(3_600);

fn root(server: &Mysql) -> Target {
    Target::new(Host::Unix(server.socket()), "root", None)
}

fn table<'a>(catalog: &'a Catalog, name: &str) -> &'a Table {
    let (database, name) = name.split_once('.').unwrap();
    &catalog.databases[database].tables[name]
}

fn columns<'a>(catalog: &'a Catalog, name: &str) -> Vec<(&'a str, bool)> {
    table(catalog, name).columns.iter().map(|it| (&*it.name, it.invisible)).collect()
}

fn view<'a>(catalog: &'a Catalog, name: &str) -> &'a View {
    match &table(catalog, name).kind {
        TableKind::View(view) => view,
        TableKind::Base => panic!("{name} is a table"),
    }
}

#[tokio::test]
async fn everything_that_has_a_name_is_there() {
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql(
            "CREATE DATABASE bare; CREATE DATABASE `Größe`; USE shop;
            CREATE TABLE `Mixed Case` (Id int, `É` text, gone int, hidden int INVISIBLE,
                twice int GENERATED ALWAYS AS (id * 2) VIRTUAL, last int);
            ALTER TABLE `Mixed Case` DROP COLUMN gone, ADD COLUMN first int FIRST;
            CREATE TABLE `Größe`.t (a int);
            CREATE VIEW v_definer AS SELECT id FROM `Mixed Case`;
            CREATE SQL SECURITY INVOKER VIEW v_invoker AS SELECT last FROM `Mixed Case`;
            CREATE VIEW broken AS SELECT a FROM `Größe`.t; DROP TABLE `Größe`.t;
            CREATE FUNCTION F(x int) RETURNS int DETERMINISTIC SQL SECURITY INVOKER RETURN x;
            CREATE PROCEDURE P() SELECT 1;
            CREATE FUNCTION both_kinds() RETURNS int DETERMINISTIC RETURN 1;
            CREATE PROCEDURE both_kinds() SELECT 1;
            CREATE TRIGGER tr BEFORE INSERT ON `Mixed Case` FOR EACH ROW SET new.last = 1;",
        );
        let catalogs = Catalogs::spawn(root(&server), NEVER);
        let catalog = catalogs.refresh().await.unwrap();
        assert_eq!(
            columns(&catalog, "shop.Mixed Case"),
            [
                ("first", false),
                ("id", false),
                ("é", false),
                ("hidden", true),
                ("twice", false),
                ("last", false)
            ]
        );
        assert_eq!(table(&catalog, "shop.Mixed Case").kind, TableKind::Base);
        assert!(catalog.databases["bare"].tables.is_empty());
        assert!(catalog.databases["Größe"].tables.is_empty());
        assert_eq!(view(&catalog, "shop.v_definer").security, Security::Definer);
        assert_eq!(columns(&catalog, "shop.v_definer"), [("id", false)]);
        let invoker = view(&catalog, "shop.v_invoker");
        assert_eq!(invoker.security, Security::Invoker);
        assert!(invoker.query.as_ref().unwrap().contains("`shop`.`Mixed Case`"), "{invoker:?}");
        assert_eq!(view(&catalog, "shop.broken").security, Security::Definer);
        let shop = &catalog.databases["shop"];
        assert_eq!(shop.functions["f"].security, Security::Invoker);
        assert_eq!(shop.procedures["p"].security, Security::Definer);
        assert_eq!((shop.functions.len(), shop.procedures.len()), (2, 2));
        assert_eq!(&*shop.triggers["tr"], "Mixed Case");
        // What has no case is in lower case.
        assert!(columns(&catalog, "information_schema.columns").contains(&("extra", false)));
        assert!(columns(&catalog, "mysql.user").iter().any(|(name, _)| *name == "host"));

        let facts = catalogs.facts().unwrap();
        assert!(!facts.lower_case_table_names);
        assert_eq!(facts.sql_mode, Some(SqlMode::default()));
        match server.product() {
            Product::MariaDb => {
                assert_eq!(facts.server.flavour, Flavour::MariaDb);
                assert!(facts.server.number > 100_600, "{facts:?}");
                assert_eq!(facts.character_set, Some(CharacterSet::Latin1));
            }
            Product::Mysql => {
                assert_eq!(facts.server.flavour, Flavour::MySql);
                assert!(facts.server.number > 80_000, "{facts:?}");
                assert_eq!(facts.character_set, Some(CharacterSet::Utf8mb4));
            }
        }
    }
}

#[tokio::test]
async fn sequences_of_mariadb_and_keys_that_mysql_adds_are_seen() {
    for server in products_available().into_iter().map(Mysql::start) {
        let catalog = match server.product() {
            Product::MariaDb => {
                server.sql("CREATE SEQUENCE shop.s");
                let catalog = Catalogs::spawn(root(&server), NEVER).refresh().await.unwrap();
                assert_eq!(columns(&catalog, "shop.s")[0], ("next_not_cached_value", false));
                catalog
            }
            Product::Mysql => {
                server.sql(
                    "SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF;
                    SET sql_generate_invisible_primary_key = ON; CREATE TABLE shop.s (a int)",
                );
                let catalog = Catalogs::spawn(root(&server), NEVER).refresh().await.unwrap();
                assert_eq!(columns(&catalog, "shop.s"), [("my_row_id", true), ("a", false)]);
                catalog
            }
        };
        assert_eq!(table(&catalog, "shop.s").kind, TableKind::Base);
    }
}

#[tokio::test]
async fn every_change_of_a_name_is_noticed_and_nothing_else() {
    for server in products_available().into_iter().map(Mysql::start) {
        let catalogs = Catalogs::spawn(root(&server), NEVER);
        let mut version = catalogs.refresh().await.unwrap().version;
        for sql in [
            "CREATE DATABASE s",
            "CREATE TABLE s.t (a int, b int)",
            "ALTER TABLE s.t ADD c int",
            "ALTER TABLE s.t CHANGE b d int",
            "ALTER TABLE s.t MODIFY d int INVISIBLE",
            "ALTER TABLE s.t MODIFY c int AFTER a",
            "ALTER TABLE s.t DROP d",
            "RENAME TABLE s.t TO shop.u",
            "CREATE VIEW s.v AS SELECT a FROM shop.u",
            "CREATE OR REPLACE VIEW s.v AS SELECT c FROM shop.u",
            "CREATE OR REPLACE SQL SECURITY INVOKER VIEW s.v AS SELECT c FROM shop.u",
            "CREATE OR REPLACE SQL SECURITY INVOKER VIEW s.v AS SELECT c FROM shop.u WHERE a = 1",
            "CREATE FUNCTION s.f() RETURNS int DETERMINISTIC RETURN 1",
            "ALTER FUNCTION s.f SQL SECURITY INVOKER",
            "CREATE PROCEDURE s.p() SELECT 1",
            "CREATE TRIGGER shop.tr BEFORE INSERT ON shop.u FOR EACH ROW SET new.a = 1",
            "DROP TRIGGER shop.tr",
            "DROP PROCEDURE s.p",
            "DROP DATABASE s",
        ] {
            server.sql(sql);
            let fresh = catalogs.refresh().await.unwrap();
            assert!(fresh.version > version, "{:?} {sql}", server.product());
            version = fresh.version;
        }
        for sql in
            ["INSERT INTO shop.u VALUES (1, 2)", "CREATE INDEX i ON shop.u (a)", "SET @x = 1"]
        {
            server.sql(sql);
            assert_eq!(catalogs.refresh().await.unwrap().version, version, "{sql}");
        }
    }
}

#[tokio::test]
async fn what_the_account_may_not_see_is_not_taken_for_nothing() {
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql(
            "CREATE TABLE shop.t (a int);
            CREATE SQL SECURITY INVOKER VIEW shop.v AS SELECT a FROM shop.t;
            CREATE USER viewer@localhost; GRANT SELECT ON *.* TO viewer@localhost;
            CREATE USER little@localhost; GRANT SELECT ON shop.* TO little@localhost",
        );
        let target = |user: &str| Target::new(Host::Unix(server.socket()), user, None);
        let catalog = Catalogs::spawn(target("viewer"), NEVER).refresh().await.unwrap();
        // SHOW VIEW is needed for its definition.
        let expected = View { security: Security::Invoker, query: None };
        assert_eq!(view(&catalog, "shop.v"), &expected);
        let error = Catalogs::spawn(target("little"), NEVER).refresh().await.unwrap_err();
        let UpstreamError::MysqlFailed { code: 1142, message, .. } = error else {
            panic!("{error}");
        };
        assert!(message.contains("func"), "{message}");
    }
}

#[tokio::test]
async fn what_the_server_sets_for_sessions_does_not_cut_the_catalog_short() {
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql(
            "CREATE TABLE shop.t (a int, `a\"b` int);
            CREATE SQL SECURITY INVOKER VIEW shop.v AS SELECT `a\"b` FROM shop.t;
            SET GLOBAL sql_select_limit = 1;
            SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES';
            SET GLOBAL character_set_results = latin1",
        );
        let catalogs = Catalogs::spawn(root(&server), NEVER);
        let catalog = catalogs.refresh().await.unwrap();
        assert_eq!(columns(&catalog, "shop.t"), [("a", false), ("a\"b", false)]);
        let query = view(&catalog, "shop.v").query.as_ref().unwrap();
        assert!(query.contains("`a\"b`"), "{query}");
        let mode = catalogs.facts().unwrap().sql_mode.unwrap();
        assert!(mode.ansi_quotes && mode.no_backslash_escapes && !mode.ignore_space);
    }
}

#[tokio::test]
async fn a_result_has_bounds_and_rows_come_one_by_one() {
    for server in products_available().into_iter().map(Mysql::start) {
        let sql = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
            SELECT i, repeat('x', i * 60), NULL FROM n";
        let mut connection = connect(&root(&server), &Startup::default()).await.unwrap();
        let mut rows = 0;
        client::each_row(&mut connection, sql, Bounds::default(), |mut row| {
            rows += 1;
            assert_eq!(row.text()?, rows.to_string());
            assert_eq!(row.text()?.len(), rows * 60);
            assert_eq!(row.value()?, None);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(rows, 900);
        for (bounds, expected) in [
            (Bounds { rows_max: 899, ..Bounds::default() }, "rows"),
            (Bounds { bytes_max: 1 << 20, ..Bounds::default() }, "bytes"),
        ] {
            let mut connection = connect(&root(&server), &Startup::default()).await.unwrap();
            let error = client::each_row(&mut connection, sql, bounds, |_| Ok(())).await;
            let Err(UpstreamError::TooLarge { unit, .. }) = error else { panic!("{error:?}") };
            assert_eq!(unit, expected);
            let error = client::query(&mut connection, "SELECT 1").await.unwrap_err();
            assert!(matches!(error, UpstreamError::Interrupted), "{error}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_lost_is_made_anew() {
    for server in products_available().into_iter().map(Mysql::start) {
        let catalogs = Catalogs::spawn(root(&server), NEVER);
        let version = catalogs.refresh().await.unwrap().version;
        let own = "SELECT id FROM information_schema.processlist \
            WHERE user = 'root' AND id <> connection_id()";
        let connection = server.sql(own);
        server.sql(&format!("KILL {}; CREATE TABLE shop.later (a int)", connection.trim()));
        let fresh = catalogs.refresh().await.unwrap();
        assert!(fresh.version > version);
        assert_eq!(columns(&fresh, "shop.later"), [("a", false)]);
    }
}

#[test]
fn the_log_says_once_why_names_cannot_be_read() {
    let server = Mysql::start(Product::MariaDb);
    server.sql("CREATE USER weak@'%'; GRANT SELECT ON shop.* TO weak@'%'");
    let daypass = Daypass::start(Config::new().mysql_listener("shop", "").database(&format!(
        "name = \"shop\"\nengine = \"mysql\"\nprimary = \"{}\"\nsecond-lock = \"none\"\n",
        server.url("weak")
    )));
    eventually("the third try", || {
        (server.statements().matches("FROM mysql.func").count() >= 3).then_some(())
    });
    let log = daypass.log();
    let said: Vec<&str> =
        log.lines().filter(|line| line.contains("the catalog cannot be read")).collect();
    let [said] = said.as_slice() else { panic!("{log}") };
    assert!(said.contains("1142") && said.contains("s.sock"), "{said}");
}

#[tokio::test]
async fn rights_that_the_account_is_given_later_count() {
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql(
            "CREATE TABLE shop.t (a int); CREATE SQL SECURITY INVOKER VIEW shop.v AS SELECT a FROM shop.t;
             CREATE USER weak@'%'; GRANT SELECT ON shop.* TO weak@'%'; GRANT SELECT ON mysql.func TO weak@'%'",
        );
        if server.product() == Product::Mysql {
            server.sql("GRANT SELECT ON performance_schema.user_defined_functions TO weak@'%'");
        }
        let target = Target::new(Host::Unix(server.socket()), "weak", Some("shop".into()));
        let catalogs = Catalogs::spawn(target, NEVER);
        let before = catalogs.refresh().await.unwrap();
        assert_eq!(view(&before, "shop.v").query, None, "{:?}", server.product());
        server.sql("GRANT SHOW VIEW ON shop.* TO weak@'%'");
        let after = catalogs.refresh().await.unwrap();
        assert!(view(&after, "shop.v").query.is_some(), "{:?}", server.product());
    }
}
