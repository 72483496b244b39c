//! Where a login at `public_url` leads: to a place, or to the session of another host first.
//!
//! With `single_sign_on` a host sends its visitors to `public_url`, and takes the finished login from there by a code. What
//! it asks for travels as one text wherever a login keeps its `rd`, `handoff:HASH:URL`: whoever does not know the form takes
//! it for a bad address, which leads to `/`. HASH is that of a value in the host's cookie, so that a code is worth
//! nothing in a browser that did not ask (login CSRF; oauth2-proxy CVE-2020-4037 and its class are about the URL, which
//! is judged as every `rd` is).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

use crate::gate::Gate;
use crate::gate::origin::OwnOrigin;
use crate::gate::popup::PopupOrigin;
use crate::gate::return_to::ReturnTo;
use crate::gate::site::SiteMatch;

/// Where a login leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A page.
    Place(ReturnTo),
    /// A session of another host, and a page there.
    Handoff(Handoff),
}

/// What another host asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    /// SHA-256 of the value that the host keeps in its cookie.
    pub binding: [u8; 32],
    /// A page of the host: an absolute address.
    pub page: ReturnTo,
    /// The host: lower case, no port.
    pub host: String,
    /// Scheme, host and port.
    pub origin: String,
    /// Place of the host's site in the settings.
    pub site: usize,
}

/// A host that sends its visitors to WeChat, and takes them back by a hand-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskingHost {
    /// Lower case, no port.
    pub host: String,
    /// Scheme, host and port.
    pub origin: String,
    /// Place of its site in the settings; `public_url`'s host may have none.
    pub site: Option<usize>,
}

impl Destination {
    /// Reads what a client asks for. A hand-off is one only at `public_url`'s host, with `single_sign_on`, and for a page of
    /// another host that the configuration names; everything else is a place ([`ReturnTo::parse`]).
    pub fn parse(asked: &str, gate: &Gate, own: &OwnOrigin<'_>) -> Self {
        match asked.strip_prefix(SCHEME) {
            Some(rest) => parse_handoff(rest, gate, own).map_or_else(|| Self::Place(ReturnTo::root()), Self::Handoff),
            None => Self::Place(ReturnTo::parse(asked, gate, own)),
        }
    }

    /// Whom the end of a window of its own is told, here or at the host that asked; `None` where it ends no window.
    pub fn popup_origin(&self, gate: &Gate, own: &OwnOrigin<'_>, site: Option<usize>) -> Option<PopupOrigin> {
        match self {
            Self::Place(page) if page.is_local() => PopupOrigin::parse(&page.popup_origin()?, gate, own, site),
            Self::Place(_) => None,
            Self::Handoff(Handoff { page, host, site, .. }) => {
                let asking = OwnOrigin {
                    host,
                    ..gate.public_origin()
                };
                PopupOrigin::parse(&page.popup_origin()?, gate, &asking, Some(*site))
            }
        }
    }

    /// The hand-off, if it is one.
    pub fn handoff(&self) -> Option<&Handoff> {
        match self {
            Self::Handoff(handoff) => Some(handoff),
            Self::Place(_) => None,
        }
    }
}

impl Handoff {
    /// What `host_page`, an absolute address of the asking host itself, asks `public_url` for.
    pub fn of(binding: [u8; 32], host_page: &str, gate: &Gate) -> Option<Self> {
        let public = gate.public_origin();
        parse_handoff(
            &format!("{}:{host_page}", URL_SAFE_NO_PAD.encode(binding)),
            gate,
            &public,
        )
    }
}

impl AskingHost {
    /// A host that may take a finished login: `public_url`'s own, or one that the configuration names. One that only a
    /// bare `*` matches may not.
    pub fn find(host: &str, gate: &Gate) -> Option<Self> {
        let found = gate.site(host);
        if !gate.is_public_host(host) && !found.as_ref().is_some_and(SiteMatch::is_named) {
            return None;
        }
        let public = gate.public_origin();
        let origin = OwnOrigin { host, ..public };
        Some(Self {
            host: host.to_owned(),
            origin: origin.to_string(),
            site: found.map(|found| found.index),
        })
    }
}

/// As it travels.
impl fmt::Display for Handoff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{SCHEME}{}:{}",
            URL_SAFE_NO_PAD.encode(self.binding),
            self.page
        )
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(formatter),
            Self::Handoff(handoff) => handoff.fmt(formatter),
        }
    }
}

/// The host that a hand-off is for. For a text that has been parsed before, when the page was made.
#[must_use]
pub fn handoff_host(text: &str) -> Option<String> {
    let (_, page) = text.strip_prefix(SCHEME)?.split_once(':')?;
    Url::parse(page).ok()?.host_str().map(str::to_owned)
}

