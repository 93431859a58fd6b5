//! The ground of a comparison: a server with objects, roles that hold a random part of what can be held on
//! them, and principals with grants that say the same.

use std::collections::BTreeSet;

use daypass::secret::Secret;
use daypass::upstream::roles::names::Names;

use crate::generator::Random;
use crate::support::{Config, Daypass, Options, Postgres, Version, Wire};

/// Of ten things that can be held, how many a role holds: from few to all.
const DENSITIES: [usize; 6] = [3, 7, 8, 9, 9, 10];

/// What the roles' passwords are at the server; nobody else is there.
const PASSWORD: &str = "direct";

/// Everything that can be held: relations with columns, sequences, functions; all names qualified.
const OBJECTS: &str = "SET search_path = pg_catalog;
    SELECT 'relation', format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname),
        (SELECT string_agg(quote_ident(attname), ',' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = c.oid AND attnum > 0)
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'v') AND nspname IN ('public', 'app', 'closed')
    UNION ALL SELECT 'sequence', format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname), ''
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind = 'S' AND nspname IN ('public', 'app', 'closed')
    UNION ALL SELECT 'function', format('%I.%I(%s)', n.nspname, proname, oidvectortypes(proargtypes)),
        quote_ident(n.nspname), ''
    FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE nspname IN ('public', 'app', 'closed')
    ORDER BY 1, 2";

/// One who asks: the role of that name at the server, and the principal of that name.
pub struct Party {
    pub name: String,
    pub token: String,
}

/// All of it.
pub struct Ground {
    pub server: Postgres,
    pub daypass: Daypass,
    pub parties: Vec<Party>,
}

impl Ground {
    /// A server with those objects, and parties whose rights follow from the seed. Each party can log in at the
    /// server by its name; at the proxy to `open`, whose service account is the superuser without a second lock,
    /// and with `locked` also to an entry of that name, which has the second lock.
    pub fn new(
        version: Option<Version>,
        schema: &str,
        parties: usize,
        seed: u64,
        locked: bool,
    ) -> Self {
        let server = Postgres::start(Options {
            version,
            hba: vec![
                "host all postgres 127.0.0.1/32 trust".into(),
                "host all all 127.0.0.1/32 scram-sha-256".into(),
            ],
            // What waits for something that does not come is ended.
            settings: vec!["statement_timeout = 5s".into(), "log_statement = none".into()],
            ..Options::default()
        });
        server.sql("CREATE DATABASE ground");
        server.sql_in("ground", schema);
        let mut random = Random::new(seed);
        let objects = server.sql_in("ground", OBJECTS);
        let entry = |name: &str, lock: &str| {
            format!(
                "name = \"{name}\"\nengine = \"postgres\"\nprimary = \"{}\"\nsecond-lock = \"{lock}\"\n",
                server.url("postgres", "ground")
            )
        };
        // All of it before the proxy gives rights on the same objects.
        let drawn = (0..parties).map(|n| {
            let name = format!("party{n}");
            let density = DENSITIES[n % DENSITIES.len()];
            let (privileges, sql) = draw(&objects, &name, density, &mut random);
            let role = format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'; {sql}");
            server.sql_in("ground", &role);
            (name, privileges)
        });
        let drawn: Vec<_> = drawn.collect();
        let mut config = Config::new().database(&entry("open", "none"));
        if locked {
            config = config.database(&entry("locked", "role"));
        }
        let daypass = Daypass::start(config);
        let parties = drawn.into_iter().map(|(name, privileges)| {
            for database in if locked { &["open", "locked"][..] } else { &["open"] } {
                let texts: Vec<_> = privileges.iter().map(String::as_str).collect();
                daypass.grant(&name, database, &texts);
            }
            Party { token: daypass.token(&name), name }
        });
        let parties = parties.collect();
        Self { server, daypass, parties }
    }

    /// A session of the party's at the server itself.
    pub fn direct(&self, party: &Party) -> Wire {
        Wire::login(self.server.port(), &party.name, PASSWORD, "ground")
    }

    /// A session of the party's at the proxy.
    pub fn proxied(&self, party: &Party, entry: &str) -> Wire {
        Wire::login(self.daypass.port(), &party.name, &party.token, entry)
    }

    /// The role that the second lock has for the party, and its password.
    pub fn role(&self, party: &Party) -> (String, Secret) {
        let key = std::fs::read_to_string(self.daypass.folder().join("daypass-role.key")).unwrap();
        let names = Names::new(&Secret::new(key.trim_end()), "locked", "ground");
        let role = names.login(&party.name);
        let cluster = self.server.sql("SELECT system_identifier FROM pg_control_system()");
        let password = names.password(&cluster, &role);
        (role, password)
    }
}

/// A part of the objects' privileges, as the proxy takes them and as the server does.
fn draw(objects: &str, role: &str, density: usize, random: &mut Random) -> (Vec<String>, String) {
    let mut privileges = Vec::new();
    let mut schemas = BTreeSet::new();
    for line in objects.lines().filter(|line| line.contains('|')) {
        let [kind, name, schema, columns] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        let held = |random: &mut Random| random.below(10) < density;
        let (operations, object): (&[&str], _) = match kind {
            "relation" => (&["SELECT", "INSERT", "UPDATE", "DELETE"], name.to_owned()),
            "sequence" => (&["USAGE", "SELECT", "UPDATE"], format!("SEQUENCE {name}")),
            _ => (&["EXECUTE"], format!("FUNCTION {name}")),
        };
        let mut items = Vec::new();
        for operation in operations {
            let by_column = !columns.is_empty() && *operation != "DELETE" && random.below(2) == 0;
            if by_column {
                let some: Vec<&str> = columns.split(',').filter(|_| held(random)).collect();
                if !some.is_empty() {
                    items.push(format!("{operation} ({})", some.join(", ")));
                }
            } else if held(random) {
                items.push((*operation).to_owned());
            }
        }
        if !items.is_empty() {
            schemas.insert(schema);
            privileges.push(format!("{} ON {object}", items.join(", ")));
        }
    }
    let grants = privileges.iter().map(|privilege| format!("GRANT {privilege} TO {role};"));
    let usage = schemas.iter().map(|schema| format!("GRANT USAGE ON SCHEMA {schema} TO {role};"));
    let sql = grants.chain(usage).collect();
    (privileges, sql)
}
