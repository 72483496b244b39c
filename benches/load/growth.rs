//! What a request costs when there is much of everything: sessions, sites, routes, users.

use std::fmt::Write;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use menshen::config::settings::Algorithm;
use menshen::login::keyring::Keyring;
use menshen::session::token::{Session, SessionId};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, cookie_name};
use crate::generator::Load;
use crate::lane::{Exchange, Http1, Length};
use crate::logins::{self, Rows};
use crate::machine::{cpu_time, memory};
use crate::options::Options;
use crate::support::world::{Plan, SITE};
use crate::upstream::SMALL;
use crate::{progress, requests};

/// One size of one thing.
pub struct Step {
    pub of: &'static str,
    pub size: usize,
    figures: Vec<(&'static str, f64)>,
}

pub async fn measure(application: std::net::SocketAddr, wechat: &Runtime, options: &Options) -> Vec<Step> {
    let mut steps = Vec::new();
    let most = |whole: usize| if options.quick { whole / 100 } else { whole };
    let length = options.round();
    let gateway = Box::pin(Gateway::plain(application, wechat)).await;
    steps.extend(sessions(&gateway, most(1_000_000), length).await);
    drop(gateway);
    for sites in sizes(1, most(10_000)) {
        let step = configured("sites", sites, application, wechat, length, |plan| {
            plan.append(&many_sites(sites))
        });
        steps.push(Box::pin(step).await);
    }
    for routes in sizes(1, most(10_000)) {
        let step = configured("routes", routes, application, wechat, length, |plan| {
            plan.append(&many_routes(routes))
        });
        steps.push(Box::pin(step).await);
    }
    let gateway = Box::pin(Gateway::plain(application, wechat)).await;
    steps.extend(users(&gateway, most(1_000_000), length).await);
    steps
}

/// From the first to the last by a factor of at most a hundred.
fn sizes(first: usize, last: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = std::iter::successors(Some(first), |size| size.checked_mul(100))
        .take_while(|&size| size < last)
        .collect();
    sizes.push(last);
    sizes
}

impl Step {
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|(held, _)| *held == name)
            .map(|&(_, value)| value)
    }
}

/// Sessions that were never anywhere but in their cookies: sealed here with the installation's own key. Each is used
/// once, which opens the cookie and signs an assertion; then all of them at random.
async fn sessions(gateway: &Gateway, most: usize, length: Duration) -> Vec<Step> {
    let world = &gateway.world;
    let process = gateway.process.id();
    let (name, own) = gateway.cookie.split_once('=').expect("a cookie");
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())).expect("years");
    let keys = Keyring::open(&world.store().await, None, Algorithm::Es256, now).await;
    let keys = keys.expect("the installation's keys");
    let session = Session::open(&keys.sealing, name, SITE, own.as_bytes()).expect("the session");
    assert_eq!(name, cookie_name(world));
    let exchange = of_session(gateway);
    let mut rows = Rows::of(world).await;
    let rows_before = rows.count().await;
    // Connections and their buffers are there before anything is weighed.
    warm(gateway, length).await;
    let mut cookies: Vec<Box<[u8]>> = Vec::with_capacity(most);
    let mut steps = Vec::new();
    let mut before = memory(&[process]);
    let mut size = 1_000.min(most);
    loop {
        let known = cookies.len();
        cookies.extend((known..size).map(|_| {
            let mut another = session.clone();
            another.id = SessionId::random().expect("randomness");
            let sealed = another.seal(&keys.sealing, name, SITE, now).expect("a cookie");
            sealed.into_bytes().into_boxed_slice()
        }));
        let all = Arc::new(std::mem::take(&mut cookies));
        progress(&format!("growth: first use of {size} sessions"));
        let used = cpu_time(&[process]);
        let first = each_once(gateway, &exchange, own, &all, known).await.expect("answers");
        let first_cost = (cpu_time(&[process]).saturating_sub(used)).as_secs_f64() * 1e6 / (size - known) as f64;
        let grown = memory(&[process]).saturating_sub(before);
        progress(&format!("growth: {size} sessions at random"));
        let used = cpu_time(&[process]);
        let begin = Instant::now();
        let asked = at_random(gateway, &exchange, own, &all, length).await.expect("answers");
        let cost = (cpu_time(&[process]).saturating_sub(used)).as_secs_f64() * 1e6 / asked as f64;
        steps.push(Step {
            of: "known sessions",
            size,
            figures: vec![
                (COST, cost),
                ("CPU µs for the first request of one", first_cost),
                ("requests per second", asked as f64 / begin.elapsed().as_secs_f64()),
                ("first requests per second", first),
                (BYTES, grown as f64 / (size - known) as f64),
            ],
        });
        cookies = Arc::into_inner(all).expect("nobody asks any more");
        if size >= most {
            break;
        }
        before = memory(&[process]);
        size = (size * 10).min(most);
    }
    // A session that the gateway has forgotten came back from its cookie alone: the store knows none of them.
    assert_eq!(rows.count().await, rows_before, "the minted sessions are in no store");
    steps
}

