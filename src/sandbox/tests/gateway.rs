//! The phone's side: what its mini program sends to a gateway, and the demo application behind one.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::super::demo_app;
use super::server::{APP, Reply, Server};

/// What a gateway was asked: the call, its headers, its body.
type Seen = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

async fn answer(
    State(seen): State<Seen>,
    Path(call): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let refused = body["choice"] == 99;
    seen.lock().unwrap().push((call.clone(), headers, body));
    match call.as_str() {
        "cancel" => StatusCode::NO_CONTENT.into_response(),
        "status" => "not JSON".into_response(),
        _ if refused => {
            let error = json!({ "error": { "code": "wrong_number", "message": "!", "request_id": "r" } });
            (StatusCode::FORBIDDEN, Json(error)).into_response()
        }
        _ => Json(json!({ "handle": "h" })).into_response(),
    }
}

async fn gateway(server: &Server) -> Seen {
    let seen = Seen::default();
    let router = Router::new()
        .route("/.menshen/phone/{call}", post(answer))
        .with_state(seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server
        .sandbox
        .set_gateway_url(Url::parse(&format!("http://{address}")).unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    seen
}

#[tokio::test]
async fn the_mini_program_sends_a_fresh_login_code_and_its_launch_scene() {
    let server = Server::start().await;
    let seen = gateway(&server).await;
    let scan = json!({ "appid": APP, "persona": "lilei", "scene": "s", "entry": 1047 });
    let request = server.http.post(format!("{}/phone/api/scan", server.base)).json(&scan);
    let reply = Reply::read(request.header("accept-language", "en").send().await.unwrap()).await;
    assert_eq!((reply.status, reply.json()), (200, json!({ "handle": "h" })));
    let (call, headers, body) = seen.lock().unwrap().remove(0);
    assert_eq!(
        (call.as_str(), &body["scene"], &body["entry"]),
        ("scan", &json!("s"), &json!(1047))
    );
    assert_eq!(
        headers["referer"],
        format!("https://servicewechat.com/{APP}/1/page-frame.html")
    );
    assert_eq!(headers["accept-language"], "en");
    let openid = server.login(APP, body["code"].as_str().unwrap()).await.text("openid");
    assert_eq!(openid, server.sandbox.openid(APP, "lilei"));
    assert!(
        !String::from_utf8(reply.body)
            .unwrap()
            .contains(body["code"].as_str().unwrap())
    );
}

#[tokio::test]
async fn what_the_person_does_with_the_phone_button_reaches_the_gateway() {
    let server = Server::start().await;
    let seen = gateway(&server).await;
    let confirm = async |persona: &str, phone: &str| {
        let body = json!({ "appid": APP, "persona": persona, "handle": "h", "choice": 47, "phone": phone });
        assert_eq!(server.post("/phone/api/confirm", &[], &body).await.status, 200);
        seen.lock().unwrap().pop().unwrap().2
    };
    assert_eq!(confirm("lilei", "none").await, json!({ "handle": "h", "choice": 47 }));
    assert_eq!(confirm("lilei", "deny").await["phone_errno"], 103);
    assert_eq!(confirm("lilei", "close").await["phone_errno"], 104);
    assert_eq!(
        confirm("sunyue", "allow").await,
        json!({ "handle": "h", "choice": 47, "phone_errno": 1_400_001 })
    );
    let allowed = confirm("lilei", "allow").await;
    let number = server
        .phone_number(APP, &json!({ "code": allowed["phone_code"] }))
        .await
        .json();
    assert_eq!(number["phone_info"]["purePhoneNumber"], "13900139000");
}

#[tokio::test]
async fn answers_of_the_gateway_are_handed_on_and_nonsense_is_named() {
    let server = Server::start().await;
    let status = json!({ "handle": "h" });
    let early = server.post("/phone/api/status", &[], &status).await;
    assert_eq!(
        (early.status, &early.json()["error"]["code"]),
        (503, &json!("sandbox_no_gateway"))
    );
    let _seen = gateway(&server).await;
    let wrong = json!({ "appid": APP, "persona": "lilei", "handle": "h", "choice": 99 });
    let reply = server.post("/phone/api/confirm", &[], &wrong).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["code"]),
        (403, &json!("wrong_number"))
    );
    assert_eq!(
        server
            .post("/phone/api/cancel", &[], &json!({ "scene": "s" }))
            .await
            .status,
        204
    );
    let nonsense = server.post("/phone/api/status", &[], &status).await;
    assert_eq!(
        (nonsense.status, &nonsense.json()["error"]["code"]),
        (502, &json!("sandbox_gateway_nonsense"))
    );
    let unknown = json!({ "appid": APP, "persona": "nobody", "scene": "s", "entry": 1047 });
    assert_eq!(server.post("/phone/api/scan", &[], &unknown).await.status, 404);
    server
        .sandbox
        .set_gateway_url(Url::parse("http://127.0.0.1:9").unwrap());
    assert_eq!(server.post("/phone/api/status", &[], &status).await.status, 502);
}

