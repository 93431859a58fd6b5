use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Instant;

use super::*;
use crate::audit::chain::{Chain, verify};
use crate::audit::record::{Kind, Text};
use crate::audit::sink::Place;

/// A sink that does as it is told, then takes everything.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<FakeState>>);

#[derive(Default)]
struct FakeState {
    taken: Vec<u8>,
    /// Answers to the next writes: how many bytes at most, or an error.
    writes: VecDeque<Result<usize, ErrorKind>>,
    syncs: VecDeque<ErrorKind>,
    synced: usize,
    places: VecDeque<Place>,
    /// No write comes back before this is let go.
    gate: Arc<Mutex<()>>,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.state().taken.clone()).unwrap()
    }

    fn records(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.records().iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
    }

    fn assert_chained(&self) {
        let text = self.text();
        assert_eq!(
            verify(Some(Chain::START), text.lines().map(str::as_bytes)).err(),
            None,
            "{text}"
        );
    }
}

impl Sink for Fake {
    fn name(&self) -> String {
        "fake".into()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gate = Arc::clone(&self.state().gate);
        drop(gate.lock().unwrap());
        let mut state = self.state();
        let count = match state.writes.pop_front() {
            Some(Ok(most)) => most.min(bytes.len()),
            Some(Err(kind)) => return Err(kind.into()),
            None => bytes.len(),
        };
        state.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.synced += 1;
        state.syncs.pop_front().map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn reopen(&mut self) -> usize {
        0
    }

    fn place(&self) -> Place {
        self.state().places.pop_front().unwrap_or(Place::Same)
    }
}

fn start(fake: &Fake, settings: &Settings) -> Recorder {
    Recorder::start(vec![Box::new(fake.clone())], None, settings).unwrap()
}

fn record(n: u64) -> AuditRecord {
    let mut record = AuditRecord::new(Kind::Decision, Timestamp::from_micros(n));
    record.statement = Some(n);
    record.text = Some(Text::Sql("select 1".into()));
    record
}

/// Time for whatever has to happen on the writer's thread; generous, for a loaded machine.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn records_are_written_in_order_and_chained() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    for n in 0..1_000 {
        recorder.record(&record(n));
    }
    recorder.durable().await.unwrap();
    assert!(fake.state().synced > 0);
    assert_eq!(recorder.statistics().waiting, 0);
    recorder.close(Duration::from_secs(5)).await.unwrap();
    let records = fake.records();
    assert_eq!(records.len(), 1_002);
    assert_eq!((&records[0]["kind"], &records[0]["event"]), (&"recorder".into(), &"opened".into()));
    for n in 0..1_000 {
        assert_eq!(records[n + 1]["statement"], n);
    }
    assert_eq!(records[1_001]["event"], "closed");
    fake.assert_chained();
    assert!(!recorder.accepts());
    assert!(recorder.durable().await.is_err());
}

#[tokio::test]
async fn without_anybody_waiting_records_are_written_all_the_same() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    for n in 0..3 {
        recorder.record(&record(n));
        eventually("a record is written", || fake.kinds().len() as u64 == n + 2);
    }
    // Long enough for the writer to go to sleep; a record wakes it.
    eventually("it sleeps", || recorder.handle.0.lock().asleep);
    recorder.record(&record(3));
    eventually("a record is written after a sleep", || fake.kinds().len() == 5);
    eventually("it is synced though nobody waits", || fake.state().synced > 0);
}

#[tokio::test]
async fn a_failing_sink_stops_statements_and_loses_nothing() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    recorder.durable().await.unwrap();
    fake.state().writes.extend([Ok(10), Err(ErrorKind::StorageFull)]);
    recorder.record(&record(1));
    let down = recorder.durable().await.unwrap_err();
    assert!(down.why.starts_with("fake: "), "{down}");
    assert!(!recorder.accepts());
    assert!(matches!(recorder.health(), Health::Down { .. }));
    assert!(recorder.durable().await.is_err(), "at once, not after a second");
    recorder.record(&record(2));
    eventually("it recovers by itself", || recorder.accepts());
    assert_eq!(recorder.health(), Health::Ok);
    recorder.durable().await.unwrap();
    assert_eq!(fake.kinds(), ["recorder", "decision", "decision"]);
    fake.assert_chained();
}

#[tokio::test]
async fn a_full_queue_is_refused_in_time_and_what_is_lost_is_told() {
    let fake = Fake::default();
    let settings = Settings { queue_records_max: 80, ..Settings::default() };
    let recorder = start(&fake, &settings);
    recorder.durable().await.unwrap();
    let gate = Arc::clone(&fake.state().gate);
    let closed = gate.lock().unwrap();
    for n in 0..70 {
        assert!(recorder.accepts(), "{n}");
        assert!(recorder.record(&record(n)));
    }
    assert!(!recorder.accepts(), "the rest is for results");
    for n in 70..100 {
        assert_eq!(recorder.record(&record(n)), n < 80);
    }
    assert_eq!(recorder.statistics().lost, 20);
    drop(closed);
    recorder.durable().await.unwrap();
    eventually("it accepts again", || recorder.accepts());
    recorder.record(&record(100));
    recorder.durable().await.unwrap();
    let records = fake.records();
    // Two gaps when the writer took its batch in the middle of the loss.
    let gaps: Vec<_> = records.iter().filter(|it| it["kind"] == "gap").collect();
    assert_eq!(gaps.iter().filter_map(|gap| gap["lost"].as_u64()).sum::<u64>(), 20);
    assert_eq!(gaps[0]["sequence"], 82, "after what was in the queue");
    assert_eq!(records.len(), 1 + 80 + gaps.len() + 1);
    fake.assert_chained();
}

