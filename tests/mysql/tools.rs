//! What real tools send, statement by statement: each is decided as the server decides it for an account that
//! holds what READ on the schema gives, or is listed here with its reason.
//!
//! The tools run against a real server as somebody who may do everything, so that they ask all that they can.
//! What they sent stands in the server's log; an account with just the grant's privileges then says it again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use crate::held::{NOW, granted};
use crate::house::House;
use crate::oracle::{errors, is_refusal, load};
use crate::support::{
    Mysql, Product, mysql_tool, products_available, run, tool_of_java, tool_of_node, tool_of_python,
};
use daypass::grant::decide::{Decision, decide};
use daypass::sql::Engine;
use daypass::sql::mysql::catalog::Catalog;
use daypass::sql::mysql::{CharacterSet, ParseLimits, ParseSettings, Scope, SqlMode, analyse};
use daypass::sql::name::QualifiedName;
use daypass::sql::statement::{Change, Effect, NotUnderstood};

const SCHEMA: &str = "USE shop;
CREATE TABLE customers (id int PRIMARY KEY AUTO_INCREMENT, name varchar(40) NOT NULL, photo blob);
CREATE TABLE orders (id int PRIMARY KEY AUTO_INCREMENT, customer int NOT NULL, total decimal(10,2) DEFAULT 0,
    placed datetime, CHECK (total >= 0), KEY k (placed),
    CONSTRAINT fk FOREIGN KEY (customer) REFERENCES customers (id));
CREATE TABLE `odd name` (a int);
INSERT INTO customers (name) VALUES ('Ann'), ('Bob');
INSERT INTO orders (customer, total, placed) VALUES (1, 2.5, NOW());
CREATE VIEW totals AS SELECT customer, SUM(total) AS total FROM orders GROUP BY customer;
CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW SET NEW.placed = NOW();
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN 2 * x;
CREATE PROCEDURE tidy() DELETE FROM orders WHERE total = 0;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM orders WHERE total = 0;
CREATE USER reader@'%' IDENTIFIED BY 'secret', everything@'%' IDENTIFIED BY 'secret';
GRANT SELECT, SHOW VIEW, LOCK TABLES ON shop.* TO reader@'%'; GRANT ALL ON *.* TO everything@'%';
";

/// What the server lets pass and Daypass does not: a part of the statement, and why.
const STRICTER: [(&str, &str); 9] = [
    (
        "PROCESSLIST",
        "the server shows the account's own connections: the service account has everybody's",
    ),
    ("_PRIVILEGES", "the server shows the account's own: the service account may see everybody's"),
    ("SHOW GRANTS FOR", "they are the service account's and others', not the principal's"),
    ("SHOW CREATE PROCEDURE", "the server hides it by saying that there is none"),
    ("SHOW CREATE FUNCTION", "likewise"),
    (
        "SELECT * FROM information_schema.ROUTINES",
        "the server hides what the account has no right on",
    ),
    ("SELECT * FROM INFORMATION_SCHEMA.TRIGGERS", "likewise"),
    ("SELECT * FROM information_schema.EVENTS", "likewise"),
    ("VIEW_DEFINITION FROM INFORMATION_SCHEMA.VIEWS", "likewise"),
];

/// What Daypass lets pass and the server does not.
const LOOSER: [(&str, &str); 1] = [(
    "SHOW CREATE TRIGGER",
    "SHOW TRIGGERS, which no server refuses, shows the same bodies; who dumps a schema asks for both",
)];

/// One thing that a tool sent.
struct Sent {
    text: String,
    /// It was prepared.
    prepared: bool,
}

/// What one connection of a tool did.
struct Session {
    schema: Option<String>,
    sent: Vec<Sent>,
}

/// What became of a statement here.
#[derive(Debug, PartialEq)]
enum Verdict {
    Allowed,
    /// Privileges are missing, and named.
    Denied(String),
    /// It is not understood, and a sentence says so.
    Refused(String),
    /// A name is not there: the server says so, too.
    Undefined(String),
}

