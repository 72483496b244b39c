//! The phone's side over HTTP, at `public_url`'s host. It acts by what is in the body: no cookie is read, no CORS header
//! is sent. Answers only ever gain fields, because an old mini program lives for years.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::config::settings::{Locale, NumberEntry};
use crate::login::browser::StatusUser;
use crate::login::browser_half::BrowserFacts;
use crate::login::cancel::CancelTarget;
use crate::login::confirm::{ConfirmCall, Confirmed};
use crate::login::device::{Device, DeviceKind};
use crate::login::entry::{Entry, Warning};
use crate::login::error::LoginError;
use crate::login::phone::{PhoneView, ScanCall};
use crate::login::place::Place;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale};
use crate::portal::problem::Problem;
use crate::portal::texts::connect::connect;
use crate::portal::texts::{Slot, Texts, application, every_site, fill, same_network, terminal};
use crate::portal::tickets::json;

type Answer = Result<Response<axum::body::Body>, Problem>;

#[derive(Debug, Deserialize)]
pub(super) struct ScanBody {
    scene: String,
    code: String,
    #[serde(default)]
    entry: Option<i64>,
    /// AppID of what opened the mini program.
    #[serde(default)]
    referrer: Option<String>,
    /// What a link or a launch carried beside the scene.
    #[serde(default)]
    half: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HandleBody {
    handle: String,
    /// Proof of who opened a service account's link.
    #[serde(default)]
    opener: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConfirmBody {
    handle: String,
    #[serde(default)]
    choice: Option<i64>,
    #[serde(default)]
    phone_code: Option<String>,
    #[serde(default)]
    phone_errno: Option<i64>,
    #[serde(default)]
    accept: bool,
    #[serde(default)]
    opener: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CancelBody {
    #[serde(default)]
    handle: Option<String>,
    #[serde(default)]
    scene: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    phone_errno: Option<i64>,
}

/// `POST /.menshen/phone/scan`
pub(super) async fn scan(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: ScanBody = portal.admit(&context, &headers, &body)?;
    let call = ScanCall {
        scene: &body.scene,
        code: &body.code,
        entry: Entry {
            scene: body.entry,
            referrer: body.referrer.as_deref(),
        },
        half: body.half.as_deref(),
    };
    let view = portal.login.scan(call, context.caller(&headers)).await?;
    Ok(portal.phone_answer(&view, None, locale(&headers, portal.settings.branding.locale)))
}

/// `POST /.menshen/phone/status`
pub(super) async fn status(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: HandleBody = portal.admit(&context, &headers, &body)?;
    let (login, caller) = (&portal.login, context.caller(&headers));
    let opened = login.admit_opener(&body.handle, body.opener.as_deref(), caller).await?;
    let view = login.phone_status(&body.handle, caller).await?;
    // A link may have come from anybody: it says whose WeChat it is for.
    let whose = match &opened {
        Some(row) => login.whose(row).await?,
        None => None,
    };
    Ok(portal.phone_answer(&view, whose.as_ref(), locale(&headers, portal.settings.branding.locale)))
}

/// `POST /.menshen/phone/confirm`
pub(super) async fn confirm(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: ConfirmBody = portal.admit(&context, &headers, &body)?;
    let call = ConfirmCall {
        handle: &body.handle,
        choice: body.choice,
        phone_code: body.phone_code.as_deref(),
        phone_errno: body.phone_errno,
        accept: body.accept,
    };
    let (login, caller) = (&portal.login, context.caller(&headers));
    login.admit_opener(&body.handle, body.opener.as_deref(), caller).await?;
    let outcome = match login.confirm(call, caller).await? {
        Confirmed::Binding => Outcome {
            outcome: "bind",
            phone_note: None,
        },
        Confirmed::Session { phone_taken } => Outcome {
            outcome: "confirmed",
            phone_note: phone_taken.then_some("phone_taken"),
        },
    };
    Ok(Json(outcome).into_response())
}

/// `POST /.menshen/phone/cancel`
pub(super) async fn cancel(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: CancelBody = portal.admit(&context, &headers, &body)?;
    let not_me = match body.reason.as_deref() {
        None | Some("declined") => false,
        Some("not_me") => true,
        Some(_) => return Err(Code::BadRequest.into()),
    };
    let target = match (&body.handle, &body.scene) {
        (Some(handle), None) => CancelTarget::Handle(handle),
        (None, Some(scene)) => CancelTarget::Scene(scene),
        _ => return Err(Code::BadRequest.into()),
    };
    portal
        .login
        .cancel(target, not_me, body.phone_errno, context.caller(&headers))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Inner {
    /// At `public_url` only, within the limits, a JSON body.
    fn admit<T: serde::de::DeserializeOwned>(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<T, Problem> {
        if !context.public_host {
            return Err(Code::NotFound.into());
        }
        self.login
            .limits
            .phone_call(context.limit_key)
            .map_err(LoginError::from)?;
        json(headers, body)
    }

    /// What somebody is asked to sign in to: a site, or with a program's token from no site's host all of them.
    fn asked_for<'f>(&self, facts: &'f BrowserFacts, locale: Locale) -> Cow<'f, str> {
        let of_program = matches!(facts.device.kind, DeviceKind::Terminal | DeviceKind::Application);
        if of_program && self.gate.site(&facts.host).is_none() {
            return Cow::Owned(every_site(locale, &self.settings.branding.title));
        }
        Cow::Borrowed(&facts.site)
    }

    fn phone_answer(&self, view: &PhoneView, whose: Option<&StatusUser>, locale: Locale) -> Response<axum::body::Body> {
        let texts = Texts::of(locale);
        let connection = self.settings.connection(&view.connection);
        let browser = view
            .browser
            .as_ref()
            .zip(view.place.as_ref())
            .map(|(facts, place)| BrowserObject {
                device: in_words(&facts.device, locale),
                place: match place {
                    Place::SameNetwork => same_network(locale).to_owned(),
                    Place::Region(region, network) => region.text(locale).unwrap_or_else(|| network.clone()),
                    Place::Network(text) => text.clone(),
                },
                same_network: *place == Place::SameNetwork,
                time: facts.time,
            });
        let code = view.ending.and_then(|ending| Code::parse(ending.as_str()));
        let answer = PhoneAnswer {
            handle: view.handle.as_deref(),
            status: view.status.as_str(),
            error: code.map(|code| ErrorObject {
                code: code.as_str(),
                message: texts.problem(code).message,
            }),
            site: view.browser.as_ref().map(|facts| SiteObject {
                name: self.asked_for(facts, locale),
                host: &facts.host,
            }),
            browser,
            choices: &view.choices,
            number_entry: view.number_entry.map(|entry| match entry {
                NumberEntry::Choose => "choose",
                NumberEntry::Type => "type",
            }),
            phone: view.phone.as_str(),
            known: view.known,
            account: view.account.as_ref(),
            person: whose,
            purpose: view.connects.then(|| PurposeObject {
                kind: "connect",
                text: view
                    .account
                    .as_ref()
                    .map(|account| fill(connect(locale).on_phone, &[Slot::Name(&account.name)])),
            }),
            connection: ConnectionObject {
                display_name: connection.map_or("", |connection| &connection.display_name),
                logo_url: self
                    .branding
                    .logo_url
                    .as_ref()
                    .map(|path| format!("{}{path}", self.settings.issuer())),
            },
            warning: view.warning.map(Warning::as_str),
            app_parameter: view.app_parameter.as_deref(),
            expires_in: view.expires_in,
        };
        Json(answer).into_response()
    }
}

/// A program is no browser: the phone says what it is in the language of its person.
fn in_words(device: &Device, locale: Locale) -> Cow<'_, Device> {
    let words = match device.kind {
        DeviceKind::Terminal => terminal(locale),
        DeviceKind::Application => application(locale),
        DeviceKind::Desktop | DeviceKind::Phone | DeviceKind::Tablet => return Cow::Borrowed(device),
    };
    let text = if device.os.is_empty() {
        words.to_owned()
    } else {
        format!("{words} · {}", device.os)
    };
    Cow::Owned(Device { text, ..device.clone() })
}

#[derive(Debug, Serialize)]
struct Outcome {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_note: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct PhoneAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<SiteObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    browser: Option<BrowserObject<'a>>,
    choices: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none")]
    number_entry: Option<&'static str>,
    phone: &'static str,
    known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a StatusUser>,
    /// Whose WeChat it is, where a link has to say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<&'a StatusUser>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<PurposeObject>,
    connection: ConnectionObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_parameter: Option<&'a str>,
    expires_in: i64,
}

#[derive(Debug, Serialize)]
struct ErrorObject {
    code: &'static str,
    message: &'static str,
}

/// What this is, where it is no login.
#[derive(Debug, Serialize)]
struct PurposeObject {
    kind: &'static str,
    /// To be shown before the number, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Debug, Serialize)]
struct SiteObject<'a> {
    name: Cow<'a, str>,
    host: &'a str,
}

#[derive(Debug, Serialize)]
struct BrowserObject<'a> {
    device: Cow<'a, Device>,
    place: String,
    same_network: bool,
    time: i64,
}

#[derive(Debug, Serialize)]
struct ConnectionObject<'a> {
    display_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
}
