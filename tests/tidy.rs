//! Guards the house: the order of its modules, the purity of its floors, the size of its files.
//!
//! Each check is a function from text to findings, tested at the end with text that it must find fault
//! with; one test runs them all over the repository.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules that may import each other. They may import every floor before theirs, none after.
struct Floor {
    /// Values in, values out: no clock, socket, file, task or randomness.
    pure: &'static [&'static str],
    /// Where those are.
    shell: &'static [&'static str],
}

const fn pure(modules: &'static [&'static str]) -> Floor {
    Floor { pure: modules, shell: &[] }
}

const fn shell(modules: &'static [&'static str]) -> Floor {
    Floor { pure: &[], shell: modules }
}

/// The order of the house. A module stands where its longest name here stands.
const ORDER: &[Floor] = &[
    pure(&["secret"]),
    pure(&["time"]),
    pure(&["identity"]),
    pure(&["sql"]),
    pure(&["wire"]),
    pure(&["grant"]),
    pure(&["sql::postgres"]),
    pure(&["sql::mysql"]),
    pure(&["wire::postgres"]),
    pure(&["wire::mysql"]),
    pure(&["audit::rendered", "audit::record", "audit::encode", "audit::chain", "audit::redact"]),
    pure(&["route"]),
    shell(&["net"]),
    shell(&["store"]),
    shell(&["tls"]),
    Floor {
        pure: &[
            "upstream::lock::progress",
            "upstream::lock::finding",
            "upstream::roles::names",
            "upstream::roles::acl",
            "upstream::roles::plan",
            "upstream::roles::action",
            "upstream::roles::service",
            "upstream::mysql::accounts::names",
            "upstream::mysql::accounts::verifier",
            "upstream::mysql::accounts::rights",
            "upstream::mysql::accounts::described",
            "upstream::mysql::accounts::powers",
            "upstream::mysql::accounts::plan",
            "upstream::mysql::accounts::stamps",
        ],
        shell: &["upstream"],
    },
    shell(&["audit"]),
    Floor {
        pure: &["session"],
        shell: &[
            "session::io",
            "session::news",
            "session::registry",
            "session::relay",
            "session::wire",
        ],
    },
    shell(&["control"]),
    shell(&["telemetry"]),
    shell(&["config"]),
    shell(&["server"]),
    shell(&["cli"]),
];

const LINES_MAX: usize = 700;
const MAIN_LINES_MAX: usize = 100;
const FUNCTION_LINES_MAX: u32 = 100;

/// What a pure module cannot have.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::net",
    "std::os::unix::net",
    "std::fs",
    "std::thread",
    "std::env",
    "SystemTime::now",
    "Instant::now",
    "getrandom",
    "rusqlite",
];

const PRINTS: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "dbg!"];

// --- names of modules ---------------------------------------------------------------------------------

/// `src/sql/postgres/mod.rs` is `sql::postgres`; lib.rs and main.rs are the empty name.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").expect("a source file").with_extension("");
    let mut parts: Vec<_> =
        inside.iter().map(|part| part.to_str().expect("names are plain")).collect();
    if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
        parts.pop();
    }
    parts.join("::")
}

/// Where a module stands: its floor, and whether it is pure. By its longest name in [`ORDER`].
fn place(module: &str) -> Option<(usize, bool)> {
    let mut best: Option<(usize, usize, bool)> = None;
    for (floor, modules) in ORDER.iter().enumerate() {
        let pure = modules.pure.iter().map(|name| (name, true));
        let shell = modules.shell.iter().map(|name| (name, false));
        for (name, is_pure) in pure.chain(shell) {
            let inside = module
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if inside && best.is_none_or(|(length, ..)| name.len() > length) {
                best = Some((name.len(), floor, is_pure));
            }
        }
    }
    best.map(|(_, floor, is_pure)| (floor, is_pure))
}

// --- reading Rust -------------------------------------------------------------------------------------

