//! Pages that wait for a phone: what each costs, how soon it is woken, and that none is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::generator::{histogram, record};
use crate::machine::{cpu_time, memory};
use crate::options::Options;
use crate::people::{Phones, Scanned, Waiting, address_of};
use crate::progress;
use crate::support::wire::Wire;

/// What came of it.
pub struct Streams {
    pub open: usize,
    opened_in: f64,
    pub bytes_each: f64,
    resident: u64,
    /// Of one core, while nothing happens.
    idle_percent: f64,
    /// From the phone's request to the browser's event.
    pub scan: Histogram<u64>,
    confirm: Histogram<u64>,
    storm: Storm,
    /// Until the gateway has forgotten everybody who hung up; `None`: not within half a minute.
    pub freed_in: Option<f64>,
    resident_after: u64,
    /// Some time later.
    resident_at_rest: u64,
}

/// Confirms as fast as possible.
struct Storm {
    confirms: usize,
    per_second: f64,
    woken: u64,
    latencies: Histogram<u64>,
}

pub async fn measure(gateway: &Gateway, options: &Options) -> Streams {
    // What the first streams make once for all is not theirs.
    drop(open(gateway, 50).await);
    settled(gateway, 0.0).await;
    let (process, wanted) = (gateway.process.id(), options.streams as usize);
    let before = memory(&[process]);
    let begin = Instant::now();
    let mut streams = open(gateway, wanted).await;
    let opened_in = begin.elapsed().as_secs_f64();
    assert_eq!(gateway.metric(METRIC).await, wanted as f64, "every stream is counted");
    let idle_percent = idle(process).await;
    let resident = memory(&[process]);
    let phones = Phones::of(&gateway.world);
    progress("waking");
    let (mut scan, mut confirm) = (histogram(), histogram());
    for person in 0..WOKEN.min(wanted / 4) {
        let mut stream = streams.pop_front().expect("enough streams");
        let sent = Instant::now();
        let scanned = scanned(&phones, person, &mut stream, &mut scan, sent).await;
        let sent = Instant::now();
        let woken = async {
            stream.until("confirmed").await.expect("the stream goes on");
            sent.elapsed()
        };
        let (woken, ()) = tokio::join!(woken, phones.confirm(&scanned));
        record(&mut confirm, woken);
    }
    let storm = storm(&phones, &mut streams, options.storm as usize).await;
    progress("hanging up");
    drop(streams);
    let begin = Instant::now();
    let freed = settled(gateway, 0.0).await;
    let freed_in = freed.then(|| begin.elapsed().as_secs_f64());
    let resident_after = memory(&[process]);
    progress("memory is given back");
    tokio::time::sleep(REST).await;
    Streams {
        open: wanted,
        opened_in,
        bytes_each: resident.saturating_sub(before) as f64 / wanted as f64,
        resident,
        idle_percent,
        scan,
        confirm,
        storm,
        freed_in,
        resident_after,
        resident_at_rest: memory(&[process]),
    }
}

async fn open(gateway: &Gateway, count: usize) -> VecDeque<Waiting> {
    let mut openers = JoinSet::new();
    for opener in 0..OPENERS {
        let world = Arc::clone(&gateway.world);
        openers.spawn(async move {
            let mut pages = Wire::open(world.address).await;
            let mut open = Vec::new();
            for client in (opener..count).step_by(OPENERS) {
                if opener == 0 {
                    progress(&format!("{client} of {count} streams are open"));
                }
                let from = address_of(u32::try_from(client).expect("fewer"));
                open.push(Waiting::open(&world, &mut pages, from).await);
            }
            open
        });
    }
    openers.join_all().await.into_iter().flatten().collect()
}

async fn scanned(
    phones: &Phones,
    person: usize,
    stream: &mut Waiting,
    latencies: &mut Histogram<u64>,
    sent: Instant,
) -> Scanned {
    let ticket = stream.ticket.clone();
    let woken = async {
        let event = stream.until("scanned").await.expect("the stream goes on");
        (sent.elapsed(), event["number"].as_i64().expect("a number"))
    };
    let ((woken, number), handle) = tokio::join!(woken, phones.scan(person, &ticket));
    record(latencies, woken);
    Scanned { handle, number }
}

