//! What is matched is what is forwarded (Envoy CVE-2019-9901 and CVE-2021-29492, oauth2-proxy CVE-2025-54576 and
//! CVE-2026-41059, Oathkeeper CVE-2026-33494, Traefik CVE-2023-47106 and CVE-2026-73511).

use super::stage::{ALICE, BOB, HOST, Stage};
use super::wire::Answer;

async fn get(stage: &Stage, target: impl AsRef<[u8]>, lines: &str) -> Answer {
    let target = target.as_ref();
    let tail = format!(" HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    stage.send([b"GET ", target, tail.as_bytes()].concat()).await
}

#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let lines = format!("Cookie: {cookie}\r\n");
    let targets: &[&[u8]] = &[
        // Dot segments in any spelling.
        b"/public/../secret",
        b"/public/./x",
        b"/public/..",
        b"/public/.",
        b"/..",
        b"/.",
        b"/public/%2e%2e/secret",
        b"/public/.%2E/secret",
        b"/public/%2e/x",
        b"/public/..;/secret",
        b"/public/..;a=b/secret",
        b"/public/.;/x",
        b"/public/..%3b/secret",
        b"/public/..%20/secret",
        b"/public/..%23/x",
        b"/public/..%3f/x",
        b"/%2e%2e",
        // Encoded slashes and backslashes.
        b"/public/..%2fsecret",
        b"/public%2fx",
        b"/public/%2F",
        b"/secret%2f",
        b"/public/..%5csecret",
        b"/public/a%5Cb",
        b"/public\\..\\secret",
        b"/\\secret",
        b"\\secret",
        b"/slashes/%2e%2e%2fpublic",
        b"/slashes/a%2f..%2fb",
        b"/slashes/a%5cb",
        // NUL, controls, other bytes.
        b"/public/%00",
        b"/secret%00/public/",
        b"/public/%0a",
        b"/public/%0d%0aX:y",
        b"/public/%7f",
        b"/public/%1f",
        b"/public/\x01",
        b"/public/\x7f",
        b"/public/\xc3\xa9",
        b"/public/\xff",
        b"/public/a\tb",
        // Escapes.
        b"/public/%",
        b"/public/%2",
        b"/public/%zz",
        b"/public/%u002f",
        b"/public/%%32e",
        b"/public/%252e%252e/secret",
        b"/public/%252f",
        b"/public/%25%32%65",
        b"/public/%2525",
        b"/public/%ff",
        b"/public/%c0%af",
        b"/public/%c0%ae/",
        b"/public/%ed%a0%80",
        b"/public/%f8%80%80%80%80",
        // A fragment, and targets of other forms.
        b"/public/x#y",
        b"http://app.test:80/public/#",
        b"/secret#/public/",
        b"/public/#/../secret",
        b"/public/?a#b",
        b"#",
        b"public/x",
        b"*",
        b"?",
        b"app.test:80",
        b"ftp://app.test/public/",
        b"http:/public/x",
        b"http:///public/x",
        b"http://user@app.test/public/",
        b"http://user:x@app.test/public/",
        b"http://other.test/public/x",
        b"http://app.test\\@other.test/",
        b"http://app.test:81/public/x",
        b"http://app.test#/public/",
        b"javascript://app.test/%0a",
    ];
    for target in targets {
        for lines in ["", &lines] {
            let answer = get(&stage, target, lines).await;
            let case = target.escape_ascii();
            assert_eq!(answer.status, 400, "{case}");
        }
    }
    assert!(stage.upstream.taken().is_empty());
}

