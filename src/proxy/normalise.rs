//! The request target, in the one spelling that is matched and forwarded.
//!
//! Two parsers that read one target differently are a way past the gate, so whatever they could read differently is
//! refused, and the rest is brought into one spelling: encoded unreserved characters are decoded (RFC 3986 §6.2.2.2)
//! and repeated slashes merged. Nothing else changes — in particular the case of percent-escapes, which backends may
//! have signed; matching ignores it. The query is checked and forwarded byte for byte.
//!
//! A clean path, which is nearly every path, is borrowed: one pass over its bytes, no allocation.

use std::borrow::Cow;

use percent_encoding::percent_decode;

pub use crate::gate::path::comparison_path;
use crate::gate::path::{cut_at_encoded_delimiter, without_parameters};

/// A request target that has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'t> {
    /// Normalised path; borrowed where nothing had to change.
    pub path: Cow<'t, str>,
    /// Without its `?`, byte for byte; `Some("")` for a bare `?`.
    pub query: Option<&'t str>,
}

/// What becomes of `%2F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// Refused.
    Refuse,
    /// Forwarded untouched. The path must then hold up with the slash decoded too; which routes allow it is for the
    /// decision to say.
    Keep,
}

/// Why a target is refused. All are 400 but [`TargetError::TooLong`], which is 414.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`MAX_TARGET_LENGTH`].
    #[error("the request target is longer than {MAX_TARGET_LENGTH} bytes")]
    TooLong,
    /// Does not begin with `/`: asterisk-form, absolute-form, authority-form, or nothing (gRPC-Go CVE-2026-33186).
    #[error("the request target does not begin with a slash")]
    NoLeadingSlash,
    /// A control, a space, or a byte outside ASCII, raw or (controls) encoded.
    #[error("the request target holds a control, a space or a byte outside of ASCII")]
    ForbiddenByte,
    /// A raw `#`: some parsers end the path there (CVE-2026-41059).
    #[error("the request target holds a raw '#'")]
    Fragment,
    /// `\` or `%5C`.
    #[error("the path holds a backslash")]
    Backslash,
    /// `%2F`, where it is not kept.
    #[error("the path holds an encoded slash")]
    EncodedSlash,
    /// `%00`
    #[error("the path holds an encoded NUL")]
    EncodedNul,
    /// `%` without two hex digits.
    #[error("the path holds a broken percent-escape")]
    BrokenEscape,
    /// `%25` before two hex digits.
    #[error("the path is encoded twice")]
    EncodedTwice,
    /// Not UTF-8 after decoding; overlong forms are not.
    #[error("the path is not UTF-8")]
    InvalidUtf8,
    /// `.` or `..` in any spelling.
    #[error("the path holds a dot segment")]
    DotSegment,
}

/// Reads a request target in origin-form (RFC 9112 §3.2.1). An absolute-form is reduced to it by the caller.
pub fn normalise(target: &[u8], slashes: EncodedSlashes) -> Result<Target<'_>, TargetError> {
    if target.len() > MAX_TARGET_LENGTH {
        return Err(TargetError::TooLong);
    }
    if target.first() != Some(&b'/') {
        return Err(TargetError::NoLeadingSlash);
    }
    let scan = scan(target)?;
    // Only graphic ASCII has passed the scan.
    let target = std::str::from_utf8(target).map_err(|_| TargetError::ForbiddenByte)?;
    let (path, query) = match scan.query_at {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    let path = if scan.clean {
        Cow::Borrowed(path)
    } else {
        rewrite(path, slashes)?
    };
    Ok(Target { path, query })
}

/// Splits an absolute-form target (RFC 9112 §3.2.2) into its authority and the origin-form that is left; any other form
/// is returned as it is. Only `http` and `https` are known, and the path must be written out.
pub fn split_absolute_form(target: &[u8]) -> Result<(Option<&str>, &[u8]), TargetError> {
    if matches!(target.first(), None | Some(b'/' | b'*')) {
        return Ok((None, target));
    }
    let scheme_end = target
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(TargetError::NoLeadingSlash)?;
    let (scheme, rest) = target.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(TargetError::NoLeadingSlash);
    }
    let rest = rest.strip_prefix(b"://").ok_or(TargetError::NoLeadingSlash)?;
    let path_at = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, origin_form) = rest.split_at(path_at);
    let authority = std::str::from_utf8(authority).map_err(|_| TargetError::ForbiddenByte)?;
    Ok((Some(authority), if origin_form.is_empty() { b"/" } else { origin_form }))
}

