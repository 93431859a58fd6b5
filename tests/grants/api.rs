//! The API as a program that is not ours would meet it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::proxy;
use super::support::Daypass;

/// Sends one request and reads the answer to its end: status and body.
fn send(proxy: &Daypass, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(proxy.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    // A body that is refused for its length may not be read to its end.
    drop(write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n{body}"
    ));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap_or_else(|| panic!("{answer:?}")), body.unwrap_or_default())
}

#[test]
fn every_error_has_one_form() {
    let proxy = proxy();
    let grant = json!({
        "principal": "bob", "database": "shop", "privileges": ["READ ON DATABASE"],
        "duration": "1h", "reason": "r",
    });
    let with = |field: &str, value: Value| {
        let mut changed = grant.clone();
        changed[field] = value;
        changed.to_string()
    };
    let long = " ".repeat(70_000);
    for (method, path, headers, body, status, code, said) in [
        ("GET", "/v1/nothing", "", "", 404, "not-found", "nothing at this path"),
        ("GET", "/v1/grants/g_none", "", "", 404, "not-found", "there is no grant"),
        ("DELETE", "/v1/grants", "", "", 405, "invalid", "Method Not Allowed"),
        ("GET", "/v1/grants?all=maybe", "", "", 400, "invalid", "all"),
        ("POST", "/v1/grants", "", "{", 400, "invalid", "line 1"),
        ("POST", "/v1/grants", "", &long, 413, "invalid", "limit"),
        (
            "POST",
            "/v1/grants",
            "",
            &with("limits", json!({"rows": 1})),
            400,
            "invalid",
            "rows limit",
        ),
        ("POST", "/v1/grants", "", &with("row-filter", json!("x")), 400, "invalid", "row filter"),
        (
            "POST",
            "/v1/grants",
            "",
            &with("route", json!("primary")),
            400,
            "invalid",
            "replica-only",
        ),
        (
            "POST",
            "/v1/grants",
            "",
            &with("route", json!("replica-only")),
            400,
            "invalid",
            "no grant on shop can be bound to replicas",
        ),
        ("POST", "/v1/grants", "", &with("colour", json!("red")), 400, "invalid", "colour"),
        ("POST", "/v1/grants", "", &with("duration", json!("8d")), 400, "invalid", "7 days"),
        (
            "GET",
            "/v1/grants",
            "authorization: Basic Zm9v\r\n",
            "",
            401,
            "unauthenticated",
            "Bearer",
        ),
        (
            "GET",
            "/v1/grants",
            "authorization: Bearer x\r\n",
            "",
            401,
            "unauthenticated",
            "daypass_",
        ),
    ] {
        let (found, body) = send(&proxy, method, path, headers, body);
        assert_eq!(found, status, "{method} {path}: {body}");
        let error: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        assert_eq!(error["error"]["code"], code, "{body}");
        assert!(error["error"]["message"].as_str().unwrap().contains(said), "{body}");
    }
    let (status, body) = send(&proxy, "POST", "/v1/grants", "", &grant.to_string());
    assert_eq!(status, 200, "{body}");
}

#[test]
fn it_is_alive_and_says_why_it_is_not_ready() {
    let proxy = proxy();
    assert_eq!(send(&proxy, "GET", "/livez", "", ""), (200, "ok\n".to_owned()));
    let (status, why) = send(&proxy, "GET", "/readyz", "", "");
    assert_eq!(status, 503);
    assert!(why.contains("database shop"), "{why}");
}

#[test]
fn it_tells_where_the_audit_stream_is() {
    let proxy = proxy();
    let (status, body) = send(&proxy, "GET", "/v1/audit", "", "");
    assert_eq!(status, 200);
    let file = serde_json::from_str::<Value>(&body).unwrap()["file"].as_str().unwrap().to_owned();
    assert!(file.starts_with('/') && file.ends_with("/audit.jsonl"), "{file}");
}

#[test]
fn a_client_that_stops_half_way_does_not_keep_the_proxy() {
    let mut proxy = proxy();
    let mut half = UnixStream::connect(proxy.socket()).unwrap();
    half.write_all(b"POST /v1/grants HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    let silent = UnixStream::connect(proxy.socket()).unwrap();
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(proxy.stop(), Some(0));
}
