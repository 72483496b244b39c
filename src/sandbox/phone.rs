//! The simulated phone: a page that opens a code, and the calls that its mini program makes.
//!
//! The mini program's calls go through this server, because the gateway sends no CORS headers to pages; what the gateway
//! answers is handed on unchanged. `wx.login` and the phone button happen here, so that the page never sees a code.

use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::language::Language;
use super::state::PhoneRefusal;
use super::world::Bilingual;
use super::{Sandbox, picture};

pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/phone", get(page))
        .route("/phone/assets/{name}", get(asset))
        .route("/phone/api/world", get(world))
        .route("/phone/api/read", post(read))
        .route("/phone/api/scan", post(scan))
        .route("/phone/api/status", post(status))
        .route("/phone/api/confirm", post(confirm))
        .route("/phone/api/cancel", post(cancel))
}

#[derive(Debug, Deserialize)]
struct PageQuery {
    lang: Option<String>,
}

/// What the page has to know before it can draw anything.
#[derive(Debug, Serialize)]
struct World {
    apps: Vec<WorldApp>,
    personas: Vec<WorldPersona>,
    gateway: Option<String>,
}

#[derive(Debug, Serialize)]
struct WorldApp {
    appid: String,
    name: Bilingual,
    page: Option<String>,
}

#[derive(Debug, Serialize)]
struct WorldPersona {
    id: String,
    name: Bilingual,
    masked_phone: String,
    high_risk: bool,
    phone_errno: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    appid: String,
    persona: String,
    scene: String,
    entry: u32,
    /// AppID of what opened the mini program.
    referrer: Option<String>,
    /// What a link or a launch carried beside the scene.
    half: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    handle: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    appid: String,
    persona: String,
    handle: String,
    choice: u32,
    #[serde(default)]
    phone: PhoneButton,
    #[serde(default)]
    accept: bool,
}

/// What the person did when asked for the phone number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhoneButton {
    /// It was not shown.
    #[default]
    None,
    /// Allowed.
    Allow,
    /// Refused.
    Deny,
    /// Closed the sheet.
    Close,
}

async fn page(State(sandbox): State<Sandbox>, Query(query): Query<PageQuery>, headers: HeaderMap) -> Response {
    let language = Language::of(query.lang.as_deref(), &headers);
    let html = PAGE.replace("{{lang}}", language.tag());
    let mut response = Html(html).into_response();
    let policy = policy(sandbox.addresses().gateway.as_ref());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
    response
}

/// Nothing but this server's own files, and pictures of the gateway: the connection's logo.
fn policy(gateway: Option<&Url>) -> String {
    let origin = gateway
        .map(|gateway| gateway.origin().ascii_serialization())
        .unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: {origin}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

async fn asset(Path(name): Path<String>) -> Response {
    let found = ASSETS.into_iter().find(|(known, ..)| *known == name);
    let Some((_, content_type, text)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

async fn world(State(sandbox): State<Sandbox>) -> Json<World> {
    let apps = sandbox.apps().into_iter().map(|app| WorldApp {
        appid: app.app_id.as_str().to_owned(),
        page: app.released_pages.first().cloned(),
        name: app.name,
    });
    let personas = sandbox.personas().into_iter().map(|persona| WorldPersona {
        masked_phone: persona.phone.masked(),
        id: persona.id,
        name: persona.name,
        high_risk: persona.high_risk,
        phone_errno: persona.phone_errno,
    });
    let gateway = sandbox.addresses().gateway.map(String::from);
    Json(World {
        apps: apps.collect(),
        personas: personas.collect(),
        gateway,
    })
}

/// The camera: a picture in, the address of the code in it out.
async fn read(request: Request) -> Response {
    let is_picture = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("image/"));
    if !is_picture {
        return refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "sandbox_no_picture",
            "Not a picture.",
        );
    }
    let Ok(bytes) = to_bytes(request.into_body(), MAX_PICTURE).await else {
        return refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "sandbox_no_picture",
            "The picture is too large.",
        );
    };
    match tokio::task::spawn_blocking(move || picture::read(&bytes)).await {
        Ok(Some(address)) => Json(json!({ "address": address })).into_response(),
        Ok(None) | Err(_) => refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "sandbox_no_code",
            "There is no code in this picture.",
        ),
    }
}

async fn scan(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(scan): Json<Scan>) -> Response {
    let Ok(code) = sandbox.login_code(&scan.appid, &scan.persona) else {
        return unknown();
    };
    let mut body = json!({ "scene": scan.scene, "code": code, "entry": scan.entry });
    for (name, value) in [("referrer", scan.referrer), ("half", scan.half)] {
        if let Some(value) = value {
            body[name] = Value::from(value);
        }
    }
    forward(&sandbox, &headers, &scan.appid, "scan", &body).await
}

