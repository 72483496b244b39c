//! Bodies on their way: as they come, as large as they are, and never all in memory.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::recorder::{Play, plain};
use super::stage::{ALICE, HOST, Plan, Stage};

const MEBIBYTE: u64 = 1 << 20;

#[tokio::test]
async fn events_of_an_upstream_arrive_one_by_one() {
    let stage = Stage::plain().await;
    let cookie = stage.login(ALICE).await;
    let (pieces, play) = mpsc::channel(1);
    stage.upstream.on("/events", Play::Stream(play));
    let mut wire = stage.connect().await;
    wire.send(format!(
        "GET /events HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nAccept: text/event-stream\r\n\r\n"
    ))
    .await;
    let head = wire.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers.one("content-type"), Some("text/event-stream"));
    for number in 0..5 {
        let event = format!("data: {number}\n\n").into_bytes();
        // The next event is sent only after this one arrived: what is held back would hang.
        pieces.send(event.clone()).await.unwrap();
        assert_eq!(wire.chunk().await, Some(event));
    }
    drop(pieces);
    assert_eq!(wire.chunk().await, None);
}

#[tokio::test]
async fn sixty_four_mebibytes_pass_both_ways() {
    let stage = Stage::plain().await;
    let size = 64 * MEBIBYTE;
    let mut wire = stage.connect().await;
    wire.send(format!(
        "PUT /public/up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n"
    ))
    .await;
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..size / piece.len() as u64 {
        wire.send(&piece).await;
    }
    assert_eq!(wire.answer().await.status, 200);
    let seen = stage.upstream.only();
    assert_eq!((seen.body_length, seen.complete), (size, true));
    assert_eq!(seen.headers.one("content-length"), Some(&*size.to_string()));

    stage.upstream.on("/public/down", Play::Flood(size));
    wire.send(format!("GET /public/down HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    let head = wire.head().await;
    assert_eq!(head.headers.one("content-length"), Some(&*size.to_string()));
    assert_eq!(wire.sink(size).await, size);
}

/// Constant memory: who reads slowly slows the other side down, instead of filling this one.
#[tokio::test]
async fn what_one_side_does_not_read_the_other_cannot_send() {
    let stage = Stage::plain().await;
    let size = 64 * MEBIBYTE;
    // The upstream never reads the body.
    stage.upstream.on("/public/up", Play::Stall);
    let mut wire = stage.connect().await;
    wire.send(format!(
        "PUT /public/up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n"
    ))
    .await;
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let stuck = loop {
        match timeout(Duration::from_secs(1), wire.try_send(&piece)).await {
            Ok(true) => sent += piece.len() as u64,
            Ok(false) => break false,
            Err(_) => break true,
        }
        assert!(sent < size / 2, "the gateway keeps a whole body");
    };
    assert!(stuck && sent > 0, "refused instead of slowed down, after {sent} bytes");
    drop(wire);
    // The client never reads the answer.
    stage.upstream.on("/public/down", Play::Flood(size));
    let mut wire = stage.connect().await;
    wire.send(format!("GET /public/down HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(wire.head().await.status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let flooded = stage.upstream.flooded();
    assert!(flooded > 0, "the upstream was not asked");
    assert!(flooded < size / 2, "the gateway took {flooded} bytes that nobody reads");
    drop(wire);
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let stage = Stage::plain().await;
    let mut wire = stage.connect().await;
    for (method, bytes, status, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n".to_owned(),
            200,
            Some("5"),
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nETag: \"x\"\r\n\r\n".to_owned(),
            204,
            None,
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_owned(),
            304,
            None,
        ),
    ] {
        stage.upstream.on("/public/", Play::Answer(bytes.into_bytes()));
        wire.send(format!(
            "{method} /public/ HTTP/1.1\r\nHost: {HOST}\r\nIf-None-Match: \"x\"\r\n\r\n"
        ))
        .await;
        let answer = wire.answer_to(method).await;
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.headers.one("etag"), Some("\"x\""));
        assert_eq!(answer.headers.one("content-length"), length, "{method} {status}");
        assert_eq!(stage.upstream.next().await.headers.one("if-none-match"), Some("\"x\""));
    }
    // A refusal to HEAD has the length of its body and not the body; the connection goes on.
    wire.send(format!("HEAD /secret HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(wire.answer_to("HEAD").await.status, 401);
    stage.upstream.on("/public/", Play::Answer(plain(200, "", "next")));
    wire.send(format!("GET /public/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(wire.answer().await.text(), "next");
}

#[tokio::test]
async fn ranges_and_types_pass_untouched() {
    let stage = Stage::plain().await;
    let lines = "Content-Range: bytes 2-4/10\r\nContent-Type: application/x-thing\r\nContent-Encoding: br\r\nVary: X\r\n\
                 Link: </a>; rel=x\r\nLink: </b>; rel=y\r\nX-Odd-Case: 1\r\n";
    stage.upstream.on("/public/", Play::Answer(plain(206, lines, "cde")));
    let answer = stage
        .get(
            "/public/",
            "Range: bytes=2-4\r\nAccept-Encoding: br\r\nIf-Range: \"x\"\r\n",
        )
        .await;
    assert_eq!((answer.status, answer.text()), (206, "cde".to_owned()));
    assert_eq!(answer.headers.one("content-range"), Some("bytes 2-4/10"));
    assert_eq!(answer.headers.one("content-encoding"), Some("br"));
    assert_eq!(answer.headers.all("link"), ["</a>; rel=x", "</b>; rel=y"]);
    let seen = stage.upstream.only();
    for (name, value) in [("range", "bytes=2-4"), ("accept-encoding", "br"), ("if-range", "\"x\"")] {
        assert_eq!(seen.headers.one(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn chunked_bodies_and_clients_of_1_0_are_served() {
    let stage = Stage::plain().await;
    let request = format!(
        "POST /public/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    );
    assert_eq!(stage.send(request).await.status, 200);
    let seen = stage.upstream.only();
    assert_eq!(seen.body, b"abcde");
    assert_eq!(seen.headers.one("transfer-encoding"), Some("chunked"));

    let mut wire = stage.connect().await;
    wire.send(format!(
        "POST /public/ HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc"
    ))
    .await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "upstream".to_owned()));
    assert!(wire.is_closed().await, "HTTP/1.0 without keep-alive");
    assert_eq!(stage.upstream.only().body, b"abc");
    // A chunked answer is none for a client of 1.0.
    let (pieces, play) = mpsc::channel(2);
    stage.upstream.on("/public/stream", Play::Stream(play));
    pieces.send(b"one".to_vec()).await.unwrap();
    pieces.send(b"two".to_vec()).await.unwrap();
    drop(pieces);
    let mut wire = stage.connect().await;
    wire.send(format!("GET /public/stream HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
        .await;
    let answer = wire.answer().await;
    assert!(!answer.headers.has("transfer-encoding"), "{answer:?}");
    assert_eq!(answer.text(), "onetwo");
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_however_it_is_framed() {
    let sites = "[[sites]]\nhosts = [\"app.test\"]\nupstreams = [\"UPSTREAM\"]\nrequest_body = \"64KiB\"\n\
                 [[sites.routes]]\npath = \"/public/\"\naccess = \"public\"\n";
    let stage = Stage::with_sites(sites).await;
    let post = format!("POST /public/ HTTP/1.1\r\nHost: {HOST}\r\n");
    let over = 65 * 1024;
    let declared = stage.send(format!("{post}Content-Length: {over}\r\n\r\n")).await;
    assert_eq!(declared.refusal(), (413, "too_large".to_owned()));
    assert!(stage.upstream.taken().is_empty());
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let mut wire = stage.connect().await;
    wire.send(format!("{post}Transfer-Encoding: chunked\r\n\r\n")).await;
    for _ in 0..66 {
        wire.send(&chunk).await;
    }
    wire.send("0\r\n\r\n").await;
    let answer = wire.answer().await;
    assert_eq!(answer.refusal(), (413, "too_large".to_owned()));
    for seen in stage.upstream.taken() {
        assert!(!seen.complete, "the upstream got {} bytes", seen.body_length);
    }
    let exact = format!("{post}Content-Length: 65536\r\n\r\n{}", "x".repeat(65_536));
    assert_eq!(stage.send(exact).await.status, 200);
    let mut wire = stage.connect().await;
    wire.send(format!(
        "{post}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(64)
    ))
    .await;
    assert_eq!(wire.answer().await.status, 200);
}

/// The portal's own calls are small.
#[tokio::test]
async fn the_portal_reads_no_large_bodies() {
    let plan = Plan::default();
    let stage = Stage::start(plan).await;
    let post = format!(
        "POST /.menshen/tickets HTTP/1.1\r\nHost: {HOST}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/json\r\n"
    );
    let declared = stage.send(format!("{post}Content-Length: 10000000\r\n\r\n")).await;
    assert_eq!(declared.refusal(), (413, "too_large".to_owned()));
    let mut wire = stage.connect().await;
    wire.send(format!("{post}Transfer-Encoding: chunked\r\n\r\n")).await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    for _ in 0..80 {
        wire.send(&chunk).await;
    }
    assert_eq!(wire.answer().await.refusal(), (413, "too_large".to_owned()));
}
