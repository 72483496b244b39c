//! The browser's half of a ticket: what the page knew when it was made, sealed into the ticket's cookie.
//!
//! The phone shows site, host, device, place and time from here and nowhere else, so that nobody confirms what they
//! were not shown. Over HTTPS it is bound to the browser cookie, which has the `__Host-` prefix: a ticket cookie that a
//! sibling host planted is worth nothing.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::gate::destination;
use crate::login::device::Device;
use crate::login::scene::Scene;
use crate::session::seal::{Purpose, SealError, SealingRing};

/// What the page knew. Positional on the wire: what is new goes behind it, under a version of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserHalf {
    /// Name of the site, for people.
    pub site: String,
    /// Host that the page was on; the session is made for it.
    pub host: String,
    /// Where to go afterwards.
    pub return_to: ReturnAddress,
    /// What the person would call their browser.
    pub device: Device,
    /// Client address of the page.
    pub address: IpAddr,
    /// When the page was made, in Unix seconds.
    pub time: i64,
    /// Digest of the browser cookie.
    pub browser: [u8; 16],
    /// Whose account the WeChat that scans is connected to; `None`: it logs in.
    #[serde(skip)]
    pub bind_to: Option<BindTo>,
}

/// For whom a ticket connects a WeChat account, instead of logging anybody in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindTo {
    /// The user.
    pub user_id: String,
    /// The session that they asked by, and that has to live until it is done.
    pub session_id: String,
}

/// The part of a half that the phone is shown, as the ticket's row keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserFacts {
    /// Name of the site.
    pub site: String,
    /// Host of the page.
    pub host: String,
    /// The browser.
    pub device: Device,
    /// Client address of the page: the phone is told the place, not the address.
    pub address: IpAddr,
    /// When the page was made, in Unix seconds.
    pub time: i64,
    /// Whose account the WeChat that scans is connected to; `None`: it logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_to: Option<BindTo>,
}

/// Where to go afterwards, checked when the page was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReturnAddress {
    /// As it is.
    Text(String),
    /// Too long for a cookie: SHA-256, and the page hands the text back.
    Hash([u8; 32]),
    /// The same of a hand-off, with the host that asked for it.
    HandoffHash([u8; 32], String),
}

impl BrowserHalf {
    /// Seals for the cookie `name` of this scene.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(&self, ring: &SealingRing, name: &str, scene: &Scene, now: i64) -> Result<String, SealError> {
        // What a node of the previous version can read is written as it reads it, so that nodes can be upgraded one by
        // one; what it would take for a login is not.
        let version = if self.bind_to.is_some() { VERSION } else { LOGIN_ONLY };
        let mut bytes = vec![version];
        bytes.extend(postcard::to_stdvec(self).map_err(|_| SealError)?);
        if let Some(bind_to) = &self.bind_to {
            bytes.extend(postcard::to_stdvec(bind_to).map_err(|_| SealError)?);
        }
        ring.seal(Purpose::Ticket, &[name, scene.as_str()], &bytes, now)
    }

    /// Opens the cookie `name` that came with this scene.
    pub fn open(ring: &SealingRing, name: &str, scene: &Scene, token: &[u8]) -> Option<Self> {
        let bytes = ring.open(Purpose::Ticket, &[name, scene.as_str()], token)?;
        let (version, rest) = bytes.split_first()?;
        let (half, rest): (Self, _) = postcard::take_from_bytes(rest).ok()?;
        match (*version, rest) {
            (LOGIN_ONLY, []) => Some(half),
            (VERSION, rest) => match postcard::take_from_bytes(rest) {
                Ok((bind_to, [])) => Some(Self {
                    bind_to: Some(bind_to),
                    ..half
                }),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the phone is shown.
    pub fn facts(&self) -> BrowserFacts {
        BrowserFacts {
            site: self.site.clone(),
            host: self.return_to.handoff_host().unwrap_or_else(|| self.host.clone()),
            device: self.device.clone(),
            address: self.address,
            time: self.time,
            bind_to: self.bind_to.clone(),
        }
    }

    /// Whether this browser cookie belongs to the page that made the ticket.
    pub fn is_bound_to(&self, browser_cookie: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.browser[..], &browser_digest(browser_cookie)[..]).into()
    }
}

impl ReturnAddress {
    /// Keeps a short one and hashes a long one.
    pub fn keep(text: &str) -> Self {
        if text.len() <= MAX_TEXT {
            return Self::Text(text.to_owned());
        }
        match destination::handoff_host(text) {
            Some(host) => Self::HandoffHash(sha256(text), host),
            None => Self::Hash(sha256(text)),
        }
    }

    /// The host that asked for this login, when it is another than the page's own.
    fn handoff_host(&self) -> Option<String> {
        match self {
            Self::Text(text) => destination::handoff_host(text),
            Self::Hash(_) => None,
            Self::HandoffHash(_, host) => Some(host.clone()),
        }
    }

    /// Whether the page has to hand the text back.
    pub fn is_handed_back(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    /// The address: the kept one, or the one that the page handed back if it is the same. `None`: it is another.
    pub fn resolve<'a>(&'a self, handed_back: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Hash(hash) | Self::HandoffHash(hash, _) => handed_back.filter(|text| sha256(text) == *hash),
        }
    }
}

