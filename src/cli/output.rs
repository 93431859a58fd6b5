//! Where data and prose go.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::table;

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns
    Table,
    /// JSON as the API has it
    Json,
}

/// Something that lists and `show` present.
pub trait Present: Serialize {
    /// Headings of a list.
    const HEADINGS: &'static [&'static str];

    /// Its line in a list, a cell a heading.
    fn cells(&self) -> Vec<String>;

    /// All of it, by name.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

/// Standard output in the format that was asked for.
pub struct Output {
    format: Format,
}

impl Output {
    /// Standard output in a format.
    pub const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Writes many things.
    pub fn list<T: Present>(&self, items: &[T]) -> io::Result<()> {
        match self.format {
            Format::Json => json(&items),
            Format::Table => {
                let rows: Vec<_> = items.iter().map(Present::cells).collect();
                write(&table::table(T::HEADINGS, &rows))
            }
        }
    }

    /// Writes one thing, all of it.
    pub fn one<T: Present>(&self, item: &T) -> io::Result<()> {
        match self.format {
            Format::Json => json(item),
            Format::Table => write(&table::fields(&item.fields())),
        }
    }

    /// Writes what a script wants of a thing that was just made, alone on its line: its name.
    pub fn made<T: Serialize>(&self, item: &T, name: &str) -> io::Result<()> {
        match self.format {
            Format::Json => json(item),
            Format::Table => write(&format!("{name}\n")),
        }
    }

    /// Writes what was done to a thing: nothing but prose, unless JSON was asked for.
    pub fn done<T: Serialize>(&self, item: &T) -> io::Result<()> {
        match self.format {
            Format::Json => json(item),
            Format::Table => Ok(()),
        }
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    write(&format!("{text}\n"))
}

/// Writes data to standard output.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says prose on standard error, line by line. Nobody is left to tell when that fails.
pub fn say(prose: &str) {
    let mut err = io::stderr().lock();
    for line in prose.lines() {
        drop(writeln!(err, "{}", table::printable(line)));
    }
}

/// How many characters a line of standard output may have: `COLUMNS`, else the terminal's width. 0 is
/// without a limit: a file or another program takes whole lines.
pub fn width() -> usize {
    let out = io::stdout();
    let terminal = out.is_terminal().then(|| {
        terminal_size::terminal_size_of(&out).map_or(USUAL_WIDTH, |(width, _)| width.0.into())
    });
    width_of(std::env::var("COLUMNS").ok().as_deref(), terminal)
}

/// A terminal that does not know its width.
const USUAL_WIDTH: usize = 80;

fn width_of(columns: Option<&str>, terminal: Option<usize>) -> usize {
    let columns = columns.and_then(|columns| columns.trim().parse().ok());
    columns.filter(|columns| *columns > 0).or(terminal).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_overrule_the_terminal_and_a_pipe_has_no_width() {
        for (columns, terminal, width) in [
            (None, None, 0),
            (None, Some(120), 120),
            (Some("90"), Some(120), 90),
            (Some(" 90 "), None, 90),
            (Some("0"), Some(120), 120),
            (Some(""), Some(120), 120),
            (Some("wide"), None, 0),
        ] {
            assert_eq!(width_of(columns, terminal), width, "{columns:?} {terminal:?}");
        }
    }
}
