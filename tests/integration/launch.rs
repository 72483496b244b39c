//! An application on the phone opens the mini program, gets tokens by polling, and never sees a code of WeChat's.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use menshen::sandbox::LOGIN_PAGE;
use menshen::session::bearer::new_token;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::support::mini_program::MiniProgram;
use crate::support::phone::Phone;
use crate::support::wire::Request;
use crate::support::world::{Plan, SITE};
use crate::support::{Answer, World};
use crate::tokens::{bearer, is_invalid};

/// AppIDs of the applications that the connection lists.
const LISTED: [&str; 2] = ["wx00112233445566aa", "wx00112233445566bb"];
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// `staff` with a code, and `app` of the same mini program.
fn plan() -> Plan {
    let original_id = World::plan().original_id();
    World::plan()
        .wechat(|wechat| wechat.apps[0].secret = SecretString::from(SECRET))
        .append(&format!(
            r#"
[[connections]]
id = "app"
kind = "miniprogram-launch"
display_name = "App"
app_id = "wxsandbox0000000001"
app_secret = "{SECRET}"
phone = "never"
original_id = "{original_id}"
app_ids = ["{}", "{}"]
"#,
            LISTED[0], LISTED[1]
        ))
}

/// `app` alone.
fn only_applications() -> Plan {
    plan().set("sites.0.connections", vec!["app"])
}

/// What an application does, as `examples/app` does it.
struct Application<'w> {
    world: &'w World,
    verifier: String,
    id: String,
    /// What the person has seen before WeChat covered it.
    number: i64,
    launch: Value,
}

/// What WeChat hands the page that it opens.
struct Opened {
    app_id: String,
    page: String,
    parameters: HashMap<String, String>,
}

impl<'w> Application<'w> {
    async fn begin(world: &'w World) -> Self {
        let verifier = new_token().unwrap().expose_secret().to_owned();
        world.keep_secret(&verifier);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let body = json!({ "connection": "app", "code_challenge": challenge, "code_challenge_method": "S256" });
        let created = post(world, "tickets", &body).await.expect(201).json();
        assert_eq!(created["connection"], "app");
        assert_eq!(created.get("qr_text"), None, "{created}");
        Self {
            world,
            verifier,
            id: created["id"].as_str().unwrap().to_owned(),
            number: created["number"].as_i64().unwrap(),
            launch: created["launch"].clone(),
        }
    }

    /// `WXLaunchMiniProgram`, as WeChat understands it.
    fn open(&self) -> Opened {
        let launch = &self.launch;
        assert_eq!(launch["type"], 0, "the released version");
        let name = launch["user_name"].as_str().unwrap();
        let mut apps = self.world.sandbox.apps().into_iter();
        let app = apps.find(|app| app.original_id() == name).expect("bad_param");
        let (page, query) = launch["path"].as_str().unwrap().split_once('?').unwrap();
        Opened {
            app_id: app.app_id.as_str().to_owned(),
            page: page.to_owned(),
            parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        }
    }

    async fn poll(&self, query: &str) -> Answer {
        let path = format!("tickets/{}/redeem{query}", self.id);
        post(self.world, &path, &json!({ "code_verifier": self.verifier })).await
    }
}

impl Opened {
    fn scene(&self) -> &str {
        &self.parameters["scene"]
    }

    /// What the page sends first, with what WeChat says of how it was opened.
    async fn scan(&self, phone: &mut Phone<'_>, more: Value) -> Answer {
        assert_eq!(
            (self.app_id.as_str(), self.page.as_str()),
            (phone.world.app_id(), LOGIN_PAGE)
        );
        let mut body = json!({ "scene": self.scene(), "code": phone.login_code() });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = phone.call("scan", &body).await;
        if answer.status == 200 {
            phone.shown = answer.json();
            phone.handle = phone.shown["handle"].as_str().map(str::to_owned);
        }
        answer
    }

    /// As the OpenSDK opens it.
    async fn scan_as_launched(&self, phone: &mut Phone<'_>) -> Answer {
        let half = &self.parameters["half"];
        self.scan(phone, json!({ "entry": 1069, "referrer": LISTED[0], "half": half }))
            .await
    }
}

async fn post(world: &World, path: &str, body: &Value) -> Answer {
    let request = Request::post(&format!("/.menshen/app/{path}"))
        .header("Host", &world.authority(SITE))
        .header("User-Agent", "Stock/3.1 (iPhone; iOS 18.5)")
        .json(body);
    world.send(&request).await
}

async fn renew(world: &World, refresh: &str) -> Answer {
    post(world, "token", &json!({ "refresh_token": refresh })).await
}

