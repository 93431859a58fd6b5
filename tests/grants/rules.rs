//! Who may do what.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use super::support::eventually;
use super::{ask, daypass, json, proxy, proxy_with};

#[test]
fn nobody_approves_what_they_asked_for() {
    let proxy = proxy();
    let (bob, carol) = (proxy.token("bob"), proxy.token("carol"));
    // Carol is an approver, but not of her own.
    let own = ask(&proxy, &carol);
    for verb in [&["approve", &own][..], &["deny", &own, "--reason", "r"]] {
        let output = proxy.cli_as(&carol, verb);
        assert_eq!(output.status, 2, "{output:?}");
        assert!(output.stderr.contains("carol asked for this"), "{output:?}");
    }
    // Bob is none at all.
    let output = proxy.cli_as(&bob, &["approve", &own]);
    assert_eq!(output.status, 2);
    assert!(output.stderr.contains("bob may not approve"), "{output:?}");
    // An operator that asks for somebody is the one who asked.
    let asked = proxy.cli(&[&super::ASK[..], &["--user", "bob"]].concat()).stdout;
    let output = proxy.cli(&["approve", &asked]);
    assert_eq!(output.status, 2, "{output:?}");
    assert!(output.stderr.contains("somebody else must approve"), "{output:?}");
    assert_eq!(proxy.cli_as(&carol, &["approve", &asked]).status, 0);
    let grants = json(proxy.cli_as(&bob, &["grant", "list", "--output", "json"]));
    assert_eq!(grants[0]["approvers"], serde_json::json!(["carol"]));
}

#[test]
fn a_principal_sees_and_does_what_is_its_own() {
    let proxy = proxy();
    let (bob, eve) = (proxy.token("bob"), proxy.token("eve"));
    let grant = proxy.grant("bob", "shop", &["READ ON DATABASE"]);
    let request = ask(&proxy, &bob);
    for verb in [
        &["grant", "show", &grant][..],
        &["grant", "revoke", &grant],
        &["request", "show", &request],
        &["request", "cancel", &request],
    ] {
        let output = proxy.cli_as(&eve, verb);
        assert_eq!(output.status, 1, "{verb:?}: {output:?}");
        assert!(output.stderr.contains("there is no "), "{output:?}");
    }
    for list in ["grant", "request", "token", "session"] {
        let seen = proxy.cli_as(&eve, &[list, "list"]).expect_success();
        assert!(!seen.contains("bob"), "{seen}");
    }
    for verb in [
        &["token", "issue", "--user", "eve"][..],
        &[
            "grant",
            "create",
            "--user",
            "eve",
            "--database",
            "shop",
            "--privilege",
            "READ ON DATABASE",
            "--for",
            "1h",
            "--reason",
            "r",
        ],
    ] {
        let output = proxy.cli_as(&eve, verb);
        assert_eq!(output.status, 2, "{output:?}");
        assert!(output.stderr.contains("only an operator may"), "{output:?}");
    }
    let for_bob = proxy.cli_as(&eve, &[&super::ASK[..], &["--user", "bob"]].concat());
    assert_eq!(for_bob.status, 2, "{for_bob:?}");
    // The holder gives its grant back.
    assert_eq!(proxy.cli_as(&bob, &["grant", "revoke", &grant]).status, 0);
}

#[test]
fn a_token_that_has_ended_says_so_and_one_that_is_none_as_well() {
    let proxy = proxy();
    let short = proxy.cli(&["token", "issue", "--user", "bob", "--ttl", "1s"]).stdout;
    let output = eventually("the token to expire", || {
        let output = proxy.cli_as(&short, &["grant", "list"]);
        (output.status != 0).then_some(output)
    });
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains(" expired at "), "{output:?}");
    assert!(output.stderr.contains("hint: "), "{output:?}");
    let token = proxy.token("bob");
    let list = json(proxy.cli(&["token", "list", "--output", "json"]));
    proxy.cli(&["token", "revoke", list[0]["id"].as_str().unwrap()]).expect_success();
    let output = proxy.cli_as(&token, &["grant", "list"]);
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains(" was revoked at "), "{output:?}");
    let mut mistyped = token.clone();
    mistyped.truncate(40);
    for (wrong, said) in [
        ("hunter2", "a token starts with"),
        (&*mistyped, "part of it is missing"),
        ("daypass_000000000000000000000000000000004phty3", ""),
    ] {
        let output = proxy.cli_as(wrong, &["grant", "list"]);
        assert_eq!(output.status, 1);
        assert!(output.stderr.contains(said), "{output:?}");
        assert!(!output.stderr.contains(wrong), "{output:?}");
    }
    assert!(!proxy.log().contains(&token) && !proxy.log().contains("hunter2"));
}

