//! Logins by a service account's code: the message that WeChat pushes, the link in the answer, the page behind it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use menshen::sandbox::{
    AccountAct, Attempt, Effect, Endpoint, Fault, Push, PushMode, PushReply, PushSettings, SERVICE_APP,
};
use menshen::store::UserChange;
use serde_json::{Value, json};
use url::Url;

use crate::support::browser::Events;
use crate::support::phone::Phone;
use crate::support::postgres::Postgres;
use crate::support::upstream::{Upstream, answer as bytes_of};
use crate::support::wire::Request;
use crate::support::world::{PUBLIC_HOST, Plan, SITE};
use crate::support::{Answer, Browser, World, browser::LoginPage};

const ID: &str = "follow";
const TOKEN: &str = "MenshenSandboxToken01";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const WECHAT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 \
    MicroMessenger/8.0.50";

/// With a service account as the only way into the site.
fn plan(mode: PushMode, more: &str) -> Plan {
    of(World::plan(), mode, more)
}

fn of(plan: Plan, mode: PushMode, more: &str) -> Plan {
    let (word, key) = match mode {
        PushMode::Plain => ("plain", String::new()),
        PushMode::Compatible => ("compatible", format!("encoding_aes_key = \"{KEY}\"\n")),
        PushMode::Safe => ("safe", format!("encoding_aes_key = \"{KEY}\"\n")),
    };
    let connection = format!(
        "[[connections]]\nid = \"{ID}\"\nkind = \"official-account-qr\"\ndisplay_name = \"Account\"\n\
         app_id = \"{SERVICE_APP}\"\napp_secret = \"{SECRET}\"\nopen_platform = \"corp\"\ntoken = \"{TOKEN}\"\n\
         push_mode = \"{word}\"\n{key}{more}\n"
    );
    plan.append(&connection)
        .set("sites.0.connections", vec![ID])
        .set("branding.locale", "en")
        .wechat(|config| {
            for app in &mut config.apps {
                app.open_platform = Some("corp".to_owned());
                if app.app_id.as_str() == SERVICE_APP {
                    app.secret = SECRET.into();
                    app.push = Some(PushSettings {
                        token: TOKEN.to_owned(),
                        encoding_aes_key: KEY.to_owned(),
                        ..PushSettings::new("/unused", mode)
                    });
                }
            }
        })
}

async fn world() -> World {
    let world = plan(PushMode::Safe, "").start().await;
    for secret in [TOKEN, KEY, SECRET] {
        world.keep_secret(secret);
    }
    world
}

/// A push as WeChat's server sends it, before anybody looks at it.
fn pushed(world: &World, attempt: &Attempt) -> Request {
    let request = Request::post(&format!("/.menshen/connections/{ID}/push?{}", attempt.query))
        .header("Host", &world.authority(PUBLIC_HOST))
        .header("User-Agent", "Mozilla/4.0")
        .header("Accept", "*/*")
        .body("text/xml", attempt.body.as_bytes());
    if world.is_https() {
        request
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-For", "203.0.113.200")
    } else {
        request
    }
}

fn act(world: &World, persona: &str, act: AccountAct<'_>) -> Push {
    world.sandbox.account_act(SERVICE_APP, persona, act).unwrap()
}

/// One attempt at delivering a message, and what the person sees.
async fn deliver(world: &World, push: &Push) -> PushReply {
    let attempt = push.attempt(world.sandbox.now());
    let answer = world.send(&pushed(world, &attempt)).await.expect(200);
    push.read(&answer.body)
}

async fn scan(world: &World, persona: &str, scene: &str) -> PushReply {
    let push = act(world, persona, AccountAct::Scan(scene));
    deliver(world, &push).await
}

