//! Who gets a login page, who an error, and who a cookie (oauth2-proxy #2481, mod_auth_openidc CVE-2025-31492): a ticket
//! is for a page that somebody looks at.

use menshen::sandbox::Endpoint;

use super::stage::{ALICE, HOST, NAVIGATION, Stage};

#[tokio::test]
async fn a_page_is_for_top_level_navigations_only() {
    let stage = Stage::plain().await;
    let drawn = || stage.world.sandbox.calls(Endpoint::WxaCode);
    // The pool is filled by the first page.
    assert_eq!(stage.get("/page", NAVIGATION).await.status, 401);
    let before = drawn();
    let html = "Accept: text/html,*/*;q=0.8\r\n";
    for lines in [
        String::new(),
        "Accept: */*\r\n".to_owned(),
        "Accept: application/json\r\n".to_owned(),
        "Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n".to_owned(),
        format!("{html}Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n"),
        format!("{html}Sec-Fetch-Dest: iframe\r\nSec-Fetch-Mode: navigate\r\n"),
        format!("{html}Sec-Fetch-Dest: frame\r\nSec-Fetch-Mode: navigate\r\n"),
        format!("{html}Sec-Fetch-Dest: embed\r\nSec-Fetch-Mode: navigate\r\n"),
        format!("{html}Sec-Fetch-Dest: object\r\nSec-Fetch-Mode: navigate\r\n"),
        "Accept: image/avif,*/*\r\nSec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\n".to_owned(),
        "Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\n".to_owned(),
        "Sec-Fetch-Dest: serviceworker\r\n".to_owned(),
        format!("{NAVIGATION}Sec-Purpose: prefetch\r\n"),
        format!("{NAVIGATION}Sec-Purpose: prefetch;prerender\r\n"),
        format!("{NAVIGATION}Purpose: prefetch\r\n"),
        format!("{html}X-Requested-With: XMLHttpRequest\r\n"),
        format!("{NAVIGATION}Sec-Fetch-Dest: empty\r\n"),
    ] {
        let answer = stage.get("/page", &lines).await;
        assert_eq!(answer.refusal(), (401, "login_required".to_owned()), "{lines}");
        assert_eq!(answer.headers.one("content-type"), Some("application/json"), "{lines}");
        assert_eq!(
            answer.headers.one("www-authenticate"),
            Some("Bearer realm=\"menshen\""),
            "{lines}"
        );
        assert_eq!(
            answer.json()["error"]["login_url"],
            "/.menshen/login?rd=%2Fpage",
            "{lines}"
        );
        assert!(!answer.headers.has("set-cookie"), "{lines}");
    }
    let head = stage
        .send(format!("HEAD /page HTTP/1.1\r\nHost: {HOST}\r\n{NAVIGATION}\r\n"))
        .await;
    assert_eq!(head.status, 401);
    assert!(!head.headers.has("set-cookie"), "a HEAD plants a cookie");
    assert_eq!(drawn(), before, "a code was drawn that nobody sees");
    for lines in [
        NAVIGATION.to_owned(),
        html.to_owned(),
        format!("{html}Sec-Fetch-Mode: navigate\r\n"),
    ] {
        let answer = stage.get("/page", &lines).await;
        assert_eq!(answer.status, 401, "{lines}");
        assert!(
            answer.headers.one("content-type").unwrap().starts_with("text/html"),
            "{lines}"
        );
        assert_eq!(answer.headers.one("www-authenticate"), Some("Bearer realm=\"menshen\""));
        assert!(answer.set_cookie("menshen-ticket").is_some(), "{lines}");
    }
}

/// A login page that is asked for by something else than a person plants nothing either.
#[tokio::test]
async fn the_login_pages_own_address_keeps_to_the_same_rule() {
    let stage = Stage::plain().await;
    for lines in [
        "Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\n",
        "Accept: text/html\r\nSec-Fetch-Dest: iframe\r\nSec-Fetch-Mode: navigate\r\n",
        "Accept: text/html\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Purpose: prefetch\r\n",
        "Accept: */*\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n",
        "",
    ] {
        let answer = stage.get("/.menshen/login", lines).await;
        assert!(
            !answer.headers.has("set-cookie"),
            "{lines:?}: {} {:?}",
            answer.status,
            answer.headers
        );
    }
    let head = stage
        .send(format!(
            "HEAD /.menshen/login HTTP/1.1\r\nHost: {HOST}\r\n{NAVIGATION}\r\n"
        ))
        .await;
    assert!(!head.headers.has("set-cookie"), "a HEAD plants a cookie");
    let page = stage.get("/.menshen/login", NAVIGATION).await;
    assert_eq!(page.status, 200);
    assert!(page.set_cookie("menshen-ticket").is_some());
}

