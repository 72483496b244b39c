//! Forward-auth: another proxy asks about each of its requests whether it may pass, and forwards it itself.
//!
//! What the client asked for then comes in headers, and proxies copy their client's headers into the question: nginx
//! all of them. So one family of headers is read, never a mixture, and a question in which both could be meant is
//! refused (authentik GHSA-5wcc-hf24-rf5h). That holds with `?from=` too, since a proxy that keeps its client's query
//! lets the client write it. From there on it is the same parser, host table, session and decision as for a request
//! that passes through here.
//!
//! nginx understands 2xx, 401 and 403; everything else is 500 to its client. So those are the answers, except to a
//! question that cannot be understood (400) and while nobody can say whether a session holds (503).

use std::str::FromStr;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use pingora::http::RequestHeader;
use tracing::{info, warn};

use crate::gate::Gate;
use crate::gate::decide::{At, Decision, RequestView, Unauthorized, decide};
use crate::gate::headers::Headers;
use crate::gate::origin::{OwnOrigin, origin};
use crate::gate::request_class::{Class, classify};
use crate::gate::return_to::ReturnTo;
use crate::portal::code::Code;
use crate::portal::context::{Bearer, OwnCookieValues, RequestContext};
use crate::portal::login_page::{encode_query, set_cookies};
use crate::portal::problem::{Problem, Style};
use crate::proxy::admission::Admitted;
use crate::proxy::authority::{Authority, AuthorityError};
use crate::proxy::hooks::present;
use crate::proxy::normalise::{EncodedSlashes, Target, TargetError, normalise, split_absolute_form};
use crate::proxy::snapshot::Snapshot;

/// Which headers say what the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `X-Original-URL` and `X-Original-Method`.
    Nginx,
    /// `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri`: Traefik, Caddy, Envoy.
    Forwarded,
}

/// The query of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asking {
    /// `from`: no other family is taken.
    pub from: Option<Family>,
    /// `redirect`: a navigation without a session gets 302.
    pub redirect: bool,
}

/// What the outer proxy's client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original<'a> {
    /// Method of the request line.
    pub method: Method,
    /// The client used HTTPS.
    pub secure: bool,
    /// Host and port as the client calls them; no port where it is the scheme's default.
    pub authority: Authority<'static>,
    /// Normalised path, and the query.
    pub target: Target<'a>,
}

/// Why a question is 400. The words are for the operator, who reads them in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// A parameter that is unknown, repeated, or has no value of its own.
    #[error("the query parameter {0:?} of the verify address is unknown, repeated or has another value")]
    Parameter(String),
    /// Headers of both families.
    #[error("{0} is there beside the other family's headers; the outer proxy must blank it")]
    BothFamilies(HeaderName),
    /// No family.
    #[error("the outer proxy sends neither X-Original-URL nor X-Forwarded-Uri")]
    NoFamily,
    /// One of the family's headers.
    #[error("{0} is missing")]
    Missing(HeaderName),
    /// More than one line.
    #[error("{0} is repeated")]
    Repeated(HeaderName),
    /// Not a method, or one that is not served.
    #[error("the original method is malformed or not served")]
    Method,
    /// Neither `http` nor `https`.
    #[error("the original scheme is malformed")]
    Scheme,
    /// Host or port.
    #[error("the original host: {0}")]
    Authority(#[from] AuthorityError),
    /// Path or query.
    #[error("the original URL: {0}")]
    Target(#[from] TargetError),
}

/// The answer, with what the access log says about it.
pub(super) struct Verified {
    pub(super) response: Response<Body>,
    pub(super) context: RequestContext,
    pub(super) decision: &'static str,
}

impl Asking {
    /// Reads the query. What is not known is refused: `allowed_groups` of another gateway, not understood here, would
    /// let everybody pass.
    ///
    /// # Errors
    /// [`BadQuestion::Parameter`].
    pub fn parse(query: Option<&str>) -> Result<Self, BadQuestion> {
        let mut from = None;
        let mut redirect = None;
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let bad = || BadQuestion::Parameter(pair.split('=').next().unwrap_or_default().to_owned());
            match pair {
                "from=nginx" if from.is_none() => from = Some(Family::Nginx),
                "from=forwarded" if from.is_none() => from = Some(Family::Forwarded),
                "redirect=true" if redirect.is_none() => redirect = Some(true),
                "redirect=false" if redirect.is_none() => redirect = Some(false),
                _ => return Err(bad()),
            }
        }
        Ok(Self {
            from,
            redirect: redirect.unwrap_or_default(),
        })
    }
}

