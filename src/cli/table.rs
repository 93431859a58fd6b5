//! Plain aligned tables.

use std::fmt::Write;

/// Lays out rows below headings, columns two spaces apart, widths counted in characters.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let mut widths: Vec<usize> = headings.iter().map(|cell| cell.chars().count()).collect();
    let shown: Vec<Vec<String>> = std::iter::once(headings)
        .chain(rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()))
        .collect();
    for row in &shown {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &shown {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing into a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lays out one thing, a line a field; an empty value leaves its line out.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "{name:width$}  {}", printable(value));
    }
    text
}

/// Reasons and application names come from others: none may steer the reader's terminal.
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        // Bidirectional overrides show text in another order than it has.
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let rows = vec![
            vec!["é".to_owned(), "x".to_owned(), String::new()],
            vec!["ab".to_owned(), String::new(), "z".to_owned()],
        ];
        assert_eq!(table(&["ID", "LONGER", "C"], &rows), "ID  LONGER  C\né   x\nab          z\n");
    }

    #[test]
    fn one_thing_has_a_line_a_field() {
        let shown = fields(&[("id", "g_1".into()), ("ticket", String::new()), ("x", "y".into())]);
        assert_eq!(shown, "id      g_1\nx       y\n");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(printable("müller 日本"), "müller 日本");
    }
}
