//! Acting for a person whose browser holds the cookie (bitly CVE-2017-1000069, Envoy CVE-2023-27496): unsafe calls come
//! from a page of this very origin, and nobody else may read an answer.

use serde_json::json;

use super::stage::{ALICE, HOST, NAVIGATION, Stage};

/// Everything that a browser could say about where a call comes from, and whether that is here.
const FROM: &[(&str, bool)] = &[
    ("Sec-Fetch-Site: same-origin\r\n", true),
    ("Sec-Fetch-Site: same-origin\r\nOrigin: http://app.test\r\n", true),
    ("Origin: http://app.test\r\n", true),
    ("", false),
    ("Sec-Fetch-Site: same-site\r\n", false),
    ("Sec-Fetch-Site: cross-site\r\n", false),
    ("Sec-Fetch-Site: none\r\n", false),
    ("Sec-Fetch-Site: Same-Origin\r\n", false),
    ("Sec-Fetch-Site: same-origin, cross-site\r\n", false),
    ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n", false),
    ("Sec-Fetch-Site: cross-site\r\nOrigin: http://app.test\r\n", false),
    ("Origin: null\r\n", false),
    ("Origin: https://app.test\r\n", false),
    ("Origin: http://app.test:81\r\n", false),
    ("Origin: http://app.test:80\r\n", false),
    ("Origin: http://app.test.evil.test\r\n", false),
    ("Origin: http://evil.test\r\n", false),
    ("Origin: http://APP.TEST\r\n", false),
    ("Origin: http://app.test/\r\n", false),
    ("Origin: http://x.app.test\r\n", false),
    ("Origin: http://app.test http://evil.test\r\n", false),
    ("Origin: http://app.test\r\nOrigin: http://evil.test\r\n", false),
    ("Referer: http://app.test/page\r\n", false),
    ("X-Requested-With: XMLHttpRequest\r\n", false),
];

#[tokio::test]
async fn unsafe_calls_by_cookie_come_from_this_origin() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let ticket = stage.ticket("/page").await;
    let cookies = format!("Cookie: {cookie}; {}\r\n", ticket.cookies);
    for (lines, here) in FROM {
        let lines = format!("{cookies}{lines}");
        let create = json!({ "connection": "staff", "rd": "/" });
        let created = stage.post(HOST, "/.menshen/tickets", &lines, &create).await;
        let redeem = format!("/.menshen/tickets/{}/redeem", ticket.id);
        let redeemed = stage.post(HOST, &redeem, &lines, &json!({})).await;
        if *here {
            assert_eq!(created.status, 201, "{lines}");
            assert_eq!(redeemed.refusal(), (409, "wrong_state".to_owned()), "{lines}");
            continue;
        }
        let refused = (403, "cross_origin".to_owned());
        assert_eq!(created.refusal(), refused, "{lines}");
        assert!(!created.headers.has("set-cookie"), "{lines}");
        assert_eq!(redeemed.refusal(), refused, "{lines}");
        for call in [
            format!("/.menshen/tickets/{}/cancel", ticket.id),
            "/.menshen/logout".to_owned(),
        ] {
            assert_eq!(
                stage.post(HOST, &call, &lines, &json!({})).await.refusal(),
                refused,
                "{call} {lines}"
            );
        }
    }
    // Nothing of all that ended the session or the ticket.
    assert_eq!(stage.get("/page", &cookies).await.status, 200);
    let status = stage.get(&format!("/.menshen/tickets/{}", ticket.id), &cookies).await;
    assert_eq!(status.json()["status"], "pending");
}

