//! Records on a terminal.

use serde_json::Value;

/// One column: its head, its width, and from which width of the terminal on it is shown.
struct Column {
    head: &'static str,
    width: usize,
    from: usize,
    /// Numbers stand on the right.
    right: bool,
    value: fn(&Value) -> String,
}

/// What is in front of the text. The rest of the line is the text's.
const COLUMNS: [Column; 10] = [
    Column { head: "ID", width: 7, from: 0, right: true, value: |it| field(it, "sequence") },
    Column { head: "TIME", width: 12, from: 0, right: false, value: time },
    Column {
        head: "SESSION",
        width: 14,
        from: 140,
        right: false,
        value: |it| field(it, "session"),
    },
    Column { head: "PRINCIPAL", width: 10, from: 0, right: false, value: principal },
    Column {
        head: "DATABASE",
        width: 8,
        from: 110,
        right: false,
        value: |it| field(it, "database"),
    },
    Column { head: "KIND", width: 13, from: 0, right: false, value: |it| field(it, "kind") },
    Column { head: "OUTCOME", width: 9, from: 0, right: false, value: outcome },
    Column { head: "COMMAND", width: 8, from: 125, right: false, value: |it| field(it, "command") },
    Column { head: "ROWS", width: 6, from: 95, right: true, value: |it| field(it, "rows") },
    Column { head: "MS", width: 8, from: 95, right: true, value: milliseconds },
];

/// What `show` begins with; the rest follows by name.
const FIRST: [&str; 13] = [
    "sequence",
    "time",
    "kind",
    "event",
    "session",
    "statement",
    "principal",
    "actor",
    "database",
    "command",
    "decision",
    "outcome",
    "text",
];

/// The heads of the columns that [`render_line`] shows at that width.
pub fn render_header(width: usize) -> String {
    let mut line = String::new();
    for column in shown(width) {
        cell(&mut line, column.head, column);
    }
    line.push_str("TEXT");
    cut(&line, width)
}

/// One record in one line of at most `width` characters; 0 is without a limit.
pub fn render_line(record: &Value, width: usize) -> String {
    let mut line = String::new();
    for column in shown(width) {
        cell(&mut line, &(column.value)(record), column);
    }
    line.push_str(&text(record));
    cut(line.trim_end(), width)
}

/// One record with a line a field, for `show`.
pub fn render_record(record: &Value) -> String {
    let Value::Object(fields) = record else { return harmless(&record.to_string()) };
    let widest = fields.keys().map(String::len).max().unwrap_or_default();
    let mut out = String::new();
    let mut fields: Vec<_> = fields.iter().collect();
    let place = |name: &str| FIRST.iter().position(|first| *first == name);
    fields.sort_by_key(|(name, _)| place(name).unwrap_or(FIRST.len()));
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // A statement keeps its lines, moved under its first.
        let indent = format!("\n{:widest$}  ", "");
        let value = value.lines().map(harmless).collect::<Vec<_>>().join(&indent);
        out.push_str(&format!("{:widest$}  {value}\n", harmless(name)));
    }
    out
}

fn shown(width: usize) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| width == 0 || column.from <= width)
}

fn cell(line: &mut String, value: &str, column: &Column) {
    let value = cut(&harmless(value), column.width);
    let padding = " ".repeat(column.width - value.chars().count().min(column.width));
    let (before, after) =
        if column.right { (padding.as_str(), "") } else { ("", padding.as_str()) };
    line.push_str(before);
    line.push_str(&value);
    line.push_str(after);
    line.push_str("  ");
}

