//! Games with cookies: planted, doubled, foreign, broken, replayed (authentik CVE-2026-25748, Envoy CVE-2023-35941,
//! mod_auth_openidc CVE-2024-24814, oauth2-proxy CVE-2026-34454), and what upstreams see of them.

use serde_json::json;

use super::recorder::{Play, plain};
use super::stage::{ALICE, BOB, HOST, Plan, Stage};

#[tokio::test]
async fn own_cookies_stay_here_and_the_applications_pass_untouched() {
    let stage = Stage::plain().await;
    let session = stage.login(ALICE).await;
    for (sent, arrives) in [
        (session.clone(), None),
        (format!("a=1; {session}; b=2"), Some("a=1; b=2")),
        (
            format!("{session}; __Host-menshen=x; __Secure-menshen-ticket=x; menshen-browser=x; menshen-last=x"),
            None,
        ),
        (format!("MENSHEN-Browser=x; {session}; z=1"), Some("z=1")),
        (format!("b=\"1 ,2\"; {session}; a==; c"), Some("b=\"1 ,2\"; a==; c")),
        (
            format!("xmenshen=1; menshenx=2; {session}"),
            Some("xmenshen=1; menshenx=2"),
        ),
    ] {
        assert_eq!(
            stage.get("/page", &format!("Cookie: {sent}\r\n")).await.status,
            200,
            "{sent}"
        );
        assert_eq!(stage.upstream.only().headers.one("cookie"), arrives, "{sent}");
    }
    // Several lines are one for an HTTP/1.1 upstream.
    let lines = format!("Cookie: a=1\r\nCookie: {session}\r\nCookie: b=2; c=3\r\n");
    assert_eq!(stage.get("/page", &lines).await.status, 200);
    assert_eq!(stage.upstream.only().headers.one("cookie"), Some("a=1; b=2; c=3"));
    // Six kilobytes, in their order.
    let many: Vec<String> = (0..60).map(|number| format!("c{number}={}", "v".repeat(95))).collect();
    let many = many.join("; ");
    assert_eq!(
        stage
            .get("/page", &format!("Cookie: {many}; {session}\r\n"))
            .await
            .status,
        200
    );
    assert_eq!(stage.upstream.only().headers.one("cookie"), Some(&*many));
}

#[tokio::test]
async fn an_upstream_cannot_set_the_gateways_cookies() {
    let stage = Stage::plain().await;
    let planted = "Set-Cookie: menshen=evil\r\nSet-Cookie: __Host-menshen=evil; Secure; Path=/\r\n\
                   Set-Cookie: MENSHEN=evil\r\nSet-Cookie: menshen-browser=evil\r\nSet-Cookie: menshen-last=evil\r\n\
                   Set-Cookie: __Secure-menshen-ticket=evil; Secure\r\nSet-Cookie: =menshen=evil\r\n\
                   Set-Cookie:   menshen =evil\r\nSet-Cookie: menshen-ticket=evil; Path=/.menshen/tickets/x\r\n\
                   Set-Cookie: mine=1\r\nSet-Cookie: other=2; HttpOnly\r\n";
    for status in [200, 302, 401, 404, 500] {
        stage.upstream.on("/public/", Play::Answer(plain(status, planted, "x")));
        let answer = stage.get("/public/", "").await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.headers.all("set-cookie"),
            ["mine=1", "other=2; HttpOnly"],
            "{status}"
        );
    }
    // Early hints, and the answer to a handshake.
    let hints = format!("HTTP/1.1 103 Early Hints\r\n{planted}\r\n");
    let bytes = [hints.as_bytes(), &plain(200, "", "x")].concat();
    stage.upstream.on("/public/", Play::Answer(bytes));
    let mut wire = stage.connect().await;
    wire.send(format!(
        "GET /public/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    ))
    .await;
    let all = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(!all.contains("evil"), "{all}");
    stage.upstream.on(
        "/public/ws",
        Play::WebSocket {
            lines: planted.to_owned(),
        },
    );
    let handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let answer = stage.get("/public/ws", handshake).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.headers.all("set-cookie"), ["mine=1", "other=2; HttpOnly"]);
}

