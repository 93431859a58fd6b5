//! Where a session's next unit runs: a query, a segment, a command. What is known of its own writes and of its state,
//! which of that its servers have, and the replica that it is connected to. The machine of either wire asks
//! [`Routing::next`] until it is told to go, and does each step that it is told meanwhile.
//!
//! ```text
//!   bound to the primary ─────────────────────────────────────────────────────────▶ Go(Primary)
//!   a read ─▶ replica in service ─▶ state and writes known ─▶ connected ─▶ far enough ─▶ brought up to date ─▶ Go(Replica)
//!                 │ none               (asked of the server      (opened)     (asked, waited for)   (told)
//!                 ▼                     that has them)
//!              Go(Primary), or Refuse
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::route::{Choice, Fleet, Floor, Freshness, Load, NoReplica, Policy, Position, choose};
use crate::sql::placement::{Placement, Rule};
use crate::sql::statement::{Effect, Statement};
use crate::time::Timestamp;

use super::call::{CallReply, Procedure, SESSION};
use super::refusal::Refusal;
use super::site::{Site, Sites};

/// What there is of servers, and what a replica needs to have, whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The replicas.
    pub fleet: Arc<Fleet>,
    /// Where the primary was when the names that statements are decided by, and the rights of the session's
    /// account, had become what they are. `None` where nobody knows yet.
    pub required: Option<Position>,
}

/// Why a unit runs where it does: a clause for records and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The database has no replicas, or nothing is routed there.
    Unrouted,
    /// It is a confirmed read.
    Read,
    /// It begins a READ ONLY transaction.
    ReadOnly,
    /// It is part of a transaction that is there.
    Transaction,
    /// It says so itself.
    Statement(Rule),
    /// It is about the session, which is there.
    Session,
    /// The message has parts that do not belong to one read.
    Mixed,
    /// It is of a kind that runs at the primary, whatever it says: which, a plural.
    Kind(&'static str),
    /// The session has something that is not carried along.
    Pinned(Box<str>),
    /// No replica is in service.
    NoReplica(NoReplica),
    /// No replica was far enough in time.
    Behind,
    /// No replica could be connected to.
    Unreachable,
    /// A replica refused it, with this SQLSTATE.
    Refused(Box<str>),
    /// The replica that had it is gone, or has become something else.
    Lost,
}

impl Why {
    /// In words.
    pub fn clause(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Unrouted => "no statement is routed to a replica",
            Self::Read => "it only reads",
            Self::ReadOnly => "its transaction is READ ONLY",
            Self::Transaction => "its transaction is there",
            Self::Statement(rule) => return Cow::Owned(rule.to_string()),
            Self::Session => "it is about the session",
            Self::Mixed => "its message is not one read",
            Self::Kind(what) => return Cow::Owned(format!("{what} run at the primary")),
            Self::Pinned(what) => return Cow::Owned(format!("the session has {what}")),
            Self::NoReplica(why) => return Cow::Owned(why.to_string()),
            Self::Behind => "no replica was far enough in time",
            Self::Unreachable => "no replica could be connected to",
            Self::Refused(state) => {
                return Cow::Owned(format!("a replica had refused it with {state}"));
            }
            Self::Lost => "the replica that had it was lost",
        })
    }
}

/// What the unit at hand is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A replica may do it, and why.
    Reads(Why),
    /// Only the session's home may, and why.
    Bound(Why),
}

/// What to do next for the unit at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run it there.
    Go(Site, Why),
    /// Refuse it: no replica can do it, and nobody else may.
    Refuse(Why),
    /// Ask that server, and answer with [`Routing::on_state`] or [`Routing::on_position`].
    Ask(Site, Question),
    /// Tell that server the session's state, and answer with [`Routing::on_brought`].
    Bring(Site),
    /// Connect to the replica of that number, and answer with [`Routing::on_open`] or [`Routing::on_closed`].
    Open(usize),
    /// Let go of the connection to the replica, and ask again.
    Close,
    /// Nothing, until that moment or until something else has happened.
    Wait(Timestamp),
}

