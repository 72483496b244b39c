//! Heads by table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http::HeaderValue;

use http::HeaderMap;

use super::*;

type Line = (&'static str, &'static str);

const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024 };

fn check(method: &str, version: Version, lines: &[Line]) -> Result<(), FramingError> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    check_framing(&method, version, 1, &Headers::of(&headers), &LIMITS)
}

const HOST_LINE: Line = ("host", "a.test");
const CONNECTION_LINE: Line = ("connection", "keep-alive, Upgrade");
const WEBSOCKET: Line = ("upgrade", "websocket");
const KEY: Line = ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");

#[test]
fn ordinary_requests_pass() {
    for (method, version, lines) in [
        ("GET", Version::HTTP_11, &[HOST_LINE][..]),
        ("GET", Version::HTTP_10, &[]),
        ("POST", Version::HTTP_11, &[("content-length", "0")]),
        ("POST", Version::HTTP_11, &[("content-length", "999999999999999999")]),
        ("DELETE", Version::HTTP_11, &[("content-length", "3")]),
        ("POST", Version::HTTP_10, &[("content-length", "3")]),
        ("POST", Version::HTTP_11, &[("transfer-encoding", "chunked")]),
        ("POST", Version::HTTP_11, &[("transfer-encoding", "Chunked")]),
        (
            "POST",
            Version::HTTP_11,
            &[("expect", "100-Continue"), ("content-length", "3")],
        ),
        ("POST", Version::HTTP_2, &[("content-length", "3"), ("te", "trailers")]),
        ("PROPFIND", Version::HTTP_11, &[]),
        ("GET", Version::HTTP_11, &[HOST_LINE, CONNECTION_LINE, WEBSOCKET, KEY]),
        (
            "GET",
            Version::HTTP_11,
            &[
                HOST_LINE,
                CONNECTION_LINE,
                ("upgrade", "WebSocket"),
                KEY,
                ("content-length", "0"),
            ],
        ),
        (
            "POST",
            Version::HTTP_11,
            &[("connection", "upgrade"), ("upgrade", "h2c"), ("content-length", "3")],
        ),
        (
            "GET",
            Version::HTTP_11,
            &[("upgrade-insecure-requests", "1"), ("authorization", "Basic x")],
        ),
        ("GET", Version::HTTP_11, &[("te", "trailers, deflate")]),
    ] {
        assert_eq!(check(method, version, lines), Ok(()), "{method} {version:?} {lines:?}");
    }
}

#[test]
fn lengths_that_two_parsers_could_read_differently_are_refused() {
    for (version, lines, error) in [
        (
            Version::HTTP_11,
            &[("content-length", "3"), ("transfer-encoding", "chunked")][..],
            FramingError::TwoLengths,
        ),
        (
            Version::HTTP_2,
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
            FramingError::TwoLengths,
        ),
        (
            Version::HTTP_11,
            &[("content-length", "5"), ("content-length", "5")],
            FramingError::RepeatedLength,
        ),
        (
            Version::HTTP_11,
            &[("content-length", "5"), ("content-length", "6")],
            FramingError::RepeatedLength,
        ),
        (
            Version::HTTP_11,
            &[("content-length", "5, 5")],
            FramingError::RepeatedLength,
        ),
        (Version::HTTP_11, &[("content-length", "")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "+5")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "-5")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "5 5")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", " 5")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "0x5")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "5_0")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "1e1")], FramingError::Length),
        (Version::HTTP_11, &[("content-length", "5;x")], FramingError::Length),
        (
            Version::HTTP_11,
            &[("content-length", "9999999999999999999")],
            FramingError::Length,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "identity")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "gzip, chunked")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked, identity")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked, chunked")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "xchunked")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "\"chunked\"")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked;q=1")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked ,")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", " chunked")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            FramingError::TransferEncoding,
        ),
        (
            Version::HTTP_10,
            &[("transfer-encoding", "chunked")],
            FramingError::TransferEncodingVersion,
        ),
        (
            Version::HTTP_2,
            &[("transfer-encoding", "chunked")],
            FramingError::TransferEncodingVersion,
        ),
    ] {
        assert_eq!(check("POST", version, lines), Err(error), "{version:?} {lines:?}");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn connection_lists_what_is_the_hops_only() {
    for nominated in [
        "Host",
        "close, content-length",
        "Transfer-Encoding",
        "cookie",
        "AUTHORIZATION",
        "forwarded",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "two words",
        "\"Host\"",
        ":authority",
        "a, b, c, d, e, f, g, h, i",
    ] {
        let lines = [HOST_LINE, ("connection", nominated)];
        let error = Err(FramingError::Nomination);
        assert_eq!(check("GET", Version::HTTP_11, &lines), error, "{nominated}");
    }
    for nominated in [
        "keep-alive",
        "close, TE",
        "",
        ",",
        "Remote-User, X-Custom",
        "a, b, c, d, e, f, g, h",
    ] {
        let lines = [HOST_LINE, ("connection", nominated)];
        assert_eq!(check("GET", Version::HTTP_11, &lines), Ok(()), "{nominated}");
    }
    let lines = [("connection", "keep-alive"), ("connection", "Host")];
    assert_eq!(check("GET", Version::HTTP_11, &lines), Err(FramingError::Nomination));
}

#[test]
fn only_websockets_are_upgraded_to_and_only_by_a_handshake() {
    for (method, version, lines, error) in [
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, ("upgrade", "foo")][..],
            FramingError::Upgrade,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, ("upgrade", "foo")],
            FramingError::Upgrade,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, ("upgrade", "")],
            FramingError::Upgrade,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, ("upgrade", "websocket, foo"), KEY],
            FramingError::Upgrade,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, WEBSOCKET, ("upgrade", "foo"), KEY],
            FramingError::Upgrade,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, ("upgrade", "h2c, websocket")],
            FramingError::Upgrade,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, WEBSOCKET, KEY],
            FramingError::Handshake,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, ("connection", "xupgrade"), WEBSOCKET, KEY],
            FramingError::Handshake,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, WEBSOCKET],
            FramingError::Handshake,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, WEBSOCKET, KEY, KEY],
            FramingError::Handshake,
        ),
        (
            "POST",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, WEBSOCKET, KEY],
            FramingError::Handshake,
        ),
        (
            "GET",
            Version::HTTP_10,
            &[HOST_LINE, CONNECTION_LINE, WEBSOCKET, KEY],
            FramingError::Handshake,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[HOST_LINE, CONNECTION_LINE, WEBSOCKET, KEY, ("content-length", "3")],
            FramingError::UpgradeWithBody,
        ),
        (
            "GET",
            Version::HTTP_11,
            &[
                HOST_LINE,
                CONNECTION_LINE,
                WEBSOCKET,
                KEY,
                ("transfer-encoding", "chunked"),
            ],
            FramingError::UpgradeWithBody,
        ),
        ("GET", Version::HTTP_2, &[WEBSOCKET], FramingError::ConnectionHeader),
        (
            "GET",
            Version::HTTP_2,
            &[("connection", "close")],
            FramingError::ConnectionHeader,
        ),
        (
            "GET",
            Version::HTTP_2,
            &[("keep-alive", "5")],
            FramingError::ConnectionHeader,
        ),
        (
            "GET",
            Version::HTTP_2,
            &[("proxy-connection", "close")],
            FramingError::ConnectionHeader,
        ),
        (
            "GET",
            Version::HTTP_2,
            &[("te", "gzip")],
            FramingError::ConnectionHeader,
        ),
    ] {
        assert_eq!(
            check(method, version, lines),
            Err(error),
            "{method} {version:?} {lines:?}"
        );
    }
}

