//! What the audit stream says, and what happens when it cannot say it.

use serde_json::Value;

use crate::house::{Failure, each, each_with};
use crate::support::{Config, eventually};

#[test]
fn every_statement_leaves_its_records() {
    each(|house| {
        let token = house.daypass.token("jon");
        house.may_read("jon", "orders");
        let mut session = house.open("jon", &token);
        let text = "SELECT count(*) FROM orders WHERE status = 'needle';";
        assert_eq!(house.run(&mut session, text, None), "0");
        house.run(&mut session, "SELECT number FROM cards;", Some(Failure::Denied));
        drop(session);
        let end = house.daypass.wait_audit("the end", |record| record["kind"] == "session-end");
        let records: Vec<Value> = house.daypass.audit();
        let of_it = records.iter().filter(|record| record["session"] == end["session"]);
        // What a client sends on its own account comes first.
        let own = |record: &&Value| record["command"] == "SELECT" && record["class"] == "READ";
        let mine: Vec<_> = of_it.clone().filter(own).collect();
        let [.., allowed, result, denied] = mine[..] else { panic!("{mine:#?}") };
        assert_eq!(allowed["decision"], "allow");
        assert!(allowed["text"].as_str().unwrap().contains("needle"));
        assert_eq!(allowed["relations"][0]["name"], house.relation("orders"));
        assert_eq!(
            (&allowed["second-lock"], &allowed["route"]),
            (&"role".into(), &"primary".into())
        );
        assert_eq!((&result["outcome"], &result["rows"]), (&"ok".into(), &1.into()));
        assert_eq!(denied["decision"], "deny");
        let missing = denied["missing"].as_array().unwrap();
        let wanted = format!("SELECT (number) ON {}", house.relation("cards"));
        assert!(missing.contains(&wanted.into()), "{denied}");
        assert_eq!(of_it.clone().next().unwrap()["kind"], "session-start");
        let all = std::fs::read_to_string(house.daypass.folder().join("audit.jsonl")).unwrap();
        assert!(!all.contains(&token) && !house.daypass.log().contains(&token));
        // Each decision that allowed something has one result.
        for record in of_it.filter(|record| record["decision"] == "allow") {
            let results = records.iter().filter(|it| {
                it["kind"] == "result"
                    && it["session"] == record["session"]
                    && it["statement"] == record["statement"]
            });
            assert_eq!(results.count(), 1, "{record}");
        }
    });
}

/// In place of the file comes a device that is always full, and then another file.
#[test]
fn nothing_runs_while_nothing_can_be_recorded() {
    each(|house| {
        let token = house.daypass.token("tom");
        house.may_read("tom", "orders");
        let mut session = house.open("tom", &token);
        let text = "SELECT count(*) FROM orders;";
        assert_eq!(house.run(&mut session, text, None), "3");
        let file = house.daypass.folder().join("audit.jsonl");
        std::fs::rename(&file, file.with_extension("old")).unwrap();
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        house.daypass.signal("HUP");
        eventually("the stream to fail", || {
            house.daypass.log().contains("statements are refused").then_some(())
        });
        house.run(&mut session, text, Some(Failure::AuditDown));
        house.run(&mut session, "SELECT 1;", Some(Failure::AuditDown));
        std::fs::remove_file(&file).unwrap();
        house.daypass.signal("HUP");
        eventually("the stream to work", || {
            let said = session.run(text);
            (house.failures(&said).is_empty() && said.stdout == "3").then_some(())
        });
        house.daypass.wait_audit("the result", |record| record["kind"] == "result");
    });
}

#[test]
fn in_strict_mode_statements_run_all_the_same() {
    each_with(
        || Config::new().audit("mode = \"strict\""),
        |house| {
            let token = house.daypass.token("uma");
            house.may_read("uma", "orders");
            let mut session = house.open("uma", &token);
            assert_eq!(house.run(&mut session, "SELECT count(*) FROM orders;", None), "3");
            let decided = |record: &Value| record["text"].to_string().contains("count(*)");
            assert!(house.daypass.audit().iter().any(decided), "it was on the disk before it ran");
        },
    );
}
