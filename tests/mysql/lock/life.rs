//! Accounts come, open, close and go with live grants.

use std::time::Duration;

use daypass::upstream::mysql::Startup;
use daypass::upstream::mysql::accounts::check::check;
use daypass::upstream::{Catalogs, UpstreamError};

use super::{House, grants, names, try_run, until};
use crate::support::{Mysql, Product, products_available, root};

#[tokio::test]
async fn an_account_lives_as_long_as_a_grant_and_holds_what_it_allows() {
    for product in products_available() {
        let house = House::new(product);
        let refused = house.connect("alice").await.unwrap_err();
        assert!(refused.to_string().contains("alice has no live grant"), "{refused}");
        let grant = house.grant("alice", &["SELECT, UPDATE (b) ON shop.t"]).await;
        let mut session = house.connect("alice").await.unwrap();
        let account = house.account("alice");
        let whose = try_run(&mut session, "SELECT CURRENT_USER()").await;
        assert_eq!(whose, Ok(format!("{account}@%")));
        let held = grants(&house.server, &account);
        assert_eq!(held, ["GRANT SELECT, UPDATE (`b`) ON `shop`.`t`"]);
        for (sql, expected) in [
            ("SELECT b FROM shop.t", Ok("1".to_owned())),
            ("UPDATE shop.t SET b = 1", Ok(String::new())),
            ("UPDATE shop.t SET id = 1", Err(1143)),
            ("SELECT * FROM shop.u", Err(1142)),
            ("CREATE USER x", Err(1227)),
        ] {
            assert_eq!(try_run(&mut session, sql).await, expected, "{product:?} {sql}");
        }
        house.revoke(&grant).await;
        assert_eq!(try_run(&mut session, "SELECT b FROM shop.t").await, Err(1142));
        let refused = house.connect("alice").await.unwrap_err();
        assert!(refused.to_string().contains("no live grant"), "{refused}");
        // It stays, closed, while its session does.
        assert_eq!(house.accounts(), [(format!("{account}@%"), true)]);
        house.sweep().await;
        assert_eq!(house.accounts(), [(format!("{account}@%"), true)]);
        drop(session);
        house.wait_until_nobody_is_there().await;
        house.sweep().await;
        assert_eq!(house.accounts(), []);
        // Nothing that a server keeps of statements has the password.
        let password = names().password(&account);
        assert!(!house.server.statements().contains(password.expose_str().unwrap()));
    }
}

#[tokio::test]
async fn a_grant_expires_by_itself_and_what_others_allow_stays() {
    for product in products_available() {
        let house = House::new(product);
        house.grant("alice", &["SELECT ON shop.t"]).await;
        house.grant_for("alice", &["SELECT ON shop.u"], Duration::from_secs(2)).await;
        let mut session = house.connect("alice").await.unwrap();
        assert_eq!(try_run(&mut session, "SELECT id FROM shop.u").await, Ok("1".into()));
        let account = house.account("alice");
        until("the right to go", || async { grants(&house.server, &account).len() == 1 }).await;
        assert_eq!(try_run(&mut session, "SELECT id FROM shop.u").await, Err(1142));
        assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
        house.connect("alice").await.unwrap();
    }
}

#[tokio::test]
async fn names_of_any_length_and_letter_get_in() {
    for product in products_available() {
        let house = House::new(product);
        for user in ["å".repeat(31), "o'neil `x` \\".to_owned(), "a@b.example.org".to_owned()] {
            house.grant(&user, &["SELECT ON shop.t"]).await;
            let mut session = house.connect(&user).await.unwrap();
            assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
            let account = house.account(&user);
            assert!(account.len() <= 32, "{account}");
        }
        assert_eq!(house.account(&"å".repeat(31)).len(), 32);
    }
}

#[tokio::test]
async fn an_entry_that_is_removed_leaves_nothing_behind() {
    for product in products_available() {
        let House { server, store, catalogs, lock, _folder } = House::new(product);
        let house = House { server, store, catalogs, lock, _folder };
        house.grant("alice", &["READ ON SCHEMA shop"]).await;
        house.connect("alice").await.unwrap();
        house.lock.retire();
        let House { server, lock, .. } = house;
        drop(lock);
        until("the accounts to go", || async { super::accounts(&server).is_empty() }).await;
    }
}

