//! Phone numbers and accounts: who is let in as whom.

use menshen::accounts::new_user_id;
use menshen::sandbox::Endpoint;
use menshen::store::{NewUser, UserChange};
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn a_required_number_is_asked_for_once_and_refusing_it_leaves_the_ticket_open() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    assert_eq!(
        (&phone.shown["phone"], &phone.shown["known"]),
        (&json!("required"), &json!(false))
    );
    phone.confirm(scanned.number).await.refused(422, "phone_required");
    for errno in [103, 104, 102, 112, 1_400_001] {
        let refused = json!({ "choice": scanned.number, "phone_errno": errno });
        phone.confirm_with(&refused).await.refused(422, "phone_required");
    }
    assert_eq!(phone.status().await.json()["status"], "scanned");
    phone.confirm_with_phone(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);

    let mut second = world.browser();
    let again = second.scanned_by(&mut phone).await;
    assert_eq!(
        (&phone.shown["phone"], &phone.shown["known"]),
        (&json!("known"), &json!(true))
    );
    phone.confirm(again.number).await.expect(200);
    second.redeem(&again.page).await.expect(200);
    second.open("/").await.expect(200);
    assert_eq!(
        world.upstream.last().header("remote-phone").as_deref(),
        Some("+8613900139000")
    );
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 1);
}

/// Whoever has WeChat can report what they like: it counts where the button was there to fail.
#[tokio::test]
async fn a_failure_of_a_button_that_nobody_was_shown_is_not_written_down() {
    for (policy, written) in [("never", 0), ("required", 2), ("optional", 2)] {
        let world = World::plan().set("connections.0.phone", policy).start().await;
        let mut phone = world.phone("lilei");
        let failures = async || {
            let failures = world.store().await.phone_failures().await.unwrap();
            failures.iter().map(|failure| failure.failures).sum::<i64>()
        };
        let mut browser = world.browser();
        let scanned = browser.scanned_by(&mut phone).await;
        let failed = json!({ "choice": scanned.number, "phone_errno": 112 });
        phone.confirm_with(&failed).await;
        let cancelled = json!({ "handle": phone.handle, "phone_errno": 1_400_001 });
        let mut browser = world.browser();
        let _scanned = browser.scanned_by(&mut phone).await;
        // Of the scan before, which is over or has another handle; then of this one.
        phone.call("cancel", &cancelled).await;
        let cancelled = json!({ "handle": phone.handle, "phone_errno": 1_400_001 });
        phone.call("cancel", &cancelled).await.expect(204);
        phone.call("cancel", &cancelled).await.expect(204);
        assert_eq!(
            failures().await,
            if policy == "required" { written + 1 } else { written },
            "{policy}"
        );
    }
}

#[tokio::test]
async fn an_optional_number_may_be_refused_and_is_asked_for_again_next_time() {
    let world = World::plan().set("connections.0.phone", "optional").start().await;
    let mut phone = world.phone("lilei");
    for (fields, number) in [
        (json!({ "phone_errno": 103 }), None),
        (json!({}), None),
        (json!({ "phone_code": phone.phone_code() }), Some("+8613900139000")),
    ] {
        let mut browser = world.browser();
        let scanned = browser.scanned_by(&mut phone).await;
        assert_eq!(phone.shown["phone"], "optional");
        let mut fields = fields;
        fields["choice"] = json!(scanned.number);
        assert_eq!(
            phone.confirm_with(&fields).await.expect(200).json(),
            json!({ "outcome": "confirmed" })
        );
        browser.redeem(&scanned.page).await.expect(200);
        browser.open("/").await.expect(200);
        assert_eq!(world.upstream.last().header("remote-phone").as_deref(), number);
    }
}

#[tokio::test]
async fn a_number_that_is_never_asked_for_is_not_spent() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    assert_eq!(phone.shown["phone"], "never");
    phone.confirm_with_phone(scanned.number).await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 0);
}

#[tokio::test]
async fn a_number_of_somebody_else_ends_a_login_that_needs_it_and_both_sides_see_it() {
    let world = World::plan().set("connections.0.phone", "required").start().await;
    import(&world, "alice", "+8613900139000").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone
        .confirm_with_phone(scanned.number)
        .await
        .refused(409, "phone_taken");
    assert_eq!(scanned.events.until("failed").await["error"]["code"], "phone_taken");
    assert_eq!(phone.status().await.json()["error"]["code"], "phone_taken");
    browser.redeem(&scanned.page).await.refused(409, "phone_taken");
}