/// Scans first, a few at a time; then all confirms, as fast as connections allow. Each stream has to get its event.
async fn storm(phones: &Phones, streams: &mut VecDeque<Waiting>, confirms: usize) -> Storm {
    progress("scan storm: scanning");
    let confirms = confirms.min(streams.len());
    let permits = Arc::new(Semaphore::new(SCANNING));
    let mut scanning = JoinSet::new();
    for (person, mut stream) in streams.drain(..confirms).enumerate() {
        let (phones, permits) = (phones.clone(), Arc::clone(&permits));
        scanning.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("open");
            let scanned = scanned(&phones, person, &mut stream, &mut histogram(), Instant::now()).await;
            (stream, scanned)
        });
    }
    let ready = scanning.join_all().await;
    progress("scan storm: confirming");
    let permits = Arc::new(Semaphore::new(CONFIRMING));
    let begin = Instant::now();
    let mut confirming = JoinSet::new();
    for (mut stream, scanned) in ready {
        let (phones, permits) = (phones.clone(), Arc::clone(&permits));
        confirming.spawn(async move {
            let permit = permits.acquire_owned().await.expect("open");
            let sent = Instant::now();
            phones.confirm(&scanned).await;
            let answered = Instant::now();
            drop(permit);
            let event = timeout(LOST_AFTER, stream.until("confirmed")).await;
            let woken = event.is_ok_and(|event| event.is_some()).then(|| sent.elapsed());
            (answered, woken)
        });
    }
    let mut latencies = histogram();
    let mut last = begin;
    for (answered, woken) in confirming.join_all().await {
        last = last.max(answered);
        if let Some(woken) = woken {
            record(&mut latencies, woken);
        }
    }
    Storm {
        confirms,
        per_second: confirms as f64 / (last - begin).as_secs_f64(),
        woken: latencies.len(),
        latencies,
    }
}

/// Waits until so many streams are counted; `false` when that never comes.
async fn settled(gateway: &Gateway, streams: f64) -> bool {
    let counted = async {
        while gateway.metric(METRIC).await > streams {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), counted).await.is_ok()
}

async fn idle(process: u32) -> f64 {
    progress("streams wait");
    let (before, begin) = (cpu_time(&[process]), Instant::now());
    tokio::time::sleep(IDLE).await;
    let used = cpu_time(&[process]).saturating_sub(before);
    used.as_secs_f64() * 100.0 / begin.elapsed().as_secs_f64()
}

impl Storm {
    fn lost(&self) -> u64 {
        self.confirms as u64 - self.woken
    }
}

impl Streams {
    pub fn lost(&self) -> u64 {
        self.storm.lost()
    }

    pub fn print(&self) -> String {
        let line = |name: &str, latencies: &Histogram<u64>| {
            format!(
                "  {name:<40} p50 {:>8} µs, p99 {:>8} µs, most {:>8} µs\n",
                latencies.value_at_quantile(0.5),
                latencies.value_at_quantile(0.99),
                latencies.max()
            )
        };
        let freed = self
            .freed_in
            .map_or("NOT within 30 s".to_owned(), |seconds| format!("after {seconds:.2} s"));
        format!(
            "{} waiting pages, opened in {:.1} s: {:.1} KiB each, {} MiB in all, {:.1} % of a core while nothing happens\n",
            self.open,
            self.opened_in,
            self.bytes_each / 1024.0,
            self.resident >> 20,
            self.idle_percent
        ) + &line("scan to the browser's event", &self.scan)
            + &line("confirm to the event", &self.confirm)
            + &format!(
                "  storm: {} confirms at {:.0}/s, {} streams woken, {} lost\n",
                self.storm.confirms,
                self.storm.per_second,
                self.storm.woken,
                self.storm.lost()
            )
            + &line("confirm to the event, in the storm", &self.storm.latencies)
            + &format!(
                "  all hung up: forgotten {freed}, {} MiB stay with the allocator, {} MiB after {} s\n",
                self.resident_after >> 20,
                self.resident_at_rest >> 20,
                REST.as_secs()
            )
    }

    pub fn json(&self) -> Value {
        let latencies = |of: &Histogram<u64>| {
            json!({
                "p50_us": of.value_at_quantile(0.5),
                "p99_us": of.value_at_quantile(0.99),
                "max_us": of.max(),
            })
        };
        json!({
            "open": self.open,
            "opened_in_seconds": self.opened_in,
            "bytes_each": self.bytes_each,
            "memory_bytes": self.resident,
            "idle_percent_of_a_core": self.idle_percent,
            "scan_to_event": latencies(&self.scan),
            "confirm_to_event": latencies(&self.confirm),
            "storm": {
                "confirms": self.storm.confirms,
                "per_second": self.storm.per_second,
                "woken": self.storm.woken,
                "lost": self.storm.lost(),
                "confirm_to_event": latencies(&self.storm.latencies),
            },
            "forgotten_after_seconds": self.freed_in,
            "memory_bytes_after": self.resident_after,
            "memory_bytes_at_rest": self.resident_at_rest,
        })
    }
}

const METRIC: &str = "menshen_waiting_streams";
const OPENERS: usize = 16;
/// One after the other.
const WOKEN: usize = 200;
const SCANNING: usize = 32;
const CONFIRMING: usize = 64;
const LOST_AFTER: Duration = Duration::from_secs(20);
/// After everybody has hung up: longer than the gateway takes to give memory back.
const REST: Duration = Duration::from_secs(90);
/// Longer than a page's look at what other nodes did.
const IDLE: Duration = Duration::from_secs(6);
