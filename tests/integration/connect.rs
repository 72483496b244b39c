//! A further WeChat account, connected on a person's own page.

use serde_json::{Value, json};

use crate::account::{ACCOUNT, SECOND_APP, at_home, follow, ids, last_event, plan_of_two};
use crate::support::browser::{LoginPage, between};
use crate::support::phone::Phone;
use crate::support::world::{PUBLIC_HOST, SITE};
use crate::support::{Answer, Browser, World};

const CONNECT: &str = "/.menshen/account/connect";

/// Two connections; by the second, "desk", nobody is known.
async fn world() -> World {
    plan_of_two(false).start().await
}

/// The page with a code that connects.
async fn code_for_desk(browser: &mut Browser<'_>) -> LoginPage {
    browser
        .submit(CONNECT, &[("connection", "desk")])
        .await
        .expect(200)
        .login_page()
}

/// The same person's or another's phone with the second mini program.
fn phone_at_desk<'w>(world: &'w World, persona: &str) -> Phone<'w> {
    let mut phone = world.phone(persona);
    phone.app_id = SECOND_APP.to_owned();
    world.keep_secret(&world.sandbox.openid(SECOND_APP, persona));
    phone
}

/// The phone scans, chooses the number and accepts the account that it is shown.
async fn agree(browser: &mut Browser<'_>, page: &LoginPage, phone: &mut Phone<'_>) {
    let mut events = browser.events(page).await;
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    assert_eq!(phone.confirm(number).await.expect(200).json()["outcome"], "bind");
    assert!(events.until("bind").await["user"]["name"].is_string());
    assert!(phone.status().await.expect(200).json()["account"]["name"].is_string());
    assert_eq!(phone.accept().await.expect(200).json()["outcome"], "confirmed");
    events.until("confirmed").await;
}

/// The id of the only user who is called so by the listing of sessions.
async fn only_user(world: &World) -> String {
    let listed = world.menshen(&["sessions", "list", "--json"]).await.json();
    listed[0]["user_id"].as_str().unwrap().to_owned()
}

async fn apps_of(world: &World, user: &str) -> Vec<String> {
    let rows = world.store().await.identities_of(user).await.unwrap();
    rows.into_iter().map(|row| row.app_id).collect()
}

async fn count_sessions(world: &World) -> usize {
    let listed = world.menshen(&["sessions", "list", "--json"]).await.json();
    listed.as_array().unwrap().len()
}

#[tokio::test]
async fn a_scan_of_a_fresh_code_connects_and_logs_nobody_in() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let user = only_user(&world).await;
    let account = browser.open(ACCOUNT).await.expect(200).text();
    // Only where there is none yet.
    assert!(account.contains("name=\"connection\" value=\"desk\""), "{account}");
    assert!(!account.contains("name=\"connection\" value=\"staff\""), "{account}");

    let page = code_for_desk(&mut browser).await;
    let html = page.answer.text();
    let name = between(&html, "It will sign in to the account ", ".</p>")
        .unwrap()
        .to_owned();
    assert!(html.contains("<h1>Connect another WeChat account</h1>"), "{html}");
    assert_eq!(
        (&page.config["asks"], &page.config["create"]),
        (&json!(true), &json!(CONNECT))
    );

    let mut phone = phone_at_desk(&world, "hanmeimei");
    let mut events = browser.events(&page).await;
    phone.scan(&page.ticket).await.expect(200);
    // The phone is told in its language what this is, with whose account, before it can choose a number.
    assert_eq!(phone.shown["purpose"]["kind"], "connect");
    let text = phone.shown["purpose"]["text"].as_str().unwrap();
    assert!(text.contains(&name) && text.contains("这不是登录"), "{text}");
    assert_eq!(phone.shown["account"]["name"], json!(name));
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    assert_eq!(phone.confirm(number).await.expect(200).json()["outcome"], "bind");
    // Nothing is accepted that this handle was not shown.
    phone.accept().await.refused(409, "browser_absent");
    let offer = phone.status().await.expect(200).json();
    assert_eq!(
        (&offer["status"], &offer["account"]["name"]),
        (&json!("bind"), &json!(name))
    );
    assert_eq!(phone.accept().await.expect(200).json()["outcome"], "confirmed");
    // Twice is once.
    assert_eq!(phone.accept().await.expect(200).json()["outcome"], "confirmed");
    events.until("confirmed").await;
    // The phone alone binds nothing.
    assert_eq!(apps_of(&world, &user).await, [world.app_id()]);

    let sessions = count_sessions(&world).await;
    let cookie = browser.cookie("menshen").map(str::to_owned);
    for _ in 0..2 {
        // Again is answered like the first time: its answer may have been lost.
        let done = browser.redeem(&page).await.expect(200);
        assert_eq!(done.json()["redirect"], "/.menshen/account?note=connected");
        assert!(done.all("set-cookie").next().is_none(), "{}", done.head());
    }
    assert_eq!(browser.cookie("menshen").map(str::to_owned), cookie);
    assert_eq!(count_sessions(&world).await, sessions);
    assert_eq!(apps_of(&world, &user).await, [world.app_id(), SECOND_APP]);
    let account = browser
        .open("/.menshen/account?note=connected")
        .await
        .expect(200)
        .text();
    assert!(
        account.contains("role=\"status\">The WeChat account is connected."),
        "{account}"
    );
    assert_eq!(ids(&account, "/.menshen/account/identities").len(), 2);
    assert!(!account.contains("name=\"connection\""), "{account}");
    let event = last_event(&world, "bind").await;
    assert_eq!(
        (
            event.reason.as_deref(),
            event.user_id.as_deref(),
            event.connection.as_deref()
        ),
        (Some("self"), Some(&*user), Some("desk"))
    );
    assert!(event.ticket_hash.is_some() && event.browser_address.is_some() && event.phone_device.is_some());
    // From now on it is a way in.
    let mut other = world.browser_at(PUBLIC_HOST);
    let login = other.open("/.menshen/login?connection=desk").await.login_page();
    let mut events = other.events(&login).await;
    phone.scan(&login.ticket).await.expect(200);
    assert!(phone.shown["purpose"].is_null() && phone.shown["known"] == true);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    other.redeem(&login).await.expect(200);
    let info = other.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!(info["sub"], json!(user));
}

