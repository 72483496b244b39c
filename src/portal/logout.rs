//! Signing out: GET asks, POST does (CVE-2017-1000069 is what happens otherwise).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use axum::response::{Html, IntoResponse, Redirect};
use serde::Deserialize;

use crate::portal::account::ACCOUNT;
use crate::portal::context::{RequestContext, locale};
use crate::portal::login_page::set_cookies;
use crate::portal::pages::{LoggedOutPage, LogoutPage};
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::{Inner, require_same_origin};
use crate::telemetry::audit::{AuditEvent, AuditKind};

#[derive(Debug, Deserialize)]
pub(super) struct LogoutQuery {
    done: Option<String>,
    everywhere: Option<String>,
}

/// `GET /.menshen/logout`: asks; `?done` says that it is over.
pub(super) async fn ask(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<LogoutQuery>,
    headers: HeaderMap,
) -> Response<axum::body::Body> {
    let shell = portal.shell(&context, locale(&headers, portal.settings.branding.locale));
    let Some(cached) = context.session.as_ref().filter(|_| query.done.is_none()) else {
        return Html(
            LoggedOutPage {
                shell,
                login_url: "/.menshen/login",
            }
            .render(),
        )
        .into_response();
    };
    let person = &cached.session.person;
    let name = person.name.as_deref().or(person.username.as_deref());
    let back_url = match context.site {
        Some(_) => "/",
        None if portal.has_account_page(&context) => ACCOUNT,
        None => "/.menshen/logout",
    };
    Html(LogoutPage { shell, name, back_url }.render()).into_response()
}

/// `POST /.menshen/logout[?everywhere=true]`
pub(super) async fn logout(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<LogoutQuery>,
) -> Result<Response<axum::body::Body>, Problem> {
    require_same_origin(&context)?;
    // Clearing the cookie alone would leave a session that goes on when the store is back.
    context.require_verifiable()?;
    if let Some(cached) = &context.session {
        let session = &cached.session;
        let everywhere = query.everywhere.as_deref() == Some("true");
        if everywhere {
            portal.registry.end_all(session, "logout_everywhere").await?;
        } else {
            portal.registry.end(session, "logout").await?;
        }
        portal.login.auditor.record(AuditEvent {
            request_id: Some(context.request_id.to_string()),
            user_id: Some(session.person.id.clone()),
            connection: Some(session.authentication.connection.clone()),
            browser_address: Some(context.address.to_string()),
            reason: everywhere.then(|| "everywhere".to_owned()),
            ..AuditEvent::new(AuditKind::Logout, portal.login.clock.now())
        });
    }
    let mut response = Redirect::to("/.menshen/logout?done").into_response();
    set_cookies(response.headers_mut(), &[portal.cookies.clear_session()]);
    set_cookies(response.headers_mut(), &portal.expired_app_cookies(&context));
    // What the browser kept of the application's pages was made for the person who leaves.
    response.headers_mut().insert(
        HeaderName::from_static("clear-site-data"),
        HeaderValue::from_static("\"cache\""),
    );
    Ok(response)
}
