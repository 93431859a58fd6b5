//! A client's frames: any split of the bytes gives the same frames as the whole, none reaches beyond
//! its bytes, and what is read off one is inside it.

#![no_main]

use bytes::{Buf, BytesMut};
use daypass::wire::postgres::frame::{HEADER_BYTES, Violation, frame, header};
use daypass::wire::postgres::message::{Frontend, Value};
use daypass_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

/// Everything that was read: each frame's bytes and what they say; then what ended it.
#[derive(Debug, Default, PartialEq)]
struct Scanned {
    frames: Vec<(Vec<u8>, Result<String, Violation>)>,
    end: Option<Violation>,
}

fn scan(pieces: &[&[u8]]) -> (Scanned, usize) {
    let (mut scanned, mut buffer) = (Scanned::default(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while scanned.end.is_none() {
            let header = match header(&buffer) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(violation) => {
                    scanned.end = Some(violation);
                    break;
                }
            };
            let Some(whole) = buffer.get(..header.total) else { break };
            let body = &whole[HEADER_BYTES..];
            let read = Frontend::read(header.tag, body);
            if let Ok(message) = &read {
                check(message, header.tag, body);
            }
            scanned.frames.push((whole.to_vec(), read.map(|message| format!("{message:?}"))));
            buffer.advance(header.total);
        }
    }
    (scanned, buffer.len())
}

fn check(message: &Frontend<'_>, tag: u8, body: &[u8]) {
    let inside = |part: &[u8]| body.as_ptr_range().contains(&part.as_ptr()) || part.is_empty();
    match message {
        Frontend::Query(text) => assert!(inside(text) && text.len() + 1 == body.len()),
        Frontend::Parse { name, text, types } => {
            assert!(inside(name.as_bytes()) && inside(text) && inside(types));
            assert_eq!(name.len() + text.len() + types.len() + 4, body.len());
        }
        Frontend::Bind(bind) => {
            for value in bind.values() {
                if let Value::Text(bytes) | Value::Binary(bytes) = value {
                    assert!(inside(bytes));
                }
            }
        }
        _ => (),
    }
    let mut again = Vec::new();
    frame(&mut again, tag, |out| out.extend_from_slice(body));
    let header = header(&again).expect("what was read").expect("all there");
    assert_eq!((header.tag, header.total), (tag, again.len()));
}

fuzz_target!(|data: &[u8]| {
    let (body, pieces) = Input::new(data).pieces();
    let (whole, left) = scan(&[body]);
    assert_eq!((&whole, left), (&scan(&pieces).0, scan(&pieces).1), "cut at {pieces:?}");
    let taken: Vec<u8> = whole.frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    assert_eq!(taken.len() + left, body.len());
    assert!(body.starts_with(&taken));
});
