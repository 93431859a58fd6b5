//! Tokens, grants, requests and sessions: the rules of who may do what to them, and the API.

pub mod duration;
pub mod error;
pub mod model;
