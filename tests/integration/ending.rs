//! Refusing: on the phone, on the page, too early and too late.

use serde_json::{Value, json};

use crate::support::World;
use menshen::sandbox::{Effect, Endpoint, Fault};

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
    for entry in [1007, 1008, 1036, 1044, 1096, 1037] {
        phone.scan_from(&page.ticket, entry).await.refused(403, "entry_refused");
    }
    assert_eq!(world.sandbox.calls(Endpoint::Login), 0);
    for (entry, warning) in [
        (1012, Some("picture")),
        (1013, Some("picture")),
        (1048, Some("picture")),
        (1049, Some("picture")),
        (1043, Some("unusual")),
        (1058, Some("unusual")),
        (1, Some("unusual")),
        (1011, None),
        (1047, None),
    ] {
        let shown = phone.scan_from(&page.ticket, entry).await.expect(200).json();
        assert_eq!(shown.get("warning"), warning.map(Value::from).as_ref(), "{entry}");
        let status = phone.status().await.expect(200).json();
        assert_eq!(status.get("warning"), shown.get("warning"), "{entry}");
    }
    // Opened again from the list of recent ones it is what it was.
    for (first, warning) in [(1049, Some("picture")), (1047, None)] {
        for entry in [first, 1089] {
            let shown = phone.scan_from(&page.ticket, entry).await.expect(200).json();
            assert_eq!(shown.get("warning"), warning.map(Value::from).as_ref(), "{first}");
        }
    }
    drop(events);
}

/// Nobody has to be anybody to send these: they are counted tenfold, and written down once.
#[tokio::test]
async fn refused_starts_are_limited_and_leave_one_record_for_a_ticket() {
    let world = World::plan().set("limits.phone_calls", "40/min").start().await;
    let page = world.browser().open("/").await.login_page();
    let phone = world.phone("lilei");
    let forwarded = json!({ "scene": page.ticket, "code": "x", "entry": 1007 });
    let mut refused = 0;
    for _ in 0..40 {
        let answer = phone.call("scan", &forwarded).await;
        match answer.status {
            403 => refused += 1,
            _ => drop(answer.refused(429, "rate_limited")),
        };
    }
    assert!((1..=5).contains(&refused), "{refused} of 40");
    let store = world.store().await;
    let written = async || {
        let rows = store.audit_after(0, 100).await.unwrap();
        let refusals = rows.iter().filter(|row| row.reason.as_deref() == Some("entry_refused"));
        refusals.count()
    };
    world.until(async || written().await > 0).await;
    assert_eq!(written().await, 1);
}

/// Each costs a call of WeChat's.
#[tokio::test]
async fn codes_that_wechat_never_gave_count_tenfold() {
    let world = World::plan().set("limits.phone_calls", "40/min").start().await;
    let page = world.browser().open("/").await.login_page();
    let phone = world.phone("lilei");
    for number in 0..40 {
        let made_up = json!({ "scene": page.ticket, "code": format!("0a1b2c3d4e5f{number}") });
        let answer = phone.call("scan", &made_up).await;
        assert!(matches!(answer.status, 422 | 429), "{}", answer.head());
    }
    let asked = world.sandbox.calls(Endpoint::Login);
    assert!((1..=5).contains(&asked), "{asked} of 40");

    // That WeChat is away is nobody's fault.
    let world = World::plan().set("limits.phone_calls", "40/min").start().await;
    let page = world.browser().open("/").await.login_page();
    let mut phone = world.phone("lilei");
    world
        .sandbox
        .inject(Fault::once(Endpoint::Login, Effect::Error(-1)).times(9));
    for _ in 0..9 {
        let answer = phone.scan(&page.ticket).await;
        assert!(matches!(answer.status, 200 | 503), "{}", answer.head());
    }
}
