//! The scene: a ticket's id as WeChat carries it, 32 characters that authenticate themselves.
//!
//! 24 bytes in base64url: key version (1), issue time in seconds (4), connection tag (2), random (7), HMAC-SHA-256 cut
//! to 10. An anonymous visitor therefore costs no row and no lock, and a forged scene is refused before anybody is
//! asked. The trade-off against 128 random bits: 55 random bits and 80 of tag, because the length is WeChat's
//! (`getwxacodeunlimit` takes 32 characters). Guessing needs the tag; the scene alone gives nobody a session. The first bit
//! of the random ones says that a program asked, which shows its number before anybody scans.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::connection_tag;

/// A scene whose tag was checked, or that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scene {
    text: String,
    issued_at: i64,
    tag: [u8; 2],
    of_program: bool,
}

/// How the phone came to a ticket, as far as its number is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// By a link or an application, or again: the page has shown its number before.
    Ahead,
    /// By a code, or in a way that nobody expects: the number is shown from the scan on.
    ByCode,
}

/// The keys that make and check scenes, newest last.
#[derive(Debug)]
pub struct SceneKeys {
    keys: ArcSwap<Vec<SceneKey>>,
    random: SystemRandom,
}

/// One key with its version.
#[derive(Clone)]
pub struct SceneKey {
    version: u8,
    active_from: i64,
    key: hmac::Key,
}

/// Not made by this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a scene of this installation")]
pub struct ForgedScene;

/// No key, or no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no scene key is active, or the random generator failed")]
pub struct MintError;

/// The number that the browser shows and the three that the phone offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// 10–99.
    pub right: u8,
    /// All different, the right one among them.
    pub choices: [u8; 3],
}

impl std::fmt::Debug for SceneKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SceneKey")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Scene {
    /// 32 characters of base64url.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What tells tickets apart where a number has to do: a part of the tag, which nobody can choose.
    pub fn number(&self) -> u64 {
        let tag = URL_SAFE_NO_PAD
            .decode(&self.text[SCENE_CHARS - 12..])
            .unwrap_or_default();
        tag.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
    }

    /// Unix seconds.
    pub fn issued_at(&self) -> i64 {
        self.issued_at
    }

    /// Whether it was made for this connection.
    pub fn is_of(&self, connection: &str) -> bool {
        self.tag == connection_tag(connection)
    }
}

impl SceneKey {
    /// A key from secret bytes, minting from `active_from` (Unix seconds) on.
    pub fn new(version: u8, active_from: i64, secret: &[u8]) -> Self {
        Self {
            version,
            active_from,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    fn tag(&self, purpose: Purpose, message: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[purpose as u8]);
        context.update(message);
        context.sign()
    }

    fn whole_tag(&self, of: TagOf, message: &[u8]) -> [u8; TAG_BYTES] {
        let purpose = match of {
            TagOf::State => Purpose::State,
            TagOf::SpentState => Purpose::SpentState,
            TagOf::HandoffCode => Purpose::HandoffCode,
        };
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(self.tag(purpose, message).as_ref());
        tag
    }
}

impl SceneKeys {
    /// Keys, sorted by the time from which they mint.
    pub fn new(keys: Vec<SceneKey>) -> Self {
        let scenes = Self {
            keys: ArcSwap::default(),
            random: SystemRandom::new(),
        };
        scenes.replace(keys);
        scenes
    }

    /// Takes new keys into use at once.
    pub fn replace(&self, mut keys: Vec<SceneKey>) {
        keys.sort_by_key(|key| key.active_from);
        self.keys.store(Arc::new(keys));
    }

    /// A new scene for this connection.
    ///
    /// # Errors
    /// When no key is active at `now`, or the system has no randomness.
    pub fn mint(&self, connection: &str, now: i64) -> Result<Scene, MintError> {
        self.mint_of(connection, false, now)
    }