/// What becomes of a unit.
pub enum Placed {
    /// It may be sent.
    Here,
    /// It is to be held.
    Later,
    /// Nobody may do it.
    Nowhere(Refusal),
}

/// What is kept of a unit that may be done again, bytes: a longer one is not.
pub const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How far the log is, for what the session wrote. Of a replica: how far it has replayed.
    Position,
    /// That, and the session's state.
    State,
}

/// The connection to a replica.
#[derive(Debug, Default)]
enum Link {
    #[default]
    Closed,
    Opening {
        number: usize,
        since: Timestamp,
    },
    Open {
        number: usize,
        /// How far it was, when the session asked last.
        reached: Option<Position>,
        asked: Option<Timestamp>,
    },
}

/// How long a unit waits for a connection to a replica before it goes to the primary.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
/// A replica that could not be connected to is not tried again before that.
const OPEN_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait before a replica that was behind is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(3);
/// What a session that is bound to replicas waits for one, at least.
const BOUND_PATIENCE: Duration = Duration::from_secs(5);

/// What the analyser calls what setseed() leaves.
const SEED: &str = "a seed of random()";

/// The routing of one session.
pub struct Routing {
    policy: Policy,
    sight: Sight,
    home: Site,
    link: Link,
    /// The last connection that failed, and when.
    failed: Option<(usize, Timestamp)>,
    /// How far the primary was after the session's last write, as far as asked.
    own: Option<Position>,
    /// It has written since.
    wrote: bool,
    /// Which server has the session's state as it is.
    truth: Site,
    /// The state may have changed there since it was asked.
    changed: bool,
    /// Grows with each state that differs from the one before.
    version: u64,
    /// Which version each server has.
    given: Sites<u64>,
    /// What the session has that is not carried along.
    pin: Option<Box<str>>,
    /// The same, and nobody can tell when it is gone.
    pinned_for_good: Option<&'static str>,
    /// Since when the unit at hand waits.
    waits: Option<Timestamp>,
    /// Why the unit at hand is not tried at a replica again.
    again: Option<Why>,
    outstanding: Option<Outstanding>,
}

/// A unit at a replica, until it is dropped.
#[derive(Debug)]
struct Outstanding(Arc<Load>);

impl Outstanding {
    fn new(load: &Arc<Load>) -> Self {
        load.add();
        Self(Arc::clone(load))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.done();
    }
}

/// Of a session of a database without replicas.
impl Default for Routing {
    fn default() -> Self {
        Self::new(Policy::default(), Sight::default())
    }
}

impl Routing {
    /// Of a session that has no server yet.
    pub fn new(policy: Policy, sight: Sight) -> Self {
        Self {
            policy,
            sight,
            home: Site::Primary,
            link: Link::Closed,
            failed: None,
            own: None,
            wrote: false,
            truth: Site::Primary,
            changed: true,
            version: 0,
            given: Sites::default(),
            pin: None,
            pinned_for_good: None,
            waits: None,
            again: None,
            outstanding: None,
        }
    }

    /// Whether any unit of any session of this database may be routed.
    pub fn is_on(&self) -> bool {
        self.policy.freshness != Freshness::Off && !self.sight.fleet.replicas.is_empty()
    }

    /// Where the session is at home.
    pub const fn home(&self) -> Site {
        self.home
    }

    /// It is at home there from now on.
    pub const fn move_home(&mut self, site: Site) {
        self.home = site;
    }

    /// A session without a server begins there, so its state is there.
    pub const fn begin_at(&mut self, site: Site) {
        self.home = site;
        self.truth = site;
    }

    /// What the session has that keeps it at home, for people.
    pub fn pin(&self) -> Option<&str> {
        self.pinned_for_good.or(self.pin.as_deref())
    }

    /// The replica that the session is connected to.
    pub fn replica(&self) -> Option<&Arc<str>> {
        self.sight.fleet.replicas.get(self.number()?).map(|replica| &replica.address)
    }

