use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::sql::placement::Placement;
use crate::sql::statement::{Class, Effect};

fn statement(
    span: Range<usize>,
    credentials: Vec<Range<usize>>,
    literals: Vec<Range<usize>>,
) -> Statement {
    Statement {
        span,
        command: "SELECT",
        class: Class::Read,
        accesses: Vec::new().into(),
        deferred: Box::default(),
        placement: Placement::Anywhere,
        effect: Effect::None,
        credentials,
        literals,
        changes_catalog: false,
        changes_path: false,
    }
}

fn sql(text: Text) -> String {
    match text {
        Text::Sql(sql) => sql.into(),
        Text::Opaque { .. } => panic!("opaque"),
    }
}

fn redacted() -> TextSettings {
    TextSettings { literals: Literals::Redacted, ..TextSettings::default() }
}

#[test]
fn a_credential_is_replaced_whatever_the_setting() {
    let message = "select 1; alter role r password 'hunter2' valid until 'tomorrow'";
    let secret = message.find("'hunter2'").unwrap();
    let until = message.find("'tomorrow'").unwrap();
    let span = 10..message.len();
    let secret = secret..secret + 9;
    let literals = vec![secret.clone(), until..until + 10];
    let statement = statement(span, Vec::from([secret]), literals);
    assert_eq!(
        sql(text(message, &statement, &TextSettings::default())),
        "alter role r password '***' valid until 'tomorrow'"
    );
    assert_eq!(
        sql(text(message, &statement, &redacted())),
        "alter role r password '***' valid until ?"
    );
}

#[test]
fn a_long_text_is_cut_between_characters_and_says_so() {
    let message = "select 'ééééé'";
    for bytes_max in 0..20 {
        let settings = TextSettings { bytes_max, ..TextSettings::default() };
        let cut = sql(text(message, &statement(0..100, vec![], vec![]), &settings));
        assert!(cut.len() <= bytes_max, "{bytes_max}: {cut}");
        assert_eq!(cut.ends_with('…'), (3..message.len()).contains(&bytes_max), "{bytes_max}");
    }
}

#[test]
fn unread_text_is_a_hash_and_a_length() {
    assert_eq!(
        opaque(b"abc"),
        Text::Opaque {
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
            length: 3
        }
    );
}

#[test]
fn parameters_are_shown_hashed_or_left_out() {
    let full = ParameterSettings::Full { bytes_max: 8 };
    assert_eq!(parameter(None, false, &full), Parameter::Null);
    assert_eq!(parameter(Some(b"12345678"), false, &full), Parameter::Value("12345678".into()));
    assert_eq!(parameter(Some(b"123456789"), false, &full), Parameter::Value("12345…".into()));
    let binary = |value: &str, length| Parameter::Described {
        form: "binary",
        length,
        value: Some(value.into()),
    };
    assert_eq!(parameter(Some(&[0, 0, 0, 42]), true, &full), binary("0000002a", 4));
    assert_eq!(parameter(Some(&[0xff; 9]), false, &full), binary("ffffffff", 9));
    assert_eq!(
        parameter(Some(b"x"), false, &ParameterSettings::Omitted),
        Parameter::Described { form: "omitted", length: 1, value: None }
    );
}

#[test]
fn a_hash_is_hmac_sha256_and_depends_on_its_key() {
    // RFC 4231, test case 2.
    let key = HashKey::new(&Secret::new("Jefe")).unwrap();
    let hashed = parameter(
        Some(b"what do ya want for nothing?"),
        false,
        &ParameterSettings::Hashed(key.clone()),
    );
    assert_eq!(
        hashed,
        Parameter::Described {
            form: "hashed",
            length: 28,
            value: Some("5bdcc146bf60754e6a042426089575c7".into())
        }
    );
    assert_eq!(format!("{key:?}"), "HashKey(…)");
}

#[test]
fn many_parameters_stay_within_a_limit_together() {
    let values = [(Some(b"1234".as_slice()), false); 5];
    let all = parameters(values, &ParameterSettings::Full { bytes_max: 8 }, 8);
    let cut = Parameter::Described { form: "cut", length: 4, value: None };
    assert_eq!(all[1], Parameter::Value("1234".into()));
    assert_eq!(all[2..], [cut.clone(), cut.clone(), cut]);
}

fn ranges() -> impl Strategy<Value = Vec<Range<usize>>> {
    prop::collection::vec((0_usize..80, 0_usize..80).prop_map(|(from, to)| from..to), 0..5)
}

/// Of one to four bytes.
const SECRET: [char; 4] = ['X', 'Ω', '鍵', '🔑'];

proptest! {
    /// Credentials are written in characters that nothing else has, so that one left over shows.
    #[test]
    fn no_byte_of_a_credential_is_ever_shown(
        message in "[a-zé€😀' ]{0,40}",
        span in (0_usize..80, 0_usize..80).prop_map(|(from, to)| from..to),
        credentials in ranges(),
        literals in ranges(),
        redact in any::<bool>(),
        bytes_max in 0_usize..60,
    ) {
        let message: String = message
            .char_indices()
            .map(|(at, c)| {
                let range = at..at + c.len_utf8();
                let secret = credentials.iter().any(|credential| {
                    let (from, to) =
                        (credential.start.min(credential.end), credential.start.max(credential.end));
                    range.start < to && from < range.end
                });
                if secret { SECRET[c.len_utf8() - 1] } else { c }
            })
            .collect();
        let literals_setting = if redact { Literals::Redacted } else { Literals::Full };
        let settings = TextSettings { literals: literals_setting, bytes_max };
        let shown = sql(text(&message, &statement(span, credentials, literals), &settings));
        prop_assert!(!shown.contains(SECRET), "{shown}");
        prop_assert!(shown.len() <= bytes_max);
    }

    #[test]
    fn no_parameter_makes_it_panic_or_outgrow_its_limit(
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        binary in any::<bool>(),
        bytes_max in 0_usize..40,
    ) {
        let settings = ParameterSettings::Full { bytes_max };
        match parameter(value.as_deref(), binary, &settings) {
            Parameter::Null => prop_assert!(value.is_none()),
            Parameter::Value(text) => prop_assert!(text.len() <= bytes_max),
            Parameter::Described { value: shown, length, .. } => {
                prop_assert!(shown.unwrap_or_default().len() <= bytes_max);
                prop_assert_eq!(Some(length), value.map(|value| value.len()));
            }
        }
    }
}
