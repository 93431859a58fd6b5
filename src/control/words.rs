//! Durations and moments as people write and read them.

use std::time::Duration;

use crate::time::Timestamp;

/// Reads a duration: `30m`, `30 min`, `1h`, `1h 30m`.
///
/// # Errors
/// A sentence, when the text is not one or means nothing at all.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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

/// A moment to the second, `2026-11-24T09:30:00Z`.
pub fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
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
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for text in ["", "30", "m", "0s", "1ms", "-1h", "1h;"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_duration("soon\u{1b}").unwrap_err(),
            "\"soon\\u{1b}\" is no duration: write 30m, 30 min, 1h or 1h 30m"
        );
    }

    #[test]
    fn moments_are_shown_to_the_second() {
        let time = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(moment(time), "2023-11-14T22:13:20Z");
    }
}
