//! From the end of a span to the collector: a bounded queue, and one task that empties it in batches.
//!
//! A request never waits. What finds the queue full is dropped and counted; what the collector does not take within the
//! time of a batch is counted too, and not kept: a trace that comes minutes late helps nobody, and keeping it would take
//! the memory that requests need.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::environment::Environment;
use crate::telemetry::metrics::{Metrics, SpanEnd};

/// The end of the queue where spans go in.
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

/// The way to stop the task.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    close: Arc<watch::Sender<bool>>,
    done: watch::Receiver<bool>,
}

/// The task that empties the queue.
struct Worker<E> {
    exporter: E,
    spans: mpsc::Receiver<SpanData>,
    closed: watch::Receiver<bool>,
    limits: Environment,
    metrics: Arc<Metrics>,
    /// The latest batch was not taken: said once, and once more when that is over.
    failing: bool,
}

/// Starts the task on the present runtime.
pub(super) fn start<E: SpanExporter + 'static>(
    mut exporter: E,
    resource: &Resource,
    limits: Environment,
    metrics: Arc<Metrics>,
) -> (Queue, Closing) {
    exporter.set_resource(resource);
    let (sender, spans) = mpsc::channel(limits.queue);
    let (close, closed) = watch::channel(false);
    let (finished, done) = watch::channel(false);
    let worker = Worker {
        exporter,
        spans,
        closed,
        limits,
        metrics: Arc::clone(&metrics),
        failing: false,
    };
    tokio::spawn(async move {
        worker.run().await;
        finished.send_replace(true);
    });
    let queue = Queue { spans: sender, metrics };
    let closing = Closing {
        close: Arc::new(close),
        done,
    };
    (queue, closing)
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.metrics.spans_ended(SpanEnd::Dropped, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Closing {
    /// Sends what waits, and returns when that is done or the time is over.
    pub(super) async fn close(&self, within: Duration) {
        self.close.send_replace(true);
        // An error means that the task is gone, which is as done as it gets.
        let mut done = self.done.clone();
        if timeout(within, done.wait_for(|done| *done)).await.is_err() {
            warn!("the collector did not take the last spans in time");
        }
    }
}

impl<E: SpanExporter> Worker<E> {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.limits.batch);
        loop {
            self.fill(&mut batch).await;
            if batch.is_empty() {
                return;
            }
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    /// A full batch, or what came until the first of it had waited long enough, or all that is left at the end.
    async fn fill(&mut self, batch: &mut Vec<SpanData>) {
        let mut until = None;
        while batch.len() < self.limits.batch {
            let room = self.limits.batch - batch.len();
            if *self.closed.borrow() {
                // From here on nothing new comes in, and what is in comes out.
                self.spans.close();
                if self.spans.recv_many(batch, room).await == 0 {
                    return;
                }
                continue;
            }
            let came = self.spans.recv_many(batch, room);
            let told = self.closed.wait_for(|closed| *closed);
            tokio::select! {
                biased;
                came = came => if came == 0 {
                    return;
                },
                _ = told => continue,
                () = waited(until) => return,
            }
            until.get_or_insert_with(|| Instant::now() + self.limits.delay);
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let until = Instant::now() + self.limits.timeout;
        let taken = match timeout_at(until, self.exporter.export(batch)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        match taken {
            Ok(()) => {
                self.metrics.spans_ended(SpanEnd::Exported, count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(reason) => {
                self.metrics.spans_ended(SpanEnd::Failed, count);
                if std::mem::replace(&mut self.failing, true) {
                    debug!(reason, count, "spans not taken");
                } else {
                    warn!(
                        reason,
                        remedy = "Check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS, and that the \
                                  collector takes OTLP over HTTP.",
                        "the collector takes no spans; requests are not concerned"
                    );
                }
            }
        }
    }
}

async fn waited(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::telemetry::metrics::Moment;

    /// Keeps the sizes of batches; answers as it is told.
    #[derive(Debug, Clone, Default)]
    struct Shelf {
        batches: Arc<Mutex<Vec<usize>>>,
        hangs: bool,
        refuses: bool,
    }

    impl SpanExporter for Shelf {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            if self.hangs {
                return std::future::pending().await;
            }
            if self.refuses {
                return Err(OTelSdkError::InternalFailure("no".to_owned()));
            }
            self.batches.lock().unwrap().push(batch.len());
            Ok(())
        }
    }

    struct Exporting {
        provider: SdkTracerProvider,
        closing: Closing,
        metrics: Arc<Metrics>,
    }

    fn exporting(shelf: Shelf, queue: usize, batch: usize) -> Exporting {
        let limits = Environment {
            queue,
            batch,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let resource = Resource::builder_empty().build();
        let (queue, closing) = start(shelf, &resource, limits, Arc::clone(&metrics));
        let provider = SdkTracerProvider::builder()
            .with_sampler(opentelemetry_sdk::trace::Sampler::AlwaysOn)
            .with_span_processor(queue)
            .build();
        Exporting {
            provider,
            closing,
            metrics,
        }
    }

    impl Exporting {
        fn spans(&self, count: usize) {
            let tracer = self.provider.tracer("test");
            for _ in 0..count {
                drop(tracer.start("span"));
            }
        }

        fn counted(&self, outcome: &str) -> u64 {
            let text = self.metrics.text(&Moment::default()).unwrap();
            let series = format!("menshen_trace_spans_total{{outcome=\"{outcome}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&*series));
            line.unwrap().parse().unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_leaves_when_it_is_full_and_when_its_first_span_has_waited() {
        let shelf = Shelf::default();
        let exporting = exporting(shelf.clone(), 100, 3);
        exporting.spans(7);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(*shelf.batches.lock().unwrap(), [3, 3]);
        exporting.spans(1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*shelf.batches.lock().unwrap(), [3, 3, 2]);
        assert_eq!(exporting.counted("exported"), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_hangs_costs_spans_and_nobody_waits() {
        let shelf = Shelf {
            hangs: true,
            ..Shelf::default()
        };
        let exporting = exporting(shelf, 4, 2);
        for _ in 0..10 {
            exporting.spans(5);
            tokio::task::yield_now().await;
        }
        assert!(exporting.counted("dropped") >= 40, "{}", exporting.counted("dropped"));
        let before = Instant::now();
        exporting.closing.close(Duration::from_secs(3)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_collector_refuses_is_counted() {
        let shelf = Shelf {
            refuses: true,
            ..Shelf::default()
        };
        let exporting = exporting(shelf, 100, 10);
        exporting.spans(12);
        exporting.closing.close(Duration::from_secs(3)).await;
        assert_eq!(exporting.counted("failed"), 12);
        assert_eq!(exporting.counted("exported"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_waits_leaves_at_the_end_and_nothing_after_it() {
        let shelf = Shelf::default();
        let exporting = exporting(shelf.clone(), 100, 3);
        exporting.spans(8);
        let before = Instant::now();
        exporting.closing.close(Duration::from_secs(3)).await;
        assert!(before.elapsed() < Duration::from_secs(1), "waited for the delay");
        assert_eq!(shelf.batches.lock().unwrap().iter().sum::<usize>(), 8);
        exporting.spans(2);
        assert_eq!(exporting.counted("dropped"), 2);
    }
}
