//! A small application that has no login of its own, as it would stand behind the gateway.
//!
//! It shows everything that it was told about the person: the identity headers as they came, and the claims of the
//! assertion once it is verified. What is not verified is shown as not verified.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::macros::format_description;
use url::{Url, form_urlencoded};

use super::assertion::{Rejected, Verified, Verifier};
use super::language::Language;

/// The application: every path answers with one page about the person who asked. `gateway_url` is the gateway's
/// `public_url`, `audience` that of the application's site; both are checked in the assertion.
pub fn demo_app(gateway_url: Url, audience: String) -> Router {
    let verifier = Arc::new(Verifier::new(gateway_url, audience));
    Router::new()
        .route(
            "/intranet.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }),
        )
        .fallback(page)
        .with_state(verifier)
}

async fn page(State(verifier): State<Arc<Verifier>>, request: Request<Body>) -> Response {
    let token = text_of(request.headers(), ASSERTION);
    let verdict = verifier.verify(token).await;
    let chosen = request.uri().query().and_then(|query| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "lang")
            .map(|(_, value)| value.into_owned())
    });
    let language = Language::of(chosen.as_deref(), request.headers());
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let html = render(language, request.method().as_str(), target, request.headers(), &verdict);
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn render(
    language: Language,
    method: &str,
    target: &str,
    headers: &HeaderMap,
    verdict: &Result<Verified, Rejected>,
) -> String {
    let text = |name: &str| {
        TEXTS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, zh, en)| language.pick(*zh, *en))
    };
    let path = target.split('?').next().unwrap_or(target);
    fill(TEMPLATE, |name| match name {
        "lang" => language.tag().to_owned(),
        "other_lang" => language.pick("en", "zh-CN").to_owned(),
        "person" => escape(&person(headers, language)),
        "initial" => escape(
            &person(headers, language)
                .chars()
                .next()
                .map(String::from)
                .unwrap_or_default(),
        ),
        "method" => escape(method),
        "target" => escape(target),
        "path" => escape(path),
        "identity_rows" => identity_rows(headers, language),
        "verdict" => verdict_html(verdict, language),
        "claims" => verdict
            .as_ref()
            .map(|verified| claims_html(&verified.claims, language))
            .unwrap_or_default(),
        other => text(other).unwrap_or_default().to_owned(),
    })
}

/// Whom to greet: the name, else a username, else the number with its middle hidden, else the user id.
fn person(headers: &HeaderMap, language: Language) -> String {
    let user = decoded(headers, "remote-user");
    let named = decoded(headers, "remote-name").or_else(|| user.clone().filter(|user| !is_user_id(user)));
    named
        .or_else(|| decoded(headers, "remote-phone").map(|phone| mask(&phone)))
        .or(user)
        .unwrap_or_else(|| language.pick("陌生人", "stranger").to_owned())
}

fn identity_rows(headers: &HeaderMap, language: Language) -> String {
    IDENTITY
        .iter()
        .map(|name| {
            let raw = text_of(headers, name);
            let value = match raw {
                Some(raw) => {
                    let readable = decode(raw);
                    let note = if readable == raw {
                        String::new()
                    } else {
                        format!(" <q>{}</q>", escape(&readable))
                    };
                    format!("<code>{}</code>{note}", escape(&shorten(raw)))
                }
                None => format!("<i>{}</i>", language.pick("无", "none")),
            };
            format!(
                "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>\n",
                escape(&title_case(name))
            )
        })
        .collect()
}

fn verdict_html(verdict: &Result<Verified, Rejected>, language: Language) -> String {
    match verdict {
        Ok(verified) => format!(
            "<p class=\"verdict good\"><b>{}</b> {:?}, kid <code>{}</code></p>",
            language.pick("✔ 已验证：签名、签发者、受众、有效期", "✔ Verified: signature, issuer, audience, time"),
            verified.algorithm,
            escape(&verified.key_id),
        ),
        Err(rejected) => format!(
            "<p class=\"verdict bad\"><b>{}</b> {}</p><p>{}</p>",
            language.pick("✘ 未验证：", "✘ Not verified:"),
            reason(rejected, language),
            language.pick(
                "没有有效的断言，上面的身份头不可信：请求可能绕过了网关。",
                "Without a valid assertion the headers above prove nothing: the request may have come around the gateway.",
            ),
        ),
    }
}

