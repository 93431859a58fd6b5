//! Several at once, killed proxies, and roles that others have been at.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{Config, Daypass, Shell, eventually, psql, versions_available};
use crate::{House, entry, server};

/// Direct GRANTs of so many people to the same tables were measured to fail with "tuple concurrently
/// updated".
#[test]
fn fifty_people_at_once_get_in_while_others_change_the_same_tables() {
    const PEOPLE: usize = 50;
    for version in versions_available().into_iter().filter(|it| matches!(it.major, 15 | 18)) {
        let house = House::on(Some(version));
        let people: Vec<_> = (0..PEOPLE).map(|n| format!("p{n}")).collect();
        let tokens: Vec<_> = people.iter().map(|user| house.daypass.token(user)).collect();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let meddler = scope.spawn(|| {
                let env = house.server.env("postgres", "shop");
                let env: Vec<_> = env.iter().map(|(name, value)| (*name, &**value)).collect();
                while !done.load(Ordering::Relaxed) {
                    // It meets us as we meet it, and nobody tries again for it.
                    let text = "GRANT SELECT ON orders, customers TO PUBLIC; \
                                REVOKE SELECT ON orders, customers FROM PUBLIC";
                    psql(&["-c", text], &env);
                }
            });
            let sessions: Vec<_> = people
                .iter()
                .zip(&tokens)
                .enumerate()
                .map(|(n, (user, token))| {
                    let house = &house;
                    scope.spawn(move || {
                        let privilege = ["SELECT ON public.orders", "READ ON DATABASE"][n % 2];
                        house.daypass.grant(user, "shop", &[privilege]);
                        let text = "SELECT count(*) FROM orders";
                        house.daypass.psql(user, token, "shop", text).expect_success()
                    })
                })
                .collect();
            for session in sessions {
                assert_eq!(session.join().unwrap(), "100");
            }
            done.store(true, Ordering::Relaxed);
            meddler.join().unwrap();
        });
        let log = house.daypass.log();
        assert!(!log.contains("a step of the second lock failed"), "{log}");
        let sets = house.our_roles().into_iter().filter(|role| role.ends_with("_set")).count();
        assert_eq!(sets, 2);
    }
}

#[test]
fn somebody_who_sits_on_a_table_holds_up_nobody_elses_grant() {
    let house = House::new();
    let env = house.server.env("postgres", "shop");
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, &**value)).collect();
    let mut sitter = Shell::open(&env);
    sitter.run("BEGIN; GRANT UPDATE ON orders TO PUBLIC;");
    house.daypass.grant("pam", "shop", &["SELECT ON public.orders"]);
    house.daypass.grant("quin", "shop", &["SELECT ON public.customers"]);
    let token = house.daypass.token("quin");
    let output = house.daypass.psql("quin", &token, "shop", "SELECT count(*) FROM customers");
    assert_eq!(output.expect_success(), "1");
    let token = house.daypass.token("pam");
    let count = || house.daypass.psql("pam", &token, "shop", "SELECT count(*) FROM orders");
    count().expect_sqlstate("42501");
    sitter.run("ROLLBACK;");
    eventually("the grant to reach the table", || (count().stdout == "100").then_some(()));
}

#[test]
fn what_a_killed_proxy_left_behind_is_put_right_at_the_next_start() {
    let mut house = House::new();
    house.daypass.grant_for("ida", "shop", &["SELECT ON public.orders"], "1h");
    let short = house.daypass.grant_for("jan", "shop", &["SELECT ON public.customers"], "3s");
    for user in ["ida", "jan"] {
        let token = house.daypass.token(user);
        house.daypass.psql(user, &token, "shop", "SELECT 1").expect_success();
    }
    house.daypass.signal("KILL");
    house.daypass.wait_end();
    assert_eq!(house.memberships("jan"), "1");
    // Somebody has been at the roles meanwhile, and a grant has run out.
    let (ida, jan) = (house.role("ida"), house.role("jan"));
    house.server.sql(&format!(
        "ALTER ROLE \"{ida}\" CREATEDB VALID UNTIL 'infinity' PASSWORD 'known'; \
         ALTER ROLE \"{ida}\" SET search_path TO sales; CREATE ROLE strong; GRANT strong TO \"{ida}\"; \
         ALTER ROLE \"{jan}\" VALID UNTIL 'infinity'"
    ));
    house.server.sql_in("shop", &format!("GRANT DELETE ON customers TO \"{ida}\""));
    house.daypass.start_again();
    eventually("the second lock to be in line", || {
        let mut jan_ended = house.daypass.cli(&["grant", "show", &short]).stdout;
        jan_ended.retain(|c| !c.is_whitespace());
        (house.our_roles().len() == 2 && jan_ended.contains("expired")).then_some(())
    });
    let ida_now = house.server.sql(&format!(
        "SELECT rolcreatedb, rolvaliduntil < 'infinity', rolconfig IS NULL, \
         pg_has_role(oid, 'strong', 'MEMBER') FROM pg_roles WHERE rolname = '{ida}'"
    ));
    assert_eq!(ida_now, "f|t|t|f");
    house.past_the_proxy("ida", "DELETE FROM customers").expect_sqlstate("42501");
    assert_eq!(house.past_the_proxy("ida", "SELECT count(*) FROM orders").expect_success(), "100");
    let token = house.daypass.token("ida");
    let output = house.daypass.psql("ida", &token, "shop", "SELECT count(*) FROM orders");
    assert_eq!(output.expect_success(), "100");
}

