//! The conversation in a simulator: a scripted client, a server that follows the protocol's rules, a
//! virtual clock, a seeded scheduler. Every bug is one seed.

mod client;
mod halves;
mod names;
mod owner;
mod replicas;
mod scenarios;
mod server;
mod simulator;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::audit::record::{AuditRecord, Client, Kind, Verdict};
use crate::audit::redact;
use crate::grant::fixture::grant;
use crate::grant::snapshot::HeldGrants;
use crate::grant::{Grant, Revocation};
use crate::session::call::{BoundCall, CallError, CallReply, Procedure};
use crate::session::output::{Command, Output, Piece};
use crate::session::routing::Routing;
use crate::session::scope::Meanings;
use crate::session::site::Site;
use crate::session::trail::{Facts, SecondLock, Trail};
use crate::sql::Engine;
use crate::sql::catalog::Catalog;
use crate::time::Timestamp;
use crate::wire::postgres::frame::{self, HEADER_BYTES};

use super::{Conversation, Env, Start};
use crate::session::machine::SessionLimits;
use server::FakeServer;

/// Relations `public.t0` to `public.t4`, with columns `a` and `b`.
fn catalog() -> Arc<Catalog> {
    names::Names::new().catalog(1)
}

/// A replica, and the session's connection to it.
#[derive(Default)]
struct Replica {
    server: FakeServer,
    open: bool,
    /// From it, on its way.
    input: BytesMut,
    /// How many of the statements that it has run have been looked at.
    checked: usize,
}

/// A session, its servers, and the world between them.
struct House {
    now: Timestamp,
    machine: Conversation,
    meanings: Meanings,
    limits: SessionLimits,
    out: Output,
    server: FakeServer,
    /// Of the catalog that was published last.
    catalog_version: u64,
    server_open: bool,
    replica: Replica,
    /// Whose words are on their way to the client.
    heard: Site,
    /// From the client, not yet taken.
    client_in: BytesMut,
    /// To the client.
    client_out: Vec<u8>,
    /// From the server, on its way.
    server_in: BytesMut,
    grants: Vec<Arc<Grant>>,
    audit: Vec<AuditRecord>,
    /// What was asked for and has not come.
    pending: Vec<Command>,
    audit_accepts: bool,
    closed: bool,
}

fn at(seconds: u64) -> Timestamp {
    crate::grant::fixture::at(seconds)
}

impl House {
    fn new(grants: &[Grant]) -> Self {
        Self::recording(grants, redact::TextSettings::default())
    }

    fn recording(grants: &[Grant], text: redact::TextSettings) -> Self {
        Self::with(grants, text, (SecondLock::None, None))
    }

    /// With a second lock, and a role as which owners' work is done.
    fn with_owner(grants: &[Grant]) -> Self {
        let locks = (SecondLock::Role, Some("app_owner".into()));
        Self::with(grants, redact::TextSettings::default(), locks)
    }

    fn with(
        grants: &[Grant],
        text: redact::TextSettings,
        locks: (SecondLock, Option<Arc<str>>),
    ) -> Self {
        Self::routed(grants, text, locks, Routing::default())
    }

    fn routed(
        grants: &[Grant],
        text: redact::TextSettings,
        (second_lock, ddl_owner): (SecondLock, Option<Arc<str>>),
        routing: Routing,
    ) -> Self {
        let grants: Vec<_> = grants.iter().cloned().map(Arc::new).collect();
        let facts = Facts {
            session: "s_1".into(),
            principal: "alice".into(),
            token: "t_1".into(),
            database: "shop".into(),
            engine: Engine::Postgres,
            client: Arc::new(Client { address: "127.0.0.1:1".into(), application: None }),
            second_lock,
            ddl_owner,
        };
        let start = Start {
            trail: Trail::new(facts, text, redact::ParameterSettings::Full { bytes_max: 64 }),
            held: HeldGrants::new(grants.iter().cloned()),
            catalog: Some(catalog()),
            parameters: vec![("server_version".into(), "15.18".into())],
            assumed_path: ["pg_catalog".into(), "app".into(), "public".into()].into(),
            startup: Vec::new(),
            cancel_key: (7, [1, 2, 3, 4].into()),
            poison: "daypass_refused_1".into(),
            routing,
        };
        let mut house = Self {
            now: at(100),
            machine: Conversation::new(start),
            meanings: Meanings::default(),
            limits: SessionLimits::default(),
            out: Output::default(),
            server: FakeServer::default(),
            catalog_version: 1,
            server_open: false,
            replica: Replica::default(),
            heard: Site::Primary,
            client_in: BytesMut::new(),
            client_out: Vec::new(),
            server_in: BytesMut::new(),
            grants,
            audit: Vec::new(),
            pending: Vec::new(),
            audit_accepts: true,
            closed: false,
        };
        house.with_machine(|machine, env, out| machine.start(env, out));
        house.apply();
        house
    }

