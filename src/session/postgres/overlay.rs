//! What names mean for this session alone, while it has temporary objects or has changed definitions: asked
//! of its own connection, between two messages of the client's, and forgotten with whatever may change it.
//!
//! ```text
//!   nothing known ── at rest ──▶ path asked ──▶ as everyone sees it
//!        ▲                           │ definitions changed, or pg_temp_N is in the path
//!        │ a statement that may      ▼
//!        │ change it; an end of a    names asked ──▶ a catalog of the session's own
//!        │ transaction with one
//! ```

use std::rc::Rc;

use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::scope::Meaning;
use crate::sql::access::{Access, Object};
use crate::sql::catalog::RunsAs;
use crate::sql::statement::{Effect, NotUnderstood, Statement};
use crate::upstream::{EFFECTIVE_PATH_QUERY, Extent, Reading};
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply::{self, Report};

use super::slots::{Internal, Slot};
use super::{Conversation, Env, Link, REFRESH_PAUSE, Segment};

/// What this session has done to names.
#[derive(Default)]
pub(super) struct Overlay {
    /// A change of the catalog by this session is not committed, or everyone's does not have it yet.
    pub(super) catalog_changed: bool,
    /// Something that ran in this transaction may have changed what names mean, so its end may, too.
    pub(super) touched: bool,
    /// The same, since the last message whose end was seen.
    pub(super) doubt: Doubt,
    /// The transaction shows the catalogs as they were when it began, its own changes aside.
    blind: bool,
}

/// What a statement that was sent may have changed of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Nothing.
    #[default]
    None,
    /// Definitions.
    Definitions,
    /// Any of it.
    Path,
}

impl Overlay {
    /// Whether names cannot be told apart for sure.
    pub(super) fn is_blind(&self, as_owner: bool) -> bool {
        self.doubt == Doubt::Definitions || (self.catalog_changed || as_owner) && self.blind
    }
}

/// Whether it takes back, for all or part of the transaction, what was done in it.
pub(super) fn ends_transaction(statement: &Statement) -> bool {
    matches!(statement.effect, Effect::Commit | Effect::Rollback | Effect::RollbackTo(_))
}

/// The refusal for a statement whose names cannot be told before the segment has ended.
pub(super) fn in_doubt() -> Refusal {
    Refusal::Unsupported {
        what: "an earlier statement of this pipeline may have changed what names mean".into(),
        hint: Some("End the pipeline (Sync) after it, then go on.".into()),
    }
}

impl Refusal {
    /// What it comes to where names are in doubt: one that is not there may have been made a moment ago.
    pub(super) fn or_in_doubt(self) -> Self {
        match self {
            Self::NotUnderstood(NotUnderstood::Undefined { .. }) => in_doubt(),
            other => other,
        }
    }
}

/// Whether a prepared statement or cursor that is run by name runs code of the database's users.
fn runs_code(more: &[Access]) -> bool {
    more.iter().any(|access| match access {
        Access::Admin(_) => true,
        Access::Privilege { object, .. } => matches!(object, Object::Function { .. }),
        Access::Metadata
        | Access::OwnedSequence { .. }
        | Access::OneOf { .. }
        | Access::Anything(_) => false,
    })
}

impl Conversation {
    /// What is in doubt from the moment that a statement is sent.
    pub(super) fn note_changes(&mut self, statement: &Statement, more: &[Access]) {
        let overlay = &mut self.overlay;
        let taken_back = overlay.touched && ends_transaction(statement);
        let doubt = if statement.changes_path || taken_back || runs_code(more) {
            Doubt::Path
        } else if statement.changes_catalog {
            Doubt::Definitions
        } else {
            return;
        };
        overlay.touched = true;
        overlay.doubt = overlay.doubt.max(doubt);
        overlay.catalog_changed |= statement.changes_catalog;
        self.forget_meaning();
    }

