//! Association `ask`: the phone agrees, the browser chooses an account, the phone accepts it.

use menshen::accounts::{new_user_id, proof};
use menshen::sandbox::Endpoint;
use menshen::store::{NewUser, Store};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::browser::{Browser, Scanned, between};
use crate::support::phone::Phone;
use crate::support::world::Plan;
use crate::support::{Answer, World};

const PASSWORD: &str = "correct horse battery staple";

fn plan() -> Plan {
    World::plan().set("connections.0.association", "ask")
}

/// An account as an operator made it, with a password. Its id.
async fn account(world: &World, username: &str) -> String {
    let user = NewUser {
        id: new_user_id().unwrap(),
        username: Some(username.to_owned()),
        name: Some("王小明".to_owned()),
        groups: vec!["staff".to_owned()],
        created_at: world.clock.now(),
        ..NewUser::default()
    };
    world.store().await.insert_user(&user).await.unwrap();
    world.keep_secret(PASSWORD);
    let hash = proof::hash(PASSWORD).await.unwrap();
    let statement = "UPDATE users SET password_hash = $2 WHERE id = $1";
    assert_eq!(world.watch_store().await.write(statement, &[&user.id, &hash]).await, 1);
    user.id
}

/// A bind code of an hour for an account.
async fn bind_code(world: &World, user_id: &str) -> String {
    let code = proof::new_bind_code().unwrap().expose_secret().to_owned();
    world.keep_secret(&code);
    let hash = proof::hash(&proof::normalise_bind_code(&code)).await.unwrap();
    let now = world.clock.now();
    let statement = "INSERT INTO bind_codes (id, user_id, hash, created_at, expires_at)
         VALUES ($1, $2, $3, CAST($4 AS BIGINT), CAST($5 AS BIGINT))";
    let values = [&code[..4], user_id, &hash, &now.to_string(), &(now + 3_600).to_string()];
    assert_eq!(world.watch_store().await.write(statement, &values).await, 1);
    code
}

/// A login up to the browser's choice.
async fn choosing<'w>(browser: &mut Browser<'w>, phone: &mut Phone<'w>) -> Scanned {
    let mut scanned = browser.scanned_by(phone).await;
    let answer = phone.confirm(scanned.number).await.expect(200);
    assert_eq!(answer.json(), json!({ "outcome": "bind" }));
    let status = scanned.events.until("bind").await;
    assert_eq!(status.get("user"), None);
    scanned
}

async fn send(browser: &mut Browser<'_>, scanned: &Scanned, body: &Value) -> Answer {
    let target = format!("/.menshen/tickets/{}/bind", scanned.page.ticket);
    browser.fetch_json(&target, body).await
}

fn by(method: &str, login: &str, proof: &str) -> Value {
    json!({ "action": "bind", "method": method, "login": login, "proof": proof })
}

async fn claim(browser: &mut Browser<'_>, scanned: &Scanned, login: &str, proof: &str) -> Answer {
    send(browser, scanned, &by("password", login, proof)).await
}

async fn count(world: &World, of: &'static str) -> i64 {
    world.watch_store().await.count(of).await
}

/// Kinds and reasons of what was audited about logins, in order.
async fn audited(world: &World, wanted: usize) -> Vec<String> {
    let store: Store = world.store().await;
    let mut found = Vec::new();
    world
        .until(async || {
            let rows = store.audit_after(0, 1_000).await.unwrap();
            found = rows
                .into_iter()
                .map(|row| match row.reason {
                    Some(reason) => format!("{} {reason}", row.kind),
                    None => row.kind,
                })
                .collect();
            found.len() >= wanted
        })
        .await;
    found
}

