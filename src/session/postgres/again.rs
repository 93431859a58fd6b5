//! A read that a replica could not do, and of which the client has seen nothing, is done at home: the only thing that
//! is ever sent twice. Once a byte of its reply has passed, what becomes of it is told as it is.

use bytes::BytesMut;

use crate::audit::record::Outcome;
use crate::session::output::{Command, Output};
use crate::session::routing::{KEPT_BYTES_MAX, Why};
use crate::session::site::Site;
use crate::time::Timestamp;
use crate::wire::postgres::frame::{self, HEADER_BYTES, Violation};
use crate::wire::postgres::message::{self, TransactionStatus};
use crate::wire::postgres::reply::{self, Report};

use super::slots::{Internal, Slot};
use super::{Conversation, Link, Segment};

/// What a replica says of itself when it could not do a read: that it is none for writes, that what it replays needs
/// what was read (also a lock), that it goes, or comes (errcodes.txt; hot-standby.sgml, "Handling Query Conflicts").
const NOT_HERE: [&str; 6] = ["25006", "40001", "40P01", "57P01", "57P02", "57P03"];

/// What the beginning of a replica's reply says.
enum Beginning {
    /// Too little has come.
    Open,
    /// The reply may pass.
    Reply,
    /// The replica could not do it.
    NotHere(Box<str>),
}

impl Conversation {
    /// Part of a unit was sent to a replica.
    pub(super) fn keep(&mut self, frame: &[u8]) {
        if !self.keeps {
            return;
        }
        if self.kept.len() + frame.len() > KEPT_BYTES_MAX {
            self.keeps = false;
            self.kept.clear();
            return;
        }
        self.kept.extend_from_slice(frame);
    }

