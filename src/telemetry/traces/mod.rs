//! Traces for an OpenTelemetry collector: a span for each request, one for what its upstream did, one for each call of
//! WeChat on the way.
//!
//! Off unless the environment names a collector (`environment`); then a request costs one comparison. Where it is on,
//! every forwarded request carries a `traceparent` whose parent is the span of the upstream's part, sampled or not: an
//! application that decides for itself would begin traces without a beginning. What is recorded, and exported in the
//! background (`export`), is what the sampler chose.
//!
//! A client's own `traceparent` is continued where the peer is a trusted proxy, and replaced where it is not: whoever may
//! name a trace can write into other people's, and have everything sampled (W3C Trace Context §4.1, security
//! considerations). Spans hold what the access log holds, and no query, header, cookie or body.

mod environment;
mod export;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, SpanRef, Status, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use reqwest::redirect::Policy;
use tracing::{info, warn};

use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::Metrics;
use environment::Environment;
use export::Closing;

/// Traces of one gateway. Clones share everything.
#[derive(Debug, Clone)]
pub struct Traces {
    tracer: SdkTracer,
    closing: Closing,
}

/// The trace of one request. What is not ended ends when it is dropped.
#[derive(Debug)]
pub struct RequestTrace {
    /// With the span of the whole request.
    server: Context,
    /// With the span of the upstream's part.
    client: Option<Context>,
}

/// What is known about a request when it has been read.
#[derive(Debug)]
pub struct Asked<'a> {
    /// As it came.
    pub method: &'a Method,
    /// Without its query, and without what a scene could be read from.
    pub path: &'a str,
    /// HTTPS between client and gateway, as far as is known.
    pub secure: bool,
    /// As the client calls it; empty where that was not to be found out.
    pub host: &'a str,
    /// The port that the client named.
    pub port: Option<u16>,
    /// Whose request it is.
    pub client: &'a str,
    /// `1.0`, `1.1`, `2`.
    pub version: &'static str,
    /// As the log has it.
    pub request_id: &'a str,
}

/// What is known when it is over.
#[derive(Debug)]
pub struct Answered<'a> {
    /// 0 when no answer was written.
    pub status: u16,
    /// As the access log has it.
    pub decision: &'static str,
    /// Name of the site.
    pub site: Option<&'a str>,
    /// Id of the user.
    pub user: Option<&'a str>,
    /// Where a connection broke, how.
    pub error: Option<&'a str>,
}

impl Traces {
    /// Where the environment names a collector. What is wrong there is said, and keeps no gateway from serving.
    #[must_use]
    pub fn start(metrics: Arc<Metrics>) -> Option<Self> {
        let limits = match Environment::read(|name| std::env::var(name).ok()) {
            Ok(limits) => limits?,
            Err(error) => {
                warn!(%error, "traces are not exported");
                return None;
            }
        };
        if let Some(sampler) = environment::unknown_sampler() {
            warn!(
                sampler,
                "OTEL_TRACES_SAMPLER is not known: parentbased_always_on is used"
            );
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("menshen/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .build()
            .map_err(|error| error.to_string());
        let exporter = client.and_then(|client| {
            let builder = SpanExporter::builder().with_http().with_http_client(client);
            builder.build().map_err(|error| error.to_string())
        });
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                warn!(error, "traces are not exported");
                return None;
            }
        };
        let resource = environment::resource();
        let (queue, closing) = export::start(exporter, &resource, limits, metrics);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        info!("traces are exported");
        Some(Self {
            tracer: provider.tracer("menshen"),
            closing,
        })
    }

    /// Sends what waits, and returns when that is done or the time is over.
    pub async fn close(&self, within: Duration) {
        self.closing.close(within).await;
    }

    /// Begins the trace of a request that began `elapsed` ago. `trusted` are the headers of a trusted peer, whose trace
    /// is continued.
    #[must_use]
    pub fn begin(&self, asked: &Asked<'_>, trusted: Option<&HeaderMap>, elapsed: Duration) -> RequestTrace {
        let parent = trusted.map_or_else(Context::new, |headers| {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming::of(headers))
        });
        let method = known_method(asked.method);
        let span = SpanBuilder::from_name(method.unwrap_or("HTTP"))
            .with_kind(SpanKind::Server)
            .with_start_time(SystemTime::now() - elapsed)
            .start_with_context(&self.tracer, &parent);
        let server = Context::new().with_value(self.clone()).with_span(span);
        describe(&server.span(), asked, method);
        RequestTrace { server, client: None }
    }

    fn child(&self, name: impl Into<std::borrow::Cow<'static, str>>, parent: &Context, elapsed: Duration) -> Context {
        let span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(SystemTime::now() - elapsed)
            .start_with_context(&self.tracer, parent);
        parent.with_span(span)
    }
}

