//! The machine, as the shell knows it.

use std::sync::Arc;

use bytes::BytesMut;

use crate::grant::snapshot::HeldGrants;
use crate::session::call::{CallError, CallReply};
use crate::session::machine::{Farewell, KillOutcome, Machine, Renewal};
use crate::session::output::Output;
use crate::session::scope::PostgresNames;
use crate::sql::catalog::Catalog;
use crate::time::Timestamp;
use crate::upstream::UpstreamError;
use crate::wire::postgres::frame::Violation;

use super::{Conversation, Env, report};

impl Machine for Conversation {
    type Names = PostgresNames;
    type Opened = (Arc<str>, Vec<(String, String)>);
    type Violation = Violation;

    fn start(&mut self, env: &mut Env<'_>, out: &mut Output) {
        self.start(env, out);
    }

    fn on_upstream_open(
        &mut self,
        (address, parameters): Self::Opened,
        out: &mut Output,
    ) -> Result<(), Violation> {
        self.on_upstream_open(address, parameters, out);
        Ok(())
    }

    fn on_upstream_failed(&mut self, error: &UpstreamError, out: &mut Output) {
        self.on_upstream_failed(report::upstream_report(error), out);
    }

    fn on_client(
        &mut self,
        input: &mut BytesMut,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        self.on_client(input, env, out)
    }

    fn on_server(
        &mut self,
        input: &[u8],
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<usize, Violation> {
        self.on_server(input, env, out)
    }

    fn on_grants(&mut self, held: HeldGrants, now: Timestamp, out: &mut Output) {
        self.on_grants(held, now, out);
    }

    /// The server looks at memberships with each statement.
    fn on_rights(&mut self, _: Renewal, _: &mut Output) {}

    fn on_timer(&mut self, now: Timestamp, out: &mut Output) {
        self.on_timer(now, out);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.next_deadline()
    }

    fn is_busy(&self) -> bool {
        self.is_busy()
    }

    fn on_cancel(&mut self, out: &mut Output) {
        self.on_cancel(out);
    }

    fn on_cancel_done(&mut self, out: &mut Output) {
        self.on_cancel_done(out);
    }

    fn on_drain(&mut self, why: &'static str, out: &mut Output) {
        self.on_drain(why, out);
    }

    fn close(&mut self, farewell: &Farewell, out: &mut Output) {
        self.close(Some(report::farewell(farewell)), out);
    }

    fn on_server_gone(&mut self, now: Timestamp, out: &mut Output) {
        self.on_server_gone(now, out);
    }

    fn end(&mut self, now: Timestamp, reason: &str, out: &mut Output) {
        self.end(now, reason, out);
    }

    fn on_catalog(&mut self, catalog: Option<Arc<Catalog>>) {
        self.on_catalog(catalog);
    }

    fn set_catalog(&mut self, catalog: Arc<Catalog>) {
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

    /// No statement of PostgreSQL asks for it.
    fn on_kill_result(&mut self, _: KillOutcome, _: &Env<'_>, _: &mut Output) {}
}