#[tokio::test]
async fn a_wrong_number_ends_it() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let page = code_for_desk(&mut browser).await;
    let mut phone = phone_at_desk(&world, "lilei");
    let mut events = browser.events(&page).await;
    phone.scan(&page.ticket).await.expect(200);
    let right = events.until("scanned").await["number"].as_i64().unwrap();
    phone
        .confirm(if right == 99 { 10 } else { right + 1 })
        .await
        .refused(403, "wrong_number");
    assert_eq!(events.until("failed").await["error"]["code"], "wrong_number");
    browser.redeem(&page).await.refused(403, "wrong_number");
    assert_eq!(apps_of(&world, &only_user(&world).await).await.len(), 1);
}

#[tokio::test]
async fn a_wechat_of_another_person_stays_theirs() {
    let world = world().await;
    // Somebody is known by the second app.
    let mut other = world.browser_at(PUBLIC_HOST);
    let login = other.open("/.menshen/login?connection=desk").await.login_page();
    let mut theirs = phone_at_desk(&world, "hanmeimei");
    let mut events = other.events(&login).await;
    theirs.scan(&login.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    theirs.confirm(number).await.expect(200);
    events.until("confirmed").await;
    other.redeem(&login).await.expect(200);
    let owner = only_user(&world).await;

    let mut browser = at_home(&world, "lilei").await;
    let page = code_for_desk(&mut browser).await;
    let mut events = browser.events(&page).await;
    // Before a number is chosen.
    theirs.scan(&page.ticket).await.refused(409, "account_bound");
    assert_eq!(events.until("failed").await["error"]["code"], "account_bound");
    browser.redeem(&page).await.refused(409, "account_bound");
    assert_eq!(apps_of(&world, &owner).await, [SECOND_APP]);
}

#[tokio::test]
async fn one_wechat_of_each_app() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    browser.submit(CONNECT, &[("connection", "staff")]).await.expect(409);
    browser
        .fetch_json(CONNECT, &json!({ "connection": "staff" }))
        .await
        .refused(409, "account_bound");
    browser.submit(CONNECT, &[("connection", "nonsense")]).await.expect(404);

    // Two codes at once: the second one that is finished comes too late, whoever scanned it.
    let (first, second) = (code_for_desk(&mut browser).await, code_for_desk(&mut browser).await);
    agree(&mut browser, &first, &mut phone_at_desk(&world, "lilei")).await;
    agree(&mut browser, &second, &mut phone_at_desk(&world, "hanmeimei")).await;
    browser.redeem(&first).await.expect(200);
    browser.redeem(&second).await.refused(409, "account_bound");
    assert_eq!(
        apps_of(&world, &only_user(&world).await).await,
        [world.app_id(), SECOND_APP]
    );
    let event = last_event(&world, "login_failed").await;
    assert_eq!(event.reason.as_deref(), Some("account_bound"));
}

