//! What a gateway costs under load, against a bare Pingora proxy, in one run.
//!
//! `make bench`. The gateway is the real binary in a process of its own, as an operator runs it; so is the bare proxy. Each
//! case is measured in rounds that alternate with the others, so that whatever else the machine does falls on all of
//! them. Requests per second depend on the machine and on the load generator beside it; CPU time per request, read from
//! the kernel, and the ratio to the bare proxy do not nearly as much.
//!
//! Everything is on loopback, and nothing leaves it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
// The tests' world: a gateway with WeChat and people around it. Not all of it is needed here.
#![allow(dead_code, unused_imports)]

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use menshen::sandbox::Persona;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[path = "../tests/integration/support/mod.rs"]
mod support;

use support::World;
use support::process::Process;
use support::wire::find;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(BARE) {
        bare::serve(arguments.next().unwrap().parse().unwrap());
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure());
}

/// One kind of request at one server.
struct Case {
    name: &'static str,
    server: u32,
    address: SocketAddr,
    request: Vec<u8>,
    status: u16,
    rounds: Vec<Round>,
}

/// What came of one round.
struct Round {
    requests: u64,
    seconds: f64,
    /// CPU time of the server, all its threads.
    cpu: Duration,
    latencies: Histogram<u64>,
}

async fn measure() {
    let application = application().await;
    let (mut bare, bare_address) = bare_proxy(application).await;
    let (world, process) = gateway(application).await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let session = browser.script("GET", "/page").bytes();
    let stranger = world.browser();
    let public = stranger.script("GET", "/public/page").bytes();
    let cases = [
        (
            "bare Pingora proxy",
            bare.id().unwrap(),
            bare_address,
            public.clone(),
            200,
        ),
        ("public route", process.id(), world.address, public, 200),
        (
            "session: headers and assertion",
            process.id(),
            world.address,
            session,
            200,
        ),
        (
            "refusal in JSON",
            process.id(),
            world.address,
            stranger.script("GET", "/page").bytes(),
            401,
        ),
        (
            "login page with a fresh code",
            process.id(),
            world.address,
            stranger
                .navigation("GET", "/page")
                .header("Sec-Fetch-Site", "none")
                .bytes(),
            401,
        ),
    ];
    let mut cases = cases.map(|(name, server, address, request, status)| Case {
        name,
        server,
        address,
        request,
        status,
        rounds: Vec::new(),
    });
    for round in 0..=ROUNDS {
        for case in &mut cases {
            progress(&format!("round {round} of {ROUNDS}: {}", case.name));
            let measured = case.round().await;
            // The first warms up.
            if round > 0 {
                case.rounds.push(measured);
            }
        }
    }
    progress("");
    println!(
        "{CONNECTIONS} connections, {ROUNDS} rounds of {} s each",
        ROUND.as_secs()
    );
    println!(
        "{:<32} {:>10} {:>10} {:>10} {:>12} {:>8}",
        "", "requests/s", "median µs", "99 % µs", "CPU µs/req", "to bare"
    );
    let bare_cpu = cases[0].cpu_per_request();
    for case in &cases {
        case.print(bare_cpu);
    }
    logins(&world, &process).await;
    waiting_pages(&world, &process).await;
    bare.kill().await.unwrap();
}

impl Case {
    async fn round(&self) -> Round {
        let before = cpu_time(self.server);
        let (begin, end) = (Instant::now(), Instant::now() + ROUND);
        let mut workers = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (address, request, status) = (self.address, self.request.clone(), self.status);
            workers.spawn(async move { hammer(address, &request, status, end).await });
        }
        let mut latencies = Histogram::new(3).unwrap();
        while let Some(of_one) = workers.join_next().await {
            latencies.add(of_one.unwrap()).unwrap();
        }
        Round {
            requests: latencies.len(),
            seconds: begin.elapsed().as_secs_f64(),
            cpu: cpu_time(self.server).saturating_sub(before),
            latencies,
        }
    }

    fn requests(&self) -> u64 {
        self.rounds.iter().map(|round| round.requests).sum()
    }

    /// Microseconds.
    fn cpu_per_request(&self) -> f64 {
        let cpu: Duration = self.rounds.iter().map(|round| round.cpu).sum();
        cpu.as_secs_f64() * 1e6 / self.requests() as f64
    }

    fn print(&self, bare_cpu: f64) {
        let mut rates: Vec<f64> = self
            .rounds
            .iter()
            .map(|round| round.requests as f64 / round.seconds)
            .collect();
        rates.sort_by(f64::total_cmp);
        let mut all: Histogram<u64> = Histogram::new(3).unwrap();
        for round in &self.rounds {
            all.add(&round.latencies).unwrap();
        }
        println!(
            "{:<32} {:>10.0} {:>10} {:>10} {:>12.1} {:>7.2}×",
            self.name,
            rates[rates.len() / 2],
            all.value_at_quantile(0.5),
            all.value_at_quantile(0.99),
            self.cpu_per_request(),
            self.cpu_per_request() / bare_cpu,
        );
    }
}

