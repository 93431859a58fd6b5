//! Durations as people write them: `30m`, `30 min`, `1h`, `1h 30m`.

use std::fmt;
use std::time::Duration;

/// Reads a duration.
///
/// # Errors
/// A sentence, when the text is not one or means nothing at all.
pub fn parse(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration < Duration::from_secs(1) => {
            Err(format!("\"{}\" is no duration: the shortest is 1s", text.escape_debug()))
        }
        // Whole seconds, so that what is stored is what is shown.
        Ok(duration) => Ok(Duration::from_secs(duration.as_secs())),
        Err(_) => Err(format!(
            "\"{}\" is no duration: write 30m, 30 min, 1h or 1h 30m",
            text.escape_debug()
        )),
    }
}

/// Shows a duration the way [`parse`] reads it back: `1h 30m`.
pub struct Words(pub Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(Duration::from_secs(self.0.as_secs())).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_documentation_is_read() {
        for (text, seconds) in
            [("30m", 1800), ("30 min", 1800), ("1h", 3600), (" 1h 30m ", 5400), ("90s", 90)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for text in ["", "30", "m", "0s", "1ms", "-1h", "1h;"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("soon\u{1b}").unwrap_err(),
            "\"soon\\u{1b}\" is no duration: write 30m, 30 min, 1h or 1h 30m"
        );
    }

    #[test]
    fn shown_the_way_it_is_read() {
        assert_eq!(Words(Duration::from_secs(5400)).to_string(), "1h 30m");
        assert_eq!(Words(Duration::from_secs(1800)).to_string(), "30m");
    }
}
