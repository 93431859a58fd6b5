//! Parameters whose values name something: a sequence, a setting, another object.

use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::House;
use crate::support::{Config, Wire};

/// A value, and whether it is sent in binary form.
type Sent<'a> = (&'a [u8], bool);

/// Parse, Bind, Execute, Sync: the SQLSTATE, or `ok`.
fn run(wire: &mut Wire, text: &str, types: &[u32], values: &[Sent<'_>]) -> String {
    wire.send(|buffer| {
        frontend::parse("", text, types.iter().copied(), buffer).unwrap();
        let bound = frontend::bind(
            "",
            "",
            values.iter().map(|(_, binary)| i16::from(*binary)),
            values,
            |(bytes, _), buffer| {
                buffer.extend_from_slice(bytes);
                Ok(IsNull::No)
            },
            std::iter::empty(),
            buffer,
        );
        assert!(bound.is_ok(), "a portal is bound");
        frontend::execute("", 0, buffer).unwrap();
        frontend::sync(buffer);
    });
    let messages = wire.until_ready();
    let error = messages.iter().find(|message| message.tag == b'E');
    error.map_or_else(|| "ok".to_owned(), |error| error.field(b'C').to_owned())
}

#[test]
fn what_a_parameter_names_is_decided_when_it_is_bound() {
    const TEXT: u32 = 25;
    const INT8: u32 = 20;
    const OID: u32 = 26;
    const REGCLASS: u32 = 2205;
    let house = House::new(Config::new());
    house.server.sql_in("shop", "CREATE SEQUENCE mine; CREATE SEQUENCE secret; CREATE SCHEMA other; CREATE SEQUENCE other.mine");
    let number = |name: &str| {
        let text = house.server.sql_in("shop", &format!("SELECT '{name}'::regclass::oid"));
        text.parse::<u32>().unwrap()
    };
    let (mine, secret) = (number("mine"), number("secret"));
    let digits = (mine.to_string(), secret.to_string());
    let binary = (mine.to_be_bytes(), secret.to_be_bytes());
    let wide = (u64::from(mine).to_be_bytes(), u64::from(secret).to_be_bytes());
    let token = house.principal("bea", &["USAGE ON SEQUENCE public.mine"]);
    let mut wire = Wire::login(house.daypass.port(), "bea", &token, "shop");

    const NEXT: &str = "SELECT nextval($1)";
    let cases: [(&str, &[u32], Sent<'_>, Sent<'_>); 8] = [
        (NEXT, &[], (b"mine", false), (b"public.secret", false)),
        (NEXT, &[], (digits.0.as_bytes(), false), (digits.1.as_bytes(), false)),
        (NEXT, &[], (&binary.0, true), (&binary.1, true)),
        (NEXT, &[REGCLASS], (&binary.0, true), (&binary.1, true)),
        (NEXT, &[OID], (digits.0.as_bytes(), false), (digits.1.as_bytes(), false)),
        (NEXT, &[INT8], (&wide.0, true), (&wide.1, true)),
        (NEXT, &[TEXT], (b"mine", true), (b"\"secret\"", true)),
        ("SELECT nextval($1::text::regclass)", &[], (b"mine", true), (b"secret", true)),
    ];
    for (text, types, allowed, denied) in cases {
        let what = format!("{text} {types:?} {allowed:?}");
        assert_eq!(run(&mut wire, text, types, &[allowed]), "ok", "{what}");
        assert_eq!(run(&mut wire, text, types, &[denied]), "42501", "{what}");
    }
    // The server leaves out what is declared to be nothing: the second argument is the only one.
    const VOID: u32 = 2278;
    for (name, code) in [("mine", "ok"), ("secret", "42501")] {
        let text = format!("SELECT nextval($1, '{name}')");
        assert_eq!(run(&mut wire, &text, &[VOID], &[(b"", false)]), code, "{text}");
    }
    let text = "SELECT coalesce($1, pg_sleep(0)), setval($1, 'secret', 5)";
    assert_eq!(run(&mut wire, text, &[], &[(b"", false)]), "0A000");
    assert_eq!(house.server.sql_in("shop", "SELECT last_value, is_called FROM secret"), "1|f");
    assert_eq!(house.server.sql_in("shop", "SELECT last_value FROM mine"), "9");

    // A statement that is bound again names another thing.
    wire.send(|buffer| frontend::parse("kept", NEXT, std::iter::empty(), buffer).unwrap());
    for (name, tag) in [("mine", b'D'), ("secret", b'E'), ("mine", b'D')] {
        wire.send(|buffer| {
            let value = |value: &&str, buffer: &mut bytes::BytesMut| {
                buffer.extend_from_slice(value.as_bytes());
                Ok(IsNull::No)
            };
            let none = std::iter::empty::<i16>;
            assert!(
                frontend::bind("", "kept", none(), [name].iter(), value, none(), buffer).is_ok()
            );
            frontend::execute("", 0, buffer).unwrap();
            frontend::sync(buffer);
        });
        assert!(wire.until_ready().iter().any(|message| message.tag == tag), "{name}");
    }

    const SET: &str = "SELECT set_config($1, $2, false)";
    for (name, value, expected) in [
        ("timezone", "UTC", "ok"),
        ("TimeZone", "Europe/Berlin", "ok"),
        ("role", "postgres", "0A000"),
        ("session_authorization", "postgres", "0A000"),
        ("standard_conforming_strings", "off", "0A000"),
        ("standard_conforming_strings", "on", "ok"),
        ("client_encoding", "sjis", "0A000"),
    ] {
        for binary in [false, true] {
            let values = [(name.as_bytes(), binary), (value.as_bytes(), binary)];
            assert_eq!(run(&mut wire, SET, &[], &values), expected, "{name} {value}");
        }
    }
    let read = |wire: &mut Wire, name: &str| {
        run(wire, "SELECT current_setting($1)", &[], &[(name.as_bytes(), false)])
    };
    assert_eq!(read(&mut wire, "work_mem"), "ok");
    assert_eq!(read(&mut wire, "primary_conninfo"), "0A000");

    // What is set so changes what names mean from then on.
    let values: [Sent<'_>; 2] = [(b"search_path", false), (b"other, public", false)];
    assert_eq!(run(&mut wire, SET, &[], &values), "ok");
    assert_eq!(run(&mut wire, NEXT, &[], &[(b"mine", false)]), "42501");
    assert_eq!(run(&mut wire, NEXT, &[], &[(b"public.mine", false)]), "ok");
    // SQL's EXECUTE has no Bind to read.
    assert!(wire.run("EXECUTE kept('secret')").iter().any(|message| message.tag == b'E'));
    assert_eq!(house.server.sql_in("shop", "SELECT last_value, is_called FROM secret"), "1|f");
}
