//! Owners' work, done as the `ddl-owner`.

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use serde_json::Value;

use crate::support::{
    Config, Daypass, Postgres, Version, Wire, bind, eventually, tags, versions_available,
};
use crate::{House, server};

/// The application's role owns a schema; what it makes there is for `reporting` to read.
const APP: &str = "
    CREATE ROLE app NOLOGIN;
    CREATE ROLE reporting NOLOGIN;
    CREATE SCHEMA app AUTHORIZATION app;
    ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO reporting;
    SET ROLE app;
    CREATE TABLE app.items (id int PRIMARY KEY, name text);
    INSERT INTO app.items SELECT n, 'n' || n FROM generate_series(1, 10) n;
    CREATE TABLE app.secrets (id int);
";

fn prepare(server: &Postgres) {
    server.sql_in("shop", APP);
    let with = if server.major() >= 16 { "ADMIN TRUE, INHERIT TRUE" } else { "ADMIN OPTION" };
    server.sql(&format!("GRANT app TO svc WITH {with}"));
}

fn house(version: Option<Version>) -> House {
    let server = server(version);
    prepare(&server);
    over(server)
}

fn over(server: Postgres) -> House {
    let config = Config::new().database(&format!(
        "name = \"shop\"\nengine = \"postgres\"\nprimary = \"{}\"\nsecond-lock = \"role\"\n\
         ddl-owner = \"app\"\ncatalog-refresh = \"1s\"\n",
        server.url("svc", "shop")
    ));
    House { daypass: Daypass::start(config), server }
}

impl House {
    fn owner(&self, relation: &str) -> String {
        let sql =
            format!("SELECT relowner::regrole FROM pg_class WHERE oid = '{relation}'::regclass");
        self.server.sql_in("shop", &sql)
    }

