//! A sample application on this phone: it signs in by opening the mini program, and gets tokens.
//!
//! It plays the protocol that `examples/app` shows for Kotlin and Swift. The page is what a person sees; what an
//! application keeps to itself, the verifier and the tokens, stays in this server, which calls the gateway as the
//! application's own HTTP client would.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::language::Language;
use super::{APPLICATION_APP, Sandbox, identifiers};

pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/application", get(page))
        .route("/application/assets/{name}", get(asset))
        .route("/application/api/begin", post(begin))
        .route("/application/api/poll", post(poll))
        .route("/application/api/refresh", post(refresh))
}

/// The copies of the application that are open.
#[derive(Debug, Default)]
pub(super) struct Applications(Mutex<HashMap<String, Login>>);

/// One login, as an application keeps it: in memory, and the refresh token in the system's key store.
#[derive(Clone, Default)]
struct Login {
    ticket: String,
    verifier: String,
    access: String,
    refresh: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Login")
    }
}

impl Applications {
    fn get(&self, id: &str) -> Option<Login> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn keep(&self, id: &str, login: Login) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_LOGINS {
            kept.clear();
        }
        kept.insert(id.to_owned(), login);
    }
}

#[derive(Debug, Deserialize)]
struct PageQuery {
    lang: Option<String>,
    connection: Option<String>,
}

async fn page(Query(query): Query<PageQuery>, headers: HeaderMap) -> Response {
    let language = Language::of(query.lang.as_deref(), &headers);
    let connection = query.connection.unwrap_or_else(|| CONNECTION.to_owned());
    let html = PAGE
        .replace("{{lang}}", language.tag())
        .replace("{{connection}}", &super::links::escape(&connection));
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    connection: String,
}

/// A ticket, the number to show, and what the OpenSDK would be given.
async fn begin(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(begin): Json<Begin>) -> Response {
    let verifier = identifiers::random_text(32);
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let asked = json!({ "connection": begin.connection, "code_challenge": challenge });
    let (status, created) = match call(&sandbox, &headers, "tickets", &asked).await {
        Ok(answer) => answer,
        Err(response) => return response,
    };
    if status != StatusCode::CREATED {
        return (status, Json(created)).into_response();
    }
    let id = identifiers::random_text(16);
    let login = Login {
        ticket: created["id"].as_str().unwrap_or_default().to_owned(),
        verifier,
        ..Login::default()
    };
    sandbox.0.applications.keep(&id, login);
    Json(json!({
        "login": id,
        "number": created["number"],
        "launch": created["launch"],
        "phone": open_mini_program(&sandbox, &created["launch"]),
        "expires_in": created["expires_in"],
    }))
    .into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    login: String,
}

/// Asks how the ticket is; with tokens, who they are for.
async fn poll(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(known): Json<Known>) -> Response {
    let Some(login) = sandbox.0.applications.get(&known.login) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asked = json!({ "code_verifier": login.verifier });
    let path = format!("tickets/{}/redeem", login.ticket);
    match call(&sandbox, &headers, &path, &asked).await {
        Ok((StatusCode::OK, tokens)) => signed_in(&sandbox, &known.login, login, &tokens).await,
        Ok((status, answer)) => (status, Json(answer)).into_response(),
        Err(response) => response,
    }
}

/// A new pair of tokens for the refresh token, which works once.
async fn refresh(State(sandbox): State<Sandbox>, headers: HeaderMap, Json(known): Json<Known>) -> Response {
    let Some(login) = sandbox.0.applications.get(&known.login) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asked = json!({ "refresh_token": login.refresh });
    match call(&sandbox, &headers, "token", &asked).await {
        Ok((StatusCode::OK, tokens)) => signed_in(&sandbox, &known.login, login, &tokens).await,
        Ok((status, answer)) => (status, Json(answer)).into_response(),
        Err(response) => response,
    }
}

/// Keeps the tokens and asks whose they are. The page is told the answer and how the token begins, never the token.
async fn signed_in(sandbox: &Sandbox, id: &str, login: Login, tokens: &Value) -> Response {
    let text = |name: &str| tokens[name].as_str().unwrap_or_default().to_owned();
    let login = Login {
        access: text("access_token"),
        refresh: text("refresh_token"),
        ..login
    };
    let Some(mut address) = sandbox.addresses().gateway else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    address.set_path("/.menshen/userinfo");
    let asked = sandbox.0.gateway.get(address).bearer_auth(&login.access).send().await;
    let who = match asked {
        Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let begins: String = login.access.chars().take(8).collect();
    sandbox.0.applications.keep(id, login);
    Json(json!({ "token": format!("{begins}…"), "expires_in": tokens["expires_in"], "userinfo": who })).into_response()
}

/// What WeChat does with `WXLaunchMiniProgram`: finds the mini program by its original id and opens the page with its
/// query, on the simulated phone. `None`: `bad_param`.
fn open_mini_program(sandbox: &Sandbox, launch: &Value) -> Option<String> {
    let name = launch["user_name"].as_str()?;
    let app = sandbox.apps().into_iter().find(|app| app.original_id() == name)?;
    let (page, query) = launch["path"].as_str()?.split_once('?')?;
    let mut phone = form_urlencoded::Serializer::new(String::new());
    phone.append_pair("appid", app.app_id.as_str());
    phone.extend_pairs(form_urlencoded::parse(query.as_bytes()));
    phone.append_pair("page", page);
    phone.append_pair(
        "env",
        ENV_VERSIONS.get(usize::try_from(launch["type"].as_u64()?).ok()?)?,
    );
    phone.append_pair("entry", "1069");
    phone.append_pair("referrer", APPLICATION_APP);
    Some(format!("/phone?{}", phone.finish()))
}

/// A call of the application's own HTTP client.
async fn call(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, Value), Response> {
    let Some(mut address) = sandbox.addresses().gateway else {
        return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    address.set_path(&format!("/.menshen/app/{path}"));
    let mut request = sandbox.0.gateway.post(address).json(body);
    for name in [header::ACCEPT_LANGUAGE, header::USER_AGENT] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(path = "app", %error, "the gateway cannot be reached");
            return Err(StatusCode::BAD_GATEWAY.into_response());
        }
    };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok((status, answer.json().await.unwrap_or_default()))
}

/// By WeChat's `miniprogramType`.
const ENV_VERSIONS: [&str; 3] = ["release", "develop", "trial"];
/// As the demo calls it.
const CONNECTION: &str = "app";
const MOST_LOGINS: usize = 100;
const PAGE: &str = include_str!("assets/application.html");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const ASSETS: [(&str, &str, &str); 2] = [
    (
        "application.css",
        "text/css; charset=utf-8",
        include_str!("assets/application.css"),
    ),
    (
        "application.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/application.js"),
    ),
];
