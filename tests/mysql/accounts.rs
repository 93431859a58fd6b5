//! Rights that grants ask for, given to accounts of a real MariaDB and a real MySQL.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Mysql, products_available};
use daypass::grant::privilege::{Privilege, parse_stored};
use daypass::secret::Secret;
use daypass::upstream::Catalogs;
use daypass::upstream::mysql::accounts::names::Names;
use daypass::upstream::mysql::accounts::observe::held;
use daypass::upstream::mysql::accounts::rights::{
    Ground, Right, SchemaNames, Verb, by_statement, statement, wanted,
};
use daypass::upstream::mysql::{Host, Startup, Target, connect, query};

/// What is granted, what it lets the account do, and what not.
const STEPS: [(&[&str], &[&str], &[&str]); 7] = [
    (
        &["SELECT (ID), UPDATE (b) ON my_shop.t"],
        &["SELECT id FROM my_shop.t", "UPDATE my_shop.t SET b = 1"],
        &["SELECT b FROM my_shop.t", "UPDATE my_shop.t SET id = 1"],
    ),
    (
        &["READ ON SCHEMA my_shop", "EXECUTE ON PROCEDURE my_shop.P"],
        &["SELECT * FROM my_shop.t", "CALL my_shop.p()", "SHOW CREATE VIEW my_shop.v"],
        &["INSERT INTO my_shop.t VALUES (1, 2)", "SELECT * FROM myxshop.t", "SELECT my_shop.f()"],
    ),
    (
        &["WRITE ON my_shop.t", "EXECUTE ON FUNCTION my_shop.f()"],
        &["INSERT INTO my_shop.t VALUES (1, 2)", "DELETE FROM my_shop.t", "SELECT my_shop.f()"],
        &["DROP TABLE my_shop.t", "CALL my_shop.p()", "SELECT * FROM my_shop.v"],
    ),
    (
        &["SELECT ON my_shop.gone", "SELECT ON my_shop.t"],
        &["SELECT * FROM my_shop.t"],
        &["INSERT INTO my_shop.t VALUES (1, 2)"],
    ),
    (
        &["PROCESS, RELOAD ON DATABASE"],
        &["FLUSH PRIVILEGES"],
        &["SELECT * FROM my_shop.t", "CREATE DATABASE d"],
    ),
    (
        &["ADMIN ON SCHEMA my_shop"],
        &["CREATE TABLE my_shop.n (a int)", "DROP TABLE my_shop.n", "CALL my_shop.p()"],
        &["SELECT * FROM myxshop.t", "CREATE USER other@localhost"],
    ),
    (&[], &[], &["SELECT * FROM my_shop.t", "SELECT * FROM myxshop.t", "CALL my_shop.p()"]),
];

fn privileges(texts: &[&str]) -> Vec<Privilege> {
    texts.iter().map(|text| parse_stored(text).unwrap()).collect()
}

fn between<'r>(verb: Verb, account: &str, rights: impl Iterator<Item = &'r Right>) -> Vec<String> {
    let groups = by_statement(rights);
    groups.iter().map(|it| statement(verb, account, it, SchemaNames::Patterns)).collect()
}

#[tokio::test]
async fn an_account_can_do_what_the_grant_says_and_nothing_else_from_step_to_step() {
    for server in products_available().into_iter().map(Mysql::start) {
        let account = Names::new(&Secret::new("k".repeat(32)), "shop").account("alice");
        server.sql(&format!(
            "CREATE DATABASE my_shop; CREATE DATABASE myxshop; CREATE TABLE myxshop.t (a int);
            CREATE TABLE my_shop.t (Id int, b int); CREATE VIEW my_shop.v AS SELECT id FROM my_shop.t;
            CREATE PROCEDURE my_shop.p() SET @x = 1;
            CREATE FUNCTION my_shop.f() RETURNS int DETERMINISTIC RETURN 1;
            CREATE USER `{account}`@localhost"
        ));
        let target = |user: &str| Target::new(Host::Unix(server.socket()), user, None);
        let mut root = connect(&target("root"), &Startup::default()).await.unwrap();
        let catalogs = Catalogs::spawn(target("root"), Duration::from_hours(1));
        let names = SchemaNames::Patterns;
        for (texts, may, may_not) in STEPS {
            let catalog = catalogs.refresh().await.unwrap();
            let ground = Ground { catalog: &catalog, folds: false };
            let wanted = wanted(&privileges(texts), ground);
            let before = held(&mut root, &account, "localhost", names).await.unwrap();
            let quoted = format!("`{account}`@`localhost`");
            let taken = between(Verb::Revoke, &quoted, before.rights.difference(&wanted));
            let given = between(Verb::Grant, &quoted, wanted.difference(&before.rights));
            for sql in taken.into_iter().chain(given) {
                query(&mut root, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            let after = held(&mut root, &account, "localhost", names).await.unwrap();
            assert_eq!((after.rights, after.foreign), (wanted, vec![]), "{texts:?}");
            let mut session = connect(&target(&account), &Startup::default()).await.unwrap();
            for sql in may {
                query(&mut session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            for sql in may_not {
                let error = query(&mut session, sql).await.expect_err(sql).to_string();
                assert!(error.contains("denied"), "{texts:?} {sql}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn what_none_of_ours_may_hold_is_told_apart() {
    for server in products_available().into_iter().map(Mysql::start) {
        server.sql(
            "CREATE TABLE shop.t (a int); CREATE USER x@localhost;
            GRANT SELECT ON `sh_p`.* TO x@localhost;
            GRANT INSERT ON shop.t TO x@localhost WITH GRANT OPTION;
            GRANT CREATE USER ON *.* TO x@localhost",
        );
        let target = Target::new(Host::Unix(server.socket()), "root", None);
        let mut root = connect(&target, &Startup::default()).await.unwrap();
        let found = held(&mut root, "x", "localhost", SchemaNames::Patterns).await.unwrap();
        assert_eq!(found.rights, BTreeSet::new());
        let mut foreign = found.foreign;
        foreign.sort();
        assert_eq!(foreign, ["CREATE USER   ", "INSERT shop t ", "SELECT sh_p  "]);
    }
}
