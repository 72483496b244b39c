//! Who may act by a cookie: same-origin calls of the portal, and the origins that may open WebSockets.
//!
//! Origins are compared as the exact bytes that a browser serialises (scheme, host, non-default port): nothing is
//! parsed, so nothing can be parsed differently.

use http::HeaderName;
use http::header::ORIGIN;

use crate::gate::headers::Headers;

/// Scheme, host and port that the client used for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnOrigin<'a> {
    /// HTTPS.
    pub secure: bool,
    /// Lower case, no trailing dot; IPv6 in brackets.
    pub host: &'a str,
    /// As written; `None` is the scheme's default.
    pub port: Option<u16>,
}

impl OwnOrigin<'_> {
    /// Whether an `Origin` header names exactly this origin, in the serialisation of RFC 6454 §6.2.
    pub fn is(&self, origin: &[u8]) -> bool {
        let Some(rest) = origin
            .strip_prefix(self.scheme().as_bytes())
            .and_then(|rest| rest.strip_prefix(b"://"))
        else {
            return false;
        };
        let Some(port) = rest.strip_prefix(self.host.as_bytes()) else {
            return false;
        };
        match (self.non_default_port(), port) {
            (None, b"") => true,
            (Some(expected), [b':', digits @ ..]) => is_port(digits, expected),
            _ => false,
        }
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The port with the scheme's default filled in.
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.default_port())
    }

    /// The port where it must be written out.
    pub fn non_default_port(&self) -> Option<u16> {
        self.port.filter(|&port| port != self.default_port())
    }

    fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }
}

impl std::fmt::Display for OwnOrigin<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}://{}", self.scheme(), self.host)?;
        match self.non_default_port() {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The `Origin` of a request. Repeated headers count as the opaque origin `null`, which nothing allows.
pub fn origin<'h>(headers: &Headers<'h>) -> Option<&'h [u8]> {
    match single(headers, &ORIGIN) {
        Single::None => None,
        Single::One(origin) => Some(origin),
        Single::Many => Some(b"null"),
    }
}

/// Whether an unsafe call to the portal comes from a page of this origin: `Sec-Fetch-Site: same-origin` or, where a
/// browser sends none, an `Origin` with exactly this scheme, host and port. Neither is a refusal (403 `cross_origin`).
pub fn is_same_origin_call(headers: &Headers<'_>, own: &OwnOrigin<'_>) -> bool {
    match single(headers, &SEC_FETCH_SITE) {
        Single::One(site) => site == b"same-origin",
        Single::Many => false,
        Single::None => origin(headers).is_some_and(|origin| own.is(origin)),
    }
}

/// Whether a WebSocket that relies on the session cookie may be opened: its `Origin` is this host's own or one that
/// the route lists (cross-site WebSocket hijacking; fetch metadata says nothing here, since browsers differ).
pub fn websocket_origin_allowed(origin: Option<&[u8]>, own: &OwnOrigin<'_>, listed: &[String]) -> bool {
    origin.is_some_and(|origin| own.is(origin) || is_listed(origin, listed))
}

/// Whether an origin is one of a route's list. `null` never is.
pub fn is_listed(origin: &[u8], listed: &[String]) -> bool {
    origin != b"null" && listed.iter().any(|allowed| allowed.as_bytes() == origin)
}

enum Single<'h> {
    None,
    One(&'h [u8]),
    Many,
}

fn single<'h>(headers: &Headers<'h>, name: &HeaderName) -> Single<'h> {
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (None, _) => Single::None,
        (Some(value), None) => Single::One(value),
        (Some(_), Some(_)) => Single::Many,
    }
}

fn is_port(digits: &[u8], port: u16) -> bool {
    let mut buffer = [0_u8; 5];
    let mut rest = port;
    let mut at = buffer.len();
    while at > 0 && (rest > 0 || at == buffer.len()) {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    buffer[at..] == *digits
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const HOST: OwnOrigin<'static> = OwnOrigin {
        secure: true,
        host: "app.test",
        port: None,
    };

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn an_origin_is_compared_with_scheme_host_and_port() {
        let plain = OwnOrigin {
            secure: false,
            host: "app.test",
            port: Some(8080),
        };
        let explicit_default = OwnOrigin {
            secure: true,
            host: "app.test",
            port: Some(443),
        };
        let six = OwnOrigin {
            secure: false,
            host: "[::1]",
            port: Some(65535),
        };
        for (own, origin, same) in [
            (HOST, "https://app.test", true),
            (explicit_default, "https://app.test", true),
            (HOST, "http://app.test", false),
            (HOST, "https://app.test:8443", false),
            (HOST, "https://app.test.evil.test", false),
            (HOST, "https://app.testevil", false),
            (HOST, "https://evil.test", false),
            (HOST, "https://evilapp.test", false),
            (HOST, "https://APP.test", false),
            (HOST, "https://app.test/", false),
            (HOST, "https://app.test:", false),
            (HOST, "null", false),
            (HOST, "", false),
            (HOST, "https://app.test:443", false),
            (plain, "http://app.test:8080", true),
            (plain, "http://app.test:08080", false),
            (plain, "http://app.test:808", false),
            (plain, "http://app.test:80800", false),
            (plain, "http://app.test", false),
            (plain, "https://app.test:8080", false),
            (six, "http://[::1]:65535", true),
        ] {
            assert_eq!(own.is(origin.as_bytes()), same, "{own} {origin}");
        }
    }

    #[test]
    fn unsafe_calls_need_proof_of_this_origin() {
        let table: &[(&[(&'static str, &'static str)], bool)] = &[
            (&[("sec-fetch-site", "same-origin")], true),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", "https://app.test")],
                true,
            ),
            (
                &[("sec-fetch-site", "same-site"), ("origin", "https://app.test")],
                false,
            ),
            (
                &[("sec-fetch-site", "cross-site"), ("origin", "https://app.test")],
                false,
            ),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "Same-Origin")], false),
            (
                &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (&[("sec-fetch-site", "")], false),
            (&[("origin", "https://app.test")], true),
            (
                &[("origin", "https://app.test"), ("origin", "https://evil.test")],
                false,
            ),
            (&[("origin", "https://app.test, https://evil.test")], false),
            (&[("origin", "http://app.test")], false),
            (&[("origin", "null")], false),
            (&[("referer", "https://app.test/")], false),
            (&[], false),
        ];
        for (lines, allowed) in table {
            assert_eq!(
                is_same_origin_call(&Headers::of(&headers(lines)), &HOST),
                *allowed,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn websockets_open_from_this_origin_and_from_listed_ones() {
        let listed = ["https://spa.test".to_owned(), "null".to_owned()];
        for (origin, allowed) in [
            (Some("https://app.test"), true),
            (Some("https://spa.test"), true),
            (Some("http://spa.test"), false),
            (Some("https://evil.test"), false),
            (Some("https://spa.test.evil.test"), false),
            (Some("null"), false),
            (None, false),
        ] {
            assert_eq!(
                websocket_origin_allowed(origin.map(str::as_bytes), &HOST, &listed),
                allowed,
                "{origin:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_origin_equals_itself_whatever_the_port(secure: bool, port in proptest::option::of(1_u16..)) {
            let own = OwnOrigin { secure, host: "a.test", port };
            let written = own.to_string();
            prop_assert!(own.is(written.as_bytes()));
            prop_assert_eq!(url::Url::parse(&written).unwrap().origin().ascii_serialization(), written);
        }
    }
}
