//! The stream of a page that waits, as bytes on the wire.

use crate::support::process::Process;
use crate::support::wire::{Request, Wire};
use crate::support::{Browser, World};

/// A page whose ticket has ended: its stream says so and ends.
async fn ended_page(world: &World) -> Request {
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    phone.cancel().await.expect(204);
    stream_of(&browser, &scanned.page.ticket)
}

fn stream_of(browser: &Browser<'_>, ticket: &str) -> Request {
    browser
        .script("GET", &format!("/.menshen/tickets/{ticket}/events"))
        .without("Accept")
        .header("Accept", "text/event-stream")
}

#[tokio::test]
async fn a_stream_comes_in_chunks_and_its_connection_ends_with_it() {
    let world = World::start().await;
    let request = ended_page(&world).await;
    let mut wire = Wire::open(world.address).await;
    wire.write(&request.bytes()).await;
    let head = wire.head().await.expect(200);
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(head.header("connection"), Some("close"));
    let event = wire.chunk().await.expect("an event");
    assert!(String::from_utf8_lossy(&event).contains("\"status\":\"cancelled\""));
    assert_eq!(wire.chunk().await, None, "the last chunk");
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let world = World::start().await;
    let request = ended_page(&world).await;
    let mut wire = Wire::open(world.address).await;
    let bytes = String::from_utf8(request.bytes())
        .unwrap()
        .replacen("HTTP/1.1", "HTTP/1.0", 1);
    wire.write(bytes.as_bytes()).await;
    let answer = wire.answer(false).await.expect(200);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert!(
        answer
            .text()
            .starts_with("event: status\ndata: {\"status\":\"cancelled\""),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn who_asks_for_the_head_gets_no_stream_and_keeps_the_connection() {
    let world = World::start().await;
    let mut request = ended_page(&world).await;
    request.method = "HEAD".to_owned();
    let mut wire = Wire::open(world.address).await;
    assert_eq!(wire.send(&request).await.status, 200);
    request.method = "GET".to_owned();
    assert_eq!(wire.send(&request).await.status, 200);
}

/// Whoever sends more than the request is not waiting for its answer any longer.
#[tokio::test]
async fn more_than_a_request_ends_its_stream() {
    let world = World::start().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut wire = Wire::open(world.address).await;
    wire.write(&stream_of(&browser, &page.ticket).bytes()).await;
    wire.head().await.expect(200);
    assert!(wire.chunk().await.is_some(), "no first event");
    wire.write(b"GET / HTTP/1.1\r\n").await;
    assert_eq!(wire.chunk().await, None);
    let limits = world.snapshot();
    let limits = &limits.portal.inner().login.limits;
    world.until(async || limits.waiting_streams() == 0).await;
}

#[tokio::test]
async fn a_stream_is_logged_and_counted_when_it_has_ended() {
    let (world, mut process) = World::plan().start_process().await;
    let mut browser = world.browser();
    let page = browser.open("/").await.login_page();
    let mut events = browser.events(&page).await;
    assert_eq!(events.next().await["status"], "pending");
    let lines = |process: &Process| {
        let written = process.written();
        let of_stream = written
            .lines()
            .filter(|line| line.contains("/events") && line.contains("\"access\""));
        of_stream.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(lines(&process).is_empty(), "logged before its end");
    drop(events);
    world.until(async || !lines(&process).is_empty()).await;
    let line: serde_json::Value = serde_json::from_str(&lines(&process)[0]).expect("JSON");
    let line = line.get("fields").unwrap_or(&line);
    assert_eq!(
        (&line["status"], &line["decision"]),
        (&200.into(), &"portal".into()),
        "{line}"
    );
    assert_eq!(line["error"], "ConnectionClosed", "{line}");
    assert!(line["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{line}");
    assert!(!line.to_string().contains(&page.ticket), "a scene in the log");
    process.terminate().await;
    process.ended().await;
}
