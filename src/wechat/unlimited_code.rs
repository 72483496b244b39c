//! The request for a mini-program code and the image that comes back (getUnlimitedQRCode).
//!
//! What WeChat would refuse is refused here, before a call of the minute's quota is spent on it.

use bytes::Bytes;
use serde::Serialize;

/// A code to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnlimitedCode {
    /// What the mini program gets: 1 to 32 characters of `0-9 A-Z a-z` and ``!#$&'()*+,/:;=?@-._~``.
    pub scene: String,
    /// Page that opens: no leading slash, no query.
    pub page: String,
    /// WeChat refuses pages that the released version does not have.
    pub check_path: bool,
    /// `release`, `trial` or `develop`.
    pub env_version: &'static str,
    /// Side of the image: 280 to 1280 pixels.
    pub width: u32,
}

/// The image of a code, ready to be sent to a browser.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeImage {
    /// As WeChat sent it.
    pub bytes: Bytes,
    /// By its content: `image/jpeg` or `image/png`.
    pub media_type: &'static str,
}

/// What is wrong with a request for a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeRequestError {
    /// Empty or longer than 32 characters.
    #[error("the scene has {0} bytes, 1 to 32 are allowed")]
    SceneLength(usize),
    /// A character outside WeChat's list.
    #[error("the scene has a character that WeChat does not allow")]
    SceneCharacter,
    /// Empty, with a leading slash, a query or something that is not ASCII.
    #[error("the page must be like pages/login/login: no leading slash, no query")]
    Page,
    /// `scancode_time`
    #[error("scancode_time is reserved")]
    ReservedWord,
    /// Neither `release` nor `trial` nor `develop`.
    #[error("env_version is none of release, trial, develop")]
    EnvVersion,
    /// Outside 280 to 1280.
    #[error("the width is {0}, 280 to 1280 are allowed")]
    Width(u32),
}

impl UnlimitedCode {
    /// Checks WeChat's rules.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), CodeRequestError> {
        if !(1..=SCENE_LIMIT).contains(&self.scene.len()) {
            return Err(CodeRequestError::SceneLength(self.scene.len()));
        }
        if !self.scene.bytes().all(is_scene_character) {
            return Err(CodeRequestError::SceneCharacter);
        }
        let page_is_plain = !self.page.is_empty()
            && !self.page.starts_with('/')
            && self
                .page
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#%\\".contains(&byte));
        if !page_is_plain {
            return Err(CodeRequestError::Page);
        }
        if self.scene.contains(RESERVED_WORD) || self.page.contains(RESERVED_WORD) {
            return Err(CodeRequestError::ReservedWord);
        }
        if !ENV_VERSIONS.contains(&self.env_version) {
            return Err(CodeRequestError::EnvVersion);
        }
        if !(280..=1280).contains(&self.width) {
            return Err(CodeRequestError::Width(self.width));
        }
        Ok(())
    }
}

impl CodeImage {
    /// By the first bytes; `None` for anything but JPEG and PNG.
    pub(crate) fn sniff(bytes: Bytes) -> Option<Self> {
        let media_type = if bytes.starts_with(b"\xFF\xD8\xFF") {
            "image/jpeg"
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            "image/png"
        } else {
            return None;
        };
        Some(Self { bytes, media_type })
    }
}

impl std::fmt::Debug for CodeImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeImage")
            .field("media_type", &self.media_type)
            .field("length", &self.bytes.len())
            .finish()
    }
}

fn is_scene_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@-._~".contains(&byte)
}

const SCENE_LIMIT: usize = 32;

/// WeChat adds it itself to the addresses of ordinary link codes (85096).
const RESERVED_WORD: &str = "scancode_time";

const ENV_VERSIONS: [&str; 3] = ["release", "trial", "develop"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn code() -> UnlimitedCode {
        UnlimitedCode {
            scene: "AZaz09-_".into(),
            page: "pages/login/login".into(),
            check_path: true,
            env_version: "release",
            width: 430,
        }
    }

    #[test]
    fn wechats_rules_are_checked_before_wechat_is_asked() {
        let scene = |scene: &str| {
            UnlimitedCode {
                scene: scene.into(),
                ..code()
            }
            .validate()
        };
        let page = |page: &str| {
            UnlimitedCode {
                page: page.into(),
                ..code()
            }
            .validate()
        };
        assert_eq!(code().validate(), Ok(()));
        assert_eq!(scene(""), Err(CodeRequestError::SceneLength(0)));
        assert_eq!(scene(&"a".repeat(32)), Ok(()));
        assert_eq!(scene(&"a".repeat(33)), Err(CodeRequestError::SceneLength(33)));
        assert_eq!(scene("a%20b"), Err(CodeRequestError::SceneCharacter));
        assert_eq!(scene("门"), Err(CodeRequestError::SceneCharacter));
        assert_eq!(scene("a b"), Err(CodeRequestError::SceneCharacter));
        assert_eq!(scene("a&scancode_time=1"), Err(CodeRequestError::ReservedWord));
        assert_eq!(scene("!#$&'()*+,/:;=?@-._~"), Ok(()));
        for wrong in ["", "/pages/login/login", "pages/login?x=1", "pages/登录", "a b", "a#b"] {
            assert_eq!(page(wrong), Err(CodeRequestError::Page), "{wrong}");
        }
        assert_eq!(page("pages/scancode_time"), Err(CodeRequestError::ReservedWord));
        assert_eq!(
            UnlimitedCode {
                env_version: "formal",
                ..code()
            }
            .validate(),
            Err(CodeRequestError::EnvVersion)
        );
        for (width, ok) in [(279, false), (280, true), (1280, true), (1281, false)] {
            assert_eq!(UnlimitedCode { width, ..code() }.validate().is_ok(), ok, "{width}");
        }
    }

    #[test]
    fn the_request_has_json_booleans_and_numbers() {
        let body = serde_json::to_string(&UnlimitedCode {
            check_path: false,
            scene: "a&b".into(),
            ..code()
        })
        .unwrap();
        assert_eq!(
            body,
            r#"{"scene":"a&b","page":"pages/login/login","check_path":false,"env_version":"release","width":430}"#
        );
    }

    proptest! {
        #[test]
        fn every_scene_of_the_alphabet_is_allowed(scene in r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}") {
            prop_assume!(!scene.contains(RESERVED_WORD));
            prop_assert_eq!(UnlimitedCode { scene, ..code() }.validate(), Ok(()));
        }

        #[test]
        fn whatever_passes_is_short_and_visible(scene in ".{0,40}") {
            if (UnlimitedCode { scene: scene.clone(), ..code() }).validate().is_ok() {
                prop_assert!((1..=32).contains(&scene.chars().count()));
                prop_assert!(scene.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%'));
            }
        }
    }
}
