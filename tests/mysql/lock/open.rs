//! What open sessions see of changed rights, and when.

use daypass::upstream::lock::{Due, Stamp};
use daypass::upstream::mysql::Startup;

use super::{House, principal, target, try_run};
use crate::support::{Product, products_available};

/// One after the other at the same server, each with a principal of its own.
#[tokio::test]
async fn open_sessions_see_changed_rights_as_the_manual_says() {
    for product in products_available() {
        let house = House::new(product);
        rights_on_the_default_database_are_seen_at_its_next_use(&house).await;
        rights_on_a_database_that_is_not_the_default_are_seen_at_once(&house).await;
        rights_on_everything_are_seen_at_the_next_login(&house).await;
        levels_reach_each_database_but_the_servers_own_and_new_ones_as_they_come(&house).await;
        names_of_databases_are_no_patterns_whatever_the_server_takes_them_for(&house).await;
    }
}

fn due(house: &House, user: &str, seen: Stamp) -> Due {
    house.lock.progress().borrow().due(&house.account(user), seen)
}

fn stamp(house: &House, user: &str) -> Stamp {
    house.lock.progress().borrow().stamp(&house.account(user))
}

async fn rights_on_the_default_database_are_seen_at_its_next_use(house: &House) {
    const READ: &str = "SELECT id FROM u";
    let product = house.server.product();
    let narrow = house.grant("ann", &["SELECT ON shop.t"]).await;
    let (target, ann) = (target(&house.server), principal("ann"));
    let startup = Startup::default();
    let (mut session, seen) = house.lock.connect_seeing(&target, &ann, &startup).await.unwrap();
    try_run(&mut session, "USE shop").await.unwrap();
    assert_eq!(due(house, "ann", seen), Due::Nothing);
    assert_eq!(try_run(&mut session, READ).await, Err(1142));
    // Rights on a table are seen at once, and nothing is due.
    let table = house.grant("ann", &["SELECT ON shop.u"]).await;
    assert_eq!(due(house, "ann", seen), Due::Nothing);
    assert_eq!(try_run(&mut session, READ).await, Ok("1".into()));
    house.revoke(&table).await;
    assert_eq!(due(house, "ann", seen), Due::Nothing);
    assert_eq!(try_run(&mut session, READ).await, Err(1142));
    // Those on the database are not.
    let wide = house.grant("ann", &["READ ON SCHEMA shop"]).await;
    assert_eq!(try_run(&mut session, READ).await, Err(1142), "{product:?}");
    assert_eq!(due(house, "ann", seen), Due::Use);
    let seen = stamp(house, "ann");
    try_run(&mut session, "USE shop").await.unwrap();
    assert_eq!(try_run(&mut session, READ).await, Ok("1".into()));
    assert_eq!(due(house, "ann", seen), Due::Nothing);
    // Nor is it seen that they have gone.
    house.revoke(&wide).await;
    assert_eq!(try_run(&mut session, READ).await, Ok("1".into()), "{product:?}");
    assert_eq!(due(house, "ann", seen), Due::Use);
    let seen = stamp(house, "ann");
    try_run(&mut session, "USE shop").await.unwrap();
    assert_eq!(try_run(&mut session, READ).await, Err(1142));
    // Without any right on the database, another has to take its place.
    let wide = house.grant("ann", &["READ ON SCHEMA shop"]).await;
    assert_eq!(due(house, "ann", seen), Due::Use);
    let seen = stamp(house, "ann");
    try_run(&mut session, "USE shop").await.unwrap();
    house.revoke(&narrow).await;
    house.revoke(&wide).await;
    assert_eq!(due(house, "ann", seen), Due::Use);
    assert_eq!(try_run(&mut session, "USE shop").await, Err(1044));
    assert_eq!(try_run(&mut session, READ).await, Ok("1".into()), "{product:?}");
    try_run(&mut session, "USE information_schema").await.unwrap();
    assert_eq!(try_run(&mut session, "SELECT id FROM shop.u").await, Err(1142));
}