    fn has_owner(&self) -> bool {
        self.machine.trail.facts().ddl_owner.is_some()
    }

    fn with_machine<T>(
        &mut self,
        event: impl FnOnce(&mut Conversation, &mut Env<'_>, &mut Output) -> T,
    ) -> T {
        let mut env = Env {
            now: self.now,
            meanings: &mut self.meanings,
            audit_accepts: self.audit_accepts,
            limits: &self.limits,
        };
        event(&mut self.machine, &mut env, &mut self.out)
    }

    /// Does what the machine asked for; what takes time waits in `pending`.
    fn apply(&mut self) {
        self.audit.append(&mut self.out.audit);
        if self.server_open {
            let readable = self.readable();
            self.server.receive(self.out.to_server(Site::Primary), &readable);
        } else {
            assert!(
                self.out.to_server(Site::Primary).is_empty(),
                "bytes for a server that is not there"
            );
        }
        if self.replica.open {
            let readable = self.readable();
            self.replica.server.receive(self.out.to_server(Site::Replica), &readable);
            replicas::check(self);
        } else {
            assert!(self.out.to_server(Site::Replica).is_empty(), "bytes for no replica");
        }
        for piece in &self.out.client {
            let bytes = match (piece, self.heard) {
                (Piece::Server(range), Site::Primary) => &self.server_in[range.clone()],
                (Piece::Server(range), Site::Replica) => &self.replica.input[range.clone()],
                (Piece::Own(range), _) => &self.out.own[range.clone()],
            };
            self.client_out.extend_from_slice(bytes);
        }
        for command in std::mem::take(&mut self.out.commands) {
            match command {
                Command::Close => self.closed = true,
                Command::CloseReplica => {
                    self.replica.open = false;
                    self.pending.retain(|wish| !matches!(wish, Command::OpenReplica(_)));
                }
                other => self.pending.push(other),
            }
        }
        self.out.clear();
    }

    /// What live grants are on at this moment: relations of `public`, the schema `app`, the database,
    /// and `any` for whatever takes no more than one.
    fn readable(&self) -> Vec<String> {
        let live = self.grants.iter().filter(|grant| grant.is_live(self.now));
        let privileges = live.clone().flat_map(|grant| &grant.privileges);
        let objects = privileges.map(|privilege| {
            let text = privilege.display(Engine::Postgres).to_string();
            text.rsplit([' ', '.']).next().unwrap().to_owned()
        });
        objects.chain(live.map(|_| "any".to_owned())).collect()
    }

    /// The catalog as somebody else reads it now.
    fn published(&mut self) -> Arc<Catalog> {
        self.catalog_version += 1;
        self.server.names.catalog(self.catalog_version)
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        self.client_in.extend_from_slice(bytes);
        self.take_client_bytes();
    }

    fn take_client_bytes(&mut self) {
        let mut input = std::mem::take(&mut self.client_in);
        self.with_machine(|machine, env, out| machine.on_client(&mut input, env, out)).unwrap();
        self.client_in = input;
        self.apply();
    }

    /// Delivers so many of the server's bytes.
    fn server_delivers(&mut self, count: usize) {
        let count = count.min(self.server.out.len());
        self.server_in.extend_from_slice(&self.server.out[..count]);
        self.server.out.drain(..count);
        self.heard = Site::Primary;
        let input = self.server_in.split();
        let taken = self
            .with_machine(|machine, env, out| machine.on_server(Site::Primary, &input, env, out))
            .unwrap();
        self.server_in = input;
        self.apply();
        drop(self.server_in.split_to(taken));
        self.take_client_bytes();
    }

    /// Lets one thing that was asked for come about.
    fn fulfil(&mut self, index: usize) {
        match self.pending.remove(index) {
            Command::OpenPrimary => {
                self.server_open = true;
                let parameters = vec![("server_version".into(), "15.18".into())];
                self.machine.on_upstream_open(
                    Site::Primary,
                    "server:1".into(),
                    parameters,
                    &mut self.out,
                );
            }
            Command::RefreshCatalog => {
                let catalog = self.published();
                self.machine.on_catalog(Some(catalog));
            }
            Command::CancelUpstream(_) => {
                self.server.cancel();
                self.with_machine(|machine, _, out| machine.on_cancel_done(out));
            }
            Command::Call(call) => {
                let result = answer(&call);
                self.with_machine(|machine, env, out| machine.on_call_result(result, env, out));
            }
            Command::TerminateUpstream(_)
            | Command::OpenReplica(_)
            | Command::CloseReplica
            | Command::CountRerun
            | Command::Kill { .. }
            | Command::Depart(_)
            | Command::Close => (),
        }
        self.apply();
        self.take_client_bytes();
    }

    /// The client is heard of no more: after some patience the relay has what runs cancelled, and ends.
    fn client_vanishes(&mut self) {
        self.client_in.clear();
        self.machine.on_cancel(&mut self.out);
        self.apply();
        while self.machine.is_busy() && self.happens_by_itself() {}
        self.end("the client vanished");
    }

    /// The client has closed its sending side, and waits for what it has asked for, as the relay does:
    /// until nothing is under way and no message is left.
    fn client_half_closes(&mut self) {
        self.take_client_bytes();
        while self.machine.is_busy() || !self.client_in.is_empty() {
            if !self.happens_by_itself() {
                // A statement that runs comes to its end by itself.
                assert!(self.server.is_running(), "it waits for nothing: {}", self.describe());
                self.server.finish();
            }
        }
        self.end("the client closed the connection");
    }

    /// The connection to the server breaks, after so many more of its bytes.
    fn server_dies(&mut self, after: usize) {
        self.server_delivers(after);
        self.server.out.clear();
        self.server_goes();
        self.end("the server is gone");
    }

    fn end(&mut self, reason: &str) {
        self.machine.end(self.now, reason, &mut self.out);
        self.apply();
    }

    /// Everything that can happen by itself happens, in order.
    fn settle(&mut self) {
        while self.happens_by_itself() {}
    }

    /// One thing that can happen by itself happens; false when there is none.
    fn happens_by_itself(&mut self) -> bool {
        if !self.pending.is_empty() {
            self.fulfil(0);
        } else if !self.server.out.is_empty() {
            self.server_delivers(usize::MAX);
        } else {
            return false;
        }
        true
    }

    /// The connection to the server breaks.
    fn server_goes(&mut self) {
        self.server_open = false;
        self.machine.on_server_gone(Site::Primary, self.now, &mut self.out);
        self.apply();
    }

    fn revoke(&mut self, id: &str) {
        for grant in &mut self.grants {
            if *grant.id.0 == *id && grant.revoked.is_none() {
                let mut ended = Grant::clone(grant);
                ended.revoked =
                    Some(Revocation { at: self.now, by: "local:root".into(), reason: None });
                *grant = Arc::new(ended);
            }
        }
        self.publish();
    }

    fn add(&mut self, id: &str, privileges: &str, seconds: u64) {
        let from = self.now.micros() / 1_000_000;
        self.grants.push(Arc::new(grant(id, privileges, from, from + seconds)));
        self.publish();
    }

    fn publish(&mut self) {
        let held = HeldGrants::new(self.grants.iter().cloned());
        self.machine.on_grants(held, self.now, &mut self.out);
        self.apply();
        self.take_client_bytes();
    }

    fn pass_time(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.machine.next_deadline()
            && due <= until
        {
            self.now = self.now.max(due);
            self.machine.on_timer(self.now, &mut self.out);
            self.apply();
            assert_ne!(self.machine.next_deadline(), Some(due), "due again and again");
        }
        self.now = until;
        self.take_client_bytes();
    }

    /// What the client has been told since it was last asked: tag, and SQLSTATE of errors.
    fn told(&mut self) -> Vec<String> {
        let (told, rest) = self.told_so_far();
        assert_eq!(rest, 0, "half a message for the client");
        self.client_out.clear();
        told
    }

    /// The same, left for later; and the bytes behind it that are no whole message.
    fn told_so_far(&self) -> (Vec<String>, usize) {
        let mut rest = &self.client_out[..];
        let mut told = Vec::new();
        while let Some(header) = frame::header(rest).unwrap() {
            let Some(body) = rest.get(HEADER_BYTES..header.total) else { break };
            told.push(match header.tag {
                b'E' => format!("E{}", crate::wire::postgres::message::sqlstate(body).unwrap()),
                b'Z' => format!("Z{}", char::from(body[0])),
                tag => char::from(tag).to_string(),
            });
            rest = &rest[header.total..];
        }
        (told, rest.len())
    }

    /// What it is waiting for, when it should not be.
    fn describe(&self) -> String {
        let machine = &self.machine;
        format!(
            "slots {}, canceling {}, waiting for catalog {}, opening {}, copying {}, sent {:?}",
            machine.slots.len(),
            machine.canceling,
            machine.waiting_for_catalog,
            matches!(machine.link, super::Link::Opening(_)),
            machine.copy_in,
            self.pending,
        )
    }

    fn decisions(&self, verdict: Verdict) -> usize {
        self.audit.iter().filter(|record| record.decision == Some(verdict)).count()
    }

    fn results(&self) -> usize {
        self.audit.iter().filter(|record| record.kind == Kind::Result).count()
    }
}

fn answer(call: &BoundCall) -> Result<CallReply, CallError> {
    let procedure = Procedure::find(&call.name)?;
    if call.name.as_ref() == "deny" {
        return Err(CallError {
            sqlstate: "42501",
            message: "nobody decides on their own request".into(),
            detail: None,
            hint: None,
        });
    }
    let row = procedure.columns.iter().map(|column| Some((*column).to_owned())).collect();
    Ok(CallReply { columns: procedure.columns, rows: vec![row] })
}
