//! MySQL's analyser on any bytes, under any settings: no panic, and what it says of a text stays
//! inside that text.

#![no_main]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use daypass::grant::privilege::{ParseErrorKind, Privilege, parse};
use daypass::sql::Engine;
use daypass::sql::mysql::catalog::{
    Catalog, Column, Database, Routine, Security, Table, TableKind, View,
};
use daypass::sql::mysql::{
    CharacterSet, Flavour, ParseLimits, ParseSettings, Scope, ServerVersion, SqlMode, analyse,
};
use daypass::sql::statement::{Analysis, NotUnderstood};
use libfuzzer_sys::fuzz_target;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let table = |columns: &str, kind: TableKind| {
        let column = |name: &str| Column { name: name.into(), invisible: false };
        Table { kind, columns: columns.split(' ').map(column).collect() }
    };
    let query = Some("select `shop`.`secret`.`d` AS `d` from `shop`.`secret`".into());
    let view = View { security: Security::Invoker, query };
    let tables = [
        ("t1", table("a b c d", TableKind::Base)),
        ("t2", table("c d e", TableKind::Base)),
        ("secret", table("d token", TableKind::Base)),
        ("v", table("d", TableKind::View(view))),
    ];
    let routine = || HashMap::from([("f".into(), Routine::default())]);
    let shop = Database {
        tables: tables.into_iter().map(|(name, table)| (name.into(), table)).collect(),
        functions: routine(),
        procedures: routine(),
        triggers: HashMap::new(),
    };
    let databases = HashMap::from([("shop".into(), Arc::new(shop))]);
    Catalog { version: 1, databases, loadable: HashSet::new(), ..Catalog::default() }
});

fn settings(choices: u8) -> ParseSettings {
    let bit = |n: u8| choices >> n & 1 == 1;
    let server = if bit(0) {
        ServerVersion { flavour: Flavour::MySql, number: 90_704 }
    } else {
        ServerVersion { flavour: Flavour::MariaDb, number: 101_119 }
    };
    let sql_mode =
        SqlMode { ansi_quotes: bit(1), no_backslash_escapes: bit(2), ignore_space: bit(3) };
    let character_set = if bit(4) { CharacterSet::Latin1 } else { CharacterSet::Utf8mb4 };
    let default_database = (!bit(5)).then(|| "shop".into());
    ParseSettings {
        server,
        sql_mode,
        character_set,
        default_database,
        lower_case_table_names: bit(6),
    }
}

fn read(text: &[u8], settings: &ParseSettings) -> Result<Analysis, NotUnderstood> {
    let temporary = HashSet::new();
    let scope = Scope { catalog: &CATALOG, settings, temporary: &temporary };
    analyse(text, &scope, &ParseLimits::default())
}

fn check(text: &[u8], analysis: &Analysis) {
    let mut end = 0;
    for statement in &analysis.statements {
        assert!(end <= statement.span.start && statement.span.start < statement.span.end);
        end = statement.span.end;
        assert!(end <= text.len() && !statement.command.is_empty());
        for range in statement.literals.iter().chain(&statement.credentials) {
            assert!(statement.span.start <= range.start && range.end <= end);
        }
        let changes = statement.command == "SELECT" || statement.command == "UPDATE";
        assert!(!changes || !statement.accesses.is_empty(), "nothing is needed");
        for privilege in statement.accesses.iter().filter_map(Privilege::for_access) {
            let shown = privilege.display(Engine::Mysql).to_string();
            match parse(&shown, Engine::Mysql, "shop") {
                Ok(read) => assert_eq!(read, privilege, "{shown}"),
                // Names that no object can have: nobody is granted them.
                Err(why) => {
                    let named = matches!(
                        why.kind,
                        ParseErrorKind::NameTooLong(_)
                            | ParseErrorKind::BadName
                            | ParseErrorKind::TooLong
                    );
                    assert!(named, "{shown}: {why}");
                }
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choices, text)) = data.split_first() else { return };
    let settings = settings(*choices);
    let Ok(analysis) = read(text, &settings) else { return };
    check(text, &analysis);
    // A line end, so that a comment does not swallow what stands behind it.
    let ended = [text, b"\n;"].concat();
    assert_eq!(read(&ended, &settings).as_ref(), Ok(&analysis));
});