#[test]
fn methods_credentials_and_expectations_that_cannot_be_served_are_refused() {
    for (method, lines, error, status) in [
        ("CONNECT", &[][..], FramingError::Method, 405),
        ("TRACE", &[], FramingError::Method, 405),
        ("TRACK", &[], FramingError::Method, 405),
        (
            "GET",
            &[("authorization", "Basic x"), ("authorization", "Bearer y")],
            FramingError::RepeatedAuthorization,
            400,
        ),
        ("POST", &[("expect", "200-ok")], FramingError::Expectation, 417),
        ("POST", &[("expect", "100-continue, x")], FramingError::Expectation, 417),
    ] {
        assert_eq!(check(method, Version::HTTP_11, lines), Err(error), "{method} {lines:?}");
        assert_eq!(error.status(), status);
    }
}

#[test]
fn heads_and_cookies_have_a_size() {
    let of_size = |name: &'static str, size: usize, times: usize| {
        let mut headers = HeaderMap::new();
        for _ in 0..times {
            headers.append(name, HeaderValue::from_str(&"a".repeat(size)).unwrap());
        }
        headers
    };
    let check = |target, headers: &HeaderMap| {
        check_framing(&Method::GET, Version::HTTP_11, target, &Headers::of(headers), &LIMITS)
    };
    let overhead = "GET".len() + REQUEST_LINE_OVERHEAD + "x-a".len() + FIELD_OVERHEAD + 1;
    assert_eq!(check(1, &of_size("x-a", LIMITS.bytes - overhead, 1)), Ok(()));
    assert_eq!(
        check(2, &of_size("x-a", LIMITS.bytes - overhead, 1)),
        Err(FramingError::HeadersTooLarge)
    );
    assert_eq!(check(1, &of_size("x-a", 700, 100)), Err(FramingError::HeadersTooLarge));
    assert_eq!(check(1, &of_size("cookie", MAX_COOKIE_BYTES / 4, 4)), Ok(()));
    assert_eq!(
        check(1, &of_size("cookie", MAX_COOKIE_BYTES / 4, 5)),
        Err(FramingError::CookiesTooLarge)
    );
    assert_eq!(check(1, &of_size("cookie", 1, MAX_COOKIES)), Ok(()));
    assert_eq!(
        check(1, &of_size("cookie", 1, MAX_COOKIES + 1)),
        Err(FramingError::CookiesTooLarge)
    );
    assert_eq!(FramingError::HeadersTooLarge.status(), 431);
}
