//! The audit stream on real files.
