//! The machine, as the shell knows it.

use std::sync::Arc;

use bytes::BytesMut;

use crate::grant::snapshot::HeldGrants;
use crate::session::call::{CallError, CallReply};
use crate::session::machine::{CatalogOf, Farewell, KillOutcome, Machine, Renewal, hand_over};
use crate::session::output::Output;
use crate::session::routing::Sight;
use crate::session::scope::MysqlNames;
use crate::session::site::Site;
use crate::time::Timestamp;
use crate::upstream::UpstreamError;
use crate::wire::mysql::packet::Violation;

use super::{Conversation, Env, report};

impl Machine for Conversation {
    type Names = MysqlNames;
    type Opened = (Arc<str>, Box<[u8]>);
    type Violation = Violation;

    hand_over!();

    fn on_upstream_open(
        &mut self,
        site: Site,
        (address, okay): Self::Opened,
        out: &mut Output,
    ) -> Result<(), Violation> {
        if site == Site::Replica {
            self.on_replica_open(address);
            return Ok(());
        }
        self.on_upstream_open(address, &okay, out)
    }

    fn on_rights(&mut self, renewal: Renewal, out: &mut Output) {
        self.on_rights(renewal, out);
    }

    fn on_cancel_done(&mut self, _: &mut Output) {
        self.on_cancel_done();
    }

    fn on_kill_result(&mut self, outcome: KillOutcome, env: &Env<'_>, out: &mut Output) {
        self.on_kill_result(outcome, env, out);
    }
}