#[tokio::test]
async fn ordinary_targets_arrive_byte_for_byte_and_the_others_in_one_spelling() {
    let stage = Stage::plain().await;
    for (target, arrives) in [
        ("/public/", "/public/"),
        ("/public", "/public"),
        ("/public/x?", "/public/x?"),
        ("/public/a%20b+c", "/public/a%20b+c"),
        ("/public/%E4%B8%AD%e6%96%87", "/public/%E4%B8%AD%e6%96%87"),
        ("/public/a:b@c!$&'()*,=-._~", "/public/a:b@c!$&'()*,=-._~"),
        ("/public/a%23b", "/public/a%23b"),
        ("/public/a%3fb", "/public/a%3fb"),
        ("/public/a;v=1/b;w", "/public/a;v=1/b;w"),
        ("/public/a%25b", "/public/a%25b"),
        ("/public/.well-known", "/public/.well-known"),
        ("/public/...", "/public/..."),
        ("/public/a..b", "/public/a..b"),
        (
            "/public/?a=//b/../c%2f%00;%5C%zz&&=?[]{}|",
            "/public/?a=//b/../c%2f%00;%5C%zz&&=?[]{}|",
        ),
        ("/public/x?a=%41", "/public/x?a=%41"),
        // One spelling for both sides.
        ("/publi%63/x?a=%63", "/public/x?a=%63"),
        ("/%70ublic/%7Ex", "/public/~x"),
        ("//public///x//", "/public/x/"),
        ("/public//?a=//", "/public/?a=//"),
        ("http://app.test/public/x?y", "/public/x?y"),
    ] {
        let answer = get(&stage, target, "").await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let seen = stage.upstream.only();
        assert_eq!(
            (seen.target.as_str(), seen.version.as_str()),
            (arrives, "HTTP/1.1"),
            "{target}"
        );
        assert_eq!(seen.headers.one("host"), Some(HOST), "{target}");
    }
}

/// oauth2-proxy CVE-2025-54576, Caddy CVE-2026-27587: a rule that opens applies to exactly what it names.
#[tokio::test]
async fn a_public_route_never_opens_by_an_ambiguity() {
    let stage = Stage::plain().await;
    for target in [
        "/secret?x=/public/",
        "/secret?/public/",
        "/publicx",
        "/public-x/",
        "/PUBLIC/x",
        "/Public/",
        "/public;x/y",
        "/public%3bx/y",
        "/public%3f/x",
        "/public%23/x",
        "/public%20/x",
        "/public./x",
        "/exact/",
        "/exact/x",
        "/exact;x",
        "/exact%3fx",
        "/exactly",
        "/secret/public/",
        "/",
        "/secret;/public/",
        "/secret%3b/public/",
        "/api/",
        "/admin",
        "/slashes/a%2Fpublic",
    ] {
        let answer = get(&stage, target, "").await;
        assert_eq!(answer.refusal(), (401, "login_required".to_owned()), "{target}");
    }
    assert!(stage.upstream.taken().is_empty());
}

/// Traefik CVE-2026-73511 (path parameters), CVE-2026-40912 (prefixes within a segment).
#[tokio::test]
async fn stricter_rules_hold_in_every_reading_of_a_path_and_for_whole_segments() {
    let stage = Stage::plain().await;
    let cookie = stage.login(BOB).await;
    let lines = format!("Cookie: {cookie}\r\n");
    for target in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin;x",
        "/admin;x/y",
        "/admin;/x",
        "/admin%3Bx/y",
        "/admin%3b",
        "/admin./x",
        "/admin%2e/x",
        "/admin%20/x",
        "/%61dmin/x",
        "//admin//x",
        "/admin%3Fx",
        "/admin%23",
        "/denied",
        "/denied/",
        "/denied/x",
        "/denied;x/y",
        "/denied%3bx/y",
        "/%64enied/x",
        "/denied./",
        "/denied/x?y",
        "/denied%20",
    ] {
        let answer = get(&stage, target, &lines).await;
        assert_eq!(answer.refusal(), (403, "forbidden".to_owned()), "{target}");
    }
    assert!(stage.upstream.taken().is_empty());
    for target in [
        "/administrator",
        "/admin-x",
        "/deniedx",
        "/x/admin",
        "/public/denied",
        "/public/admin/x",
    ] {
        assert_eq!(get(&stage, target, &lines).await.status, 200, "{target}");
        assert_eq!(stage.upstream.only().target, target);
    }
    // Nobody passes what is denied, with or without a session.
    assert_eq!(get(&stage, "/denied/x", "").await.status, 403);
}

