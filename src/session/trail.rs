//! A session's audit records: what is the same in all of them, and the numbers of its statements.

use std::sync::Arc;

use crate::audit::record::{AuditRecord, Client, Kind, Needs, Outcome, Parameter, Verdict, Who};
use crate::audit::redact;
use crate::audit::rendered::Rendered;
use crate::grant::decide::Permit;
use crate::session::refusal::Refusal;
use crate::session::routing::Why;
use crate::session::scope::Analysed;
use crate::session::site::{Site, Sites};
use crate::sql::Engine;
use crate::sql::access::Access;
use crate::sql::statement::Statement;
use crate::time::Timestamp;

/// What every record of a session says.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `s_` and 12 characters.
    pub session: Arc<str>,
    /// Who.
    pub principal: Arc<str>,
    /// Public name of the token.
    pub token: Arc<str>,
    /// Entry of the configuration.
    pub database: Arc<str>,
    /// Its engine.
    pub engine: Engine,
    /// Where the client is.
    pub client: Arc<Client>,
    /// Whether the database enforces the grant, too.
    pub second_lock: SecondLock,
    /// The role as which owners' work is done there, where one is named.
    pub ddl_owner: Option<Arc<str>>,
}

/// Whether the database enforces the grant, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondLock {
    /// No: the session is logged in as the service account.
    None,
    /// By a role of the principal's own.
    Role,
}

impl SecondLock {
    /// As records have it: of a statement that runs as the `ddl-owner` the database knows only what that
    /// one may, not what the grant says.
    pub const fn word(self, as_owner: bool) -> &'static str {
        match (self, as_owner) {
            (Self::None, _) => "none",
            (Self::Role, false) => "role",
            (Self::Role, true) => "partial",
        }
    }
}

/// A statement on its way: decided, sent, its reply not yet whole.
#[derive(Debug)]
pub struct Running {
    /// Its number in the session.
    pub number: u64,
    /// When it was sent.
    pub started: Timestamp,
    /// Its leave, with the grants that allowed it.
    pub permit: Permit,
    /// It runs as the `ddl-owner`.
    pub as_owner: bool,
    /// Rows of its reply so far.
    pub rows: u64,
    /// Bytes of its reply so far.
    pub bytes: u64,
    /// What its message says …
    pub analysis: Arc<Analysed>,
    /// … and which of its statements this is.
    pub index: usize,
}

impl Running {
    /// The statement.
    pub fn statement(&self) -> Option<&Statement> {
        self.analysis.statements.get(self.index)
    }
}

/// A statement to be recorded.
pub struct Recorded<'a> {
    /// The message that holds it.
    pub message: &'a str,
    /// The whole message's analysis.
    pub analysis: &'a Arc<Analysed>,
    /// Which statement.
    pub index: usize,
    /// What it needs beyond its own accesses: a prepared statement's, a cursor's.
    pub more: &'a [Access],
    /// Bound values.
    pub parameters: Arc<[Parameter]>,
}

/// Makes the records.
pub struct Trail {
    facts: Facts,
    who: Arc<Rendered<Who>>,
    text: redact::TextSettings,
    parameters: redact::ParameterSettings,
    backends: Sites<Option<Arc<str>>>,
    /// Where statements run now, and why, where anything is routed.
    site: Site,
    why: Why,
    rule: Option<Arc<str>>,
    as_owner: bool,
    statements: u64,
}

impl Trail {
    /// A trail for one session.
    pub fn new(
        facts: Facts,
        text: redact::TextSettings,
        parameters: redact::ParameterSettings,
    ) -> Self {
        let who = Arc::new(Rendered::new(Who {
            session: Some(Arc::clone(&facts.session)),
            principal: Some(Arc::clone(&facts.principal)),
            token: Some(Arc::clone(&facts.token)),
            database: Some(Arc::clone(&facts.database)),
            engine: Some(facts.engine),
            client: Some(Arc::clone(&facts.client)),
        }));
        Self {
            facts,
            who,
            text,
            parameters,
            backends: Sites::default(),
            site: Site::Primary,
            why: Why::Unrouted,
            rule: None,
            as_owner: false,
            statements: 0,
        }
    }

    /// What every record says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The session is connected to that server.
    pub fn set_backend(&mut self, site: Site, address: Option<Arc<str>>) {
        self.backends[site] = address;
    }

    /// Where one of its servers is.
    pub const fn backend(&self, site: Site) -> Option<&Arc<str>> {
        match site {
            Site::Primary => self.backends.primary.as_ref(),
            Site::Replica => self.backends.replica.as_ref(),
        }
    }

    /// From now on statements run there, for that reason.
    pub fn set_route(&mut self, site: Site, why: &Why) {
        self.site = site;
        if self.why == *why {
            return;
        }
        self.why = why.clone();
        self.rule = (*why != Why::Unrouted).then(|| why.clause().into());
    }

    /// Where statements run that were sent last.
    fn route(&self, record: &mut AuditRecord) {
        let backend = &self.backends[self.site];
        record.backend.clone_from(backend);
        record.route = backend.as_ref().map(|_| self.site.word());
        record.rule.clone_from(&self.rule);
    }