/// Whatever is wrong with a session cookie, the request is anonymous, and the cookie is taken back.
#[tokio::test]
async fn a_broken_session_cookie_is_no_session() {
    let stage = Stage::plain().await;
    let session = stage.login(ALICE).await;
    let (name, value) = session.split_once('=').unwrap();
    let mut flipped = value.to_owned();
    let middle = flipped.len() / 2;
    let replacement = if flipped.as_bytes()[middle] == b'A' { "B" } else { "A" };
    flipped.replace_range(middle..=middle, replacement);
    let other = stage.login(BOB).await;
    for cookies in [
        "menshen=".to_owned(),
        "menshen".to_owned(),
        "menshen=x".to_owned(),
        "menshen=%00%00AAAA".to_owned(),
        "menshen=null".to_owned(),
        "menshen={\"sub\":\"alice\"}".to_owned(),
        "menshen=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.".to_owned(),
        format!("{name}={flipped}"),
        format!("{name}={}", &value[..value.len() - 1]),
        format!("{name}={}", &value[1..]),
        format!("{name}={value}x"),
        format!("{name}={value}="),
        format!("{name}=\"{value}\""),
        format!("{name}={}", value.to_lowercase()),
        format!("{name}={}", "A".repeat(8000)),
        // Two that differ: nobody can say which one was planted.
        format!("{session}; menshen=x"),
        format!("menshen=x; {session}"),
        format!("{session}; {other}"),
    ] {
        let lines = format!("Cookie: {cookies}\r\n");
        let answer = stage.get("/page", &lines).await;
        assert_eq!(answer.refusal(), (401, "login_required".to_owned()), "{cookies}");
        let cleared = answer
            .set_cookie("menshen")
            .unwrap_or_else(|| panic!("{cookies} is not taken back"));
        assert!(cleared.contains("Max-Age=0"), "{cleared}");
        // On a public route it is as if there were none.
        assert_eq!(stage.get("/public/", &lines).await.status, 200, "{cookies}");
        assert!(!stage.upstream.only().headers.has("remote-user"), "{cookies}");
        assert_eq!(stage.get("/.menshen/userinfo", &lines).await.status, 401, "{cookies}");
    }
    for cookies in [
        format!("{session}; {session}"),
        format!("MENSHEN=x; {session}"),
        format!("__Host-menshen=x; {session}"),
    ] {
        assert_eq!(
            stage.get("/page", &format!("Cookie: {cookies}\r\n")).await.status,
            200,
            "{cookies}"
        );
        stage.upstream.taken();
    }
}

#[tokio::test]
async fn too_many_or_too_large_cookies_are_refused_before_anything_else() {
    let stage = Stage::plain().await;
    let many: Vec<String> = (0..300).map(|number| format!("c{number}=1")).collect();
    for cookies in [many.join("; "), format!("a={}", "x".repeat(17 * 1024))] {
        let answer = stage.get("/public/", &format!("Cookie: {cookies}\r\n")).await;
        assert_eq!(answer.refusal(), (431, "too_large".to_owned()));
    }
    let crumbs = "Cookie: a=1\r\n".repeat(230);
    assert_eq!(stage.get("/public/", &crumbs).await.status, 431);
    assert!(stage.upstream.taken().is_empty());
}

