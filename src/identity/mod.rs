//! Who is calling: principals, their tokens, and the verifiers that prove one.

pub mod token;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a principal, as a client gives it for its user name. Needs no registration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalName(Box<str>);

/// A name that no principal can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a principal's name has 1 to 63 bytes, no control characters and does not start with \"local:\""
)]
pub struct InvalidPrincipalName;

impl PrincipalName {
    /// Longest name, bytes: PostgreSQL's NAMEDATALEN less one.
    pub const BYTES_MAX: usize = 63;

    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, too long, has control characters or claims to be an operator (`local:…`).
    pub fn new(name: &str) -> Result<Self, InvalidPrincipalName> {
        let wrong = name.is_empty()
            || name.len() > Self::BYTES_MAX
            || name.chars().any(char::is_control)
            || name.starts_with("local:");
        if wrong { Err(InvalidPrincipalName) } else { Ok(Self(name.into())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PrincipalName {
    type Error = InvalidPrincipalName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<PrincipalName> for String {
    fn from(name: PrincipalName) -> Self {
        name.0.into()
    }
}

/// The public name of a token, `t_` and 12 characters: what logs, lists and audit records show.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub Box<str>);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
