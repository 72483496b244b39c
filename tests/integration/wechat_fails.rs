//! What person and page are told when WeChat refuses, breaks or hangs; the ticket stays as it was.

use futures_util::future::join_all;
use menshen::sandbox::{Effect, Endpoint, Fault};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::picture::read_svg;
use crate::support::world::{PUBLIC_HOST, Plan};
use crate::support::{Answer, World};

/// What a fault comes to: status and code of the client's answer.
type Case = (Effect, u16, &'static str);

#[tokio::test]
async fn every_refusal_of_a_login_code_has_its_answer_and_leaves_the_ticket_open() {
    let cases: [Case; 27] = [
        (Effect::Error(-1), 503, "wechat_busy"),
        (Effect::Error(40001), 502, "wechat_misconfigured"),
        (Effect::Error(40002), 502, "wechat_misconfigured"),
        (Effect::Error(40013), 502, "wechat_misconfigured"),
        (Effect::Error(40029), 422, "code_invalid"),
        (Effect::Error(40097), 422, "code_invalid"),
        (Effect::Error(40125), 502, "wechat_misconfigured"),
        (Effect::Error(40163), 422, "code_invalid"),
        (Effect::Error(40164), 502, "wechat_misconfigured"),
        (Effect::Error(40226), 403, "wechat_refused"),
        (Effect::Error(40243), 502, "wechat_misconfigured"),
        (Effect::Error(41002), 502, "wechat_misconfigured"),
        (Effect::Error(41008), 422, "code_invalid"),
        (Effect::Error(42003), 422, "code_invalid"),
        (Effect::Error(45009), 503, "wechat_busy"),
        (Effect::Error(45011), 503, "wechat_busy"),
        (Effect::Error(48004), 502, "wechat_misconfigured"),
        (Effect::Error(50001), 403, "wechat_refused"),
        (Effect::Error(50002), 502, "wechat_misconfigured"),
        (Effect::Error(50007), 502, "wechat_misconfigured"),
        (Effect::Error(99_999), 502, "wechat_misconfigured"),
        (Effect::EmptyBody, 503, "wechat_unavailable"),
        (Effect::Status(503), 503, "wechat_unavailable"),
        (Effect::Status(302), 503, "wechat_unavailable"),
        (Effect::Garbage, 503, "wechat_unavailable"),
        (Effect::HangUp, 503, "wechat_unavailable"),
        (Effect::HugeBody(3_000_000), 503, "wechat_unavailable"),
    ];
    for chunk in cases.chunks(6) {
        join_all(chunk.iter().map(a_login_code)).await;
    }
}

async fn a_login_code((effect, status, code): &Case) {
    let world = link().start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    world.sandbox.inject(Fault::once(Endpoint::Login, effect.clone()));
    let mut phone = world.phone("lilei");
    let answer = phone.scan(&page.ticket).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (*status, Some(*code)),
        "{effect:?}"
    );
    assert_eq!(
        world.sandbox.calls(Endpoint::Login),
        1,
        "{effect:?}: a code was sent twice"
    );
    assert_eq!(browser.status(&page).await.json()["status"], "pending", "{effect:?}");
    assert_eq!(answer.header("retry-after").is_some(), *status == 503, "{effect:?}");
}

#[tokio::test]
async fn every_refusal_of_a_phone_code_has_its_answer_and_leaves_the_ticket_open() {
    let cases: [Case; 18] = [
        (Effect::Error(-1), 503, "wechat_busy"),
        (Effect::Error(40003), 422, "phone_code_invalid"),
        (Effect::Error(40013), 422, "phone_code_invalid"),
        (Effect::Error(40029), 422, "phone_code_invalid"),
        (Effect::Error(40097), 422, "phone_code_invalid"),
        (Effect::Error(40163), 422, "phone_code_invalid"),
        (Effect::Error(45009), 503, "wechat_busy"),
        (Effect::Error(45011), 503, "wechat_busy"),
        (Effect::Error(47001), 502, "wechat_misconfigured"),
        (Effect::Error(48001), 502, "wechat_misconfigured"),
        (Effect::Error(50001), 403, "wechat_refused"),
        (Effect::WrongWatermark, 502, "wechat_misconfigured"),
        (Effect::StaleWatermark, 422, "phone_code_invalid"),
        (Effect::EmptyBody, 503, "wechat_unavailable"),
        (Effect::Status(503), 503, "wechat_unavailable"),
        (Effect::Garbage, 503, "wechat_unavailable"),
        (Effect::HangUp, 503, "wechat_unavailable"),
        (Effect::Error(99_999), 502, "wechat_misconfigured"),
    ];
    for chunk in cases.chunks(6) {
        join_all(chunk.iter().map(a_phone_code)).await;
    }
}

