//! The phone's side of a service account: scanning its code, following, the chat, and the link in it.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded;

use super::account::{AccountAct, AccountRefusal, has_server};
use super::language::Language;
use super::picture::{self, Style};
use super::push::{Push, PushReply};
use super::world::App;
use super::{Sandbox, UnknownSubject};

pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/q/{key}", get(opened))
        .route("/chat", get(page))
        .route("/chat/assets/{name}", get(asset))
        .route("/chat/api/world", get(world))
        .route("/chat/api/lines", get(lines))
        .route("/chat/api/act", post(act))
}

/// Outside of the guard: WeChat's own picture of a code, which the gateway's pages may show.
pub(super) fn pictures() -> Router<Sandbox> {
    Router::new().route("/cgi-bin/showqrcode", get(show_code))
}

impl Sandbox {
    /// What a person does with a service account, and the message that its server is to be sent.
    ///
    /// # Errors
    /// [`AccountRefusal`].
    pub fn account_act(&self, app_id: &str, persona: &str, act: AccountAct<'_>) -> Result<Push, AccountRefusal> {
        let now = self.now();
        self.state().act(app_id, persona, act, now)
    }

    /// Delivers a message to the gateway, and keeps the answer in the chat.
    ///
    /// # Errors
    /// [`UnknownSubject`] when there is no such person.
    pub async fn deliver(&self, app_id: &str, persona: &str, push: &Push) -> Result<PushReply, UnknownSubject> {
        let gateway = self.addresses().gateway;
        let reply = push.deliver(&self.0.gateway, gateway, || self.now()).await;
        let mut state = self.state();
        state.persona(persona).ok_or(UnknownSubject(()))?;
        state.service.note_reply(app_id, persona, &reply);
        Ok(reply)
    }

    fn account(&self, app_id: &str) -> Option<App> {
        self.state().app(app_id).filter(|app| has_server(app)).cloned()
    }
}

#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(default)]
    appid: String,
    #[serde(default)]
    persona: String,
    lang: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    appid: String,
    persona: String,
    what: What,
    #[serde(default)]
    text: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Scan,
    Say,
    Unfollow,
}

#[derive(Debug, Deserialize)]
struct Ticket {
    #[serde(default)]
    ticket: String,
}

/// `GET /q/KEY`: what a code holds, opened by whatever reads codes.
async fn opened(State(sandbox): State<Sandbox>, Path(key): Path<String>) -> Response {
    let code = sandbox.state().service.by_key(&key).cloned();
    let Some(code) = code else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("appid", &code.app_id)
        .append_pair("scene", &code.scene)
        .finish();
    Redirect::to(&format!("/chat?{query}")).into_response()
}

/// `GET /cgi-bin/showqrcode`: 404 for a ticket that is none; everything else of WeChat's answers 200.
async fn show_code(State(sandbox): State<Sandbox>, Query(asked): Query<Ticket>) -> Response {
    let now = sandbox.now();
    let key = sandbox
        .state()
        .service
        .by_ticket(&asked.ticket, now)
        .map(|code| code.key.clone());
    let address = key
        .zip(sandbox.base_url())
        .and_then(|(key, base)| base.join(&format!("/q/{key}")).ok());
    let Some(address) = address else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let style = Style {
        width: 430,
        transparent: false,
        colour: [0, 0, 0],
    };
    match tokio::task::spawn_blocking(move || picture::draw(address.as_str(), style)).await {
        Ok(Ok(bytes)) => ([(header::CONTENT_TYPE, "image/jpg")], bytes).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `GET /chat`
async fn page(Query(subject): Query<Subject>, headers: HeaderMap) -> Response {
    let language = Language::of(subject.lang.as_deref(), &headers);
    let mut response = Html(PAGE.replace("{{lang}}", language.tag())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "chat.js" => ("text/javascript; charset=utf-8", include_str!("assets/chat.js")),
        "chat.css" => ("text/css; charset=utf-8", include_str!("assets/chat.css")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    (
        [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        text,
    )
        .into_response()
}

/// Who there is, and whether they follow the account.
async fn world(State(sandbox): State<Sandbox>, Query(subject): Query<Subject>) -> Response {
    let Some(app) = sandbox.account(&subject.appid) else {
        return refusal(AccountRefusal::Unknown);
    };
    let app_id = app.app_id.as_str();
    let personas: Vec<_> = sandbox
        .personas()
        .into_iter()
        .map(|persona| {
            json!({
                "id": persona.id,
                "name": persona.name,
                "follows": sandbox.state().service.follows(app_id, &persona.id),
            })
        })
        .collect();
    Json(json!({ "appid": app_id, "name": app.name, "personas": personas })).into_response()
}

async fn lines(State(sandbox): State<Sandbox>, Query(subject): Query<Subject>) -> Response {
    let state = sandbox.state();
    let chat = state.service.chat(&subject.appid, &subject.persona);
    let follows = state.service.follows(&subject.appid, &subject.persona);
    Json(json!({ "lines": chat, "follows": follows })).into_response()
}

/// JSON, which no page of another origin can send unasked. Answers when the account has.
async fn act(State(sandbox): State<Sandbox>, Json(wish): Json<Wish>) -> Response {
    let act = match wish.what {
        What::Scan => AccountAct::Scan(&wish.text),
        What::Say => AccountAct::Say(&wish.text),
        What::Unfollow => AccountAct::Unfollow,
    };
    let push = match sandbox.account_act(&wish.appid, &wish.persona, act) {
        Ok(push) => push,
        Err(refused) => return refusal(refused),
    };
    match sandbox.deliver(&wish.appid, &wish.persona, &push).await {
        Ok(reply) => Json(json!({ "reply": reply })).into_response(),
        Err(_) => refusal(AccountRefusal::Unknown),
    }
}

fn refusal(refused: AccountRefusal) -> Response {
    let (status, code) = match refused {
        AccountRefusal::Unknown => (StatusCode::NOT_FOUND, "sandbox_unknown"),
        AccountRefusal::CodeExpired => (StatusCode::GONE, "sandbox_code_expired"),
        AccountRefusal::NotFollowing => (StatusCode::CONFLICT, "sandbox_not_following"),
    };
    let error = json!({ "error": { "code": code, "message": refused.to_string() } });
    (status, Json(error)).into_response()
}

const PAGE: &str = include_str!("assets/chat.html");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
