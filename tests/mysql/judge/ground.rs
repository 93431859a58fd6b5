//! The ground of a comparison: a server with objects, accounts that hold a random part of what can be held on
//! them, and principals with grants that say the same.

use std::fmt::Write as _;
use std::rc::Rc;

use daypass::secret::Secret;
use daypass::upstream::mysql::{Connection, Host, Startup, Target, connect, query};
use tokio::runtime::Runtime;

use super::random::Random;
use super::wire::Session;
use crate::oracle;
use crate::support::{Config, Daypass, Mysql, Product};

/// Of ten things that can be held, how many a party holds: from few to all.
const DENSITIES: [usize; 6] = [7, 3, 9, 8, 9, 10];

/// Everything of the ground that can be held one by one: relations with columns, routines.
const OBJECTS: &str = "
    SELECT 'table', table_schema, table_name, group_concat(column_name ORDER BY ordinal_position)
    FROM information_schema.columns WHERE table_schema IN ('shop', 'crm', 'closed') GROUP BY 1, 2, 3
    UNION ALL SELECT lower(routine_type), routine_schema, routine_name, ''
    FROM information_schema.routines WHERE routine_schema IN ('shop', 'crm', 'closed')
    ORDER BY 1, 2, 3";

/// Names on which something can be held though nothing is called so yet.
const TO_COME: [&str; 5] = ["shop.n", "shop.t9", "shop.w", "shop.m", "crm.s"];

/// What can be held on a table, by column on some.
const ON_TABLES: [&str; 12] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REFERENCES",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "TRIGGER",
    "CREATE VIEW",
    "SHOW VIEW",
];

/// What can be held on a database only.
const ON_DATABASES: [&str; 4] =
    ["LOCK TABLES", "CREATE TEMPORARY TABLES", "EVENT", "CREATE ROUTINE"];

/// Who sessions are at the server that the proxy opens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// The service account, which may do everything: the first lock alone.
    Service,
    /// An account of their principal's own, as is the default: both locks.
    Own,
}

/// One who asks: the account of that name at the server, and the principal of that name.
pub struct Party {
    pub name: String,
    pub token: String,
}

/// All of it.
pub struct Ground {
    pub server: Mysql,
    pub daypass: Daypass,
    pub parties: Vec<Party>,
    runtime: Rc<Runtime>,
    admin: Connection,
    script: Vec<String>,
}

impl Ground {
    /// A server with objects, and parties whose rights follow from the seed. Each party can log in at the
    /// server by its name, and at the proxy, whose service account is root.
    pub fn new(product: Product, sessions: Sessions, parties: usize, seed: u64) -> Self {
        let server = Mysql::start(product);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = Target::new(Host::Unix(server.socket()), "root", None);
        let mut admin = runtime.block_on(connect(&root, &Startup::default())).unwrap();
        let script = script(product);
        // Nobody reads the log of what is compared, and what waits for something that does not come is ended.
        // What is held on a routine stays when that is made anew.
        for setting in
            ["general_log = 0", "innodb_lock_wait_timeout = 2", "automatic_sp_privileges = 0"]
        {
            runtime.block_on(query(&mut admin, &format!("SET GLOBAL {setting}"))).unwrap();
        }
        // Before the proxy reads what there is.
        for text in &script {
            runtime.block_on(query(&mut admin, text)).unwrap();
        }
        let lock = match sessions {
            Sessions::Service => "none",
            Sessions::Own => "role",
        };
        let mut ground = Self {
            parties: Vec::new(),
            // Its catalog changes by what passes it, and not by what happens at the server meanwhile.
            daypass: Daypass::start(Config::new().mysql_listener("crm", "").database(&format!(
                "name = \"crm\"\nengine = \"mysql\"\nprimary = \"{}\"\nsecond-lock = \"{lock}\"\n\
                 catalog-refresh = \"1h\"\n",
                server.url("root")
            ))),
            server,
            runtime: Rc::new(runtime),
            admin,
            script,
        };
        let mut random = Random::new(seed);
        let objects = ground.admin(OBJECTS);
        for n in 0..parties {
            let held = Held::draw(&objects, n, &mut random);
            ground.add(&format!("party{n}"), &held);
        }
        ground
    }

    /// A server with objects, and one party that holds only these, which are the same in the words of either.
    pub fn narrow(product: Product, sessions: Sessions, privileges: &[(&str, &str)]) -> Self {
        let mut ground = Self::new(product, sessions, 0, 0);
        let mut held = Held { at_proxy: Vec::new(), at_server: Vec::new() };
        for (items, object) in privileges {
            held.give(items, object);
        }
        ground.add("alice", &held);
        ground
    }

