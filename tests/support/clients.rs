//! Clients other than psql, each run as a script.

use std::path::Path;
use std::process::Command;

use super::process::{Output, run};
use super::{installed, root};

/// Runs a Python script with psycopg and asyncpg at hand.
pub fn python(script: &str, env: &[(&str, &str)]) -> Output {
    let python = installed("venv/bin/python");
    need(&python);
    run(Command::new(python).arg("-").envs(env.iter().copied()), script)
}

/// Runs a Node script (CommonJS) with `pg` at hand.
pub fn node(script: &str, env: &[(&str, &str)]) -> Output {
    let modules = installed("npm/node_modules");
    need(&modules.join("pg"));
    run(Command::new("node").arg("-").env("NODE_PATH", modules).envs(env.iter().copied()), script)
}

/// Runs one of `tests/clients/*.java` (a single file with a `main`) with Debian's pgjdbc at hand.
pub fn java(file: &str, args: &[&str]) -> Output {
    let jar = Path::new("/usr/share/java/postgresql.jar");
    need(jar);
    let source = root().join("tests/clients").join(file);
    run(Command::new("java").arg("-cp").arg(jar).arg(source).args(args), "")
}

fn need(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/install clients", path.display());
}
