//! User ids: `u_` and 128 random bits as 26 letters and digits.
//!
//! Random rather than counted, so that an id tells nothing about how many people there are and is never given twice,
//! also after a restored backup. Lower case without `i`, `l`, `o`, `u`: it survives being read out and folded.

use aws_lc_rs::rand;

use crate::store::fold_username;

/// The system gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers: check that getrandom(2) is permitted")]
pub struct NoRandomness;

/// Makes an id that nobody has.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_user_id() -> Result<String, NoRandomness> {
    let mut random = [0; 16];
    rand::fill(&mut random).map_err(|_| NoRandomness)?;
    Ok(format_id(u128::from_be_bytes(random)))
}

/// Whether a name could be taken for an id, in whatever spelling. Such a username must be refused where one is given: an application that
/// falls back from one to the other must not meet somebody else.
#[must_use]
pub fn looks_like_user_id(name: &str) -> bool {
    fold_username(name)
        .strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == DIGITS && rest.bytes().all(is_id_byte))
}

fn format_id(bits: u128) -> String {
    let mut id = String::with_capacity(PREFIX.len() + DIGITS);
    id.push_str(PREFIX);
    // The first digit holds the three bits that 25 digits of five bits leave over.
    for digit in (0..DIGITS).rev() {
        id.push(char::from(ALPHABET[(bits >> (5 * digit)) as usize & 31]));
    }
    id
}

const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

const PREFIX: &str = "u_";
const DIGITS: usize = 26;

/// Crockford's base 32, lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_bit_of_the_random_number_is_in_the_id() {
        assert_eq!(format_id(0), format!("u_{}", "0".repeat(26)));
        assert_eq!(format_id(u128::MAX), format!("u_7{}", "z".repeat(25)));
        let ids: HashSet<_> = (0..128).map(|bit| format_id(1 << bit)).collect();
        assert_eq!(ids.len(), 128);
    }

    #[test]
    fn ids_look_like_ids_and_differ() {
        let ids: HashSet<_> = (0..1000).map(|_| new_user_id().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 28 && looks_like_user_id(id)));
    }

    #[test]
    fn names_that_could_be_taken_for_an_id_are_recognised_in_any_spelling() {
        let id = "u_7zzzzzzzzzzzzzzzzzzzzzzzzz";
        let table = [
            (id.to_owned(), true),
            (id.to_uppercase(), true),
            (id.replace("u_", "ｕ＿"), true),
            (id.replace('z', "i"), true),
            (id[1..].to_owned(), false),
            (format!("{id}z"), false),
            (id.replacen('z', "-", 1), false),
            ("alice".to_owned(), false),
            (String::new(), false),
        ];
        for (name, expected) in table {
            assert_eq!(looks_like_user_id(&name), expected, "{name}");
        }
    }
}
