//! What a refused caller is told: what is missing, what is held, and how to ask.

mod bound;

use std::fmt::Write as _;
use std::time::Duration;

use super::cover::contains;
use super::decide::{Denial, Ending};
use super::privilege::{Item, Level, Privilege};
use super::{Grant, Route};
use crate::sql::Engine;
use crate::sql::access::{Access, Operation};
use crate::time::duration;

pub use bound::{BoundGrants, NeedsPrimary};

/// Longest [`Denial::message`], bytes.
pub const MESSAGE_BYTES_MAX: usize = 500;

/// Longest [`Denial::detail`], bytes.
pub const DETAIL_BYTES_MAX: usize = 1000;

/// Longest list of privileges in [`Denial::request_lines`], bytes, before quoting.
pub const REQUEST_BYTES_MAX: usize = 4000;

/// Ready-made ways to ask for what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLines {
    /// For a shell: `daypass request create …`.
    pub shell: String,
    /// For the session that was refused: `CALL daypass.request(…)`.
    pub sql: String,
}

impl Denial {
    /// The smallest privileges that would have allowed the statement, one an object. Empty when any
    /// privilege would have.
    pub fn privileges(&self) -> Vec<Privilege> {
        smallest(&self.missing)
    }

    /// One line: `no live grant allows SELECT (email) ON public.customers`. At most
    /// [`MESSAGE_BYTES_MAX`].
    pub fn message(&self, engine: Engine) -> String {
        self.message_within(engine, MESSAGE_BYTES_MAX)
    }

    /// The same in at most so many bytes.
    pub fn message_within(&self, engine: Engine, bytes_max: usize) -> String {
        if self.unknown {
            return "the proxy could not reach its store for too long, so nothing is allowed"
                .into();
        }
        let privileges = self.privileges();
        if privileges.is_empty() {
            return "there is no live grant on this database".into();
        }
        let texts = privileges.iter().map(|privilege| privilege.display(engine).to_string());
        let mut text = Capped::new("no live grant allows ", bytes_max);
        text.list(texts, "; ");
        text.finish()
    }

    /// What ended, and what the live grants do allow and until when. At most [`DETAIL_BYTES_MAX`].
    pub fn detail(&self, engine: Engine) -> String {
        if self.unknown {
            return "Which grants are live is not known until it can be read again.".into();
        }
        let mut start = String::new();
        if let Some(ended) = &self.ended {
            let id = &ended.grant.id;
            match &ended.how {
                Ending::Expired { at } => {
                    let _ = write!(start, "Grant {id}, which allowed this, expired at {at}. ");
                }
                Ending::Revoked { at, by } => {
                    let _ = write!(
                        start,
                        "Grant {id}, which allowed this, was revoked at {at} by {by}. "
                    );
                }
            }
        }
        if self.held.is_empty() {
            start.push_str("You hold no live grant on this database.");
            return start;
        }
        start.push_str("Your live grants allow: ");
        let mut text = Capped::new(&start, DETAIL_BYTES_MAX);
        text.list(self.held.iter().map(|grant| described(grant, engine)), "; ");
        text.finish()
    }

    /// The lines with which the caller asks for what is missing. Where any privilege would do, they
    /// name those of the grant that ended, or else a relation to fill in. Of a list longer than
    /// [`REQUEST_BYTES_MAX`], they ask for the first privileges only; of one such privilege, without its
    /// columns.
    pub fn request_lines(
        &self,
        database: &str,
        engine: Engine,
        suggested: Duration,
    ) -> RequestLines {
        let mut privileges = self.privileges();
        if privileges.is_empty()
            && let Some(ended) = &self.ended
        {
            privileges.clone_from(&ended.grant.privileges);
        }
        request_lines(privileges, database, engine, suggested)
    }
}

/// The smallest privileges that cover all of this, one an object.
fn smallest(missing: &[Access]) -> Vec<Privilege> {
    let mut privileges: Vec<Privilege> = Vec::new();
    for access in missing {
        let Some(next) = Privilege::for_access(access) else { continue };
        match privileges.iter_mut().find(|privilege| privilege.object == next.object) {
            Some(privilege) => {
                let items = std::mem::take(&mut privilege.items).into_iter().chain(next.items);
                *privilege = Privilege::new(items, next.object);
            }
            None => privileges.push(next),
        }
    }
    // What an ADMIN in the list covers need not be asked for as well.
    let admins: Vec<Privilege> = privileges
        .iter()
        .filter(|privilege| privilege.items.contains(&Item::Level(Level::Admin)))
        .cloned()
        .collect();
    for privilege in &mut privileges {
        if admins.iter().any(|admin| {
            admin.object != privilege.object && contains(&admin.object, &privilege.object)
        }) {
            let bypass = Item::Operation(Operation::BypassRowSecurity, None);
            privilege.items.retain(|item| *item == bypass);
        }
    }
    privileges.retain(|privilege| !privilege.items.is_empty());
    privileges
}

