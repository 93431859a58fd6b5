//! A read that a replica could not do, and of which the client has seen nothing, is done at the primary: the only thing
//! that is ever sent twice. Once a byte of its reply has passed, what becomes of it is told as it is.

use bytes::BytesMut;

use crate::audit::record::Outcome;
use crate::session::output::{Command as Wish, Output};
use crate::session::routing::Why;
use crate::session::site::Site;
use crate::time::Timestamp;
use crate::wire::mysql::packet::{HEADER_BYTES, Violation, header};
use crate::wire::mysql::report::Report;
use crate::wire::mysql::response::Failure;

use super::{Conversation, Current, Link, Work};

/// What a replica says when it could not do a read where it is: it goes (1053, ER_SERVER_SHUTDOWN; 1927 and 3169, its
/// connection was killed), what it replays holds the rows or has changed their table (1205, 1213, 1412), or it takes it
/// for a write (1290, 1792, 1836).
const NOT_HERE: [u16; 9] = [1053, 1205, 1213, 1290, 1412, 1792, 1836, 1927, 3169];

/// What the beginning of a replica's reply says.
enum Beginning {
    /// Too little has come.
    Open,
    /// The reply may pass.
    Reply,
    /// The replica could not do it: how long that is, and why.
    NotHere(usize, Box<str>),
}

impl Conversation {
    /// Looks at the beginning of a replica's reply before any of it passes. How many bytes of it are ours; `None` while
    /// more has to come.
    pub(super) fn before_it_passes(
        &mut self,
        input: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<Option<usize>, Violation> {
        if !self.keeps || self.is_own() {
            return Ok(Some(0));
        }
        match beginning(input)? {
            Beginning::Open => Ok(None),
            Beginning::Reply => {
                self.keeps = false;
                self.kept.clear();
                Ok(Some(0))
            }
            Beginning::NotHere(bytes, sqlstate) => {
                if let Current::Server { work: Work::Statements(statements), .. } =
                    &mut self.current
                {
                    for run in std::mem::take(&mut statements.runs) {
                        let result = self.trail.result(now, &run, Outcome::Error, Some(&sqlstate));
                        out.audit.push(result);
                    }
                }
                self.take_again(Why::Refused(sqlstate), out);
                Ok(Some(bytes))
            }
        }
    }

    /// What was sent to the replica is to be done at the primary.
    fn take_again(&mut self, why: Why, out: &mut Output) {
        self.current = Current::Rest;
        self.keeps = false;
        self.again.extend_from_slice(&std::mem::take(&mut self.kept));
        self.doomed = None;
        self.gate.end_transaction();
        self.routing.answered();
        self.routing.comes_again(why);
        out.command(Wish::CountRerun);
        self.turn_to(Site::Primary, out);
    }

    /// The replica is gone, or serves no more: what runs there comes again, or ends.
    pub(super) fn lose_replica(&mut self, now: Timestamp, out: &mut Output) {
        self.routing.on_closed(now);
        let runs_there = self.at == Site::Replica && self.is_busy();
        if !runs_there {
            let at = self.at;
            self.forget_replica(out);
            if !matches!(self.current, Current::Rest) {
                self.turn_to(at, out);
            }
            return;
        }
        self.canceling = None;
        if self.is_own() {
            self.current = Current::Rest;
            self.forget_replica(out);
            return;
        }
        self.settle(now, out);
        if self.keeps {
            self.take_again(Why::Lost, out);
            self.forget_replica(out);
            return;
        }
        let Current::Server { reply, between, .. } = &self.current else { return };
        if !*between {
            // Inside a row a last word would be part of it.
            return self.close(None, out);
        }
        let sequence = reply.sequence();
        let told = Report::new(1105, "08S01", "the connection to the replica is lost")
            .detail("The statement only read; its result is incomplete.")
            .hint("Send it again.");
        Self::refuse_with(&told, sequence, out);
        self.current = Current::Rest;
        self.doomed = None;
        self.gate.end_transaction();
        self.routing.answered();
        self.forget_replica(out);
        self.close_if_drained(out);
    }

    /// Takes first what has to be taken again.
    pub(super) fn own_input(&mut self) -> Option<BytesMut> {
        let ready = !self.again.is_empty() && self.link == Link::Open;
        ready.then(|| BytesMut::from(&*std::mem::take(&mut self.again)))
    }
}

fn beginning(input: &[u8]) -> Result<Beginning, Violation> {
    let Some(header) = header(input) else { return Ok(Beginning::Open) };
    match input.get(HEADER_BYTES) {
        None => Ok(Beginning::Open),
        Some(0xff) => {
            let Some(payload) = input.get(HEADER_BYTES..header.total()) else {
                return Ok(Beginning::Open);
            };
            let failure = Failure::read(payload)?;
            Ok(if NOT_HERE.contains(&failure.code) {
                Beginning::NotHere(header.total(), failure.sqlstate.into())
            } else {
                Beginning::Reply
            })
        }
        Some(_) => Ok(Beginning::Reply),
    }
}