impl Target<'_> {
    /// Path and query as they go to the upstream.
    pub fn path_and_query(&self) -> Cow<'_, str> {
        match self.query {
            None => Cow::Borrowed(&self.path),
            Some(query) => Cow::Owned(format!("{}?{query}", self.path)),
        }
    }

    /// Whether the path was rewritten, so that the request line must be too.
    pub fn is_rewritten(&self) -> bool {
        matches!(self.path, Cow::Owned(_))
    }
}

struct Scan {
    query_at: Option<usize>,
    /// No escape, no repeated slash, no segment that begins with a dot: nothing to rewrite or to look at closer.
    clean: bool,
}

fn scan(target: &[u8]) -> Result<Scan, TargetError> {
    let mut clean = true;
    let mut previous = 0;
    for (at, &byte) in target.iter().enumerate() {
        match byte {
            b'?' => {
                check_query(&target[at + 1..])?;
                return Ok(Scan {
                    query_at: Some(at),
                    clean,
                });
            }
            b'/' | b'.' => clean &= previous != b'/',
            b'%' => clean = false,
            b'\\' => return Err(TargetError::Backslash),
            b'#' => return Err(TargetError::Fragment),
            _ if !byte.is_ascii_graphic() => return Err(TargetError::ForbiddenByte),
            _ => {}
        }
        previous = byte;
    }
    Ok(Scan { query_at: None, clean })
}

fn check_query(query: &[u8]) -> Result<(), TargetError> {
    match query.iter().find(|byte| !byte.is_ascii_graphic() || **byte == b'#') {
        None => Ok(()),
        Some(b'#') => Err(TargetError::Fragment),
        Some(_) => Err(TargetError::ForbiddenByte),
    }
}

fn rewrite(path: &str, slashes: EncodedSlashes) -> Result<Cow<'_, str>, TargetError> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte != b'%' {
            if byte != b'/' || !out.ends_with('/') {
                out.push(char::from(byte));
            }
            at += 1;
            continue;
        }
        let decoded = escaped_byte(bytes, at).ok_or(TargetError::BrokenEscape)?;
        match decoded {
            0 => return Err(TargetError::EncodedNul),
            b'\\' => return Err(TargetError::Backslash),
            b'/' if slashes == EncodedSlashes::Refuse => return Err(TargetError::EncodedSlash),
            _ if decoded.is_ascii_control() => return Err(TargetError::ForbiddenByte),
            _ if is_unreserved(decoded) => out.push(char::from(decoded)),
            _ => out.push_str(&path[at..at + 3]),
        }
        at += 3;
    }
    check_encoded_twice(&out)?;
    if percent_decode(out.as_bytes()).decode_utf8().is_err() {
        return Err(TargetError::InvalidUtf8);
    }
    check_dot_segments(&out)?;
    Ok(if out == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(out)
    })
}

/// On the rewritten path: decoding `%25%32%66` makes `%252f`.
fn check_encoded_twice(path: &str) -> Result<(), TargetError> {
    let twice = path.match_indices("%25").any(|(at, _)| {
        let mut next = path.bytes().skip(at + 3);
        next.next().is_some_and(|digit| digit.is_ascii_hexdigit())
            && next.next().is_some_and(|digit| digit.is_ascii_hexdigit())
    });
    if twice { Err(TargetError::EncodedTwice) } else { Ok(()) }
}

/// A kept `%2F` separates here as well, so that its decoded reading has no dot segment either.
fn check_dot_segments(path: &str) -> Result<(), TargetError> {
    let bytes = path.as_bytes();
    let (mut start, mut at) = (0, 0);
    while at <= bytes.len() {
        let separator = match bytes.get(at) {
            None | Some(b'/') => 1,
            Some(b'%')
                if bytes
                    .get(at + 1..at + 3)
                    .is_some_and(|hex| hex.eq_ignore_ascii_case(b"2f")) =>
            {
                3
            }
            Some(_) => {
                at += 1;
                continue;
            }
        };
        if is_dot_segment(&path[start..at]) {
            return Err(TargetError::DotSegment);
        }
        at += separator;
        start = at;
    }
    Ok(())
}

