use proptest::prelude::*;

use super::*;

/// What a login came to, comparable.
fn outcome(step: &Step, out: &[u8]) -> (String, Vec<u8>) {
    (format!("{step:?}"), out.to_vec())
}

/// Sends `stream` in pieces that end at `cuts`.
fn in_pieces(stream: &[u8], cuts: &[usize]) -> (String, Vec<u8>) {
    let mut peer = Peer::new(in_clear());
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        match peer.send(&stream[start..end]) {
            Step::Read => start = end,
            step => return outcome(&step, &peer.out),
        }
    }
    outcome(&Step::Read, &peer.out)
}

/// A whole login as one stream. It can be one because the tests' server nonce is always the same.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut peer = Peer::new(in_clear());
    let proof = up_to_proof(&mut peer, "alice", &token(2));
    [hello("alice"), first(), proof].concat()
});

#[test]
fn it_does_not_matter_where_the_bytes_are_cut() {
    let stream = &*STREAM;
    let whole = in_pieces(stream, &[]);
    assert!(whole.0.starts_with("LoggedIn"), "{}", whole.0);
    let every: Vec<_> = (1..stream.len()).collect();
    assert_eq!(in_pieces(stream, &every), whole);
    for cut in every {
        assert_eq!(in_pieces(stream, &[cut]), whole, "{cut}");
    }
}

proptest! {
    #[test]
    fn nor_when_they_are_wrong(
        mut cuts in prop::collection::vec(0_usize..300, 0..6),
        changed in prop::collection::vec((0_usize..300, any::<u8>()), 0..3),
    ) {
        let mut stream = STREAM.clone();
        for (at, byte) in changed {
            if let Some(place) = stream.get_mut(at) {
                *place = byte;
            }
        }
        cuts.retain(|&cut| cut < stream.len());
        cuts.sort_unstable();
        // An SSLRequest with more behind it is the one thing that depends on how bytes arrive.
        prop_assert_eq!(in_pieces(&stream, &cuts), in_pieces(&stream, &[]));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        begun in 0_usize..3,
        pieces in prop::collection::vec(any::<Vec<u8>>(), 0..4),
        tag in prop_oneof![Just(b'p'), any::<u8>()],
    ) {
        let mut peer = Peer::new(config(TlsPolicy::Offered, true));
        for bytes in [hello("alice"), first()].iter().take(begun) {
            peer.send(bytes);
        }
        let mut over = false;
        for piece in pieces {
            let mut framed = Vec::new();
            frame(&mut framed, tag, |out| out.extend_from_slice(&piece));
            for bytes in [framed, piece] {
                let step = peer.send(&bytes);
                prop_assert!(!over || matches!(step, Step::Closed));
                over |= !matches!(step, Step::Read | Step::StartTls);
            }
        }
        // Whatever was written is whole messages, but for the one byte that answers a request.
        let answers = peer.out.iter().take_while(|&&byte| byte == b'N' || byte == b'S').count();
        for (tag, body) in messages(&peer.out[answers..]) {
            prop_assert!("ERv".contains(tag));
            let _ = Reader::new(b'R', &body).i32();
        }
    }
}
