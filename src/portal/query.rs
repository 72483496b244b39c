//! Query parameters. What cannot be read, a repeated parameter above all, is refused like everything else: by code, in
//! the form and the language of the client.

use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::portal::code::Code;
use crate::portal::problem::Problem;

/// The query of a request, read into `T`.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        AxumQuery::try_from_uri(&parts.uri)
            .map(|AxumQuery(query)| Self(query))
            .map_err(|_| Code::BadRequest.into())
    }
}
