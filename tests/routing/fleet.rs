//! A fleet that is watched, and what is waited for in it.

use std::sync::Arc;
use std::time::Duration;

use daypass::route::{Ceilings, Fleet, Position, Replica, Seen, State};
use daypass::upstream::replicas::{Member, Settings, spawn};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::PATIENCE;

/// A replica may be so far behind, and is asked far more often.
pub const LAG_MAX: Duration = Duration::from_secs(1);

pub struct Watched(watch::Receiver<Arc<Fleet>>);

impl Watched {
    pub fn new<M: Member>(primary: &M, replicas: &[M]) -> Self {
        let ceilings = Ceilings { lag: LAG_MAX, bytes: None };
        Self::within(primary, replicas, ceilings)
    }

    pub fn within<M: Member>(primary: &M, replicas: &[M], ceilings: Ceilings) -> Self {
        let settings = Settings {
            entry: "shop".into(),
            weights: vec![1; replicas.len()],
            check: Duration::from_millis(50),
            timeout: Duration::from_secs(1),
            ceilings,
        };
        Self(spawn(primary, replicas, settings))
    }

    pub fn now(&self) -> Arc<Fleet> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for a fleet of which that is true.
    pub async fn until(&mut self, what: &str, is_it: impl Fn(&Fleet) -> bool) -> Arc<Fleet> {
        let found = timeout(PATIENCE, self.0.wait_for(|fleet| is_it(fleet))).await;
        let found = found.map(|fleet| Arc::clone(&fleet.expect("the task runs while followed")));
        found.unwrap_or_else(|_| panic!("in vain for {what} for {PATIENCE:?}: {:#?}", self.now()))
    }

    /// Waits until that replica is in that state.
    pub async fn state(&mut self, replica: usize, state: State) -> Replica {
        let what = format!("replica {replica} to be {state:?}");
        let fleet = self.until(&what, |fleet| fleet.replicas[replica].state == state).await;
        fleet.replicas[replica].clone()
    }

    /// Waits until that replica serves and has replayed so far.
    pub async fn covers(&mut self, replica: usize, position: &Position) {
        let covers = |it: &Replica| {
            it.state == State::Serving
                && it.position.as_ref().is_some_and(|own| own.covers(position))
        };
        self.until("a replica to replay", |fleet| covers(&fleet.replicas[replica])).await;
    }

    /// Waits until the primary is known to have been there.
    pub async fn primary(&mut self, position: &Position) {
        let covers =
            |fleet: &Fleet| fleet.primary.position().is_some_and(|own| own.covers(position));
        self.until("the primary's position", covers).await;
    }

    pub async fn seen(&mut self, is_it: impl Fn(&Seen) -> bool) {
        self.until("the primary", |fleet| is_it(&fleet.primary)).await;
    }
}
