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
