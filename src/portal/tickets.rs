//! The browser's side of a ticket over HTTP: create, look, redeem, give up.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::config::settings::{Connection, Locale};
use crate::gate::destination::{self, Destination};
use crate::login::browser::{Issued, Redeemed, StatusView, Watched};
use crate::login::codes::Picture;
use crate::login::device::Device;
use crate::login::error::LoginError;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::login_page::set_cookies;
use crate::portal::pages::CodePainter;
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::texts::Texts;
use crate::portal::{Inner, require_same_origin};
use crate::session::unused::Browser;
use crate::telemetry::audit::{AuditEvent, AuditKind};

type Answer = Result<Response<axum::body::Body>, Problem>;

#[derive(Debug, Deserialize)]
pub(super) struct CreateBody {
    connection: String,
    #[serde(default)]
    rd: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Created<'a> {
    id: &'a str,
    connection: &'a str,
    qr_url: String,
    events_url: String,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u8>,
}

impl<'a> Created<'a> {
    pub(super) fn of(issued: &'a Issued, connection: &'a Connection) -> Self {
        let id = issued.scene.as_str();
        Self {
            id,
            connection: &connection.id,
            qr_url: format!("/.menshen/tickets/{id}/qr"),
            events_url: format!("/.menshen/tickets/{id}/events"),
            expires_in: issued.expires_in,
            open_url: issued.open_url.as_deref(),
            number: issued.number,
        }
    }
}

/// `POST /.menshen/tickets`: the page renews its code.
pub(super) async fn create(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    require_same_origin(&context)?;
    let body: CreateBody = json(&headers, &body)?;
    portal
        .login
        .limits
        .login_page(context.limit_key)
        .map_err(LoginError::from)?;
    let parse = |rd: &str| Destination::parse(rd, &portal.gate, &context.own_origin());
    let asked = body.rd.as_deref().map(parse);
    let connections = portal.connections_of(&context, asked.as_ref().and_then(Destination::handoff));
    let connection = connections
        .iter()
        .find(|connection| connection.id == body.connection)
        .ok_or(Code::NotFound)?;
    let destination = asked.unwrap_or_else(|| parse(&connection.callback_url));
    let issued = portal.issue(&context, &headers, connection, &destination).await?;
    let mut response = (StatusCode::CREATED, Json(Created::of(&issued, connection))).into_response();
    set_cookies(response.headers_mut(), &issued.cookies);
    Ok(response)
}

#[derive(Debug, Deserialize)]
pub(super) struct StatusQuery {
    /// Seconds to wait for a change.
    wait: Option<u64>,
    /// What the page knows already: an answer that says something else is given at once.
    seen: Option<String>,
}

/// `GET /.menshen/tickets/ID[?wait=20]`: at once, or when something changes.
pub(super) async fn status(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<StatusQuery>,
    headers: HeaderMap,
) -> Answer {
    let watched = portal.watch(&context, &id)?;
    let locale = locale(&headers, portal.settings.branding.locale);
    // Who waits takes a place, like a stream; without one the answer comes at once, and the page asks now and then.
    let place = query.wait.and_then(|_| portal.login.limits.stream(context.limit_key));
    let wait = Duration::from_secs(query.wait.filter(|_| place.is_some()).unwrap_or(0).min(LONGEST_WAIT));
    let deadline = Instant::now() + wait;
    let mut waiter = portal.login.wait(&watched);
    let first = portal.login.status(&watched).await?;
    let mut view = first.clone();
    let known = query.seen.as_deref().unwrap_or(first.status);
    // In `bind` the status stays while an account is proven.
    while !wait.is_zero()
        && view.status == known
        && view.user == first.user
        && view.expires_in > 0
        && !portal.login.waiters.is_closed()
    {
        let ends = Instant::now() + Duration::from_secs(view.expires_in.unsigned_abs());
        let woken = timeout_at(deadline.min(ends), waiter.changed()).await.is_ok();
        view = portal.login.status(&watched).await?;
        if !woken {
            break;
        }
    }
    Ok(Json(StatusObject::of(&view, locale)).into_response())
}

