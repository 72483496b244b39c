//! What the sandbox does on order: misbehave, tell, and refuse whom it does not know.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Effect, Endpoint, Fault, Sandbox, SandboxConfig};
use super::server::{APP, Reply, Server};

#[tokio::test]
async fn an_ordered_error_comes_as_often_as_ordered_and_leaves_the_code_good() {
    let server = Server::start().await;
    server
        .sandbox
        .inject(Fault::once(Endpoint::Login, Effect::Error(-1)).times(2));
    let code = server.sandbox.login_code(APP, "lilei").unwrap();
    assert_eq!(server.login(APP, &code).await.errcode(), -1);
    assert_eq!(server.login(APP, &code).await.errcode(), -1);
    assert_eq!(server.login(APP, &code).await.errcode(), 0);
    let seen: Vec<_> = server
        .sandbox
        .recent_calls()
        .iter()
        .map(|call| (call.errcode, call.fault))
        .collect();
    assert_eq!(seen, [(None, true), (None, true), (Some(0), false)]);
}

#[tokio::test]
async fn an_answer_lost_after_the_work_leaves_the_code_spent() {
    let server = Server::start().await;
    server
        .sandbox
        .inject(Fault::once(Endpoint::Login, Effect::EmptyBody).after());
    let code = server.sandbox.login_code(APP, "lilei").unwrap();
    let lost = server.login(APP, &code).await;
    assert_eq!((lost.status, lost.body.len()), (200, 0));
    assert_eq!(server.login(APP, &code).await.errcode(), 40163);
}

#[tokio::test]
async fn every_misbehaviour_looks_like_what_it_is_called() {
    let server = Server::start().await;
    let ask = async |effect: Effect| {
        server.sandbox.inject(Fault::once(Endpoint::PhoneNumber, effect));
        let code = server.sandbox.phone_code(APP, "lilei").unwrap();
        server.phone_number(APP, &json!({ "code": code })).await
    };
    assert_eq!(ask(Effect::Status(503)).await.status, 503);
    let garbage = ask(Effect::Garbage).await;
    assert_eq!((garbage.status, garbage.content_type.as_str()), (200, "text/html"));
    assert!(ask(Effect::HugeBody(1_000_000)).await.body.len() > 1_000_000);
    assert_eq!(ask(Effect::DelayMs(1)).await.errcode(), 0);
    let dripped = ask(Effect::DripMs(0)).await;
    assert_eq!(dripped.json()["phone_info"]["purePhoneNumber"], "13900139000");
    let watermark = |reply: Reply| reply.json()["phone_info"]["watermark"].clone();
    assert_ne!(watermark(ask(Effect::WrongWatermark).await)["appid"], APP);
    let stale = watermark(ask(Effect::StaleWatermark).await)["timestamp"]
        .as_u64()
        .unwrap();
    assert!(stale + 80_000 < server.sandbox.now());
    server.sandbox.inject(Fault::once(Endpoint::Token, Effect::HangUp));
    let broken = server.http.get(format!("{}/cgi-bin/token", server.base)).send().await;
    let body = match broken {
        Ok(response) => response.bytes().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(body.is_err());
}

#[tokio::test]
async fn a_call_that_hangs_does_not_hold_up_the_end_of_the_server() {
    let mut server = Server::start().await;
    server.sandbox.inject(Fault::once(Endpoint::Token, Effect::Hang));
    let request = server
        .http
        .get(format!("{}/cgi-bin/token", server.base))
        .timeout(Duration::from_secs(30));
    let hanging = tokio::spawn(request.send());
    while server.sandbox.calls(Endpoint::Token) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!hanging.is_finished());
    server.stop.take().unwrap().send(()).unwrap();
    server.ended.take().unwrap().await.unwrap().unwrap();
    assert_eq!(
        hanging
            .await
            .unwrap()
            .map_or(503, |response| response.status().as_u16()),
        503
    );
}

#[tokio::test]
async fn the_control_interface_does_what_the_typed_one_does() {
    let server = Server::start().await;
    let apps = server.get("/__sandbox/apps", &[]).await.json();
    assert_eq!(apps[0]["secret"], server.secret(APP));
    let code = json!({ "appid": APP, "persona": "lilei", "kind": "login" });
    let made = server.post("/__sandbox/codes", &[], &code).await;
    assert_eq!(made.json()["expires_in"], 300);
    assert_eq!(server.login(APP, &made.text("code")).await.errcode(), 0);
    let refused = json!({ "appid": APP, "persona": "sunyue", "kind": "phone" });
    assert_eq!(
        server.post("/__sandbox/codes", &[], &refused).await.json(),
        json!({ "errno": 1_400_001 })
    );
    let unknown = json!({ "appid": "wx1", "persona": "lilei", "kind": "login" });
    assert_eq!(server.post("/__sandbox/codes", &[], &unknown).await.status, 404);
    let before = server.get("/__sandbox/clock", &[]).await.json()["now"]
        .as_u64()
        .unwrap();
    let after = server
        .post("/__sandbox/clock", &[], &json!({ "advance_seconds": 600 }))
        .await
        .json()["now"]
        .clone();
    assert!(after.as_u64().unwrap() >= before + 600);
    let fault = json!({ "endpoint": "/sns/jscode2session", "effect": { "error": 45011 } });
    assert_eq!(server.post("/__sandbox/faults", &[], &fault).await.status, 204);
    assert_eq!(server.get("/__sandbox/faults", &[]).await.json()[0]["times"], 1);
    assert_eq!(server.login(APP, "x").await.errcode(), 45011);
    let calls = server.get("/__sandbox/calls", &[]).await.json();
    assert_eq!(calls["counts"]["/sns/jscode2session"], 2);
    let people = server.get("/__sandbox/personas", &[]).await.json();
    assert_eq!(people.as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn a_rebound_name_reaches_the_api_and_nothing_else() {
    let server = Server::start().await;
    for (path, expected) in [
        ("/__sandbox/apps", 421),
        ("/phone", 421),
        ("/", 421),
        ("/cgi-bin/token", 200),
    ] {
        let request = server
            .http
            .get(format!("{}{path}", server.base))
            .header("host", "evil.example");
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected, "{path}");
    }
    let form = server.http.post(format!("{}/__sandbox/clock", server.base));
    let form = form
        .header("content-type", "text/plain")
        .body("{\"advance_seconds\":1}");
    assert_eq!(
        form.send().await.unwrap().status().as_u16(),
        415,
        "a form of another origin could send this"
    );
}

#[tokio::test]
async fn nobody_needs_a_base_address_to_draw_a_code() {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = sandbox.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let apps: Value = reqwest::get(format!("{base}/__sandbox/apps"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let body = json!({ "grant_type": "client_credential", "appid": APP, "secret": apps[0]["secret"] });
    let http = reqwest::Client::new();
    let token: Value = http
        .post(format!("{base}/cgi-bin/stable_token"))
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let address = format!(
        "{base}/wxa/getwxacodeunlimit?access_token={}",
        token["access_token"].as_str().unwrap()
    );
    let picture = http
        .post(address)
        .json(&json!({ "scene": "a" }))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(
        sandbox
            .scan(&picture)
            .unwrap()
            .starts_with(&format!("{base}/phone?appid={APP}&scene=a&"))
    );
}
