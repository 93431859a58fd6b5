//! PostgreSQL grammar and catalog to accesses.
//!
//! [`analyse`] reads a message with the server's own grammar and walks the tree; every node kind of the
//! grammar is named in each walk (`nodes.rs`), and what has no rule is refused. The files, in reading order:
//! `lexer` and `prescan` (before the grammar), `statement` (kinds), `session`, `ddl`, `dml`, `query`,
//! `from`, `expr`, `columns`, `functions`, `special`, `overload`, `rivals`, `parameters`, `infer`, `types`, `invoked` (the walk),
//! `needs` (what it gathers), `deferred` (what waits for parameters), `guarded`, `routines`, `placed`, `settings` and
//! the lists of functions (policy).

mod columns;
mod ddl;
mod deferred;
mod definitions;
mod dml;
mod expr;
mod from;
mod functions;
mod guarded;
mod infer;
mod invoked;
mod lexer;
mod names;
mod needs;
mod nodes;
mod objects;
mod overload;
mod parameters;
mod placed;
mod prescan;
mod query;
mod rivals;
mod routines;
mod session;
mod settings;
mod special;
mod statement;
mod types;
mod walk;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use super::ParseLimits;
pub use deferred::{Bound, resolve};
pub use placed::{is_same_at_replica, tells_of_one_server};
pub use prescan::credentials_hint;

use self::lexer::Lexer;
use super::catalog::{Catalog, TypeId};
use super::statement::{Analysis, NotUnderstood};

/// Stack of a thread that analyses, bytes: depth is bounded so that half of it would do. Only what is
/// touched is ever backed by memory.
pub const STACK_BYTES: usize = 16 << 20;

/// What names mean at this moment.
pub struct Scope<'a> {
    /// The server's names.
    pub catalog: &'a Catalog,
    /// The effective search path in order, `pg_catalog` included where the server searches it
    /// (what `current_schemas(true)` says).
    pub path: &'a [Box<str>],
    /// The types that Parse declared of the statement's parameters; 0, or none at all, where that is left to
    /// the server.
    pub parameters: &'a [TypeId],
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
    text: &str,
    scope: &Scope<'_>,
    limits: &ParseLimits,
) -> Result<Analysis, NotUnderstood> {
    let measured = prescan::measure(text, limits)?;
    // The parser's accessors panic where a tree is not as its authors expected (a cast list with another
    // kind of node, a string that is not UTF-8). No such text is known; if one comes, its sender alone
    // gets a refusal, and no other session notices.
    catch_unwind(AssertUnwindSafe(|| {
        let tree = pg_raw_parse::parse(text).map_err(|error| refused(text, &error))?;
        statement::message(text, &tree, scope, &measured).map_err(|why| walk::placed(text, why))
    }))
    .unwrap_or_else(|_| walk::unsupported("The statement could not be read."))
}

/// The parser's refusal, in the server's words.
fn refused(text: &str, error: &pg_raw_parse::Error) -> NotUnderstood {
    use pg_raw_parse::Error;
    let Error::Parse(error) = error else {
        return NotUnderstood::Syntax {
            message: "invalid byte sequence for encoding \"UTF8\": 0x00".into(),
            position: None,
        };
    };
    let message = error.to_string();
    if message.starts_with("memory exhausted") || message.starts_with("stack depth limit") {
        return NotUnderstood::TooComplex {
            what: "The statement nests too deep to be read.".into(),
        };
    }
    let position = position(text, &message);
    NotUnderstood::Syntax { message, position }
}

/// Where an error is that the parser names by its token only: at the first token of that text whose
/// prefix of the message fails alike. Searched only among a few candidates, since each is a parse.
fn position(text: &str, message: &str) -> Option<u32> {
    const CANDIDATES: usize = 8;
    let characters = |at: usize| {
        let before = text.get(..at)?.chars().count();
        u32::try_from(before).ok()?.checked_add(1)
    };
    if message.ends_with("at end of input") {
        return characters(text.len());
    }
    let (_, wanted) = message.split_once(" at or near \"")?;
    let wanted = wanted.strip_suffix('"')?;
    if !message.starts_with("syntax error") || text.len() > 100_000 {
        return None;
    }
    let matching = Lexer::new(text).filter(|token| token.text(text) == wanted);
    for token in matching.take(CANDIDATES) {
        let prefix = text.get(..token.end)?;
        if let Err(pg_raw_parse::Error::Parse(error)) = pg_raw_parse::parse(prefix)
            && error.to_string() == message
        {
            return characters(token.start);
        }
    }
    None
}
