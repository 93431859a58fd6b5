//! What the accounts of the second lock are called, and the passwords that only proxies can derive.

use super::verifier::Plugin;
use crate::secret::Secret;
use crate::upstream::roles::names::{are_digits, derive, hex};

/// What the name of every account begins with.
pub const PREFIX: &str = "daypass_";
/// Longest name of an account on MySQL, characters. (MariaDB has 128.)
const NAME_MAX: usize = 32;
const SCOPE_DIGITS: usize = 6;
const LOGIN_DIGITS: usize = 10;

/// Names and passwords of the accounts of one entry of the configuration.
#[derive(Clone, Debug)]
pub struct Names {
    key: Secret,
    entry: Box<str>,
    scope: String,
}

impl Names {
    /// Those of an entry, which stands for a server.
    pub fn new(key: &Secret, entry: &str) -> Self {
        let scope = hex(&derive(key, "account scope", &[entry]), SCOPE_DIGITS);
        Self { key: key.clone(), entry: entry.into(), scope }
    }

    /// The account that a principal's sessions log in as: `daypass_alice_` and digits.
    pub fn account(&self, principal: &str) -> String {
        const ROOM: usize = NAME_MAX - PREFIX.len() - 1 - SCOPE_DIGITS - LOGIN_DIGITS;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let shown = principal.chars().map(|c| if plain(c) { c } else { '_' });
        let shown: String = shown.take(ROOM).collect();
        let hash = hex(&derive(&self.key, "account", &[&self.entry, principal]), LOGIN_DIGITS);
        format!("{PREFIX}{shown}_{}{hash}", self.scope)
    }

    /// What the names of this entry's accounts have in common.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Whether a name is that of an account of this entry.
    pub fn is_ours(&self, account: &str) -> bool {
        let after = account.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('_'));
        after
            .and_then(|(_, rest)| rest.strip_prefix(&self.scope))
            .is_some_and(|digits| are_digits(digits, LOGIN_DIGITS))
    }

    /// What a server keeps of the password ([`Plugin::verifier`]). The salt is derived, too, so that every proxy
    /// writes the same, and what was written can be told from what somebody else wrote.
    pub fn verifier(&self, plugin: Plugin, account: &str) -> String {
        let salt = derive(&self.key, "account salt", &[&self.entry, account]);
        plugin.verifier(&self.password(account), &salt)
    }

    /// The password of an account: 256 bits, in hexadecimal digits.
    pub fn password(&self, account: &str) -> Secret {
        let bytes = derive(&self.key, "account password", &[&self.entry, account]);
        Secret::new(hex(&bytes, 2 * bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(entry: &str) -> Names {
        Names::new(&Secret::new("a key of at least thirty-two bytes"), entry)
    }

    #[test]
    fn an_account_is_readable_and_one_a_principal_and_entry() {
        let shop = names("shop");
        let alice = shop.account("alice");
        assert!(alice.starts_with("daypass_alice_"), "{alice}");
        assert_ne!(alice, shop.account("alice "));
        assert_ne!(alice, names("crm").account("alice"));
        assert!(shop.is_ours(&alice) && !names("crm").is_ours(&alice));
        assert_ne!(shop.password(&alice), shop.password(&shop.account("bob")));
        assert_eq!(shop.password(&alice).expose().len(), 64);
    }

    proptest! {
        #[test]
        fn every_principal_has_a_name_that_fits(principal in "\\PC{1,63}") {
            let shop = names("shop");
            let account = shop.account(&principal);
            prop_assert!(account.len() <= NAME_MAX && account.is_ascii());
            prop_assert!(shop.is_ours(&account));
        }
    }
}
