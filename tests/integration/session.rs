//! What a browser holds after a login: the cookie, its limits and its ends.

use futures_util::future::join_all;

use crate::support::browser::{Browser, Cookie};
use crate::support::upstream::answer;
use crate::support::world::{PUBLIC_HOST, SITE};
use crate::support::{Answer, World};

#[tokio::test]
async fn over_http_the_cookies_have_plain_names_and_no_domain() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let path = format!("/.menshen/tickets/{}", page.ticket);
    assert_eq!(
        attributes(&page.answer, "menshen-ticket"),
        format!("HttpOnly; SameSite=Lax; Path={path}; Max-Age=900")
    );
    assert_eq!(
        attributes(&page.answer, "menshen-browser"),
        "HttpOnly; SameSite=Lax; Path=/; Max-Age=31536000"
    );
    let redeemed = browser.finish_login(&page, "lilei").await.expect(200);
    assert_eq!(
        attributes(&redeemed, "menshen"),
        "HttpOnly; SameSite=Lax; Path=/; Max-Age=1209600"
    );
    assert!(redeemed.set_cookie("menshen").unwrap().len() < 3_800);
    browser.open("/").await.expect(200);
    assert_eq!(world.upstream.last().header("cookie"), None);
}

#[tokio::test]
async fn over_https_the_cookies_are_bound_to_host_and_scheme() {
    let world = World::plan_https().start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let path = format!("/.menshen/tickets/{}", page.ticket);
    assert_eq!(
        attributes(&page.answer, "__Secure-menshen-ticket"),
        format!("HttpOnly; SameSite=Lax; Secure; Path={path}; Max-Age=900")
    );
    let redeemed = browser.finish_login(&page, "lilei").await.expect(200);
    assert_eq!(
        attributes(&redeemed, "__Host-menshen"),
        "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=1209600"
    );
    browser.open("/").await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(
        seen.header("x-forwarded-for").as_deref(),
        Some("198.51.100.4, 127.0.0.1")
    );

    // Only the prefixed name is read: any sibling host could have set the other.
    let value = browser.cookie("__Host-menshen").unwrap().to_owned();
    let mut sibling = world.browser();
    sibling.cookies.push(root("menshen", &value));
    sibling.open("/").await.expect(401);
    // A ticket without the browser's own cookie is another browser's.
    browser.cookies.retain(|cookie| cookie.name != "__Host-menshen-browser");
    browser.redeem(&page).await.refused(404, "ticket_unknown");
}

#[tokio::test]
async fn over_https_no_session_is_served_to_a_request_in_the_clear() {
    let world = World::plan_https().start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let plain = browser.navigation("GET", "/a?b").header("Sec-Fetch-Site", "none");
    let plain = plain.without("X-Forwarded-Proto");
    let answer = world.send(&plain).await;
    assert!(matches!(answer.status, 301 | 302 | 307 | 308), "{}", answer.head());
    assert_eq!(answer.header("location"), Some(&*format!("https://{SITE}/a?b")));
    let script = browser.script("GET", "/").without("X-Forwarded-Proto");
    world.send(&script).await.refused(401, "login_required");
    assert_eq!(world.upstream.requests().len(), 0);
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_at_its_absolute_end() {
    let world = World::plan()
        .set("session.idle_timeout", "1h")
        .set("session.lifetime", "3h")
        .set("session.store_outage", "1d")
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let first = browser.cookies.clone();

    // Not before a tenth of the limit has passed.
    world.advance(5 * 60);
    assert!(browser.open("/").await.expect(200).set_cookie("menshen").is_none());
    for minutes in [50, 55, 55] {
        world.advance(minutes * 60);
        let renewed = browser.open("/").await.expect(200);
        assert!(renewed.set_cookie("menshen").is_some(), "{minutes}: {}", renewed.head());
    }
    // 165 minutes old: the cookie of the beginning is long idle, the renewed one lives.
    let mut idle = world.browser();
    idle.cookies = first;
    assert!(
        idle.open("/")
            .await
            .expect(401)
            .set_cookie("menshen")
            .unwrap()
            .contains("Max-Age=0")
    );
    let left = browser.open("/").await.expect(200);
    assert!(left.set_cookie("menshen").is_none());
    world.advance(14 * 60);
    let last = browser.open("/").await.expect(200);
    let (_, left) = last.set_cookie("menshen").unwrap().rsplit_once("Max-Age=").unwrap();
    assert!(
        (1..=60).contains(&left.parse::<i64>().unwrap()),
        "the absolute end never moves: {left}"
    );
    world.advance(70);
    browser.open("/").await.expect(401);
}

#[tokio::test]
async fn a_session_is_renewed_only_where_no_shared_cache_may_keep_the_answer() {
    let world = World::plan().set("session.idle_timeout", "1h").start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    world.advance(20 * 60);
    let shared = answer(200, &[("Cache-Control", "public, max-age=60")], "x");
    world.upstream.respond(shared);
    let public = browser.open("/public/logo").await.expect(200);
    assert!(public.set_cookie("menshen").is_none(), "{}", public.head());
    assert_eq!(public.header("cache-control"), Some("public, max-age=60"));
    // Behind the login the same answer is made private, and may carry the cookie.
    let private = browser.open("/page").await.expect(200);
    assert!(
        !private.header("cache-control").unwrap().contains("public"),
        "{}",
        private.head()
    );
    assert!(private.set_cookie("menshen").is_some());
}

#[tokio::test]
async fn a_public_route_shows_who_came_and_lets_everybody_pass() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.open("/public/a").await.expect(200);
    assert_eq!(world.upstream.last().header("remote-user"), None);
    assert_eq!(world.upstream.last().header("x-menshen-assertion"), None);
    browser.log_in("lilei").await;
    browser.open("/public/a").await.expect(200);
    assert!(world.upstream.last().header("remote-user").is_some());
}

