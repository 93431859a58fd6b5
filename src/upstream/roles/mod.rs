//! The second lock: roles in the database itself, so that a hole in the proxy's decision meets the
//! server's own refusal.
//!
//! Each distinct set of privileges among live grants has a role that holds it ([`acl`]); each principal
//! with a live grant has a role that it logs in as and that is a member of its grants' sets. So a grant
//! opens and ends by one membership, in open sessions, too. [`plan`] compares what there is to be with
//! what [`observe`] has found, whatever left it so: another proxy, a killed one, an administrator. [`Roles`]
//! does it for the task that is the same for every engine ([`lock`](super::lock)); sessions hold a [`Lock`].
//!
//! [`check`] tells operators what a database lacks for it.
//!
//! `names`, `acl`, `plan` and `action` are pure.

pub mod acl;
pub mod action;
pub mod check;
mod keeper;
pub mod names;
mod observe;
pub mod plan;
mod removal;
pub mod service;

pub use super::lock::Progress;
pub use keeper::{Done, Roles, Settings};

/// The second lock of one database of PostgreSQL.
pub type Lock = super::lock::Lock<Roles>;
