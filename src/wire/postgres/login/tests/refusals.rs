use super::*;

#[test]
fn start_up_is_refused_before_a_proof_is_asked_for() {
    let with = |version, more: &[(&str, &str)]| {
        startup_packet(version, &[&[("user", "alice"), ("database", "shop")], more].concat())
    };
    let (open, closed) = (in_clear(), config(TlsPolicy::Offered, false));
    for (config, bytes, sqlstate, sentence) in [
        (&closed, with(V3_0, &[]), "28000", "connection is insecure (try sslmode=require)"),
        (&closed, with(V3_0, &[("role", "x")]), "28000", "connection is insecure"),
        (&open, with(0x0002_0000, &[]), "0A000", "unsupported frontend protocol 2.0"),
        (&open, with(0x0004_0000, &[]), "0A000", "unsupported frontend protocol 4.0"),
        (&open, with(V3_0, &[("replication", "true")]), "0A000", "replication connections"),
        (&open, with(V3_0, &[("role", "x")]), "42501", "parameter \"role\" cannot be set"),
        (&open, with(V3_0, &[("options", "-c role=x")]), "42501", "parameter \"role\""),
        (&open, with(V3_0, &[("options", "-E")]), "42601", "parameter \"options\""),
        (&open, with(V3_0, &[("client_encoding", "SJIS")]), "22023", "\"SJIS\" is not supported"),
        (&open, with(V3_0, &[("user", "")]), "28000", "no user name"),
        (&open, with(V3_0, &[("user", "local:root")]), "28000", "invalid user name"),
        (&open, with(V3_0, &[("user", &"a".repeat(64))]), "28000", "invalid user name"),
        (&open, packet(V3_0, b"user\0alice\0"), "08P01", "invalid start-up packet layout"),
        (&open, packet(V3_0, b"user\0\xff\0\0"), "08P01", "not UTF-8"),
        (&open, b"\0\0\0\x07".to_vec(), "08P01", "invalid length of start-up packet"),
        (&open, b"GET / HTTP/1.1\r\n".to_vec(), "08P01", "invalid length of start-up packet"),
    ] {
        let mut peer = Peer::new(config.clone());
        let refused = peer.refused(&bytes);
        let (told, message, _) = peer.error();
        assert_eq!((refused.sqlstate, &*told), (sqlstate, sqlstate), "{message}");
        assert!(message.contains(sentence), "{message}");
        assert_eq!(refused.reason, message);
        assert!(peer.messages().iter().all(|(tag, _)| *tag == 'E'), "{message}");
        assert!(matches!(peer.send(&hello("alice")), Step::Closed));
    }
}

#[test]
fn a_token_in_the_wrong_field_is_neither_told_nor_recorded() {
    let token = String::from_utf8(token(1).expose().to_vec()).unwrap();
    let inside = format!("alice:{token} ");
    for fields in [
        [("user", &*token), ("database", "shop")],
        [("user", "alice"), ("database", &token)],
        [("user", &inside), ("database", "shop")],
    ] {
        let mut peer = Peer::new(in_clear());
        let refused = peer.refused(&startup_packet(V3_0, &fields));
        assert_eq!(peer.error().1, "a token stands where a name should");
        assert!(!format!("{refused:?}").contains(&token));
        assert!(!peer.out.windows(token.len()).any(|window| window == token.as_bytes()));
    }
}

#[test]
fn a_tls_handshake_where_none_is_expected_gets_no_answer() {
    let mut peer = Peer::new(in_clear());
    let refused = peer.refused(b"\x16\x03\x01\x02\0");
    assert!(refused.reason.contains("TLS handshake"));
    assert!(peer.out.is_empty());
}

#[test]
fn what_is_no_sasl_initial_response_is_refused() {
    let scram = "SCRAM-SHA-256";
    for (bytes, sqlstate, sentence) in [
        (answer(b"daypass_s3cret\0"), "08P01", "malformed SASL response"),
        (answer(b""), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\xff\xff\xff\xff"), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x02n"), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x01nn"), "08P01", "malformed SASL response"),
        (answer(b"SCRAM-SHA-256\0\0\0\0\x01\xff"), "08P01", "malformed SASL response"),
        (initial("s3cret", "n,,n=,r=a"), "08P01", "SASL mechanism was not offered"),
        (initial("SCRAM-SHA-256-PLUS", "p="), "08P01", "SASL mechanism was not offered"),
        (initial(scram, "n,,n=,r="), "08P01", "malformed SCRAM message"),
        (initial(scram, "n,,m=x,n=,r=a"), "0A000", "mandatory SCRAM extension"),
        (initial(scram, "n,a=root,n=,r=a"), "0A000", "authorization identity"),
        (b"Q".to_vec(), "08P01", "type 'Q' is not expected"),
        (b"p\0\0\0\x03".to_vec(), "08P01", "length is less than 4"),
        (b"p\0\0\x08\0".to_vec(), "08P01", "longer than the limit of 2048 bytes"),
        (b"p\xff\xff\xff\xff".to_vec(), "08P01", "longer than the limit of 2048 bytes"),
    ] {
        let mut peer = Peer::new(in_clear());
        peer.send(&hello("alice"));
        let refused = peer.refused(&bytes);
        let (told, message, hint) = peer.error();
        assert_eq!((refused.sqlstate, &*told), (sqlstate, sqlstate), "{message}");
        assert!(message.contains(sentence), "{message}");
        assert!(!format!("{refused:?}{message}{hint}").contains("s3cret"));
        assert_eq!(refused.principal.as_deref(), Some("alice"));
    }
}

#[test]
fn a_client_that_was_offered_channel_binding_may_not_say_it_was_not() {
    let mut peer = Peer::within_tls(Some(b"HASH"));
    peer.send(&hello("alice"));
    assert_eq!(peer.refused(&initial("SCRAM-SHA-256", "y,,n=,r=a")).sqlstate, "28000");
    let mut peer = Peer::within_tls(None);
    peer.send(&hello("alice"));
    assert!(matches!(peer.send(&initial("SCRAM-SHA-256", "y,,n=,r=a")), Step::Read));
}

#[test]
fn what_is_no_proof_is_refused() {
    for (bytes, sqlstate) in [
        (answer(b"c=biws,r=client"), "08P01"),
        (answer(b"\xff"), "08P01"),
        (first(), "08P01"),
        (b"d".to_vec(), "08P01"),
        (b"p\0\0\x08\0".to_vec(), "08P01"),
    ] {
        let mut peer = Peer::new(in_clear());
        peer.send(&hello("alice"));
        peer.send(&first());
        assert_eq!(peer.refused(&bytes).sqlstate, sqlstate);
    }
    // A good proof, but with another's nonce.
    let mut peer = Peer::new(in_clear());
    let proof = up_to_proof(&mut peer, "alice", &token(1));
    let text = String::from_utf8(proof).unwrap().replace("r=client", "r=clienx");
    assert_eq!(peer.refused(text.as_bytes()).sqlstate, "08P01");
}

#[test]
fn a_client_that_says_goodbye_is_let_go() {
    // psql without a password leaves so, to ask for one and come back.
    for before in [hello("alice"), [hello("alice"), first()].concat()] {
        let mut peer = Peer::new(in_clear());
        peer.send(&before);
        assert!(matches!(peer.send(b"X\0\0\0\x04"), Step::Closed));
    }
}

#[test]
fn a_client_without_a_word_is_waited_for() {
    let mut peer = Peer::new(in_clear());
    assert!(matches!(peer.send(b""), Step::Read));
    assert!(peer.out.is_empty());
}
