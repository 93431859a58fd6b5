//! The second lock on real servers: sessions are their principal's role there, and the server itself
//! refuses what no live grant allows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod life;
mod operators;
mod owner;
mod paths;
mod rights;
mod several;

use daypass::secret::Secret;
use daypass::upstream::roles::names::Names;
use support::{
    Config, Daypass, Options, Output, Postgres, Version, eventually, psql, versions_available,
};

/// Made by a service account that may make roles and is nothing else.
const TABLES: &str = "
    SET ROLE svc;
    CREATE TABLE orders (id serial PRIMARY KEY, status text, total numeric);
    INSERT INTO orders (status, total) SELECT 'new', n * 10 FROM generate_series(1, 100) n;
    CREATE TABLE customers (id int PRIMARY KEY, email text);
    INSERT INTO customers VALUES (1, 'a@example.org');
    CREATE SCHEMA sales;
    CREATE TABLE sales.leads (id int);
";

/// A server whose roles prove their passwords, and a proxy before it.
pub(crate) struct House {
    pub(crate) server: Postgres,
    pub(crate) daypass: Daypass,
}

/// A server with a service account `svc` that owns the database `shop`.
pub(crate) fn server(version: Option<Version>) -> Postgres {
    server_with(version, &[])
}

/// The same with these lines in its `postgresql.conf`.
pub(crate) fn server_with(version: Option<Version>, settings: &[&str]) -> Postgres {
    let server = Postgres::start(Options {
        version,
        settings: settings.iter().map(ToString::to_string).collect(),
        hba: [
            "host all postgres 127.0.0.1/32 trust",
            "host all svc 127.0.0.1/32 trust",
            "host all all 127.0.0.1/32 scram-sha-256",
        ]
        .map(str::to_owned)
        .into(),
        ..Options::default()
    });
    server.sql("CREATE ROLE svc LOGIN CREATEROLE");
    server.sql("CREATE DATABASE shop OWNER svc");
    server.sql_in("shop", TABLES);
    server
}

/// An entry of the configuration with a second lock.
pub(crate) fn entry(
    config: Config,
    name: &str,
    server: &Postgres,
    user: &str,
    database: &str,
) -> Config {
    config.database(&format!(
        "name = \"{name}\"\nengine = \"postgres\"\nprimary = \"{}\"\nsecond-lock = \"role\"\n\
         catalog-refresh = \"1s\"\n",
        server.url(user, database)
    ))
}

impl House {
    pub(crate) fn new() -> Self {
        Self::on(None)
    }

    pub(crate) fn on(version: Option<Version>) -> Self {
        Self::before(server(version))
    }

    pub(crate) fn before(server: Postgres) -> Self {
        let daypass = Daypass::start(entry(Config::new(), "shop", &server, "svc", "shop"));
        Self { server, daypass }
    }

    /// Names and passwords, as the proxy derives them.
    pub(crate) fn names(&self) -> Names {
        let key = std::fs::read_to_string(self.daypass.folder().join("daypass-role.key")).unwrap();
        Names::new(&Secret::new(key.trim_end()), "shop", "shop")
    }

    pub(crate) fn role(&self, principal: &str) -> String {
        self.names().login(principal)
    }

    /// Logs in past the proxy, with the password that only proxies can derive.
    pub(crate) fn past_the_proxy(&self, principal: &str, text: &str) -> Output {
        let cluster = self.server.sql("SELECT system_identifier FROM pg_control_system()");
        let role = self.role(principal);
        let password = self.names().password(&cluster, &role);
        let port = self.server.port().to_string();
        let env = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGUSER", &role),
            ("PGPASSWORD", password.expose_str().unwrap()),
            ("PGDATABASE", "shop"),
        ];
        psql(&["-c", text], &env)
    }

    /// Who is a member of which of our roles, and which of them there are.
    pub(crate) fn memberships(&self, principal: &str) -> String {
        self.server.sql(&format!(
            "SELECT count(*) FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member \
             WHERE m.rolname = '{}'",
            self.role(principal)
        ))
    }

    pub(crate) fn our_roles(&self) -> Vec<String> {
        let names = self.names();
        let roles = self.server.sql("SELECT rolname FROM pg_roles ORDER BY 1");
        let ours = |role: &&str| names.is_ours(role);
        roles.lines().filter(ours).map(str::to_owned).collect()
    }
}

#[test]
fn every_version_that_is_installed_has_a_second_lock() {
    for version in versions_available() {
        let house = House::on(Some(version));
        let major = house.server.major();
        let grant =
            house.daypass.grant("una", "shop", &["SELECT, UPDATE (status) ON public.orders"]);
        let token = house.daypass.token("una");
        let mut session = house.daypass.open_psql("una", &token, "shop");
        assert_eq!(session.run("SELECT count(*) FROM orders;").stdout, "100", "{major}");
        assert_eq!(session.run("SELECT current_user;").stdout, house.role("una"), "{major}");
        let output = session.run("UPDATE orders SET status = 'x' WHERE id = 1;");
        assert!(output.stderr.is_empty(), "{major}: {output:?}");
        house.past_the_proxy("una", "SELECT * FROM customers").expect_sqlstate("42501");
        house.past_the_proxy("una", "UPDATE orders SET total = 1").expect_sqlstate("42501");
        house.daypass.revoke(&grant);
        eventually("the membership to go", || (house.memberships("una") == "0").then_some(()));
        drop(session);
        eventually("the roles to go", || house.our_roles().is_empty().then_some(()));
        assert_eq!(house.daypass.log().matches("WARN").count(), 0, "{}", house.daypass.log());
    }
}
