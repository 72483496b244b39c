//! Numbers for Prometheus.
//!
//! What is counted for every request is resolved once, at the start: a request costs a few atomic additions, and neither
//! a hash nor a lock. Labels come from the configuration and from the program's own words, never from a request, so that
//! nobody outside can make series. `docs/metrics.md` lists everything; a test holds it to that.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use serde::Serialize;

use crate::telemetry::audit::{AuditEvent, AuditKind};

/// The numbers of one gateway.
pub struct Metrics {
    registry: Registry,
    requests: Vec<[IntCounter; STATUS_CLASSES.len()]>,
    requests_in_flight: IntGauge,
    answered_by_upstream: Histogram,
    answered_by_menshen: Histogram,
    upstream_duration: HistogramVec,
    upstream_failures: IntCounterVec,
    problems: IntCounterVec,
    logins: IntCounterVec,
    tickets: [IntCounter; TRANSITIONS.len()],
    sessions_ended: IntCounterVec,
    loops: IntCounterVec,
    phone_button_failures: IntCounterVec,
    pushes: IntCounterVec,
    wechat_calls: IntCounterVec,
    wechat_duration: HistogramVec,
    wechat_refusals: IntCounterVec,
    wechat_resting: IntGaugeVec,
    trace_spans: [IntCounter; SPAN_ENDS.len()],
    audit_unrecorded: IntGauge,
    store_errors: IntCounterVec,
    waiting_streams: IntGauge,
    revocations_fresh: IntGauge,
    config_generation: IntGauge,
    config_reloads: [IntCounter; RELOADS.len()],
    config_last_reload_successful: IntGauge,
    config_last_reload_success: Gauge,
    certificate_ends: IntGaugeVec,
}

/// What is only known when somebody looks.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Pages that wait on a stream.
    pub waiting_streams: usize,
    /// Revocations are known: sessions are served.
    pub revocations_fresh: bool,
    /// Audit events without a record.
    pub audit_unrecorded: u64,
    /// Calls of WeChat that rest.
    pub resting: Vec<RestingCall>,
}

/// A call that is not made for a while because WeChat refuses this installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestingCall {
    /// For which app, as configured.
    pub app_id: String,
    /// As the metrics call it.
    pub endpoint: &'static str,
    /// WeChat's code.
    pub errcode: i64,
    /// What the operator does.
    pub remedy: String,
}

/// A request that is being handled; it ends when this is dropped.
#[derive(Debug)]
pub struct InFlight(IntGauge);

/// How reading the configuration anew ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is in use.
    Applied,
    /// It was invalid; the former one is in use.
    Refused,
}

