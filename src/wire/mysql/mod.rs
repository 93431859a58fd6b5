//! MySQL's client/server protocol as MySQL and MariaDB speak it, without I/O.
//!
//! Sources: MySQL Source Code Documentation, "Client/Server Protocol"; MariaDB knowledge base,
//! "Client/Server Protocol".

pub mod auth;
pub mod capability;
pub mod command;
pub mod handshake;
pub mod login;
pub mod packet;
pub mod reply;
pub mod report;
pub mod response;
pub mod value;
