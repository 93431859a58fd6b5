//! Names of columns, compared.

/// Whether two names of columns are the same. The server's collation takes letters with and without accents
/// for the same, which is not known here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Same {
    /// Never.
    No,
    /// To some collation.
    Perhaps,
    /// To all.
    Yes,
}

/// Compares two names in lower case.
pub(super) fn same(one: &str, other: &str) -> Same {
    if one == other {
        return Same::Yes;
    }
    if one.is_ascii() && other.is_ascii() {
        return Same::No;
    }
    let alike = |(a, b): (char, char)| a == b || !a.is_ascii() || !b.is_ascii();
    let length = one.chars().count() == other.chars().count();
    if length && one.chars().zip(other.chars()).all(alike) { Same::Perhaps } else { Same::No }
}
