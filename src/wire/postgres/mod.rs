//! PostgreSQL's frontend/backend protocol 3 (PostgreSQL 18 manual, chapter 54), without I/O.

pub mod frame;
pub mod login;
pub mod message;
pub mod reply;
pub mod scram;
pub mod startup;
