//! What a backend could take a path for.
//!
//! Rules are matched on percent-decoded paths, because that is what every backend compares in the end. Where backends
//! disagree — `;parameters`, an encoded `?` or `#`, a kept `%2F`, a dot or space at the end, letter case — the path has several *readings*, and a
//! request must satisfy the rules of each of them: an ambiguity can close a route, never open one. A path without such
//! an ambiguity, which is nearly every path, has one reading and costs no allocation.
//!
//! Everything here expects a path that the normaliser has passed: it begins with `/`, holds no dot segment, no
//! backslash, no control, and decodes to UTF-8.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use smallvec::{SmallVec, smallvec};

/// The reserved prefix of the portal, without its trailing slash.
pub const PORTAL_PREFIX: &str = "/.menshen";

/// The readings of one path; the first is the path as it is forwarded, decoded.
pub type Readings<'p> = SmallVec<[Cow<'p, str>; 2]>;

/// Where a path lies with regard to the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortalMatch {
    /// Below the reserved prefix, spelt as it should be.
    Portal,
    /// Some backend could take it for the portal, but it is not spelt as it should be: refused.
    Lookalike,
    /// Elsewhere.
    Elsewhere,
}

/// Everything that a backend could take `path` for, without repetitions. `ignore_case` folds each reading.
///
/// Servers that stand behind each other each do some of these steps, in an order of their own, so the readings are
/// closed under all of them: `/;%23/admin%23` is `/admin` to one that drops parameters and then decodes too early.
pub fn readings(path: &str, ignore_case: bool) -> Readings<'_> {
    let mut readings: Readings<'_> = smallvec![decoded(path)];
    if is_ambiguous(path) {
        let mut spellings: Readings<'_> = smallvec![Cow::Borrowed(path)];
        // Ends because every step shortens what it changes.
        let mut at = 0;
        while let Some(spelling) = spellings.get(at).cloned() {
            let steps = [slashes_decoded, before_encoded_delimiter, bare, trimmed];
            for further in steps.into_iter().filter_map(|step| step(&spelling)) {
                push_new(&mut spellings, &further);
            }
            push_new(&mut readings, &decoded(&spelling));
            at += 1;
        }
    }
    if ignore_case {
        for reading in &mut readings {
            if reading
                .bytes()
                .any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
            {
                *reading = Cow::Owned(fold_case(reading));
            }
        }
    }
    readings
}

/// The path without the `;parameters` of its segments (RFC 3986 §3.3), slashes merged: what a servlet container routes
/// by (CVE-2026-73511 is a rule that forgot it). An encoded `;` counts, since some backends decode first. `None` when
/// there is nothing to remove.
fn bare(path: &str) -> Option<String> {
    if !has_parameters(path) {
        return None;
    }
    let mut bare = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        let segment = without_parameters(segment);
        if !(segment.is_empty() && bare.ends_with('/')) {
            if !bare.ends_with('/') {
                bare.push('/');
            }
            bare.push_str(segment);
        }
    }
    if bare.is_empty() {
        bare.push('/');
    }
    Some(bare)
}

/// A segment up to its first `;`, encoded or not.
pub fn without_parameters(segment: &str) -> &str {
    let bytes = segment.as_bytes();
    let end = (0..bytes.len())
        .find(|&at| bytes[at] == b';' || escape_is(bytes, at, b"3b"))
        .unwrap_or(bytes.len());
    &segment[..end]
}

/// Whether the path holds `%2F`.
pub fn has_encoded_slash(path: &str) -> bool {
    has_escape(path, b"2f")
}

/// Where `path` lies with regard to the portal. Only the exact spelling is the portal; every other spelling that
/// decoding, parameters, a kept slash or letter case could turn into it is a lookalike.
pub fn portal_match(path: &str) -> PortalMatch {
    if within(path, PORTAL_PREFIX) {
        return PortalMatch::Portal;
    }
    // No reading of a path without any of these can begin with `/.menshen`.
    if !path.starts_with("/.") && !is_ambiguous(path) {
        return PortalMatch::Elsewhere;
    }
    let lookalike = readings(path, true)
        .iter()
        .any(|reading| within(reading, PORTAL_PREFIX));
    if lookalike {
        PortalMatch::Lookalike
    } else {
        PortalMatch::Elsewhere
    }
}

