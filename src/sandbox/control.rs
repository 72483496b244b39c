//! The control interface: what tests in other languages, and people at a shell, tell the sandbox to do.
//!
//! A body needs its JSON content type, which a web page of another origin cannot send without being asked about it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Sandbox;
use super::faults::Fault;
use super::state::{CODE_LIFETIME, PhoneRefusal};

pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/__sandbox/", get(overview))
        .route("/__sandbox/apps", get(apps))
        .route("/__sandbox/personas", get(personas))
        .route("/__sandbox/calls", get(calls).delete(forget_calls))
        .route("/__sandbox/codes", post(make_code))
        .route("/__sandbox/user_info", post(user_info))
        .route("/__sandbox/clock", get(clock).post(advance))
        .route("/__sandbox/faults", get(faults).post(inject).delete(clear_faults))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeOrder {
    appid: String,
    persona: String,
    kind: CodeKind,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    appid: String,
    persona: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CodeKind {
    Login,
    Phone,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: u64,
}

#[derive(Debug, Serialize)]
struct Overview {
    what: &'static str,
    resources: [&'static str; 8],
}

async fn overview() -> Json<Overview> {
    Json(Overview {
        what: "Menshen sandbox: a stand-in for WeChat's servers. Nothing here is real.",
        resources: [
            "GET /phone",
            "GET /__sandbox/apps",
            "GET /__sandbox/personas",
            "GET, DELETE /__sandbox/calls",
            "POST /__sandbox/codes {appid, persona, kind: login|phone}",
            "POST /__sandbox/user_info {appid, persona}",
            "GET, POST /__sandbox/clock {advance_seconds}",
            "GET, POST, DELETE /__sandbox/faults {endpoint, effect, times?, when?: before|after}",
        ],
    })
}

/// With their secrets: they open nothing but this sandbox, and whoever starts a gateway against it needs them.
async fn apps(State(sandbox): State<Sandbox>) -> Json<Value> {
    let apps = sandbox.apps().into_iter().map(|app| {
        json!({
            "appid": app.app_id,
            "secret": app.secret.expose_secret(),
            "kind": app.kind,
            "name": app.name,
            "verified": app.verified,
            "phone_declared": app.phone_declared,
            "released_pages": app.released_pages,
            "original_id": app.original_id(),
            "open_platform": app.open_platform,
            "push": app.push,
        })
    });
    Json(apps.collect())
}

async fn personas(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!(sandbox.personas()))
}

async fn calls(State(sandbox): State<Sandbox>) -> Json<Value> {
    let counts = sandbox.state().calls.clone();
    Json(json!({ "counts": counts, "recent": sandbox.recent_calls() }))
}

async fn forget_calls(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.forget_calls();
    StatusCode::NO_CONTENT
}

async fn make_code(State(sandbox): State<Sandbox>, Json(order): Json<CodeOrder>) -> Response {
    let code = match order.kind {
        CodeKind::Login => sandbox
            .login_code(&order.appid, &order.persona)
            .map_err(|_| PhoneRefusal::Unknown),
        CodeKind::Phone => sandbox.phone_code(&order.appid, &order.persona),
    };
    match code {
        Ok(code) => {
            let mut event = json!({ "code": code, "expires_in": CODE_LIFETIME });
            if let CodeKind::Phone = order.kind
                && let Some(encrypted) = sandbox
                    .state()
                    .encrypted_phone(&order.appid, &order.persona, sandbox.now())
            {
                event["encryptedData"] = json!(encrypted.encrypted_data);
                event["iv"] = json!(encrypted.iv);
            }
            Json(event).into_response()
        }
        Err(PhoneRefusal::Errno(errno)) => Json(json!({ "errno": errno })).into_response(),
        Err(PhoneRefusal::Unknown) => (
            StatusCode::NOT_FOUND,
            Json(json!({ "error": PhoneRefusal::Unknown.to_string() })),
        )
            .into_response(),
    }
}

/// What `wx.getUserInfo` gives a mini program after its `wx.login`.
async fn user_info(State(sandbox): State<Sandbox>, Json(asked): Json<Asked>) -> Response {
    let now = sandbox.now();
    let told = sandbox.state().user_info_of(&asked.appid, &asked.persona, now);
    match told {
        Some(told) => Json(told).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            Json(json!({ "error": "no such app or person, or no wx.login before" })),
        )
            .into_response(),
    }
}

async fn clock(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({ "now": sandbox.now() }))
}

async fn advance(State(sandbox): State<Sandbox>, Json(advance): Json<Advance>) -> Json<Value> {
    sandbox.advance(std::time::Duration::from_secs(advance.advance_seconds.min(MAX_ADVANCE)));
    Json(json!({ "now": sandbox.now() }))
}

async fn faults(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!(sandbox.state().faults.list()))
}

async fn inject(State(sandbox): State<Sandbox>, Json(fault): Json<Fault>) -> StatusCode {
    sandbox.inject(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.clear_faults();
    StatusCode::NO_CONTENT
}

/// Ten years.
const MAX_ADVANCE: u64 = 10 * 365 * 86_400;
