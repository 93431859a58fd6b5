//! Which start-up parameters a client may give, and what they come to.

use super::super::reply::Report;
use super::{Startup, unsupported};

/// Settings that a client may give at start-up, by themselves or in `options`: what drivers send
/// without being asked (libpq, pgjdbc, Npgsql, pgx, asyncpg, node-postgres, postgres.js), and limits
/// that a client puts on itself. None changes what a statement means or who runs it, but `search_path`,
/// which names are resolved under.
pub const ALLOWED: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "DateStyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "TimeZone",
];

/// What a start-up message asks for, once it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// User name; not empty.
    pub user: String,
    /// Database name; the user's when the client gives none, as in PostgreSQL.
    pub database: String,
    /// Settings under the names of [`ALLOWED`], each once, in the order in which they were last given.
    pub settings: Vec<(String, String)>,
    /// Protocol options (`_pq_.…`) that we do not know: all of them.
    pub unknown_options: Vec<String>,
}

impl Wanted {
    /// Value of a setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value));
    }

    /// Checks a start-up message. As in PostgreSQL (`process_startup_options`), `options` comes before
    /// what is given by itself, and the last of several counts.
    ///
    /// # Errors
    /// What to tell the client, which names the parameter and never its value.
    pub fn read(startup: &Startup) -> Result<Self, Report> {
        if startup.version.spoken().is_none() {
            return Err(unsupported(startup.version));
        }
        let user = startup.parameter("user").unwrap_or_default().to_owned();
        if user.is_empty() {
            return Err(Report::fatal("28000", "no user name specified in start-up packet"));
        }
        let database = startup
            .parameter("database")
            .filter(|name| !name.is_empty())
            .unwrap_or(&user)
            .to_owned();
        let mut wanted = Self { user, database, settings: Vec::new(), unknown_options: Vec::new() };
        if !is_no(startup.parameter("replication").unwrap_or("off")) {
            return Err(Report::fatal("0A000", "replication connections are not supported")
                .hint("Connect to the server itself to replicate from it."));
        }
        if let Some(options) = startup.parameter("options") {
            for (name, value) in switches(options)? {
                wanted.accept(&name, value)?;
            }
        }
        for (name, value) in &startup.parameters {
            match name.as_str() {
                "user" | "database" | "options" | "replication" => {}
                option if option.starts_with("_pq_.") => {
                    wanted.unknown_options.push(option.to_owned());
                }
                setting => wanted.accept(setting, value.clone())?,
            }
        }
        Ok(wanted)
    }

    fn accept(&mut self, name: &str, value: String) -> Result<(), Report> {
        let Some(known) = ALLOWED.iter().copied().find(|known| known.eq_ignore_ascii_case(name))
        else {
            return Err(Report::fatal(
                "42501",
                format!("parameter \"{}\" cannot be set at start-up", shown(name)),
            )
            .hint(format!("Parameters that can: {}.", ALLOWED.join(", "))));
        };
        let value = if known == "client_encoding" { encoding(&value)? } else { value };
        self.set(known, value);
        Ok(())
    }
}

/// A name as an error may show it: bounded, and none of its characters moves the cursor.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(63).collect()
}

/// Statements are analysed as UTF-8, so that is what the server must read them as: in others a byte of
/// a character may be a quote or a backslash. `SQL_ASCII` asks for no conversion; psql sends it in a
/// container without a locale, and is given UTF-8.
fn encoding(value: &str) -> Result<String, Report> {
    // Compared as the server does (`clean_encoding_name`); asyncpg and postgres.js send 'utf-8', in quotes.
    let cleaned: String =
        value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match cleaned.as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok("UTF8".to_owned()),
        _ => Err(Report::fatal(
            "22023",
            format!("client_encoding \"{}\" is not supported", shown(value)),
        )
        .hint("Use client_encoding UTF8 (libpq: PGCLIENTENCODING=UTF8).")),
    }
}

/// What PostgreSQL reads as false (`parse_bool`): the words or their beginnings.
fn is_no(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    lower == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2)
}

