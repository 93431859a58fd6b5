//! From the tree of a file to typed settings, section by section.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::files::{check_private_folder, folder, hash_key, role_key, secret_file};
use super::reads;
use super::source::{ConfigErrors, Environment, Located, Section, Source, one_of};
use super::{
    Api, Approval, Audit, Config, Database, Grant, Limits, Listener, Parameters, Request,
    SecondLock, Server, Speaks, Store, StorePlace, Tls, Token,
};
use crate::audit::recorder::{Mode, Settings};
use crate::audit::redact::{Literals, TextSettings};
use crate::grant::LIFE;
use crate::grant::request::WAITING_MAX;
use crate::identity::PrincipalName;
use crate::secret::Secret;
use crate::sql::Engine;
use crate::telemetry::{self, Log, LogFormat};
use crate::wire;

const ENGINES: [(&str, Engine); 2] = [("postgres", Engine::Postgres), ("mysql", Engine::Mysql)];
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// Reads a configuration from its text. `file` names it in errors and anchors relative paths.
pub(super) fn config(
    file: &Path,
    text: &str,
    environment: Environment<'_>,
) -> Result<Config, ConfigErrors> {
    let source = Source::new(file, text, environment);
    let (tree, syntax) = DeTable::parse_recoverable(text);
    if syntax.is_empty() {
        let config = sections(&source, tree.get_ref());
        return source.into_errors().or_else(config);
    }
    // What is not TOML would make everything after it look missing: no more is said.
    for error in syntax {
        let position = error.span().map(|span| source.position(span.start));
        source.error(position, error.message().trim().replace('\n', ", "));
    }
    let mut errors = source.into_errors();
    errors.sort();
    Err(errors)
}

/// All sections; what is wrong is noted in `source`, and stands as its default here.
pub(super) fn sections(source: &Source<'_>, tree: &DeTable<'_>) -> Config {
    let root = Section::root(source, tree);
    let databases: Vec<Database> =
        root.tables("database").into_iter().filter_map(database).collect();
    let listeners: Vec<Listener> =
        root.tables("listener").into_iter().filter_map(listener).collect();
    if !root.has("listener") {
        root.error("there is no [[listener]]: say where clients connect");
    }
    if !root.has("database") {
        root.error("there is no [[database]]: say what clients can reach");
    }
    unique(source, "database", databases.iter().map(|it| (it.name.value.clone(), &it.name)));
    // Port 0 is a new port each time.
    let addresses = listeners.iter().filter(|it| it.address.value.port() != 0);
    unique(source, "listener", addresses.map(|it| (it.address.value.to_string(), &it.address)));
    let config = Config {
        file: source.file.into(),
        listeners,
        databases,
        store: store(root.table("store")),
        api: api(root.table("api")),
        audit: audit(root.table("audit")),
        limits: limits(root.table("limits")),
        token: token(root.table("token")),
        grant: grant(root.table("grant")),
        request: request(root.table("request")),
        approval: approval(root.table("approval")),
        metrics: metrics(root.table("metrics")),
        log: log(root.table("log")),
        server: server(root.table("server")),
    };
    root.finish();
    config
}

