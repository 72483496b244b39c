//! The operator's listener: probes, metrics and public keys, on loopback or an address that only the operator reaches.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tracing::{error, info};

use crate::proxy::resources::Resources;
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::metrics::{Moment, RestingCall};

/// A running operator's listener. It ends with the process, so that it says until then that this one is not ready.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    accepting: AbortHandle,
}

/// What a gateway can be asked.
#[derive(Debug, Clone)]
pub struct Status {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) resources: Arc<Resources>,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("server.admin_listen: cannot listen on {address}: {source}")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
    /// Nothing that another node could do better, and still somebody's business.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resting: Vec<RestingCall>,
}

impl Admin {
    /// Listens, and serves nothing yet.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn bind(address: SocketAddr) -> Result<std::net::TcpListener, AdminError> {
        let listener = TcpListener::bind(address).await.and_then(TcpListener::into_std);
        listener.map_err(|source| AdminError { address, source })
    }

    /// Serves at a socket that listens already.
    ///
    /// # Errors
    /// When it is none, or descriptors run out.
    pub fn serve(listener: std::net::TcpListener, status: Status) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let router = Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/jwks.json", get(jwks))
            .with_state(status);
        let accepting = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        info!(%address, "operator's listener");
        Ok(Self { address, accepting })
    }

    /// Accepts no more: the socket has another owner, and this process would answer questions about that one.
    pub fn hand_over(self) {
        self.accepting.abort();
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Status {
    /// Why requests should go elsewhere; empty when this node is ready: revocations are known, the store answers, and no
    /// stop was announced.
    pub async fn reasons_against(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if self.resources.is_stopping() {
            reasons.push("stopping");
        }
        if !self.snapshot.load().registry.is_ready() {
            reasons.push("revocations_unknown");
        }
        if self.resources.store.ping().await.is_err() {
            reasons.push("store_unavailable");
        }
        reasons
    }

    /// The calls of WeChat that are not made for a while, because WeChat refuses this installation.
    pub fn resting(&self) -> Vec<RestingCall> {
        self.snapshot.load().portal.inner().login.resting_calls()
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Prometheus's own: a bug.
    pub fn metrics(&self) -> Result<String, prometheus::Error> {
        let snapshot = self.snapshot.load();
        self.resources.metrics.text(&Moment {
            waiting_streams: snapshot.portal.inner().login.limits.waiting_streams(),
            revocations_fresh: snapshot.registry.is_ready(),
            audit_unrecorded: self.resources.auditor.unrecorded(),
            resting: self.resting(),
        })
    }
}

async fn ready(State(status): State<Status>) -> Response {
    let reasons = status.reasons_against().await;
    let (ready, resting) = (reasons.is_empty(), status.resting());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(header::CACHE_CONTROL, "no-store")],
        Json(Readiness {
            ready,
            reasons,
            resting,
        }),
    )
        .into_response()
}

async fn metrics(State(status): State<Status>) -> Response {
    match status.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "metrics not written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn jwks(State(status): State<Status>) -> Response {
    Json(status.snapshot.load().keyring.signing.jwks()).into_response()
}
