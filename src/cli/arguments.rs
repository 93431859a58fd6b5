//! Arguments that several verbs share, checked before anything is sent.

use crate::control::words;
use crate::grant::duration;

/// An identifier goes into a path of the API as it is, so it may hold nothing that a path gives a meaning.
pub fn id(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("an ID is a letter, an underscore and 12 characters, as lists show it".to_owned())
    }
}

/// A grant's duration is sent as it was written: the proxy reads it with the same function.
pub fn grant_duration(text: &str) -> Result<String, String> {
    duration::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Any other duration, likewise.
pub fn duration(text: &str) -> Result<String, String> {
    words::parse_duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_walk_elsewhere() {
        assert!(id("g_0123456789ab").is_ok());
        for text in ["", "..", "a/b", "a?all=true", "a b", "é", &"a".repeat(65)] {
            assert!(id(text).is_err(), "{text}");
        }
    }
}
