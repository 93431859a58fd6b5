//! Several proxies on one store, one key of roles and one server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use daypass::secret::Secret;
use daypass::upstream::roles::names::Names;

use crate::support::{Config, Daypass, Postgres, eventually, psql};
use crate::{entry, server};

/// Whatever proxies share.
struct Houses {
    server: Postgres,
    store: Postgres,
}

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Houses {
    fn new() -> Self {
        let store = Postgres::start(crate::Options {
            hba: vec!["host all keeper 127.0.0.1/32 scram-sha-256".to_owned()],
            ..crate::Options::default()
        });
        store.sql("CREATE ROLE keeper LOGIN PASSWORD 'keepers own'");
        store.sql("CREATE DATABASE store OWNER keeper");
        Self { server: server(None), store }
    }

    fn config(&self, more: &str) -> Config {
        self.config_as("keeper", more)
    }

    fn config_as(&self, keeper: &str, more: &str) -> Config {
        let url = self.store.url(keeper, "store");
        let store = format!("url = \"{url}\"\npassword-file = \"store.password\"\n{more}");
        entry(Config::new(), "shop", &self.server, "svc", "shop")
            .store(&store)
            .file("store.password", "keepers own")
            .file("daypass-role.key", KEY)
    }

    fn proxy(&self) -> Daypass {
        Daypass::start(self.config(""))
    }

    /// Two that start at once, on an empty store the first time.
    fn two(&self) -> [Daypass; 2] {
        thread::scope(|scope| {
            let starting = [(); 2].map(|()| scope.spawn(|| self.proxy()));
            starting.map(|proxy| proxy.join().unwrap())
        })
    }

    fn our_roles(&self) -> Vec<String> {
        let names = Names::new(&Secret::new(KEY), "shop", "shop");
        let roles = self.server.sql("SELECT rolname FROM pg_roles ORDER BY 1");
        let ours = |role: &&str| names.is_login(role) || names.is_set(role);
        roles.lines().filter(ours).map(str::to_owned).collect()
    }

    /// Objects of the database that still name a role of ours, or one that is gone.
    fn rights_left(&self) -> String {
        self.server.sql_in(
            "shop",
            "SELECT count(*) FROM pg_class, aclexplode(relacl) a \
             LEFT JOIN pg_roles r ON r.oid = a.grantee \
             WHERE a.grantee <> 0 AND (r.rolname LIKE 'daypass%' OR r.rolname IS NULL)",
        )
    }

    fn wait_until_nothing_is_left(&self) {
        eventually("the roles to go", || self.our_roles().is_empty().then_some(()));
        assert_eq!(self.rights_left(), "0");
    }
}

#[test]
fn what_counts_at_one_counts_at_the_other_at_once() {
    let houses = Houses::new();
    let [a, b] = houses.two();
    let token = a.token("una");
    let grant = a.grant("una", "shop", &["SELECT ON public.orders"]);
    let mut session = b.open_psql("una", &token, "shop");
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
    // In an open session, too, and by whichever was asked.
    let more = b.grant("una", "shop", &["SELECT ON public.customers"]);
    let there = || a.psql("una", &token, "shop", "SELECT count(*) FROM customers");
    eventually("the grant to count there", || (there().stdout == "1").then_some(()));
    session.send("SELECT pg_sleep(600), id FROM orders;");
    houses.server_runs("pg_sleep");
    a.revoke(&grant);
    let output = session.finish();
    assert!(output.stderr.contains(&format!("grant {grant} was revoked")), "{output:?}");
    b.psql("una", &token, "shop", "SELECT count(*) FROM orders").expect_sqlstate("42501");
    a.psql("una", &token, "shop", "SELECT count(*) FROM orders").expect_sqlstate("42501");
    // Each record of an ending once, at whichever noticed.
    a.revoke(&more);
    let short = a.grant_for("una", "shop", &["SELECT ON public.orders"], "2s");
    let expired = || {
        let records = [a.audit(), b.audit()].concat();
        let of = |record: &&serde_json::Value| {
            record["event"] == "expired" && record["grants"][0] == *short
        };
        records.iter().filter(of).count()
    };
    eventually("the expiry to be recorded", || (expired() > 0).then_some(()));
    // A purge of each has gone by since, when it is over.
    let later = a.grant_for("una", "shop", &["SELECT ON public.orders"], "2s");
    eventually("another expiry", || {
        let known = a.cli(&["grant", "show", &later]).stdout;
        known.contains("expired").then_some(())
    });
    assert_eq!(expired(), 1);
    drop(session);
    houses.wait_until_nothing_is_left();
    let ours = [a.log(), b.log()].concat();
    assert!(!ours.contains("keepers own") && !ours.contains(&token), "{ours}");
    assert!(!houses.store.log().contains(&token));
}

