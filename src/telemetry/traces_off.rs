//! A build without the feature `otel`: the same calls, none of which does anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use tracing::warn;

use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::Metrics;

/// Never made.
#[derive(Debug, Clone)]
pub struct Traces(Infallible);

/// Never made.
#[derive(Debug)]
pub struct RequestTrace(Infallible);

/// What is known about a request when it has been read.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub secure: bool,
    pub host: &'a str,
    pub port: Option<u16>,
    pub client: &'a str,
    pub version: &'static str,
    pub request_id: &'a str,
}

/// What is known when it is over.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Answered<'a> {
    pub status: u16,
    pub decision: &'static str,
    pub site: Option<&'a str>,
    pub user: Option<&'a str>,
    pub error: Option<&'a str>,
}

impl Traces {
    /// Says that this build exports none, where the environment asks for them.
    #[must_use]
    pub fn start(_metrics: Arc<Metrics>) -> Option<Self> {
        let asked = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
            .into_iter()
            .any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()));
        if asked {
            warn!("this build exports no traces: it was made without the feature otel");
        }
        None
    }

    /// Cannot be called.
    #[allow(clippy::unused_async)]
    pub async fn close(&self, _within: Duration) {
        match self.0 {}
    }

    /// Cannot be called.
    #[must_use]
    pub fn begin(&self, _asked: &Asked<'_>, _trusted: Option<&HeaderMap>, _elapsed: Duration) -> RequestTrace {
        match self.0 {}
    }
}

impl RequestTrace {
    /// Cannot be called.
    pub fn asks(&mut self, _method: &Method, _authority: &str) {
        match self.0 {}
    }

    /// Cannot be called.
    #[must_use]
    pub fn headers(&self) -> Option<(String, Option<String>)> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn answered(&self, _status: u16) {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn end(&mut self, _answered: &Answered<'_>) {
        match self.0 {}
    }

    /// Cannot be called.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        match self.0 {}
    }
}

/// Does it.
pub async fn within<F: Future>(_trace: Option<&RequestTrace>, work: F) -> F::Output {
    work.await
}

/// Does it.
pub fn along<F: Future>(work: F) -> F {
    work
}

/// Does nothing.
pub fn wechat_called(_endpoint: &'static str, _outcome: &'static str, _errcode: Option<i64>, _elapsed: Duration) {}

/// Does nothing.
pub fn note(_event: &AuditEvent) {}
