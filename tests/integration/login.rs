//! The main flow, and the ways in which a page differs.

use serde_json::json;

use crate::support::World;
use crate::support::assertion::verify;
use crate::support::browser::{Cookie, picture_of};
use crate::support::picture::read_svg;
use crate::support::upstream::answer;
use crate::support::world::{PUBLIC_HOST, SITE};
use menshen::sandbox::Endpoint;

#[tokio::test]
async fn a_person_who_scans_and_taps_the_number_reaches_the_page_they_asked_for() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("wangxiaoming");

    let page = browser.open("/reports/7?month=3&q=%E4%B8%AD").await.login_page();
    assert_eq!(page.answer.status, 401);
    assert_eq!(page.answer.header("www-authenticate"), Some("Bearer realm=\"menshen\""));
    let mut events = browser.events(&page).await;
    assert_eq!(events.answer.header("content-type"), Some("text/event-stream"));
    let pending = events.next().await;
    assert_eq!((&pending["status"], pending.get("number")), (&json!("pending"), None));

    let scene = world.scene_in(&page);
    assert_eq!(scene, page.ticket);
    let shown = phone.scan(&scene).await.expect(200).json();
    assert_eq!(shown["site"], json!({ "name": "Wiki", "host": SITE }));
    assert_eq!(
        (&shown["browser"]["device"]["os"], &shown["phone"]),
        (&json!("macOS"), &json!("required"))
    );
    let scanned = events.next().await;
    assert_eq!(scanned["status"], "scanned");
    let number = scanned["number"].as_i64().unwrap();

    assert_eq!(phone.status().await.expect(200).json()["status"], "scanned");
    let outcome = phone.confirm_with_phone(number).await.expect(200).json();
    assert_eq!(outcome, json!({ "outcome": "confirmed" }));
    let confirmed = events.next().await;
    assert_eq!(
        (&confirmed["status"], &confirmed["user"]["name"]),
        (&json!("confirmed"), &json!("+86138****8000"))
    );
    let redeemed = browser.redeem(&page).await.expect(200);
    assert_eq!(redeemed.json(), json!({ "redirect": "/reports/7?month=3&q=%E4%B8%AD" }));
    assert_eq!(events.next().await["status"], "redeemed");
    assert_eq!(events.try_next().await, None);
    assert_eq!(
        world.upstream.requests().len(),
        0,
        "nothing reached the application before the login"
    );

    let target = redeemed.json()["redirect"].as_str().unwrap().to_owned();
    let answer = browser.open(&target).await.expect(200);
    assert!(answer.is_of_upstream());
    let seen = world.upstream.last();
    assert_eq!(seen.target, target);
    let user = seen.header("remote-user").unwrap();
    assert!(user.starts_with("u_") && user.len() == 28, "{user}");
    assert_eq!(seen.header("remote-phone").as_deref(), Some("+8613800138000"));
    assert!(seen.header("x-request-id").is_some());
    assert_eq!(seen.header("cookie"), None);
}

#[tokio::test]
async fn what_a_person_sends_and_gets_passes_byte_for_byte() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.cookies.push(Cookie {
        name: "PHPSESSID".to_owned(),
        value: "a%20b=\"c\"".to_owned(),
        path: "/".to_owned(),
    });
    let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    // Broken escapes of a query are the application's to judge: nothing here is decided by a query.
    let target = "/upload;v=1/a%2Bb?q=%zz&x=~%7e";
    let request = browser.script("PUT", target).body("application/octet-stream", &sent);
    world.upstream.respond(answer(
        207,
        &[
            ("X-Custom", "yes"),
            ("Set-Cookie", "PHPSESSID=x"),
            ("Set-Cookie", "b=c"),
        ],
        "\u{4e2d}",
    ));
    let got = browser.send(request).await.expect(207);
    let seen = world.upstream.last();
    assert_eq!((&*seen.method, &*seen.target), ("PUT", target));
    assert!(seen.body == sent, "the body was changed");
    assert_eq!(seen.header("cookie").as_deref(), Some("PHPSESSID=a%20b=\"c\""));
    assert_eq!((got.text().as_str(), got.header("x-custom")), ("中", Some("yes")));
    assert_eq!(got.all("set-cookie").collect::<Vec<_>>(), ["PHPSESSID=x", "b=c"]);
}