/// What a ticket remembers of the browser cookie.
pub fn browser_digest(browser_cookie: &[u8]) -> [u8; 16] {
    let mut short = [0_u8; 16];
    short.copy_from_slice(&digest(&SHA256, browser_cookie).as_ref()[..16]);
    short
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0_u8; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// With [`BindTo`] behind it.
const VERSION: u8 = 2;
/// Without.
const LOGIN_ONLY: u8 = 1;
/// In bytes: with the rest and base64 the cookie stays below what browsers keep.
const MAX_TEXT: usize = 2_048;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::login::scene::{SceneKey, SceneKeys};
    use crate::session::seal::SealingKey;

    fn half(rd: &str) -> BrowserHalf {
        BrowserHalf {
            site: "Wiki".into(),
            host: "wiki.example".into(),
            return_to: ReturnAddress::keep(rd),
            device: Device::of("Mozilla/5.0 (Windows NT 10.0) Chrome/142.0.0.0 Safari/537.36"),
            address: "203.0.113.9".parse().unwrap(),
            time: 1_700_000_000,
            browser: browser_digest(b"browser"),
            bind_to: None,
        }
    }

    fn ring() -> SealingRing {
        SealingRing::new(vec![SealingKey::new(1, 0, &[1; 32]).unwrap()])
    }

    fn bind_to() -> BindTo {
        BindTo {
            user_id: "u_1".into(),
            session_id: "s1".into(),
        }
    }

    #[test]
    fn a_half_says_for_whom_it_binds_in_a_version_of_its_own() {
        let ring = ring();
        let scene = SceneKeys::new(vec![SceneKey::new(1, 0, b"key")])
            .mint("staff", 100)
            .unwrap();
        let sealed = |bytes: &[u8]| ring.seal(Purpose::Ticket, &["t", scene.as_str()], bytes, 100).unwrap();
        let open = |bytes: &[u8]| BrowserHalf::open(&ring, "t", &scene, sealed(bytes).as_bytes());
        let versions = [(None, 1), (Some(bind_to()), 2)];
        for (bind_to, version) in versions {
            let half = BrowserHalf { bind_to, ..half("/") };
            let token = half.seal(&ring, "t", &scene, 100).unwrap();
            let bytes = ring
                .open(Purpose::Ticket, &["t", scene.as_str()], token.as_bytes())
                .unwrap();
            assert_eq!(bytes[0], version);
            assert_eq!(open(&bytes).as_ref(), Some(&half));
            assert_eq!(half.facts().bind_to, half.bind_to);
            // Neither is what the other version says, nor is a part of it or more than it.
            let other = [&[3 - version], &bytes[1..]].concat();
            let more = [&bytes[..], &[0]].concat();
            for broken in [&other[..], &more, &bytes[..bytes.len() - 1], &[]] {
                assert_eq!(open(broken), None, "{version}");
            }
        }
    }

    #[test]
    fn facts_of_a_row_without_an_account_are_those_of_a_login() {
        let json = serde_json::to_string(&half("/").facts()).unwrap();
        assert!(!json.contains("bind_to"), "{json}");
        assert_eq!(serde_json::from_str::<BrowserFacts>(&json).unwrap(), half("/").facts());
    }

    #[test]
    fn half_opens_for_its_own_scene_only_and_fits_a_cookie() {
        let ring = ring();
        let scenes = SceneKeys::new(vec![SceneKey::new(1, 0, b"key")]);
        let (scene, other) = (scenes.mint("staff", 100).unwrap(), scenes.mint("staff", 100).unwrap());
        let half = half(&"x".repeat(2_048));
        let token = half.seal(&ring, "menshen-ticket", &scene, 100).unwrap();
        assert!(token.len() < 3_800, "{}", token.len());
        assert_eq!(
            BrowserHalf::open(&ring, "menshen-ticket", &scene, token.as_bytes()),
            Some(half)
        );
        assert_eq!(
            BrowserHalf::open(&ring, "menshen-ticket", &other, token.as_bytes()),
            None
        );
        assert_eq!(BrowserHalf::open(&ring, "other", &scene, token.as_bytes()), None);
    }

    #[test]
    fn planted_ticket_belongs_to_another_browser() {
        assert!(half("/").is_bound_to(b"browser"));
        assert!(!half("/").is_bound_to(b"another"));
        assert!(!half("/").is_bound_to(b""));
    }

    #[test]
    fn long_return_address_is_handed_back_by_the_page_and_by_no_other_text() {
        let long = format!("/search?q={}", "x".repeat(3_000));
        let kept = ReturnAddress::keep(&long);
        assert_eq!(kept.resolve(Some(&long)), Some(long.as_str()));
        assert_eq!(kept.resolve(Some("/evil")), None);
        assert_eq!(kept.resolve(None), None);
        assert_eq!(ReturnAddress::keep("/a").resolve(Some("/evil")), Some("/a"));
    }

    #[test]
    fn whoever_asks_is_named_however_long_the_address() {
        let ring = ring();
        let scene = SceneKeys::new(vec![SceneKey::new(1, 0, b"key")])
            .mint("staff", 100)
            .unwrap();
        for length in [10, 3_000] {
            let asked = format!("handoff:{}:https://wiki.example/{}", "A".repeat(43), "x".repeat(length));
            let half = BrowserHalf {
                host: "login.example".into(),
                ..half(&asked)
            };
            assert_eq!(half.facts().host, "wiki.example");
            assert_eq!(half.return_to.is_handed_back(), length > 2_048);
            assert_eq!(half.return_to.resolve(Some(&asked)), Some(&*asked));
            let token = half.seal(&ring, "t", &scene, 100).unwrap();
            assert_eq!(BrowserHalf::open(&ring, "t", &scene, token.as_bytes()), Some(half));
        }
        assert_eq!(half(&format!("/{}", "x".repeat(3_000))).facts().host, "wiki.example");
    }
}
