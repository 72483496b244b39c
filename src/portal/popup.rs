//! A login in a window of its own: where it ends, the page that opened it is told.
//!
//! The login leads to this page as to any other, through every kind of login and every hand-off. The page says one word to
//! its opener, at the exact origin that the login was asked for with, and closes. It says no name and gives no token: the
//! session is in the cookie. The origin is judged here again, so that an address which somebody made by hand tells nobody
//! more; and the two windows stay together only where that origin opened the one.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, header};
use axum::response::{Html, IntoResponse, Redirect};
use serde::Deserialize;
use url::Url;

use crate::gate::destination::Destination;
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
    // A login by WeChat's own page comes back from there.
    let wechat = portal.settings.wechat.open_base.origin().ascii_serialization();
    let from_wechat = || referring_origin(&headers).is_some_and(|from| from == wechat);
    if portal.is_opened_by(&context, &headers, &origin) || from_wechat() {
        response.extensions_mut().insert(InPopup);
    }
    Ok(response)
}

/// The origin of the page that led here, as far as it says so.
fn referring_origin(headers: &HeaderMap) -> Option<String> {
    let referer = headers.get(header::REFERER)?.to_str().ok()?;
    Some(Url::parse(referer).ok()?.origin().ascii_serialization())
}

impl Inner {
    /// Has a page of a login in a window of its own go on knowing who opened it: the one who is told, and nobody who only
    /// named them. Any site could keep hold of a genuine login page otherwise, and lead it elsewhere when it is trusted.
    pub(super) fn note_popup(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        destination: &Destination,
        response: &mut Response<Body>,
    ) {
        let origin = destination.popup_origin(&self.gate, &context.own_origin(), context.site);
        if origin.is_some_and(|origin| self.is_opened_by(context, headers, &origin)) {
            response.extensions_mut().insert(InPopup);
        }
    }

    /// Whether a page of `origin` led here, or one of the portal's own, which asked the same before.
    fn is_opened_by(&self, context: &RequestContext, headers: &HeaderMap, origin: &PopupOrigin) -> bool {
        referring_origin(headers).is_some_and(|from| {
            from == origin.as_str()
                || context.own_origin().is(from.as_bytes())
                || self.gate.public_origin().is(from.as_bytes())
        })
    }

    /// The origin that a login in a window of its own tells its end to.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for any that may not be told.
    pub(super) fn popup_origin(&self, context: &RequestContext, asked: &str) -> Result<PopupOrigin, Problem> {
        let origin = PopupOrigin::parse(asked, &self.gate, &context.own_origin(), context.site);
        Ok(origin.ok_or(Code::BadRequest)?)
    }
}