#[tokio::test]
async fn a_new_account_is_made_when_the_browser_asks_for_one() {
    let world = plan()
        .set("connections.0.phone", "required")
        .set("login.bind_ttl", "5m")
        .start()
        .await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = browser.scanned_by(&mut phone).await;
    phone.confirm(scanned.number).await.refused(422, "phone_required");
    let agreed = phone.confirm_with_phone(scanned.number).await.expect(200);
    assert_eq!(agreed.json()["outcome"], "bind");
    let waits = scanned.events.until("bind").await["expires_in"].as_i64().unwrap();
    assert!((295..=300).contains(&waits), "{waits}");
    // The same tap again gets the same answer, and costs nothing.
    assert_eq!(
        phone.confirm(scanned.number).await.expect(200).json()["outcome"],
        "bind"
    );
    assert_eq!(world.sandbox.calls(Endpoint::PhoneNumber), 1);
    let told = phone.status().await.json();
    assert_eq!((&told["status"], told.get("account")), (&json!("bind"), None));
    assert!((295..=300).contains(&told["expires_in"].as_i64().unwrap()));
    browser.redeem(&scanned.page).await.refused(409, "wrong_state");
    assert_eq!(count(&world, "SELECT count(*) FROM users").await, 0);
    assert_eq!(
        count(&world, "SELECT count(*) FROM tickets WHERE phone IS NOT NULL").await,
        1
    );

    let made = send(&mut browser, &scanned, &json!({ "action": "create" }))
        .await
        .expect(200);
    assert_eq!(made.json()["status"], "confirmed");
    scanned.events.until("confirmed").await;
    assert_eq!(phone.status().await.json()["status"], "confirmed");
    browser.redeem(&scanned.page).await.expect(200);
    browser.open("/").await.expect(200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("remote-phone").as_deref(), Some("+8613900139000"));
    assert_eq!(
        count(&world, "SELECT count(*) FROM tickets WHERE phone IS NOT NULL").await,
        0
    );
    assert_eq!(
        audited(&world, 4).await,
        ["scan", "confirm bind", "user_created", "login"]
    );
    // Known from now on.
    world.browser().log_in("lilei").await;
    assert_eq!(count(&world, "SELECT count(*) FROM users").await, 1);
}

#[tokio::test]
async fn a_bind_code_proves_an_account_and_the_phone_has_the_last_tap() {
    let world = plan().start().await;
    let user = account(&world, "wangxiaoming").await;
    let code = bind_code(&world, &user).await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = choosing(&mut browser, &mut phone).await;
    phone.accept().await.refused(409, "wrong_state");

    let typed = format!(" {} ", code.to_lowercase());
    let proven = send(&mut browser, &scanned, &by("bind_code", "WangXiaoming", &typed))
        .await
        .expect(200);
    assert_eq!(
        (&proven.json()["status"], &proven.json()["user"]["name"]),
        (&json!("bind"), &json!("王**"))
    );
    assert_eq!(scanned.events.until("bind").await["user"]["name"], "王**");
    // Nobody accepts what they were not shown, and nothing is bound before.
    phone.accept().await.refused(409, "browser_absent");
    browser.redeem(&scanned.page).await.refused(409, "wrong_state");
    assert_eq!(count(&world, "SELECT count(*) FROM identities").await, 0);
    assert_eq!(phone.status().await.json()["account"], json!({ "name": "王**" }));
    // The choice is made: neither another account nor a new one slips under the phone's eyes.
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(409, "wrong_state");
    send(&mut browser, &scanned, &json!({ "action": "create" }))
        .await
        .refused(409, "wrong_state");

    assert_eq!(
        phone.accept().await.expect(200).json(),
        json!({ "outcome": "confirmed" })
    );
    assert_eq!(
        phone.accept().await.expect(200).json(),
        json!({ "outcome": "confirmed" })
    );
    assert_eq!(scanned.events.until("confirmed").await["user"]["name"], "王**");
    browser.redeem(&scanned.page).await.expect(200);
    browser.open("/").await.expect(200);
    assert_eq!(
        world.upstream.last().header("remote-user").as_deref(),
        Some("wangxiaoming")
    );
    assert_eq!(world.upstream.last().header("remote-groups").as_deref(), Some("staff"));
    assert_eq!(audited(&world, 4).await, ["scan", "confirm bind", "bind", "login"]);
    assert_eq!(
        count(&world, "SELECT count(*) FROM bind_codes WHERE used_at IS NULL").await,
        0
    );

    // The code is used up.
    let mut other = world.browser();
    let mut stranger = world.phone("hanmeimei");
    let again = choosing(&mut other, &mut stranger).await;
    let spent = send(&mut other, &again, &by("bind_code", "wangxiaoming", &code)).await;
    spent.refused(422, "proof_wrong");
}

