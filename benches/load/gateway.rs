//! Menshen itself: the binary in a process of its own, as an operator runs it, once plain and once with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use menshen::sandbox::Persona;
use tokio::runtime::Runtime;

use crate::certificate::Certificate;
use crate::daemon::free_addresses;
use crate::peers::THREADS;
use crate::support::process::Process;
use crate::support::wire::{Request, Wire};
use crate::support::world::{PUBLIC_HOST, Plan};
use crate::support::{Browser, World};

/// A running gateway with its WeChat, and a browser that has logged in.
pub struct Gateway {
    pub world: Arc<World>,
    pub process: Process,
    /// Where it says how it is.
    pub admin: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub secure: Option<SocketAddr>,
    /// The session cookie as a browser sends it.
    pub cookie: String,
}

impl Gateway {
    /// One of its metrics.
    pub async fn metric(&self, name: &str) -> f64 {
        let request = Request::new("GET", "/metrics").header("Host", "localhost");
        let text = Wire::open(self.admin).await.send(&request).await.expect(200).text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Plain HTTP.
    pub async fn plain(application: SocketAddr, wechat: &Runtime) -> Self {
        Self::changed(application, wechat, |plan| plan).await
    }

    /// Plain HTTP with another configuration. WeChat runs on the threads of `wechat`, so that its time can be told from the generator's.
    pub async fn changed(application: SocketAddr, wechat: &Runtime, change: impl FnOnce(Plan) -> Plan) -> Self {
        let admin = free_addresses(1)[0];
        let plan = plan(World::plan(), application, "http").set("server.admin_listen", admin.to_string());
        let plan = change(plan);
        let starting = wechat.spawn(async move { Box::pin(plan.start_process()).await });
        let (world, process) = starting.await.expect("a gateway");
        let cookie = log_in(&world).await;
        Self {
            world: Arc::new(world),
            process,
            admin,
            secure: None,
            cookie,
        }
    }

    /// TLS with HTTP/2, and beside it a plain listener for proxies that ask.
    pub async fn secure(application: SocketAddr, wechat: &Runtime, certificate: &Certificate) -> Self {
        let addresses = free_addresses(3);
        let (plain, secure) = (addresses[0], addresses[1]);
        let directory = certificate.directory().display();
        let server = format!(
            "listen = [{{ address = \"{plain}\", tls = false }}, \"{secure}\"]\n\
             tls = {{ cert = \"{directory}/cert.pem\", key = \"{directory}/key.pem\" }}"
        );
        let server: toml::Table = server.parse().expect("TOML");
        let plan = plan(World::plan_https(), application, "https");
        let mut plan = plan.set("server.admin_listen", addresses[2].to_string());
        for (key, value) in server {
            plan = plan.set(&format!("server.{key}"), value);
        }
        let building = wechat.spawn(async move { Box::pin(plan.build()).await });
        let mut world = building.await.expect("a world");
        world.address = plain;
        std::fs::write(world.configuration(), world.text()).expect("a file");
        let process = Process::serve(&world.configuration()).await;
        let cookie = log_in(&world).await;
        Self {
            world: Arc::new(world),
            process,
            admin: addresses[2],
            secure: Some(secure),
            cookie,
        }
    }
}

async fn log_in(world: &World) -> String {
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    session_cookie(&browser)
}

fn session_cookie(browser: &Browser<'_>) -> String {
    let name = cookie_name(browser.world);
    let value = browser.cookie(name).expect("a session");
    format!("{name}={value}")
}

/// Of the session.
pub fn cookie_name(world: &World) -> &'static str {
    if world.is_https() { "__Host-menshen" } else { "menshen" }
}

/// With limits that a load test from one address does not meet, and without an access log, like everybody here.
fn plan(plan: Plan, application: SocketAddr, scheme: &str) -> Plan {
    let plan = match std::env::var("MENSHEN_TEST_POSTGRES") {
        Ok(server) => plan.set("store.url", server),
        Err(_) => plan,
    };
    plan.set("sites.0.upstreams", vec![format!("http://{application}")])
        .set("server.threads", i64::try_from(THREADS).expect("a few"))
        // They ask about requests.
        .set("server.trusted_proxies", vec!["127.0.0.1/32"])
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", format!("{scheme}://{PUBLIC_HOST}/m/"))
        .set("limits.login_pages", "100000000/min")
        .set("limits.phone_calls", "100000000/min")
        .set("limits.phone_calls_per_person", "100000000/min")
        .set("limits.waiting_streams", 1_000_000)
        // Twenty thousand pages take a while to open.
        .set("login.ticket_ttl", "5m")
        .set("log.level", "info,access=warn")
        // WeChat lets a person log in a hundred times a minute.
        .wechat(|wechat| {
            let example = wechat.personas[0].clone();
            wechat.personas.extend((0..PEOPLE).map(|number| Persona {
                id: persona(number),
                ..example.clone()
            }));
        })
}

/// One of [`PEOPLE`].
pub fn persona(number: usize) -> String {
    format!("person{}", number % PEOPLE)
}

/// Of the store: `.ci/with-postgres` puts a PostgreSQL behind the run.
pub fn engine() -> &'static str {
    if std::env::var_os("MENSHEN_TEST_POSTGRES").is_some() {
        "PostgreSQL"
    } else {
        "SQLite"
    }
}

const PEOPLE: usize = 2_000;