/// Both tokens, which no other answer may hold from now on.
fn kept(world: &World, tokens: &Value) -> (String, String) {
    let one = |name: &str| tokens[name].as_str().expect("a token").to_owned();
    let pair = (one("access_token"), one("refresh_token"));
    world.keep_secret(&pair.0);
    world.keep_secret(&pair.1);
    pair
}

#[tokio::test]
async fn an_application_that_sleeps_behind_wechat_signs_its_person_in() {
    let world = plan().start().await;
    let mut store = world.watch_store().await;
    let before = store.version().await;
    let app = Application::begin(&world).await;
    assert_eq!(
        store.version().await,
        before,
        "an application that asks wrote to the store"
    );

    // WeChat covers the application, which asks nothing until it is seen again.
    let opened = app.open();
    let mut phone = world.phone("lilei");
    let shown = opened.scan_as_launched(&mut phone).await.expect(200).json();
    assert_eq!(shown["site"], json!({ "name": "Wiki", "host": SITE }));
    let device = &shown["browser"]["device"];
    assert_eq!(
        (&device["kind"], &device["text"]),
        (&json!("application"), &json!("本手机上的应用 · iOS"))
    );
    assert_eq!(shown["browser"]["same_network"], true);
    assert!(shown["choices"].as_array().unwrap().contains(&json!(app.number)));
    // What the way back carries names the ticket, as the application knows it, and opens nothing.
    assert_eq!(shown["app_parameter"], opened.scene());
    phone.confirm(app.number).await.expect(200);

    let tokens = app.poll("").await.expect(200).json();
    assert_eq!(tokens["token_type"], "Bearer");
    let (access, refresh) = kept(&world, &tokens);
    world.send(&bearer(&world, SITE, "/", &access)).await.expect(200);
    assert!(world.upstream.last().header("remote-user").is_some());
    app.poll("").await.refused(409, "wrong_state");

    let (newer, newest) = kept(&world, &renew(&world, &refresh).await.expect(200).json());
    world.send(&bearer(&world, SITE, "/", &newer)).await.expect(200);
    // Somebody has copied it: nobody keeps the session.
    is_invalid(renew(&world, &refresh).await);
    for token in [&access, &newer] {
        world
            .until(async || world.send(&bearer(&world, SITE, "/", token)).await.status == 401)
            .await;
    }
    is_invalid(renew(&world, &newest).await);
}

#[tokio::test]
async fn who_has_the_launch_and_not_the_verifier_has_nothing() {
    let world = plan().start().await;
    let app = Application::begin(&world).await;
    let (opened, mut phone) = (app.open(), world.phone("lilei"));
    opened.scan_as_launched(&mut phone).await.expect(200);
    phone.confirm(app.number).await.expect(200);
    for verifier in [
        "",
        opened.scene(),
        &opened.parameters["half"],
        &app.id,
        &app.verifier[1..],
    ] {
        let path = format!("tickets/{}/redeem", app.id);
        post(&world, &path, &json!({ "code_verifier": verifier }))
            .await
            .refused(404, "ticket_unknown");
    }
    // Neither the scene nor the half stands in for the id.
    for id in [opened.scene(), &opened.parameters["half"]] {
        let path = format!("tickets/{id}/redeem");
        post(&world, &path, &json!({ "code_verifier": app.verifier }))
            .await
            .refused(404, "ticket_unknown");
    }
    app.poll("").await.expect(200);
}

#[tokio::test]
async fn a_launch_is_taken_from_listed_applications_only() {
    let world = plan().start().await;
    let app = Application::begin(&world).await;
    let (opened, mut phone) = (app.open(), world.phone("lilei"));
    for wrong in [
        json!({ "entry": 1069, "referrer": "wxffffffffffffffff" }),
        json!({ "referrer": "wxffffffffffffffff" }),
        // Taken out of the application: as a code, as a link, as a card.
        json!({ "entry": 1011 }),
        json!({ "entry": 1047, "referrer": LISTED[0] }),
        json!({ "entry": 1049 }),
        json!({ "entry": 1194 }),
        json!({ "entry": 1065 }),
        json!({ "entry": 1007 }),
        // By a message, another mini program, another page of WeChat's.
        json!({ "entry": 1036 }),
        json!({ "entry": 1037 }),
        json!({ "entry": 1043 }),
        json!({ "entry": 1058 }),
        json!({ "entry": 1 }),
    ] {
        let answer = opened.scan(&mut phone, wrong.clone()).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (403, Some("entry_refused")),
            "{wrong}"
        );
    }
    assert_eq!(
        world.sandbox.calls(menshen::sandbox::Endpoint::Login),
        0,
        "nobody was asked"
    );
    assert_eq!(app.poll("").await.expect(202).json()["status"], "pending");
    // A mini program that reports nothing, or an entry of the list of recent ones, is taken at its word.
    for right in [
        json!({}),
        json!({ "entry": 1089 }),
        json!({ "entry": 1069, "referrer": "" }),
    ] {
        opened.scan(&mut phone, right).await.expect(200);
    }
    world
        .until(async || {
            let rows = world.store().await.audit_after(0, 100).await.unwrap();
            let refused = |row: &&menshen::store::AuditRow| row.reason.as_deref() == Some("entry_refused");
            rows.iter().filter(refused).count() == 1
        })
        .await;
}

