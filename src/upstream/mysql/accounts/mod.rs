//! The second lock on MySQL and MariaDB: an account a principal that holds what its live grants allow.
//!
//! - [`names`]: what accounts are called, and their passwords
//! - [`rights`]: privileges as the server's own rights, and the statements between what is held and what is to be
//! - [`observe`]: what an account holds

pub mod names;
pub mod observe;
pub mod rights;
