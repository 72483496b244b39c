//! Browsers that wait and phones that scan, with as little around them as a load generator can afford: the requests are
//! those of the tests, the answers are not held against every rule.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::gateway::persona;
use crate::support::browser::Cookie;
use crate::support::phone::Phone;
use crate::support::wire::Wire;
use crate::support::world::SITE;
use crate::support::{Answer, Browser, World};

/// A login page that waits at its stream.
pub struct Waiting {
    pub ticket: String,
    cookies: Vec<Cookie>,
    wire: Wire,
    text: String,
}

/// What a phone holds after its scan.
pub struct Scanned {
    pub handle: Value,
    pub number: i64,
}

/// Phones' connections, kept open between calls.
#[derive(Clone)]
pub struct Phones {
    world: Arc<World>,
    idle: Arc<Mutex<Vec<Wire>>>,
}

impl Waiting {
    /// Opens the page on a connection that is used again, and the stream on one of its own.
    pub async fn open(world: &World, pages: &mut Wire, from: Ipv4Addr) -> Self {
        let (mut browser, ticket) = open_page(world, pages).await;
        Self::stream(&mut browser, ticket, from).await
    }

    /// The stream of a page.
    pub async fn stream(browser: &mut Browser<'_>, ticket: String, from: Ipv4Addr) -> Self {
        let request = browser
            .script("GET", &format!("/.menshen/tickets/{ticket}/events"))
            .without("Accept")
            .header("Accept", "text/event-stream");
        let mut wire = Wire::over(connect(browser.world.address, from).await);
        wire.write(&request.bytes()).await;
        let _ = wire.head().await.expect(200);
        let mut waiting = Self {
            ticket,
            cookies: std::mem::take(&mut browser.cookies),
            wire,
            text: String::new(),
        };
        waiting.next().await.expect("a first event");
        waiting
    }

    /// The first event that says this status; `None` when the stream ended before.
    pub async fn until(&mut self, status: &str) -> Option<Value> {
        loop {
            let event = self.next().await?;
            if event["status"] == status {
                return Some(event);
            }
        }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.map(|data| serde_json::from_str(data).expect("JSON"));
                self.text = rest.to_owned();
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let chunk = self.wire.chunk().await?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// Redeems on a connection that is used again: a browser with a session.
    pub async fn redeem<'w>(self, world: &'w World, pages: &mut Wire) -> Browser<'w> {
        let mut browser = world.browser();
        browser.cookies = self.cookies;
        let target = format!("/.menshen/tickets/{}/redeem", self.ticket);
        let request = browser.script("POST", &target).json(&json!({}));
        let answer = pages.send(&request).await.expect(200);
        browser.keep(&answer);
        browser
    }
}

/// A stranger's click, and the ticket of the page that came.
pub async fn open_page<'w>(world: &'w World, pages: &mut Wire) -> (Browser<'w>, String) {
    let mut browser = Browser::new(world, SITE);
    let request = browser.navigation("GET", "/").header("Sec-Fetch-Site", "none");
    let answer = pages.send(&request).await.expect(401);
    browser.keep(&answer);
    let ticket = answer.login_page().ticket;
    (browser, ticket)
}

impl Phones {
    pub fn of(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            idle: Arc::default(),
        }
    }

    /// Scans, and reads in the answer how to go on.
    pub async fn scan(&self, person: usize, ticket: &str) -> Value {
        let world = &self.world;
        let code = world.sandbox.login_code(world.app_id(), &persona(person));
        let code = code.expect("a person of the sandbox");
        let body = json!({ "scene": ticket, "code": code, "entry": 1047 });
        let answer = self.call("scan", &body).await.expect(200);
        answer.json()["handle"].clone()
    }

    pub async fn confirm(&self, scanned: &Scanned) {
        let body = json!({ "handle": scanned.handle, "choice": scanned.number });
        let _ = self.call("confirm", &body).await.expect(200);
    }

    async fn call(&self, name: &str, body: &Value) -> Answer {
        let request = Phone::new(&self.world, "lilei").request(name, body);
        let idle = self.idle.lock().expect("nobody panics").pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::open(self.world.address).await,
        };
        let answer = wire.send(&request).await;
        self.idle.lock().expect("nobody panics").push(wire);
        answer
    }
}

/// From one of the many addresses of loopback: one alone has ports for some 28,000 connections to a server.
async fn connect(address: SocketAddr, from: Ipv4Addr) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("a port");
    socket.connect(address).await.expect("the gateway listens")
}

/// Of the n-th client.
pub fn address_of(client: u32) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(1 + client % 200).expect("below 201"))
}
