#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::gate::decide::Forbidden;
use crate::gate::fixture::{gate, settings, site};

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn nginx(url: &str) -> HeaderMap {
    headers(&[("X-Original-URL", url), ("X-Original-Method", "GET")])
}

fn forwarded(scheme: &str, host: &str, uri: &str) -> HeaderMap {
    headers(&[
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Uri", uri),
    ])
}

fn read(headers: &HeaderMap) -> Result<String, BadQuestion> {
    Original::read(headers, None).map(|original| told(&original))
}

fn told(original: &Original<'_>) -> String {
    let scheme = if original.secure { "https" } else { "http" };
    let port = original
        .authority
        .port
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let (host, target) = (&original.authority.host, original.target.path_and_query());
    format!("{} {scheme}://{host}{port}{target}", original.method)
}

#[test]
fn both_families_say_the_same() {
    for (scheme, host, uri, expected) in [
        ("https", "wiki.test", "/", "GET https://wiki.test/"),
        ("https", "WIKI.test.:443", "/a?b=/c?d", "GET https://wiki.test/a?b=/c?d"),
        ("http", "wiki.test:8080", "/a//b/%61", "GET http://wiki.test:8080/a/b/a"),
        ("http", "wiki.test:443", "/", "GET http://wiki.test:443/"),
        ("HTTPS", "[::1]:8443", "/x", "GET https://[::1]:8443/x"),
    ] {
        let url = format!("{scheme}://{host}{uri}");
        assert_eq!(read(&nginx(&url)).unwrap(), expected);
        assert_eq!(read(&forwarded(scheme, host, uri)).unwrap(), expected);
    }
    assert_eq!(
        read(&forwarded("wss", "wiki.test", "/live")).unwrap(),
        "GET https://wiki.test/live"
    );
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (host, uri) in [
        ("wiki.test", ""),
        ("wiki.test", "?x"),
        ("wiki.test", "/a#b"),
        ("wiki.test", "/public/../secret"),
        ("wiki.test", "/public/%2e%2e/secret"),
        ("wiki.test", "/public/..;/secret"),
        ("wiki.test", "/public\\..\\secret"),
        ("wiki.test", "/public/%5c"),
        ("wiki.test", "/a%00"),
        ("wiki.test", "/a%252f"),
        ("wiki.test", "/a%zz"),
        ("wiki.test", "/a b"),
        ("wiki.test", "/\u{e9}"),
        ("", "/a"),
        ("user@wiki.test", "/a"),
        ("wiki.test:99999", "/a"),
        ("wiki.test:", "/a"),
        ("wiki.test, evil.test", "/a"),
        ("wiki test", "/a"),
        ("127.1", "/a"),
    ] {
        let url = format!("https://{host}{uri}");
        // A URL without a path has one, by RFC 9112 §3.2.2; a header without one is a broken proxy.
        let missing_path = uri.is_empty();
        assert_eq!(read(&nginx(&url)).is_err(), !missing_path, "{url}");
        assert!(read(&forwarded("https", host, uri)).is_err(), "{host} {uri}");
    }
    for url in [
        "/secret",
        "wiki.test/secret",
        "//wiki.test/secret",
        "ftp://wiki.test/secret",
        "https:/wiki.test/secret",
        "https://",
        "javascript:alert(1)",
        "*",
        "",
    ] {
        assert!(read(&nginx(url)).is_err(), "{url}");
    }
    for scheme in ["", "ftp", "https,http", "https ", "h"] {
        assert!(read(&forwarded(scheme, "wiki.test", "/")).is_err(), "{scheme}");
    }
    for uri in ["https://wiki.test/secret", "secret", "*", "//"] {
        assert_eq!(
            read(&forwarded("https", "wiki.test", uri)).is_err(),
            uri != "//",
            "{uri}"
        );
    }
}

#[test]
fn methods_are_those_that_are_served() {
    for (text, served) in [
        ("GET", true),
        ("POST", true),
        ("PROPFIND", true),
        ("CONNECT", false),
        ("TRACE", false),
        ("TRACK", false),
        ("GET, POST", false),
        ("", false),
    ] {
        let question = headers(&[("X-Original-URL", "https://wiki.test/"), ("X-Original-Method", text)]);
        assert_eq!(read(&question).is_ok(), served, "{text}");
    }
}

