//! A login in a window of its own: where it ends, the page that opened it is told.
//!
//! The login leads to this page as to any other, through every kind of login and every hand-off. The page says one word to
//! its opener, at the exact origin that the login was asked for with, and closes. It says no name and gives no token: the
//! session is in the cookie. The origin is judged here again, so that an address which somebody made by hand tells nobody
//! more.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::response::{Html, IntoResponse, Redirect};
use serde::Deserialize;

use crate::gate::popup::PopupOrigin;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale};
use crate::portal::login_page::encode_query;
use crate::portal::pages::PopupPage;
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::{InPopup, Inner};

#[derive(Debug, Deserialize)]
pub(super) struct PopupQuery {
    origin: String,
}

/// `GET /.menshen/popup?origin=`
pub(super) async fn done(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<PopupQuery>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let origin = portal.popup_origin(&context, &query.origin)?;
    if portal.signed_in(&context).is_none() {
        context.require_verifiable()?;
        let login = format!("/.menshen/login?popup={}", encode_query(origin.as_str()));
        return Ok(Redirect::to(&login).into_response());
    }
    let page = PopupPage {
        shell: portal.shell(&context, locale(&headers, portal.settings.branding.locale)),
        origin: origin.as_str(),
    };
    let mut response = Html(page.render()).into_response();
    response.extensions_mut().insert(InPopup);
    Ok(response)
}

impl Inner {
    /// The origin that a login in a window of its own tells its end to.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for any that may not be told.
    pub(super) fn popup_origin(&self, context: &RequestContext, asked: &str) -> Result<PopupOrigin, Problem> {
        let origin = PopupOrigin::parse(asked, &self.gate, &context.own_origin(), context.site);
        Ok(origin.ok_or(Code::BadRequest)?)
    }
}