/// What became of a sampled span, in the order of `SPAN_ENDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanEnd {
    /// The collector took it.
    Exported,
    /// The queue was full.
    Dropped,
    /// The collector did not take it.
    Failed,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// Prometheus's own, for names that it does not take: a bug that every start would show.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Make(&registry);
        let requests = make.counters(REQUESTS, &["decision", "status"])?;
        let duration = make.histograms(REQUEST_DURATION, &["answered_by"], LATENCIES)?;
        let tickets = make.counters(TICKETS, &["transition"])?;
        let spans = make.counters(TRACE_SPANS, &["outcome"])?;
        let reloads = make.counters(CONFIG_RELOADS, &["result"])?;
        make.gauges(BUILD_INFO, &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::new(
            i32::try_from(std::process::id()).unwrap_or(1),
            "menshen",
        )))?;
        Ok(Self {
            requests: DECISIONS
                .iter()
                .map(|decision| STATUS_CLASSES.map(|status| requests.with_label_values(&[*decision, status])))
                .collect(),
            requests_in_flight: make.gauge(REQUESTS_IN_FLIGHT)?,
            answered_by_upstream: duration.with_label_values(&["upstream"]),
            answered_by_menshen: duration.with_label_values(&["menshen"]),
            upstream_duration: make.histograms(UPSTREAM_DURATION, &["site"], LATENCIES)?,
            upstream_failures: make.counters(UPSTREAM_FAILURES, &["code"])?,
            problems: make.counters(PROBLEMS, &["code"])?,
            logins: make.counters(LOGINS, &["connection", "result"])?,
            tickets: TRANSITIONS.map(|transition| tickets.with_label_values(&[transition])),
            sessions_ended: make.counters(SESSIONS_ENDED, &["reason"])?,
            loops: make.counters(LOOPS, &["code"])?,
            phone_button_failures: make.counters(PHONE_BUTTON_FAILURES, &["cause"])?,
            pushes: make.counters(PUSHES, &["connection", "result"])?,
            wechat_calls: make.counters(WECHAT_CALLS, &["endpoint", "outcome"])?,
            wechat_duration: make.histograms(WECHAT_DURATION, &["endpoint"], LATENCIES)?,
            wechat_refusals: make.counters(WECHAT_REFUSALS, &["endpoint", "errcode"])?,
            wechat_resting: make.gauges(WECHAT_RESTING, &["app_id", "endpoint", "errcode"])?,
            trace_spans: SPAN_ENDS.map(|outcome| spans.with_label_values(&[outcome])),
            audit_unrecorded: make.gauge(AUDIT_UNRECORDED)?,
            store_errors: make.counters(STORE_ERRORS, &["kind"])?,
            waiting_streams: make.gauge(WAITING_STREAMS)?,
            revocations_fresh: make.gauge(REVOCATIONS_FRESH)?,
            config_generation: make.gauge(CONFIG_GENERATION)?,
            config_reloads: RELOADS.map(|result| reloads.with_label_values(&[result])),
            config_last_reload_successful: make.gauge(CONFIG_LAST_RELOAD_SUCCESSFUL)?,
            config_last_reload_success: make
                .add(Gauge::new(CONFIG_LAST_RELOAD_SUCCESS.0, CONFIG_LAST_RELOAD_SUCCESS.1)?)?,
            certificate_ends: make.gauges(CERTIFICATE_ENDS, &["file"])?,
            registry,
        })
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Prometheus's own.
    pub fn text(&self, moment: &Moment) -> Result<String, prometheus::Error> {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.waiting_streams.set(whole(moment.waiting_streams as u64));
        self.revocations_fresh.set(i64::from(moment.revocations_fresh));
        self.audit_unrecorded.set(whole(moment.audit_unrecorded));
        self.wechat_resting.reset();
        for call in &moment.resting {
            let labels = [call.app_id.as_str(), call.endpoint, &call.errcode.to_string()];
            self.wechat_resting.with_label_values(&labels).set(1);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// A request begins.
    #[must_use]
    pub fn begin_request(&self) -> InFlight {
        self.requests_in_flight.inc();
        InFlight(self.requests_in_flight.clone())
    }

    /// A request is over. `decision` is one of [`DECISIONS`]; `status` is 0 when no answer was written.
    pub fn end_request(&self, decision: &str, status: u16, forwarded: bool, elapsed: Duration) {
        let class = match status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => STATUS_CLASSES.len() - 1,
        };
        let counted = DECISIONS
            .iter()
            .position(|known| *known == decision)
            .and_then(|place| self.requests.get(place));
        debug_assert!(counted.is_some(), "{decision} is not counted");
        if let Some(counter) = counted.and_then(|classes| classes.get(class)) {
            counter.inc();
        }
        let histogram = if forwarded {
            &self.answered_by_upstream
        } else {
            &self.answered_by_menshen
        };
        histogram.observe(elapsed.as_secs_f64());
    }

    /// The histogram of a site's upstreams: to be kept, not asked for in a request.
    pub fn upstream_duration(&self, site: &str) -> Histogram {
        self.upstream_duration.with_label_values(&[site])
    }

    /// No answer came from an upstream.
    pub fn upstream_failed(&self, code: &'static str) {
        self.upstream_failures.with_label_values(&[code]).inc();
    }

    /// A client was refused with this code.
    pub fn refused(&self, code: &'static str) {
        self.problems.with_label_values(&[code]).inc();
    }

    /// A code was made for a page.
    pub fn ticket_issued(&self) {
        self.transition("issued");
    }

    /// Counts what the audit also knows: the ways of tickets and the ends of logins.
    pub fn audited(&self, event: &AuditEvent) {
        let connection = event.connection.as_deref().unwrap_or_default();
        let reason = event.reason.as_deref();
        let (transition, result) = match event.kind {
            AuditKind::Scan => ("scanned", None),
            AuditKind::Bind => ("bound", None),
            AuditKind::Confirm => ("confirmed", None),
            AuditKind::Login => ("redeemed", Some("success")),
            AuditKind::Cancel => ("cancelled", Some("cancelled")),
            AuditKind::NotMe => ("not_me", Some("not_me")),
            AuditKind::LoginFailed => {
                let known = FAILURES.iter().find(|failure| Some(**failure) == reason);
                ("failed", Some(known.copied().unwrap_or("other")))
            }
            _ => return,
        };
        self.transition(transition);
        if let Some(result) = result {
            self.logins.with_label_values(&[connection, result]).inc();
        }
    }

    fn transition(&self, name: &str) {
        let place = TRANSITIONS.iter().position(|known| *known == name);
        if let Some(counter) = place.and_then(|place| self.tickets.get(place)) {
            counter.inc();
        }
    }

    /// This node ended so many sessions.
    pub fn sessions_ended(&self, reason: &str, count: u64) {
        let known = SESSION_ENDS.iter().find(|known| **known == reason);
        self.sessions_ended
            .with_label_values(&[known.copied().unwrap_or("other")])
            .inc_by(count);
    }

    /// A login that leads nowhere was explained.
    pub fn loop_explained(&self, code: &'static str) {
        self.loops.with_label_values(&[code]).inc();
    }

    /// A phone reported that WeChat's button gives no number, for the installation's fault.
    pub fn phone_button_failed(&self, cause: &'static str) {
        self.phone_button_failures.with_label_values(&[cause]).inc();
    }

    /// WeChat sent a message to a service account; what became of it.
    pub fn pushed(&self, connection: &str, result: &'static str) {
        self.pushes.with_label_values(&[connection, result]).inc();
    }

    /// WeChat was called; both words are of ours.
    pub fn wechat_called(&self, endpoint: &'static str, outcome: &'static str, elapsed: Duration) {
        self.wechat_calls.with_label_values(&[endpoint, outcome]).inc();
        self.wechat_duration
            .with_label_values(&[endpoint])
            .observe(elapsed.as_secs_f64());
    }

    /// WeChat answered with an error code; `known` is one of a table, what is not in it shares a label.
    pub fn wechat_refused(&self, endpoint: &'static str, known: Option<i64>) {
        let errcode = known.map_or_else(|| "other".to_owned(), |code| code.to_string());
        self.wechat_refusals.with_label_values(&[endpoint, &errcode]).inc();
    }

    /// So many sampled spans were exported, or were not.
    pub fn spans_ended(&self, end: SpanEnd, count: u64) {
        if let Some(counter) = self.trace_spans.get(end as usize) {
            counter.inc_by(count);
        }
    }

    /// A call of the store failed.
    pub fn store_failed(&self, kind: &'static str) {
        self.store_errors.with_label_values(&[kind]).inc();
    }

    /// The configuration was read anew at `now` (Unix seconds), or at the start.
    pub fn reloaded(&self, reload: Reload, generation: u64, now: i64) {
        let place = usize::from(reload == Reload::Refused);
        if let Some(counter) = self.config_reloads.get(place) {
            counter.inc();
        }
        self.configured(reload, generation, now);
    }

    /// The same without counting: the configuration that the gateway started with.
    #[allow(clippy::cast_precision_loss)] // Exact for some hundred million years.
    pub fn configured(&self, reload: Reload, generation: u64, now: i64) {
        self.config_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.config_last_reload_successful
            .set(i64::from(reload == Reload::Applied));
        if reload == Reload::Applied {
            self.config_last_reload_success.set(now as f64);
        }
    }

    /// When the certificates in use end: file and Unix seconds. Those that are used no longer are forgotten.
    pub fn certificates(&self, ends: impl IntoIterator<Item = (String, i64)>) {
        self.certificate_ends.reset();
        for (file, end) in ends {
            self.certificate_ends.with_label_values(&[&file]).set(end);
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Registers what it makes.
struct Make<'r>(&'r Registry);

/// A name and what it means.
type Name = (&'static str, &'static str);

impl Make<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn gauge(&self, (name, help): Name) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, (name, help): Name, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counters(&self, (name, help): Name, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        (name, help): Name,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels)?)
    }
}