#[test]
fn one_header_too_few_or_twice_is_refused() {
    let whole = [
        nginx("https://wiki.test/public/x"),
        forwarded("https", "wiki.test", "/public/x"),
    ];
    for whole in whole {
        assert!(read(&whole).is_ok());
        for name in whole.keys() {
            let mut fewer = whole.clone();
            fewer.remove(name);
            assert!(read(&fewer).is_err(), "without {name}");
            let mut empty = whole.clone();
            empty.insert(name, HeaderValue::from_static(""));
            assert!(read(&empty).is_err(), "empty {name}");
            let mut twice = whole.clone();
            twice.append(name, whole[name].clone());
            assert_eq!(read(&twice), Err(BadQuestion::Repeated(name.clone())));
        }
    }
    assert_eq!(read(&HeaderMap::new()), Err(BadQuestion::NoFamily));
    assert_eq!(
        read(&headers(&[
            ("X-Forwarded-Host", "wiki.test"),
            ("X-Forwarded-Proto", "https")
        ])),
        Err(BadQuestion::NoFamily)
    );
}

#[test]
fn a_header_of_the_other_family_is_never_chosen_and_never_passed_over() {
    for foreign in [X_FORWARDED_URI, X_FORWARDED_METHOD, X_FORWARDED_HOST, X_FORWARDED_PROTO] {
        let mut question = nginx("https://wiki.test/secret");
        question.insert(&foreign, HeaderValue::from_static("/public/x"));
        assert_eq!(read(&question), Err(BadQuestion::BothFamilies(foreign.clone())));
        // A proxy that keeps its client's query lets the client write `from`: what only this kind of proxy sends decides.
        let unsaid = Original::read(&question, Some(Family::Nginx));
        let everywhere = [X_FORWARDED_HOST, X_FORWARDED_PROTO].contains(&foreign);
        assert_eq!(unsaid.is_ok(), everywhere, "{foreign}");
        if let Ok(original) = unsaid {
            assert_eq!(told(&original), "GET https://wiki.test/secret");
        }
    }
    for foreign in [X_ORIGINAL_URL, X_ORIGINAL_METHOD] {
        let mut question = forwarded("https", "wiki.test", "/secret");
        question.insert(&foreign, HeaderValue::from_static("https://wiki.test/public/x"));
        for from in [None, Some(Family::Nginx), Some(Family::Forwarded)] {
            assert!(Original::read(&question, from).is_err(), "{foreign} {from:?}");
        }
    }
    // Headers of no family are in nobody's way.
    let mut question = nginx("https://wiki.test/secret");
    for name in ["x-original-uri", "x-rewrite-url", "x_original_url", "x-forwarded-for"] {
        question.insert(name, HeaderValue::from_static("/public/x"));
    }
    assert_eq!(read(&question).unwrap(), "GET https://wiki.test/secret");
}

#[test]
fn a_family_that_is_said_is_the_only_one() {
    let nginx = nginx("https://wiki.test/");
    let forwarded = forwarded("https", "wiki.test", "/");
    assert!(Original::read(&nginx, Some(Family::Nginx)).is_ok());
    assert!(Original::read(&nginx, Some(Family::Forwarded)).is_err());
    assert!(Original::read(&forwarded, Some(Family::Forwarded)).is_ok());
    assert!(Original::read(&forwarded, Some(Family::Nginx)).is_err());
}

#[test]
fn the_query_is_understood_or_refused() {
    let asking = |from, redirect| Asking { from, redirect };
    for (query, expected) in [
        (None, asking(None, false)),
        (Some(""), asking(None, false)),
        (Some("from=nginx"), asking(Some(Family::Nginx), false)),
        (
            Some("from=forwarded&redirect=true"),
            asking(Some(Family::Forwarded), true),
        ),
        (
            Some("redirect=false&from=forwarded"),
            asking(Some(Family::Forwarded), false),
        ),
    ] {
        assert_eq!(Asking::parse(query), Ok(expected), "{query:?}");
    }
    for query in [
        "from=",
        "from",
        "from=traefik",
        "from=nginx&from=nginx",
        "from=nginx&from=forwarded",
        "redirect=",
        "redirect=1",
        "redirect=true&redirect=false",
        "allowed_groups=ops",
        "month=3",
        "From=nginx",
        "from=%6eginx",
    ] {
        assert!(Asking::parse(Some(query)).is_err(), "{query}");
    }
}

