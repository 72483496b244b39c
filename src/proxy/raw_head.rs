//! The head of an HTTP/1 request as its bytes came.
//!
//! A parser that has repaired a head says nothing of what it repaired: a `#` and what follows it are gone from the
//! target, `Content-Length` beside `Transfer-Encoding` is removed, a bare line feed has become a line end. An upstream
//! behind another proxy may have read those bytes differently, so they are looked at once more, before anything is
//! decided. One pass, no allocation.

use memchr::{memchr, memchr3};

use crate::proxy::framing::FramingError;

/// What the parsed request does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHead<'h> {
    /// The request target, every byte of it.
    pub target: &'h [u8],
}

/// Checks the line structure of a head (RFC 9112 §2.2, §3, §5) and the number of its lengths.
pub fn read_raw_head(head: &[u8]) -> Result<RawHead<'_>, FramingError> {
    let mut lines = Lines { rest: head };
    let mut request_line = lines.next_line()?;
    // An empty line left over from the body before is skipped (RFC 9112 §2.2).
    while request_line.is_empty() && !lines.rest.is_empty() {
        request_line = lines.next_line()?;
    }
    let target = read_request_line(request_line)?;
    let (mut lengths, mut encodings) = (0, 0);
    while !lines.rest.is_empty() {
        let line = lines.next_line()?;
        if line.is_empty() {
            break;
        }
        let name = field_name(line)?;
        lengths += u32::from(name.eq_ignore_ascii_case(b"content-length"));
        encodings += u32::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    match (lengths, encodings) {
        (1.., 1..) => Err(FramingError::TwoLengths),
        (2.., _) => Err(FramingError::RepeatedLength),
        (_, 2..) => Err(FramingError::TransferEncoding),
        _ => Ok(RawHead { target }),
    }
}

struct Lines<'h> {
    rest: &'h [u8],
}

impl<'h> Lines<'h> {
    /// The next line without its end; only CR LF ends one, and neither byte is anywhere else.
    fn next_line(&mut self) -> Result<&'h [u8], FramingError> {
        let end = memchr3(b'\r', b'\n', 0, self.rest).ok_or(FramingError::Line)?;
        let (line, end) = self.rest.split_at(end);
        self.rest = end.strip_prefix(b"\r\n").ok_or(FramingError::Line)?;
        Ok(line)
    }
}

/// `METHOD SP target SP HTTP/1.x`, with one space each.
fn read_request_line(line: &[u8]) -> Result<&[u8], FramingError> {
    let mut parts = line.split(|&byte| byte == b' ');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    match parts {
        (Some(method), Some(target), Some(b"HTTP/1.1" | b"HTTP/1.0"), None)
            if !method.is_empty() && !target.is_empty() =>
        {
            Ok(target)
        }
        _ => Err(FramingError::Line),
    }
}

/// A continuation line (obs-fold) begins with white space, and so has no name; white space before the colon is the
/// oldest of smuggling tricks (RFC 9112 §5.1).
fn field_name(line: &[u8]) -> Result<&[u8], FramingError> {
    let colon = memchr(b':', line).ok_or(FramingError::Line)?;
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        Err(FramingError::Line)
    } else {
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_head_gives_its_raw_target() {
        for (head, target) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &b"/"[..]),
            (b"\r\nGET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", b"/a?b#c"),
            (b"OPTIONS * HTTP/1.0\r\n\r\n", b"*"),
            (
                b"POST http://a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
                b"http://a/b",
            ),
            (
                b"POST /\xff HTTP/1.1\r\nX: \xe4\xbd\xa0\tb\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"/\xff",
            ),
        ] {
            assert_eq!(read_raw_head(head).unwrap().target, target, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn heads_that_two_parsers_could_read_differently_are_refused() {
        for (head, error) in [
            (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], FramingError::Line),
            (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\n\tX: a\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nX : a\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nX\t: a\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\n: a\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", FramingError::Line),
            (b"GET /  HTTP/1.1\r\n\r\n", FramingError::Line),
            (b"GET  / HTTP/1.1\r\n\r\n", FramingError::Line),
            (b"GET / x HTTP/1.1\r\n\r\n", FramingError::Line),
            (b"GET\t/ HTTP/1.1\r\n\r\n", FramingError::Line),
            (b"GET /\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/1.2\r\n\r\n", FramingError::Line),
            (b"GET / HTTP/2.0\r\n\r\n", FramingError::Line),
            (b"GET / http/1.1\r\n\r\n", FramingError::Line),
            (b"", FramingError::Line),
            (b"\r\n", FramingError::Line),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                FramingError::TwoLengths,
            ),
            (
                b"POST / HTTP/1.1\r\ntransfer-encoding: x\r\ncontent-length: 3\r\n\r\n",
                FramingError::TwoLengths,
            ),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                FramingError::RepeatedLength,
            ),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                FramingError::TransferEncoding,
            ),
        ] {
            assert_eq!(read_raw_head(head), Err(error), "{}", head.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_head_panics(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_raw_head(&head);
        }
    }
}
