use std::os::unix::fs::{PermissionsExt, symlink};

use daypass::audit::recorder::{Health, OpenError};

use super::*;

#[tokio::test]
async fn a_stream_goes_on_where_it_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for n in 0..3 {
        let recorder = open(&path);
        recorder.record(&decision(n));
        close(recorder).await;
    }
    let stream = ["opened", "decision", "closed"].repeat(3);
    assert_eq!(words(&path), stream);
    assert_eq!(check(Some(Chain::START), &path).unwrap().unwrap().sequence(), 9);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_is_durable_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let recorder = open(&path);
    for n in 0..20 {
        recorder.record(&decision(n));
        recorder.durable().await.unwrap();
        assert_eq!(words(&path).len() as u64, n + 2);
    }
}

/// The tail of a crashed stream, broken off at every byte of its last record.
#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let recorder = open(&path);
    recorder.record(&decision(1));
    recorder.durable().await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    close(recorder).await;
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in first..whole.len() {
        let path = folder.path().join(format!("{end}.jsonl"));
        std::fs::write(&path, &whole[..end]).unwrap();
        close(open(&path)).await;
        check(Some(Chain::START), &path).unwrap();
        let expected: &[&str] = match end {
            end if end == first => &["opened", "gap", "opened", "closed"],
            // Only the newline was missing: nothing is lost but its end.
            end if end == whole.len() - 1 => &["opened", "decision", "gap", "opened", "closed"],
            _ => &["opened", "gap", "gap", "opened", "closed"],
        };
        assert_eq!(words(&path), expected, "broken off at byte {end}");
        if expected[1..3] == ["gap", "gap"] {
            let gap = &records(&path)[1];
            assert_eq!(gap["lost"], 1);
            assert_eq!(gap["text"]["length"], (end - first) as u64);
        }
    }
}

#[tokio::test]
async fn a_first_line_that_was_torn_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, b"{\"version\":1,\"seq").unwrap();
    close(open(&path)).await;
    assert_eq!(words(&path), ["gap", "opened", "closed"]);
    check(Some(Chain::START), &path).unwrap();
}

#[tokio::test]
async fn lines_that_are_no_records_stay_and_are_chained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    close(open(&path)).await;
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("\0\0\0\nnonsense\n");
    std::fs::write(&path, &text).unwrap();
    close(open(&path)).await;
    let after = std::fs::read_to_string(&path).unwrap();
    let added: Vec<&[u8]> = after.strip_prefix(&text).unwrap().lines().map(str::as_bytes).collect();
    verify(Some(Chain::after(4, b"nonsense")), added.clone()).unwrap();
    let gap: Value = serde_json::from_slice(added[0]).unwrap();
    assert_eq!(gap["reason"], "the last 2 lines of the audit file are no records");
}

#[test]
fn nothing_is_appended_to_a_file_that_holds_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for text in ["dear diary", "dear diary\n", "{}\n{\"version\":2}\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Recorder::open(&to_file(&path)), Err(OpenError::NotAudit(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    let nowhere = folder.path().join("missing/audit.jsonl");
    assert!(matches!(Recorder::open(&to_file(&nowhere)), Err(OpenError::Io { .. })));
}

#[tokio::test]
async fn two_recorders_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let recorder = open(&path);
    assert!(matches!(Recorder::open(&to_file(&path)), Err(OpenError::InUse(_))));
    close(recorder).await;
    close(open(&path)).await;
}

/// The disk is full, then it is not: refused in between, and nothing is lost.
#[tokio::test]
async fn a_full_disk_stops_statements_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (path, real) = (folder.path().join("audit.jsonl"), folder.path().join("real.jsonl"));
    symlink("/dev/full", &path).unwrap();
    let recorder = open(&path);
    recorder.record(&decision(1));
    let down = recorder.durable().await.unwrap_err();
    assert!(down.why.contains("No space left on device"), "{down}");
    assert!(!recorder.accepts());
    assert!(matches!(recorder.health(), Health::Down { .. }));
    recorder.record(&decision(2));
    std::fs::remove_file(&path).unwrap();
    symlink(&real, &path).unwrap();
    eventually("it recovers by itself", || recorder.accepts());
    close(recorder).await;
    // Whether the first decision was in the batch that failed is the writer's affair.
    let words = words(&real);
    let others: Vec<_> = words.iter().filter(|word| *word != "reopened").collect();
    assert_eq!(others, ["opened", "decision", "decision", "closed"]);
    assert_eq!(words.len(), 5);
    check(Some(Chain::START), &real).unwrap();
}

#[tokio::test]
async fn a_rotated_stream_is_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
    let recorder = open(&path);
    recorder.record(&decision(1));
    recorder.durable().await.unwrap();
    std::fs::rename(&path, &old).unwrap();
    recorder.record(&decision(2));
    recorder.reopen();
    recorder.durable().await.unwrap();
    recorder.record(&decision(3));
    close(recorder).await;
    assert_eq!(words(&old), ["opened", "decision"]);
    assert_eq!(words(&path), ["reopened", "decision", "decision", "closed"]);
    let between = check(Some(Chain::START), &old).unwrap();
    check(between, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    close(open(&path)).await;
    check(between, &path).unwrap();
}

#[tokio::test]
async fn a_rename_is_noticed_without_a_word_and_a_removal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let recorder = open(&path);
    recorder.durable().await.unwrap();
    std::fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    eventually("a new file is made", || {
        recorder.record(&decision(1));
        path.exists() && words(&path).first().is_some_and(|word| word == "reopened")
    });
    std::fs::remove_file(&path).unwrap();
    eventually("the removal is told", || {
        recorder.record(&decision(2));
        path.exists() && words(&path).contains(&"gap".to_owned())
    });
    close(recorder).await;
    check(None, &path).unwrap();
}