#[test]
fn nginx_hears_only_what_it_understands_and_nothing_but_forward_passes() {
    let at = At { site: 0, route: None };
    let cors_origin = None;
    let table = [
        (Decision::LoginPage { at }, Code::LoginRequired),
        (Decision::LoginRedirect { at }, Code::LoginRequired),
        (Decision::GrpcUnauthenticated { at }, Code::LoginRequired),
        (Decision::SecureRedirect { at }, Code::LoginRequired),
        (
            Decision::Preflight {
                at,
                origin: "https://spa.test".to_owned(),
            },
            Code::LoginRequired,
        ),
        (
            Decision::Unauthorized {
                at,
                reason: Unauthorized::LoginRequired,
                cors_origin: cors_origin.clone(),
            },
            Code::LoginRequired,
        ),
        (
            Decision::Unauthorized {
                at,
                reason: Unauthorized::TokenInvalid,
                cors_origin: cors_origin.clone(),
            },
            Code::TokenInvalid,
        ),
        (
            Decision::Forbidden {
                at,
                reason: Forbidden::RouteDenied,
                cors_origin,
            },
            Code::Forbidden,
        ),
        (Decision::CrossOrigin { at }, Code::CrossOrigin),
        (
            Decision::Portal {
                site: Some(0),
                public_host: true,
                downgraded: false,
            },
            Code::Forbidden,
        ),
        (Decision::VerificationFile { name: "a".to_owned() }, Code::Forbidden),
        (Decision::Landing, Code::Forbidden),
        (Decision::Start, Code::Forbidden),
        (Decision::NotFound, Code::Forbidden),
        (Decision::Unavailable { at }, Code::StoreUnavailable),
        (Decision::UnknownHost, Code::BadRequest),
        (Decision::Ambiguous, Code::BadRequest),
    ];
    for (decision, expected) in table {
        let code = match outcome(&decision, true) {
            Outcome::Pass { .. } => panic!("{decision:?} passes"),
            Outcome::SignIn(code) | Outcome::Refuse(code) => code,
        };
        assert_eq!(code, expected, "{decision:?}");
    }
    assert_eq!(
        outcome(&Decision::Unavailable { at }, false),
        Outcome::Refuse(Code::NotReady)
    );
    assert_eq!(
        outcome(&Decision::Forward { at, identified: false }, true),
        Outcome::Pass { at, identified: false }
    );
}

#[test]
fn the_login_address_is_at_the_host_of_the_client_and_leads_back() {
    let https = gate(vec![site(&["wiki.test"], vec![])]);
    let http = Gate::new(&settings("http://login.test:8080", vec![site(&["wiki.test"], vec![])]));
    let none = HeaderMap::new();
    let referer = headers(&[("Referer", "https://wiki.test/form?a")]);
    for (gate, url, class, headers, expected) in [
        (
            &https,
            "https://wiki.test/a?b=c&d",
            Class::Navigation,
            &none,
            "https://wiki.test/.menshen/login?rd=%2Fa%3Fb%3Dc%26d",
        ),
        (
            &https,
            "https://wiki.test/save",
            Class::Submission,
            &referer,
            "https://wiki.test/.menshen/login?rd=%2Fform%3Fa",
        ),
        (
            &https,
            "https://wiki.test/.menshen/logout",
            Class::Navigation,
            &none,
            "https://wiki.test/.menshen/login?rd=%2F",
        ),
        // Nobody signs in over plain HTTP where the gateway has HTTPS.
        (
            &https,
            "http://wiki.test:8080/a",
            Class::Navigation,
            &none,
            "https://wiki.test/.menshen/login?rd=%2Fa",
        ),
        (
            &http,
            "http://wiki.test:8080/a",
            Class::Script,
            &none,
            "http://wiki.test:8080/.menshen/login?rd=%2Fa",
        ),
    ] {
        let question = nginx(url);
        let original = Original::read(&question, None).unwrap();
        assert_eq!(original.login_address(class, headers, gate), expected, "{url}");
    }
}

#[test]
fn a_web_socket_is_known_without_its_upgrade() {
    let browser = [("Accept", "text/html"), ("Sec-Fetch-Dest", "document")];
    assert_eq!(class(&Method::GET, &Headers::of(&headers(&browser))), Class::Navigation);
    for name in ["Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        let mut lines = browser.to_vec();
        lines.push((name, "13"));
        assert_eq!(class(&Method::GET, &Headers::of(&headers(&lines))), Class::WebSocket);
    }
}

proptest! {
    #[test]
    fn what_is_read_is_spelt_as_it_is_decided(url in "https?://[a-z.:0-9@]{0,12}/?[ -~]{0,24}") {
        let question = nginx(&url);
        if let Ok(original) = Original::read(&question, None) {
            let again = told(&original);
            let url = again.strip_prefix("GET ").unwrap();
            let question = nginx(url);
            prop_assert_eq!(told(&Original::read(&question, None).unwrap()), again.clone());
            prop_assert!(!original.target.path.contains("/.."));
        }
    }
}
