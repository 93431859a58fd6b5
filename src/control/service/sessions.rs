//! The sessions that are open now.

use crate::control::error::ControlError;
use crate::control::model::OpenSession;
use crate::grant::Actor;

use super::Service;

impl Service {
    /// Sessions: an operator sees all, a principal its own.
    pub fn sessions(&self, actor: &Actor) -> Vec<OpenSession> {
        let sessions = self.registry().list().into_iter().filter(|session| match actor {
            Actor::Operator(_) => true,
            Actor::Principal(name) => *session.principal == *name.as_str(),
        });
        sessions.map(OpenSession::from).collect()
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When there is none, or it is not the actor's.
    pub fn kill_session(&self, actor: &Actor, id: &str) -> Result<OpenSession, ControlError> {
        let session = self.sessions(actor).into_iter().find(|session| session.id == id);
        let session = session.filter(|_| self.registry().kill(id, &actor.to_string()));
        session.ok_or_else(|| {
            ControlError::not_found(format!("there is no session {}", id.escape_debug()))
        })
    }
}
