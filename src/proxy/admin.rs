//! The operator's listener: probes and public keys, on loopback or an address that only the operator reaches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tracing::info;

use crate::proxy::snapshot::Snapshot;

/// A running operator's listener; ends with the process.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    draining: Arc<AtomicBool>,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("server.admin_listen: cannot listen on {address}: {source}")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

#[derive(Clone)]
struct Probes {
    snapshot: Arc<Snapshot>,
    draining: Arc<AtomicBool>,
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

impl Admin {
    /// Binds and serves.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn start(address: SocketAddr, snapshot: Arc<Snapshot>) -> Result<Self, AdminError> {
        let failed = |source| AdminError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let draining = Arc::new(AtomicBool::new(false));
        let router = Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(ready))
            .route("/jwks.json", get(jwks))
            .with_state(Probes {
                snapshot,
                draining: Arc::clone(&draining),
            });
        tokio::spawn(async move { axum::serve(listener, router).await });
        info!(%address, "operator's listener");
        Ok(Self { address, draining })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Not ready from now on: a stop has begun.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

/// Ready when requests can be decided: revocations are known, the store answers, and no stop has begun.
async fn ready(State(probes): State<Probes>) -> Response {
    let mut reasons = Vec::new();
    if probes.draining.load(Ordering::Acquire) {
        reasons.push("stopping");
    }
    if !probes.snapshot.registry.is_ready() {
        reasons.push("revocations_unknown");
    }
    if probes.snapshot.portal.inner().login.store.ping().await.is_err() {
        reasons.push("store_unavailable");
    }
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(header::CACHE_CONTROL, "no-store")],
        Json(Readiness { ready, reasons }),
    )
        .into_response()
}

async fn jwks(State(probes): State<Probes>) -> Response {
    Json(probes.snapshot.keyring.signing.jwks()).into_response()
}
