//! What only a client that speaks the protocol message by message can show.

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use crate::support::{Message, Wire, bind, eventually, tags};
use crate::{House, with_house};

fn login(house: &House, user: &str, privileges: &[&str]) -> Wire {
    let token = house.principal(user, privileges);
    Wire::login(house.daypass.port(), user, &token, "shop")
}

fn error(messages: &[Message]) -> &Message {
    messages.iter().find(|message| message.tag == b'E').expect("an error")
}

#[test]
fn a_fetch_after_the_revocation_is_refused_and_the_transaction_can_only_roll_back() {
    with_house(|house| {
        let token = house.daypass.token("abe");
        let grant = house.daypass.grant("abe", "shop", &["SELECT ON public.orders"]);
        let mut wire = Wire::login(house.daypass.port(), "abe", &token, "shop");
        assert_eq!(tags(&wire.run("BEGIN")), "CZ");
        wire.send(|buffer| {
            bind(buffer, "rows", "SELECT id FROM orders WHERE id < $1 ORDER BY id", &["50"]);
            frontend::execute("rows", 3, buffer).unwrap();
            frontend::sync(buffer);
        });
        assert_eq!(tags(&wire.until_ready()), "12DDDsZ");
        let fetch = |buffer: &mut BytesMut| {
            frontend::execute("rows", 2, buffer).unwrap();
            frontend::sync(buffer);
        };
        wire.send(fetch);
        assert_eq!(tags(&wire.until_ready()), "DDsZ");

        house.daypass.revoke(&grant);
        let mut refused = Vec::new();
        eventually("a fetch to be refused", || {
            wire.send(fetch);
            refused = wire.until_ready();
            (tags(&refused) == "EZ").then_some(())
        });
        assert_eq!(error(&refused).field(b'C'), "42501");
        assert!(error(&refused).field(b'M').contains("revoked"), "{refused:?}");
        assert_eq!(refused.last().unwrap().body, b"E", "the transaction has failed");

        // A new grant does not bring the transaction back.
        house.daypass.grant("abe", "shop", &["SELECT ON public.orders"]);
        assert_eq!(error(&wire.run("SELECT 1")).field(b'C'), "25P02");
        let ended = wire.run("COMMIT");
        assert_eq!(ended[0].body, b"ROLLBACK\0");
        assert_eq!(tags(&wire.run("SELECT id FROM orders LIMIT 1")), "TDCZ");
        house.daypass.wait_audit("the refused fetch", |record| {
            record["kind"] == "decision"
                && record["principal"] == "abe"
                && record["decision"] == "deny"
                && record["parameters"][0].to_string().contains("50")
        });
    });
}

#[test]
fn a_copy_whose_grant_is_revoked_ends_with_an_error_and_leaves_no_row() {
    with_house(|house| {
        let token = house.daypass.token("bert");
        let grant = house.daypass.grant("bert", "shop", &["WRITE ON public.notes"]);
        let mut wire = Wire::login(house.daypass.port(), "bert", &token, "shop");
        wire.query("COPY notes (id, text) FROM STDIN");
        assert_eq!(tags(&wire.until(b'G')), "G");
        let mut chunk = BytesMut::new();
        for row in 0..20_000 {
            let line = format!("{}\t{}\n", 5_000_000 + row, "stream".repeat(10));
            frontend::CopyData::new(line.as_bytes()).unwrap().write(&mut chunk);
        }
        assert!(wire.try_send(&chunk));
        house.daypass.revoke(&grant);
        // Without a word of the client's.
        let messages = wire.until_ready();
        assert_eq!(tags(&messages), "EZ");
        assert_eq!(error(&messages).field(b'C'), "57014");
        assert!(error(&messages).field(b'M').contains(&grant), "{messages:?}");
        assert_eq!(messages.last().unwrap().body, b"I");
        // A client that has not listened yet goes on for a while; all that is dropped.
        assert!(wire.try_send(&chunk));
        wire.send(frontend::copy_done);
        let rows = "SELECT count(*) FROM notes WHERE text LIKE 'stream%'";
        assert_eq!(house.server.sql_in("shop", rows), "0");
        house.daypass.grant("bert", "shop", &["WRITE ON public.notes"]);
        assert_eq!(tags(&wire.run("SELECT count(*) FROM notes")), "TDCZ");
        house.daypass.wait_audit("the COPY's result", |record| {
            record["kind"] == "result"
                && record["principal"] == "bert"
                && record["outcome"] == "cancelled"
                && record["sqlstate"] == "57014"
        });
    });
}

