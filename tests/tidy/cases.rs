//! Text that the checks must find fault with, and text that they must not: a check that cannot fail is
//! none.

use super::*;

fn finds(findings: &[String], part: &str) {
    assert!(findings.iter().any(|one| one.contains(part)), "{part:?} is not in {findings:#?}");
}

#[test]
fn an_import_against_the_order_is_found() {
    let up = "use crate::grant::Grant;\nuse crate::session::relay::Relay;\n";
    finds(&check_order("store", up), "store may not import session::relay::Relay");
    let grouped = "use crate::{time::Timestamp, sql::{self, postgres as pg, name::X}};";
    finds(&check_order("wire", grouped), "wire may not import sql::postgres");
    let inline = "fn f() -> crate::server::Server { crate::server::make() }";
    finds(&check_order("control::api", inline), "control::api may not import server::make");
    finds(&check_order("audit::record", "use super::recorder::Recorder;"), "audit::recorder");
    finds(&check_order("grant", "use crate::nowhere::Thing;"), "nowhere::Thing has no place");
    finds(&check_order("nowhere", ""), "module nowhere has no place");
    let meeting = "use crate::wire::postgres::frame::Frame;";
    finds(&check_order("wire::mysql", meeting), "the halves never meet");
    assert_none(&check_order("sql::mysql", "use crate::sql::access::Access;"));
}

#[test]
fn an_import_with_the_order_is_not() {
    let fine = "use crate::audit::record::{AuditRecord, Kind};\nuse super::name::QualifiedName;\n\
                pub(crate) fn f(self: &Self) {}\nuse self::inner::X;\nuse std::fmt;";
    assert_none(&check_order("session::gate", fine));
    assert_none(&check_order("session::relay", "use crate::session::gate::Gate;"));
    assert_none(&check_order("", "use crate::cli::main;"));
    let parents = "pub mod record;\npub mod recorder;\npub use recorder::Recorder;";
    assert_none(&check_order("audit", parents));
}

#[test]
fn what_comments_strings_and_tests_say_counts_for_nothing() {
    let source = "// use crate::cli::X;\n/* crate::cli::Y /* crate::cli::Z */ */\n\
                  const A: &str = \"crate::cli::B\";\nconst R: &str = r#\"\" crate::cli::C\"#;\n\
                  const Q: char = '\"';\nfn life<'a>(x: &'a str) {}\n\
                  #[cfg(test)]\nmod tests {\n    use crate::cli::D;\n}\n";
    let code = without_tests(&code_of(source));
    assert_none(&check_order("secret", &code));
    assert_eq!(code.lines().count(), source.lines().count(), "lines are kept");
    // And what stands after them does.
    let after = format!("{source}use crate::cli::Real;\n");
    finds(&check_order("secret", &without_tests(&code_of(&after))), "cli::Real");
}

#[test]
fn a_test_only_use_or_module_line_ends_at_its_semicolon() {
    let source = "#[cfg(test)]\nuse crate::cli::X;\nuse crate::cli::Y;\n";
    let code = without_tests(source);
    assert!(!code.contains("X") && code.contains("Y"));
    let array = "#[cfg(test)]\nconst N: [u8; 2] = [1, 2];\nuse crate::cli::Y;\n";
    assert_eq!(without_tests(array).trim(), "use crate::cli::Y;");
}

#[test]
fn files_for_tests_alone_are_known() {
    let source = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod others;\n\
                  #[cfg(test)]\npub(crate) mod fixture;\n#[cfg(test)]\nmod inline {\n}\nmod real;\n";
    let in_mod = test_files(Path::new("src/a/mod.rs"), source);
    let expected = ["src/a/tests.rs", "src/a/tests", "src/a/x_tests.rs", "src/a/fixture.rs"];
    assert!(expected.iter().all(|one| in_mod.contains(&PathBuf::from(one))), "{in_mod:?}");
    assert_eq!(in_mod.len(), 5, "{in_mod:?}");
    let in_file = test_files(Path::new("src/a/b.rs"), "#[cfg(test)]\nmod tests;\n");
    assert!(in_file.contains(&PathBuf::from("src/a/b/tests.rs")));
}

