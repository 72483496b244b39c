//! The `state` of a redirect to WeChat: which host asked, for which browser, by which connection, and when.
//!
//! WeChat takes letters and digits, at most 128 of them. They stand for a number in base 62, whose bytes are: form (1),
//! key version (1), issue time in seconds (4), connection tag (2), hash of the value in the host's cookie (16), number of
//! the start (3), host, HMAC-SHA-256 cut to 12. Nothing is stored before it comes back. The trade-off: 56 characters are
//! left for the host, and 128 of the hash's 256 bits.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::config::connection_tag;
use crate::login::scene::{SceneKeys, TagOf};

/// A state that was just made, or whose tag and time were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectState {
    text: String,
    key: u8,
    issued_at: i64,
    tag: [u8; 2],
    /// First half of the hash of the value in the host's cookie.
    pub binding: [u8; BINDING_BYTES],
    /// Which of the browser's starts it is.
    pub start: [u8; START_BYTES],
    /// Host that asked.
    pub host: String,
}

/// Why there is no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoState {
    /// No key, or no randomness.
    #[error("no scene key is active, or the random generator failed")]
    Key,
    /// The name does not fit.
    #[error("the host's name is longer than {LONGEST_HOST} characters, which is all that a state has room for")]
    LongHost,
}

impl RedirectState {
    /// For a browser that `host` sends to WeChat. `binding` is the hash of the value in its cookie.
    ///
    /// # Errors
    /// [`NoState`].
    pub fn make(keys: &SceneKeys, connection: &str, host: &str, binding: &[u8; 32], now: i64) -> Result<Self, NoState> {
        if host.len() > LONGEST_HOST {
            return Err(NoState::LongHost);
        }
        let mut start = [0; START_BYTES];
        SystemRandom::new().fill(&mut start).map_err(|_| NoState::Key)?;
        let issued = u32::try_from(now).map_err(|_| NoState::Key)?;
        let mut half = [0; BINDING_BYTES];
        half.copy_from_slice(&binding[..BINDING_BYTES]);
        let tag = connection_tag(connection);
        // The version is below the tag, too: it is asked for first, and cannot change between the two.
        let (key, _) = keys.tag_now(TagOf::State, b"", now).map_err(|_| NoState::Key)?;
        let mut bytes = vec![FORM, key];
        bytes.extend(issued.to_be_bytes());
        bytes.extend(tag);
        bytes.extend(half);
        bytes.extend(start);
        bytes.extend(host.as_bytes());
        let mac = keys.tag_by(key, TagOf::State, &bytes).ok_or(NoState::Key)?;
        bytes.extend(&mac[..MAC_BYTES]);
        Ok(Self {
            text: to_base62(&bytes),
            key,
            issued_at: now,
            tag,
            binding: half,
            start,
            host: host.to_owned(),
        })
    }

    /// Checks what a browser brought back. `None` for everything that this installation did not make in the last ten
    /// minutes, whatever is wrong with it.
    pub fn check(keys: &SceneKeys, text: &str, now: i64) -> Option<Self> {
        let bytes = from_base62(text)?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        let (head, host) = signed.split_at_checked(HEAD_BYTES)?;
        let key = *head.get(1)?;
        let expected = keys.tag_by(key, TagOf::State, signed)?;
        let same: bool = subtle::ConstantTimeEq::ct_eq(mac, &expected[..MAC_BYTES]).into();
        if !same || head[0] != FORM {
            return None;
        }
        let issued_at = i64::from(u32::from_be_bytes(head[2..6].try_into().ok()?));
        // Nodes may differ by some seconds.
        if !(-CLOCK_DIFFERENCE..LIFE).contains(&(now - issued_at)) {
            return None;
        }
        Some(Self {
            text: text.to_owned(),
            key,
            issued_at,
            tag: head[6..8].try_into().ok()?,
            binding: head[8..8 + BINDING_BYTES].try_into().ok()?,
            start: head[8 + BINDING_BYTES..].try_into().ok()?,
            host: String::from_utf8(host.to_vec()).ok()?,
        })
    }

    /// Letters and digits, at most 128.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it was made for this connection.
    pub fn is_of(&self, connection: &str) -> bool {
        self.tag == connection_tag(connection)
    }

    /// Unix seconds from which on it is worth nothing.
    pub fn ends_at(&self) -> i64 {
        self.issued_at + LIFE
    }

    /// By what the store knows that it came back.
    pub(super) fn mark(&self, keys: &SceneKeys) -> Option<[u8; 32]> {
        keys.tag_by(self.key, TagOf::SpentState, self.text.as_bytes())
    }

    /// The code by which the host takes the login. It follows from the state *and* WeChat's code, so that the same
    /// callback opened twice leads to the same place, and who knows the state alone (whoever started) learns nothing.
    pub(super) fn handoff_code(&self, keys: &SceneKeys, wechat_code: &str) -> Option<[u8; 32]> {
        let message = [self.text.as_bytes(), b":", wechat_code.as_bytes()].concat();
        keys.tag_by(self.key, TagOf::HandoffCode, &message)
    }
}

/// Big-endian bytes, the first not zero, as a number in base 62.
fn to_base62(bytes: &[u8]) -> String {
    let mut digits: Vec<u32> = Vec::with_capacity(LONGEST_TEXT);
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 62;
            carry /= 62;
        }
        while carry > 0 {
            digits.push(carry % 62);
            carry /= 62;
        }
    }
    let letters = digits.iter().rev().filter_map(|digit| ALPHABET.get(*digit as usize));
    letters.map(|letter| char::from(*letter)).collect()
}

