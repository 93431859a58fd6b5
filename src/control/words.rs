//! Moments as people read them.

use crate::time::Timestamp;

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
    fn moments_are_shown_to_the_second() {
        let time = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(moment(time), "2023-11-14T22:13:20Z");
    }
}
