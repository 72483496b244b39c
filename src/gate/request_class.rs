//! What kind of client asks: decides between login page, 401 and gRPC status, and who is given a ticket.
//!
//! Fetch metadata decides where a browser sends it, since a page cannot forge it; the older signs (`Accept`,
//! `X-Requested-With`) only where it is missing: old browsers, and every browser over plain HTTP. In doubt a request is
//! a script, which costs a person one reload, where the opposite error plants cookies on fetches.

use http::header::{
    ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, Method};

use crate::gate::headers::Headers;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A top-level navigation by GET or HEAD: somebody looks at the answer.
    Navigation,
    /// A top-level navigation with another method: a form was sent. Without a session it gets the login page too; the
    /// body is lost, so the login leads back to the page of the form, never to a repeated submission.
    Submission,
    /// Anything else: fetch, image, frame, prefetch, curl.
    Script,
    /// gRPC, which reads its status from `grpc-status`.
    Grpc,
    /// A WebSocket handshake.
    WebSocket,
}

impl Class {
    /// Whether a person looks at the answer.
    pub fn is_page(self) -> bool {
        matches!(self, Self::Navigation | Self::Submission)
    }
}

/// The class of a request, from its method and headers.
pub fn classify(method: &Method, headers: &Headers<'_>) -> Class {
    if headers.all(&UPGRADE).any(|value| has_token(value, b"websocket")) {
        return Class::WebSocket;
    }
    if headers.all(&CONTENT_TYPE).any(is_grpc) {
        return Class::Grpc;
    }
    if !is_top_level_navigation(headers) {
        return Class::Script;
    }
    match *method {
        Method::GET | Method::HEAD => Class::Navigation,
        Method::POST => Class::Submission,
        _ => Class::Script,
    }
}

/// Whether the answer to this request may mint a ticket and plant its cookie: a top-level navigation whose answer
/// somebody will see. A HEAD has no page, so it gets none.
pub fn mints_ticket(method: &Method, class: Class) -> bool {
    class.is_page() && *method != Method::HEAD
}

