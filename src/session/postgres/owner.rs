//! Owners' work, done as the database's `ddl-owner`: what it makes belongs to that role, and the session's
//! own role need own nothing.
//!
//! ```text
//!   Login ── a statement needs an owner ──▶ SET ROLE ──▶ Owner ── no transaction is open ──▶ RESET ROLE ──▶ Login
//! ```
//!
//! A transaction that has become the owner goes on as it to its end, since nobody else could use what it has
//! made. Both statements are queries of ours between two messages of the client's. Names are asked anew behind
//! each: another role may see other schemas.

use std::sync::Arc;

use crate::session::gate::{Ownership, is_for_owners};
use crate::session::output::Output;
use crate::session::refusal::Refusal;
use crate::session::trail::{Facts, SecondLock};
use crate::sql::access::Access;
use crate::upstream::roles::action::name;
use crate::wire::postgres::message::TransactionStatus;
use crate::wire::postgres::reply::{self, Report};

use super::slots::{Internal, Slot};
use super::{Conversation, Link, Segment};

/// What has become of the owner's role; whether statements run as it now is the trail's to know.
#[derive(Default)]
pub(super) struct Owner {
    /// The owner's role was taken and the transaction's end may bring it back, or keep it.
    taken: bool,
    /// A message of the client's waits for the role.
    awaited: bool,
    /// A transaction block is open at this point of the segment.
    in_block: bool,
    /// Why the role could not be taken: for the message that waits.
    failed: Option<String>,
}

/// How a statement goes on.
pub(super) enum Step {
    /// As whoever the session is now.
    Go,
    /// Later: its message is to be held.
    Wait,
    /// Not at all.
    Refuse(Refusal),
}

const SAVEPOINT: &str = "SAVEPOINT daypass_role; ";
const RELEASE: &str = "; RELEASE SAVEPOINT daypass_role";
const UNDO: &str = "ROLLBACK TO SAVEPOINT daypass_role; RELEASE SAVEPOINT daypass_role";

/// As whom owners' work is done in a session of these facts.
pub(super) fn ownership(facts: &Facts) -> Ownership {
    match (&facts.ddl_owner, facts.second_lock) {
        (Some(_), _) => Ownership::DdlOwner,
        (None, SecondLock::None) => Ownership::Session,
        (None, SecondLock::Role) => Ownership::Nobody,
    }
}

impl Conversation {
    /// Has the session be who a statement needs it to be. Its message comes again after [`Step::Wait`].
    pub(super) fn as_owner<'a>(
        &mut self,
        mut accesses: impl Iterator<Item = &'a Access>,
        out: &mut Output,
    ) -> Step {
        let Some(owner) = &self.trail.facts().ddl_owner else { return Step::Go };
        // A failed transaction takes nothing but its end, whoever asks.
        let asks = matches!(self.link, Link::Open) && self.transaction != TransactionStatus::Failed;
        let goes_on = self.owner.taken && self.transaction == TransactionStatus::Active;
        let mut needed = || accesses.any(|access| goes_on || is_for_owners(access));
        if !asks || self.is_owner() || !needed() {
            return Step::Go;
        }
        if let Some(why) = self.owner.failed.take() {
            return Step::Refuse(Refusal::Owner { owner: Arc::clone(owner), why });
        }
        match self.segment {
            Segment::Rest => self.become_owner(&Arc::clone(owner), out),
            // Until all before it has been answered nobody knows whether that was BEGIN.
            Segment::Open { skipping: false } if !self.slots.is_empty() => self.flush_once(out),
            Segment::Open { skipping: false } if self.owner.in_block => self.cut(out),
            Segment::Open { .. } | Segment::Closed => {
                return Step::Refuse(Refusal::Unsupported {
                    what: format!(
                        "the statement needs the ddl-owner {owner}, and a pipeline changes its role \
                         only at its beginning or inside BEGIN"
                    ),
                    hint: Some("End the pipeline (Sync) before it, then go on.".into()),
                });
            }
        }
        Step::Wait
    }

    fn become_owner(&mut self, owner: &str, out: &mut Output) {
        let set = format!("SET ROLE {}", name(owner));
        let inside = self.transaction == TransactionStatus::Active;
        let query = if inside { format!("{SAVEPOINT}{set}{RELEASE}") } else { set };
        out.control(|server| reply::query(server, &query));
        self.slots.push_back(Slot::Internal(Internal::Become { failed: None }));
        self.owner.awaited = true;
    }

    /// Ends the segment at the server and not for the client. The transaction that it has begun stays open.
    fn cut(&mut self, out: &mut Output) {
        out.control(reply::sync);
        self.slots.push_back(Slot::Internal(Internal::Cut));
        self.segment = Segment::Closed;
    }

    /// The server has taken the role, or said why not.
    pub(super) fn on_become(&mut self, failed: Option<String>, out: &mut Output) {
        if let Some(why) = failed {
            self.owner.failed = Some(why);
            if self.transaction == TransactionStatus::Failed {
                out.control(|server| reply::query(server, UNDO));
                self.slots.push_back(Slot::Internal(Internal::Undo));
            }
            return;
        }
        self.owner.taken = true;
        self.overlay.touched = true;
        self.trail.set_owner(true);
        self.forget_meaning();
    }

    /// The server has let go of the role. Nothing runs in a session that could not.
    pub(super) fn on_resign(&mut self, failed: bool, out: &mut Output) {
        if failed {
            self.close(Some(Report::fatal("57P01", "the session's role could not be reset")), out);
            return;
        }
        self.owner.taken = self.transaction != TransactionStatus::Idle;
        self.trail.set_owner(false);
        self.forget_meaning();
    }

    /// Whether statements run as the owner. Row security does not hold for it, and functions run with its
    /// rights, so that what a statement needs then is told by names as it sees them.
    pub(super) fn is_owner(&self) -> bool {
        self.trail.runs_as_owner()
    }

    /// A transaction block has been begun, or ended, in the segment at hand.
    pub(super) fn note_block(&mut self, open: bool) {
        self.owner.in_block = open;
    }

    /// Between segments. `in_doubt`: a part of the transaction was taken back, and perhaps the role with it.
    pub(super) fn owner_at_boundary(&mut self, in_doubt: bool, out: &mut Output) {
        self.owner.in_block = self.transaction == TransactionStatus::Active;
        self.owner.awaited = false;
        if in_doubt && self.owner.taken && self.transaction == TransactionStatus::Active {
            self.resign(out);
        }
        self.resign_when_done(out);
    }

    /// A message of the client's has been taken: none waits for the role any more.
    pub(super) fn owner_after_message(&mut self, out: &mut Output) {
        if std::mem::take(&mut self.owner.awaited) {
            self.resign_when_done(out);
        }
    }

    /// The session is itself again between transactions, before anything else is sent.
    pub(super) fn resign_when_done(&mut self, out: &mut Output) {
        let done = self.owner.taken
            && !self.owner.awaited
            && self.transaction == TransactionStatus::Idle
            && self.segment == Segment::Rest
            && self.slots.is_empty()
            && !self.canceling;
        if done {
            self.resign(out);
        }
    }

    fn resign(&mut self, out: &mut Output) {
        out.control(|server| reply::query(server, "RESET ROLE"));
        self.slots.push_back(Slot::Internal(Internal::Resign { failed: false }));
    }
}
