//! tokio-postgres through the whole proxy: what it pipelines, streams and copies.

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, future};
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::{House, with_house};

/// Runs `test` with a client, and with what the server says unasked.
fn with_client<F, T>(user: &str, privileges: &[&str], test: impl FnOnce(Client, Unasked) -> F) -> T
where
    F: Future<Output = T>,
{
    with_house(|house| {
        let token = house.principal(user, privileges);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, unasked) = connect(house, user, &token).await;
            test(client, unasked).await
        })
    })
}

type Unasked = mpsc::UnboundedReceiver<AsyncMessage>;

async fn connect(house: &House, user: &str, token: &str) -> (Client, Unasked) {
    let mut config = Config::new();
    config.host("127.0.0.1").port(house.daypass.port()).user(user).password(token).dbname("shop");
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let (sender, unasked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            drop(sender.send(message));
        }
    });
    (client, unasked)
}

const READ: [&str; 1] = ["READ ON TABLE public.orders"];

#[test]
fn queries_are_prepared_pipelined_and_streamed() {
    with_client("tara", &READ, async |client, _unasked| {
        let one = client.prepare("SELECT total::int8 FROM orders WHERE id = $1").await.unwrap();
        // All of them are on their way before the first answer comes.
        let all = (1..=40).map(|id| {
            let (client, one) = (&client, &one);
            async move { client.query_one(one, &[&id]).await.map(|row| row.get::<_, i64>(0)) }
        });
        let totals = future::try_join_all(all).await.unwrap();
        assert_eq!(totals, (1..=40).map(|id| id * 10).collect::<Vec<i64>>());

        let none: [i32; 0] = [];
        let rows = client.query_raw("SELECT id FROM orders ORDER BY id", none).await.unwrap();
        let ids: Vec<i32> = rows.map_ok(|row| row.get::<_, i32>(0)).try_collect().await.unwrap();
        assert_eq!(ids, (1..=100).collect::<Vec<i32>>());

        // One that is refused in the middle of a pipeline is the only one that fails.
        let (before, refused, after) = future::join3(
            client.query_one(&one, &[&1]),
            client.query("SELECT email FROM customers", &[]),
            client.query_one(&one, &[&2]),
        )
        .await;
        assert_eq!(before.unwrap().get::<_, i64>(0), 10);
        assert_eq!(after.unwrap().get::<_, i64>(0), 20);
        let refused = refused.unwrap_err();
        let said = refused.as_db_error().unwrap();
        assert_eq!(*said.code(), SqlState::INSUFFICIENT_PRIVILEGE);
        assert!(said.hint().unwrap().contains("daypass request create"), "{said:?}");
        assert!(said.detail().unwrap().contains("Your live grants allow"), "{said:?}");
    });
}

#[test]
fn types_that_the_driver_has_to_ask_about_are_answered() {
    with_house(|house| {
        let types = "CREATE TYPE colour AS ENUM ('red', 'blue'); \
                     CREATE TYPE spot AS (x int, colour colour); CREATE DOMAIN small AS int2; \
                     CREATE TABLE typed AS SELECT 'red'::colour AS colour, ROW(1, 'blue')::spot AS spot, \
                     '{red}'::colour[] AS colours, 1::small AS small, int4range(1, 5) AS range";
        house.server.sql_in("shop", types);
        with_client("theo", &["READ ON TABLE public.typed"], async |client, _unasked| {
            let text = "SELECT * FROM typed WHERE colour = $1 AND spot = $2::spot";
            let statement = client.prepare(text).await.unwrap();
            let names: Vec<_> = statement.columns().iter().map(|c| c.type_().name()).collect();
            assert_eq!(names, ["colour", "spot", "_colour", "int2", "int4range"]);
            assert_eq!(statement.params()[1].name(), "spot");
        });
    });
}

