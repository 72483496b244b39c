//! The login of a browser without JavaScript: meta refresh, a button, redirects.

use crate::support::World;
use crate::support::browser::{between, unescape};

#[tokio::test]
async fn a_browser_without_javascript_logs_in_by_reloading_and_a_button() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/reports?month=3").await.login_page();
    let html = page.answer.text();
    let refresh = between(&html, "<noscript><meta http-equiv=\"refresh\" content=\"0; url=", "\"").unwrap();
    let plain = refresh.to_owned();
    assert_eq!(plain, format!("/.menshen/tickets/{}/page", page.ticket));

    let pending = browser.open(&plain).await.expect(200).text();
    assert!(
        pending.contains("data-state=\"pending\"") && pending.contains("http-equiv=\"refresh\""),
        "{pending}"
    );
    let picture = between(&pending, "class=\"code\" src=\"", "\"").unwrap().to_owned();
    let code = browser.fetch("GET", &picture).await.expect(200);
    assert!(world.sandbox.scan(&code.body).unwrap().contains(&page.ticket));

    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.expect(200);
    let scanned = browser.open(&plain).await.expect(200).text();
    assert!(scanned.contains("data-state=\"scanned\""), "{scanned}");
    let label = between(&scanned, "<p class=\"number\"", "</p>").unwrap();
    let number: i64 = label.rsplit('>').next().unwrap().trim().parse().unwrap();
    phone.status().await.expect(200);
    phone.confirm(number).await.expect(200);

    let confirmed = browser.open(&plain).await.expect(200).text();
    let action = between(&confirmed, "<form method=\"post\" action=\"", "\"")
        .unwrap()
        .to_owned();
    let redeemed = browser.submit(&action, &[]).await.expect(303);
    assert_eq!(redeemed.header("location"), Some("/reports?month=3"));
    browser.open("/reports?month=3").await.expect(200);
    // The button twice, or a reload of the answer.
    let again = browser.submit(&action, &[]).await.expect(303);
    assert_eq!(again.header("location"), Some("/reports?month=3"));
}

#[tokio::test]
async fn a_long_address_goes_through_the_forms() {
    let world = World::start().await;
    let mut browser = world.browser();
    let long = format!("/search?q={}", "x".repeat(3_000));
    let page = browser.open(&long).await.login_page();
    let html = page.answer.text();
    let plain = between(&html, "content=\"0; url=", "\"").unwrap().to_owned();
    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.expect(200);
    browser.open(&plain).await.expect(200);
    let number = browser.status(&page).await.json()["number"].as_i64().unwrap();
    phone.status().await.expect(200);
    phone.confirm(number).await.expect(200);
    let confirmed = browser.open(&plain).await.expect(200).text();
    let rd = between(&confirmed, "name=\"rd\" value=\"", "\"").unwrap();
    let rd = unescape(rd);
    let action = format!("/.menshen/tickets/{}/redeem", page.ticket);
    let redeemed = browser.submit(&action, &[("rd", &rd)]).await.expect(303);
    assert_eq!(redeemed.header("location"), Some(&*long));
}

#[tokio::test]
async fn not_me_by_a_form_comes_back_to_the_page_which_says_so() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    let base = format!("/.menshen/tickets/{}", scanned.page.ticket);
    let refused = browser
        .submit(&format!("{base}/cancel"), &[("reason", "not_me")])
        .await
        .expect(303);
    assert_eq!(refused.header("location"), Some(&*format!("{base}/page")));
    let ended = browser.open(&format!("{base}/page")).await.expect(200).text();
    assert!(
        ended.contains("data-state=\"failed\"") && ended.contains("/.menshen/login?connection=staff"),
        "{ended}"
    );
    phone.confirm(scanned.number).await.refused(410, "ticket_cancelled");
}

#[tokio::test]
async fn a_page_of_somebody_elses_ticket_is_a_page_that_says_so() {
    let world = World::start().await;
    let ticket = world.browser().open("/").await.login_page().ticket;
    let answer = world
        .browser()
        .open(&format!("/.menshen/tickets/{ticket}/page"))
        .await
        .expect(404);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
}
