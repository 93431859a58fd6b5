//! What somebody else has left of accounts is put right.

use super::{House, grants, names, try_run};
use crate::support::{Product, products_available};
use daypass::secret::Secret;
use daypass::upstream::mysql::accounts::names::Names;
use daypass::upstream::mysql::accounts::verifier::Plugin;
use daypass::upstream::mysql::{Host, Startup, Target, connect};

/// One after the other at the same server, each with a principal of its own.
#[tokio::test]
async fn what_others_have_done_is_put_right() {
    for product in products_available() {
        let house = House::new(product);
        what_was_done_to_an_account_is_undone(&house).await;
        a_login_that_somebody_has_closed_is_opened_without_waiting_for_a_look(&house).await;
        an_account_of_the_same_name_that_comes_before_ours_goes(&house).await;
        somebody_elses_account_is_not_taken_for_ours(&house).await;
        what_the_service_account_may_not_take_by_itself_goes_with_everything(&house).await;
        what_the_service_account_may_not_give_is_said_until_it_may(&house).await;
        an_account_whose_rights_others_use_stays_closed(&house).await;
        accounts_of_other_entries_and_keys_are_left_alone(&house).await;
    }
}

/// What an administrator may have done to an account, named `{}` here.
const DONE: [&str; 10] = [
    "GRANT INSERT ON shop.t TO {}",
    "GRANT SUPER, PROCESS ON *.* TO {}",
    "GRANT SELECT ON `my_shop`.* TO {}",
    "GRANT SELECT ON shop.t TO {} WITH GRANT OPTION",
    "REVOKE SELECT ON shop.t FROM {}",
    "ALTER USER {} ACCOUNT LOCK",
    "ALTER USER {} PASSWORD EXPIRE",
    "ALTER USER {} REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 1",
    "ALTER USER {} IDENTIFIED BY 'another'",
    "DROP USER {}",
];

const OF_MARIADB: [&str; 4] = [
    "CREATE ROLE strong; GRANT SELECT ON shop.u TO strong; GRANT strong TO {}; \
     SET DEFAULT ROLE strong FOR {}",
    "GRANT PROXY ON root@localhost TO {}",
    "ALTER USER {} IDENTIFIED VIA mysql_native_password USING PASSWORD('a') OR unix_socket",
    "ALTER USER {} WITH MAX_STATEMENT_TIME 0.001",
];

const OF_MYSQL: [&str; 5] = [
    "CREATE ROLE strong; GRANT SELECT ON shop.u TO strong; GRANT strong TO {}; \
     SET DEFAULT ROLE strong TO {}",
    "GRANT {} TO svc@'%'",
    "ALTER USER {} IDENTIFIED BY 'another' RETAIN CURRENT PASSWORD",
    "ALTER USER {} FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME UNBOUNDED",
    "GRANT BACKUP_ADMIN ON *.* TO {}",
];

async fn what_was_done_to_an_account_is_undone(house: &House) {
    let product = house.server.product();
    house.grant("ann", &["SELECT ON shop.t"]).await;
    let account = house.account("ann");
    let quoted = format!("`{account}`@`%`");
    let described = || {
        let sql = match product {
            Product::MariaDb => format!(
                "SELECT JSON_REMOVE(priv, '$.password_last_changed') FROM mysql.global_priv \
                 WHERE user = '{account}'"
            ),
            Product::Mysql => format!(
                "SELECT host, plugin, authentication_string, ssl_type, max_questions, \
                 account_locked, password_expired, password_lifetime, user_attributes \
                 FROM mysql.user WHERE user = '{account}'"
            ),
        };
        (house.server.sql(&sql), grants(&house.server, &account))
    };
    let right = described();
    let more = match product {
        Product::MariaDb => &OF_MARIADB[..],
        Product::Mysql => &OF_MYSQL,
    };
    for done in DONE.iter().chain(more) {
        house.server.sql(&done.replace("{}", &quoted));
        house.look().await;
        assert_eq!(house.accounts_of("ann"), [(format!("{account}@%"), false)], "{done}");
        assert_eq!(described(), right, "{done}");
        let mut session = house.connect("ann").await.unwrap();
        assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
        for sql in ["SELECT id FROM shop.u", "INSERT INTO shop.t VALUES (2, 2)"] {
            assert_eq!(try_run(&mut session, sql).await, Err(1142), "{done} {sql}");
        }
    }
}

async fn a_login_that_somebody_has_closed_is_opened_without_waiting_for_a_look(house: &House) {
    house.grant("ben", &["SELECT ON shop.t"]).await;
    let quoted = format!("`{}`@`%`", house.account("ben"));
    for done in ["ALTER USER {} ACCOUNT LOCK", "ALTER USER {} IDENTIFIED BY 'another'"] {
        house.server.sql(&done.replace("{}", &quoted));
        let mut session = house.connect("ben").await.unwrap();
        assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
    }
}

