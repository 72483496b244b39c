//! Traces as a collector gets them, and as an application sees them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use tokio::net::TcpListener;

use crate::support::World;
use crate::support::process::{Process, free_port};
use crate::support::upstream::Received;
use crate::support::wire::{Request, Wire};
use crate::support::world::{Plan, SITE};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector that takes OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    /// Bodies as they came.
    bodies: Vec<Bytes>,
    heads: Vec<HeaderMap>,
    resource: Vec<KeyValue>,
    spans: Vec<Span>,
}

impl Collector {
    async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.clone()
    }

    fn find(&self, wanted: impl Fn(&Span) -> bool) -> Option<Span> {
        self.spans().into_iter().find(wanted)
    }

    /// The span of a request for this path.
    fn request(&self, path: &str) -> Option<Span> {
        self.find(|span| is_kind(span, SpanKind::Server) && text(&span.attributes, "url.path").as_deref() == Some(path))
    }

    async fn wait_for(&self, world: &World, path: &str) -> Span {
        world.until(async || self.request(path).is_some()).await;
        self.request(path).unwrap()
    }

    fn children(&self, of: &Span) -> Vec<Span> {
        let spans = self.spans().into_iter();
        spans
            .filter(|span| span.parent_span_id == of.span_id && span.trace_id == of.trace_id)
            .collect()
    }
}