impl Session {
    /// Decides one after the other, for somebody who holds that.
    fn decide(
        &self,
        privileges: &str,
        (catalog, settings): (&Catalog, &ParseSettings),
    ) -> Vec<Verdict> {
        let mut now = settings.clone();
        now.default_database = self.schema.as_deref().map(Box::from);
        let mut temporary: HashSet<QualifiedName> = HashSet::new();
        let held = granted(privileges);
        let verdict = |sent: &Sent| {
            let scope = Scope { catalog, settings: &now, temporary: &temporary };
            let analysis = match analyse(sent.text.as_bytes(), &scope, &ParseLimits::default()) {
                Ok(analysis) => analysis,
                Err(NotUnderstood::Undefined { message, .. }) => {
                    return Verdict::Undefined(message);
                }
                Err(why) => return Verdict::Refused(why.to_string()),
            };
            for statement in &analysis.statements {
                if let Decision::Deny(denial) = decide(statement.accesses.iter(), &held, NOW) {
                    return Verdict::Denied(denial.message(Engine::Mysql));
                }
            }
            for statement in &analysis.statements {
                match &statement.effect {
                    Effect::UseDatabase(name) => now.default_database = Some(name.clone()),
                    Effect::CreateTemporary(name) => drop(temporary.insert(name.clone())),
                    Effect::Reading { sql_mode, character_set } => {
                        match sql_mode {
                            Change::Stays => {}
                            Change::To(mode) => now.sql_mode = SqlMode::parse(mode).unwrap(),
                            Change::Unknown => now.sql_mode = settings.sql_mode,
                        }
                        match character_set {
                            Change::Stays => {}
                            Change::To(set) => {
                                now.character_set = CharacterSet::parse(set).unwrap();
                            }
                            Change::Unknown => now.character_set = settings.character_set,
                        }
                    }
                    _ => {}
                }
            }
            Verdict::Allowed
        };
        self.sent.iter().map(verdict).collect()
    }
}

/// A name for what is run, the command, and what it reads.
type Tool = (String, Command, String);

/// Where a tool goes, and as whom.
struct Door<'a> {
    product: Product,
    port: u16,
    user: &'a str,
    secret: &'a str,
}

impl Door<'_> {
    /// The server itself, for somebody who may do everything.
    fn direct(server: &Mysql) -> Self {
        Self {
            product: server.product(),
            port: server.port(),
            user: "everything",
            secret: "secret",
        }
    }

    /// A program of the product's own.
    fn client(&self, name: &str, options: &[&str]) -> Command {
        let mut command = mysql_tool(self.product, name);
        command.args(["-h127.0.0.1".to_owned(), format!("-P{}", self.port)]);
        command.args([format!("-u{}", self.user), format!("-p{}", self.secret)]);
        command.args(options);
        command
    }
}

/// What runs there.
fn tools(door: &Door<'_>) -> Vec<Tool> {
    let port = door.port.to_string();
    let client = |name: &str, options: &[&str]| {
        let command = door.client(name, options);
        let shown = format!("{name} {}", options.join(" "));
        (shown.trim_end().to_owned(), command, String::new())
    };
    let dumps = ["", "--single-transaction", "--routines", "--events", "--no-tablespaces"];
    let mut list: Vec<Tool> = dumps
        .iter()
        .map(|options| {
            let mut all: Vec<_> = options.split_whitespace().collect();
            all.push("shop");
            client("dump", &all)
        })
        .collect();
    list.push(client("show", &["shop", "orders"]));
    list.push(client("admin", &["ping"]));
    list.push(client("admin", &["status"]));
    list.push(client("admin", &["variables"]));
    list.push(client("check", &["shop"]));
    let (name, mut command, _) = client("", &["--force", "shop"]);
    // MySQL's reads its own commands only when it is told to.
    command.args((door.product == Product::Mysql).then_some("--commands"));
    let said = "\\#\nuse shop\nstatus\nselect * from orders;\nshow warnings;\n\\W\nselect 1/0;\nhelp contents\n";
    list.push((name, command, said.to_owned()));
    let whom = ["127.0.0.1", &port, door.user, door.secret, "shop"];
    for (script, more) in [
        ("dbapi.py", Some("pymysql")),
        ("dbapi.py", Some("MySQLdb")),
        ("connector.py", None),
        ("orm_sqlalchemy.py", None),
        ("orm_django.py", None),
    ] {
        let mut command = tool_of_python(script);
        command.args(whom).args(more);
        list.push((format!("{script} {}", more.unwrap_or_default()), command, String::new()));
    }
    let mut command = tool_of_node("mysql2.js");
    command.args(whom);
    list.push(("mysql2.js".into(), command, String::new()));
    let mut command = tool_of_java("Jdbc.java");
    let url = format!("jdbc:mariadb://127.0.0.1:{port}/shop?allowPublicKeyRetrieval=true");
    command.args([&url, door.user, door.secret, "shop"]);
    list.push(("Jdbc.java".into(), command, String::new()));
    list
}

