//! What a decision comes to: something to write, or something to forward.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode, header};
use pingora::http::RequestHeader;
use tracing::warn;

use super::answers::{https_redirect, login_address, login_required, preflight_answer, verification_file};
use super::{Forward, Hooks, RequestState, Verdict, body_limit};
use crate::gate::decide::{At, Decision, Unauthorized};
use crate::gate::headers::Headers;
use crate::gate::request_class::{Class, mints_ticket};
use crate::portal::code::Code;
use crate::portal::context::{Bearer, RequestContext};
use crate::portal::login_page::set_cookies;
use crate::portal::problem::{Problem, Style};
use crate::proxy::admission::Admitted;
use crate::proxy::watch;
use crate::telemetry::traces;

impl Hooks {
    /// Turns a decision into something to write or to forward.
    pub(super) async fn apply(
        &self,
        ctx: &mut RequestState,
        request: &RequestHeader,
        admitted: &Admitted<'_>,
        mut context: RequestContext,
        decision: Decision,
    ) -> Verdict {
        let snapshot = Arc::clone(&ctx.snapshot);
        let portal = snapshot.portal.inner();
        ctx.decision = decision.name();
        let target = || admitted.target.path_and_query();
        let refuse = |context: &RequestContext, style: Style, problem: Problem| {
            Verdict::Answer(portal.refuse(context, &request.headers, style, &problem, &target()))
        };
        let verdict = match decision {
            Decision::Forward { at, identified } => {
                context.site = Some(at.site);
                if let Some(limit) = body_limit(&snapshot, at.site)
                    && declares_more(&admitted.headers, limit)
                {
                    refuse(&context, ctx.style, Code::TooLarge.into())
                } else {
                    self.forward(ctx, request, admitted, &context, at, identified)
                }
            }
            Decision::Preflight { at, origin } => {
                context.site = Some(at.site);
                Verdict::Answer(portal.finish(&context, preflight_answer(request, &origin)))
            }
            Decision::LoginPage { at } => {
                context.site = Some(at.site);
                if mints_ticket(&request.method, admitted.class) {
                    let target = target();
                    let page = portal.login_in_place(&context, &request.headers, admitted.class, &target);
                    match traces::within(ctx.trace.as_ref(), page).await {
                        Ok(response) => Verdict::Answer(portal.finish(&context, response)),
                        Err(problem) => refuse(&context, Style::Page, problem),
                    }
                } else {
                    refuse(&context, ctx.style, login_required(&target(), None))
                }
            }
            Decision::LoginRedirect { at } => {
                context.site = Some(at.site);
                let location = login_address(&target());
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::FOUND;
                if let Ok(value) = location.try_into() {
                    response.headers_mut().insert(header::LOCATION, value);
                }
                Verdict::Answer(portal.finish(&context, response))
            }
            Decision::Unauthorized {
                at,
                reason,
                cors_origin,
            } => {
                context.site = Some(at.site);
                let problem = match reason {
                    Unauthorized::LoginRequired => login_required(&target(), cors_origin),
                    Unauthorized::TokenInvalid | Unauthorized::TokenForOtherSites => Problem {
                        cors_origin,
                        ..context.token_problem()
                    },
                };
                refuse(&context, Style::Json, problem)
            }
            Decision::GrpcUnauthenticated { at } => {
                context.site = Some(at.site);
                let problem = match context.bearer {
                    Bearer::None => Code::LoginRequired.into(),
                    // One that holds, too: over plain HTTP, or for another site, it is none.
                    _ => context.token_problem(),
                };
                refuse(&context, Style::Grpc, problem)
            }
            Decision::Forbidden { at, cors_origin, .. } => {
                context.site = Some(at.site);
                refuse(
                    &context,
                    ctx.style,
                    Problem {
                        cors_origin,
                        ..Code::Forbidden.into()
                    },
                )
            }
            Decision::CrossOrigin { at } => {
                context.site = Some(at.site);
                refuse(&context, ctx.style, Code::CrossOrigin.into())
            }
            Decision::Unavailable { at } => {
                context.site = Some(at.site);
                let code = if snapshot.registry.is_ready() {
                    Code::StoreUnavailable
                } else {
                    Code::NotReady
                };
                refuse(&context, ctx.style, code.into())
            }
            Decision::SecureRedirect { at } => {
                context.site = Some(at.site);
                Verdict::Answer(https_redirect(&snapshot, &context, admitted))
            }
            Decision::Portal {
                site,
                public_host,
                downgraded,
            } => {
                context.site = site;
                context.public_host = public_host;
                if downgraded {
                    Verdict::Answer(https_redirect(&snapshot, &context, admitted))
                } else {
                    Verdict::Portal(target().into_owned())
                }
            }
            Decision::VerificationFile { name } => Verdict::Answer(verification_file(&snapshot, &context, &name)),
            Decision::Landing => Verdict::Answer(portal.landing(&context, &request.headers)),
            Decision::Start => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SEE_OTHER;
                let login = http::HeaderValue::from_static("/.menshen/login");
                response.headers_mut().insert(header::LOCATION, login);
                Verdict::Answer(portal.finish(&context, response))
            }
            Decision::NotFound => refuse(&context, ctx.style, Code::NotFound.into()),
            Decision::UnknownHost => refuse(&context, ctx.style, Code::UnknownHost.into()),
            Decision::Ambiguous => refuse(&context, ctx.style, Code::BadRequest.into()),
        };
        let verdict = match verdict {
            Verdict::Answer(mut response) if context.dead_session && ctx.decision != "portal" => {
                if !response.headers().contains_key(header::SET_COOKIE) {
                    set_cookies(response.headers_mut(), &[snapshot.names.clear_session()]);
                }
                Verdict::Answer(response)
            }
            verdict => verdict,
        };
        ctx.context = Some(context);
        verdict
    }

    fn forward(
        &self,
        ctx: &RequestState,
        request: &RequestHeader,
        admitted: &Admitted<'_>,
        context: &RequestContext,
        at: At,
        identified: bool,
    ) -> Verdict {
        let snapshot = &ctx.snapshot;
        let session = context.identity().cloned().filter(|_| identified);
        let identity = match (&session, snapshot.plans.get(at.site)) {
            (Some(cached), Some(plan)) => {
                let keys = &snapshot.keyring.signing;
                match snapshot
                    .registry
                    .outgoing(cached, at.site, snapshot.generation, plan, keys)
                {
                    Ok(outgoing) => Some(outgoing),
                    Err(error) => {
                        warn!(request_id = &*ctx.request_id, %error, "no assertion, request refused");
                        let problem = Code::NotReady.into();
                        let portal = snapshot.portal.inner();
                        let target = admitted.target.path_and_query();
                        return Verdict::Answer(portal.refuse(context, &request.headers, ctx.style, &problem, &target));
                    }
                }
            }
            _ => None,
        };
        let endless = is_endless(&admitted.headers, admitted.class);
        let site = snapshot.settings.sites.get(at.site);
        let limit = site.and_then(|site| site.upstream.total_timeout).filter(|_| !endless);
        if let Some(limit) = limit {
            watch::lasts_at_most(limit);
        }
        if let Some(cached) = &session {
            let (registry, cached) = (Arc::clone(&snapshot.registry), Arc::clone(cached));
            let since = snapshot.portal.inner().login.clock.now();
            watch::lives_while(move || {
                registry.still_holds(&cached) && (!endless || registry.still_the_same(&cached, since))
            });
        }
        let target = &admitted.target;
        let rewritten = (!target.is(request.raw_path())).then(|| target.path_and_query().into_owned());
        Verdict::Forward(Box::new(Forward {
            at,
            client: admitted.client,
            secure: admitted.secure,
            authority: context.authority(),
            port: context.port.unwrap_or(if admitted.secure { 443 } else { 80 }),
            path_and_query: rewritten,
            upstream_host: None,
            path_prefix: None,
            lease: None,
            asked: None,
            limit,
            upgrades: admitted.class == Class::WebSocket,
            received: 0,
            identity,
            session,
        }))
    }
}

fn declares_more(headers: &Headers<'_>, limit: u64) -> bool {
    let declared = headers
        .get(&header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    declared.is_some_and(|length| length > limit)
}

/// A WebSocket or an event stream: it ends only when somebody ends it.
fn is_endless(headers: &Headers<'_>, class: Class) -> bool {
    class == Class::WebSocket
        || headers
            .get(&header::ACCEPT)
            .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}