/// The text with comments and the insides of literals blanked: same length in lines, nothing to be
/// misled by.
fn code_of(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut code = String::with_capacity(source.len());
    let mut i = 0;
    // Copies line breaks and blanks the rest up to `end`.
    let blank = |code: &mut String, from: usize, end: usize| {
        for &c in &chars[from..end.min(chars.len())] {
            code.push(if c == '\n' { '\n' } else { ' ' });
        }
    };
    while i < chars.len() {
        let word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        if at(i) == '/' && at(i + 1) == '/' {
            let end = (i..chars.len()).find(|&j| at(j) == '\n').unwrap_or(chars.len());
            blank(&mut code, i, end);
            i = end;
        } else if at(i) == '/' && at(i + 1) == '*' {
            let (mut depth, mut end) = (1, i + 2);
            while depth > 0 && end < chars.len() {
                let pair = (at(end), at(end + 1));
                depth += i32::from(pair == ('/', '*')) - i32::from(pair == ('*', '/'));
                end += if pair == ('/', '*') || pair == ('*', '/') { 2 } else { 1 };
            }
            blank(&mut code, i, end);
            i = end;
        } else if let Some((open, hashes)) = raw_string(&chars, i).filter(|_| !word_before) {
            let closes = |j: usize| at(j) == '"' && (1..=hashes).all(|k| at(j + k) == '#');
            let end = (open + 1..chars.len()).find(|&j| closes(j)).unwrap_or(chars.len());
            code.push('"');
            blank(&mut code, i + 1, end);
            code.push('"');
            i = end + 1 + hashes;
        } else if at(i) == '"' {
            let mut end = i + 1;
            while end < chars.len() && at(end) != '"' {
                end += if at(end) == '\\' { 2 } else { 1 };
            }
            code.push('"');
            blank(&mut code, i + 1, end);
            code.push('"');
            i = end + 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            // A character, not a lifetime.
            let from = if at(i + 1) == '\\' { i + 3 } else { i + 2 };
            let end = (from..chars.len()).find(|&j| at(j) == '\'').unwrap_or(chars.len());
            blank(&mut code, i, end + 1);
            i = end + 1;
        } else {
            code.push(at(i));
            i += 1;
        }
    }
    code
}

/// Whether a raw string starts here: where its quote is and how many hashes it has.
fn raw_string(chars: &[char], start: usize) -> Option<(usize, usize)> {
    let mut i = start;
    i += usize::from(matches!(chars.get(i), Some('b' | 'c')));
    if chars.get(i) != Some(&'r') {
        return None;
    }
    i += 1;
    let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
    (chars.get(i + hashes) == Some(&'"')).then_some((i + hashes, hashes))
}

/// Code without the items marked `#[cfg(test)]`, lines kept.
fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut kept = String::with_capacity(code.len());
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = item_end(item);
        kept.extend(item[..end].chars().filter(|&c| c == '\n'));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Where the first item of this code ends: at its closing brace, or its semicolon when that is first.
fn item_end(item: &str) -> usize {
    let (mut braces, mut brackets) = (0_i32, 0_i32);
    for (at, c) in item.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        if brackets == 0 && braces == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    item.len()
}

/// Files that are only compiled for tests, as this file's `#[cfg(test)] mod name;` lines say.
fn test_files(path: &Path, source: &str) -> Vec<PathBuf> {
    let parent = path.parent().expect("a file is in a folder");
    let own_folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") | None => parent.to_owned(),
        Some(stem) => parent.join(stem),
    };
    let mut files = Vec::new();
    for declared in source.split("#[cfg(test)]").skip(1) {
        let line = declared.trim_start();
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            files.push(parent.join(rest.split('"').next().unwrap_or_default()));
            continue;
        }
        let words: Vec<_> = line.split_whitespace().take(3).collect();
        let name = words.iter().skip_while(|&&word| word != "mod").nth(1).copied();
        if let Some(name) = name.and_then(|name| name.strip_suffix(';')) {
            files.push(own_folder.join(format!("{name}.rs")));
            files.push(own_folder.join(name));
        }
    }
    files
}

/// Every path that starts at `crate`, `self` or `super` in this module's code, written from the crate.
fn paths_of(module: &str, code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(offset) = code[at..].find("::") {
        let colons = at + offset;
        at = colons + 2;
        let word_start = code[..colons]
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |before| before + 1);
        let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
        match &code[word_start..colons] {
            _ if code[..word_start].ends_with("::") => continue,
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => continue,
        }
        tree(&base, &mut &code[at..], &mut found);
    }
    found
}