/// The settings in `options`, as the server would take them (`pg_split_opts`,
/// `process_postgres_switches`): words apart by white space, a backslash before what is meant as it
/// stands, `-c name=value`, `-cname=value` or `--name=value`. Every other switch is refused.
fn switches(options: &str) -> Result<Vec<(String, String)>, Report> {
    let mut settings = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            words.next().ok_or_else(only_settings)?
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(only_settings());
        };
        let (name, value) = setting.split_once('=').ok_or_else(only_settings)?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// Does not say which word: it may hold a secret.
fn only_settings() -> Report {
    Report::fatal("42601", "invalid word in start-up parameter \"options\"")
        .hint("It may hold -c name=value and --name=value only.")
}

fn words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = options.chars().peekable();
    // isspace(3): what Rust calls ASCII white space, and the vertical tab.
    let space = |c: &char| c.is_ascii_whitespace() || *c == '\u{b}';
    loop {
        while characters.next_if(space).is_some() {}
        if characters.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(c) = characters.next_if(|c| !space(c)) {
            if c == '\\' {
                word.extend(characters.next());
            } else {
                word.push(c);
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::postgres::startup::Version;

    fn wanted(version: u32, parameters: &[(&str, &str)]) -> Result<Wanted, Report> {
        let owned = parameters.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        Wanted::read(&Startup { version: Version(version), parameters: owned })
    }

    fn settings(parameters: &[(&str, &str)]) -> Result<Vec<(String, String)>, Report> {
        let all = [&[("user", "alice")], parameters].concat();
        wanted(0x0003_0000, &all).map(|wanted| wanted.settings)
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn the_database_is_the_users_name_when_none_is_given() {
        for (given, database) in [(None, "alice"), (Some(""), "alice"), (Some("shop"), "shop")] {
            let mut all = vec![("user", "alice")];
            all.extend(given.map(|name| ("database", name)));
            assert_eq!(wanted(0x0003_0000, &all).unwrap().database, database);
        }
    }

    #[test]
    fn a_user_must_be_named_and_the_last_of_two_counts() {
        for none in [&[][..], &[("user", "")], &[("USER", "alice")]] {
            assert_eq!(wanted(0x0003_0000, none).unwrap_err().sqlstate, "28000");
        }
        let two = wanted(0x0003_0000, &[("user", "alice"), ("user", "bob")]).unwrap();
        assert_eq!(two.user, "bob");
    }

    #[test]
    fn what_drivers_send_is_taken() {
        let drivers: [&[(&str, &str)]; 8] = [
            // psql 15
            &[("database", "shop"), ("application_name", "psql"), ("client_encoding", "UTF8")],
            // pgjdbc 42
            &[
                ("database", "shop"),
                ("client_encoding", "UTF8"),
                ("DateStyle", "ISO"),
                ("TimeZone", "Etc/UTC"),
                ("extra_float_digits", "2"),
            ],
            // asyncpg, postgres.js
            &[("client_encoding", "'utf-8'"), ("database", "shop")],
            // node-postgres
            &[("database", "shop"), ("client_encoding", "UTF8"), ("statement_timeout", "1000")],
            // lib/pq
            &[("client_encoding", "UTF8"), ("datestyle", "ISO, MDY"), ("extra_float_digits", "2")],
            // pgx with a search_path
            &[("application_name", ""), ("search_path", "app,public"), ("timezone", "UTC")],
            // libpq with PGOPTIONS, not replicating
            &[("options", "-c statement_timeout=5s"), ("replication", "false")],
            // libpq 18 and later
            &[("_pq_.test_protocol_negotiation", ""), ("database", "shop")],
        ];
        for driver in drivers {
            assert!(settings(driver).is_ok(), "{driver:?}");
        }
    }

    #[test]
    fn settings_have_the_servers_names_and_the_last_counts() {
        let given = [("TIMEZONE", "UTC"), ("datestyle", "ISO"), ("TimeZone", "CET")];
        assert_eq!(settings(&given), Ok(pairs(&[("DateStyle", "ISO"), ("TimeZone", "CET")])));
    }

    #[test]
    fn options_come_before_what_stands_by_itself() {
        let given = [("search_path", "a"), ("options", "-c search_path=b -c lock_timeout=1")];
        let read = pairs(&[("lock_timeout", "1"), ("search_path", "a")]);
        assert_eq!(settings(&given), Ok(read));
    }

    #[test]
    fn options_are_read_as_the_server_reads_them() {
        for (options, read) in [
            ("", &[][..]),
            ("  \t\u{b}\n", &[]),
            ("-c TimeZone=UTC", &[("TimeZone", "UTC")]),
            ("-cTimeZone=UTC", &[("TimeZone", "UTC")]),
            ("--TimeZone=UTC", &[("TimeZone", "UTC")]),
            ("--statement-timeout=5", &[("statement_timeout", "5")]),
            ("-c search_path=", &[("search_path", "")]),
            (r"-c DateStyle=ISO,\ MDY", &[("DateStyle", "ISO, MDY")]),
            (r"-c search_path=a\\b", &[("search_path", r"a\b")]),
            (r"-c search_path=a\", &[("search_path", "a")]),
            ("-c search_path=a=b", &[("search_path", "a=b")]),
        ] {
            assert_eq!(settings(&[("options", options)]), Ok(pairs(read)), "{options:?}");
        }
    }

    #[test]
    fn options_hold_nothing_but_settings() {
        for options in
            ["-c", "-c x", "-c -c", "-O", "-B 5", "x=y", "--", "--x", "-Oc x=y", "-W9", "\\"]
        {
            let report = settings(&[("options", options)]).unwrap_err();
            assert_eq!(report.sqlstate, "42601", "{options:?}");
        }
    }

    #[test]
    fn others_are_refused_by_name_and_not_by_value() {
        for name in ["role", "session_authorization", "standard_conforming_strings", "\u{1b}[2Jx"] {
            for given in [(name, "s3cret"), ("options", &format!("-c {name}=s3cret"))] {
                let report = settings(&[given]).unwrap_err();
                assert_eq!(report.sqlstate, "42501", "{name}");
                assert!(report.message.contains(name.trim_start_matches('\u{1b}')), "{report:?}");
                assert!(!format!("{report:?}").contains("s3cret"));
                assert!(report.hint.unwrap().contains("search_path, statement_timeout"));
            }
        }
        let long = settings(&[(&"x".repeat(9_000), "")]).unwrap_err();
        assert!(long.message.len() < 200);
    }

    #[test]
    fn replication_is_refused() {
        for value in ["true", "database", "on", "1", "yes", ""] {
            let report = settings(&[("replication", value)]).unwrap_err();
            assert_eq!(report.sqlstate, "0A000", "{value:?}");
        }
        for value in ["false", "f", "FALSE", "off", "of", "no", "n", "0"] {
            assert_eq!(settings(&[("replication", value)]), Ok(vec![]), "{value:?}");
        }
        assert!(settings(&[("replication", "o")]).is_err());
    }

    #[test]
    fn the_encoding_is_utf8() {
        for value in ["UTF8", "utf-8", "'utf-8'", "unicode", "SQL_ASCII"] {
            let read = pairs(&[("client_encoding", "UTF8")]);
            assert_eq!(settings(&[("client_encoding", value)]), Ok(read), "{value}");
        }
        for value in ["LATIN1", "SJIS", "GBK", ""] {
            let report = settings(&[("client_encoding", value)]).unwrap_err();
            assert_eq!(report.sqlstate, "22023", "{value}");
        }
    }

    #[test]
    fn another_major_version_is_refused_and_an_unknown_option_is_not() {
        for version in [0x0002_0000, 0x0004_0000, 80_877_105] {
            assert_eq!(wanted(version, &[("user", "a")]).unwrap_err().sqlstate, "0A000");
        }
        let asked = wanted(0x0003_0002, &[("user", "a"), ("_pq_.x", "1"), ("_pq_.y", "")]).unwrap();
        assert_eq!(asked.unknown_options, ["_pq_.x", "_pq_.y"]);
    }

    proptest! {
        #[test]
        fn no_options_make_it_panic(options: String) {
            let _ = settings(&[("options", &options)]);
        }
    }
}
