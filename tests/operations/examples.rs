//! The programs in `examples/`, run for real.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::server;
use crate::support::{
    Config, Daypass, Options, Output, Postgres, eventually, free_port, id_in, root, run,
};

fn example(name: &str) -> Command {
    Command::new(root().join("examples").join(name))
}

#[test]
fn the_quickstart_runs_and_is_that_of_the_readme() {
    let server = Postgres::start(Options::default());
    server.sql("CREATE DATABASE shop");
    server.sql_in(
        "shop",
        "CREATE TABLE orders (id int, status text); CREATE TABLE customers (email text)",
    );
    server.sql_in("shop", "INSERT INTO orders SELECT n FROM generate_series(1, 7) n");
    let home = tempfile::tempdir().unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_daypass")).parent().unwrap().display();
    let psql = crate::support::client("psql");
    let clients = psql.parent().unwrap().display();
    let path = format!("{binaries}:{clients}:{}", std::env::var("PATH").unwrap());
    let quickstart = |allowed: &str, refused: &str| {
        let mut command = example("quickstart.sh");
        command.arg(server.url("postgres", "shop")).arg("SELECT ON public.orders");
        command.args([allowed, refused]).env("PATH", &path);
        command.env("DAYPASS_HOME", home.path().join("daypass"));
        command.env("DAYPASS_PORT", free_port().to_string());
        run(&mut command, "")
    };
    let (allowed, refused) = ("SELECT count(*) FROM orders", "SELECT email FROM customers");
    let output = quickstart(allowed, refused);
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.stdout.contains("     7\n"), "{output:?}");
    let denial = "permission denied: no live grant allows SELECT (email) ON public.customers";
    assert!(output.stderr.contains(denial), "{output:?}");
    let mode = std::fs::metadata(home.path().join("daypass")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // Its commands are those that the README shows.
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace().filter(|word| *word != "\\").map(str::to_owned).collect()
    };
    let script = std::fs::read_to_string(root().join("examples/quickstart.sh")).unwrap();
    let script = words(&script).join(" ");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## Quickstart").nth(1).unwrap().split("```").nth(1).unwrap();
    let mut shown = 0;
    for line in section.lines().filter(|line| line.contains("daypass ") && !line.starts_with('#')) {
        let line = words(line.split(" --database").next().unwrap()).join(" ");
        let line = line.trim_start_matches("export PGPASSWORD=");
        if ["daypass", "$(daypass"].iter().any(|verb| line.starts_with(verb)) {
            assert!(script.contains(line), "the script has no {line:?}");
            shown += 1;
        }
    }
    assert_eq!(shown, 4, "{section}");
}

#[test]
fn the_approver_approves_what_matches_and_leaves_the_rest() {
    let server = server();
    let config = Config::new().postgres("shop", &server, &[]).postgres("crm", &server, &[]);
    let daypass = Daypass::start(config.section("[approval]\napprovers = [\"robot\"]"));
    let (token, robot) = (daypass.token("ann"), daypass.token("robot"));
    let ask = |database: &str, privilege: &str, duration: &str, ticket: &str| {
        let wish = ["request", "create", "--database", database, "--for", duration];
        let more = ["--reason", "x", "--ticket", ticket, "--privilege", privilege];
        let asked = daypass.cli_as(&token, &[&wish[..], &more].concat());
        id_in(&(asked.stdout + &asked.stderr), "r_")
    };
    let wished = "SELECT (n) ON public.notes";
    let good = ask("shop", wished, "1h", "INC-7");
    let others = [
        (ask("crm", wished, "1h", "INC-7"), "database crm"),
        (ask("shop", wished, "61m", "INC-7"), "would last 1h1m"),
        (ask("shop", wished, "1h", "please"), "its ticket"),
        (ask("shop", "UPDATE ON public.notes", "1h", "INC-7"), "privilege UPDATE"),
    ];
    let approver = |token: &str| -> Output {
        let mut command = example("approver.py");
        command.args([
            "--once",
            "--database",
            "shop",
            "--at-most",
            "3600",
            "--ticket",
            "INC-[0-9]+",
        ]);
        command.args(["--privilege", r"SELECT( \([a-z, ]+\))? ON public\.notes"]);
        command.env("DAYPASS_URL", format!("unix:{}", daypass.socket().display()));
        command.env("DAYPASS_TOKEN", token);
        run(&mut command, "")
    };
    // Who is no approver sees and approves nothing.
    let stranger = approver(&daypass.token("eve"));
    assert_eq!((stranger.status, &*stranger.stdout), (0, ""), "{stranger:?}");
    let output = approver(&robot);
    assert_eq!(output.status, 0, "{output:?}");
    let said: Vec<_> = output.stdout.lines().collect();
    let approved = format!("{good} of ann: approved, grant g_");
    assert!(said.iter().any(|line| line.starts_with(&approved)), "{said:?}");
    for (request, why) in others {
        let line = said.iter().find(|line| line.starts_with(&request)).unwrap();
        assert!(line.contains("left to people") && line.contains(why), "{line}");
    }
    assert_eq!(said.len(), 5, "{said:?}");
    let sum = daypass.psql("ann", &token, "shop", "SELECT sum(n) FROM notes");
    assert_eq!(sum.expect_success(), "15");
    let made = daypass.wait_audit("the approval", |record| {
        record["request"] == good.as_str() && record["event"] == "approved"
    });
    assert_eq!(made["actor"], "robot");
}

