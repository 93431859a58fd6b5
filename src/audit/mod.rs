//! The audit stream: what it carries, how it is chained, and where it goes.

pub mod record;