/// `GET /.menshen/tickets/ID/qr`: for who has the ticket's cookie, since each picture may be a call to WeChat.
pub(super) async fn qr(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
) -> Answer {
    let watched = portal.watch(&context, &id)?;
    let connection = portal.login.connection_of(&watched.scene).ok_or(Code::TicketUnknown)?;
    if !portal.login.can_be_scanned(&watched) {
        return Err(Code::TicketExpired.into());
    }
    if portal.login.picture_costs_a_call(&watched) {
        portal
            .login
            .limits
            .login_page(context.limit_key)
            .map_err(LoginError::from)?;
    }
    match portal.login.picture(&watched).await? {
        Picture::Wechat(image) => Ok(([(header::CONTENT_TYPE, image.media_type)], image.bytes).into_response()),
        Picture::Link(text) => {
            let svg = portal.draw_link(connection, &text, CodePainter::svg)?;
            Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
        }
        Picture::Later => Err(Code::WechatBusy.into()),
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RedeemBody {
    #[serde(default)]
    rd: Option<String>,
}

/// `POST /.menshen/tickets/ID/redeem`: JSON for the script, a redirect for a form.
pub(super) async fn redeem(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    require_same_origin(&context)?;
    let (body, form): (RedeemBody, bool) = json_or_form(&headers, &body)?;
    let watched = portal.login.watch(&id, context.ticket_cookies())?;
    if watched.half.host != context.host {
        return Err(Code::TicketUnknown.into());
    }
    if watched.half.bind_to.is_some() {
        return portal.finish_connecting(&context, &watched, form).await;
    }
    let redeemed = match portal
        .login
        .redeem(&watched, body.rd.as_deref(), &context.request_id)
        .await
    {
        Ok(redeemed) => redeemed,
        Err(LoginError::WrongState) if portal.is_own_session(&context, &watched).await? => {
            return portal.again(&context, &watched, body.rd.as_deref(), form).await;
        }
        Err(error) => return Err(error.into()),
    };
    let browser = Browser {
        site: watched.half.site.clone(),
        address: context.address,
        device: Device::of(user_agent(&headers)).text,
    };
    let (now, host) = (portal.login.clock.now(), &context.host);
    // Checked when the page was made; checked again, because the configuration may be another one now.
    let target = portal
        .after_login(&context, &redeemed.redirect, Some(&redeemed.session))
        .await;
    // One that is handed on is used when the next host asks, which may be never.
    if destination::handoff_host(&redeemed.redirect).is_none() {
        portal
            .registry
            .unused()
            .made(browser, redeemed.session.id, &redeemed.user, host, now);
    }
    portal.end_previous(&context, Reach::WholeLogin).await;
    Ok(portal.redeemed(&context, &redeemed, &target, form))
}

/// How far the end of a former session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that came from the same login.
    WholeLogin,
    /// This host's session: what else came from its login may be what the new one came from.
    ThisHost,
}

impl Inner {
    /// A look at a ticket of this browser, within its limit.
    pub(super) fn watch(&self, context: &RequestContext, id: &str) -> Result<Watched, Problem> {
        let watched = self.login.watch(id, context.ticket_cookies())?;
        self.login.limits.poll(&watched.scene).map_err(LoginError::from)?;
        Ok(watched)
    }

    fn redeemed(
        &self,
        context: &RequestContext,
        redeemed: &Redeemed,
        target: &str,
        form: bool,
    ) -> Response<axum::body::Body> {
        let mut response = go_to(target, form);
        set_cookies(response.headers_mut(), &redeemed.cookies);
        if redeemed.other_user {
            set_cookies(response.headers_mut(), &self.expired_app_cookies(context));
        }
        response
    }

    /// A new login ends the session that was there: nobody is left signed in behind another.
    pub(super) async fn end_previous(&self, context: &RequestContext, reach: Reach) {
        let Some(previous) = &context.session else { return };
        let ended = match reach {
            Reach::WholeLogin => self.registry.end(&previous.session, "new_login").await,
            Reach::ThisHost => self.registry.end_here(&previous.session, "new_login").await,
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the previous session of this browser goes on");
            return;
        }
        self.login.auditor.record(AuditEvent {
            request_id: Some(context.request_id.to_string()),
            user_id: Some(previous.session.person.id.clone()),
            connection: Some(previous.session.authentication.connection.clone()),
            browser_address: Some(context.address.to_string()),
            reason: Some("new_login".to_owned()),
            ..AuditEvent::new(AuditKind::SessionRevoked, self.login.clock.now())
        });
    }

    /// Whether this ticket already became the session that this very request carries: the first answer was lost.
    async fn is_own_session(&self, context: &RequestContext, watched: &Watched) -> Result<bool, Problem> {
        let Some(session) = &context.session else {
            return Ok(false);
        };
        let row = self.login.store.ticket(watched.scene.as_str()).await?;
        Ok(row
            .and_then(|row| row.session_id)
            .is_some_and(|id| id == session.session.id.to_text()))
    }

    /// The answer once more, to a browser that has its session already.
    async fn again(
        &self,
        context: &RequestContext,
        watched: &Watched,
        handed_back: Option<&str>,
        form: bool,
    ) -> Answer {
        self.login
            .limits
            .login_page(context.limit_key)
            .map_err(LoginError::from)?;
        let rd = watched.half.return_to.resolve(handed_back).unwrap_or("/");
        let session = context.session.as_ref().map(|cached| &cached.session);
        let target = self.after_login(context, rd, session).await;
        Ok(go_to(&target, form))
    }

    /// `Set-Cookie` lines that end the application's own cookies.
    pub(super) fn expired_app_cookies(&self, context: &RequestContext) -> Vec<String> {
        let site = context.site.and_then(|site| self.settings.sites.get(site));
        site.map(|site| {
            site.app_cookies
                .iter()
                .map(|name| format!("{name}=; Path=/; Max-Age=0"))
                .collect()
        })
        .unwrap_or_default()
    }
}

pub(super) fn go_to(target: &str, form: bool) -> Response<axum::body::Body> {
    if form {
        Redirect::to(target).into_response()
    } else {
        Json(serde_json::json!({ "redirect": target })).into_response()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CancelBody {
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /.menshen/tickets/ID/cancel`: "not me" on the page.
pub(super) async fn cancel(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    require_same_origin(&context)?;
    let (body, form): (CancelBody, bool) = json_or_form(&headers, &body)?;
    let watched = portal.login.watch(&id, context.ticket_cookies())?;
    let reason = if body.reason.as_deref() == Some("not_me") {
        "not_me"
    } else {
        "declined"
    };
    portal.login.abandon(&watched, reason, &context.request_id).await?;
    let mut response = if form {
        Redirect::to(&format!("/.menshen/tickets/{}/page", watched.scene.as_str())).into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    };
    if !form {
        set_cookies(
            response.headers_mut(),
            &[portal.cookies.clear_ticket(watched.scene.as_str())],
        );
    }
    Ok(response)
}

/// The status object with its message.
#[derive(Debug, Serialize)]
pub(super) struct StatusObject<'a> {
    #[serde(flatten)]
    view: &'a StatusView,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<StatusError>,
}

#[derive(Debug, Serialize)]
struct StatusError {
    code: &'static str,
    message: &'static str,
}

impl<'a> StatusObject<'a> {
    pub(super) fn of(view: &'a StatusView, locale: Locale) -> Self {
        let code = view.ending.and_then(|ending| Code::parse(ending.as_str()));
        let error = code.map(|code| StatusError {
            code: code.as_str(),
            message: Texts::of(locale).problem(code).message,
        });
        Self { view, error }
    }
}

/// A JSON body with its content type.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    if !is(headers, "application/json") {
        return Err(Code::BadRequest.into());
    }
    serde_json::from_slice(body).map_err(|_| Code::BadRequest.into())
}

/// A JSON body, a form, or nothing; true for a form.
pub(super) fn json_or_form<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(T, bool), Problem> {
    if is(headers, "application/x-www-form-urlencoded") {
        let bytes = axum::http::Uri::builder()
            .path_and_query([b"/?", body].concat())
            .build();
        let uri = bytes.map_err(|_| Problem::new(Code::BadRequest))?;
        let axum::extract::Query(form) =
            axum::extract::Query::try_from_uri(&uri).map_err(|_| Problem::new(Code::BadRequest))?;
        return Ok((form, true));
    }
    if body.is_empty() {
        return Ok((T::default(), false));
    }
    Ok((json(headers, body)?, false))
}

fn is(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(';')
                .next()
                .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
        })
}

/// Seconds; below what proxies on the way give up after.
const LONGEST_WAIT: u64 = 25;