impl RequestTrace {
    /// An upstream was chosen; a second time, since the first took no connection.
    pub fn asks(&mut self, method: &Method, authority: &str) {
        let client = self.client.get_or_insert_with(|| {
            let traces = self.server.get::<Traces>();
            let name = known_method(method).unwrap_or("HTTP");
            traces.map_or_else(Context::new, |traces| traces.child(name, &self.server, Duration::ZERO))
        });
        let span = client.span();
        if span.is_recording() {
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (host, port.parse::<i64>().ok())
                }
                _ => (authority, None),
            };
            span.set_attributes([
                KeyValue::new("http.request.method", known_method(method).unwrap_or("_OTHER")),
                KeyValue::new("server.address", host.trim_matches(['[', ']']).to_owned()),
            ]);
            if let Some(port) = port {
                span.set_attribute(KeyValue::new("server.port", port));
            }
        }
    }

    /// `traceparent` and `tracestate` for the upstream: its parent is the span of its own part.
    #[must_use]
    pub fn headers(&self) -> Option<(String, Option<String>)> {
        let client = self.client.as_ref()?;
        let span = client.span();
        let context = span.span_context();
        let flags = u8::from(context.is_sampled());
        let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
        let state = context.trace_state().header();
        context
            .is_valid()
            .then(|| (parent, (!state.is_empty()).then_some(state)))
    }

    /// The head of the upstream's answer came.
    pub fn answered(&self, status: u16) {
        let Some(client) = &self.client else { return };
        let span = client.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= 400 {
                span.set_attribute(KeyValue::new("error.type", status.to_string()));
                span.set_status(Status::error(""));
            }
        }
    }

    /// Everything is over.
    pub fn end(&mut self, answered: &Answered<'_>) {
        if let Some(client) = self.client.take() {
            let span = client.span();
            if let Some(error) = answered.error.filter(|_| span.is_recording()) {
                span.set_attribute(KeyValue::new("error.type", error.to_owned()));
                span.set_status(Status::error(""));
            }
            span.end();
        }
        let span = self.server.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("menshen.decision", answered.decision));
            if answered.status > 0 {
                span.set_attribute(KeyValue::new("http.response.status_code", i64::from(answered.status)));
            }
            if let Some(site) = answered.site {
                span.set_attribute(KeyValue::new("menshen.site", site.to_owned()));
            }
            if let Some(user) = answered.user {
                span.set_attribute(KeyValue::new("user.id", user.to_owned()));
            }
            let failed = (answered.status >= 500).then(|| answered.status.to_string());
            if let Some(error) = answered.error.map(str::to_owned).or(failed) {
                span.set_attribute(KeyValue::new("error.type", error));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }

    /// For the log: the trace that this request is found by, if it is recorded.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let span = self.server.span();
        let context = span.span_context();
        context.is_sampled().then(|| context.trace_id().to_string())
    }
}

/// What is known at the beginning, so that a request that is cut off is not nameless.
fn describe(span: &SpanRef<'_>, asked: &Asked<'_>, method: Option<&'static str>) {
    if !span.is_recording() {
        return;
    }
    span.set_attributes([
        KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
        KeyValue::new("url.path", asked.path.to_owned()),
        KeyValue::new("url.scheme", if asked.secure { "https" } else { "http" }),
        KeyValue::new("network.protocol.version", asked.version),
        KeyValue::new("client.address", asked.client.to_owned()),
        KeyValue::new("menshen.request_id", asked.request_id.to_owned()),
    ]);
    if !asked.host.is_empty() {
        span.set_attribute(KeyValue::new("server.address", asked.host.to_owned()));
    }
    if let Some(port) = asked.port {
        span.set_attribute(KeyValue::new("server.port", i64::from(port)));
    }
}

/// Does something as a part of a request: what is called or noted meanwhile belongs to its trace.
pub async fn within<F: Future>(trace: Option<&RequestTrace>, work: F) -> F::Output {
    let context = trace.map_or_else(Context::new, |trace| trace.server.clone());
    work.with_context(context).await
}

/// Takes the trace of the present task along into another.
pub fn along<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_current_context()
}

/// A call of WeChat ended just now, as a part of what this task does; nothing where that is not recorded.
pub fn wechat_called(endpoint: &'static str, outcome: &'static str, errcode: Option<i64>, elapsed: Duration) {
    Context::map_current(|context| {
        let recording = context.has_active_span() && context.span().is_recording();
        let Some(traces) = context.get::<Traces>().filter(|_| recording) else {
            return;
        };
        let child = traces.child(format!("WeChat {endpoint}"), context, elapsed);
        let span = child.span();
        span.set_attributes([
            KeyValue::new("menshen.wechat.endpoint", endpoint),
            KeyValue::new("menshen.wechat.outcome", outcome),
        ]);
        if let Some(code) = errcode {
            span.set_attribute(KeyValue::new("menshen.wechat.errcode", code));
        }
        if outcome != "success" {
            span.set_attribute(KeyValue::new("error.type", outcome));
            span.set_status(Status::error(""));
        }
        span.end();
    });
}

