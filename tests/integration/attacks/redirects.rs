//! Open redirects (oauth2-proxy CVE-2020-5233, -11053, CVE-2021-21291; mod_auth_openidc CVE-2019-14857; Pomerium
//! CVE-2021-29651; Caddy CVE-2022-28923): wherever a client says where to go, it goes to our own places.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::stage::{ALICE, HOST, NAVIGATION, Stage, ticket_of};

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Places of other people, as somebody might write them so that a check does not see it.
const FOREIGN: &[&str] = &[
    "https://evil.test",
    "https://evil.test/",
    "http://evil.test/page",
    "HTTPS://EVIL.TEST/",
    "//evil.test",
    "///evil.test",
    "////evil.test",
    "//evil.test/%2f..",
    "/\\evil.test",
    "\\/evil.test",
    "\\\\evil.test",
    "/\\/evil.test",
    "/%5cevil.test",
    "/%2f%2fevil.test",
    "/%2fevil.test",
    "/.//evil.test",
    "/..//evil.test",
    "/x/..//evil.test",
    "/%2e%2e//evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "/\r\n/evil.test",
    "/%09/evil.test",
    "/%0a/evil.test",
    "/%0d%0aSet-Cookie:x=y",
    "\t//evil.test",
    " //evil.test",
    "\u{0}//evil.test",
    "https:evil.test",
    "https:/evil.test",
    "https:///evil.test",
    "https:\\\\evil.test",
    "https://app.test@evil.test/",
    "https://app.test:80@evil.test/",
    "http://app.test%40evil.test/",
    "http://app.test\\@evil.test/",
    "http://evil.test#@app.test/",
    "http://evil.test?@app.test/",
    "http://evil.test\\.app.test/",
    "http://app.test.evil.test/",
    "http://evil-app.test/",
    "http://app.test:81/",
    "http://user@app.test/",
    "https://app.test/",
    "ftp://app.test/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "about:blank",
    "evil.test",
    ".evil.test",
    "@evil.test",
    "?//evil.test",
    "#//evil.test",
    "http://\u{ff45}vil.test/",
    "http://evil\u{3002}test/",
    "//evil\u{3002}test",
    "http://[::1]/",
    "http://127.0.0.1/",
    "http://2130706433/",
    "/.menshen/logout",
    "/.menshen/../.menshen/logout",
    "/%2emenshen/logout",
];

/// The location of an answer is a path of this host, as every browser reads it.
fn assert_local(location: &str, asked: &str) {
    let second = location.as_bytes().get(1).copied().unwrap_or(b'x');
    assert!(location.starts_with('/'), "{asked:?} leads to {location:?}");
    assert!(!matches!(second, b'/' | b'\\'), "{asked:?} leads to {location:?}");
    assert!(
        location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'),
        "{asked:?} leads to {location:?}"
    );
    let base = url::Url::parse("http://app.test/").unwrap();
    assert_eq!(
        base.join(location).unwrap().origin(),
        base.origin(),
        "{asked:?} leads to {location:?}"
    );
}

#[tokio::test]
async fn the_login_page_sends_who_is_signed_in_to_our_own_places_only() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let lines = format!("{NAVIGATION}Cookie: {cookie}\r\n");
    for asked in FOREIGN {
        let answer = stage
            .get(&format!("/.menshen/login?rd={}", encoded(asked)), &lines)
            .await;
        assert_eq!(answer.status, 303, "{asked:?}");
        let location = answer.headers.one("location").unwrap();
        assert_local(location, asked);
        assert!(!location.contains("menshen"), "{asked:?} leads to {location:?}");
        for (name, value) in &answer.headers.0 {
            assert!(
                !value.contains("evil.test") || name.eq_ignore_ascii_case("location"),
                "{name}: {value}"
            );
        }
        assert!(answer.set_cookie("x").is_none(), "{asked:?}");
    }
    for (asked, location) in [
        ("/page?a=b&c=//evil.test#d", "/page?a=b&c=//evil.test#d"),
        ("http://app.test/page", "/page"),
        ("/", "/"),
        ("/login?next=https://evil.test/", "/login?next=https://evil.test/"),
    ] {
        let answer = stage
            .get(&format!("/.menshen/login?rd={}", encoded(asked)), &lines)
            .await;
        assert_eq!(answer.headers.one("location"), Some(location), "{asked}");
    }
}

