//! Hashed parameters: equal where the key is the same.

use crate::server;
use crate::support::{Config, Daypass, eventually, python};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

/// Runs a statement with a parameter: the hash of it in its decision's record.
fn hash(daypass: &Daypass, token: &str, value: &str) -> String {
    let script = format!(
        "import psycopg; c = psycopg.connect('', autocommit=True); \
         print(c.execute('SELECT count(*) FROM notes WHERE n::text = %s', ['{value}']).fetchone()[0])"
    );
    let env = daypass.env("ann", token, "shop");
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let before = hashes(daypass).len();
    python(&script, &env).expect_success();
    eventually("the parameter in a record", || hashes(daypass).get(before).cloned())
}

fn hashes(daypass: &Daypass) -> Vec<String> {
    let records = daypass.audit();
    let decisions = records.iter().filter(|record| record["kind"] == "decision");
    let parameters = decisions.filter_map(|record| record["parameters"].get(0));
    let hash = |it: &serde_json::Value| {
        assert_eq!(it["form"], "hashed", "{it}");
        it["value"].to_string()
    };
    parameters.map(hash).collect()
}

#[test]
fn a_key_of_the_operators_makes_hashes_comparable_across_runs_and_proxies() {
    let server = server();
    let config = |key: Option<&str>| {
        let config = Config::new().postgres("shop", &server, &[]).audit("parameters = \"hashed\"");
        match key {
            Some(key) => config.audit("hash-key-file = \"audit.key\"").file("audit.key", key),
            None => config,
        }
    };
    let start = |key| {
        let daypass = Daypass::start(config(key));
        daypass.grant("ann", "shop", &["READ ON SCHEMA public"]);
        let token = daypass.token("ann");
        (daypass, token)
    };
    let (mut keyed, token) = start(Some(KEY));
    let three = hash(&keyed, &token, "3");
    assert_ne!(hash(&keyed, &token, "4"), three);
    assert_eq!(keyed.stop(), Some(0));
    keyed.start_again();
    assert_eq!(hash(&keyed, &token, "3"), three);
    let (other, other_token) = start(Some(KEY));
    assert_eq!(hash(&other, &other_token, "3"), three);

    // Another key comes with a reload, for who connects then.
    crate::reload(&other, config(Some("another key that is long enough, too")));
    assert_ne!(hash(&other, &other_token, "3"), three);
    for daypass in [&keyed, &other] {
        let written = format!("{}{:?}", daypass.log(), daypass.audit());
        assert!(!written.contains(KEY), "the key was written");
    }

    // Without one: the same within a run, a reload included, and another after it.
    let (mut keyless, token) = start(None);
    let three = hash(&keyless, &token, "3");
    crate::reload(&keyless, config(None));
    assert_eq!(hash(&keyless, &token, "3"), three);
    assert_eq!(keyless.stop(), Some(0));
    keyless.start_again();
    assert_ne!(hash(&keyless, &token, "3"), three);
}
