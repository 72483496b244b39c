//! The shape of what the portal answers: fields, codes, forms of refusal, limits.

use menshen::proxy::admin::Admin;
use serde_json::{Value, json};

use crate::support::browser::between;
use crate::support::wire::Request;
use crate::support::world::{PUBLIC_HOST, SITE};
use crate::support::{Answer, World};

#[tokio::test]
async fn the_status_object_has_the_fields_of_the_contract() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let pending = browser.status(&page).await.expect(200).json();
    assert_eq!(shape(&pending), json!({ "status": "string", "expires_in": "number" }));
    let mut phone = world.phone("lilei");
    phone.scan(&page.ticket).await.expect(200);
    let scanned = browser.status(&page).await.json();
    assert_eq!(
        shape(&scanned),
        json!({ "status": "string", "number": "number", "expires_in": "number" })
    );
    phone.status().await.expect(200);
    phone.confirm(scanned["number"].as_i64().unwrap()).await.expect(200);
    let confirmed = browser.status(&page).await.json();
    // A person without name and number has nothing to be called by.
    assert_eq!(shape(&confirmed), json!({ "status": "string", "expires_in": "number" }));

    let mut other = world.browser();
    let scanned = other.scanned_by(&mut phone).await;
    phone
        .confirm(scanned.number % 90 + 10)
        .await
        .refused(403, "wrong_number");
    let failed = other.status(&scanned.page).await.json();
    let error = json!({ "code": "string", "message": "string" });
    assert_eq!(
        shape(&failed),
        json!({ "status": "string", "expires_in": "number", "error": error })
    );
}

#[tokio::test]
async fn the_phones_answers_have_the_fields_of_the_contract() {
    let world = World::start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    browser.scanned_by(&mut phone).await;
    let site = json!({ "name": "string", "host": "string" });
    let device = json!({ "browser": "string", "os": "string", "kind": "string", "text": "string" });
    let place = json!({ "device": device, "place": "string", "same_network": "boolean", "time": "number" });
    let mut expected = json!({
        "handle": "string",
        "status": "string",
        "site": site,
        "browser": place,
        "choices": ["number", "number", "number"],
        "number_entry": "string",
        "phone": "string",
        "known": "boolean",
        "connection": { "display_name": "string" },
        "expires_in": "number",
    });
    assert_eq!(shape(&phone.shown), expected);
    assert_eq!(phone.shown["browser"]["same_network"], true);
    let status = phone.status().await.expect(200).json();
    expected.as_object_mut().unwrap().remove("handle");
    assert_eq!(shape(&status), expected);
}

