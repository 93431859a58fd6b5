//! MySQL's and MariaDB's SQL: from text to what it needs.
//!
//! No parser for Rust reads a text as these servers do, so the grammar is our own, over our own tokens. It keeps
//! only what names and scopes hang on: a construct that is not known here is refused, so that what is
//! understood is never less than what the server would do. Nothing recurses but the grammar itself, whose
//! depth is counted.

pub mod catalog;
mod ddl;
mod dml;
mod expr;
mod guarded;
mod lexer;
mod needs;
mod parser;
pub mod placed;
mod programs;
mod query;
mod resolve;
mod same;
mod session;
mod set;
mod settings;
mod show;
mod statement;
mod tree;
mod views;
mod words;

use std::collections::HashSet;

pub use super::ParseLimits;
pub use settings::{CharacterSet, Flavour, ParseSettings, ServerVersion, SqlMode};

use self::catalog::Catalog;
use self::parser::{Parsed, Parser};
use self::tree::Query;
use super::name::QualifiedName;
use super::statement::{Analysis, NotUnderstood};

/// Stack that [`analyse`] may need.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Where names are looked up, and how text is read.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What the server has.
    pub catalog: &'a Catalog,
    /// How it reads the session's text now.
    pub settings: &'a ParseSettings,
    /// The session's temporary tables.
    pub temporary: &'a HashSet<QualifiedName>,
}

/// Says what each statement of a message is and needs.
///
/// The calling thread has a stack of at least [`STACK_BYTES`]. Nothing of the outcome depends on anything but the
/// arguments.
///
/// # Errors
///
/// Says why the message was not understood; none of it may reach a server then.
pub fn analyse(
    text: &[u8],
    scope: &Scope<'_>,
    limits: &ParseLimits,
) -> Result<Analysis, NotUnderstood> {
    let tokens = lexer::tokens(text, scope.settings, limits)?;
    statement::message(&tokens, scope)
}

/// Reads a view's query, which the server writes in one way whatever the session's settings.
fn with_view(
    text: &str,
    scope: &Scope<'_>,
    read: impl FnOnce(&Query, &lexer::Tokens<'_>) -> Parsed<()>,
) -> Parsed<()> {
    let settings = ParseSettings {
        sql_mode: SqlMode::default(),
        character_set: CharacterSet::Utf8mb4,
        default_database: None,
        ..scope.settings.clone()
    };
    let tokens = lexer::tokens(text.as_bytes(), &settings, &ParseLimits::default())?;
    let end = tokens.list.len();
    let mut parser = Parser { tokens: &tokens, at: 0, end, settings: &settings, depth: 0 };
    let query = parser.subquery()?;
    parser.finish()?;
    read(&query, &tokens)
}

#[cfg(test)]
mod tests;