#[tokio::test]
async fn a_forged_cookie_is_refused_and_cleared_without_a_word_to_the_store() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let good = browser.cookie("menshen").unwrap().to_owned();
    let mut store = world.watch_store().await;
    store.break_store().await;
    let flipped = |at: usize| {
        let with = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{with}{}", &good[..at], &good[at + 1..])
    };
    let other = browser.cookie("menshen-last").unwrap().to_owned();
    let forged = [
        flipped(0),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
        good[..good.len() - 4].to_owned(),
        format!("{good}AAAA"),
        "x".to_owned(),
        String::new(),
        other,
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
    ];
    for value in forged {
        let mut thief = world.browser();
        thief.cookies.push(root("menshen", &value));
        let answer = thief.fetch("GET", "/").await.refused(401, "login_required");
        assert!(
            answer
                .set_cookie("menshen")
                .is_some_and(|line| line.contains("Max-Age=0")),
            "{value:.12}"
        );
    }
    store.mend_store().await;
    browser.open("/").await.expect(200);
}

#[tokio::test]
async fn two_different_cookies_are_both_refused_and_cleared() {
    let world = World::start().await;
    let (mut one, mut two) = (world.browser(), world.browser());
    one.log_in("lilei").await;
    two.log_in("hanmeimei").await;
    let mut both = world.browser();
    both.cookies.push(root("menshen", one.cookie("menshen").unwrap()));
    both.cookies.push(root("menshen", two.cookie("menshen").unwrap()));
    let refused = both.fetch("GET", "/").await.refused(401, "login_required");
    assert!(refused.set_cookie("menshen").unwrap().contains("Max-Age=0"));
    one.open("/").await.expect(200);
}

#[tokio::test]
async fn a_session_is_good_for_the_host_that_it_was_made_on() {
    let world = World::plan()
        .set("sites.0.hosts", vec![SITE, "other.test"])
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let mut other = world.browser_at("other.test");
    other.cookies.push(root("menshen", browser.cookie("menshen").unwrap()));
    other.fetch("GET", "/").await.refused(401, "login_required");
}

#[tokio::test]
async fn a_login_makes_a_new_session_and_ends_the_one_before() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let mut before = world.browser();
    before.cookies = browser.cookies.clone();
    let page = browser
        .open("/.menshen/login?switch=true")
        .await
        .expect(200)
        .login_page();
    browser.finish_login(&page, "lilei").await.expect(200);
    assert_ne!(browser.cookie("menshen"), before.cookie("menshen"));
    before.fetch("GET", "/").await.refused(401, "login_required");
    browser.open("/").await.expect(200);
}