#[test]
fn portals_are_suspended_and_transactions_kept() {
    let privileges = ["READ ON TABLE public.orders", "WRITE ON public.notes"];
    with_client("tina", &privileges, async |mut client, _unasked| {
        let transaction = client.transaction().await.unwrap();
        let statement =
            transaction.prepare("SELECT id FROM orders WHERE id > $1 ORDER BY id").await.unwrap();
        let portal = transaction.bind(&statement, &[&90]).await.unwrap();
        let other = transaction.bind(&statement, &[&50]).await.unwrap();
        let mut sizes = Vec::new();
        for _ in 0..4 {
            sizes.push(transaction.query_portal(&portal, 4).await.unwrap().len());
            assert_eq!(transaction.query_portal(&other, 1).await.unwrap().len(), 1);
        }
        assert_eq!(sizes, [4, 4, 2, 0]);
        transaction.execute("INSERT INTO notes (text) VALUES ('tina')", &[]).await.unwrap();
        transaction.rollback().await.unwrap();

        let mut transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO notes (text) VALUES ('tina')", &[]).await.unwrap();
        let inner = transaction.transaction().await.unwrap();
        let refused = inner.query("SELECT card FROM customers", &[]).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        inner.rollback().await.unwrap();
        transaction.commit().await.unwrap();
        let deleted =
            client.execute("DELETE FROM notes WHERE text = $1", &[&"tina"]).await.unwrap();
        assert_eq!(deleted, 1);
    });
}

#[test]
fn rows_are_copied_in_and_out_in_binary() {
    with_client("toni", &["WRITE ON public.notes"], async |client, _unasked| {
        let types = [Type::INT4, Type::TEXT];
        let text = "COPY notes (id, text) FROM STDIN (FORMAT binary)";
        let mut writer = pin!(BinaryCopyInWriter::new(client.copy_in(text).await.unwrap(), &types));
        for id in 0..5_000_i32 {
            writer.as_mut().write(&[&(3_000_000 + id), &"binary"]).await.unwrap();
        }
        assert_eq!(writer.as_mut().finish().await.unwrap(), 5_000);

        let text = "COPY (SELECT id, text FROM notes WHERE text = 'binary' ORDER BY id) TO STDOUT \
                    (FORMAT binary)";
        let stream = client.copy_out(text).await.unwrap();
        let rows = pin!(BinaryCopyOutStream::new(stream, &types));
        let ids: Vec<i32> = rows.map_ok(|row| row.get::<i32>(0)).try_collect().await.unwrap();
        assert_eq!(ids, (3_000_000..3_005_000).collect::<Vec<i32>>());

        // A sink that is dropped breaks the COPY off.
        let text = "COPY notes (text) FROM STDIN";
        let mut sink = Box::pin(client.copy_in::<_, Bytes>(text).await.unwrap());
        sink.send(Bytes::from_static(b"binary\n")).await.unwrap();
        drop(sink);
        let text = "DELETE FROM notes WHERE text = 'binary'";
        assert_eq!(client.execute(text, &[]).await.unwrap(), 5_000);
        let refused = client.copy_in::<_, Bytes>("COPY customers FROM STDIN").await.err().unwrap();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        client.query_one("SELECT 1", &[]).await.unwrap();
    });
}

#[test]
fn a_cancel_token_stops_the_statement_alone() {
    with_client("thea", &READ, async |client, _unasked| {
        let token = client.cancel_token();
        let mut running = pin!(client.query("SELECT pg_sleep(600)", &[]));
        // A cancel that comes before the statement does has nothing to stop.
        let error = loop {
            tokio::select! {
                result = &mut running => break result.unwrap_err(),
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) =>
                    token.cancel_query(NoTls).await.unwrap(),
            }
        };
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
        assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    });
}

#[test]
fn notifications_and_notices_come_unasked() {
    with_client("tess2", &READ, async |client, mut unasked| {
        client.batch_execute("LISTEN drums").await.unwrap();
        client.execute("SELECT pg_notify('drums', $1)", &[&"beat"]).await.unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
        let (mut heard, mut noticed) = (None, None);
        while heard.is_none() || noticed.is_none() {
            match unasked.recv().await.unwrap() {
                AsyncMessage::Notification(said) => heard = Some(said.payload().to_owned()),
                AsyncMessage::Notice(said) => noticed = Some(said.code().clone()),
                _ => (),
            }
        }
        assert_eq!(heard.unwrap(), "beat");
        assert_eq!(noticed, Some(SqlState::NO_ACTIVE_SQL_TRANSACTION));
    });
}
