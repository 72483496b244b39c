//! `GET /.menshen/connections/ID/start` and `…/callback`: to WeChat and back.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::response::{Html, IntoResponse, Redirect};
use serde::Deserialize;

use crate::config::settings::{Connection, ConnectionKind};
use crate::gate::destination::{AskingHost, Destination, Handoff};
use crate::gate::headers::Headers;
use crate::gate::request_class::{classify, mints_ticket};
use crate::login::device::Surroundings;
use crate::login::error::LoginError;
use crate::login::redirect::{Returned, Start};
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::handoff::Wish;
use crate::portal::login_page::{encode_query, set_cookies};
use crate::portal::pages::{Action, Problem as PageProblem, ProblemPage};
use crate::portal::problem::Problem;
use crate::portal::query::Query;
use crate::portal::texts::RedirectProblem;
use crate::portal::{Inner, OwnPage};
use crate::wechat::Outcome;

/// Query of `start`.
#[derive(Debug, Deserialize)]
pub(super) struct StartQuery {
    rd: Option<String>,
}

/// Query of `callback`. Without a code the person has declined.
#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    #[serde(default)]
    pub(super) state: String,
    pub(super) code: Option<String>,
}

/// `GET /.menshen/connections/ID/start?rd=`: to WeChat's page. Only a top-level navigation gets a cookie, as on the login
/// page.
pub(super) async fn start(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<StartQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    if !mints_ticket(&method, classify(&method, &Headers::of(&headers))) {
        return Err(Problem {
            login_url: Some("/.menshen/login".to_owned()),
            ..Code::LoginRequired.into()
        });
    }
    portal
        .login
        .limits
        .login_page(context.limit_key)
        .map_err(LoginError::from)?;
    let parse = |rd: &str| Destination::parse(rd, &portal.gate, &context.own_origin());
    let asked = query.rd.as_deref().map(parse);
    let handoff = asked.as_ref().and_then(Destination::handoff);
    let connections = portal.ways_of(&context, handoff);
    let connection = connections
        .into_iter()
        .find(|connection| connection.id == id)
        .ok_or(Code::NotFound)?;
    let app = portal.login.redirects.get(&connection.id).ok_or(Code::NotFound)?;
    if !works_here(connection, user_agent(&headers)) {
        return Ok(portal.redirect_page(&context, &headers, RedirectProblem::OnlyInWechat, None));
    }
    let destination = asked.unwrap_or_else(|| parse(&connection.callback_url));
    if let Destination::Place(page) = &destination {
        let wish = Wish {
            connection: Some(&connection.id),
            switching: true,
        };
        if let Some(sent) = portal.sent_to_public_url(&context, page, wish)? {
            return Ok(sent);
        }
    }
    let Start { state, cookie } = portal.begin_redirect(&context, connection, &destination)?;
    let locale = locale(&headers, portal.settings.branding.locale);
    let url = app.page_url(&portal.callback_url(connection), state.as_str(), locale);
    let mut response = Redirect::to(&url).into_response();
    set_cookies(response.headers_mut(), &[cookie]);
    Ok(response)
}

/// `GET /.menshen/connections/ID/callback?code=&state=`: from WeChat, on to the host that began.
pub(super) async fn callback(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<CallbackQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    if !context.public_host || !portal.login.redirects.contains_key(&id) {
        return Err(Code::NotFound.into());
    }
    // A look in advance spends nothing.
    if !mints_ticket(&method, classify(&method, &Headers::of(&headers))) {
        return Err(Code::BadRequest.into());
    }
    let limits = &portal.login.limits;
    limits.login_page(context.limit_key).map_err(LoginError::from)?;
    let page = |problem, asking: Option<&AskingHost>| portal.redirect_page(&context, &headers, problem, asking);
    let state = portal.login.check_state(&id, &query.state);
    let asking = state
        .as_ref()
        .and_then(|state| AskingHost::find(&state.host, &portal.gate))
        .filter(|asking| portal.lists(asking, &id));
    let Some((state, asking)) = state.zip(asking) else {
        limits.forgery(context.limit_key);
        return Ok(page(RedirectProblem::Stale, None));
    };
    let Some(code) = query.code.filter(|code| !code.is_empty() && code != DECLINED) else {
        return Ok(page(RedirectProblem::Declined, Some(&asking)));
    };
    let returned = Returned {
        state,
        code,
        asking: asking.clone(),
        agent: user_agent(&headers).to_owned(),
        address: context.address,
        request_id: context.request_id.to_string(),
    };
    let finished = Arc::clone(&portal.login).finish_redirect(&id, returned).await;
    if finished.as_ref().is_err_and(was_no_code) {
        limits.wrong_code(context.limit_key);
    }
    match finished {
        Ok(address) => Ok(Redirect::to(&address).into_response()),
        Err(LoginError::Unknown) => Ok(page(RedirectProblem::Stale, Some(&asking))),
        Err(LoginError::Snapshot) => Ok(page(RedirectProblem::Snapshot, Some(&asking))),
        Err(LoginError::Wechat(error)) if error.outcome() == Outcome::CodeInvalid => {
            Ok(page(RedirectProblem::CodeRefused, Some(&asking)))
        }
        Err(error) => {
            let problem = Problem::from(error);
            let kind = PageProblem::Code(problem.code);
            let mut response =
                portal.login_problem_page(&context, &headers, kind, problem.code.status(), Some(&asking));
            response.headers_mut().extend(problem.headers());
            portal.login.metrics.refused(problem.code.as_str());
            Ok(response)
        }
    }
}