#[track_caller]
fn text_of(reply: &PushReply) -> &str {
    match reply {
        PushReply::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The link in an answer: the address of the page, and the handle behind it.
#[track_caller]
fn link_in(reply: &PushReply) -> (String, String) {
    let text = text_of(reply);
    let (_, rest) = text
        .split_once("<a href=\"")
        .unwrap_or_else(|| panic!("no link: {text}"));
    let (url, _) = rest.split_once("\">").unwrap();
    let (page, handle) = url.split_once('#').expect("the handle in the fragment");
    (page.to_owned(), handle.to_owned())
}

/// The page behind the link, with the calls that its script makes.
struct ConfirmPage<'w> {
    phone: Phone<'w>,
}

impl<'w> ConfirmPage<'w> {
    fn of(world: &'w World, persona: &str, reply: &PushReply) -> Self {
        let mut phone = world.phone(persona);
        phone.handle = Some(link_in(reply).1);
        Self { phone }
    }
}

/// A login page whose code was asked for, and its stream.
async fn opened(browser: &mut Browser<'_>) -> (LoginPage, Events) {
    let page = browser.open("/reports").await.login_page();
    let events = browser.events(&page).await;
    (page, events)
}

/// Logs a person in, as far as the answer of `redeem`.
async fn log_in(world: &World, browser: &mut Browser<'_>, persona: &str) -> Value {
    let (page, mut events) = opened(browser).await;
    let reply = scan(world, persona, &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(world, persona, &reply);
    confirm.phone.status().await.expect(200);
    confirm.phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    browser.redeem(&page).await.expect(200).json()
}

#[tokio::test]
async fn whoever_follows_and_whoever_scans_again_logs_in_in_every_mode() {
    for mode in [PushMode::Safe, PushMode::Compatible, PushMode::Plain] {
        let world = plan(mode, "").start().await;
        let mut browser = world.browser();
        let (page, mut events) = opened(&mut browser).await;
        assert_eq!(world.sandbox.calls(Endpoint::AccountCode), 1, "one call for the code");
        assert!(page.picture_address().starts_with("data:image/svg+xml"), "drawn here");

        // Follows for the first time.
        let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
        assert!(push.xml.contains("qrscene_"), "{}", push.xml);
        let reply = deliver(&world, &push).await;
        let number = events.until("scanned").await["number"].as_i64().unwrap();
        let said = text_of(&reply);
        assert!(said.contains("Sign in to Wiki (wiki.test)?"), "{mode:?} {said}");
        let (address, _) = link_in(&reply);
        assert_eq!(
            address,
            format!("{}/.menshen/connections/{ID}/confirm", world.origin(PUBLIC_HOST))
        );

        let confirm = ConfirmPage::of(&world, "lilei", &reply);
        let shown = confirm.phone.status().await.expect(200).json();
        assert_eq!(
            (&shown["site"]["host"], &shown["phone"]),
            (&json!(SITE), &json!("never"))
        );
        assert_eq!(shown["choices"].as_array().unwrap().len(), 3);
        assert_eq!(
            confirm.phone.confirm(number).await.expect(200).json()["outcome"],
            "confirmed"
        );
        events.until("confirmed").await;
        assert_eq!(browser.redeem(&page).await.expect(200).json()["redirect"], "/reports");
        browser.open("/reports").await.expect(200);
        let me = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
        assert_eq!(me["connection"], ID);

        // Follows already: another event, the same person.
        let mut second = world.browser();
        let (page, mut events) = opened(&mut second).await;
        let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
        assert!(
            push.xml.contains("[SCAN]") && !push.xml.contains("qrscene_"),
            "{}",
            push.xml
        );
        let reply = deliver(&world, &push).await;
        let number = events.until("scanned").await["number"].as_i64().unwrap();
        let confirm = ConfirmPage::of(&world, "lilei", &reply);
        let shown = confirm.phone.status().await.expect(200).json();
        assert_eq!(shown["known"], true, "known users confirm as well");
        confirm.phone.confirm(number).await.expect(200);
        events.until("confirmed").await;
        second.redeem(&page).await.expect(200);
        let again = second.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
        assert_eq!(again["sub"], me["sub"]);
    }
}

#[tokio::test]
async fn the_session_says_how_they_came_and_the_unionid_knows_them_elsewhere() {
    let world = plan(PushMode::Safe, "")
        .set("sites.0.connections", vec![ID, "staff"])
        .set("sites.0.expose_wechat_ids", true)
        .set("connections.0.open_platform", "corp")
        .start()
        .await;
    let mut browser = world.browser();
    log_in(&world, &mut browser, "lilei").await;
    browser.open("/").await.expect(200);
    let seen = world.upstream.last();
    let token = seen.header("x-menshen-assertion").unwrap();
    let claims = claims_of(&token);
    assert_eq!(claims["amr"], json!(["wechat_official_account"]));
    assert_eq!(claims["wechat"]["appid"], SERVICE_APP);
    assert_eq!(claims["wechat"]["unionid"], world.sandbox.unionid("corp", "lilei"));

    // The same person by the mini program.
    let mut other = world.browser();
    let page = other.open("/.menshen/login?connection=staff").await.login_page();
    other.finish_login(&page, "lilei").await.expect(200);
    let me = other.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    assert_eq!(me["sub"], claims["sub"]);
}

fn claims_of(token: &str) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let middle = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

#[tokio::test]
async fn the_handshake_is_echoed_to_who_knows_the_token_at_one_host_only() {
    let world = world().await;
    let push = {
        let mut browser = world.browser();
        let (page, _events) = opened(&mut browser).await;
        act(&world, "lilei", AccountAct::Scan(&page.ticket))
    };
    let attempt = push.attempt(world.sandbox.now());
    let signed: String = attempt.query.split("&openid").next().unwrap().to_owned();
    let ask = async |host: &str, query: &str| {
        let target = format!("/.menshen/connections/{ID}/push?{query}");
        let request = Request::new("GET", &target)
            .header("Host", &world.authority(host))
            .header("Accept", "*/*");
        world.send(&request).await
    };
    let echoed = ask(PUBLIC_HOST, &format!("{signed}&echostr=4375120948345356249"))
        .await
        .expect(200);
    assert_eq!(echoed.text(), "4375120948345356249");
    assert_eq!(echoed.header("content-type"), Some("text/plain; charset=utf-8"));
    ask(SITE, &format!("{signed}&echostr=1"))
        .await
        .refused(404, "not_found");
    ask(PUBLIC_HOST, &signed).await.refused(400, "bad_request");
    ask(PUBLIC_HOST, &format!("{signed}&nonce=1&echostr=1"))
        .await
        .refused(400, "bad_request");
    let forged = signed.replacen("signature=", "signature=0", 1);
    ask(PUBLIC_HOST, &format!("{forged}&echostr=1"))
        .await
        .refused(403, "forbidden");
    world.advance(301);
    ask(PUBLIC_HOST, &format!("{signed}&echostr=1"))
        .await
        .refused(403, "forbidden");
}

#[tokio::test]
async fn what_wechat_did_not_sign_for_now_changes_nothing() {
    let world = world().await;
    let mut browser = world.browser();
    let (page, _events) = opened(&mut browser).await;
    let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    let good = push.attempt(world.sandbox.now());
    let with = |query: String, body: String| Attempt { query, body };
    let plain = |query: &str| query.split("&encrypt_type").next().unwrap().to_owned();
    let parts: Vec<&str> = good.query.split('&').collect();
    let value = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name)).unwrap();
    let bad = [
        with(
            good.query.replacen("msg_signature=", "msg_signature=0", 1),
            good.body.clone(),
        ),
        // The plain signature is right, and covers no body.
        with(
            good.query.replace(value("msg_signature="), value("signature=")),
            good.body.clone(),
        ),
        with(plain(&good.query), push.xml.clone()),
        with(plain(&good.query), good.body.clone()),
        with(
            good.query.clone(),
            good.body.replacen("<Encrypt><![CDATA[", "<Encrypt><![CDATA[AAAA", 1),
        ),
        with(good.query.clone(), "{\"Encrypt\":\"x\"}".to_owned()),
        with(
            good.query.clone(),
            format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", good.body),
        ),
        with(good.query.clone(), String::new()),
        push.attempt(world.sandbox.now() - 301),
        push.attempt(world.sandbox.now() + 301),
    ];
    for attempt in &bad {
        world.send(&pushed(&world, attempt)).await.refused(403, "forbidden");
    }
    assert_eq!(browser.status(&page).await.expect(200).json()["status"], "pending");
    let mut elsewhere = pushed(&world, &good).without("Host");
    elsewhere = elsewhere.header("Host", &world.authority(SITE));
    world.send(&elsewhere).await.refused(404, "not_found");
    // And what is right still is.
    let answer = world.send(&pushed(&world, &good)).await.expect(200);
    link_in(&push.read(&answer.body));
    assert_eq!(browser.status(&page).await.expect(200).json()["status"], "scanned");
}

#[tokio::test]
async fn whoever_guesses_signatures_is_slowed_down_and_wechat_is_not() {
    let world = plan(PushMode::Safe, "")
        .set("limits.phone_calls", "20/min")
        .start()
        .await;
    let push = act(
        &world,
        "lilei",
        AccountAct::Scan(&opened(&mut world.browser()).await.0.ticket),
    );
    let good = push.attempt(world.sandbox.now());
    let forged = Attempt {
        query: good.query.replacen("msg_signature=", "msg_signature=0", 1),
        body: good.body.clone(),
    };
    for _ in 0..2 {
        world.send(&pushed(&world, &forged)).await.refused(403, "forbidden");
    }
    world.send(&pushed(&world, &forged)).await.refused(429, "rate_limited");
    // From the same address, as it is behind one proxy.
    world.send(&pushed(&world, &good)).await.expect(200);
}

