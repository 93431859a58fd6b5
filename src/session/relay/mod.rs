//! The only place with the sockets. Chooses one event (which may be cancelled at no loss), hands it to
//! the machine, then does what the machine asks (which is never cut short). It is the same for both wires; what
//! differs is [`Wire`]'s.

mod database;
mod heard;
pub mod mysql;
pub mod postgres;
mod wishes;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, timeout};

use crate::audit::record::Verdict;
use crate::audit::recorder::Recorder;
use crate::grant::snapshot::HeldGrants;
use crate::net::Stream;
use crate::route::Fleet;
use crate::session::call::{Calls, InBandCaller};
use crate::session::io::{Happened, Io};
use crate::session::machine::{Env, Farewell, Machine, SessionLimits};
use crate::session::news::{self, News, Phase};
use crate::session::output::{ChangeUser, Output};
use crate::session::registry::{Command, Registry};
use crate::session::site::{Site, Sites};
use crate::session::wire::{Catalog, Names, Wire, Worker};
use crate::store::Snapshot;
use crate::time::Timestamp;
use crate::upstream::lock::{Lock, Progress, Stamp};

pub use database::{Database, Entry};

/// How many statements were allowed and refused.
#[derive(Clone, Default)]
pub struct Decisions {
    /// Sent to a server, or answered.
    pub allowed: Counter,
    /// Refused.
    pub denied: Counter,
    /// Sent to a replica.
    pub at_replicas: Counter,
    /// Reads that a replica could not do, done again at the primary.
    pub reruns: Counter,
}

/// What all sessions share.
pub struct Shared {
    /// The audit stream.
    pub recorder: Recorder,
    /// The sessions that are open.
    pub registry: Arc<Registry>,
    /// Whether a decision is on disk before its statement is sent.
    pub strict: bool,
    /// How many statements were allowed and refused.
    pub decisions: Decisions,
    /// Answers calls on the schema `daypass`.
    pub calls: Arc<dyn Calls>,
    /// Limits on what a client sends.
    pub limits: SessionLimits,
}

/// One session, logged in.
pub struct Relay<W: Wire> {
    /// What the sessions of this thread share.
    pub worker: Rc<Worker>,
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// The database.
    pub database: Arc<Database<W>>,
    /// The machine.
    pub machine: W::Machine,
    /// Who calls.
    pub caller: InBandCaller,
    /// The primary, as the session wants to see it: with the client's default schema, where there is such a thing.
    pub target: W::Target,
    /// The replicas, likewise.
    pub replicas: Vec<W::Target>,
    /// Settings for the connection to the server.
    pub startup: W::Startup,
    /// What others say to this session.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Grants and tokens.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Names.
    pub catalogs: watch::Receiver<Option<Arc<Catalog<W>>>>,
    /// Where the process stands.
    pub phase: watch::Receiver<Phase>,
}

enum Event<W: Wire> {
    Io(Happened),
    News(news::Event<W>),
    Timer,
}

/// How long a session that ends may take to write its last words.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a statement may be silent when its client has closed its side: one that only shut its
/// sending half is waiting for the reply, and nothing tells the two apart while none flows.
const GONE_GRACE: Duration = Duration::from_secs(1);

/// How often a session looks whether the replica that it hears of still serves: one that hangs says nothing.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// After that a statement of a client that is gone is cancelled; it has this long to answer.
const GONE_PATIENCE: Duration = Duration::from_secs(5);

struct Running<W: Wire> {
    relay: Session<W>,
    news: News<W>,
    io: Io,
    out: Output,
    backends: Sites<Option<W::Backend>>,
    /// How often the session has been connected, or its connection was given up.
    attempts: Sites<u64>,
    /// The replica that the session is connected to, or is to be.
    replica: Option<usize>,
    timer: Pin<Box<Sleep>>,
    timer_due: Option<Timestamp>,
    closing: Option<Instant>,
    client_gone: Option<(Instant, bool)>,
    /// How far the roles of a second lock are.
    progress: Option<watch::Receiver<Arc<Progress>>>,
    /// As of when the session sees its account's rights.
    seen: Sites<Stamp>,
    held: HeldGrants,
    /// What replicas need to have has changed.
    sees_anew: bool,
    /// From when the next statement waits until a grant has reached the server.
    wait_from: Option<Timestamp>,
    /// Bytes of a server's that the machine has taken; gone from the buffer once they are written.
    server_taken: (Site, usize),
    /// The client is to log in anew.
    departs: Option<ChangeUser>,
    reason: &'static str,
}