    /// The same for a program that shows its number beside its code, or before it opens the mini program.
    ///
    /// # Errors
    /// As [`SceneKeys::mint`].
    pub fn mint_for_program(&self, connection: &str, now: i64) -> Result<Scene, MintError> {
        self.mint_of(connection, true, now)
    }

    fn mint_of(&self, connection: &str, of_program: bool, now: i64) -> Result<Scene, MintError> {
        let keys = self.keys.load();
        let key = keys.iter().rev().find(|key| key.active_from <= now).ok_or(MintError)?;
        let issued = u32::try_from(now).map_err(|_| MintError)?;
        let tag = connection_tag(connection);
        let mut bytes = [0_u8; SCENE_BYTES];
        bytes[0] = key.version;
        bytes[1..5].copy_from_slice(&issued.to_be_bytes());
        bytes[5..7].copy_from_slice(&tag);
        self.random.fill(&mut bytes[7..SIGNED_BYTES]).map_err(|_| MintError)?;
        bytes[7] = bytes[7] & !OF_PROGRAM | if of_program { OF_PROGRAM } else { 0 };
        let mac = key.tag(Purpose::Scene, &bytes[..SIGNED_BYTES]);
        bytes[SIGNED_BYTES..].copy_from_slice(&mac.as_ref()[..SCENE_BYTES - SIGNED_BYTES]);
        Ok(Scene {
            text: URL_SAFE_NO_PAD.encode(bytes),
            issued_at: now,
            tag,
            of_program,
        })
    }

    /// Checks what a phone or a browser sent.
    ///
    /// # Errors
    /// [`ForgedScene`] for everything that this installation did not make, whatever is wrong with it.
    pub fn check(&self, text: &str) -> Result<Scene, ForgedScene> {
        if text.len() != SCENE_CHARS {
            return Err(ForgedScene);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ForgedScene)?;
        let bytes: [u8; SCENE_BYTES] = bytes.try_into().map_err(|_| ForgedScene)?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.version == bytes[0]).ok_or(ForgedScene)?;
        let (signed, mac) = bytes.split_at(SIGNED_BYTES);
        let expected = key.tag(Purpose::Scene, signed);
        let same = subtle::ConstantTimeEq::ct_eq(mac, &expected.as_ref()[..SCENE_BYTES - SIGNED_BYTES]);
        if !bool::from(same) {
            return Err(ForgedScene);
        }
        let issued = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        Ok(Scene {
            text: text.to_owned(),
            issued_at: i64::from(issued),
            tag: [bytes[5], bytes[6]],
            of_program: bytes[7] & OF_PROGRAM != 0,
        })
    }

    /// The numbers of a ticket: the same at every node and for every repeated scan, and unknown to who holds the scene. What
    /// a page shows before WeChat opens is worth nothing to whoever comes by its code: a page that only calls itself a
    /// phone's could send both to somebody.
    ///
    /// # Errors
    /// [`ForgedScene`] when the key of the scene is gone.
    pub fn numbers(&self, scene: &Scene, opening: Opening) -> Result<Numbers, ForgedScene> {
        let version = URL_SAFE_NO_PAD.decode(&scene.text[..4]).map_err(|_| ForgedScene)?[0];
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.version == version).ok_or(ForgedScene)?;
        let purpose = match opening {
            Opening::Ahead if !scene.of_program => Purpose::NumbersAhead,
            Opening::Ahead | Opening::ByCode => Purpose::Numbers,
        };
        let mac = key.tag(purpose, scene.text.as_bytes());
        Ok(Numbers::draw(mac.as_ref()))
    }
}