impl<'a> Original<'a> {
    /// Reads the headers of one family.
    ///
    /// # Errors
    /// See [`BadQuestion`].
    pub fn read(headers: &'a HeaderMap, from: Option<Family>) -> Result<Self, BadQuestion> {
        let original = match family(headers, from)? {
            Family::Nginx => Self::read_nginx(headers),
            Family::Forwarded => Self::read_forwarded(headers),
        }?;
        let default_port = if original.secure { 443 } else { 80 };
        Ok(Self {
            authority: Authority {
                port: original.authority.port.filter(|port| *port != default_port),
                ..original.authority
            },
            ..original
        })
    }

    fn read_nginx(headers: &'a HeaderMap) -> Result<Self, BadQuestion> {
        let (secure, authority, target) = split_url(one(headers, &X_ORIGINAL_URL)?)?;
        Ok(Self {
            method: method(one(headers, &X_ORIGINAL_METHOD)?)?,
            secure,
            authority,
            target: normalise(target, EncodedSlashes::Keep)?,
        })
    }

    fn read_forwarded(headers: &'a HeaderMap) -> Result<Self, BadQuestion> {
        Ok(Self {
            method: method(one(headers, &X_FORWARDED_METHOD)?)?,
            secure: is_secure(one(headers, &X_FORWARDED_PROTO)?)?,
            authority: Authority::parse(one(headers, &X_FORWARDED_HOST)?)?.into_owned(),
            target: normalise(one(headers, &X_FORWARDED_URI)?, EncodedSlashes::Keep)?,
        })
    }

    /// The origin at which the client's browser finds the login page: HTTPS where the gateway is reached so.
    fn login_origin<'o>(&'o self, gate: &Gate) -> OwnOrigin<'o> {
        let downgraded = gate.https() && !self.secure;
        OwnOrigin {
            secure: self.secure || gate.https(),
            host: &self.authority.host,
            port: if downgraded {
                gate.public_port()
            } else {
                self.authority.port
            },
        }
    }

    /// The login page's address, which leads back to this request.
    fn login_address(&self, class: Class, headers: &HeaderMap, gate: &Gate) -> String {
        let own = self.login_origin(gate);
        let referer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
        let rd = ReturnTo::after_login(&self.target.path_and_query(), class, referer, gate, &own);
        format!("{own}/.menshen/login?rd={}", encode_query(rd.as_str()))
    }
}

/// Splits an absolute URL into scheme (whether it is HTTPS), host and port, and the request target as it would be sent.
///
/// # Errors
/// [`BadQuestion::Target`] or [`BadQuestion::Authority`].
pub fn split_url(url: &[u8]) -> Result<(bool, Authority<'static>, &[u8]), BadQuestion> {
    let (authority, target) = split_absolute_form(url)?;
    let authority = authority.ok_or(AuthorityError::Missing)?;
    // Only `http` and `https` have been split.
    let secure = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
    Ok((secure, Authority::parse(authority.as_bytes())?.into_owned(), target))
}

/// What a decision about the client's request is to the outer proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pass { at: At, identified: bool },
    SignIn(Code),
    Refuse(Code),
}

/// Whether a request asks. Only in the one spelling: outer proxies keep this path from their clients, perhaps by its
/// bytes, and a client that got past that would ask with headers of its own.
pub(super) fn is_question(target: &Target<'_>) -> bool {
    target.path == PATH && !target.is_rewritten()
}

/// Answers a question.
pub(super) async fn verify(
    snapshot: &Snapshot,
    request: &RequestHeader,
    admitted: &Admitted<'_>,
    context: RequestContext,
) -> Verified {
    let headers = &request.headers;
    let portal = snapshot.portal.inner();
    let refuse = |context: RequestContext, code: Code| Verified {
        response: portal.refuse(&context, headers, Style::Json, &code.into(), "/"),
        context,
        decision: "verify_refused",
    };
    if !admitted.client.peer_trusted {
        info!(request_id = &*context.request_id, peer = %admitted.client.peer, "verify asked by a peer that is not in server.trusted_proxies");
        return refuse(context, Code::Forbidden);
    }
    let question = Asking::parse(admitted.target.query)
        .and_then(|asking| Original::read(headers, asking.from).map(|original| (asking, original)));
    let (asking, original) = match question {
        Ok(read) => read,
        Err(error) => {
            warn!(request_id = &*context.request_id, %error, "verify asked in a way that cannot be answered");
            return refuse(context, Code::BadRequest);
        }
    };
    answer(snapshot, request, admitted, context, asking, &original).await
}