/// What reached the server since it was last asked, by connection.
fn log(server: &Mysql) -> Vec<Session> {
    let rows = server.sql(
        "SELECT CONCAT_WS(' ', thread_id, REPLACE(command_type, ' ', '_'), HEX(argument)) \
         FROM mysql.general_log WHERE user_host LIKE '%everything%'; TRUNCATE mysql.general_log",
    );
    let mut sessions: BTreeMap<u64, Session> = BTreeMap::new();
    for row in rows.lines() {
        let mut words = row.splitn(3, ' ');
        let (thread, command) = (words.next().unwrap(), words.next().unwrap());
        let bytes = words.next().unwrap_or_default().as_bytes();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let text = String::from_utf8(bytes.chunks(2).map(byte).collect()).unwrap();
        let session = sessions
            .entry(thread.parse().unwrap())
            .or_insert_with(|| Session { schema: None, sent: Vec::new() });
        let mut add = |text, prepared| session.sent.push(Sent { text, prepared });
        match command {
            "Connect" | "Change_user" => {
                let schema = text.split(" on ").nth(1).and_then(|it| it.split(" using ").next());
                session.schema = schema.filter(|it| !it.is_empty()).map(str::to_owned);
            }
            "Query" => add(text, false),
            "Prepare" => add(text, true),
            "Init_DB" => add(format!("USE `{text}`"), false),
            "Field_List" => {
                let table = text.split_whitespace().next().unwrap_or_default();
                add(format!("SHOW COLUMNS FROM `{}`", table.trim_end_matches('%')), false);
            }
            "Execute" | "Quit" | "Close_stmt" | "Reset_stmt" | "Reset_Connection" | "Ping"
            | "Statistics" | "Set_option" | "Fetch" => {}
            other => panic!("{other} {text}"),
        }
    }
    sessions.into_values().collect()
}

/// What tools send that cannot be run here.
const WRITTEN: [(&str, &str); 3] = [
    ("DBeaver", include_str!("../clients/mysql/dbeaver.sql")),
    ("Workbench", include_str!("../clients/mysql/workbench.sql")),
    ("Connector/J", include_str!("../clients/mysql/connectorj.sql")),
];

/// A tool that cannot be run here: its statements, in a file, all of one connection.
fn written(text: &str) -> Session {
    let statement = |block: &str| {
        let lines: Vec<_> = block.lines().filter(|line| !line.starts_with("-- ")).collect();
        let text = lines.join("\n");
        Sent { prepared: text.contains('?'), text }
    };
    let mut sent: Vec<_> = text.split("\n\n").map(statement).collect();
    sent.retain(|sent| !sent.text.trim().is_empty());
    Session { schema: Some("shop".into()), sent }
}

/// What somebody is told who says it all again: the error for each.
fn replayed(door: &Door<'_>, session: &Session) -> Vec<Option<String>> {
    let mut script = String::new();
    let mut lines = Vec::new();
    let mut line = 1;
    for sent in &session.sent {
        let text = if sent.prepared {
            let text = sent.text.replace('\\', "\\\\").replace('\'', "''");
            format!("PREPARE replayed FROM '{text}'")
        } else {
            sent.text.clone()
        };
        let count = text.lines().count().max(1);
        lines.push(line..line + count);
        line += count;
        writeln!(script, "{text};").unwrap();
    }
    let schema: Vec<_> = session.schema.as_deref().into_iter().collect();
    let found = errors(door.client("", &schema), &script);
    lines
        .into_iter()
        .map(|lines| found.range(lines).map(|(_, error)| error.clone()).next())
        .collect()
}

