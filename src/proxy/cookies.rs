//! The `Cookie` header, byte by byte: finding Menshen's own cookies, and passing on everybody else's untouched.
//!
//! Browsers over HTTP/2 split the header into several lines, which an HTTP/1.1 upstream must not see (RFC 9113
//! §8.2.3), so lines are rejoined. Between pairs `; ` is written; the pairs themselves are never decoded, sorted or
//! repaired, since applications compare their own cookies byte for byte.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memchr;

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
        .flat_map(|line| Parts {
            rest: Some(line.as_bytes()),
        })
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// What stands between semicolons. A session cookie is long, and every request is looked through: `memchr` takes a
/// thirtieth of the time of a comparison byte by byte.
struct Parts<'h> {
    rest: Option<&'h [u8]>,
}

impl<'h> Iterator for Parts<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let rest = self.rest.take()?;
        let Some(end) = memchr(b';', rest) else {
            return Some(rest);
        };
        self.rest = rest.get(end + 1..);
        rest.get(..end)
    }
}

/// White space around the name is not part of it; a pair without `=` has no value here, and is a name to some backends.
fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'=', pair) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        map
    }

    fn own() -> OwnCookies {
        OwnCookies::new("menshen")
    }

    #[test]
    fn a_cookie_is_found_over_all_lines_and_two_values_conflict() {
        for (lines, expected) in [
            (&[][..], Found::Absent),
            (&[""][..], Found::Absent),
            (&["a=1"], Found::Absent),
            (&["menshen=x"], Found::Value(b"x")),
            (&["a=1;menshen=x ;b=2"], Found::Value(b"x")),
            (&["a=1", "b=2; menshen=x"], Found::Value(b"x")),
            (&["menshen=x; menshen=x"], Found::Value(b"x")),
            (&["menshen=x", "menshen=x"], Found::Value(b"x")),
            (&["menshen=x; menshen=y"], Found::Conflict),
            (&["menshen=x", "a=1; menshen=y"], Found::Conflict),
            (&["menshen=x; menshen=y; menshen=x"], Found::Conflict),
            (&["menshen = x"], Found::Value(b"x")),
            (&["menshen=x=y=="], Found::Value(b"x=y==")),
            (&["menshen="], Found::Value(b"")),
            (&["menshen"], Found::Value(b"")),
            (&["menshen=; menshen=x"], Found::Conflict),
            (&["menshenx=1; xmenshen=2; Menshen=3; __Host-menshen=4"], Found::Absent),
            (&["a=menshen=x"], Found::Absent),
        ] {
            assert_eq!(find(&headers(lines), b"menshen"), expected, "{lines:?}");
        }
    }

    #[test]
    fn own_cookies_are_removed_and_the_others_keep_bytes_and_order() {
        let line = |text: &str| Rewritten::Line(HeaderValue::from_str(text).unwrap());
        for (lines, expected) in [
            (&[][..], Rewritten::Unchanged),
            (&["a=1; b=2"][..], Rewritten::Unchanged),
            (&["a=1;b=2;;  c"], Rewritten::Unchanged),
            (&["menshen=x"], Rewritten::Nothing),
            (&["menshen=x; __Host-menshen=y"], Rewritten::Nothing),
            (&["menshen=x", "menshen-browser=y"], Rewritten::Nothing),
            (&["a=1; menshen=x; b=2"], line("a=1; b=2")),
            (&["menshen=x; a=1"], line("a=1")),
            (&["a=1; menshen=x"], line("a=1")),
            (&["a=1", "b=2"], line("a=1; b=2")),
            (
                &["b=2; a=\"1 , 2\"", "menshen=x; c==; d"],
                line("b=2; a=\"1 , 2\"; c==; d"),
            ),
            (&["a= 1 ;menshen=x;;b"], line("a= 1; b")),
            (&["menshen=1; a=\"x; menshen=2; y\""], line("a=\"x; y\"")),
            (&["", ""], Rewritten::Nothing),
        ] {
            assert_eq!(
                rewrite(&headers(lines), |name| own().is_own(name)),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn own_names_are_the_session_cookie_with_its_prefixes_and_the_family() {
        for name in [
            "menshen",
            "MENSHEN",
            "__Host-menshen",
            "__host-MENSHEN",
            "__Secure-menshen",
            "menshen-browser",
            "Menshen-x",
            "__Host-menshen-browser",
            "__Secure-menshen-handoff",
            "menshen-",
        ] {
            assert!(own().is_own(name.as_bytes()), "{name}");
            assert!(OwnCookies::new("door").is_own(b"door") && !OwnCookies::new("door").is_own(b"menshen"));
        }
        for name in [
            "",
            "a",
            "menshenx",
            "xmenshen",
            "menshen_0",
            "__Host-",
            "__Host-a",
            "__Host-__Host-menshen",
            "-menshen",
        ] {
            assert!(!own().is_own(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn an_upstream_sets_no_cookie_that_comes_back_as_ours() {
        for value in [
            "menshen=x",
            "menshen=x; Path=/",
            " menshen =x",
            "MENSHEN=x",
            "__Host-menshen=x; Secure",
            "menshen-browser=x",
            "=menshen=x",
            " = menshen=x",
            "==menshen=x",
            "menshen",
            "=menshen",
            "\tmenshen=x",
        ] {
            assert!(!own().upstream_may_set(value.as_bytes()), "{value}");
        }
        for value in [
            "a=1",
            "a=menshen=x",
            "PHPSESSID=x; Path=/; Comment=menshen=x",
            "",
            "=",
            "a",
            "menshenx=1",
        ] {
            assert!(own().upstream_may_set(value.as_bytes()), "{value}");
        }
    }

    proptest! {
        #[test]
        fn foreign_cookies_stay_byte_for_byte_and_ours_never_pass(
            lines in prop::collection::vec("((menshen|__Host-menshen-browser|a|b|[!-~&&[^;]]{0,3})=?[ -~&&[^;]]{0,4}; ?){0,4}", 0..4)
        ) {
            let map = headers(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let foreign: Vec<Vec<u8>> = pairs(&map)
                .filter(|pair| !own().is_own(name_and_value(pair).0))
                .map(<[u8]>::to_vec)
                .collect();
            match rewrite(&map, |name| own().is_own(name)) {
                Rewritten::Unchanged => prop_assert_eq!(foreign.len(), pairs(&map).count()),
                Rewritten::Nothing => prop_assert!(foreign.is_empty()),
                Rewritten::Line(line) => {
                    prop_assert_eq!(line.as_bytes(), foreign.join(&b"; "[..]));
                    let mut again = HeaderMap::new();
                    again.insert(COOKIE, line);
                    prop_assert_eq!(rewrite(&again, |name| own().is_own(name)), Rewritten::Unchanged);
                }
            }
        }
    }
}
