//! Every wait has a limit: clients, upstreams, streams, the store. One limit is short in each test, the others are as they
//! always are.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::support::World;
use crate::support::wire::{PATIENCE, Request, Wire};
use crate::support::world::SITE;

const SHORT: Duration = Duration::from_millis(300);

fn public(world: &World, method: &str, target: &str) -> Request {
    Request::new(method, target).header("Host", &world.authority(SITE))
}

/// A listener whose queue is full, so that the kernel answers nobody; what fills it is to be kept.
async fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
        assert!(waiting.len() < 64, "the queue takes everybody");
    }
    (listener, waiting)
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_given_up_after_connect_timeout() {
    let (listener, _waiting) = full().await;
    let address = listener.local_addr().unwrap();
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{address}")])
        .set("sites.0.upstream.connect_timeout", "100ms")
        .start()
        .await;
    let answer = world.send(&public(&world, "GET", "/public/")).await;
    answer.refused(504, "upstream_timeout");
}

/// The kernel connects, and nobody shakes hands.
#[tokio::test]
async fn an_upstream_that_shakes_no_hands_is_given_up_after_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("https://{address}")])
        .set("sites.0.upstream.connect_timeout", "100ms")
        .start()
        .await;
    let answer = world.send(&public(&world, "GET", "/public/")).await;
    answer.refused(504, "upstream_timeout");
}

#[tokio::test]
async fn an_upstream_that_reads_nothing_of_a_body_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{address}")])
        .set("sites.0.upstream.read_timeout", "1s")
        .start()
        .await;
    let size: u64 = 64 << 20;
    let head = public(&world, "PUT", "/public/up").header("Content-Length", &size.to_string());
    let (mut reading, mut writing) = TcpStream::connect(world.address).await.unwrap().into_split();
    writing.write_all(&head.bytes()).await.unwrap();
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        let mut left = size;
        while left > 0 && writing.write_all(&piece).await.is_ok() {
            left -= piece.len() as u64;
        }
        left
    });
    // Accepted, so that the answer is about the body.
    let _held = listener.accept().await.unwrap();
    let mut came = [0; 12];
    timeout(PATIENCE, reading.read_exact(&mut came))
        .await
        .expect("an answer in time")
        .unwrap();
    assert_eq!(&came, b"HTTP/1.1 504");
    drop(reading);
    let left = timeout(PATIENCE, sending).await.expect("the connection ends").unwrap();
    assert!(left > 0, "the gateway took a whole body that nobody read");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() {
    let world = World::plan().patience(|patience| patience.body = SHORT).start().await;
    let browser = world.browser();
    let head = browser
        .script("POST", "/.menshen/tickets")
        .header("Content-Type", "application/json")
        .header("Content-Length", "1000");
    let mut wire = Wire::open(world.address).await;
    wire.write(&head.bytes()).await;
    wire.write(b"{\"connection\":").await;
    wire.answer(false).await.refused(400, "bad_request");
}

#[tokio::test]
async fn a_client_that_sends_no_more_of_a_body_is_let_go() {
    let world = World::plan()
        .patience(|patience| patience.silence = SHORT)
        .start()
        .await;
    let head = public(&world, "PUT", "/public/up").header("Content-Length", "1000");
    let mut wire = Wire::open(world.address).await;
    wire.write(&head.bytes()).await;
    wire.write(b"the beginning").await;
    assert!(wire.is_closed().await);
    assert!(world.upstream.requests().is_empty(), "a part was taken for the whole");
}

/// Who reads nothing holds an upstream's connection for as long.
#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
            .await
            .unwrap();
        let piece = vec![b'x'; 64 * 1024];
        while stream.write_all(&piece).await.is_ok() {}
        tell.send(()).unwrap();
    });
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{address}")])
        .patience(|patience| patience.silence = SHORT)
        .start()
        .await;
    let mut wire = Wire::open(world.address).await;
    wire.write(&public(&world, "GET", "/public/down").bytes()).await;
    timeout(PATIENCE, told).await.expect("the upstream is let go").unwrap();
    drop(wire);
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let world = World::plan().patience(|patience| patience.first = SHORT).start().await;
    let mut wire = Wire::open(world.address).await;
    wire.write(b"GET /public/ HTTP/1.1\r\nHost: ").await;
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_proxys_preamble_that_does_not_end_ends_the_connection() {
    let listen: toml::Table = "listen = [{ address = \"127.0.0.1:0\", proxy_protocol = true }]"
        .parse()
        .unwrap();
    let world = World::plan()
        .set("server.listen", listen["listen"].clone())
        .set("server.trusted_proxies", vec!["127.0.0.1/32"])
        .patience(|patience| patience.beginning = SHORT)
        .start()
        .await;
    let mut wire = Wire::open(world.address).await;
    wire.write(b"PROXY TCP4 203.0.113.9").await;
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let world = World::plan()
        .patience(|patience| patience.idle = Duration::from_secs(1))
        .start()
        .await;
    let mut wire = Wire::open(world.address).await;
    for _ in 0..2 {
        let answer = wire.send(&public(&world, "GET", "/public/")).await;
        assert_eq!(answer.status, 200);
    }
    assert!(wire.is_closed().await);
}