async fn answer(
    snapshot: &Snapshot,
    request: &RequestHeader,
    admitted: &Admitted<'_>,
    context: RequestContext,
    asking: Asking,
    original: &Original<'_>,
) -> Verified {
    let headers = &request.headers;
    let portal = snapshot.portal.inner();
    let class = class(&original.method, &admitted.headers);
    // From here on everything is about the host that the client called.
    let mut context = RequestContext {
        host: original.authority.host.clone().into_owned(),
        port: original.authority.port,
        secure: original.secure,
        cookies: OwnCookieValues::default(),
        ..context
    };
    let presented = present(snapshot, &admitted.headers, &context).await;
    let view = RequestView {
        method: &original.method,
        host: &context.host,
        port: context.port,
        secure: context.secure,
        certified: !context.secure && snapshot.certificates.cover(&context.host),
        path: &original.target.path,
        class,
        origin: origin(&admitted.headers),
        // An answer of 2xx would send the preflight itself on: it is one more request without a session.
        preflight_for: None,
        client: admitted.client.for_rules(),
    };
    let decision = decide(&view, &snapshot.gate, &presented.credential());
    presented.tell(&mut context);
    context.site = snapshot.gate.site(&context.host).map(|found| found.index);
    let outcome = outcome(&decision, snapshot.registry.is_ready());
    let login = || original.login_address(class, headers, &snapshot.gate);
    let style = if class.is_page() { Style::Page } else { Style::Json };
    let target = original.target.path_and_query();
    let refuse = |problem: &Problem| portal.refuse(&context, headers, style, problem, &target);
    let mut response = match outcome {
        Outcome::Pass { at, identified } => match pass(snapshot, &context, at, identified) {
            Ok(response) => response,
            Err(code) => refuse(&code.into()),
        },
        // A program asks: there is nobody whom a login page would help.
        Outcome::SignIn(_) if !matches!(context.bearer, Bearer::None) => refuse(&context.token_problem()),
        Outcome::SignIn(Code::LoginRequired) if asking.redirect && class.is_page() => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::FOUND;
            portal.finish(&context, with_location(response, &login()))
        }
        Outcome::SignIn(code) => {
            let login = login();
            let problem = Problem {
                login_url: (code == Code::LoginRequired).then(|| login.clone()),
                ..code.into()
            };
            with_location(refuse(&problem), &login)
        }
        Outcome::Refuse(code) => refuse(&code.into()),
    };
    if context.dead_session {
        set_cookies(response.headers_mut(), &[snapshot.names.clear_session()]);
    }
    info!(
        request_id = &*context.request_id,
        original_method = original.method.as_str(),
        original_path = &*original.target.path,
        decision = decision.name(),
        "verified"
    );
    Verified {
        response,
        context,
        decision: decision.name(),
    }
}

/// 200 with every header that the site's application may get from Menshen. One without a value is there and empty, so
/// that it takes the place of what the client wrote.
fn pass(snapshot: &Snapshot, context: &RequestContext, at: At, identified: bool) -> Result<Response<Body>, Code> {
    let mut response = Response::new(Body::empty());
    let Some(plan) = snapshot.plans.get(at.site) else {
        return Err(Code::NotReady);
    };
    for name in plan.names() {
        response
            .headers_mut()
            .insert(name.clone(), HeaderValue::from_static(""));
    }
    if let Some(cached) = context.identity().filter(|_| identified) {
        let now = snapshot.portal.inner().login.clock.now();
        let keys = &snapshot.keyring.signing;
        let outgoing = snapshot
            .registry
            .outgoing(cached, at.site, snapshot.generation, plan, keys)
            .map_err(|error| {
                warn!(request_id = &*context.request_id, %error, "no assertion, request refused");
                Code::NotReady
            })?;
        for (name, value) in &outgoing.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        // Answers of public routes are what shared caches keep, and nobody here sees their `Cache-Control`.
        if snapshot.needs_login(at)
            && cached.bearer.is_none()
            && let Some(token) = snapshot.registry.renew(&cached.session, &context.host)
        {
            let cookie = snapshot.names.set_session(token, cached.session.expires_at - now);
            set_cookies(response.headers_mut(), &[cookie]);
        }
    }
    Ok(snapshot.portal.inner().finish(context, response))
}

