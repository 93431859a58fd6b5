//! What the shell knows of a session's machine, whichever wire it speaks: events in, [`Output`] out.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;

use crate::grant::snapshot::HeldGrants;
use crate::session::call::{CallError, CallReply};
use crate::session::output::Output;
use crate::session::routing::Sight;
use crate::session::scope::{Meanings, Names};
use crate::session::site::Site;
use crate::sql::ParseLimits;
use crate::time::Timestamp;
use crate::upstream::UpstreamError;
use crate::wire::Limits;

/// What a machine may look at while it handles one event.
pub struct Env<'a, N: Names> {
    /// The time.
    pub now: Timestamp,
    /// Meanings of names that sessions of this thread share.
    pub meanings: &'a mut Meanings<N>,
    /// Whether the audit stream takes records.
    pub audit_accepts: bool,
    /// Limits on what a client sends.
    pub limits: &'a SessionLimits,
}

/// Limits on what one session may hold and send.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionLimits {
    /// Of messages and names.
    pub wire: Limits,
    /// Of statements.
    pub parse: ParseLimits,
}

/// Why the shell ends a session: one function a protocol says it to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The client broke the protocol; how, a sentence.
    ClientViolation(String),
    /// The server broke the protocol.
    ServerViolation,
    /// A decision could not be recorded; a sentence.
    Unrecorded(&'static str),
    /// The token that logged the session in was revoked.
    TokenRevoked,
    /// An operator, or the principal from another session, has ended it.
    Killed {
        /// Who.
        by: Box<str>,
    },
    /// It is no longer served; why, a sentence.
    Ended(&'static str),
}

/// What an open session has to do before the server holds it to the rights that its account has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Go to its default database again, if it has one.
    Use,
    /// Log in anew.
    LogIn,
}

/// What the client of a revoked token is told, in a sentence …
pub(super) const TOKEN_REVOKED: &str = "the token of this session was revoked";
/// … and what to do.
pub(super) const ANOTHER_TOKEN: &str =
    "daypass token issue gives another, where you are allowed one.";

/// What became of the KILL of another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillOutcome {
    /// It was told to end.
    Done,
    /// The principal has no session of that number.
    Unknown,
}

/// The catalog of a machine's engine.
pub type CatalogOf<M> = <<M as Machine>::Names as Names>::Catalog;

/// A session's machine. What each event means is said at the machines' own methods of these names.
pub trait Machine {
    /// How names are looked up.
    type Names: Names;
    /// What a connection that was opened for it has told.
    type Opened;
    /// How a peer breaks the protocol.
    type Violation: fmt::Display;