#[tokio::test]
async fn the_key_set_publishes_nothing_private() {
    let world = World::start().await;
    for host in [SITE, PUBLIC_HOST] {
        let keys = world
            .browser_at(host)
            .fetch("GET", "/.menshen/jwks.json")
            .await
            .expect(200)
            .json();
        let key = shape(&keys)["keys"][0].clone();
        let names: Vec<&String> = key.as_object().unwrap().keys().collect();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}

#[tokio::test]
async fn a_refusal_has_the_form_that_its_reader_understands() {
    let world = World::start().await;
    let mut browser = world.browser();
    let script = browser.fetch("GET", "/data?x=1").await.refused(401, "login_required");
    let login_url = script.json()["error"]["login_url"].as_str().unwrap().to_owned();
    assert!(login_url.starts_with("/.menshen/login"), "{login_url}");
    assert_eq!(script.header("content-type"), Some("application/json"));
    assert!(browser.cookies.is_empty(), "only a page is given a ticket");

    let grpc = browser
        .request("POST", "/svc/Do")
        .header("Content-Type", "application/grpc+proto");
    let refused = world.send(&grpc).await.expect(200);
    assert_eq!(
        (refused.header("grpc-status"), refused.header("content-type")),
        (Some("16"), Some("application/grpc"))
    );

    let page = browser.open("/.menshen/nothing").await.expect(404);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(
        page.text().contains(page.header("x-request-id").unwrap()),
        "the page shows its request id"
    );
    browser
        .fetch("GET", "/.menshen/nothing")
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn refusals_are_in_the_readers_language() {
    let world = World::start().await;
    let mut messages = Vec::new();
    for language in ["en", "zh-CN", "zh-TW", "ja"] {
        let mut browser = world.browser();
        browser.language = language.to_owned();
        let refused = browser.fetch("GET", "/").await.refused(401, "login_required").json();
        messages.push(refused["error"]["message"].as_str().unwrap().to_owned());
        let page = browser.open("/").await.expect(401).text();
        assert!(page.contains(&format!("<html lang=\"{language}\"")), "{language}");
    }
    let mut different = messages.clone();
    different.dedup();
    assert_eq!(different, messages);
}

#[tokio::test]
async fn only_a_page_that_somebody_looks_at_is_given_a_ticket() {
    let world = World::start().await;
    let browser = world.browser();
    let cases: [(&str, Request); 6] = [
        ("a fetch", browser.script("GET", "/")),
        (
            "a prefetch",
            browser
                .navigation("GET", "/")
                .header("Sec-Purpose", "prefetch;prerender"),
        ),
        (
            "an image",
            browser
                .request("GET", "/")
                .header("Sec-Fetch-Dest", "image")
                .header("Accept", "image/*"),
        ),
        (
            "a frame",
            browser
                .request("GET", "/")
                .header("Sec-Fetch-Dest", "iframe")
                .header("Accept", "text/html"),
        ),
        (
            "a script of old",
            browser
                .request("GET", "/")
                .header("Accept", "text/html")
                .header("X-Requested-With", "x"),
        ),
        ("a head", browser.navigation("HEAD", "/")),
    ];
    for (what, request) in cases {
        let answer = world.send(&request).await.expect(401);
        assert_eq!(answer.all("set-cookie").count(), 0, "{what}: {}", answer.head());
    }
    let old = browser.request("GET", "/").header("Accept", "text/html");
    assert!(
        world
            .send(&old)
            .await
            .expect(401)
            .set_cookie("menshen-ticket")
            .is_some()
    );
}

#[tokio::test]
async fn the_login_page_can_be_a_redirect() {
    let world = World::plan().set("login.answer", "redirect").start().await;
    let mut browser = world.browser();
    let answer = browser.open("/a?b=c&d").await.expect(302);
    let location = answer.header("location").unwrap().to_owned();
    assert_eq!(location, "/.menshen/login?rd=%2Fa%3Fb%3Dc%26d");
    let page = browser.open(&location).await.expect(200).login_page();
    assert_eq!(
        browser.finish_login(&page, "lilei").await.expect(200).json()["redirect"],
        "/a?b=c&d"
    );
    // Who is signed in needs no page.
    let back = browser.open(&location).await.expect(303);
    assert_eq!(back.header("location"), Some("/a?b=c&d"));
}

#[tokio::test]
async fn every_answer_of_the_portal_keeps_the_rules_of_all() {
    let world = World::plan()
        .set("server.verification_files", toml::toml! { "MP_verify_x.txt" = "x" })
        .append("\n[[sites.routes]]\npath = \"/cors/\"\ncors_origins = [\"https://spa.example\"]\n")
        .append("\n[[sites.routes]]\npath = \"/never/\"\naccess = \"deny\"\n")
        .start()
        .await;
    let mut browser = world.browser();
    let html = browser.open("/").await.expect(401).text();
    for asset in ["mark.", "portal.", "login."] {
        let name = between(&html, &format!("/.menshen/assets/{asset}"), "\"").unwrap();
        let answer = browser
            .fetch("GET", &format!("/.menshen/assets/{asset}{name}"))
            .await
            .expect(200);
        assert!(
            answer.header("cache-control").unwrap().contains("immutable"),
            "{}",
            answer.head()
        );
    }
    for (target, status) in [
        ("/.menshen", 404),
        ("/.menshen/", 404),
        ("/.menshen/login", 200),
        ("/.menshen/logout?done", 200),
        ("/.menshen/assets/none.css", 404),
        ("/.menshen/tickets/x", 404),
        ("/.menshen/tickets/x/page", 404),
        ("/.menshen/phone/scan", 404),
        ("/.menshen/account", 404),
        ("/.menshen/%2e%2e/", 400),
        ("/.menshenx", 401),
        ("/never/x", 403),
    ] {
        browser.open(target).await.expect(status);
        browser.fetch("GET", target).await;
        let mut head = browser.script("HEAD", target);
        head = head.without("Accept");
        assert!(world.send(&head).await.body.is_empty(), "{target}");
    }
    let mut public = world.browser_at(PUBLIC_HOST);
    public.open("/").await.expect(303);
    public.open("/elsewhere").await.expect(404);
    assert_eq!(public.open("/MP_verify_x.txt").await.expect(200).text(), "x");
    let preflight = Request::new("OPTIONS", "/cors/x")
        .header("Host", &world.authority(SITE))
        .header("Origin", "https://spa.example")
        .header("Access-Control-Request-Method", "GET");
    let answer = world.send(&preflight).await.expect(204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://spa.example")
    );
    world
        .browser_at("unknown.test")
        .fetch("GET", "/")
        .await
        .refused(404, "unknown_host");
    world.browser_at("unknown.test").open("/").await.expect(404);
}

#[tokio::test]
async fn what_acts_takes_post_and_a_body_of_its_kind_and_size() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let base = format!("/.menshen/tickets/{}", page.ticket);
    for target in ["/redeem", "/cancel"] {
        browser.fetch("GET", &format!("{base}{target}")).await.expect(404);
    }
    browser.fetch("GET", "/.menshen/tickets").await.expect(404);
    browser.fetch("DELETE", &base).await.expect(404);

    let body = json!({ "connection": "staff" });
    let kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ];
    for kind in kinds {
        let request = browser
            .script("POST", "/.menshen/tickets")
            .body(kind, body.to_string().as_bytes());
        world.send(&request).await.refused(400, "bad_request");
    }
    let charset = "application/json; charset=utf-8";
    let request = browser
        .script("POST", "/.menshen/tickets")
        .body(charset, body.to_string().as_bytes());
    world.send(&request).await.expect(201);

    let phone = world.phone("lilei");
    for body in [
        json!({}),
        json!({ "scene": page.ticket }),
        json!({ "scene": 1, "code": "x" }),
        json!([]),
    ] {
        phone.call("scan", &body).await.refused(400, "bad_request");
    }
    for body in [
        json!({}),
        json!({ "scene": "x", "handle": "y" }),
        json!({ "handle": "x", "reason": "because" }),
    ] {
        phone.call("cancel", &body).await.refused(400, "bad_request");
    }
    let unlabelled = phone.request("scan", &json!({})).without("Content-Type");
    world.send(&unlabelled).await.refused(400, "bad_request");

    let large = json!({ "scene": page.ticket, "code": "x".repeat(70_000) });
    phone.call("scan", &large).await.refused(413, "too_large");
    let mut chunked = phone.request("scan", &large).header("Transfer-Encoding", "chunked");
    let text = large.to_string();
    chunked.body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).into_bytes();
    world.send(&chunked).await.refused(413, "too_large");
}

