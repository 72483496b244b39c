//! Whole logins, and strangers who only look.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Row};
use tokio::task::JoinSet;

use crate::gateway::{Gateway, engine};
use crate::generator::{histogram, record};
use crate::machine::{cpu_time, own_cpu_time, threads};
use crate::people::{Phones, Scanned, Waiting, open_page};
use crate::support::World;
use crate::support::wire::Wire;
use crate::{WECHAT, progress};

/// Logins one after the other on several lanes, and where the time went.
pub struct Logins {
    done: u64,
    seconds: f64,
    steps: Steps,
    /// Seconds of CPU time of gateway, store, WeChat and generator.
    cpu: [f64; 4],
}

/// Latencies of each step in microseconds.
struct Steps([Histogram<u64>; 6]);

impl Steps {
    fn new() -> Self {
        Self(std::array::from_fn(|_| histogram()))
    }

    fn add(&mut self, other: &Self) {
        for (own, others) in self.0.iter_mut().zip(&other.0) {
            own.add(others).expect("the same bounds");
        }
    }
}

/// Page, stream, scan, confirm, redeem, and what was wanted, by people who know nothing of each other.
pub async fn sustained(gateway: &Gateway, length: Duration) -> Logins {
    progress("logins");
    // Everybody once, so that users exist and codes are warm.
    log_in_for(&gateway.world, Duration::from_millis(500)).await;
    let before = Spent::until_now(gateway);
    let begin = Instant::now();
    let steps = log_in_for(&gateway.world, length).await;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = Spent::until_now(gateway).since(&before);
    Logins {
        done: steps.0[5].len(),
        seconds,
        steps,
        cpu,
    }
}

async fn log_in_for(world: &Arc<World>, length: Duration) -> Steps {
    let end = Instant::now() + length;
    let next = Arc::new(AtomicUsize::new(0));
    let phones = Phones::of(world);
    let mut lanes = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (world, next, phones) = (Arc::clone(world), Arc::clone(&next), phones.clone());
        lanes.spawn(async move {
            let mut pages = Wire::open(world.address).await;
            let mut steps = Steps::new();
            while Instant::now() < end {
                let person = next.fetch_add(1, Ordering::Relaxed);
                log_in(&world, &mut pages, &phones, person, &mut steps).await;
            }
            steps
        });
    }
    let mut all = Steps::new();
    while let Some(of_one) = lanes.join_next().await {
        all.add(&of_one.expect("logins work"));
    }
    all
}

async fn log_in(world: &World, pages: &mut Wire, phones: &Phones, person: usize, steps: &mut Steps) {
    let mut begin = Instant::now();
    let mut step = |place: usize| {
        let now = Instant::now();
        record(&mut steps.0[place], now - begin);
        begin = now;
    };
    let (mut browser, ticket) = open_page(world, pages).await;
    step(0);
    let mut waiting = Waiting::stream(&mut browser, ticket, Ipv4Addr::LOCALHOST).await;
    step(1);
    let handle = phones.scan(person, &waiting.ticket).await;
    let event = waiting.until("scanned").await.expect("the stream goes on");
    step(2);
    let number = event["number"].as_i64().expect("a number");
    phones.confirm(&Scanned { handle, number }).await;
    waiting.until("confirmed").await.expect("the stream goes on");
    step(3);
    let browser = waiting.redeem(world, pages).await;
    step(4);
    let request = browser.navigation("GET", "/").header("Sec-Fetch-Site", "same-origin");
    let _ = pages.send(&request).await.expect(200);
    step(5);
}

impl Logins {
    /// Milliseconds of the gateway's and the store's CPU time for one.
    pub fn cost(&self) -> f64 {
        (self.cpu[0] + self.cpu[1]) * 1e3 / self.done.max(1) as f64
    }

    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    pub fn print(&self) -> String {
        let each = |seconds: f64| seconds * 1e3 / self.done.max(1) as f64;
        let [gateway, store, wechat, generator] = self.cpu.map(each);
        let mut text = format!(
            "Whole logins on {}, {AT_ONCE} at a time: {:.0}/s; CPU ms each: gateway {gateway:.2}, store {store:.2}, WeChat's \
             stand-in {wechat:.2}, generator {generator:.2}; {:.0} % of all cores\n",
            engine(),
            self.per_second(),
            self.cpu.iter().sum::<f64>() * 100.0 / self.seconds / crate::machine::cores() as f64,
        );
        for (name, latencies) in STEPS.iter().zip(&self.steps.0) {
            text += &format!(
                "  {name:<30} p50 {:>7} µs, p99 {:>7} µs\n",
                latencies.value_at_quantile(0.5),
                latencies.value_at_quantile(0.99)
            );
        }
        text
    }

