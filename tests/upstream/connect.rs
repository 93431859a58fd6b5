//! Dialling and logging in, and stopping what was started.

use std::time::{Duration, Instant};

use daypass::secret::Secret;
use daypass::upstream::client::{Bounds, each_row};
use daypass::upstream::{
    Connection, EFFECTIVE_PATH_QUERY, LoginError, Peer, Startup, Target, UpstreamError, cancel,
    cancel_at, connect, query, read_path, terminate,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::server::{PASSWORD, server};

async fn log_in(target: &Target) -> Result<Connection, UpstreamError> {
    connect(target, &Startup { application_name: "daypass".into(), ..Startup::default() }).await
}

async fn value(connection: &mut Connection, sql: &str) -> String {
    let rows = query(connection, sql).await.unwrap();
    rows[0][0].clone().unwrap()
}

#[tokio::test]
async fn every_method_leads_in() {
    const TLS: &str = "?sslmode=verify-full&sslrootcert=ca.pem";
    let server = server();
    let mut targets = vec![server.socket("trusty", "postgres")];
    for user in ["trusty", "clear", "hashed", "scram"] {
        targets.push(server.tcp(user, "127.0.0.1", ""));
        targets.push(server.tcp(user, "localhost", TLS));
    }
    targets.push(server.tcp("over_tls", "localhost", TLS));
    for target in targets {
        let mut connection = log_in(&target).await.unwrap_or_else(|e| panic!("{target:?}: {e}"));
        assert_eq!(value(&mut connection, "SELECT current_user").await, target.user);
        let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let expected = if connection.stream.is_tls() { "t" } else { "f" };
        assert_eq!(value(&mut connection, encrypted).await, expected);
        let pid = value(&mut connection, "SELECT pg_backend_pid()").await;
        assert_eq!(pid, connection.process_id.to_string());
        let version = value(&mut connection, "SHOW server_version_num").await;
        assert_eq!(version, connection.server_version.to_string());
        assert_eq!(connection.secret_key.len(), 4);
        assert!(connection.buffer.is_empty());
        let name = value(&mut connection, "SHOW application_name").await;
        assert_eq!(name, "daypass");
    }
}

#[tokio::test]
async fn a_newer_protocol_is_negotiated() {
    let startup = Startup { minor: 2, ..Startup::default() };
    let mut connection = connect(&server().socket("trusty", "postgres"), &startup).await.unwrap();
    let newer = connection.server_version >= 180_000;
    assert_eq!(connection.secret_key.len(), if newer { 32 } else { 4 });
    assert_eq!(value(&mut connection, "SELECT 1").await, "1");
}

#[tokio::test]
async fn certificates_are_checked_in_full() {
    let server = server();
    let wrong_name = server.tcp("trusty", "127.0.0.1", "?sslrootcert=ca.pem");
    let wrong_authority = server.tcp("trusty", "localhost", "?sslrootcert=other.pem");
    let system = server.tcp("trusty", "localhost", "?sslmode=verify-full");
    for target in [wrong_name, wrong_authority] {
        let error = log_in(&target).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Tls(_)), "{error}");
    }
    // A machine without authorities of its own has none to check with.
    let error = log_in(&system).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Tls(_) | UpstreamError::Roots { .. }), "{error}");
    for file in ["missing.pem", "server.key"] {
        let target = server.tcp("trusty", "localhost", &format!("?sslrootcert={file}"));
        let error = log_in(&target).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Roots { .. }), "{error}");
    }
}

#[tokio::test]
async fn refusals_say_why_and_never_the_password() {
    let server = server();
    let refused = async |target: Target| match log_in(&target).await.unwrap_err() {
        error @ UpstreamError::Refused { .. } => {
            assert!(!format!("{error} {error:?} {target:?}").contains(PASSWORD));
            let UpstreamError::Refused { sqlstate, .. } = error else { unreachable!() };
            sqlstate
        }
        other => panic!("{other:?}"),
    };
    for user in ["clear", "hashed", "scram"] {
        let target = server.tcp(user, "127.0.0.1", "");
        let wrong = target.clone().with_password(Some(Secret::new("wrong")));
        assert_eq!(&*refused(wrong).await, "28P01");
        let error = log_in(&target.with_password(None)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Login(LoginError::NoPassword)), "{error}");
    }
    // No line of pg_hba.conf, no such role, no such database.
    assert_eq!(&*refused(server.tcp("over_tls", "127.0.0.1", "")).await, "28000");
    assert_eq!(&*refused(server.socket("nobody_here", "postgres")).await, "28000");
    assert_eq!(&*refused(server.socket("postgres", "nothing_here")).await, "3D000");
}

