//! A login in a window of its own: whom it tells its end, and what keeps the two windows together.

use crate::support::browser::between;
use crate::support::world::{PUBLIC_HOST, Plan, SITE};
use crate::support::{Answer, Browser, World};

const SPA: &str = "https://spa.example.com";

fn with_spa(plan: Plan) -> Plan {
    plan.set("sites.0.routes.0.cors_origins", vec![SPA])
}

fn opener_policy(answer: &Answer) -> &str {
    answer.header("cross-origin-opener-policy").expect("a policy")
}

fn login(origin: &str) -> String {
    format!("/.menshen/login?popup={}", urlencoded(origin))
}

fn urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Whom the last page tells.
fn told(page: &Answer) -> String {
    let html = page.text();
    let config = between(&html, "<script type=\"application/json\" id=\"menshen\">", "</script>").expect("a page");
    let config: serde_json::Value = serde_json::from_str(config).unwrap();
    config["origin"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_window_ends_where_its_opener_is_told() {
    let world = with_spa(World::plan()).start().await;
    for origin in [SPA.to_owned(), world.origin(SITE)] {
        let mut browser = world.browser();
        let answer = open_from(&mut browser, &origin, &login(&origin)).await.expect(200);
        assert_eq!(opener_policy(&answer), "unsafe-none");
        let page = answer.login_page();
        let plain = format!("/.menshen/tickets/{}/page", page.ticket);
        let own = world.origin(SITE);
        let looked = open_from(&mut browser, &own, &plain).await.expect(200);
        assert_eq!(opener_policy(&looked), "unsafe-none");
        let redeemed = browser.finish_login(&page, "lilei").await.expect(200).json();
        let target = redeemed["redirect"].as_str().unwrap().to_owned();
        assert!(target.starts_with("/.menshen/popup?origin="), "{target}");
        let done = open_from(&mut browser, &own, &target).await.expect(200);
        assert_eq!((told(&done), opener_policy(&done)), (origin.clone(), "unsafe-none"));
        let html = done.text();
        assert!(!html.contains("lilei") && !html.contains("u_"), "it says no name");
        // Who is signed in already is there at once.
        let again = open_from(&mut browser, &origin, &login(&origin)).await.expect(303);
        assert_eq!(again.header("location"), Some(&*target));
        // A redirect hands on who opened the window.
        assert_eq!(again.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
        let done = open_from(&mut browser, &origin, &target).await.expect(200);
        assert_eq!(opener_policy(&done), "unsafe-none");
    }
    // Every other page stays alone with itself.
    let answer = world.browser().open("/.menshen/login?rd=/").await.expect(200);
    assert_eq!(opener_policy(&answer), "same-origin");
}

#[tokio::test]
async fn nobody_else_is_told() {
    let world = with_spa(World::plan()).start().await;
    let mut browser = world.browser();
    for origin in [
        "https://evil.test",
        "*",
        "null",
        "",
        "https://spa.example.com/",
        "https://spa.example.com:8443",
        "http://spa.example.com",
        "https://spa.example.com.evil.test",
    ] {
        browser.open(&login(origin)).await.refused_page(400);
    }
    browser.log_in("lilei").await;
    for origin in ["https://evil.test", "*", ""] {
        let made = format!("/.menshen/popup?origin={}", urlencoded(origin));
        browser.open(&made).await.refused_page(400);
    }
    browser.open("/.menshen/popup").await.refused_page(400);
    // Without a session there is nothing to tell yet.
    let mut stranger = world.browser();
    let sent = stranger
        .open(&format!("/.menshen/popup?origin={}", urlencoded(SPA)))
        .await
        .expect(303);
    assert_eq!(
        sent.header("location"),
        Some("/.menshen/login?popup=https%3A%2F%2Fspa%2Eexample%2Ecom")
    );
    // The page is no way around what `rd` may be.
    let page = stranger
        .open("/.menshen/login?rd=/.menshen/popup?origin=https://evil.test")
        .await
        .expect(200)
        .login_page();
    let redeemed = stranger.finish_login(&page, "lilei").await.expect(200).json();
    let target = redeemed["redirect"].as_str().unwrap();
    stranger.open(target).await.refused_page(400);
}

/// Whoever names an origin that is not their own keeps no hold on the window.
#[tokio::test]
async fn a_window_that_somebody_else_opened_knows_no_opener() {
    let world = with_spa(World::plan()).start().await;
    let mut browser = world.browser();
    let strangers = [
        None,
        Some("https://evil.test"),
        Some("null"),
        Some("https://spa.example.com.evil.test"),
        Some("http://spa.example.com"),
        Some("https://spa.example.com:8443"),
    ];
    for stranger in strangers {
        let answer = match stranger {
            Some(origin) => open_from(&mut browser, origin, &login(SPA)).await,
            None => browser.open(&login(SPA)).await,
        };
        assert_eq!(opener_policy(&answer.expect(200)), "same-origin", "{stranger:?}");
        // Nor by naming the page that tells it.
        let made = format!("/.menshen/login?rd=/.menshen/popup%3Forigin={}", urlencoded(SPA));
        let answer = match stranger {
            Some(origin) => open_from(&mut browser, origin, &made).await,
            None => browser.open(&made).await,
        };
        assert_eq!(opener_policy(&answer.expect(200)), "same-origin", "{stranger:?}");
    }
    browser.log_in("lilei").await;
    let done = format!("/.menshen/popup?origin={}", urlencoded(SPA));
    for stranger in strangers {
        let answer = match stranger {
            Some(origin) => open_from(&mut browser, origin, &done).await,
            None => browser.open(&done).await,
        };
        assert_eq!(opener_policy(&answer.expect(200)), "same-origin", "{stranger:?}");
    }
}

#[tokio::test]
async fn a_window_knows_its_opener_through_single_sign_on() {
    let world = with_spa(World::plan_https().set("login.single_sign_on", true))
        .start()
        .await;
    let (mut wiki, mut portal) = (world.browser(), world.browser_at(PUBLIC_HOST));
    let sent = open_from(&mut wiki, SPA, &login(SPA)).await.expect(303);
    assert_eq!(sent.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    let location = sent.header("location").unwrap();
    let stranger = follow(&mut portal, "https://evil.test", location).await.expect(200);
    assert_eq!(opener_policy(&stranger), "same-origin");
    let page = follow(&mut portal, SPA, location).await.expect(200);
    assert_eq!(opener_policy(&page), "unsafe-none");
    // The page at the other host has to say where it comes from.
    assert_eq!(page.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    let page = page.login_page();
    let redeemed = portal.finish_login(&page, "lilei").await.expect(200).json();
    let code = redeemed["redirect"].as_str().unwrap();
    assert!(code.starts_with(&world.origin(SITE)), "{code}");
    let public = world.origin(PUBLIC_HOST);
    let taken = follow(&mut wiki, &public, code).await.expect(303);
    assert_eq!(taken.header("referrer-policy"), Some("strict-origin-when-cross-origin"));
    let done = follow(&mut wiki, &public, taken.header("location").unwrap())
        .await
        .expect(200);
    assert_eq!((told(&done).as_str(), opener_policy(&done)), (SPA, "unsafe-none"));
    // A second window needs no login.
    let sent = wiki.open(&login(SPA)).await.expect(303);
    assert!(sent.header("location").unwrap().starts_with("/.menshen/popup?"));
}

/// A page of this origin opens it: the browser says no more of it than that.
async fn open_from(browser: &mut Browser<'_>, origin: &str, target: &str) -> Answer {
    let referer = if origin == "null" {
        origin.to_owned()
    } else {
        format!("{origin}/")
    };
    let request = browser
        .navigation("GET", target)
        .header("Sec-Fetch-Site", "cross-site")
        .header("Referer", &referer);
    browser.send(request).await
}

async fn follow(browser: &mut Browser<'_>, from: &str, location: &str) -> Answer {
    let target = match location.strip_prefix(&browser.world.origin(&browser.host)) {
        Some(path) => path,
        None => location,
    };
    open_from(browser, from, target).await
}
