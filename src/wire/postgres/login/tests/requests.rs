use super::*;

#[test]
fn tls_and_gss_may_each_be_asked_for_once_in_any_order() {
    let (tls, gss) = (packet(80_877_103, b""), packet(80_877_104, b""));
    for order in [[&tls, &gss], [&gss, &tls]] {
        let mut peer = Peer::new(in_clear());
        for request in order {
            assert!(matches!(peer.send(request), Step::Read));
        }
        assert_eq!(std::mem::take(&mut peer.out), b"NN");
        assert!(matches!(log_in(&mut peer, "alice", &token(1)), Step::LoggedIn(_)));
    }
    for twice in [&tls, &gss] {
        let mut peer = Peer::new(in_clear());
        peer.send(twice);
        peer.out.clear();
        assert_eq!(peer.refused(twice).sqlstate, "08P01");
    }
    for inside in [&tls, &gss] {
        assert_eq!(Peer::within_tls(None).refused(inside).sqlstate, "08P01");
    }
}

#[test]
fn tls_that_was_asked_for_is_waited_for() {
    let mut peer = Peer::new(config(TlsPolicy::Offered, false));
    assert!(matches!(peer.send(&packet(80_877_104, b"")), Step::Read));
    assert!(matches!(peer.send(&packet(80_877_103, b"")), Step::StartTls));
    assert_eq!(std::mem::take(&mut peer.out), b"NS");
    assert!(matches!(peer.send(b""), Step::StartTls));
    let tls = TlsInfo { direct: false, channel_binding: None };
    peer.login.tls_established(tls, b"").unwrap();
    assert!(matches!(log_in(&mut peer, "alice", &token(1)), Step::LoggedIn(_)));
}

#[test]
fn nothing_said_in_clear_is_carried_into_tls() {
    for request in [80_877_103, 80_877_104] {
        for more in [&b"x"[..], &hello("alice")] {
            let mut peer = Peer::new(config(TlsPolicy::Offered, true));
            let refused = peer.refused(&[&packet(request, b""), more].concat());
            assert_eq!(refused.sqlstate, "08P01");
            assert!(peer.error().1.contains("unencrypted data"));
        }
    }
    for direct in [true, false] {
        let mut peer = Peer::new(config(TlsPolicy::Offered, true));
        if !direct {
            peer.send(&packet(80_877_103, b""));
        }
        let tls = TlsInfo { direct, channel_binding: None };
        let refused = peer.login.tls_established(tls, b"x").unwrap_err();
        assert!(refused.reason.contains("unencrypted data"), "{}", refused.reason);
        assert!(matches!(peer.send(&hello("alice")), Step::Closed));
    }
}

#[test]
fn a_handshake_that_is_not_due_ends_the_login() {
    let gss = packet(80_877_104, b"");
    let request = packet(80_877_103, b"");
    let none: &[u8] = b"";
    for (policy, before, direct) in [
        (TlsPolicy::None, none, true),
        (TlsPolicy::Offered, none, false),
        (TlsPolicy::Offered, &gss, true),
        (TlsPolicy::Offered, &request, true),
        (TlsPolicy::Offered, &hello("alice"), false),
    ] {
        let mut peer = Peer::new(config(policy, true));
        peer.send(before);
        let tls = TlsInfo { direct, channel_binding: None };
        assert!(peer.login.tls_established(tls, b"").is_err(), "{policy:?} {direct}");
    }
}

#[test]
fn a_cancel_is_passed_on_without_a_word() {
    for tls in [TlsPolicy::None, TlsPolicy::Offered] {
        let mut peer = Peer::new(config(tls, false));
        let Step::Cancel(key) = peer.send(&packet(80_877_102, b"\0\0\0\x07keys")) else {
            panic!("no cancel")
        };
        assert_eq!(key.expose(), b"\0\0\0\x07keys");
        assert!(peer.out.is_empty());
        assert!(matches!(peer.send(b""), Step::Closed));
    }
}