#[tokio::test]
async fn grpc_reads_its_status_from_the_headers() {
    let stage = Stage::plain().await;
    let bob = stage.login(super::stage::BOB).await;
    let call = "POST /admin/Method HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/grpc\r\nTE: trailers\r\n\
                Content-Length: 0\r\n";
    for (lines, status) in [(String::new(), "16"), (format!("Cookie: {bob}\r\n"), "7")] {
        let answer = stage.send(format!("{call}{lines}\r\n")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.one("grpc-status"), Some(status));
        assert_eq!(answer.headers.one("content-type"), Some("application/grpc"));
        assert!(answer.body.is_empty() && !answer.headers.has("set-cookie"));
    }
    assert!(stage.upstream.taken().is_empty());
}

/// mod_auth_openidc CVE-2025-31492: nothing of what is protected is in the answer, because nobody was asked for it.
#[tokio::test]
async fn no_upstream_is_asked_before_the_decision() {
    let stage = Stage::plain().await;
    let before = stage.upstream.connections();
    for (method, lines) in [
        ("GET", NAVIGATION),
        ("GET", ""),
        ("HEAD", ""),
        ("POST", "Content-Length: 0\r\n"),
        ("GET", "If-None-Match: \"x\"\r\nRange: bytes=0-1\r\n"),
    ] {
        let answer = stage
            .send(format!("{method} /secret HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
            .await;
        assert_eq!(answer.status, 401, "{method} {lines}");
    }
    assert_eq!(stage.upstream.connections(), before);
}

/// Both directions: an assertion is for an application and no credential here, and only Menshen's own tokens decide.
#[tokio::test]
async fn bearer_tokens_decide_alone_and_others_are_the_applications() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    assert_eq!(stage.get("/page", &format!("Cookie: {cookie}\r\n")).await.status, 200);
    let assertion = stage
        .upstream
        .only()
        .headers
        .one("x-menshen-assertion")
        .unwrap()
        .to_owned();
    for (lines, code) in [
        ("Authorization: Bearer mst_x\r\n".to_owned(), "token_invalid"),
        ("Authorization: bearer mst_\r\n".to_owned(), "token_invalid"),
        ("Authorization: BEARER   mst_x\r\n".to_owned(), "token_invalid"),
        // No fallback to the cookie.
        (
            format!("Authorization: Bearer mst_x\r\nCookie: {cookie}\r\n"),
            "token_invalid",
        ),
        (format!("Authorization: Bearer {assertion}\r\n"), "login_required"),
        (format!("X-Menshen-Assertion: {assertion}\r\n"), "login_required"),
        (format!("Cookie: menshen={assertion}\r\n"), "login_required"),
        ("Authorization: Basic YWxpY2U6eA==\r\n".to_owned(), "login_required"),
    ] {
        let answer = stage.get("/page", &lines).await;
        assert_eq!(answer.refusal(), (401, code.to_owned()), "{lines}");
    }
    assert!(stage.upstream.taken().is_empty());
    // On a public route as well: a token that is none is not ignored.
    assert_eq!(
        stage
            .get("/public/", "Authorization: Bearer mst_x\r\n")
            .await
            .refusal()
            .0,
        401
    );
    for value in [
        "Basic YWxpY2U6eA==",
        "Bearer abc",
        "Bearer xmst_1",
        "Digest username=\"mst_\"",
        "mst_x",
    ] {
        let lines = format!("Authorization: {value}\r\nCookie: {cookie}\r\n");
        assert_eq!(stage.get("/page", &lines).await.status, 200, "{value}");
        let seen = stage.upstream.only();
        assert_eq!(seen.headers.one("authorization"), Some(value));
        assert_eq!(seen.headers.one("remote-user"), Some("alice"), "{value}");
    }
    let two = format!("Authorization: Basic eA==\r\nAuthorization: Bearer mst_x\r\nCookie: {cookie}\r\n");
    assert_eq!(stage.get("/page", &two).await.status, 400);
}