#[tokio::test]
async fn a_code_on_a_page_is_not_for_applications() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut phone = world.phone("lilei");
    phone.scan_from(&page.ticket, 1069).await.refused(403, "entry_refused");
    phone.scan(&page.ticket).await.expect(200);
    assert_eq!(phone.shown.get("app_parameter"), None);
}

#[tokio::test]
async fn without_a_half_that_is_its_own_a_phone_waits_for_the_application() {
    let world = plan().start().await;
    let (app, other) = (Application::begin(&world).await, Application::begin(&world).await);
    let (opened, mut phone) = (app.open(), world.phone("lilei"));
    for half in [
        json!(null),
        json!("x"),
        json!(other.open().parameters["half"]),
        json!(app.id),
    ] {
        let shown = opened
            .scan(&mut phone, json!({ "entry": 1069, "half": half }))
            .await
            .expect(200)
            .json();
        assert_eq!(shown.get("site"), None, "{half}");
        phone.confirm(app.number).await.refused(409, "browser_absent");
    }
    app.poll("").await.expect(202);
    assert_eq!(phone.status().await.expect(200).json()["site"]["host"], SITE);
    phone.confirm(app.number).await.expect(200);
    app.poll("").await.expect(200);
}

#[tokio::test]
async fn a_browser_has_no_tab_for_applications_and_is_told_why() {
    let world = plan().start().await;
    let mut browser = world.browser();
    let html = browser.open("/").await.expect(401).text();
    assert!(!html.contains("class=\"tabs\""), "one way only");
    let asked = browser.open("/.menshen/login?connection=app").await.expect(200).text();
    assert!(asked.contains("Please use the app"), "{asked}");
    browser
        .open("/.menshen/login?connection=nobody")
        .await
        .refused_page(404);

    let world = only_applications().start().await;
    let mut browser = world.browser();
    let answer = browser.open("/reports").await.expect(401);
    let html = answer.text();
    assert!(html.contains("Please use the app"), "{html}");
    browser.language = "zh-CN".to_owned();
    assert!(browser.open("/.menshen/login").await.text().contains("请使用手机应用"));
    let script = browser.fetch("GET", "/api").await.refused(401, "login_required");
    assert!(script.json()["error"]["login_url"].is_string() || script.json()["login_url"].is_string());
    // Without a name it is the one that there is.
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, b"v"));
    let created = post(&world, "tickets", &json!({ "code_challenge": challenge }))
        .await
        .expect(201);
    assert_eq!(created.json()["connection"], "app");
    assert!(created.json()["launch"].is_object());
}

#[tokio::test]
async fn a_program_that_names_no_connection_gets_a_code() {
    let world = plan()
        .set("connections.0.link_prefix", "http://login.test/m/")
        .start()
        .await;
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, b"v"));
    let created = post(&world, "tickets", &json!({ "code_challenge": challenge }))
        .await
        .expect(201)
        .json();
    assert_eq!(created["connection"], "staff");
    assert!(created.get("launch").is_none() && created["qr_text"].is_string());
}

#[tokio::test]
async fn the_published_mini_program_answers_an_application_and_leads_back() {
    let world = plan().start().await;
    let app = Application::begin(&world).await;
    let mut phone = MiniProgram::of(&world, "lilei").await;
    let opened = json!({ "entry": 1069, "referrer": LISTED[0], "canReturn": true });
    phone.wechat(opened).await;
    phone.open(app.launch["path"].as_str().unwrap()).await;
    phone.until("Which number does the app show?").await;
    phone.choose(app.number).await;
    phone.until("Continue at the app.").await;
    phone.tap("back").await;
    kept(&world, &app.poll("").await.expect(200).json());
    app.poll("").await.refused(409, "wrong_state");

    let other = Application::begin(&world).await;
    phone
        .wechat(json!({ "entry": 1069, "referrer": "wxffffffffffffffff" }))
        .await;
    phone.open(other.launch["path"].as_str().unwrap()).await;
    phone.until("Opened in the wrong way").await;
}
