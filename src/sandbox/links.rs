//! URL links and schemes: what `generate_urllink` and `generatescheme` take, and what opens when somebody taps one.
//!
//! As strict as WeChat: a page that is not released is refused, links end, and a day has so many of both kinds together.
//! What a caller appends as `cq` reaches the page as its parameters, beside those that the link was made with. A browser
//! cannot open a `weixin:` address without WeChat; the simulated phone reads it from a line of text.

use std::collections::HashMap;

use axum::extract::{Path, Query, State as Extract};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::endpoint::Endpoint;
use super::error::WechatError;
use super::language::Language;
use super::quotas::day_of;
use super::state::{Answer, Question, State};
use super::world::{App, AppKind};
use super::{Sandbox, identifiers};

pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/link/{ticket}", get(page))
        .route("/phone/api/link", post(open))
}

/// The links of all apps.
#[derive(Debug, Default)]
pub(super) struct Links {
    made: HashMap<String, Made>,
    days: HashMap<String, Count>,
    seconds: HashMap<String, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    period: u64,
    count: u64,
}

#[derive(Debug, Clone)]
struct Made {
    app_id: String,
    page: String,
    query: String,
    env_version: &'static str,
    ends_at: u64,
    scheme: bool,
}

impl Count {
    fn spend(&mut self, period: u64, limit: u64) -> bool {
        if self.period != period {
            *self = Self { period, count: 0 };
        }
        self.count += 1;
        self.count <= limit
    }
}

impl Links {
    fn spend(&mut self, app_id: &str, now: u64) -> Result<(), WechatError> {
        if !self
            .seconds
            .entry(app_id.to_owned())
            .or_default()
            .spend(now, LINKS_A_SECOND)
        {
            return Err(WechatError::LINKS_A_SECOND);
        }
        if !self
            .days
            .entry(app_id.to_owned())
            .or_default()
            .spend(day_of(now), LINKS_A_DAY)
        {
            return Err(WechatError::LINKS_OF_THE_DAY);
        }
        Ok(())
    }
}

impl Made {
    /// Judges a request. `fields` are those of the page, `body` those of the link.
    fn parse(fields: &Map<String, Value>, body: &Map<String, Value>, app: &App, now: u64) -> Result<Self, WechatError> {
        if app.released_pages.is_empty() {
            return Err(WechatError::NOT_RELEASED);
        }
        let text = |name| match fields.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(WechatError::BODY),
        };
        let page = match text("path")? {
            "" => app.released_pages.first().cloned().unwrap_or_default(),
            page if app.released_pages.iter().any(|released| released == page) => page.to_owned(),
            _ => return Err(WechatError::LINK_PATH),
        };
        let query = text("query")?;
        if query.len() > LONGEST_QUERY || !query.bytes().all(is_query_character) {
            return Err(WechatError::LINK_QUERY);
        }
        let env_version = match text("env_version")? {
            "" | "release" => "release",
            "trial" => "trial",
            "develop" => "develop",
            _ => return Err(WechatError::LINK_VERSION),
        };
        let number = |name| body.get(name).and_then(Value::as_u64);
        let ends_at = match number("expire_type").unwrap_or(0) {
            0 => number("expire_time"),
            1 => number("expire_interval")
                .filter(|days| (1..=LONGEST_LIFE / DAY).contains(days))
                .map(|days| now + days * DAY),
            _ => None,
        };
        let ends_at = ends_at.filter(|end| (now + 60..=now + LONGEST_LIFE).contains(end));
        Ok(Self {
            app_id: app.app_id.as_str().to_owned(),
            page,
            query: query.to_owned(),
            env_version,
            ends_at: ends_at.ok_or(WechatError::LINK_TIME)?,
            scheme: false,
        })
    }

    /// What the page of the mini program gets: the parameters of the link, then what was appended.
    fn parameters(&self, cq: &str) -> Vec<(String, String)> {
        let read = |text: &str| form_urlencoded::parse(text.as_bytes()).into_owned().collect::<Vec<_>>();
        let appended = if cq.len() <= LONGEST_CQ { read(cq) } else { Vec::new() };
        [read(&self.query), appended].concat()
    }

    /// Launch scene: a scheme, or a URL link outside of WeChat.
    fn entry(&self) -> u32 {
        if self.scheme { 1065 } else { 1194 }
    }

    /// The simulated phone with this page open.
    fn phone(&self, cq: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("appid", &self.app_id);
        query.extend_pairs(
            self.parameters(cq)
                .iter()
                .filter(|(name, _)| matches!(name.as_str(), "scene" | "half")),
        );
        query.append_pair("page", &self.page);
        query.append_pair("env", self.env_version);
        query.append_pair("entry", &self.entry().to_string());
        format!("/phone?{}", query.finish())
    }
}

