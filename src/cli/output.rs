//! Where data and prose go.

use std::io::{self, Write};

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