/// A client that has left its session to log in anew.
pub struct Departed {
    /// What carries it.
    pub stream: Stream,
    /// What it has sent behind its wish.
    pub read: BytesMut,
    /// Its wish.
    pub wish: ChangeUser,
}

/// What of a [`Relay`] is not waited for.
struct Session<W: Wire> {
    worker: Rc<Worker>,
    shared: Arc<Shared>,
    database: Arc<Database<W>>,
    machine: W::Machine,
    caller: InBandCaller,
    target: W::Target,
    replicas: Vec<W::Target>,
    startup: W::Startup,
    fleet: watch::Receiver<Arc<Fleet>>,
}

impl<W: Wire> Relay<W> {
    /// Runs the session to its end. `read` is what came behind the login. Comes back with a client that is to log in
    /// anew.
    pub async fn run(self, client: Stream, read: BytesMut) -> Option<Departed> {
        let Self {
            worker,
            shared,
            database,
            machine,
            caller,
            target,
            replicas,
            startup,
            commands,
            mut snapshots,
            catalogs,
            phase,
        } = self;
        let message_bytes_max = shared.limits.wire.message_bytes_max;
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let progress = database.lock.as_ref().map(Lock::progress);
        let timer = Box::pin(worker.timer());
        let mut running = Running {
            relay: Session {
                worker,
                shared,
                fleet: database.fleet.clone(),
                database,
                machine,
                caller,
                target,
                replicas,
                startup,
            },
            news: News::new(commands, snapshots, catalogs, phase, progress.clone()),
            io: Io::new(client, read, W::look_ahead, message_bytes_max),
            out: Output::default(),
            backends: Sites { primary: None, replica: None },
            attempts: Sites::default(),
            replica: None,
            timer,
            timer_due: None,
            closing: None,
            client_gone: None,
            progress,
            seen: Sites::default(),
            held: HeldGrants::default(),
            sees_anew: true,
            wait_from: None,
            server_taken: (Site::Primary, 0),
            departs: None,
            reason: "the client closed the connection",
        };
        running.run(&snapshot).await
    }
}

