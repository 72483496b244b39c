//! Answers that the hooks give themselves.

use axum::body::Body;
use http::{Response, StatusCode, header};
use pingora::http::RequestHeader;

use crate::portal::code::Code;
use crate::portal::context::RequestContext;
use crate::portal::login_page::encode_query;
use crate::portal::problem::Problem;
use crate::proxy::admission::Admitted;
use crate::proxy::snapshot::Snapshot;

pub(super) fn preflight_answer(request: &RequestHeader, origin: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Ok(origin) = origin.try_into() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        http::HeaderValue::from_static("true"),
    );
    headers.insert(header::VARY, http::HeaderValue::from_static("Origin"));
    for (asked, allowed) in [
        (
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::ACCESS_CONTROL_ALLOW_METHODS,
        ),
        (
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
        ),
    ] {
        if let Some(value) = request.headers.get(asked) {
            headers.insert(allowed, value.clone());
        }
    }
    response
}

pub(super) fn login_address(target: &str) -> String {
    format!("/.menshen/login?rd={}", encode_query(target))
}

pub(super) fn login_required(target: &str, cors_origin: Option<String>) -> Problem {
    Problem {
        login_url: Some(login_address(target)),
        cors_origin,
        ..Code::LoginRequired.into()
    }
}

/// To the same address over HTTPS: where the port is that of a `public_url` of HTTPS, else the scheme's own.
pub(super) fn https_redirect(snapshot: &Snapshot, context: &RequestContext, admitted: &Admitted<'_>) -> Response<Body> {
    let settings = &snapshot.settings;
    let port = settings.server.public_url.port().filter(|_| settings.https());
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let location = format!("https://{}{port}{}", context.host, admitted.target.path_and_query());
    let mut response = Response::new(Body::empty());
    // 302: a 307 would have the browser send the body a second time.
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(location) = location.try_into() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    snapshot.portal.inner().finish(context, response)
}

pub(super) fn verification_file(snapshot: &Snapshot, context: &RequestContext, name: &str) -> Response<Body> {
    let content = snapshot
        .settings
        .server
        .verification_files
        .get(name)
        .cloned()
        .unwrap_or_default();
    let mut response = Response::new(Body::from(content));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    snapshot.portal.inner().finish(context, response)
}
