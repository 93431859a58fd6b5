//! A session with the world around it, driven by choices.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use daypass::audit::record::{AuditRecord, Client};
use daypass::audit::redact;
use daypass::grant::snapshot::HeldGrants;
use daypass::grant::{Grant, Revocation};
use daypass::session::call::{BoundCall, CallError, CallReply, Procedure};
use daypass::session::machine::SessionLimits;
use daypass::session::output::{Command, Output, Piece};
use daypass::session::postgres::{Conversation, Env, Start};
use daypass::session::routing::Routing;
use daypass::session::scope::Meanings;
use daypass::session::site::Site;
use daypass::session::trail::{Facts, SecondLock, Trail};
use daypass::sql::Engine;
use daypass::sql::postgres::ParseLimits;
use daypass::time::Timestamp;
use daypass::wire::Limits;
use daypass::wire::postgres::frame::header;

use crate::server::{POISON, Server};
use crate::simulation::check_records;
use crate::{CATALOG, NOW, grant};

/// The session's grants at the start, by choice.
const GRANTS: [&str; 4] = [
    "",
    "SELECT, INSERT ON public.t1; SELECT (id, status), UPDATE (status) ON public.orders",
    "WRITE ON SCHEMA public",
    "ADMIN ON DATABASE",
];

/// A session, its server, its client.
pub struct House {
    now: Timestamp,
    machine: Conversation,
    meanings: Meanings,
    limits: SessionLimits,
    out: Output,
    /// The server.
    pub server: Server,
    /// Whether the connection to it is open.
    pub server_open: bool,
    client_in: BytesMut,
    /// Everything that the client was told.
    pub client_out: Vec<u8>,
    server_in: BytesMut,
    grants: Vec<Arc<Grant>>,
    audit: Vec<AuditRecord>,
    pending: Vec<Command>,
    /// Whether the session is over.
    pub closed: bool,
    /// Whether a peer broke the protocol.
    pub violated: bool,
}

impl House {
    /// A session that has logged in. `grants` chooses what it holds, `failing` which statements fail.
    pub fn new(grants: u8, failing: &[u8]) -> Self {
        let held = match GRANTS[usize::from(grants) % GRANTS.len()] {
            "" => Vec::new(),
            privileges => vec![grant(Engine::Postgres, "g_0", privileges, NOW, 1_000)],
        };
        let facts = Facts {
            session: "s_1".into(),
            principal: "alice".into(),
            token: "t_1".into(),
            database: "shop".into(),
            engine: Engine::Postgres,
            client: Arc::new(Client { address: "127.0.0.1:1".into(), application: None }),
            second_lock: SecondLock::None,
            ddl_owner: None,
        };
        let text = redact::TextSettings { literals: redact::Literals::Redacted, bytes_max: 4_096 };
        let start = Start {
            trail: Trail::new(facts, text, redact::ParameterSettings::Full { bytes_max: 64 }),
            held: HeldGrants::new(held.iter().cloned()),
            catalog: Some(Arc::clone(&CATALOG)),
            parameters: vec![("server_version".into(), "15.18".into())],
            assumed_path: crate::path().into(),
            startup: Vec::new(),
            cancel_key: (7, [1, 2, 3, 4].into()),
            poison: POISON.into(),
            routing: Routing::default(),
        };
        let wire = Limits {
            message_bytes_max: 4_096,
            prepared_statements_max: 3,
            portals_max: 3,
            ..Limits::default()
        };
        let mut house = Self {
            now: NOW + Duration::from_secs(5),
            machine: Conversation::new(start),
            meanings: Meanings::default(),
            limits: SessionLimits { wire, parse: ParseLimits::default() },
            out: Output::default(),
            server: Server::new(failing),
            server_open: false,
            client_in: BytesMut::new(),
            client_out: Vec::new(),
            server_in: BytesMut::new(),
            grants: held,
            audit: Vec::new(),
            pending: Vec::new(),
            closed: false,
            violated: false,
        };
        house.with_machine(|machine, env, out| machine.start(env, out));
        house.apply();
        house
    }