#[tokio::test]
async fn a_session_of_one_host_is_none_at_another() {
    let stage = Stage::with_sites(
        "[[sites]]\nhosts = [\"app.test\", \"alias.test\"]\nupstreams = [\"UPSTREAM\"]\n\
         [[sites]]\nhosts = [\"other.test\", \"*.other.test\"]\nupstreams = [\"UPSTREAM\"]\n",
    )
    .await;
    let session = stage.login(ALICE).await;
    for host in ["other.test", "alias.test", "x.other.test"] {
        let request = format!("GET /page HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\n\r\n");
        assert_eq!(stage.send(request).await.status, 401, "{host}");
    }
    for host in ["app.test", "APP.test.", "app.test:8080"] {
        let request = format!("GET /page HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\n\r\n");
        assert_eq!(stage.send(request).await.status, 200, "{host}");
    }
    assert_eq!(stage.upstream.taken().len(), 3);
}

/// Every cookie of the gateway is sealed for its purpose: none passes for another.
#[tokio::test]
async fn a_cookie_of_one_kind_is_not_one_of_another() {
    let stage = Stage::plain().await;
    let ticket = stage.ticket("/page").await;
    let ticket_value = ticket
        .cookies
        .split("menshen-ticket=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert_eq!(
        stage
            .get("/page", &format!("Cookie: menshen={ticket_value}\r\n"))
            .await
            .status,
        401
    );
    let session = stage.login(ALICE).await;
    let session_value = session.split_once('=').unwrap().1;
    let watch = format!("/.menshen/tickets/{}", ticket.id);
    for cookies in [
        format!("menshen-ticket={session_value}"),
        session.clone(),
        "menshen-ticket=x".to_owned(),
        String::new(),
    ] {
        let answer = stage.get(&watch, &format!("Cookie: {cookies}\r\n")).await;
        assert_eq!(answer.refusal(), (404, "ticket_unknown".to_owned()), "{cookies}");
    }
    // The cookie of one ticket does not open another.
    let second = stage.ticket("/page").await;
    let answer = stage
        .get(
            &format!("/.menshen/tickets/{}", second.id),
            &format!("Cookie: {}\r\n", ticket.cookies),
        )
        .await;
    assert_eq!(answer.refusal(), (404, "ticket_unknown".to_owned()));
    assert_eq!(
        stage
            .get(&watch, &format!("Cookie: {}\r\n", ticket.cookies))
            .await
            .status,
        200
    );
}

/// Over HTTPS a ticket belongs to the browser whose `__Host-` cookie it was made with: a sibling host can plant the one,
/// never the other.
#[tokio::test]
async fn a_ticket_of_another_browser_is_worth_nothing() {
    let stage = Stage::https().await;
    let ticket = stage.ticket("/page").await;
    let other = stage.ticket("/page").await;
    let pick = |cookies: &str, name: &str| {
        let found = cookies.split("; ").find(|pair| pair.starts_with(name));
        found.unwrap_or_else(|| panic!("{name}: {cookies}")).to_owned()
    };
    let own_ticket = pick(&ticket.cookies, "__Secure-menshen-ticket=");
    let own_browser = pick(&ticket.cookies, "__Host-menshen-browser=");
    let foreign_browser = pick(&other.cookies, "__Host-menshen-browser=");
    stage.confirm(&ticket, ALICE).await;
    let redeem = format!("/.menshen/tickets/{}/redeem", ticket.id);
    for cookies in [
        own_ticket.clone(),
        format!("{own_ticket}; {foreign_browser}"),
        format!("{own_ticket}; {own_browser}; {foreign_browser}"),
        format!("{own_ticket}; {}", own_browser.replace("__Host-", "")),
        format!("{}; {own_browser}", own_ticket.replace("__Secure-", "")),
        own_browser.clone(),
    ] {
        let lines = format!("Cookie: {cookies}\r\nSec-Fetch-Site: same-origin\r\n");
        let answer = stage.post(HOST, &redeem, &lines, &json!({})).await;
        assert_eq!(answer.refusal(), (404, "ticket_unknown".to_owned()), "{cookies}");
        let watched = stage.get(&format!("/.menshen/tickets/{}", ticket.id), &lines).await;
        assert_eq!(watched.status, 404, "{cookies}");
    }
    let redeemed = stage.redeem(&ticket).await;
    assert_eq!(redeemed.status, 200, "{}", redeemed.text());
    for line in redeemed.headers.all("set-cookie") {
        assert!(
            line.contains("HttpOnly") && line.contains("Secure") && line.contains("SameSite="),
            "{line}"
        );
        assert!(!line.to_lowercase().contains("domain"), "{line}");
    }
    // Over HTTPS only the prefixed name is read.
    let session = redeemed.cookie("__Host-menshen").unwrap();
    let bare = session.replace("__Host-", "");
    assert_eq!(stage.get("/page", &format!("Cookie: {session}\r\n")).await.status, 200);
    assert_eq!(stage.get("/page", &format!("Cookie: {bare}\r\n")).await.status, 401);
}