fn unique<'a, T: 'a>(
    source: &Source<'_>,
    what: &str,
    items: impl Iterator<Item = (String, &'a Located<T>)>,
) {
    let mut seen = HashMap::new();
    for (name, item) in items {
        if let Some(line) = seen.insert(name.clone(), item.position.line) {
            let sentence = format!("there is another {what} {name:?} in line {line}");
            source.error(Some(item.position), sentence);
        }
    }
}

fn engine(section: &Section<'_>) -> Option<Engine> {
    let found = section.required("engine")?;
    let engine = section.parse(found, |text| one_of("engine", text, &ENGINES));
    engine.map(|engine| engine.value)
}

fn address(section: &Section<'_>, key: &'static str) -> Option<Located<SocketAddr>> {
    section.parsed(key, |text| {
        text.parse().map_err(|_| {
            format!("`{key}` must be an IP address and a port, as in \"127.0.0.1:6432\"")
        })
    })
}

fn listener(section: Section<'_>) -> Option<Listener> {
    let engine = engine(&section);
    section.required("address");
    let address = address(&section, "address");
    let tls = section.has("tls").then(|| tls(section.table("tls")));
    if let Some(address) = &address
        && tls.is_none()
        && !address.value.ip().to_canonical().is_loopback()
    {
        section.source.error(
            Some(address.position),
            "this address can be reached from other machines, so it needs \
             tls = { certificate-file = \"…\", key-file = \"…\" }",
        );
    }
    let speaks = match engine {
        Some(Engine::Mysql) => {
            section.required("database");
            let native_password = section.flag("native-password", false);
            section.string("database").map(|database| Speaks::Mysql { database, native_password })
        }
        Some(Engine::Postgres) => {
            if let Some(database) = section.string("database") {
                section.source.error(
                    Some(database.position),
                    "a PostgreSQL client names its database itself: leave `database` out",
                );
            }
            Some(Speaks::Postgres)
        }
        None => None,
    };
    section.finish();
    Some(Listener { address: address?, tls: tls.flatten(), speaks: speaks? })
}

fn tls(section: Section<'_>) -> Option<Tls> {
    let file = |key| {
        section.required(key);
        section.parsed(key, |text| {
            let path = section.source.resolve(text);
            match std::fs::File::open(&path) {
                Ok(_) => Ok(path),
                Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
            }
        })
    };
    let (certificate_file, key_file) = (file("certificate-file"), file("key-file"));
    section.finish();
    Some(Tls { certificate_file: certificate_file?, key_file: key_file? })
}

fn database(section: Section<'_>) -> Option<Database> {
    section.required("name");
    let name = section.parsed("name", |text| {
        let wrong = text.is_empty() || text.len() > 63 || text.chars().any(char::is_control);
        if wrong {
            Err("`name` must have 1 to 63 bytes and no control characters".into())
        } else {
            Ok(text.to_owned())
        }
    });
    let engine = engine(&section);
    section.required("primary");
    let primary = section.parsed("primary", url);
    let (replicas, reads) = reads::replicas(&section, url);
    let password = password(&section);
    let catalog_refresh = section.duration("catalog-refresh", 24 * HOUR, MINUTE / 2);
    let second_lock = second_lock(&section);
    let ddl_owner = section.parsed("ddl-owner", |text| {
        let wrong = text.is_empty() || text.len() > 63 || text.chars().any(char::is_control);
        // `SET ROLE none` means no role, quoted, too.
        if wrong || text == "none" {
            Err("`ddl-owner` must be the name of a role, 1 to 63 bytes".into())
        } else {
            Ok(text.to_owned())
        }
    });
    if let (Some(Engine::Mysql), Some(owner)) = (engine, &ddl_owner) {
        section.source.error(
            Some(owner.position),
            "MySQL has no owners, and what they would do can be granted: leave `ddl-owner` out",
        );
    }
    let account_host = account_host(&section, engine, &second_lock);
    section.finish();
    Some(Database {
        name: name?,
        engine: engine?,
        primary: primary?,
        replicas,
        reads,
        password,
        second_lock,
        ddl_owner: ddl_owner.map(|owner| owner.value),
        account_host,
        catalog_refresh,
    })
}

/// From where the server sees sessions come, for the accounts of its second lock.
fn account_host(section: &Section<'_>, engine: Option<Engine>, lock: &SecondLock) -> String {
    const ANYWHERE: &str = "%";
    let host = section.parsed("account-host", |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "%_.:-/".contains(c);
        if text.is_empty() || text.len() > 255 || !text.chars().all(plain) {
            Err("`account-host` must be the host part of an account, as in \"%\" or \"10.0.%\""
                .into())
        } else {
            // As the server keeps it.
            Ok(text.to_lowercase())
        }
    });
    let Some(host) = host else { return ANYWHERE.to_owned() };
    let unused = match (engine, lock) {
        (Some(Engine::Postgres), _) => Some("`account-host` is for MySQL"),
        (_, SecondLock::None) => Some("`account-host` is for second-lock = \"role\""),
        _ => None,
    };
    if let Some(sentence) = unused {
        section.source.error(Some(host.position), sentence);
    }
    host.value
}

/// Roles in the database itself, unless it is written out that there are none.
fn second_lock(section: &Section<'_>) -> SecondLock {
    const LOCKS: [(&str, bool); 2] = [("role", true), ("none", false)];
    let lock = section.parsed("second-lock", |text| one_of("second-lock", text, &LOCKS));
    let file = path(section, "role-key-file");
    if lock.is_some_and(|lock| !lock.value) {
        if let Some(file) = file {
            let sentence = "`role-key-file` is for second-lock = \"role\"";
            section.source.error(Some(file.position), sentence);
        }
        return SecondLock::None;
    }
    let key_file = file.unwrap_or_else(|| default_path(section, "daypass-role.key"));
    parent_exists(section, &key_file);
    let key = role_key(&key_file.value).unwrap_or_else(|sentence| {
        section.source.error(Some(key_file.position), sentence);
        None
    });
    SecondLock::Role { key_file, key }
}

/// A URL is shown in errors and lists, so it cannot hold the password. The rest of it is for those
/// who connect.
fn url(text: &str) -> Result<String, String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let parameters = rest.split_once('?').map_or("", |(_, parameters)| parameters);
    if user.contains(':') || parameters.split('&').any(|it| it.starts_with("password=")) {
        return Err("a password does not belong in a URL: name a file that holds it, \
                    password-file = \"…\", or a variable, password = \"${NAME}\""
            .into());
    }
    Ok(text.to_owned())
}

