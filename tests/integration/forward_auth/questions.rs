//! `/.menshen/verify` itself, asked as outer proxies ask.

use super::plan;
use crate::support::wire::{Request, Wire};
use crate::support::{Answer, Browser, World};

/// What nginx asks about a request of this browser.
fn nginx(browser: &Browser<'_>, method: &str, target: &str) -> Request {
    let url = format!("{}{target}", browser.world.origin(&browser.host));
    forgotten(browser, method)
        .header("X-Original-URL", &url)
        .header("X-Original-Method", method)
}

/// What Traefik and Caddy ask.
fn forwarded(browser: &Browser<'_>, query: &str, method: &str, target: &str) -> Request {
    let mut request = forgotten(browser, method)
        .header("X-Forwarded-Method", method)
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", &browser.world.authority(&browser.host))
        .header("X-Forwarded-Uri", target);
    request.target.push_str(query);
    request
}

/// The client's headers as a proxy copies them, at the address that the proxy knows.
fn forgotten(browser: &Browser<'_>, method: &str) -> Request {
    let copied = if method == "GET" {
        browser.navigation("GET", "/.menshen/verify")
    } else {
        browser.script("GET", "/.menshen/verify")
    };
    copied
        .without("Host")
        .header("Host", "menshen.internal:8080")
        .header("X-Forwarded-For", "198.51.100.4")
}

async fn ask(world: &World, request: &Request) -> Answer {
    let answer = Wire::open(world.address).await.send(request).await;
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!answer.head().contains("spoofed"), "{}", answer.head());
    answer
}

#[tokio::test]
async fn a_question_is_answered_by_the_rules_of_the_site() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let login = format!("{}/.menshen/login?rd=%2Freports%3Fq%3D1", world.origin("wiki.test"));
    for question in [
        nginx(&browser, "GET", "/reports?q=1"),
        forwarded(&browser, "?from=forwarded", "GET", "/reports?q=1"),
    ] {
        let answer = ask(&world, &question).await.expect(401);
        assert_eq!(answer.header("location"), Some(login.as_str()));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"menshen\""));
        assert_eq!(answer.header("set-cookie"), None);
    }
    ask(&world, &nginx(&browser, "GET", "/closed/x")).await.expect(403);
    // On a public route the application must not believe what the client wrote.
    let public = ask(&world, &nginx(&browser, "GET", "/public/x")).await.expect(200);
    for name in ["remote-user", "remote-groups", "remote-phone", "x-menshen-assertion"] {
        assert_eq!(public.header(name), Some(""), "{name}");
    }

    browser.log_in("lilei").await;
    for target in ["/reports", "/public/x"] {
        for method in ["GET", "HEAD", "DELETE"] {
            let answer = ask(&world, &nginx(&browser, method, target)).await.expect(200);
            let user = answer.header("remote-user").unwrap_or_default().to_owned();
            assert!(user.starts_with("u_"), "{user}");
            assert_eq!(answer.header("remote-email"), Some(""));
            let assertion = answer.header("x-menshen-assertion").unwrap_or_default();
            assert_eq!(assertion.split('.').count(), 3, "{assertion}");
            assert!(answer.body.is_empty());
        }
    }
    ask(&world, &nginx(&browser, "GET", "/closed/x")).await.expect(403);
    assert!(world.upstream.requests().is_empty());
}