#[tokio::test]
async fn start_up_parameters_arrive_and_conforming_strings_stay() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let parameters = vec![
        pair("search_path", "\"$user\", pg_catalog"),
        pair("options", "-c standard_conforming_strings=off -c DateStyle=German"),
        pair("client_encoding", "LATIN1"),
    ];
    let startup = Startup { parameters, ..Startup::default() };
    let target = server().socket("postgres", "postgres");
    let mut connection = connect(&target, &startup).await.unwrap();
    for (name, expected) in [
        ("standard_conforming_strings", "on"),
        ("DateStyle", "German, DMY"),
        ("client_encoding", "LATIN1"),
        ("search_path", "\"$user\", pg_catalog"),
    ] {
        assert_eq!(value(&mut connection, &format!("SHOW {name}")).await, expected);
    }
    let told = connection.parameters.iter().find(|(name, _)| name == "client_encoding");
    assert_eq!(told.unwrap().1, "LATIN1");
}

#[tokio::test]
async fn a_running_statement_is_cancelled() {
    const TLS: &str = "?sslmode=verify-full&sslrootcert=ca.pem";
    let server = server();
    for target in [
        server.socket("trusty", "postgres"),
        server.tcp("scram", "127.0.0.1", ""),
        server.tcp("scram", "localhost", TLS),
    ] {
        let mut connection = log_in(&target).await.unwrap();
        let (pid, key) = (connection.process_id, connection.secret_key.clone());
        let peer = connection.peer.clone();
        for by_name in [true, false] {
            let start = Instant::now();
            let stop = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if by_name {
                    cancel(&target, pid, &key).await
                } else {
                    cancel_at(&target, &peer, pid, &key).await
                }
            };
            let sleep = query(&mut connection, "SELECT pg_sleep(30)");
            let (result, stopped) = tokio::join!(sleep, stop);
            stopped.unwrap();
            let error = result.unwrap_err();
            assert!(
                matches!(&error, UpstreamError::Failed { sqlstate, .. } if &**sqlstate == "57014")
            );
            assert!(start.elapsed() < Duration::from_secs(10));
            // A failed statement leaves the connection usable.
            assert_eq!(value(&mut connection, "SELECT 1").await, "1");
        }
        // A wrong key stops nothing, and tells nothing.
        cancel(&target, pid, &[0; 4]).await.unwrap();
        assert_eq!(value(&mut connection, "SELECT 2").await, "2");
    }
}

#[tokio::test]
async fn a_backend_of_ours_is_ended_and_no_other() {
    let server = server();
    let target = server.socket("trusty", "postgres");
    let mut connection = log_in(&target).await.unwrap();
    let pid = connection.process_id;
    assert!(!terminate(&server.socket("other", "postgres"), pid, "other").await.unwrap());
    assert_eq!(value(&mut connection, "SELECT 1").await, "1");
    let (result, ended) = tokio::join!(
        query(&mut connection, "SELECT pg_sleep(30)"),
        terminate(&target, pid, &target.user)
    );
    assert!(ended.unwrap());
    let error = result.unwrap_err();
    assert!(matches!(&error, UpstreamError::Failed { sqlstate, .. } if &**sqlstate == "57P01"));
    assert!(query(&mut connection, "SELECT 1").await.is_err());
}

