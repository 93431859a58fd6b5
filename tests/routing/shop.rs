//! A primary with replicas and the proxy before them, for tests that stop, hang and change those servers.

use std::process::Command;

use serde_json::Value;

use crate::support::{Config, Daypass, Options, Postgres, Shell, eventually, free_port, run};

const TABLES: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, status text);
    INSERT INTO orders VALUES (1, 'new'), (2, 'new'), (3, 'paid');
    CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'SELECT 1'";

/// Its database is called `shop`, as is its entry.
pub struct Shop {
    pub primary: Postgres,
    pub replicas: Vec<Postgres>,
    pub daypass: Daypass,
    metrics: u16,
}

/// Where a statement ran, and why.
pub type Ran = (String, String);

impl Shop {
    /// With so many replicas, these lines in its entry, and these settings at every server.
    pub fn start(replicas: usize, lines: &str, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        let primary = Postgres::start(Options { settings, ..Options::default() });
        primary.sql("CREATE DATABASE shop");
        primary.sql_in("shop", TABLES);
        let replicas = (0..replicas).map(|_| primary.standby()).collect();
        Self::before(primary, replicas, lines, "postgres")
    }

    /// Before these servers, with that service account.
    pub fn before(primary: Postgres, replicas: Vec<Postgres>, lines: &str, account: &str) -> Self {
        let urls: Vec<_> = replicas.iter().map(|replica| replica.url(account, "shop")).collect();
        let watch =
            if lines.contains("replica-check") { "" } else { "replica-check = \"100ms\"\n" };
        let entry = format!(
            "name = \"shop\"\nengine = \"postgres\"\nprimary = \"{}\"\nreplicas = {urls:?}\n\
             {watch}replica-timeout = \"1s\"\n{lines}\n",
            primary.url(account, "shop"),
        );
        let metrics = free_port();
        let section = format!("[metrics]\naddress = \"127.0.0.1:{metrics}\"");
        let daypass = Daypass::start(Config::new().database(&entry).section(&section));
        Self { primary, replicas, daypass, metrics }
    }

    pub fn open(&self, user: &str) -> Shell {
        let token = self.daypass.token(user);
        self.daypass.open_psql(user, &token, "shop")
    }

    /// A session that a replica has answered.
    pub fn open_at_replica(&self, user: &str) -> Shell {
        let mut session = self.open(user);
        self.until_routed(&mut session);
        session
    }

    /// Runs a read until a replica answers it: those are not known at once.
    pub fn until_routed(&self, session: &mut Shell) {
        eventually("a replica to answer", || {
            (self.run(session, "SELECT 1 AS ask").1.0 == "replica").then_some(())
        });
    }

    /// Runs a statement that succeeds: its answer, and where it ran and why.
    #[track_caller]
    pub fn run(&self, session: &mut Shell, text: &str) -> (String, Ran) {
        let before = self.decisions_of(text).len();
        let answer = session.run(&format!("{text};")).expect_success().trim().to_owned();
        (answer, self.ran(text, before))
    }

    /// Where a statement of that text ran, behind so many others of it.
    #[track_caller]
    pub fn ran(&self, text: &str, before: usize) -> Ran {
        let what = format!("a record of {text}");
        let record = eventually(&what, || {
            let decisions = self.decisions_of(text);
            (decisions.len() > before).then(|| decisions.last().cloned()).flatten()
        });
        let word = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (word("route"), word("rule"))
    }

    /// Decisions on statements of that text, in order.
    pub fn decisions_of(&self, text: &str) -> Vec<Value> {
        let of_it =
            |record: &Value| record["kind"] == "decision" && record["text"].as_str() == Some(text);
        self.daypass.audit().into_iter().filter(of_it).collect()
    }

    /// What a metric of the proxy's counts.
    pub fn metric(&self, name: &str) -> u64 {
        let page = format!("http://127.0.0.1:{}/metrics", self.metrics);
        let page = run(Command::new("curl").args(["-sf", &page]), "").expect_success();
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    /// The replica that has that many of a statement under way, and the process of it.
    pub fn running_at(&self, text: &str) -> (usize, String) {
        let asked = format!(
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() \
             AND query LIKE '%{text}%'"
        );
        eventually("it to run at a replica", || {
            self.replicas.iter().enumerate().find_map(|(number, replica)| {
                let process = replica.sql(&asked);
                (!process.is_empty()).then_some((number, process))
            })
        })
    }

    /// Whether a statement with these words runs at that server.
    pub fn is_running(server: &Postgres, text: &str) -> bool {
        let asked = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
             AND pid <> pg_backend_pid() AND query LIKE '%{text}%'"
        );
        server.sql(&asked) != "0"
    }
}

/// Stops a server with all its processes: it takes connections and answers nothing.
pub fn hang(server: &Postgres) {
    signal(server, "STOP", &[]);
}

/// Has it go on.
pub fn wake(server: &Postgres) {
    // What started it for another user stops with it, and would not end with it.
    let parent = run(Command::new("ps").args(["-o", "ppid=", "-p", &server.id().to_string()]), "");
    signal(server, "CONT", &[parent.stdout.trim()]);
}

fn signal(server: &Postgres, signal: &str, more: &[&str]) {
    let postmaster = server.id().to_string();
    let children = run(Command::new("pgrep").args(["-P", &postmaster]), "").stdout;
    let all = std::iter::once(&*postmaster).chain(children.lines()).chain(more.iter().copied());
    // One of them may have ended meanwhile.
    run(Command::new("kill").arg(format!("-{signal}")).args(all), "");
}
