//! Memory of sessions that have done one statement and wait.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::target::House;
use crate::{Scale, machine};

pub(crate) fn run(house: &House, scale: &Scale) {
    let sessions = scale.idle_sessions;
    println!("#### {sessions} idle sessions, each after one statement\n");
    println!("| target | resident before, KiB | after | KiB a session |");
    println!("|---|---|---|---|");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for target in &house.targets {
        let Some(pid) = target.pid else { continue };
        let before = machine::resident(pid);
        let after = runtime.block_on(async {
            let mut open = Vec::with_capacity(sessions);
            for _ in 0..sessions {
                let mut session = target.connect().await;
                session.write_all(b"Q\0\0\0\x0dSELECT 1\0").await.expect("it is open");
                let mut reply = [0; 256];
                let n = session.read(&mut reply).await.expect("it is open");
                assert_eq!(reply[0], b'T', "{}: {n} bytes", target.name);
                open.push(session);
            }
            machine::resident(pid)
        });
        let each = (after.saturating_sub(before)) as f64 / sessions as f64;
        println!("| {} | {before} | {after} | {each:.1} |", target.name);
    }
    println!();
}
