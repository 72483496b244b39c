//! Reading a request and deciding about it; nothing is written to the client yet.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderName, StatusCode, Version, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tracing::info;

use super::answers::https_redirect;
use super::{Hooks, RequestState, Verdict, present, unknown_context};
use crate::gate::decide::{Decision, RequestView, decide};
use crate::gate::headers::Headers;
use crate::gate::origin::{is_same_origin_call, origin};
use crate::gate::request_class::preflight_for;
use crate::portal::code::Code;
use crate::portal::context::{Bearer, OwnCookieValues, RequestContext};
use crate::portal::problem::Style;
use crate::proxy::admission::{Admitted, Head, Refusal};
use crate::proxy::cookies::{self, Found};
use crate::proxy::forward_auth;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tls::Handshake;
use crate::telemetry::traces::{Asked, RequestTrace};

impl Hooks {
    /// Reads the request and decides; nothing is written to the client yet.
    pub(super) async fn examine(&self, session: &Session, ctx: &mut RequestState) -> Verdict {
        let snapshot = Arc::clone(&ctx.snapshot);
        let request = session.req_header();
        let raw = (request.version < Version::HTTP_2).then(|| session.as_downstream().to_h1_raw());
        let head = Head {
            method: &request.method,
            version: request.version,
            target: request.raw_path(),
            authority: request.uri.authority().map(http::uri::Authority::as_str),
            headers: &request.headers,
            raw: raw.as_deref(),
            peer: peer(session),
            tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        };
        let admitted = match Admitted::read(&head, &snapshot.trusted, &snapshot.head_limits) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse_unread(session, ctx, &head, &refusal),
        };
        ctx.style = admitted.class.into();
        ctx.request_id = Self::request_id(ctx, &admitted);
        let mut context = Self::context(ctx, &admitted);
        ctx.trace = self.begin_trace(ctx, request, &context, admitted.client.peer_trusted);
        if let Some(status) = self.not_served(session, &snapshot, &admitted) {
            ctx.decision = "unknown_host";
            let target = admitted.target.path_and_query();
            let problem = Code::UnknownHost.into();
            let portal = snapshot.portal.inner();
            let mut response = portal.refuse(&context, &request.headers, ctx.style, &problem, &target);
            if ctx.style != Style::Grpc {
                *response.status_mut() = status;
            }
            ctx.context = Some(context);
            return Verdict::Answer(response);
        }
        if forward_auth::is_question(&admitted.target) {
            Self::complete(&mut context, &snapshot, request);
            // Whatever host it is asked at: outer proxies use the address that they know.
            let verified = forward_auth::verify(&snapshot, request, &admitted, context).await;
            ctx.decision = verified.decision;
            ctx.context = Some(verified.context);
            return Verdict::Answer(verified.response);
        }
        let presented = present(&snapshot, &admitted.headers, &context).await;
        let preflight = preflight_for(&request.method, &admitted.headers);
        let decision = decide(
            &RequestView {
                method: &request.method,
                host: &context.host,
                port: context.port,
                secure: admitted.secure,
                certified: !admitted.secure && snapshot.certificates.cover(&context.host),
                path: &admitted.target.path,
                class: admitted.class,
                origin: origin(&admitted.headers),
                preflight_for: preflight.as_ref(),
                client: admitted.client.for_rules(),
            },
            &snapshot.gate,
            &presented.credential(),
        );
        presented.tell(&mut context);
        if !matches!(decision, Decision::Forward { .. }) {
            Self::complete(&mut context, &snapshot, request);
        }
        if self.part.redirect_to_https && !admitted.secure {
            ctx.decision = "https_redirect";
            ctx.context = Some(context.clone());
            return Verdict::Answer(https_redirect(&snapshot, &context, &admitted));
        }
        self.apply(ctx, request, &admitted, context, decision).await
    }

    /// The trace of a request, where traces are exported.
    fn begin_trace(
        &self,
        ctx: &RequestState,
        request: &RequestHeader,
        context: &RequestContext,
        peer_trusted: bool,
    ) -> Option<RequestTrace> {
        let traces = self.traces.as_ref()?;
        let asked = Asked {
            method: &request.method,
            path: &ctx.without_scene(request.uri.path()),
            secure: context.secure,
            host: &context.host,
            port: context.port,
            client: &context.address.to_string(),
            version: match request.version {
                Version::HTTP_09 | Version::HTTP_10 => "1.0",
                Version::HTTP_11 => "1.1",
                _ => "2",
            },
            request_id: &context.request_id,
        };
        Some(traces.begin(&asked, peer_trusted.then_some(&request.headers), ctx.started.elapsed()))
    }

    /// The status for a host that this listener, or this connection, is not for.
    fn not_served(&self, session: &Session, snapshot: &Snapshot, admitted: &Admitted<'_>) -> Option<StatusCode> {
        let host = &*admitted.authority.host;
        if self.part.public_url_only && !snapshot.gate.is_public_host(host) {
            return Some(StatusCode::NOT_FOUND);
        }
        // The server name of a trusted proxy is its own choice, and says nothing about the client's.
        let tls = session.digest()?.ssl_digest.as_ref()?;
        let handshake = tls
            .extension
            .get::<Handshake>()
            .filter(|_| !admitted.client.peer_trusted)?;
        let misdirected =
            handshake.name() != host && snapshot.gate.are_apart(handshake.name(), host) && !handshake.covers(host);
        misdirected.then_some(StatusCode::MISDIRECTED_REQUEST)
    }

    /// What everybody needs to know; the decision adds the site, [`Self::complete`] what is for the portal.
    fn context(ctx: &RequestState, admitted: &Admitted<'_>) -> RequestContext {
        RequestContext {
            request_id: Arc::clone(&ctx.request_id),
            address: admitted.client.address,
            limit_key: admitted.client.limit_key(),
            port: admitted.authority.port,
            secure: admitted.secure,
            site: None,
            public_host: false,
            same_origin: false,
            session: None,
            bearer: Bearer::None,
            dead_session: false,
            session_in_doubt: false,
            cookies: OwnCookieValues::default(),
            host: admitted.authority.host.clone().into_owned(),
        }
    }

    /// Reads what only the portal asks for: a request that is forwarded does without.
    fn complete(context: &mut RequestContext, snapshot: &Snapshot, request: &RequestHeader) {
        let names = &snapshot.names;
        let one = |name: &str| match cookies::find(&request.headers, name.as_bytes()) {
            Found::Value(value) => Some(value.to_vec()),
            Found::Absent | Found::Conflict => None,
        };
        context.cookies = OwnCookieValues {
            ticket: one(&names.ticket),
            browser: one(&names.browser),
            last_user: one(&names.last_user),
            handoff: one(&names.handoff),
        };
        context.same_origin = is_same_origin_call(&Headers::of(&request.headers), &context.own_origin());
    }

    /// A trusted peer's id where it has the form of one, else our own.
    fn request_id(ctx: &RequestState, admitted: &Admitted<'_>) -> Arc<str> {
        let trusted = admitted.client.peer_trusted.then_some(&admitted.headers);
        let sent = trusted.and_then(|headers| headers.get(&X_REQUEST_ID)?.to_str().ok());
        match sent {
            Some(id) if is_request_id(id) => Arc::from(id),
            _ => Arc::clone(&ctx.request_id),
        }
    }

    fn refuse_unread(&self, session: &Session, ctx: &mut RequestState, head: &Head<'_>, refusal: &Refusal) -> Verdict {
        ctx.decision = "refused";
        info!(
            request_id = &*ctx.request_id,
            reason = &*refusal.reason,
            "request refused"
        );
        let mut context = unknown_context(&ctx.request_id);
        context.address = head.peer;
        context.limit_key = head.peer;
        // What was not understood continues nothing.
        ctx.trace = self.begin_trace(ctx, session.req_header(), &context, false);
        let portal = ctx.snapshot.portal.inner();
        let mut response = portal.refuse(
            &context,
            &session.req_header().headers,
            Style::Json,
            &refusal.code.into(),
            "/",
        );
        if refusal.closes {
            response
                .headers_mut()
                .insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        ctx.context = Some(context);
        Verdict::Answer(response)
    }
}

fn peer(session: &Session) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), std::net::SocketAddr::ip)
}

fn is_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