#[tokio::test]
async fn without_plugins_mariadb_proves_passwords_as_it_always_has() {
    let house = House::new(Product::MariaDb);
    house.grant("alice", &["SELECT ON shop.t"]).await;
    let account = house.account("alice");
    let plugin = format!(
        "SELECT JSON_VALUE(priv, '$.plugin') FROM mysql.global_priv WHERE user = '{account}'"
    );
    assert_eq!(house.server.sql(&plugin), "ed25519");
    house.server.sql("UNINSTALL SONAME 'auth_ed25519'");
    // It cannot be logged in to as it was, so it is set anew.
    let mut session = house.connect("alice").await.unwrap();
    assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
    assert_eq!(house.server.sql(&plugin), "mysql_native_password");
}

#[tokio::test]
async fn a_service_account_that_may_not_is_named_with_what_it_lacks() {
    for product in products_available() {
        for (taken, says) in [
            ("REVOKE CREATE USER ON *.* FROM svc@'%'", "GRANT CREATE USER ON *.* TO `svc`@`%`"),
            (
                "REVOKE SELECT ON *.* FROM svc@'%'; GRANT SELECT ON shop.* TO svc@'%' WITH GRANT OPTION",
                "GRANT SELECT ON `mysql`.* TO `svc`@`%`",
            ),
        ] {
            let server = super::server(product);
            let (_folder, store) = super::open_store();
            let catalogs = Catalogs::spawn(
                daypass::upstream::mysql::Target::new(
                    daypass::upstream::mysql::Host::Unix(server.socket()),
                    "root",
                    None,
                ),
                super::HOUR,
            );
            server.sql(taken);
            let settings = super::settings(&server);
            let lock = super::Lock::spawn(settings, store.follower(), catalogs.watch());
            super::grant_in(&store, "alice", &["SELECT ON shop.t"], super::HOUR).await;
            let mut progress = lock.progress();
            let told = progress
                .wait_for(|it| it.error.as_ref().is_some_and(|it| it.contains("second-lock")))
                .await
                .unwrap();
            assert!(told.error.as_ref().unwrap().contains(says), "{told:?}");
            drop(told);
            let target = super::target(&server);
            let refused = lock
                .connect(&target, &super::principal("alice"), &super::Startup::default())
                .await
                .unwrap_err();
            assert!(matches!(refused, UpstreamError::Roles(_)), "{refused}");
        }
    }
}

/// What the README has a service account given, for a server of that product.
fn readme(product: Product) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```").find(|block| block.contains("\nCREATE USER daypass@")).unwrap();
    let lines = block
        .trim_start_matches("sql")
        .lines()
        .filter(|line| product == Product::Mysql || !line.ends_with("-- MySQL alone"));
    let sql: String = lines.filter_map(|line| line.split("--").next()).collect();
    let sql = sql.replace("daypass@'%'", "svc@'%'").replace("crm.", "shop.");
    let sql = sql.replace('…', Mysql::PASSWORD);
    match product {
        Product::MariaDb => sql,
        Product::Mysql => sql.replace("CONNECTION ADMIN", "CONNECTION_ADMIN"),
    }
}

#[tokio::test]
async fn what_the_readme_says_of_the_service_account_is_enough() {
    for product in products_available() {
        let server = super::server(product);
        let sql = readme(product);
        server.sql(&format!(
            "DROP DATABASE my_shop; DROP DATABASE myxshop; DROP USER svc@'%'; {sql}"
        ));
        let (_folder, store) = super::open_store();
        let catalogs = Catalogs::spawn(super::target(&server), super::HOUR);
        let settings = super::settings(&server);
        let lock = super::Lock::spawn(settings, store.follower(), catalogs.watch());
        let texts = ["READ ON DATABASE", "ADMIN ON SCHEMA shop"];
        super::grant_in(&store, "alice", &texts, super::HOUR).await;
        let (target, alice) = (super::target(&server), super::principal("alice"));
        let mut session = lock.connect(&target, &alice, &Startup::default()).await.unwrap();
        assert_eq!(try_run(&mut session, "CREATE TABLE shop.n (a int)").await, Ok(String::new()));
        let told = lock.progress().borrow().clone();
        assert!(told.failed.is_empty() && told.lacking.is_empty(), "{product:?} {told:?}");
        let found = check(&target, Some(&names()), "%").await.unwrap();
        assert_eq!(found, [], "{product:?}");
    }
}
