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

/// How a client names a session whose statement is to be stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Handle {
    /// PostgreSQL: process id and secret key, as a CancelRequest carries them.
    CancelKey(Box<[u8]>),
    /// MySQL: the number that the connection was greeted with. It is no secret.
    Connection(u32),
}

struct Entry {
    info: SessionInfo,
    handle: Handle,
    /// The number that the server gave the session's connection there, where KILL may name it.
    at_server: Option<u64>,
    commands: UnboundedSender<Command>,
}

/// The sessions that are open now.
#[derive(Default)]
pub struct Registry {
    entries: Mutex<HashMap<Arc<str>, Entry>>,
    by_handle: Mutex<HashMap<Handle, Arc<str>>>,
}

impl Registry {
    /// Adds a session until the returned guard is dropped.
    pub fn enter(
        self: &Arc<Self>,
        info: SessionInfo,
        handle: Handle,
        commands: UnboundedSender<Command>,
    ) -> Registration {
        let id = Arc::clone(&info.id);
        lock(&self.by_handle).insert(handle.clone(), Arc::clone(&id));
        let entry = Entry { info, handle, at_server: None, commands };
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
        let handle = Handle::CancelKey(cancel_key.into());
        let Some(id) = lock(&self.by_handle).get(&handle).cloned() else { return };
        // A session whose receiver is gone is about to leave the registry.
        self.tell(&id, Command::Cancel);
    }

    /// The number that the server gave the connection of a session there.
    pub fn set_at_server(&self, id: &str, number: u64) {
        if let Some(entry) = lock(&self.entries).get_mut(id) {
            entry.at_server = Some(number);
        }
    }

    /// MySQL's KILL: says something to the session of a principal on a database that has this number, ours or
    /// else the server's. False when there is none.
    pub fn tell_numbered(
        &self,
        (principal, database): (&str, &str),
        number: u64,
        command: Command,
    ) -> bool {
        let entries = lock(&self.entries);
        let own = |entry: &&Entry| {
            *entry.info.principal == *principal && *entry.info.database == *database
        };
        let greeted = u32::try_from(number).ok().map(Handle::Connection);
        let found =
            entries.values().filter(own).find(|entry| Some(&entry.handle) == greeted.as_ref());
        let found =
            found.or_else(|| entries.values().filter(own).find(|it| it.at_server == Some(number)));
        found.is_some_and(|entry| entry.commands.send(command).is_ok())
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
            let mut by_handle = lock(&self.registry.by_handle);
            // A number may have been given out twice, and be another session's now.
            if by_handle.get(&entry.handle).is_some_and(|id| *id == self.id) {
                by_handle.remove(&entry.handle);
            }
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

    fn key(bytes: &[u8]) -> Handle {
        Handle::CancelKey(bytes.into())
    }

    #[test]
    fn a_kill_reaches_only_the_principals_own_session_of_its_number() {
        let registry = Arc::new(Registry::default());
        let enter = |id: &str, principal: &str, database: &str, number: u32| {
            let (to, hears) = tokio::sync::mpsc::unbounded_channel();
            let info = SessionInfo {
                principal: principal.into(),
                database: database.into(),
                engine: Engine::Mysql,
                ..info(id)
            };
            (registry.enter(info, Handle::Connection(number), to), hears)
        };
        let (_a, mut alices) = enter("s_1", "alice", "crm", 5);
        let (_b, mut others) = enter("s_2", "bob", "crm", 6);
        let (_c, mut elsewhere) = enter("s_3", "alice", "erp", 7);
        registry.set_at_server("s_1", 7);
        registry.set_at_server("s_2", 8);
        let kill = |number| registry.tell_numbered(("alice", "crm"), number, Command::Cancel);
        assert!(kill(5));
        assert_eq!(alices.try_recv(), Ok(Command::Cancel));
        assert!(kill(7), "the server's number of it");
        assert_eq!(alices.try_recv(), Ok(Command::Cancel));
        for number in [6, 8, 9, 5 + (1 << 32)] {
            assert!(!kill(number), "{number}");
        }
        assert!(others.try_recv().is_err() && elsewhere.try_recv().is_err());
        // A number alone is no key.
        registry.cancel(&5_u32.to_be_bytes());
        assert!(alices.try_recv().is_err());
    }

    #[test]
    fn a_cancel_reaches_only_the_session_of_its_key() {
        let registry = Arc::new(Registry::default());
        let (one, mut one_hears) = tokio::sync::mpsc::unbounded_channel();
        let (two, mut two_hears) = tokio::sync::mpsc::unbounded_channel();
        let _one = registry.enter(info("s_1"), key(b"key-1"), one);
        let _two = registry.enter(info("s_2"), key(b"key-2"), two);
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
        let _one = registry.enter(info("s_1"), key(b"key-1"), one);
        let other = SessionInfo { database: "crm".into(), ..info("s_2") };
        let _two = registry.enter(other, key(b"key-2"), two);
        let leave = Command::Leave { why: "it was removed" };
        assert_eq!(registry.tell_database("crm", &leave), ["s_2".into()]);
        assert!(one_hears.try_recv().is_err());
        assert_eq!(two_hears.try_recv(), Ok(leave));
    }

    #[test]
    fn a_session_leaves_when_its_registration_is_dropped() {
        let registry = Arc::new(Registry::default());
        let (commands, _hears) = tokio::sync::mpsc::unbounded_channel();
        let registration = registry.enter(info("s_1"), key(b"key"), commands);
        assert_eq!(registry.count(), 1);
        drop(registration);
        assert_eq!(registry.count(), 0);
        assert!(!registry.kill("s_1", "local:root"));
    }
}
