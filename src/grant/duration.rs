//! How long a grant is asked for: `30m`, `30 min`, `1h`, `1h30m`.

use std::time::Duration;

/// Longest life of a grant: 7 days.
pub const DURATION_MAX: Duration = Duration::from_hours(7 * 24);

/// Shortest life of a grant: 1 second.
pub const DURATION_MIN: Duration = Duration::from_secs(1);

/// A text or length that is no duration of a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form.
    #[error("{0:?} is not a duration: write 30m, 1h or 1h30m")]
    Unreadable(Box<str>),
    /// Shorter than [`DURATION_MIN`].
    #[error("a grant lasts at least 1 second")]
    TooShort,
    /// Longer than [`DURATION_MAX`].
    #[error("a grant lasts at most 7 days")]
    TooLong,
}

/// Reads a duration, with or without spaces.
///
/// # Errors
/// When it cannot be read, or is not between [`DURATION_MIN`] and [`DURATION_MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) => check(duration),
        Err(humantime::DurationError::NumberOverflow) => Err(DurationError::TooLong),
        Err(_) => Err(DurationError::Unreadable(text.chars().take(40).collect())),
    }
}

/// Checks that a grant may last so long.
///
/// # Errors
/// When it is not between [`DURATION_MIN`] and [`DURATION_MAX`].
pub fn check(duration: Duration) -> Result<Duration, DurationError> {
    if duration < DURATION_MIN {
        Err(DurationError::TooShort)
    } else if duration > DURATION_MAX {
        Err(DurationError::TooLong)
    } else {
        Ok(duration)
    }
}

/// As the command line takes it, `1h30m`; whole seconds.
pub fn short(duration: Duration) -> String {
    let seconds = Duration::from_secs(duration.as_secs());
    humantime::format_duration(seconds).to_string().replace(' ', "")
}

/// As SQL's intervals have it, in one unit: `30 min`, `2 h`, `90 s`; whole seconds.
pub fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds > 0 && seconds.is_multiple_of(3600) {
        format!("{} h", seconds / 3600)
    } else if seconds > 0 && seconds.is_multiple_of(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_the_usual_spellings() {
        for (text, seconds) in [
            ("30m", 1800),
            ("30 min", 1800),
            ("30 minutes", 1800),
            (" 1h ", 3600),
            ("1h30m", 5400),
            ("1h 30 min", 5400),
            ("90s", 90),
            ("7d", 7 * 86400),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn others_are_refused_in_a_sentence() {
        for (text, sentence) in [
            ("", "\"\" is not a duration: write 30m, 1h or 1h30m"),
            ("30", "\"30\" is not a duration: write 30m, 1h or 1h30m"),
            ("-1h", "\"-1h\" is not a duration: write 30m, 1h or 1h30m"),
            ("soon", "\"soon\" is not a duration: write 30m, 1h or 1h30m"),
            ("0m", "a grant lasts at least 1 second"),
            ("10ms", "a grant lasts at least 1 second"),
            ("7d1s", "a grant lasts at most 7 days"),
            // Months, to humantime.
            ("30M", "a grant lasts at most 7 days"),
            ("99999999999999999999999h", "a grant lasts at most 7 days"),
        ] {
            assert_eq!(parse(text).map_err(|e| e.to_string()), Err(sentence.into()), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for seconds in [1, 59, 60, 90, 1800, 3600, 5400, 86400, 90061, 7 * 86400] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&short(duration)), Ok(duration));
            assert_eq!(parse(&long(duration)), Ok(duration));
        }
        assert_eq!(short(Duration::from_secs(5400)), "1h30m");
        assert_eq!(long(Duration::from_secs(1800)), "30 min");
    }
}