    fn add(&mut self, name: &str, held: &Held) {
        self.admin(&format!("CREATE USER {name}@localhost"));
        self.admin(&format!("GRANT SELECT ON shop.marker TO {name}@localhost"));
        for (privilege, object) in &held.at_server {
            self.admin(&format!("GRANT {privilege} ON {object} TO {name}@localhost"));
        }
        let texts: Vec<_> = held.at_proxy.iter().map(String::as_str).collect();
        let marker = ["SELECT ON shop.marker"];
        self.daypass.grant(name, "crm", &[&marker, &*texts].concat());
        let token = self.daypass.token(name);
        self.parties.push(Party { name: name.to_owned(), token });
    }

    /// Runs something as root.
    pub fn admin(&mut self, text: &str) -> Vec<Vec<Option<String>>> {
        let rows = self.runtime.block_on(query(&mut self.admin, text));
        rows.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Makes all objects anew.
    pub fn restore(&mut self) {
        for text in self.script.clone() {
            self.admin(&text);
        }
    }

    /// Makes those anew that a statement may have changed: all whose names stand in it.
    pub fn restore_after(&mut self, statement: &str) {
        let statement = statement.to_ascii_lowercase();
        if statement.contains("password") {
            for name in self.parties.iter().map(|it| it.name.clone()).collect::<Vec<_>>() {
                self.admin(&format!("SET PASSWORD FOR {name}@localhost = ''"));
            }
        }
        if statement.contains("database") || statement.contains("schema") {
            self.restore();
            return;
        }
        self.admin("SET foreign_key_checks = 0");
        for name in TO_COME {
            self.drop_named(name);
        }
        for kind in ["FUNCTION", "PROCEDURE", "EVENT"] {
            self.admin(&format!("DROP {kind} IF EXISTS w"));
            self.admin(&format!("DROP {kind} IF EXISTS x"));
        }
        for text in self.script.clone() {
            let Some((subject, name)) = subject(&text) else { continue };
            match subject {
                Subject::Routine(kind) if statement.contains(&kind.to_ascii_lowercase()) => {
                    self.admin(&format!("DROP {kind} IF EXISTS {name}"));
                }
                Subject::Table | Subject::View if statement.contains(bare(name)) => {
                    self.drop_named(name);
                }
                Subject::Of if statement.contains(bare(name)) => {}
                _ => continue,
            }
            self.admin(&text);
        }
        self.admin("SET foreign_key_checks = 1");
    }

    fn drop_named(&mut self, name: &str) {
        self.admin(&format!("DROP VIEW IF EXISTS {name}"));
        self.admin(&format!("DROP TABLE IF EXISTS {name}"));
    }

    /// A session of the party's at the server itself.
    pub fn direct(&self, party: &Party) -> Session {
        let host = Host::Unix(self.server.socket());
        Session::open(&self.runtime, &Target::new(host, &*party.name, Some("shop".into())))
    }

    /// A session of the party's at the proxy.
    pub fn proxied(&self, party: &Party) -> Session {
        let host = Host::Tcp { name: "127.0.0.1".into(), port: self.daypass.mysql_port() };
        let target = Target::new(host, &*party.name, Some("shop".into()));
        Session::open(&self.runtime, &target.with_password(Some(Secret::new(&*party.token))))
    }
}

/// What a statement of the script makes, or fills.
enum Subject {
    Table,
    View,
    /// By its kind.
    Routine(&'static str),
    /// Goes with its table.
    Of,
}

/// What a statement of the script is about, and its name.
fn subject(text: &str) -> Option<(Subject, &str)> {
    let words: Vec<_> = text.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|it| *it == word)?;
        words.get(at + 1).copied()
    };
    if text.starts_with("CREATE TABLE") {
        return Some((Subject::Table, after("TABLE")?));
    }
    if text.starts_with("INSERT INTO") {
        return Some((Subject::Of, after("INTO")?));
    }
    if let Some(name) = after("VIEW") {
        return Some((Subject::View, name));
    }
    for kind in ["FUNCTION", "PROCEDURE"] {
        if let Some(name) = after(kind) {
            return Some((Subject::Routine(kind), name.split('(').next()?));
        }
    }
    let trigger = text.contains(" TRIGGER ");
    trigger.then(|| Some((Subject::Of, after("ON")?)))?
}

/// A name without its database and quotes, in lower case as far as it has to be found.
fn bare(name: &str) -> &str {
    let name = name.rsplit('.').next().unwrap_or(name).trim_matches('`');
    // Found in a statement in lower case.
    if name == "Mixed" { "ixed" } else { name }
}