    /// The client is logged in.
    fn start(&mut self, env: &mut Env<'_, Self::Names>, out: &mut Output);

    /// A connection to a server is open.
    ///
    /// # Errors
    /// When what it has told is malformed.
    fn on_upstream_open(
        &mut self,
        site: Site,
        opened: Self::Opened,
        out: &mut Output,
    ) -> Result<(), Self::Violation>;

    /// It could not be opened.
    fn on_upstream_failed(
        &mut self,
        site: Site,
        error: &UpstreamError,
        now: Timestamp,
        out: &mut Output,
    );

    /// The client has sent something, or something else has happened after which what it sent may be taken.
    ///
    /// # Errors
    /// When it broke the protocol.
    fn on_client(
        &mut self,
        input: &mut BytesMut,
        env: &mut Env<'_, Self::Names>,
        out: &mut Output,
    ) -> Result<(), Self::Violation>;

    /// A server has sent something; returns how many bytes were taken. Ranges in `out` are of `input`.
    ///
    /// # Errors
    /// When it broke the protocol.
    fn on_server(
        &mut self,
        site: Site,
        input: &[u8],
        env: &mut Env<'_, Self::Names>,
        out: &mut Output,
    ) -> Result<usize, Self::Violation>;

    /// The principal's grants have changed.
    fn on_grants(&mut self, held: HeldGrants, now: Timestamp, out: &mut Output);

    /// The servers of the database are seen otherwise now.
    fn on_sight(&mut self, sight: Sight, now: Timestamp, out: &mut Output);

    /// Rights of the session's account have changed so that the server holds it to them only after that.
    fn on_rights(&mut self, renewal: Renewal, out: &mut Output);

    /// A deadline has passed.
    fn on_timer(&mut self, now: Timestamp, out: &mut Output);

    /// When [`Self::on_timer`] is due next.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// Whether something of the client's is under way.
    fn is_busy(&self) -> bool;

    /// The server whose words are due next; none while nothing runs, when either may say something.
    fn hears(&self) -> Option<Site>;

    /// Whether something that the client has sent waits in the machine itself, to be taken again.
    fn takes_again(&self) -> bool;

    /// Somebody who may asks for a cancel of what runs.
    fn on_cancel(&mut self, out: &mut Output);

    /// The cancel that was asked for has been done.
    fn on_cancel_done(&mut self, out: &mut Output);

    /// The session is to end once no transaction is open.
    fn on_drain(&mut self, why: &'static str, out: &mut Output);

    /// Ends the session, with a last word to the client.
    fn close(&mut self, farewell: &Farewell, out: &mut Output);

    /// The connection to a server is gone.
    fn on_server_gone(&mut self, site: Site, now: Timestamp, out: &mut Output);

    /// The session is over.
    fn end(&mut self, now: Timestamp, reason: &str, out: &mut Output);

    /// The catalog that was asked for has come, or (`None`) could not be read.
    fn on_catalog(&mut self, catalog: Option<Arc<CatalogOf<Self>>>);

    /// Another version of the catalog is current.
    fn set_catalog(&mut self, catalog: Arc<CatalogOf<Self>>);

    /// A call on the schema `daypass` has been answered.
    fn on_call_result(
        &mut self,
        answer: Result<CallReply, CallError>,
        env: &mut Env<'_, Self::Names>,
        out: &mut Output,
    );

    /// The KILL of another session has been done, or not.
    fn on_kill_result(
        &mut self,
        outcome: KillOutcome,
        env: &Env<'_, Self::Names>,
        out: &mut Output,
    );
}

/// The events that both machines hand to methods of their own of the same names.
macro_rules! hand_over {
    () => {
        fn start(&mut self, env: &mut Env<'_>, out: &mut Output) {
            self.start(env, out);
        }

        fn on_upstream_failed(
            &mut self,
            site: Site,
            error: &UpstreamError,
            now: Timestamp,
            out: &mut Output,
        ) {
            self.on_upstream_failed(site, report::upstream_report(error), now, out);
        }

        fn on_client(
            &mut self,
            input: &mut BytesMut,
            env: &mut Env<'_>,
            out: &mut Output,
        ) -> Result<(), Self::Violation> {
            self.on_client(input, env, out)
        }

        fn on_server(
            &mut self,
            site: Site,
            input: &[u8],
            env: &mut Env<'_>,
            out: &mut Output,
        ) -> Result<usize, Self::Violation> {
            self.on_server(site, input, env, out)
        }

        fn on_grants(&mut self, held: HeldGrants, now: Timestamp, out: &mut Output) {
            self.on_grants(held, now, out);
        }

        fn on_sight(&mut self, sight: Sight, now: Timestamp, out: &mut Output) {
            self.on_sight(sight, now, out);
        }

        fn on_timer(&mut self, now: Timestamp, out: &mut Output) {
            self.on_timer(now, out);
        }

        fn next_deadline(&self) -> Option<Timestamp> {
            self.next_deadline()
        }

        fn is_busy(&self) -> bool {
            self.is_busy()
        }

        fn hears(&self) -> Option<Site> {
            self.hears()
        }

        fn takes_again(&self) -> bool {
            self.takes_again()
        }

        fn on_cancel(&mut self, out: &mut Output) {
            self.on_cancel(out);
        }

        fn on_drain(&mut self, why: &'static str, out: &mut Output) {
            self.on_drain(why, out);
        }

        fn close(&mut self, farewell: &Farewell, out: &mut Output) {
            self.close(Some(report::farewell(farewell)), out);
        }

        fn on_server_gone(&mut self, site: Site, now: Timestamp, out: &mut Output) {
            self.on_server_gone(site, now, out);
        }

        fn end(&mut self, now: Timestamp, reason: &str, out: &mut Output) {
            self.end(now, reason, out);
        }

        fn on_catalog(&mut self, catalog: Option<Arc<CatalogOf<Self>>>) {
            self.on_catalog(catalog);
        }

        fn set_catalog(&mut self, catalog: Arc<CatalogOf<Self>>) {
            self.set_catalog(catalog);
        }

        fn on_call_result(
            &mut self,
            answer: Result<CallReply, CallError>,
            env: &mut Env<'_>,
            out: &mut Output,
        ) {
            self.on_call_result(answer, env, out);
        }
    };
}
pub(super) use hand_over;
