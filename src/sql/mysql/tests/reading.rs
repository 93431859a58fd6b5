//! What hangs on the session's settings: modes, character sets, flavours, default database.

use super::{outcome, read_as, settings};
use crate::sql::mysql::{CharacterSet, Flavour, ParseSettings, ServerVersion, SqlMode};
use crate::sql::statement::{Change, Effect};

fn needs(text: &[u8], settings: &ParseSettings) -> Vec<String> {
    outcome(&read_as(text, settings))
}

fn with_mode(mode: &str) -> ParseSettings {
    ParseSettings { sql_mode: SqlMode::parse(mode).unwrap(), ..settings() }
}

fn mysql() -> ParseSettings {
    let server = ServerVersion { flavour: Flavour::MySql, number: 90_704 };
    ParseSettings { server, ..settings() }
}

const BOTH: [&str; 2] = ["SELECT (a) ON shop.allowed", "SELECT (token) ON shop.secret"];

#[test]
fn a_backslash_escapes_unless_the_mode_says_otherwise() {
    let text = br"select a from allowed where a='\' union select token from secret -- '";
    assert_eq!(needs(text, &settings()), ["SELECT (a) ON shop.allowed"]);
    assert_eq!(needs(text, &with_mode("NO_BACKSLASH_ESCAPES")), BOTH);
}

#[test]
fn double_quotes_make_names_where_the_mode_says_so() {
    let text = br#"select "token" from "secret""#;
    assert_eq!(needs(text, &settings()), ["syntax"]);
    assert_eq!(needs(text, &with_mode("ANSI_QUOTES")), ["SELECT (token) ON shop.secret"]);
    let text = br#"select "a\" from allowed union select token from secret -- " from allowed"#;
    assert_eq!(needs(text, &settings()), ["SELECT (*) ON shop.allowed"]);
    assert_eq!(needs(text, &with_mode("ANSI_QUOTES")), ["undefined 42S22"]);
}

#[test]
fn white_space_before_a_parenthesis_is_the_modes() {
    let text = b"select count (a) from allowed";
    assert_eq!(needs(text, &with_mode("IGNORE_SPACE")), ["SELECT (a) ON shop.allowed"]);
    assert!(needs(text, &settings()).contains(&"EXECUTE ON FUNCTION shop.count()".to_string()));
}

#[test]
fn modes_with_another_grammar_are_refused() {
    for mode in ["ORACLE", "MSSQL", "EMPTY_STRING_IS_NULL", "ANSI,ORACLE", "x"] {
        assert_eq!(SqlMode::parse(mode), None, "{mode}");
    }
    assert_eq!(SqlMode::parse("STRICT_TRANS_TABLES,,no_zero_date"), Some(SqlMode::default()));
}

#[test]
fn character_sets_that_hide_quotes_are_refused() {
    for name in
        ["gbk", "sjis", "cp932", "big5", "gb18030", "eucjpms", "ucs2", "utf16", "utf32", "x"]
    {
        assert_eq!(CharacterSet::parse(name), None, "{name}");
        let text = format!("set names {name}");
        assert_eq!(needs(text.as_bytes(), &settings()), ["unsupported"], "{name}");
    }
}

#[test]
fn bytes_that_are_not_of_the_clients_set_are_refused() {
    let in_string = b"select a from allowed where b = '\xff\xfe'";
    let in_binary = b"select a from allowed where b = _binary'\xff\xfe'";
    let in_name = b"select `\xff` from allowed";
    let set = |character_set| ParseSettings { character_set, ..settings() };
    let allowed = ["SELECT (a, b) ON shop.allowed"];
    assert_eq!(needs(in_string, &set(CharacterSet::Utf8mb4)), ["unsupported"]);
    assert_eq!(needs(in_string, &set(CharacterSet::Ascii)), ["unsupported"]);
    assert_eq!(needs(in_string, &set(CharacterSet::Latin1)), allowed);
    assert_eq!(needs(in_string, &set(CharacterSet::Binary)), allowed);
    assert_eq!(needs(in_binary, &set(CharacterSet::Utf8mb4)), allowed);
    for each in [CharacterSet::Utf8mb4, CharacterSet::Latin1, CharacterSet::Binary] {
        assert_eq!(needs(in_name, &set(each)), ["unsupported"], "{each:?}");
    }
    // A lead byte before a quote takes nothing away from it.
    let text = b"select a from allowed where a='\xbf\\' union select token from secret -- '";
    assert_eq!(needs(text, &set(CharacterSet::Latin1)), ["SELECT (a) ON shop.allowed"]);
    assert_eq!(needs(b"select 1\0", &settings()), ["unsupported"]);
    assert_eq!(
        needs("select '\u{1f980}'".as_bytes(), &set(CharacterSet::Utf8mb3)),
        ["unsupported"]
    );
    assert_eq!(needs("select '\u{1f980}'".as_bytes(), &settings()), ["METADATA"]);
}

