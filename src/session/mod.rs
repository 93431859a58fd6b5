//! One client connection and what it holds upstream.
//!
//! The machine of a session does no I/O: [`postgres`] is the conversation on one wire, and what it
//! shares with the other stands beside it: [`gate`] decides, [`explain`] says how it would, [`trail`] records, [`scope`] knows what names
//! mean, [`output`] is what it asks for; [`machine`] is what the shell knows of either. [`relay`] is that shell: both
//! sockets, the clock, the tasks; [`wire`] is what differs there.

pub mod call;
mod decided;
pub mod explain;
pub mod gate;
mod io;
pub mod machine;
pub mod mysql;
pub mod news;
pub mod output;
pub mod postgres;
pub mod refusal;
pub mod registry;
pub mod relay;
pub mod routing;
pub mod scope;
#[cfg(test)]
mod simulation;
pub mod site;
pub mod trail;
pub mod wire;
