//! What Menshen itself answers, under the reserved prefix.
//!
//! An ordinary axum router, called in process. The proxy brings a [`RequestContext`] with what
//! it found out about the request; handlers return an answer or a [`Problem`]; the outermost layer
//! ([`Portal::answer`]) writes problems in the language and the form that the client reads, and puts on every answer
//! what every answer needs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower::ServiceExt;

use crate::config::Settings;
use crate::gate::Gate;
use crate::gate::headers::Headers;
use crate::gate::request_class::classify;
use crate::identity::assertion::SigningKeys;
use crate::login::Login;
use crate::portal::branding::Branding;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale};
use crate::portal::pages::{
    Action, CodePainter, PolicySources, ProblemPage, Shell, SiteLabel, content_security_policy,
};
use crate::portal::problem::{Problem, Style};
use crate::portal::relay::Relays;
use crate::portal::texts::Texts;
use crate::session::cached::CachedSession;
use crate::session::cookie::CookieNames;
use crate::session::registry::Registry;

mod account;
mod app;
mod bind;
pub mod branding;
mod circle;
pub mod code;
mod confirm;
mod connect;
pub mod context;
mod events;
mod files;
mod handoff;
pub mod login_page;
mod logout;
mod opener;
pub mod pages;
mod phone;
mod popup;
pub mod problem;
mod push;
mod push_relay;
mod query;
mod redirect;
pub mod relay;
pub mod texts;
mod ticket_page;
mod tickets;
mod userinfo;

/// The portal of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Portal {
    inner: Arc<Inner>,
    router: Router,
}

/// What handlers share.
pub struct Inner {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The same, compiled for decisions.
    pub gate: Arc<Gate>,
    /// Tickets.
    pub login: Arc<Login>,
    /// Sessions.
    pub registry: Arc<Registry>,
    /// Public keys.
    pub signing: Arc<SigningKeys>,
    /// The operator's pictures.
    pub branding: Branding,
    /// What draws codes, by connection id.
    pub painters: HashMap<String, CodePainter>,
    /// Cookie names.
    pub cookies: CookieNames,
    /// Where messages go on that are no logins.
    pub relays: Relays,
}

/// Origins to which the answer of a form on this page may redirect.
#[derive(Debug, Clone, Default)]
struct FormTargets(Vec<String>);

/// Origins whose pages this page shows in a frame.
#[derive(Debug, Clone, Default)]
struct FrameSources(Vec<String>);

/// Marks a page of a login in a window of its own, which must go on knowing the page that opened it.
#[derive(Debug, Clone, Copy)]
struct InPopup;

/// Marks a refusal whose page its handler has written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnPage;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Portal")
    }
}

impl Portal {
    /// Puts the router together.
    pub fn new(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let router = Router::new()
            .route("/.menshen/login", get(login_page::login))
            .route("/.menshen/tickets", post(tickets::create))
            .route("/.menshen/tickets/{id}", get(tickets::status))
            .route("/.menshen/tickets/{id}/events", get(events::stream))
            .route("/.menshen/tickets/{id}/qr", get(tickets::qr))
            .route("/.menshen/tickets/{id}/page", get(ticket_page::page))
            .route("/.menshen/tickets/{id}/bind", post(bind::bind))
            .route("/.menshen/tickets/{id}/redeem", post(tickets::redeem))
            .route("/.menshen/tickets/{id}/cancel", post(tickets::cancel))
            .route("/.menshen/popup", get(popup::done))
            .route("/.menshen/handoff", get(handoff::take))
            .route("/.menshen/connections/{id}/start", get(redirect::start))
            .route("/.menshen/connections/{id}/callback", get(redirect::callback))
            .route(
                "/.menshen/connections/{id}/push",
                get(push::handshake).post(push::receive),
            )
            .route("/.menshen/connections/{id}/confirm", get(confirm::page))
            .route("/.menshen/connections/{id}/opener", get(opener::ask))
            .route("/.menshen/connections/{id}/opened", get(opener::proven))
            .route("/.menshen/app/tickets", post(app::create))
            .route("/.menshen/app/tickets/{id}/redeem", post(app::redeem))
            .route("/.menshen/app/token", post(app::refresh))
            .route("/.menshen/userinfo", get(userinfo::userinfo))
            .route("/.menshen/logout", get(logout::ask).post(logout::logout))
            .route("/.menshen/account", get(account::page))
            .route("/.menshen/account/sessions", post(account::sign_out_there))
            .route("/.menshen/account/identities", post(account::unbind))
            .route("/.menshen/account/connect", post(connect::create))
            .route("/.menshen/account/language", post(account::language))
            .route("/.menshen/jwks.json", get(files::jwks))
            .route("/.menshen/assets/{name}", get(files::asset))
            .route("/.menshen/phone/scan", post(phone::scan))
            .route("/.menshen/phone/status", post(phone::status))
            .route("/.menshen/phone/confirm", post(phone::confirm))
            .route("/.menshen/phone/cancel", post(phone::cancel))
            .fallback(async || Problem::new(Code::NotFound))
            .method_not_allowed_fallback(async || Problem::new(Code::NotFound))
            .with_state(Arc::clone(&inner));
        Self { inner, router }
    }

