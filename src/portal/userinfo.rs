//! Who is signed in, for the application's own scripts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Response;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Serialize;

use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::RequestContext;
use crate::portal::problem::Problem;

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
    connection: &'a str,
    auth_time: i64,
    expires_at: i64,
    idle_expires_at: i64,
    logout_url: &'static str,
}

/// `GET /.menshen/userinfo`: 401 without a session.
pub(super) async fn userinfo(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
) -> Result<Response<axum::body::Body>, Problem> {
    context.require_verifiable()?;
    let Some(cached) = portal.signed_in(&context) else {
        let login_url = Some("/.menshen/login".to_owned());
        return Err(Problem {
            login_url,
            ..Code::LoginRequired.into()
        });
    };
    let session = &cached.session;
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
        connection: &session.authentication.connection,
        auth_time: session.authentication.time,
        expires_at: session.expires_at,
        idle_expires_at: session.idle_expires_at(portal.registry.limits()),
        logout_url: "/.menshen/logout",
    };
    Ok(Json(info).into_response())
}