fn from_base62(text: &str) -> Option<Vec<u8>> {
    if text.len() > LONGEST_TEXT || text.starts_with('0') {
        return None;
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(LONGEST_TEXT);
    for letter in text.bytes() {
        let mut carry = u32::try_from(ALPHABET.iter().position(|known| *known == letter)?).ok()?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 62;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
    }
    bytes.reverse();
    Some(bytes)
}

/// Characters of a host's name.
pub const LONGEST_HOST: usize = crate::config::settings::LONGEST_REDIRECT_HOST;
/// Bytes of a cookie's hash that travel.
pub const BINDING_BYTES: usize = 16;
/// Bytes of a start's number.
pub const START_BYTES: usize = 3;

const FORM: u8 = 1;
const HEAD_BYTES: usize = 8 + BINDING_BYTES + START_BYTES;
const MAC_BYTES: usize = 12;
/// WeChat's limit.
const LONGEST_TEXT: usize = 128;
/// Seconds for which a state is good: as long as WeChat's code of a website application.
const LIFE: i64 = 600;
/// Seconds.
const CLOCK_DIFFERENCE: i64 = 5;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::login::scene::SceneKey;

    const NOW: i64 = 1_700_000_000;

    fn keys() -> SceneKeys {
        SceneKeys::new(vec![SceneKey::new(1, 0, b"one"), SceneKey::new(2, NOW - 10, b"two")])
    }

    fn make(host: &str) -> RedirectState {
        RedirectState::make(&keys(), "web", host, &[7; 32], NOW).unwrap()
    }

    #[test]
    fn a_state_is_letters_and_digits_and_says_who_asked() {
        for host in ["a.test", "wiki.example.com", &"x".repeat(LONGEST_HOST)] {
            let state = make(host);
            let text = state.as_str();
            assert!(
                text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                "{text}"
            );
            let checked = RedirectState::check(&keys(), text, NOW + 599).unwrap();
            assert_eq!(checked, state);
            assert_eq!((&*checked.host, checked.binding), (host, [7; 16]));
            assert!(checked.is_of("web") && !checked.is_of("staff"));
            assert_eq!(checked.ends_at(), NOW + 600);
        }
        let long = "x".repeat(LONGEST_HOST + 1);
        let refused = RedirectState::make(&keys(), "web", &long, &[7; 32], NOW);
        assert_eq!(refused, Err(NoState::LongHost));
    }

    #[test]
    fn two_starts_of_one_browser_differ() {
        assert_ne!(make("a.test").as_str(), make("a.test").as_str());
    }

    #[test]
    fn it_is_good_for_ten_minutes_under_a_key_that_is_still_there() {
        let state = make("a.test");
        let check = |keys: &SceneKeys, now| RedirectState::check(keys, state.as_str(), now).is_some();
        for (now, good) in [
            (NOW - 6, false),
            (NOW - 5, true),
            (NOW, true),
            (NOW + 599, true),
            (NOW + 600, false),
            (NOW + 86_400, false),
        ] {
            assert_eq!(check(&keys(), now), good, "{now}");
        }
        assert!(!check(&SceneKeys::new(vec![SceneKey::new(2, 0, b"other")]), NOW));
        assert!(!check(&SceneKeys::new(vec![SceneKey::new(1, 0, b"one")]), NOW));
    }

    #[test]
    fn no_other_state_no_other_code_and_no_other_use_has_the_same_tag() {
        let keys = keys();
        let (one, other) = (make("a.test"), make("a.test"));
        let code = |state: &RedirectState, code: &str| state.handoff_code(&keys, code).unwrap();
        assert_eq!(code(&one, "c"), code(&one, "c"));
        assert_ne!(code(&one, "c"), code(&one, "d"));
        assert_ne!(code(&one, "c"), code(&other, "c"));
        assert_ne!(one.mark(&keys), other.mark(&keys));
        assert_ne!(one.mark(&keys).unwrap(), code(&one, ""));
    }

    #[test]
    fn a_scene_is_no_state() {
        let scene = keys().mint("web", NOW).unwrap();
        assert_eq!(RedirectState::check(&keys(), scene.as_str(), NOW), None);
    }

    proptest! {
        #[test]
        fn nothing_else_is_accepted(text in "[0-9A-Za-z_.-]{0,140}") {
            prop_assert_eq!(RedirectState::check(&keys(), &text, NOW), None);
        }

        #[test]
        fn no_letter_can_be_changed(at in 0_usize..100, letter in 0_usize..62) {
            let state = make("wiki.example.com");
            let mut text = state.as_str().as_bytes().to_vec();
            let at = at % text.len();
            let changed = ALPHABET[letter] != text[at];
            text[at] = ALPHABET[letter];
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(RedirectState::check(&keys(), &text, NOW).is_none(), changed);
        }

        #[test]
        fn base62_is_read_back(mut bytes in proptest::collection::vec(any::<u8>(), 1..95)) {
            bytes[0] |= 1;
            let text = to_base62(&bytes);
            prop_assert!(text.len() <= LONGEST_TEXT);
            prop_assert_eq!(from_base62(&text), Some(bytes));
        }
    }
}
