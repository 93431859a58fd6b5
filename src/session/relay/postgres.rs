//! PostgreSQL's side of the relay.

use std::cell::RefCell;

use crate::identity::PrincipalName;
use crate::session::postgres::Conversation;
use crate::session::scope::{Meanings, PostgresNames};
use crate::session::wire::{Ahead, Opened, Wire, Worker};
use crate::upstream::roles::Roles;
use crate::upstream::{self, Connection, Lock, Peer, Startup, Target, UpstreamError};
use crate::wire::postgres::{frame, reply};

/// PostgreSQL's wire.
pub enum Postgres {}

/// What is known of a backend, to cancel it.
#[derive(Clone)]
pub struct Backend {
    peer: Peer,
    process_id: u32,
    secret_key: Box<[u8]>,
}

impl Wire for Postgres {
    type Machine = Conversation;
    type Target = Target;
    type Startup = Startup;
    type Connection = Connection;
    type Backend = Backend;
    type Kind = Roles;

    fn meanings(worker: &Worker) -> &RefCell<Meanings<PostgresNames>> {
        &worker.postgres
    }

    fn look_ahead(input: &[u8], message_bytes_max: usize) -> Ahead {
        match frame::header(input) {
            Ok(Some(header)) if header.total <= input.len() => Ahead::Whole,
            // Data of a COPY passes in pieces.
            Ok(Some(header)) if header.total <= message_bytes_max && header.tag != b'd' => {
                Ahead::Part
            }
            _ => Ahead::Open,
        }
    }

    async fn connect(target: &Target, startup: &Startup) -> Result<Connection, UpstreamError> {
        upstream::connect(target, startup).await
    }

    fn opened(connection: Connection) -> Opened<Self> {
        let Connection {
            stream, buffer, process_id, secret_key, parameters, address, peer, ..
        } = connection;
        let backend = Backend { peer, process_id, secret_key };
        Opened { stream, buffer, backend, told: (address, parameters) }
    }

    async fn cancel(target: &Target, backend: &Backend) -> Result<(), UpstreamError> {
        let Backend { peer, process_id, secret_key } = backend;
        upstream::cancel_at(target, peer, *process_id, secret_key).await
    }

    async fn terminate(
        target: &Target,
        (lock, principal): (Option<&Lock>, &PrincipalName),
        backend: &Backend,
    ) -> Result<(), UpstreamError> {
        let role = lock.map_or_else(|| target.user.clone(), |lock| lock.role(principal));
        upstream::terminate(target, backend.process_id, &role).await.map(drop)
    }

    /// A cancel goes by its key.
    fn number(_: &Backend) -> Option<u64> {
        None
    }

    fn goodbye(out: &mut Vec<u8>) {
        reply::terminate(out);
    }
}
