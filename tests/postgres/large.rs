//! Values of nearly a gigabyte pass, and what may not pass is refused; neither is held.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;

use crate::House;
use crate::support::{Config, PATIENCE, Wire, tags};

/// PostgreSQL holds no value of 1 GiB; this is as near as a round number comes.
const VALUE_BYTES: usize = 1_000_000_000;

/// What the proxy may need more while such a value passes, bytes.
const MORE_BYTES_MAX: u64 = 64 << 20;

/// The most memory that a process has had, bytes.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Runs `work` in a house of its own and checks what memory it cost the proxy.
fn in_bounded_memory(user: &str, privileges: &[&str], work: impl FnOnce(&House, &mut Wire)) {
    let house = House::new(Config::new());
    house.server.sql_in(
        "shop",
        "CREATE VIEW sink AS SELECT ''::text AS value; CREATE TABLE sizes (size int); \
         CREATE FUNCTION measure() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO sizes VALUES (length(NEW.value)); RETURN NULL; END'; \
         CREATE TRIGGER measured INSTEAD OF INSERT ON sink FOR EACH ROW EXECUTE FUNCTION measure()",
    );
    let token = house.principal(user, privileges);
    let mut wire = Wire::login(house.daypass.port(), user, &token, "shop");
    assert_eq!(tags(&wire.run("SELECT 1")), "TDCZ");
    let before = peak_memory(house.daypass.id());
    work(&house, &mut wire);
    let more = peak_memory(house.daypass.id()) - before;
    assert!(more < MORE_BYTES_MAX, "the proxy took {more} bytes more");
    assert_eq!(tags(&wire.run("SELECT 1")), "TDCZ");
}

#[test]
fn a_value_of_a_gigabyte_reaches_the_client() {
    in_bounded_memory("gail", &["READ ON TABLE public.orders"], |house, wire| {
        wire.query(&format!("SELECT repeat(repeat('x', 1000), {})", VALUE_BYTES / 1000));
        assert_eq!(wire.read().tag, b'T');
        let (tag, length) = wire.header();
        assert_eq!((tag, length), (b'D', 2 + 4 + VALUE_BYTES));
        wire.bytes(2 + 4);
        wire.expect_run(VALUE_BYTES, b'x');
        assert_eq!(tags(&wire.until_ready()), "CZ");
        let result = house.daypass.wait_audit("the result", |record| {
            record["kind"] == "result" && record["bytes"].as_u64() > Some(VALUE_BYTES as u64)
        });
        assert_eq!(result["rows"], 1);
    });
}

#[test]
fn a_value_of_a_gigabyte_is_copied_in() {
    in_bounded_memory("gena", &["INSERT ON public.sink"], |house, wire| {
        wire.query("COPY sink FROM STDIN (FORMAT binary)");
        assert_eq!(tags(&wire.until(b'G')), "G");
        // One message: the head of the format, a row of one value, the end.
        let head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01";
        let length = 4 + head.len() + 4 + VALUE_BYTES + 2;
        wire.send(|buffer| {
            buffer.put_u8(b'd');
            buffer.put_u32(u32::try_from(length).unwrap());
            buffer.put_slice(head);
            buffer.put_u32(u32::try_from(VALUE_BYTES).unwrap());
        });
        assert_eq!(wire.send_until_stuck(VALUE_BYTES, b'x', PATIENCE), VALUE_BYTES);
        wire.send(|buffer| {
            buffer.put_i16(-1);
            frontend::copy_done(buffer);
        });
        assert_eq!(tags(&wire.until_ready()), "CZ");
        let size = house.server.sql_in("shop", "SELECT size FROM sizes");
        assert_eq!(size, VALUE_BYTES.to_string());
    });
}

#[test]
fn a_parameter_over_the_limit_is_refused_by_name_and_not_held() {
    in_bounded_memory("gina", &["INSERT ON public.sink"], |house, wire| {
        wire.send(|buffer| {
            frontend::parse("", "INSERT INTO sink VALUES ($1)", [], buffer).unwrap();
            buffer.put_u8(b'B');
            // Names, no formats, one value.
            buffer.put_u32(u32::try_from(4 + 1 + 1 + 2 + 2 + 4 + VALUE_BYTES + 2).unwrap());
            buffer.put_slice(b"\0\0\0\0\0\x01");
            buffer.put_u32(u32::try_from(VALUE_BYTES).unwrap());
        });
        assert_eq!(wire.send_until_stuck(VALUE_BYTES, b'x', PATIENCE), VALUE_BYTES);
        wire.send(|buffer| {
            buffer.put_u16(0);
            frontend::execute("", 0, buffer).unwrap();
            frontend::sync(buffer);
        });
        let messages = wire.until_ready();
        assert_eq!(tags(&messages), "1EZ");
        assert_eq!(messages[1].field(b'C'), "54000");
        let said = messages[1].field(b'M');
        assert_eq!(said, "a message is over the limit of 67108864 bytes");
        assert_eq!(house.server.sql_in("shop", "SELECT count(*) FROM sizes"), "0");
    });
}

#[test]
fn a_message_over_the_limit_waits_at_the_client_for_its_turn() {
    in_bounded_memory("gwen", &["READ ON TABLE public.orders"], |house, wire| {
        wire.query("SELECT pg_sleep(600)");
        wire.send(|buffer| {
            buffer.put_u8(b'Q');
            buffer.put_u32(u32::try_from(4 + VALUE_BYTES + 1).unwrap());
        });
        let sent = wire.send_until_stuck(VALUE_BYTES, b'x', Duration::from_secs(2));
        assert!(sent < VALUE_BYTES / 4, "{sent} bytes were taken while a statement ran");
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                      WHERE query LIKE '%sleep(600)%' AND pid <> pg_backend_pid()";
        assert_eq!(house.server.sql(cancel), "1");
        let rest = VALUE_BYTES - sent;
        assert_eq!(wire.send_until_stuck(rest, b'x', PATIENCE), rest);
        wire.send(|buffer: &mut BytesMut| buffer.put_u8(0));
        assert_eq!(tags(&wire.until_ready()).trim_start_matches('T'), "EZ");
        let refused = wire.until_ready();
        assert_eq!((tags(&refused).as_str(), refused[0].field(b'C')), ("EZ", "54000"));
    });
}
