//! What the server allows a principal's role.

use crate::House;
use crate::support::eventually;

#[test]
fn the_server_allows_what_the_grant_says_and_refuses_the_rest_itself() {
    let house = House::new();
    let privileges = ["SELECT (id, status), UPDATE (status) ON public.orders"];
    house.daypass.grant("ada", "shop", &privileges);
    let token = house.daypass.token("ada");
    let sql = |text: &str| house.daypass.psql("ada", &token, "shop", text);
    assert_eq!(sql("SELECT count(id) FROM orders").expect_success(), "100");
    sql("UPDATE orders SET status = 'sent' WHERE id = 7").expect_success();

    let role = house.role("ada");
    assert_eq!(sql("SELECT current_user").expect_success(), role);
    assert!(role.starts_with("daypass_ada_"), "{role}");
    let past = |text: &str| house.past_the_proxy("ada", text);
    assert_eq!(past("SELECT status FROM orders WHERE id = 7").expect_success(), "sent");
    for refused in [
        "SELECT total FROM orders",
        "SELECT count(*) FROM customers",
        "SELECT count(*) FROM sales.leads",
        "DELETE FROM orders",
        "UPDATE orders SET total = 0",
        "SELECT nextval('orders_id_seq')",
        "SELECT rolpassword FROM pg_authid",
        "CREATE TABLE public.mine (id int)",
        "ALTER TABLE orders ADD COLUMN more int",
        "CREATE ROLE other",
        "SET ROLE svc",
        "SELECT pg_read_file('/etc/passwd')",
    ] {
        past(refused).expect_sqlstate("42501");
    }
    let record = house.daypass.wait_audit("the update", |it| it["class"] == "WRITE");
    assert_eq!(record["second-lock"], "role");
}

#[test]
fn grants_that_say_the_same_share_one_role_and_a_person_has_the_union() {
    let house = House::new();
    for user in ["bea", "cem"] {
        house.daypass.grant(user, "shop", &["READ ON SCHEMA sales", "SELECT ON public.orders"]);
    }
    house.daypass.grant("cem", "shop", &["SELECT ON public.customers"]);
    for user in ["bea", "cem"] {
        let token = house.daypass.token(user);
        let output = house.daypass.psql(user, &token, "shop", "SELECT count(*) FROM sales.leads");
        assert_eq!(output.expect_success(), "0");
    }
    let roles = house.our_roles();
    assert_eq!(roles.iter().filter(|role| role.ends_with("_set")).count(), 2, "{roles:?}");
    assert_eq!(house.past_the_proxy("cem", "SELECT id FROM customers").expect_success(), "1");
    house.past_the_proxy("bea", "SELECT id FROM customers").expect_sqlstate("42501");
}

#[test]
fn levels_reach_relations_that_are_made_later() {
    let house = House::new();
    house.daypass.grant("dan", "shop", &["READ ON SCHEMA sales"]);
    let token = house.daypass.token("dan");
    let mut session = house.daypass.open_psql("dan", &token, "shop");
    assert_eq!(session.run("SELECT count(*) FROM sales.leads;").stdout, "0");
    house.server.sql_in("shop", "SET ROLE svc; CREATE TABLE sales.won AS SELECT 1 AS id");
    // The proxy may not know the name yet; once it does, the server's own refusal must not be met.
    eventually("the new relation to be known", || {
        let output = session.run("SELECT count(*) FROM sales.won;");
        if output.stdout == "1" {
            return Some(());
        }
        assert!(!output.stderr.contains("permission denied for"), "{output:?}");
        None
    });
    // One of the same name and columns is another relation with no rights yet.
    house
        .server
        .sql_in("shop", "DROP TABLE sales.won; SET ROLE svc; CREATE TABLE sales.won (id int)");
    eventually("the relation that took its place to be readable", || {
        (session.run("SELECT count(*) FROM sales.won;").stdout == "0").then_some(())
    });
    house.past_the_proxy("dan", "SELECT count(*) FROM orders").expect_sqlstate("42501");
}

#[test]
fn what_owners_do_is_refused_and_a_role_does_not_alter_itself() {
    let house = House::new();
    house.daypass.grant("eva", "shop", &["ADMIN ON DATABASE"]);
    let token = house.daypass.token("eva");
    let role = house.role("eva");
    for refused in [
        "CREATE TABLE mine (id int)".to_owned(),
        "ALTER TABLE orders ADD COLUMN more int".into(),
        "DROP TABLE orders".into(),
        format!("ALTER ROLE \"{role}\" SET search_path TO sales"),
        format!("ALTER ROLE \"{role}\" VALID UNTIL 'infinity'"),
        "GRANT SELECT ON orders TO PUBLIC".into(),
    ] {
        let output = house.daypass.psql("eva", &token, "shop", &refused);
        output.expect_sqlstate("0A000");
        assert!(output.stderr.contains("ddl-owner"), "{output:?}");
    }
    let count = house.daypass.psql("eva", &token, "shop", "SELECT count(*) FROM sales.leads");
    assert_eq!(count.expect_success(), "0");
    house.daypass.psql("eva", &token, "shop", "TRUNCATE orders").expect_success();
    // Passwords are refused before anything else.
    let password = format!("ALTER ROLE \"{role}\" PASSWORD 'mine'");
    house.daypass.psql("eva", &token, "shop", &password).expect_sqlstate("0A000");
    let log = house.server.log();
    assert!(!log.contains("'mine'") && !log.contains("TO sales"), "no ALTER ROLE has reached it");
}
