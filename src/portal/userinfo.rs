//! Who is signed in, for the application's own scripts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Response;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Serialize;

use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{Bearer, RequestContext};
use crate::portal::problem::Problem;
use crate::session::cached::CachedSession;
use crate::session::tokens::NEVER;

#[derive(Debug, Serialize)]
struct UserInfo<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_url: Option<&'static str>,
}

/// `GET /.menshen/userinfo`: 401 without a session.
pub(super) async fn userinfo(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
) -> Result<Response<axum::body::Body>, Problem> {
    context.require_verifiable()?;
    let cached = portal.identified(&context)?;
    let session = &cached.session;
    let by_cookie = cached.bearer.is_none();
    let person = &session.person;
    let expose_phone = context
        .site
        .and_then(|site| portal.settings.sites.get(site))
        .is_none_or(|site| site.expose_phone);
    let info = UserInfo {
        sub: &person.id,
        preferred_username: person.username.as_deref(),
        name: person.name.as_deref(),
        picture: person.picture.as_deref(),
        phone_number: person.phone.as_deref().filter(|_| expose_phone),
        email: person.email.as_deref(),
        groups: &person.groups,
        connection: Some(&*session.authentication.connection).filter(|id| !id.is_empty()),
        auth_time: session.authentication.time,
        expires_at: Some(session.expires_at).filter(|end| *end < NEVER),
        idle_expires_at: by_cookie.then(|| session.idle_expires_at(portal.registry.limits())),
        logout_url: by_cookie.then_some("/.menshen/logout"),
    };
    Ok(Json(info).into_response())
}

impl Inner {
    /// Who asks here, by a token or, without one, by the cookie.
    fn identified<'c>(&self, context: &'c RequestContext) -> Result<&'c CachedSession, Problem> {
        match &context.bearer {
            Bearer::None => self.signed_in(context).map(|cached| &**cached).ok_or_else(|| Problem {
                login_url: Some("/.menshen/login".to_owned()),
                ..Code::LoginRequired.into()
            }),
            Bearer::Good(cached) => {
                let connection = Some(&*cached.session.authentication.connection).filter(|id| !id.is_empty());
                let sites = cached.bearer.as_ref().and_then(|bearer| bearer.sites.as_deref());
                let good = self.is_for(context, sites, connection);
                good.then_some(&**cached).ok_or_else(|| context.token_problem())
            }
            Bearer::Refused | Bearer::Limited(_) => Err(context.token_problem()),
        }
    }
}
