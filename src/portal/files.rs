//! What may be cached: assets under hashed names, and the public keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;

use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::pages;
use crate::portal::problem::Problem;

/// `GET /.menshen/assets/NAME`: the name changes with the content, so that it may be kept for ever.
pub(super) async fn asset(
    State(portal): State<Arc<Inner>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response<axum::body::Body>, Problem> {
    let kept = [(header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    if let Some(asset) = pages::asset(&name) {
        let fresh = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|tag| tag.as_bytes() == asset.etag.as_bytes());
        let tag = [(header::ETAG, asset.etag)];
        if fresh {
            return Ok((StatusCode::NOT_MODIFIED, kept, tag).into_response());
        }
        return Ok((kept, tag, [(header::CONTENT_TYPE, asset.media_type)], asset.bytes).into_response());
    }
    let file = portal.branding.file(&name).ok_or(Code::NotFound)?;
    Ok((kept, [(header::CONTENT_TYPE, file.media_type)], file.bytes.clone()).into_response())
}

/// `GET /.menshen/jwks.json`: RFC 7517, the same on every host, the coming key before it signs.
pub(super) async fn jwks(State(portal): State<Arc<Inner>>) -> Response<axum::body::Body> {
    (
        [(header::CACHE_CONTROL, "public, max-age=3600")],
        Json(portal.signing.jwks()),
    )
        .into_response()
}