/// From `password-file`, or from the environment by `password = "${NAME}"`.
fn password(section: &Section<'_>) -> Option<Secret> {
    let from_file = section.parsed("password-file", |text| {
        secret_file(&section.source.resolve(text)).map(Secret::new)
    });
    let from_environment = section.parsed("password", |text| {
        let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name else {
            // The text itself is not repeated: it may be the password.
            return Err("a password is not written here: name a file that holds it, \
                        password-file = \"…\", or a variable, password = \"${NAME}\""
                .into());
        };
        match (section.source.environment)(name) {
            Some(value) if !value.is_empty() => Ok(Secret::new(value)),
            _ => Err(format!("the environment has no variable {name}")),
        }
    });
    if section.has("password-file") && section.has("password") {
        section.error("give `password-file` or `password`, not both");
    }
    from_file.or(from_environment).map(|password| password.value)
}

fn store(section: Section<'_>) -> Store {
    enum Kind {
        File(PathBuf),
        Shared(String),
    }
    let found = section.parsed("url", |text| match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(Kind::File(section.source.resolve(path))),
        Some(("postgres" | "postgresql", _)) => url(text).map(Kind::Shared),
        _ => Err("`url` must be \"sqlite:FILE\" or \"postgres://USER@HOST/DATABASE\"".into()),
    });
    let password_key = ["password-file", "password"].into_iter().find(|key| section.has(key));
    let password = password(&section);
    let place = match found {
        Some(Located { value: Kind::Shared(url), position }) => {
            StorePlace::Shared { url: Located { value: url, position }, password }
        }
        file => {
            if let Some(key) = password_key {
                section.error(format!("`{key}` is for a store in PostgreSQL: a file needs none"));
            }
            let file = match file {
                Some(Located { value: Kind::File(path), position }) => {
                    Located { value: path, position }
                }
                _ => default_path(&section, "daypass.db"),
            };
            parent_exists(&section, &file);
            StorePlace::File(file)
        }
    };
    let stale_after = section.duration("stale-after", HOUR, MINUTE);
    section.finish();
    Store { place, stale_after }
}

fn api(section: Section<'_>) -> Api {
    let socket = path(&section, "socket").unwrap_or_else(|| default_path(&section, "daypass.sock"));
    if let Err(sentence) = check_private_folder(&socket.value) {
        section.source.error(Some(socket.position), sentence);
    }
    section.finish();
    Api { socket }
}

fn audit(section: Section<'_>) -> Audit {
    let stdout = section.flag("stdout", false);
    let file = match path(&section, "file") {
        None if !stdout && !section.has("file") => Some(default_path(&section, "audit.jsonl")),
        file => file,
    };
    if let Some(file) = &file {
        parent_exists(&section, file);
    }
    let defaults = Settings::default();
    let recorder = Settings {
        file: file.map(|file| file.value),
        stdout,
        queue_records_max: section.count(
            "queue-records-max",
            1_000..=1 << 24,
            defaults.queue_records_max,
        ),
        queue_bytes_max: section.bytes(
            "queue-bytes-max",
            1 << 20..=16 << 30,
            defaults.queue_bytes_max,
        ),
    };
    let mode = section.choice("mode", &[("buffered", Mode::Buffered), ("strict", Mode::Strict)]);
    let literals = section
        .choice("literals", &[("full", Literals::Full), ("redacted", Literals::Redacted)])
        .map_or(Literals::Full, |literals| literals.value);
    let parameters = parameters(&section);
    let text_bytes_max =
        section.bytes("text-bytes-max", 64..=16 << 20, TextSettings::default().bytes_max);
    section.finish();
    Audit {
        recorder,
        mode: mode.map_or(Mode::Buffered, |mode| mode.value),
        text: TextSettings { literals, bytes_max: text_bytes_max },
        parameters,
    }
}

/// What is kept of bind parameters.
fn parameters(section: &Section<'_>) -> Parameters {
    let full =
        Parameters::Full { bytes_max: section.bytes("parameter-bytes-max", 16..=1 << 20, 1 << 10) };
    let key = section.parsed("hash-key-file", |text| hash_key(&section.source.resolve(text)));
    let hashed = Parameters::Hashed { key: key.map(|key| key.value) };
    let chosen = section.choice("parameters", &[("full", 0), ("hashed", 1), ("omitted", 2)]);
    let chosen = match chosen.map(|chosen| chosen.value) {
        Some(1) => hashed,
        Some(2) => Parameters::Omitted,
        _ => full,
    };
    if section.has("hash-key-file") && !matches!(chosen, Parameters::Hashed { .. }) {
        section.error("`hash-key-file` is for parameters = \"hashed\"");
    }
    chosen
}

