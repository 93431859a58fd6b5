//! Names of new things: short, without meaning, not to be guessed.

use getrandom::fill;

/// Crockford's base 32: no `i`, `l`, `o`, `u`.
const ALPHABET: [char; 32] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'j',
    'k', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w', 'x', 'y', 'z',
];

/// Characters after the prefix: 60 bits.
pub const ID_CHARACTERS: usize = 12;

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// A new name: the prefix (`g_`, `r_`, `t_`, `s_`) and [`ID_CHARACTERS`] characters of Crockford's base 32.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_id(prefix: &str) -> Result<String, NoRandomness> {
    let bytes: [u8; ID_CHARACTERS] = random()?;
    let mut id = String::with_capacity(prefix.len() + ID_CHARACTERS);
    id.push_str(prefix);
    // 256 is a multiple of 32, so every character is as likely as another.
    id.extend(bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))));
    Ok(id)
}

/// Random bytes.
///
/// # Errors
/// When the operating system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_and_never_the_same() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| new_id("g_").unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let rest = id.strip_prefix("g_").unwrap();
            assert_eq!(rest.len(), ID_CHARACTERS);
            assert!(rest.chars().all(|c| ALPHABET.contains(&c)), "{id}");
        }
    }
}
