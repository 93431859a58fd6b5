//! Crockford's base 32 in lower case: no letter that is taken for a digit, nothing that a shell, an
//! URL or a configuration file would need escaped (<https://www.crockford.com/base32.html>).

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Five bits a character, the last one filled with zero bits.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((bytes.len() * 8).div_ceil(5));
    let (mut held, mut bits) = (0_u32, 0_u32);
    for &byte in bytes {
        held = (held << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(held >> bits));
        }
    }
    if bits > 0 {
        text.push(digit(held << (5 - bits)));
    }
    text
}

/// Whether `text` has only characters that [`encode`] writes.
pub fn is_alphabet(text: &str) -> bool {
    text.bytes().all(|byte| ALPHABET.contains(&byte))
}

fn digit(value: u32) -> char {
    ALPHABET.get((value & 31) as usize).map_or('0', |&byte| char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bits_a_character() {
        assert_eq!(encode(b""), "");
        assert_eq!(encode(&[0]), "00");
        assert_eq!(encode(&[0xff]), "zw");
        assert_eq!(encode(b"hello"), "d1jprv3f");
        assert_eq!(encode(&[0x00, 0x44, 0x32, 0x14, 0xc7]), "01234567");
    }

    #[test]
    fn letters_that_look_like_digits_are_not_in_it() {
        assert!(is_alphabet("01zhjkm"));
        for wrong in ["i", "l", "o", "u", "A", "_", "é"] {
            assert!(!is_alphabet(wrong), "{wrong}");
        }
    }
}
