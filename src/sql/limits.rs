//! How much of a text is read.

/// Bounds on one message, checked before its grammar sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    /// Length of the text in bytes.
    pub bytes_max: usize,
    /// Number of tokens.
    pub tokens_max: usize,
    /// Depth of parentheses, and of what else nests by itself: brackets, CASE, prefix operators.
    pub nesting_max: usize,
}

impl Default for ParseLimits {
    /// Room for an INSERT of 65 535 parameters or a few megabytes of literals; a level of nesting costs up to
    /// 20 kB of stack in the walk of PostgreSQL's tree, so that 256 fit 8 MiB with room to spare.
    fn default() -> Self {
        Self { bytes_max: 16 << 20, tokens_max: 600_000, nesting_max: 256 }
    }
}
