//! A host takes a finished login from `public_url`; and with one session for every host, it sends its visitors there.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use crate::gate::destination::{Destination, Handoff};
use crate::gate::return_to::ReturnTo;
use crate::login::device::Device;
use crate::login::error::LoginError;
use crate::login::handoff::{Taker, binding};
use crate::login::handoff_cookie::HandoffCookie;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, user_agent};
use crate::portal::login_page::{encode_query, set_cookies};
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::tickets::Reach;
use crate::session::unused::Browser;

/// Query of `GET /.menshen/handoff`.
#[derive(Debug, Deserialize)]
pub(super) struct HandoffQuery {
    code: String,
}

/// What the login page at `public_url` is asked for besides the page.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    pub(super) connection: Option<&'a str>,
    pub(super) switching: bool,
}

/// `GET /.menshen/handoff?code=`: the code, bound to this host and this browser, becomes a session.
pub(super) async fn take(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<HandoffQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    if method != Method::GET {
        return Err(Code::NotFound.into());
    }
    portal
        .login
        .limits
        .login_page(context.limit_key)
        .map_err(LoginError::from)?;
    let agent = user_agent(&headers);
    let cookie = HandoffCookie::read(context.cookies.handoff.as_deref());
    let taker = Taker {
        host: &context.host,
        site: portal.site_name(context.site),
        cookie: cookie.as_ref(),
        last_user: context.cookies.last_user.as_deref(),
        agent,
        address: context.address,
        request_id: &context.request_id,
    };
    let taken = match portal.login.take_over(&query.code, taker).await {
        Ok(taken) => taken,
        // The address was opened again, from the history for example.
        Err(LoginError::Unknown) if portal.signed_in(&context).is_some() => {
            return Ok(Redirect::to("/").into_response());
        }
        Err(error) => {
            if matches!(error, LoginError::Unknown) {
                portal.login.limits.wrong_code(context.limit_key);
            }
            return Err(error.into());
        }
    };
    let browser = Browser {
        site: portal.site_name(context.site).to_owned(),
        address: context.address,
        device: Device::of(agent).text,
    };
    let now = portal.login.clock.now();
    portal
        .registry
        .unused()
        .made(browser, taken.session.id, &taken.user, &context.host, now);
    portal.end_previous(&context, Reach::ThisHost).await;
    // At `public_url` it may be another host that asked first.
    let page = portal.after_login(&context, &taken.page, Some(&taken.session)).await;
    let mut response = Redirect::to(&page).into_response();
    set_cookies(response.headers_mut(), &taken.cookies);
    if taken.other_user {
        set_cookies(response.headers_mut(), &portal.expired_app_cookies(&context));
    }
    Ok(response)
}

impl Inner {
    /// To the login at `public_url`, where one session serves every host; `None` where a host has its own: without
    /// `single_sign_on`, at `public_url` itself, and at a host that no site names.
    pub(super) fn sent_to_public_url(
        &self,
        context: &RequestContext,
        page: &ReturnTo,
        wish: Wish<'_>,
    ) -> Result<Option<Response<Body>>, Problem> {
        if !self.settings.login.single_sign_on || context.public_host || context.site.is_none() {
            return Ok(None);
        }
        if !page.is_local() && !wish.switching {
            // A page of another host asks for its own login.
            return Ok(Some(Redirect::to(page.as_str()).into_response()));
        }
        let cookie = HandoffCookie::read_or_make(context.cookies.handoff.as_deref())?;
        // What is longer than an address may be, and another host's page, lead to the start page instead.
        let page = Some(page.as_str())
            .filter(|page| page.starts_with('/') && page.len() <= LONGEST_PAGE)
            .unwrap_or("/");
        let whole = format!("{}{page}", context.own_origin());
        let Some(handoff) = Handoff::of(binding(&cookie), &whole, &self.gate) else {
            return Ok(None);
        };
        let mut address = format!(
            "{}/.menshen/login?rd={}",
            self.settings.issuer(),
            encode_query(&handoff.to_string())
        );
        if let Some(connection) = wish.connection {
            address.push_str("&connection=");
            address.push_str(&encode_query(connection));
        }
        if wish.switching {
            address.push_str("&switch=true");
        }
        let mut response = Redirect::to(&address).into_response();
        set_cookies(response.headers_mut(), &[self.cookies.set_handoff(cookie.to_text())]);
        if context.dead_session {
            set_cookies(response.headers_mut(), &[self.cookies.clear_session()]);
        }
        Ok(Some(response))
    }

    /// Where a finished login leads: with a hand-off the address of its code.
    pub(super) async fn after_login(
        &self,
        context: &RequestContext,
        rd: &str,
        session: Option<&crate::session::token::Session>,
    ) -> String {
        match (Destination::parse(rd, &self.gate, &context.own_origin()), session) {
            (Destination::Place(place), _) => place.to_string(),
            (Destination::Handoff(handoff), None) => handoff.page.to_string(),
            (Destination::Handoff(handoff), Some(session)) => match self.login.hand_on(session, &handoff).await {
                Ok(address) => address,
                // There is a session, and its cookie has to reach the browser. The host asks for the code once more.
                Err(error) => {
                    tracing::error!(%error, request_id = &*context.request_id, "a login was not handed on at once");
                    handoff.page.to_string()
                }
            },
        }
    }
}

/// In bytes. It stands in an address, encoded, and in the ticket's cookie.
const LONGEST_PAGE: usize = 1_900;
