//! Whether everybody on the way agrees where this request ends, and whether it is small enough to be looked at.
//!
//! HTTP allows a recipient to repair some of what is refused here. A gateway must not: the upstream may repair it
//! differently, and then reads a request that was never decided on (request smuggling: Pingora CVE-2025-4366,
//! CVE-2026-2833, CVE-2026-2835). What a parser has repaired already is looked for in [`super::raw_head`].

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, Method, StatusCode, Version};

use crate::gate::headers::Headers;
use crate::proxy::cookies;

/// How large a request head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of request line and headers together: `limits.request_headers`.
    pub bytes: usize,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// CONNECT, TRACE or TRACK.
    #[error("the method is not served")]
    Method,
    /// A line of the head is malformed: a bare CR or LF, a NUL, a continuation, white space before the colon, a request
    /// line of another form.
    #[error("a line of the request head is malformed")]
    Line,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("the body has two lengths: Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// More than one `Content-Length`, even the same, or a list.
    #[error("Content-Length is repeated")]
    RepeatedLength,
    /// Not 1 to 18 digits.
    #[error("Content-Length is not a number")]
    Length,
    /// Anything but one `chunked`.
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// `Transfer-Encoding` where the version has none: HTTP/1.0 and HTTP/2.
    #[error("this version of HTTP has no Transfer-Encoding")]
    TransferEncodingVersion,
    /// A header of HTTP/1.1 connections in HTTP/2 (RFC 9113 §8.2.2).
    #[error("a connection-specific header in HTTP/2")]
    ConnectionHeader,
    /// `Connection` lists what is not the hop's, no token, or too much (RFC 9110 §7.6.1).
    #[error("the Connection header lists a header that it must not remove")]
    Nomination,
    /// An upgrade to something else than a WebSocket.
    #[error("the upgrade is not served")]
    Upgrade,
    /// A WebSocket handshake that is not one (RFC 6455 §4.1).
    #[error("the WebSocket handshake is malformed")]
    Handshake,
    /// An upgrade with a body.
    #[error("an upgrade has no body")]
    UpgradeWithBody,
    /// More than one `Authorization`.
    #[error("Authorization is repeated")]
    RepeatedAuthorization,
    /// Anything but `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// The head is too large.
    #[error("the headers are too large")]
    HeadersTooLarge,
    /// The cookies are too large or too many.
    #[error("the cookies are too large")]
    CookiesTooLarge,
}

/// Checks a request head. `target_length` is that of the request target as it came.
pub fn check_framing(
    method: &Method,
    version: Version,
    target_length: usize,
    headers: &Headers<'_>,
    limits: &HeadLimits,
) -> Result<(), FramingError> {
    if *method == Method::CONNECT || *method == Method::TRACE || method.as_str() == "TRACK" {
        return Err(FramingError::Method);
    }
    check_size(method, target_length, headers, limits)?;
    let has_body = check_body(version, headers)?;
    if version >= Version::HTTP_2 {
        check_no_connection_headers(headers)?;
    } else {
        check_nominations(headers)?;
        check_upgrade(method, version, headers, has_body)?;
    }
    if headers.is_repeated(&AUTHORIZATION) {
        return Err(FramingError::RepeatedAuthorization);
    }
    if headers
        .all(&EXPECT)
        .any(|value| !value.eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(FramingError::Expectation);
    }
    Ok(())
}

