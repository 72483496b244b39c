//! The `Cookie` header, byte by byte: finding Menshen's own cookies, and passing on everybody else's untouched.
//!
//! Browsers over HTTP/2 split the header into several lines, which an HTTP/1.1 upstream must not see (RFC 9113
//! §8.2.3), so lines are rejoined. Between pairs `; ` is written; the pairs themselves are never decoded, sorted or
//! repaired, since applications compare their own cookies byte for byte.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// What a request holds under one cookie name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'h> {
    /// Nothing.
    Absent,
    /// One value, possibly repeated.
    Value(&'h [u8]),
    /// Different values: a sibling host may have planted one, and nobody can say which. Both are refused and cleared.
    Conflict,
}

/// What becomes of the `Cookie` header on the way to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewritten {
    /// There is one line, or none, without a cookie of ours.
    Unchanged,
    /// This line instead of all lines.
    Line(HeaderValue),
    /// Only our own cookies were there: no `Cookie` header.
    Nothing,
}

/// The names of Menshen's own cookies: the session cookie with and without its prefixes, and `menshen-*`.
///
/// Compared without regard to case: browsers treat the prefixes so, and no application loses by it.
#[derive(Debug, Clone)]
pub struct OwnCookies {
    session: String,
}

impl OwnCookies {
    /// With the configured name of the session cookie, without prefix.
    pub fn new(session_cookie: &str) -> Self {
        Self {
            session: session_cookie.to_owned(),
        }
    }

    /// Whether a cookie of this name is Menshen's: it never reaches an upstream, and an upstream never sets it.
    pub fn is_own(&self, name: &[u8]) -> bool {
        let bare = PREFIXES
            .iter()
            .find_map(|prefix| without_prefix(name, prefix))
            .unwrap_or(name);
        bare.eq_ignore_ascii_case(self.session.as_bytes()) || without_prefix(bare, OWN_FAMILY).is_some()
    }

    /// Whether an upstream may set this `Set-Cookie`. A cookie without a name is sent back as its bare value, so that
    /// `Set-Cookie: =menshen=x` arrives as `menshen=x`: there the value is judged.
    pub fn upstream_may_set(&self, set_cookie: &[u8]) -> bool {
        let mut pair = set_cookie
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        while let Some(rest) = pair.strip_prefix(b"=") {
            pair = rest.trim_ascii();
        }
        !self.is_own(name_and_value(pair).0)
    }
}

/// The value of the cookie with exactly this name, over all lines.
pub fn find<'h>(headers: &'h HeaderMap, name: &[u8]) -> Found<'h> {
    let mut found = Found::Absent;
    for pair in pairs(headers) {
        let (held, value) = name_and_value(pair);
        if held != name {
            continue;
        }
        match found {
            Found::Absent => found = Found::Value(value),
            Found::Value(first) if first == value => {}
            Found::Value(_) | Found::Conflict => return Found::Conflict,
        }
    }
    found
}

/// The header without Menshen's own cookies, on one line. Allocates only when something changes.
pub fn rewrite(headers: &HeaderMap, is_own: impl Fn(&[u8]) -> bool) -> Rewritten {
    let lines = headers.get_all(COOKIE).iter().take(2).count();
    let foreign = |pair: &&[u8]| !is_own(name_and_value(pair).0);
    if lines < 2 && pairs(headers).all(|pair| foreign(&pair)) {
        return Rewritten::Unchanged;
    }
    let mut line = Vec::with_capacity(headers.get_all(COOKIE).iter().map(|value| value.len() + 2).sum());
    for pair in pairs(headers).filter(foreign) {
        if !line.is_empty() {
            line.extend_from_slice(b"; ");
        }
        line.extend_from_slice(pair);
    }
    // The bytes come from header values, so the new value is valid too; were it not, no cookies are safer than ours.
    match HeaderValue::from_maybe_shared(bytes::Bytes::from(line)) {
        Ok(line) if !line.is_empty() => Rewritten::Line(line),
        _ => Rewritten::Nothing,
    }
}

/// Bytes and number of all cookies, for limits.
pub fn weigh(headers: &HeaderMap) -> (usize, usize) {
    let bytes = headers.get_all(COOKIE).iter().map(HeaderValue::len).sum();
    (bytes, pairs(headers).count())
}

/// The non-empty pairs of all lines, without the white space around them.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// White space around the name is not part of it; a pair without `=` has no value here, and is a name to some backends.
fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (pair[..at].trim_ascii_end(), pair[at + 1..].trim_ascii_start()),
        None => (pair, b""),
    }
}

fn without_prefix<'n>(name: &'n [u8], prefix: &[u8]) -> Option<&'n [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

const PREFIXES: [&[u8]; 2] = [b"__Host-", b"__Secure-"];
const OWN_FAMILY: &[u8] = b"menshen-";