    /// What handlers share.
    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Answers a request below the prefix.
    pub async fn answer(&self, context: RequestContext, mut request: Request<Body>) -> Response<Body> {
        let headers = request.headers().clone();
        let uri = request.uri().clone();
        let is_push = push::is_push(uri.path());
        let style = if is_push { Style::Json } else { style(&request) };
        request.extensions_mut().insert(context.clone());
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let mut response = match response.extensions().get::<Problem>() {
            Some(problem) => self
                .inner
                .refuse(&context, &headers, style, problem, context::target(&uri)),
            // What no handler has seen: a query or a path that does not parse, a body that cannot be read.
            None if response.status().is_client_error() && response.extensions().get::<OwnPage>().is_none() => {
                let problem = Code::BadRequest.into();
                let target = context::target(&uri);
                self.inner.refuse(&context, &headers, style, &problem, target)
            }
            None => self.inner.finish(&context, response),
        };
        if is_push {
            push::disarm(&mut response);
        }
        response
    }
}

impl Inner {
    /// A refusal in the language and the form that the client reads. `target` is what the person asked for.
    pub fn refuse(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        style: Style,
        problem: &Problem,
        target: &str,
    ) -> Response<Body> {
        self.login.metrics.refused(problem.code.as_str());
        let locale = locale(headers, self.settings.branding.locale);
        let mut response = match style {
            Style::Page => self.problem_page(context, locale, problem, target).into_response(),
            Style::Json => {
                let message = Texts::of(locale).problem(problem.code).message;
                (
                    [(header::CONTENT_TYPE, "application/json")],
                    problem.json(message, &context.request_id),
                )
                    .into_response()
            }
            Style::Grpc => (
                [
                    (header::CONTENT_TYPE.as_str(), "application/grpc".to_owned()),
                    ("grpc-status", problem.grpc_status().to_string()),
                    ("grpc-message", problem.code.as_str().to_owned()),
                ],
                Body::empty(),
            )
                .into_response(),
        };
        if style != Style::Grpc {
            *response.status_mut() = problem.code.status();
        }
        response.headers_mut().extend(problem.headers());
        self.finish(context, response)
    }

