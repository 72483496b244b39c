//! The life of a ticket, transition by transition, as browser and phone see it.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::World;
use menshen::sandbox::Endpoint;

#[tokio::test]
async fn an_anonymous_visitor_writes_nothing_to_the_store() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut store = world.watch_store().await;
    let before = store.version().await;
    for _ in 0..3 {
        let page = browser.open("/a?b=c").await.login_page();
        browser.status(&page).await.expect(200);
        let mut events = browser.events(&page).await;
        assert_eq!(events.next().await["status"], "pending");
        let base = format!("/.menshen/tickets/{}", page.ticket);
        browser.fetch("GET", &format!("{base}/qr")).await.expect(200);
        browser.open(&format!("{base}/page")).await.expect(200);
        browser.redeem(&page).await.refused(409, "wrong_state");
        browser
            .submit(&format!("{base}/cancel"), &[("reason", "not_me")])
            .await
            .expect(303);
        let body = json!({ "connection": "staff", "rd": "/a" });
        browser.fetch_json("/.menshen/tickets", &body).await.expect(201);
    }
    assert_eq!(store.version().await, before, "an anonymous visitor wrote to the store");
    assert_eq!(store.count("SELECT count(*) FROM tickets").await, 0);

    let page = browser.open("/").await.login_page();
    world.phone("lilei").scan(&page.ticket).await.expect(200);
    assert_ne!(
        store.version().await,
        before,
        "a scan must be seen to write, else this test proves nothing"
    );
}

#[tokio::test]
async fn phones_may_call_so_often_and_forgers_a_tenth_of_that() {
    let world = World::plan().set("limits.phone_calls", "20/min").start().await;
    let mut phone = world.phone("lilei");
    let forged = "A".repeat(32);
    phone.scan(&forged).await.refused(404, "ticket_unknown");
    let cancel = json!({ "scene": forged });
    phone.call("cancel", &cancel).await.refused(404, "ticket_unknown");
    let ticket = world.browser().open("/").await.login_page().ticket;
    phone.scan(&ticket).await.refused(429, "rate_limited");

    let world = World::plan().set("limits.phone_calls", "3/min").start().await;
    let mut phone = world.phone("lilei");
    let ticket = world.browser().open("/").await.login_page().ticket;
    for _ in 0..3 {
        phone.scan(&ticket).await.expect(200);
    }
    phone.scan(&ticket).await.refused(429, "rate_limited");

    let world = World::plan()
        .set("limits.phone_calls_per_person", "2/min")
        .start()
        .await;
    let mut phone = world.phone("lilei");
    for _ in 0..2 {
        let ticket = world.browser().open("/").await.login_page().ticket;
        phone.scan(&ticket).await.expect(200);
    }
    let ticket = world.browser().open("/").await.login_page().ticket;
    phone.scan(&ticket).await.refused(429, "rate_limited");
    world.phone("hanmeimei").scan(&ticket).await.expect(200);
}

#[tokio::test]
async fn a_scene_that_this_gateway_did_not_make_is_refused_before_wechat_is_asked() {
    let (world, other) = tokio::join!(World::start(), World::start());
    let mine = world.browser().open("/").await.login_page().ticket;
    let foreign = other.browser().open("/").await.login_page().ticket;
    let changed = |at: usize| {
        let with = if mine.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{with}{}", &mine[..at], &mine[at + 1..])
    };
    let forged = [
        foreign,
        changed(0),
        changed(3),
        changed(8),
        changed(12),
        changed(31),
        mine[..31].to_owned(),
        format!("{mine}A"),
        String::new(),
        "A".repeat(32),
    ];
    let mut phone = world.phone("lilei");
    for scene in &forged {
        phone.scan(scene).await.refused(404, "ticket_unknown");
        let cancel = json!({ "scene": scene });
        phone.call("cancel", &cancel).await.refused(404, "ticket_unknown");
    }
    assert_eq!(world.sandbox.calls(Endpoint::Login), 0);
    phone.scan(&mine).await.expect(200);
}

