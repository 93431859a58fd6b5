//! One client connection and what it holds upstream.

pub mod call;
pub mod registry;