impl SceneKeys {
    /// The handle that a message about this scene gets: the same at every node and for every repetition of the message,
    /// and unknown to who holds the scene.
    ///
    /// # Errors
    /// [`ForgedScene`] when the key of the scene is gone.
    pub(super) fn handle(&self, scene: &Scene, message: &[u8]) -> Result<String, ForgedScene> {
        let version = URL_SAFE_NO_PAD.decode(&scene.text[..4]).map_err(|_| ForgedScene)?[0];
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.version == version).ok_or(ForgedScene)?;
        // The scene has one length, so that the two cannot run together.
        let mac = key.tag(Purpose::Handle, &[scene.text.as_bytes(), message].concat());
        Ok(URL_SAFE_NO_PAD.encode(mac.as_ref()))
    }

    /// A tag of `message` under the key that mints at `now`, for another use than scenes: the key's version and the tag.
    ///
    /// # Errors
    /// When no key is active at `now`.
    pub(super) fn tag_now(&self, of: TagOf, message: &[u8], now: i64) -> Result<(u8, [u8; TAG_BYTES]), MintError> {
        let keys = self.keys.load();
        let key = keys.iter().rev().find(|key| key.active_from <= now).ok_or(MintError)?;
        Ok((key.version, key.whole_tag(of, message)))
    }

    /// The tag of `message` under the key of this version, while it is there.
    pub(super) fn tag_by(&self, version: u8, of: TagOf, message: &[u8]) -> Option<[u8; TAG_BYTES]> {
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.version == version)?;
        Some(key.whole_tag(of, message))
    }
}

impl Numbers {
    /// Three different two-digit numbers from a pseudo-random string, and which of them is right.
    fn draw(random: &[u8]) -> Self {
        let mut words = random
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        let mut below = |limit: u32| u8::try_from(words.next().unwrap_or_default() % limit).unwrap_or_default();
        // Without repetition: the n-th draw chooses among what is left, counted past what was taken.
        let mut taken: Vec<u8> = Vec::with_capacity(3);
        for left in [90, 89, 88] {
            let mut number = 10 + below(left);
            let mut smaller = taken.clone();
            smaller.sort_unstable();
            for other in smaller {
                if number >= other {
                    number += 1;
                }
            }
            taken.push(number);
        }
        let choices = [taken[0], taken[1], taken[2]];
        Self {
            right: choices[usize::from(below(3))],
            choices,
        }
    }
}

/// What an HMAC is about, so that no tag of one use can stand in for another.
#[derive(Clone, Copy)]
enum Purpose {
    Scene = 1,
    Numbers = 2,
    State = 3,
    SpentState = 4,
    HandoffCode = 5,
    Handle = 6,
    NumbersAhead = 7,
}

/// What else the keys are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagOf {
    /// The state of a redirect to WeChat.
    State,
    /// The mark of a state that came back.
    SpentState,
    /// The code by which a host takes the login that a redirect led to.
    HandoffCode,
}

/// HMAC-SHA-256.
pub(super) const TAG_BYTES: usize = 32;

