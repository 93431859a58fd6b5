//! The second lock on MySQL and MariaDB: an account a principal that holds what its live grants allow.
//!
//! - [`names`]: what accounts are called, and their passwords; [`verifier`]: what a server keeps of those
//! - [`rights`]: privileges as the server's own rights, and the GRANT and REVOKE of them
//! - [`observe`]: what accounts there are and what they hold; [`described`], [`powers`]: how servers write that down
//! - [`plan`]: what has to be done
//! - [`stamps`]: when open sessions have to do something to see it
//! - [`Accounts`] does it, for the task that is the same for every engine; sessions hold a [`Lock`]
//! - [`check`]: what an operator should know
//!
//! All but `observe`, `check` and the keeper are pure.

pub mod check;
pub mod described;
mod keeper;
pub mod names;
pub mod observe;
pub mod plan;
pub mod powers;
pub mod rights;
pub mod stamps;
pub mod verifier;

pub use keeper::{Accounts, Done, Settings};

/// The second lock of one server of MySQL or MariaDB.
pub type Lock = crate::upstream::lock::Lock<Accounts>;