#[tokio::test]
async fn signing_out_is_asked_for_by_get_and_done_by_post() {
    let world = World::plan()
        .set("sites.0.app_cookies", vec!["PHPSESSID", "legacy"])
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let session = browser.cookie("menshen").unwrap().to_owned();
    let asked = browser.open("/.menshen/logout").await.expect(200);
    assert!(
        asked.text().contains("method=\"post\" action=\"/.menshen/logout\""),
        "{}",
        asked.text()
    );
    browser.open("/").await.expect(200);

    let attack = browser
        .navigation("POST", "/.menshen/logout")
        .header("Sec-Fetch-Site", "cross-site");
    let attack = attack.header("Origin", "https://evil.example");
    world.send(&attack).await.expect(403);
    let bare = browser
        .script("POST", "/.menshen/logout")
        .without("Sec-Fetch-Site")
        .without("Origin");
    world.send(&bare).await.refused(403, "cross_origin");
    let sibling = bare.header("Origin", &format!("http://{SITE}:1"));
    world.send(&sibling).await.refused(403, "cross_origin");
    browser.open("/").await.expect(200);

    let done = browser.submit("/.menshen/logout", &[]).await.expect(303);
    assert_eq!(done.header("location"), Some("/.menshen/logout?done"));
    for name in ["menshen", "PHPSESSID", "legacy"] {
        assert!(
            done.set_cookie(name).is_some_and(|line| line.contains("Max-Age=0")),
            "{name}: {}",
            done.head()
        );
    }
    assert!(browser.cookie("menshen").is_none());
    browser.open("/.menshen/logout?done").await.expect(200);
    // Who kept the cookie keeps nothing.
    let mut thief = world.browser();
    thief.cookies.push(root("menshen", &session));
    thief.fetch("GET", "/").await.refused(401, "login_required");
}

#[tokio::test]
async fn signing_out_everywhere_ends_the_sessions_of_all_browsers_of_this_person() {
    let world = World::start().await;
    let mut browsers: Vec<Browser<'_>> = (0..3).map(|_| world.browser()).collect();
    join_all(browsers[..2].iter_mut().map(|browser| browser.log_in("lilei"))).await;
    browsers[2].log_in("hanmeimei").await;
    browsers[0]
        .submit("/.menshen/logout?everywhere=true", &[])
        .await
        .expect(303);
    let other = browsers[1].script("GET", "/");
    world.until(async || world.send(&other).await.status == 401).await;
    browsers[2].open("/").await.expect(200);
}

#[tokio::test]
async fn a_session_survives_a_restart_and_so_does_its_end() {
    let mut world = World::start().await;
    let (kept, ended, page) = {
        let (mut kept, mut ended) = (world.browser(), world.browser());
        kept.log_in("lilei").await;
        ended.log_in("hanmeimei").await;
        let before = ended.cookies.clone();
        ended.submit("/.menshen/logout", &[]).await.expect(303);
        let page = kept.open("/.menshen/login?switch=true").await.login_page();
        (kept.cookies.clone(), before, page)
    };
    world.stop_gateway().await;
    world.start_gateway().await;
    let mut browser = world.browser();
    browser.cookies = kept;
    browser.open("/").await.expect(200);
    let mut gone = world.browser();
    gone.cookies = ended;
    gone.fetch("GET", "/").await.refused(401, "login_required");
    // A code that was on a screen meanwhile is as good as before.
    browser.finish_login(&page, "lilei").await.expect(200);
}

#[tokio::test]
async fn userinfo_says_who_is_signed_in_and_nothing_without_a_session() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let refused = browser
        .fetch("GET", "/.menshen/userinfo")
        .await
        .refused(401, "login_required");
    assert_eq!(refused.json()["error"]["login_url"], "/.menshen/login");
    browser.log_in("lilei").await;
    let info = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    let keys: Vec<&String> = info.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "auth_time",
            "connection",
            "expires_at",
            "groups",
            "idle_expires_at",
            "logout_url",
            "phone_number",
            "sub"
        ]
    );
    let time = |name: &str| info[name].as_i64().unwrap();
    assert_eq!(time("expires_at") - time("auth_time"), 14 * 86_400);
    assert_eq!(time("idle_expires_at") - time("auth_time"), 86_400);
    // At the portal's own host nobody is signed in.
    world
        .browser_at(PUBLIC_HOST)
        .fetch("GET", "/.menshen/userinfo")
        .await
        .refused(401, "login_required");
}

/// What follows the value in a `Set-Cookie` line.
#[track_caller]
fn attributes(answer: &Answer, name: &str) -> String {
    let line = answer
        .set_cookie(name)
        .unwrap_or_else(|| panic!("no {name}:\n{}", answer.head()));
    line.split_once("; ").expect("attributes").1.to_owned()
}

fn root(name: &str, value: &str) -> Cookie {
    Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        path: "/".to_owned(),
    }
}