/// The server finds out by itself when these words do not arrive.
async fn say_goodbye<W: Wire>(mut server: Stream) {
    use tokio::io::AsyncWriteExt;
    let mut goodbye = Vec::new();
    W::goodbye(&mut goodbye);
    drop(server.write_all(&goodbye).await);
    drop(server.shutdown().await);
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

impl<W: Wire> Running<W> {
    async fn run(&mut self, snapshot: &Snapshot) -> Option<Departed> {
        self.with_machine(|machine, env, out| machine.start(env, out));
        // Between the proof and now its token may have been revoked.
        self.on_snapshot(snapshot);
        while !self.is_over() {
            self.take_client_bytes();
            if let Err(gone) = self.apply().await {
                self.on_io(gone);
                continue;
            }
            if self.is_over() {
                break;
            }
            let event = self.next_event().await;
            self.handle(event);
        }
        let departed = self.depart();
        self.end().await;
        departed
    }

    fn depart(&mut self) -> Option<Departed> {
        let wish = self.departs.take()?;
        let read = std::mem::take(&mut self.io.client_in);
        let stream = self.io.drop_client()?;
        Some(Departed { stream, read, wish })
    }

    fn with_machine<T>(
        &mut self,
        event: impl FnOnce(&mut W::Machine, &mut Env<'_, Names<W>>, &mut Output) -> T,
    ) -> T {
        let relay = &mut self.relay;
        let mut env = Env {
            now: now(),
            meanings: &mut W::meanings(&relay.worker).borrow_mut(),
            audit_accepts: relay.shared.recorder.accepts(),
            limits: &relay.shared.limits,
        };
        event(&mut relay.machine, &mut env, &mut self.out)
    }

    fn take_client_bytes(&mut self) {
        // A statement does not overtake the grant that allows it on the way to the server.
        if self.io.client_in.is_empty() && !self.relay.machine.takes_again() || self.waits() {
            return;
        }
        self.look_at_replicas();
        let mut input = std::mem::take(&mut self.io.client_in);
        let result = self.with_machine(|machine, env, out| machine.on_client(&mut input, env, out));
        self.io.client_in = input;
        if let Err(violation) = result {
            self.reason = "the client broke the protocol";
            self.io.client_in.clear();
            let farewell = Farewell::ClientViolation(violation.to_string());
            self.relay.machine.close(&farewell, &mut self.out);
        }
    }

    /// Does what the machine asked for: records first, then bytes, then the rest.
    async fn apply(&mut self) -> Result<(), Happened> {
        if !self.record() {
            self.refuse_unrecorded("the audit stream is full, so the statement did not run");
        } else if self.relay.shared.strict && self.out.sends() {
            self.wait_until_durable().await;
        }
        let (heard, taken) = std::mem::take(&mut self.server_taken);
        let sent = self.io.send(&self.out, heard).await;
        // A server that is gone has left nothing.
        let input = self.io.server_in(heard);
        input.advance(taken.min(input.len()));
        let commands = std::mem::take(&mut self.out.commands);
        self.out.clear();
        for wish in commands {
            self.grant_wish(wish);
        }
        sent
    }

    /// Hands over what is to be recorded. False when the record of a statement that may run was not taken.
    fn record(&mut self) -> bool {
        let shared = &self.relay.shared;
        let mut recorded = true;
        for record in self.out.audit.drain(..) {
            let allowed = record.decision == Some(Verdict::Allow);
            match record.decision {
                Some(Verdict::Allow) => {
                    if record.route == Some(Site::Replica.word()) {
                        shared.decisions.at_replicas.inc();
                    }
                    shared.decisions.allowed.inc()
                }
                Some(Verdict::Deny) => shared.decisions.denied.inc(),
                None => 0,
            };
            recorded &= shared.recorder.record(&record) || !allowed;
        }
        recorded
    }

    async fn wait_until_durable(&mut self) {
        if self.relay.shared.recorder.durable().await.is_err() {
            self.refuse_unrecorded("the audit stream failed, so the statement did not run");
        }
    }

    /// A decision that is not recorded must not be followed by its statement: the session ends before
    /// anything is sent.
    fn refuse_unrecorded(&mut self, sentence: &'static str) {
        self.out.clear();
        self.reason = "the audit stream failed";
        self.relay.machine.close(&Farewell::Unrecorded(sentence), &mut self.out);
    }

    fn is_over(&self) -> bool {
        match (self.closing, self.client_gone) {
            (Some(deadline), _) => {
                self.out.client.is_empty()
                    && self.out.commands.is_empty()
                    && (self.io.is_client_flushed() || Instant::now() >= deadline)
            }
            (None, Some((deadline, cancelled))) => {
                let answered = !self.relay.machine.is_busy()
                    && !self.io.has_message()
                    && self.out.client.is_empty()
                    && self.io.is_client_flushed();
                answered || cancelled && Instant::now() >= deadline
            }
            (None, None) => false,
        }
    }

    /// When the timer is due: the machine's deadline, or the session's own.
    fn arm_timer(&mut self) {
        let ours = self.closing.or(self.client_gone.map(|(deadline, _)| deadline));
        if let Some(deadline) = ours {
            self.timer.as_mut().reset(deadline);
            self.timer_due = Some(Timestamp::from_micros(0));
            return;
        }
        let look = (self.relay.machine.hears() == Some(Site::Replica)).then(|| now() + LOOK_PAUSE);
        let due = self.relay.machine.next_deadline().into_iter().chain(look).min();
        let Some(due) = due else { return };
        // A timer that fires early does no harm, so it is only ever moved forward.
        if self.timer_due.is_none_or(|armed| due < armed) {
            self.timer.as_mut().reset(Instant::now() + now().until(due));
            self.timer_due = Some(due);
        }
    }

    async fn next_event(&mut self) -> Event<W> {
        self.arm_timer();
        if !self.relay.machine.is_busy() {
            self.io.shrink();
        }
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// What is next. A grant that was made or revoked before a statement was sent counts for it, and
    /// sockets that are never at rest hold up neither: so the sockets come last.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event<W>> {
        if let Poll::Ready(news) = self.news.poll(cx) {
            return Poll::Ready(Event::News(news));
        }
        if self.timer_due.is_some() && self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Timer);
        }
        let hears = self.relay.machine.hears();
        self.io.poll(hears, &self.relay.worker.scratch, cx).map(Event::Io)
    }

    fn handle(&mut self, event: Event<W>) {
        match event {
            Event::Io(happened) => self.on_io(happened),
            Event::News(news) => self.on_news(news),
            Event::Timer => self.on_timer(),
        }
    }

    fn on_timer(&mut self) {
        self.timer_due = None;
        self.look_at_replicas();
        self.relay.machine.on_timer(now(), &mut self.out);
        if let Some((deadline, false)) = self.client_gone
            && Instant::now() >= deadline
        {
            if !self.io.is_client_flushed() {
                // It is the client that takes its time.
                self.client_gone = Some((Instant::now() + GONE_GRACE, false));
                return;
            }
            self.relay.machine.on_cancel(&mut self.out);
            self.client_gone = Some((Instant::now() + GONE_PATIENCE, true));
        }
    }

    fn on_io(&mut self, happened: Happened) {
        match happened {
            Happened::Progress => (),
            Happened::ServerSent(site) => {
                self.take_server_bytes(site);
                if let Some((deadline, false)) = &mut self.client_gone
                    && self.io.has_client()
                {
                    *deadline = Instant::now() + GONE_GRACE;
                }
            }
            Happened::ClientClosed | Happened::ClientGone => {
                if let Happened::ClientGone = happened {
                    drop(self.io.drop_client());
                }
                self.client_gone.get_or_insert((Instant::now() + GONE_GRACE, false));
            }
            Happened::ServerGone(site) => {
                drop(self.io.take_server(site));
                self.backends[site] = None;
                if site == Site::Primary {
                    self.reason = "the database server closed the connection";
                }
                self.relay.machine.on_server_gone(site, now(), &mut self.out);
            }
        }
    }

    fn take_server_bytes(&mut self, site: Site) {
        let input = std::mem::take(self.io.server_in(site));
        let result =
            self.with_machine(|machine, env, out| machine.on_server(site, &input, env, out));
        *self.io.server_in(site) = input;
        match result {
            Ok(taken) => self.server_taken = (site, taken),
            Err(violation) => self.server_violated(&violation),
        }
    }

    fn server_violated(&mut self, violation: &<W::Machine as Machine>::Violation) {
        tracing::error!(%violation, "the server broke the protocol");
        self.reason = "the server broke the protocol";
        self.end_with(&Farewell::ServerViolation);
    }

    fn end_with(&mut self, farewell: &Farewell) {
        self.relay.machine.on_cancel(&mut self.out);
        self.relay.machine.close(farewell, &mut self.out);
    }

    /// Last words, to the client and to the server, and the last records.
    async fn end(&mut self) {
        let reason = self.reason;
        self.relay.machine.end(now(), reason, &mut self.out);
        for record in self.out.audit.drain(..) {
            self.relay.shared.recorder.record(&record);
        }
        let farewell = async {
            for site in Site::ALL {
                let Some(server) = self.io.take_server(site) else { continue };
                say_goodbye::<W>(server).await;
            }
            if let Some(mut client) = self.io.drop_client() {
                use tokio::io::AsyncWriteExt;
                drop(client.shutdown().await);
            }
        };
        drop(timeout(FAREWELL, farewell).await);
    }
}
