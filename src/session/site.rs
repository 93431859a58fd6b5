//! A session's servers: the primary, and at most one replica at a time. What runs, runs at one of them.

use std::ops::{Index, IndexMut};

/// One of a session's servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Site {
    /// The primary.
    #[default]
    Primary,
    /// The replica that the session is connected to.
    Replica,
}

impl Site {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Replica];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Replica,
            Self::Replica => Self::Primary,
        }
    }

    /// As records have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// Something that there is of either.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sites<T> {
    /// Of the primary.
    pub primary: T,
    /// Of the replica.
    pub replica: T,
}

impl<T> Index<Site> for Sites<T> {
    type Output = T;

    fn index(&self, site: Site) -> &T {
        match site {
            Site::Primary => &self.primary,
            Site::Replica => &self.replica,
        }
    }
}

impl<T> IndexMut<Site> for Sites<T> {
    fn index_mut(&mut self, site: Site) -> &mut T {
        match site {
            Site::Primary => &mut self.primary,
            Site::Replica => &mut self.replica,
        }
    }
}