#[tokio::test]
async fn a_limit_in_bytes_holds_too() {
    let fake = Fake::default();
    let settings = Settings { queue_bytes_max: 64 << 10, ..Settings::default() };
    let recorder = start(&fake, &settings);
    recorder.durable().await.unwrap();
    let gate = Arc::clone(&fake.state().gate);
    let closed = gate.lock().unwrap();
    for _ in 0..10 {
        let mut record = record(0);
        record.text = Some(Text::Sql("x".repeat(10_000).into()));
        recorder.record(&record);
    }
    assert!(recorder.statistics().waiting_bytes <= 64 << 10);
    assert_eq!(recorder.statistics().lost, 4);
    drop(closed);
}

#[tokio::test]
async fn a_failed_sync_is_told_and_what_it_left_in_doubt_is_named() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    recorder.durable().await.unwrap();
    fake.state().syncs.push_back(ErrorKind::Other);
    recorder.record(&record(1));
    assert!(recorder.durable().await.is_err());
    eventually("it recovers by itself", || recorder.accepts());
    recorder.durable().await.unwrap();
    assert_eq!(fake.kinds(), ["recorder", "decision", "gap"]);
    assert_eq!(
        fake.records()[2]["reason"],
        "fdatasync failed: records 2 to 2 may be lost after a power failure"
    );
    fake.assert_chained();
}

#[tokio::test]
async fn writes_that_are_short_interrupted_or_would_block_are_gone_on_with() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    recorder.durable().await.unwrap();
    fake.state().writes.extend([
        Ok(1),
        Err(ErrorKind::Interrupted),
        Ok(7),
        Err(ErrorKind::WouldBlock),
        Ok(3),
    ]);
    recorder.record(&record(1));
    recorder.durable().await.unwrap();
    fake.assert_chained();
}

#[tokio::test]
async fn a_second_sink_that_fails_does_not_double_what_the_first_has() {
    let (one, two) = (Fake::default(), Fake::default());
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(one.clone()), Box::new(two.clone())];
    let recorder = Recorder::start(sinks, None, &Settings::default()).unwrap();
    recorder.durable().await.unwrap();
    two.state().writes.extend([Ok(5), Err(ErrorKind::BrokenPipe)]);
    recorder.record(&record(1));
    assert!(recorder.durable().await.is_err());
    eventually("it recovers by itself", || recorder.accepts());
    assert_eq!(one.text(), two.text());
    one.assert_chained();
}

#[tokio::test]
async fn closing_waits_for_a_sink_until_its_deadline() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    recorder.durable().await.unwrap();
    fake.state().writes.extend([Err(ErrorKind::StorageFull); 2]);
    recorder.record(&record(1));
    assert!(recorder.close(Duration::from_millis(50)).await.is_err());
    recorder.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(fake.kinds(), ["recorder", "decision", "recorder"]);
    fake.assert_chained();
}

#[tokio::test]
async fn the_last_recorder_to_go_closes_the_stream() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    let other = recorder.clone();
    drop(recorder);
    other.record(&record(1));
    drop(other);
    eventually("it is closed", || fake.kinds() == ["recorder", "decision", "recorder"]);
}

#[tokio::test]
async fn a_file_that_was_removed_leaves_a_gap() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    recorder.durable().await.unwrap();
    fake.state().places.push_back(Place::Removed);
    eventually("it is noticed", || {
        recorder.record(&record(1));
        fake.kinds().contains(&"gap".to_owned())
    });
}

/// Many threads record and wait at once; every record is there, once, in one chain.
#[test]
fn sessions_on_many_threads_share_one_chain() {
    let fake = Fake::default();
    let recorder = start(&fake, &Settings::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for n in 0..500 {
                    recorder.record(&record(thread * 1_000 + n));
                    if n % 50 == 0 {
                        runtime.block_on(recorder.durable()).unwrap();
                    }
                }
                runtime.block_on(recorder.durable()).unwrap();
            });
        }
    });
    let mut seen: Vec<u64> =
        fake.records().iter().filter_map(|it| it["statement"].as_u64()).collect();
    assert_eq!(seen.len(), 2_000);
    for thread in 0..4 {
        let own: Vec<_> = seen.iter().filter(|n| **n / 1_000 == thread).collect();
        assert!(own.is_sorted(), "a session's records keep their order");
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2_000);
    fake.assert_chained();
}
