//! Durations as people write and read them: `30m`, `30 min`, `1h`, `1h30m`, `7 days`.

use std::time::Duration;

/// How long something may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<'a> {
    /// Of what, as a sentence begins: `a grant lasts`.
    pub what: &'a str,
    /// Not shorter.
    pub min: Duration,
    /// Not longer.
    pub max: Duration,
}

/// The shortest that anything lasts: durations are whole seconds, so that what is stored is what is shown.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// A text or length that is no duration within its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form.
    #[error("{0:?} is not a duration: write 30m, 1h or 1h30m")]
    Unreadable(Box<str>),
    /// Too short.
    #[error("{what} at least {}", long(*min))]
    TooShort {
        /// [`Bounds::what`].
        what: Box<str>,
        /// The shortest.
        min: Duration,
    },
    /// Too long.
    #[error("{what} at most {}", long(*max))]
    TooLong {
        /// [`Bounds::what`].
        what: Box<str>,
        /// The longest.
        max: Duration,
    },
}

/// Reads a duration, with or without spaces; whole seconds.
///
/// # Errors
/// When it cannot be read, or is not within its bounds.
pub fn parse(text: &str, bounds: &Bounds<'_>) -> Result<Duration, DurationError> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) => bounds.check(Duration::from_secs(duration.as_secs())),
        Err(humantime::DurationError::NumberOverflow) => Err(bounds.too_long()),
        Err(_) => Err(DurationError::Unreadable(text.chars().take(40).collect())),
    }
}

impl Bounds<'_> {
    /// Checks that something may last so long.
    ///
    /// # Errors
    /// When it is shorter or longer.
    pub fn check(&self, duration: Duration) -> Result<Duration, DurationError> {
        if duration < self.min {
            Err(DurationError::TooShort { what: self.what.into(), min: self.min })
        } else if duration > self.max {
            Err(self.too_long())
        } else {
            Ok(duration)
        }
    }

    fn too_long(&self) -> DurationError {
        DurationError::TooLong { what: self.what.into(), max: self.max }
    }
}

/// As the command line takes it, `1h30m`; whole seconds.
pub fn short(duration: Duration) -> String {
    let seconds = Duration::from_secs(duration.as_secs());
    humantime::format_duration(seconds).to_string().replace(' ', "")
}

/// As SQL's intervals have it, in one unit: `7 days`, `30 min`, `2 h`, `90 s`; whole seconds.
pub fn long(duration: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    let seconds = duration.as_secs();
    if seconds > DAY && seconds.is_multiple_of(DAY) {
        format!("{} days", seconds / DAY)
    } else if seconds > 0 && seconds.is_multiple_of(3600) {
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

    const BOUNDS: Bounds<'_> =
        Bounds { what: "it lasts", min: SHORTEST, max: Duration::from_hours(7 * 24) };

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
            ("1s 900ms", 1),
        ] {
            assert_eq!(parse(text, &BOUNDS), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn others_are_refused_in_a_sentence() {
        for (text, sentence) in [
            ("", "\"\" is not a duration: write 30m, 1h or 1h30m"),
            ("30", "\"30\" is not a duration: write 30m, 1h or 1h30m"),
            ("-1h", "\"-1h\" is not a duration: write 30m, 1h or 1h30m"),
            ("soon\u{1b}", "\"soon\\u{1b}\" is not a duration: write 30m, 1h or 1h30m"),
            ("soon", "\"soon\" is not a duration: write 30m, 1h or 1h30m"),
            ("0m", "it lasts at least 1 s"),
            ("10ms", "it lasts at least 1 s"),
            ("7d1s", "it lasts at most 7 days"),
            // Months, to humantime.
            ("30M", "it lasts at most 7 days"),
            ("99999999999999999999999h", "it lasts at most 7 days"),
        ] {
            assert_eq!(
                parse(text, &BOUNDS).map_err(|e| e.to_string()),
                Err(sentence.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for seconds in [1, 59, 60, 90, 1800, 3600, 5400, 86400, 90061, 7 * 86400] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&short(duration), &BOUNDS), Ok(duration));
            assert_eq!(parse(&long(duration), &BOUNDS), Ok(duration));
        }
        assert_eq!(short(Duration::from_secs(5400)), "1h30m");
        assert_eq!(long(Duration::from_secs(1800)), "30 min");
        assert_eq!(long(Duration::from_hours(24)), "24 h");
        assert_eq!(long(Duration::from_hours(48)), "2 days");
    }
}