async fn a_phone_code((effect, status, code): &Case) {
    let world = link().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    world.sandbox.inject(Fault::once(Endpoint::PhoneNumber, effect.clone()));
    let answer = phone.confirm_with_phone(scanned.number).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (*status, Some(*code)),
        "{effect:?}"
    );
    assert_eq!(
        world.sandbox.calls(Endpoint::PhoneNumber),
        1,
        "{effect:?}: a code was sent twice"
    );
    let after = browser.status(&scanned.page).await.json();
    assert_eq!(
        (&after["status"], &after["number"]),
        (&json!("scanned"), &json!(scanned.number)),
        "{effect:?}"
    );
    if *status == 422 {
        // The button again, and on it goes.
        phone.confirm_with_phone(scanned.number).await.expect(200);
        browser.redeem(&scanned.page).await.expect(200);
    }
}

#[tokio::test]
async fn an_optional_number_that_wechat_will_not_tell_keeps_nobody_out() {
    let world = link().set("connections.0.phone", "optional").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::PhoneNumber, Effect::Error(48001)));
    phone.confirm_with_phone(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);
}

#[tokio::test]
async fn a_token_that_wechat_refuses_is_fetched_again_and_the_call_made_once_more() {
    for code in [40001, 40014, 42001] {
        let world = link().set("connections.0.phone", "required").start().await;
        let mut browser = world.browser();
        let mut phone = world.phone("lilei");
        let scanned = browser.scanned_by(&mut phone).await;
        world
            .sandbox
            .inject(Fault::once(Endpoint::PhoneNumber, Effect::Error(code)));
        phone.confirm_with_phone(scanned.number).await.expect(200);
        assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 2, "{code}");
        // The first; the same again, as WeChat keeps it; then a forced one.
        assert_eq!(world.sandbox.calls(Endpoint::StableToken), 3, "{code}");
        assert_eq!(
            world.sandbox.calls(Endpoint::Token),
            0,
            "the token of everybody else was replaced"
        );

        // And once only.
        let mut browser = world.browser();
        let mut phone = world.phone("hanmeimei");
        let scanned = browser.scanned_by(&mut phone).await;
        let before = world.sandbox.calls(Endpoint::PhoneNumber);
        world
            .sandbox
            .inject(Fault::once(Endpoint::PhoneNumber, Effect::Error(code)).times(5));
        phone
            .confirm_with_phone(scanned.number)
            .await
            .refused(503, "wechat_busy");
        assert!(world.sandbox.calls(Endpoint::PhoneNumber) - before <= 2, "{code}");
        world.sandbox.clear_faults();
        assert_eq!(browser.status(&scanned.page).await.json()["status"], "scanned");
    }
}

#[tokio::test]
async fn a_hanging_wechat_is_given_up_in_time() {
    let world = link()
        .set("wechat.timeout", "1s")
        .set("connections.0.phone", "required")
        .start()
        .await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut phone = world.phone("lilei");
    world.sandbox.inject(Fault::once(Endpoint::Login, Effect::Hang));
    phone.scan(&page.ticket).await.refused(503, "wechat_unavailable");
    world.sandbox.inject(Fault::once(Endpoint::Login, Effect::DripMs(100)));
    phone.scan(&page.ticket).await.refused(503, "wechat_unavailable");

    let scanned = browser.scanned_by(&mut phone).await;
    // WeChat did its work and the answer was lost: the code is spent, the ticket is not.
    world
        .sandbox
        .inject(Fault::once(Endpoint::PhoneNumber, Effect::Hang).after());
    let fields = json!({ "choice": scanned.number, "phone_code": phone.phone_code() });
    phone.confirm_with(&fields).await.refused(503, "wechat_unavailable");
    phone.confirm_with(&fields).await.refused(422, "phone_code_invalid");
    phone.confirm_with_phone(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);
}

