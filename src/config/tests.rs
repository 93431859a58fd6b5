use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::source::Source;
use super::*;
use crate::audit::recorder::Mode;
use crate::audit::redact::Literals;
use crate::route::{Floor, Freshness};
use crate::telemetry::LogFormat;

const MINIMAL: &str = r#"
[[listener]]
engine = "postgres"
address = "127.0.0.1:6432"

[[database]]
name = "shop"
engine = "postgres"
primary = "postgres://daypass@127.0.0.1:5432/shop"
second-lock = "role"
"#;

fn private_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// Reads a text as if it were a file in a private folder.
fn read(text: &str) -> Result<Config, String> {
    let folder = private_folder();
    read_in(folder.path(), text)
}

fn read_in(folder: &Path, text: &str) -> Result<Config, String> {
    let file = folder.join("daypass.toml");
    let environment = |name: &str| (name == "SHOP").then(|| "hunter2".to_owned());
    read::config(&file, text, &environment)
        .map_err(|errors| errors.to_string().replace(&format!("{}:", file.display()), ""))
}

fn errors(text: &str) -> Vec<String> {
    read(text).unwrap_err().lines().map(str::to_owned).collect()
}

#[test]
fn the_shortest_file_has_every_default() {
    let folder = private_folder();
    let config = read_in(folder.path(), MINIMAL).unwrap();
    assert_eq!(config.audit.recorder.file, Some(folder.path().join("audit.jsonl")));
    assert_eq!(config.audit.mode, Mode::Buffered);
    let StorePlace::File(file) = &config.store.place else { panic!("{:?}", config.store) };
    assert_eq!(file.value, folder.path().join("daypass.db"));
    assert_eq!(config.store.stale_after, Duration::from_secs(60));
    assert_eq!(config.api.socket.value, folder.path().join("daypass.sock"));
    assert_eq!(config.token.ttl_default, Duration::from_secs(900));
    assert_eq!(config.metrics, None);
    assert_eq!(config.databases[0].primary.position, Position { line: 9, column: 11 });
}

#[test]
fn the_file_that_shows_every_setting_shows_the_defaults() {
    let shown = include_str!("../../config/daypass.toml");
    let folder = private_folder();
    assert_eq!(read_in(folder.path(), shown), read_in(folder.path(), MINIMAL));
}

#[test]
fn the_file_that_shows_every_setting_leaves_none_out() {
    let shown = include_str!("../../config/daypass.toml");
    let folder = private_folder();
    let file = folder.path().join("daypass.toml");
    let certificate = "tls = { certificate-file = \"daypass.toml\", key-file = \"daypass.toml\" }";
    let text = shown.replace("engine = \"postgres\"\naddress", &format!("{certificate}\naddress"));
    let source = Source::new(&file, &text, &|_| None);
    let (tree, _) = toml::de::DeTable::parse_recoverable(&text);
    drop(read::sections(&source, tree.get_ref()));
    for asked in source.asked.borrow().iter() {
        let (_, key) = asked.split_once('.').unwrap();
        let written = [format!("{key} = "), format!("[{key}]")];
        assert!(written.iter().any(|it| shown.contains(it)), "{asked} is not shown");
    }
}