#[tokio::test]
async fn a_number_of_somebody_else_is_left_out_where_it_is_optional_and_the_phone_says_so() {
    let world = World::plan().set("connections.0.phone", "optional").start().await;
    import(&world, "alice", "+8613900139000").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    let answer = phone.confirm_with_phone(scanned.number).await.expect(200).json();
    assert_eq!(answer, json!({ "outcome": "confirmed", "phone_note": "phone_taken" }));
    browser.redeem(&scanned.page).await.expect(200);
    browser.open("/").await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("remote-phone"), None);
    assert!(seen.header("remote-user").unwrap().starts_with("u_"));
}

#[tokio::test]
async fn a_person_found_by_their_number_gets_their_old_name() {
    let world = World::plan()
        .set("connections.0.phone", "required")
        .set("connections.0.association", "field")
        .start()
        .await;
    import(&world, "alice", "+8613900139000").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.confirm_with_phone(scanned.number).await.expect(200);
    assert_eq!(scanned.events.until("confirmed").await["user"]["name"], "王**");
    browser.redeem(&scanned.page).await.expect(200);
    browser.open("/").await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("remote-user").as_deref(), Some("alice"));
    assert_eq!(
        seen.header("remote-name").as_deref(),
        Some("%E7%8E%8B%E5%B0%8F%E6%98%8E")
    );
    assert_eq!(seen.header("remote-groups").as_deref(), Some("staff,ops"));
    let mut store = world.watch_store().await;
    assert_eq!(store.count("SELECT count(*) FROM users").await, 1);
    // Once, and not at every login from then on.
    world.browser().log_in("lilei").await;
    world
        .until(async || store.count("SELECT count(*) FROM audit WHERE kind = 'login'").await == 2)
        .await;
    assert_eq!(store.count("SELECT count(*) FROM audit WHERE kind = 'bind'").await, 1);
}