async fn rights_on_a_database_that_is_not_the_default_are_seen_at_once(house: &House) {
    const READ: &str = "SELECT id FROM shop.u";
    let product = house.server.product();
    house.grant("ben", &["SELECT ON my_shop.t"]).await;
    let mut session = house.connect("ben").await.unwrap();
    try_run(&mut session, "USE my_shop").await.unwrap();
    let wide = house.grant("ben", &["READ ON SCHEMA shop"]).await;
    assert_eq!(try_run(&mut session, READ).await, Ok("1".into()), "{product:?}");
    house.revoke(&wide).await;
    assert_eq!(try_run(&mut session, READ).await, Err(1142), "{product:?}");
}

async fn rights_on_everything_are_seen_at_the_next_login(house: &House) {
    const SEE: &str = "SHOW ENGINE INNODB STATUS";
    let product = house.server.product();
    house.grant("cleo", &["SELECT ON shop.t"]).await;
    let (target, cleo) = (target(&house.server), principal("cleo"));
    let startup = Startup::default();
    let connect = || house.lock.connect_seeing(&target, &cleo, &startup);
    let (mut before, seen) = connect().await.unwrap();
    let grant = house.grant("cleo", &["PROCESS ON DATABASE"]).await;
    assert_eq!(due(house, "cleo", seen), Due::LogIn);
    assert_eq!(try_run(&mut before, SEE).await, Err(1227), "{product:?}");
    let (mut during, seen) = connect().await.unwrap();
    assert_eq!(due(house, "cleo", seen), Due::Nothing);
    try_run(&mut during, SEE).await.unwrap();
    house.revoke(&grant).await;
    assert_eq!(due(house, "cleo", seen), Due::LogIn);
    try_run(&mut during, SEE).await.unwrap();
    let (mut after, _) = connect().await.unwrap();
    assert_eq!(try_run(&mut after, SEE).await, Err(1227));
}

async fn levels_reach_each_database_but_the_servers_own_and_new_ones_as_they_come(house: &House) {
    let product = house.server.product();
    house.grant("dora", &["READ ON DATABASE"]).await;
    house.grant("ed", &["READ ON SCHEMA my_shop"]).await;
    let mut dora = house.connect("dora").await.unwrap();
    let mut ed = house.connect("ed").await.unwrap();
    for sql in ["SELECT id FROM shop.t", "SELECT COUNT(*) FROM myxshop.t"] {
        try_run(&mut dora, sql).await.unwrap();
        assert_eq!(try_run(&mut ed, sql).await, Err(1142), "{product:?} {sql}");
    }
    try_run(&mut ed, "SELECT COUNT(*) FROM my_shop.t").await.unwrap();
    assert_eq!(try_run(&mut dora, "SELECT * FROM mysql.user").await, Err(1142));
    let seen = stamp(house, "dora");
    house.server.sql("CREATE DATABASE later; CREATE TABLE later.t (id int)");
    assert_eq!(try_run(&mut dora, "SELECT * FROM later.t").await, Err(1142));
    let catalog = house.lock.refresh(&house.catalogs).await.unwrap();
    assert!(catalog.databases.contains_key("later"));
    assert_eq!(try_run(&mut dora, "SELECT * FROM later.t").await, Ok(String::new()));
    assert_eq!(due(house, "dora", seen), Due::Use);
    // One that goes and comes again is another.
    house.server.sql("DROP DATABASE later");
    house.lock.refresh(&house.catalogs).await.unwrap();
    house.server.sql("CREATE DATABASE later; CREATE TABLE later.t (id int)");
    house.lock.refresh(&house.catalogs).await.unwrap();
    try_run(&mut dora, "SELECT * FROM later.t").await.unwrap();
}

async fn names_of_databases_are_no_patterns_whatever_the_server_takes_them_for(house: &House) {
    let product = house.server.product();
    house.grant("fay", &["READ ON SCHEMA my_shop"]).await;
    let mut fay = house.connect("fay").await.unwrap();
    try_run(&mut fay, "SELECT * FROM my_shop.t").await.unwrap();
    assert_eq!(try_run(&mut fay, "SELECT * FROM myxshop.t").await, Err(1142));
    if product == Product::Mysql {
        house.server.sql("SET GLOBAL partial_revokes = ON");
        house.grant("fay", &["SELECT ON shop.t"]).await;
        try_run(&mut fay, "SELECT * FROM my_shop.t").await.unwrap();
        assert_eq!(try_run(&mut fay, "SELECT * FROM myxshop.t").await, Err(1142));
    }
}
