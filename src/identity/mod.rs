//! Who is calling: principals, their tokens, and the verifiers that prove one.

pub mod base32;
pub mod scram;
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

impl TokenId {
    /// Random bytes that a public name is made of.
    pub const RANDOM_BYTES: usize = 8;

    /// A new public name. It tells nothing about the token: both are drawn on their own.
    pub fn generate(random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let mut name = String::from("t_");
        name.extend(base32::encode(random).chars().take(12));
        Self(name.into())
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_a_name_that_can_be_shown() {
        for wrong in ["", "a\nb", "a\0", "local:root", &"a".repeat(64)] {
            assert_eq!(PrincipalName::new(wrong), Err(InvalidPrincipalName), "{wrong:?}");
        }
        assert!(PrincipalName::new("alice@example.com").is_ok());
    }

    #[test]
    fn a_public_name_has_twelve_characters_after_its_prefix() {
        let id = TokenId::generate(&[0xff; 8]);
        assert_eq!(id.to_string(), "t_zzzzzzzzzzzz");
    }
}