#[tokio::test]
async fn the_phone_reads_a_code_from_a_picture() {
    let server = Server::start().await;
    let jpeg = server.wxacode(&json!({ "scene": "abc" })).await.body;
    let read = async |kind: &str, picture: Vec<u8>| {
        let request = server
            .http
            .post(format!("{}/phone/api/read", server.base))
            .header("content-type", kind);
        Reply::read(request.body(picture).send().await.unwrap()).await
    };
    let address = read("image/jpeg", jpeg.clone()).await.text("address");
    assert!(address.contains("&scene=abc&"), "{address}");
    assert_eq!(read("text/plain", jpeg).await.status, 415);
    assert_eq!(read("image/png", b"nothing".to_vec()).await.status, 422);
}

#[tokio::test]
async fn the_phone_page_says_what_it_is_and_forbids_inline_code() {
    let server = Server::start().await;
    let _seen = gateway(&server).await;
    let request = server
        .http
        .get(format!("{}/phone?scene=a", server.base))
        .header("accept-language", "en");
    let response = request.send().await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
        "{policy}"
    );
    let html = response.text().await.unwrap();
    assert!(html.contains("<html lang=\"en\">") && html.contains("SANDBOX") && html.contains("模拟"));
    let script = String::from_utf8(server.get("/phone/assets/phone.js", &[]).await.body).unwrap();
    let named = [html, script].concat();
    let names: Vec<_> = named
        .split("/phone/assets/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        assert_eq!(
            server.get(&format!("/phone/assets/{name}"), &[]).await.status,
            200,
            "{name}"
        );
    }
    assert_eq!(server.get("/phone/assets/mod.rs", &[]).await.status, 404);
    let world = server.get("/phone/api/world", &[]).await;
    assert!(!String::from_utf8(world.body).unwrap().contains(&server.secret(APP)));
}

#[tokio::test]
async fn the_demo_application_answers_every_path_and_greets_by_the_headers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = demo_app(Url::parse("http://127.0.0.1:9/").unwrap(), "demo".to_owned());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = reqwest::Client::new();
    let request = http
        .get(format!("{base}/stock/7?month=3"))
        .header("accept-language", "en");
    let request = request
        .header("remote-user", "wang")
        .header("remote-name", "%E7%8E%8B%E5%B0%8F%E6%98%8E");
    let html = request.send().await.unwrap().text().await.unwrap();
    assert!(html.contains("Welcome, <b>王小明</b>"));
    assert!(html.contains("GET /stock/7?month=3"));
    assert!(html.contains("<code>%E7%8E%8B%E5%B0%8F%E6%98%8E</code> <q>王小明</q>"));
    assert!(html.contains("Not verified"));
    assert!(html.contains("href=\"/.menshen/logout\""));
}