#[test]
fn paths_are_read_from_where_they_stand() {
    let code = "use super::{a, b::{c, d as e,}, self};\nuse crate::f::*;\nlet x = super::super::g::h();\n\
                Self::m(); other::crate_::n; self.o();";
    let paths = paths_of("one::two::three", code);
    let expected =
        ["f", "one::g::h", "one::two", "one::two::a", "one::two::b::c", "one::two::b::d"];
    assert_eq!(paths.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_clock_or_socket_on_a_pure_floor_is_found() {
    finds(&check_purity("grant::decide", "let now = SystemTime::now();"), "SystemTime::now");
    finds(&check_purity("session::gate", "use tokio::net::TcpStream;"), "tokio::");
    finds(&check_purity("audit::chain", "std::fs::read(path)"), "std::fs");
    finds(&check_purity("store", "println!();"), "may not print");
    assert_none(&check_purity("session::relay", "tokio::select! {} Instant::now()"));
    assert_none(&check_purity("time", "impl From<SystemTime> for Timestamp {}"));
    assert_none(&check_purity("cli::output", "println!();"));
    assert_none(&check_purity("store", "my_println!();"));
}

#[test]
fn a_panic_of_convenience_is_found() {
    finds(&check_unwraps("x.unwrap()"), ".unwrap()");
    finds(&check_unwraps(&code_of("x.expect(\"why\")")), ".expect(");
    finds(&check_unwraps("#[expect(clippy::unwrap_used, reason = \"\")]"), "switched off");
    assert_none(&check_unwraps("x.unwrap_or_default(); parser.expect(Token::On)?;"));
}

#[test]
fn length_and_promises_are_found() {
    finds(&check_length("a\nb\nc\n", 2), "3 lines, at most 2");
    assert_none(&check_length("a\nb\n", 2));
    finds(&check_promises(concat!("// TO", "DO: later")), "do it");
    finds(&check_promises(concat!("FIX", "ME")), "do it");
    assert_none(&check_promises("mastodon, in_todo"));
}

#[test]
fn an_arm_that_loses_kinds_of_node_is_found() {
    let silent = "match node {\n    Node::A(a) => walk(a)?,\n    Node::B(_) => {}\n    _ => {}\n}";
    finds(&check_walkers(silent), "`_ =>");
    let named = "match node { Node::A(a) => f(a), Node::B { x, .. } => { g(x) } other => Ok(()) }";
    finds(&check_walkers(named), "`other =>");
    let outer = "match node {\n Node::A(a) => match a.kind { K::X => 1, _ => 2 },\n _ => 3,\n}";
    assert_eq!(check_walkers(outer).len(), 1);
    assert_none(&check_walkers("match node { Node::A(a) => f(a), _ => return unsupported(x) }"));
    assert_none(&check_walkers("match node { Node::A(a) => f(a), _ => { unsupported(x) } }"));
    assert_none(&check_walkers(
        "match node { Node::A(a) => f(a), other => { self.part(other)? } }",
    ));
    assert_none(&check_walkers("match node { Node::A(a) => return true, _ => false }"));
    assert_none(&check_walkers("match kind { Kind::A => 1, _ => 2 }"));
    assert_none(&check_walkers("match node { Node::A(_) | Node::B(_) => 1, after!() => 2 }"));
}

#[test]
fn the_map_of_the_house_is_held_to_the_order() {
    assert_none(&check_map("pub mod secret;\npub mod time;\npub mod audit;\npub mod store;\n"));
    finds(&check_map("pub mod store;\npub mod grant;\n"), "module grant stands after");
    finds(&check_map("pub mod attic;\n"), "attic has no place");
}

#[test]
fn modules_are_named_and_placed_by_their_files() {
    assert_eq!(module_of(Path::new("src/sql/postgres/mod.rs")), "sql::postgres");
    assert_eq!(module_of(Path::new("src/secret.rs")), "secret");
    assert_eq!(module_of(Path::new("src/lib.rs")), "");
    assert_eq!(place("sql::postgres::expr").map(|(_, pure)| pure), Some(true));
    assert!(place("sql::postgres") > place("sql::access"));
    assert!(place("audit::recorder") > place("audit::record"), "prefixes end at a whole name");
    assert_eq!(place("audit_other"), None);
}