#[tokio::test]
async fn a_code_that_wechat_cannot_draw_is_drawn_as_a_link_where_one_is_known() {
    let faults = [
        Effect::Error(-1),
        Effect::Error(45009),
        Effect::Error(41030),
        Effect::Error(48001),
        Effect::EmptyBody,
        Effect::Status(503),
        Effect::Garbage,
    ];
    for effect in faults {
        let world = World::plan()
            .set("connections.0.link_prefix", format!("http://{PUBLIC_HOST}/m/"))
            .start()
            .await;
        world
            .sandbox
            .inject(Fault::once(Endpoint::WxaCode, effect.clone()).times(20));
        let mut browser = world.browser();
        let page = browser.open("/").await.login_page();
        let svg = String::from_utf8(page.picture()).unwrap();
        assert_eq!(
            read_svg(&svg),
            format!("http://{PUBLIC_HOST}/m/{}", page.ticket),
            "{effect:?}"
        );
        let qr = browser
            .fetch("GET", &format!("/.menshen/tickets/{}/qr", page.ticket))
            .await;
        assert_eq!(read_svg(&qr.expect(200).text()), read_svg(&svg), "{effect:?}");
        browser.finish_login(&page, "lilei").await.expect(200);
    }
}

#[tokio::test]
async fn nobody_waits_for_a_wechat_that_hangs_where_a_link_is_known_and_it_is_tried_again() {
    let world = World::plan()
        .set("connections.0.link_prefix", format!("http://{PUBLIC_HOST}/m/"))
        .start()
        .await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::WxaCode, Effect::Hang).times(50));
    let mut browser = world.browser();
    for _ in 0..5 {
        let page = browser.open("/").await.login_page();
        let svg = String::from_utf8(page.picture()).unwrap();
        assert!(read_svg(&svg).ends_with(&page.ticket));
    }
    // One page waited, and one fetch in the background: the others asked nobody.
    assert!(world.sandbox.calls(Endpoint::WxaCode) <= 2);
    world.sandbox.clear_faults();
    world.clock.advance(11);
    let page = browser.open("/").await.login_page();
    assert_eq!(world.scene_in(&page), page.ticket);
}

#[tokio::test]
async fn a_code_that_nobody_can_draw_is_an_honest_page() {
    let cases: [(Endpoint, Case); 6] = [
        (Endpoint::WxaCode, (Effect::Error(45009), 503, "wechat_busy")),
        (Endpoint::WxaCode, (Effect::Error(41030), 502, "wechat_misconfigured")),
        (Endpoint::WxaCode, (Effect::Garbage, 503, "wechat_unavailable")),
        (
            Endpoint::StableToken,
            (Effect::Error(40125), 502, "wechat_misconfigured"),
        ),
        (
            Endpoint::StableToken,
            (Effect::Error(40164), 502, "wechat_misconfigured"),
        ),
        (Endpoint::StableToken, (Effect::EmptyBody, 503, "wechat_unavailable")),
    ];
    for (endpoint, (effect, status, code)) in cases {
        let world = World::start().await;
        world.sandbox.inject(Fault::once(endpoint, effect.clone()).times(20));
        let mut browser = world.browser();
        let body = json!({ "connection": "staff" });
        let answer: Answer = browser.fetch_json("/.menshen/tickets", &body).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (status, Some(code)),
            "{effect:?}"
        );
        let page = browser.open("/").await.expect(status);
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
        assert!(
            browser.cookies.is_empty(),
            "a ticket without a code: {:?}",
            browser.cookies
        );
    }
}

#[tokio::test]
async fn a_slow_code_does_not_hold_up_the_page() {
    let world = World::plan().set("wechat.timeout", "10s").start().await;
    let slow = Fault::once(Endpoint::WxaCode, Effect::DelayMs(2_500)).times(2);
    world.sandbox.inject(slow);
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let address = page.picture_address();
    assert!(
        address == format!("/.menshen/tickets/{}/qr", page.ticket),
        "{address:.60}"
    );
    let picture = browser.fetch("GET", &address).await.expect(200);
    assert!(world.sandbox.scan(&picture.body).unwrap().contains(&page.ticket));
}