fn claims_html(claims: &Map<String, Value>, language: Language) -> String {
    let row = |(name, value): (&String, &Value)| {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let when = if TIMES.contains(&name.as_str()) {
            value.as_i64().and_then(moment)
        } else {
            None
        };
        let note = when.map(|when| format!(" <q>{when}</q>")).unwrap_or_default();
        format!(
            "<tr><th scope=\"row\">{}</th><td><code>{}</code>{note}</td></tr>\n",
            escape(name),
            escape(&shown)
        )
    };
    let rows: String = claims.iter().map(row).collect();
    format!(
        "<table aria-label=\"{}\">\n{rows}</table>",
        language.pick("断言中的声明", "Claims of the assertion")
    )
}

/// Why an assertion was not believed, for the person at the screen.
fn reason(rejected: &Rejected, language: Language) -> &'static str {
    match rejected {
        Rejected::Missing => language.pick("没有断言。", "There is no assertion."),
        Rejected::Malformed => language.pick("不是带签名的令牌。", "It is not a signed token."),
        Rejected::Algorithm => language.pick("不接受的签名算法。", "Its algorithm is not accepted."),
        Rejected::Keys => language.pick("读不到网关的公钥。", "The gateway's keys cannot be read."),
        Rejected::UnknownKey => language.pick("不是网关的密钥。", "Its key is not one of the gateway's."),
        Rejected::Refused(_) => language.pick(
            "签名、签发者、受众或有效期不符。",
            "Its signature, issuer, audience or time does not hold.",
        ),
    }
}

fn moment(seconds: i64) -> Option<String> {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(format).ok()
}

fn text_of<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
}

fn decoded(headers: &HeaderMap, name: &str) -> Option<String> {
    text_of(headers, name).map(decode)
}