#[test]
fn executable_comments_are_each_servers_own() {
    let text = b"select a from allowed /*!80000 union select token from secret */";
    assert_eq!(needs(text, &settings()), ["SELECT (a) ON shop.allowed"]);
    assert_eq!(needs(text, &mysql()), BOTH);
    let text = b"select a from allowed /*M! union select token from secret */";
    assert_eq!(needs(text, &settings()), BOTH);
    assert_eq!(needs(text, &mysql()), ["SELECT (a) ON shop.allowed"]);
    let text = b"select a from allowed /*!090705 union select token from secret */";
    assert_eq!(needs(text, &mysql()), ["SELECT (a) ON shop.allowed"]);
    let text = b"select a from allowed union table secret";
    assert_eq!(
        needs(text, &mysql()),
        ["SELECT (a) ON shop.allowed", "SELECT (d, token) ON shop.secret"]
    );
}

#[test]
fn an_insert_asks_what_each_server_does() {
    let text = b"insert into allowed () values ()";
    assert_eq!(needs(text, &settings()), ["INSERT (*) ON shop.allowed"]);
    assert_eq!(needs(text, &mysql()), ["INSERT (a, b) ON shop.allowed"]);
    let text = b"insert into allowed (a) values (1) on duplicate key update b = values(a)";
    let of_mysql =
        ["INSERT (a) ON shop.allowed", "SELECT (a) ON shop.allowed", "UPDATE (b) ON shop.allowed"];
    assert_eq!(needs(text, &mysql()), of_mysql);
    let of_mariadb = [
        "INSERT (a) ON shop.allowed",
        "SELECT (a, b) ON shop.allowed",
        "UPDATE (a, b) ON shop.allowed",
    ];
    assert_eq!(needs(text, &settings()), of_mariadb);
}

#[test]
fn a_table_is_filled_from_a_table_statement() {
    let filled = ["CREATE ON shop.n", "INSERT ON shop.n", "SELECT (d, token) ON shop.secret"];
    for text in ["create table n table secret", "create table n (a int) as table secret"] {
        assert_eq!(needs(text.as_bytes(), &mysql()), filled, "{text}");
    }
}

#[test]
fn names_without_a_database_need_a_default_one() {
    let none = ParseSettings { default_database: None, ..settings() };
    assert_eq!(needs(b"select a from allowed", &none), ["undefined 3D000"]);
    assert_eq!(needs(b"select a from shop.allowed", &none), ["SELECT (a) ON shop.allowed"]);
    let crm = ParseSettings { default_database: Some("crm".into()), ..settings() };
    assert_eq!(needs(b"select z from t1", &crm), ["SELECT (z) ON crm.t1"]);
}

#[test]
fn case_matters_in_names_of_tables_where_it_does_to_the_server() {
    let text = b"select A from SHOP.Allowed";
    assert_eq!(needs(text, &settings()), ["undefined 42S02"]);
    let folded = ParseSettings { lower_case_table_names: true, ..settings() };
    assert_eq!(needs(text, &folded), ["SELECT (a) ON shop.allowed"]);
}