async fn take(State(collector): State<Collector>, head: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("protobuf of OTLP");
    let mut taken = collector.0.lock().unwrap();
    taken.bodies.push(body);
    taken.heads.push(head);
    for resource in request.resource_spans {
        taken.resource = resource.resource.unwrap_or_default().attributes;
        taken
            .spans
            .extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

fn is_kind(span: &Span, kind: SpanKind) -> bool {
    span.kind == kind as i32
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|held| held.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Trace, span and flags as an application got them.
#[track_caller]
fn parent_of(received: &Received) -> (String, String, String) {
    let header = received.header("traceparent").expect("a traceparent");
    let parts: Vec<&str> = header.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{header}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

async fn start(plan: Plan, endpoint: SocketAddr, more: &[(&str, &str)]) -> (World, Process) {
    let endpoint = format!("http://{endpoint}");
    let usual = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    plan.start_process_in(&[&usual, more].concat()).await
}

fn trusting() -> Plan {
    World::plan().set("server.trusted_proxies", vec!["127.0.0.1/32"])
}

fn public(world: &World, target: &str) -> Request {
    Request::new("GET", target).header("Host", &world.authority(SITE))
}

async fn metric(operator: &str, series: &str) -> u64 {
    let text = reqwest::get(format!("http://{operator}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{text}")).trim().parse().unwrap()
}

#[tokio::test]
async fn a_request_and_its_upstream_are_two_spans_of_the_callers_trace() {
    let (collector, endpoint) = Collector::start().await;
    let more = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-the-collector"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let (world, process) = start(trusting(), endpoint, &more).await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    browser.finish_login(&page, "lilei").await.expect(200);
    let request = browser
        .script("GET", "/page?token=of-the-query")
        .header("traceparent", CALLER)
        .header("tracestate", "vendor=1");
    browser.send(request).await.expect(200);
    let received = world.upstream.last();
    let (trace, span, flags) = parent_of(&received);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    assert_eq!(received.header("tracestate").as_deref(), Some("vendor=1"));

    let server = collector.wait_for(&world, "/page").await;
    assert_eq!(hex(&server.trace_id), TRACE);
    assert_eq!(hex(&server.parent_span_id), "00f067aa0ba902b7");
    let client = collector
        .find(|found| hex(&found.span_id) == span)
        .expect("the upstream's part");
    assert!(is_kind(&client, SpanKind::Client));
    assert_eq!(
        (&client.parent_span_id, &client.trace_id),
        (&server.span_id, &server.trace_id)
    );
    assert!(client.start_time_unix_nano >= server.start_time_unix_nano);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("server.address", SITE),
        ("client.address", "127.0.0.1"),
        ("menshen.site", "Wiki"),
        ("menshen.decision", "forward"),
    ] {
        assert_eq!(text(&server.attributes, name).as_deref(), Some(value), "{name}");
    }
    assert!(text(&server.attributes, "user.id").unwrap().starts_with("u_"));
    assert_eq!(
        text(&client.attributes, "http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(
        text(&client.attributes, "server.port"),
        Some(world.upstream.address().port().to_string())
    );
    let line = process.written();
    let line = line.lines().find(|line| line.contains("\"/page\"")).unwrap();
    assert!(line.contains(&format!("\"trace_id\":\"{TRACE}\"")), "{line}");

    let taken = collector.0.lock().unwrap();
    assert_eq!(text(&taken.resource, "service.name").as_deref(), Some("menshen"));
    assert_eq!(
        text(&taken.resource, "deployment.environment.name").as_deref(),
        Some("test")
    );
    for head in &taken.heads {
        assert_eq!(head["authorization"], "Bearer of-the-collector");
        assert_eq!(head["content-type"], "application/x-protobuf");
    }
    let mut secrets = world.secrets();
    secrets.extend([page.ticket.clone(), "of-the-query".to_owned()]);
    for body in &taken.bodies {
        let body = String::from_utf8_lossy(body);
        for secret in &secrets {
            assert!(!body.contains(secret.as_str()), "{secret} was exported");
        }
    }
}

#[tokio::test]
async fn a_login_shows_its_calls_of_wechat_and_what_was_audited() {
    let (collector, endpoint) = Collector::start().await;
    let (world, _process) = start(trusting(), endpoint, &[]).await;
    world.browser().log_in("lilei").await;
    let scan = collector.wait_for(&world, "/.menshen/phone/scan").await;
    world.until(async || !collector.children(&scan).is_empty()).await;
    let calls = collector.children(&scan);
    let call = calls
        .iter()
        .find(|call| call.name == "WeChat jscode2session")
        .expect("a call");
    assert!(is_kind(call, SpanKind::Client));
    assert_eq!(
        text(&call.attributes, "menshen.wechat.outcome").as_deref(),
        Some("success")
    );
    let event = |span: &Span, name: &str| span.events.iter().find(|event| event.name == name).cloned();
    let scanned = event(&scan, "scan").expect("what was audited");
    let ticket = text(&scanned.attributes, "menshen.ticket").unwrap();
    // The browser's half is another trace, found by the same ticket.
    let path = format!("/.menshen/tickets/{ticket}/redeem");
    let redeemed = collector.wait_for(&world, &path).await;
    let login = event(&redeemed, "login").expect("what was audited");
    assert_eq!(text(&login.attributes, "menshen.ticket"), Some(ticket));
    assert_eq!(text(&login.attributes, "menshen.connection").as_deref(), Some("staff"));
}

/// Whoever may name a trace writes into other people's, and has everything sampled.
#[tokio::test]
async fn a_stranger_names_no_trace() {
    let (collector, endpoint) = Collector::start().await;
    let (world, _process) = start(World::plan(), endpoint, &[]).await;
    let request = public(&world, "/public/a")
        .header("traceparent", CALLER)
        .header("tracestate", "vendor=1");
    world.send(&request).await.expect(200);
    let received = world.upstream.last();
    let (trace, span, flags) = parent_of(&received);
    assert_ne!(trace, TRACE);
    assert_eq!(flags, "01");
    assert_eq!(received.header("tracestate"), None);
    let server = collector.wait_for(&world, "/public/a").await;
    assert_eq!(hex(&server.trace_id), trace);
    assert!(server.parent_span_id.is_empty());
    world
        .until(async || collector.find(|found| hex(&found.span_id) == span).is_some())
        .await;
}

#[tokio::test]
async fn what_is_not_sampled_is_said_to_be_and_is_not_exported() {
    for (sampler, parent) in [
        ("always_off", CALLER),
        (
            "parentbased_always_on",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ),
    ] {
        let (collector, endpoint) = Collector::start().await;
        let (world, mut process) = start(trusting(), endpoint, &[("OTEL_TRACES_SAMPLER", sampler)]).await;
        let request = public(&world, "/public/a").header("traceparent", parent);
        world.send(&request).await.expect(200);
        let (trace, span, flags) = parent_of(&world.upstream.last());
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"), "{sampler}");
        assert_ne!(span, "00f067aa0ba902b7", "{sampler}");
        process.terminate().await;
        assert!(process.ended().await.success());
        assert_eq!(collector.spans().len(), 0, "{sampler}");
    }
}

/// An application that is away, and one that refuses, are told apart from the gateway's own answers.
#[tokio::test]
async fn failures_are_marked_with_their_kind() {
    let (collector, endpoint) = Collector::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let (world, _process) = start(World::plan().set("sites.0.upstreams", vec![dead]), endpoint, &[]).await;
    world
        .send(&public(&world, "/public/a"))
        .await
        .refused(503, "upstream_unavailable");
    let server = collector.wait_for(&world, "/public/a").await;
    assert_eq!(
        text(&server.attributes, "http.response.status_code").as_deref(),
        Some("503")
    );
    assert!(text(&server.attributes, "error.type").is_some(), "{server:#?}");
    world.until(async || !collector.children(&server).is_empty()).await;
    let client = &collector.children(&server)[0];
    assert_eq!(
        text(&client.attributes, "error.type").as_deref(),
        Some("ConnectRefused"),
        "{client:#?}"
    );
    // What nobody understood is a request too.
    let mut wire = Wire::open(world.address).await;
    wire.write(b"GET /a%00b HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    assert_eq!(wire.answer(false).await.status, 400);
    let refused = |span: &Span| text(&span.attributes, "menshen.decision").as_deref() == Some("refused");
    world.until(async || collector.find(refused).is_some()).await;
}

#[tokio::test]
async fn a_dead_collector_slows_nobody_and_shows_in_the_metrics() {
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let operator = format!("127.0.0.1:{}", free_port());
    let plan = World::plan().set("server.admin_listen", operator.as_str());
    let more = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ];
    let (world, mut process) = start(plan, silent.local_addr().unwrap(), &more).await;
    let dropped = "menshen_trace_spans_total{outcome=\"dropped\"}";
    assert_eq!(metric(&operator, dropped).await, 0);
    for number in 0..20 {
        world
            .send(&public(&world, &format!("/public/{number}")))
            .await
            .expect(200);
    }
    world.until(async || metric(&operator, dropped).await >= 30).await;
    assert_eq!(
        metric(&operator, "menshen_trace_spans_total{outcome=\"exported\"}").await,
        0
    );
    process.terminate().await;
    assert!(process.ended().await.success(), "{}", process.written());
}

#[tokio::test]
async fn a_clean_stop_exports_what_waits() {
    let (collector, endpoint) = Collector::start().await;
    let (world, mut process) = start(World::plan(), endpoint, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    world.send(&public(&world, "/public/last")).await.expect(200);
    assert!(collector.spans().is_empty());
    process.terminate().await;
    assert!(process.ended().await.success());
    assert!(collector.request("/public/last").is_some(), "{:#?}", collector.spans());
}

/// Where nothing is exported, what clients say passes as it is.
#[tokio::test]
async fn without_a_collector_the_callers_headers_pass_unchanged() {
    let (collector, endpoint) = Collector::start().await;
    for more in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let (world, _process) = start(World::plan(), endpoint, &[more]).await;
        let request = public(&world, "/public/a")
            .header("traceparent", CALLER)
            .header("tracestate", "vendor=1");
        world.send(&request).await.expect(200);
        let received = world.upstream.last();
        assert_eq!(received.header("traceparent").as_deref(), Some(CALLER));
        assert_eq!(received.header("tracestate").as_deref(), Some("vendor=1"));
        world.send(&public(&world, "/public/b")).await.expect(200);
        assert_eq!(world.upstream.last().header("traceparent"), None);
    }
    assert!(collector.spans().is_empty());
}