/// Session fixation, and what a logout leaves (authentik CVE-2025-29928).
#[tokio::test]
async fn a_login_makes_a_new_session_and_ends_the_old_and_a_logout_is_final() {
    let stage = Stage::plain().await;
    let first = stage.login(BOB).await;
    let ticket = stage.ticket("/page").await;
    stage.confirm(&ticket, ALICE).await;
    let lines = format!("Cookie: {first}; {}\r\nSec-Fetch-Site: same-origin\r\n", ticket.cookies);
    let target = format!("/.menshen/tickets/{}/redeem", ticket.id);
    let redeemed = stage.post(HOST, &target, &lines, &json!({})).await;
    let second = redeemed.cookie("menshen").unwrap();
    assert_ne!(first, second);
    assert_eq!(stage.get("/page", &format!("Cookie: {first}\r\n")).await.status, 401);
    let second_lines = format!("Cookie: {second}\r\n");
    assert_eq!(stage.get("/page", &second_lines).await.status, 200);
    // The ticket is used up: with the session that came of it the same answer, for everybody else none.
    let again = stage.post(HOST, &target, &lines, &json!({})).await;
    assert_eq!(again.status, 409, "{}", again.text());
    let logout = format!("{second_lines}Sec-Fetch-Site: same-origin\r\n");
    let answer = stage.post(HOST, "/.menshen/logout", &logout, &json!({})).await;
    assert_eq!(answer.status, 303);
    assert!(answer.set_cookie("menshen").unwrap().contains("Max-Age=0"));
    let replayed = stage.get("/page", &second_lines).await;
    assert_eq!(replayed.status, 401);
}

/// The absolute end never moves, the idle end does, and only where nobody else keeps the answer.
#[tokio::test]
async fn a_renewed_cookie_is_on_no_answer_that_a_shared_cache_may_keep() {
    let plan = Plan {
        settings: "[session]\nidle_timeout = \"1h\"",
        ..Plan::default()
    };
    let stage = Stage::start(plan).await;
    let session = stage.login(ALICE).await;
    stage.world.clock.advance(600);
    let lines = format!("Cookie: {session}\r\n");
    for (target, cache_control, renews) in [
        ("/page", "", true),
        ("/page", "Cache-Control: no-store\r\n", true),
        ("/page", "Cache-Control: private, max-age=60\r\n", true),
        ("/page", "Cache-Control: public, max-age=60\r\n", true),
        ("/public/", "Cache-Control: public, max-age=60\r\n", false),
        ("/public/", "Cache-Control: s-maxage=60\r\n", false),
        ("/public/", "Cache-Control: max-age=60\r\n", false),
        ("/public/", "Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n", false),
        ("/public/", "", true),
    ] {
        stage.upstream.on(target, Play::Answer(plain(200, cache_control, "x")));
        let answer = stage.get(target, &lines).await;
        assert_eq!(
            answer.set_cookie("menshen").is_some(),
            renews,
            "{target} {cache_control:?}"
        );
        let cached = answer.headers.all("cache-control").join(",");
        if target == "/page" {
            assert!(
                !cached.contains("public") && !cached.contains("s-maxage"),
                "{cache_control:?}: {cached}"
            );
        }
    }
}
