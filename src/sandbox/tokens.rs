//! The access tokens of one app, in the two spaces that know nothing of each other.
//!
//! * `/cgi-bin/token` mints at every call; the token before it works for another five minutes.
//! * `/cgi-bin/stable_token` gives the same token with the seconds that remain, replaces it five minutes before its end,
//!   and with `force_refresh` kills the old one at once: at most 20 times a day, at least 30 s apart.

use std::collections::HashMap;

use super::error::WechatError;
use super::identifiers;
use super::quotas::day_of;

/// The tokens of one app.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    minted: HashMap<String, Lifetime>,
    stable: Option<String>,
    legacy: Option<String>,
    forced_at: Option<u64>,
    forced_today: (u64, u32),
}

/// A token as an answer carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) token: String,
    pub(super) expires_in: u64,
}

/// What a token is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Good.
    Valid,
    /// Its time is over.
    Expired,
    /// A newer one took its place.
    Replaced,
    /// Not of this app.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Lifetime {
    expires: u64,
    usable_until: u64,
}

impl Tokens {
    /// Mints a legacy token; the one before it stays usable for [`OVERLAP`].
    pub(super) fn mint_legacy(&mut self, now: u64) -> Grant {
        let grant = self.mint(now);
        if let Some(before) = self.legacy.replace(grant.token.clone()) {
            self.retire(&before, now + OVERLAP);
        }
        grant
    }

    /// The stable token; a new one when the current one is about to end or `force` asks for it.
    ///
    /// # Errors
    /// 45009 and 45011 when force_refresh is used too often or too soon.
    pub(super) fn stable(&mut self, force: bool, now: u64) -> Result<Grant, WechatError> {
        if force {
            return self.force(now);
        }
        if let Some(token) = &self.stable
            && let Some(lifetime) = self.minted.get(token)
            && now < lifetime.usable_until
            && lifetime.expires.saturating_sub(now) >= ROTATION
        {
            return Ok(Grant {
                token: token.clone(),
                expires_in: lifetime.expires - now,
            });
        }
        let grant = self.mint(now);
        self.stable = Some(grant.token.clone());
        Ok(grant)
    }

    /// What `token` is worth.
    pub(super) fn standing(&self, token: &str, now: u64) -> Standing {
        match self.minted.get(token) {
            None => Standing::Unknown,
            Some(lifetime) if now >= lifetime.expires => Standing::Expired,
            Some(lifetime) if now >= lifetime.usable_until => Standing::Replaced,
            Some(_) => Standing::Valid,
        }
    }

    fn force(&mut self, now: u64) -> Result<Grant, WechatError> {
        let today = day_of(now);
        let used = if self.forced_today.0 == today {
            self.forced_today.1
        } else {
            0
        };
        if used >= FORCED_PER_DAY {
            return Err(WechatError::DAY_LIMIT);
        }
        if self.forced_at.is_some_and(|at| now < at + FORCED_APART) {
            return Err(WechatError::MINUTE_LIMIT);
        }
        self.forced_today = (today, used + 1);
        self.forced_at = Some(now);
        let grant = self.mint(now);
        if let Some(before) = self.stable.replace(grant.token.clone()) {
            self.retire(&before, now);
        }
        Ok(grant)
    }

    fn mint(&mut self, now: u64) -> Grant {
        self.minted.retain(|_, lifetime| now < lifetime.expires + REMEMBERED);
        let token = format!("{}_{}", TOKEN_GENERATION, identifiers::random_text(99));
        self.minted.insert(
            token.clone(),
            Lifetime {
                expires: now + LIFETIME,
                usable_until: now + LIFETIME,
            },
        );
        Grant {
            token,
            expires_in: LIFETIME,
        }
    }

    fn retire(&mut self, token: &str, at: u64) {
        if let Some(lifetime) = self.minted.get_mut(token) {
            lifetime.usable_until = lifetime.usable_until.min(at);
        }
    }
}

