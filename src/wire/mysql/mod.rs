//! MySQL's client/server protocol as MySQL and MariaDB speak it, without I/O.
//!
//! Sources: MySQL Source Code Documentation, "Client/Server Protocol"; MariaDB knowledge base,
//! "Client/Server Protocol".

pub mod capability;
pub mod command;
pub mod packet;
pub mod value;