#[tokio::test]
async fn a_password_proves_an_account_and_an_account_is_bound_once() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", "wrong")
        .await
        .refused(422, "proof_wrong");
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .expect(200);
    phone.status().await.expect(200);
    phone.accept().await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);

    let mut other = world.browser();
    let mut stranger = world.phone("hanmeimei");
    let mut again = choosing(&mut other, &mut stranger).await;
    claim(&mut other, &again, "wangxiaoming", "wrong")
        .await
        .refused(422, "proof_wrong");
    claim(&mut other, &again, "wangxiaoming", PASSWORD)
        .await
        .refused(409, "account_bound");
    // Another choice is still open.
    send(&mut other, &again, &json!({ "action": "create" }))
        .await
        .expect(200);
    again.events.until("confirmed").await;
    other.redeem(&again.page).await.expect(200);
    assert_eq!(count(&world, "SELECT count(*) FROM identities").await, 2);
}

#[tokio::test]
async fn a_disabled_account_is_said_to_be_so_only_to_who_proves_it() {
    let world = plan().start().await;
    let user = account(&world, "wangxiaoming").await;
    let store = world.store().await;
    assert!(
        store
            .set_disabled(&user, true, "left", world.clock.now())
            .await
            .unwrap()
    );
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", "wrong")
        .await
        .refused(422, "proof_wrong");
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(403, "user_disabled");
    assert_eq!(browser.status(&scanned.page).await.json()["status"], "bind");
}

#[tokio::test]
async fn the_fifth_wrong_proof_ends_the_ticket_on_both_screens() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = choosing(&mut browser, &mut phone).await;
    let attempts = [
        ("wangxiaoming", "wrong"),
        ("nobody", PASSWORD),
        ("", "x"),
        ("wangxiaoming", ""),
        ("1", "2"),
    ];
    let mut answers = Vec::new();
    for (login, proof) in attempts {
        let answer = claim(&mut browser, &scanned, login, proof)
            .await
            .refused(422, "proof_wrong");
        answers.push(answer.json()["error"]["message"].clone());
    }
    assert!(answers.iter().all(|message| *message == answers[0]), "{answers:?}");
    assert_eq!(scanned.events.until("failed").await["error"]["code"], "proof_wrong");
    let told = phone.status().await.json();
    assert_eq!(
        (&told["status"], &told["error"]["code"]),
        (&json!("failed"), &json!("proof_wrong"))
    );
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(422, "proof_wrong");
    send(&mut browser, &scanned, &json!({ "action": "create" }))
        .await
        .refused(422, "proof_wrong");
    browser.redeem(&scanned.page).await.refused(422, "proof_wrong");
    assert_eq!(count(&world, "SELECT count(*) FROM identities").await, 0);
    let events = audited(&world, 7).await;
    assert_eq!(
        events
            .iter()
            .filter(|event| *event == "login_failed proof_wrong")
            .count(),
        5,
        "{events:?}"
    );
}

