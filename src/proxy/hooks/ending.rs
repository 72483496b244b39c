//! The end of an exchange: counted, logged, traced. It comes when Pingora says so, or later: an answer without an end
//! goes on after Pingora is through with the request.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use pingora::proxy::Session;
use tracing::info;

use super::{Hooks, RequestState};
use crate::portal::context::{OwnCookieValues, RequestContext};
use crate::proxy::bridge::Endless;
use crate::proxy::ongoing::Ongoing;
use crate::proxy::watch;
use crate::telemetry::audit::ticket_hash;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Answered, RequestTrace};

/// What is told about a request when it is over.
pub(super) struct Exchange<'a> {
    pub(super) method: &'a Method,
    /// Without what a scene could be read from.
    pub(super) path: &'a str,
    pub(super) status: u16,
    /// Of the body.
    pub(super) bytes: usize,
    /// Where it broke off, how.
    pub(super) error: Option<&'a str>,
}

impl Hooks {
    /// An answer without an end, when its head is written: Pingora is done with it.
    pub(super) async fn go_on(&self, session: &mut Session, ctx: &mut Box<RequestState>, endless: Endless) {
        let head = session.req_header();
        let method = head.method.clone();
        let path = ctx.without_scene(head.uri.path()).into_owned();
        let status = status_of(session);
        let left = Box::new(ctx.left());
        let mut ctx = std::mem::replace(ctx, left);
        if let Some(context) = &mut ctx.context {
            context.cookies = OwnCookieValues::default();
        }
        let metrics = Arc::clone(&self.metrics);
        let ongoing = Ongoing::take(session, endless, self.patience.silence);
        watch::goes_on(Box::pin(async move {
            let ended = ongoing.run().await;
            let exchange = Exchange {
                method: &method,
                path: &path,
                status,
                bytes: ended.bytes,
                error: ended.error,
            };
            let trace = ctx.trace.take();
            ctx.end(&metrics, trace, &exchange);
        }))
        .await;
    }
}

impl RequestState {
    /// What Pingora still holds of a request whose answer goes on without it.
    fn left(&self) -> Self {
        Self {
            snapshot: Arc::clone(&self.snapshot),
            request_id: Arc::clone(&self.request_id),
            started: self.started,
            in_flight: None,
            decision: self.decision,
            context: None,
            forward: None,
            style: self.style,
            trace: None,
        }
    }

    /// Counts and logs.
    pub(super) fn end(&self, metrics: &Metrics, trace: Option<RequestTrace>, exchange: &Exchange<'_>) {
        let &Exchange {
            method,
            path,
            status,
            bytes,
            error,
        } = exchange;
        let elapsed = self.started.elapsed();
        metrics.end_request(self.decision, status, self.forward.is_some(), elapsed);
        let site = self
            .forward
            .as_ref()
            .map(|forward| forward.at.site)
            .or(self.context.as_ref().and_then(|context| context.site));
        let site = site
            .and_then(|site| self.snapshot.settings.sites.get(site))
            .map(|site| &*site.name);
        let user = self.context.as_ref().and_then(RequestContext::identity);
        let user = user.map(|user| &*user.session.person.id);
        let trace_id = trace.and_then(|mut trace| {
            trace.end(&Answered {
                status,
                decision: self.decision,
                site,
                user,
                error,
            });
            trace.id()
        });
        info!(
            target: "access",
            request_id = &*self.request_id,
            client = self.context.as_ref().map(|context| context.address.to_string()),
            host = self.context.as_ref().map(|context| &*context.host),
            method = method.as_str(),
            path,
            status,
            decision = self.decision,
            site,
            user,
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            bytes,
            error,
            trace_id,
        );
    }

    /// A path for the log: a ticket is named by the hash that the audit has, since whoever reads its scene could still
    /// scan it, or end it. An application's ticket, which holds a scene and hides it, is left out.
    pub(super) fn without_scene<'p>(&self, path: &'p str) -> Cow<'p, str> {
        if path.starts_with(APP_TICKETS) {
            return Cow::Borrowed(APP_TICKETS);
        }
        let scenes = &self.snapshot.keyring.scenes;
        match path.split('/').find(|segment| scenes.check(segment).is_ok()) {
            Some(scene) => Cow::Owned(path.replace(scene, &ticket_hash(scene))),
            None => Cow::Borrowed(path),
        }
    }
}

/// 0 while no head was written.
pub(super) fn status_of(session: &Session) -> u16 {
    session
        .response_written()
        .map_or(0, |response| response.status.as_u16())
}

/// Sealed tickets are below.
const APP_TICKETS: &str = "/.menshen/app/tickets/";
