//! Where a login leads back to.
//!
//! What a client asks for (`rd`) is parsed as its browser will parse it (WHATWG URL), judged by the parsed parts, and
//! serialised again; the input itself is never echoed. Anything that is not clearly one of our own places becomes `/`
//! rather than an error: a person with a broken link should still get in (the open-redirect family: CVE-2020-5233,
//! CVE-2021-29651, CVE-2022-28923 …).

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::gate::Gate;
use crate::gate::origin::OwnOrigin;
use crate::gate::path::{PORTAL_PREFIX, PortalMatch, portal_match};
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
    if !is_forwardable(url.path()) || portal_match(url.path()) != PortalMatch::Elsewhere {
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
fn is_named(url: &Url, gate: &Gate) -> bool {
    match url.host() {
        Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_)) => url
            .host_str()
            .and_then(|host| gate.site(host))
            .is_some_and(|found| found.is_named()),
        None => false,
    }
}

/// Whether scheme and port are those that `public_url` says the gateway is reached by.
fn is_public_port(url: &Url, gate: &Gate) -> bool {
    (url.scheme() == "https") == gate.https() && url.port() == gate.public_port
}

/// Whether a path, as the browser will send it, can be understood in one way only. The first two bytes decide whether
/// it stays a path at all: `//host` would be an address (CVE-2022-28923).
fn is_forwardable(path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    !path.starts_with("//")
        && !decoded.starts_with(b"//")
        && !decoded.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\')
        && !within_portal(&decoded)
}

fn within_portal(decoded: &[u8]) -> bool {
    let prefix = PORTAL_PREFIX.as_bytes();
    decoded.len() >= prefix.len()
        && decoded[..prefix.len()].eq_ignore_ascii_case(prefix)
        && matches!(decoded.get(prefix.len()), None | Some(b'/' | b';' | b'?' | b'#'))
}

/// Longest address that is kept; the longest request target that the gateway takes.
const MAX_LENGTH: usize = 8 * 1024;
