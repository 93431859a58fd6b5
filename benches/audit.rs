//! What the audit stream costs: the session that hands a record over, the line it becomes, and the
//! processor time of the thread that writes it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run should say so loudly")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use daypass::audit::chain::{Chain, HexDigest};
use daypass::audit::encode::Encoder;
use daypass::audit::record::{
    AuditRecord, Client, Kind, Needs, Outcome, Parameter, RelationUse, Text, Verdict, Who,
};
use daypass::audit::recorder::{Recorder, Settings};
use daypass::audit::rendered::Rendered;
use daypass::sql::Engine;
use daypass::sql::statement::Class;
use daypass::time::Timestamp;

/// What a session has at hand already when it makes a record.
struct Session {
    who: Arc<Rendered<Who>>,
    needs: Arc<Rendered<Needs>>,
    grants: Arc<[Arc<str>]>,
    reason: Arc<str>,
    backend: Arc<str>,
}

impl Session {
    fn new() -> Self {
        let needs = Needs {
            relations: vec![RelationUse {
                name: "public.pgbench_accounts".into(),
                mode: "select".into(),
                columns: vec!["abalance".into(), "aid".into()],
            }],
            accesses: vec!["SELECT (abalance, aid) ON public.pgbench_accounts".into()],
        };
        let client =
            Client { address: "127.0.0.1:50000".into(), application: Some("pgbench".into()) };
        Self {
            who: Arc::new(Rendered::new(Who {
                session: Some("s_abcdefghijkl".into()),
                principal: Some("alice".into()),
                token: Some("t_abcdefghijkl".into()),
                database: Some("shop".into()),
                engine: Some(Engine::Postgres),
                client: Some(Arc::new(client)),
            })),
            needs: Arc::new(Rendered::new(needs)),
            grants: ["g_abcdefghijkl".into()].into(),
            reason: "INC-42".into(),
            backend: "127.0.0.1:5432".into(),
        }
    }

    fn start(&self, kind: Kind, n: u64) -> AuditRecord {
        let mut record = AuditRecord::new(kind, Timestamp::from_micros(1_800_000_000_000_000 + n));
        record.who = Some(Arc::clone(&self.who));
        record.statement = Some(n);
        record.grants = Arc::clone(&self.grants);
        record.class = Some(Class::Read);
        record.command = Some("SELECT");
        record.backend = Some(Arc::clone(&self.backend));
        record.route = Some("primary");
        record.second_lock = Some("none");
        record
    }

    /// A point select with one bind parameter.
    fn decision(&self, n: u64) -> AuditRecord {
        let mut record = self.start(Kind::Decision, n);
        record.reason = Some(Arc::clone(&self.reason));
        record.text =
            Some(Text::Sql("SELECT abalance FROM pgbench_accounts WHERE aid = $1".into()));
        record.parameters = [Parameter::Value("73211".into())].into();
        record.needs = Some(Arc::clone(&self.needs));
        record.decision = Some(Verdict::Allow);
        record
    }

    fn result(&self, n: u64) -> AuditRecord {
        let mut record = self.start(Kind::Result, n);
        record.rows = Some(1);
        record.bytes = Some(87);
        record.duration_us = Some(154);
        record.outcome = Some(Outcome::Ok);
        record
    }
}

fn line(criterion: &mut Criterion) {
    let session = Session::new();
    let mut group = criterion.benchmark_group("line");
    for (name, record) in [("decision", session.decision(7)), ("result", session.result(7))] {
        let (mut chain, mut encoder, mut out) = (Chain::START, Encoder::default(), Vec::new());
        let written = encoder.encode(&record).unwrap().to_vec();
        chain.append(&written, &mut out);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(format!("{name}, on the session's thread"), |bencher| {
            bencher.iter(|| encoder.encode(black_box(&record)).unwrap().len());
        });
        group.bench_function(format!("{name}, on the writer's"), |bencher| {
            bencher.iter(|| {
                out.clear();
                chain.append(black_box(&written), &mut out);
            });
        });
        group.bench_function(format!("{name}, its hash alone"), |bencher| {
            bencher.iter(|| HexDigest::of(black_box(&out)));
        });
    }
    group.finish();
}

fn recorder(file: &Path) -> Recorder {
    let settings = Settings {
        file: Some(file.into()),
        queue_records_max: 1 << 24,
        queue_bytes_max: 8 << 30,
        ..Settings::default()
    };
    Recorder::open(&settings).unwrap()
}

fn hand_over(criterion: &mut Criterion) {
    let session = Session::new();
    let recorder = recorder(Path::new("/dev/null"));
    // At the pace of one busy session, and nothing timed but the call: without a pace the queue
    // would grow without end, and its growth would be what is measured.
    criterion.bench_function("hand over", |bencher| {
        bencher.iter_custom(|records| {
            let (mut spent, mut next) = (Duration::ZERO, Instant::now());
            for n in 0..records {
                let record = session.decision(n);
                let before = Instant::now();
                recorder.record(&record);
                spent += before.elapsed();
                next += Duration::from_micros(20);
                while Instant::now() < next {
                    std::hint::spin_loop();
                }
            }
            spent
        });
    });
    criterion.bench_function("read the clock", |bencher| {
        bencher.iter(|| black_box(Instant::now()).elapsed());
    });
    criterion.bench_function("make a decision record", |bencher| {
        bencher.iter_batched(|| (), |()| session.decision(7), BatchSize::NumIterations(1_000));
    });
    criterion.bench_function("accepts", |bencher| bencher.iter(|| recorder.accepts()));
}

/// Processor time of the writer so far (proc_pid_schedstat: first field, nanoseconds).
fn writer_time() -> Duration {
    let mut time = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == "audit\n") {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            time += Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap());
        }
    }
    time
}

/// Pairs of decision and result at a steady pace, as one busy session makes them: what the writer
/// spends on each record, wake-ups and write(2) to a real file included.
fn writer(criterion: &mut Criterion) {
    let session = Session::new();
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut group = criterion.benchmark_group("writer's processor time a record");
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    for (name, pace) in [("10 000 statements/s", 100), ("50 000 statements/s", 20)] {
        let pace = Duration::from_micros(pace);
        let recorder = recorder(&folder.path().join(format!("{name}.jsonl").replace('/', " a ")));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|records| {
                let before = writer_time();
                let mut next = Instant::now();
                for n in 0..records.div_ceil(2) {
                    recorder.record(&session.decision(n));
                    recorder.record(&session.result(n));
                    next += pace;
                    while Instant::now() < next {
                        std::hint::spin_loop();
                    }
                }
                while recorder.statistics().waiting > 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                writer_time() - before
            });
        });
        runtime.block_on(recorder.close(Duration::from_secs(10))).unwrap();
    }
    group.finish();
}

/// A session that waits for the disk after each record, and eight that do so at once.
fn durable(criterion: &mut Criterion) {
    let session = Session::new();
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for sessions in [1, 8] {
        let recorder = recorder(&folder.path().join(format!("{sessions}.jsonl")));
        criterion.bench_function(&format!("durable, {sessions} at once"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut waits = tokio::task::JoinSet::new();
                    for n in 0..sessions {
                        let recorder = recorder.clone();
                        recorder.record(&session.decision(n));
                        waits.spawn(async move { recorder.durable().await });
                    }
                    waits.join_all().await
                });
            });
        });
    }
}

criterion_group!(benches, line, hand_over, writer, durable);
criterion_main!(benches);