#[tokio::test]
async fn only_a_navigation_is_redirected_and_only_on_request() {
    let world = plan().start().await;
    let browser = world.browser();
    for (query, method, status) in [
        ("?redirect=true", "GET", 302),
        ("?from=forwarded&redirect=true", "GET", 302),
        ("?redirect=false", "GET", 401),
        ("", "GET", 401),
        ("?redirect=true", "PUT", 401),
    ] {
        let answer = ask(&world, &forwarded(&browser, query, method, "/a")).await;
        let answer = answer.expect(status);
        let login = format!("{}/.menshen/login?rd=%2Fa", world.origin("wiki.test"));
        assert_eq!(answer.header("location"), Some(login.as_str()), "{query} {method}");
    }
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_is_told_nothing() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    for question in [
        nginx(&browser, "GET", "/public/x"),
        nginx(&browser, "GET", "/"),
        forwarded(&browser, "", "GET", "/public/x"),
        forwarded(&browser, "?nonsense", "GET", "/public/x"),
    ] {
        let answer = ask(&world, &question).await.refused(403, "forbidden");
        assert_eq!(answer.header("remote-user"), None);
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_400_even_with_a_session() {
    let world = plan().start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let whole = |target| nginx(&browser, "GET", target);
    let origin = world.origin("wiki.test");
    let url = |url: &str| {
        forgotten(&browser, "GET")
            .header("X-Original-Method", "GET")
            .header("X-Original-URL", url)
    };
    let mut unknown = whole("/");
    unknown.target.push_str("?allowed_groups=");
    for question in [
        forgotten(&browser, "GET"),
        whole("/").without("X-Original-Method"),
        whole("/").without("X-Original-URL"),
        whole("/").header("X-Original-URL", &format!("{origin}/public/x")),
        whole("/secret").header("X-Forwarded-Uri", "/public/x"),
        whole("/secret").header("X-Forwarded-Host", "wiki.test"),
        forwarded(&browser, "", "GET", "/secret").header("X-Original-URL", "http://wiki.test/public/x"),
        forwarded(&browser, "?from=nginx", "GET", "/secret").header("X-Original-URL", "http://wiki.test/public/x"),
        forwarded(&browser, "", "GET", "/secret").without("X-Forwarded-Proto"),
        forwarded(&browser, "", "GET", "/secret").without("X-Forwarded-Host"),
        unknown,
        whole("/public/..;/secret"),
        whole("/public/%2e%2e/secret"),
        whole("/public/..%2fsecret"),
        whole("/secret#/public/"),
        whole("/.Menshen/login"),
        url("/public/x"),
        url("http://elsewhere.test/public/x"),
        url("http://wiki.test@elsewhere.test/public/x"),
        url("http://login.test.:80:80/"),
    ] {
        let answer = ask(&world, &question).await.expect(400);
        assert_eq!(answer.header("remote-user"), None, "{}", question.target);
    }
}

#[tokio::test]
async fn menshens_own_pages_are_never_allowed_through_a_question() {
    let world = plan().start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    for target in [
        "/.menshen/verify",
        "/.menshen/",
        "/.menshen",
        "/.menshen/assets/x.css",
        "/.menshen/login?rd=/",
    ] {
        ask(&world, &nginx(&browser, "GET", target)).await.expect(403);
    }
    let portal = Request::new("GET", "/.menshen/verify")
        .header("Host", "x")
        .header("X-Original-Method", "GET")
        .header("X-Original-URL", &format!("{}/", world.origin("login.test")));
    ask(&world, &portal).await.expect(403);
    for path in [
        "/.menshen/verify/",
        "/.menshen/verify/x",
        "/.menshen/verifyx",
        "/.menshen//verify",
        "//.menshen/verify",
        "/.menshen/%76erify",
    ] {
        let mut question = nginx(&browser, "GET", "/").without("Host").header("Host", "wiki.test");
        question.target = path.to_owned();
        ask(&world, &question).await.expect(404);
    }
}

#[tokio::test]
async fn a_session_is_renewed_by_the_answer_and_a_dead_cookie_is_cleared() {
    let world = plan().set("session.idle_timeout", "10h").start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    assert_eq!(
        ask(&world, &nginx(&browser, "GET", "/")).await.header("set-cookie"),
        None
    );
    world.advance(2 * 3600);
    world.ready().await;
    let public = ask(&world, &nginx(&browser, "GET", "/public/x")).await.expect(200);
    assert_eq!(public.header("set-cookie"), None);
    let renewed = ask(&world, &nginx(&browser, "GET", "/")).await.expect(200);
    assert!(renewed.set_cookie("menshen").is_some());
    let old = browser.cookie("menshen").map(str::to_owned);
    browser.keep(&renewed);
    assert_ne!(browser.cookie("menshen"), old.as_deref());
    world.advance(11 * 3600);
    world.ready().await;
    let ended = ask(&world, &nginx(&browser, "GET", "/")).await.expect(401);
    assert!(
        ended
            .set_cookie("menshen")
            .is_some_and(|line| line.contains("Max-Age=0"))
    );
}

#[tokio::test]
async fn a_web_socket_from_a_foreign_origin_does_not_pass_by_cookie() {
    let world = plan().start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let own = world.origin("wiki.test");
    for (origin, status) in [(own.as_str(), 200), ("https://evil.test", 403)] {
        let question = nginx(&browser, "GET", "/live")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13")
            .header("Origin", origin);
        ask(&world, &question).await.expect(status);
    }
}