/// Stream → poll → 429: who waits takes a place, and without one the answer comes at once.
#[tokio::test]
async fn without_a_place_to_wait_a_page_is_answered_at_once() {
    let world = World::plan().set("limits.waiting_streams", 1).start().await;
    let (mut one, mut two) = (world.browser(), world.browser());
    let waiting = one.open("/").await.login_page();
    let events = one.events(&waiting).await;
    assert_eq!(events.answer.status, 200);
    let page = two.open("/").await.login_page();
    let address = format!("/.menshen/tickets/{}", page.ticket);
    two.fetch("GET", &format!("{address}/events")).await.expect(204);
    let began = Instant::now();
    let status = two.fetch("GET", &format!("{address}?wait=25")).await.expect(200).json();
    assert_eq!(status["status"], "pending");
    assert!(began.elapsed() < Duration::from_secs(20), "it waited without a place");

    // The place is free again, and the answer is the change that was waited for.
    drop(events);
    let limits = world.snapshot();
    let limits = &limits.portal.inner().login.limits;
    world.until(async || limits.waiting_streams() == 0).await;
    let mut phone = world.phone("lilei");
    let address = format!("{address}?wait=25");
    let (status, scanned) = tokio::join!(two.fetch("GET", &address), async {
        world.until(async || limits.waiting_streams() == 1).await;
        phone.scan(&page.ticket).await
    });
    scanned.expect(200);
    assert_eq!(status.expect(200).json()["status"], "scanned");
}

/// A picture that this node has yet to fetch costs a call of WeChat's, and counts like a page.
#[tokio::test]
async fn pictures_that_cost_a_call_are_limited_for_each_address() {
    let world = World::plan_https().set("limits.login_pages", "2/min").start().await;
    let node = world.another_node().await;
    let mut browser = world.browser();
    let pages = [
        browser.open("/").await.login_page(),
        browser.open("/").await.login_page(),
    ];
    let mut there = node.browser();
    there.cookies.clone_from(&browser.cookies);
    let picture = |place: usize| format!("/.menshen/tickets/{}/qr", pages[place].ticket);
    node.browser().open("/").await.expect(401);
    there.fetch("GET", &picture(0)).await.expect(200);
    let refused = there.fetch("GET", &picture(1)).await.refused(429, "rate_limited");
    assert!(refused.header("retry-after").is_some());
    // What is there already costs nothing.
    there.fetch("GET", &picture(0)).await.expect(200);
    browser.fetch("GET", &picture(1)).await.expect(200);
}

/// When nobody can say whether a session was revoked, what was admitted by it does not go on.
#[tokio::test]
async fn a_stream_ends_when_revocations_have_not_been_read_for_too_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                let begun = b"HTTP/1.1 200 OK\r\nX-Application: 1\r\nContent-Type: text/event-stream\r\n\
                              Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
                stream.write_all(begun).await.unwrap();
                // Until the gateway lets go.
                let _ = stream.read_buf(&mut head).await;
            });
        }
    });
    let world = World::plan()
        .set("sites.0.upstreams", vec![format!("http://{address}")])
        .set("session.store_outage", "10m")
        .start()
        .await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let mut wire = Wire::open(world.address).await;
    let request = browser
        .script("GET", "/stream")
        .without("Accept")
        .header("Accept", "text/event-stream");
    wire.write(&request.bytes()).await;
    assert_eq!(wire.head().await.status, 200);
    assert!(wire.chunk().await.is_some());

    let mut store = world.watch_store().await;
    store.break_store().await;
    // The outage is bridged for as long as was allowed …
    world.clock.advance(5 * 60);
    browser.fetch("GET", "/.menshen/userinfo").await.expect(200);
    // … and no longer.
    world.clock.advance(6 * 60);
    assert_eq!(wire.chunk().await, None, "the stream goes on");
    browser.fetch("GET", "/page").await.expect(503);
}

/// Rule of the explained loop: one line with its code, however often the page is shown.
#[tokio::test]
async fn a_login_that_leads_nowhere_has_one_line_in_the_log() {
    let (world, process) = World::plan().start_process().await;
    let mut browser = world.browser();
    for _ in 0..3 {
        browser.log_in("lilei").await;
        browser.cookies.retain(|cookie| cookie.name != "menshen");
    }
    for _ in 0..2 {
        let page = browser.open("/").await.expect(401).text();
        assert!(page.contains("loop_cookie"), "{page}");
    }
    let lines = || -> Vec<serde_json::Value> {
        let written = process.written();
        let lines = written.lines().filter(|line| line.contains("loop_cookie"));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    world.until(async || !lines().is_empty()).await;
    // The line of a later request is there: so is whatever came before it.
    browser.open("/marker").await;
    world.until(async || process.written().contains("/marker")).await;
    let lines = lines();
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(
        (&line["level"], &line["code"], &line["site"], &line["host"]),
        (&json!("WARN"), &json!("loop_cookie"), &json!("Wiki"), &json!(SITE))
    );
    assert!(
        line["user"].as_str().is_some_and(|user| user.starts_with("u_")),
        "{line}"
    );
}

/// Who may watch a ticket may not ask about it without end; and another ticket of the same address goes on.
#[tokio::test]
async fn polls_of_one_ticket_are_limited() {
    let world = World::start().await;
    for path in ["", "/page", "/qr"] {
        let mut browser = world.browser();
        let (page, other) = (
            browser.open("/").await.login_page(),
            browser.open("/").await.login_page(),
        );
        let asked = format!("/.menshen/tickets/{}{path}", page.ticket);
        let (mut answered, mut refused) = (0, 0);
        for _ in 0..100 {
            let answer = browser.fetch("GET", &asked).await;
            if answer.status == 200 {
                answered += 1;
            } else {
                assert!(answer.header("retry-after").is_some());
                answer.refused(429, "rate_limited");
                refused += 1;
            }
        }
        assert!(answered >= 20 && refused >= 10, "{path}: {answered} and {refused}");
        browser.status(&other).await.expect(200);
        // The stream falls back to asking before it is refused.
        let events = browser.events(&page).await;
        assert!(matches!(events.answer.status, 200 | 204), "{}", events.answer.head());
    }
}
