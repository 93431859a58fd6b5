//! Messages of which only a part has passed when something else happens.

use crate::audit::record::Outcome;

use super::client::Sent;
use super::{House, at, grant};

fn with_grant(privileges: &str) -> House {
    let mut house = House::new(&[grant("g_1", privileges, 0, 1_000)]);
    house.settle();
    house.told();
    house
}

fn query(house: &mut House, text: &str) -> Vec<String> {
    house.client_sends(&Sent::Query(text.to_owned()).bytes());
    house.settle();
    house.told()
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::postgres::frame::frame(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

/// COPY data whose last bytes are what a server would take for messages, were it not for its length.
fn copy_data() -> Vec<u8> {
    let drop = frame(b'Q', b"DROP TABLE t4\0");
    frame(b'd', &[b"1\n", &frame(b'c', b"")[..], &drop].concat())
}

#[test]
fn a_copy_that_ends_inside_a_piece_of_data_smuggles_nothing() {
    let data = copy_data();
    for cut in 5..data.len() {
        let mut house = with_grant("INSERT ON public.t0");
        assert_eq!(query(&mut house, "COPY t0 (a) FROM STDIN"), ["G"]);
        house.client_sends(&data[..cut]);
        house.revoke("g_1");
        house.client_sends(&data[cut..]);
        house.client_sends(&Sent::CopyDone.bytes());
        house.settle();
        assert_eq!(house.told(), ["E57014", "ZI"], "cut at {cut}");
        assert_eq!(house.audit.last().unwrap().outcome, Some(Outcome::Cancelled));
        house.add("g_2", "SELECT ON public.t1", 1_000);
        assert_eq!(query(&mut house, "SELECT a FROM t1"), ["T", "D", "D", "C", "ZI"]);
        let ran: Vec<_> = house.server.ran.iter().map(|ran| &*ran.text).collect();
        assert_eq!(ran, ["COPY t0 (a) FROM STDIN", "SELECT a FROM t1"], "cut at {cut}");
    }
}

#[test]
fn a_last_word_is_not_put_inside_a_row() {
    // A row has 12 bytes; of its header nothing is passed before all five bytes are there.
    for (cut, told) in [(0, true), (3, true), (8, false), (12, true), (23, false), (24, true)] {
        let mut house = with_grant("SELECT ON public.t0");
        house.client_sends(&Sent::Query("SELECT a FROM t0".into()).bytes());
        // The path is asked for first.
        house.server_delivers(usize::MAX);
        house.told();
        let length = house.server.out[1..5].try_into().unwrap();
        let description = usize::try_from(u32::from_be_bytes(length)).unwrap() + 1;
        house.server_dies(description + cut);
        let (messages, rest) = house.told_so_far();
        assert_eq!(rest, if told { 0 } else { cut % 12 }, "{messages:?}");
        assert_eq!(messages.contains(&"E08006".to_owned()), told, "{messages:?}");
        assert!(house.closed);
    }
}

#[test]
fn a_denial_is_not_put_inside_a_notification() {
    let mut house = with_grant("SELECT ON public.t0");
    query(&mut house, "SELECT a FROM t0");
    house.server.volunteer(b'A', 60);
    house.server_delivers(20);
    house.client_sends(&Sent::Query("SELECT a FROM t1".into()).bytes());
    house.settle();
    let mut told = house.told();
    told.sort();
    assert_eq!(told, ["A", "E42501", "ZI"]);
}

#[test]
fn what_was_asked_before_a_half_close_is_answered() {
    // The session comes by its grant while it is open, so that a server has to be reached first.
    let mut house = House::new(&[]);
    house.settle();
    house.told();
    house.add("g_1", "SELECT ON public.t0", 1_000);
    assert!(house.now >= at(100));
    house.client_sends(&Sent::Query("SELECT a FROM t0".into()).bytes());
    house.client_half_closes();
    assert_eq!(house.told(), ["S", "T", "D", "D", "C", "ZI"]);
}