#[tokio::test]
async fn phones_are_answered_at_the_public_host_only_and_without_cookies() {
    let world = World::start().await;
    let page = world.browser().open("/").await.login_page();
    let phone = world.phone("lilei");
    let body = json!({ "scene": page.ticket, "code": phone.login_code() });
    for call in ["scan", "status", "confirm", "cancel"] {
        let request = phone
            .request(call, &body)
            .without("Host")
            .header("Host", &world.authority(SITE));
        world.send(&request).await.refused(404, "not_found");
    }
    let request = phone.request("scan", &body).header("Origin", "https://evil.example");
    let answer = world.send(&request).await.expect(200);
    assert!(answer.header("access-control-allow-origin").is_none());
    assert_eq!(answer.all("set-cookie").count(), 0);
}

#[tokio::test]
async fn too_many_pages_of_one_address_are_told_when_to_come_back() {
    let world = World::plan()
        .set("limits.login_pages", "5/min")
        .set("limits.waiting_streams", 2)
        .start()
        .await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let (_one, _two) = (browser.events(&page).await, browser.events(&page).await);
    // A stream too many falls back to asking.
    let third = browser.events(&page).await.answer;
    assert_eq!(third.status, 204);
    let mut answer: Answer = browser.open("/").await;
    for _ in 0..5 {
        answer = browser.open("/").await;
    }
    assert_eq!(answer.status, 429, "{}", answer.head());
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let body = json!({ "connection": "staff" });
    browser
        .fetch_json("/.menshen/tickets", &body)
        .await
        .refused(429, "rate_limited");
    browser.status(&page).await.expect(200);
}

#[tokio::test]
async fn without_its_store_the_gateway_serves_sessions_and_refuses_logins() {
    let world = World::start().await;
    let listener = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let admin = Admin::serve(listener, world.gateway().status()).unwrap();
    let ready = async || {
        let answer = reqwest::get(format!("http://{}/readyz", admin.address()))
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap()["ready"].clone(),
        )
    };
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    assert_eq!(ready().await, (200, json!(true)));

    let mut store = world.watch_store().await;
    store.break_store().await;
    browser.open("/").await.expect(200);
    assert!(world.upstream.last().header("x-menshen-assertion").is_some());
    assert_eq!(ready().await, (503, json!(false)));
    let mut stranger = world.browser();
    let page = stranger.open("/").await.expect(401).login_page();
    stranger.status(&page).await.refused(503, "store_unavailable");
    let mut phone = world.phone("hanmeimei");
    phone.scan(&page.ticket).await.refused(503, "store_unavailable");
    browser
        .fetch("POST", "/.menshen/logout")
        .await
        .refused(503, "store_unavailable");

    // An hour and the delay of revocations later nobody can say any more whether a session holds.
    world.advance(3_600 + 31);
    let request = browser.script("GET", "/");
    let refused = world.send(&request).await.expect(503);
    assert!(
        matches!(refused.code().as_deref(), Some("not_ready" | "store_unavailable")),
        "{}",
        refused.text()
    );
    store.mend_store().await;
    world.ready().await;
    browser.open("/").await.expect(200);
    assert_eq!(ready().await, (200, json!(true)));
    let page = stranger.open("/").await.login_page();
    stranger.finish_login(&page, "hanmeimei").await.expect(200);
}

/// Names and types, without values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => json!("string"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("boolean"),
        Value::Null => Value::Null,
    }
}