#[tokio::test]
async fn a_number_joins_nobody_who_has_this_app_already() {
    let world = World::plan()
        .set("connections.0.phone", "required")
        .set("connections.0.association", "field")
        .wechat(|config| config.personas[2].phone = config.personas[1].phone.clone())
        .start()
        .await;
    import(&world, "alice", "+8613900139000").await;
    world.browser().log_in("lilei").await;
    // The same number at another WeChat account: it was given to somebody else.
    let mut browser = world.browser();
    let mut phone = world.phone("hanmeimei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone
        .confirm_with_phone(scanned.number)
        .await
        .refused(409, "phone_taken");
    assert_eq!(scanned.events.until("failed").await["error"]["code"], "phone_taken");
}

#[tokio::test]
async fn a_stranger_is_refused_where_nobody_new_may_come() {
    let world = World::plan().set("connections.0.login_only", true).start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    events.until("pending").await;
    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.refused(403, "no_account");
    assert_eq!(events.until("failed").await["error"]["code"], "no_account");
    browser.redeem(&page).await.refused(403, "no_account");
    let mut store = world.watch_store().await;
    assert_eq!(store.count("SELECT count(*) FROM users").await, 0);
}

#[tokio::test]
async fn who_is_found_by_number_may_come_where_nobody_new_may() {
    let world = World::plan()
        .set("connections.0.login_only", true)
        .set("connections.0.phone", "required")
        .set("connections.0.association", "field")
        .start()
        .await;
    import(&world, "alice", "+8613900139000").await;
    world.browser().log_in("lilei").await;
    let mut browser = world.browser();
    let mut phone = world.phone("hanmeimei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone
        .confirm_with_phone(scanned.number)
        .await
        .refused(403, "no_account");
    assert_eq!(scanned.events.until("failed").await["error"]["code"], "no_account");
}

#[tokio::test]
async fn a_disabled_person_is_refused_at_every_step_and_put_out_at_once() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    let user = world.upstream.last().header("remote-user").unwrap();
    let store = world.store().await;

    // Between confirmation and redemption.
    let mut other = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = other.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.expect(200);
    scanned.events.until("confirmed").await;
    assert!(
        store
            .set_disabled(&user, true, "left", world.clock.now())
            .await
            .unwrap()
    );
    other.redeem(&scanned.page).await.refused(403, "user_disabled");
    assert_eq!(scanned.events.until("failed").await["error"]["code"], "user_disabled");

    // The session that was there.
    let request = browser.script("GET", "/");
    world.until(async || world.send(&request).await.status == 401).await;

    // The next scan.
    let page = world.browser().open("/").await.login_page();
    phone.scan(&page.ticket).await.refused(403, "user_disabled");
    let mut watch = world.watch_store().await;
    assert_eq!(
        watch.count("SELECT count(*) FROM users").await,
        1,
        "nobody new in their place"
    );
}

#[tokio::test]
async fn another_person_at_this_browser_is_asked_about_and_ends_the_applications_cookies() {
    let world = World::plan()
        .set("sites.0.app_cookies", vec!["PHPSESSID"])
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let page = browser
        .open("/.menshen/login?switch=true&rd=/x")
        .await
        .expect(200)
        .login_page();
    assert_eq!(page.config["switching"], true);
    let mut events = browser.events(&page).await;
    let mut phone = world.phone("hanmeimei");
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.confirm(number).await.expect(200);
    assert_eq!(events.until("confirmed").await["other_user"], true);
    let redeemed = browser.redeem(&page).await.expect(200);
    assert!(
        redeemed
            .set_cookie("PHPSESSID")
            .is_some_and(|line| line.contains("Max-Age=0")),
        "{}",
        redeemed.head()
    );
    let mut store = world.watch_store().await;
    assert_eq!(
        store
            .count("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
            .await,
        1
    );
}

/// A person as an operator would have imported them.
async fn import(world: &World, username: &str, phone: &str) {
    let user = NewUser {
        id: new_user_id().unwrap(),
        username: Some(username.to_owned()),
        name: Some("王小明".to_owned()),
        phone: Some(phone.to_owned()),
        groups: vec!["staff".to_owned(), "ops".to_owned()],
        created_at: world.clock.now(),
        ..NewUser::default()
    };
    world.store().await.insert_user(&user).await.unwrap();
}

#[tokio::test]
async fn a_person_who_was_just_changed_is_served_as_the_new_one_and_not_cut_off() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let id = browser.fetch("GET", "/.menshen/userinfo").await.json()["sub"].clone();
    let change = UserChange {
        name: Some(Some("Li Lei".to_owned())),
        ..UserChange::default()
    };
    let store = world.store().await;
    assert!(
        store
            .update_user(id.as_str().unwrap(), &change, world.clock.now())
            .await
            .unwrap()
    );
    world
        .until(async || {
            browser.fetch("GET", "/").await.expect(200);
            world.upstream.last().header("remote-name").as_deref() == Some("Li%20Lei")
                || world.upstream.last().header("remote-name").as_deref() == Some("Li Lei")
        })
        .await;
    // Clocks may differ, so that the change counts as new for some seconds more.
    for page in 0..20 {
        browser.fetch("GET", &format!("/{page}")).await.expect(200);
    }
}

/// Whoever only scanned is named, masked; what they look like is nobody's business until they have agreed.
#[tokio::test]
async fn a_picture_is_shown_to_the_page_when_its_person_has_confirmed() {
    let world = World::start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let id = browser.fetch("GET", "/.menshen/userinfo").await.json()["sub"].clone();
    let change = UserChange {
        name: Some(Some("李雷".to_owned())),
        picture: Some(Some("https://pictures.test/lilei.png".to_owned())),
        ..UserChange::default()
    };
    let store = world.store().await;
    let now = world.clock.now();
    assert!(store.update_user(id.as_str().unwrap(), &change, now).await.unwrap());

    let mut other = world.browser();
    let page = other.open("/").await.login_page();
    let mut events = other.events(&page).await;
    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.expect(200);
    let scanned = events.until("scanned").await;
    assert_eq!(scanned["user"], json!({ "name": "李*" }));
    phone.confirm(scanned["number"].as_i64().unwrap()).await.expect(200);
    let confirmed = events.until("confirmed").await;
    assert_eq!(
        confirmed["user"],
        json!({ "name": "李*", "picture": "https://pictures.test/lilei.png" })
    );
}
