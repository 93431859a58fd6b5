//! The committed list of the server's own functions against those of every server that is installed.

use std::collections::BTreeSet;

use daypass::sql::catalog::{Function, Origin, Volatility};
use daypass::sql::postgres::{is_same_at_replica, tells_of_one_server};

use crate::support::{Options, Postgres, versions_available};

const LIST: &str = include_str!("../../src/sql/postgres/replica.txt");

/// Functions that a query may call. Those whose arguments or result are `internal`, and triggers', it cannot.
const CALLABLE: &str = "prorettype NOT IN ('internal'::regtype, 'trigger'::regtype, \
    'event_trigger'::regtype) AND 'internal'::regtype <> ALL (proargtypes::oid[])";

/// What is called without being named: by operators, casts, aggregates, types and their operator classes. Input is
/// judged by the type: called by name, one may be given the number of any.
const IMPLICIT: &str = "SELECT oprcode::oid FROM pg_operator \
    UNION SELECT castfunc FROM pg_cast \
    UNION SELECT unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, \
        aggmtransfn, aggminvtransfn, aggmfinalfn]::oid[]) FROM pg_aggregate \
    UNION SELECT typoutput::oid FROM pg_type \
    UNION SELECT amproc::oid FROM pg_amproc UNION SELECT conproc::oid FROM pg_conversion";

fn names() -> BTreeSet<&'static str> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    let names = lines.map(|line| line.split_once(':').map_or(line, |(_, names)| names));
    names.flat_map(str::split_whitespace).collect()
}

fn is_same(name: &str, volatility: &str) -> bool {
    let function = Function {
        origin: Origin::Server,
        volatility: match volatility {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        ..Function::default()
    };
    is_same_at_replica(name, &function).unwrap()
}

fn rows(server: &Postgres, sql: &str) -> Vec<Vec<String>> {
    let text = server.sql(sql);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

#[test]
fn every_function_of_every_server_was_looked_at() {
    let names = names();
    let mut seen = BTreeSet::new();
    let versions = versions_available();
    assert!(versions.len() > 1, "run scripts/install servers");
    let newest = versions.iter().map(|version| version.major).max().unwrap();
    for version in versions {
        let server = Postgres::start(Options { version: Some(version), ..Options::default() });
        let major = server.major();
        let mut missing = Vec::new();
        for row in rows(
            &server,
            &format!(
                "SELECT DISTINCT proname, provolatile FROM pg_proc WHERE oid < 16384 AND {CALLABLE}"
            ),
        ) {
            let (name, volatility) = (&*row[0], &*row[1]);
            seen.extend(names.get(name));
            if volatility != "i" && !names.contains(name) {
                missing.push(name.to_owned());
            }
            // The loader looks for these alone among the IMMUTABLE ones.
            if volatility == "i" && !is_same(name, volatility) {
                let found =
                    name.starts_with("pg_walfile_name") || listed_for_another(&server, name);
                assert!(found, "{major}: {name} is IMMUTABLE and in the list");
            }
        }
        assert!(missing.is_empty(), "{major}: judge these in replica.txt: {missing:?}");
        implicit_ones_are_the_same(&server);
        system_views_are_listed(&server);
    }
    if newest >= 18 {
        let gone: Vec<_> = names.difference(&seen).collect();
        assert!(gone.is_empty(), "no server has {gone:?}");
    }
}

/// Whether a name is listed for an overload that is not IMMUTABLE.
fn listed_for_another(server: &Postgres, name: &str) -> bool {
    let sql =
        format!("SELECT count(*) FROM pg_proc WHERE proname = '{name}' AND provolatile <> 'i'");
    server.sql(&sql) != "0"
}

fn implicit_ones_are_the_same(server: &Postgres) {
    let sql = format!(
        "SELECT DISTINCT proname, provolatile FROM pg_proc WHERE oid IN ({IMPLICIT}) AND oid < 16384 \
        AND {CALLABLE}"
    );
    let found = rows(server, &sql);
    assert!(found.len() > 100, "{}: {}", server.major(), found.len());
    let doubted: Vec<_> = found.iter().filter(|row| !is_same(&row[0], &row[1])).collect();
    assert!(doubted.is_empty(), "{}: {doubted:?}", server.major());
}

/// Views of the server's own: those that call what is doubted are in the list.
fn system_views_are_listed(server: &Postgres) {
    let sql = "SELECT DISTINCT c.relname, p.proname, p.provolatile FROM pg_class c \
        JOIN pg_rewrite w ON w.ev_class = c.oid, \
        regexp_matches(w.ev_action::text, \
            ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+) ', 'g') f \
        JOIN pg_proc p ON p.oid = f[1]::oid WHERE c.oid < 16384 AND c.relkind = 'v'";
    let found = rows(server, sql);
    assert!(found.len() > 100, "{}: {}", server.major(), found.len());
    let unlisted: Vec<_> = found
        .iter()
        .filter(|row| !is_same(&row[1], &row[2]) && !tells_of_one_server(&row[0]))
        // Whether a schema is another session's temporary one is the same wherever there is none of one's own.
        .filter(|row| !matches!(&*row[1], "pg_is_other_temp_schema" | "pg_my_temp_schema"))
        .collect();
    assert!(unlisted.is_empty(), "{}: {unlisted:?}", server.major());
}