    /// Servers are seen otherwise now. Tells whether the connection to the replica is of no more use, since that
    /// serves no more.
    pub fn on_sight(&mut self, sight: Sight) -> bool {
        use crate::route::State::{Down, NotReplica};
        self.sight = sight;
        let Some(number) = self.number() else { return false };
        let state = self.sight.fleet.replicas.get(number).map(|replica| replica.state);
        matches!(state, None | Some(Down | NotReplica))
    }

    /// A replica for a session that is bound to them, and has none yet.
    ///
    /// # Errors
    /// Why there is none.
    pub fn home_replica(&self) -> Result<usize, Why> {
        match choose(&self.sight.fleet, self.sight.required.as_ref(), None) {
            Choice::Replica(number) | Choice::Wait(number) => Ok(number),
            Choice::None(none) => Err(Why::NoReplica(none)),
        }
    }

    /// Where a unit would run now, at which replica, and why, as far as that is known without asking anybody.
    pub fn forecast(&self, unit: &Unit) -> (Site, Option<Arc<str>>, Why) {
        let home = |why| (self.home, None, why);
        let why = match unit {
            Unit::Bound(why) => return home(why.clone()),
            Unit::Reads(why) => why.clone(),
        };
        if !self.is_on() {
            return home(Why::Unrouted);
        }
        if let Some(pin) = self.pin() {
            return home(Why::Pinned(pin.into()));
        }
        let Some(bound) = self.bound() else { return home(Why::Behind) };
        match choose(&self.sight.fleet, Some(&bound), self.number()) {
            Choice::None(none) => home(Why::NoReplica(none)),
            Choice::Replica(number) | Choice::Wait(number) => {
                let replica = self.sight.fleet.replicas.get(number);
                (Site::Replica, replica.map(|replica| Arc::clone(&replica.address)), why)
            }
        }
    }

    /// Adds to the answer of `session()` what only the session knows.
    pub fn complete(&self, answer: &mut CallReply) {
        let session = Procedure::find(SESSION).ok().map(|procedure| procedure.columns);
        if session != Some(answer.columns) {
            return;
        }
        for row in &mut answer.rows {
            if let [.., replica, pin] = row.as_mut_slice() {
                *replica = self.replica().map(ToString::to_string);
                *pin = self.pin().map(str::to_owned);
            }
        }
    }

    fn number(&self) -> Option<usize> {
        match self.link {
            Link::Open { number, .. } | Link::Opening { number, .. } => Some(number),
            Link::Closed => None,
        }
    }

    /// What to do next for the unit at hand. `must`: nobody but a replica may do it.
    pub fn next(&mut self, unit: &Unit, must: bool, now: Timestamp) -> Step {
        let why = match unit {
            Unit::Bound(why) => return self.go(self.home, why.clone()),
            Unit::Reads(why) => why.clone(),
        };
        if !self.is_on() {
            let none = Why::NoReplica(NoReplica::NotConfigured);
            return if must { Step::Refuse(none) } else { self.go(self.home, Why::Unrouted) };
        }
        if let Some(again) = &self.again
            && !must
        {
            return self.go(self.home, again.clone());
        }
        let waits = *self.waits.get_or_insert(now);
        self.at_replica(why, must, (waits, now))
    }

    fn at_replica(&mut self, why: Why, must: bool, (waits, now): (Timestamp, Timestamp)) -> Step {
        let prefer = self.number();
        let Some(bound) = self.bound() else {
            // Until names and rights are known to be somewhere, they may be nowhere else.
            return self.without(Why::Behind, must, (waits, now));
        };
        let found = match choose(&self.sight.fleet, Some(&bound), prefer) {
            Choice::Replica(number) => (number, true),
            Choice::Wait(number) => (number, false),
            // Nobody is asked anything for what no replica will do.
            Choice::None(none) => {
                return self.without(Why::NoReplica(none), must, (waits, now));
            }
        };
        if self.home == Site::Primary {
            if self.changed && self.truth == Site::Primary {
                return Step::Ask(Site::Primary, Question::State);
            }
            if self.wrote && self.policy.freshness != Freshness::Eventual {
                return Step::Ask(Site::Primary, Question::Position);
            }
            if let Some(pin) = self.pin() {
                return self.go(self.home, Why::Pinned(pin.into()));
            }
        }
        self.at(found, &bound, why, must, (waits, now))
    }

