//! What each verb writes, where, and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::support::{eventually, run};
use super::{ASK, ask, daypass, json, proxy};

#[test]
fn a_token_is_printed_alone_and_nowhere_else() {
    let proxy = proxy();
    let issued = proxy.cli(&["token", "issue", "--user", "bob", "--ttl", "1h"]);
    assert_eq!(issued.status, 0);
    let token = &issued.stdout;
    assert!(token.starts_with("daypass_") && !token.contains(char::is_whitespace), "{token}");
    assert!(token.len() <= 64);
    assert!(issued.stderr.contains("for bob, until ") && !issued.stderr.contains(&token[8..]));
    let list = proxy.cli(&["token", "list"]).expect_success();
    let mut lines = list.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["ID", "PRINCIPAL", "STATE", "EXPIRES", "ISSUED", "BY"]
    );
    let id = lines.next().unwrap().split_whitespace().next().unwrap();
    let revoked = proxy.cli(&["token", "revoke", id]);
    assert_eq!((revoked.status, &*revoked.stdout), (0, ""));
    assert_eq!(proxy.cli(&["token", "list"]).stdout.lines().count(), 1);
    let all = json(proxy.cli(&["token", "list", "--all", "--output", "json"]));
    assert_eq!(all[0]["state"], "revoked");
    let folder = std::fs::read_dir(proxy.folder()).unwrap();
    for file in folder.filter_map(|entry| std::fs::read(entry.unwrap().path()).ok()) {
        let secret = token.as_bytes();
        assert!(!file.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn a_grant_is_made_shown_and_taken_back() {
    let proxy = proxy();
    let id = proxy.grant(
        "bob",
        "shop",
        &["SELECT, UPDATE (status) ON public.orders", "READ ON SCHEMA s"],
    );
    let shown = proxy.cli(&["grant", "show", &id]).expect_success();
    for line in [
        "principal    bob",
        "privilege    SELECT, UPDATE (status) ON public.orders",
        "privilege    READ ON SCHEMA s",
        "reason       a test",
        "state        live",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line:?} in\n{shown}");
    }
    let listed = json(proxy.cli(&["grant", "list", "--output", "json"]));
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], *id);
    let revoked = proxy.cli(&["grant", "revoke", &id, "--reason", "over"]);
    assert_eq!(revoked.status, 0);
    assert!(revoked.stderr.contains("bob no longer holds it"), "{revoked:?}");
    let again = proxy.cli(&["grant", "revoke", &id]);
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("ended at"), "{again:?}");
    assert_eq!(proxy.cli(&["grant", "list"]).stdout.lines().count(), 1);
    let events: Vec<_> = proxy
        .cli(&["audit", "show", &id, "--output", "json"])
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].clone())
        .collect();
    assert_eq!(events, ["created", "revoked"]);
}

#[test]
fn a_request_is_pending_until_it_is_not() {
    let proxy = proxy();
    let token = proxy.token("bob");
    let id = ask(&proxy, &token);
    let pending = proxy.cli(&["request", "list"]).expect_success();
    assert!(pending.contains(&id) && pending.contains("pending") && pending.contains("30m"));
    let approved = proxy.cli(&["approve", &id]);
    assert_eq!(approved.status, 0);
    assert!(approved.stdout.starts_with("g_"), "{approved:?}");
    assert!(approved.stderr.contains("bob holds SELECT (id) ON public.orders on shop until"));
    let shown = json(proxy.cli_as(&token, &["request", "show", &id, "--output", "json"]));
    assert_eq!(shown["state"], "approved");
    assert_eq!(shown["decided-by"].as_str().unwrap()[..6], *"local:");
    assert_eq!(shown["grant"], *approved.stdout);
    let late = proxy.cli(&["deny", &id, "--reason", "no"]);
    assert_eq!(late.status, 1);
    assert!(late.stderr.contains("is approved already"), "{late:?}");
    let other = ask(&proxy, &token);
    assert_eq!(proxy.cli_as(&token, &["request", "cancel", &other]).status, 0);
    assert_eq!(proxy.cli(&["request", "list"]).stdout.lines().count(), 1);
    assert_eq!(proxy.cli(&["request", "list", "--all"]).stdout.lines().count(), 3);
}

#[test]
fn waiting_ends_with_the_decision() {
    let proxy = proxy();
    let token = proxy.token("bob");
    for (answer, status, said) in [
        (&["approve"][..], 0, "approved by local:"),
        (&["deny", "--reason", "not today"][..], 2, ": not today"),
        (&["request", "cancel"][..], 2, "cancelled by local:"),
    ] {
        let mut waiting = daypass();
        waiting.args(ASK).args(["--wait", "--output", "json"]).current_dir(proxy.folder());
        waiting.env("DAYPASS_TOKEN", &token).stdout(Stdio::piped()).stderr(Stdio::piped());
        let waiting = waiting.spawn().unwrap();
        let id = eventually("the request", || {
            let list = json(proxy.cli(&["request", "list", "--output", "json"]));
            list[0]["id"].as_str().map(str::to_owned)
        });
        let mut decide = answer.to_vec();
        decide.push(&id);
        assert_eq!(proxy.cli(&decide).status, 0);
        let ended = waiting.wait_with_output().unwrap();
        let prose = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(status), "{prose}");
        assert!(prose.contains(said), "{prose}");
        let told: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(told["id"], *id);
        assert_ne!(told["state"], "pending");
    }
}

