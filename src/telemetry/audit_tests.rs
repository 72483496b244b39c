#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Shelf {
    kept: Arc<Mutex<Vec<Vec<i64>>>>,
    down: Arc<AtomicBool>,
    /// Told at every attempt.
    tried: Arc<Notify>,
}

#[async_trait]
impl AuditSink for Shelf {
    async fn append(&self, events: &[AuditEvent]) -> Result<(), SinkFailed> {
        self.tried.notify_one();
        if self.down.load(Ordering::SeqCst) {
            return Err(SinkFailed::Away("away".to_owned()));
        }
        if events.iter().any(|event| event.at == UNKEEPABLE) {
            return Err(SinkFailed::Refused("what is that".to_owned()));
        }
        self.kept
            .lock()
            .unwrap()
            .push(events.iter().map(|event| event.at).collect());
        Ok(())
    }
}

impl Shelf {
    fn all(&self) -> Vec<i64> {
        self.kept.lock().unwrap().concat()
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn audited(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["target"] == "audit").collect()
    }
}

fn capture() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

/// Time of an event that the shelf refuses.
const UNKEEPABLE: i64 = -1;

fn event(at: i64) -> AuditEvent {
    AuditEvent::new(AuditKind::Login, at)
}

#[tokio::test]
async fn an_orderly_stop_loses_nothing_and_keeps_the_order() {
    let (lines, _guard) = capture();
    let shelf = Shelf::default();
    let auditor = Auditor::start(shelf.clone());
    for at in 0..500 {
        auditor.record(event(at));
    }
    auditor.clone().close().await;
    assert_eq!(shelf.all(), (0..500).collect::<Vec<_>>());
    assert!(shelf.kept.lock().unwrap().len() < 50, "not in batches");
    assert_eq!(lines.audited().len(), 500);
    assert_eq!(auditor.unrecorded(), 0);
}

#[tokio::test]
async fn a_line_holds_the_fields_that_are_there() {
    let (lines, _guard) = capture();
    let auditor = Auditor::start(Shelf::default());
    let hash = ticket_hash("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    auditor.record(AuditEvent {
        ticket_hash: Some(hash.clone()),
        ..AuditEvent::new(AuditKind::NotMe, 7)
    });
    auditor.close().await;
    let fields = lines.audited().remove(0)["fields"].clone();
    assert_eq!(
        fields,
        serde_json::json!({ "kind": "not_me", "at": 7, "ticket_hash": hash })
    );
}

#[tokio::test]
async fn what_the_store_refused_is_kept_when_it_comes_back() {
    let shelf = Shelf::default();
    shelf.down.store(true, Ordering::SeqCst);
    let auditor = Auditor::start(shelf.clone());
    auditor.record(event(1));
    shelf.tried.notified().await;
    shelf.down.store(false, Ordering::SeqCst);
    auditor.record(event(2));
    auditor.close().await;
    assert_eq!(shelf.all(), [1, 2]);
    assert_eq!(auditor.unrecorded(), 0);
}

#[tokio::test]
async fn an_event_that_cannot_be_kept_costs_only_itself() {
    let shelf = Shelf::default();
    let auditor = Auditor::start(shelf.clone());
    for at in [1, UNKEEPABLE, 2] {
        auditor.record(event(at));
    }
    auditor.close().await;
    assert_eq!(shelf.all(), [1, 2]);
    assert_eq!(auditor.unrecorded(), 1);
}

#[tokio::test]
async fn a_full_queue_costs_records_but_neither_time_nor_lines() {
    let (lines, _guard) = capture();
    let shelf = Shelf::default();
    shelf.down.store(true, Ordering::SeqCst);
    let auditor = Auditor::with_limits(shelf.clone(), 3, CLOSE_LIMIT);
    auditor.record(event(0));
    shelf.tried.notified().await;
    for at in 1..=10 {
        auditor.record(event(at));
    }
    assert_eq!(auditor.unrecorded(), 7);
    shelf.down.store(false, Ordering::SeqCst);
    auditor.close().await;
    assert_eq!(shelf.all(), [0, 1, 2, 3]);
    assert_eq!(lines.audited().len(), 11);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_for_a_store_that_is_gone() {
    let (lines, _guard) = capture();
    let shelf = Shelf::default();
    shelf.down.store(true, Ordering::SeqCst);
    let auditor = Auditor::with_limits(shelf.clone(), 10, Duration::from_millis(10));
    auditor.record(event(1));
    auditor.record(event(2));
    tokio::time::timeout(Duration::from_secs(20), auditor.close())
        .await
        .unwrap();
    assert_eq!((auditor.unrecorded(), lines.audited().len()), (2, 2));
    auditor.record(event(3));
    assert_eq!((auditor.unrecorded(), lines.audited().len()), (3, 3));
    auditor.close().await;
}

#[test]
fn a_ticket_hash_is_the_beginning_of_the_sha_256() {
    // RFC 6234 / FIPS 180-4 example: SHA-256("abc").
    assert_eq!(ticket_hash("abc"), "ba7816bf8f01cfea");
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    let names: std::collections::HashSet<_> = AuditKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(names.len(), AuditKind::ALL.len());
}
