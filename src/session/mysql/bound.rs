//! Bound values as they are recorded: text where they have one.

use std::borrow::Cow;

use crate::wire::mysql::value::Value;

/// A value's bytes, and whether they are no text; `None` is NULL.
pub(super) fn recorded<'a>(value: &Value<'a>) -> (Option<Cow<'a, [u8]>>, bool) {
    let text = |text: String| (Some(Cow::Owned(text.into_bytes())), false);
    match value {
        Value::Null => (None, false),
        // It came before, and has been forgotten.
        Value::Long => text("(sent in pieces)".into()),
        Value::Int(number) => text(number.to_string()),
        Value::Unsigned(number) => text(number.to_string()),
        Value::Float(number) => text(number.to_string()),
        Value::Double(number) => text(number.to_string()),
        Value::Bytes(bytes) => (Some(Cow::Borrowed(bytes)), std::str::from_utf8(bytes).is_err()),
        Value::Date(bytes) => text(date(bytes)),
        Value::Time(bytes) => text(time(bytes)),
        Value::Default => text("DEFAULT".into()),
        Value::Ignore => text("(left as it is)".into()),
    }
}

fn part(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn micros(bytes: &[u8], at: usize) -> String {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    four.map(|four| format!(".{:06}", u32::from_le_bytes(*four))).unwrap_or_default()
}

/// Year, month, day, and what there is of the time of day.
fn date(bytes: &[u8]) -> String {
    let year = u16::from_le_bytes([part(bytes, 0), part(bytes, 1)]);
    let day = format!("{year:04}-{:02}-{:02}", part(bytes, 2), part(bytes, 3));
    if bytes.len() <= 4 {
        return day;
    }
    let (hour, minute, second) = (part(bytes, 4), part(bytes, 5), part(bytes, 6));
    format!("{day} {hour:02}:{minute:02}:{second:02}{}", micros(bytes, 7))
}

/// Sign, days, and the time of day.
fn time(bytes: &[u8]) -> String {
    let sign = if part(bytes, 0) == 1 { "-" } else { "" };
    let days = bytes.get(1..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
    let hours = u64::from(u32::from_le_bytes(days)) * 24 + u64::from(part(bytes, 5));
    format!("{sign}{hours:02}:{:02}:{:02}{}", part(bytes, 6), part(bytes, 7), micros(bytes, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value<'_>) -> (Option<String>, bool) {
        let (bytes, binary) = recorded(value);
        (bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()), binary)
    }

    #[test]
    fn values_are_recorded_as_they_would_be_written() {
        for (value, text) in [
            (Value::Int(-7), "-7"),
            (Value::Unsigned(u64::MAX), "18446744073709551615"),
            (Value::Double(1.5), "1.5"),
            (Value::Bytes("é".as_bytes()), "é"),
            (Value::Date(b""), "0000-00-00"),
            (Value::Date(b"\xea\x07\x0b\x18"), "2026-11-24"),
            (Value::Date(b"\xea\x07\x0b\x18\x0a\x05\x09"), "2026-11-24 10:05:09"),
            (
                Value::Date(b"\xea\x07\x0b\x18\x0a\x05\x09\x20\xa1\x07\0"),
                "2026-11-24 10:05:09.500000",
            ),
            (Value::Time(b""), "00:00:00"),
            (Value::Time(b"\x01\x02\0\0\0\x03\x04\x05"), "-51:04:05"),
        ] {
            assert_eq!(shown(&value), (Some(text.into()), false));
        }
        assert_eq!(shown(&Value::Null), (None, false));
        assert!(shown(&Value::Bytes(b"\xff")).1);
    }
}
