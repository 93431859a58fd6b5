//! The machine, as the shell knows it.

use std::sync::Arc;

use bytes::BytesMut;

use crate::grant::snapshot::HeldGrants;
use crate::session::call::{CallError, CallReply};
use crate::session::machine::{CatalogOf, Farewell, KillOutcome, Machine, Renewal, hand_over};
use crate::session::output::Output;
use crate::session::routing::Sight;
use crate::session::scope::PostgresNames;
use crate::session::site::Site;
use crate::time::Timestamp;
use crate::upstream::UpstreamError;
use crate::wire::postgres::frame::Violation;

use super::{Conversation, Env, report};

impl Machine for Conversation {
    type Names = PostgresNames;
    type Opened = (Arc<str>, Vec<(String, String)>);
    type Violation = Violation;

    hand_over!();

    fn on_upstream_open(
        &mut self,
        site: Site,
        (address, parameters): Self::Opened,
        out: &mut Output,
    ) -> Result<(), Violation> {
        self.on_upstream_open(site, address, parameters, out);
        Ok(())
    }

    /// The server looks at memberships with each statement.
    fn on_rights(&mut self, _: Renewal, _: &mut Output) {}

    fn on_cancel_done(&mut self, out: &mut Output) {
        self.on_cancel_done(out);
    }

    /// No statement of PostgreSQL asks for it.
    fn on_kill_result(&mut self, _: KillOutcome, _: &Env<'_>, _: &mut Output) {}
}
