//! Operators of the server that stand beside those that users made, and are nearer to the operands.
//!
//! The catalog has users' operators only. Of the server's it is known that each of these types is compared with
//! itself, and numbers are added, by an operator for exactly that type (pg_operator.dat, unchanged from 13 to
//! 18). Where both operands are of it, or one is and the other is a literal, oper() of parse_oper.c takes that
//! one or another that fits as exactly: not an operator on a domain over it, which any value of the type fits.

use super::overload::{Argument, base};
use crate::sql::catalog::{Catalog, Operator, TypeId};

const COMPARISONS: [&str; 6] = ["=", "<>", "<", ">", "<=", ">="];
const ARITHMETIC: [&str; 4] = ["+", "-", "*", "/"];

/// int2, int4, int8, float4, float8, numeric.
const NUMBERS: [TypeId; 6] = [21, 23, 20, 700, 701, 1700];

/// bool, bytea, "char", name, text, oid, bpchar, date, time, timestamp, timestamptz, interval, timetz, uuid.
/// Not varchar, which is compared as text.
const OTHERS: [TypeId; 14] =
    [16, 17, 18, 19, 25, 26, 1042, 1082, 1083, 1114, 1184, 1186, 1266, 2950];

/// Users' operators of a name, and the operands that they are to fit.
pub(super) struct Rivals<'a> {
    catalog: &'a Catalog,
    name: &'a str,
    left: Argument,
    right: Argument,
}

impl<'a> Rivals<'a> {
    /// Of these.
    pub(super) fn new(
        catalog: &'a Catalog,
        name: &'a str,
        left: Argument,
        right: Argument,
    ) -> Self {
        Self { catalog, name, left, right }
    }

    /// Whether the server has an operator of the name for exactly that type, on both sides.
    fn server_has(&self, id: TypeId) -> bool {
        let number = NUMBERS.contains(&id);
        if COMPARISONS.contains(&self.name) {
            return number || OTHERS.contains(&id);
        }
        number && ARITHMETIC.contains(&self.name)
    }

    /// Whether the server may choose one.
    pub(super) fn may_be(&self, operator: &Operator) -> bool {
        let takes = |left, right| operator.left == left && operator.right == right;
        let both = match (self.left, self.right) {
            (Argument::Type(left), Argument::Type(right)) => Some((left, right)),
            // A literal is taken to be of the other operand's type.
            (Argument::Type(known), Argument::Literal)
            | (Argument::Literal, Argument::Type(known)) => Some((known, known)),
            _ => None,
        };
        if let Some((left, right)) = both {
            let below = base(self.catalog, left);
            if self.server_has(below) && below == base(self.catalog, right) {
                return takes(left, right) || takes(below, below);
            }
        }
        // Of an operator on a domain, less is enough: the one on what is below it takes all that it takes,
        // and is as near or nearer to everything but values of the domain.
        let below = base(self.catalog, operator.left);
        if !self.server_has(below)
            || below != base(self.catalog, operator.right)
            || takes(below, below)
        {
            return true;
        }
        let is = |argument, wanted| match argument {
            Argument::Type(id) => id == wanted,
            Argument::Literal | Argument::Unknown => true,
        };
        let literals = self.left == Argument::Literal && self.right == Argument::Literal;
        is(self.left, operator.left) && is(self.right, operator.right) && !literals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::catalog::{Routine, Type, TypeKind};
    use crate::sql::name::QualifiedName;

    const INT4: TypeId = 23;
    const TEXT: TypeId = 25;
    const VARCHAR: TypeId = 1043;
    /// A domain over text, and one over varchar.
    const WORD: TypeId = 20_000;
    const SHORT: TypeId = 20_001;

    fn catalog() -> Catalog {
        let kind = |base, kind| Type {
            kind,
            category: 'S',
            preferred: false,
            element: 0,
            base,
            checks: Vec::new(),
            at_replica: true,
        };
        let mut catalog = Catalog::default();
        for (id, of) in [(INT4, 0), (TEXT, 0), (VARCHAR, 0), (WORD, TEXT), (SHORT, VARCHAR)] {
            let what = if of == 0 { TypeKind::Base } else { TypeKind::Domain };
            catalog.types.insert(id, kind(of, what));
        }
        catalog
    }

    #[test]
    fn an_operator_on_a_domain_is_for_values_of_the_domain() {
        let known = Argument::Type;
        for (name, left, right, operator, open) in [
            ("=", known(TEXT), Argument::Literal, (WORD, WORD), false),
            ("=", known(TEXT), known(TEXT), (WORD, WORD), false),
            ("=", known(WORD), known(TEXT), (WORD, WORD), false),
            ("=", known(WORD), known(TEXT), (WORD, TEXT), true),
            ("=", known(WORD), known(WORD), (WORD, WORD), true),
            ("=", Argument::Literal, known(WORD), (WORD, WORD), true),
            ("=", known(WORD), known(WORD), (TEXT, TEXT), true),
            ("=", known(TEXT), known(TEXT), (TEXT, TEXT), true),
            // The server has no `text || text` of these lists, and compares varchar as text.
            ("||", known(TEXT), known(TEXT), (WORD, WORD), true),
            ("=", known(VARCHAR), known(VARCHAR), (SHORT, SHORT), true),
            ("+", known(INT4), known(INT4), (WORD, INT4), false),
            ("+", known(TEXT), known(TEXT), (WORD, WORD), true),
            ("=", known(INT4), known(TEXT), (WORD, WORD), false),
            ("=", Argument::Unknown, known(TEXT), (WORD, WORD), false),
            ("=", known(INT4), Argument::Unknown, (WORD, WORD), false),
            ("=", known(WORD), Argument::Unknown, (WORD, WORD), true),
            ("=", Argument::Unknown, Argument::Unknown, (WORD, WORD), true),
            ("=", known(TEXT), Argument::Unknown, (TEXT, TEXT), true),
            ("=", known(TEXT), Argument::Unknown, (WORD, TEXT), false),
            ("=", known(TEXT), Argument::Unknown, (TEXT, WORD), true),
            // Strings are text before they are a domain over it.
            ("=", Argument::Literal, Argument::Literal, (WORD, WORD), false),
        ] {
            let name_of = QualifiedName::new("public", "f");
            let function = Routine { name: name_of, arguments: "".into() };
            let operator = Operator { left: operator.0, right: operator.1, function };
            let catalog = catalog();
            let rivals = Rivals::new(&catalog, name, left, right);
            assert_eq!(rivals.may_be(&operator), open, "{name} {left:?} {right:?} {operator:?}");
        }
    }
}
