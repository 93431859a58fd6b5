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

/// Runs one of `tests/clients/introspect_*` with what Python, Node and Ruby have to look into a database.
pub fn introspect(file: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let script = root().join("tests/clients").join(file);
    let mut command = match script.extension().and_then(|found| found.to_str()) {
        Some("py") => {
            let python = installed("introspection/venv/bin/python");
            need(&python);
            Command::new(python)
        }
        Some("js") => {
            let modules = installed("introspection/npm/node_modules");
            need(&modules);
            let mut command = Command::new("node");
            command.env("NODE_PATH", modules);
            command
        }
        Some("rb") => Command::new("ruby"),
        _ => panic!("nothing runs {file}"),
    };
    run(command.arg(script).args(args).envs(env.iter().copied()), "")
}

/// One of `tests/clients/mysql/*.py`, with the drivers and mappers of MySQL at hand.
pub fn tool_of_python(file: &str) -> Command {
    let python = installed("introspection/venv/bin/python");
    need(&python);
    let mut command = Command::new(python);
    command.env("PYTHONWARNINGS", "ignore").arg(root().join("tests/clients/mysql").join(file));
    command
}

/// One of `tests/clients/mysql/*.js`, with `mysql2` at hand.
pub fn tool_of_node(file: &str) -> Command {
    let modules = installed("npm/node_modules");
    need(&modules.join("mysql2"));
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(root().join("tests/clients/mysql").join(file));
    command
}

/// One of `tests/clients/mysql/*.java`, with MariaDB's driver at hand.
pub fn tool_of_java(file: &str) -> Command {
    let jar = Path::new("/usr/share/java/mariadb-java-client.jar");
    need(jar);
    let mut command = Command::new("java");
    command.arg("-cp").arg(jar).arg(root().join("tests/clients/mysql").join(file));
    command
}

/// The program of `tests/clients/mysql/async`: mysql_async, as an application has it.
pub fn mysql_async() -> Command {
    let program = installed("mysql-async/debug/mysql-async-client");
    need(&program);
    Command::new(program)
}

fn need(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/install clients", path.display());
}
