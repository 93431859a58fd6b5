//! The audit stream: what it carries, how it is chained, and where it goes.
//!
//! [`record`], [`redact`], [`encode`] and [`chain`] are values in, values out. [`recorder`] is the shell around
//! them: a thread that owns the sinks. [`tail`] reads back what it wrote.

pub mod chain;
pub mod encode;
mod lines;
pub mod record;
pub mod recorder;
pub mod redact;
pub mod rendered;
mod sink;
pub mod tail;
