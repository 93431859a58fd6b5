//! Results that are large: COPY of wide rows, and a great many small ones.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::table::{self, Figures};
use crate::target::{House, Target};
use crate::{Scale, seconds};

/// ReadyForQuery of an idle session: how every reply here ends.
const READY: &[u8] = b"Z\0\0\0\x05I";

pub(crate) fn run(house: &House, scale: &Scale) {
    let small = format!("SELECT n FROM generate_series(1, {}) n", scale.small_rows);
    let copies = ("COPY out of rows of 1 KiB", "COPY wide TO STDOUT");
    let rows = (format!("{} rows of one number", scale.small_rows), small);
    measure(house, scale, copies.0, copies.1);
    measure(house, scale, &rows.0, &rows.1);
}

fn measure(house: &House, scale: &Scale, title: &str, sql: &str) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rows: Vec<(&str, Vec<Figures>)> =
        house.targets.iter().map(|target| (target.name, Vec::new())).collect();
    for round in 0..scale.rounds {
        eprintln!("{title}: round {} of {}", round + 1, scale.rounds);
        for (target, (_, rounds)) in house.targets.iter().zip(&mut rows) {
            rounds.push(runtime.block_on(drain(target, sql)));
        }
    }
    table::print(title, "MB/s", "CPU µs/MB", &rows);
}

/// Asks, and reads all of the reply, looking at nothing but its end.
async fn drain(target: &Target, sql: &str) -> Figures {
    let mut stream = target.connect().await;
    let mut query = vec![b'Q'];
    let length = u32::try_from(sql.len() + 5).expect("a short statement");
    query.extend_from_slice(&length.to_be_bytes());
    query.extend_from_slice(sql.as_bytes());
    query.push(0);
    let (before, begin) = (target.cpu(), Instant::now());
    stream.write_all(&query).await.expect("a live connection");
    let mut buffer = vec![0; 256 * 1024];
    let (mut bytes, mut first) = (0_usize, 0);
    let mut tail = [0; READY.len()];
    while tail != READY {
        let n = stream.read(&mut buffer).await.expect("a live connection");
        assert!(n > 0, "{} hung up", target.name);
        if bytes == 0 {
            first = buffer[0];
        }
        bytes += n;
        // The end may lie across two reads.
        let mut end = [tail.as_slice(), &buffer[n.saturating_sub(READY.len())..n]].concat();
        end.drain(..end.len() - READY.len());
        tail.copy_from_slice(&end);
    }
    assert_ne!(first, b'E', "{} refused {sql}", target.name);
    let took = seconds(begin.elapsed());
    let megabytes = bytes as f64 / 1e6;
    let spent = target.cpu().zip(before).map(|(after, before)| after - before);
    Figures {
        rate: megabytes / took,
        latency: None,
        cpu: spent.map(|spent| seconds(spent) * 1e6 / megabytes),
    }
}