#[tokio::test]
async fn a_foreign_browser_and_a_foreign_session_finish_nothing() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let user = only_user(&world).await;
    let page = code_for_desk(&mut browser).await;
    agree(&mut browser, &page, &mut phone_at_desk(&world, "lilei")).await;
    // Without the ticket's cookie it is nobody's; with it, but another session, nobody is asked to go on.
    let mut stranger = at_home(&world, "hanmeimei").await;
    stranger.redeem(&page).await.refused(404, "ticket_unknown");
    let stolen: Vec<_> = browser
        .cookies
        .iter()
        .filter(|cookie| cookie.path != "/")
        .cloned()
        .collect();
    assert!(!stolen.is_empty());
    stranger.cookies.extend(stolen);
    stranger.redeem(&page).await.refused(401, "login_required");
    let mut nobody = world.browser_at(PUBLIC_HOST);
    nobody.cookies = browser
        .cookies
        .iter()
        .filter(|cookie| cookie.path != "/")
        .cloned()
        .collect();
    nobody.redeem(&page).await.refused(401, "login_required");
    // Another session of the same person is another session.
    let mut again = at_home(&world, "lilei").await;
    again
        .cookies
        .extend(browser.cookies.iter().filter(|cookie| cookie.path != "/").cloned());
    again.redeem(&page).await.refused(401, "login_required");
    assert_eq!(apps_of(&world, &user).await, [world.app_id()]);
    browser.redeem(&page).await.expect(200);
    assert_eq!(apps_of(&world, &user).await.len(), 2);
}

#[tokio::test]
async fn what_a_session_asked_for_ends_with_it() {
    // Signed out before the number is chosen, before the phone accepts, and before the browser finishes.
    for step in 0..3 {
        let world = world().await;
        let mut browser = at_home(&world, "lilei").await;
        let user = only_user(&world).await;
        let page = code_for_desk(&mut browser).await;
        let mut phone = phone_at_desk(&world, "lilei");
        let mut events = browser.events(&page).await;
        phone.scan(&page.ticket).await.expect(200);
        let number = events.until("scanned").await["number"].as_i64().unwrap();
        let ticket: Vec<_> = browser.cookies.clone();
        if step == 0 {
            browser.submit("/.menshen/logout", &[]).await.expect(303);
            phone.confirm(number).await.refused(410, "ticket_cancelled");
        } else {
            phone.confirm(number).await.expect(200);
            phone.status().await.expect(200);
        }
        if step == 1 {
            browser
                .submit("/.menshen/logout?everywhere=true", &[])
                .await
                .expect(303);
            phone.accept().await.refused(410, "ticket_cancelled");
            events.until("cancelled").await;
        }
        if step == 2 {
            phone.accept().await.expect(200);
            browser.submit("/.menshen/logout", &[]).await.expect(303);
            browser.redeem(&page).await.refused(401, "login_required");
            // Nor with the cookie of the session that has ended.
            browser.cookies = ticket;
            browser.redeem(&page).await.refused(401, "login_required");
        }
        assert_eq!(apps_of(&world, &user).await, [world.app_id()], "{step}");
    }
}

#[tokio::test]
async fn a_disabled_person_connects_nothing() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let user = only_user(&world).await;
    let page = code_for_desk(&mut browser).await;
    let mut phone = phone_at_desk(&world, "lilei");
    let mut events = browser.events(&page).await;
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    assert_eq!(world.menshen(&["users", "disable", &user]).await.code, 0);
    phone.confirm(number).await.refused(403, "user_disabled");
    assert_eq!(events.until("failed").await["error"]["code"], "user_disabled");
    assert_eq!(apps_of(&world, &user).await, [world.app_id()]);
}

#[tokio::test]
async fn an_old_login_gets_no_code() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    world.advance(301);
    let again = "/.menshen/login?switch=true&rd=%2F";
    let form = browser.submit(CONNECT, &[("connection", "desk")]).await.expect(303);
    assert_eq!(form.header("location"), Some(again));
    let script = browser
        .fetch_json(CONNECT, &json!({ "connection": "desk" }))
        .await
        .refused(401, "login_required");
    assert_eq!(script.json()["error"]["login_url"], again);
    assert!(
        !browser
            .cookies
            .iter()
            .any(|cookie| cookie.path.starts_with("/.menshen/tickets/") && cookie.path.contains(&"x".repeat(33)))
    );
}