impl FramingError {
    /// What the client is answered with. The connection ends with it, since where the next request begins may be in doubt.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadersTooLarge | Self::CookiesTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

fn check_size(
    method: &Method,
    target_length: usize,
    headers: &Headers<'_>,
    limits: &HeadLimits,
) -> Result<(), FramingError> {
    let fields: usize = headers
        .map()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
        .sum();
    if method.as_str().len() + target_length + REQUEST_LINE_OVERHEAD + fields > limits.bytes {
        return Err(FramingError::HeadersTooLarge);
    }
    let (bytes, count) = cookies::weigh(headers.map());
    if bytes > MAX_COOKIE_BYTES || count > MAX_COOKIES {
        return Err(FramingError::CookiesTooLarge);
    }
    Ok(())
}

/// Whether the request has a body.
fn check_body(version: Version, headers: &Headers<'_>) -> Result<bool, FramingError> {
    let length = headers.get(&CONTENT_LENGTH);
    let encoding = headers.get(&TRANSFER_ENCODING);
    if length.is_some() && encoding.is_some() {
        return Err(FramingError::TwoLengths);
    }
    if let Some(encoding) = encoding {
        if version != Version::HTTP_11 {
            return Err(FramingError::TransferEncodingVersion);
        }
        if headers.is_repeated(&TRANSFER_ENCODING) || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(FramingError::TransferEncoding);
        }
        return Ok(true);
    }
    let Some(length) = length.map(|length| length.as_bytes()) else {
        return Ok(false);
    };
    if headers.is_repeated(&CONTENT_LENGTH) || length.contains(&b',') {
        return Err(FramingError::RepeatedLength);
    }
    // 18 digits fit everybody's signed 64 bits.
    if length.is_empty() || length.len() > 18 || !length.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::Length);
    }
    Ok(length.iter().any(|&digit| digit != b'0'))
}

fn check_no_connection_headers(headers: &Headers<'_>) -> Result<(), FramingError> {
    let te_is_trailers = headers.all(&TE).all(|value| value.eq_ignore_ascii_case(b"trailers"));
    let foreign = [CONNECTION, UPGRADE, PROXY_CONNECTION, KEEP_ALIVE];
    match te_is_trailers && foreign.iter().all(|name| !headers.contains(name)) {
        true => Ok(()),
        false => Err(FramingError::ConnectionHeader),
    }
}

/// What `Connection` lists is removed on the way to the upstream (Traefik CVE-2024-45410). The frame of the message, the
/// credentials and the forwarded headers are not the hop's to lose, so that a client who lists them is up to something.
fn check_nominations(headers: &Headers<'_>) -> Result<(), FramingError> {
    let tokens = headers
        .all(&CONNECTION)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty());
    for (count, token) in tokens.enumerate() {
        let name = HeaderName::from_bytes(token).map_err(|_| FramingError::Nomination)?;
        let end_to_end = matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding" | "cookie" | "authorization" | "forwarded"
        ) || name.as_str().starts_with("x-forwarded-");
        if end_to_end || count >= MAX_NOMINATIONS {
            return Err(FramingError::Nomination);
        }
    }
    Ok(())
}

/// An offer of HTTP/2 over plain text is one that a server may ignore (RFC 9110 §7.8) and some clients always make, so
/// it passes here and goes no further; everything else that is not a WebSocket is refused.
fn check_upgrade(method: &Method, version: Version, headers: &Headers<'_>, has_body: bool) -> Result<(), FramingError> {
    let Some(upgrade) = headers.get(&UPGRADE).map(|value| value.as_bytes()) else {
        return Ok(());
    };
    if headers.is_repeated(&UPGRADE) {
        return Err(FramingError::Upgrade);
    }
    if upgrade.eq_ignore_ascii_case(b"h2c") {
        return Ok(());
    }
    if !upgrade.eq_ignore_ascii_case(b"websocket") {
        return Err(FramingError::Upgrade);
    }
    if has_body {
        return Err(FramingError::UpgradeWithBody);
    }
    let connection_upgrades = headers
        .all(&CONNECTION)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let handshake = *method == Method::GET
        && version == Version::HTTP_11
        && connection_upgrades
        && headers.contains(&HOST)
        && headers.contains(&SEC_WEBSOCKET_KEY)
        && !headers.is_repeated(&SEC_WEBSOCKET_KEY);
    if handshake {
        Ok(())
    } else {
        Err(FramingError::Handshake)
    }
}

/// Several applications on one host may each have their 4 KiB; more is an attack or a mistake that breaks backends.
pub const MAX_COOKIE_BYTES: usize = 16 * 1024;
/// Browsers keep 180 a domain at most.
pub const MAX_COOKIES: usize = 200;
/// Honest clients list three or four.
const MAX_NOMINATIONS: usize = 8;
/// `: ` and the line end.
const FIELD_OVERHEAD: usize = 4;
/// Two spaces, the version and the line end.
const REQUEST_LINE_OVERHEAD: usize = 12;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

#[cfg(test)]
mod tests;
