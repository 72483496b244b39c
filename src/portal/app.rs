//! Applications without a browser over HTTP: tickets for tokens, and tokens for tokens.
//!
//! They act by what is in their body, read no cookie and send no CORS header, like the phone's side; but at every host,
//! since a token is for the site of the host where it was asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::config::settings::{Connection, ConnectionKind};
use crate::login::app::{AppFacts, AppStatus, AppTicket, TokenPair};
use crate::login::browser::StatusView;
use crate::login::error::LoginError;
use crate::login::launch::Launch;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::tickets::{StatusObject, json};

type Answer = Result<Response<Body>, Problem>;

#[derive(Debug, Deserialize)]
pub(super) struct CreateBody {
    /// Without one, the first of the host with a code, else the first that an application opens.
    #[serde(default)]
    connection: Option<String>,
    code_challenge: String,
    #[serde(default)]
    code_challenge_method: Option<String>,
}

#[derive(Debug, Serialize)]
struct Created<'a> {
    id: &'a str,
    connection: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qr_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch: Option<&'a Launch>,
    expires_in: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RedeemBody {
    code_verifier: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RedeemQuery {
    /// Seconds to wait for a change.
    wait: Option<u64>,
    /// What the application knows already: an answer that says something else is given at once.
    seen: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenBody {
    refresh_token: String,
}

#[derive(Debug, Serialize)]
struct Tokens<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    refresh_token: &'a str,
}

/// `POST /.menshen/app/tickets`
pub(super) async fn create(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let limits = &portal.login.limits;
    limits.login_page(context.limit_key).map_err(LoginError::from)?;
    let body: CreateBody = json(&headers, &body)?;
    // `plain` would hand the verifier to whoever reads the request.
    if body.code_challenge_method.is_some_and(|method| method != "S256") {
        return Err(Code::BadRequest.into());
    }
    let site = context.site.and_then(|site| portal.settings.sites.get(site));
    // Elsewhere than at a site, only the portal's own host vouches for what a phone is shown.
    if site.is_none() && !context.public_host {
        return Err(Code::NotFound.into());
    }
    let connection = portal.connection_for_app(&context, body.connection.as_deref());
    let facts = AppFacts {
        connection: connection.ok_or(Code::NotFound)?,
        site: portal.site_name(context.site),
        host: &context.host,
        audience: site.map(|site| &*site.audience),
        challenge: &body.code_challenge,
        agent: user_agent(&headers),
        address: context.address,
    };
    let issued = portal.login.issue_to_app(&facts).map_err(|error| match error {
        LoginError::Unknown => Code::BadRequest.into(),
        other => Problem::from(other),
    })?;
    let created = Created {
        id: &issued.id,
        connection: &facts.connection.id,
        number: issued.number,
        qr_text: issued.qr_text.as_deref(),
        launch: issued.launch.as_ref(),
        expires_in: issued.expires_in,
    };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// `POST /.menshen/app/tickets/ID/redeem[?wait=20]`: 202 with the status while it is not confirmed, 200 once.
pub(super) async fn redeem(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<RedeemQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: RedeemBody = json(&headers, &body)?;
    let limits = &portal.login.limits;
    let ticket = match portal.login.watch_app(&id, &body.code_verifier, &context.host) {
        Ok(ticket) => ticket,
        Err(error) => {
            limits.token_lookup(context.limit_key).map_err(LoginError::from)?;
            limits.wrong_token(context.limit_key);
            return Err(error.into());
        }
    };
    limits.poll(&ticket.watched.scene).map_err(LoginError::from)?;
    match portal.wait_for_app(&context, &ticket, &query).await? {
        Some(view) => {
            let locale = locale(&headers, portal.settings.branding.locale);
            Ok((StatusCode::ACCEPTED, Json(StatusObject::of(&view, locale))).into_response())
        }
        None => Ok(granted(
            &portal.login.redeem_for_app(&ticket, &context.request_id).await?,
        )),
    }
}

/// `POST /.menshen/app/token`
pub(super) async fn refresh(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: TokenBody = json(&headers, &body)?;
    let limits = &portal.login.limits;
    limits.token_lookup(context.limit_key).map_err(LoginError::from)?;
    let refreshed = async {
        let token = portal.login.refresh_token(&body.refresh_token).await?;
        // Where it is good for nothing it is not spent either.
        if !portal.is_for(&context, token.sites.as_deref(), token.connection.as_deref()) {
            return Err(LoginError::TokenRefused);
        }
        portal.login.refresh(&token, context.address, &context.request_id).await
    };
    match refreshed.await {
        Ok(pair) => Ok(granted(&pair)),
        Err(error) => {
            if matches!(error, LoginError::TokenRefused) {
                limits.wrong_token(context.limit_key);
            }
            Err(error.into())
        }
    }
}

impl Inner {
    /// The connection that an application logs in by: the one that it names, else the first with a code, which a terminal
    /// needs, else the first that an application opens.
    fn connection_for_app(&self, context: &RequestContext, named: Option<&str>) -> Option<&Connection> {
        let opens = |connection: &&Connection| matches!(connection.kind, ConnectionKind::MiniprogramLaunch(_));
        // A service account's code is WeChat's, and an application would have to be told it.
        let with_code = self
            .connections_of(context, None)
            .into_iter()
            .filter(|connection| connection.kind.gets_phone());
        let opened = self.listed(context, None).into_iter().filter(opens);
        let mut all = with_code.chain(opened);
        all.find(|connection| named.is_none_or(|id| connection.id == id))
    }

    /// What an application is told while it waits; `None` when the ticket is confirmed.
    async fn wait_for_app(
        &self,
        context: &RequestContext,
        ticket: &AppTicket,
        query: &RedeemQuery,
    ) -> Result<Option<StatusView>, Problem> {
        let login = &self.login;
        // Who waits takes a place, like a stream; without one the answer comes at once.
        let place = query.wait.and_then(|_| login.limits.stream(context.limit_key));
        let wait = query.wait.filter(|_| place.is_some()).unwrap_or(0).min(LONGEST_WAIT);
        let deadline = Instant::now() + Duration::from_secs(wait);
        let mut waiter = login.wait(&ticket.watched);
        let mut known = query.seen.clone();
        loop {
            let view = match login.app_status(ticket).await? {
                AppStatus::Confirmed => return Ok(None),
                AppStatus::Waiting(view) => view,
            };
            let changed = *known.get_or_insert_with(|| view.status.to_owned()) != view.status;
            if changed || Instant::now() >= deadline || login.waiters.is_closed() {
                return Ok(Some(view));
            }
            let ends = Instant::now() + Duration::from_secs(view.expires_in.max(1).unsigned_abs());
            // A wake-up of another node may be lost; what it said is found again.
            let look = Instant::now() + LOOK_AGAIN;
            let _ = timeout_at(deadline.min(ends).min(look), waiter.changed()).await;
        }
    }
}

/// RFC 6749 §5.1.
fn granted(pair: &TokenPair) -> Response<Body> {
    let tokens = Tokens {
        access_token: pair.access.expose_secret(),
        token_type: "Bearer",
        expires_in: pair.expires_in,
        refresh_token: pair.refresh.expose_secret(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
}

/// Seconds; below what proxies on the way give up after.
const LONGEST_WAIT: u64 = 25;
const LOOK_AGAIN: Duration = Duration::from_secs(2);
