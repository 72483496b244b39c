//! What only a running gateway shows: framing, connections, and what passes between a client and an upstream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::Path;

use allocation_counter::measure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use url::Url;

use super::*;
use crate::config::{System, parse};
use crate::identity::person::{Authentication, Method, Person};
use crate::session::token::{Session, SessionId};

struct Rig {
    gateway: Gateway,
    address: SocketAddr,
    clock: Clock,
    /// Heads that the upstream got.
    heads: tokio::sync::mpsc::UnboundedReceiver<String>,
    _directory: tempfile::TempDir,
}

impl Rig {
    /// A gateway before an upstream that reads a head and answers every request with `answer`.
    async fn start(answer: &'static str, public_url: &str) -> Self {
        // Another test may have installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (said, heads) = tokio::sync::mpsc::unbounded_channel();
        let upstream_address = upstream.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = upstream.accept().await {
                let said = said.clone();
                tokio::spawn(async move {
                    loop {
                        let mut read = Vec::new();
                        while !read.ends_with(b"\r\n\r\n") {
                            let Ok(byte) = stream.read_u8().await else { return };
                            read.push(byte);
                        }
                        let _ = said.send(String::from_utf8_lossy(&read).into_owned());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(upstream_address, directory.path(), public_url);
        let doors = Doors::open(&settings).unwrap();
        let address = doors.addresses()[0];
        if settings.server.public_url.scheme() == "http" {
            settings.server.public_url = Url::parse(&format!("http://{address}")).unwrap();
        }
        let clock = Clock::default();
        let gateway = Gateway::start_at(doors, settings, clock.clone()).await.unwrap();
        while !gateway.snapshot().registry.is_ready() {
            tokio::task::yield_now().await;
        }
        Self {
            gateway,
            address,
            clock,
            heads,
            _directory: directory,
        }
    }

    /// Sends bytes; what came back until the answer is complete or the connection ended.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    }
}

async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let complete = async {
        let mut byte = [0];
        while stream.read(&mut byte).await.is_ok_and(|count| count == 1) {
            answer.push(byte[0]);
            let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), complete).await.expect("no answer");
    String::from_utf8(answer).unwrap()
}

fn settings(upstream: SocketAddr, directory: &Path, public_url: &str) -> Settings {
    let text = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
admin_listen = "off"
public_url = "{public_url}"
trusted_proxies = ["127.0.0.1/32"]
data_dir = "{}"
grace_period = "20s"

[[connections]]
id = "staff"
kind = "miniprogram-qr"
app_id = "wx0123456789abcdef"
app_secret = "0123456789abcdef0123456789abcdef"
qr = "link"
link_prefix = "{public_url}/m/"

[[sites]]
name = "App"
hosts = ["app.test"]
upstreams = ["http://{upstream}"]
request_body = "1KiB"

[[sites.routes]]
path = "/"
access = "public"
"#,
        directory.display()
    );
    match parse(&directory.join("menshen.toml"), &text, &System) {
        Ok(loaded) => loaded.settings,
        Err(mistakes) => panic!("{mistakes:?}"),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_body_without_a_length_is_held_to_the_limit() {
    let rig = Rig::start("", "http://127.0.0.1:1").await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = "POST /up HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = rig.send(&format!("{head}{chunk}{chunk}")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_sets_no_cookie_of_ours() {
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: x\r\nSet-Cookie: menshen=planted\r\nSet-Cookie: app=1\r\n\r\n";
    let rig = Rig::start(upgraded, "http://127.0.0.1:1").await;
    let answer = rig
        .send(
            "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("app=1") && !answer.contains("planted"), "{answer}");
}

#[tokio::test]
async fn only_a_navigation_to_the_login_page_gets_a_ticket() {
    let rig = Rig::start(OK, "http://127.0.0.1:1").await;
    let login =
        |lines: &str| format!("GET /.menshen/login HTTP/1.1\r\nHost: app.test\r\nAccept: text/html\r\n{lines}\r\n");
    for lines in [
        "Sec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Dest: document\r\nSec-Purpose: prefetch\r\n",
        "X-Requested-With: x\r\n",
    ] {
        let answer = rig.send(&login(lines)).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{lines} {answer}");
        assert!(!answer.to_ascii_lowercase().contains("set-cookie"), "{lines} {answer}");
    }
    let answer = rig.send(&login("Sec-Fetch-Dest: document\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("menshen-ticket="),
        "{answer}"
    );
}

#[tokio::test]
async fn the_code_of_a_ticket_that_ran_out_is_not_drawn() {
    let rig = Rig::start(OK, "http://127.0.0.1:1").await;
    let page = rig
        .send("GET /.menshen/login HTTP/1.1\r\nHost: app.test\r\nAccept: text/html\r\n\r\n")
        .await;
    let cookie = page.split("menshen-ticket=").nth(1).unwrap();
    let (value, rest) = cookie.split_once(';').unwrap();
    let id = rest
        .split("/.menshen/tickets/")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let qr =
        format!("GET /.menshen/tickets/{id}/qr HTTP/1.1\r\nHost: app.test\r\nCookie: menshen-ticket={value}\r\n\r\n");
    assert!(rig.send(&qr).await.starts_with("HTTP/1.1 200"));
    rig.clock.advance(121);
    let answer = rig.send(&qr).await;
    assert!(
        answer.starts_with("HTTP/1.1 410") && answer.contains("ticket_expired"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_cannot_be_parsed_is_refused_in_the_form_of_every_refusal() {
    let rig = Rig::start(OK, "http://127.0.0.1:1").await;
    let answer = rig
        .send("GET /.menshen/login?rd=a&rd=b HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains(r#"{"error":{"code":"bad_request""#), "{answer}");
}

#[tokio::test]
async fn connections_close_when_they_said_so() {
    let rig = Rig::start(OK, "http://127.0.0.1:1").await;
    for request in [
        "GET /.menshen/jwks.json HTTP/1.0\r\nHost: app.test\r\n\r\n",
        "GET /.menshen/jwks.json HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: app.test\r\nX: a\nY: b\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await;
        assert!(ended.is_ok(), "left open: {request}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_trusted_proxys_request_id_goes_through_and_https_is_said_to_be_kept() {
    let mut rig = Rig::start(OK, "https://login.test").await;
    let answer = rig
        .send("GET /a HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\nX-Request-Id: abc-1\r\n\r\n")
        .await;
    assert!(answer.contains("X-Request-Id: abc-1"), "{answer}");
    let head = rig.heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.contains("x-request-id: abc-1"), "{head}");
    for (scheme, kept) in [("https", true), ("http", false)] {
        for target in ["/a", "/.menshen/jwks.json"] {
            let answer = rig
                .send(&format!(
                    "GET {target} HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Proto: {scheme}\r\n\
                     X-Forwarded-For: 192.0.2.1\r\n\r\n"
                ))
                .await
                .to_ascii_lowercase();
            assert_eq!(answer.contains("strict-transport-security"), kept, "{scheme} {answer}");
        }
    }
}

#[tokio::test]
async fn a_stop_waits_for_no_idle_connection() {
    let rig = Rig::start(OK, "http://127.0.0.1:1").await;
    let mut idle = TcpStream::connect(rig.address).await.unwrap();
    idle.write_all(b"GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await
        .unwrap();
    assert!(read_answer(&mut idle).await.starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    rig.gateway.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_has_connected_when_a_stop_comes_is_answered() {
    let rig = Rig::start(OK, "http://127.0.0.1:1").await;
    let mut fresh = TcpStream::connect(rig.address).await.unwrap();
    while rig.gateway.connections.is_empty() {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(rig.gateway.stop());
    while TcpStream::connect(rig.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    fresh
        .write_all(b"GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await
        .unwrap();
    let answer = read_answer(&mut fresh).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stopping.await.unwrap();
}

/// All that the gateway holds for it, from the socket on; the test's own end is counted with it.
#[test]
fn a_waiting_page_takes_less_than_twelve_kibibytes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let rig = runtime.block_on(Rig::start(OK, "http://127.0.0.1:1"));
    let requests: Vec<String> = (0..60).map(|_| runtime.block_on(waiting(&rig))).collect();
    let open = |requests: &[String]| {
        let mut open = Vec::with_capacity(requests.len());
        let held = measure(|| {
            for request in requests {
                open.push(runtime.block_on(async {
                    let mut stream = TcpStream::connect(rig.address).await.unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let mut read = [0; 1024];
                    let mut length = 0;
                    while !String::from_utf8_lossy(&read[..length]).contains("pending") {
                        length += stream.read(&mut read[length..]).await.unwrap();
                    }
                    stream
                }));
            }
        });
        (open, usize::try_from(held.bytes_current).unwrap())
    };
    let (first, rest) = requests.split_at(10);
    // Tables grow, pages of the store are read.
    let _first = open(first);
    let (_rest, held) = open(rest);
    let each = held / rest.len();
    assert!(each < 12 * 1024, "{each} bytes");
}

/// The request for the stream of a new page.
async fn waiting(rig: &Rig) -> String {
    let page = rig
        .send("GET /.menshen/login HTTP/1.1\r\nHost: app.test\r\nAccept: text/html\r\n\r\n")
        .await;
    let cookie = page.split("menshen-ticket=").nth(1).unwrap();
    let (value, rest) = cookie.split_once(';').unwrap();
    let id = rest.split("/.menshen/tickets/").nth(1).unwrap();
    let id = id.split(';').next().unwrap();
    format!("GET /.menshen/tickets/{id}/events HTTP/1.1\r\nHost: app.test\r\nCookie: menshen-ticket={value}\r\n\r\n")
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_not_before() {
    let streaming = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                     6\r\nfirst\n\r\n";
    let mut rig = Rig::start(streaming, "http://127.0.0.1:1").await;
    let snapshot = rig.gateway.snapshot();
    let now = rig.clock.now();
    let session = Session {
        id: SessionId::random().unwrap(),
        person: Person {
            id: "u_1".into(),
            ..Person::default()
        },
        authentication: Authentication {
            connection: "staff".into(),
            method: Method::MiniProgram,
            time: now,
            app_id: String::new(),
            openid: String::new(),
            unionid: None,
        },
        expires_at: now + 1_000,
        renewed_at: now,
        groups_left_out: false,
        known_at: now,
    };
    let cookie = session
        .seal(&snapshot.keyring.sealing, "menshen", "app.test", now)
        .unwrap();
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: app.test\r\nCookie: menshen={cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(
        rig.heads
            .recv()
            .await
            .unwrap()
            .to_ascii_lowercase()
            .contains("remote-user")
    );
    let mut read = Vec::new();
    let early = timeout(Duration::from_millis(2_500), stream.read_to_end(&mut read)).await;
    assert!(early.is_err(), "cut although the session holds");
    snapshot.registry.end(&session, "logout").await.unwrap();
    let cut = timeout(Duration::from_secs(5), stream.read_to_end(&mut read)).await;
    assert!(cut.is_ok(), "goes on after the logout");
    assert!(String::from_utf8_lossy(&read).contains("first"));
}
