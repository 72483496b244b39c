//! `GET /.menshen/connections/ID/opener` and `…/opened`: to WeChat and back, to learn who opens a service account's link.
//!
//! The link's handle stays in the page's own storage meanwhile, and the proof comes back to it in a fragment: neither
//! stands in an address that a server sees.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Response};
use axum::response::{IntoResponse, Redirect};

use crate::config::settings::Connection;
use crate::gate::headers::Headers;
use crate::gate::request_class::{classify, mints_ticket};
use crate::login::device::Surroundings;
use crate::login::error::LoginError;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, user_agent};
use crate::portal::pages::confirm_url;
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::redirect::{CallbackQuery, was_no_code};
use crate::portal::texts::RedirectProblem;
use crate::wechat::{OfficialAccount, Outcome};

type Answer = Result<Response<Body>, Problem>;

/// To WeChat's page, which is silent.
pub(super) async fn ask(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let (connection, account) = portal.asks_opener(&context, &id, &method, &headers)?;
    if !Surroundings::of(user_agent(&headers)).is_wechat() {
        return Ok(portal.redirect_page(&context, &headers, RedirectProblem::OnlyInWechat, None));
    }
    let state = portal.login.ask_opener(&connection.id, &context.host);
    let state = state.map_err(|error| match error {
        LoginError::Unknown => Code::WechatMisconfigured.into(),
        error => Problem::from(error),
    })?;
    let issuer = portal.settings.issuer();
    let back = format!("{issuer}/.menshen/connections/{}/opened", connection.id);
    Ok(Redirect::to(account.page_url(&back, state.as_str()).as_str()).into_response())
}

/// From WeChat, to the page behind the link.
pub(super) async fn proven(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<CallbackQuery>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let (connection, _) = portal.asks_opener(&context, &id, &method, &headers)?;
    let page = |problem| portal.redirect_page(&context, &headers, problem, None);
    let state = portal.login.check_state(&connection.id, &query.state);
    if state.is_none_or(|state| state.host != context.host) {
        portal.login.limits.wrong_code(context.limit_key);
        return Ok(page(RedirectProblem::Stale));
    }
    let Some(code) = query.code.filter(|code| !code.is_empty()) else {
        return Ok(page(RedirectProblem::Declined));
    };
    let proven = portal.login.prove_opener(&connection.id, &code).await;
    if proven.as_ref().is_err_and(was_no_code) {
        portal.login.limits.wrong_code(context.limit_key);
    }
    match proven {
        Ok(proof) => {
            let page = format!("{}#opener={proof}", confirm_url(&connection.id));
            Ok(Redirect::to(&page).into_response())
        }
        Err(LoginError::Snapshot) => Ok(page(RedirectProblem::Snapshot)),
        Err(LoginError::Wechat(error)) if error.outcome() == Outcome::CodeInvalid => {
            Ok(page(RedirectProblem::CodeRefused))
        }
        Err(error) => Err(error.into()),
    }
}

impl Inner {
    /// A connection that asks who opens its links, for a page that somebody opens, within the limits.
    fn asks_opener(
        &self,
        context: &RequestContext,
        id: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(&Connection, &OfficialAccount), Problem> {
        let account = self.login.accounts.get(id).and_then(|desk| desk.web.as_ref());
        let found = self.settings.connection(id).zip(account);
        let found = found.filter(|_| context.public_host).ok_or(Code::NotFound)?;
        // A look in advance spends nothing.
        if !mints_ticket(method, classify(method, &Headers::of(headers))) {
            return Err(Code::BadRequest.into());
        }
        let limits = &self.login.limits;
        limits.login_page(context.limit_key).map_err(LoginError::from)?;
        Ok(found)
    }
}

/// Where the page begins to ask.
pub(super) fn opener_url(connection: &str) -> String {
    format!("/.menshen/connections/{connection}/opener")
}