#[tokio::test]
async fn what_nobody_signed_counts_as_a_guess_whatever_is_wrong_with_it() {
    let long = format!("<xml>{}</xml>", "x".repeat(60 * 1024));
    let bodies = ["", "<a", "<xml/>", "<!DOCTYPE x [<!ENTITY a \"b\">]><xml/>", &long];
    for mode in [PushMode::Safe, PushMode::Compatible, PushMode::Plain] {
        for body in bodies {
            let world = plan(mode, "").set("limits.phone_calls", "20/min").start().await;
            let encrypted = "&encrypt_type=aes&msg_signature=0";
            for query in [
                "signature=0&timestamp=1&nonce=1".to_owned(),
                format!("signature=0{encrypted}"),
            ] {
                let unsigned = Attempt {
                    query,
                    body: body.to_owned(),
                };
                world.send(&pushed(&world, &unsigned)).await.refused(403, "forbidden");
            }
            let unsigned = Attempt {
                query: format!("signature=0{encrypted}"),
                body: body.to_owned(),
            };
            world
                .send(&pushed(&world, &unsigned))
                .await
                .refused(429, "rate_limited");
            let counted = world.gateway().status().metrics().unwrap();
            assert!(
                counted.contains("menshen_push_messages_total{connection=\"follow\",result=\"forged\"} 3"),
                "{mode:?} {body:.20}: {counted}"
            );
            assert!(
                !counted.contains("result=\"unreadable\""),
                "{mode:?} {body:.20}: {counted}"
            );
        }
    }
}

#[tokio::test]
async fn the_same_message_again_gets_the_same_answer_and_changes_nothing() {
    let world = world().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    let first = deliver(&world, &push).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(&world, "lilei", &first);
    confirm.phone.status().await.expect(200);
    let store = world.store().await;
    let before = store.ticket(&page.ticket).await.unwrap().unwrap();
    // Attempts have signatures of their own; a repeated request has the same.
    let same = push.attempt(world.sandbox.now());
    for _ in 0..2 {
        assert_eq!(deliver(&world, &push).await, first);
        let answer = world.send(&pushed(&world, &same)).await.expect(200);
        assert_eq!(push.read(&answer.body), first);
    }
    assert_eq!(
        store.ticket(&page.ticket).await.unwrap().unwrap(),
        before,
        "shown stays shown"
    );
    confirm.phone.confirm(number).await.expect(200);
    assert_eq!(deliver(&world, &push).await, first, "also after it was confirmed");
    events.until("confirmed").await;

    // The audit has one scan; what follows it is written behind it.
    let kinds = async || {
        let rows = store.audit_after(0, 100).await.unwrap();
        rows.into_iter().map(|row| row.kind).collect::<Vec<_>>()
    };
    world
        .until(async || kinds().await.iter().any(|kind| kind == "confirm"))
        .await;
    let kinds = kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "scan").count(), 1, "{kinds:?}");
}

#[tokio::test]
async fn a_second_scan_has_a_link_of_its_own_and_a_late_repetition_of_the_first_does_not_take_it_back() {
    let world = world().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let first = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    let one = deliver(&world, &first).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    world.advance(2);
    let second = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    let two = deliver(&world, &second).await;
    assert_ne!(link_in(&one).1, link_in(&two).1);
    ConfirmPage::of(&world, "lilei", &one)
        .phone
        .status()
        .await
        .refused(404, "ticket_unknown");

    assert_eq!(
        link_in(&deliver(&world, &first).await).1,
        link_in(&one).1,
        "WeChat's third attempt"
    );
    let confirm = ConfirmPage::of(&world, "lilei", &two);
    confirm.phone.status().await.expect(200);
    confirm.phone.confirm(number).await.expect(200);
}

#[tokio::test]
async fn who_scans_again_and_again_keeps_a_ticket_for_three_times_its_time() {
    let world = world().await;
    let mut browser = world.browser();
    let (page, _events) = opened(&mut browser).await;
    scan(&world, "lilei", &page.ticket).await;
    let code = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    let mut standing = Vec::new();
    for _ in 0..5 {
        world.clock.advance(100);
        // WeChat's own code has ended by then: the message is as its server would write it.
        let again = code.at(u64::try_from(world.clock.now()).unwrap());
        let attempt = again.attempt(u64::try_from(world.clock.now()).unwrap());
        world.send(&pushed(&world, &attempt)).await.expect(200);
        let status = browser.status(&page).await.expect(200).json();
        standing.push((status["status"].clone(), status["expires_in"].as_i64().unwrap()));
    }
    let left: Vec<i64> = standing.iter().map(|(_, left)| *left).collect();
    assert!(
        (115..=120).contains(&left[0]) && (115..=120).contains(&left[1]),
        "{left:?}"
    );
    assert!((50..=60).contains(&left[2]), "{left:?}");
    assert_eq!(standing[3].0, "expired");
    assert_eq!(standing[4].0, "expired");
}

#[tokio::test]
async fn the_second_person_is_told_and_the_first_one_goes_on() {
    let world = world().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let mine = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let other = scan(&world, "hanmeimei", &page.ticket).await;
    assert!(
        text_of(&other).starts_with("Somebody else has scanned this code already."),
        "{other:?}"
    );
    let confirm = ConfirmPage::of(&world, "lilei", &mine);
    confirm.phone.status().await.expect(200);
    confirm.phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
}

#[tokio::test]
async fn a_wrong_number_not_me_and_time_end_it_as_for_a_mini_program() {
    let world = world().await;
    // A wrong number.
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let reply = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(&world, "lilei", &reply);
    let shown = confirm.phone.status().await.expect(200).json();
    let wrong = shown["choices"].as_array().unwrap().iter().filter_map(Value::as_i64);
    let wrong = wrong.into_iter().find(|choice| *choice != number).unwrap();
    confirm.phone.confirm(wrong).await.refused(403, "wrong_number");
    assert_eq!(events.until("failed").await["error"]["code"], "wrong_number");
    let again = scan(&world, "lilei", &page.ticket).await;
    assert!(
        text_of(&again).starts_with("This code is not valid any more."),
        "{again:?}"
    );

    // Nobody confirms what they were not shown.
    let (page, mut events) = opened(&mut browser).await;
    let reply = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(&world, "lilei", &reply);
    confirm.phone.confirm(number).await.refused(409, "browser_absent");

    // "This was not me".
    confirm.phone.not_me().await.expect(204);
    events.until("cancelled").await;

    // Not me, after the browser has finished.
    let (page, mut events) = opened(&mut browser).await;
    let reply = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(&world, "lilei", &reply);
    confirm.phone.status().await.expect(200);
    confirm.phone.confirm(number).await.expect(200);
    browser.redeem(&page).await.expect(200);
    browser.open("/").await.expect(200);
    confirm.phone.not_me().await.expect(204);
    world
        .until(async || browser.fetch("GET", "/.menshen/userinfo").await.status == 401)
        .await;

    // Too late.
    let (page, _events) = opened(&mut browser).await;
    let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    world.clock.advance(130);
    let attempt = push.attempt(u64::try_from(world.clock.now()).unwrap());
    let answer = world.send(&pushed(&world, &attempt)).await.expect(200);
    assert!(text_of(&push.read(&answer.body)).starts_with("This code is not valid any more."));
    // WeChat's own code ends with the ticket.
    world.sandbox.advance(Duration::from_secs(130));
    assert!(
        world
            .sandbox
            .account_act(SERVICE_APP, "lilei", AccountAct::Scan(&page.ticket))
            .is_err()
    );
}