fn judge(product: Product) {
    let server = Mysql::start(product);
    server.sql(SCHEMA);
    server.sql("SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log");
    let (catalog, settings) = load(&server);
    let mut sessions = Vec::new();
    for (name, mut command, input) in tools(&Door::direct(&server)) {
        let output = run(&mut command, &input);
        assert_eq!(output.status, 0, "{name}: {} {}", output.stdout, output.stderr);
        let found = log(&server);
        assert!(!found.is_empty(), "{name} reached no server");
        sessions.extend(found.into_iter().map(|session| (name.clone(), session)));
    }
    for (name, text) in WRITTEN {
        sessions.push((name.to_owned(), written(text)));
    }

    let known =
        |list: &[(&str, &str)], text: &str| list.iter().any(|(part, _)| text.contains(part));
    // With what READ on the schema gives.
    let reader = Door { user: "reader", ..Door::direct(&server) };
    let (mut both, mut stricter, mut looser) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut judged = 0;
    for (tool, session) in &sessions {
        let ours = session.decide("READ ON SCHEMA shop", (&catalog, &settings));
        let servers = replayed(&reader, session);
        for ((sent, ours), server) in session.sent.iter().zip(ours).zip(servers) {
            judged += 1;
            let refused = is_refusal(server.as_ref());
            assert!(!matches!(ours, Verdict::Refused(_)), "{tool}: {}: {ours:?}", sent.text);
            let line = format!("{tool}: {}\n    {ours:?}\n    {server:?}", sent.text);
            match &ours {
                Verdict::Allowed if refused => drop(looser.insert(line)),
                Verdict::Allowed => {}
                _ if refused => drop(both.insert(line)),
                Verdict::Undefined(_) if server.is_some() => {}
                _ => drop(stricter.insert(line)),
            }
        }
    }
    println!("{product:?}: {judged} statements of {} connections", sessions.len());
    for line in &both {
        println!("refused by both: {line}");
    }
    for part in STRICTER.iter().map(|(part, _)| part) {
        let used = stricter.iter().any(|line| line.contains(part));
        assert!(used, "nothing is refused any more for {part}");
    }
    let stricter: Vec<_> = stricter.into_iter().filter(|line| !known(&STRICTER, line)).collect();
    let looser: Vec<_> = looser.into_iter().filter(|line| !known(&LOOSER, line)).collect();
    assert!(looser.is_empty(), "more is allowed than the server allows:\n{}", looser.join("\n"));
    assert!(stricter.is_empty(), "refused, and not listed:\n{}", stricter.join("\n"));
}

/// What a dump consists of is understood, statement by statement.
fn restore(product: Product) {
    let server = Mysql::start(product);
    server.sql(SCHEMA);
    let door = Door::direct(&server);
    let mut dump = door.client("dump", &["--routines", "--events"]);
    // A server does not take its own back.
    dump.args((product == Product::Mysql).then_some("--set-gtid-purged=OFF"));
    dump.args(["--databases", "shop"]);
    let dumped = run(&mut dump, "").expect_success();
    server.sql("SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log");
    let (catalog, settings) = load(&server);
    run(&mut door.client("", &[]), &dumped).expect_success();
    let mut count = 0;
    for session in log(&server) {
        let verdicts = session.decide("ADMIN ON DATABASE", (&catalog, &settings));
        for (sent, verdict) in session.sent.iter().zip(verdicts) {
            count += 1;
            assert_eq!(verdict, Verdict::Allowed, "{}", sent.text);
        }
    }
    assert!(count > 40, "{count} statements of a dump");
}

