//! The sessions that are open now: to list them, to end them, to find the one that a cancel key names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::identity::TokenId;
use crate::sql::Engine;
use crate::time::Timestamp;

/// What others may say to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Cancel the running statement: the client asked.
    Cancel,
    /// End: an operator asked.
    Kill {
        /// Who asked.
        by: Box<str>,
    },
    /// End once no transaction is open: what it is for is no longer served.
    Leave {
        /// Why, a sentence.
        why: &'static str,
    },
    /// End now: it had time to leave.
    End {
        /// Why, a sentence.
        why: &'static str,
    },
}

/// One open session, as lists show it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionInfo {
    /// `s_` and 12 characters.
    pub id: Arc<str>,
    /// Who.
    pub principal: Arc<str>,
    /// Public name of the token that logged it in.
    pub token: TokenId,
    /// Which entry of the configuration.
    pub database: Arc<str>,
    /// Its engine.
    pub engine: Engine,
    /// Where the client is.
    pub client: Box<str>,
    /// `application_name` at login.
    pub application: Option<Box<str>>,
    /// Since when.
    pub started: Timestamp,
}

struct Entry {
    info: SessionInfo,
    cancel_key: Box<[u8]>,
    commands: UnboundedSender<Command>,
}

/// The sessions that are open now.
#[derive(Default)]
pub struct Registry {
    entries: Mutex<HashMap<Arc<str>, Entry>>,
    by_cancel_key: Mutex<HashMap<Box<[u8]>, Arc<str>>>,
}

impl Registry {
    /// Adds a session until the returned guard is dropped. `cancel_key` is process id and secret key,
    /// as a CancelRequest carries them.
    pub fn enter(
        self: &Arc<Self>,
        info: SessionInfo,
        cancel_key: &[u8],
        commands: UnboundedSender<Command>,
    ) -> Registration {
        let id = Arc::clone(&info.id);
        let entry = Entry { info, cancel_key: cancel_key.into(), commands };
        lock(&self.by_cancel_key).insert(cancel_key.into(), Arc::clone(&id));
        lock(&self.entries).insert(Arc::clone(&id), entry);
        Registration { registry: Arc::clone(self), id }
    }

    /// Every open session, oldest first.
    pub fn list(&self) -> Vec<SessionInfo> {
        let mut sessions: Vec<_> =
            lock(&self.entries).values().map(|entry| entry.info.clone()).collect();
        sessions.sort_by_key(|info| (info.started, Arc::clone(&info.id)));
        sessions
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Asks a session to end. False when there is none of that name.
    pub fn kill(&self, id: &str, by: &str) -> bool {
        self.tell(id, Command::Kill { by: by.into() })
    }

    /// Says something to every session of a database; returns to which.
    pub fn tell_database(&self, database: &str, command: &Command) -> Vec<Arc<str>> {
        let entries = lock(&self.entries);
        let of_it = entries.iter().filter(|(_, entry)| *entry.info.database == *database);
        of_it
            .filter(|(_, entry)| entry.commands.send(command.clone()).is_ok())
            .map(|(id, _)| Arc::clone(id))
            .collect()
    }

    /// Says something to one session. False when there is none of that name.
    pub fn tell(&self, id: &str, command: Command) -> bool {
        lock(&self.entries).get(id).is_some_and(|entry| entry.commands.send(command).is_ok())
    }

    /// Asks the session with that key to cancel what it runs; an unknown key does nothing, and
    /// nobody is told which it was (manual 54.2.8, "Canceling Requests in Progress").
    pub fn cancel(&self, cancel_key: &[u8]) {
        let Some(id) = lock(&self.by_cancel_key).get(cancel_key).cloned() else { return };
        if let Some(entry) = lock(&self.entries).get(&id) {
            // A session whose receiver is gone is about to leave the registry.
            drop(entry.commands.send(Command::Cancel));
        }
    }
}

/// A session's place in the [`Registry`]; leaves it when dropped.
pub struct Registration {
    registry: Arc<Registry>,
    id: Arc<str>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.registry.entries).remove(&self.id) {
            lock(&self.registry.by_cancel_key).remove(&entry.cancel_key);
        }
    }
}

/// The maps stay whole whatever thread panicked: no operation leaves one half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str) -> SessionInfo {
        SessionInfo {
            id: id.into(),
            principal: "alice".into(),
            token: TokenId("t_1".into()),
            database: "shop".into(),
            engine: Engine::Postgres,
            client: "127.0.0.1:1".into(),
            application: None,
            started: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn a_cancel_reaches_only_the_session_of_its_key() {
        let registry = Arc::new(Registry::default());
        let (one, mut one_hears) = tokio::sync::mpsc::unbounded_channel();
        let (two, mut two_hears) = tokio::sync::mpsc::unbounded_channel();
        let _one = registry.enter(info("s_1"), b"key-1", one);
        let _two = registry.enter(info("s_2"), b"key-2", two);
        registry.cancel(b"key-2");
        registry.cancel(b"key-3");
        assert!(one_hears.try_recv().is_err());
        assert_eq!(two_hears.try_recv(), Ok(Command::Cancel));
    }

    #[test]
    fn what_is_said_to_a_database_reaches_its_sessions_alone() {
        let registry = Arc::new(Registry::default());
        let (one, mut one_hears) = tokio::sync::mpsc::unbounded_channel();
        let (two, mut two_hears) = tokio::sync::mpsc::unbounded_channel();
        let _one = registry.enter(info("s_1"), b"key-1", one);
        let other = SessionInfo { database: "crm".into(), ..info("s_2") };
        let _two = registry.enter(other, b"key-2", two);
        let leave = Command::Leave { why: "it was removed" };
        assert_eq!(registry.tell_database("crm", &leave), ["s_2".into()]);
        assert!(one_hears.try_recv().is_err());
        assert_eq!(two_hears.try_recv(), Ok(leave));
    }

    #[test]
    fn a_session_leaves_when_its_registration_is_dropped() {
        let registry = Arc::new(Registry::default());
        let (commands, _hears) = tokio::sync::mpsc::unbounded_channel();
        let registration = registry.enter(info("s_1"), b"key", commands);
        assert_eq!(registry.count(), 1);
        drop(registration);
        assert_eq!(registry.count(), 0);
        assert!(!registry.kill("s_1", "local:root"));
    }
}
