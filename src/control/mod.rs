//! Tokens, grants, requests and sessions: the rules of who may do what to them, and the API.

pub mod error;
pub mod model;
pub mod words;