#[test]
fn every_setting_is_read() {
    let folder = private_folder();
    for name in ["server.crt", "server.key"] {
        std::fs::write(folder.path().join(name), "pem").unwrap();
    }
    std::fs::write(folder.path().join("shop.password"), "hunter2\r\n").unwrap();
    let key = folder.path().join("hash.key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = r#"
[[listener]]
engine = "postgres"
address = "[::]:6432"
tls = { certificate-file = "server.crt", key-file = "server.key" }
[[database]]
name = "shop"
engine = "postgres"
primary = "postgres://daypass@db/shop?sslmode=verify-full"
replicas = ["postgres://daypass@db2/shop", "postgres://daypass@db3/shop"]
replica-weights = [2, 1]
freshness = "wait"
replica-lag-max = "1m 500ms"
replica-lag-bytes-max = "64 KiB"
replica-floor = "error"
replica-check = "100ms"
replica-timeout = "1s"
password-file = "shop.password"
second-lock = "role"
role-key-file = "hash.key"
catalog-refresh = "1m"
[store]
url = "sqlite:/tmp/daypass.db"
[api]
socket = "run/daypass.sock"
[audit]
stdout = true
mode = "strict"
parameters = "hashed"
hash-key-file = "hash.key"
literals = "redacted"
text-bytes-max = 4096
queue-records-max = 0x1000
queue-bytes-max = "2 MiB"
[limits]
sessions-max = 10
message-bytes-max = "2 MiB"
[token]
ttl-default = "1m"
[approval]
approvers = ["bob"]
[metrics]
address = "0.0.0.0:9632"
[log]
format = "json"
level = "debug"
[server]
threads = 4
drain-deadline = "5s"
"#;
    let config = read_in(folder.path(), text).unwrap();
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.key_file.value, folder.path().join("server.key"));
    let database = &config.databases[0];
    assert_eq!(database.password, Some(Secret::new("hunter2")));
    let SecondLock::Role { key, .. } = &database.second_lock else { panic!("{database:?}") };
    assert_eq!(*key, Some(Secret::new("0123456789abcdef0123456789abcdef")));
    assert_eq!(database.replicas[0].value, "postgres://daypass@db2/shop");
    let second = Duration::from_secs(1);
    let reads = Reads {
        weights: vec![2, 1],
        policy: Policy { freshness: Freshness::Wait, wait: second, floor: Floor::Error },
        ceilings: Ceilings { lag: 60 * second + second / 2, bytes: Some(64 << 10) },
        check: second / 10,
        timeout: second,
    };
    assert_eq!(database.reads, reads);
    let StorePlace::File(file) = &config.store.place else { panic!("{:?}", config.store) };
    assert_eq!(file.value, Path::new("/tmp/daypass.db"));
    assert_eq!(config.audit.recorder.file, None);
    assert_eq!(config.audit.recorder.queue_records_max, 4_096);
    assert_eq!(config.audit.recorder.queue_bytes_max, 2 << 20);
    assert_eq!(config.audit.mode, Mode::Strict);
    assert_eq!(config.audit.text, TextSettings { literals: Literals::Redacted, bytes_max: 4_096 });
    let key = Some(Secret::new("0123456789abcdef0123456789abcdef"));
    assert_eq!(config.audit.parameters, Parameters::Hashed { key });
    assert_eq!(config.limits.sessions_max, 10);
    assert_eq!(config.limits.wire.message_bytes_max, 2 << 20);
    assert_eq!(config.approval.approvers[0].value, "bob");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.server.threads, 4);
}

#[test]
fn all_errors_come_at_once_each_with_its_place() {
    let text = r#"
[[listener]]
engine = "postgresql"
adress = "127.0.0.1:6432"
[[listener]]
engine = "postgres"
address = "0.0.0.0:6432"
[[database]]
name = "shop"
engine = "postgres"
primary = "postgres://daypass:hunter2@127.0.0.1/shop"
second-lock = "roles"
[audit]
stdout = "yes"
mode = "strikt"
queue-records-max = 5
[token]
ttl-default = "soon"
[nonsense]
"#;
    assert_eq!(
        errors(text),
        [
            "2:1: [[listener]] lacks `address`",
            "3:10: `engine` must be \"postgres\" or \"mysql\", not \"postgresql\"",
            "4:1: [[listener]] has no setting `adress`; did you mean `address`?",
            "7:11: this address can be reached from other machines, so it needs \
             tls = { certificate-file = \"…\", key-file = \"…\" }",
            "11:11: a password does not belong in a URL: name a file that holds it, \
             password-file = \"…\", or a variable, password = \"${NAME}\"",
            "12:15: `second-lock` must be \"role\" or \"none\", not \"roles\"",
            "14:10: `stdout` must be true or false, not of type string",
            "15:8: `mode` must be \"buffered\" or \"strict\", not \"strikt\"",
            "16:21: `queue-records-max` must lie between 1000 and 16777216",
            "18:15: `ttl-default`: \"soon\" is not a duration: write 30m, 1h or 1h30m",
            "19:2: the file has no setting `nonsense`",
        ]
    );
}

