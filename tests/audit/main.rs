//! The audit stream on real files: written, broken off, rotated, read back, and held to its schema.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing helper is a failing test"
)]

mod child;
mod file;
mod follow;
mod schema;
mod validator;

use std::path::Path;
use std::time::{Duration, Instant};

use daypass::audit::chain::{Break, Chain, verify};
use daypass::audit::record::{AuditRecord, Kind, Text, Verdict, Who};
use daypass::audit::recorder::{Recorder, Settings};
use daypass::time::Timestamp;
use serde_json::Value;

fn to_file(path: &Path) -> Settings {
    Settings { file: Some(path.into()), ..Settings::default() }
}

fn open(path: &Path) -> Recorder {
    Recorder::open(&to_file(path)).unwrap()
}

async fn close(recorder: Recorder) {
    recorder.close(Duration::from_secs(10)).await.unwrap();
}

fn who(session: &str) -> Who {
    Who {
        session: Some(session.into()),
        principal: Some("alice".into()),
        database: Some("shop".into()),
        ..Who::default()
    }
}

fn decision(statement: u64) -> AuditRecord {
    let mut record = AuditRecord::new(Kind::Decision, Timestamp::from_micros(statement));
    record.concern(who("s_abcdefghijkl"));
    record.statement = Some(statement);
    record.text = Some(Text::Sql("select 1".into()));
    record.decision = Some(Verdict::Allow);
    record
}

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What happened, a word a record: the recorder's event, else the kind.
fn words(path: &Path) -> Vec<String> {
    let word = |record: &Value| {
        let event = record.get("event").unwrap_or(&record["kind"]);
        event.as_str().unwrap().to_owned()
    };
    records(path).iter().map(word).collect()
}

fn check(start: Option<Chain>, path: &Path) -> Result<Option<Chain>, Break> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes.last(), Some(&b'\n'), "whole lines only");
    verify(start, bytes[..bytes.len() - 1].split(|byte| *byte == b'\n'))
}

/// Time for what other threads do; generous, for a loaded machine.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
