//! What is measured before the grammar sees a text, and what is found in its tokens afterwards.
//!
//! Nothing here recurses: a hostile text costs time in proportion to its length and no stack.

use std::ops::Range;

use super::ParseLimits;
use super::lexer::{Kind, Lexer};
use crate::sql::statement::NotUnderstood;

/// The literals of a message.
pub(super) struct Measured {
    /// Every string and number, in order.
    pub literals: Vec<Literal>,
}

/// One literal.
pub(super) struct Literal {
    /// Where it stands.
    pub range: Range<usize>,
    /// Whether it is a string.
    pub text: bool,
}

/// Checks a text against the limits, and finds its literals.
///
/// # Errors
///
/// Names the limit that the text is beyond.
pub(super) fn measure(text: &str, limits: &ParseLimits) -> Result<Measured, NotUnderstood> {
    let refuse = |what: String| Err(NotUnderstood::TooComplex { what });
    if text.len() > limits.bytes_max {
        return refuse(format!(
            "The statement has {} bytes; at most {} are read.",
            text.len(),
            limits.bytes_max
        ));
    }
    let mut literals = Vec::new();
    // CASE is counted apart: END is also a label, which must not take a parenthesis off.
    let (mut tokens, mut depth, mut cases, mut prefixes) = (0_usize, 0_usize, 0_usize, 0_usize);
    for token in Lexer::new(text) {
        tokens += 1;
        if tokens > limits.tokens_max {
            return refuse(format!(
                "The statement has more than {} words and signs.",
                limits.tokens_max
            ));
        }
        let mut prefix = false;
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Text | Kind::Number => {
                literals.push(Literal { range: token.range(), text: token.kind == Kind::Text });
            }
            // Two in a row are prefix operators at least from the second on; in `a = - b` that
            // counts one too many, which is harmless.
            Kind::Operator => prefix = true,
            Kind::Word => {
                let word = token.text(text);
                if word.eq_ignore_ascii_case("case") {
                    cases += 1;
                } else if word.eq_ignore_ascii_case("end") {
                    cases = cases.saturating_sub(1);
                }
                prefix = word.eq_ignore_ascii_case("not");
            }
            Kind::Semicolon => (depth, cases) = (0, 0),
            Kind::Quoted | Kind::Parameter | Kind::Other => {}
        }
        prefixes = if prefix { prefixes + 1 } else { 0 };
        if depth + cases + prefixes > limits.nesting_max {
            return refuse(format!(
                "The statement nests deeper than {} levels.",
                limits.nesting_max
            ));
        }
    }
    Ok(Measured { literals })
}

/// Whether a text that was not understood may hold credentials, so that none of it may be recorded.
///
/// A rough test that errs towards yes: a word is enough.
pub fn credentials_hint(text: &str) -> bool {
    const HINTS: [&str; 13] = [
        "password",
        "passwd",
        "pwd",
        "secret",
        "scram-sha-256",
        "user mapping",
        "subscription",
        "connection",
        "conninfo",
        "dblink",
        "server",
        "identified",
        "token",
    ];
    let lower = text.to_ascii_lowercase();
    // Comments or line ends may stand between `user` and `mapping`.
    HINTS.iter().any(|hint| lower.contains(hint)) || lower.contains("mapping")
}

#[cfg(test)]
mod tests {
    use super::{ParseLimits, credentials_hint, measure};

    #[test]
    fn limits_hold() {
        let limits = ParseLimits { bytes_max: 200, tokens_max: 20, nesting_max: 5 };
        let refused = |text: &str| measure(text, &limits).is_err();
        assert!(refused(&"x".repeat(201)));
        assert!(refused(&"1 ".repeat(21)));
        assert!(refused("select ((((((1))))))"));
        assert!(refused("select (([[(case when 1"));
        assert!(refused("select not not not not not not true"));
        assert!(refused("select - - - - - - 1"));
        assert!(!refused("select '((((((((', \"((((((\" /* (((((( */ -- ((((((("));
        assert!(!refused("select (1), (2), (3), (4), (5)"));
    }

    #[test]
    fn credentials_are_suspected() {
        assert!(credentials_hint("alter role x passWord 'y' frm"));
        assert!(!credentials_hint("select 1 frm t"));
    }
}
