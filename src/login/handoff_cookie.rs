//! What a host keeps in a browser that it sends away to log in: a random value, and where each start leads afterwards.
//!
//! The value binds a hand-off to the browser. The pages are there because WeChat's `state` has no room for them; several,
//! because a browser opens several tabs and finishes any one of them. `VALUE`, then `.NUMBER:PAGE` for each start, the
//! newest first, number in hexadecimal and page in base64url. A page is judged again when it is used.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::login::browser::random_text;
use crate::login::error::LoginError;
use crate::login::redirect_state::START_BYTES;

/// The cookie, read.
#[derive(Clone, PartialEq, Eq)]
pub struct HandoffCookie {
    value: String,
    /// The newest first.
    starts: Vec<([u8; START_BYTES], String)>,
}

impl HandoffCookie {
    /// What came with a request. Without a usable value nothing of it counts.
    pub fn read(cookie: Option<&[u8]>) -> Option<Self> {
        let text = std::str::from_utf8(cookie?).ok()?;
        let mut parts = text.split('.');
        let value = parts.next().filter(|value| is_value(value))?.to_owned();
        let starts = parts.filter_map(read_start).take(MOST_STARTS).collect();
        Some(Self { value, starts })
    }

    /// The same, or a new one.
    ///
    /// # Errors
    /// Without randomness.
    pub fn read_or_make(cookie: Option<&[u8]>) -> Result<Self, LoginError> {
        match Self::read(cookie) {
            Some(read) => Ok(read),
            None => Ok(Self {
                value: random_text()?,
                starts: Vec::new(),
            }),
        }
    }

    /// The random value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Remembers where a start leads. The oldest make room; a page above [`LONGEST_PAGE`] is not kept.
    pub fn remember(&mut self, start: [u8; START_BYTES], page: &str) {
        let page = if page.len() <= LONGEST_PAGE { page } else { "/" };
        self.starts.insert(0, (start, page.to_owned()));
        self.starts.truncate(MOST_STARTS);
        while self.starts.len() > 1 && self.to_text().len() > LONGEST_COOKIE {
            self.starts.pop();
        }
    }

    /// Where a start leads; forgets it.
    pub fn take(&mut self, start: [u8; START_BYTES]) -> Option<String> {
        let at = self.starts.iter().position(|(known, _)| *known == start)?;
        Some(self.starts.remove(at).1)
    }

    /// For `Set-Cookie`.
    pub fn to_text(&self) -> String {
        let mut text = self.value.clone();
        for (start, page) in &self.starts {
            text.push('.');
            for byte in start {
                text.push_str(&format!("{byte:02x}"));
            }
            text.push(':');
            text.push_str(&URL_SAFE_NO_PAD.encode(page));
        }
        text
    }
}

impl std::fmt::Debug for HandoffCookie {
    /// Without the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandoffCookie")
            .field("starts", &self.starts.len())
            .finish_non_exhaustive()
    }
}

fn is_value(text: &str) -> bool {
    text.len() == VALUE_CHARS
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn read_start(part: &str) -> Option<([u8; START_BYTES], String)> {
    let (number, page) = part.split_once(':')?;
    if number.len() != START_BYTES * 2 || !number.is_ascii() {
        return None;
    }
    let mut start = [0; START_BYTES];
    for (byte, digits) in start.iter_mut().zip(0..) {
        *byte = u8::from_str_radix(number.get(digits * 2..digits * 2 + 2)?, 16).ok()?;
    }
    let page = String::from_utf8(URL_SAFE_NO_PAD.decode(page).ok()?).ok()?;
    (page.len() <= LONGEST_PAGE).then_some((start, page))
}

/// Bytes of a page that is kept: what single sign-on asks for at `public_url` is one of 1,900, with a hash and a host.
pub const LONGEST_PAGE: usize = 2_100;
/// 256 bits in base64url.
const VALUE_CHARS: usize = 43;
/// Tabs that can wait for their login at a time.
const MOST_STARTS: usize = 8;
/// Bytes; with its name and attributes below the 4,096 that browsers keep (RFC 6265 §6.1).
const LONGEST_COOKIE: usize = 3_600;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn cookie() -> HandoffCookie {
        HandoffCookie::read_or_make(None).unwrap()
    }

    fn again(cookie: &HandoffCookie) -> HandoffCookie {
        HandoffCookie::read(Some(cookie.to_text().as_bytes())).unwrap()
    }

    #[test]
    fn every_tab_finds_its_own_page_once() {
        let mut cookie = cookie();
        let bare = cookie.to_text();
        cookie.remember([1, 2, 3], "/a?b=c;d=\"é\"");
        cookie.remember([0xff, 0, 9], "handoff:x:https://a.test/");
        let mut cookie = again(&cookie);
        assert_eq!(cookie.value(), bare);
        assert_eq!(cookie.take([1, 2, 3]).as_deref(), Some("/a?b=c;d=\"é\""));
        assert_eq!(cookie.take([1, 2, 3]), None);
        assert_eq!(
            again(&cookie).take([0xff, 0, 9]).as_deref(),
            Some("handoff:x:https://a.test/")
        );
        assert_ne!(bare, HandoffCookie::read_or_make(None).unwrap().to_text());
    }

    #[test]
    fn the_oldest_make_room() {
        let mut many = cookie();
        for number in 0..20 {
            many.remember([number, 0, 0], "/short");
        }
        assert!(again(&many).take([19, 0, 0]).is_some() && again(&many).take([12, 0, 0]).is_some());
        assert_eq!(again(&many).take([11, 0, 0]), None);
        let mut long = cookie();
        for number in 0..4 {
            long.remember([number, 0, 0], &format!("/{}", "x".repeat(1_500)));
            assert!(long.to_text().len() <= LONGEST_COOKIE);
        }
        assert!(again(&long).take([3, 0, 0]).is_some());
        assert_eq!(again(&long).take([0, 0, 0]), None);
    }

    #[test]
    fn a_page_that_is_too_long_is_the_start_page() {
        let mut cookie = cookie();
        for (length, kept) in [(LONGEST_PAGE, true), (LONGEST_PAGE + 1, false)] {
            let page = format!("/{}", "x".repeat(length - 1));
            cookie.remember([1, 1, 1], &page);
            assert_eq!(again(&cookie).take([1, 1, 1]).unwrap() == page, kept);
            cookie.take([1, 1, 1]);
        }
    }

    #[test]
    fn without_a_value_nothing_counts() {
        let value = "A".repeat(43);
        for (text, counts) in [
            (value.clone(), true),
            (format!("{value}."), true),
            (format!("{value}.010203:Lw"), true),
            (format!("{value}.01020:Lw.zz0203:Lw.010203"), true),
            ("A".repeat(42), false),
            ("A".repeat(44), false),
            (format!(".010203:Lw.{value}"), false),
            (format!("{}+", "A".repeat(42)), false),
            (String::new(), false),
        ] {
            assert_eq!(HandoffCookie::read(Some(text.as_bytes())).is_some(), counts, "{text}");
        }
        assert_eq!(HandoffCookie::read(Some(b"\xff")), None);
    }

    proptest! {
        #[test]
        fn a_strange_cookie_is_read_or_not_and_never_more(text in "[A-Za-z0-9:._-]{0,200}") {
            if let Some(cookie) = HandoffCookie::read(Some(text.as_bytes())) {
                prop_assert!(cookie.starts.len() <= MOST_STARTS);
                prop_assert_eq!(again(&cookie), cookie);
            }
        }
    }
}