#[tokio::test]
async fn the_application_can_verify_who_came_by_the_published_keys() {
    let world = World::plan().set("sites.0.audience", "wiki").start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    let seen = world.upstream.last();
    let token = seen.header("x-menshen-assertion").unwrap();
    let keys = browser.fetch("GET", "/.menshen/jwks.json").await.expect(200);
    assert_eq!(keys.header("cache-control"), Some("public, max-age=3600"));
    let (header, claims) = verify(
        &token,
        &keys.json(),
        &world.origin(PUBLIC_HOST),
        "wiki",
        world.clock.now(),
    );
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
    assert_eq!(claims["sub"], json!(seen.header("remote-user").unwrap()));
    assert_eq!(claims["amr"], json!(["wechat_miniprogram"]));
    assert_eq!(claims["connection"], "staff");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert!(claims["sid"].as_str().is_some_and(|sid| sid.len() >= 16));
    assert!(claims.get("wechat").is_none() && claims["groups"] == json!([]));

    // Signed once and reused, then anew when half its life is over.
    browser.open("/").await.expect(200);
    assert_eq!(
        world.upstream.last().header("x-menshen-assertion").as_deref(),
        Some(&*token)
    );
    world.advance(151);
    browser.open("/").await.expect(200);
    let newer = world.upstream.last().header("x-menshen-assertion").unwrap();
    assert_ne!(newer, token);
    let (_, renewed) = verify(
        &newer,
        &keys.json(),
        &world.origin(PUBLIC_HOST),
        "wiki",
        world.clock.now(),
    );
    assert_eq!(
        (&renewed["sid"], &renewed["auth_time"]),
        (&claims["sid"], &claims["auth_time"])
    );

    // It identifies to applications and opens nothing here.
    let bearer = world
        .browser()
        .script("GET", "/")
        .header("Authorization", &format!("Bearer {token}"));
    world.send(&bearer).await.refused(401, "login_required");
}

#[tokio::test]
async fn a_known_person_confirms_too_and_stays_the_same_user() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    let first = world.upstream.last().header("remote-user");
    let mut other = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = other.scanned_by(&mut phone).await;
    assert_eq!(phone.shown["known"], true);
    other.redeem(&scanned.page).await.refused(409, "wrong_state");
    phone.confirm(scanned.number).await.expect(200);
    other.redeem(&scanned.page).await.expect(200);
    other.open("/").await.expect(200);
    assert_eq!(world.upstream.last().header("remote-user"), first);
}

#[tokio::test]
async fn several_tabs_of_one_browser_do_not_collide() {
    let world = World::start().await;
    let mut browser = world.browser();
    let pages = [
        browser.open("/one").await.login_page(),
        browser.open("/two").await.login_page(),
    ];
    assert_eq!(
        browser
            .cookies
            .iter()
            .filter(|cookie| cookie.name == "menshen-browser")
            .count(),
        1
    );
    for (page, target) in pages.iter().zip(["/one", "/two"]) {
        let redeemed = browser.finish_login(page, "lilei").await.expect(200);
        assert_eq!(redeemed.json()["redirect"], target);
    }
    let mut store = world.watch_store().await;
    let live = store
        .count("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
        .await;
    assert_eq!(live, 1, "the second login ends the first one's session");
}

#[tokio::test]
async fn a_long_address_is_handed_back_by_the_page_and_no_other_is_taken() {
    let world = World::start().await;
    let mut browser = world.browser();
    let long = format!("/search?q={}", "x".repeat(4_000));
    let page = browser.open(&long).await.login_page();
    assert_eq!(
        (&page.config["hand_back_rd"], &page.config["rd"]),
        (&json!(true), &json!(long))
    );
    assert_eq!(
        browser.finish_login(&page, "lilei").await.expect(200).json()["redirect"],
        json!(long)
    );

    let mut second = world.browser();
    let mut page = second.open(&long).await.login_page();
    page.config["rd"] = json!(long.replace('x', "y"));
    assert_eq!(
        second.finish_login(&page, "lilei").await.expect(200).json()["redirect"],
        "/"
    );
}

#[tokio::test]
async fn the_login_page_leads_back_to_own_places_only() {
    let world = World::start().await;
    let own = world.authority(SITE);
    let cases = [
        ("/a?b=c%26d", "/a?b=c%26d".to_owned()),
        (&*format!("http://{own}/deep?x"), "/deep?x".to_owned()),
        ("https://evil.example/", "/".to_owned()),
        ("//evil.example/", "/".to_owned()),
        ("/\\evil.example", "/".to_owned()),
        ("/.menshen/logout", "/".to_owned()),
        ("javascript:alert(1)", "/".to_owned()),
        ("http://wiki.test@evil.example/", "/".to_owned()),
    ];
    for (rd, expected) in cases {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("rd", rd)
            .finish();
        let page = world
            .browser()
            .open(&format!("/.menshen/login?{query}"))
            .await
            .expect(200)
            .login_page();
        assert_eq!(page.config["rd"], json!(expected), "{rd}");
    }
}

#[tokio::test]
async fn an_expired_code_is_renewed_by_the_page() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/reports?month=3").await.login_page();
    world.advance(121);
    assert_eq!(browser.status(&page).await.json()["status"], "expired");
    let asked = json!({ "connection": "staff", "rd": page.config["rd"] });
    let renewed = browser.fetch_json("/.menshen/tickets", &asked).await.expect(201).json();
    let id = renewed["id"].as_str().unwrap().to_owned();
    assert_ne!(id, page.ticket);
    assert_eq!(renewed["connection"], "staff");
    assert_eq!(renewed["events_url"], json!(format!("/.menshen/tickets/{id}/events")));
    // A code out of the pool may be a quarter of its life old.
    assert!(
        renewed["expires_in"]
            .as_i64()
            .is_some_and(|left| (90..=120).contains(&left)),
        "{renewed}"
    );
    let picture = browser
        .fetch("GET", renewed["qr_url"].as_str().unwrap())
        .await
        .expect(200);
    let address = world.sandbox.scan(&picture.body).unwrap();
    assert!(address.contains(&format!("scene={id}")), "{address}");
    let mut fresh = page.clone();
    fresh.ticket = id;
    let redeemed = browser.finish_login(&fresh, "lilei").await.expect(200);
    assert_eq!(redeemed.json()["redirect"], "/reports?month=3");

    let unknown = json!({ "connection": "nobody" });
    browser
        .fetch_json("/.menshen/tickets", &unknown)
        .await
        .refused(404, "not_found");
    let foreign = browser
        .script("POST", "/.menshen/tickets")
        .without("Sec-Fetch-Site")
        .without("Origin");
    world.send(&foreign.json(&asked)).await.refused(403, "cross_origin");
}