#[tokio::test]
async fn ten_wrong_proofs_lock_a_method_and_look_like_any_other() {
    let world = plan().set("limits.phone_calls", "100000/min").start().await;
    let user = account(&world, "wangxiaoming").await;
    let code = bind_code(&world, &user).await;
    for persona in ["lilei", "hanmeimei"] {
        let mut browser = world.browser();
        let mut phone = world.phone(persona);
        let scanned = choosing(&mut browser, &mut phone).await;
        for _ in 0..5 {
            claim(&mut browser, &scanned, "wangxiaoming", "wrong")
                .await
                .refused(422, "proof_wrong");
        }
    }
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(422, "proof_wrong");
    let events = audited(&world, 17).await;
    assert_eq!(
        events.last().map(String::as_str),
        Some("login_failed proof_locked"),
        "{events:?}"
    );
    // The other method is not locked.
    send(&mut browser, &scanned, &by("bind_code", "wangxiaoming", &code))
        .await
        .expect(200);
    // And the lock ends with its hour.
    world.advance(3_601);
    world.ready().await;
    let mut browser = world.browser();
    let mut phone = world.phone("hanmeimei");
    let scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .expect(200);
}

#[tokio::test]
async fn wrong_proofs_count_tenfold_in_the_limit_of_the_address() {
    let world = plan().set("limits.phone_calls", "40/h").start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    // Scan, confirm: 2 of 40. Three wrong proofs: 30 more. What is left is no tenfold.
    let scanned = choosing(&mut browser, &mut phone).await;
    for _ in 0..3 {
        claim(&mut browser, &scanned, "wangxiaoming", "wrong")
            .await
            .refused(422, "proof_wrong");
    }
    for _ in 0..8 {
        phone.status().await.expect(200);
    }
    let answer = claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(429, "rate_limited");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        count(&world, "SELECT proof_failures FROM tickets").await,
        3,
        "what is refused is not looked at"
    );
}

#[tokio::test]
async fn without_the_last_tap_nothing_is_bound() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .expect(200);
    phone.status().await.expect(200);
    world.advance(601);
    phone.accept().await.refused(410, "ticket_expired");
    browser.redeem(&scanned.page).await.refused(410, "ticket_expired");
    assert_eq!(count(&world, "SELECT count(*) FROM identities").await, 0);
    assert_eq!(count(&world, "SELECT count(*) FROM users").await, 1);
}

#[tokio::test]
async fn a_phone_that_comes_back_is_shown_the_account_before_it_accepts() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .expect(200);
    let old = phone.handle.clone();
    let shown = phone.scan(&scanned.page.ticket).await.expect(200).json();
    assert_eq!(
        (&shown["status"], &shown["account"]["name"]),
        (&json!("bind"), &json!("王**"))
    );
    let call = phone.call("confirm", &json!({ "handle": old, "accept": true })).await;
    call.refused(404, "ticket_unknown");
    // Somebody else's phone has no say.
    world
        .phone("hanmeimei")
        .scan(&scanned.page.ticket)
        .await
        .refused(409, "ticket_taken");
    phone
        .confirm_with(&json!({ "choice": scanned.number, "accept": true }))
        .await
        .expect(200);
}

#[tokio::test]
async fn the_phone_ends_a_choice_and_so_does_the_browser() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let mut scanned = choosing(&mut browser, &mut phone).await;
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .expect(200);
    phone.not_me().await.expect(204);
    assert_eq!(scanned.events.until("cancelled").await["reason"], "not_me");
    phone.accept().await.refused(410, "ticket_cancelled");
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(410, "ticket_cancelled");

    let scanned = choosing(&mut browser, &mut phone).await;
    let cancel = format!("/.menshen/tickets/{}/cancel", scanned.page.ticket);
    browser
        .fetch_json(&cancel, &json!({ "reason": "not_me" }))
        .await
        .expect(204);
    assert_eq!(phone.status().await.json()["status"], "cancelled");
    assert_eq!(count(&world, "SELECT count(*) FROM identities").await, 0);
}

