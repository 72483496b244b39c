//! What proves that somebody may have an account: bind codes and passwords, kept as argon2id hashes.
//!
//! Hashing costs tens of milliseconds and 19 MiB on purpose, so it runs on blocking threads and a few at a time: a burst
//! of guesses must not take the memory or the threads that requests are served with. An account that does not exist, or
//! has no such proof, costs the same as one that has: the time of an answer tells nothing.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;
use secrecy::SecretString;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Why a proof was neither made nor looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Too many are being looked at.
    #[error("too many proofs are being checked: try again in a moment")]
    Busy,
    /// The system gave no random numbers, or no memory to hash in.
    #[error("the proof cannot be hashed: check that the system gives random numbers and {MEMORY} KiB of memory")]
    System,
}

/// The argon2id hash of a password or of a normalised bind code, in PHC form, with a salt of its own.
///
/// # Errors
/// [`ProofError`].
pub async fn hash(secret: &str) -> Result<String, ProofError> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| ProofError::System)?;
    let secret = comparable(secret);
    on_blocking_thread(turn().await?, move || {
        let made: Result<PasswordHash, _> = hasher().hash_password_with_salt(secret.as_bytes(), &salt);
        made.map(|made| made.to_string()).map_err(|_| ProofError::System)
    })
    .await?
}

/// A turn to have a proof looked at: whoever counts proofs takes it before, since what was not looked at is no attempt.
#[derive(Debug)]
pub struct Turn {
    _permit: SemaphorePermit<'static>,
}

/// Waits for a turn.
///
/// # Errors
/// [`ProofError::Busy`].
pub async fn turn() -> Result<Turn, ProofError> {
    tokio::time::timeout(WAIT, AT_ONCE.acquire())
        .await
        .ok()
        .and_then(Result::ok)
        .map(|permit| Turn { _permit: permit })
        .ok_or(ProofError::Busy)
}

/// Whether `hash` was made of `secret`; without a hash it is not, after as long a time.
///
/// # Errors
/// [`ProofError`]; then nothing is known, and it is no wrong proof.
pub async fn verify(turn: Turn, secret: &str, hash: Option<&str>) -> Result<bool, ProofError> {
    if secret.len() > LONGEST_SECRET {
        return Ok(false);
    }
    let secret = comparable(secret);
    let hash = hash.map(str::to_owned);
    on_blocking_thread(turn, move || {
        match hash.as_deref().and_then(|hash| PasswordHash::new(hash).ok()) {
            // The parameters are those of the hash, the comparison is constant-time.
            Some(hash) => hasher().verify_password(secret.as_bytes(), &hash).is_ok(),
            None => {
                let mut unused = Zeroizing::new([0; 32]);
                let _ = hasher().hash_password_into(secret.as_bytes(), &[0; SALT_BYTES], unused.as_mut());
                false
            }
        }
    })
    .await
}