    fn second_lock_of(&self, kind: &str, text: &str) -> String {
        let record = self.daypass.wait_audit(text, |it| {
            it["kind"] == "decision" && it["text"].as_str().is_some_and(|it| it.contains(text))
        });
        let same = |it: &Value, field: &str| it.get(field) == record.get(field);
        let record = self.daypass.wait_audit(text, |it| {
            it["kind"] == kind && same(it, "session") && same(it, "statement")
        });
        record.get("second-lock").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

#[test]
fn what_is_made_belongs_to_the_ddl_owner_and_the_session_is_itself_again() {
    for version in versions_available() {
        let house = house(Some(version.clone()));
        house.daypass.grant("eva", "shop", &["ADMIN ON SCHEMA app"]);
        let token = house.daypass.token("eva");
        let mut session = house.daypass.open_psql("eva", &token, "shop");
        let role = house.role("eva");
        for made in [
            "CREATE TABLE app.made (id int, note text DEFAULT current_user);",
            "CREATE INDEX CONCURRENTLY ON app.made (id);",
            "VACUUM (ANALYZE) app.made;",
            "ALTER TABLE app.items ADD COLUMN more int;",
        ] {
            assert_eq!(session.run(made).stderr, "", "{made} on {version:?}");
            assert_eq!(session.run("SELECT current_user;").stdout, role, "behind {made}");
        }
        assert_eq!(house.owner("app.made"), "app");
        let inherited = "SELECT has_table_privilege('reporting', 'app.made', 'SELECT')";
        assert_eq!(house.server.sql_in("shop", inherited), "t");
        assert_eq!(house.second_lock_of("decision", "CREATE TABLE app.made"), "partial");
        assert_eq!(house.second_lock_of("result", "CREATE TABLE app.made"), "partial");
        assert_eq!(session.run("SELECT count(*) FROM app.items;").stdout, "10");
        assert_eq!(house.second_lock_of("result", "FROM app.items"), "role");

        // An error leaves nothing behind either, and a relation of somebody else's stays theirs.
        let failed = session.run("CREATE TABLE app.made (id int);");
        assert!(failed.stderr.contains("already exists"), "{failed:?}");
        assert_eq!(session.run("SELECT current_user;").stdout, role);
        session.run("DROP TABLE app.made;");
        eventually("the catalog to be read", || {
            session.run("SELECT 1 FROM app.made;").stderr.contains("does not exist").then_some(())
        });
    }
}

#[test]
fn a_migration_runs_as_the_owner_from_its_first_definition_to_its_end() {
    let house = house(None);
    house.daypass.grant("eva", "shop", &["ADMIN ON SCHEMA app"]);
    let token = house.daypass.token("eva");
    let mut session = house.daypass.open_psql("eva", &token, "shop");
    let role = house.role("eva");
    let mut run = |text: &str| {
        let output = session.run(text);
        assert_eq!(output.stderr, "", "{text}");
        output.stdout
    };
    run("BEGIN;");
    assert_eq!(run("SELECT current_user;"), role);
    run("SAVEPOINT before;");
    run("CREATE TABLE app.step (id int);");
    run("INSERT INTO app.step VALUES (1), (2);");
    assert_eq!(run("SELECT count(*) FROM app.step;"), "2");
    assert_eq!(run("SELECT current_user;"), "app");
    // What the savepoint takes back is the role, too; it is taken again for what comes.
    run("ROLLBACK TO before;");
    run("CREATE TABLE app.step (id int, other int);");
    run("INSERT INTO app.step VALUES (1, 2);");
    run("COMMIT;");
    assert_eq!(run("SELECT current_user;"), role);
    assert_eq!(house.owner("app.step"), "app");
    assert_eq!(house.second_lock_of("decision", "INSERT INTO app.step VALUES (1, 2)"), "partial");

    run("BEGIN;");
    run("DROP TABLE app.step;");
    run("ROLLBACK;");
    assert_eq!(run("SELECT current_user;"), role);
    // One message that leaves its transaction open.
    run("BEGIN\\; CREATE TABLE app.open (id int);");
    run("INSERT INTO app.open VALUES (1);");
    run("ROLLBACK;");
    assert_eq!(run("SELECT current_user;"), role, "the rollback has brought the owner back");
    assert_eq!(run("SELECT to_regclass('app.open') IS NULL;"), "t");
    run("BEGIN\\; CREATE TABLE app.whole (id int)\\; COMMIT;");
    assert_eq!(run("SELECT current_user;"), role);
    assert_eq!(house.owner("app.whole"), "app");
}

/// A table's owner sees all its rows, whatever its policies say; a principal's role does not.
#[test]
fn nobody_sees_as_the_owner_what_policies_hide() {
    let house = house(None);
    house.server.sql_in(
        "shop",
        "SET ROLE app; CREATE TABLE app.notes (id int); INSERT INTO app.notes VALUES (1), (2); \
         ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY first ON app.notes USING (id = 1)",
    );
    house.daypass.grant("eva", "shop", &["ADMIN ON SCHEMA app"]);
    let token = house.daypass.token("eva");
    let mut session = house.daypass.open_psql("eva", &token, "shop");
    assert_eq!(session.run("SELECT count(*) FROM app.notes;").stdout, "1");
    let refused = |output: crate::support::Output| {
        assert!(output.stderr.contains("BYPASS ROW SECURITY ON app.notes"), "{output:?}");
    };
    let both = "SELECT count(*) FROM app.notes\\; CREATE TABLE app.more (id int);";
    refused(session.run(both));
    refused(session.run("CREATE VIEW app.seen AS SELECT * FROM app.notes;"));
    assert_eq!(session.run("BEGIN; CREATE TABLE app.more (id int);").stderr, "");
    refused(session.run("INSERT INTO app.more SELECT id FROM app.notes;"));
    session.run("ROLLBACK;");
    assert_eq!(session.run("SELECT count(*) FROM app.notes;").stdout, "1");
    assert_eq!(session.run("ALTER TABLE app.notes ADD COLUMN more int;").stderr, "");
}

/// pgjdbc with autocommit off sends BEGIN and the first statement as one segment.
#[test]
fn a_definition_behind_begin_in_one_segment_is_the_owners() {
    let house = house(None);
    house.daypass.grant("eva", "shop", &["ADMIN ON SCHEMA app"]);
    let token = house.daypass.token("eva");
    let mut wire = Wire::login(house.daypass.port(), "eva", &token, "shop");
    let step = |buffer: &mut BytesMut, text: &str| {
        bind(buffer, "", text, &[]);
        frontend::execute("", 0, buffer).unwrap();
    };
    wire.send(|buffer| {
        step(buffer, "BEGIN");
        step(buffer, "CREATE TABLE app.piped (id int)");
        frontend::sync(buffer);
    });
    assert_eq!(tags(&wire.until_ready()), "12C12CZ");
    wire.send(|buffer| {
        step(buffer, "INSERT INTO app.piped VALUES (1)");
        step(buffer, "COMMIT");
        frontend::sync(buffer);
    });
    assert_eq!(tags(&wire.until_ready()), "12C12CZ");
    assert_eq!(house.owner("app.piped"), "app");
    assert_eq!(house.second_lock_of("decision", "CREATE TABLE app.piped"), "partial");

    // Outside BEGIN the whole segment is one transaction, which nobody may split.
    wire.send(|buffer| {
        step(buffer, "SELECT count(*) FROM app.piped");
        step(buffer, "DROP TABLE app.piped");
        frontend::sync(buffer);
    });
    let replies = wire.until_ready();
    let error = replies.iter().find(|it| it.tag == b'E').unwrap();
    assert_eq!(error.field(b'C'), "0A000");
    assert_eq!(house.owner("app.piped"), "app");
    // At its beginning the role can be changed.
    wire.send(|buffer| {
        step(buffer, "VACUUM app.piped");
        frontend::sync(buffer);
    });
    assert_eq!(tags(&wire.until_ready()), "12CZ");
}

#[test]
fn nobody_is_the_owner_before_or_without_such_work() {
    for version in versions_available() {
        let house = house(Some(version.clone()));
        let grant = house.daypass.grant("eva", "shop", &["ADMIN ON app.items"]);
        house.daypass.grant("bob", "shop", &["READ ON app.items"]);
        for user in ["eva", "bob"] {
            let token = house.daypass.token(user);
            house.daypass.psql(user, &token, "shop", "SELECT 1").expect_success();
            for refused in [
                "SELECT count(*) FROM app.secrets",
                "CREATE TABLE app.mine (id int)",
                "ALTER TABLE app.items ADD COLUMN mine int",
                "DROP TABLE app.secrets",
            ] {
                house.past_the_proxy(user, refused).expect_sqlstate("42501");
            }
        }
        house.past_the_proxy("bob", "SET ROLE app").expect_sqlstate("42501");
        house.past_the_proxy("eva", "SET ROLE app").expect_success();
        house.daypass.revoke(&grant);
        house.daypass.grant("eva", "shop", &["READ ON app.items"]);
        eventually("the way to the owner to be closed", || {
            (house.past_the_proxy("eva", "SET ROLE app").status != 0).then_some(())
        });
        let between = "SELECT count(*) FROM pg_auth_members WHERE roleid = 'app'::regrole \
                       AND member <> 'svc'::regrole";
        assert_eq!(house.server.sql(between), "0", "{version:?}");
    }
}

#[test]
fn operators_are_told_what_the_ddl_owner_lacks() {
    let house = over(server(None));
    let check = || {
        let output = house.daypass.cli(&["database", "check", "shop"]);
        format!("{}{}", output.stdout, output.stderr)
    };
    assert!(check().contains("there is no role app"), "{}", check());
    house.server.sql("CREATE ROLE app SUPERUSER NOLOGIN");
    assert!(check().contains("app is a superuser"), "{}", check());
    house.daypass.grant("eva", "shop", &["ADMIN ON DATABASE"]);
    let token = house.daypass.token("eva");
    let refused = house.daypass.psql("eva", &token, "shop", "CREATE TABLE mine (id int)");
    refused.expect_sqlstate("42501");
    assert!(refused.stderr.contains("ddl-owner app"), "{refused:?}");
    house.server.sql("ALTER ROLE app NOSUPERUSER");
    assert!(check().contains("cannot change"), "{}", check());
    assert!(check().contains("can make nothing in schema sales"), "{}", check());
}

/// What the check prints mends it at one go: no line takes back what another gave, nobody is made a member of a
/// superuser, and an extension keeps what is its own.
#[test]
fn what_the_ddl_owner_lacks_is_mended_by_what_is_printed() {
    for version in versions_available().into_iter().filter(|it| matches!(it.major, 15 | 18)) {
        let server = server(Some(version));
        server.sql_in(
            "shop",
            "CREATE ROLE app NOLOGIN; CREATE ROLE other NOLOGIN; CREATE SCHEMA app AUTHORIZATION app; \
             CREATE TABLE app.left_over (id serial); CREATE TABLE app.others (id int); \
             ALTER TABLE app.others OWNER TO other; CREATE EXTENSION pg_buffercache SCHEMA app; \
             ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC; \
             SET ROLE app; CREATE TABLE app.items (id int)",
        );
        let house = over(server);
        let check = || house.daypass.cli(&["database", "check", "shop"]);
        let output = check();
        assert_eq!(output.status, 1, "{output:?}");
        for said in [
            "may give nobody privileges on 1 relations of app, app.items among them",
            "may give nobody privileges on 2 relations of postgres, app.left_over among them",
            "the ddl-owner app cannot change 1 relations of other, app.others among them",
            "everybody gets SELECT on tables that app makes in schema app",
        ] {
            assert!(output.stderr.contains(said), "{said} in {}", output.stderr);
        }
        house.server.sql_in("shop", &output.stdout);
        let output = check();
        assert_eq!(output.status, 0, "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.contains("warning"), "{output:?}");
        assert_eq!(house.server.sql("SELECT pg_has_role('svc', 'postgres', 'MEMBER')"), "f");
        assert_eq!(house.owner("app.left_over"), "app");
        assert_eq!(house.owner("app.pg_buffercache"), "postgres");
        // And it is what the work takes.
        house.daypass.grant("eva", "shop", &["CREATE ON SCHEMA app", "ADMIN ON app.left_over"]);
        let mut eva = house.daypass.open_psql("eva", &house.daypass.token("eva"), "shop");
        let work = "CREATE TABLE app.made (id int); ALTER TABLE app.left_over ADD x int;";
        assert_eq!(eva.run(work).stderr, "");
        assert_eq!(house.owner("app.made"), "app");
    }
}

/// What a definition needs is what the server would check of its maker, and no more.
#[test]
fn grants_may_be_as_narrow_as_the_work() {
    for version in versions_available() {
        let house = house(Some(version.clone()));
        let open = |user: &str, privileges: &[&str]| {
            house.daypass.grant(user, "shop", privileges);
            house.daypass.open_psql(user, &house.daypass.token(user), "shop")
        };
        let refused = |output: crate::support::Output, missing: &str| {
            assert!(output.stderr.contains(missing), "{output:?} on {version:?}");
        };

        let mut eva = open("eva", &["CREATE ON SCHEMA app"]);
        assert_eq!(eva.run("CREATE TABLE app.made (id int PRIMARY KEY, n serial);").stderr, "");
        assert_eq!(house.owner("app.made"), "app");
        assert_eq!(house.second_lock_of("result", "CREATE TABLE app.made"), "partial");
        refused(eva.run("ALTER TABLE app.made ADD x int;"), "allows ADMIN ON app.made");
        refused(eva.run("CREATE INDEX ON app.items (id);"), "allows ADMIN ON app.items");
        refused(eva.run("CREATE TABLE sales.made (id int);"), "allows CREATE ON SCHEMA sales");
        refused(
            eva.run("CREATE VIEW app.seen AS SELECT id FROM app.secrets;"),
            "allows SELECT (id) ON app.secrets",
        );

        let mut bob = open("bob", &["ADMIN ON app.items"]);
        for text in [
            "ALTER TABLE app.items ADD COLUMN more int;",
            "COMMENT ON COLUMN app.items.more IS 'x';",
            "ALTER TABLE app.items RENAME COLUMN more TO rest;",
            "ALTER INDEX app.items_pkey SET (fillfactor = 50);",
            "VACUUM (ANALYZE) app.items;",
            "ALTER TABLE app.items DROP COLUMN rest;",
        ] {
            assert_eq!(bob.run(text).stderr, "", "{text} on {version:?}");
        }
        refused(bob.run("CREATE INDEX ON app.items (name);"), "allows CREATE ON SCHEMA app");
        refused(bob.run("ALTER TABLE app.secrets ADD x int;"), "allows ADMIN ON app.secrets");
        house.daypass.grant("bob", "shop", &["CREATE ON SCHEMA app"]);
        eventually("the second grant to be seen", || {
            (bob.run("CREATE INDEX named ON app.items (name);").stderr.is_empty()).then_some(())
        });
        assert_eq!(bob.run("DROP INDEX app.named;").stderr, "", "{version:?}");

        let mut kim = open("kim", &["MAINTAIN ON app.items"]);
        let upkeep = kim.run("ANALYZE app.items;");
        if house.server.major() >= 17 {
            assert_eq!(upkeep.stderr, "", "{version:?}");
            assert_eq!(house.second_lock_of("result", "ANALYZE app.items"), "role");
        } else {
            refused(upkeep, "allows ADMIN ON app.items");
        }
        house.past_the_proxy("kim", "SET ROLE app").expect_sqlstate("42501");
    }
}