#[tokio::test]
async fn the_choice_belongs_to_the_browser_that_asked_and_to_its_own_pages() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    let (create, proof) = (json!({ "action": "create" }), by("password", "wangxiaoming", PASSWORD));
    for body in [&create, &proof] {
        send(&mut world.browser(), &scanned, body)
            .await
            .refused(404, "ticket_unknown");
        let target = format!("/.menshen/tickets/{}/bind", scanned.page.ticket);
        let foreign = browser
            .script("POST", &target)
            .without("Sec-Fetch-Site")
            .without("Origin")
            .header("Sec-Fetch-Site", "cross-site")
            .header("Origin", "http://evil.test")
            .json(body);
        browser.send(foreign).await.refused(403, "cross_origin");
        let bare = browser
            .script("POST", &target)
            .without("Sec-Fetch-Site")
            .without("Origin")
            .json(body);
        browser.send(bare).await.refused(403, "cross_origin");
    }
    // The same cookies at another host of the gateway: it has a ticket of its own, or none.
    let elsewhere = browser
        .script("POST", &format!("/.menshen/tickets/{}/bind", scanned.page.ticket))
        .without("Host")
        .without("Origin")
        .header("Host", &world.authority("login.test"))
        .header("Origin", &world.origin("login.test"))
        .json(&create);
    browser.send(elsewhere).await.refused(404, "ticket_unknown");
    for nonsense in [
        json!({}),
        json!({ "action": "take" }),
        by("phone_code", "wangxiaoming", "1234"),
        by("password", &"x".repeat(1_025), PASSWORD),
        by("password", "wangxiaoming", &"x".repeat(1_025)),
    ] {
        send(&mut browser, &scanned, &nonsense)
            .await
            .refused(400, "bad_request");
    }
    assert_eq!(browser.status(&scanned.page).await.json()["status"], "bind");
    assert_eq!(count(&world, "SELECT proof_failures FROM tickets").await, 0);
}

#[tokio::test]
async fn login_only_binds_and_makes_nobody_and_a_method_that_is_not_listed_proves_nothing() {
    let world = plan()
        .set("connections.0.login_only", true)
        .set("connections.0.bind_methods", vec!["bind_code"])
        .start()
        .await;
    let user = account(&world, "wangxiaoming").await;
    let code = bind_code(&world, &user).await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    assert_eq!(scanned.page.config["may_create"], false);
    let html = scanned.page.answer.text();
    assert!(
        !html.contains("value=\"create\"") && !html.contains("current-password"),
        "{html}"
    );
    send(&mut browser, &scanned, &json!({ "action": "create" }))
        .await
        .refused(403, "no_account");
    claim(&mut browser, &scanned, "wangxiaoming", PASSWORD)
        .await
        .refused(409, "wrong_state");
    send(&mut browser, &scanned, &by("bind_code", "wangxiaoming", &code))
        .await
        .expect(200);
    phone.status().await.expect(200);
    phone.accept().await.expect(200);
    browser.redeem(&scanned.page).await.expect(200);
}

#[tokio::test]
async fn who_is_known_is_not_asked_and_a_connection_that_does_not_ask_has_no_choice() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    send(&mut browser, &scanned, &json!({ "action": "create" }))
        .await
        .expect(200);
    browser.redeem(&scanned.page).await.expect(200);
    let mut second = world.browser();
    let known = second.scanned_by(&mut phone).await;
    assert_eq!(
        phone.confirm(known.number).await.expect(200).json()["outcome"],
        "confirmed"
    );
    send(&mut second, &known, &json!({ "action": "create" }))
        .await
        .refused(409, "wrong_state");

    let plain = World::start().await;
    let mut browser = plain.browser();
    let mut phone = plain.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    assert!(!scanned.page.answer.text().contains("/bind\""));
    phone
        .confirm_with(&json!({ "choice": scanned.number, "accept": true }))
        .await
        .refused(409, "wrong_state");
    assert_eq!(
        phone.status().await.json()["status"],
        "scanned",
        "a last tap comes last"
    );
    send(&mut browser, &scanned, &json!({ "action": "create" }))
        .await
        .refused(409, "wrong_state");
}

