//! What the operator has chosen for a database's reads.

use std::time::Duration;

/// What a read has to see, to be answered by a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// What its session has written: by a replica that has it, after a short wait, or by the primary.
    #[default]
    Session,
    /// The same; a longer wait is better than the primary.
    Wait,
    /// Whatever replicas have: a session may miss what it has just written.
    Eventual,
    /// Replicas answer nothing.
    Off,
}

impl Freshness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Session, Self::Wait, Self::Eventual, Self::Off];

    /// As the configuration has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Wait => "wait",
            Self::Eventual => "eventual",
            Self::Off => "off",
        }
    }

    /// How long a session waits for a replica when the operator does not say.
    pub const fn default_wait(self) -> Duration {
        match self {
            Self::Session | Self::Eventual => Duration::from_millis(50),
            Self::Wait => Duration::from_secs(1),
            Self::Off => Duration::ZERO,
        }
    }
}

/// Who answers when no replica can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Floor {
    /// The primary.
    #[default]
    Primary,
    /// Nobody: the client gets an error, and the primary is spared.
    Error,
}

impl Floor {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Error];

    /// As the configuration has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Error => "error",
        }
    }
}

/// What the operator has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a read has to see.
    pub freshness: Freshness,
    /// How long it waits for a replica to have that.
    pub wait: Duration,
    /// Who answers when no replica can.
    pub floor: Floor,
}

impl Default for Policy {
    fn default() -> Self {
        let freshness = Freshness::default();
        Self { freshness, wait: freshness.default_wait(), floor: Floor::default() }
    }
}