#[test]
fn the_siem_tail_prints_denials_once_and_finds_what_was_changed() {
    let server = server();
    let mut daypass = Daypass::start(Config::new().postgres("shop", &server, &[]));
    let token = daypass.token("ann");
    daypass.grant("ann", "shop", &["SELECT ON public.notes"]);
    let denied = |daypass: &Daypass, text: &str| {
        daypass.psql("ann", &token, "shop", text).expect_sqlstate("42501");
        daypass.wait_audit("the denial", |record| {
            record["decision"] == "deny" && record["text"].as_str() == Some(text)
        });
    };
    daypass.psql("ann", &token, "shop", "SELECT sum(n) FROM notes").expect_success();
    denied(&daypass, "DELETE FROM notes");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("siem.state");
    let tail = |stream: &str| run(example("siem_tail.py").arg("--state").arg(&state), stream);
    let file = daypass.folder().join("audit.jsonl");
    let read = || std::fs::read_to_string(&file).unwrap();
    let events = |output: &Output| -> Vec<Value> {
        assert_eq!(output.status, 0, "{output:?}");
        output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = read();
    let whole = first.rfind('\n').unwrap() + 1;
    // The beginning of a line is no line yet.
    let found = events(&tail(&format!("{}{{\"version\"", &first[..whole])));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["text"], "DELETE FROM notes");
    assert_eq!(found[0]["missing"], serde_json::json!(["DELETE ON public.notes"]));

    denied(&daypass, "UPDATE notes SET n = 1");
    assert_eq!(daypass.stop(), Some(0));
    let all = read();
    let found = events(&tail(&all));
    assert_eq!(found.len(), 1, "what was printed is not printed again: {found:?}");
    assert_eq!(found[0]["text"], "UPDATE notes SET n = 1");
    assert_eq!(events(&tail(&all)), Vec::<Value>::new());
    // A file that goes on where a rotated one ended.
    assert_eq!(events(&tail(&all[first[..whole].len()..])), Vec::<Value>::new());

    let lines: Vec<_> = all.lines().collect();
    let without = |n: usize| {
        let rest = lines.iter().enumerate().filter(|(at, _)| *at != n);
        rest.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    let changed = all.replacen("DELETE FROM notes", "SELECT FROM notes", 1);
    for broken in [changed, without(2), without(0).replacen("\"sequence\":2", "\"sequence\":1", 1)]
    {
        std::fs::remove_file(&state).ok();
        let output = tail(&broken);
        assert_eq!(output.status, 1, "{output:?}");
        assert!(output.stderr.contains("the audit stream is broken"), "{output:?}");
    }
    // The end cut off, and a stream written anew: only who has seen them before can tell.
    std::fs::remove_file(&state).ok();
    events(&tail(&all));
    assert!(tail(&without(lines.len() - 1)).stderr.contains("were seen before"));
    std::fs::remove_file(&file).unwrap();
    daypass.start_again();
    for _ in 0..lines.len() {
        daypass.token("bob");
    }
    eventually("as many records", || (daypass.audit().len() > lines.len()).then_some(()));
    assert!(tail(&read()).stderr.contains("is not the one that was seen before"));
}