/// Identity headers are percent-encoded UTF-8, always.
fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn is_user_id(user: &str) -> bool {
    user.strip_prefix("u_")
        .is_some_and(|id| id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn mask(phone: &str) -> String {
    let digits: Vec<char> = phone.chars().collect();
    match digits.len() {
        0..=7 => phone.to_owned(),
        length => digits[..length - 8]
            .iter()
            .chain(&['*'; 4])
            .chain(&digits[length - 4..])
            .collect(),
    }
}

/// An assertion is long; its head and tail are enough to compare.
fn shorten(text: &str) -> String {
    match (text.get(..40), text.get(text.len().saturating_sub(16)..)) {
        (Some(head), Some(tail)) if text.len() > 120 => format!("{head}…{tail}"),
        _ => text.to_owned(),
    }
}

fn title_case(name: &str) -> String {
    let word =
        |word: &str| word.get(..1).map(str::to_ascii_uppercase).unwrap_or_default() + word.get(1..).unwrap_or_default();
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Replaces each `{{name}}` once; what is put in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const TEMPLATE: &str = include_str!("assets/demo.html");
const STYLE: &str = include_str!("assets/demo.css");
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const ASSERTION: &str = "x-menshen-assertion";
const IDENTITY: [&str; 6] = [
    "remote-user",
    "remote-name",
    "remote-groups",
    "remote-email",
    "remote-phone",
    ASSERTION,
];
const TIMES: [&str; 4] = ["iat", "nbf", "exp", "auth_time"];
/// Name, Chinese, English.
const TEXTS: [(&str, &str, &str); 22] = [
    (
        "banner",
        "演示应用：它自己没有任何登录代码",
        "Demo application: it has no login code of its own",
    ),
    ("other_language", "English", "中文"),
    ("company", "青蓝仓储有限公司", "Qinglan Warehousing Ltd."),
    ("system", "库存管理系统", "Stock Management System"),
    ("version", "版本 3.2.1，2009 年 3 月", "Version 3.2.1, March 2009"),
    ("nav", "导航", "Navigation"),
    ("nav_stock", "库存查询", "Stock"),
    ("nav_orders", "入库出库", "Movements"),
    ("nav_reports", "月度报表", "Reports"),
    ("nav_admin", "系统管理", "Administration"),
    ("hello", "您好，", "Welcome, "),
    ("switch", "换一个人登录", "Sign in as somebody else"),
    ("logout", "退出登录", "Log out"),
    ("asked", "您请求了：", "You asked for: "),
    ("headers_title", "网关送来的身份头", "Identity headers from the gateway"),
    (
        "headers_hint",
        "百分号编码的 UTF-8；引号内是解码后的值。",
        "Percent-encoded UTF-8; decoded in quotation marks.",
    ),
    ("assertion_title", "签名断言", "Signed assertion"),
    ("stock_title", "今日库存", "Stock today"),
    ("item", "品名", "Item"),
    ("shelf", "货位", "Shelf"),
    ("amount", "数量", "Amount"),
    (
        "footer",
        "本系统最后一次修改于 2009 年。登录由门神网关负责。",
        "Last changed in 2009. Menshen takes care of the login.",
    ),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const ID: &str = "u_01hv3k5m7n9p1r3t5v7x9z1b3d";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_person_is_greeted_by_name_then_username_then_masked_number_then_id() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (
                &[("remote-user", "wang"), ("remote-name", "%E7%8E%8B%E5%B0%8F%E6%98%8E")],
                "王小明",
            ),
            (&[("remote-user", "wang"), ("remote-phone", "+8613800138000")], "wang"),
            (
                &[("remote-user", ID), ("remote-phone", "+8613800138000")],
                "+86138****8000",
            ),
            (&[("remote-user", ID)], ID),
            (&[("remote-user", "100%25")], "100%"),
            (&[], "陌生人"),
        ];
        for (pairs, expected) in cases {
            let map = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(person(&map, Language::Chinese), expected);
        }
    }

    #[test]
    fn what_came_from_outside_is_shown_as_text() {
        let map = headers(&[
            ("remote-user", "<script>alert(1)</script>"),
            ("remote-name", "{{claims}}"),
        ]);
        let html = render(Language::English, "GET", "/a?<b>\"'", &map, &Err(Rejected::Missing));
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(html.contains("/a?&lt;b&gt;&quot;&#39;"));
        assert!(
            html.contains("Welcome, <b>{{claims}}</b>"),
            "a value is not a placeholder"
        );
        assert!(!html.contains("<script"));
    }

    #[test]
    fn without_an_assertion_the_page_says_that_nothing_is_proven() {
        let map = headers(&[("remote-user", "wang")]);
        let html = render(Language::English, "GET", "/", &map, &Err(Rejected::Missing));
        assert!(html.contains("Not verified"));
        assert!(html.contains("come around the gateway"));
    }

    #[test]
    fn every_placeholder_of_the_page_has_a_text_in_both_languages() {
        for language in [Language::Chinese, Language::English] {
            let html = render(language, "GET", "/", &HeaderMap::new(), &Err(Rejected::Missing));
            assert!(!html.contains("{{"), "{html}");
            assert!(html.contains(&format!("lang=\"{}\"", language.tag())));
        }
        for placeholder in TEMPLATE.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            let computed = [
                "lang",
                "other_lang",
                "person",
                "initial",
                "method",
                "target",
                "path",
                "identity_rows",
                "verdict",
                "claims",
            ];
            let known = computed.contains(&placeholder) || TEXTS.iter().any(|(name, ..)| *name == placeholder);
            assert!(known, "{placeholder}");
        }
    }
}