fn parse_handoff(asked: &str, gate: &Gate, own: &OwnOrigin<'_>) -> Option<Handoff> {
    if !gate.single_sign_on() || !gate.is_public_host(own.host) {
        return None;
    }
    let (binding, page) = asked.split_once(':')?;
    let binding = URL_SAFE_NO_PAD.decode(binding).ok()?.try_into().ok()?;
    let page = ReturnTo::parse(page, gate, own);
    if page.is_local() {
        return None;
    }
    let url = Url::parse(page.as_str()).ok()?;
    let host = url.host_str()?.to_owned();
    let site = gate.site(&host)?.index;
    Some(Handoff {
        binding,
        origin: url.origin().ascii_serialization(),
        host,
        site,
        page,
    })
}

const SCHEME: &str = "handoff:";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::gate::fixture::{settings, site};

    const PUBLIC: OwnOrigin<'static> = OwnOrigin {
        secure: true,
        host: "login.test",
        port: None,
    };
    const HASH: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    fn gate(single_sign_on: bool) -> Gate {
        let sites = vec![
            site(&["app.test"], vec![]),
            site(&["*.corp.test"], vec![]),
            site(&["*"], vec![]),
        ];
        let mut settings = settings("https://login.test", sites);
        settings.login.single_sign_on = single_sign_on;
        Gate::new(&settings)
    }

    fn parse(asked: &str) -> Destination {
        Destination::parse(asked, &gate(true), &PUBLIC)
    }

    #[test]
    fn another_named_host_may_ask_for_a_session_of_its_own() {
        for (page, host) in [
            ("https://app.test/a?b=c", "app.test"),
            ("https://x.corp.test/", "x.corp.test"),
        ] {
            let asked = format!("handoff:{HASH}:{page}");
            let destination = parse(&asked);
            let handoff = destination.handoff().expect(page);
            assert_eq!((handoff.binding, handoff.host.as_str()), ([1; 32], host));
            assert_eq!(handoff.origin, format!("https://{host}"));
            assert_eq!(destination.to_string(), asked, "it travels on as it came");
            assert_eq!(handoff_host(&asked).as_deref(), Some(host));
            assert_eq!(Handoff::of([1; 32], page, &gate(true)).as_ref(), Some(handoff));
        }
    }

    #[test]
    fn everything_else_leads_to_the_root() {
        let root = Destination::Place(ReturnTo::root());
        for asked in [
            "handoff:".to_owned(),
            format!("handoff:{HASH}"),
            format!("handoff:{HASH}:"),
            format!("handoff:{HASH}:/a"),
            format!("handoff:{HASH}:https://login.test/a"),
            format!("handoff:{HASH}:https://other.test/"),
            format!("handoff:{HASH}:https://corp.test/"),
            format!("handoff:{HASH}:http://app.test/"),
            format!("handoff:{HASH}:https://app.test:8443/"),
            format!("handoff:{HASH}:https://app.test/.menshen/handoff?code=x"),
            format!("handoff:{HASH}:https://app.test@evil.test/"),
            format!("handoff:{HASH}:javascript:alert(1)"),
            format!("handoff:{HASH}:handoff:{HASH}:https://app.test/"),
            format!("handoff:{}:https://app.test/", &HASH[1..]),
            format!("HANDOFF:{HASH}:https://app.test/"),
        ] {
            assert_eq!(parse(&asked), root, "{asked}");
        }
        let good = format!("handoff:{HASH}:https://app.test/");
        assert_eq!(Destination::parse(&good, &gate(false), &PUBLIC), root);
        let elsewhere = OwnOrigin {
            host: "app.test",
            ..PUBLIC
        };
        assert_eq!(Destination::parse(&good, &gate(true), &elsewhere), root);
    }

    #[test]
    fn only_hosts_that_are_written_down_take_a_login_back() {
        let gate = gate(false);
        for (host, found) in [
            ("app.test", Some(("https://app.test", Some(0)))),
            ("x.corp.test", Some(("https://x.corp.test", Some(1)))),
            ("login.test", Some(("https://login.test", None))),
            ("corp.test", None),
            ("whatever.test", None),
            ("", None),
        ] {
            let asking = AskingHost::find(host, &gate);
            let seen = asking.as_ref().map(|asking| (asking.origin.as_str(), asking.site));
            assert_eq!(seen, found, "{host}");
        }
    }

    #[test]
    fn places_are_judged_as_ever() {
        assert_eq!(handoff_host("https://app.test/a"), None);
        assert_eq!(parse("/a").to_string(), "/a");
        assert_eq!(parse("https://app.test/a").to_string(), "https://app.test/a");
        assert_eq!(parse("https://evil.test/").to_string(), "/");
    }
}