impl Houses {
    fn server_runs(&self, what: &str) {
        let running = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
             AND query LIKE '%{what}%' AND pid <> pg_backend_pid()"
        );
        eventually("the statement to run", || (self.server.sql(&running) != "0").then_some(()));
    }
}

#[test]
fn a_request_made_at_one_is_approved_at_the_other() {
    let houses = Houses::new();
    let [a, b] = houses.two();
    let token = a.token("ray");
    let mut session = a.open_psql("ray", &token, "shop");
    let asked = session.run("CALL daypass.request('SELECT ON public.orders', '1 hour', 'why');");
    let request = crate::support::id_in(&asked.stdout, "r_");
    b.cli(&["approve", &request]).expect_success();
    assert!(!a.cli(&["approve", &request]).stderr.is_empty());
    eventually("the grant to count in the session", || {
        (session.run("SELECT count(*) FROM orders;").stdout == "100").then_some(())
    });
}

#[test]
fn of_a_proxy_that_is_killed_while_it_provisions_nothing_stays() {
    let houses = Houses::new();
    let [mut a, b] = houses.two();
    let people: Vec<_> = (0..12).map(|n| format!("p{n}")).collect();
    thread::scope(|scope| {
        for user in &people {
            let a = &a;
            // The last of them meet a proxy that is gone.
            scope.spawn(move || {
                let privileges = ["SELECT ON public.orders", "READ ON DATABASE"];
                for privilege in privileges {
                    let args = ["grant", "create", "--user", user, "--database", "shop"];
                    let more = ["--for", "1h", "--reason", "a test", "--privilege", privilege];
                    a.cli(&[&args[..], &more[..]].concat());
                }
            });
        }
        eventually("roles to be made", || (!houses.our_roles().is_empty()).then_some(()));
        a.signal("KILL");
    });
    a.wait_end();
    // The other has them all, and lets everybody in who has one.
    let listed = b.cli(&["grant", "list", "--output", "json"]).expect_success();
    let holder = people.iter().find(|user| listed.contains(&format!("\"{user}\""))).unwrap();
    let token = b.token(holder);
    let output = b.psql(holder, &token, "shop", "SELECT count(*) FROM orders");
    assert_eq!(output.expect_success(), "100");
    let mut rest = &*listed;
    while let Some(at) = rest.find("\"g_") {
        let id = &rest[at + 1..at + 15];
        rest = &rest[at + 15..];
        b.cli(&["grant", "revoke", id]);
    }
    houses.wait_until_nothing_is_left();
}

#[test]
fn a_proxy_that_is_cut_off_from_the_store_undoes_nothing_of_the_others() {
    let houses = Houses::new();
    let a = houses.proxy();
    houses.store.sql("CREATE ROLE other LOGIN IN ROLE keeper");
    let b = Daypass::start(houses.config_as("other", ""));
    let token = b.token("wim");
    b.grant("wim", "shop", &["SELECT ON public.orders"]);
    let mut session = b.open_psql("wim", &token, "shop");
    assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100");
    houses.store.sql(
        "ALTER ROLE other NOLOGIN; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'",
    );
    eventually("it to notice", || b.log().contains("the store cannot be read").then_some(()));
    a.grant("zoe", "shop", &["SELECT ON public.orders"]);
    let zoes = a.token("zoe");
    let count = |proxy: &Daypass| proxy.psql("zoe", &zoes, "shop", "SELECT count(*) FROM orders");
    assert_eq!(count(&a).expect_success(), "100");
    // It looks at the roles before its sessions see a new table, and knows nothing of zoe.
    houses.server.sql_in("shop", "SET ROLE svc; CREATE TABLE later (id int)");
    eventually("the table to be known", || {
        let output = session.run("SELECT id FROM later;");
        output.stderr.contains("no live grant allows SELECT (id) ON public.later").then_some(())
    });
    assert_eq!(count(&a).expect_success(), "100");
    let log = houses.server.log();
    let undone = |step: &&str| {
        let taken = step.contains("DROP ROLE") || step.contains("REVOKE");
        let closed = step.contains("ALTER ROLE") && step.contains("NOLOGIN");
        step.contains("daypass_zoe") && (taken || closed)
    };
    assert_eq!(log.lines().flat_map(|line| line.split("; ")).find(undone), None);
    houses.store.sql("ALTER ROLE other LOGIN");
    eventually("it to be back", || (count(&b).stdout == "100").then_some(()));
}