/// Something was audited: an event of what this task does, by which the traces of browser and phone are brought together.
pub fn note(event: &AuditEvent) {
    Context::map_current(|context| {
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        let attribute = |name, value: Option<&str>| Some(KeyValue::new(name, Value::from(value?.to_owned())));
        let attributes = [
            attribute("menshen.connection", event.connection.as_deref()),
            attribute("menshen.ticket", event.ticket_hash.as_deref()),
            attribute("menshen.reason", event.reason.as_deref()),
            attribute("user.id", event.user_id.as_deref()),
        ];
        span.add_event(event.kind.as_str(), attributes.into_iter().flatten().collect());
    });
}

/// Headers as the propagator reads them: two lines of `traceparent` are none (W3C Trace Context §3.2), and several lines
/// of `tracestate` are one list (§3.3).
struct Incoming {
    parent: Option<String>,
    state: Option<String>,
}

impl Incoming {
    fn of(headers: &HeaderMap) -> Self {
        let lines = |name| {
            let all = headers.get_all(name).iter();
            all.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>()
        };
        let (parents, states) = (lines("traceparent"), lines("tracestate"));
        Self {
            parent: match parents[..] {
                [one] => Some(one.to_owned()),
                _ => None,
            },
            state: (!states.is_empty()).then(|| states.join(",")),
        }
    }
}

impl Extractor for Incoming {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent.as_deref(),
            "tracestate" => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The methods of RFC 9110 and RFC 5789; a client could make up any number of others.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use http::HeaderValue;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Sampler, SpanData};

    use super::*;

    /// Keeps what is exported.
    #[derive(Debug, Clone, Default)]
    struct Shelf(Arc<Mutex<Vec<SpanData>>>);

    impl opentelemetry_sdk::trace::SpanExporter for Shelf {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_parent_counts_once_and_in_its_form() {
        let cases: [(&[(&'static str, &str)], bool); 6] = [
            (&[("traceparent", CALLER)], true),
            (&[("traceparent", CALLER), ("traceparent", CALLER)], false),
            (&[("traceparent", "00-0-0-01")], false),
            (
                &[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")],
                false,
            ),
            (&[("tracestate", "a=b")], false),
            (&[], false),
        ];
        for (lines, counts) in cases {
            let context =
                TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming::of(&headers(lines)));
            assert_eq!(context.span().span_context().is_valid(), counts, "{lines:?}");
        }
        let lines = headers(&[("traceparent", CALLER), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming::of(&lines));
        assert_eq!(context.span().span_context().trace_state().header(), "a=1,b=2");
    }

    #[test]
    fn methods_that_clients_make_up_share_one_name() {
        assert_eq!(known_method(&Method::PATCH), Some("PATCH"));
        assert_eq!(known_method(&Method::from_bytes(b"GeT").unwrap()), None);
    }

    #[tokio::test]
    async fn what_a_task_calls_and_notes_belongs_to_its_request_and_to_no_other() {
        let exporter = Shelf::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_simple_exporter(exporter.clone())
            .build();
        let resource = opentelemetry_sdk::Resource::builder_empty().build();
        let limits =
            Environment::read(|name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://localhost".to_owned()));
        let metrics = Arc::new(Metrics::new().unwrap());
        let (_queue, closing) = export::start(exporter.clone(), &resource, limits.unwrap().unwrap(), metrics);
        let traces = Traces {
            tracer: provider.tracer("test"),
            closing,
        };
        let asked = Asked {
            method: &Method::POST,
            path: "/.menshen/phone/scan",
            secure: true,
            host: "login.test",
            port: None,
            client: "203.0.113.9",
            version: "1.1",
            request_id: "r",
        };
        wechat_called("jscode2session", "success", None, Duration::ZERO);
        let mut trace = traces.begin(&asked, None, Duration::from_millis(5));
        within(Some(&trace), async {
            tokio::task::yield_now().await;
            wechat_called("jscode2session", "busy", Some(-1), Duration::from_millis(2));
            let scan = crate::telemetry::audit::AuditKind::Scan;
            note(&AuditEvent {
                ticket_hash: Some("0123".to_owned()),
                ..AuditEvent::new(scan, 1)
            });
        })
        .await;
        trace.end(&Answered {
            status: 503,
            decision: "portal",
            site: None,
            user: None,
            error: None,
        });
        wechat_called("jscode2session", "success", None, Duration::ZERO);
        let spans = exporter.0.lock().unwrap().clone();
        assert_eq!(spans.len(), 2, "{spans:#?}");
        let (call, request) = (&spans[0], &spans[1]);
        assert_eq!(call.parent_span_id, request.span_context.span_id());
        assert_eq!(call.name, "WeChat jscode2session");
        assert!(call.attributes.contains(&KeyValue::new("menshen.wechat.errcode", -1)));
        assert_eq!(request.events.events[0].name, "scan");
        assert!(request.attributes.contains(&KeyValue::new("error.type", "503")));
        assert!(request.start_time < request.end_time);
    }
}
