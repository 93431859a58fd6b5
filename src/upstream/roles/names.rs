//! What the roles of the second lock are called, and the passwords that only proxies can derive.
//!
//! Everything follows from one key, the entry of the configuration and the server's database: proxies that
//! share the key agree without a word, others do not collide, and neither do two databases of one cluster.
//! A name ends in a scope, by which a database's own roles are told from all others, and a hash.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::grant::privilege::Privilege;
use crate::identity::scram::{ITERATIONS, hmac, keys};
use crate::secret::Secret;

/// What the name of every role begins with.
pub const PREFIX: &str = "daypass_";

const SUFFIX: &str = "_set";
const DDL_SUFFIX: &str = "_ddl";
/// `NAMEDATALEN - 1`: longest name, bytes.
const NAME_BYTES_MAX: usize = 63;
const SCOPE_DIGITS: usize = 8;
const LOGIN_DIGITS: usize = 12;
const SET_DIGITS: usize = 20;
const SALT_BYTES: usize = 16;

/// Names and passwords of one database's roles.
#[derive(Clone, Debug)]
pub struct Names {
    key: Secret,
    entry: Box<str>,
    database: Box<str>,
    scope: String,
}

impl Names {
    /// Those of an entry of the configuration, which stands for a database of a server.
    pub fn new(key: &Secret, entry: &str, database: &str) -> Self {
        let scope = hex(&derive(key, "scope", &[entry, database]), SCOPE_DIGITS);
        Self { key: key.clone(), entry: entry.into(), database: database.into(), scope }
    }

    fn hash(&self, purpose: &str, what: &str, digits: usize) -> String {
        hex(&derive(&self.key, purpose, &[&self.entry, &self.database, what]), digits)
    }

    /// The role that a principal's sessions log in as: `daypass_alice_` and digits.
    pub fn login(&self, principal: &str) -> String {
        const ROOM: usize = NAME_BYTES_MAX - PREFIX.len() - 1 - SCOPE_DIGITS - LOGIN_DIGITS;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
        let shown = principal.chars().map(|c| if plain(c) { c } else { '_' });
        let shown: String = shown.take(ROOM).collect();
        format!("{PREFIX}{shown}_{}{}", self.scope, self.hash("login", principal, LOGIN_DIGITS))
    }

    /// The role that holds a set of privileges: `daypass_`, digits and `_set`.
    pub fn set(&self, privileges: &[Privilege]) -> String {
        let mut texts: Vec<_> = privileges.iter().map(Privilege::stored).collect();
        texts.sort();
        texts.dedup();
        let hash = self.hash("set", &texts.join("\n"), SET_DIGITS);
        format!("{PREFIX}{}{hash}{SUFFIX}", self.scope)
    }

    /// The role through which a login role may become the `ddl-owner`: `daypass_`, digits and `_ddl`.
    pub fn ddl(&self) -> String {
        format!("{PREFIX}{}{DDL_SUFFIX}", self.scope)
    }

    /// Whether a name is that of a set of this database.
    pub fn is_set(&self, role: &str) -> bool {
        role.strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(SUFFIX))
            .and_then(|rest| rest.strip_prefix(&self.scope))
            .is_some_and(|digits| are_digits(digits, SET_DIGITS))
    }

    /// Whether a name is that of a login role of this database.
    pub fn is_login(&self, role: &str) -> bool {
        let after = role.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('_'));
        after
            .and_then(|(_, rest)| rest.strip_prefix(&self.scope))
            .is_some_and(|digits| are_digits(digits, LOGIN_DIGITS))
    }

    /// Whether a name is that of any role of this database's.
    pub fn is_ours(&self, role: &str) -> bool {
        self.is_login(role) || self.is_set(role) || *role == *self.ddl()
    }

    /// A regular expression of the server's that matches this database's roles and no others.
    pub fn pattern(&self) -> String {
        pattern(&self.scope)
    }

    /// The password of a login role on a cluster: 256 bits, in hexadecimal digits.
    pub fn password(&self, cluster: &str, role: &str) -> Secret {
        let bytes = derive(&self.key, "password", &[cluster, role]);
        Secret::new(hex(&bytes, 2 * bytes.len()))
    }

    /// What the server keeps of the password: enough to check it, not enough to log in. Milliseconds
    /// of hashing. The salt is derived, too, so that every proxy writes the same.
    pub fn verifier(&self, cluster: &str, role: &str) -> String {
        let salt = derive(&self.key, "salt", &[cluster, role]);
        let salt = salt.get(..SALT_BYTES).unwrap_or(&salt);
        let keys = keys(self.password(cluster, role).expose(), salt, ITERATIONS);
        format!(
            "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
            STANDARD.encode(salt),
            STANDARD.encode(keys.stored.expose()),
            STANDARD.encode(keys.server.expose())
        )
    }
}

