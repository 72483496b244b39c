//! Identifiers as WeChat makes them: opaque, derived for people, random for everything that is spent.

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The openid of a person at one app: always the same, different at every app.
pub(super) fn openid(app_id: &str, persona: &str) -> String {
    derive("openid", app_id, persona)
}

/// The unionid of a person at one Open Platform account: the same at every app bound to it.
pub(super) fn unionid(open_platform: &str, persona: &str) -> String {
    derive("unionid", open_platform, persona)
}

/// The original id of an app: always the same.
pub(super) fn original_id(app_id: &str) -> String {
    let digest = digest::digest(&digest::SHA256, app_id.as_bytes());
    format!("gh_{}", hex(&digest.as_ref()[..6]))
}

/// `bytes` random bytes in hexadecimal.
pub(super) fn random_hex(bytes: usize) -> String {
    hex(&random(bytes))
}

/// `bytes` random bytes in base64url.
pub(super) fn random_text(bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(random(bytes))
}

/// A session key: 16 random bytes as 24 characters of base64.
pub(super) fn session_key() -> String {
    STANDARD.encode(random(16))
}

/// The signature by a session key; `checksession` expects that of nothing. The key is the base64 text itself, not what it
/// stands for.
pub(super) fn session_signature(session_key: &str, data: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, session_key.as_bytes());
    hex(hmac::sign(&key, data.as_bytes()).as_ref())
}

/// A trace id as it ends every `errmsg`: three groups of eight hexadecimal digits.
pub(super) fn rid(now: u64) -> String {
    format!("{:08x}-{}-{}", now & 0xffff_ffff, random_hex(4), random_hex(4))
}

fn derive(label: &str, scope: &str, persona: &str) -> String {
    let text = format!("{label}\n{scope}\n{persona}");
    let mut encoded = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
    encoded.truncate(27);
    format!("o{encoded}")
}

/// `bytes` random bytes.
pub(super) fn random_bytes(bytes: usize) -> Vec<u8> {
    random(bytes)
}

fn random(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    // AWS-LC aborts rather than return without entropy, so this never runs twice.
    while rand::fill(&mut buffer).is_err() {}
    buffer
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openid_depends_on_person_and_app_and_has_28_characters() {
        let one = openid("wxsandbox1", "lilei");
        assert_eq!(one, openid("wxsandbox1", "lilei"));
        assert_ne!(one, openid("wxsandbox2", "lilei"));
        assert_ne!(one, openid("wxsandbox1", "hanmeimei"));
        assert_eq!((one.len(), one.starts_with('o')), (28, true));
    }

    #[test]
    fn unionid_is_shared_by_the_apps_of_one_open_platform_account() {
        assert_eq!(unionid("corp", "lilei"), unionid("corp", "lilei"));
        assert_ne!(unionid("corp", "lilei"), unionid("other", "lilei"));
        assert_ne!(unionid("corp", "lilei"), openid("corp", "lilei"));
    }

    #[test]
    fn the_session_signature_is_keyed_with_the_base64_text() {
        // The session key of the sample on WeChat's http-signature page.
        let expected = "46e043c5525c2d817c44be603d30837a808a1d930d038f6fdc3e62a201fed128";
        assert_eq!(session_signature("o0q0otL8aEzpcZL/FT9WsQ==", ""), expected);
    }
}