/// The method that a CORS preflight asks for: OPTIONS with `Origin` and `Access-Control-Request-Method`, without a body.
pub fn preflight_for(method: &Method, headers: &Headers<'_>) -> Option<Method> {
    let asked = headers.get(&ACCESS_CONTROL_REQUEST_METHOD)?;
    let has_body = headers.contains(&TRANSFER_ENCODING)
        || headers
            .get(&CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0");
    if *method != Method::OPTIONS || !headers.contains(&ORIGIN) || has_body {
        return None;
    }
    Method::from_bytes(asked.as_bytes()).ok()
}

fn is_top_level_navigation(headers: &Headers<'_>) -> bool {
    // Speculative loads may never be seen; the others are what browsers sent before `Sec-Purpose`.
    if [SEC_PURPOSE, PURPOSE, X_PURPOSE, X_MOZ]
        .iter()
        .any(|name| headers.contains(name))
    {
        return false;
    }
    let navigates = || all_equal(headers, &SEC_FETCH_MODE, b"navigate");
    if headers.contains(&SEC_FETCH_DEST) {
        return all_equal(headers, &SEC_FETCH_DEST, b"document") && (!headers.contains(&SEC_FETCH_MODE) || navigates());
    }
    if headers.contains(&SEC_FETCH_MODE) && !navigates() {
        return false;
    }
    !headers.contains(&X_REQUESTED_WITH) && headers.all(&ACCEPT).any(accepts_html)
}

fn accepts_html(accept: &[u8]) -> bool {
    accept.split(|&byte| byte == b',').any(|range| {
        let media_type = range.split(|&byte| byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

/// `application/grpc` and its `+encodings`; not gRPC-Web, whose clients understand a 401.
fn is_grpc(content_type: &[u8]) -> bool {
    let Some((head, rest)) = content_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    head.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

fn all_equal(headers: &Headers<'_>, name: &HeaderName, expected: &[u8]) -> bool {
    let mut values = headers.all(name).peekable();
    values.peek().is_some() && values.all(|value| value == expected)
}

const GRPC: &[u8] = b"application/grpc";
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");
const X_PURPOSE: HeaderName = HeaderName::from_static("x-purpose");
const X_MOZ: HeaderName = HeaderName::from_static("x-moz");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use http::HeaderMap;

    use http::HeaderValue;

    use super::*;

    type Line = (&'static str, &'static str);

    fn headers(lines: &[Line]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    const HTML: Line = (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    );
    const DOCUMENT: Line = ("sec-fetch-dest", "document");
    const NAVIGATE: Line = ("sec-fetch-mode", "navigate");

    #[test]
    fn requests_are_classified_by_what_a_page_cannot_forge() {
        let table: &[(&str, &[Line], Class)] = &[
            ("GET", &[HTML, DOCUMENT, NAVIGATE], Class::Navigation),
            ("HEAD", &[HTML, DOCUMENT, NAVIGATE], Class::Navigation),
            ("POST", &[HTML, DOCUMENT, NAVIGATE], Class::Submission),
            ("DELETE", &[HTML, DOCUMENT, NAVIGATE], Class::Script),
            ("GET", &[DOCUMENT], Class::Navigation),
            ("GET", &[HTML], Class::Navigation),
            ("GET", &[("accept", "TEXT/HTML;q=0.5")], Class::Navigation),
            ("POST", &[HTML], Class::Submission),
            ("GET", &[HTML, NAVIGATE], Class::Navigation),
            ("GET", &[], Class::Script),
            ("GET", &[("accept", "*/*")], Class::Script),
            ("GET", &[("accept", "text/*")], Class::Script),
            ("GET", &[("accept", "application/json")], Class::Script),
            ("GET", &[("accept", "text/htmlx")], Class::Script),
            ("GET", &[HTML, ("x-requested-with", "XMLHttpRequest")], Class::Script),
            (
                "GET",
                &[HTML, ("sec-fetch-dest", "empty"), ("sec-fetch-mode", "cors")],
                Class::Script,
            ),
            ("GET", &[HTML, ("sec-fetch-dest", "iframe"), NAVIGATE], Class::Script),
            (
                "GET",
                &[HTML, ("sec-fetch-dest", "image"), ("sec-fetch-mode", "no-cors")],
                Class::Script,
            ),
            ("GET", &[HTML, DOCUMENT, ("sec-fetch-dest", "empty")], Class::Script),
            ("GET", &[HTML, DOCUMENT, ("sec-fetch-mode", "cors")], Class::Script),
            ("GET", &[HTML, ("sec-fetch-mode", "cors")], Class::Script),
            (
                "GET",
                &[HTML, DOCUMENT, NAVIGATE, ("sec-purpose", "prefetch;prerender")],
                Class::Script,
            ),
            (
                "GET",
                &[HTML, DOCUMENT, NAVIGATE, ("purpose", "prefetch")],
                Class::Script,
            ),
            ("POST", &[("content-type", "application/grpc")], Class::Grpc),
            ("POST", &[("content-type", "application/grpc+proto")], Class::Grpc),
            ("POST", &[("content-type", "Application/gRPC; charset=x")], Class::Grpc),
            ("POST", &[("content-type", "application/grpc-web+proto")], Class::Script),
            (
                "GET",
                &[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")],
                Class::WebSocket,
            ),
            ("GET", &[HTML, DOCUMENT, ("upgrade", "WebSocket")], Class::WebSocket),
            ("GET", &[("upgrade", "h2c, websocket")], Class::WebSocket),
            ("GET", &[HTML, ("upgrade", "h2c")], Class::Navigation),
            (
                "GET",
                &[("accept", "text/event-stream"), ("sec-fetch-dest", "empty")],
                Class::Script,
            ),
        ];
        for (method, lines, class) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                classify(&method, &Headers::of(&headers(lines))),
                *class,
                "{method} {lines:?}"
            );
        }
    }

    #[test]
    fn a_preflight_is_options_with_origin_and_method_and_no_body() {
        let origin = ("origin", "https://spa.test");
        let asks = ("access-control-request-method", "PUT");
        assert_eq!(
            preflight_for(&Method::OPTIONS, &Headers::of(&headers(&[origin, asks]))),
            Some(Method::PUT)
        );
        for (method, lines) in [
            (Method::OPTIONS, &[origin][..]),
            (Method::OPTIONS, &[asks]),
            (Method::GET, &[origin, asks]),
            (Method::OPTIONS, &[origin, asks, ("content-length", "3")]),
            (Method::OPTIONS, &[origin, asks, ("transfer-encoding", "chunked")]),
            (Method::OPTIONS, &[origin, ("access-control-request-method", "P T")]),
        ] {
            assert_eq!(
                preflight_for(&method, &Headers::of(&headers(lines))),
                None,
                "{method} {lines:?}"
            );
        }
    }

    #[test]
    fn tickets_are_minted_for_pages_that_somebody_sees() {
        assert!(mints_ticket(&Method::GET, Class::Navigation));
        assert!(mints_ticket(&Method::POST, Class::Submission));
        assert!(!mints_ticket(&Method::HEAD, Class::Navigation));
        for class in [Class::Script, Class::Grpc, Class::WebSocket] {
            assert!(!mints_ticket(&Method::GET, class));
        }
    }
}