/// Whether `path` is `prefix` or lies below it, by whole segments. `prefix` has no trailing slash; the root is empty.
pub fn within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Letter case as a backend folds it that ignores case: Unicode lower case.
pub fn fold_case(path: &str) -> String {
    path.to_lowercase()
}

/// The pattern of a route in the form that readings have.
pub fn decoded_pattern(pattern: &str, ignore_case: bool) -> String {
    let pattern = decoded(pattern);
    if ignore_case {
        fold_case(&pattern)
    } else {
        pattern.into_owned()
    }
}

/// Percent-decoded, except `%2F`, which stays so that it separates nothing.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    if !has_encoded_slash(path) {
        return percent_decode_str(path).decode_utf8_lossy();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = find_escape(rest, b"2f") {
        out.push_str(&percent_decode_str(&rest[..at]).decode_utf8_lossy());
        out.push_str("%2F");
        rest = &rest[at + 3..];
    }
    out.push_str(&percent_decode_str(rest).decode_utf8_lossy());
    Cow::Owned(out)
}

/// The path with each `%2F` taken for a separator, slashes merged; `None` without any.
fn slashes_decoded(path: &str) -> Option<String> {
    if !has_encoded_slash(path) {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    loop {
        let at = find_escape(rest, b"2f");
        for character in rest[..at.unwrap_or(rest.len())].chars() {
            if character != '/' || !out.ends_with('/') {
                out.push(character);
            }
        }
        let Some(at) = at else { break };
        if !out.ends_with('/') {
            out.push('/');
        }
        rest = &rest[at + 3..];
    }
    Some(out)
}

/// Whether a backend could see another path in this one: by an escape, a parameter, or a dot at the end of a segment.
fn is_ambiguous(path: &str) -> bool {
    let mut previous = 0;
    for byte in path.bytes() {
        if matches!(byte, b';' | b'%') || (byte == b'/' && previous == b'.') {
            return true;
        }
        previous = byte;
    }
    previous == b'.'
}

/// Without the dots and spaces at the end of segments, which Windows ignores in file names; `None` without any.
fn trimmed(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let trimmed = without_trailing_dots_and_spaces(segment);
        // The empty segment of a trailing slash stays, one that trimming has emptied does not.
        if !trimmed.is_empty() || (segments.peek().is_none() && segment.is_empty()) {
            out.push('/');
            out.push_str(trimmed);
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    (out.len() < path.len()).then_some(out)
}

fn without_trailing_dots_and_spaces(mut segment: &str) -> &str {
    while let Some(shorter) = segment.strip_suffix('.').or_else(|| segment.strip_suffix("%20")) {
        segment = shorter;
    }
    segment
}

fn before_encoded_delimiter(path: &str) -> Option<String> {
    cut_at_encoded_delimiter(path).map(|cut| if cut.is_empty() { "/".to_owned() } else { cut.to_owned() })
}

/// The path up to an encoded `?` or `#`, which a backend that decodes too early takes for the end
/// (Traefik CVE-2025-66490); `None` without any.
pub fn cut_at_encoded_delimiter(path: &str) -> Option<&str> {
    let bytes = path.as_bytes();
    let end = (0..bytes.len()).find(|&at| escape_is(bytes, at, b"3f") || escape_is(bytes, at, b"23"))?;
    Some(&path[..end])
}

fn push_new(readings: &mut Readings<'_>, reading: &str) {
    if !readings.iter().any(|held| held == reading) {
        readings.push(Cow::Owned(reading.to_owned()));
    }
}

fn has_parameters(path: &str) -> bool {
    path.contains(';') || has_escape(path, b"3b")
}

fn has_escape(path: &str, hex: &[u8; 2]) -> bool {
    find_escape(path, hex).is_some()
}

fn find_escape(path: &str, hex: &[u8; 2]) -> Option<usize> {
    let bytes = path.as_bytes();
    (0..bytes.len()).find(|&at| escape_is(bytes, at, hex))
}

fn escape_is(bytes: &[u8], at: usize, hex: &[u8; 2]) -> bool {
    bytes[at] == b'%'
        && bytes
            .get(at + 1..at + 3)
            .is_some_and(|digits| digits.eq_ignore_ascii_case(hex))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_path_without_ambiguity_has_one_reading_and_borrows_it() {
        for path in ["/", "/a/b", "/a.b/.c~d/-_", "/a!b/c@d/e=f/g+h"] {
            let readings = readings(path, false);
            assert_eq!(readings.len(), 1, "{path}");
            assert!(matches!(readings[0], Cow::Borrowed(_)), "{path}");
        }
    }

    #[test]
    fn parameters_are_dropped_from_every_segment() {
        for (path, expected) in [
            ("/admin;x", "/admin"),
            ("/admin;", "/admin"),
            ("/admin;x/y;z/", "/admin/y/"),
            ("/;/admin", "/admin"),
            ("/;x", "/"),
            ("/a/;x/b", "/a/b"),
            ("/a/;x", "/a/"),
            ("/admin%3bx/y", "/admin/y"),
            ("/admin%3B;x", "/admin"),
            ("/a%2Fb;x/%c3%a9", "/a%2Fb/%c3%a9"),
        ] {
            assert_eq!(bare(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(bare("/plain"), None);
    }

    #[test]
    fn readings_hold_what_backends_disagree_about() {
        for (path, expected) in [
            ("/a;b/c", &["/a;b/c", "/a/c"][..]),
            ("/admin%3Fx/public", &["/admin?x/public", "/admin"]),
            ("/admin%23", &["/admin#", "/admin"]),
            ("/a%2Fb", &["/a%2Fb", "/a/b"]),
            ("/a%2f%2F/b", &["/a%2F%2F/b", "/a/b"]),
            ("/a%2Fb;c/d", &["/a%2Fb;c/d", "/a%2Fb/d", "/a/b/d", "/a/b;c/d"]),
            ("/x%2Fadmin%3Bp%3Fq", &["/x%2Fadmin;p?q", "/x/admin"]),
            ("/admin./x", &["/admin./x", "/admin/x"]),
            ("/admin%20", &["/admin ", "/admin"]),
            ("/admin.;x", &["/admin.;x", "/admin.", "/admin"]),
            ("/admin.%20;x/", &["/admin. ;x/", "/admin/"]),
            ("/%20/admin...", &["/admin"]),
            ("/;%23/admin%23", &["/admin"]),
            ("/;%23/x;y%2Fadmin.%20%3F", &["/x/admin", "/x"]),
            ("/%E4%BD%A0", &["/你"]),
            ("/a%21b", &["/a!b"]),
        ] {
            let found = readings(path, false);
            for reading in expected {
                assert!(
                    found.iter().any(|held| held == reading),
                    "{path}: {reading} is missing in {found:?}"
                );
            }
        }
    }

    #[test]
    fn folding_holds_for_every_reading() {
        let found = readings("/ADMIN;X/%C3%84", true);
        assert!(found.iter().any(|reading| reading == "/admin/ä"), "{found:?}");
        assert!(found.iter().any(|reading| reading == "/admin;x/ä"), "{found:?}");
    }

    #[test]
    fn only_the_exact_prefix_is_the_portal_and_no_spelling_slips_past_it() {
        for path in ["/.menshen", "/.menshen/", "/.menshen/login", "/.menshen/x;y"] {
            assert_eq!(portal_match(path), PortalMatch::Portal, "{path}");
        }
        for path in [
            "/.Menshen",
            "/.MENSHEN/login",
            "/.menshen;x/login",
            "/.menshen;",
            "/;/.menshen/login",
            "/.menshen%3Bx",
            "/.menshen%2Flogin",
            "/%2F.menshen/login",
            "/.menshen%3Fx",
            "/.menshen%23",
            "/.menshen./x",
            "/.menshen%20",
            "/.MenShen%2f",
        ] {
            assert_eq!(portal_match(path), PortalMatch::Lookalike, "{path}");
        }
        for path in ["/", "/.menshenx", "/a/.menshen", "/menshen", "/.well-known/x", "/a;b"] {
            assert_eq!(portal_match(path), PortalMatch::Elsewhere, "{path}");
        }
    }

    #[test]
    fn prefixes_hold_whole_segments() {
        assert!(within("/admin", "/admin"));
        assert!(within("/admin/", "/admin"));
        assert!(within("/admin/x", "/admin"));
        assert!(!within("/administrator", "/admin"));
        assert!(within("/anything", ""));
        assert!(within("/", ""));
    }
}