#[test]
fn durations_that_nothing_would_honour_are_refused() {
    let text = "[grant]\nduration-max = \"8 days\"\n[request]\nwaiting-max = \"25h\"\n\
                [server]\ndrain-deadline = \"10ms\"\n";
    assert_eq!(
        errors(&format!("{MINIMAL}{text}")),
        [
            "12:16: `duration-max` is at most 7 days",
            "14:15: `waiting-max` is at most 24 h",
            "16:18: `drain-deadline` is at least 1 s",
        ]
    );
}

#[test]
fn what_is_said_of_replicas_has_to_fit_them() {
    let with = |lines: &str| MINIMAL.replace("name =", &format!("{lines}\nname ="));
    let policy = read(&with("freshness-wait = \"0s\"")).unwrap().databases[0].reads.policy;
    assert_eq!((policy.wait, policy.freshness), (Duration::ZERO, Freshness::Session));
    let lines = "replicas = [\"postgres://u@h/d\"]\nreplica-weights = [1, 0]\nfreshness = \"now\"\n\
                 replica-floor = 1\nreplica-check = \"10ms\"\nreplica-timeout = \"soon\"\nreplica-lag-max = \"2 days\"";
    assert_eq!(
        errors(&with(lines)),
        [
            "8:23: `replica-weights` must lie between 1 and 1000",
            "9:13: `freshness` must be \"session\" or \"wait\" or \"eventual\" or \"off\", not \"now\"",
            "10:17: `replica-floor` must be a string in quotes, not of type integer",
            "11:17: `replica-check` must lie between 50ms and 1m",
            "12:19: `replica-timeout`: \"soon\" is not a time: write 50ms, 2s or 1m",
            "13:19: `replica-lag-max` must lie between 1ms and 1day",
        ]
    );
    let few = "replicas = [\"postgres://u@h/d\"]\nreplica-weights = [1, 2]";
    assert_eq!(errors(&with(few)), ["8:19: `replica-weights` has 2 of them for 1 replicas"]);
}

#[test]
fn what_is_missing_or_not_toml_is_said() {
    assert_eq!(
        errors(""),
        [
            " there is no [[listener]]: say where clients connect",
            " there is no [[database]]: say what clients can reach"
        ]
    );
    let twice = errors("a = \na = 'x\nb = 1\n");
    assert!(twice.len() >= 2 && twice[0].starts_with("1:5:"), "{twice:?}");
}

#[test]
fn the_lock_is_a_role_and_none_has_to_be_written_out() {
    let folder = private_folder();
    let without = MINIMAL.replace("second-lock = \"role\"\n", "");
    assert_eq!(read_in(folder.path(), &without), read_in(folder.path(), MINIMAL));
    let none = read_in(folder.path(), &MINIMAL.replace("\"role\"", "\"none\"")).unwrap();
    assert_eq!(none.databases[0].second_lock, SecondLock::None);
    let useless = MINIMAL.replace("\"role\"", "\"none\"\nrole-key-file = \"k\"");
    assert_eq!(errors(&useless), ["11:17: `role-key-file` is for second-lock = \"role\""]);
}