#[test]
fn of_two_approvals_at_once_one_counts() {
    let proxy = proxy();
    let (bob, carol) = (proxy.token("bob"), proxy.token("carol"));
    for _ in 0..5 {
        let id = ask(&proxy, &bob);
        let approve = |token: Option<&str>| {
            let mut command = daypass();
            command.args(["approve", &id]).current_dir(proxy.folder());
            if let Some(token) = token {
                command.env("DAYPASS_TOKEN", token);
            }
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
        };
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| approve(None));
            let two = scope.spawn(|| approve(Some(&carol)));
            (one.join().unwrap(), two.join().unwrap())
        });
        let mut codes = [one.status.code(), two.status.code()];
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(1)]);
        let lost = if one.status.success() { two } else { one };
        assert!(String::from_utf8(lost.stderr).unwrap().contains("is approved already"));
    }
    assert_eq!(
        json(proxy.cli(&["grant", "list", "--output", "json"])).as_array().unwrap().len(),
        5
    );
}

#[test]
fn what_nobody_answers_runs_out_and_is_recorded() {
    let proxy = proxy_with("[request]\nwaiting-max = \"1s\"\n");
    let bob = proxy.token("bob");
    let mut waiting = daypass();
    waiting.args(super::ASK).arg("--wait").current_dir(proxy.folder()).env("DAYPASS_TOKEN", &bob);
    let ended = waiting.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("expired: nobody decided in time"));
    let id = String::from_utf8(ended.stdout).unwrap().trim().to_owned();
    let late = proxy.cli(&["approve", &id]);
    assert_eq!(late.status, 1);
    assert!(late.stderr.contains("ask again") || late.stderr.contains("expired"), "{late:?}");
    proxy.wait_audit("the request's end", |record| {
        record["kind"] == "request" && record["event"] == "expired" && record["request"] == *id
    });
    let grant = proxy.grant_for("bob", "shop", &["READ ON DATABASE"], "1s");
    let record = proxy.wait_audit("the grant's end", |record| {
        record["event"] == "expired" && record["grants"][0] == *grant
    });
    assert_eq!(record["principal"], "bob");
    assert_eq!(record["privileges"][0], "READ ON DATABASE");
    thread::sleep(Duration::from_millis(1500));
    let ends = proxy.audit().into_iter().filter(|record| record["event"] == "expired").count();
    assert_eq!(ends, 2);
}

#[test]
fn every_step_has_its_record() {
    let proxy = proxy();
    let (bob, carol) = (proxy.token("bob"), proxy.token("carol"));
    let id = ask(&proxy, &bob);
    proxy.cli_as(&carol, &["deny", &id, "--reason", "not today"]).expect_success();
    let shown = proxy.cli(&["audit", "show", &id, "--output", "json"]).expect_success();
    let records: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r["event"].as_str().unwrap(),
                // Only where it is not the principal.
                r["actor"].as_str().unwrap_or_default(),
                r["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("created", "", "INC-42"), ("denied", "carol", "not today")]);
    assert!(records.iter().all(|r| r["database"] == "shop" && r["principal"] == "bob"));
    assert!(records.iter().all(|r| r["privileges"][0] == "SELECT (id) ON public.orders"));
}

#[test]
fn mistakes_are_answered_with_what_to_write() {
    let proxy = proxy();
    let create = |privilege: &str, database: &str, duration: &str| {
        proxy.cli(&[
            "grant",
            "create",
            "--user",
            "bob",
            "--database",
            database,
            "--privilege",
            privilege,
            "--for",
            duration,
            "--reason",
            "r",
        ])
    };
    for (privilege, database, said) in [
        ("SELECT ON orders", "shop", "write public.orders"),
        ("SELCT ON public.orders", "shop", "READ, WRITE, ADMIN"),
        ("SELECT ON public.orders", "shopp", "This proxy has: shop, crm"),
    ] {
        let output = create(privilege, database, "1h");
        assert_eq!(output.status, 1);
        assert!(output.stderr.contains(said), "{output:?}");
    }
    let output = create("SELECT ON public.orders", "shop", "8d");
    assert_eq!(output.status, 64);
    assert!(output.stderr.contains("at most 7 days"), "{output:?}");
}
