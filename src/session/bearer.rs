//! The form of bearer tokens.
//!
//! `mst_`, 43 random letters and digits (256 bits), and 6 that check the rest: its CRC-32 in base 62, as GitHub's tokens
//! have it. The prefix is what secret scanners look for, the sum tells a token from a text that only looks like one, so
//! that a cut or mistyped token costs no look-up; it proves nothing. No character ends a word, so that a double click
//! takes the whole. One kind of text for all tokens: what is meant for refreshing and sent as a credential stays here.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// SHA-256 of a token: all that is kept of it. 256 random bits need no slow hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

/// The system gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no token could be made: the system has no randomness")]
pub struct NoToken;

/// Makes a token that nobody has.
///
/// # Errors
/// [`NoToken`].
pub fn new_token() -> Result<SecretString, NoToken> {
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_CHARS));
    text.push_str(TOKEN_PREFIX);
    let mut random = Zeroizing::new([0_u8; RANDOM_CHARS]);
    while text.len() < SIGNED_CHARS {
        rand::fill(&mut *random).map_err(|_| NoToken)?;
        // 248 is the largest multiple of 62 in a byte: every character is as likely as every other.
        let digits = random.iter().filter(|byte| **byte < 248);
        let missing = SIGNED_CHARS - text.len();
        text.extend(digits.take(missing).map(|byte| digit(u32::from(*byte))));
    }
    let sum = checksum(text.as_bytes());
    text.extend(sum.iter().map(|byte| char::from(*byte)));
    Ok(SecretString::from(text.as_str().to_owned()))
}

/// Names a token in listings and in the log. Not a secret.
///
/// # Errors
/// [`NoToken`].
pub fn new_token_id() -> Result<String, NoToken> {
    let mut random = [0_u8; ID_CHARS];
    rand::fill(&mut random).map_err(|_| NoToken)?;
    let digits = random.iter().map(|byte| char::from(ID_DIGITS[usize::from(byte & 31)]));
    Ok(ID_PREFIX.chars().chain(digits).collect())
}

impl TokenHash {
    /// Of what claims to be a token; `None` when it has not the form of one, or its sum is wrong.
    pub fn of(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(TOKEN_PREFIX.as_bytes())?;
        if text.len() != TOKEN_CHARS || !rest.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let (signed, sum) = text.split_at(SIGNED_CHARS);
        (sum == checksum(signed)).then(|| Self::of_checked(text))
    }

    /// Of a token that was just made.
    pub fn of_new(token: &SecretString) -> Self {
        Self::of_checked(token.expose_secret().as_bytes())
    }

    /// As the store keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of_checked(text: &[u8]) -> Self {
        let mut hash = [0_u8; 32];
        hash.copy_from_slice(digest(&SHA256, text).as_ref());
        Self(hash)
    }
}

/// CRC-32 (IEEE) in base 62, most significant digit first.
fn checksum(signed: &[u8]) -> [u8; SUM_CHARS] {
    let mut rest = crc32fast::hash(signed);
    let mut sum = [b'0'; SUM_CHARS];
    for place in sum.iter_mut().rev() {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    sum
}

fn digit(value: u32) -> char {
    char::from(DIGITS[(value % 62) as usize])
}

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "mst_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_PREFIX: &str = "t_";
/// Five bits each.
const ID_CHARS: usize = 16;
/// Crockford's base 32, lower case, as in user ids.
const ID_DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_CHARS: usize = 43;
const SUM_CHARS: usize = 6;
const SIGNED_CHARS: usize = TOKEN_PREFIX.len() + RANDOM_CHARS;
const TOKEN_CHARS: usize = SIGNED_CHARS + SUM_CHARS;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_differ_and_have_the_documented_form() {
        let tokens: HashSet<String> = (0..500)
            .map(|_| new_token().unwrap().expose_secret().to_owned())
            .collect();
        assert_eq!(tokens.len(), 500);
        for token in &tokens {
            assert_eq!(token.len(), 53, "{token}");
            let rest = token.strip_prefix("mst_").unwrap();
            assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
            assert!(TokenHash::of(token.as_bytes()).is_some(), "{token}");
        }
        let used: HashSet<char> = tokens.iter().flat_map(|token| token.chars()).collect();
        assert_eq!(used.len(), 63, "all digits and the underscore");
    }

    /// The sum as others compute it: `zlib.crc32`, base 62, six digits.
    #[test]
    fn the_sum_is_a_crc_32_in_base_62() {
        let signed = format!("mst_{}", "a".repeat(43));
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        let token = format!("{signed}{}", String::from_utf8_lossy(&checksum(signed.as_bytes())));
        assert!(TokenHash::of(token.as_bytes()).is_some());
        assert_eq!(checksum(b""), *b"000000");
    }

    #[test]
    fn a_token_with_any_other_character_is_none() {
        let token = new_token().unwrap().expose_secret().to_owned();
        for at in 0..token.len() {
            for with in ["0", "z", "_", "-", " ", "A"] {
                if token[at..=at] == *with {
                    continue;
                }
                let mut other = token.clone();
                other.replace_range(at..=at, with);
                assert_eq!(TokenHash::of(other.as_bytes()), None, "{at} {with:?}");
            }
        }
        for other in [
            String::new(),
            "mst_".to_owned(),
            token.to_uppercase(),
            format!("{token}0"),
            token[..52].to_owned(),
            format!("{token}, Bearer x"),
        ] {
            assert_eq!(TokenHash::of(other.as_bytes()), None, "{other}");
        }
    }
}