fn outcome(decision: &Decision, ready: bool) -> Outcome {
    match decision {
        Decision::Forward { at, identified } => Outcome::Pass {
            at: *at,
            identified: *identified,
        },
        Decision::Unauthorized {
            reason: Unauthorized::TokenInvalid | Unauthorized::TokenForOtherSites,
            ..
        } => Outcome::SignIn(Code::TokenInvalid),
        Decision::LoginPage { .. }
        | Decision::LoginRedirect { .. }
        | Decision::Unauthorized { .. }
        | Decision::GrpcUnauthenticated { .. }
        | Decision::SecureRedirect { .. }
        | Decision::Preflight { .. } => Outcome::SignIn(Code::LoginRequired),
        Decision::CrossOrigin { .. } => Outcome::Refuse(Code::CrossOrigin),
        // What Menshen answers itself is reached by sending it here, never through this question.
        Decision::Forbidden { .. }
        | Decision::Portal { .. }
        | Decision::VerificationFile { .. }
        | Decision::Landing
        | Decision::Start
        | Decision::NotFound => Outcome::Refuse(Code::Forbidden),
        Decision::Unavailable { .. } if ready => Outcome::Refuse(Code::StoreUnavailable),
        Decision::Unavailable { .. } => Outcome::Refuse(Code::NotReady),
        Decision::UnknownHost | Decision::Ambiguous => Outcome::Refuse(Code::BadRequest),
    }
}

/// Which family a question is asked in. The headers that only forward-auth has tell; `X-Forwarded-Proto` and `-Host`,
/// which proxies set everywhere, are in nobody's way once `from=nginx` is said.
fn family(headers: &HeaderMap, from: Option<Family>) -> Result<Family, BadQuestion> {
    let present = |names: &[HeaderName]| names.iter().find(|name| headers.contains_key(*name)).cloned();
    let nginx = present(&[X_ORIGINAL_URL, X_ORIGINAL_METHOD]);
    let forwarded = present(&[X_FORWARDED_URI, X_FORWARDED_METHOD]);
    let everywhere = present(&[X_FORWARDED_HOST, X_FORWARDED_PROTO]);
    match (from, nginx, forwarded) {
        (Some(Family::Forwarded), Some(foreign), _) | (Some(Family::Nginx), _, Some(foreign)) => {
            Err(BadQuestion::BothFamilies(foreign))
        }
        (None, Some(_), Some(foreign)) => Err(BadQuestion::BothFamilies(foreign)),
        (Some(family), ..) => Ok(family),
        (None, Some(_), None) => match everywhere {
            Some(foreign) => Err(BadQuestion::BothFamilies(foreign)),
            None => Ok(Family::Nginx),
        },
        (None, None, Some(_)) => Ok(Family::Forwarded),
        (None, None, None) => Err(BadQuestion::NoFamily),
    }
}

/// The class of the client's request. Proxies take `Upgrade` away as a header of the hop, so a WebSocket is known by
/// its handshake.
fn class(method: &Method, headers: &Headers<'_>) -> Class {
    if headers.contains(&header::SEC_WEBSOCKET_KEY) || headers.contains(&header::SEC_WEBSOCKET_VERSION) {
        return Class::WebSocket;
    }
    classify(method, headers)
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h [u8], BadQuestion> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value.as_bytes()),
        (_, Some(_)) => Err(BadQuestion::Repeated(name.clone())),
        _ => Err(BadQuestion::Missing(name.clone())),
    }
}

fn method(text: &[u8]) -> Result<Method, BadQuestion> {
    let method = std::str::from_utf8(text)
        .ok()
        .and_then(|text| Method::from_str(text).ok());
    method
        .filter(|method| !matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK"))
        .ok_or(BadQuestion::Method)
}

/// Traefik says `ws` and `wss` of WebSockets.
fn is_secure(scheme: &[u8]) -> Result<bool, BadQuestion> {
    let is = |names: [&[u8]; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    match () {
        () if is([b"https", b"wss"]) => Ok(true),
        () if is([b"http", b"ws"]) => Ok(false),
        () => Err(BadQuestion::Scheme),
    }
}

fn with_location(mut response: Response<Body>, location: &str) -> Response<Body> {
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Where outer proxies ask.
const PATH: &str = "/.menshen/verify";
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

#[cfg(test)]
mod tests;