fn limits(section: Section<'_>) -> Limits {
    let limits = Limits::default();
    let wire = limits.wire;
    let message_bytes_max =
        section.bytes("message-bytes-max", 64 << 10..=1 << 30, wire.message_bytes_max);
    let limits = Limits {
        wire: wire::Limits {
            startup_bytes_max: section.bytes(
                "startup-bytes-max",
                256..=64 << 10,
                wire.startup_bytes_max,
            ),
            login_bytes_max: section.bytes("login-bytes-max", 512..=64 << 10, wire.login_bytes_max),
            statement_bytes_max: section.bytes(
                "statement-bytes-max",
                1 << 10..=16 << 20,
                // A message that is to be shorter makes what it carries shorter, too.
                wire.statement_bytes_max.min(message_bytes_max),
            ),
            message_bytes_max,
            prepared_statements_max: section.count(
                "prepared-statements-max",
                1..=1_000_000,
                wire.prepared_statements_max,
            ),
            portals_max: section.count("portals-max", 1..=100_000, wire.portals_max),
        },
        statement_tokens_max: section.count(
            "statement-tokens-max",
            100..=10_000_000,
            limits.statement_tokens_max,
        ),
        // The parser's threads have stacks for this much (design.md, invariant 14).
        statement_nesting_max: section.count(
            "statement-nesting-max",
            8..=limits.statement_nesting_max,
            limits.statement_nesting_max,
        ),
        sessions_max: section.count("sessions-max", 1..=1_000_000, limits.sessions_max),
        sessions_per_principal_max: section.count(
            "sessions-per-principal-max",
            1..=1_000_000,
            limits.sessions_per_principal_max,
        ),
        login_deadline: section.duration("login-deadline", 10 * MINUTE, limits.login_deadline),
    };
    if limits.wire.statement_bytes_max > limits.wire.message_bytes_max {
        section.error("`statement-bytes-max` is more than `message-bytes-max`, which carries it");
    }
    section.finish();
    limits
}

fn token(section: Section<'_>) -> Token {
    let token = Token {
        ttl_default: section.duration("ttl-default", YEAR, 15 * MINUTE),
        ttl_max: section.duration("ttl-max", YEAR, 12 * HOUR),
    };
    if token.ttl_default > token.ttl_max {
        section.error("`ttl-default` is more than `ttl-max`");
    }
    section.finish();
    token
}

fn grant(section: Section<'_>) -> Grant {
    let duration_max = section.duration("duration-max", LIFE.max, LIFE.max);
    section.finish();
    Grant { duration_max }
}

fn request(section: Section<'_>) -> Request {
    let waiting_max = section.duration("waiting-max", WAITING_MAX, WAITING_MAX);
    section.finish();
    Request { waiting_max }
}

fn approval(section: Section<'_>) -> Approval {
    let names = section.strings("approvers").into_iter();
    let approvers = names.filter_map(|name| {
        section.parse(name, |text| match PrincipalName::new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        })
    });
    let approvers = approvers.collect();
    section.finish();
    Approval { approvers }
}

fn metrics(section: Section<'_>) -> Option<Located<SocketAddr>> {
    let address = address(&section, "address");
    section.finish();
    address
}

fn log(section: Section<'_>) -> Log {
    let format = section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let level = section.parsed("level", |text| {
        telemetry::check_level(text).map(|()| text.to_owned()).map_err(|error| {
            format!("`level` must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or directives: {error}")
        })
    });
    section.finish();
    Log {
        format: format.map_or(LogFormat::Text, |format| format.value),
        level: level.map_or_else(|| "info".into(), |level| level.value),
    }
}

fn server(section: Section<'_>) -> Server {
    let threads = section.count("threads", 0..=1_024, 0);
    let drain_deadline = section.duration("drain-deadline", 24 * HOUR, MINUTE / 2);
    section.finish();
    Server { threads, drain_deadline }
}

fn path(section: &Section<'_>, key: &'static str) -> Option<Located<PathBuf>> {
    section.parsed(key, |text| {
        if text.is_empty() {
            Err(format!("`{key}` must name a file"))
        } else {
            Ok(section.source.resolve(text))
        }
    })
}

/// A path that the file does not name: its place is the section that could.
fn default_path(section: &Section<'_>, name: &str) -> Located<PathBuf> {
    Located {
        value: section.source.resolve(name),
        position: section.position.unwrap_or(super::Position { line: 1, column: 1 }),
    }
}

fn parent_exists(section: &Section<'_>, file: &Located<PathBuf>) {
    let folder = folder(&file.value);
    if !folder.is_dir() {
        let sentence = format!("there is no folder {}", folder.display());
        section.source.error(Some(file.position), sentence);
    }
}