#[tokio::test]
async fn a_code_ends_after_its_time_and_a_scan_begins_it_anew() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");

    let late = browser.open("/").await.login_page();
    let scanned = browser.scanned_by(&mut phone).await;
    world.advance(115);
    let still = browser.status(&scanned.page).await.json();
    assert_eq!(still["status"], "scanned");
    phone.scan(&scanned.page.ticket).await.expect(200);
    world.advance(115);
    assert_eq!(browser.status(&scanned.page).await.json()["status"], "scanned");

    let expired = browser.status(&late).await.json();
    assert_eq!(
        (&expired["status"], &expired["expires_in"]),
        (&json!("expired"), &json!(0))
    );
    let calls = world.sandbox.calls(Endpoint::Login);
    let mut second = world.phone("hanmeimei");
    second.scan(&late.ticket).await.refused(410, "ticket_expired");
    second
        .call("cancel", &json!({ "scene": late.ticket }))
        .await
        .refused(410, "ticket_expired");
    assert_eq!(
        world.sandbox.calls(Endpoint::Login),
        calls,
        "an expired scene cost a call"
    );

    world.advance(6);
    phone.confirm(scanned.number).await.refused(410, "ticket_expired");
    browser.redeem(&scanned.page).await.refused(410, "ticket_expired");
}

#[tokio::test]
async fn a_confirmed_ticket_waits_sixty_seconds() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    let confirmed = scanned.events.until("confirmed").await;
    let expires_in = confirmed["expires_in"].as_i64().unwrap();
    assert!((58..=60).contains(&expires_in), "{confirmed}");
    world.advance(61);
    browser.redeem(&scanned.page).await.refused(410, "ticket_expired");
}

#[tokio::test]
async fn nobody_confirms_what_they_were_not_shown() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let page = browser.open("/").await.login_page();

    let shown = phone.scan(&page.ticket).await.expect(200).json();
    assert!(shown.get("site").is_none() && shown.get("browser").is_none(), "{shown}");
    let choice = shown["choices"][0].as_i64().unwrap();
    phone.confirm(choice).await.refused(409, "browser_absent");

    // The browser comes back; its half is there, but this phone has not been told.
    let number = browser.status(&page).await.json()["number"].as_i64().unwrap();
    phone.confirm(number).await.refused(409, "browser_absent");

    let late = phone.status().await.expect(200).json();
    assert_eq!(late["site"]["name"], "Wiki");
    assert_eq!(late["browser"]["device"]["browser"], "Chrome");
    phone.confirm(number).await.expect(200);
}

#[tokio::test]
async fn a_phone_that_scans_again_must_be_shown_again() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    let first = phone.handle.clone();
    let choices = phone.shown["choices"].clone();

    phone.scan(&scanned.page.ticket).await.expect(200);
    assert_eq!(phone.shown["choices"], choices);
    assert_ne!(phone.handle, first);
    assert_eq!(phone.shown["site"]["name"], "Wiki");
    let old = json!({ "handle": first, "choice": scanned.number });
    phone.call("confirm", &old).await.refused(404, "ticket_unknown");
    phone
        .call("status", &json!({ "handle": first }))
        .await
        .refused(404, "ticket_unknown");
    phone
        .call("cancel", &json!({ "handle": first }))
        .await
        .refused(404, "ticket_unknown");
    phone.confirm(scanned.number).await.expect(200);
}

#[tokio::test]
async fn a_wrong_number_ends_the_ticket_for_both_and_spends_no_phone_code() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    let choices = phone.shown["choices"].as_array().unwrap().clone();
    assert_eq!(choices.len(), 3);
    assert!(
        choices.contains(&json!(scanned.number)),
        "{choices:?} without {}",
        scanned.number
    );
    let wrong = choices.iter().find(|choice| **choice != json!(scanned.number)).unwrap();

    phone
        .confirm_with_phone(wrong.as_i64().unwrap())
        .await
        .refused(403, "wrong_number");
    let failed = scanned.events.until("failed").await;
    assert_eq!(failed["error"]["code"], "wrong_number");
    assert!(failed.get("number").is_none(), "{failed}");
    assert_eq!(scanned.events.try_next().await, None, "an end is the last event");
    phone
        .confirm_with_phone(scanned.number)
        .await
        .refused(403, "wrong_number");
    assert_eq!(phone.status().await.json()["error"]["code"], "wrong_number");
    phone.scan(&scanned.page.ticket).await.refused(403, "wrong_number");
    browser.redeem(&scanned.page).await.refused(403, "wrong_number");
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 0);
}

