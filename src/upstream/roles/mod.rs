//! The second lock: roles in the database itself, so that a hole in the proxy's decision meets the
//! server's own refusal.
//!
//! Each distinct set of privileges among live grants has a role that holds it ([`acl`]); each principal
//! with a live grant has a role that it logs in as and that is a member of its grants' sets. So a grant
//! opens and ends by one membership, in open sessions, too. [`plan`] compares what there is to be with
//! what [`observe`] has found, whatever left it so: another proxy, a killed one, an administrator. The
//! [`keeper`] is the task that does it; sessions hold a [`Lock`].
//!
//! [`check`] tells operators what a database lacks for it.
//!
//! `names`, `acl`, `plan` and `action` are pure.

pub mod acl;
pub mod action;
pub mod check;
mod keeper;
mod lock;
pub mod names;
mod observe;
pub mod plan;
mod removal;

pub use lock::{Lock, Progress, Settings};