impl State {
    /// `generate_urllink` and `generatescheme`.
    pub(super) fn make_link(
        &mut self,
        endpoint: Endpoint,
        question: &Question,
        now: u64,
    ) -> Result<Answer, WechatError> {
        let app = self.authorise(question, now)?.app.clone();
        // The codes of these two calls are their own (§3.7 of the reference).
        if app.kind != AppKind::MiniProgram || !app.verified {
            return Err(WechatError::LINKS_NOT_PERMITTED);
        }
        let body = question.json()?;
        let scheme = endpoint == Endpoint::Scheme;
        let nothing = Map::new();
        let fields = if scheme {
            body.get("jump_wxa").and_then(Value::as_object).unwrap_or(&nothing)
        } else {
            &body
        };
        let made = Made::parse(fields, &body, &app, now)?;
        self.links.spend(app.app_id.as_str(), now)?;
        let ticket = identifiers::random_hex(8);
        self.links.made.insert(ticket.clone(), Made { scheme, ..made });
        Ok(Answer::Link { ticket, scheme })
    }

    fn link(&self, ticket: &str, now: u64) -> Option<Made> {
        self.links.made.get(ticket).filter(|made| now < made.ends_at).cloned()
    }
}

/// The answer of both calls; a URL link lies at the sandbox.
pub(super) fn body(base: Option<&Url>, ticket: &str, scheme: bool) -> Option<Value> {
    if scheme {
        let link = format!("{SCHEME}?t={ticket}");
        return Some(json!({ "errcode": 0, "errmsg": "ok", "openlink": link }));
    }
    let link = base?.join(&format!("/link/{ticket}")).ok()?;
    Some(json!({ "errcode": 0, "errmsg": "ok", "url_link": link.as_str() }))
}

#[derive(Debug, Deserialize)]
struct Appended {
    #[serde(default)]
    cq: String,
    lang: Option<String>,
}

