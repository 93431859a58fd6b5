//! The second lock alone. The first is made to say yes by data, not by a build that could: a party's role in the
//! database is the service account of a second proxy, where she holds everything. What a hole in the first lock
//! would let pass meets the server with exactly that role; beside it, the same text reaches it past any proxy.

use std::fmt::Write as _;

use crate::compare::{Form, Outcome, rules, run};
use crate::ground::{Ground, Party};
use crate::support::{Config, Daypass, Wire, eventually};
use crate::tally::Tally;
use crate::{OBJECTS, TRAP_OBJECTS, corpus, everything, versions};

/// What the server says of a role's rights: objects, and columns where they have any of their own.
const RIGHTS: &str = "
    SELECT concat_ws(' ', n.nspname, c.relname, attname, operation) AS held
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    JOIN pg_attribute ON attrelid = c.oid AND NOT attisdropped,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) operation
    WHERE relkind IN ('r', 'v', 'm', 'f', 'p')
        AND has_column_privilege('ROLE', c.oid, attnum, operation)
    UNION SELECT concat_ws(' ', n.nspname, c.relname, operation)
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) operation
    WHERE relkind IN ('r', 'v', 'm', 'f', 'p') AND has_table_privilege('ROLE', c.oid, operation)
    UNION SELECT concat_ws(' ', n.nspname, c.relname, operation)
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace,
    unnest(ARRAY['SELECT', 'UPDATE', 'USAGE']) operation
    WHERE CASE WHEN relkind = 'S' THEN has_sequence_privilege('ROLE', c.oid, operation) END
    UNION SELECT oid::regprocedure::text FROM pg_proc WHERE has_function_privilege('ROLE', oid, 'EXECUTE')
    UNION SELECT concat_ws(' ', nspname, operation)
    FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) operation
    WHERE has_schema_privilege('ROLE', oid, operation)
    UNION SELECT concat_ws(' ', datname, operation)
    FROM pg_database, unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) operation
    WHERE has_database_privilege('ROLE', oid, operation)
    ORDER BY 1";

/// A second proxy whose service accounts are the parties' own roles, one an entry, and the token of the one
/// principal there, who may do everything with each of them.
struct Open {
    daypass: Daypass,
    token: String,
}

impl Open {
    fn before(ground: &Ground) -> Self {
        let mut config = Config::new();
        for party in &ground.parties {
            let (role, password) = ground.role(party);
            let file = format!("{}.password", party.name);
            let mut lines = String::new();
            writeln!(lines, "name = \"{}\"\nengine = \"postgres\"", party.name).unwrap();
            writeln!(lines, "primary = \"{}\"", ground.server.url(&role, "ground")).unwrap();
            writeln!(lines, "password-file = \"{file}\"\nsecond-lock = \"none\"").unwrap();
            config = config.database(&lines).file(&file, password.expose_str().unwrap());
        }
        let daypass = Daypass::start(config);
        for party in &ground.parties {
            daypass.grant("anybody", &party.name, &["ADMIN ON DATABASE"]);
        }
        Self { token: daypass.token("anybody"), daypass }
    }
}

/// Sessions that ask the same with what should be the same rights.
struct Sessions {
    /// As the role that the test gave its rights.
    given: Wire,
    /// As the role that the second lock has made.
    made: Wire,
    /// As the same, behind a first lock that says yes.
    relayed: Wire,
}

fn sessions(ground: &Ground, open: &Open, party: &Party) -> Sessions {
    let (role, password) = ground.role(party);
    let password = password.expose_str().unwrap();
    Sessions {
        given: ground.direct(party),
        made: Wire::login(ground.server.port(), &role, password, "ground"),
        relayed: Wire::login(open.daypass.port(), "anybody", &open.token, &party.name),
    }
}

/// Waits until each party's role is there and can do what it should.
fn opened(ground: &Ground) {
    for party in &ground.parties {
        drop(ground.proxied(party, "locked"));
        let (role, _) = ground.role(party);
        let rights = |role: &str| ground.server.sql_in("ground", &RIGHTS.replace("ROLE", role));
        let given = rights(&party.name);
        eventually("the server to give the role exactly the party's rights", || {
            (rights(&role) == given).then_some(())
        });
    }
}

fn compare(ground: &Ground, name: &str, texts: &[String], tries: usize) {
    opened(ground);
    let open = Open::before(ground);
    let mut all: Vec<_> =
        ground.parties.iter().map(|party| sessions(ground, &open, party)).collect();
    let (mut made, mut relayed, rules) = (Tally::default(), Tally::default(), rules());
    for (n, text) in texts.iter().enumerate() {
        for attempt in 0..tries {
            let at = (n * 5 + attempt * 7) % all.len();
            let party = &ground.parties[at];
            let form = if (n + attempt) % 2 == 0 { Form::Simple } else { Form::Extended };
            let sessions_of = &mut all[at];
            let server = run(&mut sessions_of.given, form, text);
            let who = format!("{} {form:?}", party.name);
            made.add(&rules, &who, text, &server, &run(&mut sessions_of.made, form, text));
            let tested = run(&mut sessions_of.relayed, form, text);
            // The little that even a grant of everything does not open is no matter of the second lock.
            if !matches!(tested, Outcome::Proxy { .. }) {
                relayed.add(&rules, &who, text, &server, &tested);
            }
            if corpus::lingers(text) {
                all[at] = sessions(ground, &open, party);
            }
        }
    }
    made.judge(&format!("{name}, past the proxy"));
    relayed.judge(&format!("{name}, the first lock open"));
    assert!(
        made.by_rule.is_empty() && relayed.by_rule.is_empty(),
        "the server knows no rules of ours"
    );
}

#[test]
fn made_statements_end_at_the_server_without_the_first_lock() {
    for version in versions() {
        let ground = Ground::new(version, OBJECTS, 6, 3, true);
        let mut texts = corpus::made(if everything() { 2_000 } else { 700 });
        texts.extend(corpus::by_hand().into_iter().map(str::to_owned));
        compare(&ground, "made", &texts, if everything() { 6 } else { 1 });
    }
}

#[test]
fn traps_end_at_the_server_without_the_first_lock() {
    for version in versions() {
        let ground = Ground::new(version, TRAP_OBJECTS, 6, 4, true);
        compare(&ground, "traps", &corpus::traps(), if everything() { 6 } else { 1 });
    }
}
