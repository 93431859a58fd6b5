//! What only a process of its own can show: a kill, and standard output. The child is this test
//! binary again, told by a variable which part to play.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::*;

fn child(part: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::plays_its_part", "--nocapture", "--test-threads=1"])
        .env("DAYPASS_TEST_PART", part)
        .env("DAYPASS_TEST_FILE", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing in the parent.
#[tokio::test]
async fn plays_its_part() {
    let Ok(part) = std::env::var("DAYPASS_TEST_PART") else { return };
    // Ends the line that the test runner has begun.
    println!();
    if part == "stdout" {
        let recorder = Recorder::open(&Settings { stdout: true, ..Settings::default() }).unwrap();
        recorder.record(&decision(1));
        close(recorder).await;
        return;
    }
    let path = std::env::var_os("DAYPASS_TEST_FILE").unwrap();
    let recorder = open(Path::new(&path));
    for n in 0.. {
        recorder.record(&decision(n));
        recorder.durable().await.unwrap();
        println!("durable {n}");
    }
}

#[tokio::test]
async fn what_was_durable_outlives_a_kill_and_the_kill_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for round in 0_usize..4 {
        let mut child = child("durable", &path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let acknowledged = lines
            .filter_map(|line| line.strip_prefix("durable ").map(|n| n.parse::<u64>().unwrap()));
        let last = acknowledged.take(20 + round * 7).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let before = words(&path).len();
        let newest = records(&path)[before - 1]["statement"].as_u64().unwrap();
        assert!(newest >= last, "{newest} is in the file, {last} was acknowledged");
        close(open(&path)).await;
        assert_eq!(words(&path)[before..], ["gap", "opened", "closed"]);
        check(Some(Chain::START), &path).unwrap();
    }
}

#[test]
fn standard_output_carries_the_same_stream() {
    let mut child = child("stdout", Path::new(""));
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let lines: Vec<&[u8]> =
        text.lines().filter(|line| line.starts_with('{')).map(str::as_bytes).collect();
    assert_eq!(lines.len(), 3, "{text}");
    verify(Some(Chain::START), lines).unwrap();
}
