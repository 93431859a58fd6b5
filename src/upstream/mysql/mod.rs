//! MySQL and MariaDB servers: where they are, dialling and logging in, statements of our own.

pub mod accounts;
pub mod catalog;
pub mod client;
pub mod connect;
pub mod kill;
pub mod login;
mod place;
pub mod rsa;
pub mod target;

pub use catalog::Facts;
pub use client::query;
pub use connect::{Connection, connect};
pub use kill::{Kill, kill};
pub use login::Startup;
pub use target::{Host, Target};