    /// From now on statements run as the `ddl-owner`, or as the session's own role.
    pub fn set_owner(&mut self, as_owner: bool) {
        self.as_owner = as_owner;
    }

    /// Whether statements run as the `ddl-owner`.
    pub const fn runs_as_owner(&self) -> bool {
        self.as_owner
    }

    /// Bound values, as the settings have them recorded: value, and whether in binary form.
    pub fn parameters(
        &self,
        values: impl Iterator<Item = (Option<impl AsRef<[u8]>>, bool)>,
    ) -> Arc<[Parameter]> {
        redact::parameters(values, &self.parameters, self.text.bytes_max).into()
    }

    fn record(&self, kind: Kind, now: Timestamp) -> AuditRecord {
        let mut record = AuditRecord::new(kind, now);
        record.who = Some(Arc::clone(&self.who));
        record.second_lock = Some(self.facts.second_lock.word(false));
        record
    }

    /// The session has begun.
    pub fn start(&self, now: Timestamp) -> AuditRecord {
        self.record(Kind::SessionStart, now)
    }

    /// The session is over.
    pub fn end(&self, now: Timestamp, reason: &str) -> AuditRecord {
        let mut record = self.record(Kind::SessionEnd, now);
        record.reason = Some(reason.into());
        record
    }

    fn statement(&mut self, now: Timestamp, recorded: &Recorded<'_>) -> AuditRecord {
        self.statements += 1;
        let mut record = self.record(Kind::Decision, now);
        record.statement = Some(self.statements);
        record.parameters = Arc::clone(&recorded.parameters);
        let Some(statement) = recorded.analysis.statements.get(recorded.index) else {
            return record;
        };
        record.text = Some(redact::text(recorded.message, statement, &self.text));
        record.class = Some(statement.class);
        record.command = Some(statement.command);
        record.needs = if recorded.more.is_empty() {
            recorded.analysis.needs(recorded.index)
        } else {
            let accesses = statement.accesses.iter().chain(recorded.more);
            Some(Arc::new(Rendered::new(Needs::of(accesses))))
        };
        record
    }

    /// A statement may run: its decision record, and what to keep until its reply has ended.
    pub fn allow(
        &mut self,
        now: Timestamp,
        recorded: &Recorded<'_>,
        permit: &Permit,
    ) -> (AuditRecord, Running) {
        let mut record = self.statement(now, recorded);
        record.decision = Some(Verdict::Allow);
        record.second_lock = Some(self.facts.second_lock.word(self.as_owner));
        record.grants = Arc::clone(permit.grant_ids());
        record.reason = permit.grants().first().map(|grant| grant.reason.clone());
        self.route(&mut record);
        let running = Running {
            number: self.statements,
            started: now,
            permit: permit.clone(),
            as_owner: self.as_owner,
            rows: 0,
            bytes: 0,
            analysis: Arc::clone(recorded.analysis),
            index: recorded.index,
        };
        (record, running)
    }

    /// A statement that was understood may not run.
    pub fn deny(
        &mut self,
        now: Timestamp,
        recorded: &Recorded<'_>,
        refusal: &Refusal,
        sqlstate: &str,
        sentence: &str,
    ) -> AuditRecord {
        let record = self.statement(now, recorded);
        denied(record, refusal, sqlstate, sentence)
    }

    /// Text that was not understood, or that never became a statement, may not run.
    pub fn deny_opaque(
        &mut self,
        now: Timestamp,
        text: &[u8],
        refusal: &Refusal,
        sqlstate: &str,
        sentence: &str,
    ) -> AuditRecord {
        self.statements += 1;
        let mut record = self.record(Kind::Decision, now);
        record.statement = Some(self.statements);
        record.text = Some(redact::opaque(text));
        denied(record, refusal, sqlstate, sentence)
    }

    /// A statement has ended.
    pub fn result(
        &self,
        now: Timestamp,
        running: &Running,
        outcome: Outcome,
        sqlstate: Option<&str>,
    ) -> AuditRecord {
        let mut record = self.record(Kind::Result, now);
        record.statement = Some(running.number);
        record.second_lock = Some(self.facts.second_lock.word(running.as_owner));
        record.grants = Arc::clone(running.permit.grant_ids());
        record.command = running.statement().map(|statement| statement.command);
        record.class = running.statement().map(|statement| statement.class);
        self.route(&mut record);
        record.rows = Some(running.rows);
        record.bytes = Some(running.bytes);
        let duration = running.started.until(now);
        record.duration_us = Some(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        record.outcome = Some(outcome);
        record.sqlstate = sqlstate.map(Box::from);
        record
    }
}

fn denied(
    mut record: AuditRecord,
    refusal: &Refusal,
    sqlstate: &str,
    sentence: &str,
) -> AuditRecord {
    record.decision = Some(Verdict::Deny);
    record.sqlstate = Some(sqlstate.into());
    record.reason = Some(sentence.into());
    record.missing = refusal.missing().iter().map(|access| access.to_string().into()).collect();
    record
}