#[tokio::test]
async fn a_backend_that_ignores_letter_case_gets_rules_that_do_too() {
    let sites = |ignore_case: bool| {
        format!(
            "[[sites]]\nhosts = [\"app.test\"]\nupstreams = [\"UPSTREAM\"]\nignore_case = {ignore_case}\n\
             [[sites.routes]]\npath = \"/admin/\"\nrequire = [\"group:ops\"]\n"
        )
    };
    for (ignore_case, status) in [(true, 403), (false, 200)] {
        let stage = Stage::with_sites(&sites(ignore_case)).await;
        let lines = format!("Cookie: {}\r\n", stage.login(BOB).await);
        for target in ["/ADMIN/x", "/Admin", "/%41dmin/x"] {
            assert_eq!(
                get(&stage, target, &lines).await.status,
                status,
                "{target} {ignore_case}"
            );
        }
    }
}

#[tokio::test]
async fn encoded_slashes_pass_untouched_where_a_route_keeps_them() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let lines = format!("Cookie: {cookie}\r\n");
    for target in ["/slashes/a%2Fb", "/slashes/a%2fb/c", "/slashes/%2F%2f"] {
        assert_eq!(get(&stage, target, &lines).await.status, 200, "{target}");
        assert_eq!(stage.upstream.only().target, target);
    }
    // Decoded, it would be another route's.
    for (target, status) in [
        ("/slashes%2F..%2Fdenied", 400),
        ("/denied%2Fx", 403),
        ("/public%2Fx", 400),
    ] {
        let answer = get(&stage, target, &lines).await;
        assert!(
            answer.status == status || answer.status == 400,
            "{target}: {}",
            answer.status
        );
    }
    assert!(stage.upstream.taken().is_empty());
}