    /// What a replica needs to have replayed, where that is known.
    fn bound(&self) -> Option<Position> {
        let mut bound = self.sight.required.clone()?;
        if let Some(own) =
            self.own.as_ref().filter(|_| self.policy.freshness != Freshness::Eventual)
        {
            bound.merge(own);
        }
        Some(bound)
    }

    fn at(
        &mut self,
        (number, covers): (usize, bool),
        bound: &Position,
        why: Why,
        must: bool,
        (waits, now): (Timestamp, Timestamp),
    ) -> Step {
        match &self.link {
            Link::Open { number: open, .. } if *open != number => Step::Close,
            Link::Open { reached, asked, .. } => {
                if covers || reached.as_ref().is_some_and(|it| it.covers(bound)) {
                    return self.go(Site::Replica, why);
                }
                if asked.is_some_and(|asked| asked >= waits) && waits + self.patience(must) <= now {
                    return self.without(Why::Behind, must, (waits, now));
                }
                match asked {
                    Some(asked) if now < *asked + ASK_PAUSE => Step::Wait(*asked + ASK_PAUSE),
                    _ => Step::Ask(Site::Replica, Question::Position),
                }
            }
            Link::Opening { since, .. } => {
                let until = *since + OPEN_PATIENCE;
                if now < until {
                    Step::Wait(until)
                } else {
                    self.without(Why::Unreachable, must, (waits, now))
                }
            }
            // The account that logs in there may be newer than what it has replayed. How far that is by now, only
            // a login can tell.
            Link::Closed if !self.may_log_in(number) && now < waits + self.policy.wait => {
                Step::Wait(now + ASK_PAUSE)
            }
            Link::Closed => match self.failed {
                Some((failed, at)) if failed == number && now < at + OPEN_PAUSE => {
                    self.without(Why::Unreachable, must, (waits, now))
                }
                _ => Step::Open(number),
            },
        }
    }

    /// Whether a replica is known to have the session's account, and its rights.
    fn may_log_in(&self, number: usize) -> bool {
        let replica = self.sight.fleet.replicas.get(number);
        let position = replica.and_then(|replica| replica.position.as_ref());
        position.zip(self.sight.required.as_ref()).is_some_and(|(own, it)| own.covers(it))
    }

    fn patience(&self, must: bool) -> Duration {
        if must { self.policy.wait.max(BOUND_PATIENCE) } else { self.policy.wait }
    }

    /// No replica does the unit now.
    fn without(&mut self, why: Why, must: bool, (waits, now): (Timestamp, Timestamp)) -> Step {
        if must || self.home == Site::Replica {
            let until = waits + self.patience(true);
            return if now < until {
                Step::Wait((now + ASK_PAUSE * 10).min(until))
            } else {
                Step::Refuse(why)
            };
        }
        match self.policy.floor {
            Floor::Primary => self.go(self.home, why),
            Floor::Error => Step::Refuse(why),
        }
    }

    /// The session's state has to be there first.
    fn go(&self, site: Site, why: Why) -> Step {
        if self.truth != site && self.is_on() {
            if self.changed {
                return Step::Ask(self.truth, Question::State);
            }
            if self.given[site] != self.version {
                return Step::Bring(site);
            }
        }
        Step::Go(site, why)
    }

    /// The unit at hand has been sent there.
    pub fn sent(&mut self, site: Site) {
        self.waits = None;
        self.again = None;
        if let (Site::Replica, Link::Open { number, .. }) = (site, &self.link)
            && let Some(replica) = self.sight.fleet.replicas.get(*number)
            && self.outstanding.is_none()
        {
            self.outstanding = Some(Outstanding::new(&replica.load));
        }
    }