    /// What names mean has to be asked again.
    pub(super) fn forget_meaning(&mut self) {
        self.last_meaning = self.meaning.take().or(self.last_meaning.take());
    }

    /// What names mean inside a segment. After a statement of it that may have changed that, only what
    /// names nothing can be told (`doubtful`).
    pub(super) fn meaning_in_segment(
        &mut self,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Option<(Rc<Meaning>, bool)> {
        if self.segment != Segment::Rest
            && self.meaning.is_none()
            && let Some(last) = &self.last_meaning
        {
            if self.overlay.doubt != Doubt::None {
                // Whoever may do everything here may do so whatever names mean.
                let everything = [Access::Admin(Object::Database)];
                let doubtful = self.overlay.doubt == Doubt::Path
                    || self.gate.decide(everything.iter(), env.now).is_err();
                return Some((Rc::clone(last), doubtful));
            }
            // Another catalog has become current meanwhile. The path is the same, and cannot be asked here;
            // nor can what this session alone sees.
            if last.own {
                return Some((Rc::clone(last), false));
            }
            if let (Link::Open, Some(catalog)) = (&self.link, &self.catalog) {
                let database = &self.trail.facts().database;
                let meaning = env.meanings.get(database, catalog, last.path.clone());
                self.meaning = Some(meaning);
            }
        }
        let meaning = self.ready_to_analyse(env, out)?;
        Some((meaning, false))
    }

    /// Asks the server which schemas it searches now.
    pub(super) fn ask_for_path(&mut self, out: &mut Output) {
        out.control(|server| reply::query(server, EFFECTIVE_PATH_QUERY));
        self.slots.push_back(Slot::Internal(Internal::Path { rows: Vec::new() }));
    }

    /// The server has said which schemas it searches; where some of what is in them is this session's own,
    /// that is asked next.
    pub(super) fn on_path(&mut self, path: Box<[Box<str>]>, env: &mut Env<'_>, out: &mut Output) {
        let (Some(catalog), false) = (&self.catalog, path.is_empty()) else {
            self.unreachable =
                Some(Report::error("57014", "the session's search_path could not be read"));
            return;
        };
        self.overlay.blind = false;
        let temporary = |schema: &str| schema.starts_with("pg_temp_");
        let known = |schema: &str| temporary(schema) || catalog.schemas.contains_key(schema);
        let extent = if self.overlay.catalog_changed || self.is_owner() {
            Extent::Everything
        } else if !path.iter().all(|schema| known(schema))
            && self.last_refresh + REFRESH_PAUSE <= env.now
        {
            // Somebody else has just made it. The path is asked again when the catalog has come.
            self.ask_for_catalog(env.now, out);
            return;
        } else if path.iter().any(|schema| temporary(schema)) {
            Extent::Temporary
        } else {
            let meaning = env.meanings.get(&self.trail.facts().database, catalog, path);
            self.know(meaning);
            return;
        };
        let reading = Box::new(Reading::new(extent, catalog));
        let query = reading.query(self.transaction == TransactionStatus::Active);
        out.control(|server| reply::query(server, &query));
        self.slots.push_back(Slot::Internal(Internal::Names { path, reading, failed: false }));
    }

    /// The server has said what this session alone sees, or (`None`) could not.
    pub(super) fn on_names(&mut self, path: Box<[Box<str>]>, reading: Option<Reading>) {
        let (Some(catalog), Some(reading)) = (&self.catalog, reading) else {
            self.unreachable =
                Some(Report::error("57014", "the session's own names could not be read"));
            return;
        };
        let (mut own, complete) = reading.finish(catalog);
        if self.is_owner() {
            own.runs_as = RunsAs::Other;
        }
        self.overlay.blind = !complete;
        self.know(Meaning::own(own, path));
    }

    fn know(&mut self, meaning: Rc<Meaning>) {
        self.last_meaning = Some(Rc::clone(&meaning));
        self.meaning = Some(meaning);
    }
}
