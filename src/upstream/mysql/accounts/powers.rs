//! What the service account may do, as SHOW GRANTS says it.

use std::collections::BTreeSet;

use super::rights::SchemaNames;

/// Rights of one account, those of its roles included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Powers {
    global: BTreeSet<String>,
    gives_global: bool,
    databases: Vec<OnDatabase>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OnDatabase {
    /// A pattern, unless names are literal.
    name: String,
    rights: BTreeSet<String>,
    gives: bool,
}

impl OnDatabase {
    fn has(&self, right: &str) -> bool {
        self.rights.contains(ALL) || self.rights.contains(right)
    }
}

const ALL: &str = "ALL PRIVILEGES";

impl Powers {
    /// Reads the lines of SHOW GRANTS. What is about single tables and routines is left out, and what MySQL's partial
    /// revokes take back.
    pub fn read<'l>(lines: impl Iterator<Item = &'l str>) -> Self {
        let mut powers = Self::default();
        for line in lines {
            let Some((rights, place, rest)) = split_grant(line) else { continue };
            let gives = rest.contains(" WITH GRANT OPTION");
            let rights = rights.split(',').map(|it| it.trim().to_uppercase());
            if place == "*.*" {
                powers.global.extend(rights);
                powers.gives_global |= gives;
            } else if let Some(name) = place.strip_suffix(".*") {
                let name = name.trim_matches('`').replace("``", "`");
                powers.databases.push(OnDatabase { name, rights: rights.collect(), gives });
            }
        }
        powers
    }

    /// Whether it has a right on everything.
    pub fn has(&self, right: &str) -> bool {
        self.global.contains(ALL) || self.global.contains(right)
    }

    /// Whether it has a right on all of a database.
    pub fn has_on(&self, right: &str, database: &str, names: SchemaNames) -> bool {
        self.has(right) || self.on(database, names).any(|it| it.has(right))
    }

    fn on(&self, database: &str, names: SchemaNames) -> impl Iterator<Item = &OnDatabase> {
        self.databases.iter().filter(move |it| match names {
            SchemaNames::Literal => it.name == database,
            SchemaNames::Patterns => matches(&it.name, database),
        })
    }

    /// Whether it may give a right on all of a database.
    pub fn gives(&self, right: &str, database: &str, names: SchemaNames) -> bool {
        // On MySQL and MariaDB the right and the option may come from two places.
        let (mut has, mut gives) = (self.has(right), self.gives_global);
        for it in self.on(database, names) {
            has |= it.has(right);
            gives |= it.gives;
        }
        has && gives
    }
}

/// A line of SHOW GRANTS: rights, place, and what comes after TO. `None` for one that is about roles.
pub fn split_grant(line: &str) -> Option<(&str, &str, &str)> {
    let (rights, rest) = split_outside(line.strip_prefix("GRANT ")?, " ON ")?;
    let (place, rest) = split_outside(rest, " TO ")?;
    Some((rights, place, rest))
}

/// Splits at the first `at` that is not inside a quoted name.
fn split_outside<'t>(text: &'t str, at: &str) -> Option<(&'t str, &'t str)> {
    let mut quoted = false;
    for (index, letter) in text.char_indices() {
        if letter == '`' {
            quoted = !quoted;
        } else if let (false, Some(after)) = (quoted, text[index..].strip_prefix(at)) {
            return Some((&text[..index], after));
        }
    }
    None
}

/// Whether a name is one of a pattern: `%` is anything, `_` one letter, `\` takes the next as it is.
fn matches(pattern: &str, name: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => name.is_empty(),
        Some('%') => {
            let rest = letters.as_str();
            name.char_indices().any(|(at, _)| matches(rest, &name[at..])) || matches(rest, "")
        }
        Some(first) => {
            let (any, first) = match first {
                '_' => (true, '_'),
                '\\' => (false, letters.next().unwrap_or('\\')),
                other => (false, other),
            };
            let mut of_name = name.chars();
            of_name.next().is_some_and(|it| any || it == first)
                && matches(letters.as_str(), of_name.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_either_server_are_read() {
        let powers = Powers::read(
            [
                "GRANT `r` TO `svc`@`%`",
                "GRANT CREATE USER, PROCESS ON *.* TO `svc`@`%` WITH GRANT OPTION",
                "GRANT CONNECTION_ADMIN ON *.* TO `svc`@`%`",
                "GRANT SELECT ON `mysql`.* TO `r`",
                "GRANT ALL PRIVILEGES ON `app\\_%`.* TO `svc`@`%` WITH GRANT OPTION",
                "GRANT INSERT ON `odd`` ON `.* TO `svc`@`%`",
                "GRANT SELECT (`a`), UPDATE ON `x`.`t` TO `svc`@`%` WITH GRANT OPTION",
                "SET DEFAULT ROLE `r` FOR `svc`@`%`",
            ]
            .into_iter(),
        );
        assert!(powers.has("CREATE USER") && powers.has("CONNECTION_ADMIN"));
        assert!(!powers.has("SELECT") && !powers.has("SUPER"));
        let gives = |right, database| powers.gives(right, database, SchemaNames::Patterns);
        assert!(gives("SELECT", "app_shop") && !gives("SELECT", "appxshop"));
        // The option that stands at everything is for what it has on a database, too.
        assert!(gives("SELECT", "mysql") && !gives("UPDATE", "mysql"));
        assert!(gives("INSERT", "odd` ON ") && !gives("SELECT", "x"));
        assert!(!powers.gives("SELECT", "app_shop", SchemaNames::Literal));
        let root = ["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"];
        let root = Powers::read(root.into_iter());
        assert!(root.has("PROCESS") && root.gives("SELECT", "any", SchemaNames::Patterns));
    }

    #[test]
    fn patterns_are_the_servers() {
        for (pattern, name, expected) in [
            ("a%", "a", true),
            ("a%", "abc", true),
            ("%b%", "abc", true),
            ("a_", "ab", true),
            ("a_", "a", false),
            ("a\\_", "ab", false),
            ("a\\_", "a_", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