#[tokio::test]
async fn a_busy_wechat_is_asked_again_behind_the_page() {
    let world = World::plan().set("wechat.timeout", "2s").start().await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::WxaCode, Effect::Error(-1)).times(50));
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let address = page.picture_address();
    assert!(address.ends_with("/qr"), "{address:.60}");
    browser.fetch("GET", &address).await.refused(503, "wechat_busy");
    world.sandbox.clear_faults();
    let picture = browser.fetch("GET", &address).await.expect(200);
    assert!(world.sandbox.scan(&picture.body).unwrap().contains(&page.ticket));
}

#[tokio::test]
async fn what_a_phone_sends_in_place_of_a_code_costs_no_call() {
    let world = link().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut phone = world.phone("lilei");
    for code in ["", " ", "the code is a mock one\n", &"x".repeat(2_000)] {
        let body = json!({ "scene": page.ticket, "code": code });
        phone.call("scan", &body).await.refused(422, "code_invalid");
    }
    assert_eq!(world.sandbox.calls(Endpoint::Login), 0);
    let scanned = browser.scanned_by(&mut phone).await;
    for code in [" ", "a\tb"] {
        let fields = json!({ "choice": scanned.number, "phone_code": code });
        phone.confirm_with(&fields).await.refused(422, "phone_code_invalid");
    }
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 0);
}

#[tokio::test]
async fn a_used_code_is_asked_for_again_and_a_high_risk_person_is_refused() {
    let world = link().start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let phone = world.phone("lilei");
    let body = json!({ "scene": page.ticket, "code": phone.login_code() });
    phone.call("scan", &body).await.expect(200);
    phone.call("scan", &body).await.refused(422, "code_invalid");
    let page = browser.open("/").await.login_page();
    world
        .phone("zhangsan")
        .scan(&page.ticket)
        .await
        .refused(403, "wechat_refused");
    assert_eq!(browser.status(&page).await.json()["status"], "pending");
}

/// Codes that need no call, so that a fault meets the call it is meant for.
/// One AppID has one token, one quota and one AppSecret, however many connections use it.
#[tokio::test]
async fn connections_of_one_app_share_its_token_and_what_it_is_refused() {
    let second = "[[connections]]\nid = \"other\"\nkind = \"miniprogram-qr\"\ndisplay_name = \"Other\"\n\
                  app_id = \"wxsandbox0000000099\"\napp_secret = \"x\"\nphone = \"never\"\n";
    let mut world = World::plan().append(second).build().await;
    let secret = world.settings_mut().connections[0].app_secret.clone();
    world.change("connections.1.app_secret", secret.expose_secret());
    let app_id = world.app_id().to_owned();
    world.change("connections.1.app_id", app_id.clone());
    world.start_gateway().await;

    let mut browser = world.browser();
    let one = browser.open("/").await.login_page();
    let two = browser
        .open("/.menshen/login?connection=other")
        .await
        .expect(200)
        .login_page();
    for page in [&one, &two] {
        assert_eq!(world.scene_in(page), page.ticket, "drawn by WeChat");
    }
    assert_eq!(world.sandbox.calls(Endpoint::StableToken), 1);

    let status = world.gateway().status();
    assert!(status.resting().is_empty());
    world.sandbox.inject(Fault::once(Endpoint::Login, Effect::Error(40125)));
    for page in [&one, &two, &one] {
        let refused = world.phone("lilei").scan(&page.ticket).await;
        refused.refused(502, "wechat_misconfigured");
    }
    assert_eq!(
        world.sandbox.calls(Endpoint::Login),
        1,
        "asked again although nothing can have changed"
    );
    let resting = status.resting();
    let [call] = &resting[..] else { panic!("{resting:?}") };
    assert_eq!(
        (&*call.app_id, call.endpoint, call.errcode),
        (&*app_id, "jscode2session", 40125)
    );
    assert!(call.remedy.contains("AppSecret"), "{call:?}");
    assert!(
        status.reasons_against().await.is_empty(),
        "another node could do no better"
    );
    let metrics = status.metrics().unwrap();
    for line in [
        format!(r#"menshen_wechat_resting{{app_id="{app_id}",endpoint="jscode2session",errcode="40125"}} 1"#),
        r#"menshen_wechat_refusals_total{endpoint="jscode2session",errcode="40125"} 1"#.to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

fn link() -> Plan {
    World::plan()
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", format!("http://{PUBLIC_HOST}/m/"))
}