/// Requests in a second.
async fn each_once(
    gateway: &Gateway,
    exchange: &Arc<Exchange>,
    own: &str,
    cookies: &Arc<Vec<Box<[u8]>>>,
    from: usize,
) -> io::Result<f64> {
    let begin = Instant::now();
    let mut lanes = JoinSet::new();
    for place in 0..LANES {
        let (cookies, exchange, own) = (Arc::clone(cookies), Arc::clone(exchange), own.to_owned());
        let address = gateway.world.address;
        lanes.spawn(async move {
            let mut lane = Http1::open(address).await?;
            for cookie in cookies[from..].iter().skip(place).step_by(LANES) {
                ask(&mut lane, &exchange, &own, cookie).await?;
            }
            io::Result::Ok(())
        });
    }
    for lane in lanes.join_all().await {
        lane?;
    }
    Ok((cookies.len() - from) as f64 / begin.elapsed().as_secs_f64())
}

async fn at_random(
    gateway: &Gateway,
    exchange: &Arc<Exchange>,
    own: &str,
    cookies: &Arc<Vec<Box<[u8]>>>,
    length: Duration,
) -> io::Result<u64> {
    let end = Instant::now() + length;
    let mut lanes = JoinSet::new();
    for place in 0..LANES {
        let (cookies, exchange, own) = (Arc::clone(cookies), Arc::clone(exchange), own.to_owned());
        let address = gateway.world.address;
        lanes.spawn(async move {
            let mut lane = Http1::open(address).await?;
            // A generator of Lehmer's kind (Steele and Vigna, 2021): any order that no cache foresees will do.
            let mut state = (place as u64) * 2 + 1;
            let mut asked = 0;
            while Instant::now() < end {
                state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
                let at = usize::try_from(state >> 33).expect("31 bits") % cookies.len();
                ask(&mut lane, &exchange, &own, &cookies[at]).await?;
                asked += 1;
            }
            io::Result::Ok(asked)
        });
    }
    lanes.join_all().await.into_iter().sum()
}

async fn ask(lane: &mut Http1, exchange: &Exchange, own: &str, cookie: &[u8]) -> io::Result<()> {
    let (before, after) = exchange.around(own).expect("the request has the cookie");
    let bytes = [before, cookie, after].concat();
    lane.exchange(&bytes, exchange).await
}

/// A gateway with so many of something in its configuration.
async fn configured(
    of: &'static str,
    size: usize,
    application: std::net::SocketAddr,
    wechat: &Runtime,
    length: Duration,
    change: impl FnOnce(Plan) -> Plan,
) -> Step {
    progress(&format!("growth: {size} {of}"));
    let begin = Instant::now();
    let gateway = Box::pin(Gateway::changed(application, wechat, change)).await;
    let started = begin.elapsed().as_secs_f64();
    let (rate, cost) = warm(&gateway, length).await;
    Step {
        of,
        size,
        figures: vec![
            (COST, cost),
            ("requests per second", rate),
            (
                "MiB of the gateway",
                memory(&[gateway.process.id()]) as f64 / 1_048_576.0,
            ),
            ("s to start and log in once", started),
        ],
    }
}

