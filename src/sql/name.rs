//! Names of objects, as the catalog spells them (already folded and unquoted).

use std::fmt;

/// A relation, sequence or type: schema and name, never the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QualifiedName {
    /// PostgreSQL schema or MySQL database.
    pub schema: Box<str>,
    /// The name inside the schema.
    pub name: Box<str>,
}

impl QualifiedName {
    /// Pairs a schema with a name.
    pub fn new(schema: impl Into<Box<str>>, name: impl Into<Box<str>>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Quoted(&self.schema), Quoted(&self.name))
    }
}

/// Shows an identifier the way SQL reads it back: bare when it is lower-case and plain, in double
/// quotes otherwise (PostgreSQL, "Identifiers and Key Words").
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && self.0.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0.replace('"', "\"\"")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_where_needed() {
        assert_eq!(QualifiedName::new("public", "orders").to_string(), "public.orders");
        assert_eq!(QualifiedName::new("Sales", "a\"b").to_string(), "\"Sales\".\"a\"\"b\"");
        assert_eq!(Quoted("1st").to_string(), "\"1st\"");
    }
}
