//! The pure parts of a statement's way: frames, analysis, decision.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run should say so loudly")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daypass::grant::decide::{Decision, decide};
use daypass::grant::privilege::parse_stored;
use daypass::grant::snapshot::HeldGrants;
use daypass::grant::{Grant, GrantId, GrantLimits, Route};
use daypass::identity::PrincipalName;
use daypass::session::gate::Gate;
use daypass::session::scope::{Meanings, PostgresNames};
use daypass::sql::access::Accesses;
use daypass::sql::catalog::{Catalog, Relation, RelationKind, Schema};
use daypass::sql::postgres::{ParseLimits, Scope, analyse};
use daypass::time::Timestamp;
use daypass::wire::postgres::frame;

/// What pgbench's tables look like, among `others` that nobody asks for.
fn catalog(others: usize) -> Catalog {
    let relation = |columns: &[&str]| Relation {
        kind: RelationKind::Table,
        columns: columns.iter().map(|&column| column.into()).collect(),
        ..Relation::default()
    };
    let mut public = Schema::default();
    let accounts = ["aid", "bid", "abalance", "filler"];
    public.relations.insert("pgbench_accounts".into(), relation(&accounts));
    public.relations.insert("pgbench_branches".into(), relation(&["bid", "bbalance", "filler"]));
    for n in 0..others {
        public.relations.insert(format!("other_{n}").into(), relation(&accounts));
    }
    let schemas = [("public".into(), Arc::new(public)), ("pg_catalog".into(), Arc::default())]
        .into_iter()
        .collect();
    Catalog { version: 1, server_version: 150_018, schemas, ..Catalog::default() }
}

fn path() -> Box<[Box<str>]> {
    ["pg_catalog".into(), "public".into()].into()
}

const POINT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 73211;";
const JOIN: &str = "SELECT b.bid, count(*), sum(a.abalance) AS total \
     FROM pgbench_accounts a JOIN pgbench_branches b USING (bid) \
     WHERE a.abalance > 100 AND b.bbalance IN (SELECT max(bbalance) FROM pgbench_branches) \
     GROUP BY b.bid HAVING count(*) > 10 ORDER BY total DESC LIMIT 20";

fn frames(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    for n in 0..1_000_u32 {
        frame::frame(&mut bytes, b'D', |out| out.extend_from_slice(&n.to_be_bytes()));
    }
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("headers of 1 000 small rows", |bencher| {
        bencher.iter(|| {
            let (mut at, mut seen) = (0, 0);
            while let Some(header) = frame::header(black_box(&bytes).get(at..).unwrap()).unwrap() {
                at += header.total;
                seen += 1;
            }
            seen
        });
    });
    group.finish();
}

fn analysis(criterion: &mut Criterion) {
    let (catalog, path) = (catalog(1_000), path());
    let (scope, limits) =
        (Scope { catalog: &catalog, path: &path, parameters: &[] }, ParseLimits::default());
    let mut group = criterion.benchmark_group("analysis");
    for (name, text) in [("point select", POINT), ("join with a subquery", JOIN)] {
        group.bench_function(format!("{name}, cold"), |bencher| {
            bencher.iter(|| analyse(black_box(text), &scope, &limits).unwrap());
        });
        group.bench_function(format!("{name}, its parse alone"), |bencher| {
            bencher.iter(|| pg_raw_parse::parse(black_box(text)).unwrap());
        });
    }
    let (database, catalog) = ("bench".into(), Arc::new(catalog.clone()));
    let meaning = Meanings::<PostgresNames>::default().get(&database, &catalog, path.clone());
    for _ in 0..2 {
        meaning.analyse(POINT, &[], &limits).unwrap();
    }
    group.bench_function("point select, kept", |bencher| {
        bencher.iter(|| meaning.analyse(black_box(POINT), &[], &limits).unwrap());
    });
    group.finish();
}

fn grant(n: u64, privileges: &[&str]) -> Arc<Grant> {
    Arc::new(Grant {
        id: GrantId(format!("g_{n:012}").into()),
        principal: PrincipalName::new("alice").unwrap(),
        database: "bench".into(),
        privileges: privileges.iter().map(|text| parse_stored(text).unwrap()).collect(),
        not_before: Timestamp::from_micros(0),
        expires: Timestamp::from_micros(1_000 + n),
        reason: "INC-42".into(),
        ticket: None,
        approvers: Vec::new(),
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: Timestamp::from_micros(0),
        revoked: None,
    })
}

fn decision(criterion: &mut Criterion) {
    let (catalog, path) = (catalog(0), path());
    let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
    let analysis = analyse(POINT, &scope, &ParseLimits::default()).unwrap();
    let accesses: &Accesses = &analysis.statements.first().unwrap().accesses;
    let (one, now) = (["SELECT ON public.pgbench_accounts"], Timestamp::from_micros(1));
    let columns = ["SELECT (aid, abalance) ON public.pgbench_accounts"];
    let many = (0..20).map(|n| grant(n, &["SELECT ON public.other"])).chain([grant(20, &columns)]);
    let mut group = criterion.benchmark_group("decision");
    for (name, held) in [
        ("by one grant", HeldGrants::new([grant(0, &one)])),
        ("by columns, the last of 21 grants", HeldGrants::new(many)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let decision = decide(black_box(accesses).iter(), &held, now);
                assert!(matches!(decision, Decision::Allow(_)));
                decision
            });
        });
        let gate = Gate::new(held);
        group.bench_function(format!("{name}, kept"), |bencher| {
            bencher.iter(|| gate.decide_statement(black_box(accesses), &[], now).is_ok());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = frames, analysis, decision
}
criterion_main!(benches);