    pub fn json(&self) -> Value {
        let steps = STEPS.iter().zip(&self.steps.0).map(|(name, latencies)| {
            json!({
                "step": name,
                "p50_us": latencies.value_at_quantile(0.5),
                "p99_us": latencies.value_at_quantile(0.99),
            })
        });
        let [gateway, store, wechat, generator] = self.cpu;
        json!({
            "store": engine(),
            "at_once": AT_ONCE,
            "done": self.done,
            "seconds": self.seconds,
            "per_second": self.per_second(),
            "cpu_seconds": { "gateway": gateway, "store": store, "wechat": wechat, "generator": generator },
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

/// CPU time so far, by who spent it.
struct Spent([Duration; 4]);

impl Spent {
    fn until_now(gateway: &Gateway) -> Self {
        let of = |process: u32, name: &str| -> Duration {
            let all = threads(process);
            all.iter()
                .filter(|(held, _)| held.starts_with(name))
                .map(|(_, time)| *time)
                .sum()
        };
        let embedded = of(gateway.process.id(), SQLITE);
        let store = embedded + postgres().map_or(Duration::ZERO, |process| cpu_time(&[process]));
        let wechat = of(std::process::id(), WECHAT);
        Self([
            cpu_time(&[gateway.process.id()]).saturating_sub(embedded),
            store,
            wechat,
            own_cpu_time().saturating_sub(wechat),
        ])
    }

    fn since(&self, before: &Self) -> [f64; 4] {
        std::array::from_fn(|place| self.0[place].saturating_sub(before.0[place]).as_secs_f64())
    }
}

/// The server that `.ci/with-postgres` started: its data stand beside its socket.
fn postgres() -> Option<u32> {
    let server = std::env::var("MENSHEN_TEST_POSTGRES").ok()?;
    let directory = server.split("host=").nth(1)?.split('&').next()?;
    let file = std::fs::read_to_string(format!("{directory}/db/postmaster.pid")).ok()?;
    file.lines().next()?.trim().parse().ok()
}

/// What the store holds of everything that a login touches.
pub struct Rows {
    connection: AnyConnection,
}

impl Rows {
    pub async fn of(world: &World) -> Self {
        sqlx::any::install_default_drivers();
        let file = world.configuration().with_file_name("menshen.db");
        let url = std::env::var("MENSHEN_TEST_POSTGRES").unwrap_or_else(|_| format!("sqlite:{}", file.display()));
        Self {
            connection: AnyConnection::connect(&url).await.expect("the store"),
        }
    }

    pub async fn count(&mut self) -> HashMap<&'static str, i64> {
        let mut counts = HashMap::new();
        for (table, statement) in TABLES {
            let row = sqlx::query(statement).fetch_one(&mut self.connection).await;
            counts.insert(table, row.expect("a count").get(0));
        }
        counts
    }
}

/// Login pages for strangers, while the store is watched: no row appears or goes, and on SQLite no transaction of anybody
/// changes the file but the node's own sign of life, which comes once a minute.
pub async fn views_write_nothing(gateway: &Gateway, length: Duration) -> Value {
    progress("anonymous views");
    let mut rows = Rows::of(&gateway.world).await;
    let before = rows.count().await;
    let end = Instant::now() + length;
    let stop = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn(count_changes(Arc::clone(&gateway.world), Arc::clone(&stop)));
    let mut lanes = JoinSet::new();
    for _ in 0..AT_ONCE {
        let world = Arc::clone(&gateway.world);
        lanes.spawn(async move {
            let mut pages = Wire::open(world.address).await;
            let mut views = 0_u64;
            while Instant::now() < end {
                open_page(&world, &mut pages).await;
                views += 1;
            }
            views
        });
    }
    let views: u64 = lanes.join_all().await.iter().sum();
    stop.store(true, Ordering::Relaxed);
    let changes = changes.await.expect("the store is watched");
    assert_eq!(rows.count().await, before, "anonymous views changed the store");
    let allowed = 1 + length.as_secs() / 60;
    if let Some(changes) = changes {
        assert!(
            changes <= allowed,
            "{changes} transactions changed the store during {views} anonymous views"
        );
    }
    json!({ "store": engine(), "views": views, "changed_rows": 0, "transactions_that_changed_anything": changes })
}

/// Transactions of others, as `PRAGMA data_version` tells them; several within a look count as one.
async fn count_changes(world: Arc<World>, stop: Arc<AtomicBool>) -> Option<u64> {
    if std::env::var_os("MENSHEN_TEST_POSTGRES").is_some() {
        return None;
    }
    let mut watch = world.watch_store().await;
    let (mut last, mut changes) = (watch.version().await, 0);
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let version = watch.version().await;
        changes += u64::from(version != last);
        last = version;
    }
    Some(changes)
}

const AT_ONCE: usize = 16;
const STEPS: [&str; 6] = [
    "page",
    "stream opened",
    "scan to the browser's event",
    "confirm to the event",
    "redeem",
    "first page of the application",
];
/// How sqlx names its threads.
const SQLITE: &str = "sqlx-sqlite";
const TABLES: [(&str, &str); 6] = [
    ("tickets", "SELECT count(*) FROM tickets"),
    ("sessions", "SELECT count(*) FROM sessions"),
    ("users", "SELECT count(*) FROM users"),
    ("identities", "SELECT count(*) FROM identities"),
    ("handoffs", "SELECT count(*) FROM handoffs"),
    ("audit", "SELECT count(*) FROM audit"),
];
