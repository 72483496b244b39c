//! Refusing: on the phone, on the page, too early and too late.

use serde_json::json;

use crate::support::World;
use menshen::sandbox::Endpoint;

#[tokio::test]
async fn a_scene_alone_cancels_a_code_that_nobody_scanned_and_the_page_hears_it_at_once() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    assert_eq!(events.next().await["status"], "pending");
    let mut phone = world.phone("lilei");
    let scene = json!({ "scene": page.ticket, "reason": "declined" });
    phone.call("cancel", &scene).await.expect(204);
    let cancelled = events.next().await;
    assert_eq!(
        (&cancelled["status"], &cancelled["reason"]),
        (&json!("cancelled"), &json!("declined"))
    );
    phone.call("cancel", &scene).await.refused(410, "ticket_cancelled");
    phone.scan(&page.ticket).await.refused(410, "ticket_cancelled");
    browser.redeem(&page).await.refused(410, "ticket_cancelled");
}

#[tokio::test]
async fn a_declined_scan_ends_on_the_page_at_once() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.cancel().await.expect(204);
    assert_eq!(scanned.events.until("cancelled").await["reason"], "declined");
    // A repeated cancel is no news.
    phone.cancel().await.expect(204);
    phone.confirm(scanned.number).await.refused(410, "ticket_cancelled");
    assert_eq!(phone.status().await.json()["status"], "cancelled");
}

#[tokio::test]
async fn after_the_confirmation_only_not_me_takes_it_back() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    scanned.events.until("confirmed").await;
    phone.cancel().await.refused(409, "wrong_state");
    phone.not_me().await.expect(204);
    assert_eq!(scanned.events.until("cancelled").await["reason"], "not_me");
    browser.redeem(&scanned.page).await.refused(410, "ticket_cancelled");
}

#[tokio::test]
async fn not_me_ends_the_session_that_was_just_made() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);
    browser.open("/").await.expect(200);
    phone.cancel().await.refused(409, "wrong_state");
    phone.not_me().await.expect(204);
    let request = browser.script("GET", "/");
    world.until(async || world.send(&request).await.status == 401).await;
    browser.open("/").await.expect(401);
}

#[tokio::test]
async fn not_me_on_the_page_ends_the_ticket_and_the_phone_is_told() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    let target = format!("/.menshen/tickets/{}/cancel", scanned.page.ticket);
    browser
        .fetch_json(&target, &json!({ "reason": "not_me" }))
        .await
        .expect(204);
    assert_eq!(scanned.events.until("cancelled").await["reason"], "not_me");
    phone.confirm(scanned.number).await.refused(410, "ticket_cancelled");
    assert_eq!(phone.status().await.json()["status"], "cancelled");
}

#[tokio::test]
async fn a_forwarded_card_is_refused_and_a_code_from_a_picture_is_warned_about() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let page = browser.open("/").await.login_page();
    let events = browser.events(&page).await;
    for entry in [1007, 1008] {
        phone.scan_from(&page.ticket, entry).await.refused(403, "entry_refused");
    }
    assert_eq!(world.sandbox.calls(Endpoint::Login), 0);
    for (entry, warned) in [
        (1012, true),
        (1013, true),
        (1048, true),
        (1049, true),
        (1011, false),
        (1047, false),
    ] {
        let shown = phone.scan_from(&page.ticket, entry).await.expect(200).json();
        assert_eq!(
            shown.get("warning").is_some_and(|warning| warning == "picture"),
            warned,
            "{entry}"
        );
        let status = phone.status().await.expect(200).json();
        assert_eq!(status.get("warning").is_some(), warned, "{entry}");
    }
    drop(events);
}