#[test]
fn a_role_that_got_something_elsewhere_is_relieved_of_it_and_dropped() {
    for version in versions_available().into_iter().filter(|it| matches!(it.major, 15 | 18)) {
        let house = House::on(Some(version));
        let grant = house.daypass.grant("rob", "shop", &["SELECT ON public.orders"]);
        let token = house.daypass.token("rob");
        house.daypass.psql("rob", &token, "shop", "SELECT 1").expect_success();
        let role = house.role("rob");
        let set = house.our_roles().into_iter().find(|it| it.ends_with("_set")).unwrap();
        house.server.sql(&format!(
            "CREATE TABLE elsewhere (id int); ALTER TABLE elsewhere OWNER TO svc; \
             GRANT SELECT ON elsewhere TO \"{role}\", \"{set}\"; \
             CREATE TABLE his (id int); INSERT INTO his VALUES (7); ALTER TABLE his OWNER TO \"{role}\""
        ));
        house.daypass.revoke(&grant);
        eventually("the roles to go", || house.our_roles().is_empty().then_some(()));
        assert_eq!(house.server.sql("SELECT id FROM his"), "7");
        let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'his'";
        assert_eq!(house.server.sql(owner), "svc");
    }
}

#[test]
fn a_password_that_somebody_changed_does_not_keep_its_owner_out() {
    let house = House::new();
    house.daypass.grant("kai", "shop", &["SELECT ON public.orders"]);
    let token = house.daypass.token("kai");
    let count = || house.daypass.psql("kai", &token, "shop", "SELECT count(*) FROM orders");
    assert_eq!(count().expect_success(), "100");
    house.server.sql(&format!("ALTER ROLE \"{}\" PASSWORD 'known'", house.role("kai")));
    assert_eq!(count().expect_success(), "100");
    house.server.sql(&format!("ALTER ROLE \"{}\" NOLOGIN", house.role("kai")));
    assert_eq!(count().expect_success(), "100");
}

#[test]
fn two_databases_of_one_cluster_do_not_get_in_each_others_way() {
    let server = server(None);
    server.sql("CREATE DATABASE crm OWNER svc");
    server
        .sql_in("crm", "SET ROLE svc; CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)");
    let config = entry(Config::new(), "shop", &server, "svc", "shop");
    let daypass = Daypass::start(entry(config, "crm", &server, "svc", "crm"));
    let token = daypass.token("lin");
    let count =
        |database: &str| daypass.psql("lin", &token, database, "SELECT count(*) FROM orders");
    let in_shop = daypass.grant("lin", "shop", &["SELECT ON public.orders"]);
    daypass.grant("lin", "crm", &["SELECT ON public.orders"]);
    assert_eq!(count("shop").expect_success(), "100");
    assert_eq!(count("crm").expect_success(), "1");
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'daypass%'";
    assert_eq!(server.sql(roles), "4");
    daypass.revoke(&in_shop);
    eventually("the roles of shop to go", || (server.sql(roles) == "2").then_some(()));
    assert_eq!(count("crm").expect_success(), "1");
}

#[test]
fn no_password_is_in_the_servers_log() {
    let house = House::new();
    house.daypass.grant("moe", "shop", &["SELECT ON public.orders"]);
    let token = house.daypass.token("moe");
    house.daypass.psql("moe", &token, "shop", "SELECT 1").expect_success();
    let cluster = house.server.sql("SELECT system_identifier FROM pg_control_system()");
    let password = house.names().password(&cluster, &house.role("moe"));
    let (log, ours) = (house.server.log(), house.daypass.log());
    assert!(log.contains("PASSWORD 'SCRAM-SHA-256$4096:"), "{log}");
    for text in [log, ours] {
        assert!(!text.contains(password.expose_str().unwrap()) && !text.contains(&token));
    }
}

pub(crate) fn ready(daypass: &Daypass) -> String {
    let mut stream = UnixStream::connect(daypass.socket()).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_service_account_that_may_not_make_roles_is_told_so() {
    let server = server(None);
    server.sql("ALTER ROLE svc NOCREATEROLE");
    let daypass = Daypass::start(entry(Config::new(), "shop", &server, "svc", "shop"));
    daypass.grant("ned", "shop", &["SELECT ON public.orders"]);
    let token = daypass.token("ned");
    let count = || daypass.psql("ned", &token, "shop", "SELECT count(*) FROM orders");
    eventually("/readyz to say why not", || {
        let unready = ready(&daypass);
        (unready.contains(" 503 ") && unready.contains("ALTER ROLE")).then_some(())
    });
    let output = count();
    assert!(output.stderr.contains("FATAL:  the second lock of this database"), "{output:?}");
    assert!(daypass.log().contains("let a superuser run ALTER ROLE \"svc\" CREATEROLE"));
    server.sql("ALTER ROLE svc CREATEROLE");
    assert_eq!(count().expect_success(), "100");
    eventually("/readyz to be content", || ready(&daypass).contains(" 200 ").then_some(()));
}

#[test]
fn what_the_service_account_may_not_give_is_said_and_stops_nothing_else() {
    let house = House::new();
    house.server.sql_in("shop", "CREATE TABLE sales.foreign (id int)");
    house.daypass.grant("ole", "shop", &["READ ON SCHEMA sales"]);
    let token = house.daypass.token("ole");
    let sql = |text: &str| house.daypass.psql("ole", &token, "shop", text);
    assert_eq!(sql("SELECT count(*) FROM sales.leads").expect_success(), "0");
    sql("SELECT count(*) FROM sales.foreign").expect_sqlstate("42501");
    assert!(house.daypass.log().contains("SELECT ON sales.foreign"), "{}", house.daypass.log());
}