/// Pomerium's traversal suite: what lies below the reserved prefix is answered here or not at all.
#[tokio::test]
async fn nothing_below_the_reserved_prefix_reaches_an_upstream() {
    let stage = Stage::plain().await;
    for (target, status) in [
        ("/.menshen", 404),
        ("/.menshen/", 404),
        ("/.menshen/nothing", 404),
        ("/.menshen/login/x", 404),
        ("/%2emenshen/nothing", 404),
        ("//.menshen//nothing", 404),
        ("/.menshen/..", 400),
        ("/.menshen/../x", 400),
        ("/.menshen/%2e%2e/x", 400),
        ("/.menshen%2fx", 400),
        ("/.menshen;x/login", 400),
        ("/.menshen%3b/login", 400),
        ("/.MENSHEN/login", 400),
        ("/.Menshen/", 400),
        ("/.menshen./login", 400),
        ("/.menshen%20/login", 400),
        ("/.menshen/verify/x", 404),
    ] {
        // At a site that is public as a whole.
        let answer = stage
            .send(format!("GET {target} HTTP/1.1\r\nHost: other.test\r\n\r\n"))
            .await;
        assert_eq!(answer.status, status, "{target}");
    }
    assert!(stage.upstream.taken().is_empty());
    let beside = stage.send("GET /.menshenx HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(beside.status, 200);
    assert_eq!(stage.upstream.only().target, "/.menshenx");
}

/// Authelia CVE-2026-48794, Traefik CVE-2022-23632, Caddy CVE-2026-27588.
#[tokio::test]
async fn one_host_in_any_honest_spelling_and_no_other() {
    let stage = Stage::plain().await;
    for (host, arrives) in [
        ("app.test", "app.test"),
        ("APP.TEST", "app.test"),
        ("app.test.", "app.test"),
        ("app.test:80", "app.test"),
        ("app.test:8080", "app.test:8080"),
        ("App.Test.:80", "app.test"),
    ] {
        let answer = stage
            .send(format!("GET /public/ HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{host}");
        let seen = stage.upstream.only();
        assert_eq!(seen.headers.one("host"), Some(arrives), "{host}");
        assert_eq!(seen.headers.one("x-forwarded-host"), Some(arrives), "{host}");
    }
    for (lines, status) in [
        ("Host: evil.test\r\n", 404),
        ("Host: app.test.evil.test\r\n", 404),
        ("Host: xapp.test\r\n", 404),
        ("Host: test\r\n", 404),
        ("Host: 127.0.0.1\r\n", 404),
        ("Host: [::1]\r\n", 404),
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: app.test\r\nHost: app.test\r\n", 400),
        ("Host: app.test\r\nhost: other.test\r\n", 400),
        ("Host: app.test, other.test\r\n", 400),
        ("Host: app.test other.test\r\n", 400),
        ("Host: user@app.test\r\n", 400),
        ("Host: app.test@evil.test\r\n", 400),
        ("Host: app.test/x\r\n", 400),
        ("Host: app.test?x\r\n", 400),
        ("Host: app.test#\r\n", 400),
        ("Host: app.test\\x\r\n", 400),
        ("Host: app.test:x\r\n", 400),
        ("Host: app.test:99999\r\n", 400),
        ("Host: app.test:80:80\r\n", 400),
        ("Host: app..test\r\n", 400),
        ("Host: app%2etest\r\n", 400),
        ("Host: app.test\x01\r\n", 400),
        ("Host: \u{ff41}pp.test\r\n", 400),
        ("Host: http://app.test\r\n", 400),
        ("Host: [::1\r\n", 400),
    ] {
        for version in ["1.1", "1.0"] {
            let answer = stage.send(format!("GET /public/ HTTP/{version}\r\n{lines}\r\n")).await;
            assert_eq!(answer.status, status, "{lines:?} {version}");
        }
    }
    assert!(stage.upstream.taken().is_empty());
}

/// Traefik CVE-2026-71324, Envoy CVE-2026-73547.
#[tokio::test]
async fn methods_are_exact_and_tunnels_are_not_served() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    for request in [
        "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n",
        "CONNECT /public/ HTTP/1.1\r\nHost: app.test\r\n",
        "TRACE /public/ HTTP/1.1\r\nHost: app.test\r\n",
        "TRACK /public/ HTTP/1.1\r\nHost: app.test\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: app.test\r\n",
    ] {
        let answer = stage.send(format!("{request}Cookie: {cookie}\r\n\r\n")).await;
        assert!(matches!(answer.status, 400 | 405), "{request}: {}", answer.status);
    }
    assert!(stage.upstream.taken().is_empty());
    for (method, target, status) in [
        ("GET", "/writes/x", 200),
        ("HEAD", "/writes/x", 200),
        ("POST", "/writes/x", 403),
        ("PROPFIND", "/page", 200),
        ("DELETE", "/page", 200),
        ("get", "/page", 200),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n");
        let answer = stage.send(request).await;
        assert_eq!(answer.status, status, "{method} {target}");
    }
    for method in ["get", "OPTIONS", "PROPFIND", "HEAD", "DELETE"] {
        let answer = stage
            .send(format!("{method} /secret HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 401, "{method}");
    }
}

/// mod_auth_openidc 2026, Pomerium `cors_allow_preflight`: the exemption is no tunnel.
#[tokio::test]
async fn preflights_are_answered_here_for_listed_origins_only() {
    let stage = Stage::plain().await;
    let asks = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n";
    for (target, lines, status) in [
        ("/api/x", format!("Origin: https://spa.test\r\n{asks}"), 204),
        ("/api/x", format!("Origin: https://spa.test.evil.test\r\n{asks}"), 401),
        ("/api/x", format!("Origin: null\r\n{asks}"), 401),
        ("/api/x", format!("Origin: http://spa.test\r\n{asks}"), 401),
        ("/api/x", asks.to_owned(), 401),
        ("/api/x", "Origin: https://spa.test\r\n".to_owned(), 401),
        (
            "/api/x",
            format!("Origin: https://spa.test\r\nContent-Length: 1\r\n{asks}"),
            401,
        ),
        ("/secret", format!("Origin: https://spa.test\r\n{asks}"), 401),
        ("/denied/", format!("Origin: https://spa.test\r\n{asks}"), 403),
    ] {
        let answer = stage
            .send(format!("OPTIONS {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\nx"))
            .await;
        assert_eq!(answer.status, status, "{target} {lines:?}");
        let allowed = answer.headers.one("access-control-allow-origin");
        let listed = target == "/api/x" && lines.starts_with("Origin: https://spa.test\r\n");
        assert_eq!(allowed, listed.then_some("https://spa.test"), "{target} {lines:?}");
    }
    assert!(stage.upstream.taken().is_empty());
}
