//! Pingora's hooks. Each is thin: it collects, calls one function, and applies what that says.

mod answers;
mod apply;
mod ending;
mod examine;
mod presented;
mod request_id;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tracing::info;

use crate::gate::decide::At;
use crate::identity::outgoing::Outgoing;
use crate::portal::code::Code;
use crate::portal::context::{Bearer, OwnCookieValues, RequestContext};
use crate::portal::login_page::set_cookies;
use crate::portal::problem::Style;
use crate::proxy::bridge;
use crate::proxy::client_address::ClientAddress;
use crate::proxy::front::Part;
use crate::proxy::outgoing::{Forwarding, Returning};
use crate::proxy::snapshot::Snapshot;
use crate::proxy::upstream::Lease;
use crate::proxy::watch::{self, Patience};
use crate::session::cached::CachedSession;
use crate::telemetry::metrics::{InFlight, Metrics};
use crate::telemetry::traces::{self, RequestTrace, Traces};

use ending::{Exchange, status_of};
use request_id::request_id;

pub(in crate::proxy) use presented::present;

/// The gateway as Pingora sees it; one for each kind of listener.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The configuration in use.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For a collector; `None` where the environment names none.
    pub traces: Option<Traces>,
    /// What is served here.
    pub part: Part,
    /// How long a client is waited for.
    pub patience: Patience,
}

/// One request on its way.
#[derive(Debug)]
pub struct RequestState {
    snapshot: Arc<Snapshot>,
    request_id: Arc<str>,
    started: Instant,
    /// `None` when the answer goes on without Pingora.
    in_flight: Option<InFlight>,
    /// Set when something was decided: for the log.
    decision: &'static str,
    context: Option<RequestContext>,
    forward: Option<Box<Forward>>,
    style: Style,
    /// Of a request that was read, where traces are exported.
    trace: Option<RequestTrace>,
}

/// A request that goes to an upstream.
#[derive(Debug)]
struct Forward {
    at: At,
    client: ClientAddress,
    secure: bool,
    authority: String,
    port: u16,
    path_and_query: Option<String>,
    upstream_host: Option<String>,
    path_prefix: Option<String>,
    lease: Option<Lease>,
    /// When the upstream was chosen, until its answer begins.
    asked: Option<Instant>,
    /// For all of the exchange.
    limit: Option<Duration>,
    /// A WebSocket: what follows the head is no body.
    upgrades: bool,
    /// Bytes of the body so far.
    received: u64,
    identity: Option<Arc<Outgoing>>,
    session: Option<Arc<CachedSession>>,
}

/// What examining a request came to.
enum Verdict {
    Forward(Box<Forward>),
    Answer(Response<Body>),
    Portal(String),
}

#[async_trait]
impl ProxyHttp for Hooks {
    /// On the heap: Pingora moves it through a dozen futures, each of which has room for it.
    type CTX = Box<RequestState>;

    fn new_ctx(&self) -> Box<RequestState> {
        // The first that is heard of a request: its head was read.
        watch::head_arrived();
        Box::new(RequestState {
            snapshot: self.snapshot.load_full(),
            request_id: request_id(),
            started: Instant::now(),
            in_flight: Some(self.metrics.begin_request()),
            decision: "none",
            context: None,
            forward: None,
            style: Style::Json,
            trace: None,
        })
    }