#[test]
fn waiting_that_is_interrupted_leaves_the_request_pending() {
    let proxy = proxy();
    let token = proxy.token("bob");
    let mut waiting = daypass();
    waiting.args(ASK).arg("--wait").current_dir(proxy.folder()).env("DAYPASS_TOKEN", &token);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the request", || {
        let list = json(proxy.cli(&["request", "list", "--output", "json"]));
        list[0]["id"].as_str().map(str::to_owned)
    });
    // It hears signals from the moment that it waits, shortly after the request is there.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut kill = std::process::Command::new("kill");
    assert_eq!(run(kill.args(["-INT", &waiting.id().to_string()]), "").status, 0);
    let ended = waiting.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("is still pending"));
}

#[test]
fn what_makes_no_sense_is_64_and_asks_nobody() {
    for arguments in [
        &["token"][..],
        &["token", "issue"],
        &["token", "issue", "--user", "bob", "--ttl", "soon"],
        &["grant", "show", "../tokens"],
        &["grant", "create", "--user", "bob", "--database", "d", "--for", "1h", "--reason", "r"],
        &["deny", "r_0123456789ab"],
        &["explode"],
        &[],
    ] {
        let output = run(daypass().args(arguments), "");
        assert_eq!(output.status, 64, "{arguments:?}: {output:?}");
        assert_eq!(output.stdout, "");
    }
    for url in ["https://proxy.example", "/run/daypass.sock"] {
        let output = run(daypass().args(["grant", "list"]).env("DAYPASS_URL", url), "");
        assert_eq!(output.status, 64);
        assert!(output.stderr.contains("unix:PATH"), "{output:?}");
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named_by_all_that_was_tried() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(daypass().args(["grant", "list"]).current_dir(folder.path()), "");
    assert_eq!(output.status, 1);
    for tried in ["./daypass.sock (", "/run/daypass/daypass.sock (", "hint: daypass serve"] {
        assert!(output.stderr.contains(tried), "{output:?}");
    }
    let named =
        daypass().args(["grant", "list"]).env("DAYPASS_URL", "unix:/nowhere/x.sock").output();
    let prose = String::from_utf8(named.unwrap().stderr).unwrap();
    assert!(prose.contains("/nowhere/x.sock (from DAYPASS_URL)"), "{prose}");
}

#[test]
fn the_proxy_is_found_in_the_current_folder() {
    let proxy = proxy();
    let list = run(daypass().args(["grant", "list"]).current_dir(proxy.folder()), "");
    assert!(list.expect_success().starts_with("ID "));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let proxy = proxy();
    let mut list = daypass();
    list.args(["grant", "list"]).current_dir(proxy.folder());
    let mut list = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(list.stdout.take());
    let ended = list.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty());
}

#[test]
fn nothing_that_others_wrote_steers_the_terminal() {
    let proxy = proxy();
    let mut ask: Vec<&str> = ASK.to_vec();
    ask.extend(["--user", "bob"]);
    *ask.get_mut(9).unwrap() = "\u{202e}now";
    assert_eq!(proxy.cli(&ask).status, 3);
    let list = proxy.cli(&["request", "list"]).expect_success();
    assert!(list.contains("\\u{202e}now"), "{list}");
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_proxy() {
    let mut proxy = proxy();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&proxy.socket()), 0o600);
    assert_eq!(mode(proxy.folder()), 0o700);
    assert_eq!(mode(&proxy.folder().join("daypass.db")), 0o600);
    assert_eq!(proxy.stop(), Some(0));
    assert!(!proxy.socket().exists());
    // One that was killed leaves its socket; the next takes it over.
    proxy.start_again();
    proxy.signal("KILL");
    proxy.wait_end();
    assert!(proxy.socket().exists());
    proxy.start_again();
    proxy.cli(&["grant", "list"]).expect_success();
}

#[test]
fn a_second_proxy_leaves_the_first_one_alone() {
    let proxy = proxy();
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(proxy.folder().join("daypass.toml")).unwrap();
    let port = super::support::free_port();
    let text = text
        .replace("daypass.sock", proxy.socket().to_str().unwrap())
        .replace(&format!(":{}\"", proxy.port()), &format!(":{port}\""));
    std::fs::write(folder.path().join("daypass.toml"), text).unwrap();
    let mut serve = daypass();
    serve.args(["serve", "--config", "daypass.toml"]).current_dir(folder.path());
    let second = run(&mut serve, "");
    assert_eq!(second.status, 1, "{second:?}");
    assert!(second.stderr.contains("another proxy listens there"), "{second:?}");
    proxy.cli(&["grant", "list"]).expect_success();
}

#[test]
fn json_is_what_the_api_says() {
    let proxy = proxy();
    let id = proxy.grant("bob", "shop", &["READ ON DATABASE"]);
    let one = json(proxy.cli(&["grant", "show", &id, "--output", "json"]));
    let keys: Vec<_> = one.as_object().unwrap().keys().cloned().collect();
    let mut wanted = vec![
        "id",
        "principal",
        "database",
        "state",
        "privileges",
        "route",
        "not-before",
        "expires",
        "reason",
        "approvers",
        "created",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    // The option may stand before the verb, too.
    assert_eq!(json(proxy.cli(&["grant", "--output", "json", "list"]))[0], one);
    let sessions = json(proxy.cli(&["session", "list", "--output", "json"]));
    assert_eq!(sessions, serde_json::json!([]));
    let missing = proxy.cli(&["session", "kill", "s_0123456789ab"]);
    assert_eq!(missing.status, 1);
    assert!(missing.stderr.contains("there is no session"), "{missing:?}");
}