/// Grants of 20 people open and close at both, while they log in through both and tables come and go.
#[test]
fn twenty_people_get_in_through_both_while_grants_and_tables_come_and_go() {
    const PEOPLE: usize = 20;
    let houses = Houses::new();
    let [a, b] = houses.two();
    let proxies = [&a, &b];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let meddler = scope.spawn(|| {
            let env = houses.server.env("svc", "shop");
            let env: Vec<_> = env.iter().map(|(name, value)| (*name, &**value)).collect();
            while !done.load(Ordering::Relaxed) {
                psql(&["-c", "CREATE TABLE passing (id int)", "-c", "DROP TABLE passing"], &env);
            }
        });
        let sessions: Vec<_> = (0..PEOPLE)
            .map(|n| {
                scope.spawn(move || {
                    let (here, there) = (proxies[n % 2], proxies[(n + 1) % 2]);
                    let user = format!("p{n}");
                    let token = here.token(&user);
                    let lasting = here.grant(&user, "shop", &["SELECT ON public.orders"]);
                    for _ in 0..3 {
                        let passing = there.grant(&user, "shop", &["READ ON DATABASE"]);
                        for proxy in [here, there] {
                            let text = "SELECT count(*) FROM orders";
                            let output = proxy.psql(&user, &token, "shop", text);
                            assert_eq!(output.expect_success(), "100");
                        }
                        here.revoke(&passing);
                    }
                    there.revoke(&lasting);
                })
            })
            .collect();
        let results: Vec<_> = sessions.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        meddler.join().unwrap();
        assert!(results.iter().all(Result::is_ok));
    });
    houses.wait_until_nothing_is_left();
}

#[test]
fn without_the_store_both_go_on_until_the_bound_and_come_back() {
    let mut houses = Houses::new();
    let section = "[metrics]\naddress = \"127.0.0.1:0\"";
    let config = || houses.config("stale-after = \"4s\"").section(section);
    let (a, b) = (Daypass::start(config()), Daypass::start(config()));
    let token = a.token("sam");
    a.grant("sam", "shop", &["SELECT ON public.orders"]);
    let count = "SELECT count(*) FROM orders;";
    let mut sessions = [&a, &b].map(|proxy| proxy.open_psql("sam", &token, "shop"));
    for session in &mut sessions {
        assert_eq!(session.run(count).stdout, "100");
    }
    let mut running = b.open_psql("sam", &token, "shop");
    running.send("SELECT pg_sleep(600), id FROM orders;");
    houses.server_runs("pg_sleep");
    houses.store.crash();
    for session in &mut sessions {
        assert_eq!(session.run(count).stdout, "100", "it goes on");
    }
    assert!(a.cli(&["token", "issue", "--user", "sam"]).stderr.contains("cannot be reached now"));
    for (session, proxy) in sessions.iter_mut().zip([&a, &b]) {
        let unreadable = "could not reach its store for too long";
        eventually("the bound", || session.run(count).stderr.contains(unreadable).then_some(()));
        let output = proxy.psql("sam", &token, "shop", "SELECT 1");
        assert!(output.stderr.contains(unreadable), "{output:?}");
        assert!(crate::faults::ready(proxy).contains(unreadable));
    }
    let output = running.finish();
    assert!(output.stderr.contains("could not reach its store"), "what runs ends, too: {output:?}");
    houses.store.start_again();
    for (session, proxy) in sessions.iter_mut().zip([&a, &b]) {
        eventually("the store to be back", || (session.run(count).stdout == "100").then_some(()));
        eventually("logins", || {
            let output = proxy.psql("sam", &token, "shop", "SELECT count(*) FROM orders");
            (output.stdout == "100").then_some(())
        });
    }
    a.token("sam");
}

#[test]
fn a_store_that_clients_can_reach_is_refused() {
    let houses = Houses::new();
    let proxy = houses.proxy();
    let url = houses.server.url("svc", "shop");
    let file = proxy.folder().join("daypass.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(&houses.store.url("keeper", "store"), &url);
    std::fs::write(proxy.folder().join("other.toml"), text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["check", "--config", "other.toml"])
        .current_dir(proxy.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("clients reach this database as \"shop\""), "{said}");
}
