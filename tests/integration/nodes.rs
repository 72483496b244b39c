//! Several gateways on one PostgreSQL: any of them may be asked for any step, and any of them may go away.
//!
//! That something is noticed at another node at once is told from its being found again later by the time that looking
//! again takes: five seconds for a waiting page.

use std::time::{Duration, Instant};

use menshen::sandbox::{Effect, Endpoint, Fault};
use serde_json::json;

use crate::support::World;
use crate::support::phone::Phone;
use crate::support::postgres::Postgres;
use crate::support::world::Plan;

fn plan(server: &Postgres) -> Plan {
    World::plan_https().set("store.url", server.url())
}

/// Less than a page takes to look again by itself.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn every_step_of_a_login_may_happen_at_another_node() {
    let server = Postgres::start().await;
    let a = plan(&server).set("connections.0.phone", "required").start().await;
    let (b, c) = (a.another_node().await, a.another_node().await);
    let mut browser = a.browser();
    let page = browser.open("/reports").await.login_page();
    let mut events = browser.events(&page).await;
    events.until("pending").await;

    let since = Instant::now();
    let mut phone = Phone::new(&b, "wangxiaoming");
    let shown = phone.scan(&a.scene_in(&page)).await.expect(200).json();
    assert_eq!(shown["site"]["name"], "Wiki", "the half that only the first node has");
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.world = &c;
    phone.confirm_with_phone(number).await.expect(200);
    events.until("confirmed").await;
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());

    let redeemed = browser.redeem(&page).await.expect(200);
    assert_eq!(redeemed.json(), json!({ "redirect": "/reports" }));
    for node in [&a, &b, &c] {
        browser.world = node;
        browser.open("/reports").await.expect(200);
    }
}