#[tokio::test]
async fn a_link_code_needs_no_call_and_other_scanners_land_on_a_page() {
    let world = World::plan()
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", format!("http://{PUBLIC_HOST}/m/"))
        .start()
        .await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let svg = String::from_utf8(page.picture()).unwrap();
    assert_eq!(read_svg(&svg), format!("http://{PUBLIC_HOST}/m/{}", page.ticket));
    let qr = browser
        .fetch("GET", &format!("/.menshen/tickets/{}/qr", page.ticket))
        .await
        .expect(200);
    assert_eq!((qr.header("content-type"), qr.text()), (Some("image/svg+xml"), svg));
    assert_eq!(
        world.sandbox.calls(Endpoint::WxaCode) + world.sandbox.calls(Endpoint::StableToken),
        0
    );
    browser.finish_login(&page, "lilei").await.expect(200);

    let mut camera = world.browser_at(PUBLIC_HOST);
    let landing = camera.open(&format!("/m/{}", page.ticket)).await.expect(200);
    assert!(landing.text().contains("WeChat"), "{}", landing.text());
    camera.open("/n/").await.expect(404);
}

#[tokio::test]
async fn without_number_matching_the_tap_alone_confirms() {
    let world = World::plan().set("login.number_matching", false).start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    let shown = phone.scan(&page.ticket).await.expect(200).json();
    assert_eq!((&shown["choices"], shown.get("number_entry")), (&json!([]), None));
    assert!(events.until("scanned").await.get("number").is_none());
    phone.confirm_with(&json!({})).await.expect(200);
    browser.redeem(&page).await.expect(200);
}

#[tokio::test]
async fn a_number_that_is_typed_is_not_offered() {
    let world = World::plan().set("login.number_entry", "type").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    assert_eq!(
        (&phone.shown["choices"], &phone.shown["number_entry"]),
        (&json!([]), &json!("type"))
    );
    phone.confirm(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);

    let mut browser = world.browser();
    let second = browser.scanned_by(&mut phone).await;
    phone.confirm_with(&json!({})).await.refused(403, "wrong_number");
    browser.redeem(&second.page).await.refused(403, "wrong_number");
}

#[tokio::test]
async fn a_picture_on_the_page_is_the_picture_of_the_ticket() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let before = world.sandbox.calls(Endpoint::WxaCode);
    let again = browser
        .fetch("GET", &format!("/.menshen/tickets/{}/qr", page.ticket))
        .await
        .expect(200);
    assert_eq!(again.header("content-type"), Some("image/jpeg"));
    assert_eq!(again.body, picture_of(&page.picture_address()));
    assert_eq!(
        world.sandbox.calls(Endpoint::WxaCode),
        before,
        "a picture that is known was fetched again"
    );
}