/// The lines with which somebody asks for privileges, or for some relation where there are none.
fn request_lines(
    privileges: Vec<Privilege>,
    database: &str,
    engine: Engine,
    suggested: Duration,
) -> RequestLines {
    let texts = asked_for(privileges, engine);
    let shell = shell_line(database, &texts, suggested);
    let sql = format!(
        "CALL daypass.request({}, '{}', 'why')",
        sql_quoted(&texts.join("; "), engine),
        duration::long(suggested),
    );
    RequestLines { shell, sql }
}

fn asked_for(privileges: Vec<Privilege>, engine: Engine) -> Vec<String> {
    let mut texts = Vec::new();
    let mut length = 0_usize;
    for privilege in privileges {
        let mut text = privilege.display(engine).to_string();
        if text.len() > REQUEST_BYTES_MAX {
            let items = privilege.items.into_iter().map(|item| match item {
                Item::Operation(operation, _) => Item::Operation(operation, None),
                Item::Level(level) => Item::Level(level),
            });
            text = Privilege::new(items, privilege.object).display(engine).to_string();
        }
        length = length.saturating_add(text.len());
        if length > REQUEST_BYTES_MAX && !texts.is_empty() {
            break;
        }
        texts.push(text);
    }
    if texts.is_empty() {
        texts.push("SELECT ON schema.relation".into());
    }
    texts
}

fn described(grant: &Grant, engine: Engine) -> String {
    let mut text = Capped::new("", DETAIL_BYTES_MAX);
    text.list(grant.privileges.iter().map(|privilege| privilege.display(engine).to_string()), "; ");
    let at = match grant.route {
        Route::Any => "",
        Route::ReplicaOnly => ", at replicas only",
    };
    format!("{} (grant {}{at}, until {})", text.finish(), grant.id, grant.expires)
}

/// A text that grows to a length, and then says how much is left out.
struct Capped {
    text: String,
    limit: usize,
}

impl Capped {
    /// Room for ` and 1000 more`.
    const RESERVE: usize = 24;

    fn new(start: &str, limit: usize) -> Self {
        Self { text: start.into(), limit }
    }

    fn list(&mut self, parts: impl ExactSizeIterator<Item = String>, separator: &str) {
        let total = parts.len();
        for (n, part) in parts.enumerate() {
            let before = if n == 0 { "" } else { separator };
            let limit = self.limit.saturating_sub(Self::RESERVE);
            if self.text.len() + before.len() + part.len() <= limit {
                self.text.push_str(before);
                self.text.push_str(&part);
                continue;
            }
            if n == 0 {
                let room = limit.saturating_sub(self.text.len() + '…'.len_utf8());
                self.text.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or_default());
                self.text.push('…');
            }
            let left = total - n.max(1);
            if left > 0 {
                let _ = write!(self.text, " and {left} more");
            }
            return;
        }
    }

    fn finish(self) -> String {
        self.text
    }
}

/// The line with which a shell asks for privileges.
pub fn shell_line(database: &str, privileges: &[String], suggested: Duration) -> String {
    let mut line = format!("daypass request create --database {}", shell_quoted(database));
    for text in privileges {
        let _ = write!(line, " --privilege {}", always_shell_quoted(text));
    }
    let _ = write!(line, " --for {} --reason '…'", duration::short(suggested));
    line
}

/// Bare where a shell takes it as it is.
fn shell_quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !text.starts_with('-');
    if plain { text.into() } else { always_shell_quoted(text) }
}

/// In single quotes, in which a shell reads everything but a quote as it is. A name with control
/// characters, which a terminal would obey, is written with `$'…'`, as bash, zsh and ksh read it.
fn always_shell_quoted(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Three octal digits end of themselves, whatever follows.
                    let _ = write!(quoted, "\\{byte:03o}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A string literal that the engine reads back, whatever its settings on backslashes.
fn sql_quoted(text: &str, engine: Engine) -> String {
    let quotes = text.replace('\'', "''");
    if !text.contains('\\') {
        return format!("'{quotes}'");
    }
    let escaped = quotes.replace('\\', "\\\\");
    match engine {
        Engine::Postgres => format!("E'{escaped}'"),
        Engine::Mysql => format!("'{escaped}'"),
    }
}

#[cfg(test)]
mod tests;
