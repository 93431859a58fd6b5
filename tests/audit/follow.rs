use daypass::audit::tail::{Filter, Follow, Line, find, last};

use super::*;

fn statements(lines: &[Line]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.record["statement"].as_u64()).collect()
}

#[tokio::test]
async fn following_sees_every_line_once_across_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let recorder = open(&path);
    recorder.durable().await.unwrap();
    let mut follow = Follow::open(&path, 10, Filter::default()).unwrap();
    let mut seen = follow.poll().unwrap();
    for n in 0..200 {
        recorder.record(&decision(n));
        if n % 40 == 20 {
            recorder.durable().await.unwrap();
            std::fs::rename(&path, folder.path().join(format!("audit.{n}"))).unwrap();
            seen.extend(follow.poll().unwrap());
            recorder.reopen();
        }
        if n % 7 == 0 {
            seen.extend(follow.poll().unwrap());
        }
        if n % 10 == 0 {
            recorder.durable().await.unwrap();
            seen.extend(follow.poll().unwrap());
        }
    }
    close(recorder).await;
    seen.extend(follow.poll().unwrap());
    assert_eq!(statements(&seen), (0..200).collect::<Vec<_>>());
    verify(Some(Chain::START), seen.iter().map(|line| line.raw.as_bytes())).unwrap();
}

#[tokio::test]
async fn following_survives_a_torn_line_and_an_emptied_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("{\"kind\":\"grant\",\"sequence\":1}\n{\"kind\":\"gr");
    let mut follow = Follow::open(&path, 1, Filter::default()).unwrap();
    assert_eq!(follow.poll().unwrap().len(), 1);
    assert_eq!(follow.poll().unwrap(), []);
    write("{\"kind\":\"grant\",\"sequence\":1}\n{\"kind\":\"gap\"}\n");
    assert_eq!(follow.poll().unwrap()[0].raw, "{\"kind\":\"gap\"}");
    write("{\"kind\":\"token\"}\n");
    assert_eq!(follow.next().unwrap().unwrap().raw, "{\"kind\":\"token\"}");
}

#[tokio::test]
async fn records_are_found_by_number_and_by_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let recorder = open(&path);
    for session in ["s_one", "s_two"] {
        for (n, kind) in [Kind::SessionStart, Kind::Decision, Kind::Result].into_iter().enumerate()
        {
            let mut record = decision(n as u64);
            record.kind = kind;
            record.concern(who(session));
            recorder.record(&record);
        }
    }
    close(recorder).await;
    assert_eq!(statements(&find(&path, "3").unwrap()), [1]);
    assert_eq!(find(&path, "99").unwrap(), []);
    assert_eq!(statements(&find(&path, "s_one").unwrap()), [0, 1, 2]);
    assert_eq!(find(&path, "s_three").unwrap(), []);
    let results = Filter { kind: Some("result".into()), ..Filter::default() };
    assert_eq!(statements(&last(&path, 10, &results).unwrap()), [2, 2]);
    let two = Filter { session: Some("s_two".into()), ..Filter::default() };
    assert_eq!(statements(&last(&path, 2, &two).unwrap()), [1, 2]);
    let nobody = Filter { principal: Some("mallory".into()), ..Filter::default() };
    assert_eq!(last(&path, 10, &nobody).unwrap(), []);
}
