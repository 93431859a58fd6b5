//! What a hostile server of MySQL or MariaDB says: while we log in to it, and in reply to commands.

#![no_main]

use bytes::{Buf, BytesMut};
use daypass::secret::Secret;
use daypass::upstream::mysql::login::{Account, Channel, Login, Progress, Startup};
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::reply::{Event, Expect, Reply, Step, parting};
use daypass::wire::mysql::response::{Failure, Okay};
use daypass_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct horse battery";

/// How a login ends, and how much was written to the server.
fn log_in(pieces: &[&[u8]], choice: u8) -> (String, Vec<u8>) {
    let channel = match choice & 3 {
        0 => Channel::Tls,
        1 => Channel::Unix,
        2 => Channel::Loopback,
        _ => Channel::Network,
    };
    let password = Secret::new(PASSWORD);
    let password = (choice & 4 == 0).then_some(&password);
    let account = Account { user: "app", schema: Some("shop"), password };
    let mut login = Login::new(&account, channel, Startup::default(), [9; 20]);
    let (mut input, mut out, mut end) = (BytesMut::new(), Vec::new(), "waits".to_owned());
    for piece in pieces {
        input.extend_from_slice(piece);
        match login.receive(&mut input, &mut out) {
            Ok(Progress::Receive) => {}
            Ok(Progress::Ready) => end = "ready".to_owned(),
            // What comes in clear is not looked at any more.
            Ok(Progress::StartTls) => return ("TLS".to_owned(), out),
            Err(error) => {
                if end == "waits" {
                    end = format!("refused: {error}");
                }
            }
        }
    }
    let shown = out.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
    assert!(channel == Channel::Unix || !shown, "the password crosses the wire in clear");
    if end == "ready" {
        let logged_in = login.finish().expect("it said so");
        assert!(Okay::read(&logged_in.okay, logged_in.capabilities).is_ok());
    }
    (end, out)
}

fn capabilities(choice: u8) -> Capabilities {
    let some = |bit: u8, one| if choice & bit == 0 { Capabilities::NONE } else { one };
    some(1, Capabilities::DEPRECATE_EOF)
        | some(2, Capabilities::SESSION_TRACK)
        | some(4, Capabilities::CACHE_METADATA | Capabilities::PROGRESS)
}

/// Everything that a reply says, and how many bytes it took.
fn follow(pieces: &[&[u8]], choice: u8) -> (Vec<String>, usize, bool) {
    let expect = [
        Expect::Results,
        Expect::Okay,
        Expect::Prepared,
        Expect::Fetched,
        Expect::Fields,
        Expect::Sentence,
    ][usize::from(choice >> 3) % 6];
    let mut reply = Reply::new(expect, capabilities(choice), 1);
    let (mut said, mut taken, mut buffer) = (Vec::new(), 0, BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let bytes = match reply.advance(&buffer) {
                Ok(Step::Read) => break,
                Ok(Step::Pass(bytes)) => bytes,
                Ok(Step::Packet { bytes, event }) => {
                    if let Event::Okay(okay) | Event::RowsEnd { end: okay, .. } = &event {
                        okay.changes().for_each(drop);
                    }
                    said.push(format!("{event:?}"));
                    bytes
                }
                Err(violation) => {
                    said.push(violation.to_string());
                    return (said, taken, reply.is_over());
                }
            };
            assert!(bytes > 0 && bytes <= buffer.len(), "only what is there is taken");
            taken += bytes;
            buffer.advance(bytes);
            if reply.awaits_file() {
                reply.file_sent(reply.sequence());
            }
        }
    }
    (said, taken, reply.is_over())
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (body, pieces) = input.pieces();
    if choice & 128 == 0 {
        let _ = (Failure::read(body), parting(body));
        assert_eq!(follow(&[body], choice), follow(&pieces, choice), "cut at {pieces:?}");
    } else {
        let (whole, cut) = (log_in(&[body], choice), log_in(&pieces, choice));
        // Of bytes in clear before TLS, what is there when TLS is due decides; which of two mistakes in
        // one packet is told, how much of it was there.
        let ready = |end: &(String, Vec<u8>)| end.0 == "ready";
        assert_eq!(ready(&whole), ready(&cut), "cut at {pieces:?}");
        if ready(&whole) {
            assert_eq!(whole, cut, "cut at {pieces:?}");
        }
    }
});
