//! Errors of the control plane, by blame.

use std::fmt;

/// Whose fault an error is, and so what it is called on each wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// What was asked makes no sense: HTTP 400.
    Invalid,
    /// The caller proved nothing, or too late: HTTP 401.
    Unauthenticated,
    /// The caller may not: HTTP 403.
    NotAllowed,
    /// There is no such thing, or the caller may not know of it: HTTP 404.
    NotFound,
    /// The thing is not in a state for that: HTTP 409.
    Conflict,
    /// The proxy cannot do it now: HTTP 503.
    Unavailable,
}

impl Blame {
    /// The word for it in an error's `code`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::NotAllowed => "not-allowed",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
        }
    }

    /// Its HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::NotAllowed => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Unavailable => 503,
        }
    }

    /// Its SQLSTATE, for calls made in a session (PostgreSQL manual, appendix A).
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::Invalid => "22023",
            Self::Unauthenticated => "28000",
            Self::NotAllowed => "42501",
            Self::NotFound => "42704",
            Self::Conflict => "55000",
            Self::Unavailable => "57P03",
        }
    }
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ControlError {
    /// Whose fault it is.
    pub blame: Blame,
    /// A sentence, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ControlError {
    /// An error with a sentence and no hint.
    pub fn new(blame: Blame, message: impl Into<String>) -> Self {
        Self { blame, message: message.into(), hint: None }
    }

    /// What was asked makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Blame::Invalid, message)
    }

    /// The caller may not.
    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(Blame::NotAllowed, message)
    }

    /// There is no such thing for this caller.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Blame::NotFound, message)
    }

    /// The thing is not in a state for that.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Blame::Conflict, message)
    }

    /// The proxy cannot do it now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Blame::Unavailable, message)
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