/// With an import by the command line, as operators do it.
async fn users(gateway: &Gateway, most: usize, length: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut known = 0;
    for size in sizes(1, most) {
        progress(&format!("growth: {size} users"));
        let begin = Instant::now();
        import(gateway, known, size);
        let imported = begin.elapsed().as_secs_f64();
        known = size;
        let (rate, cost) = warm(gateway, length).await;
        let logins = Box::pin(logins::sustained(gateway, length.max(Duration::from_secs(2)))).await;
        steps.push(Step {
            of: "users",
            size,
            figures: vec![
                (COST, cost),
                ("requests per second", rate),
                ("CPU ms per login", logins.cost()),
                ("logins per second", logins.per_second()),
                ("s for the import", imported),
            ],
        });
    }
    steps
}

fn import(gateway: &Gateway, from: usize, to: usize) {
    let mut table = String::from("username,name,phone,email,groups\n");
    for number in from..to {
        let _ = writeln!(
            table,
            "user{number},Person {number},+86138{number:08},user{number}@example.com,staff;group{}",
            number % 100
        );
    }
    let configuration = gateway.world.configuration();
    let file = configuration.with_file_name("users.csv");
    std::fs::write(&file, table).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_menshen"))
        .arg("--config")
        .arg(&configuration)
        .args(["users", "import"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Requests per second and CPU µs per request with one warm session.
async fn warm(gateway: &Gateway, length: Duration) -> (f64, f64) {
    let load = Load {
        address: gateway.world.address,
        tls: None,
        exchange: of_session(gateway),
        lanes: u32::try_from(LANES).expect("a few"),
    };
    let warm_up = load.ready().await.expect("a gateway").closed(length / 4).await;
    warm_up.expect("answers");
    let ready = load.ready().await.expect("a gateway");
    let processes = [gateway.process.id()];
    let before = cpu_time(&processes);
    let run = ready.closed(length).await.expect("answers");
    let cost = cpu_time(&processes).saturating_sub(before).as_secs_f64() * 1e6;
    let requests = run.latencies.len() as f64;
    (requests / run.seconds, cost / requests)
}

fn of_session(gateway: &Gateway) -> Arc<Exchange> {
    let request = requests::navigation(&gateway.world, "/page", &gateway.cookie);
    Arc::new(Exchange::new(&request, 200, Length::Exactly(SMALL)))
}

fn many_sites(count: usize) -> String {
    let mut text = String::new();
    for number in 1..count {
        let _ = write!(
            text,
            "\n[[sites]]\nname = \"Site {number}\"\nhosts = [\"s{number}.test\"]\nupstreams = [\"http://127.0.0.1:9\"]\n\
             [[sites.routes]]\npath = \"/static/\"\naccess = \"public\"\n"
        );
    }
    text
}

/// Of the site that is asked.
fn many_routes(count: usize) -> String {
    let mut text = String::new();
    for number in 1..count {
        let _ = write!(
            text,
            "\n[[sites.routes]]\npath = \"/part{number}/files/\"\naccess = \"deny\"\n"
        );
    }
    text
}

pub fn print(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "{} {}", step.size, step.of);
        for (name, value) in &step.figures {
            let _ = writeln!(text, "  {name:<40} {value:>12.1}");
        }
    }
    text
}

pub fn json(steps: &[Step]) -> Value {
    let each = steps.iter().map(|step| {
        let figures: serde_json::Map<String, Value> = step
            .figures
            .iter()
            .map(|&(name, value)| (name.to_owned(), json!(value)))
            .collect();
        json!({ "of": step.of, "size": step.size, "figures": figures })
    });
    each.collect()
}

/// Figures that targets look at.
pub const COST: &str = "CPU µs per request";
pub const BYTES: &str = "bytes for each that was added";
const LANES: usize = 32;
