//! Host and port as the client called them, in the one spelling that sites are looked up by.
//!
//! The host decides which rules hold, so it is stricter than RFC 3986: names of letters, digits, `-` and `_`, or an
//! address; no userinfo, list, escape or zone. A spelling that a backend could take for another host is refused.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A host and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without a trailing dot; IPv6 in brackets and shortened. Borrowed where nothing had to change.
    pub host: Cow<'a, str>,
    /// As written, never 0.
    pub port: Option<u16>,
}

/// Why an authority is refused; always 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Neither in the request line nor in a `Host` header.
    #[error("the request names no host")]
    Missing,
    /// More than one `Host` header.
    #[error("the request names its host more than once")]
    Repeated,
    /// The request line and `Host` differ.
    #[error("the request line and the Host header name different hosts")]
    Mismatch,
    /// Not a host name or an address.
    #[error("the host is malformed")]
    Host,
    /// Not a port.
    #[error("the port is malformed")]
    Port,
}

/// The authority of a request: from the request line (`:authority`, absolute-form) where it is there, else from `Host`.
/// Both must then say the same (RFC 9112 §3.2, RFC 9113 §8.3.1).
pub fn request_authority<'a>(
    uri_authority: Option<&'a str>,
    host_values: &[&'a [u8]],
) -> Result<Authority<'a>, AuthorityError> {
    let host = match host_values {
        [] => None,
        [value] => Some(Authority::parse(value)?),
        _ => return Err(AuthorityError::Repeated),
    };
    match (uri_authority, host) {
        (None, None) => Err(AuthorityError::Missing),
        (None, Some(host)) => Ok(host),
        (Some(uri), None) => Authority::parse(uri.as_bytes()),
        (Some(uri), Some(host)) => {
            let uri = Authority::parse(uri.as_bytes())?;
            if uri == host {
                Ok(uri)
            } else {
                Err(AuthorityError::Mismatch)
            }
        }
    }
}

impl<'a> Authority<'a> {
    /// Reads `host[:port]`.
    pub fn parse(text: &'a [u8]) -> Result<Self, AuthorityError> {
        let text = std::str::from_utf8(text).map_err(|_| AuthorityError::Host)?;
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']').ok_or(AuthorityError::Host)?;
            let host = canonical_ipv6(&text[..address.len() + 2], address)?;
            return Ok(Self {
                host,
                port: parse_port(rest)?,
            });
        }
        let end = text.find(':').unwrap_or(text.len());
        let port = parse_port(&text[end..])?;
        let name = text[..end].strip_suffix('.').unwrap_or(&text[..end]);
        check_name(name)?;
        let host = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        Ok(Self { host, port })
    }

    /// The same, owned.
    pub fn into_owned(self) -> Authority<'static> {
        Authority {
            host: Cow::Owned(self.host.into_owned()),
            port: self.port,
        }
    }
}

fn canonical_ipv6<'a>(bracketed: &'a str, address: &str) -> Result<Cow<'a, str>, AuthorityError> {
    let parsed: Ipv6Addr = address.parse().map_err(|_| AuthorityError::Host)?;
    let canonical = format!("[{parsed}]");
    Ok(if canonical == bracketed {
        Cow::Borrowed(bracketed)
    } else {
        Cow::Owned(canonical)
    })
}

/// `""` or `:port`.
fn parse_port(text: &str) -> Result<Option<u16>, AuthorityError> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix(':').ok_or(AuthorityError::Host)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    match digits.parse() {
        Ok(port) if plain => Ok(Some(port)),
        _ => Err(AuthorityError::Port),
    }
}

fn check_name(name: &str) -> Result<(), AuthorityError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(AuthorityError::Host);
    }
    let mut last = "";
    for label in name.split('.') {
        let fits = (1..=MAX_LABEL).contains(&label.len());
        if !fits
            || !label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return Err(AuthorityError::Host);
        }
        last = label;
    }
    // What ends in a number is an address to browsers (WHATWG URL §3.5), in whatever base; only the plain form passes.
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"))
            && last[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
    if numeric && name.parse::<Ipv4Addr>().is_err() {
        return Err(AuthorityError::Host);
    }
    Ok(())
}