async fn status(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(status): Json<Status>) -> Response {
    forward(&sandbox, &headers, "", "status", &json!({ "handle": status.handle })).await
}

async fn confirm(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(confirm): Json<Confirm>) -> Response {
    let mut body = Map::new();
    body.insert("handle".to_owned(), Value::from(confirm.handle));
    body.insert("choice".to_owned(), Value::from(confirm.choice));
    if confirm.accept {
        body.insert("accept".to_owned(), Value::from(true));
    }
    let pressed = match confirm.phone {
        PhoneButton::None => None,
        PhoneButton::Allow => Some(sandbox.phone_code(&confirm.appid, &confirm.persona)),
        PhoneButton::Deny => Some(Err(PhoneRefusal::Errno(DENIED))),
        PhoneButton::Close => Some(Err(PhoneRefusal::Errno(CLOSED))),
    };
    match pressed {
        None => {}
        Some(Ok(code)) => {
            body.insert("phone_code".to_owned(), Value::from(code));
        }
        Some(Err(PhoneRefusal::Errno(errno))) => {
            body.insert("phone_errno".to_owned(), Value::from(errno));
        }
        Some(Err(PhoneRefusal::Unknown)) => return unknown(),
    }
    forward(&sandbox, &headers, &confirm.appid, "confirm", &Value::Object(body)).await
}

async fn cancel(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    forward(&sandbox, &headers, "", "cancel", &body).await
}

/// Makes the mini program's call and hands the gateway's answer on.
async fn forward(sandbox: &Sandbox, headers: &HeaderMap, appid: &str, call: &str, body: &Value) -> Response {
    let Some(gateway) = sandbox.addresses().gateway else {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "sandbox_no_gateway",
            "This sandbox does not know where the gateway is.",
        );
    };
    let mut address = gateway;
    address.set_path(&format!("/.menshen/phone/{call}"));
    address.set_query(None);
    let mut request = sandbox
        .0
        .gateway
        .post(address)
        // As wx.request sends it; version 1 is the released one.
        .header(
            header::REFERER,
            format!("https://servicewechat.com/{appid}/1/page-frame.html"),
        )
        .json(body);
    if let Some(languages) = headers.get(header::ACCEPT_LANGUAGE) {
        request = request.header(header::ACCEPT_LANGUAGE, languages);
    }
    match request.send().await {
        Ok(answer) => hand_on(answer).await,
        Err(error) => {
            tracing::warn!(call, %error, "the gateway cannot be reached");
            refusal(
                StatusCode::BAD_GATEWAY,
                "sandbox_gateway_unreachable",
                "The gateway cannot be reached.",
            )
        }
    }
}

async fn hand_on(answer: reqwest::Response) -> Response {
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    if status == StatusCode::NO_CONTENT {
        return status.into_response();
    }
    let bytes = answer.bytes().await.unwrap_or_else(|_| Bytes::new());
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(body) => (status, Json(body)).into_response(),
        Err(_) => refusal(
            StatusCode::BAD_GATEWAY,
            "sandbox_gateway_nonsense",
            "The gateway did not answer with JSON.",
        ),
    }
}

fn unknown() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "sandbox_unknown",
        "There is no such app or person in this sandbox.",
    )
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

const PAGE: &str = include_str!("assets/phone.html");
const ASSETS: [(&str, &str, &str); 8] = [
    ("frame.css", "text/css; charset=utf-8", include_str!("assets/frame.css")),
    (
        "screens.css",
        "text/css; charset=utf-8",
        include_str!("assets/screens.css"),
    ),
    (
        "controls.css",
        "text/css; charset=utf-8",
        include_str!("assets/controls.css"),
    ),
    (
        "phone.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/phone.js"),
    ),
    (
        "screens.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/screens.js"),
    ),
    (
        "elements.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/elements.js"),
    ),
    (
        "strings.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/strings.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];
const MAX_PICTURE: usize = 8 * 1024 * 1024;
/// The person pressed "refuse".
const DENIED: i64 = 103;
/// The person closed the dialog.
const CLOSED: i64 = 104;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_policy_lets_in_no_script_but_the_files_of_this_server() {
        let gateway = Url::parse("https://login.example.com:8443/base").unwrap();
        let policy = policy(Some(&gateway));
        assert!(policy.contains("script-src 'self';"), "{policy}");
        assert!(
            policy.contains("img-src 'self' blob: https://login.example.com:8443;"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_has_no_inline_script_style_or_handler() {
        for forbidden in ["<style", " style=", " onclick", " onload", "javascript:"] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        assert_eq!(
            PAGE.matches("<script").count(),
            PAGE.matches("<script type=\"module\" src=").count()
        );
    }
}