/// A parameter that is there twice is one for the gateway and another for whoever checked it before.
#[tokio::test]
async fn a_repeated_or_broken_parameter_is_a_refusal_of_the_ordinary_form() {
    let stage = Stage::plain().await;
    for query in [
        "rd=/a&rd=//evil.test",
        "connection=staff&connection=x",
        "switch=true&switch=false",
    ] {
        let answer = stage.get(&format!("/.menshen/login?{query}"), "").await;
        assert_eq!(
            answer.refusal(),
            (400, "bad_request".to_owned()),
            "{query}: {:?}",
            answer.text()
        );
        assert!(!answer.headers.has("set-cookie"), "{query}");
    }
}

#[tokio::test]
async fn a_login_leads_to_our_own_places_only() {
    let stage = Stage::plain().await;
    // What the page was opened with, what the page's script asks for, and what the browser hands back.
    for asked in [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "/.menshen/logout",
        "javascript:alert(1)",
    ] {
        let page = stage
            .get(&format!("/.menshen/login?rd={}", encoded(asked)), NAVIGATION)
            .await;
        assert_eq!(page.status, 200, "{asked}");
        let ticket = ticket_of(page);
        stage.confirm(&ticket, ALICE).await;
        let lines = format!("Cookie: {}\r\nSec-Fetch-Site: same-origin\r\n", ticket.cookies);
        let target = format!("/.menshen/tickets/{}/redeem", ticket.id);
        let redeemed = stage
            .post(HOST, &target, &lines, &serde_json::json!({ "rd": asked }))
            .await;
        assert_eq!(redeemed.status, 200, "{asked}: {}", redeemed.text());
        assert_eq!(redeemed.json()["redirect"], "/", "{asked}");
    }
    let ticket = stage.ticket("/page?a=b&c=//evil.test/%E4%B8%AD").await;
    stage.confirm(&ticket, ALICE).await;
    assert_eq!(
        stage.redeem(&ticket).await.json()["redirect"],
        "/page?a=b&c=//evil.test/%E4%B8%AD"
    );
}

/// A form whose session is gone leads back to the form, if that is ours.
#[tokio::test]
async fn a_referer_of_another_origin_is_not_where_a_login_leads() {
    let stage = Stage::plain().await;
    for (referer, leads_to) in [
        ("http://app.test/form?x=1", "/form?x=1"),
        ("http://evil.test/form", "/"),
        ("https://app.test/form", "/"),
        ("http://app.test@evil.test/", "/"),
        ("//evil.test/", "/"),
        ("http://app.test/.menshen/logout", "/"),
    ] {
        let request = format!(
            "POST /form HTTP/1.1\r\nHost: {HOST}\r\n{NAVIGATION}Referer: {referer}\r\nContent-Length: 3\r\n\r\na=b"
        );
        let page = stage.send(request).await;
        assert_eq!(page.status, 401, "{referer}");
        let ticket = ticket_of(page);
        stage.confirm(&ticket, ALICE).await;
        assert_eq!(stage.redeem(&ticket).await.json()["redirect"], leads_to, "{referer}");
    }
    assert!(stage.upstream.taken().is_empty(), "the form reached the application");
}

/// `login.answer = "redirect"`: what was asked for is data in the address of the login page.
#[tokio::test]
async fn a_redirect_to_the_login_page_is_local_whatever_was_asked_for() {
    let plan = super::stage::Plan {
        settings: "[login]\nanswer = \"redirect\"",
        ..Default::default()
    };
    let stage = Stage::start(plan).await;
    for target in [
        "//evil.test/%2f%2f".trim_end_matches("/%2f%2f"),
        "/x?y=https://evil.test",
        "///evil.test",
    ] {
        let answer = stage.get(target, NAVIGATION).await;
        assert_eq!(answer.status, 302, "{target}");
        let location = answer.headers.one("location").unwrap();
        assert!(location.starts_with("/.menshen/login?rd="), "{target}: {location}");
        assert_local(location, target);
        assert!(!answer.headers.has("set-cookie"), "{target}");
        let page = stage.get(location, NAVIGATION).await;
        assert_eq!(page.status, 200, "{target}");
    }
}