/// A new one-time bind code, as it is shown to a person: `K7QM-2XPD-9R4T-HW6Z`, 80 random bits. What is hashed is its
/// [`normalise_bind_code`] form.
///
/// # Errors
/// [`ProofError::System`].
pub fn new_bind_code() -> Result<SecretString, ProofError> {
    let mut random = Zeroizing::new([0; CODE_LETTERS]);
    rand::fill(random.as_mut()).map_err(|_| ProofError::System)?;
    let mut code = String::with_capacity(CODE_LETTERS + CODE_LETTERS / CODE_GROUP);
    for (at, byte) in random.iter().enumerate() {
        if at > 0 && at % CODE_GROUP == 0 {
            code.push('-');
        }
        // 256 is a multiple of 32: every letter is as likely as any other.
        code.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(SecretString::from(code))
}

/// What a person typed, in the form that is hashed: without separators, in capitals, with the letters that look like digits
/// read as these. Text that is no code stays some text that is no code.
#[must_use]
pub fn normalise_bind_code(text: &str) -> String {
    text.nfkc()
        .flat_map(char::to_uppercase)
        .filter(|letter| !letter.is_whitespace() && !is_dash(*letter))
        .map(|letter| match letter {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        })
        .take(LONGEST_SECRET)
        .collect()
}

/// The same password typed on different keyboards: composed or not (RFC 8265, section 4.2, without its refusals).
fn comparable(secret: &str) -> Zeroizing<String> {
    Zeroizing::new(secret.nfc().collect())
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

async fn on_blocking_thread<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ProofError> {
    task::spawn_blocking(move || {
        // Held by the work itself: a caller who goes away does not make room.
        let _turn = turn;
        work()
    })
    .await
    .map_err(|_| ProofError::System)
}

const fn is_dash(letter: char) -> bool {
    matches!(
        letter,
        '-' | '_' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30fc}'
    )
}

/// KiB. With two passes and one lane: OWASP's first choice for argon2id
/// (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>).
const MEMORY: u32 = 19 * 1024;

const PARAMS: Params = match Params::new(MEMORY, 2, 1, None) {
    Ok(params) => params,
    Err(_) => Params::DEFAULT,
};

const SALT_BYTES: usize = 16;

/// Of a password, in bytes. More is nobody's password.
const LONGEST_SECRET: usize = 1024;

/// Proofs that are worked on at a time, and how long others wait for their turn.
static AT_ONCE: Semaphore = Semaphore::const_new(4);
const WAIT: Duration = Duration::from_secs(5);

/// Crockford's base 32: no `I`, `L`, `O`, `U`.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_LETTERS: usize = 16;
const CODE_GROUP: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::HashSet;
    use std::time::Instant;

    use secrecy::ExposeSecret;

    use super::*;

    async fn looked_at(secret: &str, hash: Option<&str>) -> Result<bool, ProofError> {
        verify(turn().await?, secret, hash).await
    }

    #[tokio::test]
    async fn only_the_secret_that_was_hashed_is_verified() {
        let hashed = hash("caf\u{e9} 密码").await.unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert_ne!(hashed, hash("caf\u{e9} 密码").await.unwrap(), "the salt is the same");
        let table = [
            ("caf\u{e9} 密码", true),
            ("cafe\u{301} 密码", true),
            ("cafe 密码", false),
            ("Caf\u{e9} 密码", false),
            ("", false),
        ];
        for (secret, expected) in table {
            assert_eq!(looked_at(secret, Some(&hashed)).await, Ok(expected), "{secret}");
        }
        assert_eq!(looked_at(&"x".repeat(2000), Some(&hashed)).await, Ok(false));
    }

    #[tokio::test]
    async fn what_is_no_hash_of_ours_verifies_nothing() {
        for hash in [None, Some(""), Some("$2y$10$abcdefghijklmnopqrstuu"), Some("secret")] {
            assert_eq!(looked_at("secret", hash).await, Ok(false), "{hash:?}");
            assert_eq!(looked_at("", hash).await, Ok(false), "{hash:?}");
        }
    }

    #[tokio::test]
    async fn an_account_that_does_not_exist_takes_as_long_as_one_that_does() {
        let hashed = hash("secret").await.unwrap();
        let cases = [Some(&*hashed), None, Some("?")];
        let mut best = [Duration::MAX; 3];
        // The shortest of several, in turns: whatever else the machine does makes it longer.
        for _ in 0..8 {
            for (hash, best) in cases.iter().zip(&mut best) {
                let begun = Instant::now();
                assert_eq!(looked_at("wrong", *hash).await, Ok(false));
                *best = (*best).min(begun.elapsed());
            }
        }
        assert!(best[1] > best[0] / 4 && best[2] > best[0] / 4, "{best:?}");
    }

    #[test]
    fn bind_codes_differ_and_can_be_typed() {
        let codes: HashSet<_> = (0..100)
            .map(|_| new_bind_code().unwrap().expose_secret().to_owned())
            .collect();
        assert_eq!(codes.len(), 100);
        for code in &codes {
            assert_eq!(code.len(), 19, "{code}");
            assert!(!code.contains(['I', 'L', 'O', 'U']), "{code}");
            assert_eq!(normalise_bind_code(code), code.replace('-', ""));
        }
    }

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        let table = [
            ("K7QM-2XPD-9R4T-HW60", "K7QM2XPD9R4THW60"),
            (" k7qm 2xpd 9r4t hw6o\n", "K7QM2XPD9R4THW60"),
            ("ｋ７ｑｍ－2xpd—9r4t_hw60", "K7QM2XPD9R4THW60"),
            ("il1", "111"),
            ("", ""),
            ("🔑", "🔑"),
        ];
        for (typed, expected) in table {
            assert_eq!(normalise_bind_code(typed), expected, "{typed:?}");
        }
    }
}