#[tokio::test]
async fn a_new_follower_is_greeted_and_nobody_else() {
    let world = plan(PushMode::Safe, "greeting = \"Welcome to the warehouse!\"\n")
        .start()
        .await;
    let mut browser = world.browser();
    let (page, _events) = opened(&mut browser).await;
    let first = scan(&world, "lilei", &page.ticket).await;
    assert!(
        text_of(&first).starts_with("Welcome to the warehouse!\n\nSign in to Wiki"),
        "{first:?}"
    );
    world.advance(2);
    let second = scan(&world, "lilei", &page.ticket).await;
    assert!(text_of(&second).starts_with("Sign in to Wiki"), "{second:?}");
}

#[tokio::test]
async fn everything_else_goes_on_as_it_came_and_is_answered_as_the_relay_says() {
    let relay = Upstream::start().await;
    let more = format!("relay_url = \"http://{}/wechat?key=7\"\n", relay.address());
    let world = plan(PushMode::Safe, &more).start().await;
    relay.respond(bytes_of(
        200,
        &[("Content-Type", "text/xml")],
        "<xml>what the CRM says</xml>",
    ));
    let mut browser = world.browser();
    let (page, _events) = opened(&mut browser).await;
    scan(&world, "lilei", &page.ticket).await;
    assert!(relay.requests().is_empty(), "a login is nobody else's");

    let push = act(&world, "lilei", AccountAct::Say("what are your opening hours?"));
    let attempt = push.attempt(world.sandbox.now());
    let answer = world.send(&pushed(&world, &attempt)).await.expect(200);
    assert_eq!(answer.text(), "<xml>what the CRM says</xml>");
    assert_eq!(answer.header("content-type"), Some("text/xml"));
    let received = relay.last();
    assert_eq!(
        (&*received.method, received.target.clone()),
        ("POST", format!("/wechat?key=7&{}", attempt.query))
    );
    assert_eq!(received.body, attempt.body.as_bytes());
    assert_eq!(received.header("content-type").as_deref(), Some("text/xml"));
    for name in ["cookie", "x-forwarded-for", "authorization"] {
        assert!(
            !received.text().to_ascii_lowercase().contains(&format!("\n{name}:")),
            "{}",
            received.text()
        );
    }

    // A code with a scene of somebody else's.
    let foreign = foreign_scan(&world, "shop-42").await;
    let attempt = foreign.attempt(world.sandbox.now());
    world.send(&pushed(&world, &attempt)).await.expect(200);
    assert_eq!(relay.last().body, attempt.body.as_bytes());
}

/// Settings of a program that is WeChat's server to nobody: with keys of its own.
fn relay_settings(mode: PushMode) -> PushSettings {
    PushSettings {
        token: "RelayToken7".to_owned(),
        encoding_aes_key: "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefg".to_owned(),
        ..PushSettings::new("/unused", mode)
    }
}

#[tokio::test]
async fn a_relay_with_keys_of_its_own_reads_and_answers_and_signs_nobody_in() {
    for mode in [PushMode::Safe, PushMode::Compatible, PushMode::Plain] {
        let (relay, settings) = (Upstream::start().await, relay_settings(mode));
        let more = format!(
            "relay_url = \"http://{}/wechat?key=7\"\nrelay_token = \"{}\"\nrelay_encoding_aes_key = \"{}\"\n",
            relay.address(),
            settings.token,
            settings.encoding_aes_key
        );
        let world = plan(mode, &more).start().await;
        let mut browser = world.browser();
        let (page, _events) = opened(&mut browser).await;
        scan(&world, "lilei", &page.ticket).await;
        assert!(relay.requests().is_empty(), "a login is nobody else's");

        // It gets what the person wrote, under its own keys.
        let said = act(&world, "lilei", AccountAct::Say("what are your opening hours?"));
        let mirror = said.signed_by(&settings);
        relay.respond(bytes_of(200, &[("Content-Type", "text/xml")], "success"));
        assert_eq!(deliver(&world, &said).await, PushReply::Nothing);
        let received = relay.last();
        let (path, query) = received.target.split_once('&').unwrap();
        assert_eq!(path, "/wechat?key=7");
        let got = Attempt {
            query: query.to_owned(),
            body: String::from_utf8(received.body.clone()).unwrap(),
        };
        assert_eq!(mirror.opened(&got).as_deref(), Some(&*said.xml), "{mode:?}");
        assert_eq!(said.opened(&got), None, "not under the account's");

        // Its answer is shown in the chat.
        relay.respond(bytes_of(
            200,
            &[("Content-Type", "text/xml")],
            &mirror.answered("From nine to five.", world.sandbox.now()),
        ));
        assert_eq!(
            deliver(&world, &said).await,
            PushReply::Text("From nine to five.".to_owned()),
            "{mode:?}"
        );
        if mode != PushMode::Plain {
            relay.respond(bytes_of(200, &[], &said.answered("Not its keys.", world.sandbox.now())));
            assert_eq!(deliver(&world, &said).await, PushReply::Nothing);
        }

        // What it signs itself is nobody's: neither what it got nor what it makes up.
        world.send(&pushed(&world, &got)).await.refused(403, "forbidden");
        let (page, _events) = opened(&mut browser).await;
        let forged = act(&world, "hanmeimei", AccountAct::Scan(&page.ticket)).signed_by(&settings);
        let forged = forged.attempt(world.sandbox.now());
        world.send(&pushed(&world, &forged)).await.refused(403, "forbidden");
        assert_eq!(browser.status(&page).await.expect(200).json()["status"], "pending");
    }
}

/// A scan of a code that another program has made.
async fn foreign_scan(world: &World, scene: &str) -> Push {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = world.sandbox.base_url().unwrap();
    let body = json!({ "grant_type": "client_credential", "appid": SERVICE_APP, "secret": SECRET });
    let token = http
        .post(base.join("/cgi-bin/stable_token").unwrap())
        .json(&body)
        .send()
        .await
        .unwrap();
    let token: Value = serde_json::from_slice(&token.bytes().await.unwrap()).unwrap();
    let body = json!({
        "expire_seconds": 600, "action_name": "QR_STR_SCENE", "action_info": { "scene": { "scene_str": scene } },
    });
    let mut create = base.join("/cgi-bin/qrcode/create").unwrap();
    create
        .query_pairs_mut()
        .append_pair("access_token", token["access_token"].as_str().unwrap());
    let made = http.post(create).json(&body).send().await.unwrap();
    let made: Value = serde_json::from_slice(&made.bytes().await.unwrap()).unwrap();
    assert!(made["url"].is_string(), "{made}");
    act(world, "hanmeimei", AccountAct::Scan(scene))
}