/// The official page that a browser outside of WeChat sees first.
async fn page(
    Extract(sandbox): Extract<Sandbox>,
    Path(ticket): Path<String>,
    Query(appended): Query<Appended>,
    headers: HeaderMap,
) -> Response {
    let language = Language::of(appended.lang.as_deref(), &headers);
    let made = sandbox.state().link(&ticket, sandbox.now());
    let app = made.as_ref().and_then(|made| {
        sandbox
            .apps()
            .into_iter()
            .find(|app| app.app_id.as_str() == made.app_id)
    });
    let (status, body) = match made.zip(app) {
        Some((made, app)) => (
            StatusCode::OK,
            format!(
                "<main class=\"link\"><h1>{}</h1><p>{}</p><p><a class=\"go\" href=\"{}\">{}</a></p></main>",
                escape(language.pick(&app.name.zh, &app.name.en)),
                language.pick("即将打开微信小程序", "This opens a mini program in WeChat"),
                escape(&made.phone(&appended.cq)),
                language.pick("打开微信", "Open WeChat"),
            ),
        ),
        None => (
            StatusCode::NOT_FOUND,
            format!(
                "<main class=\"link\"><p class=\"error\">{}</p></main>",
                language.pick("链接已失效", "This link has ended")
            ),
        ),
    };
    let html = PAGE.replace("{{lang}}", language.tag()).replace("{{body}}", &body);
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tapped {
    address: String,
}

/// The simulated phone is given a link or a scheme: where it leads.
async fn open(Extract(sandbox): Extract<Sandbox>, Json(tapped): Json<Tapped>) -> Response {
    let phone = Url::parse(tapped.address.trim()).ok().and_then(|address| {
        let pair = |wanted: &str| {
            let mut pairs = address.query_pairs();
            pairs
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        let ticket = if address.as_str().starts_with(SCHEME) {
            pair("t")?
        } else {
            address.path().strip_prefix("/link/")?.to_owned()
        };
        let made = sandbox.state().link(&ticket, sandbox.now())?;
        Some(made.phone(&pair("cq").unwrap_or_default()))
    });
    match phone {
        Some(address) => Json(json!({ "address": address })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn is_query_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@-._~%".contains(&byte)
}

const PAGE: &str = include_str!("assets/link.html");
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SCHEME: &str = "weixin://dl/business/";
const DAY: u64 = 86_400;
/// Seconds.
const LONGEST_LIFE: u64 = 30 * DAY;
const LONGEST_QUERY: usize = 1_024;
const LONGEST_CQ: usize = 256;
const LINKS_A_SECOND: u64 = 100;
const LINKS_A_DAY: u64 = 500_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::world::AppId;
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn judge(body: Value) -> Result<Made, i64> {
        let app = App::mini_program(AppId::new("wxsandbox1").unwrap());
        let Value::Object(body) = body else { panic!("an object") };
        Made::parse(&body, &body, &app, NOW).map_err(|error| error.0)
    }

    #[test]
    fn each_mistake_has_its_code() {
        let good = json!({ "path": "pages/login/login", "expire_type": 1, "expire_interval": 30 });
        assert_eq!(judge(good.clone()).unwrap().ends_at, NOW + 30 * DAY);
        for (name, value, code) in [
            ("path", json!("/pages/login/login"), 40165),
            ("path", json!("pages/login/login?x=1"), 40165),
            ("path", json!("pages/other/other"), 40165),
            ("path", json!(1), 47001),
            ("query", json!("a b"), 40212),
            ("query", json!("a".repeat(1_025)), 40212),
            ("env_version", json!("Release"), 85402),
            ("expire_interval", json!(31), 85401),
            ("expire_interval", json!(0), 85401),
            ("expire_type", json!(0), 85401),
            ("expire_type", json!(2), 85401),
        ] {
            let mut body = good.clone();
            body[name] = value;
            assert_eq!(judge(body.clone()).unwrap_err(), code, "{body}");
        }
        let at = |end: u64| judge(json!({ "expire_type": 0, "expire_time": end })).map(|made| made.ends_at);
        assert_eq!(at(NOW + 3_600), Ok(NOW + 3_600));
        assert_eq!(at(NOW + 59), Err(85401));
        assert_eq!(at(NOW + 31 * DAY), Err(85401));
        let mut app = App::mini_program(AppId::new("wxsandbox1").unwrap());
        app.released_pages.clear();
        let body = Map::new();
        assert_eq!(Made::parse(&body, &body, &app, NOW).unwrap_err().0, 85079);
    }

    #[test]
    fn what_is_appended_reaches_the_page_beside_the_links_own() {
        let mut made = judge(json!({ "query": "a=1", "expire_type": 1, "expire_interval": 1 })).unwrap();
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect::<Vec<_>>()
        };
        assert_eq!(
            made.parameters("scene=x&half=y"),
            pairs(&[("a", "1"), ("scene", "x"), ("half", "y")])
        );
        assert_eq!(made.parameters(&"x".repeat(257)), pairs(&[("a", "1")]));
        assert_eq!(
            made.phone("scene=x&evil=1"),
            "/phone?appid=wxsandbox1&scene=x&page=pages%2Flogin%2Flogin&env=release&entry=1194"
        );
        made.scheme = true;
        assert!(made.phone("scene=x").ends_with("&entry=1065"));
    }

    #[test]
    fn a_day_has_so_many_links_and_a_second_a_hundred() {
        let mut links = Links::default();
        for second in 0..LINKS_A_DAY / LINKS_A_SECOND {
            for _ in 0..LINKS_A_SECOND {
                links.spend("wx", NOW + second).unwrap();
            }
        }
        let after = NOW + LINKS_A_DAY / LINKS_A_SECOND;
        assert_eq!(links.spend("wx", after), Err(WechatError(44993)));
        assert_eq!(links.spend("other", after), Ok(()));
        assert_eq!(links.spend("wx", NOW + DAY), Ok(()));
        for _ in 1..LINKS_A_SECOND {
            links.spend("wx", NOW + DAY).unwrap();
        }
        assert_eq!(links.spend("wx", NOW + DAY), Err(WechatError(44990)));
    }
}