/// Also with parameters (`..;x`), before an encoded `?` or `#` that a backend decodes too early, and with the trailing
/// spaces that Windows ignores.
fn is_dot_segment(segment: &str) -> bool {
    if !segment.starts_with('.') {
        return false;
    }
    let mut bare = without_parameters(cut_at_encoded_delimiter(segment).unwrap_or(segment));
    while let Some(shorter) = bare.strip_suffix("%20") {
        bare = shorter;
    }
    matches!(bare, "." | "..")
}

fn escaped_byte(bytes: &[u8], at: usize) -> Option<u8> {
    let high = char::from(*bytes.get(at + 1)?).to_digit(16)?;
    let low = char::from(*bytes.get(at + 2)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Path and query together. Browsers and servers agree on 8 KiB as what always works.
pub const MAX_TARGET_LENGTH: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::{Access, Site};
    use crate::gate::Gate;
    use crate::gate::decide::{Credential, Decision, decide};
    use crate::gate::fixture::{gate, navigation, route, session, site};

    fn refused(target: &str) -> TargetError {
        normalise(target.as_bytes(), EncodedSlashes::Refuse).expect_err(target)
    }

    #[test]
    fn a_clean_target_is_borrowed_byte_for_byte() {
        for target in [
            "/",
            "/a",
            "/a/b/",
            "/a.b/c..d/e...",
            "/a;b=c/d",
            "/a!$&'()*+,:=@|~^`{}[]\"<>",
            "/a?",
            "/a?b=c&d=%2e%2e/%00\\x",
            "/a?b?c",
            "/a?;/../",
            "/%E4%BD%A0",
            "/%e4%bd%a0",
            "/a%20b",
            "/a%21b",
            "/%25",
            "/a%25zz",
            "/a%253",
            "/.well-known/x",
            "/..a",
            "/...",
            "/a..",
            "/.a;b",
            "/%3F",
            "/%23x",
            "/%3Bx",
            "/a%2Bb%26c",
        ] {
            let found = normalise(target.as_bytes(), EncodedSlashes::Refuse).expect(target);
            assert!(!found.is_rewritten(), "{target}");
            assert_eq!(found.path_and_query(), target);
        }
    }

    #[test]
    fn encoded_unreserved_characters_are_decoded_and_slashes_merged() {
        for (target, path) in [
            ("/%61dmin", "/admin"),
            ("/%41%5a%30%2D%2e%5F%7e", "/AZ0-._~"),
            ("//a", "/a"),
            ("///", "/"),
            ("/a//b///c//", "/a/b/c/"),
            ("/%E4%BD%A0%61", "/%E4%BD%A0a"),
            ("//evil.test/%2e%61?x=//%61", "/evil.test/.a"),
        ] {
            let found = normalise(target.as_bytes(), EncodedSlashes::Refuse).expect(target);
            assert_eq!(found.path, path, "{target}");
            assert_eq!(found.query, target.split_once('?').map(|(_, query)| query), "{target}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let long = format!("/{}", "a".repeat(MAX_TARGET_LENGTH));
        for (targets, error) in [
            (
                &[
                    "",
                    "a",
                    "a/b",
                    "*",
                    "?x",
                    "%2Fa",
                    ";/a",
                    "http://a.test/",
                    "admin",
                    "\\/a",
                ][..],
                TargetError::NoLeadingSlash,
            ),
            (
                &[
                    "/a b",
                    "/a\tb",
                    "/a\0",
                    "/a\r\n",
                    "/\u{7f}",
                    "/\u{e4}",
                    "/a?b c",
                    "/a?\0",
                    "/a?\u{e4}",
                    "/%01",
                    "/%1F",
                    "/%7f",
                    "/%0a",
                    "/%0D%0Ax",
                ],
                TargetError::ForbiddenByte,
            ),
            (&["/#", "/a#b", "/a?b#c", "/public/#/../admin"], TargetError::Fragment),
            (
                &["/\\", "/a\\b", "/%5c", "/%5C..%5Cx", "/a/..\\b", "/..\\"],
                TargetError::Backslash,
            ),
            (
                &["/%2f", "/a%2Fb", "/..%2fa", "/%2e%2e%2fa", "//%2f"],
                TargetError::EncodedSlash,
            ),
            (&["/%00", "/a%00.css"], TargetError::EncodedNul),
            (
                &[
                    "/%", "/%2", "/a%zz", "/%%61", "/%u002f", "/%g0", "/%0g", "/%2%35", "/%-1",
                ],
                TargetError::BrokenEscape,
            ),
            (
                &[
                    "/%252e%252e/a",
                    "/%2561dmin",
                    "/..%252fa",
                    "/%25%36%31",
                    "/%25252e",
                    "/%255c",
                    "/a%25ff",
                ],
                TargetError::EncodedTwice,
            ),
            (
                &[
                    "/%ff",
                    "/%c0%af",
                    "/%e0%80%af",
                    "/%c0%ae%c0%ae/",
                    "/%ed%a0%80",
                    "/%f4%90%80%80",
                    "/%80",
                ],
                TargetError::InvalidUtf8,
            ),
            (
                &[
                    "/.",
                    "/..",
                    "/./",
                    "/../",
                    "/a/.",
                    "/a/..",
                    "/a/./b",
                    "/a/../b",
                    "/%2e",
                    "/%2E%2e",
                    "/.%2e/a",
                    "/%2e./a",
                    "/..;",
                    "/..;/a",
                    "/.;x/a",
                    "/..;a=b/c",
                    "/a;/../b",
                    "/;/../b",
                    "/..%3Bx/a",
                    "/%2e%2e%3b/a",
                    "//../a",
                    "/a//..//b",
                    "/..%3Fx",
                    "/a/..%23",
                    "/..%20/a",
                    "/..%20%20;x",
                    "/.%20/a",
                    "/..%20%3fx",
                ],
                TargetError::DotSegment,
            ),
            (&[long.as_str()], TargetError::TooLong),
        ] {
            for target in targets {
                assert_eq!(refused(target), error, "{target:?}");
            }
        }
        assert_eq!(
            normalise(b"/\xff", EncodedSlashes::Refuse),
            Err(TargetError::ForbiddenByte)
        );
        assert!(normalise(&long.as_bytes()[..MAX_TARGET_LENGTH], EncodedSlashes::Refuse).is_ok());
    }

    #[test]
    fn kept_slashes_pass_untouched_and_hide_no_dot_segment() {
        for (target, path) in [
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb//%61", "/a%2fb/a"),
            ("/%2F%2f", "/%2F%2f"),
            ("/a%2F.b", "/a%2F.b"),
        ] {
            assert_eq!(
                normalise(target.as_bytes(), EncodedSlashes::Keep).expect(target).path,
                path
            );
        }
        for target in [
            "/a%2F..",
            "/a%2f../b",
            "/..%2fa",
            "/.%2F",
            "/a%2F%2e%2e%2fb",
            "/a%2F..;x%2Fb",
            "/a%2f..%3bx",
            "/%2F./a",
        ] {
            let found = normalise(target.as_bytes(), EncodedSlashes::Keep);
            assert_eq!(found, Err(TargetError::DotSegment), "{target}");
        }
        assert_eq!(
            normalise(b"/a%2F%5c", EncodedSlashes::Keep),
            Err(TargetError::Backslash)
        );
        assert_eq!(
            normalise(b"/a%252F", EncodedSlashes::Keep),
            Err(TargetError::EncodedTwice)
        );
    }

    #[test]
    fn an_absolute_form_is_split_into_authority_and_path() {
        for (target, authority, rest) in [
            ("/a", None, "/a"),
            ("*", None, "*"),
            ("", None, ""),
            ("http://a.test/b?c", Some("a.test"), "/b?c"),
            ("HTTPS://a.test:8443/b", Some("a.test:8443"), "/b"),
            ("http://a.test", Some("a.test"), "/"),
            ("http://u@a.test/", Some("u@a.test"), "/"),
            ("http:///b", Some(""), "/b"),
            ("http://a.test?b", Some("a.test"), "?b"),
            ("http://a.test#b", Some("a.test"), "#b"),
        ] {
            assert_eq!(
                split_absolute_form(target.as_bytes()),
                Ok((authority, rest.as_bytes())),
                "{target}"
            );
        }
        for target in [
            "a.test:443",
            "file:///etc/passwd",
            "admin",
            "http:/a.test/",
            "http:a",
            "ftp://a.test/",
            "://a",
        ] {
            assert_eq!(
                split_absolute_form(target.as_bytes()),
                Err(TargetError::NoLeadingSlash),
                "{target}"
            );
        }
    }

    /// A site whose rules say where every reading of a path may lead.
    fn guarded() -> Site {
        let mut kept = route("/kept/", Access::Public);
        kept.keep_encoded_slashes = true;
        site(
            &["a.test"],
            vec![route("/admin/", Access::Deny), route("/public/", Access::Public), kept],
        )
    }

    /// What backends are known to make of a path. Each is written independently of the gate's own readings.
    fn backends(path: &str) -> Vec<String> {
        let decode = |text: &str| percent_decode(text.as_bytes()).decode_utf8_lossy().into_owned();
        let without_parameters = |text: &str| {
            let segments: Vec<&str> = text
                .split('/')
                .map(|segment| segment.split(';').next().unwrap())
                .collect();
            segments.join("/")
        };
        let early_end = |text: &str| text.split(['?', '#']).next().unwrap().to_owned();
        let decoded = decode(path);
        let mut seen = vec![
            decoded.clone(),
            decode(&without_parameters(path)),
            without_parameters(&decoded),
            early_end(&decoded),
            without_parameters(&early_end(&decoded)),
            early_end(&without_parameters(&decoded)),
        ];
        seen = seen
            .iter()
            .flat_map(|path| [resolve(path, ""), resolve(path, ". ")])
            .collect();
        seen
    }

    /// Merges slashes and follows dot segments, as file systems do, without the characters that they ignore at the end.
    fn resolve(path: &str, ignored: &str) -> String {
        let mut segments: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            match (segment, segment.trim_end_matches(|end| ignored.contains(end))) {
                ("..", _) => drop(segments.pop()),
                (".", _) | (_, "") => {}
                (_, segment) => segments.push(segment),
            }
        }
        format!("/{}", segments.join("/"))
    }

    fn below(path: &str, prefix: &str) -> bool {
        path == prefix || path.starts_with(&format!("{prefix}/"))
    }

    fn nasty_path() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/",
            "/",
            "/",
            "//",
            "admin",
            "admin",
            "public",
            "public",
            "kept",
            "x",
            ".",
            "..",
            "%2e",
            "%2E",
            ";",
            ";x=y",
            "%3b",
            "%2f",
            "%2F",
            "%5c",
            "\\",
            "%25",
            "%",
            "%3f",
            "?",
            "%23",
            "#",
            "%20",
            " ",
            "%61dmin",
            "%41",
            "%00",
            "%c3%a9",
            "%ff",
            ".menshen",
            ".Menshen",
            "%2emenshen",
            "a",
            "0",
        ]);
        prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    fn decided(gate: &Gate, path: &str, credential: Credential<'_>) -> Decision {
        decide(&navigation("a.test", path), gate, &credential)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6000))]

        #[test]
        fn what_is_forwarded_reads_the_same_again_and_is_decided_the_same(target in nasty_path(), keep: bool) {
            let slashes = if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse };
            let Ok(found) = normalise(target.as_bytes(), slashes) else { return Ok(()) };
            let forwarded = found.path_and_query().into_owned();
            let again = normalise(forwarded.as_bytes(), slashes).expect("what was forwarded is clean");
            prop_assert!(!again.is_rewritten());
            prop_assert_eq!(&again.path, &found.path);
            prop_assert_eq!(again.query, found.query);
            prop_assert_eq!(found.query, target.split_once('?').map(|(_, query)| query));
            let gate = gate(vec![guarded()]);
            for credential in [Credential::None, session()] {
                prop_assert_eq!(
                    decided(&gate, &found.path, credential),
                    decided(&gate, &again.path, credential)
                );
            }
        }

        #[test]
        fn no_backend_sees_a_path_that_the_rules_close(target in nasty_path(), keep: bool) {
            let slashes = if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse };
            let Ok(found) = normalise(target.as_bytes(), slashes) else { return Ok(()) };
            let gate = gate(vec![guarded()]);
            let anonymous = decided(&gate, &found.path, Credential::None);
            let known = decided(&gate, &found.path, session());
            for seen in backends(&found.path) {
                if below(&seen, "/admin") {
                    prop_assert!(!matches!(known, Decision::Forward { .. }), "{target} reaches {seen}");
                }
                if !below(&seen, "/public") && !below(&seen, "/kept") {
                    prop_assert!(!matches!(anonymous, Decision::Forward { .. }), "{target} reaches {seen}");
                }
                if below(&seen.to_lowercase(), "/.menshen") {
                    prop_assert!(matches!(known, Decision::Portal { .. } | Decision::Ambiguous), "{target} reaches {seen}");
                }
            }
        }

        #[test]
        fn no_bytes_panic(target in prop::collection::vec(any::<u8>(), 0..60), keep: bool) {
            let slashes = if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse };
            let _ = normalise(&target, slashes);
            let _ = split_absolute_form(&target);
        }
    }
}