/// An image whose address is the logout.
#[tokio::test]
async fn reading_changes_nothing() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let lines = format!("{NAVIGATION}Cookie: {cookie}\r\n");
    for method in ["GET", "HEAD"] {
        for target in [
            "/.menshen/logout",
            "/.menshen/logout?everywhere=true",
            "/.menshen/logout?done",
            "/.menshen/login?switch=true",
        ] {
            let answer = stage
                .send(format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
                .await;
            assert!(answer.set_cookie("menshen").is_none(), "{method} {target}: {answer:?}");
        }
    }
    // Phones talk to the public host: elsewhere these would be unknown by whatever method.
    let portal = stage.world.authority(super::stage::PORTAL);
    for (host, target) in [
        (HOST, "/.menshen/tickets"),
        (&*portal, "/.menshen/phone/scan"),
        (&*portal, "/.menshen/phone/confirm"),
        (&*portal, "/.menshen/phone/cancel"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = stage
                .send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"))
                .await;
            assert!([404, 405].contains(&answer.status), "{method} {target}: {answer:?}");
        }
    }
    assert_eq!(stage.get("/page", &lines).await.status, 200);
}

/// A form of another site can send text, never JSON.
#[tokio::test]
async fn json_is_read_with_its_content_type_only() {
    let stage = Stage::plain().await;
    let body = r#"{"connection":"staff"}"#;
    for content_type in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/json",
        "",
    ] {
        let request = format!(
            "POST /.menshen/tickets HTTP/1.1\r\nHost: {HOST}\r\nSec-Fetch-Site: same-origin\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(
            stage.send(request).await.refusal(),
            (400, "bad_request".to_owned()),
            "{content_type}"
        );
        let scan = r#"{"scene":"x","code":"y"}"#;
        let portal = stage.world.authority(super::stage::PORTAL);
        let request = format!(
            "POST /.menshen/phone/scan HTTP/1.1\r\nHost: {portal}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{scan}",
            scan.len()
        );
        assert_eq!(
            stage.send(request).await.refusal(),
            (400, "bad_request".to_owned()),
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn no_other_origin_reads_an_answer_of_the_portal() {
    let stage = Stage::plain().await;
    let ticket = stage.ticket("/page").await;
    let portal = stage.world.authority(super::stage::PORTAL);
    for origin in ["https://spa.test", "http://evil.test", "null", "http://app.test"] {
        let lines = format!("Origin: {origin}\r\nCookie: {}\r\n", ticket.cookies);
        for target in [
            "/.menshen/login".to_owned(),
            "/.menshen/userinfo".to_owned(),
            format!("/.menshen/tickets/{}", ticket.id),
            format!("/.menshen/tickets/{}/qr", ticket.id),
            "/secret".to_owned(),
        ] {
            let answer = stage.get(&target, &lines).await;
            assert!(!answer.headers.has("access-control-allow-origin"), "{origin} {target}");
        }
        let scan = json!({ "scene": "x", "code": "y" });
        let answer = stage.post(&portal, "/.menshen/phone/scan", &lines, &scan).await;
        assert!(!answer.headers.has("access-control-allow-origin"), "{origin}");
        assert!(!answer.headers.has("set-cookie"), "{origin}");
    }
    // Where the route lists the origin, a script reads why it was refused, and nobody else does.
    for (origin, listed) in [
        ("https://spa.test", true),
        ("https://spa.test:8443", false),
        ("null", false),
    ] {
        let answer = stage.get("/api/x", &format!("Origin: {origin}\r\n")).await;
        assert_eq!(answer.refusal(), (401, "login_required".to_owned()));
        let allowed = answer.headers.one("access-control-allow-origin");
        assert_eq!(allowed, listed.then_some(origin));
        assert_eq!(answer.headers.has("access-control-allow-credentials"), listed);
    }
}

/// The phone's calls are for one host, so that no application's origin can make them look like its own.
#[tokio::test]
async fn the_phone_is_answered_at_the_public_host_only() {
    let stage = Stage::plain().await;
    let ticket = stage.ticket("/page").await;
    let code = stage.world.sandbox.login_code(stage.world.app_id(), ALICE).unwrap();
    let scan = json!({ "scene": ticket.id, "code": code });
    for host in [HOST, "other.test"] {
        assert_eq!(
            stage.post(host, "/.menshen/phone/scan", "", &scan).await.refusal(),
            (404, "not_found".to_owned())
        );
    }
}
