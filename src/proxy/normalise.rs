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

    /// Whether the origin-form of a request is this very target.
    pub fn is(&self, origin_form: &[u8]) -> bool {
        let Some(rest) = origin_form.strip_prefix(self.path.as_bytes()) else {
            return false;
        };
        match (self.query, rest) {
            (None, []) => true,
            (Some(query), [b'?', rest @ ..]) => rest == query.as_bytes(),
            _ => false,
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
mod tests;
