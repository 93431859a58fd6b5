//! Tools that look into the whole database, for somebody who may read one table of it: each sees what it sees
//! for a role of the server that holds just that.

use std::collections::BTreeMap;

use crate::House;
use crate::support::{Config, Daypass, Options, Postgres, introspect, psql, root};
use crate::tools::OBJECTS;

/// Beside what other tools are shown. What nobody is granted says so, and so do passwords.
const MORE: &str = "
    INSERT INTO customers VALUES (11, 'hush-hush', 'hush-hush', 'hush-hush');
    INSERT INTO other.secrets VALUES ('hush-hush');
    CREATE SEQUENCE other.numbers;
    CREATE VIEW other.hidden AS SELECT secret FROM other.secrets;
    ANALYZE;
    CREATE PUBLICATION news FOR TABLE items;
    CREATE SUBSCRIPTION feed CONNECTION 'host=there password=hush-hush' PUBLICATION all_of_it
        WITH (connect = false);
    CREATE FOREIGN DATA WRAPPER wrapper; CREATE SERVER far FOREIGN DATA WRAPPER wrapper;
    CREATE USER MAPPING FOR postgres SERVER far OPTIONS (password 'hush-hush');
    CREATE ROLE reader LOGIN; GRANT SELECT ON items TO reader;
    CREATE ROLE broad LOGIN; GRANT USAGE ON SCHEMA other TO broad;
    GRANT ALL ON ALL TABLES IN SCHEMA public, other TO broad;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public, other TO broad;
";

/// A tool; what is refused beyond what the server refuses to `reader`; what tells the session's own user and
/// rights, which are the service account's without a second lock; what names the roles that somebody is.
struct Tool {
    script: &'static str,
    arguments: Vec<String>,
    refused: &'static [&'static str],
    own: &'static [&'static str],
    roles: &'static [&'static str],
}

impl Tool {
    fn new(script: &'static str) -> Self {
        Self { script, arguments: Vec::new(), refused: &[], own: &[], roles: &[] }
    }

    /// What it tells, a line a fact, by what it was asked. Lines that are refused are cut off there.
    fn tells(&self, env: &[(&'static str, String)]) -> Facts {
        let mut env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if env.iter().all(|(name, _)| *name != "PGPASSWORD") {
            env.push(("PGPASSWORD", "none"));
        }
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let output = introspect(self.script, &arguments, &env);
        assert_eq!(output.status, 0, "{} {output:?}", self.script);
        assert!(!output.stdout.contains("hush-hush"), "{} {}", self.script, output.stdout);
        let mut facts = Facts::new();
        for line in output.stdout.lines() {
            let fact = line.find(": REFUSED").map_or(line, |at| &line[..at + 9]);
            *facts.entry(fact.to_owned()).or_default() += 1;
        }
        facts
    }
}

type Facts = BTreeMap<String, usize>;

/// What of the first is not in the second.
fn beyond<'a>(some: &'a Facts, others: &Facts) -> Vec<&'a str> {
    let more = |(fact, count): &(&String, &usize)| others.get(*fact).is_none_or(|has| has < *count);
    some.iter().filter(more).map(|(fact, _)| fact.as_str()).collect()
}

fn is_refusal(fact: &str) -> bool {
    fact.ends_with(": REFUSED")
}

/// The server with something of each kind, and a proxy before it that knows its database twice: as `shop`
/// without second lock, as `locked` with one; the service account is the superuser.
fn house() -> House {
    let server = Postgres::start(Options {
        hba: ["postgres", "reader", "broad"]
            .map(|user| format!("host all {user} 127.0.0.1/32 trust"))
            .into_iter()
            .chain(["host all all 127.0.0.1/32 scram-sha-256".to_owned()])
            .collect(),
        settings: vec!["autovacuum = off".to_owned()],
        ..Options::default()
    });
    server.sql("CREATE DATABASE shop");
    server.sql_in("shop", crate::TABLES);
    server.sql_in("shop", OBJECTS);
    server.sql_in("shop", MORE);
    let locked = format!(
        "name = \"locked\"\nengine = \"postgres\"\nprimary = \"{}\"\nsecond-lock = \"role\"\n",
        server.url("postgres", "shop")
    );
    let daypass = Daypass::start(Config::new().postgres("shop", &server, &[]).database(&locked));
    House { server, daypass, tokens: std::sync::Mutex::default() }
}