#[tokio::test]
async fn a_relay_that_fails_is_answered_for() {
    let relay = Upstream::start().await;
    let more = format!("relay_url = \"http://{}/\"\n", relay.address());
    let world = plan(PushMode::Safe, &more).start().await;
    let (page, _events) = opened(&mut world.browser()).await;
    scan(&world, "lilei", &page.ticket).await;
    let push = act(&world, "lilei", AccountAct::Say("hello"));
    for bytes in [
        bytes_of(500, &[], "no"),
        bytes_of(302, &[("Location", "http://127.0.0.1:9/elsewhere")], ""),
        bytes_of(200, &[("Content-Type", "text/xml")], &"x".repeat(70_000)),
        b"nonsense\r\n\r\n".to_vec(),
    ] {
        relay.respond(bytes);
        let answer = world
            .send(&pushed(&world, &push.attempt(world.sandbox.now())))
            .await
            .expect(200);
        assert_eq!(answer.text(), "success");
    }
    // Nobody listens there at all.
    let more = "relay_url = \"http://127.0.0.1:9/\"\n";
    let world = plan(PushMode::Safe, more).start().await;
    let (page, _events) = opened(&mut world.browser()).await;
    scan(&world, "lilei", &page.ticket).await;
    let push = act(&world, "lilei", AccountAct::Say("hello"));
    assert_eq!(deliver(&world, &push).await, PushReply::Nothing);
}

/// Whoever has seen a signed message can have a browser send it: the answer is shown at `public_url`'s origin.
#[tokio::test]
async fn what_a_relay_answers_is_nothing_that_a_browser_runs() {
    const SCRIPT: &str = "<x><script xmlns=\"http://www.w3.org/1999/xhtml\">alert(1)</script></x>";
    let relay = Upstream::start().await;
    let more = format!("relay_url = \"http://{}/\"\n", relay.address());
    let world = plan(PushMode::Safe, &more).start().await;
    let (page, _events) = opened(&mut world.browser()).await;
    scan(&world, "lilei", &page.ticket).await;
    let push = act(&world, "lilei", AccountAct::Say("hello"));
    for (said, sent) in [
        (Some("text/xml"), "text/xml"),
        (Some("Text/XML ;charset=gbk"), "text/xml"),
        (Some("application/xml"), "text/plain; charset=utf-8"),
        (Some("application/xhtml+xml"), "text/plain; charset=utf-8"),
        (Some("image/svg+xml"), "text/plain; charset=utf-8"),
        (Some("text/html"), "text/plain; charset=utf-8"),
        (Some("text/xmlish"), "text/plain; charset=utf-8"),
        (None, "text/plain; charset=utf-8"),
    ] {
        let types: Vec<_> = said.map(|said| ("Content-Type", said)).into_iter().collect();
        relay.respond(bytes_of(200, &types, SCRIPT));
        let attempt = push.attempt(world.sandbox.now());
        let answer = world.send(&pushed(&world, &attempt)).await.expect(200);
        assert_eq!(answer.header("content-type"), Some(sent), "{said:?}");
        assert_harmless(&answer);
        assert_eq!(answer.text(), SCRIPT);
    }
    // What Menshen says itself is no page either.
    let scanned = act(&world, "lilei", AccountAct::Scan(&page.ticket)).attempt(world.sandbox.now());
    assert_harmless(&world.send(&pushed(&world, &scanned)).await.expect(200));
    let forged = Attempt {
        query: scanned.query.replacen("msg_signature=", "msg_signature=0", 1),
        body: scanned.body,
    };
    let mut navigated = pushed(&world, &forged).without("Accept").header("Accept", "text/html");
    navigated = navigated.header("Sec-Fetch-Mode", "navigate");
    assert_harmless(&world.send(&navigated).await.refused(403, "forbidden"));
}

#[track_caller]
fn assert_harmless(answer: &Answer) {
    assert_eq!(
        answer.header("content-security-policy"),
        Some("default-src 'none'; sandbox; frame-ancestors 'none'"),
        "{}",
        answer.head()
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

/// WeChat hangs up after five seconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn nobody_makes_wechat_wait_longer_than_it_does() {
    // A relay that takes a message and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = format!("relay_url = \"http://{}/\"\n", silent.local_addr().unwrap());
    let world = plan(PushMode::Safe, &more).start().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    // A WeChat that does not tell who somebody is: the page shows the number at once all the same.
    world
        .sandbox
        .inject(Fault::once(Endpoint::Follower, Effect::Hang).times(9));
    let since = Instant::now();
    let scanned = async { events.until("scanned").await };
    let (reply, ()) = tokio::join!(scan(&world, "lilei", &page.ticket), async {
        scanned.await;
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    });
    link_in(&reply);
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());

    let push = act(&world, "lilei", AccountAct::Say("hello"));
    let since = Instant::now();
    assert_eq!(deliver(&world, &push).await, PushReply::Nothing);
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
}

#[tokio::test]
async fn without_a_relay_other_messages_are_taken_note_of_and_nothing_is_said() {
    let world = world().await;
    let (page, _events) = opened(&mut world.browser()).await;
    scan(&world, "lilei", &page.ticket).await;
    let push = act(&world, "lilei", AccountAct::Say("hello"));
    assert_eq!(deliver(&world, &push).await, PushReply::Nothing);
}

#[tokio::test]
async fn who_stops_following_is_in_the_audit_and_stays_signed_in() {
    let world = world().await;
    let mut browser = world.browser();
    log_in(&world, &mut browser, "lilei").await;
    let me = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
    let push = act(&world, "lilei", AccountAct::Unfollow);
    for _ in 0..2 {
        assert_eq!(deliver(&world, &push).await, PushReply::Nothing);
    }
    browser.open("/").await.expect(200);
    let store = world.store().await;
    let rows = async || {
        let mut rows = store.audit_after(0, 100).await.unwrap();
        rows.retain(|row| row.kind == "unsubscribe");
        rows
    };
    world.until(async || !rows().await.is_empty()).await;
    let rows = rows().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].user_id.as_deref(), rows[0].connection.as_deref()),
        (me["sub"].as_str(), Some(ID))
    );
}

#[tokio::test]
async fn a_stranger_whose_unionid_cannot_be_had_is_not_made_a_second_account() {
    let world = world().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::Follower, Effect::Error(45011)).times(50));
    let reply = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(&world, "lilei", &reply);
    confirm.phone.status().await.expect(200);
    confirm.phone.confirm(number).await.refused(503, "wechat_busy");
    // The ticket is as it was.
    world.sandbox.clear_faults();
    confirm.phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    browser.redeem(&page).await.expect(200);
    let store = world.store().await;
    let user = browser.fetch("GET", "/.menshen/userinfo").await.json()["sub"]
        .as_str()
        .unwrap()
        .to_owned();
    let identity = store.identities_of(&user).await.unwrap().remove(0);
    assert_eq!(
        identity.unionid.as_deref(),
        Some(&*world.sandbox.unionid("corp", "lilei"))
    );

    // Whoever is known by their openid needs no answer of WeChat's.
    world
        .sandbox
        .inject(Fault::once(Endpoint::Follower, Effect::Error(45011)).times(50));
    let mut other = world.browser();
    world.advance(2);
    log_in(&world, &mut other, "lilei").await;
}

#[tokio::test]
async fn an_account_that_may_not_make_codes_is_said_to_be_misconfigured() {
    let world = plan(PushMode::Safe, "")
        .wechat(|config| {
            let account = config.apps.iter_mut().find(|app| app.app_id.as_str() == SERVICE_APP);
            account.unwrap().verified = false;
        })
        .start()
        .await;
    let answer = world.browser().open("/").await.refused_page(502);
    assert!(answer.text().contains("Tell your administrator"), "{}", answer.text());
}