#[test]
fn what_a_statement_does_to_the_session_is_told() {
    let effect = |text: &str| {
        let analysis = read_as(text.as_bytes(), &settings()).unwrap();
        analysis.statements.into_iter().next().unwrap().effect
    };
    assert_eq!(effect("use crm"), Effect::UseDatabase("crm".into()));
    let reading = |sql_mode, character_set| Effect::Reading { sql_mode, character_set };
    let to = |text: &str| Change::To(text.into());
    assert_eq!(effect("set names 'UTF8MB4'"), reading(Change::Stays, to("utf8mb4")));
    assert_eq!(effect("set sql_mode = 'ANSI'"), reading(to("ANSI"), Change::Stays));
    assert_eq!(
        effect("set @a = 1, sql_mode = @b, character_set_client = @c"),
        reading(Change::Unknown, Change::Unknown)
    );
    assert_eq!(
        effect("set @@sql_mode = concat(@@sql_mode, ',ANSI')"),
        reading(Change::Unknown, Change::Stays)
    );
    assert_eq!(effect("set autocommit = 0"), Effect::Set { name: "autocommit".into() });
    assert_eq!(
        effect("load data local infile 'a\\'b' into table t1"),
        Effect::LoadLocal("a'b".into())
    );
    assert_eq!(effect("kill query 7"), Effect::Kill { connection: 7, query: true });
    assert_eq!(effect("kill 7"), Effect::Kill { connection: 7, query: false });
    assert_eq!(effect("rollback to x"), Effect::RollbackTo("x".into()));
}

#[test]
fn literals_and_credentials_are_found() {
    let text = "select a, 'x''y' from t1 where b = 5";
    let analysis = read_as(text.as_bytes(), &settings()).unwrap();
    let found: Vec<_> =
        analysis.statements[0].literals.iter().map(|it| &text[it.clone()]).collect();
    assert_eq!(found, ["'x''y'", "5"]);
    let text = "create user x identified by 'secret'";
    let analysis = read_as(text.as_bytes(), &settings()).unwrap();
    let found: Vec<_> =
        analysis.statements[0].credentials.iter().map(|it| &text[it.clone()]).collect();
    assert_eq!(found, ["'secret'"]);
}

#[test]
fn words_that_are_values_only_elsewhere_name_columns() {
    for word in ["unknown", "rownum"] {
        let text = format!("select {word} from t1");
        assert_eq!(needs(text.as_bytes(), &mysql()), ["undefined 42S22"], "{word}");
    }
    assert_eq!(needs(b"select current_role from t1", &mysql()), ["undefined 42S22"]);
    assert_eq!(needs(b"select current_role from t1", &settings()), ["SELECT (*) ON shop.t1"]);
    assert_eq!(needs(b"select a is unknown from t1", &mysql()), ["SELECT (a) ON shop.t1"]);
    assert_ne!(needs(b"select rownum from t1", &settings()), ["SELECT (*) ON shop.t1"]);
}

#[test]
fn mysql_guards_what_its_system_users_made() {
    let drop = ["ADMIN ON DATABASE", "DROP ON shop.v_secret"];
    assert_eq!(needs(b"drop view v_secret", &mysql()), drop);
    let drop = ["ADMIN ON DATABASE", "ALTER ROUTINE ON FUNCTION shop.f()"];
    assert_eq!(needs(b"drop function f", &mysql()), drop);
    let made = ["CREATE VIEW ON shop.fresh", "DROP ON shop.fresh"];
    assert_eq!(needs(b"create or replace view fresh as select 1", &mysql()), made);
}

#[test]
fn mysql_shows_a_view_to_who_may_do_something_with_it() {
    let found = needs(b"describe v_secret", &mysql());
    let [one] = &*found else { panic!("{found:?}") };
    assert!(one.starts_with("SELECT ON shop.v_secret or INSERT, "), "{one}");
    assert!(one.ends_with(" of any column"), "{one}");
    assert_eq!(needs(b"describe v_secret", &settings()), ["ANYTHING ON shop.v_secret"]);
    assert_eq!(needs(b"xa recover", &mysql()), ["ADMIN ON DATABASE"]);
}

#[test]
fn a_row_alias_reads_the_column() {
    let text = b"insert into t1 (a) values (1) as n on duplicate key update b = n.a";
    let wanted = ["INSERT (a) ON shop.t1", "SELECT (a) ON shop.t1", "UPDATE (b) ON shop.t1"];
    assert_eq!(needs(text, &mysql()), wanted);
}
