//! Push to the waiting page: server-sent events, one `status` for every change.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::config::settings::Locale;
use crate::login::browser::Watched;
use crate::login::limits::StreamPlace;
use crate::login::waiters::Waiter;
use crate::portal::Inner;
use crate::portal::context::{RequestContext, locale};
use crate::portal::problem::Problem;
use crate::portal::tickets::StatusObject;

/// `GET /.menshen/tickets/ID/events`. Too many streams of one address, or looks at one ticket: 204, which tells the page to poll.
pub(super) async fn stream(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response<axum::body::Body>, Problem> {
    let watched = portal.login.watch(&id, context.ticket_cookies())?;
    let limits = &portal.login.limits;
    let place = limits
        .poll(&watched.scene)
        .ok()
        .and_then(|()| limits.stream(context.limit_key));
    let Some(place) = place else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let locale = locale(&headers, portal.settings.branding.locale);
    let watch = Watch {
        waiter: portal.login.wait(&watched),
        portal,
        watched,
        locale,
        last: None,
        expires: Instant::now(),
        done: false,
        _place: place,
    };
    let events = Sse::new(stream::unfold(watch, Watch::next)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    let mut response = events.into_response();
    // axum's own `no-cache` would let a proxy keep what a ticket's cookie alone may see.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx in front would hold small events back.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

struct Watch {
    portal: Arc<Inner>,
    watched: Watched,
    waiter: Waiter,
    locale: Locale,
    last: Option<String>,
    expires: Instant,
    done: bool,
    _place: StreamPlace,
}

impl Watch {
    /// The next event that says something new; the end after the last one.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.done {
            return None;
        }
        loop {
            if self.last.is_some() {
                // The page comes back to another node, or to the next process.
                if self.portal.login.waiters.is_closed() {
                    return None;
                }
                // Woken by a change, here or at another node, or by the end of the present waiting.
                let _ = timeout_at(self.expires, self.waiter.changed()).await;
            }
            // On the heap, since it is not asked for most of the time.
            let view = match Box::pin(self.portal.login.status(&self.watched)).await {
                Ok(view) => view,
                Err(error) => {
                    warn!(%error, "status of a waiting page not read");
                    // The stream ends; the page falls back to asking, and is told the reason there.
                    return None;
                }
            };
            self.expires = Instant::now() + Duration::from_secs(view.expires_in.max(1).unsigned_abs());
            self.done = matches!(view.status, "redeemed" | "cancelled" | "expired" | "failed");
            let key = format!("{}{:?}{:?}{}", view.status, view.number, view.user, view.other_user);
            if self.last.as_ref() == Some(&key) {
                continue;
            }
            self.last = Some(key);
            let json = serde_json::to_string(&StatusObject::of(&view, self.locale)).unwrap_or_default();
            return Some((Ok(Event::default().event("status").data(json)), self));
        }
    }
}

/// Below the idle limits of proxies and phone networks.
const HEARTBEAT: Duration = Duration::from_secs(15);