fn check(tools: &[Tool]) {
    let house = house();
    let token = house.principal("ida", &["READ ON TABLE public.items"]);
    house.daypass.grant("ida", "locked", &["READ ON TABLE public.items"]);
    let open = house.daypass.env("ida", &token, "shop");
    let locked = house.daypass.env("ida", &token, "locked");
    // Her role is there from her first login on, and is seen from then on.
    let env: Vec<_> = locked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let role = psql(&["-c", "SELECT current_user"], &env).expect_success();
    assert!(role.starts_with("daypass_ida_"), "{role}");

    for tool in tools {
        let name = tool.script;
        let expected = tool.tells(&house.server.env("reader", "shop"));
        assert!(expected.len() > 5, "{name} {expected:?}");
        let begins = |fact: &str, list: &[&str]| list.iter().any(|start| fact.starts_with(start));
        let refused = |fact: &str| begins(fact, tool.refused);
        let roles = |fact: &str| begins(fact, tool.roles);

        // With the second lock, the same but for what the first refuses.
        let found = tool.tells(&locked);
        let mut more = beyond(&found, &expected);
        more.retain(|fact| !(roles(fact) || is_refusal(fact) && refused(fact)));
        assert!(more.is_empty(), "{name} shows {more:#?}");
        let mut less = beyond(&expected, &found);
        less.retain(|fact| !refused(fact) && !roles(fact));
        assert!(less.is_empty(), "{name} hides {less:#?}");
        for start in tool.refused {
            let is = |fact: &String| is_refusal(fact) && fact.starts_with(start);
            assert!(found.keys().any(is), "{name} is not refused {start}");
        }

        // Without it, definitions that a role with more privileges sees, and the service account's own rights.
        let broad = tool.tells_broad(&house);
        let found = tool.tells(&open);
        let mut more = beyond(&found, &expected);
        more.retain(|fact| !(roles(fact) || is_refusal(fact) && refused(fact)));
        more.retain(|fact| !broad.contains_key(*fact) && !begins(fact, tool.own));
        assert!(more.is_empty(), "{name} shows {more:#?}");
        // What the server refuses to a role without privileges is refused here, too.
        let missing = |fact: &&String| is_refusal(fact) && !found.contains_key(*fact);
        let open: Vec<_> = expected.keys().filter(missing).collect();
        assert!(open.is_empty(), "{name} is not refused {open:#?}");
    }
}

impl Tool {
    /// What it tells somebody who holds everything on every table, for definitions alone: its rows are data.
    fn tells_broad(&self, house: &House) -> Facts {
        if self.script.ends_with("prisma.js") {
            return self.tells(&house.server.env("broad", "shop"));
        }
        Facts::new()
    }
}

#[test]
fn frameworks_see_what_a_role_with_one_table_sees() {
    check(&[
        Tool::new("introspect_sqlalchemy.py"),
        Tool::new("introspect_django.py"),
        Tool::new("introspect_rails.rb"),
        Tool::new("introspect_prisma.js"),
    ]);
}

#[test]
fn what_pgadmin_asks_is_answered_as_to_a_role_with_one_table() {
    let file = root().join("tests/clients/pgadmin.sql");
    check(&[Tool {
        arguments: vec![file.to_str().unwrap().to_owned()],
        // Activity, and samples of columns: pgAdmin goes on without.
        refused: &["SELECT gss_authenticated, encrypted", "SELECT null_frac AS \"Null fraction\""],
        // Who is asking, and what that role might make.
        own: &[
            "SELECT roles.oid as id, roles.rolname as name",
            "SELECT db.oid as did, db.datname",
            "SELECT db.oid AS did, db.oid, db.datname",
            "SELECT nsp.oid, nsp.nspname as name, pg_catalog.has_schema_privilege",
            "SELECT nsp.oid, CASE nsp.nspname WHEN 'pg_catalog'",
            "SELECT CASE WHEN (nspname LIKE E'pg",
        ],
        ..Tool::new("introspect_pgadmin.py")
    }]);
}

#[test]
fn the_catalogs_show_what_a_role_with_one_table_sees() {
    check(&[Tool {
        // Other people's activity, samples of columns, options of user mappings.
        refused: &[
            "information_schema.user_mapping_options",
            "pg_catalog.pg_locks",
            "pg_catalog.pg_prepared_xacts",
            "pg_catalog.pg_replication_slots",
            "pg_catalog.pg_stat_activity",
            "pg_catalog.pg_stat_gssapi",
            "pg_catalog.pg_stat_progress_",
            "pg_catalog.pg_stat_replication",
            "pg_catalog.pg_stat_ssl",
            "pg_catalog.pg_stat_subscription",
            "pg_catalog.pg_stat_wal_receiver",
            "pg_catalog.pg_stats",
            "pg_catalog.pg_user_mappings",
        ],
        // As the README says.
        own: &["information_schema.", "pg_catalog.pg_settings", "pg_catalog.pg_sequences"],
        roles: &[
            "information_schema.applicable_roles",
            "information_schema.enabled_roles",
            "information_schema.column_privileges",
            "information_schema.role_",
            "information_schema.table_privileges",
        ],
        ..Tool::new("introspect_catalogs.py")
    }]);
}