/// One request after the other on one connection: their latencies in microseconds.
async fn hammer(address: SocketAddr, request: &[u8], status: u16, end: Instant) -> Histogram<u64> {
    let mut latencies = Histogram::new(3).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(64 * 1024);
    while Instant::now() < end {
        let begin = Instant::now();
        stream.write_all(request).await.unwrap();
        read_answer(&mut stream, &mut buffer, status).await;
        latencies
            .record(begin.elapsed().as_micros().try_into().unwrap())
            .unwrap();
    }
    latencies
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, status: u16) {
    buffer.clear();
    let head = loop {
        match find(buffer, b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => assert!(stream.read_buf(buffer).await.unwrap() > 0, "the connection ended"),
        }
    };
    let text = std::str::from_utf8(&buffer[..head]).unwrap();
    assert_eq!(text[9..12], status.to_string(), "{text}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    let whole = head + length.expect("content-length");
    while buffer.len() < whole {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the connection ended");
    }
}

/// Whole logins, page to session, of people who know nothing of each other.
async fn logins(world: &World, process: &Process) {
    let before = cpu_time(process.id());
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let at_once = (0..AT_ONCE).map(|_| async {
        while begin.elapsed() < LOGINS {
            let person = persona(next.fetch_add(1, Ordering::Relaxed) % PEOPLE);
            world.browser().log_in(&person).await;
        }
    });
    futures_util::future::join_all(at_once).await;
    let (done, seconds) = (next.into_inner(), begin.elapsed().as_secs_f64());
    let cpu = cpu_time(process.id()).saturating_sub(before);
    println!(
        "\nwhole logins (page, scan, confirm, redeem; {}): {:.0}/s, {:.1} ms CPU each",
        engine(),
        done as f64 / seconds,
        cpu.as_secs_f64() * 1e3 / done as f64,
    );
}

/// Of the store: `.ci/with-postgres` puts a PostgreSQL behind the run.
fn engine() -> &'static str {
    if std::env::var_os("MENSHEN_TEST_POSTGRES").is_some() {
        "PostgreSQL"
    } else {
        "SQLite"
    }
}

fn persona(number: usize) -> String {
    format!("person{number}")
}

/// Pages that wait at their stream: what each keeps in memory.
async fn waiting_pages(world: &World, process: &Process) {
    let before = resident(process.id());
    let mut streams = Vec::new();
    for _ in 0..WAITING {
        let mut browser = world.browser();
        let page = browser.open("/").await.login_page();
        let mut events = browser.events(&page).await;
        events.next().await;
        streams.push(events);
    }
    let grown = resident(process.id()).saturating_sub(before);
    println!(
        "{WAITING} waiting pages: {} KiB each, {} MiB resident in all",
        grown / 1024 / WAITING,
        resident(process.id()) >> 20
    );
}

/// A gateway in front of the application, with limits that a load test from one address does not meet.
async fn gateway(application: SocketAddr) -> (World, Process) {
    let plan = match std::env::var("MENSHEN_TEST_POSTGRES") {
        Ok(server) => World::plan().set("store.url", server),
        Err(_) => World::plan(),
    };
    plan.set("sites.0.upstreams", vec![format!("http://{application}")])
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", "http://login.test/m/")
        .set("limits.login_pages", "100000000/min")
        .set("limits.phone_calls", "100000000/min")
        .set("limits.phone_calls_per_person", "100000000/min")
        .set("limits.waiting_streams", 1_000_000)
        .set("log.level", "info,access=warn")
        // WeChat lets a person log in a hundred times a minute.
        .wechat(|wechat| {
            let example = wechat.personas[0].clone();
            wechat.personas.extend((0..PEOPLE).map(|number| Persona {
                id: persona(number),
                ..example.clone()
            }));
        })
        .start_process()
        .await
}

async fn bare_proxy(application: SocketAddr) -> (tokio::process::Child, SocketAddr) {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([BARE, &application.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.next_line().await.unwrap().expect("an address").parse().unwrap();
    (child, address)
}

/// Answers everything with a kilobyte, and keeps connections open.
async fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = "x".repeat(1024);
    let answer: Arc<[u8]> =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n{body}")
            .into_bytes()
            .into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut buffer = Vec::with_capacity(16 * 1024);
                while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                    if find(&buffer, b"\r\n\r\n").is_some() {
                        buffer.clear();
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

/// User and system time of a process (`proc_pid_stat(5)`).
fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name may hold anything; the fields after it are numbers.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Bytes of memory that a process holds.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// The least that Pingora does to pass a request on.
mod bare {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener};

    use async_trait::async_trait;
    use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
    use pingora::server::Server;
    use pingora::upstreams::peer::HttpPeer;

    struct Bare(SocketAddr);

    #[async_trait]
    impl ProxyHttp for Bare {
        type CTX = ();

        fn new_ctx(&self) {}

        async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
            Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
        }
    }

    /// Says where it listens, and serves for ever.
    pub(super) fn serve(application: SocketAddr) -> ! {
        // Pingora binds by address: a port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = Server::new(None).unwrap();
        server.bootstrap();
        let mut proxy = http_proxy_service(&server.configuration, Bare(application));
        proxy.threads = Some(2);
        proxy.add_tcp(&address.to_string());
        server.add_service(proxy);
        println!("{address}");
        std::io::stdout().flush().unwrap();
        server.run_forever()
    }
}

const BARE: &str = "--bare-proxy";
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const LOGINS: Duration = Duration::from_secs(5);
/// Logins under way at the same time.
const AT_ONCE: usize = 16;
const PEOPLE: usize = 500;
const WAITING: usize = 2_000;
/// `sysconf(_SC_CLK_TCK)` of every Linux.
const TICKS: u64 = 100;
