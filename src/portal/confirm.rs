//! `GET /.menshen/connections/ID/confirm`: the page behind the link that a service account sends to who scanned.
//!
//! The handle stands in the fragment of the link: no log sees it, and whoever looks at the link in advance (WeChat does)
//! fetches a page that knows nothing and changes nothing. Its script makes the calls of a mini program, once WeChat has
//! said who opened the link, where the connection wants to know.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use axum::response::{Html, IntoResponse};

use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale};
use crate::portal::opener::opener_url;
use crate::portal::pages::{ConfirmPage, Shell};
use crate::portal::problem::Problem;

pub(super) async fn page(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let connection = portal.settings.connection(&id);
    let connection =
        connection.filter(|connection| context.public_host && portal.login.accounts.contains_key(&connection.id));
    let connection = connection.ok_or(Code::NotFound)?;
    let verifies = portal.login.accounts.get(&id).is_some_and(|desk| desk.web.is_some());
    let shell = portal.shell(&context, locale(&headers, portal.settings.branding.locale));
    let page = ConfirmPage {
        // What is signed in to is said by the ticket alone, whatever this host is called.
        shell: Shell { site: None, ..shell },
        account: &connection.display_name,
        opener_url: verifies.then(|| opener_url(&connection.id)),
    };
    Ok(Html(page.render()).into_response())
}