    /// None: compression would allocate for every request, and nothing is compressed here.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<()> {
        // Off already for clients that want it so (HTTP/1.0, `Connection: close`), and while the gateway stops.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(self.patience.idle.as_secs()));
        }
        session.set_read_timeout(Some(self.patience.silence));
        session.set_write_timeout(Some(self.patience.silence));
        session.set_total_drain_timeout(Some(DRAIN));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        match self.examine(session, ctx).await {
            Verdict::Forward(forward) => {
                if forward.upgrades {
                    // Who only listens says nothing for long; what limits the silence of both is the upstream's.
                    session.set_read_timeout(None);
                }
                ctx.forward = Some(forward);
                Ok(false)
            }
            Verdict::Answer(response) => {
                self.write(session, ctx, response).await?;
                Ok(true)
            }
            Verdict::Portal(target) => {
                self.answer_portal(session, ctx, &target).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let Some(forward) = &mut ctx.forward else {
            return Error::e_explain(ErrorType::InternalError, "undecided");
        };
        let site = forward.at.site;
        let (Some(upstreams), Some(settings)) =
            (ctx.snapshot.upstreams.get(site), ctx.snapshot.settings.sites.get(site))
        else {
            return Error::e_explain(ErrorType::InternalError, "no such site");
        };
        let Some(chosen) = upstreams.choose(forward.client.address, forward.lease.as_ref()) else {
            return Error::e_explain(ErrorType::ConnectNoRoute, "no upstream has an address");
        };
        if let Some(trace) = &mut ctx.trace {
            trace.asks(&session.req_header().method, &chosen.host());
        }
        forward.upstream_host = (!settings.upstream.pass_host).then(|| chosen.host());
        forward.path_prefix = (!chosen.path_prefix.is_empty()).then(|| chosen.path_prefix.to_owned());
        forward.lease = Some(chosen.lease);
        forward.asked.get_or_insert_with(Instant::now);
        let mut peer = chosen.peer;
        if let Some(limit) = forward.limit {
            // Silence for the whole of it is an answer that comes too late, and is told as such.
            peer.options.read_timeout = peer.options.read_timeout.map(|silence| silence.min(limit));
        }
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(lease) = ctx.forward.as_ref().and_then(|forward| forward.lease.as_ref()) {
            lease.connected();
        }
        Ok(())
    }

    /// Nothing has been sent yet: another address may take the request, whatever its method.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(forward) = &ctx.forward {
            if let Some(lease) = &forward.lease {
                lease.refused();
            }
            let upstreams = ctx.snapshot.upstreams.get(forward.at.site);
            error.set_retry(upstreams.is_some_and(|upstreams| upstreams.has_choice()));
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let Some(forward) = &ctx.forward else {
            return Error::e_explain(ErrorType::InternalError, "undecided");
        };
        let snapshot = &ctx.snapshot;
        let prefixed = forward.path_prefix.as_ref().map(|prefix| {
            let target = forward
                .path_and_query
                .as_deref()
                .unwrap_or_else(|| target_of(session.req_header()));
            format!("{prefix}{target}")
        });
        Forwarding {
            managed: &snapshot.managed,
            own_cookies: &snapshot.own_cookies,
            allowed_headers: snapshot
                .settings
                .sites
                .get(forward.at.site)
                .map_or(&[], |site| &site.allowed_headers),
            client: &forward.client,
            client_headers: &session.req_header().headers,
            trusted: &snapshot.trusted,
            secure: forward.secure,
            host: &forward.authority,
            upstream_host: forward.upstream_host.as_deref(),
            port: forward.port,
            identity: forward.identity.as_deref(),
            request_id: &ctx.request_id,
            path_and_query: prefixed.as_deref().or(forward.path_and_query.as_deref()),
        }
        .apply(upstream_request)?;
        // Without traces of its own the gateway passes the client's on as they are.
        if let Some((parent, state)) = ctx.trace.as_ref().and_then(RequestTrace::headers) {
            upstream_request.insert_header("traceparent", parent)?;
            upstream_request.remove_header("tracestate");
            if let Some(state) = state {
                upstream_request.insert_header("tracestate", state)?;
            }
        }
        Ok(())
    }

    /// Counts a body that comes without a length, or with a false one.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let (Some(body), Some(forward)) = (body, &mut ctx.forward) else {
            return Ok(());
        };
        forward.received = forward.received.saturating_add(body.len() as u64);
        match body_limit(&ctx.snapshot, forward.at.site) {
            Some(limit) if forward.received > limit && !forward.upgrades => Err(Error::explain(
                ErrorType::HTTPStatus(413),
                "the request body is longer than request_body",
            )
            .into_down()),
            _ => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let Some(forward) = &mut ctx.forward else { return Ok(()) };
        if upstream_response.status == StatusCode::SWITCHING_PROTOCOLS && !forward.upgrades {
            // Nobody asked: what follows would be read as answers to the next requests of this client.
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a 101 that nobody asked for").into_up());
        }
        let snapshot = &ctx.snapshot;
        if upstream_response.status.is_informational() {
            // Browsers keep cookies of a 101, and some those of a 103.
            return Returning {
                managed: &snapshot.managed,
                own_cookies: &snapshot.own_cookies,
                needs_login: false,
                document: false,
                renewed: None,
                hsts: None,
            }
            .apply(upstream_response)
            .map(|_| ());
        }
        if let (Some(asked), Some(histogram)) = (forward.asked.take(), snapshot.upstream_durations.get(forward.at.site))
        {
            histogram.observe(asked.elapsed().as_secs_f64());
        }
        if let Some(trace) = &ctx.trace {
            trace.answered(upstream_response.status.as_u16());
        }
        let host = ctx.context.as_ref().map_or("", |context| &context.host);
        let by_cookie = forward.session.as_ref().filter(|cached| cached.bearer.is_none());
        let renewed = by_cookie.and_then(|cached| {
            let token = snapshot.registry.renew(&cached.session, host)?;
            let now = snapshot.portal.inner().login.clock.now();
            Some(snapshot.names.set_session(token, cached.session.expires_at - now))
        });
        Returning {
            managed: &snapshot.managed,
            own_cookies: &snapshot.own_cookies,
            needs_login: snapshot.needs_login(forward.at),
            document: ctx.style == Style::Page,
            renewed: renewed.as_deref(),
            hsts: snapshot.hsts.as_ref().filter(|_| forward.secure),
        }
        .apply(upstream_response)?;
        if session.req_header().version == Version::HTTP_10 {
            // Chunks are unknown to it: the body ends with the connection (RFC 9112 §6.1).
            upstream_response.remove_header(&header::TRANSFER_ENCODING);
        }
        upstream_response.insert_header("X-Request-Id", &*ctx.request_id)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        let (code, reuse) = match failure(error) {
            Some(code) => (code, false),
            None => {
                return FailToProxy {
                    error_code: 0,
                    can_reuse_downstream: false,
                };
            }
        };
        if ctx.forward.is_some() && code.status().is_server_error() {
            self.metrics.upstream_failed(code.as_str());
        }
        let status = code.status().as_u16();
        if session.response_written().is_some() {
            return FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            };
        }
        // As decided on: the raw one could be an address of another host (`//…`).
        let normalised = ctx.forward.as_ref().and_then(|forward| forward.path_and_query.clone());
        let target = normalised.unwrap_or_else(|| target_of(session.req_header()).to_owned());
        let headers = session.req_header().headers.clone();
        let context = ctx.context.clone().unwrap_or_else(|| unknown_context(&ctx.request_id));
        let portal = ctx.snapshot.portal.inner();
        let response = portal.refuse(&context, &headers, ctx.style, &code.into(), &target);
        if let Err(error) = self.write(session, ctx, response).await {
            info!(request_id = &*ctx.request_id, %error, "error page not written");
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: reuse,
        }
    }

    /// Method and path: a query may hold codes and tokens.
    fn request_summary(&self, session: &Session, ctx: &Self::CTX) -> String {
        let head = session.req_header();
        let path = ctx.without_scene(head.uri.path());
        format!("{} {path} ({})", head.method, ctx.request_id)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        // An answer that goes on is not over yet, and has taken the session with it.
        if ctx.in_flight.is_none() {
            return;
        }
        let trace = ctx.trace.take();
        let head = session.req_header();
        let exchange = Exchange {
            method: &head.method,
            path: &ctx.without_scene(head.uri.path()),
            status: status_of(session),
            bytes: session.body_bytes_sent(),
            error: error.map(|error| error.etype().as_str()),
        };
        ctx.end(&self.metrics, trace, &exchange);
    }
}