    /// The unit at hand has been refused, or has no business with servers.
    pub fn dropped(&mut self) {
        self.waits = None;
        self.again = None;
    }

    /// All of what was sent has been answered, or never will be.
    pub fn answered(&mut self) {
        self.outstanding = None;
    }

    /// The unit that was sent is to be done at home, since a replica could not.
    pub fn comes_again(&mut self, why: Why) {
        self.again = Some(why);
    }

    /// A statement runs there, or has run.
    pub fn ran(&mut self, statement: &Statement, site: Site) {
        let changes = match (&statement.placement, &statement.effect) {
            (Placement::Anywhere, _) => false,
            (
                Placement::Session,
                Effect::Set { .. }
                | Effect::CloseCursor(_)
                | Effect::Reading { .. }
                | Effect::UseDatabase(_),
            ) => true,
            (Placement::Session, _) => false,
            (Placement::Home(rule), _) => {
                self.keep_pin(rule);
                true
            }
            (Placement::Primary(rule), _) => {
                self.wrote = true;
                statement.changes_path || !matches!(rule, Rule::Writes | Rule::Locks)
            }
        };
        if changes {
            self.changed = true;
            self.truth = site;
        }
    }

    /// The session has something that is not carried along, and nobody can tell when it is gone.
    pub const fn pin_for_good(&mut self, what: &'static str) {
        self.pinned_for_good = Some(what);
    }

    /// The session at home is as a login leaves it.
    pub fn begins_anew(&mut self) {
        self.pin = None;
        self.pinned_for_good = None;
        self.changed = true;
        self.truth = self.home;
    }

    /// A seed cannot be asked.
    fn keep_pin(&mut self, rule: &Rule) {
        if let Rule::State(what @ SEED) = rule {
            self.pinned_for_good = Some(what);
        }
    }

    /// A server has been asked how far the log is.
    pub fn on_position(&mut self, site: Site, position: Option<Position>, now: Timestamp) {
        match (site, &mut self.link) {
            (Site::Replica, Link::Open { reached, asked, .. }) => {
                *asked = Some(now);
                if position.is_some() {
                    *reached = position;
                }
            }
            (Site::Replica, _) => (),
            (Site::Primary, _) => match position {
                Some(position) => {
                    self.wrote = false;
                    match &mut self.own {
                        Some(own) => own.merge(&position),
                        own => *own = Some(position),
                    }
                }
                None => {
                    self.pinned_for_good = Some("writes of which nobody knows how far they are");
                }
            },
        }
    }

    /// A server has told the session's state. `differs`: it is another than it was told last. `pin`: what of it is
    /// not carried along.
    pub fn on_state(&mut self, differs: bool, pin: Option<Box<str>>) {
        self.changed = false;
        self.pin = pin;
        if differs {
            self.version += 1;
        }
        self.given[self.truth] = self.version;
    }

    /// A server could not be asked for the state, or told it: the session stays at home.
    pub fn on_state_unknown(&mut self) {
        self.changed = false;
        self.pinned_for_good = Some("a state of which nobody knows all");
        self.truth = self.home;
    }

    /// A server has the session's state now.
    pub fn on_brought(&mut self, site: Site) {
        self.given[site] = self.version;
    }

    /// A connection to a replica is being opened.
    pub fn on_opening(&mut self, number: usize, now: Timestamp) {
        self.link = Link::Opening { number, since: now };
    }

    /// It is open.
    pub fn on_open(&mut self) {
        if let Link::Opening { number, .. } = self.link {
            self.link = Link::Open { number, reached: None, asked: None };
            // What a login leaves is version 0, at any server.
            self.given.replica = 0;
        }
    }

    /// It could not be opened, or is gone.
    pub fn on_closed(&mut self, now: Timestamp) {
        if let Link::Open { number, .. } | Link::Opening { number, .. } = self.link {
            self.failed = Some((number, now));
        }
        self.link = Link::Closed;
    }

    /// The session has let go of it.
    pub fn on_let_go(&mut self) {
        self.link = Link::Closed;
    }
}