    fn problem_page(
        &self,
        context: &RequestContext,
        locale: crate::config::settings::Locale,
        problem: &Problem,
        target: &str,
    ) -> axum::response::Html<String> {
        let rd = login_page::encode_query(target);
        let switch = format!("/.menshen/login?switch=true&rd={rd}");
        let login = format!("/.menshen/login?rd={rd}");
        let person = context.session.as_ref().map(|cached| &cached.session.person);
        let signed_in = person.is_some();
        let actions: &[Action<'_>] = match problem.code.status() {
            StatusCode::FORBIDDEN if signed_in => &[
                Action::SwitchAccount { url: &switch },
                Action::SignOut,
                Action::Home { url: "/" },
            ],
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => &[Action::Home { url: "/" }],
            StatusCode::UNAUTHORIZED | StatusCode::GONE | StatusCode::CONFLICT => &[Action::SignIn { url: &login }],
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                &[Action::TryAgain { url: target }]
            }
            _ => &[],
        };
        let page = ProblemPage {
            shell: self.shell(context, locale),
            problem: pages::Problem::Code(problem.code),
            name: person
                .filter(|_| problem.code.status() == StatusCode::FORBIDDEN)
                .map(|person| {
                    let name = person.name.as_deref().or(person.username.as_deref());
                    name.or(person.phone.as_deref()).unwrap_or(&person.id)
                }),
            request_id: &context.request_id,
            actions,
        };
        axum::response::Html(page.render())
    }

    /// What every page has around it.
    pub fn shell<'a>(&'a self, context: &'a RequestContext, locale: crate::config::settings::Locale) -> Shell<'a> {
        Shell {
            locale,
            title: &self.settings.branding.title,
            logo_url: self.branding.logo_url.as_deref(),
            background_url: self.branding.background_url.as_deref(),
            css_url: self.branding.css_url.as_deref(),
            sandbox: !self.talks_to_wechat(),
            site: context
                .site
                .and_then(|site| self.settings.sites.get(site))
                .map(|site| SiteLabel {
                    name: &site.name,
                    host: &context.host,
                }),
        }
    }

    /// What a site is called; elsewhere than at one, what the whole is.
    pub(crate) fn site_name(&self, site: Option<usize>) -> &str {
        let site = site.and_then(|site| self.settings.sites.get(site));
        site.map_or(&*self.settings.branding.title, |site| &site.name)
    }

    /// Who is signed in here, as far as this host's site accepts the connection of their login: what the gate takes for
    /// no session is none to the portal, or the two would send a browser to and fro.
    pub(crate) fn signed_in<'c>(&self, context: &'c RequestContext) -> Option<&'c Arc<CachedSession>> {
        let site = context.site.and_then(|site| self.gate.sites().at(site));
        context.session.as_ref().filter(|cached| {
            let connection = &cached.session.authentication.connection;
            site.is_none_or(|site| site.connections.iter().any(|listed| listed == connection))
        })
    }

    /// Whether a token for `sites` (audiences; `None`: all) of a login by `connection` is good at this host. Where no site
    /// is, only what is good everywhere is.
    pub(crate) fn is_for(&self, context: &RequestContext, sites: Option<&[String]>, connection: Option<&str>) -> bool {
        let Some(site) = context.site.and_then(|site| self.gate.sites().at(site)) else {
            return sites.is_none();
        };
        sites.is_none_or(|sites| sites.contains(&site.audience))
            && connection.is_none_or(|id| site.connections.iter().any(|listed| listed == id))
    }

    /// Whether `api_base` is one of WeChat's own hosts: else every page says that it is not.
    pub fn talks_to_wechat(&self) -> bool {
        is_of_wechat(&self.settings.wechat.api_base)
    }

    /// What every answer of Menshen's own needs.
    pub fn finish(&self, context: &RequestContext, mut response: Response<Body>) -> Response<Body> {
        let is_page = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
        let form_targets = response.extensions_mut().remove::<FormTargets>().unwrap_or_default();
        let frames = response.extensions_mut().remove::<FrameSources>().unwrap_or_default();
        let in_popup = response.extensions_mut().remove::<InPopup>().is_some();
        let hands_on_origin = in_popup || leads_to_portal(&response);
        let headers = response.headers_mut();
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Where a window of its own leads to another host, that host has to see by whom it was opened.
        let referrer = if hands_on_origin {
            "strict-origin-when-cross-origin"
        } else {
            "same-origin"
        };
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static(referrer));
        if let Ok(id) = HeaderValue::try_from(&*context.request_id) {
            headers.insert("x-request-id", id);
        }
        if is_page {
            let targets: Vec<&str> = form_targets.0.iter().map(String::as_str).collect();
            let frames: Vec<&str> = frames.0.iter().map(String::as_str).collect();
            let policy = content_security_policy(PolicySources {
                form_targets: &targets,
                frames: &frames,
                ..PolicySources::default()
            });
            if let Ok(policy) = HeaderValue::try_from(policy) {
                headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            }
            headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
            // Any other policy cuts a window off from the page of another origin that opened it.
            let opener = if in_popup { "unsafe-none" } else { "same-origin" };
            headers.insert("cross-origin-opener-policy", HeaderValue::from_static(opener));
            headers.append(header::VARY, HeaderValue::from_static("Accept-Language, Cookie"));
        }
        response
    }
}

/// Whether it is a redirect to a page of the portal, here or at another host.
fn leads_to_portal(response: &Response<Body>) -> bool {
    let location = response.headers().get(header::LOCATION);
    response.status().is_redirection()
        && location
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(['?', '#']).next())
            .is_some_and(|path| path.contains("/.menshen/"))
}

/// Whether an API address is one of WeChat's own.
pub(crate) fn is_of_wechat(api_base: &url::Url) -> bool {
    let host = api_base.host_str().unwrap_or_default();
    host == "weixin.qq.com" || host.ends_with(".weixin.qq.com")
}

/// Refuses what no page of this origin sent.
pub(crate) fn require_same_origin(context: &RequestContext) -> Result<(), Problem> {
    if context.same_origin {
        Ok(())
    } else {
        Err(Code::CrossOrigin.into())
    }
}

fn style(request: &Request<Body>) -> Style {
    classify(request.method(), &Headers::of(request.headers())).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_wechats_own_hosts_are_wechat() {
        for (url, own) in [
            ("https://api.weixin.qq.com", true),
            ("https://api2.weixin.qq.com/", true),
            ("https://evilweixin.qq.com", false),
            ("https://api.weixin.qq.com.evil.test", false),
            ("https://evil.test/api.weixin.qq.com", false),
            ("http://127.0.0.1:9090", false),
        ] {
            assert_eq!(is_of_wechat(&url.parse().unwrap()), own, "{url}");
        }
    }
}
