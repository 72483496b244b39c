//! Paths of routes.
//!
//! A rule is written in the one form in which the gateway matches requests: every other spelling of the same path is
//! refused here rather than rewritten, so that nobody believes a rule to hold for something else. Only what a person
//! cannot type as it travels (other scripts, spaces) is encoded for them.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::mistake::Fault;
use super::settings::PathPattern;

/// Reads `"/prefix/"` or `"= /exact"`.
pub(super) fn parse_path_pattern(text: &str) -> Result<PathPattern, Fault> {
    match text.strip_prefix('=') {
        Some(rest) => parse_path(rest.trim_start()).map(PathPattern::Exact),
        None => parse_path(text).map(|path| PathPattern::Prefix(path.trim_end_matches('/').to_owned())),
    }
}

/// Reads a normalised path that begins with `/`.
pub(super) fn parse_path(text: &str) -> Result<String, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new(
            format!("`{text}` does not begin with /"),
            format!("write \"/{text}\""),
        ));
    }
    if text.contains(['?', '#']) {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        return Err(Fault::new(
            format!("`{text}` has a query or a fragment"),
            format!("write \"{path}\": rules see the path alone"),
        ));
    }
    if text.contains(['*', '{', '}']) || text.starts_with("/^") {
        return Err(Fault::new(
            format!("`{text}` is a pattern"),
            "write the path up to the pattern: a prefix holds for everything below it, \"= /path\" for one path",
        ));
    }
    if text.contains("//") {
        return Err(Fault::new(
            format!("`{text}` has two slashes in a row"),
            "write one: requests are matched with repeated slashes made one",
        ));
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Err(Fault::new(
            format!("`{text}` has a backslash or a control character"),
            "no request with one is let in; remove it",
        ));
    }
    if text.contains(';') {
        return Err(Fault::new(
            format!("`{text}` has a ; in it"),
            "write the path without ;parameters: rules hold for the path with and without them",
        ));
    }
    let path = normalise_escapes(text)?;
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Fault::new(
            format!("`{text}` has a dot segment"),
            "write the path that it leads to",
        ));
    }
    if path == "/.menshen" || path.starts_with("/.menshen/") {
        return Err(Fault::new(
            format!("`{text}` is the gateway's own"),
            "choose another path: what is below /.menshen/ is answered by the gateway and by no application",
        ));
    }
    Ok(path)
}

/// Whether a request for this path would be the portal's, written as it may be: the gateway decodes what need not be
/// encoded and makes repeated slashes one before it looks.
pub(super) fn is_of_portal(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut segments = decoded.split('/').filter(|segment| !segment.is_empty());
    segments.next() == Some(".menshen")
}

/// Encodes what cannot travel, writes escapes in upper case, refuses those that a request could not have.
fn normalise_escapes(text: &str) -> Result<String, Fault> {
    let encoded = utf8_percent_encode(text, TRAVELS_ENCODED).to_string();
    let bytes = encoded.as_bytes();
    let mut path = String::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            path.push(char::from(byte));
            at += 1;
            continue;
        }
        let value = encoded
            .get(at + 1..at + 3)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(value) = value.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err(Fault::new(
                format!("`{text}` has a % without two hex digits"),
                "write %25 for a percent sign",
            ));
        };
        if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
            return Err(Fault::new(
                format!("`{text}` has `{}` encoded", char::from(value)),
                "write the character itself: requests are matched with it decoded",
            ));
        }
        if matches!(value, b'/' | b'\\') || value.is_ascii_control() {
            return Err(Fault::new(
                format!("`{text}` has an encoded slash, backslash or control character"),
                "no rule can match one; write the path without it",
            ));
        }
        let twice = encoded
            .get(at + 3..at + 5)
            .is_some_and(|next| next.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if value == b'%' && twice {
            return Err(Fault::new(
                format!("`{text}` is encoded twice"),
                "no request like that is let in; encode it once",
            ));
        }
        path.push_str(&format!("%{value:02X}"));
        at += 3;
    }
    if percent_decode_str(&path).decode_utf8().is_err() {
        return Err(Fault::new(
            format!("`{text}` is not UTF-8 when decoded"),
            "write the characters themselves",
        ));
    }
    Ok(path)
}

/// What user agents encode in a path (WHATWG URL, path percent-encode set), all but `%`.
const TRAVELS_ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'^');

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_have_one_spelling() {
        let prefix = |path: &str| Some(PathPattern::Prefix(path.to_owned()));
        let exact = |path: &str| Some(PathPattern::Exact(path.to_owned()));
        for (text, pattern) in [
            ("/", prefix("")),
            ("/admin", prefix("/admin")),
            ("/admin/", prefix("/admin")),
            ("= /", exact("/")),
            ("= /admin/", exact("/admin/")),
            ("=/admin", exact("/admin")),
            ("/文档/", prefix("/%E6%96%87%E6%A1%A3")),
            ("/%e6%96%87", prefix("/%E6%96%87")),
            ("/a b", prefix("/a%20b")),
            ("/menshen", prefix("/menshen")),
            ("/.menshenx", prefix("/.menshenx")),
            ("", None),
            ("admin", None),
            ("= admin", None),
            ("/api/*", None),
            ("/users/{id}", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/a/.", None),
            ("/a/%2e%2e/b", None),
            ("/a%2Fb", None),
            ("/a\\b", None),
            ("/a%00", None),
            ("/a%", None),
            ("/100%25", prefix("/100%25")),
            ("/%2541", None),
            ("/%41", None),
            ("/%ff", None),
            ("/a;b", None),
            ("/a?b", None),
            ("/a#b", None),
            ("/.menshen/", None),
            ("/.menshen", None),
            ("= /.menshen/login", None),
        ] {
            assert_eq!(parse_path_pattern(text).ok(), pattern, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_reads_as_itself(text in "/[a-z/%0-9é. ]{0,12}") {
            if let Ok(path) = parse_path(&text) {
                prop_assert_eq!(parse_path(&path), Ok(path));
            }
        }
    }
}