    /// Looks at the beginning of a replica's reply before any of it passes. False while more has to come.
    pub(super) fn may_pass(
        &mut self,
        input: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<bool, Violation> {
        if !self.keeps || self.slots.iter().all(|slot| matches!(slot, Slot::Internal(_))) {
            return Ok(true);
        }
        match beginning(input)? {
            Beginning::Open => Ok(false),
            Beginning::Reply => {
                self.keeps = false;
                self.kept.clear();
                Ok(true)
            }
            Beginning::NotHere(sqlstate) => {
                for slot in std::mem::take(&mut self.slots) {
                    for run in slot.runs() {
                        let result = self.trail.result(now, run, Outcome::Error, Some(&sqlstate));
                        out.audit.push(result);
                    }
                }
                if matches!(self.segment, Segment::Open { .. }) {
                    out.control(reply::sync);
                }
                self.slots.push_back(Slot::Internal(Internal::Abandoned));
                self.take_again(Why::Refused(sqlstate), out);
                Ok(true)
            }
        }
    }

    /// What was sent to the replica is to be done at home.
    fn take_again(&mut self, why: Why, out: &mut Output) {
        self.keeps = false;
        self.again.extend_from_slice(&std::mem::take(&mut self.kept));
        self.segment = Segment::Rest;
        self.placed = false;
        self.flushed = false;
        self.doomed = None;
        self.gate.end_transaction();
        self.names.end_transaction();
        self.transaction = TransactionStatus::Idle;
        self.routing.answered();
        self.routing.comes_again(why);
        out.command(Command::CountRerun);
    }

    /// The replica is gone, or serves no more: what runs there comes again, or ends.
    pub(super) fn lose_replica(&mut self, now: Timestamp, out: &mut Output) {
        self.routing.on_closed(now);
        let idle = self.slots.iter().all(|slot| matches!(slot, Slot::Internal(_)));
        let elsewhere = self.at != Site::Replica;
        if elsewhere || idle && self.transaction == TransactionStatus::Idle {
            if !elsewhere {
                self.slots.clear();
                self.canceling = false;
            }
            self.forget_replica_at(elsewhere, out);
            return;
        }
        if self.keeps {
            self.settle(now, Outcome::Unknown, out);
            self.take_again(Why::Lost, out);
            self.forget_replica_at(false, out);
            return;
        }
        if self.transaction != TransactionStatus::Idle || self.server_rest > 0 || self.copy_in {
            self.lose_session(now, out);
            return;
        }
        // The client has part of a reply: it is told, and the session goes on at home.
        let ended = self.slots.iter().any(|slot| matches!(slot, Slot::Query { .. } | Slot::Sync));
        self.settle(now, Outcome::Unknown, out);
        let report = Report::error("08006", "the connection to the replica is lost")
            .detail("The statement only read; its result is incomplete.")
            .hint("Send it again.");
        out.say(|own| report.write(own));
        self.routing.answered();
        self.forget_replica_at(false, out);
        if ended {
            out.say(|own| reply::ready(own, TransactionStatus::Idle));
            self.segment = Segment::Rest;
            self.placed = false;
            self.gate.end_transaction();
            self.close_if_drained(out);
        } else {
            self.segment = Segment::Open { skipping: true };
        }
    }

    fn forget_replica_at(&mut self, elsewhere: bool, out: &mut Output) {
        let at = self.at;
        self.forget_replica(out);
        if elsewhere {
            self.turn_to(at, out);
        }
    }

    /// A replica that says so is none any more.
    pub(super) fn note_standby(&mut self, site: Site, name: &str, value: &str) {
        self.replica_has_changed |=
            site == Site::Replica && name == "in_hot_standby" && value == "off";
    }

    /// Words of a server for which nothing runs.
    pub(super) fn on_idle(
        &mut self,
        site: Site,
        input: &[u8],
        out: &mut Output,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        while let Some(header) = frame::header(input.get(at..).unwrap_or_default())? {
            let range = at..at + header.total;
            let Some(body) = input.get(at + HEADER_BYTES..range.end) else { break };
            at = range.end;
            if site == self.routing.home() {
                self.on_words_between(header.tag, body, range, out)?;
            } else if header.tag == b'S' {
                let (name, value) = message::parameter_status(body)?;
                self.note_standby(site, name, value);
            } else if header.tag == b'E' {
                self.replica_has_changed = true;
            }
        }
        Ok(at)
    }

    fn on_words_between(
        &mut self,
        tag: u8,
        body: &[u8],
        range: std::ops::Range<usize>,
        out: &mut Output,
    ) -> Result<(), Violation> {
        match tag {
            b'S' => {
                let (name, value) = message::parameter_status(body)?;
                self.note_parameter(name, value);
                if name != "is_superuser" {
                    out.pass(range);
                }
            }
            b'E' => {
                self.server_said_why |= message::ends_session(body);
                out.pass(range);
            }
            b'N' | b'A' => out.pass(range),
            tag => return Err(Violation::Unexpected(char::from(tag))),
        }
        Ok(())
    }

    /// Takes first what has to be taken again.
    pub(super) fn own_input(&mut self) -> Option<BytesMut> {
        let ready = !self.again.is_empty() && matches!(self.link, Link::Open);
        ready.then(|| BytesMut::from(&*std::mem::take(&mut self.again)))
    }
}

fn beginning(input: &[u8]) -> Result<Beginning, Violation> {
    let mut rest = input;
    while let Some(header) = frame::header(rest)? {
        match header.tag {
            // These say nothing of whether it will be done.
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b'N' | b'S' | b'A' => (),
            b'E' => {
                let Some(body) = rest.get(HEADER_BYTES..header.total) else { break };
                let sqlstate = message::sqlstate(body).unwrap_or_default();
                return Ok(if NOT_HERE.contains(&sqlstate) {
                    Beginning::NotHere(sqlstate.into())
                } else {
                    Beginning::Reply
                });
            }
            _ => return Ok(Beginning::Reply),
        }
        match rest.get(header.total..) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    Ok(if input.len() > KEPT_BYTES_MAX { Beginning::Reply } else { Beginning::Open })
}