/// A regular expression of the server's that matches the roles of any database and key, and not other roles whose
/// names begin alike: a service account, the account of a shared store.
pub fn any() -> String {
    pattern(&format!("[0-9a-f]{{{SCOPE_DIGITS}}}"))
}

fn pattern(scope: &str) -> String {
    format!(
        "^{PREFIX}({scope}([0-9a-f]{{{SET_DIGITS}}}{SUFFIX}|{DDL_SUFFIX})|.*_{scope}[0-9a-f]{{{LOGIN_DIGITS}}})$"
    )
}

/// A value of its own for each purpose; no name has a NUL, so the parts cannot run into each other.
pub(in crate::upstream) fn derive(key: &Secret, purpose: &str, parts: &[&str]) -> [u8; 32] {
    let mut text = format!("daypass second lock\0{purpose}");
    for part in parts {
        text.push('\0');
        text.push_str(part);
    }
    hmac(key.expose(), &[text.as_bytes()])
}

pub(in crate::upstream) fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = String::with_capacity(digits);
    for byte in bytes.iter().take(digits.div_ceil(2)) {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(digits);
    text
}

pub(in crate::upstream) fn are_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grant::privilege::parse_stored;

    fn names(entry: &str, database: &str) -> Names {
        Names::new(&Secret::new("a key of at least thirty-two bytes"), entry, database)
    }

    fn privileges(texts: &[&str]) -> Vec<Privilege> {
        texts.iter().map(|text| parse_stored(text).unwrap()).collect()
    }

    #[test]
    fn a_role_is_readable_and_one_a_principal_entry_and_database() {
        let shop = names("shop", "shop");
        let alice = shop.login("alice");
        assert!(alice.starts_with("daypass_alice_"), "{alice}");
        assert!(shop.is_login(&alice) && !shop.is_set(&alice));
        let others = [
            shop.login("alice "),
            names("shop", "crm").login("alice"),
            names("crm", "shop").login("alice"),
            Names::new(&Secret::new("another key"), "shop", "shop").login("alice"),
        ];
        for other in others {
            assert_ne!(alice, other);
        }
        assert!(!names("crm", "shop").is_login(&alice));
    }

    #[test]
    fn a_set_is_named_by_what_is_in_it_whatever_the_order() {
        let shop = names("shop", "shop");
        let one = privileges(&["SELECT ON public.a", "READ ON SCHEMA s"]);
        let other = privileges(&["READ ON SCHEMA s", "SELECT ON public.a", "SELECT ON public.a"]);
        let set = shop.set(&one);
        assert_eq!(set, shop.set(&other));
        assert_ne!(set, shop.set(&privileges(&["SELECT ON public.a"])));
        assert!(shop.is_set(&set) && !shop.is_login(&set), "{set}");
    }

    #[test]
    fn a_password_is_one_a_cluster_and_role_and_its_verifier_has_nothing_of_it() {
        let shop = names("shop", "shop");
        let password = shop.password("7001", "daypass_alice_1");
        assert_eq!(password.expose().len(), 64);
        assert_ne!(password, shop.password("7002", "daypass_alice_1"));
        assert_ne!(password, shop.password("7001", "daypass_bob_1"));
        let verifier = shop.verifier("7001", "daypass_alice_1");
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:"));
        assert!(!verifier.contains(password.expose_str().unwrap()));
        assert_eq!(verifier, shop.verifier("7001", "daypass_alice_1"));
    }

    proptest! {
        #[test]
        fn every_principal_has_a_name_that_fits(principal in "\\PC{1,63}") {
            let shop = names("shop", "shop");
            let role = shop.login(&principal);
            prop_assert!(role.len() <= NAME_BYTES_MAX && role.is_ascii());
            prop_assert!(shop.is_login(&role) && !shop.is_set(&role));
        }
    }
}
