//! What holds of every text.

use proptest::prelude::*;

use super::{outcome, read, read_as, settings};
use crate::sql::mysql::{CharacterSet, ParseSettings, SqlMode};

/// Statements, and what they need, whatever is put between their words.
const STATEMENTS: [&str; 8] = [
    "select a , b from t1 where c = 1",
    "select token from secret union select a from allowed",
    "with x as ( select d from secret ) select * from x , t3",
    "update t1 join t2 using ( c ) set a = 1 where e > 2",
    "insert into t1 ( a ) select token from secret",
    "delete from t1 where a in ( select c from t2 )",
    "select ( select token from secret where d = t1 . a ) from t1",
    "replace into t1 ( a ) values ( 1 )",
];

const BLANKS: [&str; 7] =
    [" ", "\n", "\t ", " /* x ' \" ` */ ", " # x '\n", " -- \"\n", " /*!50000 */ "];

proptest! {
    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_its_error(
        text in proptest::collection::vec(any::<u8>(), 0..200),
        modes in any::<(bool, bool, bool)>(),
        set in proptest::sample::select(vec![
            CharacterSet::Utf8mb4, CharacterSet::Latin1, CharacterSet::Ascii, CharacterSet::Binary,
        ]),
    ) {
        let sql_mode = SqlMode {
            ansi_quotes: modes.0, no_backslash_escapes: modes.1, ignore_space: modes.2,
        };
        let _ = read_as(&text, &ParseSettings { sql_mode, character_set: set, ..settings() });
    }

    #[test]
    fn words_of_the_grammar_in_any_order_do_no_harm(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "select", "from", "secret", "t1", "(", ")", ",", "where", "a", "=", "1", "union", "join", "on",
            "using", "update", "set", "delete", "insert", "into", "values", "with", "as", "exists", "case",
            "when", "end", "*", ".", "'x'", "`", "@x", "order by", "over", "interval", "day", "create", "table",
            "view", "explain", "show", "columns", ";", "/*!", "*/", "lock", "tables", "read", "prepare",
        ]), 0..25)
    ) {
        let _ = read(&words.join(" "));
        let _ = read(&words.concat());
    }

    #[test]
    fn blanks_change_nothing(
        statement in proptest::sample::select(STATEMENTS.to_vec()),
        blanks in proptest::collection::vec(proptest::sample::select(BLANKS.to_vec()), 40),
    ) {
        let mut text = String::new();
        for (word, blank) in statement.split(' ').zip(&blanks) {
            text.push_str(word);
            text.push_str(blank);
        }
        prop_assert_eq!(outcome(&read(&text)), outcome(&read(statement)), "{}", text);
    }

    #[test]
    fn what_stands_around_a_query_takes_nothing_away(
        statement in proptest::sample::select(vec![
            "select a, b from t1 where c = 1",
            "select token from secret union select a from allowed",
            "select d from v_invoker",
        ]),
        around in proptest::sample::select(vec![
            "select * from ({}) q", "select exists ({})", "with q as ({}) select 1", "explain {}",
            "create table n as {}", "insert into one {}", "select 1 union ({})", "do ({})", "prepare x from '{}'",
            "set @x = ({})", "select case when 1 in ({}) then 1 end", "delete from one where a in ({})",
        ]),
    ) {
        let inner = outcome(&read(statement));
        let whole = outcome(&read(&around.replace("{}", statement)));
        for need in inner {
            prop_assert!(whole.contains(&need), "{} {}: {:?}", around, need, whole);
        }
    }
}