/// RFC 1035 §2.3.4, without the trailing dot.
const MAX_NAME: usize = 253;
/// RFC 1035 §2.3.4
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<(String, Option<u16>), AuthorityError> {
        Authority::parse(text.as_bytes()).map(|authority| (authority.host.into_owned(), authority.port))
    }

    #[test]
    fn hosts_are_brought_into_one_spelling() {
        for (text, host, port) in [
            ("app.test", "app.test", None),
            ("APP.Test", "app.test", None),
            ("app.test.", "app.test", None),
            ("APP.TEST.:8443", "app.test", Some(8443)),
            ("app.test:443", "app.test", Some(443)),
            ("localhost:1", "localhost", Some(1)),
            ("my_service:65535", "my_service", Some(65535)),
            ("xn--fiq228c.test", "xn--fiq228c.test", None),
            ("1.test", "1.test", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some(80)),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]", None),
            ("[::FFFF:192.0.2.1]", "[::ffff:192.0.2.1]", None),
        ] {
            assert_eq!(parse(text), Ok((host.to_owned(), port)), "{text}");
        }
        assert!(matches!(
            Authority::parse(b"app.test:80").unwrap().host,
            Cow::Borrowed(_)
        ));
        assert!(matches!(Authority::parse(b"[::1]:80").unwrap().host, Cow::Borrowed(_)));
    }

    #[test]
    fn what_could_be_another_host_is_refused() {
        for text in [
            "",
            ".",
            "..",
            ".app.test",
            "app..test",
            "app.test..",
            ":80",
            " app.test",
            "app.test ",
            "app.test\t",
            "app test",
            "user@app.test",
            "@app.test",
            "user:pw@app.test",
            "app.test,evil.test",
            "app.test, evil.test",
            "app.test/",
            "app.test/x",
            "app.test?x",
            "app.test#x",
            "app.test\\x",
            "app%2etest",
            "app.test%00",
            "a*b",
            "\u{e4}pp.test",
            "app\u{3002}test",
            "app.test;x",
            "http://app.test",
            "\"app.test\"",
            "app.test\0",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.256",
            "127.0.0.01",
            "1.2.3.4.5",
            "app.0x",
            "app.123",
            "[::1",
            "::1",
            "[::1]x",
            "[::1].",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[]",
            "[v1.x]",
            "[127.0.0.1]",
            "[::1]]",
            "[[::1]]",
            "2001:db8::1",
            "[::1] ",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        for text in [
            "app.test:",
            "app.test:0",
            "app.test:080",
            "app.test:65536",
            "app.test:+80",
            "app.test:-1",
            "app.test:8o",
            "app.test: 80",
            "app.test:80:80",
            "[::1]:",
            "[::1]:x",
            "app.test:99999999999999999999",
            "app.test:80.",
        ] {
            assert_eq!(parse(text), Err(AuthorityError::Port), "{text:?}");
        }
        assert_eq!(parse(&"a".repeat(64)), Err(AuthorityError::Host));
        assert_eq!(parse(&["a"; 128].join(".")), Err(AuthorityError::Host));
        assert_eq!(Authority::parse(b"app\xff.test"), Err(AuthorityError::Host));
    }

    #[test]
    fn the_request_line_and_the_host_header_must_agree() {
        for (uri, hosts, expected) in [
            (None, &[][..], Err(AuthorityError::Missing)),
            (None, &[&b""[..]][..], Err(AuthorityError::Host)),
            (None, &[b"a.test"], Ok("a.test")),
            (None, &[b"a.test", b"a.test"], Err(AuthorityError::Repeated)),
            (Some("a.test"), &[], Ok("a.test")),
            (Some("A.test."), &[b"a.test"], Ok("a.test")),
            (Some("a.test"), &[b"b.test"], Err(AuthorityError::Mismatch)),
            (Some("a.test:80"), &[b"a.test"], Err(AuthorityError::Mismatch)),
            (Some("a.test"), &[b"a.test", b"b.test"], Err(AuthorityError::Repeated)),
            (Some("a.test"), &[b"u@a.test"], Err(AuthorityError::Host)),
            (Some("u@a.test"), &[b"a.test"], Err(AuthorityError::Host)),
            (Some(""), &[b"a.test"], Err(AuthorityError::Host)),
        ] {
            let found = request_authority(uri, hosts).map(|authority| authority.host.into_owned());
            assert_eq!(found, expected.map(str::to_owned), "{uri:?} {hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_stable_and_means_the_same_to_a_browser(text in "[a-zA-Z0-9.:\\[\\]_x-]{0,24}|\\PC{0,12}") {
            if let Ok((host, port)) = parse(&text) {
                prop_assert_eq!(parse(&host), Ok((host.clone(), None)));
                // Host names that are no DNS names to a browser (`xn--` with nonsense) may be refused there.
                if let Ok(url) = url::Url::parse(&format!("http://{text}/")) {
                    prop_assert_eq!(url.host_str().unwrap().trim_end_matches('.'), &host);
                    prop_assert_eq!(url.port(), port.filter(|&port| port != 80));
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Authority::parse(&bytes);
        }
    }
}
