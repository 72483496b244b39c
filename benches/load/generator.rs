//! The load: a closed loop for the most that a server can do, an open loop for how long it takes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::lane::{Exchange, Lane, Tls};

/// What is sent, and where.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub tls: Option<Tls>,
    pub exchange: Arc<Exchange>,
    /// Requests at the same time.
    pub lanes: u32,
}

/// Open connections that have each been used once.
pub struct Ready {
    lanes: Vec<Lane>,
    exchange: Arc<Exchange>,
}

/// Latencies in microseconds, and how long it all took.
pub struct Run {
    pub latencies: Histogram<u64>,
    pub seconds: f64,
}

impl Load {
    /// Opens the connections and warms them up.
    pub async fn ready(&self) -> io::Result<Ready> {
        let mut lanes = Lane::open(self.address, self.tls.as_ref(), self.lanes).await?;
        let warmed = lanes.iter_mut().map(|lane| lane.exchange(&self.exchange));
        futures_util::future::try_join_all(warmed).await?;
        Ok(Ready {
            lanes,
            exchange: Arc::clone(&self.exchange),
        })
    }
}

impl Ready {
    /// Each lane sends as soon as it has its answer.
    pub async fn closed(self, length: Duration) -> io::Result<Run> {
        let (begin, end) = (Instant::now(), Instant::now() + length);
        let mut workers = JoinSet::new();
        for mut lane in self.lanes {
            let exchange = Arc::clone(&self.exchange);
            workers.spawn(async move {
                let mut latencies = histogram();
                let mut sent = Instant::now();
                while sent < end {
                    lane.exchange(&exchange).await?;
                    let answered = Instant::now();
                    record(&mut latencies, answered - sent);
                    sent = answered;
                }
                Ok(latencies)
            });
        }
        gather(workers, begin).await
    }

    /// Each lane sends at times fixed beforehand, `rate` in a second all together. A request that could not be sent in
    /// time because the one before it took long is counted from when it should have been sent, so that a slow answer is
    /// not hidden by the requests that it kept back.
    pub async fn open(self, length: Duration, rate: f64) -> io::Result<Run> {
        let lanes = self.lanes.len();
        let begin = Instant::now() + Duration::from_millis(5);
        let arrivals = Arrivals {
            begin,
            end: begin + length,
            between: Duration::from_secs_f64(1.0 / rate),
        };
        let bells: Vec<Arc<Notify>> = (0..lanes).map(|_| Arc::default()).collect();
        let mut workers = JoinSet::new();
        for (place, mut lane) in self.lanes.into_iter().enumerate() {
            let (exchange, bell) = (Arc::clone(&self.exchange), Arc::clone(&bells[place]));
            workers.spawn(async move {
                let mut latencies = histogram();
                for intended in arrivals.from(place).step_by(lanes) {
                    while Instant::now() < intended {
                        bell.notified().await;
                    }
                    lane.exchange(&exchange).await?;
                    record(&mut latencies, intended.elapsed());
                }
                Ok(latencies)
            });
        }
        let clock = std::thread::spawn(move || arrivals.ring(&bells));
        let run = gather(workers, begin).await;
        clock.join().expect("the clock goes on");
        run
    }
}

/// When requests are to be sent.
#[derive(Clone, Copy)]
struct Arrivals {
    begin: Instant,
    end: Instant,
    between: Duration,
}

impl Arrivals {
    fn from(self, first: usize) -> impl Iterator<Item = Instant> {
        (first..)
            .map(move |number| self.begin + self.between.mul_f64(number as f64))
            .take_while(move |&time| time < self.end)
    }

    /// Wakes the lanes in turn. A thread of its own, because the runtime's timers round to milliseconds.
    fn ring(self, bells: &[Arc<Notify>]) {
        shorten_slack();
        for (number, intended) in self.from(0).enumerate() {
            std::thread::sleep(intended.saturating_duration_since(Instant::now()));
            bells[number % bells.len()].notify_one();
        }
    }
}

/// The kernel lets a thread sleep 50 µs longer than it wants, to wake several at once (`PR_SET_TIMERSLACK`).
fn shorten_slack() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    if let Some(thread) = thread.file_name() {
        let file = std::path::Path::new("/proc").join(thread).join("timerslack_ns");
        let _ = std::fs::write(file, "1000");
    }
}

async fn gather(mut workers: JoinSet<io::Result<Histogram<u64>>>, begin: Instant) -> io::Result<Run> {
    let mut latencies = histogram();
    while let Some(of_one) = workers.join_next().await {
        latencies
            .add(of_one.map_err(io::Error::other)??)
            .map_err(io::Error::other)?;
    }
    Ok(Run {
        latencies,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

pub fn histogram() -> Histogram<u64> {
    // Up to ten minutes.
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("three digits")
}

pub fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}
