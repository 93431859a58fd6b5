//! SIGHUP: what is applied, to whom, and what is refused.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use crate::support::{
    Certificates, Config, Daypass, Options, PATIENCE, Postgres, eventually, free_port, psql,
};
use crate::{reload, server};

const COUNT: &str = "SELECT count(*) FROM notes";

fn both(server: &Postgres) -> Config {
    Config::new().postgres("shop", server, &[]).postgres("crm", server, &[])
}

fn shop(server: &Postgres) -> Config {
    Config::new().postgres("shop", server, &[])
}

/// The port to use in place of the listener's.
fn at(env: &[(&'static str, String)], port: u16) -> Vec<(&'static str, String)> {
    let mut env = env.to_vec();
    env.retain(|(name, _)| *name != "PGPORT");
    env.push(("PGPORT", port.to_string()));
    env
}

fn borrowed<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn a_database_is_served_once_it_is_added() {
    let server = server();
    let daypass = Daypass::start(shop(&server));
    let token = daypass.token("ann");
    let absent = daypass.psql("ann", &token, "crm", "SELECT 1");
    assert!(absent.stderr.contains("database \"crm\" does not exist"), "{absent:?}");
    let wish = ["grant", "create", "--user", "ann", "--database", "crm", "--for", "1h"];
    let wish = [&wish[..], &["--reason", "x", "--privilege", "READ ON SCHEMA public"]].concat();
    assert!(daypass.cli(&wish).stderr.contains("there is no database \"crm\""));

    daypass.grant("ann", "shop", &["READ ON SCHEMA public"]);
    let mut open = daypass.open_psql("ann", &token, "shop");
    assert_eq!(open.run(&format!("{COUNT};")).stdout, "5");
    let record = reload(&daypass, both(&server));
    assert_eq!(record["event"], "applied");
    assert_eq!(record["reason"], "database crm added");

    daypass.cli(&wish).expect_success();
    assert_eq!(daypass.psql("ann", &token, "crm", COUNT).expect_success(), "5");
    assert_eq!(open.run(&format!("{COUNT};")).stdout, "5");
}

#[test]
fn a_database_that_is_removed_takes_no_logins_and_its_transactions_finish() {
    let server = server();
    let daypass = Daypass::start(both(&server));
    let token = daypass.token("ben");
    daypass.grant("ben", "crm", &["WRITE ON SCHEMA public"]);
    daypass.grant("ben", "shop", &["READ ON SCHEMA public"]);
    let mut idle = daypass.open_psql("ben", &token, "crm");
    let mut busy = daypass.open_psql("ben", &token, "crm");
    let mut other = daypass.open_psql("ben", &token, "shop");
    for (session, first) in [(&mut idle, COUNT), (&mut busy, "BEGIN"), (&mut other, COUNT)] {
        assert_eq!(session.run(&format!("{first};")).sqlstates(), Vec::<String>::new());
    }

    let record = reload(&daypass, shop(&server));
    assert_eq!(record["reason"], "database crm removed");
    let refused = daypass.psql("ben", &token, "crm", "SELECT 1");
    assert!(refused.stderr.contains("database \"crm\" does not exist"), "{refused:?}");
    eventually("the idle session to end", || {
        let listed = daypass.cli(&["session", "list", "--output", "json"]).stdout;
        (listed.matches("\"crm\"").count() == 1).then_some(())
    });
    let told = idle.run("SELECT 1;");
    assert!(told.stderr.contains("57P01") && told.stderr.contains("was removed"), "{told:?}");
    let last = busy.run("INSERT INTO notes VALUES (6); COMMIT;");
    assert!(last.sqlstates().iter().all(|state| state == "57P01"), "{last:?}");
    assert_eq!(server.sql_in("crm", COUNT), "6");
    daypass.wait_audit("the end of the session", |record| {
        record["kind"] == "session-end"
            && record["reason"].as_str().is_some_and(|why| why.contains("was removed"))
    });
    // Nobody looks at its names any more, whatever sessions of other databases go on.
    eventually("the proxy's own connection to end", || {
        let own = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'crm'";
        (server.sql(own) == "0").then_some(())
    });
    assert_eq!(other.run(&format!("{COUNT};")).stdout, "5");
    // What it held there can be taken back all the same.
    let grants = daypass.cli(&["grant", "list", "--output", "json"]).expect_success();
    let grants: serde_json::Value = serde_json::from_str(&grants).unwrap();
    let of_crm = grants.as_array().unwrap().iter().find(|it| it["database"] == "crm").unwrap();
    daypass.revoke(of_crm["id"].as_str().unwrap());
}

#[test]
fn a_transaction_on_a_removed_database_has_until_the_deadline() {
    let server = server();
    let deadline = "[server]\ndrain-deadline = \"1s\"";
    let daypass = Daypass::start(both(&server).section(deadline));
    let token = daypass.token("cat");
    daypass.grant("cat", "crm", &["READ ON SCHEMA public"]);
    let mut busy = daypass.open_psql("cat", &token, "crm");
    assert_eq!(busy.run(&format!("BEGIN; {COUNT};")).stdout, "5");
    reload(&daypass, shop(&server).section(deadline));
    daypass.wait_audit("the end of the session", |record| {
        record["kind"] == "session-end" && record["database"] == "crm"
    });
    assert!(busy.run("COMMIT;").stderr.contains("was removed"));
}

#[test]
fn rules_and_limits_are_those_of_the_newest_configuration() {
    let server = server();
    let limits = |sessions: u32, ttl: &str, approvers: &str, duration: &str| {
        shop(&server).section(&format!(
            "[limits]\nsessions-per-principal-max = {sessions}\n[token]\nttl-default = \"1m\"\n\
             ttl-max = \"{ttl}\"\n[approval]\napprovers = [{approvers}]\n\
             [grant]\nduration-max = \"{duration}\""
        ))
    };
    let daypass = Daypass::start(limits(1, "1h", "", "1h"));
    let (token, carol) = (daypass.token("dan"), daypass.token("carol"));
    daypass.grant("dan", "shop", &["READ ON SCHEMA public"]);
    let mut first = daypass.open_psql("dan", &token, "shop");
    assert_eq!(first.run(&format!("{COUNT};")).stdout, "5");
    let wish = ["request", "create", "--database", "shop", "--for", "2h", "--reason", "x"];
    let wish = [&wish[..], &["--privilege", "READ ON SCHEMA public"]].concat();
    let longer = ["token", "issue", "--user", "eve", "--ttl", "2h"];
    let second = daypass.psql("dan", &token, "shop", "SELECT 1");
    assert!(second.stderr.contains("which is the limit"), "{second:?}");
    assert!(daypass.cli_as(&token, &wish).stderr.contains("at most 1 h"));
    assert!(daypass.cli(&longer).stderr.contains("at most 1 h"));

    let record = reload(&daypass, limits(2, "3h", "\"carol\"", "3h"));
    assert_eq!(
        record["reason"],
        "approvers are now [carol]; [limits] changed; [token] changed; [grant] changed"
    );
    assert_eq!(daypass.psql("dan", &token, "shop", "SELECT 1").expect_success(), "1");
    daypass.cli(&longer).expect_success();
    let asked = daypass.cli_as(&token, &wish);
    let request = crate::support::id_in(&(asked.stdout + &asked.stderr), "r_");
    daypass.cli_as(&carol, &["approve", &request]).expect_success();

    reload(&daypass, limits(2, "3h", "", "3h"));
    let asked = daypass.cli_as(&token, &wish);
    let request = crate::support::id_in(&(asked.stdout + &asked.stderr), "r_");
    let refused = daypass.cli_as(&carol, &["approve", &request]);
    assert!(refused.status != 0 && refused.stderr.contains("may not approve"), "{refused:?}");
}

#[test]
fn a_configuration_with_mistakes_changes_nothing_and_every_one_is_logged() {
    let server = server();
    let daypass = Daypass::start(shop(&server));
    let token = daypass.token("fay");
    let broken = both(&server)
        .section("[token]\nttl-max = \"soon\"")
        .section("[approval]\naprovers = [\"fay\"]");
    let record = reload(&daypass, broken);
    assert_eq!(record["event"], "refused");
    assert_eq!(record["reason"], "errors in the configuration: 2");
    let text = std::fs::read_to_string(daypass.folder().join("daypass.toml")).unwrap();
    for (mistake, column) in [("ttl-max", 11), ("aprovers", 1)] {
        let line = 1 + text.lines().position(|line| line.starts_with(mistake)).unwrap();
        let place = format!("daypass.toml:{line}:{column}: ");
        assert!(daypass.log().contains(&place), "{place} is not in\n{}", daypass.log());
    }
    let absent = daypass.psql("fay", &token, "crm", "SELECT 1");
    assert!(absent.stderr.contains("does not exist"), "{absent:?}");
    daypass.cli(&["token", "issue", "--user", "fay", "--ttl", "2h"]).expect_success();

    // An address that another has: found before anything is changed.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = TcpListener::bind(taken).unwrap();
    let listener = format!("[[listener]]\nengine = \"postgres\"\naddress = \"{taken}\"");
    assert_eq!(reload(&daypass, both(&server).section(&listener))["event"], "refused");
    assert!(daypass.log().contains(&format!("listening on {taken}")), "{}", daypass.log());
    let absent = daypass.psql("fay", &token, "crm", "SELECT 1");
    assert!(absent.stderr.contains("does not exist"), "{absent:?}");

    drop(other);
    assert_eq!(reload(&daypass, both(&server).section(&listener))["event"], "applied");
    TcpStream::connect(taken).unwrap();
}

#[test]
fn listeners_come_and_go_and_who_is_connected_stays() {
    let server = server();
    let daypass = Daypass::start(shop(&server));
    let token = daypass.token("gus");
    daypass.grant("gus", "shop", &["READ ON SCHEMA public"]);
    let port = free_port();
    let second = format!("[[listener]]\nengine = \"postgres\"\naddress = \"127.0.0.1:{port}\"");
    let record = reload(&daypass, shop(&server).section(&second));
    assert_eq!(record["reason"], format!("listener 127.0.0.1:{port} added"));
    let env = at(&daypass.env("gus", &token, "shop"), port);
    let mut session = crate::support::Shell::open(&borrowed(&env));
    assert_eq!(session.run(&format!("{COUNT};")).stdout, "5");

    reload(&daypass, shop(&server));
    eventually("the listener to close", || TcpStream::connect(("127.0.0.1", port)).err());
    assert_eq!(session.run(&format!("{COUNT};")).stdout, "5");
    assert_eq!(daypass.psql("gus", &token, "shop", COUNT).expect_success(), "5");

    // TLS is given to one that runs.
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::make(folder.path());
    let tls = format!(
        "tls = {{ certificate-file = {:?}, key-file = {:?} }}",
        files.certificate, files.key
    );
    let mut env = daypass.env("gus", &token, "shop");
    env.push(("PGSSLMODE", "verify-full".into()));
    env.push(("PGSSLROOTCERT", files.ca.display().to_string()));
    let without = psql(&["-c", COUNT], &borrowed(&env));
    assert!(without.stderr.contains("does not support SSL"), "{without:?}");
    reload(&daypass, shop(&server).listener(&tls));
    assert_eq!(psql(&["-c", COUNT], &borrowed(&env)).expect_success(), "5");
    // One that contains another of the same port.
    let wider = format!("[[listener]]\nengine = \"postgres\"\n{tls}\naddress = \"0.0.0.0:{port}\"");
    assert_eq!(reload(&daypass, shop(&server).section(&second))["event"], "applied");
    assert_eq!(reload(&daypass, shop(&server).section(&wider))["event"], "refused");
    assert!(daypass.log().contains("a listener that runs has this port"), "{}", daypass.log());
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    // What works and should not stay so is said, by whoever reads it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&files.key, open).unwrap();
    assert_eq!(reload(&daypass, shop(&server).listener(&tls))["event"], "applied");
    let warning = format!("{} is open to other users (mode 0644)", files.key.display());
    assert!(daypass.log().contains(&warning), "{}", daypass.log());
    let checked = daypass.cli(&["check", "--config", "daypass.toml"]);
    assert!(checked.status == 0 && checked.stderr.contains(&warning), "{checked:?}");
    // A certificate that cannot be used is a mistake like any other.
    std::fs::write(&files.key, "no key").unwrap();
    assert_eq!(reload(&daypass, shop(&server).listener(&tls))["event"], "refused");
    assert_eq!(psql(&["-c", COUNT], &borrowed(&env)).expect_success(), "5");
}

#[test]
fn a_password_is_rotated_and_a_primary_moved_under_open_sessions() {
    let server = Postgres::start(Options {
        hba: vec!["host all keeper 127.0.0.1/32 scram-sha-256".into()],
        ..Options::default()
    });
    let other = crate::server();
    server.sql("CREATE DATABASE shop");
    server.sql_in("shop", "CREATE TABLE notes AS SELECT generate_series(1, 5) AS n");
    server.sql("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'first-secret'");
    other.sql("CREATE ROLE keeper SUPERUSER LOGIN");
    other.sql_in("shop", "DELETE FROM notes WHERE n > 2");
    let config = |server: &Postgres, password: &str| {
        Config::new()
            .database(&format!(
                "name = \"shop\"\nengine = \"postgres\"\nprimary = \"{}\"\n\
                 password-file = \"shop.password\"\nsecond-lock = \"none\"",
                server.url("keeper", "shop")
            ))
            .file("shop.password", password)
    };
    let daypass = Daypass::start(config(&server, "first-secret"));
    let token = daypass.token("hal");
    daypass.grant("hal", "shop", &["READ ON SCHEMA public"]);
    let mut open = daypass.open_psql("hal", &token, "shop");
    assert_eq!(open.run(&format!("{COUNT};")).stdout, "5");

    server.sql("ALTER ROLE keeper PASSWORD 'second-secret'");
    let stale = daypass.psql("hal", &token, "shop", COUNT);
    assert_ne!(stale.status, 0, "{stale:?}");
    let record = reload(&daypass, config(&server, "second-secret"));
    assert_eq!(record["reason"], "database shop changed");
    assert_eq!(daypass.psql("hal", &token, "shop", COUNT).expect_success(), "5");
    assert_eq!(open.run(&format!("{COUNT};")).stdout, "5");

    reload(&daypass, config(&other, "second-secret"));
    assert_eq!(daypass.psql("hal", &token, "shop", COUNT).expect_success(), "2");
    assert_eq!(open.run(&format!("{COUNT};")).stdout, "5");
    let everything = daypass.log() + &format!("{:?}", daypass.audit());
    assert!(!everything.contains("-secret"), "a password was written");
}

#[test]
fn what_cannot_change_is_named_and_the_rest_is_applied() {
    let server = server();
    let daypass = Daypass::start(shop(&server));
    let more = "[metrics]\naddress = \"127.0.0.1:1\"\n[server]\nthreads = 1\n\
                [log]\nlevel = \"error\"";
    let record = reload(&daypass, both(&server).audit("mode = \"strict\"").section(more));
    assert_eq!(
        record["reason"],
        "database crm added; [log] changed; audit.mode needs a restart; \
         metrics.address needs a restart; server.threads needs a restart"
    );
    let token = daypass.token("ida");
    assert_eq!(daypass.psql("ida", &token, "crm", "CALL daypass.help()").status, 0);
    // Under that level nothing was said of it; the next reload changes the level first.
    assert!(!daypass.log().contains("needs a restart"), "{}", daypass.log());
    let more = "[metrics]\naddress = \"127.0.0.1:1\"\n[log]\nlevel = \"info\"";
    reload(&daypass, both(&server).section(more));
    eventually("the setting in the log", || {
        let log = daypass.log();
        let named =
            |line: &str| line.contains("needs a restart") && line.contains("metrics.address");
        log.lines().any(named).then_some(())
    });
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let server = server();
    let config = || shop(&server).env("NOTIFY_SOCKET", socket.to_str().unwrap());
    let mut daypass = Daypass::start(config());
    assert_eq!(hear(), "READY=1");
    // Whether it is applied or not, it is over.
    for config in [both(&server), config().section("[nonsense]")] {
        reload(&daypass, config);
        assert_eq!([hear(), hear()], ["RELOADING=1", "READY=1"]);
    }
    assert_eq!(daypass.stop(), Some(0));
    assert_eq!(hear(), "STOPPING=1");
}

#[test]
fn authorities_of_servers_are_read_again() {
    let server = Postgres::start(Options { ssl: true, ..Options::default() });
    server.sql("CREATE DATABASE shop");
    server.sql_in("shop", "CREATE TABLE notes AS SELECT generate_series(1, 5) AS n");
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    let trust = |authority: &std::path::Path| {
        std::fs::copy(authority, &trusted).unwrap();
    };
    let stranger = Certificates::make(folder.path());
    trust(&server.certificates().ca);
    let config = || {
        let url = server.url("postgres", "shop");
        let trusted = trusted.display();
        Config::new().database(&format!(
            "name = \"shop\"\nengine = \"postgres\"\nsecond-lock = \"none\"\n\
             primary = \"{url}?sslmode=verify-full&sslrootcert={trusted}\""
        ))
    };
    let daypass = Daypass::start(config());
    let token = daypass.token("ivy");
    daypass.grant("ivy", "shop", &["READ ON SCHEMA public"]);
    assert_eq!(daypass.psql("ivy", &token, "shop", COUNT).expect_success(), "5");
    for (authority, works) in [(&stranger.ca, false), (&server.certificates().ca, true)] {
        trust(authority);
        assert_eq!(reload(&daypass, config())["reason"], "no setting has changed");
        let output = daypass.psql("ivy", &token, "shop", COUNT);
        assert_eq!(output.status == 0, works, "{output:?}");
    }
}
