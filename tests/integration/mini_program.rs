//! The published mini program against a gateway: whole logins, by its own code.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use menshen::accounts::{new_user_id, proof};
use menshen::store::NewUser;
use serde_json::{Value, json};

use crate::support::World;
use crate::support::browser::{Browser, Events, LoginPage};
use crate::support::mini_program::{MISSING, MiniProgram, node};
use crate::support::wire::Request;
use crate::support::world::{PUBLIC_HOST, SITE};

/// A browser at the login page, listening.
async fn waiting(browser: &mut Browser<'_>) -> (LoginPage, Events) {
    let page = browser.open("/").await.login_page();
    let events = browser.events(&page).await;
    (page, events)
}

/// The number on the browser's screen, once a phone has scanned.
async fn number(events: &mut Events) -> i64 {
    events.until("scanned").await["number"].as_i64().unwrap()
}

async fn signed_in_as(browser: &mut Browser<'_>, page: &LoginPage) -> Value {
    browser.redeem(page).await.expect(200);
    browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json()
}

#[tokio::test]
async fn its_own_tests_pass() {
    let files = ["entry", "login", "source", "start", "texts"].map(|name| format!("test/{name}.test.mjs"));
    let told = node().arg("--test").args(files).output().await.expect(MISSING);
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{MISSING}. {text}");
    assert!(text.contains("fail 0\n") && text.contains("skipped 0\n"), "{text}");
}

#[tokio::test]
async fn a_required_phone_number_is_asked_for_after_the_number_and_logs_in() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "wangxiaoming").await;
    phone.scan(&page.ticket).await;
    let shown = phone.until("Which number does the computer show?").await;
    for part in ["Wiki", SITE, "Your WeChat signs in here for the first time."] {
        assert!(shown["text"].as_str().unwrap().contains(part), "{shown}");
    }
    let right = number(&mut events).await;
    assert!(phone.numbers().await.contains(&right));
    phone.choose(right).await;
    phone.until("Share my phone number").await;
    phone.tap("give").await;
    phone.until("Continue at the computer.").await;
    events.until("confirmed").await;
    let who = signed_in_as(&mut browser, &page).await;
    assert_eq!(who["phone_number"], "+8613800138000");

    // The second time the number is known.
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    phone.scan_link(&page.ticket).await;
    let right = number(&mut events).await;
    phone.numbers().await;
    phone.choose(right).await;
    phone.until("Continue at the computer.").await;
    assert_eq!(signed_in_as(&mut browser, &page).await["sub"], who["sub"]);
}

#[tokio::test]
async fn a_refused_number_stops_a_login_that_needs_it_and_no_other() {
    let world = World::plan().set("connections.0.phone", "optional").start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.refuses_number().await;
    phone.scan(&page.ticket).await;
    let right = number(&mut events).await;
    phone.numbers().await;
    phone.choose(right).await;
    phone.until("Sign in without it").await;
    phone.tap("give").await;
    phone.until("Continue at the computer.").await;
    let who = signed_in_as(&mut browser, &page).await;
    assert_eq!(who.get("phone_number"), None);

    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.refuses_number().await;
    phone.scan(&page.ticket).await;
    let right = number(&mut events).await;
    phone.numbers().await;
    phone.choose(right).await;
    phone.until("Share my phone number").await;
    phone.tap("give").await;
    phone.until("This site cannot be used without one.").await;
    assert_eq!(browser.status(&page).await.json()["status"], "scanned");
    phone.tap("cancel").await;
    phone.until("Nobody was signed in.").await;
    events.until("cancelled").await;
}

#[tokio::test]
async fn an_account_without_quota_shows_its_button_once_and_doctor_hears_of_it() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "sunyue").await;
    phone.scan(&page.ticket).await;
    let right = number(&mut events).await;
    phone.numbers().await;
    phone.choose(right).await;
    phone.until("Share my phone number").await;
    phone.tap("give").await;
    let shown = phone.until("No phone number for now").await;
    assert!(
        !shown["text"].as_str().unwrap().contains("Share my phone number"),
        "{shown}"
    );
    let failures = "SELECT count(*) FROM phone_failures WHERE errno = 1400001";
    assert_eq!(world.watch_store().await.count(failures).await, 1);
}

#[tokio::test]
async fn a_wrong_number_ends_both_sides() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.scan(&page.ticket).await;
    let right = number(&mut events).await;
    let wrong = phone.numbers().await.into_iter().find(|&other| other != right);
    phone.choose(wrong.unwrap()).await;
    phone.until("This sign-in ended, and nobody was signed in.").await;
    assert_eq!(events.until("failed").await["error"]["code"], "wrong_number");
}

#[tokio::test]
async fn a_number_can_be_typed() {
    let world = World::plan().set("login.number_entry", "type").start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.scan(&page.ticket).await;
    let right = number(&mut events).await;
    phone.until("Type the two digits that the computer shows").await;
    phone.types(right).await;
    phone.until("Continue at the computer.").await;
    signed_in_as(&mut browser, &page).await;
}

#[tokio::test]
async fn who_comes_back_too_late_is_told_so() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.scan(&page.ticket).await;
    number(&mut events).await;
    phone.numbers().await;
    world.advance(121);
    phone.looks_again().await;
    phone.until("The code has expired").await;
    // And so is who scans it only now.
    phone.scan(&page.ticket).await;
    phone.until("The code has expired").await;
}