/// In the first random byte.
const OF_PROGRAM: u8 = 0x80;
const SCENE_BYTES: usize = 24;
const SIGNED_BYTES: usize = 14;
const SCENE_CHARS: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn keys() -> SceneKeys {
        SceneKeys::new(vec![SceneKey::new(1, 0, b"one"), SceneKey::new(2, 1_000, b"two")])
    }

    #[test]
    fn scene_is_32_characters_that_wechat_takes_and_says_when_and_for_what() {
        let keys = keys();
        let scene = keys.mint("staff", 1_700_000_000).unwrap();
        assert_eq!(scene.as_str().len(), 32);
        assert!(
            scene
                .as_str()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        let checked = keys.check(scene.as_str()).unwrap();
        assert_eq!(checked, scene);
        assert_eq!(checked.issued_at(), 1_700_000_000);
        assert!(checked.is_of("staff"));
        assert!(!checked.is_of("guests"));
    }

    #[test]
    fn handle_is_of_one_scene_and_one_message_and_of_this_installation() {
        let (one, other) = (keys(), SceneKeys::new(vec![SceneKey::new(2, 0, b"other")]));
        let (scene, second) = (one.mint("staff", 2_000).unwrap(), one.mint("staff", 2_000).unwrap());
        let handle = one.handle(&scene, b"message").unwrap();
        assert_eq!(handle.len(), 43);
        assert_eq!(keys().handle(&scene, b"message").unwrap(), handle);
        assert_ne!(one.handle(&scene, b"another").unwrap(), handle);
        assert_ne!(one.handle(&second, b"message").unwrap(), handle);
        assert_ne!(other.handle(&scene, b"message").unwrap(), handle);
    }

    #[test]
    fn scene_of_another_installation_is_forged() {
        let other = SceneKeys::new(vec![SceneKey::new(2, 0, b"other")]);
        let scene = other.mint("staff", 2_000).unwrap();
        assert_eq!(keys().check(scene.as_str()), Err(ForgedScene));
    }

    #[test]
    fn previous_key_still_checks_and_the_newest_active_one_mints() {
        let keys = keys();
        let old = keys.mint("staff", 999).unwrap();
        let new = keys.mint("staff", 1_000).unwrap();
        assert_ne!(old.as_str()[..2], new.as_str()[..2]);
        assert!(keys.check(old.as_str()).is_ok());
        assert!(keys.check(new.as_str()).is_ok());
    }

    #[test]
    fn numbers_are_the_same_for_every_scan() {
        let keys = keys();
        let scene = keys.mint("staff", 5_000).unwrap();
        for opening in [Opening::Ahead, Opening::ByCode] {
            let checked = keys.check(scene.as_str()).unwrap();
            assert_eq!(keys.numbers(&scene, opening), keys.numbers(&checked, opening));
        }
    }

    #[test]
    fn a_page_has_a_number_for_its_link_and_one_for_its_code_and_a_program_one_for_both() {
        let keys = keys();
        let same = |scene: &Scene| keys.numbers(scene, Opening::Ahead) == keys.numbers(scene, Opening::ByCode);
        for _ in 0..100 {
            let program = keys.mint_for_program("staff", 5_000).unwrap();
            assert!(same(&program) && same(&keys.check(program.as_str()).unwrap()));
        }
        let pages = (0..100).map(|_| keys.mint("staff", 5_000).unwrap());
        // All three and their order.
        assert_eq!(pages.filter(same).count(), 0);
    }

    #[test]
    fn every_position_is_right_about_as_often() {
        let keys = keys();
        let mut positions = [0_u32; 3];
        for _ in 0..3_000 {
            let scene = keys.mint("staff", 5_000).unwrap();
            let numbers = keys.numbers(&scene, Opening::ByCode).unwrap();
            positions[numbers
                .choices
                .iter()
                .position(|choice| *choice == numbers.right)
                .unwrap()] += 1;
        }
        assert!(
            positions.iter().all(|count| (850..1_150).contains(count)),
            "{positions:?}"
        );
    }

    proptest! {
        #[test]
        fn any_other_text_is_forged(text in "\\PC{0,40}") {
            prop_assert!(keys().check(&text).is_err());
        }

        #[test]
        fn any_changed_character_is_forged(at in 0_usize..32, with in "[A-Za-z0-9_-]") {
            let keys = keys();
            let scene = keys.mint("staff", 5_000).unwrap();
            let mut text = scene.as_str().to_owned();
            prop_assume!(text[at..=at] != with);
            text.replace_range(at..=at, &with);
            prop_assert!(keys.check(&text).is_err());
        }

        #[test]
        fn numbers_are_three_different_ones_of_two_digits(random in proptest::array::uniform32(any::<u8>())) {
            let Numbers { right, choices } = Numbers::draw(&random);
            prop_assert!(choices.iter().all(|number| (10..=99).contains(number)));
            prop_assert!(choices[0] != choices[1] && choices[1] != choices[2] && choices[0] != choices[2]);
            prop_assert!(choices.contains(&right));
        }
    }
}