async fn an_account_of_the_same_name_that_comes_before_ours_goes(house: &House) {
    house.grant("cleo", &["SELECT ON shop.t"]).await;
    let account = house.account("cleo");
    house.server.sql(&format!(
        "CREATE USER `{account}`@localhost; GRANT ALL ON shop.* TO `{account}`@localhost"
    ));
    house.look().await;
    assert_eq!(house.accounts_of("cleo"), [(format!("{account}@%"), false)]);
    // One that nobody could have known of: an operator hears it from the check.
    house.server.sql("CREATE USER ''@localhost");
    let refused = house.connect("cleo").await.unwrap_err().to_string();
    assert!(refused.contains("1045"), "{refused}");
    house.server.sql("DROP USER ''@localhost");
    house.connect("cleo").await.unwrap();
}

async fn somebody_elses_account_is_not_taken_for_ours(house: &House) {
    let product = house.server.product();
    house.grant("dora", &["SELECT ON shop.t"]).await;
    let account = house.account("dora");
    let password = names().password(&account);
    // It would let anybody in, and whoever logs in from here is taken for it.
    let anyone = match product {
        Product::MariaDb => "IDENTIFIED VIA mysql_native_password USING",
        Product::Mysql => "IDENTIFIED WITH caching_sha2_password AS",
    };
    let plugin = match product {
        Product::MariaDb => Plugin::Native,
        Product::Mysql => Plugin::CachingSha2,
    };
    let verifier = names().verifier(plugin, &account);
    house.server.sql(&format!("CREATE USER `{account}`@localhost {anyone} '{verifier}'"));
    let own = Target::new(Host::Unix(house.server.socket()), &account, None)
        .with_password(Some(password));
    let mut past = connect(&own, &Startup::default()).await.unwrap();
    let whose = try_run(&mut past, "SELECT CURRENT_USER()").await;
    assert_eq!(whose, Ok(format!("{account}@localhost")));
    let refused = house.connect("dora").await.unwrap_err().to_string();
    assert!(refused.contains(&format!("takes {account}@% for {account}@localhost")), "{refused}");
}

async fn what_the_service_account_may_not_take_by_itself_goes_with_everything(house: &House) {
    house.grant("ed", &["SELECT ON shop.t"]).await;
    let account = house.account("ed");
    house.server.sql(&format!(
        "REVOKE INSERT ON *.* FROM svc@'%'; GRANT INSERT ON shop.t TO `{account}`@'%'"
    ));
    house.end_service_sessions();
    house.look().await;
    assert_eq!(grants(&house.server, &account), ["GRANT SELECT ON `shop`.`t`"]);
    let mut session = house.connect("ed").await.unwrap();
    assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
    assert_eq!(try_run(&mut session, "INSERT INTO shop.t VALUES (2, 2)").await, Err(1142));
    house.server.sql("GRANT INSERT ON *.* TO svc@'%'");
}

async fn what_the_service_account_may_not_give_is_said_until_it_may(house: &House) {
    house.server.sql("REVOKE DELETE ON *.* FROM svc@'%'");
    house.end_service_sessions();
    house.grant("fay", &["SELECT, DELETE ON shop.t"]).await;
    let mut session = house.connect("fay").await.unwrap();
    assert_eq!(try_run(&mut session, "SELECT id FROM shop.t").await, Ok("1".into()));
    assert_eq!(try_run(&mut session, "DELETE FROM shop.u").await, Err(1142));
    let lacking = house.lock.progress().borrow().lacking.to_vec();
    let mends: Vec<_> = lacking.iter().filter_map(|it| it.mend.as_deref()).collect();
    assert_eq!(mends, ["GRANT DELETE ON `shop`.`t` TO `svc`@`%` WITH GRANT OPTION;"]);
    house.server.sql(mends[0]);
    house.look().await;
    assert!(house.lock.progress().borrow().lacking.is_empty());
    assert_eq!(try_run(&mut session, "DELETE FROM shop.t WHERE id = 7").await, Ok(String::new()));
}

async fn an_account_whose_rights_others_use_stays_closed(house: &House) {
    let privileges = ["SELECT ON shop.t", "CREATE VIEW ON SCHEMA shop"];
    let grant = house.grant("gus", &privileges).await;
    let mut session = house.connect("gus").await.unwrap();
    try_run(&mut session, "CREATE VIEW shop.v AS SELECT id FROM shop.t").await.unwrap();
    drop(session);
    house.revoke(&grant).await;
    house.wait_until_nobody_is_there().await;
    house.sweep().await;
    assert_eq!(house.accounts_of("gus"), [(format!("{}@%", house.account("gus")), true)]);
    house.server.sql("DROP VIEW shop.v");
    house.sweep().await;
    assert_eq!(house.accounts_of("gus"), []);
}

async fn accounts_of_other_entries_and_keys_are_left_alone(house: &House) {
    let key = Secret::new("another key of thirty-two bytes.");
    let theirs = Names::new(&key, "shop").account("hal");
    house.server.sql(&format!("CREATE USER `{theirs}`@'%'; CREATE USER daypass_odd@'%'"));
    house.sweep().await;
    let all = house.accounts();
    let there = |name: &str| all.contains(&(format!("{name}@%"), false));
    assert!(there(&theirs) && there("daypass_odd"), "{all:?}");
}