#[tokio::test]
async fn a_ticket_is_redeemed_once_however_many_nodes_are_asked() {
    let server = Postgres::start().await;
    let a = plan(&server).start().await;
    let (b, c) = (a.another_node().await, a.another_node().await);
    let mut browser = a.browser();
    let mut phone = a.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    scanned.events.until("confirmed").await;
    let target = format!("/.menshen/tickets/{}/redeem", scanned.page.ticket);
    let request = browser.script("POST", &target).json(&json!({}));
    let nodes = [&a, &b, &c, &a, &b, &c];
    let answers = futures_util::future::join_all(nodes.map(|node| node.send(&request))).await;
    let redeemed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(
        redeemed,
        1,
        "{:?}",
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn what_one_node_ends_is_over_at_the_others() {
    let server = Postgres::start().await;
    let a = plan(&server).start().await;
    let b = a.another_node().await;
    let mut browser = a.browser();
    browser.log_in("lilei").await;
    let mut elsewhere = b.browser();
    elsewhere.cookies.clone_from(&browser.cookies);
    elsewhere.open("/").await.expect(200);

    browser.submit("/.menshen/logout", &[]).await.expect(303);
    let request = elsewhere.script("GET", "/");
    let since = Instant::now();
    b.until(async || b.send(&request).await.status == 401).await;
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());

    // Of a whole person, by another program.
    elsewhere.log_in("lilei").await;
    elsewhere.open("/").await.expect(200);
    let user = a.upstream.last().header("remote-user").unwrap();
    let store = a.store().await;
    assert!(store.set_disabled(&user, true, "left", a.clock.now()).await.unwrap());
    let request = elsewhere.script("GET", "/");
    b.until(async || b.send(&request).await.status == 401).await;
}

#[tokio::test]
async fn a_lost_notification_is_found_again() {
    let server = Postgres::start().await;
    let a = plan(&server).start().await;
    let b = a.another_node().await;
    server.execute("ALTER TABLE tickets DISABLE TRIGGER USER").await;
    server.execute("ALTER TABLE revocations DISABLE TRIGGER USER").await;
    let mut browser = a.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    let mut phone = Phone::new(&b, "lilei");
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    // The page's half was not there in time for the answer to the scan.
    phone.status().await.expect(200);
    phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    browser.redeem(&page).await.expect(200);
    browser.open("/").await.expect(200);
    let mut elsewhere = b.browser();
    elsewhere.cookies.clone_from(&browser.cookies);
    elsewhere.submit("/.menshen/logout", &[]).await.expect(303);
    let request = browser.script("GET", "/");
    a.until(async || a.send(&request).await.status == 401).await;
}

#[tokio::test]
async fn the_listening_connection_is_made_again_when_it_breaks() {
    let server = Postgres::start().await;
    let a = plan(&server).start().await;
    let b = a.another_node().await;
    let mut browser = a.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    events.until("pending").await;
    server
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        .await;
    let since = Instant::now();
    let mut phone = Phone::new(&b, "lilei");
    // The connections of the pool are gone as well: the first call may find that out.
    b.until(async || phone.scan(&page.ticket).await.status == 200).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    phone.status().await.expect(200);
    phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
}

#[tokio::test]
async fn a_node_that_is_killed_while_it_asks_wechat_leaves_a_login_that_others_finish() {
    let server = Postgres::start().await;
    let a = plan(&server).set("connections.0.phone", "required").start().await;
    let (b, mut process) = a.another_process().await;
    let mut browser = a.browser();
    let mut phone = Phone::new(&b, "lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    phone.status().await.expect(200);

    a.sandbox.inject(Fault::once(Endpoint::PhoneNumber, Effect::Hang));
    let asked = a.sandbox.calls(Endpoint::PhoneNumber);
    let confirming = json!({ "handle": phone.handle, "choice": scanned.number, "phone_code": phone.phone_code() });
    let request = phone.request("confirm", &confirming);
    tokio::select! {
        answer = b.send(&request) => panic!("{}", answer.status),
        () = a.until(async || a.sandbox.calls(Endpoint::PhoneNumber) > asked) => {}
    }
    process.kill().await;

    phone.world = &a;
    // The dead node's claim on the ticket ends by its time.
    a.advance(20);
    phone.confirm_with_phone(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);
    browser.open("/").await.expect(200);
    let people = a.store().await.users_after("", 10).await.unwrap();
    assert_eq!(people.len(), 1);
}

#[tokio::test]
async fn while_the_database_is_down_sessions_go_on_and_logins_are_told_and_then_all_goes_on_by_itself() {
    let server = Postgres::start().await;
    let a = plan(&server).start().await;
    let mut browser = a.browser();
    browser.log_in("lilei").await;
    let mut stranger = a.browser();
    let page = stranger.open("/").await.login_page();

    server.stop();
    browser.open("/").await.expect(200);
    let mut phone = a.phone("hanmeimei");
    phone.scan(&page.ticket).await.refused(503, "store_unavailable");
    let logout = browser.submit("/.menshen/logout", &[]).await;
    assert_eq!(
        logout.status, 503,
        "a logout that did not happen must not look like one"
    );
    browser.open("/").await.expect(200);

    server.start_again();
    a.until(async || phone.scan(&page.ticket).await.status == 200).await;
    stranger.finish_login(&page, "hanmeimei").await.expect(200);
    stranger.open("/").await.expect(200);
    browser.submit("/.menshen/logout", &[]).await.expect(303);
}

#[tokio::test]
async fn nodes_that_start_together_on_an_empty_database_share_everything() {
    let server = Postgres::start().await;
    let mut first = plan(&server).build().await;
    let (mut second, mut third) = (first.not_started(), first.not_started());
    let nodes = [&mut first, &mut second, &mut third].map(|node| Box::pin(node.start_gateway()));
    futures_util::future::join_all(nodes).await;
    let mut browser = first.browser();
    browser.log_in("lilei").await;
    for node in [&second, &third] {
        browser.world = node;
        browser.open("/").await.expect(200);
    }
}
