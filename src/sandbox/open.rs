//! The pages of `open.weixin.qq.com`: a website's code, and the consent inside WeChat's browser.
//!
//! As strict as the original: the wrong kind of account, the wrong scope and a foreign host end on an error page, and who
//! refuses a website is led nowhere. The page of a website polls as WeChat's does (`408`, `404`, `403`, `402`, `405`).

use std::time::Duration;

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::Sandbox;
use super::language::Language;
use super::oauth::{PageStanding, Scope};
use super::picture::{self, Style};
use super::world::{App, AppKind, Snapshot};

pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/connect/qrconnect", get(website))
        .route("/connect/qrcode/{uuid}", get(code))
        .route("/connect/l/qrconnect", get(poll))
        .route("/connect/confirm", get(phone).post(confirm))
        .route("/connect/oauth2/authorize", get(in_wechat).post(consented))
        .route("/connect/assets/{name}", get(asset))
}

/// The query of both pages.
#[derive(Debug, Clone, Deserialize)]
struct Asked {
    #[serde(default)]
    appid: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    response_type: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    login_type: String,
    #[serde(rename = "forceSnapShot")]
    force_snapshot: Option<String>,
    lang: Option<String>,
    /// Of the sandbox: whose WeChat it is.
    persona: Option<String>,
    /// Of the sandbox: the answer of the consent page.
    answer: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Uuid {
    #[serde(default)]
    uuid: String,
    lang: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    uuid: String,
    persona: String,
    allow: bool,
}

/// An error page of WeChat's.
struct Refusal(&'static str);

/// `GET /connect/qrconnect`
async fn website(State(sandbox): State<Sandbox>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let app = match check(&sandbox, &asked, AppKind::Website) {
        Ok((app, Scope::Login)) => app,
        Ok(_) => return Refusal(NO_SCOPE).into_response(),
        Err(refusal) => return refusal.into_response(),
    };
    if asked.login_type != "jssdk" && asked.response_type != "code" {
        return Refusal(NO_SCOPE).into_response();
    }
    let now = sandbox.now();
    let uuid = sandbox.state().oauth.show(app.app_id.as_str(), now);
    let language = Language::of(asked.lang.as_deref(), &headers);
    let fields = [
        ("name", language.pick(app.name.zh.as_str(), &app.name.en)),
        ("uuid", &uuid),
        ("redirect_uri", &asked.redirect_uri),
        ("state", &asked.state),
    ];
    page(WEBSITE, language, &fields, &people(&sandbox, language))
}

/// `GET /connect/qrcode/UUID`: what a phone scans.
async fn code(State(sandbox): State<Sandbox>, Path(uuid): Path<String>) -> Response {
    let known = sandbox.state().oauth.page(&uuid, sandbox.now()).is_some();
    let address = sandbox
        .base_url()
        .filter(|_| known)
        .and_then(|base| base.join("/connect/confirm").ok());
    let Some(mut address) = address else {
        return StatusCode::NOT_FOUND.into_response();
    };
    address.query_pairs_mut().append_pair("uuid", &uuid);
    let style = Style {
        width: 280,
        transparent: false,
        colour: [0, 0, 0],
    };
    match tokio::task::spawn_blocking(move || picture::draw(address.as_str(), style)).await {
        Ok(Ok(bytes)) => ([(header::CONTENT_TYPE, "image/jpeg")], bytes).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct Poll {
    #[serde(default)]
    uuid: String,
    last: Option<String>,
}

/// `GET /connect/l/qrconnect`: waits for something new.
async fn poll(State(sandbox): State<Sandbox>, Query(poll): Query<Poll>) -> Response {
    let mut changes = sandbox.0.website_codes.subscribe();
    let mut closing = sandbox.0.closing.subscribe();
    let deadline = tokio::time::Instant::now() + LONG_POLL;
    let said = loop {
        let now = sandbox.now();
        let standing = sandbox
            .state()
            .oauth
            .page(&poll.uuid, now)
            .map(|page| page.standing.clone());
        match standing {
            None => break (402, String::new()),
            Some(PageStanding::Refused) => break (403, String::new()),
            Some(PageStanding::Allowed(code)) => break (405, code),
            Some(PageStanding::Scanned) if poll.last.as_deref() != Some("404") => break (404, String::new()),
            Some(PageStanding::Scanned | PageStanding::Waiting) => {}
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = closing.wait_for(|closing| *closing) => break (408, String::new()),
            () = tokio::time::sleep_until(deadline) => break (408, String::new()),
        }
    };
    let body = format!("window.wx_errcode={};window.wx_code='{}';", said.0, said.1);
    ([(header::CONTENT_TYPE, "text/javascript")], body).into_response()
}

/// `GET /connect/confirm`: the phone after the scan.
async fn phone(State(sandbox): State<Sandbox>, Query(asked): Query<Uuid>, headers: HeaderMap) -> Response {
    let now = sandbox.now();
    let app_id = sandbox
        .state()
        .oauth
        .scan(&asked.uuid, now)
        .map(|page| page.app_id.clone());
    sandbox.0.website_codes.send_modify(|number| *number += 1);
    let app = app_id.and_then(|app_id| sandbox.state().app(&app_id).cloned());
    let Some(app) = app else {
        return Refusal("二维码已过期 The code has run out").into_response();
    };
    let language = Language::of(asked.lang.as_deref(), &headers);
    let fields = [
        ("name", language.pick(app.name.zh.as_str(), &app.name.en)),
        ("uuid", &asked.uuid),
    ];
    page(PHONE, language, &fields, &people(&sandbox, language))
}

/// `POST /connect/confirm`: the person allows or refuses. JSON, which no page of another origin can send unasked.
async fn confirm(State(sandbox): State<Sandbox>, Json(decision): Json<Decision>) -> Response {
    let now = sandbox.now();
    let decided = {
        let mut state = sandbox.state();
        state.persona(&decision.persona).is_some()
            && state
                .oauth
                .decide(&decision.uuid, &decision.persona, decision.allow, now)
    };
    if !decided {
        return (StatusCode::GONE, Json(json!({ "error": "no such code, or too late" }))).into_response();
    }
    sandbox.0.website_codes.send_modify(|number| *number += 1);
    StatusCode::NO_CONTENT.into_response()
}

/// `GET /connect/oauth2/authorize`
async fn in_wechat(State(sandbox): State<Sandbox>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    authorize(&sandbox, &asked, &headers)
}

/// The same after a choice on its page.
async fn consented(State(sandbox): State<Sandbox>, headers: HeaderMap, Form(asked): Form<Asked>) -> Response {
    authorize(&sandbox, &asked, &headers)
}

fn authorize(sandbox: &Sandbox, asked: &Asked, headers: &HeaderMap) -> Response {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    if !agent.is_some_and(|agent| agent.contains("MicroMessenger")) {
        return Refusal("请在微信客户端打开链接 Please open this link in WeChat").into_response();
    }
    let (app, scope) = match check(sandbox, asked, AppKind::ServiceAccount) {
        Ok((_, Scope::Login)) => return Refusal(NO_SCOPE).into_response(),
        Ok(found) => found,
        Err(refusal) => return refusal.into_response(),
    };
    if asked.response_type != "code" {
        return Refusal(NO_SCOPE).into_response();
    }
    let language = Language::of(asked.lang.as_deref(), headers);
    let person = asked.persona.clone().or_else(|| whose_wechat(headers));
    let person = person.filter(|id| sandbox.state().persona(id).is_some());
    let name = language.pick(&app.name.zh, &app.name.en);
    let fields = [
        ("name", name.as_str()),
        ("appid", &asked.appid),
        ("redirect_uri", &asked.redirect_uri),
        ("scope", &asked.scope),
        ("state", &asked.state),
        ("snapshot", asked.force_snapshot.as_deref().unwrap_or_default()),
    ];
    let Some(person) = person.filter(|_| scope == Scope::Base || asked.answer.is_some()) else {
        return page(CONSENT, language, &fields, &people(sandbox, language));
    };
    let now = sandbox.now();
    let allowed = asked.answer.as_deref() != Some("refuse");
    let code = allowed.then(|| {
        let mut state = sandbox.state();
        let forced = asked.force_snapshot.as_deref() == Some("true");
        let snapshot = scope == Scope::UserInfo && (forced || state.quirks.snapshot != Snapshot::Never);
        state.oauth.issue(&asked.appid, &person, scope, snapshot, now)
    });
    let Some(back) = back_to(&asked.redirect_uri, code.as_deref(), &asked.state) else {
        return Refusal(WRONG_HOST).into_response();
    };
    let kept = format!("{PERSON_COOKIE}={person}; Path=/connect/; SameSite=Lax; HttpOnly");
    let headers = [(header::LOCATION, back.to_string()), (header::SET_COOKIE, kept)];
    (StatusCode::FOUND, headers).into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "open.js" => ("text/javascript; charset=utf-8", include_str!("assets/open.js")),
        "open.css" => ("text/css; charset=utf-8", include_str!("assets/open.css")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// What WeChat looks at before it shows anything.
fn check(sandbox: &Sandbox, asked: &Asked, kind: AppKind) -> Result<(App, Scope), Refusal> {
    let app = sandbox.state().app(&asked.appid).cloned();
    let app = app.ok_or(Refusal("AppID 参数错误 No such AppID"))?;
    if app.kind != kind || !app.verified {
        return Err(Refusal(
            "Scope 参数错误或没有 Scope 权限 10005: this account has no such scope",
        ));
    }
    let scope = Scope::parse(&asked.scope).ok_or(Refusal(NO_SCOPE))?;
    let back = Url::parse(&asked.redirect_uri).map_err(|_| Refusal(WRONG_HOST))?;
    let host = back.host_str().unwrap_or_default();
    let known = app.callback_hosts.is_empty()
        || (app.callback_hosts.iter().any(|known| known == host)
            && (kind == AppKind::Website || back.port().is_none()));
    if !known || !matches!(back.scheme(), "http" | "https") {
        return Err(Refusal(WRONG_HOST));
    }
    let fits = asked.state.len() <= 128 && asked.state.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !fits {
        return Err(Refusal(
            "state 参数错误 The state is not letters and digits, at most 128",
        ));
    }
    Ok((app, scope))
}

fn back_to(redirect_uri: &str, code: Option<&str>, state: &str) -> Option<Url> {
    let mut url = Url::parse(redirect_uri).ok()?;
    if let Some(code) = code {
        url.query_pairs_mut().append_pair("code", code);
    }
    url.query_pairs_mut().append_pair("state", state);
    Some(url)
}

fn whose_wechat(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(PERSON_COOKIE)?.strip_prefix('='))
        .map(str::to_owned)
}

fn people(sandbox: &Sandbox, language: Language) -> String {
    let personas = sandbox.personas();
    let option = |persona: &super::Persona| {
        let name = language.pick(&persona.name.zh, &persona.name.en);
        format!("<option value=\"{}\">{}</option>", escape(&persona.id), escape(name))
    };
    personas.iter().map(option).collect()
}

fn page(template: &str, language: Language, fields: &[(&str, &str)], people: &str) -> Response {
    let mut html = FRAME.replace("{{body}}", template).replace("{{lang}}", language.tag());
    for (name, value) in fields {
        html = html.replace(&format!("{{{{{name}}}}}"), &escape(value));
    }
    // Last: names of people hold what they like.
    let html = html.replace("{{people}}", people);
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                  base-uri 'none'";
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('{', "&#123;")
}

impl IntoResponse for Refusal {
    /// With 200, as all of WeChat's pages.
    fn into_response(self) -> Response {
        Html(
            FRAME
                .replace("{{lang}}", "zh-CN")
                .replace("{{body}}", &format!("<p class=\"error\">{}</p>", self.0)),
        )
        .into_response()
    }
}

const FRAME: &str = include_str!("assets/open.html");
const WEBSITE: &str = include_str!("assets/open_website.html");
const PHONE: &str = include_str!("assets/open_phone.html");
const CONSENT: &str = include_str!("assets/open_consent.html");
const WRONG_HOST: &str = "redirect_uri 参数错误 10003: redirect_uri is not of the registered domain";
const NO_SCOPE: &str = "Scope 参数错误或没有 Scope 权限";
const PERSON_COOKIE: &str = "sandbox_person";
const LONG_POLL: Duration = Duration::from_secs(25);