/// What can become of a request, as the access log has it.
pub const DECISIONS: [&str; 21] = [
    "none",
    "refused",
    "verify_refused",
    "forward",
    "forward_anonymous",
    "preflight",
    "login_page",
    "login_redirect",
    "unauthorized",
    "grpc_unauthenticated",
    "forbidden",
    "cross_origin",
    "unavailable",
    "https_redirect",
    "portal",
    "verification_file",
    "landing",
    "start",
    "not_found",
    "unknown_host",
    "ambiguous",
];

const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

const TRANSITIONS: [&str; 8] = [
    "issued",
    "scanned",
    "bound",
    "confirmed",
    "redeemed",
    "cancelled",
    "not_me",
    "failed",
];

/// Reasons of failed logins; anything else is `other`.
const FAILURES: [&str; 7] = [
    "ambiguous_account",
    "no_account",
    "phone_taken",
    "user_disabled",
    "wrong_number",
    "account_bound",
    "proof_wrong",
];

/// Reasons for which this node ends sessions; anything else is `other`.
const SESSION_ENDS: [&str; 7] = [
    "logout",
    "logout_everywhere",
    "new_login",
    "not_me",
    "refresh_reused",
    "self",
    "unbound",
];

const SPAN_ENDS: [&str; 3] = ["exported", "dropped", "failed"];