#[tokio::test]
async fn a_code_is_asked_for_when_its_tab_is_shown_and_once_per_ticket() {
    let world = plan(PushMode::Safe, "")
        .set("sites.0.connections", vec!["staff", ID])
        .start()
        .await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    assert!(page.answer.text().contains("connection=follow"), "a tab");
    assert_eq!(world.sandbox.calls(Endpoint::AccountCode), 0);
    let page = browser.open("/.menshen/login?connection=follow").await.login_page();
    assert_eq!(world.sandbox.calls(Endpoint::AccountCode), 1);
    let html = page.answer.text();
    assert!(
        html.contains("Scan the code with WeChat and follow the account"),
        "{html}"
    );
    for _ in 0..2 {
        let target = format!("/.menshen/tickets/{}/qr", page.ticket);
        let picture = browser.fetch("GET", &target).await.expect(200);
        assert_eq!(picture.header("content-type"), Some("image/svg+xml"));
    }
    assert_eq!(world.sandbox.calls(Endpoint::AccountCode), 1);
    // The script renews it.
    let body = json!({ "connection": ID, "rd": "/" });
    let fresh = browser.fetch_json("/.menshen/tickets", &body).await.expect(201).json();
    assert_eq!(fresh["connection"], ID);
    assert_eq!(world.sandbox.calls(Endpoint::AccountCode), 2);
    // An application cannot show it.
    let body = json!({ "connection": ID, "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" });
    browser
        .fetch_json("/.menshen/app/tickets", &body)
        .await
        .refused(404, "not_found");
}

/// A page of the site as a browser behind this address opens it.
async fn open_from(world: &World, address: &str, target: &str) -> Answer {
    let request = world
        .browser()
        .navigation("GET", target)
        .header("Sec-Fetch-Site", "none");
    let request = request.without("X-Forwarded-For").header("X-Forwarded-For", address);
    world.send(&request).await
}

/// WeChat makes 100,000 codes a day for an account, and whoever opens a page need not be anybody.
#[tokio::test]
async fn whoever_opens_pages_in_a_loop_leaves_the_account_codes_and_everybody_another_way_in() {
    let world = of(World::plan_https(), PushMode::Safe, "")
        .set("sites.0.connections", vec![ID, "staff"])
        .start()
        .await;
    let (world, began) = (&world, Instant::now());
    let (mut served, mut refused) = (0, 0);
    for round in 0..18 {
        let page = |place: u8| async move {
            let answer = open_from(world, &format!("203.0.{round}.{place}"), "/reports").await;
            let text = answer.expect(401).text();
            assert!(
                text.contains("connection=follow") && text.contains("connection=staff"),
                "the tabs"
            );
            text.contains("No code can be had for Account at the moment.")
        };
        for without in futures_util::future::join_all((0..20).map(page)).await {
            assert!(round > 0 || !without, "the first are served");
            *(if without { &mut refused } else { &mut served }) += 1;
        }
    }
    let calls = world.sandbox.calls(Endpoint::AccountCode);
    let most = 302 + began.elapsed().as_secs() * 2;
    assert_eq!(calls, served);
    assert!((300..=most).contains(&calls), "{calls}, and at most {most}");
    assert!(refused >= 360_u64.saturating_sub(most), "{refused}");

    // The script of a page is told when to ask again, and so is a browser that knows no other way.
    let renew = |place: u8| async move {
        let body = json!({ "connection": ID, "rd": "/" });
        let request = world.browser().script("POST", "/.menshen/tickets").json(&body);
        let request = request.without("X-Forwarded-For");
        world
            .send(&request.header("X-Forwarded-For", &format!("192.0.2.{place}")))
            .await
    };
    let answers = futures_util::future::join_all((0..40).map(renew)).await;
    let refused: Vec<_> = answers.into_iter().filter(|answer| answer.status != 201).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&after), "{after}");
        answer.refused(429, "rate_limited");
    }
}

#[tokio::test]
async fn one_address_gets_so_many_codes_of_the_account_and_another_its_own() {
    let world = of(World::plan_https(), PushMode::Safe, "")
        .set("limits.account_codes", "3/min")
        .start()
        .await;
    for _ in 0..3 {
        open_from(&world, "203.0.113.7", "/reports").await.expect(401);
    }
    // There is no other way into this site.
    let refused = open_from(&world, "203.0.113.7", "/reports").await.refused_page(429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&after), "{after}");
    open_from(&world, "203.0.113.8", "/reports").await.expect(401);
    assert_eq!(world.sandbox.calls(Endpoint::AccountCode), 4);
}

/// WeChat refuses one account, and is not asked in vain for the others.
#[tokio::test]
async fn a_connection_that_gives_no_code_leaves_the_others_on_the_page() {
    let world = plan(PushMode::Safe, "")
        .set("sites.0.connections", vec![ID, "staff"])
        .set("branding.locale", "auto")
        .wechat(|config| {
            let account = config.apps.iter_mut().find(|app| app.app_id.as_str() == SERVICE_APP);
            account.unwrap().verified = false;
        })
        .start()
        .await;
    for (language, words) in [
        ("en", "No code can be had for Account at the moment."),
        ("zh-CN", "暂时无法获取“Account”的二维码"),
        ("zh-TW", "暫時無法取得「Account」的 QR 碼"),
        ("ja", "「Account」のコードは現在取得できません"),
    ] {
        for target in ["/.menshen/login", "/.menshen/login?connection=follow"] {
            let mut browser = world.browser();
            browser.language = language.to_owned();
            let page = browser.open(target).await.login_page();
            let text = page.answer.text();
            assert!(text.contains(words), "{text}");
            assert!(text.contains("connection=follow"), "it can be tried again");
            assert_eq!(page.config["ticket"]["connection"], "staff");
        }
    }
    // Asked for by hand, what works says nothing about the rest.
    let page = world
        .browser()
        .open("/.menshen/login?connection=staff")
        .await
        .login_page();
    assert!(!page.answer.text().contains("No code can be had"));
}

#[tokio::test]
async fn no_phone_takes_a_ticket_of_an_account_by_the_mini_programs_call() {
    let world = world().await;
    let (page, _events) = opened(&mut world.browser()).await;
    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.refused(404, "ticket_unknown");
    assert_eq!(world.sandbox.calls(Endpoint::Login), 0, "WeChat is not asked");
}

#[tokio::test]
async fn the_page_behind_the_link_knows_nobody_and_lives_at_one_host() {
    let world = world().await;
    let mut browser = world.browser_at(PUBLIC_HOST);
    let path = format!("/.menshen/connections/{ID}/confirm");
    let mut watch = world.watch_store().await;
    let before = watch.version().await;
    let request = browser
        .navigation("GET", &path)
        .without("User-Agent")
        .header("User-Agent", WECHAT)
        .header("Sec-Fetch-Site", "none");
    let page = browser.send(request).await.expect(200);
    assert_eq!(page.header("set-cookie"), None);
    assert_eq!(watch.version().await, before, "a look in advance changes nothing");
    let html = page.text();
    assert!(
        html.contains("Confirm in WeChat") && html.contains("confirm."),
        "{html}"
    );
    world.browser().open(&path).await.refused_page(404);
    browser
        .open("/.menshen/connections/staff/confirm")
        .await
        .refused_page(404);
}