/// The field as a word; nothing when it is absent.
fn field(record: &Value, key: &str) -> String {
    match record.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Hours to milliseconds; the day is in `show`.
fn time(record: &Value) -> String {
    field(record, "time").get(11..23).unwrap_or_default().to_owned()
}

fn principal(record: &Value) -> String {
    let principal = field(record, "principal");
    if principal.is_empty() { field(record, "actor") } else { principal }
}

fn outcome(record: &Value) -> String {
    let words = ["decision", "outcome", "event"].map(|key| field(record, key));
    words.into_iter().find(|word| !word.is_empty()).unwrap_or_default()
}

fn milliseconds(record: &Value) -> String {
    let duration = record.get("duration-us").and_then(Value::as_u64);
    duration.map_or_else(String::new, |us| format!("{}.{:03}", us / 1_000, us % 1_000))
}

/// What a reader wants to know beyond the columns.
fn text(record: &Value) -> String {
    if record.is_null() {
        return "(this line is not an audit record)".into();
    }
    let list = |key: &str| {
        let items = record.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    let mut part = |label: &str, value: String| {
        if !value.is_empty() {
            parts.push(format!("{label}{value}"));
        }
    };
    part("", field(record, "sqlstate"));
    part("lacks ", list("missing"));
    part("lost ", field(record, "lost"));
    part("", list("privileges"));
    match record.get("text") {
        Some(Value::Object(opaque)) => {
            let length = opaque.get("length").and_then(Value::as_u64).unwrap_or_default();
            part("", format!("({length} bytes that were not understood)"));
        }
        _ => part("", field(record, "text")),
    }
    // A decision's reason is its grant's: the same in every line.
    if record.get("kind").is_none_or(|kind| kind != "decision" && kind != "result") {
        part("", field(record, "reason"));
    }
    if record.get("kind").is_some_and(|kind| kind == "session-start" || kind == "login-refused")
        && let Some(client) = record.get("client")
    {
        part("from ", field(client, "address"));
        part("by ", field(client, "application"));
    }
    harmless(&parts.join(" · "))
}

/// The text with nothing in it that a terminal would act on: no control characters, and none that
/// turn the direction of writing or cannot be seen (Unicode Technical Report 36, 2.6).
fn harmless(text: &str) -> String {
    let shown = text.chars().map(|c| match c {
        '\n' | '\r' | '\t' => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    shown.collect()
}

/// At most `width` characters, the last one `…` when some are missing; 0 is without a limit.
fn cut(text: &str, width: usize) -> String {
    if width == 0 || text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width - 1).collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decision() -> Value {
        json!({
            "version": 1, "sequence": 17, "time": "2026-11-23T14:05:06.123456Z",
            "kind": "decision", "session": "s_abcdefghijkl", "principal": "alice",
            "database": "shop", "text": "select *\nfrom orders", "command": "SELECT",
            "decision": "deny", "missing": ["SELECT ON public.orders"], "reason": "INC-42",
        })
    }

    #[test]
    fn a_line_fits_its_terminal() {
        assert_eq!(
            render_line(&decision(), 80),
            "     17  14:05:06.123  alice       decision       deny       lacks SELECT ON pu…"
        );
        assert_eq!(
            render_header(80),
            "     ID  TIME          PRINCIPAL   KIND           OUTCOME    TEXT"
        );
        for width in 1..200 {
            assert!(render_line(&decision(), width).chars().count() <= width);
            assert!(render_header(width).chars().count() <= width);
        }
        let whole = render_line(&decision(), 0);
        assert!(whole.ends_with("lacks SELECT ON public.orders · select * from orders"), "{whole}");
    }

    #[test]
    fn a_result_shows_rows_and_time() {
        let result = json!({
            "sequence": 18, "kind": "result", "outcome": "ok", "rows": 3, "duration-us": 1_234,
        });
        let line = render_line(&result, 100);
        assert!(line.contains("ok              3     1.234"), "{line}");
    }

    #[test]
    fn nothing_in_a_record_acts_on_the_terminal() {
        let evil = json!({
            "kind": "decision", "principal": "a\u{1b}[2J", "text": "\u{1b}]0;x\u{7}\u{202e}\u{9b}1m",
            "\u{1b}": "\u{1b}\n\u{8}",
        });
        for shown in [render_line(&evil, 0), render_record(&evil)] {
            let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!shown.contains(acts), "{shown:?}");
        }
    }

    #[test]
    fn a_record_is_shown_a_line_a_field() {
        let shown = render_record(&json!({"kind": "decision", "text": "a\nb", "rows": 1}));
        assert_eq!(shown, "kind  decision\ntext  a\n      b\nrows  1\n");
    }
}
