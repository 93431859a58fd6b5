//! An application on mysql_async: logs in with a token for a password, in plain and over TLS, by itself and from a
//! pool; prints `done`.

use std::path::PathBuf;

use mysql_async::prelude::{BatchQuery, Query, Queryable, WithParams};
use mysql_async::{
    ChangeUserOpts, Conn, Error, OptsBuilder, Params, Pool, SslOpts, TxOpts, Value, params,
};

type Result<T> = std::result::Result<T, Error>;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let port = variable("PORT").parse().expect("PORT is a number");
    let authority = SslOpts::default().with_root_certs(vec![PathBuf::from(variable("CA")).into()]);
    for (number, tls) in [(100, None), (200, Some(authority))] {
        let opts = OptsBuilder::default()
            .ip_or_hostname("localhost")
            .tcp_port(port)
            .user(Some("alice"))
            .pass(Some(variable("TOKEN")))
            .db_name(Some("shop"))
            // On the server's own machine it goes over to the server's socket, where nobody knows of tokens.
            .prefer_socket(false)
            .ssl_opts(tls);
        let mut conn = Conn::new(opts.clone()).await?;
        texts(&mut conn).await?;
        prepared(&mut conn).await?;
        refused(&mut conn).await?;
        transactions(&mut conn, number).await?;
        conn.change_user(ChangeUserOpts::default()).await?;
        texts(&mut conn).await?;
        conn.disconnect().await?;
        pooled(Pool::new(opts)).await?;
    }
    println!("done");
    Ok(())
}

async fn texts(conn: &mut Conn) -> Result<()> {
    let ids: Vec<u32> = "SELECT id FROM orders WHERE id < 10 ORDER BY id".fetch(&mut *conn).await?;
    assert_eq!(ids, [1, 2, 3]);
    let mut several = conn.query_iter("SELECT DATABASE(); SELECT 'é', NULL").await?;
    assert_eq!(several.collect::<String>().await?, ["shop"]);
    assert_eq!(several.collect::<(String, Option<u8>)>().await?, [("é".into(), None)]);
    several.drop_result().await?;
    conn.ping().await
}

async fn prepared(conn: &mut Conn) -> Result<()> {
    let one = conn.prep("SELECT status, ?, ? FROM orders WHERE id = ?").await?;
    for (id, status) in [(1, "open"), (2, "paid")] {
        let found: Option<(String, String, Value)> =
            conn.exec_first(&one, ("ü", Value::NULL, id)).await?;
        assert_eq!(found, Some((status.into(), "ü".into(), Value::NULL)));
    }
    conn.close(one).await?;
    "CREATE TEMPORARY TABLE t (a INT, b TEXT)".ignore(&mut *conn).await?;
    let rows = (0..50).map(|n| params! { "a" => n, "b" => "x".repeat(n) });
    "INSERT INTO t VALUES (:a, :b)".with(rows).batch(&mut *conn).await?;
    let sum: Option<(u64, u64)> =
        conn.exec_first("SELECT COUNT(*), SUM(LENGTH(b)) FROM t", Params::Empty).await?;
    assert_eq!(sum, Some((50, (0..50).sum())));
    "DROP TEMPORARY TABLE t".ignore(conn).await
}

/// The server's own error for what is not granted, as a text and prepared; the session goes on.
async fn refused(conn: &mut Conn) -> Result<()> {
    let delete = "DELETE FROM orders WHERE id = 1";
    let as_text = delete.ignore(&mut *conn).await;
    let as_prepared = conn.exec_drop("DELETE FROM orders WHERE id = ?", (1,)).await;
    for outcome in [as_text, as_prepared] {
        let Err(Error::Server(said)) = outcome else { panic!("not refused: {outcome:?}") };
        assert_eq!((said.code, said.state.as_str()), (1142, "42000"), "{said}");
        assert!(said.message.contains("no live grant allows DELETE"), "{said}");
    }
    let status: Option<String> = "SELECT status FROM orders WHERE id = 1".first(conn).await?;
    assert_eq!(status.as_deref(), Some("open"));
    Ok(())
}

/// One that is taken back, and one in which something is refused, and which holds all the same.
async fn transactions(conn: &mut Conn, number: u32) -> Result<()> {
    let insert = "INSERT INTO orders VALUES (?, 'new')";
    let count = "SELECT COUNT(*) FROM orders WHERE status = 'new' AND id BETWEEN ? AND ? + 1";
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    transaction.exec_drop(insert, (number,)).await?;
    let inside: Option<u32> = transaction.exec_first(count, (number, number)).await?;
    assert_eq!(inside, Some(1));
    transaction.rollback().await?;
    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
    transaction.exec_drop(insert, (number + 1,)).await?;
    assert!(transaction.query_drop("DELETE FROM orders").await.is_err());
    transaction.commit().await?;
    let after: Option<u32> = conn.exec_first(count, (number, number)).await?;
    assert_eq!(after, Some(1));
    Ok(())
}

/// A pool sets a session back before somebody else gets it.
async fn pooled(pool: Pool) -> Result<()> {
    for _ in 0..2 {
        let mut conn = pool.get_conn().await?;
        let before: Option<Value> = "SELECT @mark".first(&mut conn).await?;
        assert_eq!(before, Some(Value::NULL));
        "SET @mark = 7".ignore(&mut conn).await?;
    }
    pool.disconnect().await
}