impl Hooks {
    async fn answer_portal(&self, session: &mut Session, ctx: &mut Box<RequestState>, target: &str) -> Result<()> {
        let Some(context) = ctx.context.clone() else {
            return Error::e_explain(ErrorType::InternalError, "undecided");
        };
        let portal = ctx.snapshot.portal.clone();
        let mut response = match bridge::read_request(session, target, self.patience.body).await? {
            Ok(request) => traces::within(ctx.trace.as_ref(), portal.answer(context.clone(), request)).await,
            Err(code) => {
                let headers = session.req_header().headers.clone();
                portal
                    .inner()
                    .refuse(&context, &headers, ctx.style, &code.into(), target)
            }
        };
        if context.dead_session && !response.headers().contains_key(header::SET_COOKIE) {
            set_cookies(response.headers_mut(), &[ctx.snapshot.names.clear_session()]);
        }
        self.write(session, ctx, response).await
    }

    /// Every answer of Menshen's own goes out here.
    async fn write(
        &self,
        session: &mut Session,
        ctx: &mut Box<RequestState>,
        mut response: Response<Body>,
    ) -> Result<()> {
        if let Some(hsts) = &ctx.snapshot.hsts
            && ctx.context.as_ref().is_some_and(|context| context.secure)
        {
            let headers = response.headers_mut();
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        if let Some(endless) = bridge::write_response(session, response).await? {
            self.go_on(session, ctx, endless).await;
        }
        Ok(())
    }
}

fn target_of(request: &RequestHeader) -> &str {
    request
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
}

/// What a page of this kind reads while nothing is known about its request.
fn unknown_context(request_id: &Arc<str>) -> RequestContext {
    RequestContext {
        request_id: Arc::clone(request_id),
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        limit_key: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        host: String::new(),
        port: None,
        secure: false,
        site: None,
        public_host: false,
        same_origin: false,
        session: None,
        bearer: Bearer::None,
        dead_session: false,
        session_in_doubt: false,
        cookies: OwnCookieValues::default(),
    }
}

/// Most bytes of a body for a site; `None`: no limit.
fn body_limit(snapshot: &Snapshot, site: usize) -> Option<u64> {
    snapshot.settings.sites.get(site)?.request_body
}

/// What the client is told about a failed exchange; `None` when it is gone and told nothing.
fn failure(error: &Error) -> Option<Code> {
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::HTTPStatus(400) | ErrorType::InvalidHTTPHeader) => Some(Code::BadRequest),
        (ErrorSource::Downstream, ErrorType::HTTPStatus(413)) => Some(Code::TooLarge),
        (ErrorSource::Downstream, _) => None,
        (_, ErrorType::HTTPStatus(413)) => Some(Code::TooLarge),
        (_, ErrorType::HTTPStatus(400)) => Some(Code::BadRequest),
        (_, ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
            Some(Code::UpstreamTimeout)
        }
        (
            _,
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert,
        ) => Some(Code::UpstreamUnavailable),
        _ => Some(Code::UpstreamFailed),
    }
}

const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);
