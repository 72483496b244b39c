//! What a request says, read once: framing, host, target, client. Whatever could be read in two ways ends here.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, Method, Version};
use smallvec::SmallVec;

use crate::gate::headers::Headers;
use crate::gate::request_class::{Class, classify};
use crate::portal::code::Code;
use crate::proxy::authority::{Authority, request_authority};
use crate::proxy::client_address::{ClientAddress, TrustedProxies, told_by_trusted_peer};
use crate::proxy::framing::{FramingError, HeadLimits, check_framing};
use crate::proxy::normalise::{EncodedSlashes, Target, TargetError, normalise, split_absolute_form};
use crate::proxy::raw_head::read_raw_head;

/// A request head as it came.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Method.
    pub method: &'a Method,
    /// Version.
    pub version: Version,
    /// Path and query as the parser gives them; the wire's own are in `raw`.
    pub target: &'a [u8],
    /// Authority of the request line: `:authority` or that of the absolute-form.
    pub authority: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The whole head of an HTTP/1 request, for what the parser repairs silently.
    pub raw: Option<&'a [u8]>,
    /// The socket's peer.
    pub peer: IpAddr,
    /// The connection is TLS.
    pub tls: bool,
}

/// A request that can be read in one way only.
#[derive(Debug, Clone)]
pub struct Admitted<'a> {
    /// Host and port as the client calls them.
    pub authority: Authority<'static>,
    /// Normalised path, and the query.
    pub target: Target<'a>,
    /// Who asks.
    pub client: ClientAddress,
    /// The client used HTTPS.
    pub secure: bool,
    /// What kind of client asks.
    pub class: Class,
    /// The headers as they came.
    pub headers: Headers<'a>,
}

/// Why a request is refused before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: Code,
    /// For the log.
    pub reason: Cow<'static, str>,
    /// Where the next request begins may be in doubt: the connection ends.
    pub closes: bool,
}

impl<'a> Admitted<'a> {
    /// Reads a head.
    ///
    /// # Errors
    /// [`Refusal`] for the first thing that is wrong.
    pub fn read(head: &Head<'a>, trusted: &TrustedProxies, limits: &HeadLimits) -> Result<Self, Refusal> {
        let wire = match head.raw {
            Some(raw) => read_raw_head(raw).map_err(framing)?.target,
            None => head.target,
        };
        let headers = Headers::of(head.headers);
        check_framing(head.method, head.version, wire.len(), &headers, limits).map_err(framing)?;
        let hosts: SmallVec<[&[u8]; 2]> = headers.all(&http::header::HOST).collect();
        let authority = request_authority(head.authority, &hosts).map_err(|error| bad(error.to_string()))?;
        // Both readings of a kept `%2F` are decided on; who keeps none refuses it there.
        let (_, wire) = split_absolute_form(wire).map_err(target)?;
        let target = normalise(wire, EncodedSlashes::Keep).map_err(target)?;
        let client = ClientAddress::resolve(head.peer, &headers, trusted);
        let mut authority = authority.into_owned();
        let mut secure = head.tls;
        if client.peer_trusted {
            // The host stays the one of the request: an outer proxy may pass a client's X-Forwarded-Host through.
            let told = told_by_trusted_peer(&headers).map_err(|error| bad(error.to_string()))?;
            secure = told.secure.unwrap_or(secure);
        }
        let default_port = if secure { 443 } else { 80 };
        authority.port = authority.port.filter(|port| *port != default_port);
        Ok(Self {
            authority,
            target,
            client,
            secure,
            class: classify(head.method, &headers),
            headers,
        })
    }
}

fn framing(error: FramingError) -> Refusal {
    let code = match error {
        FramingError::HeadersTooLarge | FramingError::CookiesTooLarge => Code::HeadersTooLarge,
        _ => Code::BadRequest,
    };
    Refusal {
        code,
        reason: error.to_string().into(),
        closes: code == Code::BadRequest,
    }
}

fn target(error: TargetError) -> Refusal {
    let code = if error == TargetError::TooLong {
        Code::UriTooLong
    } else {
        Code::BadRequest
    };
    Refusal {
        code,
        reason: error.to_string().into(),
        closes: false,
    }
}

fn bad(reason: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal {
        code: Code::BadRequest,
        reason: reason.into(),
        closes: true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(raw: &str) -> Result<(String, String), Code> {
        let mut lines = raw.split("\r\n");
        let mut first = lines.next().unwrap().splitn(3, ' ');
        let method: Method = first.next().unwrap().parse().unwrap();
        let target = first.next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            // As Pingora does it.
            if name.eq_ignore_ascii_case("content-length") && raw.to_lowercase().contains("transfer-encoding") {
                continue;
            }
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.trim().parse().unwrap());
        }
        let uri: http::Uri = target.parse().unwrap_or_default();
        let head = Head {
            method: &method,
            version: Version::HTTP_11,
            target: target.as_bytes(),
            authority: uri.authority().map(http::uri::Authority::as_str),
            headers: &headers,
            raw: Some(raw.as_bytes()),
            peer: "203.0.113.9".parse().unwrap(),
            tls: false,
        };
        let limits = HeadLimits { bytes: 65_536 };
        let admitted = Admitted::read(&head, &TrustedProxies::new(&[]), &limits).map_err(|refusal| refusal.code)?;
        Ok((admitted.authority.host.into_owned(), admitted.target.path.into_owned()))
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways_are_refused() {
        let ok = |host: &str, path: &str| Ok((host.to_owned(), path.to_owned()));
        let cases = [
            ("GET /a HTTP/1.1\r\nHost: A.example.\r\n\r\n", ok("a.example", "/a")),
            (
                "GET http://a.example/b?c HTTP/1.1\r\nHost: a.example\r\n\r\n",
                ok("a.example", "/b"),
            ),
            (
                "GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
                ok("a.example", "/"),
            ),
            (
                "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
                Err(Code::BadRequest),
            ),
            ("GET /a HTTP/1.1\r\n\r\n", Err(Code::BadRequest)),
            (
                "GET /a HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
                Err(Code::BadRequest),
            ),
            ("GET /a#b HTTP/1.1\r\nHost: a.example\r\n\r\n", Err(Code::BadRequest)),
            (
                "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Code::BadRequest),
            ),
            ("TRACE /a HTTP/1.1\r\nHost: a.example\r\n\r\n", Err(Code::BadRequest)),
        ];
        for (raw, expected) in cases {
            assert_eq!(read(raw), expected, "{raw:?}");
        }
    }
}