#[tokio::test]
async fn only_a_page_of_this_origin_asks_for_a_code_and_only_there() {
    let world = world().await;
    let browser = at_home(&world, "lilei").await;
    let post = || {
        browser
            .navigation("POST", CONNECT)
            .body("application/x-www-form-urlencoded", b"connection=desk")
    };
    for attack in [
        post(),
        post().header("Sec-Fetch-Site", "cross-site"),
        post().header("Sec-Fetch-Site", "same-site"),
        post().header("Origin", "null"),
        post().header("Origin", &world.origin(SITE)),
    ] {
        let answer = world.send(&attack).await.expect(403);
        assert!(answer.text().contains("cross_origin") && answer.all("set-cookie").next().is_none());
    }
    let mut at_site = world.browser();
    at_site.log_in("lilei").await;
    at_site.submit(CONNECT, &[("connection", "desk")]).await.expect(404);
    let mut browser = browser;
    browser.open(CONNECT).await.expect(404);
    // The last step is as protected as the first.
    let page = code_for_desk(&mut browser).await;
    agree(&mut browser, &page, &mut phone_at_desk(&world, "lilei")).await;
    let redeem = browser
        .navigation("POST", &format!("/.menshen/tickets/{}/redeem", page.ticket))
        .header("Sec-Fetch-Site", "cross-site")
        .body("application/x-www-form-urlencoded", b"");
    world.send(&redeem).await.expect(403);
    assert_eq!(apps_of(&world, &only_user(&world).await).await.len(), 1);
}

#[tokio::test]
async fn without_javascript_it_is_reloads_and_one_button() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let page = code_for_desk(&mut browser).await;
    let html = page.answer.text();
    let plain = between(&html, "<noscript><meta http-equiv=\"refresh\" content=\"0; url=", "\"")
        .unwrap()
        .to_owned();
    let state = async |browser: &mut Browser<'_>| -> String { browser.open(&plain).await.expect(200).text() };
    let pending = state(&mut browser).await;
    assert!(pending.contains("<h1>Connect another WeChat account</h1>") && pending.contains("Back to your account"));
    let mut phone = phone_at_desk(&world, "lilei");
    phone.scan(&page.ticket).await.expect(200);
    let scanned = state(&mut browser).await;
    let label = between(&scanned, "<p class=\"number\"", "</p>").unwrap();
    let number: i64 = label.rsplit('>').next().unwrap().trim().parse().unwrap();
    phone.status().await.expect(200);
    phone.confirm(number).await.expect(200);
    assert!(state(&mut browser).await.contains("Accept on your phone"));
    phone.status().await.expect(200);
    phone.accept().await.expect(200);
    let asks = state(&mut browser).await;
    assert!(
        asks.contains("Connect this WeChat account?") && asks.contains("Only go on if that phone"),
        "{asks}"
    );
    let action = between(&asks, "<form method=\"post\" action=\"", "\"")
        .unwrap()
        .to_owned();
    let done = browser.submit(&action, &[]).await.expect(303);
    let account = follow(&mut browser, done.header("location").unwrap()).await.text();
    assert!(account.contains("The WeChat account is connected."), "{account}");
    // The button twice.
    assert_eq!(
        browser.submit(&action, &[]).await.expect(303).header("location"),
        done.header("location")
    );
}

#[tokio::test]
async fn without_javascript_a_refusal_leads_back_to_the_account() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let page = code_for_desk(&mut browser).await;
    agree(&mut browser, &page, &mut phone_at_desk(&world, "lilei")).await;
    let base = format!("/.menshen/tickets/{}", page.ticket);
    browser
        .submit(&format!("{base}/cancel"), &[("reason", "not_me")])
        .await
        .expect(303);
    let late = browser.submit(&format!("{base}/redeem"), &[]).await.expect(303);
    assert_eq!(late.header("location"), Some(&*format!("{base}/page")));
    let ended = browser.open(&format!("{base}/page")).await.expect(200).text();
    assert!(
        ended.contains("Nothing was connected.") && ended.contains("<a class=\"button\" href=\"/.menshen/account\">"),
        "{ended}"
    );
    assert_eq!(apps_of(&world, &only_user(&world).await).await.len(), 1);
}