/// The same through the proxy, by somebody with READ on the schema. With the second lock a session is an account
/// that holds what that gives, without it the service account.
fn through(product: Product, locked: bool) {
    let server = Mysql::start(product);
    server.sql(SCHEMA);
    let lock = if locked { "role" } else { "none" };
    let house = House::before(server, "", &format!("second-lock = \"{lock}\"\n"));
    let token = house.principal("alice", &["READ ON SCHEMA shop"]);
    let direct = Door::direct(&house.server);
    let door = Door { port: house.daypass.mysql_port(), user: "alice", secret: &token, ..direct };
    run_tools(&door, locked);
    replay_written(&house, &door, locked);
    let direct = if locked { Door { user: "reader", ..direct } } else { direct };
    let purged = (product == Product::Mysql).then_some("--set-gtid-purged=OFF");
    for options in [&["--no-tablespaces"][..], &["--single-transaction", "--no-tablespaces"]] {
        let dump = |door: &Door<'_>| {
            let mut command = door.client("dump", options);
            let dumped = run(command.args(purged).arg("shop"), "").expect_success();
            let lines = dumped.lines().filter(|line| !line.starts_with("--"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (expected, found) = (dump(&direct), dump(&door));
        // The server hides it from who may not make any.
        let triggers = expected.iter().any(|line| line.contains(" TRIGGER "));
        assert_eq!(triggers, !locked, "{expected:?}");
        assert_eq!(found, expected, "{options:?}");
    }
    for client in products_available().into_iter().filter(|client| *client != product) {
        let mut dump = Door { product: client, ..door }.client("dump", &["--no-tablespaces"]);
        // MySQL's asks for what MariaDB does not have.
        dump.args((client == Product::Mysql).then_some("--column-statistics=0"));
        let dumped = run(dump.arg("shop"), "").expect_success();
        assert!(dumped.contains("(1,1,2.50,"), "{dumped}");
    }
}

/// All of them end well, but for dumps of what READ does not give: they are told what to ask for.
fn run_tools(door: &Door<'_>, locked: bool) {
    for (name, mut command, input) in tools(door) {
        let output = run(&mut command, &input);
        let refused = match &*name {
            // With the second lock the server hides that there are any.
            "dump --routines shop" if !locked => Some("SHOW CREATE FUNCTION"),
            "dump --events shop" => Some("show events"),
            "dump --single-transaction shop" if door.product == Product::Mysql => Some("FLUSH"),
            _ => None,
        };
        let Some(refused) = refused else {
            assert_eq!(output.status, 0, "{name}: {} {}", output.stdout, output.stderr);
            continue;
        };
        let said = |part: &str| output.stderr.contains(part);
        assert!(output.status != 0 && said(refused), "{name}: {}", output.stderr);
        assert!(said("Ask for it here: CALL daypass.request('"), "{name}: {}", output.stderr);
    }
}

/// Those that cannot be run here are told what was decided.
fn replay_written(house: &House, door: &Door<'_>, locked: bool) {
    let (catalog, settings) = load(&house.server);
    let catalog = if locked { Arc::new(catalog.for_own_accounts()) } else { catalog };
    for (name, text) in WRITTEN {
        let session = written(text);
        let decided = session.decide("READ ON SCHEMA shop", (&catalog, &settings));
        let told = replayed(door, &session);
        for ((sent, decided), told) in session.sent.iter().zip(decided).zip(told) {
            let denied = told.as_ref().is_some_and(|told| told.contains("Ask for it here: CALL"));
            let expected = matches!(decided, Verdict::Denied(_));
            assert_eq!(denied, expected, "{name}: {}: {decided:?} {told:?}", sent.text);
        }
    }
}

#[test]
fn tools_go_through_the_proxy_to_mariadb() {
    through(Product::MariaDb, false);
    through(Product::MariaDb, true);
}

#[test]
fn tools_go_through_the_proxy_to_mysql() {
    if products_available().contains(&Product::Mysql) {
        through(Product::Mysql, false);
        through(Product::Mysql, true);
    }
}

#[test]
fn a_dump_is_read_back_into_mariadb() {
    restore(Product::MariaDb);
}

#[test]
fn a_dump_is_read_back_into_mysql() {
    if products_available().contains(&Product::Mysql) {
        restore(Product::Mysql);
    }
}

#[test]
fn what_tools_send_to_mariadb_is_decided_as_it_decides() {
    judge(Product::MariaDb);
}

#[test]
fn what_tools_send_to_mysql_is_decided_as_it_decides() {
    if products_available().contains(&Product::Mysql) {
        judge(Product::Mysql);
    }
}