/// The calls of the page behind the link, in a browser that may hold a proof.
async fn linked(world: &World, call: &str, body: &Value) -> Answer {
    let browser = world.browser_at(PUBLIC_HOST);
    let request = browser.script("POST", &format!("/.menshen/phone/{call}")).json(body);
    world.send(&request).await
}

/// Opens an address of the page in WeChat's browser.
async fn in_wechat(world: &World, target: &str) -> Answer {
    let browser = world.browser_at(PUBLIC_HOST);
    let request = browser.navigation("GET", target).header("Sec-Fetch-Site", "none");
    let request = request.without("User-Agent").header("User-Agent", WECHAT);
    world.send(&request).await
}

/// To WeChat and back as this person: the address that WeChat sends their browser to.
async fn sent_back(world: &World, persona: &str) -> Url {
    let away = in_wechat(world, &format!("/.menshen/connections/{ID}/opener"))
        .await
        .expect(303);
    assert_eq!(away.header("set-cookie"), None);
    let mut page = Url::parse(away.header("location").unwrap()).unwrap();
    let asked: HashMap<_, _> = page.query_pairs().into_owned().collect();
    assert_eq!((&*asked["scope"], &*asked["appid"]), ("snsapi_base", SERVICE_APP));
    page.set_fragment(None);
    page.query_pairs_mut()
        .append_pair("persona", persona)
        .append_pair("answer", "allow");
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let answered = http.get(page).header("User-Agent", WECHAT).send().await.unwrap();
    assert_eq!(answered.status(), 302, "{}", answered.text().await.unwrap());
    answered.headers()["location"].to_str().unwrap().parse().unwrap()
}

/// The proof that the page gets in its fragment.
async fn proof_of(world: &World, persona: &str) -> String {
    let back = sent_back(world, persona).await;
    let target = &back[url::Position::BeforePath..];
    let answer = in_wechat(world, target).await.expect(303);
    let page = answer.header("location").unwrap();
    let proof = page.strip_prefix(&format!("/.menshen/connections/{ID}/confirm#opener="));
    proof.unwrap_or_else(|| panic!("{page}")).to_owned()
}

#[tokio::test]
async fn a_link_that_is_passed_on_opens_for_nobody_but_who_scanned() {
    let world = of(World::plan_https(), PushMode::Safe, "verify_opener = true\n")
        .start()
        .await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let reply = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let (path, handle) = link_in(&reply);

    // Nobody has said who they are, somebody else has, or it is no proof.
    let (own, others) = (proof_of(&world, "lilei").await, proof_of(&world, "hanmeimei").await);
    for proof in [Value::Null, json!(others), json!("nonsense"), json!(own[1..])] {
        let body = json!({ "handle": handle, "opener": proof });
        linked(&world, "status", &body).await.refused(404, "ticket_unknown");
        let body = json!({ "handle": handle, "opener": proof, "choice": number });
        linked(&world, "confirm", &body).await.refused(404, "ticket_unknown");
    }
    linked(&world, "status", &json!({ "handle": handle }))
        .await
        .refused(404, "ticket_unknown");
    let row = world.store().await.ticket(&page.ticket).await.unwrap().unwrap();
    assert!(
        row.phone_address.is_empty() && !row.shown,
        "nothing is written down for it"
    );

    // Who scanned goes on.
    let shown = linked(&world, "status", &json!({ "handle": handle, "opener": own })).await;
    assert_eq!(shown.expect(200).json()["status"], "scanned");
    let body = json!({ "handle": handle, "opener": own, "choice": number });
    linked(&world, "confirm", &body).await.expect(200);
    events.until("confirmed").await;
    browser.redeem(&page).await.expect(200);

    // The page knows where to go first, and where it does not.
    let path = &Url::parse(&path).unwrap()[url::Position::BeforePath..];
    let html = in_wechat(&world, path).await.expect(200).text();
    assert!(
        html.contains("\"opener\":\"/.menshen/connections/follow/opener\""),
        "{html}"
    );
    let plain = plan(PushMode::Safe, "").start().await;
    let html = in_wechat(&plain, &format!("/.menshen/connections/{ID}/confirm"))
        .await
        .expect(200);
    assert!(!html.text().contains("\"opener\""));
    for part in ["opener", "opened"] {
        let target = format!("/.menshen/connections/{ID}/{part}");
        in_wechat(&plain, &target).await.refused_page(404);
    }
}

#[tokio::test]
async fn what_comes_back_from_wechat_by_another_way_proves_nobody() {
    let world = of(World::plan_https(), PushMode::Safe, "verify_opener = true\n")
        .start()
        .await;
    let back = sent_back(&world, "lilei").await;
    let asked: HashMap<_, _> = back.query_pairs().into_owned().collect();
    let (code, state) = (&asked["code"], &asked["state"]);
    let opened = |query: String| format!("/.menshen/connections/{ID}/opened?{query}");
    for (query, status) in [
        (format!("code={code}"), 404),
        (format!("code={code}&state={}x", &state[1..]), 404),
        (format!("state={state}"), 410),
        (format!("code=x%20y&state={state}"), 422),
        (format!("code=guessed&state={state}"), 422),
    ] {
        in_wechat(&world, &opened(query)).await.refused_page(status);
    }
    let good = opened(format!("code={code}&state={state}"));
    let elsewhere = world.browser().open(&good).await;
    elsewhere.refused_page(404);
    let look = world.browser_at(PUBLIC_HOST).script("GET", &good);
    world.send(&look).await.refused(400, "bad_request");
    in_wechat(&world, &good).await.expect(303);
    in_wechat(&world, &good).await.refused_page(422);
    // Another browser than WeChat's is told so.
    let target = format!("/.menshen/connections/{ID}/opener");
    let told = world.browser_at(PUBLIC_HOST).open(&target).await;
    assert!(told.text().contains("WeChat"), "{}", told.text());
    assert_eq!(told.header("location"), None);
}

#[tokio::test]
async fn the_page_behind_the_link_says_whose_wechat_it_is_for() {
    let world = world().await;
    let store = world.store().await;
    for (known, name) in [(false, Value::Null), (true, json!("李*"))] {
        let mut browser = world.browser();
        let (page, mut events) = opened(&mut browser).await;
        let reply = scan(&world, "lilei", &page.ticket).await;
        let number = events.until("scanned").await["number"].as_i64().unwrap();
        let confirm = ConfirmPage::of(&world, "lilei", &reply);
        let shown = confirm.phone.status().await.expect(200).json();
        assert_eq!(shown["known"], known);
        assert_eq!(shown["person"]["name"], name, "{shown}");
        confirm.phone.confirm(number).await.expect(200);
        browser.redeem(&page).await.expect(200);
        let user = store.users_after("", 1).await.unwrap().remove(0);
        let change = UserChange {
            name: Some(Some("李雷".to_owned())),
            ..UserChange::default()
        };
        store.update_user(&user.id, &change, world.clock.now()).await.unwrap();
    }
}

