//! TLS towards clients: asked for and direct, with channel binding, and what goes with it.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::House;
use crate::support::{Certificates, Config, python};

fn house(folder: &std::path::Path) -> (House, Certificates) {
    let certificates = Certificates::make(folder);
    let tls = format!(
        "tls = {{ certificate-file = {:?}, key-file = {:?} }}",
        certificates.certificate, certificates.key
    );
    (House::new(Config::new().listener(&tls)), certificates)
}

#[test]
fn a_client_verifies_the_proxy_and_is_bound_to_it_whichever_way_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (house, certificates) = house(folder.path());
    let token = house.principal("ann", &["SELECT ON public.orders"]);
    let mut env = house.daypass.env("ann", &token, "shop");
    env.push(("PGSSLMODE", "verify-full".to_owned()));
    env.push(("PGSSLROOTCERT", certificates.ca.display().to_string()));
    env.push(("PGCHANNELBINDING", "require".to_owned()));
    env.retain(|(name, _)| *name != "PGHOST");
    env.push(("PGHOST", "localhost".to_owned()));
    let script = r#"
import psycopg
for more in ("sslnegotiation=postgres", "sslnegotiation=direct", "min_protocol_version=3.2"):
    with psycopg.connect(more, autocommit=True) as c:
        assert c.pgconn.ssl_in_use
        assert c.execute("SELECT count(*) FROM orders").fetchone()[0] == 100
        import threading
        threading.Timer(0.3, c.cancel_safe).start()
        try:
            c.execute("SELECT pg_sleep(600)")
            raise SystemExit("not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
print("done")
"#;
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(python(script, &env).expect_success(), "done");
}

#[test]
fn what_stands_behind_an_ssl_request_in_clear_is_never_read_as_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _) = house(folder.path());
    let mut client = TcpStream::connect(("127.0.0.1", house.daypass.port())).unwrap();
    let mut bytes = vec![0, 0, 0, 8, 4, 210, 22, 47];
    let startup = b"\0\x03\0\0user\0eve\0database\0shop\0\0";
    bytes.extend_from_slice(&u32::try_from(startup.len() + 4).unwrap().to_be_bytes());
    bytes.extend_from_slice(startup);
    client.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(!answer.starts_with(b"S"), "{answer:?}");
    assert!(!answer.contains(&b'R'), "an authentication request: {answer:?}");
}

#[test]
fn a_certificate_is_replaced_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (house, old) = house(folder.path());
    let token = house.principal("bob", &["SELECT ON public.orders"]);
    let connect = |ca: &std::path::Path| {
        let mut env = house.daypass.env("bob", &token, "shop");
        env.push(("PGSSLMODE", "verify-ca".to_owned()));
        env.push(("PGSSLROOTCERT", ca.display().to_string()));
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        python("import psycopg; psycopg.connect('').close(); print('in')", &env).stdout == "in"
    };
    let kept = folder.path().join("old-ca.pem");
    std::fs::copy(&old.ca, &kept).unwrap();
    assert!(connect(&kept));
    for file in [&old.ca, &old.certificate, &old.key] {
        std::fs::remove_file(file).unwrap();
    }
    let new = Certificates::make(folder.path());
    house.daypass.signal("HUP");
    crate::support::eventually("the new certificate", || connect(&new.ca).then_some(()));
    assert!(!connect(&kept));
}
