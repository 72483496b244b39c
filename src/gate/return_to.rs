//! Where a login leads back to.
//!
//! What a client asks for (`rd`) is parsed as its browser will parse it (WHATWG URL), judged by the parsed parts, and
//! serialised again; the input itself is never echoed. Anything that is not clearly one of our own places becomes `/`
//! rather than an error: a person with a broken link should still get in (the open-redirect family: CVE-2020-5233,
//! CVE-2021-29651, CVE-2022-28923 …).

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use crate::gate::Gate;
use crate::gate::origin::OwnOrigin;
use crate::gate::path::{PortalMatch, portal_match};
use crate::gate::popup::PopupOrigin;
use crate::gate::request_class::Class;

/// A checked place to return to: a path of this host, or an absolute URL of a host that a site names. ASCII, without
/// controls: fit for a `Location` header as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// `/`
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Checks what a client asks for; anything else than a path of `own`, or an absolute URL of a host that a site
    /// names with the scheme and port of `own` or of `public_url`, becomes `/`, and so does the portal itself.
    pub fn parse(asked: &str, gate: &Gate, own: &OwnOrigin<'_>) -> Self {
        check(asked, gate, own).unwrap_or_else(Self::root)
    }

    /// Where a login leads that took the place of a request's answer. A GET leads back to itself; a form that was sent
    /// has lost its body, so it leads to the page of the form (`referer`, if it is of this origin), else to `/`.
    pub fn after_login(target: &str, class: Class, referer: Option<&str>, gate: &Gate, own: &OwnOrigin<'_>) -> Self {
        match class {
            Class::Submission => match referer.map(|referer| Self::parse(referer, gate, own)) {
                Some(place) if place.is_local() => place,
                _ => Self::root(),
            },
            _ => Self::parse(target, gate, own),
        }
    }

    /// The portal's page that tells the opener of a window that its login is done.
    pub fn popup(origin: &PopupOrigin) -> Self {
        let origin = utf8_percent_encode(origin.as_str(), NON_ALPHANUMERIC);
        Self(format!("{POPUP}?origin={origin}"))
    }

    /// Whether it is that page, here or at another host.
    pub fn is_popup(&self) -> bool {
        let rest = match self.0.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |path| &rest[path..]),
            None => &self.0,
        };
        rest.split(['?', '#']).next() == Some(POPUP)
    }

    /// Whom that page tells, as it was asked for: to be judged again.
    pub fn popup_origin(&self) -> Option<String> {
        if !self.is_popup() {
            return None;
        }
        let (_, query) = self.0.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.split('#').next()?.as_bytes());
        pairs
            .find(|(name, _)| name == "origin")
            .map(|(_, origin)| origin.into_owned())
    }

    /// For `Location`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a path of the host that the request was made to.
    pub fn is_local(&self) -> bool {
        self.0.starts_with('/')
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn check(asked: &str, gate: &Gate, own: &OwnOrigin<'_>) -> Option<ReturnTo> {
    // Browsers drop tabs and line feeds and turn backslashes; no honest link has any.
    if asked.is_empty()
        || asked.len() > MAX_LENGTH
        || asked.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\')
    {
        return None;
    }
    let base = Url::parse(&own.to_string()).ok()?;
    let local = asked.starts_with('/');
    let url = if local {
        base.join(asked).ok()?
    } else {
        Url::parse(asked).ok()?
    };
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    // The one page of the portal that a login may lead to; it judges for itself whom it tells.
    let is_page = is_forwardable(url.path()) && portal_match(url.path()) == PortalMatch::Elsewhere;
    if !is_page && url.path() != POPUP {
        return None;
    }
    let same_origin = url.origin() == base.origin();
    if local {
        return same_origin.then(|| ReturnTo(url[url::Position::BeforePath..].to_owned()));
    }
    if !is_named(&url, gate) || !(same_origin || is_public_port(&url, gate)) {
        return None;
    }
    let written = if same_origin {
        &url[url::Position::BeforePath..]
    } else {
        url.as_str()
    };
    Some(ReturnTo(written.to_owned()))
}

/// Whether the configuration names the host of a URL.
pub(super) fn is_named(url: &Url, gate: &Gate) -> bool {
    url.host_str()
        .and_then(|host| gate.site(host))
        .is_some_and(|found| found.is_named())
}

/// Whether scheme and port are those that `public_url` says the gateway is reached by.
pub(super) fn is_public_port(url: &Url, gate: &Gate) -> bool {
    (url.scheme() == "https") == gate.https() && url.port() == gate.public_port
}

/// Whether a path, as the browser will send it, can be understood in one way only. The first two bytes decide whether
/// it stays a path at all: `//host` would be an address (CVE-2022-28923).
fn is_forwardable(path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    !decoded.starts_with(b"//") && !decoded.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\')
}

/// The page of [`ReturnTo::popup`].
const POPUP: &str = "/.menshen/popup";
/// Longest address that is kept; the longest request target that the gateway takes.
const MAX_LENGTH: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;
    use crate::gate::fixture::{gate, settings, site};

    const OWN: OwnOrigin<'static> = OwnOrigin {
        secure: true,
        host: "app.test",
        port: None,
    };

    fn sites() -> Gate {
        gate(vec![
            site(&["app.test", "192.0.2.7"], vec![]),
            site(&["*.corp.test"], vec![]),
            site(&["*"], vec![]),
        ])
    }

    fn parse(asked: &str) -> String {
        ReturnTo::parse(asked, &sites(), &OWN).as_str().to_owned()
    }

    #[test]
    fn places_of_this_host_and_of_named_hosts_are_kept() {
        for (asked, kept) in [
            ("/", "/"),
            ("/a/b?c=d&e=f#g", "/a/b?c=d&e=f#g"),
            ("/a%2Fb", "/a%2Fb"),
            ("/\u{6587}?q=\u{6863}", "/%E6%96%87?q=%E6%A1%A3"),
            ("/a b", "/a%20b"),
            ("/a/../b", "/b"),
            ("/login?next=https://evil.test/", "/login?next=https://evil.test/"),
            ("/x//y", "/x//y"),
            ("/.well-known/x", "/.well-known/x"),
            ("/.menshenx", "/.menshenx"),
            ("https://app.test/a", "/a"),
            ("https://app.test", "/"),
            ("HTTPS://APP.TEST:443/a", "/a"),
            ("//app.test/a", "/a"),
            ("https://x.corp.test/a?b#c", "https://x.corp.test/a?b#c"),
            ("https://y.x.corp.test", "https://y.x.corp.test/"),
            ("https:x.corp.test/a", "https://x.corp.test/a"),
            ("https://192.0.2.7/a", "https://192.0.2.7/a"),
            ("https://3221225991/a", "https://192.0.2.7/a"),
        ] {
            assert_eq!(parse(asked), kept, "{asked}");
        }
    }

    #[test]
    fn the_page_of_a_window_is_the_only_one_of_the_portal() {
        let origin = PopupOrigin::parse("https://app.test", &sites(), &OWN, None).unwrap();
        let page = ReturnTo::popup(&origin);
        assert_eq!(page.as_str(), "/.menshen/popup?origin=https%3A%2F%2Fapp%2Etest");
        assert!(page.is_local() && page.is_popup());
        assert_eq!(parse(page.as_str()), page.as_str());
        let elsewhere = ReturnTo::parse(&format!("https://x.corp.test{page}"), &sites(), &OWN);
        assert!(elsewhere.is_popup() && !elsewhere.is_local());
        for other in [
            "/.menshen/popup/",
            "/.menshen/popup/x",
            "/.menshen/popupx",
            "/.menshen/POPUP",
            "/.menshen/%70opup",
            "/.menshen//popup",
            "/.menshen/popup;x",
            "https://evil.test/.menshen/popup",
        ] {
            assert_eq!(parse(other), "/", "{other}");
        }
        for other in ["/", "/x?/.menshen/popup", "/x#/.menshen/popup", "https://app.test"] {
            assert!(!ReturnTo::parse(other, &sites(), &OWN).is_popup(), "{other}");
        }
    }

    #[test]
    fn everything_else_becomes_the_root() {
        for asked in [
            "",
            "a",
            "?a",
            "#a",
            "./a",
            "//evil.test",
            "///evil.test",
            "////evil.test//",
            "//x.corp.test/a",
            "/\\evil.test",
            "\\/evil.test",
            "\\\\evil.test",
            "/\\/evil.test",
            "/%5cevil.test",
            "/%2f%2fevil.test",
            "/%2f/evil.test",
            "/%09/evil.test",
            "/a%0d%0aSet-Cookie:x",
            "/\t/evil.test",
            "/\n/evil.test",
            "/a\r\nb",
            "/a\u{7f}",
            "/.//evil.test",
            "/..//evil.test",
            "/x/..//evil.test",
            "/%2e//evil.test",
            "https:evil.test",
            "https:/evil.test",
            "https:///evil.test",
            "http:\\\\evil.test",
            "https://evil.test",
            "ht\ntps://evil.test",
            "%68ttps://evil.test",
            "https://app.test@evil.test",
            "https://app.test:443@evil.test/",
            "https://user@app.test/a",
            "https://user:pw@app.test/a",
            "https://:pw@x.corp.test/a",
            "//user@app.test/a",
            "https://evil.test\\@app.test",
            "https://evil.test#@app.test",
            "https://evil.test?app.test",
            "https://app.test.evil.test",
            "https://evilapp.test",
            "https://appxtest",
            "https://corp.test/",
            "https://xcorp.test/",
            "https://x.corp.test.evil.test/",
            "https://app.test%2eevil.test",
            "https://app.test%00.evil.test",
            "https://app.test\u{3002}evil.test",
            "https://app.test./",
            "https://app.test:8443/",
            "https://app.test:443:80/",
            "http://app.test/",
            "http://x.corp.test/",
            "https://x.corp.test:8443/",
            "https://[::1]/",
            "https://127.0.0.1/",
            // Only `*` matches it.
            "https://anything.test/",
            "https://login.test/",
            "javascript:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "ftp://app.test/",
            "wss://app.test/",
            "/.menshen",
            "/.menshen/",
            "/.menshen/logout",
            "/.menshen?x",
            "/.menshen#x",
            "/.Menshen/logout",
            "/%2emenshen/logout",
            "/.menshen;x/logout",
            "/.menshen%2flogout",
            "/.menshen%3fx",
            "/x/../.menshen/logout",
            "/x/%2e%2e/.menshen/logout",
            "/;/.menshen/logout",
            "https://app.test/.menshen/logout",
            "https://x.corp.test/.menshen/logout",
            "/%61%2emenshen/../.menshen/",
        ] {
            assert_eq!(parse(asked), "/", "{asked}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(MAX_LENGTH))), "/");
    }

    #[test]
    fn scheme_and_port_are_those_of_this_request_or_of_the_public_url() {
        let gate = Gate::new(&settings(
            "http://login.test:8080",
            vec![site(&["app.test", "wiki.test"], vec![])],
        ));
        let own = OwnOrigin {
            secure: false,
            host: "app.test",
            port: Some(9000),
        };
        for (asked, kept) in [
            ("http://app.test:9000/a", "/a"),
            ("http://app.test:8080/a", "http://app.test:8080/a"),
            ("http://wiki.test:8080/a", "http://wiki.test:8080/a"),
            ("http://wiki.test:9000/a", "/"),
            ("http://wiki.test/a", "/"),
            ("https://wiki.test:8080/a", "/"),
        ] {
            assert_eq!(ReturnTo::parse(asked, &gate, &own).as_str(), kept, "{asked}");
        }
    }

    #[test]
    fn a_form_leads_back_to_its_page_and_never_to_another_host() {
        let gate = sites();
        let after = |class, referer| ReturnTo::after_login("/save?x", class, referer, &gate, &OWN).to_string();
        assert_eq!(after(Class::Navigation, Some("https://app.test/form")), "/save?x");
        assert_eq!(after(Class::Submission, Some("https://app.test/form?a")), "/form?a");
        assert_eq!(after(Class::Submission, Some("https://x.corp.test/form")), "/");
        assert_eq!(after(Class::Submission, Some("https://evil.test/form")), "/");
        assert_eq!(after(Class::Submission, None), "/");
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "/",
                "//",
                "\\",
                ".",
                "..",
                "%2e",
                "%2E",
                "%2f",
                "%5c",
                ";",
                "?",
                "#",
                "@",
                ":",
                "https:",
                "http:",
                "app.test",
                "evil.test",
                "x.corp.test",
                ".menshen",
                ".MENSHEN",
                "%2emenshen",
                "%6denshen",
                "login",
                "\t",
                "\n",
                " ",
                "%09",
                "%00",
                "%25",
                "%32",
                "443",
                "\u{3002}",
                "\u{ff0f}",
                "\u{2028}",
                "[",
                "]",
                "javascript:",
                "\u{e4}",
            ])
            .prop_map(str::to_owned),
            "[ -~]{0,3}",
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn whatever_is_asked_the_browser_stays_on_named_hosts_and_outside_of_the_portal(asked in hostile()) {
            let place = ReturnTo::parse(&asked, &sites(), &OWN);
            prop_assert!(place.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{place}");
            let url = Url::parse("https://app.test/").unwrap().join(place.as_str()).unwrap();
            let host = url.host_str().unwrap();
            prop_assert!(host == "app.test" || host == "192.0.2.7" || host.ends_with(".corp.test"), "{place}");
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.port(), None);
            prop_assert!(url.username().is_empty() && url.password().is_none());
            prop_assert_eq!(place.is_local(), host == "app.test");
            let decoded = percent_decode_str(url.path()).decode_utf8_lossy().to_lowercase();
            prop_assert!(!decoded.trim_start_matches([';', '/']).starts_with(".menshen/"), "{place}");
            prop_assert_eq!(portal_match(url.path()), PortalMatch::Elsewhere);
            // What is accepted once is accepted again, unchanged.
            prop_assert_eq!(&ReturnTo::parse(place.as_str(), &sites(), &OWN), &place);
        }
    }
}