/// Whether a callback came with a code that is none, or with a state that is spent. Each may have left two rows.
pub(super) fn was_no_code(error: &LoginError) -> bool {
    match error {
        LoginError::Unknown => true,
        LoginError::Wechat(error) => error.outcome() == Outcome::CodeInvalid,
        _ => false,
    }
}

/// Whether a connection can be used by this browser.
pub(super) fn works_here(connection: &Connection, agent: &str) -> bool {
    !matches!(connection.kind, ConnectionKind::OfficialAccountWeb { .. }) || Surroundings::of(agent).is_wechat()
}

impl Inner {
    /// Every connection that this host, or the one that asks it for a login, may log in with, in their order, and that
    /// a browser can use at this host at all.
    pub(super) fn ways_of(&self, context: &RequestContext, handoff: Option<&Handoff>) -> Vec<&Connection> {
        let hands_off = AskingHost::find(&context.host, &self.gate).is_some();
        self.listed(context, handoff)
            .into_iter()
            .filter(|connection| match connection.kind {
                ConnectionKind::MiniprogramQr(_) | ConnectionKind::OfficialAccountQr(_) => true,
                ConnectionKind::WebsiteQr { .. } | ConnectionKind::OfficialAccountWeb { .. } => hands_off,
                ConnectionKind::MiniprogramLaunch(_) => false,
            })
            .collect()
    }

    /// The same for this browser: what works in WeChat's own browser comes first there, and is left out elsewhere.
    pub(super) fn ways_for(
        &self,
        context: &RequestContext,
        handoff: Option<&Handoff>,
        agent: &str,
    ) -> Vec<&Connection> {
        let mut ways = self.ways_of(context, handoff);
        ways.retain(|connection| works_here(connection, agent));
        // Stable: the configured order otherwise.
        ways.sort_by_key(|connection| !matches!(connection.kind, ConnectionKind::OfficialAccountWeb { .. }));
        ways
    }

    /// Begins a login of this host by a redirect.
    pub(super) fn begin_redirect(
        &self,
        context: &RequestContext,
        connection: &Connection,
        destination: &Destination,
    ) -> Result<Start, Problem> {
        let (page, cookie) = (destination.to_string(), context.cookies.handoff.as_deref());
        let begun = self.login.begin_redirect(&connection.id, &context.host, &page, cookie);
        begun.map_err(|error| match error {
            LoginError::Unknown => Code::WechatMisconfigured.into(),
            error => error.into(),
        })
    }

    /// Where WeChat sends the browser back to.
    pub(super) fn callback_url(&self, connection: &Connection) -> String {
        let issuer = self.settings.issuer();
        format!("{issuer}/.menshen/connections/{}/callback", connection.id)
    }

    /// Where a login by a redirect begins at this host.
    pub(super) fn start_url(connection: &Connection, rd: &str) -> String {
        format!("/.menshen/connections/{}/start?rd={}", connection.id, encode_query(rd))
    }

    fn lists(&self, asking: &AskingHost, connection: &str) -> bool {
        let site = asking.site.and_then(|site| self.gate.sites().at(site));
        site.is_none_or(|site| site.connections.iter().any(|listed| listed == connection))
    }

    /// What went wrong, and the way back to the host that asked.
    pub(super) fn redirect_page(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        problem: RedirectProblem,
        asking: Option<&AskingHost>,
    ) -> Response<Body> {
        self.login.metrics.refused(problem.code().as_str());
        self.login_problem_page(
            context,
            headers,
            PageProblem::Redirect(problem),
            problem.code().status(),
            asking,
        )
    }

    fn login_problem_page(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        problem: PageProblem,
        status: StatusCode,
        asking: Option<&AskingHost>,
    ) -> Response<Body> {
        let again = asking.map(|asking| format!("{}/.menshen/login", asking.origin));
        let action = match &again {
            Some(url) => Action::SignIn { url },
            None => Action::Home { url: "/" },
        };
        let page = ProblemPage {
            shell: self.shell(context, locale(headers, self.settings.branding.locale)),
            problem,
            name: None,
            request_id: &context.request_id,
            actions: &[action],
        };
        let mut response = (status, Html(page.render())).into_response();
        response.extensions_mut().insert(OwnPage);
        response
    }
}

/// What WeChat's older clients send in place of a code when the person declines.
const DECLINED: &str = "authdeny";