/// What makes the objects, statement by statement.
fn script(product: Product) -> Vec<String> {
    let mut script = format!("{}{}", oracle::SCHEMA, include_str!("ground.sql"));
    if product == Product::MariaDb {
        script.push_str("CREATE SEQUENCE shop.seq;\n");
    }
    let script = script.replace(
        "DROP DATABASE IF EXISTS crm",
        "DROP DATABASE IF EXISTS crm;\nDROP DATABASE IF EXISTS closed",
    );
    // Dear to make anew, and nothing here is found by it.
    let script = script.replace("FULLTEXT ft (a1, b1), ", "");
    let lines =
        script.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    lines.split(';').map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// What a party holds, in the words of either.
struct Held {
    at_proxy: Vec<String>,
    at_server: Vec<(String, String)>,
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Held {
    fn draw(objects: &[Vec<Option<String>>], n: usize, random: &mut Random) -> Self {
        let density = DENSITIES[n % DENSITIES.len()];
        let mut held = Self { at_proxy: Vec::new(), at_server: Vec::new() };
        for row in objects {
            let [Some(kind), Some(database), Some(name), Some(columns)] = &row[..] else {
                panic!("four columns: {row:?}")
            };
            let name = format!("{}.{}", quoted(database), quoted(name));
            if kind == "table" {
                let columns: Vec<_> = columns.split(',').map(quoted).collect();
                held.on_table(&name, &columns, density, random);
            } else if random.below(10) < density {
                held.give("EXECUTE", &format!("{} {name}", kind.to_uppercase()));
                if random.below(3) == 0 {
                    held.give("ALTER ROUTINE", &format!("{} {name}", kind.to_uppercase()));
                }
            }
        }
        for name in TO_COME {
            if random.below(10) < density {
                let items = ["CREATE", "DROP", "INSERT", "SELECT", "ALTER", "CREATE VIEW"];
                let some = items.into_iter().filter(|it| *it == "CREATE" || random.below(4) > 0);
                held.give(&some.collect::<Vec<_>>().join(", "), name);
            }
        }
        for database in ["shop", "crm"] {
            let own = ON_DATABASES.into_iter().filter(|_| random.below(10) < density);
            let own: Vec<_> = own.collect();
            // Seldom, for it makes what is held on single tables not count.
            let wide = ON_TABLES.into_iter().chain(["EXECUTE", "ALTER ROUTINE"]);
            let wide = wide.filter(|_| random.below(14) == 0);
            let mut all: Vec<_> = own.into_iter().chain(wide).collect();
            // MySQL 9.7 does not find SELECT on a table where it has found the rest on its database.
            let writes = ["INSERT", "UPDATE", "DELETE"];
            if all.iter().any(|it| writes.contains(it)) && !all.contains(&"SELECT") {
                all.push("SELECT");
            }
            if !all.is_empty() {
                held.on_database(&all.join(", "), database);
            }
        }
        let read = "SELECT, SHOW VIEW, LOCK TABLES";
        match n % 6 {
            1 => held.level("READ", read, "crm"),
            4 => held.level("WRITE", &format!("{read}, INSERT, UPDATE, DELETE"), "crm"),
            _ => {}
        }
        let global = ["FILE", "PROCESS", "RELOAD"];
        for privilege in global.into_iter().filter(|_| random.below(3) == 0) {
            held.at_proxy.push(format!("{privilege} ON DATABASE"));
            held.at_server.push((privilege.to_owned(), "*.*".to_owned()));
        }
        held
    }

    fn on_table(&mut self, name: &str, columns: &[String], density: usize, random: &mut Random) {
        let mut items = String::new();
        // MariaDB opens a view to grant columns of it, and not each is opened so.
        let simple = !name.contains("v_over") && !name.contains("v_deep");
        // It refuses a foreign key to whoever holds REFERENCES on the table and anything on columns of it.
        let refers = random.below(10) < density && random.below(2) == 0;
        let simple = simple && !refers;
        for operation in ON_TABLES {
            let with_columns = simple && matches!(operation, "SELECT" | "INSERT" | "UPDATE");
            let by_column = with_columns && random.below(2) == 0;
            let some: Vec<_> = columns.iter().filter(|_| random.below(10) < density).collect();
            let all = match operation {
                "REFERENCES" => refers,
                _ => random.below(10) < density,
            };
            if by_column && !some.is_empty() {
                let some: Vec<_> = some.into_iter().map(String::as_str).collect();
                write!(items, ", {operation} ({})", some.join(", ")).unwrap();
            } else if !by_column && all {
                write!(items, ", {operation}").unwrap();
            }
        }
        if let Some(items) = items.strip_prefix(", ") {
            self.give(items, name);
        }
    }

    fn give(&mut self, items: &str, object: &str) {
        self.at_proxy.push(format!("{items} ON {object}"));
        self.at_server.push((items.to_owned(), object.to_owned()));
    }

    fn on_database(&mut self, items: &str, database: &str) {
        self.at_proxy.push(format!("{items} ON SCHEMA {database}"));
        self.at_server.push((items.to_owned(), format!("{database}.*")));
    }

    /// A level of the proxy's, and what it stands for at the server.
    fn level(&mut self, level: &str, items: &str, database: &str) {
        self.at_proxy.push(format!("{level} ON SCHEMA {database}"));
        self.at_server.push((items.to_owned(), format!("{database}.*")));
    }
}