#[tokio::test]
async fn an_account_that_the_browser_proves_is_accepted_by_a_last_tap() {
    let world = World::plan().set("connections.0.association", "ask").start().await;
    let password = "correct horse battery staple";
    let user = NewUser {
        id: new_user_id().unwrap(),
        username: Some("wangxiaoming".to_owned()),
        name: Some("王小明".to_owned()),
        created_at: world.clock.now(),
        ..NewUser::default()
    };
    world.store().await.insert_user(&user).await.unwrap();
    let hash = proof::hash(password).await.unwrap();
    let statement = "UPDATE users SET password_hash = $2 WHERE id = $1";
    assert_eq!(world.watch_store().await.write(statement, &[&user.id, &hash]).await, 1);

    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.scan(&page.ticket).await;
    let right = number(&mut events).await;
    phone.numbers().await;
    phone.choose(right).await;
    phone.until("Choose there: a new account, or one that you have.").await;
    events.until("bind").await;
    let proven = json!({ "action": "bind", "method": "password", "login": "wangxiaoming", "proof": password });
    let target = format!("/.menshen/tickets/{}/bind", page.ticket);
    browser.fetch_json(&target, &proven).await.expect(200);
    phone.looks_again().await;
    let shown = phone.until("Is this your account?").await;
    let text = shown["text"].as_str().unwrap();
    assert!(text.contains("王**") && !text.contains("王小明"), "{text}");
    assert_eq!(browser.status(&page).await.json()["status"], "bind");
    phone.tap("accept").await;
    phone.until("Continue at the computer.").await;
    assert_eq!(signed_in_as(&mut browser, &page).await["sub"], user.id);
}

#[tokio::test]
async fn a_second_phone_is_told_and_the_first_goes_on() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut first = MiniProgram::of(&world, "lilei").await;
    let mut second = MiniProgram::of(&world, "wangxiaoming").await;
    first.scan(&page.ticket).await;
    let right = number(&mut events).await;
    first.numbers().await;
    second.scan(&page.ticket).await;
    second.until("Another phone has scanned this code").await;
    first.choose(right).await;
    first.until("Continue at the computer.").await;
    signed_in_as(&mut browser, &page).await;

    // After the browser was quicker, "not me" still ends its session.
    first.tap("undo").await;
    first.until("This sign-in is void and was reported.").await;
    world
        .until(async || browser.fetch("GET", "/.menshen/userinfo").await.status == 401)
        .await;
}

#[tokio::test]
async fn a_lost_network_loses_no_ticket() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (page, mut events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.network(false).await;
    phone.scan(&page.ticket).await;
    phone.until("No network").await;
    phone.network(true).await;
    let right = number(&mut events).await;
    phone.numbers().await;
    phone.network(false).await;
    phone.choose(right).await;
    phone.until("Your sign-in is not lost.").await;
    phone.network(true).await;
    phone.until("Continue at the computer.").await;
    signed_in_as(&mut browser, &page).await;
}

#[tokio::test]
async fn a_forwarded_card_is_refused_and_a_picture_is_warned_of() {
    let world = World::start().await;
    let mut browser = world.browser();
    let (page, _events) = waiting(&mut browser).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    phone.wechat(json!({ "entry": 1007 })).await;
    phone.scan(&page.ticket).await;
    phone.until("Opened in the wrong way").await;
    phone.wechat(json!({ "entry": 1048 })).await;
    phone.scan(&page.ticket).await;
    phone.until("This code was read from a picture.").await;
}

#[tokio::test]
async fn what_a_terminal_asks_for_is_confirmed_and_its_tokens_come() {
    let prefix = "http://login.test/m/";
    let plan = World::plan()
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", prefix);
    let world = plan.start().await;
    let post = async |path: &str, body: Value| {
        let request = Request::post(&format!("/.menshen/app/{path}"))
            .header("Host", &world.authority(PUBLIC_HOST))
            .header("User-Agent", "client/1 (Linux)")
            .json(&body);
        world.send(&request).await
    };
    let verifier = "v".repeat(43);
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let created = post("tickets", json!({ "connection": "staff", "code_challenge": challenge })).await;
    let created = created.expect(201).json();
    let scene = created["qr_text"].as_str().unwrap().strip_prefix(prefix).unwrap();
    let poll = format!("tickets/{}/redeem", created["id"].as_str().unwrap());
    let mut phone = MiniProgram::of(&world, "lilei").await;
    let waiting = format!("{poll}?wait=20&seen=pending");
    let (told, ()) = tokio::join!(
        post(&waiting, json!({ "code_verifier": verifier })),
        phone.scan_link(scene)
    );
    assert_eq!(told.expect(202).json()["status"], "scanned");
    phone.until("Which number does the terminal show?").await;
    phone.choose(created["number"].as_i64().unwrap()).await;
    phone.until("Continue at the terminal.").await;
    let tokens = post(&poll, json!({ "code_verifier": verifier }))
        .await
        .expect(200)
        .json();
    for name in ["access_token", "refresh_token"] {
        world.keep_secret(tokens[name].as_str().unwrap());
    }
}