#[tokio::test]
async fn own_statements_are_bounded_and_not_mixed_up() {
    let mut connection = server().superuser("postgres").await;
    let rows = query(&mut connection, "SELECT 'é', NULL, ''; SELECT 2").await.unwrap();
    assert_eq!(rows[0], [Some("é".to_owned()), None, Some(String::new())]);
    assert_eq!(rows[1], [Some("2".to_owned())]);
    assert!(query(&mut connection, "").await.unwrap().is_empty());
    assert!(matches!(query(&mut connection, "SELEC").await, Err(UpstreamError::Failed { .. })));

    let late = timeout(Duration::from_millis(50), query(&mut connection, "SELECT pg_sleep(1)"));
    assert!(late.await.is_err());
    let next = query(&mut connection, "SELECT 1").await;
    assert!(matches!(next, Err(UpstreamError::Interrupted)));

    let many = "SELECT repeat('x', 1000) FROM generate_series(1, 1000)";
    for bounds in [
        Bounds { rows_max: 999, ..Bounds::default() },
        Bounds { bytes_max: 500_000, ..Bounds::default() },
    ] {
        let mut connection = server().superuser("postgres").await;
        let result = each_row(&mut connection, many, bounds, |_| Ok(())).await;
        assert!(matches!(result, Err(UpstreamError::TooLarge { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn the_effective_path_is_what_the_server_searches() {
    let mut connection = server().superuser("postgres").await;
    query(&mut connection, "CREATE SCHEMA \"od,d \"\"é\"").await.unwrap();
    let sql = "SET search_path = missing, \"od,d \"\"é\", public";
    query(&mut connection, sql).await.unwrap();
    let rows = query(&mut connection, EFFECTIVE_PATH_QUERY).await.unwrap();
    assert_eq!(read_path(&rows), ["pg_catalog", "od,d \"é", "public"].map(Box::from));
    query(&mut connection, "CREATE TEMP TABLE t ()").await.unwrap();
    let rows = query(&mut connection, EFFECTIVE_PATH_QUERY).await.unwrap();
    assert!(read_path(&rows)[0].starts_with("pg_temp_"));
    // Nothing that a user defines changes what it means.
    query(
        &mut connection,
        "CREATE FUNCTION public.unnest(name[]) RETURNS SETOF name LANGUAGE sql AS 'SELECT ''x''';
         SET search_path = public, pg_catalog",
    )
    .await
    .unwrap();
    let rows = query(&mut connection, EFFECTIVE_PATH_QUERY).await.unwrap();
    assert_eq!(read_path(&rows)[1..], ["public", "pg_catalog"].map(Box::from));
    query(&mut connection, "DROP FUNCTION public.unnest(name[])").await.unwrap();
}

/// Answers whoever connects with these bytes, after the first packet, and then says nothing.
async fn impostor(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut packet = [0; 1024];
        let _ = stream.read(&mut packet).await;
        let _ = stream.write_all(answer).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    port
}

#[tokio::test]
async fn impostors_get_nowhere() {
    let try_with = async |answer: &'static [u8], query: &str| {
        let port = impostor(answer).await;
        let url = format!("postgres://u@localhost:{port}/d?connect_timeout=1{query}");
        let target = Target::parse(&url, &server().directory).unwrap();
        let start = Instant::now();
        let error = log_in(&target).await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(3));
        error
    };
    let tls = "&sslrootcert=ca.pem";
    assert!(matches!(try_with(b"N", tls).await, UpstreamError::TlsRefused));
    assert!(matches!(try_with(b"E\0\0\0\x0bMlies\0\0", tls).await, UpstreamError::TlsRefused));
    // A login in clear behind the answer: the TLS engine gets it, and has none of it.
    let injected = b"SR\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x01Z\0\0\0\x05I";
    assert!(matches!(try_with(injected, tls).await, UpstreamError::Tls(_)));
    for silent in ["", tls] {
        let error = try_with(b"", silent).await;
        assert!(matches!(error, UpstreamError::Timeout { seconds: 1, .. }), "{error}");
    }
    let error = try_with(b"HTTP/1.1 400 Bad Request\r\n", "").await;
    assert!(matches!(error, UpstreamError::Violation(_)), "{error}");
}

#[tokio::test]
async fn a_cancel_has_ended_only_when_the_server_hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target::parse(&format!("postgres://u@127.0.0.1:{port}/d"), "/".as_ref()).unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut packet = [0; 20];
        stream.read_exact(&mut packet).await.unwrap();
        assert_eq!(packet, *b"\0\0\0\x14\x04\xd2\x16\x2e\0\0\0\x07longer k");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let start = Instant::now();
    let cancelling = async {
        cancel(&target, 7, b"longer k").await.unwrap();
        start.elapsed()
    };
    let (elapsed, ()) = tokio::join!(cancelling, server);
    assert!(elapsed >= Duration::from_millis(200));
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://u@127.0.0.1:{port}/d");
    let target = Target::parse(&url, "/".as_ref()).unwrap();
    let text = log_in(&target).await.unwrap_err().to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    let target = Target::parse("postgres://u@%2Fnowhere/d", "/".as_ref()).unwrap();
    let text = log_in(&target).await.unwrap_err().to_string();
    assert!(text.contains("/nowhere/.s.PGSQL.5432"), "{text}");
    let connection = log_in(&server().socket("trusty", "postgres")).await.unwrap();
    assert!(matches!(connection.peer, Peer::Unix(_)));
}
