//! A session whose client sends anything: nothing reaches the server that was not decided, and where
//! the bytes are cut changes nothing.

#![no_main]

use daypass_fuzz::house::House;
use daypass_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

/// What the client is told when everything that happens waits until all has been sent.
fn told(pieces: &[&[u8]], grants: u8, failing: &[u8], delivered: usize) -> (Vec<u8>, bool, bool) {
    let mut house = House::new(grants, failing);
    house.settle(usize::MAX);
    for piece in pieces {
        house.client_sends(piece);
    }
    house.settle(delivered);
    let told = (house.client_out.clone(), house.closed, house.violated);
    assert!(house.violated || house.told_whole_messages());
    house.end();
    told
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (grants, mode) = (input.byte(), input.byte());
    let failing = input.bytes(4);
    if mode & 1 == 0 {
        let (body, pieces) = input.pieces();
        let whole = told(&[body], grants, failing, usize::MAX);
        assert_eq!(told(&pieces, grants, failing, usize::from(mode >> 1)), whole, "{pieces:?}");
        return;
    }
    let happens = input.bytes(8);
    let (_, pieces) = input.pieces();
    let mut house = House::new(grants, failing);
    let mut happens = happens.iter();
    for piece in pieces {
        house.client_sends(piece);
        if let Some(choice) = happens.next() {
            house.happens(*choice);
        }
    }
    for choice in happens {
        house.take_client_bytes();
        house.happens(*choice);
    }
    house.settle(usize::from(mode >> 1));
    assert!(house.violated || house.told_whole_messages());
    house.end();
});