/// Reads `a::{b, c::d}` and puts `base::a::b`, `base::a::c::d` into `found`.
fn tree(base: &[&str], rest: &mut &str, found: &mut BTreeSet<String>) {
    let mut path: Vec<String> = base.iter().map(|part| (*part).to_owned()).collect();
    loop {
        *rest = rest.trim_start();
        if let Some(inside) = rest.strip_prefix('{') {
            *rest = inside;
            let borrowed: Vec<&str> = path.iter().map(String::as_str).collect();
            loop {
                tree(&borrowed, rest, found);
                // Skips `as name` up to the comma or the brace.
                let Some(next) = rest.find([',', '}']) else { return };
                let closed = rest[next..].starts_with('}');
                *rest = &rest[next + 1..];
                if closed || rest.trim_start().starts_with('}') {
                    if !closed {
                        *rest = &rest.trim_start()[1..];
                    }
                    return;
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        match word {
            "" | "self" => {}
            "super" => drop(path.pop()),
            _ => path.push(word.to_owned()),
        }
        *rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) if !word.is_empty() => *rest = more,
            _ => break,
        }
    }
    found.insert(path.join("::"));
}

// --- checks -------------------------------------------------------------------------------------------

/// Imports against the order, and halves that meet.
fn check_order(module: &str, code: &str) -> Vec<String> {
    if module.is_empty() {
        return Vec::new();
    }
    let Some((floor, _)) = place(module) else {
        return vec![format!("module {module} has no place in ORDER")];
    };
    let mut findings = Vec::new();
    for path in paths_of(module, code).into_iter().filter(|path| !path.is_empty()) {
        // The crate's own macros and the like have no module.
        let Some((other, _)) = place(&path) else {
            if path.contains("::") {
                findings.push(format!("{path} has no place in ORDER"));
            }
            continue;
        };
        if other > floor {
            findings.push(format!("{module} may not import {path}, which stands after it"));
        }
        let half = |name: &str, engine: &str| name.split("::").any(|part| part == engine);
        for (one, two) in [("postgres", "mysql"), ("mysql", "postgres")] {
            if half(module, one) && half(&path, two) {
                findings.push(format!("{module} may not know {path}: the halves never meet"));
            }
        }
    }
    findings
}

/// Clocks, sockets, files, tasks, randomness and prints where they do not belong.
fn check_purity(module: &str, code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if place(module).is_some_and(|(_, is_pure)| is_pure) {
        for word in IMPURE.iter().filter(|word| code.contains(*word)) {
            findings.push(format!("{module} is pure, it may not use {word}"));
        }
    }
    if !module.starts_with("cli") {
        for word in PRINTS.iter().filter(|word| has_word(code, word)) {
            findings.push(format!("{module} may not print ({word}): only the command line does"));
        }
    }
    findings
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// Panics of convenience, and lints against them switched off.
fn check_unwraps(code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for word in [".unwrap()", ".expect(\"", ".unwrap_err()", ".expect_err(\""] {
        if code.contains(word) {
            findings.push(format!("{word} outside tests"));
        }
    }
    for lint in ["unwrap_used", "expect_used", "too_many_lines", "wildcard_enum_match_arm"] {
        if code.contains(&format!("clippy::{lint}")) {
            findings.push(format!("clippy::{lint} is switched off"));
        }
    }
    findings
}

/// Files that have grown too long.
fn check_length(source: &str, lines_max: usize) -> Vec<String> {
    let lines = source.lines().count();
    if lines > lines_max { vec![format!("{lines} lines, at most {lines_max}")] } else { Vec::new() }
}

/// Promises instead of work.
fn check_promises(source: &str) -> Vec<String> {
    // Written in two parts, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    marks
        .iter()
        .filter(|mark| has_word(source, mark))
        .map(|mark| format!("{mark}: do it, or say in the issue that it is not done"))
        .collect()
}

/// Matches over the grammar's nodes with an arm that loses kinds. A walk names every kind, so that a new
/// grammar does not slip a new one past it; the last arm may refuse, hand the node on by name to another
/// walk, or answer a question about one node with no.
fn check_walkers(code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, _) in code.match_indices("match ") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(is_word) {
            continue;
        }
        let Some(open) = code[at..].find('{').map(|offset| at + offset) else { continue };
        let arms = arms(&code[open + 1..]);
        if !arms.iter().any(|(pattern, _)| pattern.contains("Node::")) {
            continue;
        }
        for (pattern, body) in arms.iter().filter(|(pattern, body)| loses_kinds(pattern, body)) {
            let line = code[..at].lines().count();
            findings.push(format!("line {line}: `{pattern} => {body}` loses kinds of Node"));
        }
    }
    findings
}

fn loses_kinds(pattern: &str, body: &str) -> bool {
    let body = body.trim_start_matches(['{', ' ', '\n']);
    let body = body.strip_prefix("return ").unwrap_or(body);
    if pattern == "_" {
        let refusals = ["unsupported(", "unsupported_hint(", "undefined(", "refused(", "Err("];
        let noes = ["None", "false", "break"];
        return !refusals.iter().chain(&noes).any(|fine| body.starts_with(fine));
    }
    let is_name = pattern.starts_with(char::is_lowercase) && pattern.chars().all(is_word);
    is_name && !body.split(|c| !is_word(c)).any(|word| word == pattern)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Patterns and bodies of a match, given what follows its opening brace.
fn arms(body: &str) -> Vec<(String, String)> {
    let mut arms = Vec::new();
    let mut depth = 0_i32;
    let (mut pattern_from, mut arrow) = (0, None);
    for (at, c) in body.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        let next = body[at + c.len_utf8()..].trim_start();
        if depth == 0 && arrow.is_none() && body[at..].starts_with("=>") {
            arrow = Some(at);
        } else if let Some(after) = arrow.filter(|_| {
            // A comma ends an arm; so does the brace of a block, whatever follows but a method.
            depth < 0
                || (depth == 0 && (c == ',' || (c == '}' && !next.starts_with(['.', '?', ',']))))
        }) {
            let pattern = body[pattern_from..after].trim().to_owned();
            arms.push((pattern, body[after + 2..at].trim().to_owned()));
            (pattern_from, arrow) = (at + c.len_utf8(), None);
        }
        if depth < 0 {
            break;
        }
    }
    arms
}