/// Whether `token` could be a token at all: what fails this is 40014, what merely is not known is 40001.
pub(super) fn is_well_formed(token: &str) -> bool {
    token.split_once('_').is_some_and(|(generation, random)| {
        !generation.is_empty()
            && generation.bytes().all(|byte| byte.is_ascii_digit())
            && random.len() >= 64
            && random
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

const LIFETIME: u64 = 7200;
const OVERLAP: u64 = 300;
const ROTATION: u64 = 300;
const FORCED_PER_DAY: u32 = 20;
const FORCED_APART: u64 = 30;
/// How long an expired token is still told apart from one that never was.
const REMEMBERED: u64 = 86_400;
const TOKEN_GENERATION: u32 = 86;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const START: u64 = 1_700_000_000;

    #[test]
    fn a_legacy_token_outlives_its_successor_by_five_minutes_and_no_longer() {
        let mut tokens = Tokens::default();
        let first = tokens.mint_legacy(START);
        let second = tokens.mint_legacy(START + 10);
        assert_ne!(first.token, second.token);
        assert_eq!(tokens.standing(&first.token, START + 10 + 299), Standing::Valid);
        assert_eq!(tokens.standing(&first.token, START + 10 + 300), Standing::Replaced);
        assert_eq!(tokens.standing(&second.token, START + 10 + 7199), Standing::Valid);
        assert_eq!(tokens.standing(&second.token, START + 10 + 7200), Standing::Expired);
    }

    #[test]
    fn the_stable_token_is_the_same_with_fewer_seconds_until_it_rotates() {
        let mut tokens = Tokens::default();
        let first = tokens.stable(false, START).unwrap();
        assert_eq!(first.expires_in, 7200);
        let later = tokens.stable(false, START + 6900).unwrap();
        assert_eq!(
            later,
            Grant {
                token: first.token.clone(),
                expires_in: 300
            }
        );
        let rotated = tokens.stable(false, START + 6901).unwrap();
        assert_ne!(rotated.token, first.token);
        assert_eq!(rotated.expires_in, 7200);
        assert_eq!(tokens.standing(&first.token, START + 7199), Standing::Valid);
    }

    #[test]
    fn force_refresh_kills_the_old_token_at_once_and_is_rationed() {
        let mut tokens = Tokens::default();
        let first = tokens.stable(false, START).unwrap();
        let forced = tokens.stable(true, START + 1).unwrap();
        assert_eq!(tokens.standing(&first.token, START + 1), Standing::Replaced);
        assert_eq!(tokens.stable(false, START + 2).unwrap().token, forced.token);
        assert_eq!(tokens.stable(true, START + 30), Err(WechatError::MINUTE_LIMIT));
        for use_number in 2..=20 {
            assert!(tokens.stable(true, START + 1 + 30 * use_number).is_ok(), "{use_number}");
        }
        assert_eq!(tokens.stable(true, START + 1000), Err(WechatError::DAY_LIMIT));
        assert!(tokens.stable(true, START + 86_400).is_ok());
    }

    #[test]
    fn the_two_spaces_never_touch_each_other() {
        let mut tokens = Tokens::default();
        let stable = tokens.stable(false, START).unwrap();
        let legacy = tokens.mint_legacy(START + 1);
        tokens.mint_legacy(START + 2);
        assert_eq!(tokens.stable(false, START + 400).unwrap().token, stable.token);
        tokens.stable(true, START + 100).unwrap();
        assert_eq!(tokens.standing(&legacy.token, START + 200), Standing::Valid);
    }

    #[test]
    fn a_token_that_could_be_one_is_told_from_nonsense() {
        let mut tokens = Tokens::default();
        assert!(is_well_formed(&tokens.mint_legacy(START).token));
        for nonsense in ["", "x", "86_", "86_short", "ACCESS_TOKEN"] {
            assert!(!is_well_formed(nonsense), "{nonsense}");
        }
    }
}