#[test]
fn a_copy_is_ended_between_its_messages_and_never_inside_one() {
    with_house(|house| {
        let token = house.daypass.token("boris");
        let grant = house.daypass.grant("boris", "shop", &["WRITE ON public.notes"]);
        let mut wire = Wire::login(house.daypass.port(), "boris", &token, "shop");
        wire.query("COPY notes (text) FROM STDIN");
        assert_eq!(tags(&wire.until(b'G')), "G");
        let mut message = BytesMut::new();
        let lines = "inside\n".repeat(300_000);
        frontend::CopyData::new(lines.as_bytes()).unwrap().write(&mut message);
        let (head, tail) = message.split_at(1_000_000);
        assert!(wire.try_send(head));
        house.daypass.revoke(&grant);
        // The server is to hear the message's end, and then that the COPY has failed.
        house.daypass.wait_audit("the revocation", |record| {
            record["kind"] == "grant" && record.to_string().contains(&grant)
        });
        assert!(wire.try_send(tail));
        let messages = wire.until_ready();
        assert_eq!(tags(&messages), "EZ");
        assert_eq!(error(&messages).field(b'C'), "57014");
        let rows = "SELECT count(*) FROM notes WHERE text LIKE 'inside%'";
        assert_eq!(house.server.sql_in("shop", rows), "0");
        house.daypass.grant("boris", "shop", &["WRITE ON public.notes"]);
        assert_eq!(tags(&wire.run("SELECT count(*) FROM notes")), "TDCZ");
    });
}

#[test]
fn notices_reach_the_client_in_their_place() {
    with_house(|house| {
        let mut wire = login(house, "cleo", &["ADMIN ON DATABASE"]);
        let rolled = wire.run("ROLLBACK");
        assert_eq!(tags(&rolled), "NCZ");
        assert_eq!(rolled[0].field(b'C'), "25P01");
        let dropped = wire.run("DROP TABLE IF EXISTS never_there");
        assert_eq!(tags(&dropped), "NCZ");
        assert!(dropped[0].field(b'M').contains("never_there"));
        // Between the answers of a pipeline.
        wire.send(|buffer| {
            for text in ["SELECT 1", "DROP TABLE IF EXISTS neither", "SELECT 2"] {
                bind(buffer, "", text, &[]);
                frontend::execute("", 0, buffer).unwrap();
            }
            frontend::sync(buffer);
        });
        assert_eq!(tags(&wire.until_ready()), "12DC12NC12DCZ");
    });
}

#[test]
fn a_client_that_shuts_its_sending_side_gets_its_whole_reply() {
    with_house(|house| {
        let mut wire = login(house, "dina", &["SELECT ON public.orders"]);
        // More than the sockets between hold, and nobody reads before the server has been asked.
        wire.query("SELECT repeat('x', 1000000), id FROM orders ORDER BY id LIMIT 40");
        wire.half_close();
        let messages = wire.until_end();
        assert_eq!(tags(&messages), format!("T{}CZ", "D".repeat(40)));
        assert!(messages.iter().filter(|m| m.tag == b'D').all(|m| m.body.len() > 1_000_000));
        let end = house.daypass.wait_audit("the end of the session", |record| {
            record["kind"] == "session-end" && record["principal"] == "dina"
        });
        let result = house.daypass.wait_audit("the result", |record| {
            record["kind"] == "result" && record["session"] == end["session"]
        });
        assert_eq!((&result["outcome"], &result["rows"]), (&"ok".into(), &40.into()));
    });
}

#[test]
fn what_was_sent_before_the_sending_side_was_shut_is_all_done() {
    with_house(|house| {
        let mut wire = login(house, "emil", &["SELECT ON public.orders"]);
        wire.query("SELECT 1");
        wire.query("SELECT email FROM customers");
        wire.query("SELECT id FROM orders WHERE id = 7");
        wire.half_close();
        let messages = wire.until_end();
        assert_eq!(tags(&messages), "TDCZEZTDCZ");
        assert_eq!(error(&messages).field(b'C'), "42501");
    });
}