/// The names after `pub mod`, in order.
fn modules_declared(code: &str) -> Vec<&str> {
    code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect()
}

/// Modules of lib.rs that ORDER does not know, or that stand where ORDER does not have them.
fn check_map(code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    // A module with floors of its own stands where the first of them does.
    let first = |module: &str| {
        let prefix = format!("{module}::");
        ORDER.iter().position(|floor| {
            let mut names = floor.pure.iter().chain(floor.shell);
            names.any(|name| *name == module || name.starts_with(&prefix))
        })
    };
    let mut before = 0;
    for module in modules_declared(code) {
        match first(module) {
            None => findings.push(format!("module {module} has no place in ORDER")),
            Some(floor) if floor < before => {
                findings.push(format!("module {module} stands after those that may import it"));
            }
            Some(floor) => before = floor,
        }
    }
    findings
}

// --- the repository -----------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files under a folder, as paths from the root, by the end of their names.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path.strip_prefix(root()).expect("under the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_house_is_tidy() {
    let sources: Vec<(PathBuf, String)> = files("src", ".rs")
        .into_iter()
        .map(|path| (path.clone(), read(path.to_str().expect("names are plain"))))
        .collect();
    assert!(sources.len() > 20, "src has moved, and this test with nothing to look at");
    let tests: Vec<PathBuf> =
        sources.iter().flat_map(|(path, source)| test_files(path, source)).collect();
    let mut findings = Vec::new();
    for (path, source) in &sources {
        let module = module_of(path);
        let is_test = tests.iter().any(|test| path.starts_with(test));
        let code = without_tests(&code_of(source));
        let mut here = Vec::new();
        if !is_test {
            here.extend(check_order(&module, &code));
            here.extend(check_purity(&module, &code));
            here.extend(check_unwraps(&code));
            if module.starts_with("sql::postgres") {
                here.extend(check_walkers(&code));
            }
        }
        if path.ends_with("src/main.rs") {
            here.extend(check_length(source, MAIN_LINES_MAX));
        }
        findings.extend(here.into_iter().map(|finding| format!("{}: {finding}", path.display())));
    }
    findings.extend(check_map(&read("src/lib.rs")));
    assert_none(&findings);
}

#[test]
fn no_file_is_too_long_or_promises_what_is_not_there() {
    let mut findings = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz", "scripts", "config", ".ci"] {
        for path in files(folder, "") {
            // Some corpora are not text.
            let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            let mut here = check_promises(&text);
            here.extend(check_length(&text, if is_rust { LINES_MAX } else { usize::MAX }));
            findings.extend(here.into_iter().map(|one| format!("{}: {one}", path.display())));
        }
    }
    for path in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Makefile"] {
        findings.extend(check_promises(&read(path)).iter().map(|one| format!("{path}: {one}")));
    }
    assert_none(&findings);
}

#[test]
fn clippy_holds_what_this_file_leaves_to_it() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("cargo has read it");
    let lints = &manifest["lints"]["clippy"];
    for lint in ["unwrap_used", "expect_used", "indexing_slicing", "panic", "too_many_lines"] {
        let level = lints.get(lint).and_then(toml::Value::as_str);
        assert!(matches!(level, Some("warn" | "deny" | "forbid")), "{lint} is {level:?}");
    }
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let clippy: toml::Table = read("clippy.toml").parse().expect("clippy has read it");
    let threshold = clippy["too-many-lines-threshold"].as_integer().expect("a number");
    assert!(threshold <= i64::from(FUNCTION_LINES_MAX), "functions of {threshold} lines");
}

#[test]
fn the_map_in_prose_names_every_module() {
    let prose = read("ARCHITECTURE.md");
    for module in modules_declared(&read("src/lib.rs")) {
        assert!(prose.contains(&format!("`{module}`")), "ARCHITECTURE.md does not name `{module}`");
    }
}

#[path = "tidy/cases.rs"]
mod cases;
