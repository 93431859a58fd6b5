//! Tokens, grants, requests and sessions: the rules of who may do what to them, and the API.

pub mod api;
pub mod error;
mod inband;
pub mod model;
pub mod service;
pub mod words;
