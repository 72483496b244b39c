//! The main flow: from a page without a session to the application behind the gate.

use crate::support::World;

#[tokio::test]
async fn a_person_who_scans_and_taps_the_number_reaches_the_page_they_asked_for() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("wangxiaoming");

    let page = browser.open("/reports/7?month=3").await.login_page();
    assert_eq!(page.answer.status, 401);
    let mut events = browser.events(&page).await;
    assert_eq!(events.next().await["status"], "pending");

    phone.scan(&world.scene_in(&page)).await.expect(200);
    let scanned = events.next().await;
    assert_eq!(scanned["status"], "scanned");
    let number = scanned["number"].as_i64().unwrap();

    phone.confirm_with_phone(number).await.expect(200);
    assert_eq!(events.next().await["status"], "confirmed");
    let redeemed = browser.redeem(&page).await.expect(200);
    assert_eq!(redeemed.json()["redirect"], "/reports/7?month=3");

    let answer = browser.open("/reports/7?month=3").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "hello from the application")
    );
    let seen = world.upstream.last();
    assert_eq!(seen.target, "/reports/7?month=3");
    assert!(seen.header("remote-user").is_some());
    assert_eq!(seen.header("remote-phone").as_deref(), Some("+8613800138000"));
}