#[tokio::test]
async fn a_plain_signature_is_good_for_one_message() {
    let world = plan(PushMode::Plain, "").start().await;
    let mut browser = world.browser();
    let (page, _events) = opened(&mut browser).await;
    let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    let seen = push.attempt(world.sandbox.now());
    world.send(&pushed(&world, &seen)).await.expect(200);
    // WeChat repeats itself, and is answered.
    world.send(&pushed(&world, &seen)).await.expect(200);
    // Who saw the address has somebody else scan another code.
    let (page, _events) = opened(&mut browser).await;
    let other = act(&world, "hanmeimei", AccountAct::Scan(&page.ticket));
    let forged = Attempt {
        query: seen.query,
        body: other.xml,
    };
    world.send(&pushed(&world, &forged)).await.refused(403, "forbidden");
    assert_eq!(browser.status(&page).await.expect(200).json()["status"], "pending");

    // Nor does the signature of the question for the address sign a message, and it is a question as often as asked.
    let asked = handshake(&world, world.sandbox.now(), "4242");
    for _ in 0..2 {
        assert_eq!(world.send(&asked.0).await.expect(200).text(), "echo");
    }
    let other = act(&world, "hanmeimei", AccountAct::Scan(&page.ticket));
    let signed_otherwise = Attempt {
        query: asked.1,
        body: other.xml.clone(),
    };
    world
        .send(&pushed(&world, &signed_otherwise))
        .await
        .refused(403, "forbidden");

    // The parts are signed without their limits: "01230" before "17…" is "0123" before "017…" as well.
    let (first, now) = (act(&world, "lilei", AccountAct::Say("hello")), world.sandbox.now());
    let with = |timestamp: String, nonce: &str, xml: &str| Attempt {
        query: format!(
            "signature={}&timestamp={timestamp}&nonce={nonce}",
            signature(&[TOKEN, &now.to_string(), "01230"])
        ),
        body: xml.to_owned(),
    };
    let whole = with(now.to_string(), "01230", &first.xml);
    world.send(&pushed(&world, &whole)).await.expect(200);
    for (timestamp, nonce) in [(format!("0{now}"), "0123"), (now.to_string(), "01230")] {
        let shifted = with(timestamp, nonce, &other.xml);
        world.send(&pushed(&world, &shifted)).await.refused(403, "forbidden");
    }
    // Nor is a time written in another way the same time.
    let written = format!("%2B{now}");
    let plus = Attempt {
        query: format!(
            "signature={}&timestamp={written}&nonce=7",
            signature(&[TOKEN, &format!("+{now}"), "7"])
        ),
        body: other.xml,
    };
    world.send(&pushed(&world, &plus)).await.refused(403, "forbidden");
    assert_eq!(browser.status(&page).await.expect(200).json()["status"], "pending");
}

/// WeChat's signature: SHA-1 of the sorted parts.
fn signature(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// WeChat's question whether the address is the account's, and its query without the echo.
fn handshake(world: &World, now: u64, nonce: &str) -> (Request, String) {
    let signed = signature(&[TOKEN, &now.to_string(), nonce]);
    let query = format!("signature={signed}&timestamp={now}&nonce={nonce}");
    let request = Request::new("GET", &format!("/.menshen/connections/{ID}/push?{query}&echostr=echo"))
        .header("Host", &world.authority(PUBLIC_HOST));
    (request, query)
}

#[tokio::test]
async fn somebody_who_may_not_come_in_is_told_so_in_the_chat() {
    let world = plan(PushMode::Safe, "login_only = true\n").start().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let reply = scan(&world, "lilei", &page.ticket).await;
    assert!(
        text_of(&reply).contains("Ask your administrator for an account."),
        "{reply:?}"
    );
    assert_eq!(events.until("failed").await["error"]["code"], "no_account");
}

#[tokio::test]
async fn an_account_can_be_chosen_in_the_browser() {
    let world = plan(PushMode::Safe, "association = \"ask\"\n").start().await;
    let mut browser = world.browser();
    let (page, mut events) = opened(&mut browser).await;
    let reply = scan(&world, "lilei", &page.ticket).await;
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let confirm = ConfirmPage::of(&world, "lilei", &reply);
    confirm.phone.status().await.expect(200);
    assert_eq!(
        confirm.phone.confirm(number).await.expect(200).json()["outcome"],
        "bind"
    );
    events.until("bind").await;
    let target = format!("/.menshen/tickets/{}/bind", page.ticket);
    browser
        .fetch_json(&target, &json!({ "action": "create" }))
        .await
        .expect(200);
    events.until("confirmed").await;
    browser.redeem(&page).await.expect(200);
    browser.open("/").await.expect(200);
}

#[tokio::test]
async fn a_message_may_come_to_another_node_than_the_one_that_the_browser_waits_at() {
    let server = Postgres::start().await;
    let a = of(World::plan_https().set("store.url", server.url()), PushMode::Safe, "")
        .start()
        .await;
    let (b, c) = (a.another_node().await, a.another_node().await);
    let mut browser = a.browser();
    let (page, mut events) = opened(&mut browser).await;
    events.until("pending").await;
    let push = act(&b, "lilei", AccountAct::Scan(&page.ticket));
    let reply = deliver(&b, &push).await;
    assert!(
        text_of(&reply).contains("Sign in to Wiki"),
        "the half that only the first node has: {reply:?}"
    );
    assert_eq!(deliver(&c, &push).await, reply, "a repetition, elsewhere");
    let number = events.until("scanned").await["number"].as_i64().unwrap();
    let mut confirm = ConfirmPage::of(&c, "lilei", &reply);
    confirm.phone.status().await.expect(200);
    confirm.phone.world = &b;
    confirm.phone.confirm(number).await.expect(200);
    events.until("confirmed").await;
    browser.redeem(&page).await.expect(200);
}

/// What the sandbox delivers by itself: three attempts, and an outage in the chat.
#[tokio::test]
async fn an_answer_that_never_comes_is_an_outage_after_three_attempts() {
    let relay = Upstream::start().await;
    let world = world().await;
    let (page, _events) = opened(&mut world.browser()).await;
    let push = act(&world, "lilei", AccountAct::Scan(&page.ticket));
    relay.respond(bytes_of(200, &[], "{\"not\":\"XML\"}"));
    world
        .sandbox
        .set_gateway_url(format!("http://{}", relay.address()).parse().unwrap());
    let reply = world.sandbox.deliver(SERVICE_APP, "lilei", &push).await.unwrap();
    assert!(matches!(reply, PushReply::Outage(_)), "{reply:?}");
    assert_eq!(relay.requests().len(), 1);
    world.sandbox.set_gateway_url("http://127.0.0.1:9".parse().unwrap());
    let reply = world.sandbox.deliver(SERVICE_APP, "lilei", &push).await.unwrap();
    assert!(
        matches!(&reply, PushReply::Outage(why) if why.contains("3 times")),
        "{reply:?}"
    );
}