#[tokio::test]
async fn a_connection_that_makes_nobody_connects_all_the_same() {
    let world = plan_of_two(false).set("connections.1.login_only", true).start().await;
    let mut browser = at_home(&world, "lilei").await;
    let page = code_for_desk(&mut browser).await;
    agree(&mut browser, &page, &mut phone_at_desk(&world, "lilei")).await;
    browser.redeem(&page).await.expect(200);
    // For a login it stays closed to strangers.
    let mut other = world.browser_at(PUBLIC_HOST);
    let login = other.open("/.menshen/login?connection=desk").await.login_page();
    let mut events = other.events(&login).await;
    phone_at_desk(&world, "hanmeimei")
        .scan(&login.ticket)
        .await
        .refused(403, "no_account");
    assert_eq!(events.until("failed").await["error"]["code"], "no_account");
}

#[tokio::test]
async fn a_number_is_asked_for_and_written_only_where_there_is_none() {
    for (first, asked, phone_of_first) in [("never", "required", false), ("required", "known", true)] {
        let world = plan_of_two(false)
            .set("connections.0.phone", first)
            .set("connections.1.phone", "required")
            .start()
            .await;
        let mut browser = at_home(&world, "lilei").await;
        let user = only_user(&world).await;
        let before = world.store().await.user(&user).await.unwrap().unwrap().phone;
        assert_eq!(before.is_some(), phone_of_first);
        let page = code_for_desk(&mut browser).await;
        let mut phone = phone_at_desk(&world, "lilei");
        let mut events = browser.events(&page).await;
        phone.scan(&page.ticket).await.expect(200);
        assert_eq!(phone.shown["phone"], asked);
        let number = events.until("scanned").await["number"].as_i64().unwrap();
        if asked == "required" {
            phone.confirm(number).await.refused(422, "phone_required");
            let code = world.sandbox.phone_code(SECOND_APP, "lilei").unwrap();
            phone
                .confirm_with(&json!({ "choice": number, "phone_code": code }))
                .await
                .expect(200);
        } else {
            phone.confirm(number).await.expect(200);
        }
        phone.status().await.expect(200);
        phone.accept().await.expect(200);
        events.until("confirmed").await;
        // Not before it is finished.
        assert_eq!(world.store().await.user(&user).await.unwrap().unwrap().phone, before);
        browser.redeem(&page).await.expect(200);
        assert!(world.store().await.user(&user).await.unwrap().unwrap().phone.is_some());
        assert_eq!(apps_of(&world, &user).await.len(), 2);
    }
}

#[tokio::test]
async fn not_me_on_the_phone_takes_it_back_even_after_the_end() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let user = only_user(&world).await;
    let page = code_for_desk(&mut browser).await;
    let mut phone = phone_at_desk(&world, "hanmeimei");
    agree(&mut browser, &page, &mut phone).await;
    browser.redeem(&page).await.expect(200);
    assert_eq!(apps_of(&world, &user).await.len(), 2);
    phone.cancel().await.refused(409, "wrong_state");
    phone.not_me().await.expect(204);
    assert_eq!(apps_of(&world, &user).await, [world.app_id()]);
    assert_eq!(last_event(&world, "unbind").await.reason.as_deref(), Some("phone"));
    browser.open(ACCOUNT).await.expect(200);
}

#[tokio::test]
async fn the_page_renews_its_code_by_the_session() {
    let world = world().await;
    let mut browser = at_home(&world, "lilei").await;
    let page = code_for_desk(&mut browser).await;
    let answer: Answer = browser
        .fetch_json(CONNECT, &json!({ "connection": "desk", "rd": page.config["rd"] }))
        .await
        .expect(201);
    let created: Value = answer.json();
    let fresh = created["id"].as_str().unwrap().to_owned();
    browser
        .fetch("GET", created["qr_url"].as_str().unwrap())
        .await
        .expect(200);
    let mut events = browser.events_of(&fresh).await;
    let mut phone = phone_at_desk(&world, "lilei");
    phone.scan(&fresh).await.expect(200);
    assert_eq!(phone.shown["purpose"]["kind"], "connect");
    events.until("scanned").await;
    // A login page's own renewal would make a code that logs in.
    let login = browser
        .fetch_json("/.menshen/tickets", &json!({ "connection": "desk", "rd": "/" }))
        .await
        .expect(201)
        .json();
    let id = login["id"].as_str().unwrap();
    let _events = browser.events_of(id).await;
    phone.scan(id).await.expect(200);
    assert!(phone.shown["purpose"].is_null(), "{}", phone.shown);
}

#[tokio::test]
async fn codes_are_limited_like_login_pages() {
    let world = plan_of_two(false).set("limits.login_pages", "5/min").start().await;
    let mut browser = at_home(&world, "lilei").await;
    let mut last = 0;
    for _ in 0..6 {
        last = browser.submit(CONNECT, &[("connection", "desk")]).await.status;
    }
    assert_eq!(last, 429);
}