    fn with_machine<T>(
        &mut self,
        event: impl FnOnce(&mut Conversation, &mut Env<'_>, &mut Output) -> T,
    ) -> T {
        let mut env = Env {
            now: self.now,
            meanings: &mut self.meanings,
            audit_accepts: true,
            limits: &self.limits,
        };
        event(&mut self.machine, &mut env, &mut self.out)
    }

    /// Does what the machine asked for; what takes time waits.
    fn apply(&mut self) {
        self.audit.append(&mut self.out.audit);
        if self.server_open {
            let held = HeldGrants::new(self.grants.iter().cloned());
            self.server.receive(self.out.to_server(Site::Primary), &held, self.now);
        } else {
            assert!(
                self.out.to_server(Site::Primary).is_empty(),
                "bytes for a server that is not there"
            );
        }
        for piece in &self.out.client {
            let bytes = match piece {
                Piece::Server(range) => &self.server_in[range.clone()],
                Piece::Own(range) => &self.out.own[range.clone()],
            };
            self.client_out.extend_from_slice(bytes);
        }
        for command in std::mem::take(&mut self.out.commands) {
            match command {
                Command::Close => self.closed = true,
                other => self.pending.push(other),
            }
        }
        self.out.clear();
    }

    fn over(&self) -> bool {
        self.closed || self.violated
    }

    /// The client sends.
    pub fn client_sends(&mut self, bytes: &[u8]) {
        self.client_in.extend_from_slice(bytes);
        self.take_client_bytes();
    }

    /// The machine takes what it can of what the client has sent.
    pub fn take_client_bytes(&mut self) {
        if self.over() {
            return;
        }
        let mut input = std::mem::take(&mut self.client_in);
        let taken = self.with_machine(|machine, env, out| machine.on_client(&mut input, env, out));
        self.client_in = input;
        self.violated = taken.is_err();
        self.apply();
    }

    /// Bytes come from the server, or from whoever speaks as it.
    pub fn server_says(&mut self, bytes: &[u8]) {
        if self.over() {
            return;
        }
        self.server_in.extend_from_slice(bytes);
        let input = self.server_in.split();
        let taken = self
            .with_machine(|machine, env, out| machine.on_server(Site::Primary, &input, env, out));
        self.server_in = input;
        self.apply();
        match taken {
            Ok(taken) => drop(self.server_in.split_to(taken)),
            Err(_) => self.violated = true,
        }
    }

    /// One thing that was asked for comes about; false when nothing was.
    pub fn fulfil(&mut self) -> bool {
        if self.over() || self.pending.is_empty() {
            return false;
        }
        match self.pending.remove(0) {
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
            Command::RefreshCatalog => self.machine.on_catalog(Some(Arc::clone(&CATALOG))),
            Command::CancelUpstream(_) => self.machine.on_cancel_done(&mut self.out),
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
        true
    }

    /// The server works, and what it says arrives in pieces of at most so many bytes.
    pub fn server_delivers(&mut self, piece: usize) -> bool {
        self.server.work();
        let said = std::mem::take(&mut self.server.out);
        for piece in said.chunks(piece.max(1)) {
            self.server_says(piece);
        }
        !said.is_empty()
    }

    /// Everything that can happen by itself happens.
    pub fn settle(&mut self, piece: usize) {
        for _ in 0..1_000 {
            self.take_client_bytes();
            let (asked, said) = (self.fulfil(), self.server_delivers(piece));
            if !asked && !said {
                return;
            }
        }
        panic!("the session never comes to rest");
    }

    /// Something else happens, by choice.
    pub fn happens(&mut self, choice: u8) {
        if self.over() {
            return;
        }
        match choice % 8 {
            0 => self.settle(usize::MAX),
            1 => drop(self.fulfil()),
            2 => drop(self.server_delivers(usize::from(choice >> 3))),
            3 => {
                self.now = self.now + Duration::from_secs(u64::from(choice >> 3) * 60);
                self.machine.on_timer(self.now, &mut self.out);
            }
            4 => self.revoke(),
            5 => {
                let privileges = GRANTS[1 + usize::from(choice >> 3) % 3];
                let id = format!("g_{}", self.grants.len());
                self.grants.push(grant(Engine::Postgres, &id, privileges, self.now, 120));
                self.publish();
            }
            6 => self.machine.on_cancel(&mut self.out),
            _ => (),
        }
        self.apply();
    }

    fn revoke(&mut self) {
        let now = self.now;
        for grant in &mut self.grants {
            let revocation = Revocation { at: now, by: "local:root".into(), reason: None };
            Arc::make_mut(grant).revoked.get_or_insert(revocation);
        }
        self.publish();
    }

    fn publish(&mut self) {
        let held = HeldGrants::new(self.grants.iter().cloned());
        self.machine.on_grants(held, self.now, &mut self.out);
    }

    /// The session ends; whatever it did left complete records.
    pub fn end(mut self) {
        self.machine.end(self.now, "the client went", &mut self.out);
        self.audit.append(&mut self.out.audit);
        let allowed = check_records(&self.audit);
        assert!(self.server.ran <= allowed, "a statement ran without a record");
    }

    /// Whether what the client was told is whole messages.
    pub fn told_whole_messages(&self) -> bool {
        let mut rest = &self.client_out[..];
        while let Ok(Some(header)) = header(rest) {
            let Some(after) = rest.get(header.total..) else { return false };
            rest = after;
        }
        rest.is_empty()
    }
}

fn answer(call: &BoundCall) -> Result<CallReply, CallError> {
    let procedure = Procedure::find(&call.name)?;
    if &*call.name == "deny" {
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
