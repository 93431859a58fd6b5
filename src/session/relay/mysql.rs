//! MySQL's and MariaDB's side of the relay.

use std::cell::RefCell;

use crate::identity::PrincipalName;
use crate::session::mysql::Conversation;
use crate::session::scope::{Meanings, MysqlNames};
use crate::session::wire::{Ahead, Opened, Wire, Worker};
use crate::upstream::mysql::accounts::{Accounts, Lock};
use crate::upstream::mysql::{self, Connection, Startup, Target};
use crate::upstream::{Peer, UpstreamError};
use crate::wire::mysql::{command, packet};

/// MySQL's wire.
pub enum Mysql {}

/// What is known of a connection, to stop what runs over it.
#[derive(Clone)]
pub struct Backend {
    peer: Peer,
    number: u32,
}

impl Wire for Mysql {
    type Machine = Conversation;
    type Target = Target;
    type Startup = Startup;
    type Connection = Connection;
    type Backend = Backend;
    type Kind = Accounts;

    fn meanings(worker: &Worker) -> &RefCell<Meanings<MysqlNames>> {
        &worker.mysql
    }

    fn look_ahead(input: &[u8], message_bytes_max: usize) -> Ahead {
        match packet::message(input, 0, message_bytes_max) {
            Ok(Some(_)) => Ahead::Whole,
            Ok(None) => Ahead::Part,
            // Packets of a file, whose numbers go on from the command's, pass in pieces.
            Err(_) => Ahead::Open,
        }
    }

    async fn connect(target: &Target, startup: &Startup) -> Result<Connection, UpstreamError> {
        mysql::connect(target, startup).await
    }

    fn opened(connection: Connection) -> Opened<Self> {
        let Connection { stream, buffer, greeting, okay, address, peer, .. } = connection;
        let backend = Backend { peer, number: greeting.connection };
        Opened { stream, buffer, backend, told: (address, okay) }
    }

    async fn cancel(target: &Target, backend: &Backend) -> Result<(), UpstreamError> {
        mysql::kill(target, &backend.peer, backend.number, mysql::Kill::Query).await
    }

    async fn terminate(
        target: &Target,
        _: (Option<&Lock>, &PrincipalName),
        backend: &Backend,
    ) -> Result<(), UpstreamError> {
        mysql::kill(target, &backend.peer, backend.number, mysql::Kill::Connection).await
    }

    fn number(backend: &Backend) -> Option<u64> {
        Some(backend.number.into())
    }

    fn goodbye(out: &mut Vec<u8>) {
        command::quit(out);
    }
}