#[tokio::test]
async fn a_second_person_gets_no_scanned_ticket() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (mut first, mut second) = (world.phone("lilei"), world.phone("hanmeimei"));
    let scanned = browser.scanned_by(&mut first).await;
    second.scan(&scanned.page.ticket).await.refused(409, "ticket_taken");
    let scene = json!({ "scene": scanned.page.ticket });
    second.call("cancel", &scene).await.refused(409, "wrong_state");
    first.confirm(scanned.number).await.expect(200);
    second.scan(&scanned.page.ticket).await.refused(409, "ticket_taken");
    browser.redeem(&scanned.page).await.expect(200);
}

#[tokio::test]
async fn two_people_who_scan_at_once_are_told_apart() {
    let world = World::start().await;
    let page = world.browser().open("/").await.login_page();
    let (mut first, mut second) = (world.phone("lilei"), world.phone("hanmeimei"));
    let (one, two) = tokio::join!(first.scan(&page.ticket), second.scan(&page.ticket));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn a_repeated_confirmation_gets_the_same_answer() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    let fields = json!({ "choice": scanned.number, "phone_code": phone.phone_code() });
    let first = phone.confirm_with(&fields).await.expect(200).json();
    assert_eq!(first, json!({ "outcome": "confirmed" }));
    assert_eq!(phone.confirm_with(&fields).await.expect(200).json(), first);
    let other = json!({ "choice": scanned.number % 90 + 10 });
    phone.confirm_with(&other).await.refused(409, "wrong_state");
    browser.redeem(&scanned.page).await.expect(200);
    assert_eq!(phone.confirm_with(&fields).await.expect(200).json(), first);
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 1);
}

#[tokio::test]
async fn confirmations_at_once_spend_one_phone_code() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    let fields = json!({ "choice": scanned.number, "phone_code": phone.phone_code() });
    let answers = join_all((0..10).map(|_| phone.confirm_with(&fields))).await;
    for answer in answers {
        assert_eq!(answer.expect(200).json()["outcome"], "confirmed");
    }
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 1);
}

#[tokio::test]
async fn a_ticket_is_redeemed_exactly_once() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    scanned.events.until("confirmed").await;
    let redeem = browser
        .script("POST", &format!("/.menshen/tickets/{}/redeem", scanned.page.ticket))
        .json(&json!({}));
    let answers = join_all((0..50).map(|_| world.send(&redeem))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    for answer in lost {
        assert!(answer.set_cookie("menshen").is_none());
        answer.refused(409, "wrong_state");
    }
    assert_eq!(scanned.events.until("redeemed").await["expires_in"], 0);
    let mut store = world.watch_store().await;
    assert_eq!(store.count("SELECT count(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn only_the_browser_that_made_a_ticket_sees_and_redeems_it() {
    let world = World::start().await;
    let (mut browser, mut other) = (world.browser(), world.browser());
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    let own = other.open("/").await.login_page();
    let base = format!("/.menshen/tickets/{}", scanned.page.ticket);

    // Without any cookie, and with the cookie of another ticket planted at this one's path.
    for plant in [false, true] {
        if plant {
            let mut planted = other
                .cookies
                .iter()
                .find(|cookie| cookie.path.ends_with(&own.ticket))
                .unwrap()
                .clone();
            planted.path = base.clone();
            other.cookies.push(planted);
        }
        for target in [base.clone(), format!("{base}/events"), format!("{base}/qr")] {
            other.fetch("GET", &target).await.refused(404, "ticket_unknown");
        }
        other.redeem(&scanned.page).await.refused(404, "ticket_unknown");
        other
            .fetch_json(&format!("{base}/cancel"), &json!({}))
            .await
            .refused(404, "ticket_unknown");
    }
    browser.redeem(&scanned.page).await.expect(200);
}

#[tokio::test]
async fn a_browser_whose_answer_was_lost_asks_again_and_gets_on() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/reports?month=3").await.login_page();
    let first = browser.finish_login(&page, "lilei").await.expect(200).json();
    let session = browser.cookie("menshen").unwrap().to_owned();
    let again = browser.redeem(&page).await.expect(200);
    assert_eq!(again.json(), first);
    assert!(again.set_cookie("menshen").is_none());
    assert_eq!(browser.cookie("menshen"), Some(session.as_str()));
    browser.open("/reports?month=3").await.expect(200);
}