#[tokio::test]
async fn a_browser_without_javascript_binds_by_forms() {
    let world = plan().start().await;
    account(&world, "wangxiaoming").await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = choosing(&mut browser, &mut phone).await;
    let plain = format!("/.menshen/tickets/{}/page", scanned.page.ticket);
    let form = browser.open(&plain).await.expect(200).text();
    assert!(
        form.contains("data-state=\"bind\"") && !form.contains("http-equiv=\"refresh\""),
        "{form}"
    );
    let action = between(&form, "<form method=\"post\" action=\"", "\"")
        .unwrap()
        .to_owned();
    assert_eq!(action, format!("/.menshen/tickets/{}/bind", scanned.page.ticket));
    let fields = |proof| {
        [
            ("action", "bind"),
            ("method", "password"),
            ("login", "wangxiaoming"),
            ("proof", proof),
        ]
    };

    let refused = browser.submit(&action, &fields("wrong")).await.expect(422);
    let html = refused.text();
    assert!(
        html.contains("aria-invalid=\"true\"") && html.contains("value=\"wangxiaoming\""),
        "{html}"
    );
    assert!(!html.contains("\"wrong\""), "the proof comes back");

    let proven = browser.submit(&action, &fields(PASSWORD)).await.expect(303);
    assert_eq!(proven.header("location"), Some(&*plain));
    let waiting = browser.open(&plain).await.expect(200).text();
    assert!(
        waiting.contains("data-state=\"accept\"") && waiting.contains("http-equiv=\"refresh\""),
        "{waiting}"
    );
    assert!(waiting.contains("王**"), "{waiting}");
    // The button twice.
    let again = browser.submit(&action, &fields(PASSWORD)).await.expect(303);
    assert_eq!(again.header("location"), Some(&*plain));

    phone.status().await.expect(200);
    phone.accept().await.expect(200);
    let confirmed = browser.open(&plain).await.expect(200).text();
    let redeem = between(&confirmed, "<form method=\"post\" action=\"", "\"")
        .unwrap()
        .to_owned();
    let redeemed = browser.submit(&redeem, &[]).await.expect(303);
    assert_eq!(redeemed.header("location"), Some("/"));
    browser.open("/").await.expect(200);
    assert_eq!(
        world.upstream.last().header("remote-user").as_deref(),
        Some("wangxiaoming")
    );
}

#[tokio::test]
async fn forms_carry_a_long_address_and_the_last_wrong_proof_leads_to_the_end() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let long = format!("/search?q={}", "x".repeat(3_000));
    let page = browser.open(&long).await.login_page();
    let mut phone = world.phone("lilei");
    let mut events = browser.events(&page).await;
    phone.scan(&page.ticket).await.expect(200);
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    phone.confirm(number).await.expect(200);
    let action = format!("/.menshen/tickets/{}/bind", page.ticket);
    let fields = [
        ("action", "bind"),
        ("method", "bind_code"),
        ("login", "nobody"),
        ("proof", "AAAA"),
        ("rd", &*long),
    ];
    for _ in 0..4 {
        let html = browser.submit(&action, &fields).await.expect(422).text();
        assert!(html.contains(&format!("name=\"rd\" value=\"{long}\"")), "{html}");
    }
    let last = browser.submit(&action, &fields).await.expect(303);
    let back = last.header("location").unwrap().to_owned();
    assert!(back.contains("/page?rd=%2Fsearch"), "{back}");
    let ended = browser.open(&back).await.expect(200).text();
    assert!(ended.contains("data-state=\"failed\""), "{ended}");
    assert!(
        ended.contains("/.menshen/login?connection=staff&#38;rd=%2Fsearch"),
        "{ended}"
    );
}