#[test]
fn a_store_is_a_file_or_a_shared_database_whose_password_stands_elsewhere() {
    let folder = private_folder();
    let path = folder.path().join("store.password");
    std::fs::write(&path, "hunter2\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let store = |lines: &str| format!("{MINIMAL}[store]\n{lines}\n");
    let shared = "url = \"postgres://keeper@db/store?sslmode=verify-full\"\n\
                  password-file = \"store.password\"\nstale-after = \"5s\"";
    let config = read_in(folder.path(), &store(shared)).unwrap();
    let StorePlace::Shared { url, password } = &config.store.place else { panic!("{config:?}") };
    assert_eq!(url.value, "postgres://keeper@db/store?sslmode=verify-full");
    assert_eq!(password, &Some(crate::secret::Secret::new("hunter2")));
    assert_eq!(config.store.stale_after, Duration::from_secs(5));
    assert!(!format!("{config:?}").contains("hunter2"));
    let refused = |lines: &str| errors(&store(lines)).join("\n");
    assert!(
        refused("url = \"postgres://keeper:hunter2@db/store\"")
            .contains("does not belong in a URL")
    );
    assert!(
        refused("url = \"mysql://keeper@db/store\"")
            .contains("or \"postgres://USER@HOST/DATABASE\"")
    );
    assert!(refused("password = \"${NONE}\"").contains("`password` is for a store in PostgreSQL"));
}

#[test]
fn a_role_key_is_made_once_and_private() {
    let folder = private_folder();
    let path = folder.path().join("daypass-role.key");
    let key = |config: &Config| match &config.databases[0].second_lock {
        SecondLock::Role { key_file, key } => {
            assert_eq!(key_file.value, path);
            key.clone()
        }
        SecondLock::None => panic!("the default is a lock"),
    };
    let mut config = read_in(folder.path(), MINIMAL).unwrap();
    assert_eq!(key(&config), None, "reading makes nothing");
    assert!(!path.exists());
    config.make_role_keys().unwrap();
    let made = key(&config).unwrap();
    assert!(made.expose().len() >= 32);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let again = read_in(folder.path(), MINIMAL).unwrap();
    assert_eq!(key(&again), Some(made));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = read_in(folder.path(), MINIMAL).unwrap_err();
    assert!(refused.contains("is open to other users"), "{refused}");
}

#[test]
fn names_and_addresses_are_given_once() {
    let text = format!("{MINIMAL}{}", MINIMAL.trim());
    assert_eq!(
        errors(&text),
        [
            "13:11: there is another listener \"127.0.0.1:6432\" in line 4",
            "16:8: there is another database \"shop\" in line 7"
        ]
    );
    let free = text.replace("127.0.0.1:6432", "127.0.0.1:0").replacen("shop\"\ne", "crm\"\ne", 1);
    assert!(read(&free).is_ok());
}

#[test]
fn a_password_comes_from_the_environment_and_is_never_repeated() {
    let with = |password| MINIMAL.replace("name =", &format!("password = \"{password}\"\nname ="));
    assert_eq!(read(&with("${SHOP}")).unwrap().databases[0].password, Some(Secret::new("hunter2")));
    assert_eq!(errors(&with("${NONE}")), ["7:12: the environment has no variable NONE"]);
    let found = errors(&with("letmein"));
    assert!(found.len() == 1 && !found[0].contains("letmein"), "{found:?}");
}

#[test]
fn a_hash_key_is_long_private_and_for_hashes() {
    let folder = private_folder();
    let key = folder.path().join("hash.key");
    let text = |parameters| {
        format!("{MINIMAL}[audit]\nparameters = \"{parameters}\"\nhash-key-file = \"hash.key\"\n")
    };
    let refused = |parameters| read_in(folder.path(), &text(parameters)).unwrap_err();
    assert!(refused("hashed").contains("13:17: ") && refused("hashed").contains("cannot be read"));
    for (content, mode, sentence) in [
        ("", 0o600, "is empty"),
        ("too short, and secret\n", 0o600, "has 21 bytes, and a key has at least 32"),
        ("long enough, but everybody may read it", 0o604, "is open to other users (mode 0604)"),
    ] {
        std::fs::write(&key, content).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = refused("hashed");
        assert!(refused.contains("13:17: ") && refused.contains(sentence), "{refused}");
        assert!(content.is_empty() || !refused.contains(content.trim()), "{refused}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let config = read_in(folder.path(), &text("hashed")).unwrap();
    assert!(!format!("{config:?}").contains("everybody may"), "{config:?}");
    assert!(refused("full").contains("`hash-key-file` is for parameters"), "{}", refused("full"));
}

#[test]
fn a_mysql_listener_names_its_database() {
    let text = MINIMAL.replace("engine = \"postgres\"", "engine = \"mysql\"");
    let found = errors(&text);
    assert!(matches!(&*found, [only] if only.contains("lacks `database`")), "{found:?}");
    let named = text.replacen("engine = \"mysql\"", "engine = \"mysql\"\ndatabase = \"shop\"", 1);
    let Listener { speaks, .. } = &read(&named).unwrap().listeners[0];
    assert!(
        matches!(speaks, Speaks::Mysql { database, native_password: false } if database.value == "shop"),
        "{speaks:?}"
    );
    let owned = named.replace("second-lock", "ddl-owner = \"app\"\nsecond-lock");
    assert!(errors(&owned)[0].contains("MySQL has no owners"), "{:?}", errors(&owned));
}

#[test]
fn the_folder_of_the_socket_is_private_or_refused() {
    let folder = private_folder();
    let text = format!("{MINIMAL}[api]\nsocket = \"run/daypass.sock\"\n");
    let config = read_in(folder.path(), &text).unwrap();
    let run = folder.path().join("run");
    assert!(!run.exists(), "loading makes nothing");
    config.prepare().unwrap();
    config.prepare().unwrap();
    assert_eq!(std::fs::metadata(&run).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o750)).unwrap();
    let refused = config.prepare().unwrap_err().to_string();
    assert!(refused.contains(":12:10: others can enter the folder"), "{refused}");
    assert!(read_in(folder.path(), &text).is_err());
}

#[test]
fn others_add_errors_at_the_place_of_a_value() {
    let config = read(MINIMAL).unwrap();
    let mut errors = config.errors();
    errors.add(Some(config.databases[0].primary.position), "the URL has no user");
    let shown = errors.or_else(()).unwrap_err().to_string();
    assert!(shown.ends_with("daypass.toml:9:11: the URL has no user"), "{shown}");
}

#[test]
fn debug_output_shows_no_password() {
    let text = MINIMAL.replace("name =", "password = \"${SHOP}\"\nname =");
    assert!(!format!("{:?}", read(&text).unwrap()).contains("hunter2"));
}

proptest! {
    /// Whatever is in the file: an answer, never a panic.
    #[test]
    fn no_text_makes_it_panic(
        lines in prop::collection::vec(
            "(\\[+[a-z]{0,8}\\]+|(engine|address|file|mode|queue-bytes-max|threads) = [\"0-9a-z:.-]{0,9}|\\PC{0,9})",
            0..12,
        )
    ) {
        drop(read(&lines.join("\n")));
    }
}

#[test]
fn the_host_of_accounts_is_one_and_mysqls() {
    let text = MINIMAL.replace("engine = \"postgres\"", "engine = \"mysql\"").replacen(
        "engine = \"mysql\"",
        "engine = \"mysql\"\ndatabase = \"shop\"",
        1,
    );
    let with = |host: &str, lock: &str| {
        let lines = format!("account-host = \"{host}\"\nsecond-lock = \"{lock}\"");
        text.replace("second-lock = \"role\"", &lines)
    };
    assert_eq!(read(&text).unwrap().databases[0].account_host, "%");
    let config = read(&with("App-1.Example.%", "role")).unwrap();
    assert_eq!(config.databases[0].account_host, "app-1.example.%");
    for (host, lock, sentence) in [
        ("it's", "role", "must be the host part of an account"),
        ("", "role", "must be the host part of an account"),
        ("%", "none", "`account-host` is for second-lock"),
    ] {
        let found = errors(&with(host, lock));
        assert!(matches!(&*found, [only] if only.contains(sentence)), "{host} {found:?}");
    }
    let postgres = format!("{MINIMAL}account-host = \"%\"");
    assert!(errors(&postgres)[0].contains("`account-host` is for MySQL"));
}