const RELOADS: [&str; 2] = ["applied", "refused"];

/// Seconds: from a cached answer to a slow report.
const LATENCIES: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const REQUESTS: Name = (
    "menshen_requests_total",
    "Requests by what was decided and by the class of the answer's status",
);
const REQUESTS_IN_FLIGHT: Name = ("menshen_requests_in_flight", "Requests that are being handled");
const REQUEST_DURATION: Name = (
    "menshen_request_duration_seconds",
    "From the end of a request's head to the end of its answer",
);
const UPSTREAM_DURATION: Name = (
    "menshen_upstream_duration_seconds",
    "From choosing an upstream to the head of its answer, by site",
);
const UPSTREAM_FAILURES: Name = (
    "menshen_upstream_failures_total",
    "Requests that no upstream answered, by the code that the client got",
);
const PROBLEMS: Name = ("menshen_problems_total", "Refusals by their code");
const LOGINS: Name = ("menshen_logins_total", "Ended logins by connection and result");
const TICKETS: Name = ("menshen_tickets_total", "Steps of login tickets");
const SESSIONS_ENDED: Name = (
    "menshen_sessions_ended_total",
    "Sessions that this node ended before their time, by reason",
);
const LOOPS: Name = (
    "menshen_login_loops_total",
    "Logins that led back to the login page and were explained, by cause",
);
const PHONE_BUTTON_FAILURES: Name = (
    "menshen_phone_button_failures_total",
    "Phones that WeChat gave no number for the installation's fault, by cause",
);
const PUSHES: Name = (
    "menshen_push_messages_total",
    "Messages of WeChat to service accounts by connection and result",
);
const WECHAT_CALLS: Name = (
    "menshen_wechat_calls_total",
    "Calls of WeChat's servers by endpoint and outcome",
);
const WECHAT_DURATION: Name = (
    "menshen_wechat_call_duration_seconds",
    "Duration of calls of WeChat's servers",
);
const WECHAT_REFUSALS: Name = (
    "menshen_wechat_refusals_total",
    "Answers of WeChat's servers with an error code, by endpoint and code",
);
const WECHAT_RESTING: Name = (
    "menshen_wechat_resting",
    "1 while an endpoint is not called because WeChat refuses this installation, by app, endpoint and code",
);
const TRACE_SPANS: Name = (
    "menshen_trace_spans_total",
    "Sampled spans by what became of them on the way to the collector",
);
const AUDIT_UNRECORDED: Name = (
    "menshen_audit_unrecorded",
    "Audit events since the start that have a line in the log and no record in the store",
);
const STORE_ERRORS: Name = ("menshen_store_errors_total", "Failed calls of the store by kind");
const WAITING_STREAMS: Name = ("menshen_waiting_streams", "Login pages that wait on a stream");
const REVOCATIONS_FRESH: Name = (
    "menshen_revocations_fresh",
    "1 while this node knows what was revoked and serves sessions",
);
const CONFIG_GENERATION: Name = (
    "menshen_config_generation",
    "Number of the configuration in use, 1 at the start",
);
const CONFIG_RELOADS: Name = (
    "menshen_config_reloads_total",
    "Times that the configuration was read anew, by result",
);
const CONFIG_LAST_RELOAD_SUCCESSFUL: Name = (
    "menshen_config_last_reload_successful",
    "0 while the file on disk is not the configuration in use because it is invalid",
);
const CONFIG_LAST_RELOAD_SUCCESS: Name = (
    "menshen_config_last_reload_success_timestamp_seconds",
    "When the configuration in use was read, in Unix seconds",
);
const CERTIFICATE_ENDS: Name = (
    "menshen_certificate_not_after_timestamp_seconds",
    "When a certificate in use ends, in Unix seconds",
);
const BUILD_INFO: Name = ("menshen_build_info", "Always 1; the version is in the label");

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
