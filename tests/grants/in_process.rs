//! The command line against an API in this very process, which calls of a session share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daypass::audit::recorder::{self, Recorder};
use daypass::control::api::{self, ApiExtra};
use daypass::control::service::{Rules, Served, Service, Settings};
use daypass::grant::request::ApprovalRule;
use daypass::identity::{PrincipalName, TokenId};
use daypass::session::call::{BoundCall, Calls, InBandCaller};
use daypass::session::registry::Registry;
use daypass::sql::catalog::RunsAs;
use daypass::sql::{Engine, ParseLimits};
use daypass::store::Store;
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3600);
const SELECT: &str = "SELECT ON TABLE public.orders";
const UPDATE: &str = "SELECT, UPDATE (status) ON public.orders";

/// The API in this process, and the folder with its socket, store and audit file.
struct Proxy {
    folder: tempfile::TempDir,
    service: Arc<Service>,
    recorder: Recorder,
}

/// What a run of the command line left behind.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Proxy {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("audit.jsonl"));
        let settings = recorder::Settings { file: file.clone(), ..recorder::Settings::default() };
        let recorder = Recorder::open(&settings).unwrap();
        let settings = Settings {
            store: Store::open(&folder.path().join("store.db")).unwrap(),
            recorder: recorder.clone(),
            registry: Arc::new(Registry::default()),
            clock: || SystemTime::now().into(),
        };
        let approvers = ["bob", "carol"].map(|name| PrincipalName::new(name).unwrap()).into();
        let rules = Rules {
            databases: vec![Served {
                name: "shop".into(),
                engine: Engine::Postgres,
                runs_as: RunsAs::Other,
                replicas: 1,
            }],
            ttl_default: HOUR / 4,
            ttl_max: HOUR * 12,
            duration_max: HOUR * 8,
            waiting_max: HOUR * 24,
            approval: ApprovalRule { approvers },
            parse_limits: ParseLimits::default(),
        };
        let service = Service::new(settings, rules);
        let proxy = Self { folder, service, recorder };
        let listener = api::ApiSocket::bind(&proxy.socket()).unwrap();
        let extra =
            ApiExtra { audit_file: file, ready: Arc::new(|| Ok(())), database: Arc::new(|_| None) };
        let service = Arc::clone(&proxy.service);
        tokio::spawn(api::serve(listener, service, extra, std::future::pending()));
        tokio::spawn(Arc::clone(&proxy.service).watch_expiry());
        proxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/daypass.sock")
    }

    fn run(&self, token: &str, arguments: &[&str]) -> Ran {
        let done = Command::new(Path::new(env!("CARGO_BIN_EXE_daypass")))
            .args(arguments)
            .env("DAYPASS_URL", format!("unix:{}", self.socket().display()))
            .env("DAYPASS_TOKEN", token)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
    }

    /// Runs what must end with that code, and returns its standard output.
    fn expect(&self, code: i32, token: &str, arguments: &[&str]) -> String {
        let ran = self.run(token, arguments);
        assert_eq!(ran.code, code, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.out.trim_end().to_owned()
    }

    /// Runs what must end with that code and say that on standard error, and nothing else.
    fn refuses(&self, code: i32, token: &str, arguments: &[&str], says: &str) {
        let ran = self.run(token, arguments);
        assert_eq!(ran.code, code, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        assert!(ran.err.contains(says), "{arguments:?} says\n{}", ran.err);
        assert_eq!(ran.out, "");
    }

    fn issue(&self, user: &str) -> String {
        self.expect(0, "", &["token", "issue", "--user", user])
    }

    fn ask(&self, code: i32, token: &str, more: &[&str]) -> String {
        let mut arguments = vec!["request", "create", "--database", "shop", "--privilege", SELECT];
        arguments.extend(["--for", "30m", "--reason", "INC-1"]);
        arguments.extend(more);
        self.expect(code, token, &arguments)
    }

    /// The life-cycle records so far: kind, event, principal, actor.
    async fn recorded(&self) -> (Vec<String>, Vec<Value>) {
        self.recorder.durable().await.unwrap();
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        assert!(!text.contains("daypass_"), "a token is in the audit stream");
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let records: Vec<Value> =
            records.filter(|record: &Value| record["kind"] != "recorder").collect();
        let word = |record: &Value, key: &str| record[key].as_str().unwrap_or("-").to_owned();
        let short = |record: &Value| {
            ["kind", "event", "principal", "actor"].map(|key| word(record, key)).join(" ")
        };
        (records.iter().map(short).collect(), records)
    }
}

/// The operator's name as records show it.
fn operator(records: &[Value]) -> String {
    records[0]["actor"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_from_its_making_to_its_end() {
    let proxy = Proxy::start();
    let token = proxy.issue("alice");
    assert!(token.starts_with("daypass_") && token.len() == 46, "the token alone");
    let create = |duration: &'static str, database: &'static str| {
        let mut arguments = vec!["grant", "create", "--user", "alice", "--database", database];
        arguments.extend(["--privilege", SELECT, "--for", duration, "--reason", "INC-1"]);
        arguments
    };
    let id = proxy.expect(0, "", &create("1h", "shop"));
    assert!(id.starts_with("g_") && id.len() == 14, "{id}");
    proxy.refuses(2, &token, &create("1h", "shop"), "only an operator may make grants");
    proxy.refuses(1, "", &create("9h", "shop"), "at most 8 h");
    proxy.refuses(1, "", &create("1h", "till"), "no database \"till\"");

    let list = proxy.expect(0, &token, &["grant", "list", "--output", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list[0]["id"], &list[0]["state"]), (&id.as_str().into(), &"live".into()));
    let other = proxy.issue("mallory");
    proxy.refuses(1, &other, &["grant", "show", &id], "there is no grant");
    proxy.refuses(1, &other, &["grant", "revoke", &id], "there is no grant");
    proxy.expect(0, "", &["grant", "revoke", &id, "--reason", "done"]);
    proxy.refuses(1, "", &["grant", "revoke", &id], "already");

    let short = proxy.expect(0, "", &create("1s", "shop"));
    let (mut lines, mut records) = proxy.recorded().await;
    while !lines.iter().any(|line| line.contains("expired")) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (lines, records) = proxy.recorded().await;
    }
    let by = operator(&records);
    assert!(by.starts_with("local:"), "{by}");
    let expected = [
        format!("token issued alice {by}"),
        format!("grant created alice {by}"),
        format!("token issued mallory {by}"),
        format!("grant revoked alice {by}"),
        format!("grant created alice {by}"),
        "grant expired alice -".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(records[3]["reason"], "done");
    assert_eq!(records[1]["grants"][0], id.as_str());
    assert_eq!(records[1]["database"], "shop");
    assert!(records[1]["privileges"][0].as_str().unwrap().contains("orders"));
    assert_eq!(records[5]["grants"][0], short.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_decides_on_their_own_request() {
    let proxy = Proxy::start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| proxy.issue(name));
    let id = proxy.ask(3, &alice, &[]);
    assert!(id.starts_with("r_"), "{id}");
    proxy.refuses(2, &alice, &["approve", &id], "may not approve");
    let mine = proxy.ask(3, &bob, &[]);
    proxy.refuses(2, &bob, &["approve", &mine], "somebody else must");
    proxy.refuses(2, &bob, &["deny", &mine, "--reason", "x"], "somebody else must");
    // An operator cannot pass a request of its own making either.
    let made = proxy.ask(3, "", &["--user", "alice"]);
    proxy.refuses(2, "", &["approve", &made], "somebody else must");
    proxy.refuses(
        1,
        "",
        &[
            "request",
            "create",
            "--database",
            "shop",
            "--privilege",
            SELECT,
            "--for",
            "30m",
            "--reason",
            "r",
        ],
        "has to say for whom",
    );

    let grant = proxy.expect(0, &bob, &["approve", &id]);
    assert!(grant.starts_with("g_"), "{grant}");
    proxy.refuses(1, &carol, &["approve", &id], "approved already");
    proxy.expect(0, &carol, &["deny", &mine, "--reason", "not today"]);
    proxy.expect(0, "", &["request", "cancel", &made]);
    let (lines, records) = proxy.recorded().await;
    let by = operator(&records);
    let expected = [
        "request created alice -".to_owned(),
        "request created bob -".to_owned(),
        format!("request created alice {by}"),
        "request approved alice bob".to_owned(),
        "grant created alice bob".to_owned(),
        "request denied bob carol".to_owned(),
        format!("request cancelled alice {by}"),
    ];
    assert_eq!(lines[3..], expected);
    assert_eq!(records[6]["grants"][0], grant.as_str());
    assert_eq!(records[8]["reason"], "not today");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ended_proves_nothing_not_even_an_operator() {
    let proxy = Proxy::start();
    let short = proxy.expect(0, "", &["token", "issue", "--user", "alice", "--ttl", "1s"]);
    let revoked = proxy.issue("alice");
    let list = proxy.expect(0, &revoked, &["token", "list", "--output", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    let bob = proxy.issue("bob");
    proxy.refuses(1, &bob, &["token", "revoke", id], "there is no token");
    proxy.expect(0, &revoked, &["token", "revoke", id]);
    proxy.refuses(1, &revoked, &["grant", "list"], "was revoked at");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    proxy.refuses(1, &short, &["grant", "list"], "expired at");
    let unknown = "daypass_nothing";
    proxy.refuses(1, unknown, &["token", "list"], "a token has 46 characters");

    let status = |header: &str, path: &str| {
        let (header, path) = (header.to_owned(), path.to_owned());
        let socket = proxy.socket();
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
            let ask =
                format!("GET {path} HTTP/1.1\r\nHost: d\r\n{header}Connection: close\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer.split(' ').nth(1).unwrap().to_owned()
        }
    };
    let bearer = format!("Authorization: Bearer {short}\r\n");
    assert_eq!(status(&bearer, "/v1/grants").await, "401");
    assert_eq!(status("Authorization: Basic eDp5\r\n", "/v1/grants").await, "401");
    assert_eq!(status("", "/v1/grants").await, "200");
    assert_eq!(status("", "/livez").await, "200");
    assert_eq!(status("", "/readyz").await, "200");
    assert_eq!(status("", "/v2").await, "404");
    assert_eq!(status("", "/v1/grants?all=perhaps").await, "400");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_a_session_do_the_same() {
    let proxy = Proxy::start();
    let caller = |name: &str| InBandCaller {
        principal: PrincipalName::new(name).unwrap(),
        token: TokenId("t_1".into()),
        database: "shop".into(),
        engine: Engine::Postgres,
        session: "s_1".into(),
    };
    let call = |name: &str, arguments: &[&str]| BoundCall {
        name: name.into(),
        arguments: arguments.iter().map(|text| Some((*text).into())).collect(),
    };
    let (alice, bob) = (caller("alice"), caller("bob"));
    let ask = call("request", &[SELECT, "30 min", "INC-1"]);
    let made = proxy.service.call(&alice, &ask).await.unwrap();
    assert_eq!(made.columns.len(), made.rows[0].len());
    let id = made.rows[0][0].clone().unwrap();
    let approve = call("approve", &[&id]);
    let error = proxy.service.call(&alice, &approve).await.unwrap_err();
    assert_eq!(error.sqlstate, "42501");
    let granted = proxy.service.call(&bob, &approve).await.unwrap();
    assert_eq!(granted.rows[0][1].as_deref(), Some("alice"));
    assert_eq!(proxy.service.call(&bob, &approve).await.unwrap_err().sqlstate, "55000");
    for (name, rows) in [("help", 11), ("whoami", 1), ("grants", 1), ("requests", 0)] {
        let answer = proxy.service.call(&alice, &call(name, &[])).await.unwrap();
        assert_eq!(answer.rows.len(), rows, "{name}");
        assert!(answer.rows.iter().all(|row| row.len() == answer.columns.len()), "{name}");
    }
    let unknown = call("cancel", &["r_000000000000"]);
    assert_eq!(proxy.service.call(&alice, &unknown).await.unwrap_err().sqlstate, "42704");
    let nonsense = call("request", &["EVERYTHING", "30m", "r"]);
    assert_eq!(proxy.service.call(&alice, &nonsense).await.unwrap_err().sqlstate, "22023");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_more_than_read_is_not_bound_to_replicas() {
    let proxy = Proxy::start();
    let alice = proxy.issue("alice");
    let wish = |privilege: &'static str, route: &'static str| {
        let wish = ["--database", "shop", "--for", "1h", "--reason", "INC-1"];
        [&wish[..], &["--privilege", privilege, "--route", route]].concat()
    };
    let create = |wish: &[&'static str]| [&["grant", "create", "--user", "alice"], wish].concat();
    let ask = |wish: &[&'static str]| [&["request", "create"], wish].concat();
    for (privilege, more) in [("WRITE ON public.orders", "not WRITE"), (UPDATE, "not UPDATE")] {
        let wish = wish(privilege, "replica-only");
        proxy.refuses(1, "", &create(&wish), more);
        proxy.refuses(1, &alice, &ask(&wish), more);
    }
    let wish = wish(SELECT, "primary");
    proxy.refuses(64, "", &create(&wish), "a route is any or replica-only");
    proxy.refuses(64, &alice, &ask(&wish), "a route is any or replica-only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_reads_is_bound_to_replicas_from_the_request_to_the_record() {
    let proxy = Proxy::start();
    let [alice, bob] = ["alice", "bob"].map(|name| proxy.issue(name));
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let asked = proxy.ask(3, &alice, &["--route", "replica-only"]);
    let list = proxy.expect(0, &bob, &["request", "list"]);
    assert!(list.contains("ROUTE") && list.contains("replica-only"), "{list}");
    let approved = proxy.run(&bob, &["approve", &asked]);
    assert!(approved.err.contains("on shop, at its replicas only, until "), "{}", approved.err);
    let id = approved.out.trim_end();
    let shown = proxy.expect(0, &alice, &["grant", "show", id, "--output", "json"]);
    assert_eq!(json(&shown)["route"], "replica-only");

    let made = ["grant", "create", "--user", "alice", "--database", "shop", "--privilege", SELECT];
    let made = [&made[..], &["--for", "1h", "--reason", "r", "--route", "replica-only"]].concat();
    let made = proxy.expect(0, "", &made);
    let list = json(&proxy.expect(0, "", &["grant", "list", "--output", "json"]));
    let bound = list.as_array().unwrap().iter().filter(|grant| grant["route"] == "replica-only");
    assert_eq!(bound.count(), 2);

    let caller = InBandCaller {
        principal: PrincipalName::new("alice").unwrap(),
        token: TokenId("t_1".into()),
        database: "shop".into(),
        engine: Engine::Postgres,
        session: "s_1".into(),
    };
    let arguments = [Some(SELECT), Some("30 min"), Some("why"), None, Some("replica-only")];
    let arguments = arguments.map(|text| text.map(Box::from)).into();
    let call = BoundCall { name: "request".into(), arguments };
    let asked = proxy.service.call(&caller, &call).await.unwrap().rows[0][0].clone().unwrap();
    let shown = proxy.expect(0, &alice, &["request", "show", &asked, "--output", "json"]);
    assert_eq!(
        (&json(&shown)["route"], &json(&shown)["ticket"]),
        (&"replica-only".into(), &Value::Null)
    );

    let (_, records) = proxy.recorded().await;
    let of =
        |kind: &str| records.iter().filter(|record| record["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("grant").len(), of("request").len()), (2, 3));
    assert!(of("grant").iter().all(|record| record["route"] == "replica-only"), "{records:?}");
    assert!(of("request").iter().all(|record| record["route"] == "replica-only"), "{records:?}");
    assert_eq!(of("grant")[1]["grants"][0], made.as_str());
}
