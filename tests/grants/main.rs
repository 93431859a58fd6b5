//! Tokens, grants and requests, from the command line through the API to the store and the audit
//! stream: the real binary on both ends. No database server is needed for any of it.
#![allow(
    clippy::allow_attributes,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop"
)]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod help;
mod in_process;
mod rules;
mod verbs;

use std::process::Command;

use serde_json::Value;
use support::{Config, Daypass, Output};

/// A proxy whose server cannot be reached, with `carol` for an approver.
fn proxy() -> Daypass {
    proxy_with("")
}

fn proxy_with(sections: &str) -> Daypass {
    let database = |name: &str| {
        format!(
            "name = \"{name}\"\nengine = \"postgres\"\nsecond-lock = \"none\"\n\
             primary = \"postgres://nobody@127.0.0.1:1/{name}\"\n"
        )
    };
    let config = Config::new().database(&database("shop")).database(&database("crm"));
    Daypass::start(config.section(&format!("[approval]\napprovers = [\"carol\"]\n{sections}")))
}

/// The binary, with nothing in its environment that says where the proxy is.
fn daypass() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daypass"));
    command.env_remove("DAYPASS_URL").env_remove("DAYPASS_TOKEN");
    command
}

/// Standard output of a verb in JSON.
#[track_caller]
fn json(output: Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Asks for something as a token's principal: the request's ID.
#[track_caller]
fn ask(proxy: &Daypass, token: &str) -> String {
    let output = proxy.cli_as(token, &ASK);
    assert_eq!(output.status, 3, "{output:?}");
    output.stdout
}

const ASK: [&str; 10] = [
    "request",
    "create",
    "--database",
    "shop",
    "--privilege",
    "SELECT (id) ON public.orders",
    "--for",
    "30m",
    "--reason",
    "INC-42",
];
