//! Arguments that several verbs share, checked before anything is sent.

use std::time::Duration;

use crate::grant::{LIFE, Route};
use crate::time::duration::{self, Bounds, SHORTEST};

/// A grant that somebody makes or asks for.
#[derive(clap::Args)]
pub struct GrantWish {
    /// On which database of the configuration
    #[arg(long, value_name = "DATABASE")]
    pub database: String,
    /// What it allows, 'SELECT (id), UPDATE (status) ON public.orders'; repeat for more
    #[arg(long, required = true, value_name = "PRIVILEGE")]
    pub privilege: Vec<String>,
    /// For how long, from when it counts: 30m, 1h
    #[arg(long = "for", value_parser = grant_duration, value_name = "DURATION")]
    pub duration: String,
    /// Why
    #[arg(long, value_name = "REASON")]
    pub reason: String,
    /// The ticket's number
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<String>,
    /// Where its statements may run: any, or replica-only, for what only reads
    #[arg(long, default_value_t = Route::Any, value_name = "ROUTE")]
    pub route: Route,
}

/// An identifier goes into a path of the API as it is, so it may hold nothing that a path gives a meaning.
pub fn id(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("an ID is a letter, an underscore and 12 characters, as lists show it".to_owned())
    }
}

/// A name as one part of a path of the API: every byte that a path could give a meaning is escaped.
pub fn path_word(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a database has a name".to_owned());
    }
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    Ok(escaped.collect())
}

/// A grant's duration is sent as it was written: the proxy reads it with the same function.
pub fn grant_duration(text: &str) -> Result<String, String> {
    as_written(text, &LIFE)
}

/// A token's, likewise; how long it may be only the proxy knows.
pub fn token_duration(text: &str) -> Result<String, String> {
    as_written(text, &Bounds { what: "a token lives", min: SHORTEST, max: Duration::MAX })
}

/// How far back.
pub fn past(text: &str) -> Result<Duration, String> {
    let bounds = Bounds { what: "a look back is", min: SHORTEST, max: Duration::MAX };
    duration::parse(text, &bounds).map_err(|error| error.to_string())
}

fn as_written(text: &str, bounds: &Bounds<'_>) -> Result<String, String> {
    duration::parse(text, bounds).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(path_word("shop_1-a"), Ok("shop_1-a".to_owned()));
        assert_eq!(path_word("../a b?é"), Ok("%2E%2E%2Fa%20b%3F%C3%A9".to_owned()));
        assert!(path_word("").is_err());
    }

    #[test]
    fn an_id_cannot_walk_elsewhere() {
        assert!(id("g_0123456789ab").is_ok());
        for text in ["", "..", "a/b", "a?all=true", "a b", "é", &"a".repeat(65)] {
            assert!(id(text).is_err(), "{text}");
        }
    }
}
